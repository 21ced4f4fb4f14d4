"""A sweep of small steps with a journal, for `faults.py`: the graph, and the command that brings it to its goals.

    python benchmarks/toy_graph.py DOCUMENT.json --store STORE [--workers N | --ray local]

The document is JSON: `seed`, `steps`, `seconds` (that a step sleeps at most), `bytes` (of a result at most, about),
`journal` (a file that every process appends to) and `store`. Worker processes build the graph from it. Steps stand in
six layers; those above the first read one to three steps below, every second layer is done five steps at a time, and
some steps have rows. Results depend on the seed alone.

The journal has a line `began KEY PID THERE` when a computation begins, THERE = 1 where the store holds the result at
that moment, and `published KEY PID` right after the rename that publishes it. Each is one write with O_APPEND.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import toy_hooks

from oversight.errors import OversightError
from oversight.runs.drive import Drive, Stop, interruptible
from oversight.runs.graph import Graph
from oversight.runs.kept import Kept, keep
from oversight.runs.pools.pool import Blueprint, Pool
from oversight.runs.steps import Kind, Step, Tick
from oversight.runs.store import DirectoryStore, Outcome

LAYERS, TOGETHER, MOST_INPUTS = 6, 5, 3
BUILDER = "toy_graph:build"


@dataclass(frozen=True, kw_only=True)
class Env:
    """Where a process writes down what it does, and how long its steps take."""

    journal: str
    store: str
    seconds: float

    def note(self, *words: object) -> None:
        """One line, in one write."""
        toy_hooks.append(self.journal, " ".join(map(str, words)))

    def there(self, key: str) -> int:
        """Whether the store holds a result."""
        return int(DirectoryStore(self.store).peek(key))


def build(document: Mapping[str, Any]) -> Graph:
    """The graph of a document; the system calls of this process are watched from now on."""
    env = Env(journal=document["journal"], store=document["store"], seconds=document["seconds"])
    toy_hooks.install(Path(env.store), published=lambda key: env.note("published", key, os.getpid()))
    steps = steps_of(document["seed"], document["steps"], document["bytes"])
    read = {before.key for step in steps for before in step.inputs}
    goals = tuple(step for step in steps if step.key not in read)
    return Graph(goals=goals, kinds=KINDS, env_of=lambda step: env)


@cache
def steps_of(seed: int, n: int, most_bytes: int) -> tuple[Step, ...]:
    """All steps, inputs first."""
    draw = random.Random(seed)
    layers: list[list[Step]] = []
    for layer in range(LAYERS):
        below = [step for one in layers for step in one]
        size = n * (layer + 1) // LAYERS - n * layer // LAYERS
        layers.append([])
        for i in range(size):
            inputs = draw.sample(below, min(len(below), draw.randint(1, MOST_INPUTS))) if layer else []
            config: dict[str, Any] = {
                "seed": draw.getrandbits(32),
                "floats": int(most_bytes / 8 * draw.random() ** 3),
                "rows": draw.randint(1, 50) if draw.random() < 0.05 else 0,
            }
            kind = "batched" if layer % 2 else "single"
            if kind == "batched":
                config["batch"] = i // TOGETHER
            layers[-1].append(
                Step(kind=kind, version=1, config=config, inputs=tuple(inputs), name=f"layer {layer}, {i}")
            )
    return tuple(step for one in layers for step in one)


def outcome(step: Step, inputs: Sequence[Outcome]) -> Outcome:
    """Random arrays shifted by the means of the inputs, some numbers, and rows where the step has them."""
    rng = np.random.default_rng(step.config["seed"])
    shift = sum(float(one.arrays["values"].sum()) for one in inputs)
    values = rng.normal(size=step.config["floats"]) + np.tanh(shift)
    arrays = {"values": values, "signs": values > 0, "order": np.argsort(values)[:100]}
    record = {"sum": float(values.sum()), "shift": shift, "inputs": len(inputs), "name": f"Schritt «{step.name}»"}
    return Outcome(arrays=arrays, record=record, rows=_rows(rng, step.config["rows"]))


def _rows(rng: np.random.Generator, n: int) -> Any:
    if not n:
        return None
    import pyarrow as pa

    return pa.table({"id": [f"row {i}" for i in range(n)], "value": rng.normal(size=n)})


def run(steps: Sequence[Step], inputs: Sequence[Sequence[Outcome]], env: Env, tick: Tick) -> list[Outcome]:
    """See `Run`."""
    for step in steps:
        env.note("began", step.key, os.getpid(), env.there(step.key))
    found: list[Outcome] = []
    for step, read in zip(steps, inputs, strict=True):
        time.sleep(random.uniform(0, env.seconds) / len(steps))
        found.append(outcome(step, read))
        tick(len(found) / len(steps))
    return found


def batch_of(step: Step) -> Hashable:
    """Which steps of a layer are done together."""
    return step.config["batch"]


KINDS = {"single": Kind(run=run), "batched": Kind(run=run, batch=batch_of)}


def pool_of(document: Mapping[str, Any], workers: int, ray: str | None) -> Pool | None:
    """The workers, as the sweeps of the command line have them; None = this process."""
    blueprint = Blueprint(builder=BUILDER, document=document, store=document["store"])
    if ray is not None:
        from oversight.runs.pools.ray import RayPool

        return RayPool(blueprint, ray, most=workers)
    if workers == 1:
        return None
    from oversight.runs.pools.processes import Processes

    return Processes(blueprint, workers, cores=workers)


def bring_about(document: Mapping[str, Any], workers: int, ray: str | None) -> int:
    """As a sweep does: write down what is asked for, run what is missing, say what became of it; the exit code."""
    graph, store, stop = build(document), DirectoryStore(document["store"]), Stop()
    missing = graph.missing(store.peek)
    goals, steps = tuple(goal.key for goal in graph.goals), tuple(graph.steps)
    with interruptible(stop):
        if missing:
            keep(store.path, Kept(title="toy", goals=goals, steps=steps))
        pool = pool_of(document, workers, ray) if missing else None
        summary = Drive(graph, store=store, pool=pool, stop=stop).run()
    for key, reason in summary.failed.items():
        print(f"failed: {key[:12]}: {reason}", file=sys.stderr)
    print(json.dumps({"made": len(summary.made), "missing": len(missing), "failed": len(summary.failed)}))
    return 1 if summary.failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("document", type=Path)
    parser.add_argument("--store", required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--ray")
    arguments = parser.parse_args()
    here = str(Path(__file__).resolve().parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]).rstrip(":")
    document = {**json.loads(arguments.document.read_text()), "store": str(Path(arguments.store).absolute())}
    try:
        return bring_about(document, arguments.workers, arguments.ray)
    except OversightError as error:
        print(f"oversight: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
