"""What the networks of a study take, as a dry run shows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.cli.printing import print_plan
from oversight.errors import InputError
from oversight.methods.losses import Confidence
from oversight.methods.method import WithLoss
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import from_directory
from oversight.models.finetune import size
from oversight.models.finetune.recipe import Full, Lora, LpFt
from oversight.models.finetune.student import FineTuned
from oversight.models.lexical import BagOfWords
from oversight.models.network import Network
from oversight.models.probe import Probe
from oversight.models.student import Validation
from oversight.runs.store import MemoryStore
from oversight.studies.sizes import sizes_of
from oversight.studies.weak_to_strong import Setup, arms_of, seeds_of
from oversight.supervision.supervisor import Given, Supervisor, Trained
from oversight.tasks.split import split_task
from oversight.tasks.task import Labels, Task

SHORT = Full(epochs=2, lr=1e-3)


@pytest.fixture(scope="module")
def encoder(save_encoder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def tuned(encoder: Path) -> Callable[..., FineTuned]:
    """tuned(recipe, depth): a fine-tuned student on the tiny encoder."""

    def make(recipe: Full = SHORT, depth: int | None = None) -> FineTuned:
        checkpoint = from_directory(encoder, name="tiny")
        backbone = Backbone(checkpoint=checkpoint, depth=depth, precision="float32", device="cpu")
        return FineTuned(backbone=backbone, recipe=recipe)

    return make


def setup_of(task: Task, supervisor: Supervisor, *students: Any, methods: int = 1, **options: Any) -> Setup:
    named = [("naive", WithLoss()), ("confidence", WithLoss(Confidence()))][:methods]
    return Setup(task=task, arms=arms_of([(supervisor,)], students, named), seeds=seeds_of(2), **options)


def roles(setup: Setup) -> list[tuple[str, str, str]]:
    return [(one["role"], one["model"], one["train"]) for one in sizes_of(setup)]


def test_every_role_of_a_network_has_a_record(word_task: Task, tuned: Callable[..., FineTuned]) -> None:
    students = (tuned(), tuned(Lora()), Probe(backbone=tuned().backbone))
    assert roles(setup_of(word_task, Trained(tuned(depth=1)), *students)) == [
        ("supervisor", "tiny@1", "full"),
        ("student and ceiling", "tiny", "full"),
        ("student and ceiling", "tiny", "lora"),
        ("student and ceiling", "tiny", "probe"),
    ]


def test_the_same_student_by_several_methods_has_one_record(word_task: Task, tuned: Callable[..., FineTuned]) -> None:
    setup = setup_of(word_task, Trained(BagOfWords()), tuned(), methods=2)
    assert roles(setup) == [("student and ceiling", "tiny", "full")]


def test_what_is_no_network_has_no_record(word_task: Task) -> None:
    assert sizes_of(setup_of(word_task, Trained(BagOfWords()), BagOfWords())) == []


@pytest.mark.parametrize("recipe", [SHORT, Lora(epochs=1)], ids=["full", "lora"])
def test_a_supervisor_is_planned_as_it_is_then_trained(
    word_task: Task, tuned: Callable[..., FineTuned], recipe: Full
) -> None:
    setup = setup_of(word_task, Trained(tuned(recipe, depth=1)), BagOfWords())
    (planned,) = sizes_of(setup)
    split = split_task(word_task, seed=0)
    done = setup.arms[0].supervisors[0].supervise(word_task, split, [word_task.pick(split.test)], seed=setup.seeds[0])
    assert (planned["n_rows"], planned["updates"]) == (done.choices["n_rows"], done.choices["updates"])


def test_a_student_is_planned_as_it_is_then_trained(word_task: Task, tuned: Callable[..., FineTuned]) -> None:
    """Every word of the vocabulary but one stands in a text, so that the bound on trained weights is close."""
    setup = setup_of(word_task, Trained(BagOfWords()), tuned())
    (planned,) = sizes_of(setup)
    split = split_task(word_task, seed=0)
    rows, held = word_task.pick(split.transfer), word_task.pick(split.validation)
    seen = Validation(rows=held, labels=word_task.true_labels(held))
    done = tuned().fit(rows, word_task.true_labels(rows), validation=seen, seed=setup.seeds[0]).choices
    assert (planned["n_rows"], planned["updates"]) == (done["n_rows"], done["updates"])
    assert planned["parameters"] == done["n_parameters"]
    assert isinstance(done["n_trained"], int) and 0 <= planned["trained_parameters"] - done["n_trained"] <= 16


def test_students_of_people_learn_from_answered_rows_only(word_task: Task, tuned: Callable[..., FineTuned]) -> None:
    """Two transfer rows in three have an answer."""
    split = split_task(word_task, seed=0)
    silent = set(split.transfer[::3])
    labels = word_task.true_labels(word_task.rows)
    answered = np.array([row_id not in silent for row_id in word_task.rows.ids])
    people = Given(Labels.of(word_task.rows, labels.probs, source="people", answered=answered), "people")
    (planned,) = sizes_of(setup_of(word_task, people, tuned()))
    assert planned["n_rows"] == len(split.transfer) - len(silent)


def test_a_probe_reads_all_rows_once_and_has_neither_updates_nor_memory(
    word_task: Task, tuned: Callable[..., FineTuned]
) -> None:
    """480 texts of 9 tokens through two blocks: 2 (4 * 16 * 16 + 2 * 16 * 32) numbers each, and 4 * 2 * 16 * 9 * 9."""
    backbone = tuned().backbone
    (found,) = sizes_of(setup_of(word_task, Trained(BagOfWords()), Probe(backbone=backbone)))
    network = Network(backbone, depth=2)
    assert found["parameters"] == sum(one.numel() for one in network.model.parameters())
    assert found["flops"] == pytest.approx(480 * (2 * 9 * 2 * (4 * 16 * 16 + 2 * 16 * 32) + 4 * 2 * 16 * 9 * 9))
    assert (found["updates"], found["memory_bytes"], found["trained_parameters"]) == (None, None, 34)


def test_a_probe_that_chooses_its_layer_is_read_to_the_deepest(
    word_task: Task, tuned: Callable[..., FineTuned]
) -> None:
    shallow = Probe(backbone=tuned(depth=1).backbone)
    choosing = Probe(backbone=tuned(depth=1).backbone, layers=(0, 2))
    one, two = sizes_of(setup_of(word_task, Trained(BagOfWords()), shallow, choosing))
    assert two["flops"] == pytest.approx(2 * one["flops"])


def test_scoring_is_part_of_the_operations(word_task: Task, tuned: Callable[..., FineTuned]) -> None:
    """A student is compared to the validation rows eight times and once more in the end, and predicts the test."""
    (found,) = sizes_of(setup_of(word_task, Trained(BagOfWords()), tuned()))
    split = split_task(word_task, seed=0)
    n_scored = 9 * len(split.validation) + len(split.test)
    assert found["evaluation_flops"] == pytest.approx(n_scored * found["size"]["prediction_flops"])
    assert found["flops"] == pytest.approx(found["evaluation_flops"] + found["size"]["training_flops"])


def test_further_tests_are_scored_too(
    word_task: Task, make_task: Callable[..., Task], tuned: Callable[..., FineTuned]
) -> None:
    supervisor = Trained(BagOfWords())
    (one,) = sizes_of(setup_of(word_task, supervisor, tuned()))
    (two,) = sizes_of(setup_of(word_task, supervisor, tuned(), tests={"more": make_task(n=100)}))
    more = two["evaluation_flops"] - one["evaluation_flops"]
    assert more == pytest.approx(100 * one["size"]["prediction_flops"])


def test_a_search_of_learning_rates_counts_every_trial(word_task: Task, tuned: Callable[..., FineTuned]) -> None:
    one, two = sizes_of(setup_of(word_task, Trained(BagOfWords()), tuned(), tuned(Full(epochs=2, lr=(1e-3, 1e-4)))))
    assert two["updates"] == 2 * one["updates"]


def test_the_features_before_lp_ft_are_counted(word_task: Task, tuned: Callable[..., FineTuned]) -> None:
    one, two = sizes_of(setup_of(word_task, Trained(BagOfWords()), tuned(), tuned(LpFt(epochs=2, lr=1e-3))))
    assert two["flops"] - one["flops"] == pytest.approx(480 * one["size"]["prediction_flops"])


def test_a_network_too_large_for_the_memory_is_refused(
    word_task: Task, tuned: Callable[..., FineTuned], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(size, "available_bytes", lambda device: 1000)
    with pytest.raises(InputError, match=r"tiny: training \(full\) needs about"):
        sizes_of(setup_of(word_task, Trained(BagOfWords()), tuned()))


def test_nothing_is_loaded(
    word_task: Task, save_encoder: Callable[..., Path], tmp_path: Path, tuned: Callable[..., FineTuned]
) -> None:
    """The weights are not even there."""
    checkpoint = from_directory(save_encoder(tmp_path), name="gone")
    (tmp_path / "model.safetensors").unlink()
    gone = FineTuned(backbone=Backbone(checkpoint=checkpoint, precision="float32", device="cpu"), recipe=SHORT)
    found = sizes_of(setup_of(word_task, Trained(gone), gone))
    assert [one["model"] for one in found] == ["gone", "gone"]


def test_a_dry_run_prints_a_line_for_every_role(
    word_task: Task, tuned: Callable[..., FineTuned], capsys: pytest.CaptureFixture[str]
) -> None:
    setup = setup_of(word_task, Trained(tuned(depth=1)), Probe(backbone=tuned().backbone))
    print_plan(setup, MemoryStore(), False)
    lines = capsys.readouterr().out.splitlines()[2:]
    assert lines[0].startswith("supervisor tiny@1, full: ") and lines[0].endswith(" FLOPs for each seed")
    assert lines[1].startswith("student and ceiling tiny, probe: ") and "frozen" in lines[1]


def test_a_dry_run_gives_every_role_in_json(
    word_task: Task, tuned: Callable[..., FineTuned], capsys: pytest.CaptureFixture[str]
) -> None:
    setup = setup_of(word_task, Trained(tuned(depth=1)), tuned(), Probe(backbone=tuned().backbone))
    print_plan(setup, MemoryStore(), True)
    assert json.loads(capsys.readouterr().out)["roles"] == sizes_of(setup)
