"""Coverage of the leaderboard's intervals on simulated comparisons: the benchmark behind docs/statistics.md.

    OMP_NUM_THREADS=1 python benchmarks/coverage_compare.py [--replicates N] [--boards N] [--workers W] [--quick]

Two methods on one task: accuracy x difference x likeness x seed spread x rows x group size, each with 1, 3, 5 and 10
seeds. Boards: 5 or 20 methods and a reference on 2, 5 and 15 tasks, all of their own or partly twins that share every
row and seed. Exits 1 if the bar is missed: coverage of a single interval >= .935, of all intervals of a board together
>= .95 (against the reference, over all pairs, of ranks), in every cell, within simulation noise.
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
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from comparison_model import (
    BOARD_LIKENESS,
    BOARD_SEED_SD,
    MOST_METHODS,
    MOST_SEEDS,
    Floats,
    Halves,
    Rights,
    answers,
    board_rows,
    cuts,
    group_sums,
    latents,
    seed_effects,
    task_truth,
    twin_family,
)
from scipy.special import ndtr, ndtri, stdtrit

from oversight.metrics.intervals import Sample, moments_from_covariance, squared_widths

SEEDS = (1, 3, 5, 10)
ACCURACIES = (0.60, 0.75, 0.90)
DIFFERENCES = (0.0, 0.01, 0.03)
SEED_SDS = (0.005, 0.015)
LIKENESS = (0.5, 0.9)
ROWS = (300, 1000, 3000, 10_000)
SIZES = (1, 4)
METHODS = (5, 20)
TASKS = (2, 5, 15)
CHUNK = 25
SINGLE, TOGETHER = 0.935, 0.95
FAMILY_ERROR = 0.01
UPPER = 0.975


class Cell(NamedTuple):
    """Two methods: the accuracy of the first, by how much the second is better, and the sd of both over seeds."""

    accuracy: float
    difference: float
    seed_sd: float


CELLS = tuple(Cell(*one) for one in itertools.product(ACCURACIES, DIFFERENCES, SEED_SDS))


class Pairs(NamedTuple):
    """Differences of two methods in simulated studies, for every cell."""

    p: Floats  # (b, cells, MOST_SEEDS) measured
    covariance: Floats  # (b, cells, MOST_SEEDS, MOST_SEEDS) of group sums
    expected: Floats  # (b, cells, MOST_SEEDS) of these trained models


def draw_pairs(rng: np.random.Generator, n: int, size: int, *, like: float) -> Pairs:
    """A chunk of studies; sums of products are of small whole numbers, so float32 is exact."""
    g, accuracy = n // size, np.array([[c.accuracy, c.accuracy + c.difference] for c in CELLS])
    sd = np.array([c.seed_sd for c in CELLS])
    p, covariance, expected = [], [], []
    for _ in range(CHUNK):
        z, effects = latents(rng, n, size, methods=2, like=like), seed_effects(rng, methods=2, like=like)
        cut = [cuts(accuracy[:, i], sd, effects[None, i]) for i in range(2)]
        sums = [group_sums(answers(z[i], cut[i]), size) for i in range(2)]
        away = sums[1] - sums[0]
        mean = away.sum(axis=-1, dtype=np.float64) / n
        gram = (away @ away.transpose(0, 2, 1)).astype(np.float64) / n**2
        covariance.append(gram - mean[:, :, None] * mean[:, None, :] / g)
        p.append(mean)
        expected.append(ndtr(cut[1]) - ndtr(cut[0]))
    return Pairs(np.array(p), np.array(covariance), np.array(expected))


def run_pairs(n: int, size: int, like: float, *, replicates: int, seed: int) -> list[dict[str, Any]]:
    """All cells of one number of rows, group size and likeness: one record per cell and number of seeds."""
    rng = np.random.default_rng([seed, n, size, round(10 * like)])
    parts: dict[int, list[dict[str, Floats]]] = {s: [] for s in SEEDS}
    for _ in range(math.ceil(replicates / CHUNK)):
        drawn = draw_pairs(rng, n, size, like=like)
        for s in SEEDS:
            parts[s].append(single_hits(drawn, s, Sample(n, n // size, s)))
    records: list[dict[str, Any]] = []
    for s, c in itertools.product(SEEDS, range(len(CELLS))):
        rates = {name: float(np.concatenate([one[name][:, c] for one in parts[s]]).mean()) for name in parts[s][0]}
        base = {"n": n, "group_size": size, "likeness": like, "seeds": s} | CELLS[c]._asdict()
        records.append(base | {"replicates": len(parts[s]) * CHUNK} | rates)
    return records


def single_hits(drawn: Pairs, s: int, sample: Sample) -> dict[str, Floats]:
    """Whether intervals cover (b, cells): the package's, and two in common use, of rows alone and of seeds alone."""
    m = moments_from_covariance(drawn.p[:, :, :s, None], drawn.covariance[:, :, :s, None, :s, None], sample)
    value, widths = m.p[..., 0], squared_widths(m)[..., 0, 0]
    truth = np.array([c.difference for c in CELLS]) if s > 1 else drawn.expected[:, :, 0]
    half, away = np.sqrt(widths.max(axis=-1)), np.abs(value - truth)
    better, covered = value > half, away <= half
    found = {"coverage": covered, "better": better, "better_and_covered": better & covered}
    found["rows_only"] = away <= np.sqrt(widths[..., 0])
    if s > 1:
        found["seeds_only"] = away <= stdtrit(s - 1, UPPER) * np.sqrt(m.V_seed[..., 0, 0])
    return {name: one.astype(np.float64) for name, one in found.items()} | {"width": 2 * half}


class Board(NamedTuple):
    """Simulated boards of one truth: r = reference and methods, on K tasks."""

    p: dict[int, Floats]  # by seeds: (b, K, r)
    v: dict[int, Floats]  # by seeds: (b, K, 3, r, r): of V_rows, V_int, V_seed the differences of two roles
    expected: Floats  # (b, K, r) accuracy of the first seed's models
    truth: Floats  # (K, r) accuracy of the recipes


def draw_boards(rng: np.random.Generator, *, twins: bool, differ: Sequence[bool], count: int) -> list[Board]:
    """Boards of every truth on the same draws; a twin takes over the rows and seed effects of the task before."""
    r, tasks = 1 + MOST_METHODS, max(TASKS)
    truths = [np.stack([task_truth(k, differ=one) for k in range(tasks)]) for one in differ]
    p = [{s: np.empty((count, tasks, r)) for s in SEEDS} for _ in differ]
    v = [{s: np.empty((count, tasks, 3, r, r)) for s in SEEDS} for _ in differ]
    expected = [np.empty((count, tasks, r)) for _ in differ]
    kept: tuple[Halves, Floats] | None = None
    for b, k in itertools.product(range(count), range(tasks)):
        n, size = board_rows(k)
        if kept is None or not (twins and k > 0 and twin_family(k) == twin_family(k - 1)):
            z = latents(rng, n, size, methods=r, like=BOARD_LIKENESS)
            kept = z, seed_effects(rng, methods=r, like=BOARD_LIKENESS)
        z, effects = kept
        for i, truth in enumerate(truths):
            cut = cuts(truth[k], np.full(r, BOARD_SEED_SD), effects)
            expected[i][b, k] = ndtr(cut[:, 0])
            for s, found in board_moments(answers(z, cut), size).items():
                p[i][s][b, k] = found[0]
                v[i][s][b, k] = found[1]
    return [Board(*one) for one in zip(p, v, expected, truths, strict=True)]


def board_moments(right: Rights, size: int) -> dict[int, tuple[Floats, Floats]]:
    """By seeds: means (r,), and variances (3, r, r) of the differences of two roles."""
    r, n = right.shape[0], right.shape[2]
    flat = group_sums(right, size).transpose(1, 0, 2).reshape(MOST_SEEDS * r, -1)
    mean = flat.sum(axis=1, dtype=np.float64) / n
    gram = (flat @ flat.T).astype(np.float64) / n**2 - np.outer(mean, mean) / flat.shape[1]
    covariance, p = gram.reshape(MOST_SEEDS, r, MOST_SEEDS, r), mean.reshape(MOST_SEEDS, r)
    found: dict[int, tuple[Floats, Floats]] = {}
    for s in SEEDS:
        m = moments_from_covariance(p[:s], covariance[:s, :, :s], Sample(n, n // size, s))
        found[s] = m.p, np.stack([between(one) for one in (m.V_rows, m.V_int, m.V_seed)])
    return found


def between(v: Floats) -> Floats:
    """Variances of the differences of two roles (r, r) from a covariance matrix."""
    own = np.diag(v)
    return own[:, None] + own[None, :] - 2 * v


def half_widths(board: Board, s: int, families: Sequence[int], uppers: Sequence[float]) -> list[Floats]:
    """Half widths (b, r, r) of all differences of two roles on the first tasks, for every quantile in `uppers`."""
    names = sorted(set(families))
    size = np.array([families.count(one) for one in families])
    share = (1 / (len(names) ** 2 * size))[:, None, None, None]
    parts = board.v[s][:, : len(families)] * share
    by_family = np.stack([parts[:, [one == name for one in families]].sum(axis=1) for name in names], axis=1)
    groups = [board_rows(k)[0] // board_rows(k)[1] for k in range(len(families))]
    row_df = np.array([min(g for g, one in zip(groups, families, strict=True) if one == name) for name in names]) - 1
    rows, within, seeds = by_family.sum(axis=1).transpose(1, 0, 2, 3)
    row_nu = whole_df(by_family[:, :, 0], row_df)
    seed_nu = whole_df(by_family[:, :, 2], np.full(len(names), s - 1)) if s > 1 else None
    found: list[Floats] = []
    for upper in uppers:
        table = quantiles(upper)
        q_rows = table[row_nu] ** 2
        squared = q_rows * rows
        if seed_nu is not None:
            squared = np.maximum(squared, q_rows * (rows - within) + table[seed_nu] ** 2 * seeds)
        found.append(np.sqrt(np.maximum(squared, 0)))
    return found


@cache
def quantiles(upper: float) -> Floats:
    """Quantiles of t by its degrees of freedom, 0 to those of the largest board."""
    most = sum(board_rows(k)[0] for k in range(max(TASKS)))
    return np.concatenate([[np.nan], stdtrit(np.arange(1, most), upper)])


def whole_df(v: Floats, df: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Satterthwaite's degrees of freedom (b, r, r), rounded down, from family variances (b, F, r, r)."""
    total, squares = v.sum(axis=1), (v**2 / df[:, None, None]).sum(axis=1)
    some = squares > 0
    nu = np.where(some, total**2 / np.where(some, squares, 1), df.sum())
    return np.maximum(1, np.floor(nu + 1e-9)).astype(np.int64)


def board_hits(board: Board, s: int, families: Sequence[int], methods: int) -> dict[str, Floats]:
    """What the intervals of boards do (b,), for the reference and the first methods."""
    r, tasks = methods + 1, len(families)
    size = np.array([families.count(one) for one in families])
    weight = 1 / (len(set(families)) * size)
    value = weight @ board.p[s][:, :tasks, :r]
    true = weight @ (np.broadcast_to(board.truth, board.expected.shape) if s > 1 else board.expected)[:, :tasks, :r]
    value, true = (one[:, :, None] - one[:, None, :] for one in (value, true))
    n_pairs = r * methods // 2
    uppers = [1 - (1 - UPPER) / n for n in (1, methods, n_pairs)]
    alone, simultaneous, pairs = (one[:, :r, :r] for one in half_widths(board, s, families, uppers))
    gain, true_gain = value[:, 1:, 0], true[:, 1:, 0]
    covered = np.abs(gain - true_gain) <= alone[:, 1:, 0]
    better, better_alone = gain > simultaneous[:, 1:, 0], gain > alone[:, 1:, 0]
    shown, tied = value > pairs, np.abs(true) < 1e-12
    low, high = 1 + shown.sum(axis=1), r - shown.sum(axis=2)
    first, last = 1 + ((true > 0) & ~tied).sum(axis=1), r - ((true > 0) & ~tied).sum(axis=2)
    positive = (true_gain > 1e-12).sum(axis=1)
    found: dict[str, Any] = {
        "single": covered.mean(axis=1),
        "against_reference": (np.abs(gain - true_gain) <= simultaneous[:, 1:, 0]).all(axis=1),
        "pairs": (np.abs(value - true) <= pairs + 1e-15).all(axis=(1, 2)),
        "ranks": ((low <= first) & (last <= high)).all(axis=1),
        "false_better": (better & (true_gain < 1e-12)).any(axis=1),
        "false_better_alone": (better_alone & (true_gain < 1e-12)).any(axis=1),
        "shown_better": (better & (true_gain > 1e-12)).sum(axis=1) / np.maximum(positive, 1),
        "half_width": simultaneous[:, 1:, 0].mean(axis=1),
    }
    return {name: one.astype(np.float64) for name, one in found.items()}


def run_boards(twins: bool, part: int, *, boards: int, seed: int) -> list[dict[str, Any]]:
    """Sums over one part of the boards: one record per truth, tasks, methods and seeds."""
    rng, records = np.random.default_rng([seed, 7, int(twins), part]), []
    for differ, board in zip(
        (False, True), draw_boards(rng, twins=twins, differ=(False, True), count=boards), strict=True
    ):
        for tasks, methods, s in itertools.product(TASKS, METHODS, SEEDS):
            base = {"twins": twins, "differ": differ, "tasks": tasks, "methods": methods, "seeds": s}
            families = [twin_family(k) if twins else k for k in range(tasks)]
            hits = board_hits(board, s, families, methods)
            if twins:
                apart = board_hits(board, s, list(range(tasks)), methods)
                hits |= {f"{name}_if_apart": apart[name] for name in ("single", "against_reference", "false_better")}
            sums = {name: float(one.sum()) for name, one in hits.items()}
            records.append(base | {"families": len(set(families)), "replicates": boards, "sums": sums})
    return records


def merged(parts: Iterable[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Rates from the sums of all parts."""
    totals: dict[str, dict[str, Any]] = {}
    for record in itertools.chain.from_iterable(parts):
        base = {name: one for name, one in record.items() if name not in ("replicates", "sums")}
        into = totals.setdefault(json.dumps(base), base | {"replicates": 0, "sums": {}})
        into["replicates"] += record["replicates"]
        into["sums"] = {name: into["sums"].get(name, 0.0) + one for name, one in record["sums"].items()}
    return [
        {name: one for name, one in total.items() if name != "sums"}
        | {name: one / total["replicates"] for name, one in total["sums"].items()}
        for total in totals.values()
    ]


def judge(pairs: Sequence[dict[str, Any]], boards: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The bar, per cell and one-sided, so that a run of cells exactly at it fails with probability at most 1 %."""
    found = [(r["coverage"], SINGLE, r["replicates"], r, "coverage") for r in pairs]
    for r, name in itertools.product(boards, ("single", "against_reference", "pairs", "ranks")):
        found.append((r[name], SINGLE if name == "single" else TOGETHER, r["replicates"], r, name))
    z = float(ndtri(1 - FAMILY_ERROR / len(found)))
    failures = [
        {"missed": name, **record}
        for rate, bar, n, record, name in found
        if rate < bar - z * math.sqrt(bar * (1 - bar) / n)
    ]
    under = [name for rate, bar, _, _, name in found if rate < bar]
    return {"passed": not failures, "failures": failures, "judged": len(found), "below_the_bar": len(under)}


def lowest(records: Iterable[dict[str, Any]], name: str) -> float:
    return min(r[name] for r in records)


def average(records: Sequence[dict[str, Any]], name: str) -> float:
    return sum(r[name] for r in records) / len(records)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The whole benchmark as one JSON object."""
    started = time.perf_counter()
    rows = (300, 1000) if args.quick else ROWS
    settings = sorted(itertools.product(rows, SIZES, LIKENESS), reverse=True)
    parts = list(itertools.product((False, True), range(math.ceil(args.boards / CHUNK))))
    with ProcessPoolExecutor(args.workers) as pool:
        singles = [pool.submit(run_pairs, *one, replicates=args.replicates, seed=args.seed) for one in settings]
        boards = [pool.submit(run_boards, *one, boards=CHUNK, seed=args.seed) for one in parts]
        pairs = [record for one in singles for record in one.result()]
        found = merged(one.result() for one in boards)
    return {
        "command": "OMP_NUM_THREADS=1 python benchmarks/coverage_compare.py " + " ".join(sys.argv[1:]),
        "seed": args.seed,
        "seconds": round(time.perf_counter() - started, 1),
        "workers": args.workers,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in ("numpy", "scipy")},
        "bar": judge(pairs, found),
        "pairs": pairs,
        "boards": found,
    }


def markdown(result: dict[str, Any]) -> Iterator[str]:
    """The summary tables, line by line."""
    bar, pairs, boards = result["bar"], result["pairs"], result["boards"]
    yield f"# Coverage of differences between methods, nominal 95 %: {'PASS' if bar['passed'] else 'FAIL'}\n"
    yield f"`{result['command']}`: {result['seconds']:.0f} s on {result['workers']} cores;"
    yield f"{', '.join(map(' '.join, result['versions'].items()))}. {bar['judged']} rates judged against {SINGLE} (one"
    yield f"interval) or {TOGETHER} (all together): {bar['below_the_bar']} below, {len(bar['failures'])} beyond noise\n"
    yield from pair_table(pairs)
    yield from board_table(boards)


def pair_table(pairs: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield f"## Two methods on one task: {len(pairs)} cells, {pairs[0]['replicates']} studies each\n"
    names = ("seeds", "n", "mean", "lowest cell", "equal: called better", "worst cell", "rows alone, lowest")
    yield f"| {' | '.join(names)} | seeds alone, lowest | mean width |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for s, n in itertools.product(SEEDS, sorted({r["n"] for r in pairs})):
        mine = [r for r in pairs if (r["seeds"], r["n"]) == (s, n)]
        equal = [r for r in mine if r["difference"] == 0 and s > 1]
        called = [average(equal, "better"), max(r["better"] for r in equal)] if equal else [None, None]
        rivals = [lowest(mine, "rows_only"), lowest(mine, "seeds_only") if s > 1 else None]
        yield row(s, n, average(mine, "coverage"), lowest(mine, "coverage"), *called, *rivals, average(mine, "width"))


def board_table(boards: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield f"\n## Boards: a reference and more methods, {boards[0]['replicates']} boards per cell\n"
    names = ("single", "against_reference", "pairs", "ranks", "false_better", "false_better_alone", "shown_better")
    apart = ("single_if_apart", "against_reference_if_apart")
    keys = ("twins", "differ", "tasks", "families", "methods", "seeds")
    yield f"| {' | '.join((*keys, *names, 'half_width', *apart)).replace('_', ' ')} |"
    yield "|" + "---|" * (len(keys) + len(names) + 1 + len(apart))
    for r in boards:
        shown = ["yes" if r[key] is True else "no" if r[key] is False else r[key] for key in keys]
        yield row(*shown, *(r[name] for name in (*names, "half_width")), *(r.get(name) for name in apart))


def row(*cells: Any) -> str:
    return "| " + " | ".join(f"{x:.3f}" if isinstance(x, float) else "" if x is None else str(x) for x in cells) + " |"


def main() -> int:
    """Run, write coverage_compare.json and .md, print the verdict."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two methods: n = 300 and 1000 only")
    parser.add_argument("--replicates", type=int, default=2000, help="studies of two methods, in steps of 25")
    parser.add_argument("--boards", type=int, default=1000, help="boards, in steps of 25")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    result = run(args)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "coverage_compare.json").write_text(json.dumps(result).replace("}, {", "},\n{") + "\n", "utf-8")
    (args.out / "coverage_compare.md").write_text("\n".join(markdown(result)) + "\n", "utf-8")
    sys.stdout.write((args.out / "coverage_compare.md").read_text("utf-8"))
    return 0 if result["bar"]["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
