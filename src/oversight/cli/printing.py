"""What the commands print: a bar on stderr, tables and JSON on stdout."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from oversight.methods.entry import Entry
    from oversight.metrics.intervals import Estimate
    from oversight.reports.result import Result, Study
    from oversight.runs.steps import Progress
    from oversight.runs.store import Store
    from oversight.studies.foretell import Foretold
    from oversight.studies.overlap import Overlapping
    from oversight.studies.weak_to_strong import Setup

SECONDS_BETWEEN_LINES = 30.0
MOST_SHOWN = 40


@contextmanager
def progress_bar() -> Generator[Progress]:
    """A bar of steps on stderr with what is being done and the time left."""
    from oversight.runs.steps import Progress

    if not sys.stderr.isatty():
        yield Progress(doing=_Lines())
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description:36}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        line = bar.add_task("looking in the store", total=None)

        def doing(label: str, done: float, note: str) -> None:
            shown = f"{label} {done:.0%}" if done else label
            bar.update(line, description=f"{shown}\n  {note}" if note else shown)

        yield Progress(
            started=lambda total: bar.update(line, total=total),
            doing=doing,
            finished=lambda n: bar.advance(line, n),
        )


@contextmanager
def growth_bar() -> Generator[Callable[[str, int, int], None]]:
    """A bar of updates on stderr for networks that are grown; lines in a log."""
    if not sys.stderr.isatty():
        lines = _Lines()
        yield lambda names, done, of: lines(names, done / of, f"update {done}/{of}")
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown: dict[str, Any] = {}

        def told(names: str, done: int, of: int) -> None:
            if names not in shown:
                shown[names] = bar.add_task(names, total=of)
            bar.update(shown[names], completed=done)

        yield told


class _Lines:
    """For a log: what long fits say of themselves, now and then."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, label: str, done: float, note: str) -> None:
        if note and time.monotonic() - self._said > SECONDS_BETWEEN_LINES:
            typer.echo(f"oversight: {label}: {note}", err=True)
            self._said = time.monotonic()


def print_plan(setup: Setup | Sequence[Setup], store: Store, as_json: bool) -> None:
    """What a study would compute: rows, classes, steps that the store does not have, and what its networks take."""
    from oversight.studies.sizes import sizes_of
    from oversight.studies.weak_to_strong import count_steps, each

    counts, setups = count_steps(setup, store), each(setup)
    setup = setups[0]
    found: dict[str, Any] = {
        "task": setup.task.name if len(setups) == 1 else setup.task.question_of,
        "rows": len(setup.task),
        "classes": list(setup.task.class_names),
        "studies": sum(len(one.arms) * (1 + len(one.tests)) for one in setups),
        "steps_to_do": counts,
        "roles": sizes_of(setup),
        "warnings": list(setup.task.warnings),
    }
    if as_json:
        return print_json(found)
    studies = counted(found["studies"], "study")
    typer.echo(f"{found['task']}: {found['rows']} rows, classes {', '.join(found['classes'])}; {studies}")
    typer.echo(
        "steps to do: " + (", ".join(f"{n} {kind}" for kind, n in counts.items()) or "none, all are in the store")
    )
    for role in found["roles"]:
        typer.echo(_role_line(role))
    for warning in found["warnings"]:
        typer.echo(f"warning: {warning}")


def _role_line(role: Mapping[str, Any]) -> str:
    """`student and ceiling minilm, full: 22.7M parameters, 22.6M trained, 318 updates, about 0.61 GB, 1.2e15 FLOPs`."""
    from oversight.models.finetune.memory import readable

    flops = f"{role['flops']:.1e} FLOPs".replace("e+", "e")
    named = f"{role['role']} {role['model']}, {role['train']}: {_count(role['parameters'])} parameters"
    if role["updates"] is None:
        return f"{named}, frozen, read once for all roles and seeds with {flops}"
    trained = f"{_count(role['trained_parameters'])} trained, {role['updates']} updates"
    return f"{named}, {trained}, about {readable(role['memory_bytes'])}, {flops} for each seed"


def _count(n: int) -> str:
    """`22.7M`."""
    return next(
        (f"{n / size:.1f}{letter}" for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")) if n >= size), str(n)
    )


def print_foretold(foretold: Sequence[Foretold], overlapping: Sequence[Overlapping] = ()) -> None:
    """Predictions on stdout, at once, as what is predicted comes next; and where easy and hard features overlap."""
    if not foretold:
        return
    from oversight.reports.theory import ONLY_IF, record_in_words

    typer.echo("Predicted before any true label of transfer, validation or test rows was used (docs/theory.md):")
    _echo_some([_foretold_line(one) for one in foretold])
    if any(one.reason is None for one in foretold):
        typer.echo(f"  {ONLY_IF}")
        typer.echo(f"  {record_in_words()} It says nothing of accuracy.")
    _echo_some([_overlap_line(one) for one in overlapping])
    if overlapping:
        typer.echo(
            "  The more they overlap the larger a gain is expected (Shin et al. 2024); on six sets it was not so."
        )
    typer.echo("")
    sys.stdout.flush()


def _echo_some(lines: Sequence[str]) -> None:
    for line in lines[:MOST_SHOWN]:
        typer.echo(f"  {line}")
    if len(lines) > MOST_SHOWN:
        typer.echo(f"  and {len(lines) - MOST_SHOWN} more")


def _foretold_line(one: Foretold) -> str:
    """`bow -> minilm@4, naive: a gain of at least 0.031 [0.029, 0.033] in Brier score, 0.094 [...] nats in NLL`."""
    from oversight.reports.words import clean, shown

    if one.squared is None or one.kl is None:
        return f"{clean(one.name)}: no prediction ({one.reason})"
    bounds = f"a gain of at least {shown(one.squared, 4)} in Brier score, {shown(one.kl, 4)} in NLL (nats)"
    return f"{clean(one.name)}: {bounds}{'; scored in an earlier run' if one.scored else ''}"


def _overlap_line(one: Overlapping) -> str:
    """`bow -> minilm@4: easy and hard features overlap in 0.31 of the transfer rows (seeds 0.29 to 0.33); ...`."""
    from oversight.reports.words import clean

    if one.reason:
        return f"{clean(one.name)}: no overlap of easy and hard features ({clean(one.reason)})"
    density, unsure = (f"{fmean(shares):.2f}" for shares in (one.density, one.unsure))
    seeds = "" if len(one.density) == 1 else f" (seeds {min(one.density):.2f} to {max(one.density):.2f})"
    told = f"{clean(one.name)}: easy and hard features overlap in {density} of the transfer rows{seeds}"
    return f"{told}; the supervisor is unsure of {unsure}"


def print_result(result: Result) -> None:
    """The table on stdout; of questions, the numbers pooled over them."""
    from rich.console import Console

    from oversight.reports.tables import as_rich

    Console(highlight=False).print(as_rich(result.shown))
    for line in result.about.get("from_store", ()):
        typer.echo(line)


def print_studies(result: Result, report: Path | None) -> None:
    """The table; where it would be too long, how many studies show what, by task and method."""
    if not result.studies:
        return
    if len(result.studies) <= MOST_SHOWN:
        print_result(result)
    else:
        for line in _by_method(result):
            typer.echo(line)
        if report is None:
            typer.echo(f"every study: oversight report -o report.html{_store(result)} (or .csv, .json, .md)")
    if report:
        typer.echo(f"Report: {report}")


def counted(n: int, what: str) -> str:
    """`1 kept study`, `1,000 steps`."""
    many = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{n:,} {what if n == 1 else many}"


def _store(result: Result) -> str:
    """The flag that names the store, where it is another than the one that is found without."""
    place = str(result.about.get("store", ""))
    found = {"", "memory", os.environ.get("OVERSIGHT_STORE") or "oversight-store"}
    return "" if place in found else f" --store {place}"


def _by_method(result: Result) -> list[str]:
    """By task, test and method: in how many studies PGR is defined, and the student is shown to be better or worse."""
    found: dict[tuple[str, str, str], list[Study]] = {}
    for study in result.studies:
        found.setdefault((study.task, study.test, study.method), []).append(study)
    lines: list[str] = []
    for (task, test, method), studies in found.items():
        defined = sum(study.pgr.defined for study in studies)
        better = sum(study.gain.above_zero for study in studies)
        worse = sum(study.gain.below_zero for study in studies)
        where = task if test == "test" else f"{task}, {test}"
        lines.append(
            f"{where}, {method}: {len(studies)} studies; a gap (so PGR is defined) in {defined}; "
            f"student above supervisor in {better}, below in {worse}, not told apart in {len(studies) - better - worse}"
        )
    return lines


def print_json(found: Mapping[str, Any]) -> None:
    """One object; never NaN, and characters as they are where the stream can take them."""
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    typer.echo(json.dumps(found, ensure_ascii=not unicode, allow_nan=False, indent=1))


def print_names(about: Mapping[str, str], as_json: bool) -> None:
    """A table of names with a line on each."""
    if as_json:
        return print_json(dict(about))
    for name, line in about.items():
        typer.echo(f"{name:24} {line}")


def print_methods(table: Mapping[str, Entry], as_json: bool) -> None:
    """What there is, by family; one object per method in JSON."""
    told: dict[str, dict[str, Any]] = {
        name: {
            "about": one.about,
            "paper": one.paper,
            "family": one.family,
            "needs": one.asks,
            "tracks": list(one.tracks),
            "trials": [dict(trial) for trial in one.trials],
        }
        for name, one in table.items()
    }
    if as_json:
        return print_json(told)
    family = ""
    for name, one in told.items():
        if one["family"] != family:
            family = str(one["family"])
            typer.echo(f"{family.upper()}")
        typer.echo(f"  {name:24} {one['about']}")
        typer.echo(f"  {'':24} {one['paper']}; needs {one['needs']}; {', '.join(one['tracks'])}")


def print_numbers(numbers: Mapping[str, Any], as_json: bool) -> None:
    """Numbers by name; NaN becomes null in JSON."""
    if as_json:
        return print_json({name: None if value != value else value for name, value in numbers.items()})
    for name, value in numbers.items():
        typer.echo(f"{name:24} {value:.3f}" if isinstance(value, float) else f"{name:24} {value}")


def signed(estimate: Estimate) -> str:
    """`+0.022 [+0.011, +0.034]`."""
    value, low, high = (f"{x:+.3f}".replace("-0.000", "+0.000") for x in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def print_demo(result: Result, report: Path, figure: Path, next_commands: Sequence[str]) -> None:
    """The table, what the studies show, and what to type next."""
    from rich.console import Console

    print_result(result)
    console = Console(highlight=False, soft_wrap=False)
    console.print("\n[bold]What the four studies show[/bold]")
    for i, note in enumerate(result.about["demo_notes"], 1):
        console.print(f"{i}. {note}", markup=False)
    told = f"\nReport: {report}   Figure: {figure}   Results kept in: {result.about['store']}"
    console.print(told, markup=False)
    console.print("\n[bold]Next[/bold]")
    for line in next_commands:
        console.print(f"  {line}", markup=False)


def tell_damaged(store: Store, *, found: Sequence[str] = ()) -> None:
    """What was found damaged on the way, the report's rows and what workers `found` included."""
    faults: list[str] = getattr(store, "damaged", [])
    for fault in dict.fromkeys((*found, *faults)):
        typer.echo(f"oversight: damaged result computed again: {fault}", err=True)


def print_tables(told: Any, as_rich: Callable[[Any], Any]) -> None:
    """Tables on stdout: as wide as the terminal, or as they are where there is none."""
    from rich.console import Console

    if sys.stdout.isatty():
        Console(highlight=False).print(as_rich(told))
    else:
        typer.echo(str(told))
