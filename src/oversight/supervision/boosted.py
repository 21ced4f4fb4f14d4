"""A weak supervisor that is an ensemble: one model trained again and again on the rows that were wrong before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from oversight.errors import InputError
from oversight.models.backbone import Backbone
from oversight.models.student import Fitted, Student, check_student, trained_how
from oversight.supervision.supervisor import Supervision
from oversight.tasks.split import Seed, Split
from oversight.tasks.task import Bools, Floats, Labels, Rows, Task
from oversight.ties import right_shares

ROUNDS = 5
PREFIX = "boost:"


@dataclass(frozen=True)
class Boosted:
    """Multi-class AdaBoost (SAMME) of one weak model on the weak rows with ground truth; its members vote softly.

    Weights w_i of the n weak rows begin equal and sum to 1. In every round a member is trained on the weighted rows,
        err = sum_i w_i u_i,      alpha = log((1 - err) / err) + log(k - 1),
    with u_i = 1 where its class is wrong and 0 where it is right (where m tie the true one among them, 1 - 1/m), and
    w_i is multiplied by exp(alpha u_i), then all are divided by their sum. A member with
    err = 0 is the last, with one that is no better than chance (err >= 1 - 1 / k) it ends before; of the first round
    the member is kept alone. Labels are sum_m alpha_m p_m / sum_m alpha_m.

    Attributes:
        student: the weak model; it must be able to weight rows.
        rounds: most members, at least 1; 1 is `Trained`.

    Source: Zhu et al. 2009, doi:10.4310/SII.2009.v2.n3.a8 (SAMME; as in scikit-learn's AdaBoostClassifier); soft vote
        after Sang et al. 2024, arXiv:2402.00667, whose code boosts the weak supervisor like this for k = 2.
    Differs: from that code, err is that on the weighted weak rows; there it is that on the rows to be labelled, with
        their true labels, which a supervisor does not have. From SAMME: members vote by probabilities.
    """

    kind: ClassVar[str] = "boosted"

    student: Student
    rounds: int = ROUNDS

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise InputError(f"{PREFIX}{self.student.name}: found {self.rounds} rounds, expected at least 1")

    @property
    def name(self) -> str:
        """`boost:bow:5`."""
        return f"{PREFIX}{self.student.name}:{self.rounds}"

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """The student's."""
        return self.student.backbones

    @property
    def train(self) -> str:
        """How its student is trained."""
        return trained_how(self.student)

    def check(self, task: Task, split: Split, tests: Mapping[str, Task]) -> None:
        """Whatever its student refuses.

        Raises:
            InputError: see the student's `check`.
        """
        check_student(self.student, n_rows=len(split.weak), n_classes=task.n_classes)

    def answers(self, rows: Rows) -> Bools:
        """All."""
        return np.ones(len(rows), bool)

    def supervise(self, task: Task, split: Split, targets: Sequence[Rows], *, seed: Seed) -> Supervision:
        """Every member makes its choices on the same grouped tenth of the weak rows."""
        rows = task.pick(split.weak)
        members, alphas, rounds = self._members(rows, task.true_labels(rows), task.truth(rows), seed)
        labels = tuple(Labels.of(one, voted(members, alphas, one), source=self.name) for one in targets)
        return Supervision(labels=labels, choices={"members": rounds})

    def _members(
        self, rows: Rows, labels: Labels, truth: np.ndarray[tuple[int], np.dtype[np.int64]], seed: Seed
    ) -> tuple[list[Fitted], list[float], list[dict[str, object]]]:
        """Members, their weights in the vote, and what each chose."""
        n, k = labels.probs.shape
        weights = np.full(n, 1 / n)
        members: list[Fitted] = []
        alphas: list[float] = []
        told: list[dict[str, object]] = []
        for _ in range(self.rounds):
            fitted = self.student.fit(rows, labels, weights=n * weights if members else None, seed=seed)
            wrong = 1 - right_shares(fitted.predict(rows), truth)
            error = float(weights @ wrong)
            alpha = say(error, k)
            told.append({"error": error, "alpha": alpha, **fitted.choices})
            if alpha is not None or not members:
                members.append(fitted)
                alphas.append(1.0 if alpha is None else alpha)
            if alpha is None:
                break
            weights = reweighted(weights, wrong, alpha)
        return members, alphas, told


def say(error: float, k: int) -> float | None:
    """A member's weight in the vote, log((1 - error) / error) + log(k - 1); None where boosting ends.

    It ends with an error of 0, for which the weight has no bound, and with one that chance would do as well.
    """
    if error <= 0 or error >= 1 - 1 / k:
        return None
    return math.log((1 - error) / error) + math.log(k - 1)


def reweighted(weights: Floats, wrong: Floats | Bools, alpha: float) -> Floats:
    """(n,) weights that sum to 1, those of wrong rows larger by the factor exp(alpha); `wrong` in [0, 1].

    For k = 2 half of the weight is then on rows that were wrong.
    """
    grown = weights * np.exp(alpha * wrong)
    return grown / grown.sum()


def voted(members: Sequence[Fitted], alphas: Sequence[float], rows: Rows) -> Floats:
    """(n, k) mean of the members' probabilities, weighted by `alphas`, which are above 0."""
    total = np.sum([alpha * one.predict(rows) for one, alpha in zip(members, alphas, strict=True)], axis=0)
    return total / sum(alphas)
