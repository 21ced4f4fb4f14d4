"""Ray on this machine, with two cores and a GPU in name only; one cluster for most of the file."""

from __future__ import annotations

import itertools
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from oversight.errors import InputError, StepError
from oversight.runs.drive import Drive, Stop, Summary, run_graph
from oversight.runs.failures import failures
from oversight.runs.pools import ray as pool_of_ray
from oversight.runs.pools.pool import Blueprint, Broke, Order
from oversight.runs.pools.ray import RayPool, work
from oversight.runs.store import DirectoryStore

ray = pytest.importorskip("ray", reason="needs Ray")

TOYS = Path(__file__).parent / "toys"


@pytest.fixture(scope="module")
def toy() -> Iterator[None]:
    """The folder with a module that builds graphs, found by this process and by those of the cluster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOYS))
        patch.setenv("PYTHONPATH", str(TOYS))
        yield


@pytest.fixture(scope="module")
def cluster(toy: None) -> Iterator[str]:
    """Address of a cluster to which this process is connected."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=100 * 2**20,
    )
    signal.signal(signal.SIGTERM, handler)
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


def blueprint(tmp_path: Path, store: str = "store", **document: Any) -> Blueprint:
    """Of a toy graph whose steps write down when they run, beside its store."""
    log = str(tmp_path / "log")
    return Blueprint(builder="ray_toy:build", document={**document, "log": log}, store=str(tmp_path / store))


def driven(plan: Blueprint, pool: RayPool, *, stop: Stop | None = None) -> Summary:
    """The graph, brought to its goals by a pool."""
    return Drive(plan.build(), store=DirectoryStore(plan.store), pool=pool, stop=stop).run()


def published(store: str) -> dict[str, tuple[bytes, dict[str, Any]]]:
    """By key, the bytes of the arrays and what the outcome's own record says."""
    kept = DirectoryStore(store)
    return {
        key: ((kept.folder(key) / "arrays.safetensors").read_bytes(), kept.about(key, check=True)["record"])
        for key in sorted(kept.keys())
    }


def test_results_equal_those_of_this_process_byte_for_byte(tmp_path: Path, cluster: str) -> None:
    plan, here = blueprint(tmp_path, draws=9), blueprint(tmp_path, "inline", draws=9)
    summary = driven(plan, RayPool(plan, cluster))
    run_graph(here.build(), store=DirectoryStore(here.store))
    assert len(summary.made) == 17
    assert not summary.failed
    assert published(plan.store) == published(here.store)


def test_a_process_serves_many_tasks_and_none_is_this_one(tmp_path: Path, cluster: str) -> None:
    plan = blueprint(tmp_path, draws=20)
    driven(plan, RayPool(plan, cluster))
    pids = [line.split()[-1] for line in Path(plan.document["log"]).read_text().splitlines()]
    assert len(pids) == 29
    assert len(set(pids)) <= 2
    assert str(os.getpid()) not in pids


def test_a_finished_graph_needs_no_task(tmp_path: Path, cluster: str) -> None:
    plan = blueprint(tmp_path, draws=3)
    driven(plan, RayPool(plan, cluster))
    log = Path(plan.document["log"])
    before = log.read_text()
    assert driven(plan, RayPool(plan, cluster)).made == []
    assert log.read_text() == before


def test_a_step_whose_process_is_killed_is_done_once_more_and_published_once(tmp_path: Path, cluster: str) -> None:
    plan = blueprint(tmp_path, draws=4, others={"fragile": 1})
    pid = Path(f"{plan.document['log']}.pid")

    def kill() -> None:
        while not pid.exists():
            time.sleep(0.02)
        os.kill(int(pid.read_text()), signal.SIGKILL)

    killer = Thread(target=kill)
    killer.start()
    summary = driven(plan, RayPool(plan, cluster))
    killer.join()
    lines = Path(plan.document["log"]).read_text().splitlines()
    tries = [line for line in lines if line.startswith("fragile")]
    assert len(tries) == len(set(tries)) == 2
    assert len(summary.made) == len(set(summary.made)) == len(published(plan.store)) == 8
    assert not summary.failed


def test_a_failing_step_is_reported_with_its_line_and_the_others_are_done(tmp_path: Path, cluster: str) -> None:
    plan = blueprint(tmp_path, draws=3, others={"faulty": 1})
    summary = driven(plan, RayPool(plan, cluster))
    (failed,) = summary.failed
    assert summary.failed[failed] == "ValueError: row 0 has no label"
    assert "in faulty\n" in failures(Path(plan.store))[failed].traceback
    assert len(summary.made) == 5


def test_steps_for_a_gpu_have_it_to_themselves_and_a_process_of_their_own(tmp_path: Path, cluster: str) -> None:
    plan = blueprint(tmp_path, others={"gpu": 3})
    driven(plan, RayPool(plan, cluster))
    records = sorted((record for _, record in published(plan.store).values()), key=lambda record: record["began"])
    assert [record["seen"] for record in records] == ["0"] * 3
    assert len({record["pid"] for record in records}) == 3
    assert all(one["ended"] <= other["began"] for one, other in itertools.pairwise(records))


def test_memory_that_no_node_has_is_not_waited_for(tmp_path: Path, cluster: str) -> None:
    plan = blueprint(tmp_path, draws=2)
    pool = RayPool(plan, cluster)
    keys = [key for key, step in plan.build().steps.items() if step.kind == "draw"]
    pool.start(pool.idle()[0], Order(keys=tuple(keys), memory_bytes=1 << 60))
    (event,) = pool.wait(60.0)
    pool.close()
    assert sorted(vars(event)["report"].made) == sorted(keys)


def test_no_more_tasks_run_than_asked_for(tmp_path: Path, cluster: str) -> None:
    plan = blueprint(tmp_path, draws=2)
    pools = [RayPool(plan, cluster), RayPool(plan, cluster, most=1)]
    assert [list(pool.idle()) for pool in pools] == [["ray 1", "ray 2"], ["ray 1"]]
    pools[1].start("ray 1", Order(keys=tuple(plan.build().steps)[:1]))
    assert pools[1].idle() == []
    for pool in pools:
        pool.close(now=True)


def test_stopping_now_ends_what_runs_and_leaves_the_cluster(tmp_path: Path, cluster: str) -> None:
    plan = blueprint(tmp_path, others={"fragile": 1})
    stop, pid = Stop(), Path(f"{plan.document['log']}.pid")

    def ask() -> None:
        while not pid.exists():
            time.sleep(0.02)
        stop.soon = stop.now = True

    asker = Thread(target=ask)
    asker.start()
    assert driven(plan, RayPool(plan, cluster), stop=stop).stopped
    asker.join()
    with pytest.raises(ProcessLookupError):
        while True:
            os.kill(int(pid.read_text()), 0)
            time.sleep(0.02)
    assert ray.is_initialized()


def test_a_store_that_a_node_does_not_see_is_refused(
    tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that means something else to each process, as a disk of its own does to each machine."""
    monkeypatch.chdir(tmp_path)
    plan = Blueprint(builder="ray_toy:build", document={}, store="store")
    with pytest.raises(InputError, match=r"store store: node .* does not see it, expected a directory that all nodes"):
        RayPool(plan, cluster)
    assert list((tmp_path / "store" / "claims").iterdir()) == []


def test_a_node_that_joins_later_and_does_not_see_the_store_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_of_ray, "LOOKS", 1)
    plan = {"builder": "ray_toy:build", "document": {}, "store": str(tmp_path), "expires": 60.0}
    told = json.loads(work(json.dumps({**plan, "seen": str(tmp_path / "missing")}), "[]"))
    assert "does not see it" in told["broke"]


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({"refuses": True}, "tasks.jsonl, row 3: found no label, expected one"),
        ({"draws": 2, "moved": 7}, "it built another graph, without step"),
    ],
)
def test_a_process_that_cannot_build_the_same_graph_ends_the_run(
    tmp_path: Path, cluster: str, theirs: dict[str, Any], said: str
) -> None:
    ours = blueprint(tmp_path, draws=2)
    with pytest.raises(StepError, match=said):
        driven(ours, RayPool(blueprint(tmp_path, **theirs), cluster))


def test_a_store_that_cannot_be_written_breaks_the_pool(tmp_path: Path, cluster: str) -> None:
    plan = blueprint(tmp_path, draws=2)
    pool = RayPool(plan, cluster)
    for key in plan.build().steps:
        (Path(plan.store) / key[:2]).write_text("in the way")
    pool.start("ray 1", Order(keys=tuple(plan.build().steps)[:1]))
    (event,) = pool.wait(60.0)
    pool.close()
    assert isinstance(event, Broke)
    assert f"store {plan.store}: cannot write" in str(event.error)


@pytest.mark.slow
def test_a_ray_of_its_own_is_ended_with_the_pool_and_says_nothing_even_of_a_killed_process(
    tmp_path: Path, toy: None
) -> None:
    program = (
        "import os, signal, sys, threading, time\n"
        "from pathlib import Path\n"
        "from oversight.runs.drive import Drive\n"
        "from oversight.runs.pools.pool import Blueprint\n"
        "from oversight.runs.pools.ray import RayPool\n"
        "from oversight.runs.store import DirectoryStore\n"
        "def ours(*_): ...\n"
        "def kill():\n"
        "    pid = Path(sys.argv[1] + '.pid')\n"
        "    while not pid.exists(): time.sleep(0.02)\n"
        "    os.kill(int(pid.read_text()), signal.SIGKILL)\n"
        "signal.signal(signal.SIGTERM, ours)\n"
        "threading.Thread(target=kill).start()\n"
        "document = {'draws': 4, 'others': {'fragile': 1}, 'log': sys.argv[1]}\n"
        "plan = Blueprint(builder='ray_toy:build', document=document, store=sys.argv[2])\n"
        "pool = RayPool(plan, sys.argv[3])\n"
        "summary = Drive(plan.build(), store=DirectoryStore(plan.store), pool=pool).run()\n"
        "import ray\n"
        "assert signal.getsignal(signal.SIGTERM) is ours\n"
        "assert len(summary.made) == 8 and not summary.failed and not ray.is_initialized()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "log"), str(tmp_path / "store"), "local"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.slow
def test_a_running_cluster_is_joined_and_goes_on(tmp_path: Path, cluster: str) -> None:
    program = (
        "import sys\n"
        "from oversight.runs.drive import Drive\n"
        "from oversight.runs.pools.pool import Blueprint\n"
        "from oversight.runs.pools.ray import RayPool\n"
        "from oversight.runs.store import DirectoryStore\n"
        "plan = Blueprint(builder='ray_toy:build', document={'draws': 4, 'log': sys.argv[1]}, store=sys.argv[2])\n"
        "pool = RayPool(plan, sys.argv[3])\n"
        "print(len(Drive(plan.build(), store=DirectoryStore(plan.store), pool=pool).run().made))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "log"), str(tmp_path / "store"), cluster]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "7\n", "")
    plan = blueprint(tmp_path, "other", draws=3)
    assert len(driven(plan, RayPool(plan, cluster)).made) == 5


@pytest.mark.slow
def test_what_ran_on_a_dead_node_or_waited_for_it_is_done_on_another(tmp_path: Path, toy: None) -> None:
    """Two nodes on this machine; only the one that dies has the memory that both steps ask for."""
    command = [sys.executable, str(TOYS / "ray_node_dies.py"), str(tmp_path / "log"), str(tmp_path / "store")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert ended.returncode == 0, ended.stderr
    died, made = (line for line in ended.stdout.splitlines() if line.startswith("toy: "))
    assert died == "toy: {'ray 1': 'NodeDiedError', 'ray 2': 'TaskCancelledError'}"
    assert made == "toy: 2"


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this process were connected to no cluster."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


@pytest.mark.parametrize("address", ["here", "localhost", "localhost:port", ":6379", "ray://localhost"])
def test_what_is_no_address_is_refused(tmp_path: Path, alone: None, address: str) -> None:
    with pytest.raises(InputError, match=f"found {address}, expected local, auto, HOST:PORT or ray://HOST:PORT"):
        RayPool(blueprint(tmp_path), address)


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_is_not_there_is_told_at_once(tmp_path: Path, alone: None, scheme: str) -> None:
    with socket.create_server(("localhost", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(InputError, match=f"--ray {scheme}localhost:{port}: nothing answers there: ConnectionRefused"):
        RayPool(blueprint(tmp_path), f"{scheme}localhost:{port}")


def test_what_is_no_ray_is_given_up(tmp_path: Path, alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_of_ray, "ANSWER_SECONDS", 2.0)
    with HTTPServer(("localhost", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(InputError, match="it did not answer as a Ray cluster within 2 seconds"):
            RayPool(blueprint(tmp_path), f"localhost:{server.server_port}")
        server.shutdown()


def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    """In a process of its own, from whose path Ray is hidden."""
    program = (
        "import sys; sys.modules['ray'] = None\n"
        "from oversight.runs.pools.pool import Blueprint\n"
        "from oversight.runs.pools.ray import RayPool\n"
        f"RayPool(Blueprint(builder='a:b', document={{}}, store={str(tmp_path / 'store')!r}), 'local')\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False).stderr
    assert said.splitlines()[-1].endswith("--ray needs the package ray: pip install 'oversight[ray]'")
    assert not (tmp_path / "store").exists()
