"""Misfit: the inequality where its assumptions hold, equality in linear worlds, naive definitions, undefined cases.

The interval is `linear_interval` of row means, whose coverage tests/metrics/test_coverage_benchmark.py measures.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import xlogy

from oversight.errors import InputError
from oversight.metrics import (
    NEGATIVE_ENTROPY,
    SQUARED,
    Bound,
    bregman_rows,
    brier,
    kl_bound,
    kl_divergence,
    kl_misfit,
    kl_rows,
    nll,
    squared_bound,
    squared_misfit,
    squared_rows,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
ROWS = np.arange(120)
Rows = Callable[[Floats, Floats], Floats]


def predictions(seed: int, *shape: int) -> Floats:
    """Probabilities (..., k), none of them 0."""
    rng = np.random.default_rng(seed)
    raw = rng.gamma(0.7, size=shape) + 1e-3
    return raw / raw.sum(axis=-1, keepdims=True)


def classes(seed: int, n: int = 120, k: int = 3) -> Ints:
    return np.random.default_rng(seed).integers(0, k, n)


def drawn(probs: Floats, seed: int) -> Ints:
    """A class per row (n, k) of probabilities."""
    return (np.random.default_rng(seed).random((len(probs), 1)) > probs.cumsum(axis=1)).sum(axis=1)


# Worlds in which the assumptions hold


@pytest.mark.parametrize("k", [2, 4])
def test_squared_gain_is_the_misfit_where_the_student_projects_on_a_linear_space_that_holds_the_truth(k: int) -> None:
    """s = P w on the span of features with the classes among them; then <y - s, s - w> sums to 0 over the rows."""
    rng = np.random.default_rng(k)
    truth = classes(k, k=k)
    weak = 0.3 / k + 0.7 * (0.9 * predictions(k, 120, k) + 0.1 * np.eye(k)[truth])
    features = np.hstack([np.eye(k)[truth], rng.normal(size=(120, 3))])
    student = features @ np.linalg.lstsq(features, weak, rcond=None)[0]
    assert student.min() > 0
    np.testing.assert_allclose(student.sum(axis=1), 1, atol=1e-12)
    found = squared_bound(student[None], weak[None], truth, ROWS)
    assert found.predicted.value > 1e-3
    assert found.realised.value == pytest.approx(found.predicted.value, abs=1e-10)
    assert found.surplus.value == pytest.approx(0, abs=1e-10)


def tilted(weak: Floats, statistic: Floats, by: float) -> Floats:
    """The exponential family through `weak` (n, k): w exp(by T), normalised."""
    raw = weak * np.exp(by * statistic)
    return raw / raw.sum(axis=1, keepdims=True)


def projected(weak: Floats, statistic: Floats, mean: float) -> Floats:
    """argmin KL(s || w) over all s with mean_i sum_c s_ic T_ic = mean: a linear family, so s is tilted."""

    low, high = -50.0, 50.0
    for _ in range(100):  # the mean grows with the tilt
        middle = (low + high) / 2
        below = float((tilted(weak, statistic, middle) * statistic).sum(axis=1).mean()) < mean
        low, high = (middle, high) if below else (low, middle)
    return tilted(weak, statistic, low)


def test_kl_gain_is_the_misfit_where_the_student_projects_on_a_linear_family_that_holds_the_truth() -> None:
    """Student of the other first: KL(s || w), with s the reverse projection on a family of equal mean T.

    log s - log w = by T - const, and y - s has sum 0 per row and mean T of 0: the surplus vanishes, with hard labels.
    """
    truth, weak = classes(5), predictions(5, 120, 3)
    statistic = np.random.default_rng(6).normal(size=(120, 3)) + 0.5 * np.eye(3)[truth]
    student = projected(weak, statistic, float(statistic[ROWS, truth].mean()))
    found = kl_bound(student[None], weak[None], truth, ROWS)
    assert found.predicted.value > 0.02
    assert found.realised.value == pytest.approx(found.predicted.value, abs=1e-10)
    other = float(kl_rows(weak, student).mean())
    assert abs(other - found.realised.value) > 1e-3  # the other order of arguments is another number


def test_a_log_linear_student_of_cross_entropy_gains_its_misfit_in_kl_to_the_truth_and_not_in_nll() -> None:
    """s = argmin KL(w || s) over logits linear in T: KL(w || f) - KL(s || f) = KL(w || s) for f in the family."""
    weak, base = predictions(8, 120, 3), predictions(9, 120, 3)
    statistic = np.random.default_rng(8).normal(size=(120, 3))
    wanted = float((weak * statistic).sum(axis=1).mean())
    student = projected(base, statistic, wanted)  # the moment of w is matched: what cross-entropy does
    truth = tilted(base, statistic, 0.4)
    realised = float((kl_rows(weak, truth) - kl_rows(student, truth)).mean())
    assert realised == pytest.approx(float(kl_rows(weak, student).mean()), abs=1e-10)
    in_nll = float((kl_rows(truth, weak) - kl_rows(truth, student)).mean())
    assert abs(in_nll - realised) > 1e-3


def hull(rows: Rows, members: Floats, weak: Floats) -> Floats:
    """The member of the convex hull of (m, n, k) that is closest to `weak` (n, k)."""

    def mixed(weights: Floats) -> Floats:
        return np.asarray(np.tensordot(weights / weights.sum(), members, axes=1), dtype=np.float64)

    m = len(members)
    found = minimize(
        lambda weights: float(rows(mixed(weights), weak).mean()),
        np.full(m, 1 / m),
        method="SLSQP",
        bounds=[(0, 1)] * m,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return mixed(found.x)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rows", [squared_rows, kl_rows], ids=["squared", "kl"])
def test_the_gain_is_at_least_the_misfit_in_a_convex_class_that_holds_the_truth(rows: Rows, seed: int) -> None:
    members = predictions(seed, 4, 120, 3)
    truth, weak = members[0], predictions(seed + 50, 120, 3)
    student = hull(rows, members, weak)
    gain = float((rows(truth, weak) - rows(truth, student)).mean())
    misfit = float(rows(student, weak).mean())
    assert misfit > 0.01
    assert gain >= misfit - 1e-6  # the optimiser's tolerance


def test_in_a_convex_class_the_other_order_of_kl_can_be_above_the_gain() -> None:
    """Why the order is fixed: for some worlds KL(w || s) is no lower bound, though s is the closest by KL(s || w)."""

    def of(seed: int) -> tuple[float, float, float]:
        members = predictions(seed, 3, 20, 2)
        weak = 0.25 + 0.5 * predictions(seed + 50, 20, 2)
        student = hull(kl_rows, members, weak)
        gain = float((kl_rows(members[0], weak) - kl_rows(members[0], student)).mean())
        return gain, float(kl_rows(student, weak).mean()), float(kl_rows(weak, student).mean())

    found = [of(seed) for seed in range(6)]
    assert all(gain >= student_first - 1e-6 for gain, student_first, _ in found)
    assert any(gain < weak_first - 1e-3 for gain, _, weak_first in found)


def test_drawn_classes_give_the_gain_of_the_probabilities_that_they_are_drawn_from() -> None:
    """The gain is linear in the truth, so its mean over draws is the gain to f: within 4 errors of 400 draws."""
    truth, weak, student = (predictions(seed, 120, 3) for seed in (1, 2, 3))
    for bound, rows in ((squared_bound, squared_rows), (kl_bound, kl_rows)):
        gains = [bound(student[None], weak[None], drawn(truth, i), ROWS).realised.value for i in range(400)]
        expected = float((rows(truth, weak) - rows(truth, student)).mean())
        assert np.mean(gains) == pytest.approx(expected, abs=4 * float(np.std(gains)) / 20)


# Definitions


def test_rows_are_their_naive_definitions() -> None:
    p, q = predictions(0, 40, 4), predictions(1, 40, 4)
    for i in range(40):
        squares = sum((p[i, c] - q[i, c]) ** 2 for c in range(4))
        logs = sum(p[i, c] * math.log(p[i, c] / q[i, c]) for c in range(4))
        assert squared_rows(p, q)[i] == pytest.approx(squares, rel=1e-12)
        assert kl_rows(p, q)[i] == pytest.approx(logs, rel=1e-12)
    np.testing.assert_allclose(bregman_rows(p, q, SQUARED), squared_rows(p, q), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(bregman_rows(p, q, NEGATIVE_ENTROPY), kl_rows(p, q), rtol=1e-12, atol=1e-14)


def test_misfit_and_gain_are_means_over_seeds_and_rows_in_the_units_of_the_metrics() -> None:
    """For two classes the squared misfit is twice that of class 1, as the Brier score here is."""
    weak, student, truth = predictions(0, 3, 120, 2), predictions(1, 3, 120, 2), classes(2, k=2)
    squared, kl = squared_bound(student, weak, truth, ROWS // 2), kl_bound(student, weak, truth, ROWS // 2)
    assert squared.predicted.value == pytest.approx(2 * np.mean((weak - student)[:, :, 1] ** 2), rel=1e-12)
    for found, loss in ((squared, brier), (kl, nll)):
        gain = np.mean([loss(w, truth) - loss(s, truth) for w, s in zip(weak, student, strict=True)])
        assert found.realised.value == pytest.approx(gain, rel=1e-12)
        assert found.surplus.value == pytest.approx(gain - found.predicted.value, rel=1e-12)
        assert (found.surplus.n_seeds, found.surplus.n_groups, found.surplus.n) == (3, 60, 120)
        assert found.surplus.covers == "seeds and test groups"
        assert found.surplus.low < found.surplus.value < found.surplus.high
    assert squared.predicted == squared_misfit(student, weak, ROWS // 2)
    assert kl.predicted == kl_misfit(student, weak, ROWS // 2) != kl_divergence(weak, student, ROWS // 2)


def test_the_surplus_is_the_residual_along_the_departure() -> None:
    """Squared: 2 <y - s, s - w>. KL: sum_c (y_c - s_c) log(s_c / w_c)."""
    weak, student, truth = predictions(0, 1, 120, 3), predictions(1, 1, 120, 3), classes(2)
    left = np.eye(3)[truth] - student[0]
    squared = 2 * (left * (student - weak)[0]).sum(axis=1).mean()
    kl = (left * np.log(student / weak)[0]).sum(axis=1).mean()
    assert squared_bound(student, weak, truth, ROWS).surplus.value == pytest.approx(squared, rel=1e-12)
    assert kl_bound(student, weak, truth, ROWS).surplus.value == pytest.approx(kl, rel=1e-12)


def test_whether_the_inequality_holds_is_read_off_the_interval_of_the_surplus() -> None:
    truth = classes(1, k=2)
    sure, wrong = 0.9 * np.eye(2)[truth] + 0.05, 0.9 * np.eye(2)[1 - truth] + 0.05
    unsure = np.full((120, 2), 0.5) + 0.01 * (np.eye(2)[truth] - 0.5)
    assert squared_bound(sure[None], unsure[None], truth, ROWS).holds is True
    assert squared_bound(wrong[None], unsure[None], truth, ROWS).holds is False
    mixed = np.where((ROWS % 2 == 0)[:, None], sure, wrong)
    assert squared_bound((0.5 * mixed + 0.25)[None], unsure[None], truth, ROWS).holds is False
    noise = np.where((np.random.default_rng(0).random(120) < 0.775)[:, None], sure, wrong)
    near = squared_bound((0.55 * noise + 0.225)[None], unsure[None], truth, ROWS)
    assert near.holds is None and near.surplus.low < 0 < near.surplus.high


# Undefined, and refused


def test_kl_from_hard_labels_is_undefined_with_the_reason_and_the_gain_is_still_there() -> None:
    truth = classes(0, k=2)
    weak, student = np.eye(2)[classes(1, k=2)][None], predictions(1, 1, 120, 2)
    found = kl_bound(student, weak, truth, ROWS)
    assert math.isnan(found.predicted.value) and "infinite" in str(found.predicted.reason)
    assert math.isnan(found.surplus.value) and found.surplus.reason == found.predicted.reason
    assert found.holds is None and found.realised.defined
    assert kl_divergence(weak, student, ROWS).defined  # 0 log 0 = 0: finite in the other order
    assert squared_bound(student, weak, truth, ROWS).surplus.defined


@pytest.mark.parametrize("constant", [(0, 1, 2), (1,)], ids=["every seed", "one seed"])
def test_a_constant_supervisor_has_no_prediction_and_the_inequality_did_not_hold(constant: tuple[int, ...]) -> None:
    """Its student copies it, so that "at least 0" came true with no width, and was called held."""
    truth, weak = classes(3, k=2), predictions(3, 3, 120, 2)
    weak[list(constant)] = [0.3, 0.7]
    for bound, misfit in ((squared_bound, squared_misfit), (kl_bound, kl_misfit)):
        found = bound(weak, weak, truth, ROWS)
        assert found.holds is None and found.realised.value == 0
        for one in (found.predicted, found.surplus, misfit(weak, weak, ROWS)):
            assert math.isnan(one.value) and one.reason == "the supervisor says the same of every row"
    assert kl_divergence(weak, predictions(4, 3, 120, 2), ROWS).defined  # predicts nothing


def test_a_supervisor_that_varies_a_little_has_a_prediction() -> None:
    truth, weak = classes(3, k=2), np.full((1, 120, 2), 0.5)
    weak[0, 7] = 0.5 + 1e-6, 0.5 - 1e-6
    student = predictions(4, 1, 120, 2)
    assert squared_bound(student, weak, truth, ROWS).surplus.defined and kl_misfit(student, weak, ROWS).defined


def test_fewer_than_twenty_rows_are_undefined() -> None:
    few = predictions(0, 2, 19, 2)
    for found in (squared_misfit(few, few, np.arange(19)), kl_misfit(few, few, np.arange(19))):
        assert math.isnan(found.value) and found.reason == "fewer than 20 rows"


def test_bad_input_is_named() -> None:
    good = predictions(0, 2, 30, 3)
    with pytest.raises(InputError, match=r"weak: found shape \(1, 30, 3\), expected \(2, 30, 3\), that of student"):
        squared_misfit(good, good[:1], np.arange(30))
    with pytest.raises(InputError, match="expected numbers >= 0 that sum to 1"):
        kl_misfit(good, 2 * good, np.arange(30))
    with pytest.raises(InputError, match="labels: found shape"):
        squared_bound(good, good, np.zeros(4, dtype=int), np.arange(30))


# Properties


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(2, 5), zeros=st.booleans())
def test_misfit_is_never_negative_zero_only_for_equals_and_blind_to_row_order(seed: int, k: int, zeros: bool) -> None:
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.ones(k), (2, 30)), rng.dirichlet(np.ones(k), (2, 30))
    if zeros:
        p[:, ::3] = np.eye(k)[rng.integers(0, k, (2, 10))]
    order, groups = rng.permutation(30), rng.permutation(np.r_[np.arange(15), np.arange(15)])
    for rows in (squared_rows, kl_rows):
        # Allows for the rounding of k terms and of the sums of both rows: of nearly equal ones less than 0 may be left.
        assert (rows(p, q) >= -4 * k * np.finfo(float).eps).all() and (rows(p, p) == 0).all()
        assert (rows(p, q)[np.abs(p - q).max(axis=-1) > 1e-6] > 0).all()
    for misfit in (squared_misfit, kl_misfit):
        one, other = misfit(p, q, groups), misfit(p[:, order], q[:, order], groups[order])
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), rel=1e-9)
        assert misfit(p, p, groups).value == 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(2, 5))
def test_three_points_differ_by_the_inner_product_that_projection_makes_vanish(seed: int, k: int) -> None:
    """D(f, w) = D(f, s) + D(s, w) + <grad phi(s) - grad phi(w), f - s>, for any three and both generators."""
    f, s, w = (predictions(seed + i, 30, k) for i in range(3))
    for generator in (SQUARED, NEGATIVE_ENTROPY):
        cross = ((generator.gradient(s) - generator.gradient(w)) * (f - s)).sum(axis=-1)
        whole = bregman_rows(f, s, generator) + bregman_rows(s, w, generator) + cross
        np.testing.assert_allclose(bregman_rows(f, w, generator), whole, rtol=1e-9, atol=1e-12)


def test_negative_entropy_of_a_certain_row_is_zero() -> None:
    assert NEGATIVE_ENTROPY.value(np.array([[0.0, 1.0]])).tolist() == [0.0]
    mixed = predictions(0, 5, 3)
    np.testing.assert_allclose(NEGATIVE_ENTROPY.value(mixed), xlogy(mixed, mixed).sum(axis=1), rtol=1e-12)


def test_a_bound_is_a_value() -> None:
    weak, student, truth = predictions(0, 1, 120, 3), predictions(1, 1, 120, 3), classes(2)
    assert isinstance(squared_bound(student, weak, truth, ROWS), Bound)
    assert squared_bound(student, weak, truth, ROWS) == squared_bound(student, weak, truth, ROWS)
