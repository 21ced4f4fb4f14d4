"""Performance gap recovered: PGR = (student - weak) / (ceiling - weak) of seed means, with an interval or a reason.

Roles are always in the order weak, student, ceiling, and more is better (see `scores.oriented`). PGR is defined only
where the gap is shown to be above zero; it is never clipped, and never the mean of several ratios.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from oversight.errors import InputError
from oversight.metrics.alike import added, extras, three_roles
from oversight.metrics.checks import Floats
from oversight.metrics.clusters import FEWEST_FOR_VERDICT
from oversight.metrics.intervals import (
    NO_SPREAD,
    NO_VALUE,
    UPPER,
    Estimate,
    Moments,
    Sample,
    linear_interval,
    moments,
    satterthwaite,
    squared_widths,
    t_quantile,
)
from oversight.metrics.limits import UNBOUNDED, Limits, between
from oversight.metrics.percentiles import percentile_interval, with_seed_part
from oversight.metrics.pool import Scope

WEAK, STUDENT, CEILING = (1, 0, 0), (0, 1, 0), (0, 0, 1)
GAIN, GAP = (-1, 1, 0), (-1, 0, 1)
CONTRASTS = np.array([GAIN, GAP], dtype=np.float64)
Z = float(ndtri(UPPER))

NOT_ABOVE = "the ceiling is not above the supervisor"
WITHIN_NOISE = "the gap is within noise"
MIN_GROUPS = FEWEST_FOR_VERDICT
FEW_GROUPS = f"too few groups (fewer than {MIN_GROUPS} effective ones)"
MIN_TASKS = 5
FEW_TASKS = "too few tasks (fewer than 5; intervals not tested there)"
MIXED_SEEDS = "some tasks have one seed and some have several"
MIXED_SCOPES = "tasks: found intervals that cover {}, expected one scope for all"


@dataclass(frozen=True)
class Recovered:
    """The three scores, two differences and PGR of one study.

    Attributes:
        weak, student, ceiling: scores, more is better.
        gap: ceiling - weak.
        gain: student - weak.
        pgr: gain / gap; NaN with a reason where it is undefined: NOT_ABOVE, WITHIN_NOISE or FEW_GROUPS (NO_VALUE for
            replicates of a score that is itself undefined).
        moments: what `pooled` and `across_tasks` need; None when it came from replicates.
    """

    weak: Estimate
    student: Estimate
    ceiling: Estimate
    gap: Estimate
    gain: Estimate
    pgr: Estimate
    moments: Moments | None = field(default=None, compare=False)


class Roots(NamedTuple):
    """Fieller's interval: low (...,), high (...,), and whether it is one bounded interval, `defined` (...,)."""

    low: Floats
    high: Floats
    defined: npt.NDArray[np.bool_]


def pgr(weak: float, student: float, ceiling: float) -> float:
    """(student - weak) / (ceiling - weak); 1 = all of the gap recovered, may be < 0 or > 1; NaN if ceiling <= weak.

    Source: Burns et al. 2023, arXiv:2312.09390.
    """
    return (student - weak) / (ceiling - weak) if ceiling > weak else math.nan


def fieller(gain: Floats, gap: Floats, widths: Floats) -> Roots:
    """All ratios theta that |gain - theta gap| <= h(theta) does not reject, for every replicate at once.

    For each j with W = widths_j: A = D^2 - W_DD, B = N D - W_ND, C = N^2 - W_NN, roots (B -+ sqrt(B^2 - A C)) / A;
    low = min of the lower roots, high = max of the upper ones; set j is dropped if B^2 < A C. Defined: D > 0 and
    A > 0 for every j. B^2 - A C is computed as D^2 W_NN - 2 N D W_ND + N^2 W_DD - det W, which does not cancel.

    Args:
        gain: (...,) N = student - weak.
        gap: (...,) D = ceiling - weak.
        widths: (..., j, 2, 2) squared half widths of (N, D); the first is positive semidefinite.

    Returns:
        Roots; low and high are NaN where not defined.

    Source: Fieller 1954, doi:10.1111/j.2517-6161.1954.tb00159.x; two sets: docs/statistics.md.
    """
    n, d = np.asarray(gain)[..., None], np.asarray(gap)[..., None]
    w_nn, w_nd, w_dd = widths[..., 0, 0], widths[..., 0, 1], widths[..., 1, 1]
    a = d**2 - w_dd
    defined = (d[..., 0] > 0) & (a > 0).all(axis=-1)
    inside = d**2 * w_nn - 2 * n * d * w_nd + n**2 * w_dd - (w_nn * w_dd - w_nd**2)
    kept = inside >= 0
    kept[..., 0] = True
    root = np.sqrt(np.maximum(inside, 0.0))
    scale = np.where(a > 0, a, 1.0)
    low = np.where(kept, (n * d - w_nd - root) / scale, np.inf).min(axis=-1)
    high = np.where(kept, (n * d - w_nd + root) / scale, -np.inf).max(axis=-1)
    return Roots(np.where(defined, low, np.nan), np.where(defined, high, np.nan), defined)


def recovered(
    row_scores: npt.ArrayLike, groups: npt.ArrayLike, *, limits: Limits = UNBOUNDED, scope: Scope = "these-rows"
) -> Recovered:
    """Scores, gap and PGR of a linear metric, with closed-form intervals over seeds and test groups.

    Args:
        row_scores: (s, 3, n) one number per seed, role and test row, more is better: 1 for a right answer, or
            `oriented(metric, ...)` for losses.
        groups: (n,) any values; rows with the same one stay together.
        limits: of the scores as given, losses negated; differences stay within their width.
        scope: of what the intervals are to speak: new pools of training rows, or this one.

    Raises:
        InputError: not three roles, or what `moments` refuses.
    """
    scores = np.asarray(row_scores, dtype=np.float64)
    if scores.ndim != 3 or scores.shape[1] != 3:
        raise InputError(f"row_scores: found shape {scores.shape}, expected (s, 3, n): weak, student, ceiling")
    m = moments(scores, groups).covering(scope)
    apart = between(limits)
    parts = [linear_interval(m, contrast, limits=limits) for contrast in (WEAK, STUDENT, CEILING)]
    parts += [linear_interval(m, contrast, limits=apart) for contrast in (GAP, GAIN)]
    widths = squared_widths(m)
    if m.pairs is not None and not m.sample.no_interval:
        widths = widened(widths, extras(m.pairs, q := t_quantile(m.sample.row_df)), q=q)
    return Recovered(*parts, pgr=fieller_estimate(CONTRASTS @ m.p, widths, m.sample), moments=m)


def widened(widths: Floats, found: Floats, *, q: float) -> Floats:
    """Squared half widths (j, 3, 3) of weak, student, ceiling, with what few discordant groups add: `alike.extras`."""
    return widths + q**2 * np.diag(three_roles(found))


def recovered_from_replicates(
    draws: Floats,
    values: Floats,
    groups: npt.ArrayLike,
    *,
    seed: int,
    limits: Limits = UNBOUNDED,
    scope: Scope = "these-rows",
) -> Recovered:
    """The same for any metric, from bootstrap replicates of the three roles that share their weights.

    Percentiles of N* / D*; PGR is defined only if D > 0 and the interval of D* lies above zero.

    Args:
        draws: (3, B, s), one `replicates(...)` per role, same groups, number and seed; more is better.
        values: (3, s), one `values_per_seed(...)` per role.
        groups: (n,) the test rows' groups.
        seed: of the seed part, which the roles share.
        limits: of the scores as given, losses negated; differences stay within their width.
        scope: as in `recovered`.

    Raises:
        InputError: shapes do not fit.
    """
    draws, values = np.asarray(draws, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if draws.ndim != 3 or values.shape != (3, draws.shape[2]) or draws.shape[0] != 3:
        raise InputError(f"draws, values: found shapes {draws.shape}, {values.shape}, expected (3, B, s) and (3, s)")
    sample = Sample.of(groups, values.shape[1], scope=scope)
    spread, centre = with_seed_part(draws, values, seed=seed, sample=sample), values.mean(axis=1)
    weights = np.array([WEAK, STUDENT, CEILING, GAP, GAIN], dtype=np.float64)
    numbers: list[float] = (weights @ centre).tolist()
    within = [limits] * 3 + [between(limits)] * 2
    parts = [
        percentile_interval(v, one, sample, limits=reach)
        for v, one, reach in zip(numbers, weights @ spread, within, strict=True)
    ]
    gain, gap = CONTRASTS @ spread
    return Recovered(*parts, pgr=_percentile_pgr(CONTRASTS @ centre, gain, gap, parts[3], sample))


def pooled(studies: Sequence[Moments]) -> Estimate:
    """PGR over tasks: sum_k N_k / sum_k D_k, equal weight per task, tasks with an undefined PGR included.

    Tasks are independent: numerators, denominators and variances add up; q_R = 1.96 and q_S = t(.975; nu) with
    nu = (sum_k v_k)^2 / sum_k(v_k^2 / (s_k - 1)), v_k = a' V_seed,k a, the smaller nu of a = gap and
    a = (PGR - 1, 1, -PGR), rounded down. Then Fieller as for one task. Speaks of these tasks.

    Args:
        studies: `Recovered.moments` of every task, at least one, on the same metric.

    Raises:
        InputError: no study, one that has not three roles, or some that speak of new rows and some of these.
    """
    counts = [m.n_seeds for m in _three_roles(studies)]
    total = Moments(
        *(np.sum([getattr(m, name) for m in studies], axis=0) for name in ("p", "V_rows", "V_in", "V_int", "V_seed")),
        sample=Sample(
            sum(m.sample.n for m in studies),
            sum(m.n_groups for m in studies),
            min(counts),
            len(studies) ** 2 / sum(1 / max(m.sample.n_effective, 1.0) for m in studies),
            scope=one_scope(studies),
        ),
    )
    if min(counts) == 1 and max(counts) > 1:
        return total.sample.undefined(MIXED_SEEDS)
    differences = CONTRASTS @ total.p
    ratio = pgr(0.0, *differences.tolist())
    if math.isnan(ratio):
        return total.sample.undefined(NOT_ABOVE)
    contrasts = (np.array(GAP, dtype=np.float64), np.array([ratio - 1, 1, -ratio]))
    seeds_t = t_quantile(min(_seed_df(studies, a) for a in contrasts)) if min(counts) > 1 else None
    widths = squared_widths(total, rows_t=Z, seeds_t=seeds_t)
    known = [m.pairs for m in studies if m.pairs is not None]
    if len(known) == len(studies):
        widths = widened(widths, extras(added(known, [1.0] * len(known)), Z), q=Z)
    return fieller_estimate(differences, widths, total.sample)


def across_tasks(studies: Sequence[Moments]) -> Estimate:
    """PGR over a population of tasks: the same ratio of sums, with tasks as units and Fieller's t(K - 1).

    W = t(.975; K - 1)^2 cov(N_k, D_k) / K. Speaks of tasks like these; K < 5 is undefined (not tested).
    """
    k = len(_three_roles(studies))
    pairs = np.array([CONTRASTS @ m.p for m in studies])
    counts = (sum(m.sample.n for m in studies), sum(m.n_groups for m in studies), min(m.n_seeds for m in studies))
    if k < MIN_TASKS:
        return Estimate(math.nan, math.nan, math.nan, *counts, FEW_TASKS, "tasks")
    widths = t_quantile(k - 1) ** 2 * np.cov(pairs, rowvar=False) / k
    mean = pairs.mean(axis=0)
    found = _fieller(mean, widths[None])
    return Estimate(*found[:3], *counts, found[3], "tasks")


def one_scope(tasks: Sequence[Moments]) -> Scope:
    """Of what all of them speak.

    Raises:
        InputError: not all of the same.
    """
    found = {m.sample.scope for m in tasks}
    if len(found) > 1:
        raise InputError(MIXED_SCOPES.format(" and ".join(sorted(found))))
    return tasks[0].sample.scope


def _three_roles(studies: Sequence[Moments]) -> Sequence[Moments]:
    if not studies:
        raise InputError("studies: found none, expected at least one")
    for m in studies:
        if m.p.shape != (3,):
            raise InputError(f"studies: found one of {m.p.shape} roles, expected (3,): weak, student, ceiling")
    return studies


def _seed_df(studies: Sequence[Moments], contrast: Floats) -> float:
    """Satterthwaite's degrees of freedom of the sum of the tasks' seed variances along a contrast, rounded down."""
    v = np.array([contrast @ m.V_seed @ contrast for m in studies])
    return satterthwaite(v, np.array([m.n_seeds - 1 for m in studies], dtype=np.float64))


def _fieller(differences: Floats, widths: Floats) -> tuple[float, float, float, str | None]:
    """(value, low, high, reason) from (N, D) and the widths (j, 2, 2) of these two."""
    gain, gap = differences
    if not gap > 0:
        return math.nan, math.nan, math.nan, NOT_ABOVE
    roots = fieller(gain, gap, widths)
    if not roots.defined:
        return math.nan, math.nan, math.nan, WITHIN_NOISE
    return float(gain / gap), float(roots.low), float(roots.high), None


def fieller_estimate(differences: Floats, widths: Floats, sample: Sample) -> Estimate:
    """PGR with its interval or the reason why there is none.

    Args:
        differences: (2,) N = student - weak and D = ceiling - weak.
        widths: (j, 3, 3) squared half widths of weak, student, ceiling, from `squared_widths`.
        sample: what stands behind them; fewer than MIN_GROUPS effective groups are undefined.
    """
    if differences[1] > 0 and sample.n_effective < MIN_GROUPS:
        return sample.undefined(FEW_GROUPS)
    return sample.estimate(*_fieller(differences, CONTRASTS @ widths @ CONTRASTS.T))


def _percentile_pgr(differences: Floats, gain: Floats, gap: Floats, gap_interval: Estimate, sample: Sample) -> Estimate:
    """The estimate of PGR from replicates of gain and gap (B,)."""
    if not np.isfinite(differences).all():
        return sample.undefined(NO_VALUE)
    if not gap_interval.value > 0:
        return sample.undefined(NOT_ABOVE)
    if sample.n_effective < MIN_GROUPS:
        return sample.undefined(FEW_GROUPS)
    if not gap_interval.low > 0:
        return sample.undefined(WITHIN_NOISE)
    ratios = gain[gap != 0] / gap[gap != 0]
    low, high = np.nanquantile(ratios, [1 - UPPER, UPPER])
    if low == high:
        return sample.undefined(NO_SPREAD)
    return sample.estimate(differences[0] / differences[1], low, high)
