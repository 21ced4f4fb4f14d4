"""Leaderboards in words, tables and files: verdicts as far as intervals go, ties, and formats that stay valid."""

from __future__ import annotations

import errno
import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic_boards import all_boards, board, no_interval, reference, standing, task
from synthetic_results import HOSTILE, estimate

from oversight.errors import InputError, StepError
from oversight.reports.leaderboard import Leaderboard
from oversight.reports.leaderboard_exports import check_place, write
from oversight.reports.leaderboard_tables import as_markdown, as_text, compact, notes, sheets, spanned
from oversight.reports.leaderboard_words import (
    conclusion,
    gain_interval,
    gain_shown,
    median_of,
    p_of,
    places,
    plus,
    qualifications,
    seconds_of,
)

BOARDS = all_boards()
TASKS = (task("apples"), task("pears"))


@pytest.fixture(params=list(BOARDS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def of(**gains: float) -> Leaderboard:
    """Methods with these gains, each with half a width of .02."""
    return board((reference(TASKS), *(standing(method, gain, TASKS) for method, gain in gains.items())), TASKS)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.001, 0.03, "better"),
        (-0.03, -0.001, "worse"),
        (-0.001, 0.03, "not told apart"),
        (0.0, 0.03, "not told apart"),
        (-0.03, 0.0, "not told apart"),
        (0.0, 0.0, "not told apart"),
        (math.nan, math.nan, "not told apart"),
    ],
)
def test_a_verdict_needs_an_interval_beyond_zero(low: float, high: float, verdict: str) -> None:
    one = standing("hard", 0.02, TASKS)
    assert replace(one, gain=replace(one.gain, low=low, high=high)).verdict == verdict


def test_a_verdict_is_that_of_the_simultaneous_interval_and_not_of_the_own_one() -> None:
    one = replace(standing("hard", 0.015, TASKS), gain=estimate(0.015, 0.02), alone=estimate(0.015, 0.01))
    assert one.alone.low > 0 and one.verdict == "not told apart"


SCOPE = "On 2 tasks, with 5 seeds and 1,624 test rows, "


@pytest.mark.parametrize(
    ("gains", "says"),
    [
        ({}, "nothing is ranked beside naive."),
        ({"a": 0.01}, "a is not told apart from naive."),
        ({"a": 0.03}, "a is shown to be better than naive."),
        ({"a": -0.03}, "a is shown to be worse than naive."),
        ({"a": 0.01, "b": -0.01}, "none of 2 methods is shown to be better or worse than naive."),
        (
            {"a": 0.03, "b": 0.01, "c": 0.0},
            "1 of 3 methods is shown to be better than naive (a) and none worse; 2 are not told apart from it.",
        ),
        ({"a": 0.05, "b": 0.04}, "2 of 2 methods are shown to be better than naive (a, b) and none worse."),
        (
            {"a": 0.05, "b": 0.01, "c": -0.03, "d": -0.05},
            "1 of 4 methods is shown to be better than naive (a) and 2 worse (c, d); 1 is not told apart from it.",
        ),
        (
            {"a": 0.01, "b": -0.03},
            "none of 2 methods is shown to be better than naive and 1 (b) to be worse; 1 is not told apart from it.",
        ),
    ],
)
def test_the_conclusion_counts_what_intervals_show(gains: dict[str, float], says: str) -> None:
    assert conclusion(of(**gains)) == SCOPE + says


def test_the_conclusion_names_few_methods_and_counts_many() -> None:
    assert "(m0, m1, m2, m3, m4, m5)" in conclusion(of(**{f"m{i}": 0.05 for i in range(6)}))
    assert "better than naive and none worse" in conclusion(of(**{f"m{i}": 0.05 for i in range(7)}))


def test_the_conclusion_names_families_only_where_tasks_share_one() -> None:
    assert conclusion(BOARDS["three verdicts"]).startswith(
        "On 3 tasks of 2 families, with 5 seeds and 2,436 test rows,"
    )
    assert conclusion(BOARDS["hostile"]).startswith("On 2 tasks of 1 family,")
    assert conclusion(BOARDS["ties"]).startswith("On 1 task, with")


def test_an_oracle_counts_in_no_conclusion() -> None:
    own = BOARDS["oracle"]
    assert own.standing("oracle_early_stopping").verdict == "better"
    assert conclusion(own).endswith("hard is shown to be better than naive.")
    assert "Not counted, as it saw ground truth: oracle_early_stopping." in qualifications(own)


def test_without_intervals_nothing_is_told_apart_and_the_reason_is_told() -> None:
    reason = "some tasks have one seed and some have several"
    none = no_interval(0.05, reason)
    own = board((reference(TASKS), replace(standing("a", 0.05, TASKS), gain=none)), TASKS)
    assert conclusion(own).endswith(f"nothing is told apart from naive, as there are no intervals: {reason}.")
    assert not [one for one in qualifications(own) if "reach" in one]


def test_what_limits_a_conclusion_stands_beside_it() -> None:
    assert "One seed: the intervals speak of these trained models only, not of the methods." in qualifications(
        BOARDS["one seed"]
    )
    assert "The ceiling is not shown to be above the supervisor on 1 of 3 tasks (apples_cf)." in qualifications(
        BOARDS["three verdicts"]
    )
    (reach,) = [one for one in qualifications(BOARDS["ties"]) if "reach" in one]
    assert "reach 0.020 to either side" in reach
    wide = board((reference(TASKS), standing("a", 0.0, TASKS), standing("b", 0.0, TASKS, half=0.05)), TASKS)
    assert "reach 0.020 to 0.050 (by method) to either side" in qualifications(wide)[0]


def test_only_a_better_method_is_called_better_but_exploratory() -> None:
    marked = [replace(one, exploratory="by hand") for one in of(a=0.05, b=0.0, c=-0.05).standings[1:]]
    own = board((reference(TASKS), *marked), TASKS)
    (found,) = [one for one in qualifications(own) if "exploratory" in one]
    assert found.endswith(": a.")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.012, "+0.012"),
        (-0.012, "-0.012"),
        (0.0, "0.000"),
        (-0.0, "0.000"),
        (0.0001, "0.000"),
        (-0.0001, "0.000"),
        (10.5, "+10.500"),
        (math.nan, "undefined"),
        (math.inf, "undefined"),
    ],
)
def test_a_sign_stands_where_something_is_left_of_the_number(value: float, expected: str) -> None:
    assert plus(value) == expected


def test_a_bound_beyond_zero_never_reads_as_zero() -> None:
    one = estimate(0.0103, 0.0102)
    assert gain_shown(one) == "+0.0103 [+0.0001, +0.0205]"
    assert spanned(one) == "+.0103 [+.0001, +.0205]"
    assert gain_interval(no_interval(0.01)) == "[no interval]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("+0.012", "+.012"), ("-10.500", "-10.500"), ("+0.1 [-0.3, +0.2]", "+.1 [-.3, +.2]"), ("20.01", "20.01")],
)
def test_only_zeros_before_a_point_are_left_out(text: str, expected: str) -> None:
    assert compact(text) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(None, ""), (0.0, "0"), (0.0123, "0.012"), (0.23, "0.23"), (1.26, "1.3"), (12.3, "12"), (1234.5, "1234")],
)
def test_seconds_have_two_digits_and_no_powers(seconds: float | None, expected: str) -> None:
    assert seconds_of(seconds) == expected


def test_small_words() -> None:
    assert [places(one) for one in (None, (1, 1), (2, 5))] == ["-", "1", "2-5"]
    assert [p_of(one) for one in (None, 0.0, 0.00049, 0.0005, 0.031, 1.0)] == [
        "",
        "< 0.001",
        "< 0.001",
        "0.001",
        "0.031",
        "1.000",
    ]
    own = BOARDS["three verdicts"]
    assert median_of(own, own.standings[0]) == "0.31 (2 of 3)"
    assert median_of(BOARDS["undefined"], BOARDS["undefined"].standings[0]) == "undefined (0 of 1)"


def rows_of(text: str) -> list[list[str]]:
    """Tables of Markdown as cells, escaped characters read back."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    return [
        [re.sub(r"\\(.)", r"\1", cell.strip()).replace("&lt;", "<").replace("&amp;", "&") for cell in row]
        for row in cells
    ]


def test_markdown_says_what_the_sheets_say_whatever_the_names(name: str) -> None:
    found = rows_of(as_markdown(BOARDS[name]))
    expected: list[list[str]] = []
    for sheet in sheets(BOARDS[name]):
        expected += [list(sheet.head), ["---"] * len(sheet.head), *map(list, sheet.rows)]
    assert found == [[" ".join(cell.split()) for cell in row] for row in expected]
    assert "<script" not in as_markdown(BOARDS[name])


def test_every_row_has_as_many_cells_as_its_head(name: str) -> None:
    for sheet in sheets(BOARDS[name]):
        assert {len(row) for row in sheet.rows} <= {len(sheet.head)}


def test_the_conclusion_opens_every_text() -> None:
    own = BOARDS["three verdicts"]
    assert " ".join(as_text(own).split()).startswith(conclusion(own))
    assert as_markdown(own).startswith(f"**{conclusion(own)}**")
    assert str(own) == as_text(own)


def test_ties_look_like_ties() -> None:
    (main, *_) = sheets(BOARDS["ties"])
    at = {name: i for i, name in enumerate(main.head)}
    assert {row[at["rank"]] for row in main.rows} == {"1-4"}
    assert {row[at["verdict"]] for row in main.rows[1:]} == {"not told apart"}
    assert main.rows[0][at["gain over naive"]] == "reference"


def test_names_are_no_markup_of_the_terminal() -> None:
    name = "[red]fast[/red] [link=x]"
    tasks = (task(name),)
    text = as_text(board((reference(tasks), standing("[b]hard[/b]", 0.01, tasks)), tasks, baselines=()))
    assert "[b]hard[/b]" in text and "[red]" in text
    assert "\x1b" not in as_text(board((reference(tasks), standing("a\x1b[31mb", 0.01, tasks)), tasks, baselines=()))


def test_notes_name_what_is_missing_and_why() -> None:
    told = " ".join(notes(BOARDS["unfinished"]))
    for part in ("not finished: own: apples: RuntimeError: never", "not applicable: mean: needs 2", "only that can be"):
        assert part in told
    assert not [line for one in BOARDS.values() for line in notes(one) if "\n" in line]


def test_stars_of_single_tasks_are_by_their_own_intervals() -> None:
    by_task = sheets(BOARDS["three verdicts"])[-1]
    assert by_task.rows[0] == ("confidence", "+.051*", "-.004", "+.047*")
    assert "not corrected" in by_task.title
    assert sheets(BOARDS["undefined"])[-1].rows[0][1] == "?"


def plain(text: str) -> Any:
    """JSON by the standard: no NaN, no Infinity."""

    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def test_json_is_json_and_holds_everything(name: str, tmp_path: Path) -> None:
    own = BOARDS[name]
    found = plain(write(own, tmp_path / "board.json").read_text(encoding="utf-8"))
    assert found == own.as_json() and found["conclusion"] == conclusion(own)
    assert [one["method"] for one in found["methods"]] == [one.method for one in own.standings]
    assert [one["verdict"] for one in found["methods"]] == [one.verdict for one in own.standings]
    assert len(found["differences"]) == len(own.differences)
    assert set(found["methods"][0]["tasks"]) == {one.name for one in own.tasks}
    assert {"not_applicable", "unfinished", "tuning", "about", "why_no_p", "correction"} < set(found)


def test_what_is_undefined_is_null_with_its_reason() -> None:
    first = BOARDS["undefined"].as_json()["methods"][1]
    assert first["gain"] == {"value": None, "low": None, "high": None, "n_effective": 203.0}
    assert first["pooled_pgr"]["defined"] is False and "a class is missing" in first["pooled_pgr"]["reason"]
    assert first["median_pgr"] is None and first["seconds"] is None


def test_numbers_that_json_does_not_know_become_null_or_text() -> None:
    tried = {"hard": [{"settings": {"limit": math.inf}, "gain_over_weak": math.nan, "chosen": True}]}
    own = board(
        (reference(TASKS), standing("hard", 0.0, TASKS, settings={"limit": -math.inf, "ends": (1.0, 2.0)})), TASKS
    )
    found = plain(json.dumps(replace(own, tuning={"trials": tried}).as_json(), allow_nan=False))
    assert found["methods"][1]["settings"] == {"limit": "-inf", "ends": [1.0, 2.0]}
    assert found["tuning"]["trials"]["hard"] == [{"settings": {"limit": "inf"}, "gain_over_weak": None, "chosen": True}]


@pytest.mark.parametrize("ending", [".html", ".md", ".json"])
def test_writing_replaces_and_leaves_nothing_behind(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"board{ending}"
    path.write_text("old")
    assert BOARDS["hostile"].report(str(path)) == path
    assert conclusion(BOARDS["ties"]) not in path.read_text(encoding="utf-8")
    assert len(path.read_text(encoding="utf-8")) > 100
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_lone_surrogates_do_not_break_a_file(tmp_path: Path) -> None:
    own = of(**{"bad\udc80name": 0.01})
    for ending in (".html", ".md", ".json"):
        path = write(own, tmp_path / f"board{ending}")
        path.read_text(encoding="utf-8")
    assert plain(path.read_text(encoding="utf-8"))["methods"][1]["method"] == "bad\udc80name"


def test_a_bad_place_is_one_line_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.md").mkdir()
    for place in (tmp_path / "board.txt", tmp_path / "board", tmp_path / "missing" / "b.md", tmp_path / "folder.md"):
        for refusing in (check_place, lambda path: write(BOARDS["ties"], path)):
            with pytest.raises(InputError) as error:
                refusing(place)
            assert "\n" not in str(error.value) and "expected" in str(error.value)

    def full(*_args: Any, **_named: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StepError, match="No space left"):
        write(BOARDS["ties"], tmp_path / "board.json")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.md"]


def test_a_method_that_is_not_on_the_board_is_a_key_error() -> None:
    assert BOARDS["ties"].standing("hard").method == "hard"
    with pytest.raises(KeyError):
        BOARDS["ties"].standing(HOSTILE)
