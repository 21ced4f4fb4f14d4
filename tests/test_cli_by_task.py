"""Columns that are named for one of several tasks of a comparison."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oversight.cli.by_task import columns_by_task

Call = Callable[..., Any]
BASE = ("--weak", "bow", "--strong", "bow", "--methods", "naive", "--seeds", "2", "--json")


@pytest.fixture
def sets(place: Path, planted_rows: Call, write_lines: Call) -> list[str]:
    """Two data sets: in the second what is called label is noise, the class is in `answer`, and rows go in fours."""
    write_lines(place / "plain.jsonl", planted_rows(240, seed=0))
    rows = [
        {"text": row["text"], "answer": row["label"], "label": i % 2, "of": f"four {i // 4}"}
        for i, row in enumerate(planted_rows(240, seed=1))
    ]
    write_lines(place / "odd.jsonl", rows)
    return ["plain.jsonl", "odd.jsonl"]


@pytest.mark.parametrize("owner", ["odd", "odd.jsonl"])
def test_a_column_named_for_one_task_is_read_there_and_nowhere_else(
    oversight: Call, sets: list[str], owner: str
) -> None:
    named = ("--group", f"{owner}=of", "--label", f"{owner}=answer", "--near-duplicates", "ignore")
    words = ("compare", *sets, *BASE, *named)
    plain, odd = oversight(*words).json["tasks"]
    assert plain["n_groups"] == plain["n_test"]
    assert odd["n_groups"] == odd["n_test"] / 4
    assert odd["weak"]["value"] > 0.8, "noise was read for the class"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--group", "even=of"), "columns: found the task even, expected one of plain, odd"),
        (("--group", "=of"), "--group: found '=of', expected COLUMN or TASK=COLUMN"),
        (("--group", "odd="), "--group: found 'odd=', expected COLUMN or TASK=COLUMN"),
        (("--group", "of", "--group", "text"), "--group: found 'of' and 'text', expected one for all"),
        (("--group", "of"), "of"),
    ],
)
def test_a_bad_column_is_refused_in_one_line(refused: Call, sets: list[str], words: tuple[str, ...], says: str) -> None:
    assert says in refused("compare", *sets, *BASE, *words)


def test_the_name_of_a_task_may_hold_an_equals_sign() -> None:
    assert columns_by_task(group=["hf:org/name=x=meta.title"]) == {"hf:org/name=x": {"group": "meta.title"}}
