"""How often the student repeats its supervisor: overall, where the supervisor is right, and where it is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oversight.errors import InputError
from oversight.metrics.checks import Floats, check_labels, check_seeds
from oversight.metrics.intervals import Estimate, linear_interval, moments
from oversight.metrics.limits import SHARE
from oversight.metrics.pool import Scope
from oversight.ties import choice_shares, right_shares

MIN_ROWS = 20
FEW_ROWS = "fewer than 20 rows"


@dataclass(frozen=True)
class Agreement:
    """Shares of test rows, in [0, 1], on which student and supervisor choose the same class, as means over seeds.

    Attributes:
        all: of all rows.
        weak_right, weak_wrong: of the rows where the supervisor is right, or wrong.
    """

    all: Estimate
    weak_right: Estimate
    weak_wrong: Estimate


def agreement(
    student: npt.ArrayLike,
    weak: npt.ArrayLike,
    labels: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    scope: Scope = "these-rows",
) -> Agreement:
    """Agreement of hard choices, with intervals over seeds and test groups.

    Conditional shares are ratios of sums over seeds and rows, R = sum a / sum c with c = 1[in the cell] and
    a = 1[in the cell and same choice]; their interval is that of the row scores R + (a - R c) / mean(c), groups
    weighted by their rows in the cell. Where classes tie, c and a are probabilities, each model drawing among its own
    ties. A cell of fewer than 20 rows (mean over seeds) is NaN.

    Args:
        student: (s, n, k) probabilities, seed by seed those trained on the labels of `weak`.
        weak: (s, n, k) the supervisor's probabilities on the same rows.
        labels: (n,) true classes.
        groups: (n,) any values.
        scope: of what the intervals are to speak, see `metrics.pool`.

    Raises:
        InputError: shapes do not fit.

    Source: the agreement diagnostics of Burns et al. 2023, arXiv:2312.09390.
    """
    mine, theirs = check_seeds("student", student), check_seeds("weak", weak)
    if mine.shape != theirs.shape:
        raise InputError(f"weak: found shape {theirs.shape}, expected {mine.shape}, that of student")
    truth = check_labels(labels, *theirs.shape[1:])
    both = choice_shares(mine) * choice_shares(theirs)
    right, same = right_shares(theirs, truth), both.sum(axis=2)
    same_right = both[:, np.arange(len(truth)), truth]
    cells = ((same, np.ones_like(same)), (same_right, right), (same - same_right, 1 - right))
    return Agreement(*(_share(*cell, groups, scope) for cell in cells))


def _share(same: Floats, cell: Floats, groups: npt.ArrayLike, scope: Scope) -> Estimate:
    """sum(same) / sum(cell) over (s, n), with its linearised interval; `same` is the part of the cell that agrees."""
    share = float(same.sum() / max(1.0, float(cell.sum())))
    scores = share + (same - share * cell) / max(float(cell.mean()), np.finfo(np.float64).tiny)
    found = moments(scores[:, None, :], groups, weights=cell.mean(axis=0)).covering(scope)
    if cell.sum() / len(cell) < MIN_ROWS:
        return found.sample.undefined(FEW_ROWS)
    return linear_interval(found, (1.0,), limits=SHARE)
