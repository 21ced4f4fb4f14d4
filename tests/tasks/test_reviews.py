"""The embedded task keeps what its datasheet promises, counted here without the tool that packed it."""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from oversight.tasks.reviews import reviews
from oversight.tasks.split import split_task
from oversight.tasks.task import Task

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "src" / "oversight" / "tasks" / "reviews"
SHEET = FOLDER / "DATASHEET.md"


@pytest.fixture(scope="module")
def task() -> Task:
    return reviews()


@pytest.fixture(scope="module")
def sheet() -> dict[str, str]:
    """First and second cell of every row of the datasheet's tables, the first in lower case."""
    if not SHEET.is_file():
        pytest.skip(f"{SHEET.relative_to(ROOT)} is not written yet")
    rows = (
        line.strip().strip("|").split("|") for line in SHEET.read_text("utf-8").splitlines() if line.startswith("|")
    )
    return {cells[0].strip().lower(): cells[1].strip() for cells in rows if len(cells) > 1}


def whole(cell: str) -> int:
    return int(re.sub(r"[ ,_]", "", re.match(r"[\d ,_]+", cell)[0]))  # type: ignore[index]


def test_there_are_at_least_three_thousand_reviews_of_two_hundred_things(task: Task) -> None:
    assert len(task) >= 3000
    assert len(set(task.rows.groups)) >= 200


def test_each_thing_has_as_many_positive_as_negative_reviews(task: Task) -> None:
    by_thing = Counter(zip(task.rows.groups, task.labels.tolist(), strict=True))
    assert all(by_thing[thing, 0] == by_thing[thing, 1] for thing in task.rows.groups)


def test_at_least_a_third_is_hard_in_either_class(task: Task) -> None:
    assert task.difficulty is not None
    hard = np.array(task.difficulty) != "plain"
    assert min(hard[task.labels == 0].mean(), hard[task.labels == 1].mean()) >= 1 / 3


def test_each_hard_kind_stands_in_both_classes(task: Task) -> None:
    assert task.difficulty is not None
    by_kind = Counter(zip(task.difficulty, task.labels.tolist(), strict=True))
    for kind in ("negation", "understatement", "irony", "comparison", "turn"):
        assert min(by_kind[kind, 0], by_kind[kind, 1]) >= 100, kind


def test_no_run_of_five_words_stands_in_more_than_three_rows(task: Task) -> None:
    """Words by splitting at everything that is neither letter, digit nor apostrophe; a row counts once per run."""
    rows_with: Counter[str] = Counter()
    for text in task.rows.texts:
        spaced = "".join(c if c.isalnum() or c == "'" else " " for c in text.lower())
        words = spaced.split()
        rows_with.update({" ".join(words[i : i + 5]) for i in range(len(words) - 4)})
    assert {run: n for run, n in rows_with.items() if n > 3} == {}


def test_no_review_stands_there_twice(task: Task) -> None:
    assert len({" ".join(text.casefold().split()) for text in task.rows.texts}) == len(task)


def test_reviews_are_one_to_three_short_sentences(task: Task) -> None:
    assert max(len(text.split()) for text in task.rows.texts) <= 60
    assert min(len(text.split()) for text in task.rows.texts) >= 4


def test_loading_warns_of_nothing(task: Task) -> None:
    assert task.warnings == ()


def test_the_task_says_what_it_is_and_under_which_licence(task: Task) -> None:
    assert (task.name, task.licence, task.class_names) == ("reviews", "CC0-1.0", ("negative", "positive"))


def test_it_can_be_cut_for_every_seed_of_a_study(task: Task) -> None:
    for seed in range(5):
        assert len(split_task(task, seed=seed).test) == pytest.approx(len(task) / 4, rel=0.02)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reviews_tool", ROOT / "tools" / "reviews.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_packed_rows_are_those_of_the_sources(tool: ModuleType) -> None:
    """Rows, not compressed bytes: another zlib packs the same rows into other bytes."""
    paths = sorted((ROOT / "data" / "reviews").glob("*.txt"))
    packed = tool.pack([review for path in paths for review in tool.parse(path)])
    assert gzip.decompress((FOLDER / "reviews.jsonl.gz").read_bytes()) == gzip.decompress(packed)


def test_the_package_carries_no_time_stamp() -> None:
    """Bytes 4 to 8 of a gzip file are its time."""
    assert (FOLDER / "reviews.jsonl.gz").read_bytes()[4:8] == b"\0\0\0\0"


def test_the_tool_finds_no_fault(tool: ModuleType) -> None:
    paths = sorted((ROOT / "data" / "reviews").glob("*.txt"))
    assert tool.faults([review for path in paths for review in tool.parse(path)]) == []


def test_the_tool_finds_a_run_of_five_words_in_four_rows(tool: ModuleType) -> None:
    rows = [tool.Review("t", i % 2, "irony", f"{i} one two three four five {i}") for i in range(4)]
    assert any("'one two three four five' stands in 4 rows" in fault for fault in tool.faults(rows))


def test_the_datasheet_counts_the_rows_as_they_are(sheet: dict[str, str], task: Task) -> None:
    assert task.difficulty is not None
    n_plain, n_positive = task.difficulty.count("plain"), int(task.labels.sum())
    counted = {
        "rows": len(task),
        "things reviewed (the groups)": len(set(task.rows.groups)),
        "positive rows": n_positive,
        "negative rows": len(task) - n_positive,
        "plain rows": n_plain,
        "hard rows": len(task) - n_plain,
    }
    assert {name: whole(sheet[name]) for name in counted} == counted


def test_the_datasheet_counts_the_rows_of_each_thing_as_they_are(sheet: dict[str, str], task: Task) -> None:
    assert set(Counter(task.rows.groups).values()) == {whole(sheet["rows per thing"])}


def test_the_datasheet_names_the_licence_and_version_of_the_task(sheet: dict[str, str], task: Task) -> None:
    assert (sheet["licence"], sheet["version"]) == (task.licence, task.version)


def test_the_datasheet_counts_each_kind_as_it_is(sheet: dict[str, str], task: Task) -> None:
    assert task.difficulty is not None
    counts = Counter(task.difficulty)
    assert {kind: whole(sheet[kind]) for kind in counts} == counts


def test_the_packed_file_is_plain_json_lines() -> None:
    lines = gzip.decompress((FOLDER / "reviews.jsonl.gz").read_bytes()).decode().splitlines()
    assert {tuple(json.loads(line)) for line in lines} == {("text", "label", "group", "difficulty")}
