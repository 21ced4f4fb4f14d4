"""Local processes, each with its share of cores and GPUs."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from oversight.errors import StepError, StoreError
from oversight.runs.pools.pool import Blueprint, Broke, Died, Event, Order, Reported, Ticked
from oversight.runs.workshop import Fault, Report

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
SHOWN_OF_LOG = 3
LOG_BYTES = 1 << 13
GRACE_SECONDS, ENDING_SECONDS = 5.0, 1.0
MOST_STARTS = 8


@dataclass(kw_only=True)
class _Process:
    """One worker: `ready` once it has built the graph, `busy` while it does a batch, `ended` once it is gone.

    `starts` counts it and its predecessors since the last one that was given a batch.
    """

    popen: subprocess.Popen[str]
    log: Path
    starts: int
    ready: bool = False
    busy: bool = False
    ended: bool = False


class Processes:
    """See `Pool`. A worker that dies is replaced.

    A worker leads a process group of its own, so Ctrl-C reaches the driver alone; it ends when the driver does.

    Args:
        blueprint: of the graph that every worker builds.
        n: workers.
        cores: of the processor, shared out among the workers.
        gpus: names for CUDA_VISIBLE_DEVICES, dealt to the workers in turn, or shared; empty = as it is.
        expires: seconds after which a claim of a silent worker is void.
    """

    def __init__(
        self, blueprint: Blueprint, n: int, *, cores: int, gpus: Sequence[str] = (), expires: float = 60.0
    ) -> None:
        self.size = n
        self.cores = cores
        self._threads = max(1, cores // n)
        self._blueprint, self._expires = blueprint, expires
        self._gpus = [",".join(gpus[i::n]) for i in range(min(n, len(gpus)))]
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._logs = tempfile.TemporaryDirectory(prefix="oversight-")
        self._workers: dict[str, _Process] = {}
        self._listeners: list[threading.Thread] = []
        self._closing = False
        try:
            for i in range(n):
                self._spawn(f"worker {i + 1}")
        except OSError as error:
            self.close(now=True)
            raise StepError(f"a worker could not start: {os.strerror(error.errno or 0)}") from error

    def idle(self) -> Sequence[str]:
        """See `Pool.idle`."""
        return [name for name, one in self._workers.items() if one.ready and not one.busy]

    def pids(self) -> dict[str, int]:
        """Process ids of the workers by name."""
        return {name: one.popen.pid for name, one in self._workers.items()}

    def start(self, worker: str, order: Order) -> None:
        """See `Pool.start`."""
        process = self._workers[worker]
        process.busy, process.starts = True, 0
        self._send(process, {"keys": list(order.keys), "cores": order.cores})

    def wait(self, seconds: float) -> Sequence[Event]:
        """See `Pool.wait`."""
        found: list[Event] = []
        self._end_groups()
        with suppress(queue.Empty):
            found.append(self._events.get(timeout=seconds))
            while True:
                found.append(self._events.get_nowait())
        for event in found:
            if isinstance(event, Reported):
                self._workers[event.worker].busy = False
            elif isinstance(event, Died):
                self._bury(event.worker)
        return found

    def close(self, *, now: bool = False) -> None:
        """See `Pool.close`."""
        self._closing = True
        self._end_groups()
        alive = [one for one in self._workers.values() if not one.ended]
        for one in alive if now else ():
            _signal(one, signal.SIGTERM)
        for one in self._workers.values():
            with suppress(OSError):
                _pipe(one.popen.stdin).close()
        until = time.monotonic() + (ENDING_SECONDS if now else GRACE_SECONDS)
        for one in alive:
            with suppress(subprocess.TimeoutExpired):
                one.popen.wait(max(0.0, until - time.monotonic()))
            _signal(one, signal.SIGKILL)
            one.popen.wait()
        for thread in self._listeners:
            thread.join(ENDING_SECONDS)
        self._workers.clear()
        self._logs.cleanup()

    def _spawn(self, name: str, starts: int = 1) -> None:
        i = int(name.split()[-1]) - 1
        log = Path(self._logs.name) / f"{name.replace(' ', '-')}.log"
        env = {**os.environ, **dict.fromkeys(THREADS, str(self._threads)), "TOKENIZERS_PARALLELISM": "false"}
        if self._gpus:
            env["CUDA_VISIBLE_DEVICES"] = self._gpus[i % len(self._gpus)]
        with log.open("w") as errors:
            popen = subprocess.Popen(
                [sys.executable, "-P", "-m", "oversight.runs.pools.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=env,
                text=True,
                encoding="utf-8",
                start_new_session=True,
            )
        process = _Process(popen=popen, log=log, starts=starts)
        self._workers[name] = process
        self._send(process, {**vars(self._blueprint), "expires": self._expires})
        thread = threading.Thread(target=self._listen, args=(name, process), daemon=True)
        thread.start()
        self._listeners = [*(one for one in self._listeners if one.is_alive()), thread]

    def _send(self, process: _Process, message: dict[str, Any]) -> None:
        with suppress(OSError):  # its death is told by the thread that listens
            pipe = _pipe(process.popen.stdin)
            pipe.write(json.dumps(message) + "\n")
            pipe.flush()

    def _listen(self, name: str, process: _Process) -> None:
        """What a worker says becomes events, its silence its death."""
        with _pipe(process.popen.stdout) as pipe:
            for line in pipe:
                with suppress(json.JSONDecodeError):  # half a line of one that was killed
                    told = json.loads(line)
                    if "ready" in told:
                        process.ready = True
                        self._events.put(Ticked(worker=name, done=0.0))
                    else:
                        self._events.put(event_of(name, told))
        code = process.popen.wait()
        if not self._closing:
            self._events.put(Died(worker=name, reason=_ending(code, process.log)))

    def _bury(self, name: str) -> None:
        """Another takes its place, unless it gave up before it was ready, or several were killed before any work."""
        process = self._workers[name]
        with suppress(OSError):
            _pipe(process.popen.stdin).close()
        code = process.popen.wait()
        if process.starts >= MOST_STARTS or (code >= 0 and not process.ready):
            raise StepError(f"a worker could not start: {_ending(code, process.log)}")
        self._end_groups()
        self._spawn(name, process.starts + 1)

    def _end_groups(self) -> None:
        """What dead workers started ends with them; it may also hold the pipe open that would tell of the death."""
        for one in self._workers.values():
            if not one.ended and one.popen.poll() is not None:
                one.ended = True
                _signal(one, signal.SIGKILL)


def event_of(worker: str, told: dict[str, Any]) -> Event:
    """An event from what a worker wrote."""
    if "tick" in told:
        return Ticked(worker=worker, done=told["tick"], note=told["note"])
    if "broke" in told:
        return Broke(worker=worker, error=StoreError(told["broke"]))
    failed = {key: Fault(**fault) for key, fault in told["report"].pop("failed").items()}
    return Reported(worker=worker, report=Report(**told["report"], failed=failed))


def report_as_json(report: Report) -> dict[str, Any]:
    """The inverse of `event_of` for reports."""
    failed = {key: {"error": one.error, "traceback": one.traceback} for key, one in report.failed.items()}
    return {"report": {**vars(report), "failed": failed}}


def _signal(process: _Process, number: int) -> None:
    """To a worker and to all that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.popen.pid, number)


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def _ending(code: int, log: Path) -> str:
    """Why a process ended: its signal or exit code, and the last that it said."""
    how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    if code == -signal.SIGKILL:
        how += ", perhaps for want of memory"
    lines = [line.strip() for line in _end_of(log).splitlines() if line.strip()]
    return f"{how}: {' | '.join(lines[-SHOWN_OF_LOG:])}" if lines else how


def _end_of(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
