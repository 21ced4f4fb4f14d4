"""Which rows a student learns from and on which it makes its choices: the same for every kind of student."""

from __future__ import annotations

import numpy as np

from oversight.errors import InputError
from oversight.models.student import Validation
from oversight.tasks.split import Seed, hold_out
from oversight.tasks.task import Floats, Labels, Rows
from oversight.ties import strata

HELD_OUT = 0.1


def held_apart(
    rows: Rows, labels: Labels, weights: Floats | None, validation: Validation | None, *, seed: Seed
) -> tuple[Rows, Floats | None, Validation]:
    """Rows to fit, their weights, and answered rows for choices: those given, else a grouped tenth of `rows`."""
    if validation is None:
        kept, held = hold_out(rows, strata(labels.probs), fraction=HELD_OUT, seed=seed.split)
        validation = Validation(rows=rows.take(held), labels=labels)
        rows, weights = rows.take(kept), None if weights is None else weights[kept]
    seen, answers, _ = answered(validation.rows, validation.labels, None)
    return rows, weights, Validation(rows=seen, labels=answers)


def answered(rows: Rows, labels: Labels, weights: Floats | None) -> tuple[Rows, Labels, Floats | None]:
    """Rows that have an answer and a weight above 0, with their labels in the same order.

    Raises:
        InputError: none is left.
    """
    joined = labels.on(rows)
    kept = joined.answered if weights is None else joined.answered & (weights > 0)
    if not kept.any():
        raise InputError(f"labels of {labels.source}: found no answered row to train on")
    if kept.all():
        return rows, joined, weights
    index = np.flatnonzero(kept)
    chosen = rows.take(index)
    return chosen, joined.on(chosen), None if weights is None else weights[index]
