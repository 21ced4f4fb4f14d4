"""Every method in worlds that are known: flips, a region without answers, and a supervisor that can be copied."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from planted_labellers import copied

from oversight.methods import METHODS
from oversight.methods.method import Method, OracleMethod, WithLoss
from oversight.methods.relabelling import StrongToStrong
from oversight.methods.several import Mean
from oversight.metrics.pgr import pgr
from oversight.models.features import features
from oversight.models.student import Validation
from oversight.tasks.split import Seed
from oversight.tasks.task import Bools, Floats, Ints
from oversight.testing import Labeller, Planted, flips, mean_interval, planted

SEED = Seed.of(0)
ONE = [
    name
    for name, entry in METHODS.items()
    if "probe" in entry.tracks and entry.needs.supervisors[0] == 1 and not entry.needs.missing
]
"""Methods that take one supervisor and a probe."""
NO_LOSS = [name for name in ONE if not isinstance(METHODS[name].make(), WithLoss)]
"""Those of them that change rows or labels; losses have a file of their own."""
WITH_LOSS = [name for name in ONE if isinstance(METHODS[name].make(), WithLoss) and name not in ("naive", "kl")]


def trained(world: Planted, method: Method | OracleMethod, seed: Seed = SEED) -> Floats:
    """(n, 2) of the method's student on the test rows."""
    return world.predict(world.train(method, seed=seed))


def right(world: Planted, probs: Floats) -> float:
    return float((probs.argmax(1) == world.test_truth).mean())


def ceiling(world: Planted) -> float:
    """Accuracy of the student that is taught the truth of the same rows."""
    rows, checks = world.data.rows, world.data.validation
    with world.known():
        validation = Validation(rows=checks, labels=world.truth.on(checks))
        fitted = world.student.fit(rows, world.truth.on(rows), validation=validation, seed=SEED)
    return right(world, world.predict(fitted))


# Who is tested where.

HERE = Path(__file__).parent
PLANTED_CASES = {
    **dict.fromkeys(WITH_LOSS, "test_losses_planted.py::test_where_a_loss_should_help_its_interval_excludes_zero"),
    "hard": "test_losses_planted.py::test_hard_labels_help_where_only_how_sure_the_supervisor_is_misleads",
    **dict.fromkeys(
        ("confidence_filter", "relabel_discarded", "knn_filter", "logistic_filter", "topological_filter"),
        "test_filters.py::test_where_it_should_help_it_helps",
    ),
    "neighbour_smoothing": "test_filters.py::test_where_it_should_help_it_helps",
    "agreement_filter": "test_filters.py::test_where_supervisors_guess_they_disagree_and_the_agreement_filter_helps",
    **dict.fromkeys(("entropy_filter", "frequency_weights"), "test_reliability.py::test_where_it_should_help_it_helps"),
    "strong_to_strong": "test_methods_planted.py::test_strong_to_strong_makes_up_for_a_penalty_that_is_too_weak",
    "selective": "test_regularisers.py::test_own_labels_of_rows_not_learned_from_keep_a_network_from_it_too",
    "mean": "test_several.py::test_the_mean_of_five_who_flip_by_chance_teaches_better_than_one_of_them",
    "log_odds_mean": "test_several.py::test_the_logarithmic_pool_believes_the_one_who_is_sure_among_those_who_are_not",
    "dawid_skene": "test_several.py::test_dawid_skene_sees_through_one_biased_supervisor_of_three",
    "learned_weights": "test_several.py::test_learned_weights_find_the_one_good_supervisor_among_poor_ones",
    "co_supervised": "test_co_supervised.py::test_specialists_for_different_classes_are_told_apart",
    "evidential": "test_evidential.py::test_a_network_that_knows_does_not_learn_by_heart_where_two_of_three_are_wrong",
    "bootstrap": "test_chains.py::test_a_student_that_cannot_see_what_misleads_the_supervisor_does_not_pass_it_on",
    "decay_to_start": "test_regularisers.py::test_weights_pulled_back_to_their_start_keep_a_network_that_knows_from",
    "anchored_states": "test_regularisers.py::test_an_anchor_keeps_a_network_that_knows_from_learning_noise_by_heart",
    "last_weights": "test_regularisers.py::test_without_early_stopping_nobody_stops_where_wrong_labels_agree",
    "lp_ft": "test_regularisers.py::test_a_probe_first_finds_in_the_states_what_brief_training_does_not",
    "oracle_early_stopping": "test_oracles.py::test_it_helps_where_weak_labels_choose_a_penalty_that_lets_errors_be",
}
"""By method, the test in which it helps; so that no method comes without one."""
NOTHING_TO_HELP = {"naive": "what the others are compared with", "kl": "it has naive's gradient"}


def test_every_method_has_a_planted_case_in_which_it_helps() -> None:
    assert set(PLANTED_CASES) | set(NOTHING_TO_HELP) == set(METHODS)
    for where in PLANTED_CASES.values():
        file, test = where.split("::")
        assert f"def {test}" in (HERE / file).read_text(), where


# Flips of a quarter: errors without a pattern.


@cache
def flipped(seed: int) -> tuple[Planted, float]:
    """A world of flips, and what naive makes of it."""
    world = planted(flips(0.25), n=600, d=4, seed=seed)
    return world, right(world, trained(world, WithLoss(), Seed.of(seed)))


@pytest.mark.parametrize("name", NO_LOSS)
def test_against_flips_of_a_quarter_its_interval_contains_zero(name: str) -> None:
    """All intervals at once. A linear student averages such errors out by itself."""
    found: list[float] = []
    for seed in range(5):
        world, naive = flipped(seed)
        found.append(right(world, trained(world, METHODS[name].make(), Seed.of(seed))) - naive)
    gains = np.array(found)
    low, high = mean_interval(gains, n_intervals=len(NO_LOSS))
    assert low <= 1e-12 and high >= -1e-12 and abs(gains.mean()) < 0.05, gains


# Flips, and a student that is held to one penalty.


def twice_taught(penalties: tuple[float, ...]) -> Floats:
    """(8,): gain of strong-to-strong over naive where 60 features all hold the direction of the class."""
    found: list[float] = []
    for seed in range(8):
        world = planted(flips(0.25), n=1500, d=60, shared=20.0, seed=seed)
        held = replace(world.student, penalties=penalties)
        mine, naive = (world.accuracy(one, student=held, seed=Seed.of(seed)) for one in (StrongToStrong(), WithLoss()))
        found.append(mine - naive)
    return np.array(found)


def test_strong_to_strong_makes_up_for_a_penalty_that_is_too_weak() -> None:
    """Every further student is penalised again, most where the features vary least, which is where the noise is."""
    assert mean_interval(twice_taught((1e-2,)))[0] > 0


def test_with_a_penalty_that_fits_strong_to_strong_has_nothing_to_give() -> None:
    found = twice_taught((1.0,))
    low, high = mean_interval(found)
    assert low <= 0 <= high and abs(found.mean()) < 0.01, found


# A region without answers.


def silent_where(x: Floats) -> Bools:
    """Far on one side: nearly all of these rows are of one class."""
    return x[:, 0] > 1.2


def silent_there(x: Floats, truth: Ints, rng: np.random.Generator) -> Floats:
    """Right in nine rows of ten, but says nothing of a third of the rows."""
    said = flips(0.1)(x, truth, rng)
    return np.where(silent_where(x)[:, None], np.nan, said)


@cache
def quiet() -> tuple[Planted, Bools]:
    """A world with a region without answers, and the test rows that lie there."""
    world = planted(silent_there, n=700, d=4, signal=3.0)
    with world.known():
        return world, silent_where(features(world.student.backbone, world.test))


def belief(world: Planted, method: Method | OracleMethod, there: Bools) -> float:
    """Mean probability of the true class on some of the test rows."""
    probs = trained(world, method)
    return float(probs[np.arange(len(probs)), world.test_truth][there].mean())


@pytest.mark.parametrize("name", ONE)
def test_a_student_knows_its_way_in_a_region_without_answers(name: str) -> None:
    world, there = quiet()
    assert 0.2 < (~world.data.only.answered).mean() < 0.4
    assert belief(world, METHODS[name].make(), there) > 0.72


def test_taken_for_an_answer_silence_would_drag_the_student_to_equal_shares() -> None:
    """Otherwise the test above would prove nothing."""
    world, there = quiet()
    labels = world.data.only
    filled = replace(world.data, labels=(replace(labels, answered=np.ones_like(labels.answered)),))
    assert belief(replace(world, data=filled), WithLoss(), there) < 0.62


def expert_of(side: int) -> Labeller:
    """Right in nine rows of ten on its side, silent on the other."""

    def label(x: Floats, truth: Ints, rng: np.random.Generator) -> Floats:
        mine = (x[:, -1] > 0) == bool(side)
        return np.where(mine[:, None], flips(0.1)(x, truth, rng), np.nan)

    return label


def rude_expert(x: Floats, truth: Ints, rng: np.random.Generator) -> Floats:
    """The same, but where it knows nothing it says class 1 and is sure of it."""
    mine = x[:, -1] > 0
    said = flips(0.1)(x, truth, rng)
    return np.where(mine[:, None], said, [[0.1, 0.9]])


def test_who_is_silent_where_it_knows_nothing_helps_and_who_guesses_does_not() -> None:
    """Two experts of half the world each: the mean of those who answer covers it all."""
    gains = np.zeros((2, 6))
    for seed in range(6):
        for i, first in enumerate((expert_of(1), rude_expert)):
            world = planted(first, expert_of(0), n=500, d=4, seed=seed)
            both = right(world, trained(world, Mean(), Seed.of(seed)))
            gains[i, seed] = both - ceiling(world)
    assert mean_interval(gains[0] - gains[1])[0] > 0
    assert gains[0].mean() > -0.03


# A supervisor that can be copied exactly.


@cache
def imitated(seed: int) -> tuple[Planted, Ints, float]:
    """The world, the classes that the supervisor names on the test rows, and the ceiling."""
    world = planted(copied, n=900, d=4, signal=2.0, seed=seed)
    with world.known():
        named = copied(features(world.student.backbone, world.test), world.test_truth, np.random.default_rng(0))
    return world, named.argmax(1), ceiling(world)


def test_a_student_that_can_copy_its_supervisor_recovers_nothing() -> None:
    """Naive: agreement near 1 and PGR near 0, over worlds."""
    weak, student, best, agreed = (np.zeros(5) for _ in range(4))
    for seed in range(5):
        world, named, best[seed] = imitated(seed)
        probs = trained(world, WithLoss(), Seed.of(seed))
        weak[seed], student[seed] = (named == world.test_truth).mean(), right(world, probs)
        agreed[seed] = (probs.argmax(1) == named).mean()
    assert agreed.min() > 0.97
    assert best.mean() - weak.mean() > 0.05
    assert abs(pgr(weak.mean(), student.mean(), best.mean())) < 0.15
    low, high = mean_interval(student - weak)
    assert low <= 0 <= high


@pytest.mark.parametrize("name", ONE)
def test_no_method_recovers_much_from_a_supervisor_that_its_student_copies(name: str) -> None:
    world, named, best = imitated(0)
    probs = trained(world, METHODS[name].make())
    weak = float((named == world.test_truth).mean())
    assert (probs.argmax(1) == named).mean() > 0.85
    assert pgr(weak, right(world, probs), best) < 0.5
