"""How a student learns from weak labels of many rows and bought true labels of a few.

No methods for weak labels alone: they take two sets of labels, the supervisor's and those that were bought
(`supervision.bought`), and have no way to the truth of any other row. Choices of the student (penalty, epoch) are made
on the weak labels of the validation rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from oversight.errors import InputError
from oversight.methods.chains import Told
from oversight.methods.method import Method, Needs, WeakData
from oversight.models.batching import alone
from oversight.models.finetune.student import FineTuned
from oversight.models.student import Fitted, Student, Validation
from oversight.tasks.split import Seed, buying_order, cut_by_group
from oversight.tasks.task import Bools, Floats, Labels, Rows

BOTH = Needs(supervisors=(2, 2))
WEIGHTS = (1.0, 4.0, 16.0)
FOLDS = 3
FEWEST = 10


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Rows with a label each, true or weak.

    Attributes:
        rows: n rows, in the order of the transfer rows.
        labels: of those rows.
        true: (n,) which labels are bought.
        checks: validation rows with their weak labels.
    """

    rows: Rows
    labels: Labels
    true: Bools
    checks: Validation

    @classmethod
    def of(cls, data: WeakData, n_weak: int | None, by: str, *, seed: Seed) -> Lesson:
        """All bought rows, and of the others that the supervisor answered the last `n_weak` to be bought; None = all.

        Weak labels are taken from the end of the queue, so that those of a smaller number are among those of a larger
        one and do not depend on how many were bought.

        Raises:
            InputError: there are not so many others.
        """
        weak, bought = (labels.on(data.rows) for labels in data.labels)
        order = buying_order(data.rows, seed=seed, by=by)
        others = order[(weak.answered & ~bought.answered)[order]]
        if n_weak is not None and n_weak > len(others):
            raise InputError(f"found {n_weak} weak labels asked for, expected at most the {len(others)} other rows")
        chosen = others if n_weak is None else others[len(others) - n_weak :]
        at = np.sort(np.concatenate([np.flatnonzero(bought.answered), chosen]))
        true = bought.answered[at]
        rows = data.rows if len(at) == len(data.rows) else data.rows.take(at)
        probs = np.where(true[:, None], bought.probs[at], weak.probs[at])
        labels = Labels.of(rows, probs, source=f"{bought.source} and {weak.source}")
        checks = Validation(rows=data.validation, labels=data.validation_labels[0])
        return cls(rows=rows, labels=labels, true=true, checks=checks)

    def without(self, left_out: Bools) -> Lesson:
        """The same but for some rows; `left_out` (n,)."""
        at = np.flatnonzero(~left_out)
        rows = self.rows.take(at)
        return Lesson(rows=rows, labels=self.labels.on(rows), true=self.true[at], checks=self.checks)

    def learned(self, student: Student, weight: float, *, seed: Seed) -> Fitted:
        """The student trained on all of them, each true label counting `weight` times; weights have mean 1."""
        weights = None
        if weight != 1 and self.true.any() and not self.true.all():
            counts = np.where(self.true, weight, 1.0)
            weights = counts / counts.mean()
        return student.fit(self.rows, self.labels, validation=self.checks, weights=weights, seed=seed)


@dataclass(frozen=True)
class Pooled:
    """Every label counts alike, whoever gave it.

    Attributes:
        n_weak: weak labels used beside the bought ones; None = all other rows that the supervisor answers.
        by: what is bought one after the other, see `tasks.split.buying_order`.
    """

    kind: ClassVar[str] = "pooled"

    n_weak: int | None = None
    by: str = "rows"

    @property
    def needs(self) -> Needs:
        """The supervisor's labels and the bought ones."""
        return BOTH

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        return Lesson.of(data, self.n_weak, self.by, seed=seed).learned(student, 1.0, seed=seed)


@dataclass(frozen=True)
class Weighted:
    """A true label counts as often as `w` weak ones; of several `w` the one is kept that foretells bought labels best.

    The bought rows are cut by group into FOLDS parts; for every w and part the student is trained on everything else,
    and the cross-entropy of its probabilities to the true labels of the part is summed. Bought labels are paid for, so
    nothing is used that the budget does not hold. Fewer than FEWEST of them, or all in one part, choose nothing: w = 1,
    where it is among the weights, else the smallest.

    Attributes:
        n_weak, by: as for `Pooled`.
        weights: w to choose from, above 0; a single one is taken as it is.
    """

    kind: ClassVar[str] = "weighted"

    n_weak: int | None = None
    by: str = "rows"
    weights: tuple[float, ...] = WEIGHTS

    def __post_init__(self) -> None:
        if not self.weights or not all(0 < one < np.inf for one in self.weights):
            raise InputError(f"weighted: found weights {list(self.weights)}, expected numbers above 0")

    @property
    def needs(self) -> Needs:
        """The supervisor's labels and the bought ones."""
        return BOTH

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        lesson = Lesson.of(data, self.n_weak, self.by, seed=seed)
        with alone():
            losses = self._losses(student, lesson, seed=seed)
            if losses:
                weight = min(losses, key=lambda one: (losses[one], one))
            else:
                weight = 1.0 if 1.0 in self.weights else min(self.weights)
            fitted = lesson.learned(student, weight, seed=seed)
        told = {"true_weight": weight, "tried_weights": [{"weight": w, "cross_entropy": x} for w, x in losses.items()]}
        return Told(fitted=fitted, choices={**fitted.choices, **told})

    def _losses(self, student: Student, lesson: Lesson, *, seed: Seed) -> Mapping[float, float]:
        """Cross-entropy per bought label in nats by weight; empty where nothing can be or is to be chosen."""
        at = np.flatnonzero(lesson.true)
        if len(self.weights) == 1 or len(at) < FEWEST or lesson.true.all():
            return {}
        bought = lesson.rows.take(at)
        part = cut_by_group(
            bought.groups, np.zeros(len(at), np.int64), [1 / FOLDS] * FOLDS, seed=f"fold {seed.split}", names=bought.ids
        )
        if part.min() == part.max():
            return {}
        found = dict.fromkeys(self.weights, 0.0)
        for fold in np.unique(part):
            left_out = np.zeros(len(lesson.rows), bool)
            left_out[at[part == fold]] = True
            rest, held = lesson.without(left_out), lesson.rows.take(np.flatnonzero(left_out))
            for weight in self.weights:
                probs = rest.learned(student, weight, seed=seed).predict(held)
                found[weight] += _nats(lesson.labels.on(held).probs, probs) / len(at)
        return found


def _nats(targets: Floats, probs: Floats) -> float:
    """Summed cross-entropy."""
    return float(-(targets * np.log(np.maximum(probs, 1e-300))).sum())


def check_mix(way: str, student: Student, weights: tuple[float, ...]) -> None:
    """Refuse a way to mix that a student cannot honour, or that would take more than anyone asks for.

    Raises:
        InputError: there is no such way, or which student.
    """
    if way not in WAYS:
        raise InputError(f"--mix: found {way}, expected {', '.join(WAYS)}")
    if way == "weighted" and len(weights) > 1 and isinstance(student, FineTuned):
        n_fits = FOLDS * len(weights) + 1
        raise InputError(
            f"--mix weighted: to choose among {len(weights)} weights {student.name} would be fine-tuned {n_fits} times "
            "in every cell; expected one, such as --weight 10, or --mix pooled"
        )


def _pooled(n_weak: int | None, by: str, weights: tuple[float, ...]) -> Method:
    del weights
    return Pooled(n_weak, by)


WAYS: Mapping[str, Callable[[int | None, str, tuple[float, ...]], Method]] = {"pooled": _pooled, "weighted": Weighted}
