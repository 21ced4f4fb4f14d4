"""Whatever is wrong with a file is one line that reads well; whatever is right arrives unchanged."""

from __future__ import annotations

import csv
import datetime
import gzip
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.tasks.files import load_files
from oversight.tasks.joining import IGNORED
from oversight.tasks.records import READERS, read_records, shown

Write = Callable[..., Path]
Complaint = Callable[..., str]

ROWS: list[dict[str, Any]] = [{"text": "good film", "label": 1}, {"text": "bad film", "label": 0}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.mark.parametrize("ending", READERS)
def test_every_format_gives_the_same_task(write: Write, ending: str) -> None:
    task = load_files(write(f"rows{ending}", ROWS))
    expected = load_files(write("expected.jsonl", ROWS))
    assert task.fingerprint == expected.fingerprint
    assert task.rows.texts == ("good film", "bad film")
    assert task.labels.tolist() == [1, 0]
    assert task.class_names == ("0", "1")
    assert (task.is_test, task.difficulty, task.grouped, task.warnings) == (None, None, False, ())


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "A.JSONL", "a.CSV"])
def test_a_byte_order_mark_and_carriage_returns_are_accepted(write: Write, name: str) -> None:
    lines = LINES if "json" in name.lower() else "text,label\ngood film,1\nbad film,0\n"
    task = load_files(write(name, b"\xef\xbb\xbf" + lines.replace("\n", "\r\n").encode()))
    assert task.rows.texts == ("good film", "bad film")


def test_blank_lines_are_skipped_but_counted(write: Write, complaint: Complaint) -> None:
    assert len(load_files(write("a.jsonl", "\n \n" + LINES + "\n\n"))) == 2
    line = complaint(write("b.jsonl", "\n" + LINES + "\n[1]\n"))
    assert line == "b.jsonl:5: found [1], a list, expected one JSON object per line"


def test_the_line_separators_of_unicode_end_no_line(write: Write) -> None:
    rows = [{"text": "one\u2028two\x85three\x0b", "label": 0}, {"text": "four", "label": 1}]
    raw = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    assert load_files(write("a.jsonl", raw)).rows.texts[0] == rows[0]["text"]


def test_not_json_names_line_and_column(write: Write, complaint: Complaint) -> None:
    path = write("a.jsonl", LINES * 8 + '{"text": "x" "label": 1}\n' + LINES)
    assert complaint(path) == (
        'a.jsonl:17: found \'{"text": "x" "label": 1}\', which is not JSON '
        "(Expecting ',' delimiter at column 14), expected one JSON object per line"
    )


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("[" * 200_000, "JSON that cannot be read (maximum recursion depth exceeded"),
        ('{"text": "x", "label": ' + "9" * 5000 + "}", "JSON that cannot be read (Exceeds the limit"),
    ],
)
def test_json_that_python_refuses_is_a_line_too(write: Write, complaint: Complaint, line: str, found: str) -> None:
    assert complaint(write("a.jsonl", LINES + line)).startswith(f"a.jsonl:3: found {found}")


@pytest.mark.parametrize(
    ("value", "found"),
    [("[1, 2]", "[1, 2], a list"), ('"x"', "'x', a string"), ("3", "3, an integer"), ("null", "null")],
)
def test_json_that_is_no_object(write: Write, complaint: Complaint, value: str, found: str) -> None:
    assert complaint(write("a.jsonl", LINES + value)) == (
        f"a.jsonl:3: found {found}, expected one JSON object per line"
    )


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_bytes_that_are_not_utf8(write: Write, complaint: Complaint, name: str) -> None:
    path = write(name, LINES.encode() + b'{"text": "caf\xe9", "label": 0}\n')
    assert complaint(path) == f"{name}:3: found byte 0xe9 at position 14 of the line, expected UTF-8"


def test_bytes_that_are_not_utf8_in_csv(write: Write, complaint: Complaint) -> None:
    path = write("a.csv", b"text,label\ngood,1\ncaf\xe9,0\n")
    assert complaint(path) == "a.csv:3: found byte 0xe9 at position 4 of the line, expected UTF-8"


def test_utf16_is_not_utf8(write: Write, complaint: Complaint) -> None:
    line = complaint(write("a.csv", "text,label\n".encode("utf-16")))
    assert line.startswith("a.csv:1: found byte 0xff at position 1") and line.endswith("expected UTF-8")


@pytest.mark.parametrize("rows", [2, 3000])
def test_truncated_gzip(write: Write, complaint: Complaint, rows: int) -> None:
    lines = "".join(json.dumps({"text": f"text {i} {i * 7919 % 1000}", "label": i % 2}) + "\n" for i in range(rows))
    raw = gzip.compress(lines.encode())
    path = write("a.bin", raw[: len(raw) // 2]).rename(write("b.bin", b"").with_name("a.jsonl.gz"))
    line = complaint(path)
    assert "found a truncated or damaged gzip stream after line " in line
    assert line.startswith("a.jsonl.gz:") and line.endswith(", expected a whole gzip file")


def test_gzip_in_name_only(write: Write, complaint: Complaint) -> None:
    path = write("a.bin", LINES).rename(write("b.bin", b"").with_name("a.jsonl.gz"))
    assert complaint(path) == (
        "a.jsonl.gz:1: found a truncated or damaged gzip stream after line 0, expected a whole gzip file"
    )


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.csv.gz"])
@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_empty_file(write: Write, complaint: Complaint, name: str, content: bytes) -> None:
    assert complaint(write(name, content)) == (
        f"{name}: found no records, expected at least one row for each of two classes"
    )


def test_a_header_alone_is_empty(write: Write, complaint: Complaint) -> None:
    assert complaint(write("a.csv", "text,label\n")).startswith("a.csv: found no records")


@pytest.mark.parametrize(("row", "fields"), [("x", "1 field"), ("x,1,2", "3 fields"), ('"a\nb",1,,', "4 fields")])
def test_ragged_csv(write: Write, complaint: Complaint, row: str, fields: str) -> None:
    path = write("a.csv", f'text,label\n"two\nlines",0\n{row}\nlast,1\n')
    assert complaint(path) == f"a.csv:4: found {fields}, expected 2 as in the header (text, label)"


def test_an_open_quote_is_named_where_it_starts(write: Write, complaint: Complaint) -> None:
    line = complaint(write("a.csv", 'text,label\ngood,1\n"bad,0\nworse,0\n'))
    assert (
        line == "a.csv:3: found a row that is not CSV (unexpected end of data), "
        'expected fields between commas, quoted with "'
    )


def test_two_columns_of_one_name(write: Write, complaint: Complaint) -> None:
    assert complaint(write("a.csv", "text,label,text\na,1,b\n")) == (
        "a.csv:1: found two columns called 'text', expected a header of different names"
    )


def test_long_fields_of_csv_and_its_setting(write: Write) -> None:
    before = csv.field_size_limit()
    long = "word " * 50_000
    task = load_files(write("a.csv", [{"text": long, "label": 0}, {"text": "short", "label": 1}]))
    assert task.rows.texts[0] == long
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 not really PAR1", b"text,label\n"])
def test_broken_parquet(write: Write, complaint: Complaint, content: bytes) -> None:
    line = complaint(write("a.parquet", content))
    assert line.startswith("a.parquet: found a file that is not Parquet or damaged (")
    assert line.endswith("), expected a Parquet file")


def test_cut_parquet(write: Write, complaint: Complaint) -> None:
    path = write("a.parquet", ROWS)
    path.write_bytes(path.read_bytes()[:-20])
    assert "not Parquet or damaged" in complaint(path)


def test_parquet_structs_categories_and_what_no_task_needs(write: Write) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "text": pa.array(["a", "b", "c"]),
            "label": pa.array(["yes", "no", "yes"]).dictionary_encode(),
            "meta": [{"title": "t", "deep": {"x": 1}}, {"title": "u", "deep": None}, {"title": "t", "deep": {"x": 2}}],
            "vector": [[1.0, 2.0]] * 3,
            "when": [datetime.datetime(2020, 1, 1)] * 3,
            "raw": [b"\xff"] * 3,
        }
    )
    path = write("a.parquet", b"")
    pq.write_table(table, path)
    records = read_records(path)
    assert records.fields[1]["meta"] == {"title": "u", "deep": None}
    assert records.fields[2]["meta"] == {"title": "t", "deep": {"x": 2}}
    assert repr(records.fields[0]["vector"]) == "list<element: double>"
    assert records.numbers == [1, 2, 3]
    assert load_files(path).class_names == ("no", "yes")


def test_a_named_column_of_lists_is_refused_by_its_type(write: Write, complaint: Complaint) -> None:
    path = write("a.parquet", [{"text": ["a"], "label": 1}, {"text": ["b"], "label": 0}])
    assert complaint(path) == "a.parquet:1: found 'text' list<element: string>, expected a string"


def test_unsupported_ending(write: Write, complaint: Complaint) -> None:
    assert complaint(write("a.txt", "x")) == (
        "a.txt: found the ending '.txt', expected one of .jsonl, .jsonl.gz, .json, .json.gz, .csv, .csv.gz, .parquet"
    )
    assert complaint(write("noending", "x")).startswith("noending: found no ending, expected one of ")


def test_a_file_that_cannot_be_read(write: Write, complaint: Complaint, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    paths = [write("a.jsonl", LINES), write("a.parquet", ROWS)]
    monkeypatch.setattr(Path, "open", refuse)
    assert [complaint(path) for path in paths] == [
        f"{path.name}: found 'Permission denied', expected a file that can be read" for path in paths
    ]


def test_names_that_would_break_the_line_are_quoted(write: Write, complaint: Complaint) -> None:
    assert "\\n" in complaint(write("two\nlines.jsonl", "3\n"))


def test_shown_is_short() -> None:
    assert shown("x" * 1000) == "'" + "x" * 55 + "...'"
    assert len(shown(list(range(1000)))) == 60


# Everything but half characters, which UTF-8 cannot hold.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(lambda text: text.strip())
LABELS = st.one_of(st.lists(st.integers(-3, 3), min_size=2, max_size=8), st.lists(TEXTS, min_size=2, max_size=8))


@settings(deadline=None, max_examples=60)
@given(labels=LABELS.filter(lambda labels: len(set(labels)) > 1), data=st.data())
def test_any_unicode_survives_every_format(write_at: Write, labels: list[Any], data: st.DataObject) -> None:
    texts = data.draw(st.lists(TEXTS, min_size=len(labels), max_size=len(labels)))
    rows = [
        {"text": text, "label": f"c{x}" if isinstance(x, str) else x} for text, x in zip(texts, labels, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        tasks = [load_files(write_at(Path(folder) / f"rows{ending}", rows)) for ending in READERS]
    assert tasks[0].rows.texts == tuple(texts)
    assert {task.rows.ids for task in tasks} == {tasks[0].rows.ids}
    assert all(np.array_equal(task.labels, tasks[0].labels) for task in tasks)
    assert {task.class_names for task in tasks} == {tasks[0].class_names}


def test_loading_imports_nothing_heavy() -> None:
    import subprocess

    code = (
        "import sys, oversight.tasks.files, oversight.tasks.hub, oversight.tasks.build; "
        "print(sorted({'torch', 'transformers', 'datasets', 'pyarrow', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_hundred_thousand_lines_in_two_seconds(write: Write) -> None:
    words = ["film", "plot", "actor", "scene", "light", "sound", "story", "music", "camera", "end"]
    texts = (" ".join(words[i * k % 10] for k in range(3, 30)) + f" {i}" for i in range(100_000))
    rows = [{"text": text, "label": i % 2, "meta": {"k": i % 7}} for i, text in enumerate(texts)]
    path = write("big.jsonl", rows)
    start = time.process_time()
    assert len(load_files(path, near=IGNORED)) == 100_000
    assert time.process_time() - start < 4, "1 to 2 s of one core; twice that where others work"
