"""Filters: learn from fewer weak labels, those that are more likely to be right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from oversight.errors import InputError
from oversight.methods.chains import Told
from oversight.methods.entry import Entry
from oversight.methods.method import Needs, WeakData, mean_labels
from oversight.methods.neighbours import distances, largest_components, nearest
from oversight.models.backbone import Backbone
from oversight.models.batching import Place, Request, solutions
from oversight.models.features import feature_backbone, features
from oversight.models.student import Fitted, Student, Validation
from oversight.tasks.split import Seed
from oversight.tasks.task import Bools, Floats, Labels, Rows
from oversight.ties import DECIMALS, choice_shares

FEWEST_ROWS = 10
FEATURES = Needs(features=True)


def answered_rows(data: WeakData) -> tuple[Rows, Labels]:
    """Transfer rows that the one supervisor answers, by id, so that no order of them reaches anything."""
    labels = data.only.on(data.rows)
    rows = data.rows.take(np.flatnonzero(labels.answered))
    rows = rows.take(sorted(range(len(rows)), key=rows.ids.__getitem__))
    return rows, labels.on(rows)


def enough(kept: Bools, labels: Labels) -> str | None:
    """Why a student cannot learn from these rows: too few, or a class that is named elsewhere is not named here."""
    if kept.sum() < FEWEST_ROWS:
        return f"only {int(kept.sum())} of {len(kept)} rows would be left"
    named = choice_shares(labels.probs)
    lost = np.flatnonzero(named.any(0) & ~named[kept].any(0))
    return f"no row would be left of class {lost[0]}" if len(lost) else None


def taught_on(student: Student, data: WeakData, rows: Rows, labels: Labels, kept: Bools, *, seed: Seed) -> Fitted:
    """Naive on the rows that are kept; on all where those are not enough, which is told."""
    problem = enough(kept, labels)
    told: dict[str, object] = {"kept": int(kept.sum()) if problem is None else len(rows), "of": len(rows)}
    told |= {} if problem is None else {"not_filtered": problem}
    left = rows if problem is not None else rows.take(np.flatnonzero(kept))
    fitted = student.fit(left, labels.on(left), validation=data.checks, seed=seed)
    return Told(fitted=fitted, choices={**fitted.choices, "filter": told})


def without_farthest(distance: Floats, fraction: float) -> Bools:
    """All but the floor(fraction n) rows with the largest distance; of equal ones (9 decimals) the later go first."""
    n_dropped = int(fraction * len(distance))
    kept = np.ones(len(distance), bool)
    kept[np.argsort(distance.round(DECIMALS), kind="stable")[len(distance) - n_dropped :]] = False
    return kept


def read(student: Student, rows: Rows, name: str) -> tuple[Backbone, Floats]:
    """The student's network and (n, d) features of rows.

    Raises:
        InputError: it has none.
    """
    backbone = feature_backbone(student)
    if backbone is None:
        raise InputError(f"method {name}: needs a student with features, found {student.name}, which has none")
    return backbone, features(backbone, rows)


def _check_fraction(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name}: found {value}, expected a number in [0, 1)")


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name}: found {value}, expected at least 1")


@dataclass(frozen=True)
class ConfidenceFilter:
    """Naive on the rows of which the supervisor is sure: max_j y_j >= threshold.

    Attributes:
        threshold: in [0, 1); 0 keeps all and is naive.

    Source: safety-research/automated-w2s (0.75), and earlier Burns et al. 2023, appendix B (confidence thresholding).
    """

    kind: ClassVar[str] = "confidence_filter"

    threshold: float = 0.75

    def __post_init__(self) -> None:
        _check_fraction("threshold", self.threshold)

    @property
    def needs(self) -> Needs:
        """One supervisor."""
        return Needs()

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        rows, labels = answered_rows(data)
        return taught_on(student, data, rows, labels, labels.probs.max(1) >= self.threshold, seed=seed)


@dataclass(frozen=True)
class KnnFilter:
    """Naive without the rows whose weak label is farthest from the mean of their nearest neighbours' labels.

    Distance: total variation, for two classes |y_1 - mean y_1|; neighbours by Euclidean distance of the features.

    Attributes:
        fraction: of rows that are left out, in [0, 1); 0 is naive.
        neighbours: how many, at least 1.

    Source: EleutherAI/w2s, its kNN probe with `probe_filter` (50 neighbours, a tenth of the rows).
    Differs: 20 neighbours; a row is not its own neighbour; any number of classes; states of the student's depth, there
        of half the depth; validation rows are not filtered.
    """

    kind: ClassVar[str] = "knn_filter"

    fraction: float = 0.1
    neighbours: int = 20

    def __post_init__(self) -> None:
        _check_fraction("fraction", self.fraction)
        _check_count("neighbours", self.neighbours)

    @property
    def needs(self) -> Needs:
        """One supervisor and the student's features."""
        return FEATURES

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        rows, labels = answered_rows(data)
        _, x = read(student, rows, "knn_filter")
        around = labels.probs[nearest(x, self.neighbours)].mean(1)
        kept = without_farthest(distances(labels.probs, around), self.fraction)
        return taught_on(student, data, rows, labels, kept, seed=seed)


@dataclass(frozen=True)
class LogisticFilter:
    """Naive without the rows whose weak label is farthest from what a probe on all weak labels says.

    Attributes:
        fraction: of rows that are left out, in [0, 1); 0 is naive.
        penalty: of the probe, above 0.

    Source: EleutherAI/w2s, its logistic probe with `probe_filter` (a tenth of the rows, penalty 1e-3).
    Differs: features are standardised before they are penalised, so the penalty is another; any number of classes;
        states of the student's depth, there of half the depth; validation rows are not filtered.
    """

    kind: ClassVar[str] = "logistic_filter"

    fraction: float = 0.1
    penalty: float = 1e-2

    def __post_init__(self) -> None:
        _check_fraction("fraction", self.fraction)
        if not self.penalty > 0:
            raise ValueError(f"penalty: found {self.penalty}, expected a number above 0")

    @property
    def needs(self) -> Needs:
        """One supervisor and the student's features."""
        return FEATURES

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        rows, labels = answered_rows(data)
        backbone, x = read(student, rows, "logistic_filter")
        (solved,) = solutions([Request(Place(backbone, rows), labels.probs, (self.penalty,))])
        kept = without_farthest(distances(labels.probs, solved.probs(x)[0]), self.fraction)
        return taught_on(student, data, rows, labels, kept, seed=seed)


@dataclass(frozen=True)
class TopologicalFilter:
    """Naive on the largest connected part of every class, without the rows that are farthest from their neighbours.

    Rows point to their nearest neighbours. Of the rows that the supervisor gives one class, those in the largest
    strongly connected component are kept (a row whose classes tie is in each of their graphs, and needs one); of these
    the farthest from the mean label of their nearest kept neighbours are left out until `fraction` of all rows is gone.
    Components may leave out more than that.

    Attributes:
        fraction: of rows that are left out, in [0, 1).
        neighbours: how many, at least 1.

    Source: Wu et al. 2020, arXiv:2012.04835, as in EleutherAI/w2s (50 neighbours, a tenth of the rows).
    Differs: 20 neighbours; any number of classes; states of the student's depth, there of half the depth; validation
        rows are not filtered.
    """

    kind: ClassVar[str] = "topological_filter"

    fraction: float = 0.1
    neighbours: int = 20

    def __post_init__(self) -> None:
        _check_fraction("fraction", self.fraction)
        _check_count("neighbours", self.neighbours)

    @property
    def needs(self) -> Needs:
        """One supervisor and the student's features."""
        return FEATURES

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        rows, labels = answered_rows(data)
        _, x = read(student, rows, "topological_filter")
        inside = largest_components(nearest(x, self.neighbours), choice_shares(labels.probs) > 0)
        kept = self._without_farthest(inside, x, labels.probs)
        return taught_on(student, data, rows, labels, kept, seed=seed)

    def _without_farthest(self, inside: Bools, x: Floats, probs: Floats) -> Bools:
        left = np.flatnonzero(inside)
        n_more = round(self.fraction * len(x)) - (len(x) - len(left))
        if n_more <= 0 or len(left) < 2:
            return inside
        around = probs[left][nearest(x[left], self.neighbours)].mean(1)
        order = np.argsort(distances(probs[left], around).round(DECIMALS), kind="stable")
        kept = inside.copy()
        kept[left[order[len(left) - n_more :]]] = False
        return kept


@dataclass(frozen=True)
class AgreementFilter:
    """Several supervisors: naive on their mean, on the rows of which enough of those who answer choose the same class.

    Attributes:
        share: of the answers that the most frequent class must have, in [0, 1]; 0 keeps all.

    Source: this project, after Guo and Yang 2024, arXiv:2406.19032, who ask one supervisor repeatedly and keep or
        weight by the frequency of its answer.
    """

    kind: ClassVar[str] = "agreement_filter"

    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share: found {self.share}, expected a number in [0, 1]")

    @property
    def needs(self) -> Needs:
        """Two supervisors or more."""
        return Needs(supervisors=(2, None))

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        checks = mean_labels(data.validation_labels, source="mean")
        one = WeakData(
            rows=data.rows,
            labels=(mean_labels([labels.on(data.rows) for labels in data.labels], source="mean"),),
            validation=data.validation,
            validation_labels=(checks,),
        )
        rows, labels = answered_rows(one)
        kept = agreeing([each.on(rows) for each in data.labels]) >= self.share - 1e-12
        return taught_on(student, one, rows, labels, kept, seed=seed)


def agreeing(labels: Sequence[Labels]) -> Floats:
    """(n,): share of the answers to each row that name its most frequent class; 0 where nobody answered."""
    votes = answer_counts(labels)
    return votes.max(1) / np.maximum(votes.sum(1), 1)


def answer_counts(labels: Sequence[Labels]) -> Floats:
    """(n, k): how many of those who answer a row name each class; where classes tie a vote is shared."""
    return np.sum([choice_shares(one.probs) * one.answered[:, None] for one in labels], axis=0)


def checks_of(data: WeakData, labels: Labels) -> Validation:
    """Validation rows with other labels."""
    return Validation(rows=data.validation, labels=labels)


ENTRIES = {
    "confidence_filter": Entry(
        make=ConfidenceFilter,
        about="naive on the rows of which the supervisor is sure",
        paper="automated-w2s 2026 (code); Burns et al. 2023, arXiv:2312.09390, appendix B",
        family="filters",
        trials=({}, {"threshold": 0.6}, {"threshold": 0.9}),
    ),
    "knn_filter": Entry(
        make=KnnFilter,
        about="naive without the rows whose label is farthest from their neighbours' labels",
        paper="EleutherAI/w2s 2024 (code)",
        family="filters",
        trials=({}, {"fraction": 0.25}, {"neighbours": 50}),
    ),
    "logistic_filter": Entry(
        make=LogisticFilter,
        about="naive without the rows whose label is farthest from what a probe on all of them says",
        paper="EleutherAI/w2s 2024 (code)",
        family="filters",
        trials=({}, {"fraction": 0.25}, {"penalty": 0.1}),
    ),
    "topological_filter": Entry(
        make=TopologicalFilter,
        about="naive on the largest connected part of every class",
        paper="Wu et al. 2020, arXiv:2012.04835; EleutherAI/w2s 2024 (code)",
        family="filters",
        trials=({}, {"fraction": 0.25}, {"neighbours": 50}),
    ),
    "agreement_filter": Entry(
        make=AgreementFilter,
        about="several supervisors: their mean, on the rows on which they agree",
        paper="this project, after Guo and Yang 2024, arXiv:2406.19032",
        family="filters",
        trials=({}, {"share": 0.7}, {"share": 0.5}),
    ),
}
