"""Archives that somebody else wrote: nothing comes in that is not a whole result under its own key."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from oversight.errors import OversightError
from oversight.runs.archive import INDEX, import_
from oversight.runs.kept import Kept, all_kept, keep
from oversight.runs.store import DirectoryStore, Outcome
from oversight.sealed import dump_json


@pytest.fixture
def other(tmp_path: Path) -> DirectoryStore:
    """Not there yet."""
    return DirectoryStore(tmp_path / "other" / "store")


def files(store: DirectoryStore) -> dict[str, bytes]:
    """Every file of a store."""
    paths = sorted(path for path in store.path.rglob("*") if path.is_file())
    return {str(path.relative_to(store.path)): path.read_bytes() for path in paths}


def refused(source: Path, store: DirectoryStore) -> str:
    """The one line with which an archive is refused; what came in of it is whole."""
    with pytest.raises(OversightError) as caught:
        import_(str(source), store)
    assert str(caught.value).isprintable()
    assert store.verify() == {} and list(store.path.glob("**/.*")) == []
    return str(caught.value)


K = "ab" + "0" * 62


def packed(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo, index: Any = None) -> Path:
    """An archive as somebody else might write it."""
    said = dump_json({"format": 1, "results": [K], "kept": []} if index is None else index)
    with tarfile.open(path, "w") as tar:
        for one in ((INDEX, said), *members):
            if isinstance(one, tarfile.TarInfo):
                tar.addfile(one)
            else:
                member = tarfile.TarInfo(one[0])
                member.size = len(one[1])
                tar.addfile(member, io.BytesIO(one[1]))
    return path


@pytest.mark.parametrize(
    "name",
    [
        f"../{K[:2]}/{K}/record.json",
        f"/{K[:2]}/{K}/record.json",
        f"./{K[:2]}/{K}/record.json",
        f"ab/{K}/../../evil",
        f"ab/{K}/.hidden",
        f"ab/{K}/a/b.json",
        f"cd/{K}/record.json",
        f"ab/{K[:-1]}/record.json",
        f"AB/{K.upper()}/record.json",
        "kept/../evil.json",
        "kept/evil.json",
        "claims/x",
        f"ab/{K}/record.json\n",
        f"ab/{K}/record\u202e.json",
        "evil",
    ],
)
def test_a_name_that_is_no_file_of_a_store_is_refused(other: DirectoryStore, tmp_path: Path, name: str) -> None:
    line = refused(packed(tmp_path / "a.tar", (name, b"x")), other)
    assert "is no file of a store" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_only_plain_files_come_in(other: DirectoryStore, tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo(f"ab/{K}/record.json")
    member.type, member.linkname = kind, "/etc/passwd"
    assert "is not a plain file" in refused(packed(tmp_path / "a.tar", member), other)
    assert not other.path.exists()


def sound(tmp_path: Path, key: str = K) -> list[tuple[str, bytes]]:
    """The files of one result, in order."""
    made = DirectoryStore(tmp_path / "made")
    made.put(key, Outcome(record={"n": 1}), about={"kind": "k", "inputs": []})
    return list(files(made).items())


def test_a_plain_archive_of_ones_own_is_taken(other: DirectoryStore, tmp_path: Path) -> None:
    assert import_(str(packed(tmp_path / "a.tar", *sound(tmp_path))), other).n_new == 1


def test_a_result_under_another_key_is_refused(other: DirectoryStore, tmp_path: Path) -> None:
    """The bytes are whole, but they answer another question."""
    other_key = "ab" + "1" * 62
    members = [(name.replace(K, other_key), text) for name, text in sound(tmp_path)]
    index = {"format": 1, "results": [other_key], "kept": []}
    assert f"belongs to {K[:12]}" in refused(packed(tmp_path / "a.tar", *members, index=index), other)


@pytest.mark.parametrize("order", [(0, 0, 1), (0, 1, 0)])
def test_a_file_that_comes_twice_is_refused(other: DirectoryStore, tmp_path: Path, order: tuple[int, ...]) -> None:
    members = [sound(tmp_path)[i] for i in order]
    assert "comes twice" in refused(packed(tmp_path / "a.tar", *members), other)


def test_a_result_that_is_not_in_the_index_is_refused(other: DirectoryStore, tmp_path: Path) -> None:
    index = {"format": 1, "results": [], "kept": []}
    assert "not in its index" in refused(packed(tmp_path / "a.tar", *sound(tmp_path), index=index), other)


def test_a_study_that_names_results_from_elsewhere_is_refused(other: DirectoryStore, tmp_path: Path) -> None:
    made = DirectoryStore(tmp_path / "studies")
    study = Kept(title="t", goals=(K,), steps=(K, "cd" + "1" * 62))
    keep(made.path, study)
    index = {"format": 1, "results": [K], "kept": [study.name]}
    members = [*sound(tmp_path), *files(made).items()]
    assert "not all of its results" in refused(packed(tmp_path / "a.tar", *members, index=index), other)
    assert all_kept(other.path) == ([], {})


@pytest.mark.parametrize("index", [{}, {"format": 1}, {"format": "x"}, {"format": 1, "results": 3, "kept": []}])
def test_an_index_of_another_shape_is_bad_input(other: DirectoryStore, tmp_path: Path, index: Any) -> None:
    assert "found no archive" in refused(packed(tmp_path / "a.tar", index=index), other)


def test_a_newer_archive_is_refused_by_name(other: DirectoryStore, tmp_path: Path) -> None:
    index = {"format": 2, "results": [], "kept": []}
    assert "found archive format 2, expected at most 1" in refused(packed(tmp_path / "a.tar", index=index), other)
