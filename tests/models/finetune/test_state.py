"""Checkpoints of unfinished runs: everything comes back bit by bit, and nothing that is damaged is ever believed."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint
from oversight.models.finetune import state as states
from oversight.models.finetune.classifier import Classifier
from oversight.models.finetune.optim import make_optimizer
from oversight.models.finetune.recipe import Full
from oversight.models.finetune.state import State
from oversight.sealed import ARRAYS, RECORD, content_sha256

FILES = (RECORD, ARRAYS)
Run = tuple[Classifier, torch.optim.Optimizer]


@pytest.fixture
def begin(gpt2: Checkpoint, in_float32: Callable[..., Backbone]) -> Callable[[Any], Run]:
    """begin("adamw") -> a network of one block and its optimiser, nothing learned."""

    def build(optimizer: Any) -> Run:
        recipe = Full(optimizer=optimizer, weight_decay=0.1)
        classifier = Classifier(in_float32(gpt2, depth=1), recipe, n_classes=2, paired=False, seed=0)
        return classifier, make_optimizer(classifier, recipe, 1e-3)

    return build


def learn(run: Run, steps: range) -> None:
    """Updates with gradients that depend on the number of the update alone."""
    classifier, optimizer = run
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for one in classifier.trained().values():
            one.grad = torch.randn(one.shape, generator=generator)
        optimizer.step()


def tensors(content: Any) -> dict[str, torch.Tensor]:
    """All tensors of an optimiser's state by name."""
    return {f"{i}.{name}": one for i, entry in content["state"].items() for name, one in entry.items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in a)


def some_state(step: int) -> State:
    """Numbers that a decimal text could round."""
    entry = {"step": float(step), "loss": 0.1 + 0.2, "agreement": 2 / 3, "cross_entropy": 1e-17}
    return State(
        step=step,
        losses=[1 / (3 + i) for i in range(step)],
        curve=[entry],
        best=entry,
        best_weights={"head.bias": torch.tensor([0.1, -0.0])},
        tokens_at_once=96,
        threads=3,
        seconds=1.7,
    )


def small(folder: Path, step: int) -> Path:
    """A checkpoint of a network of two numbers, beside those that are there."""
    states.save(folder / "aside", some_state(step), {"head.bias": torch.tensor([float(step), 1.0])}, EMPTY)
    place = folder / f"at-{step:08d}"
    os.rename(folder / "aside" / place.name, place)
    return place


EMPTY: dict[str, Any] = {"state": {}, "param_groups": []}


def step_of(folder: Path) -> int | None:
    found = states.load(folder)
    return None if found is None else found[0].step


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_weights_and_moments_come_back_bit_by_bit(optimizer: str, begin: Callable[[Any], Run], tmp_path: Path) -> None:
    run = begin(optimizer)
    learn(run, range(3))
    states.save(tmp_path, some_state(3), run[0].trained(), run[1].state_dict())
    found = states.load(tmp_path)
    assert found is not None
    assert same(found[1], dict(run[0].trained())) and same(tensors(found[2]), tensors(run[1].state_dict()))


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_settings_of_the_optimiser_come_back(optimizer: str, begin: Callable[[Any], Run], tmp_path: Path) -> None:
    run, other = begin(optimizer), begin(optimizer)
    run[1].param_groups[0]["lr"] = 1e-3 / 3
    states.save(tmp_path, some_state(0), run[0].trained(), run[1].state_dict())
    found = states.load(tmp_path)
    assert found is not None
    other[1].load_state_dict(found[2])
    as_lists = [json.loads(json.dumps(one.state_dict()["param_groups"])) for _, one in (run, other)]
    assert as_lists[0] == as_lists[1] and as_lists[0][0]["lr"] == 1e-3 / 3


def test_everything_else_comes_back(tmp_path: Path) -> None:
    small(tmp_path, 5)
    found = states.load(tmp_path)
    assert found is not None
    expected = some_state(5)
    assert found[0].record() == expected.record()
    assert same(found[0].best_weights or {}, expected.best_weights or {})


def test_no_best_weights_come_back_as_none(tmp_path: Path) -> None:
    states.save(tmp_path, dataclasses.replace(some_state(1), best=None, best_weights=None), {}, EMPTY)
    found = states.load(tmp_path)
    assert found is not None and found[0].best_weights is None and found[0].best is None


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_a_run_goes_on_bit_by_bit(optimizer: str, begin: Callable[[Any], Run], tmp_path: Path) -> None:
    """3 + 3 updates with a checkpoint between them, read by another network and optimiser, are 6 updates."""
    whole, cut, resumed = begin(optimizer), begin(optimizer), begin(optimizer)
    learn(whole, range(6))
    learn(cut, range(3))
    states.save(tmp_path, some_state(3), cut[0].trained(), cut[1].state_dict())
    found = states.load(tmp_path)
    assert found is not None
    resumed[0].load(found[1])
    resumed[1].load_state_dict(found[2])
    learn(resumed, range(3, 6))
    assert same(dict(resumed[0].trained()), dict(whole[0].trained()))
    assert not same(dict(resumed[0].trained()), dict(cut[0].trained()))


def test_saving_changes_nothing_in_the_run(begin: Callable[[Any], Run], tmp_path: Path) -> None:
    saved, plain = begin("adamw"), begin("adamw")
    for step in range(4):
        learn(saved, range(step, step + 1))
        states.save(tmp_path, some_state(step), saved[0].trained(), saved[1].state_dict())
    learn(plain, range(4))
    assert same(dict(saved[0].trained()), dict(plain[0].trained()))


def test_the_newest_checkpoint_counts(tmp_path: Path) -> None:
    """By number, not by the time at which it was written."""
    for step in (2, 100, 9):
        small(tmp_path, step)
    assert step_of(tmp_path) == 100


def test_older_checkpoints_and_leftovers_go_when_a_new_one_is_published(tmp_path: Path) -> None:
    small(tmp_path, 2)
    (tmp_path / ".new-0123").mkdir()
    states.save(tmp_path, some_state(3), {}, EMPTY)
    assert [one.name for one in tmp_path.iterdir()] == ["at-00000003"]


def test_a_checkpoint_of_the_same_update_replaces_the_one_before(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        states.save(tmp_path, some_state(3), {"head.bias": torch.tensor([value])}, EMPTY)
    found = states.load(tmp_path)
    assert found is not None and found[1]["head.bias"].tolist() == [2.0]


def test_where_there_is_none_none_is_found(tmp_path: Path) -> None:
    assert states.load(tmp_path / "nowhere") is None and states.load(tmp_path) is None


def test_what_was_not_published_is_not_read(tmp_path: Path) -> None:
    """Whole, but still under its temporary name: it may be younger than its directory entry says."""
    os.rename(small(tmp_path, 7), tmp_path / ".new-0123456789abcdef")
    assert step_of(tmp_path) is None


def test_dropping_removes_everything_and_may_be_repeated(tmp_path: Path) -> None:
    small(tmp_path / "run", 1)
    for _ in range(2):
        states.drop(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    path.write_bytes(bytes(content))


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replaced_by(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text, encoding="utf-8")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a bit near the end": lambda path: flip(path, 8 * path.stat().st_size - 20),
    "a bit at the start": lambda path: flip(path, 3),
    "half of it": halve,
    "empty": lambda path: path.write_bytes(b""),
    "deleted": Path.unlink,
    "a directory": make_directory,
    "null": replaced_by("null"),
    "a list": replaced_by("[]"),
    "a number": replaced_by("1"),
    "another object": replaced_by('{"sha256": "", "content": {}}'),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(damage: str, file: str, tmp_path: Path) -> None:
    small(tmp_path, 4)
    DAMAGE[damage](small(tmp_path, 5) / file)
    assert step_of(tmp_path) == 4


def test_a_folder_without_files_is_passed_over(tmp_path: Path) -> None:
    small(tmp_path, 4)
    (tmp_path / "at-00000009").mkdir()
    (tmp_path / "at-00000010").write_text("not a folder", encoding="utf-8")
    assert step_of(tmp_path) == 4


def test_files_of_two_checkpoints_are_not_taken_for_one(tmp_path: Path) -> None:
    shutil.copy(small(tmp_path, 4) / ARRAYS, small(tmp_path, 5) / ARRAYS)
    assert step_of(tmp_path) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"format": states.FORMAT + 1},
        {"format": "none"},
        {"state": {"step": 9, "invented": 1}},
        {"state": None},
        {"optimizer": {}},
    ],
    ids=lambda change: f"{change}",
)
def test_a_record_of_another_version_is_passed_over(change: dict[str, Any], tmp_path: Path) -> None:
    """Its checksum is right, what it says is not for us."""
    small(tmp_path, 4)
    path = small(tmp_path, 5) / RECORD
    content = {**json.loads(path.read_bytes())["content"], **change}
    path.write_text(json.dumps({"sha256": content_sha256(content), "content": content}), encoding="utf-8")
    assert step_of(tmp_path) == 4


@settings(max_examples=150, deadline=None)
@given(bit=st.integers(0, 1 << 20), file=st.sampled_from(FILES))
def test_no_flipped_bit_is_ever_believed(bit: int, file: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """None is found, or (an `e` that became `E`) exactly what was written."""
    folder = tmp_path_factory.mktemp("flipped")
    flip(small(folder, 5) / file, bit)
    found = states.load(folder)
    expected = some_state(5)
    assert found is None or (
        found[0].record() == expected.record()
        and found[1]["head.bias"].tolist() == [5.0, 1.0]
        and found[2] == EMPTY
        and same(found[0].best_weights or {}, expected.best_weights or {})
    )


@pytest.mark.parametrize("call", range(1, 5))
def test_a_disk_that_fails_leaves_the_checkpoint_before(
    call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrays, record, folder and rename each fail once: what was there is whole, and no half is left behind."""
    small(tmp_path, 4)
    calls = 0

    def fail(real: Callable[..., Any]) -> Callable[..., Any]:
        def attempt(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                raise OSError(28, "No space left on device")
            return real(*args, **kwargs)

        return attempt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail(os.fsync))
        patched.setattr(os, "rename", fail(os.rename))
        with pytest.raises(OSError, match="No space left"):
            states.save(tmp_path, some_state(5), {"head.bias": torch.ones(2)}, EMPTY)
    assert [one.name for one in tmp_path.iterdir() if one.name != "aside"] == ["at-00000004"] and step_of(tmp_path) == 4


def test_numbers_that_are_none_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    """JSON has no NaN: a record that another reader could not read is never written."""
    with pytest.raises(ValueError, match="JSON"):
        states.save(tmp_path, dataclasses.replace(some_state(2), losses=[float("nan")]), {}, EMPTY)
    assert list(tmp_path.iterdir()) == []
