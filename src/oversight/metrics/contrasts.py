"""Differences between methods over several tasks: with families of tasks, simultaneous intervals, and ranks.

Every task gives scores of the same roles on its own rows and seeds; rows and seeds vary as in `intervals`. Tasks of one
family (twin sets that share texts) may move together: their variances are added as if they did so entirely, by the
bound (x_1 + ... + x_q)(x_1 + ... + x_q)' <= q (x_1 x_1' + ... + x_q x_q').
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from oversight.errors import InputError
from oversight.metrics.alike import added, extra, extras
from oversight.metrics.checks import Floats, check_range
from oversight.metrics.intervals import (
    LEVEL,
    ONE_GROUP,
    UPPER,
    Estimate,
    Moments,
    Sample,
    satterthwaite,
    squared_widths,
)
from oversight.metrics.limits import UNBOUNDED, Limits, clipped, of_contrast
from oversight.metrics.pgr import CONTRASTS, GAP, MIXED_SEEDS, NOT_ABOVE, fieller_estimate, one_scope, pgr, widened

FEWEST_FAMILIES = 10
FEW_FAMILIES = "fewer than ten task families: no p value can be small"
DECIMALS = 12
"""To which gains are rounded before ranks are taken: rounding errors would part ties and make signs of zeros."""


@dataclass(frozen=True, eq=False)
class Combined:
    """Several tasks as one, every family with the same weight.

    Attributes:
        total: weighted means of the roles' scores, and their variances; its sample counts the rows and groups of all
            tasks, and the fewest seeds of any.
        row_variance: (F, r, r) the part of `total.V_rows` that each family adds.
        row_df: (F,) its degrees of freedom, groups - 1 where they are even; the least of the family's tasks.
        seed_variance: (F, r, r) the part of `total.V_seed` that each family adds.
        seed_df: (F,) its degrees of freedom, seeds - 1; the least of the family's tasks.
        limits: the lowest and the highest score that a role can have.
        reason: why there is no interval at all: MIXED_SEEDS, or too few groups; None where there is.
    """

    total: Moments
    row_variance: Floats
    row_df: Floats
    seed_variance: Floats
    seed_df: Floats
    limits: Limits
    reason: str | None

    @property
    def n_roles(self) -> int:
        """r."""
        return len(self.total.p)


def combine(tasks: Sequence[Moments], families: Sequence[str], *, limits: Limits = UNBOUNDED) -> Combined:
    """Mean over families of the mean over their tasks: weight w_k = 1 / (F q), q the tasks of k's family.

    Variances: sum_k w_k^2 q V_k. Families are independent of each other; within one nothing is assumed. The effective
    number of groups is 1 / sum_k (w_k^2 q / that of task k).

    Args:
        tasks: `moments` of each task for the same r roles.
        families: the family of each.
        limits: the lowest and the highest score that a role can have; differences are cut off at what follows.

    Raises:
        InputError: no task, another number of roles or families, or tasks that speak of new rows beside others.
    """
    if not tasks or len(tasks) != len(families):
        raise InputError(
            f"tasks: found {len(tasks)} tasks and {len(families)} families, expected as many, at least one"
        )
    shapes = {m.p.shape for m in tasks}
    if len(shapes) != 1:
        raise InputError(f"tasks: found {sorted(len(m.p) for m in tasks)} roles, expected the same roles on every task")
    size = np.array([families.count(name) for name in families], dtype=np.float64)
    members = [np.array([family == name for family in families]) for name in dict.fromkeys(families)]
    weight = 1 / (len(members) * size)

    def by_family(name: str) -> Floats:
        scaled = squared[:, None, None] * np.stack([getattr(m, name) for m in tasks])
        return np.stack([scaled[some].sum(axis=0) for some in members])

    def least(counts: Sequence[float]) -> Floats:
        return np.array([np.array(counts)[some].min() for some in members], dtype=np.float64)

    seeds, squared = [m.n_seeds for m in tasks], weight**2 * size
    effective = 1 / sum(w / max(m.sample.n_effective, 1.0) for w, m in zip(squared.tolist(), tasks, strict=True))
    counts = (sum(m.sample.n for m in tasks), sum(m.n_groups for m in tasks), min(seeds), effective)
    sample = Sample(*counts, scope=one_scope(tasks))
    pairs = [m.pairs for m in tasks if m.pairs is not None]
    parts = {name: by_family(name) for name in ("V_rows", "V_in", "V_int", "V_seed")}
    p = (weight[:, None] * np.stack([m.p for m in tasks])).sum(axis=0)  # equal roles stay equal to the last bit
    few = ONE_GROUP if min(m.n_groups for m in tasks) < 2 else sample.no_interval
    return Combined(
        total=Moments(
            p,
            *(one.sum(axis=0) for one in parts.values()),
            sample=sample,
            pairs=added(pairs, squared.tolist()) if len(pairs) == len(tasks) else None,
        ),
        row_variance=parts["V_rows"],
        row_df=least([m.sample.row_df for m in tasks]),
        seed_variance=parts["V_seed"],
        seed_df=least(seeds) - 1,
        limits=limits,
        reason=MIXED_SEEDS if min(seeds) == 1 < max(seeds) else few,
    )


def difference(
    combined: Combined, contrast: Sequence[float] | Floats, *, n_comparisons: int = 1, level: float = LEVEL
) -> Estimate:
    """contrast . p with an interval that holds together with n_comparisons - 1 others (Bonferroni).

    Half width sqrt(max_j h_j^2) as in `intervals.squared_widths`, both quantiles of t at 1 - (1 - level) / (2 n), with
    Satterthwaite's degrees of freedom of the families' variances along the contrast: for one task row_df and s - 1, and
    with n = 1 `linear_interval`. The floor of the coverage (docs/statistics.md) does not depend on the level.

    Args:
        combined: r roles.
        contrast: (r,) weights, e.g. 1 for one method and -1 for another.
        n_comparisons: intervals that must hold together, 1 or more.
        level: of all of them together, in (0, 1).

    Raises:
        InputError: not one weight per role, or a number out of range.
    """
    check_range("n_comparisons", n_comparisons, 1, math.inf)
    check_range("level", level, 0, 1)
    a = np.asarray(contrast, dtype=np.float64)
    if a.shape != combined.total.p.shape:
        raise InputError(f"contrast: found shape {a.shape}, expected {combined.total.p.shape}, one weight per role")
    m, value = combined.total, float(a @ combined.total.p)
    if combined.reason:
        return m.sample.estimate(value, math.nan, math.nan, combined.reason)
    widths, q = _widths(combined, [a], upper=1 - (1 - level) / (2 * n_comparisons))
    half = math.sqrt(max(0.0, float((a @ widths @ a).max()) + q**2 * extra(m.pairs, a, q)))
    return m.sample.estimate(value, *clipped(value - half, value + half, of_contrast(a, combined.limits)))


def _widths(combined: Combined, contrasts: Sequence[Floats], *, upper: float) -> tuple[Floats, float]:
    """Squared widths (j, r, r), with the fewest degrees of freedom along any of the contrasts, and the rows' t."""

    def quantile(variances: Floats, df: Floats) -> float:
        along = [np.einsum("r,frq,q->f", a, variances, a) for a in contrasts]
        return float(stdtrit(min(satterthwaite(v, df) for v in along), upper))

    rows_t = quantile(combined.row_variance, combined.row_df)
    if combined.total.n_seeds == 1:
        return squared_widths(combined.total, rows_t=rows_t), rows_t
    seeds_t = quantile(combined.seed_variance, combined.seed_df)
    return squared_widths(combined.total, rows_t=rows_t, seeds_t=seeds_t), rows_t


def unit(n_roles: int, plus: int, minus: int) -> Floats:
    """The contrast (n_roles,) of two roles, plus - minus; zeros if they are one."""
    a = np.zeros(n_roles)
    a[plus] += 1
    a[minus] -= 1
    return a


def pairwise(combined: Combined, roles: Sequence[int], *, level: float = LEVEL) -> dict[tuple[int, int], Estimate]:
    """Every first - second of two of these roles, both ways round, simultaneous over all M (M - 1) / 2 pairs."""
    n_pairs = len(roles) * (len(roles) - 1) // 2
    return {
        (i, j): difference(combined, unit(combined.n_roles, i, j), n_comparisons=n_pairs, level=level)
        for i in roles
        for j in roles
        if i != j
    }


def rank_intervals(pairs: Mapping[tuple[int, int], Estimate], roles: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Best and worst place of each role: 1 + those shown to be better, M - those shown to be worse.

    The true places of all roles lie in theirs at once, with at least the level of the pairs; a role without intervals
    may stand anywhere. Roles that are not told apart have places in common.

    Args:
        pairs: from `pairwise`, both ways round.
        roles: M of its roles.

    Source: Mogstad, Romano, Shaikh and Wilhelm 2024, doi:10.1093/restud/rdad006, from simultaneous pairwise intervals.
    """
    found: dict[int, tuple[int, int]] = {}
    for i in roles:
        above = sum(pairs[j, i].above_zero for j in roles if j != i)
        below = sum(pairs[i, j].above_zero for j in roles if j != i)
        found[i] = (1 + above, len(roles) - below)
    return found


def pooled_pgr(combined: Combined, *, weak: int, student: int, ceiling: int) -> Estimate:
    """PGR of the weighted sums, tasks with an undefined PGR included: as `pgr.pooled`, with families.

    NaN with the reason under the same conditions, and where there are too few groups for an interval. Differs from it
    by t for rows in place of the normal quantile, so that one task gives `recovered`.
    """
    m, index = combined.total, [weak, student, ceiling]
    if combined.reason:
        return m.sample.undefined(combined.reason)
    differences = CONTRASTS @ m.p[index]
    ratio = pgr(0.0, *differences.tolist())
    if math.isnan(ratio):
        return m.sample.undefined(NOT_ABOVE)
    contrasts = [_spread(one, index, combined.n_roles) for one in (GAP, (ratio - 1, 1, -ratio))]
    found, q = _widths(combined, contrasts, upper=UPPER)
    widths = found[:, index][:, :, index]
    if m.pairs is not None:
        widths = widened(widths, extras(m.pairs, q)[np.ix_(index, index)], q=q)
    return fieller_estimate(differences, widths, m.sample)


def _spread(weights: Sequence[float], index: Sequence[int], n_roles: int) -> Floats:
    a = np.zeros(n_roles)
    np.add.at(a, list(index), weights)
    return a


def wilcoxon_holm(gains: Floats) -> tuple[list[float] | None, str | None]:
    """Two-sided p values that a method's gains over the families lie symmetrically about 0, corrected by Holm.

    Wilcoxon's signed-rank test: families in which a method does not differ are left out of its test, a method that
    differs nowhere has p = 1. Exact up to 50 families without ties or zeros and up to 13 with them, else normal.

    Args:
        gains: (F, M) mean gain of every family and method, finite.

    Returns:
        (M,) p values and None; or None and the reason: with fewer than FEWEST_FAMILIES the test is not made.

    Source: Wilcoxon 1945, doi:10.2307/3001968; Holm 1979, Scand. J. Stat. 6, 65-70.
    """
    n_families, n_methods = gains.shape
    if n_families < FEWEST_FAMILIES:
        return None, FEW_FAMILIES
    from scipy.stats import wilcoxon

    rounded = np.round(gains, DECIMALS)
    columns = [rounded[:, j] for j in range(n_methods)]
    results: list[Any] = [wilcoxon(one) if one.any() else None for one in columns]
    return holm([float(one.pvalue) if one else 1.0 for one in results]), None


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down: the i-th smallest of M times M + 1 - i, never falling, at most 1; in the order given.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    found = [0.0] * len(p)
    largest = 0.0
    for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, p[i] * (len(p) - step)))
        found[i] = largest
    return found
