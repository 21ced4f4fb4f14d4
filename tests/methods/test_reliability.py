"""Repeated answers: entropies, weights and targets by definition, identities, and planted cases for and against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from planted_labellers import guesses

from oversight.errors import InputError
from oversight.methods.filters import answer_counts
from oversight.methods.hard import HardLabels
from oversight.methods.method import Method, check_needs
from oversight.methods.reliability import EntropyFilter, FrequencyWeights, entropy, shares, weighted_counts
from oversight.models.student import Fitted, Student
from oversight.tasks.task import Floats, Ints, Labels, Rows, content_id
from oversight.testing import Labeller, Planted, accuracies, flips, mean_interval, planted

ALL_ALIKE = EntropyFilter(quantile=1.0)


def said(rows: Rows, classes: Sequence[int], answered: Sequence[bool] | None = None, *, k: int = 3) -> Labels:
    given = None if answered is None else np.array(answered)
    return Labels.of(rows, np.eye(k)[list(classes)], source="one", answered=given)


def some_rows(n: int) -> Rows:
    texts = tuple(f"row {i}" for i in range(n))
    ids = tuple(map(content_id, texts))
    return Rows(ids=ids, texts=texts, groups=ids)


def shaky(share: float) -> Labeller:
    """Right, but there it takes a share of class 0 for class 1: more often right than wrong, and wrong one way."""

    def label(x: Floats, truth: Ints, rng: np.random.Generator) -> Floats:
        lost = (x[:, -1] > 0.2) & (truth == 0) & (rng.random(len(truth)) < share)
        return np.eye(2)[np.where(lost, 1, truth)]

    return label


def interval(method: Method, *labellers: Labeller, **settings: Any) -> tuple[float, float]:
    """Of the gain over all answers counting alike, over eight seeds."""
    found = accuracies([ALL_ALIKE, method], *labellers, n=900, **settings)
    return mean_interval(found[:, 1] - found[:, 0])


def test_counts_and_shares_are_those_of_the_answers_given() -> None:
    rows = some_rows(3)
    answers = [
        said(rows, [0, 2, 1], [True, True, False]),
        said(rows, [0, 1, 1], [True, True, False]),
        said(rows, [1, 1, 1], [True, False, False]),
    ]
    np.testing.assert_array_equal(answer_counts(answers), [[2, 1, 0], [0, 1, 1], [0, 0, 0]])
    found = shares(rows, answers)
    np.testing.assert_allclose(found.probs, [[2 / 3, 1 / 3, 0], [0, 1 / 2, 1 / 2], [1 / 3] * 3])
    assert found.answered.tolist() == [True, True, False]


def test_entropy_is_0_where_all_agree_and_ln_k_where_none_do() -> None:
    np.testing.assert_allclose(entropy(np.array([[1.0, 0, 0], [1 / 3] * 3])), [0, math.log(3)])


def test_weights_are_a_softmax_over_the_classes_that_were_named() -> None:
    """Counts 3, 1, 0 at T = 0.5: exp(1.5) and exp(0.5) over their sum; the class that nobody named has no share."""
    low, high = math.exp(0.25 / 0.5), math.exp(0.75 / 0.5)
    expected = [3 * high / (low + high), low / (low + high), 0]
    np.testing.assert_allclose(weighted_counts(np.array([[3.0, 1, 0], [0, 4, 0]]), 0.5), [expected, [0, 4, 0]])


def answers_of(world: Planted) -> list[Labels]:
    return [one.on(world.data.rows) for one in world.data.labels]


def test_the_rows_kept_are_those_up_to_the_median_entropy() -> None:
    world = planted(flips(0.3), flips(0.3), flips(0.3), n=300)
    named = np.stack([one.probs.argmax(1) for one in answers_of(world)])
    unanimous = (named == named[0]).all(0)
    assert unanimous.mean() < 0.5
    assert world.train(EntropyFilter()).choices["filter"] == {"kept": 180, "of": 180}
    told = world.train(EntropyFilter(quantile=0.1)).choices["filter"]
    assert told == {"kept": int(unanimous.sum()), "of": 180}


@dataclass(frozen=True)
class Watched:
    """A student that keeps what it was asked to learn."""

    student: Student
    asked: list[tuple[Rows, Labels, Floats]]

    def fit(self, rows: Rows, labels: Labels, *, weights: Floats, **others: Any) -> Fitted:
        self.asked.append((rows, labels, weights))
        return self.student.fit(rows, labels, weights=weights, **others)


def test_a_weighted_row_costs_what_all_its_answers_cost() -> None:
    """The definition: the mean over answers of weight times cross-entropy to the class that the answer names."""
    world, temperature = planted(flips(0.2), flips(0.3), flips(0.3), n=200), 0.3
    watched: Any = Watched(world.student, [])
    world.train(FrequencyWeights(temperature), student=watched)
    ((rows, labels, weights),) = watched.asked
    rng = np.random.default_rng(0)
    answers = [one.on(rows).probs.argmax(1) for one in world.data.labels]
    for i, log_p in enumerate(np.log(rng.dirichlet(np.ones(2), len(rows)))):
        named = [int(one[i]) for one in answers]
        share = {j: named.count(j) / 3 for j in set(named)}
        total = sum(math.exp(one / temperature) for one in share.values())
        expected = sum(math.exp(share[j] / temperature) / total * -log_p[j] for j in named) / 3
        assert weights[i] * -(labels.probs[i] * log_p).sum() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("method", [EntropyFilter(), EntropyFilter(1.0), FrequencyWeights()], ids=str)
def test_a_supervisor_that_repeats_itself_is_a_hard_label(method: Method) -> None:
    once = planted(flips(0.25), n=300)
    thrice = replace(
        once,
        data=replace(once.data, labels=once.data.labels * 3, validation_labels=once.data.validation_labels * 3),
    )
    expected = once.predict(once.train(HardLabels()))
    np.testing.assert_allclose(thrice.predict(thrice.train(method)), expected, atol=1e-9)


HELP: dict[str, tuple[Method, list[Labeller], int]] = {
    "entropy_filter, where answers are guesses": (EntropyFilter(), [guesses(0.7)] * 7, 8),
    "frequency_weights, where most answers are right": (FrequencyWeights(0.3), [shaky(0.4)] * 7, 4),
}


@pytest.mark.parametrize("name", HELP)
def test_where_it_should_help_it_helps(name: str) -> None:
    method, labellers, d = HELP[name]
    assert interval(method, *labellers, d=d)[0] > 0


@pytest.mark.parametrize("method", [EntropyFilter(), FrequencyWeights(), FrequencyWeights(0.3)], ids=str)
def test_where_answers_differ_by_chance_alone_nothing_is_gained(method: Method) -> None:
    low, high = interval(method, *[flips(0.25)] * 3)
    assert low <= 0 <= high


def test_one_biased_of_three_is_outvoted() -> None:
    """One supervisor takes all of class 0 for class 1 where a direction is high; two flip a tenth by chance."""
    low, _ = interval(FrequencyWeights(0.1), shaky(1.0), flips(0.1), flips(0.1))
    assert low > 0


def test_rows_without_an_answer_weigh_nothing_and_the_least_weight_is_told() -> None:
    world = planted(flips(0.25), flips(0.25), n=300)
    quiet = np.arange(180) < 30
    silent = tuple(replace(one, answered=one.answered & ~quiet) for one in world.data.labels)
    told: Any = replace(world, data=replace(world.data, labels=silent)).train(FrequencyWeights()).choices["reliability"]
    assert told["least_weight"] == 0.5 and 0.5 < told["mean_weight"] < 1


@pytest.mark.parametrize(
    ("make", "settings", "named"),
    [
        (EntropyFilter, {"quantile": 1.5}, "quantile: found 1.5"),
        (EntropyFilter, {"quantile": float("nan")}, "quantile: found nan"),
        (FrequencyWeights, {"temperature": 0.0}, "temperature: found 0.0"),
    ],
)
def test_a_setting_outside_its_range_is_refused(make: Any, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make(**settings)


@pytest.mark.parametrize("method", [EntropyFilter(), FrequencyWeights()], ids=str)
def test_a_single_answer_is_refused(method: Method) -> None:
    with pytest.raises(InputError, match="needs 2 or more supervisors, found 1"):
        check_needs("mine", method, planted(n=60).student, n_supervisors=1)
