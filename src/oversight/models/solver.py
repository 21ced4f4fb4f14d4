"""Many softmax regressions on the same rows at once: exact for cross-entropy, a short schedule for any other loss.

One problem is a pair (labels, penalty); all share the rows X, hence one eigendecomposition of X'X.

    minimise over W (d, k), b (k):   sum_i w_i CE(y_i, softmax(x_i W + b)) + penalty / 2 ||W||^2,      sum_i w_i = 1

The softmax does not change when a constant is added to all classes, so W = V B' with B (k, k-1) an orthonormal basis of
the vectors that sum to zero: as many parameters as matter, the same norm, and for k = 2 half the work. In the
eigenbasis of X'X (columns centred) the Hessian is at most diag(eigenvalue / 2 + penalty) (Boehning 1992, Ann. Inst.
Stat. Math. 44), for the intercept 1/2. Scaled by the root of that bound every direction has curvature at most 1, and
L-BFGS starts from the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from oversight.models.student import Loss
from oversight.tasks.task import Floats

TOLERANCE = 1e-8
MOST_ITERATIONS = 2000
MEMORY = 12
LINE_STEPS = 8
SCHEDULE_STEPS, SNAPSHOTS = 100, 20
RANK_FLOOR = 1e-12


@dataclass(frozen=True)
class Solution:
    """Fitted problems.

    Attributes:
        coefficients: (m, d, k) float64; classes sum to zero.
        intercepts: (m, k) float64; zero without intercept.
        gradient: (m,) norm of the gradient in scaled coordinates, where the solver stopped.
        iterations: of the batch.
    """

    coefficients: Floats
    intercepts: Floats
    gradient: Floats
    iterations: int

    def probs(self, x: Floats) -> Floats:
        """(m, n, k) class probabilities of (n, d) features."""
        logits = torch.from_numpy(np.ascontiguousarray(x)) @ torch.from_numpy(self.coefficients)
        return (logits + torch.from_numpy(self.intercepts)[:, None, :]).softmax(-1).numpy()


class Design:
    """Rows of one fit, standardised and rotated once, for any number of problems.

    Args:
        x: (n, d) features.
        weights: (n,) at least 0; None = equal.
        intercept: without it nothing is centred either (preference pairs: swapping the two texts swaps the classes).
    """

    def __init__(self, x: Floats, *, weights: Floats | None = None, intercept: bool = True) -> None:
        n = len(x)
        share = np.full(n, 1 / n) if weights is None else weights / weights.sum()
        self.intercept = intercept
        self.mean = share @ x if intercept else np.zeros(x.shape[1])
        spread = np.sqrt(np.maximum(share @ (x - self.mean) ** 2, 0))
        self.scale = np.where(spread > 1e-9 * max(1.0, float(np.abs(x).max(initial=0))), spread, np.inf)
        self.share = torch.from_numpy(share)
        self._x = torch.from_numpy((x - self.mean) / self.scale)

    @cached_property
    def rotated(self) -> tuple[Tensor, Tensor, Tensor]:
        """Basis Q (d, r), eigenvalues (r,) of X' diag(share) X and Z = X Q (n, r); r is the rank."""
        n, d = self._x.shape
        rooted = self._x * self.share.sqrt()[:, None]
        if d <= n:
            values, basis = torch.linalg.eigh(rooted.T @ rooted)
        else:
            values, left = torch.linalg.eigh(rooted @ rooted.T)
            basis = rooted.T @ (left / values.clamp_min(RANK_FLOOR).sqrt())
        kept = values > RANK_FLOOR * values.max().clamp_min(1.0)
        values, basis = values[kept], basis[:, kept].contiguous()
        return basis, values, self._x @ basis

    def solve(self, targets: Sequence[Floats], penalties: Sequence[float]) -> Solution:
        """Minimise cross-entropy for m problems; `targets[i]`, (n, k) probabilities, goes with `penalties[i]`."""
        problem = _Problem(self, torch.from_numpy(np.stack(targets)), torch.tensor(penalties, dtype=torch.float64))
        u, gradient, iterations = _minimise(problem)
        return problem.solution(u, gradient, iterations)

    def path(self, targets: Floats, penalty: float, *, loss: Loss) -> Solution:
        """Follow any loss while progress rises from 0 to 1, starting from the solution of cross-entropy.

        SCHEDULE_STEPS full-batch steps, all rows being one logical batch. Where the gradient is below tolerance nothing
        moves, so a loss that equals cross-entropy stays at its solution to the last bit.

        Returns:
            SNAPSHOTS + 1 solutions: entry j is where the path stands at progress j / SNAPSHOTS; entry 0 is the start.
        """
        problem = _Problem(self, torch.from_numpy(targets)[None], torch.tensor([penalty], dtype=torch.float64))
        u, gradient, iterations = _minimise(problem)
        found = [u, *_follow(problem, u, loss)]
        norms = torch.cat([gradient, torch.full((SNAPSHOTS,), torch.nan, dtype=torch.float64)])
        return problem.solution(torch.cat(found), norms, iterations + SCHEDULE_STEPS)


class _Problem:
    """m problems in scaled coordinates: u (m, r + 1, k - 1), the last row the intercept."""

    def __init__(self, design: Design, targets: Tensor, penalties: Tensor) -> None:
        self.design, self.targets = design, targets
        self.q, values, self.z = design.rotated
        k = targets.shape[2]
        self.basis = torch.from_numpy(contrast_basis(k))
        bound = values[None, :] / 2 + penalties[:, None]
        self.scale = bound.rsqrt()
        self.intercept_scale = float(np.sqrt(2.0)) if design.intercept else 0.0
        self.ridge = penalties[:, None] * self.scale**2
        self.share = design.share

    def zeros(self) -> Tensor:
        m, _, k = self.targets.shape
        return torch.zeros(m, self.z.shape[1] + 1, k - 1, dtype=torch.float64)

    def logits(self, u: Tensor) -> Tensor:
        """(m, n, k)."""
        m, _, c = u.shape
        v = (u[:, :-1] * self.scale[:, :, None]).permute(1, 0, 2).reshape(-1, m * c)
        scores = (self.z @ v).reshape(-1, m, c).permute(1, 0, 2)
        return (scores + self.intercept_scale * u[:, -1:]) @ self.basis.T

    def pull(self, slope: Tensor, u: Tensor) -> Tensor:
        """Gradient in u from the gradient (m, n, k) in the logits, penalty included."""
        m, n, _ = slope.shape
        inner = slope @ self.basis
        c = inner.shape[2]
        back = (inner.permute(0, 2, 1).reshape(m * c, n) @ self.z).reshape(m, c, -1).permute(0, 2, 1)
        weights = back * self.scale[:, :, None] + self.ridge[:, :, None] * u[:, :-1]
        return torch.cat([weights, self.intercept_scale * inner.sum(1, keepdim=True)], 1)

    def residual(self, logits: Tensor) -> Tensor:
        """Gradient (m, n, k) of cross-entropy in the logits."""
        return (logits.softmax(-1) - self.targets) * self.share[None, :, None]

    def solution(self, u: Tensor, gradient: Tensor, iterations: int) -> Solution:
        """Back to the features as they came."""
        w = self.q @ ((u[:, :-1] * self.scale[:, :, None]) @ self.basis.T)
        coefficients = w.numpy() / self.design.scale[None, :, None]
        intercepts = (self.intercept_scale * u[:, -1] @ self.basis.T).numpy() - self.design.mean @ coefficients
        return Solution(np.ascontiguousarray(coefficients), intercepts, gradient.numpy(), iterations)


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


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(m, 1, 1) inner products."""
    return (a * b).sum((1, 2), keepdim=True)


def _minimise(problem: _Problem) -> tuple[Tensor, Tensor, int]:
    """L-BFGS with an exact line search, all problems in step; those that are done stand still."""
    u = problem.zeros()
    logits = problem.logits(u)
    gradient = problem.pull(problem.residual(logits), u)
    history: list[tuple[Tensor, Tensor, Tensor]] = []
    iteration = 0
    for iteration in range(1, MOST_ITERATIONS + 1):
        norms = _dot(gradient, gradient).sqrt()
        moving = norms > TOLERANCE
        if not moving.any():
            break
        direction = -_two_loop(gradient, history)
        uphill = _dot(direction, gradient) >= 0
        direction = torch.where(uphill, -gradient, direction) * moving
        along = problem.logits(direction)
        step = _line_search(problem, u, direction, logits, along)
        u = u + step * direction
        logits = logits + step * along
        if iteration % 25 == 0:
            logits = problem.logits(u)
        change = problem.pull(problem.residual(logits), u) - gradient
        gradient = gradient + change
        moved = step * direction
        curvature = _dot(moved, change)
        history.append((moved, change, torch.where(curvature > 1e-300, 1 / curvature.clamp_min(1e-300), 0.0)))
        del history[:-MEMORY]
    return u, _dot(gradient, gradient).sqrt()[:, 0, 0], iteration


def _two_loop(gradient: Tensor, history: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Inverse Hessian times gradient (Nocedal and Wright, algorithm 7.4)."""
    q = gradient.clone()
    factors: list[Tensor] = []
    for moved, change, inverse in reversed(history):
        factor = inverse * _dot(moved, q)
        q -= factor * change
        factors.append(factor)
    if history:
        moved, change, _ = history[-1]
        squared = _dot(change, change)
        q *= torch.where(squared > 1e-300, _dot(moved, change) / squared.clamp_min(1e-300), 1.0)
    for (moved, change, inverse), factor in zip(history, reversed(factors), strict=True):
        q += (factor - inverse * _dot(change, q)) * moved
    return q


def _line_search(problem: _Problem, u: Tensor, direction: Tensor, logits: Tensor, along: Tensor) -> Tensor:
    """Newton steps for the minimum of the convex function along a direction; only elementwise work."""
    ridge, weights = problem.ridge[:, :, None], direction[:, :-1]
    flat = (ridge * weights * u[:, :-1]).sum((1, 2), keepdim=True)
    bend = (ridge * weights * weights).sum((1, 2), keepdim=True)
    share = problem.share[None, :, None]
    fixed = -(problem.targets * along * share).sum((1, 2), keepdim=True) + flat
    start: Tensor | None = None
    step, low, high = torch.ones_like(flat), torch.zeros_like(flat), torch.full_like(flat, torch.inf)
    for _ in range(LINE_STEPS):
        probs = (logits + step * along).softmax(-1)
        mean = (probs * along).sum(-1, keepdim=True)
        slope = (mean * share).sum((1, 2), keepdim=True) + fixed + step * bend
        curvature = ((probs * along * along).sum(-1, keepdim=True) - mean**2).clamp_min(0) * share
        second = curvature.sum((1, 2), keepdim=True) + bend
        start = _slope_at_zero(problem, logits, along, fixed) if start is None else start
        low, high = torch.where(slope < 0, step, low), torch.where(slope > 0, step, high)
        if (slope.abs() <= 0.1 * start.abs()).all():
            break
        newton = step - slope / second.clamp_min(1e-300)
        inside = (newton > low) & (newton < high)
        middle = torch.where(high.isinf(), 2 * step, (low + high) / 2)
        step = torch.where(slope.abs() <= 0.1 * start.abs(), step, torch.where(inside, newton, middle))
    return step


def _slope_at_zero(problem: _Problem, logits: Tensor, along: Tensor, fixed: Tensor) -> Tensor:
    mean = (logits.softmax(-1) * along).sum(-1, keepdim=True)
    return (mean * problem.share[None, :, None]).sum((1, 2), keepdim=True) + fixed


def _follow(problem: _Problem, u: Tensor, loss: Loss) -> list[Tensor]:
    """Accelerated steps of length 1 on a loss that changes with progress; where they stand SNAPSHOTS times.

    Length 1 is safe where the loss is cross-entropy to some target distribution, whatever that target may depend on:
    its curvature is bounded by the scaling. Any other loss is checked: a step that would end above where the path
    stands is not taken and momentum is dropped; without momentum, steps are half as long from then on.
    """
    length, age, previous = 1.0, 0, u
    found: list[Tensor] = []
    for t in range(SCHEDULE_STEPS):
        progress = (t + 1) / SCHEDULE_STEPS
        ahead = u + age / (age + 3) * (u - previous)
        value, slope, bounded = _value_and_slope(problem, ahead, loss, progress)
        gradient = problem.pull(slope, ahead)
        if float(gradient.norm()) > 2 * TOLERANCE:
            proposed = ahead - length * gradient
            if not bounded and age:
                value = min(value, _value(problem, problem.logits(u), u, loss, progress))
            if bounded or _value(problem, problem.logits(proposed), proposed, loss, progress) <= value:
                previous, u, age = u, proposed, age + 1
            else:
                previous, length, age = u, length if age else length / 2, 0
        if (t + 1) % (SCHEDULE_STEPS // SNAPSHOTS) == 0:
            found.append(u)
    return found


def _value_and_slope(problem: _Problem, u: Tensor, loss: Loss, progress: float) -> tuple[float, Tensor, bool]:
    """Objective, its gradient in the logits, and whether the loss is cross-entropy to a distribution in every row."""
    logits = problem.logits(u).requires_grad_(True)
    data = loss(logits[0], problem.targets[0], progress=progress)
    (slope,) = torch.autograd.grad(data, logits)
    found, log_probs = float(data.detach()), logits.detach().log_softmax(-1)
    target = log_probs.exp() - slope * slope.shape[1]
    bounded = bool((target > -1e-9).all()) and bool((target.sum(-1) - 1).abs().max() < 1e-9)
    bounded = bounded and abs(float(-(target * log_probs).sum(-1).mean()) - found) <= 1e-9 * max(1.0, abs(found))
    return found + _penalty(problem, u), slope, bounded


def _value(problem: _Problem, logits: Tensor, u: Tensor, loss: Loss, progress: float) -> float:
    return float(loss(logits[0], problem.targets[0], progress=progress)) + _penalty(problem, u)


def _penalty(problem: _Problem, u: Tensor) -> float:
    return float(0.5 * (problem.ridge[:, :, None] * u[:, :-1] ** 2).sum())
