"""Differences between two roles that answer almost alike: what few discordant rows leave unseen.

The usual variance of a difference is the sum of squares of the discordant groups. Of three of them it knows little, and
of none it says that the difference is exactly 0. Pseudo-groups are added, as discordant ones that might have been drawn
(Agresti and Min 2005 add one observation to each discordant cell); they fade as real ones are seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from oversight.metrics.checks import Floats
from oversight.ties import choice_shares

ENOUGH_DISCORDANT = 50
"""Effective discordant groups from which on nothing is added; by simulation, see docs/statistics.md."""


@dataclass(frozen=True)
class Discordant:
    """On how many rows two roles choose differently.

    Attributes:
        rows: where they do in any seed.
        mean: mean over seeds.
        n: of so many rows.
    """

    rows: int
    mean: float
    n: int

    @property
    def few(self) -> bool:
        """Whether a difference of the two rests on few rows."""
        return self.mean < ENOUGH_DISCORDANT

    def __str__(self) -> str:
        """`3 of 286 rows`, or `7 of 286 rows (2.4 in a seed)`."""
        seed = "" if self.mean == self.rows else f" ({self.mean:.1f} in a seed)"
        return f"{self.rows} of {self.n} rows{seed}"


def discordant(first: npt.ArrayLike, second: npt.ArrayLike) -> Discordant:
    """Of the choices in two roles' probabilities (s, n, k); classes that tie share it."""
    apart = (choice_shares(first) != choice_shares(second)).any(axis=-1)
    return Discordant(int(apart.any(axis=0).sum()), float(apart.sum(axis=1).mean()), apart.shape[1])


class Pairs(NamedTuple):
    """How far the roles (r) differ on the test groups, as means over seeds.

    Attributes:
        discordant: (r, r) effective number of discordant groups, (sum d^2)^2 / sum d^4 with d the difference of two
            roles' group sums over n; for right answers of one seed and groups of one row: the discordant rows.
        square: (r, r) sum d^2.
        whole: squared difference that one whole group of middling size would make, were it wholly discordant.
    """

    discordant: Floats
    square: Floats
    whole: float


def pairs_of(sums: Floats, *, unit: float, n_effective: float) -> Pairs:
    """From the roles' group sums of row scores over n (r, G), means over seeds.

    Args:
        sums: (r, G).
        unit: the largest difference that one row can make.
        n_effective: effective number of groups.
    """
    r = len(sums)
    count, square = np.zeros((r, r)), np.zeros((r, r))
    for i in range(r):
        d = sums[i] - sums
        square[i] = (d**2).sum(axis=1)
        largest = np.abs(d).max(axis=1)
        scaled = d / np.where(largest > 0, largest, 1.0)[:, None]
        seconds, fourths = (scaled**2).sum(axis=1), (scaled**4).sum(axis=1)
        count[i] = seconds**2 / np.where(fourths > 0, fourths, 1.0)
    return Pairs(count, square, (unit / max(n_effective, 1.0)) ** 2)


def added(pairs: Sequence[Pairs], weights: Sequence[float]) -> Pairs:
    """Of a weighted sum of independent tasks: counts add up, squares with these weights (squared weights of means)."""
    return Pairs(
        np.sum([one.discordant for one in pairs], axis=0),
        np.sum([w * one.square for w, one in zip(weights, pairs, strict=True)], axis=0),
        max(w * one.whole for w, one in zip(weights, pairs, strict=True)),
    )


def extra(pairs: Pairs | None, contrast: Floats, q: float) -> float:
    """Variance to add to that of a difference of two roles: q^2 max(0, 1 - k / 50) pseudo-groups.

    Each has the mean square of the k discordant groups and one whole group. Where nothing differs the interval then
    reaches q^2 whole groups to both sides: for n rows of their own, 3.84 / n.

    Args:
        pairs: of r roles; None adds nothing.
        contrast: (r,); nothing is added unless it is +1 for one role, -1 for another and 0 for all else.
        q: quantile that multiplies the standard error.
    """
    plus, minus = np.flatnonzero(contrast == 1), np.flatnonzero(contrast == -1)
    if pairs is None or len(plus) != 1 or len(minus) != 1 or np.count_nonzero(contrast) != 2:
        return 0.0
    return float(extras(pairs, q)[plus[0], minus[0]])


def extras(pairs: Pairs, q: float) -> Floats:
    """The same for every pair of roles (r, r); 0 for a role and itself."""
    pseudo = q**2 * np.maximum(0.0, 1 - pairs.discordant / ENOUGH_DISCORDANT)
    found = pseudo * (pairs.square + pairs.whole) / (pairs.discordant + 1)
    np.fill_diagonal(found, 0.0)
    return found


def three_roles(found: Floats) -> Floats:
    """Variances (3,) to add to weak, student and ceiling, so that every difference gets at least its own from `extras`.

    That of ceiling - weak is met exactly: PGR stays defined just where the interval of the gap lies above zero.
    """
    gain, gap, rest = found[0, 1], found[0, 2], found[1, 2]
    weak = min(max((gain + gap - rest) / 2, 0.0), gap)
    ceiling = gap - weak
    return np.array([weak, max(gain - weak, rest - ceiling, 0.0), ceiling])
