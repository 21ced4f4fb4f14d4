"""The end of a training, the place that the truth would choose, and naive: what stands beside the student."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from oversight.methods import METHODS
from oversight.methods.chains import Bootstrap
from oversight.methods.filters import ConfidenceFilter
from oversight.methods.losses import Confidence
from oversight.methods.method import Method, Needs, WeakData, WithLoss
from oversight.methods.regularisers import LastWeights
from oversight.models.probe import FIRST_PLACE, FittedProbe
from oversight.models.student import Fitted, Student, Validation
from oversight.reports.words import beside, same_as
from oversight.studies.places import CONVERGED, NO_NAIVE, NOT_KEPT, n_same_choices, places_of
from oversight.studies.weak_to_strong import Setup, arms_of, run_study, seeds_of
from oversight.supervision.supervisor import Flipped
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels
from oversight.testing import Planted, flips, planted

SEED = Seed.of(0)


@pytest.fixture(scope="module")
def world() -> Planted:
    return planted(flips(0.3), n=600, d=8)


def truth_of(world: Planted, *, upside_down: bool = False) -> Validation:
    labels = world.truth.on(world.data.validation)
    probs = labels.probs[:, ::-1] if upside_down else labels.probs
    return Validation(rows=world.data.validation, labels=Labels.of(world.data.validation, probs, source="truth"))


def found(world: Planted, method: Method, *, upside_down: bool = False) -> tuple[Fitted, dict[str, Floats], Any]:
    """What a method gives on a planted world, and what stands beside it."""
    with world.known():
        fitted = method.train(world.student, world.data, seed=SEED)
        arrays, told = places_of(fitted, lambda: truth_of(world, upside_down=upside_down), {"test": world.test})
    return fitted, arrays, told


def test_last_is_the_end_of_the_path_under_the_penalty_that_was_chosen(world: Planted) -> None:
    fitted, arrays, told = found(world, WithLoss(Confidence()))
    assert isinstance(fitted, FittedProbe) and fitted.last is not None
    assert told["last"] == {"penalty": fitted.choices["penalty"], "progress": 1.0}
    with world.known():
        np.testing.assert_array_equal(arrays["test.last"], fitted.last.predict(world.test))


def test_the_oracles_place_follows_the_true_validation_labels_and_nothing_else(world: Planted) -> None:
    """Labels turned upside down choose another head of the same path: the one that is right least often."""
    _, arrays, told = found(world, WithLoss(Confidence()))
    _, other, _ = found(world, WithLoss(Confidence()), upside_down=True)
    assert told["oracle_best"]["progress"] >= FIRST_PLACE
    assert set(arrays) == {"test.last", "test.oracle_best"}
    np.testing.assert_array_equal(arrays["test.last"], other["test.last"])
    assert not np.array_equal(arrays["test.oracle_best"], other["test.oracle_best"])


@dataclass(frozen=True)
class Own:
    """A method that gives a student of its own making."""

    @property
    def needs(self) -> Needs:
        return Needs()

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        @dataclass(frozen=True)
        class Half:
            choices = {}  # noqa: RUF012

            def predict(self, rows: Any) -> Floats:
                return np.full((len(rows), 2), 0.5)

        return Half()  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("method", "reason"), [(WithLoss(), CONVERGED), (ConfidenceFilter(), CONVERGED), (Own(), NOT_KEPT)]
)
def test_where_there_is_no_path_the_reason_stands_there(world: Planted, method: Method, reason: str) -> None:
    _, arrays, told = found(world, method)
    assert (arrays, told) == ({}, {"reason": reason})


def test_of_several_fits_it_is_the_last_one(world: Planted) -> None:
    chain = Bootstrap(through=(world.student,), loss=Confidence())
    fitted, arrays, told = found(world, chain)
    final: Any = fitted.fitted  # type: ignore[attr-defined]
    with world.known():
        np.testing.assert_array_equal(arrays["test.last"], final.last.predict(world.test))
    assert told["last"]["penalty"] == final.choices["penalty"]


def test_last_weights_of_a_probe_are_the_end_of_the_path_of_cross_entropy(world: Planted) -> None:
    """It refused probes."""
    fitted, _, _ = found(world, LastWeights())
    kl, _, _ = found(world, METHODS["kl"].make())  # type: ignore[arg-type]
    assert isinstance(kl, FittedProbe) and kl.last is not None
    assert fitted.choices["progress"] == 1.0
    with world.known():
        np.testing.assert_allclose(fitted.predict(world.test), kl.last.predict(world.test), atol=1e-6)


# In a study


def test_seeds_count_where_every_choice_is_the_same() -> None:
    a, b = np.array([[0.4, 0.6], [0.9, 0.1]]), np.array([[0.1, 0.9], [0.6, 0.4]])
    assert n_same_choices([a, a, a], [a, b, a[::-1]]) == 2
    assert n_same_choices([np.full((2, 2), 0.5)], [a]) == 0, "a tie is not a choice of one class"


def test_it_is_said_in_words() -> None:
    assert same_as(3, 5) == "same as naive in 3 of 5 seeds"
    assert same_as(1, 1, "mean") == "same as mean in 1 of 1 seed"


def test_a_study_tells_last_oracle_best_and_how_often_it_is_naive(
    word_task: Any, save_encoder: Any, probe: Any, tmp_path: Any
) -> None:
    methods = [(name, METHODS[name].make()) for name in ("naive", "confidence", "confidence_filter")]
    methods[2] = ("again", ConfidenceFilter(threshold=0.0))
    arms = arms_of([(Flipped(0.3, 0.8),)], [probe(save_encoder(tmp_path / "tiny"))], methods)
    naive, confidence, again = run_study(Setup(task=word_task, arms=arms, seeds=seeds_of(2)))
    assert naive.student_last is None and naive.no_places == CONVERGED and naive.same_as_naive is None
    told = confidence.as_json()
    assert set(told["student_last"]) == set(told["student_oracle_best"]) >= {"value", "low", "high"}
    assert told["no_places"] is None and told["same_as_naive"] in (0, 1, 2)
    assert again.as_json()["same_as_naive"] == 2
    assert "same as naive in 2 of 2 seeds" in "".join(beside(again))
    (alone,) = run_study(Setup(task=word_task, arms=arms[1:2], seeds=seeds_of(2)))
    assert alone.as_json()["same_as_naive"] is None and alone.no_naive == NO_NAIVE
    assert alone.student_last == confidence.student_last
