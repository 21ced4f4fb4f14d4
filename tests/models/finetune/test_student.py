"""A fine-tuned student from outside: what it gives, what it chooses by, what it refuses, and what it finds again."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from oversight import versions
from oversight.errors import InputError
from oversight.methods.losses import Confidence
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint, from_directory
from oversight.models.finetune.recipe import Full, Lora, LpFt, Machine
from oversight.models.finetune.student import FineTuned, FittedFineTuned
from oversight.models.probe import Probe
from oversight.models.rows import HELD_OUT
from oversight.models.student import Validation, cross_entropy
from oversight.models.workbench import workbench, working_at
from oversight.tasks.split import Seed, hold_out
from oversight.tasks.task import Labels, Rows

Floats = npt.NDArray[np.float64]
SEED = Seed.of(0)
QUICK = Full(lr=1e-3, epochs=3, batch_size=8, head_lr=1e-2, evaluations=3)
ONCE = replace(QUICK, epochs=1, batch_size=23)


@dataclass(frozen=True, kw_only=True)
class Data:
    """24 rows to learn from and 12 to choose by, whose label is one of their words."""

    rows: Rows
    labels: Labels
    validation: Validation

    def fit(self, backbone: Backbone, recipe: Full = QUICK, **changes: Any) -> FittedFineTuned:
        """Fit with seed 0, but for what is changed."""
        given = {"rows": self.rows, "labels": self.labels, "validation": self.validation, "seed": SEED, **changes}
        rows, labels = given.pop("rows"), given.pop("labels")
        return FineTuned(backbone=backbone, recipe=recipe).fit(rows, labels, **given)


@dataclass
class Drawer:
    """A shelf in memory that forgets nothing of what was done to it."""

    kept: dict[str, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict[str, Any])
    spoilt: dict[str, str] = field(default_factory=dict[str, str])
    about: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])

    def find(self, key: str) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
        return self.kept.get(key)

    def keep(self, key: str, arrays: Mapping[str, Any], record: Mapping[str, Any], *, about: Mapping[str, Any]) -> None:
        content = json.loads(json.dumps(record, allow_nan=False))
        self.kept[key] = {name: np.array(one) for name, one in arrays.items()}, content
        self.about.append(json.loads(json.dumps(about, allow_nan=False)))

    def spoil(self, key: str, reason: str) -> None:
        del self.kept[key]
        self.spoilt[key] = reason


@pytest.fixture
def backbone(gpt2: Checkpoint, in_float32: Callable[..., Backbone]) -> Backbone:
    return in_float32(gpt2, depth=1)


@pytest.fixture
def data(rows_of: Callable[..., Rows], sentences: Callable[..., list[str]]) -> Data:
    return make_data(rows_of(sentences(36, seed=3, shortest=2, longest=12)))


def make_data(rows: Rows, *, k: int = 2) -> Data:
    classes = np.array([("the" in one.split() or "film" in one.split()) for one in rows.texts]).astype(int)
    probs = 0.8 * np.eye(k)[classes] + 0.2 / k
    seen = rows.take(range(24, 36))
    return Data(
        rows=rows.take(range(24)),
        labels=Labels.of(rows, probs, source="test"),
        validation=Validation(rows=seen, labels=Labels.of(seen, probs[24:], source="test")),
    )


def count() -> tuple[list[float], Callable[[float, str], None]]:
    """A list that grows with every update, and what to tell about them."""
    told: list[float] = []
    return told, lambda done, note: told.append(done)


def agreement(fitted: FittedFineTuned, validation: Validation) -> float:
    return float((fitted.predict(validation.rows).argmax(1) == validation.labels.probs.argmax(1)).mean())


def key_of(backbone: Backbone, data: Data, recipe: Full = ONCE, **changes: Any) -> str:
    """Under what name a fit lies on the shelf."""
    shelf = Drawer()
    with working_at(shelf=shelf):
        data.fit(backbone, recipe, **changes)
    (key,) = shelf.kept
    return key


def as_settings(recipe: Full) -> dict[str, Any]:
    return dict(recipe.identity())


# What comes out.


@pytest.mark.parametrize("loss", [cross_entropy, Confidence()], ids=["cross-entropy", "confidence"])
def test_the_same_seed_gives_the_same_bits(loss: Any, backbone: Backbone, data: Data) -> None:
    recipe = replace(QUICK, dropout=True)
    first, second = (data.fit(backbone, recipe, loss=loss).predict(data.validation.rows) for _ in range(2))
    assert (first == second).all()


def test_another_order_of_rows_gives_another_student(backbone: Backbone, data: Data) -> None:
    first, second = (data.fit(backbone, seed=Seed.of(0, order=order)).predict(data.validation.rows) for order in (0, 1))
    assert np.abs(first - second).max() > 1e-6


def test_a_row_is_predicted_alike_in_any_company(backbone: Backbone, data: Data) -> None:
    fitted = data.fit(backbone)
    together = fitted.predict(data.rows)
    alone = np.concatenate([fitted.predict(data.rows.take([i])) for i in reversed(range(24))])[::-1]
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-5)


def test_predictions_are_probabilities(backbone: Backbone, data: Data) -> None:
    probs = data.fit(backbone).predict(data.rows)
    assert probs.shape == (24, 2) and probs.dtype == np.float64 and (probs > 0).all()
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-12)


def test_a_task_is_learned(backbone: Backbone, data: Data) -> None:
    """Whether a word stands in the text: all 24 rows are known after 40 epochs."""
    fitted = data.fit(backbone, replace(QUICK, epochs=40, lr=3e-3))
    assert (fitted.predict(data.rows).argmax(1) == data.labels.on(data.rows).probs.argmax(1)).all()


def test_a_fit_leaves_the_number_of_threads_alone(backbone: Backbone, data: Data) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        data.fit(backbone, replace(QUICK, epochs=1, batch_size=24)).predict(data.rows.take([0]))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_everything_decided_is_shown(backbone: Backbone, data: Data) -> None:
    choices = dict(data.fit(backbone, Full(batch_size=8, epochs=2)).choices)
    shown = {
        "train": "full",
        "lr": 2e-4,
        "epochs": 2,
        "updates": 6,
        "batch_size": 8,
        "schedule": "cosine",
        "optimizer": "adamw",
        "dropout": False,
        "head_lr": 1e-3,
        "n_rows": 24,
        "precision": "float32",
        "device": "cpu",
        "packed": True,
    }
    assert {name: choices[name] for name in shown} == shown


def test_choices_are_json(backbone: Backbone, data: Data) -> None:
    choices = data.fit(backbone, replace(QUICK, lr=(1e-3, 1e-4))).choices
    assert json.loads(json.dumps(choices, allow_nan=False))["tried"][1]["lr"] == 1e-4


def test_by_default_there_are_300_updates(backbone: Backbone, data: Data) -> None:
    """4 rows in batches of 3 are 2 updates an epoch, one of them short; ceil(300 * 3 / 4) = 225 epochs."""
    few = replace(data, rows=data.rows.take(range(4)))
    choices = few.fit(backbone.at(0), Full(batch_size=3)).choices
    assert (choices["epochs"], choices["updates"]) == (225, 450)


def test_too_few_updates_are_called_undertrained(backbone: Backbone, data: Data) -> None:
    """What the paper's 2 epochs leave of few rows: 6 updates."""
    assert data.fit(backbone, Full(batch_size=8, epochs=2)).choices["undertrained"] is True


def test_a_run_that_came_to_rest_is_not_undertrained(backbone: Backbone, data: Data) -> None:
    assert data.fit(backbone, replace(QUICK, epochs=40, lr=3e-3)).choices["undertrained"] is False


# What is chosen, and by what.


def test_what_is_kept_agrees_as_often_as_it_says(backbone: Backbone, data: Data) -> None:
    fitted = data.fit(backbone, replace(QUICK, epochs=6, evaluations=6))
    # Allows for what is kept, nine decimals.
    assert fitted.choices["agreement"] == pytest.approx(agreement(fitted, data.validation), rel=0, abs=1e-9)


def test_choices_go_by_the_labels_handed_over(backbone: Backbone, data: Data) -> None:
    """Labels of the validation rows that stand in the other label set are not looked at."""
    other = replace(data.labels, probs=np.vstack([data.labels.probs[:24], data.labels.probs[24:, ::-1]]))
    first, second = (data.fit(backbone, labels=labels) for labels in (data.labels, other))
    assert first.choices["curve"] == second.choices["curve"]


def test_every_learning_rate_tried_is_in_the_result(backbone: Backbone, data: Data) -> None:
    """Each with the curve that it has when it is tried alone."""
    rates = (1e-3, 1e-5, 3e-3)
    tried: Any = data.fit(backbone, replace(QUICK, lr=rates)).choices["tried"]
    alone = [data.fit(backbone, replace(QUICK, lr=rate)).choices for rate in rates]
    assert [(one["lr"], one["curve"]) for one in tried] == [(one["lr"], one["curve"]) for one in alone]


@pytest.mark.parametrize("rates", [(1e-12, 3e-3), (3e-3, 1e-12), (1e-12, 2e-12)])
def test_the_rate_that_agrees_best_is_kept(rates: tuple[float, ...], backbone: Backbone, data: Data) -> None:
    """Of two that agree equally often (both barely move) the one of lower cross-entropy."""
    recipe = replace(QUICK, lr=rates, epochs=8)
    fitted = data.fit(backbone, recipe)
    alone = [data.fit(backbone, replace(recipe, lr=rate)) for rate in rates]
    ranks = [(agreement(one, data.validation), -float(str(one.choices["cross_entropy"]))) for one in alone]
    best = alone[ranks.index(max(ranks))]
    assert fitted.choices["lr"] == best.choices["lr"]
    assert (fitted.predict(data.rows) == best.predict(data.rows)).all()


def test_a_single_rate_is_no_search(backbone: Backbone, data: Data) -> None:
    assert "tried" not in data.fit(backbone).choices


def test_without_validation_a_tenth_is_held_apart_and_not_trained_on(backbone: Backbone, data: Data) -> None:
    """The same fit as with that tenth handed over: 22 rows to learn from, 2 to choose by."""
    kept, held = hold_out(data.rows, data.labels.probs[:24].argmax(1), fraction=HELD_OUT, seed=SEED.split)
    seen = Validation(rows=data.rows.take(held), labels=data.labels)
    own = data.fit(backbone, validation=None)
    given = data.fit(backbone, rows=data.rows.take(kept), validation=seen)
    assert own.choices["n_rows"] == len(kept) == 24 - len(held)
    assert (own.predict(data.rows) == given.predict(data.rows)).all()


def test_rows_without_an_answer_do_not_count(backbone: Backbone, data: Data) -> None:
    """Neither in training nor in choices."""
    answered = np.arange(36) % 3 > 0
    labels = replace(data.labels, answered=answered)
    seen = Validation(rows=data.validation.rows, labels=labels)
    partly = data.fit(backbone, labels=labels, validation=seen)
    kept = [i for i in range(24) if answered[i]]
    left = data.rows.take(kept)
    few = data.validation.rows.take(i for i in range(12) if answered[24 + i])
    without = data.fit(backbone, rows=left, validation=Validation(rows=few, labels=data.labels))
    assert partly.choices["n_rows"] == 16
    assert (partly.predict(data.rows) == without.predict(data.rows)).all()


# Probe first, then all weights.


@pytest.mark.parametrize("paired", [False, True], ids=["texts", "pairs"])
@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_lp_ft_starts_at_the_probe(
    family: str,
    paired: bool,
    families: Mapping[str, Path],
    in_float32: Callable[..., Backbone],
    rows_of: Callable[..., Rows],
    sentences: Callable[..., list[str]],
) -> None:
    """With learning rates so small that nothing moves it predicts what the probe predicts."""
    backbone = in_float32(from_directory(families[family], name=family), depth=2)
    texts = sentences(72, seed=5, shortest=2, longest=12)
    data = make_data(rows_of(texts[:36], texts[36:] if paired else None))
    probe = Probe(backbone=backbone).fit(data.rows, data.labels, validation=data.validation, seed=SEED)
    still = LpFt(lr=1e-12, head_lr=1e-12, epochs=1, batch_size=8)
    expected = probe.predict(data.rows)
    assert np.ptp(expected[:, 0]) > 0.05
    np.testing.assert_allclose(data.fit(backbone, still).predict(data.rows), expected, rtol=0, atol=1e-5)


def test_lp_ft_leaves_the_probe(backbone: Backbone, data: Data) -> None:
    still = LpFt(lr=1e-12, head_lr=1e-12, epochs=1, batch_size=8, early_stopping=False)
    moved = replace(still, lr=1e-3, head_lr=1e-3)
    first, second = (data.fit(backbone, recipe).predict(data.rows) for recipe in (still, moved))
    assert np.abs(first - second).max() > 1e-4


# How often a row counts.


def test_a_weight_of_two_is_a_row_that_stands_there_twice(backbone: Backbone, data: Data) -> None:
    """In full batches: the mean over 24 rows with weights and that over 28 with copies differ by the factor 24 / 28,
    which Adam divides out again, but for its 1e-8 (so the clip is out of reach)."""
    copied = list(range(0, 24, 7))
    weights = np.where(np.isin(np.arange(24), copied), 2.0, 1.0)
    recipe = Full(lr=1e-3, head_lr=1e-2, epochs=8, batch_size=24, clip=1e9, early_stopping=False)
    copies = replace(data.rows.take(copied), ids=tuple(f"copy {i}" for i in copied))
    both = Rows(
        ids=data.rows.ids + copies.ids, texts=data.rows.texts + copies.texts, groups=data.rows.groups + copies.groups
    )
    probs = data.labels.probs[[*range(24), *copied]]
    weighted = data.fit(backbone, recipe, weights=weights).predict(data.validation.rows)
    repeated = data.fit(
        backbone, replace(recipe, batch_size=28), rows=both, labels=Labels.of(both, probs, source="test")
    ).predict(data.validation.rows)
    plain = data.fit(backbone, recipe).predict(data.validation.rows)
    np.testing.assert_allclose(weighted, repeated, rtol=0, atol=1e-4)
    assert np.abs(plain - repeated).max() > 1e-3


def test_a_weight_of_zero_is_a_row_that_is_not_there(backbone: Backbone, data: Data) -> None:
    weights = np.where(np.arange(24) < 16, 1.0, 0.0)
    weighted = data.fit(backbone, weights=weights)
    without = data.fit(backbone, rows=data.rows.take(range(16)))
    assert weighted.choices["n_rows"] == 16
    assert (weighted.predict(data.rows) == without.predict(data.rows)).all()


def test_weights_of_one_change_nothing(backbone: Backbone, data: Data) -> None:
    weighted, plain = (data.fit(backbone, weights=one).predict(data.rows) for one in (np.ones(24), None))
    assert (weighted == plain).all()


# What is refused.


def test_weights_under_another_loss_are_refused(backbone: Backbone, data: Data) -> None:
    with pytest.raises(InputError, match=r"^gpt2@1: rows can be weighted only under cross-entropy"):
        data.fit(backbone, weights=np.ones(24), loss=Confidence())


def test_a_batch_larger_than_the_data_is_refused(backbone: Backbone, data: Data) -> None:
    with pytest.raises(InputError, match=r"^gpt2@1: found batch_size 25, expected at most .*24 rows"):
        data.fit(backbone, replace(QUICK, batch_size=25))


def test_a_batch_of_all_rows_is_fine(backbone: Backbone, data: Data) -> None:
    assert data.fit(backbone, replace(QUICK, batch_size=24)).choices["updates"] == 3


def test_a_limit_below_8_tokens_is_refused(gpt2: Checkpoint, in_float32: Callable[..., Backbone]) -> None:
    with pytest.raises(InputError, match=r"^gpt2: found max_tokens=7, expected at least 8$"):
        FineTuned(backbone=in_float32(gpt2, max_tokens=7))


def test_no_answered_row_is_refused(backbone: Backbone, data: Data) -> None:
    with pytest.raises(InputError, match=r"found no answered row"):
        data.fit(backbone, labels=replace(data.labels, answered=np.zeros(36, bool)))


# What is found again.


@pytest.mark.parametrize(
    "recipe",
    [
        QUICK,
        replace(QUICK, early_stopping=False, optimizer="adafactor"),
        replace(QUICK, lr=(1e-3, 1e-4)),
        LpFt(lr=1e-3, epochs=2, batch_size=8),
        Lora(lr=1e-3, epochs=2, batch_size=8, rank=2),
    ],
    ids=["full", "last, adafactor", "two rates", "lp-ft", "lora"],
)
def test_a_finished_fit_is_found_and_not_trained_again(recipe: Full, backbone: Backbone, data: Data) -> None:
    """No update is made, and rows of which the first fit saw none get the same bits."""
    if isinstance(recipe, Lora):
        pytest.importorskip("peft")
    shelf = Drawer()
    told, tell = count()
    with working_at(shelf=shelf):
        first = data.fit(backbone, recipe)
    with working_at(shelf=shelf, tell=tell):
        again = data.fit(backbone, recipe)
    assert told == [] and shelf.spoilt == {} and len(shelf.kept) == len(recipe.rates(0))
    assert (again.predict(data.rows) == first.predict(data.rows)).all()
    assert again.choices == json.loads(json.dumps(first.choices))


def test_a_fit_by_pairs_is_found(
    backbone: Backbone, rows_of: Callable[..., Rows], sentences: Callable[..., list[str]]
) -> None:
    texts = sentences(72, seed=5, shortest=2, longest=12)
    data, shelf = make_data(rows_of(texts[:36], texts[36:])), Drawer()
    with working_at(shelf=shelf):
        first, again = (data.fit(backbone).predict(data.rows) for _ in range(2))
    assert (first == again).all() and len(shelf.about) == 1


def test_without_a_shelf_nothing_is_kept(backbone: Backbone, data: Data) -> None:
    told, tell = count()
    with working_at(tell=tell):
        for _ in range(2):
            data.fit(backbone)
    assert len(told) == 2 * 9


def nudge(arrays: dict[str, Any]) -> None:
    arrays["weights.head.weight"][0, 0] += 1e-3


def to_nan(arrays: dict[str, Any]) -> None:
    arrays["weights.head.weight"][0, 0] = math.nan


def flip_bit(arrays: dict[str, Any]) -> None:
    """The highest bit of the exponent of one weight."""
    name = next(one for one in sorted(arrays) if one.endswith("c_fc.weight"))
    arrays[name].view(np.uint32).reshape(-1)[5] ^= 1 << 30


def lose(arrays: dict[str, Any]) -> None:
    del arrays["weights.head.bias"]


def cut_off(arrays: dict[str, Any]) -> None:
    arrays["weights.head.weight"] = arrays["weights.head.weight"][:, :-1]


def other_predictions(arrays: dict[str, Any]) -> None:
    arrays["validation.probs"] = arrays["validation.probs"][:, ::-1].copy()


@pytest.mark.parametrize("damage", [nudge, to_nan, flip_bit, lose, cut_off, other_predictions])
def test_a_kept_fit_that_gives_something_else_is_spoilt_and_made_again(
    damage: Callable[[dict[str, Any]], None], backbone: Backbone, data: Data
) -> None:
    shelf = Drawer()
    told, tell = count()
    with working_at(shelf=shelf):
        first = data.fit(backbone).predict(data.rows)
        (key,) = shelf.kept
        damage(shelf.kept[key][0])
        with working_at(tell=tell):
            again = data.fit(backbone).predict(data.rows)
    assert list(shelf.spoilt) == [key] and "\n" not in shelf.spoilt[key] and len(shelf.spoilt[key]) > 10
    assert len(told) == 9 and list(shelf.kept) == [key]
    assert (again == first).all()


def test_a_fit_of_another_environment_may_differ_by_rounding(backbone: Backbone, data: Data) -> None:
    """1e-6 of probability is rounding; within the same environment it is damage."""
    outcomes: list[int] = []
    for version in (None, "1.0"):
        shelf = Drawer()
        with working_at(shelf=shelf):
            data.fit(backbone)
            ((arrays, record),) = shelf.kept.values()
            arrays["validation.probs"] += 1e-6
            record["environment"] |= {} if version is None else {"torch": version}
            data.fit(backbone)
        outcomes.append(len(shelf.spoilt))
    assert outcomes == [1, 0]


def test_another_environment_excuses_no_damage(backbone: Backbone, data: Data) -> None:
    shelf = Drawer()
    with working_at(shelf=shelf):
        data.fit(backbone)
        ((arrays, record),) = shelf.kept.values()
        record["environment"]["torch"] = "1.0"
        arrays["weights.head.weight"] += np.linspace(0, 0.5, 32, dtype=np.float32)
        arrays["weights.head.weight"][0] *= -1
        data.fit(backbone)
    assert len(shelf.spoilt) == 1


@pytest.mark.parametrize(
    "machine",
    [Machine(tokens_at_once=20), Machine(checkpointing=True), Machine(seconds_between_checkpoints=0.0)],
    ids=["tokens", "checkpointing", "seconds"],
)
def test_the_machine_is_in_no_key_and_spoils_nothing(machine: Machine, backbone: Backbone, data: Data) -> None:
    """Even where other passes round predictions in another way."""
    shelf = Drawer()
    told, tell = count()
    with working_at(shelf=shelf):
        data.fit(backbone)
        with working_at(tell=tell):
            data.fit(backbone, replace(QUICK, machine=machine))
    assert (len(shelf.kept), shelf.spoilt, told) == (1, {}, [])


def test_name_and_place_of_a_checkpoint_are_in_no_key(backbone: Backbone, data: Data, tmp_path: Path) -> None:
    shutil.copytree(backbone.checkpoint.path, tmp_path / "copy")
    copy = replace(backbone, checkpoint=from_directory(tmp_path / "copy", name="another"))
    assert key_of(copy, data) == key_of(backbone, data)


@pytest.mark.parametrize(("library", "counts"), [("torch", True), ("transformers", True), ("scikit-learn", False)])
def test_the_minor_version_of_what_trains_it_is_in_its_key(
    backbone: Backbone, data: Data, monkeypatch: pytest.MonkeyPatch, library: str, counts: bool
) -> None:
    known, keys = versions.version, list[str]()
    for found in ("1.2.3", "1.2.9", "1.3.0"):
        here = {library: found}
        monkeypatch.setattr(versions, "version", lambda name, here=here: here.get(name) or known(name))
        keys.append(key_of(backbone, data))
    assert keys[0] == keys[1] and (keys[0] != keys[2]) == counts


def test_everything_that_decides_a_fit_is_in_its_key(
    backbone: Backbone,
    data: Data,
    make_network: Callable[..., Path],
    in_float32: Callable[..., Backbone],
    tmp_path: Path,
) -> None:
    """Recipe, loss, seeds, rows, labels, weights, validation, depth and weights of the network: 19 fits, 19 keys."""
    seen = data.validation
    flipped = Labels.of(seen.rows, seen.labels.probs[:, ::-1], source="test")
    labels = Labels.of(data.rows, data.labels.probs[:24, ::-1], source="test")
    other = in_float32(from_directory(make_network(tmp_path / "net", "gpt2", seed=1), name="gpt2"), depth=1)
    keys = [
        key_of(backbone, data),
        key_of(backbone, data, replace(ONCE, lr=2e-3)),
        key_of(backbone, data, replace(ONCE, head_lr=2e-2)),
        key_of(backbone, data, replace(ONCE, epochs=2)),
        key_of(backbone, data, replace(ONCE, batch_size=12)),
        key_of(backbone, data, replace(ONCE, schedule="constant")),
        key_of(backbone, data, replace(ONCE, early_stopping=False)),
        key_of(backbone, data, LpFt(**as_settings(ONCE))),
        key_of(backbone, data, loss=Confidence()),
        key_of(backbone, data, loss=Confidence(aux_weight=0.25)),
        key_of(backbone, data, seed=Seed.of(0, order=1)),
        key_of(backbone, data, seed=Seed.of(0, init=1)),
        key_of(backbone, data, rows=data.rows.take(range(23))),
        key_of(backbone, data, labels=labels),
        key_of(backbone, data, weights=np.linspace(0.5, 1.5, 24)),
        key_of(backbone, data, validation=Validation(rows=seen.rows, labels=flipped)),
        key_of(backbone, data, validation=Validation(rows=seen.rows.take(range(11)), labels=seen.labels)),
        key_of(backbone.at(2), data),
        key_of(other, data),
    ]
    assert len(set(keys)) == len(keys) == 19


def test_the_cut_of_the_task_is_in_no_key(backbone: Backbone, data: Data) -> None:
    """With validation rows handed over nothing is held out, so that seed changes nothing."""
    assert key_of(backbone, data, seed=Seed.of(0, split=5)) == key_of(backbone, data)


def test_what_made_a_fit_is_told_to_the_shelf(backbone: Backbone, data: Data) -> None:
    shelf = Drawer()
    with working_at(shelf=shelf):
        data.fit(backbone)
    (about,) = shelf.about
    assert about["kind"] == "model" and about["config"]["lr"] == 1e-3 and about["config"]["seed"] == [0, 0]


# The workbench.


def test_surroundings_end_with_their_block() -> None:
    shelf = Drawer()
    with working_at(shelf=shelf), working_at(folder=Path("runs")):
        inner = workbench()
    assert (inner.shelf, inner.folder) == (shelf, Path("runs"))
    assert (workbench().shelf, workbench().folder) == (None, None)


def test_surroundings_end_when_a_fit_fails() -> None:
    def fail() -> None:
        with working_at(shelf=Drawer()):
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        fail()
    assert workbench().shelf is None


def test_nothing_is_told_unless_asked(capsys: pytest.CaptureFixture[str], backbone: Backbone, data: Data) -> None:
    data.fit(backbone)
    assert capsys.readouterr() == ("", "")


def test_an_unknown_surrounding_is_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword"), working_at(shelves=None):
        pass
