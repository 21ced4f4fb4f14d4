"""How large the networks of a study are and what they take, counted before any is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from oversight.models.finetune.recipe import LpFt
from oversight.models.finetune.size import (
    check_memory,
    estimate_on,
    forward_flops,
    n_parameters,
    skeleton,
    token_lengths,
)
from oversight.models.finetune.student import FineTuned
from oversight.models.probe import Probe
from oversight.models.rows import held_apart
from oversight.studies.weak_to_strong import Arm, Setup
from oversight.supervision.boosted import Boosted
from oversight.supervision.supervisor import Trained
from oversight.tasks.split import Split, split_task
from oversight.tasks.task import Rows

SUPERVISOR, STUDENT, ON_THE_WAY = "supervisor", "student and ceiling", "student on the way"


def sizes_of(setup: Setup) -> list[dict[str, Any]]:
    """One record for every network of a study and the role it plays, ready for JSON; what is undefined is None.

    Numbers are those of one fit, with the rows of the first seed. A network that is only read (`probe`) is read once
    for all roles and seeds, so its operations are those of all rows.

    Raises:
        InputError: a network would not fit into the memory of its device.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for role, student, rows, n_validation in _learners(setup):
        key = role, repr(student)
        if key in found and found[key]["n_rows"] >= len(rows):
            continue
        if isinstance(student, FineTuned):
            found[key] = _fine_tuned(setup, student, role, rows, n_validation)
        else:
            found[key] = _probe(setup, student, role, rows)
    return list(found.values())


def _learners(setup: Setup) -> Iterator[tuple[str, FineTuned | Probe, Rows, int]]:
    """Role, student, the rows it is trained on, and how many its choices are made on."""
    task, seed = setup.task, setup.seeds[0]
    split = split_task(task, seed=seed.split)
    weak = task.pick(split.weak)
    kept, _, held = held_apart(weak, task.true_labels(weak), None, None, seed=seed)
    for arm in setup.arms:
        for supervisor in arm.supervisors:
            if isinstance(supervisor, Trained | Boosted) and isinstance(supervisor.student, FineTuned | Probe):
                yield SUPERVISOR, supervisor.student, kept, len(held.rows)
        transfer, validation = _answered(setup, split, arm)
        for role, student in ((STUDENT, arm.student), *((ON_THE_WAY, one) for one in arm.method.needs.students)):
            if isinstance(student, FineTuned | Probe):
                yield role, student, transfer, len(validation)


def _answered(setup: Setup, split: Split, arm: Arm) -> tuple[Rows, Rows]:
    """Transfer and validation rows that any of the supervisors answers."""
    parts = (setup.task.pick(split.transfer), setup.task.pick(split.validation))
    masks = [np.logical_or.reduce([one.answers(rows) for one in arm.supervisors]) for rows in parts]
    transfer, validation = (rows.take(np.flatnonzero(mask)) for rows, mask in zip(parts, masks, strict=True))
    return transfer, validation


def _fine_tuned(setup: Setup, student: FineTuned, role: str, rows: Rows, n_validation: int) -> dict[str, Any]:
    size = estimate_on(student, rows, n_classes=setup.task.n_classes)
    check_memory(student, size)
    split = split_task(setup.task, seed=setup.seeds[0].split)
    n_predicted = len(split.test) + sum(len(test) for test in setup.tests.values())
    if role == SUPERVISOR:
        n_predicted += len(split.transfer) + len(split.validation)
    if isinstance(student.recipe, LpFt):
        n_predicted += _n_rows(setup)
    # At every evaluation, and once more for what is kept with the weights.
    n_scored = n_validation * (min(student.recipe.evaluations, size.updates) + 1) * size.trials
    evaluation = size.prediction_flops * (n_scored + n_predicted)
    return {
        "role": role,
        "model": student.name,
        "train": student.recipe.name,
        "parameters": size.parameters,
        "trained_parameters": size.trained_parameters,
        "n_rows": size.n_rows,
        "updates": size.updates * size.trials,
        "memory_bytes": size.bytes_total,
        "flops": size.training_flops + evaluation,
        "evaluation_flops": evaluation,
        "size": asdict(size),
    }


def _probe(setup: Setup, student: Probe, role: str, rows: Rows) -> dict[str, Any]:
    deepest = max(student.backbones, key=lambda one: one.blocks)
    n_tokens, longest = token_lengths(deepest, rows)
    paired = rows.others is not None
    width = skeleton(deepest.checkpoint, depth=deepest.blocks).config.hidden_size
    n_texts = _n_rows(setup) * (2 if paired else 1)
    return {
        "role": role,
        "model": student.name,
        "train": "probe",
        "parameters": n_parameters(deepest.checkpoint, depth=deepest.blocks),
        "trained_parameters": (width + (0 if paired else 1)) * setup.task.n_classes,
        "n_rows": len(rows),
        "updates": None,
        "memory_bytes": None,
        "flops": n_texts * forward_flops(deepest, n_tokens=n_tokens, longest=longest),
        "evaluation_flops": None,
        "size": None,
    }


def _n_rows(setup: Setup) -> int:
    return len(setup.task) + sum(len(test) for test in setup.tests.values())
