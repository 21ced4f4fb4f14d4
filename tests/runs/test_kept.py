"""Kept studies and failures: written whole, found again, and their damage named."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oversight import sealed
from oversight.errors import InputError, StoreError
from oversight.runs.failures import UNREADABLE, Failure, failures, forget_failure, record_failure
from oversight.runs.kept import Kept, all_kept, check_name, drop, keep

A, B, C = "a" * 64, "b" * 64, "c" * 64
KEPT = Kept(title="w2s réviews", goals=(B, A), steps=(A, B, C), about={"made": "2026-01-01T00:00:00Z", "n": (1, 2)})


def file_of(store: Path, name: str) -> Path:
    return store / "kept" / f"{name}.json"


def test_what_was_asked_for_is_found_again(tmp_path: Path) -> None:
    finished = replace(KEPT, studies=({"pgr": None, "gap": 0.1},))
    keep(tmp_path, finished)
    [found], faults = all_kept(tmp_path)
    assert faults == {}
    assert found == replace(finished, about={"made": "2026-01-01T00:00:00Z", "n": [1, 2]})
    assert found.made == "2026-01-01T00:00:00Z"


def test_nothing_is_kept_where_there_is_no_store(tmp_path: Path) -> None:
    assert all_kept(tmp_path / "none") == ([], {})
    assert failures(tmp_path / "none") == {}


@given(st.permutations([A, B, C]))
def test_the_name_says_what_was_asked_for_in_whatever_order(goals: list[str]) -> None:
    name = replace(KEPT, goals=tuple(goals)).name
    assert name == replace(KEPT, goals=(A, B, C), title="other").name != KEPT.name
    assert len(name) == 12 and int(name, 16) >= 0


def test_asking_the_same_later_writes_nothing(tmp_path: Path) -> None:
    keep(tmp_path, KEPT)
    before = file_of(tmp_path, KEPT.name).stat()
    keep(tmp_path, replace(KEPT, about={**KEPT.about, "made": "2027-01-01T00:00:00Z"}))
    after = file_of(tmp_path, KEPT.name).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_numbers_come_when_finished_and_stay_when_asked_again(tmp_path: Path) -> None:
    keep(tmp_path, KEPT)
    keep(tmp_path, replace(KEPT, studies=({"pgr": 0.5},)))
    keep(tmp_path, replace(KEPT, title="asked again"))
    [found], _ = all_kept(tmp_path)
    assert (found.title, found.studies) == ("asked again", ({"pgr": 0.5},))


def test_the_oldest_comes_first(tmp_path: Path) -> None:
    for goal, made in ((A, "2026-03-01"), (B, "2026-01-01"), (C, "2026-02-01")):
        keep(tmp_path, replace(KEPT, goals=(goal,), about={"made": made}))
    assert [one.goals for one in all_kept(tmp_path)[0]] == [(B,), (C,), (A,)]


def test_every_flip_of_a_byte_is_named_or_changes_nothing(tmp_path: Path) -> None:
    keep(tmp_path, KEPT)
    path = file_of(tmp_path, KEPT.name)
    whole, before = path.read_bytes(), all_kept(tmp_path)[0]
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0x01]) + whole[i + 1 :])
        found, faults = all_kept(tmp_path)
        assert list(faults) == [KEPT.name] or found == before, i


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"content": 1, "sha256": ""}', "é"])
def test_a_damaged_one_is_named_beside_the_others(tmp_path: Path, content: str) -> None:
    other = replace(KEPT, goals=(C,))
    keep(tmp_path, KEPT)
    keep(tmp_path, other)
    file_of(tmp_path, KEPT.name).write_text(content, encoding="latin-1")
    found, faults = all_kept(tmp_path)
    assert [one.name for one in found] == [other.name] and list(faults) == [KEPT.name]
    keep(tmp_path, KEPT)
    assert all_kept(tmp_path)[1] == {}


def rewritten(path: Path, **changed: Any) -> None:
    content = sealed.load_json(path.read_bytes(), path.name) | changed
    path.write_bytes(sealed.dump_json(content))


def test_unknown_fields_are_ignored_and_a_newer_format_is_named(tmp_path: Path) -> None:
    keep(tmp_path, KEPT)
    path = file_of(tmp_path, KEPT.name)
    rewritten(path, colour="red")
    assert all_kept(tmp_path)[0][0].goals == KEPT.goals
    rewritten(path, format=2)
    assert all_kept(tmp_path) == ([], {KEPT.name: "found format 2, expected at most 1: newer than this program"})


def test_what_a_newer_program_kept_is_not_written_over(tmp_path: Path) -> None:
    keep(tmp_path, KEPT)
    path = file_of(tmp_path, KEPT.name)
    rewritten(path, format=2)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"kept study {KEPT.name}: found format 2, expected at most 1: newer"):
        keep(tmp_path, KEPT)
    assert path.read_bytes() == before


def test_a_file_under_another_name_is_damaged(tmp_path: Path) -> None:
    keep(tmp_path, KEPT)
    file_of(tmp_path, KEPT.name).rename(file_of(tmp_path, "0" * 12))
    assert all_kept(tmp_path) == ([], {"0" * 12: f"belongs to {KEPT.name}"})


def test_what_is_dropped_is_gone_even_if_damaged(tmp_path: Path) -> None:
    keep(tmp_path, KEPT)
    file_of(tmp_path, KEPT.name).write_text("{")
    drop(tmp_path, KEPT.name)
    assert all_kept(tmp_path) == ([], {})


@pytest.mark.parametrize("name", ["0" * 12, "../secret", "secret", "", "*"])
def test_only_kept_studies_can_be_dropped(tmp_path: Path, name: str) -> None:
    (tmp_path / "kept").mkdir()
    for path in (tmp_path / "secret.json", tmp_path / "kept" / "secret.json"):
        path.write_text("{}")
    for refuse in (drop, check_name):
        with pytest.raises(InputError, match="found no kept study"):
            refuse(tmp_path, name)
    assert (tmp_path / "secret.json").exists() and (tmp_path / "kept" / "secret.json").exists()


FAILURE = Failure(
    key=A, name="minilm@4", kind="teach", error="out of memory", traceback="at…\n", made="2026", attempts=2
)


def test_a_failure_is_found_again_replaced_and_forgotten(tmp_path: Path) -> None:
    record_failure(tmp_path, FAILURE)
    record_failure(tmp_path, Failure(key=B, error="other"))
    assert failures(tmp_path) == {A: FAILURE, B: Failure(key=B, error="other")}
    record_failure(tmp_path, replace(FAILURE, attempts=3))
    assert failures(tmp_path)[A].attempts == 3
    for key in (A, A, C):
        forget_failure(tmp_path, key)
    assert list(failures(tmp_path)) == [B]


@pytest.mark.parametrize("content", ["", "[]", '{"error": 1', "{}", '"text"'])
def test_a_failure_whose_record_is_damaged_is_one_all_the_same(tmp_path: Path, content: str) -> None:
    record_failure(tmp_path, FAILURE)
    (tmp_path / "failed" / f"{A}.json").write_text(content)
    assert failures(tmp_path) == {A: Failure(key=A, error=UNREADABLE)}


def test_unknown_fields_of_a_failure_are_ignored(tmp_path: Path) -> None:
    record_failure(tmp_path, FAILURE)
    path = tmp_path / "failed" / f"{A}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "x"}))
    assert failures(tmp_path) == {A: FAILURE}


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sealed, "write_file", full)
    with pytest.raises(StoreError, match=f"^store {tmp_path}: cannot write kept/{KEPT.name}: No space left on device$"):
        keep(tmp_path, KEPT)
    with pytest.raises(StoreError, match=f"^store {tmp_path}: cannot write failed/{A[:12]}: No space left on device$"):
        record_failure(tmp_path, FAILURE)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
