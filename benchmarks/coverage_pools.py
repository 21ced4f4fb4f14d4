"""Coverage of the recipe's expected scores on new pools of training rows: the benchmark behind docs/statistics.md.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py --only pools [--data ../shared/data] [--scale X] [--seed S]

Every study draws a pool and test rows of its own; its seeds cut the pool anew. Truth is the mean of the expected scores
over pools and seeds. A cell falls short where the upper 99 % limit of a coverage lies below .93 (of PGR: given defined,
where that is likely), or the lower 99 % limit of P(defined and missed) above .05. The check: seeds with a pool each.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pool_worlds import PLANTED, Floats, Text, World
from scipy.special import betaincinv

from oversight.metrics.alike import extras, pairs_of, three_roles
from oversight.metrics.intervals import Moments, Sample, moments_from_covariance, squared_widths, t_quantile
from oversight.metrics.pgr import CONTRASTS, fieller
from oversight.metrics.pool import POOL_CORRELATION, Scope

SEEDS = (3, 5, 10, 20)
NUMBERS = {"weak": (1, 0, 0), "student": (0, 1, 0), "ceiling": (0, 0, 1), "gain": (-1, 1, 0), "gap": (-1, 0, 1)}
TESTS = (600, 5000)
PLANTED_POOLS = {300: 500, 1000: 500, 5000: 200}
"""Rows of a pool, and studies simulated."""
TEXTS = (("anthropic_evals", 400, 800), ("true_statements", 400, 150), ("anthropic_evals", 1500, 40))
TEXT_TEST, TEXT_SEEDS = 1818, (3, 5, 10)
APART = (("blurred", 300, 300), ("hard labels", 1000, 300))
BAR, MISSED, LIKELY, LIMIT = 0.93, 0.05, 0.5, 0.99


class Studies:
    """Studies of one world: per-seed accuracies, covariances of group sums, expected accuracies."""

    def __init__(self, world: World, *, pool: int, n: int, seeds: int, tests: Sequence[int], shared: bool, seed: int):
        self.world, self.pool, self.seeds = world, pool, seeds
        self.p: dict[int, list[Floats]] = {t: [] for t in tests}
        self.covariance: dict[int, list[Floats]] = {t: [] for t in tests}
        self.few: dict[tuple[int, int], list[Floats]] = {(t, s): [] for t in tests for s in SEEDS if s <= seeds}
        expected: list[Floats] = []
        for i in range(n):
            rng = np.random.default_rng([seed, pool, i])
            answers = world.study(rng, pool=pool, seeds=seeds, test=max(tests), shared=shared)
            expected.append(answers.expected)
            for t in tests:
                flat = answers.right[:t].reshape(t, -1).astype(np.float32)
                sums = flat.reshape(t // world.size, world.size, -1).sum(axis=1)
                mean = flat.mean(axis=0, dtype=np.float64)
                gram = (sums.T @ sums).astype(np.float64) / t**2 - np.outer(mean, mean) / len(sums)
                self.p[t].append(mean.reshape(seeds, 3))
                self.covariance[t].append(gram.reshape(seeds, 3, seeds, 3))
                self.note_few(t, sums.T.reshape(seeds, 3, -1) / t)
        self.expected = np.array(expected)

    def note_few(self, t: int, sums: Floats) -> None:
        """What few discordant groups add to squared half widths, by pair of roles, of group sums (s, 3, G) over t."""
        g = sums.shape[2]
        for s in (s for s in SEEDS if s <= self.seeds):
            q = t_quantile(g - 1)
            pairs = pairs_of(sums[:s].mean(axis=0, dtype=np.float64), unit=1.0, n_effective=g)
            self.few[t, s].append(q**2 * extras(pairs, q))

    def moments(self, t: int, s: int) -> Moments:
        """Of the first s seeds on the first t test rows, (studies,)."""
        covariance = np.array(self.covariance[t])[:, :s, :, :s]
        return moments_from_covariance(np.array(self.p[t])[:, :s], covariance, Sample(t, t // self.world.size, s))

    def correlations(self, t: int) -> dict[str, float | None]:
        """Of two seeds' expected scores through their pool, by number; what test rows share is taken out for text.

        None where nothing but the noise of test rows varies.
        """
        contrasts = np.array(list(NUMBERS.values()), dtype=np.float64)
        scores = self.expected @ contrasts.T
        within = scores.var(axis=1, ddof=1).mean(axis=0)
        between = scores.mean(axis=1).var(axis=0, ddof=1) - within / self.seeds
        if isinstance(self.world, Text):
            m = self.moments(t, self.seeds)
            between -= np.einsum("ar,brq,aq->ba", contrasts, m.V_rows - m.V_int, contrasts).mean(axis=0)
            within -= self.seeds * np.einsum("ar,brq,aq->ba", contrasts, m.V_int, contrasts).mean(axis=0)
        varies = within > scores.var(axis=1, ddof=1).mean(axis=0) / 2
        found = between / np.where(varies, between + within, 1.0)
        return {
            name: round(float(one), 3) if there else None
            for name, one, there in zip(NUMBERS, found, varies, strict=True)
        }


def judged(m: Moments, truth: Floats, few: Floats) -> dict[str, Any]:
    """Coverage of every number's interval over studies (b,), and mean widths; `few` (b, 3, 3) from `note_few`."""
    widths = squared_widths(m)
    contrasts = np.array(list(NUMBERS.values()), dtype=np.float64)
    squared = np.einsum("ar,bjrq,aq->baj", contrasts, widths, contrasts).max(axis=2)
    squared[:, list(NUMBERS).index("gain")] += few[:, 0, 1]
    squared[:, list(NUMBERS).index("gap")] += few[:, 0, 2]
    half = np.sqrt(np.maximum(0, squared))
    widths = widths + np.array([np.diag(three_roles(one)) for one in few])[:, None]
    hit = (np.abs((m.p - truth) @ contrasts.T) <= half).mean(axis=0)
    pairs = m.p @ CONTRASTS.T
    low, high, defined = fieller(pairs[:, 0], pairs[:, 1], CONTRASTS @ widths @ CONTRASTS.T)
    gain, gap = CONTRASTS @ truth
    covered = defined & (low <= gain / gap) & (gain / gap <= high)
    n = int(defined.sum())
    return {
        "coverage": {name: round(float(x), 4) for name, x in zip(NUMBERS, hit, strict=True)},
        "width": {name: round(float(2 * x), 5) for name, x in zip(NUMBERS, half.mean(axis=0), strict=True)},
        "p_defined": round(n / len(defined), 4),
        "coverage_given_defined": round(float(covered.sum() / n), 4) if n else None,
        "p_defined_and_missed": round(float((defined & ~covered).mean()), 4),
        "median_pgr_width": round(float(np.median((high - low)[defined])), 4) if n else None,
    }


def records(found: Studies, *, seeds: Sequence[int], shared: bool) -> Iterator[dict[str, Any]]:
    """One for every number of test rows and seeds."""
    truth = found.expected.mean(axis=(0, 1))
    for t, s in itertools.product(found.p, seeds):
        m = found.moments(t, s)
        scopes: tuple[Scope, ...] = ("new-rows", "these-rows")
        yield {
            "world": found.world.name,
            "pool": found.pool,
            "pools": "shared" if shared else "one for each seed",
            "n_test": t,
            "seeds": s,
            "replicates": len(found.expected),
            "truth": [round(float(x), 4) for x in truth],
            "correlation": found.correlations(t),
            **{scope: judged(m.covering(scope), truth, np.array(found.few[t, s])) for scope in scopes},
        }


def upper(share: float, n: int) -> float:
    """The upper 99 % limit (Clopper and Pearson) of a probability seen as a share of n."""
    k = round(share * n)
    return 1.0 if k >= n else float(betaincinv(k + 1, n - k, LIMIT))


def short(cell: dict[str, Any]) -> list[str]:
    """By which numbers a cell falls short under new-rows."""
    own, n = cell["new-rows"], cell["replicates"]
    found = [name for name, share in own["coverage"].items() if upper(share, n) < BAR]
    if own["p_defined"] >= LIKELY and upper(own["coverage_given_defined"], round(n * own["p_defined"])) < BAR:
        found.append("pgr")
    if 1 - upper(1 - own["p_defined_and_missed"], n) > MISSED:
        found.append("pgr missed")
    return found


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The whole benchmark as one JSON object."""
    started = time.process_time()
    cells: list[dict[str, Any]] = []
    apart: list[dict[str, Any]] = []

    def add(world: World, pool: int, n: int, tests: Sequence[int], seeds: Sequence[int], *, shared: bool) -> None:
        n = max(20, round(n * args.scale))
        found = Studies(world, pool=pool, n=n, seeds=max(seeds), tests=tests, shared=shared, seed=args.seed)
        (cells if shared else apart).extend(records(found, seeds=seeds, shared=shared))
        sys.stderr.write(f"{world.name}, pools of {pool}: {time.process_time() - started:.0f} s\n")

    for world, (pool, n) in () if args.data else itertools.product(PLANTED, PLANTED_POOLS.items()):
        add(world, pool, n, TESTS, SEEDS, shared=True)
    for name, pool, n in () if args.data else APART:
        add(next(one for one in PLANTED if one.name == name), pool, n, TESTS, SEEDS, shared=False)
    texts: dict[str, Text] = {}
    for name, pool, n in TEXTS if args.data else ():
        if name not in texts:
            texts[name] = Text(args.data / name, cache=args.cache)
        add(texts[name], pool, n, (TEXT_TEST,), TEXT_SEEDS, shared=True)
    return {
        "command": "OMP_NUM_THREADS=1 python benchmarks/coverage.py --only pools"
        + (" --data ../shared/data" if args.data else "")
        + (f" --scale {args.scale:g}" if args.scale != 1 else ""),
        "seed": args.seed,
        "cpu_seconds": round(time.process_time() - started),
        "rho": POOL_CORRELATION,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in ("numpy", "scipy")},
        "cells": [{**one, "short": short(one)} for one in cells],
        "apart": apart,
    }


def markdown(result: dict[str, Any]) -> Iterator[str]:
    """The tables, line by line; cells that fall short first."""
    cells = result["cells"]
    failed = [one for one in cells if one["short"]]
    yield f"# Coverage of the recipe on new pools, nominal 95 %: {len(failed)} of {len(cells)} cells fall short\n"
    yield f"`{result['command']}`: {result['cpu_seconds']} CPU seconds; rho = {result['rho']}. Standard error of a"
    yield "coverage of .95: 0.8 points with 800 studies, 1.0 with 500, 1.3 with 300, 1.5 with 200, 1.8 with 150, 3.4"
    yield "with 40. Old: these-rows. Correlation: of two seeds' expected scores through their pool, measured.\n"
    for title, some in (("Below the bar", failed), ("All others", [one for one in cells if not one["short"]])):
        yield f"\n## {title}\n"
        yield from table(some) if some else ("None.",)
    if result["apart"]:
        yield "\n## A pool for every seed: these-rows is then exact\n"
        yield from table(result["apart"])


def table(cells: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Coverage by cell, old / new; width of the student's interval and of PGR, new over old."""
    names = ["world", "pool", "test", "seeds", "studies", f"correlation: {', '.join(NUMBERS)}"]
    names += [f"{name} old / new" for name in (*NUMBERS, "P(defined)", "PGR given defined")]
    yield f"| {' | '.join(names)} | student's width, new / old |"
    yield "|" + "---|" * (len(names) + 1)
    for one in cells:
        yield row(one)


def row(one: dict[str, Any]) -> str:
    """One cell as a line of a table."""
    old, new = one["these-rows"], one["new-rows"]
    wide = new["width"]["student"] / old["width"]["student"]
    both = [f"{old['coverage'][name]:.3f} / {new['coverage'][name]:.3f}" for name in NUMBERS]
    pgr = " / ".join("-" if x is None else f"{x:.3f}" for x in (a["coverage_given_defined"] for a in (old, new)))
    parts = [
        *(str(one[name]) for name in ("world", "pool", "n_test", "seeds", "replicates")),
        " ".join("-" if x is None else f"{x:.2f}" for x in one["correlation"].values()),
        *both,
        f"{old['p_defined']:.2f} / {new['p_defined']:.2f}",
        pgr,
        f"{wide:.2f}",
    ]
    return f"| {' | '.join(parts)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, write coverage_pools(_text).json and .md; 1 where a cell falls short."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=None, help="folder of real sets, in place of planted worlds")
    parser.add_argument("--cache", type=Path, default=None, help="where features of real text are kept")
    parser.add_argument("--scale", type=float, default=1.0, help="times the studies")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args(arguments)
    result = measure(args)
    args.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result).replace("}, {", "},\n{")
    name = "coverage_pools_text" if args.data else "coverage_pools"
    (args.out / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    (args.out / f"{name}.md").write_text("\n".join(markdown(result)) + "\n", encoding="utf-8")
    sys.stdout.write((args.out / f"{name}.md").read_text("utf-8"))
    return int(any(one["short"] for one in result["cells"]))


if __name__ == "__main__":
    sys.exit(main())
