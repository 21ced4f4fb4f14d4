"""The coverage benchmark itself: it runs, and its verdict can be negative."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SOURCE = Path(__file__).parents[2] / "benchmarks" / "coverage.py"


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coverage_benchmark", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_one_setting_runs_and_equals_the_package(coverage: ModuleType) -> None:
    records = coverage.run_setting(coverage.make_design(), 300, 4, replicates=25, n_boot=2, seed=1)
    assert len(records) == 4 * 23
    clear = [r for r in records if r["gap"] == 0.3 and r["seeds"] == 5]
    assert all(r["p_defined"] == 1.0 and r["coverage_given_defined"] > 0.8 for r in clear)


def record(missed: float, covered: float) -> dict[str, Any]:
    return {"replicates": 1000, "p_defined": 1.0, "p_defined_and_missed": missed, "coverage_given_defined": covered}


@pytest.mark.parametrize(
    ("missed", "covered", "passed"), [(0.05, 0.95, True), (0.06, 0.94, True), (0.09, 0.95, False), (0.05, 0.88, False)]
)
def test_the_verdict_can_fail(coverage: ModuleType, missed: float, covered: float, passed: bool) -> None:
    verdict = coverage.judge([record(0.04, 0.96), record(missed, covered)])
    assert verdict["passed"] == passed
    assert len(verdict["failures"]) == (0 if passed else 1)
