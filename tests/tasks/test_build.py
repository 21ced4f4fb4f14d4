"""Duplicates, groups, ids and overlap: what is made of the rows does not depend on their order."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.errors import InputError
from oversight.tasks.build import build_task, without_overlap
from oversight.tasks.columns import Columns, normalised
from oversight.tasks.files import load_files
from oversight.tasks.joining import IGNORED
from oversight.tasks.records import Records
from oversight.tasks.task import Task, content_id

Write = Callable[..., Path]
Complaint = Callable[..., str]
Row = dict[str, Any]


def make(train: Sequence[Row], test: Sequence[Row] | None = None, *, strict: bool = False, **columns: str) -> Task:
    """A task of records in memory; near-duplicates, which numbered texts are, are ignored."""

    def records(name: str, rows: Sequence[Row]) -> Records:
        return Records(file=name, fields=[dict(row) for row in rows], numbers=list(range(1, len(rows) + 1)))

    return build_task(
        "task",
        records("train", train),
        None if test is None else records("test", test),
        columns=Columns(**columns),
        strict=strict,
        source="memory",
        near=IGNORED,
    )


def texts(*values: str, labels: Sequence[int] | None = None, groups: Sequence[str] | None = None) -> list[Row]:
    rows: list[Row] = [{"text": text, "label": i % 2} for i, text in enumerate(values)]
    for i, label in enumerate(labels or ()):
        rows[i]["label"] = label
    for i, group in enumerate(groups or ()):
        rows[i]["group"] = group
    return rows


def numbered(start: int, stop: int) -> list[Row]:
    return [{"text": f"text {i}", "label": i % 2} for i in range(start, stop)]


def test_ids_are_content_and_number_of_the_copy() -> None:
    task = make(texts("a", "b", "a", "a"))
    a, b = content_id("a"), content_id("b")
    assert sorted(task.rows.ids) == sorted([a, b, f"{a}#1", f"{a}#2"])


def test_each_text_is_its_own_group_up_to_case_and_white_space() -> None:
    groups = make(texts("A  b", "a\nB ", "ab", "a b")).rows.groups
    assert groups[0] == groups[1] == groups[3] != groups[2]
    assert groups[2] == content_id("ab")


def test_duplicates_unite_named_groups_under_the_smallest_name() -> None:
    rows = texts("x", "y", "X", "z", "y ", "w", groups=["c", "b", "b", "d", "a", "e"])
    task = make(rows)
    assert task.rows.groups == ("a", "a", "a", "d", "a", "e")
    assert task.grouped


def test_duplicates_with_different_labels_are_counted_and_named() -> None:
    task = make(texts("x", "y", "X ", "y", "w", "v", labels=[0, 1, 1, 0, 0, 1]))
    assert task.warnings == ("2 texts stand there with different labels, e.g. train:1 (0) and train:3 (1)",)
    assert make(texts("x", "y", "x", labels=[0, 1, 1])).warnings == (
        "1 text stands there with different labels, e.g. train:1 (0) and train:3 (1)",
    )
    assert make(texts("x", "y", "x", labels=[0, 1, 0])).warnings == ()


def test_a_pair_and_its_reverse_are_duplicates_with_different_labels() -> None:
    task = make(
        [
            {"prompt": "q", "chosen": "a", "rejected": "b"},
            {"prompt": "q", "chosen": "B", "rejected": " A"},
            {"prompt": "q", "chosen": "A", "rejected": "b"},
        ]
    )
    assert len(set(task.rows.groups)) == 1
    assert task.labels[0] == task.labels[2] != task.labels[1]
    assert task.warnings[0].startswith("1 text stands there with different labels, e.g. train:1 (")


def test_rows_in_both_parts_are_dropped_from_train_counted_and_named() -> None:
    train = [*numbered(0, 100), {"text": "TEXT  120", "label": 0}]
    task = make([*train, train[-1]], numbered(100, 140))
    assert task.warnings == (
        "1 of 40 test rows also stand in train: 2 rows dropped from train (rows 101, 102 of train)",
    )
    assert task.is_test is not None
    assert (len(task), task.is_test.sum()) == (140, 40)


def test_the_first_three_are_named() -> None:
    task = make(numbered(0, 105), numbered(100, 200))
    assert task.warnings == (
        "5 of 100 test rows also stand in train: 5 rows dropped from train (rows 101, 102, 103, ... of train)",
    )


def test_more_than_five_per_cent_of_the_test_is_an_error() -> None:
    with pytest.raises(InputError) as caught:
        make(numbered(0, 106), numbered(100, 200))
    assert str(caught.value) == (
        "train: found 6 of 100 test rows here too (rows 101, 102, 103, ...), expected at most 5% of the test rows"
    )


def test_strict_allows_none() -> None:
    with pytest.raises(InputError) as caught:
        make(numbered(0, 101), numbered(100, 200), strict=True)
    assert str(caught.value) == ("train: found 1 of 100 test rows here too (row 101), expected none (--strict)")
    assert len(make(numbered(0, 100), numbered(100, 200), strict=True)) == 200


def test_groups_in_both_parts_are_counted() -> None:
    train = [{**row, "group": f"g{i % 7}"} for i, row in enumerate(numbered(0, 50))]
    test = [{**row, "group": f"g{i % 4 + 5}"} for i, row in enumerate(numbered(50, 90))]
    assert make(train, test).warnings == ("2 of 4 test groups also stand in train ('g5', 'g6')",)


def test_a_class_only_in_test_is_an_error() -> None:
    test = [*numbered(50, 60), {"text": "other", "label": 2}]
    with pytest.raises(InputError) as caught:
        make(numbered(0, 50), test)
    assert str(caught.value) == (
        "test:11: found the label 2, which no row of train has, expected a class of train (0, 1)"
    )


def test_a_class_only_in_train_is_a_class() -> None:
    assert make([*numbered(0, 50), {"text": "other", "label": 2}], numbered(50, 60)).n_classes == 3


def test_a_class_that_only_dropped_rows_had_is_none() -> None:
    task = make([*numbered(0, 50), {"text": "text 50", "label": 9}], numbered(50, 90))
    assert task.class_names == ("0", "1")


@pytest.mark.parametrize("column", ["group", "difficulty"])
@pytest.mark.parametrize("holder", [0, 1])
def test_an_optional_column_must_stand_in_both_parts(column: str, holder: int) -> None:
    parts = [numbered(0, 50), numbered(50, 90)]
    parts[holder] = [{**row, column: "g"} for row in parts[holder]]
    names = ("train", "test")
    with pytest.raises(InputError) as caught:
        make(*parts)
    assert str(caught.value) == (
        f"{names[1 - holder]}: found no column for the {column}, expected one as in {names[holder]}"
    )


def test_texts_and_pairs_do_not_mix() -> None:
    with pytest.raises(InputError) as caught:
        make(numbered(0, 50), [{"prompt": "q", "chosen": "a", "rejected": "b"}])
    assert str(caught.value) == "test: found preference pairs, expected texts with labels as in train"


def test_labels_of_csv_and_of_json_lines_meet(write: Write) -> None:
    write("d/train.csv", numbered(0, 20))
    write("d/test.jsonl", numbered(20, 30))
    assert load_files(write("d/test.jsonl", numbered(20, 30)).parent).class_names == ("0", "1")


def test_kinds_of_labels_of_train_and_test_must_meet(write: Write, complaint: Complaint) -> None:
    write("d/train.jsonl", numbered(0, 20))
    folder = write("d/test.csv", [{"text": "x", "label": "yes"}]).parent
    assert complaint(folder) == (
        "d/test.csv:2: found the label 'yes', a string, expected an integer like the label 0 of d/train.jsonl:1"
    )


# A small alphabet makes copies, near copies and shared groups likely.
WORDS = st.sampled_from(["a", "A", "a ", "b", "b  c", "B c", "ß", "SS", "d", "e"])
ROWS = st.lists(st.tuples(WORDS, st.integers(0, 2), st.sampled_from("pqrst")), min_size=2, max_size=14)


def rows_of(drawn: Sequence[tuple[str, int, str]], *, grouped: bool) -> list[Row]:
    rows: list[Row] = [{"text": text, "label": label} for text, label, _ in drawn]
    return [{**row, "group": group} for row, (_, _, group) in zip(rows, drawn, strict=True)] if grouped else rows


@settings(deadline=None, max_examples=150)
@given(drawn=ROWS, grouped=st.booleans(), random=st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_change_the_fingerprint(drawn: list[Any], grouped: bool, random: Any) -> None:
    drawn = [*drawn, ("x", 0, "p"), ("y", 1, "q")]
    other = list(drawn)
    random.shuffle(other)
    task, again = make(rows_of(drawn, grouped=grouped)), make(rows_of(other, grouped=grouped))
    assert task.fingerprint == again.fingerprint


@settings(deadline=None, max_examples=150)
@given(drawn=ROWS)
def test_grouping_is_the_smallest_equivalence(drawn: list[Any]) -> None:
    drawn = [*drawn, ("x", 0, "p"), ("y", 1, "q")]
    groups = make(rows_of(drawn, grouped=True)).rows.groups
    n = len(drawn)
    keys = [normalised(text) for text, _, _ in drawn]
    together = np.array([[keys[i] == keys[j] or drawn[i][2] == drawn[j][2] for j in range(n)] for i in range(n)])
    for _ in range(n):
        together = together @ together
    found = np.array([[groups[i] == groups[j] for j in range(n)] for i in range(n)])
    assert (found == together).all()
    for i in range(n):
        assert groups[i] == min(drawn[j][2] for j in range(n) if together[i, j])


@settings(deadline=None, max_examples=100)
@given(drawn=ROWS)
def test_without_named_groups_equal_texts_and_nothing_else_share_one(drawn: list[Any]) -> None:
    drawn = [*drawn, ("x", 0, "p"), ("y", 1, "q")]
    groups = make(rows_of(drawn, grouped=False)).rows.groups
    for (text, _, _), group in zip(drawn, groups, strict=True):
        for (other, _, _), its in zip(drawn, groups, strict=True):
            assert (normalised(text) == normalised(other)) == (group == its)


def test_without_overlap_drops_rows_outside_the_test() -> None:
    task = make(numbered(0, 50), numbered(50, 90))
    other = make([{"text": "TEXT 3", "label": 0}, *numbered(60, 100)])
    kept = without_overlap(task, other, name="shifted", strict=False)
    assert set(task.rows.texts) - set(kept.rows.texts) == {"text 3"}
    assert kept.warnings == (
        "1 of 41 rows of test 'shifted' also stand in the task: 1 row dropped from the task ('text 3')",
    )
    assert kept.is_test is not None and kept.is_test.sum() == 40


def test_without_overlap_gives_back_a_task_that_shares_nothing() -> None:
    task = make(numbered(0, 50), numbered(50, 90))
    assert without_overlap(task, make(numbered(60, 80)), name="other", strict=True) is task


@pytest.mark.parametrize(
    ("start", "strict", "expected"),
    [(47, False, "expected at most 5% of the test rows"), (49, True, "expected none (--strict)")],
)
def test_without_overlap_refuses_too_much(start: int, strict: bool, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        without_overlap(make(numbered(0, 50)), make(numbered(start, 100)), name="other", strict=strict)
    names = ", ".join(f"'text {i}'" for i in range(start, 50))
    assert str(caught.value) == (
        f"task: found {50 - start} of {100 - start} rows of test 'other' outside its own test too ({names}), {expected}"
    )


def test_without_overlap_leaves_something() -> None:
    with pytest.raises(InputError, match="rows of test 'other' outside its own test too"):
        without_overlap(make(numbered(0, 2)), make(numbered(0, 100)), name="other", strict=False)


def test_pairs_overlap_whichever_was_chosen() -> None:
    pairs = [{"prompt": "q", "chosen": f"a{i}", "rejected": f"b{i}"} for i in range(100)]
    turned = {"prompt": "Q", "chosen": "b7", "rejected": "a7"}
    task = make(pairs, [turned, *({**pair, "prompt": "r"} for pair in pairs)])
    assert re.fullmatch(r"1 of 101 test rows .* \(row 8 of train\)", task.warnings[0])
