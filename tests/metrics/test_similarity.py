"""CAPA and error consistency: closed forms, naive definitions, the linearised interval, what is undefined."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from oversight.metrics import capa, error_consistency

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
ROWS = np.arange(200)


def one_hot(classes: Ints, k: int) -> Floats:
    return np.eye(k)[classes]


def noisy(truth: Ints, k: int, accuracy: float, seed: int) -> Ints:
    """Right with this probability, else another class, evenly."""
    rng = np.random.default_rng(seed)
    away = (truth + rng.integers(1, k, truth.shape)) % k
    return np.where(rng.random(truth.shape) < accuracy, truth, away)


def naive_capa(p: Floats, q: Floats, truth: Ints) -> float:
    n, k = p.shape
    observed = sum(p[i, c] * q[i, c] for i in range(n) for c in range(k)) / n
    a, b = (sum(one[i, truth[i]] for i in range(n)) / n for one in (p, q))
    expected = a * b + (1 - a) * (1 - b) / (k - 1)
    return (observed - expected) / (1 - expected)


def naive_errors(p: Floats, q: Floats, truth: Ints) -> float:
    n = len(truth)
    right = [[int(one[i].argmax() == truth[i]) for i in range(n)] for one in (p, q)]
    observed = sum(x == y for x, y in zip(*right, strict=True)) / n
    a, b = (sum(one) / n for one in right)
    expected = a * b + (1 - a) * (1 - b)
    return (observed - expected) / (1 - expected)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_both_are_the_mean_over_seeds_of_their_naive_definitions(k: int) -> None:
    rng = np.random.default_rng(k)
    truth = rng.integers(0, k, 200)
    p, q = (rng.dirichlet(np.ones(k), (3, 200)) + 0.3 * np.eye(k)[truth] for _ in range(2))
    p, q = p / p.sum(2, keepdims=True), q / q.sum(2, keepdims=True)
    for found, naive in ((capa, naive_capa), (error_consistency, naive_errors)):
        wanted = np.mean([naive(p[s], q[s], truth) for s in range(3)])
        one = found(p, q, truth, ROWS // 2)
        assert one.value == pytest.approx(wanted, rel=1e-12)
        assert (one.n, one.n_groups, one.n_seeds, one.covers) == (200, 100, 3, "seeds and test groups")
        assert one.low < one.value < one.high
        assert found(q, p, truth, ROWS // 2).value == pytest.approx(wanted, rel=1e-12)


def test_models_that_are_sure_and_equal_have_one() -> None:
    truth = np.arange(200) % 3
    probs = one_hot(noisy(truth, 3, 0.7, 0), 3)[None]
    for found in (capa, error_consistency):
        assert found(probs, probs, truth, ROWS).value == pytest.approx(1, abs=1e-12)


def test_an_unsure_model_is_not_like_itself() -> None:
    """p = (x, 1 - x) with x on the true class everywhere: o = x^2 + (1 - x)^2 = e, so CAPA is 0."""
    truth = np.arange(200) % 2
    probs = (0.8 * one_hot(truth, 2) + 0.2 * one_hot(1 - truth, 2))[None]
    assert capa(probs, probs, truth, ROWS).value == pytest.approx(0, abs=1e-12)


def test_two_that_are_never_wrong_together_are_below_zero() -> None:
    """Accuracies .75, errors on different quarters, two classes: o = .5, e = .625, so (.5 - .625) / .375 = -1/3."""
    truth = np.zeros(200, dtype=np.int64)
    first, second = (one_hot(np.equal(ROWS % 4, i).astype(np.int64), 2)[None] for i in (0, 1))
    for found in (capa, error_consistency):
        assert found(first, second, truth, ROWS).value == pytest.approx(-1 / 3, abs=1e-12)


def test_different_wrong_answers_count_for_capa_and_not_for_error_consistency() -> None:
    """Wrong on the same half, k = 3: same answers 1; different ones o = .5, e = .25 + .25 / 2: .125 / .625 = .2."""
    truth = np.zeros(200, dtype=np.int64)
    wrong = ROWS % 2
    first, second = one_hot(wrong, 3)[None], one_hot(2 * wrong, 3)[None]
    assert capa(first, first, truth, ROWS).value == pytest.approx(1, abs=1e-12)
    assert capa(first, second, truth, ROWS).value == pytest.approx(0.2, abs=1e-12)
    assert error_consistency(first, second, truth, ROWS).value == pytest.approx(1, abs=1e-12)


def test_independent_errors_give_zero_within_the_interval() -> None:
    """Twenty pairs of independent models: 95 % intervals miss 0 at most 4 times (chance of 5 or more: .0026)."""
    truth = np.arange(400) % 3
    misses = {capa: 0, error_consistency: 0}
    for i in range(20):
        first, second = (one_hot(noisy(truth, 3, 0.7, 2 * i + j), 3)[None] for j in range(2))
        for found in misses:
            one = found(first, second, truth, np.arange(400))
            misses[found] += not one.low <= 0 <= one.high
    assert max(misses.values()) <= 4


def test_linearised_interval_matches_a_group_bootstrap() -> None:
    """One seed: half width = 1.96 sd of the resampled value, within 10 % (noise of 400 resamples: 3.5 %, curvature)."""
    rng = np.random.default_rng(3)
    n, groups = 600, np.arange(600) // 2
    truth = rng.integers(0, 3, n)
    shared = rng.random(300)[groups] < 0.3
    p, q = (one_hot(np.where(shared, (truth + 1) % 3, noisy(truth, 3, 0.8, seed)), 3) for seed in (4, 5))
    for found, naive in ((capa, naive_capa), (error_consistency, naive_errors)):
        one = found(p[None], q[None], truth, groups)
        drawn = rng.integers(0, 300, (400, 300))
        rows = (2 * drawn[:, :, None] + np.arange(2)).reshape(400, -1)
        values = [naive_value(found, p[i], q[i], truth[i]) for i in rows]
        assert naive(p, q, truth) == pytest.approx(one.value, rel=1e-12)
        assert (one.high - one.low) / 2 == pytest.approx(1.96 * np.std(values), rel=0.1)


def naive_value(found: object, p: Floats, q: Floats, truth: Ints) -> float:
    """The same as the naive functions, fast enough for a bootstrap."""
    if found is capa:
        rows = np.arange(len(truth))
        observed, a, b, share = (p * q).sum(1).mean(), p[rows, truth].mean(), q[rows, truth].mean(), 0.5
    else:
        first, second = p.argmax(1) == truth, q.argmax(1) == truth
        observed, a, b, share = (first == second).mean(), first.mean(), second.mean(), 1.0
    expected = a * b + share * (1 - a) * (1 - b)
    return float((observed - expected) / (1 - expected))


def test_complete_chance_agreement_is_undefined() -> None:
    truth = np.arange(60) % 2
    right, wrong = one_hot(truth, 2)[None], one_hot(1 - truth, 2)[None]
    for pair in ((right, right), (wrong, wrong)):
        for found in (capa, error_consistency):
            one = found(*pair, truth, np.arange(60))
            assert math.isnan(one.value) and "agreement by chance is complete" in str(one.reason)
    few = capa(right[:, :19], wrong[:, :19], truth[:19], np.arange(19))
    assert math.isnan(few.value) and few.reason == "fewer than 20 rows"


def test_bad_input_is_named() -> None:
    good = np.full((2, 30, 2), 0.5)
    with pytest.raises(ValueError, match=r"second: found shape \(1, 30, 2\), expected \(2, 30, 2\)"):
        capa(good, good[:1], np.zeros(30, dtype=int), np.arange(30))
    with pytest.raises(ValueError, match="labels: found 2 to 2"):
        error_consistency(good, good, np.full(30, 2), np.arange(30))
