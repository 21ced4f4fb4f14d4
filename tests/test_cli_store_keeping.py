"""Commands that look through a store, clean it up, and move results between stores."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.cli.store_tables import moment, shown_bytes
from oversight.errors import InputError
from oversight.runs.failures import Failure, record_failure
from oversight.runs.kept import Kept, keep
from oversight.runs.store import DirectoryStore, Outcome
from oversight.sealed import dump_json, load_json

STORE = "oversight-store"
RESULTS = (("features", "minilm@2", 30), ("teach", "minilm@4 by naive", 5), ("score", "bow -> minilm@4", 1))


def key_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


@pytest.fixture
def kept(place: Path) -> DirectoryStore:
    """Features, read by a student, read by a score that a study asked for; and a lonely result, all days old."""
    store = DirectoryStore(place / STORE)
    before: list[str] = []
    for kind, name, days in (*RESULTS, ("teach", "lonely", 2)):
        made = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
        inputs = [] if name == "lonely" else before[-1:]
        about = {"kind": kind, "version": 1, "config": {"of": name}, "name": name, "made": made, "seconds": 1.5}
        store.put(key_of(name), Outcome(arrays={"p": np.zeros((2, 3))}), about={**about, "inputs": inputs})
        before.append(key_of(name))
        for path in (store.folder(key_of(name)), *store.folder(key_of(name)).iterdir()):
            os.utime(path, (time.time() - 86400, time.time() - 86400))
    keep(store.path, study_of(*before[:3]))
    return store


def study_of(*keys: str) -> Kept:
    return Kept(title="my study", goals=keys[-1:], steps=keys, about={"made": "2026-01-01T00:00:00Z"})


NAME = study_of(*(key_of(name) for _, name, _ in RESULTS)).name

# ls


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    ("words", "names"),
    [
        ((), {"minilm@2", "minilm@4 by naive", "bow -> minilm@4", "lonely"}),
        (("--kind", "teach"), {"minilm@4 by naive", "lonely"}),
        (("--name", "minilm@4"), {"minilm@4 by naive", "bow -> minilm@4"}),
        (("--since", "3d"), {"bow -> minilm@4", "lonely"}),
        (("--since", "36h"), {"bow -> minilm@4"}),
        (("--since", "2020-01-01", "--kind", "features"), {"minilm@2"}),
        (("--kind", "teach", "--name", "->"), set[str]()),
    ],
)
def test_ls_shows_what_passes_every_filter(
    words: tuple[str, ...], names: set[str], oversight: Callable[..., Any]
) -> None:
    rows = oversight("ls", *words, "--json").json["results"]
    assert {row["name"] for row in rows} == names
    lines = oversight("ls", *words).out.splitlines()
    assert len(lines) == len(names) and all(any(line.endswith(name) for line in lines) for name in names)


def test_ls_tells_the_size_of_a_result(kept: DirectoryStore, oversight: Callable[..., Any]) -> None:
    [row] = oversight("ls", "--name", "lonely", "--json").json["results"]
    files = [path.stat().st_size for path in kept.folder(key_of("lonely")).iterdir()]
    assert row == {
        "key": key_of("lonely"),
        "kind": "teach",
        "name": "lonely",
        "made": row["made"],
        "seconds": 1.5,
        "bytes": sum(files),
    }


def test_ls_reads_no_arrays(kept: DirectoryStore, oversight: Callable[..., Any]) -> None:
    for path in kept.path.glob("*/*/arrays.safetensors"):
        path.unlink()
    assert len(oversight("ls", "--json").json["results"]) == 4


def test_a_result_of_a_newer_program_is_listed_and_disturbs_nobody(
    kept: DirectoryStore, oversight: Callable[..., Any]
) -> None:
    path = kept.folder(key_of("lonely")) / "record.json"
    content = load_json(path.read_bytes(), path.name) | {"format": 2}
    path.write_bytes(dump_json(content))
    kinds = {row["key"]: row["kind"] for row in oversight("ls", "--json").json["results"]}
    assert kinds[key_of("lonely")] == "unreadable" and len(kinds) == 4
    assert len(oversight("show", key_of("minilm@2")).json["used_by"]["results"]) == 1
    said = oversight("show", key_of("lonely"))
    assert (said.code, said.err.count("\n")) == (1, 1) and "newer than this program" in said.err


def test_ls_shows_what_failed_and_why(kept: DirectoryStore, oversight: Callable[..., Any]) -> None:
    failure = Failure(key="a" * 64, name="student", kind="teach", error="out of memory", made="2026-02-01", attempts=2)
    record_failure(kept.path, failure)
    record_failure(kept.path, Failure(key="b" * 64, error="e", kind="score"))
    assert oversight("ls", "--failed", "--kind", "teach", "--json").json["failed"] == [vars(failure)]
    line = oversight("ls", "--failed").out.splitlines()[1]
    assert line.startswith("a" * 12) and line.endswith("student: out of memory  (2 attempts)")


def test_ls_shows_what_was_asked_for(kept: DirectoryStore, oversight: Callable[..., Any]) -> None:
    [row] = oversight("ls", "--studies", "--json").json["studies"]
    assert row == {
        "name": NAME,
        "title": "my study",
        "made": "2026-01-01T00:00:00Z",
        "steps": 3,
        "missing": 0,
        "studies": 0,
    }
    kept.forget(key_of("minilm@2"), "test")
    line = f"{NAME}  2026-01-01T00:00:00Z  0 studies  3 steps (1 missing)  my study\n"
    assert oversight("ls", "--studies", "--name", "study").out == line
    (kept.path / "kept" / f"{NAME}.json").write_text("{")
    assert "damaged: " in oversight("ls", "--studies").out


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("ls", "--since", "soon"), "--since: found 'soon', expected a date such as 2026-01-31, or 3d or 12h"),
        (("ls", "--failed", "--studies"), "--failed and --studies: found both, expected one"),
        (("ls", "--store", "none"), "--store none: found no such directory, expected one that holds results"),
        (("gc", "--older-than", "-1"), "--older-than: found -1.0, expected a number of days"),
        (("gc", "--older-than", "nan"), "--older-than: found nan, expected a number of days"),
        (("gc", "--drop", "x"), f"store {STORE}: found no kept study 'x', expected one of `ls --studies`"),
        (("export", "a.zip"), "a.zip: found no archive's name, expected one that ends in .tar, .tar.gz or .tgz"),
        (("export", "a.tar", "zz"), f"store {STORE}: found 0 results whose key begins with 'zz', expected one"),
        (("import", "a.tar"), "a.tar: found no such file, expected an archive of `oversight export`"),
        (("why-recompute", "zz", "zz"), f"store {STORE}: found 0 results whose key begins with 'zz', expected one"),
    ],
)
def test_bad_input_is_one_line(words: tuple[str, ...], line: str, refused: Callable[..., str]) -> None:
    assert refused(*words) == line


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        ("2026-01-31T12:30:00", "2026-01-31T12:30:00Z"),
        ("2026-01-31T12:30:00+02:00", "2026-01-31T10:30:00Z"),
    ],
)
def test_a_date_is_read_as_utc_unless_it_says_otherwise(text: str, found: str) -> None:
    assert moment(text) == found


@pytest.mark.parametrize("text", ["", "3", "d", "-3d", "3w", "2026-13-01", "999999d", "yesterday"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"^--since: found '{text}', expected"):
        moment(text)


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"), (10**16, "10000.0 TB")],
)
def test_sizes_are_shown_in_thousands(n: int, text: str) -> None:
    assert shown_bytes(n) == text


# show and why-recompute


def test_show_tells_what_a_result_holds_and_who_used_it(kept: DirectoryStore, oversight: Callable[..., Any]) -> None:
    key, reader = key_of("minilm@2"), key_of("minilm@4 by naive")
    shown = oversight("show", key[:12]).json
    assert shown["outputs"] == {"arrays": {"p": {"shape": [2, 3], "dtype": "float64"}}, "rows": None}
    assert shown["used_by"] == {
        "results": [{"key": reader, "kind": "teach", "name": "minilm@4 by naive"}],
        "studies": [{"name": NAME, "title": "my study"}],
    }
    assert shown["bytes"] == kept.size(key) and shown["config"] == {"of": "minilm@2"}


def test_show_names_the_columns_of_rows(kept: DirectoryStore, oversight: Callable[..., Any]) -> None:
    pa = pytest.importorskip("pyarrow")
    rows = pa.table({"id": ["x", "y"], "p": [0.5, 1.0]})
    kept.put("a" * 64, Outcome(rows=rows), about={"kind": "rows", "inputs": []})
    assert oversight("show", "a" * 64).json["outputs"]["rows"] == {"n": 2, "columns": {"id": "string", "p": "double"}}


def test_show_takes_the_name_of_a_kept_study(kept: DirectoryStore, oversight: Callable[..., Any]) -> None:
    shown = oversight("show", NAME).json
    assert (shown["name"], shown["title"], shown["goals"]) == (NAME, "my study", [key_of("bow -> minilm@4")])
    (kept.path / "kept" / f"{NAME}.json").write_text("{")
    said = oversight("show", NAME)
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1) and "is damaged" in said.err


def test_show_a_result_with_damaged_arrays_is_one_line_and_removes_nothing(
    kept: DirectoryStore, oversight: Callable[..., Any]
) -> None:
    (kept.folder(key_of("lonely")) / "arrays.safetensors").write_bytes(b"")
    said = oversight("show", key_of("lonely"))
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1) and "is damaged" in said.err
    assert kept.peek(key_of("lonely"))


@pytest.mark.usefixtures("kept")
def test_why_recompute_names_the_field_and_both_values(oversight: Callable[..., Any]) -> None:
    one, other = key_of("lonely"), key_of("minilm@4 by naive")
    said = oversight("why-recompute", one[:10], other[:10])
    assert said.out == "teach: config.of: lonely | minilm@4 by naive\nteach: inputs: none | 1 features\n"
    found = oversight("why-recompute", one, other, "--json").json
    assert found["keys"] == [one, other]
    assert [row["field"] for row in found["differences"]] == ["config.of", "inputs"]
    assert oversight("why-recompute", one, one).out == "the same result\n"
    assert oversight("why-recompute", one, one, "--json").json == {
        "keys": [one, one],
        "differences": [],
        "other_patches": {},
    }


# verify


def test_verify_finds_a_damaged_kept_study(kept: DirectoryStore, oversight: Callable[..., Any]) -> None:
    assert oversight("verify").out == "4 results, 0 damaged; 1 kept study, 0 damaged\n"
    (kept.path / "kept" / f"{NAME}.json").write_text("{}")
    said = oversight("verify")
    assert (said.code, said.out.splitlines()[-1]) == (1, "4 results, 0 damaged; 1 kept study, 1 damaged")
    assert said.out.startswith(f"{NAME}: ")
    found = oversight("verify", "--json")
    assert found.code == 1
    assert (found.json["results"], found.json["damaged"], found.json["studies"]) == (4, {}, 1)
    assert list(found.json["damaged_studies"]) == [NAME]


def test_verify_names_what_is_gone_though_others_were_made_from_it(
    kept: DirectoryStore, oversight: Callable[..., Any]
) -> None:
    reader = next(key for key, record in kept.records() if not isinstance(record, str) and record["inputs"])
    gone = kept.about(reader)["inputs"][0]
    shutil.rmtree(kept.folder(gone))
    said = oversight("verify")
    assert said.code == 0 and said.out.startswith(f"{gone}: is not there, though ")
    assert list(oversight("verify", "--json").json["gone"]) == [gone]


# gc


def test_gc_shows_and_removes_only_when_told(
    kept: DirectoryStore, oversight: Callable[..., Any], tree: Callable[[], Any]
) -> None:
    before = tree()
    shown = oversight("gc").out.splitlines()
    assert shown[0].split()[:2] == ["teach", "1"] and shown[0].endswith("no kept study needs it")
    assert shown[1].startswith("1 thing, ") and "nothing was, --delete does it" in shown[1]
    found = oversight("gc", "--json").json
    assert (found["deleted"], [row["key"] for row in found["garbage"]]) == (False, [key_of("lonely")])
    assert tree() == before
    said = oversight("gc", "--delete")
    assert said.code == 0 and said.out.splitlines()[-1].startswith("removed 1 thing, ")
    assert set(kept.keys()) == {key_of(name) for _, name, _ in RESULTS}
    assert oversight("gc").out == "nothing to remove; 3 results, 1 kept study looked at\n"


def test_gc_shows_what_dropping_a_study_would_free(kept: DirectoryStore, oversight: Callable[..., Any]) -> None:
    shown = oversight("gc", "--drop", NAME)
    assert "no study is kept here" in shown.out
    assert len(oversight("gc", "--drop", NAME, "--json").json["garbage"]) == 4
    assert len(oversight("ls", "--studies", "--json").json["studies"]) == 1
    removed = oversight("gc", "--drop", NAME, "--delete", "--json").json
    assert removed["deleted"] and len(removed["garbage"]) == 4
    assert list(kept.keys()) == [] and oversight("ls", "--studies", "--json").json["studies"] == []


def test_gc_with_a_damaged_study_says_what_to_do(kept: DirectoryStore, oversight: Callable[..., Any]) -> None:
    (kept.path / "kept" / f"{NAME}.json").write_text("{}")
    said = oversight("gc", "--delete")
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1) and f"gc --drop {NAME}" in said.err
    assert len(list(kept.keys())) == 4
    assert oversight("gc", "--drop", NAME).code == 0


# export and import


def test_an_archive_brings_a_study_to_another_store(
    kept: DirectoryStore, place: Path, oversight: Callable[..., Any]
) -> None:
    assert oversight("export", "a.tar.gz").out == "a.tar.gz: 3 results, 1 kept study\n"
    said = oversight("import", "a.tar.gz", "--store", "other")
    assert said.out == "other: 3 results (3 new, 0 present), 1 kept study\n"
    assert oversight("import", "a.tar.gz", "--store", "other", "--json").json == {
        "new": 0,
        "present": 3,
        "studies": [NAME],
    }
    assert oversight("verify", "--store", "other").out == "3 results, 0 damaged; 1 kept study, 0 damaged\n"
    sent = oversight("export", "b.tar", NAME, key_of("lonely")[:8], "--json").json
    assert set(sent["results"]) == set(kept.keys()) and sent["studies"] == [NAME]


def test_a_damaged_archive_is_a_failure_in_one_line(
    kept: DirectoryStore, place: Path, oversight: Callable[..., Any]
) -> None:
    oversight("export", "a.tar")
    whole = (place / "a.tar").read_bytes()
    (place / "a.tar").write_bytes(whole[: len(whole) // 2])
    said = oversight("import", "a.tar", "--store", "other")
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
    assert said.err.startswith("oversight: a.tar: the archive is damaged: ")


@pytest.mark.usefixtures("data")
def test_a_study_is_answered_by_a_store_that_got_it_from_an_archive(oversight: Callable[..., Any]) -> None:
    words = ("w2s", "data.jsonl", "--weak", "bow", "--strong", "bow", "--seeds", "1", "--json")
    first = oversight(*words).json
    assert oversight("export", "a.tar").code == 0
    assert oversight("import", "a.tar", "--store", "other").code == 0
    dry = oversight(*words, "--store", "other", "--dry-run").json
    assert dry["steps_to_do"] == {}
    assert oversight(*words, "--store", "other").numbers == first
    assert oversight("gc", "--store", "other").out.startswith("nothing to remove")


READ_ONLY = [
    (("ls", "--json"), 0, "lonely"),
    (("show", NAME), 0, "my study"),
    (("verify",), 0, "4 results, 0 damaged"),
    (("gc",), 0, "1 thing"),
    (("export", "../a.tar", "--store", "."), 0, "3 results"),
    (("gc", "--delete"), 1, "cannot be written: Read-only file system; nothing was removed"),
    (("gc", "--drop", NAME, "--delete"), 1, "Read-only file system"),
    (("import", "../b.tar"), 1, "cannot be written: Read-only file system; nothing was brought in"),
]


def test_a_read_only_store_serves_all_that_only_reads(
    kept: DirectoryStore, place: Path, executable: str, environment: dict[str, str], oversight: Callable[..., Any]
) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here to mount a file system of one's own")
    oversight("export", "b.tar")
    mount = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"'
    start = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*start, mount, "sh", str(kept.path)], capture_output=True).returncode:
        pytest.skip("mounting is refused here")
    for words, code, text in READ_ONLY:
        command = f'{mount}; cd "$1"; shift; exec "$@"'
        options = () if "--store" in words else ("--store", ".")
        done = subprocess.run(
            [*start, command, "sh", str(kept.path), executable, *words, *options],
            env=environment,
            capture_output=True,
            text=True,
        )
        said = done.stdout if code == 0 else done.stderr
        assert (done.returncode, text in said) == (code, True), (words, done)
        assert code == 0 or (done.stdout, done.stderr.count("\n")) == ("", 1)
