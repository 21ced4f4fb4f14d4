"""Steps: units of work named by what they depend on, and what the table of kinds says about them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from oversight.runs.store import Outcome


@dataclass(frozen=True, kw_only=True)
class Step:
    """One unit of work: a pure function of its config and of its inputs.

    Attributes:
        kind: a name in the table of kinds.
        version: of the kind; raising it invalidates these steps and all that depend on them.
        config: JSON; everything that decides the result, contents and never places.
        inputs: steps whose outcomes it reads.
        name: for people; in no key.
    """

    kind: str
    version: int
    config: Mapping[str, Any]
    inputs: tuple[Step, ...] = ()
    name: str = ""

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


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a step takes of a machine.

    Attributes:
        memory_bytes: at its peak; 0 = not known.
        gpu: whether it works on a GPU where there is one.
    """

    memory_bytes: int = 0
    gpu: bool = False


def alone(step: Step) -> Hashable:
    """The batch name of a kind that does not batch."""
    return step.key


def alike(config: Mapping[str, Any]) -> Hashable:
    """The cost class of a kind whose steps all cost about the same."""
    del config
    return None


def nothing(step: Step, env: Any) -> Needs:
    """The needs of a kind of which nothing is known."""
    del step, env
    return Needs()


@dataclass(frozen=True)
class Kind:
    """How steps of one kind are done.

    Attributes:
        run: does them.
        batch: steps with an equal value may be done together, which must not change what they give.
        label: what the progress line shows.
        like: of a config; steps with an equal value take about as long, and as much memory.
        needs: of a step, as far as it can be told without doing it.
        spreads: whether it gives the same on any number of cores, and so may use those that are idle.
    """

    run: Run
    batch: Callable[[Step], Hashable] = alone
    label: str = ""
    like: Callable[[Mapping[str, Any]], Hashable] = alike
    needs: Callable[[Step, Any], Needs] = nothing
    spreads: bool = False


_CORES: ContextVar[int | None] = ContextVar("cores", default=None)


def granted_cores() -> int | None:
    """Cores that the step which runs now may use; None = as many threads as its process has."""
    return _CORES.get()


@contextmanager
def granting(cores: int | None) -> Generator[None]:
    """Within this block a step that spreads may use so many cores."""
    token = _CORES.set(cores)
    try:
        yield
    finally:
        _CORES.reset(token)


@dataclass
class Progress:
    """What is told while steps run; the default tells nothing."""

    started: Callable[[int], None] = field(default=lambda total: None)
    doing: Callable[[str, float, str], None] = field(default=lambda label, done, note: None)
    finished: Callable[[int], None] = field(default=lambda n: None)
