"""The interval of the calibration error, and why its differences have none."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from oversight.metrics.calibration import Squared, not_rejected, squared
from oversight.metrics.checks import Floats, check_scored, check_seeds, group_index
from oversight.metrics.intervals import UPPER, Estimate, Sample, t_quantile
from oversight.metrics.pgr import GAIN, GAP, Recovered
from oversight.metrics.pool import Scope, seed_factor

NO_DIFFERENCE = "no interval of a difference of calibration errors is known to cover"


def calibration_error(
    probs: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike, *, scope: Scope = "these-rows"
) -> Estimate:
    """Root of the mean over seeds of the squared calibration error, with an interval.

    The interval of one model is every squared error that `not_rejected` leaves. With several seeds its ends are those
    of the mean S and the mean noise, and the squared distance from the value to each end grows by
    t(.975; s - 1)^2 var_s / s, the seeds' part, over new rows times `pool.seed_factor`.

    Args:
        probs: (s, n, k) probabilities of every seed on the same rows.
        labels: (n,) true classes.
        groups: (n,) any values.
        scope: of what the interval is to speak.

    Returns:
        Value and ends in [0, 1].

    Raises:
        InputError: shapes do not fit.
    """
    stacked = check_seeds("probs", probs)
    index, _ = group_index(groups, stacked.shape[1])
    sample = Sample.of(groups, len(stacked), scope=scope)
    found = [squared(*check_scored(one, labels), index) for one in stacked]
    errors = np.array([one.error for one in found])
    value = max(0.0, float(errors.mean()))
    if sample.no_interval:
        return sample.estimate(math.sqrt(value), math.nan, math.nan, sample.no_interval)
    low, high = not_rejected(Squared(*np.mean(found, axis=0).tolist()), upper=UPPER)
    if len(errors) > 1:
        spread = float(errors.std(ddof=1)) * math.sqrt(seed_factor(len(errors), scope) / len(errors))
        seeds = t_quantile(len(errors) - 1) * spread
        low, high = value - math.hypot(value - low, seeds), value + math.hypot(high - value, seeds)
    low, high = (math.sqrt(min(1.0, max(0.0, one))) for one in (low, high))
    return sample.estimate(math.sqrt(value), low, high)


def calibration_recovered(
    roles: Sequence[Floats], labels: npt.ArrayLike, groups: npt.ArrayLike, *, scope: Scope = "these-rows"
) -> Recovered:
    """Errors of the three roles with their signs changed (more is better), gap and gain without interval, no PGR.

    Two errors near 0 lie at the edge of what is possible, and roles share rows: no interval of their difference was
    found that covers.

    Args:
        roles: weak, student, ceiling, each (s, n, k).
        labels, groups, scope: see `calibration_error`.
    """
    sample = Sample.of(groups, len(roles[0]), scope=scope)
    found = [calibration_error(probs, labels, groups, scope=scope) for probs in roles]
    weak, student, ceiling = (sample.estimate(-one.value, -one.high, -one.low, one.reason) for one in found)
    values = np.array([weak.value, student.value, ceiling.value])
    gap, gain = (
        sample.estimate(float(np.dot(contrast, values)), math.nan, math.nan, NO_DIFFERENCE) for contrast in (GAP, GAIN)
    )
    return Recovered(weak, student, ceiling, gap=gap, gain=gain, pgr=sample.undefined(NO_DIFFERENCE))
