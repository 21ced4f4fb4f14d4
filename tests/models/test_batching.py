"""Jobs that ask for solutions side by side: what they get, in how many turns, and what happens to those that err."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from torch import Tensor

from oversight.methods.losses import Confidence
from oversight.models import batching
from oversight.models.backbone import Backbone
from oversight.models.batching import Designs, Place, Request, solutions, together
from oversight.models.checkpoint import Checkpoint
from oversight.models.path import STEPS
from oversight.models.probe import FittedProbe, Probe
from oversight.models.solver import Design
from oversight.models.student import Validation, cross_entropy
from oversight.tasks.split import Seed
from oversight.tasks.task import Labels, Rows

Floats = npt.NDArray[np.float64]
Plant = Callable[..., Rows]


def results(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    return [one.result for one in together(jobs)]


@pytest.fixture
def backbone(bert: Checkpoint) -> Backbone:
    """Whose features are planted."""
    return Backbone(checkpoint=bert, precision="float32", device="cpu")


@pytest.fixture
def place(backbone: Backbone, plant: Plant) -> Place:
    """Forty rows of five features."""
    return Place(backbone, plant(backbone, np.random.default_rng(0).normal(size=(40, 5))))


def soft(n: int, *, seed: int, k: int = 2) -> Floats:
    return np.random.default_rng(seed).dirichlet(np.ones(k), n)


def test_answers_are_those_of_the_design(place: Place) -> None:
    x, y = batching.features(place.backbone, place.rows), soft(40, seed=1)
    both = results([lambda: solutions([Request(place, y, (0.1, 1.0))]), lambda: solutions([Request(place, y, (0.1,))])])
    expected = Design(x).solve([y, y], [0.1, 1.0]).probs(x)
    np.testing.assert_allclose(both[0][0].probs(x), expected, atol=1e-6)
    np.testing.assert_allclose(both[1][0].probs(x), expected[:1], atol=1e-6)


def test_labels_of_different_classes_rows_and_losses_stay_apart(place: Place, backbone: Backbone) -> None:
    some = Place(backbone, place.rows.take(range(20)))
    weighted = Place(backbone, place.rows, np.linspace(0.1, 1, 40))
    requests = [
        Request(place, soft(40, seed=1), (0.1,)),
        Request(place, soft(40, seed=1, k=3), (0.1,)),
        Request(some, soft(20, seed=1), (0.1,)),
        Request(weighted, soft(40, seed=1), (0.1,)),
        Request(place, soft(40, seed=1), (0.1,), Confidence()),
        Request(place, soft(40, seed=1), (0.1,), Confidence(0.9)),
        Request(place, soft(40, seed=1), (0.01, 0.1, 1.0), Confidence()),
    ]
    found = results([lambda one=one: solutions([one])[0] for one in requests])
    for request, one in zip(requests, found, strict=True):
        (alone,) = solutions([request])
        np.testing.assert_allclose(one.coefficients, alone.coefficients, atol=1e-6)


def test_the_same_loss_goes_along_with_all_jobs_and_equal_requests_once(place: Place) -> None:
    told: list[float] = []

    def listening(logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        told.append(progress)
        return cross_entropy(logits, targets)

    targets = [soft(40, seed=i) for i in (1, 2, 1)]
    results([lambda y=y: solutions([Request(place, y.copy(), (0.1,), listening)]) for y in targets])
    assert told == [(t + 1) / STEPS for t in range(STEPS) for _ in range(2)]


def test_a_job_begins_again_after_every_wait_and_no_more(place: Place) -> None:
    begun: list[str] = []

    def chain() -> int:
        begun.append("chain")
        y = soft(40, seed=1)
        for _ in range(3):
            y = solutions([Request(place, y, (0.1,))])[0].probs(batching.features(place.backbone, place.rows))[0]
        return 3

    def nothing() -> int:
        begun.append("nothing")
        return 0

    assert results([chain, nothing]) == [3, 0]
    assert begun == ["chain", "nothing", "chain", "chain", "chain"]


def test_a_job_that_asks_anew_every_time_is_run_by_itself_in_the_end(place: Place) -> None:
    draw = np.random.default_rng(0)
    found = results([lambda: solutions([Request(place, draw.dirichlet([1, 1], 40), (1.0,))])[0]] * 2)
    assert [one.coefficients.shape for one in found] == [(1, 5, 2)] * 2


def test_an_error_of_a_job_is_told_and_later_fits_stand_alone(place: Place) -> None:
    def wrong() -> None:
        solutions([Request(place, soft(40, seed=1), (0.1,))])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        results([wrong])
    assert len(solutions([Request(place, soft(40, seed=2), (0.1,))])) == 1


def test_more_jobs_than_go_side_by_side_get_the_same(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [lambda i=i: solutions([Request(place, soft(40, seed=i), (0.1,))])[0].coefficients for i in range(5)]
    wide = results(jobs)
    monkeypatch.setattr(batching, "SIDE_BY_SIDE", 2)
    np.testing.assert_allclose(results(jobs), wide, atol=1e-6)


def test_a_job_that_solves_more_takes_longer_than_its_neighbour_in_the_batch(place: Place) -> None:
    """Not the mean over the batch, which said the same of every method on a board."""

    def light() -> None:
        solutions([Request(place, soft(40, seed=0), (0.1,))])

    def heavy() -> None:
        light()
        for i in range(4):
            solutions([Request(place, soft(40, seed=i), (0.1,), Confidence(0.1 * (i + 1)))])

    def idle() -> None:
        return None

    seconds = [one.seconds for one in together([light, heavy, light, idle])]
    assert seconds[1] > 3 * max(seconds[0], seconds[2]) and 0 <= seconds[3] < seconds[0]


def test_layers_without_validation_and_weights_are_fitted_as_alone(backbone: Backbone, plant: Plant) -> None:
    x = [np.random.default_rng(i).normal(size=(90, 6)) for i in range(2)]
    rows = plant(backbone.at(1), x[0], backbone.at(2), x[1])
    labels = [Labels.of(rows, soft(90, seed=i), source="test") for i in range(3)]
    checks = Validation(rows=rows.take(range(30)), labels=labels[2])
    probe, weights = Probe(backbone=backbone, layers=(1, 2), penalties=(0.01, 1.0)), np.linspace(0, 1, 90)

    def fits(y: Labels) -> list[Callable[[], FittedProbe]]:
        return [
            lambda: probe.fit(rows, y, seed=Seed.of(0)),
            lambda: probe.fit(rows, y, validation=checks, weights=weights, seed=Seed.of(0)),
            lambda: probe.fit(rows, y, validation=checks, loss=Confidence(), seed=Seed.of(0)),
            lambda: probe.fit(rows, y, loss=Confidence(), seed=Seed.of(0)),
        ]

    jobs = [fit for y in labels for fit in fits(y)]
    for job, one in zip(jobs, results(jobs), strict=True):
        alone = job()
        assert one.backbone == alone.backbone and one.choices["penalty"] == alone.choices["penalty"]
        np.testing.assert_allclose(one.predict(rows), alone.predict(rows), atol=1e-6)


def test_decompositions_are_kept_up_to_a_limit_the_last_one_always(
    backbone: Backbone, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [Place(backbone, plant(backbone, np.random.default_rng(i).normal(size=(16, 4)))) for i in range(3)]
    kept = Designs()
    first, second = kept.at(places[0]), kept.at(places[1])
    monkeypatch.setattr(batching, "KEPT_BYTES", 2 * first.nbytes)
    assert kept.at(places[0]) is first
    third = kept.at(places[2])
    assert kept.at(places[0]) is first and kept.at(places[2]) is third
    assert kept.at(places[1]) is not second
    monkeypatch.setattr(batching, "KEPT_BYTES", 0)
    assert kept.at(places[1]) is kept.at(places[1])
