"""The gradient of a whole logical batch, whatever the passes that it is worked through in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from oversight.models.finetune.anchor import Anchor
from oversight.models.finetune.classifier import Classifier
from oversight.models.finetune.encoded import Encoded
from oversight.models.finetune.team import Pass
from oversight.models.student import Loss, cross_entropy

if TYPE_CHECKING:
    from torch import Tensor


def gradient(
    classifier: Classifier,
    encoded: Encoded,
    rows: Sequence[int],
    targets: Tensor,
    loss: Loss,
    *,
    progress: float,
    budget: int,
    anchor: Anchor | None = None,
) -> float:
    """Add the gradient of the loss of one whole logical batch to the weights; gives the loss, the anchor's part aside.

    A batch that fits in one pass is one. Otherwise the loss is taken on the logits of all micro-batches, and its
    gradient with respect to each row's logits is handed back through that row's micro-batch: the loss sees the whole
    batch, memory holds one micro-batch. A mean over rows, such as cross-entropy, needs no such first pass. Of several
    processes each does this for its share of the rows, and their gradients are still to be added up.

    Args:
        classifier: in training mode.
        encoded: token ids of all rows.
        rows: b positions.
        targets: (b, k) labels of those rows.
        loss: of (b, k) logits and targets.
        progress: fraction of training done.
        budget: most tokens in one pass.
        anchor: adds its penalty, a mean over the rows of the batch, to the loss.
    """
    import torch

    team = classifier.team
    passes = team.passes(encoded, rows, budget=budget)
    if team.size == 1 and len(passes) == 1:
        passes = [Pass(list(rows))]  # in the order in which a loss sees the rows of several passes
    place = {row: i for i, row in enumerate(rows)}
    index = [[place[row] for row in one.rows] for one in passes]
    if loss is not cross_entropy:
        return _gradient_by_slopes(classifier, encoded, passes, index, targets, loss, progress=progress, anchor=anchor)
    total = torch.zeros((), dtype=torch.float64, device=targets.device)
    for one, at in zip(passes, index, strict=True):
        share = len(one.rows) / len(rows) if one.counts else 0.0
        states = classifier.states(encoded, one.rows)
        value = loss(classifier.read_out(states), targets[at], progress=progress) * share
        (value if anchor is None else value + anchor.penalty(states, one.rows) * share).backward()
        total += value.detach()
    return float(team.total(total))


def _gradient_by_slopes(
    classifier: Classifier,
    encoded: Encoded,
    passes: Sequence[Pass],
    index: Sequence[Sequence[int]],
    targets: Tensor,
    loss: Loss,
    *,
    progress: float,
    anchor: Anchor | None,
) -> float:
    """See `gradient`: all logits first, then the slope of the loss at each row's logits back through that row's pass.

    A single pass is kept in memory; several are made again, with the same dropout. Every process takes the loss of the
    whole batch, and each hands back the slopes of its own rows.
    """
    import torch

    logits, generators, states, found = torch.zeros_like(targets), [], targets, targets
    with torch.set_grad_enabled(len(passes) == 1):
        for one, at in zip(passes, index, strict=True):
            generators.append(_generators(classifier.device))
            states = classifier.states(encoded, one.rows)
            found = classifier.read_out(states)
            if one.counts:
                logits[at] = found.detach()
    after = _generators(classifier.device)
    leaf = classifier.team.total(logits).requires_grad_()
    value = loss(leaf, targets, progress=progress)
    (slope,) = torch.autograd.grad(value, leaf)
    for one, at, generator in zip(passes, index, generators, strict=True):
        if len(passes) > 1:
            _set_generators(generator, classifier.device)
            states = classifier.states(encoded, one.rows)
            found = classifier.read_out(states)
        slopes = slope[at] if one.counts else torch.zeros_like(found)
        if anchor is None:
            found.backward(slopes)
        else:
            share = len(one.rows) / len(targets) if one.counts else 0.0
            torch.autograd.backward([found, anchor.penalty(states, one.rows) * share], [slopes, None])
    _set_generators(after, classifier.device)
    return float(value.detach())


def _generators(device: str) -> list[Tensor]:
    """Where the generators stand from which dropout draws."""
    import torch

    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.startswith("cuda") else [])]


def _set_generators(found: Sequence[Tensor], device: str) -> None:
    import torch

    torch.set_rng_state(found[0])
    if len(found) > 1:
        torch.cuda.set_rng_state(found[1], device)
