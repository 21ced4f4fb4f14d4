"""What is to be put under stress becomes planted studies, and the workers that do them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from oversight.errors import InputError, unknown
from oversight.methods.method import check_needs
from oversight.metrics.pool import NEW_ROWS
from oversight.models.finetune.memory import available_bytes
from oversight.reports.stress import Stress
from oversight.resolve.models import ModelOptions
from oversight.resolve.stores import load_store
from oversight.resolve.studies import prepare
from oversight.resolve.sweeps import local_pool
from oversight.runs.drive import Stop
from oversight.runs.graph import Graph
from oversight.runs.pools.pool import Status
from oversight.runs.store import Store
from oversight.studies.planted import CHECKS, NAIVE, Suite, suite_of
from oversight.studies.stress import stress_of
from oversight.studies.sweep import Swept, run_sweep
from oversight.studies.weak_to_strong import Arm, Campaign, Setup, plan_studies
from oversight.tasks.columns import Columns
from oversight.tasks.joining import USUAL
from oversight.tasks.task import Task

BUILDER = "oversight.resolve.stress:graph_of"
METHODS = (NAIVE, "confidence")
TASK, WEAK, STRONG = "reviews", "minilm@0", "minilm@4"
SEVERAL = ("methods", "checks")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A stress suite as it was asked for.

    Attributes:
        task: as in `load_task`.
        weak, strong: one supervisor, one student.
        methods: by name; `naive` is always among them, as theory speaks of it. None = those of METHODS that apply.
        checks: of CHECKS.
        seeds: trainings of every role.
        train: by role (`weak`, `strong`), how it is trained; empty = probes.
        settings: of recipes, for `weak`, `strong`, `both`.
        columns: of the task: `text`, `label`, `group`.
        metric: of gap and PGR in the tables.
        n_train, n_test: most rows outside and inside the test set.
        max_tokens, device: of both roles.
        near_duplicates, near_duplicates_at: as in `load_task`.
        covers: of what intervals speak: `new-rows` or `these-rows`.
    """

    task: str | Task = TASK
    weak: str = WEAK
    strong: str = STRONG
    methods: tuple[str, ...] | None = None
    checks: tuple[str, ...] = tuple(CHECKS)
    seeds: int = 5
    train: Mapping[str, str] = field(default_factory=dict[str, str])
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    metric: str = "accuracy"
    n_train: int | None = None
    n_test: int | None = None
    max_tokens: int = 256
    device: str = "auto"
    near_duplicates: str | None = None
    near_duplicates_at: float = USUAL.at
    covers: str = NEW_ROWS

    def document(self) -> dict[str, Any]:
        """JSON from which another process builds the same suite.

        Raises:
            InputError: the task is an object.
        """
        if isinstance(self.task, Task):
            raise InputError(f"workers: found the task {self.task.name} as an object, expected a name or a path")
        return {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}


def load_suite(asked: Asked) -> Suite:
    """Find and check everything that is named; nothing is computed or written.

    Raises:
        InputError: one line on what is wrong.
    """
    for check in asked.checks:
        if check not in CHECKS:
            raise unknown("check", check, CHECKS)
    options = ModelOptions(max_tokens=asked.max_tokens, device=asked.device)
    setup = prepare(
        asked.task,
        weak=asked.weak,
        strong=asked.strong,
        method=list(dict.fromkeys((NAIVE, *(METHODS if asked.methods is None else asked.methods)))),
        train=dict(asked.train) or None,
        settings=asked.settings,
        seeds=asked.seeds,
        metric=asked.metric,
        covers=asked.covers,
        columns=Columns(**asked.columns),
        n_train=asked.n_train,
        n_test=asked.n_test,
        near_duplicates=asked.near_duplicates,
        near_duplicates_at=asked.near_duplicates_at,
        weak_options=options,
        strong_options=options,
    )
    setup, refused = _applying(setup) if asked.methods is None else (setup, {})
    return replace(suite_of(setup, checks=asked.checks), methods_left_out=refused)


def _applying(setup: Setup) -> tuple[Setup, dict[str, str]]:
    """The setup with naive training and what else this student takes, and why it does not take the others."""
    kept, refused = list[Arm](), dict[str, str]()
    for arm in setup.arms:
        name, n_supervisors = arm.method_name, len(arm.supervisors)
        try:
            if name != NAIVE:
                n_classes = setup.task.n_classes
                check_needs(name, arm.method, arm.student, n_supervisors=n_supervisors, n_classes=n_classes)
            kept.append(arm)
        except InputError as error:
            refused[name] = str(error).removeprefix(f"method {name}: ")
    return replace(setup, arms=tuple(kept)), refused


def load_campaign(suite: Suite) -> Campaign:
    """All studies of the suite as one graph."""
    return plan_studies(suite.setups)


def graph_of(document: Mapping[str, Any]) -> Graph:
    """The graph that another process was given as a document."""
    own: dict[str, Any] = {
        name: tuple(value) if name in SEVERAL and value is not None else value for name, value in document.items()
    }
    return load_campaign(load_suite(Asked(**own))).graph


@dataclass(frozen=True, kw_only=True)
class Stressed:
    """What a suite gave."""

    stress: Stress
    swept: Swept


def run_stress(
    asked: Asked,
    suite: Suite,
    *,
    store: Store,
    workers: int = 1,
    about: Mapping[str, Any] | None = None,
    retry_failed: bool = False,
    watch: Callable[[Status], None] | None = None,
    stop: Stop | None = None,
) -> Stressed:
    """Run what the store does not have, and read what it shows; arguments as in `run_sweep`."""
    campaign = load_campaign(suite)
    swept = run_sweep(
        campaign,
        title=f"stress {suite.setups[0].task.name}",
        store=store,
        pool=None if workers == 1 else local_pool(BUILDER, asked.document(), store, workers=workers),
        about=about,
        watch=watch,
        retry_failed=retry_failed,
        memory_bytes=available_bytes("cpu"),
        stop=stop,
    )
    return Stressed(stress=stress_of(suite, swept, store, checks=asked.checks, about=about), swept=swept)


def stress(
    task: str | Path | Task = TASK,
    *,
    weak: str = WEAK,
    strong: str = STRONG,
    methods: str | Sequence[str] | None = None,
    checks: str | Sequence[str] = tuple(CHECKS),
    seeds: int = 5,
    store: str | Path | Store | None = None,
    workers: int = 1,
    watch: Callable[[Status], None] | None = None,
    **options: Any,
) -> Stress:
    """The stress suite of weak-to-strong methods: planted faults of which the result is known.

    Args:
        task: as in `weak_to_strong`.
        weak: one supervisor, whose errors are counted and planted anew.
        strong: who learns.
        methods: names of the table; `naive` is always among them. None = `naive`, and `confidence` where it applies.
        checks: `simulable`, `errors`, `imitation`, `leak`.
        seeds: trainings of every role; ask for 5 or more.
        store: as in `weak_to_strong`.
        workers: local processes.
        watch: shown how things stand.
        options: `train`, `settings`, `columns`, `metric`, `n_train`, `n_test`, `max_tokens`, `device`, `covers`;
            see `Asked`.

    Returns:
        The claims with what was seen; `broken` where one that must hold is contradicted.

    Raises:
        InputError: something given is bad; nothing was computed or written.

    Source: after Burns et al. 2023, arXiv:2312.09390, appendix E; what differs: docs/stress.md.
    """
    named = (methods,) if isinstance(methods, str) else None if methods is None else tuple(methods)
    wanted = (checks,) if isinstance(checks, str) else tuple(checks)
    own = task if isinstance(task, Task) else str(task)
    asked = Asked(task=own, weak=weak, strong=strong, methods=named, checks=wanted, seeds=seeds, **options)
    kept = load_store(store)
    return run_stress(asked, load_suite(asked), store=kept, workers=workers, watch=watch).stress


def with_seconds(found: Stressed, seconds: float) -> Stressed:
    """The same, saying how long it took."""
    about = {**found.stress.about, "seconds": round(seconds, 1)}
    return replace(found, stress=replace(found.stress, about=about))
