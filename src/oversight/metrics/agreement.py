"""How often the student repeats its supervisor: overall, where the supervisor is right, and where it is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oversight.errors import InputError
from oversight.metrics.checks import Floats, check_labels, check_seeds
from oversight.metrics.intervals import Estimate, linear_interval, moments
from oversight.metrics.scores import hard

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


def agreement(student: npt.ArrayLike, weak: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike) -> Agreement:
    """Agreement of hard choices, with intervals over seeds and test groups.

    Conditional shares are ratios of sums over seeds and rows, R = sum a c / sum c with a = 1[same choice] and
    c = 1[in the cell]; their interval is the linear one of the row scores R + (a - R) c / mean(c). A cell of fewer than
    20 rows (mean over seeds) is NaN.

    Args:
        student: (s, n, k) probabilities, seed by seed those trained on the labels of `weak`.
        weak: (s, n, k) the supervisor's probabilities on the same rows.
        labels: (n,) true classes.
        groups: (n,) any values.

    Raises:
        InputError: shapes do not fit.

    Source: the agreement diagnostics of Burns et al. 2023, arXiv:2312.09390.
    """
    mine, theirs = check_seeds("student", student), check_seeds("weak", weak)
    if mine.shape != theirs.shape:
        raise InputError(f"weak: found shape {theirs.shape}, expected {mine.shape}, that of student")
    chosen = hard(theirs)
    right = chosen == check_labels(labels, *theirs.shape[1:])
    same = (hard(mine) == chosen).astype(np.float64)
    cells = (np.ones_like(same), right.astype(np.float64), (~right).astype(np.float64))
    return Agreement(*(_share(same, cell, groups) for cell in cells))


def _share(same: Floats, cell: Floats, groups: npt.ArrayLike) -> Estimate:
    """sum(same * cell) / sum(cell) over (s, n), with its linearised interval."""
    share = float((same * cell).sum() / max(1.0, float(cell.sum())))
    scores = share + (same - share) * cell / max(float(cell.mean()), np.finfo(np.float64).tiny)
    found = moments(scores[:, None, :], groups)
    if cell.sum() / len(cell) < MIN_ROWS:
        return found.sample.undefined(FEW_ROWS)
    return linear_interval(found, (1.0,))
