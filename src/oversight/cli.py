"""Commands: parse, call, print. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oversight.errors import InputError, OversightError

if TYPE_CHECKING:
    from oversight.runs.steps import Progress
    from oversight.runs.store import Store
    from oversight.studies.result import Result
    from oversight.studies.weak_to_strong import Setup

app = typer.Typer(
    name="oversight",
    help="How much of a strong model's ability can a weaker supervisor bring out, and how do you know?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="DIR", help="Where results are kept. Default: $OVERSIGHT_STORE, else ./oversight-store."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else, on stdout.")]
VERSIONED = ("oversight", "torch", "transformers", "scikit-learn", "numpy", "scipy")


def run() -> None:
    """The console command: one line for what the user can mend, exit code 2 for bad input, 1 for a failure."""
    try:
        app()
    except OversightError as error:
        typer.echo(f"oversight: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("oversight: stopped; finished steps are kept, the same command continues", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where report.html goes.")] = Path(),
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """A complete study on embedded text with an embedded encoder: no download, about a minute."""
    from oversight.resolve import load_store, prepare
    from oversight.studies import demo as study

    began = time.monotonic()
    setup = prepare("reviews", weak=study.WEAK, strong=study.STRONG, method=study.METHODS, seeds=study.SEEDS)
    kept = load_store(store)
    result = study.with_notes(_run(setup, kept, began))
    out.mkdir(parents=True, exist_ok=True)
    report = result.report(out / "report.html")
    if as_json:
        return _print_json(result.as_json())
    _print_result(result)
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=False)
    console.print("\n[bold]What three studies named beforehand show[/bold]")
    for i, note in enumerate(result.about["demo_notes"], 1):
        console.print(f"{i}. {note}", markup=False)
    console.print(f"\nReport: {report}   Results kept in: {result.about['store']}", markup=False)
    console.print("\n[bold]Next, with your own data[/bold]")
    for line in study.NEXT:
        console.print(f"  {line}", markup=False)


@app.command()
def w2s(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A name, a file (.jsonl[.gz], .csv, .parquet), a directory with train.* and test.*, or hf:org/name[:config][@revision].")],
    weak: Annotated[list[str], typer.Option("--weak", metavar="MODEL", help="Who labels: bow, minilm[@k], DIR[@k], org/name[@k], labels:FILE; a+b for several together. Repeat for several studies.")],
    strong: Annotated[list[str], typer.Option("--strong", metavar="MODEL", help="Who learns. Repeat for several studies.")],
    method: Annotated[list[str] | None, typer.Option("--method", metavar="NAME", help="How weak labels are used (default: naive). Repeat for several.")] = None,
    train: Annotated[str, typer.Option("--train", help="How student and supervisor are trained.")] = "probe",
    seeds: Annotated[int, typer.Option("--seeds", help="Trainings of every role; 5 or more for an interval over seeds.")] = 5,
    test: Annotated[list[str] | None, typer.Option("--test", metavar="NAME=FILE", help="A further test set, scored by itself. Repeatable.")] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="Of gap and PGR: accuracy, balanced_accuracy, auroc, nll, brier. Default: accuracy, balanced where a class exceeds 55 % of the test.")] = None,
    text: Annotated[str | None, typer.Option("--text", metavar="COLUMN", help="Column of the text; dotted paths reach inside.")] = None,
    label: Annotated[str | None, typer.Option("--label", metavar="COLUMN")] = None,
    group: Annotated[str | None, typer.Option("--group", metavar="COLUMN", help="Rows of one group stay in one part of every split.")] = None,
    difficulty: Annotated[str | None, typer.Option("--difficulty", metavar="COLUMN")] = None,
    n_train: Annotated[int | None, typer.Option("--n-train", help="Most rows outside the test set.")] = None,
    n_test: Annotated[int | None, typer.Option("--n-test", help="Most rows of the test set.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Rows in both train and test are an error.")] = False,
    weak_penalty: Annotated[str | None, typer.Option("--weak-penalty", metavar="X[,X...]", help="L2 penalties of the supervisor's probe to choose from.")] = None,
    strong_penalty: Annotated[str | None, typer.Option("--strong-penalty", metavar="X[,X...]", help="The same for student and ceiling.")] = None,
    weak_layers: Annotated[str | None, typer.Option("--weak-layers", metavar="all|K[,K...]", help="Choose the supervisor's layer on its own held-out rows.")] = None,
    strong_layers: Annotated[str | None, typer.Option("--strong-layers", metavar="all|K[,K...]", help="Choose the student's layer on weak validation labels (the ceiling's on true ones).")] = None,
    weak_pool: Annotated[str | None, typer.Option("--weak-pool", metavar="mean|last|cls")] = None,
    strong_pool: Annotated[str | None, typer.Option("--strong-pool", metavar="mean|last|cls")] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", help="Longer texts are truncated, and counted.")] = 256,
    precision: Annotated[str, typer.Option("--precision", metavar="auto|float32|bfloat16")] = "auto",
    device: Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda")] = "auto",
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code", help="Let code that comes with weights run.")] = False,
    aux_weight: Annotated[float | None, typer.Option("--aux-weight", help="Method confidence: final share of the student's own guess (0.5).")] = None,
    split_seed: Annotated[int | None, typer.Option("--split-seed", help="Fix the cut of the training rows.")] = None,
    init_seed: Annotated[int | None, typer.Option("--init-seed", help="Fix the initial weights.")] = None,
    order_seed: Annotated[int | None, typer.Option("--order-seed", help="Fix the order of rows in training.")] = None,
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Also write one self-contained HTML file.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and count the steps; compute nothing.")] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """A weak-to-strong study: weak, student, ceiling, gap and PGR, each with its interval."""
    from oversight.resolve import ModelOptions, load_store, prepare
    from oversight.tasks.columns import Columns

    began = time.monotonic()
    shared: dict[str, Any] = {"max_tokens": max_tokens, "precision": precision, "device": device, "remote_code": trust_remote_code}
    setup = prepare(
        task,
        weak=weak,
        strong=strong,
        method=method or ["naive"],
        train=train,
        seeds=seeds,
        tests=_named(test or []),
        metric=metric,
        columns=Columns(text=text, label=label, group=group, difficulty=difficulty),
        strict=strict,
        n_train=n_train,
        n_test=n_test,
        weak_options=ModelOptions(penalties=_numbers("--weak-penalty", weak_penalty), layers=_layers("--weak-layers", weak_layers), pool=weak_pool, **shared),
        strong_options=ModelOptions(penalties=_numbers("--strong-penalty", strong_penalty), layers=_layers("--strong-layers", strong_layers), pool=strong_pool, **shared),
        method_settings={} if aux_weight is None else {"confidence": {"aux_weight": aux_weight}},
        split_seed=split_seed,
        init_seed=init_seed,
        order_seed=order_seed,
    )
    kept = load_store(store)
    if dry_run:
        return _print_plan(setup, kept, as_json)
    result = _run(setup, kept, began)
    if report:
        result.report(report)
    if as_json:
        return _print_json(result.as_json())
    _print_result(result)
    if report:
        typer.echo(f"Report: {report}")


@app.command()
def power(
    gap: Annotated[float, typer.Option("--gap", help="Ceiling minus supervisor that you expect.")],
    n_test: Annotated[int, typer.Option("--n-test", help="Test rows.")],
    seeds: Annotated[int, typer.Option("--seeds")] = 5,
    pgr: Annotated[float, typer.Option("--pgr", help="PGR that you expect.")] = 0.5,
    group_size: Annotated[int, typer.Option("--group-size", help="Test rows per group.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Before running: how likely is PGR to be defined, and how wide will its interval be?"""
    import dataclasses

    from oversight.metrics.power import power as compute

    found = compute(gap=gap, n_test=n_test, seeds=seeds, pgr=pgr, group_size=group_size)
    numbers = dataclasses.asdict(found)
    if as_json:
        return _print_json(_without_nan(numbers))
    for name, value in numbers.items():
        typer.echo(f"{name:24} {value:.3f}" if isinstance(value, float) else f"{name:24} {value}")


@app.command()
def methods(as_json: JsonOption = False) -> None:
    """The methods by name."""
    from oversight.methods import ABOUT

    _print_names(ABOUT, as_json)


@app.command()
def tasks(as_json: JsonOption = False) -> None:
    """The embedded tasks by name."""
    from oversight.tasks import ABOUT

    _print_names(ABOUT, as_json)


@app.command()
def models(as_json: JsonOption = False) -> None:
    """What can stand where a model is asked for."""
    from oversight.models import ABOUT

    _print_names(ABOUT, as_json)


@app.command("ls")
def list_results(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Everything in the store: key, kind, when, seconds."""
    kept = _directory(store)
    rows = [{"key": key, **{name: kept.about(key)[name] for name in ("kind", "made", "seconds")}} for key in kept.keys()]
    if as_json:
        return _print_json({"results": rows})
    for row in sorted(rows, key=lambda row: row["made"]):
        typer.echo(f"{row['key'][:12]}  {row['kind']:10}  {row['made']}  {row['seconds']:8.2f} s")


@app.command()
def show(key: Annotated[str, typer.Argument(metavar="KEY", help="The first characters of a key.")], store: StoreOption = None) -> None:
    """One result of the store: what made it, from what, and what it holds, as JSON."""
    _print_json(_directory(store).about(key))


@app.command()
def verify(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Check every checksum of the store; exit code 1 if something is damaged."""
    kept = _directory(store)
    faults, n = kept.verify(), len(list(kept.keys()))
    if as_json:
        _print_json({"results": n, "damaged": faults})
    else:
        for key, fault in faults.items():
            typer.echo(f"{key}: {fault}")
        typer.echo(f"{n} results, {len(faults)} damaged")
    if faults:
        raise typer.Exit(1)


def _run(setup: Setup, store: Store, began: float) -> Result:
    from dataclasses import replace

    from oversight.runs.store import DirectoryStore
    from oversight.studies.weak_to_strong import run_study

    with _progress() as progress:
        result = run_study(setup, store=store, progress=progress)
    damaged = store.damaged if isinstance(store, DirectoryStore) else []
    for fault in damaged:
        typer.echo(f"oversight: damaged result computed again: {fault}", err=True)
    about: dict[str, Any] = {
        "command": shlex.join(["oversight", *sys.argv[1:]]),
        "versions": _versions(),
        "seconds": round(time.monotonic() - began, 1),
        "store": str(store.path) if isinstance(store, DirectoryStore) else "memory",
    }
    return replace(result, about=about)


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for name in VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar of steps on stderr with what is being done and the time left."""
    from oversight.runs.steps import Progress

    if not sys.stderr.isatty():
        yield Progress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description:36}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        line = bar.add_task("looking in the store", total=None)

        def doing(label: str, done: float) -> None:
            bar.update(line, description=f"{label} {done:.0%}" if done else label)

        yield Progress(
            started=lambda total: bar.update(line, total=total),
            doing=doing,
            finished=lambda n: bar.advance(line, n),
        )


def _print_plan(setup: Setup, store: Store, as_json: bool) -> None:
    from oversight.studies.weak_to_strong import count_steps

    counts = count_steps(setup, store)
    found: dict[str, Any] = {
        "task": setup.task.name,
        "rows": len(setup.task),
        "classes": list(setup.task.class_names),
        "studies": len(setup.arms) * (1 + len(setup.tests)),
        "steps_to_do": counts,
        "warnings": list(setup.task.warnings),
    }
    if as_json:
        return _print_json(found)
    typer.echo(f"{found['task']}: {found['rows']} rows, classes {', '.join(found['classes'])}; {found['studies']} studies")
    typer.echo("steps to do: " + (", ".join(f"{n} {kind}" for kind, n in counts.items()) or "none, all are in the store"))
    for warning in found["warnings"]:
        typer.echo(f"warning: {warning}")


def _print_result(result: Result) -> None:
    from rich.console import Console

    from oversight.reports.tables import as_rich

    Console(highlight=False).print(as_rich(result))


def _print_json(found: Mapping[str, Any]) -> None:
    typer.echo(json.dumps(found, ensure_ascii=False, allow_nan=False, indent=1))


def _print_names(about: Mapping[str, str], as_json: bool) -> None:
    if as_json:
        return _print_json(dict(about))
    for name, line in about.items():
        typer.echo(f"{name:24} {line}")


def _without_nan(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in found.items()}


def _directory(store: str | None) -> Any:
    from oversight.resolve import store_path
    from oversight.runs.store import DirectoryStore

    path = store_path(store)
    if not path.is_dir():
        raise InputError(f"--store {path}: found no such directory, expected one that holds results")
    return DirectoryStore(path)


def _named(tests: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for test in tests:
        name, equals, path = test.partition("=")
        if not (name and equals and path) or name in found:
            raise InputError(f"--test: found '{test}', expected NAME=FILE, each name once")
        found[name] = path
    return found


def _numbers(flag: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{flag}: found '{text}', expected numbers above 0 such as 1e-3,1e-1") from None


def _layers(flag: str, text: str | None) -> tuple[int, ...] | None:
    """None = not asked for; () = all."""
    if text is None or text == "all":
        return None if text is None else ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{flag}: found '{text}', expected 'all' or depths such as 2,4,6") from None
