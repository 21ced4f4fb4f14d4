"""Boosting: the closed forms of SAMME, scikit-learn's own, a gain where members are weak, and the names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.errors import InputError
from oversight.models.backbone import Backbone
from oversight.models.lexical import BagOfWords
from oversight.models.student import Loss, Validation, cross_entropy
from oversight.resolve.models import ModelOptions, is_network, load_supervisor, parts_of, student_in
from oversight.supervision.boosted import Boosted, reweighted, say
from oversight.supervision.supervisor import Trained
from oversight.tasks.split import Seed, split_task
from oversight.tasks.task import Floats, Labels, Rows, Task, content_id
from oversight.testing import mean_interval

SEED = Seed.of(0)


@dataclass(frozen=True)
class Stump:
    """A decision tree of so many levels on features known by row: a model as weak as they come."""

    features: Mapping[str, Floats]
    levels: int = 1
    name: str = "stump"
    train: str = "tree"
    backbones: tuple[Backbone, ...] = field(default=())

    def check_loss(self, loss: Loss) -> None:
        """Any."""

    def x(self, rows: Rows) -> Floats:
        return np.stack([self.features[one] for one in rows.ids])

    def fit(
        self,
        rows: Rows,
        labels: Labels,
        *,
        validation: Validation | None = None,
        loss: Loss = cross_entropy,
        weights: Floats | None = None,
        seed: Seed,
    ) -> FittedStump:
        from sklearn.tree import DecisionTreeClassifier

        tree = DecisionTreeClassifier(max_depth=self.levels, random_state=seed.init)
        tree.fit(self.x(rows), labels.on(rows).probs.argmax(1), sample_weight=weights)
        return FittedStump(student=self, tree=tree, k=labels.n_classes)


@dataclass(frozen=True, kw_only=True)
class FittedStump:
    student: Stump
    tree: Any
    k: int
    choices: Mapping[str, object] = field(default_factory=dict[str, object])

    def predict(self, rows: Rows) -> Floats:
        """One-hot, so that a soft vote is a vote."""
        return np.eye(self.k)[self.tree.predict(self.student.x(rows))]


def world(k: int = 2, n: int = 800, *, seed: int = 0) -> tuple[Task, Stump]:
    """A class that depends on the sum of four features, of which a stump sees one."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    total = x.sum(1)
    labels = np.searchsorted(np.quantile(total, np.arange(1, k) / k), total).astype(np.int64)
    texts = tuple(f"row {i} {seed}" for i in range(n))
    ids = tuple(map(content_id, texts))
    names = tuple(f"c{j}" for j in range(k))
    task = Task(name="t", rows=Rows(ids=ids, texts=texts, groups=ids), labels=labels, class_names=names)
    return task, Stump(features=dict(zip(ids, x, strict=True)))


def supervised(supervisor: Boosted | Trained, task: Task, seed: int = 0) -> tuple[Floats, float, Any]:
    """Probabilities on the test rows, accuracy there, and the members."""
    split = split_task(task, seed=seed)
    test = task.pick(split.test)
    found = supervisor.supervise(task, split, [test], seed=SEED)
    probs = found.labels[0].probs
    return probs, float((probs.argmax(1) == task.truth(test)).mean()), found.choices.get("members")


@pytest.mark.parametrize("k", [2, 3, 5])
def test_the_say_of_a_member_in_closed_form(k: int) -> None:
    assert say(0.2, k) == pytest.approx(math.log(4) + math.log(k - 1))
    assert say(1 - 1 / k - 1e-9, k) == pytest.approx(0, abs=1e-7)
    assert say(1 - 1 / k, k) is None and say(0.0, k) is None and say(0.9, k) is None


@pytest.mark.parametrize("k", [2, 3, 5])
def test_after_reweighting_a_member_is_as_good_as_chance(k: int) -> None:
    """err e^alpha / (err e^alpha + 1 - err) = 1 - 1 / k: what a member learned is used up."""
    rng = np.random.default_rng(k)
    weights, wrong = rng.dirichlet(np.ones(50)), rng.random(50) < 0.3
    alpha = say(float(weights @ wrong), k)
    assert alpha is not None
    assert reweighted(weights, wrong, alpha) @ wrong == pytest.approx(1 - 1 / k)


def test_of_two_classes_weights_are_divided_by_twice_the_shares() -> None:
    """w / (2 e) where wrong, w / (2 (1 - e)) where right: the update in the code of Sang et al. 2024."""
    weights, wrong = np.array([0.1, 0.2, 0.3, 0.4]), np.array([True, False, False, False])
    alpha = say(0.1, 2)
    assert alpha is not None
    np.testing.assert_allclose(reweighted(weights, wrong, alpha), weights / np.where(wrong, 0.2, 1.8))


@pytest.mark.parametrize("k", [2, 3])
def test_members_and_votes_are_those_of_scikit_learn(k: int) -> None:
    """The same trees, errors and weights; the same winner wherever two classes are not level."""
    from sklearn.ensemble import AdaBoostClassifier
    from sklearn.tree import DecisionTreeClassifier

    task, stump = world(k)
    probs, _, members = supervised(Boosted(stump, 8), task)
    split = split_task(task, seed=0)
    weak, test = task.pick(split.weak), task.pick(split.test)
    theirs = AdaBoostClassifier(DecisionTreeClassifier(max_depth=1, random_state=0), n_estimators=8)
    theirs.fit(stump.x(weak), task.truth(weak))
    assert len(members) == 8
    np.testing.assert_allclose([one["error"] for one in members], theirs.estimator_errors_, rtol=1e-9)
    np.testing.assert_allclose([one["alpha"] for one in members], theirs.estimator_weights_, rtol=1e-9)
    top = np.sort(probs, axis=1)
    clear = top[:, -1] - top[:, -2] > 1e-9
    np.testing.assert_array_equal(probs.argmax(1)[clear], theirs.predict(stump.x(test))[clear])


def test_one_round_is_the_model_alone() -> None:
    task, stump = world()
    np.testing.assert_array_equal(
        supervised(Boosted(stump, 1), task)[0],
        supervised(Trained(stump), task)[0],  # type: ignore[arg-type]
    )


def test_a_member_without_errors_is_kept_alone_and_ends_it() -> None:
    task, stump = world()
    deep = Stump(features=stump.features, levels=30)
    probs, _, members = supervised(Boosted(deep, 5), task)
    np.testing.assert_array_equal(probs, supervised(Trained(deep), task)[0])
    assert len(members) == 1 and members[0] == {"error": 0.0, "alpha": None}


def test_an_ensemble_of_stumps_beats_a_stump() -> None:
    """Eight worlds; 95 % interval of the gain above 0."""
    found: list[float] = []
    for seed in range(8):
        task, stump = world(seed=seed)
        found.append(supervised(Boosted(stump, 8), task)[1] - supervised(Trained(stump), task)[1])
    assert mean_interval(np.array(found))[0] > 0.05


def test_a_model_that_already_fits_gains_nothing() -> None:
    """The class is linear in the features and so is the bag of words: there is nothing that a member misses."""
    rng = np.random.default_rng(0)
    gains: list[float] = []
    for seed in range(6):
        labels = rng.integers(0, 2, 500)
        texts = tuple(
            " ".join(f"{'ab'[label] if rng.random() < 0.6 else 'ab'[1 - label]}{rng.integers(20)}" for _ in range(6))
            + f" n{i}"
            for i, label in enumerate(labels)
        )
        ids = tuple(map(content_id, texts))
        rows = Rows(ids=ids, texts=texts, groups=ids)
        task = Task(name="t", rows=rows, labels=labels, class_names=("x", "y"))
        bow = BagOfWords(strengths=(0.1, 1.0))
        gains.append(supervised(Boosted(bow, 3), task, seed)[1] - supervised(Trained(bow), task, seed)[1])
    assert mean_interval(np.array(gains))[0] < 0.01


def test_a_name_becomes_an_ensemble() -> None:
    task, _ = world()
    one, other = load_supervisor("boost:bow+boost:bow:3", task)
    assert isinstance(one, Boosted) and isinstance(other, Boosted)
    assert (one.rounds, other.rounds) == (5, 3)
    assert (one.name, other.name) == ("boost:bow:5", "boost:bow:3")
    assert parts_of("bow+boost:minilm@2:7") == ("bow", "minilm@2")
    assert is_network("boost:minilm") and not is_network("boost:bow:3")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("boost:bow:0", "boost:bow: found 0 rounds, expected at least 1"),
        ("boost:bwo", "did you mean 'bow'"),
        ("boost:labels:a.csv", "answers from a file can supervise, but cannot be trained"),
    ],
)
def test_a_bad_name_is_refused(spec: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load_supervisor(spec, world()[0])


def test_an_ensemble_is_no_student() -> None:
    with pytest.raises(InputError, match="boost:bow': an ensemble can supervise, but cannot be trained"):
        student_in(Path(), "boost:bow", ModelOptions())


def test_an_ensemble_supervises_from_the_command_line_and_in_a_plan(
    oversight: Callable[..., Any], place: Path, planted_rows: Callable[..., Any], write_lines: Callable[..., Any]
) -> None:
    write_lines(place / "a.jsonl", planted_rows(200))
    said = oversight("w2s", "a.jsonl", "--weak", "boost:bow:2", "--strong", "bow", "--seeds", "1", "--json")
    assert said.code == 0, said.err
    assert said.json["weak_model"] == "boost:bow:2"
    plan = 'tasks = ["a.jsonl"]\nsupervisors = ["bow+boost:bow:2"]\nstudents = ["bow"]\nmethods = ["mean"]\nseeds = 1\n'
    (place / "p.toml").write_text(plan)
    swept = oversight("sweep", "p.toml", "--json")
    assert swept.code == 0, swept.err
    (study,) = swept.json["studies"]
    assert study["weak_model"] == "bow+boost:bow:2"
    assert set(said.json["keys"]["weak"]) & set(study["keys"]["weak"]), "the same ensemble is trained once"
