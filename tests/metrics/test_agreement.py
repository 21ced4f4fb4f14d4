"""Agreement of student and supervisor: counts, ratio of sums, small cells."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from oversight.metrics import agreement

Floats = npt.NDArray[np.float64]


def chosen(classes: npt.NDArray[np.int64], k: int = 2) -> Floats:
    """Probabilities whose hard choices are the given classes."""
    return 0.8 * np.eye(k)[classes] + 0.2 / k


def test_shares_are_ratios_of_sums_over_seeds() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    weak = np.where(rng.random((4, 200)) < 0.7, labels, rng.integers(0, 3, (4, 200)))
    student = np.where(rng.random((4, 200)) < 0.6, weak, rng.integers(0, 3, (4, 200)))
    found = agreement(chosen(student, 3), chosen(weak, 3), labels, np.arange(200) // 2)
    same, right = student == weak, weak == labels
    assert found.all.value == pytest.approx(same.mean(), rel=1e-12)
    assert found.weak_right.value == pytest.approx((same & right).sum() / right.sum(), rel=1e-12)
    assert found.weak_wrong.value == pytest.approx((same & ~right).sum() / (~right).sum(), rel=1e-12)
    assert found.all.covers == "seeds and test groups"
    assert found.weak_wrong.low < found.weak_wrong.value < found.weak_wrong.high


def test_linearised_interval_matches_a_group_bootstrap_of_the_ratio() -> None:
    """One seed: half width = 1.96 sd of the resampled ratio, within 5 % (bootstrap noise 2 %)."""
    rng = np.random.default_rng(1)
    n, groups = 900, np.arange(900) // 3
    labels = rng.integers(0, 2, n)
    weak = np.where(rng.random(300)[groups] < 0.75, labels, 1 - labels)
    student = np.where(rng.random(300)[groups] < 0.8, weak, 1 - weak)
    found = agreement(chosen(student)[None], chosen(weak)[None], labels, groups).weak_wrong
    hits = ((student == weak) & (weak != labels)).reshape(300, 3).sum(axis=1)
    rows = (weak != labels).reshape(300, 3).sum(axis=1)
    drawn = rng.integers(0, 300, (4000, 300))
    ratios = hits[drawn].sum(axis=1) / rows[drawn].sum(axis=1)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * ratios.std(), rel=0.08)


def test_a_copy_agrees_everywhere() -> None:
    labels = np.arange(100) % 2
    weak = np.where(np.arange(100) < 30, 1 - labels, labels)
    found = agreement(chosen(weak)[None], chosen(weak)[None], labels, np.arange(100))
    for cell in (found.all, found.weak_right, found.weak_wrong):
        assert (cell.value, cell.high) == (1.0, 1.0) and 0.85 < cell.low < 1.0


@pytest.mark.parametrize(("n_wrong", "defined"), [(0, False), (19, False), (20, True)])
def test_a_cell_under_twenty_rows_is_undefined(n_wrong: int, defined: bool) -> None:
    labels = np.zeros(100, dtype=np.int64)
    weak = (np.arange(100) < n_wrong).astype(np.int64)
    found = agreement(chosen(labels)[None], chosen(weak)[None], labels, np.arange(100))
    assert found.weak_wrong.defined == defined
    assert found.weak_wrong.reason == (None if defined else "fewer than 20 rows")
    assert math.isnan(found.weak_wrong.value) != defined
    assert found.weak_right.value == 1.0


def test_bad_input_is_named() -> None:
    good = np.full((2, 5, 2), 0.5)
    with pytest.raises(ValueError, match=r"weak: found shape \(1, 5, 2\), expected \(2, 5, 2\)"):
        agreement(good, good[:1], np.zeros(5, dtype=int), np.arange(5))
    with pytest.raises(ValueError, match="labels: found 2 to 2"):
        agreement(good, good, np.full(5, 2), np.arange(5))
