"""Who errs how: confusion matrices of several voters without a truth to compare with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oversight.tasks.task import Bools, Floats

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

    def posterior(self, said: Floats, answered: Bools) -> Floats:
        """(n, k) P(class | votes) for (m, n, k) votes; where nobody answered the shares of the classes.

        A vote that is shared by several classes enters the likelihood with the logarithms of each, by their shares.
        """
        with np.errstate(divide="ignore"):
            logs = np.tile(np.log(self.shares), (said.shape[1], 1))
            tables = np.log(self.matrices)
        for votes, given, table in zip(said, answered, tables, strict=True):
            for j in range(votes.shape[1]):
                mine = given & (votes[:, j] > 0)
                logs[mine] += votes[mine, j, None] * table[:, j]
        top = logs.max(1, keepdims=True)
        found = np.exp(logs - np.where(np.isfinite(top), top, 0))
        total = found.sum(1, keepdims=True)
        return np.where(total > 0, found / np.maximum(total, 1e-300), self.shares)


def dawid_skene(said: Floats, answered: Bools, *, smoothing: float = 1.0) -> Confusions:
    """Maximum likelihood (with pseudo-counts) of class shares and confusion matrices, by EM from the majority vote.

    Args:
        said: (m, n, k) votes, each shared by one class or several; rows sum to 1.
        answered: (m, n) which votes count.
        smoothing: pseudo-count of every cell of a matrix, a times 1 / k off and on the diagonal alike.

    Returns:
        The estimate at which no posterior moves by more than 1e-9, or after 500 rounds. The classes keep the names
        that the majority gives them.

    Source: Dawid and Skene 1979, doi:10.2307/2346806, equations 2.3 to 2.5.
    """
    k, said = said.shape[2], said * answered[:, :, None]
    counted = said.sum(0)
    total = counted.sum(1, keepdims=True)
    belief = np.where(total > 0, counted / np.maximum(total, 1), 1 / k)
    voted = answered.any(0)
    model = _maximised(belief[voted], said[:, voted], smoothing, 0)
    for i in range(1, MOST_ROUNDS + 1):
        before = belief[voted]
        belief = model.posterior(said, answered)
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
