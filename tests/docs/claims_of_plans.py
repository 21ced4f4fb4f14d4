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

POOLS, TEXT = "coverage_pools.json", "coverage_pools_text.json"
ROLES = ("weak", "student", "gain")


def _short(kept: Any) -> list[Cell]:
    return [one for one in kept["cells"] if one["short"]]


def _lowest(kept: Any, scope: str) -> list[float]:
    return [min(one[scope]["coverage"][role] for one in kept["cells"]) for role in ROLES]


def _missed(kept: Any, scope: str) -> float:
    return max(one[scope]["p_defined_and_missed"] for one in kept["cells"])


def _pair(kept: Any, weak: str) -> list[float]:
    (found,) = (
        one
        for one in kept["pairs"]["0"]["pairs"]
        if (one["weak"], one["strong"], one["method"]) == (weak, "l", "naive")
    )
    return [100 * found["scores"]["weak"]["value"], *(found["pgr"][end] for end in ("value", "low", "high"))]


OF_LADDER = [
    Claim(README, f"| `ladder:{weak}`, {why} | {{}} % | {errors} | {{}} [{{}}, {{}}] |", "ladder.json", bears)
    for weak, why, errors, bears in (
        ("early-m", "stopped early", "ignorance", lambda kept: _pair(kept, "early-m")),
        ("narrow-s", "too narrow", "systematic", lambda kept: _pair(kept, "narrow-s")),
    )
]

OF_SHORT = [
    Claim(README, "{} of the {} fall short, and", POOLS, lambda kept: [len(_short(kept)), len(kept["cells"])]),
    Claim(README, "fall short, and {} of {} of real text,", TEXT, lambda kept: [len(_short(kept)), len(kept["cells"])]),
    Claim(
        STATISTICS,
        "cells of real text, {} of {} planted ones.**",
        POOLS,
        lambda kept: [len(_short(kept)), len(kept["cells"])],
    ),
    Claim(
        STATISTICS,
        "**Below the bar: {} of {} cells of real text, ",
        TEXT,
        lambda kept: [len(_short(kept)), len(kept["cells"])],
    ),
    Claim(
        STATISTICS,
        "pools of {} rows, {} seeds: supervisor {} and student {}",
        TEXT,
        lambda kept: [
            number
            for one in _short(kept)
            for number in (one["pool"], one["seeds"], *(one["new-rows"]["coverage"][role] for role in ROLES[:2]))
        ],
    ),
    Claim(
        STATISTICS,
        "The lowest of supervisor, student and gain is {}, {} and {} (under `these-rows` {}, {} and {}), and in no "
        "cell is PGR defined and missed in more than {} of the studies ({}).",
        TEXT,
        lambda kept: [
            *_lowest(kept, "new-rows"),
            *_lowest(kept, "these-rows"),
            _missed(kept, "new-rows"),
            _missed(kept, "these-rows"),
        ],
    ),
]
