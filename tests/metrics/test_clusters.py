"""Uneven groups: closed forms against matrices, the old interval where groups are even, and simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from oversight.metrics import Estimate, Sample, linear_interval, moments, recovered
from oversight.metrics.clusters import corrections, effective_groups, row_df, warning
from oversight.metrics.limits import SHARE
from oversight.metrics.percentiles import small_sample

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def matrices(sizes: Floats) -> tuple[Floats, float]:
    """Corrections and Satterthwaite's degrees of freedom, from the working covariance of the residuals itself."""
    g = len(sizes)
    spread = np.diag(sizes**1.5)
    residual = np.eye(g) - np.outer(sizes / sizes.sum(), np.ones(g))
    covariance = residual @ spread @ residual.T
    c = np.diag(spread) / np.diag(covariance)
    m = np.diag(c) @ covariance
    return c, float(np.trace(m) ** 2 / np.trace(m @ m))


@pytest.mark.parametrize("sizes", [[1, 2, 3, 10], [5, 5, 5], [100, 1, 1, 1, 1], [1, 9], list(range(1, 40))])
def test_closed_forms_are_those_of_the_matrices(sizes: list[int]) -> None:
    m = np.array(sizes, dtype=np.float64)
    c, df = matrices(m)
    np.testing.assert_allclose(corrections(m), c, rtol=1e-10)
    assert row_df(m) == pytest.approx(df, rel=1e-8)
    assert effective_groups(m) == pytest.approx(m.sum() ** 2 / (m**2).sum(), rel=1e-12)
    assert row_df(m) <= len(m) - 1 + 1e-9


def test_even_groups_keep_the_old_interval_to_the_bit() -> None:
    """f = G / (G - 1) and t(G - 1), written out; a group named otherwise or rows in another order change nothing."""
    rng = np.random.default_rng(0)
    x, groups = rng.normal(size=(1, 1, 120)), np.repeat(np.arange(30), 4)
    found = linear_interval(moments(x, groups), (1.0,))
    u = (x[0, 0].reshape(30, 4) - x[0, 0].mean()).sum(axis=1) / 120
    half = stats.t.ppf(0.975, 29) * math.sqrt(30 / 29 * (u**2).sum())
    assert (found.high - found.value, found.n_effective) == (pytest.approx(half, rel=1e-12), 30.0)
    assert corrections(np.full(30, 4.0)).tolist() == [30 / 29] * 30 and row_df(np.full(30, 4.0)) == 29.0


def test_rows_that_are_there_twice_change_nothing() -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), rng.integers(1, 9, 40))
    x = rng.normal(size=(2, 2, len(groups)))
    one = linear_interval(moments(x, groups), (1, -1))
    two = linear_interval(moments(np.concatenate([x, x], axis=2), np.r_[groups, groups]), (1, -1))
    assert (one.low, one.high) == (pytest.approx(two.low, rel=1e-9), pytest.approx(two.high, rel=1e-9))
    assert one.n_effective == pytest.approx(two.n_effective)


Study = tuple[Floats, Ints]
ACCURACY, STUDIES = 0.9, 1200


@pytest.fixture(scope="module")
def studies() -> list[Study]:
    """Scores (1, 2, n) of two equal methods, and 12 to 35 groups of Pareto sizes (shape 1.1), worth 2 even ones or 20;
    half of what makes a row hard belongs to its group."""
    rng = np.random.default_rng(3)
    found: list[Study] = []
    for i in range(STUDIES):
        n_groups = (12, 20, 35)[i % 3]
        sizes = np.minimum(np.ceil(2 * (1 + rng.pareto(1.1, n_groups))), 360).astype(np.int64)
        groups = np.repeat(np.arange(n_groups), sizes)
        z = rng.standard_normal((2, len(groups))) + rng.standard_normal((2, n_groups))[:, groups]
        found.append(((np.sqrt(0.5) * z < stats.norm.ppf(ACCURACY)).astype(np.float64)[None], groups))
    return found


def test_few_uneven_groups_are_covered_and_equal_methods_are_not_called_better(studies: list[Study]) -> None:
    """Where there is an interval: in about a third of these studies."""
    covered, apart = list[bool](), list[bool]()
    for x, groups in studies:
        m = moments(x, groups)
        score, difference = linear_interval(m, (1, 0), limits=SHARE), linear_interval(m, (1, -1))
        apart.append(difference.low > 0 or difference.high < 0)
        covered += [score.low <= ACCURACY <= score.high] if math.isfinite(score.low) else []
    assert 0.2 * STUDIES < len(covered) < 0.6 * STUDIES
    assert np.mean(covered) >= 0.93 - 2.33 * math.sqrt(0.93 * 0.07 / len(covered))
    assert np.mean(apart) <= 0.05


@pytest.mark.parametrize(
    ("sizes", "bounded", "judged", "told"),
    [
        ([90] + [1] * 30, False, False, "no intervals"),
        ([40, 40] + [5] * 30, True, False, "no PGR and no verdict"),
        ([5] * 60, True, True, "intervals rest on little"),
        ([5] * 100, True, True, None),
    ],
)
def test_what_few_effective_groups_allow(sizes: list[int], bounded: bool, judged: bool, told: str | None) -> None:
    """The value is always there."""
    rng, groups = np.random.default_rng(4), np.repeat(np.arange(len(sizes)), sizes)
    x = (rng.random((3, 3, len(groups))) < np.array([0.5, 0.75, 0.95])[:, None]).astype(np.float64)
    found = recovered(x, groups)
    for one in (found.weak, found.student, found.ceiling, found.gap, found.gain):
        assert math.isfinite(one.value) and math.isfinite(one.low) == bounded
        assert one.n_effective == pytest.approx(sum(sizes) ** 2 / sum(m**2 for m in sizes))
        assert (one.reason is None) == bounded
    assert found.gap.above_zero == judged == found.pgr.defined
    if not judged:
        assert found.pgr.reason == "too few groups (fewer than 50 effective ones)"
    lines = warning(groups)
    assert (told is None and not lines) or (told is not None and told in lines[0])


def test_resampled_scores_are_widened_where_groups_are_few() -> None:
    few, many = Sample.of(np.arange(12), 1), Sample.of(np.arange(100_000), 1)
    assert small_sample(few) == pytest.approx(stats.t.ppf(0.975, 11) / stats.norm.ppf(0.975) * math.sqrt(12 / 11))
    assert small_sample(many) == pytest.approx(1, abs=1e-4)


def test_an_estimate_without_groups_of_its_own_counts_those_it_has() -> None:
    one = Estimate(0.1, 0.05, 0.15, 200, 60, 1, None, "rows")
    assert one.n_effective == 60 and one.above_zero and not one.below_zero
    assert not Estimate(0.1, 0.05, 0.15, 200, 60, 1, None, "rows", 49.9).above_zero


def old_interval(scores: Floats, groups: Ints) -> tuple[float, float]:
    """Value and half width as they were: G / (G - 1) and t(G - 1), whatever the sizes."""
    g = int(groups.max()) + 1
    u = np.bincount(groups, scores - scores.mean()) / len(scores)
    return float(scores.mean()), float(stats.t.ppf(0.975, g - 1) * math.sqrt(g / (g - 1) * (u**2).sum()))


def test_the_old_interval_falls_short_where_the_new_one_does_not(studies: list[Study]) -> None:
    """The control, in the same studies: .78 covered, .87 of those worth ten groups, equals apart in .12."""
    covered, apart, worth = list[bool](), list[bool](), list[bool]()
    for x, groups in studies:
        (score, half), (difference, width) = old_interval(x[0, 0], groups), old_interval(x[0, 0] - x[0, 1], groups)
        covered.append(abs(score - ACCURACY) <= half)
        apart.append(abs(difference) > width)
        worth.append(effective_groups(np.bincount(groups).astype(np.float64)) >= 10)
    assert np.mean(covered) < 0.85 and np.mean(np.array(covered)[worth]) < 0.90 and np.mean(apart) > 0.08
