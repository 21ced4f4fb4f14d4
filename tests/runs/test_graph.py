"""Graphs: the order of steps, what needs what, and groups that never wait for each other in a circle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.runs.graph import Graph
from oversight.runs.steps import Kind, Step
from oversight.runs.store import Outcome

ENVS = ([0], [1])
Shape = list[tuple[str, int, int, list[int]]]


def nothing(steps: Any, inputs: Any, env: Any, tick: Any) -> list[Outcome]:
    return [Outcome() for _ in steps]


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """By step its kind, batch name, environment and inputs among the earlier ones."""
    n = draw(st.integers(1, 14))
    return [
        (
            draw(st.sampled_from("uv")),
            draw(st.integers(0, 1)),
            draw(st.integers(0, 1)),
            draw(st.lists(st.integers(0, i - 1), max_size=3)) if i else [],
        )
        for i in range(n)
    ]


def graph_of(shape: Shape, order: Callable[[Sequence[Step]], Sequence[Step]] = list) -> tuple[list[Step], Graph]:
    """All steps, and the graph whose goals are those that nobody reads."""
    steps: list[Step] = []
    for i, (kind, batch, env, inputs) in enumerate(shape):
        config = {"i": i, "batch": batch, "env": env}
        steps.append(Step(kind=kind, version=1, config=config, inputs=tuple(steps[j] for j in inputs)))
    read = {before.key for step in steps for before in step.inputs}
    goals = [step for step in steps if step.key not in read]
    kinds = {kind: Kind(nothing, batch=lambda step: step.config["batch"]) for kind in "uv"}
    graph = Graph(goals=tuple(order(goals)), kinds=kinds, env_of=lambda step: ENVS[step.config["env"]])
    return steps, graph


def naive_after(graph: Graph, key: str) -> set[str]:
    """Readers, and the readers of readers, written as a recursion."""
    readers = {other for other, step in graph.steps.items() if key in {before.key for before in step.inputs}}
    return readers.union(*(naive_after(graph, reader) for reader in readers))


@given(shapes())
@settings(max_examples=60, deadline=None)
def test_every_step_comes_once_and_after_its_inputs(shape: Shape) -> None:
    steps, graph = graph_of(shape)
    place = {key: i for i, key in enumerate(graph.steps)}
    assert set(place) == {step.key for step in steps}
    assert all(place[before.key] < place[step.key] for step in steps for before in step.inputs)


@given(shapes())
@settings(max_examples=60, deadline=None)
def test_groups_share_out_the_steps_and_come_after_those_that_they_read(shape: Shape) -> None:
    _, graph = graph_of(shape)
    place = {key: i for i, group in enumerate(graph.groups) for key in group}
    assert sorted(key for group in graph.groups for key in group) == sorted(graph.steps)
    assert all(place[before.key] < place[key] for key, step in graph.steps.items() for before in step.inputs)


@given(shapes())
@settings(max_examples=60, deadline=None)
def test_a_group_is_of_one_kind_one_batch_name_and_one_environment(shape: Shape) -> None:
    _, graph = graph_of(shape)
    for group in graph.groups:
        members = [graph.steps[key] for key in group]
        assert len({(one.kind, one.config["batch"], one.config["env"]) for one in members}) == 1


@given(shapes())
@settings(max_examples=40, deadline=None)
def test_groups_do_not_depend_on_the_order_of_the_goals(shape: Shape) -> None:
    _, graph = graph_of(shape)
    _, turned = graph_of(shape, lambda goals: list(reversed(goals)))
    assert {frozenset(group) for group in graph.groups} == {frozenset(group) for group in turned.groups}


@given(shapes(), st.data())
@settings(max_examples=60, deadline=None)
def test_what_comes_after_a_step_is_what_reads_it_directly_or_not(shape: Shape, data: st.DataObject) -> None:
    _, graph = graph_of(shape)
    key = data.draw(st.sampled_from(list(graph.steps)))
    assert graph.after([key]) == naive_after(graph, key)


@given(shapes(), st.sets(st.integers(0, 13)))
@settings(max_examples=60, deadline=None)
def test_missing_are_the_steps_on_a_way_from_a_goal_that_meets_nothing_there(shape: Shape, there: set[int]) -> None:
    steps, graph = graph_of(shape)
    kept = {step.key for i, step in enumerate(steps) if i in there}

    def needed(step: Step) -> set[str]:
        return set() if step.key in kept else {step.key}.union(*(needed(before) for before in step.inputs))

    expected = set[str]().union(*(needed(goal) for goal in graph.goals))
    assert graph.missing(kept.__contains__) == [key for key in graph.steps if key in expected]


def test_what_is_there_is_asked_for_once_however_many_read_it() -> None:
    root = Step(kind="u", version=1, config={})
    goals = tuple(Step(kind="u", version=1, config={"i": i}, inputs=(root,)) for i in range(5))
    asked: list[str] = []

    def is_there(key: str) -> bool:
        asked.append(key)
        return key == root.key

    Graph(goals=goals, kinds={"u": Kind(nothing)}, env_of=lambda step: None).missing(is_there)
    assert sorted(asked) == sorted({root.key, *(goal.key for goal in goals)})


def test_a_step_is_shown_by_the_label_of_its_kind_or_the_kind_itself() -> None:
    goals = (Step(kind="u", version=1, config={}), Step(kind="v", version=1, config={}))
    kinds = {"u": Kind(nothing, label="unites"), "v": Kind(nothing)}
    graph = Graph(goals=goals, kinds=kinds, env_of=lambda step: None)
    assert [graph.label(goal.key) for goal in goals] == ["unites", "v"]
