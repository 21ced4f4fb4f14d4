"""The method protocol: chains, ensembles and oracles fit into it, and no ordinary method has a way to ground truth."""

from __future__ import annotations

import gc
import types
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from oversight.errors import InputError
from oversight.methods.losses import Confidence
from oversight.methods.method import Method, Needs, OracleMethod, WeakData, WithLoss, check_needs, mean_labels
from oversight.models.lexical import BagOfWords
from oversight.models.student import Fitted, Student, Validation
from oversight.reports.result import Result
from oversight.runs.store import MemoryStore
from oversight.studies.veil import Veil
from oversight.studies.weak_to_strong import Arm, Setup, run_study, seeds_of
from oversight.supervision.supervisor import Flipped, Supervisor, Trained
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels, Rows, Task, content_id

BOW = BagOfWords(strengths=(1.0, 10.0), min_df=1)
PLAIN = BagOfWords(strengths=(1.0,), min_df=2, name="plain")
SEED = Seed.of(0)


def make_task(seed: int = 0, *, n_groups: int = 160, size: int = 3) -> Task:
    """Texts of ten words; words a* are more frequent in class 0, b* in class 1."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), size)
    labels = np.array([i % 2 for i in range(len(groups))])
    texts = []
    for i, label in enumerate(labels):
        own = rng.random(10) < 0.85
        letters, words = np.where(own == (label == 0), "a", "b"), rng.integers(10, 30, 10)
        texts.append(" ".join(f"{letter}{word}" for letter, word in zip(letters, words, strict=True)) + f" id{i}")
    ids = tuple(map(content_id, texts))
    rows = Rows(ids=ids, texts=tuple(texts), groups=tuple(f"g{group}" for group in groups))
    return Task(name="words", rows=rows, labels=labels, class_names=("a", "b"), grouped=True)


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task()


def study(
    task: Task,
    method: Method | OracleMethod,
    *,
    name: str = "mine",
    supervisors: tuple[Supervisor, ...] = (Trained(PLAIN),),
    student: Student = BOW,
) -> Result:
    arm = Arm(supervisors=supervisors, student=student, method=method, method_name=name)
    return run_study(Setup(task=task, arms=(arm,), seeds=seeds_of(2)), store=MemoryStore())


@dataclass(frozen=True)
class Relay:
    """A fitted student, with what the chain did on the way."""

    last: Fitted
    choices: Mapping[str, object]

    def predict(self, rows: Rows) -> Floats:
        return self.last.predict(rows)


@dataclass(frozen=True)
class Chain:
    """Supervisor -> middle -> middle -> student; every hop labels rows that no earlier hop was trained on."""

    middle: Student
    hops: int = 2

    @property
    def needs(self) -> Needs:
        return Needs(students=(self.middle,))

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        current, *fresh = data.parts(self.hops + 1, seed=seed.split)
        used = [list(current.rows.ids)]
        for part in fresh:
            hop = self.middle.fit(current.rows, current.only, validation=current.checks, seed=seed)
            on_rows, on_checks = (
                Labels.of(rows, hop.predict(rows), source=self.middle.name) for rows in (part.rows, part.validation)
            )
            current = part.relabelled(on_rows, on_checks)
            used.append(list(current.rows.ids))
        last = student.fit(current.rows, current.only, validation=current.checks, seed=seed)
        return Relay(last, {"used": used, "last": dict(last.choices)})


@dataclass(frozen=True)
class Ensemble:
    """A student of the mean of at least two supervisors."""

    @property
    def needs(self) -> Needs:
        return Needs(supervisors=(2, None))

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        checks = Validation(rows=data.validation, labels=mean_labels(data.validation_labels, source="mean"))
        return student.fit(data.rows, mean_labels(data.labels, source="mean"), validation=checks, seed=seed)


@dataclass(frozen=True)
class OracleTruth:
    """Learns from the truth and is honest about it."""

    @property
    def needs(self) -> Needs:
        return Needs()

    def train_with_truth(self, student: Student, data: WeakData, truth: Labels, *, seed: Seed) -> Fitted:
        checks = Validation(rows=data.validation, labels=truth)
        return student.fit(data.rows, truth, validation=checks, seed=seed)


def test_a_chain_of_two_hops_runs_through_the_whole_study(task: Task) -> None:
    found = study(task, Chain(PLAIN))[0]
    assert found.score("student").value > 0.6 and found.n_test == found.score("ceiling").n


def test_the_hops_of_a_chain_learn_from_disjoint_parts_of_the_transfer_rows(task: Task) -> None:
    for choice in study(task, Chain(PLAIN))[0].choices["student"]:
        names = Veil.of(task).names(task.rows)
        parts = [{names[row_id] for row_id in part} for part in choice["used"]]
        assert len(parts) == 3 and sum(map(len, parts)) == len(set.union(*parts))
        groups = [{task.rows.groups[task.rows.position[row_id]] for row_id in part} for part in parts]
        assert sum(map(len, groups)) == len(set.union(*groups))


def test_a_chain_without_hops_is_naive(task: Task) -> None:
    chain, naive = study(task, Chain(PLAIN, hops=0)), study(task, WithLoss())
    assert chain.rows(0).probs["student"].tobytes() == naive.rows(0).probs["student"].tobytes()


def test_another_middle_student_is_another_step(task: Task) -> None:
    one, other = study(task, Chain(PLAIN))[0], study(task, Chain(BOW))[0]
    assert not set(one.keys["student"]) & set(other.keys["student"])
    assert (one.keys["weak"], one.keys["ceiling"]) == (other.keys["weak"], other.keys["ceiling"])


def test_an_ensemble_of_two_supervisors_runs_through_the_whole_study(task: Task) -> None:
    found = study(task, Ensemble(), supervisors=(Trained(PLAIN), Flipped(0.3)))[0]
    assert found.weak_model == "plain+flipped:0.3"
    assert len(found.keys["weak"]) == 4  # two supervisors, two seeds


def test_several_supervisors_are_scored_by_the_mean_of_their_probabilities(task: Task) -> None:
    pair = (Trained(PLAIN), Flipped(0.3))
    together = study(task, Ensemble(), supervisors=pair).rows(0).probs["weak"]
    alone = [study(task, WithLoss(), supervisors=(one,)).rows(0).probs["weak"] for one in pair]
    np.testing.assert_allclose(together, (alone[0] + alone[1]) / 2, rtol=0, atol=1e-15)


def test_two_equal_supervisors_teach_what_one_teaches(task: Task) -> None:
    pair = study(task, Ensemble(), supervisors=(Trained(PLAIN), Trained(PLAIN)))
    one = study(task, WithLoss(), supervisors=(Trained(PLAIN),))
    np.testing.assert_allclose(pair.rows(0).probs["student"], one.rows(0).probs["student"], rtol=0, atol=1e-12)


def test_an_oracle_that_learns_from_the_truth_is_the_ceiling_and_is_marked(task: Task) -> None:
    found = study(task, OracleTruth(), name="oracle_truth", supervisors=(Flipped(0.4),))
    assert found[0].oracle
    rows = found.rows(0)  # a method sees its rows in another order: sums differ by rounding
    np.testing.assert_allclose(rows.probs["student"], rows.probs["ceiling"], rtol=0, atol=1e-12)


def test_an_ordinary_method_is_not_marked_as_an_oracle(task: Task) -> None:
    assert not study(task, WithLoss(), name="naive")[0].oracle


def refused(
    method: Method | OracleMethod, *, name: str = "mine", student: Student = BOW, n_supervisors: int = 1
) -> str:
    with pytest.raises(InputError) as caught:
        check_needs(name, method, student, n_supervisors=n_supervisors)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_method_that_peeks_must_say_so_in_its_name() -> None:
    assert refused(OracleTruth()) == "method mine: it sees ground truth, so its name must begin with 'oracle_'"
    check_needs("oracle_mine", OracleTruth(), BOW, n_supervisors=1)


@pytest.mark.parametrize(
    ("method", "n", "line"),
    [
        (WithLoss(), 2, "method mine: needs 1 supervisor, found 2"),
        (Ensemble(), 1, "method mine: needs 2 or more supervisors, found 1"),
    ],
)
def test_the_number_of_supervisors_is_checked(method: Method, n: int, line: str) -> None:
    assert refused(method, n_supervisors=n) == line


@dataclass(frozen=True)
class Asking:
    """Asks for something and does nothing."""

    needs: Needs

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        raise AssertionError("its needs are not met")


def test_a_range_of_supervisors_is_named_as_one() -> None:
    assert refused(Asking(Needs(supervisors=(2, 3)))) == "method mine: needs 2 to 3 supervisors, found 1"


def test_a_student_that_cannot_honour_the_loss_is_refused_before_anything_runs() -> None:
    assert "cross-entropy only" in refused(WithLoss(Confidence()))


def test_a_student_that_cannot_write_is_refused_where_writing_is_asked_for() -> None:
    line = refused(Asking(Needs(generation=True)))
    assert line == "method mine: needs a student that writes text, found bow, which only classifies"


def test_a_study_refuses_unmet_needs_and_computes_nothing(task: Task) -> None:
    class Unused(MemoryStore):
        def put(self, *_: Any, **__: Any) -> Any:
            raise AssertionError("nothing was to be computed")

    arm = Arm(supervisors=(Flipped(0.1), Flipped(0.2)), student=BOW, method=WithLoss(), method_name="naive")
    with pytest.raises(InputError, match="method naive: needs 1 supervisor, found 2"):
        run_study(Setup(task=task, arms=(arm,), seeds=seeds_of(1)), store=Unused())


def weak_data(task: Task, *, n_supervisors: int = 1) -> WeakData:
    rows, validation = task.rows.take(range(0, 240)), task.rows.take(range(240, 300))
    rng = np.random.default_rng(0)

    def labels(of: Rows) -> tuple[Labels, ...]:
        return tuple(Labels.of(of, rng.dirichlet([1, 1], len(of)), source=f"s{i}") for i in range(n_supervisors))

    return WeakData(rows=rows, labels=labels(rows), validation=validation, validation_labels=labels(validation))


@pytest.mark.parametrize("asked", ["only", "checks"])
def test_who_expects_one_supervisor_is_told_when_there_are_several(task: Task, asked: str) -> None:
    with pytest.raises(InputError, match="found 2 supervisors, expected one"):
        getattr(weak_data(task, n_supervisors=2), asked)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_parts_share_out_the_transfer_rows_by_group(task: Task, n: int) -> None:
    data = weak_data(task)
    parts = data.parts(n, seed=1)
    assert sorted(row_id for part in parts for row_id in part.rows.ids) == sorted(data.rows.ids)
    assert sum(len(set(part.rows.groups)) for part in parts) == len(set(data.rows.groups))
    assert [len(part.rows) for part in parts] == pytest.approx([240 / n] * n, abs=3)


def test_each_part_keeps_its_rows_labels_and_all_of_validation(task: Task) -> None:
    data = weak_data(task, n_supervisors=2)
    for part in data.parts(3, seed=1):
        assert part.validation == data.validation and len(part.labels) == 2
        for own, whole in zip(part.labels, data.labels, strict=True):
            assert own.row_ids == part.rows.ids
            assert np.array_equal(own.probs, whole.on(part.rows).probs)


def test_parts_do_not_depend_on_the_order_of_the_rows(task: Task) -> None:
    data = weak_data(task)
    shuffled = data.on(data.rows.take(np.random.default_rng(0).permutation(240)))
    for one, other in zip(data.parts(3, seed=5), shuffled.parts(3, seed=5), strict=True):
        assert set(one.rows.ids) == set(other.rows.ids)


def test_another_seed_gives_other_parts(task: Task) -> None:
    data = weak_data(task)
    assert set(data.parts(2, seed=0)[0].rows.ids) != set(data.parts(2, seed=1)[0].rows.ids)


def test_the_mean_of_labels_is_over_those_who_answered() -> None:
    """Row 0: (.2 + .6) / 2 = .4; row 1: only the second answered, .9; row 2: nobody did, so it stays unanswered."""
    rows = Rows(ids=("a", "b", "c"), texts=("x", "y", "z"), groups=("a", "b", "c"))
    first = Labels.of(rows, [[0.2, 0.8], [0.5, 0.5], [0.5, 0.5]], source="1", answered=[True, False, False])
    second = Labels.of(rows, [[0.6, 0.4], [0.9, 0.1], [0.5, 0.5]], source="2", answered=[True, True, False])
    mean = mean_labels([first, second], source="mean")
    np.testing.assert_allclose(mean.probs[:2, 0], [0.4, 0.9], rtol=1e-12)
    assert mean.answered.tolist() == [True, True, False]


def test_the_mean_of_labels_of_different_rows_is_refused(task: Task) -> None:
    data = weak_data(task)
    with pytest.raises(ValueError, match="labelled different rows"):
        mean_labels([data.labels[0], data.validation_labels[0]], source="mean")


@dataclass(frozen=True)
class Snoop:
    """A naive method that shows the test everything that it was given."""

    needs: ClassVar[Needs] = Needs()
    seen: ClassVar[list[Any]] = []

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        self.seen.append((self, student, data, seed))
        return WithLoss().train(student, data, seed=seed)


def reachable(start: Any) -> list[Any]:
    """Every object that can be reached from `start` by attribute, item, closure or default."""
    found: dict[int, Any] = {}
    waiting = [start]
    while waiting:
        thing = waiting.pop()
        if id(thing) in found or isinstance(thing, type | types.ModuleType):
            continue
        found[id(thing)] = thing
        if isinstance(thing, types.FunctionType):
            waiting += [*(thing.__defaults__ or ()), *(cell.cell_contents for cell in thing.__closure__ or ())]
        elif isinstance(thing, np.ndarray):
            waiting.append(thing.base)
        else:
            waiting += gc.get_referents(thing)
    return list(found.values())


def tells(thing: Any, truth: np.ndarray[Any, Any]) -> bool:
    """Whether an array or sequence is the truth, its one-hot form, or either with the classes swapped."""
    if isinstance(thing, list | tuple) and len(thing) == len(truth) and all(isinstance(x, int | float) for x in thing):
        thing = np.array(thing)
    if not isinstance(thing, np.ndarray) or thing.shape[:1] != truth.shape or thing.dtype.kind not in "biuf":
        return False
    columns = thing.reshape(len(truth), -1).T
    return any(np.array_equal(column, one) for column in columns for one in (truth, 1 - truth))


def told(task: Task, given: Any) -> list[Any]:
    data = next(thing for thing in reachable(given) if isinstance(thing, WeakData))
    names = Veil.of(task).names(task.rows)  # methods see other names; tests may hand over the task's own
    orders = [[names.get(row_id, row_id) for row_id in rows.ids] for rows in (data.rows, data.validation, task.rows)]
    truths = [task.truth(task.pick(ids)) for ids in orders]
    return [
        thing for thing in reachable(given) if isinstance(thing, Task) or any(tells(thing, truth) for truth in truths)
    ]


def test_no_path_of_attributes_leads_a_method_to_the_truth(task: Task) -> None:
    Snoop.seen.clear()
    study(task, Snoop())
    given = list(Snoop.seen)
    Snoop.seen.clear()
    assert len(given) == 2 and [told(task, one) for one in given] == [[], []]


@pytest.mark.parametrize("hidden", ["labels", "array", "task", "closure", "list"])
def test_the_search_for_the_truth_would_find_it(task: Task, hidden: str) -> None:
    data = weak_data(task)
    truth = task.true_labels(data.rows)
    if hidden == "labels":
        assert told(task, replace(data, labels=(truth,)))
    leak = {
        "array": task.truth(data.rows),
        "task": task,
        "closure": lambda: truth,
        "list": task.truth(data.rows).tolist(),
    }
    assert told(task, (data, {"deep": [leak.get(hidden, truth)]}))
