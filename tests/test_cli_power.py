"""`oversight power`: from a pilot in a store, and by assumption; what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAIR = ("--weak", "bow", "--strong", "bow")


@pytest.fixture(scope="module")
def pilots(
    tmp_path_factory: pytest.TempPathFactory, reviews_of: Callable[..., Any], write_lines: Callable[..., Path]
) -> Path:
    """A store with two studies on one task, by two methods, of three seeds, and one of a single seed on another."""
    from oversight.resolve import prepare
    from oversight.runs.store import DirectoryStore
    from oversight.studies.weak_to_strong import run_study

    place = tmp_path_factory.mktemp("pilots")
    data, other = (write_lines(place / f"{name}.jsonl", reviews_of(320, seed=i)) for i, name in enumerate("ab"))
    store = DirectoryStore(place / "kept")
    run_study(prepare(str(data), weak="bow", strong="bow", method=["naive", "hard"], seeds=3), store=store)
    run_study(prepare(str(other), weak="bow", strong="bow", seeds=1), store=store)
    return store.path


def test_a_pilot_is_the_basis(oversight: Callable[..., Any], pilots: Path) -> None:
    asked = ("power", "--from", str(pilots), "--task", "*a.jsonl", "--method", "naive", "--gap", "0.1")
    found = oversight(*asked, "--json").json
    lines = oversight(*asked).out.splitlines()
    assert lines == found["sentences"] and lines[0].startswith("Basis: the pilot ")
    assert "bow -> bow, naive" in lines[0] and "3 seeds, gap" in lines[0]
    assert found["seeds"] == 3 and found["gap"] == 0.1 and found["n_test"] > 50
    larger = oversight(*asked, "--n-test", "5000", "--seeds", "10", "--json").json
    assert larger["smallest_gap"] < found["smallest_gap"] and (larger["n_test"], larger["seeds"]) == (5000, 10)


def test_a_pilot_is_found_by_its_key_and_its_gap_is_planned_for(oversight: Callable[..., Any], pilots: Path) -> None:
    from oversight.runs.kept import all_kept

    key = next(one["keys"]["score"][0] for kept in all_kept(pilots)[0] for one in kept.studies if one["seeds"] == 3)
    found = oversight("power", key[:12], "--from", str(pilots), "--json").json
    study = oversight("report", key[:12], "-o", "-", "--format", "json", "--store", str(pilots)).json["studies"][0]
    assert found["gap"] == study["gap"]["value"] and key[:12] in found["basis"]


def test_several_pilots_are_named(oversight: Callable[..., Any], pilots: Path) -> None:
    said = oversight("power", "--from", str(pilots), "--task", "*a.jsonl")
    assert said.code == 2 and said.out == ""
    assert "found 2 finished studies, expected one" in said.err and "bow -> bow, hard" in said.err


def test_a_pilot_of_one_seed_says_nothing_of_seeds(oversight: Callable[..., Any], pilots: Path) -> None:
    asked = ("power", "--from", str(pilots), "--task", "*b.jsonl", "--gap", "0.1")
    said = oversight(*asked)
    assert said.code == 2 and "found one seed, which says nothing of the spread over seeds" in said.err
    found = oversight(*asked, "--seed-sd", "0.01", "--seeds", "5", "--json").json
    assert found["seeds"] == 5 and 0 < found["smallest_gap"] < 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--gap", "0.1", "--n-test", "500", "--task", "*a.jsonl"), "--task: found no --from beside it"),
        (("--gap", "0.1", "--n-test", "500", "--weak", "bow"), "--weak: found 'bow' without --from, expected an accur"),
        (("--gap", "0.7", "--n-test", "500"), "--gap: found 0.7"),
        (("--gap", "0.1", "--n-test", "500", "--group-share", "2"), "group_share: found 2"),
        (("--from", "nowhere"), "--from nowhere: found no such directory"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    oversight: Callable[..., Any], words: tuple[str, ...], expected: str
) -> None:
    said = oversight("power", *words)
    assert said.code == 2 and said.out == "" and said.err.startswith(f"oversight: {expected}")
    assert said.err.count("\n") == 1


def test_what_a_pilot_knows_is_not_asked(oversight: Callable[..., Any], pilots: Path) -> None:
    said = oversight("power", "--from", str(pilots), "--group-size", "4")
    assert said.code == 2 and "--group-size: found --from, which knows it," in said.err


def test_assumptions_are_said_and_every_one_counts(oversight: Callable[..., Any]) -> None:
    asked = ("power", "--gap", "0.1", "--n-test", "600", "--json")
    usual = oversight(*asked).json
    assert usual["basis"].startswith("by assumption") and "seed sd 0.015" in usual["basis"]
    for more in (("--weak", "0.8"), ("--seed-sd", "0.03"), ("--group-size", "5"), ("--pgr", "0.9"), ("--seeds", "9")):
        assert oversight(*asked, *more).json["pgr_width"] != usual["pgr_width"]
    clusters = (*asked, "--group-size", "5", "--group-share")
    assert oversight(*clusters, "1.0").json["smallest_gap"] > oversight(*clusters, "0.1").json["smallest_gap"]


def test_of_what_the_intervals_speak_is_chosen_and_said(oversight: Callable[..., Any], pilots: Path) -> None:
    asked = ("power", "--from", str(pilots), "--task", "*a.jsonl", "--method", "naive", "--gap", "0.1", "--json")
    new, these = oversight(*asked).json, oversight(*asked, "--covers", "these-rows").json
    assert new["smallest_gap"] > these["smallest_gap"]
    assert (new["covers"], these["covers"]) == ("pool, seeds and test rows", "seeds and test rows")
    assert new["sentences"][-1] == "Intervals cover pool, seeds and test rows."
    assert "unknown covers 'all'" in oversight(*asked, "--covers", "all").err
