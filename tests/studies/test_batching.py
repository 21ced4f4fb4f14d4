"""Students of a group learn side by side: each as it would alone, the same bits every time, whatever the threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.methods.losses import Confidence
from oversight.methods.method import Method, Needs, OracleMethod, WithLoss
from oversight.methods.oracles import OracleEarlyStopping
from oversight.models.backbone import Backbone
from oversight.models.batching import designs
from oversight.models.checkpoint import from_directory
from oversight.models.finetune.recipe import Full, LpFt
from oversight.models.finetune.student import FineTuned
from oversight.models.probe import Probe
from oversight.models.solver import Design
from oversight.reports.result import Result
from oversight.runs.store import DirectoryStore, MemoryStore, Outcome
from oversight.studies.weak_to_strong import Arm, Setup, arms_of, plan_study, run_study, seeds_of
from oversight.supervision.supervisor import Flipped, Trained
from oversight.tasks.task import Floats, Labels, Task

METHODS: dict[str, Method | OracleMethod] = {
    "naive": WithLoss(),
    "confidence": WithLoss(Confidence()),
    "surer": WithLoss(Confidence(0.9, 0.5)),
    "oracle_early_stopping": OracleEarlyStopping(),
    "oracle_confidence": OracleEarlyStopping(Confidence()),
}
ROLES = ("weak", "student", "ceiling")


class Silent(Flipped):
    """Says nothing of every third row."""

    def answers(self, rows: Any) -> Any:
        return np.arange(len(rows)) % 3 > 0

    def supervise(self, task: Any, split: Any, targets: Any, *, seed: Any) -> Any:
        found = super().supervise(task, split, targets, seed=seed)
        less = (replace(found.labels[0], answered=self.answers(targets[0])), *found.labels[1:])
        return replace(found, labels=less)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, save_encoder: Callable[..., Path]) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


def students(result: Result) -> list[Floats]:
    return [result.rows(i).probs["student"] for i in range(len(result))]


def choices(result: Result) -> list[tuple[Any, Any]]:
    return [(one.get("penalty"), one.get("progress")) for study in result for one in study.choices["student"]]


@settings(max_examples=6, deadline=None)
@given(
    st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=1, max_size=3, unique=True),
    st.lists(st.sampled_from(sorted(METHODS)), min_size=1, max_size=4, unique=True),
    st.booleans(),
    st.sampled_from([(), (0, 2)]),
)
def test_a_student_in_a_group_and_alone_agree(
    word_task: Task,
    bow: Any,
    network: Path,
    fractions: list[float],
    names: list[str],
    silent: bool,
    layers: tuple[int, ...],
) -> None:
    """1e-6 in probability is promised."""
    backbone = Backbone(checkpoint=from_directory(network, name="tiny"), precision="float32", device="cpu")
    student = Probe(backbone=backbone, penalties=(1e-3, 1e-1, 10.0), layers=layers)
    weak = [(Flipped(one, 0.8),) for one in fractions] + [(Trained(bow),)] + [(Silent(0.2),)] * silent
    arms = arms_of(weak, [student], [(name, METHODS[name]) for name in names])
    store = MemoryStore()
    together = run_study(Setup(task=word_task, arms=arms, seeds=seeds_of(1)), store=store)
    for i, arm in enumerate(arms):
        designs.clear()
        alone = run_study(Setup(task=word_task, arms=(arm,), seeds=seeds_of(1)))
        np.testing.assert_allclose(students(together)[i], students(alone)[0], atol=1e-6)
        assert choices(together)[i] == choices(alone)[0]


def group(task: Task, bow: Any, student: Any) -> Result:
    """Two supervisors with every method on one student."""
    arms = arms_of([(Trained(bow),), (Flipped(0.3, 0.8),)], [student], list(METHODS.items()))
    return run_study(Setup(task=task, arms=arms, seeds=seeds_of(2)))


def bits(result: Result) -> list[bytes]:
    return [result.rows(i).probs[role].tobytes() for i in range(len(result)) for role in ROLES]


def test_the_same_group_gives_the_same_bits(word_task: Task, bow: Any, probe: Any, network: Path) -> None:
    found: list[Any] = []
    for _ in range(2):
        designs.clear()
        result = group(word_task, bow, probe(network))
        found.append((bits(result), result.as_json()))
    assert found[0] == found[1]


def test_a_student_whose_rows_were_decomposed_before_has_the_same_bits(
    word_task: Task, bow: Any, probe: Any, network: Path
) -> None:
    designs.clear()
    first = bits(group(word_task, bow, probe(network)))
    assert bits(group(word_task, bow, probe(network))) == first


def test_a_study_has_the_same_bits_whatever_the_threads(
    make_task: Callable[..., Task], probe: Any, network: Path
) -> None:
    """On given features, enough of them for two threads to share the work."""
    task = make_task(n=2400)
    arms = arms_of([(Flipped(0.3, 0.8),)], [probe(network)], list(METHODS.items()))
    setup = Setup(task=task, arms=arms, seeds=seeds_of(1))
    plan, scored = plan_study(setup)
    (step,) = [step for step in scored[0].runs[0][1].inputs if step.kind == "features"]
    rows = plan.objects[step.key].rows
    x = np.random.default_rng(0).normal(size=(len(rows), 200)) + 0.2 * task.truth(rows)[:, None]
    before, found = torch.get_num_threads(), []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            designs.clear()
            store = MemoryStore()
            record = {"n_rows": len(rows), "n_truncated": 0, "max_tokens": 64, "cosine_error": 0.0, "n_tokens": 9}
            given = Outcome(arrays={"features": x.astype(np.float32)}, record=record)
            store.put(step.key, given, about={"kind": "features", "seconds": 0.0})
            result = run_study(setup, store=store)
            found.append((bits(result), result.as_json()))
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]


def test_paths_of_all_losses_are_one_batch(
    word_task: Task, network: Path, probe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    paths = Design.paths

    def listening(self: Design, targets: Any, penalties: Any, losses: Any) -> Any:
        told.append(len(losses))
        return paths(self, targets, penalties, losses)

    monkeypatch.setattr(Design, "paths", listening)
    methods = [(name, METHODS[name]) for name in ("naive", "confidence", "surer")]
    arms = arms_of([(Flipped(0.3, 0.8),), (Flipped(0.1, 0.8),)], [probe(network)], methods)
    run_study(Setup(task=word_task, arms=arms, seeds=seeds_of(1)))
    assert told == [12]  # two supervisors, two losses, three penalties


@dataclass(frozen=True)
class Chain:
    """Its student labels all rows again for a second student, who learns from that."""

    @property
    def needs(self) -> Needs:
        return WithLoss().needs

    def train(self, student: Any, data: Any, *, seed: Any) -> Any:
        first = student.fit(data.rows, data.only, validation=data.checks, seed=seed)
        both = (Labels.of(rows, first.predict(rows), source="first") for rows in (data.rows, data.validation))
        again = data.relabelled(*both)
        return student.fit(data.rows, again.only, validation=again.checks, loss=Confidence(), seed=seed)


def test_a_method_of_several_fits_goes_along_with_those_of_one(word_task: Task, network: Path, probe: Any) -> None:
    def study(*methods: tuple[str, Any]) -> Result:
        arms = arms_of([(Flipped(0.3, 0.8),)], [probe(network)], methods)
        return run_study(Setup(task=word_task, arms=arms, seeds=seeds_of(1)))

    chain = ("chain", Chain())
    together = study(("naive", WithLoss()), chain, ("confidence", WithLoss(Confidence())))
    np.testing.assert_allclose(students(together)[1], students(study(chain))[0], atol=1e-6)


# Which models a step used


def records(store: DirectoryStore, result: Result, role: str) -> list[dict[str, Any]]:
    found = [store.get(key) for key in result[0].keys[role]]
    return [dict(one.record) for one in found if one is not None]


def test_a_step_says_which_models_it_kept_or_found(word_task: Task, network: Path, tmp_path: Path, bow: Any) -> None:
    """Two learning rates are two models. Made again from the kept models, a step names the same ones."""
    backbone = Backbone(checkpoint=from_directory(network, name="tiny"), precision="float32", device="cpu")
    recipe = LpFt(lr=(1e-3, 3e-3), epochs=1, batch_size=32, evaluations=2)
    arm = Arm(
        supervisors=(Trained(bow),),
        student=FineTuned(backbone=backbone, recipe=recipe),
        method=WithLoss(),
        method_name="naive",
    )
    setup = Setup(task=word_task, arms=(arm,), seeds=seeds_of(1))
    store = DirectoryStore(tmp_path / "store")
    result = run_study(setup, store=store)
    student, ceiling = records(store, result, "student")[0], records(store, result, "ceiling")[0]
    assert len(student["models"]) == len(set(student["models"])) == 2
    assert all(store.about(key)["kind"] == "model" for key in (*student["models"], *ceiling["models"]))
    assert not set(student["models"]) & set(ceiling["models"])
    assert "models" not in records(store, result, "weak")[0]
    for role in ("score", "student"):
        store.forget(result[0].keys[role][0], "test")
    again = run_study(setup, store=DirectoryStore(store.path))
    assert records(store, again, "student")[0]["models"] == student["models"]


def test_a_study_that_keeps_no_models_names_none(word_task: Task, network: Path, tmp_path: Path, bow: Any) -> None:
    backbone = Backbone(checkpoint=from_directory(network, name="tiny"), precision="float32", device="cpu")
    student = FineTuned(backbone=backbone, recipe=Full(lr=1e-3, epochs=1, batch_size=32, evaluations=2))
    arm = Arm(supervisors=(Trained(bow),), student=student, method=WithLoss(), method_name="naive")
    store = DirectoryStore(tmp_path / "store")
    result = run_study(Setup(task=word_task, arms=(arm,), seeds=seeds_of(1)), store=store, keep_models=False)
    assert not any("models" in one for role in ROLES for one in records(store, result, role))
