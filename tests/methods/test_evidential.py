"""The evidential loss: its closed forms, torch's own divergence, what it does to training, and on whom it runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from planted_networks import BY_HEART, network_gains, rows_of
from torch import Tensor

from oversight.errors import InputError
from oversight.methods.evidential import Evidential, EvidentialLoss, against
from oversight.methods.method import WeakData, check_needs
from oversight.methods.several import Mean
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import from_directory
from oversight.models.finetune.recipe import Full
from oversight.models.finetune.student import FineTuned
from oversight.models.student import cross_entropy
from oversight.tasks.split import Seed
from oversight.tasks.task import Labels
from oversight.testing import mean_interval, planted

SEED = Seed.of(0)
PLAIN = EvidentialLoss(kl_weight=0.0, aux_weight=0.0)


def drawn(n: int, k: int, *, seed: int = 0, spread: float = 2.0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(0, spread, (n, k))), torch.tensor(rng.dirichlet(np.ones(k), n))


@pytest.mark.parametrize("k", [2, 3, 5])
def test_it_is_the_definition_one_row_after_another(k: int) -> None:
    """sum_j y_j (log S - log alpha_j) + 1e-4 progress KL, with the student's own choice mixed in."""
    logits, targets = drawn(12, k)
    found = EvidentialLoss()(logits, targets, progress=0.5)
    expected = 0.0
    for z, y in zip(logits, targets, strict=True):
        own = torch.zeros(k, dtype=torch.float64)
        own[int(z.argmax())] = 1
        label = 0.75 * y + 0.25 * own
        alpha = 1 + z.exp()
        expected += float((label * (alpha.sum().log() - alpha.log())).sum())
        prior = torch.distributions.Dirichlet(torch.ones(k, dtype=torch.float64))
        other = torch.distributions.Dirichlet(1 + z.exp() * (1 - label))
        expected += 1e-4 * 0.5 * float(torch.distributions.kl_divergence(other, prior))
    assert float(found) == pytest.approx(expected / 12, rel=1e-12)


def test_the_penalty_is_the_divergence_of_torch() -> None:
    logits, targets = drawn(50, 4)
    prior = torch.distributions.Dirichlet(torch.ones(4, dtype=torch.float64))
    own = torch.distributions.Dirichlet(1 + logits.exp() * (1 - targets))
    torch.testing.assert_close(against(logits, targets), torch.distributions.kl_divergence(own, prior))


def test_only_evidence_against_the_label_is_punished() -> None:
    label = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    for_it, against_it = torch.tensor([[9.0, -30.0]]).double(), torch.tensor([[-30.0, 9.0]]).double()
    assert float(against(for_it, label)) == pytest.approx(0, abs=1e-9)
    assert float(against(against_it, label)) > 5


def test_without_penalty_and_own_choice_it_is_cross_entropy_on_softplus() -> None:
    logits, targets = drawn(30, 3)
    expected = cross_entropy(torch.log1p(logits.exp()), targets)
    torch.testing.assert_close(PLAIN(logits, targets, progress=1.0), expected)


def test_no_evidence_is_the_uniform_guess() -> None:
    logits = torch.full((4, 3), -60.0, dtype=torch.float64)
    assert float(PLAIN(logits, torch.eye(3).double()[[0, 1, 2, 0]], progress=1.0)) == pytest.approx(math.log(3))


def test_its_gradient_in_closed_form() -> None:
    """exp(z_j) (1 / S - y_j / alpha_j), where the mean of the Dirichlet is the label it is 0."""
    logits, targets = drawn(8, 3)
    leaf = logits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(PLAIN(leaf, targets, progress=1.0), leaf)
    alpha = 1 + logits.exp()
    torch.testing.assert_close(slope * 8, logits.exp() * (1 / alpha.sum(1, keepdim=True) - targets / alpha))
    mean = (alpha / alpha.sum(1, keepdim=True)).detach()
    (slope,) = torch.autograd.grad(PLAIN(leaf, mean, progress=1.0), leaf)
    assert float(slope.abs().max()) < 1e-12


def test_the_loss_to_the_mean_label_is_the_mean_of_the_losses() -> None:
    logits, one = drawn(20, 3)
    other = drawn(20, 3, seed=1)[1]
    each = [EvidentialLoss(kl_weight=0.0)(logits, y, progress=0.7) for y in (one, other)]
    torch.testing.assert_close(EvidentialLoss(kl_weight=0.0)(logits, (one + other) / 2, progress=0.7), sum(each) / 2)


def test_nothing_jumps_where_the_warm_up_ends() -> None:
    logits, targets = drawn(20, 3)
    below, above = (float(EvidentialLoss()(logits, targets, progress=0.25 + e)) for e in (-1e-9, 1e-9))
    assert below == pytest.approx(above, abs=1e-7)


@pytest.mark.parametrize("size", [50.0, 1e4])
def test_large_scores_stay_finite(size: float) -> None:
    leaf = torch.tensor([[size, -size, 0.0]], requires_grad=True)
    loss = EvidentialLoss(kl_weight=1.0)(leaf, torch.tensor([[0.1, 0.2, 0.7]]), progress=1.0)
    (slope,) = torch.autograd.grad(loss, leaf)
    assert torch.isfinite(loss) and torch.isfinite(slope).all()


@pytest.mark.parametrize("settings", [{"kl_weight": -1.0}, {"aux_weight": 1.5}, {"warmup_fraction": 0.0}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(settings))}: found"):
        Evidential(**settings)


def test_a_probe_is_refused() -> None:
    with pytest.raises(InputError, match="method evidential: runs on full, lora, lp-ft, found a student trained by p"):
        check_needs("evidential", Evidential(), planted(n=60).student, n_supervisors=2)


@pytest.mark.slow
def test_a_network_learns_from_it_as_it_does_from_the_mean(
    tmp_path: Path, save_tiny: Callable[..., Path], planted_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    """Two supervisors who each flip a quarter: on 200 fresh rows it chooses the true class, and mostly as `mean`."""
    rows, truth = rows_of(planted_rows(600, seed=3))
    every: list[Labels] = []
    for seed in (0, 1):
        named = np.where(np.random.default_rng(seed).random(600) < 0.25, 1 - truth, truth)
        every.append(Labels.of(rows, np.where(np.eye(2)[named] > 0, 0.8, 0.2), source=f"weak {seed}"))
    first, seen, fresh = rows.take(range(320)), rows.take(range(320, 400)), rows.take(range(400, 600))
    data = WeakData(
        rows=first,
        labels=tuple(one.on(first) for one in every),
        validation=seen,
        validation_labels=tuple(one.on(seen) for one in every),
    )
    network = from_directory(save_tiny(tmp_path / "tiny", "bert"), name="tiny")
    student = FineTuned(
        backbone=Backbone(checkpoint=network, precision="float32", device="cpu"),
        recipe=Full(epochs=6, batch_size=16, lr=2e-3, evaluations=6),
    )
    mine, theirs = (one.train(student, data, seed=SEED).predict(fresh).argmax(1) for one in (Evidential(), Mean()))
    assert (mine == truth[400:]).mean() > 0.8
    assert (mine == theirs).mean() > 0.8


THREE_UNSURE: dict[str, Any] = {"recipe": BY_HEART, "supervisors": 3, "sure": 0.7, "against": Mean()}


@pytest.mark.slow
def test_a_network_that_knows_does_not_learn_by_heart_where_two_of_three_are_wrong(
    pretrained: Backbone, planted_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    """With its own choice mixed in, the label of two who are wrong and one who is right is the right one."""
    found = network_gains(Evidential(), pretrained, planted_rows, flips=0.35, seeds=10, **THREE_UNSURE)
    assert mean_interval(found)[0] > 0, found


@pytest.mark.slow
def test_where_no_supervisor_is_wrong_its_interval_contains_zero(
    pretrained: Backbone, planted_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    found = network_gains(Evidential(), pretrained, planted_rows, flips=0.0, seeds=4, **THREE_UNSURE)
    low, high = mean_interval(found)
    assert low <= 0 <= high and abs(found.mean()) < 0.01, found
