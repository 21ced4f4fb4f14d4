"""What is to be compared becomes plans: of the trials on development tasks, and of the comparison itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from oversight.errors import InputError
from oversight.methods import METHODS
from oversight.methods.method import OracleMethod, check_needs
from oversight.metrics.pool import NEW_ROWS, check_scope
from oversight.resolve.methods import THROUGH, load_method, trials_of
from oversight.resolve.models import student_in
from oversight.resolve.plan_file import parse
from oversight.resolve.plans import setups
from oversight.resolve.sweep_plan import STUDENT, SUPERVISOR, SweepPlan
from oversight.resolve.tables import quoted
from oversight.studies.compare import LINEAR
from oversight.studies.families import families_of, short_name
from oversight.studies.weak_to_strong import Setup
from oversight.tasks.task import Task
from oversight.worlds.ladder import questions_of

ALL = "all"
NAIVE, MEAN = "naive", "mean"
TRIALS = 3
ROLE_OF = {"weak": SUPERVISOR, "strong": STUDENT}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A comparison as it was asked for.

    Attributes:
        tasks: those of the leaderboard.
        weak, strong: one supervisor (several joined by `+`), one student.
        methods: names, `path/to/file.py:name`, or `all`.
        train: by role (`weak`, `strong`), how it is trained.
        seeds: trainings of every role.
        settings: of recipes, for `weak`, `strong`, `both`.
        method_settings: by method, given by hand.
        development: tasks on which settings are chosen; none = the defaults.
        trials: settings tried for each method there; fewer for all where one that has settings offers fewer.
        families: by name, tasks that count as one, beside those that are found.
        options: further keys of a plan (`metric`, `n_train`, `max_tokens`, ...).
        covers: of what intervals speak: `new-rows` or `these-rows`.
        columns: by task, or by the last part of its name, those of `text`, `label`, `group`; `""` = of every task.
    """

    tasks: tuple[str, ...]
    weak: str
    strong: str
    methods: tuple[str, ...] = (ALL,)
    train: Mapping[str, str] = field(default_factory=dict[str, str])
    seeds: int = 5
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    method_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    development: tuple[str, ...] = ()
    trials: int = TRIALS
    families: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    covers: str = NEW_ROWS
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])

    def columns_of(self, task: str) -> dict[str, str]:
        """Columns of one task: what is said of all, then what is said of it."""
        return {
            column: name
            for owner in ("", short_name(task), task)
            for column, name in self.columns.get(owner, {}).items()
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is run, everything found and checked.

    Attributes:
        asked: what was asked for.
        reference: the method that the others are compared with.
        shown: by method as asked for, the name under which it is shown, the reference first.
        not_applicable: methods of `all` that these inputs do not allow, with the reason.
        oracles: shown names of methods that see ground truth.
        families: by task, its family.
        development_families: the same of the development tasks.
    """

    asked: Asked
    reference: str
    shown: Mapping[str, str]
    not_applicable: Mapping[str, str]
    oracles: frozenset[str]
    families: Mapping[str, str]
    development_families: Mapping[str, str]

    def plan(self, method_settings: Mapping[str, Mapping[str, Any]]) -> SweepPlan:
        """The comparison on its tasks, under these settings."""
        return _plan(self.asked, self.asked.tasks, tuple(self.shown), method_settings, baselines=True)

    def trial_plans(self) -> Iterator[SweepPlan]:
        """The i-th settings of every method that has so many, on the development tasks."""
        tried = {name: self.settings(name) for name in self.shown}
        for i in range(self.n_trials if self.asked.development else 0):
            settings = {name: own[i] for name, own in tried.items() if i < len(own)}
            given = {name: one for name, one in settings.items() if one}
            yield _plan(self.asked, self.asked.development, tuple(settings), given, baselines=False)

    def settings(self, name: str) -> list[Mapping[str, Any]]:
        """Settings that are tried for a method: as many as for every other; what is given by hand stays."""
        given = self.asked.method_settings.get(name, {})
        found = [{**trial, **given} for trial in trials_of(name)[: self.n_trials]]
        return [one for i, one in enumerate(found) if one not in found[:i]]

    @cached_property
    def n_trials(self) -> int:
        """Settings tried for every method that has settings: as many as asked for, if each has so many."""
        several = [n for name in self.shown if (n := len(trials_of(name))) > 1]
        return min(self.asked.trials, *several) if several else 1

    @property
    def by_hand(self) -> frozenset[str]:
        """Methods as asked for whose settings a person gave; students on the way are an input, no setting."""
        given = self.asked.method_settings
        return frozenset(name for name in self.shown if set(given.get(name, {})) - {THROUGH})


def load_comparison(asked: Asked) -> Comparison:
    """Find and check everything that is named; nothing is computed or written.

    Raises:
        InputError: one line on what is wrong; also a task that is both for development and for the leaderboard.
    """
    asked = replace(asked, tasks=_questions(asked.tasks), development=_questions(asked.development))
    check_asked(asked)
    n_supervisors = len(setups(_plan(asked, asked.tasks[:1], (), {}, baselines=False))[0].arms[0].supervisors)
    reference = NAIVE if n_supervisors == 1 else MEAN
    ready = setups(_plan(asked, (*asked.tasks, *asked.development), (reference,), {}, baselines=False))
    names = _names(asked, reference)
    idle = [name for name in asked.method_settings if name not in names]
    if idle:
        raise InputError(f"--set {idle[0]}: a setting of a method or role that is not among {', '.join(names)}")
    shown: dict[str, str] = {}
    refused: dict[str, str] = {}
    oracles: set[str] = set()
    for name in names:
        try:
            shown[name], oracle = _fits(asked, name, ready)
            oracles |= {shown[name]} if oracle else set()
        except InputError as error:
            if ALL not in asked.methods or name in (*asked.methods, *asked.method_settings, reference):
                raise
            refused[name] = str(error).removeprefix(f"method {name}: ")
    if len(set(shown.values())) < len(shown):
        twice = next(name for name in shown.values() if list(shown.values()).count(name) > 1)
        raise InputError(f"--methods: found two methods called '{twice}', expected different names")
    tasks = [one.task for one in ready]
    _check_apart(tasks)
    found = families_of(tasks, asked.families)
    own, development = ({name: found[name] for name in some} for some in (asked.tasks, asked.development))
    for name, family in development.items():
        if family in own.values():
            twin = next(one for one in own if own[one] == family)
            raise InputError(f"--dev: found {name}, of one family with {twin} of the leaderboard; expected other tasks")
    return Comparison(
        asked=asked,
        reference=shown[reference],
        shown=shown,
        not_applicable=refused,
        oracles=frozenset(oracles),
        families=own,
        development_families=development,
    )


def _questions(tasks: Sequence[str]) -> tuple[str, ...]:
    """Every question of a set; tasks that are no set as they are.

    Raises:
        InputError: a set beside another task: numbers over questions and over tasks speak of different things.
    """
    found = [questions_of(one) for one in tasks]
    if len(tasks) > 1:
        several = [one for one, own in zip(tasks, found, strict=True) if own != (one,)]
        if several:
            raise InputError(f"compare: found {several[0]}, a set of questions, beside other tasks; expected it alone")
    return tuple(name for own in found for name in own)


def _check_apart(tasks: Sequence[Task]) -> None:
    first: dict[str, str] = {}
    for one in tasks:
        if one.fingerprint in first:
            raise InputError(f"compare: {one.name} holds the same rows as {first[one.fingerprint]}, expected each once")
        first[one.fingerprint] = one.name


def check_asked(asked: Asked) -> None:
    """Refuse what can be seen to be wrong without opening anything.

    Raises:
        InputError: one line on what.
    """
    every = (*asked.tasks, *asked.development)
    if not asked.tasks:
        raise InputError("compare: found no task, expected at least one")
    twice = [name for name in every if every.count(name) > 1]
    if twice:
        raise InputError(f"compare: found the task {twice[0]} twice, expected each once")
    metric = asked.options.get("metric")
    if metric is not None and metric not in LINEAR:
        raise InputError(f"--metric: found {metric}, expected {', '.join(LINEAR)}, which have a value per row")
    check_scope(asked.covers)
    if asked.trials < 1:
        raise InputError(f"--trials: found {asked.trials}, expected 1 or more")
    for name in asked.columns:
        if name and name not in every and name not in map(short_name, every):
            raise InputError(f"columns: found the task {name}, expected one of {', '.join(map(short_name, every))}")
    for name, members in asked.families.items():
        strange = [one for one in members if one not in every]
        if strange:
            raise InputError(f"--family {name}: found {strange[0]}, expected tasks of this comparison")


def _names(asked: Asked, reference: str) -> list[str]:
    named = [name for name in asked.methods if name != ALL]
    everything = list(METHODS) if ALL in asked.methods else []
    return list(dict.fromkeys((reference, *everything, *named)))


def _fits(asked: Asked, name: str, ready: Sequence[Setup]) -> tuple[str, bool]:
    """The name to show, and whether it sees ground truth.

    Raises:
        InputError: it cannot be run on one of these tasks.
    """
    settings = asked.method_settings.get(name, {})
    shown, method = load_method(name, student=_on_the_way(asked), **settings)
    for setup in ready:
        arm = setup.arms[0]
        n_supervisors = len(arm.supervisors)
        check_needs(shown, method, arm.student, n_supervisors=n_supervisors, n_classes=setup.task.n_classes)
    return shown, isinstance(method, OracleMethod)


def _on_the_way(asked: Asked) -> Callable[[str], Any]:
    options = _plan(asked, asked.tasks[:1], (), {}, baselines=False).model_options
    return lambda name: student_in(Path(), name, options(STUDENT, name))


def _plan(
    asked: Asked,
    tasks: Sequence[str],
    methods: Sequence[str],
    method_settings: Mapping[str, Mapping[str, Any]],
    *,
    baselines: bool,
) -> SweepPlan:
    """The plan in TOML; where no method is named, any serves that takes these supervisors."""
    text = plan_text(asked, tasks, methods, method_settings, baselines=baselines)
    made = parse(text, name="compare", folder=str(Path.cwd()), file="compare")
    return made if methods else replace(made, methods=(*METHODS,), all_methods=True)


def read_plan_of(asked: Asked, *, name: str) -> SweepPlan:
    """The plan of a sweep over the tasks and methods asked for; `name` is what it is called in messages."""
    text = plan_text(asked, asked.tasks, asked.methods, {}, baselines=False)
    return parse(text, name=name, folder=str(Path.cwd()), file=name)


def plan_text(
    asked: Asked,
    tasks: Sequence[str],
    methods: Sequence[str],
    method_settings: Mapping[str, Mapping[str, Any]],
    *,
    baselines: bool,
) -> str:
    """A plan of a sweep that computes the comparison."""
    top: dict[str, Any] = {"tasks": list(tasks), "supervisors": [asked.weak], "students": [asked.strong]}
    top |= {"methods": list(methods)} if methods else {}
    top |= {"seeds": asked.seeds, "baselines": baselines, "covers": asked.covers, **asked.options}
    lines = [f"{key} = {_toml(value)}" for key, value in top.items() if value is not None]
    tables: dict[str, Mapping[str, Any]] = {
        "train": {ROLE_OF.get(role, role): how for role, how in asked.train.items()},
        "settings": asked.settings.get("both", {}),
        **{f"settings.{ROLE_OF[role]}": asked.settings.get(role, {}) for role in ROLE_OF},
        **{f"method.{quoted(name)}": settings for name, settings in method_settings.items() if name in methods},
        **{f"task.{quoted(name)}": asked.columns_of(name) for name in tasks},
    }
    for name, table in tables.items():
        if table:
            lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A string, a number, true or false, or a list of these; a string of a number is that number."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(one) for one in value)}]"
    return json.dumps(value, ensure_ascii=False)
