"""The command that mixes bought true labels with weak ones."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oversight.cli import campaigns, printing
from oversight.cli import option_values as values
from oversight.cli import options as o
from oversight.cli.app import app
from oversight.cli.compare import trains_of_networks
from oversight.cli.covers import Covers
from oversight.cli.settings import read_settings
from oversight.cli.studies import about_now
from oversight.errors import InputError

if TYPE_CHECKING:
    from oversight.resolve.budgeting import Budget, Budgeted
    from oversight.runs.store import Store

Weak = Annotated[
    str,
    typer.Option("--weak", metavar="MODEL", help="Who labels; planted errors: flipped:RATE, planted:STRUCTURE:RATE."),
]
TrueLabels = Annotated[
    str, typer.Option("--true", metavar="auto|N,N,...,all", help="Numbers of bought true labels of transfer rows.")
]
WeakLabels = Annotated[
    str,
    typer.Option("--weak-labels", metavar="auto|N,N,...,all", help="Numbers of weak labels of other transfer rows."),
]
CostTrue = Annotated[float, typer.Option("--cost-true", metavar="X", help="Of one true label.")]
CostWeak = Annotated[float, typer.Option("--cost-weak", metavar="X", help="Of one weak label.")]
Mix = Annotated[
    str,
    typer.Option(
        "--mix",
        metavar="NAME[,NAME...]",
        help="How the two kinds are combined: weighted, or pooled: all count alike.",
    ),
]
Weight = Annotated[
    str | None,
    typer.Option("--weight", metavar="X[,X...]", help="Of a true label, under weighted; of several the best is kept."),
]
Buy = Annotated[
    str,
    typer.Option("--buy", metavar="rows|groups", help="Whether true labels are bought of single rows or whole groups."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="[ROLE.]NAME=VALUE",
        help="A setting of fine-tuning, such as epochs=3, strong.rank=16. Repeatable.",
    ),
]
Report = Annotated[
    Path | None, typer.Option("--report", metavar="FILE", help="Also write it to a file: .html, .md or .json.")
]


@app.command()
def budget(
    task: o.Task,
    weak: Weak,
    strong: o.OneStrong,
    true: TrueLabels = "auto",
    weak_labels: WeakLabels = "auto",
    cost_true: CostTrue = 10.0,
    cost_weak: CostWeak = 1.0,
    mix: Mix = "weighted",
    weight: Weight = None,
    buy: Buy = "rows",
    train: o.Train = "probe",
    weak_train: o.WeakTrain = None,
    strong_train: o.StrongTrain = None,
    settings: Settings = None,
    seeds: o.Seeds = 5,
    metric: o.LinearMetric = None,
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
    report: Report = None,
    dry_run: o.DryRun = False,
    store: o.Store = None,
    as_json: o.Json = False,
) -> None:
    """What n bought true labels and m weak ones give together, and the frontier of score against cost."""
    from oversight.methods.mixing import WEIGHTS
    from oversight.reports.budget import Prices
    from oversight.reports.budget_exports import check_place
    from oversight.resolve import load_store
    from oversight.resolve.budgeting import Wanted, load_budget, read_numbers
    from oversight.resolve.compare import NAIVE, Asked
    from oversight.resolve.sweeps import check_workers
    from oversight.studies.budget import Mixing

    began = time.monotonic()
    check_workers(workers)
    if report:
        check_place(report)
    asked = Asked(
        tasks=(task,),
        weak=weak,
        strong=strong,
        methods=(NAIVE,),
        train=trains_of_networks(train, weak_train, strong_train, weak=weak, strong=strong),
        seeds=seeds,
        settings=_settings(settings or []),
        options={
            **{"metric": metric, "n_train": n_train, "n_test": n_test, "max_tokens": max_tokens, "device": device},
            **values.near_duplicates(near_duplicates, near_duplicates_at),
        },
        covers=covers,
        columns={"": campaigns.columns(text=text, label=label, group=group)},
    )
    wanted = Wanted(
        study=asked,
        true=read_numbers("--true", true),
        weak=read_numbers("--weak-labels", weak_labels),
        mixing=Mixing(ways=tuple(mix.split(",")), by=buy, weights=values.numbers("--weight", weight) or WEIGHTS),
        prices=Prices(true=cost_true, weak=cost_weak),
    )
    found = load_budget(wanted)
    kept = load_store(store)
    if dry_run:
        return _dry_run(found, kept, workers, as_json)
    budgeted = _run(found, kept, workers, retry_failed, began)
    if budgeted.curve and report:
        budgeted.curve.report(report)
    _answer(budgeted, kept, as_json)
    if budgeted.curve and report:
        typer.echo(f"Report: {report}", err=as_json)


def _settings(texts: list[str]) -> dict[str, dict[str, Any]]:
    by_role, by_method = read_settings(texts)
    if by_method:
        name = next(iter(by_method))
        raise InputError(f"--set {name}: found the owner '{name}', expected weak or strong")
    return by_role


def _run(found: Budget, kept: Store, workers: int, retry_failed: bool, began: float) -> Budgeted:
    from oversight.resolve.budgeting import run_budget

    with campaigns.watched("budget") as how:
        budgeted = run_budget(
            found,
            store=kept,
            workers=workers,
            about=about_now(kept),
            retry_failed=retry_failed,
            **how,
        )
    if budgeted.curve is None:
        return budgeted
    about = {**budgeted.curve.about, "seconds": round(time.monotonic() - began, 1)}
    return replace(budgeted, curve=replace(budgeted.curve, about=about))


def _answer(budgeted: Budgeted, kept: Store, as_json: bool) -> None:
    campaigns.tell_summary(budgeted.swept, kept)
    if budgeted.curve is not None:
        if as_json:
            printing.print_json(budgeted.curve.as_json())
        else:
            _print(budgeted.curve)
    campaigns.leave(budgeted.swept, failed=budgeted.curve is None)


def _print(curve: Any) -> None:
    from oversight.reports.budget_tables import as_rich

    printing.print_tables(curve, as_rich)


def _dry_run(found: Budget, kept: Store, workers: int, as_json: bool) -> None:
    """The graph of the grid in numbers, and the cells with their costs."""
    from oversight.cli.live import print_dry_run
    from oversight.studies.sweep import count_sweep

    numbers: dict[str, Any] = {"plan": "budget", **count_sweep(found.campaign(), kept, workers=workers)}
    costs = found.costs()
    if as_json:
        return printing.print_json({**numbers, "cells": costs, "left_out": dict(found.left_out)})
    print_dry_run(numbers)
    for name, cost in costs.items():
        typer.echo(f"cell: {name}: {cost:,.0f}")
    for name, reason in found.left_out.items():
        typer.echo(f"left out: {name}: {reason}")
