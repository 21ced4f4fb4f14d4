"""What a step is said to take of a machine, against the networks themselves; and which steps are taken to be alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oversight.methods.method import WithLoss
from oversight.models.backbone import Backbone
from oversight.models.finetune.recipe import Full, Lora
from oversight.models.finetune.size import estimate_on
from oversight.models.finetune.student import FineTuned
from oversight.runs.steps import Needs, Step
from oversight.studies.needs import features_need, fit_needs, on_gpu, same_fit, same_network
from oversight.studies.plan import Plan
from oversight.studies.weak_to_strong import Scored, Setup, arms_of, plan_study, seeds_of
from oversight.supervision.supervisor import Supervisor, Trained
from oversight.tasks.split import Seed, split_task
from oversight.tasks.task import Task

Planned = tuple[Plan, list[Scored]]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, save_encoder: Callable[..., Path]) -> Path:
    return save_encoder(tmp_path_factory.mktemp("tiny") / "tiny")


def planned(task: Task, supervisor: Supervisor, student: Any, *, seeds: int = 1) -> Planned:
    arms = arms_of([(supervisor,)], [student], [("naive", WithLoss())])
    return plan_study(Setup(task=task, arms=arms, seeds=seeds_of(seeds)))


def steps_of(scored: list[Scored], kind: str) -> list[Step]:
    """Of one kind, of the first study."""
    ((labels, student, ceiling), *_) = scored[0].runs
    found = {"supervise": list(labels), "teach": [student], "ceiling": [ceiling]}
    return found.get(kind) or [step for step in student.inputs if step.kind == kind]


def fine_tuned(backbone: Backbone, **settings: Any) -> FineTuned:
    return FineTuned(backbone=backbone, recipe=Full(epochs=1, batch_size=16, **settings))


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_features_need_the_weights_that_are_loaded_and_the_states_that_are_kept(
    word_task: Task, bow: Any, tiny: Path, probe: Any, depth: int
) -> None:
    """Embeddings and at least the first block are loaded, and a state of 16 numbers is kept for each of 480 rows."""
    from transformers import BertModel

    plan, scored = planned(word_task, Trained(bow), probe(tiny, depth))
    network = BertModel.from_pretrained(tiny)
    parts = [network.embeddings, *network.encoder.layer[: max(depth, 1)], network.pooler]
    n = sum(one.numel() for part in parts for one in part.parameters())
    (step,) = steps_of(scored, "features")
    assert features_need(step, plan) == Needs(memory_bytes=4 * (n + 480 * 16))


def test_a_probe_and_a_bag_of_words_are_said_to_take_nothing(word_task: Task, bow: Any, tiny: Path, probe: Any) -> None:
    plan, scored = planned(word_task, Trained(bow), probe(tiny))
    for kind in ("supervise", "teach", "ceiling"):
        assert fit_needs(*steps_of(scored, kind), plan) == Needs()


def test_a_fit_needs_its_estimate_on_the_rows_that_it_learns_from(word_task: Task, tiny: Path, probe: Any) -> None:
    backbone: Backbone = probe(tiny).backbone
    supervisor, student = fine_tuned(backbone), fine_tuned(replace(backbone, depth=1))
    plan, scored = planned(word_task, Trained(supervisor), student)
    split = split_task(word_task, seed=Seed.of(0).split)
    learned = {
        "supervise": (supervisor, split.weak),
        "teach": (student, split.transfer),
        "ceiling": (student, split.transfer),
    }
    for kind, (learner, ids) in learned.items():
        size = estimate_on(learner, word_task.pick(ids), n_classes=2)
        assert fit_needs(*steps_of(scored, kind), plan) == Needs(memory_bytes=size.bytes_total)


def test_adapters_need_less_than_the_whole_network(word_task: Task, bow: Any, tiny: Path, probe: Any) -> None:
    needed: list[int] = []
    for recipe in (Full(epochs=1, batch_size=16), Lora(epochs=1, batch_size=16, rank=2)):
        student = FineTuned(backbone=probe(tiny).backbone, recipe=recipe)
        plan, scored = planned(word_task, Trained(bow), student)
        needed.append(fit_needs(*steps_of(scored, "teach"), plan).memory_bytes)
    assert 0 < needed[1] < needed[0]


@pytest.mark.parametrize(("device", "there"), [("cuda", True), ("cuda:1", True), ("cpu", False)])
def test_a_network_on_a_gpu_is_one(probe: Any, tiny: Path, device: str, there: bool) -> None:
    assert on_gpu(replace(probe(tiny).backbone, device=device)) is there


def test_what_works_on_a_gpu_asks_for_one_and_for_no_memory(word_task: Task, bow: Any, tiny: Path, probe: Any) -> None:
    there = replace(probe(tiny).backbone, device="cuda")
    plan, scored = planned(word_task, Trained(bow), replace(probe(tiny), backbone=there))
    assert features_need(*steps_of(scored, "features"), plan) == Needs(gpu=True)
    assert fit_needs(*steps_of(scored, "teach"), plan) == Needs()
    plan, scored = planned(word_task, Trained(bow), fine_tuned(there))
    assert (
        fit_needs(*steps_of(scored, "teach"), plan) == fit_needs(*steps_of(scored, "ceiling"), plan) == Needs(gpu=True)
    )


def test_features_of_one_network_are_alike_at_any_depth_and_those_of_others_are_not(
    word_task: Task, bow: Any, tiny: Path, probe: Any, tmp_path: Path, save_encoder: Callable[..., Path]
) -> None:
    def named(student: Any) -> Any:
        (step,) = steps_of(planned(word_task, Trained(bow), student)[1], "features")
        return same_network(step.config)

    other = save_encoder(tmp_path / "other", seed=1)
    assert named(probe(tiny, 0)) == named(probe(tiny, 1)) == named(probe(tiny))
    assert named(probe(other)) != named(probe(tiny))


def test_fits_of_one_recipe_are_alike_whatever_the_seed_and_the_labels(
    word_task: Task, bow: Any, tiny: Path, probe: Any
) -> None:
    def named(supervisor: Any, student: Any, run: int = 0) -> Any:
        _, student_step, _ = planned(word_task, Trained(supervisor), student, seeds=2)[1][0].runs[run]
        return same_fit(student_step.config)

    backbone = probe(tiny).backbone
    student = fine_tuned(backbone)
    assert named(bow, student) == named(bow, student, run=1) == named(probe(tiny, 0), student)
    others = [fine_tuned(backbone, lr=1e-3), fine_tuned(replace(backbone, depth=1)), probe(tiny)]
    assert len({named(bow, student), *(named(bow, one) for one in others)}) == 4
