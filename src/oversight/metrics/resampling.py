"""The group bootstrap of scores without a closed form: one set of weights for all roles and seeds, sorts done once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from oversight.errors import InputError
from oversight.metrics.checks import Floats, Ints, check_range, check_scored, check_seeds, group_index
from oversight.metrics.scores import Metric, positive_classes, ranking

Kernel = Callable[[Floats], Floats]
"""Weights (n, b), one column per resample -> the weighted score (b,)."""

BLOCK_ELEMENTS = 2**16
WEIGHTS_STREAM, SEEDS_STREAM = 0, 1


def replicates(
    metric: Metric, probs: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike, *, n_resamples: int, seed: int
) -> Floats:
    """Scores of resampled test groups, every seed's model apart.

    Resample b draws G groups with replacement; each row then counts as often as its group was drawn. The weights depend
    on (seed, G, n_resamples) alone: roles scored in separate calls with the same groups are resampled together, and a
    role shared by several studies can be kept.

    Args:
        metric: linear ones are resampled through their row scores (balanced accuracy: linearised); auroc has a fast
            kernel; any other but ece is called once per resample.
        probs: (s, n, k), the probabilities of every seed on the same rows.
        labels: (n,) true classes.
        groups: (n,) any values; rows with the same one stay together.
        n_resamples: B, at least 1.
        seed: of the weights.

    Returns:
        (B, s) float64; NaN where the score is undefined in a resample.

    Raises:
        InputError: ece, which resamples bias: their noise is added to that of the rows.
    """
    if not metric.resampled:
        raise InputError(f"metric: found {metric.name}, expected one that can be resampled; see `calibration_error`")
    stacked = check_seeds("probs", probs)
    check_range("n_resamples", n_resamples, 1, float("inf"))
    index, n_groups = group_index(groups, stacked.shape[1])
    kernels = [_kernel(metric, one, labels) for one in stacked]
    in_order = np.array_equal(index, np.arange(n_groups))
    blocks: list[Floats] = []
    for weights in group_weights(n_groups, n_resamples=n_resamples, seed=seed):
        rows = weights if in_order else weights[index]
        blocks.append(np.stack([kernel(rows) for kernel in kernels], axis=1))
    return np.concatenate(blocks)


def group_weights(n_groups: int, *, n_resamples: int, seed: int) -> Iterator[Floats]:
    """Multinomial weights (G, b) of G draws from G groups, in blocks of b resamples that add up to n_resamples."""
    rng = np.random.default_rng([seed, WEIGHTS_STREAM])
    width = max(1, BLOCK_ELEMENTS // n_groups)
    for start in range(0, n_resamples, width):
        b = min(width, n_resamples - start)
        cells = rng.integers(0, n_groups, size=(b, n_groups)) * b + np.arange(b)[:, None]
        yield np.bincount(cells.ravel(), minlength=n_groups * b).reshape(n_groups, b).astype(np.float64)


def seed_noise(n_seeds: int, *, n_resamples: int, seed: int) -> Floats:
    """Multipliers e (B, s) of the seeds' deviations: sum_s e_s dev_s / sqrt(s (s-1)) is t(s-1) times a standard error.

    e_s ~ N(0, 1) sqrt((s-1) / chi2(s-1)), one chi2 per resample. Zeros for one seed.
    """
    if n_seeds < 2:
        return np.zeros((n_resamples, n_seeds))
    rng = np.random.default_rng([seed, SEEDS_STREAM])
    normal = rng.standard_normal((n_resamples, n_seeds))
    return normal * np.sqrt((n_seeds - 1) / rng.chisquare(n_seeds - 1, size=(n_resamples, 1)))


def _kernel(metric: Metric, probs: Floats, labels: npt.ArrayLike) -> Kernel:
    probs, truth = check_scored(probs, labels)
    if metric.row_scores is not None:
        return _mean_kernel(metric.row_scores(probs, truth))
    if metric.name == "auroc":
        return _auroc_kernel(probs, truth)
    return _repeating_kernel(metric, probs, truth)


def _mean_kernel(scores: Floats) -> Kernel:
    return lambda weights: scores @ weights / weights.sum(axis=0)


def _auroc_kernel(probs: Floats, labels: Ints) -> Kernel:
    areas = [_area_kernel(ranking(probs, c), labels == c) for c in positive_classes(probs.shape[1], labels)]

    def score(weights: Floats) -> Floats:
        if not areas:
            return np.full(weights.shape[1], np.nan)
        values = np.stack([area(weights) for area in areas])
        present = np.isfinite(values)
        return np.where(present.any(axis=0), _safe_mean(values, present), np.nan)

    return score


def _safe_mean(values: Floats, present: npt.NDArray[np.bool_]) -> Floats:
    return np.where(present, values, 0.0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)


def _area_kernel(scores: Floats, positive: npt.NDArray[np.bool_]) -> Kernel:
    """sum_i w_i (N(<) + N(<=)) / 2 over positives i, N the weight of negatives below, divided by both total weights."""
    negatives = np.flatnonzero(~positive)
    negatives = negatives[np.argsort(scores[negatives], kind="stable")]
    positives = np.flatnonzero(positive)
    positives = positives[np.argsort(scores[positives], kind="stable")]
    below = np.searchsorted(scores[negatives], scores[positives], side="left")
    up_to = np.searchsorted(scores[negatives], scores[positives], side="right")
    tied = bool((below != up_to).any())

    def score(weights: Floats) -> Floats:
        heights = np.zeros((len(negatives) + 1, weights.shape[1]))
        np.cumsum(weights[negatives], axis=0, out=heights[1:])
        mine = weights[positives]
        under = (heights[below] + heights[up_to]) / 2 if tied else heights[below]
        with np.errstate(invalid="ignore"):
            return np.einsum("ib,ib->b", mine, under) / (mine.sum(axis=0) * heights[-1])

    return score


def _repeating_kernel(metric: Metric, probs: Floats, labels: Ints) -> Kernel:
    def score(weights: Floats) -> Floats:
        chosen = (np.repeat(np.arange(len(labels)), column.astype(np.int64)) for column in weights.T)
        return np.array([metric.function(probs[rows], labels[rows]) for rows in chosen], dtype=np.float64)

    return score
