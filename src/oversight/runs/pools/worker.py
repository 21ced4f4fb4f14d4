"""A worker process: orders come on its standard input, answers go to its standard output, one JSON a line."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from typing import IO, Any

from oversight.errors import OversightError
from oversight.runs.pools.pool import Blueprint
from oversight.runs.pools.processes import report_as_json
from oversight.runs.steps import granting
from oversight.runs.store import DirectoryStore
from oversight.runs.workshop import CLAIMS, Claims, Workshop, one_line

TOLD_EVERY = 0.5


def main() -> int:
    """Build the graph, then do batches until there are no more orders."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    answers = _answers()
    orders = _orders()
    first = orders.get()
    if first is None:
        return 0
    store = DirectoryStore(first["store"])
    blueprint = Blueprint(builder=first["builder"], document=first["document"], store=first["store"])
    try:
        graph = blueprint.build()
    except Exception as error:
        print(one_line(error), file=sys.stderr)
        return error.exit_code if isinstance(error, OversightError) else 1
    with Claims(store.path / CLAIMS, expires=first["expires"]) as claims:
        workshop = Workshop(graph, store, claims=claims)
        _tell(answers, {"ready": True})
        while (order := orders.get()) is not None:
            _tell(answers, _done(workshop, order["keys"], order["cores"], answers))
    return 0


def _done(workshop: Workshop, keys: list[str], cores: int | None, answers: IO[str]) -> dict[str, Any]:
    said = 0.0

    def tick(done: float, note: str = "") -> None:
        nonlocal said
        if time.monotonic() - said > TOLD_EVERY:
            said = time.monotonic()
            _tell(answers, {"tick": done, "note": note})

    strange = [key for key in keys if key not in workshop.graph.steps]
    if strange:
        return {
            "broke": f"a worker built another graph, without step {strange[0][:12]}: did the data or a model change?"
        }
    try:
        with granting(cores):
            return report_as_json(workshop.do(keys, tick))
    except Exception as error:  # no step's own failure: those are in the report
        return {"broke": one_line(error)}


def _answers() -> IO[str]:
    """The pipe to the driver; what anything else prints goes to the log."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return pipe


def _orders() -> queue.SimpleQueue[dict[str, Any] | None]:
    """Orders as they come; None at the end. The driver's end in the middle of a batch is this process's end."""
    found: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    driver, pipe = os.getppid(), os.dup(0)
    with open(os.devnull, "rb") as empty:  # nobody else reads orders
        os.dup2(empty.fileno(), 0)

    def listen() -> None:
        rest = b""
        while chunk := os.read(pipe, 1 << 20):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                found.put(json.loads(line))
        found.put(None)
        while os.getppid() == driver:
            time.sleep(TOLD_EVERY)
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    return found


def _tell(answers: IO[str], message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
