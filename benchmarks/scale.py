"""The plan `paper-nlp` on 8 and on 256 GPUs, on paper: prints the tables of docs/scale.md.

    python benchmarks/scale.py [--utilisation 0.35] [--write-rate 1e9] [--skip-store] [--out FILE.md]

The graph is the real one, built by `plan_studies` from 22 stand-in tasks and 7 stand-in students (its size depends on
neither). It is handed out by the real `Schedule` to simulated workers. Seconds of a step are computed, not measured:

    step = overhead + weights / read rate + operations / (utilisation * peak * GPUs * together) + written / write rate

where checkpoints and finished weights are written, with the operations of `models/finetune/size.py` (training, the
comparisons with validation rows, predictions). The store is filled with as many small results as the plan would leave,
and listed. Rows, tokens, rates and utilisation are assumptions that the output names.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import scale_paper as paper

from oversight.runs.estimates import Estimates, learned
from oversight.runs.graph import Graph
from oversight.runs.schedule import Batch, Schedule
from oversight.runs.steps import Step
from oversight.runs.store import DirectoryStore
from oversight.sealed import ARRAYS, RECORD, dump_json
from oversight.studies.sweep import own_steps
from oversight.studies.weak_to_strong import Campaign

RECORD_BYTES = {"supervise": 6e3, "teach": 6e3, "ceiling": 6e3, "score": 18e3, "rows": 1e3}
TEXT_BYTES, COMPRESSED = 4.5, 0.4
BEAT_SECONDS = 6.0
WARM = 16


@dataclass(kw_only=True)
class Played:
    """What a simulated run gave.

    Attributes:
        makespan: seconds.
        busy: seconds of all workers.
        driver: seconds of the processor that the schedule took.
        handed: batches.
        slowest: seconds of the slowest hand-out.
    """

    makespan: float = 0.0
    busy: float = 0.0
    driver: float = 0.0
    handed: int = 0
    slowest: float = 0.0


def play(graph: Graph, seconds: Mapping[str, float], workers: int, *, known: bool) -> Played:
    """The schedule with simulated workers that are never late and never die.

    Args:
        graph: all of it is missing.
        seconds: that each step takes, by key.
        workers: at once.
        known: whether steps like these were finished before, so that estimates exist.
    """
    estimates = Estimates(graph.kinds)
    for key in random.Random(0).sample(list(graph.steps), len(graph.steps)) if known else ():
        step = graph.steps[key]
        estimates.learn(step.kind, step.config, seconds=seconds[key], memory_bytes=0)
    found, began = Played(), time.process_time()
    schedule = Schedule(graph, list(graph.steps), estimates)
    idle, running, now = list(range(workers)), list[tuple[float, int, int, Batch]](), 0.0
    warm = [OrderedDict[str, None]() for _ in idle]
    while True:
        while idle:
            asked = time.process_time()
            batch = schedule.next(warm=warm[idle[-1]])
            found.slowest = max(found.slowest, time.process_time() - asked)
            if batch is None:
                break
            worker, took = idle.pop(), sum(seconds[key] for key in batch.keys)
            _remember(warm[worker], graph, batch)
            found.handed, found.busy = found.handed + 1, found.busy + took
            heapq.heappush(running, (now + took, found.handed, worker, batch))
        if not running:
            break
        now, _, worker, batch = heapq.heappop(running)
        keys = list(batch.keys)
        for step in (graph.steps[key] for key in keys):
            estimates.learn(step.kind, step.config, seconds=seconds[step.key], memory_bytes=0)
        schedule.done(batch, keys)
        schedule.stop(batch)
        idle.append(worker)
    assert schedule.finished
    found.makespan, found.driver = now, time.process_time() - began
    return found


def _remember(warm: OrderedDict[str, None], graph: Graph, batch: Batch) -> None:
    for key in batch.keys:
        warm.update(dict.fromkeys([*(one.key for one in graph.steps[key].inputs), key]))
    while len(warm) > WARM:
        warm.popitem(last=False)


def critical_path(graph: Graph, seconds: Mapping[str, float]) -> tuple[float, list[Step]]:
    """The longest chain of steps that wait for each other, and its seconds."""
    total: dict[str, float] = {}
    for key, step in graph.steps.items():
        total[key] = seconds[key] + max((total[before.key] for before in step.inputs), default=0.0)
    step = graph.steps[max(total, key=total.__getitem__)]
    path = [step]
    while step.inputs:
        step = max(step.inputs, key=lambda before: total[before.key])
        path.append(step)
    return max(total.values()), path[::-1]


def counted(campaign: Campaign, cost: paper.Cost, seconds: float) -> list[str]:
    """Steps by kind, asked for and distinct."""
    graph = campaign.graph
    distinct = Counter(step.kind for step in graph.steps.values())
    every = own_steps(campaign)
    asked = Counter(step.kind for step in every)
    apart, shared = (
        sum(cost.gpu_seconds(*what) for step in steps if (what := paper.fit_of(campaign, step)) is not None) / 3600
        for steps in (every, graph.steps.values())
    )
    rows = [f"| {kind} | {asked[kind]:,} | {n:,} |" for kind, n in sorted(distinct.items(), key=lambda one: -one[1])]
    return [
        f"{len(campaign.scored):,} studies; planned in {seconds:.1f} CPU s from tasks of a few rows.",
        "",
        "| kind | if every study made its own | distinct |",
        "|---|---|---|",
        *rows,
        f"| all | {sum(asked.values()):,} | {sum(distinct.values()):,} |",
        f"| GPU hours of the fits | {apart:,.0f} | {shared:,.0f} |",
    ]


def model_lines(cost: paper.Cost, campaign: Campaign) -> list[str]:
    """What one fit of each network takes, and all of them."""
    fits = Counter(what for step in campaign.graph.steps.values() if (what := paper.fit_of(campaign, step)) is not None)
    lines = [
        "| network | trained | on the GPU, GB | GPUs of 141 GB | fits | GPU h of a fit, mean (most) | GPU h of all "
        "| kept weights, GB | checkpoint, GB | writing it, s | share of the time at one a minute |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for model in paper.SHAPES:
        size = cost.fits.size(model, "quail", paper.STUDENT)
        own = {what: n for what, n in fits.items() if what[0] == model}
        hours = [cost.gpu_seconds(*what) / 3600 for what in own]
        writing = cost.checkpoint_seconds(model)
        all_hours = sum(n * cost.gpu_seconds(*what) / 3600 for what, n in own.items())
        lines.append(
            f"| {model} ({size.parameters / 1e9:.1f}e9) | {size.trained_parameters / 1e9:.2f}e9 "
            f"| {size.bytes_total / 1e9:.0f} | {gpus_for(size.bytes_total)} | {sum(own.values()):,} "
            f"| {all_hours / sum(own.values()):.2f} ({max(hours):.1f}) | {all_hours:,.0f} "
            f"| {4 * size.trained_parameters / 1e9:.1f} | {paper.CHECKPOINT_BYTES * size.trained_parameters / 1e9:.1f} "
            f"| {writing:.0f} | {writing / (60 + writing):.0%} |"
        )
    return lines


def gpus_for(n_bytes: float) -> int:
    """The least power of two that holds so much, were all of it spread evenly."""
    n = 1
    while n_bytes / n > paper.USABLE * paper.GPU_BYTES:
        n *= 2
    return n


def schedule_lines(cost: paper.Cost, campaign: Campaign) -> list[str]:
    """Makespans on 8 and 256 GPUs, in workers of one and of four."""
    lines = [
        "| GPUs | a worker has | estimates | makespan | GPU h | busy | work / workers | critical path "
        "| driver, CPU s | of a hand-out, slowest, ms | steps, claims a s | heartbeats a s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    graph = campaign.graph
    what = {key: paper.fit_of(campaign, step) for key, step in graph.steps.items()}
    for gpus in (8, 256):
        for together in (1, 4):
            seconds = {key: cost.seconds(what[key], together) for key in graph.steps}
            workers, work = gpus // together, sum(seconds.values())
            path, _ = critical_path(graph, seconds)
            for known in (True, False):
                ran = play(graph, seconds, workers, known=known)
                lines.append(
                    f"| {gpus} | {together} | {'known' if known else 'first run'} | {shown(ran.makespan)} "
                    f"| {ran.busy * together / 3600:,.0f} | {ran.busy / (workers * ran.makespan):.1%} "
                    f"| {shown(work / workers)} | {shown(path)} | {ran.driver:.1f} | {1e3 * ran.slowest:.1f} "
                    f"| {ran.handed / ran.makespan:.2g} | {workers / BEAT_SECONDS:.2g} |"
                )
    seconds = {key: cost.seconds(what[key], 1) for key in graph.steps}
    _, path = critical_path(graph, seconds)
    return [
        *lines,
        "",
        "The longest chain: " + "; ".join(f"{one.name} ({shown(seconds[one.key])})" for one in path) + ".",
    ]


def shown(seconds: float) -> str:
    """Days, hours or seconds."""
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.1f} d"
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds:.0f} s"


def byte_lines(cost: paper.Cost, campaign: Campaign) -> tuple[list[str], int]:
    """Bytes and files in the store by kind, and how many folders."""
    n_bytes, n_folders = Counter[str](), Counter[str]()
    for step in campaign.graph.steps.values():
        what = paper.fit_of(campaign, step)
        task = campaign.graph.env_of(step).task.name
        n, n_test, tokens = paper.TASKS[task]
        rows = n_test + (n * (paper.TRANSFER + paper.VALIDATION) if step.kind == "supervise" else 0)
        arrays = {"rows": n_test * tokens * TEXT_BYTES * COMPRESSED, "score": 0.0}
        per_row = 17 if step.kind == "supervise" else 16
        n_bytes[step.kind] += round(RECORD_BYTES[step.kind] + arrays.get(step.kind, per_row * rows))
        n_folders[step.kind] += 1
        if what is not None:
            name = f"weights of {what[0]}"
            n_bytes[name] += 4 * cost.fits.size(*what).trained_parameters
            n_folders[name] += 1
    lines = ["| kind | folders | files | bytes |", "|---|---|---|---|"]
    for kind, total in n_bytes.items():
        files = (3 if kind == "rows" else 2) * n_folders[kind]
        lines.append(f"| {kind} | {n_folders[kind]:,} | {files:,} | {readable(total)} |")
    small = sum(total for kind, total in n_bytes.items() if not kind.startswith("weights"))
    n_small = sum(n for kind, n in n_folders.items() if not kind.startswith("weights"))
    whole, n_all = sum(n_bytes.values()), sum(n_folders.values())
    lines.append(f"| **all, `--no-keep-models`** | {n_small:,} | {2 * n_small + 22:,} | **{readable(small)}** |")
    lines.append(f"| **all, models kept** | {n_all:,} | {2 * n_all + 22:,} | **{readable(whole)}** |")
    return lines, n_all


def readable(n: float) -> str:
    """Bytes."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n >= size:
            return f"{n / size:,.1f} {unit}"
    return f"{n / 1e3:.0f} kB"


def store_lines(campaign: Campaign, n: int, folder: Path) -> list[str]:
    """How long a store of n results takes to list, and to be asked what is there, on this disk."""
    store = DirectoryStore(folder)
    steps = list(campaign.graph.steps.values())
    for i in range(n):
        step = steps[i % len(steps)]
        key = step.key if i < len(steps) else step.key[:2] + f"{i:062x}"
        about = {"kind": step.kind, "version": 1, "config": dict(step.config), "inputs": [x.key for x in step.inputs]}
        timing = {"name": step.name, "seconds": 60.0, "memory_bytes": 10**9, "made": "2026-01-01T00:00:00Z"}
        content = {"format": 1, "key": key, **about, **timing, "record": {}, "arrays_sha256": ""}
        place = store.folder(key)
        place.mkdir(parents=True)
        (place / RECORD).write_bytes(dump_json(content))
        (place / ARRAYS).write_bytes(b"")
    command = [sys.executable, "-m", "oversight", "ls", "--json", "--store", str(folder)]
    timed = {
        "names of all keys": lambda: len(list(store.keys())),
        "whether all steps are there (one `stat` each)": lambda: len(campaign.graph.missing(store.peek)),
        "estimates from 1,000 records": lambda: learned(store, campaign.graph.kinds),
        "all records": lambda: sum(1 for _ in store.records()),
        "`oversight ls --json`, whole process": lambda: subprocess.run(command, check=True, capture_output=True),
    }
    lines = [f"| in a store of {n:,} results | s |", "|---|---|"]
    for name, work in timed.items():
        took: list[float] = []
        for _ in range(3):
            began = time.perf_counter()
            work()
            took.append(time.perf_counter() - began)
        lines.append(f"| {name} | {statistics.median(took):.2f} ({min(took):.2f} to {max(took):.2f}) |")
    return lines


def planning_lines(tasks: Sequence[paper.Task]) -> list[str]:
    """What every worker pays to build the graph when tasks have their real numbers of rows."""
    name, (n, n_test, _) = max(paper.TASKS.items(), key=lambda one: one[1][0] + one[1][1])
    task = paper.stand_in_task(name, n, n_test)
    began = time.process_time()
    _ = paper.campaign([task]).graph.groups
    large = time.process_time() - began
    began = time.process_time()
    _ = paper.campaign([tasks[0]]).graph.groups
    small = time.process_time() - began
    rows = sum(one[0] + one[1] for one in paper.TASKS.values())
    whole = len(tasks) * small + (large - small) * rows / (n + n_test)
    return [
        f"With real numbers of rows: {large:.1f} CPU s for the largest task ({n + n_test:,} rows), {small:.2f} for one "
        f"of few rows; so about {whole:.0f} s for all {rows:,} rows, in the driver and once in every worker process."
    ]


def hashing_line(cost: paper.Cost) -> str:
    """What it takes to know networks in local directories by their contents."""
    content, began = bytes(1 << 28), time.process_time()
    hashlib.sha256(content).digest()
    rate = len(content) / (time.process_time() - began)
    weights = sum(2 * cost.fits.size(model, "boolq", paper.STUDENT).parameters for model in paper.SHAPES)
    return (
        f"The seven networks in bfloat16 are {weights / 1e9:.0f} GB: as local directories they are hashed by every "
        f"process that plans, {weights / rate:.0f} s at the {rate / 1e9:.1f} GB/s measured here; with a commit of the "
        "Hub they are not."
    )


def assumptions(cost: paper.Cost) -> str:
    """Where this ran, and what is not measured."""
    read, write = paper.READ_RATE / 1e9, cost.write_rate / 1e9
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, python {platform.python_version()}. Assumed: "
        f"{cost.utilisation:.0%} of {paper.PEAK / 1e12:.0f} TFLOP/s (bf16, dense, of an H100 or H200), "
        f"{paper.OVERHEAD_SECONDS:.0f} s around a step, weights read at {read:.0f} and written at {write:.0f} GB/s, "
        f"{paper.TOGETHER:.0%} of the speed of each GPU when 4 work together, "
        f"a checkpoint every {cost.every / 60:.0f} minutes."
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utilisation", type=float, default=0.35, help="of the peak of one GPU")
    parser.add_argument("--write-rate", type=float, default=1e9, help="bytes a second to the store, by one step")
    parser.add_argument("--skip-store", action="store_true", help="do not fill and list a store")
    parser.add_argument("--out", type=Path, help="write the tables there")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    began = time.process_time()
    tasks = [paper.stand_in_task(name, 160, 80) for name in paper.TASKS]
    campaign = paper.campaign(tasks)
    _ = campaign.graph.groups
    planned = time.process_time() - began
    with tempfile.TemporaryDirectory() as name:
        fits = paper.Fits(students=paper.networks(Path(name)))
        cost = paper.Cost(fits=fits, utilisation=arguments.utilisation, write_rate=arguments.write_rate)
        in_store, n = byte_lines(cost, campaign)
        lines = [
            assumptions(cost),
            *("", "### Steps", "", *counted(campaign, cost, planned), "", *planning_lines(tasks), hashing_line(cost)),
            *("", "### Fits", "", *model_lines(cost, campaign)),
            *("", "### Handed out", "", *schedule_lines(cost, campaign)),
            *("", "### In the store", "", *in_store),
        ]
        if not arguments.skip_store:
            lines += ["", *store_lines(campaign, n, Path(name) / "store")]
            shutil.rmtree(Path(name) / "store")
    text = "\n".join([*lines, ""])
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
