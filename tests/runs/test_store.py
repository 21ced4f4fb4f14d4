"""The store: what was published is found again to the last bit; anything else is named and never believed."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from oversight import sealed as sealed_module
from oversight.errors import InputError, StepError
from oversight.runs.store import FORMAT, DirectoryStore, MemoryStore, Outcome
from oversight.sealed import ARRAYS, MAPPED_BYTES, RECORD, dump_arrays

KEY, OTHER = "ab" + "0" * 62, "cd" + "1" * 62
NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), st.booleans())
JSON = st.recursive(
    st.none() | NUMBERS | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=6,
)
ARRAY = st.sampled_from([np.float64, np.float32, np.int64, np.bool_]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)


def outcome_of(seed: int = 0) -> Outcome:
    rng = np.random.default_rng(seed)
    arrays = {"probs": rng.random((5, 2)), "answered": rng.random(5) < 0.5}
    return Outcome(arrays=arrays, record={"choices": {"penalty": 1e-05}, "é": [1, 2.5, None, True]})


def same(a: Outcome | None, b: Outcome | None) -> bool:
    if a is None or b is None:
        return a is b
    alike = json.dumps(a.record, sort_keys=True) == json.dumps(b.record, sort_keys=True)
    return alike and dump_arrays(a.arrays) == dump_arrays(b.arrays)


@pytest.fixture
def kept(tmp_path: Path) -> DirectoryStore:
    """A store that holds one outcome under KEY."""
    store = DirectoryStore(tmp_path / "store")
    store.put(KEY, outcome_of(), about={"kind": "label"})
    return store


@given(
    st.dictionaries(st.text("abc.", min_size=1, max_size=4), ARRAY, max_size=3), st.dictionaries(st.text("xyé"), JSON)
)
@settings(max_examples=25, deadline=None)
def test_arrays_and_record_come_back_to_the_last_bit(arrays: dict[str, Any], record: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as place:
        given_back = DirectoryStore(place).put(KEY, Outcome(arrays=arrays, record=record), about={})
        read = DirectoryStore(place).get(KEY)
    assert same(given_back, Outcome(arrays=arrays, record=record))
    assert same(read, given_back)
    assert read is not None
    for name, array in arrays.items():
        assert (read.arrays[name].shape, read.arrays[name].dtype) == (array.shape, array.dtype)


def test_large_arrays_are_mapped_and_equal(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((MAPPED_BYTES // 8 + 1, 2)).astype(np.float32)
    put = DirectoryStore(tmp_path).put(KEY, Outcome(arrays={"a": array, "empty": array[:0]}), about={})
    assert isinstance(put.arrays["a"], np.memmap)
    assert np.array_equal(put.arrays["a"], array) and put.arrays["empty"].shape == (0, 2)


@pytest.mark.parametrize("size", [4, MAPPED_BYTES], ids=["small", "mapped"])
def test_what_was_read_cannot_be_changed_by_accident(tmp_path: Path, size: int) -> None:
    put = DirectoryStore(tmp_path).put(KEY, Outcome(arrays={"a": np.zeros(size)}), about={})
    with pytest.raises(ValueError, match="read-only"):
        put.arrays["a"][0] = 1


def test_many_small_outcomes_hold_no_file_open(tmp_path: Path) -> None:
    """A study of many seeds keeps thousands of outcomes at once; a limit on open files must not end it."""
    store = DirectoryStore(tmp_path)
    store.put(KEY, outcome_of(), about={})
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else None
    if before is None:
        pytest.skip("no /proc here to count open files")
    held = [store.get(KEY) for _ in range(50)]
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    assert all(one is not None for one in held)


def test_what_is_not_there_is_none_and_not_damaged(kept: DirectoryStore) -> None:
    assert (kept.get(OTHER), kept.damaged) == (None, [])


def test_no_directory_is_made_before_the_first_put(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "a" / "store")
    assert (store.get(KEY), list(store.keys()), store.verify()) == (None, [], {})
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_directory_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("x")
    with pytest.raises(InputError, match="found a file, expected a directory"):
        DirectoryStore(tmp_path / "store")


def test_equal_outcomes_give_equal_bytes_whatever_the_order_of_names(tmp_path: Path) -> None:
    a, b = np.arange(3.0), np.arange(4)
    assert dump_arrays({"a": a, "b": b}) == dump_arrays({"b": b, "a": a})


def backup(folder: Path) -> Callable[[Path], None]:
    """A function that writes the files back as they are now; `put` would wait for the disk every time."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}

    def restore(place: Path) -> None:
        place.mkdir()
        for name, content in files.items():
            (place / name).write_bytes(content)

    return restore


@pytest.mark.parametrize("name", [ARRAYS, RECORD])
def test_a_flip_of_any_byte_is_found_named_and_removed(kept: DirectoryStore, name: str) -> None:
    """Every byte of both files in turn is inverted; a record then is no UTF-8, an array another."""
    restore = backup(kept.folder(KEY))
    path = kept.folder(KEY) / name
    whole = path.read_bytes()
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :])
        kept.damaged.clear()
        assert kept.get(KEY) is None, i
        assert [line.split(":")[0] for line in kept.damaged] == [KEY], i
        assert not kept.folder(KEY).exists(), i
        restore(kept.folder(KEY))


@pytest.mark.parametrize("mask", [0x01, 0x02, 0x08, 0x10])
def test_a_flipped_bit_of_the_record_never_changes_what_is_believed(kept: DirectoryStore, mask: int) -> None:
    """One bit may leave a record that means the same (a blank for a tab); anything else must be found."""
    restore = backup(kept.folder(KEY))
    path = kept.folder(KEY) / RECORD
    whole, before = path.read_bytes(), outcome_of()
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ mask]) + whole[i + 1 :])
        found = kept.get(KEY)
        assert found is None or same(found, before), (i, whole[max(0, i - 10) : i + 10])
        if found is None:
            restore(kept.folder(KEY))


@pytest.mark.parametrize("name", [ARRAYS, RECORD])
def test_a_truncated_file_is_found(kept: DirectoryStore, name: str) -> None:
    path = kept.folder(KEY) / name
    whole = path.read_bytes()
    for size in {0, 1, 7, len(whole) // 2, len(whole) - 1}:
        path.write_bytes(whole[:size])
        assert kept.get(KEY) is None, size
        kept.put(KEY, outcome_of(), about={"kind": "label"})


@pytest.mark.parametrize("name", [ARRAYS, RECORD])
def test_a_missing_file_is_found_and_named(kept: DirectoryStore, name: str) -> None:
    (kept.folder(KEY) / name).unlink()
    assert kept.get(KEY) is None
    assert kept.damaged == [f"{KEY}: {name}: No such file or directory"]


@pytest.mark.parametrize(
    "record", ["[]", "null", "3", '"text"', '{"content": null}', '{"content": {}, "sha256": 1}', "{}"]
)
def test_a_record_of_another_shape_is_damage_not_a_crash(kept: DirectoryStore, record: str) -> None:
    (kept.folder(KEY) / RECORD).write_text(record)
    assert kept.get(KEY) is None and len(kept.damaged) == 1


def test_an_outcome_moved_under_another_key_is_not_believed(kept: DirectoryStore) -> None:
    kept.folder(OTHER).parent.mkdir()
    shutil.copytree(kept.folder(KEY), kept.folder(OTHER))
    assert kept.get(OTHER) is None
    assert kept.damaged == [f"{OTHER}: {RECORD} belongs to {KEY[:12]}"]


def test_arrays_of_another_outcome_are_not_believed(kept: DirectoryStore) -> None:
    kept.put(OTHER, outcome_of(1), about={})
    shutil.copy(kept.folder(OTHER) / ARRAYS, kept.folder(KEY) / ARRAYS)
    assert kept.get(KEY) is None


def seal(folder: Path, **changed: Any) -> None:
    content = json.loads((folder / RECORD).read_bytes())["content"] | changed
    sealed = {"sha256": sealed_module.content_sha256(content), "content": content}
    (folder / RECORD).write_text(json.dumps(sealed))


def test_a_newer_format_is_refused_and_left_alone(kept: DirectoryStore) -> None:
    seal(kept.folder(KEY), format=FORMAT + 1)
    with pytest.raises(StepError, match=f"found store format {FORMAT + 1}, expected at most {FORMAT}: newer"):
        kept.get(KEY)
    assert (kept.folder(KEY) / RECORD).is_file()


def test_a_flip_that_looks_like_a_newer_format_is_damage(kept: DirectoryStore) -> None:
    path = kept.folder(KEY) / RECORD
    path.write_bytes(path.read_bytes().replace(b'"format": 1', b'"format": 9'))
    assert kept.get(KEY) is None


def test_verify_lists_every_fault_and_removes_nothing(kept: DirectoryStore) -> None:
    for i, key in enumerate([OTHER, "ee" * 32, "ff" * 32]):
        kept.put(key, outcome_of(i), about={})
    (kept.folder(OTHER) / ARRAYS).unlink()
    seal(kept.folder("ee" * 32), format=FORMAT + 1)
    assert sorted(kept.verify()) == [OTHER, "ee" * 32]
    assert "newer than this program" in kept.verify()["ee" * 32]
    assert len(list(kept.keys())) == 4


def test_about_tells_what_made_an_outcome_by_the_beginning_of_its_key(kept: DirectoryStore) -> None:
    assert kept.about(KEY[:6])["kind"] == "label"


@pytest.mark.parametrize(("key", "n"), [("zz", 0), ("", 2)])
def test_about_wants_exactly_one_key(kept: DirectoryStore, key: str, n: int) -> None:
    kept.put(OTHER, outcome_of(), about={})
    with pytest.raises(InputError, match=f"found {n} results whose key begins with '{key}', expected one"):
        kept.about(key)


def test_about_a_damaged_outcome_says_so_in_one_line(kept: DirectoryStore) -> None:
    (kept.folder(KEY) / RECORD).write_text("{")
    with pytest.raises(StepError, match="is damaged") as caught:
        kept.about(KEY)
    assert str(caught.value).isprintable()


def test_a_second_put_keeps_what_was_published_first(kept: DirectoryStore) -> None:
    assert same(kept.put(KEY, outcome_of(1), about={}), outcome_of(0))


def test_a_second_put_replaces_what_is_damaged(kept: DirectoryStore) -> None:
    (kept.folder(KEY) / ARRAYS).write_bytes(b"")
    assert same(kept.put(KEY, outcome_of(1), about={}), outcome_of(1))
    assert same(kept.get(KEY), outcome_of(1))


def test_memory_keeps_what_was_published_first() -> None:
    store = MemoryStore()
    store.put(KEY, outcome_of(0), about={})
    assert same(store.put(KEY, outcome_of(1), about={}), store.get(KEY)) and same(store.get(KEY), outcome_of(0))


def put_many(path: str, seed: int, ready: Any, found: Any) -> None:
    """In another process: publish twenty keys at the same moment as everybody else."""
    store = DirectoryStore(path)
    ready.wait()
    read = [store.put(f"{i:02d}" + "a" * 62, outcome_of(seed), about={"by": seed}) for i in range(20)]
    found.put([dump_arrays(one.arrays) for one in read])


def test_two_processes_publishing_the_same_keys_agree_on_one_outcome(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, found = context.Barrier(2), context.Queue()
    workers = [context.Process(target=put_many, args=(str(tmp_path), seed, ready, found)) for seed in (1, 2)]
    for worker in workers:
        worker.start()
    given = [found.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert given[0] == given[1]
    assert DirectoryStore(tmp_path).verify() == {}
    assert list(tmp_path.glob("*/.*")) == []
