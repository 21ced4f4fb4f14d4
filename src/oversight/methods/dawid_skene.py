"""Who errs how: confusion matrices of several voters without a truth to compare with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oversight.tasks.task import Bools, Floats, Ints

MOST_ROUNDS, TOLERANCE = 500, 1e-9


@dataclass(frozen=True)
class Confusions:
    """What EM found.

    Attributes:
        shares: (k,) of the classes.
        matrices: (m, k, k): P(voter m says l | class j) at [m, j, l].
        rounds: of EM until the posteriors stood still.
    """

    shares: Floats
    matrices: Floats
    rounds: int

    def posterior(self, named: Ints, answered: Bools) -> Floats:
        """(n, k) P(class | votes) for (m, n) votes; where nobody answered the shares of the classes."""
        with np.errstate(divide="ignore"):
            logs = np.tile(np.log(self.shares), (named.shape[1], 1))
            tables = np.log(self.matrices)
        for votes, given, table in zip(named, answered, tables, strict=True):
            logs[given] += table[:, votes[given]].T
        top = logs.max(1, keepdims=True)
        found = np.exp(logs - np.where(np.isfinite(top), top, 0))
        total = found.sum(1, keepdims=True)
        return np.where(total > 0, found / np.maximum(total, 1e-300), self.shares)


def dawid_skene(named: Ints, answered: Bools, k: int, *, smoothing: float = 1.0) -> Confusions:
    """Maximum likelihood (with pseudo-counts) of class shares and confusion matrices, by EM from the majority vote.

    Args:
        named: (m, n) classes in [0, k).
        answered: (m, n) which votes count.
        k: classes.
        smoothing: pseudo-count of every cell of a matrix, a times 1 / k off and on the diagonal alike.

    Returns:
        The estimate at which no posterior moves by more than 1e-9, or after 500 rounds. The classes keep the names
        that the majority gives them.

    Source: Dawid and Skene 1979, doi:10.2307/2346806, equations 2.3 to 2.5.
    """
    said = np.eye(k)[named] * answered[:, :, None]
    counted = said.sum(0)
    total = counted.sum(1, keepdims=True)
    belief = np.where(total > 0, counted / np.maximum(total, 1), 1 / k)
    voted = answered.any(0)
    model = _maximised(belief[voted], said[:, voted], smoothing, 0)
    for i in range(1, MOST_ROUNDS + 1):
        before = belief[voted]
        belief = model.posterior(named, answered)
        model = _maximised(belief[voted], said[:, voted], smoothing, i)
        if np.abs(belief[voted] - before).max(initial=0) <= TOLERANCE:
            break
    return model


def _maximised(belief: Floats, said: Floats, smoothing: float, rounds: int) -> Confusions:
    k = belief.shape[1]
    counts = np.einsum("nj,mnl->mjl", belief, said) + smoothing / k
    total = counts.sum(2, keepdims=True)
    matrices = np.where(total > 0, counts / np.maximum(total, 1e-300), 1 / k)
    return Confusions(shares=belief.mean(0), matrices=matrices, rounds=rounds)
