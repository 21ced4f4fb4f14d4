"""Real worker processes: killed, interrupted or orphaned, they give what one process gives, and none is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from oversight.errors import StepError, StoreError
from oversight.runs.drive import MOST_DEATHS, Drive, Summary
from oversight.runs.failures import failures
from oversight.runs.pools.pool import Order
from oversight.runs.pools.processes import MOST_STARTS, Processes
from oversight.runs.store import DirectoryStore
from oversight.runs.workshop import CLAIMS

DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": [], "f": ["e"]}
PATIENCE = 60

DRIVER = """
import json, sys
from oversight.runs.drive import Drive, Stop, interruptible
from oversight.runs.pools.pool import Blueprint
from oversight.runs.pools.processes import Processes
from oversight.runs.store import DirectoryStore
blueprint = Blueprint(builder="toy_graph:build", document=json.loads(sys.argv[1]), store=sys.argv[2])
stop = Stop()
try:
    with interruptible(stop):
        graph, pool = blueprint.build(), Processes(blueprint, int(sys.argv[3]), cores=1)
        print(json.dumps(list(pool.pids().values())), flush=True)
        summary = Drive(graph, store=DirectoryStore(sys.argv[2]), pool=pool, stop=stop).run()
except KeyboardInterrupt:
    sys.exit(130)
print(json.dumps({"made": sorted(graph.steps[key].config["name"] for key in summary.made), "stopped": summary.stopped}))
"""


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def wait_until(holds: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until, what
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def has_proc() -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("processes are looked at through /proc")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def started() -> Iterator[Callable[..., tuple[subprocess.Popen[str], list[int]]]]:
    """started(toy, store, 2) -> a driver process and the process ids of its workers."""
    begun: list[subprocess.Popen[str]] = []

    def start(toy: Any, store: Path, n: int) -> tuple[subprocess.Popen[str], list[int]]:
        command = [sys.executable, "-c", DRIVER, json.dumps(toy.document), str(store), str(n)]
        driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        begun.append(driver)
        assert driver.stdout is not None
        return driver, json.loads(driver.stdout.readline())

    yield start
    for driver in begun:
        driver.kill()
        driver.communicate()


def run(toy: Any, place: Path, n: int = 2, **options: Any) -> Summary:
    pool = Processes(toy.blueprint(place), n, cores=1)
    return Drive(toy.graph, store=DirectoryStore(place), pool=pool, **options).run()


def names(toy: Any, keys: Sequence[str]) -> list[str]:
    return sorted(toy.graph.steps[key].config["name"] for key in keys)


def in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    return thread, found


@pytest.mark.parametrize("batched", [False, True])
def test_two_workers_give_the_bytes_of_one_process(
    toy: Callable[..., Any], tmp_path: Path, contents: Callable[[Path], Any], batched: bool
) -> None:
    some = toy(DIAMOND, batched=batched)
    Drive(some.graph, store=DirectoryStore(tmp_path / "here")).run()
    summary = run(some, tmp_path / "there")
    assert names(some, summary.made) == sorted(DIAMOND)
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    assert len({pid for _, pid in some.log} - {os.getpid()}) >= 1


def test_a_worker_killed_in_a_step_is_replaced_and_the_step_done(
    toy: Callable[..., Any], tmp_path: Path, contents: Callable[[Path], Any]
) -> None:
    some = toy(DIAMOND)
    Drive(some.graph, store=DirectoryStore(tmp_path / "here")).run()
    (some.folder / "log").unlink()
    some.mark("b", "kill", "2")
    summary = run(some, tmp_path / "there")
    assert summary.failed == {} and contents(tmp_path / "here") == contents(tmp_path / "there")
    assert some.begun == ["a", "b", "b", "b", "c", "d", "e", "f"]
    assert len({pid for name, pid in some.log if name == "b"}) == 3


def test_a_step_that_kills_every_worker_is_given_up_with_the_reason(toy: Callable[..., Any], place: Path) -> None:
    some = toy({"a": [], "b": ["a"], "c": []})
    some.mark("a", "kill", "99")
    summary = run(some, place, n=1)
    reason = f"its worker died {MOST_DEATHS} times over it (killed by signal 9, perhaps for want of memory)"
    assert dict(summary.failed) == {some.key("a"): reason}
    assert names(some, summary.made) == ["c"] and names(some, list(summary.skipped)) == ["b"]
    assert failures(place)[some.key("a")].attempts == MOST_DEATHS
    assert [name for name, _ in some.log].count("a") == MOST_DEATHS


def test_a_failed_step_comes_back_with_its_line_and_where(toy: Callable[..., Any], place: Path) -> None:
    some = toy(DIAMOND)
    some.mark("b", "fail")
    assert dict(run(some, place).failed) == {some.key("b"): "ValueError: b is wrong"}
    assert "toy_graph.py" in failures(place)[some.key("b")].traceback


def test_a_worker_that_cannot_build_the_graph_is_one_line_and_the_end(toy: Callable[..., Any], place: Path) -> None:
    some = toy(DIAMOND)
    graph = some.graph
    some.mark("build", "fail")
    pool = Processes(some.blueprint(place), 2, cores=1)
    pids = list(pool.pids().values())
    with pytest.raises(StepError) as told:
        Drive(graph, store=DirectoryStore(place), pool=pool).run()
    assert str(told.value) == "a worker could not start: exit code 1: ValueError: the data are gone"
    assert not any(map(alive, pids))


def test_workers_that_are_killed_before_they_are_ready_are_replaced_only_so_often(
    toy: Callable[..., Any], place: Path
) -> None:
    some = toy({"a": []})
    graph = some.graph
    some.mark("build", "kill")
    with pytest.raises(StepError, match="could not start: killed by signal 9"):
        Drive(graph, store=DirectoryStore(place), pool=Processes(some.blueprint(place), 1, cores=1)).run()
    assert MOST_STARTS > 1


def test_a_worker_killed_while_it_starts_is_replaced(toy: Callable[..., Any], place: Path) -> None:
    some = toy(DIAMOND)
    pool = Processes(some.blueprint(place), 1, cores=1)
    os.kill(pool.pids()["worker 1"], signal.SIGKILL)
    assert names(some, Drive(some.graph, store=DirectoryStore(place), pool=pool).run().made) == sorted(DIAMOND)


def test_a_worker_with_another_graph_ends_the_run_with_a_line(toy: Callable[..., Any], place: Path) -> None:
    some, other = toy({"a": []}), toy({"z": []})
    pool = Processes(some.blueprint(place), 1, cores=1)
    with pytest.raises(StoreError, match=r"built another graph, without step .*did the data or a model change"):
        Drive(other.graph, store=DirectoryStore(place), pool=pool).run()


def test_what_steps_print_read_or_start_does_not_disturb_the_talk(
    toy: Callable[..., Any], toy_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that prints, reads its input to the end and leaves a child behind that lives longer than the worker."""
    script = """
import os, subprocess, sys, time
import toy_graph
from oversight.runs.graph import Graph
from oversight.runs.steps import Kind

def build(document):
    graph = toy_graph.build(document)
    inner = graph.kinds["add"].run
    def run(*given):
        print('{"report": 1}', flush=True)
        assert sys.stdin.read() == ""
        child = os.fork()
        if child == 0:
            time.sleep(600)
        with open(document["folder"] + "/children", "a") as children:
            children.write(f"{child} {os.getpid()} ")
        if given[0][0].config["name"] == "a" and not os.path.exists(document["folder"] + "/died"):
            open(document["folder"] + "/died", "w").close()
            os.kill(os.getpid(), 9)
        return inner(*given)
    return Graph(goals=graph.goals, kinds={"add": Kind(run)}, env_of=graph.env_of)
"""
    (toy_path / "noisy_graph.py").write_text(script)
    some = toy({"a": [], "b": ["a"]})
    blueprint = some.blueprint(place)
    noisy = type(blueprint)(builder="noisy_graph:build", document=blueprint.document, store=blueprint.store)
    pool = Processes(noisy, 1, cores=1)
    summary = Drive(some.graph, store=DirectoryStore(place), pool=pool).run()
    assert names(some, summary.made) == ["a", "b"]
    left = [int(pid) for pid in (some.folder / "children").read_text().split()]
    assert len(left) == 6
    wait_until(lambda: not any(map(alive, left)), "a child of a worker outlives it")


def children() -> set[str]:
    """Processes that this one has started and not buried, zombies included."""
    me = os.getpid()
    return {one for thread in Path(f"/proc/{me}/task").iterdir() for one in (thread / "children").read_text().split()}


def test_open_files_and_children_do_not_pile_up_with_the_dead(toy: Callable[..., Any], place: Path) -> None:
    some = toy({name: [] for name in "abcd"})
    run(toy({"z": []}), place, n=1)
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    others = children()
    for name in "abcd":
        some.mark(name, "kill", "2")
    assert names(some, run(some, place, n=2).made) == list("abcd")
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
    assert children() <= others


def test_closing_ends_idle_workers_and_their_claims(toy: Callable[..., Any], place: Path) -> None:
    some = toy({"a": []})
    pool = Processes(some.blueprint(place), 2, cores=1)
    pids = list(pool.pids().values())
    wait_until(lambda: len([*pool.wait(0.05), *pool.idle()]) >= 2, "the workers are not ready")
    pool.start(pool.idle()[0], Order(keys=(some.key("a"),)))
    wait_until(lambda: bool(pool.wait(0.05)), "no report")
    pool.close()
    assert not any(map(alive, pids)) and not list((place / CLAIMS).rglob("*.json"))


def test_ctrl_c_once_finishes_the_running_steps_and_starts_no_more(
    toy: Callable[..., Any], place: Path, started: Callable[..., Any]
) -> None:
    some = toy({"a": [], "b": [], "c": ["a", "b"]})
    marks = [some.mark(name, "wait") for name in "ab"]
    driver, pids = started(some, place, 2)
    some.wait_for("a", "b")
    driver.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert driver.poll() is None
    for mark in marks:
        mark.unlink()
    out, err = driver.communicate(timeout=PATIENCE)
    assert (driver.returncode, err) == (0, "")
    assert json.loads(out) == {"made": ["a", "b"], "stopped": True}
    assert not any(map(alive, pids)) and some.begun == ["a", "b"]


@pytest.mark.parametrize("signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM]], ids=["twice", "terminate"])
def test_ctrl_c_twice_and_a_request_to_end_stop_now(
    toy: Callable[..., Any], place: Path, started: Callable[..., Any], signals: list[signal.Signals]
) -> None:
    some = toy({"a": [], "b": []})
    for name in "ab":
        some.mark(name, "wait")
    driver, pids = started(some, place, 2)
    some.wait_for("a", "b")
    for one in signals:
        driver.send_signal(one)
        time.sleep(0.2)
    _, err = driver.communicate(timeout=PATIENCE)
    assert (driver.returncode, err) == (130, "") and not any(map(alive, pids))
    assert not list((place / CLAIMS).rglob("*.json")) and not list(DirectoryStore(place).keys())


def test_no_worker_outlives_a_driver_that_was_killed(
    toy: Callable[..., Any], tmp_path: Path, started: Callable[..., Any], contents: Callable[[Path], Any]
) -> None:
    """One worker is in the middle of a step, the other idle; the next run does what is left, to the same bytes."""
    some = toy(DIAMOND)
    mark = some.mark("a", "wait")
    driver, pids = started(some, tmp_path / "there", 2)
    some.wait_for("a")
    wait_until(lambda: DirectoryStore(tmp_path / "there").peek(some.key("f")), "the other worker does nothing")
    driver.kill()
    driver.wait()
    wait_until(lambda: not any(map(alive, pids)), "workers outlive their driver")
    mark.unlink()
    run(some, tmp_path / "there")
    assert some.begun == sorted(["a", *DIAMOND])
    Drive(some.graph, store=DirectoryStore(tmp_path / "here")).run()
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


def test_two_drivers_on_one_store_do_each_step_once(
    toy: Callable[..., Any], place: Path, started: Callable[..., Any], contents: Callable[[Path], Any]
) -> None:
    steps = {f"s{i}": [f"s{i - 3}"] if i >= 3 else [] for i in range(30)}
    some = toy(steps)
    drivers = [started(some, place, 1)[0] for _ in range(2)]
    told = [json.loads(driver.communicate(timeout=PATIENCE)[0]) for driver in drivers]
    assert some.begun == sorted(steps) and len(contents(place)) == 30
    assert sorted(name for one in told for name in one["made"]) == sorted(steps)


def test_a_worker_process_loads_nothing_heavy_by_itself() -> None:
    script = "import sys, oversight.runs.pools.worker; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "transformers", "pandas", "pyarrow", "ray", "scipy", "sklearn"} & set(eval(loaded))
