"""The benchmarks of sweeps: graphs of the size they claim, simulated runs within the bounds of any schedule."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.runs.store import DirectoryStore, Outcome
from oversight.studies.sweep import own_steps

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def benchmark() -> Iterator[Any]:
    """benchmark(name): a module of the folder."""
    import importlib

    known = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module
    sys.path.remove(str(BENCHMARKS))
    for name in [one for one in sys.modules if one not in known and one.startswith(("scale", "sweep"))]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def small(benchmark: Any) -> Any:
    """The plan on two tasks and three networks."""
    paper = benchmark("scale_paper")
    tasks = [paper.stand_in_task(name, 160, 80) for name in ("boolq", "cola")]
    return paper.campaign(tasks, sizes=("0.5B", "1.8B", "4B"))


@pytest.fixture(scope="module")
def fits(benchmark: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    paper = benchmark("scale_paper")
    return paper.Fits(students=paper.networks(tmp_path_factory.mktemp("networks")))


def test_the_plan_has_as_many_steps_as_the_grid_has_cells(small: Any, benchmark: Any) -> None:
    tasks, sizes, seeds, methods = 2, 3, benchmark("scale_paper").SEEDS, 2
    pairs = sizes * (sizes + 1) // 2
    assert Counter(step.kind for step in small.graph.steps.values()) == {
        "supervise": tasks * sizes * seeds,
        "ceiling": tasks * sizes * seeds,
        "teach": tasks * pairs * methods * seeds,
        "score": tasks * pairs * methods,
        "rows": tasks,
    }


def test_a_study_alone_needs_a_supervisor_a_student_and_a_ceiling_per_seed(small: Any, benchmark: Any) -> None:
    found = Counter(step.kind for step in own_steps(small))
    studies, seeds = len(small.scored), benchmark("scale_paper").SEEDS
    assert found == dict.fromkeys(("supervise", "teach", "ceiling"), seeds * studies) | {
        "score": studies,
        "rows": studies,
    }


@settings(max_examples=25, deadline=None)
@given(workers=st.integers(1, 200), seed=st.integers(0, 2**32 - 1), known=st.booleans())
def test_a_simulated_run_keeps_the_bounds_of_list_scheduling(
    small: Any, benchmark: Any, workers: int, seed: int, known: bool
) -> None:
    scale = benchmark("scale")
    seconds = dict(
        zip(small.graph.steps, np.random.default_rng(seed).exponential(size=len(small.graph.steps)), strict=True)
    )
    work, (path, _) = sum(seconds.values()), scale.critical_path(small.graph, seconds)
    ran = scale.play(small.graph, seconds, workers, known=known)
    assert ran.busy == pytest.approx(work)
    assert max(work / workers, path) - 1e-9 <= ran.makespan <= work / workers + (1 - 1 / workers) * path + 1e-9


def test_with_a_worker_for_every_step_the_longest_chain_decides(small: Any, benchmark: Any) -> None:
    scale = benchmark("scale")
    seconds = {key: 1.0 + i % 7 for i, key in enumerate(small.graph.steps)}
    path, chain = scale.critical_path(small.graph, seconds)
    assert sum(seconds[step.key] for step in chain) == path
    assert scale.play(small.graph, seconds, len(seconds), known=True).makespan == pytest.approx(path)


def test_a_fit_takes_six_operations_per_parameter_and_token_and_two_more_where_it_reads_again(fits: Any) -> None:
    size = fits.size("0.5B", "cola", "student")
    matrices = 24 * (4 * 1024**2 + 3 * 1024 * 2816)
    tokens = round(0.45 * 5_000) * 12 * 2
    squares = 24 * 1024 * (12**2 + 12 * 48) / 2 * (tokens / 12)
    assert size.training_flops == pytest.approx(8 * matrices * tokens + 16 * squares, rel=1e-6)


def test_half_the_utilisation_takes_twice_the_time(fits: Any, benchmark: Any) -> None:
    paper = benchmark("scale_paper")
    full, half = (paper.Cost(fits=fits, utilisation=share, write_rate=1e9) for share in (0.4, 0.2))
    assert half.gpu_seconds("1.8B", "boolq", "student") == pytest.approx(
        2 * full.gpu_seconds("1.8B", "boolq", "student")
    )


def test_empty_steps_are_all_done_and_kept(benchmark: Any, tmp_path: Path) -> None:
    benchmark("sweep_steps").run_toy("inline", tmp_path / "store", n=12, length=4)
    assert len(list(DirectoryStore(tmp_path / "store").keys())) == 12


def test_the_sample_of_runs_is_the_same_every_time_and_holds_none_twice(benchmark: Any) -> None:
    peers = benchmark("sweep_peers")
    runs = peers.grid("probe-fast")
    assert len(set(runs)) == len(runs)
    assert peers.drawn(runs, 20) == peers.drawn(runs, 20)
    assert len(set(peers.drawn(runs, 20)) & set(runs)) == 20


def test_the_difference_of_two_stores_is_the_largest_of_their_numbers(benchmark: Any, tmp_path: Path) -> None:
    key, stores = "a" * 64, [DirectoryStore(tmp_path / name) for name in ("one", "other")]
    for store, value in zip(stores, (0.25, 0.75), strict=True):
        store.put(key, Outcome(arrays={"test.probs": np.array([[0.5, value]])}), about={"kind": "teach"})
    assert benchmark("sweep_peers").difference(*stores, key) == 0.5


def test_an_interval_of_a_mean_covers_as_often_as_it_says(benchmark: Any) -> None:
    draws = np.random.default_rng(0).normal(3.0, 2.0, (2000, 6))
    intervals = [benchmark("sweep").mean_interval(list(map(float, row))) for row in draws]
    assert np.mean([low <= 3.0 <= high for _, low, high in intervals]) == pytest.approx(0.95, abs=0.02)
