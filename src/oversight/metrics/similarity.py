"""How alike two models are beyond what their abilities make likely. Both numbers need the truth: none is label-free."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from oversight.metrics.agreement import FEW_ROWS, MIN_ROWS
from oversight.metrics.checks import Floats, check_labels, check_pair, group_index
from oversight.metrics.intervals import Estimate, Sample, linear_interval, moments
from oversight.ties import right_shares

NOTHING_LEFT = "agreement by chance is complete: both are always right, or both are always wrong"
NO_CHANCE = 1e-12


def capa(first: npt.ArrayLike, second: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike) -> Estimate:
    """CAPA, kappa_p = (o - e) / (1 - e): 0 for independent models of these abilities, 1 for two sure and equal ones.

    o = mean sum_c p_c q_c;  e = a b + (1 - a)(1 - b) / (k - 1), with a and b the mean probabilities of the true class.
    A model that is unsure has kappa_p < 1 with itself.

    Args:
        first, second: (s, n, k) probabilities of two models, seed by seed.
        labels: (n,) true classes.
        groups: (n,) any values.

    Returns:
        The mean over seeds of the seeds' values, its interval that of the linearised row scores; undefined where some
        seed has e = 1, or for fewer than 20 rows.

    Raises:
        InputError: shapes do not fit.

    Source: Goel et al. 2025, arXiv:2502.04313, and the authors' code (lm-similarity). It compares a supervisor with a
    strong model before training; what a study gives for student and ceiling is another pair.
    """
    p, q = check_pair(first, second, names=("first", "second"))
    truth = check_labels(labels, *p.shape[1:])
    each = np.arange(len(truth))
    return _chance_adjusted(
        (p * q).sum(axis=2), p[:, each, truth], q[:, each, truth], groups, share=1 / (p.shape[2] - 1)
    )


def error_consistency(
    first: npt.ArrayLike, second: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike
) -> Estimate:
    """Whether two models err on the same rows: (o - e) / (1 - e) of being both right or both wrong.

    o = share of rows on which both are right or both are wrong;  e = a b + (1 - a)(1 - b) of the two accuracies. 1
    where they err on the same rows, 0 where errors are independent. Where classes tie, the probability of being right
    stands for being right. Arguments and interval: see `capa`.

    Source: Geirhos et al. 2020, arXiv:2006.16736, as in the code of Goel et al. 2025.
    """
    p, q = check_pair(first, second, names=("first", "second"))
    truth = check_labels(labels, *p.shape[1:])
    right, other = right_shares(p, truth), right_shares(q, truth)
    return _chance_adjusted(right * other + (1 - right) * (1 - other), right, other, groups, share=1.0)


def _chance_adjusted(observed: Floats, a: Floats, b: Floats, groups: npt.ArrayLike, *, share: float) -> Estimate:
    """Mean over seeds of (o - e) / (1 - e), e = a b + share (1 - a)(1 - b), from the row values (s, n) of o, a, b."""
    s, n = observed.shape
    sample = Sample(n, group_index(groups, n)[1], s)
    o, mean_a, mean_b = (one.mean(axis=1, keepdims=True) for one in (observed, a, b))
    left = 1 - mean_a * mean_b - share * (1 - mean_a) * (1 - mean_b)
    if n < MIN_ROWS:
        return sample.undefined(FEW_ROWS)
    if (left < NO_CHANCE).any():
        return sample.undefined(NOTHING_LEFT)
    by_a, by_b = mean_b - share * (1 - mean_b), mean_a - share * (1 - mean_a)
    expected = by_a * (a - mean_a) + by_b * (b - mean_b)
    rows = 1 - (1 - o) / left + (observed - o) / left - (1 - o) / left**2 * expected
    return linear_interval(moments(rows[:, None, :], groups), (1.0,))
