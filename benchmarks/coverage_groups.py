"""Coverage where groups are few and uneven, methods answer almost alike, or scores lie near 1: see docs/statistics.md.

    OMP_NUM_THREADS=1 python benchmarks/coverage_groups.py [--replicates N] [--seed S] [--out DIR]

Groups: 8 to 120 of Pareto sizes x what rows of one group share x accuracy x seeds; two equal methods, whose scores and
difference are given intervals. Alike: few rows won and lost x groups x seeds. Shares: accuracies up to .999 x rows x
seeds x their spread. Each beside the interval as it was: G / (G - 1), t(G - 1), nothing added, nothing cut off. Exits 1
where a cell falls short: its upper 99 % limit lies below .93 coverage, or its lower one above 2.5 % called better.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri, stdtrit

from oversight.metrics.intervals import Estimate, Moments, linear_interval, moments
from oversight.metrics.limits import SHARE

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

GROUPS = (8, 15, 30, 60, 120)
SHAPES = (1.1, 2.0)
WITHIN = (0.0, 0.3, 0.7)
ACCURACIES = (0.6, 0.8, 0.95)
SEEDS = (1, 3, 5)
MEAN_ROWS, MOST_ROWS = 2.0, 120
SEED_SD = 0.015
WON_LOST = ((0.0, 0.0), (0.5, 0.0), (1.5, 0.5), (2.0, 0.0), (3.0, 3.0), (6.0, 1.0), (15.0, 3.0), (40.0, 20.0))
ALIKE_ROWS = (100, 300, 1000)
NEAR_ONE = (0.5, 0.8, 0.95, 0.98, 0.995, 0.999)
SHARE_SEEDS = (1, 2, 3, 5, 10)
COVERED, CALLED, UPPER, Z = 0.93, 0.025, 0.975, 2.326
FEWEST_SHOWN = 200


def group_sizes(rng: np.random.Generator, n_groups: int, shape: float) -> Ints:
    """Pareto, at most MOST_ROWS."""
    return np.minimum(np.ceil(MEAN_ROWS * (1 + rng.pareto(shape, n_groups))), MOST_ROWS).astype(np.int64)


def two_methods(
    rng: np.random.Generator, groups: Ints, *, accuracy: float, within: float, seeds: int, sd: float = SEED_SD
) -> tuple[Floats, Floats]:
    """Right answers (s, 2, n) of two methods of one accuracy, and what each seed's models are right on (s, 2).

    Half of the latent variance belongs to the row, a quarter to row x method and to row x method x seed; of each part
    `within` belongs to the group.
    """

    def normal(*shape: int) -> Floats:
        rows = rng.standard_normal((*shape, len(groups)), dtype=np.float32)
        own = rng.standard_normal((*shape, int(groups.max()) + 1), dtype=np.float32)
        return math.sqrt(1 - within) * rows + math.sqrt(within) * own[..., groups]

    z = math.sqrt(0.5) * normal() + 0.5 * normal(2) + 0.5 * normal(seeds, 2)
    x = float(ndtri(accuracy))
    tau = sd * math.sqrt(2 * math.pi) * math.exp(x**2 / 2)
    cut = x * math.sqrt(1 + tau**2) + tau * rng.standard_normal((seeds, 2))
    return (z < cut[:, :, None]).astype(np.float64), ndtr(cut)


def as_it_was(scores: Floats, groups: Ints) -> tuple[float, float]:
    """The interval of the mean of (s, n) as it was: G / (G - 1), t(G - 1)."""
    s, n = scores.shape
    g = int(groups.max()) + 1
    p = scores.mean(axis=1)
    u = np.stack([np.bincount(groups, one - mean) for one, mean in zip(scores, p, strict=True)]) / n
    rows, q = g / (g - 1) * (u.mean(axis=0) ** 2).sum(), float(stdtrit(g - 1, UPPER))
    squared = q**2 * rows
    if s > 1:
        inside = (g / (g - 1) * (u**2).sum(axis=1).mean() - rows) / (s - 1)
        seeds = p.var(ddof=1) / s
        squared = max(squared, q**2 * (rows - inside) + float(stdtrit(s - 1, UPPER)) ** 2 * seeds)
    return float(p.mean() - math.sqrt(squared)), float(p.mean() + math.sqrt(squared))


def holds(found: Estimate, truth: float) -> tuple[float, float, float]:
    """Whether there is an interval, whether it covers, its width."""
    shown = math.isfinite(found.low)
    return float(shown), float(shown and found.low - 1e-12 <= truth <= found.high + 1e-12), found.high - found.low


def run_groups(
    n_groups: int, shape: float, within: float, accuracy: float, *, n: int, seed: int
) -> list[dict[str, Any]]:
    """One record per number of seeds."""
    rng = np.random.default_rng([seed, 1, n_groups, round(10 * shape), round(10 * within), round(1000 * accuracy)])
    hits: dict[int, list[tuple[float, ...]]] = {s: [] for s in SEEDS}
    for _ in range(n):
        groups = np.repeat(np.arange(n_groups), group_sizes(rng, n_groups, shape))
        right, expected = two_methods(rng, groups, accuracy=accuracy, within=within, seeds=max(SEEDS))
        for s in SEEDS:
            score, gain = (accuracy, 0.0) if s > 1 else (expected[0, 0], expected[0, 1] - expected[0, 0])
            m = moments(right[:s], groups)
            one, apart = linear_interval(m, (1, 0), limits=SHARE), linear_interval(m, (-1, 1))
            was = as_it_was(right[:s, 0], groups)
            before = as_it_was(right[:s, 1] - right[:s, 0], groups)
            hits[s].append(
                (
                    *holds(one, score)[:2],
                    holds(apart, gain)[1],
                    apart.n_effective,
                    float(apart.above_zero and gain <= 0),
                    float(apart.low > 0 >= gain),
                    float(was[0] <= score <= was[1]),
                    float(before[0] <= gain <= before[1]),
                    float(before[0] > 0 >= gain),
                )
            )
    base = {"part": "groups", "groups": n_groups, "shape": shape, "within": within, "accuracy": accuracy}
    return [base | {"seeds": s} | _rates(np.array(hits[s])) for s in SEEDS]


def _rates(hits: Floats) -> dict[str, Any]:
    shown = hits[:, 0] > 0
    n_shown = int(shown.sum())
    known = hits[shown] if n_shown else np.full((1, hits.shape[1]), np.nan)
    return {
        "replicates": len(hits),
        "shown": n_shown,
        "effective": float(np.median(hits[:, 3])),
        "score": float(known[:, 1].mean()),
        "difference": float(known[:, 2].mean()),
        "better": float(hits[:, 4].mean()),
        "above_zero": float(known[:, 5].mean()),
        "score_before": float(hits[:, 6].mean()),
        "difference_before": float(hits[:, 7].mean()),
        "better_before": float(hits[:, 8].mean()),
    }


def run_alike(rows: int, size: int, seeds: int, *, n: int, seed: int) -> list[dict[str, Any]]:
    """Poisson numbers of rows won and lost, half of them in all seeds alike; groups are drawn at random."""
    records: list[dict[str, Any]] = []
    groups = np.arange(rows) // size
    for won, lost in WON_LOST:
        rng = np.random.default_rng([seed, 2, rows, size, seeds, round(10 * won), round(10 * lost)])
        hits = np.array([_alike(rng, groups, won / rows, lost / rows, seeds) for _ in range(n)])
        rates = dict(
            zip(("covered", "width", "better", "covered_before", "zero_before"), hits.mean(axis=0), strict=True)
        )
        base = {"part": "alike", "rows": rows, "group_size": size, "seeds": seeds, "won": won, "lost": lost}
        records.append(base | {"replicates": n} | {name: float(one) for name, one in rates.items()})
    return records


def _alike(rng: np.random.Generator, groups: Ints, won: float, lost: float, seeds: int) -> tuple[float, ...]:
    shared, own = rng.random(len(groups)), rng.random((seeds, len(groups)))
    draw = np.where(rng.random(len(groups)) < 0.5, shared, own) if seeds > 1 else own
    away = (draw < won).astype(np.float64) - (draw > 1 - lost)
    first = np.broadcast_to(rng.random(len(groups)) < 0.5, away.shape).astype(np.float64)
    m = moments(np.stack([first, first + away], axis=1), groups)
    found, before = linear_interval(m, (-1, 1)), as_it_was(away, groups)
    _, covered, width = holds(found, won - lost)
    was = before[0] - 1e-12 <= won - lost <= before[1] + 1e-12
    return covered, width, float(found.low > 0), float(was), float(before[0] == before[1])


def run_shares(rows: int, sd: float, *, n: int, seed: int) -> list[dict[str, Any]]:
    """Accuracies up to .999; the spread of seeds is at most .8 of the distance to 1."""
    records: list[dict[str, Any]] = []
    groups = np.arange(rows)
    for accuracy in NEAR_ONE:
        rng = np.random.default_rng([seed, 3, rows, round(1000 * sd), round(10_000 * accuracy)])
        hits: dict[int, list[tuple[float, ...]]] = {s: [] for s in SHARE_SEEDS}
        for _ in range(n):
            spread = min(sd, 0.8 * (1 - accuracy))
            right, expected = two_methods(rng, groups, accuracy=accuracy, within=0.0, seeds=max(SHARE_SEEDS), sd=spread)
            for s in SHARE_SEEDS:
                truth = accuracy if s > 1 else expected[0, 0]
                _, covered, width = holds(linear_interval(_first(right[:s], groups), (1.0,), limits=SHARE), truth)
                was = as_it_was(right[:s, 0], groups)
                hits[s].append((covered, width, float(was[0] <= truth <= was[1]), float(was[1] > 1)))
        for s in SHARE_SEEDS:
            covered, width, before, beyond = np.array(hits[s]).mean(axis=0).tolist()
            base = {"part": "shares", "rows": rows, "seed_sd": sd, "accuracy": accuracy, "seeds": s, "replicates": n}
            records.append(base | {"covered": covered, "width": width, "covered_before": before, "beyond_1": beyond})
    return records


def _first(right: Floats, groups: Ints) -> Moments:
    return moments(right[:, :1], groups)


def judge(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Cells that fall short, the worst first, and how many were judged."""
    found: list[dict[str, Any]] = []
    judged = 0
    for one in records:
        n = one.get("shown", one["replicates"])
        for name in ("score", "difference", "covered"):
            if name in one and n >= FEWEST_SHOWN:
                judged += 1
                rate = one[name]
                if rate < COVERED:
                    noise = math.sqrt(max(rate * (1 - rate), 1e-9) / n)
                    found.append(one | {"below": name, "rate": rate, "se": noise, "short": rate + Z * noise < COVERED})
        if one["part"] == "groups":
            judged += 1
            noise = math.sqrt(CALLED * (1 - CALLED) / one["replicates"])
            if one["better"] > CALLED:
                short = one["better"] - Z * noise > CALLED
                found.append(one | {"below": "better", "rate": one["better"], "se": noise, "short": short})
    found.sort(key=lambda one: (not one["short"], one["rate"]))
    return {"judged": judged, "beyond": found, "short": sum(one["short"] for one in found)}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The whole benchmark as one JSON object."""
    started, n = time.perf_counter(), args.replicates
    records: list[dict[str, Any]] = []
    for cell in itertools.product(GROUPS, SHAPES, WITHIN, ACCURACIES):
        records += run_groups(*cell, n=n, seed=args.seed)
    for rows, size, seeds in itertools.product(ALIKE_ROWS, (1, 4), SEEDS):
        records += run_alike(rows, size, seeds, n=n, seed=args.seed)
    for rows, sd in itertools.product((100, 300), (0.001, 0.015, 0.04)):
        records += run_shares(rows, sd, n=n, seed=args.seed)
    return {
        "command": "OMP_NUM_THREADS=1 python benchmarks/coverage_groups.py " + " ".join(sys.argv[1:]),
        "seed": args.seed,
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in ("numpy", "scipy")},
        "bar": judge(records),
        "cells": records,
    }


def markdown(result: dict[str, Any]) -> Iterator[str]:
    """The cells beyond the bar first, then summaries."""
    bar, cells = result["bar"], result["cells"]
    n = cells[0]["replicates"]
    yield f"# Few and uneven groups, methods alike, scores near 1: {'FAIL' if bar['short'] else 'PASS'}\n"
    yield f"`{result['command']}`: {result['cpu_seconds']:.0f} s of one core; {n} studies per cell (standard error of a"
    yield f"rate of .93: {math.sqrt(0.93 * 0.07 / n):.4f}); {', '.join(map(' '.join, result['versions'].items()))}.\n"
    yield f"## Beyond the bar ({len(bar['beyond'])} of {bar['judged']} rates; {bar['short']} by more than noise)\n"
    yield "Coverage below .93 where an interval is shown, better above .025. Short: beyond the 99 % limit of noise.\n"
    yield "| what | rate | standard error | short | cell |"
    yield "|---|---|---|---|---|"
    keys = ("part", "groups", "shape", "within", "accuracy", "rows", "group_size", "won", "lost", "seed_sd", "seeds")
    for one in bar["beyond"]:
        cell = ", ".join(f"{key.replace('_', ' ')} {one[key]}" for key in keys if key in one)
        yield f"| {one['below']} | {one['rate']:.3f} | {one['se']:.3f} | {'yes' if one['short'] else 'no'} | {cell} |"
    yield from _group_table([one for one in cells if one["part"] == "groups"])
    yield from _alike_table([one for one in cells if one["part"] == "alike"])
    yield from _share_table([one for one in cells if one["part"] == "shares"])


def _group_table(cells: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "\n## Groups of Pareto sizes: mean (lowest; for better highest) over cells\n"
    names = ("groups", "seeds", "effective", "interval shown", "score", "difference", "better")
    yield f"| {' | '.join(names)} | score before | difference before | better before |"
    yield "|" + "---|" * 10
    for g, s in itertools.product(GROUPS, SEEDS):
        mine = [one for one in cells if (one["groups"], one["seeds"]) == (g, s)]
        enough = [one for one in mine if one["shown"] >= FEWEST_SHOWN]
        shown = sum(one["shown"] for one in mine) / sum(one["replicates"] for one in mine)
        effective = sum(one["effective"] for one in mine) / len(mine)
        rates = [_spread(enough, name, min) for name in ("score", "difference")] + [_spread(mine, "better", max)]
        rates += [_spread(mine, name, min) for name in ("score_before", "difference_before")]
        rates += [_spread(mine, "better_before", max)]
        yield f"| {g} | {s} | {effective:.1f} | {shown:.2f} | {' | '.join(rates)} |"


def _alike_table(cells: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "\n## Methods alike: mean (lowest) coverage over rows and group sizes\n"
    yield "| rows won, lost | seeds | coverage | better | coverage before | zero width before |"
    yield "|" + "---|" * 6
    for (won, lost), s in itertools.product(WON_LOST, SEEDS):
        mine = [one for one in cells if (one["won"], one["lost"], one["seeds"]) == (won, lost, s)]
        zero = sum(one["zero_before"] for one in mine) / len(mine)
        rates = [_spread(mine, "covered", min), _spread(mine, "better", max), _spread(mine, "covered_before", min)]
        yield f"| {won:g}, {lost:g} | {s} | {' | '.join(rates)} | {zero:.2f} |"


def _share_table(cells: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "\n## Scores near 1: mean (lowest) coverage over rows and spread of seeds\n"
    yield "| accuracy | seeds | coverage | mean width | coverage before | upper end above 1 before |"
    yield "|" + "---|" * 6
    for accuracy, s in itertools.product(NEAR_ONE, SHARE_SEEDS):
        mine = [one for one in cells if (one["accuracy"], one["seeds"]) == (accuracy, s)]
        width, beyond = (sum(one[name] for one in mine) / len(mine) for name in ("width", "beyond_1"))
        rates = [_spread(mine, "covered", min), f"{width:.3f}", _spread(mine, "covered_before", min)]
        yield f"| {accuracy} | {s} | {' | '.join(rates)} | {beyond:.2f} |"


def _spread(cells: Sequence[dict[str, Any]], name: str, worst: Any) -> str:
    if not cells:
        return "-"
    return f"{sum(one[name] for one in cells) / len(cells):.3f} ({worst(one[name] for one in cells):.3f})"


def main() -> int:
    """Run, write coverage_groups.json and .md, print the verdict."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--replicates", type=int, default=1000, help="studies per cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    result = measure(args)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "coverage_groups.json").write_text(json.dumps(result).replace("}, {", "},\n{") + "\n", "utf-8")
    (args.out / "coverage_groups.md").write_text("\n".join(markdown(result)) + "\n", "utf-8")
    sys.stdout.write((args.out / "coverage_groups.md").read_text("utf-8"))
    return 1 if result["bar"]["short"] else 0


if __name__ == "__main__":
    sys.exit(main())
