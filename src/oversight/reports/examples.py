"""Test rows on which student and supervisor disagree, and who was right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from oversight.errors import StepError
from oversight.reports.words import clean
from oversight.ties import right_shares

if TYPE_CHECKING:
    from oversight.reports.result import Result, Study, TestRows

MOST_STUDIES, MOST_ROWS = 3, 12
TEXT_LIMIT = 320
STUDENT, SUPERVISOR = "student", "supervisor"


@dataclass(frozen=True, kw_only=True)
class Example:
    """One disagreement.

    Attributes:
        row_id, text, truth: the row; text shortened to TEXT_LIMIT characters.
        weak, student: mean over seeds of their probability of the true class.
        right: student or supervisor.
    """

    row_id: str
    text: str
    truth: str
    weak: float
    student: float
    right: str


def studies_with_examples(result: Result) -> list[tuple[Study, list[Example] | str]]:
    """At most MOST_STUDIES studies, those whose student agrees least with its supervisor, in the order given.

    In place of the examples of a study whose predictions are not there (any more): why.
    """
    if result.rows_of is None:
        return []
    single = [i for i, study in enumerate(result.studies) if not study.questions]
    order = sorted(single, key=lambda i: (_agreement(result.studies[i]), i))
    chosen = [result.studies[i] for i in sorted(order[:MOST_STUDIES])]
    found = [(study, _examples_of(study, result)) for study in chosen]
    return [(study, rows) for study, rows in found if rows]


def _examples_of(study: Study, result: Result) -> list[Example] | str:
    try:
        rows = result.rows(study)
    except StepError as error:
        return str(error)
    except LookupError:
        return "the predictions of this study are not kept"
    return examples(rows)


def _agreement(study: Study) -> float:
    value = study.agreement["all"].value
    return value if np.isfinite(value) else 1.0


def examples(rows: TestRows, *, most: int = MOST_ROWS) -> list[Example]:
    """Rows where exactly one of the two is right: half for each, where there are enough.

    Choices are those of the mean probabilities over seeds; one that ties with the true class is neither right nor
    wrong. Largest disagreement first: the mean over seeds of the total variation sum_c |weak_c - student_c| / 2; equal
    ones by row id.
    """
    weak, student = (np.asarray(rows.probs[role], dtype=np.float64) for role in ("weak", "student"))
    apart = np.abs(weak.mean(axis=0) - student.mean(axis=0)).sum(axis=1) / 2
    if len(weak) == len(student):
        apart = np.abs(weak - student).sum(axis=2).mean(axis=0) / 2
    weak_mean, student_mean = weak.mean(axis=0), student.mean(axis=0)
    weak_right = right_shares(weak_mean, rows.truth)
    student_right = right_shares(student_mean, rows.truth)
    order = sorted(
        np.flatnonzero(np.isfinite(apart)).tolist(), key=lambda i: (-round(float(apart[i]), 12), rows.ids[i])
    )
    for_student = [i for i in order if student_right[i] == 1 and weak_right[i] == 0]
    for_weak = [i for i in order if weak_right[i] == 1 and student_right[i] == 0]
    n_student, n_weak = _shares(len(for_student), len(for_weak), most)
    picked = [(i, STUDENT) for i in for_student[:n_student]] + [(i, SUPERVISOR) for i in for_weak[:n_weak]]
    return [
        Example(
            row_id=clean(rows.ids[i]),
            text=clean(rows.texts[i], limit=TEXT_LIMIT),
            truth=clean(rows.class_names[rows.truth[i]]),
            weak=float(weak_mean[i, rows.truth[i]]),
            student=float(student_mean[i, rows.truth[i]]),
            right=right,
        )
        for i, right in picked
    ]


def _shares(first: int, second: int, most: int) -> tuple[int, int]:
    """Half each; what one lacks the other may use."""
    a = min(first, max(most // 2, most - second))
    return a, min(second, most - a)
