"""Warnings of a score that are read off its predictions and records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from oversight.runs.store import Outcome
from oversight.tasks.task import Ints

ENOUGH_SEEDS = 5
SOLVED = 1e-6
WORDS = {"weak": "supervisor", "student": "student", "ceiling": "ceiling"}


def tie_warnings(counted: Mapping[str, Ints], n: int) -> list[str]:
    """How many choices are shared because classes are equally probable."""
    lines: list[str] = []
    for role, tied in counted.items():
        if tied.any():
            rows, s = (f"{int(tied.sum())} of {n * len(tied)}", len(tied))
            seeds = f" ({n} rows, {s} seeds)" if s > 1 else ""
            lines.append(
                f"{rows} choices of the {WORDS[role]}{seeds} are ties: classes are equally probable, so each counts "
                "with its share (of two, as half right)"
            )
    return lines


def few_seeds(n_seeds: int) -> list[str]:
    """What a reader must know where there are few seeds."""
    if n_seeds == 1:
        return ["one seed: intervals cover these trained models only, not the recipe; ask for 5 seeds or more"]
    if n_seeds < ENOUGH_SEEDS:
        return [f"{n_seeds} seeds: their spread is hardly known and intervals are wide; ask for 5 seeds or more"]
    return []


def truncation_warnings(outcomes: Sequence[Outcome]) -> list[str]:
    """One line per limit, with the largest share of truncated rows."""
    worst: dict[int, tuple[int, int]] = {}
    for outcome in outcomes:
        own = outcome.record["choices"].get("truncated")
        for features in cast("list[dict[str, int]]", [*outcome.record.get("features", []), *([own] if own else [])]):
            limit, found = features["max_tokens"], (features["n_truncated"], features["n_rows"])
            if found[0] > worst.get(limit, (0, 0))[0]:
                worst[limit] = found
    return [
        f"{n} of {of} rows are longer than {limit} tokens and were truncated (none was dropped)"
        for limit, (n, of) in sorted(worst.items())
    ]


def convergence_warnings(outcomes: Sequence[Outcome]) -> list[str]:
    """Fits whose solver stopped far from its tolerance."""
    n = sum(outcome.record["choices"].get("gradient", 0.0) > SOLVED for outcome in outcomes)
    return [f"{n} of {len(outcomes)} fits did not converge (gradient above {SOLVED:g})"] if n else []
