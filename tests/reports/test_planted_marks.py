"""A planted supervisor is marked `(planted)` wherever its name is read, and `planted` where it is parsed."""

from __future__ import annotations

import csv
import io
from typing import Any
from xml.etree import ElementTree

import pytest
from reading_pages import Page
from synthetic_boards import board
from synthetic_results import one, study

from oversight.metrics.intervals import Estimate
from oversight.reports import leaderboard_html, leaderboard_tables
from oversight.reports.budget import BudgetCurve, Prices
from oversight.reports.figures import as_svg
from oversight.reports.html import as_page
from oversight.reports.result import Result
from oversight.reports.tables import as_csv, as_markdown, as_text
from oversight.reports.words import PLANTED, PLANTED_NOTE, short, supervisor

FLIPPED: dict[str, Any] = {"weak_model": "flipped:0.3", "weak_train": "planted", "planted": True}
SAID = f"flipped:0.3 {PLANTED}"


def both() -> Result:
    return Result(studies=(study(), study(**FLIPPED)))


@pytest.mark.parametrize("width", [40, 80, 200])
def test_in_the_terminal(width: int) -> None:
    text = as_text(both(), width=width)
    assert f"{SAID} -> minilm@4" in text and "bow -> minilm@4" in text
    assert " ".join(PLANTED_NOTE.split()[:3]) in text
    assert PLANTED not in as_text(one(), width=width)


def test_in_markdown() -> None:
    text = as_markdown(both())
    assert f"| {SAID} -> minilm@4" in text and "| bow -> minilm@4" in text
    assert f"- **planted**: {PLANTED_NOTE}\n" in text
    assert PLANTED not in as_markdown(one())


@pytest.mark.parametrize("result", [both(), one(**FLIPPED)], ids=["several", "one"])
def test_in_the_page_everywhere_and_once(result: Result) -> None:
    words = Page(as_page(result)).text
    assert f"{SAID} → minilm@4" in words and f"taught by {SAID} with naive" in words and PLANTED_NOTE in words
    assert words.count("flipped:0.3") == words.count(SAID)
    assert f"{PLANTED} {PLANTED}" not in words and PLANTED not in Page(as_page(one())).text


@pytest.mark.parametrize("result", [both(), one(**FLIPPED)], ids=["several", "one"])
def test_in_figures(result: Result) -> None:
    drawn = [text.text or "" for one in as_svg(result) for text in ElementTree.fromstring(one.svg).iter("text")]
    assert any(SAID in text for text in drawn)


def test_in_csv_and_json() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(both()))))
    assert [(row["weak_model"], row["planted"]) for row in rows] == [("bow", "false"), ("flipped:0.3", "true")]
    found = both().as_json()["studies"]
    assert [(one["weak_model"], one["planted"]) for one in found] == [("bow", False), ("flipped:0.3", True)]


def test_on_the_leaderboard() -> None:
    planted, honest = board(weak_model="flipped:0.3", weak_train="planted"), board()
    for text in (str(planted), leaderboard_tables.as_markdown(planted), Page(leaderboard_html.as_page(planted)).text):
        assert SAID in text and "wrong where we put it" in " ".join(text.split())
    for text in (str(honest), Page(leaderboard_html.as_page(honest)).text):
        assert PLANTED not in text
    assert (planted.as_json()["planted"], honest.as_json()["planted"]) == (True, False)


def test_on_a_budget_curve() -> None:
    number = Estimate(0.7, 0.6, 0.8, 100, 100, 5, None, "seeds and test rows")
    counts: dict[str, Any] = {"n_test": 100, "n_groups": 100, "seeds": 5, "n_transfer": 90.0}
    names: dict[str, Any] = {"task": "rows", "strong_model": "bow", "train": "bow", "metric": "accuracy"}
    numbers = dict.fromkeys(("weak", "ceiling", "gap"), number)
    rest: dict[str, Any] = {"prices": Prices(true=10, weak=1), "left_out": {}, "unfinished": {}, "correction": "95 %"}
    rest |= dict.fromkeys(("cells", "steps", "unpriced", "warnings"), ())
    shown = {"weak_model": "flipped:0.3", "weak_train": "planted"}
    curve = BudgetCurve(**names, **counts, **numbers, **rest, **shown)
    text = " ".join(str(curve).split())
    assert f"{SAID} -> bow" in text and PLANTED_NOTE in text and curve.as_json()["planted"] is True


@pytest.mark.parametrize(
    ("model", "how", "expected"),
    [
        ("bow", "bow", "bow"),
        ("flipped:0.3", "planted", SAID),
        ("bow+flipped:0.3", "bow+planted", f"bow+{SAID}"),
        ("planted:longest like bow", "planted", f"planted:longest like bow {PLANTED}"),
        ("64 true", "bought", "64 true"),
    ],
)
def test_the_mark_follows_from_how_supervisors_were_trained(model: str, how: str, expected: str) -> None:
    assert supervisor(model, how) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (SAID, SAID),
        (f"bow+minilm@0+flipped:0.3 {PLANTED}", f"bow+minilm@0+… {PLANTED}"),
        (f"planted:confident:0.3 {PLANTED}", "planted:confident:0.3"),
        ("x" * 30, "x" * 23 + "…"),
    ],
)
def test_a_name_in_a_figure_keeps_its_mark_or_says_it(name: str, expected: str) -> None:
    assert short(name, 24) == expected
