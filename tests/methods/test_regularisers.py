"""Regularisers of fine-tuning: what they do to the weights, and on whom they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from planted_networks import BRIEFLY, BY_HEART, TO_THE_END, network_gains, rows_of

from oversight.describe import describe
from oversight.errors import InputError
from oversight.methods import METHODS
from oversight.methods.method import Method, WeakData, WithLoss, check_needs
from oversight.methods.regularisers import AnchoredStates, DecayToStart, LastWeights, ProbeFirst
from oversight.methods.relabelling import Selective
from oversight.models.backbone import Backbone
from oversight.models.finetune.classifier import Classifier
from oversight.models.finetune.encoded import encode
from oversight.models.finetune.optim import pull_back
from oversight.models.finetune.recipe import Full, Lora
from oversight.models.finetune.student import FineTuned
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels, Rows
from oversight.testing import mean_interval, planted

SEED = Seed.of(0)


@pytest.fixture(scope="module")
def data(planted_rows: Callable[..., list[dict[str, Any]]]) -> WeakData:
    """160 rows with soft weak labels that are right three times in four; the last 40 are validation."""
    rows, truth = rows_of(planted_rows(160, seed=3))
    rng = np.random.default_rng(0)
    named = np.where(rng.random(160) < 0.25, 1 - truth, truth)
    labels = Labels.of(rows, np.where(np.eye(2)[named] > 0, 0.8, 0.2), source="weak")
    first, last = rows.take(range(120)), rows.take(range(120, 160))
    return WeakData(rows=first, labels=(labels.on(first),), validation=last, validation_labels=(labels.on(last),))


def student(backbone: Backbone, **settings: Any) -> FineTuned:
    return FineTuned(backbone=backbone, recipe=Full(epochs=2, batch_size=16, lr=1e-3, evaluations=2, **settings))


def moved(fitted: Any, backbone: Backbone) -> float:
    """How far the network's weights are from the pretrained ones."""
    before = Classifier(backbone, Full(), n_classes=2, paired=False, seed=0).trained()
    now = fitted.classifier.trained()
    shared = [name for name in now if now[name].shape == before[name].shape and not name.startswith("head.")]
    assert len(shared) > 10
    return float(sum(((now[name] - before[name]).detach() ** 2).sum() for name in shared)) ** 0.5


def test_a_weight_is_pulled_back_by_its_learning_rate_times_the_strength() -> None:
    one, other = (torch.nn.Parameter(torch.tensor([2.0, 4.0])) for _ in range(2))
    optimizer = torch.optim.SGD([{"params": [one], "lr": 0.1}, {"params": [other], "lr": 0.5}])
    pull_back(optimizer, {one: torch.tensor([1.0, 1.0])}, 2.0)
    torch.testing.assert_close(one.detach(), torch.tensor([2.0 - 0.2 * 1, 4.0 - 0.2 * 3]))
    torch.testing.assert_close(other.detach(), torch.tensor([2.0, 4.0]), rtol=0, atol=0)


def test_the_stronger_the_pull_the_nearer_the_weights_stay(backbone: Backbone, data: WeakData) -> None:
    naive = WithLoss().train(student(backbone), data, seed=SEED)
    distances = [moved(naive, backbone)]
    for strength in (10.0, 100.0, 1e6):
        distances.append(moved(DecayToStart(strength).train(student(backbone), data, seed=SEED), backbone))
    assert distances == sorted(distances, reverse=True) and distances[-1] < 0.01 * distances[0]


def test_with_weights_held_at_their_start_only_the_head_learns(backbone: Backbone, data: WeakData) -> None:
    fitted = DecayToStart(1e6).train(student(backbone), data, seed=SEED)
    head: Floats = fitted.classifier.head.weight.detach().numpy()  # type: ignore[attr-defined]
    assert np.abs(head).max() > 1e-4


def test_a_recipe_without_the_pull_has_the_key_it_had_before() -> None:
    assert "decay_to_start" not in Full().identity() and "decay_to_start" in Full(decay_to_start=1.0).identity()


def states_moved(fitted: Any, backbone: Backbone, rows: Rows) -> float:
    """Mean squared distance of pooled states from those of the pretrained network."""
    pretrained = Classifier(backbone, Full(), n_classes=2, paired=False, seed=0)
    with torch.no_grad():
        before, now = (
            one.states(encode(one.network, rows), range(len(rows))) for one in (pretrained, fitted.classifier)
        )
    return float((now - before).square().sum(-1).mean())


@pytest.mark.parametrize("recipe", [Full, Lora])
def test_the_stronger_the_anchor_the_nearer_the_states_stay(
    recipe: type[Full], backbone: Backbone, data: WeakData
) -> None:
    settings: dict[str, Any] = {"epochs": 4, "batch_size": 16, "lr": 1e-3, "evaluations": 1, "early_stopping": False}
    taught = FineTuned(backbone=backbone, recipe=recipe(**settings))
    away = [states_moved(WithLoss().train(taught, data, seed=SEED), backbone, data.rows)]
    for strength in (1.0, 100.0):
        away.append(states_moved(AnchoredStates(strength).train(taught, data, seed=SEED), backbone, data.rows))
    assert away == sorted(away, reverse=True) and away[-1] < 0.05 * away[0]


def test_a_recipe_without_an_anchor_has_the_key_it_had_before(backbone: Backbone) -> None:
    assert "anchor" not in Full().identity() and "anchor" in Full(anchor=1.0).identity()
    assert len({str(describe(student(backbone, anchor=strength))) for strength in (0.0, 1.0, 2.0)}) == 3


@pytest.mark.slow
def test_an_anchor_keeps_a_network_that_knows_from_learning_noise_by_heart(
    pretrained: Backbone, planted_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    found = network_gains(AnchoredStates(), pretrained, planted_rows, flips=0.25, seeds=6)
    assert mean_interval(found)[0] > 0, found


@pytest.mark.slow
def test_own_labels_of_rows_not_learned_from_keep_a_network_from_it_too(
    pretrained: Backbone, planted_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    found = network_gains(Selective(0.75), pretrained, planted_rows, flips=0.25, seeds=6)
    assert mean_interval(found)[0] > 0, found


@pytest.mark.slow
def test_on_right_labels_an_anchor_has_nothing_to_give(
    pretrained: Backbone, planted_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    found = network_gains(AnchoredStates(), pretrained, planted_rows, flips=0.0, seeds=4)
    low, high = mean_interval(found)
    assert low <= 0 <= high, found


@pytest.mark.slow
def test_weights_pulled_back_to_their_start_keep_a_network_that_knows_from_learning_noise_by_heart(
    pretrained: Backbone, planted_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    found = network_gains(DecayToStart(100.0), pretrained, planted_rows, flips=0.3, seeds=8, recipe=BY_HEART, n=60)
    assert mean_interval(found)[0] > 0, found


@pytest.mark.slow
def test_without_early_stopping_a_network_that_knows_learns_noise_by_heart(
    pretrained: Backbone, planted_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    stopped = replace(BY_HEART, early_stopping=True, evaluations=10)
    found = network_gains(
        LastWeights(), pretrained, planted_rows, flips=0.3, seeds=6, recipe=stopped, n=60, n_validation=200
    )
    assert mean_interval(found)[1] < 0, found


@pytest.mark.slow
def test_a_probe_first_finds_in_the_states_what_brief_training_does_not(
    backbone: Backbone, planted_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    found = network_gains(ProbeFirst(), backbone, planted_rows, flips=0.1, seeds=6, recipe=BRIEFLY, n=200)
    assert mean_interval(found)[0] > 0.1, found


@pytest.mark.slow
def test_where_the_first_updates_find_it_a_probe_first_has_nothing_to_give(
    pretrained: Backbone, planted_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    found = network_gains(ProbeFirst(), pretrained, planted_rows, flips=0.1, seeds=6, recipe=BRIEFLY, n=200)
    low, high = mean_interval(found)
    assert low <= 0 <= high and abs(found.mean()) < 0.01, found


@pytest.mark.slow
def test_without_early_stopping_nobody_stops_where_wrong_labels_agree(
    backbone: Backbone, planted_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    """Right labels to learn from, mostly wrong ones to stop by: the weights are taken from before it was learned."""
    stopped = replace(TO_THE_END, early_stopping=True, evaluations=10)
    wrong: dict[str, Any] = {"validation_flips": 0.9, "n_validation": 40, "n": 200}
    found = network_gains(LastWeights(), backbone, planted_rows, flips=0.0, seeds=5, recipe=stopped, **wrong)
    assert mean_interval(found)[0] > 0, found


@pytest.mark.slow
@pytest.mark.parametrize("method", [DecayToStart(100.0), LastWeights()])
def test_on_right_labels_neither_pull_nor_stop_has_anything_to_give(
    method: Method, pretrained: Backbone, planted_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    stopped = replace(BY_HEART, early_stopping=isinstance(method, LastWeights), evaluations=10)
    found = network_gains(method, pretrained, planted_rows, flips=0.0, seeds=5, recipe=stopped, n=60)
    low, high = mean_interval(found)
    assert low <= 0 <= high and abs(found.mean()) < 0.01, found


def test_without_early_stopping_the_last_weights_are_kept(backbone: Backbone, data: WeakData) -> None:
    fitted = LastWeights().train(student(backbone), data, seed=SEED)
    assert fitted.choices["stopped_at"] == fitted.choices["updates"]
    assert fitted.choices["early_stopping"] is False


def test_a_probe_comes_first_and_decides_where_training_starts(backbone: Backbone, data: WeakData) -> None:
    fitted = ProbeFirst().train(student(backbone), data, seed=SEED)
    assert fitted.choices["train"] == "lp-ft" and fitted.choices["epochs"] == 2


def test_the_key_of_a_student_says_how_strong_the_pull_is(backbone: Backbone) -> None:
    keys = {str(describe(student(backbone, decay_to_start=strength))) for strength in (0.0, 1.0, 2.0)}
    assert len(keys) == 3


@pytest.mark.parametrize("name", ["decay_to_start", "anchored_states", "lp_ft"])
def test_a_probe_is_refused(name: str) -> None:
    probe = planted(n=60).student
    with pytest.raises(InputError, match=f"method {name}: runs on .*full.*, found a student trained by probe"):
        check_needs(name, METHODS[name].make(), probe, n_supervisors=1)


def test_lp_ft_is_refused_where_only_adapters_are_trained(backbone: Backbone) -> None:
    lora = FineTuned(backbone=backbone, recipe=Lora())
    with pytest.raises(InputError, match="runs on full, found a student trained by lora"):
        check_needs("lp_ft", ProbeFirst(), lora, n_supervisors=1)


@pytest.mark.parametrize("strength", [0.0, -1.0, float("nan")])
def test_a_strength_that_pulls_nowhere_is_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="strength: found"):
        DecayToStart(strength)
    with pytest.raises(ValueError, match="strength: found"):
        AnchoredStates(strength)
