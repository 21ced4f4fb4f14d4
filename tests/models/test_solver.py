"""The batched solver against a naive objective, scikit-learn, and the symmetries of the problem."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from oversight.methods.losses import Confidence
from oversight.models import solver
from oversight.models.problems import LANES, TOLERANCE, contrast_basis
from oversight.models.solver import Design, Solution

Floats = npt.NDArray[np.float64]
PENALTIES = tuple(10.0**i for i in range(-4, 3))


def rows(n: int, d: int, *, seed: int) -> Floats:
    """Features of different means and scales."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * np.exp(rng.normal(size=d)) + rng.normal(size=d) * 3


def soft(n: int, k: int, *, seed: int) -> Floats:
    return np.random.default_rng(1000 + seed).dirichlet(np.ones(k), n)


def hard(n: int, k: int, *, seed: int) -> Floats:
    """One-hot labels in which every class occurs."""
    return np.eye(k)[np.random.default_rng(1000 + seed).permutation(np.arange(n) % k)]


def standardised(x: Floats, *, intercept: bool = True) -> tuple[Floats, Floats, Floats]:
    """Columns of mean 0 and spread 1 by their definition, that mean and that spread; without intercept only scaled."""
    mean = x.mean(0) if intercept else np.zeros(x.shape[1])
    spread = np.sqrt(((x - mean) ** 2).mean(0))
    return (x - mean) / spread, mean, spread


def naive_objective(z: Floats, targets: Floats, w: Floats, b: Floats, penalty: float) -> float:
    """mean_i -sum_j y_ij ln softmax(z_i W + b)_j + penalty / 2 sum W^2, by loops."""
    total = 0.0
    for row, labels in zip(z, targets, strict=True):
        scores = [float(sum(v * w[m, j] for m, v in enumerate(row)) + b[j]) for j in range(w.shape[1])]
        largest = max(scores)
        log_sum = largest + math.log(sum(math.exp(s - largest) for s in scores))
        total -= sum(float(y) * (s - log_sum) for y, s in zip(labels, scores, strict=True))
    return total / len(z) + penalty / 2 * float((w**2).sum())


def on_standardised(solution: Solution, i: int, mean: Floats, spread: Floats) -> tuple[Floats, Floats]:
    """Weights and intercept of problem i as they act on standardised features."""
    w = solution.coefficients[i] * spread[:, None]
    return w, solution.intercepts[i] + mean @ solution.coefficients[i]


def solve_one(x: Floats, targets: Floats, penalty: float, **options: Any) -> Solution:
    return Design(x, **options).solve([targets], [penalty])


# The solution is one


@pytest.mark.parametrize("labels", [soft, hard])
@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("penalty", [1e-4, 1e-2, 1.0])
def test_the_naive_objective_has_no_slope_at_the_solution(
    labels: Callable[..., Floats], k: int, penalty: float
) -> None:
    """Central differences in every weight and intercept; their error is 1e-16 / 1e-4 + (1e-4)^2."""
    x, y = rows(20, 3, seed=k), labels(20, k, seed=k)
    z, mean, spread = standardised(x)
    w, b = on_standardised(solve_one(x, y, penalty), 0, mean, spread)
    for place in itertools.product(range(4), range(k)):
        shift = np.zeros((4, k))
        shift[place] = 1e-4
        ends = [naive_objective(z, y, w + s * shift[:3], b + s * shift[3], penalty) for s in (1, -1)]
        assert abs(ends[0] - ends[1]) / 2e-4 < 2e-7


@pytest.mark.parametrize("seed", range(3))
def test_no_other_place_is_lower(seed: int) -> None:
    x, y = rows(15, 3, seed=seed), soft(15, 3, seed=seed)
    z, mean, spread = standardised(x)
    w, b = on_standardised(solve_one(x, y, 0.1), 0, mean, spread)
    least = naive_objective(z, y, w, b, 0.1)
    rng = np.random.default_rng(seed)
    for size in (1e-3, 0.1, 1.0):
        assert naive_objective(z, y, w + size * rng.normal(size=w.shape), b + size * rng.normal(size=3), 0.1) > least


def test_classes_sum_to_zero() -> None:
    """A constant added to every class changes nothing but the norm, so the least norm has none."""
    solution = solve_one(rows(30, 4, seed=1), soft(30, 3, seed=1), 0.01)
    np.testing.assert_allclose(solution.coefficients.sum(2), 0, atol=1e-12)
    np.testing.assert_allclose(solution.intercepts.sum(1), 0, atol=1e-12)


def separable(n: int, d: int, k: int) -> tuple[Floats, Floats]:
    x = rows(n, d, seed=3)
    return x, np.eye(k)[standardised(x)[0][:, :k].argmax(1)]


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (rows(60, 8, seed=0), soft(60, 2, seed=0)),
        (rows(60, 8, seed=1), hard(60, 5, seed=1)),
        (rows(12, 40, seed=2), hard(12, 2, seed=2)),
        separable(80, 6, 2),
        separable(80, 6, 5),
        (rows(60, 30, seed=4) @ np.diag(np.logspace(-6, 6, 30)), soft(60, 3, seed=4)),
        (rows(60, 1, seed=5) + 1e-3 * rows(60, 20, seed=6), hard(60, 3, seed=5)),
    ],
    ids=["soft", "hard", "n < d", "separable 2", "separable 5", "scales", "collinear"],
)
def test_the_tolerance_is_reached_for_every_penalty(x: Floats, y: Floats) -> None:
    solution = Design(x).solve([y] * len(PENALTIES), PENALTIES)
    assert solution.gradient.max() <= TOLERANCE


# Independent implementations


@pytest.mark.parametrize("penalty", [1e-3, 1e-1, 10.0])
@pytest.mark.parametrize("shape", [(60, 5), (25, 60)])
def test_two_hard_classes_agree_with_scikit_learn(penalty: float, shape: tuple[int, int]) -> None:
    """W = (-w/2, w/2) has norm w^2 / 2, so the objective is mean loss + penalty w^2 / 4 = (sum loss + w^2 / (2 C)) / n
    with C = 2 / (n penalty). Probabilities agree to 1e-6, where scikit-learn stops."""
    from sklearn.linear_model import LogisticRegression

    n, d = shape
    x, y = rows(n, d, seed=1), hard(n, 2, seed=1)
    z, mean, spread = standardised(x)
    model = LogisticRegression(C=2 / (n * penalty), tol=1e-10, max_iter=10_000).fit(z, y.argmax(1))
    new = rows(30, d, seed=2)
    found = solve_one(x, y, penalty).probs(new)[0]
    np.testing.assert_allclose(found, model.predict_proba((new - mean) / spread), atol=1e-6)


@pytest.mark.parametrize("penalty", [1e-3, 1e-1, 10.0])
@pytest.mark.parametrize("k", [3, 5])
def test_several_hard_classes_agree_with_scikit_learn(penalty: float, k: int) -> None:
    """The multinomial objective is (sum loss + |W|^2 / (2 C)) / n with C = 1 / (n penalty)."""
    from sklearn.linear_model import LogisticRegression

    x, y = rows(60, 4, seed=k), hard(60, k, seed=k)
    z, mean, spread = standardised(x)
    model = LogisticRegression(C=1 / (60 * penalty), tol=1e-10, max_iter=10_000).fit(z, y.argmax(1))
    w, b = on_standardised(solve_one(x, y, penalty), 0, mean, spread)
    np.testing.assert_allclose(w, model.coef_.T, atol=1e-5)
    np.testing.assert_allclose(b, model.intercept_ - model.intercept_.mean(), atol=1e-5)


@pytest.mark.parametrize("k", [2, 3])
def test_soft_labels_agree_with_scikit_learn_on_weighted_copies(k: int) -> None:
    """Row i with label y is k rows, of class j with weight y_j."""
    from sklearn.linear_model import LogisticRegression

    n, penalty = 40, 0.05
    x, y = rows(n, 4, seed=k), soft(n, k, seed=k)
    z, mean, spread = standardised(x)
    model = LogisticRegression(C=(2 if k == 2 else 1) / (n * penalty), tol=1e-10, max_iter=10_000)
    model.fit(np.repeat(z, k, axis=0), np.tile(np.arange(k), n), sample_weight=y.ravel())
    new = rows(30, 4, seed=9)
    found = solve_one(x, y, penalty).probs(new)[0]
    np.testing.assert_allclose(found, model.predict_proba((new - mean) / spread), atol=1e-6)


@pytest.mark.parametrize("k", [2, 3])
def test_without_intercept_it_agrees_with_scikit_learn(k: int) -> None:
    from sklearn.linear_model import LogisticRegression

    n, penalty = 50, 0.1
    x, y = rows(n, 4, seed=k), hard(n, k, seed=k)
    z, _, spread = standardised(x, intercept=False)
    model = LogisticRegression(
        C=(2 if k == 2 else 1) / (n * penalty), fit_intercept=False, tol=1e-10, max_iter=10_000
    ).fit(z, y.argmax(1))
    found = solve_one(x, y, penalty, intercept=False).probs(x)[0]
    np.testing.assert_allclose(found, model.predict_proba(x / spread), atol=1e-6)


# Symmetries


@pytest.mark.parametrize("k", [2, 3, 5])
def test_a_row_given_twice_equals_weight_two(k: int) -> None:
    x, y = rows(30, 4, seed=k), soft(30, k, seed=k)
    twice = solve_one(np.vstack([x, x[:5]]), np.vstack([y, y[:5]]), 0.01)
    weighted = solve_one(x, y, 0.01, weights=np.where(np.arange(30) < 5, 2.0, 1.0))
    np.testing.assert_allclose(twice.probs(x), weighted.probs(x), atol=1e-9)


def test_weight_zero_equals_leaving_a_row_out() -> None:
    x, y = rows(30, 4, seed=1), soft(30, 3, seed=1)
    weighted = solve_one(x, y, 0.01, weights=(np.arange(30) >= 7).astype(float))
    np.testing.assert_allclose(weighted.probs(x), solve_one(x[7:], y[7:], 0.01).probs(x), atol=1e-9)


def test_the_scale_of_weights_does_not_matter() -> None:
    x, y, weights = rows(30, 4, seed=1), soft(30, 2, seed=1), np.random.default_rng(0).uniform(size=30)
    one, other = (solve_one(x, y, 0.01, weights=c * weights).probs(x) for c in (1.0, 1000.0))
    np.testing.assert_allclose(one, other, atol=1e-10)


@pytest.mark.parametrize("k", [2, 3])
def test_the_order_of_rows_does_not_matter(k: int) -> None:
    x, y = rows(40, 5, seed=k), soft(40, k, seed=k)
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_allclose(solve_one(x[order], y[order], 1e-3).probs(x), solve_one(x, y, 1e-3).probs(x), atol=1e-9)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_renamed_classes_rename_the_probabilities(k: int) -> None:
    x, y = rows(40, 5, seed=k), soft(40, k, seed=k)
    order = np.roll(np.arange(k), 1)
    renamed = solve_one(x, y[:, order], 1e-3).probs(x)
    np.testing.assert_allclose(renamed, solve_one(x, y, 1e-3).probs(x)[:, :, order], atol=1e-8)


def test_the_unit_and_origin_of_a_feature_do_not_matter() -> None:
    x, y = rows(40, 5, seed=1), soft(40, 2, seed=1)
    unit, origin = np.array([1e-3, 1, 10, 1e3, -2]), np.array([5, 0, -3, 1e3, 1])
    other = solve_one(x * unit + origin, y, 1e-3).probs(x * unit + origin)
    np.testing.assert_allclose(other, solve_one(x, y, 1e-3).probs(x), atol=1e-8)


def test_without_intercept_the_opposite_row_has_the_opposite_answer() -> None:
    """Preference pairs: swapping the two texts changes the sign of the features and swaps the classes."""
    x, y = rows(40, 5, seed=1), hard(40, 2, seed=1)
    solution = solve_one(x, y, 1e-2, intercept=False)
    assert not solution.intercepts.any()
    np.testing.assert_allclose(solution.probs(-x), solution.probs(x)[:, :, ::-1], atol=1e-12)


@pytest.mark.parametrize("k", [2, 3])
def test_the_intercept_is_not_penalised(k: int) -> None:
    """Under a penalty that leaves no weight the answer is the mean of the labels."""
    x, y = rows(40, 5, seed=k), soft(40, k, seed=k) ** 3
    y /= y.sum(1, keepdims=True)
    found = solve_one(x, y, 1e9).probs(x)[0]
    np.testing.assert_allclose(found, np.tile(y.mean(0), (40, 1)), atol=1e-6)


# Odd designs


def test_more_features_than_rows_equal_the_primal_solution() -> None:
    """Copies of 5 columns, 60 in all, over 20 rows: c copies share a weight, at a penalty c times smaller."""
    x, y = rows(20, 5, seed=1), soft(20, 2, seed=1)
    wide = np.tile(x, (1, 12))
    np.testing.assert_allclose(solve_one(wide, y, 0.12).probs(wide), solve_one(x, y, 0.01).probs(x), atol=1e-8)


@pytest.mark.parametrize("intercept", [True, False])
def test_a_constant_column_changes_nothing(intercept: bool) -> None:
    """With an intercept it says nothing; without one only the column of zeros is constant and silent."""
    x, y = rows(30, 4, seed=1), soft(30, 3, seed=1)
    constant = np.full((30, 1), 7.3 if intercept else 0.0)
    more = solve_one(np.hstack([x, constant]), y, 0.01, intercept=intercept)
    assert not more.coefficients[0, -1].any()
    np.testing.assert_allclose(
        more.probs(np.hstack([x, constant])), solve_one(x, y, 0.01, intercept=intercept).probs(x), atol=1e-9
    )


def test_a_column_given_twice_shares_its_weight() -> None:
    x, y = rows(30, 3, seed=1), soft(30, 2, seed=1)
    solution = solve_one(x[:, [0, 1, 2, 2]], y, 0.01)
    np.testing.assert_allclose(solution.coefficients[0, 2], solution.coefficients[0, 3], atol=1e-9)


def test_features_that_say_nothing_leave_the_mean_of_the_labels() -> None:
    y = soft(20, 3, seed=1)
    found = solve_one(np.ones((20, 4)), y, 0.01).probs(np.ones((2, 4)))[0]
    np.testing.assert_allclose(found, np.tile(y.mean(0), (2, 1)), atol=1e-7)


def test_one_row_is_enough() -> None:
    found = solve_one(np.array([[1.0, 2.0]]), np.array([[0.3, 0.7]]), 0.01).probs(np.array([[1.0, 2.0]]))
    np.testing.assert_allclose(found[0], [[0.3, 0.7]], atol=1e-7)


# Many at once


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([2, 3, 5]), st.integers(2, 6), st.sampled_from([(25, 4), (10, 20)]))
def test_a_problem_alone_and_among_others_agree(seed: int, k: int, m: int, shape: tuple[int, int]) -> None:
    """1e-6 in probability is promised; both stop at a gradient of 1e-8."""
    rng = np.random.default_rng(seed)
    x = rows(*shape, seed=seed)
    design = Design(x)
    targets = [soft(shape[0], k, seed=seed + i) for i in range(m)]
    penalties = [float(p) for p in 10 ** rng.uniform(-4, 2, m)]
    together = design.solve(targets, penalties).probs(x)
    for i in range(m):
        np.testing.assert_allclose(together[i], design.solve([targets[i]], [penalties[i]]).probs(x)[0], atol=1e-6)


def test_the_order_of_problems_does_not_matter() -> None:
    x, y = rows(30, 4, seed=1), soft(30, 2, seed=1)
    design = Design(x)
    forth, back = (design.solve([y] * 7, p).probs(x) for p in (PENALTIES, PENALTIES[::-1]))
    np.testing.assert_allclose(forth, back[::-1], atol=1e-9)


def test_probabilities_are_the_softmax_of_linear_scores() -> None:
    x, y = rows(10, 3, seed=1), soft(10, 3, seed=1)
    solution = solve_one(x, y, 0.1)
    logits = x @ solution.coefficients[0] + solution.intercepts[0]
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(solution.probs(x)[0], expected, rtol=1e-12)


# What the solver rests on


@pytest.mark.parametrize("k", [2, 3, 5, 11])
def test_the_contrast_basis_is_orthonormal_and_sums_to_zero(k: int) -> None:
    basis = contrast_basis(k)
    np.testing.assert_allclose(basis.T @ basis, np.eye(k - 1), atol=1e-14)
    np.testing.assert_allclose(basis.sum(0), 0, atol=1e-14)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.integers(0, 10_000), st.sampled_from([0.05, 1.0, 50.0]))
def test_the_curvature_of_softmax_is_at_most_one_half(k: int, seed: int, concentration: float) -> None:
    """Boehning 1992: diag(p) - p p' is at most (I - 11'/k) / 2, here in the contrast basis at most 1/2."""
    p = np.random.default_rng(seed).dirichlet(np.full(k, concentration))
    basis = contrast_basis(k)
    curvature = basis.T @ (np.diag(p) - np.outer(p, p)) @ basis
    assert np.linalg.eigvalsh(curvature).max() <= 0.5 + 1e-12


def test_the_bound_is_reached_by_two_even_classes() -> None:
    basis, p = contrast_basis(2), np.array([0.5, 0.5])
    assert (basis.T @ (np.diag(p) - np.outer(p, p)) @ basis).item() == pytest.approx(0.5)


@pytest.mark.parametrize("shape", [(30, 6), (8, 20), (15, 20)])
def test_the_rows_are_the_standardised_ones_in_fewer_coordinates(shape: tuple[int, int]) -> None:
    """Weights on the columns of z, taken back, give the same scores; with half as many rows as features z is square."""
    x = rows(*shape, seed=1)
    design = Design(x)
    assert design.z.shape[1] == (shape[1] if 2 * shape[0] > shape[1] else shape[0])
    weights = torch.from_numpy(np.random.default_rng(0).normal(size=(3, design.z.shape[1])))
    scores = (design.z[: shape[0]] @ weights.T).numpy()
    np.testing.assert_allclose(standardised(x)[0] @ design.unfolded(weights).numpy().T, scores, atol=1e-9)
    np.testing.assert_allclose(design.unfolded(weights).norm(dim=1), weights.norm(dim=1), rtol=1e-12)


@pytest.mark.parametrize("shape", [(30, 6), (15, 20), (8, 20)])
@pytest.mark.parametrize("penalty", [1e-8, 1e-4, 1.0])
def test_the_bound_is_that_of_the_rows(shape: tuple[int, int], penalty: float) -> None:
    """(Z'Z / 2n + penalty + a little) times what comes back is what was given; the little is below 1e-4 of Z'Z."""
    design, n = Design(rows(*shape, seed=1)), shape[0]
    z = design.z[:n].numpy()
    half = z.T @ z / n / 2
    gradient = half @ np.random.default_rng(0).normal(size=(z.shape[1], 3))
    found = design.solve_bound(penalty, torch.from_numpy(gradient.T)).numpy().T
    again = half @ found + penalty * found
    np.testing.assert_allclose(again, gradient, atol=1e-3 * float(np.abs(gradient).max()))
    assert (np.einsum("ij,ij->j", gradient, found) > 0).all()


def test_one_factor_serves_all_labels_of_a_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    factor = solver._factor  # pyright: ignore[reportPrivateUsage]

    def listening(half: Tensor, penalty: float) -> Tensor:
        told.append(penalty)
        return factor(half, penalty)

    monkeypatch.setattr(solver, "_factor", listening)
    design, targets = Design(rows(30, 4, seed=1)), [soft(30, 3, seed=i) for i in range(4)]
    design.solve(targets, [0.1, 1.0, 0.1, 1.0])
    assert sorted(told) == [0.1, 1.0]


# Width and count


@pytest.mark.parametrize("k", [2, 3])
def test_the_width_of_a_batch_changes_nothing_that_matters(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory limit of one byte leaves batches of the least width."""
    x, targets = rows(40, 6, seed=k), [soft(40, k, seed=i) for i in range(3 * LANES)]
    design, penalties = Design(x), [10.0 ** (i % 5 - 3) for i in range(3 * LANES)]
    wide = design.solve(targets, penalties), design.paths(targets, penalties, [Confidence()] * len(targets))
    monkeypatch.setattr(solver, "BATCH_BYTES", 1)
    assert len(design._batches(targets)) == 3  # pyright: ignore[reportPrivateUsage]
    narrow = design.solve(targets, penalties), design.paths(targets, penalties, [Confidence()] * len(targets))
    np.testing.assert_allclose(narrow[0].probs(x), wide[0].probs(x), atol=1e-6)
    for one, other in zip(narrow[1], wide[1], strict=True):
        np.testing.assert_allclose(one.probs(x), other.probs(x), atol=1e-6)


def test_each_problem_says_how_many_iterations_it_took() -> None:
    """Under a strong penalty the start is nearly the solution."""
    x, y = rows(60, 8, seed=1), soft(60, 2, seed=1)
    design = Design(x)
    together = design.solve([y, y], [1e-4, 1e2]).iterations
    alone = [int(design.solve([y], [p]).iterations[0]) for p in (1e-4, 1e2)]
    # Allows one: rounding, which may depend on the batch, may lead below the tolerance a step earlier.
    np.testing.assert_allclose(together, alone, rtol=0, atol=1)
    assert together[1] < together[0]
