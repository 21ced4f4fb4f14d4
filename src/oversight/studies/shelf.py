"""Finished fits kept in a study's store, beside the predictions made with them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from oversight.models.workbench import Shelf, working_at
from oversight.runs.store import DirectoryStore, Outcome, Store
from oversight.sealed import Array
from oversight.versions import installed

UNFINISHED = "unfinished"


class StoreShelf:
    """See `models.workbench.Shelf`."""

    def __init__(self, store: DirectoryStore) -> None:
        self.store = store

    def find(self, key: str) -> tuple[Mapping[str, Array], Mapping[str, Any]] | None:
        """See `Shelf.find`."""
        found = self.store.get(key)
        return None if found is None else (found.arrays, found.record)

    def keep(
        self, key: str, arrays: Mapping[str, Array], record: Mapping[str, Any], *, about: Mapping[str, Any]
    ) -> None:
        """See `Shelf.keep`."""
        made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.store.put(
            key, Outcome(arrays=arrays, record=record), about={**about, "made": made, "versions": installed()}
        )

    def spoil(self, key: str, reason: str) -> None:
        """See `Shelf.spoil`."""
        self.store.forget(key, reason)


class NotingShelf:
    """Another shelf, and the keys of the fits that were taken from it or put there."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._noted: dict[str, None] = {}

    @property
    def keys(self) -> list[str]:
        """In the order of their use."""
        return list(self._noted)

    def find(self, key: str) -> tuple[Mapping[str, Array], Mapping[str, Any]] | None:
        """See `Shelf.find`."""
        found = self.shelf.find(key)
        if found is not None:
            self._noted[key] = None
        return found

    def keep(
        self, key: str, arrays: Mapping[str, Array], record: Mapping[str, Any], *, about: Mapping[str, Any]
    ) -> None:
        """See `Shelf.keep`."""
        self.shelf.keep(key, arrays, record, about=about)
        self._noted[key] = None

    def spoil(self, key: str, reason: str) -> None:
        """See `Shelf.spoil`."""
        self.shelf.spoil(key, reason)
        self._noted.pop(key, None)


def fits_kept_in(store: Store, *, keep_models: bool) -> AbstractContextManager[object]:
    """Within this block long fits keep checkpoints, and finished models if asked, in the store's directory."""
    if not isinstance(store, DirectoryStore):
        return nullcontext()
    return working_at(shelf=StoreShelf(store) if keep_models else None, folder=store.path / UNFINISHED)
