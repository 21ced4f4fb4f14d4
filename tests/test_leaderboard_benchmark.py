"""benchmarks/leaderboard.py: boards made anew leave the others, the reading and the other cells as they are."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def leaderboard() -> ModuleType:
    """The benchmark as a module."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import leaderboard  # pyright: ignore
    finally:
        sys.path.remove(str(BENCHMARKS))
    return leaderboard


def told(*, same: int = 0, **gains: float) -> dict[str, Any]:
    """A board of two tasks and five seeds, on which `same` fits of every method are the reference's."""
    methods = [
        {"method": name, "oracle": name.startswith("oracle"), "verdict": "not told apart", "same_as_reference": same}
        | {"gain": {"value": gain, "low": gain - 0.1, "high": gain + 0.1}}
        for name, gain in {"naive": 0.0, **gains}.items()
    ]
    return {"reference": "naive", "seeds": 5, "tasks": ["a", "b"], "methods": methods}


def test_a_section_made_anew_leaves_the_others_and_the_reading(leaderboard: ModuleType) -> None:
    one, other = (board.title for board in leaderboard.BOARDS[:2])
    first = leaderboard.page("", {one: "old of one", other: "line\n\n### Tasks\n\nold of other"})
    read = first.replace("<!-- reading -->\n", "<!-- reading -->\nWhat it says.\n")
    again = leaderboard.page(read, {one: "new of one"})
    assert again == read.replace("old of one", "new of one") != read
    assert leaderboard.page(again, {}) == again
    assert leaderboard.sections(again) == {one: "new of one", other: "line\n\n### Tasks\n\nold of other"}


def test_a_gain_measured_anew_leaves_those_of_other_boards(leaderboard: ModuleType) -> None:
    table = "| `naive` | CE | - |\n| `hard` | x | - |\n| `kl` | y | bow: 1; full: 2 |\nA line.\n"
    full = next(board for board in leaderboard.BOARDS if board.name == "full")
    found = leaderboard.with_gains(table, [(full, told(kl=0.1, hard=-0.05))])
    assert found.splitlines() == [
        "| `naive` | CE | - |",
        "| `hard` | x | full: -.050 [-.150, +.050] |",
        "| `kl` | y | bow: 1; full: +.100 [.000, +.200] |",
        "A line.",
    ]
    assert leaderboard.with_gains(found, [(full, told(kl=0.1, hard=-0.05))]) == found


def test_an_oracle_is_not_counted_among_the_methods(leaderboard: ModuleType) -> None:
    lines = leaderboard.reading(told(kl=0.1, oracle_early_stopping=0.2))
    assert lines[2].startswith("- **not told apart** from naive: 1 of 1. kl (")


def test_a_method_that_is_the_reference_everywhere_has_no_interval(leaderboard: ModuleType) -> None:
    assert leaderboard.reading(told(same=10, mean=0.0))[2].endswith("mean (same as naive in 10 of 10 fits).")
    assert "fits" not in leaderboard.reading(told(same=9, mean=0.0))[2]


def test_the_page_and_the_table_are_those_of_the_results(leaderboard: ModuleType) -> None:
    """What docs say of a board is what its file of numbers says."""
    import json

    page = leaderboard.sections(leaderboard.PAGE.read_text())
    table = leaderboard.METHODS.read_text()
    found = []
    for board in leaderboard.BOARDS:
        numbers = json.loads((leaderboard.RESULTS / f"leaderboard_{board.name}.json").read_text())
        assert "\n".join(leaderboard.reading(numbers)) in page[board.title]
        found.append((board, numbers))
    assert leaderboard.with_gains(table, found) == table
