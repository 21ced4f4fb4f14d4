"""Runs that are interrupted, killed with signal 9 among other ways, and end bitwise as if nothing had been.

Run as a script, this file is the process that is killed: `python test_resume.py NETWORK FOLDER`.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oversight import sealed
from oversight.methods.losses import Confidence
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import from_directory
from oversight.models.finetune.recipe import Full, LpFt, Machine
from oversight.models.finetune.student import FineTuned, FittedFineTuned
from oversight.models.student import Validation
from oversight.models.workbench import working_at
from oversight.tasks.split import Seed
from oversight.tasks.task import Labels, Rows, content_id

OFTEN = Machine(seconds_between_checkpoints=0.0, tokens_at_once=40)
RECIPE = Full(lr=1e-3, epochs=2, batch_size=8, head_lr=1e-2, evaluations=3, dropout=True, machine=OFTEN)
RECIPES: dict[str, Full] = {
    "adamw": RECIPE,
    "adafactor": replace(RECIPE, optimizer="adafactor", early_stopping=False),
    "lp-ft": LpFt(lr=1e-3, epochs=2, batch_size=8, evaluations=6, decay_to_start=20.0, anchor=0.5, machine=OFTEN),
}
N_UPDATES = 6
KINDS = ("loss", "told", "written", "flushed", "operation")
DEATHS_OF_A_KIND = 3
MOST_LIVES = 25
OPERATIONS = {"open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.scandir", "os.listdir", "shutil.rmtree"}
WORDS = ["the", "a", "film", "was", "good", "bad", "very", "not", "dull", "bright", "slow", "quick", "kind", "harsh"]


class Interrupted(Exception):
    """Stands for Ctrl-C."""


def fit(network: Path, folder: Path | None, recipe: Full, tell: Callable[[float, str], None]) -> FittedFineTuned:
    """A fit to 24 rows, one block deep: 6 updates, checkpoints in `folder` after every one."""
    rng = np.random.default_rng(5)
    texts = [" ".join(rng.choice(WORDS, rng.integers(2, 12))) + f" {WORDS[i % 14]} {WORDS[i // 14]}" for i in range(36)]
    ids = tuple(map(content_id, texts))
    rows = Rows(ids=ids, texts=tuple(texts), groups=ids)
    labels = Labels.of(rows, rng.dirichlet(np.ones(2), 36), source="test")
    seen = Validation(rows=rows.take(range(24, 36)), labels=labels)
    backbone = Backbone(checkpoint=from_directory(network, name="tiny"), depth=1, precision="float32", device="cpu")
    student = FineTuned(backbone=backbone, recipe=recipe)
    with working_at(folder=folder, tell=tell):
        return student.fit(rows.take(range(24)), labels, validation=seen, loss=watched_confidence, seed=Seed.of(0))


def outcome(fitted: FittedFineTuned) -> str:
    """SHA-256 of every trained weight and of everything that was chosen, but for the time that it took."""
    digest = hashlib.sha256()
    for name, one in fitted.classifier.trained().items():
        digest.update(name.encode() + one.detach().numpy().tobytes())
    choices = {name: found for name, found in fitted.choices.items() if name != "seconds"}
    digest.update(json.dumps(choices, sort_keys=True).encode())
    return digest.hexdigest()


# Within a process that is killed.


class Alarm:
    """Counts what happens in this process, and kills it when one kind of thing happens for the n-th time."""

    seen: dict[str, int] = dict.fromkeys(KINDS, 0)
    kind: str = ""
    n: int = 0

    @classmethod
    def ring(cls, kind: str) -> None:
        if cls.due(kind):
            os.kill(os.getpid(), signal.SIGKILL)

    @classmethod
    def due(cls, kind: str) -> bool:
        cls.seen[kind] += 1
        return kind == cls.kind and cls.seen[kind] == cls.n

    @classmethod
    def set(cls, kind: str, n: int, *, folder: Path) -> None:
        """From now on: within updates, after them, with half a file written, before a flush, before any operation."""
        cls.kind, cls.n = kind, n
        write_file, fsync = sealed.write_file, os.fsync

        def write_half(path: Path, content: bytes) -> None:
            if cls.due("written"):
                path.write_bytes(content[: len(content) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            write_file(path, content)

        def flush(descriptor: int) -> None:
            cls.ring("flushed")
            fsync(descriptor)

        def watch(event: str, args: tuple[Any, ...]) -> None:
            # Trees are removed by names relative to an open directory.
            if event in OPERATIONS and (event in {"os.remove", "os.rmdir"} or str(folder) in str(args[0])):
                cls.ring("operation")

        sealed.write_file, os.fsync = write_half, flush
        sys.addaudithook(watch)


def watched_confidence(logits: torch.Tensor, targets: torch.Tensor, *, progress: float) -> torch.Tensor:
    """The confidence loss, in a process that may not survive it."""
    Alarm.ring("loss")
    return Confidence()(logits, targets, progress=progress)


# Whether an alarm is set changes nothing of what is learned.
watched_confidence.__dict__["identity"] = lambda: {"loss": "confidence, watched"}


def live(network: Path, place: Path, recipe: Full, kind: str, n: int) -> None:
    """One life of a run: to its end, which is written down, or to its death."""
    torch.set_num_threads(1)
    Alarm.set(kind, n, folder=place / "runs")
    fitted = fit(network, place / "runs", recipe, lambda done, note: Alarm.ring("told"))
    left = [str(one) for one in (place / "runs").iterdir()]
    place.joinpath("end.json").write_text(json.dumps([outcome(fitted), Alarm.seen, left]), encoding="utf-8")


def begin(network: Path, place: Path, recipe: Full, kind: str = "", n: int = 0) -> int:
    """Start a life as a process of its own; only imports lie behind it, no thread runs yet."""
    place.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if child == 0:
        try:
            live(network, place, recipe, kind, n)
        except BaseException as error:
            place.joinpath("error.txt").write_text(repr(error), encoding="utf-8")
            os._exit(1)
        os._exit(0)
    return child


def ended(child: int) -> bool:
    """Wait for a life; whether it came to its end."""
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if not killed and status != 0:
        raise RuntimeError(f"a run neither ended nor was killed: {status}")
    return not killed


def lives_until_the_end(network: Path, place: Path, recipe: Full, kind: str, n: int, *, always: bool) -> dict[str, Any]:
    """Kill a run in its first life, or in every one, and begin again until it ends."""
    for life in range(1, MOST_LIVES + 1):
        armed = always or life == 1
        if ended(begin(network, place, recipe, kind if armed else "", n)):
            digest, seen, left = json.loads(place.joinpath("end.json").read_text(encoding="utf-8"))
            return {"kind": kind, "n": n, "lives": life, "digest": digest, "seen": seen, "left": left}
    raise RuntimeError(f"no end after {MOST_LIVES} lives")


def killed_from_outside(network: Path, place: Path, recipe: Full, n: int) -> dict[str, Any]:
    """Kill a run as soon as its n-th checkpoint, or the beginning of it, is seen from another process."""
    child = begin(network, place, recipe)
    until = time.monotonic() + 60
    while time.monotonic() < until and not place.joinpath("end.json").exists():
        names = [one.name for one in place.glob("runs/*/*")]
        published = max((name for name in names if name.startswith("at-")), default="")
        if published >= f"at-{n:08d}" or (published >= f"at-{n - 1:08d}" and len(names) > 1):
            break
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return lives_until_the_end(network, place, recipe, "", 0, always=False) | {"kind": "outside"}


def main(network: Path, folder: Path) -> None:
    """Every way to die, and one line of JSON on what came of it."""
    import transformers.models.gpt2.modeling_gpt2  # noqa: F401 (so that no child imports it)

    found: dict[str, Any] = {}
    draw = random.Random(0)
    for name, recipe in RECIPES.items():
        whole = lives_until_the_end(network, folder / name / "whole", recipe, "", 0, always=False)
        runs: list[dict[str, Any]] = []
        for kind in KINDS if name == "adamw" else ("operation",):
            for n in sorted(draw.sample(range(1, whole["seen"][kind] + 1), DEATHS_OF_A_KIND)):
                runs.append(lives_until_the_end(network, folder / name / f"{kind}-{n}", recipe, kind, n, always=False))
        runs += [killed_from_outside(network, folder / name / f"outside-{n}", recipe, n) for n in (2, 4)]
        n = whole["seen"]["operation"] // 3
        runs.append(
            lives_until_the_end(network, folder / name / "always", recipe, "operation", n, always=True)
            | {"kind": "always"}
        )
        found[name] = {"whole": whole, "runs": runs}
    print(json.dumps(found))


# What is tested of it.


@pytest.fixture(scope="module")
def network(make_network: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_network(tmp_path_factory.mktemp("resumed"), "gpt2")


@pytest.fixture(scope="module")
def killed(
    network: Path, environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What the script says: by recipe the whole run, and all those that were killed."""
    done = subprocess.run(
        [sys.executable, __file__, str(network), str(tmp_path_factory.mktemp("killed"))],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_ends_as_if_it_had_not_been(kind: str, killed: dict[str, Any]) -> None:
    """Within an update, after one, with half a file written, before a flush, before any operation on a file."""
    runs = [run for run in killed["adamw"]["runs"] if run["kind"] == kind]
    ends = {run["n"]: (run["lives"], run["digest"]) for run in runs}
    assert ends == {run["n"]: (2, killed["adamw"]["whole"]["digest"]) for run in runs} and len(runs) == DEATHS_OF_A_KIND


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "adamw"])
def test_so_does_one_of_another_recipe(recipe: str, killed: dict[str, Any]) -> None:
    runs = [run for run in killed[recipe]["runs"] if run["kind"] == "operation"]
    ends = [(run["lives"], run["digest"]) for run in runs]
    assert ends == [(2, killed[recipe]["whole"]["digest"])] * DEATHS_OF_A_KIND


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_killed_by_another_process_ends_alike(recipe: str, killed: dict[str, Any]) -> None:
    """Wherever it was at that moment."""
    runs = [run for run in killed[recipe]["runs"] if run["kind"] == "outside"]
    assert [run["digest"] for run in runs] == [killed[recipe]["whole"]["digest"]] * 2


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_that_is_killed_in_every_life_ends_alike(recipe: str, killed: dict[str, Any]) -> None:
    """Each life is a third of the whole run's operations on files long: enough for a checkpoint, not for the end."""
    (run,) = (run for run in killed[recipe]["runs"] if run["kind"] == "always")
    assert run["lives"] >= 3 and run["digest"] == killed[recipe]["whole"]["digest"]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_no_killed_run_leaves_checkpoints_behind(recipe: str, killed: dict[str, Any]) -> None:
    assert [run["left"] for run in killed[recipe]["runs"] if run["left"]] == []


@pytest.mark.slow
def test_another_recipe_would_have_ended_otherwise(killed: dict[str, Any]) -> None:
    """So the digests above do tell runs apart."""
    assert len({killed[recipe]["whole"]["digest"] for recipe in RECIPES}) == len(RECIPES)


def quietly(done: float, note: str) -> None:
    """Tell nobody."""


def until(update: int) -> Callable[[float, str], None]:
    """Interrupt a run when that update is told, before its checkpoint is written."""

    def tell(done: float, note: str) -> None:
        if round(done * N_UPDATES) == update:
            raise Interrupted

    return tell


def interrupted(network: Path, folder: Path, recipe: Full, update: int) -> Path:
    """The folder of the checkpoints of a run that was interrupted then."""
    with pytest.raises(Interrupted):
        fit(network, folder, recipe, until(update))
    (run,) = folder.iterdir()
    return run


def updates_of(network: Path, folder: Path | None, recipe: Full) -> tuple[list[int], str]:
    """Which updates were made, and what came of the run."""
    told: list[int] = []
    fitted = fit(network, folder, recipe, lambda done, note: told.append(round(done * N_UPDATES)))
    return told, outcome(fitted)


@pytest.fixture(scope="module")
def whole(network: Path) -> dict[str, str]:
    """What comes of runs that nobody interrupts and that write no checkpoint."""
    return {name: outcome(fit(network, None, recipe, quietly)) for name, recipe in RECIPES.items()}


@pytest.mark.parametrize("update", [2, 3, 5, 6])
@pytest.mark.parametrize("recipe", RECIPES)
def test_an_interrupted_run_goes_on_where_it_was(
    recipe: str, update: int, network: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    """The update that was told last is the only one that is made again: its checkpoint had not been written."""
    interrupted(network, tmp_path, RECIPES[recipe], update)
    told, end = updates_of(network, tmp_path, RECIPES[recipe])
    assert (told, end) == (list(range(update, N_UPDATES + 1)), whole[recipe])


def test_a_run_interrupted_before_any_checkpoint_starts_again(
    network: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        fit(network, tmp_path, RECIPE, until(1))
    assert updates_of(network, tmp_path, RECIPE) == ([1, 2, 3, 4, 5, 6], whole["adamw"])


def test_a_damaged_checkpoint_costs_updates_and_nothing_else(
    network: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    """The newest one is of update 4, the one before of update 2: the run goes on from there."""
    early = interrupted(network, tmp_path / "early", RECIPE, 3)
    late = interrupted(network, tmp_path / "late", RECIPE, 5)
    (older,), (newer,) = early.iterdir(), late.iterdir()
    shutil.copytree(older, late / older.name)
    arrays = newer / sealed.ARRAYS
    content = bytearray(arrays.read_bytes())
    content[-5] ^= 64
    arrays.write_bytes(bytes(content))
    assert updates_of(network, tmp_path / "late", RECIPE) == ([3, 4, 5, 6], whole["adamw"])


def test_without_a_whole_checkpoint_a_run_starts_again(network: Path, whole: dict[str, str], tmp_path: Path) -> None:
    run = interrupted(network, tmp_path, RECIPE, 4)
    for one in run.rglob(sealed.RECORD):
        one.unlink()
    assert updates_of(network, tmp_path, RECIPE) == ([1, 2, 3, 4, 5, 6], whole["adamw"])


def test_checkpoints_are_written_no_more_often_than_asked(network: Path, tmp_path: Path) -> None:
    """One an hour: none in a run of a second."""
    rarely = replace(RECIPE, machine=Machine(seconds_between_checkpoints=3600.0))
    with pytest.raises(Interrupted):
        fit(network, tmp_path, rarely, until(6))
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_leaves_no_checkpoint(network: Path, tmp_path: Path) -> None:
    fit(network, tmp_path, RECIPE, quietly)
    assert list(tmp_path.iterdir()) == []


def test_a_run_does_not_go_on_from_the_checkpoint_of_another(
    network: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    """Other settings, another folder: both can stand unfinished beside each other."""
    interrupted(network, tmp_path, replace(RECIPE, lr=2e-3), 4)
    assert updates_of(network, tmp_path, RECIPE) == ([1, 2, 3, 4, 5, 6], whole["adamw"])
    assert len(list(tmp_path.iterdir())) == 1


def test_other_settings_of_the_machine_go_on_from_the_same_checkpoint(network: Path, tmp_path: Path) -> None:
    interrupted(network, tmp_path, RECIPE, 4)
    told, _ = updates_of(network, tmp_path, replace(RECIPE, machine=Machine(tokens_at_once=1000)))
    assert told == [4, 5, 6]


def test_a_resumed_run_works_with_as_many_threads_as_before(network: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        interrupted(network, tmp_path, RECIPE, 3)
        torch.set_num_threads(1)
        assert fit(network, tmp_path, RECIPE, quietly).choices["threads"] == 2
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
