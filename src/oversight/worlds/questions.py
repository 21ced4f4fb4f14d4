"""Questions about a world: does this person's value lie in a random half of the values? Named before any is scored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from oversight.errors import InputError, unknown
from oversight.tasks.task import Ints, Rows, Task, content_id
from oversight.worlds.world import FORMS, World

NO_ANSWER = "no answer"
TEST_SHARE = 4
"""Every fourth person is in the test, of every question alike."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question of a world, with the dials of its rows.

    Attributes:
        world: what it is about.
        name: of `World.halves`.
        spurious: share of the rows outside the test whose verb (`plays`, `played`) agrees with the answer; .5 = none
            does but by chance, and in the test none does.
        unanswerable: share of the rows about strangers, whose labels are drawn.

    Raises:
        InputError: an unknown name, or a dial out of range.
    """

    kind: ClassVar[str] = "question"

    world: World
    name: str
    spurious: float | None = None
    unanswerable: float | None = None

    def __post_init__(self) -> None:
        if self.name not in self.world.halves:
            raise unknown("question", self.name, self.world.halves)
        if self.spurious is not None and not 0.5 <= self.spurious <= 1:
            raise InputError(f"spurious: found {self.spurious:g}, expected 0.5 (none) to 1")
        most = self.world.strangers / self.world.people
        if self.unanswerable is not None and not 0 <= self.unanswerable <= most:
            raise InputError(f"unanswerable: found {self.unanswerable:g}, expected 0 to {most:g}")

    @property
    def relation(self) -> str:
        """`plays` of `plays_0`."""
        return self.name.rpartition("_")[0]

    def task(self, name: str, *, of: str) -> Task:
        """A row for every person: `NAME plays`; difficulty is how often that person is met.

        Args:
            name: what it is called.
            of: the set of questions to which it belongs.
        """
        names, labels, difficulty = self._who()
        test = np.array([_is_test(one) for one in names])
        forms = self._forms(labels, test)
        texts = tuple(f"{one} {FORMS[self.relation][form]}" for one, form in zip(names, forms.tolist(), strict=True))
        ids = tuple(map(content_id, texts))
        return Task(
            name=name,
            rows=Rows(ids=ids, texts=texts, groups=ids),
            labels=labels,
            class_names=("0", "1"),
            is_test=test,
            difficulty=difficulty,
            source=f"oversight, world {self.world.sha256[:12]}",
            licence="CC0-1.0",
            version="1",
            question_of=of,
        )

    def _who(self) -> tuple[tuple[str, ...], Ints, tuple[str, ...]]:
        """Names, answers, and how often they are met."""
        world = self.world
        n_strangers = round((self.unanswerable or 0.0) * world.people)
        kept = slice(0, world.people - n_strangers)
        rng = np.random.default_rng([3, world.seed, *self.name.encode()])
        names = world.vocabulary.names
        return (
            (*names[kept], *names[world.people : world.people + n_strangers]),
            np.concatenate([world.sides(self.name)[kept], rng.integers(0, 2, n_strangers)]).astype(np.int64),
            (*world.quarters[kept], *[NO_ANSWER] * n_strangers),
        )

    def _forms(self, labels: Ints, test: np.ndarray) -> Ints:
        """(n,) which of the two verbs stands in each row."""
        if self.spurious is None:
            return np.zeros(len(labels), dtype=np.int64)
        rng = np.random.default_rng([7, self.world.seed, *self.name.encode()])
        agrees = np.where(rng.random(len(labels)) < self.spurious, labels, 1 - labels)
        return np.where(test, rng.integers(0, 2, len(labels)), agrees)


def _is_test(name: str) -> bool:
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % TEST_SHARE == 0


def read_dials(words: str) -> Mapping[str, float]:
    """`spurious=0.9,unanswerable=0.1` by name.

    Raises:
        InputError: another dial, or no number.
    """
    found: dict[str, float] = {}
    for part in filter(None, words.split(",")):
        name, _, value = part.partition("=")
        if name not in ("spurious", "unanswerable"):
            raise unknown("dial", name, ("spurious", "unanswerable"))
        try:
            found[name] = float(value)
        except ValueError:
            raise InputError(f"{name}: found '{value}', expected a number") from None
    return found
