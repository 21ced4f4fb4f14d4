"""Answers do not depend on the way: alone, with workers, on Ray, asked again, killed at random and resumed."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.resolve.plans import read_plan
from oversight.resolve.sweeps import load_campaign, load_pool, run_plan
from oversight.runs.graph import Graph
from oversight.runs.pools.pool import Pool, Status
from oversight.runs.store import DirectoryStore
from oversight.studies.sweep import Swept, run_sweep

PLAN = """
tasks = ["data.jsonl"]
supervisors = ["bow", "./tiny@0"]
students = ["./tiny@1", "./tiny"]
methods = [
  "naive", "hard", "confidence", "product", "topological_filter", "selective", "neighbour_smoothing",
  "oracle_early_stopping",
]
seeds = 2
[task."data.jsonl"]
tests = { hard = "hard.jsonl" }
"""
TUNED = """
tasks = ["data.jsonl"]
supervisors = ["bow"]
students = ["./tiny"]
methods = ["naive"]
seeds = 1
train = { supervisor = "probe", student = "full" }
[settings.student]
epochs = 60
batch_size = 16
seconds_between_checkpoints = 0.05
"""
Contents = Mapping[str, tuple[dict[str, bytes], Any]]


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory,
    planted_rows: Callable[..., list[dict[str, Any]]],
    write_lines: Callable[..., Path],
    save_tiny: Callable[..., Path],
) -> Path:
    """240 rows, 60 of a further test set, an encoder of two blocks and two plans."""
    path = tmp_path_factory.mktemp("grid")
    write_lines(path / "data.jsonl", planted_rows(240))
    write_lines(path / "hard.jsonl", planted_rows(60, seed=1))
    save_tiny(path / "tiny", "bert")
    (path / "plan.toml").write_text(PLAN)
    (path / "tuned.toml").write_text(TUNED)
    return path


@pytest.fixture(scope="module")
def alone(folder: Path) -> Swept:
    """The sweep in this process, undisturbed."""
    return run_plan(read_plan(folder / "plan.toml"), store=DirectoryStore(folder / "alone"))


def contents(store: DirectoryStore) -> Contents:
    """By key, the bytes of every file but the record, and what the outcome's own record says."""
    found: dict[str, tuple[dict[str, bytes], Any]] = {}
    for key in store.keys():  # noqa: SIM118
        files = {path.name: path.read_bytes() for path in store.folder(key).iterdir() if path.name != "record.json"}
        found[key] = files, store.about(key, check=True)["record"]
    return found


def printed(swept: Swept) -> Any:
    studies = [study.as_json() for study in swept.result.studies]
    return json.loads(json.dumps({"studies": studies, "unfinished": 0, "failed": {}}))


def keys_of(store: Path) -> set[str]:
    return {path.parent.name for path in store.glob("??/[!.]*/record.json")}


def test_the_sweep_covers_both_tests_every_method_and_all_pairs(alone: Swept) -> None:
    found = {(one.weak_model, one.strong_model, one.method, one.test) for one in alone.result.studies}
    assert len(found) == len(alone.result.studies) == 2 * 2 * 2 * len({one.method for one in alone.result.studies})
    assert (alone.unfinished, alone.summary.failed) == (0, {})


def test_asked_again_the_answer_is_the_same_and_no_file_is_touched(folder: Path, alone: Swept) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder / "alone").rglob("*") if path.is_file()}
    again = run_plan(read_plan(folder / "plan.toml"), store=DirectoryStore(folder / "alone"))
    assert printed(again) == printed(alone)
    assert again.summary.made == []
    assert {path: path.stat().st_mtime_ns for path in (folder / "alone").rglob("*") if path.is_file()} == before


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Torch and BLAS work on two threads."""
    import threadpoolctl
    import torch

    before = torch.get_num_threads()
    with threadpoolctl.threadpool_limits(2):
        torch.set_num_threads(2)
        yield
    torch.set_num_threads(before)


def test_with_two_threads_every_byte_is_that_of_one(
    folder: Path, alone: Swept, two_threads: None, tmp_path: Path
) -> None:
    """Features, labels, probes and scores; nothing here is fine-tuned."""
    found = run_plan(read_plan(folder / "plan.toml"), store=DirectoryStore(tmp_path / "store"))
    assert printed(found) == printed(alone)
    assert contents(DirectoryStore(tmp_path / "store")) == contents(DirectoryStore(folder / "alone"))


def command(folder: Path, executable: str, environment: dict[str, str], *words: str, store: Path) -> Any:
    """A sweep as a process of its own."""
    return subprocess.Popen(
        [executable, "sweep", "plan.toml", "--json", "--store", str(store), *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("words", [("--workers", "2"), ("--ray", "local")])
def test_two_workers_and_ray_give_the_bytes_of_one_process(
    folder: Path, alone: Swept, tmp_path: Path, words: tuple[str, str], executable: str, environment: dict[str, str]
) -> None:
    if "--ray" in words:
        pytest.importorskip("ray", reason="needs Ray")
    with command(folder, executable, environment, *words, store=tmp_path / "store") as running:
        out, err = running.communicate(timeout=300)
    assert running.returncode == 0, err
    assert json.loads(out) == printed(alone)
    assert contents(DirectoryStore(tmp_path / "store")) == contents(DirectoryStore(folder / "alone"))


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "kills"), [(1, 4), (2, 2)])
def test_killed_at_random_and_resumed_the_answer_is_the_same(
    folder: Path,
    alone: Swept,
    tmp_path: Path,
    workers: int,
    kills: int,
    executable: str,
    environment: dict[str, str],
) -> None:
    """Signal 9 each time a few more results are there.

    Results of whole groups have equal bytes; where a kill cut a group of probes that are solved together, the rest was
    solved in a smaller batch: 1e-6 in probability.
    """
    draw, store = random.Random(workers), tmp_path / "store"
    made_in: dict[str, int] = {}
    for i in range(kills):
        enough = len(keys_of(store)) + draw.randint(1, 10)
        with command(folder, executable, environment, "--workers", str(workers), store=store) as running:
            while len(keys_of(store)) < enough:
                assert running.poll() is None
                time.sleep(0.01)
            children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
            time.sleep(draw.uniform(0, 0.2))
            running.kill()
            while any(Path(f"/proc/{child}").exists() for child in children):
                time.sleep(0.05)
        made_in |= dict.fromkeys(keys_of(store) - made_in.keys(), i)
    with command(folder, executable, environment, "--workers", str(workers), store=store) as running:
        out, err = running.communicate(timeout=300)
    assert running.returncode == 0, err
    assert f"{len(made_in)} were there" in err
    made_in |= dict.fromkeys(keys_of(store) - made_in.keys(), kills)
    equal_up_to_cut_groups(alone.campaign.graph, made_in, folder / "alone", store)
    assert nearly(json.loads(out), printed(alone))


def equal_up_to_cut_groups(graph: Graph, made_in: Mapping[str, int], undisturbed: Path, killed: Path) -> None:
    one, two = contents(DirectoryStore(undisturbed)), contents(DirectoryStore(killed))
    assert one.keys() == two.keys() == made_in.keys()
    cut = {key for group in graph.groups if len({made_in[key] for key in group}) > 1 for key in group}
    touched = cut | graph.after(cut)
    for key in one:
        if key not in touched or graph.steps[key].kind in {"features", "rows"}:
            assert one[key] == two[key], graph.steps[key]
            continue
        arrays = [DirectoryStore(path).get(key) for path in (undisturbed, killed)]
        assert arrays[0] is not None and arrays[1] is not None
        for name, array in arrays[0].arrays.items():
            np.testing.assert_allclose(arrays[1].arrays[name], array, rtol=0, atol=1e-6)
        assert nearly(one[key][1], two[key][1])


def nearly(one: Any, two: Any) -> bool:
    """Equal JSON, but for numbers that agree to 1e-6."""
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(nearly(one[name], two[name]) for name in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(nearly, one, two))
    if isinstance(one, float) and isinstance(two, float):
        return abs(one - two) <= 1e-6 * max(1.0, abs(one))
    return one == two


@pytest.mark.slow
def test_a_fit_whose_worker_is_killed_goes_on_from_its_checkpoint_to_the_same_bytes(
    folder: Path, tmp_path: Path
) -> None:
    """Killed once both fits have a checkpoint; what is told of the killed one afterwards begins no earlier."""
    plan = read_plan(folder / "tuned.toml")
    stores = [DirectoryStore(tmp_path / name) for name in ("killed", "undisturbed")]
    pools: list[Any] = []
    told: list[int] = []
    steps: list[int] = []
    victims: list[str] = []

    def workers() -> Pool:
        pools.append((load_pool(plan, stores[0], workers=2) or pytest.fail("no workers"))())
        return pools[0]

    def watch(status: Status) -> None:
        fits = {name: one for name, one in status.workers.items() if "update" in one.note}
        if victims:
            told.extend(updated(one.note) for one in fits.values() if one.name == victims[0])
            return
        kept = {path.parent: int(path.name.removeprefix("at-")) for path in stores[0].path.glob("unfinished/*/at-*")}
        if len(fits) == 2 and len(kept) == 2:
            worker, working = next(iter(fits.items()))
            os.kill(pools[0].pids()[worker], signal.SIGKILL)
            steps.extend(kept.values())
            victims.append(working.name)

    campaign = load_campaign(plan)
    found = run_sweep(campaign, title="killed", store=stores[0], pool=workers, watch=watch)
    assert victims and (found.unfinished, found.summary.failed) == (0, {})
    assert told and min(told) >= min(steps) > 0
    assert not list(stores[0].path.glob("unfinished/*"))
    other = run_plan(plan, store=stores[1], workers=2)
    assert timeless(printed(found)) == timeless(printed(other))
    one, two = (
        {key: (files, timeless(record)) for key, (files, record) in contents(store).items()} for store in stores
    )
    assert one == two


def updated(note: str) -> int:
    """`tiny, seed 0: update 57/900, ...`"""
    found = re.search(r"update (\d+)/", note)
    assert found is not None
    return int(found[1])


def timeless(record: Any) -> Any:
    """How long a fit took is no part of what is compared."""
    if isinstance(record, dict):
        return {name: timeless(value) for name, value in record.items() if name != "seconds"}
    return [timeless(one) for one in record] if isinstance(record, list) else record
