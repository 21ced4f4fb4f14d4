"""What a plan of a sweep asks for, as data: the sides of its grid, and the options of every name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

from oversight.metrics.pool import NEW_ROWS, Scope
from oversight.models.backbone import resolve_device, resolve_precision
from oversight.resolve.models import ModelOptions, is_network
from oversight.resolve.recipes import PROBE, takes_settings
from oversight.tasks.columns import FIND, Columns
from oversight.tasks.joining import USUAL, NearDuplicates

AUTO, CPU = "auto", "cpu"
SUPERVISOR, STUDENT, BOTH = "supervisor", "student", "both"
ROLES = (SUPERVISOR, STUDENT)
PROBES = ("penalties", "layers")
READ = ("max_tokens", "precision", "device")
MODEL = ("train", "pool", *PROBES, *READ)


@dataclass(frozen=True, kw_only=True)
class TaskTable:
    """How one task is read; None = as the plan says for all.

    Attributes:
        columns: of text, label, group and difficulty.
        n_train, n_test: most rows outside and inside the test set.
        strict: whether rows in both train and test are an error.
        near_duplicates, near_duplicates_at: what is done about them, and from which similarity on.
        tests: further test sets: name to file.
    """

    columns: Columns = FIND
    n_train: int | None = None
    n_test: int | None = None
    strict: bool | None = None
    near_duplicates: str | None = None
    near_duplicates_at: float | None = None
    tests: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True)
class Exclude:
    """Arms that are left out: those that all given patterns match. None = any."""

    task: tuple[str, ...] | None = None
    supervisor: tuple[str, ...] | None = None
    student: tuple[str, ...] | None = None
    method: tuple[str, ...] | None = None

    def matches(self, *names: str) -> bool:
        """Whether it leaves out this task, supervisor, student and method."""
        patterns = (self.task, self.supervisor, self.student, self.method)
        return all(given is None or any_matches(given, name) for given, name in zip(patterns, names, strict=True))


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """A grid of studies as it was asked for.

    Attributes:
        name: the stem of the file, or the name of the preset.
        text: the TOML as it is.
        folder: absolute; what relative paths in the plan start from.
        overrides: `tasks`, `seeds` and `covers` where something else was asked for than the text says.
        machine: the `device`, and the `precision` of a processor, that `auto` stands for where another machine made
            the plan: keys do not depend on which machine works.
        tasks, supervisors, students, methods: names, the sides of the grid.
        all_methods: whether `methods` was `all`, so that those which an arm cannot use are left out.
        train: how each role is trained.
        seeds: trainings of every role.
        split_seed, init_seed, order_seed: fixed where given.
        metric: of gap and PGR; None = accuracy, balanced where a class is too common.
        n_train, n_test, strict, near: of every task that does not say otherwise.
        options: `max_tokens`, `precision`, `device` and `remote_code` of every model that does not say otherwise.
        keep_models: whether fine-tuned weights are kept.
        baselines: whether those of every supervisor and student are run too.
        covers: of what intervals speak: `new-rows` or `these-rows`.
        settings: of recipes, for `both`, `supervisor`, `student`.
        task_tables: by task.
        model_tables: by model, then `both`, `supervisor`, `student`: options and settings of recipes.
        method_settings: by method.
        excludes: arms left out.
    """

    name: str
    text: str
    folder: str
    overrides: Mapping[str, Any] = field(default_factory=dict[str, Any])
    machine: Mapping[str, str] = field(default_factory=dict[str, str])
    tasks: tuple[str, ...]
    supervisors: tuple[str, ...]
    students: tuple[str, ...]
    methods: tuple[str, ...]
    all_methods: bool
    train: Mapping[str, str]
    seeds: int
    split_seed: int | None
    init_seed: int | None
    order_seed: int | None
    metric: str | None
    n_train: int | None
    n_test: int | None
    strict: bool
    near: NearDuplicates = USUAL
    options: Mapping[str, Any]
    keep_models: bool
    baselines: bool = False
    covers: Scope = NEW_ROWS
    settings: Mapping[str, Mapping[str, Any]]
    task_tables: Mapping[str, TaskTable]
    model_tables: Mapping[str, Mapping[str, Mapping[str, Any]]]
    method_settings: Mapping[str, Mapping[str, Any]]
    excludes: tuple[Exclude, ...]

    def cells(self, task: str) -> list[tuple[str, str, str]]:
        """Supervisor, student and method of every arm of a task, in this order of nesting."""
        grid = product(self.supervisors, self.students, self.methods)
        return [cell for cell in grid if not any(one.matches(task, *cell) for one in self.excludes)]

    def model_options(self, role: str, name: str) -> ModelOptions:
        """How a model is read and trained in a role, from all tables that speak of it."""
        tables = self.model_tables.get(name, {})
        own, shared = tables.get(role, {}), tables.get(BOTH, {})
        train = train_of(self.train, tables, role)
        given = {**{key: value for key, value in shared.items() if honoured(key, train)}, **own}
        settings = {key: value for key, value in given.items() if key not in MODEL}
        if is_network(name) and takes_settings(train):
            settings = {**self.settings.get(BOTH, {}), **self.settings.get(role, {}), **settings}
        options: dict[str, Any] = {**self.options, **{key: value for key, value in given.items() if key in MODEL}}
        options.update(train=train, settings=settings)
        return ModelOptions(**_meant(options, self.machine))

    def document(self) -> dict[str, Any]:
        """All that another process needs to make the same plan again, on another machine too; ready for JSON."""
        machine = self.machine or {"device": resolve_device(AUTO), "precision": resolve_precision(AUTO, CPU)}
        overrides = {**self.overrides, "machine": dict(machine)}
        return {"text": self.text, "folder": self.folder, "name": self.name, "overrides": overrides}


def _meant(options: Mapping[str, Any], machine: Mapping[str, str]) -> dict[str, Any]:
    """Options with `auto` as the machine that made the plan understood it."""
    found = dict(options)
    if machine and found.get("device", AUTO) == AUTO:
        found["device"] = machine["device"]
    if machine and found.get("precision", AUTO) == AUTO and found.get("device") == CPU:
        found["precision"] = machine["precision"]
    return found


def train_of(train: Mapping[str, str], tables: Mapping[str, Mapping[str, Any]], role: str) -> str:
    return tables.get(role, {}).get("train") or tables.get(BOTH, {}).get("train") or train[role]


def honoured(key: str, train: str) -> bool:
    """Whether a network trained like this can do what an option or a setting says."""
    if key in PROBES:
        return train == PROBE or (key == "penalties" and train == "lp-ft")
    return key in MODEL or takes_settings(train)


def any_matches(patterns: tuple[str, ...], name: str) -> bool:
    return name in patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
