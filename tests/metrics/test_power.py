"""Power: the row model against scipy's bivariate normal, a case with a closed form, and monotone answers."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
from scipy import stats

from oversight.metrics import Sample, power
from oversight.metrics.power import indicator_covariance, row_variances


def test_covariance_of_indicators_is_the_bivariate_normal_integral() -> None:
    p = np.array([0.5, 0.7, 0.9])
    correlation = np.array([[1, 0.76, 0.4], [0.76, 1, 0.0], [0.4, 0.0, 0.7]])
    found = indicator_covariance(p, correlation)
    for i, j in [(0, 1), (0, 2), (1, 2), (2, 2)]:
        x = stats.norm.ppf(p[[i, j]])
        latent: Any = np.array([[1, correlation[i, j]], [correlation[i, j], 1]])
        both = stats.multivariate_normal(cov=latent).cdf(x)
        assert found[i, j] == pytest.approx(both - p[i] * p[j], abs=1e-6)
    assert found[0, 0] == pytest.approx(0.25)


def test_one_seed_without_seed_noise_has_a_closed_form() -> None:
    """P(D > q sd), D ~ N(gap, sd^2); the width of the gap's interval is 2 q sd."""
    found = power(gap=0.05, n_test=1000, seeds=1, seed_sd=0.0)
    shared, own = row_variances(np.array([0.7, 0.725, 0.75]), Sample(1000, 1000, 1))
    a, total = np.array([-1, 0, 1]), shared + own
    sd, q = math.sqrt(a @ total @ a), stats.t.ppf(0.975, 999)
    assert found.gap_width == pytest.approx(2 * q * sd, rel=1e-12)
    assert found.p_defined == pytest.approx(stats.norm.sf(q - 0.05 / sd), abs=0.015)


def test_more_of_everything_helps() -> None:
    base = power(gap=0.1, n_test=1000, seeds=3)
    for better in (
        power(gap=0.1, n_test=1000, seeds=5),
        power(gap=0.1, n_test=4000, seeds=3),
        power(gap=0.1, n_test=1000, seeds=3, seed_sd=0.005),
        power(gap=0.2, n_test=1000, seeds=3),
    ):
        assert better.p_defined > base.p_defined
        assert better.pgr_width < base.pgr_width
    grouped = power(gap=0.1, n_test=1000, seeds=3, group_size=4)
    assert grouped.gap_width > base.gap_width and grouped.n_groups == 250


def test_deterministic_and_fast() -> None:
    started = time.process_time()
    one, two = (power(gap=0.03, n_test=2000, seeds=10) for _ in range(2))
    assert one == two
    assert time.process_time() - started < 2.0


def test_too_few_groups_say_so() -> None:
    found = power(gap=0.2, n_test=180, seeds=5, group_size=4)
    assert (found.p_defined, found.n_groups) == (0.0, 45) and math.isnan(found.pgr_width)
    assert found.reason == "too few groups (fewer than 50 effective ones)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gap": 0.0}, "gap: found 0.0, expected a number from"),
        ({"gap": math.nan}, "gap: found nan"),
        ({"gap": 0.6}, "gap: found 0.6"),
        ({"seeds": 0}, "seeds: found 0, expected a number from 1 to 100"),
        ({"group_size": 600}, "group_size: found 600, expected a number from 1 to 500"),
        ({"seed_sd": -0.1}, "seed_sd: found -0.1"),
        ({"pgr": 9.0}, r"weak \+ pgr \* gap: found 1.6"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, float], message: str) -> None:
    given = {"gap": 0.1, "n_test": 1000, "seeds": 3} | arguments
    with pytest.raises(ValueError, match=message):
        power(**given)  # type: ignore[arg-type]
