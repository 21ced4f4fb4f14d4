"""From the solution of cross-entropy along any other loss, many problems side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from oversight.errors import StepError
from oversight.models.problems import TOLERANCE, Problems, dot, filled
from oversight.models.student import Loss

if TYPE_CHECKING:
    from oversight.models.solver import Design

SCHEDULE_STEPS, SNAPSHOTS = 100, 20


def follow(problems: Problems, u: Tensor, losses: Sequence[Loss]) -> list[Tensor]:
    """Accelerated steps of length 1, every problem on its own loss, which changes with progress: SNAPSHOTS places.

    Length 1 is safe where the loss is cross-entropy to some target distribution, whatever that target may depend on:
    its curvature is bounded by the scaling. Any other loss is checked: a step that would end above where the path
    stands is not taken and momentum is dropped; without momentum, steps are half as long from then on.
    """
    applied = _Applied.of(problems, losses)
    length, age = u.new_ones(len(u), 1, 1), u.new_zeros(len(u), 1, 1)
    previous = u
    found: list[Tensor] = []
    for t in range(SCHEDULE_STEPS):
        progress = (t + 1) / SCHEDULE_STEPS
        ahead = u + age / (age + 3) * (u - previous)
        values, slopes, bounded = applied.slopes(ahead, progress)
        gradient = problems.pull(problems.inward(slopes), ahead)
        step = problems.steer(gradient)
        moving = dot(gradient, step).sqrt() > 2 * TOLERANCE
        proposed = ahead - length * step
        taken = moving & bounded[:, None, None]
        unsure = (moving & ~taken)[:, 0, 0].nonzero()[:, 0]
        if len(unsure):
            here, there = (applied.values(one[unsure], unsure, progress) for one in (u, proposed))
            least = torch.where((age[unsure, 0, 0] > 0) & (here < values[unsure]), here, values[unsure])
            taken[unsure, 0, 0] = there <= least
        previous = torch.where(moving, u, previous)
        u = torch.where(taken, proposed, u)
        length = torch.where(moving & ~taken & (age == 0), length / 2, length)
        age = torch.where(taken, age + 1, torch.where(moving, 0.0, age))
        if (t + 1) % (SCHEDULE_STEPS // SNAPSHOTS) == 0:
            found.append(u)
    return found


@dataclass(frozen=True)
class _Applied:
    """To each problem its loss, by itself.

    Attributes:
        targets: (m, n, k), as a loss reads them.
    """

    problems: Problems
    losses: Sequence[Loss]
    targets: Tensor

    @classmethod
    def of(cls, problems: Problems, losses: Sequence[Loss]) -> _Applied:
        """To these problems."""
        return cls(problems, losses, _by_row(problems.targets, problems.design))

    def values(self, u: Tensor, which: Tensor, progress: float) -> Tensor:
        """The objective where the problems `which` stand."""
        problems = self.problems.take(which)
        logits = _by_row(problems.logits(u), problems.design)
        data = [
            self.losses[i](one, self.targets[i], progress=progress)
            for one, i in zip(logits, which.tolist(), strict=True)
        ]
        return torch.stack(data).detach() + problems.shrinkage(u)

    def slopes(self, u: Tensor, progress: float) -> tuple[Tensor, Tensor, Tensor]:
        """Objective (m,), its gradient (m, k, n') in the logits, and where the loss is cross-entropy to a distribution
        in every row.

        Raises:
            StepError: a value or gradient of the loss is not finite.
        """
        design = self.problems.design
        logits = self.problems.logits(u)
        leaves = [one.requires_grad_(True) for one in _by_row(logits, design)]
        data = [
            loss(one, own, progress=progress) for loss, one, own in zip(self.losses, leaves, self.targets, strict=True)
        ]
        by_row = torch.stack(torch.autograd.grad(data, leaves))
        found, n = torch.stack(data).detach(), by_row.shape[1]
        broken = ~(found.isfinite() & by_row.isfinite().all(2).all(1))
        if broken.any():  # else nothing would move: naive under its name
            loss = self.losses[int(broken.nonzero()[0, 0])]
            name = getattr(loss, "__name__", type(loss).__name__)
            raise StepError(f"loss {name}: its value or gradient at progress {progress:g} is not finite")
        slopes = filled(by_row.transpose(1, 2))
        log_probs = logits.log_softmax(1)
        target = log_probs.exp() - slopes * n
        nats = -(target * log_probs).sum(1)[:, :n].mean(1)
        bounded = (target > -1e-9).all(2).all(1) & ((target.sum(1) - 1).abs() < 1e-9).all(1)
        bounded &= (nats - found).abs() <= 1e-9 * found.abs().clamp_min(1.0)
        return found + self.problems.shrinkage(u), slopes, bounded


def _by_row(x: Tensor, design: Design) -> Tensor:
    """(m, k, n') as (m, n, k)."""
    return x[..., : design.n].transpose(1, 2).contiguous()
