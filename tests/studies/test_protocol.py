"""A study is the protocol written out: the same rows for every role, the same numbers by hand, all of its JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from oversight.methods.method import WithLoss
from oversight.models.student import Validation
from oversight.reports.result import Result
from oversight.studies.veil import Veil
from oversight.studies.weak_to_strong import Setup, arms_of, run_study, seeds_of
from oversight.supervision.supervisor import Flipped, Trained
from oversight.tasks.split import Seed, split_task
from oversight.tasks.task import Labels, Task

Run = Callable[..., Result]
ROLES = ("weak", "student", "ceiling")
FIELDS = {
    "task",
    "weak_model",
    "strong_model",
    "method",
    "train",
    "metric",
    "n_test",
    "seeds",
    *ROLES,
    "chance",
    "gap",
} | {
    "pgr",
    "agreement",
    "warnings",
    "keys",
}


@pytest.fixture(scope="module")
def task(make_task: Callable[..., Task]) -> Task:
    return make_task()


@pytest.fixture(scope="module")
def flipped(task: Task, run_arm: Run, reader: Any) -> Result:
    """A quarter of the labels wrong, three seeds."""
    return run_arm(task, Flipped(0.25), reader(8), WithLoss())


def test_the_three_roles_are_the_protocol_done_by_hand(task: Task, run_arm: Run, reader: Any) -> None:
    """Weak learns the weak part, labels transfer and validation; the student learns from it, the ceiling from truth."""
    weak, strong, veil = reader(3), reader(8), Veil.of(task)
    rows = run_arm(task, Trained(weak), strong, WithLoss()).rows(0)
    for i in range(3):
        seed, split = Seed.of(i), split_task(task, seed=i)
        part = {name: task.pick(getattr(split, name)) for name in ("weak", "transfer", "validation", "test")}
        teacher = weak.fit(part["weak"], task.true_labels(part["weak"]), seed=seed)
        labels = {
            name: Labels.of(part[name], teacher.predict(part[name]), source="w") for name in ("transfer", "validation")
        }
        seen = {name: veil.rows(part[name]) for name in labels}  # a method sees other names, in their order
        given = {name: veil.labels(labels[name], seen[name]) for name in labels}
        checks = Validation(rows=seen["validation"], labels=given["validation"])
        student = strong.fit(seen["transfer"], given["transfer"], validation=checks, seed=seed)
        checks = Validation(rows=part["validation"], labels=task.true_labels(part["validation"]))
        ceiling = strong.fit(part["transfer"], task.true_labels(part["transfer"]), validation=checks, seed=seed)
        assert rows.ids == part["test"].ids
        for role, fitted in zip(ROLES, (teacher, student, ceiling), strict=True):
            assert rows.probs[role][i].tobytes() == fitted.predict(part["test"]).tobytes(), (i, role)


def test_every_role_is_scored_on_the_same_test_rows(task: Task, flipped: Result) -> None:
    rows = flipped.rows(0)
    assert rows.ids == split_task(task, seed=0).test
    assert {rows.probs[role].shape for role in ROLES} == {(3, len(rows.ids), 2)}
    assert rows.truth.tolist() == task.truth(task.pick(rows.ids)).tolist()
    assert {flipped[0].score(role).n for role in ROLES} == {len(rows.ids)}


def test_scores_are_means_over_seeds_of_the_rows_that_are_kept(flipped: Result) -> None:
    rows = flipped.rows(0)
    for role in ROLES:
        right = [[p.argmax() == c for p, c in zip(one, rows.truth, strict=True)] for one in rows.probs[role]]
        assert flipped[0].score(role).value == pytest.approx(np.mean(right), rel=1e-12)


def test_pgr_is_a_ratio_of_means(flipped: Result) -> None:
    weak, student, ceiling = (flipped[0].score(role).value for role in ROLES)
    assert flipped[0].gap.value == pytest.approx(ceiling - weak, rel=1e-12)
    assert flipped[0].pgr.value == pytest.approx((student - weak) / (ceiling - weak), rel=1e-12)


def test_agreement_is_that_of_the_choices(flipped: Result) -> None:
    rows = flipped.rows(0)
    weak, student = rows.probs["weak"].argmax(2), rows.probs["student"].argmax(2)
    found = flipped[0].agreement
    assert found["all"].value == pytest.approx((weak == student).mean(), rel=1e-12)
    wrong = weak != rows.truth[None, :]
    assert found["weak_wrong"].value == pytest.approx((weak == student)[wrong].mean(), rel=1e-9)


def test_a_loss_like_metric_changes_sign_in_the_gap(task: Task, run_arm: Run, reader: Any) -> None:
    found = run_arm(task, Flipped(0.25, 0.75), reader(8), WithLoss(), metric="nll")[0]
    assert found.gap.value == pytest.approx(found.score("weak").value - found.score("ceiling").value, rel=1e-12)
    assert found.gap.value > 0


def test_a_common_class_makes_the_metric_balanced_and_says_so(make_task: Any, run_arm: Run, reader: Any) -> None:
    task = make_task()
    common = task.take(np.flatnonzero((task.labels == 0) | (np.arange(len(task)) % 3 == 0)))
    found = run_arm(common, Flipped(0.25), reader(8), WithLoss())[0]
    assert found.metric == "balanced_accuracy" and found.chance == 0.5
    assert any("balanced accuracy" in warning for warning in found.warnings)


def test_the_json_has_every_field_of_the_design(flipped: Result) -> None:
    found = flipped.as_json()
    assert set(found) >= FIELDS
    assert set(found["pgr"]) == {"value", "low", "high", "n_effective", "defined", "reason", "covers"}
    assert set(found["agreement"]) == {"all", "weak_right", "weak_wrong"}
    for role in ROLES:
        assert set(found[role]) >= {"accuracy", "auroc", "nll", "brier", "ece"}
        assert all(set(one) == {"value", "low", "high", "n_effective"} for one in found[role].values())


def test_several_studies_are_a_list_in_the_json(task: Task, reader: Any) -> None:
    arms = arms_of([(Flipped(0.25),), (Flipped(0.3),)], [reader(2), reader(8)], [("naive", WithLoss())])
    found = run_study(Setup(task=task, arms=arms, seeds=seeds_of(1))).as_json()["studies"]
    assert [(one["weak_model"], one["strong_model"]) for one in found] == [
        ("flipped:0.25", "reader@2"),
        ("flipped:0.25", "reader@8"),
        ("flipped:0.3", "reader@2"),
        ("flipped:0.3", "reader@8"),
    ]


def small_test(task: Task, n: int) -> Task:
    return replace(task, is_test=np.arange(len(task)) < n)


@pytest.mark.parametrize("case", ["defined", "no gap", "one seed", "few rows"])
def test_the_json_never_holds_nan(task: Task, run_arm: Run, reader: Any, case: str) -> None:
    supervisor = Trained(reader(8)) if case == "no gap" else Flipped(0.25)
    given = small_test(task, 12) if case == "few rows" else task
    found = run_arm(given, supervisor, reader(8), WithLoss(), seeds=1 if case == "one seed" else 3).as_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == json.loads(json.dumps(found))
    assert found["pgr"]["defined"] is (found["pgr"]["value"] is not None)
    assert (found["pgr"]["reason"] is None) is found["pgr"]["defined"]


def test_scores_of_fewer_than_twenty_rows_are_null(task: Task, run_arm: Run, reader: Any) -> None:
    found = run_arm(small_test(task, 19), Flipped(0.25), reader(8), WithLoss()).as_json()
    assert [found[role]["accuracy"]["value"] for role in ROLES] == [None, None, None]
    assert not found["pgr"]["defined"]


def test_one_seed_says_that_the_interval_covers_these_models_only(task: Task, run_arm: Run, reader: Any) -> None:
    found = run_arm(task, Flipped(0.25), reader(8), WithLoss(), seeds=1)[0]
    assert "these trained models" in found.pgr.covers
    assert any(warning.startswith("one seed") for warning in found.warnings)


def test_a_fixed_split_leaves_initialisation_and_order_to_vary(task: Task, reader: Any) -> None:
    arms = arms_of([(Flipped(0.25),)], [reader(8)], [("naive", WithLoss())])
    found = run_study(Setup(task=task, arms=arms, seeds=seeds_of(3, split=0)))
    ceilings, weak = found.rows(0).probs["ceiling"], found.rows(0).probs["weak"]
    assert (ceilings == ceilings[0]).all() and not (weak == weak[0]).all()


@pytest.fixture(scope="module")
def elsewhere(make_task: Callable[..., Task]) -> Task:
    return replace(make_task(99, n=400, signal=0.4), name="elsewhere")


def test_each_further_test_set_is_a_study_of_its_own(task: Task, elsewhere: Task, run_arm: Run, reader: Any) -> None:
    found = run_arm(task, Trained(reader(2)), reader(8), WithLoss(), tests={"elsewhere": elsewhere})
    assert [study.test for study in found.studies] == ["test", "elsewhere"]
    rows = found.rows(1)
    assert sorted(rows.ids) == sorted(elsewhere.rows.ids) and found[1].n_test == 400
    assert rows.truth.tolist() == elsewhere.truth(elsewhere.pick(rows.ids)).tolist()
    assert found[1].score("ceiling").value < found[0].score("ceiling").value  # the signal is weaker there


def test_a_further_test_set_changes_nothing_about_the_own_test(
    task: Task, elsewhere: Task, run_arm: Run, reader: Any
) -> None:
    both = run_arm(task, Trained(reader(2)), reader(8), WithLoss(), tests={"elsewhere": elsewhere})
    alone = run_arm(task, Trained(reader(2)), reader(8), WithLoss())
    for role in ROLES:
        assert both.rows(0).probs[role].tobytes() == alone.rows(0).probs[role].tobytes()
    assert both[0].pgr == alone[0].pgr or (np.isnan(both[0].pgr.value) and np.isnan(alone[0].pgr.value))


def test_the_order_of_the_file_changes_no_bit(task: Task, run_arm: Run, reader: Any) -> None:
    """The cut of a task is remembered by its fingerprint, so it is forgotten in between to be made anew."""
    from oversight.studies.plan import _split  # pyright: ignore[reportPrivateUsage]

    shuffled = task.take(np.random.default_rng(3).permutation(len(task)))
    found = []
    for one in (task, shuffled):
        _split.cache_clear()
        result = run_arm(one, Trained(reader(3)), reader(8), WithLoss())
        found.append((json.dumps(result.as_json()), {role: result.rows(0).probs[role].tobytes() for role in ROLES}))
    assert found[0] == found[1]


def test_the_order_of_the_file_changes_no_bit_of_a_probe_on_an_encoder(
    word_task: Task, run_arm: Run, bow: Any, save_encoder: Any, probe: Any, tmp_path: Any
) -> None:
    from oversight.models.batching import designs
    from oversight.studies.plan import _split  # pyright: ignore[reportPrivateUsage]

    student = probe(save_encoder(tmp_path / "tiny"))
    shuffled = word_task.take(np.random.default_rng(3).permutation(len(word_task)))
    found = []
    for one in (word_task, shuffled):
        _split.cache_clear()
        designs.clear()
        rows = run_arm(one, Trained(bow), student, WithLoss(), seeds=2).rows(0)
        found.append({role: rows.probs[role].tobytes() for role in ROLES})
    assert found[0] == found[1]


def test_a_table_has_one_row_per_test_row_seed_and_role(flipped: Result) -> None:
    pytest.importorskip("pandas")
    frame, n = flipped.to_pandas(), flipped[0].n_test
    assert len(frame) == 3 * 3 * n
    right = frame[(frame.role == "student")].assign(right=lambda f: f.truth == f.choice).right.mean()
    assert right == pytest.approx(flipped[0].score("student").value, rel=1e-12)
