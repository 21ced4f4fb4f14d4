"""What the metrics accept: array types, and errors that name the argument, the value and the valid range."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from oversight.errors import InputError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Groups = npt.NDArray[np.generic]

SUM_TOLERANCE = 1e-5


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise unless low <= value <= high (NaN never is).

    Raises:
        InputError: names the argument, its value and the range.
    """
    if not low <= value <= high:
        raise InputError(f"{name}: found {value}, expected a number from {low:g} to {high:g}")


def check_scored(probs: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Ints]:
    """Probabilities (n, k) and true classes (n,) as float64 and int64, after looking at every row.

    Raises:
        InputError: shapes do not match, no rows, fewer than two classes, rows that are not distributions (tolerance
            1e-5), or a label outside 0..k-1.
    """
    given = np.asarray(probs, dtype=np.float64)
    if given.ndim != 2 or given.shape[0] < 1 or given.shape[1] < 2:
        raise InputError(f"probs: found shape {given.shape}, expected (n, k) with n >= 1 and k >= 2")
    return given, check_labels(labels, *_distributions(given))


def check_labels(labels: npt.ArrayLike, n: int, k: int) -> Ints:
    """True classes (n,) as int64.

    Raises:
        InputError: another shape, not whole numbers, or outside 0..k-1.
    """
    given = np.asarray(labels)
    if given.shape != (n,):
        raise InputError(f"labels: found shape {given.shape}, expected ({n},), one per row of probs")
    if given.dtype.kind not in "biu" and not np.array_equal(given, np.trunc(given)):
        raise InputError(f"labels: found {given.dtype} with fractions, expected whole numbers from 0 to {k - 1}")
    classes = given.astype(np.int64)
    if classes.min() < 0 or classes.max() >= k:
        raise InputError(f"labels: found {classes.min()} to {classes.max()}, expected whole numbers from 0 to {k - 1}")
    return classes


def check_seeds(name: str, probs: npt.ArrayLike) -> Floats:
    """Probabilities of several seeds (s, n, k) as float64; rows are checked where they are scored.

    Raises:
        InputError: not three dimensions, or one of them empty.
    """
    given = np.asarray(probs, dtype=np.float64)
    if given.ndim != 3 or 0 in given.shape:
        raise InputError(f"{name}: found shape {given.shape}, expected (s, n, k), none of them 0")
    return given


def check_pair(first: npt.ArrayLike, second: npt.ArrayLike, *, names: tuple[str, str]) -> tuple[Floats, Floats]:
    """Two roles' probabilities (s, n, k) on the same rows, every row looked at.

    Raises:
        InputError: another shape than (s, n, k), two different ones, or rows that are not distributions.
    """
    found = check_seeds(names[0], first), check_seeds(names[1], second)
    if found[0].shape != found[1].shape:
        raise InputError(f"{names[1]}: found shape {found[1].shape}, expected {found[0].shape}, that of {names[0]}")
    for role in found:
        _distributions(role.reshape(-1, role.shape[2]))
    return found


def group_index(groups: npt.ArrayLike, n: int) -> tuple[Ints, int]:
    """Number the groups: (n,) values from 0 to G - 1, and G.

    Raises:
        InputError: not one group per row.
    """
    given = np.asarray(groups)
    if given.shape != (n,):
        raise InputError(f"groups: found shape {given.shape}, expected ({n},), one per row")
    names, index = np.unique(given, return_inverse=True)
    return index.astype(np.int64), len(names)


def _distributions(probs: Floats) -> tuple[int, int]:
    """The shape (n, k) of checked probabilities."""
    off = np.abs(probs.sum(axis=1) - 1)
    bad = ~((off <= SUM_TOLERANCE) & (probs.min(axis=1) >= 0))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(f"probs: row {row} is {probs[row].tolist()}, expected numbers >= 0 that sum to 1")
    return probs.shape[0], probs.shape[1]
