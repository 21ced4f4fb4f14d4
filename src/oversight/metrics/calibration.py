"""Calibration error of the chosen class without the bias of its noise, with an interval by inversion of a test.

The usual binned error is never below the noise of its bins: it is above zero for a calibrated model, and resampling
adds the noise once more, so that percentiles lie above the value itself. The squared error has a bias that can be
subtracted, and a distribution that is known.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import chdtr, chndtr

from oversight.metrics.checks import Floats, Ints, check_scored
from oversight.ties import right_shares

N_BINS = 15
GROUPS_A_BIN = 10
HALVINGS = 50


class Squared(NamedTuple):
    """The squared calibration error of one model, and what its noise adds.

    Attributes:
        error: S - noise, an unbiased estimate of the squared error; may be below 0.
        noise: tr(W V), which S has on average above the squared error.
        spread: tr((W V)^2), half the variance of S for a calibrated model.
        slope: d' W V W d / d' W d, a fourth of what the variance of S grows by with the squared error.
    """

    error: float
    noise: float
    spread: float
    slope: float


def ece(probs: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Calibration error of the chosen class, debiased: the root of `squared` of rows that are independent, in [0, 1].

    Source: Kumar et al. 2019, arXiv:1909.10155 (debiased estimator of the squared calibration error). Differs: its
        root; bins of equal mass by ranks; the variance of a bin is that of confidence - correct, not of correct alone.
    """
    checked, truth = check_scored(probs, labels)
    return math.sqrt(max(0.0, squared(checked, truth, np.arange(len(truth))).error))


def squared(probs: Floats, labels: Ints, index: Ints) -> Squared:
    """The squared calibration error over bins of equal mass, sum_b w_b d_b^2 less its noise.

    d_b is the mean of confidence - correct of bin b, confidence = max_c p_c, correct as for `accuracy`, w_b the bin's
    share of rows; V the covariance of the d_b over groups. Bins: 15, fewer where one would have fewer than ten groups.
    Rows of equal confidence stay together: they take the bin of the middle of their ranks.

    Args:
        probs: (n, k) checked.
        labels: (n,).
        index: (n,) group of each row, from 0.
    """
    n, n_groups = len(labels), int(index.max()) + 1
    confidence = probs.max(axis=1)
    place = _bins(confidence, max(1, min(N_BINS, n_groups // GROUPS_A_BIN)))
    n_bins = int(place.max()) + 1
    excess, counts = confidence - right_shares(probs, labels), np.bincount(place, minlength=n_bins)
    d = np.bincount(place, weights=excess, minlength=n_bins) / counts
    cells = index * n_bins + place
    shape = (n_groups, n_bins)
    sums = np.bincount(cells, weights=excess - d[place], minlength=n_groups * n_bins).reshape(shape) / counts
    members = (np.bincount(cells, minlength=n_groups * n_bins).reshape(shape) > 0).sum(axis=0)
    grown = sums * np.sqrt(members / np.maximum(members - 1, 1))
    cov = grown.T @ grown
    alone = np.flatnonzero(members == 1)
    cov[alone, alone] = d[alone] ** 2  # one group says nothing of its noise: the bin then counts for nothing
    w = counts / n
    product = w[:, None] * cov
    total, noise = float(w @ d**2), float(np.trace(product))
    slope = float((w * d) @ cov @ (w * d)) / total if total > 0 else 0.0
    return Squared(total - noise, noise, float((product * product.T).sum()), slope)


def _bins(confidence: Floats, n_bins: int) -> Ints:
    """(n,) bins numbered without gaps."""
    _, block, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    middle = 2 * np.cumsum(counts) - counts
    bins = np.minimum(n_bins - 1, n_bins * middle // (2 * len(confidence)))
    return np.unique(bins[block.reshape(-1)], return_inverse=True)[1].reshape(-1).astype(np.int64)


def not_rejected(found: Squared, *, upper: float) -> tuple[float, float]:
    """The smallest and the largest squared error of one model that is not rejected; equal where there is no noise.

    S is close to kappa times a noncentral chi-square variable, kappa the larger of spread / noise and slope;
    nu = spread / kappa^2 degrees of freedom and noncentrality error / kappa keep its mean and variance. Where S is
    below its noise the upper end is that of S at its noise, so that no interval shrinks to nothing.

    Args:
        found: of one model.
        upper: 0.975 rejects at 2.5 % on either side.
    """
    if not found.noise > 0:
        at = max(0.0, found.error)
        return at, at
    scale = max(found.spread / found.noise, found.slope)
    df = found.spread / scale**2

    def end(error: float, level: float) -> float:
        at = error / scale + df
        if at <= 0 or chdtr(df, at) <= level:
            return 0.0
        low, high = 0.0, at + 10 + 8 * math.sqrt(at + df)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if chndtr(at, df, middle) > level else (low, middle)
        return scale * (low + high) / 2

    return end(found.error, upper), end(max(found.error, 0.0), 1 - upper)
