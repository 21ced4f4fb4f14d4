"""What a planned study can show, before it is run: the chance that PGR is defined, and the widths of the intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from oversight.metrics.checks import Floats, check_range
from oversight.metrics.intervals import Moments, Sample, squared_widths
from oversight.metrics.pgr import CONTRASTS, FEW_GROUPS, MIN_GROUPS, fieller

DRAWS = 20_000
SEED = 0

A_SHARE, B_SHARE, C_SHARE = 0.4, 0.3, 0.3
"""Shares of the latent variance: of the row, of row x role, of row x role x seed."""
B_CORRELATION = np.array([[1, 0.6, 0], [0.6, 1, 0.4], [0, 0.4, 1]])
C_CORRELATION = np.array([[1, 0.6, 0], [0.6, 1, 0], [0, 0, 1]])
SEED_CORRELATION = np.array([[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]])
GROUP_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class Power:
    """What to expect of a study.

    Attributes:
        p_defined: probability that PGR is defined, in [0, 1].
        gap_width: mean width of the interval of ceiling - weak.
        pgr_width: median width of PGR's interval when it is defined; NaN if it never was in 20,000 simulated studies.
        n_groups: groups of test rows.
        reason: why PGR cannot be defined at all; None otherwise.
    """

    p_defined: float
    gap_width: float
    pgr_width: float
    n_groups: int
    reason: str | None


def power(
    *, gap: float, n_test: int, seeds: int, pgr: float = 0.5, group_size: int = 1, seed_sd: float = 0.015
) -> Power:
    """Expected outcome for accuracies, from the model of the coverage benchmark.

    Row parts of the variances come from that model's latent correlations in closed form; 20,000 studies are then drawn
    from normal theory (differences normal, seed variances Wishart; fixed seed, so the answer is deterministic, with
    noise of 0.4 points in p_defined) and judged by the package's own intervals. The supervisor's accuracy is
    .70 for gaps up to .1, else .75 - gap / 2.

    Args:
        gap: true ceiling - weak, in (0, .5).
        n_test: test rows, at least 2 groups.
        seeds: training seeds, 1 to 100.
        pgr: true PGR, such that the student's accuracy is in (0, 1).
        group_size: rows per group; rows of one group share half of each latent variance.
        seed_sd: standard deviation of one model's expected accuracy over seeds, in [0, .2].

    Raises:
        InputError: an argument outside its range.

    Source: docs/statistics.md.
    """
    check_range("gap", gap, 1e-6, 0.499999)
    check_range("seeds", seeds, 1, 100)
    check_range("n_test", n_test, 2, 10**9)
    check_range("group_size", group_size, 1, n_test / 2)
    check_range("seed_sd", seed_sd, 0, 0.2)
    weak = min(0.70, 0.75 - gap / 2)
    check_range("weak + pgr * gap", weak + pgr * gap, 1e-6, 1 - 1e-6)
    p = np.array([weak, weak + pgr * gap, weak + gap])
    n_groups = n_test // group_size
    studies = _draw_studies(p, seed_sd**2 * SEED_CORRELATION, Sample(n_groups * group_size, n_groups, seeds))
    widths = CONTRASTS @ squared_widths(studies) @ CONTRASTS.T
    gap_width = float(2 * np.sqrt(widths[..., 1, 1].max(axis=-1)).mean())
    if n_groups < MIN_GROUPS:
        return Power(p_defined=0.0, gap_width=gap_width, pgr_width=math.nan, n_groups=n_groups, reason=FEW_GROUPS)
    differences = studies.p @ CONTRASTS.T
    low, high, defined = fieller(differences[:, 0], differences[:, 1], widths)
    width = float(np.median((high - low)[defined])) if defined.any() else math.nan
    return Power(p_defined=float(defined.mean()), gap_width=gap_width, pgr_width=width, n_groups=n_groups, reason=None)


def _draw_studies(p: Floats, seed_variance: Floats, sample: Sample) -> Moments:
    """20,000 studies by normal theory: means and seed variances drawn, row variances known."""
    s, rng = sample.n_seeds, np.random.default_rng(SEED)
    shared, own = row_variances(p, sample)
    per_seed = seed_variance + own
    means = p + _normal(rng, shared + per_seed / s)
    v_seed = np.zeros((DRAWS, 3, 3))
    for _ in range(s - 1):
        away = _normal(rng, per_seed / s)
        v_seed += away[:, :, None] * away[:, None, :] / (s - 1)
    v_rows, v_in, v_int = (np.broadcast_to(v, (DRAWS, 3, 3)) for v in (shared + own / s, shared + own, own / s))
    return Moments(means, v_rows, v_in, v_int, v_seed, sample)


def row_variances(p: Floats, sample: Sample) -> tuple[Floats, Floats]:
    """Variances (3, 3) of accuracies over draws of test groups: the part that seeds share, and the part they do not."""
    size = sample.n / sample.n_groups
    between = A_SHARE + B_SHARE * B_CORRELATION
    within = between + C_SHARE * C_CORRELATION
    shared, total = (
        (indicator_covariance(p, latent) + (size - 1) * indicator_covariance(p, GROUP_SHARE * latent)) / sample.n
        for latent in (between, within)
    )
    return shared, total - shared


def indicator_covariance(p: Floats, correlation: Floats) -> Floats:
    """cov(1[X_r < x_r], 1[X_q < x_q]) (r, r) of standard normals, P(X_r < x_r) = p_r.

    Integral over t from 0 to the correlation of the bivariate density at (x_r, x_q) (Plackett 1954); p (1 - p) where
    the correlation is 1.
    """
    x = ndtri(p)
    nodes, weights = np.polynomial.legendre.leggauss(32)
    t = correlation[..., None] * (nodes + 1) / 2
    squares = (x[:, None] ** 2 + x**2)[..., None]
    exponent = (squares - 2 * t * (x[:, None] * x)[..., None]) / (2 * (1 - t**2))
    density = np.exp(-exponent) / (2 * np.pi * np.sqrt(1 - t**2))
    area = correlation / 2 * (density @ weights)
    return np.where(correlation > 1 - 1e-9, (p * (1 - p))[:, None], area)


def _normal(rng: np.random.Generator, covariance: Floats) -> Floats:
    """Normal vectors (20,000, r) with a covariance (r, r) that may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    return rng.standard_normal((DRAWS, len(values))) * np.sqrt(np.maximum(values, 0)) @ vectors.T
