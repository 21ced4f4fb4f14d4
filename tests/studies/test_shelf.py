"""Finished fits in a study's store: found again bit by bit, forgotten when they lie, kept only where asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.models.workbench import workbench, working_at
from oversight.runs.store import DirectoryStore, MemoryStore, Outcome, Store
from oversight.sealed import ARRAYS
from oversight.studies.shelf import UNFINISHED, StoreShelf, fits_kept_in

KEY = "ab" * 32
ABOUT = {"kind": "model", "config": {"lr": 1e-3}, "inputs": [], "seconds": 1.5}


def weights() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {"weights.a": rng.normal(size=(3, 4)).astype(np.float32), "probs": rng.random((5, 2)), "ids": np.arange(3)}


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


@pytest.fixture
def shelf(store: DirectoryStore) -> StoreShelf:
    """One that holds a fit."""
    found = StoreShelf(store)
    found.keep(KEY, weights(), {"choices": {"lr": 1e-3}}, about=ABOUT)
    return found


def test_nothing_is_found_where_nothing_was_kept(store: DirectoryStore) -> None:
    assert StoreShelf(store).find(KEY) is None and not store.path.exists()


def test_what_was_kept_is_found_bit_by_bit(shelf: StoreShelf) -> None:
    found = shelf.find(KEY)
    assert found is not None
    arrays, record = found
    assert {name: (one.dtype, one.tobytes()) for name, one in arrays.items()} == {
        name: (one.dtype, one.tobytes()) for name, one in weights().items()
    }
    assert record == {"choices": {"lr": 1e-3}}


def test_another_shelf_on_the_same_store_finds_it_too(shelf: StoreShelf, store: DirectoryStore) -> None:
    assert StoreShelf(DirectoryStore(store.path)).find(KEY) is not None


@pytest.mark.usefixtures("shelf")
def test_the_store_tells_what_made_a_fit_and_when(store: DirectoryStore) -> None:
    about = store.about(KEY)
    assert {name: about[name] for name in ABOUT} == ABOUT and about["made"].endswith("Z")


def test_a_damaged_fit_is_not_found_and_named(shelf: StoreShelf, store: DirectoryStore) -> None:
    path = store.folder(KEY) / ARRAYS
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    assert shelf.find(KEY) is None
    assert [line.split(":")[0] for line in store.damaged] == [KEY]


def test_a_spoilt_fit_is_gone_and_the_reason_remembered(shelf: StoreShelf, store: DirectoryStore) -> None:
    shelf.spoil(KEY, "it lies")
    assert shelf.find(KEY) is None and list(store.keys()) == []
    assert store.damaged == [f"{KEY}: it lies"]


def test_spoiling_one_leaves_the_others(shelf: StoreShelf, store: DirectoryStore) -> None:
    other = "ac" * 32
    shelf.keep(other, weights(), {}, about=ABOUT)
    shelf.spoil(KEY, "it lies")
    assert list(store.keys()) == [other] and store.verify() == {}


def test_a_spoilt_fit_can_be_kept_again(shelf: StoreShelf) -> None:
    shelf.spoil(KEY, "it lies")
    shelf.keep(KEY, {"weights.a": np.ones(2)}, {}, about=ABOUT)
    found = shelf.find(KEY)
    assert found is not None and found[0]["weights.a"].tolist() == [1, 1]


def test_forgetting_what_is_not_there_still_says_why(store: DirectoryStore) -> None:
    store.forget(KEY, "it lies")
    assert store.damaged == [f"{KEY}: it lies"]


# What a study puts around its fits


def test_fits_find_the_store_and_a_folder_for_what_is_unfinished(store: DirectoryStore) -> None:
    with fits_kept_in(store, keep_models=True):
        bench = workbench()
        assert isinstance(bench.shelf, StoreShelf) and bench.shelf.store is store
        assert bench.folder == store.path / UNFINISHED


def test_without_models_only_checkpoints_are_kept(store: DirectoryStore) -> None:
    with fits_kept_in(store, keep_models=False):
        assert (workbench().shelf, workbench().folder) == (None, store.path / UNFINISHED)


@pytest.mark.parametrize("keep_models", [True, False])
def test_a_store_in_memory_keeps_neither(keep_models: bool) -> None:
    with fits_kept_in(MemoryStore(), keep_models=keep_models):
        assert (workbench().shelf, workbench().folder) == (None, None)


def test_a_store_of_the_users_own_keeps_neither(store: DirectoryStore) -> None:
    """It has no directory that one could know of."""

    class Own:
        def get(self, key: str) -> Outcome | None:
            return store.get(key)

        def put(self, key: str, outcome: Outcome, *, about: Any) -> Outcome:
            return store.put(key, outcome, about=about)

    own: Store = Own()
    with fits_kept_in(own, keep_models=True):
        assert (workbench().shelf, workbench().folder) == (None, None)


def test_afterwards_fits_stand_where_they_stood(store: DirectoryStore, tmp_path: Path) -> None:
    with working_at(folder=tmp_path):
        with pytest.raises(RuntimeError), fits_kept_in(store, keep_models=True):
            raise RuntimeError
        assert (workbench().shelf, workbench().folder) == (None, tmp_path)


def test_what_lies_unfinished_is_no_result(shelf: StoreShelf, store: DirectoryStore) -> None:
    """Its folder stands beside the results."""
    place = store.path / UNFINISHED / KEY / "at-00000003"
    place.mkdir(parents=True)
    (place / "record.json").write_text("{")
    assert list(store.keys()) == [KEY] and store.verify() == {}
    assert shelf.find(KEY) is not None
