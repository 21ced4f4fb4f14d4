"""What the scores of a study vary by, from a pilot or from assumptions: all that a plan of a larger one needs.

The scores of weak, student and ceiling vary with the test rows (what all seeds share of that, and what each seed has of
its own) and with the seeds. Each part is kept as the covariance of one row or of one seed, so that it can be taken to
other numbers of rows and seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from oversight.errors import InputError
from oversight.metrics.checks import Floats, check_range
from oversight.metrics.intervals import Moments, moments

A_SHARE, B_SHARE, C_SHARE = 0.4, 0.3, 0.3
"""Shares of the latent variance: of the row, of row x role, of row x role x seed."""
B_CORRELATION = np.array([[1, 0.6, 0], [0.6, 1, 0.4], [0, 0.4, 1]])
C_CORRELATION = np.array([[1, 0.6, 0], [0.6, 1, 0], [0, 0, 1]])
SEED_CORRELATION = np.array([[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]])
GROUP_SHARE = 0.5
SEED_SD = 0.015
USUAL_SHARE, USUAL_DF = 0.02, 2
"""The usual spread over seeds, as a share of a row's standard deviation (.009 for an accuracy of .7), and how much it
counts beside a pilot's own: as much as three seeds. Without it plans from three seeds scatter half as far again, on the
twenty real studies of docs/statistics.md, where the share was .016, .015 and .029 (medians, by role)."""


@dataclass(frozen=True, eq=False)
class Variability:
    """What one test row and one seed add; roles are weak, student, ceiling.

    Attributes:
        p: (3,) expected scores.
        shared: (3, 3) variance of the scores' part that all seeds share, times n test rows.
        own: (3, 3) the same of each seed's own part.
        seeds: (3, 3) variance of one seed's scores around p, that of rows x seeds on `seeds_rows` test rows left in.
        seeds_rows: n of the rows on which `seeds` was measured; inf where it is free of them.
        seeds_df: degrees of freedom with which `seeds` was measured; inf where it is assumed.
        groups_per_row: effective groups of test rows for each row, in (0, 1].
    """

    p: Floats
    shared: Floats
    own: Floats
    seeds: Floats
    seeds_rows: float
    seeds_df: float
    groups_per_row: float

    def of_seed(self, n: int, *, times: float = 1.0) -> Floats:
        """(3, 3) variance of one seed's scores on n test rows, `times` what was measured, rows x seeds as there."""
        measured = self.own / self.seeds_rows if np.isfinite(self.seeds_rows) else np.zeros((3, 3))
        return _nearest(times * self.seeds - measured) + self.own / n


def of_scores(row_scores: npt.ArrayLike, groups: npt.ArrayLike, *, seed_sd: float | None = None) -> Variability:
    """`of_pilot` from the rows' scores, with USUAL_SHARE of their standard deviation as the usual spread over seeds.

    Args:
        row_scores: (s, 3, n) of weak, student and ceiling.
        groups: (n,) any values.
        seed_sd: see `of_pilot`.

    Raises:
        InputError: see `of_pilot` and `moments`.
    """
    m = moments(row_scores, groups)
    return of_pilot(
        m, seed_sd=seed_sd, usual_sd=USUAL_SHARE * np.asarray(row_scores, dtype=np.float64).std(axis=2).mean(axis=0)
    )


def of_pilot(m: Moments, *, seed_sd: float | None = None, usual_sd: Floats | None = None) -> Variability:
    """The variances of a study that was run, each by itself.

    With s seeds: shared = V_rows - V_int, own = s V_int, and s V_seed with s - 1 degrees of freedom, to which the usual
    spread over seeds is added with USUAL_DF. With one seed nothing is known of seeds, and `seed_sd` must say it.

    Args:
        m: of the rows' scores of weak, student and ceiling.
        seed_sd: standard deviation of one model's expected score over seeds, in place of what the pilot says of it.
        usual_sd: (3,) what it usually is; None = the pilot alone speaks.

    Raises:
        InputError: one seed and no `seed_sd`, fewer than two groups, or a number out of range.
    """
    s, n = m.n_seeds, m.sample.n
    if m.n_groups < 2:
        raise InputError(f"pilot: found {m.n_groups} groups of test rows, expected two or more")
    if s == 1 and seed_sd is None:
        raise InputError("pilot: found one seed, which says nothing of the spread over seeds; expected --seed-sd too")
    own = _nearest(n * s * m.V_int)
    seeds, rows, df = s * m.V_seed, float(n), float(s - 1)
    if seed_sd is not None:
        check_range("--seed-sd", seed_sd, 0, 0.2)
        seeds, rows, df = seed_sd**2 * SEED_CORRELATION, np.inf, np.inf
    elif usual_sd is not None:
        usual = np.outer(usual_sd, usual_sd) * SEED_CORRELATION + own / n
        seeds, df = (df * seeds + USUAL_DF * usual) / (df + USUAL_DF), df + USUAL_DF
    return Variability(
        p=m.p,
        shared=_nearest(n * (m.V_rows - m.V_int)),
        own=own,
        seeds=seeds,
        seeds_rows=rows,
        seeds_df=df,
        groups_per_row=m.sample.n_effective / n,
    )


def assumed(
    *,
    weak: float,
    student: float,
    ceiling: float,
    group_size: int = 1,
    group_share: float = GROUP_SHARE,
    seed_sd: float = SEED_SD,
) -> Variability:
    """Accuracies by the model of the coverage benchmark, in closed form from its latent correlations.

    Args:
        weak, student, ceiling: expected accuracies, in (0, 1).
        group_size: rows per group.
        group_share: share of each latent variance that the rows of a group have in common, in [0, 1].
        seed_sd: standard deviation of one model's expected accuracy over seeds, in [0, .2].

    Raises:
        InputError: a number out of its range.
    """
    for name, value in (("weak", weak), ("weak + pgr * gap", student), ("weak + gap", ceiling)):
        check_range(name, value, 1e-6, 1 - 1e-6)
    check_range("seed_sd", seed_sd, 0, 0.2)
    check_range("group_share", group_share, 0, 1)
    p = np.array([weak, student, ceiling])
    shared, own = row_variances(p, group_size=group_size, group_share=group_share)
    return Variability(
        p=p,
        shared=shared,
        own=own,
        seeds=seed_sd**2 * SEED_CORRELATION,
        seeds_rows=np.inf,
        seeds_df=np.inf,
        groups_per_row=1 / group_size,
    )


def row_variances(p: Floats, *, group_size: int = 1, group_share: float = GROUP_SHARE) -> tuple[Floats, Floats]:
    """n times the variances (3, 3) of accuracies over draws of test groups: what seeds share, and their own part."""
    between = A_SHARE + B_SHARE * B_CORRELATION
    within = between + C_SHARE * C_CORRELATION
    shared, total = (
        indicator_covariance(p, latent) + (group_size - 1) * indicator_covariance(p, group_share * latent)
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


def _nearest(covariance: Floats) -> Floats:
    """The same without negative eigenvalues, which differences of estimates may have."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.maximum(values, 0.0)) @ vectors.T
