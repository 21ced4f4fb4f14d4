"""What the command line keeps: what a second run costs, how a stopped one continues, and damage that is found."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAIR = ("--weak", "bow", "--strong", "bow")
Published = Callable[..., dict[str, int]]

# What is computed and kept


@pytest.mark.usefixtures("data")
def test_a_dry_run_counts_and_leaves_nothing(place: Path, oversight: Callable[..., Any]) -> None:
    """Two seeds: 2 supervisors, 2 students, 2 ceilings, the test rows, one score."""
    words = ("w2s", "data.jsonl", *PAIR, "--seeds", "2")
    said = oversight(*words, "--dry-run", "--json")
    assert said.json == {
        "task": "data.jsonl",
        "rows": 160,
        "classes": ["0", "1"],
        "studies": 1,
        "steps_to_do": {"supervise": 2, "teach": 2, "ceiling": 2, "rows": 1, "score": 1},
        "roles": [],
        "warnings": [],
    }
    assert [path.name for path in place.iterdir()] == ["data.jsonl"]
    assert "2 supervise, 2 teach, 2 ceiling, 1 rows, 1 score" in oversight(*words, "--dry-run").out
    oversight(*words)
    assert oversight(*words, "--dry-run", "--json").json["steps_to_do"] == {}
    assert "none, all are in the store" in oversight(*words, "--dry-run").out


@pytest.mark.usefixtures("data")
def test_a_dry_run_refuses_what_the_run_would(place: Path, oversight: Callable[..., Any]) -> None:
    said = oversight("w2s", "data.jsonl", *PAIR, "--seeds", "0", "--dry-run")
    assert (said.code, said.out) == (2, "")


@pytest.mark.usefixtures("data")
def test_the_same_command_again_computes_nothing_and_says_the_same(
    oversight: Callable[..., Any], published: Published
) -> None:
    words = ("w2s", "data.jsonl", *PAIR, "--seeds", "2", "--json")
    first = oversight(*words)
    made = oversight("ls", "--json").json
    on_disk = published()
    again = oversight(*words)
    assert (again.code, again.numbers, again.err) == (first.code, first.json, first.err)
    assert oversight("ls", "--json").json == made and len(made["results"]) == 8
    assert published() == on_disk


@pytest.mark.usefixtures("data")
def test_more_seeds_compute_only_the_new_ones(oversight: Callable[..., Any]) -> None:
    oversight("w2s", "data.jsonl", *PAIR, "--seeds", "2")
    plan = oversight("w2s", "data.jsonl", *PAIR, "--seeds", "3", "--dry-run", "--json").json
    assert plan["steps_to_do"] == {"supervise": 1, "teach": 1, "ceiling": 1, "score": 1}


@pytest.mark.usefixtures("data")
def test_the_store_may_be_named_by_flag_or_by_environment(
    place: Path, oversight: Callable[..., Any], published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("w2s", "data.jsonl", *PAIR, "--seeds", "1")
    monkeypatch.setenv("OVERSIGHT_STORE", "from/environment")
    oversight(*words)
    assert published("from/environment") and not (place / "oversight-store").exists()
    oversight(*words, "--store", "by-flag")
    assert published("by-flag").keys() == published("from/environment").keys()
    assert len(oversight("ls", "--json").json["results"]) == 5


@pytest.mark.usefixtures("data")
def test_the_name_of_the_file_does_not_count_its_content_does(place: Path, oversight: Callable[..., Any]) -> None:
    oversight("w2s", "data.jsonl", *PAIR, "--seeds", "1")
    lines = (place / "data.jsonl").read_text().splitlines()
    (place / "moved.jsonl").write_text("\n".join(reversed(lines)))
    (place / "other.jsonl").write_text("\n".join(lines[:-1]))

    def to_do(task: str) -> int:
        plan = oversight("w2s", task, *PAIR, "--seeds", "1", "--dry-run", "--json").json
        return sum(plan["steps_to_do"].values())

    assert (to_do("moved.jsonl"), to_do("other.jsonl")) == (0, 5)


# Stopped and started again


def started(words: list[str], place: Path, env: dict[str, str], published: Published) -> subprocess.Popen[str]:
    """The command, running, once it has published three results."""
    process = subprocess.Popen(words, cwd=place, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(published()) < 3 and process.poll() is None:
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be stopped"
    return process


N_SEEDS = 5
N_RESULTS = 17  # 15 models, the test rows, one score
LONG = ("w2s", "data.jsonl", *PAIR, "--seeds", str(N_SEEDS), "--json")


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_stopped_in_mid_run_the_same_command_continues(
    stop: signal.Signals,
    place: Path,
    executable: str,
    environment: dict[str, str],
    published: Published,
    oversight: Callable[..., Any],
) -> None:
    process = started([executable, *LONG], place, environment, published)
    process.send_signal(stop)
    out, err = process.communicate(timeout=60)
    before = published()
    assert 3 <= len(before) < N_RESULTS and out == ""
    if stop is signal.SIGINT:
        assert process.returncode == 130
        assert err == "oversight: stopped; finished steps are kept, the same command continues\n"
    else:
        assert process.returncode == -signal.SIGKILL
    again = oversight(*LONG)
    assert (again.code, again.err) == (0, "")
    after = published()
    assert len(after) == N_RESULTS and before.items() <= after.items()
    assert again.numbers == oversight(*LONG, "--store", "uninterrupted").json


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
    assert len(lines) == 5
    assert {line.split()[0] for line in lines} == {key[:12] for keys in studied["keys"].values() for key in keys}
    assert sorted(line.split()[1] for line in lines) == ["ceiling", "rows", "score", "supervise", "teach"]


def test_show_tells_what_made_a_result_and_from_what(studied: Any, oversight: Callable[..., Any]) -> None:
    [key] = studied["keys"]["student"]
    shown = oversight("show", key[:12]).json
    assert (shown["key"], shown["kind"], shown["inputs"]) == (key, "teach", studied["keys"]["weak"])
    assert shown["record"]["choices"]["strength"] > 0


@pytest.mark.usefixtures("studied")
@pytest.mark.parametrize(("key", "n"), [("zzz", 0), ("", 5)])
def test_show_wants_the_beginning_of_one_key(key: str, n: int, oversight: Callable[..., Any]) -> None:
    said = oversight("show", key)
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        f"oversight: store oversight-store: found {n} results whose key begins with '{key}', expected one\n"
    )


@pytest.mark.usefixtures("studied")
def test_verify_finds_nothing_in_a_sound_store(oversight: Callable[..., Any]) -> None:
    said = oversight("verify")
    assert (said.code, said.out, said.err) == (0, "5 results, 0 damaged; 1 kept study, 0 damaged\n", "")


def test_a_flipped_bit_is_found_by_verify_and_the_next_run_computes_again_and_says_so(
    studied: Any, place: Path, oversight: Callable[..., Any]
) -> None:
    [key] = studied["keys"]["score"]
    flip(record_of(place, key))
    said = oversight("verify")
    assert said.code == 1 and said.err == ""
    assert said.out.startswith(f"{key}: ") and "\n5 results, 1 damaged; 1 kept study, 0 damaged\n" in said.out
    assert said.out.splitlines()[-1].startswith("to have them made again: oversight verify --delete")
    assert list(oversight("verify", "--json").json["damaged"]) == [key]
    again = oversight("w2s", "data.jsonl", *PAIR, "--seeds", "1", "--json")
    assert again.code == 0 and again.numbers == studied
    assert again.err.startswith(f"oversight: damaged result computed again: {key}: ") and again.err.count("\n") == 1
    assert oversight("verify").code == 0


def test_damage_to_predictions_is_removed_on_demand_and_made_again(
    studied: Any, place: Path, oversight: Callable[..., Any]
) -> None:
    """The score is sound, so nothing else would ask for them."""
    [key] = studied["keys"]["student"]
    flip(record_of(place, key).with_name("arrays.safetensors"))
    assert oversight("verify", "--delete").code == 1
    assert list(oversight("verify", "--json").json["gone"]) == [key]
    again = oversight("w2s", "data.jsonl", *PAIR, "--seeds", "1", "--json")
    assert again.code == 0 and again.numbers == studied
    found = oversight("verify", "--json").json
    assert (found["results"], found["damaged"], found["gone"]) == (5, {}, {})


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
    assert listed[key] == "damaged" and len(listed) == 5
    shown = oversight("show", key)
    assert (shown.code, shown.out, shown.err.count("\n")) == (1, "", 1)
    assert "is damaged" in shown.err
