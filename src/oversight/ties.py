"""What a row of probabilities chooses: one class, or several that tie and share the choice.

Everything that makes a class of probabilities goes through here, so that no score, no training and no choice depends on
the order or the names of the classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

TIE = 1e-9
"""Probabilities within this share of the largest one tie with it. Sums, means, exponentials and logarithms of float64
are off by some 1e-16 to 1e-13 of their value, and by how much depends on the order of the terms, hence on names; no
model and no person tells classes apart by one part in a thousand million."""
DECIMALS = 9


def choice_shares(probs: npt.ArrayLike) -> Floats:
    """The choice of each row as shares: 1 for the most probable class, 1/m for each of m that tie.

    Args:
        probs: (..., k) at least 0. A row of zeros, or with NaN (one that means nothing), chooses all classes alike.

    Returns:
        (..., k) float64; rows sum to 1.
    """
    given = np.asarray(probs, dtype=np.float64)
    best = given >= given.max(axis=-1, keepdims=True) * (1 - TIE)
    best |= ~best.any(axis=-1, keepdims=True)
    return best / best.sum(axis=-1, keepdims=True)


def ties(probs: npt.ArrayLike) -> Bools:
    """(...,) of probs (..., k): whether the largest probability is shared by several classes."""
    return choice_shares(probs).max(axis=-1) < 1


def right_shares(probs: npt.ArrayLike, labels: npt.ArrayLike) -> Floats:
    """(..., n) of probs (..., n, k): 1 where the class chosen is the true one, 1/m where m tie and it is among them.

    Args:
        probs: see `choice_shares`.
        labels: (n,) int classes.
    """
    shares = choice_shares(probs)
    return shares[..., np.arange(shares.shape[-2]), np.asarray(labels, dtype=np.int64)]


def same_shares(first: npt.ArrayLike, second: npt.ArrayLike) -> Floats:
    """(..., n) of two (..., n, k): how probable it is that both choose the same class, each drawing among its ties.

    The inner product of the shares: 1 or 0 where neither ties.
    """
    return (choice_shares(first) * choice_shares(second)).sum(axis=-1)


def strata(probs: npt.ArrayLike) -> Ints:
    """(n,) of probs (n, k): equal numbers for equal choices; rows that tie between the same classes are one kind."""
    shares = choice_shares(probs)
    return np.unique(shares, axis=0, return_inverse=True)[1].reshape(len(shares)).astype(np.int64)


def drawn_choices(probs: npt.ArrayLike, names: Sequence[str], *, first: npt.ArrayLike | None = None) -> Ints:
    """(n,) classes, where only one will do (a word in a prompt): of classes that tie one by a draw from the row's name.

    Args:
        probs: (n, k), see `choice_shares`.
        names: n; the same name, the same draw.
        first: (n,) the class that counts as the first of each row, the others follow in a circle; None = class 0.
    """
    shares = choice_shares(probs)
    n, k = shares.shape
    chosen = shares.argmax(axis=1).astype(np.int64)
    start = np.zeros(n, np.int64) if first is None else np.asarray(first, dtype=np.int64)
    for i in np.flatnonzero(shares.max(axis=1) < 1).tolist():
        turned = sorted(((np.flatnonzero(shares[i]) - start[i]) % k).tolist())
        at = int.from_bytes(hashlib.sha256(f"tie {names[i]}".encode()).digest()[:7], "big") / 2**56
        chosen[i] = (turned[int(at * len(turned))] + start[i]) % k
    return chosen
