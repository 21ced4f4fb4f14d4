"""People's labels from a file: who labelled which row how."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from oversight.errors import InputError
from oversight.supervision.supervisor import Given
from oversight.tasks.records import read_records
from oversight.tasks.task import Floats, Labels, Task


def people(path: Path, task: Task) -> Given:
    """Labels of rows of `task` from a file with a column `id` or `text` and a column `label`, `prob` or `probs`.

    `label` is one of the task's classes, `prob` the probability of its last class (two classes), `probs` one
    probability per class. Several lines for one row (several people) are averaged; an empty answer is an abstention.

    Raises:
        InputError: file, row, what was found, what was expected.
    """
    by_text = {text: row_id for row_id, text in zip(task.rows.ids, task.rows.texts, strict=True)}
    totals: dict[str, Floats] = {}
    counts: dict[str, int] = {}
    records = read_records(path)
    for i, record in enumerate(records.fields):
        place = records.at(i)
        row_id = _row_id(record, by_text, place)
        answer = _answer(record, task, place)
        if answer is None or row_id not in task.rows.position:
            continue
        totals[row_id] = totals.get(row_id, np.zeros(task.n_classes)) + answer
        counts[row_id] = counts.get(row_id, 0) + 1
    if not totals:
        raise InputError(f"{path}: found no answer for any row of {task.name}, expected texts or ids of that task")
    ids = tuple(sorted(totals))
    probs = np.stack([totals[row_id] / counts[row_id] for row_id in ids])
    labels = Labels(row_ids=ids, probs=probs, answered=np.ones(len(ids), bool), source=f"people:{path.name}")
    return Given(labels, f"labels:{path.name}")


def _row_id(record: Mapping[str, Any], by_text: Mapping[str, str], place: str) -> str:
    if record.get("id") is not None:
        return str(record["id"])
    for column in ("text", "txt"):
        if isinstance(record.get(column), str):
            return by_text.get(record[column], "")
    raise InputError(f"{place}: found columns {', '.join(record) or 'none'}, expected 'id' or 'text'")


def _answer(record: Mapping[str, Any], task: Task, place: str) -> Floats | None:
    if "probs" in record or "prob" in record:
        return _probabilities(record, task.n_classes, place)
    if "label" not in record:
        raise InputError(f"{place}: found columns {', '.join(record)}, expected 'label', 'prob' or 'probs'")
    found = record["label"]
    if found is None or found == "":
        return None
    if str(found) not in task.class_names:
        raise InputError(f"{place}: found label {found!r}, expected one of {', '.join(task.class_names)}")
    return np.eye(task.n_classes)[task.class_names.index(str(found))]


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
    if len(values) != n_classes or abs(sum(values) - 1) > 1e-3:
        raise InputError(f"{place}: found {len(values)} probabilities that sum to {sum(values):g}, expected {n_classes} that sum to 1")
    return np.array(values) / sum(values)
