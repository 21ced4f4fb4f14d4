"""Methods that see ground truth: they bound what is possible, and are no way to train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from oversight.methods.entry import Entry
from oversight.methods.method import Needs, WeakData
from oversight.models.student import Fitted, Loss, Student, Validation, cross_entropy
from oversight.tasks.split import Seed
from oversight.tasks.task import Labels


@dataclass(frozen=True)
class OracleEarlyStopping:
    """Train on weak labels, but choose (the evaluation to stop at, the penalty) by true labels of the validation rows.

    The gain over `naive` is what overfitting to the weak labels costs. The learning curve kept is against the truth.

    Attributes:
        loss: a function of (logits, targets, progress).

    Source: Burns et al. 2023, arXiv:2312.09390, section 5.1 (early stopping on ground truth).
    """

    kind: ClassVar[str] = "oracle_early_stopping"

    name: ClassVar[str] = "oracle_early_stopping"

    loss: Loss = cross_entropy

    @property
    def needs(self) -> Needs:
        """One supervisor, and a student that takes the loss."""
        return Needs(losses=(self.loss,))

    def train_with_truth(self, student: Student, data: WeakData, truth: Labels, *, seed: Seed) -> Fitted:
        """See `OracleMethod.train_with_truth`."""
        seen = Validation(rows=data.validation, labels=truth.on(data.validation))
        return student.fit(data.rows, data.only, validation=seen, loss=self.loss, seed=seed)


ENTRIES = {
    "oracle_early_stopping": Entry(
        make=OracleEarlyStopping,
        about="naive, but stopped by true labels of the validation rows: a diagnosis of overfitting",
        paper="Burns et al. 2023, arXiv:2312.09390, section 5.1",
        family="oracles",
    )
}
