"""Several supervisors: their labels become one, and the student learns from that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from oversight.methods.chains import Told
from oversight.methods.dawid_skene import Confusions, dawid_skene
from oversight.methods.entry import Entry
from oversight.methods.method import Needs, WeakData, mean_labels
from oversight.models.student import Fitted, Loss, Student, Validation, cross_entropy
from oversight.tasks.split import Seed
from oversight.tasks.task import Bools, Floats, Labels
from oversight.ties import choice_shares

TWO_OR_MORE = (2, None)
TINY = 1e-6
Combine = Callable[[Sequence[Labels]], Labels]


def stacked(labels: Sequence[Labels]) -> tuple[Floats, Bools]:
    """(m, n, k) probabilities and (m, n) who answered, of supervisors that labelled the same rows."""
    if any(one.row_ids != labels[0].row_ids for one in labels):
        raise ValueError("the supervisors labelled different rows")
    return np.stack([one.probs for one in labels]), np.stack([one.answered for one in labels])


def log_odds_mean(labels: Sequence[Labels], weights: Floats | None = None) -> Labels:
    """softmax of the weighted mean of log-probabilities over those who answered: the logarithmic pool.

    Args:
        labels: of the same n rows.
        weights: (m,) at least 0; None = equal.

    Returns:
        Labels; a row that nobody answered stays unanswered. Probabilities below 1e-6 count as 1e-6.
    """
    probs, answered = stacked(labels)
    share = answered * (np.ones(len(labels)) if weights is None else weights)[:, None]
    total = share.sum(0)
    logs = (share[:, :, None] * np.log(np.maximum(probs, TINY))).sum(0) / np.maximum(total, 1e-300)[:, None]
    pooled = np.exp(logs - logs.max(1, keepdims=True))
    known = answered.any(0) & (total > 0)
    pooled = np.where(known[:, None], pooled / pooled.sum(1, keepdims=True), 1 / probs.shape[2])
    return replace(labels[0], probs=pooled, answered=known, source="+".join(one.source for one in labels))


def _mean(labels: Sequence[Labels]) -> Labels:
    return mean_labels(labels, source="+".join(one.source for one in labels))


def _taught(
    student: Student, data: WeakData, combine: Combine, told: Mapping[str, object], *, loss: Loss, seed: Seed
) -> Fitted:
    """A student of combined labels; transfer and validation rows are combined alike."""
    checks = Validation(rows=data.validation, labels=combine(data.validation_labels))
    fitted = student.fit(data.rows, combine(data.labels), validation=checks, loss=loss, seed=seed)
    return Told(fitted=fitted, choices={**fitted.choices, **told}) if told else fitted


@dataclass(frozen=True)
class Mean:
    """Naive on the mean of the probabilities of those who answered.

    Attributes:
        loss: what is minimised on it.
    """

    kind: ClassVar[str] = "mean"

    loss: Loss = cross_entropy

    @property
    def needs(self) -> Needs:
        """Two supervisors or more."""
        return Needs(supervisors=TWO_OR_MORE, losses=(self.loss,))

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        return _taught(student, data, _mean, {}, loss=self.loss, seed=seed)


@dataclass(frozen=True)
class LogOddsMean:
    """Naive on the logarithmic pool: the softmax of the mean log-probability; for k = 2 the mean of log-odds.

    Attributes:
        loss: what is minimised on it.

    Source: Genest and Zidek 1986, doi:10.1214/ss/1177013825 (logarithmic opinion pool).
    """

    kind: ClassVar[str] = "log_odds_mean"

    loss: Loss = cross_entropy

    @property
    def needs(self) -> Needs:
        """Two supervisors or more."""
        return Needs(supervisors=TWO_OR_MORE, losses=(self.loss,))

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        return _taught(student, data, log_odds_mean, {}, loss=self.loss, seed=seed)


@dataclass(frozen=True)
class DawidSkene:
    """Naive on the posterior of the class given every supervisor's choice, each with a confusion matrix of its own.

    The matrices are estimated by EM on the transfer rows; on validation rows they are applied as they are.

    Attributes:
        smoothing: added to every count of a confusion matrix, at least 0.

    Source: Dawid and Skene 1979, doi:10.2307/2346806.
    """

    kind: ClassVar[str] = "dawid_skene"

    smoothing: float = 1.0

    def __post_init__(self) -> None:
        if not self.smoothing >= 0:
            raise ValueError(f"smoothing: found {self.smoothing}, expected a number of at least 0")

    @property
    def needs(self) -> Needs:
        """Three supervisors or more: with two, which of them errs cannot be told."""
        return Needs(supervisors=(3, None), losses=(cross_entropy,))

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        on_rows = [one.on(data.rows) for one in data.labels]
        model = dawid_skene(*votes(on_rows), smoothing=self.smoothing)

        def combine(labels: Sequence[Labels]) -> Labels:
            named, answered = votes(labels)
            probs = model.posterior(named, answered)
            return replace(labels[0], probs=probs, answered=answered.any(0), source="dawid-skene")

        return _taught(student, data, combine, _told(model), loss=cross_entropy, seed=seed)


def votes(labels: Sequence[Labels]) -> tuple[Floats, Bools]:
    """(m, n, k) shares of a vote for each class, equal ones where classes tie, and (m, n) who answered."""
    probs, answered = stacked(labels)
    return choice_shares(probs), answered


def _told(model: Confusions) -> dict[str, object]:
    diagonal = np.einsum("mjj->mj", model.matrices)
    return {"right_by_class": diagonal.tolist(), "class_shares": model.shares.tolist(), "em_rounds": model.rounds}


@dataclass(frozen=True)
class LearnedWeights:
    """The logarithmic pool with convex weights that the student's own beliefs decide.

    In every round the student is trained on softmax(sum_m w_m log y_m); then `steps` projected gradient steps lower
    the cross-entropy of that label to the student's prediction in w, which is kept at least 1e-6 and sums to 1. Weights
    start equal.

    Attributes:
        rounds: of training and weighting, at least 0; 0 is the logarithmic pool with equal weights.
        steps: per round, at least 1.
        rate: of the gradient steps, above 0.

    Source: this project, after Jeon et al. 2025, arXiv:2510.21332 (RAVEN), whose code updates the same weights by the
        same projected gradient in every batch.
    Differs: student and weights take turns; there is no first phase on easy rows.
    """

    kind: ClassVar[str] = "learned_weights"

    rounds: int = 5
    steps: int = 10
    rate: float = 0.1

    def __post_init__(self) -> None:
        if self.rounds < 0 or self.steps < 1 or not self.rate > 0:
            raise ValueError(
                f"rounds, steps, rate: found {self.rounds}, {self.steps}, {self.rate}, expected >= 0, >= 1, > 0"
            )

    @property
    def needs(self) -> Needs:
        """Two supervisors or more."""
        return Needs(supervisors=TWO_OR_MORE)

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        labels = [one.on(data.rows) for one in data.labels]
        probs, answered = stacked(labels)
        known = answered.all(0)
        weights = np.full(len(labels), 1 / len(labels))
        fitted = self._fit(student, data, weights, seed)
        for _ in range(self.rounds):
            if not known.any():
                break
            rows = data.rows.take(np.flatnonzero(known))
            weights = moved(weights, probs[:, known], fitted.predict(rows), steps=self.steps, rate=self.rate)
            fitted = self._fit(student, data, weights, seed)
        return Told(fitted=fitted, choices={**fitted.choices, "weights": weights.tolist()})

    def _fit(self, student: Student, data: WeakData, weights: Floats, seed: Seed) -> Fitted:
        return _taught(student, data, lambda some: log_odds_mean(some, weights), {}, loss=cross_entropy, seed=seed)


def moved(weights: Floats, probs: Floats, student: Floats, *, steps: int, rate: float) -> Floats:
    """Weights (m,) after projected gradient steps on the mean of -sum_j y_j(w) log p_j, y(w) = softmax(sum_m w_m z_m).

    With c_j = -log p_j: d/dw_m = mean_i sum_j y_ij (c_ij - sum_l y_il c_il) z_mij.

    Args:
        weights: convex.
        probs: (m, n, k) of the supervisors; z = log probs.
        student: (n, k).
        steps, rate: see `LearnedWeights`.
    """
    z, cost = np.log(np.maximum(probs, TINY)), -np.log(np.maximum(student, TINY))
    for _ in range(steps):
        logits = np.einsum("m,mnk->nk", weights, z)
        y = np.exp(logits - logits.max(1, keepdims=True))
        y /= y.sum(1, keepdims=True)
        pull = y * (cost - (y * cost).sum(1, keepdims=True))
        weights = np.maximum(weights - rate * np.einsum("nk,mnk->m", pull, z) / len(cost), TINY)
        weights = weights / weights.sum()
    return weights


ENTRIES = {
    "mean": Entry(
        make=Mean,
        about="naive on the mean of several supervisors' probabilities",
        paper="this project",
        family="several supervisors",
    ),
    "log_odds_mean": Entry(
        make=LogOddsMean,
        about="naive on the mean of several supervisors' log-odds",
        paper="Genest and Zidek 1986, doi:10.1214/ss/1177013825",
        family="several supervisors",
    ),
    "dawid_skene": Entry(
        make=DawidSkene,
        about="naive on the posterior of the class given several choices, with a confusion matrix each",
        paper="Dawid and Skene 1979, doi:10.2307/2346806",
        family="several supervisors",
        trials=({}, {"smoothing": 0.1}, {"smoothing": 10.0}),
    ),
    "learned_weights": Entry(
        make=LearnedWeights,
        about="several supervisors with convex weights that the student's own beliefs decide",
        paper="this project, after Jeon et al. 2025, arXiv:2510.21332 (RAVEN)",
        family="several supervisors",
        trials=({}, {"rate": 0.03}, {"rate": 0.3}),
    ),
}
