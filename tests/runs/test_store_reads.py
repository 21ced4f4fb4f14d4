"""Rows beside arrays, looks that read little, stores that cannot be written, folders replaced while they are read."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight import sealed
from oversight.errors import InputError, StepError, StoreError
from oversight.runs import store as store_module
from oversight.runs.store import DirectoryStore, MemoryStore, Outcome
from oversight.sealed import ARRAYS, RECORD, ROWS, dump_rows, load_json, read_record

pa = pytest.importorskip("pyarrow")

KEY, OTHER = "ab" + "0" * 62, "ab" + "1" * 62
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
COLUMN = st.one_of(
    st.tuples(st.just(pa.int64()), st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3)),
    st.tuples(st.just(pa.float64()), st.lists(st.none() | st.floats(allow_nan=False), min_size=3, max_size=3)),
    st.tuples(st.just(pa.string()), st.lists(st.none() | TEXT, min_size=3, max_size=3)),
    st.tuples(
        st.just(pa.list_(pa.float32())),
        st.lists(st.lists(st.floats(width=32, allow_nan=False)), min_size=3, max_size=3),
    ),
)


def table() -> Any:
    return pa.table({"id": ["x", "y"], "p": [0.25, None]})


def with_rows() -> Outcome:
    return Outcome(arrays={"a": np.arange(3.0)}, record={"n": 2}, rows=table())


@pytest.fixture
def kept(tmp_path: Path) -> DirectoryStore:
    """A store that holds an outcome with rows under KEY."""
    store = DirectoryStore(tmp_path / "store")
    store.put(KEY, with_rows(), about={"kind": "score", "inputs": []})
    return store


# Rows


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), COLUMN, max_size=3))
@settings(max_examples=20, deadline=None)
def test_rows_come_back_as_they_were(columns: dict[str, Any]) -> None:
    rows = pa.table({name: pa.array(values, type=kind) for name, (kind, values) in columns.items()})
    with tempfile.TemporaryDirectory() as place:
        given_back = DirectoryStore(place).put(KEY, Outcome(rows=rows), about={}).rows
        read = DirectoryStore(place).get(KEY)
    assert given_back is not None and given_back.equals(rows)
    assert read is not None and read.rows is not None and read.rows.equals(rows)


def test_rows_cut_into_chunks_give_the_same_bytes() -> None:
    whole = pa.table({"a": list(range(10))})
    cut = pa.concat_tables([whole.slice(0, 3), whole.slice(3)])
    assert cut["a"].num_chunks == 2
    assert dump_rows(cut) == dump_rows(whole)


def test_an_outcome_without_rows_has_no_file_of_rows(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put(KEY, Outcome(arrays={"a": np.arange(3)}), about={})
    assert sorted(path.name for path in store.folder(KEY).iterdir()) == [ARRAYS, RECORD]
    found = store.get(KEY)
    assert found is not None and found.rows is None
    assert "rows_sha256" not in store.about(KEY)


def test_without_rows_no_library_for_them_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from oversight.runs.store import DirectoryStore, Outcome\n"
        f"store = DirectoryStore(sys.argv[1]); store.put('{KEY}', Outcome(), about={{}}); store.get('{KEY}')\n"
        "assert 'pyarrow' not in sys.modules and 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("place", [0, 10, -10, -1])
def test_a_flip_in_the_rows_is_found_named_and_removed(kept: DirectoryStore, place: int) -> None:
    path = kept.folder(KEY) / ROWS
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert list(kept.verify()) == [KEY]
    assert kept.get(KEY) is None
    assert kept.damaged == [f"{KEY}: {ROWS} does not agree with its checksum"]
    assert not kept.peek(KEY)


@pytest.mark.parametrize("size", [None, 0, 100])
def test_rows_that_are_gone_or_cut_off_are_found(kept: DirectoryStore, size: int | None) -> None:
    path = kept.folder(KEY) / ROWS
    if size is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:size])
    assert kept.get(KEY) is None and len(kept.damaged) == 1


def test_a_program_that_knows_no_rows_reads_the_rest(kept: DirectoryStore) -> None:
    """All that it reads is the record and the arrays; neither changes its form."""
    content = read_record(kept.folder(KEY))
    assert content["format"] == 1
    assert sealed.read_arrays(kept.folder(KEY), content)["a"].tolist() == [0.0, 1.0, 2.0]


# What put gives, and what it reads


def test_put_gives_what_get_gives_without_reading_the_arrays_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryStore(tmp_path)
    monkeypatch.setattr(store_module, "read_outcome", lambda folder: pytest.fail(f"{folder} was checked again"))
    put = store.put(KEY, Outcome(arrays={"a": np.arange(4)}, record={"t": (1, 2)}), about={})
    monkeypatch.undo()
    got = store.get(KEY)
    assert got is not None and put.record == got.record == {"t": [1, 2]}
    assert np.array_equal(put.arrays["a"], got.arrays["a"]) and not put.arrays["a"].flags.writeable


def test_every_name_on_the_way_to_a_result_is_brought_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders that had to be made are entries of others, which are flushed too; or a power cut takes them."""
    flushed: list[Path] = []
    monkeypatch.setattr(sealed, "flush_directory", flushed.append)
    monkeypatch.setattr(store_module, "flush_directory", flushed.append)
    DirectoryStore(tmp_path / "new" / "store").put(KEY, Outcome(), about={})
    made = [tmp_path, tmp_path / "new", tmp_path / "new" / "store"]
    assert flushed[:3] == made and flushed[-1] == tmp_path / "new" / "store" / KEY[:2]
    assert flushed[3].name.startswith(".new-")


# Looking without reading


def test_peek_sees_a_folder_and_reads_nothing(kept: DirectoryStore) -> None:
    (kept.folder(KEY) / RECORD).write_text("{")
    assert kept.peek(KEY) and not kept.peek(OTHER)
    memory = MemoryStore()
    memory.put(KEY, Outcome(), about={})
    assert memory.peek(KEY) and not memory.peek(OTHER)


def test_about_reads_the_record_only_unless_asked(kept: DirectoryStore) -> None:
    (kept.folder(KEY) / ARRAYS).write_bytes(b"")
    assert kept.about(KEY)["kind"] == "score"
    with pytest.raises(StepError, match=f"is damaged \\({ARRAYS} does not agree"):
        kept.about(KEY, check=True)
    assert kept.peek(KEY) and kept.damaged == []


def test_a_key_is_found_by_its_beginning(kept: DirectoryStore) -> None:
    kept.put(OTHER, Outcome(), about={})
    assert kept.find("ab0") == KEY and kept.find(OTHER) == OTHER
    for beginning, n in (("ab", 2), ("", 2), ("a", 2), ("ab2", 0), ("cd", 0), ("../ab", 0)):
        with pytest.raises(InputError, match=f"found {n} results whose key begins with '{beginning}', expected one"):
            kept.find(beginning)


def test_only_what_looks_like_a_result_is_one(kept: DirectoryStore) -> None:
    """A store in a directory of other things: gc and verify leave them alone."""
    for name in ("src/main.py", "ab/notes", "ab/.new-1", f"cd/{KEY}", "kept/x.json", "ab/" + "z" * 64):
        (kept.path / name).mkdir(parents=True)
    assert list(kept.keys()) == [KEY]
    assert kept.verify() == {}


# Stores that cannot be written


def test_a_store_that_is_not_there_is_writable_where_it_could_be_made(tmp_path: Path) -> None:
    assert DirectoryStore(tmp_path / "a" / "b").writable() is None
    assert list(tmp_path.iterdir()) == []


def test_below_a_file_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert DirectoryStore(tmp_path / "file" / "store").writable() == "Not a directory"


READ_ONLY = """
import sys
from oversight.errors import StoreError
from oversight.runs.store import DirectoryStore, Outcome
store = DirectoryStore(sys.argv[1])
good, bad = sys.argv[2:]
print(store.writable(), DirectoryStore(sys.argv[1] + "/deeper/store").writable())
print(store.get(good).record, store.get(bad), store.get(bad))
print(len(store.damaged), store.peek(bad), list(store.verify()) == [bad])
for key in (bad, "cd" + "2" * 62):
    try:
        store.put(key, Outcome(), about={})
    except StoreError as error:
        print(error)
"""


def test_a_read_only_store_is_read_and_its_damage_named(kept: DirectoryStore) -> None:
    """A bind mount, read-only in the child's namespace alone: permissions do not stop root."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here to mount a file system of one's own")
    kept.put(OTHER, Outcome(), about={})
    (kept.folder(OTHER) / ARRAYS).write_bytes(b"")
    mount = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"'
    start = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*start, mount, "sh", str(kept.path)], capture_output=True).returncode:
        pytest.skip("mounting is refused here")
    command = f'{mount} && exec "$2" -c "$3" "$1" {KEY} {OTHER}'
    done = subprocess.run(
        [*start, command, "sh", str(kept.path), sys.executable, READ_ONLY], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    reason = "Read-only file system"
    assert done.stdout.splitlines() == [
        f"{reason} {reason}",
        "{'n': 2} None None",
        "1 True True",
        f"store {kept.path}: cannot write {OTHER[:12]}: {reason}; nothing was kept of this step",
        f"store {kept.path}: cannot write cd2222222222: {reason}; nothing was kept of this step",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not stop root")
def test_a_directory_without_permission_is_not_writable(kept: DirectoryStore) -> None:
    kept.path.chmod(0o555)
    try:
        assert kept.writable() == "Permission denied"
        with pytest.raises(StoreError, match="Permission denied"):
            kept.put("cd" + "2" * 62, Outcome(), about={})
    finally:
        kept.path.chmod(0o755)


# Others at the same store


def replaced_while_read(kept: DirectoryStore, monkeypatch: pytest.MonkeyPatch, between: Callable[[], None]) -> Any:
    """What `get` gives where `between` runs after it read a damaged folder and before it acts on that."""
    real, calls = store_module.read_outcome, 0

    def read(folder: Path) -> Outcome:
        nonlocal calls
        calls += 1
        try:
            return real(folder)
        finally:
            if calls == 1:
                between()

    monkeypatch.setattr(store_module, "read_outcome", read)
    return kept.get(KEY)


def test_a_good_result_put_in_place_of_the_damaged_one_just_read_is_not_removed(
    kept: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kept.folder(KEY) / ARRAYS).write_bytes(b"")

    def by_somebody_else() -> None:
        shutil.rmtree(kept.folder(KEY))
        DirectoryStore(kept.path).put(KEY, with_rows(), about={})

    found = replaced_while_read(kept, monkeypatch, by_somebody_else)
    assert found is not None and found.record == {"n": 2} and kept.damaged == []


def test_a_damaged_result_that_somebody_else_removed_meanwhile_is_simply_not_there(
    kept: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kept.folder(KEY) / ARRAYS).write_bytes(b"")
    assert replaced_while_read(kept, monkeypatch, lambda: shutil.rmtree(kept.folder(KEY))) is None
    assert kept.damaged == []


def test_what_took_the_place_of_a_judged_folder_is_put_back(kept: DirectoryStore) -> None:
    """The last moment: between the look at which folder stands there and its removal."""
    judged = (1, 2, 3)
    store_module.discard(kept.folder(KEY), judged)
    assert kept.get(KEY) is not None
    assert [path.name for path in kept.folder(KEY).parent.iterdir()] == [KEY]


def test_a_file_in_the_place_of_a_result_is_found_and_replaced(kept: DirectoryStore) -> None:
    shutil.rmtree(kept.folder(KEY))
    kept.folder(KEY).write_text("x")
    assert kept.verify() == {KEY: f"{RECORD}: {os.strerror(errno.ENOTDIR)}"}
    assert kept.get(KEY) is None
    assert kept.put(KEY, with_rows(), about={}).record == {"n": 2}
    assert kept.verify() == {} and [path.name for path in kept.folder(KEY).parent.iterdir()] == [KEY]


# Single files


def test_a_published_file_is_whole_or_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kept" / "a.json"
    sealed.publish_file(path, sealed.dump_json({"a": 1}))

    def full(place: Path, content: bytes) -> None:
        place.write_bytes(content[:3])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(sealed, "write_file", full)
    with pytest.raises(OSError, match="full"):
        sealed.publish_file(path, sealed.dump_json({"a": 2}))
    assert load_json(path.read_bytes(), "a") == {"a": 1}
    assert [one.name for one in path.parent.iterdir()] == ["a.json"]


def test_where_folders_cannot_be_flushed_they_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems answer EINVAL; a real fault is still one."""

    def refuse(code: int) -> Callable[[int], None]:
        def fsync(descriptor: int) -> None:
            raise OSError(code, os.strerror(code))

        return fsync

    monkeypatch.setattr(os, "fsync", refuse(errno.EINVAL))
    sealed.flush_directory(tmp_path)
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        sealed.flush_directory(tmp_path)
