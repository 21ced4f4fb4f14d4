"""What a sweep costs beside its work, and what sharing saves: all in one run, in turns, medians with least and most.

    python benchmarks/sweep.py [--parts steps speed grid again] [--repeats 3] [--rounds 2] [--runs 12] [--out FILE.md]

- `steps`: 1,000 steps that do nothing, in chains of 20: in memory (the driver alone), in this process with claims and
  files on a RAM disk, and flushed to the disk, with two local processes, on a Ray of this machine. Beside them one
  publication and one claim alone.
- `speed`: steps of half a second of single-threaded work, one local process against two.
- `grid`: the preset `probe-fast` as a whole process with one worker and with two, from an empty store; and a sample of
  its runs the reference's way, one process per run. Three things such a process may share with the others: nothing (as
  openai/weak-to-strong's train_weak_to_strong.py trains supervisor, student and ceiling of every run); the features on
  disk, but nothing trained; supervisors and ceilings, but no features (as its sweep.py does, by the names of folders).
  What the whole grid would take is **extrapolated** from the sample: its mean times the number of runs, with a 95 %
  t interval over the sampled runs. The students of the sample are compared with those of the sweep, row by row.
- `again`: that sweep grown to about 1,000 steps, asked again as a whole process; so is one `w2s` of its cells.

Seconds are by the clock on the wall; CPU seconds, of all processes of a command, hold on a busy machine too.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import sweep_peers as peers
import sweep_steps as toy

from oversight.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
PRESET, LARGER = "probe-fast", 8
PARTS = ("steps", "speed", "grid", "again")
LONG = 0.5
NUMBERS = ("repeats", "rounds", "runs", "steps", "long-steps")
AIMS: dict[str, float] = {toy.INLINE: 3.0, toy.RAY: 10.0}
WORDS = {
    toy.IN_MEMORY: "in memory: no claims, no files",
    toy.ON_RAM_DISK: "this process, claims and files in /dev/shm, where a flush is free",
    toy.INLINE: "this process, claims and flushed files",
    toy.PROCESSES: "2 local processes",
    toy.RAY: "Ray on this machine, 2 tasks at once",
    peers.NOTHING: "nothing",
    peers.FEATURES: "features on disk",
    peers.TRAINED: "supervisors and ceilings",
}
WAYS: tuple[toy.Way, ...] = (toy.IN_MEMORY, toy.ON_RAM_DISK, toy.INLINE, toy.PROCESSES, toy.RAY)
RAM_DISK = Path("/dev/shm")
Numbers = list[float]


def log(text: str) -> None:
    """How far it is, on standard error."""
    print(f"{text} (load {os.getloadavg()[0]:.1f})", file=sys.stderr, flush=True)


@contextmanager
def emptied(folder: Path) -> Generator[Path]:
    """A place for one measurement, removed afterwards."""
    place = Path(tempfile.mkdtemp(dir=folder)) / "store"
    try:
        yield place
    finally:
        shutil.rmtree(place.parent, ignore_errors=True)


def spread(values: Sequence[float], unit: float = 1.0, digits: int = 1) -> str:
    """Median with least and most."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle / unit:.{digits}f} ({low / unit:.{digits}f} to {high / unit:.{digits}f})"


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % t interval; infinite with a single value."""
    from scipy.stats import t

    middle, n = statistics.fmean(values), len(values)
    half = float(t.ppf(0.975, n - 1)) * statistics.stdev(values) / math.sqrt(n) if n > 1 else math.inf
    return middle, middle - half, middle + half


def measure_steps(folder: Path, arguments: argparse.Namespace) -> list[str]:
    """Overhead per step, as lines of markdown."""
    n = arguments.steps
    found: dict[toy.Way, Numbers] = {way: [] for way in WAYS}
    starts: dict[toy.Way, Numbers] = {way: [] for way in WAYS}
    driver: dict[toy.Way, Numbers] = {way: [] for way in WAYS}
    alone: dict[str, Numbers] = {"publish": [], "claim": []}
    skipped: dict[toy.Way, str] = {} if RAM_DISK.is_dir() else {toy.ON_RAM_DISK: "there is none"}
    for _ in range(arguments.repeats):
        for way in WAYS:
            if way in skipped:
                continue
            with emptied(RAM_DISK if way == toy.ON_RAM_DISK else folder) as place:
                try:
                    took = toy.run_toy(way, place, n=n, length=20)
                except InputError as error:
                    skipped[way] = str(error)
                    continue
            found[way].append(took["seconds"] / n)
            starts[way].append(took["start"])
            driver[way].append(took["driver"] / n)
            log(f"{way}: {1e3 * found[way][-1]:.2f} ms a step")
        for name, measured in (("publish", toy.publish_seconds), ("claim", toy.claim_seconds)):
            with emptied(folder) as place:
                alone[name].append(measured(place, n // 4))
    lines = [
        "| who | ms a step | CPU ms of the driver | aim | s until the workers were ready |",
        "|---|---|---|---|---|",
    ]
    for way, values in found.items():
        aim = f"{AIMS[way]:.0f}" if way in AIMS else ""
        told = spread(values, 1e-3, 2) if values else f"skipped: {skipped[way]}"
        start = spread(starts[way]) if values and way in (toy.PROCESSES, toy.RAY) else ""
        own = spread(driver[way], 1e-3, 2) if values else ""
        lines.append(f"| {WORDS[way]} | {told} | {own} | {aim} | {start} |")
    lines.append(
        f"| one `put` alone (three files and folders flushed, a rename) | {spread(alone['publish'], 1e-3, 2)} | | | |"
    )
    lines.append(f"| one claim taken and released alone | {spread(alone['claim'], 1e-3, 2)} | | | |")
    return [f"## {n:,} empty steps", "", *lines]


def measure_speed(folder: Path, arguments: argparse.Namespace) -> list[str]:
    """Two local processes against one, as lines of markdown."""
    loops, n = toy.loops_for(LONG), arguments.long_steps
    found: dict[int, Numbers] = {1: [], 2: []}
    for _ in range(arguments.repeats):
        for workers, values in found.items():
            with emptied(folder) as place:
                took = toy.run_toy(toy.PROCESSES, place, n=n, length=1, loops=loops, workers=workers)
            values.append(took["seconds"])
            log(f"{workers} workers: {values[-1]:.1f} s")
    ratios = [one / two for one, two in zip(found[1], found[2], strict=True)]
    return [
        f"## {n} steps of {LONG} s of the processor",
        "",
        "| workers | s |",
        "|---|---|",
        *(f"| {workers} | {spread(values)} |" for workers, values in found.items()),
        "",
        f"Two workers are x{spread(ratios, digits=2)} as fast as one (aim x1.8), by turn.",
    ]


def sweep_arguments(store: Path, workers: int, seeds: int | None = None) -> list[str]:
    """Of `oversight`, for the preset."""
    more = [] if seeds is None else ["--seeds", str(seeds)]
    return ["sweep", "--preset", PRESET, "--workers", str(workers), "--store", str(store), *more]


def measure_grid(folder: Path, finished: Path, arguments: argparse.Namespace) -> list[str]:
    """The sweep against one process per run, as lines of markdown; leaves a finished store."""
    runs = peers.grid(PRESET)
    sample = peers.drawn(runs, arguments.runs)
    whole: dict[int, list[peers.Took]] = {1: [], 2: []}
    parts: dict[str, list[dict[str, Any]]] = {way: [] for way in peers.SHARED}
    for turn in range(arguments.rounds):
        for workers, found in whole.items():
            with emptied(folder) as place:
                found.append(peers.take(sweep_arguments(place, workers), threads=True))
                if not finished.exists():
                    place.rename(finished)
            log(f"sweep, {workers} workers: {found[-1].seconds:.0f} s, {found[-1].cpu:.0f} CPU s")
        for i, run in enumerate(sample[turn :: arguments.rounds]):
            for way in [one for one in parts if one != peers.TRAINED or i % 2 == 0]:
                with emptied(folder) as place:
                    parts[way].append(peers.peer(run, way, finished=finished, at=place))
                log(f"{run.weak} -> {run.strong}, {run.method}, {way}: {parts[way][-1]['seconds']:.1f} s")
    return grid_lines(len(runs), whole, parts, peers.seconds_by_kind(finished))


def grid_lines(
    n: int, whole: dict[int, list[peers.Took]], parts: dict[str, list[dict[str, Any]]], kinds: dict[str, float]
) -> list[str]:
    """Measured sweeps, extrapolated grids and their ratios."""
    one, two = whole[1], whole[2]
    speedups = [a.seconds / b.seconds for a, b in zip(one, two, strict=True)]
    off = max(run["off"] for found in parts.values() for run in found)
    shares = ", ".join(f"{kind} {seconds:.0f}" for kind, seconds in sorted(kinds.items(), key=lambda item: -item[1]))
    lines = [
        f"## The grid of `{PRESET}`: {n} runs",
        "",
        "| | s | CPU s |",
        "|---|---|---|",
        f"| `oversight sweep`, 1 worker, **measured** whole | {spread([x.seconds for x in one])} "
        f"| {spread([x.cpu for x in one])} |",
        f"| `oversight sweep --workers 2`, **measured** whole | {spread([x.seconds for x in two])} "
        f"| {spread([x.cpu for x in two])} |",
        "",
        f"Two workers are x{spread(speedups, digits=2)} as fast as one, start-up included. Seconds of its steps by "
        f"kind: {shares}.",
        "",
        "One process per run, **extrapolated** to the whole grid from a sample of whole processes:",
        "",
        "| shared between processes | sampled | steps done in each | s a run | CPU s a run | hours for the grid (95 %) "
        "| sweep faster x, wall | x, CPU (95 %) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for way, found in parts.items():
        lines.append(peer_line(way, found, n + (extra(n) if way == peers.TRAINED else 0), one))
    return [
        *lines,
        "",
        f"The intervals are those of the mean of a sampled run; the sweep counts with its median. Supervisors and "
        f"ceilings that are shared are {extra(n)} more processes, counted as runs of mean cost. Students of the "
        f"sampled runs differ from those of the sweep by at most {off:.1g} in probability.",
    ]


def extra(n: int) -> int:
    """Processes that train what others share: every supervisor and every ceiling of every seed."""
    runs = peers.grid(PRESET)
    roles = {(run.weak, run.seed, 0) for run in runs} | {(run.strong, run.seed, 1) for run in runs}
    return len(roles) if n else 0


def peer_line(way: str, found: Sequence[dict[str, Any]], n: int, whole: Sequence[peers.Took]) -> str:
    """One row of the table of extrapolated grids."""

    def scaled(name: str, by: float) -> tuple[float, float, float]:
        middle, low, high = mean_interval([run[name] for run in found])
        return n * middle / by, n * max(low, 0) / by, n * high / by

    hours = scaled("seconds", 3600)
    wall = scaled("seconds", statistics.median(one.seconds for one in whole))
    cpu = scaled("cpu", statistics.median(one.cpu for one in whole))
    made = statistics.median(run["made"] for run in found)
    return (
        f"| {WORDS[way]} | {len(found)} of {n} | {made:.0f} | {spread([run['seconds'] for run in found])} "
        f"| {spread([run['cpu'] for run in found])} | {hours[0]:.1f} ({hours[1]:.1f} to {hours[2]:.1f}) "
        f"| {wall[0]:.0f} ({wall[1]:.0f} to {wall[2]:.0f}) | **{cpu[0]:.0f}** ({cpu[1]:.0f} to {cpu[2]:.0f}) |"
    )


def measure_again(folder: Path, finished: Path, arguments: argparse.Namespace) -> list[str]:
    """What is finished, asked again, as lines of markdown."""
    peers.take(sweep_arguments(finished, 2, LARGER))
    log("sweep grown")
    n = len(list(toy.DirectoryStore(finished).keys()))
    cell = ["w2s", "reviews", "--weak", "minilm@1", "--strong", "minilm@4", "--seeds", "5", "--store", str(finished)]
    commands = {
        f"`oversight sweep --preset {PRESET} --seeds {LARGER}`, {n:,} steps there": sweep_arguments(
            finished, 1, LARGER
        ),
        "`oversight w2s` of one of its cells, 5 seeds": cell,
        "`oversight w2s --help`": ["w2s", "--help"],
    }
    found: dict[str, list[peers.Took]] = {name: [] for name in commands}
    for _ in range(max(3, arguments.repeats)):
        for name, arguments_of in commands.items():
            found[name].append(peers.take(arguments_of))
            log(f"{name}: {found[name][-1].seconds:.2f} s")
    rows = [
        f"| {name} | {spread([x.seconds for x in one], digits=2)} | {spread([x.cpu for x in one], digits=2)} |"
        for name, one in found.items()
    ]
    return [
        "## Asked again",
        "",
        "| whole process | s | CPU s |",
        "|---|---|---|",
        *rows,
        "",
        "Aim: 2 s for the sweep.",
    ]


def machine() -> str:
    """Where this ran, and with what."""
    names = ("numpy", "torch", "scikit-learn", "ray")
    versions: list[str] = [f"python {platform.python_version()}"]
    for name in names:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"no {name}")
    where = f"{os.cpu_count()} cores, {platform.machine()}"
    return f"{where}; {', '.join(versions)}; commit {commit()} and what was changed since"


def commit() -> str:
    """What HEAD points to, read from its file."""
    git = ROOT / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        reference = head.removeprefix("ref: ")
        return (head if reference == head else (git / reference).read_text().strip())[:12]
    except OSError:
        return "unknown"


def asked_for(arguments: argparse.Namespace) -> str:
    """The options that decide what is measured, without places on this machine."""
    numbers = [f"--{name} {getattr(arguments, name.replace('-', '_'))}" for name in NUMBERS]
    return " ".join(["--parts", *arguments.parts, *numbers])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=3, help="of steps, speed and again")
    parser.add_argument("--rounds", type=int, default=2, help="of the whole sweep, with a part of the runs after each")
    parser.add_argument("--runs", type=int, default=12, help="of the grid, drawn for one process each")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--long-steps", type=int, default=16)
    parser.add_argument("--folder", type=Path, help="where stores are made; a temporary directory otherwise")
    parser.add_argument("--out", type=Path, help="write the tables there")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    os.environ.update(peers.ONE_THREAD)
    loads = [os.getloadavg()[0]]
    made: list[str] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder, finished = Path(name), Path(name) / "finished"
        work: dict[str, Callable[[], list[str]]] = {
            "steps": lambda: measure_steps(folder, arguments),
            "speed": lambda: measure_speed(folder, arguments),
            "grid": lambda: measure_grid(folder, finished, arguments),
            "again": lambda: measure_again(folder, finished, arguments),
        }
        for part in arguments.parts:
            lines = work[part]()
            made += ["", *lines]
            print("\n".join(lines), file=sys.stderr, flush=True)
            loads.append(os.getloadavg()[0])
    told = f"`python benchmarks/sweep.py {asked_for(arguments)}`"
    loaded = f"Load of the machine while it ran: {min(loads):.1f} to {max(loads):.1f}, others' work included."
    text = "\n".join(["# What a sweep costs, and what sharing saves", "", f"{told}: {machine()}. {loaded}", *made, ""])
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
