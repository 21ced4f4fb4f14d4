"""Regularisers of fine-tuning: the student's recipe is changed, its ceiling's is not."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from oversight.errors import InputError
from oversight.methods.entry import Entry
from oversight.methods.method import Needs, WeakData
from oversight.models.finetune.recipe import Full, LpFt
from oversight.models.finetune.student import FineTuned
from oversight.models.student import Fitted, Followed, Student, cross_entropy
from oversight.tasks.split import Seed

if TYPE_CHECKING:
    from torch import Tensor

TUNED = ("full", "lora", "lp-ft")


def _naive(student: Student, data: WeakData, seed: Seed) -> Fitted:
    return student.fit(data.rows, data.only, validation=data.checks, loss=cross_entropy, seed=seed)


def tuned(student: Student, name: str) -> FineTuned:
    """The student as one that is fine-tuned.

    Raises:
        InputError: it is not.
    """
    if not isinstance(student, FineTuned):
        raise InputError(f"method {name}: needs a student that is fine-tuned, found {student.name}")
    return student


@dataclass(frozen=True)
class DecayToStart:
    """Naive, every weight pulled back to where it was before: w <- w - lr * strength * (w - w_start).

    Attributes:
        strength: above 0.

    Source: Li et al. 2018, arXiv:1802.01483 (L2-SP); tried for weak-to-strong by Burns et al. 2023, appendix B.
    Differs: decoupled from the gradient; the new head has no start and is left alone.
    """

    kind: ClassVar[str] = "decay_to_start"

    strength: float = 10.0

    def __post_init__(self) -> None:
        if not self.strength > 0:
            raise ValueError(f"strength: found {self.strength}, expected a number above 0")

    @property
    def needs(self) -> Needs:
        """One supervisor and a student that is fine-tuned."""
        return Needs(trains=TUNED)

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        one = tuned(student, "decay_to_start")
        return _naive(replace(one, recipe=replace(one.recipe, decay_to_start=self.strength)), data, seed)


@dataclass(frozen=True)
class AnchoredStates:
    """Naive + strength * mean |h - h_start|^2 / v: the states that the head reads are held where they were.

    h is the pooled state of a text, h_start the same before training, v the mean of |h_start - its mean|^2 over the
    transfer texts; the first mean is over the texts of a logical batch, however many passes it takes.

    Attributes:
        strength: above 0, without unit.

    Source: this project. That drift of representations is penalised is the idea of Le et al. 2026, arXiv:2605.25629
        (Representation Anchoring); of that paper only the abstract could be read, so its distance, its layer and its
        weight are not known here.
    """

    kind: ClassVar[str] = "anchored_states"

    strength: float = 1.0

    def __post_init__(self) -> None:
        if not self.strength > 0:
            raise ValueError(f"strength: found {self.strength}, expected a number above 0")

    @property
    def needs(self) -> Needs:
        """One supervisor and a student that is fine-tuned."""
        return Needs(trains=TUNED)

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        one = tuned(student, "anchored_states")
        return _naive(replace(one, recipe=replace(one.recipe, anchor=self.strength)), data, seed)


def along_the_path(logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
    """Cross-entropy as a loss like any other, of which a probe takes no short cut to the solution."""
    return cross_entropy(logits, targets, progress=progress)


@dataclass(frozen=True)
class LastWeights:
    """Naive without early stopping: the weights after the last update.

    Naive of a probe is a converged solution, which nobody stops. Its head is trained here as for any other loss
    (`models.path`) and taken at the end, so that a loss can be compared with what the same training makes of
    cross-entropy.
    """

    kind: ClassVar[str] = "last_weights"

    @property
    def needs(self) -> Needs:
        """One supervisor and a student that is fine-tuned, or a probe."""
        return Needs(trains=(*TUNED, "probe"))

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        if not isinstance(student, FineTuned):
            fitted = student.fit(data.rows, data.only, validation=data.checks, loss=along_the_path, seed=seed)
            return (fitted.last if isinstance(fitted, Followed) else None) or fitted
        one = tuned(student, "last_weights")
        return _naive(replace(one, recipe=replace(one.recipe, early_stopping=False)), data, seed)


@dataclass(frozen=True)
class ProbeFirst:
    """LP-FT for the student: a probe on the weak labels first, then all weights from there.

    Source: Kumar et al. 2022, arXiv:2202.10054; for weak-to-strong Burns et al. 2023, arXiv:2312.09390, section 5.
    """

    kind: ClassVar[str] = "probe_first"

    @property
    def needs(self) -> Needs:
        """One supervisor, a student of which all weights are trained, and its features."""
        return Needs(trains=("full",), features=True)

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        one = tuned(student, "lp_ft")
        settings: dict[str, Any] = {field.name: getattr(one.recipe, field.name) for field in dataclasses.fields(Full)}
        settings["words"] = None
        return _naive(replace(one, recipe=LpFt(**settings)), data, seed)


ENTRIES = {
    "decay_to_start": Entry(
        make=DecayToStart,
        about="naive with every weight pulled back to its pretrained value",
        paper="Li et al. 2018, arXiv:1802.01483; Burns et al. 2023, arXiv:2312.09390, appendix B",
        family="regularisers",
        trials=({}, {"strength": 1.0}, {"strength": 100.0}),
    ),
    "anchored_states": Entry(
        make=AnchoredStates,
        about="naive with the states that the head reads held near their pretrained values",
        paper="this project, after Le et al. 2026, arXiv:2605.25629",
        family="regularisers",
        trials=({}, {"strength": 0.1}, {"strength": 10.0}),
    ),
    "lp_ft": Entry(
        make=ProbeFirst,
        about="a probe on the weak labels first, then all weights from there",
        paper="Kumar et al. 2022, arXiv:2202.10054",
        family="regularisers",
    ),
    "last_weights": Entry(
        make=LastWeights,
        about="naive without early stopping",
        paper="Burns et al. 2023, arXiv:2312.09390, section 5.1",
        family="regularisers",
    ),
}
