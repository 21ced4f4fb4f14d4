"""A plan becomes a graph of steps, and the workers that do them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from oversight.errors import InputError
from oversight.models.finetune.memory import available_bytes
from oversight.reports.result import Result
from oversight.resolve.plans import from_document, override, read_plan, setups
from oversight.resolve.stores import load_store
from oversight.resolve.sweep_plan import SweepPlan
from oversight.runs.drive import Stop
from oversight.runs.graph import Graph
from oversight.runs.pools.pool import Blueprint, Pool, Status
from oversight.runs.store import DirectoryStore, Store
from oversight.studies.sweep import Swept, run_sweep
from oversight.studies.weak_to_strong import Campaign, plan_studies

BUILDER = "oversight.resolve.sweeps:graph_of"
MOST_WORKERS = 4096
GPUS = Path("/proc/driver/nvidia/gpus")


def load_campaign(plan: SweepPlan, *, here: bool = True) -> Campaign:
    """Everything that a plan names is found and checked; nothing is computed or written.

    Args:
        plan: what is asked for.
        here: whether the networks are to work on this machine.

    Raises:
        InputError: one line on what is wrong.
    """
    return plan_studies(setups(plan, here=here), keep_models=plan.keep_models)


def graph_of(document: Mapping[str, Any]) -> Graph:
    """The graph that another process was given as a plan's document."""
    return load_campaign(from_document(dict(document)), here=False).graph


def check_workers(workers: int, gpu_share: float = 1.0) -> None:
    """Refuse numbers that make no sense.

    Raises:
        InputError: one of them.
    """
    if not 1 <= workers <= MOST_WORKERS:
        raise InputError(f"--workers: found {workers}, expected 1 to {MOST_WORKERS}")
    if not 0 < gpu_share <= 1:
        raise InputError(f"--gpu-share: found {gpu_share}, expected above 0 and at most 1")


def load_pool(
    plan: SweepPlan, store: Store, *, workers: int = 1, ray: str | None = None, gpu_share: float = 1.0
) -> Callable[[], Pool] | None:
    """Makes the workers when they are needed; None = this process works alone.

    Args:
        plan: that every worker builds its graph from.
        store: where they meet.
        workers: local processes, or the most that work at once on a cluster (1 = as many as it has cores).
        ray: `local`, or the address of a cluster.
        gpu_share: of a GPU for each step that works on one, on a cluster.

    Raises:
        InputError: several workers without a directory to meet in, or a number that makes no sense.
    """
    check_workers(workers, gpu_share)
    if workers == 1 and ray is None:
        return None
    blueprint = _blueprint(BUILDER, plan.document(), store)
    if ray is None:
        return lambda: _processes(blueprint, workers)

    def on_ray() -> Pool:
        from oversight.runs.pools.ray import RayPool

        return RayPool(blueprint, ray, most=None if workers == 1 else workers, gpu_share=gpu_share)

    return on_ray


def local_pool(builder: str, document: Mapping[str, Any], store: Store, *, workers: int) -> Callable[[], Pool] | None:
    """Local processes that build the graph of a document by `builder`; None = this process works alone.

    Raises:
        InputError: as `load_pool`.
    """
    check_workers(workers)
    if workers == 1:
        return None
    blueprint = _blueprint(builder, document, store)
    return lambda: _processes(blueprint, workers)


def _blueprint(builder: str, document: Mapping[str, Any], store: Store) -> Blueprint:
    if not isinstance(store, DirectoryStore):
        raise InputError("--store: found one in memory, expected a directory in which the workers can meet")
    return Blueprint(builder=builder, document=document, store=str(store.path.absolute()))


def _processes(blueprint: Blueprint, n: int) -> Pool:
    from oversight.runs.pools.processes import Processes

    return Processes(blueprint, n, cores=cores(), gpus=gpus())


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """Names for CUDA_VISIBLE_DEVICES of the GPUs that this process may use; no library is loaded for it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in re.split(r"\s*,\s*", visible.strip()) if name not in {"", "-1"}]
    return [str(i) for i in range(len(list(GPUS.iterdir())))] if GPUS.is_dir() else []


def sweep(
    plan: str | Path | SweepPlan,
    *,
    store: str | Path | Store | None = None,
    workers: int = 1,
    ray: str | None = None,
    retry_failed: bool = False,
    watch: Callable[[Status], None] | None = None,
    covers: str | None = None,
) -> Result:
    """A grid of studies by a plan in TOML; what fails is left out of the result and written down in the store.

    Args:
        plan: a file, or a plan as it is.
        store: as in `weak_to_strong`.
        workers: local processes.
        ray: `local`, or the address of a cluster.
        retry_failed: whether steps that failed in an earlier run are tried again.
        watch: shown how things stand, at most five times a second.
        covers: `new-rows` or `these-rows`, as in `weak_to_strong`; None = as the plan says.

    Returns:
        The finished studies.

    Raises:
        InputError: one line on what is wrong with the plan; nothing was computed or written.
    """
    asked = plan if isinstance(plan, SweepPlan) else read_plan(Path(plan))
    return run_plan(
        override(asked, covers=covers),
        store=load_store(store),
        workers=workers,
        ray=ray,
        retry_failed=retry_failed,
        watch=watch,
    ).result


def run_plan(
    plan: SweepPlan,
    *,
    store: Store,
    workers: int = 1,
    ray: str | None = None,
    gpu_share: float = 1.0,
    memory_bytes: int | None = None,
    about: Mapping[str, Any] | None = None,
    retry_failed: bool = False,
    watch: Callable[[Status], None] | None = None,
    stop: Stop | None = None,
) -> Swept:
    """`sweep` with everything that the command line can ask for; see `run_sweep` and `load_pool`.

    `memory_bytes` None = what is free on this machine; on a cluster Ray keeps the accounts.
    """
    if memory_bytes is None and ray is None:
        memory_bytes = available_bytes("cpu")
    pool = load_pool(plan, store, workers=workers, ray=ray, gpu_share=gpu_share)
    return run_sweep(
        load_campaign(plan, here=ray is None),
        title=f"sweep {plan.name}",
        store=store,
        pool=pool,
        about={**(about or {}), "plan": plan.text},
        watch=watch,
        retry_failed=retry_failed,
        memory_bytes=memory_bytes,
        stop=stop,
    )
