"""Near-duplicates of real sets: groups before and after they are joined, and what the search costs and overlooks.

python benchmarks/near_duplicates.py DIRECTORY       # a table of its sets, each a folder with train and test
python benchmarks/near_duplicates.py --cost          # 100,000 drawn rows, and recall against all pairs
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from oversight.errors import InputError
from oversight.tasks import near
from oversight.tasks.files import load_files
from oversight.tasks.joining import IGNORED

N_ROWS, SAMPLE, WORDS, VERSIONS = 100_000, 3000, 25, 5


def timed(what: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    return what(), time.perf_counter() - began


def table(folder: Path) -> None:
    """A row per set: rows and groups before, rows and groups after, seconds of loading with and without the search."""
    print("| set | rows | groups | rows joined | groups joined | s | of it the search |\n|---|---|---|---|---|---|---|")
    for place in sorted(folder.iterdir()):
        try:
            before, plain = timed(lambda place=place: load_files(place, near=IGNORED))
            after, searched = timed(lambda place=place: load_files(place))
        except InputError:
            continue
        groups = [len(set(task.rows.groups)) for task in (before, after)]
        print(
            f"| {place.name} | {len(before)} | {groups[0]} | {len(after)} | {groups[1]} | {searched:.1f} "
            f"| {max(0.0, searched - plain):.1f} |",
            flush=True,
        )
        for line in after.warnings:
            if "resemble" in line or "chain" in line:
                print(f"  {place.name}: {line.partition(', e.g.')[0]}", file=sys.stderr, flush=True)


def exact(texts: near.Texts, at: float) -> set[tuple[int, int]]:
    """All pairs, by the product of the sets of 3-grams with itself."""
    grams = [np.unique(near.grams(parts)) for parts in texts]
    known, columns = np.unique(np.concatenate(grams), return_inverse=True)
    sizes = np.array([len(one) for one in grams])
    ends = np.concatenate([[0], np.cumsum(sizes)])
    held = csr_array((np.ones(len(columns), np.float32), columns, ends), shape=(len(grams), len(known)))
    found: set[tuple[int, int]] = set()
    for start in range(0, len(grams), 500):
        shared = (held[start : start + 500] @ held.T).toarray()
        likeness = shared / (sizes[start : start + 500, None] + sizes[None] - shared)
        first, second = np.nonzero(likeness >= at)
        found |= {(i + start, j) for i, j in zip(first.tolist(), second.tolist(), strict=True) if i + start < j}
    return found


def drawn(n: int) -> near.Texts:
    """Texts of 25 words of Zipfian frequency, in five versions that differ in a word."""
    rng = np.random.default_rng(0)
    words = ["".join(chr(97 + c) for c in rng.choice(26, rng.integers(2, 9))) for _ in range(20_000)]
    p = 1 / np.arange(1, len(words) + 1)
    texts: set[str] = set()
    for base in rng.choice(len(words), (n // VERSIONS, WORDS), p=p / p.sum()):
        for _ in range(VERSIONS):
            version = base.copy()
            version[rng.integers(WORDS)] = rng.integers(len(words))
            texts.add(" ".join(words[i] for i in version))
    return [(text,) for text in sorted(texts)]


def cost() -> None:
    """Seconds for 100,000 rows; on a sample the ratio to all pairs, and how many of those are found."""
    texts = drawn(N_ROWS)
    edges, seconds = timed(lambda: near.similar_pairs(texts, at=0.7))
    length = np.mean([len(text) for (text,) in texts])
    print(f"{len(texts)} rows of {length:.0f} characters: {len(edges)} pairs in {seconds:.1f} s")
    sample = [*texts[:: len(texts) // SAMPLE], *texts[:SAMPLE]]
    sample = sorted(set(sample))
    found, fast = timed(lambda: near.similar_pairs(sample, at=0.7))
    every, slow = timed(lambda: exact(sample, 0.7))
    got = {(min(i, j), max(i, j)) for i, j in zip(found.first.tolist(), found.second.tolist(), strict=True)}
    print(
        f"{len(sample)} rows: {fast:.2f} s, all pairs {slow:.2f} s (ratio {slow / fast:.1f}); "
        f"of {len(every)} pairs {len(every & got)} found, {len(got - every)} wrong"
    )


if __name__ == "__main__":
    cost() if sys.argv[1:] == ["--cost"] else table(Path(sys.argv[1]))
