"""Reliability by repetition: several answers of one supervisor to the same row say how far it can be relied on.

The answers are those of the supervisors in `WeakData`: repetitions of one, or several. Each counts by the class that it
names. Cross-entropy is linear in its target, so rows that are repeated once for every answer are one row with the mean
of the answers as target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from oversight.methods.chains import Told
from oversight.methods.entry import Entry
from oversight.methods.filters import answer_counts, answered_rows, taught_on
from oversight.methods.method import Needs, WeakData
from oversight.models.student import Fitted, Student
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels, Rows

SEVERAL = Needs(supervisors=(2, None))


@dataclass(frozen=True)
class EntropyFilter:
    """Naive on all answers to the rows whose answers differ least: entropy at most its `quantile` over the rows.

    With n_j of the m answers to a row naming class j, the target is n_j / m and the entropy -sum_j n_j / m ln(n_j / m).
    Rows at the quantile are kept, all of them.

    Attributes:
        quantile: in [0, 1]; 0.5 = up to the median; 1 keeps all.

    Source: Guo and Yang 2024, arXiv:2406.19032, and its code (uncertainty filtering at the median).
    Differs: the answers are those of several supervisors; one that cannot be read is none, there a class of its own;
        rows that are left out are not replaced by repeating others.
    """

    kind: ClassVar[str] = "entropy_filter"

    quantile: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.quantile <= 1:
            raise ValueError(f"quantile: found {self.quantile}, expected a number in [0, 1]")

    @property
    def needs(self) -> Needs:
        """Two supervisors or more."""
        return SEVERAL

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        one = by_frequency(data, [each.on(data.rows) for each in data.labels])
        rows, labels = answered_rows(one)
        uncertain = entropy(labels.probs)
        kept = uncertain <= np.quantile(uncertain, self.quantile) + 1e-12
        return taught_on(student, one, rows, labels, kept, seed=seed)


@dataclass(frozen=True)
class FrequencyWeights:
    """Naive on all answers to every row, each weighted by how often it was given.

    With f_j the share of the answers to a row that name class j, an answer j weighs exp(f_j / T) over the sum of the
    same over the classes that were named. So a row on which all agree weighs 1 an answer, and one on which they differ
    less, the rarer answers least.

    Attributes:
        temperature: T, in (0, 100].

    Source: Guo and Yang 2024, arXiv:2406.19032, and its code (reliability re-weighting, T = 1).
    Differs: the answers are those of several supervisors; one that cannot be read is none. Choices are made by the
        shares of the answers to validation rows, where all rows count alike.
    """

    kind: ClassVar[str] = "frequency_weights"

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature <= 100:
            raise ValueError(f"temperature: found {self.temperature}, expected a number in (0, 100]")

    @property
    def needs(self) -> Needs:
        """Two supervisors or more."""
        return SEVERAL

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        answers = [each.on(data.rows) for each in data.labels]
        one = by_frequency(data, answers)
        weighed = weighted_counts(answer_counts(answers), self.temperature)
        total = weighed.sum(1)
        probs = np.where(total[:, None] > 0, weighed / np.maximum(total, 1e-300)[:, None], one.only.probs)
        labels = Labels.of(data.rows, probs, source="weighted answers", answered=one.only.answered)
        weights = total / len(answers)
        fitted = student.fit(data.rows, labels, validation=one.checks, weights=weights, seed=seed)
        known = weights[labels.answered]
        told = {"mean_weight": float(known.mean()), "least_weight": float(known.min())}
        return Told(fitted=fitted, choices={**fitted.choices, "reliability": told})


def by_frequency(data: WeakData, answers: Sequence[Labels]) -> WeakData:
    """The same rows under one supervisor, whose probabilities are the shares of the answers."""
    return data.relabelled(
        shares(data.rows, answers), shares(data.validation, [one.on(data.validation) for one in data.validation_labels])
    )


def shares(rows: Rows, answers: Sequence[Labels]) -> Labels:
    """n_j / m, the share of the m answers to a row that name class j; a row without one stays unanswered."""
    counts = answer_counts(answers)
    total = counts.sum(1, keepdims=True)
    probs = np.where(total > 0, counts / np.maximum(total, 1), 1 / counts.shape[1])
    return Labels.of(rows, probs, source="answers", answered=total[:, 0] > 0)


def entropy(probs: Floats) -> Floats:
    """(n,) -sum_j p_j ln p_j, in nats."""
    return -(probs * np.log(np.where(probs > 0, probs, 1))).sum(1)


def weighted_counts(counts: Floats, temperature: float) -> Floats:
    """(n, k) n_j w_j with w_j = exp(f_j / T) / sum of the same over classes with n_j > 0, f_j = n_j / sum n."""
    named = counts > 0
    frequency = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    scaled = np.where(named, np.exp((frequency - frequency.max(1, keepdims=True)) / temperature), 0)
    return counts * scaled / np.maximum(scaled.sum(1, keepdims=True), 1e-300)


ENTRIES = {
    "entropy_filter": Entry(
        make=EntropyFilter,
        about="naive on the rows to which repeated answers differ least",
        paper="Guo and Yang 2024, arXiv:2406.19032",
        family="filters",
        trials=({}, {"quantile": 0.25}, {"quantile": 0.75}),
    ),
    "frequency_weights": Entry(
        make=FrequencyWeights,
        about="naive on repeated answers, each weighted by how often it was given",
        paper="Guo and Yang 2024, arXiv:2406.19032",
        family="filters",
        trials=({}, {"temperature": 0.3}, {"temperature": 0.1}),
    ),
}
