"""The confidence loss against its definition: ramp, threshold, gradient, and the counts of its hardened guesses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from oversight.methods.losses import Confidence, confidence_loss, harden
from oversight.models.student import cross_entropy

few = settings(max_examples=60, deadline=None)


def batch(n: int, k: int, *, seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Random scores and soft labels."""
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(size=(n, k)) * 2, dtype=dtype)
    return logits, torch.tensor(rng.dirichlet(np.ones(k), n), dtype=dtype)


def naive_cross_entropy(logits: Tensor, targets: Tensor) -> float:
    """Mean of -sum_j y_j ln(e^{z_j} / sum_l e^{z_l}) by loops."""
    total = 0.0
    for scores, labels in zip(logits.tolist(), targets.tolist(), strict=True):
        denominator = sum(math.exp(z) for z in scores)
        total -= sum(y * math.log(math.exp(z) / denominator) for z, y in zip(scores, labels, strict=True))
    return total / len(logits)


def naive_counts(prior: Sequence[float], n: int) -> list[int]:
    """Whole rows first, then one each for the largest remainders, lower classes first."""
    counts = [math.floor(p * n + 1e-9) for p in prior]
    for _ in range(n - sum(counts)):
        left = [p * n - c for p, c in zip(prior, counts, strict=True)]
        counts[left.index(max(left))] += 1
    return counts


# Cross-entropy


def test_cross_entropy_equals_the_double_loop() -> None:
    logits, targets = batch(17, 4, seed=0)
    assert float(cross_entropy(logits, targets)) == pytest.approx(naive_cross_entropy(logits, targets), rel=1e-12)


@pytest.mark.parametrize("k", [2, 3, 7])
def test_uniform_logits_give_the_logarithm_of_k(k: int) -> None:
    """-sum_j y_j ln(1/k) = ln k whatever y, for the mixed target too."""
    _, targets = batch(9, k, seed=1)
    logits = torch.zeros(9, k, dtype=torch.float64)
    assert float(cross_entropy(logits, targets)) == pytest.approx(math.log(k), rel=1e-12)
    assert float(Confidence()(logits, targets, progress=1.0)) == pytest.approx(math.log(k), rel=1e-12)


@pytest.mark.parametrize("k", [2, 5])
def test_the_gradient_is_softmax_minus_target_over_n(k: int) -> None:
    logits, targets = batch(11, k, seed=2)
    logits.requires_grad_(True)
    (gradient,) = torch.autograd.grad(cross_entropy(logits, targets), logits)
    torch.testing.assert_close(gradient, (logits.detach().softmax(-1) - targets) / 11, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("k", [2, 5])
def test_the_gradient_of_confidence_is_softmax_minus_the_mixed_target(k: int) -> None:
    """Half the weak labels, half the hardened guess, at the end of training."""
    logits, targets = batch(12, k, seed=3)
    mixed = 0.5 * targets + 0.5 * harden(logits, targets.mean(0))
    logits.requires_grad_(True)
    (gradient,) = torch.autograd.grad(confidence_loss(logits, targets, progress=1.0), logits)
    torch.testing.assert_close(gradient, (logits.detach().softmax(-1) - mixed) / 12, rtol=1e-12, atol=1e-15)


# Ramp


def test_without_own_weight_it_is_cross_entropy_to_the_last_bit() -> None:
    logits, targets = batch(20, 3, seed=4)
    for progress in (0.0, 0.3, 1.0):
        assert torch.equal(
            confidence_loss(logits, targets, progress=progress, aux_weight=0.0), cross_entropy(logits, targets)
        )


def test_at_the_start_it_is_cross_entropy() -> None:
    logits, targets = batch(20, 2, seed=5)
    assert torch.equal(confidence_loss(logits, targets, progress=0.0), cross_entropy(logits, targets))


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.99, 1.0])
def test_the_share_grows_in_proportion_to_progress(share: float) -> None:
    """At progress share * warmup the target is (1 - c) y + c harden, c = aux_weight * share; the predecessors' ramp
    climbed to 0.1 and then jumped to 1."""
    logits, targets = batch(20, 2, seed=6)
    own = harden(logits, targets.mean(0))
    c = 0.6 * share
    expected = naive_cross_entropy(logits, (1 - c) * targets + c * own)
    found = confidence_loss(logits, targets, progress=0.3 * share, aux_weight=0.6, warmup_fraction=0.3)
    assert float(found) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("warmup", [0.1, 0.2, 1.0])
@pytest.mark.parametrize("at", [0.0, 1.0])
def test_the_ramp_is_continuous_where_it_starts_and_ends(warmup: float, at: float) -> None:
    """The loss moves by less than 1e-5 when progress moves by 1e-7 past a switch point."""
    logits, targets = batch(32, 2, seed=7)
    sides = [
        float(confidence_loss(logits, targets, progress=min(1.0, max(0.0, at * warmup + d)), warmup_fraction=warmup))
        for d in (-1e-7, 0.0, 1e-7)
    ]
    assert max(sides) - min(sides) < 1e-5


def test_after_the_warm_up_progress_does_not_count() -> None:
    logits, targets = batch(32, 2, seed=8)
    later = {float(confidence_loss(logits, targets, progress=p)) for p in (0.2, 0.5, 1.0)}
    assert len(later) == 1


def test_settings_reach_the_loss() -> None:
    logits, targets = batch(16, 3, seed=9)
    expected = confidence_loss(logits, targets, progress=0.3, aux_weight=0.75, warmup_fraction=0.6)
    assert torch.equal(Confidence(0.75, 0.6)(logits, targets, progress=0.3), expected)


@pytest.mark.parametrize("settings_", [(-0.1, 0.2), (1.1, 0.2), (float("nan"), 0.2), (0.5, 0.0), (0.5, 1.1)])
def test_settings_outside_their_range_are_refused(settings_: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="expected a number in"):
        Confidence(*settings_)


# The hardened guess


def held(prior: np.ndarray, n: int) -> list[float]:
    """Rows of each class: of two as they are, of several whole."""
    return (n * prior).tolist() if len(prior) == 2 else naive_counts(prior.tolist(), n)


def test_the_threshold_sees_the_whole_batch() -> None:
    """The first half scores below the second; cut by halves, each would get its own half of class 1."""
    logits = torch.stack([torch.zeros(8), torch.arange(8.0)], 1)
    targets = torch.full((8, 2), 0.5)
    whole = confidence_loss(logits, targets, progress=1.0)
    halves = (
        confidence_loss(logits[:4], targets[:4], progress=1.0) + confidence_loss(logits[4:], targets[4:], progress=1.0)
    ) / 2
    own = torch.eye(2)[[0] * 4 + [1] * 4]
    assert float(whole) == pytest.approx(naive_cross_entropy(logits, 0.5 * targets + 0.5 * own), rel=1e-6)
    assert abs(float(whole) - float(halves)) > 0.1


@pytest.mark.parametrize("k", [2, 3])
def test_no_gradient_flows_through_the_hardened_guess(k: int) -> None:
    """Central differences of the loss with the guess frozen where it stands."""
    logits, targets = batch(7, k, seed=10)
    own = harden(logits, targets.mean(0))
    frozen = 0.5 * targets + 0.5 * own
    variable = logits.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(confidence_loss(variable, targets, progress=1.0), variable)
    for i, j in itertools.product(range(7), range(k)):
        shift = torch.zeros_like(logits)
        shift[i, j] = 1e-5
        slope = (naive_cross_entropy(logits + shift, frozen) - naive_cross_entropy(logits - shift, frozen)) / 2e-5
        assert float(gradient[i, j]) == pytest.approx(slope, abs=1e-8)


def test_the_guess_is_one_one_per_row() -> None:
    logits, targets = batch(30, 4, seed=11)
    found = harden(logits, targets.mean(0))
    assert set(found.unique().tolist()) == {0.0, 1.0}
    assert found.sum(1).tolist() == [1.0] * 30


@few
@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 10_000), st.sampled_from([0.1, 1.0, 30.0]))
def test_classes_are_guessed_in_the_proportions_of_the_prior(n: int, k: int, seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(size=(n, k)) * spread)
    prior = rng.dirichlet(np.full(k, 0.7))
    assert harden(logits, torch.tensor(prior)).sum(0).tolist() == pytest.approx(held(prior, n), abs=1e-5)


@few
@given(st.integers(1, 25), st.integers(2, 5), st.integers(0, 10_000))
def test_rows_that_tie_do_not_upset_the_proportions(n: int, k: int, seed: int) -> None:
    """Logits of two values only, so most rows are copies of another."""
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.integers(0, 2, (n, k)), dtype=torch.float64)
    prior = rng.dirichlet(np.ones(k))
    found = harden(logits, torch.tensor(prior))
    assert found.sum(0).tolist() == pytest.approx(held(prior, n), abs=1e-5)
    assert found.sum(1).tolist() == pytest.approx([1.0] * n) and float(found.min()) > -1e-9
    for i, j in itertools.combinations(range(n if k == 2 else 0), 2):
        if torch.equal(logits[i], logits[j]):
            assert found[i].tolist() == pytest.approx(found[j].tolist()), "copies of a row have one guess"


@pytest.mark.parametrize("k", [2, 3, 4])
def test_a_class_without_a_prior_is_never_guessed(k: int) -> None:
    logits, _ = batch(20, k, seed=12)
    prior = torch.full((k,), 1 / (k - 1), dtype=torch.float64)
    prior[0] = 0
    assert harden(logits, prior)[:, 0].sum() == 0


@pytest.mark.parametrize("k", [2, 3])
def test_a_class_with_the_whole_prior_is_always_guessed(k: int) -> None:
    logits, _ = batch(20, k, seed=13)
    assert harden(logits, torch.eye(k, dtype=torch.float64)[1])[:, 1].sum() == 20


def best_by_brute_force(logits: Tensor, counts: list[int]) -> float:
    """The largest sum of log-probabilities over all ways to give class j to counts[j] rows."""
    log_probs = logits.log_softmax(-1).tolist()
    classes = [j for j, count in enumerate(counts) for _ in range(count)]
    return max(
        sum(row[j] for row, j in zip(log_probs, way, strict=True)) for way in set(itertools.permutations(classes))
    )


@pytest.mark.parametrize("seed", range(6))
def test_guesses_are_the_most_probable_with_those_counts(seed: int) -> None:
    """argmax_j (log p_j - b_j) solves the assignment problem whose dual variables are b."""
    logits, targets = batch(6, 3, seed=20 + seed)
    found = harden(logits, targets.mean(0))
    counts = [int(c) for c in found.sum(0)]
    assert float((found * logits.log_softmax(-1)).sum()) == pytest.approx(best_by_brute_force(logits, counts), abs=1e-9)


@few
@given(st.integers(2, 40), st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_two_classes_are_cut_at_the_quantile(n: int, seed: int, prior: float) -> None:
    """Class 1 holds the n * prior most probable rows: those above the quantile 1 - prior, and part of the next."""
    logits = torch.tensor(np.random.default_rng(seed).normal(size=(n, 2)))
    order = np.argsort(-logits.softmax(-1)[:, 1].numpy())
    expected = np.zeros(n)
    expected[order] = np.clip(n * prior - np.arange(n), 0, 1)
    chosen = harden(logits, torch.tensor([1 - prior, prior], dtype=torch.float64))[:, 1].tolist()
    assert chosen == pytest.approx(expected.tolist(), abs=2e-6)


@pytest.mark.parametrize("n", [1, 6, 7])
@pytest.mark.parametrize("k", [2, 3])
def test_rows_that_all_tie_share_all_classes(k: int, n: int) -> None:
    found = harden(torch.zeros(n, k, dtype=torch.float64), torch.full((k,), 1 / k, dtype=torch.float64))
    assert found.flatten().tolist() == pytest.approx([1 / k] * (n * k))


def test_remainders_that_tie_are_rounded_up_as_often() -> None:
    """5 rows at (0.5, 0.3, 0.2): 2.5, 1.5 and 1, so 3, 1, 1 and 2, 2, 1, and the mean of the two guesses."""
    logits, _ = batch(5, 3, seed=14)
    found = harden(logits, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64))
    assert found.sum(0).tolist() == pytest.approx([2.5, 1.5, 1])
    assert {round(2 * one) for one in found.flatten().tolist()} == {0, 1, 2}


@pytest.mark.parametrize("k", [2, 4])
def test_the_guess_does_not_depend_on_a_constant_added_to_a_row(k: int) -> None:
    logits, targets = batch(20, k, seed=15)
    shift = torch.linspace(-3, 3, 20, dtype=torch.float64)[:, None]
    assert torch.equal(harden(logits, targets.mean(0)), harden(logits + shift, targets.mean(0)))


@pytest.mark.parametrize("k", [2, 4])
def test_the_guess_follows_the_rows(k: int) -> None:
    logits, targets = batch(20, k, seed=16)
    order = torch.tensor(np.random.default_rng(0).permutation(20))
    assert torch.equal(harden(logits[order], targets.mean(0)), harden(logits, targets.mean(0))[order])


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("n", [7, 12])
@pytest.mark.parametrize("k", [2, 3, 5])
def test_the_guess_follows_the_names_of_the_classes(k: int, n: int, even: bool) -> None:
    """Also where a row is left over, which went to the lowest class: renaming classes changed what was learned."""
    logits, targets = batch(n, k, seed=17)
    prior = torch.full((k,), 1 / k, dtype=torch.float64) if even else targets.mean(0)
    order = torch.tensor(np.random.default_rng(k).permutation(k))
    torch.testing.assert_close(harden(logits[:, order], prior[order]), harden(logits, prior)[:, order])


# What a loss must be


@pytest.mark.parametrize("loss", [cross_entropy, Confidence()])
def test_a_loss_remembers_nothing(loss: Confidence) -> None:
    """The predecessors kept a list of predictions that grew for ever."""
    logits, targets = batch(16, 2, seed=18)
    others = batch(16, 2, seed=19)
    before = loss(logits, targets, progress=0.5)
    for progress in (0.1, 0.9):
        loss(*others, progress=progress)
    assert torch.equal(loss(logits, targets, progress=0.5), before)


@pytest.mark.parametrize("loss", [cross_entropy, Confidence()])
def test_a_loss_changes_nothing_it_is_given(loss: Confidence) -> None:
    logits, targets = batch(16, 3, seed=21)
    copies = logits.clone(), targets.clone()
    loss(logits, targets, progress=0.7)
    assert torch.equal(logits, copies[0]) and torch.equal(targets, copies[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("k", [2, 3])
def test_the_number_type_is_kept(dtype: torch.dtype, k: int) -> None:
    logits, targets = batch(16, k, seed=22, dtype=dtype)
    assert harden(logits, targets.mean(0)).dtype == dtype
    assert Confidence()(logits, targets, progress=1.0).dtype == dtype
