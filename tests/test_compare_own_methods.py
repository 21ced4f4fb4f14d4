"""Methods of one's own, and settings, as `compare` takes them: what is refused at once, and how often each is tried."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from oversight.describe import describe
from oversight.errors import InputError
from oversight.methods import METHODS
from oversight.methods.losses import Confidence
from oversight.methods.method import WithLoss
from oversight.resolve.compare import Asked, load_comparison
from oversight.resolve.methods import load_method, trials_of
from oversight.studies.tuning import BY_HAND, described, exploratory

OWN = """
from dataclasses import dataclass
from oversight.methods.method import Needs
from oversight.models.student import cross_entropy


def mine(logits, targets, *, progress):
    return cross_entropy(logits, targets) * 2


def short(logits, targets):
    return cross_entropy(logits, targets)


@dataclass(frozen=True)
class Tried:
    share: float = 0.5
    trials = ({}, {"share": 0.25}, {"share": 0.75})
    needs = Needs()

    def train(self, student, data, *, seed):
        return student.fit(data.rows, data.only, validation=data.checks, seed=seed)


@dataclass(frozen=True)
class Twice(Tried):
    trials = ({}, {"share": 0.25})


@dataclass(frozen=True)
class Wrong(Tried):
    trials = ({"share": 0.25},)


@dataclass(frozen=True)
class Stranger(Tried):
    trials = ({}, {"size": 0.25})


@dataclass(frozen=True)
class Silent:
    def train(self, student, data, *, seed):
        return None


@dataclass(frozen=True)
class Greedy:
    needs = Needs()

    def train(self, student, data, truth, *, seed):
        return None
"""


@pytest.fixture
def files(place: Path, planted_rows: Callable[..., Any], write_lines: Callable[..., Path]) -> Path:
    for i, name in enumerate(("apples", "pears", "plums")):
        write_lines(place / f"{name}.jsonl", planted_rows(200, seed=i))
    (place / "own.py").write_text(OWN)
    return place


def asked(*methods: str, **changes: Any) -> Asked:
    words: dict[str, Any] = {"tasks": ("apples.jsonl",), "development": ("pears.jsonl",), "seeds": 2}
    words |= {"weak": "bow", "strong": "bow", "methods": methods, **changes}
    return Asked(**words)


# What a file holds


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "short",
            r"method own.py:short: got an unexpected keyword argument 'progress'; expected .*logits, targets, pro",
        ),
        ("Silent", "method own.py:Silent: found no `needs` that is a `Needs`"),
        ("Greedy", r"method own.py:Greedy: missing a required argument: 'truth'; expected .*\(student, data, seed\)"),
        ("Needs2", "unknown name in own.py 'Needs2': known: mine, short, Tried"),
    ],
)
def test_what_is_no_method_is_refused_before_anything_is_computed(files: Path, name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load_method(f"own.py:{name}")


def test_an_object_that_says_nothing_of_its_needs_is_refused_too() -> None:
    with pytest.raises(InputError, match="found no `needs`"):
        load_method(SimpleNamespace(name="thing", train=lambda student, data, *, seed: None))


def test_a_method_is_the_same_wherever_its_file_lies(files: Path) -> None:
    """The key of a result holds no path."""
    (files / "below").mkdir()
    shutil.copy(files / "own.py", files / "below" / "copy.py")
    one, other = (describe(load_method(spec)[1]) for spec in ("own.py:mine", "below/copy.py:mine"))
    assert one == other


def test_a_value_that_is_no_number_is_refused_by_its_range(files: Path) -> None:
    with pytest.raises(InputError, match=r"aux_weight: found abc, expected a number in \[0, 1\]"):
        load_method("confidence", aux_weight="abc")


# How often each is tried


def test_every_method_that_has_settings_is_tried_as_often(files: Path) -> None:
    """Three tables offer three, one two, and one none: two for each, not the most that each happens to have."""
    methods = ("naive", "hard", "own.py:mine", "own.py:Tried", "own.py:Twice")
    found = load_comparison(asked(*methods, trials=3, strong="minilm@0"))
    assert [len(found.settings(name)) for name in methods] == [1, 1, 1, 2, 2]
    assert load_comparison(asked("own.py:Tried", trials=3)).n_trials == 3
    assert load_comparison(asked("own.py:Tried", trials=2)).n_trials == 2
    assert [len(plan.method_settings) for plan in found.trial_plans()] == [0, 2]


def test_without_development_tasks_nothing_is_tried(files: Path) -> None:
    assert not list(load_comparison(asked("own.py:Tried", development=())).trial_plans())


@pytest.mark.parametrize(("name", "says"), [("Wrong", "the first of them empty"), ("Stranger", "size")])
def test_trials_of_ones_own_are_settings_and_begin_with_the_defaults(files: Path, name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        trials_of(f"own.py:{name}")


def test_settings_by_hand_are_so_even_where_others_are_tuned(files: Path) -> None:
    found = load_comparison(asked("own.py:Tried", method_settings={"own.py:Tried": {"share": 0.1}}))
    assert found.by_hand == {"own.py:Tried"}
    assert found.settings("own.py:Tried") == [{"share": 0.1}]


def test_students_on_the_way_are_named_by_hand_and_no_setting(files: Path) -> None:
    settings = {"bootstrap": {"through": "bow"}}
    found = load_comparison(asked("bootstrap", method_settings=settings))
    assert found.by_hand == frozenset() and found.settings("bootstrap") == [settings["bootstrap"]]
    assert found.plan(settings).method_settings == settings


def test_the_same_rows_under_two_names_are_refused(files: Path) -> None:
    shutil.copy(files / "apples.jsonl", files / "other.jsonl")
    with pytest.raises(InputError, match=r"other\.jsonl holds the same rows as apples\.jsonl, expected each once"):
        load_comparison(asked("naive", tasks=("apples.jsonl", "other.jsonl")))


# What owes something to the test rows


@dataclass(frozen=True)
class Past:
    """Methods that were scored on the rows of one task, and when."""

    seen: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])

    def scored(self, method: Any, when: str, task: str = "fruit") -> Past:
        return Past({**self.seen, (task, described(describe(method))): when})

    def says(self, method: Any, **given: Any) -> str | None:
        step = SimpleNamespace(config={"task": "fruit", "method": describe(method)})
        return exploratory({"fruit.jsonl": SimpleNamespace(runs=[((), step, step)])}, self.seen, **given)  # type: ignore


def confidence(weight: float) -> WithLoss:
    return WithLoss(Confidence(weight))


def test_a_setting_chosen_after_another_was_scored_is_exploratory() -> None:
    past = Past().scored(confidence(0.25), "10:00")
    said = past.says(confidence(0.75), settings={"aux_weight": 0.75})
    assert said == "1 other setting of it had been scored on the test rows of fruit before"


def test_what_was_scored_first_stays_what_it_was_however_often_it_is_asked_for() -> None:
    """The second identical run, and a run after others that came later."""
    past = Past().scored(confidence(0.25), "10:00")
    assert past.says(confidence(0.25), settings={"aux_weight": 0.25}) is None
    assert past.scored(confidence(0.75), "11:00").says(confidence(0.25), settings={"aux_weight": 0.25}) is None


def test_defaults_other_methods_and_other_tasks_owe_nothing() -> None:
    past = Past().scored(confidence(0.25), "10:00")
    assert past.says(confidence(0.5), settings={}) is None
    assert past.says(METHODS["entropy"](aux_weight=0.3), settings={"aux_weight": 0.3}) is None
    elsewhere = Past().scored(confidence(0.25), "10:00", task="nuts")
    assert elsewhere.says(confidence(0.75), settings={"aux_weight": 0.75}) is None


def test_what_is_given_by_hand_is_exploratory_at_once() -> None:
    assert Past().says(confidence(0.75), settings={"aux_weight": 0.75}, by_hand=True) == BY_HAND


def test_a_file_that_was_edited_after_a_version_of_it_was_scored_is_exploratory(files: Path) -> None:
    first = load_method("own.py:mine")[1]
    (files / "own.py").write_text(OWN.replace("* 2", "* 3"))
    second, other = load_method("own.py:mine")[1], load_method("own.py:Tried")[1]
    past = Past().scored(first, "10:00")
    assert past.says(first, settings={}) is None and past.says(other, settings={}) is None
    said = "1 other version of its code had been scored on the test rows of fruit before"
    assert past.says(second, settings={}) == said
    assert past.scored(second, "11:00").says(first, settings={}) is None, "the first text was not chosen by its score"


# On the command line


def test_a_chain_is_given_its_students_in_every_command(files: Path, oversight: Callable[..., Any]) -> None:
    """The words that the refusal of a chain without students tells one to say."""
    words = (
        "--weak",
        "bow",
        "--strong",
        "bow",
        "--seeds",
        "1",
        "--set",
        "bootstrap.through=bow",
        "--dry-run",
        "--json",
    )
    said = oversight("compare", "apples.jsonl", "--methods", "bootstrap", *words)
    assert said.code == 0 and said.json["methods"] == ["naive", "bootstrap"], said.err
    assert oversight("w2s", "apples.jsonl", "--method", "bootstrap", *words).code == 0


def test_own_methods_run_in_a_sweep(files: Path, oversight: Callable[..., Any]) -> None:
    plan = {
        "tasks": ["apples.jsonl"],
        "supervisors": ["bow"],
        "students": ["bow"],
        "methods": ["naive", "own.py:Tried"],
    }
    (files / "plan.toml").write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in plan.items()))
    said = oversight("sweep", "plan.toml", "--json")
    assert said.code == 0, said.err
    assert [one["method"] for one in said.json["studies"]] == ["naive", "Tried"]


def test_a_dry_run_tells_of_the_trials_before_it(files: Path, oversight: Callable[..., Any]) -> None:
    words = ("--weak", "bow", "--strong", "bow", "--seeds", "1", "--dev", "pears.jsonl", "--dry-run", "--json")
    said = oversight("compare", "apples.jsonl", "--methods", "own.py:Tried", *words)
    assert said.code == 0 and [one["studies"] for one in said.json["trials"]] == [2, 1, 1], said.err
