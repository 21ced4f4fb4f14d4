"""Beside the student that was chosen: the end of its training, the place that the truth would choose, and naive.

The truth of the validation rows is read here, after a method is done; no method sees it, and no test row is searched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from oversight.models.student import Fitted, Followed, Validation
from oversight.runs.store import Outcome
from oversight.studies.plan import Scoring
from oversight.tasks.task import Floats, Rows
from oversight.ties import choice_shares

PLACES = ("last", "oracle_best")
CONVERGED = "the student is a converged solution: there is no path to choose from"
NOT_KEPT = "this way of training keeps no other places than the one that was chosen"
OLDER = "this result was scored by a version that kept no places"
IS_NAIVE = "it is naive"
NO_NAIVE = "naive is not among the methods of this study"


def places_of(
    fitted: Fitted, validation: Callable[[], Validation], tests: Mapping[str, Rows]
) -> tuple[dict[str, Floats], dict[str, Any]]:
    """Test probabilities at each of PLACES, and where they are; without a path the reason.

    Of a method that fits several students it is the last one, which predicts.

    Args:
        fitted: what the method gave.
        validation: validation rows with their true labels.
        tests: rows by name of the test set.
    """
    while isinstance(inner := getattr(fitted, "fitted", None), Fitted):
        fitted = inner
    if not isinstance(fitted, Followed):
        return {}, {"reason": NOT_KEPT}
    found = {"last": fitted.last, "oracle_best": fitted.best_by(validation())}
    if any(one is None for one in found.values()):
        return {}, {"reason": CONVERGED}
    there = {place: one for place, one in found.items() if one is not None}
    arrays = {
        f"{name}.{place}": np.ascontiguousarray(one.predict(rows))
        for name, rows in tests.items()
        for place, one in there.items()
    }
    told = {place: {name: one.choices[name] for name in ("penalty", "progress")} for place, one in there.items()}
    return arrays, told


def kept_places(students: Sequence[Outcome], test: str) -> tuple[dict[str, Floats], str | None]:
    """(s, n, k) by place, on the rows of the students' predictions; or nothing, and why."""
    missing = [one for one in students if f"{test}.last" not in one.arrays]
    if missing:
        return {}, str(missing[0].record.get("places", {}).get("reason", OLDER))
    return {place: np.stack([np.asarray(one.arrays[f"{test}.{place}"]) for one in students]) for place in PLACES}, None


def n_same_choices(first: Sequence[Floats], second: Sequence[Floats]) -> int:
    """In how many seeds two students choose alike on every row; each (n, k)."""
    return sum(np.array_equal(choice_shares(a), choice_shares(b)) for a, b in zip(first, second, strict=True))


def at_places(
    runs: Sequence[tuple[Sequence[Outcome], Outcome, Outcome]], test: str, score: Callable[[Floats], Any]
) -> dict[str, Any]:
    """What `score` says of (s, n, k) at each place: `student_last`, `student_oracle_best`; `no_places` why not."""
    found, why = kept_places([student for _, student, _ in runs], test)
    told = {f"student_{place}": score(found[place]) if place in found else None for place in PLACES}
    return {**told, "no_places": why}


def against_naive(student: Floats, naive: Sequence[Outcome], scoring: Scoring) -> dict[str, Any]:
    """`same_as_naive`: in how many seeds the student (s, n, k) chooses as naive on every row; `no_naive` why not."""
    if not naive:
        return {"same_as_naive": None, "no_naive": scoring.why_no_naive}
    other = [np.asarray(one.arrays[f"{scoring.test}.probs"]) for one in naive]
    return {"same_as_naive": n_same_choices(list(student), other), "no_naive": None}
