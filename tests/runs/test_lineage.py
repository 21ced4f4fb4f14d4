"""Why two results differ, down to the cause; and who uses a result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oversight.errors import InputError, StepError
from oversight.runs.kept import Kept, keep
from oversight.runs.lineage import Difference, differences, fields_apart, shortened, users
from oversight.runs.steps import Step
from oversight.runs.store import DirectoryStore, Outcome
from oversight.sealed import RECORD

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", min_size=1, max_size=1), inner),
    max_leaves=8,
)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    """Empty."""
    return DirectoryStore(tmp_path / "store")


def done(store: DirectoryStore, step: Step) -> Step:
    """A step with all that it reads, in the store."""
    for before in step.inputs:
        done(store, before)
    about = {"kind": step.kind, "version": step.version, "config": step.config, "name": step.name}
    store.put(step.key, Outcome(), about={**about, "inputs": [before.key for before in step.inputs]})
    return step


def study(*, weak: str = "bow", seeds: int = 2, strong: str = "minilm", supervisors: int = 1, version: int = 1) -> Step:
    """A score over seeds: supervisors label, a student learns from them, the ceiling from the truth."""
    features = Step(kind="features", version=version, config={"model": strong})
    read: list[Step] = []
    for seed in range(seeds):
        labels = [
            Step(kind="supervise", version=1, config={"seed": seed, "supervisor": {"name": f"{weak}{i}", "l2": [1, 2]}})
            for i in range(supervisors)
        ]
        student = Step(kind="teach", version=1, config={"seed": seed}, inputs=(*labels, features))
        read += [*labels, student, Step(kind="ceiling", version=1, config={"seed": seed}, inputs=(features,))]
    return Step(kind="score", version=1, config={"metric": None}, inputs=tuple(read))


def lines(store: DirectoryStore, one: Step, other: Step) -> list[str]:
    return [str(difference) for difference in differences(store, done(store, one).key, done(store, other).key)]


def test_a_result_does_not_differ_from_itself(store: DirectoryStore) -> None:
    assert lines(store, study(), study()) == []


def test_another_supervisor_is_the_one_cause_of_all_that_follows(store: DirectoryStore) -> None:
    """Its labels, the students and the score all have other keys; the ceilings have not."""
    assert lines(store, study(), study(weak="minilm@0")) == [
        "supervise (2 steps): config.supervisor.name: bow0 | minilm@00"
    ]


def test_a_cause_far_down_is_found_once_though_many_read_it(store: DirectoryStore) -> None:
    assert lines(store, study(), study(strong="mpnet")) == ["features: config.model: minilm | mpnet"]
    assert lines(store, study(), study(version=2)) == ["features: version: 1 | 2"]


def test_several_causes_are_all_named(store: DirectoryStore) -> None:
    found = lines(store, study(), study(weak="x", version=3))
    assert sorted(found) == ["features: version: 1 | 3", "supervise (2 steps): config.supervisor.name: bow0 | x0"]


def test_more_seeds_are_more_inputs(store: DirectoryStore) -> None:
    assert lines(store, study(), study(seeds=3)) == [
        "score: inputs: 2 supervise, 2 teach, 2 ceiling | 3 supervise, 3 teach, 3 ceiling"
    ]


def test_another_supervisor_beside_the_first_is_an_input_of_students_and_score(store: DirectoryStore) -> None:
    found = lines(store, study(seeds=1), study(seeds=1, supervisors=2))
    assert found == [
        "teach: inputs: 1 supervise, 1 features | 2 supervise, 1 features",
        "score: inputs: 1 supervise, 1 teach, 1 ceiling | 2 supervise, 1 teach, 1 ceiling",
    ]


def test_results_of_different_kinds_are_not_compared_further(store: DirectoryStore) -> None:
    one, other = done(store, study()), done(store, study(weak="x")).inputs[0]
    [found] = differences(store, one.key, other.key)
    assert (found.field, found.one, found.other) == ("kind", "score", "supervise")


def test_an_input_that_is_no_longer_there_is_named(store: DirectoryStore) -> None:
    one, other = done(store, study(seeds=1)), done(store, study(seeds=1, weak="x"))
    store.forget(other.inputs[0].key, "test")
    [found] = [found for found in differences(store, one.key, other.key) if found.field == "result"]
    assert (found.kind, found.one, found.other, found.keys[1]) == (
        "supervise",
        "there",
        "absent",
        other.inputs[0].key,
    )


def test_the_beginning_of_a_key_is_enough_and_a_wrong_one_is_refused(store: DirectoryStore) -> None:
    one, other = done(store, study()).key, done(store, study(version=2)).key
    assert differences(store, one[:10], other[:10]) == differences(store, one, other)
    with pytest.raises(InputError, match="found 0 results"):
        differences(store, one, "0" * 64)
    (store.folder(other) / RECORD).write_text("{")
    with pytest.raises(StepError, match="is damaged"):
        differences(store, one, other)


# Values


@given(JSON, JSON)
def test_nothing_differs_exactly_where_values_are_equal(one: Any, other: Any) -> None:
    import json

    alike = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (list(fields_apart("c", one, other)) == []) == alike


@given(JSON, JSON)
def test_both_values_stand_where_the_path_says(one: Any, other: Any) -> None:
    def at(value: Any, path: str) -> Any:
        for part in path.removeprefix("c").replace("[", ".[").split(".")[1:]:
            value = value[int(part[1:-1])] if part.startswith("[") else value.get(part, "absent")
        return value

    for path, a, b in fields_apart("c", one, other):
        assert at(one, path) == a and at(other, path) == b


@pytest.mark.parametrize(
    ("value", "shown"), [("", "''"), (1, "1"), ("a\nb", "a b"), ("x" * 61, "x" * 59 + "…"), (None, "None")]
)
def test_a_value_is_shown_in_one_short_line(value: Any, shown: str) -> None:
    assert shortened(value) == shown


def test_a_difference_says_how_many_steps_share_it() -> None:
    found = Difference(kind="teach", name="", field="version", one=1, other=2, keys=("a", "b"), steps=5)
    assert str(found) == "teach (5 steps): version: 1 | 2"
    assert asdict(found)["keys"] == ("a", "b")


# Users


def test_the_users_of_a_result_are_those_made_from_it_and_studies_that_need_it(
    store: DirectoryStore, put_result: Callable[..., str], key_of: Callable[[str], str]
) -> None:
    put_result(store, "model", kind="model")
    put_result(store, "features", kind="features")
    student = put_result(store, "student", inputs=["features"], models=["model"])
    put_result(store, "ceiling", inputs=["features"], kind="ceiling")
    kept = Kept(title="study", goals=(student,), steps=(student, key_of("features")))
    keep(store.path, kept)
    found = users(store, key_of("features"))
    assert {(one["kind"], one["name"]) for one in found.results} == {
        ("teach", "the step student"),
        ("ceiling", "the step ceiling"),
    }
    assert found.studies == ({"name": kept.name, "title": "study"},)
    assert [one["key"] for one in users(store, key_of("model")).results] == [student]
    assert users(store, student).results == () and len(users(store, student).studies) == 1
