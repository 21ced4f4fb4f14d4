"""What a planned study can show, before it is run: which gap, and how many rows and seeds a gap takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri

from oversight.metrics.checks import Floats, check_range
from oversight.metrics.intervals import Moments, Sample, squared_widths
from oversight.metrics.pgr import CONTRASTS, FEW_GROUPS, MIN_GROUPS, fieller
from oversight.metrics.pool import Scope
from oversight.metrics.variability import GROUP_SHARE, SEED_SD, Variability, assumed

DRAWS = 20_000
SEED = 0
STRATA = 25
CHANCE = 0.8
MOST_ROWS, MOST_SEEDS = 10**7, 100


@dataclass(frozen=True, kw_only=True)
class Power:
    """What to expect of a study.

    Attributes:
        p_defined: probability that PGR is defined, which is that the gap is shown, in [0, 1].
        gap_width: median width of the interval of ceiling - weak.
        gap_width_low, gap_width_high: between these it lies in 8 of 10 studies; what a pilot did not tell of seeds
            included.
        smallest_gap: the true gap that is shown with probability 0.8.
        pgr_width: median width of PGR's interval when it is defined; NaN if it never was in 20,000 simulated studies.
        n_groups: effective groups of test rows.
        reason: why PGR cannot be defined at all; None otherwise.
    """

    p_defined: float
    gap_width: float
    gap_width_low: float
    gap_width_high: float
    smallest_gap: float
    pgr_width: float
    n_groups: int
    reason: str | None


def power(
    *,
    gap: float,
    n_test: int,
    seeds: int,
    pgr: float = 0.5,
    weak: float | None = None,
    group_size: int = 1,
    group_share: float = GROUP_SHARE,
    seed_sd: float = SEED_SD,
    scope: Scope = "these-rows",
) -> Power:
    """Expected outcome for accuracies by assumption, from the model of the coverage benchmark; see `expected`.

    Args:
        gap: true ceiling - weak, in (0, .5).
        n_test: test rows, at least 2 groups.
        seeds: training seeds, 1 to 100.
        pgr: true PGR, such that the student's accuracy is in (0, 1).
        weak: the supervisor's accuracy; None = .70 for gaps up to .1, else .75 - gap / 2.
        group_size: rows per group.
        group_share: share of each latent variance that the rows of a group have in common, in [0, 1].
        seed_sd: standard deviation of one model's expected accuracy over seeds, in [0, .2].
        scope: of what the study's intervals are to speak; see `metrics.pool`.

    Raises:
        InputError: an argument outside its range.

    Source: docs/statistics.md.
    """
    check_range("gap", gap, 1e-6, 0.499999)
    check_range("n_test", n_test, 2, 10**9)
    check_range("group_size", group_size, 1, n_test / 2)
    how = by_assumption(gap=gap, pgr=pgr, weak=weak, group_size=group_size, group_share=group_share, seed_sd=seed_sd)
    return expected(how, gap=gap, pgr=pgr, n_test=n_test, seeds=seeds, scope=scope)


def by_assumption(
    *,
    gap: float,
    pgr: float,
    weak: float | None = None,
    group_size: int = 1,
    group_share: float = GROUP_SHARE,
    seed_sd: float = SEED_SD,
) -> Variability:
    """What accuracies with this gap vary by, by assumption; arguments as for `power`."""
    found = min(0.70, 0.75 - gap / 2) if weak is None else weak
    return assumed(
        weak=found,
        student=found + pgr * gap,
        ceiling=found + gap,
        group_size=group_size,
        group_share=group_share,
        seed_sd=seed_sd,
    )


def expected(
    how: Variability, *, gap: float, pgr: float, n_test: int, seeds: int, scope: Scope = "these-rows"
) -> Power:
    """What a study with these variances gives, on the pool of training rows that they speak of.

    20,000 studies are drawn from normal theory (differences normal, seed variances Wishart; fixed seed, so the answer
    is deterministic, with noise of 0.4 points in p_defined) and judged by the package's own intervals. Variances do not
    move with the gap. Where they were measured with few seeds, the true ones are drawn too, each measured one times
    df / chi2(df), in 25 strata of equal probability.

    Args:
        how: from `of_pilot` or `assumed`.
        gap: true ceiling - weak.
        pgr: true PGR.
        n_test: test rows, at least 2 effective groups.
        seeds: training seeds, 1 to 100.
        scope: of what the intervals are to speak. The gap stays that of this pool of training rows in any case.

    Raises:
        InputError: an argument outside its range.
    """
    noise, widths, n_groups = _simulated(how, n_test=n_test, seeds=seeds, scope=scope)
    low, middle, high = (float(one) for one in np.quantile(2 * _gap_half(widths), [0.1, 0.5, 0.9]))
    told = {"gap_width": middle, "gap_width_low": low, "gap_width_high": high, "smallest_gap": _shown(noise, widths)}
    if n_groups < MIN_GROUPS:
        return Power(p_defined=0.0, pgr_width=math.nan, n_groups=n_groups, reason=FEW_GROUPS, **told)
    roots = fieller(pgr * gap + noise[:, 0], gap + noise[:, 1], widths)
    width = float(np.median((roots.high - roots.low)[roots.defined])) if roots.defined.any() else math.nan
    return Power(p_defined=float(roots.defined.mean()), pgr_width=width, n_groups=n_groups, reason=None, **told)


def rows_needed(how: Variability, *, gap: float, seeds: int, scope: Scope = "these-rows") -> int | None:
    """Fewest test rows with which the gap is shown with probability 0.8; None where no number of rows is enough."""
    first = max(2, math.ceil(MIN_GROUPS / how.groups_per_row))
    return _fewest(first, MOST_ROWS, lambda n: expected_gap(how, n_test=n, seeds=seeds, scope=scope) <= gap)


def seeds_needed(how: Variability, *, gap: float, n_test: int, scope: Scope = "these-rows") -> int | None:
    """Fewest seeds, 2 to 100, with which the gap is shown with probability 0.8; None where no number is enough."""
    return _fewest(2, MOST_SEEDS, lambda s: expected_gap(how, n_test=n_test, seeds=s, scope=scope) <= gap)


def expected_gap(how: Variability, *, n_test: int, seeds: int, scope: Scope = "these-rows") -> float:
    """The true gap that is shown with probability 0.8."""
    noise, widths, _ = _simulated(how, n_test=n_test, seeds=seeds, scope=scope)
    return _shown(noise, widths)


def _gap_half(widths: Floats) -> Floats:
    """(b,) half widths of the gap's interval."""
    return np.sqrt(widths[..., 1, 1].max(axis=-1))


def _shown(noise: Floats, widths: Floats) -> float:
    """The true gap whose interval lies above 0 with probability CHANCE."""
    return float(np.quantile(_gap_half(widths) - noise[:, 1], CHANCE))


def _fewest(first: int, last: int, enough: Callable[[int], bool]) -> int | None:
    """By bisection, within 1 %."""
    if enough(first):
        return first
    low, high = first, first
    while not enough(high):
        if high == last:
            return None
        low, high = high, min(last, 2 * high)
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _simulated(how: Variability, *, n_test: int, seeds: int, scope: Scope) -> tuple[Floats, Floats, int]:
    """Errors of gain and gap (b, 2), squared half widths of both (b, j, 2, 2), and the effective groups."""
    check_range("seeds", seeds, 1, MOST_SEEDS)
    check_range("n_test", n_test, 2, 10**9)
    n_groups = max(2, round(n_test * how.groups_per_row))
    sample = Sample(n_test, n_groups, seeds)
    strata = (np.arange(STRATA) + 0.5) / STRATA if math.isfinite(how.seeds_df) else np.array([0.5])
    times = how.seeds_df / chdtri(how.seeds_df, strata) if math.isfinite(how.seeds_df) else np.array([1.0])
    rng = np.random.default_rng(SEED)
    found = [_studies(how, sample, times=float(one), draws=DRAWS // len(times), rng=rng) for one in times]
    noise = np.concatenate([m.p for m in found]) @ CONTRASTS.T
    widths = np.concatenate([CONTRASTS @ squared_widths(m.covering(scope)) @ CONTRASTS.T for m in found])
    return noise, widths, n_groups


def _studies(how: Variability, sample: Sample, *, times: float, draws: int, rng: np.random.Generator) -> Moments:
    """Studies by normal theory, with means around 0: means and seed variances drawn, row variances known."""
    s, n = sample.n_seeds, sample.n
    shared, own, one = how.shared / n, how.own / n, how.of_seed(n, times=times)
    means = _normal(rng, shared + one / s, draws)
    v_seed = np.zeros((draws, 3, 3))
    for _ in range(s - 1):
        away = _normal(rng, one / s, draws)
        v_seed += away[:, :, None] * away[:, None, :] / (s - 1)
    parts = (np.broadcast_to(v, (draws, 3, 3)) for v in (shared + own / s, shared + own, own / s))
    v_rows, v_in, v_int = parts
    return Moments(means, v_rows, v_in, v_int, v_seed, sample)


def _normal(rng: np.random.Generator, covariance: Floats, draws: int) -> Floats:
    """Normal vectors (draws, r) with a covariance (r, r) that may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    return rng.standard_normal((draws, len(values))) * np.sqrt(np.maximum(values, 0)) @ vectors.T
