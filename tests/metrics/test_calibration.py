"""The calibration error: no bias, an interval that holds the truth and its own value, differences without interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit

from oversight.errors import InputError
from oversight.metrics import METRICS, replicates
from oversight.metrics.calibration import Squared, not_rejected, squared
from oversight.metrics.calibration_interval import NO_DIFFERENCE, calibration_error
from oversight.metrics.checks import Floats, Ints
from oversight.studies.score import Predicted, score_predictions


def model(rng: np.random.Generator, n: int, *, stretch: float, size: int = 1) -> tuple[Floats, Ints, Ints]:
    """Probabilities that are calibrated for stretch = 1; all rows of a group are copies of one."""
    z = rng.normal(0, 1.5, n // size)
    labels = (rng.random(n // size) < expit(z)).astype(np.int64)
    p = expit(stretch * z)
    return (np.repeat(np.stack([1 - p, p], axis=1), size, axis=0), np.repeat(labels, size), np.arange(n) // size)


@pytest.mark.parametrize("size", [1, 4])
def test_forty_calibrated_models_have_intervals_that_hold_their_value_and_zero(size: int) -> None:
    """10 of 40 lay outside their own interval. At 95 % of each, fewer than 36 of 40 have a probability of .014."""
    rng = np.random.default_rng(size)
    holds = 0
    for _ in range(40):
        probs, labels, groups = model(rng, 600, stretch=1.0, size=size)
        found = calibration_error(probs[None], labels, groups)
        assert found.low <= found.value <= found.high and found.high > 0
        holds += found.low == 0
    assert holds >= 36


def test_the_squared_error_has_no_bias() -> None:
    """Mean over 400 models of 200 rows: 0 for calibrated ones, the population's for others, within four errors."""
    rng = np.random.default_rng(0)
    for stretch in (1.0, 2.5):
        found = np.array([squared(*model(rng, 200, stretch=stretch)).error for _ in range(400)])
        z = rng.normal(0, 1.5, 1_000_000)
        parts = np.array_split(np.argsort(np.abs(z)), 15)
        excess = expit(stretch * np.abs(z)) - expit(np.abs(z))
        true = float(np.mean([excess[part].mean() ** 2 for part in parts]))
        assert abs(found.mean() - true) < 4 * found.std() / 20, stretch


def test_groups_are_one_row_each() -> None:
    """Four copies of every row say no more than one: the same error, noise and interval, where bins are the same."""
    rng = np.random.default_rng(1)
    probs, labels, groups = model(rng, 600, stretch=2.0)
    copies = (np.repeat(probs, 4, axis=0), np.repeat(labels, 4), np.repeat(groups, 4))
    one, four = calibration_error(probs[None], labels, groups), calibration_error(copies[0][None], *copies[1:])
    assert (four.value, four.low, four.high) == pytest.approx((one.value, one.low, one.high), rel=1e-9)
    apart = calibration_error(copies[0][None], copies[1], np.arange(2400))
    assert apart.high - apart.low < 0.8 * (one.high - one.low), "the control: as if they were 2400 rows"


def test_the_interval_is_that_of_the_noncentral_chi_square() -> None:
    """With d_b ~ N(delta_b, v) independent and equal weights, S B / v is exactly noncentral chi-square."""
    rng = np.random.default_rng(2)
    b, v, delta = 15, 0.01, 0.15
    held, true = 0, delta**2
    for _ in range(1000):
        d = delta + math.sqrt(v) * rng.normal(size=b)
        total = float((d**2).mean())
        low, high = not_rejected(Squared(total - v, v, v**2 / b, v / b), upper=0.975)
        held += low <= true <= high
    assert abs(held / 1000 - 0.95) < 4 * math.sqrt(0.05 * 0.95 / 1000)


def test_more_seeds_that_differ_widen_and_equal_ones_do_not() -> None:
    rng = np.random.default_rng(3)
    probs, labels, groups = model(rng, 1000, stretch=2.0)
    one, same = calibration_error(probs[None], labels, groups), calibration_error(np.stack([probs] * 3), labels, groups)
    assert (same.low, same.high) == pytest.approx((one.low, one.high), rel=1e-9)
    z = np.log(probs[:, 1] / probs[:, 0])
    other = np.stack([np.stack([1 - expit(a * z), expit(a * z)], axis=1) for a in (0.6, 1.0, 1.6)])
    found = calibration_error(other, labels, groups)
    assert found.high - found.low > one.high - one.low


def test_constant_and_perfect_models() -> None:
    labels = np.r_[np.ones(300, np.int64), np.zeros(100, np.int64)]
    found = calibration_error(np.tile([0.25, 0.75], (1, 400, 1)), labels, np.arange(400))
    assert (found.value, found.low) == pytest.approx((0.0, 0.0), abs=1e-9) and 0 < found.high < 0.1
    certain = calibration_error(np.eye(2)[labels][None], labels, np.arange(400))
    assert (certain.value, certain.low, certain.high) == (0, 0, 0)
    alone = calibration_error(np.tile([0.25, 0.75], (1, 400, 1)), labels, np.zeros(400))
    assert math.isnan(alone.low) and alone.reason is not None


def test_resamples_of_it_are_refused() -> None:
    probs, labels, groups = model(np.random.default_rng(4), 100, stretch=1.0)
    with pytest.raises(InputError, match="found ece, expected one that can be resampled"):
        replicates(METRICS["ece"], probs[None], labels, groups, n_resamples=10, seed=0)


def test_gap_and_pgr_in_it_are_values_without_interval_and_a_reason() -> None:
    rng = np.random.default_rng(5)
    sharp, labels, groups = model(rng, 1000, stretch=1.0)
    z = np.log(sharp[:, 1] / sharp[:, 0])
    roles = {role: expit(a * z) for role, a in (("weak", 3.0), ("student", 2.0), ("ceiling", 1.0))}
    probs = {role: np.stack([1 - p, p], axis=1)[None] for role, p in roles.items()}
    record = score_predictions(Predicted(probs=probs, truth=labels, groups=groups), metric="ece")
    values = {role: record["scores"][role]["ece"]["value"] for role in roles}
    assert record["gap"]["value"] == pytest.approx(values["weak"] - values["ceiling"]) and record["gap"]["low"] is None
    assert record["gain"]["value"] == pytest.approx(values["weak"] - values["student"])
    assert record["gap"]["reason"] == record["pgr"]["reason"] == NO_DIFFERENCE and record["pgr"]["value"] is None
    for role in roles:
        assert record["scores"][role]["ece"]["low"] <= values[role] <= record["scores"][role]["ece"]["high"]
