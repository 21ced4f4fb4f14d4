"""A whole study under other names of its classes: the same scores, ties, warnings and choices of training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from oversight.methods.filters import ConfidenceFilter
from oversight.methods.hard import HardLabels
from oversight.methods.method import Method, WithLoss
from oversight.reports.result import Study
from oversight.supervision.supervisor import Given
from oversight.tasks.task import Labels, Task

METHODS: dict[str, Method] = {"naive": WithLoss(), "hard": HardLabels(), "confidence_filter": ConfidenceFilter(0.6)}


def two_annotators(task: Task, seed: int) -> Labels:
    """The mean of two people who differ on three of ten rows, and are both wrong on one of ten."""
    rng = np.random.default_rng(seed)
    truth = np.eye(task.n_classes)[task.truth(task.rows)]
    other = np.roll(truth, 1, axis=1)
    u = rng.random(len(truth))[:, None]
    return Labels.of(
        task.rows, np.where(u < 0.1, other, np.where(u < 0.4, (truth + other) / 2, truth)), source="people"
    )


def renamed(task: Task, labels: Labels, order: list[int]) -> tuple[Task, Labels]:
    """Class j is now order[j]."""
    moved = np.empty_like(labels.probs)
    moved[:, order] = labels.probs
    return replace(task, labels=np.array(order)[task.labels]), replace(labels, probs=moved)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("k", "order"), [(2, [1, 0]), (3, [2, 0, 1])])
def test_a_study_is_the_same_whatever_its_classes_are_called(
    make_task: Callable[..., Task], reader: Any, run_arm: Callable[..., Any], name: str, k: int, order: list[int]
) -> None:
    """Students solve to a gradient of 1e-8, so scores of choices are equal and those of probabilities within 1e-6."""
    task = make_task(3, n=400, k=k)
    labels = two_annotators(task, 4)
    both: list[Study] = []
    for one, given in ((task, labels), renamed(task, labels, order)):
        both.append(run_arm(one, Given(given, "labels:people"), reader(8), METHODS[name], seeds=2)[0])
    first, second = both
    assert min(first.ties["weak"]) > 0 and first.ties == second.ties
    for role in ("weak", "student", "ceiling"):
        for metric, number in first.scores[role].items():
            assert number.value == pytest.approx(second.scores[role][metric].value, abs=1e-6), (role, metric)
    assert first.gain.value == pytest.approx(second.gain.value, abs=1e-9)
    assert first.agreement["all"].value == pytest.approx(second.agreement["all"].value, abs=1e-9)
    assert first.warnings == second.warnings
