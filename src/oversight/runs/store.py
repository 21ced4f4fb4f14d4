"""Results on disk, found by what made them: published by rename, checked when read, never believed when damaged."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from oversight.errors import InputError, StepError, StoreError
from oversight.sealed import (
    ARRAYS,
    RECORD,
    ROWS,
    Array,
    flush_directory,
    load_rows,
    make_folder,
    map_arrays,
    read_arrays,
    read_record,
    read_rows,
    write_sealed,
)

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
KEY = re.compile("[0-9a-f]{64}")
Identity = tuple[int, int, int]
Read = TypeVar("Read")
NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a step gives: arrays, a JSON record, and rows where it has some.

    Attributes:
        seconds: of this step alone, where it was done among others and can tell; kept beside the outcome, not in it.
    """

    arrays: Mapping[str, Array] = field(default_factory=dict[str, Array])
    record: Mapping[str, Any] = field(default_factory=dict[str, Any])
    rows: pa.Table | None = None
    seconds: float | None = None


class Store(Protocol):
    """Outcomes by key."""

    def get(self, key: str) -> Outcome | None:
        """The outcome of this key; None when it is not there or was found damaged."""
        ...

    def put(self, key: str, outcome: Outcome, *, about: Mapping[str, Any]) -> Outcome:
        """Keep an outcome and give it back as a later `get` would; `about` says what made it."""
        ...

    def peek(self, key: str) -> bool:
        """Whether there is something under this key; nothing is read, so that it may turn out to be damaged."""
        ...


class MemoryStore:
    """Outcomes of this process."""

    def __init__(self) -> None:
        self._kept: dict[str, Outcome] = {}
        self._about: dict[str, Mapping[str, Any]] = {}

    def get(self, key: str) -> Outcome | None:
        """See `Store.get`."""
        return self._kept.get(key)

    def put(self, key: str, outcome: Outcome, *, about: Mapping[str, Any]) -> Outcome:
        """See `Store.put`."""
        self._about.setdefault(key, about)
        return self._kept.setdefault(key, outcome)

    def about(self, key: str) -> Mapping[str, Any] | None:
        """What made an outcome, when, from what; None: it is not there."""
        return self._about.get(key)

    def peek(self, key: str) -> bool:
        """See `Store.peek`."""
        return key in self._kept


class DirectoryStore:
    """One folder per outcome, `ab/ab12.../`: `record.json`, `arrays.safetensors` and, with rows, `rows.parquet`.

    A folder is written under a temporary name, its files flushed to disk, and renamed when complete. The record holds
    the SHA-256 of the other files and of itself; all are checked before an outcome is believed. A damaged folder is
    removed, where the directory may be written, and its key remembered in `damaged`. The directory itself is made at
    the first `put`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.damaged: list[str] = []
        if os.path.exists(self.path) and not os.path.isdir(self.path):
            raise InputError(f"--store {self.path}: found a file, expected a directory")

    def folder(self, key: str) -> Path:
        """Where the outcome of a key lies."""
        return self.path / key[:2] / key

    def get(self, key: str) -> Outcome | None:
        """See `Store.get`."""
        folder = self.folder(key)
        while (seen := _identity(folder)) is not None:
            found = fault_of(folder)
            if isinstance(found, Outcome):
                return found
            if _identity(folder) == seen:  # otherwise somebody replaced or removed it while it was read
                self._remember(key, found)
                discard(folder, seen)
                return None
        return None

    def put(self, key: str, outcome: Outcome, *, about: Mapping[str, Any]) -> Outcome:
        """See `Store.put`.

        Raises:
            StoreError: the outcome could not be written; nothing half-written is left under the key.
        """
        folder = self.folder(key)
        temporary = folder.parent / f".new-{secrets.token_hex(8)}"
        try:
            make_folder(folder.parent)
            temporary.mkdir()
            content = {"format": FORMAT, "key": key, **about, "record": dict(outcome.record)}
            written = write_sealed(temporary, outcome.arrays, content, outcome.rows)
            theirs = publish(temporary, folder)
            return _as_read(folder, written) if theirs is None else theirs
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise StoreError(
                f"store {self.path}: cannot write {key[:12]}: {reason}; nothing was kept of this step"
            ) from error
        finally:
            _clear(temporary)

    def peek(self, key: str) -> bool:
        """See `Store.peek`."""
        return self.folder(key).is_dir()

    def forget(self, key: str, reason: str) -> None:
        """Remove an outcome that was found wrong by those who know what it means."""
        self._remember(key, reason)
        discard(self.folder(key))

    def keys(self) -> Iterator[str]:
        """All keys, sorted."""
        for group in sorted(_names(self.path)):
            if len(group) == 2:
                yield from self._keys_in(group)

    def find(self, beginning: str) -> str:
        """The key that begins so.

        Raises:
            InputError: there is none, or more than one.
        """
        if KEY.fullmatch(beginning) and self.peek(beginning):
            return beginning
        keys = self.keys() if len(beginning) < 2 else self._keys_in(beginning[:2])
        found = [key for key in keys if key.startswith(beginning)]
        if len(found) != 1:
            raise InputError(
                f"store {self.path}: found {len(found)} results whose key begins with '{beginning}', expected one"
            )
        return found[0]

    def about(self, key: str, check: bool = False) -> dict[str, Any]:
        """What made an outcome, when, from what: its record.

        Args:
            key: or its beginning.
            check: also the arrays and rows against their checksums.

        Raises:
            InputError: no such key, or more than one that begins so.
            StepError: it is damaged.
        """
        whole = self.find(key)
        found = fault_of(self.folder(whole)) if check else None
        if not isinstance(found, str):
            found = record_of(self.folder(whole))
        if isinstance(found, str):
            raise self.damage(whole, found)
        return found

    def damage(self, key: str, fault: str) -> StepError:
        """What to raise where a damaged outcome was wanted."""
        return StepError(f"store {self.path}: {key} is damaged ({fault}); the command that made it makes it again")

    def records(self) -> Iterator[tuple[str, dict[str, Any] | str]]:
        """Every key with its record, or with what is wrong with that; see `record_of`."""
        return ((key, record_of(self.folder(key))) for key in self.keys())

    def size(self, key: str) -> int:
        """Bytes of an outcome's files; 0: it is not there."""
        return folder_bytes(self.folder(key))

    def verify(self) -> dict[str, str]:
        """Every outcome that cannot be used, with the reason; removes nothing."""
        found: dict[str, str] = {}
        for key in self.keys():
            try:
                fault = fault_of(self.folder(key))
            except StepError as error:
                fault = str(error)
            if isinstance(fault, str):
                found[key] = fault
        return found

    def writable(self) -> str | None:
        """Why nothing can be written here; None: it can, as far as that is known without trying. Makes nothing."""
        standing = next(place for place in (self.path, *self.path.absolute().parents) if os.path.exists(place))
        if not standing.is_dir():
            return os.strerror(errno.ENOTDIR)
        if os.access(standing, os.W_OK | os.X_OK):
            return None
        read_only = os.statvfs(standing).f_flag & os.ST_RDONLY
        return os.strerror(errno.EROFS if read_only else errno.EACCES)

    def _keys_in(self, group: str) -> list[str]:
        return sorted(name for name in _names(self.path / group) if name.startswith(group) and KEY.fullmatch(name))

    def _remember(self, key: str, reason: str) -> None:
        line = f"{key}: {reason}"
        if line not in self.damaged:
            self.damaged.append(line)


def fault_of(folder: Path) -> Outcome | str:
    """The outcome of a folder, or what is wrong with it.

    Raises:
        StepError: it cannot be read now (open files, permissions), no fault of its own; or its format is newer.
    """
    return _tried(read_outcome, folder)


def record_of(folder: Path) -> dict[str, Any] | str:
    """The record of a folder, or what is wrong with it; arrays and rows are not looked at.

    Raises:
        StepError: as `fault_of`.
    """
    return _tried(_checked_record, folder)


def _tried(read: Callable[[Path], Read], folder: Path) -> Read | str:
    try:
        return read(folder)
    except OSError as error:
        if error.errno not in NOT_THERE:
            raise StepError(f"{folder}: cannot be read: {os.strerror(error.errno or 0)}") from error
        return f"{Path(error.filename or folder).name}: {os.strerror(error.errno or 0)}"
    except (ValueError, KeyError, TypeError) as error:
        return str(error) if isinstance(error, ValueError) else f"{RECORD} is not a record of this program"


def publish(temporary: Path, folder: Path) -> Outcome | None:
    """Rename a finished folder; where somebody else published the same key first, theirs stands unless it is damaged.

    Returns:
        Theirs; None where one's own was published.
    """
    try:
        os.rename(temporary, folder)
    except OSError as error:
        if error.errno not in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}:
            raise
        seen = _identity(folder)
        theirs = fault_of(folder)
        if isinstance(theirs, Outcome):
            return theirs
        discard(folder, seen)
        os.rename(temporary, folder)
    flush_directory(folder.parent)
    return None


def discard(folder: Path, seen: Identity | None = None) -> None:
    """Out of sight in one step, then removed: nobody ever meets half a folder.

    Args:
        folder: of an outcome.
        seen: of the folder that was judged; another one that took its place meanwhile is put back.
    """
    aside = folder.parent / f".old-{secrets.token_hex(8)}"
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        return
    except OSError:
        aside = folder
    if seen is not None and aside != folder and _identity(aside) != seen:
        with suppress(OSError):
            os.rename(aside, folder)
            return
    shutil.rmtree(aside, ignore_errors=True)
    with suppress(OSError):
        aside.unlink(missing_ok=True)  # a file had stood in the folder's place


def read_outcome(folder: Path) -> Outcome:
    """Read and check one outcome; large arrays are memory-mapped.

    Raises:
        ValueError, KeyError, TypeError: it is not what was written.
        StepError: the format is newer than this program.
    """
    content = _checked_record(folder)
    arrays, rows = read_arrays(folder, content), read_rows(folder, content)
    return Outcome(arrays=arrays, record=content["record"], rows=rows)


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in a folder and below; what vanishes meanwhile does not count."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _checked_record(folder: Path) -> dict[str, Any]:
    content = read_record(folder)
    if content["format"] > FORMAT:
        raise StepError(
            f"{folder}: found store format {content['format']}, expected at most {FORMAT}: newer than this program"
        )
    if content["key"] != folder.name:
        raise ValueError(f"{RECORD} belongs to {content['key'][:12]}")
    return content


def _as_read(folder: Path, content: Mapping[str, Any]) -> Outcome:
    """What `read_outcome` would give of a folder that was written this moment, without checking it again."""
    rows = load_rows(folder / ROWS) if "rows_sha256" in content else None
    return Outcome(arrays=map_arrays(folder / ARRAYS), record=content["record"], rows=rows)


def _identity(folder: Path) -> Identity | None:
    """Which folder stands under a name: two of them, one after the other, differ in this. None: there is no folder."""
    try:
        found = os.stat(folder)
    except OSError as error:
        if error.errno in NOT_THERE:
            return None
        raise StepError(f"{folder}: cannot be read: {os.strerror(error.errno or 0)}") from error
    return (found.st_dev, found.st_ino, found.st_mtime_ns) if stat.S_ISDIR(found.st_mode) else None


def _clear(folder: Path) -> None:
    """Remove what is left of a write, also where this process is asked to end in the middle of that."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _names(folder: Path) -> list[str]:
    """What lies in a folder; nothing where there is none."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StepError(f"{folder}: cannot be read: {os.strerror(error.errno or 0)}") from error
