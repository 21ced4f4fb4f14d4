"""What a plan of a sweep says: its TOML is read and checked by names alone; nothing is opened or loaded."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from oversight.errors import InputError
from oversight.methods import METHODS
from oversight.metrics.pool import ASKED, NEW_ROWS, check_scope
from oversight.metrics.scores import METRICS
from oversight.models.backbone import POOLS
from oversight.models.finetune.recipe import Machine
from oversight.models.prompted import Prompted
from oversight.resolve.methods import IN_A_FILE, THROUGH
from oversight.resolve.models import DEVICE, PRECISIONS, is_network, parts_of
from oversight.resolve.recipes import PROBE, RECIPES, TRAINS, read_settings, takes_settings
from oversight.resolve.studies import MOST_SEEDS
from oversight.resolve.sweep_plan import (
    BOTH,
    MODEL,
    PROBES,
    READ,
    ROLES,
    STUDENT,
    SUPERVISOR,
    Exclude,
    SweepPlan,
    TaskTable,
    any_matches,
    honoured,
    train_of,
)
from oversight.resolve.tables import Table, check_name, read_toml
from oversight.tasks import TASKS
from oversight.tasks.columns import Columns
from oversight.tasks.joining import USUAL, WAYS, NearDuplicates
from oversight.tasks.records import bad

ALSO = {"weak": SUPERVISOR, "strong": STUDENT}
SEEDS = ("split_seed", "init_seed", "order_seed")
NEAR = ("near_duplicates", "near_duplicates_at")
SWITCHES = ("strict", "trust_remote_code", "keep_models", "baselines")
LISTS = ("tasks", "supervisors", "students")
TOP = (
    *(*LISTS, "methods", "train", "seeds", *SEEDS, "metric", "covers", "n_train", "n_test", *NEAR, *SWITCHES, *READ),
    *("settings", "task", "model", "method", "exclude"),
)
COLUMNS = ("text", "label", "group", "difficulty")
SETTINGS: dict[str, type] = {
    one.name: kind
    for kind in (Prompted, Machine, *reversed(RECIPES.values()))
    for one in dataclasses.fields(kind)
    if one.name not in {"machine", "backbone"}
}


def parse(text: str, *, name: str, folder: str, file: str) -> SweepPlan:
    """Read and check a plan; `file` is what it is called in messages.

    Raises:
        InputError: one line with file, table, key, found and expected.
    """
    top = read_toml(text, file=file)
    top.check_keys(TOP)
    tasks, supervisors, students = (_required(top, key) for key in LISTS)
    methods = _methods(top)
    models = {
        SUPERVISOR: tuple(dict.fromkeys(part for one in supervisors for part in parts_of(one))),
        STUDENT: students,
    }
    train = _train(top, models)
    model_tables = _model_tables(top, train, models, supervisors)
    return SweepPlan(
        name=name,
        text=text,
        folder=folder,
        tasks=tasks,
        supervisors=supervisors,
        students=students,
        methods=methods,
        all_methods=top.values.get("methods") == "all",
        train=train,
        seeds=_or(top.whole("seeds", least=1, most=MOST_SEEDS), 5),
        split_seed=top.whole("split_seed", least=0),
        init_seed=top.whole("init_seed", least=0),
        order_seed=top.whole("order_seed", least=0),
        metric=top.text("metric", among=METRICS),
        n_train=top.whole("n_train", least=1),
        n_test=top.whole("n_test", least=1),
        strict=bool(top.truth("strict")),
        near=NearDuplicates(
            do=top.text("near_duplicates", among=WAYS), at=_or(top.share("near_duplicates_at"), USUAL.at)
        ),
        options={**_read_options(top), "remote_code": bool(top.truth("trust_remote_code"))},
        keep_models=_or(top.truth("keep_models"), True),
        baselines=bool(top.truth("baselines")),
        covers=check_scope(_or(top.text("covers", among=ASKED), NEW_ROWS)),
        settings=_settings_of(top, train, model_tables, models),
        task_tables=_task_tables(top, tasks),
        model_tables=model_tables,
        method_settings=_method_tables(top, methods),
        excludes=tuple(_exclude(one, (tasks, supervisors, students, methods)) for one in top.tables("exclude")),
    )


def _or(found: Any, default: Any) -> Any:
    return default if found is None else found


def _required(top: Table, key: str) -> tuple[str, ...]:
    names = top.names(key)
    if names is None:
        raise top.wrong(key, "a list of names")
    return names


def _methods(top: Table) -> tuple[str, ...]:
    if top.values.get("methods") == "all":
        return tuple(METHODS)
    if isinstance(top.values.get("methods"), str):
        raise top.wrong("methods", "a list of names, or 'all'")
    names = top.names("methods") or ("naive",)
    for name in names:
        if IN_A_FILE not in name:
            check_name(top.place("methods"), "method", name, METHODS)
    return names


def _train(top: Table, models: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """How each role is trained; a role that is not named is a probe."""
    if not isinstance(top.values.get("train"), dict):
        train = top.text("train", among=TRAINS)
        networks = [one for names in models.values() for one in names if is_network(one)]
        if train is not None and takes_settings(train) and not networks:
            raise top.wrong("train", f"{PROBE}, or a network such as minilm among the models")
        return dict.fromkeys(ROLES, train or PROBE)
    table = top.table("train")
    assert table is not None
    table.check_keys((*ROLES, *ALSO))
    if not table.values:
        raise bad(top.place("train"), found="an empty table", expected="supervisor or student in it, or a name")
    trains: dict[str, str] = dict.fromkeys(ROLES, PROBE)
    for word, role in ({role: role for role in ROLES} | ALSO).items():
        train = table.text(word, among=TRAINS, kind="train")
        if train is None:
            continue
        if word in ALSO and role in table.values:
            raise bad(table.place(word), found=f"{role} too, which means the same", expected="one of the two")
        if takes_settings(train) and not any(map(is_network, models[role])):
            raise table.wrong(word, f"{PROBE}, or a network such as minilm among the {role}s")
        trains[role] = train
    return trains


def _read_options(table: Table) -> dict[str, Any]:
    """How hidden states are computed, where the table says so."""
    found = {
        "max_tokens": table.whole("max_tokens", least=1),
        "precision": table.text("precision", among=PRECISIONS),
        "device": table.text("device"),
    }
    if found["device"] is not None and not DEVICE.fullmatch(str(found["device"])):
        raise table.wrong("device", "auto, cpu or cuda")
    return {key: value for key, value in found.items() if value is not None}


def _settings(table: Table, known: tuple[str, ...] = ()) -> dict[str, Any]:
    """Settings of recipes as they stand, of the right kinds; `known` are other keys of the table."""
    table.check_keys((*known, *SETTINGS))
    found = {key: value for key, value in table.values.items() if key not in known}
    for key, value in found.items():
        try:
            read_settings(SETTINGS[key], {key: value}, known=[key], name=key)
        except InputError as error:
            raise InputError(f"{table.place()} {str(error).removeprefix('--set ')}") from None
    return found


def _settings_of(
    top: Table,
    train: Mapping[str, str],
    model_tables: Mapping[str, Mapping[str, Mapping[str, Any]]],
    models: Mapping[str, tuple[str, ...]],
) -> dict[str, dict[str, Any]]:
    """The table [settings]: for both roles, and for each."""
    table = top.table("settings")
    if table is None:
        return {}
    tuned = {
        role: any(is_network(one) and takes_settings(train_of(train, model_tables.get(one, {}), role)) for one in names)
        for role, names in models.items()
    }
    by_role = {role: table.table(role) for role in ROLES}
    found = {BOTH: _settings(table, ROLES)} | {role: _settings(one) for role, one in by_role.items() if one}
    for role, settings in found.items():
        if settings and not (tuned[role] if role in tuned else any(tuned.values())):
            where = by_role.get(role) or table
            what = "in this role" if role in tuned else "in this plan"
            raise where.wrong(next(iter(settings)), f"no setting of fine-tuning, for nothing is fine-tuned {what}")
    return found


def _task_tables(top: Table, tasks: tuple[str, ...]) -> dict[str, TaskTable]:
    found: dict[str, TaskTable] = {}
    for name, table in _by_name(top, "task", tasks).items():
        table.check_keys((*COLUMNS, "n_train", "n_test", "strict", *NEAR, "tests"))
        tests = table.table("tests")
        found[name] = TaskTable(
            columns=Columns(**{column: table.text(column) for column in COLUMNS}),
            n_train=table.whole("n_train", least=1),
            n_test=table.whole("n_test", least=1),
            strict=table.truth("strict"),
            near_duplicates=table.text("near_duplicates", among=WAYS),
            near_duplicates_at=table.share("near_duplicates_at"),
            tests={} if tests is None else {one: str(tests.text(one)) for one in tests.values},
        )
        named = [column for column in COLUMNS if column in table.values]
        if named and name in TASKS and not found[name].tests:
            raise table.wrong(named[0], f"no column, for {name} is embedded")
    return found


def _model_tables(
    top: Table, train: Mapping[str, str], models: Mapping[str, tuple[str, ...]], supervisors: tuple[str, ...]
) -> dict[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = {}
    names = tuple(dict.fromkeys(one for role in ROLES for one in models[role]))
    joined = [one for one in supervisors if parts_of(one) != (one,)]
    for name, table in _by_name(top, "model", names, joined=joined).items():
        if not is_network(name):
            raise bad(table.place(), found=f"options of {name}, which is no network", expected="no such table")
        roles = {role: one for role in ROLES if (one := table.table(role)) is not None}
        found[name] = {BOTH: _model_options(table, ROLES)}
        for role, one in roles.items():
            if name not in models[role]:
                raise bad(one.place(), found=f"options of a {role}, which {name} is not", expected="no such table")
            found[name][role] = _model_options(one)
        trains = {role: train_of(train, found[name], role) for role in ROLES if name in models[role]}
        for role, given in found[name].items():
            among = list(trains.values()) if role == BOTH else [trains[role]]
            _check_honoured(roles.get(role, table), given, among)
    return found


def _model_options(table: Table, known: tuple[str, ...] = ()) -> dict[str, Any]:
    """Options of a model and settings of its recipe, where the table says so."""
    options = {
        "train": table.text("train", among=TRAINS),
        "pool": table.text("pool", among=POOLS),
        "penalties": table.numbers("penalties"),
        "layers": table.depths("layers"),
    }
    given = {key: value for key, value in options.items() if value is not None}
    return {**given, **_read_options(table), **_settings(table, (*known, *MODEL))}


def _check_honoured(table: Table, given: Mapping[str, Any], trains: list[str]) -> None:
    for key in given:
        if not any(honoured(key, train) for train in trains):
            ways = " and ".join(dict.fromkeys(trains))
            what = "of a probe" if key in PROBES else "of fine-tuning"
            raise table.wrong(key, f"nothing, for this is an option {what} and train is {ways}")


def _method_tables(top: Table, methods: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, table in _by_name(top, "method", methods).items():
        if name not in METHODS:
            found[name] = dict(table.values)
            continue
        parameters = inspect.signature(METHODS[name].make).parameters.values()
        defaults = {one.name: one.default for one in parameters if isinstance(one.default, bool | int | float | str)}
        defaults |= {one.name: "" for one in parameters if one.name == THROUGH}
        if table.values and not defaults:
            raise table.wrong(next(iter(table.values)), f"no settings, for {name} has none")
        table.check_keys(defaults)
        for key, default in defaults.items():
            _check_like(table, key, default)
        found[name] = dict(table.values)
        simple = {key: value for key, value in found[name].items() if key != THROUGH}
        try:
            METHODS[name](**simple)
        except ValueError as error:
            raise InputError(f"{table.place()} {error}") from None
    return found


def _check_like(table: Table, key: str, default: Any) -> None:
    """Refuse a value of another kind than the default."""
    if isinstance(default, bool):
        table.truth(key)
    elif isinstance(default, str):
        table.text(key)
    elif isinstance(default, int):
        table.whole(key)
    elif key in table.values and type(table.values[key]) not in {int, float}:
        raise table.wrong(key, "a number")


def _by_name(top: Table, key: str, names: tuple[str, ...], *, joined: list[str] | None = None) -> dict[str, Table]:
    """The tables of a table by name, each a name of the plan."""
    table = top.table(key)
    if table is None:
        return {}
    for name in table.values:
        if name in (joined or ()):
            parts = " and ".join(parts_of(name))
            raise bad(table.place(), found=f"'{name}', which is several models", expected=f"a table each for {parts}")
        check_name(table.place(), key, name, names)
    return {name: one for name in table.values if (one := table.table(name)) is not None}


def _exclude(table: Table, sides: tuple[tuple[str, ...], ...]) -> Exclude:
    keys = tuple(one.name for one in dataclasses.fields(Exclude))
    table.check_keys(keys)
    if not table.values:
        raise bad(table.place(), found="an empty table", expected=f"one or more of {', '.join(keys)}")
    given: dict[str, tuple[str, ...] | None] = {}
    for key, names in zip(keys, sides, strict=True):
        one = table.values.get(key)
        given[key] = (one,) if isinstance(one, str) else table.names(key)
        for pattern in given[key] or ():
            if not any(any_matches((pattern,), name) for name in names):
                check_name(table.place(key), f"{key} or pattern", pattern, names)
    return Exclude(**given)
