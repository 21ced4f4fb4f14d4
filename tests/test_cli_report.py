"""`oversight report`: what the store holds, in every format, by name and by filter; damage is named."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from oversight.runs.kept import Kept, all_kept, keep
from oversight.runs.store import DirectoryStore, Outcome

GRID = {
    "task": ("reviews", "sciq"),
    "weak_model": ("bow", "minilm@0"),
    "strong_model": ("minilm@2", "minilm@4"),
    "method": ("naive", "confidence"),
}
FLAGS = {"task": "--task", "weak_model": "--weak", "strong_model": "--strong", "method": "--method", "test": "--test"}


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory,
    reviews_of: Callable[..., list[dict[str, Any]]],
    write_lines: Callable[..., Path],
) -> Path:
    """A store with a real study of two test sets, and a grid of 16 whose numbers are those of the first of them."""
    from oversight.resolve import prepare
    from oversight.studies.weak_to_strong import run_study

    place = tmp_path_factory.mktemp("report")
    data, other = (write_lines(place / f"{name}.jsonl", reviews_of(160, seed=i)) for i, name in enumerate("ab"))
    store = DirectoryStore(place / "kept")
    about = {"command": "oversight w2s a.jsonl"}
    run_study(
        prepare(str(data), weak="bow", strong="bow", seeds=2, tests={"shifted": str(other)}), store=store, about=about
    )
    (real,), _ = all_kept(store.path)
    names = dict(real.studies[0])
    outcome = store.get(real.goals[0])
    assert outcome is not None
    studies: list[dict[str, Any]] = []
    for values in itertools.product(*GRID.values()):
        key = hashlib.sha256(repr(values).encode()).hexdigest()
        store.put(key, Outcome(record=outcome.record), about={"kind": "score", "version": 1, "inputs": []})
        studies.append({**names, **dict(zip(GRID, values, strict=True)), "keys": {**names["keys"], "score": [key]}})
    goals = tuple(study["keys"]["score"][0] for study in studies)
    about = {"made": "2099-01-01T00:00:00Z", "plan": "seeds = 2"}
    keep(store.path, Kept(title="sweep grid", goals=goals, steps=goals, about=about, studies=tuple(studies)))
    return store.path


@pytest.fixture
def store(made: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> DirectoryStore:
    """A copy of it, named in the environment."""
    shutil.copytree(made, place / "kept")
    monkeypatch.setenv("OVERSIGHT_STORE", str(place / "kept"))
    return DirectoryStore(place / "kept")


def kept_of(store: DirectoryStore) -> tuple[Kept, Kept]:
    """The real study and the grid."""
    (real, grid), faults = all_kept(store.path)
    assert not faults
    return real, grid


def keys_in(said: Any) -> list[str]:
    return [study["keys"]["score"][0] for study in said.json["studies"]]


def test_everything_that_is_kept_is_reported_once(store: DirectoryStore, oversight: Callable[..., Any]) -> None:
    real, grid = kept_of(store)
    again = replace(grid, title="half of it", goals=grid.goals[:8], studies=grid.studies[:8])
    keep(store.path, again)
    said = oversight("report", "-o", "-", "--format", "json")
    assert (said.code, said.err) == (0, "")
    assert sorted(keys_in(said)) == sorted([*real.goals, *grid.goals])


def test_the_numbers_are_those_that_the_study_gave(store: DirectoryStore, oversight: Callable[..., Any]) -> None:
    real, _ = kept_of(store)
    said = oversight("report", real.name, "-o", "-", "--format", "json")
    for study in said.json["studies"]:
        outcome = store.get(study["keys"]["score"][0])
        assert outcome is not None
        record = outcome.record
        for name in ("gap", "gain", "pgr"):
            assert study[name]["value"] == record[name]["value"] and study[name]["low"] == record[name]["low"]
        assert (study["n_test"], study["metric"]) == (record["n_test"], record["metric"])
    assert [study["test"] for study in said.json["studies"]] == ["test", "shifted"]


def test_all_formats_tell_the_same_studies(store: DirectoryStore, place: Path, oversight: Callable[..., Any]) -> None:
    kinds = ("html", "md", "csv", "json", "png", "pdf")
    for kind in kinds:
        said = oversight("report", "-o", f"r.{kind}")
        assert (said.code, said.out, said.err) == (0, f"Report: r.{kind}, 18 studies\n", "")
    by_json = json.loads((place / "r.json").read_text())["studies"]
    by_csv = list(csv.DictReader(io.StringIO((place / "r.csv").read_text())))
    assert [row["key"] for row in by_csv] == [study["keys"]["score"][0] for study in by_json]
    assert [row["gain_value"] for row in by_csv] == [repr(study["gain"]["value"]) for study in by_json]
    page = (place / "r.html").read_text()
    assert all(study["keys"]["score"][0] in page for study in by_json)
    assert (place / "r.md").read_text().count("\n| ") == 18 + 1
    assert (place / "r.png").read_bytes()[:4] == b"\x89PNG" and (place / "r.pdf").read_bytes()[:4] == b"%PDF"
    assert {path.name for path in place.glob("*r.*")} == {f"r.{kind}" for kind in kinds}


def test_the_page_has_examples_and_says_what_was_asked_for(
    store: DirectoryStore, place: Path, oversight: Callable[..., Any]
) -> None:
    real, grid = kept_of(store)
    assert oversight("report", "-o", "r.html").code == 0
    page = (place / "r.html").read_text()
    assert "Where they disagree" in page and "No examples" not in page and 'class="ov-cards"' in page
    for told in (real.name, grid.name, "sweep grid", "oversight w2s a.jsonl", "oversight report -o r.html"):
        assert told in page
    assert not re.search(r"https?:|<script|@import", page)


@pytest.mark.parametrize("digits", [2, 12])
def test_a_name_may_be_a_beginning(digits: int, store: DirectoryStore, oversight: Callable[..., Any]) -> None:
    real, grid = kept_of(store)
    said = oversight("report", grid.name[:digits], "-o", "-", "--format", "json")
    assert keys_in(said) == list(grid.goals)
    both = oversight("report", real.goals[1][: digits + 4], grid.name[:digits], "-o", "-", "--format", "json")
    assert keys_in(both) == [*grid.goals, real.goals[1]]


def test_a_beginning_of_several_keys_is_refused(store: DirectoryStore, refused: Callable[..., str]) -> None:
    real, grid = kept_of(store)
    keys = [*real.goals, *grid.goals]
    letter = next(
        one
        for one in "0123456789abcdef"
        if sum(key[0] == one for key in keys) > 1 and one not in (real.name[0], grid.name[0])
    )
    assert f"studies whose key that begin with '{letter}', expected one: " in refused("report", letter, "-o", "r.md")


@pytest.mark.parametrize(
    "wanted",
    [
        {"task": ["reviews"]},
        {"method": ["con*"]},
        {"weak_model": ["minilm@?"], "strong_model": ["*@4"]},
        {"strong_model": ["minilm@2", "bow"], "task": ["*"]},
        {"test": ["shifted"]},
        {"task": ["s*", "rev*"], "weak_model": ["bow"], "strong_model": ["minilm@[45]"], "method": ["naive"]},
    ],
)
def test_filters_are_a_naive_filter(
    wanted: dict[str, list[str]], store: DirectoryStore, oversight: Callable[..., Any]
) -> None:
    names = [names for kept in kept_of(store) for names in kept.studies]
    expected = [
        one["keys"]["score"][0]
        for one in names
        if all(any(fnmatchcase(one[field], text) for text in texts) for field, texts in wanted.items())
    ]
    words = [word for field, texts in wanted.items() for text in texts for word in (FLAGS[field], text)]
    assert 0 < len(expected) < 18
    assert keys_in(oversight("report", "-o", "-", "--format", "json", *words)) == expected


def test_what_is_unfinished_is_counted_aside(store: DirectoryStore, oversight: Callable[..., Any]) -> None:
    _, grid = kept_of(store)
    for key in grid.goals[:3]:
        shutil.rmtree(store.folder(key))
    said = oversight("report", "-o", "-", "--format", "json")
    assert said.code == 0 and len(keys_in(said)) == 15
    assert said.err == "oversight: 3 of 18 studies are not finished; the command that began them goes on\n"


def test_of_studies_none_of_which_is_finished_there_is_no_report(
    store: DirectoryStore, place: Path, oversight: Callable[..., Any]
) -> None:
    real, grid = kept_of(store)
    for key in (*real.goals, *grid.goals):
        shutil.rmtree(store.folder(key))
    said = oversight("report", "-o", "r.html")
    assert (said.code, said.out) == (2, "") and "found 18 studies, none of them finished" in said.err
    assert not (place / "r.html").exists()


def test_a_damaged_kept_study_is_named_and_the_others_are_written(
    store: DirectoryStore, oversight: Callable[..., Any]
) -> None:
    real, grid = kept_of(store)
    (store.path / "kept" / f"{grid.name}.json").write_text("{")
    said = oversight("report", "-o", "-", "--format", "json")
    assert said.code == 1 and keys_in(said) == list(real.goals)
    assert said.err.count("\n") == 1 and f"kept study {grid.name} is damaged" in said.err
    assert oversight("report", real.name, "-o", "-", "--format", "json").code == 0
    only = oversight("report", grid.name, "-o", "-", "--format", "json")
    assert (only.code, only.out) == (1, "") and grid.name in only.err


@pytest.mark.parametrize("damage", ["bytes", "content"])
def test_a_damaged_study_is_named_and_the_others_are_written(
    damage: str, store: DirectoryStore, oversight: Callable[..., Any]
) -> None:
    _, grid = kept_of(store)
    key = grid.goals[5]
    if damage == "bytes":
        record = store.folder(key) / "record.json"
        record.write_bytes(record.read_bytes().replace(b"gap", b"gip"))
    else:
        shutil.rmtree(store.folder(key))
        store.put(key, Outcome(record={"scores": {}}), about={"kind": "score", "version": 1, "inputs": []})
    said = oversight("report", grid.name, "-o", "-", "--format", "json")
    assert said.code == 1 and keys_in(said) == [one for one in grid.goals if one != key]
    assert said.err.count("\n") == 1 and key[:12] in said.err


@pytest.mark.parametrize(("how", "code"), [("gone", 0), ("damaged", 1)])
def test_predictions_that_are_not_there_leave_a_sentence_in_place_of_examples(
    how: str, code: int, store: DirectoryStore, place: Path, oversight: Callable[..., Any]
) -> None:
    real, _ = kept_of(store)
    (rows,) = real.studies[0]["keys"]["rows"]
    if how == "gone":
        shutil.rmtree(store.folder(rows))
    else:
        (store.folder(rows) / "rows.parquet").write_bytes(b"no")
    said = oversight("report", real.name, "-o", "r.html")
    page = (place / "r.html").read_text()
    assert said.code == code and f"No examples: result {rows[:12]} is not in the store any more" in page
    assert page.count('class="ov-cards"') == 1  # of the other test set
    assert bool(code) == (rows in said.err)


def test_a_store_that_may_not_be_written_is_read(
    store: DirectoryStore, place: Path, environment: dict[str, str]
) -> None:
    """Root gives up being root after a first report, by which everything is imported."""
    (place / "out").mkdir()
    (place / "out").chmod(0o777)
    place.chmod(0o755)
    folders = [store.path, *(path for path in store.path.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    code = (
        "import os, sys\n"
        "from oversight.cli import run\n"
        "def report(to):\n"
        "    sys.argv = ['oversight', 'report', '-o', to, '--store', 'kept']\n"
        "    try: run()\n"
        "    except SystemExit as left: assert not left.code, left.code\n"
        "report('first.html')\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "assert not os.access('kept', os.W_OK)\n"
        "report('out/r.html')\n"
    )
    before = {str(path): path.stat().st_mtime_ns for path in store.path.rglob("*")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert {str(path): path.stat().st_mtime_ns for path in store.path.rglob("*")} == before
    for folder in folders:
        folder.chmod(0o755)
    assert (done.returncode, done.stderr) == (0, "")
    assert "No examples" not in (place / "out" / "r.html").read_text()


def test_no_model_library_is_imported(store: DirectoryStore, place: Path, environment: dict[str, str]) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'sklearn', 'pandas', 'ray', 'datasets'): sys.modules[name] = None\n"
        "sys.argv = ['oversight', 'report', '-o', sys.argv[1]]\n"
        "from oversight.cli import run\nrun()\n"
    )
    for name in ("r.html", "r.csv", "r.pdf"):
        words = [sys.executable, "-c", code, name]
        env = environment | {"OVERSIGHT_STORE": str(store.path)}
        done = subprocess.run(words, cwd=place, env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nothing", "-o", "r.html"], "begins with 'nothing', expected one of: "),
        (["", "-o", "r.html"], "begins with '', expected one of: "),
        (["--task", "none", "-o", "r.html"], "--task: found none of 18 studies with none, expected one of: "),
        (
            ["--task", "sciq", "--weak", "gpt*", "-o", "r.md"],
            "--weak: found none of 8 studies with gpt*, expected one of: bow, minilm@0",
        ),
        (["-o", "r.xyz"], "r.xyz: found the ending '.xyz', expected .html, .md, .csv, .json, .png, .pdf"),
        (["-o", "r"], "r: found no ending, expected .html"),
        (["-o", "r.html", "--format", "docx"], "--format: found 'docx', expected html, md, csv, json, png, pdf"),
        (["-o", "missing/r.html"], "found no folder 'missing'"),
        (["-o", "-"], "-o -: found no --format, expected --format md, csv, json"),
        (["-o", "-", "--format", "pdf"], "-o -: found --format pdf, expected --format md, csv, json"),
        (["-o", "r.md", "--store", "elsewhere"], "--store elsewhere: found no such directory"),
        ([], "Missing option '-o'"),
    ],
)
def test_bad_input_is_one_line(words: list[str], told: str, refused: Callable[..., str]) -> None:
    assert told in refused("report", *words)


def test_an_empty_store_has_nothing_to_report(place: Path, refused: Callable[..., str]) -> None:
    (place / "empty").mkdir()
    assert "found no kept studies" in refused("report", "-o", "r.md", "--store", "empty")


def test_a_format_that_is_named_wins_over_the_ending(
    store: DirectoryStore, place: Path, oversight: Callable[..., Any]
) -> None:
    assert oversight("report", "-o", "r.txt", "--format", "md").code == 0
    assert (place / "r.txt").read_text() == oversight("report", "-o", "-", "--format", "md").out


@pytest.mark.usefixtures("data")
def test_a_study_may_report_in_any_format_at_once(place: Path, oversight: Callable[..., Any]) -> None:
    words = ("w2s", "data.jsonl", "--weak", "bow", "--strong", "bow", "--seeds", "1")
    assert oversight(*words, "--report", "r.csv").code == 0
    assert (place / "r.csv").read_text() == oversight("report", "-o", "-", "--format", "csv").out
    said = oversight(*words, "--report", "r.xyz")
    assert said.code == 2 and "expected .html" in said.err
