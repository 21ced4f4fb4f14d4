"""The comparison benchmark itself: its batched formulas are the package's, and its verdict can be negative."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from oversight.metrics.contrasts import combine, difference, unit
from oversight.metrics.intervals import Moments, Sample, linear_interval, moments

Floats = npt.NDArray[np.float64]
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SEED = 3


@pytest.fixture(scope="module")
def benchmark() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("coverage_compare", BENCHMARKS / "coverage_compare.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(BENCHMARKS))
    spec.loader.exec_module(module)
    sys.path.remove(str(BENCHMARKS))
    yield module
    del sys.modules[spec.name]


def drawn_rows(benchmark: ModuleType, tasks: int) -> list[tuple[Floats, npt.NDArray[np.int64]]]:
    """The answers (s, r, n) behind the first board with twins, task by task, and their groups."""
    rng, r, found = np.random.default_rng(SEED), 21, []
    kept: Any = None
    for k in range(tasks):
        n, size = benchmark.board_rows(k)
        if k % 2 == 0:
            z = benchmark.latents(rng, n, size, methods=r, like=0.5)
            kept = z, benchmark.seed_effects(rng, methods=r, like=0.5)
        z, effects = kept
        cut = benchmark.cuts(benchmark.task_truth(k, differ=True), np.full(r, 0.015), effects)
        found.append((benchmark.answers(z, cut).transpose(1, 0, 2).astype(np.float64), np.arange(n) // size))
    return found


@pytest.mark.parametrize(("s", "n_comparisons", "twins"), [(1, 20, True), (3, 190, True), (10, 1, False)])
def test_widths_of_boards_are_those_of_the_package(
    benchmark: ModuleType, s: int, n_comparisons: int, twins: bool
) -> None:
    families = [benchmark.twin_family(k) if twins else k for k in range(5)]
    board = benchmark.draw_boards(np.random.default_rng(SEED), twins=True, differ=(True,), count=1)[0]
    half = benchmark.half_widths(board, s, families, [1 - 0.025 / n_comparisons])[0]
    tasks = [moments(rows[:s], groups) for rows, groups in drawn_rows(benchmark, 5)]
    combined = combine(tasks, [str(one) for one in families])
    for i, j in ((1, 0), (0, 1), (7, 3)):
        found = difference(combined, unit(21, i, j), n_comparisons=n_comparisons)
        assert half[0, i, j] == pytest.approx((found.high - found.low) / 2, rel=1e-9)


@pytest.mark.parametrize("s", [1, 3, 10])
def test_widths_of_pairs_are_those_of_the_package(benchmark: ModuleType, s: int) -> None:
    drawn = benchmark.draw_pairs(np.random.default_rng(SEED), 300, 4, like=0.5)
    again = np.random.default_rng(SEED)
    z, effects = (
        benchmark.latents(again, 300, 4, methods=2, like=0.5),
        benchmark.seed_effects(again, methods=2, like=0.5),
    )
    width = benchmark.single_hits(drawn, s, Sample(300, 75, s))["width"][0]
    for c in (0, 5, 17):
        cell = benchmark.CELLS[c]
        accuracy = np.array([cell.accuracy, cell.accuracy + cell.difference])
        right = benchmark.answers(z, benchmark.cuts(accuracy, np.full(2, cell.seed_sd), effects))
        m: Moments = moments(right[:, :s].transpose(1, 0, 2).astype(np.float64), np.arange(300) // 4)
        found = linear_interval(replace(m, pairs=None), (-1, 1))  # without what few discordant groups add
        assert width[c] == pytest.approx(found.high - found.low, rel=1e-9)
        assert drawn.p[0, c, :s].mean() == pytest.approx(found.value, rel=1e-9, abs=1e-12)


def test_expected_accuracies_are_the_means_of_the_rows(benchmark: ModuleType) -> None:
    """200,000 rows: six standard errors of one seed, 6 sqrt(.25 / 2e5)."""
    rng, accuracy = np.random.default_rng(0), np.array([0.62, 0.9])
    z, effects = benchmark.latents(rng, 200_000, 1, methods=2, like=0.9), np.zeros((2, 10))
    right = benchmark.answers(z, benchmark.cuts(accuracy, np.zeros(2), effects))
    assert right.mean(axis=2) == pytest.approx(np.repeat(accuracy[:, None], 10, axis=1), abs=0.0068)


def test_a_board_of_twins_runs(benchmark: ModuleType) -> None:
    records = benchmark.merged([benchmark.run_boards(True, part, boards=2, seed=SEED) for part in range(2)])
    assert len(records) == 2 * 3 * 2 * 4
    for record, name in itertools.product(records, ("single", "against_reference", "pairs", "ranks", "false_better")):
        assert 0 <= record[name] <= 1
    assert {r["families"] for r in records} == {1, 3, 10}
    assert {r["replicates"] for r in records} == {4}
    assert sum(r["single"] for r in records) / len(records) > 0.8


def pair(coverage: float) -> dict[str, Any]:
    return {"replicates": 2000, "coverage": coverage}


def board(single: float, together: float) -> dict[str, Any]:
    return {"replicates": 1000, "single": single} | dict.fromkeys(("against_reference", "pairs", "ranks"), together)


@pytest.mark.parametrize(
    ("pairs", "boards", "failures"),
    [
        ([pair(0.95), pair(0.93)], [board(0.95, 0.96)], 0),
        ([pair(0.95), pair(0.90)], [board(0.95, 0.96)], 1),
        ([pair(0.95)], [board(0.95, 0.96), board(0.90, 0.94)], 1),
        ([pair(0.95)], [board(0.95, 0.90)], 3),
    ],
)
def test_the_verdict_can_fail(
    benchmark: ModuleType, pairs: list[dict[str, Any]], boards: list[dict[str, Any]], failures: int
) -> None:
    verdict = benchmark.judge(pairs, boards)
    assert len(verdict["failures"]) == failures
    assert verdict["passed"] == (failures == 0)
