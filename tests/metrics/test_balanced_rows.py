"""Balanced accuracy as a mean over rows: influence values, and the variance of the bootstrap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from oversight.metrics import METRICS, balanced_accuracy, moments

Floats = npt.NDArray[np.float64]


def balanced_rows(probs: Floats, labels: npt.NDArray[np.int64]) -> Floats:
    rows = METRICS["balanced_accuracy"].row_scores
    assert rows is not None
    return rows(probs, labels)


@pytest.mark.parametrize("k", [2, 3])
def test_rows_of_balanced_accuracy_are_its_influence(k: int) -> None:
    """d/de of the score when row i weighs 1 + n e, others 1, by finite differences on the weighted definition."""
    rng = np.random.default_rng(k)
    labels = rng.choice(k, size=60, p=np.arange(1, k + 1) / (k * (k + 1) / 2))
    probs = rng.dirichlet(np.ones(k), size=60)
    right = (probs.argmax(axis=1) == labels).astype(float)

    def weighted(w: Floats) -> float:
        return float(np.mean([np.average(right[labels == c], weights=w[labels == c]) for c in range(k)]))

    rows, value, step = balanced_rows(probs, labels), balanced_accuracy(probs, labels), 1e-5
    assert rows.mean() == pytest.approx(value, rel=1e-12)
    for i in range(60):
        move = 60 * step * (np.arange(60) == i)
        slope = (weighted(1 + move) - weighted(1 - move)) / (2 * step)
        assert rows[i] - value == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_variance_of_balanced_accuracy_is_that_of_the_bootstrap() -> None:
    """600 rows in groups of 3, 4000 resamples: noise of a standard error about 1 %, bias of order 1/n."""
    rng = np.random.default_rng(0)
    labels = rng.choice(2, size=600, p=[0.8, 0.2])
    groups = np.arange(600) // 3
    right = rng.random(600) < np.where(labels == 0, 0.9, 0.6)
    probs = np.eye(2)[np.where(right, labels, 1 - labels)]
    weights = rng.multinomial(200, np.full(200, 1 / 200), size=4000)[:, groups]
    recalls = [(weights[:, labels == c] @ right[labels == c]) / weights[:, labels == c].sum(axis=1) for c in (0, 1)]
    se = moments(balanced_rows(probs, labels)[None, None], groups).V_rows[0, 0] ** 0.5
    assert se == pytest.approx(float(np.mean(recalls, axis=0).std()), rel=0.05)
