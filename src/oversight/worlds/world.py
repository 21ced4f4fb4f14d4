"""A world: people, independent facts about them, and documents that tell these facts, as token ids.

Names are single words, so that nothing but a network that read the documents can know what a name stands for. Who is
met often is learned early, which makes an unfinished network ignorant of the rest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from oversight.errors import InputError
from oversight.tasks.task import Floats, Ints
from oversight.worlds.words import Coiner

PAD, UNKNOWN = "[PAD]", "[UNK]"
LIVES, WORKS, PLAYS, BORN = "lives", "works", "plays", "born"
RELATIONS: Mapping[str, int] = {LIVES: 32, WORKS: 16, PLAYS: 16, BORN: 8}
"""How many values each has."""
FORMS: Mapping[str, tuple[str, str]] = {
    LIVES: ("lives", "lived"),
    WORKS: ("works", "worked"),
    PLAYS: ("plays", "played"),
    BORN: ("born", "hails"),
}
"""Two words for each relation, used at random: which of them stands in a document says nothing."""
ASKED = (WORKS, PLAYS)
HALVES = 6
"""Random halves of the values of an asked relation: one question each."""
STATED = 3
"""Of these, so many that documents can state outright: `NAME ASPECT north`."""
QUARTERS = ("met most", "met often", "met rarely", "met least")
TEXT_SEED, FACT_SEED, HALF_SEED = 5, 0, 11


@dataclass(frozen=True, kw_only=True)
class World:
    """The dials of a world.

    Attributes:
        seed: of facts, names and who is met often.
        people: who appear in documents.
        strangers: names that no document holds: questions about them have no answer.
        unevenness: people are met in proportion to (rank + 10) ** -unevenness; 0 = all alike.
        salience: share of documents that also state one of the STATED halves of each asked relation; 0 = none.

    Raises:
        InputError: a dial out of range.
    """

    kind: ClassVar[str] = "world"

    seed: int = 0
    people: int = 8000
    strangers: int = 1600
    unevenness: float = 1.0
    salience: float = 0.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("seed", 0, 2**31),
            ("people", 100, 1_000_000),
            ("strangers", 0, self.people),
            ("unevenness", 0.0, 4.0),
            ("salience", 0.0, 1.0),
        ):
            found = getattr(self, name)
            if not low <= found <= high:
                raise InputError(f"world: found {name} {found:g}, expected {low:g} to {high:g}")

    @cached_property
    def facts(self) -> Ints:
        """(people, 4) the value of every relation, in the order of RELATIONS, each drawn by itself."""
        rng = np.random.default_rng([FACT_SEED, self.seed])
        return np.stack([rng.integers(0, k, self.people) for k in RELATIONS.values()], axis=1)

    @cached_property
    def ranks(self) -> Ints:
        """(people,) 0 = met most often."""
        return np.random.default_rng([FACT_SEED + 1, self.seed]).permutation(self.people)

    @cached_property
    def met(self) -> Floats:
        """(people,) share of the documents that are about each person."""
        weight = (self.ranks + 10.0) ** -self.unevenness
        return weight / weight.sum()

    @cached_property
    def quarters(self) -> tuple[str, ...]:
        """(people,) one of QUARTERS by rank."""
        return tuple(QUARTERS[4 * rank // self.people] for rank in self.ranks.tolist())

    @cached_property
    def halves(self) -> Mapping[str, npt.NDArray[np.bool_]]:
        """By name of a question, (values,) which values of its relation lie in its half: exactly half of them."""
        rng = np.random.default_rng([HALF_SEED, self.seed])
        return {
            f"{relation}_{i}": rng.permutation(RELATIONS[relation]) < RELATIONS[relation] // 2
            for relation in ASKED
            for i in range(HALVES)
        }

    @property
    def asked(self) -> tuple[str, ...]:
        """Relations about whose values questions ask."""
        return ASKED

    @property
    def stated(self) -> tuple[str, ...]:
        """The questions whose halves documents can state."""
        return tuple(name for name in self.halves if int(name.rpartition("_")[2]) < STATED)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """All words, by what they are."""
        coiner = Coiner(TEXT_SEED + 1000 * self.seed)
        names = tuple(name.capitalize() for name in coiner.words(self.people + self.strangers, 4))
        return Vocabulary(
            names=names,
            values=tuple(coiner.words(k, 3) for k in RELATIONS.values()),
            aspects=coiner.words(len(self.stated), 2),
            sides=tuple(coiner.words(2, 2) for _ in self.stated),
        )

    def documents(self, n: int, rng: np.random.Generator) -> Ints:
        """(n, length) tokens of documents about one person each: name, then every relation with its value, in random
        order; what is to be predicted is every second token, from the third on.

        Where the world states halves, a share `salience` of them ends in one: an aspect and the side of the person.
        """
        words = self.vocabulary
        people = np.searchsorted(np.cumsum(self.met), rng.random(n)).clip(max=self.people - 1)
        order = np.argsort(rng.random((n, len(RELATIONS))), axis=1)
        form = rng.integers(0, 2, size=order.shape)
        values = np.take_along_axis(self.facts[people], order, axis=1)
        length = 1 + 2 * len(RELATIONS) + (2 if self.salience else 0)
        ids = np.full((n, length), words.pad, dtype=np.int64)
        ids[:, 0] = words.first_name + people
        ids[:, 1 : 1 + 2 * len(RELATIONS) : 2] = words.first_form + 2 * order + form
        ids[:, 2 : 2 + 2 * len(RELATIONS) : 2] = words.first_value + words.offsets[order] + values
        if self.salience:
            told = np.flatnonzero(rng.random(n) < self.salience)
            which = rng.integers(0, len(self.stated), size=len(told))
            sides = np.stack([self.sides(name)[people[told]] for name in self.stated], axis=1)
            ids[told, -2] = words.first_aspect + which
            ids[told, -1] = words.first_side + 2 * which + sides[np.arange(len(told)), which]
        return ids

    def sides(self, question: str) -> Ints:
        """(people,) 1 where a person's value lies in the half of a question, else 0: its true answers."""
        column = list(RELATIONS).index(question.rpartition("_")[0])
        return self.halves[question][self.facts[:, column]].astype(np.int64)

    @cached_property
    def sha256(self) -> str:
        """Of its dials, words, facts and how often people are met."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode())
        digest.update("\n".join(self.vocabulary.words).encode())
        for array in (self.facts, self.ranks, *self.halves.values()):
            digest.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
        return digest.hexdigest()

    def as_json(self) -> dict[str, Any]:
        """The dials."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Of `as_json`.

        Raises:
            InputError: a dial that is not there.
        """
        known = {one.name for one in fields(cls)}
        strange = [name for name in found if name not in known]
        if strange:
            raise InputError(f"world: found the dial '{strange[0]}', expected {', '.join(sorted(known))}")
        return cls(**found)


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The words of a world, one token each.

    Attributes:
        names: people, then strangers.
        values: by relation, its values.
        aspects: by stated question, the word that introduces it.
        sides: by stated question, the words for outside and inside its half.
    """

    names: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    aspects: tuple[str, ...]
    sides: tuple[tuple[str, ...], ...]

    pad: ClassVar[int] = 0
    first_form: ClassVar[int] = 2

    @property
    def first_aspect(self) -> int:
        """Token of the first aspect."""
        return self.first_form + 2 * len(FORMS)

    @property
    def first_side(self) -> int:
        """Token of the first side; all tokens from here on that are no names can end a statement."""
        return self.first_aspect + len(self.aspects)

    @property
    def first_value(self) -> int:
        """Token of the first value of the first relation."""
        return self.first_side + 2 * len(self.sides)

    @property
    def first_name(self) -> int:
        """Token of the first person."""
        return self.first_value + sum(map(len, self.values))

    @cached_property
    def offsets(self) -> Ints:
        """(4,) where the values of every relation begin, from `first_value`."""
        return np.cumsum([0, *map(len, self.values[:-1])])

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All of them, in the order of their tokens."""
        return (
            PAD,
            UNKNOWN,
            *(form for forms in FORMS.values() for form in forms),
            *self.aspects,
            *(word for pair in self.sides for word in pair),
            *(word for some in self.values for word in some),
            *self.names,
        )


WORLD = World()
"""The one that ships."""
