"""Intervals for scores: closed forms for linear ones, the group bootstrap for the rest.

Three things vary: the test groups (all rows of a group, all roles and all seeds stay together), the training seeds and
the pool of training rows that the seeds share (`metrics.pool`). With one seed only the groups do, and the interval
speaks of these trained models. Formulas: docs/statistics.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from oversight.errors import InputError
from oversight.metrics.alike import Pairs, extra, pairs_of
from oversight.metrics.checks import Floats, Ints, check_seeds, group_index
from oversight.metrics.clusters import (
    FEWEST_FOR_INTERVAL,
    FEWEST_FOR_VERDICT,
    corrections,
    effective_groups,
    row_df,
)
from oversight.metrics.limits import SHARE, UNBOUNDED, Limits, clipped, share_interval
from oversight.metrics.pool import Scope, covered, seed_factor

LEVEL = 0.95
UPPER = (1 + LEVEL) / 2

ONE_GROUP = "one group of test rows: no interval"
NO_VALUE = "the score is undefined: a class is missing from the test rows"
FEW_EFFECTIVE = f"fewer than {FEWEST_FOR_INTERVAL} effective groups of test rows: no interval"
NO_SPREAD = "the same in every resample and seed: no interval"


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval and what the interval covers.

    Attributes:
        value, low, high: NaN where undefined; within the range of the score (accuracy: [0, 1]), PGR never clipped.
        n: test rows.
        n_groups: groups of test rows, the unit resampled (equal to n when every group is one row).
        n_seeds: training seeds that the value is the mean of.
        reason: why something is undefined; None when all three numbers are defined.
        covers: `pool, seeds and test groups`, `seeds and test groups`, `seeds (one split) and test groups`, or for one
            seed `test groups only (these trained models)`; `rows` in place of `groups` when every group is one row.
        n_effective: groups of equal size that say as much (Kish), at most n_groups, which stands for it where it is not
            given. Below FEWEST_FOR_INTERVAL there is no interval, below FEWEST_FOR_VERDICT no PGR and no verdict.
    """

    value: float
    low: float
    high: float
    n: int
    n_groups: int
    n_seeds: int
    reason: str | None
    covers: str
    n_effective: float = math.nan

    def __post_init__(self) -> None:
        if math.isnan(self.n_effective):
            object.__setattr__(self, "n_effective", float(self.n_groups))

    @property
    def defined(self) -> bool:
        """Whether value and interval exist."""
        return self.reason is None

    @property
    def judged(self) -> bool:
        """Whether there are enough effective groups for a verdict."""
        return self.n_effective >= FEWEST_FOR_VERDICT

    @property
    def above_zero(self) -> bool:
        """Whether a difference is shown to be positive: its interval lies above 0, and it may be judged."""
        return self.judged and self.low > 0

    @property
    def below_zero(self) -> bool:
        """Whether a difference is shown to be negative."""
        return self.judged and self.high < 0

    def as_json(self) -> dict[str, float | None]:
        """{"value", "low", "high", "n_effective"}, with None for what is undefined."""
        numbers = {"value": self.value, "low": self.low, "high": self.high, "n_effective": self.n_effective}
        return {name: number if math.isfinite(number) else None for name, number in numbers.items()}


@dataclass(frozen=True)
class Sample:
    """How much data stands behind an estimate: test rows, their groups, and training seeds; and of what it speaks.

    Attributes:
        n, n_groups, n_seeds: rows, groups, seeds.
        n_effective: groups of equal size that say as much; n_groups where it is not given.
        row_df: degrees of freedom of V_rows; n_groups - 1 where they are not given.
        scope: new pools of training rows, these rows, or one cut of them.
    """

    n: int
    n_groups: int
    n_seeds: int
    n_effective: float = math.nan
    row_df: float = math.nan
    scope: Scope = field(default="these-rows", kw_only=True)

    def __post_init__(self) -> None:
        if math.isnan(self.n_effective):
            object.__setattr__(self, "n_effective", float(self.n_groups))
        if math.isnan(self.row_df):
            object.__setattr__(self, "row_df", float(self.n_groups - 1))

    @classmethod
    def of(cls, groups: npt.ArrayLike, n_seeds: int, *, scope: Scope = "these-rows") -> Sample:
        """Of test rows with these groups (n,)."""
        index, _ = group_index(groups, np.size(groups))
        found = cls.of_sizes(np.bincount(index).astype(np.float64), n_seeds, n=len(index))
        return replace(found, scope=scope)

    @classmethod
    def of_sizes(cls, sizes: Floats, n_seeds: int, *, n: int) -> Sample:
        """Of n rows in groups of these sizes, or weights (G,) >= 0, those of 0 left out."""
        there = sizes[sizes > 0]
        if not len(there):
            return cls(n, 0, n_seeds, 0.0, 0.0)
        return cls(n, len(there), n_seeds, effective_groups(there), row_df(there))

    @property
    def no_interval(self) -> str | None:
        """Why these rows allow no interval; None where they do."""
        if self.n_groups < 2:
            return ONE_GROUP
        return FEW_EFFECTIVE if self.n_effective < FEWEST_FOR_INTERVAL else None

    @property
    def covers(self) -> str:
        """What an interval from this sample speaks of."""
        return covered(self.n_seeds, self.scope, unit="rows" if self.n == self.n_groups else "groups")

    def estimate(self, value: float, low: float, high: float, reason: str | None = None) -> Estimate:
        """An estimate from this sample."""
        counts = (self.n, self.n_groups, self.n_seeds)
        return Estimate(float(value), float(low), float(high), *counts, reason, self.covers, self.n_effective)

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
        V_seed: (..., r, r) variance of p from drawing seeds, and the pool where the sample speaks of new rows; zeros
            for s = 1.
        sample: rows, groups and seeds.
        pairs: on how few groups two roles differ, for `alike.extra`; None where it is not known (nothing is added).
    """

    p: Floats
    V_rows: Floats
    V_in: Floats
    V_int: Floats
    V_seed: Floats
    sample: Sample
    pairs: Pairs | None = None

    @property
    def n_seeds(self) -> int:
        """Seeds s."""
        return self.sample.n_seeds

    @property
    def n_groups(self) -> int:
        """Groups G."""
        return self.sample.n_groups

    def covering(self, scope: Scope) -> Moments:
        """The same, for intervals that speak of this scope: V_seed times `pool.seed_factor`."""
        factor = seed_factor(self.n_seeds, scope) / seed_factor(self.n_seeds, self.sample.scope)
        return replace(self, V_seed=factor * self.V_seed, sample=replace(self.sample, scope=scope))


def moments(row_scores: npt.ArrayLike, groups: npt.ArrayLike, *, weights: Floats | None = None) -> Moments:
    """Means and variance parts of scores that are means over rows.

    With k_srg the sum of the scores of group g: p_sr = sum_g k_srg / n, u_srg = (k_srg - m_g p_sr) / n,
    f = G / (G - 1); then V_rows = f sum_g ubar ubar', V_in = f mean_s sum_g u u', V_int = (V_in - V_rows) / (s - 1),
    V_seed = sum_s (p_s - p)(p_s - p)' / (s (s - 1)). Where groups are uneven, every u is first multiplied by
    sqrt(c_g (G - 1) / G), c_g of `clusters.corrections`.

    Args:
        row_scores: (s, r, n) finite numbers, e.g. 0/1 for right answers; the same rows for all seeds and roles.
        groups: (n,) any values.
        weights: (n,) >= 0, by how much each row counts in what the scores linearise, such as a ratio; None = all alike.
            Groups without any weight are no groups.

    Returns:
        Moments of r roles that speak of these training rows (see `Moments.covering`); variances are NaN for a single
        group.

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
    index = np.arange(n) if n_groups == n else index  # rows of their own keep their order
    sizes = np.bincount(index, weights=weights).astype(np.float64)
    sample = Sample.of_sizes(sizes, s, n=n)
    sums = _group_sums(scores.reshape(s * r, n), index, n_groups) / n
    p = scores.mean(axis=2)
    deviations = _group_sums((scores - p[:, :, None]).reshape(s * r, n) / n, index, n_groups)
    there = sizes > 0
    if there.any() and sizes[there].min() < sizes.max():
        g = sample.n_groups
        deviations[:, there] *= np.sqrt(corrections(sizes[there]) * (g - 1) / g)
    covariance = (deviations @ deviations.T).reshape(s, r, s, r)
    unit = float(scores.max() - scores.min()) or 1.0
    pairs = pairs_of(sums.reshape(s, r, n_groups).mean(axis=0), unit=unit, n_effective=sample.n_effective)
    return replace(moments_from_covariance(p, covariance, sample), pairs=pairs)


def _group_sums(rows: Floats, index: Ints, n_groups: int) -> Floats:
    """Sums (k, G) over groups of (k, n) numbers."""
    if n_groups == rows.shape[1]:
        return rows
    order = np.argsort(index, kind="stable")
    starts = np.searchsorted(index[order], np.arange(n_groups))
    return np.add.reduceat(rows[:, order], starts, axis=1)


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

    M_1 = q_R^2 V_rows; M_2 = q_R^2 (V_rows - V_int) + q_S^2 V_seed; q_R = t(.975; row_df) and q_S = t(.975; s - 1)
    unless given (rows_t, seeds_t).
    """
    q_rows = rows_t if rows_t is not None else t_quantile(m.sample.row_df)
    first = q_rows**2 * m.V_rows
    if m.n_seeds == 1:
        return first[..., None, :, :]
    q_seeds = seeds_t if seeds_t is not None else t_quantile(m.n_seeds - 1)
    return np.stack([first, q_rows**2 * (m.V_rows - m.V_int) + q_seeds**2 * m.V_seed], axis=-3)


def t_quantile(df: float) -> float:
    """The .975 quantile of Student's t with df > 0 degrees of freedom; NaN for df = 0."""
    return float(stdtrit(df, UPPER)) if df > 0 else math.nan


def satterthwaite(variances: Floats, df: Floats) -> float:
    """Degrees of freedom of a sum of estimated variances: (sum v)^2 / sum(v^2 / df), rounded down, at least 1.

    Of a single variance its own, which need not be whole.

    Args:
        variances: (q,) >= 0, the estimates that are added.
        df: (q,) >= 1, degrees of freedom of each; their sum is returned where all variances are 0.

    Source: Satterthwaite 1946, doi:10.2307/3002019.
    """
    if variances.sum() <= 0 or len(df) == 1:
        return float(df.sum())
    v = variances / variances.max()
    return max(1.0, float(math.floor(v.sum() ** 2 / (v**2 / df).sum() + 1e-9)))


def linear_interval(m: Moments, contrast: Sequence[float] | Floats, *, limits: Limits = UNBOUNDED) -> Estimate:
    """contrast . p with interval -+ h, h = sqrt(max_j h_j^2(contrast)).

    Differences of two roles on few discordant groups get `alike.extra`; shares Wilson's interval.

    Args:
        m: moments of r roles, from `moments`.
        contrast: (r,) weights of the roles, e.g. (-1, 0, 1) for ceiling - weak.
        limits: of the value; (0, 1) gives `share_interval`, others cut the interval off.

    Raises:
        InputError: not one weight per role.
    """
    a = np.asarray(contrast, dtype=np.float64)
    if a.shape != m.p.shape:
        raise InputError(f"contrast: found shape {a.shape}, expected {m.p.shape}, one weight per role")
    value = float(a @ m.p)
    if m.sample.no_interval:
        return m.sample.estimate(value, math.nan, math.nan, m.sample.no_interval)
    q = t_quantile(m.sample.row_df)
    squared = a @ squared_widths(m) @ a
    if limits == SHARE:
        rows = np.array([a @ m.V_rows @ a, a @ (m.V_rows - m.V_int) @ a])[: len(squared)]
        s = m.sample
        return s.estimate(
            value,
            *share_interval(
                value,
                np.maximum(rows, 0.0),
                squared - q**2 * rows,
                q=q,
                n_effective=s.n_effective,
                smallest=1 / (s.n * s.n_seeds),
            ),
        )
    half = math.sqrt(max(0.0, float(squared.max()) + q**2 * extra(m.pairs, a, q)))
    return m.sample.estimate(value, *clipped(value - half, value + half, limits))
