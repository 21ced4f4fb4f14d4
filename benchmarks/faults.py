"""Sweeps survive: kills, damaged files, full disks, others on the same store, Ray workers that die.

    python benchmarks/faults.py [--only kills,moments,real,damages,disks,together,ray] [--seed S] [--out FILE]

Each part does what is in its name to a toy sweep (`toy_graph.py`: small steps with arrays up to 1 MB, rows, batches and
inputs; a journal of what was computed and published) and compares what is there in the end with an undisturbed run:
the bytes of the files of arrays and rows, and what the records say of outcome, config and inputs.

- `kills`: signal 9 at random moments to the driver, a worker, or all at once; the same command goes on.
- `moments`: signal 9 at every moment between two system calls of claiming, publishing and releasing.
- `real`: `oversight sweep` with bags of words and probes on MiniLM, killed at random moments.
- `damages`: published files with a flipped bit, cut, emptied, deleted, or of another result.
- `disks`: a full file system and a read-only one, mounted where that is allowed.
- `together`: several sweeps at once on one store, also one that is killed half way.
- `ray`: `--ray local` with a worker process killed every few seconds.

One line per part; the exit code is 1 when a claim is false. Graphs, victims and moments are drawn from the seed; what
runs at those moments is up to the machine.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fault_damage
import fault_disk
import fault_kills
from toy_graph import TOGETHER
from toy_sweep import Toy, Violation, expect, undisturbed, until

COMMAND = "python benchmarks/faults.py"
RAY_SECONDS = (2.0, 5.0)


def together(place: Path, *, seed: int, steps: int = 100) -> str:
    """Several commands at once on one store."""
    said: list[str] = []
    calm = Toy(folder=place / "together", steps=steps, seconds=0.05, seed=seed)
    expected = undisturbed(place / "calm-together", calm)
    for n, kill in ((2, False), (4, False), (4, True)):
        toy = Toy(folder=place / f"together-{n}-{kill}", steps=steps, seconds=0.05, seed=seed)
        drivers = [toy.start(workers=1 + i % 2) for i in range(n)]
        if kill:
            expect(until(lambda toy=toy: fault_kills.published(toy) >= steps // 2), "nothing was published")
            drivers[1].kill("tree", random.Random(seed))
        codes = [driver.wait() for driver in drivers]
        left = codes[:1] + codes[2:] if kill else codes
        expect(set(left) == {0}, f"{n} sweeps at once ended with {codes}: {[driver.said() for driver in drivers]}")
        found = toy.judge(expected)
        expect(found.repeated <= 2 * TOGETHER * kill, f"{found.repeated} steps were computed twice")
        killed = f", one killed half way ({found.repeated} lost computations done by the others)" if kill else ""
        said.append(f"{n} at once{killed}: {len(found.began)} steps, {len(found.began)} published")
    return "; ".join(said) + "; each computed once, all answers equal byte for byte"


def ray(place: Path, *, seed: int, steps: int = 150, seconds: float = 1.0, most: int = 8) -> str:
    """A worker process of Ray is killed every few seconds, in the middle of a step, `most` times at most."""
    if importlib.util.find_spec("ray") is None:
        return "skipped: ray is not installed"
    draw, kills = random.Random(seed), 0
    toy = Toy(folder=place / "ray", steps=steps, seconds=seconds, seed=seed)
    expected = undisturbed(place / "calm-ray", toy)
    driver = toy.start(workers=2, ray="local")
    expect(until(lambda: not driver.running() or bool(toy.lines())), "nothing was computed")
    while driver.running():
        until(lambda: not driver.running(), draw.uniform(*RAY_SECONDS))
        busy = toy.busy()
        if busy and driver.running() and kills < most:
            os.kill(draw.choice(busy), 9)
            kills += 1
    expect(driver.wait() == 0, f"the sweep did not end well: {driver.said()}")
    found = toy.judge(expected)
    expect(kills > 0, "the sweep was through before the first kill")
    return f"{kills} workers killed, {fault_kills.summed(found)}; {len(expected)} results equal byte for byte"


PARTS: dict[str, Callable[[Path, argparse.Namespace], str]] = {
    "kills": lambda place, asked: fault_kills.at_random(place, kills=asked.kills, steps=asked.steps, seed=asked.seed),
    "moments": lambda place, asked: fault_kills.at_every_moment(place, seed=asked.seed),
    "real": lambda place, asked: fault_kills.real(place, kills=max(1, asked.kills // 10), seed=asked.seed),
    "damages": lambda place, asked: fault_damage.damages(place, n=asked.damages, seed=asked.seed),
    "disks": lambda place, asked: fault_disk.disks(place, n=9, seed=asked.seed),
    "together": lambda place, asked: together(place, seed=asked.seed),
    "ray": lambda place, asked: ray(place, seed=asked.seed),
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--steps", type=int, default=300, help="of the sweep that is killed")
    parser.add_argument("--damages", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the table to FILE.md, the figures to FILE.json")
    arguments = parser.parse_args()
    arguments.only = arguments.only.split(",")
    strange = [name for name in arguments.only if name not in PARTS]
    if strange:
        parser.error(f"--only: found {strange[0]}, expected some of {', '.join(PARTS)}")
    return arguments


def measured(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Every part that was asked for, each in a folder of its own; a claim that is false does not stop the others."""
    rows: list[dict[str, Any]] = []
    for name in arguments.only:
        began, holds = time.monotonic(), True
        with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as place:
            try:
                found = PARTS[name](Path(place), arguments)
            except Violation as error:
                found, holds = f"FALSE: {error}", False
        seconds = round(time.monotonic() - began)
        rows.append({"part": name, "found": found, "holds": holds, "seconds": seconds})
        print(f"{name} ({seconds} s): {found}", flush=True)
    return rows


def as_markdown(about: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The figures as a page."""
    versions = ", ".join(f"{name} {one}" for name, one in about["versions"].items())
    lines = [
        "# Faults",
        "",
        f"{about['machine']}; {versions}.",
        "",
        f"`{about['command']}`",
        "",
        "| part | found | seconds |",
        "|---|---|---|",
        *(f"| {row['part']} | {row['found']} | {row['seconds']} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    arguments = parse()
    rows = measured(arguments)
    names = [name for name in ("numpy", "safetensors", "pyarrow", "torch", "ray") if importlib.util.find_spec(name)]
    given = [f"--{name} {getattr(arguments, name)}" for name in ("kills", "steps", "damages", "seed")]
    about = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release().split('-')[0]}, python "
        + platform.python_version(),
        "versions": {name: version(name) for name in names},
        "command": " ".join([COMMAND, *given]),
    }
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.with_suffix(".json").write_text(json.dumps({**about, "parts": rows}, indent=1) + "\n")
        arguments.out.with_suffix(".md").write_text(as_markdown(about, rows))
    return 0 if all(row["holds"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
