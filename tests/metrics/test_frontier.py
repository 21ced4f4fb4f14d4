"""The cost frontier by its definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oversight.errors import InputError
from oversight.metrics.frontier import frontier

points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25)


@given(points)
def test_a_cell_is_on_it_unless_another_is_cheaper_and_as_good_or_as_cheap_and_better(
    found: list[tuple[int, int]],
) -> None:
    """The double loop."""
    expected = [
        i
        for i, (cost, value) in enumerate(found)
        if not any((c < cost and v >= value) or (c == cost and v > value) for c, v in found)
    ]
    chosen = frontier([cost for cost, _ in found], [value for _, value in found])
    assert sorted(chosen) == expected
    assert [found[i] for i in chosen] == sorted(found[i] for i in chosen)


@given(points)
def test_nothing_is_bought_in_vain(found: list[tuple[int, int]]) -> None:
    """Whatever one has, the frontier has something as good for no more."""
    chosen = frontier([cost for cost, _ in found], [value for _, value in found])
    for cost, value in found:
        assert any(found[i][0] <= cost and found[i][1] >= value for i in chosen)


def test_other_numbers_of_costs_and_values_are_refused() -> None:
    with pytest.raises(InputError, match="found 2, expected as many as the 1 values"):
        frontier([1, 2], [1])
