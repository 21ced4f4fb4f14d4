"""The command that plants faults of which the result is known."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import typer

from oversight.cli import campaigns, printing
from oversight.cli import option_values as values
from oversight.cli import options as o
from oversight.cli.app import app
from oversight.cli.covers import Covers
from oversight.cli.studies import about_now, check_report

if TYPE_CHECKING:
    from pathlib import Path

    from oversight.resolve.stress import Asked, Stressed
    from oversight.runs.store import Store
    from oversight.studies.planted import Suite


@app.command()
def stress(
    task: o.StressedTask = "reviews",
    weak: o.StressedWeak = "minilm@0",
    strong: o.OneStrong = "minilm@4",
    methods: o.StressMethods = None,
    checks: o.Checks = "all",
    train: o.Train = "probe",
    weak_train: o.WeakTrain = None,
    strong_train: o.StrongTrain = None,
    settings: o.Settings = None,
    seeds: o.Seeds = 5,
    metric: o.Metric = "accuracy",
    covers: Covers = "new-rows",
    text: o.Text = None,
    label: o.Label = None,
    group: o.Group = None,
    n_train: o.MostTrain = None,
    n_test: o.MostTest = None,
    near_duplicates: o.NearDuplicates = None,
    near_duplicates_at: o.NearDuplicatesAt = 0.7,
    max_tokens: o.MaxTokens = 256,
    device: o.Device = "auto",
    workers: o.Workers = 1,
    retry_failed: o.RetryFailed = False,
    report: o.Report = None,
    dry_run: o.DryRun = False,
    store: o.Store = None,
    as_json: o.Json = False,
) -> None:
    """Plant faults of which the result is known, and see whether the study shows it.

    Supervisors that the student can copy, the same number of errors in six places, prompts that say what the supervisor
    thinks, prompts that give the answer away (after appendix E of the paper). Exit code 1: what must hold is
    contradicted.
    """
    from oversight.resolve import load_store
    from oversight.resolve.stress import Asked, load_suite
    from oversight.resolve.sweeps import check_workers
    from oversight.studies.planted import CHECKS

    began = time.monotonic()
    check_workers(workers)
    if report:
        check_report(report)
    asked = Asked(
        task=task,
        weak=weak,
        strong=strong,
        methods=None if methods is None else tuple(methods.split(",")),
        checks=tuple(CHECKS) if checks == "all" else tuple(checks.split(",")),
        seeds=seeds,
        train=values.trains(train, weak_train, strong_train, weak=[weak], strong=[strong]),
        settings=values.settings(settings or [], weak_lr=None, strong_lr=None),
        columns=campaigns.columns(text=text, label=label, group=group),
        metric=metric or "accuracy",
        covers=covers,
        n_train=n_train,
        n_test=n_test,
        max_tokens=max_tokens,
        device=device,
        near_duplicates=near_duplicates,
        near_duplicates_at=near_duplicates_at,
    )
    suite = load_suite(asked)
    kept = load_store(store)
    if dry_run:
        return _dry_run(suite, kept, workers, as_json)
    _answer(_run(asked, suite, kept, workers, retry_failed, began), kept, report, as_json)


def _dry_run(suite: Suite, kept: Store, workers: int, as_json: bool) -> None:
    """The suite's graph in numbers."""
    from oversight.cli.live import print_dry_run
    from oversight.resolve.stress import load_campaign
    from oversight.studies.sweep import count_sweep

    numbers: dict[str, Any] = {"plan": "stress", **count_sweep(load_campaign(suite), kept, workers=workers)}
    if as_json:
        return printing.print_json(
            {**numbers, "left_out": dict(suite.left_out), "methods_left_out": dict(suite.methods_left_out)}
        )
    print_dry_run(numbers)
    for name, why in (*suite.left_out.items(), *suite.methods_left_out.items()):
        typer.echo(f"not applicable: {name}: {why}")


def _run(asked: Asked, suite: Suite, kept: Store, workers: int, retry_failed: bool, began: float) -> Stressed:
    from oversight.resolve.stress import run_stress, with_seconds

    with campaigns.watched("stress") as how:
        found = run_stress(
            asked,
            suite,
            store=kept,
            workers=workers,
            about=about_now(kept),
            retry_failed=retry_failed,
            **how,
        )
    return with_seconds(found, time.monotonic() - began)


def _answer(found: Stressed, kept: Store, report: Path | None, as_json: bool) -> None:
    from oversight.reports.stress import as_rich
    from oversight.reports.stress_exports import write

    stress = found.stress
    if report and stress.result.studies:
        write(stress, report)
    campaigns.tell_summary(found.swept, kept)
    if as_json:
        printing.print_json(stress.as_json())
    elif stress.result.studies:
        printing.print_tables(stress, as_rich)
    if report and stress.result.studies:
        typer.echo(f"Report: {report}", err=as_json)
    campaigns.leave(found.swept, failed=bool(stress.broken))
