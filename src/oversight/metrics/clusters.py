"""What uneven groups do to a mean over rows: the effective number of groups, and the small-sample variance (CR2).

A group that holds a large share of the rows pulls the mean towards itself, so that its residual is too small, and few
such groups decide on the variance, so that it has fewer degrees of freedom than there are groups. Both have closed
forms for a mean, given how rows of one group go together in the working model below.
"""

from __future__ import annotations

import math

import numpy as np

from oversight.metrics.checks import Floats, Ints

EXPONENT = 1.5
"""Working model: the variance of a group's sum goes with size^1.5, between rows that have nothing in common (1) and
rows that are all alike (2); by simulation, see docs/statistics.md. No other form leaves the result as it is when
every row is there twice."""

FEWEST_FOR_INTERVAL, FEWEST_FOR_VERDICT, ENOUGH = 10, 50, 100
"""Effective groups below which there is no interval, no PGR and no verdict, and no number without a warning."""


def effective_groups(sizes: Floats) -> float:
    """As many groups of equal size say as much: (sum m)^2 / sum m^2, from 1 to the number of groups.

    Args:
        sizes: (G,) rows of each group, or their weights, >= 0, not all 0.

    Example:
        >>> effective_groups(np.array([4.0, 4.0, 4.0]))
        3.0

    Source: Kish 1965, Survey Sampling.
    """
    if len(sizes) == 0 or sizes.min() == sizes.max():
        return float(len(sizes))
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def corrections(sizes: Floats) -> Floats:
    """Factors c (G,) of the squared residuals of group sums, so that sum c u^2 is unbiased in the working model.

    With a = m / n, w = m^1.5, W = sum w: c = w / (w (1 - 2 a) + a^2 W), for equal groups G / (G - 1). (Of rows that
    have nothing in common, w = m, it would be 1 / (1 - a).) NaN for one group.

    Args:
        sizes: (G,) rows of each group, > 0.

    Source: CR2 of Bell and McCaffrey 2002, Survey Methodology 28, 169-181, for an intercept.
    """
    g = len(sizes)
    if sizes.min() == sizes.max():
        return np.full(g, g / (g - 1) if g > 1 else math.nan)
    share, spread = _shares(sizes)
    return spread / (spread * (1 - 2 * share) + share**2 * spread.sum())


def row_df(sizes: Floats) -> float:
    """Degrees of freedom of sum c u^2 by Satterthwaite in the working model; G - 1 for equal groups.

    (tr M)^2 / tr M^2 with M = diag(c) C and C the covariance of the residuals, C_gh = w_g [g = h] - a_g w_h - w_g a_h
    + W a_g a_h. (For w = m it would be 1 / (sum a^2 + (sum c a^2)^2 - sum c^2 a^4).)

    Args:
        sizes: (G,) rows of each group, > 0.

    Returns:
        0 for one group, else at least 1.
    """
    g = len(sizes)
    if sizes.min() == sizes.max():
        return float(g - 1)
    c = corrections(sizes)
    a, w = _shares(sizes)
    total, aa, ww, aw = w.sum(), (c * a**2).sum(), (c * w**2).sum(), (c * a * w).sum()
    crossed = total**2 * aa**2 + 2 * aa * ww - 4 * total * aa * aw + 2 * aw**2
    own = (c**2 * (total * a**2 - 2 * a * w) ** 2).sum()
    return float(max(1.0, total**2 / ((w**2).sum() + crossed - own)))


def _shares(sizes: Floats) -> tuple[Floats, Floats]:
    """Each group's share of the rows, and the variance of its sum, up to a factor."""
    return sizes / sizes.sum(), (sizes / sizes.max()) ** EXPONENT


def warning(groups: Ints) -> list[str]:
    """What a reader must know where the test rows (n,) form few effective groups; nothing where there are enough."""
    sizes = np.unique(groups, return_counts=True)[1].astype(np.float64)
    effective = effective_groups(sizes)
    if effective >= ENOUGH:
        return []
    what = "groups" if len(sizes) < len(groups) else "rows"
    uneven = f" ({len(sizes)} groups, the largest with {sizes.max():.0f} of {len(groups)} rows)"
    told = f"{math.floor(10 * effective) / 10:g} effective test {what}{uneven if sizes.min() < sizes.max() else ''}"
    if effective < FEWEST_FOR_INTERVAL:
        return [f"{told}, fewer than {FEWEST_FOR_INTERVAL}: no intervals, no PGR and no verdict"]
    if effective < FEWEST_FOR_VERDICT:
        return [f"{told}, fewer than {FEWEST_FOR_VERDICT}: no PGR and no verdict"]
    return [f"{told}, fewer than {ENOUGH}: intervals rest on little"]
