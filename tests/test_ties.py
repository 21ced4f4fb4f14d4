"""Classes that are equally probable share the choice: what classes are called decides no score and no training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.methods import METHODS
from oversight.methods.co_supervised import consistent
from oversight.methods.filters import agreeing, answer_counts, enough
from oversight.methods.losses.auxiliary import hardened
from oversight.methods.neighbours import largest_components, nearest
from oversight.methods.several import dawid_skene, votes
from oversight.metrics import METRICS, agreement, capa, error_consistency
from oversight.models.rows import held_apart
from oversight.studies.score import Predicted, score_predictions
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Ints, Labels, Rows
from oversight.testing import flips, planted
from oversight.ties import choice_shares, drawn_choices, right_shares, same_shares, strata, ties

FAST = settings(max_examples=30, deadline=None, database=None, derandomize=True)
SIZES = st.integers(0, 10_000), st.integers(30, 80), st.integers(2, 4)


def tied_probs(rng: np.random.Generator, n: int, k: int) -> Floats:
    """Small whole weights, so that many rows tie, as counts of a few annotators do; sums are rounded."""
    weights = rng.integers(1, 4, (n, k)).astype(np.float64)
    return weights / weights.sum(1, keepdims=True)


def renaming(rng: np.random.Generator, k: int) -> Ints:
    """Where each class goes; never all to their own place."""
    found = rng.permutation(k)
    return found if (found != np.arange(k)).any() else np.roll(found, 1)


def renamed(probs: Floats, order: Ints) -> Floats:
    """The same probabilities, class j now called order[j]."""
    found = np.empty_like(probs)
    found[..., order] = probs
    return found


def labels_of(probs: Floats, answered: np.ndarray[tuple[int], np.dtype[np.bool_]] | None = None) -> Labels:
    n = len(probs)
    return Labels(
        row_ids=tuple(f"row {i}" for i in range(n)),
        probs=probs,
        answered=np.ones(n, bool) if answered is None else answered,
        source="s",
    )


def rows_of(n: int) -> Rows:
    names = tuple(f"row {i}" for i in range(n))
    return Rows(ids=names, texts=names, groups=names)


# What a tie is


def test_shares_by_hand() -> None:
    probs = np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(choice_shares(probs), [[0.5, 0.5, 0], [0, 0, 1], [1 / 3] * 3])
    assert ties(probs).tolist() == [True, False, True]
    np.testing.assert_allclose(right_shares(probs, np.array([1, 1, 1])), [0.5, 0, 1 / 3])
    np.testing.assert_allclose(same_shares(probs, probs[::-1]), [1 / 3, 1, 1 / 3])


@pytest.mark.parametrize("k", [2, 3, 7])
def test_rounding_makes_no_choice(k: int) -> None:
    """Three annotators, or ten thousand, whose mean is even up to rounding: the order of the sums must not choose."""
    rng = np.random.default_rng(k)
    votes = rng.dirichlet(np.ones(k), 10_000)
    even = np.concatenate([np.roll(votes, j, axis=1) for j in range(k)])
    mean = np.cumsum(even, axis=0)[-1] / len(even)
    assert np.ptp(mean) > 0, "this world must have rounding in it"
    np.testing.assert_allclose(choice_shares(mean), np.full(k, 1 / k))


def test_what_differs_is_no_tie() -> None:
    """The control: a difference of one in a million is a choice, however small."""
    assert choice_shares([[0.5 + 1e-6, 0.5 - 1e-6]]).tolist() == [[1, 0]]


def test_a_row_without_numbers_chooses_all_alike() -> None:
    np.testing.assert_allclose(choice_shares([[np.nan, np.nan], [0.0, 0.0]]), 0.5)


def test_torch_and_numpy_share_alike() -> None:
    probs = tied_probs(np.random.default_rng(0), 50, 3)
    np.testing.assert_allclose(hardened(torch.tensor(probs)).numpy(), choice_shares(probs))
    np.testing.assert_allclose(hardened(torch.tensor(probs).log()).numpy(), choice_shares(probs))


def test_a_drawn_choice_is_one_of_those_that_tie_and_takes_each_as_often() -> None:
    n = 3000
    probs = np.tile([0.4, 0.2, 0.4], (n, 1))
    chosen = drawn_choices(probs, [f"row {i}" for i in range(n)])
    share = float((chosen == 0).mean())
    assert set(chosen.tolist()) == {0, 2} and abs(share - 0.5) < 4 * np.sqrt(0.25 / n)
    first = np.random.default_rng(0).integers(0, 2, n)
    two = np.full((n, 2), 0.5)
    names = [f"row {i}" for i in range(n)]
    right = drawn_choices(two, names, first=first) == first
    swapped = drawn_choices(two, names, first=1 - first) == 1 - first
    np.testing.assert_array_equal(right, swapped)


# Scores


def test_two_annotators_who_tie_are_half_right_whatever_classes_are_called() -> None:
    """Ties on 60 % of one class scored .688 or 1.000, by which class came first."""
    truth = np.r_[np.zeros(520, np.int64), np.ones(480, np.int64)]
    probs = np.eye(2)[truth]
    probs[:312] = 0.5
    for name in ("accuracy", "balanced_accuracy", "ece"):
        score = METRICS[name].function
        assert score(probs, truth) == pytest.approx(score(probs[:, ::-1], 1 - truth), rel=1e-12), name
    assert METRICS["accuracy"].function(probs, truth) == pytest.approx(1 - 312 / 2000)


@FAST
@given(*SIZES)
def test_no_score_depends_on_the_names_of_classes(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    labels, probs = np.r_[np.arange(k), rng.integers(0, k, n - k)], tied_probs(rng, n, k)
    order = renaming(rng, k)
    assert ties(probs).any()
    for metric in METRICS.values():
        value = metric.function(probs, labels)
        assert metric.function(renamed(probs, order), order[labels]) == pytest.approx(value, rel=1e-9), metric.name
        if metric.row_scores is not None:
            rows = metric.row_scores(probs, labels)
            again = metric.row_scores(renamed(probs, order), order[labels])
            np.testing.assert_allclose(again, rows, rtol=1e-9, atol=1e-12)


@FAST
@given(*SIZES)
def test_no_agreement_depends_on_the_names_of_classes(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    labels, groups, order = rng.integers(0, k, n), np.arange(n), renaming(rng, k)
    pair = [np.stack([tied_probs(rng, n, k) for _ in range(2)]) for _ in range(2)]
    other = [renamed(one, order) for one in pair]
    for number in (capa, error_consistency):
        found, again = number(*pair, labels, groups), number(*other, order[labels], groups)
        assert (found.value, found.low) == pytest.approx((again.value, again.low), rel=1e-9, abs=1e-12, nan_ok=True)
    found, again = agreement(*pair, labels, groups), agreement(*other, order[labels], groups)
    for name in ("all", "weak_right", "weak_wrong"):
        one, two = getattr(found, name), getattr(again, name)
        assert (one.value, one.high) == pytest.approx((two.value, two.high), rel=1e-9, abs=1e-12, nan_ok=True), name


def test_agreement_is_that_of_models_that_draw_among_their_ties() -> None:
    """By simulation: each model draws; 2000 draws of 60 rows give shares with a standard error below .006."""
    rng = np.random.default_rng(3)
    n, k = 60, 3
    labels = rng.integers(0, k, n)
    student, weak = tied_probs(rng, n, k), tied_probs(rng, n, k)
    found = agreement(student[None], weak[None], labels, np.arange(n))
    cells = np.zeros(3)
    of = np.zeros(3)
    for _ in range(2000):
        mine, theirs = (
            np.array([rng.choice(k, p=row) for row in shares])
            for shares in (choice_shares(student), choice_shares(weak))
        )
        right = theirs == labels
        for i, cell in enumerate((np.ones(n, bool), right, ~right)):
            cells[i] += (mine == theirs)[cell].sum()
            of[i] += cell.sum()
    seen = [found.all.value, found.weak_right.value, found.weak_wrong.value]
    np.testing.assert_allclose(seen, cells / of, atol=0.012)


def test_ties_are_counted_and_said() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 300)
    sharp = np.where(np.eye(2)[truth] > 0, 0.9, 0.1)
    weak = sharp.copy()
    weak[:12] = 0.5
    probs = {"weak": weak[None], "student": sharp[None], "ceiling": sharp[None]}
    record = score_predictions(Predicted(probs=probs, truth=truth, groups=np.arange(300)))
    assert record["ties"] == {"weak": [12], "student": [0], "ceiling": [0]}
    assert any("12 of 300 choices of the supervisor are ties" in line for line in record["warnings"])
    none = score_predictions(Predicted(probs={**probs, "weak": sharp[None]}, truth=truth, groups=np.arange(300)))
    assert not any("ties" in line for line in none["warnings"])


@FAST
@given(st.integers(0, 10_000), st.integers(2, 3))
def test_no_number_of_a_study_depends_on_the_names_of_classes(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    n = 80
    truth, order = np.r_[np.arange(k), rng.integers(0, k, n - k)], renaming(rng, k)
    probs = {role: np.stack([tied_probs(rng, n, k) for _ in range(2)]) for role in ("weak", "student", "ceiling")}
    groups = np.arange(n)
    found = score_predictions(Predicted(probs=probs, truth=truth, groups=groups))
    other = {role: renamed(one, order) for role, one in probs.items()}
    again = score_predictions(Predicted(probs=other, truth=order[truth], groups=groups))
    for role in probs:
        for name, one in found["scores"][role].items():
            same = again["scores"][role][name]
            assert one["value"] == pytest.approx(same["value"], rel=1e-9), (role, name)
    for name in ("gap", "gain"):
        assert found[name]["value"] == pytest.approx(again[name]["value"], rel=1e-9, abs=1e-12)
    assert found["ties"] == again["ties"]


# Training


@FAST
@given(*SIZES)
def test_no_method_sees_the_names_of_classes(seed: int, n: int, k: int) -> None:
    """What filters keep, votes say and hard labels are: the same rows, the same shares under other names."""
    rng = np.random.default_rng(seed)
    order, x = renaming(rng, k), rng.normal(size=(n, 2))
    probs = [tied_probs(rng, n, k) for _ in range(3)]
    one, other = [labels_of(p) for p in probs], [labels_of(renamed(p, order)) for p in probs]
    np.testing.assert_allclose(other[0].hardened().probs, renamed(one[0].hardened().probs, order))
    np.testing.assert_allclose(answer_counts(other), renamed(answer_counts(one), order))
    np.testing.assert_allclose(agreeing(other), agreeing(one))
    around = nearest(x, 3)
    kept = [largest_components(around, choice_shares(each[0].probs) > 0) for each in (one, other)]
    np.testing.assert_array_equal(*kept)
    half = rng.random(n) < 0.5
    assert (enough(half, one[0]) is None) == (enough(half, other[0]) is None)
    student = rng.dirichlet(np.ones(k), n)
    np.testing.assert_array_equal(
        consistent(one[0], student, top=1), consistent(other[0], renamed(student, order), top=1)
    )
    np.testing.assert_array_equal(strata(one[0].probs)[:, None] == strata(one[0].probs), _same_stratum(other[0]))
    found = [dawid_skene(*votes(each)) for each in (one, other)]
    beliefs = [model.posterior(*votes(each)) for model, each in zip(found, (one, other), strict=True)]
    np.testing.assert_allclose(beliefs[1], renamed(beliefs[0], order), atol=1e-6)


def _same_stratum(labels: Labels) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    found = strata(labels.probs)
    return found[:, None] == found


def test_a_voter_who_always_ties_changes_nothing() -> None:
    """Beside three who can be told apart, a fourth who never chooses; EM ends where it ends without, to its 1e-9."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 2000)
    named = np.stack([np.where(rng.random(2000) < right, truth, 1 - truth) for right in (0.9, 0.8, 0.7)])
    said = np.concatenate([np.eye(2)[named], np.full((1, 2000, 2), 0.5)])
    with_it = dawid_skene(said, np.ones((4, 2000), bool)).posterior(said, np.ones((4, 2000), bool))
    without = dawid_skene(said[:3], np.ones((3, 2000), bool)).posterior(said[:3], np.ones((3, 2000), bool))
    np.testing.assert_allclose(with_it, without, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_rows_held_out_do_not_depend_on_the_names_of_classes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, probs = rows_of(60), tied_probs(rng, 60, 3)
    parts = [
        held_apart(rows, labels_of(p), None, None, seed=Seed.of(seed))[0].ids
        for p in (probs, renamed(probs, np.array([2, 0, 1])))
    ]
    assert parts[0] == parts[1]


@pytest.mark.parametrize("name", ["topological_filter", "agreement_filter", "dawid_skene", "confidence", "reverse_ce"])
def test_a_student_is_the_same_whatever_classes_are_called(name: str) -> None:
    """Supervisors who tie on a third of the rows; the student's probabilities change places only.

    Under a loss the place on the probe's path is what agrees best with validation labels that tie. Penalised solutions
    agree to the solver's 1e-8 of the gradient, hence 1e-6.
    """
    method: Any = METHODS[name].make()
    world = planted(flips(0.1), flips(0.2), flips(0.3), n=240)
    rng = np.random.default_rng(0)
    several = method.needs.supervisors != (1, 1)

    def blurred(labels: Labels) -> Labels:
        tied = rng.random(len(labels.probs)) < 0.3
        return replace(labels, probs=np.where(tied[:, None], 0.5, labels.probs))

    def swapped(labels: Labels) -> Labels:
        return replace(labels, probs=np.ascontiguousarray(labels.probs[:, ::-1]))

    n = 3 if several else 1
    data = replace(
        world.data,
        labels=tuple(blurred(one) for one in world.data.labels[:n]),
        validation_labels=tuple(blurred(one) for one in world.data.validation_labels[:n]),
    )
    other = replace(
        data,
        labels=tuple(swapped(one) for one in data.labels),
        validation_labels=tuple(swapped(one) for one in data.validation_labels),
    )
    first = replace(world, data=data)
    second = replace(world, data=other)
    np.testing.assert_allclose(
        second.predict(second.train(method))[:, ::-1], first.predict(first.train(method)), atol=1e-6
    )
