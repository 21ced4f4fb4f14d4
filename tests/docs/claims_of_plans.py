"""What the pages claim of plans, of theory, and of cells that fall short on new pools; see `claims`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from documented import Claim, Found

Cell = Mapping[str, Any]
README, STATISTICS = "README.md", "docs/statistics.md"
POWER, THEORY = "power.json", "theory.json"

BASES = ("from_pilot", "by_assumption")


def _planned(label: str, blank: str, of: Callable[[Cell], list[Found]]) -> Claim:
    bears: Callable[[Any], list[Found]] = lambda kept: [one for basis in BASES for one in of(kept[basis])]  # noqa: E731
    return Claim(STATISTICS, f"| {label} | {blank} | {blank} |", POWER, bears)


OF_POWER = [
    _planned(
        "predicted / found width of the gap's interval, median of studies", "{}", lambda one: [one["ratio_median"]]
    ),
    _planned("lowest and highest of the studies", "{}, {}", lambda one: [one["ratio_lowest"], one["ratio_highest"]]),
    _planned("8 of 10 single plans between", "{}, {}", lambda one: list(one["ratio_of_single_plans_80"])),
    _planned(
        "found width within the range that is told as 8 of 10", "{}", lambda one: [one["width_within_told_range"]]
    ),
    _planned("chance that the gap is shown: predicted, found", "{}, {}", lambda one: [one["predicted"], one["shown"]]),
    Claim(
        STATISTICS,
        "`minilm@0` teaching `minilm@4`, 10 seeds, {} studies.",
        POWER,
        lambda kept: [kept["from_pilot"]["studies"]],
    ),
]

OF_THEORY = [
    Claim(
        "docs/theory.md",
        "of {} studies, ten public sets with bow and `minilm@0` teaching `minilm@4`, `naive`, 10 seeds, it was shown "
        "to hold in {} in Brier score and in {} in NLL, and to fail in {} and in {};",
        THEORY,
        lambda kept: [
            len(kept["studies"]),
            *(kept["counts"][name]["held"] for name in ("squared", "kl")),
            *(kept["counts"][name]["did not hold"] for name in ("squared", "kl")),
        ],
    ),
]

OF_SHORT = [
    Claim(
        README,
        "{} of the {} fall short, all in the gain of students near chance.",
        "coverage_pools.json",
        lambda kept: [
            len([one for one in kept["cells"] if one["short"]])
            if all(one["short"] in ([], ["gain"]) for one in kept["cells"])
            and {one["world"] for one in kept["cells"] if one["short"]} == {"near chance"}
            else -1,
            len(kept["cells"]),
        ],
    )
]
