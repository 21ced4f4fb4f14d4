"""A graph that processes of a cluster can build: its steps write down when they run."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oversight.errors import InputError
from oversight.runs.graph import Graph
from oversight.runs.steps import Kind, Needs, Step, Tick
from oversight.runs.store import Outcome


def noted(document: Mapping[str, Any], what: str) -> None:
    """One line in the log: what ran, in which process."""
    with open(document["log"], "a") as log:
        log.write(f"{what} {os.getpid()}\n")


def draw(steps: Sequence[Step], inputs: Sequence[Sequence[Outcome]], document: Any, tick: Tick) -> list[Outcome]:
    """Noise by number."""
    noted(document, " ".join(step.name for step in steps))
    draws = [np.random.default_rng(step.config["i"]).standard_normal(50) for step in steps]
    return [Outcome(arrays={"x": x}, record={"mean": float(x.mean())}) for x in draws]


def total(steps: Sequence[Step], inputs: Sequence[Sequence[Outcome]], document: Any, tick: Tick) -> list[Outcome]:
    """The sum of what it reads."""
    noted(document, " ".join(step.name for step in steps))
    return [Outcome(arrays={"x": sum(one.arrays["x"] for one in those)}) for those in inputs]


def fragile(steps: Sequence[Step], inputs: Sequence[Sequence[Outcome]], document: Any, tick: Tick) -> list[Outcome]:
    """Waits to be killed, the first time."""
    noted(document, "fragile")
    first = Path(document["log"] + ".pid")
    if not first.exists():
        Path(document["log"] + ".new").write_text(str(os.getpid()))
        os.rename(document["log"] + ".new", first)
        time.sleep(600)
    return [Outcome(record={"survived": True})]


def faulty(steps: Sequence[Step], inputs: Sequence[Sequence[Outcome]], document: Any, tick: Tick) -> list[Outcome]:
    """Fails."""
    raise ValueError(f"row {steps[0].config['i']} has no label")


def on_gpu(steps: Sequence[Step], inputs: Sequence[Sequence[Outcome]], document: Any, tick: Tick) -> list[Outcome]:
    """Tells which GPU it was lent, in which process and when."""
    began = time.time()
    time.sleep(0.3)
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [Outcome(record={"seen": seen, "pid": os.getpid(), "began": began, "ended": time.time()})]


KINDS = {
    "draw": Kind(run=draw, batch=lambda step: step.config["i"] // 2),
    "total": Kind(run=total),
    "fragile": Kind(run=fragile),
    "faulty": Kind(run=faulty),
    "gpu": Kind(run=on_gpu, needs=lambda step, env: Needs(gpu=True)),
}


def step(kind: str, i: int, *inputs: Step) -> Step:
    """The step of this kind and number."""
    return Step(kind=kind, version=1, config={"i": i}, inputs=inputs, name=f"{kind}{i}")


def build(document: Mapping[str, Any]) -> Graph:
    """Draws, sums of neighbours, and `others` by kind and number; the draws numbered from `moved` on."""
    if document.get("refuses"):
        raise InputError("tasks.jsonl, row 3: found no label, expected one")
    draws = [step("draw", i + document.get("moved", 0)) for i in range(document.get("draws", 0))]
    goals = [step("total", i, one, other) for i, (one, other) in enumerate(itertools.pairwise(draws))]
    goals += [step(kind, i) for kind, n in document.get("others", {}).items() for i in range(n)]
    return Graph(goals=tuple(goals), kinds=KINDS, env_of=lambda step: document)
