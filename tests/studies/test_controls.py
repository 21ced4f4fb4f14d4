"""Controls that must come out: random answers, planted flips, a perfect copy, no signal at all, leaking halves."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import oversight as ov
from oversight.methods.method import WithLoss
from oversight.reports.result import Result, Study
from oversight.supervision.supervisor import Flipped, Trained
from oversight.tasks.task import Rows, Task, content_id

Run = Callable[..., Result]
NAIVE = WithLoss()


def about_zero_or_undefined(study: Study) -> bool:
    return not study.pgr.defined or study.pgr.low <= 0 <= study.pgr.high


@pytest.mark.parametrize("seed", range(3))
def test_from_a_supervisor_that_answers_at_random_a_student_learns_nothing(
    make_task: Any, run_arm: Run, reader: Any, seed: int
) -> None:
    """Flips with probability 1/2 carry no information: the student stays near chance, the ceiling is far above."""
    found = run_arm(make_task(seed), Flipped(0.5), reader(8), NAIVE, seeds=5)[0]
    assert abs(found.score("weak").value - 0.5) < 0.05
    assert abs(found.score("student").value - 0.5) < 0.12
    assert found.score("ceiling").value > 0.8
    assert about_zero_or_undefined(found)


@pytest.mark.parametrize("seed", range(3))
def test_of_symmetric_flips_a_student_recovers_most(make_task: Any, run_arm: Run, reader: Any, seed: int) -> None:
    """A quarter of the truth flipped at random: weak is right on 3/4, and no linear student can copy the flips."""
    found = run_arm(make_task(seed, n=3200, signal=0.9), Flipped(0.25), reader(8), NAIVE, seeds=5)[0]
    assert abs(found.score("weak").value - 0.75) < 0.04
    assert found.pgr.defined and found.pgr.value > 0.5 and found.pgr.low > 0.2


def test_flips_of_three_classes_are_recovered_too(make_task: Any, run_arm: Run, reader: Any) -> None:
    found = run_arm(make_task(0, n=3000, k=3, signal=1.3), Flipped(0.25), reader(8), NAIVE, seeds=5)[0]
    assert found.pgr.defined and found.pgr.low > 0.2


@pytest.mark.parametrize("seed", range(3))
def test_a_student_that_can_copy_its_supervisor_recovers_nothing(
    make_task: Any, run_arm: Run, reader: Any, seed: int
) -> None:
    """The supervisor's soft labels are a softmax of three of the eight numbers that the student reads."""
    found = run_arm(make_task(seed, n=3200), Trained(reader(3)), reader(8), NAIVE, seeds=5)[0]
    assert found.gap.low > 0.05
    assert found.pgr.defined and abs(found.pgr.value) < 0.12
    assert found.agreement["all"].value > 0.95


def test_a_student_that_is_its_supervisor_has_no_gap_to_recover(word_task: Task, run_arm: Run, bow: Any) -> None:
    found = run_arm(word_task, Trained(bow), bow, NAIVE, seeds=3)[0]
    assert about_zero_or_undefined(found)
    assert abs(found.gain.value) < 0.05


@pytest.mark.parametrize("seed", range(3))
def test_where_nothing_can_be_learned_pgr_is_undefined_with_a_reason(
    make_task: Any, run_arm: Run, reader: Any, seed: int
) -> None:
    found = run_arm(make_task(seed, signal=0.0), Trained(reader(3)), reader(8), NAIVE, seeds=5)[0]
    assert not found.pgr.defined and math.isnan(found.pgr.value)
    assert found.pgr.reason in {"the gap is within noise", "the ceiling is not above the supervisor"}


def test_a_supervisor_that_is_better_than_the_ceiling_has_no_pgr(make_task: Any, run_arm: Run, reader: Any) -> None:
    found = run_arm(make_task(), Trained(reader(8)), reader(2), NAIVE)[0]
    assert found.pgr.reason == "the ceiling is not above the supervisor"


def leaking(study: Study) -> bool:
    return any("the halves may leak" in warning for warning in study.warnings)


def differing(study: Study) -> bool:
    return any("more than chance makes likely" in warning for warning in study.warnings)


def halves(make_task: Any, seed: int, *, grouped: bool) -> Task:
    """200 points, nearly no signal, each six times in train, and 300 other points as the given test.

    Without groups the copies stand in the weak and in the transfer part; a reader of 40 numbers learns them by heart.
    """
    train = make_task(seed, n=200, copies=6, grouped=grouped, signal=0.05, d=40)
    test = make_task(seed + 1000, n=300, signal=0.05, d=40)
    groups = (*train.rows.groups, *(f"test {group}" for group in test.rows.groups))
    rows = Rows(ids=train.rows.ids + test.rows.ids, texts=train.rows.texts + test.rows.texts, groups=groups)
    is_test = np.arange(len(rows)) >= len(train)
    return replace(train, rows=rows, labels=np.concatenate([train.labels, test.labels]), is_test=is_test)


@pytest.mark.parametrize("seed", range(4))
def test_near_duplicates_across_the_halves_are_reported_as_a_leak(
    make_task: Any, run_arm: Run, reader: Any, seed: int
) -> None:
    assert leaking(run_arm(halves(make_task, seed, grouped=False), Trained(reader(40)), reader(8), NAIVE)[0])


@pytest.mark.parametrize("seed", range(4))
def test_with_the_copies_in_one_group_nothing_leaks(make_task: Any, run_arm: Run, reader: Any, seed: int) -> None:
    assert not leaking(run_arm(halves(make_task, seed, grouped=True), Trained(reader(40)), reader(8), NAIVE)[0])


@pytest.mark.parametrize("seed", range(6))
def test_clean_data_are_not_reported_as_leaking(make_task: Any, run_arm: Run, reader: Any, seed: int) -> None:
    assert not differing(run_arm(make_task(seed, n=1200), Trained(reader(3)), reader(8), NAIVE, seeds=5)[0])


def test_a_leak_is_told_with_both_numbers(make_task: Any, run_arm: Run, reader: Any) -> None:
    found = run_arm(halves(make_task, 0, grouped=False), Trained(reader(40)), reader(8), NAIVE)[0]
    line = next(warning for warning in found.warnings if "leak" in warning)
    assert line.isprintable() and f"but on {found.score('weak').value:.3f} of the test rows" in line


def test_a_test_of_one_group_claims_no_leak(make_task: Any, run_arm: Run, reader: Any) -> None:
    """From one group nothing can be said about how far the groups differ."""
    task = make_task(0, n=1000)
    is_test = np.arange(1000) < 100
    groups = tuple("all" if one else group for one, group in zip(is_test, task.rows.groups, strict=True))
    task = replace(task, rows=replace(task.rows, groups=groups), is_test=is_test)
    assert not differing(run_arm(task, Trained(reader(3)), reader(8), NAIVE)[0])


def told_by_length(seed: int, n: int = 4000) -> Task:
    """Three rows of ten are long, and there other words tell the class: who reads words can tell long rows apart."""
    draw = random.Random(f"lengths {seed}")
    words = {False: ("good", "bad"), True: ("splendid", "dreadful")}
    labels, texts = [i % 2 for i in range(n)], list[str]()
    for i, label in enumerate(labels):
        long = draw.random() < 0.3
        others = draw.choices(("plain", "blue", "round"), k=20 if long else 5)
        texts.append(" ".join([words[long][label], *others, f"n{i}"]))
    ids = tuple(map(content_id, texts))
    rows = Rows(ids=ids, texts=tuple(texts), groups=ids)
    return Task(name="told by length", rows=rows, labels=np.array(labels), class_names=("yes", "no"))


@pytest.mark.parametrize("seed", range(3))
def test_random_errors_average_out_and_those_that_can_be_read_are_copied(seed: int) -> None:
    """Supervisors by name, wrong on three of ten rows: errors at random are recovered from, long rows are not."""
    weak = ["flipped:0.3", "planted:random:0.3", "planted:longest:0.3"]
    found = ov.weak_to_strong(told_by_length(seed), weak=weak, strong="bow", seeds=5, store=":memory:")
    flipped, drawn, longest = found.studies
    for one in (flipped, drawn):
        assert one.gap.low > 0.2 and one.pgr.defined and one.pgr.low > 0.9
    assert longest.gap.low > 0.2 and longest.pgr.defined and abs(longest.pgr.value) < 0.15
    assert longest.agreement["weak_wrong"].value > 0.85 > 0.3 > flipped.agreement["weak_wrong"].value
    assert drawn.score("weak").value == longest.score("weak").value == pytest.approx(0.7, abs=1e-3)


@pytest.mark.parametrize("name", ["flipped:0", "planted:longest:0", "planted:confident:0"])
def test_a_rate_of_zero_is_the_truth_and_leaves_no_gap(name: str) -> None:
    found = ov.weak_to_strong(told_by_length(0, 600), weak=name, strong="bow", seeds=3, store=":memory:")[0]
    assert found.score("weak").value == 1.0 and found.weak_model == name
    assert not found.pgr.defined and found.pgr.reason == "the ceiling is not above the supervisor"
