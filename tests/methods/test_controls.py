"""Random labels: the control in which a student must learn nothing."""

from __future__ import annotations

import numpy as np
import pytest

from oversight.methods.controls import RandomLabels, drawn
from oversight.tasks.split import Seed
from oversight.testing import check_method, flips, planted


def test_a_student_of_random_labels_knows_nothing() -> None:
    scores = []
    for seed in range(6):
        world = planted(flips(0.0), seed=seed)
        scores.append(world.accuracy(RandomLabels(), seed=Seed.of(seed)))
    assert abs(np.mean(scores) - 0.5) < 4 * np.std(scores, ddof=1) / np.sqrt(6) + 0.02


def test_it_keeps_the_contract() -> None:
    check_method(RandomLabels())


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.1, 0.2, 0.7), (1.0, 0.0)])
def test_classes_are_drawn_in_the_given_shares(shares: tuple[float, ...]) -> None:
    rows = planted(n=4000).data.rows
    found = drawn(rows, np.array(shares), seed=3).probs.mean(0)
    np.testing.assert_allclose(found, shares, atol=4 * 0.5 / np.sqrt(len(rows)))


def test_a_draw_depends_on_the_row_and_the_seed_alone() -> None:
    rows = planted(n=100).data.rows
    turned = rows.take(range(len(rows))[::-1])
    first, again = (drawn(one, np.array([0.5, 0.5]), seed=1) for one in (rows, turned))
    np.testing.assert_array_equal(first.probs, again.on(rows).probs)
    assert not np.array_equal(first.probs, drawn(rows, np.array([0.5, 0.5]), seed=2).probs)
