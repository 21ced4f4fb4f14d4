"""check_method: a method that breaks a rule is caught, and told which."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from oversight.methods.method import Needs, WeakData, WithLoss
from oversight.models.student import Fitted, Student, cross_entropy
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels, Rows
from oversight.testing import ContractError, accuracies, check_method, flips, mean_interval, planted


@dataclass(frozen=True)
class Naive:
    """A method that keeps every rule, to break one at a time."""

    @property
    def needs(self) -> Needs:
        return Needs()

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        return student.fit(data.rows, data.only, validation=data.checks, seed=seed)


class ByPosition(Naive):
    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        rows = data.rows.take(range(0, len(data.rows), 2))
        return student.fit(rows, data.only, validation=data.checks, seed=seed)


class Global(Naive):
    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        np.random.rand()
        return super().train(student, data, seed=seed)


class GlobalOfPython(Naive):
    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        random.random()
        return super().train(student, data, seed=seed)


class ReadsSilence(Naive):
    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        given = data.only.on(data.rows)
        answered = Labels.of(data.rows, given.probs, source="all")
        return student.fit(data.rows, answered, validation=data.checks, seed=seed)


class Peeks(Naive):
    def train(self, student: Student, data: WeakData, *, seed: Seed, truth: Labels | None = None) -> Fitted:
        return super().train(student, data, seed=seed)


@dataclass(frozen=True)
class Scaled:
    """Predictions that are no probabilities."""

    fitted: Fitted

    @property
    def choices(self) -> Mapping[str, object]:
        return {}

    def predict(self, rows: Rows) -> Floats:
        return 2 * self.fitted.predict(rows)


class NoProbabilities(Naive):
    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        return Scaled(super().train(student, data, seed=seed))


@dataclass(frozen=True)
class Silent(Scaled):
    @property
    def choices(self) -> Mapping[str, object]:
        return {"array": np.zeros(2)}

    def predict(self, rows: Rows) -> Floats:
        return self.fitted.predict(rows)


class NotJson(Naive):
    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        return Silent(super().train(student, data, seed=seed))


class OnlyTwo(Naive):
    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        data.only.probs[:, 0] / data.only.probs[:, 1]
        if data.only.n_classes > 2:
            raise IndexError("no such class")
        return super().train(student, data, seed=seed)


class Writes(Naive):
    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        data.only.probs[0] = 0.5
        return super().train(student, data, seed=seed)


class Hidden(Naive):
    def __init__(self) -> None:
        object.__setattr__(self, "counter", 0)


BROKEN: dict[type[Any], str] = {
    ByPosition: "the order of the rows does not count",
    Global: "it gives probabilities, the same again: it draws from a global generator",
    GlobalOfPython: "it gives probabilities, the same again: it draws from a global generator",
    ReadsSilence: "rows without an answer do not count",
    Peeks: "it takes no ground truth: train takes student, data, seed, truth",
    NoProbabilities: "rows of its predictions do not sum to 1",
    NotJson: "what it decided is JSON",
    OnlyTwo: "three classes work or are refused: IndexError",
    Writes: "read-only",
    Hidden: "it is described by its content",
}


def test_a_method_that_keeps_the_rules_passes() -> None:
    assert len(check_method(Naive())) == 9


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_method_that_breaks_a_rule_is_told_which(kind: type[Any]) -> None:
    with pytest.raises(ContractError) as found:
        check_method(kind())
    assert BROKEN[kind] in str(found.value)


@pytest.mark.parametrize("drawn", [0, 1, 300, 622, 623])
def test_a_draw_is_seen_wherever_the_global_generator_stands(drawn: int) -> None:
    kept = np.random.get_state()
    try:
        np.random.seed(0)
        np.random.bytes(4 * drawn)
        with pytest.raises(ContractError, match="draws from a global generator"):
            check_method(Global())
    finally:
        np.random.set_state(kept)


def test_methods_and_losses_are_compared_in_the_same_worlds() -> None:
    found = accuracies([WithLoss(), cross_entropy, squared], flips(0.25), seeds=2, n=900)
    assert found.shape == (2, 3) and np.array_equal(found[:, 0], found[:, 1]) and (found > 0.6).all()
    assert mean_interval(np.array([0.0, 1.0, 2.0])) == pytest.approx((1 - 4.3026527 / 3**0.5, 1 + 4.3026527 / 3**0.5))
    low, high = mean_interval(np.array([0.0, 1.0, 2.0]), n_intervals=5)
    assert (low, high) == pytest.approx((1 - 9.9248432 / 3**0.5, 1 + 9.9248432 / 3**0.5))


def test_a_loss_is_checked_as_a_method() -> None:
    assert len(check_method(cross_entropy)) == 9


def squared(logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
    return ((logits.softmax(-1) - targets) ** 2).sum(-1).mean()


def forgetful(logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
    return cross_entropy(logits + torch.randn_like(logits), targets)


def test_a_users_own_loss_is_checked_by_its_behaviour() -> None:
    assert len(check_method(squared)) == 9
    with pytest.raises(ContractError, match="draws from a global generator"):
        check_method(forgetful)


def test_the_planted_answers_are_as_wrong_as_asked_for() -> None:
    world = planted(flips(0.25), n=4000)
    named = world.data.only.probs.argmax(1)
    right = (named == world.truth.on(world.data.rows).probs.argmax(1)).mean()
    assert abs(right - 0.75) < 4 * np.sqrt(0.75 * 0.25 / len(named))


@pytest.mark.parametrize("k", [2, 3, 5])
def test_classes_lie_as_far_apart_as_asked_for(k: int) -> None:
    """A probe on clean labels comes within the sampling error of the Bayes rule, here by simulation."""
    world = planted(flips(0.0), n=6000, k=k, signal=3.0)
    rng = np.random.default_rng(0)
    corners = np.eye(k) / np.sqrt(2) * 3.0
    draws = corners[np.zeros(20000, int)] + rng.normal(size=(20000, k))
    bayes = (((draws[:, None] - corners) ** 2).sum(2).argmin(1) == 0).mean()
    from oversight.methods.method import WithLoss

    assert abs(world.accuracy(WithLoss()) - bayes) < 0.03
