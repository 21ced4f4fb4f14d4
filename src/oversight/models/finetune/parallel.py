"""One fit by several processes of this machine: start them, hear them, end them all when one fails."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oversight.errors import InputError, StepError
from oversight.models.backbone import Backbone, resolve_device
from oversight.models.finetune import state as states
from oversight.models.finetune.recipe import Full, Lora
from oversight.models.finetune.state import State
from oversight.models.finetune.team import MemoryRanOut
from oversight.models.finetune.worker import Fits, Head, Job, in_one_line, work
from oversight.models.student import Loss

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

SILENCE_SECONDS = 600.0  # how long a process waits for the others before it gives up
GRACE_SECONDS = 5.0  # from the first bad news until all are ended: who failed first is often heard second
# The likelier a cause of the others, the earlier.
WORST_FIRST = ("InputError", "StepError", "memory", "died", "failed", "lost")


def check(backbone: Backbone, recipe: Full, loss: Loss, *, name: str) -> None:
    """Refuse what several processes could not do; one process can do anything.

    Raises:
        InputError: more processes than GPUs, a loss that cannot be sent, or nothing to spread.
    """
    machine = recipe.machine
    if machine.processes == 1:
        if machine.sharding != "none":
            raise InputError(f"{name}: found sharding {machine.sharding} with 1 process, expected 2 or more")
        return
    devices(backbone.device, machine.processes, name=name)
    if machine.sharding == "full":
        if backbone.blocks == 0:
            raise InputError(f"{name}: found no block, so there is nothing to spread; expected sharding none")
        if isinstance(recipe, Lora) and recipe.quantize is not None:
            raise InputError(f"{name}: found sharding full with {recipe.quantize} weights; expected sharding none")
        if recipe.optimizer == "adafactor":
            raise InputError(f"{name}: found sharding full with adafactor, which needs whole matrices; expected adamw")
    try:
        pickle.dumps(loss)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        shown = getattr(loss, "__qualname__", type(loss).__name__)
        raise InputError(
            f"{name}: the loss {shown} cannot be sent to {machine.processes} processes ({in_one_line(error)}); "
            "expected a function or a frozen dataclass that a module holds by name"
        ) from None


def devices(device: str, processes: int, *, name: str) -> tuple[str, ...]:
    """Where each process works: on a GPU of its own, or all on the processor.

    Raises:
        InputError: too few GPUs, or one of them named.
    """
    kind = resolve_device(device)
    if kind == "cpu":
        return ("cpu",) * processes
    if kind != "cuda":
        raise InputError(f"{name}: found device {device} with {processes} processes, expected cuda, cpu or auto")
    import torch

    n_gpus = torch.cuda.device_count()
    if processes > n_gpus:
        raise InputError(f"{name}: found processes {processes}, expected at most the {n_gpus} GPUs of this machine")
    return tuple(f"cuda:{rank}" for rank in range(processes))


def train_together(
    fits: Fits,
    *,
    backbone: Backbone,
    recipe: Full,
    lr: float,
    head: Head | None,
    folder: Path | None,
    tell: Callable[[float, str], None],
) -> State:
    """Train in `recipe.machine.processes` processes; gives the state of the end with the weights to keep.

    Memory that runs out in one process ends them all; they start again from the last checkpoint with fewer tokens.

    Raises:
        InputError: as one of them says.
        StepError: one of them failed, died, or waited too long for another.
    """
    import torch

    threads, tokens = torch.get_num_threads(), None
    places = devices(backbone.device, recipe.machine.processes, name=backbone.name)
    while True:
        with tempfile.TemporaryDirectory(prefix="oversight-") as temporary:
            job = Job(
                fits=fits,
                name=backbone.name,
                recipe=recipe,
                lr=lr,
                head=head,
                devices=places,
                threads=max(1, threads // len(places)),
                folder=folder,
                result=(folder or Path(temporary)) / "result",
                meeting=Path(temporary) / "meeting",
                seconds=SILENCE_SECONDS,
                tokens_at_once=tokens,
            )
            try:
                _run(job, tell)
            except MemoryRanOut as problem:
                warnings.warn(str(problem), RuntimeWarning, stacklevel=2)
                tokens = problem.tokens_at_once
                continue
            found = states.load(job.result)
        if found is None:
            raise StepError(f"{backbone.name}: what {len(places)} processes learned cannot be read back")
        state, state.best_weights, _ = found
        state.threads = threads
        return state


@dataclass
class _Worker:
    """A process and what was heard of it."""

    rank: int
    process: BaseProcess
    pipe: Connection
    began: bool = False
    done: bool = False


@dataclass
class _News:
    """Bad news by kind, in the order in which it came."""

    heard: list[tuple[str, str, int]] = field(default_factory=list[tuple[str, str, int]])

    def add(self, kind: str, text: str, number: int = 0) -> None:
        """Remember it."""
        self.heard.append((kind, text, number))

    def worst(self) -> Exception:
        """What is most likely the cause of all, as an exception."""
        kind, text, number = min(self.heard, key=lambda one: WORST_FIRST.index(one[0]))
        if kind == "memory":
            return MemoryRanOut(text, number)
        return InputError(text) if kind == "InputError" else StepError(text)


def _run(job: Job, tell: Callable[[float, str], None]) -> None:
    """Until every process is done; none is left when this returns, however it does."""
    try:
        payload = pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(f"{job.name}: cannot be sent to other processes: {in_one_line(error)}") from None
    with _workers(len(job.devices), payload) as workers:
        _hear(workers, job, tell)


@contextmanager
def _workers(n: int, payload: bytes) -> Generator[list[_Worker]]:
    context = multiprocessing.get_context("spawn")
    workers: list[_Worker] = []
    try:
        for rank in range(n):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=work, args=(rank, payload, theirs), daemon=True)
            workers.append(_Worker(rank, process, ours))
            process.start()
            theirs.close()
        yield workers
    finally:
        for worker in workers:
            if worker.process.pid is not None:
                worker.process.kill()
                worker.process.join()
            worker.process.close()
            worker.pipe.close()


def _hear(workers: Sequence[_Worker], job: Job, tell: Callable[[float, str], None]) -> None:
    """Pass on what the processes say until all are done.

    Raises:
        InputError, StepError, MemoryRanOut: the worst of what one of them said.
    """
    by_pipe = {worker.pipe: worker for worker in workers}
    news, until = _News(), float("inf")
    while by_pipe:
        left = None if until == float("inf") else max(0.0, until - time.monotonic())
        ready = wait(list(by_pipe), timeout=left)
        if not ready:
            break
        for pipe in ready:
            assert isinstance(pipe, Connection)
            worker = by_pipe[pipe]
            try:
                said = json.loads(pipe.recv_bytes())
            except (EOFError, OSError):
                del by_pipe[pipe]
                _bury(worker, job, news)
                continue
            _understand(said, worker, news, tell)
        if news.heard and until == float("inf"):
            until = time.monotonic() + GRACE_SECONDS
    if news.heard:
        raise news.worst()


def _understand(said: Mapping[str, Any], worker: _Worker, news: _News, tell: Callable[[float, str], None]) -> None:
    worker.began = True
    if said["kind"] == "progress":
        tell(said["number"], said["text"])
    elif said["kind"] == "done":
        worker.done = True
    elif said["kind"] != "began":
        worker.done = True
        news.add(said["kind"], said["text"], said["number"])


def _bury(worker: _Worker, job: Job, news: _News) -> None:
    """A process has closed its end: if it said nothing of an end, it died."""
    if worker.done:
        return
    worker.process.join()
    code = worker.process.exitcode or 0
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    hint = "" if worker.began else "; a script that fits with several processes needs `if __name__ == '__main__':`"
    news.add("died", f"{job.name}: process {worker.rank + 1} of {len(job.devices)} {how}{hint}")
