"""Differences between methods over several tasks: with families of tasks, simultaneous intervals, and ranks.

Every task gives scores of the same roles on its own rows and seeds; rows and seeds vary as in `intervals`. Tasks of one
family (twin sets that share texts) may move together: their variances are added as if they did so entirely, by the
bound (x_1 + ... + x_q)(x_1 + ... + x_q)' <= q (x_1 x_1' + ... + x_q x_q').
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from oversight.errors import InputError
from oversight.metrics.checks import Floats
from oversight.metrics.intervals import LEVEL, ONE_GROUP, Estimate, Moments, Sample, squared_widths
from oversight.metrics.pgr import (
    CONTRASTS,
    FEW_GROUPS,
    GAP,
    MIN_GROUPS,
    MIXED_SEEDS,
    NOT_ABOVE,
    WITHIN_NOISE,
    fieller,
    pgr,
)

FEWEST_FAMILIES = 10
FEW_FAMILIES = "fewer than ten task families: no p value can be small"
NO_DIFFERENCE = "no family differs"


@dataclass(frozen=True, eq=False)
class Combined:
    """Several tasks as one, every family with the same weight.

    Attributes:
        total: weighted means of the roles' scores, and their variances.
        seed_variance: (F, r, r) the part of `total.V_seed` that each family adds.
        seed_df: (F,) its degrees of freedom, seeds - 1; the least of the family's tasks.
        n_tasks: K.
        mixed: whether some tasks have one seed and some several: no interval then.
    """

    total: Moments
    seed_variance: Floats
    seed_df: Floats
    n_tasks: int
    mixed: bool

    @property
    def n_roles(self) -> int:
        """r."""
        return len(self.total.p)


def combine(tasks: Sequence[Moments], families: Sequence[str]) -> Combined:
    """Mean over families of the mean over their tasks: weight w_k = 1 / (F q), q the tasks of k's family.

    Variances: sum_k w_k^2 q V_k. Families are independent of each other; within one nothing is assumed.

    Args:
        tasks: `moments` of each task for the same r roles.
        families: the family of each.

    Raises:
        InputError: no task, or another number of roles or families.
    """
    if not tasks or len(tasks) != len(families):
        raise InputError(
            f"tasks: found {len(tasks)} tasks and {len(families)} families, expected as many, at least one"
        )
    shapes = {m.p.shape for m in tasks}
    if len(shapes) != 1:
        raise InputError(f"tasks: found {sorted(len(m.p) for m in tasks)} roles, expected the same roles on every task")
    names = list(dict.fromkeys(families))
    size = np.array([families.count(name) for name in families], dtype=np.float64)
    weight = 1 / (len(names) * size)
    share = weight**2 * size

    def added(name: str) -> Floats:
        return np.sum([share[i] * getattr(m, name) for i, m in enumerate(tasks)], axis=0)

    counts = [m.n_seeds for m in tasks]
    sample = Sample(sum(m.sample.n for m in tasks), sum(m.n_groups for m in tasks), min(counts))
    p = np.sum([weight[i] * m.p for i, m in enumerate(tasks)], axis=0)
    total = Moments(p, *(added(name) for name in ("V_rows", "V_in", "V_int", "V_seed")), sample=sample)
    members = [[i for i, family in enumerate(families) if family == name] for name in names]
    return Combined(
        total=total,
        seed_variance=np.stack([np.sum([share[i] * tasks[i].V_seed for i in some], axis=0) for some in members]),
        seed_df=np.array([min(tasks[i].n_seeds for i in some) - 1 for some in members], dtype=np.float64),
        n_tasks=len(tasks),
        mixed=min(counts) == 1 < max(counts),
    )


def difference(
    combined: Combined, contrast: Sequence[float] | Floats, *, n_comparisons: int = 1, level: float = LEVEL
) -> Estimate:
    """contrast . p with an interval that holds together with n_comparisons - 1 others (Bonferroni).

    Half width sqrt(max_j h_j^2) as in `intervals.squared_widths`, each quantile at 1 - (1 - level) / (2 n): for rows
    normal (one task: t with G - 1 degrees of freedom), for seeds t with Satterthwaite's degrees of freedom of the
    families' seed variances along the contrast, rounded down. The floor of the coverage (docs/statistics.md) does not
    depend on the level.

    Args:
        combined: r roles.
        contrast: (r,) weights, e.g. 1 for one method and -1 for another.
        n_comparisons: intervals that must hold together.
        level: of all of them together.
    """
    a = np.asarray(contrast, dtype=np.float64)
    if a.shape != combined.total.p.shape:
        raise InputError(f"contrast: found shape {a.shape}, expected {combined.total.p.shape}, one weight per role")
    m, value = combined.total, float(a @ combined.total.p)
    if combined.mixed:
        return m.sample.estimate(value, math.nan, math.nan, MIXED_SEEDS)
    if m.n_groups < 2:
        return m.sample.estimate(value, math.nan, math.nan, ONE_GROUP)
    widths = _widths(combined, [a], upper=1 - (1 - level) / (2 * n_comparisons))
    half = math.sqrt(max(0.0, float((a @ widths @ a).max())))
    return m.sample.estimate(value, value - half, value + half)


def _widths(combined: Combined, contrasts: Sequence[Floats], *, upper: float) -> Floats:
    """Squared widths (j, r, r); seeds by the fewest degrees of freedom along any of the contrasts."""
    m = combined.total
    rows_t = float(stdtrit(m.n_groups - 1, upper)) if combined.n_tasks == 1 else float(ndtri(upper))
    if m.n_seeds == 1:
        return squared_widths(m, rows_t=rows_t)
    seeds_t = float(stdtrit(min(_seed_df(combined, a) for a in contrasts), upper))
    return squared_widths(m, rows_t=rows_t, seeds_t=seeds_t)


def _seed_df(combined: Combined, contrast: Floats) -> int:
    """Satterthwaite's degrees of freedom along a contrast, rounded down, at least 1."""
    v = np.einsum("r,frq,q->f", contrast, combined.seed_variance, contrast)
    if v.sum() <= 0:
        return int(combined.seed_df.sum())
    v = v / v.max()
    return max(1, math.floor(v.sum() ** 2 / (v**2 / combined.seed_df).sum() + 1e-9))


def unit(n_roles: int, plus: int, minus: int) -> Floats:
    """The contrast of two roles."""
    a = np.zeros(n_roles)
    a[plus] += 1
    a[minus] -= 1
    return a


def pairwise(combined: Combined, roles: Sequence[int], *, level: float = LEVEL) -> dict[tuple[int, int], Estimate]:
    """Every first - second of two of these roles, simultaneous over all pairs; both signs are given."""
    n_pairs = len(roles) * (len(roles) - 1) // 2
    return {
        (i, j): difference(combined, unit(combined.n_roles, i, j), n_comparisons=n_pairs, level=level)
        for i in roles
        for j in roles
        if i != j
    }


def rank_intervals(pairs: Mapping[tuple[int, int], Estimate], roles: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Best and worst place of each role: 1 + those shown to be better, M - those shown to be worse.

    The places of all roles are covered together with the level of the pairs.

    Source: Mogstad, Romano, Shaikh and Wilhelm 2024, doi:10.1093/restud/rdad006, from simultaneous pairwise intervals.
    """
    found: dict[int, tuple[int, int]] = {}
    for i in roles:
        above = sum(pairs[j, i].low > 0 for j in roles if j != i)
        below = sum(pairs[i, j].low > 0 for j in roles if j != i)
        found[i] = (1 + above, len(roles) - below)
    return found


def pooled_pgr(combined: Combined, *, weak: int, student: int, ceiling: int) -> Estimate:
    """PGR of the weighted sums, tasks with an undefined PGR included; as `pgr.pooled`, but by family.

    Raises nothing: NaN with a reason where the gap is not shown to be above zero.
    """
    m = combined.total
    index = [weak, student, ceiling]
    if combined.mixed:
        return m.sample.undefined(MIXED_SEEDS)
    gain, gap = CONTRASTS @ m.p[index]
    ratio = pgr(0.0, float(gain), float(gap))
    if math.isnan(ratio):
        return m.sample.undefined(NOT_ABOVE)
    if m.n_groups < MIN_GROUPS:
        return m.sample.undefined(FEW_GROUPS)
    contrasts = [
        _spread(np.array(one, dtype=np.float64), index, combined.n_roles) for one in (GAP, (ratio - 1, 1, -ratio))
    ]
    widths = _widths(combined, contrasts, upper=(1 + LEVEL) / 2)[:, index][:, :, index]
    roots = fieller(gain, gap, CONTRASTS @ widths @ CONTRASTS.T)
    if not roots.defined:
        return m.sample.undefined(WITHIN_NOISE)
    return m.sample.estimate(ratio, float(roots.low), float(roots.high))


def _spread(contrast: Floats, index: Sequence[int], n_roles: int) -> Floats:
    a = np.zeros(n_roles)
    np.add.at(a, list(index), contrast)
    return a


def wilcoxon_holm(gains: Floats) -> tuple[list[float] | None, str | None]:
    """p values (two-sided) that a method's gain is 0 in the median family, corrected over methods by Holm.

    Args:
        gains: (F, M) mean gain of every family and method.

    Returns:
        (M,) p values and None; or None and the reason: with fewer than FEWEST_FAMILIES the test is not made. A method
        that differs nowhere has p = 1; families in which a method does not differ are left out of its test (Wilcoxon).

    Source: Wilcoxon 1945, doi:10.2307/3001968; Holm 1979, Scand. J. Stat. 6.
    """
    n_families, n_methods = gains.shape
    if n_families < FEWEST_FAMILIES:
        return None, FEW_FAMILIES
    from scipy.stats import wilcoxon

    raw = [float(wilcoxon(gains[:, j]).pvalue) if np.any(gains[:, j]) else 1.0 for j in range(n_methods)]
    return holm(raw), None


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down: p_(i) times the number not yet rejected, never falling, at most 1.

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
