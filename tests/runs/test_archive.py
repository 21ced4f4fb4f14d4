"""Archives: what goes out comes in again to the last bit, and what was tampered with does not come in."""

from __future__ import annotations

import errno
import gzip
import os
import random
import re
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oversight import sealed
from oversight.errors import InputError, OversightError, StepError, StoreError
from oversight.runs.archive import INDEX, Moved, export, import_
from oversight.runs.kept import Kept, all_kept, keep
from oversight.runs.store import DirectoryStore, Outcome
from oversight.sealed import ARRAYS, RECORD, ROWS, load_json

Put = Callable[..., str]
KeyOf = Callable[[str], str]


@pytest.fixture
def store(tmp_path: Path, put_result: Put) -> DirectoryStore:
    """A score, made from a student that used a model and read features, and a study of it; and something else."""
    found = DirectoryStore(tmp_path / "store")
    put_result(found, "model", kind="model")
    put_result(found, "features")
    put_result(found, "student", inputs=["features"], models=["model"])
    score = put_result(found, "score", inputs=["student"])
    put_result(found, "else")
    keep(found.path, Kept(title="study", goals=(score,), steps=tuple(sorted(steps_of(found)))))
    return found


def steps_of(store: DirectoryStore) -> list[str]:
    return [key for key, record in store.records() if isinstance(record, dict) and record["name"] != "the step else"]


@pytest.fixture
def other(tmp_path: Path) -> DirectoryStore:
    """A colleague's, not there yet."""
    return DirectoryStore(tmp_path / "other" / "store")


def files(store: DirectoryStore) -> dict[str, bytes]:
    """Every file of a store."""
    paths = sorted(path for path in store.path.rglob("*") if path.is_file())
    return {str(path.relative_to(store.path)): path.read_bytes() for path in paths}


def refused(source: Path | str, store: DirectoryStore) -> str:
    """The one line with which an archive is refused; what came in of it is whole."""
    with pytest.raises(OversightError) as caught:
        import_(str(source), store)
    assert str(caught.value).isprintable()
    assert store.verify() == {} and list(store.path.glob("**/.*")) == []
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz"])
def test_what_goes_out_comes_in_again(
    store: DirectoryStore, other: DirectoryStore, key_of: KeyOf, tmp_path: Path, name: str
) -> None:
    sent = export(store, [], str(tmp_path / name))
    wanted = sorted(key_of(name) for name in ("model", "features", "student", "score"))
    [study] = all_kept(store.path)[0]
    assert sent == Moved(results=tuple(wanted), studies=(study.name,), n_new=4)
    assert import_(str(tmp_path / name), other) == sent
    assert files(other) == {name: text for name, text in files(store).items() if key_of("else") not in name}
    again = import_(str(tmp_path / name), other)
    assert (again.n_new, again.n_present) == (0, 4)


def test_a_result_takes_all_with_it_that_it_was_made_from(store: DirectoryStore, key_of: KeyOf, tmp_path: Path) -> None:
    sent = export(store, [key_of("student")[:9]], str(tmp_path / "a.tar"))
    assert set(sent.results) == {key_of(name) for name in ("student", "features", "model")}
    assert sent.studies == ()


def test_any_program_can_list_and_read_it(store: DirectoryStore, key_of: KeyOf, tmp_path: Path) -> None:
    key = key_of("score")
    store.forget(key, "to put one with rows in its place")
    pa = pytest.importorskip("pyarrow")
    rows = pa.table({"id": ["x"], "p": [0.5]})
    store.put(key, Outcome(rows=rows), about={"inputs": [], "kind": "score"})
    export(store, [key], str(tmp_path / "a.tar.gz"))
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        names = [f"{key[:2]}/{key}/{name}" for name in (ARRAYS, RECORD, ROWS)]
        assert tar.getnames() == [INDEX, *names]
        for name in names:
            content = tar.extractfile(name)
            assert content is not None and content.read() == (store.path / name).read_bytes()
        assert {(one.mtime, one.uid, one.gid, one.uname, one.mode) for one in tar.getmembers()} == {
            (0, 0, 0, "", 0o644)
        }


def test_equal_results_give_equal_bytes(store: DirectoryStore, other: DirectoryStore, tmp_path: Path) -> None:
    export(store, [], str(tmp_path / "a.tar.gz"))
    import_(str(tmp_path / "a.tar.gz"), other)
    export(other, [], str(tmp_path / "b.tar.gz"))
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()


def test_a_damaged_result_in_the_store_is_replaced_by_that_of_the_archive(
    store: DirectoryStore, other: DirectoryStore, key_of: KeyOf, tmp_path: Path
) -> None:
    export(store, [], str(tmp_path / "a.tar"))
    import_(str(tmp_path / "a.tar"), other)
    (other.folder(key_of("model")) / ARRAYS).write_bytes(b"")
    moved = import_(str(tmp_path / "a.tar"), other)
    assert (moved.n_new, moved.n_present) == (1, 3) and other.verify() == {}


def test_a_colleagues_own_word_on_a_study_stays(store: DirectoryStore, other: DirectoryStore, tmp_path: Path) -> None:
    [study] = all_kept(store.path)[0]
    keep(other.path, Kept(title="mine", goals=study.goals, steps=study.steps))
    export(store, [], str(tmp_path / "a.tar"))
    import_(str(tmp_path / "a.tar"), other)
    assert [one.title for one in all_kept(other.path)[0]] == ["mine"]


# Elsewhere


def test_an_object_store_serves_as_well_as_a_file(store: DirectoryStore, other: DirectoryStore, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    export(store, [], "memory://bucket/a.tar.gz")
    export(store, [], f"file://{tmp_path}/a.tar.gz")
    with fsspec.open("memory://bucket/a.tar.gz") as file:
        assert file.read() == (tmp_path / "a.tar.gz").read_bytes()
    assert import_("memory://bucket/a.tar.gz", other).n_new == 4
    assert import_(f"file://{tmp_path}/a.tar.gz", other).n_new == 0


def test_a_missing_package_is_named(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError, match=r"^s3://bucket/a\.tar: found no package for this protocol: .*s3fs.*$"):
        export(store, [], "s3://bucket/a.tar")


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("none.tar", "none.tar: found no such file, expected an archive of `oversight export`"),
        ("memory://none.tar", "memory://none.tar: found no such file"),
        ("gopher://x/a.tar", "gopher://x/a.tar: Protocol not known: gopher"),
    ],
)
def test_a_source_that_is_not_there_is_bad_input(other: DirectoryStore, source: str, line: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(line)}"):
        import_(source, other)
    assert not other.path.exists()


# What cannot be sent


@pytest.mark.parametrize(
    ("target", "line"),
    [("a.zip", "expected one that ends in .tar, .tar.gz or .tgz"), ("none/a.tar", "found no directory")],
)
def test_a_target_that_cannot_be_written_is_bad_input(
    store: DirectoryStore, tmp_path: Path, target: str, line: str
) -> None:
    with pytest.raises(InputError, match=line):
        export(store, [], str(tmp_path / target))


def test_a_missing_input_is_named_with_what_was_made_from_it(
    store: DirectoryStore, key_of: KeyOf, tmp_path: Path
) -> None:
    store.forget(key_of("model"), "test")
    with pytest.raises(StepError, match=f"found no result {key_of('model')[:12]}, from which {key_of('student')[:12]}"):
        export(store, [key_of("score")], str(tmp_path / "a.tar"))
    with pytest.raises(StepError, match="misses 1 of its 4 results"):
        export(store, [], str(tmp_path / "a.tar"))
    assert not (tmp_path / "a.tar").exists()


def test_a_damaged_result_is_not_sent(store: DirectoryStore, key_of: KeyOf, tmp_path: Path) -> None:
    (store.folder(key_of("model")) / ARRAYS).write_bytes(b"")
    (tmp_path / "a.tar").write_text("before")
    with pytest.raises(StepError, match=f"{key_of('model')} is damaged"):
        export(store, [], str(tmp_path / "a.tar"))
    assert (tmp_path / "a.tar").read_text() == "before"


def test_without_a_name_and_without_a_study_there_is_nothing_to_send(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found no kept study"):
        export(DirectoryStore(tmp_path), [], str(tmp_path / "a.tar"))


def test_a_disk_that_fills_up_leaves_the_old_archive(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.tar").write_text("before")

    def full(self: tarfile.TarFile, member: tarfile.TarInfo, content: Any = None) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with pytest.raises(StepError, match="cannot be written: No space left on device"):
        export(store, [], str(tmp_path / "a.tar"))
    assert (tmp_path / "a.tar").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "store"]


# Damage


def regions(path: Path) -> Iterator[int]:
    """Places in an uncompressed archive that carry meaning: names, checksums and sizes of headers, all contents."""
    with tarfile.open(path) as tar:
        for member in tar.getmembers():
            yield from (member.offset + place for place in (0, 5, 124, 130, 150, 156, 257))
            step = max(1, member.size // 12)
            yield from range(member.offset_data, member.offset_data + member.size, step)
            yield member.offset_data + member.size - 1


def test_a_flip_anywhere_brings_in_nothing_that_is_not_as_it_was(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    export(store, [], str(tmp_path / "a.tar"))
    whole, before = (tmp_path / "a.tar").read_bytes(), files(store)
    for place in regions(tmp_path / "a.tar"):
        (tmp_path / "b.tar").write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        other = DirectoryStore(tmp_path / f"at-{place}")
        refused(tmp_path / "b.tar", other)
        assert files(other).items() <= before.items(), place


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_an_archive_that_ends_early_brings_in_what_was_whole_and_says_so(
    store: DirectoryStore, tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    name = "a.tar.gz" if packed else "a.tar"
    export(store, [], str(tmp_path / name))
    whole, before = (tmp_path / name).read_bytes(), files(store)
    draw = random.Random(0)
    end = len(whole) - (200 if packed else 10240)  # the end of a tar is padding, which nobody misses
    for size in [0, 1, 100, *(draw.randrange(1, end) for _ in range(15))]:
        (tmp_path / "cut").write_bytes(whole[:size])
        other = DirectoryStore(tmp_path / f"cut-at-{size}")
        line = refused(tmp_path / "cut", other)
        assert re.search("the archive is damaged|found no archive", line), (size, line)
        assert files(other).items() <= before.items()
        import_(str(tmp_path / name), other)
        assert other.verify() == {}


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive at all", b"\0" * 10240, gzip.compress(b"x", mtime=0), b"PK\x03\x04" * 200],
    ids=["empty", "text", "zeros", "gzip", "zip"],
)
def test_other_files_are_bad_input(other: DirectoryStore, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(InputError, match="found no archive of `oversight export`"):
        import_(str(tmp_path / "a.tar"), other)
    assert not other.path.exists()


# Stores that cannot be written, and large results


def test_a_store_that_cannot_be_written_says_so_first(store: DirectoryStore, tmp_path: Path) -> None:
    export(store, [], str(tmp_path / "a.tar"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be written: Not a directory; nothing was brought in"):
        import_(str(tmp_path / "a.tar"), DirectoryStore(tmp_path / "file" / "store"))


def test_a_disk_that_fills_up_on_the_way_in_leaves_whole_results(
    store: DirectoryStore, other: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(store, [], str(tmp_path / "a.tar"))
    real, calls = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    line = refused(tmp_path / "a.tar", other)
    assert "No space left on device" in line and 1 <= len(list(other.keys())) < 4
    monkeypatch.undo()
    assert import_(str(tmp_path / "a.tar"), other).n_present >= 1


def test_a_large_array_passes_in_pieces(store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads and writes of both ways stay below the size of a buffer, whatever the size of a result."""
    import numpy as np

    monkeypatch.setattr("oversight.runs.archive.BUFFER", 1 << 14)
    key = "cd" + "2" * 62
    store.put(key, Outcome(arrays={"a": np.random.default_rng(0).random(1 << 17)}), about={"inputs": [], "kind": "k"})
    export(store, [key], str(tmp_path / "a.tar"))
    real, sizes = tarfile.ExFileObject.read, []

    def read(self: Any, size: int = -1) -> bytes:
        sizes.append(size)
        return real(self, size)

    monkeypatch.setattr(tarfile.ExFileObject, "read", read)
    other = DirectoryStore(tmp_path / "other")
    import_(str(tmp_path / "a.tar"), other)
    assert len(sizes) > 60 and max(sizes) == 1 << 14
    assert load_json((other.folder(key) / RECORD).read_bytes(), RECORD) == sealed.read_record(store.folder(key))
