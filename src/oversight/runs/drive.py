"""Bringing a graph to its goals: choose, hand out, take back, until nothing is left that could be done."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from oversight.errors import StepError
from oversight.runs.estimates import Estimates, learned
from oversight.runs.failures import Failure, failures, forget_failure, record_failure
from oversight.runs.graph import Graph
from oversight.runs.pools.inline import Inline
from oversight.runs.pools.pool import Died, Event, Order, Pool, Reported, Status, Ticked, Working
from oversight.runs.schedule import Batch, Schedule
from oversight.runs.steps import Kind, Progress, Step, Tick
from oversight.runs.store import DirectoryStore, Outcome, Store
from oversight.runs.workshop import Fault, Report, Workshop, claims_of, outcome_of

MOST_DEATHS = 5
REMEMBERED_WARM = 16
CLAIM_SECONDS = 60.0
LOOK_AGAIN_SECONDS = 0.5
SHOWN_EVERY = 0.2
STOPPING = "stopping: running steps are finished; Ctrl-C again stops now"
ELSEWHERE = "waiting for steps that another run computes"


@dataclass
class Stop:
    """What was asked for while steps run: `soon` = start no more, `now` = end those that run."""

    soon: bool = False
    now: bool = False


@dataclass(kw_only=True)
class Summary:
    """What became of a graph's steps, by key.

    Attributes:
        made: computed in this run.
        found: how many were there before.
        failed, skipped: with the reason.
        stopped: whether it was stopped before the end.
        damaged: results that were found damaged and made again.
        seconds: that it took.
    """

    made: list[str] = field(default_factory=list[str])
    found: int = 0
    failed: Mapping[str, str] = field(default_factory=dict[str, str])
    skipped: Mapping[str, str] = field(default_factory=dict[str, str])
    stopped: bool = False
    damaged: list[str] = field(default_factory=list[str])
    seconds: float = 0.0


def execute(
    goals: Sequence[Step],
    *,
    store: Store,
    kinds: Mapping[str, Kind],
    env: Any,
    progress: Progress | None = None,
) -> dict[str, Outcome]:
    """Bring steps to their outcomes in this process, computing only what the store does not have.

    Goes from the goals down: what a kept outcome was made from is not even looked for. The first failure is raised.

    Returns:
        Outcomes of the goals by key.
    """
    return run_graph(Graph(goals=tuple(goals), kinds=kinds, env_of=lambda step: env), store=store, progress=progress)


def run_graph(graph: Graph, *, store: Store, progress: Progress | None = None) -> dict[str, Outcome]:
    """`execute` for a graph."""
    if graph.missing(store.peek):
        Drive(graph, store=store, progress=progress, raising=True).run()
    else:
        (progress or Progress()).started(0)
    known: dict[str, Outcome] = {}
    while True:
        wanted = [goal for goal in graph.goals if goal.key not in known]
        known |= {goal.key: found for goal in wanted if (found := outcome_of(store, goal.key)) is not None}
        if len(known) == len({goal.key for goal in graph.goals}):
            return known
        Drive(graph, store=store, progress=progress, raising=True).run()


class Drive:
    """One run of a graph.

    Args:
        graph: what is wanted.
        store: what is there, and where the rest goes.
        pool: who does it; None = this process.
        progress: told in steps.
        watch: shown the whole status, at most five times a second.
        estimates: None = learned from the store.
        memory_bytes: that steps may take at once; None = no limit.
        retry_failed: whether steps that failed in an earlier run are tried again.
        raising: whether the first failure is raised and ends the run.
        stop: looked at between steps.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        store: Store,
        pool: Pool | None = None,
        progress: Progress | None = None,
        watch: Callable[[Status], None] | None = None,
        estimates: Estimates | None = None,
        memory_bytes: int | None = None,
        retry_failed: bool = False,
        raising: bool = False,
        stop: Stop | None = None,
    ) -> None:
        self.graph, self.store, self.raising = graph, store, raising
        self.stop = stop or Stop()
        self._told, self._watch = progress or Progress(), watch
        self.summary = Summary()
        self._began = time.monotonic()
        missing = graph.missing(store.peek)
        asked = not raising and bool(missing)  # whoever wants the first failure waits for all, in whatever order
        self.estimates = estimates or (learned(store, graph.kinds) if asked else Estimates(graph.kinds))
        self.schedule = Schedule(graph, missing, self.estimates, memory_bytes=memory_bytes)
        self._to_do = len(missing)
        self.summary.found = len(graph.steps) - len(missing)
        self._total = dict(Counter(step.kind for step in graph.steps.values()))
        self._there = Counter(graph.steps[key].kind for key in graph.steps.keys() - set(missing))
        self._made: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._batches: dict[str, tuple[Batch, float, Working]] = {}
        self._warm: dict[str, OrderedDict[str, None]] = {}
        self._shown = self._looked = 0.0
        self.pool: Pool = pool or Inline(
            Workshop(graph, store, claims=claims_of(store, expires=CLAIM_SECONDS), isolate=not raising), self._ticker
        )
        self._retry = retry_failed or raising

    def run(self) -> Summary:
        """Work until nothing is left that could be done, or it is stopped.

        Raises:
            StoreError: the store cannot be written.
            Exception: the first failure, where failures are raised.
        """
        self._told.started(self._to_do)
        ended = False
        try:
            self._recall_failures()
            while not self._over():
                self._hand_out()
                for event in self.pool.wait(SHOWN_EVERY):
                    self._handle(event)
                self._show()
            ended = not self.stop.now
        finally:
            self.pool.close(now=not ended)
            self._show(last=True)
        self.summary.failed, self.summary.skipped = self.schedule.failed, self.schedule.skipped
        self.summary.stopped = bool(self.schedule.todo) and (self.stop.soon or self.stop.now)
        self.summary.seconds = time.monotonic() - self._began
        return self.summary

    def _over(self) -> bool:
        if self.stop.now:
            return True
        return not self._batches and (self.schedule.finished or self.stop.soon)

    def _hand_out(self) -> None:
        """Batches to idle workers; where nothing runs and nothing fits, what does not fit is given up."""
        if time.monotonic() - self._looked > LOOK_AGAIN_SECONDS:
            self._looked = time.monotonic()
            self.schedule.try_later_ones()
        for worker in [] if self.stop.soon else self.pool.idle():
            batch = self.schedule.next(warm=self._warm.get(worker, ()))
            if batch is None:
                break
            self._start(worker, batch)
        if self._batches or self.stop.soon:
            return
        while (large := self.schedule.too_large()) is not None:
            batch, needed = large
            reason = f"it needs about {_gigabytes(needed)}, more than the {_gigabytes(self.schedule.memory_bytes or 0)}"
            self._failed(
                dict.fromkeys(batch.keys, Fault(error=f"{reason} of memory that it may take (--memory)")), batch=None
            )
        if self.schedule.waiting_for_others:
            time.sleep(LOOK_AGAIN_SECONDS / 10)

    def _start(self, worker: str, batch: Batch) -> None:
        first = self.graph.steps[batch.keys[0]]
        working = Working(label=self.graph.label(first.key), name=first.name, steps=len(batch.keys))
        self._batches[worker] = batch, time.monotonic(), working
        needs = self.graph.kinds[first.kind].needs(first, self.graph.env_of(first))
        warm = self._warm.setdefault(worker, OrderedDict())
        for key in (*(before.key for one in batch.keys for before in self.graph.steps[one].inputs), *batch.keys):
            warm[key] = None
            warm.move_to_end(key)
        while len(warm) > REMEMBERED_WARM * len(batch.keys):
            warm.popitem(last=False)
        self._show()
        memory = self.schedule.needed_bytes(batch)
        self.pool.start(
            worker, Order(keys=tuple(batch.keys), memory_bytes=memory, gpu=needs.gpu, cores=self._cores(batch))
        )

    def _cores(self, batch: Batch) -> int | None:
        """For a batch that can spread its share of all cores among those that can: the rest may have to wait for it."""
        if not self.pool.cores or not self._spreads(batch):
            return None
        return max(1, self.pool.cores // sum(map(self._spreads, (*self.schedule.running, *self.schedule.ready))))

    def _spreads(self, batch: Batch) -> bool:
        return bool(batch.keys) and self.graph.kinds[self.graph.steps[batch.keys[0]].kind].spreads

    def _handle(self, event: Event) -> None:
        if isinstance(event, Ticked):
            self._ticker(event.worker)(event.done, event.note)
        elif isinstance(event, Reported):
            batch, _, _ = self._batches.pop(event.worker)
            self._take(batch, event.report)
        elif isinstance(event, Died):
            self._buried(event)
        else:
            raise event.error

    def _take(self, batch: Batch, report: Report) -> None:
        """What a worker reports of a batch."""
        self.summary.made += report.made
        self.summary.damaged += report.damaged
        for key in report.made:
            step = self.graph.steps[key]
            self._made[step.kind] += 1
            seconds, memory = report.seconds, report.memory_bytes
            if seconds:
                self.estimates.learn(step.kind, step.config, seconds=seconds, memory_bytes=memory)
        self._forget(report.made)
        self._made.update(self.graph.steps[key].kind for key in report.found)
        self.schedule.done(batch, [*report.made, *report.found])
        self._told.finished(len(report.made) + len(report.found))
        self._failed(report.failed, batch=batch)
        self._lost.update(self.graph.steps[key].kind for key in self.schedule.lost(report.lost))
        self.schedule.stop(batch, later=bool(report.elsewhere) and not report.lost)

    def _failed(self, faults: Mapping[str, Fault], *, batch: Batch | None) -> None:
        for key, fault in faults.items():
            if self.raising:
                raise fault.cause or StepError(fault.error)
            if batch is not None:  # else it was not tried: another run may be given more memory
                self._remember(key, fault, attempts=max(1, batch.attempts))
        reasons = {key: fault.error for key, fault in faults.items()}
        if batch is None:
            self.schedule.give_up(reasons)
        else:
            self.schedule.fail(batch, reasons)

    def _buried(self, died: Died) -> None:
        """A worker died: what it was doing is tried again, alone the next time, and given up after MOST_DEATHS."""
        self._warm.pop(died.worker, None)
        running = self._batches.pop(died.worker, None)
        if running is None:
            return
        batch = running[0]
        batch.attempts += 1
        there = [key for key in batch.keys if self.store.peek(key)]
        self._forget(there)
        self._made.update(self.graph.steps[key].kind for key in there)
        self.schedule.done(batch, there)
        self._told.finished(len(there))
        if batch.attempts >= MOST_DEATHS:
            fault = Fault(error=f"its worker died {batch.attempts} times over it ({died.reason})")
            self._failed(dict.fromkeys(batch.keys, fault), batch=batch)
        self.schedule.stop(batch, alone=True)

    def _forget(self, keys: Sequence[str]) -> None:
        if isinstance(self.store, DirectoryStore):
            for key in keys:
                forget_failure(self.store.path, key)

    def _remember(self, key: str, fault: Fault, attempts: int) -> None:
        if not isinstance(self.store, DirectoryStore):
            return
        step = self.graph.steps[key]
        made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        failure = Failure(
            key=key,
            name=step.name,
            kind=step.kind,
            error=fault.error,
            traceback=fault.traceback,
            made=made,
            attempts=attempts,
        )
        record_failure(self.store.path, failure)

    def _recall_failures(self) -> None:
        """Steps that failed in an earlier run are not tried again unless that is asked for."""
        if self._retry or not isinstance(self.store, DirectoryStore) or not self.schedule.todo:
            return
        known = failures(self.store.path)
        self.schedule.give_up({key: known[key].error for key in self.graph.steps if key in known})

    def _ticker(self, worker: str) -> Tick:
        def tick(done: float, note: str = "") -> None:
            if worker in self._batches:
                batch, began, working = self._batches[worker]
                self._batches[worker] = batch, began, replace(working, done=done, note=note)
                self._told.doing(working.label, done, note)
                self._show()

        return tick

    def _show(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if self._watch is None or (now - self._shown < SHOWN_EVERY and not last):
            return
        self._shown = now
        self._watch(self._status(now))

    def _status(self, now: float) -> Status:
        steps, schedule = self.graph.steps, self.schedule
        waiting = ELSEWHERE if schedule.waiting_for_others else ""
        return Status(
            total=self._total,
            done=dict(self._there + self._made - self._lost),
            found=dict(self._there),
            running=dict(Counter(steps[key].kind for batch, _, _ in self._batches.values() for key in batch.keys)),
            failed=dict(Counter(steps[key].kind for key in schedule.failed)),
            skipped=dict(Counter(steps[key].kind for key in schedule.skipped)),
            workers={
                name: replace(working, seconds=now - began) for name, (_, began, working) in self._batches.items()
            },
            seconds=now - self._began,
            seconds_left=schedule.seconds_left(self.pool.size),
            note=STOPPING if self.stop.soon else waiting,
        )


@contextlib.contextmanager
def interruptible(stop: Stop) -> Generator[None]:
    """Within this block Ctrl-C once stops soon and twice now, as does a request to end; elsewhere than in the main
    thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def asked(number: int, frame: object) -> None:
        del frame
        if stop.soon or number == signal.SIGTERM:
            stop.now = True
            raise KeyboardInterrupt
        stop.soon = True

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _gigabytes(n: int) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.1f} MB"
