"""Commands: parse, call, print. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import io
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from oversight import options as o
from oversight import printing
from oversight.errors import InputError, OversightError

if TYPE_CHECKING:
    from oversight.reports.result import Result
    from oversight.resolve import ModelOptions
    from oversight.runs.store import DirectoryStore, Store
    from oversight.studies.weak_to_strong import Setup

app = typer.Typer(
    name="oversight",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

VERSIONED = ("oversight", "torch", "transformers", "scikit-learn", "numpy", "scipy")
INTERRUPTED = 130
STOPPED = "stopped; finished steps are kept, the same command continues"


def run() -> None:
    """The console command: one line for what the user can mend, exit code 2 for bad input, 1 for a failure."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without Unicode gets the table all the same
    usage_error = cast(type[Exception], typer.BadParameter.__base__)
    try:
        code = app(prog_name="oversight", standalone_mode=False) or 0
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except OversightError as error:
        code = _refuse(str(error), error.exit_code)
    except usage_error as error:
        code = _misused(error)
    if code == INTERRUPTED:
        _refuse(STOPPED, code)
    sys.exit(code)


def _refuse(line: str, code: int) -> int:
    typer.echo(f"oversight: {line}", err=True)
    return code


def _misused(error: Any) -> int:
    """A command line that cannot be parsed; without any command its message is the help."""
    message: str = error.format_message()
    if "\n" in message.strip():
        typer.echo(message, err=True)
        return error.exit_code
    path = error.ctx.command_path if error.ctx else "oversight"
    return _refuse(f"{message.rstrip('.')}; see {path} --help", error.exit_code)


@app.callback(invoke_without_command=True)
def main(context: typer.Context, version: o.Version = False) -> None:
    """How much of a strong model's ability can a weaker supervisor bring out, and how do you know?"""
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"oversight {installed('oversight')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


@app.command()
def demo(out: o.Out = Path(), store: o.Store = None, as_json: o.Json = False) -> None:
    """A complete study on embedded text with an embedded encoder: no download, about a minute."""
    from oversight.resolve import check_folder, load_store, prepare
    from oversight.studies import demo as study

    began = time.monotonic()
    check_folder(out, flag="--out")
    setup = prepare("reviews", weak=study.WEAK, strong=study.STRONG, method=study.METHODS, seeds=study.SEEDS)
    kept = load_store(store)
    result = study.with_notes(_run(setup, kept, began))
    out.mkdir(parents=True, exist_ok=True)
    report = result.report(out / "report.html")
    printing.tell_damaged(kept)
    if as_json:
        return printing.print_json(result.as_json())
    printing.print_demo(result, report, study.NEXT)


@app.command()
def w2s(
    task: o.Task,
    weak: o.Weak,
    strong: o.Strong,
    method: o.Method = None,
    train: o.Train = "probe",
    weak_train: o.WeakTrain = None,
    strong_train: o.StrongTrain = None,
    weak_lr: o.WeakLr = None,
    strong_lr: o.StrongLr = None,
    settings: o.Settings = None,
    seeds: o.Seeds = 5,
    test: o.Test = None,
    metric: o.Metric = None,
    text: o.Text = None,
    label: o.Label = None,
    group: o.Group = None,
    difficulty: o.Difficulty = None,
    n_train: o.MostTrain = None,
    n_test: o.MostTest = None,
    strict: o.Strict = False,
    weak_penalty: o.WeakPenalty = None,
    strong_penalty: o.StrongPenalty = None,
    weak_layers: o.WeakLayers = None,
    strong_layers: o.StrongLayers = None,
    weak_pool: o.WeakPool = None,
    strong_pool: o.StrongPool = None,
    max_tokens: o.MaxTokens = 256,
    precision: o.Precision = "auto",
    device: o.Device = "auto",
    trust_remote_code: o.RemoteCode = False,
    aux_weight: o.AuxWeight = None,
    split_seed: o.SplitSeed = None,
    init_seed: o.InitSeed = None,
    order_seed: o.OrderSeed = None,
    report: o.Report = None,
    dry_run: o.DryRun = False,
    keep_models: o.KeepModels = True,
    store: o.Store = None,
    as_json: o.Json = False,
) -> None:
    """A weak-to-strong study: weak, student, ceiling, gap and PGR, each with its interval."""
    from oversight.resolve import load_store, prepare
    from oversight.tasks.columns import Columns

    began = time.monotonic()
    if report:
        _check_report(report)
    read = {"max_tokens": max_tokens, "precision": precision, "device": device, "remote_code": trust_remote_code}
    setup = prepare(
        task,
        weak=weak,
        strong=strong,
        method=method or ["naive"],
        train=o.trains(train, weak_train, strong_train, weak=weak, strong=strong),
        settings=o.settings(settings or [], weak_lr=weak_lr, strong_lr=strong_lr),
        seeds=seeds,
        tests=o.named_tests(test or []),
        metric=metric,
        columns=Columns(text=text, label=label, group=group, difficulty=difficulty),
        strict=strict,
        n_train=n_train,
        n_test=n_test,
        weak_options=_model_options("weak", weak_penalty, weak_layers, weak_pool, read),
        strong_options=_model_options("strong", strong_penalty, strong_layers, strong_pool, read),
        method_settings={} if aux_weight is None else {"confidence": {"aux_weight": aux_weight}},
        split_seed=split_seed,
        init_seed=init_seed,
        order_seed=order_seed,
    )
    if dry_run:
        return printing.print_plan(setup, load_store(store), as_json)
    _answer(setup, load_store(store), began, report, as_json, keep_models)


def _answer(
    setup: Setup, store: Store, began: float, report: Path | None, as_json: bool, keep_models: bool = True
) -> None:
    result = _run(setup, store, began, keep_models)
    if report:
        result.report(report)
    printing.tell_damaged(store)
    if as_json:
        return printing.print_json(result.as_json())
    printing.print_result(result)
    if report:
        typer.echo(f"Report: {report}")


@app.command()
def power(
    gap: o.Gap,
    n_test: o.TestRows,
    seeds: o.TrainedSeeds = 5,
    pgr: o.Pgr = 0.5,
    group_size: o.GroupSize = 1,
    as_json: o.Json = False,
) -> None:
    """Before running: how likely is PGR to be defined, and how wide will its interval be?"""
    import dataclasses

    from oversight.metrics.power import power as compute

    found = compute(gap=gap, n_test=n_test, seeds=seeds, pgr=pgr, group_size=group_size)
    printing.print_numbers(dataclasses.asdict(found), as_json)


@app.command()
def methods(as_json: o.Json = False) -> None:
    """The methods by name."""
    from oversight.methods import ABOUT

    printing.print_names(ABOUT, as_json)


@app.command()
def tasks(as_json: o.Json = False) -> None:
    """The embedded tasks by name."""
    from oversight.tasks import ABOUT

    printing.print_names(ABOUT, as_json)


@app.command()
def models(as_json: o.Json = False) -> None:
    """What can stand where a model is asked for."""
    from oversight.models import ABOUT

    printing.print_names(ABOUT, as_json)


@app.command("ls")
def list_results(store: o.Store = None, as_json: o.Json = False) -> None:
    """Everything in the store: key, kind, when, seconds."""
    kept = _directory(store)
    rows = [_entry(kept, key) for key in sorted(kept.keys())]
    if as_json:
        return printing.print_json({"results": rows})
    for row in sorted(rows, key=lambda row: row["made"]):
        typer.echo(f"{row['key'][:12]}  {row['kind']:10}  {row['made']}  {row['seconds']:8.2f} s")


def _entry(kept: DirectoryStore, key: str) -> dict[str, Any]:
    try:
        return {"key": key, **{name: kept.about(key)[name] for name in ("kind", "made", "seconds")}}
    except OversightError:
        return {"key": key, "kind": "damaged", "made": "", "seconds": 0.0}


@app.command()
def show(key: o.Key, store: o.Store = None) -> None:
    """One result of the store: what made it, from what, and what it holds, as JSON."""
    printing.print_json(_directory(store).about(key))


@app.command()
def verify(store: o.Store = None, as_json: o.Json = False) -> None:
    """Check every checksum of the store; exit code 1 if something is damaged."""
    kept = _directory(store)
    faults, n = kept.verify(), len(list(kept.keys()))
    if as_json:
        printing.print_json({"results": n, "damaged": faults})
    else:
        for key, fault in faults.items():
            typer.echo(f"{key}: {fault}")
        typer.echo(f"{n} results, {len(faults)} damaged")
    if faults:
        raise typer.Exit(1)


def _model_options(
    role: str, penalty: str | None, layers: str | None, pool: str | None, shared: Mapping[str, Any]
) -> ModelOptions:
    from oversight.resolve import ModelOptions

    return ModelOptions(
        penalties=o.numbers(f"--{role}-penalty", penalty),
        layers=o.layers(f"--{role}-layers", layers),
        pool=pool,
        **shared,
    )


def _check_report(path: Path) -> None:
    from oversight.reports.html import check_place

    check_place(path)


def _run(setup: Setup, store: Store, began: float, keep_models: bool = True) -> Result:
    from dataclasses import replace

    from oversight.runs.store import DirectoryStore
    from oversight.studies.weak_to_strong import run_study

    with printing.progress_bar() as progress:
        result = run_study(setup, store=store, progress=progress, keep_models=keep_models)
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


def _directory(store: str | None) -> DirectoryStore:
    from oversight.resolve import store_path
    from oversight.runs.store import DirectoryStore

    path = store_path(store)
    if not path.is_dir():
        raise InputError(f"--store {path}: found no such directory, expected one that holds results")
    return DirectoryStore(path)
