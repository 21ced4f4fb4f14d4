"""The ladder: named networks of one world, shipped or grown, each in a directory that transformers can read.

ladder:xl                 a rung that ships
DIR/xl                    a rung of a ladder grown by `oversight ladder grow -o DIR`
ladder, ladder/plays_0    the questions of the shipped world; DIR, DIR/plays_0 those of a grown one
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from oversight.errors import InputError, unknown
from oversight.models.checkpoint import Checkpoint
from oversight.tasks.task import Task
from oversight.worlds.growth import Rung
from oversight.worlds.questions import Question, read_dials
from oversight.worlds.world import WORLD, World

LADDER, PREFIX = "ladder", "ladder:"
CARD, WORLD_FILE, TOKENIZER = "card.json", "world.json", "tokenizer"
SHIPPED = Path(__file__).parent / "grown"
RUNGS: Mapping[str, Rung] = {
    one.name: one
    for one in (
        Rung(name="narrow-s", about="narrow supervisor", width=8, rate=1e-2, share=1.0, run=3000, knows=0.9),
        Rung(name="narrow-m", about="narrow supervisor", width=16, rate=6e-3, share=1.0, knows=0.98),
        Rung(name="early-s", about="unfinished supervisor", width=32, rate=4e-3, share=0.12),
        Rung(name="m", about="student", width=32, rate=4e-3, share=0.25, knows=0.9),
        Rung(name="early-m", about="unfinished supervisor", width=64, rate=3e-3, share=0.06),
        Rung(name="early-l", about="unfinished supervisor", width=64, rate=3e-3, share=0.12),
        Rung(name="l", about="student", width=64, rate=3e-3, share=0.25, knows=0.95),
        Rung(name="xl", about="student", width=128, rate=2e-3, share=0.25, knows=0.95),
    )
}
LARGER: Mapping[str, Rung] = {
    one.name: one
    for one in (
        Rung(name="xxl", about="student", width=256, rate=1.4e-3, share=0.25, knows=0.95),
        Rung(name="3xl", about="student", width=512, rate=1e-3, share=0.25, knows=0.95),
        Rung(name="4xl", about="student", width=1024, rate=7e-4, share=0.25, knows=0.95),
    )
}
"""For those with a GPU."""
SHORT = {"s": "early-s"}


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of a grown network.

    Attributes:
        rung: its name.
        world: SHA-256 of the world that it read.
        seed: of its growth.
        width: of its states.
        updates, documents: on which it was trained.
        known: by relation, the share of facts that it completes rightly.
        about: what it is for.
        versions: of the libraries.
    """

    rung: str
    world: str
    seed: int
    width: int
    updates: int
    documents: int
    known: Mapping[str, float]
    about: str
    versions: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """Every field."""
        return asdict(self)


def shipped_rung(name: str) -> Checkpoint:
    """The network `ladder:NAME`.

    Raises:
        InputError: there is no such rung, with the names.
    """
    own = SHORT.get(name, name)
    if own not in RUNGS:
        raise InputError(f"model '{PREFIX}{name}': found no such rung, expected one of {', '.join(RUNGS)}")
    if not (SHIPPED / own / CARD).is_file():
        raise InputError(f"model '{PREFIX}{name}': its weights are not there; install oversight again")
    return Checkpoint(name=f"{PREFIX}{own}", path=SHIPPED / own, tokenizer_path=SHIPPED / TOKENIZER)


def read_card(place: Path) -> Card | None:
    """The card of a rung; None where the directory is no rung.

    Raises:
        InputError: a card that cannot be read.
    """
    path = place / CARD
    if not path.is_file():
        return None
    try:
        return Card(**json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: found no card ({error}), expected one as `ladder grow` writes it") from None


def questions_of(spec: str, *, folder: Path = Path()) -> tuple[str, ...]:
    """The tasks that a set of questions stands for; any other task as it is.

    Example:
        >>> questions_of("ladder")[:2]
        ('ladder/works_0', 'ladder/works_1')
    """
    base, dials, question = _apart(spec, folder=folder)
    if base is None or question:
        return (spec,)
    return tuple(f"{base}/{name}{dials}" for name in _world(base, folder).halves)


def question_task(spec: str, *, folder: Path = Path()) -> Task | None:
    """The task of one question; None where the name is not that of a question.

    Raises:
        InputError: an unknown question or dial, or several questions at once.
    """
    base, dials, question = _apart(spec, folder=folder)
    if base is None:
        return None
    if not question:
        raise InputError(f"task '{spec}': found several questions, expected one, such as {questions_of(spec)[0]}")
    world = _world(base, folder)
    asked = Question(world=world, name=question, **read_dials(dials[1:]))
    return asked.task(spec, of=f"{base}{dials}")


def _apart(spec: str, *, folder: Path) -> tuple[str | None, str, str]:
    """(whose questions, `:` and dials, which question); whose is None where the name is that of no question."""
    named, colon, dials = spec.partition(":")
    for base, question in ((named, ""), tuple(named.rpartition("/")[::2])):
        if base == LADDER or (base and (folder / base / WORLD_FILE).is_file()):
            if question and (folder / named).exists():
                return None, "", ""
            return base, colon + dials, question
    return None, "", ""


def _world(base: str, folder: Path) -> World:
    return WORLD if base == LADDER and not (folder / base / WORLD_FILE).is_file() else read_world(folder / base)


def read_world(place: Path) -> World:
    """The world of a grown ladder.

    Raises:
        InputError: none there, or one that cannot be read.
    """
    path = place / WORLD_FILE
    try:
        return _known(World.from_json(json.loads(path.read_text("utf-8"))["dials"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: found no world ({error}), expected one as `ladder grow` writes it") from None


@lru_cache(maxsize=8)
def _known(world: World) -> World:
    """The same world again, whose words and facts may be there already: every question of a directory asks for it."""
    return world


def check_world(task: Task, spec: str, place: Path) -> None:
    """Refuse a rung (named without depth or revision) grown in another world than the one that is asked about.

    Raises:
        InputError: with both.
    """
    shipped = spec.startswith(PREFIX)
    card = read_card(shipped_rung(spec.removeprefix(PREFIX)).path if shipped else place)
    if card is None or task.question_of is None:
        return
    about = task.source.rpartition(" ")[2]
    if not card.world.startswith(about):
        raise InputError(
            f"model '{spec}': grown in the world {card.world[:12]}, expected {about}, of which {task.name} asks"
        )


def rungs_of(names: tuple[str, ...], *, larger: bool = False) -> tuple[Rung, ...]:
    """Rungs by name; all where none is named.

    Raises:
        InputError: an unknown one, with the names.
    """
    known = {**RUNGS, **(LARGER if larger else {})}
    for name in names:
        if SHORT.get(name, name) not in known:
            raise unknown("rung", name, known)
    return tuple(known[SHORT.get(name, name)] for name in names) or tuple(known.values())
