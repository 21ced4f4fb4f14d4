"""What all seeds share: the rows of one pool, which every seed cuts anew into weak, transfer and validation parts.

Scores of two seeds are correlated through the rows on which both trained, and the spread between seeds leaves out what
is common. With the correlation rho and the variance S^2 between s seeds, the mean of their scores has the variance
S^2 (1/s + rho / (1 - rho)), which is S^2 / s times 1 + s rho / (1 - rho).
"""

from __future__ import annotations

from typing import Literal, cast

from oversight.errors import unknown

Scope = Literal["new-rows", "these-rows", "one-split", "questions"]
"""Of what an interval over several seeds speaks: new pools of the same kind, new cuts of this pool, or this cut; or,
whatever the seeds, new questions of the same kind about the same world (`metrics.questions`)."""

NEW_ROWS, THESE_ROWS, ONE_SPLIT, QUESTIONS = "new-rows", "these-rows", "one-split", "questions"
ASKED: dict[str, str] = {
    NEW_ROWS: "pool, seeds and test groups: the recipe on new rows of the same kind",
    THESE_ROWS: "seeds and test groups: the recipe on this pool of training rows",
}
"""What can be asked for; `one-split` is found where all seeds cut the pool alike."""

POOL_CORRELATION = 0.35
"""rho: between .2 = .45^2 (scores that are quadratic in their training rows, the rule where something is learned) and
.45 (linear ones, as near chance), .45 being the share of the pool on which a role trains. The least step of .05 under
which no simulated cell falls short: docs/statistics.md."""


def check_scope(name: str) -> Scope:
    """What was asked for.

    Raises:
        InputError: neither `new-rows` nor `these-rows`.
    """
    if name not in ASKED:
        raise unknown("covers", name, ASKED)
    return cast("Scope", name)


def seed_factor(n_seeds: int, scope: Scope) -> float:
    """By what the variance S^2 / s of the mean over s seeds is multiplied: 1, or for new rows 1 + s rho / (1 - rho).

    Example:
        >>> round(seed_factor(5, "new-rows"), 3), seed_factor(5, "these-rows"), seed_factor(1, "new-rows")
        (3.692, 1.0, 1.0)

    Source: Nadeau and Bengio 2003, doi:10.1023/A:1024068626366, equation 4 with rho for n2 / (n1 + n2).
    """
    if scope != NEW_ROWS or n_seeds < 2:
        return 1.0
    return 1 + n_seeds * POOL_CORRELATION / (1 - POOL_CORRELATION)


def covered(n_seeds: int, scope: Scope, *, unit: str) -> str:
    """What an interval covers, in words; `unit` is `groups` or `rows` of the test."""
    if scope == QUESTIONS:
        return QUESTIONS
    if n_seeds < 2:
        return f"test {unit} only (these trained models)"
    first = {NEW_ROWS: "pool, seeds", THESE_ROWS: "seeds", ONE_SPLIT: "seeds (one split)"}[scope]
    return f"{first} and test {unit}"
