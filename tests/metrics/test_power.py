"""Power: the row model against scipy's bivariate normal, cases with a closed form, pilots, and monotone answers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from oversight.errors import InputError
from oversight.metrics import Moments, linear_interval, moments, power
from oversight.metrics.pool import seed_factor
from oversight.metrics.power import expected, expected_gap, rows_needed, seeds_needed
from oversight.metrics.variability import (
    SEED_CORRELATION,
    assumed,
    indicator_covariance,
    of_pilot,
    of_scores,
    row_variances,
)


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
    shared, own = row_variances(np.array([0.7, 0.725, 0.75]))
    a, total = np.array([-1, 0, 1]), (shared + own) / 1000
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


def test_deterministic() -> None:
    one, two = (power(gap=0.03, n_test=2000, seeds=10) for _ in range(2))
    assert one == two


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
        ({"weak": 1.2}, r"weak: found 1.2"),
        ({"group_share": 1.5}, r"group_share: found 1.5"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, float], message: str) -> None:
    given = {"gap": 0.1, "n_test": 1000, "seeds": 3} | arguments
    with pytest.raises(ValueError, match=message):
        power(**given)  # type: ignore[arg-type]


# From a pilot


def simulated(
    seed: int, *, n: int, s: int, p: tuple[float, float, float] = (0.7, 0.76, 0.8), sd: float = 0.015, group: int = 1
) -> tuple[Any, Any]:
    """(scores (s, 3, n), groups): rows of a group share all of it; seeds move all three roles' accuracies by `sd`."""
    rng = np.random.default_rng(seed)
    levels = np.asarray(p) + sd * rng.standard_normal((s, 3))
    row, role, own = (rng.standard_normal((*size, n // group)) for size in ((1, 1), (1, 3), (s, 3)))
    latent = math.sqrt(0.4) * row + math.sqrt(0.3) * role + math.sqrt(0.3) * own
    right = latent < stats.norm.ppf(np.clip(levels, 0.01, 0.99))[:, :, None]
    return np.repeat(right, group, axis=2).astype(np.float64), np.repeat(np.arange(n // group), group)


def test_a_pilots_parts_add_up_to_its_own_variances() -> None:
    m = moments(*simulated(0, n=800, s=9, sd=0.03))
    how = of_pilot(m)
    np.testing.assert_allclose(how.shared / 800 + how.own / 800 / 9, m.V_rows, rtol=1e-9)
    np.testing.assert_allclose(how.of_seed(800) / 9, m.V_seed, rtol=1e-9)
    # what one seed adds on ten times the rows: a tenth of rows x seeds, all of the seeds' own spread
    np.testing.assert_allclose(how.of_seed(8000), how.of_seed(800) - 0.9 * how.own / 800, rtol=1e-9)


def test_the_usual_spread_over_seeds_counts_beside_a_pilots_as_much_as_three_seeds_do() -> None:
    scores, groups = simulated(0, n=800, s=3)
    m, sd = moments(scores, groups), 0.02 * scores.std(axis=2).mean(axis=0)
    alone, both = of_pilot(m), of_scores(scores, groups)
    usual = np.outer(sd, sd) * SEED_CORRELATION
    np.testing.assert_allclose(both.seeds, (alone.seeds + usual + alone.own / 800) / 2, rtol=1e-12)
    assert (alone.seeds_df, both.seeds_df, of_pilot(m, seed_sd=0.02).seeds_df) == (2, 4, np.inf)


def test_with_the_pilots_own_size_its_own_interval_is_foretold() -> None:
    """Many seeds, so that the spread over seeds is known."""
    m = moments(*simulated(1, n=2000, s=60))
    gap = linear_interval(m, (-1, 0, 1))
    found = expected(of_pilot(m), gap=0.1, pgr=0.5, n_test=2000, seeds=60)
    assert found.gap_width == pytest.approx(gap.high - gap.low, rel=0.06)


CASES = {
    "good models": {"p": (0.95, 0.965, 0.975), "sd": 0.002},
    "seeds that move": {"sd": 0.05},
    "rows that go together": {"group": 10},
}


@pytest.mark.parametrize("case", CASES)
def test_a_plan_from_a_pilot_is_right_where_assumptions_are_off_by_a_factor(case: str) -> None:
    """The width of the gap's interval in 20 studies of 3,000 rows and 7 seeds, from pilots of 600 and 6."""
    how: dict[str, Any] = CASES[case]
    widths = [2 * half(moments(*simulated(100 + i, n=3000, s=7, **how))) for i in range(20)]
    plans = [
        expected(of_scores(*simulated(i, n=600, s=6, **how)), gap=0.05, pgr=0.5, n_test=3000, seeds=7)
        for i in range(20)
    ]
    usual = power(gap=0.05, n_test=3000, seeds=7, group_size=how.get("group", 1))
    found = float(np.median(widths))
    assert np.median([one.gap_width for one in plans]) == pytest.approx(found, rel=0.25)
    assert not 0.75 < usual.gap_width / found < 1.33
    told = np.mean([[one.gap_width_low <= width <= one.gap_width_high for one in plans] for width in widths])
    assert told > 0.6


def half(m: Moments) -> float:
    found = linear_interval(m, (-1, 0, 1))
    return (found.high - found.low) / 2


def test_what_a_pilot_of_few_seeds_does_not_know_is_said() -> None:
    few, many = (of_scores(*simulated(3, n=4000, s=s, sd=0.03)) for s in (3, 40))
    one, other = (expected(how, gap=0.1, pgr=0.5, n_test=4000, seeds=5) for how in (few, many))
    assert one.gap_width_high / one.gap_width_low > 1.3 * other.gap_width_high / other.gap_width_low


def test_a_pilot_of_one_seed_needs_the_spread_over_seeds_from_elsewhere() -> None:
    m = moments(*simulated(0, n=500, s=1))
    with pytest.raises(InputError, match="found one seed, which says nothing of the spread over seeds"):
        of_pilot(m)
    how = of_pilot(m, seed_sd=0.0)
    np.testing.assert_allclose(how.shared / 500, m.V_rows, atol=1e-12)
    with pytest.raises(InputError, match=r"--seed-sd: found 0.5, expected a number from 0 to 0.2"):
        of_pilot(m, seed_sd=0.5)
    with pytest.raises(InputError, match="found 1 groups of test rows"):
        of_pilot(moments(simulated(0, n=500, s=2)[0], np.zeros(500)))


# How much a gap takes


@pytest.mark.parametrize("seeds", [1, 3, 10])
def test_the_smallest_gap_is_shown_in_eight_of_ten_studies(seeds: int) -> None:
    how = assumed(weak=0.7, student=0.74, ceiling=0.78)
    smallest = expected(how, gap=0.05, pgr=0.5, n_test=800, seeds=seeds).smallest_gap
    assert expected(how, gap=smallest, pgr=0.5, n_test=800, seeds=seeds).p_defined == pytest.approx(0.8, abs=1e-3)
    assert smallest == expected_gap(how, n_test=800, seeds=seeds)


def test_rows_and_seeds_that_are_needed_are_enough_and_not_many_more() -> None:
    how = assumed(weak=0.7, student=0.72, ceiling=0.74)
    rows, seeds = rows_needed(how, gap=0.04, seeds=7), seeds_needed(how, gap=0.04, n_test=3000)
    assert rows is not None and seeds is not None
    assert expected_gap(how, n_test=rows, seeds=7) <= 0.04 < expected_gap(how, n_test=int(0.95 * rows), seeds=7)
    assert expected_gap(how, n_test=3000, seeds=seeds) <= 0.04 < expected_gap(how, n_test=3000, seeds=seeds - 1)


def test_where_seeds_are_what_is_missing_no_number_of_rows_is_enough() -> None:
    how = assumed(weak=0.7, student=0.71, ceiling=0.72)
    assert rows_needed(how, gap=0.02, seeds=3) is None
    assert seeds_needed(how, gap=0.005, n_test=100) is None


def test_fewer_rows_than_an_interval_takes_are_never_advised() -> None:
    """A gap of .4 would be shown on a handful of rows, were there not the bar of 50 groups."""
    how = assumed(weak=0.5, student=0.7, ceiling=0.9, group_size=4)
    assert rows_needed(how, gap=0.4, seeds=10) == 200


@pytest.mark.parametrize("seeds", [1, 5])
def test_a_study_that_speaks_of_new_rows_needs_a_larger_gap(seeds: int) -> None:
    """The package's own factor of the seed part; with one seed there is none."""
    how = assumed(weak=0.7, student=0.74, ceiling=0.78, seed_sd=0.02)
    plan: dict[str, Any] = {"gap": 0.08, "pgr": 0.5, "n_test": 10**6, "seeds": seeds}
    these, new = (expected(how, **plan, scope=scope) for scope in ("these-rows", "new-rows"))
    root = math.sqrt(seed_factor(seeds, "new-rows"))
    assert new.gap_width == pytest.approx(root * these.gap_width, rel=0.02)  # rows are next to nothing
    assert (new.smallest_gap > 1.2 * these.smallest_gap) == (seeds > 1)
    assert power(gap=0.1, n_test=1000, seeds=1) == power(gap=0.1, n_test=1000, seeds=1, scope="new-rows")
