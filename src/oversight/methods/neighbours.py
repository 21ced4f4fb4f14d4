"""Nearest rows by their features, and what hangs together."""

from __future__ import annotations

import numpy as np

from oversight.tasks.task import Bools, Floats, Ints

BLOCK = 1024


def nearest(x: Floats, k: int) -> Ints:
    """(n, min(k, n - 1)) indices of the nearest other rows by Euclidean distance; of equally near ones the first.

    Args:
        x: (n, d), at least two rows.
        k: how many, at least 1.
    """
    from oversight.models.threads import one_thread

    n, k = len(x), min(k, len(x) - 1)
    centred = x - x.mean(0)
    squares = (centred**2).sum(1)
    found = np.empty((n, k), np.int64)
    with one_thread():
        for start in range(0, n, BLOCK):
            block = slice(start, min(start + BLOCK, n))
            away = squares[block, None] - 2 * centred[block] @ centred.T + squares
            rows = np.arange(away.shape[0])
            away[rows, rows + start] = np.inf
            found[block] = np.argsort(away.round(9), axis=1, kind="stable")[:, :k]
    return found


def distances(one: Floats, other: Floats) -> Floats:
    """(n,) total variation between the rows of two (n, k) sets of probabilities, in [0, 1]."""
    return np.abs(one - other).sum(1) / 2


def largest_components(neighbours: Ints, named: Bools) -> Bools:
    """(n,): whether a row is in the largest strongly connected component of the rows of a class of its own.

    Args:
        neighbours: (n, k), where each row points to.
        named: (n, c) which classes each row is given, one or several. Of equally large components the one with the
            first row is taken.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    n, k = neighbours.shape
    sources = np.repeat(np.arange(n), k)
    targets = neighbours.ravel()
    kept = np.zeros(n, bool)
    for mine in named.T[named.any(0)]:
        inside = mine[sources] & mine[targets]
        ones = np.ones(int(inside.sum()), np.int8)
        graph = csr_matrix((ones, (sources[inside], targets[inside])), shape=(n, n))
        _, component = connected_components(graph, directed=True, connection="strong")
        numbers, first, sizes = np.unique(component[mine], return_index=True, return_counts=True)
        best = min(range(len(numbers)), key=lambda i: (-int(sizes[i]), int(first[i])))
        kept |= mine & (component == numbers[best])
    return kept
