"""Coverage of the intervals for PGR on simulated studies: the benchmark behind docs/statistics.md.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py [--quick] [--replicates N] [--bootstraps N] [--seed S] [--out DIR]
    OMP_NUM_THREADS=1 python benchmarks/coverage.py --only pools [--data ../shared/data]   (see coverage_pools.py)

The first speaks of these training rows (`these-rows`): seeds are independent draws, as where a pool is given.

160 cells (gap x PGR x rows x group size) and 24 without a true gap, each with 1, 3, 5 and 10 seeds. All cells of one
number of rows and group size share their latent draws. Exits 1 if the recommended interval fails the bar: P(defined
and missed) <= 5 % in every cell, and coverage given defined >= 93 % wherever P(defined) >= .5, within simulation noise.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from oversight.metrics.intervals import Moments, Sample, moments, moments_from_covariance, squared_widths, t_quantile
from oversight.metrics.pgr import CONTRASTS, fieller
from oversight.metrics.resampling import group_weights, seed_noise

Floats = npt.NDArray[np.float64]
Halves = npt.NDArray[np.float32]

WEAK = {0.02: 0.70, 0.05: 0.70, 0.1: 0.70, 0.2: 0.65, 0.3: 0.60}
NO_GAP = (0.60, 0.70, 0.80)
PGRS = (0.0, 0.3, 0.6, 1.0)
ROWS = (300, 1000, 3000, 10_000)
SIZES = (1, 4)
SEEDS = (1, 3, 5, 10)
SEED_SD = 0.015
CHUNK = 25
RESAMPLES = 1000
MISSED, COVERED, LIKELY = 0.05, 0.93, 0.5
FAMILY_ERROR = 0.01


class Cell(NamedTuple):
    """One true situation; levels of weak, student and ceiling."""

    gap: float
    pgr: float
    levels: tuple[int, int, int]


@dataclass(frozen=True)
class Design:
    """All situations; a level is a role with an expected accuracy, shared by the cells that have it."""

    cells: tuple[Cell, ...]
    role: npt.NDArray[np.int64]
    p: Floats

    @property
    def index(self) -> npt.NDArray[np.int64]:
        """(cells, 3) levels."""
        return np.array([c.levels for c in self.cells])


class Draws(NamedTuple):
    """Simulated studies with ten seeds: accuracies, covariances of group sums, and what the accuracies estimate."""

    p: Floats  # (b, cells, 10, 3)
    covariance: Floats  # (b, cells, 10, 3, 10, 3)
    expected: Floats  # (b, cells, 10, 3)
    sums: list[Halves]  # b of (levels, 10, G)


def make_design() -> Design:
    """The 20 situations of every number of rows and group size, and three without a gap."""
    levels: dict[tuple[int, float], int] = {}
    situations = [(g, r, (w, w + r * g, w + g)) for (g, w), r in itertools.product(WEAK.items(), PGRS)]
    situations += [(0.0, 0.0, (w, w, w)) for w in NO_GAP]
    cells: list[Cell] = []
    for gap, ratio, accuracies in situations:
        keys = [(role, round(p, 6)) for role, p in enumerate(accuracies)]
        weak, student, ceiling = (levels.setdefault(key, len(levels)) for key in keys)
        cells.append(Cell(gap, ratio, (weak, student, ceiling)))
    return Design(tuple(cells), np.array([role for role, _ in levels]), np.array([p for _, p in levels]))


def latents(rng: np.random.Generator, n: int, size: int) -> Halves:
    """sqrt(.4) A + sqrt(.3) B + sqrt(.3) C of (3 roles, 10 seeds, n rows); half of every part belongs to the group."""

    def normal(*shape: int) -> Halves:
        rows = rng.standard_normal((*shape, n), dtype=np.float32)
        if size == 1:
            return rows
        groups = rng.standard_normal((*shape, n // size), dtype=np.float32)
        return np.float32(math.sqrt(0.5)) * (rows + np.repeat(groups, size, axis=-1))

    a, b, c = normal(), normal(3), normal(3, 10)
    b = np.stack([b[0], 0.6 * b[0] + 0.8 * b[1], 0.5 * b[1] + math.sqrt(0.75) * b[2]])
    c[1] = 0.6 * c[0] + 0.8 * c[1]
    shared = math.sqrt(0.4) * a + math.sqrt(0.3) * b
    return (shared[:, None, :] + math.sqrt(0.3) * c).astype(np.float32)


def thresholds(rng: np.random.Generator, design: Design) -> Floats:
    """mu + d (levels, 10): what a seed's model adds to the latent, so that its expected accuracy is Phi of it."""
    e = rng.standard_normal((3, 10))
    e[1] = 0.5 * e[0] + math.sqrt(0.75) * e[1]
    x = ndtri(design.p)
    tau = SEED_SD * math.sqrt(2 * math.pi) * np.exp(x**2 / 2)
    return (x * np.sqrt(1 + tau**2))[:, None] + tau[:, None] * e[design.role]


def group_sums(rng: np.random.Generator, design: Design, n: int, size: int) -> tuple[Halves, Floats]:
    """Right answers per group (levels, 10, G) of one study, and its thresholds (levels, 10)."""
    z, cut = latents(rng, n, size), thresholds(rng, design)
    sums = np.empty((len(cut), 10, n // size), dtype=np.float32)
    for level, role in enumerate(design.role):
        right = z[role] > -cut[level][:, None].astype(np.float32)
        sums[level] = right if size == 1 else right.reshape(10, -1, size).sum(axis=2)
    return sums, cut


def simulate(rng: np.random.Generator, design: Design, n: int, size: int) -> Iterator[Draws]:
    """Endless chunks of simulated studies. Sums of products are of small whole numbers, so float32 is exact."""
    g, levels = n // size, len(design.p)
    rows = (design.index[:, None, :] * 10 + np.arange(10)[:, None]).reshape(len(design.cells), 30)
    while True:
        p, covariance, expected, kept = [], [], [], []
        for _ in range(CHUNK):
            sums, cut = group_sums(rng, design, n, size)
            flat = sums.reshape(levels * 10, g)
            mean = flat.sum(axis=1, dtype=np.float64) / n
            gram = (flat @ flat.T).astype(np.float64) / n**2 - np.outer(mean, mean) / g
            covariance.append(gram[rows[:, :, None], rows[:, None, :]])
            p.append(mean[rows])
            expected.append(ndtr(cut).ravel()[rows])
            kept.append(sums)
        shape = (CHUNK, len(design.cells), 10, 3)
        arrays = (np.array(p).reshape(shape), np.array(covariance).reshape(*shape, 10, 3), np.array(expected))
        yield Draws(arrays[0], arrays[1], arrays[2].reshape(shape), kept)


def truth(design: Design, draws: Draws, s: int) -> Floats:
    """PGR that the interval should cover (b, cells): of the recipe, or with one seed of these trained models."""
    if s > 1:
        return np.broadcast_to(np.array([c.pgr for c in design.cells]), draws.p.shape[:2])
    pairs = draws.expected[:, :, 0] @ CONTRASTS.T
    return pairs[..., 0] / pairs[..., 1]


def check_equal(rng: np.random.Generator, design: Design, n: int, size: int) -> None:
    """The batched sums give the same moments as the package's `moments` on the rows themselves."""
    seed = int(rng.integers(2**32))
    draws = next(simulate(np.random.default_rng(seed), design, n, size))
    again = np.random.default_rng(seed)
    z, cut = latents(again, n, size), thresholds(again, design)
    for c, s in ((0, 10), (9, 5), (21, 3), (15, 1)):
        scores = np.stack([z[r] > -cut[i][:, None].astype(np.float32) for r, i in enumerate(design.cells[c].levels)], 1)
        rowwise = moments(scores[:s].astype(np.float64), np.arange(n) // size)
        batched = studies(draws, s, n, size)
        for name in ("p", "V_rows", "V_in", "V_int", "V_seed"):
            np.testing.assert_allclose(getattr(batched, name)[0, c], getattr(rowwise, name), rtol=1e-9, atol=1e-15)


def studies(draws: Draws, s: int, n: int, size: int) -> Moments:
    """Moments (b, cells) of the first s seeds."""
    return moments_from_covariance(
        draws.p[:, :, :s], draws.covariance[:, :, :s, :, :s], Sample(n=n, n_groups=n // size, n_seeds=s)
    )


def recommended(m: Moments, theta: Floats) -> dict[str, Floats]:
    """What the package's interval does in every study (b, cells): defined, covers theta, accepts theta, width."""
    pairs, widths = m.p @ CONTRASTS.T, squared_widths(m)
    low, high, defined = fieller(pairs[..., 0], pairs[..., 1], CONTRASTS @ widths @ CONTRASTS.T)
    contrast = np.stack([theta - 1, np.ones_like(theta), -theta], axis=-1)
    squared = np.einsum("bcr,bcjrq,bcq->bcj", contrast, widths, contrast).max(axis=-1)
    accepted = (contrast * m.p).sum(axis=-1) ** 2 <= squared
    covered = defined & (low <= theta) & (theta <= high)
    flags = {"defined": defined, "covered": covered, "accepted": accepted}
    return {name: flag.astype(np.float64) for name, flag in flags.items()} | {"width": high - low}


def mean_of_ratios(p: Floats, theta: Floats) -> Floats:
    """Common practice: mean of the seeds' PGRs -+ t sd / sqrt(s); whether it covers (b, cells), defined or not."""
    s = p.shape[2]
    pairs = p @ CONTRASTS.T
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = pairs[..., 0] / pairs[..., 1]
        half = t_quantile(s - 1) * ratios.std(axis=2, ddof=1) / math.sqrt(s)
        return (np.abs(ratios.mean(axis=2) - theta) <= half).astype(np.float64)


def bootstraps(design: Design, draws: Draws, b: int, size: int, seed: int) -> dict[tuple[str, int], Floats]:
    """Percentile intervals of study b, by (method, seeds): groups only, and groups with the t-distributed seed part.

    Returns:
        (2, cells): defined, and defined and covering.
    """
    sums = draws.sums[b]
    g = sums.shape[2]
    columns = np.stack([sums[:, :s].sum(axis=1) / (s * g * size) for s in SEEDS]).reshape(-1, g).astype(np.float32)
    weights = group_weights(g, n_resamples=RESAMPLES, seed=seed)
    stars = np.concatenate([columns @ w.astype(np.float32) for w in weights], axis=1)
    stars = stars.reshape(len(SEEDS), -1, RESAMPLES).astype(np.float64)
    level_p = sums.sum(axis=2, dtype=np.float64) / (g * size)
    found: dict[tuple[str, int], Floats] = {}
    for i, s in enumerate(SEEDS):
        theta = truth(design, draws, s)[b]
        found["groups only", s] = percentile_hits(design, stars[i], theta)
        if s == 1:
            continue
        away = level_p[:, :s] - level_p[:, :s].mean(axis=1, keepdims=True)
        noise = seed_noise(s, n_resamples=RESAMPLES, seed=seed)
        moved = stars[i] + away @ noise.T / math.sqrt(s * (s - 1))
        found["groups + t seeds", s] = percentile_hits(design, moved, theta)
    return found


def percentile_hits(design: Design, stars: Floats, theta: Floats) -> Floats:
    """From resampled accuracies (levels, B): whether PGR is defined, and defined and covering theta (cells,)."""
    pairs = np.einsum("dr,crb->dcb", CONTRASTS, stars[design.index])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.nan_to_num(pairs[0] / pairs[1], posinf=1e9, neginf=-1e9)
    low, high = np.quantile(ratios, [0.025, 0.975], axis=1)
    defined = np.quantile(pairs[1], 0.025, axis=1) > 0
    return np.stack([defined, defined & (low <= theta) & (theta <= high)]).astype(np.float64)


def run_setting(design: Design, n: int, size: int, *, replicates: int, n_boot: int, seed: int) -> list[dict[str, Any]]:
    """All cells of one number of rows and group size: one record per cell and number of seeds."""
    rng = np.random.default_rng([seed, n, size])
    check_equal(rng, design, n, size)
    parts: dict[int, list[dict[str, Floats]]] = {s: [] for s in SEEDS}
    boots: list[dict[tuple[str, int], Floats]] = []
    for draws in itertools.islice(simulate(rng, design, n, size), math.ceil(replicates / CHUNK)):
        for s in SEEDS:
            theta = truth(design, draws, s)
            result = recommended(studies(draws, s, n, size), theta)
            if s > 1:
                result["mean of ratios"] = mean_of_ratios(draws.p[:, :, :s], theta)
            parts[s].append(result)
        for b in range(min(CHUNK, n_boot - len(boots))):
            boots.append(bootstraps(design, draws, b, size, seed=seed + len(boots)))
    records: list[dict[str, Any]] = []
    for s in SEEDS:
        columns = {name: np.concatenate([part[name] for part in parts[s]]) for name in parts[s][0]}
        rivals = {method: np.array([b[method, s] for b in boots]) for method, seeds in boots[0] if seeds == s}
        for c, cell in enumerate(design.cells):
            base = {"n": n, "group_size": size, "gap": cell.gap, "pgr": cell.pgr, "seeds": s}
            base["weak"] = round(float(design.p[cell.levels[0]]), 6)
            records.append(base | summary({k: v[:, c] for k, v in columns.items()}))
            records[-1]["rivals"] = {k: rates(v[:, :, c]) for k, v in rivals.items()}
    return records


def summary(columns: dict[str, Floats]) -> dict[str, Any]:
    """Rates of one cell from its studies (b,)."""
    defined = columns["defined"].astype(bool)
    n_defined = int(defined.sum())
    return {
        "replicates": len(defined),
        "p_defined": n_defined / len(defined),
        "p_defined_and_missed": float((defined & (columns["covered"] == 0)).mean()),
        "coverage_given_defined": float(columns["covered"].sum() / n_defined) if n_defined else None,
        "coverage": float(columns["accepted"].mean()),
        "median_width": float(np.median(columns["width"][defined])) if n_defined else None,
        "mean_of_ratios_coverage": float(columns["mean of ratios"].mean()) if "mean of ratios" in columns else None,
    }


def rates(hits: Floats) -> dict[str, float | None]:
    """P(defined) and coverage given defined of a bootstrap from (b, 2)."""
    defined, covered = hits.sum(axis=0).tolist()
    return {"p_defined": defined / len(hits), "coverage_given_defined": covered / defined if defined else None}


def judge(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The bar, per cell: one-sided, so that a run of true 5 % and 93 % cells fails with probability at most 1 %."""
    likely = [r for r in records if r["p_defined"] >= LIKELY]
    z = float(ndtri(1 - FAMILY_ERROR / (len(records) + len(likely))))

    def bound(p: float, n: float) -> float:
        return p + (z if p == MISSED else -z) * math.sqrt(p * (1 - p) / n)

    failures = [r for r in records if r["p_defined_and_missed"] > bound(MISSED, r["replicates"])]
    for r in likely:
        failures += [r] if r["coverage_given_defined"] < bound(COVERED, r["replicates"] * r["p_defined"]) else []
    return {
        "passed": not failures,
        "failures": failures,
        "missed_allowed": bound(MISSED, records[0]["replicates"]),
        "coverage_allowed": bound(COVERED, records[0]["replicates"]),
        "cells": len(records),
        "likely_cells": len(likely),
        "over_5_percent": sum(r["p_defined_and_missed"] > MISSED for r in records),
        "under_93_percent": sum(r["coverage_given_defined"] < COVERED for r in likely),
    }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The whole benchmark as one JSON object."""
    started, design = time.perf_counter(), make_design()
    settings = list(itertools.product((300, 1000) if args.quick else ROWS, SIZES))
    records: list[dict[str, Any]] = []
    for n, size in progress(settings):
        options = {"replicates": args.replicates, "n_boot": args.bootstraps, "seed": args.seed}
        records += run_setting(design, n, size, **options)
    cells = [r for r in records if r["gap"] > 0]
    return {
        "command": "OMP_NUM_THREADS=1 python benchmarks/coverage.py " + " ".join(sys.argv[1:]),
        "replicates": cells[0]["replicates"],
        "bootstrap_replicates": args.bootstraps,
        "resamples": RESAMPLES,
        "seed": args.seed,
        "seconds": round(time.perf_counter() - started, 1),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in ("numpy", "scipy")},
        "bar": judge(cells),
        "cells": cells,
        "no_gap": [r for r in records if r["gap"] == 0],
    }


def markdown(result: dict[str, Any]) -> Iterator[str]:
    """The summary tables, line by line."""
    bar, cells, made = result["bar"], result["cells"], result["versions"]
    yield f"# Coverage of PGR intervals, nominal 95 %: {'PASS' if bar['passed'] else 'FAIL'}\n"
    yield f"`{result['command']}`: {result['seconds']:.0f} s on one core; {', '.join(map(' '.join, made.items()))}.\n"
    yield f"{result['replicates']} studies per cell, {result['bootstrap_replicates']} of them bootstrapped."
    yield f"Allowed within noise: {bar['missed_allowed']:.4f} missed, {bar['coverage_allowed']:.4f} covered (if always"
    yield f"defined). Cells over 5 % missed: {bar['over_5_percent']} of {bar['cells']}; under 93 % covered where"
    yield f"P(defined) >= .5: {bar['under_93_percent']} of {bar['likely_cells']}.\n"
    yield "| seeds | n | interval | mean | lowest, given defined | highest P(defined and missed) | mean P(defined) |"
    yield "|---|---|---|---|---|---|---|"
    for s, n in itertools.product(SEEDS, sorted({r["n"] for r in cells})):
        mine = [r for r in cells if r["seeds"] == s and r["n"] == n]
        likely = [r for r in mine if r["p_defined"] >= LIKELY]
        missed = max(r["p_defined_and_missed"] for r in mine)
        numbers = [average(mine, "coverage"), min(r["coverage_given_defined"] for r in likely), missed]
        yield row(s, n, "**recommended**", *numbers, average(mine, "p_defined"))
        for method in mine[0]["rivals"]:
            own = [r["rivals"][method] for r in mine if r["rivals"][method]["p_defined"] >= LIKELY]
            lowest = min(r["coverage_given_defined"] for r in own)
            share = sum(r["rivals"][method]["p_defined"] for r in mine) / len(mine)
            yield row(s, n, f"bootstrap, {method}", average(own, "coverage_given_defined"), lowest, None, share)
        if s > 1:
            lowest = min(r["mean_of_ratios_coverage"] for r in likely)
            yield row(s, n, "mean of the seeds' PGRs", average(mine, "mean_of_ratios_coverage"), lowest, None, None)
    yield "\nMean: over 40 cells, defined or not; bootstraps: given defined, P(defined) >= .5. Lowest: such cells."
    yield "One seed covers these trained models, several the expected scores over seeds.\n"
    yield "| no true gap: seeds | mean P(called defined) | worst of 24 cells |\n|---|---|---|"
    for s in SEEDS:
        called = [r["p_defined"] for r in result["no_gap"] if r["seeds"] == s]
        yield f"| {s} | {sum(called) / len(called):.4f} | {max(called):.4f} |"


def row(s: int, n: int, name: str, *numbers: float | None) -> str:
    return f"| {s} | {n} | {name} | " + " | ".join("" if x is None else f"{x:.3f}" for x in numbers) + " |"


def average(records: Sequence[dict[str, Any]], name: str) -> float:
    return sum(r[name] for r in records) / len(records)


def progress(settings: Sequence[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    """The settings, with a progress bar on stderr where rich is installed."""
    try:
        from rich.console import Console
        from rich.progress import track
    except ImportError:
        return settings
    return track(settings, description="coverage", console=Console(stderr=True))


def main() -> int:
    """Run, write coverage.json and coverage.md, print the verdict."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", choices=("tables", "pools"), default="tables", help="pools: new pools of rows")
    parser.add_argument("--quick", action="store_true", help="n = 300 and 1000 only")
    parser.add_argument("--replicates", type=int, default=2000, help="studies per cell, rounded up to a multiple of 25")
    parser.add_argument("--bootstraps", type=int, default=200, help="studies per cell that are also bootstrapped")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args, rest = parser.parse_known_args()
    if args.only == "pools":
        import coverage_pools

        return coverage_pools.main([*rest, "--seed", str(args.seed), "--out", str(args.out)])
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    result = measure(args)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "coverage.json").write_text(json.dumps(result).replace("}, {", "},\n{") + "\n", encoding="utf-8")
    (args.out / "coverage.md").write_text("\n".join(markdown(result)) + "\n", encoding="utf-8")
    sys.stdout.write((args.out / "coverage.md").read_text("utf-8"))
    return 0 if result["bar"]["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
