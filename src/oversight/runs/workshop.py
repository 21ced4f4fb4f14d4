"""One worker: claims steps, reads their inputs, does them, publishes what they give."""

from __future__ import annotations

import time
import traceback
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oversight.errors import StoreError
from oversight.runs.claims import Claims
from oversight.runs.graph import Graph
from oversight.runs.steps import Step, Tick
from oversight.runs.store import Outcome, Store
from oversight.versions import installed

WARM_BYTES, MOST_WARM = 1 << 30, 256
ATTEMPTS = 3
CLAIMS = "claims"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Why a step failed.

    Attributes:
        error: one line.
        traceback: where.
        cause: the exception itself, where the step ran in this process.
    """

    error: str
    traceback: str = ""
    cause: Exception | None = None


@dataclass(kw_only=True)
class Report:
    """What became of the steps of a batch.

    Attributes:
        made: keys of those computed here.
        found: of those that were in the store by now.
        elsewhere: of those that another worker computes now, and who that is.
        lost: of inputs that the store no longer has.
        failed: why, by key.
        seconds: for one of the computed steps.
        memory_bytes: of the process at its peak.
        damaged: what was found damaged in the store on the way.
    """

    made: list[str] = field(default_factory=list[str])
    found: list[str] = field(default_factory=list[str])
    elsewhere: dict[str, str] = field(default_factory=dict[str, str])
    lost: list[str] = field(default_factory=list[str])
    failed: dict[str, Fault] = field(default_factory=dict[str, Fault])
    seconds: float = 0.0
    memory_bytes: int = 0
    damaged: list[str] = field(default_factory=list[str])


class Workshop:
    """Does batches of a graph's steps for a store.

    Args:
        graph: knows how.
        store: where inputs are read and outcomes published.
        claims: of this worker, so that nobody else computes the same; None = the store is this process's own.
        isolate: whether the steps of a batch that fails are tried again one by one, so that one does not take the
            others with it.
    """

    def __init__(self, graph: Graph, store: Store, *, claims: Claims | None = None, isolate: bool = True) -> None:
        self.graph, self.store, self.claims, self.isolate = graph, store, claims, isolate
        self.warm = Warm()

    def do(self, keys: Sequence[str], tick: Tick) -> Report:
        """Bring steps to their outcomes, as far as they are not there and nobody else is at them.

        Raises:
            StoreError: the store cannot be written, or holds a damaged input that cannot be removed.
        """
        report = Report()
        known = len(self._damaged())
        try:
            mine = self._taken(keys, report)
            if mine:
                with self.graph.around(self.store):
                    self._compute(mine, report, tick)
        finally:
            self._release(keys)
            report.damaged = self._damaged()[known:]
        return report

    def _taken(self, keys: Sequence[str], report: Report) -> list[str]:
        """Those to be computed here. A claim is followed by a second look: its last holder may have finished."""
        mine: list[str] = []
        for key in keys:
            if self.store.peek(key):
                report.found.append(key)
            elif self.claims is not None and not self.claims.take(key):
                holder = self.claims.holder(key)
                report.elsewhere[key] = "another worker" if holder is None else f"{holder.host}, process {holder.pid}"
            elif self.claims is not None and self.store.peek(key):
                report.found.append(key)
            else:
                mine.append(key)
        return mine

    def _release(self, keys: Sequence[str]) -> None:
        if self.claims is not None:
            for key in keys:
                self.claims.release(key)

    def _compute(self, keys: Sequence[str], report: Report, tick: Tick) -> None:
        steps = [self.graph.steps[key] for key in keys]
        began = time.monotonic()
        reset_peak()
        try:
            inputs = self._inputs(steps, report)
            if inputs is None:
                return
            kind = self.graph.kinds[steps[0].kind]
            tick(0.0)
            outcomes = kind.run(steps, inputs, self.graph.env_of(steps[0]), tick)
            peak = peak_bytes()
            seconds = (time.monotonic() - began) / len(steps)
            for step, outcome in zip(steps, outcomes, strict=True):
                about = _about(step, seconds if outcome.seconds is None else outcome.seconds, peak)
                self.warm.add(step.key, self.store.put(step.key, outcome, about=about))
                report.made.append(step.key)
            report.seconds, report.memory_bytes = seconds, peak
            return
        except StoreError:
            raise
        except Exception as error:
            left = [key for key in keys if key not in report.made]
            if not self.isolate or len(keys) == 1:
                fault = Fault(error=one_line(error), traceback="".join(traceback.format_exception(error)), cause=error)
                report.failed |= dict.fromkeys(left, fault)
                return
        for key in left:  # by now the batch's error is forgotten, and with it the memory that its frames held
            self._compute([key], report, tick)

    def _inputs(self, steps: Sequence[Step], report: Report) -> list[list[Outcome]] | None:
        """The outcomes that steps read; None: some are not there, and have entered `report.lost`."""
        found: dict[str, Outcome] = {}
        lost: list[str] = []
        for before in dict.fromkeys(before for step in steps for before in step.inputs):
            outcome = self.warm.get(before.key) or outcome_of(self.store, before.key)
            if outcome is None:
                lost.append(before.key)
                continue
            found[before.key] = outcome
            self.warm.add(before.key, outcome)
        report.lost += [key for key in lost if key not in report.lost]
        return None if lost else [[found[before.key] for before in step.inputs] for step in steps]

    def _damaged(self) -> list[str]:
        return getattr(self.store, "damaged", [])


class Warm:
    """Outcomes at hand, the least recently used put away first; not too many, as large ones hold files open."""

    def __init__(self, most_bytes: int = WARM_BYTES) -> None:
        self._kept: OrderedDict[str, Outcome] = OrderedDict()
        self._most, self._bytes = most_bytes, 0

    def get(self, key: str) -> Outcome | None:
        """None: not at hand."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def add(self, key: str, outcome: Outcome) -> None:
        """Keep an outcome at hand."""
        if key in self._kept:
            return
        self._kept[key] = outcome
        self._bytes += _bytes(outcome)
        while (self._bytes > self._most or len(self._kept) > MOST_WARM) and len(self._kept) > 1:
            self._bytes -= _bytes(self._kept.popitem(last=False)[1])


def outcome_of(store: Store, key: str) -> Outcome | None:
    """The outcome of a key; None when it is not there, or was damaged and has been removed.

    Raises:
        StoreError: it is damaged and cannot be removed, so it can never be made again.
    """
    for _ in range(ATTEMPTS):  # another process may publish it between the two looks
        outcome = store.get(key)
        if outcome is not None or not store.peek(key):
            return outcome
    raise StoreError(f"{key[:12]} is damaged and cannot be removed from the store, so it cannot be made again")


def claims_of(store: Store, *, expires: float) -> Claims | None:
    """Claims beside a store's results; None where nobody else can reach it."""
    path: Path | None = getattr(store, "path", None)
    return None if path is None else Claims(path / CLAIMS, expires=expires)


def one_line(error: BaseException) -> str:
    """The message of an error, named where it does not speak for itself."""
    text = " ".join(str(error).split())
    own = type(error).__module__.startswith("oversight")
    return text if own and text else f"{type(error).__name__}: {text}".removesuffix(": ")


def reset_peak() -> None:
    """Measure the peak of this process's memory from now on, where the system can do so."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """Most memory that this process held since `reset_peak`; 0: the system does not tell."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    return 0


def _bytes(outcome: Outcome) -> int:
    rows = 0 if outcome.rows is None else outcome.rows.nbytes
    return rows + sum(array.nbytes for array in outcome.arrays.values())


def _about(step: Step, seconds: float, memory_bytes: int) -> Mapping[str, Any]:
    return {
        "kind": step.kind,
        "version": step.version,
        "config": dict(step.config),
        "inputs": [before.key for before in step.inputs],
        "name": step.name,
        "seconds": seconds,
        "memory_bytes": memory_bytes,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": installed(),
    }


def silent(done: float, note: str = "") -> None:
    """A tick that tells nothing."""
    del done, note
