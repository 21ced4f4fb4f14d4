"""Stores with results of a few bytes, as steps and fine-tuned models leave them; and a graph that workers can build."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.runs.graph import Graph
from oversight.runs.pools.pool import Blueprint
from oversight.runs.store import DirectoryStore, Outcome
from oversight.sealed import ARRAYS

HOURS_AGO = 3 * 3600
TOY = """
import os, signal, time
from pathlib import Path

import numpy as np

from oversight.runs.graph import Graph
from oversight.runs.steps import Kind, Needs, Step
from oversight.runs.store import Outcome


def build(document):
    folder = Path(document["folder"])
    if (folder / "build.fail").exists():
        raise ValueError("the data are gone")
    if (folder / "build.kill").exists():
        os.kill(os.getpid(), signal.SIGKILL)

    def run(steps, inputs, env, tick):
        for step in steps:
            name = step.config["name"]
            with open(folder / "log", "a") as log:
                log.write(f"{name} {os.getpid()}\\n")
            if (folder / f"{name}.kill").exists():
                left = int((folder / f"{name}.kill").read_text()) - 1
                (folder / f"{name}.kill").write_text(str(left))
                if left >= 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            while (folder / f"{name}.wait").exists():
                time.sleep(0.01)
            if (folder / f"{name}.fail").exists():
                raise ValueError(f"{name} is wrong")
        return [outcome(step, read) for step, read in zip(steps, inputs)]

    def outcome(step, read):
        name = step.config["name"]
        total = len(name) + sum(int(one.arrays["sum"][0]) for one in read)
        draw = np.random.default_rng([ord(letter) for letter in name]).standard_normal(8)
        return Outcome(arrays={"sum": np.array([total]), "draw": draw}, record={"name": name})

    def batch(step):
        return 0 if document.get("batched") else step.key

    def needs(step, env):
        return Needs(memory_bytes=document.get("memory", {}).get(step.config["name"], 0))

    steps = {}
    for name, inputs in document["steps"].items():
        before = tuple(steps[one] for one in inputs)
        steps[name] = Step(kind="add", version=1, config={"name": name}, inputs=before, name=f"step {name}")
    kinds = {"add": Kind(run, batch=batch, label="adds", needs=needs)}
    return Graph(goals=tuple(steps.values()), kinds=kinds, env_of=lambda step: None)
"""


@pytest.fixture(scope="session")
def key_of() -> Callable[[str], str]:
    """key_of("a") -> a key."""
    return lambda name: hashlib.sha256(name.encode()).hexdigest()


@pytest.fixture(scope="session")
def age() -> Callable[..., None]:
    """age(path) -> everything in a folder, or a file, was last touched three hours ago."""

    def make_old(path: Path, seconds: float = HOURS_AGO) -> None:
        then = time.time() - seconds
        for one in [*path.rglob("*"), path]:
            os.utime(one, (then, then))

    return make_old


@pytest.fixture(scope="session")
def put_result(key_of: Callable[[str], str], age: Callable[..., None]) -> Callable[..., str]:
    """put_result(store, "b", inputs=["a"]) -> the key of a result made three hours ago; a model has no version."""

    def put(
        store: DirectoryStore,
        name: str,
        *,
        inputs: Sequence[str] = (),
        models: Sequence[str] = (),
        kind: str = "teach",
        young: bool = False,
        **about: Any,
    ) -> str:
        key = key_of(name)
        record: dict[str, Any] = {"models": [key_of(one) for one in models]} if models else {}
        arrays = {"a": np.frombuffer(key.encode(), dtype=np.uint8).astype(np.int64)}
        known = {"kind": kind, "version": 1, "config": {}, "name": f"the step {name}", "seconds": 0.5} | about
        known |= {"inputs": [key_of(one) for one in inputs], "made": "2026-01-01T00:00:00Z"}
        if kind == "model":
            del known["version"]
        store.put(key, Outcome(arrays=arrays, record=record), about=known)
        if not young:
            age(store.folder(key))
        return key

    return put


@dataclass(frozen=True)
class Toy:
    """A graph of small steps that other processes can build too; marks in its folder make steps fail, die or wait."""

    folder: Path
    document: dict[str, Any]

    @property
    def graph(self) -> Graph:
        """The same graph, built here."""
        return self.blueprint(self.folder).build()

    def blueprint(self, store: Path) -> Blueprint:
        """For workers."""
        return Blueprint(builder="toy_graph:build", document=self.document, store=str(store))

    def mark(self, name: str, what: str, text: str = "1") -> Path:
        """mark("b", "kill", "2") -> b kills its process twice; also "fail" and "wait" until the mark is removed."""
        path = self.folder / f"{name}.{what}"
        path.write_text(text)
        return path

    @property
    def log(self) -> list[tuple[str, int]]:
        """Name and process of every beginning of a step, as the steps themselves wrote it down."""
        path = self.folder / "log"
        words = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [(name, int(pid)) for name, pid in words]

    @property
    def begun(self) -> list[str]:
        """Names of the steps that were begun, sorted."""
        return sorted(name for name, _ in self.log)

    def wait_for(self, *names: str) -> None:
        """Until these steps were begun."""
        until = time.monotonic() + 60
        while not set(names) <= {name for name, _ in self.log}:
            assert time.monotonic() < until, f"{names} were not begun: {self.log}"
            time.sleep(0.01)

    def key(self, name: str) -> str:
        """Of a step."""
        return next(key for key, step in self.graph.steps.items() if step.config["name"] == name)


@pytest.fixture(scope="session")
def toy_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the module `toy_graph`, importable here and in every process that is started."""
    folder = tmp_path_factory.mktemp("importable")
    (folder / "toy_graph.py").write_text(TOY)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]))
        yield folder


@pytest.fixture
def toy(toy_path: Path, tmp_path: Path) -> Callable[..., Toy]:
    """toy({"a": [], "b": ["a"]}, batched=False, memory={"b": 5}) -> a graph in which b reads a."""
    del toy_path

    def make(steps: Mapping[str, Sequence[str]], **options: Any) -> Toy:
        folder = tmp_path / "toy"
        folder.mkdir(exist_ok=True)
        return Toy(folder, {"folder": str(folder), "steps": {name: list(of) for name, of in steps.items()}, **options})

    return make


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, tuple[bytes, Any]]]:
    """contents(store) -> by key the bytes of the arrays and the outcome's own record."""

    def look(path: Path) -> dict[str, tuple[bytes, Any]]:
        store = DirectoryStore(path)
        return {
            key: ((store.folder(key) / ARRAYS).read_bytes(), store.about(key, check=True)["record"])
            for key in sorted(store.keys())
        }

    return look
