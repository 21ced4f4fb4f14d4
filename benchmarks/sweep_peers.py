"""Whole processes of the command line: a sweep, the sweep asked again, and the same grid one process per run."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oversight.runs.store import DirectoryStore

COMMAND = [sys.executable, "-m", "oversight"]
ONE_THREAD: dict[str, str] = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
NOTHING, FEATURES, TRAINED = "nothing", "features", "trained"
SHARED: dict[str, tuple[str, ...]] = {
    NOTHING: (),
    FEATURES: ("features",),
    TRAINED: ("supervise", "ceiling", "rows"),
}


@dataclass(frozen=True, kw_only=True)
class Took:
    """What one process took.

    Attributes:
        seconds: by the clock on the wall.
        cpu: of processors, its children included.
        answer: what it wrote.
    """

    seconds: float
    cpu: float
    answer: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """One cell of the grid, as the reference's scripts are called for it."""

    task: str
    weak: str
    strong: str
    method: str
    seed: int

    def arguments(self, store: Path) -> list[str]:
        """Of `oversight`."""
        seed = str(self.seed)
        what = ["w2s", self.task, "--weak", self.weak, "--strong", self.strong, "--method", self.method, "--json"]
        return [*what, "--seeds", "1", *seeds_fixed(seed), "--store", str(store)]


def seeds_fixed(seed: str) -> list[str]:
    """The flags that make one seed of a study the seed of that number."""
    return [part for name in ("split", "init", "order") for part in (f"--{name}-seed", seed)]


def take(arguments: Sequence[str], *, threads: bool = True) -> Took:
    """Run the command line in a process of its own.

    Args:
        arguments: of `oversight`.
        threads: whether libraries are held to one thread.
    """
    environment = {**os.environ, **(ONE_THREAD if threads else {}), "TOKENIZERS_PARALLELISM": "false"}
    began = time.perf_counter()
    before = os.times()
    done = subprocess.run([*COMMAND, *arguments], env=environment, capture_output=True, text=True)
    after = os.times()
    if done.returncode:
        raise SystemExit(f"oversight {' '.join(arguments)} failed:\n{done.stderr}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Took(seconds=time.perf_counter() - began, cpu=cpu, answer=done.stdout)


def grid(name: str) -> list[Run]:
    """All runs of a preset."""
    from oversight.resolve import plans

    plan = plans.preset(name)
    cells = [(task, cell) for task in plan.tasks for cell in plan.cells(task)]
    return [
        Run(task=task, weak=weak, strong=strong, method=method, seed=seed)
        for task, (weak, strong, method) in cells
        for seed in range(plan.seeds)
    ]


def drawn(runs: Sequence[Run], n: int) -> list[Run]:
    """A sample without replacement, always the same."""
    return random.Random(0).sample(list(runs), min(n, len(runs)))


@contextmanager
def store_with(kinds: Sequence[str], of: Path, at: Path) -> Generator[Path]:
    """A store that begins with the outcomes of these kinds from another one, linked; removed afterwards."""
    theirs = DirectoryStore(of)
    for key, record in theirs.records():
        if isinstance(record, dict) and record.get("kind") in kinds:
            folder = at / key[:2] / key
            shutil.copytree(theirs.folder(key), folder, copy_function=os.link)
    try:
        yield at
    finally:
        shutil.rmtree(at, ignore_errors=True)


def peer(run: Run, way: str, *, finished: Path, at: Path) -> dict[str, Any]:
    """One run in a process of its own, with what a way shares; how far its student is from the sweep's.

    Args:
        run: which.
        way: `nothing`, `features` or `trained`.
        finished: the store of the whole sweep.
        at: a place for its own store.
    """
    with store_with(SHARED[way], finished, at) as place:
        before = len(list(DirectoryStore(place).keys()))
        took = take(run.arguments(place))
        made = len(list(DirectoryStore(place).keys())) - before
        (key,) = json.loads(took.answer)["keys"]["student"]
        off = difference(DirectoryStore(place), DirectoryStore(finished), key)
    return {"seconds": took.seconds, "cpu": took.cpu, "made": made, "off": off}


def difference(one: DirectoryStore, other: DirectoryStore, key: str) -> float:
    """The largest difference between two stores' arrays of one key.

    Raises:
        SystemExit: one of them does not have it.
    """
    a, b = one.get(key), other.get(key)
    if a is None or b is None:
        raise SystemExit(f"{key}: not in both stores, so they did not run the same")
    return max(float(np.abs(a.arrays[name] - b.arrays[name]).max()) for name in a.arrays)


def seconds_by_kind(store: Path) -> dict[str, float]:
    """Seconds of all steps in a store, by kind."""
    found: dict[str, float] = {}
    for _, record in DirectoryStore(store).records():
        if isinstance(record, dict):
            found[record["kind"]] = found.get(record["kind"], 0.0) + float(record["seconds"])
    return found
