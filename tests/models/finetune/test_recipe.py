"""How long, how fast and how large: the rules of a recipe, what it refuses, and the size they rest on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.errors import InputError
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint, from_directory
from oversight.models.finetune.recipe import Full, Lora, LpFt, Machine
from oversight.models.finetune.size import n_parameters
from oversight.models.network import Network

RECIPES = (Full, Lora, LpFt)
SIZED = ("bert", "distilbert", "roberta", "modernbert", "gpt2", "gpt_neox", "llama", "qwen3", "gemma3", "opt", "phi")


@settings(max_examples=200, deadline=None)
@given(n=st.integers(1, 100_000), batch_size=st.integers(1, 256))
def test_every_role_gets_300_updates_whatever_its_rows(n: int, batch_size: int) -> None:
    """ceil(300 b / n) epochs of ceil(n / b) updates are at least 300 b / n * n / b = 300."""
    assert Full(batch_size=batch_size).n_updates(n) >= 300


@settings(max_examples=200, deadline=None)
@given(n=st.integers(1, 100_000), batch_size=st.integers(1, 256))
def test_epochs_are_no_more_than_the_rule_asks_for(n: int, batch_size: int) -> None:
    """One epoch less would leave fewer than 300 whole batches, or a single epoch."""
    epochs = Full(batch_size=batch_size).n_epochs(n)
    assert epochs >= 2 and (epochs == 2 or (epochs - 1) * n < 300 * batch_size)


@pytest.mark.parametrize(("n", "epochs"), [(32, 300), (500, 20), (4799, 3), (4800, 2), (20_000, 2)])
def test_epochs_at_batch_32(n: int, epochs: int) -> None:
    """9,600 / 32 = 300; 9,600 / 500 = 19.2; 9,600 / 4,799 > 2; then the paper's 2."""
    assert Full().n_epochs(n) == epochs


def test_epochs_asked_for_are_kept() -> None:
    assert Full(epochs=1).n_epochs(10) == 1


def test_the_last_short_batch_is_an_update() -> None:
    """70 rows in batches of 32 are 32 + 32 + 6."""
    assert Full(epochs=4).n_updates(70) == 12


@pytest.mark.parametrize(
    ("n", "rate"),
    [(1, 2e-4), (49_999_999, 2e-4), (50_000_000, 5e-5), (499_999_999, 5e-5), (500_000_000, 1e-5), (8 * 10**9, 1e-5)],
)
def test_the_default_rate_falls_with_size(n: int, rate: float) -> None:
    assert Full().rates(n) == (rate,)


@pytest.mark.parametrize("n", [10**6, 10**8, 10**10])
def test_adapters_learn_ten_times_as_fast(n: int) -> None:
    assert Lora().rates(n) == pytest.approx([10 * rate for rate in Full().rates(n)])


@pytest.mark.parametrize("kind", RECIPES)
def test_rates_asked_for_are_tried_as_they_are(kind: type[Full]) -> None:
    """Also by LoRA: ten times belongs to the default alone."""
    assert kind(lr=(3e-4, 1e-5)).rates(10**9) == (3e-4, 1e-5)


def test_one_rate_is_a_search_of_one() -> None:
    assert Full(lr=3e-4).rates(10**9) == (3e-4,)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("lr", 0.0),
        ("lr", -1e-4),
        ("lr", math.nan),
        ("lr", math.inf),
        ("lr", (1e-4, 0.0)),
        ("head_lr", 0.0),
        ("epochs", 0),
        ("batch_size", 0),
        ("evaluations", 0),
        ("warmup_fraction", -0.1),
        ("warmup_fraction", 1.0),
        ("weight_decay", -1.0),
        ("clip", 0.0),
        ("clip", math.nan),
        ("schedule", "linear"),
        ("optimizer", "sgd"),
    ],
)
@pytest.mark.parametrize("kind", RECIPES)
def test_a_bad_setting_is_refused_in_one_line_that_names_it(kind: type[Full], setting: str, value: Any) -> None:
    with pytest.raises(InputError) as refused:
        kind(**{setting: value})
    line = str(refused.value)
    assert line.startswith(f"{kind.name}: found {setting} ") and "expected" in line and "\n" not in line


@pytest.mark.parametrize(("setting", "value"), [("rank", 0), ("quantize", "2bit")])
def test_a_bad_setting_of_adapters_is_refused(setting: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"^lora: found {setting} {value}, expected"):
        Lora(**{setting: value})


@pytest.mark.parametrize(("setting", "value"), [("tokens_at_once", 0), ("processes", 0)])
def test_a_bad_setting_of_the_machine_is_refused(setting: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"^{setting}: found {value}, expected"):
        Machine(**{setting: value})


@pytest.mark.parametrize("kind", RECIPES)
def test_identity_holds_every_setting_but_those_of_the_machine(kind: type[Full]) -> None:
    every = kind(decay_to_start=1.0, anchor=1.0)
    assert set(every.identity()) == {one.name for one in dataclasses.fields(kind)} - {"machine"}


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize("name", SIZED)
def test_parameters_are_those_of_the_loaded_network(
    name: str, depth: int, families: Mapping[str, Path], in_float32: Callable[..., Backbone]
) -> None:
    checkpoint = from_directory(families[name], name=name)
    loaded = Network(in_float32(checkpoint), depth=depth).model
    if depth == 0:
        # Blocks are never counted below one: the library builds no network without any.
        depth = 1
    assert n_parameters(checkpoint, depth=depth) == sum(one.numel() for one in loaded.parameters())


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_parameters_of_gpt2_are_those_of_its_definition(depth: int, gpt2: Checkpoint) -> None:
    """Embeddings (v + p) d; a block 4 d^2 of attention, 8 d^2 of the feed-forward part, 9 d biases, 4 d of two norms;
    a last norm of 2 d."""
    d, v, p = 32, gpt2.config["vocab_size"], 64
    assert n_parameters(gpt2, depth=depth) == (v + p) * d + depth * (12 * d * d + 13 * d) + 2 * d
