"""What the pages claim of simulations, one entry each: the words, the kept file, and how to read the numbers off it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from statistics import fmean, median
from typing import Any

from claims_of_plans import OF_LADDER, OF_POWER, OF_SHORT, OF_THEORY
from documented import Claim, Found, at_least, at_most

SEEDS = (1, 3, 5, 10)
LIKELY = 0.5
Cell = Mapping[str, Any]
README, STATISTICS = "README.md", "docs/statistics.md"
COVERAGE, COMPARISONS, FAULTS = "coverage.json", "coverage_compare.json", "faults.json"
POOLS = "coverage_pools.json"
CALIBRATION = "coverage_ece.json"


def cells(kept: Any, **wanted: Any) -> list[Cell]:
    """Cells of benchmarks/coverage.py with a true gap and these settings."""
    return [one for one in kept["cells"] if all(one[name] == value for name, value in wanted.items())]


def likely(found: Iterable[Cell]) -> list[Cell]:
    """Those in which PGR is defined at least every other time."""
    return [one for one in found if one["p_defined"] >= LIKELY]


def given(one: Cell) -> float:
    """Coverage given that PGR is defined."""
    return one["coverage_given_defined"]


def rival(found: Iterable[Cell], name: str) -> float:
    """The lowest coverage given defined of a rival, where PGR is likely to be defined."""
    return min(one["rivals"][name]["coverage_given_defined"] for one in likely(found))


def by_seeds(of: Callable[[Any, int], Found], seeds: Iterable[int] = SEEDS) -> Callable[[Any], list[Found]]:
    """One number for each number of seeds."""
    return lambda kept: [of(kept, s) for s in seeds]


def pairs(kept: Any, **wanted: Any) -> list[Cell]:
    """Two methods on one task, of benchmarks/coverage_compare.py."""
    return [one for one in kept["pairs"] if all(one[name] == value for name, value in wanted.items())]


def boards(kept: Any, **wanted: Any) -> list[Cell]:
    """Boards of the same benchmark."""
    return [one for one in kept["boards"] if all(one[name] == value for name, value in wanted.items())]


def given_better(kept: Any, s: int, low: float, high: float) -> float:
    """Coverage given "called better", over true differences in whose cells that has a probability in [low, high)."""
    found = [one for one in pairs(kept, seeds=s) if one["difference"] > 0 and low <= one["better"] < high]
    return sum(one["better_and_covered"] for one in found) / sum(one["better"] for one in found)


def below(kept: Any, bar: float) -> list[Cell]:
    """Cells whose coverage given defined lies below a number."""
    return [one for one in cells(kept) if given(one) < bar]


def counts(kept: Any, name: str, pattern: str) -> list[float]:
    """Numbers in what one part of benchmarks/faults.py found."""
    (found,) = (part["found"] for part in kept["parts"] if part["part"] == name)
    place = re.search(pattern, found)
    assert place is not None, found
    return [float(one) for one in place.groups()]


def _row(label: str, of: Callable[[Any, int], Found], results: str, seeds: Iterable[int] = SEEDS) -> Claim:
    blank = " | ".join("{}" if s in seeds else "-" for s in SEEDS)
    return Claim(STATISTICS, f"| {label} | {blank} |", results, by_seeds(of, seeds))


def _pair_of_numbers(label: str, of: Callable[[Any, int], tuple[float, float]], seeds: tuple[int, ...]) -> Claim:
    blank = " | ".join("{} ({})" if s in seeds else "-" for s in SEEDS)
    bears: Callable[[Any], list[Found]] = lambda kept: [one for s in seeds for one in of(kept, s)]  # noqa: E731
    return Claim(STATISTICS, f"| {label} | {blank} |", COMPARISONS, bears)


def _mean_and_lowest(numbers: Iterable[float]) -> tuple[float, float]:
    every = list(numbers)
    return fmean(every), min(every)


def _mean_and_highest(numbers: Iterable[float]) -> tuple[float, float]:
    every = list(numbers)
    return fmean(every), max(every)


SEVERAL = (3, 5, 10)
OF_COVERAGE = [
    Claim(
        README,
        "Of {} simulated cells ({} settings, each with 1, 3, 5 and 10 seeds) {} cover less than {} %, down to {} %, "
        "all of them where PGR is defined in less than {} % of the studies. In the {} where it is defined at least "
        "every other time the interval covers at least {} % of the time where 95 % is promised, while a plain "
        "bootstrap falls to {} %",
        COVERAGE,
        lambda kept: [
            len(kept["cells"]),
            len(cells(kept, seeds=1)),
            len(below(kept, 0.938)),
            93.8,
            100 * min(map(given, cells(kept))),
            at_most(100 * max(one["p_defined"] for one in below(kept, 0.938))),
            len(likely(cells(kept))),
            at_least(100 * min(map(given, likely(cells(kept))))),
            100 * min(rival(cells(kept, seeds=s), "groups only") for s in SEEDS),
        ],
    ),
    Claim(
        STATISTICS,
        "**Below the bar of 93 %: {} of {} cells, down to {}**, all with P(defined) below {}",
        COVERAGE,
        lambda kept: [
            len(below(kept, 0.93)),
            len(kept["cells"]),
            min(map(given, cells(kept))),
            at_most(max(one["p_defined"] for one in below(kept, 0.93))),
        ],
    ),
    Claim(
        STATISTICS,
        "{} with 1 seed, {} with 3, {} with 5, {} with 10; the lowest {}, {}, {}, {}",
        COVERAGE,
        lambda kept: [
            *(len([one for one in below(kept, 0.93) if one["seeds"] == s]) for s in SEEDS),
            *(min(map(given, cells(kept, seeds=s))) for s in SEEDS),
        ],
    ),
    *(
        _row(
            f"**recommended**, mean of 40 cells, n = {n}" if n == 300 else f"n = {n:,}" if n == 10_000 else f"n = {n}",
            lambda kept, s, n=n: fmean(one["coverage"] for one in cells(kept, seeds=s, n=n)),
            COVERAGE,
        )
        for n in (300, 1000, 3000, 10_000)
    ),
    _row(
        "lowest given defined, cells with P(defined) >= .5",
        lambda kept, s: min(map(given, likely(cells(kept, seeds=s)))),
        COVERAGE,
    ),
    _row(
        "highest P(defined and missed), all cells",
        lambda kept, s: max(one["p_defined_and_missed"] for one in cells(kept, seeds=s)),
        COVERAGE,
    ),
    _row("mean P(defined)", lambda kept, s: fmean(one["p_defined"] for one in cells(kept, seeds=s)), COVERAGE),
    Claim(
        STATISTICS,
        "| median width at gap .1, PGR .6, n = 3000 | {} (these models) | {} | {} | {} |",
        COVERAGE,
        by_seeds(
            lambda kept, s: median(
                one["median_width"] for one in cells(kept, seeds=s, gap=0.1, pgr=0.6, n=3000, group_size=1)
            )
        ),
    ),
    Claim(
        STATISTICS,
        "| no true gap: called defined, mean (worst of 24 cells) | {} ({}) | {} ({}) | {} ({}) | {} ({}) |",
        COVERAGE,
        lambda kept: [
            number
            for s in SEEDS
            for number in _mean_and_highest(one["p_defined"] for one in kept["no_gap"] if one["seeds"] == s)
        ],
    ),
    _row(
        "bootstrap of groups only, lowest given defined",
        lambda kept, s: rival(cells(kept, seeds=s), "groups only"),
        COVERAGE,
    ),
    _row(
        "bootstrap of groups + t seeds, lowest given defined",
        lambda kept, s: rival(cells(kept, seeds=s), "groups + t seeds"),
        COVERAGE,
        SEVERAL,
    ),
    _row(
        "mean of the seeds' PGRs -+ t sd/sqrt(s), lowest, cells with P(defined) >= .5",
        lambda kept, s: min(one["mean_of_ratios_coverage"] for one in likely(cells(kept, seeds=s))),
        COVERAGE,
        SEVERAL,
    ),
    Claim(
        STATISTICS,
        "(allowed {} and {}, one-sided,",
        COVERAGE,
        lambda kept: [kept["bar"]["missed_allowed"], kept["bar"]["coverage_allowed"]],
    ),
    Claim(
        STATISTICS,
        "where the interval is exact, {} of 160 cells lie between .050 and {}.",
        COVERAGE,
        lambda kept: [
            len([one for one in cells(kept, seeds=1) if one["p_defined_and_missed"] > 0.05]),
            max(one["p_defined_and_missed"] for one in cells(kept)),
        ],
    ),
]


def on_new_pools(kept: Any, scope: str) -> list[Cell]:
    """What one scope gives in the cells of benchmarks/coverage_pools.py where PGR is likely to be defined."""
    return likely(one[scope] for one in kept["cells"])


def _lowest(label: str, of: Callable[[Cell], float], worst: Callable[[Iterable[float]], float] = min) -> Claim:
    """A row of the table of new pools: by seeds, under these-rows and new-rows."""
    return Claim(
        STATISTICS,
        f"| {label} |" + " {} / {} |" * 4,
        POOLS,
        lambda kept: [
            worst(of(one[scope]) for one in kept["cells"] if one["seeds"] == s and of(one[scope]) is not None)
            for s in (3, 5, 10, 20)
            for scope in ("these-rows", "new-rows")
        ],
    )


OF_POOLS = [
    Claim(
        README,
        "on pools drawn anew PGR is covered at least {} % of the time in the {} of {} cells where it is likely to be "
        "defined; without that part, more seeds made it worse, down to {} %.",
        POOLS,
        lambda kept: [
            at_least(100 * min(map(given, on_new_pools(kept, "new-rows")))),
            len(on_new_pools(kept, "new-rows")),
            len(kept["cells"]),
            100 * min(map(given, on_new_pools(kept, "these-rows"))),
        ],
    ),
    *(
        _lowest(name, lambda one, name=name: one["coverage"][name])
        for name in ("weak", "student", "ceiling", "gain", "gap")
    ),
    _lowest("highest P(defined and missed)", lambda one: one["p_defined_and_missed"], max),
    _lowest("mean P(defined)", lambda one: one["p_defined"], fmean),
]

BETWEEN = ((0.02, 0.1), (0.1, 0.2), (0.2, 0.5), (0.5, 1.01))
OF_COMPARISONS = [
    Claim(
        STATISTICS,
        "in every cell: **passed**, none of {} rates below it",
        COMPARISONS,
        lambda kept: [kept["bar"]["judged"] if not kept["bar"]["below_the_bar"] else -1],
    ),
    _pair_of_numbers(
        "two methods, one task: mean (lowest cell)",
        lambda kept, s: _mean_and_lowest(one["coverage"] for one in pairs(kept, seeds=s)),
        SEEDS,
    ),
    _pair_of_numbers(
        "equal methods: one called better, mean (worst)",
        lambda kept, s: _mean_and_highest(one["better"] for one in pairs(kept, seeds=s, difference=0.0)),
        SEVERAL,
    ),
    _row(
        "rows alone as a source of error, lowest",
        lambda kept, s: min(one["rows_only"] for one in pairs(kept, seeds=s)),
        COMPARISONS,
    ),
    _row(
        "seeds alone as a source of error, lowest",
        lambda kept, s: min(one["seeds_only"] for one in pairs(kept, seeds=s)),
        COMPARISONS,
        SEVERAL,
    ),
    _pair_of_numbers(
        "boards: all intervals against the reference hold, mean (lowest)",
        lambda kept, s: _mean_and_lowest(one["against_reference"] for one in boards(kept, seeds=s)),
        SEEDS,
    ),
    *(
        _row(label, lambda kept, s, name=name: min(one[name] for one in boards(kept, seeds=s)), COMPARISONS)
        for label, name in (("boards: all pairs hold, lowest", "pairs"), ("boards: all places hold, lowest", "ranks"))
    ),
    *(
        _row(label, lambda kept, s, name=name: max(one[name] for one in boards(kept, seeds=s)), COMPARISONS)
        for label, name in (
            ("boards with any method falsely called better, highest", "false_better"),
            ("the same by intervals of single methods", "false_better_alone"),
        )
    ),
    _row(
        "twins taken as independent: all against the reference, lowest",
        lambda kept, s: min(one["against_reference_if_apart"] for one in boards(kept, seeds=s, twins=True)),
        COMPARISONS,
    ),
    Claim(
        STATISTICS,
        "| 20 methods, no twins: half width on 2 / 5 / 15 tasks" + " | {} / {} / {}" * 4 + " |",
        COMPARISONS,
        lambda kept: [
            boards(kept, seeds=s, methods=20, twins=False, tasks=n, differ=True)[0]["half_width"]
            for s in SEEDS
            for n in (2, 5, 15)
        ],
    ),
    Claim(
        STATISTICS,
        "(by about .01 and .03) shown to be | -" + " | {} / {} / {}" * 3 + " |",
        COMPARISONS,
        lambda kept: [
            boards(kept, seeds=s, methods=20, twins=False, tasks=n, differ=True)[0]["shown_better"]
            for s in SEVERAL
            for n in (2, 5, 15)
        ],
    ),
    Claim(
        STATISTICS,
        "of .02-.1, .1-.2, .2-.5 and above .5: {}, {}, {}, {} (1 seed), {}, {}, {}, {} (3), {}, {}, {}, {} (5), "
        "{}, {}, {}, {} (10); lowest cell {}.",
        COMPARISONS,
        lambda kept: [
            *(given_better(kept, s, low, high) for s in SEEDS for low, high in BETWEEN),
            min(
                one["better_and_covered"] / one["better"]
                for one in pairs(kept)
                if one["difference"] > 0 and one["better"] > BETWEEN[0][0]
            ),
        ],
    ),
]

OF_FAULTS = [
    Claim(
        README,
        "It survived {} kills and {} damaged files",
        FAULTS,
        lambda kept: [*counts(kept, "kills", r"^(\d+) kills"), *counts(kept, "damages", r"^(\d+) of")],
    ),
]

OF_CALIBRATION = [
    Claim(
        STATISTICS,
        "Of {} cells of {} replicates {} fall short of {} (upper 99 % limit below it); the lowest covers {} "
        "(standard error {}), and {} of {} intervals lay beside their own value. Calibrated models are covered in {} "
        "or more",
        CALIBRATION,
        lambda kept: [
            len(kept["cells"]),
            kept["replicates"],
            sum(one["falls_short"] for one in kept["cells"]),
            kept["bar"],
            kept["cells"][0]["coverage"],
            kept["cells"][0]["standard_error"],
            sum(one["value_outside"] for one in kept["cells"]),
            len(kept["cells"]) * kept["replicates"],
            min(one["coverage"] for one in kept["cells"] if one["world"] in ("exact", "calibrated")),
        ],
    ),
]

CLAIMS = [
    *OF_COVERAGE,
    *OF_POOLS,
    *OF_COMPARISONS,
    *OF_CALIBRATION,
    *OF_FAULTS,
    *OF_POWER,
    *OF_THEORY,
    *OF_LADDER,
    *OF_SHORT,
]

# Parts of pages in which every decimal and every percentage must be claimed above, and words whose numbers are no
# results there.
CLAIMED: Mapping[tuple[str, str], tuple[str, ...]] = {(README, "## Why believe the number"): ()}
