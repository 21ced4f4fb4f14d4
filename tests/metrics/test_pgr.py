"""PGR: Fieller's roots against a search over theta, invariances, reasons, pooling, and coverage that can fail."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from oversight.metrics import Moments, Sample, across_tasks, linear_interval, moments, pgr, pooled, recovered

Floats = npt.NDArray[np.float64]
MakeScores = Callable[..., Floats]
NAMES = ("p", "V_rows", "V_in", "V_int", "V_seed")
FAST = settings(max_examples=25, deadline=None, database=None, derandomize=True)


def squared_half_width(m: Moments, theta: float, *, q_rows: float, q_seeds: float) -> float:
    """max_j h_j^2 of (student - weak) - theta (ceiling - weak), straight from the statistics page."""
    a = np.array([theta - 1, 1, -theta])
    first = q_rows**2 * a @ m.V_rows @ a
    return float(max(first, q_rows**2 * a @ (m.V_rows - m.V_int) @ a + q_seeds**2 * a @ m.V_seed @ a))


def searched_interval(m: Moments, *, q_rows: float, q_seeds: float) -> tuple[float, float]:
    """Ends of the theta that the test accepts, found by search outwards from the estimate."""

    def excess(theta: float) -> float:
        difference = (m.p[1] - m.p[0]) - theta * (m.p[2] - m.p[0])
        return difference**2 - squared_half_width(m, theta, q_rows=q_rows, q_seeds=q_seeds)

    centre, ends = (m.p[1] - m.p[0]) / (m.p[2] - m.p[0]), []
    for sign in (-1, 1):
        step = 0.01
        while excess(centre + sign * step) < 0:
            step *= 1.5
        ends.append(optimize.brentq(excess, centre, centre + sign * step, xtol=1e-14))
    return ends[0], ends[1]


def quantiles(m: Moments) -> dict[str, float]:
    seeds = stats.t.ppf(0.975, m.n_seeds - 1) if m.n_seeds > 1 else 0.0
    return {"q_rows": float(stats.t.ppf(0.975, m.n_groups - 1)), "q_seeds": float(seeds)}


def test_closed_forms() -> None:
    assert pgr(0.6, 0.7, 0.8) == pytest.approx(0.5)
    assert pgr(0.5, 0.4, 0.6) == pytest.approx(-1.0)
    assert pgr(0.5, 0.7, 0.6) == pytest.approx(2.0)
    for ceiling in (0.6, 0.5, math.nan):
        assert math.isnan(pgr(0.6, 0.7, ceiling))


@pytest.mark.parametrize("seeds", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("size", [1, 3])
def test_interval_is_the_set_of_accepted_ratios(make_scores: MakeScores, seeds: int, size: int) -> None:
    rng = np.random.default_rng(seeds)
    groups = np.arange(900) // size
    for _ in range(10):
        found = recovered(make_scores(rng, groups, seeds=seeds, seed_sd=0.008), groups)
        assert found.moments is not None
        if not found.pgr.defined:
            continue
        low, high = searched_interval(found.moments, **quantiles(found.moments))
        assert (found.pgr.low, found.pgr.high) == (pytest.approx(low, rel=1e-9), pytest.approx(high, rel=1e-9))


@pytest.mark.parametrize("seeds", [1, 3])
def test_defined_is_the_interval_of_the_gap_above_zero(make_scores: MakeScores, seeds: int) -> None:
    rng, groups, seen = np.random.default_rng(8), np.arange(200), set[bool]()
    for _ in range(60):
        found = recovered(make_scores(rng, groups, seeds=seeds, p=(0.7, 0.73, 0.78), seed_sd=0.01), groups)
        assert found.pgr.defined == (found.gap.low > 0)
        assert math.isnan(found.pgr.value) != found.pgr.defined
        seen.add(found.pgr.defined)
    assert seen == {True, False}


@FAST
@given(st.integers(0, 10_000), st.integers(1, 5), st.floats(0.1, 10), st.floats(-3, 3))
def test_shift_and_scale_leave_pgr_alone(seed: int, seeds: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(seeds, 3, 120)) + rng.normal(size=(3, 120)) + np.array([0, 1, 2.0])[:, None]
    groups = np.arange(120) // 2
    one, two = recovered(scores, groups), recovered(scale * scores + shift, groups)
    assert one.pgr.reason == two.pgr.reason
    for name in ("value", "low", "high"):
        assert getattr(two.pgr, name) == pytest.approx(getattr(one.pgr, name), rel=1e-7, abs=1e-7, nan_ok=True)
    if one.pgr.defined:
        mirrored = recovered(-scores[:, [2, 1, 0]], groups).pgr
        assert mirrored.low == pytest.approx(1 - one.pgr.high, rel=1e-7, abs=1e-7)


def test_a_row_part_common_to_all_roles_leaves_pgr_alone(make_scores: MakeScores) -> None:
    rng, groups = np.random.default_rng(3), np.arange(300)
    scores = make_scores(rng, groups, seeds=3, seed_sd=0.01)
    one, two = recovered(scores, groups).pgr, recovered(scores + rng.normal(size=300), groups).pgr
    assert (one.low, one.high) == (pytest.approx(two.low, rel=1e-9), pytest.approx(two.high, rel=1e-9))


def test_a_student_that_equals_a_role_has_its_pgr_and_no_zero_width(make_scores: MakeScores) -> None:
    """Identical on 400 rows: the gain may be as large as t^2 / 400 rows, and PGR as that over the gap."""
    groups = np.arange(400)
    scores = make_scores(np.random.default_rng(4), groups, seeds=3, seed_sd=0.005)
    reach = stats.t.ppf(0.975, 399) ** 2 / 400
    for role, value in ((0, 0.0), (2, 1.0)):
        found = recovered(scores[:, [0, role, 2]], groups)
        assert found.pgr.defined and found.pgr.value == pytest.approx(value, abs=1e-9)
        assert found.pgr.low < value - 0.9 * reach / found.gap.value
        assert found.pgr.high > value + 0.9 * reach / found.gap.value
    same = recovered(scores[:, [0, 0, 2]], groups).gain
    assert (same.low, same.value, same.high) == (pytest.approx(-reach), 0.0, pytest.approx(reach))


@pytest.mark.parametrize("n", [2000, 5000])
@pytest.mark.parametrize("seeds", [1, 3])
def test_chance_everywhere_has_no_pgr(n: int, seeds: int) -> None:
    """anthropic_hh in openai/weak-to-strong: .4908 weak, .4960 ceiling, and a notebook that printed PGR 0.81."""
    rng = np.random.default_rng(11)
    row = [np.arange(n) < round(p * n) for p in (0.4908, 0.4950, 0.4960)]
    scores = np.array([[rng.permutation(r) for r in row] for _ in range(seeds)]).astype(np.float64)
    found = recovered(scores, np.arange(n))
    assert found.gap.value == pytest.approx(0.0052, abs=1e-3) and found.gap.low < 0 < found.gap.high
    assert math.isnan(found.pgr.value) and found.pgr.reason == "the gap is within noise"
    assert found.pgr.as_json() == {"value": None, "low": None, "high": None, "n_effective": float(n)}
    assert found.weak.defined and found.student.defined and found.ceiling.defined


def test_reasons(make_scores: MakeScores) -> None:
    groups = np.arange(400)
    scores = make_scores(np.random.default_rng(5), groups, p=(0.5, 0.7, 0.95))
    assert recovered(scores, groups).pgr.reason is None
    assert recovered(scores[:, ::-1], groups).pgr.reason == "the ceiling is not above the supervisor"
    assert recovered(scores[:, [0, 1, 0]], groups).pgr.reason == "the ceiling is not above the supervisor"
    few = "too few groups (fewer than 50 effective ones)"
    assert recovered(scores, groups // 9).pgr.reason == few
    assert recovered(scores, groups // 8).pgr.reason is None
    assert recovered(scores, np.zeros(400)).pgr.reason == few
    with pytest.raises(ValueError, match=r"row_scores: found shape \(1, 2, 400\), expected \(s, 3, n\)"):
        recovered(scores[:, :2], groups)


def test_equality_of_results_does_not_compare_arrays(make_scores: MakeScores) -> None:
    scores = make_scores(np.random.default_rng(6), np.arange(100))
    assert recovered(scores, np.arange(100)) == recovered(scores, np.arange(100))


def simulated(make_scores: MakeScores, rng: np.random.Generator, *, seeds: int, k: int = 1) -> list[Moments]:
    groups = np.arange(250)
    return [moments(make_scores(rng, groups, seeds=seeds, seed_sd=0.015), groups) for _ in range(k)]


@pytest.mark.parametrize("seeds", [1, 3])
def test_coverage(make_scores: MakeScores, seeds: int) -> None:
    """500 studies with PGR 0.5 and gap .3: the set covers 93-99 %; without the seed part three seeds cover far less."""
    rng, groups, hits, short = np.random.default_rng(seeds), np.arange(400), [], []
    for _ in range(500):
        scores = make_scores(rng, groups, seeds=seeds, p=(0.6, 0.75, 0.9), seed_sd=0.04 if seeds > 1 else 0.0)
        found = recovered(scores, groups).pgr
        if found.defined:
            hits.append(found.low <= 0.5 <= found.high)
        rows_only = recovered(scores.mean(axis=0, keepdims=True), groups).pgr
        short.append(rows_only.low <= 0.5 <= rows_only.high)
    assert len(hits) > 350
    assert 0.93 <= np.mean(hits) <= 0.99
    if seeds > 1:
        assert np.mean(short) < 0.85


def test_pooled_sums_tasks(make_scores: MakeScores) -> None:
    """Against the page's recipe written out: sums, nu by its formula and rounded down, the same search over theta."""
    studies = simulated(make_scores, np.random.default_rng(9), seeds=3, k=4)
    studies += simulated(make_scores, np.random.default_rng(10), seeds=5, k=2)
    found = pooled(studies)
    gain, gap = (sum(m.p[r] - m.p[0] for m in studies) for r in (1, 2))
    assert found.value == pytest.approx(gain / gap, rel=1e-12)
    nus = []
    for a in (np.array([-1, 0, 1]), np.array([found.value - 1, 1, -found.value])):
        v = [a @ m.V_seed @ a for m in studies]
        nus.append(sum(v) ** 2 / sum(one**2 / (m.n_seeds - 1) for one, m in zip(v, studies, strict=True)))
    p, v_rows, v_in, v_int, v_seed = (np.sum([getattr(m, x) for m in studies], axis=0) for x in NAMES)
    total = Moments(p, v_rows, v_in, v_int, v_seed, Sample(1500, 1500, 3))
    q_seeds = float(stats.t.ppf(0.975, math.floor(min(nus))))
    low, high = searched_interval(total, q_rows=1.959963984540054, q_seeds=q_seeds)
    assert (found.low, found.high) == (pytest.approx(low, rel=1e-9), pytest.approx(high, rel=1e-9))
    assert (found.n, found.n_groups, found.n_seeds) == (1500, 1500, 3)


def test_pooled_includes_tasks_without_a_pgr(make_scores: MakeScores) -> None:
    rng, groups = np.random.default_rng(12), np.arange(300)
    clear = recovered(make_scores(rng, groups, p=(0.5, 0.7, 0.9)), groups)
    noise = recovered(make_scores(rng, groups, p=(0.7, 0.7, 0.7)), groups)
    assert clear.moments is not None and noise.moments is not None and not noise.pgr.defined
    found = pooled([clear.moments, noise.moments])
    gain, gap = clear.gain.value + noise.gain.value, clear.gap.value + noise.gap.value
    assert found.defined and found.value == pytest.approx(gain / gap, rel=1e-12)
    assert pooled([noise.moments]).reason in ("the gap is within noise", "the ceiling is not above the supervisor")


def test_pooled_needs_comparable_seeds(make_scores: MakeScores) -> None:
    rng = np.random.default_rng(13)
    mixed = simulated(make_scores, rng, seeds=1) + simulated(make_scores, rng, seeds=3)
    assert pooled(mixed).reason == "some tasks have one seed and some have several"
    with pytest.raises(ValueError, match="studies: found none"):
        pooled([])
    with pytest.raises(ValueError, match=r"studies: found one of \(2,\) roles"):
        pooled([moments(np.zeros((1, 2, 60)), np.arange(60))])


def test_pooled_coverage(make_scores: MakeScores) -> None:
    """300 sets of 3 tasks with 3 seeds, PGR 0.5 each: at least 93 % covered where defined, noise 1.3 %."""
    rng = np.random.default_rng(14)
    found = [pooled(simulated(make_scores, rng, seeds=3, k=3)) for _ in range(300)]
    truth = 0.5
    hits = [one.low <= truth <= one.high for one in found if one.defined]
    assert len(hits) > 250 and np.mean(hits) >= 0.93


def test_across_tasks_is_fieller_over_tasks(make_scores: MakeScores) -> None:
    studies = simulated(make_scores, np.random.default_rng(15), seeds=1, k=8)
    found = across_tasks(studies)
    n, d = np.array([[m.p[1] - m.p[0], m.p[2] - m.p[0]] for m in studies]).T
    q = stats.t.ppf(0.975, 7)

    def excess(theta: float) -> float:
        rest = n - theta * d
        return abs(rest.mean()) - q * rest.std(ddof=1) / math.sqrt(8)

    for end in (found.low, found.high):
        assert excess(end) == pytest.approx(0, abs=1e-12)
    assert found.value == pytest.approx(n.sum() / d.sum(), rel=1e-12)
    assert found.covers == "tasks"
    assert across_tasks(studies[:4]).reason == "too few tasks (fewer than 5; intervals not tested there)"


def test_gap_and_gain_are_contrasts_of_the_moments(make_scores: MakeScores) -> None:
    groups = np.arange(120)
    found = recovered(make_scores(np.random.default_rng(16), groups, seeds=2), groups)
    assert found.moments is not None
    assert found.gap == linear_interval(found.moments, (-1, 0, 1))
    assert found.gain == linear_interval(found.moments, (-1, 1, 0))
    assert found.student == linear_interval(found.moments, (0, 1, 0))
