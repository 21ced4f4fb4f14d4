"""Which training curves count as unfinished."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from oversight.models.finetune.curves import undertrained

LN2 = math.log(2)
CURVES = st.lists(st.floats(0, 2), min_size=1, max_size=60)


def noisy(levels: np.ndarray, *, seed: int, sd: float = 0.05) -> list[float]:
    return (levels + np.random.default_rng(seed).normal(0, sd, len(levels))).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_a_loss_that_stayed_at_its_start_is_undertrained(seed: int) -> None:
    """500 rows, 2 epochs, batches of 32: 32 updates at ln 2, which left a supervisor at .52."""
    assert undertrained(noisy(np.full(32, LN2), seed=seed, sd=0.002), start=LN2)


@pytest.mark.parametrize("seed", range(5))
def test_a_loss_that_rose_is_undertrained(seed: int) -> None:
    assert undertrained(noisy(np.linspace(LN2, 2 * LN2, 100), seed=seed), start=LN2)


@pytest.mark.parametrize("seed", range(5))
def test_a_steady_fall_is_undertrained(seed: int) -> None:
    """Along a line the last quarter lies a quarter below the third, of 3.5 quarters in all: 0.29 > 0.2."""
    assert undertrained(noisy(np.linspace(LN2, 0.3, 200), seed=seed), start=LN2)


@pytest.mark.parametrize("seed", range(5))
def test_a_fall_that_begins_late_is_undertrained(seed: int) -> None:
    levels = np.concatenate([np.full(150, LN2), np.linspace(LN2, 0.4, 50)])
    assert undertrained(noisy(levels, seed=seed), start=LN2)


@pytest.mark.parametrize("seed", range(5))
def test_a_fall_that_came_to_rest_is_not(seed: int) -> None:
    assert not undertrained(noisy(0.4 + (LN2 - 0.4) * np.exp(-np.arange(300) / 30), seed=seed), start=LN2)


@pytest.mark.parametrize("seed", range(5))
def test_a_run_that_knows_its_rows_by_heart_is_not(seed: int) -> None:
    """The loss goes on falling by halves, but there is nothing left to fall."""
    levels = LN2 * np.exp(-np.arange(300) / 20)
    noise = np.random.default_rng(seed).uniform(0.5, 1.5, 300)
    assert not undertrained((levels * noise).tolist(), start=LN2)


def test_noise_alone_is_seldom_taken_for_a_fall() -> None:
    """A level 0.05 nats below the start, noise of 0.05: quarters of 20 updates differ by 0.016, so that one run in
    four shows a fall above a fifth of 0.05; above two standard errors as well it is one in forty."""
    runs = [undertrained(noisy(np.full(80, LN2 - 0.05), seed=seed), start=LN2) for seed in range(200)]
    assert sum(runs) <= 10


@pytest.mark.parametrize(("fallen", "expected"), [(0.009, True), (0.011, False)])
def test_less_than_a_hundredth_of_a_nat_is_nothing_learned(fallen: float, expected: bool) -> None:
    assert undertrained([LN2 - fallen] * 40, start=LN2) is expected


@pytest.mark.parametrize(("n", "expected"), [(0, True), (1, True), (7, True), (8, False)])
def test_a_handful_of_updates_says_nothing(n: int, expected: bool) -> None:
    assert undertrained([0.1] * n, start=LN2) is expected


@settings(max_examples=200, deadline=None)
@given(losses=CURVES, level=st.floats(0, LN2 - 0.011))
def test_a_long_flat_tail_is_rest_whatever_came_before(losses: list[float], level: float) -> None:
    assert not undertrained(losses + [level] * (3 * len(losses) + 8), start=LN2)


@settings(max_examples=100, deadline=None)
@given(losses=CURVES, shift=st.floats(-1, 1))
def test_only_differences_of_losses_count(losses: list[float], shift: float) -> None:
    """The verdict does not change with the zero of the scale, but where rounding decides: such curves are left out."""
    verdicts = {undertrained(losses, start=LN2 + nudge) for nudge in (-1e-9, 1e-9)}
    nudged = [loss + 1e-9 * i for i, loss in enumerate(losses)]
    assume(len(verdicts | {undertrained(nudged, start=LN2)}) == 1)
    assert undertrained([loss + shift for loss in losses], start=LN2 + shift) in verdicts
