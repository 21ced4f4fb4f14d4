"""The hard variant of naive: a choice in place of a probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from oversight.methods.entry import Entry
from oversight.methods.method import Needs, WeakData
from oversight.models.student import Fitted, Loss, Student, Validation, cross_entropy
from oversight.tasks.split import Seed


@dataclass(frozen=True)
class HardLabels:
    """Cross-entropy to the class that the weak label makes most probable; choices by the same on validation.

    Where several classes are equally probable each gets the same share, so that no class is preferred by its number.

    Attributes:
        loss: what is minimised on them.

    Source: Burns et al. 2023, arXiv:2312.09390 (soft against hard weak labels).
    """

    kind: ClassVar[str] = "hard"

    loss: Loss = cross_entropy

    @property
    def needs(self) -> Needs:
        """One supervisor, and a student that takes the loss."""
        return Needs(losses=(self.loss,))

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        checks = Validation(rows=data.validation, labels=data.checks.labels.hardened())
        return student.fit(data.rows, data.only.hardened(), validation=checks, loss=self.loss, seed=seed)


ENTRIES = {
    "hard": Entry(
        make=HardLabels,
        about="cross-entropy to the class that the weak label makes most probable",
        paper="Burns et al. 2023, arXiv:2312.09390",
        family="losses",
    )
}
