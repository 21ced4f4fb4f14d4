"""Files of a result: each format read back holds the studies' numbers, and bad places are refused."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from synthetic_results import WITHIN_NOISE, ladder, one, study

from oversight.errors import InputError
from oversight.reports.exports import FORMATS, as_text, check_place, format_of, write
from oversight.reports.result import ROLES, Result
from oversight.reports.words import shown


def grid() -> Result:
    """Two tasks, some PGRs undefined, an oracle, warnings of all, of one task and of one study."""
    studies = [
        study(0.6, 0.6 + 0.02 * i, 0.75, undefined=WITHIN_NOISE if i % 3 == 0 else None, **names)
        for i, names in enumerate(
            {"task": task, "method": method, "oracle": method == "oracle_x", "warnings": ("of all", *warnings)}
            for task, warnings in (("reviews", ("of | reviews",)), ("sciq", ()))
            for method in ("naive", "confidence", "oracle_x")
        )
    ]
    return Result(studies=(*studies, study(task="sciq", method="last", warnings=("of all", "[^1]: of the _last_"))))


def test_json_is_a_list_of_studies_whatever_their_number() -> None:
    for result in (one(), grid(), Result(studies=())):
        found = json.loads(as_text(result, "json"), parse_constant=pytest.fail)
        assert found == {"studies": json.loads(json.dumps([each.as_json() for each in result.studies]))}


def test_csv_gives_every_number_back_exactly() -> None:
    rows = list(csv.DictReader(io.StringIO(as_text(grid(), "csv"))))
    assert len(rows) == len(grid())
    for row, each in zip(rows, grid().studies, strict=True):
        numbers = {**{role: each.score(role) for role in ROLES}, "gap": each.gap, "gain": each.gain, "pgr": each.pgr}
        numbers |= {f"{role}_{name}": number for role in ROLES for name, number in each.scores[role].items()}
        numbers |= {f"agreement_{name}": number for name, number in each.agreement.items()}
        for name, number in numbers.items():
            for end in ("value", "low", "high"):
                expected, cell = getattr(number, end), row[f"{name}_{end}"]
                assert (float(cell) == expected) if cell else math.isnan(expected)
        assert row["pgr_reason"] == (each.pgr.reason or "")
        assert [int(row[name]) for name in ("n_test", "n_groups", "seeds")] == [each.n_test, each.n_groups, each.seeds]
        assert (row["task"], row["weak_train"], row["warnings"]) == (each.task, "probe", "; ".join(each.warnings))


def test_csv_of_nothing_is_a_head() -> None:
    assert as_text(Result(studies=()), "csv").startswith("task,test,weak_model")


def markdown_rows(text: str) -> list[dict[str, str]]:
    """A GitHub table read naively: cells between bars that are not escaped, escapes undone."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    plain = [[html.unescape(re.sub(r"\\(.)", r"\1", cell)) for cell in row] for row in cells]
    return [dict(zip(plain[0], row, strict=True)) for row in plain[2:]]


def test_markdown_holds_every_number_interval_reason_and_count() -> None:
    rows = markdown_rows(as_text(grid(), "md"))
    for row, each in zip(rows, grid().studies, strict=True):
        assert [row[role] for role in ROLES] == [shown(each.score(role)) for role in ROLES]
        assert (row["gap"], row["PGR"], row["gain"]) == (shown(each.gap), shown(each.pgr, 2), shown(each.gain))
        assert (row["n"], row["groups"], row["seeds"], row["task"]) == ("812", "203", "5", each.task)
    assert {row["PGR"] for row in rows} >= {f"undefined: {WITHIN_NOISE}"}


def test_markdown_warnings_are_footnotes_of_the_rows_that_they_concern() -> None:
    text = as_text(grid(), "md")
    notes = dict(re.findall(r"^(\[\^\d+\]): (.*)$", text, re.MULTILINE))
    assert list(notes.values()) == ["of all", r"of \| reviews", r"\[^1]: of the \_last\_"]
    everywhere, of_reviews, of_last = notes
    first, *rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    assert everywhere in first and not any(everywhere in row for row in rows)
    assert [of_reviews in row for row in rows] == [True] * 3 + [False] * 4
    assert [of_last in row for row in rows] == [False] * 6 + [True]


def test_markdown_names_the_one_task() -> None:
    assert "- **task**: reviews\n" in as_text(one(), "md") and "- **task**" not in as_text(grid(), "md")


@pytest.mark.parametrize("kind", FORMATS)
def test_the_ending_says_the_format(kind: str, tmp_path: Path) -> None:
    path = one().report(tmp_path / f"result.{kind.upper()}")
    named = write(one(), tmp_path / "result", kind)
    assert path.read_bytes() == named.read_bytes()
    begins = {"html": b"<!doctype", "md": b"| ", "csv": b"task,", "json": b"{", "png": b"\x89PNG", "pdf": b"%PDF"}
    assert path.read_bytes().startswith(begins[kind])
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["report", "report.xlsx", "report.html.gz"])
def test_an_ending_without_a_format_is_refused(name: str, tmp_path: Path) -> None:
    for refuse in (format_of, check_place, one().report):
        with pytest.raises(InputError, match=r"expected \.html, \.md, \.csv, \.json, \.png, \.pdf"):
            refuse(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_texts_of_every_language_are_written_as_utf_8(tmp_path: Path) -> None:
    result = one(strong_model="学生", method="\ud800")
    for kind in ("html", "md", "csv", "json"):
        assert "学生" in result.report(tmp_path / f"r.{kind}").read_text("utf-8")
    assert json.loads((tmp_path / "r.json").read_text("utf-8"))["studies"][0]["method"] == "\ud800"


def test_a_big_grid_gives_the_same_numbers_in_every_text() -> None:
    result: Any = ladder(n_weak=4, n_students=4)
    by_json = [each["gap"]["value"] for each in json.loads(as_text(result, "json"))["studies"]]
    by_csv = [float(row["gap_value"]) for row in csv.DictReader(io.StringIO(as_text(result, "csv")))]
    by_md = [float(row["gap"].split()[0]) for row in markdown_rows(as_text(result, "md"))]
    assert by_json == by_csv == pytest.approx(by_md, abs=5e-4)
