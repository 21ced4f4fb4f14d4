"""Whether the supervisor is right on transfer rows more often, or less, than on test rows: a test, and a suspicion.

Every score step tests its own supervisor. What is said of it depends on how many supervisors were tested: Holm over all
of them in one result, so that a sweep of a hundred clean sets is not told of five leaks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.special import stdtr

from oversight.metrics.contrasts import holm
from oversight.metrics.intervals import moments
from oversight.reports.result import Study
from oversight.tasks.task import Bools, Floats

LEVEL = 0.05
FEWEST_ROWS = 20
LEAK = "the halves may leak (near-duplicates, or a group that was not named)"
APART = "the test rows may be drawn differently, or the halves may differ"
Part = tuple[Floats, Bools, Sequence[str]]
"""(n,) how far each row is right, (n,) which rows were answered, and the rows' n groups."""


def transfer_against_test(seeds: Sequence[tuple[Part, Part]]) -> dict[str, float] | None:
    """The supervisor's accuracy on transfer and test rows, and p of their being equal.

    t = difference of the means over seeds / root of the mean variance of a seed's difference, over groups; its degrees
    of freedom are those of the part with the fewest groups. Seeds share rows, so their mean is taken to vary as one.

    Args:
        seeds: for every seed its transfer and its test rows.

    Returns:
        `transfer`, `test`, `p`; None where fewer than 20 rows of a part were answered or all are of one group.
    """
    means, variance, df = list[tuple[float, float]](), 0.0, math.inf
    for pair in seeds:
        found = [_mean(*part) for part in pair]
        if not all(one is not None and one[2] > 0 for one in found):
            return None
        (a, v, df_a), (b, w, df_b) = (one for one in found if one is not None)
        means.append((a, b))
        variance += (v + w) / len(seeds)
        df = min(df, df_a, df_b)
    inside, outside = np.mean(means, axis=0).tolist()
    apart = abs(inside - outside)
    t = apart / math.sqrt(variance) if variance > 0 else math.inf * apart if apart > 0 else 0.0
    return {"transfer": inside, "test": outside, "p": 2 * float(stdtr(df, -t))}


def _mean(right: Floats, answered: Bools, groups: Sequence[str]) -> tuple[float, float, int] | None:
    """Mean, its variance over groups, and groups less one."""
    if answered.sum() < FEWEST_ROWS:
        return None
    kept = np.asarray(groups, dtype=object).astype(str)[answered]
    m = moments(right[answered][None, None, :], kept)
    return float(m.p[0]), float(m.V_rows[0, 0]) if m.n_groups > 1 else 0.0, m.n_groups - 1


def with_suspicions(studies: Sequence[Study]) -> tuple[Study, ...]:
    """The studies, with a warning where a supervisor's difference stays at 5 % after Holm over all that were tested.

    Args:
        studies: of one result; studies with the same supervisors and seeds share one test.
    """
    tests: dict[tuple[str, ...], Mapping[str, float]] = {}
    for one in studies:
        if one.leak is not None:
            tests.setdefault(tuple(one.keys["weak"]), one.leak)
    p = dict(zip(tests, holm([test["p"] for test in tests.values()]), strict=True))
    return tuple(
        replace(one, warnings=(*one.warnings, _line(one.leak, len(tests))))
        if one.leak is not None and p[tuple(one.keys["weak"])] <= LEVEL
        else one
        for one in studies
    )


def _line(test: Mapping[str, float], n: int) -> str:
    holm_over = f" (5 %, Holm over {n} supervisors)" if n > 1 else " (5 %)"
    return (
        f"the supervisor is right on {test['transfer']:.3f} of the transfer rows but on {test['test']:.3f} of the test "
        f"rows, more than chance makes likely{holm_over}: {LEAK if test['transfer'] > test['test'] else APART}"
    )
