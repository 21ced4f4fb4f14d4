"""The benchmark of probes: its objective is the package's, its contenders solve it, its bound holds."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.models.solver import Design
from oversight.models.student import cross_entropy

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def benchmark() -> Iterator[Any]:
    """benchmark(name): a module of the folder."""
    import importlib

    known = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module
    sys.path.remove(str(BENCHMARKS))
    for name in [one for one in sys.modules if one not in known and one.startswith("probe")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def case(benchmark: Any) -> Any:
    return benchmark("probe_contenders").synthetic(150, 12, n_labels=3, n_problems=15)


def lines(case: Any) -> list[Any]:
    solution = Design(case.x).solve(case.targets, case.penalties)
    return [case.line(*one) for one in zip(solution.coefficients, solution.intercepts, strict=True)]


def test_every_label_meets_every_penalty(case: Any) -> None:
    pairs = {(case.target(i).tobytes(), case.penalty(i)) for i in range(15)}
    assert len(pairs) == 15
    np.testing.assert_array_equal([one[:, 1] for one in case.targets], [case.target(i) for i in range(15)])


def test_the_objective_is_that_of_the_package(case: Any) -> None:
    """Two columns -w/2 and w/2 on standardised rows."""
    import torch

    rng = np.random.default_rng(0)
    w, b = rng.normal(size=12), 0.3
    scores = case.z @ w + b
    logits = torch.from_numpy(np.stack([-scores / 2, scores / 2], 1))
    both = np.stack([-w / 2, w / 2])
    expected = float(cross_entropy(logits, torch.from_numpy(case.targets[1]))) + case.penalty(1) / 2 * (both**2).sum()
    assert case.objective(1, (w, b)) == pytest.approx(expected, rel=1e-12)


def test_a_solution_is_the_same_line_on_standardised_rows(case: Any) -> None:
    solution = Design(case.x).solve(case.targets[:2], case.penalties[:2])
    line = case.line(solution.coefficients[1], solution.intercepts[1])
    np.testing.assert_allclose(case.probs(line), solution.probs(case.x)[1, :, 1], atol=1e-12)


def test_the_bound_is_above_the_gap(case: Any) -> None:
    """Away from the minimum: at least the true gap, up to the intercept that the bound puts right."""
    rng = np.random.default_rng(0)
    for i, line in enumerate(lines(case)[:5]):
        assert case.gap_bound(i, line) < 1e-10
        for size in (1e-3, 1e-2):
            away = (line[0] + size * rng.normal(size=12), line[1])
            assert case.gap_bound(i, away) >= case.objective(i, away) - case.objective(i, line)


def test_every_contender_solves_the_same_problem(case: Any, benchmark: Any) -> None:
    found = lines(case)
    fits = benchmark("probe_contenders").contenders(None, d=12)
    assert len(fits) == 4
    for fit in fits.values():
        for i in (0, 1, 2):
            line = fit(case, i)
            assert case.objective(i, line) - case.objective(i, found[i]) < 3e-6
            np.testing.assert_allclose(case.probs(line), case.probs(found[i]), atol=5e-3)


def test_the_best_is_the_fastest_that_is_precise(benchmark: Any) -> None:
    probes = benchmark("probes")
    peers = {
        "quick but wrong": probes.Peer(seconds=[[0.1] * 5], gaps=[1e-3] * 5, differences=[0.1] * 5),
        "good": probes.Peer(seconds=[[2.0] * 5, [4.0] * 5], gaps=[1e-9] * 10, differences=[1e-6] * 10),
        "slow": probes.Peer(seconds=[[9.0], []], gaps=[1e-9], differences=[1e-6]),
    }
    found = probes.Measured(ours=[10.0, 40.0], peers=peers)
    assert found.best() == "good"
    assert found.ratios("good", 100) == [20.0, 10.0]
    assert found.ratios("slow", 100) == [90.0]
    assert probes.verdict(384, 1, [9.9, 12.0]).endswith("aim x10: **missed**.")
    assert probes.verdict(4096, 2, [5.0]).endswith("aim x5: reached.")


def test_the_whole_run_on_tiny_shapes(benchmark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probes = benchmark("probes")
    probes.main(["--quick", "--rounds", "1", "--out", str(tmp_path / "probes")])
    record = json.loads((tmp_path / "probes.json").read_text())
    assert [one["shape"] for one in record["cases"]] == list(probes.QUICK)
    for one in record["cases"]:
        assert one["alone"] < 1e-5
        assert one["bound"] < 1e-9
        assert all(min(peer["gaps"]) > -1e-9 for peer in one["peers"].values())
    assert record["paths"][probes.QUICK[0]]["off"] < 1e-5
    assert (tmp_path / "probes.md").read_text() in capsys.readouterr().out
