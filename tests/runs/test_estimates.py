"""Estimates: medians of steps like it, else of its kind; what a store remembers is where they come from."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.runs.estimates import REMEMBERED, Estimates, learned
from oversight.runs.steps import Kind, Needs, Step
from oversight.runs.store import DirectoryStore, MemoryStore, Outcome


def nothing(steps: Any, inputs: Any, env: Any, tick: Any) -> list[Outcome]:
    return [Outcome() for _ in steps]


KINDS = {
    "fit": Kind(
        nothing,
        like=lambda config: config["size"],
        needs=lambda step, env: Needs(memory_bytes=step.config.get("declared", 0)),
    ),
    "score": Kind(nothing),
}


def fit(size: int, **config: Any) -> Step:
    return Step(kind="fit", version=1, config={"size": size, **config})


def put(store: DirectoryStore, step: Step, **about: Any) -> None:
    known = {"kind": step.kind, "version": 1, "config": dict(step.config), "inputs": [], "seconds": 1.0}
    store.put(step.key, Outcome(), about={**known, **about})


@given(st.lists(st.floats(0.001, 1e4), min_size=1, max_size=REMEMBERED))
@settings(max_examples=50, deadline=None)
def test_seconds_are_the_median_of_steps_like_it(seconds: list[float]) -> None:
    found = Estimates(KINDS)
    for one in seconds:
        found.learn("fit", {"size": 1}, seconds=one, memory_bytes=0)
        found.learn("fit", {"size": 2}, seconds=1e6, memory_bytes=0)
        assert found.seconds(fit(1)) is not None
    assert found.seconds(fit(1)) == statistics.median(seconds)


def test_a_step_like_none_before_takes_the_median_of_its_kind() -> None:
    found = Estimates(KINDS)
    for size, seconds in [(1, 1.0), (1, 2.0), (2, 30.0)]:
        found.learn("fit", {"size": size}, seconds=seconds, memory_bytes=0)
    assert (found.seconds(fit(3)), found.seconds(fit(2))) == (2.0, 30.0)


def test_nothing_is_known_of_a_kind_that_was_never_done() -> None:
    found = Estimates(KINDS)
    found.learn("score", {}, seconds=1.0, memory_bytes=5)
    assert found.seconds(fit(1)) is None and found.memory_bytes(fit(1), None) == 0


def test_old_times_are_forgotten() -> None:
    found = Estimates(KINDS)
    for seconds in [100.0] * REMEMBERED + [1.0] * REMEMBERED:
        found.learn("fit", {"size": 1}, seconds=seconds, memory_bytes=0)
    assert found.seconds(fit(1)) == 1.0


@pytest.mark.parametrize(("declared", "expected"), [(0, 7), (9, 9)])
def test_memory_is_the_largest_seen_or_declared(declared: int, expected: int) -> None:
    found = Estimates(KINDS)
    for memory in (3, 7, 5):
        found.learn("fit", {"size": 1}, seconds=1.0, memory_bytes=memory)
    found.learn("fit", {"size": 2}, seconds=1.0, memory_bytes=100)
    assert found.memory_bytes(fit(1, declared=declared), None) == expected


def test_a_store_remembers_times_and_memory(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    for i, seconds in enumerate([1.0, 2.0, 9.0]):
        put(store, fit(1, seed=i), seconds=seconds, memory_bytes=10 * i)
    found = learned(store, KINDS)
    assert (found.seconds(fit(1)), found.memory_bytes(fit(1), None)) == (2.0, 20)


@pytest.mark.parametrize(
    "about",
    [
        {"seconds": "long"},
        {"seconds": None},
        {"memory_bytes": "much"},
        {"kind": "gone"},
        {"config": {"other": 1}},
        {"config": None},
        {"config": [1]},
    ],
    ids=lambda about: str(about),
)
def test_a_record_that_says_nothing_useful_is_passed_over(tmp_path: Path, about: dict[str, Any]) -> None:
    store = DirectoryStore(tmp_path)
    put(store, fit(1))
    put(store, fit(2), **about)
    found = learned(store, KINDS)
    assert found.seconds(fit(1)) == 1.0


def test_a_damaged_record_is_passed_over(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    for size in (1, 2):
        put(store, fit(size))
    (store.folder(fit(2).key) / "record.json").write_text("{")
    assert learned(store, KINDS).seconds(fit(1)) == 1.0


def test_a_store_in_memory_remembers_nothing() -> None:
    assert learned(MemoryStore(), KINDS).seconds(fit(1)) is None
