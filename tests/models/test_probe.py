"""What a probe chooses and by what, which rows it learns from, and what it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from torch import Tensor

from oversight.errors import InputError, StepError
from oversight.methods.losses import Confidence
from oversight.methods.losses.auxiliary import Product
from oversight.models.backbone import Backbone
from oversight.models.batching import designs
from oversight.models.checkpoint import Checkpoint, from_directory
from oversight.models.path import SNAPSHOTS
from oversight.models.probe import PENALTIES, FittedProbe, Probe
from oversight.models.rows import HELD_OUT
from oversight.models.solver import Design
from oversight.models.student import Validation, cross_entropy
from oversight.tasks.split import Seed, hold_out
from oversight.tasks.task import Labels, Rows

Floats = npt.NDArray[np.float64]
Plant = Callable[..., Rows]
RowsOf = Callable[..., Rows]
SEED = Seed.of(0)


@pytest.fixture
def backbone(bert: Checkpoint) -> Backbone:
    """Whose features are planted."""
    return Backbone(checkpoint=bert, precision="float32", device="cpu")


def random_features(n: int, d: int, *, seed: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def sigmoid_labels(x: Floats, *, sharpness: float = 2.0, k: int = 2) -> Floats:
    """Soft labels that follow the first k - 1 features."""
    logits = np.hstack([np.zeros((len(x), 1)), sharpness * x[:, : k - 1].astype(np.float64)])
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def given(rows: Rows, probs: Floats, answered: npt.NDArray[np.bool_] | None = None) -> Labels:
    return Labels.of(rows, probs, source="test", answered=answered)


def naive_cross_entropy(probs: Floats, labels: Floats) -> float:
    return -sum(
        y * math.log(p) for p_row, y_row in zip(probs, labels, strict=True) for p, y in zip(p_row, y_row, strict=True)
    ) / len(probs)


def by_hand(x: npt.NDArray[np.float32], targets: Floats, penalty: float, new: npt.NDArray[np.float32]) -> Floats:
    """Probabilities of `new` after a fit to x under one penalty."""
    return Design(x.astype(np.float64)).solve([targets], [penalty]).probs(new.astype(np.float64))[0]


def split_study(
    backbone: Backbone, plant: Plant, *, n: int = 120, d: int = 12, k: int = 2, seed: int = 0, noise: float = 1.0
) -> tuple[Rows, Labels, Validation, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Noisily labelled training and validation rows and their features."""
    rng = np.random.default_rng(seed)
    x, held = random_features(n, d, seed=seed + 1), random_features(40, d, seed=seed + 2)
    rows, held_rows = plant(backbone, x), plant(backbone, held)
    y = sigmoid_labels(x + noise * rng.normal(size=x.shape), k=k)
    held_y = sigmoid_labels(held + noise * rng.normal(size=held.shape), k=k)
    return rows, given(rows, y), Validation(rows=held_rows, labels=given(held_rows, held_y)), x, held


# Penalty and layer


@pytest.mark.parametrize("k", [2, 3])
def test_every_penalty_is_scored_by_cross_entropy_to_the_validation_labels(
    backbone: Backbone, plant: Plant, k: int
) -> None:
    rows, labels, validation, x, held = split_study(backbone, plant, k=k)
    tried = Probe(backbone=backbone).fit(rows, labels, validation=validation, seed=SEED).choices["tried"]
    assert [trial["penalty"] for trial in tried] == list(PENALTIES)  # type: ignore[attr-defined]
    for trial in tried:  # type: ignore[attr-defined]
        expected = naive_cross_entropy(by_hand(x, labels.probs, trial["penalty"], held), validation.labels.probs)
        assert trial["cross_entropy"] == pytest.approx(expected, rel=1e-6)


def test_the_penalty_of_least_cross_entropy_is_chosen_and_its_fit_returned(backbone: Backbone, plant: Plant) -> None:
    rows, labels, validation, x, held = split_study(backbone, plant)
    fitted = Probe(backbone=backbone).fit(rows, labels, validation=validation, seed=SEED)
    scores = [naive_cross_entropy(by_hand(x, labels.probs, p, held), validation.labels.probs) for p in PENALTIES]
    best = PENALTIES[int(np.argmin(scores))]
    assert fitted.choices["penalty"] == best
    np.testing.assert_allclose(fitted.predict(rows), by_hand(x, labels.probs, best, x), atol=1e-6)


@pytest.mark.parametrize(("sharpness", "expected"), [(0.0, PENALTIES[-1]), (30.0, PENALTIES[0])])
def test_the_choice_follows_the_validation_labels_wherever_they_lead(
    backbone: Backbone, plant: Plant, sharpness: float, expected: float
) -> None:
    """Labels that say nothing ask for the strongest penalty, labels surer than the training ones for the weakest."""
    x, held = random_features(100, 4, seed=1), random_features(50, 4, seed=2)
    rows, held_rows = plant(backbone, x), plant(backbone, held)
    validation = Validation(rows=held_rows, labels=given(held_rows, sigmoid_labels(held, sharpness=sharpness)))
    labels = given(rows, sigmoid_labels(x, sharpness=2))
    assert Probe(backbone=backbone).fit(rows, labels, validation=validation, seed=SEED).choices["penalty"] == expected


def test_a_layer_sweep_finds_the_layer_that_holds_the_answer(backbone: Backbone, plant: Plant) -> None:
    n, held_n = 100, 40
    noise = [random_features(n + held_n, 6, seed=i) for i in range(4)]
    answer = noise[2]
    known = [part for k in range(4) for part in (backbone.at(k), noise[k][:n])]
    held_known = [part for k in range(4) for part in (backbone.at(k), noise[k][n:])]
    rows, held = plant(*known), plant(*held_known)
    y = sigmoid_labels(answer, sharpness=4)
    validation = Validation(rows=held, labels=given(held, y[n:]))
    fitted = Probe(backbone=backbone, layers=(0, 1, 2, 3)).fit(
        rows, given(rows, y[:n]), validation=validation, seed=SEED
    )
    assert fitted.choices["layer"] == 2
    assert fitted.backbone.blocks == 2
    assert len(fitted.choices["tried"]) == 4 * len(PENALTIES)  # type: ignore[arg-type]
    assert (fitted.predict(held).argmax(1) == y[n:].argmax(1)).mean() > 0.9


def test_a_probe_names_the_backbones_it_may_read(backbone: Backbone) -> None:
    assert [one.blocks for one in Probe(backbone=backbone, layers=(1, 3)).backbones] == [1, 3]
    assert Probe(backbone=backbone).backbones == (backbone,)


# Which rows


def test_without_validation_a_grouped_tenth_decides_and_all_rows_are_fitted_again(
    backbone: Backbone, plant: Plant
) -> None:
    x = random_features(120, 5, seed=1)
    groups = [f"g{i // 3}" for i in range(120)]
    rows = plant(backbone, x, groups=groups)
    y = sigmoid_labels(x + np.random.default_rng(0).normal(size=x.shape))
    fitted = Probe(backbone=backbone).fit(rows, given(rows, y), seed=SEED)
    kept, held = hold_out(rows, y.argmax(1), fraction=HELD_OUT, seed=SEED.split)
    scores = [naive_cross_entropy(by_hand(x[kept], y[kept], p, x[held]), y[held]) for p in PENALTIES]
    best = PENALTIES[int(np.argmin(scores))]
    assert fitted.choices["penalty"] == best
    np.testing.assert_allclose(fitted.predict(rows), by_hand(x, y, best, x), atol=1e-6)


def test_rows_without_an_answer_do_not_count(backbone: Backbone, plant: Plant) -> None:
    """What stands in their place is not read, not even when it is no number."""
    x = random_features(80, 4, seed=1)
    rows, answered = plant(backbone, x), np.arange(80) % 4 != 0
    y = sigmoid_labels(x)
    holes = np.where(answered[:, None], y, np.nan)
    held = plant(backbone, x[:20])
    validation = Validation(rows=held, labels=given(held, y[:20]))
    with_holes = Probe(backbone=backbone).fit(rows, given(rows, holes, answered), validation=validation, seed=SEED)
    index = np.flatnonzero(answered)
    some = rows.take(index)
    without = Probe(backbone=backbone).fit(some, given(some, y[index]), validation=validation, seed=SEED)
    np.testing.assert_array_equal(with_holes.predict(rows), without.predict(rows))


def test_validation_rows_without_an_answer_do_not_count(backbone: Backbone, plant: Plant) -> None:
    rows, labels, validation, _, _ = split_study(backbone, plant)
    answered = np.arange(40) >= 10
    probs = np.where(answered[:, None], validation.labels.probs, np.nan)
    holes = Validation(rows=validation.rows, labels=given(validation.rows, probs, answered))
    some = validation.rows.take(range(10, 40))
    less = Validation(rows=some, labels=validation.labels.on(some))
    one, other = (Probe(backbone=backbone).fit(rows, labels, validation=v, seed=SEED) for v in (holes, less))
    assert one.choices == other.choices


def test_labels_are_joined_by_id(backbone: Backbone, plant: Plant) -> None:
    rows, labels, validation, _, _ = split_study(backbone, plant)
    shuffled = labels.on(rows.take(np.random.default_rng(0).permutation(len(rows))))
    one, other = (Probe(backbone=backbone).fit(rows, y, validation=validation, seed=SEED) for y in (labels, shuffled))
    np.testing.assert_array_equal(one.coefficients, other.coefficients)


def test_the_order_of_training_rows_does_not_matter(backbone: Backbone, plant: Plant) -> None:
    rows, labels, validation, _, _ = split_study(backbone, plant)
    shuffled = rows.take(np.random.default_rng(0).permutation(len(rows)))
    one, other = (Probe(backbone=backbone).fit(r, labels, validation=validation, seed=SEED) for r in (rows, shuffled))
    np.testing.assert_allclose(one.predict(rows), other.predict(rows), atol=1e-6)


def test_no_answer_at_all_is_refused(backbone: Backbone, plant: Plant) -> None:
    rows = plant(backbone, random_features(10, 3, seed=0))
    labels = given(rows, np.full((10, 2), 0.5), np.zeros(10, bool))
    with pytest.raises(InputError, match="found no answered row to train on"):
        Probe(backbone=backbone).fit(rows, labels, seed=SEED)


# Weights


def test_weight_two_equals_a_row_given_twice(backbone: Backbone, plant: Plant) -> None:
    rows, labels, validation, x, _ = split_study(backbone, plant, n=60)
    weights = np.where(np.arange(60) < 20, 2.0, 1.0)
    more = plant(backbone, np.vstack([x, x[:20]]))
    twice = given(more, np.vstack([labels.probs, labels.probs[:20]]))
    probe = Probe(backbone=backbone)
    weighted = probe.fit(rows, labels, validation=validation, weights=weights, seed=SEED)
    repeated = probe.fit(more, twice, validation=validation, seed=SEED)
    np.testing.assert_allclose(weighted.predict(rows), repeated.predict(rows), atol=1e-6)


def test_rows_of_weight_zero_do_not_count(backbone: Backbone, plant: Plant) -> None:
    rows, labels, validation, _, _ = split_study(backbone, plant)
    weights = (np.arange(120) >= 30).astype(float)
    probe = Probe(backbone=backbone)
    weighted = probe.fit(rows, labels, validation=validation, weights=weights, seed=SEED)
    fewer = probe.fit(rows.take(range(30, 120)), labels, validation=validation, seed=SEED)
    np.testing.assert_allclose(weighted.predict(rows), fewer.predict(rows), atol=1e-6)


def test_weights_are_kept_in_the_refit(backbone: Backbone, plant: Plant) -> None:
    """Without validation: the tenth is chosen from the rows, the final fit is weighted as asked."""
    rows, labels, _, x, _ = split_study(backbone, plant, n=100)
    weights = np.random.default_rng(3).uniform(0.1, 3, 100)
    fitted = Probe(backbone=backbone, penalties=(0.01,)).fit(rows, labels, weights=weights, seed=SEED)
    solved = Design(x.astype(np.float64), weights=weights).solve([labels.probs], [0.01])
    np.testing.assert_allclose(fitted.predict(rows), solved.probs(x.astype(np.float64))[0], atol=1e-7)


def test_weights_count_under_any_loss(backbone: Backbone, plant: Plant) -> None:
    """They do in the path and in its refit: rows of weight two are rows given twice."""
    rows, labels, validation, x, _ = split_study(backbone, plant, n=60)
    weights = np.where(np.arange(60) < 20, 2.0, 1.0)
    more = plant(backbone, np.vstack([x, x[:20]]))
    twice = given(more, np.vstack([labels.probs, labels.probs[:20]]))
    probe = Probe(backbone=backbone)
    weighted = probe.fit(rows, labels, validation=validation, loss=Product(), weights=weights, seed=SEED)
    repeated = probe.fit(more, twice, validation=validation, loss=Product(), seed=SEED)
    np.testing.assert_allclose(weighted.predict(rows), repeated.predict(rows), atol=1e-6)
    plain = probe.fit(rows, labels, validation=validation, loss=Product(), seed=SEED)
    assert np.abs(weighted.predict(rows) - plain.predict(rows)).max() > 1e-3


# Other losses


def copy_of_cross_entropy(logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
    return cross_entropy(logits, targets)


def absurd(logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
    """Pays for scores that have nothing to do with the labels."""
    return cross_entropy(logits, targets) + 5 * (logits[:, 1] - 3).square().mean()


@pytest.mark.parametrize("with_validation", [True, False])
def test_an_own_loss_with_an_absurd_extra_term_is_not_naive(
    backbone: Backbone, plant: Plant, with_validation: bool
) -> None:
    """Its path began at naive, naive was a candidate and won every tie: its accuracy was naive's."""
    rows, labels, validation, _, _ = split_study(backbone, plant, n=300)
    chosen = validation if with_validation else None
    naive, other = (
        Probe(backbone=backbone).fit(rows, labels, validation=chosen, loss=one, seed=SEED)
        for one in (cross_entropy, absurd)
    )
    truth = labels.probs.argmax(1)
    right = [(one.predict(rows).argmax(1) == truth).mean() for one in (naive, other)]
    assert right[0] > right[1] + 0.2


@pytest.mark.parametrize("k", [2, 3])
def test_confidence_without_own_weight_gives_a_copy_of_cross_entropy_to_the_last_bit(
    backbone: Backbone, plant: Plant, k: int
) -> None:
    """Not naive, which is converged and has no path; but of many rows nearly its choices."""
    rows, labels, validation, x, _ = split_study(backbone, plant, k=k, n=2000, d=4)
    naive, copied, other = (
        Probe(backbone=backbone).fit(rows, labels, validation=validation, loss=one, seed=SEED)
        for one in (cross_entropy, copy_of_cross_entropy, Confidence(0.0))
    )
    np.testing.assert_array_equal(copied.predict(rows), other.predict(rows))
    assert (naive.predict(rows).argmax(1) == other.predict(rows).argmax(1)).mean() > 0.95
    assert len(x) == 2000


def candidates(
    x: npt.NDArray[np.float32], labels: Labels, held: npt.NDArray[np.float32], wanted: Floats, near: list[float]
) -> list[tuple[float, float, float, Floats]]:
    """Agreement, progress, penalty and coefficients of every candidate, by the rule as it is written."""
    found: list[tuple[float, float, float, Floats]] = []
    for penalty in near:
        path = Design(x.astype(np.float64)).path(labels.probs, penalty, loss=Confidence())
        for j, probs in enumerate(path.probs(held.astype(np.float64))):
            if (j + 1) / SNAPSHOTS >= 0.2:
                agreed = np.mean([p.argmax() == y.argmax() for p, y in zip(probs, wanted, strict=True)])
                found.append((float(agreed), (j + 1) / SNAPSHOTS, penalty, path.coefficients[j]))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_penalty_and_place_are_those_that_agree_most_then_the_latest_then_the_largest_penalty(
    backbone: Backbone, plant: Plant, seed: int
) -> None:
    rows, labels, validation, x, held = split_study(backbone, plant, noise=2.0, d=30, seed=seed)
    fitted = Probe(backbone=backbone).fit(rows, labels, validation=validation, loss=Confidence(), seed=SEED)
    naive = Probe(backbone=backbone).fit(rows, labels, validation=validation, seed=SEED).choices["penalty"]
    at = PENALTIES.index(naive)  # type: ignore[arg-type]
    near = list(PENALTIES[max(0, at - 1) : at + 2])
    agreed, progress, penalty, coefficients = max(
        candidates(x, labels, held, validation.labels.probs, near), key=lambda one: one[:3]
    )
    assert (fitted.choices["progress"], fitted.choices["penalty"]) == (progress, penalty)
    np.testing.assert_allclose(fitted.coefficients, coefficients, atol=1e-9)
    told = {one["penalty"]: one["agreement"] for one in fitted.choices["paths"]}  # type: ignore[attr-defined]
    assert list(told) == near and all(len(one) == SNAPSHOTS for one in told.values())
    assert told[penalty][round(progress * SNAPSHOTS) - 1] == pytest.approx(agreed)


@pytest.mark.parametrize(("at", "near"), [(0, (1e-4, 1e-3)), (3, (1e-2, 1e-1, 1.0)), (6, (1e1, 1e2))])
def test_neighbours_on_the_grid_end_with_it(backbone: Backbone, plant: Plant, at: int, near: tuple[float, ...]) -> None:
    del plant
    assert Probe(backbone=backbone, penalties=PENALTIES[::-1])._near(PENALTIES[at]) == near  # pyright: ignore[reportPrivateUsage]


def test_where_every_place_agrees_alike_the_last_of_the_largest_penalty_is_taken(
    backbone: Backbone, plant: Plant
) -> None:
    """A validation row that nobody can miss: naive won every tie."""
    x = random_features(150, 3, seed=1)
    rows, held = plant(backbone, x), plant(backbone, np.eye(3, dtype=np.float32)[:1] * 9)
    validation = Validation(rows=held, labels=given(held, np.array([[0.01, 0.99]])))
    labels = given(rows, sigmoid_labels(x, sharpness=3))
    fitted = Probe(backbone=backbone).fit(rows, labels, validation=validation, loss=Confidence(), seed=SEED)
    tried = fitted.choices["paths"]
    assert fitted.choices["progress"] == 1
    assert fitted.choices["penalty"] == max(one["penalty"] for one in tried)  # type: ignore[attr-defined]


def test_without_validation_all_rows_are_trained_again_to_the_place_that_was_chosen(
    backbone: Backbone, plant: Plant
) -> None:
    rows, labels, _, x, _ = split_study(backbone, plant, noise=2.0)
    fitted = Probe(backbone=backbone).fit(rows, labels, loss=Confidence(), seed=SEED)
    penalty, progress = float(fitted.choices["penalty"]), float(fitted.choices["progress"])  # type: ignore[arg-type]
    path = Design(x.astype(np.float64)).path(labels.probs, penalty, loss=Confidence())
    np.testing.assert_allclose(fitted.coefficients, path.coefficients[round(progress * SNAPSHOTS) - 1], atol=1e-9)


def test_naive_has_no_path_and_any_other_loss_knows_its_end_and_its_best_place(
    backbone: Backbone, plant: Plant
) -> None:
    rows, labels, validation, x, _ = split_study(backbone, plant, noise=2.0, d=30)
    naive = Probe(backbone=backbone).fit(rows, labels, validation=validation, seed=SEED)
    assert naive.last is None and naive.best_by(validation) is None
    fitted = Probe(backbone=backbone).fit(rows, labels, validation=validation, loss=Confidence(), seed=SEED)
    last, same = fitted.last, fitted.best_by(validation)
    assert last is not None and same is not None
    path = Design(x.astype(np.float64)).path(labels.probs, float(fitted.choices["penalty"]), loss=Confidence())  # type: ignore[arg-type]
    np.testing.assert_allclose(last.coefficients, path.coefficients[-1], atol=1e-9)
    np.testing.assert_array_equal(same.coefficients, fitted.coefficients)
    others = Labels.of(validation.rows, validation.labels.probs[:, ::-1], source="others")
    best = fitted.best_by(Validation(rows=validation.rows, labels=others))
    assert best is not None

    def agreed(one: FittedProbe, wanted: Labels) -> float:
        return float((one.predict(validation.rows).argmax(1) == wanted.probs.argmax(1)).mean())

    assert agreed(best, others) >= max(agreed(fitted, others), agreed(last, others))
    assert agreed(fitted, validation.labels) >= max(agreed(best, validation.labels), agreed(last, validation.labels))


# Predictions


def test_predictions_do_not_depend_on_the_order_of_rows(backbone: Backbone, plant: Plant) -> None:
    rows, labels, validation, _, _ = split_study(backbone, plant)
    fitted = Probe(backbone=backbone).fit(rows, labels, validation=validation, seed=SEED)
    order = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_allclose(fitted.predict(rows.take(order)), fitted.predict(rows)[order], rtol=1e-12)


@pytest.mark.parametrize("k", [2, 3])
def test_predictions_are_probabilities_even_far_out(backbone: Backbone, plant: Plant, k: int) -> None:
    rows, labels, validation, _, _ = split_study(backbone, plant, k=k)
    fitted = Probe(backbone=backbone).fit(rows, labels, validation=validation, seed=SEED)
    far = fitted.predict(plant(backbone, 1e6 * random_features(9, 12, seed=5)))
    assert far.shape == (9, k)
    assert (far >= 0).all()
    np.testing.assert_allclose(far.sum(1), 1, rtol=1e-12)


def test_swapped_pairs_get_swapped_answers(backbone: Backbone, plant: Plant) -> None:
    x = random_features(80, 6, seed=1) + 0.5
    rows, swapped = plant(backbone, x, paired=True), plant(backbone, -x, paired=True)
    fitted = Probe(backbone=backbone).fit(rows, given(rows, sigmoid_labels(x)), seed=SEED)
    assert not fitted.intercepts.any()
    np.testing.assert_allclose(fitted.predict(swapped), fitted.predict(rows)[:, ::-1], atol=1e-12)


def test_choices_are_ready_for_json(backbone: Backbone, plant: Plant) -> None:
    rows, labels, validation, _, _ = split_study(backbone, plant)
    fitted = Probe(backbone=backbone).fit(rows, labels, validation=validation, loss=Confidence(), seed=SEED)
    assert json.loads(json.dumps(fitted.choices)) == fitted.choices


def test_fitting_twice_gives_the_same_bits(backbone: Backbone, plant: Plant) -> None:
    """Once with the decomposition remembered, once with it computed anew."""
    rows, labels, validation, _, _ = split_study(backbone, plant)
    fits: list[FittedProbe] = []
    for forget in (lambda: None, designs.clear):
        forget()
        fits.append(Probe(backbone=backbone).fit(rows, labels, validation=validation, seed=SEED))
    np.testing.assert_array_equal(fits[0].coefficients, fits[1].coefficients)


def test_weights_changed_in_place_are_not_confused_with_those_before(
    make_network: Callable[..., Path], tmp_path: Path, rows_of: RowsOf, sentences: Callable[..., list[str]]
) -> None:
    """Retraining a directory between two fits in one process: the second equals a fit by a process that starts anew."""
    rows = rows_of(sentences(40, seed=1))
    labels = given(rows, np.random.default_rng(0).dirichlet([1, 1], 40))

    def fit() -> Floats:
        checkpoint = from_directory(make_network(tmp_path / "m", "bert", seed=seeds.pop()))
        probe = Probe(backbone=Backbone(checkpoint=checkpoint, precision="float32", device="cpu"), penalties=(0.01,))
        return probe.fit(rows, labels, seed=SEED).predict(rows)

    seeds = [1, 0]
    first, second = fit(), fit()
    designs.clear()
    seeds = [1]
    np.testing.assert_array_equal(second, fit())
    assert not np.allclose(first, second, atol=1e-3)


def test_a_probe_on_a_real_encoder_learns_what_words_mean(minilm: Checkpoint, rows_of: RowsOf) -> None:
    """Twelve sentences teach it; it answers for eight of other words."""
    good = ["I loved it.", "A wonderful day.", "Great service.", "Delicious.", "Very kind people.", "A perfect gift."]
    bad = ["I hated it.", "An awful day.", "Terrible service.", "Disgusting.", "Very rude people.", "A broken gift."]
    new = ["Excellent work.", "This made me happy.", "Superb in every way.", "Lovely and warm."]
    old = ["Dreadful work.", "This made me angry.", "Useless in every way.", "Ugly and cold."]
    backbone = Backbone(checkpoint=minilm, precision="float32", device="cpu")
    rows, test = rows_of(good + bad), rows_of(new + old)
    labels = given(rows, np.eye(2)[[1] * 6 + [0] * 6])
    fitted = Probe(backbone=backbone).fit(rows, labels, validation=Validation(rows=rows, labels=labels), seed=SEED)
    assert fitted.predict(test).argmax(1).tolist() == [1] * 4 + [0] * 4


# The config itself


@pytest.mark.parametrize("penalties", [(), (0.0,), (1.0, -1.0), (float("inf"),), (float("nan"),)])
def test_penalties_outside_their_range_are_refused(backbone: Backbone, penalties: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="expected numbers above 0"):
        Probe(backbone=backbone, penalties=penalties)


def test_a_layer_outside_the_network_is_refused(backbone: Backbone) -> None:
    with pytest.raises(InputError, match="expected a depth from 0 to 3"):
        Probe(backbone=backbone, layers=(1, 4))


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_does_not_pass_for_naive(backbone: Backbone, plant: Plant, factor: float) -> None:
    """No number would come of it, or those of a head that never moved."""

    def broken(logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        return cross_entropy(logits, targets, progress=progress) * factor

    x = random_features(60, 4, seed=0)
    rows = plant(backbone, x)
    with pytest.raises(StepError, match=r"loss broken: its value or gradient at progress 0\.005 is not finite"):
        Probe(backbone=backbone).fit(rows, given(rows, sigmoid_labels(x)), loss=broken, seed=SEED)
