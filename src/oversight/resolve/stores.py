"""Places become stores, and are checked before anything is computed for them."""

from __future__ import annotations

import os
from pathlib import Path

from oversight.errors import InputError
from oversight.runs.store import DirectoryStore, MemoryStore, Store


def load_store(spec: str | Path | Store | None) -> Store:
    """A directory, a store as it is, `:memory:`, or by default $OVERSIGHT_STORE or ./oversight-store.

    Raises:
        InputError: a directory that could not be made.
    """
    if str(spec) == ":memory:":
        return MemoryStore()
    if spec is not None and not isinstance(spec, str | Path):
        return spec
    path = store_path(spec)
    check_folder(path, flag="--store")
    return DirectoryStore(path)


def check_folder(path: Path, *, flag: str) -> None:
    """Refuse a directory that is none or could not be made, before anything is computed for it.

    Raises:
        InputError: what stands in the way.
    """
    standing = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not standing.is_dir():
        where = "a file" if standing == path else f"the file {standing} in its way"
        raise InputError(f"{flag} {path}: found {where}, expected a directory")
    if standing != path and not os.access(standing, os.W_OK | os.X_OK):
        raise InputError(
            f"{flag} {path}: found {standing} without permission to write, expected a directory that can be made"
        )


def store_path(spec: str | Path | None) -> Path:
    """The directory of a store, by default $OVERSIGHT_STORE or ./oversight-store."""
    return Path(spec or os.environ.get("OVERSIGHT_STORE") or "oversight-store")
