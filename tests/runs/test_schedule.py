"""Schedules: whatever fails, dies, gets lost or is done elsewhere, what can be done is done once and nothing else."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.runs.estimates import Estimates
from oversight.runs.graph import Graph
from oversight.runs.schedule import MOST_PASSED, Batch, Schedule
from oversight.runs.steps import Kind, Needs, Step
from oversight.runs.store import Outcome

MOST_EVENTS = 2000


def nothing(steps: Any, inputs: Any, env: Any, tick: Any) -> list[Outcome]:
    return [Outcome() for _ in steps]


def graph_of(shape: Mapping[str, Sequence[str]], **config: Mapping[str, Any]) -> tuple[dict[str, str], Graph]:
    """Keys by name, and the graph; `config` gives `seconds`, `bytes`, `batch` and `kind` of some steps by name."""
    steps: dict[str, Step] = {}
    for name, inputs in shape.items():
        own = {what: given[name] for what, given in config.items() if name in given}
        kind = own.get("kind", "u")
        before = tuple(steps[one] for one in inputs)
        steps[name] = Step(kind=kind, version=1, config={"name": name, **own}, inputs=before, name=name)
    kind = Kind(
        nothing,
        batch=lambda step: step.config.get("batch", step.key),
        like=lambda about: about.get("seconds"),
        needs=lambda step, env: Needs(memory_bytes=step.config.get("bytes", 0)),
    )
    graph = Graph(goals=tuple(steps.values()), kinds={"u": kind, "v": kind}, env_of=lambda step: None)
    return {name: step.key for name, step in steps.items()}, graph


def exact(graph: Graph) -> Estimates:
    """Estimates that know how long every step takes."""
    found = Estimates(graph.kinds)
    for step in graph.steps.values():
        if "seconds" in step.config:
            found.learn(step.kind, step.config, seconds=step.config["seconds"], memory_bytes=0)
    return found


def schedule_of(graph: Graph, there: Sequence[str] = (), memory_bytes: int | None = None) -> Schedule:
    missing = graph.missing(set(there).__contains__)
    return Schedule(graph, missing, exact(graph), memory_bytes=memory_bytes)


def names(schedule: Schedule, batch: Batch | None) -> list[str]:
    return [] if batch is None else sorted(schedule.graph.steps[key].name for key in batch.keys)


def finish(schedule: Schedule, batch: Batch | None) -> None:
    assert batch is not None
    schedule.done(batch, list(batch.keys))
    schedule.stop(batch)


@dataclass(frozen=True)
class World:
    """A graph with what will go wrong in it."""

    shape: dict[str, list[str]]
    batch: dict[str, int]
    kind: dict[str, str]
    bytes: dict[str, int]
    failing: frozenset[str]
    there: frozenset[str]
    workers: int
    seed: int


@st.composite
def worlds(draw: st.DrawFn) -> World:
    listed = [f"s{i}" for i in range(draw(st.integers(1, 12)))]
    shape = {
        name: draw(st.lists(st.sampled_from(listed[:i]), max_size=3, unique=True)) if i else []
        for i, name in enumerate(listed)
    }
    return World(
        shape=shape,
        batch={name: draw(st.integers(0, 1)) for name in listed if draw(st.booleans())},
        kind={name: draw(st.sampled_from("uv")) for name in listed},
        bytes={name: draw(st.integers(0, 11)) for name in listed},
        failing=frozenset(draw(st.lists(st.sampled_from(listed), max_size=2))),
        there=frozenset(draw(st.lists(st.sampled_from(listed), max_size=3))),
        workers=draw(st.integers(1, 3)),
        seed=draw(st.integers(0, 10**6)),
    )


class Simulated:
    """Workers of a world: they publish, fail, die, lose what was published and meet other runs, as dice say."""

    def __init__(self, world: World) -> None:
        self.world, self.dice = world, random.Random(world.seed)
        self.keys, self.graph = graph_of(world.shape, batch=world.batch, kind=world.kind, bytes=world.bytes)
        self.there = {self.keys[name] for name in world.there}
        self.failing = {self.keys[name] for name in world.failing}
        self.made: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.limit = 10
        self.schedule = schedule_of(self.graph, list(self.there), memory_bytes=self.limit)
        self.wanted = set(self.schedule.todo)
        self.mishaps = 6

    def run(self) -> None:
        for _ in range(MOST_EVENTS):
            if self.schedule.finished and not self.schedule.running:
                return
            batch = self.schedule.next() if len(self.schedule.running) < self.world.workers else None
            if batch is not None:
                self.begins(batch)
            elif self.schedule.running:
                self.ends(self.dice.choice(self.schedule.running))
            elif (large := self.schedule.too_large()) is not None:
                self.schedule.give_up(dict.fromkeys(large[0].keys, "too large"))
            else:
                assert self.schedule.waiting_for_others, "steps are left, and nobody will ever do them"
                self.schedule.try_later_ones()
        raise AssertionError("it does not come to an end")

    def begins(self, batch: Batch) -> None:
        steps = [self.graph.steps[key] for key in batch.keys]
        assert steps and set(batch.keys) <= self.schedule.todo
        assert not {before.key for step in steps for before in step.inputs} & self.schedule.todo
        assert len({(step.kind, step.config.get("batch", step.key)) for step in steps}) == 1
        running = [key for one in self.schedule.running for key in one.keys]
        assert len(running) == len(set(running))
        needed = (
            max(self.graph.steps[key].config["bytes"] for key in one.keys) for one in self.schedule.running if one.keys
        )
        assert sum(needed) <= self.limit

    def mishap(self) -> bool:
        happens = self.mishaps > 0 and self.dice.random() < 0.25
        self.mishaps -= happens
        return happens

    def ends(self, batch: Batch) -> None:
        schedule = self.schedule
        if self.there and self.mishap():
            key = self.dice.choice(sorted(self.there))
            self.there.discard(key)
            self.lost[key] += 1
        gone = {before.key for key in batch.keys for before in self.graph.steps[key].inputs} - self.there
        if self.mishap():
            published = [key for key in batch.keys if not gone and key not in self.failing and self.dice.random() < 0.5]
            self.publish(batch, published)
            schedule.stop(batch, alone=True)
        elif self.mishap():
            schedule.stop(batch, later=True)
        elif gone:
            schedule.lost(sorted(gone))
            schedule.stop(batch)
        else:
            failed = [key for key in batch.keys if key in self.failing]
            self.publish(batch, [key for key in batch.keys if key not in self.failing])
            schedule.fail(batch, dict.fromkeys(failed, "wrong"))
            schedule.stop(batch)

    def publish(self, batch: Batch, keys: Sequence[str]) -> None:
        self.there.update(keys)
        self.made.update(keys)
        self.schedule.done(batch, keys)


@given(worlds())
@settings(max_examples=400, deadline=None)
def test_what_does_not_need_a_failed_step_is_done_once_and_the_rest_skipped(world: World) -> None:
    """Also: no step begins before its inputs, batches do not mix, memory is kept, and the end is reached."""
    simulated = Simulated(world)
    simulated.run()
    schedule, graph = simulated.schedule, simulated.graph
    cannot = set(schedule.failed)
    assert cannot <= simulated.failing | {key for key, step in graph.steps.items() if step.config["bytes"] > 10}
    assert not cannot & set(schedule.skipped) and set(schedule.skipped) <= graph.after(cannot)
    for key in simulated.wanted:
        assert key in cannot or key in schedule.skipped or simulated.made[key] >= 1, graph.steps[key].name
    assert all(simulated.made[key] <= 1 + simulated.lost[key] for key in simulated.made)


def makespan(graph: Graph, workers: int) -> float:
    """Simulated time until all is done."""
    schedule = schedule_of(graph)
    now, running = 0.0, list[tuple[float, int, Batch]]()
    while not schedule.finished:
        while len(running) < workers and (batch := schedule.next()) is not None:
            seconds = sum(graph.steps[key].config["seconds"] for key in batch.keys)
            heapq.heappush(running, (now + seconds, id(batch), batch))
        now, _, batch = heapq.heappop(running)
        finish(schedule, batch)
    return now


@given(worlds(), st.lists(st.integers(1, 9), min_size=12, max_size=12))
@settings(max_examples=100, deadline=None)
def test_no_worker_idles_while_a_step_could_be_started(world: World, seconds: list[int]) -> None:
    """Graham's bound, which every list schedule without idling keeps: work / m + (1 - 1 / m) * longest path."""
    times = dict(zip(world.shape, seconds, strict=False))
    _, graph = graph_of(world.shape, seconds=times)
    paths: dict[str, float] = {}
    for key, step in graph.steps.items():
        paths[key] = step.config["seconds"] + max((paths[before.key] for before in step.inputs), default=0)
    work, path, m = sum(times.values()), max(paths.values()), world.workers
    assert max(path, work / m) <= makespan(graph, m) <= work / m + (1 - 1 / m) * path + 1e-9


def test_the_longest_path_goes_first() -> None:
    """Leaves of 3 x 1 s and a chain of 3 x 1 s: two workers need 3 s, and 4 s if the chain is not begun at once."""
    shape = {"x": [], "y": [], "z": [], "a": [], "b": ["a"], "c": ["b"]}
    _, graph = graph_of(shape, seconds=dict.fromkeys(shape, 1))
    assert makespan(graph, 2) == 3


def test_a_path_through_a_batch_takes_as_long_as_the_whole_batch() -> None:
    """Three steps of 1 s done together, then one of 1 s, are a path of 4 s, longer than a step of 3 s."""
    shape = {"long": [], "p": [], "q": [], "r": [], "end": ["p"]}
    times = {"long": 3, "p": 1, "q": 1, "r": 1, "end": 1}
    _, graph = graph_of(shape, seconds=times, batch={"p": 0, "q": 0, "r": 0})
    schedule = schedule_of(graph)
    first = schedule.next()
    assert names(schedule, first) == ["p", "q", "r"] and first is not None and first.priority == 4


def test_of_two_equally_urgent_batches_the_one_whose_inputs_are_warm_goes_first() -> None:
    keys, graph = graph_of({"f": [], "g": [], "a": ["f"], "b": ["g"]}, seconds=dict.fromkeys("fgab", 1))
    schedule = schedule_of(graph, [keys["f"], keys["g"]])
    assert names(schedule, schedule.next(warm=[keys["g"]])) == ["b"]


def test_a_far_more_urgent_batch_goes_before_a_warm_one() -> None:
    keys, graph = graph_of({"f": [], "g": [], "a": ["f"], "b": ["g"]}, seconds={"a": 10, "b": 1})
    schedule = schedule_of(graph, [keys["f"], keys["g"]])
    assert names(schedule, schedule.next(warm=[keys["g"]])) == ["a"]


def test_a_large_urgent_step_is_not_passed_over_for_ever() -> None:
    """Two workers, 6 of 10 bytes for the urgent one, 5 for each of many others of which two always run."""
    small = [f"s{i}" for i in range(40)]
    sizes = {"first": 5, "large": 6, **dict.fromkeys(small, 5)}
    times = {"first": 10, "large": 9, **dict.fromkeys(small, 1)}
    _, graph = graph_of({name: [] for name in sizes}, bytes=sizes, seconds=times)
    schedule = schedule_of(graph, memory_bytes=10)
    running = [schedule.next(), schedule.next()]
    begun = [name for batch in running for name in names(schedule, batch)]
    while "large" not in begun:
        finish(schedule, running.pop())
        running += [batch for batch in (schedule.next(), schedule.next()) if batch is not None]
        begun = [*begun, *(name for batch in running for name in names(schedule, batch))]
        if not running:
            break
    done = len(graph.steps) - len(schedule.todo)
    assert "large" in begun and done <= MOST_PASSED + 2


def test_what_can_never_fit_does_not_hold_the_others_back() -> None:
    small = [f"s{i}" for i in range(3 * MOST_PASSED)]
    _, graph = graph_of(
        {name: [] for name in ["huge", *small]},
        bytes={"huge": 11, **dict.fromkeys(small, 5)},
        seconds={"huge": 10, **dict.fromkeys(small, 1)},
    )
    schedule = schedule_of(graph, memory_bytes=10)
    batch, other = schedule.next(), schedule.next()
    while batch is not None and other is not None:
        finish(schedule, batch)
        batch, other = other, schedule.next()
    finish(schedule, batch)
    assert names(schedule, schedule.next()) == []
    large = schedule.too_large()
    assert large is not None and (names(schedule, large[0]), large[1]) == (["huge"], 11)
    schedule.give_up(dict.fromkeys(large[0].keys, "too large"))
    assert schedule.too_large() is None and schedule.finished


def test_a_lost_step_that_cannot_be_made_again_skips_those_who_need_it() -> None:
    """r was there, its input x fails in this run, then t finds r damaged: r and t are skipped, not tried for ever."""
    keys, graph = graph_of({"x": [], "r": ["x"], "t": ["r"]})
    schedule = Schedule(graph, [keys["x"], keys["t"]], Estimates(graph.kinds))
    x, t = schedule.next(), schedule.next()
    assert x is not None and t is not None
    x, t = (x, t) if x.keys == [keys["x"]] else (t, x)
    schedule.fail(x, {keys["x"]: "wrong"})
    schedule.stop(x)
    assert set(schedule.skipped) == {keys["t"]}
    assert schedule.lost([keys["r"]]) == [keys["r"]]
    schedule.stop(t)
    r = schedule.next()
    assert r is not None and r.keys == [keys["r"]]
    assert schedule.lost([keys["x"]]) == []
    schedule.stop(r)
    assert schedule.next() is None and schedule.finished
    assert set(schedule.failed) == {keys["x"]} and set(schedule.skipped) == {keys["r"], keys["t"]}


def test_an_input_lost_while_a_batch_waits_for_another_does_not_strand_it() -> None:
    """p and q wait for x and z in one batch; y, which p reads, is lost meanwhile; then z fails: p is still done."""
    shape = {"x": [], "y": [], "z": [], "p": ["x", "y"], "q": ["z"], "w": ["y"]}
    keys, graph = graph_of(shape, batch={"p": 0, "q": 0}, seconds={"w": 900, "z": 50, "x": 30, "p": 1, "q": 1})
    schedule = Schedule(graph, [keys[name] for name in "xzpqw"], exact(graph))
    w, z, x = (schedule.next() for _ in range(3))
    assert w is not None and z is not None and (names(schedule, w), names(schedule, z)) == (["w"], ["z"])
    schedule.lost([keys["y"]])
    schedule.stop(w)
    schedule.fail(z, {keys["z"]: "wrong"})
    schedule.stop(z)
    finish(schedule, x)
    done: list[str] = []
    while (batch := schedule.next()) is not None:
        done += names(schedule, batch)
        finish(schedule, batch)
    assert sorted(done) == ["p", "w", "y"] and schedule.finished


def test_what_needs_a_failed_step_says_so_by_name() -> None:
    keys, graph = graph_of({"a": [], "b": ["a"], "c": ["b"]})
    schedule = schedule_of(graph)
    batch = schedule.next()
    assert batch is not None
    schedule.fail(batch, {keys["a"]: "no memory"})
    schedule.stop(batch)
    assert schedule.failed == {keys["a"]: "no memory"}
    assert schedule.skipped == dict.fromkeys([keys["b"], keys["c"]], "it needs a, which failed: no memory")


def test_a_batch_over_which_a_worker_died_is_split_and_remembers_it() -> None:
    _, graph = graph_of({"a": [], "b": []}, batch={"a": 0, "b": 0})
    schedule = schedule_of(graph)
    batch = schedule.next()
    assert batch is not None
    batch.attempts = 2
    schedule.stop(batch, alone=True)
    again = [schedule.next(), schedule.next()]
    assert sorted(names(schedule, one) for one in again) == [["a"], ["b"]]
    assert [one.attempts for one in again if one is not None] == [2, 2]


@pytest.mark.parametrize(("workers", "left"), [(1, 7), (2, 5), (9, 5)])
def test_time_left_is_the_work_over_the_workers_or_the_longest_path(workers: int, left: float) -> None:
    _, graph = graph_of({"a": [], "b": ["a"], "c": [], "d": []}, seconds={"a": 2, "b": 3, "c": 1, "d": 1})
    assert schedule_of(graph).seconds_left(workers) == left


def test_time_left_is_not_known_before_anything_is() -> None:
    _, graph = graph_of({"a": []})
    assert schedule_of(graph).seconds_left(1) is None
