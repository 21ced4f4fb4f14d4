"""Planted supervisors: exact numbers of errors, in the place that is named, a function of rows and seed alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oversight.errors import InputError
from oversight.supervision.corruption import (
    REFERRED,
    STRUCTURES,
    Corrupted,
    Errors,
    Mistaken,
    draw,
    lengths,
    named,
)
from oversight.supervision.supervisor import Derived, Flipped, Given, Supervisor
from oversight.tasks.split import Seed, Split, split_task
from oversight.tasks.task import Bools, Floats, Ints, Labels, Rows, Task, content_id

PLANTED = [name for name in STRUCTURES if name != "weak"]
SEED = Seed.of(3)
SEEDS = [Seed.of(i) for i in range(3)]
RATES = (0.0, 0.1, 0.3, 0.999)


def task_of(n: int = 400, *, k: int = 2, seed: int = 0) -> Task:
    """Texts of different lengths; several share one."""
    rng = np.random.default_rng(seed)
    texts = tuple(f"n{i} " + "x" * int(length) for i, length in enumerate(rng.integers(0, 30, n)))
    ids = tuple(map(content_id, texts))
    return Task(
        name="lengths",
        rows=Rows(ids=ids, texts=texts, groups=ids),
        labels=np.arange(n) % k,
        class_names=tuple(f"c{j}" for j in range(k)),
    )


def probabilities(task: Task, *, seed: int = 1) -> Floats:
    """(n, k) of a model that is right on most rows, each with another confidence."""
    rng = np.random.default_rng(seed)
    truth = np.eye(task.n_classes)[task.labels]
    found = truth * rng.uniform(0, 2, (len(task), 1)) + rng.uniform(0, 1, (len(task), task.n_classes))
    return found / found.sum(1, keepdims=True)


def given(task: Task, *, seed: int = 1, name: str = "model") -> Given:
    return Given(Labels.of(task.rows, probabilities(task, seed=seed), source=name), name)


def planted(structure: str, task: Task, like: Supervisor | None = None) -> Corrupted:
    reference = given(task, seed=2, name="reference") if structure in ("unconfident", "confident") else None
    return Corrupted(structure=structure, like=like or given(task), reference=reference)


def parts(task: Task, split: Split) -> list[Rows]:
    return [task.pick(ids) for ids in (split.transfer, split.validation, split.test)]


def wrong(labels: Labels, task: Task, rows: Rows) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return labels.on(rows).answered & (labels.on(rows).probs.argmax(1) != task.truth(rows))


@pytest.mark.parametrize("structure", PLANTED)
@pytest.mark.parametrize("n_wrong", [0, 1, 57, 400])
def test_exactly_so_many_rows_are_wrong(structure: str, n_wrong: int) -> None:
    task = task_of()
    errors = Errors(structure=structure, n_wrong=n_wrong, seed=0)
    assert errors.on(task.rows, task.labels, reference=probabilities(task)).sum() == n_wrong


@pytest.mark.parametrize("structure", PLANTED)
def test_the_same_rows_are_wrong_whatever_their_order(structure: str) -> None:
    task, reference = task_of(), probabilities(task_of())
    errors = Errors(structure=structure, n_wrong=100, seed=0)
    order = np.random.default_rng(5).permutation(len(task))
    first = errors.on(task.rows, task.labels, reference=reference)
    shuffled = errors.on(task.rows.take(order), task.labels[order], reference=reference[order])
    assert (first[order] == shuffled).all()
    assert (errors.on(task.rows, task.labels, reference=reference) == first).all()


def test_another_seed_draws_other_rows_and_breaks_ties_otherwise() -> None:
    task = task_of()
    for structure in ("random", "longest"):
        one, other = (Errors(structure=structure, n_wrong=100, seed=i).on(task.rows, task.labels) for i in (0, 1))
        assert (one != other).any()
        assert (one != other).sum() > 100 if structure == "random" else (one != other).sum() < 30


def test_lengths_are_those_of_all_that_is_shown() -> None:
    rows = Rows(ids=("a", "b"), texts=("xx", "x"), others=("", "xxxx"), groups=("a", "b"))
    assert lengths(rows).tolist() == [2, 5]


def test_every_structure_errs_where_it_says() -> None:
    task, reference = task_of(), probabilities(task_of())
    on = {
        name: Errors(structure=name, n_wrong=120, seed=0).on(task.rows, task.labels, reference=reference)
        for name in PLANTED
    }
    size, sure, right = lengths(task.rows), reference.max(1), reference.argmax(1) == task.labels
    assert size[on["longest"]].min() >= size[~on["longest"]].max()
    assert size[on["shortest"]].max() <= size[~on["shortest"]].min()
    assert sure[on["unconfident"]].max() <= sure[~on["unconfident"]].min()
    assert right.sum() > 120 and right[on["confident"]].all()
    assert sure[on["confident"]].min() >= sure[right & ~on["confident"]].max()
    n = int(right.sum()) + 10
    beyond = Errors(structure="confident", n_wrong=n, seed=0).on(task.rows, task.labels, reference=reference)
    assert beyond[right].all() and sure[beyond & ~right].max() <= sure[~beyond].min()


@pytest.mark.parametrize(("n_wrong", "found"), [(401, "401"), (-1, "-1")])
def test_an_accuracy_that_cannot_be_is_refused(n_wrong: int, found: str) -> None:
    task = task_of()
    with pytest.raises(InputError, match=f"found {found} rows to be wrong, expected 0 to 400"):
        Errors(structure="random", n_wrong=n_wrong, seed=0).on(task.rows, task.labels)


def test_what_is_missing_or_unused_or_unknown_is_refused() -> None:
    task = task_of()
    with pytest.raises(InputError, match="no reference"):
        Errors(structure="confident", n_wrong=3, seed=0).on(task.rows, task.labels)
    with pytest.raises(InputError, match="no reference"):
        Corrupted(structure="unconfident", like=given(task))
    with pytest.raises(InputError, match="does not use"):
        Corrupted(structure="random", like=given(task), reference=given(task))
    with pytest.raises(InputError, match="longest"):
        Corrupted(structure="longst", like=given(task))
    with pytest.raises(InputError, match="confidence 2"):
        Corrupted(structure="random", like=given(task), confidence=2)
    split = split_task(task, seed=0)
    with pytest.raises(InputError, match=r"expected above 0\.5 with 2 classes"):
        Corrupted(structure="random", like=given(task), confidence=0.5).check(task, split, {})
    with pytest.raises(InputError, match="further tests more"):
        planted("random", task).check(task, split, {"more": task})


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("k", [2, 3])
def test_every_part_has_the_other_supervisors_number_of_errors(structure: str, k: int) -> None:
    task = task_of(k=k)
    split = split_task(task, seed=0)
    targets = parts(task, split)
    found = planted(structure, task).supervise(task, split, targets, seed=SEED)
    like = given(task).supervise(task, split, targets, seed=SEED)
    counts = [int(wrong(one, task, rows).sum()) for one, rows in zip(like.labels, targets, strict=True)]
    assert [int(wrong(one, task, rows).sum()) for one, rows in zip(found.labels, targets, strict=True)] == counts
    assert min(counts) > 0 and found.choices["wrong"] == counts
    assert all(set(np.unique(one.probs)) == {0.0, 1.0} for one in found.labels)
    same = [
        (wrong(one, task, rows) == wrong(other, task, rows)).all()
        for one, other, rows in zip(found.labels, like.labels, targets, strict=True)
    ]
    assert all(same) == (structure == "weak")


def test_a_wrong_row_never_gets_its_true_class_and_others_do_in_turn() -> None:
    task = task_of(k=3)
    classes = named(task.rows, task.labels, np.ones(len(task), bool), n_classes=3, seed=0)
    shift = (classes - task.labels) % 3
    assert set(shift) == {1, 2} and 0.4 < (shift == 1).mean() < 0.6


def test_confidence_is_given_to_the_class_named() -> None:
    task = task_of(k=3)
    split = split_task(task, seed=0)
    one = Corrupted(structure="random", like=given(task), confidence=0.8)
    (labels,) = one.supervise(task, split, [task.rows], seed=SEED).labels
    assert np.allclose(np.sort(labels.probs, 1), [0.1, 0.1, 0.8])


def test_rows_without_an_answer_stay_without() -> None:
    task = task_of()
    answered = np.arange(len(task)) % 4 > 0
    like = Given(Labels.of(task.rows, probabilities(task), source="some", answered=answered), "some")
    (labels,) = (
        Corrupted(structure="longest", like=like)
        .supervise(task, split_task(task, seed=0), [task.rows], seed=SEED)
        .labels
    )
    right = probabilities(task).argmax(1) == task.labels
    assert (labels.answered == answered).all()
    assert (Corrupted(structure="longest", like=like).answers(task.rows) == answered).all()
    assert wrong(labels, task, task.rows).sum() == (answered & ~right).sum()


def test_it_is_made_of_its_sources_labels_and_asks_them_nothing_else() -> None:
    """`derive` with labels at hand is `supervise`, which lets the sources label."""
    task = task_of()
    split = split_task(task, seed=0)
    targets = parts(task, split)
    one = planted("confident", task)
    assert isinstance(one, Derived) and not isinstance(Flipped(0.2), Derived)
    known = [source.supervise(task, split, targets, seed=SEED).labels for source in one.sources]
    direct = one.supervise(task, split, targets, seed=SEED)
    derived = one.derive(task, targets, known, seed=SEED)
    assert all((a.probs == b.probs).all() for a, b in zip(direct.labels, derived.labels, strict=True))
    assert one.name == "planted:confident like model" and one.train == "planted"


def mistaken(structure: str, rate: float, task: Task) -> Mistaken:
    reference = given(task, seed=2, name="reference") if structure in REFERRED else None
    return Mistaken(structure=structure, rate=rate, reference=reference)


def labelled(one: Supervisor, task: Task, seed: Seed) -> tuple[list[Rows], tuple[Labels, ...]]:
    split = split_task(task, seed=seed.split)
    rows = parts(task, split)
    return rows, one.supervise(task, split, rows, seed=seed).labels


@pytest.mark.parametrize("structure", PLANTED)
@pytest.mark.parametrize("rate", RATES)
def test_exactly_the_share_of_every_part_is_wrong_whatever_the_seed(structure: str, rate: float) -> None:
    task = task_of(k=3)
    one = mistaken(structure, rate, task)
    for seed in SEEDS:
        split = split_task(task, seed=seed.split)
        rows = parts(task, split)
        found = one.supervise(task, split, rows, seed=seed)
        counts = [int(wrong(labels, task, part).sum()) for labels, part in zip(found.labels, rows, strict=True)]
        assert counts == [round(rate * len(part)) for part in rows] == found.choices["wrong"]
        assert found.choices["of"] == [len(part) for part in rows]
        assert all(labels.answered.all() and set(np.unique(labels.probs)) == {0.0, 1.0} for labels in found.labels)


def test_another_seed_has_as_many_errors_on_other_rows() -> None:
    task = task_of()
    split = split_task(task, seed=0)
    test = task.pick(split.test)
    one, other = (
        wrong(mistaken("random", 0.3, task).supervise(task, split, [test], seed=seed).labels[0], task, test)
        for seed in SEEDS[:2]
    )
    assert one.sum() == other.sum() == round(0.3 * len(test)) and (one != other).any()


def naive_errors(structure: str, rows: Rows, truth: Ints, reference: Floats, n_wrong: int, seed: int) -> Bools:
    """Which rows are wrong, one row after the other, from the words that say where."""
    drawn = [draw(f"{structure} {seed} {row_id}") for row_id in rows.ids]

    def place(i: int) -> tuple[Any, ...]:
        sure, right = max(reference[i]), reference[i].argmax() == truth[i]
        first: dict[str, tuple[Any, ...]] = {
            "random": (),
            "longest": (-lengths(rows)[i],),
            "shortest": (lengths(rows)[i],),
            "unconfident": (sure,),
            "confident": (not right, -sure if right else sure),
        }
        return (*first[structure], drawn[i])

    chosen = sorted(range(len(rows)), key=place)[:n_wrong]
    return np.isin(np.arange(len(rows)), chosen)


@pytest.mark.parametrize("structure", PLANTED)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_rows_are_those_of_the_naive_definition(structure: str, seed: Seed) -> None:
    task = task_of()
    by_id = dict(zip(task.rows.ids, probabilities(task, seed=2), strict=True))
    rows, labels = labelled(mistaken(structure, 0.3, task), task, seed)
    for part, found in zip(rows, labels, strict=True):
        reference = np.array([by_id[row_id] for row_id in part.ids])
        n_wrong = round(0.3 * len(part))
        expected = naive_errors(structure, part, task.truth(part), reference, n_wrong, seed.init)
        assert (wrong(found, task, part) == expected).all()


def test_derived_is_supervised_and_needs_its_reference_alone() -> None:
    task = task_of()
    split = split_task(task, seed=0)
    rows = parts(task, split)
    one = mistaken("confident", 0.2, task)
    assert isinstance(one, Derived) and [source.name for source in one.sources] == ["reference"]
    known = [source.supervise(task, split, rows, seed=SEEDS[0]).labels for source in one.sources]
    both = (one.supervise(task, split, rows, seed=SEEDS[0]), one.derive(task, rows, known, seed=SEEDS[0]))
    assert all((a.probs == b.probs).all() for a, b in zip(both[0].labels, both[1].labels, strict=True))
    assert mistaken("longest", 0.2, task).sources == ()
    assert (one.name, one.train, one.backbones) == ("planted:confident:0.2", "planted", ())


def test_what_cannot_be_is_refused() -> None:
    task = task_of()
    split = split_task(task, seed=0)
    for rate in (-0.1, 1, 1.2, float("nan")):
        with pytest.raises(InputError, match=rf"planted:longest: found the rate {rate:g}, expected a share of rows"):
            Mistaken(structure="longest", rate=rate)
    with pytest.raises(InputError, match="unknown structure of errors 'weak': known: random, longest"):
        Mistaken(structure="weak", rate=0.2)
    with pytest.raises(InputError, match="does not use"):
        Mistaken(structure="random", rate=0.2, reference=given(task))
    with pytest.raises(InputError, match=r"planted:confident:0\.2: found no reference"):
        Mistaken(structure="confident", rate=0.2).check(task, split, {})
    with pytest.raises(InputError, match="knows the truth of lengths only, found further tests more"):
        mistaken("confident", 0.2, task).check(task, split, {"more": task})
