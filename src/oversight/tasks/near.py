"""Near-duplicates: rows whose texts share most of their character 3-grams, found by MinHash and counted exactly."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from oversight.tasks.task import Bools, Floats, Ints

GRAM = 3
BANDS, IN_BAND = 24, 4
MOST_COMPARED, LEAST_NEIGHBOURS, MOST_NEIGHBOURS = 10_000_000, 8, 50
SORTED_BY = 6
SLACK = 0.15
BLOCK = 1 << 15
TABLE_BITS = 16
KEPT_SEARCHES = 64

_FIRST, _SECOND = np.uint64(42), np.uint64(21)

Codes = npt.NDArray[np.uint64]
Hashes = npt.NDArray[np.uint32]
Texts = Sequence[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Edges:
    """Pairs of rows that resemble each other.

    Attributes:
        first, second: (m,) positions of the rows.
        similarity: (m,) Jaccard similarity of their sets of 3-grams, in [0, 1].
    """

    first: Ints
    second: Ints
    similarity: Floats

    def __len__(self) -> int:
        return len(self.first)

    def where(self, chosen: Bools) -> Edges:
        """Those that are chosen."""
        return Edges(first=self.first[chosen], second=self.second[chosen], similarity=self.similarity[chosen])


_searched: dict[str, Edges] = {}


def similar_pairs(texts: Texts, *, at: float) -> Edges:
    """Pairs of rows whose Jaccard similarity of character 3-grams is at least `at`.

    Candidates agree in a band of MinHashes (Broder 1997; bands: Leskovec, Rajaraman and Ullman, Mining of Massive
    Datasets, section 3.4); the similarity of each is then counted exactly, so no pair is named wrongly. A pair of
    similarity s is overlooked with probability (1 - s^4)^24: .0014 at .7. Of the rows that agree in a band each is
    compared with the 8 to 50 (fewer where there are more rows) that follow when they are sorted by further MinHashes,
    so that what resembles it most stands near. What is found depends on the texts alone, not on the order of the
    rows. The last searches are remembered.

    Args:
        texts: n rows, no two alike, each of one text, or of two whose 3-grams count together; normalised.
        at: in (0, 1].

    Returns:
        Each pair once.
    """
    order = sorted(range(len(texts)), key=texts.__getitem__)
    ordered = [texts[i] for i in order]
    key = hashlib.sha256(repr((ordered, at)).encode("utf-8", "surrogatepass")).hexdigest()
    if key not in _searched:
        if len(_searched) >= KEPT_SEARCHES:
            del _searched[next(iter(_searched))]
        _searched[key] = _search(ordered, at)
    found, place = _searched[key], np.array(order, dtype=np.int64)
    return Edges(first=place[found.first], second=place[found.second], similarity=found.similarity)


def _search(texts: Texts, at: float) -> Edges:
    signatures = _signatures(texts)
    first, second = _candidates(signatures)
    sketch, least = signatures.astype(np.uint8), (at - SLACK) * signatures.shape[1]
    near = [np.count_nonzero(sketch[a] == sketch[b], axis=1) >= least for a, b in _blocks(first, second)]
    first, second = (one[np.concatenate(near)] if near else one for one in (first, second))
    similarity = _jaccard(texts, first, second)
    found = Edges(first=first, second=second, similarity=similarity)
    return found.where(np.asarray(similarity >= at))


def _blocks(first: Ints, second: Ints) -> Generator[tuple[Ints, Ints]]:
    for i in range(0, len(first), BLOCK):
        yield first[i : i + BLOCK], second[i : i + BLOCK]


def grams(parts: Sequence[str]) -> Codes:
    """The 3-grams of a row, each exactly as one number, with repeats; a text of fewer characters is one gram."""
    made: list[Codes] = []
    for text in parts:
        points = np.frombuffer(text.ljust(GRAM, "\0").encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
        made.append((points[:-2] << _FIRST) | (points[1:-1] << _SECOND) | points[2:])
    return made[0] if len(made) == 1 else np.concatenate(made)


def _signatures(texts: Texts) -> Hashes:
    """(n, BANDS * IN_BAND) the smallest hash of each row's 3-grams, under as many hash functions.

    A gram is thrown into one of 2^16 drawers, each of which holds random numbers: grams that share a drawer raise a
    similarity by chance, which costs a candidate and nothing else.
    """
    table = np.random.default_rng(0).integers(0, 1 << 32, (1 << TABLE_BITS, BANDS * IN_BAND), dtype=np.uint32)
    spread, shift = np.uint64(0x9E3779B97F4A7C15), np.uint64(64 - TABLE_BITS)
    found = np.empty((len(texts), BANDS * IN_BAND), np.uint32)
    for i, parts in enumerate(texts):
        drawers = (grams(parts) * spread) >> shift
        table.take(drawers.astype(np.intp), axis=0).min(axis=0, out=found[i])
    return found


def _candidates(signatures: Hashes) -> tuple[Ints, Ints]:
    """Pairs of rows, first < second, that agree in a band and are compared."""
    n = len(signatures)
    neighbours = min(MOST_NEIGHBOURS, max(LEAST_NEIGHBOURS, MOST_COMPARED // (BANDS * max(1, n))))
    pairs = [np.empty(0, np.int64)]
    for band in range(BANDS):
        turned = np.roll(signatures, -band * IN_BAND, axis=1)[:, : IN_BAND + SORTED_BY].astype(np.uint64)
        keys = (turned[:, 0::2] << 32) | turned[:, 1::2]
        order = np.lexsort(keys.T[::-1])
        banded = keys[order, : IN_BAND // 2]
        alike = (banded[1:] == banded[:-1]).all(1)
        bucket = np.concatenate([[0], np.cumsum(~alike)]) if n else np.empty(0, np.int64)
        for away in range(1, min(neighbours, n - 1) + 1):
            near = bucket[away:] == bucket[:-away]
            if not near.any():
                break
            a, b = order[:-away][near], order[away:][near]
            pairs.append(np.minimum(a, b) * n + np.maximum(a, b))
    every = np.unique(np.concatenate(pairs))
    return (every // n, every % n) if n else (every, every)


def _jaccard(texts: Texts, first: Ints, second: Ints) -> Floats:
    """(m,) the exact similarity of each pair of rows."""
    rows, place = np.unique(np.concatenate([first, second]), return_inverse=True)
    if not len(rows):
        return np.empty(0)
    held_grams = [_distinct(grams(texts[i])) for i in rows]
    sizes = np.array([len(one) for one in held_grams])
    ends = np.concatenate([[0], np.cumsum(sizes)])
    # A gram is its own column: products of single rows never go through the columns that nobody has.
    columns = np.concatenate(held_grams).astype(np.int64)
    held = csr_array((np.ones(len(columns), np.int32), columns, ends), shape=(len(rows), np.iinfo(np.int64).max))
    held.has_canonical_format = True
    a, b = place[: len(first)], place[len(first) :]
    shared = [np.asarray(held[x].multiply(held[y]).sum(1)).ravel() for x, y in _blocks(a, b)]
    both = np.concatenate(shared)
    return both / (sizes[a] + sizes[b] - both)


def _distinct(codes: Codes) -> Codes:
    """Sorted, each once; np.unique does the same in three times the time, which counts once a row."""
    ordered = np.sort(codes)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])]
