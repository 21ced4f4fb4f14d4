"""The TOML of a plan: whatever is wrong in it is refused in one line with file, table, key, found and expected."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oversight as ov
from oversight.resolve.plan_file import SETTINGS, TOP, parse
from oversight.resolve.sweep_plan import MODEL, ROLES, SweepPlan

SIDES: dict[str, Any] = {
    "tasks": ["data.jsonl"],
    "supervisors": ["bow", "./net@0"],
    "students": ["./net@1", "./net"],
    "methods": ["naive", "confidence"],
}


def toml(sides: Mapping[str, Any] | None = None, more: str = "") -> str:
    """A plan of SIDES with changes (None = the key is left out), and more lines at its end."""
    changed = {**SIDES, "seeds": 1, **(sides or {})}
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in changed.items() if value is not None) + more


def read(text: str) -> SweepPlan:
    """A plan that is only read."""
    return parse(text, name="p", folder="/nowhere", file="p.toml")


def refusal(call: Callable[[], object]) -> str:
    """The one line of an InputError."""
    with pytest.raises(ov.InputError) as caught:
        call()
    line = str(caught.value)
    assert line.isprintable() and caught.value.exit_code == 2
    return line


TOP_KEYS = "known: tasks, supervisors, students, methods, train, "
SETTING = "expected no setting of fine-tuning, for nothing is fine-tuned in this"
WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "no TOML": ({}, "tasks =\n", "p.toml: found no TOML: Invalid value (at line 6, column 8), expected a plan in TOML"),
    "a key twice": (
        {},
        "seeds = 3\n",
        "p.toml: found no TOML: Cannot overwrite a value (at line 6, column 10), expected",
    ),
    "an unknown key": ({}, "task_s = 1", f"p.toml: unknown key 'task_s': did you mean 'tasks'? {TOP_KEYS}"),
    "a key of many lines": ({}, '"a\\nb" = 1', "p.toml: unknown key ''a\\nb'': known: tasks, "),
    "no tasks": ({"tasks": None}, "", "p.toml: tasks: found nothing, expected a list of names"),
    "no students": ({"students": None}, "", "p.toml: students: found nothing, expected a list of names"),
    "one name, no list": ({"tasks": "reviews"}, "", "p.toml: tasks: found 'reviews', expected a list of names"),
    "an empty list": ({"supervisors": []}, "", "p.toml: supervisors: found an empty list, expected at least one name"),
    "an empty name": ({"tasks": [""]}, "", "p.toml: tasks: found '', expected a list of names"),
    "a number among names": ({"tasks": ["a", 3]}, "", "p.toml: tasks: found 3, expected a list of names"),
    "a name twice": (
        {"students": ["bow", "./net", "bow"]},
        "",
        "p.toml: students: found 'bow' 2 times, expected each name once",
    ),
    "a method": (
        {"methods": ["naiv"]},
        "",
        "p.toml: methods: unknown method 'naiv': did you mean 'naive'? known: naive, ",
    ),
    "all among others": ({"methods": ["all"]}, "", "p.toml: methods: unknown method 'all': known: naive, "),
    "one method": ({"methods": "naive"}, "", "p.toml: methods: found 'naive', expected a list of names, or 'all'"),
    "methods as a number": ({"methods": 3}, "", "p.toml: methods: found 3, expected a list of names"),
    "a way to train": (
        {"train": "loar"},
        "",
        "p.toml: train: unknown train 'loar': did you mean 'lora'? known: probe, ",
    ),
    "no way to train": ({"train": 3}, "", "p.toml: train: found 3, expected a text"),
    "a role": (
        {},
        "train = { students = 'lora' }",
        "p.toml: [train]: unknown key 'students': did you mean 'student'? known: supervisor, student, weak, strong",
    ),
    "no role": (
        {},
        "train = {}",
        "p.toml: train: found an empty table, expected supervisor or student in it, or a name",
    ),
    "a role by two words": (
        {},
        "train = { weak = 'lora', supervisor = 'lora' }",
        "p.toml: [train] weak: found supervisor too, which means the same, expected one of the two",
    ),
    "a way to train a role": (
        {},
        "train = { student = 'ful' }",
        "p.toml: [train] student: unknown train 'ful': did you mean 'full'? known: ",
    ),
    "nothing to fine-tune": (
        {"supervisors": ["bow"], "students": ["bow"], "train": "full"},
        "",
        "p.toml: train: found 'full', expected probe, or a network such as minilm among the models",
    ),
    "nothing to fine-tune in a role": (
        {"supervisors": ["bow", "labels:a.csv"]},
        "train = { weak = 'full' }",
        "p.toml: [train] weak: found 'full', expected probe, or a network such as minilm among the supervisors",
    ),
    "no number of seeds": ({"seeds": "5"}, "", "p.toml: seeds: found '5', expected 1 to 1000"),
    "true seeds": ({"seeds": True}, "", "p.toml: seeds: found True, expected 1 to 1000"),
    "no seeds": ({"seeds": 0}, "", "p.toml: seeds: found 0, expected 1 to 1000"),
    "half a seed": ({"split_seed": 0.5}, "", "p.toml: split_seed: found 0.5, expected a whole number, at least 0"),
    "a negative seed": ({"init_seed": -1}, "", "p.toml: init_seed: found -1, expected a whole number, at least 0"),
    "a metric": (
        {"metric": "acuracy"},
        "",
        "p.toml: metric: unknown metric 'acuracy': did you mean 'accuracy'? known: ",
    ),
    "no rows": ({"n_train": 0}, "", "p.toml: n_train: found 0, expected a whole number, at least 1"),
    "no tokens": ({"max_tokens": 0}, "", "p.toml: max_tokens: found 0, expected a whole number, at least 1"),
    "a precision": ({"precision": "half"}, "", "p.toml: precision: unknown precision 'half': known: auto, float32, "),
    "a device": ({"device": "tpu"}, "", "p.toml: device: found 'tpu', expected auto, cpu or cuda"),
    "strict as a word": ({"strict": "yes"}, "", "p.toml: strict: found 'yes', expected true or false"),
    "trust as a number": ({"trust_remote_code": 1}, "", "p.toml: trust_remote_code: found 1, expected true or false"),
    "models kept": ({"keep_models": "no"}, "", "p.toml: keep_models: found 'no', expected true or false"),
    "settings as a number": ({"settings": 3}, "", "p.toml: settings: found 3, expected a table"),
    "a setting": (
        {"train": "full"},
        "[settings]\nepoch = 3",
        "p.toml: [settings]: unknown key 'epoch': did you mean 'epochs'? known: supervisor, student, ",
    ),
    "a setting of a role": (
        {"train": "full"},
        "[settings.student]\nsupervisor = 3",
        "p.toml: [settings.student]: unknown key 'supervisor': known: ",
    ),
    "a value of a setting": (
        {"train": "full"},
        "[settings]\nepochs = 2.5",
        "p.toml: [settings] epochs: found 2.5, expected a whole number or none",
    ),
    "a setting of probes": ({}, "[settings]\nepochs = 3", f"p.toml: [settings] epochs: found 3, {SETTING} plan"),
    "a setting of a role of probes": (
        {"train": {"student": "full"}},
        "[settings.supervisor]\nlr = 1",
        f"p.toml: [settings.supervisor] lr: found 1, {SETTING} role",
    ),
    "a table of another task": (
        {},
        "[task.'dat.jsonl']\nn_train = 3",
        "p.toml: [task]: unknown task 'dat.jsonl': did you mean 'data.jsonl'? known: data.jsonl",
    ),
    "a key of a task": (
        {},
        "[task.'data.jsonl']\nlable = 'x'",
        "p.toml: [task.\"data.jsonl\"]: unknown key 'lable': did you mean 'label'? known: text, label, group, ",
    ),
    "a column": (
        {},
        "[task.'data.jsonl']\ntext = 3",
        'p.toml: [task."data.jsonl"] text: found 3, expected a text',
    ),
    "a column of an embedded task": (
        {"tasks": ["reviews"]},
        "[task.reviews]\ntext = 'x'",
        "p.toml: [task.reviews] text: found 'x', expected no column, for reviews is embedded",
    ),
    "a task that is no table": ({}, "[task]\n'data.jsonl' = 3", "p.toml: [task] data.jsonl: found 3, expected a table"),
    "tests as a name": (
        {},
        "[task.'data.jsonl']\ntests = 'hard.jsonl'",
        "p.toml: [task.\"data.jsonl\"] tests: found 'hard.jsonl', expected a table",
    ),
    "a test without file": (
        {},
        "[task.'data.jsonl'.tests]\nhard = ''",
        "p.toml: [task.\"data.jsonl\".tests] hard: found '', expected a text",
    ),
    "a table of another model": (
        {},
        "[model.'./nett']\npool = 'cls'",
        "p.toml: [model]: unknown model './nett': did you mean './net'? known: bow, ./net@0, ./net@1, ./net",
    ),
    "a table of several models": (
        {"supervisors": ["bow+./net"]},
        "[model.'bow+./net']\npool = 'cls'",
        "p.toml: [model]: found 'bow+./net', which is several models, expected a table each for bow and ./net",
    ),
    "a table of no network": (
        {},
        "[model.bow]\nmax_tokens = 3",
        "p.toml: [model.bow]: found options of bow, which is no network, expected no such table",
    ),
    "a key of a model": (
        {},
        "[model.'./net']\npenalty = [1]",
        "p.toml: [model.\"./net\"]: unknown key 'penalty': did you mean 'penalties'? known: supervisor, student, ",
    ),
    "a role that a model does not play": (
        {},
        "[model.'./net'.supervisor]\npool = 'cls'",
        'p.toml: [model."./net".supervisor]: found options of a supervisor, which ./net is not, expected no such table',
    ),
    "a pool": (
        {},
        "[model.'./net']\npool = 'men'",
        "p.toml: [model.\"./net\"] pool: unknown pool 'men': did you mean 'mean'? known: mean, last, cls",
    ),
    "no list of penalties": (
        {},
        "[model.'./net']\npenalties = 1.0",
        'p.toml: [model."./net"] penalties: found 1.0, expected a list of numbers above 0',
    ),
    "no penalties": (
        {},
        "[model.'./net']\npenalties = []",
        'p.toml: [model."./net"] penalties: found [], expected a list of numbers above 0',
    ),
    "a penalty of 0": (
        {},
        "[model.'./net']\npenalties = [0]",
        'p.toml: [model."./net"] penalties: found [0], expected a list of numbers above 0',
    ),
    "a layer below 0": (
        {},
        "[model.'./net']\nlayers = [-1]",
        "p.toml: [model.\"./net\"] layers: found [-1], expected 'all' or a list of depths such as [2, 4]",
    ),
    "a setting of a probe": (
        {},
        "[model.'./net']\nlr = 1e-3",
        'p.toml: [model."./net"] lr: found 0.001, expected nothing, for this is an option of fine-tuning and train',
    ),
    "layers of a model that is fine-tuned": (
        {"train": "lora"},
        "[model.'./net']\nlayers = 'all'",
        "p.toml: [model.\"./net\"] layers: found 'all', expected nothing, for this is an option of a probe and train",
    ),
    "penalties of a model that is fine-tuned in one role": (
        {"students": ["./net@0", "./net"], "train": {"student": "lora"}},
        "[model.'./net@0'.student]\npenalties = [1]",
        'p.toml: [model."./net@0".student] penalties: found [1], expected nothing, for this is an option of a probe',
    ),
    "a table of another method": (
        {"methods": ["naive"]},
        "[method.confidence]\naux_weight = 0.75",
        "p.toml: [method]: unknown method 'confidence': known: naive",
    ),
    "a setting of a method": (
        {},
        "[method.confidence]\naux_weigt = 0.75",
        "p.toml: [method.confidence]: unknown key 'aux_weigt': did you mean 'aux_weight'? known: aux_weight, ",
    ),
    "a method without settings": (
        {},
        "[method.naive]\nloss = 'x'",
        "p.toml: [method.naive] loss: found 'x', expected no settings, for naive has none",
    ),
    "a method's setting as a text": (
        {},
        "[method.confidence]\naux_weight = '0.75'",
        "p.toml: [method.confidence] aux_weight: found '0.75', expected a number",
    ),
    "a method's setting out of range": (
        {},
        "[method.confidence]\naux_weight = 2",
        "p.toml: [method.confidence] aux_weight: found 2, expected a number in [0, 1]",
    ),
    "one exclusion as a table": (
        {},
        "[exclude]\ntask = 'x'",
        "p.toml: exclude: found {'task': 'x'}, expected tables, each",
    ),
    "an exclusion that is no table": (
        {"exclude": [3]},
        "",
        "p.toml: exclude: found 3, expected tables, each headed [[exc",
    ),
    "an empty exclusion": (
        {},
        "[[exclude]]",
        "p.toml: [[exclude]] 1: found an empty table, expected one or more of task, supervisor, student, method",
    ),
    "a key of an exclusion": (
        {},
        "[[exclude]]\ntask = 'data.jsonl'\n[[exclude]]\nstudents = 'bow'",
        "p.toml: [[exclude]] 2: unknown key 'students': did you mean 'student'? known: task, supervisor, student",
    ),
    "an exclusion of nothing": (
        {},
        "[[exclude]]\nstudent = './net@4'",
        "p.toml: [[exclude]] 1 student: unknown student or pattern './net@4': did you mean './net@1'? known: ./net@1, ",
    ),
    "an exclusion of nothing beside something": (
        {},
        "[[exclude]]\nmethod = ['naive', 'oracle_*']",
        "p.toml: [[exclude]] 1 method: unknown method or pattern 'oracle_*': known: naive, confidence",
    ),
    "an exclusion by number": (
        {},
        "[[exclude]]\ntask = 3",
        "p.toml: [[exclude]] 1 task: found 3, expected a list of names",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_in_a_plan_is_named_with_its_table_and_key(case: str) -> None:
    sides, more, expected = WRONG[case]
    train = sides.get("train")
    if isinstance(train, dict):
        words = ", ".join(f"{role} = '{way}'" for role, way in train.items())
        sides, more = {**sides, "train": None}, f"train = {{ {words} }}\n{more}"
    line = refusal(lambda: read(toml(sides, more)))
    assert line.startswith(expected), line


def test_options_and_settings_do_not_share_a_name_but_penalties() -> None:
    assert {*MODEL, *ROLES} & SETTINGS.keys() == {"penalties"}


TABLES = ("settings", "settings.student", "task.'data.jsonl'", "model.'./net'", "method.confidence", "[exclude]")
ODD = (
    "3",
    "-1",
    "0.5",
    "nan",
    "true",
    "''",
    "'x\\u2028y'",
    '"a\\nb"',
    "[]",
    "[3]",
    "[[]]",
    "{}",
    "{ a = {} }",
    "1979-05-27",
)
PLACES = (
    *((None, key) for key in TOP),
    *((name, key) for name in TABLES for key in (*SETTINGS, *MODEL, *TOP, "tests")),
)


@settings(max_examples=200, deadline=None)
@given(place=st.sampled_from(PLACES), value=st.sampled_from(ODD))
def test_whatever_stands_at_a_key_is_read_or_refused_in_one_line(place: tuple[str | None, str], value: str) -> None:
    table, key = place
    text = toml({key: None} if table is None else {}, f"{key} = {value}\n" if table is None else "")
    try:
        read(text + (f"[{table}]\n{key} = {value}\n" if table else ""))
    except ov.InputError as error:
        assert str(error).isprintable() and str(error).startswith("p.toml: ")
