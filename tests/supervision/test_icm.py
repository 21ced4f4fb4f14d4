"""The search for coherent classes, without a model: its quantities, the best of all labellings, its schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, product

import numpy as np
import pytest

from oversight.supervision.icm import Annealing, Ask, Coherent, icm, predictability
from oversight.tasks.task import Floats

THOROUGH = Annealing(sweeps=40)


def field(k: int, n: int, *, seed: int = 0, coupling: float = 0.25, pull: float = 2.0) -> tuple[Ask, tuple[int, ...]]:
    """Rows with a planted class each: what a row says for itself, and what the others say for it.

    P(row i has class c | classes of others) = softmax over c of pull_i [c is planted for i] + coupling (number of
    others whose class is as far from the planted one, modulo k, as c is). Every fourth row speaks against itself:
    pull_i = -pull / 4.
    """
    planted = tuple(int(one) for one in np.random.default_rng(seed).integers(0, k, n))

    def ask(classes: Mapping[int, int], rows: Sequence[int]) -> Floats:
        found = np.zeros((len(rows), k))
        for a, i in enumerate(rows):
            others = [(j, c) for j, c in classes.items() if j != i]
            for c in range(k):
                shift = (c - planted[i]) % k
                own_pull = -pull / 4 if i % 4 == 0 else pull
                found[a, c] = own_pull * (shift == 0) + coupling * sum(
                    (own - planted[j]) % k == shift for j, own in others
                )
        weights = np.exp(found - found.max(1, keepdims=True))
        return weights / weights.sum(1, keepdims=True)

    return ask, planted


def utility(ask: Ask, classes: Sequence[int], alpha: float = 30.0) -> float:
    """Of a labelling of all rows, one row after another."""
    given = dict(enumerate(classes))
    odds = []
    for i, c in given.items():
        p = float(ask({j: one for j, one in given.items() if j != i}, [i])[0, c])
        p = min(max(p, 1e-5), 1 - 1e-5)
        odds.append(np.log(p) - np.log(1 - p))
    return alpha * float(np.mean(odds))


def whole(found: Coherent, n: int) -> tuple[int, ...]:
    assert sorted(found.classes) == list(range(n))
    return tuple(found.classes[i] for i in range(n))


@pytest.mark.parametrize(("k", "n"), [(2, 8), (3, 6)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_finds_the_best_of_all_labellings(k: int, n: int, seed: int) -> None:
    """256 labellings of eight rows, 729 of six: the utility found is the largest, and the planted classes have it."""
    ask, planted = field(k, n, seed=seed)
    best = max(product(range(k), repeat=n), key=lambda one: utility(ask, one))
    found = icm(ask, n, k, seed=seed, annealing=THOROUGH)
    alone = tuple(int(one) for one in ask({}, range(n)).argmax(1))
    assert best == planted != alone, "rows by themselves would be labelled worse"
    assert whole(found, n) == best
    assert found.utility == pytest.approx(utility(ask, best))


def test_with_nothing_but_each_other_any_renaming_of_the_classes_is_as_good() -> None:
    """Coherence alone cannot tell a labelling from its mirror image: what pulls has to come from the model."""
    ask, planted = field(2, 8, pull=0.0)
    mirrored = tuple(1 - one for one in planted)
    assert utility(ask, planted) == pytest.approx(utility(ask, mirrored))
    found = {whole(icm(ask, 8, 2, seed=seed, annealing=THOROUGH), 8) for seed in range(6)}
    assert found == {planted, mirrored}


def test_predictability_is_the_mean_difference_of_log_probabilities() -> None:
    probs = np.array([[0.2, 0.8], [0.6, 0.4]])
    expected = (np.log(0.8 / 0.2) + np.log(0.4 / 0.6)) / 2
    assert predictability(probs, np.array([1, 1])) == pytest.approx(expected)


def test_certainty_is_bounded() -> None:
    assert predictability(np.array([[0.0, 1.0]]), np.array([1])) == pytest.approx(np.log(1 / 1e-5 - 1))
    assert predictability(np.array([[0.0, 1.0]]), np.array([0])) == pytest.approx(-np.log(1 / 1e-5 - 1))


def test_the_temperature_falls_with_accepted_changes_to_its_floor() -> None:
    one = Annealing()
    assert one.temperature(0) == 10.0
    assert one.temperature(3) == pytest.approx(10 / (1 + 2 * np.log(4)))
    assert one.temperature(10**300) == 0.01
    assert Annealing(coldest=5.0).temperature(100) == 5.0


def test_without_weight_every_change_is_kept() -> None:
    found = icm(field(2, 8)[0], 8, 2, seed=0, annealing=Annealing(alpha=0.0))
    assert found.accepted == found.proposed > 0 and found.utility == 0


def test_in_the_cold_utility_never_falls() -> None:
    """At (almost) no temperature only changes that raise it are kept."""
    ask, _ = field(2, 8, coupling=-0.5, seed=3)
    lines: list[float] = []
    icm(
        ask,
        8,
        2,
        seed=1,
        annealing=Annealing(hottest=1e-9, coldest=1e-9, sweeps=10),
        tell=lambda done, note: lines.append(float(note.rpartition(" ")[2])),
    )
    assert len(lines) == 80 and all(b >= a for a, b in pairwise(lines))


def test_the_price_is_known_beforehand() -> None:
    """One prediction a step, and one for every labelled row of every change considered."""
    ask, _ = field(2, 8)
    asked: list[int] = []

    def counted(classes: Mapping[int, int], rows: Sequence[int]) -> Floats:
        asked.append(len(rows))
        return ask(classes, rows)

    found = icm(counted, 8, 2, seed=0)
    assert found.asked == sum(asked) <= (4 * 8 + 1) * 8 + 4 * 8
    assert found.asked >= 4 * 8 + found.proposed


def test_a_seed_decides_everything() -> None:
    ask, _ = field(2, 8, pull=0.0)
    one, again = (icm(ask, 8, 2, seed=3) for _ in range(2))
    assert one == again


def test_it_begins_with_the_classes_in_turn() -> None:
    """Eight of twenty rows, four of each class, before any step."""
    seen: list[Mapping[int, int]] = []

    def ask(classes: Mapping[int, int], rows: Sequence[int]) -> Floats:
        seen.append(dict(classes))
        return np.full((len(rows), 2), 0.5)

    icm(ask, 20, 2, seed=0)
    assert sorted(seen[0].values()) == [0] * 4 + [1] * 4
