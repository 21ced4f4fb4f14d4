"""Studies as the store keeps them: their names and keys beside their numbers, read again without data or models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oversight.errors import StepError
from oversight.metrics.alike import Discordant
from oversight.metrics.pool import THESE_ROWS
from oversight.metrics.theory import Theory
from oversight.reports.result import Result, Study, TestRows
from oversight.runs.kept import Kept
from oversight.runs.store import DirectoryStore, Outcome, Store
from oversight.studies.leaks import with_suspicions
from oversight.studies.places import OLDER
from oversight.studies.pooled import pooled_over_questions
from oversight.studies.rows import joined
from oversight.studies.score import from_json
from oversight.tasks.task import Floats

SAW_TRUTH = "the method saw ground truth"
PLANTED = "truth was planted: the supervisor's labels, or the rows, are made from it"
NOT_KEPT = "this result was scored by a version that kept no prediction"
MADE_FROM_TRUTH = ("planted", "bought")
NAMES = ("task", "test", "weak_model", "strong_model", "method", "train", "weak_train", "oracle", "seeds")


def study_of(names: Mapping[str, Any], record: Mapping[str, Any]) -> Study:
    """A study from its names and the record of its score step.

    Args:
        names: NAMES, the data's own `warnings`, `keys` by role, and whether truth was `planted`.
        record: what the score step gave.
    """
    roles: Mapping[str, Mapping[str, Any]] = record["scores"]
    told: dict[str, Any] = {name: names[name] for name in NAMES}
    found: dict[str, Any] = {
        name: record[name] for name in ("metric", "n_test", "n_groups", "n_effective", "chance", "choices")
    }
    found |= {name: from_json(record[name]) for name in ("gap", "gain", "pgr")}
    found["discordant"] = {role: Discordant(**one) for role, one in record["discordant"].items()}
    return Study(
        **told,
        **found,
        planted=planted_in(names),
        scores={role: {name: from_json(one) for name, one in by_name.items()} for role, by_name in roles.items()},
        agreement={name: from_json(one) for name, one in record["agreement"].items()},
        warnings=tuple(dict.fromkeys((*names["warnings"], *record["warnings"]))),
        keys=names["keys"],
        ties=record.get("ties", {}),
        leak=record.get("leak"),
        **places_told(record),
        theory=theory_of(names, record),
        scope=record.get("scope", THESE_ROWS),
        no_theory=why_no_theory(names) or (None if "theory" in record else NOT_KEPT),
        question_of=names.get("question_of"),
    )


def places_told(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a score's record says of other places of the student's training and of naive; an older one says nothing."""
    found = {name: record.get(name) for name in ("student_last", "student_oracle_best")}
    return {
        **{name: None if one is None else from_json(one) for name, one in found.items()},
        "no_places": record.get("no_places", OLDER),
        "same_as_naive": record.get("same_as_naive"),
        "no_naive": record.get("no_naive", OLDER),
    }


def theory_of(names: Mapping[str, Any], record: Mapping[str, Any]) -> Theory | None:
    """What theory says of a study; nothing where `why_no_theory` has a reason, or the record is older than that."""
    if why_no_theory(names) is not None or "theory" not in record:
        return None
    return Theory.of({name: from_json(one) for name, one in record["theory"].items()})


def why_no_theory(names: Mapping[str, Any]) -> str | None:
    """Why theory says nothing of a study, from its names alone; None where it does."""
    if names["oracle"]:
        return SAW_TRUTH
    return PLANTED if planted_in(names) else None


def planted_in(names: Mapping[str, Any]) -> bool:
    """Whether truth was planted; names that do not say so, which are older, tell it by how supervisors were trained."""
    found = names.get("planted")
    if found is None:
        return any(how in MADE_FROM_TRUTH for how in str(names["weak_train"]).split("+"))
    return bool(found)


def stored_result(store: DirectoryStore, kept: Sequence[Kept]) -> tuple[Result, int]:
    """The finished studies of what was asked for, each once, and how many are not finished yet."""
    found: dict[str, Study] = {}
    unfinished = 0
    for names in (names for one in kept for names in one.studies):
        (key,) = names["keys"]["score"]
        outcome = None if key in found else store.get(key)
        if outcome is not None:
            found[key] = study_of(names, outcome.record)
        elif key not in found:
            unfinished += 1
    about = dict(kept[-1].about) if kept else {}
    studies = with_suspicions(tuple(found.values()))
    return Result(
        studies=studies,
        pooled=pooled_over_questions(studies),
        about=about,
        rows_of=lambda study: stored_rows(store, study),
    ), unfinished


def stored_rows(store: Store, study: Study) -> TestRows:
    """The predictions behind a study, from the store alone.

    Raises:
        StepError: something of it is not there any more.
    """
    (key,) = study.keys["rows"]
    rows = _there(store, key)
    probs = {role: _probs(store, study, role, rows) for role in ("weak", "student", "ceiling")}
    return joined(rows, probs)


def _probs(store: Store, study: Study, role: str, rows: Outcome) -> Floats:
    """(s, n, k); several supervisors are averaged."""
    outcomes = [_there(store, key) for key in study.keys[role]]
    for outcome in outcomes:
        if outcome.record["row_ids"][study.test] != rows.record["row_ids"]:
            raise StepError(f"study {study.keys['score'][0][:12]}: predictions of its {role} belong to other rows")
    every = np.stack([np.asarray(one.arrays[f"{study.test}.probs"]) for one in outcomes])
    return every.reshape(study.seeds, -1, *every.shape[1:]).mean(1)


def _there(store: Store, key: str) -> Outcome:
    found = store.get(key)
    if found is None:
        raise StepError(f"result {key[:12]} is not in the store any more; the command that made it makes it again")
    return found
