"""Co-supervision: who labels which row, which rows are rejected, and where that helps, does nothing, and harms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from planted_labellers import biased

from oversight.errors import InputError
from oversight.methods.co_supervised import CoSupervised, assigned, consistent
from oversight.methods.method import Method, WithLoss, check_needs
from oversight.methods.several import Mean
from oversight.tasks.task import Bools, Floats, Ints, Labels
from oversight.testing import Labeller, accuracies, flips, mean_interval, planted


def labels(probs: Floats, answered: Bools | None = None) -> Labels:
    mask = np.ones(len(probs), bool) if answered is None else answered
    return Labels(row_ids=tuple(f"r{i}" for i in range(len(probs))), probs=probs, answered=mask, source="s")


def drawn(m: int, n: int, k: int, *, seed: int = 0) -> tuple[list[Labels], Floats]:
    """m supervisors who answer four rows in five, and a student."""
    rng = np.random.default_rng(seed)
    every = [labels(rng.dirichlet(np.ones(k), n), rng.random(n) < 0.8) for _ in range(m)]
    return every, rng.dirichlet(np.ones(k), n)


def knows(own: Sequence[int], k: int = 4) -> Labeller:
    """Right in 19 of 20 rows of its own classes; to rows of other classes it gives one of its own at random."""

    def label(x: Floats, truth: Ints, rng: np.random.Generator) -> Floats:
        del x
        guess = np.array(own)[rng.integers(0, len(own), len(truth))]
        named = np.where(np.isin(truth, own) & (rng.random(len(truth)) < 0.95), truth, guess)
        return np.where(np.eye(k)[named] > 0, 0.9, 0.1 / (k - 1))

    return label


def gains(method: Method, *labellers: Labeller, k: int = 2) -> Floats:
    found = accuracies([Mean(), method], *labellers, n=900, k=k, signal=2.0 if k == 2 else 3.0)
    return found[:, 1] - found[:, 0]


@pytest.mark.parametrize("k", [2, 3])
def test_a_row_is_assigned_to_the_smallest_divergence_by_its_definition(k: int) -> None:
    every, student = drawn(3, 40, k)
    found, chosen = assigned(every, student)
    for i in range(40):
        apart = {
            m: sum(student[i, j] * np.log(student[i, j] / one.probs[i, j]) for j in range(k))
            for m, one in enumerate(every)
            if one.answered[i]
        }
        assert found.answered[i] == bool(apart)
        if apart:
            best = min(apart, key=lambda m: apart[m])
            assert chosen[i] == best
            np.testing.assert_array_equal(found.probs[i], every[best].probs[i])


@pytest.mark.parametrize("top", [1, 2, 3])
def test_rows_are_kept_by_the_definition_of_the_source(top: int) -> None:
    """As many rows as the student has the class among its `top`, those with the smallest loss."""
    (label, *_), student = drawn(1, 200, 4)
    named = label.probs.argmax(1)
    rows = np.flatnonzero(label.answered)
    n_kept = sum(named[i] in np.argsort(-student[i])[:top] for i in rows)
    loss = {i: -np.log(student[i, named[i]]) for i in rows}
    expected = sorted(loss, key=lambda i: loss[i])[:n_kept]
    assert sorted(np.flatnonzero(consistent(label, student, top=top))) == sorted(expected)


def test_of_two_classes_the_kept_rows_are_those_on_which_they_agree() -> None:
    (label, *_), student = drawn(1, 200, 2)
    agree = (label.probs.argmax(1) == student.argmax(1)) & label.answered
    np.testing.assert_array_equal(consistent(label, student, top=1), agree)


def test_all_classes_reject_nothing_and_no_agreement_keeps_nothing() -> None:
    (label, *_), student = drawn(1, 50, 3)
    np.testing.assert_array_equal(consistent(label, student, top=3), label.answered)
    never = np.where(np.eye(3)[label.probs.argmax(1)] > 0, 0.0, 0.5)
    assert not consistent(label, never, top=1).any()


def test_no_round_is_the_mean() -> None:
    world = planted(flips(0.1), flips(0.3), n=300)
    mean, none = (world.predict(world.train(one)) for one in (Mean(), CoSupervised(rounds=0)))
    np.testing.assert_array_equal(mean, none)


def test_equal_supervisors_without_rejection_are_one() -> None:
    world = planted(flips(0.2), n=300)
    data = replace(world.data, labels=(world.data.only,) * 2, validation_labels=(world.data.validation_labels[0],) * 2)
    twice = replace(world, data=data)
    one, both = world.predict(world.train(WithLoss())), twice.predict(twice.train(CoSupervised(rounds=2, top=2)))
    np.testing.assert_allclose(both, one, atol=1e-9)


def test_the_order_of_supervisors_does_not_count() -> None:
    world = planted(flips(0.1), flips(0.3), biased, n=300)
    data = replace(world.data, labels=world.data.labels[::-1], validation_labels=world.data.validation_labels[::-1])
    first, second = (one.predict(one.train(CoSupervised())) for one in (world, replace(world, data=data)))
    np.testing.assert_allclose(first, second, atol=1e-7)


def test_it_tells_what_was_kept_and_who_labelled() -> None:
    world = planted(knows([0, 1]), knows([2, 3]), k=4, signal=3.0)
    rounds = world.train(CoSupervised(rounds=2)).choices["rounds"]
    assert isinstance(rounds, list) and len(rounds) == 2
    for one in rounds:
        assert 0 < one["kept"] <= one["of"] == len(world.data.rows)
        assert sum(one["shares"]) == pytest.approx(1) and min(one["shares"]) > 0.3


def test_too_few_rows_to_keep_are_not_filtered_and_that_is_told() -> None:
    """On 18 rows of four classes somebody's class would be left without a row."""
    world = planted(knows([0, 1]), knows([2, 3]), k=4, n=30)
    rounds = world.train(CoSupervised()).choices["rounds"]
    assert isinstance(rounds, list) and rounds[0]["not_filtered"] and rounds[0]["kept"] == 18


@pytest.mark.parametrize("method", [CoSupervised(), CoSupervised(rounds=3), CoSupervised(top=2)])
def test_specialists_for_different_classes_are_told_apart(method: CoSupervised) -> None:
    low, _ = mean_interval(gains(method, knows([0, 1]), knows([2, 3]), k=4))
    assert low > 0.03


def test_between_equally_good_supervisors_there_is_nothing_to_gain() -> None:
    low, high = mean_interval(gains(CoSupervised(), flips(0.25), flips(0.25), flips(0.25)))
    assert low < 0 < high


def test_a_bias_that_the_student_has_learned_is_confirmed() -> None:
    """The student of the mean already leans to class 1, so it agrees with who always says so: a limit, kept visible."""
    _, high = mean_interval(gains(CoSupervised(), flips(0.2), flips(0.25), biased))
    assert high < 0


@pytest.mark.parametrize("settings", [{"rounds": -1}, {"top": 0}])
def test_settings_out_of_range_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="rounds, top: found"):
        CoSupervised(**settings)


def test_one_supervisor_is_refused() -> None:
    with pytest.raises(InputError, match="method co_supervised: needs 2 or more supervisors, found 1"):
        check_needs("co_supervised", CoSupervised(), planted(n=60).student, n_supervisors=1)
