"""People's answers from a file: what they mean, and the one line that a bad file gives before anything is written."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oversight as ov
from oversight.describe import describe
from oversight.errors import InputError
from oversight.models.lexical import BagOfWords
from oversight.supervision.people import people
from oversight.tasks.split import split_task
from oversight.tasks.task import Rows, Task, content_id

BOW = BagOfWords(strengths=(1.0,), min_df=1)


def make_task(n: int = 240, *, class_names: tuple[str, ...] = ("bad", "good")) -> Task:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % len(class_names)
    texts = tuple(f"word{label} word{rng.integers(9)} number {i}" for i, label in enumerate(labels))
    ids = tuple(map(content_id, texts))
    return Task(name="t", rows=Rows(ids=ids, texts=texts, groups=ids), labels=labels, class_names=class_names)


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """write(records, name=...) -> the path of a JSON lines or CSV file."""

    def written(records: list[dict[str, Any]], *, name: str = "votes.jsonl") -> Path:
        path = tmp_path / name
        if path.suffix == ".csv":
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(records[0]))
                writer.writeheader()
                writer.writerows(records)
        else:
            path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    return written


def answer_of(task: Task, path: Path, i: int) -> list[float]:
    labels = people(path, task).labels
    return labels.probs[labels.row_ids.index(task.rows.ids[i])].tolist()


@pytest.mark.parametrize(
    ("answer", "probs"),
    [
        ({"label": "good"}, [0, 1]),
        ({"label": "bad"}, [1, 0]),
        ({"prob": 0.25}, [0.75, 0.25]),
        ({"prob": 1}, [0, 1]),
        ({"probs": [0.4, 0.6]}, [0.4, 0.6]),
        ({"probs": [0.5, 0.5004]}, [0.5 / 1.0004, 0.5004 / 1.0004]),
    ],
    ids=lambda value: str(value),
)
def test_an_answer_becomes_probabilities_of_the_classes(
    task: Task, write: Callable[..., Path], answer: dict[str, Any], probs: list[float]
) -> None:
    path = write([{"text": task.rows.texts[0], **answer}])
    assert answer_of(task, path, 0) == pytest.approx(probs, rel=1e-12)


@pytest.mark.parametrize("key", ["text", "txt", "id"])
def test_a_row_is_known_by_its_text_or_its_id(task: Task, write: Callable[..., Path], key: str) -> None:
    known = task.rows.ids[3] if key == "id" else task.rows.texts[3]
    assert people(write([{key: known, "label": "good"}]), task).labels.row_ids == (task.rows.ids[3],)


@pytest.mark.parametrize("label", [1, 1.0, True, "1"])
def test_integer_classes_are_met_however_the_file_writes_them(write: Callable[..., Path], label: Any) -> None:
    task = make_task(class_names=("0", "1"))
    assert answer_of(task, write([{"text": task.rows.texts[0], "label": label}]), 0) == [0, 1]


def test_several_people_are_averaged(task: Task, write: Callable[..., Path]) -> None:
    """Votes 1, 1, 0 for the second class: 2 / 3."""
    text = task.rows.texts[0]
    path = write([{"text": text, "label": label} for label in ("good", "good", "bad")])
    assert answer_of(task, path, 0) == pytest.approx([1 / 3, 2 / 3], rel=1e-12)


@pytest.mark.parametrize("empty", [{"label": None}, {"label": ""}, {"prob": None}, {"probs": None}])
def test_an_empty_answer_is_an_abstention_and_not_averaged(
    task: Task, write: Callable[..., Path], empty: dict[str, Any]
) -> None:
    first, second = task.rows.texts[:2]
    full = {"label": "good"} if "label" in empty else {"prob": 1.0}
    path = write([{"text": first, **full}, {"text": first, **empty}, {"text": second, **empty}])
    given = people(path, task)
    assert given.labels.row_ids == (task.rows.ids[0],) and given.labels.probs.tolist() == [[0, 1]]


def test_an_answer_by_text_counts_for_every_copy_of_that_text(write: Callable[..., Path]) -> None:
    ids = ("a", "a#1", "b")
    rows = Rows(ids=ids, texts=("same", "same", "other"), groups=("g", "g", "h"))
    task = Task(name="t", rows=rows, labels=np.array([0, 1, 0]), class_names=("bad", "good"))
    assert people(write([{"text": "same", "label": "good"}]), task).labels.row_ids == ("a", "a#1")


def test_csv_says_the_same_as_json_lines(task: Task, write: Callable[..., Path]) -> None:
    records = [{"text": text, "prob": p} for text, p in zip(task.rows.texts[:3], (0.1, 0.5, 1.0), strict=True)]
    both = [people(write(records, name=f"votes.{ending}"), task).labels for ending in ("csv", "jsonl")]
    assert both[0].row_ids == both[1].row_ids and both[0].probs.tolist() == both[1].probs.tolist()


def test_neither_the_order_of_the_file_nor_its_name_changes_what_the_answers_are(
    task: Task, write: Callable[..., Path]
) -> None:
    """Averages of tenths are exact only when summed exactly; a sum in file order would differ in the last bit."""
    rng = np.random.default_rng(1)
    records = [{"text": task.rows.texts[i % 7], "prob": float(p)} for i, p in enumerate(rng.random(70))]
    one = describe(people(write(records), task))
    other = describe(people(write([records[i] for i in rng.permutation(70)], name="renamed.jsonl"), task))
    assert one == other


def test_rows_of_other_tasks_do_not_count(task: Task, write: Callable[..., Path]) -> None:
    path = write([{"text": "of another task", "label": "bad"}, {"text": task.rows.texts[0], "label": "good"}])
    assert people(path, task).labels.row_ids == (task.rows.ids[0],)


@pytest.mark.parametrize(
    ("records", "line"),
    [
        ([{"label": "good"}, {"label": "great"}], "2: found label 'great', expected one of bad, good"),
        ([{"prob": 0.5}, {"prob": 1.2}], "2: found probability 1.2, expected a number in [0, 1]"),
        ([{"probs": [0.2, 0.8]}, {"probs": [-0.2, 1.2]}], "2: found probability -0.2, expected a number in [0, 1]"),
        ([{"prob": float("nan")}], "1: found probability nan, expected a number in [0, 1]"),
        ([{"probs": [0.5, 0.4]}], "1: found 2 probabilities that sum to 0.9, expected 2 that sum to 1"),
        ([{"probs": [0.2, 0.3, 0.5]}], "1: found 3 probabilities that sum to 1, expected 2 that sum to 1"),
        ([{"prob": "likely"}], "1: found 'likely', expected probabilities"),
        ([{"verdict": "good"}], "1: found columns text, verdict, expected 'label', 'prob' or 'probs'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_answer_is_named_with_its_row(
    task: Task, write: Callable[..., Path], records: list[dict[str, Any]], line: str
) -> None:
    path = write([{"text": task.rows.texts[i], **record} for i, record in enumerate(records)])
    with pytest.raises(InputError) as caught:
        people(path, task)
    assert str(caught.value) == f"{path}:{line}"


def test_a_file_without_text_and_id_names_its_columns(task: Task, write: Callable[..., Path]) -> None:
    path = write([{"sentence": "x", "label": "good"}])
    with pytest.raises(InputError) as caught:
        people(path, task)
    assert str(caught.value) == f"{path}:1: found columns sentence, label, expected 'id' or 'text'"


def test_pairs_cannot_be_known_by_one_of_their_texts(write: Callable[..., Path]) -> None:
    rows = Rows(ids=("a", "b"), texts=("x", "x"), others=("y", "z"), groups=("g", "h"))
    task = Task(name="t", rows=rows, labels=np.array([0, 1]), class_names=("second", "first"))
    with pytest.raises(InputError, match=r"expected 'id' \(the task's rows are pairs\)"):
        people(write([{"text": "x", "label": "first"}]), task)


def test_a_file_about_nothing_in_the_task_says_so(task: Task, write: Callable[..., Path]) -> None:
    path = write([{"text": "of another task", "label": "good"}])
    with pytest.raises(InputError, match="found no answer for any row of t, expected texts or ids of that task"):
        people(path, task)


def answers(task: Task, *, without: set[str]) -> list[dict[str, Any]]:
    names = np.array(task.class_names)[task.labels]
    return [
        {"id": row_id, "label": str(name)}
        for row_id, name in zip(task.rows.ids, names, strict=True)
        if row_id not in without
    ]


def study(task: Task, path: Path, store: Path, **options: Any) -> ov.Result:
    return ov.weak_to_strong(task, weak=f"labels:{path}", strong=BOW, seeds=1, store=store, **options)


def test_people_who_know_the_truth_score_one(task: Task, write: Callable[..., Path], tmp_path: Path) -> None:
    found = study(task, write(answers(task, without=set())), tmp_path / "store")[0]
    assert (found.score("weak").value, found.weak_model) == (1.0, "labels:votes.jsonl")


def test_people_need_not_answer_every_transfer_row(task: Task, write: Callable[..., Path], tmp_path: Path) -> None:
    split = split_task(task, seed=0)
    path = write(answers(task, without=set(split.transfer[::3]) | set(split.weak) | set(split.validation[::2])))
    assert study(task, path, tmp_path / "store")[0].n_test == len(split.test)


@pytest.mark.parametrize("part", ["test", "transfer", "validation"])
def test_missing_answers_are_refused_before_a_store_is_made(
    task: Task, write: Callable[..., Path], tmp_path: Path, part: str
) -> None:
    ids = getattr(split_task(task, seed=0), part)
    path = write(answers(task, without=set(ids[:1] if part == "test" else ids)))
    with pytest.raises(InputError) as caught:
        study(task, path, tmp_path / "store")
    text = task.pick(ids).texts[0]
    n = len(ids)
    line = {
        "test": f"found answers for {n - 1} of {n} test rows, expected all; the first without one: {text!r}",
        "transfer": f"found no answer for any of the {n} transfer rows, expected some",
        "validation": f"found no answer for any of the {n} validation rows, expected some",
    }[part]
    assert str(caught.value) == f"labels:votes.jsonl: {line}"
    assert not (tmp_path / "store").exists()


def test_a_bad_probability_makes_no_store_directory(task: Task, write: Callable[..., Path], tmp_path: Path) -> None:
    path = write([{"text": task.rows.texts[0], "prob": 7}])
    with pytest.raises(InputError, match="found probability 7"):
        study(task, path, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_further_test_set_without_answers_is_refused_not_scored_as_guesses(
    task: Task, write: Callable[..., Path], tmp_path: Path
) -> None:
    """Their answers are about this task's rows; on others they have said nothing, which is no class."""
    texts = tuple(f"word{i % 2} elsewhere {i}" for i in range(60))
    ids = tuple(map(content_id, texts))
    other = replace(make_task(60), rows=Rows(ids=ids, texts=texts, groups=ids))
    with pytest.raises(InputError) as caught:
        study(task, write(answers(task, without=set())), tmp_path / "store", tests={"elsewhere": other})
    line = f"found answers for 0 of 60 rows of test 'elsewhere', expected all; the first without one: {texts[0]!r}"
    assert str(caught.value) == f"labels:votes.jsonl: {line}"
    assert not (tmp_path / "store").exists()
