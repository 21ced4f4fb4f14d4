"""The command that runs a grid of studies."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from oversight.cli import campaigns, printing
from oversight.cli import options as o
from oversight.cli.app import app
from oversight.cli.covers import SweepCovers
from oversight.cli.studies import about_now, check_report
from oversight.errors import InputError

if TYPE_CHECKING:
    from oversight.resolve.sweep_plan import SweepPlan
    from oversight.runs.store import Store
    from oversight.studies.sweep import Swept

GIGABYTE = 1e9
JOBS = "jobs"
SHOWN_JOBS = 8


@app.command()
def sweep(
    plan: o.PlanFile = None,
    preset: o.Preset = None,
    task: o.SweepTask = None,
    seeds: o.SweepSeeds = None,
    covers: SweepCovers = None,
    workers: o.Workers = 1,
    ray: o.Ray = None,
    slurm: o.Slurm = None,
    slurm_set: o.SlurmSettings = None,
    gpu_share: o.GpuShare = 1.0,
    memory: o.Memory = None,
    dry_run: o.SweepDryRun = False,
    retry_failed: o.RetryFailed = False,
    report: o.Report = None,
    print_plan: o.PrintPlan = False,
    store: o.Store = None,
    as_json: o.Json = False,
) -> None:
    """A grid of studies by a plan. Asked again after whatever happened, it goes on."""
    from oversight.resolve import load_store

    began = time.monotonic()
    asked = _plan(plan, preset, task, seeds, covers)
    if print_plan:
        _refuse("--print", {"--task": task, "--seeds": seeds, "--covers": covers})
        return typer.echo(asked.text.rstrip())
    _check(workers, memory, ray=ray, slurm=slurm, slurm_set=slurm_set, gpu_share=gpu_share, report=report)
    kept = load_store(store)
    if dry_run:
        return _dry_run(asked, kept, workers, as_json)
    if slurm is not None:
        chosen = {"--preset": preset, "--seeds": seeds, "--covers": covers, "--workers": workers, "--memory": memory}
        words = [str(plan.absolute())] if plan else []
        words += [word for name, value in chosen.items() if value is not None for word in (name, str(value))]
        words += [word for one in task or [] for word in ("--task", one)] + ["--retry-failed"] * retry_failed
        return _submit(asked, kept, words, slurm, slurm_set or [], as_json)
    swept = _run(asked, kept, workers, ray, gpu_share, memory, retry_failed, began)
    _answer(swept, kept, report, as_json)


def _plan(
    plan: Path | None, preset: str | None, tasks: list[str] | None, seeds: int | None, covers: str | None
) -> SweepPlan:
    from oversight.resolve import plans

    if (plan is None) == (preset is None):
        found = "neither" if plan is None else "both"
        raise InputError(f"sweep: found {found} of PLAN.toml and --preset, expected one of them")
    asked = plans.preset(preset) if preset is not None else plans.read_plan(plan or Path())
    return plans.override(asked, tasks=tasks or None, seeds=seeds, covers=covers)


def _check(
    workers: int,
    memory: float | None,
    *,
    ray: str | None,
    slurm: int | None,
    slurm_set: list[str] | None,
    gpu_share: float,
    report: Path | None,
) -> None:
    """Refuse what makes no sense, and what would be ignored, before anything is read or written."""
    from oversight.resolve.sweeps import check_workers

    check_workers(workers, gpu_share)
    if memory is not None and not 0 < memory * GIGABYTE < math.inf:
        raise InputError(f"--memory: found {memory}, expected gigabytes above 0")
    if ray is None and gpu_share != 1:
        raise InputError("--gpu-share: found no --ray, expected one; local processes share GPUs by themselves")
    if slurm is None and slurm_set:
        raise InputError(f"--slurm-set: found {slurm_set[0]} without --slurm, expected --slurm N")
    if slurm is not None:
        _refuse("--slurm", {"--ray": ray, "--report": report})
    if report:
        check_report(report)


def _refuse(flag: str, others: dict[str, Any]) -> None:
    for name, given in others.items():
        if given is not None:
            raise InputError(f"{flag}: found {name} too, expected one of them")


def _dry_run(asked: SweepPlan, kept: Store, workers: int, as_json: bool) -> None:
    from oversight.cli.live import print_dry_run
    from oversight.resolve.sweeps import load_campaign
    from oversight.studies.sweep import count_sweep

    numbers: dict[str, Any] = {"plan": asked.name, **count_sweep(load_campaign(asked), kept, workers=workers)}
    printing.print_json(numbers) if as_json else print_dry_run(numbers)


def _run(
    asked: SweepPlan,
    kept: Store,
    workers: int,
    ray: str | None,
    gpu_share: float,
    memory: float | None,
    retry_failed: bool,
    began: float,
) -> Swept:
    from dataclasses import replace

    from oversight.resolve.sweeps import run_plan

    with campaigns.watched(f"sweep {asked.name}") as how:
        swept = run_plan(
            asked,
            store=kept,
            workers=workers,
            ray=ray,
            gpu_share=gpu_share,
            memory_bytes=None if memory is None else int(memory * GIGABYTE),
            about=about_now(kept),
            retry_failed=retry_failed,
            **how,
        )
    about = {**swept.result.about, "seconds": round(time.monotonic() - began, 1)}
    return replace(swept, result=replace(swept.result, about=about))


def _answer(swept: Swept, kept: Store, report: Path | None, as_json: bool) -> None:
    if report and swept.result.studies:
        swept.result.report(report)
    elif report:
        typer.echo(f"oversight: {report}: not written, as no study is finished", err=True)
    campaigns.tell_summary(swept, kept)
    if as_json:
        printing.print_json({**_as_list(swept), "unfinished": swept.unfinished, "failed": dict(swept.summary.failed)})
    else:
        printing.print_studies(swept.result, report)
    campaigns.leave(swept)


def _as_list(swept: Swept) -> dict[str, Any]:
    return {"studies": [study.as_json() for study in swept.result.studies]}


def _submit(asked: SweepPlan, kept: Store, words: list[str], n: int, settings: list[str], as_json: bool) -> None:
    """Jobs that run this command on this store; what they find to do they share by claims."""
    from oversight.resolve.sweeps import load_campaign
    from oversight.runs.pools import slurm
    from oversight.runs.store import DirectoryStore

    if not isinstance(kept, DirectoryStore):
        raise InputError("--store: found one in memory, expected a directory in which the jobs can meet")
    load_campaign(asked)
    store = kept.path.absolute()
    command = [sys.executable, "-P", "-m", "oversight", "sweep", *words, "--store", str(store)]
    parameters = slurm.read_parameters(settings)
    cluster = str(parameters.pop("cluster", "slurm"))
    jobs = slurm.submit(command, n, folder=store / JOBS, cluster=cluster, parameters=parameters)
    if as_json:
        return printing.print_json({"jobs": list(jobs.ids), "logs": str(jobs.folder), "cancel": jobs.cancel_command})
    typer.echo(f"{len(jobs.ids)} jobs submitted: {', '.join(jobs.ids[:SHOWN_JOBS])}{' ...' * (n > SHOWN_JOBS)}")
    typer.echo("how things stand: the same command with --dry-run in place of --slurm")
    typer.echo(f"results so far: oversight report -o report.html --store {store}")
    typer.echo(f"logs: {jobs.folder}; to end them: {jobs.cancel_command}")
