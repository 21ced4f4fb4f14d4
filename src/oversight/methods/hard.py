"""The hard variant of naive: a choice in place of a probability."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from oversight.methods.entry import Entry
from oversight.methods.method import Needs, WeakData
from oversight.models.student import Fitted, Loss, Student, Validation, cross_entropy
from oversight.tasks.split import Seed
from oversight.tasks.task import Labels


@dataclass(frozen=True)
class HardLabels:
    """Cross-entropy to the class that the weak label makes most probable; choices by the same on validation.

    Where several classes are equally probable each gets the same share, so that no class is preferred by its number.

    Attributes:
        loss: what is minimised on them.

    Source: Burns et al. 2023, arXiv:2312.09390 (soft against hard weak labels).
    """

    loss: Loss = cross_entropy

    @property
    def needs(self) -> Needs:
        """One supervisor, and a student that takes the loss."""
        return Needs(losses=(self.loss,))

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        checks = Validation(rows=data.validation, labels=hardened(data.checks.labels))
        return student.fit(data.rows, hardened(data.only), validation=checks, loss=self.loss, seed=seed)


def hardened(labels: Labels) -> Labels:
    """All weight on the most probable class, shared equally by those that are equally probable."""
    largest = (labels.probs >= labels.probs.max(1, keepdims=True)).astype(np.float64)
    return replace(labels, probs=largest / largest.sum(1, keepdims=True))


ENTRIES = {
    "hard": Entry(
        make=HardLabels,
        about="cross-entropy to the class that the weak label makes most probable",
        paper="Burns et al. 2023, arXiv:2312.09390",
        family="losses",
    )
}
