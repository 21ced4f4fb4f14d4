"""The files of a checkpoint, looked at before anything is computed with them: damage shows in the first bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from oversight.errors import InputError


def check_files(path: Path, *, name: str) -> None:
    """Refuse a directory whose config, tokenizer or safetensors headers cannot be read.

    Raises:
        InputError: which file, and what is wrong with it.
    """
    for file in sorted({path / "config.json", *path.glob("tokenizer*.json"), *path.glob("*.index.json")}):
        if file.is_file() and not isinstance(_json(file.read_bytes()), dict):
            raise InputError(f"{name}: found a damaged {file.name} (not a JSON object), expected it as saved")
    for file in sorted(path.glob("*.safetensors")):
        fault = _fault(file)
        if fault:
            raise InputError(f"{name}: found a damaged {file.name} ({fault}), expected whole weights; fetch them again")


def _fault(path: Path) -> str:
    """What is wrong with a safetensors file as far as its header and its size tell; empty where nothing is."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            return "no whole header"
        header = _json(file.read(length))
    if not isinstance(header, dict):
        return "a header that is not JSON"
    try:
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except (KeyError, IndexError, TypeError, ValueError):
        return "a header without offsets"
    expected = 8 + length + max(ends, default=0)
    return f"{size} bytes where its header says {expected}" if size != expected else ""


def _json(content: bytes) -> Any:
    """The JSON value, or None where it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
