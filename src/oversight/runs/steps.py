"""Steps: units of work named by what they depend on, and how a graph of them is brought to its results."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from oversight.runs.store import Outcome, Store


@dataclass(frozen=True, kw_only=True)
class Step:
    """One unit of work: a pure function of its config and of its inputs.

    Attributes:
        kind: a name in the table of kinds.
        version: of the kind; raising it invalidates these steps and all that depend on them.
        config: JSON; everything that decides the result, contents and never places.
        inputs: steps whose outcomes it reads.
    """

    kind: str
    version: int
    config: Mapping[str, Any]
    inputs: tuple[Step, ...] = ()

    @cached_property
    def key(self) -> str:
        """SHA-256 over kind, version, config and the keys of the inputs."""
        described = [self.kind, self.version, self.config, [step.key for step in self.inputs]]
        return hashlib.sha256(json.dumps(described, sort_keys=True, allow_nan=False).encode()).hexdigest()

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and self.key == other.key


class Tick(Protocol):
    """Told how far a batch of steps is."""

    def __call__(self, done: float, note: str = "") -> None:
        """`done` is the fraction done, `note` a line on how it goes."""
        ...


class Run(Protocol):
    """What a kind of step does with a batch of its steps."""

    def __call__(
        self, steps: Sequence[Step], inputs: Sequence[Sequence[Outcome]], env: Any, tick: Tick
    ) -> Sequence[Outcome]:
        """The outcomes, one per step, in order.

        Args:
            steps: one or, where the kind batches, several steps with the same batch name.
            inputs: the outcomes of each step's inputs.
            env: the objects that the configs only name (data, models, methods).
            tick: called now and then.
        """
        ...


def alone(step: Step) -> Hashable:
    """The batch name of a kind that does not batch."""
    return step.key


@dataclass(frozen=True)
class Kind:
    """How steps of one kind are done.

    Attributes:
        run: does them.
        batch: steps with an equal value may be done together, which must not change what they give.
        label: what the progress line shows.
    """

    run: Run
    batch: Callable[[Step], Hashable] = alone
    label: str = ""


@dataclass
class Progress:
    """What is told while steps run; the default tells nothing."""

    started: Callable[[int], None] = field(default=lambda total: None)
    doing: Callable[[str, float, str], None] = field(default=lambda label, done, note: None)
    finished: Callable[[int], None] = field(default=lambda n: None)


def execute(
    goals: Sequence[Step],
    *,
    store: Store,
    kinds: Mapping[str, Kind],
    env: Any,
    progress: Progress | None = None,
) -> dict[str, Outcome]:
    """Bring steps to their outcomes, computing only what the store does not have.

    Goes from the goals down: what a kept outcome was made from is not even looked for.

    Returns:
        Outcomes of the goals by key.
    """
    told = progress or Progress()
    known: dict[str, Outcome] = {}
    missing = missing_steps(goals, store, known)
    told.started(len(missing))
    for batch in _batches(missing, kinds):
        kind = kinds[batch[0].kind]
        inputs = [[_outcome(step, known, store) for step in one.inputs] for one in batch]
        began = time.monotonic()
        label = kind.label or batch[0].kind

        def tick(done: float, note: str = "", *, label: str = label) -> None:
            told.doing(label, done, note)

        tick(0.0)
        outcomes = kind.run(batch, inputs, env, tick)
        seconds = (time.monotonic() - began) / len(batch)
        for step, outcome in zip(batch, outcomes, strict=True):
            known[step.key] = store.put(step.key, outcome, about=_about(step, seconds))
        told.finished(len(batch))
    return {goal.key: _outcome(goal, known, store) for goal in goals}


def missing_steps(goals: Sequence[Step], store: Store, known: dict[str, Outcome]) -> list[Step]:
    """Steps to be done, inputs before those who read them; outcomes found on the way enter `known`."""
    order: list[Step] = []
    seen: set[str] = set()

    def visit(step: Step) -> None:
        if step.key in seen:
            return
        seen.add(step.key)
        found = store.get(step.key)
        if found is not None:
            known[step.key] = found
            return
        for before in step.inputs:
            visit(before)
        order.append(step)

    for goal in goals:
        visit(goal)
    return order


def _batches(missing: Sequence[Step], kinds: Mapping[str, Kind]) -> list[list[Step]]:
    """Groups in an order in which every input comes before its readers.

    Steps at the same distance from the leaves with an equal batch name form a group.
    """
    level: dict[str, int] = {}
    for step in missing:
        level[step.key] = 1 + max((level.get(before.key, 0) for before in step.inputs), default=0)
    groups: dict[Hashable, list[Step]] = {}
    for step in sorted(missing, key=lambda step: level[step.key]):
        groups.setdefault((level[step.key], step.kind, kinds[step.kind].batch(step)), []).append(step)
    return list(groups.values())


def _outcome(step: Step, known: Mapping[str, Outcome], store: Store) -> Outcome:
    found = known.get(step.key) or store.get(step.key)
    if found is None:
        raise KeyError(step.key)
    return found


def _about(step: Step, seconds: float) -> dict[str, Any]:
    return {
        "kind": step.kind,
        "version": step.version,
        "config": dict(step.config),
        "inputs": [before.key for before in step.inputs],
        "seconds": seconds,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
