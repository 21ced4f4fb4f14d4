"""Results on disk, found by what made them: published by rename, checked when read, never believed when damaged."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from oversight.errors import InputError, StepError
from oversight.sealed import RECORD, Array, flush_directory, read_arrays, read_record, write_sealed

FORMAT = 1
NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO}


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
        fault = _fault(folder)
        if isinstance(fault, Outcome):
            return fault
        self.damaged.append(f"{key}: {fault}")
        _discard(folder)
        return None

    def put(self, key: str, outcome: Outcome, *, about: Mapping[str, Any]) -> Outcome:
        """See `Store.put`.

        Raises:
            StepError: the outcome could not be written; nothing half-written is left under the key.
        """
        folder = self.folder(key)
        temporary = folder.parent / f".new-{secrets.token_hex(8)}"
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            _write(temporary, outcome, {"key": key, **about})
            return _publish(temporary, folder)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise StepError(
                f"store {self.path}: cannot write {key[:12]}: {reason}; nothing was kept of this step"
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def forget(self, key: str, reason: str) -> None:
        """Remove an outcome that was found wrong by those who know what it means."""
        self.damaged.append(f"{key}: {reason}")
        _discard(self.folder(key))

    def keys(self) -> Iterator[str]:
        """All keys, sorted."""
        yield from sorted(folder.name for folder in self.path.glob("??/*") if not folder.name.startswith("."))

    def about(self, key: str) -> dict[str, Any]:
        """What made an outcome, when, from what.

        Raises:
            InputError: no such key, or more than one that begins so.
            StepError: it is damaged.
        """
        found = [known for known in self.keys() if known.startswith(key)]
        if len(found) != 1:
            raise InputError(
                f"store {self.path}: found {len(found)} results whose key begins with '{key}', expected one"
            )
        fault = _fault(self.folder(found[0]))
        if isinstance(fault, str):
            raise StepError(
                f"store {self.path}: {found[0]} is damaged ({fault}); the command that made it makes it again"
            )
        record: dict[str, Any] = json.loads((self.folder(found[0]) / RECORD).read_bytes())["content"]
        return record

    def verify(self) -> dict[str, str]:
        """Every outcome that cannot be used, with the reason; removes nothing."""
        found: dict[str, str] = {}
        for key in self.keys():
            try:
                fault = _fault(self.folder(key))
            except StepError as error:
                fault = str(error)
            if isinstance(fault, str):
                found[key] = fault
        return found


def _fault(folder: Path) -> Outcome | str:
    """The outcome of a folder, or what is wrong with it.

    Raises:
        StepError: it cannot be read now (open files, permissions), no fault of its own; or its format is newer.
    """
    try:
        return read_outcome(folder)
    except OSError as error:
        if error.errno not in NOT_THERE:
            raise StepError(f"{folder}: cannot be read: {os.strerror(error.errno or 0)}") from error
        return f"{Path(error.filename or folder).name}: {os.strerror(error.errno or 0)}"
    except (ValueError, KeyError, TypeError) as error:
        return str(error) if isinstance(error, ValueError) else f"{RECORD} is not a record of this program"


def _discard(folder: Path) -> None:
    """Out of sight in one step, then removed: nobody ever meets half a folder."""
    aside = folder.parent / f".old-{secrets.token_hex(8)}"
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        return
    except OSError:
        aside = folder
    shutil.rmtree(aside, ignore_errors=True)


def _publish(temporary: Path, folder: Path) -> Outcome:
    """Rename and read again; where somebody else published the same key first, theirs stands unless it is damaged."""
    try:
        os.rename(temporary, folder)
    except OSError as error:
        if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
            raise
        theirs = _fault(folder)
        if isinstance(theirs, Outcome):
            return theirs
        _discard(folder)
        os.rename(temporary, folder)
    flush_directory(folder.parent)
    return read_outcome(folder)


def _write(folder: Path, outcome: Outcome, about: Mapping[str, Any]) -> None:
    write_sealed(folder, outcome.arrays, {"format": FORMAT, **about, "record": dict(outcome.record)})


def read_outcome(folder: Path) -> Outcome:
    """Read and check one outcome; large arrays are memory-mapped.

    Raises:
        ValueError, KeyError, TypeError: it is not what was written.
        StepError: the format is newer than this program.
    """
    content = read_record(folder)
    if content["format"] > FORMAT:
        raise StepError(
            f"{folder}: found store format {content['format']}, expected at most {FORMAT}: newer than this program"
        )
    if content["key"] != folder.name:
        raise ValueError(f"{RECORD} belongs to {content['key'][:12]}")
    return Outcome(arrays=read_arrays(folder, content), record=content["record"])
