"""Scores against closed forms, naive loops and scikit-learn."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, log_loss, roc_auc_score

from oversight.metrics import METRICS, accuracy, auroc, balanced_accuracy, brier, ece, nll, oriented

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
FAST = settings(max_examples=40, deadline=None, database=None, derandomize=True)
SHAPES = [(30, 2, False), (200, 2, True), (90, 3, False), (120, 4, True)]


def predictions(seed: int, n: int, k: int, ties: bool) -> tuple[Floats, Ints]:
    rng = np.random.default_rng(seed)
    labels = np.r_[np.arange(k), rng.integers(0, k, n - k)]
    weights = rng.integers(1, 5, (n, k)) if ties else rng.gamma(1.0, size=(n, k)) + 0.5 * np.eye(k)[labels]
    return weights / weights.sum(axis=1, keepdims=True), labels


def naive_auroc(scores: Floats, positive: npt.NDArray[np.bool_]) -> float:
    pairs = [(a > b) + (a == b) / 2 for a in scores[positive] for b in scores[~positive]]
    return float(np.mean(pairs))


def naive_ece(probs: Floats, labels: Ints) -> float:
    """Squared excess of every bin less its variance, weighted by rows; bins of equal mass, ten rows each or more."""
    confidence, n = probs.max(axis=1), len(labels)
    n_bins = max(1, min(15, n // 10))
    bins: dict[int, list[float]] = {}
    for i in range(n):
        below, equal = sum(c < confidence[i] for c in confidence), sum(c == confidence[i] for c in confidence)
        place = n_bins * (2 * below + equal) // (2 * n)
        bins.setdefault(int(place), []).append(confidence[i] - naive_right(probs[i], labels[i]))
    parts = [
        len(one) / n * (np.mean(one) ** 2 - np.var(one, ddof=1) / len(one)) for one in bins.values() if len(one) > 1
    ]
    return math.sqrt(max(0.0, sum(parts)))


def naive_right(row: Floats, label: int) -> float:
    """Of the classes that are as probable as the most probable one each is chosen equally often."""
    best = [c for c, p in enumerate(row) if p == max(row)]
    return (label in best) / len(best)


def naive_balanced(probs: Floats, labels: Ints) -> float:
    shares = [[naive_right(probs[i], c) for i in np.flatnonzero(labels == c)] for c in np.unique(labels)]
    return float(np.mean([np.mean(one) for one in shares]))


def test_closed_forms() -> None:
    uniform, labels = np.full((6, 2), 0.5), np.array([0, 1, 0, 1, 0, 0])
    assert accuracy(uniform, labels) == 0.5
    assert balanced_accuracy(uniform, labels) == 0.5
    assert auroc(uniform, labels) == 0.5
    assert nll(uniform, labels) == pytest.approx(math.log(2))
    assert brier(uniform, labels) == pytest.approx(0.5)
    assert ece(uniform, labels) == 0.0
    certain = np.eye(2)[labels]
    assert [f(certain, labels) for f in (accuracy, balanced_accuracy, auroc, nll, brier, ece)] == [1, 1, 1, 0, 0, 0]
    wrong = certain[:, ::-1]
    assert [f(wrong, labels) for f in (accuracy, auroc, brier, ece)] == [0, 0, 2, 1]
    assert nll(wrong, labels) == pytest.approx(-math.log(1e-12))
    assert auroc(np.array([[0.8, 0.2], [0.6, 0.4], [0.65, 0.35], [0.2, 0.8]]), np.array([0, 0, 1, 1])) == 0.75


def test_brier_of_two_classes_is_twice_the_squared_error() -> None:
    probs, labels = predictions(0, 50, 2, False)
    assert brier(probs, labels) == pytest.approx(2 * np.mean((probs[:, 1] - labels) ** 2), rel=1e-12)


@pytest.mark.parametrize(("n", "k", "ties"), SHAPES)
def test_same_as_naive_loops(n: int, k: int, ties: bool) -> None:
    probs, labels = predictions(1, n, k, ties)
    classes = [1] if k == 2 else range(k)
    naive = np.mean([naive_auroc(probs[:, c], labels == c) for c in classes])
    assert auroc(probs, labels) == pytest.approx(naive, rel=1e-12)
    assert ece(probs, labels) == pytest.approx(naive_ece(probs, labels), rel=1e-12)


@pytest.mark.parametrize(("n", "k", "ties"), SHAPES)
def test_same_as_scikit_learn(n: int, k: int, ties: bool) -> None:
    """Both compute in float64; sums in another order differ by 1e-12 at most."""
    probs, labels = predictions(2, n, k, ties)
    assert balanced_accuracy(probs, labels) == pytest.approx(naive_balanced(probs, labels), rel=1e-12)
    if not ties:
        expected = balanced_accuracy_score(labels, probs.argmax(1))
        assert balanced_accuracy(probs, labels) == pytest.approx(expected, rel=1e-12)
    assert nll(probs, labels) == pytest.approx(log_loss(labels, probs), rel=1e-12)
    if k == 2:
        assert auroc(probs, labels) == pytest.approx(roc_auc_score(labels, probs[:, 1]), rel=1e-12)
        assert brier(probs, labels) == pytest.approx(2 * brier_score_loss(labels, probs[:, 1]), rel=1e-12)
    else:
        assert auroc(probs, labels) == pytest.approx(roc_auc_score(labels, probs, multi_class="ovr"), rel=1e-12)


@FAST
@given(st.integers(0, 10_000), st.integers(5, 60), st.integers(2, 4), st.booleans())
def test_row_order_and_duplicates_do_not_matter(seed: int, n: int, k: int, ties: bool) -> None:
    probs, labels = predictions(seed, n, k, ties)
    order = np.random.default_rng(seed).permutation(n)
    for metric in METRICS.values():
        value = metric.function(probs, labels)
        assert metric.function(probs[order], labels[order]) == pytest.approx(value, rel=1e-12), metric.name
        if metric.name == "ece":
            continue  # twice the rows are half the noise, which is subtracted
        twice = metric.function(np.r_[probs, probs], np.r_[labels, labels])
        assert twice == pytest.approx(value, rel=1e-12), metric.name


@FAST
@given(st.integers(0, 10_000), st.integers(4, 60), st.booleans())
def test_swapping_labels_is_symmetric(seed: int, n: int, ties: bool) -> None:
    probs, labels = predictions(seed, n, 2, ties)
    assert auroc(probs[:, ::-1], 1 - labels) == auroc(probs, labels)
    assert auroc(probs[:, ::-1], labels) == pytest.approx(1 - auroc(probs, labels), abs=1e-12)
    for name in ("accuracy", "balanced_accuracy", "nll", "brier", "ece"):
        score = METRICS[name].function
        assert score(probs[:, ::-1], 1 - labels) == pytest.approx(score(probs, labels), rel=1e-12), name


@FAST
@given(st.integers(0, 10_000), st.integers(5, 60), st.integers(2, 4), st.booleans())
def test_linear_scores_are_means_of_their_rows(seed: int, n: int, k: int, ties: bool) -> None:
    probs, labels = predictions(seed, n, k, ties)
    for metric in METRICS.values():
        assert metric.linear == (metric.row_scores is not None)
        if metric.row_scores is not None:
            rows = metric.row_scores(probs, labels)
            assert rows.shape == (n,)
            assert rows.mean() == pytest.approx(metric.function(probs, labels), rel=1e-12, abs=1e-15)


def test_auroc_is_undefined_without_both_classes() -> None:
    assert math.isnan(auroc(np.full((4, 2), 0.5), np.zeros(4, dtype=int)))
    assert math.isnan(auroc(np.full((4, 3), 1 / 3), np.ones(4, dtype=int)))
    present = auroc(np.array([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1]]), np.array([0, 1]))
    assert present == 1.0


def test_auroc_sees_differences_that_probabilities_near_one_hide() -> None:
    probs = np.array([[1e-18, 1.0], [1e-20, 1.0]])
    assert auroc(probs, np.array([0, 1])) == 1.0
    assert auroc(np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]), np.array([0, 1, 0])) == 0.75


def test_ece_of_constant_confidence_is_one_bin() -> None:
    labels = np.r_[np.ones(30, dtype=int), np.zeros(10, dtype=int)]
    assert ece(np.tile([0.25, 0.75], (40, 1)), labels) == pytest.approx(0.0, abs=1e-12)


def test_losses_change_sign_and_scores_do_not() -> None:
    values = np.array([[1.0, -2.0]])
    assert oriented(METRICS["accuracy"], values).tolist() == [[1.0, -2.0]]
    assert oriented(METRICS["nll"], values).tolist() == [[-1.0, 2.0]]
    assert [m.name for m in METRICS.values() if not m.higher_is_better] == ["nll", "brier", "ece"]


@pytest.mark.parametrize(
    ("probs", "labels", "message"),
    [
        ([[0.5, 0.4]], [0], r"probs: row 0 is \[0.5, 0.4\]"),
        ([[1.5, -0.5]], [0], "probs: row 0"),
        ([[math.nan, 0.5]], [0], "probs: row 0"),
        ([0.5, 0.5], [0], r"probs: found shape \(2,\)"),
        ([[1.0]], [0], r"probs: found shape \(1, 1\)"),
        ([[0.5, 0.5]], [2], "labels: found 2 to 2, expected whole numbers from 0 to 1"),
        ([[0.5, 0.5]], [-1], "labels: found -1 to -1"),
        ([[0.5, 0.5]], [0.5], "labels: found float64 with fractions"),
        ([[0.5, 0.5]], [0, 1], r"labels: found shape \(2,\)"),
    ],
)
def test_bad_input_is_named(probs: list[list[float]], labels: list[float], message: str) -> None:
    for metric in METRICS.values():
        with pytest.raises(ValueError, match=message):
            metric.function(probs, labels)


def test_importing_metrics_loads_no_heavy_library() -> None:
    code = (
        "import sys, oversight.metrics; print(sorted({'torch', 'sklearn', 'pandas', 'scipy.stats'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
