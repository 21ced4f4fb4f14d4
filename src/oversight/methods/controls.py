"""Methods that ought to fail: what a student makes of labels that say nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from oversight.methods.method import Needs, WeakData, mean_labels
from oversight.models.student import Fitted, Student, Validation
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels, Rows


@dataclass(frozen=True)
class RandomLabels:
    """Train on classes drawn at random in the shares that the weak labels have: a student of nothing.

    What it scores above chance is luck or a fault; `strong on random labels` in every comparison. Draws are by row id
    and seed; transfer and validation rows alike.
    """

    kind: ClassVar[str] = "random_labels"

    @property
    def needs(self) -> Needs:
        """Any number of supervisors, of whom only the class shares are used."""
        return Needs(supervisors=(1, None))

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        weak = mean_labels(data.labels, source="weak").on(data.rows)
        shares = weak.probs[weak.answered].mean(0)
        checks = Validation(rows=data.validation, labels=drawn(data.validation, shares, seed=seed.init))
        return student.fit(data.rows, drawn(data.rows, shares, seed=seed.init), validation=checks, seed=seed)


def drawn(rows: Rows, shares: Floats, *, seed: int) -> Labels:
    """One class per row at random, probability one; `shares` (k,) sum to 1."""
    at = np.array([uniform(f"random label {seed} {row_id}") for row_id in rows.ids])
    chosen = np.minimum(np.searchsorted(np.cumsum(shares), at, side="right"), len(shares) - 1)
    return Labels.of(rows, np.eye(len(shares))[chosen], source="random")


def uniform(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big") / 2**56
