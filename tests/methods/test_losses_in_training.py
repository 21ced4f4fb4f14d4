"""Losses in the fine-tuning loop: each sees the whole batch, however memory cuts it, and moves the network."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from oversight.methods import METHODS
from oversight.methods.losses.auxiliary import Window
from oversight.methods.method import WithLoss
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import from_directory
from oversight.models.finetune.recipe import Full, Machine
from oversight.models.finetune.student import FineTuned
from oversight.models.student import Loss
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels, Rows, content_id

SEED = Seed.of(0)
LOSSES: dict[str, Loss] = {
    **{name: one.loss for name, entry in METHODS.items() if isinstance(one := entry.make(), WithLoss)},
    "midweak": Window(radius=0.0),
}
OF_THE_BATCH = ("confidence", "confidence_median", "confidence_balanced", "midweak")
"""Losses that read statistics of the batch."""
N, BATCH = 24, 12


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory, save_tiny: Callable[..., Path]) -> Backbone:
    """An encoder of two blocks."""
    folder = save_tiny(tmp_path_factory.mktemp("network") / "tiny", "bert")
    return Backbone(checkpoint=from_directory(folder, name="tiny"), precision="float32", device="cpu")


@pytest.fixture(scope="module")
def lesson(planted_rows: Callable[..., list[dict[str, Any]]]) -> tuple[Rows, Labels]:
    """Rows of different lengths, with soft labels of which some are sure and some are not."""
    texts = tuple(one["text"] + " and so" * (i % 4) for i, one in enumerate(planted_rows(N, seed=1)))
    ids = tuple(map(content_id, texts))
    rows = Rows(ids=ids, texts=texts, groups=ids)
    p = np.random.default_rng(0).beta(1.2, 0.8, N)
    return rows, Labels.of(rows, np.stack([1 - p, p], axis=1), source="weak")


def trained(backbone: Backbone, lesson: tuple[Rows, Labels], loss: Loss, *, tokens_at_once: int) -> Floats:
    """(n, 2) after two epochs, the first of them within the warm-up of losses that have one."""
    machine = Machine(tokens_at_once=tokens_at_once)
    recipe = Full(epochs=2, batch_size=BATCH, lr=3e-3, head_lr=3e-2, early_stopping=False, machine=machine)
    return FineTuned(backbone=backbone, recipe=recipe).fit(*lesson, loss=loss, seed=SEED).predict(lesson[0])


@pytest.fixture(scope="module")
def whole(backbone: Backbone, lesson: tuple[Rows, Labels]) -> Callable[[str], Floats]:
    """whole(name): what a loss teaches where memory holds every batch; each once."""
    return cache(lambda name: trained(backbone, lesson, LOSSES[name], tokens_at_once=100_000))


def by_rows(loss: Loss, at_once: int) -> Loss:
    """What a loop makes of a loss that it calls on every micro-batch: the fault that is excluded here."""

    def cut(logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        parts = [slice(i, i + at_once) for i in range(0, len(logits), at_once)]
        found = [loss(logits[one], targets[one], progress=progress) * len(logits[one]) for one in parts]
        return torch.stack(found).sum() / len(logits)

    return cut


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_sees_the_whole_batch_however_memory_cuts_it(
    name: str, whole: Callable[[str], Floats], backbone: Backbone, lesson: tuple[Rows, Labels]
) -> None:
    cut = trained(backbone, lesson, LOSSES[name], tokens_at_once=30)
    np.testing.assert_allclose(cut, whole(name), atol=2e-5)
    assert np.abs(cut - 0.5).max() > 0.02, "nothing was learned, so nothing was compared"


@pytest.mark.parametrize("name", OF_THE_BATCH)
def test_called_on_each_micro_batch_it_would_teach_something_else(
    name: str, whole: Callable[[str], Floats], backbone: Backbone, lesson: tuple[Rows, Labels]
) -> None:
    """Otherwise the test above would prove nothing of them."""
    cut = trained(backbone, lesson, by_rows(LOSSES[name], 3), tokens_at_once=100_000)
    assert np.abs(cut - whole(name)).max() > 1e-4


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in ("naive", "kl", "cace")])
def test_it_teaches_another_student_than_naive(name: str, whole: Callable[[str], Floats]) -> None:
    """A loss that does nothing is a fault that its name hides; cace differs only on rows near equal shares."""
    assert np.abs(whole(name) - whole("naive")).max() > 1e-4


def test_kl_teaches_the_student_of_naive(whole: Callable[[str], Floats]) -> None:
    np.testing.assert_allclose(whole("kl"), whole("naive"), atol=2e-5)
