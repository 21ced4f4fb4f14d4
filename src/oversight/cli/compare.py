"""The command that compares methods."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from oversight.cli import by_task, campaigns, printing
from oversight.cli import option_values as values
from oversight.cli import options as o
from oversight.cli.app import app
from oversight.cli.covers import Covers
from oversight.cli.settings import read_settings
from oversight.cli.studies import about_now

if TYPE_CHECKING:
    from oversight.resolve.compare import Asked, Comparison
    from oversight.resolve.comparing import Compared
    from oversight.runs.store import Store


@app.command()
def compare(
    task: o.ComparedTasks,
    weak: o.OneWeak,
    strong: o.OneStrong,
    methods: o.Methods = "all",
    method: o.FurtherMethod = None,
    train: o.Train = "probe",
    weak_train: o.WeakTrain = None,
    strong_train: o.StrongTrain = None,
    settings: o.ComparedSettings = None,
    seeds: o.Seeds = 5,
    dev: o.Development = None,
    trials: o.Trials = 3,
    family: o.Family = None,
    metric: o.LinearMetric = None,
    covers: Covers = "new-rows",
    text: by_task.TextByTask = None,
    label: by_task.LabelByTask = None,
    group: by_task.GroupByTask = None,
    n_train: o.MostTrain = None,
    n_test: o.MostTest = None,
    near_duplicates: o.NearDuplicates = None,
    near_duplicates_at: o.NearDuplicatesAt = 0.7,
    max_tokens: o.MaxTokens = 256,
    device: o.Device = "auto",
    workers: o.Workers = 1,
    retry_failed: o.RetryFailed = False,
    report: o.BoardReport = None,
    dry_run: o.DryRun = False,
    store: o.Store = None,
    as_json: o.Json = False,
) -> None:
    """A leaderboard of methods: who beats naive training beyond doubt, on all tasks, at what cost."""
    from oversight.reports.leaderboard_exports import check_place
    from oversight.resolve import load_store
    from oversight.resolve.compare import Asked, load_comparison
    from oversight.resolve.sweeps import check_workers

    began = time.monotonic()
    check_workers(workers)
    if report:
        check_place(report)
    by_role, by_method = read_settings(settings or [])
    asked = Asked(
        tasks=tuple(task),
        weak=weak,
        strong=strong,
        methods=(*methods.split(","), *(method or [])),
        train=trains_of_networks(train, weak_train, strong_train, weak=weak, strong=strong),
        seeds=seeds,
        settings=by_role,
        method_settings=by_method,
        development=tuple(dev or []),
        trials=trials,
        families=by_task.families(family or []),
        options={
            **{"metric": metric, "n_train": n_train, "n_test": n_test, "max_tokens": max_tokens, "device": device},
            **values.near_duplicates(near_duplicates, near_duplicates_at),
        },
        covers=covers,
        columns=by_task.columns_by_task(text=text, label=label, group=group),
    )
    comparison = load_comparison(asked)
    kept = load_store(store)
    if dry_run:
        return _dry_run(comparison, kept, workers, as_json)
    compared = _run(comparison, kept, workers, retry_failed, began)
    if compared.board and report:
        compared.board.report(report)
    _answer(compared, kept, as_json)
    if compared.board and report:
        typer.echo(f"Report: {report}", err=as_json)


def trains_of_networks(
    train: str, weak_train: str | None, strong_train: str | None, *, weak: str, strong: str
) -> dict[str, str]:
    """How each role is trained in which there is a network."""
    from oversight.resolve.models import is_network

    found = values.trains(train, weak_train, strong_train, weak=[weak], strong=[strong])
    return {role: found[role] for role, model in (("weak", weak), ("strong", strong)) if is_network(model)}


def _run(comparison: Comparison, kept: Store, workers: int, retry_failed: bool, began: float) -> Compared:
    from oversight.resolve.comparing import run_comparison

    with campaigns.watched("compare") as how:
        found = run_comparison(
            comparison,
            store=kept,
            workers=workers,
            about=about_now(kept),
            retry_failed=retry_failed,
            **how,
        )
    if found.board is None:
        return found
    about = {**found.board.about, "seconds": round(time.monotonic() - began, 1)}
    return replace(found, board=replace(found.board, about=about))


def _answer(compared: Compared, kept: Store, as_json: bool) -> None:
    from oversight.cli.live import print_summary

    failed_trials = [one for one in compared.trials if one.summary.failed]
    for trial in failed_trials:
        print_summary(trial.summary, trial.campaign.graph)
    campaigns.tell_summary(compared.swept, kept)
    if compared.board is not None:
        if as_json:
            printing.print_json(compared.board.as_json())
        else:
            print_board(compared.board)
    campaigns.leave(compared.swept, failed=bool(failed_trials) or compared.board is None)


def print_board(board: Any) -> None:
    """The tables on stdout."""
    from oversight.reports.leaderboard_tables import as_rich

    printing.print_tables(board, as_rich)


def _dry_run(comparison: Comparison, kept: Store, workers: int, as_json: bool) -> None:
    """The graphs of the comparison, under default settings, and of the trials before it, in numbers."""
    from oversight.cli.live import print_dry_run
    from oversight.resolve.sweeps import load_campaign
    from oversight.studies.sweep import count_sweep

    asked: Asked = comparison.asked
    campaign = load_campaign(comparison.plan(asked.method_settings))
    numbers: dict[str, Any] = {"plan": "compare", **count_sweep(campaign, kept, workers=workers)}
    trials = [count_sweep(load_campaign(one), kept, workers=workers) for one in comparison.trial_plans()]
    numbers["trials"] = [{key: one[key] for key in ("studies", "steps", "done")} for one in trials]
    told = {**numbers, "methods": list(comparison.shown.values()), "not_applicable": dict(comparison.not_applicable)}
    if as_json:
        return printing.print_json(told)
    print_dry_run(numbers)
    if trials:
        steps, done = (sum(one[key] for one in trials) for key in ("steps", "done"))
        on = ", ".join(asked.development)
        typer.echo(f"before it {len(trials)} trials on {on}: {steps} steps (some of them shared), {done} there")
    typer.echo(f"methods: {', '.join(told['methods'])}")
    for name, reason in comparison.not_applicable.items():
        typer.echo(f"not applicable: {name}: {reason}")
