"""`benchmarks/faults.py` in small: the claims of docs/reliability.md on a few kills, damages and disks."""

from __future__ import annotations

import importlib
import random
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from oversight.runs.store import DirectoryStore
from oversight.sealed import RECORD, load_json

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
NAMES = ("toy_hooks", "toy_graph", "toy_sweep", "fault_kills", "fault_damage", "fault_disk", "faults")

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the benchmark finds processes by /proc")


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The benchmark's modules, which import each other by their bare names."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    return {name: importlib.import_module(name) for name in NAMES}


@pytest.fixture
def toy(parts: dict[str, ModuleType], tmp_path: Path) -> Any:
    """A finished sweep of 12 steps."""
    made = parts["toy_sweep"].Toy(folder=tmp_path / "toy", steps=12, bytes=1 << 12)
    made.finish(workers=1)
    return made


@pytest.fixture
def expected(parts: dict[str, ModuleType], toy: Any) -> dict[str, Any]:
    """What it gave."""
    return parts["toy_sweep"].contents(DirectoryStore(toy.place))


def test_a_sweep_survives_kills_at_random_moments(parts: dict[str, ModuleType], tmp_path: Path) -> None:
    assert parts["fault_kills"].at_random(tmp_path, kills=5, steps=30, seed=0).startswith("5 kills")


@pytest.mark.parametrize("moment", ["half way write arrays", "after rename new folder", "after rename claim aside"])
def test_a_sweep_survives_a_kill_between_two_system_calls(
    parts: dict[str, ModuleType], tmp_path: Path, moment: str
) -> None:
    kills, sweep = parts["fault_kills"], parts["toy_sweep"]
    toy = sweep.Toy(folder=tmp_path / "killed", steps=12)
    calm = sweep.undisturbed(tmp_path / "calm", toy)
    found = kills.killed_at(toy, moment, 2, moment.startswith("half"), calm)
    assert len(found.began) == toy.steps


@pytest.mark.slow
def test_every_damage_is_found_named_and_made_good(parts: dict[str, ModuleType], tmp_path: Path) -> None:
    assert parts["fault_damage"].damages(tmp_path, n=10, seed=0, steps=20).startswith("10 of 10")


def test_every_single_bit_of_a_record_matters(toy: Any) -> None:
    store = DirectoryStore(toy.place)
    whole = (store.folder(next(store.keys())) / RECORD).read_bytes()
    for i in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[i // 8] ^= 1 << i % 8
        with pytest.raises((ValueError, KeyError, TypeError)):
            load_json(bytes(changed), RECORD)


@pytest.mark.slow
def test_a_full_and_a_read_only_disk_are_told_in_one_line(parts: dict[str, ModuleType], tmp_path: Path) -> None:
    assert "1 line, exit code 1" in parts["fault_disk"].disks(tmp_path / "disks", n=2, seed=0, real=False)


@pytest.mark.slow
def test_without_mounts_a_limit_on_files_takes_their_place(parts: dict[str, ModuleType], tmp_path: Path) -> None:
    assert "over a limit" in parts["fault_disk"].limited(tmp_path)


@pytest.mark.slow
def test_sweeps_on_one_store_share_the_work(parts: dict[str, ModuleType], tmp_path: Path) -> None:
    assert "each computed once" in parts["faults"].together(tmp_path, seed=0, steps=24)


@pytest.mark.slow
def test_a_sweep_on_ray_survives_the_death_of_workers(parts: dict[str, ModuleType], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    # Four: a step over which five workers died counts as failed, and on a slow machine all may meet one step.
    assert "workers killed" in parts["faults"].ray(tmp_path, seed=0, steps=60, most=4)


def test_a_step_computed_after_it_was_published_is_a_violation(
    parts: dict[str, ModuleType], toy: Any, expected: dict[str, Any]
) -> None:
    toy.judge(expected)
    key = next(iter(expected))
    parts["toy_hooks"].append(toy.document["journal"], f"began {key} 1 0")
    with pytest.raises(parts["toy_sweep"].Violation, match="computed again"):
        toy.judge(expected)


def test_a_lost_result_is_a_violation(parts: dict[str, ModuleType], toy: Any, expected: dict[str, Any]) -> None:
    shutil.rmtree(DirectoryStore(toy.place).folder(random.Random(0).choice(sorted(expected))))
    with pytest.raises(parts["toy_sweep"].Violation, match="differ"):
        toy.judge(expected)


def test_a_changed_array_is_a_violation(parts: dict[str, ModuleType], toy: Any, expected: dict[str, Any]) -> None:
    file = DirectoryStore(toy.place).folder(next(iter(expected))) / "arrays.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(parts["toy_sweep"].Violation, match="damaged"):
        toy.judge(expected)
