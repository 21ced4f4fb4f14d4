"""Numbers over questions: closed forms, coverage, and what is too little."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from oversight.errors import InputError
from oversight.metrics.contrasts import difference, pooled_pgr, unit
from oversight.metrics.intervals import Sample
from oversight.metrics.questions import (
    FEW_QUESTIONS,
    combined_questions,
    mean_over_questions,
    over_questions,
    question_moments,
)

ROWS = Sample(2000, 2000, 5)


def scores(q: int, r: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal([0.7, 0.8, 0.95, 0.81][:r], 0.03, (q, r))


@pytest.mark.parametrize("q", [8, 12, 40])
def test_a_mean_over_questions_is_that_of_a_t_interval(q: int) -> None:
    x = scores(q)
    found = mean_over_questions(question_moments(x, samples=[ROWS] * q), (0, 1, 0))
    low, high = stats.t.interval(0.95, q - 1, x[:, 1].mean(), stats.sem(x[:, 1]))
    assert (found.value, found.low, found.high) == pytest.approx((x[:, 1].mean(), low, high))
    assert found.covers == "questions" and found.n_groups == q and found.n == 2000 * q


@pytest.mark.parametrize("seeds", [1, 5])
def test_the_gap_and_pgr_are_those_of_paired_questions(seeds: int) -> None:
    """Fieller's set by its definition: every ratio that a t test of gain - ratio gap does not reject."""
    x, q = scores(12, seed=3), 12
    found = over_questions(x, samples=[Sample(2000, 2000, seeds)] * q)
    gap, gain = x[:, 2] - x[:, 0], x[:, 1] - x[:, 0]
    low, high = stats.t.interval(0.95, q - 1, gap.mean(), stats.sem(gap))
    assert (found.gap.low, found.gap.high) == pytest.approx((low, high))
    assert found.pgr.value == pytest.approx(gain.mean() / gap.mean())
    for end in (found.pgr.low, found.pgr.high):
        rest = gain - end * gap
        assert abs(rest.mean()) / stats.sem(rest) == pytest.approx(stats.t.ppf(0.975, q - 1))


def test_differences_of_methods_are_simultaneous_over_questions() -> None:
    x, q = scores(12, r=4, seed=5), 12
    combined = combined_questions(x, samples=[ROWS] * q)
    found = difference(combined, unit(4, 3, 1), n_comparisons=3)
    apart = x[:, 3] - x[:, 1]
    half = stats.t.ppf(1 - 0.05 / 6, q - 1) * stats.sem(apart)
    assert (found.value, found.low, found.high) == pytest.approx(
        (apart.mean(), apart.mean() - half, apart.mean() + half)
    )
    assert pooled_pgr(combined, weak=0, student=1, ceiling=2).value == pytest.approx(
        over_questions(x[:, :3], samples=[ROWS] * q).pgr.value
    )


def test_what_is_possible_ends_the_interval() -> None:
    x = np.tile([0.005, 0.5, 0.995], (8, 1)) + np.random.default_rng(0).normal(0, 0.02, (8, 3))
    found = over_questions(x, samples=[ROWS] * 8, limits=(0, 1))
    assert found.weak.low == 0 and found.ceiling.high == 1 and found.gap.high <= 1


def test_fewer_than_eight_questions_have_values_and_no_interval() -> None:
    found = over_questions(scores(7), samples=[ROWS] * 7)
    assert found.pgr.reason == found.gap.reason == FEW_QUESTIONS and math.isfinite(found.gap.value)
    assert difference(combined_questions(scores(7), samples=[ROWS] * 7), (1, -1, 0)).reason == FEW_QUESTIONS
    assert over_questions(scores(8), samples=[ROWS] * 8).pgr.defined


def test_few_people_within_a_question_leave_no_pgr() -> None:
    few = Sample(200, 30, 5)
    assert not over_questions(scores(12), samples=[*[ROWS] * 11, few]).pgr.defined


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="questions: found scores"):
        question_moments(scores(4), samples=[ROWS] * 3)


@pytest.mark.slow
@pytest.mark.parametrize("q", [8, 12])
def test_intervals_cover_and_a_planted_gain_of_two_points_is_seen(q: int) -> None:
    """2,000 sets of questions that differ as those of the ladder do; a control has no gain. Five standard errors."""
    rng, n = np.random.default_rng(q), 2000
    covered = {"pgr": 0, "gain": 0}
    seen = {0.02: 0, 0.0: 0}
    for _ in range(n):
        skill = rng.normal(0, 0.04, (q, 1))
        x = np.array([0.7, 0.8, 0.95]) + skill * [1.0, 0.8, 0.1] + rng.normal(0, 0.008, (q, 3))
        found = over_questions(x, samples=[ROWS] * q)
        covered["gain"] += found.gain.low < 0.1 < found.gain.high
        covered["pgr"] += found.pgr.low < 0.4 < found.pgr.high
        for planted in seen:
            both = np.column_stack([x[:, 1], x[:, 1] + planted + rng.normal(0, 0.008, q)])
            apart = difference(combined_questions(both, samples=[ROWS] * q), (-1, 1), n_comparisons=3)
            seen[planted] += apart.above_zero
    error = 5 * (0.95 * 0.05 / n) ** 0.5
    assert all(abs(count / n - 0.95) < error for count in covered.values()), covered
    assert seen[0.02] / n > 0.8 and seen[0.0] / n < 0.025, seen
