"""Early stopping on ground truth: what it sees, what it does not, and that nobody can take it for a way to train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_labellers import copied

import oversight as ov
from oversight.methods import METHODS
from oversight.methods.losses import Confidence
from oversight.methods.method import OracleMethod, WeakData, WithLoss, check_needs
from oversight.methods.oracles import OracleEarlyStopping
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import from_directory
from oversight.models.finetune.recipe import Full
from oversight.models.finetune.student import FineTuned
from oversight.models.lexical import BagOfWords
from oversight.models.student import Fitted, Loss, Validation, cross_entropy
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels, Rows, content_id
from oversight.testing import Labeller, accuracies, flips, mean_interval

SEED = Seed.of(0)
ORACLE = OracleEarlyStopping()
RECIPE = Full(lr=3e-3, head_lr=1e-2, epochs=3, batch_size=16, evaluations=6)


@dataclass(frozen=True, kw_only=True)
class Witness:
    """A student that only remembers what it was given."""

    seen: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    name: str = "witness"
    backbones: tuple[Backbone, ...] = ()

    def check_loss(self, loss: Loss) -> None:
        del loss

    def fit(
        self,
        rows: Rows,
        labels: Labels,
        *,
        validation: Validation | None = None,
        loss: Loss = cross_entropy,
        weights: Floats | None = None,
        seed: Seed,
    ) -> Fitted:
        self.seen.append(
            {"rows": rows, "labels": labels, "validation": validation, "loss": loss, "weights": weights, "seed": seed}
        )
        return None  # pyright: ignore[reportReturnType]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Weak labels, wrong in a quarter of the rows, and the truth."""

    data: WeakData
    truth: Labels


@pytest.fixture(scope="module")
def case(planted_rows: Callable[..., list[dict[str, Any]]]) -> Case:
    """80 transfer and 40 validation rows."""
    records = planted_rows(120)
    texts, classes = tuple(row["text"] for row in records), np.array([row["label"] for row in records])
    ids = tuple(map(content_id, texts))
    rows = Rows(ids=ids, texts=texts, groups=ids)
    wrong = np.random.default_rng(0).random(120) < 0.25
    weak = Labels.of(rows, 0.6 * np.eye(2)[np.where(wrong, 1 - classes, classes)] + 0.2, source="weak")
    transfer, validation = rows.take(range(80)), rows.take(range(80, 120))
    return Case(
        data=WeakData(
            rows=transfer,
            labels=(weak.on(transfer),),
            validation=validation,
            validation_labels=(weak.on(validation),),
        ),
        truth=Labels.of(rows, np.eye(2)[classes], source="truth"),
    )


@pytest.fixture(scope="module")
def tuned(save_tiny: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Full], FineTuned]:
    """tuned(recipe): a tiny network to be trained so."""
    path = save_tiny(tmp_path_factory.mktemp("oracles") / "tiny")
    backbone = Backbone(checkpoint=from_directory(path, name="tiny"), precision="float32", device="cpu")
    return lambda recipe: FineTuned(backbone=backbone, recipe=recipe)


def agreed(fitted: Fitted, rows: Rows, labels: Labels) -> float:
    return float((fitted.predict(rows).argmax(1) == labels.on(rows).probs.argmax(1)).mean())


def test_it_trains_on_weak_labels_and_chooses_by_true_ones(case: Case) -> None:
    student = Witness()
    ORACLE.train_with_truth(student, case.data, case.truth, seed=SEED)
    [given] = student.seen
    assert given["rows"] is case.data.rows and given["labels"] is case.data.only
    assert given["validation"].rows is case.data.validation
    assert (given["validation"].labels.probs == case.truth.on(case.data.validation).probs).all()
    assert given["validation"].labels.source == "truth"


@pytest.mark.parametrize("loss", [cross_entropy, Confidence(0.75)])
def test_loss_and_seed_reach_the_student(loss: Loss, case: Case) -> None:
    student = Witness()
    OracleEarlyStopping(loss).train_with_truth(student, case.data, case.truth, seed=Seed.of(3))
    assert (student.seen[0]["loss"], student.seen[0]["seed"]) == (loss, Seed.of(3))


def test_the_truth_of_the_transfer_rows_does_not_reach_the_student(case: Case) -> None:
    """Turned over there it changes nothing."""
    student, transfer = Witness(), set(case.data.rows.ids)
    over = np.array([one in transfer for one in case.truth.row_ids])
    other = replace(case.truth, probs=np.where(over[:, None], case.truth.probs[:, ::-1], case.truth.probs))
    for truth in (case.truth, other):
        ORACLE.train_with_truth(student, case.data, truth, seed=SEED)
    first, second = student.seen
    assert (first["labels"].probs == second["labels"].probs).all()
    assert (first["validation"].labels.probs == second["validation"].labels.probs).all()


def test_several_supervisors_are_refused(case: Case) -> None:
    two = replace(case.data, labels=case.data.labels * 2)
    with pytest.raises(ov.InputError, match="found 2 supervisors, expected one"):
        ORACLE.train_with_truth(Witness(), two, case.truth, seed=SEED)


# With a network


def test_the_learning_curve_is_against_the_truth(case: Case, tuned: Callable[[Full], FineTuned]) -> None:
    fitted = ORACLE.train_with_truth(tuned(RECIPE), case.data, case.truth, seed=SEED)
    curve: Any = fitted.choices["curve"]
    best = max(curve, key=lambda entry: (entry["agreement"], -entry["cross_entropy"]))
    assert agreed(fitted, case.data.validation, case.truth) == best["agreement"] == fitted.choices["agreement"]


def test_the_same_updates_are_made_as_by_naive_and_compared_to_other_labels(
    case: Case, tuned: Callable[[Full], FineTuned]
) -> None:
    """The training losses at each evaluation are equal, the scores are not: a quarter of the weak labels is wrong."""
    oracle: Any = ORACLE.train_with_truth(tuned(RECIPE), case.data, case.truth, seed=SEED).choices["curve"]
    naive: Any = WithLoss().train(tuned(RECIPE), case.data, seed=SEED).choices["curve"]
    assert [one["loss"] for one in oracle] == [one["loss"] for one in naive]
    assert [one["cross_entropy"] for one in oracle] != [one["cross_entropy"] for one in naive]


def test_without_early_stopping_it_is_naive(case: Case, tuned: Callable[[Full], FineTuned]) -> None:
    student = tuned(replace(RECIPE, early_stopping=False))
    oracle = ORACLE.train_with_truth(student, case.data, case.truth, seed=SEED)
    naive = WithLoss().train(student, case.data, seed=SEED)
    assert (oracle.predict(case.data.rows) == naive.predict(case.data.rows)).all()


def test_on_the_validation_rows_it_is_right_at_least_as_often_as_naive(
    case: Case, tuned: Callable[[Full], FineTuned]
) -> None:
    """Both choose among the same evaluations of the same run, one of them by what is measured here."""
    student = tuned(replace(RECIPE, epochs=12, evaluations=12))
    oracle = ORACLE.train_with_truth(student, case.data, case.truth, seed=SEED)
    naive = WithLoss().train(student, case.data, seed=SEED)
    right = [agreed(one, case.data.validation, case.truth) for one in (oracle, naive)]
    assert right[0] >= right[1]


# As a method among others


@pytest.mark.parametrize(("labeller", "shared", "helps"), [(copied, 10.0, True), (flips(0.25), 0.0, False)])
def test_it_helps_where_weak_labels_choose_a_penalty_that_lets_errors_be_copied(
    labeller: Labeller, shared: float, helps: bool
) -> None:
    """The direction of the class varies most, so a strong penalty leaves little else; weak labels prefer a weak one."""
    naive, oracle = accuracies([WithLoss(), OracleEarlyStopping()], labeller, n=900, d=4, shared=shared).T
    low, high = mean_interval(oracle - naive)
    assert low > 0 if helps else low <= 0 <= high, (low, high)


def test_it_is_an_oracle_by_name_and_by_protocol() -> None:
    assert isinstance(ORACLE, OracleMethod) and not hasattr(ORACLE, "train")
    assert isinstance(METHODS["oracle_early_stopping"](), OracleEarlyStopping)


@pytest.mark.parametrize("name", METHODS)
def test_exactly_the_methods_called_oracle_see_the_truth(name: str) -> None:
    assert isinstance(METHODS[name](), OracleMethod) == name.startswith("oracle_")


@pytest.mark.parametrize("name", ["early_stopping", "naive", "my_oracle_"])
def test_a_name_that_hides_it_is_refused(name: str) -> None:
    with pytest.raises(ov.InputError, match=rf"^method {name}: it sees ground truth, so its name must begin with"):
        check_needs(name, ORACLE, BagOfWords(), n_supervisors=1)


def test_a_student_that_cannot_take_its_loss_is_refused() -> None:
    with pytest.raises(ov.InputError, match="cross-entropy only"):
        check_needs("oracle_early_stopping", OracleEarlyStopping(Confidence()), BagOfWords(), n_supervisors=1)


def test_given_as_an_object_it_is_named_as_in_the_table(
    planted_rows: Callable[..., list[dict[str, Any]]], write_lines: Callable[..., Path], tmp_path: Path
) -> None:
    """By name and as an object it is one study, and marked in both."""
    path = write_lines(tmp_path / "task.jsonl", planted_rows(200))
    bow = BagOfWords(strengths=(0.1, 1.0))
    by_name, by_object = (
        ov.weak_to_strong(path, weak=bow, strong=bow, method=one, seeds=1, store=":memory:")[0]
        for one in ("oracle_early_stopping", ORACLE)
    )
    assert by_name.oracle and by_name.method == "oracle_early_stopping"
    assert by_object.as_json() == by_name.as_json()
