"""Intervals that stay within the range of a score: with Wilson's for shares, over groups and seeds; else cut off."""

from __future__ import annotations

import math

import numpy as np

from oversight.metrics.checks import Floats

Limits = tuple[float, float]
"""The lowest and the highest value that a score can have."""

UNBOUNDED: Limits = (-math.inf, math.inf)
SHARE: Limits = (0.0, 1.0)


def between(limits: Limits) -> Limits:
    """Of the difference of two such scores."""
    width = limits[1] - limits[0]
    return -width, width


def of_contrast(contrast: Floats, limits: Limits) -> Limits:
    """Of sum_r a_r p_r, where every p_r is such a score."""
    low, high = limits
    up, down = (float(sum(abs(a) for a in contrast if a * sign > 0)) for sign in (1, -1))
    ends = [w * end if w else 0.0 for w, end in ((up, low), (down, high), (up, high), (down, low))]
    return ends[0] - ends[1], ends[2] - ends[3]


def clipped(low: float, high: float, limits: Limits) -> tuple[float, float]:
    """The part of an interval that is possible: the true value lies within the limits, so that no coverage is lost."""
    return max(low, limits[0]), min(high, limits[1])


def share_interval(
    p: float, variances: Floats, rest: Floats, *, q: float, n_effective: float, smallest: float
) -> tuple[float, float]:
    """All shares theta in [0, 1] that (p - theta)^2 <= q^2 phi theta (1 - theta) + rest or p -+ h allows.

    phi = (V + f^2 / 4) / (p (1 - p) + f / 4), f = 1 / n_effective: the variance of p in units of p (1 - p), drawn
    towards that of effective groups that are wholly right or wrong, so that a share of 0 or 1 has an interval too;
    h^2 = q^2 V + rest. Wilson's set alone misses the highest shares (of 300 rows, .9994 with .85), p -+ h alone has no
    width at 1. Of several variances every interval is found, and what covers them all returned.

    Args:
        p: the share that was seen.
        variances: (j,) V of p from drawing test groups.
        rest: (j,) squared half widths of whatever else varies (seeds), >= 0.
        q: quantile for the rows.
        n_effective: effective number of groups.
        smallest: least that phi can be, 1 / (rows x seeds).

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953, with a design effect (Korn and Graubard 1998).
    """
    f = 1 / n_effective
    phi = np.maximum((variances + f**2 / 4) / (p * (1 - p) + f / 4), smallest)
    k, rest = q**2 * phi, np.maximum(rest, 0.0)
    middle, scale = (p + k / 2) / (1 + k), 1 / (1 + k)
    half = np.sqrt(np.maximum(middle**2 - (p**2 - rest) * scale, 0.0))
    usual = math.sqrt(float((q**2 * variances + rest).max()))
    return clipped(min(p - usual, float((middle - half).min())), max(p + usual, float((middle + half).max())), SHARE)
