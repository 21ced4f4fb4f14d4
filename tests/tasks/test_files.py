"""Files and directories: what is looked for, what is found, and real data sets."""

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

ENDINGS = ".jsonl, .jsonl.gz, .json, .json.gz, .csv, .csv.gz, .parquet"
REAL = Path(__file__).parents[2].parent / "shared" / "data"
REAL_SETS = [
    "anthropic_evals arc bbq boolq boolq_closed cola gsm8k_pref gsm8k_solutions hatecheck hh_harmless hh_harmless_pref",
    "imdb imdb_cf piqa siqa sms_spam strategyqa strategyqa_facts true_statements truthfulqa winogrande xstest",
]


def numbered(start: int, stop: int) -> list[dict[str, Any]]:
    return [{"text": f"text {i}", "label": i % 2} for i in range(start, stop)]


def test_a_directory_has_a_given_test(write: Write) -> None:
    write("d/train.jsonl", numbered(0, 30))
    folder = write("d/test.csv.gz", numbered(30, 40)).parent
    write("d/README.md", "x")
    task = load_files(str(folder), near=IGNORED)
    assert task.is_test is not None
    assert task.is_test.tolist() == [False] * 30 + [True] * 10
    assert (task.name, task.source, task.version, task.warnings) == (str(folder), str(folder), "", ())


def test_the_name_of_the_file_does_not_change_the_fingerprint(write: Write) -> None:
    paths = [write(name, numbered(0, 30)) for name in ("a.jsonl", "b.csv", "deep/c.parquet")]
    assert len({load_files(path).fingerprint for path in paths}) == 1


def test_a_given_test_changes_the_fingerprint(write: Write) -> None:
    write("d/train.jsonl", numbered(0, 30))
    folder = write("d/test.jsonl", numbered(30, 40)).parent
    assert load_files(folder).fingerprint != load_files(write("all.jsonl", numbered(0, 40))).fingerprint


def test_a_missing_file_and_its_nearest_names(write: Write, complaint: Complaint) -> None:
    path = write("reviews.jsonl", "x")
    assert complaint(path.with_name("review.jsonl")) == (
        f"review.jsonl: found no such file (did you mean 'reviews.jsonl'?), "
        f"expected a file ending in {ENDINGS}, or a directory with train and test files"
    )
    assert complaint(path.with_name("quite-another")).startswith("quite-another: found no such file, expected a file")


def test_a_missing_folder(tmp_path: Path, complaint: Complaint) -> None:
    assert complaint(tmp_path / "no" / "a.jsonl") == (
        "no/a.jsonl: found no such file, nor a directory 'no', expected a file or a directory"
    )


@pytest.mark.parametrize(("held", "lacking"), [("train", "test"), ("test", "train")])
def test_a_directory_without_one_part(write: Write, complaint: Complaint, held: str, lacking: str) -> None:
    folder = write(f"d/{held}.jsonl", numbered(0, 9)).parent
    write(f"d/{lacking}.txt", "x")
    names = ", ".join(f"'{name}'" for name in sorted([f"{held}.jsonl", f"{lacking}.txt"]))
    assert complaint(folder) == (
        f"d: found no {lacking} file (holds {names}), expected '{lacking}' with one of the endings {ENDINGS}"
    )


def test_an_empty_directory(tmp_path: Path, complaint: Complaint) -> None:
    assert complaint(tmp_path) == (
        f"FOLDER: found no train file (an empty directory), expected 'train' with one of the endings {ENDINGS}"
    )


def test_of_very_many_files_eight_are_listed(write: Write, complaint: Complaint) -> None:
    folders = {write(f"d/file{i:02}.txt", "x").parent for i in range(20)}
    assert "'file07.txt' and 12 more)" in complaint(folders.pop())


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_directory_with_a_part_twice(write: Write, complaint: Complaint, part: str) -> None:
    for name in ("train.jsonl", "test.jsonl", f"{part}.csv"):
        folder = write(f"d/{name}", numbered(0, 9)).parent
    assert complaint(folder) == f"d: found '{part}.csv' and '{part}.jsonl', expected one {part} file"


def test_an_error_in_a_part_names_the_part(write: Write, complaint: Complaint) -> None:
    write("d/train.jsonl", numbered(0, 9))
    folder = write("d/test.csv", "text,label\nx,\n").parent
    assert complaint(folder) == "d/test.csv:2: found an empty 'label', expected a value in every row"


def real(name: str) -> Path:
    if not (REAL / name).is_dir():
        pytest.skip(f"the real set {name} is not beside the checkout (../shared/data)")
    return REAL / name


@pytest.mark.parametrize("name", " ".join(REAL_SETS).split())
def test_real_sets_load(name: str) -> None:
    task = load_files(real(name))
    assert task.is_test is not None and 0 < task.is_test.sum() < len(task)
    assert task.n_classes == 2
    assert (task.rows.others is not None) == name.endswith("_pref")


def test_real_groups(name: str = "boolq") -> None:
    path = real(name)
    (warning,) = load_files(path, near=IGNORED).warnings
    assert warning == "no group column named; candidates: meta.title (2090 values)"
    task = load_files(path, columns=Columns(group="meta.title"), near=IGNORED)
    assert task.grouped and task.warnings == ()
    assert len(set(task.rows.groups)) == 2090


def test_real_overlap_is_dropped_or_refused(complaint: Complaint) -> None:
    path = real("cola")
    task = load_files(path, near=IGNORED)
    assert len(task) == 5056 + 648 - 6
    assert task.warnings[0].startswith("6 of 648 test rows also stand in train: 6 rows dropped from train (rows 1124, ")
    assert complaint(path, strict=True).endswith("), expected none (--strict)")


def test_real_sets_without_texts_say_what_they_have(complaint: Complaint) -> None:
    assert "found no text column among 'question', 'answer', 'final'" in complaint(real("gsm8k"))


def test_a_name_that_no_file_can_have(tmp_path: Path, complaint: Complaint) -> None:
    assert complaint(tmp_path / ("x" * 5000)).endswith(": found 'File name too long', expected a file that can be read")
