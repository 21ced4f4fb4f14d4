"""A graph of steps: what comes before what, and which steps are done together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from oversight.runs.steps import Kind, Step
from oversight.runs.store import Store


def _no_surroundings(store: Store) -> AbstractContextManager[object]:
    del store
    return nullcontext()


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Goals, and everything that they need.

    Attributes:
        goals: what is wanted.
        kinds: how each kind of step is done.
        env_of: the objects that a step's config only names, the same ones whenever it is asked; steps of different
            environments are never done together.
        around: given the store, the surroundings in which steps are done.
        beside: steps that have to be there as well, though the goals can be read without them.
    """

    goals: tuple[Step, ...]
    kinds: Mapping[str, Kind]
    env_of: Callable[[Step], Any]
    around: Callable[[Store], AbstractContextManager[object]] = field(default=_no_surroundings)
    beside: tuple[Step, ...] = ()

    @cached_property
    def steps(self) -> Mapping[str, Step]:
        """Every step by key, inputs before those who read them."""
        found: dict[str, Step] = {}
        for goal in (*self.goals, *self.beside):
            _visit(goal, found)
        return found

    @cached_property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        """By key, the keys of the steps that read it."""
        found: dict[str, list[str]] = {key: [] for key in self.steps}
        for key, step in self.steps.items():
            for before in dict.fromkeys(step.inputs):
                found[before.key].append(key)
        return {key: tuple(readers) for key, readers in found.items()}

    @cached_property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Keys of steps that are done together, a function of the whole graph and not of what is already done.

        Steps at the same distance from the leaves with an equal batch name form a group, so a group never waits for
        itself.
        """
        level: dict[str, int] = {}
        groups: dict[Hashable, list[str]] = {}
        for key, step in self.steps.items():
            level[key] = 1 + max((level[before.key] for before in step.inputs), default=0)
            name = (level[key], step.kind, id(self.env_of(step)), self.kinds[step.kind].batch(step))
            groups.setdefault(name, []).append(key)
        return tuple(tuple(group) for group in sorted(groups.values(), key=lambda group: level[group[0]]))

    def label(self, key: str) -> str:
        """What is shown of a step that runs."""
        kind = self.steps[key].kind
        return self.kinds[kind].label or kind

    def after(self, keys: Iterable[str]) -> set[str]:
        """All steps that need one of these, directly or not."""
        found: set[str] = set()
        waiting = list(keys)
        while waiting:
            new = [key for key in self.readers[waiting.pop()] if key not in found]
            found.update(new)
            waiting.extend(new)
        return found

    def missing(self, is_there: Callable[[str], bool]) -> list[str]:
        """Keys of the steps that have to be done, inputs first; below what is there nothing is looked for."""
        needed: set[str] = set()
        seen: set[str] = set()
        waiting = [*self.goals, *self.beside]
        while waiting:
            step = waiting.pop()
            if step.key in seen:
                continue
            seen.add(step.key)
            if not is_there(step.key):
                needed.add(step.key)
                waiting.extend(step.inputs)
        return [key for key in self.steps if key in needed]


def _visit(goal: Step, found: dict[str, Step]) -> None:
    stack = [(goal, False)]
    while stack:
        step, entered = stack.pop()
        if step.key in found:
            continue
        if entered:
            found[step.key] = step
        else:
            stack.append((step, True))
            stack.extend((before, False) for before in reversed(step.inputs))
