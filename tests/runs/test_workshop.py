"""One worker: claims come back, faults stay with their step, and what is not there any more is said to be lost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.errors import InputError, StepError, StoreError
from oversight.runs.claims import Claims
from oversight.runs.graph import Graph
from oversight.runs.pools.pool import Reported
from oversight.runs.pools.processes import event_of, report_as_json
from oversight.runs.steps import Kind, Step
from oversight.runs.store import DirectoryStore, MemoryStore, Outcome, Store
from oversight.runs.workshop import CLAIMS, MOST_WARM, Fault, Report, Warm, Workshop, one_line, peak_bytes, silent
from oversight.sealed import ARRAYS

MEGABYTE = 1 << 20


def step(name: str, *inputs: Step, **config: Any) -> Step:
    return Step(kind="k", version=1, config={"name": name, **config}, inputs=inputs, name=f"the {name}")


class Doing:
    """A kind whose steps give one number; those marked `wrong` raise, with whoever is in their batch."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(
        self, steps: Sequence[Step], inputs: Sequence[Sequence[Outcome]], env: Any, tick: Any
    ) -> list[Outcome]:
        self.calls.append([one.config["name"] for one in steps])
        for one in steps:
            if one.config.get("wrong"):
                raise ValueError(f"{one.config['name']}  does\nnot work")
        tick(0.5, "half")
        return [Outcome(arrays={"x": np.array([1.0 + sum(one.arrays["x"][0] for one in read)])}) for read in inputs]


@pytest.fixture
def doing() -> Doing:
    return Doing()


@pytest.fixture
def claims(tmp_path: Path) -> Iterator[Claims]:
    with Claims(tmp_path / "store" / CLAIMS) as found:
        yield found


@pytest.fixture
def rival(tmp_path: Path) -> Iterator[Claims]:
    with Claims(tmp_path / "store" / CLAIMS) as found:
        yield found


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def shop(goals: Sequence[Step], doing: Any, store: Store, **options: Any) -> Workshop:
    graph = Graph(goals=tuple(goals), kinds={"k": Kind(doing, batch=lambda step: 0)}, env_of=lambda step: None)
    return Workshop(graph, store, **options)


def do(workshop: Workshop, *steps: Step) -> Report:
    return workshop.do([one.key for one in steps], silent)


def test_a_batch_is_done_together_and_kept(doing: Doing, store: DirectoryStore, claims: Claims) -> None:
    a, b = step("a"), step("b")
    report = do(shop([a, b], doing, store, claims=claims), a, b)
    assert doing.calls == [["a", "b"]] and report.made == [a.key, b.key]
    assert store.about(a.key)["name"] == "the a" and report.seconds > 0


def test_a_failing_step_does_not_take_its_batch_with_it(doing: Doing, store: DirectoryStore, claims: Claims) -> None:
    a, b, c = step("a"), step("b", wrong=True), step("c")
    report = do(shop([a, b, c], doing, store, claims=claims), a, b, c)
    assert report.made == [a.key, c.key] and list(report.failed) == [b.key]
    fault = report.failed[b.key]
    assert fault.error == "ValueError: b does not work"
    assert fault.traceback.count("Traceback") == 1 and isinstance(fault.cause, ValueError)


def test_where_the_first_failure_is_wanted_a_batch_fails_as_a_whole(doing: Doing) -> None:
    a, b = step("a"), step("b", wrong=True)
    report = do(shop([a, b], doing, MemoryStore(), isolate=False), a, b)
    assert doing.calls == [["a", "b"]] and set(report.failed) == {a.key, b.key}


def test_a_damaged_input_is_lost_and_named_and_nothing_is_done(doing: Doing, store: DirectoryStore) -> None:
    a = step("a")
    b = step("b", a)
    do(shop([b], doing, store), a)
    (store.folder(a.key) / ARRAYS).write_bytes(b"\0")
    report = do(shop([b], doing, store), b)
    assert (report.lost, report.made, report.failed) == ([a.key], [], {})
    assert [line.partition(":")[0] for line in report.damaged] == [a.key] and not store.peek(a.key)


def test_an_input_that_is_at_hand_need_not_be_on_disk(doing: Doing, store: DirectoryStore) -> None:
    a = step("a")
    b = step("b", a)
    workshop = shop([b], doing, store)
    do(workshop, a)
    (store.folder(a.key) / ARRAYS).write_bytes(b"\0")
    assert do(workshop, b).made == [b.key]


def test_a_lost_input_of_one_step_does_not_fail_another(doing: Doing, store: DirectoryStore) -> None:
    a, wrong = step("a"), step("wrong", wrong=True)
    b = step("b", a)
    report = do(shop([b, wrong], doing, store), b, wrong)
    assert report.lost == [a.key] and not report.failed


def test_what_is_in_the_store_is_found_and_not_done_again(doing: Doing, store: DirectoryStore, claims: Claims) -> None:
    a, b = step("a"), step("b")
    do(shop([a, b], doing, store), a)
    report = do(shop([a, b], doing, store, claims=claims), a, b)
    assert (report.found, report.made, doing.calls) == ([a.key], [b.key], [["a"], ["b"]])


def test_what_another_holds_is_left_to_it(doing: Doing, store: DirectoryStore, claims: Claims, rival: Claims) -> None:
    a, b = step("a"), step("b")
    assert rival.take(a.key)
    report = do(shop([a, b], doing, store, claims=claims), a, b)
    assert report.made == [b.key] and list(report.elsewhere) == [a.key]
    assert "process" in report.elsewhere[a.key] and rival.held() == {a.key}


def test_what_another_published_before_the_claim_was_free_is_found(
    doing: Doing, store: DirectoryStore, claims: Claims
) -> None:
    """Between the look and the claim the last holder publishes and releases: a second look sees it."""
    a = step("a")

    class Late(DirectoryStore):
        looks = 0

        def peek(self, key: str) -> bool:
            self.looks += 1
            if self.looks == 1:
                self.put(key, Outcome(), about={})
                return False
            return super().peek(key)

    report = do(shop([a], doing, Late(store.path), claims=claims), a)
    assert report.found == [a.key] and doing.calls == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, StoreError("store: full")], ids=str)
def test_claims_come_back_whatever_ends_a_batch(
    store: DirectoryStore, claims: Claims, rival: Claims, error: BaseException
) -> None:
    a, b = step("a"), step("b")

    def ends(*arguments: Any) -> list[Outcome]:
        assert claims.held() == {a.key, b.key}
        raise error

    with pytest.raises(error if isinstance(error, type) else type(error)):
        do(shop([a, b], ends, store, claims=claims), a, b)
    assert claims.held() == frozenset() and rival.take(a.key) and rival.take(b.key)


@pytest.mark.parametrize("wrong", [False, True])
def test_claims_come_back_after_success_and_failure(
    doing: Doing, store: DirectoryStore, claims: Claims, rival: Claims, wrong: bool
) -> None:
    a = step("a", wrong=wrong)
    do(shop([a], doing, store, claims=claims), a)
    assert claims.held() == frozenset() and rival.take(a.key)


def test_claims_that_cannot_be_written_stop_all_and_are_no_fault_of_the_step(doing: Doing, tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    store.path.mkdir()
    (store.path / CLAIMS).write_text("a file in the way")
    a = step("a")
    with Claims(store.path / CLAIMS) as claims, pytest.raises(StoreError, match="a claim on step"):
        do(shop([a], doing, store, claims=claims), a)


def test_a_store_that_cannot_be_written_stops_all(doing: Doing, store: DirectoryStore) -> None:
    a = step("a")
    store.path.mkdir()
    store.folder(a.key).parent.write_text("a file in the way")
    with pytest.raises(StoreError, match="cannot write"):
        do(shop([a], doing, store), a)


class Stubborn(MemoryStore):
    """A store whose damaged results cannot be removed, as a read-only directory's."""

    def get(self, key: str) -> Outcome | None:
        return None


def test_a_damaged_input_that_cannot_be_removed_stops_all(doing: Doing) -> None:
    a = step("a")
    b = step("b", a)
    store = Stubborn()
    store.put(a.key, Outcome(), about={})
    with pytest.raises(StoreError, match="cannot be removed"):
        do(shop([b], doing, store), b)


class Unreadable(MemoryStore):
    """A store that has no leave to open one of its results."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key

    def get(self, key: str) -> Outcome | None:
        if key == self.key:
            raise StepError("cannot be read: Permission denied")
        return super().get(key)


def test_an_input_that_cannot_be_read_now_fails_those_who_read_it_and_nobody_else(doing: Doing) -> None:
    a = step("a")
    b, c = step("b", a), step("c")
    store = Unreadable(a.key)
    store.put(a.key, Outcome(), about={})
    report = do(shop([b, c], doing, store), b, c)
    assert list(report.failed) == [b.key] and report.made == [c.key]
    assert report.failed[b.key].error == "cannot be read: Permission denied"


def test_the_peak_of_memory_holds_what_a_step_took_for_a_moment(store: DirectoryStore) -> None:
    if not peak_bytes():
        pytest.skip("the system does not tell a process's peak of memory")

    def takes(steps: Sequence[Step], *rest: Any) -> list[Outcome]:
        size = steps[0].config.get("megabytes", 0)
        np.ones(size * MEGABYTE, dtype=np.uint8).sum()
        return [Outcome()]

    small, large = step("small"), step("large", megabytes=200)
    workshop = shop([small, large], takes, store)
    taken = [do(workshop, one).memory_bytes for one in (large, small)]
    assert taken[0] >= 200 * MEGABYTE and taken[1] > 0


def test_what_is_at_hand_is_bounded_in_bytes_and_the_least_used_goes_first() -> None:
    warm = Warm(most_bytes=100)
    for name in "abc":
        warm.add(name, Outcome(arrays={"x": np.zeros(40, dtype=np.uint8)}))
        warm.get("a")
    assert [warm.get(name) is not None for name in "abc"] == [True, False, True]


def test_what_is_at_hand_is_bounded_in_number_as_large_ones_hold_files_open() -> None:
    warm = Warm()
    for i in range(MOST_WARM + 5):
        warm.add(str(i), Outcome())
    assert sum(warm.get(str(i)) is not None for i in range(MOST_WARM + 5)) == MOST_WARM


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\n  lines"), "ValueError: two lines"),
        (KeyError(), "KeyError"),
        (InputError("found 1, expected 2"), "found 1, expected 2"),
    ],
)
def test_an_error_becomes_one_line(error: Exception, line: str) -> None:
    assert one_line(error) == line


def test_a_report_comes_through_a_pipe_as_it_was() -> None:
    report = Report(
        made=["a"],
        found=["b"],
        elsewhere={"c": "host, process 7"},
        lost=["d"],
        failed={"e": Fault(error="no", traceback="there")},
        seconds=1.5,
        memory_bytes=3,
        damaged=["f: bad"],
    )
    assert event_of("w", json.loads(json.dumps(report_as_json(report)))) == Reported(worker="w", report=report)
