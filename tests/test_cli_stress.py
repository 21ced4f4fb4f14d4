"""`oversight stress` as a user meets it: the table, JSON, a second run, what is refused, and what must hold."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oversight.studies import stress as reading
from oversight.studies.planted import CHECKS
from oversight.supervision.corruption import STRUCTURES

Call = Callable[..., Any]
BASE = ("--weak", "./tiny@0", "--strong", "bow", "--seeds", "2")
COPYING = ("--weak", "bow", "--strong", "./tiny", "--seeds", "2", "--checks", "simulable", "--methods", "naive")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, save_tiny: Callable[..., Path]) -> Path:
    """An encoder of two blocks."""
    return save_tiny(tmp_path_factory.mktemp("network") / "tiny", "bert")


@pytest.fixture
def rows(place: Path, network: Path, planted_rows: Call, write_lines: Call) -> str:
    """400 rows beside a tiny network."""
    shutil.copytree(network, place / "tiny")
    write_lines(place / "rows.jsonl", planted_rows(400))
    return "rows.jsonl"


def test_the_suite_is_run_once_and_read_again(oversight: Call, rows: str, published: Call, place: Path) -> None:
    said = oversight("stress", rows, *BASE, "--methods", "hard", "--report", "all.csv", "--json")
    assert said.code == 0, said.err
    found = said.json
    assert "bow has no features" in found["left_out"]["simulable"]
    assert {one["check"] for one in found["claims"]} == {"errors", "imitation", "leak"}
    assert {one["method"] for one in found["studies"]} == {"naive", "hard"}
    errors = [one for one in found["studies"] if one["check"] == "errors"]
    assert [one["case"] for one in errors] == [name for name in STRUCTURES for _ in range(2)]
    assert len({one["weak"]["accuracy"]["value"] for one in errors}) == 1
    same = next(one for one in found["claims"] if one["planted"] == "all six" and one["seen"] is None)
    assert (same["verdict"], same["must"]) == ("pass", True)
    warned = [one for one in found["claims"] if one["expected"] == "a warning says so"]
    assert [one["verdict"] for one in warned] == ["pass", "pass"]
    lines = (place / "all.csv").read_text().splitlines()
    assert len(lines) == 1 + len(found["studies"]) and "planted:longest like tiny@0" in "".join(lines)
    before = published()
    again = oversight("stress", rows, *BASE, "--methods", "hard")
    assert again.code == 0 and published() == before and "0 steps computed" in again.err
    for name in (*CHECKS, *STRUCTURES, "must be seen", "not applicable"):
        assert name in again.out


def test_methods_by_default_are_those_that_apply(oversight: Call, refused: Call, rows: str) -> None:
    """A bag of words takes no loss: `confidence` is left out with a line, and refused where it is asked for."""
    asked = ("stress", rows, *BASE, "--checks", "leak")
    said = oversight(*asked, "--dry-run", "--json")
    assert said.json["studies"] == 2 and "cross-entropy only" in said.json["methods_left_out"]["confidence"]
    assert "not applicable: confidence: bow: can be trained by cross-entropy only" in oversight(*asked, "--dry-run").out
    assert "method confidence not applicable: bow" in oversight(*asked).out
    assert "cross-entropy only" in refused("stress", rows, *BASE, "--checks", "errors", "--methods", "confidence")
    both = oversight("stress", rows, *COPYING[:-2], "--dry-run", "--json").json
    assert both["studies"] == 8 and both["methods_left_out"] == {}


def test_a_report_begins_with_the_claims(oversight: Call, rows: str, place: Path) -> None:
    asked = ("stress", rows, *BASE, "--checks", "simulable,leak", "--methods", "naive")
    found = oversight(*asked, "--report", "all.json", "--json").json
    assert json.loads((place / "all.json").read_text())["claims"] == found["claims"]
    for name, studies in (("all.html", "<h2>The studies</h2>"), ("all.md", "## The studies")):
        assert oversight(*asked, "--report", name).code == 0
        text = (place / name).read_text()
        top, _, rest = text.partition(studies)
        assert rest and "simulable is not applicable: the student bow has no features" in top
        for claim in found["claims"]:
            assert claim["expected"].replace(">", "&gt;") in top and claim["verdict"] in top
        assert f"{found['counts']['pass']} pass" in top and "planted leak: a format" in rest
    seen = next(one for one in found["claims"] if one["seen"])["seen"]["value"]
    assert f"{seen:.3f}".removeprefix("0") in (place / "all.md").read_text().partition("## The studies")[0]


def test_a_dry_run_counts_and_writes_nothing(oversight: Call, rows: str, tree: Call) -> None:
    before = tree()
    said = oversight("stress", rows, *COPYING, "--dry-run", "--json")
    assert said.code == 0 and said.json["studies"] == 4 and said.json["done"] == 0
    assert "4 studies on rows.jsonl" in oversight("stress", rows, *COPYING, "--dry-run").out
    assert tree() == before


def test_what_must_hold_and_is_contradicted_is_exit_code_1(
    oversight: Call, rows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = oversight("stress", rows, *COPYING, "--json")
    assert said.code == 0 and not said.json["broken"], said.err
    monkeypatch.setattr(reading, "NEAR_SCORE", -9.0)
    monkeypatch.setattr(reading, "NEAR", -9.0)
    said = oversight("stress", rows, *COPYING)
    assert said.code == 1 and "FAIL" in said.out and "what must hold is contradicted" in said.out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--checks", "leek"), "leak"),
        (("--methods", "confidenc"), "confidence"),
        (("--weak", "bow+./tiny"), "found the supervisors bow+tiny, expected one"),
        (("--weak", "none"), "none"),
        (("--metric", "speed"), "speed"),
        (("--seeds", "0"), "--seeds"),
        (("--workers", "0"), "--workers"),
        (("--report", "x.doc"), "x.doc"),
        (("--checks", "simulable", "--strong", "bow"), "no check applies: simulable"),
        (("--group", "nothing"), "nothing"),
    ],
)
def test_bad_input_is_one_line(refused: Call, rows: str, words: tuple[str, ...], line: str) -> None:
    assert line in refused("stress", rows, "--weak", "bow", "--strong", "./tiny", "--seeds", "2", *words)


@pytest.mark.slow
def test_workers_give_the_same(oversight: Call, rows: str) -> None:
    alone = oversight("stress", rows, *COPYING, "--store", "one", "--json")
    shared = oversight("stress", rows, *COPYING, "--store", "two", "--workers", "2", "--json")
    assert shared.code == 0, shared.err
    assert shared.json["claims"] == alone.json["claims"]


def test_in_python_it_is_the_same(rows: str, oversight: Call) -> None:
    from oversight.resolve.stress import stress

    said = oversight("stress", rows, *COPYING, "--json")
    found = stress(
        rows, weak="bow", strong="./tiny", methods="naive", checks="simulable", seeds=2, store="oversight-store"
    )
    assert found.as_json()["claims"] == said.json["claims"] and "simulable: " in str(found)
