"""The nouns: rows, the task they belong to, and the labels that a supervisor gives.

Dimension letters everywhere: n rows, k classes, d features, s seeds, t tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from oversight.ties import choice_shares

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

TRUTH = "truth"


def content_id(text: str, other: str | None = None) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of what a model is shown."""
    shown = json.dumps([text, other], ensure_ascii=False)
    return hashlib.sha256(shown.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def ids_sha256(ids: Sequence[str]) -> str:
    """One hash for an ordered list of row ids, by which every join of predictions to rows is checked."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What a model may see of some rows: texts, never labels.

    Attributes:
        ids: n content hashes, unique; the second and later copies of a text end in `#1`, `#2`, ...
        texts: n texts.
        others: n second texts of preference pairs ("is `text` better than `other`?"), or None.
        groups: n group names; rows of one group stay in the same part of every split.
    """

    kind: ClassVar[str] = "rows"

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    groups: tuple[str, ...]
    others: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        n = len(self.ids)
        if len(self.texts) != n or len(self.groups) != n or (self.others is not None and len(self.others) != n):
            raise ValueError(f"Rows: {n} ids need as many texts and groups")
        if len(set(self.ids)) != n:
            raise ValueError("Rows: ids repeat")

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def position(self) -> dict[str, int]:
        """Where each id stands."""
        return {row_id: i for i, row_id in enumerate(self.ids)}

    def take(self, indices: Iterable[int]) -> Rows:
        """The rows at these positions, in this order."""
        chosen = [int(i) for i in indices]
        others = None if self.others is None else tuple(self.others[i] for i in chosen)
        return Rows(
            ids=tuple(self.ids[i] for i in chosen),
            texts=tuple(self.texts[i] for i in chosen),
            groups=tuple(self.groups[i] for i in chosen),
            others=others,
        )

    def pick(self, ids: Sequence[str]) -> Rows:
        """The rows with these ids, in this order; an id that is not here raises KeyError."""
        return self.take(self.position[row_id] for row_id in ids)

    def group_numbers(self) -> Ints:
        """(n,) integers, equal where the groups are equal."""
        return np.unique(np.asarray(self.groups, dtype=object).astype(str), return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Class probabilities that one supervisor gave to some rows.

    Attributes:
        row_ids: n content hashes.
        probs: (n, k) float64 in [0, 1]; rows sum to 1.
        answered: (n,) bool; False = the supervisor abstained, and its row of `probs` means nothing.
        source: who gave them, e.g. "bow, seed 3", "truth", "people:votes.csv".
    """

    kind: ClassVar[str] = "labels"

    row_ids: tuple[str, ...]
    probs: Floats
    answered: Bools
    source: str

    def __post_init__(self) -> None:
        n = len(self.row_ids)
        if self.probs.ndim != 2 or len(self.probs) != n or self.answered.shape != (n,):
            raise ValueError(f"Labels: {n} rows, but probs {self.probs.shape} and answered {self.answered.shape}")
        given = self.probs[self.answered]
        if len(given) and not (np.all(given >= 0) and np.allclose(given.sum(1), 1, atol=1e-6)):
            raise ValueError("Labels: each row of probs must be in [0, 1] and sum to 1")

    @classmethod
    def of(cls, rows: Rows, probs: npt.ArrayLike, *, source: str, answered: npt.ArrayLike | None = None) -> Self:
        """Labels for `rows` in their order."""
        array = np.ascontiguousarray(probs, dtype=np.float64)
        mask = np.ones(len(rows), bool) if answered is None else np.asarray(answered, bool)
        return cls(row_ids=rows.ids, probs=array, answered=mask, source=source)

    @property
    def n_classes(self) -> int:
        """k."""
        return self.probs.shape[1]

    def on(self, rows: Rows) -> Labels:
        """The same labels in the order of `rows`; every id of `rows` must have one."""
        if self.row_ids == rows.ids:
            return self
        position = {row_id: i for i, row_id in enumerate(self.row_ids)}
        missing = [row_id for row_id in rows.ids if row_id not in position]
        if missing:
            raise ValueError(f"labels of {self.source!r} lack {len(missing)} of {len(rows)} rows, e.g. {missing[0]}")
        index = np.array([position[row_id] for row_id in rows.ids], dtype=np.int64)
        return replace(self, row_ids=rows.ids, probs=self.probs[index], answered=self.answered[index])

    def hardened(self) -> Labels:
        """All weight on the most probable class, shared equally by those that tie (`oversight.ties`)."""
        return replace(self, probs=choice_shares(self.probs))


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be learned: rows with true labels, cut by group.

    Attributes:
        name: what the user called it.
        rows: n rows.
        labels: (n,) int in [0, k).
        class_names: k names; strings sorted, or the integers of the file in order.
        is_test: (n,) bool where a test file was given, else None (the test set is then cut by content hash).
        difficulty: n names of kinds of difficulty, or None.
        source, licence, version: where the rows are from.
        grouped: whether a group was named (without it, each distinct text is its own group).
        question_of: the set of questions of which it is one, if any: their numbers are pooled over questions.
        warnings: one line each on what was found while loading.
    """

    kind: ClassVar[str] = "task"

    name: str
    rows: Rows
    labels: Ints
    class_names: tuple[str, ...]
    is_test: Bools | None = None
    difficulty: tuple[str, ...] | None = None
    source: str = ""
    licence: str = ""
    version: str = ""
    grouped: bool = False
    question_of: str | None = None
    warnings: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.labels.shape != (len(self.rows),):
            raise ValueError(f"Task {self.name}: {len(self.rows)} rows, labels {self.labels.shape}")
        if self.n_classes < 2 or self.labels.min() < 0 or self.labels.max() >= self.n_classes:
            raise ValueError(f"Task {self.name}: labels must be in [0, {self.n_classes}) with at least two classes")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_classes(self) -> int:
        """k."""
        return len(self.class_names)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over ids, labels, groups, the given test part and the class names: equal data, equal fingerprint.

        The order of the rows does not count, nor the name and place of the file.
        """
        test = np.zeros(len(self), bool) if self.is_test is None else self.is_test
        rows = sorted(zip(self.rows.ids, self.labels.tolist(), self.rows.groups, test.tolist(), strict=True))
        described = json.dumps([rows, self.class_names, self.is_test is None], ensure_ascii=False)
        return hashlib.sha256(described.encode("utf-8", "surrogatepass")).hexdigest()

    def pick(self, ids: Sequence[str]) -> Rows:
        """The rows with these ids, in this order."""
        return self.rows.pick(ids)

    def truth(self, rows: Rows) -> Ints:
        """(n,) true classes of `rows`, joined by id."""
        return self.labels[[self.rows.position[row_id] for row_id in rows.ids]]

    def true_labels(self, rows: Rows) -> Labels:
        """True labels as a supervisor would hand them over (probability one), source `truth`."""
        return Labels.of(rows, np.eye(self.n_classes)[self.truth(rows)], source=TRUTH)

    def take(self, indices: Iterable[int], *, warnings: Sequence[str] = ()) -> Task:
        """The task restricted to the rows at these positions; `warnings` are added."""
        index = np.asarray(list(indices), dtype=np.int64)
        return replace(
            self,
            rows=self.rows.take(index),
            labels=self.labels[index],
            is_test=None if self.is_test is None else self.is_test[index],
            difficulty=None if self.difficulty is None else tuple(self.difficulty[i] for i in index),
            warnings=(*self.warnings, *warnings),
        )
