"""Which weights decay, how fast each part learns, and the course of the learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint, from_directory
from oversight.models.finetune.classifier import Classifier
from oversight.models.finetune.optim import make_optimizer, set_rates, share_of_peak
from oversight.models.finetune.recipe import Full

RUNS = {"n_updates": st.integers(1, 500), "warmup": st.floats(0, 0.99)}


@pytest.fixture
def classifier(gpt2: Checkpoint, in_float32: Callable[..., Backbone]) -> Classifier:
    return Classifier(in_float32(gpt2, depth=1), Full(), n_classes=2, paired=False, seed=0)


def flat(classifier: Classifier) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in classifier.trained().items()}


def fill_gradients(classifier: Classifier, value: float) -> None:
    for one in classifier.trained().values():
        one.grad = torch.full_like(one, value)


def test_the_warm_up_is_linear_and_starts_above_zero() -> None:
    """10 of 100 updates: 1/11, 2/11, ..., 10/11, then the peak."""
    recipe = Full(warmup_fraction=0.1)
    shares = [share_of_peak(step, 100, recipe) for step in range(11)]
    assert shares == pytest.approx([(step + 1) / 11 for step in range(11)])


@pytest.mark.parametrize(("step", "share"), [(20, 1.0), (40, (2 + 2**0.5) / 4), (60, 0.5), (80, (2 - 2**0.5) / 4)])
def test_after_the_warm_up_comes_half_a_cosine(step: int, share: float) -> None:
    """20 of 100 updates warm up; at a quarter of the other 80: (1 + cos(pi / 4)) / 2."""
    assert share_of_peak(step, 100, Full(warmup_fraction=0.2)) == pytest.approx(share)


def test_the_cosine_would_reach_zero_just_after_the_last_update() -> None:
    """cos(pi - x) = x^2 / 2 - 1 near the end: with 100 updates the last share is (pi / 100)^2 / 4."""
    assert share_of_peak(99, 100, Full(warmup_fraction=0)) == pytest.approx((math.pi / 100) ** 2 / 4, rel=1e-3)


def test_a_constant_schedule_stays_at_the_peak() -> None:
    recipe = Full(schedule="constant", warmup_fraction=0.1)
    assert {share_of_peak(step, 50, recipe) for step in range(5, 50)} == {1.0}


@settings(max_examples=100, deadline=None)
@given(**RUNS)
def test_shares_rise_then_fall_and_are_never_zero(n_updates: int, warmup: float) -> None:
    shares = [share_of_peak(step, n_updates, Full(warmup_fraction=warmup)) for step in range(n_updates)]
    top = shares.index(max(shares))
    assert shares[: top + 1] == sorted(shares[: top + 1]) and shares[top:] == sorted(shares[top:], reverse=True)
    assert all(0 < share <= 1 for share in shares)


def test_head_and_backbone_have_rates_of_their_own(classifier: Classifier) -> None:
    """A first step of Adam moves a weight by its rate times g / (|g| + 1e-8): here the rate, but for 1e-8."""
    before = flat(classifier)
    optimizer = make_optimizer(classifier, Full(head_lr=3e-2), 2e-3)
    fill_gradients(classifier, 1.0)
    optimizer.step()
    moved = {name: float((before[name] - one).abs().mean()) for name, one in flat(classifier).items()}
    expected = {name: 3e-2 if name.startswith("head.") else 2e-3 for name in moved}
    assert moved == pytest.approx(expected, rel=1e-3)


def test_rates_are_set_as_shares_of_their_peaks(classifier: Classifier) -> None:
    optimizer = make_optimizer(classifier, Full(head_lr=3e-2), 2e-3)
    for share in (0.25, 0.5):
        set_rates(optimizer, share)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == [1e-3, 1.5e-2]


@pytest.mark.parametrize("name", ["bert", "distilbert", "roberta", "gpt2", "gpt_neox", "llama", "gemma3", "opt", "phi"])
def test_matrices_decay_and_nothing_else(
    name: str, families: Mapping[str, Path], in_float32: Callable[..., Backbone]
) -> None:
    """Without a gradient a decayed weight becomes (1 - lr * decay) of itself, every other one stays as it is."""
    backbone = in_float32(from_directory(families[name], name=name), depth=1)
    classifier = Classifier(backbone, Full(), n_classes=2, paired=False, seed=0)
    torch.nn.init.ones_(classifier.head.weight)
    before = flat(classifier)
    optimizer = make_optimizer(classifier, Full(weight_decay=0.5), 0.1)
    fill_gradients(classifier, 0.0)
    optimizer.step()
    tables = {
        f"body.{path}.weight"
        for path, module in classifier.network.model.named_modules()
        if isinstance(module, torch.nn.Embedding)
    }
    for path, one in flat(classifier).items():
        decays = one.ndim > 1 and path not in tables and not path.startswith("head.")
        torch.testing.assert_close(one, before[path] * (0.95 if decays else 1.0), rtol=1e-6, atol=0)


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_every_trained_weight_is_in_one_group(optimizer: Any, classifier: Classifier) -> None:
    groups = make_optimizer(classifier, Full(optimizer=optimizer), 1e-3).param_groups
    held = [id(one) for group in groups for one in group["params"]]
    assert sorted(held) == sorted(id(one) for one in classifier.trained().values())


def test_adafactor_keeps_far_less_state(classifier: Classifier) -> None:
    """Of a matrix AdamW keeps two more, Adafactor one row and one column."""

    def kept(kind: Any) -> int:
        optimizer = make_optimizer(classifier, Full(optimizer=kind), 1e-3)
        fill_gradients(classifier, 1.0)
        optimizer.step()
        return sum(one.numel() for entry in optimizer.state.values() for one in entry.values())

    assert kept("adafactor") < kept("adamw") / 10
