"""Supervisors: trained ones see the weak part only, given ones are joined by id, planted faults keep their rate."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.describe import describe
from oversight.errors import InputError
from oversight.models.lexical import BagOfWords
from oversight.supervision.supervisor import Flipped, Given, Trained
from oversight.tasks.split import Seed, split_task
from oversight.tasks.task import Labels, Rows, Task, content_id

SEED = Seed.of(0)
BOW = BagOfWords(strengths=(0.1, 1.0), min_df=1)


def make_task(n: int, *, k: int = 2, seed: int = 0) -> Task:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    texts = tuple(
        f"{'abcd'[label]}{rng.integers(6)} {'abcd'[rng.integers(k)]}{rng.integers(6)} n{i}"
        for i, label in enumerate(labels)
    )
    ids = tuple(map(content_id, texts))
    names = tuple(f"c{j}" for j in range(k))
    return Task(name="t", rows=Rows(ids=ids, texts=texts, groups=ids), labels=labels, class_names=names)


def label(task: Task, supervisor: Flipped | Given | Trained, rows: Rows, seed: Seed = SEED) -> Labels:
    return supervisor.supervise(task, split_task(task, seed=0), [rows], seed=seed).labels[0]


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_flips_have_the_planted_error_rate(k: int, fraction: float) -> None:
    """5000 independent draws: four standard deviations of a binomial share."""
    task = make_task(5000, k=k)
    wrong = label(task, Flipped(fraction), task.rows).probs.argmax(1) != task.labels
    assert abs(wrong.mean() - fraction) < 4 * math.sqrt(fraction * (1 - fraction) / 5000)


@pytest.mark.parametrize(("fraction", "wrong"), [(0.0, 0.0), (1.0, 1.0)])
def test_no_flips_and_all_flips_are_exact(fraction: float, wrong: float) -> None:
    task = make_task(300, k=3)
    assert (label(task, Flipped(fraction), task.rows).probs.argmax(1) != task.labels).mean() == wrong


def test_flips_hit_every_class_alike_and_go_to_every_other_class_alike() -> None:
    """k = 3, 9000 rows, .3 wrong: 450 expected in each of six cells, standard deviation about 20."""
    task = make_task(9000, k=3)
    named = label(task, Flipped(0.3), task.rows).probs.argmax(1)
    cells = [(task.labels == c) & (named == other) for c in range(3) for other in range(3) if c != other]
    assert [int(cell.sum()) for cell in cells] == pytest.approx([450] * 6, abs=85)


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_which_rows_are_flipped_does_not_depend_on_their_order_or_company(shuffle: int) -> None:
    task = make_task(200)
    whole = label(task, Flipped(0.3), task.rows)
    some = task.rows.take(np.random.default_rng(shuffle).permutation(200)[:50])
    assert np.array_equal(label(task, Flipped(0.3), some).probs, whole.on(some).probs)


def test_another_seed_flips_other_rows() -> None:
    task = make_task(400)
    one, other = (label(task, Flipped(0.3), task.rows, Seed.of(seed)).probs for seed in (0, 1))
    assert 0.2 < (one != other).any(1).mean() < 0.65  # 2 * .3 * .7 = .42 expected


def test_a_smaller_fraction_flips_a_subset() -> None:
    task = make_task(1000)
    few, many = (label(task, Flipped(f), task.rows).probs.argmax(1) != task.labels for f in (0.1, 0.3))
    assert not (few & ~many).any() and few.sum() < many.sum()


def test_a_flipped_supervisor_is_as_sure_as_asked_and_spreads_the_rest() -> None:
    task = make_task(100, k=3)
    probs = label(task, Flipped(0.25, 0.8), task.rows).probs
    np.testing.assert_allclose(np.sort(probs, axis=1), [[0.1, 0.1, 0.8]] * 100, rtol=1e-12)


@pytest.mark.parametrize(("field", "values"), [("fraction", (1.5, 1.0)), ("confidence", (0.1, -1.0))])
def test_a_planted_fault_outside_its_range_is_refused(field: str, values: tuple[float, float]) -> None:
    with pytest.raises(InputError, match=rf"flipped: found {field} .*, expected a number in \[0, 1\]"):
        Flipped(*values)


def test_a_planted_fault_cannot_label_rows_whose_truth_it_does_not_know() -> None:
    task = make_task(200)
    with pytest.raises(InputError, match=r"flipped:0\.2: knows the truth of t only, found further tests other"):
        Flipped(0.2).check(task, split_task(task, seed=0), {"other": make_task(20, seed=1)})


def test_a_trained_supervisor_does_not_see_truth_outside_the_weak_part() -> None:
    """All labels outside the weak part are turned round; the supervisor says exactly what it said before."""
    task = make_task(400)
    split = split_task(task, seed=0)
    weak = np.isin(task.rows.ids, split.weak)
    turned = replace(task, labels=np.where(weak, task.labels, 1 - task.labels))
    rows = task.pick(split.test)
    one, other = (Trained(BOW).supervise(t, split, [rows], seed=SEED).labels[0] for t in (task, turned))
    assert np.array_equal(one.probs, other.probs)


def test_a_trained_supervisor_depends_on_the_truth_of_the_weak_part() -> None:
    task = make_task(400)
    split = split_task(task, seed=0)
    rows, turned = task.pick(split.test), replace(task, labels=1 - task.labels)
    one, other = (Trained(BOW).supervise(t, split, [rows], seed=SEED).labels[0] for t in (task, turned))
    np.testing.assert_allclose(one.probs, other.probs[:, ::-1], atol=1e-6)
    assert not np.allclose(one.probs, other.probs)


def test_a_trained_supervisor_labels_each_part_as_if_it_were_alone() -> None:
    task = make_task(300)
    split = split_task(task, seed=0)
    parts = [task.pick(split.transfer), task.pick(split.validation)]
    together = Trained(BOW).supervise(task, split, parts, seed=SEED).labels
    for rows, labels in zip(parts, together, strict=True):
        assert labels.row_ids == rows.ids
        assert np.array_equal(labels.probs, label(task, Trained(BOW), rows).probs)


def test_a_trained_supervisor_tells_its_choices_as_json() -> None:
    task = make_task(300)
    choices = Trained(BOW).supervise(task, split_task(task, seed=0), [task.rows], seed=SEED).choices
    assert choices["strength"] in BOW.strengths


def test_given_labels_are_joined_by_id_and_the_rest_is_unanswered() -> None:
    task = make_task(6)
    labels = Labels.of(task.rows.take([4, 1]), [[0.3, 0.7], [1, 0]], source="s", answered=[True, False])
    found = label_given(task, Given(labels, "votes"))
    assert found.answered.tolist() == [False] * 4 + [True, False]
    assert found.probs[4].tolist() == [0.3, 0.7]


def label_given(task: Task, supervisor: Given) -> Labels:
    return supervisor._on(task.rows, task.n_classes)  # pyright: ignore[reportPrivateUsage]


def test_given_labels_are_known_by_content_not_by_name() -> None:
    task = make_task(5)
    labels = task.true_labels(task.rows)
    assert describe(Given(labels, "a.csv")) == describe(Given(labels, "b.csv"))
    assert describe(Given(labels, "a.csv")) != describe(Given(replace(labels, probs=labels.probs[:, ::-1]), "a.csv"))


def test_the_truth_as_given_labels_is_accepted_everywhere() -> None:
    task = make_task(200)
    split = split_task(task, seed=0)
    supervisor = Given(task.true_labels(task.rows), "truth")
    supervisor.check(task, split, {})
    parts = [task.pick(split.transfer), task.pick(split.validation), task.pick(split.test)]
    given_labels = supervisor.supervise(task, split, parts, seed=SEED)
    for rows, labels in zip(parts, given_labels.labels, strict=True):
        assert labels.answered.all() and np.array_equal(labels.probs.argmax(1), task.truth(rows))
