"""Scores of one set of predictions: each is a plain function of (probs, labels) that returns a float.

Throughout, probs is (n, k) float64 with rows that sum to 1 and labels is (n,) int in 0..k-1.
Classes that tie for the largest probability share the choice (`oversight.ties`): m of them get 1/m each, so a row with
the true class among m is 1/m right, whatever the classes are called.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oversight.metrics.calibration import ece
from oversight.metrics.checks import Floats, Ints, check_scored
from oversight.metrics.limits import SHARE, Limits
from oversight.ties import right_shares

Score = Callable[[npt.ArrayLike, npt.ArrayLike], float]
RowScores = Callable[[npt.ArrayLike, npt.ArrayLike], Floats]

SMALLEST_PROB = 1e-12


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A score with what the intervals need to know about it.

    Attributes:
        name: as in tables and on the command line.
        function: (probs, labels) -> value.
        higher_is_better: False for losses; `oriented` changes their sign before PGR.
        linear: the value is the mean of `row_scores`, so closed-form intervals apply.
        row_scores: (probs, labels) -> (n,) values, one per row, whose mean is the score; None where there are none.
        limits: the lowest and the highest value possible.
        resampled: where there are no rows' values, whether the group bootstrap gives intervals; else it has its own
            (`metrics.calibration_interval`), as resampling adds to its bias.
    """

    name: str
    function: Score
    higher_is_better: bool
    linear: bool
    row_scores: RowScores | None
    limits: Limits = SHARE
    resampled: bool = True

    @property
    def oriented_limits(self) -> Limits:
        """The limits of `oriented` values."""
        low, high = self.limits
        return (low, high) if self.higher_is_better else (-high, -low)


def accuracy(probs: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Share of rows whose chosen class is the true one, in [0, 1]; of m classes that tie each is chosen to 1/m."""
    return float(_correct(probs, labels).mean())


def balanced_accuracy(probs: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Unweighted mean, over the classes present in labels, of the share of that class's rows chosen rightly; [0, 1]."""
    return float(np.mean(list(_recalls(probs, labels).values())))


def auroc(probs: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Area under the ROC curve, in [0, 1]: P(score of a positive > score of a negative) + P(equal) / 2.

    k = 2: class 1 against class 0 by the log-odds log p_1 - log p_0. k > 2: unweighted mean, over the classes present,
    of one-vs-rest by p_c. NaN when only one class is present.
    """
    probs, labels = check_scored(probs, labels)
    areas = [_area(ranking(probs, c), labels == c) for c in positive_classes(probs.shape[1], labels)]
    return float(np.mean(areas)) if areas else float("nan")


def nll(probs: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Mean negative log-likelihood of the true class in nats, probabilities clipped at 1e-12: in [0, 27.6]."""
    return float(_nll_rows(probs, labels).mean())


def brier(probs: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Mean over rows of sum_c (p_c - 1[label = c])^2, in [0, 2]; for k = 2 this is 2 (p_1 - label)^2."""
    return float(_brier_rows(probs, labels).mean())


def oriented(metric: Metric, values: Floats) -> Floats:
    """Values (any shape: row scores, scores, replicates), losses negated: more is better, and PGR applies."""
    return values if metric.higher_is_better else -values


def values_per_seed(metric: Metric, probs: npt.ArrayLike, labels: npt.ArrayLike) -> Floats:
    """The score (s,) of every seed of probs (s, n, k)."""
    return np.array([metric.function(one, labels) for one in np.asarray(probs, dtype=np.float64)], dtype=np.float64)


def ranking(probs: Floats, c: int) -> Floats:
    """What rows are ranked by (n,): for k = 2 the log-odds of class c (+-inf at probabilities of 1 and 0), else p_c.

    With k > 2, 1 - p_c is a rounded sum, and log-odds would part rows whose p_c are equal.
    """
    if probs.shape[1] > 2:
        return probs[:, c]
    with np.errstate(divide="ignore"):
        return np.log(probs[:, c]) - np.log(probs[:, 1 - c])


def positive_classes(k: int, labels: Ints) -> list[int]:
    """The classes that `auroc` averages over: [1] for k = 2, else those present; none when only one is present."""
    present: list[int] = np.unique(labels).tolist()
    if len(present) < 2:
        return []
    return [1] if k == 2 else present


def _area(scores: Floats, positive: npt.NDArray[np.bool_]) -> float:
    negatives = np.sort(scores[~positive])
    below = np.searchsorted(negatives, scores[positive], side="left")
    up_to = np.searchsorted(negatives, scores[positive], side="right")
    return float((below + up_to).sum() / (2 * len(below) * len(negatives)))


def _correct(probs: npt.ArrayLike, labels: npt.ArrayLike) -> Floats:
    probs, labels = check_scored(probs, labels)
    return right_shares(probs, labels)


def _recalls(probs: npt.ArrayLike, labels: npt.ArrayLike) -> dict[int, float]:
    """Share of right answers of every class present, ties shared."""
    correct, truth = _correct(probs, labels), np.asarray(labels)
    return {int(c): float(correct[truth == c].mean()) for c in np.unique(truth)}


def _balanced_rows(probs: npt.ArrayLike, labels: npt.ArrayLike) -> Floats:
    """value + n / (k n_c) (correct - recall_c): the score's influence values, with k the classes present."""
    correct, truth = _correct(probs, labels), np.asarray(labels)
    recalls = _recalls(probs, labels)
    rows = np.full(len(truth), np.mean(list(recalls.values())), dtype=np.float64)
    for c, recall in recalls.items():
        mine = truth == c
        rows[mine] += len(truth) / (len(recalls) * mine.sum()) * (correct[mine] - recall)
    return rows


def _nll_rows(probs: npt.ArrayLike, labels: npt.ArrayLike) -> Floats:
    probs, labels = check_scored(probs, labels)
    likelihood: Floats = np.clip(probs[np.arange(len(labels)), labels], SMALLEST_PROB, 1.0)
    return np.negative(np.log(likelihood))


def _brier_rows(probs: npt.ArrayLike, labels: npt.ArrayLike) -> Floats:
    probs, labels = check_scored(probs, labels)
    squares: Floats = np.square(probs - np.eye(probs.shape[1])[labels])
    return squares.sum(axis=1)


METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric(name="accuracy", function=accuracy, higher_is_better=True, linear=True, row_scores=_correct),
        Metric(
            name="balanced_accuracy",
            function=balanced_accuracy,
            higher_is_better=True,
            linear=True,
            row_scores=_balanced_rows,
        ),
        Metric(name="auroc", function=auroc, higher_is_better=True, linear=False, row_scores=None),
        Metric(
            name="nll", function=nll, higher_is_better=False, linear=True, row_scores=_nll_rows, limits=(0.0, math.inf)
        ),
        Metric(
            name="brier", function=brier, higher_is_better=False, linear=True, row_scores=_brier_rows, limits=(0.0, 2.0)
        ),
        Metric(name="ece", function=ece, higher_is_better=False, linear=False, row_scores=None, resampled=False),
    )
}
