"""Which batch of steps next: those on the longest remaining path first, as far as memory allows."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from oversight.runs.estimates import Estimates
from oversight.runs.graph import Graph

LOOKED_AT = 32
NEARLY_FIRST = 0.8
UNKNOWN_SECONDS = 1.0
MOSTLY_KNOWN = 0.5
MOST_PASSED = 8


@dataclass(kw_only=True, eq=False)
class Batch:
    """Steps that are done together.

    Attributes:
        keys: of the steps.
        waits_for: keys of inputs that are not there yet.
        priority: seconds from the start of this batch to the end of the longest path through it.
        attempts: how often a worker died over it.
        passed: how often another was started because this one, though first, did not fit into memory.
    """

    keys: list[str]
    waits_for: set[str] = field(default_factory=set[str])
    priority: float = 0.0
    attempts: int = 0
    passed: int = 0


Entry = tuple[float, int, Batch]


class Schedule:
    """The state of a graph that is being worked on; it does nothing itself.

    Args:
        graph: with everything that is wanted.
        missing: keys of the steps to be done.
        estimates: of seconds and memory; read again whenever they are asked for.
        memory_bytes: that may be taken at once; None = no limit.
    """

    def __init__(
        self, graph: Graph, missing: Sequence[str], estimates: Estimates, *, memory_bytes: int | None = None
    ) -> None:
        self.graph, self.estimates, self.memory_bytes = graph, estimates, memory_bytes
        self.todo = set(missing)
        self.failed: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self.running: list[Batch] = []
        self._waiting: dict[str, list[Batch]] = {}
        self._ready: list[Entry] = []
        self._later: list[Batch] = []
        self._order = itertools.count()
        self._paths = _paths(graph, self.todo, estimates)
        for group in graph.groups:
            keys = [key for key in group if key in self.todo]
            if keys:
                self._add(Batch(keys=keys))

    @property
    def finished(self) -> bool:
        """Whether nothing is left that could be done."""
        return not self.todo

    @property
    def ready(self) -> list[Batch]:
        """Batches that could start now, in no order."""
        return [batch for _, _, batch in self._ready]

    @property
    def waiting_for_others(self) -> bool:
        """Whether all that could be done now is being done elsewhere."""
        return bool(self._later) and not self.running and not self._ready

    def next(self, *, warm: Collection[str] = ()) -> Batch | None:
        """The batch to start now: of those nearly first, the one whose inputs are `warm`; None: none that fits.

        Where the first one does not fit, smaller ones go before it, but only so often: then memory is left to drain.
        """
        looked: list[Entry] = []
        while self._ready and len(looked) < LOOKED_AT:
            entry = heapq.heappop(self._ready)
            entry[2].keys = [key for key in entry[2].keys if key in self.todo]
            if entry[2].keys:
                looked.append(entry)
        fitting = self._fitting(looked)
        chosen = min(fitting, key=lambda entry: self._rank(entry, fitting[0][2].priority, warm), default=None)
        for entry in looked:
            if entry is not chosen:
                heapq.heappush(self._ready, entry)
        if chosen is None:
            return None
        looked[0][2].passed += fitting[0] is not looked[0]
        self.running.append(chosen[2])
        return chosen[2]

    def too_large(self) -> tuple[Batch, int] | None:
        """The steps of a batch that would not fit even alone, and the bytes they need; those beside them may fit."""
        if self.memory_bytes is None or self.running:
            return None
        for _, _, batch in sorted(self._ready, key=lambda entry: entry[:2]):
            needed = {key: self.needed_bytes(Batch(keys=[key])) for key in batch.keys if key in self.todo}
            large = Batch(keys=[key for key, own in needed.items() if own > self.memory_bytes])
            if large.keys:
                return large, max(needed.values())
        return None

    def done(self, batch: Batch, keys: Iterable[str]) -> None:
        """These steps of a batch are in the store now; the batch is still running."""
        there = set(keys)
        batch.keys = [key for key in batch.keys if key not in there]
        self.todo -= there
        for key in there:
            self.skipped.pop(key, None)
            self._arrived(key)

    def fail(self, batch: Batch, reasons: Mapping[str, str]) -> None:
        """These steps of a batch cannot be done; whatever needs them is skipped."""
        batch.keys = [key for key in batch.keys if key not in reasons]
        self.give_up(reasons)

    def give_up(self, reasons: Mapping[str, str]) -> None:
        """Steps that will not be done, and what needs them."""
        for key, reason in reasons.items():
            if key in self.todo:
                self.todo.discard(key)
                self.failed[key] = reason
                self._settle(key)
                self._skip_after(key, f"it needs {self.graph.steps[key].name or key[:12]}, which failed: {reason}")

    def stop(self, batch: Batch, *, later: bool = False, alone: bool = False) -> None:
        """A batch no longer runs; what is left of it is tried again, `later` or each step `alone`."""
        self.running.remove(batch)
        if not batch.keys:
            return
        if later:
            self._later.append(batch)
        elif alone:
            for key in batch.keys:
                self._add(Batch(keys=[key], attempts=batch.attempts))
        else:
            self._add(batch)

    def try_later_ones(self) -> None:
        """What was being done elsewhere is looked at again."""
        later, self._later = self._later, []
        for batch in later:
            self._add(batch)

    def lost(self, keys: Iterable[str]) -> list[str]:
        """Outcomes that were thought to be there are not: they are made again, with what they need.

        One that could not be made in this run is not tried again, and what needs it is skipped.

        Returns:
            Keys of those that are made again.
        """
        gone = [key for key in dict.fromkeys(keys) if key not in self.todo]
        again = [key for key in gone if key not in self.failed and key not in self.skipped]
        if not gone:
            return []
        self.todo.update(again)
        for key in again:
            self._add(Batch(keys=[key]))
        ready, self._ready = self._ready, []
        for _, _, batch in sorted(ready, key=lambda entry: entry[:2]):
            self._add(batch)
        for key in gone:
            if key in self.skipped:
                self._skip_after(key, self.skipped[key])
            elif key in self.failed:
                name = self.graph.steps[key].name or key[:12]
                self._skip_after(key, f"it needs {name}, which failed: {self.failed[key]}")
        return again

    def seconds_left(self, workers: int) -> float | None:
        """Time until all is done, by the work left over the workers or the longest path; None: most is unknown."""
        left = [self.estimates.seconds(self.graph.steps[key]) for key in self.todo]
        known = [one for one in left if one is not None]
        if not left or len(known) < len(left) * MOSTLY_KNOWN:
            return None
        work = sum(known) * len(left) / len(known)
        path = max((batch.priority for _, _, batch in self._ready), default=0.0)
        return max(work / max(workers, 1), path)

    def needed_bytes(self, batch: Batch) -> int:
        """The estimate of a batch: that of its largest step."""
        steps = [self.graph.steps[key] for key in batch.keys]
        return max((self.estimates.memory_bytes(step, self.graph.env_of(step)) for step in steps), default=0)

    def _add(self, batch: Batch) -> None:
        """What is left to be done of a batch waits for its inputs, or is ready."""
        batch.keys = [key for key in batch.keys if key in self.todo]
        if not batch.keys:
            return
        batch.priority = max(self._paths.get(key, UNKNOWN_SECONDS) for key in batch.keys)
        batch.waits_for = self._missing_inputs(batch.keys)
        for key in batch.waits_for:
            self._waiting.setdefault(key, []).append(batch)
        if not batch.waits_for:
            heapq.heappush(self._ready, (-batch.priority, next(self._order), batch))

    def _missing_inputs(self, keys: Iterable[str]) -> set[str]:
        return {before.key for key in keys for before in self.graph.steps[key].inputs} & self.todo

    def _skip_after(self, key: str, reason: str) -> None:
        for reader in self.graph.after([key]) & self.todo:
            self.todo.discard(reader)
            self.skipped[reader] = reason
            self._settle(reader)

    def _settle(self, gone: str) -> None:
        """Batches no longer wait for a step that will not be done, nor hold the steps that needed it."""
        for batch in self._waiting.pop(gone, []):
            if gone in batch.waits_for:
                readers = set(self.graph.readers[gone])
                batch.keys = [key for key in batch.keys if key in self.todo and key not in readers]
                batch.waits_for &= self._missing_inputs(batch.keys)
                if not batch.waits_for:
                    self._add(batch)

    def _arrived(self, key: str) -> None:
        for batch in self._waiting.pop(key, []):
            if key in batch.waits_for:
                batch.waits_for.discard(key)
                if not batch.waits_for:
                    self._add(batch)

    def _fitting(self, looked: Sequence[Entry]) -> Sequence[Entry]:
        if self.memory_bytes is None:
            return looked
        free = self.memory_bytes - sum(self.needed_bytes(one) for one in self.running)
        fitting = [entry for entry in looked if self.needed_bytes(entry[2]) <= free]
        passed_over = bool(fitting) and fitting[0] is not looked[0] and looked[0][2].passed >= MOST_PASSED
        if passed_over and self.running and self.needed_bytes(looked[0][2]) <= self.memory_bytes:
            return []
        return fitting

    def _rank(self, entry: Entry, first: float, warm: Collection[str]) -> tuple[int, float, int]:
        priority, order, batch = entry
        if -priority < NEARLY_FIRST * first or not warm:
            return 0, priority, order
        inputs = {before.key for key in batch.keys for before in self.graph.steps[key].inputs}
        return -len(inputs.intersection(warm)), priority, order


def _paths(graph: Graph, todo: Collection[str], estimates: Estimates) -> dict[str, float]:
    """By key, the seconds from the start of a step's group to the end of the longest path through the step."""
    found: dict[str, float] = {}
    for group in reversed(graph.groups):
        known = [(estimates.seconds(graph.steps[key]), key) for key in group if key in todo]
        own = sum(UNKNOWN_SECONDS if seconds is None else seconds for seconds, _ in known)
        for _, key in known:
            found[key] = own + max((found.get(reader, 0.0) for reader in graph.readers[key]), default=0.0)
    return found
