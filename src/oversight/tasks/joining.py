"""Near-duplicates are joined into groups, so that no split tears them apart; a chain of them is no group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from oversight.errors import InputError
from oversight.tasks.near import Edges
from oversight.tasks.task import Ints

MOST_IN_JOINED, ALWAYS_ALLOWED = 0.05, 10
MOST_SEARCHED = 200_000
STEPS = 100
WAYS = ("join", "warn", "ignore")


@dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """What is done about rows that resemble each other.

    Attributes:
        do: `join` them into groups, `warn` only, `ignore` them; None = join, but do not search above 200,000 rows.
        at: Jaccard similarity of character 3-grams, in (0, 1], from which on two rows are near-duplicates.

    Raises:
        InputError: another word, or a number out of range.
    """

    do: str | None = None
    at: float = 0.7

    def __post_init__(self) -> None:
        if self.do is not None and self.do not in WAYS:
            raise InputError(f"--near-duplicates: found '{self.do}', expected {', '.join(WAYS)}")
        if not 0 < self.at <= 1:
            raise InputError(f"--near-duplicates-at: found {self.at:g}, expected a number above 0 and at most 1")

    def searched(self, n: int) -> bool:
        """Whether they are looked for among `n` rows."""
        return self.do != "ignore" and (self.do is not None or n <= MOST_SEARCHED)


USUAL = NearDuplicates()
IGNORED = NearDuplicates(do="ignore")


@dataclass(frozen=True, kw_only=True)
class TakenApart:
    """A joined group that was too large.

    Attributes:
        n_rows: how many rows it held.
        at: the similarity from which on its rows were joined instead; None = they stay as they were.
    """

    n_rows: int
    at: float | None


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Groups after the joining.

    Attributes:
        groups: (n,) numbers, equal where rows are of one group.
        apart: the joined groups that were taken apart again, the largest first.
    """

    groups: Ints
    apart: tuple[TakenApart, ...]


def join(groups: Ints, edges: Edges) -> Joined:
    """Unite the groups that near-duplicates connect.

    A joined group of more than 5 % of the rows (and more than 10) is taken apart again: its groups are united at the
    lowest higher similarity, in hundredths, at which no joined part of it is so large, else not at all.

    Args:
        groups: (n,) the groups as they are, numbered from 0.
        edges: rows that resemble each other.
    """
    sizes = np.bincount(groups)
    most = max(ALWAYS_ALLOWED, MOST_IN_JOINED * len(groups))
    first, second = groups[edges.first], groups[edges.second]
    united = _united(len(sizes), first, second)
    apart: list[TakenApart] = []
    made = united.copy()
    for one in _too_large(united, sizes, most):
        inside = united[first] == one
        at, parts = _taken_apart(first[inside], second[inside], edges.similarity[inside], sizes, most)
        members = united == one
        made[members] = len(sizes) + parts[members]
        apart.append(TakenApart(n_rows=int(sizes[members].sum()), at=at))
    ordered = tuple(sorted(apart, key=lambda one: (-one.n_rows, one.at or 2.0)))
    return Joined(groups=np.unique(made, return_inverse=True)[1].astype(np.int64)[groups], apart=ordered)


def _united(n: int, first: Ints, second: Ints) -> Ints:
    """(n,) the component of each of n groups."""
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _too_large(united: Ints, sizes: Ints, most: float) -> Ints:
    """The components of more than `most` rows that several groups make; a group that came so large is left alone."""
    n_rows, n_groups = np.bincount(united, weights=sizes), np.bincount(united)
    return np.flatnonzero((n_rows > most) & (n_groups > 1))


def _taken_apart(
    first: Ints, second: Ints, similarity: Sequence[float] | np.ndarray, sizes: Ints, most: float
) -> tuple[float | None, Ints]:
    """The similarity at which the groups are united after all, and the component of every group at it."""
    strength = np.asarray(similarity)
    for step in range(int(np.floor(strength.min() * STEPS)) + 1, STEPS + 1):
        strong = strength >= step / STEPS
        united = _united(len(sizes), first[strong], second[strong])
        if not len(_too_large(united, sizes, most)):
            return (step / STEPS if strong.any() else None), united
    return None, np.arange(len(sizes))
