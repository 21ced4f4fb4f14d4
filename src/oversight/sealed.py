"""Folders whose contents are checked when read: a record in JSON, arrays in safetensors, checksums over both."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
RECORD, ARRAYS = "record.json", "arrays.safetensors"
MAPPED_BYTES = 1 << 20
DTYPES = {"F64": np.float64, "F32": np.float32, "I64": np.int64, "BOOL": np.bool_}


def write_sealed(folder: Path, arrays: Mapping[str, Array], content: Mapping[str, Any]) -> None:
    """Write a record and its arrays into an empty folder, flushed to disk; to publish it is the caller's rename."""
    packed = dump_arrays(arrays)
    write_file(folder / ARRAYS, packed)
    sealed = {**content, "arrays_sha256": hashlib.sha256(packed).hexdigest()}
    text = json.dumps({"sha256": content_sha256(sealed), "content": sealed}, ensure_ascii=False, allow_nan=False)
    write_file(folder / RECORD, text.encode())
    flush_directory(folder)


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a folder.

    Raises:
        ValueError, KeyError, TypeError: it is not what was written.
    """
    sealed = json.loads((folder / RECORD).read_bytes())
    content: dict[str, Any] = sealed["content"]
    if sealed["sha256"] != content_sha256(content):
        raise ValueError(f"{RECORD} does not agree with its checksum")
    return content


def read_arrays(folder: Path, content: Mapping[str, Any]) -> dict[str, Array]:
    """The arrays of a folder, read-only, large ones memory-mapped.

    Raises:
        ValueError: they are not those of its record.
    """
    with (folder / ARRAYS).open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != content["arrays_sha256"]:
            raise ValueError(f"{ARRAYS} does not agree with its checksum")
    return map_arrays(folder / ARRAYS)


def content_sha256(content: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON object, whatever the order of its names."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def dump_arrays(arrays: Mapping[str, Array]) -> bytes:
    """Arrays in the safetensors format; the same arrays give the same bytes."""
    from safetensors.numpy import save

    return save({name: np.asarray(arrays[name], order="C") for name in sorted(arrays)})


def map_arrays(path: Path) -> dict[str, Array]:
    """The arrays of a safetensors file, read-only; mapped where the file is large, as a map holds a file open."""
    large = path.stat().st_size >= MAPPED_BYTES
    raw = np.memmap(path, dtype=np.uint8, mode="r") if large else np.frombuffer(path.read_bytes(), dtype=np.uint8)
    size = 8 + int.from_bytes(raw[:8].tobytes(), "little")
    header: dict[str, Any] = json.loads(raw[8:size].tobytes())
    header.pop("__metadata__", None)
    found: dict[str, Array] = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        found[name] = raw[size + start : size + end].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return found


def write_file(path: Path, content: bytes) -> None:
    """Write and flush to disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush_directory(path: Path) -> None:
    """Bring the names of a directory to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
