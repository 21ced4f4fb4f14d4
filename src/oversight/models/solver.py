"""Many softmax regressions on the same rows at once: exact for cross-entropy, a schedule from zero for any other loss.

One problem is a pair (labels, penalty); all share the rows X, hence X'X, and those of one penalty its factor.

    minimise over W (d, k), b (k):   sum_i w_i CE(y_i, softmax(x_i W + b)) + penalty / 2 ||W||^2,      sum_i w_i = 1

L-BFGS starts from the bound on the curvature in `models.problems`, in whose coordinates no curvature is above 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from oversight.models.path import SNAPSHOTS, STEPS, descend
from oversight.models.problems import LANES, TOLERANCE, Problems, dot, filled, product
from oversight.models.student import Loss
from oversight.models.threads import one_thread
from oversight.tasks.task import Floats, Ints

MOST_ITERATIONS = 2000
MEMORY = 12
LINE_STEPS = 8
ROUNDING = 1e-6
BATCH_BYTES = 1 << 28


@dataclass(frozen=True)
class Solution:
    """Fitted problems.

    Attributes:
        coefficients: (m, d, k) float64; classes sum to zero.
        intercepts: (m, k) float64; zero without intercept.
        gradient: (m,) norm of the gradient in scaled coordinates, where the solver stopped.
        iterations: (m,) it took.
    """

    coefficients: Floats
    intercepts: Floats
    gradient: Floats
    iterations: Ints

    @one_thread()
    def probs(self, x: Floats) -> Floats:
        """(m, n, k) class probabilities of (n, d) features."""
        m, _, k = self.coefficients.shape
        by_class = torch.from_numpy(self.coefficients).transpose(1, 2).flatten(0, 1)
        logits = product(by_class, torch.from_numpy(np.ascontiguousarray(x)).T).view(m, k, len(x))
        return (logits + torch.from_numpy(self.intercepts)[:, :, None]).softmax(1).transpose(1, 2).numpy()

    def split(self, sizes: Sequence[int]) -> list[Solution]:
        """The first so many problems, the next so many, and so on."""
        ends = np.cumsum(sizes)[:-1]
        fields = (self.coefficients, self.intercepts, self.gradient, self.iterations)
        return [Solution(*parts) for parts in zip(*(np.split(one, ends) for one in fields), strict=True)]


def joined(solutions: Sequence[Solution]) -> Solution:
    """All their problems, in order."""
    return Solution(
        np.concatenate([one.coefficients for one in solutions]),
        np.concatenate([one.intercepts for one in solutions]),
        np.concatenate([one.gradient for one in solutions]),
        np.concatenate([one.iterations for one in solutions]),
    )


class Design:
    """Rows of one fit, standardised once, for any number of problems.

    Args:
        x: (n, d) features.
        weights: (n,) at least 0; None = equal.
        intercept: without it nothing is centred either (preference pairs: swapping the two texts swaps the classes).

    Attributes:
        n: rows.
        z: (n', r) those rows in r coordinates, filled up to a multiple of LANES by zeros. r is d or, where 2n <= d, n.
        share: (n',) weights that sum to 1; 0 for rows that fill up.
    """

    @one_thread()
    def __init__(self, x: Floats, *, weights: Floats | None = None, intercept: bool = True) -> None:
        self.n = len(x)
        share = np.full(len(x), 1 / len(x)) if weights is None else weights / weights.sum()
        self.intercept = intercept
        self.mean = share @ x if intercept else np.zeros(x.shape[1])
        centred = x - self.mean
        spread = np.sqrt(np.maximum(share @ centred**2, 0))
        self.scale = np.where(spread > 1e-9 * max(1.0, float(np.abs(x).max(initial=0))), spread, np.inf)
        self.share = filled(torch.from_numpy(share))
        standard, self._basis = torch.from_numpy(centred / self.scale), None
        if 2 * len(x) <= x.shape[1]:
            self._basis, triangle = torch.linalg.qr(standard.T)
            standard = triangle.T
        self.z = filled(standard.T).T.contiguous()
        rooted = self.z.float() * self.share.float().sqrt()[:, None]
        self._half = rooted.T @ rooted / 2
        self._factors: dict[float, Tensor] = {}

    @property
    def nbytes(self) -> int:
        """What it holds."""
        held = (self.z, self._half, *self._factors.values(), *([] if self._basis is None else [self._basis]))
        return sum(one.nbytes for one in held)

    def unfolded(self, weights: Tensor) -> Tensor:
        """Weights (m, d) on the standardised features from those (m, r) on the columns of z."""
        return weights if self._basis is None else product(weights, self._basis.T)

    def standard(self) -> Tensor:
        """(n', d): the rows standardised."""
        return self.z if self._basis is None else self.z @ self._basis.T

    def solve_bound(self, penalty: float, gradient: Tensor) -> Tensor:
        """(m, r): (Z' diag(share) Z / 2 + penalty)^-1 of each row of gradient (m, r), to single precision."""
        if penalty not in self._factors:
            self._factors[penalty] = _factor(self._half, penalty)
        factor, columns = self._factors[penalty], filled(gradient.float().T).T.contiguous().T
        halfway = torch.linalg.solve_triangular(factor, columns, upper=False)
        return torch.linalg.solve_triangular(factor.T, halfway, upper=True).T[: len(gradient)].double()

    @one_thread()
    def solve(self, targets: Sequence[Floats], penalties: Sequence[float]) -> Solution:
        """Minimise cross-entropy for m problems; `targets[i]`, (n, k) probabilities, goes with `penalties[i]`."""
        found: list[Solution] = []
        for part in self._batches(targets):
            problems = Problems.of(self, targets[part], penalties[part])
            v, gradient, iterations = _minimise(problems)
            found.append(Solution(*problems.on_features(v), gradient.numpy(), iterations.numpy()))
        return joined(found)

    @one_thread()
    def paths(self, targets: Sequence[Floats], penalties: Sequence[float], losses: Sequence[Loss]) -> list[Solution]:
        """Follow any loss from zero while progress rises to 1; see `models.path`.

        Returns:
            For every problem SNAPSHOTS solutions: entry j is where the path stands at progress (j + 1) / SNAPSHOTS.
        """
        found: list[Solution] = []
        for part in self._batches(targets):
            places = descend(self, targets[part], penalties[part], losses[part])
            coefficients, intercepts = (np.stack(one, axis=1) for one in zip(*places, strict=True))
            steps = (1 + np.arange(SNAPSHOTS)) * (STEPS // SNAPSHOTS)
            unknown = np.full(SNAPSHOTS, np.nan)
            found += [Solution(*one, unknown, steps) for one in zip(coefficients, intercepts, strict=True)]
        return found

    def path(self, targets: Floats, penalty: float, *, loss: Loss) -> Solution:
        """The one of `paths`."""
        return self.paths([targets], [penalty], [loss])[0]

    def _batches(self, targets: Sequence[Floats]) -> list[slice]:
        """Problems in parts that need about BATCH_BYTES of memory at most."""
        k, (n, r) = targets[0].shape[1], self.z.shape
        per_problem = 8 * (8 * k * n + 3 * (MEMORY + 4) * (k - 1) * (r + 1))
        width = max(1, BATCH_BYTES // (per_problem * LANES)) * LANES
        return [slice(i, i + width) for i in range(0, len(targets), width)]


def _factor(half: Tensor, penalty: float) -> Tensor:
    """Cholesky factor of half + penalty, and of a little more where rounding asks for it: it remains a bound."""
    more = ROUNDING * float(torch.linalg.matrix_norm(half))
    while True:
        factor, failed = torch.linalg.cholesky_ex(half + (penalty + more) * torch.eye(len(half)))
        if not failed:
            return factor
        more *= 10


History = list[tuple[Tensor, Tensor, Tensor, Tensor]]


def _minimise(problems: Problems) -> tuple[Tensor, Tensor, Tensor]:
    """L-BFGS with an exact line search, all problems in step; those that are done leave the batch.

    Returns:
        v, and for every problem the norm of the gradient and the number of iterations.
    """
    v = problems.zeros()
    found, norms = v.clone(), torch.zeros(len(v), dtype=torch.float64)
    iterations = torch.full((len(v),), MOST_ITERATIONS)
    place = torch.arange(len(v))
    scores = problems.scores(v)
    gradient = problems.gradient(problems.expected(problems.probs(scores)), v)
    steered = problems.steer(gradient)
    history: History = []
    for iteration in range(MOST_ITERATIONS + 1):
        found[place], norms[place] = v, dot(gradient, steered).clamp_min(0).sqrt()[:, 0, 0]
        moving = norms[place] > TOLERANCE
        if not moving.all():
            iterations[place[~moving]] = iteration
            kept = moving.nonzero()[:, 0]
            problems, place = problems.take(kept), place[kept]
            v, scores, gradient, steered = v[kept], scores[kept], gradient[kept], steered[kept]
            history = [(a[kept], b[kept], c[kept], d[kept]) for a, b, c, d in history]
        if not len(place):
            break
        direction = -_two_loop(gradient, steered, history)
        direction = torch.where(dot(direction, gradient) >= 0, -steered, direction)
        step, scores, expected = _line_search(problems, v, direction, scores, dot(direction, gradient))
        moved = step * direction
        v = v + moved
        if iteration % 25 == 24:
            scores = problems.scores(v)
            expected = problems.expected(problems.probs(scores))
        before = gradient, steered
        gradient = problems.gradient(expected, v)
        steered = problems.steer(gradient)
        change = gradient - before[0]
        curvature = dot(moved, change)
        inverse = torch.where(curvature > 1e-300, 1 / curvature.clamp_min(1e-300), 0.0)
        history.append((moved, change, steered - before[1], inverse))
        del history[:-MEMORY]
    return found, norms, iterations


def _two_loop(gradient: Tensor, steered: Tensor, history: History) -> Tensor:
    """Inverse Hessian times gradient (Nocedal and Wright, algorithm 7.4), starting from the bound that steers."""
    q, r = gradient.clone(), steered.clone()
    factors: list[Tensor] = []
    for moved, change, turned, inverse in reversed(history):
        factor = inverse * dot(moved, q)
        q -= factor * change
        r -= factor * turned
        factors.append(factor)
    if history:
        moved, change, turned, _ = history[-1]
        squared = dot(change, turned)
        r *= torch.where(squared > 1e-300, dot(moved, change) / squared.clamp_min(1e-300), 1.0)
    for (moved, change, _, inverse), factor in zip(history, reversed(factors), strict=True):
        r += (factor - inverse * dot(change, r)) * moved
    return r


def _line_search(
    problems: Problems, v: Tensor, direction: Tensor, scores: Tensor, start: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Newton steps for the minimum of the convex function along a direction, where it has the slope `start` at 0.

    Returns:
        Step, the scores there and the probabilities there in contrasts.
    """
    along, share = problems.scores(direction), problems.design.share
    weights, weighted = problems.penalty * direction[..., :-1], along * share
    bend, flat = dot(weights, direction[..., :-1]), dot(weights, v[..., :-1]) - dot(weighted, problems.wanted)
    step, low, high = torch.ones_like(flat), torch.zeros_like(flat), torch.full_like(flat, torch.inf)
    for _ in range(LINE_STEPS):
        there = scores + step * along
        probs = problems.probs(there)
        expected = problems.expected(probs)
        slope = dot(weighted, expected) + flat + step * bend
        near = slope.abs() <= 0.1 * start.abs()
        if near.all():
            return step, there, expected
        second = (problems.variance(probs, along) * share).sum((1, 2), keepdim=True) + bend
        low, high = torch.where(slope < 0, step, low), torch.where(slope > 0, step, high)
        newton = step - slope / second.clamp_min(1e-300)
        inside = (newton > low) & (newton < high)
        middle = torch.where(high.isinf(), 2 * step, (low + high) / 2)
        step = torch.where(near, step, torch.where(inside, newton, middle))
    there = scores + step * along
    return step, there, problems.expected(problems.probs(there))
