"""Words and settings become recipes: what a text is read as, what goes where, and every refusal in one line."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oversight as ov
from oversight.cli.option_values import settings as read_settings
from oversight.models.finetune.recipe import Full, Lora, LpFt, Machine
from oversight.models.finetune.student import FineTuned
from oversight.models.probe import PENALTIES, Probe
from oversight.resolve import load_student, prepare
from oversight.resolve.recipes import MACHINE, RECIPES, is_fine_tuning, load_recipe, trains_of
from oversight.supervision.supervisor import Trained

KINDS = {"full": Full, "lora": Lora, "lp-ft": LpFt}


def refusal(call: Callable[[], object]) -> str:
    """The one line of an InputError."""
    with pytest.raises(ov.InputError) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line and caught.value.exit_code == 2
    return line


# One recipe


@pytest.mark.parametrize("name", RECIPES)
def test_a_name_is_the_recipe_with_its_defaults(name: str) -> None:
    recipe = load_recipe(name, {})
    assert type(recipe) is KINDS[name] and recipe == KINDS[name]()


READ: list[tuple[str, str, str, Any]] = [
    ("full", "lr", "1e-4", 1e-4),
    ("full", "lr", "1e-5,5e-5", (1e-5, 5e-5)),
    ("full", "lr", "none", None),
    ("full", "epochs", "3", 3),
    ("full", "epochs", "1e1", 10),
    ("full", "epochs", "none", None),
    ("full", "batch_size", "8", 8),
    ("full", "schedule", "constant", "constant"),
    ("full", "optimizer", "adafactor", "adafactor"),
    ("full", "clip", "inf", float("inf")),
    ("full", "early_stopping", "no", False),
    ("full", "dropout", "on", True),
    ("full", "words", " no, yes", ("no", "yes")),
    ("lora", "rank", "16", 16),
    ("lora", "alpha", "4", 4.0),
    ("lora", "targets", "q_proj,v_proj", ("q_proj", "v_proj")),
    ("lora", "targets", "none", None),
    ("lora", "quantize", "4bit", "4bit"),
    ("lp-ft", "penalties", "1e-2,1", (1e-2, 1.0)),
]


@pytest.mark.parametrize(("train", "name", "text", "value"), READ)
def test_a_text_is_read_as_the_type_of_its_field(train: str, name: str, text: str, value: Any) -> None:
    found = getattr(load_recipe(train, {name: text}), name)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("tokens_at_once", "4096", 4096), ("checkpointing", "true", True), ("sharding", "full", "full")],
)
def test_settings_of_the_machine_go_to_the_machine(name: str, text: str, value: Any) -> None:
    recipe = load_recipe("lora", {name: text, "rank": "2"})
    assert recipe == Lora(rank=2, machine=Machine(**{name: value}))


def test_every_field_of_recipe_and_machine_can_be_set_by_a_text() -> None:
    """Written out as a user would and read back, every default is itself."""

    def written(value: Any) -> str:
        if isinstance(value, tuple):
            return ",".join(map(str, value))
        return str(value).lower() if isinstance(value, bool) or value is None else str(value)

    for name, kind in KINDS.items():
        own = {f.name: getattr(kind(), f.name) for f in dataclasses.fields(kind) if f.name != "machine"}
        own |= {f.name: getattr(Machine(), f.name) for f in dataclasses.fields(Machine)}
        words = [one for one, hint in typing.get_type_hints(kind).items() if "tuple[str" in str(hint)]
        texts = {one: written(value) for one, value in own.items() if one not in words}
        assert load_recipe(name, texts) == kind()


def test_the_names_of_machine_and_recipe_do_not_meet() -> None:
    assert not MACHINE & {f.name for kind in KINDS.values() for f in dataclasses.fields(kind)}


def test_a_recipe_keeps_what_is_not_set() -> None:
    recipe = Lora(rank=4, lr=1e-3, machine=Machine(processes=2))
    changed = load_recipe(recipe, {"epochs": "5", "compile": "yes"})
    assert changed == Lora(rank=4, lr=1e-3, epochs=5, machine=Machine(processes=2, compile=True))


def test_a_recipe_is_not_changed_in_place() -> None:
    recipe = Full()
    load_recipe(recipe, {"epochs": 5, "compile": True})
    assert recipe == Full()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 1e-3),
        ("lr", (1e-3, 1e-4)),
        ("lr", 1),
        ("lr", np.float32(0.5)),
        ("epochs", np.int64(2)),
        ("epochs", None),
        ("dropout", True),
        ("words", ("a", "b")),
    ],
)
def test_a_value_of_the_type_of_its_field_is_taken_as_it_is(name: str, value: Any) -> None:
    assert getattr(load_recipe("full", {name: value}), name) == value


def test_a_list_becomes_a_tuple_so_that_the_recipe_cannot_change() -> None:
    rates = [1e-3, 1e-4]
    recipe = load_recipe("full", {"lr": rates})
    rates.append(1.0)
    assert recipe.lr == (1e-3, 1e-4)


@settings(max_examples=60, deadline=None)
@given(rates=st.lists(st.floats(min_value=1e-12, max_value=1e3), min_size=1, max_size=4))
def test_numbers_come_back_as_they_were_written(rates: list[float]) -> None:
    assert load_recipe("full", {"lr": ",".join(map(repr, rates))}).rates(0) == tuple(rates)


WRONG: dict[str, tuple[str | Full, dict[str, Any], str]] = {
    "a name": ("fulll", {}, "unknown train 'fulll': did you mean 'full'? known: probe, full, lora, lp-ft, prompt"),
    "far from any name": ("sgd", {}, "unknown train 'sgd': known: probe, full, lora, lp-ft, prompt"),
    "a setting": ("lora", {"rnk": "3"}, "unknown setting of lora 'rnk': did you mean 'rank'? known: alpha, anchor, "),
    "of another recipe": ("full", {"rank": "3"}, "unknown setting of full 'rank': "),
    "the machine as a whole": ("full", {"machine": "fast"}, "unknown setting of full 'machine': "),
    "a whole number": ("full", {"epochs": "2.5"}, "--set epochs: found '2.5', expected a whole number or none"),
    "infinitely many": ("full", {"epochs": "inf"}, "--set epochs: found 'inf', expected a whole number or none"),
    "a number": ("full", {"clip": "hard"}, "--set clip: found 'hard', expected a number"),
    "nothing where a number is due": ("full", {"clip": "none"}, "--set clip: found 'none', expected a number"),
    "numbers": ("full", {"lr": "1e-3;1e-4"}, "--set lr: found '1e-3;1e-4', expected a number or numbers"),
    "a truth": ("full", {"dropout": "0.1"}, "--set dropout: found '0.1', expected true or false"),
    "a word": ("full", {"schedule": "linear"}, "--set schedule: found 'linear', expected cosine or constant"),
    "a word or none": ("lora", {"quantize": "2bit"}, "--set quantize: found '2bit', expected 8bit or 4bit or none"),
    "of the machine": ("full", {"processes": "x"}, "--set processes: found 'x', expected a whole number"),
    "out of range": ("full", {"lr": "-1"}, "full: found lr -1, expected numbers above 0"),
    "not finite": ("full", {"lr": "nan"}, "full: found lr nan, expected numbers above 0"),
    "out of the machine's range": ("full", {"processes": "0"}, "processes: found 0, expected at least 1"),
    "half an epoch": ("full", {"epochs": 2.5}, "--set epochs: found 2.5, expected a whole number or none"),
    "a truth for a number": ("full", {"batch_size": True}, "--set batch_size: found True, expected a whole number"),
    "a number for a truth": ("full", {"dropout": 0.1}, "--set dropout: found 0.1, expected true or false"),
    "none for a number": ("full", {"clip": None}, "--set clip: found None, expected a number"),
    "a list of texts": ("full", {"lr": ["1e-3"]}, "--set lr: found ['1e-3'], expected a number or numbers between"),
    "a number for a word": ("full", {"schedule": 1}, "--set schedule: found 1, expected cosine or constant"),
    "of a recipe given": (Lora(rank=2), {"rank": "x"}, "--set rank: found 'x', expected a whole number"),
    "a class for a recipe": (typing.cast(Any, Lora), {}, "train: found <class 'oversight.models.finetune."),
    "a number for a recipe": (typing.cast(Any, 3), {}, "train: found 3, expected probe, full, lora, lp-ft"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_read_is_refused_in_one_line(case: str) -> None:
    train, given_settings, expected = WRONG[case]
    assert refusal(lambda: load_recipe(train, given_settings)).startswith(expected)


# Which role


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ("full", ("full", "full")),
        (Lora(rank=2), (Lora(rank=2), Lora(rank=2))),
        (("probe", "full"), ("probe", "full")),
        (["bow", Full()], ("bow", Full())),
        ({"weak": "probe", "strong": "lora"}, ("probe", "lora")),
        ({"strong": "lora"}, ("probe", "lora")),
        ({"weak": "full"}, ("full", "probe")),
    ],
)
def test_one_way_to_train_or_one_for_each_role(train: Any, expected: tuple[Any, Any]) -> None:
    assert trains_of(train) == dict(zip(("weak", "strong"), expected, strict=True))


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        (("full",), "train: found 1 values, expected one, or one each for weak and strong"),
        (("full", "full", "full"), "train: found 3 values, expected one, or one each for weak and strong"),
        ({"student": "full"}, "train: found the role student, expected weak and strong"),
        ({3: "full", "x": "full"}, "train: found the role 3, expected weak and strong"),
    ],
)
def test_another_number_of_roles_or_an_unknown_one_is_refused(train: Any, expected: str) -> None:
    assert refusal(lambda: trains_of(train)) == expected


def test_what_is_fine_tuned() -> None:
    assert {name: is_fine_tuning(name) for name in ("probe", "full", "lora", "lp-ft", "prompt")} == {
        "probe": False,
        "full": True,
        "lora": True,
        "lp-ft": True,
        "prompt": False,
    }
    assert is_fine_tuning(Lora())


@pytest.mark.parametrize(
    ("texts", "rates", "expected"),
    [
        ([], {}, {"weak": {}, "strong": {}, "both": {}}),
        (["epochs=3"], {}, {"weak": {}, "strong": {}, "both": {"epochs": "3"}}),
        (["weak.epochs=3", "strong.rank=2"], {}, {"weak": {"epochs": "3"}, "strong": {"rank": "2"}, "both": {}}),
        (["words=a=b,c"], {}, {"weak": {}, "strong": {}, "both": {"words": "a=b,c"}}),
        ([], {"weak_lr": "1e-3"}, {"weak": {"lr": "1e-3"}, "strong": {}, "both": {}}),
        (["strong.lr=1"], {"strong_lr": "2"}, {"weak": {}, "strong": {"lr": "2"}, "both": {}}),
        (["epochs=1", "epochs=2"], {}, {"weak": {}, "strong": {}, "both": {"epochs": "2"}}),
    ],
)
def test_settings_of_the_command_line_are_sorted_by_role(
    texts: list[str], rates: dict[str, str], expected: dict[str, Any]
) -> None:
    assert read_settings(texts, **{"weak_lr": None, "strong_lr": None, **rates}) == expected


@pytest.mark.parametrize("text", ["epochs", "=3", "epochs=", "weak.=3", "ceiling.epochs=3", ".epochs=3", ""])
def test_a_setting_of_another_form_is_refused(text: str) -> None:
    line = refusal(lambda: read_settings([text], weak_lr=None, strong_lr=None))
    assert line == f"--set: found '{text}', expected NAME=VALUE, weak.NAME=VALUE or strong.NAME=VALUE"


# A whole study, prepared and not run


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, save_tiny: Callable[..., Path]) -> str:
    """A tiny network on disk."""
    return str(save_tiny(tmp_path_factory.mktemp("network") / "tiny"))


@pytest.fixture(scope="module")
def task(planted_rows: Callable[..., list[dict[str, Any]]], tmp_path_factory: pytest.TempPathFactory) -> ov.Task:
    """200 rows."""
    path = tmp_path_factory.mktemp("task") / "task.csv"
    rows = planted_rows(200)
    path.write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in rows))
    return ov.load_task(path)


def roles(task: ov.Task, network: str, **options: Any) -> tuple[Any, Any]:
    """Supervisor's and student's recipe, or the probe."""
    [arm] = prepare(task, **{"weak": f"{network}@1", "strong": network, **options}).arms
    [weak] = arm.supervisors
    assert isinstance(weak, Trained)
    return tuple(one.recipe if isinstance(one, FineTuned) else one for one in (weak.student, arm.student))  # pyright: ignore


def test_a_recipe_trains_both_roles(task: ov.Task, network: str) -> None:
    assert roles(task, network, train=ov.Lora(rank=2, lr=1e-3)) == (Lora(rank=2, lr=1e-3),) * 2


def test_each_role_has_its_own_recipe(task: ov.Task, network: str) -> None:
    weak, strong = roles(task, network, train={"weak": "probe", "strong": ov.Full(epochs=1)})
    assert isinstance(weak, Probe) and strong == Full(epochs=1)


def test_settings_go_to_their_role_and_those_for_both_give_way(task: ov.Task, network: str) -> None:
    given_settings = {"both": {"epochs": 3, "clip": "2"}, "weak": {"epochs": 4}, "strong": {"lr": [1e-3, 1e-4]}}
    assert roles(task, network, train="full", settings=given_settings) == (
        Full(epochs=4, clip=2.0),
        Full(epochs=3, clip=2.0, lr=(1e-3, 1e-4)),
    )


def test_settings_for_both_go_to_the_roles_that_are_fine_tuned(task: ov.Task, network: str) -> None:
    weak, strong = roles(task, network, train=("probe", "full"), settings={"both": {"epochs": 3}})
    assert isinstance(weak, Probe) and strong == Full(epochs=3)


def test_options_of_a_model_say_how_it_is_trained(task: ov.Task, network: str) -> None:
    strong = ov.ModelOptions(train="lora", settings={"rank": 3})
    assert roles(task, network, strong_options=strong)[1] == Lora(rank=3)


def test_the_penalties_of_a_role_are_those_of_the_probe_it_starts_from(task: ov.Task, network: str) -> None:
    weak, strong = roles(task, network, train="lp-ft", strong_options=ov.ModelOptions(penalties=(0.5,)))
    assert (weak.penalties, strong.penalties) == (PENALTIES, (0.5,))


def test_the_template_of_a_prompt_is_a_text(network: str) -> None:
    for given_template, expected in (("{text} is", "{text} is"), ("none", None)):
        options = ov.ModelOptions(train="prompt", settings={"words": "no,yes", "template": given_template})
        found: Any = load_student(network, options)
        assert found.template == expected


def test_a_student_by_name_is_trained_as_its_options_say(network: str) -> None:
    options = ov.ModelOptions(train="full", settings={"epochs": "2"})
    found: Any = load_student(f"{network}@1", options)
    assert (found.recipe, found.backbone.depth, found.train) == (Full(epochs=2), 1, "full")


PREPARED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown way": ({"train": "loar"}, "unknown train 'loar': did you mean 'lora'?"),
    "an unknown way for one role": ({"train": ("full", "ful")}, "unknown train 'ful': did you mean 'full'?"),
    "no recipe": ({"train": 3}, "train: found 3, expected probe, full, lora, lp-ft, prompt or a recipe such as Lora("),
    "no recipe for one role": ({"train": {"weak": "full", "strong": None}}, "train: found None, expected probe, full"),
    "a class": ({"train": ov.Lora}, "train: found <class 'oversight.models.finetune.recipe.Lora'>, expected"),
    "settings without role": (
        {"train": "full", "settings": {"epochs": 3}},
        "settings: found the role epochs, expected weak and strong and both",
    ),
    "an unknown setting": (
        {"train": "full", "settings": {"both": {"epoch": 3}}},
        "unknown setting of full 'epoch': did you mean 'epochs'?",
    ),
    "settings and no fine-tuning": (
        {"settings": {"both": {"epochs": 3}}},
        "--set epochs: a setting of fine-tuning, found train probe",
    ),
    "settings for the role that is a probe": (
        {"train": ("probe", "full"), "settings": {"weak": {"epochs": 3}}},
        "weak.epochs: a setting of fine-tuning, but nothing is fine-tuned in this role",
    ),
    "settings for words": (
        {"weak": "bow", "train": "full", "settings": {"weak": {"lr": 1}}},
        "weak.lr: a setting of fine-tuning, but nothing is fine-tuned in this role",
    ),
    "settings of a probe's options": (
        {"weak_options": ov.ModelOptions(settings={"epochs": 3})},
        "--set epochs: a setting of fine-tuning, found train probe for ",
    ),
    "layers": (
        {"train": "full", "strong_options": ov.ModelOptions(layers=(1,))},
        "model '",
    ),
    "nothing to fine-tune": (
        {"weak": "bow", "strong": "bow", "train": "full"},
        "--train: found full, but only bow, labels and planted errors, which are not fine-tuned; "
        "expected a network such as minilm",
    ),
}


@pytest.mark.parametrize("case", PREPARED)
def test_what_a_study_cannot_honour_is_refused_before_it_begins(case: str, task: ov.Task, network: str) -> None:
    options, expected = PREPARED[case]
    assert refusal(lambda: roles(task, network, **options)).startswith(expected)
