"""Optimisers and the schedule of their learning rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from oversight.models.finetune.recipe import Full

if TYPE_CHECKING:
    import torch

    from oversight.models.finetune.classifier import Classifier

EMBEDDINGS = ("embed", "wte", "wpe")


def make_optimizer(classifier: Classifier, recipe: Full, lr: float) -> torch.optim.Optimizer:
    """AdamW (fused) or Adafactor over the trained weights; only matrices other than embeddings decay.

    Args:
        classifier: whose weights.
        recipe: which optimiser, head learning rate and weight decay.
        lr: peak learning rate of the backbone.
    """
    import torch

    decayed, others, head = [], [], []
    for name, parameter in classifier.trained().items():
        is_table = any(part in name for part in EMBEDDINGS)
        part = head if name.startswith("head.") else decayed if parameter.ndim > 1 and not is_table else others
        part.append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "lr": lr, "peak": lr, "weight_decay": recipe.weight_decay},
        {"params": others, "lr": lr, "peak": lr, "weight_decay": 0.0},
        {"params": head, "lr": recipe.head_lr, "peak": recipe.head_lr, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adafactor":
        return torch.optim.Adafactor(groups)
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), fused=True)


def set_rates(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Set each learning rate to this share of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def share_of_peak(step: int, n_updates: int, recipe: Full) -> float:
    """Linear from 0 in the warm-up, then along half a cosine to 0, or constant.

    Args:
        step: update, from 0 to n_updates - 1; the first has a learning rate above 0 already.
        n_updates: of the run.
        recipe: warm-up and schedule.
    """
    warmup = round(recipe.warmup_fraction * n_updates)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if recipe.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (n_updates - warmup)))


def starting_point(classifier: Classifier) -> dict[torch.nn.Parameter, torch.Tensor]:
    """Copies of the trained weights as they are now, but for the head's."""
    trained = classifier.trained().items()
    return {one: one.detach().clone() for name, one in trained if not name.startswith("head.")}


def pull_back(
    optimizer: torch.optim.Optimizer, start: Mapping[torch.nn.Parameter, torch.Tensor], strength: float
) -> None:
    """w <- w - lr * strength * (w - w_start) for the weights that have a start, with the learning rate they had.

    Source: Li et al. 2018, arXiv:1802.01483 (L2-SP), decoupled from the gradient as in AdamW.
    """
    import torch

    with torch.no_grad():
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter in start:
                    parameter.lerp_(start[parameter], min(1.0, group["lr"] * strength))
