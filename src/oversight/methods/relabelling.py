"""Relabelling: weak labels that are replaced or smoothed before the student that counts learns from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from oversight.errors import InputError
from oversight.methods.chains import Told, relabelled
from oversight.methods.entry import Entry
from oversight.methods.filters import answered_rows, checks_of, enough, read
from oversight.methods.method import Needs, WeakData
from oversight.methods.neighbours import nearest
from oversight.models.student import Fitted, Loss, Student, cross_entropy
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats
from oversight.ties import DECIMALS


@dataclass(frozen=True)
class StrongToStrong:
    """The student relabels its own rows and a fresh one learns from that, several times over.

    Attributes:
        rounds: of relabelling, at least 0; 0 is naive.
        loss: what every student minimises.

    Source: EleutherAI/w2s, strong-to-strong iterations (validation rows are relabelled too).
    """

    kind: ClassVar[str] = "strong_to_strong"

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

    kind: ClassVar[str] = "relabel_discarded"

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
class Selective:
    """The student's own labels on the rows of which it is surest, the weak ones on the others; a fresh one learns both.

    The transfer rows are cut by group into `folds` parts. What a student that learned from the weak labels of the other
    parts says of a part is its own label there, a probability; so no row's own label has seen its weak label. The
    floor(share n) rows with the largest max_j of it, the first by id among equals, take it.

    Attributes:
        share: of the rows, in [0, 1]; 0 is naive.
        folds: parts, at least 2; so many students are trained on the way.

    Source: this project. That own labels are used where the student knows is the idea of Lang et al. 2026,
        arXiv:2511.14166; of that paper only the abstract could be read. In place of its classifier P(IK) of what the
        student knows stands how sure it is; its graph smoothing of weak labels is left out.
    """

    kind: ClassVar[str] = "selective"

    share: float = 0.5
    folds: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share: found {self.share}, expected a number in [0, 1]")
        if self.folds < 2:
            raise ValueError(f"folds: found {self.folds}, expected at least 2")

    @property
    def needs(self) -> Needs:
        """One supervisor."""
        return Needs()

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        rows, labels = answered_rows(data)
        n_own = int(self.share * len(rows))
        probs = labels.probs
        if n_own:
            own = self._own(student, data.on(rows), seed)
            surest = np.argsort(-own.max(1).round(DECIMALS), kind="stable")[:n_own]
            probs = probs.copy()
            probs[surest] = own[surest]
        fitted = student.fit(rows, replace(labels, probs=probs), validation=data.checks, seed=seed)
        return Told(fitted=fitted, choices={**fitted.choices, "own": n_own, "of": len(rows)})

    def _own(self, student: Student, data: WeakData, seed: Seed) -> Floats:
        """(n, k): what students say of the rows from which they did not learn."""
        n_groups = len(set(data.rows.groups))
        if n_groups < self.folds:
            raise InputError(f"method selective: found rows of {n_groups} groups, expected at least {self.folds}")
        own = np.empty_like(data.only.probs)
        parts = data.parts(self.folds, seed=seed.split)
        place = {row_id: i for i, row_id in enumerate(data.rows.ids)}
        for part in parts:
            held = [place[row_id] for row_id in part.rows.ids]
            others = data.rows.take(sorted(set(range(len(own))) - set(held)))
            fitted = student.fit(others, data.only.on(others), validation=data.checks, seed=seed)
            own[held] = fitted.predict(part.rows)
        return own


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

    kind: ClassVar[str] = "neighbour_smoothing"

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
    "selective": Entry(
        make=Selective,
        about="the student's own labels on the rows of which it is surest, the weak ones on the others",
        paper="this project, after Lang et al. 2026, arXiv:2511.14166",
        family="relabelling",
        trials=({}, {"share": 0.25}, {"share": 0.75}),
    ),
    "neighbour_smoothing": Entry(
        make=NeighbourSmoothing,
        about="naive on labels mixed with those of the nearest neighbours",
        paper="this project",
        family="relabelling",
        trials=({}, {"weight": 0.25}, {"weight": 0.9}),
    ),
}
