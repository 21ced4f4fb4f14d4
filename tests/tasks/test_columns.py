"""Which columns are found, and one line for every value that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oversight.tasks.columns import Columns
from oversight.tasks.files import load_files
from oversight.tasks.joining import IGNORED

Write = Callable[..., Path]
Complaint = Callable[..., str]

TYPED = ["a.jsonl", "a.parquet"]
ALL = [*TYPED, "a.csv"]


def rows(*values: Any, column: str = "label", **more: Any) -> list[dict[str, Any]]:
    """One row for each value of a column, with different texts and labels 0, 1, 0, ... elsewhere."""
    return [{"text": f"text {i}", "label": i % 2, **more, column: value} for i, value in enumerate(values)]


def line_of(name: str, record: int) -> int:
    """The row number of the i-th record (from 1): a CSV's header counts."""
    return record + name.endswith(".csv")


@pytest.mark.parametrize(("text", "label"), [("text", "label"), ("txt", "hard_label"), ("text", "hard_label")])
def test_usual_names_are_found(write: Write, text: str, label: str) -> None:
    task = load_files(write("a.jsonl", [{text: "x", label: 1, "soft_label": [0.1, 0.9]}, {text: "y", label: 0}]))
    assert task.rows.texts == ("x", "y")
    assert task.labels.tolist() == [1, 0]


def test_the_first_of_the_usual_names_wins(write: Write) -> None:
    both = [
        {"txt": "no", "text": "x", "hard_label": 0, "label": 1},
        {"txt": "no", "text": "y", "hard_label": 1, "label": 0},
    ]
    task = load_files(write("a.jsonl", both))
    assert (task.rows.texts, task.labels.tolist()) == (("x", "y"), [1, 0])


@pytest.mark.parametrize("name", TYPED)
def test_dotted_paths_reach_into_objects(write: Write, name: str) -> None:
    records = [
        {"in": {"q": {"text": f"text {i}"}}, "out": {"y": "ab"[i % 2]}, "meta": {"title": f"t{i // 2}"}, "d": i % 3}
        for i in range(6)
    ]
    columns = Columns(text="in.q.text", label="out.y", group="meta.title", difficulty="d")
    task = load_files(write(name, records), columns=columns)
    assert task.rows.texts[3] == "text 3"
    assert task.class_names == ("a", "b")
    assert task.rows.groups == ("t0", "t0", "t1", "t1", "t2", "t2")
    assert task.difficulty == ("0", "1", "2", "0", "1", "2")
    assert task.grouped and not task.warnings


def test_a_column_whose_name_has_a_dot_comes_before_the_path(write: Write) -> None:
    records = [{"meta.title": f"flat {i}", "meta": {"title": "deep"}, "label": i} for i in range(2)]
    assert load_files(write("a.jsonl", records), columns=Columns(text="meta.title")).rows.texts == ("flat 0", "flat 1")


@pytest.mark.parametrize("name", ALL)
def test_no_text_column(write: Write, complaint: Complaint, name: str) -> None:
    assert complaint(write(name, [{"question": "x", "label": 1}])) == (
        f"{name}: found no text column among 'question', 'label', "
        "expected a column 'text' or 'txt', another one named by --text, or the columns prompt, chosen, rejected"
    )


@pytest.mark.parametrize("name", ALL)
def test_no_label_column(write: Write, complaint: Complaint, name: str) -> None:
    assert complaint(write(name, [{"text": "x", "klass": 1}])) == (
        f"{name}: found no label column among 'text', 'klass', "
        "expected a column 'label' or 'hard_label', another one named by --label, "
        "or the columns prompt, chosen, rejected"
    )


@pytest.mark.parametrize("field", ["text", "label", "group", "difficulty"])
def test_a_named_column_that_is_not_there(write: Write, complaint: Complaint, field: str) -> None:
    path = write("a.jsonl", [{"text": "x", "label": 1, "meta": {"title": "t", "n": 3}}])
    assert complaint(path, **{field: "meta.titel"}) == (
        f"a.jsonl: found no column 'meta.titel' for --{field}, "
        "expected one of 'text', 'label', 'meta.title', 'meta.n' (did you mean 'meta.title'?)"
    )


def test_of_very_many_columns_twelve_are_listed(write: Write, complaint: Complaint) -> None:
    path = write("a.jsonl", [{f"column{i}": 1 for i in range(50)}])
    line = complaint(path, text="nowhere")
    assert line.endswith("'column10', 'column11' and 38 more")
    assert "'column12'" not in complaint(path)


@pytest.mark.parametrize("name", TYPED)
@pytest.mark.parametrize(("value", "found"), [(None, "no 'text'"), ("", "an empty 'text'"), (" \n", "an empty 'text'")])
def test_no_text_in_a_row(write: Write, complaint: Complaint, name: str, value: object, found: str) -> None:
    expected = "a string" if value is None else "a text"
    assert (
        complaint(write(name, rows("x", "y", value, column="text"))) == f"{name}:3: found {found}, expected {expected}"
    )


def test_an_empty_text_in_csv(write: Write, complaint: Complaint) -> None:
    assert (
        complaint(write("a.csv", rows("x", "y", "", column="text")))
        == "a.csv:4: found an empty 'text', expected a text"
    )


@pytest.mark.parametrize(
    ("value", "found"),
    [(3, "3, an integer"), (["x"], "['x'], a list"), ({"a": 1}, "{'a': 1}, an object"), (True, "True, a boolean")],
)
def test_a_text_that_is_no_string(write: Write, complaint: Complaint, value: object, found: str) -> None:
    path = write("a.jsonl", rows("x", value, column="text"))
    assert complaint(path) == f"a.jsonl:2: found 'text' {found}, expected a string"


@pytest.mark.parametrize("column", ["text", "label", "group", "difficulty"])
def test_half_characters_are_refused(write: Write, complaint: Complaint, column: str) -> None:
    path = write("a.jsonl", rows("é", "half \ud800", column=column))
    assert complaint(path) == (
        f"a.jsonl:2: found half a character, \\ud800, in '{column}', expected whole Unicode characters"
    )


def test_whole_characters_from_escapes_are_kept(write: Write) -> None:
    path = write("a.jsonl", '{"text": "\\ud83d\\ude00 e\\u0301", "label": 0}\n{"text": "b", "label": 1}')
    assert load_files(path).rows.texts[0] == "\U0001f600 e\u0301"


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ((1, 0), ("0", "1")),
        ((10, 9, -1), ("-1", "9", "10")),
        ((True, False), ("0", "1")),
        ((1.0, 0.0), ("0", "1")),
        (("10", "9"), ("10", "9")),
        (("yes", "No"), ("No", "yes")),
    ],
)
@pytest.mark.parametrize("name", TYPED)
def test_classes_are_sorted(write: Write, name: str, values: tuple[Any, ...], names: tuple[str, ...]) -> None:
    task = load_files(write(name, rows(*values)))
    assert task.class_names == names
    assert [task.class_names[label] for label in task.labels] == [
        str(int(value)) if not isinstance(value, str) else value for value in values
    ]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (("10", "9", "-1"), ("-1", "9", "10")),
        (("1.0", "0.0"), ("0", "1")),
        (("1", "0", "x"), ("0", "1", "x")),
        (("1_0", "2"), ("1_0", "2")),
        (("True", "False"), ("False", "True")),
    ],
)
def test_classes_of_csv_are_integers_if_all_are(write: Write, values: tuple[str, ...], names: tuple[str, ...]) -> None:
    assert load_files(write("a.csv", rows(*values))).class_names == names


def test_integers_beyond_64_bits_are_classes(write: Write) -> None:
    assert load_files(write("a.jsonl", rows(10**30, 1))).class_names == ("1", str(10**30))


@pytest.mark.parametrize("name", ALL)
def test_a_missing_label(write: Write, complaint: Complaint, name: str) -> None:
    found = "an empty 'label'" if name == "a.csv" else "no 'label'"
    line = complaint(write(name, rows(1, 0, None, 1)))
    assert line == f"{name}:{line_of(name, 3)}: found {found}, expected a value in every row"


def test_nan_is_no_label(write: Write, complaint: Complaint) -> None:
    path = write("a.parquet", rows(1.0, 0.0, float("nan")))
    assert complaint(path) == "a.parquet:3: found NaN as 'label', expected a value in every row"


@pytest.mark.parametrize(
    ("values", "row", "found", "expected"),
    [
        ((1, 0, "1"), 3, "'1', a string", "an integer like the label 1"),
        (("a", "b", 1), 3, "1, an integer", "a string like the label 'a'"),
        ((True, 1), 2, "1, an integer", "a boolean like the label True"),
    ],
)
def test_mixed_labels(
    write: Write, complaint: Complaint, values: tuple[Any, ...], row: int, found: str, expected: str
) -> None:
    assert complaint(write("a.jsonl", rows(*values))) == (
        f"a.jsonl:{row}: found the label {found}, expected {expected} of a.jsonl:1"
    )


@pytest.mark.parametrize("name", ALL)
def test_soft_labels(write: Write, complaint: Complaint, name: str) -> None:
    assert complaint(write(name, rows(1.0, 0.3, 0.7))) == (
        f"{name}:{line_of(name, 2)}: found the soft label 0.3, "
        "expected a class, an integer or a string (labels must be classes)"
    )


def test_a_label_that_is_a_list(write: Write, complaint: Complaint) -> None:
    assert complaint(write("a.jsonl", rows([0.3, 0.7], [1, 0]))) == (
        "a.jsonl:1: found the label [0.3, 0.7], a list, expected a class: an integer or a string"
    )


@pytest.mark.parametrize("name", ALL)
def test_one_class_only(write: Write, complaint: Complaint, name: str) -> None:
    assert complaint(write(name, rows(1, 1, 1))) == (
        f"{name}: found the label 1 in all 3 rows, expected at least two classes"
    )


@pytest.mark.parametrize("column", ["group", "group_id"])
def test_a_column_that_looks_like_a_group_is_used(write: Write, column: str) -> None:
    task = load_files(write("a.jsonl", rows("x", 7, 7.0, True, column=column)))
    assert task.rows.groups == ("x", "7", "7", "True")
    assert task.grouped


@pytest.mark.parametrize("column", ["group", "difficulty"])
@pytest.mark.parametrize("name", ALL)
def test_a_null_group(write: Write, complaint: Complaint, name: str, column: str) -> None:
    found = f"an empty '{column}'" if name == "a.csv" else f"no '{column}'"
    line = complaint(write(name, rows("g", None, "g", column=column)))
    assert line == f"{name}:{line_of(name, 2)}: found {found}, expected a value in every row"


def test_a_group_that_is_an_object(write: Write, complaint: Complaint) -> None:
    path = write("a.jsonl", rows({"title": "t"}, {"title": "u"}, column="meta"))
    assert complaint(path, group="meta") == (
        "a.jsonl:1: found 'meta' {'title': 't'}, an object, expected a string or a number"
    )


@pytest.mark.parametrize("name", TYPED)
def test_a_meta_without_a_group_names_the_candidates(write: Write, name: str) -> None:
    records = [
        {
            "text": f"text {i}",
            "label": i % 2,
            "set": f"s{i % 3}",
            "id": i,
            "same": 1,
            "meta": {"title": f"t{i // 2}", "k": i % 4, "unique": f"u{i}", "gap": i % 2 or None, "tags": ["x"]},
        }
        for i in range(12)
    ]
    path = write(name, records)
    assert load_files(path, near=IGNORED).warnings == (
        "no group column named; candidates: meta.title (6 values), meta.k (4 values), set (3 values)",
    )
    assert load_files(path, columns=Columns(group="meta.title"), near=IGNORED).warnings == ()


def test_a_meta_that_repeats_nothing_is_no_reason_to_warn(write: Write) -> None:
    assert load_files(write("a.jsonl", rows({"id": 1}, {"id": 2}, column="meta"))).warnings == ()


def pair(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


@pytest.mark.parametrize("name", ALL)
def test_preference_pairs(write: Write, name: str) -> None:
    records = [pair("" if i % 3 == 0 else f"q{i}", f"better {i}", f"worse {i}") for i in range(200)]
    task = load_files(write(name, records))
    assert task.rows.others is not None
    assert task.class_names == ("second", "first")
    assert 60 < task.labels.sum() < 140, "the order is a coin that the content throws"
    for record, text, other, label in zip(records, task.rows.texts, task.rows.others, task.labels, strict=True):
        chosen, rejected = (text, other) if label == 1 else (other, text)
        before = f"{record['prompt']}\n" if record["prompt"] else ""
        assert (chosen, rejected) == (before + record["chosen"], before + record["rejected"])


def test_the_order_of_a_pair_does_not_know_which_was_chosen(write: Write) -> None:
    records = [pair("q", f"answer {i}", f"reply {i}") for i in range(50)]
    turned = [pair(r["prompt"], r["rejected"], r["chosen"]) for r in records]
    task, other = load_files(write("a.jsonl", records)), load_files(write("b.jsonl", turned))
    assert task.rows.ids == other.rows.ids
    assert (task.labels == 1 - other.labels).all()


def test_one_class_of_pairs_is_no_error(write: Write) -> None:
    assert load_files(write("a.jsonl", [pair("q", "a", "b")])).n_classes == 2


def test_chosen_and_rejected_are_the_same(write: Write, complaint: Complaint) -> None:
    path = write("a.jsonl", [pair("q", "a", "b"), pair("q", "same", "same")])
    assert complaint(path) == "a.jsonl:2: found 'chosen' and 'rejected' both 'same', expected two different texts"


@pytest.mark.parametrize("lacking", ["prompt", "chosen", "rejected"])
def test_a_pair_needs_all_three_columns(write: Write, complaint: Complaint, lacking: str) -> None:
    path = write("a.jsonl", [{name: text for name, text in pair("q", "a", "b").items() if name != lacking}])
    rest = ", ".join(f"'{name}'" for name in ("prompt", "chosen", "rejected") if name != lacking)
    assert complaint(path) == (
        f"a.jsonl: found no column '{lacking}' beside {rest}, "
        "expected all of prompt, chosen, rejected (a prompt may be empty)"
    )


def test_an_empty_answer_is_refused(write: Write, complaint: Complaint) -> None:
    path = write("a.jsonl", [pair("q", "a", "b"), pair("q", "a", " ")])
    assert complaint(path) == "a.jsonl:2: found an empty 'rejected', expected a text"


def test_texts_with_labels_win_over_pairs(write: Write) -> None:
    records = [{**row, **pair("q", f"a{i}", f"b{i}")} for i, row in enumerate(rows(0, 1))]
    assert load_files(write("a.jsonl", records)).rows.others is None
