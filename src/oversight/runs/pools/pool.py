"""What the driver of a graph asks of those who do the work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from oversight.runs.graph import Graph
from oversight.runs.workshop import Report


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """How another process builds the same graph: nothing is pickled.

    Attributes:
        builder: `module:function`; called with the document it gives a `Graph`.
        document: JSON.
        store: directory of the store.
    """

    builder: str
    document: Mapping[str, Any]
    store: str

    def build(self) -> Graph:
        """The graph, in this process."""
        import importlib

        module, _, function = self.builder.partition(":")
        graph: Graph = getattr(importlib.import_module(module), function)(dict(self.document))
        return graph


@dataclass(frozen=True, kw_only=True)
class Ticked:
    """A worker tells how far its batch is."""

    worker: str
    done: float
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A worker is through with its batch."""

    worker: str
    report: Report


@dataclass(frozen=True, kw_only=True)
class Died:
    """A worker is gone, and with it the batch it was doing, if any."""

    worker: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Broke:
    """A worker cannot go on at all, such as with a store that cannot be written."""

    worker: str
    error: Exception


Event = Ticked | Reported | Died | Broke


@dataclass(frozen=True, kw_only=True)
class Order:
    """A batch for a worker.

    Attributes:
        keys: of its steps.
        memory_bytes: that it is expected to take; 0 = unknown.
        gpu: whether it works on a GPU where there is one.
        cores: that it may use; None = those of its worker.
    """

    keys: tuple[str, ...]
    memory_bytes: int = 0
    gpu: bool = False
    cores: int | None = None


class Pool(Protocol):
    """Workers that can be given batches."""

    @property
    def size(self) -> int:
        """Workers at work at most."""
        ...

    @property
    def cores(self) -> int:
        """Cores that the workers share, on one machine; 0 = each has its own."""
        ...

    def idle(self) -> Sequence[str]:
        """Names of workers that could start a batch now."""
        ...

    def start(self, worker: str, order: Order) -> None:
        """Give a batch to an idle worker."""
        ...

    def wait(self, seconds: float) -> Sequence[Event]:
        """What happened; waits up to so long for the first thing to happen."""
        ...

    def close(self, *, now: bool = False) -> None:
        """No more batches; `now` ends those that run."""
        ...


@dataclass
class Status:
    """How a graph stands, for those who watch.

    Attributes:
        total, done, running, failed, skipped: numbers of steps by kind; `done` includes those that were there before.
        found: of `done`, those that were there before.
        workers: what each worker does now.
        seconds: since the beginning.
        seconds_left: None = not known yet.
        note: what a reader should know, such as that it is being stopped.
    """

    total: dict[str, int] = field(default_factory=dict[str, int])
    done: dict[str, int] = field(default_factory=dict[str, int])
    found: dict[str, int] = field(default_factory=dict[str, int])
    running: dict[str, int] = field(default_factory=dict[str, int])
    failed: dict[str, int] = field(default_factory=dict[str, int])
    skipped: dict[str, int] = field(default_factory=dict[str, int])
    workers: dict[str, Working] = field(default_factory=dict[str, "Working"])
    seconds: float = 0.0
    seconds_left: float | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Working:
    """What a worker does now.

    Attributes:
        label: of the kind of step; empty = nothing.
        name: of the first step of the batch.
        steps: of the batch.
        done: fraction.
        note: how it goes.
        seconds: since it was started.
    """

    label: str = ""
    name: str = ""
    steps: int = 0
    done: float = 0.0
    note: str = ""
    seconds: float = 0.0
