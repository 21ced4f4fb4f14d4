"""Two equal methods of which one breaks on a few groups: how often is it called better, where those were not drawn?

    OMP_NUM_THREADS=1 python benchmarks/coverage_rare.py [--replicates N] [--seed S] [--out DIR]

One group in 25 costs the second method .9 of its accuracy there; in the others it gains .0375, so that the two are
equal on new groups. Whoever draws few of the costly groups, or none of the large ones, sees a gain. Group sizes are
Pareto (shape given; inf = even). Only samples that allow a verdict count. No bar: no interval sees what was not drawn.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from oversight.metrics.intervals import linear_interval, moments

GROUPS, SHAPES, SEEDS = (150, 400), (1.2, 2.0, math.inf), (1, 5)
RARE, COST, FIRST, SEED_SD, ROWS = 0.04, 0.9, 0.76, 0.01, 3
GAIN = RARE * COST / (1 - RARE)


def sizes(rng: np.random.Generator, n: int, shape: float) -> np.ndarray:
    """(n,) rows of each group."""
    drawn = np.ones(n) if math.isinf(shape) else 1 + rng.pareto(shape, n)
    return np.maximum(1, np.round(ROWS * drawn)).astype(np.int64)


def cell(n_groups: int, shape: float, seeds: int, *, replicates: int, seed: int) -> dict[str, Any]:
    """Of samples that allow a verdict: how many, and in which share the second method is called better, or worse."""
    rng = np.random.default_rng([seed, n_groups, seeds, 0 if math.isinf(shape) else round(10 * shape)])
    spread = SEED_SD if seeds > 1 else 0.0  # one seed speaks of its own models, which are equal here too
    better = worse = judged = covered = 0
    for _ in range(replicates):
        rows = sizes(rng, n_groups, shape)
        groups = np.repeat(np.arange(n_groups), rows)
        breaks = rng.random(n_groups) < RARE
        first, second = np.where(breaks, 0.95, FIRST), np.where(breaks, 0.95 - COST, FIRST + GAIN)
        expected = np.clip(np.stack([first, second])[:, groups] + rng.normal(0, spread, (seeds, 2, 1)), 0, 1)
        right = (rng.random(expected.shape) < expected).astype(np.float64)
        found = linear_interval(moments(right, groups), (-1, 1), limits=(-1, 1))
        if found.judged:
            judged += 1
            better, worse = better + (found.low > 0), worse + (found.high < 0)
            covered += found.low <= 0 <= found.high
    shares = {name: n / judged if judged else None for name, n in (("better", better), ("worse", worse))}
    shape_told = "even" if math.isinf(shape) else shape
    told = {"groups": n_groups, "shape": shape_told, "seeds": seeds, "replicates": replicates, "judged": judged}
    return {**told, **shares, "covered": covered / judged if judged else None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    began = time.process_time()
    cells = [
        cell(n, shape, seeds, replicates=arguments.replicates, seed=arguments.seed)
        for n in GROUPS
        for shape in SHAPES
        for seeds in SEEDS
    ]
    for one in cells:
        print(one, flush=True)
    told = {"cells": cells, "rare": RARE, "cost": COST, "cpu_seconds": round(time.process_time() - began)}
    if arguments.out:
        (arguments.out / "coverage_rare.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
