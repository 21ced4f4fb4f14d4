"""One toy sweep and its processes, for `faults.py`: start, kill, and judge what is left."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import toy_graph

from oversight.runs.graph import Graph
from oversight.runs.store import DirectoryStore

COMMAND = Path(__file__).with_name("toy_graph.py")
PATIENCE = 300.0
VICTIMS = ("tree", "worker", "driver")


class Violation(Exception):
    """A claim is false."""


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """What a journal says.

    Attributes:
        began: computations by key.
        again: keys of steps that were computed once more although their result was published.
        published: keys, as often as a result was renamed into place.
        pids: of the processes that computed.
    """

    began: Counter[str] = field(default_factory=Counter[str])
    again: list[str] = field(default_factory=list[str])
    published: Counter[str] = field(default_factory=Counter[str])
    pids: set[int] = field(default_factory=set[int])

    @property
    def repeated(self) -> int:
        """Computations whose result was never published."""
        return self.began.total() - len(self.began)


@dataclass(frozen=True, kw_only=True)
class Toy:
    """A toy sweep in a folder of its own; see `toy_graph`.

    Attributes:
        folder: for its store, journal and document.
        steps: how many.
        seconds: that a step sleeps at most.
        seed: of the graph.
        bytes: of a result, at most, about.
        store: where results go; None = in the folder.
    """

    folder: Path
    steps: int
    seconds: float = 0.0
    seed: int = 0
    bytes: int = 1 << 20
    store: Path | None = None

    @cached_property
    def place(self) -> Path:
        """Of the store."""
        return (self.store or self.folder / "store").resolve()

    @cached_property
    def document(self) -> dict[str, Any]:
        """That worker processes build the graph from."""
        told = {name: getattr(self, name) for name in ("steps", "seconds", "seed", "bytes")}
        return {**told, "journal": str(self.folder / "journal"), "store": str(self.place)}

    @cached_property
    def graph(self) -> Graph:
        """The graph, in this process, which is not watched."""
        steps = toy_graph.steps_of(self.seed, self.steps, self.bytes)
        env = toy_graph.Env(journal=self.document["journal"], store=str(self.place), seconds=0.0)
        return Graph(goals=steps, kinds=toy_graph.KINDS, env_of=lambda step: env)

    def start(
        self,
        *,
        workers: int = 2,
        ray: str | None = None,
        hook: Mapping[str, Any] | None = None,
        prefix: Sequence[str] = (),
    ) -> Driver:
        """The command, the same one every time, with what is done to it: see `toy_hooks`; a command that runs it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        plan = self.folder / "toy.json"
        if not plan.exists():
            plan.write_text(json.dumps(self.document))
        told = [str(plan), "--store", str(self.place), "--workers", str(workers)]
        extra = ["--ray", ray] if ray else []
        env = {**os.environ, **({"TOY_HOOK": json.dumps(dict(hook))} if hook else {})}
        return Driver(
            [*prefix, sys.executable, str(COMMAND), *told, *extra], env, self.folder / f"said-{time.monotonic_ns()}"
        )

    def finish(self, *, workers: int = 2) -> None:
        """Run to the end, undisturbed."""
        driver = self.start(workers=workers)
        expect(driver.wait() == 0, f"the sweep did not end well: {driver.said()}")

    def lines(self) -> list[list[str]]:
        """Of the journal."""
        journal = Path(self.document["journal"])
        return [line.split() for line in journal.read_text().splitlines()] if journal.exists() else []

    def journal(self) -> Outcomes:
        """What it says, in the order in which it was written."""
        found = Outcomes()
        for word, key, pid, *there in self.lines():
            if word == "began":
                found.began[key] += 1
                found.pids.add(int(pid))
                if there == ["1"] or key in found.published:
                    found.again.append(key)
            else:
                found.published[key] += 1
        return found

    def busy(self) -> list[int]:
        """Processes whose last step was not published yet."""
        last: dict[int, str] = {}
        for word, key, pid, *_ in self.lines():
            last[int(pid)] = key if word == "began" else ""
        return [pid for pid, key in last.items() if key and Path(f"/proc/{pid}").exists()]

    def keys(self) -> list[str]:
        """Of what is published."""
        return list(DirectoryStore(self.place).keys())

    def left_over(self) -> int:
        """Folders of unfinished writes."""
        return len(list(self.place.glob("??/.new-*")))

    def judge(self, expected: Mapping[str, Any]) -> Outcomes:
        """All is there, sound and equal to what was expected; nothing was computed after it was published.

        Raises:
            Violation: it is not so.
        """
        found, store = self.journal(), DirectoryStore(self.place)
        expect(store.verify() == {}, f"damaged results: {store.verify()}")
        expect(contents(store) == expected, "the results differ from those of an undisturbed run")
        expect(found.again == [], f"computed again after it was published: {found.again}")
        twice = [key for key, n in found.published.items() if n > 1]
        expect(twice == [], f"published twice: {twice}")
        alive = [pid for pid in found.pids if Path(f"/proc/{pid}").exists() and "toy" in _environment(pid)]
        expect(alive == [] or gone(alive), f"processes that outlived their sweep: {alive}")
        return found


class Driver:
    """A running command."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], said: Path) -> None:
        self._said = said
        with said.open("w") as file:
            self.process = subprocess.Popen(command, env=dict(env), stdout=file, stderr=file)

    def workers(self) -> list[int]:
        """Its child processes."""
        with suppress(OSError):
            found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
            return [int(pid) for pid in found.split()]
        return []

    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE)

    def kill(self, victim: str, draw: random.Random) -> bool:
        """Signal 9 to the driver, one of its workers, or all of them, in random order; whether there was one."""
        workers, own = self.workers(), self.process.pid
        targets = {"tree": [own, *workers], "driver": [own], "worker": draw.sample(workers, min(1, len(workers)))}
        for pid in draw.sample(targets[victim], len(targets[victim])):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(targets[victim])

    def said(self) -> str:
        """What it printed."""
        return self._said.read_text().strip()


def undisturbed(folder: Path, toy: Toy) -> dict[str, Any]:
    """What a run of one process gives that nobody disturbs."""
    calm = Toy(folder=folder, steps=toy.steps, seed=toy.seed, bytes=toy.bytes)
    calm.finish(workers=1)
    found = contents(DirectoryStore(calm.place))
    expect(set(found) == set(calm.graph.steps), "an undisturbed run did not publish every step")
    return found


def contents(store: DirectoryStore) -> dict[str, Any]:
    """By key: checksums of the files of arrays and rows as they lie on disk, what was computed, and from what."""
    found: dict[str, Any] = {}
    for key, about in store.records():
        folder = store.folder(key)
        expect(isinstance(about, dict), f"{key}: {about}")
        names = sorted(path.name for path in folder.iterdir() if path.name != "record.json")
        kept = {name: about[name] for name in ("kind", "version", "config", "inputs", "record")}  # pyright: ignore
        files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
        found[key] = {**files, **kept}
    return found


def until(true: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Whether it becomes true within this time."""
    end = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.002)
    return found


def gone(pids: Sequence[int]) -> bool:
    """Whether processes end within a moment."""
    return until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 10.0)


def expect(true: bool, what: str) -> None:
    """Raise unless it is so.

    Raises:
        Violation: it is not.
    """
    if not true:
        raise Violation(what)


def _environment(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""
