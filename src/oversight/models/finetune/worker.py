"""One of the processes of a fit: meet the others, train, and say how it went to the one that waits."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from oversight.errors import InputError, StepError
from oversight.models.finetune import state as states
from oversight.models.finetune.recipe import Full
from oversight.models.finetune.team import MemoryRanOut, Team
from oversight.tasks.task import Floats

if TYPE_CHECKING:
    from oversight.models.finetune.classifier import Classifier
    from oversight.models.finetune.loop import Lesson

LONGEST_TEXT = 400
Head = tuple[Floats, Floats | None]


class Fits(Protocol):
    """What is fitted, as a process can be given it."""

    def on(self, device: str, *, tokens_at_once: int | None) -> Fits:
        """The same on a certain device, with a budget of one pass."""
        ...

    def prepared(self, head: Head | None) -> tuple[Classifier, Lesson]:
        """A classifier before training, with the head to start from, and what it is to learn."""
        ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every process is told.

    Attributes:
        fits: what is fitted.
        name: of the student, for messages.
        recipe: how.
        lr: peak learning rate of the backbone.
        head: to start from.
        devices: one per process.
        threads: of the processor, for each process.
        folder: for checkpoints; None = none.
        result: where the first process leaves what was learned.
        meeting: file by which the processes find each other.
        seconds: how long one waits for the others.
        tokens_at_once: in one pass of one process; None = as the recipe says.
    """

    fits: Fits
    name: str
    recipe: Full
    lr: float
    head: Head | None
    devices: tuple[str, ...]
    threads: int
    folder: Path | None
    result: Path
    meeting: Path
    seconds: float
    tokens_at_once: int | None = None


def work(rank: int, payload: bytes, pipe: Connection) -> None:
    """One process, from its start to its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one hears it, and ends this one
    os.dup2(2, 1)  # the results of a command go to the standard output, notes of libraries do not
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warnings.simplefilter("ignore" if rank else "default")

    def say(kind: str, text: str = "", number: float = 0) -> None:
        pipe.send_bytes(json.dumps({"kind": kind, "text": text, "number": number}).encode())

    say("began")
    try:
        job: Job = pickle.loads(payload)
    except Exception as error:
        say(
            "InputError",
            f"another process cannot find what it is to fit ({in_one_line(error)}); expected it in a module",
        )
        return
    try:
        _learn(rank, job, lambda done, note: say("progress", note, done))
    except MemoryRanOut as problem:
        say("memory", str(problem), problem.tokens_at_once)
    except (InputError, StepError) as problem:
        say(type(problem).__name__, str(problem))
    except Exception as problem:
        who = f"{job.name}: process {rank + 1} of {len(job.devices)}"
        if _is_lost(problem):
            say("lost", f"{who} lost the others or waited longer than {job.seconds:g} s: {in_one_line(problem)}")
        else:
            say("failed", f"{who} failed with {type(problem).__name__}: {in_one_line(problem)}")
    else:
        say("done")
    pipe.close()
    sys.stderr.flush()
    os._exit(0)  # a library that waits for the other processes while it is taken down would wait in vain


def _learn(rank: int, job: Job, tell: Callable[[float, str], None]) -> None:
    """This process's part in the training; the first one leaves the result."""
    import torch

    from oversight.models.finetune.loop import train

    torch.set_num_threads(job.threads)
    device = job.devices[rank]
    sharded = job.recipe.machine.sharding == "full"
    with _met(rank, job):
        team = Team(rank=rank, size=len(job.devices), sharded=sharded, device=device)
        fits = job.fits.on(device, tokens_at_once=job.tokens_at_once or job.recipe.machine.tokens_at_once)
        classifier, lesson = fits.prepared(job.head)
        team.take(classifier)
        silent: Callable[[float, str], None] = lambda done, note: None  # noqa: E731
        state = train(classifier, lesson, job.recipe, lr=job.lr, folder=job.folder, tell=silent if rank else tell)
        weights = team.whole(classifier.trained()) if state.best_weights is None else state.best_weights
        if rank == 0:
            states.save(job.result, replace(state, best_weights=None), weights, {"state": {}, "param_groups": []})
        team.wait()


@contextmanager
def _met(rank: int, job: Job) -> Generator[None]:
    """Within this block the processes are in touch."""
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    device = job.devices[rank]
    options: dict[str, Any] = {}
    if device != "cpu":
        torch.cuda.set_device(device)
        options = {"device_id": torch.device(device)}
    loopback = [name for _, name in socket.if_nameindex() if name in {"lo", "lo0"}]
    if loopback:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
    dist.init_process_group(
        "gloo" if device == "cpu" else "nccl",
        init_method=f"file://{job.meeting}",
        rank=rank,
        world_size=len(job.devices),
        timeout=timedelta(seconds=job.seconds),
        **options,
    )
    yield
    dist.destroy_process_group()


def _end_with_parent() -> None:
    """A process whose parent was killed would train on for nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _is_lost(error: Exception) -> bool:
    """Whether this is how the failure of another process looks from here."""
    import torch.distributed as dist

    words = ("gloo", "nccl", "connection", "timed out", "timeout")
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )


def in_one_line(error: BaseException) -> str:
    """What an error says, in one line of reasonable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."
