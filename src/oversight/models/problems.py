"""Softmax regressions on the same rows, and one bound on the curvature of all of them.

The softmax does not change when a constant is added to all classes, so W = V B' with B (k, k-1) an orthonormal basis of
the vectors that sum to zero: as many parameters as matter, the same norm, and for k = 2 half the work. For centred
columns the Hessian in each column of V is at most X' diag(share) X / 2 + penalty, for the intercept 1/2 (Boehning 1992,
Ann. Inst. Stat. Math. 44). That bound is factored once per penalty, for all labels and classes; in its coordinates no
direction has a curvature above 1. It only steers, so it is kept in single precision; gradients are in double.

What stands beside a problem should not change it. No sum runs over several problems; the products with the rows and the
solves with the factor take a multiple of LANES columns, and rows are filled up to such a multiple with rows of no
weight. On one thread, with the libraries measured (MKL), a problem then has the same bits alone and among any others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from oversight.tasks.task import Floats

if TYPE_CHECKING:
    from oversight.models.solver import Design

TOLERANCE = 1e-8
LANES = 8
ROOT = 2**0.5


@dataclass(frozen=True)
class Problems:
    """m problems in contrasts: v (m, k - 1, r + 1), the last column the intercept.

    Attributes:
        design: their rows.
        targets: (m, k, n'); like logits and slopes it has the rows last, where sums over classes are fastest.
        wanted: (m, k - 1, n') those in contrasts.
        penalty: (m, 1, 1).
        basis: (m, k, k - 1) the contrasts, once per problem.
    """

    design: Design
    targets: Tensor
    wanted: Tensor
    penalty: Tensor
    basis: Tensor

    @classmethod
    def of(cls, design: Design, targets: Sequence[Floats], penalties: Sequence[float]) -> Problems:
        """`targets[i]`, (n, k) probabilities, goes with `penalties[i]`."""
        by_class = filled(torch.from_numpy(np.stack(targets)).transpose(1, 2)).contiguous()
        penalty = torch.tensor(penalties, dtype=torch.float64)[:, None, None]
        basis = torch.from_numpy(contrast_basis(by_class.shape[1])).expand(len(targets), -1, -1)
        return cls(design, by_class, torch.bmm(basis.transpose(1, 2), by_class), penalty, basis)

    def take(self, index: Tensor) -> Problems:
        """Some of them, or one several times."""
        basis = self.basis[:1].expand(len(index), -1, -1)
        return Problems(self.design, self.targets[index], self.wanted[index], self.penalty[index], basis)

    def zeros(self) -> Tensor:
        """v of no coefficients."""
        m, k, _ = self.targets.shape
        return torch.zeros(m, k - 1, self.design.z.shape[1] + 1, dtype=torch.float64)

    def scores(self, v: Tensor) -> Tensor:
        """(m, k - 1, n'): logits in contrasts."""
        return product(v[..., :-1].flatten(0, 1), self.design.z.T).view(*v.shape[:2], -1) + v[..., -1:]

    def logits(self, v: Tensor) -> Tensor:
        """(m, k, n')."""
        return torch.bmm(self.basis, self.scores(v))

    def probs(self, scores: Tensor) -> Tensor:
        """(m, k, n') of all classes; of two only (m, 1, n') of the second."""
        return (ROOT * scores).sigmoid() if scores.shape[1] == 1 else torch.bmm(self.basis, scores).softmax(1)

    def expected(self, probs: Tensor) -> Tensor:
        """(m, k - 1, n'): probabilities in contrasts."""
        return ROOT * (probs - 0.5) if probs.shape[1] == 1 else self.inward(probs)

    def variance(self, probs: Tensor, along: Tensor) -> Tensor:
        """(m, 1, n'): of a direction's logits, (m, k - 1, n') in contrasts, when classes are drawn by these."""
        if probs.shape[1] == 1:
            return 2 * (probs - probs * probs) * (along * along)
        values = torch.bmm(self.basis, along)
        weighted = probs * values
        return ((weighted * values).sum(1, keepdim=True) - weighted.sum(1, keepdim=True) ** 2).clamp_min(0)

    def inward(self, slopes: Tensor) -> Tensor:
        """(m, k - 1, n'): what lies over classes (m, k, n'), in contrasts."""
        return torch.bmm(self.basis.transpose(1, 2), slopes)

    def pull(self, slopes: Tensor, v: Tensor) -> Tensor:
        """Gradient in v from the gradient (m, k - 1, n') in the scores, penalty included."""
        back = product(slopes.flatten(0, 1), self.design.z).view(*slopes.shape[:2], -1)
        intercept = slopes.sum(2, keepdim=True) if self.design.intercept else torch.zeros_like(slopes[..., :1])
        return torch.cat([back + self.penalty * v[..., :-1], intercept], 2)

    def steer(self, gradient: Tensor) -> Tensor:
        """The step that would lead to the minimum if every curvature were at its bound, with its sign changed."""
        found = 2 * gradient
        weights = gradient[..., :-1]
        penalties = self.penalty[:, 0, 0]
        for penalty in penalties.unique().tolist():
            which = (penalties == penalty).nonzero()[:, 0]
            found[which, :, :-1] = self.design.solve_bound(penalty, weights[which].flatten(0, 1)).view_as(
                weights[which]
            )
        return found

    def gradient(self, expected: Tensor, v: Tensor) -> Tensor:
        """Of cross-entropy, where probabilities in contrasts are these."""
        return self.pull((expected - self.wanted) * self.design.share, v)

    def shrinkage(self, v: Tensor) -> Tensor:
        """(m,): the penalty's part of the objective."""
        return 0.5 * (self.penalty * v[..., :-1] ** 2).sum((1, 2))

    def on_features(self, v: Tensor) -> tuple[Floats, Floats]:
        """Coefficients (m, d, k) and intercepts (m, k) on the features as they came."""
        m, k, _ = self.basis.shape
        by_class = self.design.unfolded(torch.bmm(self.basis, v[..., :-1]).flatten(0, 1)).view(m, k, -1)
        return unscaled(self.design, by_class, torch.bmm(self.basis, v[..., -1:])[..., 0])


def unscaled(design: Design, weights: Tensor, intercepts: Tensor) -> tuple[Floats, Floats]:
    """Coefficients (m, d, k) and intercepts (m, k) on the features as they came, from weights (m, k, d) and intercepts
    (m, k) on the standardised ones."""
    by_class = weights / torch.from_numpy(design.scale)
    shift = (by_class * torch.from_numpy(design.mean)).sum(2)
    return by_class.transpose(1, 2).contiguous().numpy(), (intercepts - shift).numpy()


def contrast_basis(k: int) -> Floats:
    """(k, k - 1): an orthonormal basis of the vectors that sum to zero (Helmert).

    Example:
        >>> contrast_basis(2).round(3).tolist()
        [[-0.707], [0.707]]
    """
    basis = np.zeros((k, k - 1))
    for j in range(1, k):
        basis[:j, j - 1] = -1 / np.sqrt(j * (j + 1))
        basis[j, j - 1] = j / np.sqrt(j * (j + 1))
    return basis


def dot(a: Tensor, b: Tensor) -> Tensor:
    """(m, 1, 1) inner products."""
    return torch.bmm(a.reshape(len(a), 1, -1), b.reshape(len(b), -1, 1))


def filled(x: Tensor) -> Tensor:
    """The last dimension filled up to a multiple of LANES with zeros."""
    return torch.nn.functional.pad(x, (0, -x.shape[-1] % LANES))


def product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right, by a product that has a multiple of LANES rows."""
    return (torch.nn.functional.pad(left, (0, 0, 0, -len(left) % LANES)) @ right)[: len(left)]
