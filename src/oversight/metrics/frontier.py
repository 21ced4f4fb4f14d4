"""What a budget buys: which choices nothing cheaper equals, and which of their steps are more than noise."""

from __future__ import annotations

from collections.abc import Sequence

from oversight.errors import InputError


def frontier(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Positions of the choices that no other equals or beats at less cost, nor beats at the same; by rising cost.

    Choice i is left out if some j has costs[j] < costs[i] and values[j] >= values[i], or costs[j] == costs[i] and
    values[j] > values[i]. Choices of the same cost and value are both there, in the order given.

    Args:
        costs: m finite numbers.
        values: m finite numbers, more is better.

    Raises:
        InputError: not as many of both.

    Example:
        >>> frontier([1, 2, 3, 4], [0.5, 0.7, 0.6, 0.7])
        [0, 1]
    """
    if len(costs) != len(values):
        raise InputError(f"costs: found {len(costs)}, expected as many as the {len(values)} values")
    found: list[int] = []
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], -values[i], i)):
        last = found[-1] if found else None
        if last is None or values[i] > values[last] or (costs[i], values[i]) == (costs[last], values[last]):
            found.append(i)
    return found
