"""Part (a) of `faults.py`: sweeps that are killed with signal 9 again and again, and go on."""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from toy_sweep import VICTIMS, Driver, Outcomes, Toy, Violation, contents, expect, undisturbed, until

from oversight.runs.store import DirectoryStore

STARTING_UP, STARTUP_SECONDS, MOST_DELAY = 0.15, 1.0, 0.1
AIMED_STEPS = 40
PACE = 1.0
GRID = """
tasks = ["reviews"]
supervisors = ["bow", "minilm@0"]
students = ["minilm@1", "minilm@2"]
methods = ["naive"]
seeds = 2
n_train = 400
n_test = 200
"""
SWEEP = [sys.executable, "-m", "oversight", "sweep"]
BATCHED = 1e-6


def at_random(place: Path, *, kills: int, steps: int, seed: int) -> str:
    """One sweep, killed at random moments: the driver, a worker, or all of them; the same command goes on."""
    toy, draw = Toy(folder=place / "killed", steps=steps, seconds=0.2, seed=seed), random.Random(seed)
    expected = undisturbed(place / "calm", toy)
    hit: Counter[str] = Counter()
    starts = there = 0
    while hit.total() < kills and len(toy.keys()) < steps:
        driver, starts = toy.start(), starts + 1
        while driver.running() and hit.total() < kills and wait_a_while(toy, driver, draw, kills - hit.total()):
            victim = draw.choice(VICTIMS)
            hit[victim] += driver.kill(victim, draw)
            there = len(toy.keys())
            if victim != "worker":
                driver.wait()
        driver.wait()
    toy.finish()
    found = toy.judge(expected)
    expect(hit.total() >= kills, f"only {hit.total()} kills before the sweep was through: ask for more steps")
    return (
        f"{hit.total()} kills ({', '.join(f'{hit[name]} {name}' for name in VICTIMS)}) in {starts} starts, the last "
        f"kill with {there} of {steps} steps there: 0 lost, 0 damaged, {summed(found)}, {toy.left_over()} "
        f"kills inside a write; {len(expected)} results equal byte for byte"
    )


def wait_a_while(toy: Toy, driver: Driver, draw: random.Random, left: int) -> bool:
    """Wait for a random moment, so that the kills that are left fall into the steps that are left; False: it ended."""
    if draw.random() < STARTING_UP:
        until(lambda: not driver.running(), draw.uniform(0, STARTUP_SECONDS))
        return driver.running()
    there = len(toy.keys())
    wanted = there + int(draw.uniform(0, PACE * (toy.steps - there) / left))
    until(lambda: not driver.running() or published(toy) >= wanted)
    until(lambda: not driver.running(), draw.uniform(0, MOST_DELAY))
    return driver.running()


def published(toy: Toy) -> int:
    """Lines of the journal that say so; some that were killed in between are missing."""
    return sum(line[0] == "published" for line in toy.lines())


def summed(found: Outcomes) -> str:
    """How often something was computed in vain, and never after it was there."""
    return f"{found.repeated} computations lost half way and done again, 0 after they were published"


def at_every_moment(place: Path, *, seed: int, most: int | None = None) -> str:
    """A small sweep for each moment between two system calls of a worker or the driver, killed there, and resumed."""
    draw = random.Random(seed)
    first = Toy(folder=place / "calls", steps=AIMED_STEPS, seconds=0.02, seed=seed)
    expected = undisturbed(place / "calm-calls", first)
    told = place / "moments"
    expect(first.start(hook={"moments": str(told)}).wait() == 0, "the sweep did not end well")
    counts = Counter(told.read_text().splitlines())
    chosen = sorted(counts) if most is None else draw.sample(sorted(counts), most)
    again = 0
    for i, moment in enumerate(chosen):
        toy = Toy(folder=place / f"moment-{i}", steps=AIMED_STEPS, seconds=0.02, seed=seed)
        again += killed_at(toy, moment, draw.randint(1, max(1, counts[moment] // 4)), i % 2 == 0, expected).repeated
        shutil.rmtree(toy.folder)
    return (
        f"killed at {len(chosen)} of the {len(counts)} moments between the system calls of claiming, publishing and "
        f"releasing, every second time with the driver: 0 lost, 0 damaged, {again} computations lost half way, 0 done "
        "again after they were published, results equal byte for byte"
    )


def killed_at(toy: Toy, moment: str, nth: int, driver_too: bool, expected: Mapping[str, Any]) -> Outcomes:
    """Kill once at a moment, run the same command to the end, judge."""
    for n in (nth, 1):
        shutil.rmtree(toy.folder, ignore_errors=True)
        flag = toy.folder / "flag"
        code = toy.start(hook={"at": moment, "nth": n, "flag": str(flag), "driver": driver_too}).wait()
        if flag.exists():
            expect(code in (0, -9), f"{moment}: the driver ended with {code}")
            toy.finish()
            try:
                return toy.judge(expected)
            except Violation as error:
                raise Violation(f"killed {moment}, time {n}: {error}") from error
    raise Violation(f"{moment} never came")


def real(place: Path, *, kills: int, seed: int) -> str:
    """`oversight sweep` on reviews: bags of words and probes on MiniLM, killed and resumed, against one undisturbed."""
    plan, draw = place / "grid.toml", random.Random(seed)
    plan.write_text(GRID)
    calm, store = DirectoryStore(place / "calm-real"), DirectoryStore(place / "real")
    expect(start(plan, calm, place).wait() == 0, "the undisturbed sweep did not end well")
    total, done = len(list(calm.keys())), 0
    while done < kills:
        there = len(list(store.keys()))
        driver = start(plan, store, place)
        wanted = there + int(draw.uniform(0, PACE * (total - there) / (kills - done)))
        until(lambda driver=driver, wanted=wanted: not driver.running() or len(list(store.keys())) >= wanted)
        time.sleep(draw.uniform(0, 0.5))
        if not driver.running():
            break
        victim = draw.choice(VICTIMS)
        done += driver.kill(victim, draw)
        if victim == "worker":
            time.sleep(draw.uniform(0, 2))
            done += driver.kill("tree", draw)
        driver.wait()
    driver = start(plan, store, place)
    expect(driver.wait() == 0, f"the sweep did not end well: {driver.said()}")
    expect(store.verify() == {}, f"damaged results: {store.verify()}")
    expect(done >= kills, f"only {done} kills before the sweep was through")
    return f"`oversight sweep`, {total} steps of bags of words and probes, {done} kills: {alike(store, calm)}"


def start(plan: Path, store: DirectoryStore, place: Path) -> Driver:
    """The command line's sweep, with two workers."""
    return Driver([*SWEEP, str(plan), "--workers", "2", "--store", str(store.path)], os.environ, place / "said")


def alike(one: DirectoryStore, other: DirectoryStore) -> str:
    """Same keys; bytes equal, or, where half a group of probes was solved anew, arrays equal up to `BATCHED`."""
    ours, theirs = contents(one), contents(other)
    expect(set(ours) == set(theirs), "a resumed sweep has other results than an undisturbed one")
    equal = [key for key in ours if ours[key] == theirs[key]]
    worst = max((difference(one, other, key) for key in set(ours) - set(equal)), default=0.0)
    expect(worst <= BATCHED, f"results differ by {worst}")
    others = f", the others within {worst:.0e}" if len(equal) < len(ours) else ""
    return f"0 lost, {len(equal)} of {len(ours)} results equal byte for byte{others}"


def difference(one: DirectoryStore, other: DirectoryStore, key: str) -> float:
    """The largest difference of two results in any number."""
    a, b = one.get(key), other.get(key)
    expect(a is not None and b is not None, f"{key} cannot be read")
    assert a is not None and b is not None
    expect(set(a.arrays) == set(b.arrays), f"{key}: found other arrays")
    arrays = [float(np.max(np.abs(a.arrays[name] * 1.0 - b.arrays[name]), initial=0.0)) for name in a.arrays]
    return max([*arrays, *(abs(x - y) for x, y in zip(numbers(a.record), numbers(b.record), strict=True))], default=0.0)


def numbers(content: Any) -> Iterator[float]:
    """Every number in a JSON object."""
    if isinstance(content, Mapping):
        content = [content[name] for name in sorted(content)]
    if isinstance(content, Sequence) and not isinstance(content, str):
        for one in content:
            yield from numbers(one)
    elif isinstance(content, int | float):
        yield float(content)
