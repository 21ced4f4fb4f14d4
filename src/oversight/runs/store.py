"""Results on disk, found by what made them: published by rename, checked when read, never believed when damaged."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from oversight.errors import InputError, StepError

Array = npt.NDArray[Any]
FORMAT = 1
RECORD, ARRAYS = "record.json", "arrays.safetensors"
DTYPES = {"F64": np.float64, "F32": np.float32, "I64": np.int64, "BOOL": np.bool_}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a step gives: arrays and a JSON record."""

    arrays: Mapping[str, Array] = field(default_factory=dict[str, Array])
    record: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Store(Protocol):
    """Outcomes by key."""

    def get(self, key: str) -> Outcome | None:
        """The outcome of this key; None when it is not there or was found damaged."""
        ...

    def put(self, key: str, outcome: Outcome, *, about: Mapping[str, Any]) -> Outcome:
        """Keep an outcome and give it back as a later `get` would; `about` says what made it."""
        ...


class MemoryStore:
    """Outcomes of this process."""

    def __init__(self) -> None:
        self._kept: dict[str, Outcome] = {}

    def get(self, key: str) -> Outcome | None:
        """See `Store.get`."""
        return self._kept.get(key)

    def put(self, key: str, outcome: Outcome, *, about: Mapping[str, Any]) -> Outcome:
        """See `Store.put`."""
        del about
        return self._kept.setdefault(key, outcome)


class DirectoryStore:
    """One folder per outcome, `ab/ab12.../`, holding `record.json` and `arrays.safetensors`.

    A folder is written under a temporary name, its files flushed to disk, and renamed when complete. The record holds
    the SHA-256 of the arrays and of itself; both are checked before an outcome is believed. A damaged folder is
    removed and its key remembered in `damaged`. The directory itself is made at the first `put`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.damaged: list[str] = []
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"--store {self.path}: found a file, expected a directory")

    def folder(self, key: str) -> Path:
        """Where the outcome of a key lies."""
        return self.path / key[:2] / key

    def get(self, key: str) -> Outcome | None:
        """See `Store.get`."""
        folder = self.folder(key)
        if not folder.is_dir():
            return None
        try:
            return read_outcome(folder)
        except (OSError, ValueError, KeyError) as error:
            self.damaged.append(f"{key}: {error}")
            shutil.rmtree(folder, ignore_errors=True)
            return None

    def put(self, key: str, outcome: Outcome, *, about: Mapping[str, Any]) -> Outcome:
        """See `Store.put`.

        Raises:
            StepError: the outcome could not be written; nothing half-written is left under the key.
        """
        folder = self.folder(key)
        temporary: Path | None = None
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
            _write(temporary, outcome, {"key": key, **about})
            _publish(temporary, folder)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise StepError(f"store {self.path}: cannot write {key[:12]}: {reason}; nothing was kept of this step") from error
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
        return read_outcome(folder)

    def keys(self) -> Iterator[str]:
        """All keys, sorted."""
        yield from sorted(folder.name for folder in self.path.glob("??/*") if not folder.name.startswith("."))

    def about(self, key: str) -> dict[str, Any]:
        """What made an outcome, when, from what.

        Raises:
            InputError: no such key, or more than one that begins so.
        """
        found = [known for known in self.keys() if known.startswith(key)]
        if len(found) != 1:
            raise InputError(f"store {self.path}: found {len(found)} results whose key begins with '{key}', expected one")
        record: dict[str, Any] = json.loads((self.folder(found[0]) / RECORD).read_bytes())["content"]
        return record

    def verify(self) -> dict[str, str]:
        """Every damaged outcome with its fault; removes nothing."""
        faults: dict[str, str] = {}
        for key in self.keys():
            try:
                read_outcome(self.folder(key))
            except (OSError, ValueError, KeyError) as error:
                faults[key] = str(error)
        return faults


def _publish(temporary: Path, folder: Path) -> None:
    """Rename; where somebody else published the same key first, theirs stands."""
    try:
        os.rename(temporary, folder)
    except OSError as error:
        if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
            raise
    _flush_directory(folder.parent)


def _write(folder: Path, outcome: Outcome, about: Mapping[str, Any]) -> None:
    arrays = dump_arrays(outcome.arrays)
    _write_file(folder / ARRAYS, arrays)
    content = {
        "format": FORMAT,
        **about,
        "record": dict(outcome.record),
        "arrays_sha256": hashlib.sha256(arrays).hexdigest(),
    }
    sealed = {"sha256": _content_sha256(content), "content": content}
    _write_file(folder / RECORD, json.dumps(sealed, ensure_ascii=False, allow_nan=False).encode())
    _flush_directory(folder)


def read_outcome(folder: Path) -> Outcome:
    """Read and check one outcome; arrays are memory-mapped.

    Raises:
        ValueError: a checksum does not agree, or the format is newer than this program.
    """
    sealed = json.loads((folder / RECORD).read_bytes())
    content: dict[str, Any] = sealed["content"]
    if content["format"] > FORMAT:
        raise StepError(f"{folder}: found store format {content['format']}, expected at most {FORMAT}: newer than this program")
    if sealed["sha256"] != _content_sha256(content):
        raise ValueError(f"{RECORD} does not agree with its checksum")
    with (folder / ARRAYS).open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != content["arrays_sha256"]:
            raise ValueError(f"{ARRAYS} does not agree with its checksum")
    return Outcome(arrays=map_arrays(folder / ARRAYS), record=content["record"])


def _content_sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def dump_arrays(arrays: Mapping[str, Array]) -> bytes:
    """Arrays in the safetensors format; the same arrays give the same bytes."""
    from safetensors.numpy import save

    return save({name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)})


def map_arrays(path: Path) -> dict[str, Array]:
    """The arrays of a safetensors file, mapped read-only rather than read."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(size))
    header.pop("__metadata__", None)
    found: dict[str, Array] = {}
    for name, entry in header.items():
        dtype, shape, (start, end) = np.dtype(DTYPES[entry["dtype"]]), tuple(entry["shape"]), entry["data_offsets"]
        found[name] = (
            np.memmap(path, dtype=dtype, mode="r", offset=8 + size + start, shape=shape)
            if end > start
            else np.zeros(shape, dtype)
        )
    return found


def _write_file(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
