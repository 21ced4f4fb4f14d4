"""Filters and relabelling: exactly which rows are kept or changed, identities, and planted cases for and against."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from planted_labellers import guesses, outliers

from oversight.errors import InputError
from oversight.methods.filters import (
    AgreementFilter,
    ConfidenceFilter,
    KnnFilter,
    LogisticFilter,
    TopologicalFilter,
    agreeing,
    without_farthest,
)
from oversight.methods.method import Method, WithLoss
from oversight.methods.neighbours import distances, largest_components, nearest
from oversight.methods.relabelling import NeighbourSmoothing, RelabelDiscarded, Selective, StrongToStrong
from oversight.methods.several import Mean
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Ints, Labels
from oversight.testing import Labeller, accuracies, flips, mean_interval, planted

IDENTITIES: dict[str, Method] = {
    "every row is sure enough": ConfidenceFilter(threshold=0.0),
    "no row is left out for its neighbours": KnnFilter(fraction=0.0),
    "no row is left out for a probe": LogisticFilter(fraction=0.0),
    "no round of relabelling": StrongToStrong(rounds=0),
    "nothing is discarded": RelabelDiscarded(threshold=0.0),
    "no smoothing": NeighbourSmoothing(weight=0.0),
    "no row has the student's own label": Selective(share=0.0),
}


def unsure_errors(x: Floats, truth: Ints, rng: np.random.Generator) -> Floats:
    """Says class 1 wherever a direction without meaning is high, with little confidence there."""
    lost = x[:, -1] > 0.2
    wrong = lost & (truth == 0)
    confidence = np.where(lost, 0.55 + 0.1 * rng.random(len(truth)), 0.9)
    named = np.where(wrong, 1, truth)
    return np.where(np.eye(2)[named] > 0, confidence[:, None], 1 - confidence[:, None])


def gains(method: Method, *labellers: Labeller, against: Method | None = None, **settings: Any) -> Floats:
    found = accuracies([against or WithLoss(), method], *labellers, n=900, **settings)
    return found[:, 1] - found[:, 0]


@pytest.mark.parametrize("name", IDENTITIES)
def test_at_the_edge_of_its_settings_a_filter_is_naive(name: str) -> None:
    world = planted(flips(0.25), n=300)
    one, other = (world.predict(world.train(method)) for method in (WithLoss(), IDENTITIES[name]))
    np.testing.assert_allclose(one, other, atol=1e-9)


def test_the_rows_kept_are_those_of_which_the_supervisor_is_sure() -> None:
    world = planted(unsure_errors, n=300)
    told = world.train(ConfidenceFilter(0.75)).choices["filter"]
    assert told == {"kept": int((world.data.only.probs.max(1) >= 0.75).sum()), "of": len(world.data.rows)}


def test_a_filter_that_would_leave_a_class_without_rows_keeps_all_and_says_so() -> None:
    def one_sided(x: Floats, truth: Ints, rng: np.random.Generator) -> Floats:
        return np.where(truth[:, None] == 1, [[0.05, 0.95]], [[0.6, 0.4]])

    world = planted(one_sided, n=300)
    fitted = world.train(ConfidenceFilter(0.75))
    assert fitted.choices["filter"] == {"kept": 180, "of": 180, "not_filtered": "no row would be left of class 0"}
    np.testing.assert_allclose(world.predict(fitted), world.predict(world.train(WithLoss())), atol=1e-9)


def test_a_filter_that_would_leave_hardly_a_row_keeps_all_and_says_so() -> None:
    told = planted(flips(0.2, confidence=0.7), n=300).train(ConfidenceFilter(0.75)).choices["filter"]
    assert isinstance(told, dict) and told["not_filtered"] == "only 0 of 180 rows would be left"


def test_nearest_rows_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4))
    away = ((x[:, None] - x) ** 2).sum(2)
    np.fill_diagonal(away, np.inf)
    np.testing.assert_array_equal(nearest(x, 7), np.argsort(away, axis=1, kind="stable")[:, :7])


def test_asked_for_more_neighbours_than_there_are_all_others_are_given() -> None:
    found = nearest(np.arange(4.0)[:, None], 20)
    assert found.shape == (4, 3) and [set(row) for row in found.tolist()] == [
        {1, 2, 3},
        {0, 2, 3},
        {0, 1, 3},
        {0, 1, 2},
    ]


def test_total_variation_is_the_difference_for_two_classes() -> None:
    one, other = np.array([[0.2, 0.8], [0.5, 0.5]]), np.array([[0.6, 0.4], [0.5, 0.5]])
    np.testing.assert_allclose(distances(one, other), [0.4, 0.0])


def test_the_farthest_rows_are_left_out_and_no_more() -> None:
    kept = without_farthest(np.array([0.1, 0.9, 0.5, 0.9, 0.0]), 0.4)
    assert kept.tolist() == [True, False, True, False, True]
    assert without_farthest(np.array([0.1, 0.9]), 0.49).all()


def reachable(edges: dict[int, set[int]], start: int) -> set[int]:
    found, waiting = {start}, [start]
    while waiting:
        for other in edges[waiting.pop()] - found:
            found.add(other)
            waiting.append(other)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_components_are_those_of_the_definition(seed: int) -> None:
    """Two rows of a class hang together if each can be reached from the other through rows of that class."""
    rng = np.random.default_rng(seed)
    neighbours, named = nearest(rng.normal(size=(40, 2)), 3), rng.integers(0, 3, 40)
    edges = {i: {int(j) for j in neighbours[i] if named[j] == named[i]} for i in range(40)}
    reach = {i: reachable(edges, i) for i in range(40)}
    expected: set[int] = set()
    for c in range(3):
        parts = {frozenset(j for j in reach[i] if i in reach[j]) for i in range(40) if named[i] == c}
        expected |= min(parts, key=lambda part: (-len(part), min(part)))
    assert set(np.flatnonzero(largest_components(neighbours, np.eye(3, dtype=bool)[named])).tolist()) == expected


def test_agreement_is_the_share_of_the_most_frequent_answer() -> None:
    ids = ("a", "b", "c")

    def said(classes: list[int], answered: list[bool]) -> Labels:
        return Labels(row_ids=ids, probs=np.eye(3)[classes], answered=np.array(answered), source="s")

    three = [
        said([0, 1, 2], [True, True, False]),
        said([0, 2, 2], [True, True, False]),
        said([1, 1, 0], [True] * 2 + [False]),
    ]
    np.testing.assert_allclose(agreeing(three), [2 / 3, 2 / 3, 0.0])


def test_relabelled_rows_are_those_of_which_the_supervisor_is_unsure() -> None:
    world = planted(unsure_errors, n=300)
    fitted = world.train(RelabelDiscarded(0.75))
    assert fitted.choices["relabelled"] == int((world.data.only.probs.max(1) < 0.75).sum())


def test_one_round_of_smoothing_is_the_mean_with_the_neighbours() -> None:
    world = planted(flips(0.25), n=200)
    with world.known():
        from oversight.models.features import features

        rows = world.data.rows.take(sorted(range(len(world.data.rows)), key=world.data.rows.ids.__getitem__))
        labels = world.data.only.on(rows)
        around = nearest(features(world.student.backbone, rows), 20)
        mixed = replace(labels, probs=0.5 * labels.probs + 0.5 * labels.probs[around].mean(1))
    again = replace(world, data=replace(world.data, labels=(mixed,)))
    expected = again.predict(again.train(WithLoss()))
    np.testing.assert_allclose(world.predict(world.train(NeighbourSmoothing())), expected, atol=1e-9)


def test_own_labels_stand_where_a_student_that_did_not_see_the_weak_one_is_surest() -> None:
    world, seed = planted(flips(0.25), n=200), Seed.of(0)
    rows = world.data.rows.take(sorted(range(len(world.data.rows)), key=world.data.rows.ids.__getitem__))
    data = world.data.on(rows)
    one, other = data.parts(3, seed=seed.split)[0].rows, data.parts(3, seed=seed.split)[1:]
    assert set(one.ids).isdisjoint({row_id for part in other for row_id in part.rows.ids})
    own: dict[str, Floats] = {}
    with world.known():
        for part in data.parts(3, seed=seed.split):
            rest = rows.take([i for i, row_id in enumerate(rows.ids) if row_id not in set(part.rows.ids)])
            fitted = world.student.fit(rest, data.only.on(rest), validation=data.checks, seed=seed)
            own |= dict(zip(part.rows.ids, fitted.predict(part.rows), strict=True))
    surest = sorted(rows.ids, key=lambda row_id: (-own[row_id].max(), row_id))[: int(0.3 * len(rows))]
    probs = [own[row_id] if row_id in surest else data.only.probs[i] for i, row_id in enumerate(rows.ids)]
    again = replace(world, data=replace(data, labels=(replace(data.only, probs=np.array(probs)),)))
    fitted = world.train(Selective(share=0.3, folds=3), seed=seed)
    expected = again.predict(again.train(WithLoss(), seed=seed))
    np.testing.assert_allclose(world.predict(fitted), expected, atol=1e-9)
    assert fitted.choices["own"] == int(0.3 * 120) and fitted.choices["of"] == 120


def test_rows_of_a_single_group_cannot_be_held_apart() -> None:
    world = planted(flips(0.25), n=60)
    rows = replace(world.data.rows, groups=("one",) * len(world.data.rows))
    grouped = replace(world, data=replace(world.data, rows=rows))
    with pytest.raises(InputError, match="method selective: found rows of 1 groups, expected at least 2"):
        grouped.train(Selective())


HELP: dict[str, tuple[Method, Labeller, int]] = {
    "confidence_filter, where errors are unsure": (ConfidenceFilter(0.75), unsure_errors, 8),
    "relabel_discarded, where errors are unsure": (RelabelDiscarded(0.75), unsure_errors, 8),
    "knn_filter, where errors lie deep in the other class": (KnnFilter(fraction=0.2), outliers, 4),
    "logistic_filter, there too": (LogisticFilter(fraction=0.2), outliers, 4),
    "topological_filter, there too": (TopologicalFilter(fraction=0.3), outliers, 4),
    "neighbour_smoothing, there too": (NeighbourSmoothing(0.9), outliers, 4),
}


@pytest.mark.parametrize("name", HELP)
def test_where_it_should_help_it_helps(name: str) -> None:
    method, labeller, d = HELP[name]
    low, _ = mean_interval(gains(method, labeller, d=d))
    assert low > 0


@pytest.mark.parametrize(
    "method",
    [
        KnnFilter(),
        LogisticFilter(),
        TopologicalFilter(),
        StrongToStrong(),
        Selective(),
        NeighbourSmoothing(0.25),
        RelabelDiscarded(),
    ],
    ids=lambda method: type(method).__name__,
)
def test_on_right_labels_there_is_little_to_gain_or_lose(method: Method) -> None:
    low, high = mean_interval(gains(method, flips(0.0)))
    assert low < 0.02 and high > -0.04


def test_where_supervisors_guess_they_disagree_and_the_agreement_filter_helps() -> None:
    assert mean_interval(gains(AgreementFilter(), *[guesses(0.7)] * 7, against=Mean()))[0] > 0


def test_where_supervisors_agree_by_chance_only_the_filter_gains_nothing() -> None:
    found = gains(AgreementFilter(), flips(0.25), flips(0.25), against=Mean())
    low, high = mean_interval(found)
    assert low < 0.03 and high > -0.03


def test_rows_on_which_supervisors_differ_are_left_out() -> None:
    world = planted(flips(0.2), flips(0.2), flips(0.2), n=300)
    named = np.stack([one.probs.argmax(1) for one in world.data.labels])
    told = world.train(AgreementFilter()).choices["filter"]
    assert isinstance(told, dict) and told["kept"] == int((named == named[0]).all(0).sum())


@pytest.mark.parametrize(
    ("make", "settings", "named"),
    [
        (ConfidenceFilter, {"threshold": 1.0}, "threshold: found 1.0"),
        (KnnFilter, {"neighbours": 0}, "neighbours: found 0"),
        (LogisticFilter, {"penalty": 0.0}, "penalty: found 0.0"),
        (TopologicalFilter, {"fraction": -0.1}, "fraction: found -0.1"),
        (AgreementFilter, {"share": 2.0}, "share: found 2.0"),
        (StrongToStrong, {"rounds": -1}, "rounds: found -1"),
        (Selective, {"share": 1.5}, "share: found 1.5"),
        (Selective, {"folds": 1}, "folds: found 1"),
        (NeighbourSmoothing, {"weight": 1.5}, "weight: found 1.5"),
        (RelabelDiscarded, {"threshold": float("nan")}, "threshold: found nan"),
    ],
)
def test_a_setting_outside_its_range_is_refused(make: Any, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make(**settings)
