"""Runs of a graph: failures are kept and told, losses made good, memory and stops heeded, and answers the same."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from oversight.errors import StepError, StoreError
from oversight.runs.claims import Claims
from oversight.runs.drive import ELSEWHERE, MOST_DEATHS, Drive, Stop, Summary, execute, interruptible, run_graph
from oversight.runs.failures import failures
from oversight.runs.graph import Graph
from oversight.runs.pools.pool import Died, Event, Order, Reported, Status
from oversight.runs.steps import Progress
from oversight.runs.store import DirectoryStore, MemoryStore, Outcome
from oversight.runs.workshop import CLAIMS, Workshop, silent
from oversight.sealed import ARRAYS

DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": []}


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def drive(graph: Graph, store: DirectoryStore, **options: Any) -> Summary:
    return Drive(graph, store=store, **options).run()


def names(graph: Graph, keys: Sequence[str] | Mapping[str, Any]) -> list[str]:
    return sorted(graph.steps[key].config["name"] for key in keys)


def test_everything_is_made_once_and_a_second_run_makes_nothing(toy: Callable[..., Any], store: DirectoryStore) -> None:
    graph = toy(DIAMOND).graph
    assert names(graph, drive(graph, store).made) == ["a", "b", "c", "d", "e"]
    again = drive(graph, store)
    assert (again.made, again.failed, again.stopped) == ([], {}, False)


def test_a_failed_step_is_told_its_dependants_skipped_and_the_rest_done(
    toy: Callable[..., Any], store: DirectoryStore
) -> None:
    some = toy(DIAMOND)
    some.mark("b", "fail")
    summary = drive(some.graph, store)
    assert names(some.graph, summary.made) == ["a", "c", "e"]
    assert dict(summary.failed) == {some.key("b"): "ValueError: b is wrong"}
    assert dict(summary.skipped) == {some.key("d"): "it needs step b, which failed: ValueError: b is wrong"}
    kept = failures(store.path)[some.key("b")]
    assert (kept.name, kept.kind, kept.error, kept.attempts) == ("step b", "add", "ValueError: b is wrong", 1)
    assert "toy_graph.py" in kept.traceback


def test_a_failed_step_is_not_tried_again_unless_asked_and_forgotten_when_done(
    toy: Callable[..., Any], store: DirectoryStore
) -> None:
    some = toy(DIAMOND)
    mark = some.mark("b", "fail")
    first = drive(some.graph, store)
    mark.unlink()
    second = drive(some.graph, store)
    assert (second.made, second.failed, second.skipped) == ([], first.failed, first.skipped)
    assert some.begun == ["a", "b", "c", "e"]
    third = drive(some.graph, store, retry_failed=True)
    assert names(some.graph, third.made) == ["b", "d"] and failures(store.path) == {}


def test_a_step_that_fails_again_stays_failed(toy: Callable[..., Any], store: DirectoryStore) -> None:
    some = toy({"a": []})
    some.mark("a", "fail")
    for _ in range(2):
        assert list(drive(some.graph, store, retry_failed=True).failed) == [some.key("a")]
    assert some.begun == ["a", "a"] and list(failures(store.path)) == [some.key("a")]


def test_a_failed_step_that_nobody_asks_for_any_more_does_not_matter(
    toy: Callable[..., Any], store: DirectoryStore
) -> None:
    some = toy(DIAMOND)
    some.mark("b", "fail")
    drive(some.graph, store)
    assert drive(toy({"a": [], "c": ["a"]}).graph, store).failed == {}


@pytest.mark.parametrize("batched", [False, True])
def test_the_first_failure_is_raised_where_that_is_wanted(
    toy: Callable[..., Any], store: DirectoryStore, batched: bool
) -> None:
    some = toy(DIAMOND, batched=batched)
    some.mark("b", "fail")
    with pytest.raises(ValueError, match="b is wrong"):
        run_graph(some.graph, store=store)
    assert failures(store.path) == {}


def test_one_failing_step_of_a_batch_leaves_the_others(toy: Callable[..., Any], store: DirectoryStore) -> None:
    some = toy({name: [] for name in "abcd"}, batched=True)
    some.mark("c", "fail")
    summary = drive(some.graph, store)
    assert names(some.graph, summary.made) == ["a", "b", "d"] and names(some.graph, summary.failed) == ["c"]


def test_a_step_larger_than_memory_fails_with_the_reason_and_the_rest_is_done(
    toy: Callable[..., Any], store: DirectoryStore
) -> None:
    some = toy(DIAMOND, memory={"b": 5_000_000_000, "c": 3_000_000_000}, batched=True)
    summary = drive(some.graph, store, memory_bytes=4_000_000_000)
    assert names(some.graph, summary.made) == ["a", "c", "e"] and names(some.graph, summary.skipped) == ["d"]
    reason = "it needs about 5.0 GB, more than the 4.0 GB of memory that it may take (--memory)"
    assert dict(summary.failed) == {some.key("b"): reason}


def test_a_step_that_did_not_fit_is_tried_by_a_run_with_more_memory(
    toy: Callable[..., Any], store: DirectoryStore
) -> None:
    some = toy({"a": []}, memory={"a": 5_000_000_000})
    assert len(drive(some.graph, store, memory_bytes=4_000_000_000).failed) == 1
    assert failures(store.path) == {}
    assert len(drive(some.graph, store).made) == 1


def test_a_damaged_input_is_made_again_and_named(toy: Callable[..., Any], store: DirectoryStore) -> None:
    some = toy(DIAMOND)
    drive(toy({"a": [], "b": ["a"]}).graph, store)
    (store.folder(some.key("a")) / ARRAYS).write_bytes(b"\0")
    fresh = DirectoryStore(store.path)
    summary = drive(some.graph, fresh)
    assert names(some.graph, summary.made) == ["a", "c", "d", "e"] and store.verify() == {}
    assert [line.partition(":")[0] for line in summary.damaged] == [some.key("a")]


def test_done_never_exceeds_the_total_also_when_a_result_is_made_again(
    toy: Callable[..., Any], store: DirectoryStore
) -> None:
    some, shown = toy(DIAMOND), list[Status]()
    drive(toy({"a": [], "b": ["a"]}).graph, store)
    (store.folder(some.key("a")) / ARRAYS).write_bytes(b"\0")
    drive(some.graph, DirectoryStore(store.path), watch=shown.append)
    assert shown[-1].done == shown[-1].total == {"add": 5}


def test_an_input_that_is_lost_and_fails_now_ends_the_run(toy: Callable[..., Any], store: DirectoryStore) -> None:
    """b was there with a gone; b is found damaged, a fails: neither is tried for ever."""
    some = toy({"a": [], "b": ["a"], "c": ["b"]})
    drive(toy({"a": [], "b": ["a"]}).graph, store)
    (store.folder(some.key("b")) / ARRAYS).write_bytes(b"\0")
    (store.folder(some.key("a")) / ARRAYS).write_bytes(b"\0")
    some.mark("a", "fail")
    summary = drive(some.graph, DirectoryStore(store.path))
    assert names(some.graph, summary.failed) == ["a"] and names(some.graph, summary.skipped) == ["b", "c"]


def test_a_damaged_goal_that_cannot_be_removed_is_an_error_and_not_an_endless_loop(toy: Callable[..., Any]) -> None:
    class Stubborn(MemoryStore):
        def get(self, key: str) -> Outcome | None:
            return None

    store, graph = Stubborn(), toy({"a": []}).graph
    store.put(next(iter(graph.steps)), Outcome(), about={})
    with pytest.raises(StoreError, match="cannot be removed"):
        run_graph(graph, store=store)


def test_a_store_that_cannot_be_written_ends_the_run_and_no_step_is_blamed(
    toy: Callable[..., Any], store: DirectoryStore
) -> None:
    some = toy({"a": []})
    store.path.mkdir()
    store.folder(some.key("a")).parent.write_text("a file in the way")
    with pytest.raises(StoreError, match="cannot write"):
        drive(some.graph, store)
    assert failures(store.path) == {} and not list((store.path / CLAIMS).rglob("*.json"))


def test_asked_to_stop_soon_it_finishes_the_running_step_and_starts_no_more(
    toy: Callable[..., Any], store: DirectoryStore
) -> None:
    some, stop = toy({"a": [], "b": ["a"], "c": ["b"]}), Stop()
    summary = drive(some.graph, store, stop=stop, progress=Progress(finished=lambda n: setattr(stop, "soon", True)))
    assert (names(some.graph, summary.made), summary.stopped) == (["a"], True)
    assert names(some.graph, drive(some.graph, store).made) == ["b", "c"]


def test_a_run_that_was_finished_when_asked_to_stop_was_not_stopped(
    toy: Callable[..., Any], store: DirectoryStore
) -> None:
    stop = Stop()
    progress = Progress(finished=lambda n: setattr(stop, "soon", True))
    assert not drive(toy({"a": []}).graph, store, stop=stop, progress=progress).stopped


def test_what_another_run_computes_is_waited_for_and_not_done(toy: Callable[..., Any], store: DirectoryStore) -> None:
    some, shown = toy({"a": [], "b": ["a"]}), list[Status]()
    rival = Claims(store.path / CLAIMS)
    assert rival.take(some.key("a"))
    waits = threading.Event()

    def finish() -> None:
        waits.wait(30)
        Workshop(some.graph, DirectoryStore(store.path)).do([some.key("a")], silent)
        rival.release(some.key("a"))

    def watch(status: Status) -> None:
        shown.append(status)
        if status.note == ELSEWHERE:
            waits.set()

    other = threading.Thread(target=finish)
    other.start()
    try:
        summary = drive(some.graph, store, watch=watch)
    finally:
        waits.set()
        other.join()
        rival.close()
    assert names(some.graph, summary.made) == ["b"] and some.begun == ["a", "b"]


def test_the_status_counts_every_step_in_one_state(toy: Callable[..., Any], store: DirectoryStore) -> None:
    some, shown = toy(DIAMOND), list[Status]()
    drive(toy({"e": []}).graph, store)
    some.mark("b", "fail")
    drive(some.graph, store, watch=shown.append)
    last = shown[-1]
    assert (last.total, last.done, last.found) == ({"add": 5}, {"add": 3}, {"add": 1})
    assert (last.failed, last.skipped, last.running, last.workers) == ({"add": 1}, {"add": 1}, {}, {})


class Mortal:
    """Workers of which one dies over every batch that holds a step with this name; the rest is done here."""

    size, cores = 2, 0

    def __init__(self, graph: Graph, store: DirectoryStore, name: str, *, publishes: bool = False) -> None:
        self.graph, self.workshop, self.name, self.publishes = graph, Workshop(graph, store), name, publishes
        self.events: list[Event] = []
        self.orders: list[list[str]] = []
        self.closed: list[bool] = []

    def idle(self) -> Sequence[str]:
        busy = {event.worker for event in self.events}
        return [name for name in ("one", "two") if name not in busy]

    def start(self, worker: str, order: Order) -> None:
        listed = names(self.graph, order.keys)
        self.orders.append(listed)
        if self.name in listed:
            if self.publishes:
                self.workshop.do(order.keys[:1], silent)
            self.events.append(Died(worker=worker, reason="killed"))
        else:
            self.events.append(Reported(worker=worker, report=self.workshop.do(order.keys, silent)))

    def wait(self, seconds: float) -> Sequence[Event]:
        events, self.events = self.events, []
        return events

    def close(self, *, now: bool = False) -> None:
        self.closed.append(now)


def test_a_step_that_kills_its_workers_is_given_up_alone_and_counted(
    toy: Callable[..., Any], store: DirectoryStore
) -> None:
    some = toy({"a": [], "b": [], "c": [], "d": ["b"]}, batched=True)
    pool = Mortal(some.graph, store, "b")
    summary = drive(some.graph, store, pool=pool)
    assert pool.orders[0] == ["a", "b", "c"] and pool.orders.count(["b"]) == MOST_DEATHS - 1
    assert names(some.graph, summary.made) == ["a", "c"] and names(some.graph, summary.skipped) == ["d"]
    reason = f"its worker died {MOST_DEATHS} times over it (killed)"
    assert dict(summary.failed) == {some.key("b"): reason}
    assert failures(store.path)[some.key("b")].attempts == MOST_DEATHS and pool.closed == [False]


def test_what_a_dead_worker_had_published_is_not_done_again(toy: Callable[..., Any], store: DirectoryStore) -> None:
    some = toy({"a": [], "b": ["a"]})
    pool = Mortal(some.graph, store, "a", publishes=True)
    summary = drive(some.graph, store, pool=pool)
    assert pool.orders == [["a"], ["b"]] and summary.failed == {} and store.peek(some.key("b"))


def test_a_pool_is_closed_at_once_when_a_run_breaks_off(toy: Callable[..., Any], store: DirectoryStore) -> None:
    some = toy({"a": []})
    pool = Mortal(some.graph, store, "nobody")
    some.mark("a", "fail")
    with pytest.raises(ValueError, match="a is wrong"):
        drive(some.graph, store, pool=pool, raising=True)
    assert pool.closed == [True]


def test_execute_gives_the_outcomes_of_the_goals(toy: Callable[..., Any]) -> None:
    """a = 1; b = 1 + 1; c = 1 + 1; d = 1 + 2 + 2."""
    graph = toy(DIAMOND).graph
    found = execute(graph.goals, store=MemoryStore(), kinds=graph.kinds, env=None)
    values = {graph.steps[key].config["name"]: int(one.arrays["sum"][0]) for key, one in found.items()}
    assert values == {"a": 1, "b": 2, "c": 2, "d": 5, "e": 1}


def test_ctrl_c_stops_soon_then_now_and_the_handlers_come_back() -> None:
    before, stop = signal.getsignal(signal.SIGINT), Stop()
    with interruptible(stop):
        os.kill(os.getpid(), signal.SIGINT)
        assert (stop.soon, stop.now) == (True, False)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.now
    assert signal.getsignal(signal.SIGINT) is before


def test_a_request_to_end_stops_now() -> None:
    stop = Stop()
    with pytest.raises(KeyboardInterrupt), interruptible(stop):
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.now


def test_elsewhere_than_in_the_main_thread_signals_are_left_alone() -> None:
    seen: list[Any] = []

    def look() -> None:
        with interruptible(Stop()):
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_failure_without_its_exception_is_raised_as_one_line(toy: Callable[..., Any], store: DirectoryStore) -> None:
    some = toy({"a": []}, memory={"a": 9_000_000_000})
    with pytest.raises(StepError, match=r"needs about 9\.0 GB"):
        drive(some.graph, store, memory_bytes=1_000_000_000, raising=True)
