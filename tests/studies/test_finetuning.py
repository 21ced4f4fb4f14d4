"""Studies with fine-tuned networks, from Python: who chooses by what, what is warned of, what is told, what is kept."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

import oversight as ov
from oversight.methods.method import WithLoss
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import from_directory
from oversight.models.finetune.recipe import Full, Machine
from oversight.models.finetune.student import FineTuned
from oversight.models.lexical import BagOfWords
from oversight.reports.result import Result
from oversight.runs.steps import Progress
from oversight.runs.store import DirectoryStore, MemoryStore, Outcome
from oversight.sealed import ARRAYS
from oversight.studies import plan
from oversight.studies.training import training_warnings
from oversight.supervision.supervisor import Flipped, Given, Trained
from oversight.tasks.split import Split, split_task
from oversight.tasks.task import Labels, Task

ROLES = ("weak", "student", "ceiling")
QUICK = Full(lr=3e-3, head_lr=1e-2, epochs=2, batch_size=16, evaluations=4)
READ: dict[str, Any] = {"precision": "float32", "device": "cpu", "max_tokens": 32}
Fit = Callable[..., FineTuned]
RunArm = Callable[..., Result]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, save_tiny: Callable[..., Path]) -> Path:
    """A decoder of two blocks."""
    return save_tiny(tmp_path_factory.mktemp("network") / "tiny")


@pytest.fixture(scope="module")
def file(
    tmp_path_factory: pytest.TempPathFactory,
    planted_rows: Callable[..., list[dict[str, Any]]],
    write_lines: Callable[..., Path],
) -> Path:
    """240 rows whose class is a word: 60 test, 81 weak, 81 transfer, 18 validation rows."""
    return write_lines(tmp_path_factory.mktemp("file") / "task.jsonl", planted_rows(240))


@pytest.fixture(scope="module")
def task(file: Path) -> Task:
    return ov.load_task(file)


@pytest.fixture(scope="module")
def tuned(network: Path) -> Fit:
    """tuned(recipe, depth=None, path=None, **options): a network to be trained so."""

    def make(recipe: Full = QUICK, *, depth: int | None = None, path: Path = network, **options: Any) -> FineTuned:
        checkpoint = from_directory(path, name="tiny")
        return FineTuned(backbone=Backbone(checkpoint=checkpoint, depth=depth, **{**READ, **options}), recipe=recipe)

    return make


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """untrained(): from then on whoever trains fails."""

    def refuse(*args: Any, **options: Any) -> NoReturn:
        raise AssertionError("trained")

    return lambda: monkeypatch.setattr("oversight.models.finetune.student.train", refuse)


def probs_of(result: Result) -> Mapping[str, Any]:
    return result.rows(0).probs


def same_bits(first: Result, second: Result) -> bool:
    return all((probs_of(first)[role] == probs_of(second)[role]).all() for role in ROLES)


def without_seconds(found: Any) -> Any:
    if isinstance(found, Mapping):
        return {name: without_seconds(one) for name, one in found.items() if name != "seconds"}
    return [without_seconds(one) for one in found] if isinstance(found, list | tuple) else found


# Choices without ground truth


RATES = replace(QUICK, lr=(1e-12, 3e-3), epochs=6)


@pytest.fixture(scope="module")
def people(task: Task) -> Given:
    """Soft labels that stay whatever the truth is said to be: wrong in a tenth of the rows, none of validation."""
    wrong = np.random.default_rng(5).random(len(task)) < 0.1
    wrong &= ~np.isin(task.rows.ids, split_task(task, seed=0).validation)
    named = np.where(wrong, 1 - task.labels, task.labels)
    return Given(labels=Labels.of(task.rows, 0.8 * np.eye(2)[named] + 0.1, source="people"), name="people")


@pytest.fixture(scope="module")
def searched(task: Task, people: Given, tuned: Fit, run_arm: RunArm) -> Result:
    """A study in which student and ceiling choose between two learning rates."""
    return run_arm(task, people, tuned(RATES), WithLoss(), seeds=1)


def test_all_learning_rates_tried_are_in_the_result(searched: Result) -> None:
    for role in ("student", "ceiling"):
        [choices] = searched[0].choices[role]
        assert [one["lr"] for one in choices["tried"]] == [1e-12, 3e-3]
        assert all(len(one["curve"]) == 4 for one in choices["tried"])


def test_the_rate_that_agrees_with_the_weak_validation_labels_is_kept(searched: Result) -> None:
    """The other one never leaves its start."""
    [choices] = searched[0].choices["student"]
    assert choices["lr"] == 3e-3
    assert choices["agreement"] == max(one["agreement"] for one in choices["tried"])


def test_no_truth_of_transfer_or_validation_rows_reaches_the_student(
    task: Task, people: Given, tuned: Fit, run_arm: RunArm, searched: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The truth of all but the test rows turned over, and the cut, which balances classes, held as it was."""
    cuts: dict[int, Split] = {0: split_task(task, seed=0)}
    monkeypatch.setattr(plan, "_split", lambda key, seed: cuts[seed])
    test = np.isin(task.rows.ids, cuts[0].test)
    other = replace(task, labels=np.where(test, task.labels, 1 - task.labels))
    found = run_arm(other, people, tuned(RATES), WithLoss(), seeds=1)
    assert (probs_of(found)["student"] == probs_of(searched)["student"]).all()
    assert without_seconds(found[0].choices["student"]) == without_seconds(searched[0].choices["student"])
    assert found[0].score("ceiling").value < 0.2 < 0.8 < searched[0].score("ceiling").value


def test_weak_labels_of_the_validation_rows_are_what_the_student_is_compared_to(
    task: Task, people: Given, tuned: Fit, run_arm: RunArm, searched: Result
) -> None:
    """Turned over there, the same updates are made and another of them, or another rate, is kept."""
    held = np.isin(people.labels.row_ids, split_task(task, seed=0).validation)
    probs = np.where(held[:, None], people.labels.probs[:, ::-1], people.labels.probs)
    other = replace(people, labels=replace(people.labels, probs=probs))
    before, after = (
        one[0].choices["student"][0] for one in (searched, run_arm(task, other, tuned(RATES), WithLoss(), seeds=1))
    )
    losses = [[[at["loss"] for at in one["curve"]] for one in choices["tried"]] for choices in (before, after)]
    assert losses[0] == losses[1]
    last = [choices["tried"][1]["curve"][-1]["agreement"] for choices in (before, after)]
    assert last[0] == pytest.approx(1 - last[1]) and last[0] > 0.6
    assert (after["lr"], after["stopped_at"]) != (before["lr"], before["stopped_at"])


def test_student_and_ceiling_learn_from_the_same_rows(task: Task, people: Given, tuned: Fit, run_arm: RunArm) -> None:
    """Those that the supervisor answers: the same number of rows, epochs and updates."""
    answered = np.random.default_rng(6).random(len(task)) < 0.7
    answered |= np.isin(task.rows.ids, split_task(task, seed=0).test)
    some = replace(people, labels=replace(people.labels, answered=answered))
    study = run_arm(task, some, tuned(), WithLoss(), seeds=1)[0]
    transfer = np.isin(task.rows.ids, split_task(task, seed=0).transfer)
    [student], [ceiling] = study.choices["student"], study.choices["ceiling"]
    names = ("n_rows", "epochs", "updates", "lr", "batch_size", "n_trained")
    assert [student[name] for name in names] == [ceiling[name] for name in names]
    assert student["n_rows"] == (answered & transfer).sum() < transfer.sum()


def test_of_several_seeds_each_has_its_own_weights(task: Task, tuned: Fit, run_arm: RunArm) -> None:
    probs = probs_of(run_arm(task, Flipped(0.1), tuned(replace(QUICK, epochs=1)), WithLoss(), seeds=2))
    assert (probs["student"][0] != probs["student"][1]).any() and (probs["ceiling"][0] != probs["ceiling"][1]).any()


# Warnings


def test_a_role_that_learned_nothing_is_warned_of_by_name_and_seeds(task: Task, tuned: Fit, run_arm: RunArm) -> None:
    """The supervisor's learning rates are so small that its loss stays where it began."""
    still = replace(QUICK, lr=1e-12, head_lr=1e-12)
    well = replace(QUICK, epochs=12)
    study = run_arm(task, Trained(tuned(still, depth=1)), tuned(well), WithLoss(), seeds=2)[0]
    found = [one for one in study.warnings if one.startswith("undertrained")]
    assert any("loss of the supervisor " in one and "in 2 of 2 seeds" in one for one in found)
    assert not any("loss of the ceiling " in one for one in found)


def outcome(**choices: Any) -> Outcome:
    return Outcome(record={"choices": choices})


FINE = outcome(undertrained=False, packed=True)
PLAIN = outcome(penalty=1.0)
OPEN = outcome(undertrained=True, packed=True)
PADDED = outcome(undertrained=False, packed=False, why_padded="it counts from the end")


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([((FINE,), FINE, FINE)], []),
        ([((PLAIN,), PLAIN, PLAIN)], []),
        ([((OPEN,), FINE, FINE)], [("supervisor", 1, 1)]),
        ([((FINE,), OPEN, FINE), ((FINE,), FINE, FINE)], [("student", 1, 2)]),
        ([((FINE,), OPEN, OPEN), ((FINE,), OPEN, FINE)], [("student", 2, 2), ("ceiling", 1, 2)]),
        ([((OPEN, OPEN), FINE, FINE), ((PLAIN, FINE), FINE, FINE)], [("supervisor", 1, 2)]),
    ],
)
def test_seeds_are_counted_by_role(runs: Any, expected: list[tuple[str, int, int]]) -> None:
    assert training_warnings(runs) == [
        f"undertrained: the training loss of the {role} was still falling at the end, or never fell, "
        f"in {n} of {of} seeds; ask for more epochs"
        for role, n, of in expected
    ]


def test_a_reason_for_padding_is_said_once() -> None:
    other = outcome(packed=False, why_padded="it looks back")
    assert training_warnings([((PADDED,), PADDED, other), ((FINE,), PADDED, FINE)]) == [
        "texts were padded, as they could not be packed: it counts from the end",
        "texts were padded, as they could not be packed: it looks back",
    ]


def test_a_network_that_cannot_be_packed_is_padded_and_says_why(
    task: Task, tuned: Fit, run_arm: RunArm, save_tiny: Callable[..., Path], tmp_path: Path
) -> None:
    """MPNet adds a bias by the distance of two tokens to its attention."""
    padded = tuned(QUICK, path=save_tiny(tmp_path / "mpnet", "mpnet"))
    study = run_arm(task, Flipped(0.1), padded, WithLoss(), seeds=1)[0]
    [reason] = {one["why_padded"] for role in ("student", "ceiling") for one in study.choices[role]}
    assert reason and f"texts were padded, as they could not be packed: {reason}" in study.warnings


@pytest.mark.usefixtures("searched")
def test_a_packed_network_says_nothing_of_padding(searched: Result) -> None:
    assert searched[0].choices["student"][0]["packed"] is True
    assert not any("padded" in one for one in searched[0].warnings)


def test_truncated_rows_are_counted(task: Task, tuned: Fit, run_arm: RunArm) -> None:
    """Texts have 7 words; every third one is made 9 long, and the limit is 8."""
    texts = tuple(f"{text} so so" if i % 3 == 0 else text for i, text in enumerate(task.rows.texts))
    longer = replace(task, rows=replace(task.rows, texts=texts))
    study = run_arm(longer, Flipped(0.1), tuned(replace(QUICK, epochs=1), max_tokens=8), WithLoss(), seeds=1)[0]
    transfer = longer.pick(split_task(longer, seed=0).transfer)
    n = sum(len(text.split()) > 8 for text in transfer.texts)
    assert study.choices["student"][0]["truncated"] == {"max_tokens": 8, "n_truncated": n, "n_rows": len(transfer)}
    wanted = f"{n} of {len(transfer)} rows are longer than 8 tokens and were truncated (none was dropped)"
    assert n > 0 and wanted in study.warnings


# Progress


def test_every_fit_tells_its_updates_loss_agreement_and_time_left(task: Task, tuned: Fit, run_arm: RunArm) -> None:
    told: list[tuple[str, float, str]] = []
    progress = Progress(doing=lambda label, done, note: told.append((label, done, note)))
    supervisor = Trained(tuned(QUICK, depth=1))
    study = run_arm(task, supervisor, tuned(), WithLoss(), seeds=2, progress=progress)[0]
    form = r"tiny(@1)?, seed [01]: update (\d+)/(\d+), loss \d\.\d{3}(, agreement \d\.\d{3})?, \d+:\d\d left"
    notes = [(label, re.fullmatch(form, note)) for label, _, note in told if note]
    assert all(found for _, found in notes)
    labels = {
        "weak": "supervisors learn and label",
        "student": "students learn from weak labels",
        "ceiling": "ceilings learn from ground truth",
    }
    for role, label in labels.items():
        updates = sum(one["updates"] for one in study.choices[role])
        ends = [found for one, found in notes if one == label and found and found[2] == found[3]]
        assert sum(one == label for one, _ in notes) == updates
        assert len(ends) == 2 and all("agreement" in found[0] for found in ends)
    assert all(0 <= done <= 1 for _, done, _ in told)


# The store


def test_keeping_models_changes_no_bit(task: Task, tuned: Fit, run_arm: RunArm, tmp_path: Path) -> None:
    stores = [MemoryStore(), DirectoryStore(tmp_path / "store")]
    first, second = (run_arm(task, Flipped(0.1), tuned(), WithLoss(), seeds=1, store=store) for store in stores)
    assert same_bits(first, second)


def test_how_often_checkpoints_are_written_changes_no_bit(
    task: Task, tuned: Fit, run_arm: RunArm, tmp_path: Path
) -> None:
    """Nor the name under which anything is kept."""
    often = replace(QUICK, machine=Machine(seconds_between_checkpoints=0, checkpointing=True))
    first, second = (
        run_arm(task, Flipped(0.1), tuned(recipe), WithLoss(), seeds=1, store=DirectoryStore(tmp_path / name))
        for name, recipe in (("never", QUICK), ("often", often))
    )
    assert first[0].keys == second[0].keys
    for role in ROLES:
        np.testing.assert_allclose(probs_of(first)[role], probs_of(second)[role], rtol=0, atol=1e-6)
    assert list((tmp_path / "often" / "unfinished").iterdir()) == []


@pytest.mark.parametrize("recipe", [QUICK, replace(QUICK, early_stopping=False)], ids=["best", "last"])
def test_predictions_that_were_lost_come_from_the_kept_models(
    recipe: Full, task: Task, tuned: Fit, run_arm: RunArm, tmp_path: Path, untrained: Callable[[], None]
) -> None:
    store = DirectoryStore(tmp_path)
    first = run_arm(task, Trained(tuned(recipe, depth=1)), tuned(recipe), WithLoss(), seeds=1, store=store)
    before = {role: probs_of(first)[role].copy() for role in ROLES}
    for key in [*first[0].keys["weak"], *first[0].keys["student"], *first[0].keys["ceiling"], *first[0].keys["score"]]:
        shutil.rmtree(store.folder(key))
    untrained()
    again = run_arm(task, Trained(tuned(recipe, depth=1)), tuned(recipe), WithLoss(), seeds=1, store=store)
    assert all((probs_of(again)[role] == before[role]).all() for role in ROLES)


def test_rows_of_a_result_whose_predictions_were_damaged_since_need_no_training(
    task: Task, tuned: Fit, run_arm: RunArm, tmp_path: Path, untrained: Callable[[], None]
) -> None:
    store = DirectoryStore(tmp_path)
    result = run_arm(task, Flipped(0.1), tuned(), WithLoss(), seeds=1, store=store)
    before = probs_of(result)["student"].copy()
    path = store.folder(result[0].keys["student"][0]) / ARRAYS
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    untrained()
    assert (probs_of(result)["student"] == before).all()


# From Python


def study_of(file: Path, network: Path, **options: Any) -> Any:
    own = {"weak_options": ov.ModelOptions(**READ), "strong_options": ov.ModelOptions(**READ), **options}
    return ov.weak_to_strong(file, weak=f"{network}@1", strong=str(network), seeds=1, store=":memory:", **own)[0]


def test_a_recipe_is_given_as_an_object(file: Path, network: Path) -> None:
    pytest.importorskip("peft")
    recipe = ov.Lora(rank=2, lr=1e-2, epochs=1, batch_size=16)
    study = study_of(file, network, train=recipe)
    assert (study.train, study.weak_train) == ("lora", "lora")
    for role in ROLES:
        [choices] = study.choices[role]
        assert {name: choices[name] for name in ("rank", "lr", "epochs", "batch_size")} == {
            "rank": 2,
            "lr": 1e-2,
            "epochs": 1,
            "batch_size": 16,
        }


def test_each_role_is_given_its_own(file: Path, network: Path) -> None:
    study = study_of(file, network, train={"weak": "probe", "strong": ov.Full(epochs=1, batch_size=16)})
    assert (study.train, study.weak_train) == ("full", "probe")
    assert study.choices["student"][0]["epochs"] == 1 and "penalty" in study.choices["weak"][0]


def test_settings_are_given_by_role(file: Path, network: Path) -> None:
    given = {"both": {"batch_size": 16, "epochs": 1}, "weak": {"lr": 1e-3}, "strong": {"lr": (1e-3, 3e-3)}}
    study = study_of(file, network, train="full", settings=given)
    assert study.choices["weak"][0]["lr"] == 1e-3
    assert [one["lr"] for one in study.choices["ceiling"][0]["tried"]] == [1e-3, 3e-3]


def test_options_of_a_model_name_its_training(file: Path, network: Path) -> None:
    strong = ov.ModelOptions(train="lp-ft", settings={"epochs": 1, "batch_size": 16}, **READ)
    study = study_of(file, network, strong_options=strong)
    assert (study.train, study.weak_train) == ("lp-ft", "probe")


def test_confidence_trains_a_network_otherwise_than_naive(file: Path, network: Path) -> None:
    given = {"both": {"batch_size": 16, "epochs": 2, "lr": 3e-3}}
    studies = ov.weak_to_strong(
        file,
        weak=BagOfWords(strengths=(0.1, 1.0)),
        strong=str(network),
        method=["naive", "confidence"],
        train="full",
        settings=given,
        strong_options=ov.ModelOptions(**READ),
        seeds=1,
        store=":memory:",
    )
    naive, confidence = studies[0], studies[1]
    assert naive.scores["ceiling"] == confidence.scores["ceiling"]
    assert naive.choices["student"][0]["curve"] != confidence.choices["student"][0]["curve"]


def test_models_are_kept_unless_told_otherwise(file: Path, network: Path, tmp_path: Path) -> None:
    def kinds(**options: Any) -> set[str]:
        store = DirectoryStore(tmp_path / str(len(options)))
        ov.weak_to_strong(
            file,
            weak=BagOfWords(strengths=(1.0,)),
            strong=str(network),
            train=ov.Full(epochs=1, batch_size=27),
            strong_options=ov.ModelOptions(**READ),
            seeds=1,
            store=store,
            **options,
        )
        return {store.about(key)["kind"] for key in store.keys()}  # noqa: SIM118

    assert "model" in kinds() and "model" not in kinds(keep_models=False)
