"""Percentile intervals from the group bootstrap, for scores without a closed form, with a t-distributed seed part."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from oversight.metrics.checks import Floats, check_range
from oversight.metrics.intervals import NO_SPREAD, NO_VALUE, ONE_GROUP, UPPER, Estimate, Sample, t_quantile
from oversight.metrics.limits import UNBOUNDED, Limits, clipped
from oversight.metrics.pool import Scope, seed_factor
from oversight.metrics.resampling import replicates, seed_noise
from oversight.metrics.scores import Metric, values_per_seed


def bootstrap_interval(
    metric: Metric,
    probs: npt.ArrayLike,
    labels: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    n_resamples: int = 1000,
    seed: int,
    scope: Scope = "these-rows",
) -> Estimate:
    """The seed mean of any metric with a percentile interval: groups resampled, plus a t-distributed seed part.

    Args: as for `replicates`; probs (s, n, k), labels (n,), groups (n,). Coverage was simulated for accuracy only.
    """
    draws = replicates(metric, probs, labels, groups, n_resamples=n_resamples, seed=seed)
    values = values_per_seed(metric, probs, labels)
    sample = Sample.of(groups, len(values), scope=scope)
    spread = with_seed_part(draws, values, seed=seed, sample=sample)
    return percentile_interval(float(values.mean()), spread, sample, limits=metric.limits)


def with_seed_part(draws: Floats, values: Floats, *, seed: int, sample: Sample | None = None) -> Floats:
    """Seed means of replicates plus the seed part: mean_s draws + sum_s e_s (values_s - mean) / sqrt(s (s - 1)).

    Args:
        draws: (..., B, s) replicates.
        values: (..., s) the scores of the sample itself.
        seed: of e; the same e serves all leading dimensions, so roles stay together.
        sample: widens the replicates by `small_sample`, the seed part by the root of its scope's `pool.seed_factor`;
            None leaves both.

    Returns:
        (..., B).

    Raises:
        InputError: the two disagree on the number of seeds.
    """
    n_resamples, s = draws.shape[-2:]
    check_range("values.shape[-1] (seeds)", values.shape[-1], s, s)
    noise = seed_noise(s, n_resamples=n_resamples, seed=seed)
    away = values - values.mean(axis=-1, keepdims=True)
    rows = draws.mean(axis=-1)
    if sample is not None and sample.no_interval is None:
        middle = np.nanmean(rows, axis=-1, keepdims=True) if np.isfinite(rows).any() else 0.0
        rows = middle + small_sample(sample) * (rows - middle)
    factor = 1.0 if sample is None else seed_factor(s, sample.scope)
    return rows + away @ noise.T * math.sqrt(factor / max(1, s * (s - 1)))


def small_sample(sample: Sample) -> float:
    """How much wider replicates must spread: t(row_df) / z for few groups, and 1 / sqrt(1 - 1 / n_effective) for the
    variance that resampling groups loses."""
    return t_quantile(sample.row_df) / float(ndtri(UPPER)) / math.sqrt(1 - 1 / sample.n_effective)


def percentile_interval(value: float, spread: Floats, sample: Sample, *, limits: Limits = UNBOUNDED) -> Estimate:
    """value with the 2.5 and 97.5 percentiles of spread (B,); resamples where the score is undefined are left out.

    Cut off at the limits of the value. A spread of 0 is no interval: nothing is so certain.
    """
    if not math.isfinite(value):
        return sample.undefined(NO_VALUE)
    if sample.no_interval or np.isnan(spread).all():
        return sample.estimate(value, math.nan, math.nan, sample.no_interval or ONE_GROUP)
    low, high = np.nanquantile(spread, [1 - UPPER, UPPER])
    if low == high:
        return sample.estimate(value, math.nan, math.nan, NO_SPREAD)
    return sample.estimate(value, *clipped(float(low), float(high), limits))
