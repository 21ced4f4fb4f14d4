"""Ray: batches become tasks of a cluster on which the store is mounted."""

from __future__ import annotations

import json
import logging
import os
import platform
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oversight.errors import InputError, StepError, StoreError
from oversight.runs.claims import Claims
from oversight.runs.pools.pool import Blueprint, Broke, Died, Event, Order
from oversight.runs.pools.processes import GRACE_SECONDS, event_of, report_as_json
from oversight.runs.store import DirectoryStore
from oversight.runs.workshop import CLAIMS, Workshop, one_line, silent

LOCAL = "local"
OBJECT_BYTES = 100 * 2**20
MEMORY_UNIT = 256 * 2**20
REACH_SECONDS = 5.0
ANSWER_SECONDS = 30.0
NODE_SECONDS = 60.0
REFRESH_SECONDS = 2.0
LOOKS, LOOK_SECONDS = 20, 0.25
SHOWN = 200
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # what Ray would write of dead processes into the live view
}
GONE = ("WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "ObjectLostError", "TaskCancelledError")


@dataclass(frozen=True, kw_only=True)
class Node:
    """A machine of the cluster, and what it has in all."""

    id: str
    name: str
    cpus: float
    gpus: float
    memory_bytes: float


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a task asks of the node it runs on, beside one core."""

    gpus: float = 0.0
    memory_bytes: int = 0

    def met_by(self, nodes: Iterable[Node]) -> bool:
        """Whether one of these nodes could run it when nothing else runs there."""
        return any(
            node.cpus >= 1 and node.gpus >= self.gpus and node.memory_bytes >= self.memory_bytes for node in nodes
        )


class RayPool:
    """See `Pool`. A worker is a place for one task at a time; Ray chooses the node and the process.

    A process builds the graph once and keeps it, with the outcomes it had at hand, for the tasks that follow. A task
    that works on a GPU has a process of its own (Ray's rule: GPU memory is given back and each task sees the GPU that
    it was lent), so it builds the graph again. Ray retries nothing: the driver does, and knows what is in the store.

    Args:
        blueprint: of the graph that the processes build; its store is a directory that all nodes share.
        address: `local` = a Ray of this machine for this run alone; `auto`, `HOST:PORT` or `ray://HOST:PORT` = a
            running cluster. A Ray to which this process is connected already is used as it is.
        most: tasks at once; None = as many as the cluster has cores, now and as nodes come and go. What is more than
            the cores waits in Ray, where an autoscaler sees it.
        gpu_share: of a GPU for each task that works on one.
        expires: seconds after which a claim of a silent process is void.

    Raises:
        InputError: Ray is not installed, the cluster does not answer, or a node does not see the store.
        StoreError: the store cannot be written.
    """

    cores = 0

    def __init__(
        self,
        blueprint: Blueprint,
        address: str,
        *,
        most: int | None = None,
        gpu_share: float = 1.0,
        expires: float = 60.0,
    ) -> None:
        self._ray = _imported()
        self._most, self._share = most, gpu_share
        self._running: dict[Any, tuple[str, Demand]] = {}
        self._seen = Path(blueprint.store) / CLAIMS / f".ray-{secrets.token_hex(8)}"
        self._plan = json.dumps({**vars(blueprint), "expires": expires, "seen": str(self._seen)})
        self._on_core = self._ray.remote(num_cpus=1, max_retries=0)(work)
        self._on_gpu = self._ray.remote(num_cpus=1, num_gpus=gpu_share, max_calls=1, max_retries=0)(work)
        self._started = False
        try:
            self._started = _connect(self._ray, address)
            self._write_seen(blueprint.store)
            self._nodes, self._refreshed = self._alive(), time.monotonic()
            self._check_nodes(blueprint.store)
        except BaseException:
            self.close(now=True)
            raise

    @property
    def size(self) -> int:
        """See `Pool.size`."""
        return self._most or max(1, int(sum(node.cpus for node in self._nodes)))

    def idle(self) -> Sequence[str]:
        """See `Pool.idle`."""
        self._refresh()
        busy = {worker for worker, _ in self._running.values()}
        return [name for i in range(self.size) if (name := f"ray {i + 1}") not in busy]

    def start(self, worker: str, order: Order) -> None:
        """See `Pool.start`."""
        demand = self._demand(order)
        task = self._on_gpu if demand.gpus else self._on_core
        options = {"memory": demand.memory_bytes} if demand.memory_bytes else {}
        ref = task.options(**options).remote(self._plan, json.dumps(order.keys))
        self._running[ref] = worker, demand

    def wait(self, seconds: float) -> Sequence[Event]:
        """See `Pool.wait`."""
        if not self._running:
            time.sleep(seconds)
            return []
        ready, rest = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        if rest:
            more, _ = self._ray.wait(rest, num_returns=len(rest), timeout=0)
            ready = [*ready, *more]
        return [self._event(ref) for ref in ready]

    def close(self, *, now: bool = False) -> None:
        """See `Pool.close`. A cluster that ran before goes on."""
        if self._ray.is_initialized():
            with suppress(Exception):
                for ref in self._running if now else ():
                    self._ray.cancel(ref, force=True)
                if self._running:
                    self._ray.wait(list(self._running), num_returns=len(self._running), timeout=GRACE_SECONDS)
            self._running.clear()
            if self._started:
                self._ray.shutdown()
        with suppress(OSError):
            self._seen.unlink(missing_ok=True)

    def _demand(self, order: Order) -> Demand:
        """What no node has is not asked for: Ray would wait for ever."""
        gpus = self._share if order.gpu and Demand(gpus=self._share).met_by(self._nodes) else 0.0
        memory = -(-order.memory_bytes // MEMORY_UNIT) * MEMORY_UNIT
        demand = Demand(gpus=gpus, memory_bytes=memory)
        return demand if demand.met_by(self._nodes) else Demand(gpus=gpus)

    def _event(self, ref: Any) -> Event:
        errors = self._ray.exceptions
        worker, _ = self._running.pop(ref)
        try:
            return event_of(worker, json.loads(self._ray.get(ref)))
        except tuple(getattr(errors, name) for name in GONE) as error:
            return Died(worker=worker, reason=f"{type(error).__name__}: {_first_line(error)}")
        except errors.RayError as error:
            cause = getattr(error, "cause", None) or error
            return Broke(worker=worker, error=StepError(f"Ray could not run a step: {_first_line(cause)}"))

    def _refresh(self) -> None:
        """Look which nodes there are; what waits for a node that is gone is taken back."""
        if time.monotonic() - self._refreshed < REFRESH_SECONDS:
            return
        self._nodes, self._refreshed = self._alive(), time.monotonic()
        for ref, (_, demand) in self._running.items():
            if demand != Demand() and not demand.met_by(self._nodes):
                self._ray.cancel(ref, force=True)

    def _alive(self) -> list[Node]:
        found: list[Node] = []
        for one in self._ray.nodes():
            if one["Alive"]:
                has: dict[str, float] = one["Resources"]
                amounts = {"cpus": has.get("CPU", 0), "gpus": has.get("GPU", 0), "memory_bytes": has.get("memory", 0)}
                found.append(Node(id=one["NodeID"], name=one["NodeManagerHostname"], **amounts))
        return found

    def _write_seen(self, store: str) -> None:
        try:
            self._seen.parent.mkdir(parents=True, exist_ok=True)
            self._seen.touch()
        except OSError as error:
            raise StoreError(f"store {store}: cannot be written: {os.strerror(error.errno or 0)}") from error

    def _check_nodes(self, store: str) -> None:
        """One tiny task on each node looks for the file that this process wrote."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        task = self._ray.remote(num_cpus=0, max_retries=0)(sees)
        names: dict[Any, str] = {}
        for node in self._nodes:
            here = NodeAffinitySchedulingStrategy(node.id, soft=False)
            names[task.options(scheduling_strategy=here).remote(str(self._seen))] = node.name
        answered, silent_ones = self._ray.wait(list(names), num_returns=len(names), timeout=NODE_SECONDS)
        for ref in silent_ones:
            raise InputError(f"--ray: node {names[ref]} did not answer within {NODE_SECONDS:.0f} seconds")
        for ref in answered:
            try:
                seen = self._ray.get(ref)
            except self._ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None) or error
                reason = _first_line(cause)
                raise InputError(f"--ray: node {names[ref]} cannot work: {reason}; is oversight there?") from error
            if not seen:
                raise InputError(_not_shared(store, names[ref]))


def work(plan: str, keys: str) -> str:
    """What a task does: steps by their keys; the answer is what `event_of` reads; all three are JSON."""
    try:
        workshop = _workshop(plan)
        wanted: list[str] = json.loads(keys)
        strange = [key for key in wanted if key not in workshop.graph.steps]
        if strange:
            raise StepError(f"it built another graph, without step {strange[0][:12]}: has it other data or devices?")
        return json.dumps(report_as_json(workshop.do(wanted, silent)))
    except StoreError as error:
        return json.dumps({"broke": str(error)})
    except Exception as error:
        return json.dumps({"broke": f"node {platform.node()} cannot go on: {one_line(error)}"})


def sees(path: str) -> bool:
    """Whether this machine sees a file, perhaps after a moment: network file systems remember what was not there."""
    for _ in range(LOOKS):
        with suppress(OSError):
            if Path(path).name in os.listdir(Path(path).parent):
                return True
        time.sleep(LOOK_SECONDS)
    return False


_built: dict[str, Workshop] = {}


def _workshop(plan: str) -> Workshop:
    """That of this process for a pool, kept for the tasks that follow; the one of an earlier pool is let go."""
    if plan not in _built:
        told = json.loads(plan)
        if not sees(told["seen"]):
            raise InputError(_not_shared(told["store"], platform.node()))
        for old in _built.values():
            if old.claims is not None:
                old.claims.close()
        _built.clear()
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        graph = Blueprint(builder=told["builder"], document=told["document"], store=told["store"]).build()
        store = DirectoryStore(told["store"])
        _built[plan] = Workshop(graph, store, claims=Claims(store.path / CLAIMS, expires=told["expires"]))
    return _built[plan]


def _imported() -> Any:
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise InputError("--ray needs the package ray: pip install 'oversight[ray]'") from error
    return ray


def _connect(ray: Any, address: str) -> bool:
    """Whether a Ray was started for this run, or found and joined; nothing where this process is connected already."""
    if ray.is_initialized():
        return False
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        settings |= {"include_dashboard": False, "object_store_memory": OBJECT_BYTES}
    else:
        _reach(address)
    try:
        with _own_handlers():
            ray.init(address=address, **settings)
    except Exception as error:
        raise InputError(f"--ray {address}: {_first_line(error)}") from error
    return True


def _reach(address: str) -> None:
    """Refuse what does not answer as a cluster does; Ray itself would try for minutes.

    Raises:
        InputError: nothing listens there, or it is no Ray of this version.
    """
    if address == "auto":
        return
    scheme, _, place = address.rpartition("://")
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"--ray: found {address}, expected local, auto, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"--ray {address}: nothing answers there: {one_line(error)}") from error
    if scheme:
        return
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", place]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        reason = f"it did not answer as a Ray cluster within {ANSWER_SECONDS:.0f} seconds"
        raise InputError(f"--ray {address}: {reason}") from None
    if asked.returncode:
        said = [line for line in asked.stderr.splitlines() if line.strip()] or ["it is no healthy Ray cluster"]
        raise InputError(f"--ray {address}: {said[-1].strip()[:SHOWN]}")


@contextmanager
def _own_handlers() -> Generator[None]:
    """Ray sets a handler of its own for requests to end; ours stays."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:SHOWN]


def _not_shared(store: str, node: str) -> str:
    return f"store {store}: node {node} does not see it, expected a directory that all nodes of the cluster share"
