"""Moments and closed-form intervals: naive loops, identities, invariances, and the variance they claim."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from oversight.metrics import Moments, linear_interval, moments

Floats = npt.NDArray[np.float64]
FAST = settings(max_examples=30, deadline=None, database=None, derandomize=True)
NAMES = ("p", "V_rows", "V_in", "V_int", "V_seed")


def random_scores(seed: int, s: int, r: int, n: int, n_groups: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    groups = np.r_[np.arange(n_groups), rng.integers(0, n_groups, n - n_groups)]
    return rng.normal(size=(s, r, n)) + rng.normal(size=(r, n)), rng.permutation(groups)


def naive_corrections(sizes: list[int]) -> Floats:
    """CR2 by matrices: the working variance of every group's sum over that of its residual."""
    m = np.array(sizes, dtype=np.float64)
    residual = np.eye(len(m)) - np.outer(m / m.sum(), np.ones(len(m)))
    return m**1.5 / np.diag(residual @ np.diag(m**1.5) @ residual.T)


def naive_moments(x: Floats, groups: npt.NDArray[np.int64]) -> dict[str, Floats]:
    """The formulas of the statistics page, one number at a time."""
    s, r, n = x.shape
    names = sorted(set(groups.tolist()))
    f = naive_corrections([sum(groups == g) for g in names])
    p_s = [[sum(x[i, a]) / n for a in range(r)] for i in range(s)]
    p = [sum(p_s[i][a] for i in range(s)) / s for a in range(r)]
    rows = {g: [j for j in range(n) if groups[j] == g] for g in names}
    u = {
        (i, a, g): (sum(x[i, a, j] for j in rows[g]) - len(rows[g]) * p_s[i][a]) / n
        for i in range(s)
        for a in range(r)
        for g in names
    }
    ubar = {(a, g): sum(u[i, a, g] for i in range(s)) / s for a in range(r) for g in names}
    found = {name: np.zeros((r, r)) for name in NAMES[1:]} | {"p": np.array(p)}
    for a in range(r):
        for b in range(r):
            found["V_rows"][a, b] = sum(f[j] * ubar[a, g] * ubar[b, g] for j, g in enumerate(names))
            pairs = [f[j] * u[i, a, g] * u[i, b, g] for i in range(s) for j, g in enumerate(names)]
            found["V_in"][a, b] = sum(pairs) / s
            if s > 1:
                found["V_int"][a, b] = (found["V_in"][a, b] - found["V_rows"][a, b]) / (s - 1)
                away = sum((p_s[i][a] - p[a]) * (p_s[i][b] - p[b]) for i in range(s))
                found["V_seed"][a, b] = away / (s * (s - 1))
    return found


def assert_same(one: Moments, two: Moments) -> None:
    for name in NAMES:
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=1e-9, atol=1e-14, err_msg=name)


@pytest.mark.parametrize(("s", "r", "n", "g"), [(1, 1, 9, 9), (3, 3, 40, 12), (2, 4, 25, 25), (5, 2, 30, 2)])
def test_moments_same_as_naive_loops(s: int, r: int, n: int, g: int) -> None:
    x, groups = random_scores(s, s, r, n, g)
    fast = moments(x, groups)
    for name, value in naive_moments(x, groups).items():
        np.testing.assert_allclose(getattr(fast, name), value, rtol=1e-12, atol=1e-16, err_msg=name)
    assert (fast.n_seeds, fast.n_groups, fast.sample.n) == (s, g, n)


def test_rows_by_seeds_part_is_the_spread_of_seeds_around_their_mean() -> None:
    """V_in - V_rows = f mean_s sum_g (u_s - ubar)(u_s - ubar)', so V_int is positive semidefinite."""
    x, groups = random_scores(3, 4, 3, 60, 20)
    m = moments(x, groups)
    around = moments(x - x.mean(axis=0), groups)
    np.testing.assert_allclose(m.V_int, around.V_in / 3, rtol=1e-10, atol=1e-16)
    assert np.linalg.eigvalsh(m.V_int).min() > -1e-15


def test_one_seed_has_rows_only() -> None:
    x, groups = random_scores(4, 1, 3, 80, 80)
    m = moments(x, groups)
    assert not m.V_int.any() and not m.V_seed.any()
    np.testing.assert_allclose(m.V_rows, m.V_in)
    found = linear_interval(m, (1, 0, 0))
    half = stats.t.ppf(0.975, 79) * x[0, 0].std(ddof=1) / math.sqrt(80)
    assert (found.value, found.high - found.value) == (pytest.approx(x[0, 0].mean()), pytest.approx(half, rel=1e-12))
    assert found.covers == "test rows only (these trained models)"


def test_equal_seeds_leave_the_rows_interval() -> None:
    """Three times the same models: no variance over seeds, V_int = 0, the interval of one seed."""
    x, groups = random_scores(5, 1, 2, 100, 30)
    one, three = moments(x, groups), moments(np.repeat(x, 3, axis=0), groups)
    a, b = linear_interval(one, (1, -1)), linear_interval(three, (1, -1))
    assert (b.low, b.high) == (pytest.approx(a.low), pytest.approx(a.high))
    assert (a.covers, b.covers) == ("test groups only (these trained models)", "seeds and test groups")


def test_two_noiseless_rows_give_the_t_interval_over_seeds() -> None:
    """All rows alike: only seeds vary, and the interval is mean -+ t sd / sqrt(s)."""
    values = np.array([0.6, 0.7, 0.65, 0.72])
    found = linear_interval(moments(np.tile(values[:, None, None], (1, 1, 60)), np.arange(60)), (1.0,))
    half = stats.t.ppf(0.975, 3) * values.std(ddof=1) / 2
    assert found.high - found.value == pytest.approx(half, rel=1e-9)


def test_groups_of_one_are_rows_whatever_their_names() -> None:
    x, _ = random_scores(6, 3, 3, 50, 50)
    names = np.array([f"question {i}" for i in np.random.default_rng(0).permutation(50)])
    assert_same(moments(x, np.arange(50)), moments(x, names))
    assert linear_interval(moments(x, names), (0, 1, 0)).covers == "seeds and test rows"


@FAST
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(2, 20))
def test_row_order_and_rows_duplicated_within_groups_do_not_matter(seed: int, s: int, g: int) -> None:
    x, groups = random_scores(seed, s, 3, 3 * g, g)
    order = np.random.default_rng(seed).permutation(3 * g)
    assert_same(moments(x, groups), moments(x[:, :, order], groups[order]))
    assert_same(moments(x, groups), moments(np.concatenate([x, x], axis=2), np.r_[groups, groups]))


@FAST
@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(0.1, 10), st.floats(-5, 5))
def test_linear_interval_follows_affine_maps(seed: int, s: int, scale: float, shift: float) -> None:
    x, groups = random_scores(seed, s, 2, 80, 40)
    one, two = (linear_interval(moments(v, groups), (1, 0)) for v in (x, scale * x + shift))
    for name in ("value", "low", "high"):
        assert getattr(two, name) == pytest.approx(scale * getattr(one, name) + shift, rel=1e-9, abs=1e-9)


def test_one_seed_variance_is_the_variance_over_test_sets(make_scores: Callable[..., Floats]) -> None:
    """Mean of V_rows over 1500 drawn test sets = covariance of p over them, within 10 % (noise 4 %); unequal groups."""
    rng = np.random.default_rng(7)
    groups = np.repeat(np.arange(80), 1 + np.arange(80) % 4)
    drawn = [moments(make_scores(rng, groups), groups) for _ in range(1500)]
    empirical = np.cov(np.array([m.p for m in drawn]), rowvar=False)
    claimed = np.mean([m.V_rows for m in drawn], axis=0)
    np.testing.assert_allclose(np.diag(claimed), np.diag(empirical), rtol=0.1)
    np.testing.assert_allclose(claimed, empirical, atol=0.1 * np.diag(empirical).min())
    covered = [abs(m.p[0] - np.mean([d.p[0] for d in drawn])) <= _half(m) for m in drawn]
    assert 0.93 <= np.mean(covered) <= 0.97


def _half(m: Moments) -> float:
    found = linear_interval(m, (1, 0, 0))
    return found.high - found.value


def test_one_group_has_no_interval_and_says_so() -> None:
    found = linear_interval(moments(np.ones((1, 1, 5)), np.zeros(5)), (1.0,))
    assert found.value == 1.0 and math.isnan(found.low) and not found.defined
    assert found.reason == "one group of test rows: no interval"
    assert found.as_json() == {"value": 1.0, "low": None, "high": None, "n_effective": 1.0}


def test_bad_input_is_named() -> None:
    x = np.zeros((2, 3, 4))
    with pytest.raises(ValueError, match=r"groups: found shape \(3,\), expected \(4,\)"):
        moments(x, np.arange(3))
    with pytest.raises(ValueError, match=r"row_scores: found shape \(3, 4\)"):
        moments(x[0], np.arange(4))
    x[1, 2, 3] = math.inf
    with pytest.raises(ValueError, match=r"row_scores: found inf at \(seed, role, row\) \[1, 2, 3\]"):
        moments(x, np.arange(4))
    with pytest.raises(ValueError, match=r"contrast: found shape \(2,\), expected \(3,\)"):
        linear_interval(moments(np.zeros((2, 3, 4)), np.arange(4)), (1, 0))
