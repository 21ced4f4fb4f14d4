"""Part (b) of `faults.py`: published files are damaged; who notices, and what happens then."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from toy_sweep import Toy, contents, expect, undisturbed

from oversight.runs.drive import run_graph
from oversight.runs.graph import Graph
from oversight.runs.steps import Step
from oversight.runs.store import DirectoryStore, discard
from oversight.sealed import RECORD

FOLDER = "folder deleted"


def flip(file: Path, draw: random.Random, store: DirectoryStore) -> None:
    """One bit of one byte."""
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


def truncate(file: Path, draw: random.Random, store: DirectoryStore) -> None:
    """Anywhere before the end."""
    content = file.read_bytes()
    file.write_bytes(content[: draw.randrange(1, len(content))])


def empty(file: Path, draw: random.Random, store: DirectoryStore) -> None:
    """No byte left."""
    file.write_bytes(b"")


def delete(file: Path, draw: random.Random, store: DirectoryStore) -> None:
    """The file is gone."""
    file.unlink()


def delete_folder(file: Path, draw: random.Random, store: DirectoryStore) -> None:
    """The whole result is gone."""
    shutil.rmtree(file.parent)


def swap(file: Path, draw: random.Random, store: DirectoryStore) -> None:
    """In its place the file of the same name of another result, sound in itself."""
    others = [one for one in store.path.glob(f"??/*/{file.name}") if one.read_bytes() != file.read_bytes()]
    shutil.copyfile(draw.choice(sorted(others)), file)


def swap_folder(file: Path, draw: random.Random, store: DirectoryStore) -> None:
    """In its place the whole of another result, sound in itself."""
    others = [one for one in store.path.glob("??/*") if one.name != file.parent.name and (one / RECORD).exists()]
    shutil.rmtree(file.parent)
    shutil.copytree(draw.choice(sorted(others)), file.parent)


DAMAGES: dict[str, Callable[[Path, random.Random, DirectoryStore], None]] = {
    "bit flipped": flip,
    "truncated": truncate,
    "file emptied": empty,
    "file deleted": delete,
    FOLDER: delete_folder,
    "file of another result": swap,
    "folder of another result": swap_folder,
}


def damages(place: Path, *, n: int, seed: int, steps: int = 60) -> str:
    """Damage one published file after the other; each is found, named, and made again with equal bytes."""
    toy, draw = Toy(folder=place / "damaged", steps=steps, seed=seed), random.Random(seed)
    expected = undisturbed(place / "sound", toy)
    shutil.copytree(place / "sound" / "store", toy.place)
    told: Counter[str] = Counter()
    shown: set[str] = set()
    for i in range(n):
        store, name = DirectoryStore(toy.place), draw.choice([*DAMAGES])
        key = draw.choice(sorted(expected))
        file = draw.choice(sorted(store.folder(key).iterdir()))
        DAMAGES[name](file, draw, store)
        case = f"damage {i}, {name}, {file.relative_to(toy.place)}"
        told[name] += found(toy, key, name == FOLDER, case)
        if name not in shown:
            told_by_command(toy, key, name == FOLDER, case)
        shown.add(name)
        mend(toy, key, draw, name == FOLDER, case)
        expect(contents(DirectoryStore(toy.place)) == expected, f"{case}: made again, it differs")
    kinds = ", ".join(f"{told[name]} {name}" for name in DAMAGES)
    return (
        f"{told.total()} of {n} found and made again with equal bytes ({kinds}); all were named by `verify` and on "
        f"reading but the {told[FOLDER]} deleted folders, which are missing results: asking finds them"
    )


def found(toy: Toy, key: str, missing: bool, case: str) -> bool:
    """Whether `verify` names just this one; a missing one is found by looking for what is to be done."""
    store = DirectoryStore(toy.place)
    named = store.verify()
    expect(set(named) == (set() if missing else {key}), f"{case}: `verify` found {named}")
    expect(missing == (not store.peek(key)), f"{case}: it is still taken for there")
    return True


def told_by_command(toy: Toy, key: str, missing: bool, case: str) -> None:
    """`oversight verify` says so, and its exit code."""
    command = [sys.executable, "-m", "oversight", "verify", "--store", str(toy.place)]
    done = subprocess.run(command, capture_output=True, text=True)
    expect(done.returncode == (0 if missing else 1), f"{case}: `oversight verify` gave {done.returncode}")
    expect(missing or key[:12] in done.stdout + done.stderr, f"{case}: `oversight verify` does not name it")


def mend(toy: Toy, key: str, draw: random.Random, missing: bool, case: str) -> None:
    """Make it again, on one of three ways: read, then asked for; asked for at once; as an input of a lost step."""
    store, graph = DirectoryStore(toy.place), toy.graph
    way = draw.choice(("read", "asked", "input"))
    wanted: Step = graph.steps[key]
    if way == "input" and graph.readers[key]:
        wanted = graph.steps[draw.choice(graph.readers[key])]
        discard(store.folder(wanted.key))
    if way == "read":
        expect(store.get(key) is None, f"{case}: it was believed when read")
    run_graph(Graph(goals=(wanted,), kinds=graph.kinds, env_of=graph.env_of), store=store)
    named = [line for line in store.damaged if line.startswith(key)]
    expect(len(named) == (0 if missing else 1) == len(store.damaged), f"{case}: reading named {store.damaged}")
