"""Relabelling: weak labels that are replaced or smoothed before the student that counts learns from them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from oversight.methods.chains import Told, relabelled
from oversight.methods.entry import Entry
from oversight.methods.filters import answered_rows, checks_of, enough, read
from oversight.methods.method import Needs, WeakData
from oversight.methods.neighbours import nearest
from oversight.models.student import Fitted, Loss, Student, cross_entropy
from oversight.tasks.split import Seed


@dataclass(frozen=True)
class StrongToStrong:
    """The student relabels its own rows and a fresh one learns from that, several times over.

    Attributes:
        rounds: of relabelling, at least 0; 0 is naive.
        loss: what every student minimises.

    Source: EleutherAI/w2s, strong-to-strong iterations (validation rows are relabelled too).
    """

    rounds: int = 2
    loss: Loss = cross_entropy

    def __post_init__(self) -> None:
        if self.rounds < 0:
            raise ValueError(f"rounds: found {self.rounds}, expected at least 0")

    @property
    def needs(self) -> Needs:
        """One supervisor, and a student that takes the loss."""
        return Needs(losses=(self.loss,))

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        rows, _ = answered_rows(data)
        current = data.on(rows) if self.rounds else data
        fitted = self._fit(student, current, seed)
        for _ in range(self.rounds):
            current = current.relabelled(*relabelled(fitted, current, source=student.name))
            fitted = self._fit(student, current, seed)
        return fitted

    def _fit(self, student: Student, data: WeakData, seed: Seed) -> Fitted:
        return student.fit(data.rows, data.only, validation=data.checks, loss=self.loss, seed=seed)


@dataclass(frozen=True)
class RelabelDiscarded:
    """A first student learns from the rows of which the supervisor is sure; it relabels the others for a second one.

    Attributes:
        threshold: sure means max_j y_j >= threshold, in [0, 1); 0 is naive.

    Source: this project, after arXiv:2503.04249 (two stages against overfitting), where a generating supervisor's
        self-consistency decides, and a question's answers are written again.
    """

    threshold: float = 0.75

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise ValueError(f"threshold: found {self.threshold}, expected a number in [0, 1)")

    @property
    def needs(self) -> Needs:
        """One supervisor."""
        return Needs()

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        rows, labels = answered_rows(data)
        sure = labels.probs.max(1) >= self.threshold
        problem = enough(sure, labels)
        told: dict[str, object] = {"relabelled": 0 if problem else int((~sure).sum()), "of": len(rows)}
        if problem or sure.all():
            fitted = student.fit(rows, labels, validation=data.checks, seed=seed)
            return Told(fitted=fitted, choices={**fitted.choices, **told, **({"why": problem} if problem else {})})
        kept = rows.take(np.flatnonzero(sure))
        first = student.fit(kept, labels.on(kept), validation=data.checks, seed=seed)
        mixed = replace(labels, probs=np.where(sure[:, None], labels.probs, first.predict(rows)))
        fitted = student.fit(rows, mixed, validation=data.checks, seed=seed)
        return Told(fitted=fitted, choices={**fitted.choices, **told, "first": dict(first.choices)})


@dataclass(frozen=True)
class NeighbourSmoothing:
    """Naive on labels that are mixed with those of their nearest neighbours: (1 - w) y + w mean of neighbours' y.

    Validation rows keep their labels.

    Attributes:
        weight: w, in [0, 1]; 0 is naive.
        neighbours: how many by Euclidean distance of the features, at least 1.
        rounds: how often it is done, at least 1.

    Source: this project; one round is label propagation (Zhu and Ghahramani 2002) on the graph of nearest neighbours.
    """

    weight: float = 0.5
    neighbours: int = 20
    rounds: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ValueError(f"weight: found {self.weight}, expected a number in [0, 1]")
        for name in ("neighbours", "rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: found {getattr(self, name)}, expected at least 1")

    @property
    def needs(self) -> Needs:
        """One supervisor and the student's features."""
        return Needs(features=True)

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        rows, labels = answered_rows(data)
        _, x = read(student, rows, "neighbour_smoothing")
        around, probs = nearest(x, self.neighbours), labels.probs
        for _ in range(self.rounds):
            probs = (1 - self.weight) * probs + self.weight * probs[around].mean(1)
        smoothed = replace(labels, probs=probs / probs.sum(1, keepdims=True))
        return student.fit(rows, smoothed, validation=checks_of(data, data.checks.labels), seed=seed)


ENTRIES = {
    "strong_to_strong": Entry(
        make=StrongToStrong,
        about="the student relabels its own rows and a fresh one learns from that, twice",
        paper="EleutherAI/w2s 2024 (code)",
        family="relabelling",
        trials=({}, {"rounds": 1}, {"rounds": 4}),
    ),
    "relabel_discarded": Entry(
        make=RelabelDiscarded,
        about="a first student on the sure rows relabels the others for a second one",
        paper="this project, after arXiv:2503.04249",
        family="relabelling",
        trials=({}, {"threshold": 0.6}, {"threshold": 0.9}),
    ),
    "neighbour_smoothing": Entry(
        make=NeighbourSmoothing,
        about="naive on labels mixed with those of the nearest neighbours",
        paper="this project",
        family="relabelling",
        trials=({}, {"weight": 0.25}, {"weight": 0.9}),
    ),
}
