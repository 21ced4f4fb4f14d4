"""Contrasts over tasks: closed forms, naive sums, families, simultaneous intervals, ranks, and Holm."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtri

from oversight.errors import InputError
from oversight.metrics import Estimate, Moments, linear_interval, moments, pooled, recovered
from oversight.metrics.contrasts import (
    FEW_FAMILIES,
    combine,
    difference,
    holm,
    pairwise,
    pooled_pgr,
    rank_intervals,
    unit,
    wilcoxon_holm,
)
from oversight.metrics.intervals import ONE_GROUP, satterthwaite
from oversight.metrics.limits import SHARE, UNBOUNDED, Limits, of_contrast
from oversight.metrics.pgr import FEW_GROUPS, MIXED_SEEDS, NOT_ABOVE, WITHIN_NOISE

Floats = npt.NDArray[np.float64]
FAST = settings(max_examples=25, deadline=None, database=None, derandomize=True)
ACCURACIES = (0.6, 0.85, 0.7, 0.72, 0.75)
PARTS = ("V_rows", "V_in", "V_int", "V_seed")


def scores(
    seed: int, *, n: int = 240, seeds: int = 3, size: int = 1, p: Sequence[float] = ACCURACIES, seed_sd: float = 0.02
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Right answers (s, r, n) of correlated roles, and groups."""
    rng, r, groups = np.random.default_rng(seed), len(p), np.arange(n) // size
    row = rng.normal(size=n // size)[groups] + rng.normal(size=n)
    own = rng.normal(size=(r, n)) + rng.normal(size=(seeds, r, n))
    shift = 5 * seed_sd * (rng.normal(size=(seeds, 1, 1)) + rng.normal(size=(seeds, r, 1)))
    return (2 * ndtri(np.array(p))[:, None] + shift > row + own).astype(np.float64), groups


def task(seed: int, *, n: int = 240, seeds: int = 3, size: int = 1) -> Moments:
    return moments(*scores(seed, n=n, seeds=seeds, size=size))


def half(found: Estimate) -> float:
    return (found.high - found.low) / 2


def naive_difference(
    tasks: Sequence[Moments], families: Sequence[str], a: Floats, upper: float
) -> tuple[float, float, float]:
    """(value, low, high) by loops over families, tasks and roles."""
    members: dict[str, list[Moments]] = defaultdict(list)
    for m, family in zip(tasks, families, strict=True):
        members[family].append(m)

    def quadratic(matrix: Floats) -> float:
        return sum(a[i] * a[j] * matrix[i, j] for i in range(len(a)) for j in range(len(a)))

    value = sum(
        sum(a[i] * m.p[i] for i in range(len(a))) / len(own) / len(members) for own in members.values() for m in own
    )
    rows, within, seed = (
        [sum(quadratic(getattr(m, name)) for m in own) / len(own) / len(members) ** 2 for own in members.values()]
        for name in ("V_rows", "V_int", "V_seed")
    )

    def quantile(v: list[float], df: list[int]) -> float:
        satterthwaite = sum(v) ** 2 / sum(one**2 / d for one, d in zip(v, df, strict=True))
        return float(stats.t.ppf(upper, math.floor(satterthwaite + 1e-9)))

    q_rows = quantile(rows, [min(m.n_groups for m in own) - 1 for own in members.values()])
    squared = [q_rows**2 * sum(rows)]
    if tasks[0].n_seeds > 1:
        q_seeds = quantile(seed, [min(m.n_seeds for m in own) - 1 for own in members.values()])
        squared.append(q_rows**2 * (sum(rows) - sum(within)) + q_seeds**2 * sum(seed))
    width = math.sqrt(max(squared))
    return value, value - width, value + width


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [1, 4])
def test_one_task_is_the_linear_interval(seeds: int, size: int) -> None:
    m = task(1, seeds=seeds, size=size)
    a = unit(5, 3, 2)
    found, expected = difference(combine([m], ["a"]), a), linear_interval(m, a)
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))
    assert (found.n, found.n_groups, found.n_seeds, found.covers) == (240, 240 // size, seeds, expected.covers)


def test_differences_are_cut_off_at_what_is_possible_and_nothing_else_changes() -> None:
    """Two seeds of which one fails: t(1) alone would allow a gain of several points per row."""
    rng = np.random.default_rng(0)
    right = rng.random((2, 2, 300)) < np.array([[0.6, 0.55], [0.6, 0.95]])[:, :, None]
    m, a = moments(right.astype(np.float64), np.arange(300)), (-1.0, 1.0)
    free, cut = (difference(combine([m], ["a"], limits=limits), a) for limits in (UNBOUNDED, SHARE))
    assert free.low < -1 and free.high > 1 and (cut.low, cut.high) == (-1, 1) and cut.value == free.value
    tight = moments(right[:1].astype(np.float64), np.arange(300))
    assert difference(combine([tight], ["a"], limits=SHARE), a) == difference(combine([tight], ["a"]), a)


@pytest.mark.parametrize(
    ("contrast", "limits", "expected"),
    [
        ((1, -1, 0), (0, 1), (-1, 1)),
        ((1, -1, 0), (-math.inf, 0), (-math.inf, math.inf)),
        ((1, 0, 0), (-2, 0), (-2, 0)),
        ((1, -0.5, -0.5), (-2, 0), (-2, 2)),
        ((0.5, 0.5, -1), UNBOUNDED, UNBOUNDED),
    ],
)
def test_what_a_contrast_can_reach(contrast: tuple[float, ...], limits: Limits, expected: Limits) -> None:
    assert of_contrast(np.array(contrast), limits) == expected


@pytest.mark.parametrize("n_tasks", [2, 5])
def test_independent_copies_shrink_the_rows_part_by_the_root(n_tasks: int) -> None:
    m, a, upper = task(2, seeds=1), unit(5, 3, 2), 0.975
    one = difference(combine([m], ["a"]), a)
    many = difference(combine([m] * n_tasks, [str(i) for i in range(n_tasks)]), a)
    quantiles = stats.t.ppf(upper, n_tasks * (m.n_groups - 1)) / stats.t.ppf(upper, m.n_groups - 1)
    assert half(many) == pytest.approx(half(one) / math.sqrt(n_tasks) * quantiles, rel=1e-12)
    assert many.value == pytest.approx(one.value, rel=1e-12)


@FAST
@given(
    families=st.lists(st.sampled_from("abc"), min_size=1, max_size=6),
    seeds=st.sampled_from([1, 2, 3]),
    n_comparisons=st.integers(1, 50),
    seed=st.integers(0, 1000),
)
def test_difference_is_the_naive_sum(families: list[str], seeds: int, n_comparisons: int, seed: int) -> None:
    tasks = [task(seed + i, n=40 + 4 * i, seeds=seeds + (seeds > 1) * (i % 2), size=2) for i in range(len(families))]
    a = np.random.default_rng(seed).normal(size=5)
    found = difference(combine(tasks, families), a, n_comparisons=n_comparisons)
    expected = naive_difference(tasks, families, a, 1 - 0.05 / (2 * n_comparisons))
    assert (found.value, found.low, found.high) == pytest.approx(expected, rel=1e-10, abs=1e-13)


@FAST
@given(families=st.lists(st.sampled_from("abcd"), min_size=1, max_size=8), seed=st.integers(0, 1000))
def test_the_variance_bounds_the_family_that_moves_as_one(families: list[str], seed: int) -> None:
    """Twins that move together entirely: the variance of the weighted mean is at most the one taken."""
    rng = np.random.default_rng(seed)
    tasks = [task(seed + i, n=30) for i in range(len(families))]
    taken = combine(tasks, families).total.V_rows
    roots = [np.linalg.cholesky(m.V_rows + 1e-15 * np.eye(5)) for m in tasks]
    size = {name: families.count(name) for name in families}
    true = np.zeros((5, 5))
    for name in size:
        together = sum(
            root / (len(size) * size[name]) for root, family in zip(roots, families, strict=True) if family == name
        )
        true += np.asarray(together) @ np.asarray(together).T
    for a in rng.normal(size=(20, 5)):
        assert a @ true @ a <= a @ taken @ a * (1 + 1e-9)


@pytest.mark.parametrize("seeds", [1, 3])
def test_identical_twins_are_one_task(seeds: int) -> None:
    m, other, a = task(3, seeds=seeds), task(4, seeds=seeds), unit(5, 3, 2)
    for alone, twice in (
        (combine([m], ["a"]), combine([m, m], ["a", "a"])),
        (combine([m, other], ["a", "b"]), combine([m, m, other], ["a", "a", "b"])),
    ):
        once, again = difference(alone, a, n_comparisons=7), difference(twice, a, n_comparisons=7)
        assert (again.low, again.high) == pytest.approx((once.low, once.high), rel=1e-12)


def test_every_family_weighs_the_same() -> None:
    tasks = [task(i, n=n) for i, n in enumerate((30, 300, 90))]
    total = combine(tasks, ["a", "b", "a"]).total
    assert total.p == pytest.approx((tasks[0].p / 2 + tasks[2].p / 2 + tasks[1].p) / 2, rel=1e-12)
    assert (total.sample.n, total.sample.n_groups, total.sample.n_seeds) == (420, 420, 3)


@FAST
@given(order=st.permutations(range(4)), roles=st.permutations(range(5)), seed=st.integers(0, 100))
def test_order_of_tasks_and_methods_does_not_matter(order: list[int], roles: list[int], seed: int) -> None:
    families = ["a", "b", "a", "c"]
    drawn = [scores(seed + i, n=40) for i in range(4)]
    straight = combine([moments(*one) for one in drawn], families)
    moved = combine([moments(drawn[i][0][:, roles], drawn[i][1]) for i in order], [families[i] for i in order])
    for i, j in itertools.combinations(range(5), 2):
        found = difference(moved, unit(5, i, j), n_comparisons=3)
        expected = difference(straight, unit(5, roles[i], roles[j]), n_comparisons=3)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)


def test_more_comparisons_and_higher_levels_widen() -> None:
    combined, a = combine([task(5), task(6)], ["a", "b"]), unit(5, 3, 2)
    widths = [half(difference(combined, a, n_comparisons=n)) for n in (1, 2, 10, 200)]
    assert widths == sorted(widths) and widths[0] < widths[-1]
    two = half(difference(combined, a, n_comparisons=2))
    assert two == pytest.approx(half(difference(combined, a, level=0.975)), rel=1e-12)


def test_methods_that_agree_everywhere_are_never_told_apart() -> None:
    drawn = [scores(i, n=37 + i) for i in range(7)]
    twice = [moments(np.concatenate([s, s[:, 3:4]], axis=1), groups) for s, groups in drawn]
    found = difference(combine(twice, list("aabcdef")), unit(6, 3, 5))
    assert found.value == 0.0
    assert found.low <= 0.0 <= found.high


@pytest.mark.parametrize("seeds", [1, 3])
def test_reasons(seeds: int) -> None:
    mixed = difference(combine([task(0, seeds=1), task(1, seeds=2)], ["a", "b"]), unit(5, 3, 2))
    lone = moments(scores(2, seeds=seeds)[0], np.zeros(240))
    one_group = difference(combine([task(1, seeds=seeds), lone], ["a", "b"]), unit(5, 3, 2))
    assert (mixed.reason, one_group.reason) == (MIXED_SEEDS, ONE_GROUP)
    for found in (mixed, one_group):
        assert math.isfinite(found.value)
        assert math.isnan(found.low)
        assert math.isnan(found.high)
    assert pooled_pgr(combine([task(1, seeds=seeds), lone], ["a", "b"]), weak=0, student=2, ceiling=1).reason == (
        ONE_GROUP
    )


def test_refusals() -> None:
    combined = combine([task(0)], ["a"])
    with pytest.raises(InputError, match="found 0 tasks"):
        combine([], [])
    with pytest.raises(InputError, match="found 1 tasks and 2 families"):
        combine([task(0)], ["a", "b"])
    with pytest.raises(InputError, match=r"found \[2, 5\] roles"):
        combine([task(0), moments(scores(1)[0][:, :2], np.arange(240))], ["a", "b"])
    with pytest.raises(InputError, match=r"contrast: found shape \(2,\)"):
        difference(combined, (1, -1))
    with pytest.raises(InputError, match="n_comparisons: found 0"):
        difference(combined, unit(5, 3, 2), n_comparisons=0)
    with pytest.raises(InputError, match="level: found 95"):
        difference(combined, unit(5, 3, 2), level=95)


def test_pairs_are_antisymmetric_and_simultaneous() -> None:
    combined, roles = combine([task(7), task(8)], ["a", "b"]), [1, 2, 4]
    pairs = pairwise(combined, roles)
    assert set(pairs) == set(itertools.permutations(roles, 2))
    for i, j in itertools.combinations(roles, 2):
        assert (pairs[i, j].low, pairs[i, j].high) == pytest.approx((-pairs[j, i].high, -pairs[j, i].low), rel=1e-12)
        alone = difference(combined, unit(5, i, j), n_comparisons=3)
        assert (pairs[i, j].low, pairs[i, j].high) == (alone.low, alone.high)
    assert pairwise(combined, [2]) == {}


def possible_places(pairs: dict[tuple[int, int], Estimate], roles: Sequence[int]) -> dict[int, set[int]]:
    """Every place a role takes in some strict order that contradicts no interval."""
    found: dict[int, set[int]] = {i: set() for i in roles}
    for order in itertools.permutations(roles):
        if all(pairs[above, below].high >= 0 for above, below in itertools.combinations(order, 2)):
            for place, i in enumerate(order, start=1):
                found[i].add(place)
    return found


@FAST
@given(
    values=st.lists(st.integers(0, 6), min_size=2, max_size=6),
    halves=st.lists(st.integers(0, 4), min_size=6, max_size=6),
)
def test_ranks_are_the_places_that_no_interval_contradicts(values: list[int], halves: list[int]) -> None:
    roles = list(range(len(values)))

    def pair(i: int, j: int) -> Estimate:
        value, width = values[i] - values[j], max(halves[i], halves[j]) + 0.5
        return Estimate(value, value - width, value + width, 100, 100, 1, None, "")

    pairs = {(i, j): pair(i, j) for i, j in itertools.permutations(roles, 2)}
    found = rank_intervals(pairs, roles)
    for i, places in possible_places(pairs, roles).items():
        assert found[i][0] <= min(places)
        assert max(places) <= found[i][1]
        shown_better = sum(values[j] - values[i] > max(halves[i], halves[j]) + 0.5 for j in roles)
        shown_worse = sum(values[i] - values[j] > max(halves[i], halves[j]) + 0.5 for j in roles)
        assert found[i] == (1 + shown_better, len(roles) - shown_worse)


def test_ranks_without_intervals_are_any_place() -> None:
    combined = combine([task(0, seeds=1), task(1, seeds=2)], ["a", "b"])
    assert rank_intervals(pairwise(combined, [2, 3, 4]), [2, 3, 4]) == dict.fromkeys([2, 3, 4], (1, 3))
    assert rank_intervals({}, [2]) == {2: (1, 1)}


@pytest.mark.parametrize("seeds", [1, 3])
def test_pooled_pgr_of_one_task_is_its_pgr(seeds: int) -> None:
    drawn, groups = scores(11, n=2000, seeds=seeds, seed_sd=0.004)
    found = pooled_pgr(combine([moments(drawn, groups)], ["a"]), weak=0, student=3, ceiling=1)
    expected = recovered(drawn[:, [0, 3, 1]], groups).pgr
    assert expected.defined
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))


@pytest.mark.parametrize("seeds", [1, 3])
def test_pooled_pgr_of_families_of_one_is_pooled(seeds: int) -> None:
    """Up to t with 5997 degrees of freedom in place of the normal quantile: 3e-4 of the half width."""
    drawn = [scores(20 + i, n=2000, seeds=seeds, seed_sd=0.004) for i in range(3)]
    found = pooled_pgr(combine([moments(*one) for one in drawn], list("abc")), weak=0, student=3, ceiling=1)
    expected = pooled([moments(one[:, [0, 3, 1]], groups) for one, groups in drawn])
    assert found.value == pytest.approx(expected.value, rel=1e-12)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=3e-4 * half(expected))


@pytest.mark.parametrize(("role", "fewest"), [(3, "along the ratio"), (1, "along the gap")])
def test_pooled_pgr_takes_the_fewest_degrees_of_freedom(role: int, fewest: str) -> None:
    """One role of one task spreads over seeds, so that the two contrasts differ in degrees of freedom."""
    drawn = [scores(40 + i, n=2000, seeds=4, seed_sd=0.004) for i in range(3)]
    for seed, wrong in enumerate((0, 40, 160, 200)):
        drawn[0][0][seed, role, :wrong] = 0
    combined = combine([moments(*one) for one in drawn], list("abc"))
    found = pooled_pgr(combined, weak=0, student=3, ceiling=1)
    df = {
        name: satterthwaite(np.einsum("r,frq,q->f", a, combined.seed_variance, a), combined.seed_df)
        for name, a in (
            ("along the gap", np.array([-1.0, 1, 0, 0, 0])),
            ("along the ratio", np.array([found.value - 1, -found.value, 0, 1, 0])),
        )
    }
    expected = pooled([moments(one[:, [0, 3, 1]], groups) for one, groups in drawn])
    assert len(set(df.values())) == 2
    assert min(df, key=lambda name: df[name]) == fewest
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-3 * half(expected))


def test_pooled_pgr_is_the_set_of_ratios_that_no_difference_rejects() -> None:
    drawn = [scores(30 + i, n=1000, seeds=1) for i in range(3)]
    combined = combine([moments(*one) for one in drawn], ["a", "a", "b"])
    found = pooled_pgr(combined, weak=0, student=3, ceiling=1)
    ends = []
    for theta in (found.low, found.high):
        a = np.array([theta - 1, -theta, 0, 1, 0])
        estimate = difference(combined, a)
        ends.append(min(abs(estimate.low), abs(estimate.high)) / half(estimate))
    assert ends == pytest.approx([0, 0], abs=1e-3)


@pytest.mark.parametrize(
    ("p", "n", "reason"),
    [
        ((0.8, 0.6, 0.7), 400, NOT_ABOVE),
        ((0.7, 0.705, 0.7), 400, WITHIN_NOISE),
        ((0.5, 0.9, 0.7), 40, FEW_GROUPS),
    ],
)
def test_pooled_pgr_is_undefined_with_a_reason(p: tuple[float, ...], n: int, reason: str) -> None:
    found = pooled_pgr(combine([moments(*scores(5, n=n, p=p))], ["a"]), weak=0, student=2, ceiling=1)
    assert found.reason == reason
    assert math.isnan(found.value)


def test_satterthwaite_closed_forms() -> None:
    """q equal variances have q times the degrees; one that dwarfs the rest has its own; rounded down."""
    assert satterthwaite(np.full(3, 0.2), np.full(3, 4.0)) == 12
    assert satterthwaite(np.array([1.0, 1e-9]), np.array([2.0, 9.0])) == 2
    assert satterthwaite(np.array([2.0, 1.0]), np.array([2.0, 2.0])) == 3  # 9 / (4/2 + 1/2) = 3.6
    assert satterthwaite(np.zeros(2), np.array([2.0, 3.0])) == 5


def test_holm_by_hand() -> None:
    """Sorted .005, .01, .03, .04 times 4, 3, 2, 1 = .02, .03, .06, .04; never falling: .02, .03, .06, .06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.6, 0.5]) == [1.0, 1.0, 1.0]
    assert holm([]) == []


@FAST
@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=8), level=st.floats(0.001, 0.999))
def test_holm_rejects_what_the_step_down_rejects(p: list[float], level: float) -> None:
    """The definition: going up the sorted p values, stop at the first p > level / number left."""
    rejected: set[int] = set()
    for step, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if p[i] * (len(p) - step) > level:
            break
        rejected.add(i)
    assert {i for i, one in enumerate(holm(p)) if one <= level} == rejected


def signed_rank_p(gains: Floats) -> float:
    """Two-sided Wilcoxon by all 2^n signs."""
    kept = gains[gains != 0]
    ranks = stats.rankdata(np.abs(kept))
    centre = ranks.sum() / 2
    away = [abs(sum(r for r, s in zip(ranks, signs, strict=True) if s) - centre) for signs in signs_of(len(kept))]
    return float(np.mean(np.array(away) >= abs(ranks[kept > 0].sum() - centre) - 1e-9))


def signs_of(n: int) -> itertools.product[tuple[bool, ...]]:
    return itertools.product([False, True], repeat=n)


def test_wilcoxon_is_exact_with_ties_and_zeros_and_corrected() -> None:
    rng = np.random.default_rng(4)
    gains = np.stack([rng.normal(0.6, 1, 11), np.round(rng.normal(0.5, 1, 11), 0), np.zeros(11)], axis=1)
    p, reason = wilcoxon_holm(gains)
    assert reason is None
    assert p == pytest.approx(holm([signed_rank_p(gains[:, 0]), signed_rank_p(gains[:, 1]), 1.0]), rel=1e-9)


def test_wilcoxon_does_not_see_rounding_errors() -> None:
    gains = np.random.default_rng(6).choice([0.0, 0.1, -0.1, 0.2], size=(12, 2))
    noise = np.random.default_rng(7).normal(size=gains.shape) * 1e-16
    assert wilcoxon_holm(gains + noise) == wilcoxon_holm(gains)


def test_few_families_have_no_p_values() -> None:
    assert wilcoxon_holm(np.ones((9, 2))) == (None, FEW_FAMILIES)
    p, reason = wilcoxon_holm(np.ones((10, 2)))
    assert reason is None
    assert p == pytest.approx([2 * 2 / 2**10] * 2)
