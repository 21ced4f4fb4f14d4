"""States held near where they were before training: the penalty against its definition, in passes and by adapters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from oversight.methods.losses import Confidence
from oversight.models.checkpoint import Checkpoint
from oversight.models.finetune.anchor import Anchor
from oversight.models.finetune.classifier import Classifier
from oversight.models.finetune.encoded import Encoded
from oversight.models.finetune.gradient import gradient
from oversight.models.finetune.recipe import Full, Lora
from oversight.models.student import Loss, cross_entropy

N = 10
LOSSES: dict[str, Loss] = {"cross-entropy": cross_entropy, "confidence": Confidence(0.5, 0.2)}
Make = Callable[..., Classifier]


@pytest.fixture
def rows(encoded_of: Callable[..., Encoded], token_texts: Callable[..., list[np.ndarray]]) -> Callable[..., Encoded]:
    """rows(paired) -> N rows of texts of 2 to 11 tokens."""

    def make(paired: bool = False) -> Encoded:
        lengths = [2 + (3 * i) % 10 for i in range(2 * N)]
        texts = token_texts(lengths)
        return encoded_of(texts[:N], texts[N:]) if paired else encoded_of(texts[:N])

    return make


def states_of(classifier: Classifier, encoded: Encoded) -> np.ndarray:
    """(n, t, d), every text alone."""
    with torch.no_grad():
        every = [classifier.states(encoded, [i]).numpy() for i in range(len(encoded))]
    return np.stack(every).astype(np.float64)


def shaken(classifier: Classifier) -> Classifier:
    """Its weights moved a little, as after some updates."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for one in classifier.trained().values():
            one.add_(0.03 * torch.randn(one.shape, generator=generator))
    return classifier


def by_definition(start: np.ndarray, now: np.ndarray, strength: float, *, chosen: Sequence[int]) -> float:
    """strength * mean over texts of |h - s|^2, over the mean of |s - mean s|^2 of all texts."""
    texts = [(i, j) for i in range(start.shape[0]) for j in range(start.shape[1])]
    centre = sum(start[i, j] for i, j in texts) / len(texts)
    apart = sum(float(((start[i, j] - centre) ** 2).sum()) for i, j in texts) / len(texts)
    away = [float(((now[i, j] - start[i, j]) ** 2).sum()) for i, j in texts if i in chosen]
    return strength * sum(away) / len(away) / apart


def slopes(
    classifier: Classifier, encoded: Encoded, loss: Loss, *, budget: int, anchor: Anchor | None
) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradient of the batch of all rows."""
    targets = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(3), len(encoded))).float()
    value = gradient(
        classifier, encoded, range(len(encoded)), targets, loss, progress=0.6, budget=budget, anchor=anchor
    )
    found: dict[str, torch.Tensor] = {}
    for name, one in classifier.trained().items():
        assert one.grad is not None
        found[name], one.grad = one.grad, None
    return value, found


@pytest.mark.parametrize("paired", [False, True])
def test_the_penalty_is_that_of_the_definition(
    bert: Checkpoint, make_classifier: Make, rows: Callable[..., Encoded], paired: bool
) -> None:
    classifier, encoded = make_classifier(bert, depth=2, paired=paired), rows(paired)
    start, chosen = states_of(classifier, encoded), [7, 2, 4]
    anchor = Anchor.at_start(classifier, encoded, 0.7)
    now = states_of(shaken(classifier), encoded)
    found = float(anchor.penalty(classifier.states(encoded, chosen), chosen).detach())
    assert found == pytest.approx(by_definition(start, now, 0.7, chosen=chosen), rel=1e-4)
    assert found > 0.01


def test_nothing_is_to_pay_before_training(
    bert: Checkpoint, make_classifier: Make, rows: Callable[..., Encoded]
) -> None:
    classifier, encoded = make_classifier(bert, depth=2), rows()
    anchor = Anchor.at_start(classifier, encoded, 1.0)
    assert float(anchor.penalty(classifier.states(encoded, range(N)), range(N)).detach()) < 1e-9


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_passes_give_the_gradient_of_the_whole_batch(
    bert: Checkpoint, make_classifier: Make, rows: Callable[..., Encoded], loss: str, paired: bool
) -> None:
    """Passes are of unlike size, so a mean of their means would give another gradient."""
    classifier, encoded = make_classifier(bert, depth=2, paired=paired), rows(paired)
    anchor = Anchor.at_start(classifier, encoded, 3.0)
    shaken(classifier)
    sizes = {len(one.rows) for one in classifier.team.passes(encoded, range(N), budget=50)}
    assert len(sizes) > 1
    one, whole = slopes(classifier, encoded, LOSSES[loss], budget=10_000, anchor=anchor)
    two, parts = slopes(classifier, encoded, LOSSES[loss], budget=50, anchor=anchor)
    assert one == pytest.approx(two, abs=1e-5)
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_is_that_of_loss_and_penalty(
    bert: Checkpoint, make_classifier: Make, rows: Callable[..., Encoded], loss: str
) -> None:
    classifier, encoded = make_classifier(bert, depth=2), rows()
    anchor = Anchor.at_start(classifier, encoded, 3.0)
    shaken(classifier)
    plain, without = slopes(classifier, encoded, LOSSES[loss], budget=10_000, anchor=None)
    value, both = slopes(classifier, encoded, LOSSES[loss], budget=10_000, anchor=anchor)
    assert value == plain
    anchor.penalty(classifier.states(encoded, range(N)), range(N)).backward()
    largest = 0.0
    for name, one in classifier.trained().items():
        pull = torch.zeros_like(one) if one.grad is None else one.grad
        torch.testing.assert_close(both[name], without[name] + pull, rtol=1e-4, atol=1e-5)
        largest = max(largest, float(pull.abs().max()))
    assert largest > 1e-2


def test_the_anchor_of_adapters_is_the_frozen_network(
    gpt2: Checkpoint, make_classifier: Make, rows: Callable[..., Encoded]
) -> None:
    pytest.importorskip("peft")
    encoded = rows()
    frozen, adapted = (make_classifier(gpt2, recipe, depth=2) for recipe in (Full(), Lora()))
    found = Anchor.at_start(adapted, encoded, 1.0).states
    torch.testing.assert_close(found, Anchor.at_start(frozen, encoded, 1.0).states, rtol=0, atol=1e-5)


def test_the_size_of_states_counts_where_rows_cannot_be_told_apart(
    bert: Checkpoint, make_classifier: Make, encoded_of: Callable[..., Encoded]
) -> None:
    encoded = encoded_of([np.array([3, 4, 5])] * 4)
    classifier = make_classifier(bert, depth=1)
    size = float((states_of(classifier, encoded) ** 2).sum(-1).mean())
    assert Anchor.at_start(classifier, encoded, 1.0).weight == pytest.approx(1e6 / size, rel=1e-4)
