"""Any loss from zero, as Adam trains a linear head on batches: many problems side by side, without a random draw.

The reference (Burns et al. 2023, arXiv:2312.09390, appendix D.2) takes EPOCHS rounds of batches of BATCH rows at RATE.
Here a step takes all rows and stands for `pace` updates. Adam divides by the root of the mean squared gradient of a
batch; that of all rows lacks what the draw of a batch adds, (E g_i^2 - g^2) (1 / BATCH - 1 / n), so it is added. Then
heads are where those of the reference are, within what another order of its rows moves (docs/experiment_log.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from oversight.errors import StepError
from oversight.models.problems import filled, product, unscaled
from oversight.models.student import Loss
from oversight.tasks.task import Floats

if TYPE_CHECKING:
    from oversight.models.solver import Design

STEPS, SNAPSHOTS = 200, 20
EPOCHS, BATCH, RATE = 200, 128, 1e-3
MOMENTUM, MEMORY, EPSILON = 0.9, 0.999, 1e-8
REACH, MOST_PACE = 10.0, 15.0
DRAWN_EVERY = 5


def pace(n: int, d: int) -> float:
    """Updates of the reference for which a step stands where there are n rows of d features.

    At least so many that weights which always grow give a typical row a score of REACH: a head on few features would
    stay near zero. At most MOST_PACE: many rows bring a head to its end in fewer steps, and longer ones go to and fro.
    """
    return min(max(EPOCHS * -(-n // BATCH) / STEPS, REACH / (RATE * STEPS * max(d, 1) ** 0.5)), MOST_PACE)


def descend(
    design: Design, targets: Sequence[Floats], penalties: Sequence[float], losses: Sequence[Loss]
) -> list[tuple[Floats, Floats]]:
    """Coefficients (m, d, k) and intercepts (m, k) at SNAPSHOTS places, the last of them the end.

    Each problem is trained on its own loss, which changes with progress; all its rows are one logical batch, of which a
    row's slope counts as often as the row. Nothing of a problem depends on those beside it.

    Raises:
        StepError: a value or gradient of a loss is not finite.
    """
    heads = _Heads.of(design, targets, penalties)
    w = heads.zeros()
    updates = pace(design.n, w.shape[2] - 1)
    length, forget = RATE * updates, MEMORY**updates
    first, second, drawn = (torch.zeros_like(w) for _ in range(3))
    found: list[tuple[Floats, Floats]] = []
    for t in range(STEPS):
        slopes = heads.slopes(w, losses, (t + 1) / STEPS)
        pulled = heads.pull(slopes)
        if t % DRAWN_EVERY == 0:
            drawn = heads.drawn(slopes, pulled)
        gradient = pulled + heads.penalty * heads.shrunk(w)
        first = MOMENTUM * first + (1 - MOMENTUM) * gradient
        second = forget * second + (1 - forget) * (gradient * gradient + drawn)
        mean, square = first / (1 - MOMENTUM ** (t + 1)), second / (1 - forget ** (t + 1))
        w = w - length * mean / (square.sqrt() + EPSILON)
        if (t + 1) % (STEPS // SNAPSHOTS) == 0:
            found.append(heads.on_features(w))
    return found


@dataclass(frozen=True)
class _Heads:
    """m linear heads on standardised features: w (m, q, d + 1), the last column the intercept.

    q is k; of two classes one, as the other has the same with its sign changed and Adam keeps it so.

    Attributes:
        design: their rows.
        z: (n', d) those standardised; squares: (n', d) in single precision, as they only steer.
        counts: (n',) how often a row counts, 1 where all count alike.
        targets: (m, n, k), as a loss reads them.
        penalty: (m, 1, 1).
    """

    design: Design
    z: Tensor
    squares: Tensor
    counts: Tensor
    targets: Tensor
    penalty: Tensor

    @classmethod
    def of(cls, design: Design, targets: Sequence[Floats], penalties: Sequence[float]) -> _Heads:
        """Problem i has `targets[i]` and `penalties[i]`."""
        z = design.standard()
        penalty = torch.tensor(penalties, dtype=torch.float64)[:, None, None]
        return cls(design, z, z.float().square(), design.share * design.n, torch.from_numpy(np.stack(targets)), penalty)

    def zeros(self) -> Tensor:
        """w of no coefficients."""
        m, _, k = self.targets.shape
        return torch.zeros(m, 1 if k == 2 else k, self.z.shape[1] + 1, dtype=torch.float64)

    def slopes(self, w: Tensor, losses: Sequence[Loss], progress: float) -> Tensor:
        """(m, q, n'): gradient of each loss in the rows of w's scores.

        Raises:
            StepError: see `descend`.
        """
        scores = product(w[..., :-1].flatten(0, 1), self.z.T).view(*w.shape[:2], -1) + w[..., -1:]
        leaves = _by_class(scores)[..., : self.design.n].transpose(1, 2).contiguous()
        own = [one.requires_grad_(True) for one in leaves]
        values = [
            loss(one, target, progress=progress) for loss, one, target in zip(losses, own, self.targets, strict=True)
        ]
        by_row = torch.stack(torch.autograd.grad(values, own))
        broken = ~(torch.stack(values).detach().isfinite() & by_row.isfinite().all(2).all(1))
        if broken.any():
            loss = losses[int(broken.nonzero()[0, 0])]
            name = getattr(loss, "__name__", type(loss).__name__)
            raise StepError(f"loss {name}: its value or gradient at progress {progress:g} is not finite")
        by_class = filled(by_row.transpose(1, 2)) * self.counts
        if w.shape[1] == 1:
            return (by_class[:, 1:] - by_class[:, :1]) / 2
        return by_class - by_class.mean(1, keepdim=True)

    def shrunk(self, w: Tensor) -> Tensor:
        """What the penalty pulls to zero: coefficients, without what all classes share."""
        weights = w if w.shape[1] == 1 else w - w.mean(1, keepdim=True)
        return torch.nn.functional.pad(weights[..., :-1], (0, 1))

    def pull(self, slopes: Tensor) -> Tensor:
        """(m, q, d + 1): the gradient in w, penalty not included."""
        back = product(slopes.flatten(0, 1), self.z).view(*slopes.shape[:2], -1)
        return torch.cat([back, self._intercept(slopes)], 2)

    def drawn(self, slopes: Tensor, pulled: Tensor) -> Tensor:
        """(m, q, d + 1): variance that drawing a batch adds to the gradient, which is `pulled`."""
        n = self.design.n
        share = max(0.0, n / BATCH - 1)
        if share == 0:
            return torch.zeros_like(pulled)
        squared = slopes.square()
        back = product(squared.float().flatten(0, 1), self.squares).double().view(*slopes.shape[:2], -1)
        rows = torch.cat([back, self._intercept(squared)], 2)
        return share * (rows - pulled.square() / n).clamp_min(0)

    def _intercept(self, slopes: Tensor) -> Tensor:
        return slopes.sum(2, keepdim=True) if self.design.intercept else torch.zeros_like(slopes[..., :1])

    def on_features(self, w: Tensor) -> tuple[Floats, Floats]:
        """Coefficients (m, d, k) and intercepts (m, k) on the features as they came."""
        by_class = _by_class(w)
        return unscaled(self.design, by_class[..., :-1], by_class[..., -1])


def _by_class(x: Tensor) -> Tensor:
    """(m, q, ...) as (m, k, ...): classes sum to zero."""
    return torch.cat([-x, x], 1) if x.shape[1] == 1 else x - x.mean(1, keepdim=True)
