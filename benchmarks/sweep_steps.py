"""Graphs of steps that do nothing, or a known amount of work, and what a pool of workers takes for them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from oversight.runs.claims import Claims
from oversight.runs.drive import Drive
from oversight.runs.estimates import Estimates
from oversight.runs.graph import Graph
from oversight.runs.pools.pool import Blueprint, Order, Pool, Reported
from oversight.runs.steps import Kind, Progress, Step
from oversight.runs.store import DirectoryStore, MemoryStore, Outcome, Store

BUILDER = "sweep_steps:build"
Way = Literal["memory", "ram disk", "inline", "processes", "ray"]
IN_MEMORY: Way = "memory"
ON_RAM_DISK: Way = "ram disk"
INLINE: Way = "inline"
PROCESSES: Way = "processes"
RAY: Way = "ray"
NUMBERS = 1 << 15


def build(document: Mapping[str, Any]) -> Graph:
    """`n` steps in chains of `length`; each sorts and takes sines `loops` times, then gives eight numbers."""
    n, length, loops = (int(document[name]) for name in ("n", "length", "loops"))

    def run(steps: Any, inputs: Any, env: Any, tick: Any) -> list[Outcome]:
        del inputs, env, tick
        for _ in steps:
            spin(loops)
        return [Outcome(arrays={"numbers": np.arange(8.0)}, record={"i": step.config["i"]}) for step in steps]

    made: list[Step] = []
    for i in range(n):
        inputs = (made[i - 1],) if i % length else ()
        made.append(Step(kind="toy", version=1, config={"i": i, "loops": loops}, inputs=inputs, name=f"step {i}"))
    return Graph(goals=tuple(made), kinds={"toy": Kind(run)}, env_of=lambda step: None)


def spin(loops: int) -> float:
    """Single-threaded work of numpy: no matrix product, so no library starts threads."""
    if not loops:
        return 0.0
    numbers = np.random.default_rng(0).standard_normal(NUMBERS)
    for _ in range(loops):
        numbers = np.sin(np.sort(numbers)[::-1]) + 1e-3
    return float(numbers[0])


def loops_for(seconds: float) -> int:
    """How many rounds of `spin` take so much time of the processor."""
    began, rounds = time.thread_time(), 20
    spin(rounds)
    return max(1, round(rounds * seconds / (time.thread_time() - began)))


def run_toy(way: Way, folder: Path, *, n: int, length: int, loops: int = 0, workers: int = 2) -> dict[str, float]:
    """Seconds until the workers are ready, from then on until the last of n steps is in the store, and of the driver.

    Raises:
        oversight.errors.InputError: what this way needs is not installed.
    """
    document = {"n": n, "length": length, "loops": loops}
    graph = build(document)
    store: Store = MemoryStore() if way == IN_MEMORY else DirectoryStore(folder)
    began = time.perf_counter()
    pool = _pool(way, Blueprint(builder=BUILDER, document=document, store=str(folder)), workers)
    ready, driver = time.perf_counter(), time.process_time()
    stamps: list[float] = []
    progress = Progress(finished=lambda _: stamps.append(time.perf_counter()))
    summary = Drive(graph, store=store, pool=pool, progress=progress, estimates=Estimates(graph.kinds)).run()
    if len(summary.made) != n:
        raise SystemExit(f"{way}: {len(summary.made)} of {n} steps were done")
    return {"start": ready - began, "seconds": stamps[-1] - ready, "driver": time.process_time() - driver}


def _pool(way: Way, blueprint: Blueprint, workers: int) -> Pool | None:
    """Workers that have built the graph; None = this process."""
    if way == PROCESSES:
        from oversight.runs.pools.processes import Processes

        pool: Pool = Processes(blueprint, workers, cores=1)
    elif way == RAY:
        from oversight.runs.pools.ray import RayPool

        pool = RayPool(blueprint, "local", most=workers)
    else:
        return None
    while len(pool.idle()) < workers:
        pool.wait(0.05)
    for worker in pool.idle():
        pool.start(worker, Order(keys=()))
    told = 0
    while told < workers:
        told += sum(isinstance(event, Reported) for event in pool.wait(0.2))
    return pool


def publish_seconds(folder: Path, n: int) -> float:
    """Seconds of one `put` of an empty step's outcome: three flushes and a rename."""
    store, step = DirectoryStore(folder), build({"n": n, "length": 1, "loops": 0})
    outcome = Outcome(arrays={"numbers": np.arange(8.0)}, record={"i": 0})
    keys = list(step.steps)
    began = time.perf_counter()
    for key in keys:
        store.put(key, outcome, about={"kind": "toy", "config": {}, "inputs": [], "version": 1})
    return (time.perf_counter() - began) / n


def claim_seconds(folder: Path, n: int) -> float:
    """Seconds of taking and releasing one claim."""
    keys = list(build({"n": n, "length": 1, "loops": 0}).steps)
    with Claims(folder) as claims:
        began = time.perf_counter()
        for key in keys:
            claims.take(key)
            claims.release(key)
        return (time.perf_counter() - began) / n
