"""Where an unfinished run stands, on disk: published by rename, checked when read, the newest whole one counts."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oversight.sealed import Array, flush_directory, read_arrays, read_record, write_sealed

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
KEPT = "at-"


@dataclass
class State:
    """Everything but weights and optimiser that the next update depends on, and what was seen so far.

    Attributes:
        step: updates done.
        losses: training loss of each.
        curve: one entry per evaluation.
        best: the entry that early stopping would keep.
        best_weights: the weights of that moment; None where the last ones are kept.
        tokens_at_once: budget of one pass, halved whenever memory ran out.
        threads: of the processor, the same in every sitting: sums would be rounded differently otherwise.
        seconds: spent training, in all sittings.
    """

    step: int = 0
    losses: list[float] = field(default_factory=list[float])
    curve: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    best: dict[str, float] | None = None
    best_weights: dict[str, Tensor] | None = None
    tokens_at_once: int = 0
    threads: int = 0
    seconds: float = 0.0

    def record(self) -> dict[str, Any]:
        """All that is no tensor."""
        names = ("step", "losses", "curve", "best", "tokens_at_once", "threads", "seconds")
        return {name: getattr(self, name) for name in names}


def save(folder: Path, state: State, weights: Mapping[str, Tensor], optimizer: Mapping[str, Any]) -> None:
    """Publish a checkpoint under `folder`, then drop the older ones.

    Args:
        folder: of the run.
        state: see `State`.
        weights: trained ones by name.
        optimizer: its `state_dict()`.

    Raises:
        OSError: it could not be written; what was there before still is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".new-{secrets.token_hex(8)}"
    temporary.mkdir()
    try:
        moments, rest = _apart(optimizer)
        tensors = {f"weights.{name}": one for name, one in weights.items()}
        tensors |= {f"best.{name}": one for name, one in (state.best_weights or {}).items()}
        tensors |= {f"optimizer.{name}": one for name, one in moments.items()}
        arrays = {name: one.detach().cpu().numpy() for name, one in tensors.items()}
        write_sealed(temporary, arrays, {"format": FORMAT, "state": state.record(), "optimizer": rest})
        final = folder / f"{KEPT}{state.step:08d}"
        if final.exists():
            shutil.rmtree(final)
        os.rename(temporary, final)
        flush_directory(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in folder.iterdir():
        if old != final:
            shutil.rmtree(old, ignore_errors=True)


def load(folder: Path) -> tuple[State, dict[str, Tensor], dict[str, Any]] | None:
    """The newest checkpoint under `folder` that is whole: state, weights, and the optimiser's `state_dict()`."""
    for place in sorted(folder.glob(f"{KEPT}*"), reverse=True):
        try:
            content = read_record(place)
            if content["format"] > FORMAT:
                continue
            arrays = read_arrays(place, content)
            return _state(content, arrays)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def drop(folder: Path) -> None:
    """Remove all checkpoints of a run."""
    shutil.rmtree(folder, ignore_errors=True)


def _state(content: Mapping[str, Any], arrays: Mapping[str, Array]) -> tuple[State, dict[str, Tensor], dict[str, Any]]:
    import torch

    def part(prefix: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): torch.from_numpy(array.copy())
            for name, array in arrays.items()
            if name.startswith(prefix)
        }

    state = State(**content["state"], best_weights=part("best.") or None)
    return state, part("weights."), _together(part("optimizer."), content["optimizer"])


def _apart(optimizer: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of an optimiser's state, named `parameter.entry`, and the rest as JSON."""
    import torch

    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for parameter, entries in optimizer["state"].items():
        for name, found in entries.items():
            if isinstance(found, torch.Tensor):
                tensors[f"{parameter}.{name}"] = found
            else:
                numbers.setdefault(str(parameter), {})[name] = found
    return tensors, {"numbers": numbers, "param_groups": optimizer["param_groups"]}


def _together(tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {int(parameter): dict(found) for parameter, found in rest["numbers"].items()}
    for path, tensor in tensors.items():
        parameter, _, name = path.partition(".")
        state.setdefault(int(parameter), {})[name] = tensor
    return {"state": state, "param_groups": rest["param_groups"]}
