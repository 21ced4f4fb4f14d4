"""Intervals within the range of a score: Wilson's for shares, clipped ones for the rest, and their coverage near 1."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from oversight.metrics import METRICS, bootstrap_interval, linear_interval, moments, recovered
from oversight.metrics.limits import SHARE, between, clipped, share_interval


def test_rows_of_their_own_give_wilsons_lower_and_the_usual_upper_limit() -> None:
    """One seed, p = .8 of 200 rows: the lower root of |p - x| = q sqrt(x (1 - x) / n) within 1 %, which phi differs by,
    and p + t s / sqrt(n), which lies above the upper root."""
    x = (np.arange(200) % 5 > 0).astype(np.float64)
    found = linear_interval(moments(x[None, None], np.arange(200)), (1.0,), limits=SHARE)
    q = float(stats.t.ppf(0.975, 199))
    k = q**2 / 200
    middle, half = (0.8 + k / 2) / (1 + k), q * math.sqrt(0.16 / 200 + q**2 / 4 / 200**2) / (1 + k)
    assert found.low == pytest.approx(middle - half, abs=0.01 * half)
    assert found.high == pytest.approx(0.8 + q * x.std(ddof=1) / math.sqrt(200), rel=1e-9)
    assert found.high > middle + half


def test_two_seeds_stay_within_zero_and_one() -> None:
    """They printed [.18, 1.20]."""
    rng = np.random.default_rng(0)
    x = np.stack([rng.random((1, 500)) < p for p in (0.65, 0.73)]).astype(np.float64)
    usual = linear_interval(moments(x, np.arange(500)), (1.0,))
    assert usual.high > 1
    found = linear_interval(moments(x, np.arange(500)), (1.0,), limits=SHARE)
    assert 0 <= found.low < 0.4 and found.high == 1.0


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_share_of_nothing_or_all_has_an_interval(value: float) -> None:
    """k / (1 + k) with k = q^2 / n, as Wilson's of 0 of n."""
    x = np.full((3, 1, 400), value)
    found = linear_interval(moments(x, np.arange(400)), (1.0,), limits=SHARE)
    k = stats.t.ppf(0.975, 399) ** 2 / 400
    away = found.high if value == 0 else 1 - found.low
    assert away == pytest.approx(k / (1 + k), rel=1e-9)
    assert value in (found.low, found.high)


@pytest.mark.parametrize(("accuracy", "before"), [(0.9, 0.95), (0.98, 0.94), (0.995, 0.79), (0.9994, 0.2)])
@pytest.mark.parametrize("n", [100, 300])
def test_accuracies_near_one_are_covered(accuracy: float, before: float, n: int) -> None:
    """Exact over the binomial. -+ t covered .39 of .995 with 100 rows, and .87 of .98."""
    chances = stats.binom.pmf(np.arange(n + 1), n, accuracy)
    total = usual = 0.0
    for right in np.flatnonzero(chances > 1e-9):
        m = moments((np.arange(n) < right).astype(np.float64)[None, None], np.arange(n))
        for_shares, plain = linear_interval(m, (1.0,), limits=SHARE), linear_interval(m, (1.0,))
        assert 0 <= for_shares.low <= for_shares.value <= for_shares.high <= 1
        total += chances[right] * (for_shares.low <= accuracy <= for_shares.high)
        usual += chances[right] * (plain.low <= accuracy <= plain.high)
    assert total >= 0.93
    assert usual < before


def test_all_that_several_variances_allow_is_returned() -> None:
    def found(variances: list[float], rest: list[float]) -> tuple[float, float]:
        return share_interval(0.7, np.array(variances), np.array(rest), q=1.96, n_effective=500, smallest=0.0)

    one, two, both = found([4e-4], [0.0]), found([1e-4], [0.01]), found([4e-4, 1e-4], [0.0, 0.01])
    assert both == (min(one[0], two[0]), max(one[1], two[1]))


def test_other_scores_are_cut_off_at_what_is_possible() -> None:
    assert clipped(-0.2, 2.4, METRICS["brier"].limits) == (0.0, 2.0)
    assert clipped(-0.2, 40.0, METRICS["nll"].limits) == (0.0, 40.0)
    assert between(SHARE) == (-1.0, 1.0) and between(METRICS["nll"].limits)[1] == math.inf
    rng = np.random.default_rng(1)
    labels = np.arange(60) % 2
    p = np.clip(0.5 + (labels - 0.5) * rng.uniform(0.2, 1.0, (2, 60)) + 0.3 * rng.normal(size=(2, 60)), 0.01, 0.99)
    found = bootstrap_interval(METRICS["auroc"], np.stack([1 - p, p], axis=2), labels, np.arange(60), seed=0)
    assert 0 <= found.low < found.high <= 1


def test_differences_of_shares_stay_within_minus_one_and_one() -> None:
    x = np.zeros((2, 3, 60))
    x[0, 2], x[1, 2, :20] = 1, 1
    found = recovered(x, np.arange(60), limits=SHARE)
    assert (found.gap.low, found.gap.high) == (-1.0, 1.0)
