"""People's labels from a file: who labelled which row how."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from oversight.errors import InputError
from oversight.supervision.supervisor import Given
from oversight.tasks.records import read_records
from oversight.tasks.task import Floats, Labels, Task


def people(path: Path, task: Task, *, tests: Mapping[str, Task] | None = None) -> Given:
    """Labels of rows of `task` and of further test sets, from a file of answers.

    It has a column `id` or `text`, and a column `label`, `prob` or `probs`. `label` is one of the task's classes,
    `prob` the probability of its last class (two classes), `probs` one probability per class. Several lines for one
    row (several people) are averaged; an empty answer is an abstention.

    Raises:
        InputError: file, row, what was found, what was expected.
    """
    known: dict[str, str] = {}
    for rows in (task.rows, *(test.rows for test in (tests or {}).values())):
        known |= dict(zip(rows.ids, rows.texts, strict=True))
    by_text: dict[str, list[str]] = {}
    for row_id, text in known.items():
        by_text.setdefault(text, []).append(row_id)
    answers: dict[str, list[Floats]] = {}
    records = read_records(path)
    for i, record in enumerate(records.fields):
        place = records.at(i)
        row_ids = _row_ids(record, by_text, place, paired=task.rows.others is not None)
        answer = _answer(record, task, place)
        if answer is None:
            continue
        for row_id in row_ids:
            if row_id in known:
                answers.setdefault(row_id, []).append(answer)
    if not answers:
        raise InputError(f"{path}: found no answer for any row of {task.name}, expected texts or ids of that task")
    ids = tuple(sorted(answers))
    probs = np.array([_mean(answers[row_id]) for row_id in ids])
    labels = Labels(row_ids=ids, probs=probs, answered=np.ones(len(ids), bool), source=f"people:{path.name}")
    return Given(labels, f"labels:{path.name}")


def _mean(answers: list[Floats]) -> list[float]:
    """Exact sums, so that the order of the file reaches nothing."""
    return [math.fsum(column) / len(answers) for column in zip(*answers, strict=True)]


def _row_ids(record: Mapping[str, Any], by_text: Mapping[str, list[str]], place: str, *, paired: bool) -> list[str]:
    if record.get("id") is not None:
        return [str(record["id"])]
    for column in () if paired else ("text", "txt"):
        if isinstance(record.get(column), str):
            return by_text.get(record[column], [])
    wanted = "'id' (the task's rows are pairs)" if paired else "'id' or 'text'"
    raise InputError(f"{place}: found columns {', '.join(record) or 'none'}, expected {wanted}")


def _answer(record: Mapping[str, Any], task: Task, place: str) -> Floats | None:
    if "probs" in record or "prob" in record:
        return _probabilities(record, task.n_classes, place)
    if "label" not in record:
        raise InputError(f"{place}: found columns {', '.join(record)}, expected 'label', 'prob' or 'probs'")
    found = record["label"]
    if found is None or found == "":
        return None
    whole = isinstance(found, bool) or (isinstance(found, float) and found.is_integer())
    named = str(int(found)) if whole else str(found)
    if named not in task.class_names:
        raise InputError(f"{place}: found label {found!r}, expected one of {', '.join(task.class_names)}")
    return np.eye(task.n_classes)[task.class_names.index(named)]


def _probabilities(record: Mapping[str, Any], n_classes: int, place: str) -> Floats | None:
    found = record.get("probs", record.get("prob"))
    if found is None or found == "":
        return None
    try:
        values = [float(value) for value in (found if isinstance(found, list) else [found])]
    except (TypeError, ValueError):
        raise InputError(f"{place}: found {found!r}, expected probabilities") from None
    outside = [value for value in values if not 0 <= value <= 1]
    if outside:
        raise InputError(f"{place}: found probability {outside[0]:g}, expected a number in [0, 1]")
    if len(values) == 1 and n_classes == 2:
        values = [1 - values[0], values[0]]
    total = sum(values)
    if len(values) != n_classes or abs(total - 1) > 1e-3:
        found = f"{len(values)} probabilities that sum to {total:g}"
        raise InputError(f"{place}: found {found}, expected {n_classes} that sum to 1")
    return np.array(values) / total
