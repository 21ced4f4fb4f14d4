"""How often the interval of the calibration error holds the truth: calibrated and miscalibrated models, by simulation.

    python benchmarks/coverage_ece.py --replicates 400

A row has a true log-odds t ~ N(0, 1.5^2) and a class drawn by it; the four rows of a group share half of that draw's
variance. A seed's model reports a (t + e) + shift, e ~ N(0, .4^2) for every row, a = stretch exp(.15 N(0, 1)) /
(1 + (.4 / 1.5)^2): of its own, and calibrated on average for stretch 1 as far as a straight line can. The truth is the
root of the mean over models of the squared error over bins of equal mass of the population, computed from
probabilities in the place of classes: over all models for several seeds, of the very model for one. Without e and the
spread of a, `exact` models are calibrated to the last digit.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, ndtr

from oversight.metrics.calibration import GROUPS_A_BIN, N_BINS
from oversight.metrics.calibration_interval import calibration_error
from oversight.metrics.checks import Floats, Ints

SPREAD, JITTER, TILT = 1.5, 0.4, 0.15
SIZES, GROUPS, SEEDS = (200, 500, 1000, 2000, 5000), (1, 4), (1, 3, 5)
POPULATION = 200_000
NODES = np.linspace(-3.5, 3.5, 57)
BAR, Z99 = 0.93, 2.576
HERE = Path(__file__).parent


@dataclass(frozen=True)
class World:
    """How models of a kind report; `noisy` = rows and models differ at random."""

    stretch: float
    shift: float = 0.0
    noisy: bool = True

    def log_odds(self, t: Floats, tilt: float, rng: np.random.Generator) -> Floats:
        """(n,) of one model."""
        if not self.noisy:
            return self.stretch * t + self.shift
        slope = self.stretch * math.exp(TILT * tilt) / (1 + (JITTER / SPREAD) ** 2)
        return slope * (t + JITTER * rng.standard_normal(len(t))) + self.shift


WORLDS = {
    "exact": World(1.0, noisy=False),
    "calibrated": World(1.0),
    "too sure": World(1.6),
    "unsure": World(0.6),
    "leaning": World(1.0, shift=0.5),
}


@cache
def by_tilt(name: str, n_bins: int) -> Floats:
    """(NODES,) squared errors of the population, by the tilt of the model."""
    t = SPREAD * np.random.default_rng(7).standard_normal(POPULATION)
    return np.array([_squared(t, WORLDS[name].log_odds(t, x, np.random.default_rng(8)), n_bins) for x in NODES])


def _squared(t: Floats, z: Floats, n_bins: int) -> float:
    confidence, right = expit(np.abs(z)), np.where(z > 0, expit(t), expit(-t))
    parts = np.array_split(np.argsort(confidence, kind="stable"), n_bins)
    return float(np.mean([(confidence[part] - right[part]).mean() ** 2 for part in parts]))


def truth(name: str, n_bins: int, tilts: Floats) -> float:
    """Of the one model, or of all models where there are several."""
    errors = by_tilt(name, n_bins)
    if len(tilts) == 1:
        return math.sqrt(float(np.interp(tilts[0], NODES, errors)))
    density = np.exp(-(NODES**2) / 2)
    return math.sqrt(float(density @ errors / density.sum()))


def drawn(name: str, n: int, size: int, seeds: int, rng: np.random.Generator) -> tuple[Floats, Ints, Ints, Floats]:
    """Probabilities (s, n, 2), classes, groups, and the tilt of every model."""
    t = SPREAD * rng.standard_normal(n)
    groups = np.arange(n) // size
    shared = rng.standard_normal(groups[-1] + 1)[groups] if size > 1 else rng.standard_normal(n)
    labels = (ndtr((shared + rng.standard_normal(n)) / math.sqrt(2)) < expit(t)).astype(np.int64)
    tilts = rng.standard_normal(seeds)
    p = expit(np.stack([WORLDS[name].log_odds(t, float(x), rng) for x in tilts]))
    return np.stack([1 - p, p], axis=2), labels, groups, tilts


def cell(name: str, n: int, size: int, seeds: int, replicates: int) -> dict[str, Any]:
    """One setting."""
    rng = np.random.default_rng([n, size, seeds, list(WORLDS).index(name)])
    n_bins = max(1, min(N_BINS, n // size // GROUPS_A_BIN))
    held, outside = 0, 0
    errors, widths = list[float](), list[float]()
    for _ in range(replicates):
        probs, labels, groups, tilts = drawn(name, n, size, seeds, rng)
        found, true = calibration_error(probs, labels, groups), truth(name, n_bins, tilts)
        held += found.low <= true <= found.high
        outside += not found.low <= found.value <= found.high
        errors.append(found.value - true)
        widths.append(found.high - found.low)
    coverage = held / replicates
    spread = math.sqrt(max(coverage * (1 - coverage), BAR * (1 - BAR)) / replicates)
    return {
        "world": name,
        "rows": n,
        "rows_per_group": size,
        "seeds": seeds,
        "bins": n_bins,
        "coverage": round(coverage, 4),
        "standard_error": round(spread, 4),
        "falls_short": coverage + Z99 * spread < BAR,
        "value_outside": outside,
        "mean_error": round(float(np.mean(errors)), 4),
        "mean_width": round(float(np.mean(widths)), 4),
    }


def main() -> None:
    """Every setting, and a line on what fell short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=400)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "coverage_ece.json")
    asked = parser.parse_args()
    started = time.process_time()
    cells = [
        cell(name, n, size, seeds, asked.replicates)
        for name in WORLDS
        for n in SIZES
        for size in GROUPS
        for seeds in SEEDS
    ]
    cells.sort(key=lambda one: one["coverage"])
    asked.out.write_text(json.dumps({"replicates": asked.replicates, "bar": BAR, "cells": cells}, indent=1) + "\n")
    short = [one for one in cells if one["falls_short"]]
    print(
        f"{len(cells)} cells, {len(short)} fall short; lowest {cells[0]}; {time.process_time() - started:.0f} s of CPU"
    )


if __name__ == "__main__":
    main()
