"""Plans of sweeps: read from a file or a preset, and made into studies that share what they can."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from oversight.errors import InputError, unknown
from oversight.methods.method import Method, OracleMethod, check_needs
from oversight.metrics.pool import check_scope
from oversight.models.student import Student
from oversight.resolve.methods import load_method
from oversight.resolve.models import ModelOptions, load_supervisor, planted_in, student_in, trained
from oversight.resolve.plan_file import parse
from oversight.resolve.studies import MOST_SEEDS, check_worlds, worded
from oversight.resolve.sweep_plan import STUDENT, SUPERVISOR, SweepPlan, TaskTable
from oversight.resolve.tables import quoted
from oversight.resolve.tasks import hub_address, load_tests, task_in
from oversight.studies.weak_to_strong import Arm, Setup, seeds_of
from oversight.supervision.corruption import beside
from oversight.supervision.supervisor import Supervisor
from oversight.tasks import TASKS
from oversight.tasks.hub import PREFIX
from oversight.tasks.joining import NearDuplicates
from oversight.tasks.records import bad, one_line, shown, unreadable
from oversight.tasks.split import limit
from oversight.tasks.task import Task
from oversight.worlds.ladder import questions_of

__all__ = ["PRESETS", "SweepPlan", "from_document", "override", "preset", "read_plan", "setups"]

ENDING = ".toml"


def _presets() -> Iterator[tuple[str, str]]:
    for one in sorted((files("oversight.resolve") / "presets").iterdir(), key=lambda file: file.name):
        if one.name.endswith(ENDING):
            yield one.name.removesuffix(ENDING), one.read_text("utf-8").partition("\n")[0].lstrip("# ")


PRESETS: Mapping[str, str] = dict(_presets())


def read_plan(path: str | Path) -> SweepPlan:
    """A plan from its file; relative paths in it start from the folder of that file.

    Raises:
        InputError: one line with file, table, key, found and expected.
    """
    place = Path(path)
    if not place.is_file():
        found = "a directory" if place.is_dir() else "no such file"
        raise bad(path, found=found, expected=f"a plan in TOML, or --preset: {', '.join(PRESETS)}")
    try:
        text = place.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise bad(path, found=f"bytes that are not UTF-8 at {error.start}", expected="a plan in TOML") from None
    except OSError as error:
        raise unreadable(place, error) from None
    return parse(text, name=place.stem, folder=str(place.absolute().parent), file=str(path))


def preset(name: str) -> SweepPlan:
    """A plan that comes with the package; relative paths in it start from the current directory.

    Raises:
        InputError: unknown name.
    """
    if name not in PRESETS:
        raise unknown("preset", one_line(name), PRESETS)
    text = (files("oversight.resolve") / "presets" / f"{name}{ENDING}").read_text("utf-8")
    return parse(text, name=name, folder=str(Path.cwd()), file=f"preset {name}")


def override(
    plan: SweepPlan, *, tasks: Sequence[str] | None = None, seeds: int | None = None, covers: str | None = None
) -> SweepPlan:
    """The same plan for other tasks, another number of seeds, or intervals that speak of others; None = as it says.

    Tables and exclusions that speak of other tasks wait unused. Relative paths start from the current directory.

    Raises:
        InputError: no task, one given twice, a number of seeds out of range, or an unknown `covers`.
    """
    asked: dict[str, Any] = {}
    if tasks is not None:
        if not tasks or len(set(tasks)) < len(tasks):
            raise bad("--task", found=shown(list(tasks)), expected="at least one task, each once")
        asked["tasks"] = [_from_here(one, plan.folder) for one in tasks]
    if seeds is not None:
        if not 1 <= seeds <= MOST_SEEDS:
            raise bad("--seeds", found=str(seeds), expected=f"1 to {MOST_SEEDS}")
        asked["seeds"] = seeds
    if covers is not None:
        asked["covers"] = check_scope(covers)
    return _overridden(plan, asked)


def from_document(document: Mapping[str, Any]) -> SweepPlan:
    """The plan of which this is the `document`; fields that are not known are left alone.

    Raises:
        InputError: it is none.
    """
    kinds = {"text": str, "folder": str, "name": str, "overrides": dict}
    lacking = [key for key, kind in kinds.items() if not isinstance(document.get(key), kind)]
    if lacking:
        raise bad("plan", found=f"a document without {lacking[0]}", expected=", ".join(kinds))
    text, folder, name = (str(document[key]) for key in ("text", "folder", "name"))
    return _overridden(parse(text, name=name, folder=folder, file=f"plan {name}"), document["overrides"])


def setups(plan: SweepPlan, *, here: bool = True) -> list[Setup]:
    """A study for every task that has arms: everything named is found and checked, nothing is computed or written.

    Args:
        plan: what is asked for.
        here: whether the networks are to work on this machine, which must then have the device asked for.

    Raises:
        InputError: one line with what is wrong, and where in the plan it was named.
    """
    load = _Loader(plan, here)
    made: list[Setup] = []
    for task in plan.tasks:
        cells = plan.cells(task)
        if cells:
            made += [load.setup(one, cells, of=task) for one in questions_of(task, folder=load.folder)]
    if not made:
        raise bad(load.place(), found="that [[exclude]] leaves out every arm", expected="at least one arm")
    return made


@dataclass
class _Loader:
    """What a plan names, loaded once and shared between arms and tasks where nothing differs."""

    plan: SweepPlan
    here: bool
    students: list[tuple[str, ModelOptions, Student]] = field(default_factory=list[tuple[str, ModelOptions, Student]])
    methods: dict[str, tuple[str, Method | OracleMethod]] = field(
        default_factory=dict[str, tuple[str, Method | OracleMethod]]
    )

    def __post_init__(self) -> None:
        for name in self.plan.methods:
            settings = self.plan.method_settings.get(name, {})
            self.methods[name] = load_method(name, folder=self.folder, student=self._on_the_way, **settings)

    @property
    def folder(self) -> Path:
        return Path(self.plan.folder)

    def _on_the_way(self, name: str) -> Student:
        with _named(self.place("method")):
            return student_in(self.folder, name, self.plan.model_options(STUDENT, name), here=self.here)

    def place(self, *keys: str) -> str:
        """Where in the plan something was named, for messages."""
        return f"plan {self.plan.name}" + (f": {'.'.join(map(quoted, keys))}" if keys else "")

    def setup(self, name: str, cells: Sequence[tuple[str, str, str]], *, of: str) -> Setup:
        """The study of one task, or of one question of the task that the plan names."""
        plan = self.plan
        with _named(self.place("tasks")):
            task, tests = self.data(name, of)
            check_worlds(task, [model for weak, strong, _ in cells for model in (weak, strong)], folder=self.folder)
        supervisors = {weak: self.supervisor(weak, task, tests) for weak in dict.fromkeys(cell[0] for cell in cells)}
        students = {strong: self.student(strong, STUDENT, task) for strong in dict.fromkeys(cell[1] for cell in cells)}
        return Setup(
            task=task,
            arms=self.arms(cells, supervisors, students, n_classes=task.n_classes),
            seeds=seeds_of(plan.seeds, split=plan.split_seed, init=plan.init_seed, order=plan.order_seed),
            tests=tests,
            metric=plan.metric,
            baselines=plan.baselines,
            covers=plan.covers,
        )

    def data(self, name: str, of: str) -> tuple[Task, dict[str, Task]]:
        """A task and its further test sets; `of` is what the plan calls it."""
        plan, own = self.plan, self.plan.task_tables.get(of, TaskTable())
        strict = plan.strict if own.strict is None else own.strict
        near = NearDuplicates(
            do=own.near_duplicates or plan.near.do,
            at=plan.near.at if own.near_duplicates_at is None else own.near_duplicates_at,
        )
        task = task_in(self.folder, name, columns=own.columns, strict=strict, near=near)
        task = limit(task, n_train=own.n_train or plan.n_train, n_test=own.n_test or plan.n_test)
        return load_tests(task, own.tests, columns=own.columns, strict=strict, folder=self.folder, near=near)

    def supervisor(self, name: str, task: Task, tests: Mapping[str, Task]) -> tuple[Supervisor, ...]:
        """One supervisor, or several joined by `+`, each with its own options."""
        with _named(self.place("supervisors")):
            if name.startswith("labels:"):
                return load_supervisor(name, task, tests=tests, folder=self.folder)
            planted_in(name)
        return trained(name, lambda one: self.student(one, SUPERVISOR, task))

    def student(self, name: str, role: str, task: Task) -> Student:
        """A model in a role."""
        options = worded(self.plan.model_options(role, name), task)
        for known, same, student in self.students:
            if (known, same) == (name, options):
                return student
        with _named(self.place("model", name) if name in self.plan.model_tables else self.place(f"{role}s")):
            student = student_in(self.folder, name, options, here=self.here)
        self.students.append((name, options, student))
        return student

    def arms(
        self,
        cells: Sequence[tuple[str, str, str]],
        supervisors: Mapping[str, tuple[Supervisor, ...]],
        students: Mapping[str, Student],
        *,
        n_classes: int,
    ) -> tuple[Arm, ...]:
        """An arm for every cell; where all methods were asked for, for those whose method applies.

        A planted supervisor that needs a reference has that of its arm's student.
        """
        own = {(weak, strong): beside(supervisors[weak], students[strong]) for weak, strong, _ in cells}
        found: list[Arm] = []
        refused: dict[tuple[str, str], InputError] = {}
        served: set[tuple[str, str]] = set()
        for weak, strong, name in cells:
            shown, method = self.methods[name]
            arm = Arm(supervisors=own[weak, strong], student=students[strong], method=method, method_name=shown)
            try:
                with _named(f"{self.place('methods')} with supervisor {weak}, student {strong}"):
                    check_needs(
                        name,
                        arm.method,
                        arm.student,
                        n_supervisors=len(arm.supervisors),
                        n_classes=n_classes,
                    )
            except InputError as error:
                if not self.plan.all_methods:
                    raise
                refused.setdefault((weak, strong), error)
                continue
            served.add((weak, strong))
            found.append(arm)
        for pair, error in refused.items():
            if pair not in served:
                raise error
        return tuple(found)


def _overridden(plan: SweepPlan, asked: Mapping[str, Any]) -> SweepPlan:
    changes: dict[str, Any] = {"overrides": {**plan.overrides, **asked}}
    if "tasks" in asked:
        changes["tasks"] = tuple(map(str, asked["tasks"]))
    if "seeds" in asked:
        changes["seeds"] = int(asked["seeds"])
    if "covers" in asked:
        changes["covers"] = check_scope(asked["covers"])
    if "machine" in asked:
        changes["machine"] = dict(asked["machine"])
    return replace(plan, **changes)


def _from_here(task: str, folder: str) -> str:
    """A task named in the current directory, as a plan in `folder` would name it: a path is made absolute."""
    if Path.cwd() == Path(folder) or task in TASKS or questions_of(task, folder=Path(folder)) != (task,):
        return task
    if task.startswith(PREFIX):
        return hub_address(task, Path.cwd())
    return os.path.abspath(task) if Path(task).exists() or "/" in task else task


@contextmanager
def _named(place: str) -> Generator[None]:
    """Whatever is refused within is refused with its place in the plan."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
