"""Rows with easy features, hard features, or both, told apart without a label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oversight.errors import InputError
from oversight.metrics.checks import Bools, Floats

SMALLEST_SEGMENT = 2
BLOCK_ELEMENTS = 2**22
NO_CHANGE = "no change point: "


@dataclass(frozen=True)
class Overlap:
    """Where each of n rows belongs; the three kinds are disjoint and cover all rows.

    Attributes:
        easy: (n,) the supervisor is sure, and no row that it is unsure of looks alike to the strong model.
        hard: (n,) the supervisor is unsure.
        both: (n,) the supervisor is sure, and the row looks like some that it is unsure of: the overlap.
        confidence_threshold: of the supervisor; rows at or above it are sure.
        alignment_threshold: of the sure rows' alignment with unsure ones; rows at or above it are `both`. NaN where it
            is not defined; then `reason` says why, and every sure row is `easy`.
        reason: None where both thresholds are defined.
    """

    easy: Bools
    hard: Bools
    both: Bools
    confidence_threshold: float
    alignment_threshold: float
    reason: str | None = None

    @property
    def density(self) -> float:
        """Share of all rows that are `both`; NaN where that is not defined."""
        return float("nan") if self.reason else float(self.both.mean())


def confidence(probs: npt.ArrayLike) -> Floats:
    """2 |p_1 - 1/2| of two-class probabilities (n, 2), in [0, 1].

    Raises:
        InputError: not two classes; the source says nothing of more.
    """
    given = np.asarray(probs, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] != 2:
        raise InputError(f"probs: found shape {given.shape}, expected (n, 2): overlap is defined for two classes")
    return 2 * np.abs(given[:, 1] - 0.5)


def change_point(values: npt.ArrayLike) -> int | None:
    """Where n sorted values are best cut in two: the i of the least squared deviations from the two parts' means.

    Parts are values[:i] and values[i:], of at least two; of several equal i the first. None where nothing is gained:
    fewer than four values, or all equal.
    """
    ordered = np.asarray(values, dtype=np.float64)
    n = len(ordered)
    if n < 2 * SMALLEST_SEGMENT or ordered[0] == ordered[-1]:
        return None
    sums = np.cumsum(ordered - ordered.mean())  # the last one is 0 but for rounding
    cuts = np.arange(SMALLEST_SEGMENT, n - SMALLEST_SEGMENT + 1)
    between = sums[cuts - 1] ** 2 * (1 / cuts + 1 / (n - cuts))
    return int(cuts[between.argmax()])


def overlap(sure: npt.ArrayLike, features: npt.ArrayLike) -> Overlap:
    """Easy, hard and overlapping rows by two change points.

    1. Cut the sorted confidences at their change point i; rows of confidence < sorted[i] are hard.
    2. Alignment of every other row: the largest |cosine| of its features with those of a hard row.
    3. Cut the sorted alignments at their change point j; rows of alignment >= sorted[j] overlap, the others are easy.

    Args:
        sure: (n,) the supervisor's confidences, see `confidence`.
        features: (n, d) finite; the strong model's.

    Raises:
        InputError: shapes do not fit, a feature that is not finite, or confidences without a change point.

    Source: after Shin et al. 2024, arXiv:2412.03881, by the authors' code (datacentric_w2s). Differs: their code counts
    the first row above the change point as hard too, and that one row, sure and easy, aligns with all easy rows; every
    place is tried as a change point, where their library's default tries every fifth; a row of zeros has cosine 0.
    """
    given, states = np.asarray(sure, dtype=np.float64), np.asarray(features, dtype=np.float64)
    if given.ndim != 1 or states.ndim != 2 or len(states) != len(given) or not np.isfinite(states).all():
        raise InputError(f"features: found shape {states.shape}, expected ({len(given)}, d) of finite numbers")
    ordered = np.sort(given)
    cut = change_point(ordered)
    if cut is None:
        raise InputError(f"sure: found {len(given)} confidences without a change point, expected four, not all equal")
    threshold = float(ordered[cut])
    hard = given < threshold
    rest = np.flatnonzero(~hard)
    aligned = _alignments(states[rest], states[hard])
    ranked = np.sort(aligned)
    second = change_point(ranked)
    if second is None:
        reason = f"{NO_CHANGE}{len(rest)} sure rows, or all equally aligned"
        return Overlap(~hard, hard, np.zeros_like(hard), threshold, float("nan"), reason)
    both = np.zeros_like(hard)
    both[rest] = aligned >= ranked[second]
    return Overlap(~hard & ~both, hard, both, threshold, float(ranked[second]))


def _alignments(rows: Floats, others: Floats) -> Floats:
    """(m,) the largest |cosine| of each row with one of the others."""
    rows, others = _unit(rows), _unit(others)
    step = max(1, BLOCK_ELEMENTS // max(1, len(others)))
    parts = [np.abs(rows[i : i + step] @ others.T).max(axis=1) for i in range(0, len(rows), step)]
    return np.concatenate(parts) if parts else np.empty(0)


def _unit(rows: Floats) -> Floats:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)
