"""Misfit of student and supervisor, which needs no label, and the gain of which theory calls it a lower bound.

For a Bregman divergence D(p, q) = phi(p) - phi(q) - <grad phi(q), p - q>, a convex class C, a truth f in C and the
student s = argmin_{c in C} mean D(c, w) of the supervisor's labels w, on the same rows:

    mean D(f, w) - mean D(f, s) >= mean D(s, w)      (equality where C is affine in p)

The left side is linear in f, so drawn classes may stand for the probabilities f: it is then the gain in Brier score
(phi = |p|^2) or in NLL (phi = negative entropy, D = KL). The student is the first argument throughout: KL(s || w), of
the student that minimises KL(s || w). All assumptions: docs/theory.md.

Source: squared: Charikar et al. 2024, arXiv:2405.15116; Bregman and KL: Mulgund and Pabbaraju 2025, arXiv:2501.19105,
whose code trains by, and reports, KL(student || weak). The inequality is Bregman's (1967).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr

from oversight.metrics.agreement import FEW_ROWS, MIN_ROWS
from oversight.metrics.checks import Floats, check_pair, group_index
from oversight.metrics.intervals import Estimate, Sample, linear_interval, moments
from oversight.metrics.scores import METRICS, Metric

INFINITE = "infinite: on some row the one gives a class probability 0 that the other does not"
NEVER_VARIES = "the supervisor says the same of every row"
SAME = 1e-12


@dataclass(frozen=True)
class Generator:
    """A strictly convex phi on probabilities (..., k).

    Attributes:
        value: phi, (...,).
        gradient: of phi, (..., k).
    """

    value: Callable[[Floats], Floats]
    gradient: Callable[[Floats], Floats]


def _squares(p: Floats) -> Floats:
    return np.square(p).sum(axis=-1)


def _negative_entropy(p: Floats) -> Floats:
    return -_entropies(p).sum(axis=-1)


def _entropies(p: Floats) -> Floats:
    return -rel_entr(p, np.ones_like(p))


def _log_plus_one(p: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.log(p) + 1


SQUARED = Generator(value=_squares, gradient=lambda p: 2 * p)
NEGATIVE_ENTROPY = Generator(value=_negative_entropy, gradient=_log_plus_one)


@dataclass(frozen=True)
class Bound:
    """What theory predicts of a gain, and the gain.

    Attributes:
        predicted: mean D(student, supervisor); never negative. Undefined, as the surplus is, where in some seed the
            supervisor says the same of every row: any student can copy that, and "at least 0" is then no prediction.
        realised: the gain, score of the supervisor minus score of the student; positive is better.
        surplus: realised - predicted, paired by row: not below zero where the theory applies.
    """

    predicted: Estimate
    realised: Estimate
    surplus: Estimate

    @property
    def holds(self) -> bool | None:
        """Whether the inequality is shown to hold or to fail on these rows and seeds; None = neither is shown."""
        if self.surplus.low >= 0:
            return True
        return False if self.surplus.high < 0 else None


def squared_rows(p: npt.ArrayLike, q: npt.ArrayLike) -> Floats:
    """sum_c (p_c - q_c)^2 per row, (..., k) -> (...,), in [0, 2]: the convention of `scores.brier`.

    For two classes it is 2 (p_1 - q_1)^2, twice what papers write for a single number per row; so is the Brier score.
    """
    return _squares(np.asarray(p, dtype=np.float64) - np.asarray(q, dtype=np.float64))


def kl_rows(p: npt.ArrayLike, q: npt.ArrayLike) -> Floats:
    """KL(p || q) = sum_c p_c log(p_c / q_c) per row, (..., k) -> (...,), in nats; inf where q_c = 0 < p_c."""
    return np.asarray(rel_entr(np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64))).sum(axis=-1)


def bregman_rows(p: npt.ArrayLike, q: npt.ArrayLike, generator: Generator) -> Floats:
    """D(p, q) = phi(p) - phi(q) - <grad phi(q), p - q> per row, (..., k) -> (...,).

    A difference of numbers that may be large: for SQUARED and NEGATIVE_ENTROPY the functions above are more exact.
    """
    first, second = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    slope = (generator.gradient(second) * (first - second)).sum(axis=-1)
    return generator.value(first) - generator.value(second) - slope


def squared_misfit(student: npt.ArrayLike, weak: npt.ArrayLike, groups: npt.ArrayLike) -> Estimate:
    """Mean of `squared_rows` over rows and seeds, with the linear interval over seeds and test groups.

    Args:
        student: (s, n, k) probabilities, seed by seed those trained on the labels of `weak`.
        weak: (s, n, k) the supervisor's probabilities on the same rows.
        groups: (n,) any values.

    Returns:
        Undefined for fewer than 20 rows, or where in some seed the supervisor says the same of every row.

    Raises:
        InputError: shapes do not fit, or rows are no distributions.
    """
    mine, theirs = check_pair(student, weak, names=("student", "weak"))
    return _mean(squared_rows(mine, theirs), groups, reason=_reason_against(theirs))


def kl_misfit(student: npt.ArrayLike, weak: npt.ArrayLike, groups: npt.ArrayLike) -> Estimate:
    """Mean KL(student || weak) over rows and seeds; undefined where it is infinite (hard labels). See `squared_misfit`.

    The order counts: this one is the prediction of the gain in NLL. The other one is `kl_divergence(weak, student)`.
    """
    mine, theirs = check_pair(student, weak, names=("student", "weak"))
    return _mean(kl_rows(mine, theirs), groups, reason=_reason_against(theirs))


def kl_divergence(first: npt.ArrayLike, second: npt.ArrayLike, groups: npt.ArrayLike) -> Estimate:
    """Mean KL(first || second) of any two models, each (s, n, k), over rows and seeds; undefined where infinite."""
    return _mean(kl_rows(*check_pair(first, second, names=("first", "second"))), groups)


def squared_bound(student: npt.ArrayLike, weak: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike) -> Bound:
    """The squared misfit beside Brier(weak) - Brier(student).

    Row by row the surplus is 2 <y - s, s - w>, with y the true class as a vector: what is left of the student's
    residual in the direction in which it departed from its supervisor.

    Args:
        student, weak, groups: see `squared_misfit`.
        labels: (n,) true classes.
    """
    mine, theirs = check_pair(student, weak, names=("student", "weak"))
    return _bound(squared_rows(mine, theirs), METRICS["brier"], (mine, theirs), labels, groups)


def kl_bound(student: npt.ArrayLike, weak: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike) -> Bound:
    """KL(student || weak) beside NLL(weak) - NLL(student), in nats.

    The gain is that of `scores.nll`, whose probabilities are clipped at 1e-12, the misfit is not clipped. See
    `squared_bound`.
    """
    mine, theirs = check_pair(student, weak, names=("student", "weak"))
    return _bound(kl_rows(mine, theirs), METRICS["nll"], (mine, theirs), labels, groups)


def _bound(
    predicted: Floats, loss: Metric, pair: tuple[Floats, Floats], labels: npt.ArrayLike, groups: npt.ArrayLike
) -> Bound:
    assert loss.row_scores is not None
    mine, theirs = (np.stack([loss.row_scores(one, labels) for one in role]) for role in pair)
    reason = _reason_against(pair[1])
    return Bound(
        predicted=_mean(predicted, groups, reason=reason),
        realised=_mean(theirs - mine, groups),
        surplus=_mean(theirs - mine - predicted, groups, reason=reason),
    )


def never_varies(probs: Floats) -> bool:
    """Whether in some seed of (s, n, k) all rows have the same probabilities, up to rounding."""
    return bool((np.ptp(probs, axis=1).max(axis=-1) <= SAME).any())


def _reason_against(weak: Floats) -> str | None:
    """Why theory predicts nothing for a supervisor (s, n, k)."""
    return NEVER_VARIES if never_varies(weak) else None


def _mean(rows: Floats, groups: npt.ArrayLike, *, reason: str | None = None) -> Estimate:
    """The mean of (s, n) row values, with its interval; undefined for a reason, few rows or infinite values."""
    s, n = rows.shape
    sample = Sample(n, group_index(groups, n)[1], s)
    if reason is not None:
        return sample.undefined(reason)
    if n < MIN_ROWS:
        return sample.undefined(FEW_ROWS)
    if not np.isfinite(rows).all():
        return sample.undefined(INFINITE)
    return linear_interval(moments(rows[:, None, :], groups), (1.0,))
