"""Bought labels beside weak ones: what the student may see, what every cell is, and what the curve says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from oversight.errors import InputError
from oversight.methods.method import WeakData, WithLoss
from oversight.methods.mixing import FEWEST, Lesson, Pooled, Weighted, check_mix
from oversight.metrics.contrasts import combine, difference
from oversight.metrics.intervals import moments
from oversight.metrics.pool import THESE_ROWS
from oversight.models.student import Validation
from oversight.reports.budget import BudgetCurve, Prices
from oversight.runs.store import MemoryStore, Store
from oversight.studies.budget import Mixing, available_rows, grid, ladder, plan_budget
from oversight.studies.budget_curve import budget_curve
from oversight.studies.plan import Plan
from oversight.studies.sweep import run_sweep
from oversight.studies.weak_to_strong import Arm, Setup, plan_study, seeds_of
from oversight.supervision.bought import Bought
from oversight.supervision.supervisor import Flipped, Given, Trained
from oversight.tasks.split import Seed, split_task
from oversight.tasks.task import Labels, Task

SEED = Seed.of(0)
TEN_TO_ONE = Prices(true=10.0, weak=1.0)


def setup_of(task: Task, supervisor: Any, student: Any, *, seeds: int = 3) -> Setup:
    arm = Arm(supervisors=(supervisor,), student=student, method=WithLoss(), method_name="naive")
    return Setup(task=task, arms=(arm,), seeds=seeds_of(seeds))


def curve_of(
    setup: Setup,
    *,
    true: tuple[int | None, ...],
    weak: tuple[int | None, ...],
    mixing: Mixing = Mixing(ways=("pooled",)),  # noqa: B008 a frozen value
    prices: Prices = TEN_TO_ONE,
    store: Store | None = None,
) -> BudgetCurve:
    """A grid, run."""
    to = MemoryStore() if store is None else store
    available = available_rows(setup, by=mixing.by)
    mixes, left_out = grid(setup, available, true=true, weak=weak, mixing=mixing)
    swept = run_sweep(plan_budget(setup, mixes), title="budget", store=to)
    assert not swept.summary.failed, swept.summary.failed
    found = budget_curve(swept, to, mixes, available=available, prices=prices, left_out=left_out)
    assert found is not None
    return found


def student_probs(setup: Setup, mixing: Mixing, n_true: int | None, n_weak: int | None, way: str) -> list[Any]:
    """By seed, of one cell."""
    store = MemoryStore()
    mixes = (mixing.mix(0, None), mixing.mix(n_true, n_weak, way))
    campaign = plan_budget(setup, mixes)
    assert not run_sweep(campaign, title="budget", store=store).summary.failed
    found = [store.get(student.key) for _, student, _ in campaign.scored[1].runs]
    return [one.arrays["test.probs"] for one in found if one is not None]


@pytest.fixture(scope="module")
def task(make_task: Callable[..., Task]) -> Task:
    """800 points, each twice."""
    return make_task(0, n=800, copies=2)


@pytest.fixture(scope="module")
def weak_world(make_task: Callable[..., Task], reader: Callable[[int], Any]) -> Setup:
    """The supervisor sees one number of eight, so that its labels hold nothing of the other seven."""
    return setup_of(make_task(1, n=2400, copies=1), Trained(reader(1)), reader(8))


@pytest.fixture(scope="module")
def weak_curve(weak_world: Setup) -> BudgetCurve:
    return curve_of(weak_world, true=(0, 16, 64, 256, None), weak=(0, 100, None), mixing=Mixing())


@pytest.fixture(scope="module")
def these_rows_curve(weak_world: Setup) -> BudgetCurve:
    these = replace(weak_world, covers=THESE_ROWS)
    return curve_of(these, true=(0, 256, None), weak=(0, None), mixing=Mixing())


# What is bought


@pytest.mark.parametrize("by", ["rows", "groups"])
def test_the_labels_of_a_smaller_budget_are_among_those_of_a_larger_one(task: Task, by: str) -> None:
    split = split_task(task, seed=0)
    transfer = task.pick(split.transfer)
    bought: list[set[str]] = []
    for n in (0, 5, 64, 200, None):
        (labels,) = Bought(n, by).supervise(task, split, [transfer], seed=SEED).labels
        at = np.flatnonzero(labels.answered)
        bought.append({transfer.ids[i] for i in at})
        assert len(at) == (len(transfer) if n is None else n)
        assert labels.source == "truth"
        assert (labels.probs[at].argmax(1) == task.truth(transfer.take(at))).all()
    assert all(small < large for small, large in pairwise(bought))


def test_what_is_bought_depends_on_ids_and_seed_alone(task: Task) -> None:
    def ids(one: Task, seed: int) -> set[str]:
        split = split_task(task, seed=0)
        rows = one.pick(split.transfer)
        (labels,) = Bought(50).supervise(one, split, [rows], seed=Seed.of(seed)).labels
        return {row_id for row_id, there in zip(labels.row_ids, labels.answered, strict=True) if there}

    shuffled = task.take(np.random.default_rng(3).permutation(len(task)))
    assert ids(task, 0) == ids(shuffled, 0) == ids(replace(task, labels=1 - task.labels), 0)
    assert ids(task, 0) != ids(task, 1)


def test_whole_groups_are_bought_but_for_the_last(task: Task) -> None:
    split = split_task(task, seed=0)
    transfer = task.pick(split.transfer)
    (labels,) = Bought(51, "groups").supervise(task, split, [transfer], seed=SEED).labels
    groups = np.array(transfer.groups)[labels.answered]
    assert sorted(np.unique(groups, return_counts=True)[1]) == [1] + [2] * 25
    (labels,) = Bought(50, "rows").supervise(task, split, [transfer], seed=SEED).labels
    assert len(set(np.array(transfer.groups)[labels.answered])) > 40


def test_nothing_is_bought_of_validation_and_test_rows(task: Task) -> None:
    split = split_task(task, seed=0)
    for part in (split.validation, split.test):
        (labels,) = Bought(None).supervise(task, split, [task.pick(part)], seed=SEED).labels
        assert not labels.answered.any() and (labels.probs == 0.5).all()


def test_more_than_there_is_cannot_be_bought(task: Task) -> None:
    with pytest.raises(InputError, match="found 5000 labels to buy, expected at most"):
        Bought(5000).check(task, split_task(task, seed=0), {})
    with pytest.raises(InputError, match="expected 0 or more"):
        Bought(-1)
    with pytest.raises(InputError, match="--buy: found pairs, expected rows or groups"):
        Bought(1, "pairs")


# What the student learns from


def weak_data(task: Task, n_true: int, *, by: str = "rows", noise: float = 0.3) -> WeakData:
    """Weak labels of all transfer rows, true ones of some."""
    split = split_task(task, seed=0)
    rows, validation = task.pick(split.transfer), task.pick(split.validation)
    weak = Flipped(noise, 0.9).supervise(task, split, [rows, validation], seed=SEED).labels
    bought = Bought(n_true, by).supervise(task, split, [rows, validation], seed=SEED).labels
    return WeakData(
        rows=rows, labels=(weak[0], bought[0]), validation=validation, validation_labels=(weak[1], bought[1])
    )


@pytest.mark.parametrize("by", ["rows", "groups"])
def test_weak_labels_are_of_other_rows_and_nested_whatever_was_bought(task: Task, by: str) -> None:
    def rows_of(n_true: int, n_weak: int | None) -> tuple[set[str], set[str]]:
        lesson = Lesson.of(weak_data(task, n_true, by=by), n_weak, by, seed=SEED)
        ids = np.array(lesson.rows.ids)
        return set(ids[lesson.true]), set(ids[~lesson.true])

    true, few = rows_of(64, 50)
    assert len(true) == 64 and len(few) == 50 and not true & few
    assert few < rows_of(64, 100)[1] < rows_of(64, None)[1]
    assert few == rows_of(200, 50)[1] == rows_of(0, 50)[1]
    assert rows_of(64, None)[1] | true == set(weak_data(task, 0).rows.ids)


def test_each_row_carries_the_label_that_was_paid_for(task: Task) -> None:
    data = weak_data(task, 64)
    lesson = Lesson.of(data, None, "rows", seed=SEED)
    assert lesson.rows is data.rows, (
        "the same rows in the same order as without truth, so that they are solved together"
    )
    truth = np.eye(2)[task.truth(lesson.rows)]
    assert (lesson.labels.probs[lesson.true] == truth[lesson.true]).all()
    assert (lesson.labels.probs[~lesson.true] == data.labels[0].probs[~lesson.true]).all()
    assert lesson.checks.labels is data.validation_labels[0]


def test_weak_labels_that_were_not_paid_for_change_nothing(task: Task, reader: Callable[[int], Any]) -> None:
    data = weak_data(task, 64)
    lesson = Lesson.of(data, 50, "rows", seed=SEED)
    unpaid = ~np.isin(np.array(data.rows.ids), np.array(lesson.rows.ids)[~lesson.true])
    garbage = replace(data.labels[0], probs=np.where(unpaid[:, None], 0.5, data.labels[0].probs))
    for method in (Pooled(50), Weighted(50)):
        one = method.train(reader(8), data, seed=SEED)
        other = method.train(reader(8), replace(data, labels=(garbage, data.labels[1])), seed=SEED)
        assert (one.predict(task.rows) == other.predict(task.rows)).all()


def test_rows_on_which_the_supervisor_abstains_carry_no_weak_label(task: Task) -> None:
    data = weak_data(task, 64)
    silent = replace(data.labels[0], answered=np.arange(len(data.rows)) % 3 > 0)
    lesson = Lesson.of(replace(data, labels=(silent, data.labels[1])), None, "rows", seed=SEED)
    n_others = int((silent.answered & ~data.labels[1].answered).sum())
    assert (int(lesson.true.sum()), len(lesson.rows)) == (64, 64 + n_others)
    with pytest.raises(InputError, match=f"expected at most the {n_others} other rows"):
        Lesson.of(replace(data, labels=(silent, data.labels[1])), n_others + 1, "rows", seed=SEED)


@pytest.mark.parametrize(("n_true", "n_weak", "way"), [(40, None, "pooled"), (40, 100, "weighted"), (40, 0, "")])
def test_the_truth_of_rows_that_were_not_bought_reaches_no_student(
    task: Task, reader: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch, n_true: int, n_weak: int | None, way: str
) -> None:
    """Garbage as the truth of every other transfer row and of the validation rows gives the same bits."""
    setup = setup_of(task, Trained(reader(2)), reader(8), seeds=2)
    garbled = task.labels.copy()
    for seed in setup.seeds[:1]:
        split = split_task(task, seed=seed.split)
        transfer = task.pick(split.transfer)
        (labels,) = Bought(n_true).supervise(task, split, [transfer], seed=seed).labels
        hidden = {*(row for row, there in zip(transfer.ids, labels.answered, strict=True) if not there)}
        hidden |= {*split.validation}
        at = [task.rows.position[row_id] for row_id in sorted(hidden)]
        garbled[at] = np.random.default_rng(1).integers(0, 2, len(at))
    assert (garbled != task.labels).sum() > 200
    setup = replace(setup, seeds=setup.seeds[:1])
    splits = {seed.split: split_task(task, seed=seed.split) for seed in setup.seeds}
    monkeypatch.setattr("oversight.studies.plan._split", lambda key, seed: splits[seed])
    spoilt = replace(setup, task=replace(task, labels=garbled))
    one, other = (student_probs(some, Mixing(), n_true, n_weak, way) for some in (setup, spoilt))
    assert all((a == b).all() for a, b in zip(one, other, strict=True))


def test_a_weight_of_one_is_pooling_and_a_larger_one_is_rows_repeated(task: Task, reader: Callable[[int], Any]) -> None:
    data = weak_data(task, 64)
    pooled, one, four = (
        method.train(reader(8), data, seed=SEED).predict(task.rows)
        for method in (Pooled(), Weighted(weights=(1.0,)), Weighted(weights=(4.0,)))
    )
    assert (pooled == one).all() and not np.allclose(pooled, four, atol=1e-3)
    lesson = Lesson.of(data, None, "rows", seed=SEED)
    at = np.concatenate([np.arange(len(lesson.rows)), *[np.flatnonzero(lesson.true)] * 3])
    texts, groups = ([part[i] for i in at] for part in (lesson.rows.texts, lesson.rows.groups))
    rows = replace(lesson.rows, ids=tuple(f"r{i}" for i in range(len(at))), texts=tuple(texts), groups=tuple(groups))
    repeated = Labels.of(rows, lesson.labels.probs[at], source="repeated")
    again = reader(8).fit(rows, repeated, validation=lesson.checks, seed=SEED).predict(task.rows)
    assert np.abs(again - four).max() < 1e-6


def test_a_weight_is_chosen_by_the_bought_labels_alone(task: Task, reader: Callable[[int], Any]) -> None:
    """Where weak labels are always wrong true ones must count more; where they are the truth nothing is lost."""
    wrong = Weighted().train(reader(8), weak_data(task, 64, noise=0.95), seed=SEED)
    assert wrong.choices["true_weight"] == 16.0
    tried: Any = wrong.choices["tried_weights"]
    assert [one["weight"] for one in tried] == [1.0, 4.0, 16.0]
    assert tried[2]["cross_entropy"] == min(one["cross_entropy"] for one in tried)
    few = Weighted().train(reader(8), weak_data(task, FEWEST - 1), seed=SEED)
    assert (few.choices["true_weight"], few.choices["tried_weights"]) == (1.0, [])


def test_held_out_bought_labels_are_foretold_without_them(task: Task, reader: Callable[[int], Any]) -> None:
    """The sum over folds by its definition, for one weight."""
    from oversight.tasks.split import cut_by_group

    data = weak_data(task, 64)
    tried: Any = Weighted(weights=(1.0, 4.0)).train(reader(8), data, seed=SEED).choices["tried_weights"]
    lesson = Lesson.of(data, None, "rows", seed=SEED)
    at = np.flatnonzero(lesson.true)
    own = lesson.rows.take(at)
    fold = cut_by_group(own.groups, np.zeros(64, np.int64), [1 / 3] * 3, seed="fold 0", names=own.ids)
    total = 0.0
    for one in range(3):
        rest = lesson.rows.take(np.setdiff1d(np.arange(len(lesson.rows)), at[fold == one]))
        fitted = reader(8).fit(rest, lesson.labels.on(rest), validation=lesson.checks, seed=SEED)
        held = own.take(np.flatnonzero(fold == one))
        probs = fitted.predict(held)
        total -= np.log(probs[np.arange(len(held)), task.truth(held)]).sum()
    assert tried[0]["cross_entropy"] == pytest.approx(total / 64, rel=1e-9)


# What the cells are


def test_all_weak_labels_and_no_true_one_is_the_naive_study_itself(task: Task, reader: Callable[[int], Any]) -> None:
    setup = setup_of(task, Trained(reader(2)), reader(8))
    campaign = plan_budget(setup, [Mixing().mix(0, None)])
    _, naive = plan_study(setup)
    assert campaign.scored[0].step.key == naive[0].step.key


def test_all_true_labels_alone_are_the_ceiling_but_for_its_validation_labels(
    task: Task, reader: Callable[[int], Any]
) -> None:
    setup = setup_of(task, Flipped(0.3, 0.9), reader(8), seeds=2)
    found = student_probs(setup, Mixing(), None, 0, "")
    plan = Plan(task)
    for seed, probs in zip(setup.seeds, found, strict=True):
        parts = plan.parts(seed)
        (weak,) = Flipped(0.3, 0.9).supervise(task, plan.split(seed), [parts["validation"]], seed=seed).labels
        rows = parts["transfer"]
        checks = Validation(rows=parts["validation"], labels=weak)
        fitted = reader(8).fit(rows, task.true_labels(rows), validation=checks, seed=seed)
        # The student sees the rows under other names and so in another order: float32 sums differ.
        assert np.abs(fitted.predict(parts["test"]) - probs).max() < 1e-5


def test_where_the_supervisor_is_always_right_all_true_labels_are_the_ceiling_to_the_last_bit(
    task: Task, reader: Callable[[int], Any]
) -> None:
    curve = curve_of(setup_of(task, Flipped(0.0), reader(8)), true=(None,), weak=(0,))
    assert curve.cell("all true").student == curve.ceiling
    assert curve.cell("all weak").student == curve.ceiling


def test_the_grid_holds_each_cell_once_and_says_what_it_left_out(weak_world: Setup) -> None:
    available = available_rows(weak_world, by="rows")
    n = min(len(one.answered) for one in available)
    mixes, left_out = grid(
        weak_world,
        available,
        true=(0, 16, n - 10, None),
        weak=(0, 100, None),
        mixing=Mixing(ways=("pooled", "weighted")),
    )
    assert [mix.name for mix in mixes] == [
        "all weak",
        "100 weak",
        "16 true",
        *(f"16 true + {m} weak, {way}" for m in (100, "all") for way in ("pooled", "weighted")),
        f"{n - 10} true",
        *(f"{n - 10} true + all weak, {way}" for way in ("pooled", "weighted")),
        "all true",
    ]
    assert set(left_out) == {f"{n - 10} true + 100 weak, {way}" for way in ("pooled", "weighted")}
    for flag, true, weak in (("--true", (n + 1,), (0,)), ("--weak-labels", (0,), (n + 1,))):
        with pytest.raises(InputError, match=f"{flag}: found {n + 1}, expected at most the {n} transfer rows"):
            grid(weak_world, available, true=true, weak=weak, mixing=Mixing())
    with pytest.raises(InputError, match="none was asked for"):
        grid(weak_world, available, true=(0,), weak=(0,), mixing=Mixing())


def test_a_ladder_ends_with_all() -> None:
    assert ladder(16, 300, times=4) == (0, 16, 64, 256, None)
    assert ladder(16, 16, times=4) == (0, None)


def test_peoples_labels_that_leave_rows_out_are_counted_as_they_are(task: Task, reader: Callable[[int], Any]) -> None:
    """Half of the transfer rows have no weak label; any of them can be bought, and the ceiling knows all."""
    split = split_task(task, seed=0)
    silent = {row_id for i, row_id in enumerate(split.transfer) if i % 2}
    answered = np.array([row_id not in silent for row_id in task.rows.ids])
    people = Given(replace(task.true_labels(task.rows), answered=answered, source="people"), "people")
    setup = replace(setup_of(task, people, reader(8)), seeds=seeds_of(2, split=0))
    curve = curve_of(setup, true=(0, 100, None), weak=(0, None))
    n, n_answered = len(split.transfer), len(split.transfer) - len(silent)
    assert curve.cell("all weak").n_weak == n_answered and curve.cell("all true").n_true == n
    both = curve.cell("100 true + all weak, pooled")
    assert n_answered - 100 < both.n_weak < n_answered
    assert [one.n for one in curve.unpriced] == [len(split.validation)], "people were not trained on the weak rows"


# What the curve says


def test_costs_are_those_of_the_labels(weak_curve: BudgetCurve) -> None:
    n = weak_curve.n_transfer
    assert weak_curve.cell("all weak").cost == pytest.approx(n)
    assert weak_curve.cell("64 true").cost == 640
    assert weak_curve.cell("64 true + 100 weak, weighted").cost == 740
    assert weak_curve.cell("64 true + all weak, weighted").cost == pytest.approx(640 + n - 64)
    assert weak_curve.cell("all true").cost == pytest.approx(10 * n)
    costs = [one.cost for one in weak_curve.cells]
    assert costs == sorted(costs)
    supervisor, validation = weak_curve.unpriced
    assert supervisor.cost == pytest.approx(10 * supervisor.n) and validation.cost == validation.n


def test_true_labels_help_where_they_must(weak_curve: BudgetCurve, these_rows_curve: BudgetCurve) -> None:
    """The supervisor knows one number of eight: with more truth the student gets better, shown by the interval."""
    names = ["all weak", *(f"{n} true + all weak, weighted" for n in (16, 64, 256)), "all true"]
    values = [weak_curve.cell(name).student.value for name in names]
    assert values[0] < values[2] < values[3] <= values[4]
    for name in names[3:]:
        over = weak_curve.cell(name).over_weak
        assert over is not None and over.low > 0
        over = these_rows_curve.cell(name).over_weak
        assert over is not None and over.low > 0.03
    assert weak_curve.cell("all weak").pgr.high < 0.4 < weak_curve.cell("256 true + all weak, weighted").pgr.low
    assert weak_curve.shown_frontier[-1].n_true > 0


def test_true_labels_add_nothing_where_the_weak_ones_are_right(task: Task, reader: Callable[[int], Any]) -> None:
    curve = curve_of(setup_of(task, Flipped(0.0), reader(8)), true=(0, 64, None), weak=(0, None), mixing=Mixing())
    for one in curve.cells:
        if one.n_true + one.n_weak == curve.n_transfer and one.over_weak is not None:
            assert one.over_weak.low <= 0 <= one.over_weak.high, one.name


def _n_shown(curve: BudgetCurve) -> int:
    """Differences on the page: against naive, and against the same true labels alone."""
    return sum(one is not None for cell in curve.cells for one in (cell.over_weak, cell.over_true))


def test_differences_are_paired_and_simultaneous(weak_world: Setup) -> None:
    """From the stored predictions, by the definition."""
    store = MemoryStore()
    curve = curve_of(weak_world, true=(64,), weak=(0, 100, None), store=store)
    by_name = {one.name: one for one in curve.cells}
    campaign = plan_budget(weak_world, [Mixing().mix(0, None), Mixing().mix(64, 0), Mixing().mix(64, 100, "pooled")])
    rows = Plan(weak_world.task).test_rows("test")
    truth = weak_world.task.truth(rows)
    right: list[Any] = []
    for one in campaign.scored:
        outcomes = [store.get(student.key) for _, student, _ in one.runs]
        right.append([found.arrays["test.probs"].argmax(1) == truth for found in outcomes if found is not None])
    own = moments(np.array(right).transpose(1, 0, 2).astype(float), rows.group_numbers()).covering("new-rows")
    scores = combine([own], ["one"])
    both = by_name["64 true + 100 weak, pooled"]
    shown = _n_shown(curve)
    assert shown > len(curve.cells)
    for found, contrast in ((both.over_weak, (-1, 0, 1)), (both.over_true, (0, -1, 1))):
        expected = difference(scores, contrast, n_comparisons=shown)
        assert found is not None
        assert (found.value, found.low, found.high) == pytest.approx(
            (expected.value, expected.low, expected.high), abs=1e-12
        )
    assert both.student.value == pytest.approx(np.mean(right[2]))
    assert by_name["64 true"].over_true is None and by_name["all weak"].over_weak is None


def test_few_seeds_are_told_by_how_much_they_widen(weak_curve: BudgetCurve) -> None:
    """Three seeds and K differences: t(2) at 1 - .05 / (2 K)."""
    from scipy.stats import t

    width = t.ppf(1 - 0.05 / (2 * _n_shown(weak_curve)), 2)
    assert any(f"{width:.1f} standard errors" in text for text in weak_curve.warnings)


def test_the_frontier_says_which_of_its_steps_are_shown(weak_curve: BudgetCurve) -> None:
    cells = weak_curve.cells
    expected = [
        one.name
        for one in cells
        if not any(
            (other.cost < one.cost and other.student.value >= one.student.value)
            or (other.cost == one.cost and other.student.value > one.student.value)
            for other in cells
        )
    ]
    assert [one.name for one in weak_curve.frontier] == expected
    assert [step.end for step in weak_curve.steps] == expected[1:]
    last = expected[0]
    for step in weak_curve.steps:
        assert step.start == last
        values = [weak_curve.cell(name).student.value for name in (step.start, step.end)]
        assert step.gain.value == pytest.approx(values[1] - values[0])
        last = step.end if step.gain.low > 0 else last
    assert [one.name for one in weak_curve.shown_frontier] == [
        expected[0],
        *(step.end for step in weak_curve.steps if step.gain.low > 0),
    ]


def test_other_prices_and_a_second_run_compute_nothing(weak_world: Setup, counted: Any) -> None:
    ask = partial(curve_of, weak_world, true=(0, 64), weak=(0, None), store=counted)
    first = ask()
    assert counted.since()["teach"] == 9
    assert ask() == first and counted.since() == {}
    dear = ask(prices=Prices(true=100.0, weak=1.0))
    assert counted.since() == {}
    assert dear.cell("64 true").cost == 6400 and dear.cell("64 true").student == first.cell("64 true").student


def test_a_larger_grid_computes_only_what_is_new(weak_world: Setup, counted: Any) -> None:
    ask = partial(curve_of, weak_world, weak=(0, None), store=counted)
    ask(true=(0, 64))
    counted.since()
    ask(true=(0, 64, 256))
    assert counted.since() == {"score": 2, "supervise": 3, "teach": 6}


def test_a_way_that_a_student_cannot_honour_is_refused(reader: Callable[[int], Any]) -> None:
    with pytest.raises(InputError, match="--mix: found stirred, expected pooled, weighted"):
        check_mix("stirred", reader(2), (1.0,))
    with pytest.raises(InputError, match=r"weights \[0.0\], expected numbers above 0"):
        Weighted(weights=(0.0,))


def test_the_store_says_that_bought_labels_are_the_truth(task: Task, reader: Callable[[int], Any]) -> None:
    store = MemoryStore()
    campaign = plan_budget(
        setup_of(task, Flipped(0.2), reader(8), seeds=1), [Mixing().mix(0, None), Mixing().mix(9, 0)]
    )
    run_sweep(campaign, title="budget", store=store)
    _, student, _ = campaign.scored[1].runs[0]
    weak, bought = (store.get(step.key) for step in student.inputs[:2])
    assert weak is not None and bought is not None
    assert bought.record["source"] == "truth" and "source" not in weak.record
    assert int(bought.arrays["transfer.answered"].sum()) == 9
