"""Predictions before scores: what had been read and run when they were told, from the store, and what has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.methods.method import WithLoss
from oversight.methods.oracles import OracleEarlyStopping
from oversight.methods.several import Mean
from oversight.metrics import brier, kl_divergence, kl_misfit, nll, squared_misfit
from oversight.reports.result import Result
from oversight.runs.store import DirectoryStore, MemoryStore
from oversight.studies.foretell import foretell
from oversight.studies.stored import PLANTED, SAW_TRUTH, study_of, why_no_theory
from oversight.studies.weak_to_strong import Arm, Setup, begin_study, finish_study, run_study, seeds_of
from oversight.supervision.bought import Bought
from oversight.supervision.corruption import Corrupted
from oversight.supervision.majority import Majority
from oversight.supervision.supervisor import Flipped, Given, Supervision, Trained
from oversight.tasks.split import Seed, split_task
from oversight.tasks.task import Ints, Labels, Rows, Task

READ: list[str] = []


@dataclass(frozen=True, kw_only=True)
class Watched(Task):
    """A task that remembers of which rows the truth was asked for, and whether its labels were read otherwise."""

    def __getattribute__(self, name: str) -> Any:
        if name == "labels":
            READ.append("all labels at once")
        return super().__getattribute__(name)

    def truth(self, rows: Rows) -> Ints:
        READ.extend(rows.ids)
        labels: Ints = super().__getattribute__("labels")
        return labels[[self.rows.position[row_id] for row_id in rows.ids]]


def setup_of(task: Task, weak: Any, strong: Any, *, method: Any = None, seeds: int = 1, **options: Any) -> Setup:
    supervisors = weak if isinstance(weak, tuple) else (weak,)
    name = getattr(method, "name", "naive")
    arm = Arm(supervisors=supervisors, student=strong, method=method or WithLoss(), method_name=name)
    return Setup(task=task, arms=(arm,), seeds=seeds_of(seeds), **options)


@pytest.fixture(scope="module")
def task(make_task: Callable[..., Task]) -> Task:
    return make_task(n=1200)


def test_when_the_prediction_is_told_no_truth_of_transfer_validation_or_test_rows_was_read(
    task: Task, reader: Any, counted: Any
) -> None:
    fields = {name: getattr(task, name) for name in ("name", "rows", "labels", "class_names", "grouped")}
    watched = Watched(**fields)
    campaign = begin_study(setup_of(watched, Trained(reader(3)), reader(8)), store=counted)
    READ.clear()  # the cut itself counts classes, to keep their shares
    (found,) = foretell(campaign, store=counted)
    split = split_task(task, seed=0)
    assert found.squared is not None and found.squared.value > 0 and not found.scored
    assert READ and set(READ) <= set(split.weak)
    assert counted.since() == {"supervise": 1, "teach": 1}
    finish_study(campaign, store=counted)
    assert set(READ) >= {*split.transfer, *split.validation, *split.test}
    assert counted.since() == {"ceiling": 1, "rows": 1, "score": 1}  # nothing is done twice


def test_what_was_told_is_what_the_result_holds_and_the_definition(task: Task, reader: Any) -> None:
    store = MemoryStore()
    campaign = begin_study(setup_of(task, Trained(reader(3)), reader(8), seeds=3), store=store)
    (found,) = foretell(campaign, store=store)
    result = finish_study(campaign, store=store)
    theory, rows = result[0].theory, result.rows(0)
    assert theory is not None
    groups = np.unique(rows.groups, return_inverse=True)[1]
    student, weak = rows.probs["student"], rows.probs["weak"]
    assert found.squared == theory.squared.predicted == squared_misfit(student, weak, groups)
    assert found.kl == theory.kl.predicted == kl_misfit(student, weak, groups)
    for bound, loss, name in ((theory.squared, brier, "brier"), (theory.kl, nll, "nll")):
        gain = np.mean([loss(w, rows.truth) - loss(s, rows.truth) for w, s in zip(weak, student, strict=True)])
        scores = result[0].scores
        assert bound.realised.value == pytest.approx(gain, rel=1e-12)
        assert gain == pytest.approx(scores["weak"][name].value - scores["student"][name].value, rel=1e-12)
    assert theory.kl_weak_first == kl_divergence(weak, student, groups)
    assert theory.of(theory.flat()) == theory


def test_a_study_without_the_prediction_gives_the_same_bytes(task: Task, reader: Any) -> None:
    """Two halves of the work give what the whole gives."""
    setup, store = setup_of(task, Trained(reader(3)), reader(8), seeds=2), MemoryStore()
    whole = run_study(setup, store=MemoryStore())
    campaign = begin_study(setup, store=store)
    foretell(campaign, store=store)
    halves = finish_study(campaign, store=store)
    assert halves.as_json() == whole.as_json()
    for role in ("weak", "student", "ceiling"):
        assert halves.rows(0).probs[role].tobytes() == whole.rows(0).probs[role].tobytes()


def test_scored_studies_are_told_from_their_scores_though_nothing_else_is_left(
    task: Task, reader: Any, tmp_path: Path
) -> None:
    setup, store = setup_of(task, Trained(reader(3)), reader(8)), DirectoryStore(tmp_path / "store")
    study = run_study(setup, store=store)[0]
    for role in ("weak", "student", "ceiling"):
        for key in study.keys[role]:
            store.forget(key, "a test")
    left = list(store.keys())
    (found,) = foretell(begin_study(setup, store=store), store=store)
    assert study.theory is not None
    assert (found.scored, found.squared, found.kl) == (True, study.theory.squared.predicted, study.theory.kl.predicted)
    assert list(store.keys()) == left


def test_several_supervisors_are_foretold_by_their_mean(task: Task, reader: Any) -> None:
    store = MemoryStore()
    pair = (Trained(reader(2)), Trained(reader(3)))
    campaign = begin_study(setup_of(task, pair, reader(8), method=Mean()), store=store)
    (found,) = foretell(campaign, store=store)
    rows = finish_study(campaign, store=store).rows(0)
    groups = np.unique(rows.groups, return_inverse=True)[1]
    assert found.squared == squared_misfit(rows.probs["student"], rows.probs["weak"], groups)


def test_every_test_set_has_its_own_prediction(task: Task, reader: Any, make_task: Callable[..., Task]) -> None:
    store = MemoryStore()
    away = replace(make_task(seed=5, n=200), name="away")
    campaign = begin_study(setup_of(task, Trained(reader(3)), reader(8), tests={"away": away}), store=store)
    own, other = foretell(campaign, store=store)
    assert (own.name, other.name) == ("reader@3 -> reader@8, naive", "reader@3 -> reader@8, naive, test away")
    assert own.squared is not None and other.squared is not None and own.squared != other.squared
    assert other.squared.n == 200


@dataclass(frozen=True)
class Echo:
    """Says what another supervisor says: a `Derived` one."""

    like: Any
    train: str = "echo"

    @property
    def name(self) -> str:
        return f"echo of {self.like.name}"

    @property
    def backbones(self) -> tuple[Any, ...]:
        return self.like.backbones

    @property
    def sources(self) -> tuple[Any, ...]:
        return (self.like,)

    def check(self, task: Task, split: Any, tests: Any) -> None:
        self.like.check(task, split, tests)

    def answers(self, rows: Rows) -> Any:
        return self.like.answers(rows)

    def supervise(self, task: Task, split: Any, targets: Any, *, seed: Seed) -> Supervision:
        return self.like.supervise(task, split, targets, seed=seed)

    def derive(self, task: Task, targets: Any, given: Any, *, seed: Seed) -> Supervision:
        del task, targets, seed
        return Supervision(labels=tuple(given[0]), choices={})


def test_a_method_that_saw_the_truth_has_no_prediction(task: Task, reader: Any, counted: Any, run_arm: Any) -> None:
    setup = setup_of(task, Trained(reader(3)), reader(8), method=OracleEarlyStopping())
    (found,) = foretell(begin_study(setup, store=counted), store=counted)
    assert (found.squared, found.kl, found.reason) == (None, None, SAW_TRUTH)
    assert counted.since() == {}
    result: Result = run_arm(task, Trained(reader(3)), reader(8), OracleEarlyStopping(), name="oracle_early_stopping")
    assert result[0].theory is None and result[0].as_json()["theory"] is None
    assert result[0].no_theory == SAW_TRUTH


PLANTED_IN = {
    "flipped": Flipped(0.25),
    "soft": Flipped(0.25, confidence=0.8),
    "derived": Echo(Echo(Flipped(0.25))),
}


@pytest.mark.parametrize("planted", [*PLANTED_IN, "corrupted", "bought", "rows"])
def test_planted_truth_has_neither_prediction_nor_verdict(task: Task, reader: Any, counted: Any, planted: str) -> None:
    honest = Trained(reader(3))
    supervisors: dict[str, Any] = {
        **PLANTED_IN,
        "corrupted": Corrupted(structure="random", like=honest),
        "bought": (honest, Bought(64)),
        "rows": honest,
    }
    method = Mean() if planted == "bought" else None
    setup = setup_of(task, supervisors[planted], reader(8), method=method, planted=planted == "rows")
    campaign = begin_study(setup, store=counted)
    (found,) = foretell(campaign, store=counted)
    assert (found.squared, found.kl, found.reason) == (None, None, PLANTED)
    assert counted.since() == {}
    study = finish_study(campaign, store=counted)[0]
    assert study.theory is None and study.no_theory == PLANTED
    assert (study.as_json()["theory"], study.as_json()["no_theory"]) == (None, PLANTED)


@pytest.mark.parametrize("derived", [False, True])
def test_an_honest_supervisor_has_a_prediction(task: Task, reader: Any, derived: bool) -> None:
    weak: Any = Echo(Trained(reader(3))) if derived else Trained(reader(3))
    study = run_study(setup_of(task, weak, reader(8)), store=MemoryStore())[0]
    assert study.theory is not None and study.no_theory is None


@pytest.mark.parametrize(("how", "reason"), [("probe+bought", PLANTED), ("planted", PLANTED), ("bow+probe", None)])
def test_studies_kept_before_names_said_so_tell_it_by_how_supervisors_were_trained(
    task: Task, reader: Any, how: str, reason: str | None
) -> None:
    store = MemoryStore()
    campaign = begin_study(setup_of(task, Trained(reader(3)), reader(8)), store=store)
    finish_study(campaign, store=store)
    (one,) = campaign.scored
    old = {name: value for name, value in one.names.items() if name != "planted"} | {"weak_train": how}
    outcome = store.get(one.step.key)
    assert outcome is not None and why_no_theory(old) == reason
    assert (study_of(old, outcome.record).theory is None) == (reason is not None)


def test_a_constant_supervisor_is_told_without_a_prediction(task: Task, reader: Any) -> None:
    store = MemoryStore()
    setup = setup_of(task, Majority(), reader(8), seeds=2)
    for scored in (False, True):
        campaign = begin_study(setup, store=store)
        (found,) = foretell(campaign, store=store)
        assert (found.squared, found.kl, found.scored) == (None, None, scored)
        assert found.reason == "the supervisor says the same of every row"
        theory = finish_study(campaign, store=store)[0].theory
        assert theory is not None and [bound.holds for bound in theory.bounds.values()] == [None, None]


def test_hard_labels_have_a_squared_prediction_and_no_kl(task: Task, reader: Any, run_arm: Any) -> None:
    """People name one class: KL(student || weak) is infinite, which is a state and no number."""
    wrong = np.random.default_rng(5).random(len(task.labels)) < 0.25
    people = Given(Labels.of(task.rows, np.eye(2)[task.labels ^ wrong], source="people"), "labels:people")
    theory = run_arm(task, people, reader(8), WithLoss(), seeds=2)[0].theory
    assert theory is not None and theory.squared.surplus.defined
    told = theory.as_json()["kl"]
    assert told["predicted"] == {"value": None, "low": None, "high": None, "n_effective": 300.0}
    assert told["holds"] is None and "infinite" in told["reason"] and told["realised"]["value"] is not None
