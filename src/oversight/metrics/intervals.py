"""Intervals for scores: closed forms for linear ones, the group bootstrap for the rest.

Two things vary: the test groups (all rows of a group, all roles and all seeds stay together) and the training seeds.
With one seed only the groups do, and the interval speaks of these trained models. Formulas: docs/statistics.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from oversight.errors import InputError
from oversight.metrics.checks import Floats, check_range, check_seeds, group_index
from oversight.metrics.resampling import replicates, seed_noise
from oversight.metrics.scores import Metric, values_per_seed

LEVEL = 0.95
UPPER = (1 + LEVEL) / 2

ONE_GROUP = "one group of test rows: no interval"
NO_VALUE = "the score is undefined: a class is missing from the test rows"


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval and what the interval covers.

    Attributes:
        value, low, high: NaN where undefined; never clipped to a possible range.
        n: test rows.
        n_groups: groups of test rows, the unit resampled (equal to n when every group is one row).
        n_seeds: training seeds that the value is the mean of.
        reason: why something is undefined; None when all three numbers are defined.
        covers: `seeds and test groups`, or for one seed `test groups only (these trained models)`; `rows` in place of
            `groups` when every group is one row.
    """

    value: float
    low: float
    high: float
    n: int
    n_groups: int
    n_seeds: int
    reason: str | None
    covers: str

    @property
    def defined(self) -> bool:
        """Whether value and interval exist."""
        return self.reason is None

    def as_json(self) -> dict[str, float | None]:
        """{"value", "low", "high"}, with None for what is undefined."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {name: number if math.isfinite(number) else None for name, number in numbers.items()}


@dataclass(frozen=True)
class Sample:
    """How much data stands behind an estimate: test rows, their groups, and training seeds."""

    n: int
    n_groups: int
    n_seeds: int

    @property
    def covers(self) -> str:
        """What an interval from this sample speaks of."""
        unit = "rows" if self.n == self.n_groups else "groups"
        return f"seeds and test {unit}" if self.n_seeds > 1 else f"test {unit} only (these trained models)"

    def estimate(self, value: float, low: float, high: float, reason: str | None = None) -> Estimate:
        """An estimate from this sample."""
        counts = (self.n, self.n_groups, self.n_seeds)
        return Estimate(float(value), float(low), float(high), *counts, reason, self.covers)

    def undefined(self, reason: str) -> Estimate:
        """NaN, with the reason."""
        return self.estimate(math.nan, math.nan, math.nan, reason)


@dataclass(frozen=True, eq=False)
class Moments:
    """Seed means of r roles' scores and the variances that their intervals need; leading dimensions are replicates.

    Attributes:
        p: (..., r) means over seeds and rows.
        V_rows: (..., r, r) variance of p from drawing test groups.
        V_in: (..., r, r) the same for one seed alone.
        V_int: (..., r, r) (V_in - V_rows) / (s - 1), the rows x seeds part, inside V_rows and V_seed; zeros for s = 1.
        V_seed: (..., r, r) variance of p from drawing seeds; zeros for s = 1.
        sample: rows, groups and seeds.
    """

    p: Floats
    V_rows: Floats
    V_in: Floats
    V_int: Floats
    V_seed: Floats
    sample: Sample

    @property
    def n_seeds(self) -> int:
        """Seeds s."""
        return self.sample.n_seeds

    @property
    def n_groups(self) -> int:
        """Groups G."""
        return self.sample.n_groups


def moments(row_scores: npt.ArrayLike, groups: npt.ArrayLike) -> Moments:
    """Means and variance parts of scores that are means over rows.

    With k_srg the sum of the scores of group g: p_sr = sum_g k_srg / n, u_srg = (k_srg - m_g p_sr) / n,
    f = G / (G - 1); then V_rows = f sum_g ubar ubar', V_in = f mean_s sum_g u u', V_int = (V_in - V_rows) / (s - 1),
    V_seed = sum_s (p_s - p)(p_s - p)' / (s (s - 1)).

    Args:
        row_scores: (s, r, n) finite numbers, e.g. 0/1 for right answers; the same rows for all seeds and roles.
        groups: (n,) any values.

    Returns:
        Moments of r roles; variances are NaN for a single group.

    Raises:
        InputError: another shape, or a number that is not finite.
    """
    scores = check_seeds("row_scores", row_scores)
    if not np.isfinite(scores).all():
        place = [int(i) for i in np.argwhere(~np.isfinite(scores))[0]]
        raise InputError(
            f"row_scores: found {scores[tuple(place)]} at (seed, role, row) {place}, expected finite numbers"
        )
    s, r, n = scores.shape
    index, n_groups = group_index(groups, n)
    p = scores.mean(axis=2)
    deviations = (scores - p[:, :, None]).reshape(s * r, n) / n
    if n_groups < n:
        order = np.argsort(index, kind="stable")
        starts = np.searchsorted(index[order], np.arange(n_groups))
        deviations = np.add.reduceat(deviations[:, order], starts, axis=1)
    covariance = (deviations @ deviations.T).reshape(s, r, s, r)
    return moments_from_covariance(p, covariance, Sample(n, n_groups, s))


def moments_from_covariance(p: Floats, covariance: Floats, sample: Sample) -> Moments:
    """Moments from per-seed means p (..., s, r) and sums over groups of products u u' (..., s, r, s, r)."""
    s, g = sample.n_seeds, sample.n_groups
    f = g / (g - 1) if g > 1 else math.nan
    v_rows = f * covariance.mean(axis=(-4, -2))
    v_in = f * np.einsum("...irij->...rj", covariance) / s
    mean = p.mean(axis=-2)
    if s == 1:
        none = np.zeros_like(v_rows)
        return Moments(mean, v_rows, v_in, none, none, sample)
    away = p - mean[..., None, :]
    v_seed = np.einsum("...sr,...sq->...rq", away, away) / (s * (s - 1))
    return Moments(mean, v_rows, v_in, (v_in - v_rows) / (s - 1), v_seed, sample)


def squared_widths(m: Moments, *, rows_t: float | None = None, seeds_t: float | None = None) -> Floats:
    """Matrices M_j (..., j, r, r) with squared half widths h_j^2(a) = a' M_j a; j = 1 for one seed, else 2.

    M_1 = q_R^2 V_rows; M_2 = q_R^2 (V_rows - V_int) + q_S^2 V_seed; q_R = t(.975; G - 1) and q_S = t(.975; s - 1)
    unless given (rows_t, seeds_t).
    """
    q_rows = rows_t if rows_t is not None else t_quantile(m.n_groups - 1)
    first = q_rows**2 * m.V_rows
    if m.n_seeds == 1:
        return first[..., None, :, :]
    q_seeds = seeds_t if seeds_t is not None else t_quantile(m.n_seeds - 1)
    return np.stack([first, q_rows**2 * (m.V_rows - m.V_int) + q_seeds**2 * m.V_seed], axis=-3)


def t_quantile(df: float) -> float:
    """The .975 quantile of Student's t with df > 0 degrees of freedom; NaN for df = 0."""
    return float(stdtrit(df, UPPER)) if df > 0 else math.nan


def satterthwaite(variances: Floats, df: Floats) -> int:
    """Degrees of freedom of a sum of estimated variances: (sum v)^2 / sum(v^2 / df), rounded down, at least 1.

    Args:
        variances: (q,) >= 0, the estimates that are added.
        df: (q,) >= 1, degrees of freedom of each; their sum is returned where all variances are 0.

    Source: Satterthwaite 1946, doi:10.2307/3002019.
    """
    if variances.sum() <= 0:
        return int(df.sum())
    v = variances / variances.max()
    return max(1, math.floor(v.sum() ** 2 / (v**2 / df).sum() + 1e-9))


def linear_interval(m: Moments, contrast: Sequence[float] | Floats) -> Estimate:
    """contrast . p with interval -+ h, h = sqrt(max_j h_j^2(contrast)).

    Args:
        m: moments of r roles, from `moments`.
        contrast: (r,) weights of the roles, e.g. (-1, 0, 1) for ceiling - weak.

    Raises:
        InputError: not one weight per role.
    """
    a = np.asarray(contrast, dtype=np.float64)
    if a.shape != m.p.shape:
        raise InputError(f"contrast: found shape {a.shape}, expected {m.p.shape}, one weight per role")
    value = float(a @ m.p)
    if m.n_groups < 2:
        return m.sample.estimate(value, math.nan, math.nan, ONE_GROUP)
    half = math.sqrt(max(0.0, float((a @ squared_widths(m) @ a).max())))
    return m.sample.estimate(value, value - half, value + half)


def bootstrap_interval(
    metric: Metric,
    probs: npt.ArrayLike,
    labels: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    n_resamples: int = 1000,
    seed: int,
) -> Estimate:
    """The seed mean of any metric with a percentile interval: groups resampled, plus a t-distributed seed part.

    Args: as for `replicates`; probs (s, n, k), labels (n,), groups (n,). Coverage was simulated for accuracy only.
    """
    draws = replicates(metric, probs, labels, groups, n_resamples=n_resamples, seed=seed)
    values = values_per_seed(metric, probs, labels)
    index, n_groups = group_index(groups, np.shape(probs)[1])
    spread = with_seed_part(draws, values, seed=seed)
    return percentile_interval(float(values.mean()), spread, Sample(len(index), n_groups, len(values)))


def with_seed_part(draws: Floats, values: Floats, *, seed: int) -> Floats:
    """Seed means of replicates plus the seed part: mean_s draws + sum_s e_s (values_s - mean) / sqrt(s (s - 1)).

    Args:
        draws: (..., B, s) replicates.
        values: (..., s) the scores of the sample itself.
        seed: of e; the same e serves all leading dimensions, so roles stay together.

    Returns:
        (..., B).

    Raises:
        InputError: the two disagree on the number of seeds.
    """
    n_resamples, s = draws.shape[-2:]
    check_range("values.shape[-1] (seeds)", values.shape[-1], s, s)
    noise = seed_noise(s, n_resamples=n_resamples, seed=seed)
    away = values - values.mean(axis=-1, keepdims=True)
    return draws.mean(axis=-1) + away @ noise.T / math.sqrt(max(1, s * (s - 1)))


def percentile_interval(value: float, spread: Floats, sample: Sample) -> Estimate:
    """value with the 2.5 and 97.5 percentiles of spread (B,); resamples where the score is undefined are left out."""
    if not math.isfinite(value):
        return sample.undefined(NO_VALUE)
    if sample.n_groups < 2 or np.isnan(spread).all():
        return sample.estimate(value, math.nan, math.nan, ONE_GROUP)
    low, high = np.nanquantile(spread, [1 - UPPER, UPPER])
    return sample.estimate(value, low, high)
