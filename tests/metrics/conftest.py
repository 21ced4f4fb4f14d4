"""Simulated studies shared by the tests of intervals, PGR and resampling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import ndtri

Floats = npt.NDArray[np.float64]
MakeScores = Callable[..., Floats]


@pytest.fixture
def make_scores() -> MakeScores:
    """Right answers (s, 3, n) of weak, student and ceiling, correlated over rows, groups, roles and seeds."""

    def make(
        rng: np.random.Generator,
        groups: npt.NDArray[np.int64],
        *,
        seeds: int = 1,
        p: tuple[float, ...] = (0.6, 0.7, 0.8),
        seed_sd: float = 0.0,
    ) -> Floats:
        n = len(groups)
        shared = rng.normal(size=(groups.max() + 1))[groups] + rng.normal(size=n)
        own = rng.normal(size=(seeds, 3, n)) + rng.normal(size=(3, n))
        quantile = 2 * ndtri(np.array(p))
        shift = seed_sd * 2 * np.sqrt(2 * np.pi) * rng.normal(size=(seeds, 3, 1))
        return (quantile[:, None] + shift > shared + own).astype(np.float64)

    return make
