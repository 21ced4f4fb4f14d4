"""Worlds from which pools of training rows are drawn: planted ones, and real text. Used by coverage_pools.py.

Every seed of a study cuts its pool anew into weak, transfer and validation parts, 45, 45 and 10 % of every class, as
`tasks.split` does; heads are ridge regressions with a penalty chosen on held-out rows, solved for all seeds at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, owens_t

from oversight.tasks.split import PARTS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
PENALTIES = np.array([1e-3, 1e-2, 1e-1, 1.0, 10.0])
TEXT_PENALTIES = np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])


class Answers(NamedTuple):
    """One study: which test rows each seed's models have right (n, s, 3), and their expected accuracies (s, 3)."""

    right: npt.NDArray[np.bool_]
    expected: Floats


class World(Protocol):
    """Draws studies, each with a pool and test rows of its own."""

    @property
    def name(self) -> str:
        """As shown."""
        ...

    @property
    def size(self) -> int:
        """Rows per group."""
        ...

    def study(self, rng: np.random.Generator, *, pool: int, seeds: int, test: int, shared: bool) -> Answers:
        """With `shared` all seeds cut one pool, else each has its own."""
        ...


def cut(rng: np.random.Generator, classes: Floats, *, seeds: int, size: int) -> tuple[Ints, Ints, Ints]:
    """Rows (seeds, n_part) of the weak, transfer and validation parts, drawn anew for every seed.

    Args:
        rng: of the draws.
        classes: (1, n) of a shared pool, or (seeds, n): -1 or 1, whose shares the parts keep (not of groups).
        seeds: how many.
        size: rows per group, none of which is cut.
    """
    n = classes.shape[1]
    if size > 1:
        groups = np.argsort(rng.random((seeds, n // size)), axis=1)
        order = (groups[:, :, None] * size + np.arange(size)).reshape(seeds, n)
    else:
        draw, own = rng.random((seeds, n)), np.broadcast_to(classes, (seeds, n))
        place = np.empty((seeds, n))
        for c in (-1.0, 1.0):
            rank = np.where(own == c, draw, 2.0).argsort(axis=1).argsort(axis=1)
            place = np.where(own == c, (rank + 0.5) / np.maximum((own == c).sum(axis=1, keepdims=True), 1), place)
        order = (place + 1e-9 * draw).argsort(axis=1)
    a = size * int(PARTS["weak"] * n / size)
    b = size * int((PARTS["weak"] + PARTS["transfer"]) * n / size)
    parts = order[:, :a], order[:, a:b], order[:, b:]
    weak, transfer, validation = (one if size > 1 else rng.permuted(one, axis=1) for one in parts)
    return weak, transfer, validation


def ridge(x: Floats, targets: Floats, x_held: Floats, held: Floats) -> tuple[Floats, Floats]:
    """Heads (s, d) and intercepts (s,) of s fits on x (s, n, d), targets (s, n); the penalty is the best on x_held."""
    n = x.shape[1]
    centre, level = x.mean(axis=1, keepdims=True), targets.mean(axis=1, keepdims=True)
    z = x - centre
    values, vectors = np.linalg.eigh(z.transpose(0, 2, 1) @ z / n)
    along = vectors.transpose(0, 2, 1) @ (z.transpose(0, 2, 1) @ (targets - level)[:, :, None] / n)
    heads = vectors @ (along / (np.maximum(values, 0)[:, :, None] + PENALTIES))
    intercepts = level - (centre @ heads)[:, 0]
    errors = ((x_held @ heads + intercepts[:, None] - held[:, :, None]) ** 2).mean(axis=1)
    best, each = errors.argmin(axis=1), np.arange(len(x))
    return heads[each, :, best], intercepts[each, best]


def same_sign(correlation: Floats, threshold: Floats) -> Floats:
    """P(sign(u + threshold) = sign(v)) of standard normals u, v, by Owen's T."""
    r = np.clip(correlation, -1 + 1e-9, 1 - 1e-9)
    below = ndtr(-threshold) / 2 - owens_t(-threshold, -r / np.sqrt(1 - r * r))
    return 0.5 - ndtr(-threshold) + 2 * below


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Rows z ~ N(0, 1) in d features, class = sign(z . b + noise); the supervisor sees the first features, or all with
    noise; the student learns from its soft or hard labels.

    Attributes:
        d, seen: features of the student and of the supervisor.
        blur: sd of what the supervisor's features have in noise.
        noise: sd of what no feature tells of the class.
        hard: whether weak labels are -1 or 1 rather than tanh of the supervisor's score.
        size: rows per group; half of every feature's variance belongs to the group.
    """

    name: str
    d: int = 32
    seen: int = 8
    blur: float = 0.0
    noise: float = 0.5
    hard: bool = False
    size: int = 1

    @property
    def direction(self) -> Floats:
        """b, of length 1, with falling weights."""
        b = np.random.default_rng(7).standard_normal(self.d) / np.sqrt(np.arange(1, self.d + 1))
        return b / np.linalg.norm(b)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[Floats, Floats, Floats]:
        """Features of the student and of the supervisor, and classes of n rows."""
        z = rng.standard_normal((n, self.d))
        if self.size > 1:
            z = np.sqrt(0.5) * (z + np.repeat(rng.standard_normal((n // self.size, self.d)), self.size, axis=0))
        seen = z[:, : self.seen] + self.blur * rng.standard_normal((n, self.seen))
        return z, seen, np.where(z @ self.direction + self.noise * rng.standard_normal(n) > 0, 1.0, -1.0)

    def study(self, rng: np.random.Generator, *, pool: int, seeds: int, test: int, shared: bool) -> Answers:
        """See `World`."""
        n_pools = 1 if shared else seeds
        drawn = [self.draw(rng, pool) for _ in range(n_pools)]
        z, seen, y = (np.concatenate(part) for part in zip(*drawn, strict=True))
        start = np.zeros((seeds, 1), int) if shared else pool * np.arange(seeds)[:, None]
        parts = cut(rng, y.reshape(n_pools, pool), seeds=seeds, size=self.size)
        weak, transfer, validation = (part + start for part in parts)
        kept = max(1, int(0.9 * weak.shape[1]))
        own, held = weak[:, :kept], weak[:, kept:]
        supervisor = ridge(seen[own], y[own], seen[held], y[held])

        def told(rows: Ints) -> Floats:
            score = np.einsum("snd,sd->sn", seen[rows], supervisor[0]) + supervisor[1][:, None]
            return np.sign(score) if self.hard else np.tanh(score)

        student = ridge(z[transfer], told(transfer), z[validation], told(validation))
        ceiling = ridge(z[transfer], y[transfer], z[validation], y[validation])
        z_test, seen_test, y_test = self.draw(rng, test)
        read = ((seen_test, supervisor), (z_test, student), (z_test, ceiling))
        right = np.stack([(x @ w.T + b) * y_test[:, None] > 0 for x, (w, b) in read], axis=2)
        blurs = (self.blur, 0.0, 0.0)
        expected = [self.accuracy(w, b, blur) for (_, (w, b)), blur in zip(read, blurs, strict=True)]
        return Answers(right, np.stack(expected, axis=1))

    def accuracy(self, heads: Floats, intercepts: Floats, blur: float) -> Floats:
        """Expected accuracy (s,) of heads (s, d') with intercepts (s,)."""
        length = np.linalg.norm(heads, axis=1) * np.sqrt(1 + blur**2) + 1e-300
        along = heads @ self.direction[: heads.shape[1]] / (length * np.sqrt(1 + self.noise**2))
        return same_sign(along, intercepts / length)


PLANTED: tuple[Planted, ...] = (
    Planted(name="blurred", seen=32, blur=1.0),
    Planted(name="hard labels", hard=True),
    Planted(name="near chance", noise=5.0),
    Planted(name="groups of 5", size=5),
)


class Text:
    """Real text: the supervisor reads a bag of words, the student a layer of the embedded encoder; both by kernels.

    Pools and test rows are drawn without replacement from all rows; pools of different studies overlap by the share
    that they take. Expected accuracies are not known: those on the test rows stand for them.
    """

    size = 1

    def __init__(self, folder: Path, *, cache: Path | None, depth: int = 4) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.name = folder.name
        texts, self.y = read_texts(folder)
        words: Any = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
        self.words: Any = words.fit_transform(texts).astype(np.float32)
        features = encoded(texts, depth, None if cache is None else cache / f"{folder.name}.npy")
        features = features - features.mean(axis=0)
        self.states = features / np.maximum(features.std(axis=0), 1e-6)

    def kernels(self, a: Ints, b: Ints) -> tuple[Floats, Floats]:
        """Of words and of states, between rows a and b."""
        words = (self.words[a] @ self.words[b].T).toarray().astype(np.float64)
        return words, (self.states[a] @ self.states[b].T / self.states.shape[1]).astype(np.float64)

    def study(self, rng: np.random.Generator, *, pool: int, seeds: int, test: int, shared: bool) -> Answers:
        """See `World`; pools of their own are drawn without overlap."""
        drawn = rng.permutation(len(self.y))
        n_pools = 1 if shared else seeds
        if test + n_pools * pool > len(drawn):
            raise ValueError(f"{self.name}: found {len(drawn)} rows, expected {test + n_pools * pool}")
        held_out, rows = drawn[:test], drawn[test : test + n_pools * pool]
        y = self.y[rows]
        parts = cut(rng, y.reshape(n_pools, pool), seeds=seeds, size=1)
        words, states = self.kernels(rows, rows)
        on_words, on_states = self.kernels(held_out, rows)
        right = np.empty((test, seeds, 3), bool)
        for s in range(seeds):
            weak, transfer, validation = (part[s] + (0 if shared else s * pool) for part in parts)
            own, held = np.split(weak, [int(0.9 * len(weak))])
            w, b = kernel_ridge(words, own, y[own], held, y[held])
            told = np.tanh(words[:, own] @ w + b)
            heads = [kernel_ridge(states, transfer, t[transfer], validation, t[validation]) for t in (told, y)]
            scores = [on_words[:, own] @ w + b, *(on_states[:, transfer] @ head + c for head, c in heads)]
            right[:, s] = np.stack(scores, axis=1) * self.y[held_out][:, None] > 0
        return Answers(right, right.mean(axis=0))


def kernel_ridge(kernel: Floats, rows: Ints, targets: Floats, held: Ints, told: Floats) -> tuple[Floats, float]:
    """Weights on `rows` and an intercept; the penalty, in units of the mean of the diagonal, is the best on `held`."""
    own, level = kernel[np.ix_(rows, rows)], float(targets.mean())
    values, vectors = np.linalg.eigh(own)
    along = vectors.T @ (targets - level)
    weights = vectors @ (along[:, None] / (np.maximum(values, 0)[:, None] + own.trace() * TEXT_PENALTIES))
    errors = ((kernel[np.ix_(held, rows)] @ weights + level - told[:, None]) ** 2).mean(axis=0)
    return weights[:, errors.argmin()], level


def read_texts(folder: Path) -> tuple[list[str], Floats]:
    """Distinct texts of a set in ../shared/data, and their classes as -1 or 1."""
    import gzip
    import json

    records: dict[str, int] = {}
    for part in ("train", "test"):
        with gzip.open(folder / f"{part}.jsonl.gz", "rt", encoding="utf-8") as file:
            records |= {one["txt"]: one["hard_label"] for one in map(json.loads, file)}
    return list(records), np.where(np.array(list(records.values())) > 0, 1.0, -1.0)


def encoded(texts: list[str], depth: int, kept: Path | None) -> npt.NDArray[np.float32]:
    """States of the embedded encoder at a depth; read from `kept` where it is there, else written to it."""
    from dataclasses import replace

    from oversight.models.features import extract
    from oversight.resolve.models import load_student
    from oversight.tasks.task import Rows

    if kept is not None and kept.is_file():
        return np.load(kept)
    ids = tuple(f"{i:06d}" for i in range(len(texts)))
    student: Any = load_student(f"minilm@{depth}")
    backbone = replace(student.backbone, max_tokens=48)
    found = extract(backbone, Rows(ids=ids, texts=tuple(texts), groups=ids), depths=[depth], cores=1).features[depth]
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, found)
    return found
