"""`oversight budget` as a user meets it: the table, JSON, a report, what is refused, and asking again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oversight.runs.store import DirectoryStore

Call = Callable[..., Any]
BASE = ("data.jsonl", "--weak", "bow", "--strong", "./tiny", "--seeds", "2")
GRID = ("--true", "0,16,all", "--weak-labels", "0,30,all", "--mix", "pooled,weighted")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, save_tiny: Callable[..., Path]) -> Path:
    """An encoder of two blocks."""
    return save_tiny(tmp_path_factory.mktemp("network") / "tiny", "bert")


@pytest.fixture
def planted(place: Path, network: Path, planted_rows: Call, write_lines: Call) -> Path:
    """300 rows beside a tiny network."""
    shutil.copytree(network, place / "tiny")
    return write_lines(place / "data.jsonl", planted_rows(300))


def cells(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in found["cells"]}


def test_every_mixture_has_a_score_a_cost_and_a_place(oversight: Call, planted: Path) -> None:
    said = oversight("budget", *BASE, *GRID, "--json")
    assert said.code == 0, said.err
    found, by_name = said.json, cells(said.json)
    mixed = [f"16 true + {m} weak, {way}" for m in (30, "all") for way in ("pooled", "weighted")]
    assert set(by_name) == {"all weak", "30 weak", "16 true", "all true", *mixed}
    assert by_name["16 true + 30 weak, pooled"]["cost"] == 16 * 10 + 30
    assert by_name["all weak"]["over_weak"] is None and by_name["all true"]["over_weak"]["low"] is not None
    assert by_name[mixed[0]]["over_true"]["value"] == pytest.approx(
        by_name[mixed[0]]["student"]["value"] - by_name["16 true"]["student"]["value"]
    )
    assert found["frontier"]["cells"] == [one["name"] for one in found["cells"] if one["on_frontier"]]
    assert found["frontier"]["shown"][0] == found["frontier"]["cells"][0]
    assert [one["what"].split()[0] for one in found["unpriced"]] == ["true", "weak"]
    assert found["task"] == "data" and found["prices"] == {"true": 10.0, "weak": 1.0}
    n_shown = sum(one[name] is not None for one in found["cells"] for name in ("over_weak", "over_true"))
    assert (
        f"simultaneous over all {n_shown} that are shown" in found["correction"] and "28 pairs" in found["correction"]
    )


def test_the_naive_cell_is_the_study_of_w2s(oversight: Call, planted: Path) -> None:
    study = oversight("w2s", *BASE, "--json").json
    found = oversight("budget", *BASE, "--true", "0,16", "--weak-labels", "all", "--json").json
    assert cells(found)["all weak"]["key"] == study["keys"]["score"][0]
    assert cells(found)["all weak"]["student"] == study["student"]["accuracy"]
    assert found["ceiling"] == study["ceiling"]["accuracy"]


def test_other_prices_compute_nothing(oversight: Call, planted: Path, published: Call) -> None:
    first = oversight("budget", *BASE, *GRID, "--json").json
    before = published()
    said = oversight("budget", *BASE, *GRID, "--cost-true", "3", "--cost-weak", "0", "--json")
    assert said.code == 0 and published() == before
    one, other = cells(first)["16 true + 30 weak, pooled"], cells(said.json)["16 true + 30 weak, pooled"]
    assert other["cost"] == 48 and other["student"] == one["student"] and other["key"] == one["key"]


def test_two_workers_give_the_same_curve(oversight: Call, planted: Path) -> None:
    words = ("budget", *BASE, *GRID, "--buy", "groups", "--json")
    alone = oversight(*words).json
    together = oversight(*words, "--workers", "2", "--store", "other").json
    assert alone.pop("about") != together.pop("about")
    assert alone == together


@pytest.mark.parametrize("ending", [".md", ".json", ".html"])
def test_a_curve_can_be_written_to_a_file(oversight: Call, planted: Path, place: Path, ending: str) -> None:
    words = ("budget", *BASE, "--true", "0,16", "--weak-labels", "0,all", "--cost-weak", "0")
    said = oversight(*words, "--report", f"curve{ending}")
    assert said.code == 0, said.err
    text = (place / f"curve{ending}").read_text()
    for words_ in ("16 true + all weak, weighted", "Bonferroni", "on which the supervisor was trained"):
        assert words_ in text and words_.split()[0] in said.out
    if ending == ".json":
        json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} in JSON"))
    if ending == ".html":
        assert "<script" not in text and "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")
        assert "<svg" in text and "frontier, shown" in text


def test_a_dry_run_counts_and_computes_nothing(oversight: Call, planted: Path, place: Path, tree: Call) -> None:
    before = tree()
    said = oversight("budget", *BASE, *GRID, "--dry-run", "--json")
    assert said.code == 0, said.err
    assert tree() == before
    assert said.json["studies"] == 8 == len(said.json["cells"])
    assert said.json["cells"]["16 true"] == 160
    teach = next(one for one in said.json["kinds"] if one["kind"] == "teach")
    assert teach["steps"] == teach["to_do"] == 16
    assert "cell: 16 true: 160" in oversight("budget", *BASE, *GRID, "--dry-run").out


def test_a_fine_tuned_student_learns_from_every_cell_that_fills_a_batch(oversight: Call, planted: Path) -> None:
    words = (*BASE, "--train", "full", "--set", "epochs=1", "--true", "16,40", "--weak-labels", "0,30")
    said = oversight("budget", *words, "--mix", "weighted", "--weight", "4", "--json")
    assert said.code == 0, said.err
    assert list(said.json["left_out"]) == ["16 true"] and "batch_size 32" in said.json["left_out"]["16 true"]
    mixed = ["16 true + 30 weak, weighted", "40 true + 30 weak, weighted"]
    assert set(cells(said.json)) == {"all weak", "40 true", *mixed}


def test_gc_keeps_a_budget(oversight: Call, planted: Path, place: Path) -> None:
    oversight("budget", *BASE, "--true", "0,16", "--weak-labels", "0,all")
    before = len(list(DirectoryStore(place / "oversight-store").keys()))
    assert oversight("gc", "--delete").code == 0
    assert len(list(DirectoryStore(place / "oversight-store").keys())) == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--true", "0,many"), "--true: found '0,many', expected auto, or numbers such as 0,16,64,all, each once"),
        (("--true", "0,16,16"), "each once"),
        (("--true", "-3"), "--true: found '-3'"),
        (("--true", "9999"), "--true: found 9999, expected at most the"),
        (("--weak-labels", "9999"), "--weak-labels: found 9999, expected at most the"),
        (("--true", "0", "--weak-labels", "0"), "no mixture can be run"),
        (("--mix", "stirred"), "--mix: found stirred, expected pooled, weighted"),
        (("--mix", "pooled,pooled"), "each once"),
        (("--weight", "0"), "--weight: found 0, expected numbers above 0"),
        (("--weight", "much"), "--weight: found 'much'"),
        (("--cost-true", "-1"), "--cost-true: found -1, expected a number of at least 0"),
        (("--cost-weak", "nan"), "--cost-weak: found nan"),
        (("--buy", "pairs"), "--buy: found pairs, expected rows or groups"),
        (("--metric", "auroc"), "auroc"),
        (("--report", "curve.txt"), "expected a name that ends in .html, .md or .json"),
        (("--train", "full"), "--mix weighted: to choose among 3 weights tiny would be fine-tuned 10 times"),
        (("--mix", "sequential"), "--mix: found sequential, expected pooled, weighted"),
        (("--set", "confidence.aux_weight=1"), "--set confidence"),
        (("--seeds", "0"), "seeds"),
        (("--workers", "0"), "--workers: found 0"),
    ],
)
def test_a_bad_word_is_refused_in_one_line(refused: Call, planted: Path, words: tuple[str, ...], says: str) -> None:
    assert says in refused("budget", *BASE, *words)


def test_several_supervisors_are_refused(refused: Call, planted: Path) -> None:
    words = ("data.jsonl", "--weak", "bow+./tiny@0", "--strong", "./tiny", "--seeds", "2")
    assert "needs 1 supervisor, found 2" in refused("budget", *words)


def test_a_cell_that_fails_is_named_and_the_others_are_there(oversight: Call, planted: Path) -> None:
    """A bag of words cannot learn from a single row: no word stands in two texts."""
    words = ("data.jsonl", "--weak", "bow", "--strong", "bow", "--seeds", "2")
    said = oversight("budget", *words, "--true", "1,16", "--weak-labels", "0,all", "--mix", "pooled", "--json")
    assert said.code == 1
    assert "bow" in said.json["unfinished"]["1 true"]
    assert set(cells(said.json)) == {"all weak", "16 true", "1 true + all weak, pooled", "16 true + all weak, pooled"}


def test_in_python_a_curve_can_be_read(planted: Path) -> None:
    from oversight.resolve.budgeting import budget
    from oversight.studies.budget import Mixing

    curve = budget(
        "data.jsonl",
        weak="bow",
        strong="./tiny",
        true=[0, 16],
        weak_labels=[0, "all"],
        mixing=Mixing(ways=("pooled",)),
        seeds=2,
        store=":memory:",
    )
    assert curve.cell("16 true + all weak, pooled").cost > curve.cell("16 true").cost
    assert "What labels buy" in str(curve)
    with pytest.raises(KeyError):
        curve.cell("nothing")
