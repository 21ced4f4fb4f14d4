"""How a sweep goes, on stderr: a live view on a terminal, lines in a log; and what came of it, or would."""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console, Group
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from oversight.cli import printing
from oversight.cli.printing import counted
from oversight.cli.status import (
    KINDS,
    Line,
    by_kind,
    cells,
    clock,
    done_of,
    duration,
    time_left,
    unfinished,
    view_lines,
)
from oversight.models.finetune.memory import readable
from oversight.reports.words import clean

if TYPE_CHECKING:
    from oversight.runs.drive import Summary
    from oversight.runs.graph import Graph
    from oversight.runs.pools.pool import Status

DRY_HEADS = ("", "steps", "asked for", "there", "to do", "time", "memory")
FALLBACK_WIDTH, NARROWEST = 100, 20
FRAMES_PER_SECOND = 4
LONGEST_NAME = 60
MOST_FAILED = 10
UNKNOWN = "not known yet"


@contextmanager
def live_view(title: str) -> Generator[Callable[[Status], None]]:
    """What to show a status to: redrawn in place on a terminal; else lines: first, on failures, now and then.

    Args:
        title: of what runs, such as `sweep probe-fast`.
    """
    console = Console(stderr=True, highlight=False)
    if not (sys.stderr.isatty() and console.is_interactive and console.is_terminal):
        yield _Log(clean(title))
        return
    with View(title, console=console) as view:
        yield view.show


class View(Live):
    """The status shown last, drawn anew when its turn comes and only where something changed."""

    def __init__(self, title: str, *, console: Console) -> None:
        super().__init__(
            Text(),
            console=console,
            refresh_per_second=FRAMES_PER_SECOND,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # what goes to a file or a pipe still goes there
        )
        self._title = title
        self._seen: tuple[Status, float] | None = None
        self._drawn: tuple[int, list[Line]] = 0, []

    def show(self, status: Status) -> None:
        """From now on this is how things stand."""
        self._seen = status, time.monotonic()

    def refresh(self) -> None:
        """See `Live`."""
        size = self.console.size
        status, when = self._seen or (None, 0.0)
        age = 0.0 if status is None else time.monotonic() - when
        lines = view_lines(self._title, status, self.console, age=age)
        before, self._drawn = self._drawn, (size.width, lines)
        if before == self._drawn and self.is_started:
            return
        texts = [Text.assemble(*line, no_wrap=True, overflow="crop") for line in lines]
        self.update(Group(*texts))
        with self.console:
            self.console.control(_unwrapped(before[1], size.width))
            super().refresh()


def _unwrapped(lines: Sequence[Line], width: int) -> Control:
    """Clears the rows by which a terminal that became narrower has wrapped the lines that stand there."""
    rows = sum(max(math.ceil(cells(line) / width) - 1, 0) for line in lines)
    return Control(ControlType.CARRIAGE_RETURN, *(((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)) * rows))


class _Log:
    """For a log: a line at the start, one now and then, and one whenever more steps have failed."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._said: float | None = None
        self._failed = 0

    def __call__(self, status: Status) -> None:
        failed = sum(status.failed.values())
        if self._said is None:
            self._tell(_start(status), *_losses(status))
        elif failed > self._failed:
            self._tell(*_losses(status))
        if self._said is None:
            self._said = status.seconds
        elif status.seconds - self._said > printing.SECONDS_BETWEEN_LINES and unfinished(status):
            self._said = status.seconds
            self._tell(*_standing(status), *_losses(status), *_running(status))
        self._failed = max(failed, self._failed)

    def _tell(self, *parts: str) -> None:
        _say(f"{self._title}: {'; '.join(parts)}")


def _start(status: Status) -> str:
    found, total = sum(status.found.values()), sum(status.total.values())
    return f"{counted(total, 'step')}, {'all' if found == total else f'{found:,}'} there"


def _standing(status: Status) -> list[str]:
    done, total = sum(status.done.values()), sum(status.total.values())
    left = time_left(status)
    return [done_of(done, total), clock(status.seconds) + (f", {left}" if left else "")]


def _losses(status: Status) -> list[str]:
    """`3 failed (students 2, ceilings 1), 12 skipped`."""
    failed, skipped = sum(status.failed.values()), sum(status.skipped.values())
    parts = [f"{failed:,} failed ({by_kind(status, 'failed')})"] if failed else []
    parts += [f"{skipped:,} skipped"] if skipped else []
    return [", ".join(parts)] if parts else []


def _running(status: Status) -> list[str]:
    """By kind, and of the batch that has run longest how it goes."""
    parts = [f"running: {by_kind(status, 'running')}"] if sum(status.running.values()) else []
    longest = max(status.workers.values(), key=lambda one: one.seconds, default=None)
    if longest is not None and longest.label:
        note = f", {clean(longest.note)}" if longest.note else ""
        named = clean(longest.name or longest.label, limit=LONGEST_NAME)
        parts.append(f"longest: {named}, {clock(longest.seconds)}{note}")
    return parts


def print_summary(summary: Summary, graph: Graph, *, found: int | None = None) -> None:
    """What became of the steps, on stderr.

    Args:
        summary: of the run.
        graph: whose steps they are.
        found: how many were there before; None = those of which nothing else is told, unless it was stopped.
    """
    lost = len(summary.failed) + len(summary.skipped)
    rest = len(graph.steps) - len(set(summary.made)) - lost
    if found is None and not summary.stopped:
        found = max(rest, 0)
    parts = [f"{counted(len(set(summary.made)), 'step')} computed"]
    if summary.damaged:
        parts[0] += f" ({len(summary.damaged):,} of them damaged before)"
    if found is not None:
        parts.append(f"{found:,} {'was' if found == 1 else 'were'} there")
        if summary.stopped:
            parts.append(f"{max(rest - found, 0):,} left")
    parts += [f"{n:,} {what}" for n, what in ((len(summary.failed), "failed"), (len(summary.skipped), "skipped")) if n]
    stopped = "stopped before the end: " if summary.stopped else ""
    _say(f"{stopped}{', '.join(parts)}; {clock(summary.seconds)}")
    for key in list(summary.failed)[:MOST_FAILED]:
        _say(f"failed: {clean(graph.steps[key].name) or key[:12]}: {clean(summary.failed[key])}")
    if len(summary.failed) > MOST_FAILED:
        _say(f"and {len(summary.failed) - MOST_FAILED:,} more; see `oversight ls --failed`")
    if summary.failed:
        _say("the same command with --retry-failed tries them again")


def _say(line: str) -> None:
    typer.echo(f"oversight: {line}", err=True)


def print_dry_run(numbers: Mapping[str, Any]) -> None:
    """What a sweep would take, on stdout: by kind of step, and in all.

    Args:
        numbers: see `studies.sweep.count_sweep`; `plan` is its name.
    """
    width = shutil.get_terminal_size((FALLBACK_WIDTH, 24)).columns
    tasks = ", ".join(clean(task) for task in numbers["tasks"])
    studies = counted(numbers["studies"], "study")
    everything = {**numbers, "label": "all", "to_do": numbers["steps"] - numbers["done"], "memory_bytes": None}
    order = {kind: i for i, kind in enumerate(KINDS)}
    kinds = sorted(numbers["kinds"], key=lambda one: order.get(one["kind"], len(order)))
    rows = [_dry_row(one) for one in (*kinds, everything)]
    rows[-1][-1] = ""
    widths = [max(len(text) for text in column) for column in zip(DRY_HEADS, *rows, strict=True)]
    table = ["  ".join(_cell(i, text, widths[i]) for i, text in enumerate(row)).rstrip() for row in (DRY_HEADS, *rows)]
    if max(len(line) for line in table) > width:
        table = [_dry_sentence(row) for row in rows]
    lines = [f"{clean(numbers['plan'])}: {studies} on {tasks}", "", *table, "", *_dry_totals(numbers)]
    for line in lines:
        typer.echo(line if line in table and len(line) <= width else textwrap.fill(line, max(width, NARROWEST)))


def _dry_row(kind: Mapping[str, Any]) -> list[str]:
    """Cells under DRY_HEADS."""
    named = KINDS.get(kind.get("kind", ""), clean(kind["label"]))
    seconds, memory = kind["seconds"], kind["memory_bytes"]
    time, room = "-", "-"
    if kind["to_do"]:
        time = UNKNOWN if seconds is None else duration(seconds)
        room = UNKNOWN if memory is None else readable(memory)
    return [named, *(f"{kind[name]:,}" for name in ("steps", "asked", "done", "to_do")), time, room]


def _cell(i: int, text: str, width: int) -> str:
    return f"{text:{'>' if i else '<'}{width}}"


def _dry_sentence(row: Sequence[str]) -> str:
    """For a narrow terminal: `students: steps 480, asked for 1,200, ...`."""
    named = [f"{head} {text}" for head, text in zip(DRY_HEADS[1:], row[1:], strict=True) if text]
    return f"{row[0]}: {', '.join(named)}"


def _dry_totals(numbers: Mapping[str, Any]) -> list[str]:
    steps, done, workers = numbers["steps"], numbers["done"], numbers["workers"]
    shared = f"{counted(steps, 'step')}, {numbers['asked']:,} if the studies shared none"
    lines = [f"{shared}; {done:,} there, {steps - done:,} to do"]
    if steps == done:
        return [*lines, "nothing to do: every step is there"]
    seconds, left = numbers["seconds"], numbers["seconds_left"]
    on = f"time on {counted(workers, 'worker')}"
    work = "" if seconds is None else f" ({duration(seconds)} of work)"
    return [*lines, f"{on}: {UNKNOWN if left is None else f'about {duration(left)}'}{work}"]
