"""Every loss where it should help, and where it should not: planted supervisors, linear students, several worlds.

The student is followed to the end of the probe's path, without a choice on validation rows, so that what is measured is
the loss and not when it was left.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from planted_labellers import misled, outliers, says

from oversight.methods import METHODS
from oversight.methods.filters import ConfidenceFilter
from oversight.methods.method import WithLoss
from oversight.models.solver import Design
from oversight.models.student import Loss
from oversight.tasks.task import Floats, Ints, Labels
from oversight.testing import Labeller, flips, mean_interval, planted

LOSSES: dict[str, Loss] = {
    name: one.loss for name, entry in METHODS.items() if isinstance(one := entry.make(), WithLoss) and name != "naive"
}
N, N_TEST, PENALTY = 400, 2000, 1e-2
WORLDS, FEWER = 8, 5


def lost_far_away(x: Floats, truth: Ints, rng: np.random.Generator) -> Floats:
    """Within a hundredth of equal shares, and on the wrong side, on the rows far from the boundary: no answer at all,
    which cross-entropy takes for the answer that these rows lie on the boundary."""
    del rng
    far = np.abs(x[:, 0]) > 1.0
    return np.where(far[:, None], says((x[:, 0] < 0).astype(np.int64), 0.505), says(truth))


def leaning(x: Floats, truth: Ints, rng: np.random.Generator) -> Floats:
    """Right on every row, but sure of it only where a direction that says nothing of the class has the class's sign."""
    del rng
    return says(truth, np.where((x[:, -1] > 0) == (truth == 1), 0.98, 0.525))


def tilting(x: Floats, truth: Ints, rng: np.random.Generator) -> Floats:
    """Wrong, and rather sure of it, on a few rows far from the boundary and far along a direction that says nothing of
    the class: they tilt the line that cross-entropy draws, and the student ends far from agreeing with them."""
    del rng
    return says(np.where(x[:, 0] * x[:, -1] > 2, 1 - truth, truth), 0.8)


HELPED: dict[str, tuple[Labeller, float]] = {
    **dict.fromkeys(("confidence", "confidence_median", "confidence_balanced"), (misled, 4.0)),
    **dict.fromkeys(("reverse_ce", "reverse_kl", "symmetric", "chi_square", "product"), (outliers, 2.0)),
    **dict.fromkeys(("jensen_shannon", "hellinger", "total_variation"), (outliers, 2.0)),
    "cace": (lost_far_away, 2.0),
    "adaptconf": (leaning, 2.0),
    "entropy": (leaning, 4.0),
    "window": (tilting, 2.0),
}
"""By loss, a supervisor against whom it should help, and how far the classes are apart. entropy: few rows lie between
classes 4 apart, and who is paid for being sure draws the line there."""
NOWHERE = {"kl"}
"""kl has naive's gradient."""


@cache
def world(label: Labeller, signal: float, seed: int) -> tuple[Design, Floats, Floats, Ints]:
    """Rows decomposed, weak labels, test features, test truth."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(N + N_TEST) % 2)
    x = rng.normal(size=(N + N_TEST, 4))
    x[:, 0] += signal * (truth - 0.5)
    return Design(x[:N]), label(x, truth, rng)[:N], x[N:], truth[N:]


FLIPPED = flips(0.25)


def accuracy(probs: Floats, truth: Ints) -> float:
    """Share of rows on which the choice is right."""
    return float((probs.argmax(1) == truth).mean())


def gains(loss: Loss, label: Labeller, signal: float = 2.0, *, worlds: int = WORLDS) -> Floats:
    """(worlds,): accuracy at the end of the path minus that of naive, which is converged."""
    found: list[float] = []
    for seed in range(worlds):
        design, targets, x, truth = world(label, signal, seed)
        naive, end = design.solve([targets], [PENALTY]), design.path(targets, PENALTY, loss=loss)
        found.append(accuracy(end.probs(x)[-1], truth) - accuracy(naive.probs(x)[0], truth))
    return np.array(found)


def test_every_loss_has_a_planted_case_or_is_known_to_have_none() -> None:
    assert set(HELPED) | NOWHERE == set(LOSSES)


@pytest.mark.parametrize("name", HELPED)
def test_where_a_loss_should_help_its_interval_excludes_zero(name: str) -> None:
    low, high = mean_interval(gains(LOSSES[name], *HELPED[name]))
    assert low > 0, (low, high)


@pytest.mark.parametrize("name", LOSSES)
def test_against_flips_of_a_quarter_its_interval_contains_zero(name: str) -> None:
    """Errors without a pattern teach nothing wrong, so there is nothing to repair."""
    found = gains(LOSSES[name], FLIPPED, worlds=FEWER)
    low, high = mean_interval(found, n_intervals=len(LOSSES))
    assert low <= 0 <= high and abs(found.mean()) < 0.02, (low, high)


@pytest.mark.parametrize(("label", "helps"), [(leaning, True), (FLIPPED, False)])
def test_hard_labels_help_where_only_how_sure_the_supervisor_is_misleads(label: Labeller, helps: bool) -> None:
    found: list[float] = []
    for seed in range(WORLDS):
        design, targets, x, truth = world(label, 2.0, seed)
        given = Labels(
            row_ids=tuple(map(str, range(N))), probs=targets, answered=np.ones(N, dtype=np.bool_), source="weak"
        )
        solved = design.solve([given.hardened().probs, targets], [PENALTY] * 2)
        hard, soft = (solved.probs(x).argmax(2) == truth).mean(1)
        found.append(hard - soft)
    low, high = mean_interval(np.array(found))
    assert low > 0 if helps else low <= 0 <= high, (low, high)


def test_no_loss_is_handed_back_as_naive() -> None:
    """Probes as users get them: with naive as a candidate all sixteen students were naive's, to the bit."""
    small = planted(flips(0.3, confidence=0.8), n=600, d=16, seed=300)
    naive = small.predict(small.train(WithLoss()))
    methods = {**{name: WithLoss(loss) for name, loss in LOSSES.items()}, "all rows": ConfidenceFilter(0.0)}
    found = [
        name for name, method in methods.items() if np.abs(small.predict(small.train(method)) - naive).max() < 1e-9
    ]
    assert found == ["all rows"], "the control is naive on rows that all pass"
