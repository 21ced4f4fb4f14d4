"""Commands that run studies."""

from __future__ import annotations

import dataclasses
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from oversight.cli import option_values as values
from oversight.cli import options as o
from oversight.cli import printing
from oversight.cli.app import app
from oversight.cli.covers import Covers
from oversight.cli.settings import of_methods

if TYPE_CHECKING:
    from oversight.reports.result import Result
    from oversight.resolve import ModelOptions
    from oversight.runs.store import Store
    from oversight.studies.weak_to_strong import Setup

VERSIONED = ("oversight", "torch", "transformers", "scikit-learn", "numpy", "scipy")


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
    covers: Covers = "new-rows",
    text: o.Text = None,
    label: o.Label = None,
    group: o.Group = None,
    difficulty: o.Difficulty = None,
    n_train: o.MostTrain = None,
    n_test: o.MostTest = None,
    near_duplicates: o.NearDuplicates = None,
    near_duplicates_at: o.NearDuplicatesAt = 0.7,
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
    theory: o.TellTheory = False,
    dry_run: o.DryRun = False,
    keep_models: o.KeepModels = True,
    store: o.Store = None,
    as_json: o.Json = False,
) -> None:
    """A weak-to-strong study: scores, gap and PGR with intervals."""
    from oversight.resolve import load_store, prepare_all
    from oversight.tasks.columns import Columns

    began = time.monotonic()
    if report:
        check_report(report)
    read = {"max_tokens": max_tokens, "precision": precision, "device": device, "remote_code": trust_remote_code}
    methods = method or ["naive"]
    by_method, of_roles = of_methods(settings or [], methods)
    if aux_weight is not None:
        by_method.setdefault("confidence", {})["aux_weight"] = aux_weight
    setups = prepare_all(
        task,
        weak=weak,
        strong=strong,
        method=methods,
        train=values.trains(train, weak_train, strong_train, weak=weak, strong=strong),
        settings=values.settings(of_roles, weak_lr=weak_lr, strong_lr=strong_lr),
        seeds=seeds,
        tests=values.named_tests(test or []),
        metric=metric,
        covers=covers,
        columns=Columns(text=text, label=label, group=group, difficulty=difficulty),
        strict=strict,
        n_train=n_train,
        n_test=n_test,
        near_duplicates=near_duplicates,
        near_duplicates_at=near_duplicates_at,
        weak_options=_model_options("weak", weak_penalty, weak_layers, weak_pool, read),
        strong_options=_model_options("strong", strong_penalty, strong_layers, strong_pool, read),
        method_settings=by_method,
        split_seed=split_seed,
        init_seed=init_seed,
        order_seed=order_seed,
    )
    if dry_run:
        return printing.print_plan(setups, load_store(store), as_json)
    _answer(setups, load_store(store), began, report, as_json, keep_models, theory=theory)


def _answer(
    setups: Sequence[Setup],
    store: Store,
    began: float,
    report: Path | None,
    as_json: bool,
    keep_models: bool,
    *,
    theory: bool,
) -> None:
    result = run_studies(setups, store, began, keep_models, foretold=theory and not as_json)
    result = dataclasses.replace(result, tells_theory=theory)
    if report:
        result.report(report)
    printing.tell_damaged(store)
    if as_json:
        return printing.print_json(result.as_json())
    printing.print_result(result)
    if report:
        typer.echo(f"Report: {report}")


def _model_options(
    role: str, penalty: str | None, layers: str | None, pool: str | None, shared: Mapping[str, Any]
) -> ModelOptions:
    from oversight.resolve import ModelOptions

    return ModelOptions(
        penalties=values.numbers(f"--{role}-penalty", penalty),
        layers=values.layers(f"--{role}-layers", layers),
        pool=pool,
        **shared,
    )


def check_report(path: Path) -> None:
    """Refuse a place where no report can be written, before anything is computed."""
    from oversight.reports.exports import check_place

    check_place(path)


def run_studies(
    setups: Sequence[Setup], store: Store, began: float, keep_models: bool = True, *, foretold: bool = False
) -> Result:
    """Run a study; `foretold`, the prediction of its gain is printed before ceilings learn and anything is scored."""
    from oversight.studies.foretell import foretell
    from oversight.studies.overlap import overlaps
    from oversight.studies.weak_to_strong import begin_study, finish_study

    about = about_now(store)
    with printing.progress_bar() as progress:
        campaign = begin_study(setups, store=store, about=about, keep_models=keep_models)
        predictions = foretell(campaign, store=store, progress=progress) if foretold else ()
        overlapping = overlaps(campaign, store=store) if foretold else ()
    printing.print_foretold(predictions, overlapping)
    with printing.progress_bar() as progress:
        result = finish_study(campaign, store=store, progress=progress, about=about)
    told = campaign.from_store
    found = {} if told is None else {"from_store": [str(told), *told.notes]}
    return dataclasses.replace(result, about={**result.about, **found, "seconds": round(time.monotonic() - began, 1)})


def about_now(store: Store) -> dict[str, Any]:
    """By which command, with what and where."""
    from oversight.runs.store import DirectoryStore

    return {
        "command": shlex.join(["oversight", *sys.argv[1:]]),
        "versions": _versions(),
        "store": str(store.path) if isinstance(store, DirectoryStore) else "memory",
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for name in VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
