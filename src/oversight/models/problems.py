"""Softmax regressions on the same rows in coordinates in which no direction has a curvature above 1.

The softmax does not change when a constant is added to all classes, so W = V B' with B (k, k-1) an orthonormal basis of
the vectors that sum to zero: as many parameters as matter, the same norm, and for k = 2 half the work. In the
eigenbasis of X'X (columns centred) the Hessian is at most diag(eigenvalue / 2 + penalty) (Boehning 1992, Ann. Inst.
Stat. Math. 44), for the intercept 1/2. Coordinates are scaled by the root of that bound.

What stands beside a problem should not change it. No sum runs over several problems; the two products with the rows
take a multiple of LANES columns, and rows are filled up to such a multiple with rows of no weight. On one thread, with
the libraries measured (MKL), a problem then has the same bits alone and among any others.
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


@dataclass(frozen=True)
class Problems:
    """m problems in scaled coordinates: u (m, k - 1, r + 1), the last column the intercept.

    Attributes:
        design: their rows.
        targets: (m, k, n'); like logits and slopes it has the rows last, where sums over classes are fastest.
        scale: (m, 1, r) coefficients per unit of u.
        ridge: (m, 1, r) penalty in u.
        basis: (m, k, k - 1) the contrasts, once per problem.
    """

    design: Design
    targets: Tensor
    scale: Tensor
    ridge: Tensor
    basis: Tensor

    @classmethod
    def of(cls, design: Design, targets: Sequence[Floats], penalties: Sequence[float]) -> Problems:
        """`targets[i]`, (n, k) probabilities, goes with `penalties[i]`."""
        by_class = filled(torch.from_numpy(np.stack(targets)).transpose(1, 2)).contiguous()
        penalty = torch.tensor(penalties, dtype=torch.float64)[:, None, None]
        scale = (design.rotated[1] / 2 + penalty).rsqrt()
        basis = torch.from_numpy(contrast_basis(by_class.shape[1]))
        return cls(design, by_class, scale, penalty * scale**2, basis.expand(len(targets), -1, -1))

    def take(self, index: Tensor) -> Problems:
        """Some of them, or one several times."""
        basis = self.basis[:1].expand(len(index), -1, -1)
        return Problems(self.design, self.targets[index], self.scale[index], self.ridge[index], basis)

    @property
    def intercept_scale(self) -> float:
        """Intercept per unit of u."""
        return float(np.sqrt(2.0)) if self.design.intercept else 0.0

    def zeros(self) -> Tensor:
        """u of no coefficients."""
        m, k, _ = self.targets.shape
        return torch.zeros(m, k - 1, self.scale.shape[2] + 1, dtype=torch.float64)

    def logits(self, u: Tensor) -> Tensor:
        """(m, k, n')."""
        scores = product((u[..., :-1] * self.scale).flatten(0, 1), self.design.z.T).view(*u.shape[:2], -1)
        return torch.bmm(self.basis, scores + self.intercept_scale * u[..., -1:])

    def pull(self, slopes: Tensor, u: Tensor) -> Tensor:
        """Gradient in u from the gradient (m, k, n') in the logits, penalty included."""
        inner = torch.bmm(self.basis.transpose(1, 2), slopes)
        back = product(inner.flatten(0, 1), self.design.z).view(*inner.shape[:2], -1)
        weights = back * self.scale + self.ridge * u[..., :-1]
        return torch.cat([weights, self.intercept_scale * inner.sum(2, keepdim=True)], 2)

    def residual(self, logits: Tensor) -> Tensor:
        """Gradient (m, k, n') of cross-entropy in the logits."""
        return (logits.softmax(1) - self.targets) * self.design.share

    def penalty(self, u: Tensor) -> Tensor:
        """(m,): its part of the objective."""
        return 0.5 * (self.ridge * u[..., :-1] ** 2).sum((1, 2))

    def on_features(self, u: Tensor) -> tuple[Floats, Floats]:
        """Coefficients (m, d, k) and intercepts (m, k) on the features as they came."""
        m, k, _ = self.basis.shape
        rotated = torch.bmm(self.basis, u[..., :-1] * self.scale)
        by_class = product(rotated.flatten(0, 1), self.design.rotated[0].T) / torch.from_numpy(self.design.scale)
        shift = (by_class * torch.from_numpy(self.design.mean)).sum(1).view(m, k)
        intercepts = self.intercept_scale * torch.bmm(self.basis, u[..., -1:])[..., 0] - shift
        return by_class.view(m, k, -1).transpose(1, 2).contiguous().numpy(), intercepts.numpy()


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
    return (a * b).sum((1, 2), keepdim=True)


def filled(x: Tensor) -> Tensor:
    """The last dimension filled up to a multiple of LANES with zeros."""
    return torch.nn.functional.pad(x, (0, -x.shape[-1] % LANES))


def product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right, by a product that has a multiple of LANES rows."""
    return (torch.nn.functional.pad(left, (0, 0, 0, -len(left) % LANES)) @ right)[: len(left)]
