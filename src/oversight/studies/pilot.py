"""A finished study as the pilot of a larger one: what its scores vary by, from the predictions that the store kept."""

from __future__ import annotations

import numpy as np

from oversight.errors import InputError
from oversight.metrics.scores import METRICS, oriented
from oversight.metrics.variability import Variability, of_scores
from oversight.reports.result import ROLES, Study
from oversight.runs.store import Store
from oversight.studies.stored import stored_rows


def pilot_of(store: Store, study: Study, *, seed_sd: float | None = None) -> Variability:
    """What weak, student and ceiling vary by in the study's own metric, more is better.

    Args:
        store: what holds its predictions.
        study: a finished one.
        seed_sd: standard deviation over seeds, in place of what the study says of it.

    Raises:
        InputError: its metric is no mean over rows, or what `of_pilot` refuses.
        StepError: its predictions are not in the store any more.
    """
    metric = METRICS[study.metric]
    if not metric.linear or metric.row_scores is None:
        linear = ", ".join(name for name, one in METRICS.items() if one.linear)
        raise InputError(f"pilot: found a study in {study.metric}, expected one in {linear}")
    rows, of_row = stored_rows(store, study), metric.row_scores
    scores = np.stack(
        [oriented(metric, np.stack([of_row(one, rows.truth) for one in rows.probs[role]])) for role in ROLES], axis=1
    )
    groups = np.unique(np.asarray(rows.groups, dtype=object).astype(str), return_inverse=True)[1]
    return of_scores(scores, groups, seed_sd=seed_sd)
