"""What a fit takes, against networks that are loaded, run and counted."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from oversight.errors import InputError
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint, from_directory
from oversight.models.finetune import memory, size
from oversight.models.finetune.classifier import Classifier
from oversight.models.finetune.encoded import Encoded
from oversight.models.finetune.optim import make_optimizer
from oversight.models.finetune.recipe import Full, Lora, Machine
from oversight.models.finetune.size import Size, check_memory, estimate, n_parameters, token_lengths
from oversight.models.finetune.student import FineTuned
from oversight.models.network import Network
from oversight.tasks.split import Seed
from oversight.tasks.task import Labels, Rows

N_TOKENS, N_ROWS = 24, 8
FOUR_BITS = 4.127 / 8
ONE_UPDATE: dict[str, Any] = {"lr": 1e-3, "epochs": 1, "batch_size": N_ROWS}


def texts_of(n: int, *, n_tokens: int = N_TOKENS, paired: bool = False) -> Encoded:
    rng = np.random.default_rng(0)
    first, second = (tuple(rng.integers(5, 20, n_tokens) for _ in range(n)) for _ in range(2))
    return Encoded(texts=first, others=second if paired else None, n_truncated=0, pad=0)


def loaded(backbone: Backbone, recipe: Full, *, paired: bool = False) -> Classifier:
    return Classifier(backbone, recipe, n_classes=2, paired=paired, seed=0)


def estimated(backbone: Backbone, recipe: Full, *, paired: bool = False, n_tokens: int = N_TOKENS) -> Size:
    student = FineTuned(backbone=backbone, recipe=recipe)
    return estimate(student, n_rows=N_ROWS, n_tokens=n_tokens, longest=n_tokens, paired=paired)


def one_pass(classifier: Classifier, encoded: Encoded) -> None:
    classifier.training(True)
    classifier.logits(encoded, list(range(len(encoded)))).square().sum().backward()


def counted_flops(classifier: Classifier, encoded: Encoded) -> int:
    with FlopCounterMode(display=False) as counter:
        one_pass(classifier, encoded)
    return counter.get_total_flops()


def saved_bytes(classifier: Classifier, encoded: Encoded) -> int:
    """All that autograd keeps for the backward pass, each storage once, weights left out."""
    weights = {one.untyped_storage().data_ptr() for one in classifier.network.model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            kept[place] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        one_pass(classifier, encoded)
    return sum(one.untyped_storage().nbytes() for one in kept.values())


@pytest.fixture
def memory_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """memory_of(n): from now on the device has n bytes free."""
    return lambda n: monkeypatch.setattr(size, "available_bytes", lambda device: n)


@pytest.fixture
def in_full(bert: Checkpoint, in_float32: Callable[..., Backbone]) -> FineTuned:
    return FineTuned(backbone=in_float32(bert), recipe=Full(**ONE_UPDATE))


@pytest.mark.parametrize("recipe", [Full(), Lora(rank=3)], ids=lambda one: one.name)
def test_trained_parameters_are_those_of_the_classifier(
    checkpoint: Checkpoint, in_float32: Callable[..., Backbone], recipe: Full
) -> None:
    found = sum(one.numel() for one in loaded(in_float32(checkpoint), recipe).trained().values())
    assert estimated(in_float32(checkpoint), recipe).trained_parameters == found


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_trained_parameters_at_a_depth_are_those_of_the_classifier_and_at_most_an_unread_norm(
    gpt2: Checkpoint, in_float32: Callable[..., Backbone], depth: int
) -> None:
    """GPT-2 has a norm of 32 weights and 32 biases behind its last block."""
    backbone = in_float32(gpt2, depth=depth)
    found = sum(one.numel() for one in loaded(backbone, Full()).trained().values())
    assert 0 <= estimated(backbone, Full()).trained_parameters - found <= 64


def test_trained_parameters_bound_those_of_a_narrowed_vocabulary(
    gpt2: Checkpoint, in_float32: Callable[..., Backbone]
) -> None:
    classifier = loaded(in_float32(gpt2), Full())
    before = estimated(in_float32(gpt2), Full()).trained_parameters
    assert classifier.narrow(np.arange(5))
    unseen = len(classifier.vocabulary.whole) - 5 if classifier.vocabulary else 0
    assert before - sum(one.numel() for one in classifier.trained().values()) == unseen * 32


def test_adapters_beside_named_layers_only_are_counted(
    families: Mapping[str, Path], in_float32: Callable[..., Backbone]
) -> None:
    """Llama, 3 blocks: queries 32 -> 32, values 32 -> 16; rank 2 gives 2 * (64 + 48) each, and a head of 32 * 2 + 2."""
    backbone = in_float32(from_directory(families["llama"], name="llama"))
    found = estimated(backbone, Lora(rank=2, targets=("q_proj", "v_proj")))
    assert found.trained_parameters == 3 * 2 * (64 + 48) + 66


def test_a_target_that_matches_nothing_is_refused(bert: Checkpoint, in_float32: Callable[..., Backbone]) -> None:
    with pytest.raises(InputError, match="'nothing', which matches no linear layer"):
        estimated(in_float32(bert), Lora(targets=("nothing",)))


def test_adapters_without_a_block_are_refused(bert: Checkpoint, in_float32: Callable[..., Backbone]) -> None:
    with pytest.raises(InputError, match="found no block"):
        estimated(in_float32(bert, depth=0), Lora())


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_parameters_are_those_of_the_loaded_network(
    checkpoint: Checkpoint, in_float32: Callable[..., Backbone], depth: int
) -> None:
    network = Network(in_float32(checkpoint), depth=depth)
    assert n_parameters(checkpoint, depth=depth) == sum(one.numel() for one in network.model.parameters())


def test_a_network_that_was_replaced_in_place_is_counted_anew(
    tmp_path: Path, make_network: Callable[..., Path]
) -> None:
    checkpoint = from_directory(make_network(tmp_path, "bert"), name="bert")
    before = n_parameters(checkpoint, depth=3)
    make_network(tmp_path, "bert", intermediate_size=96)
    assert n_parameters(checkpoint, depth=3) - before == 3 * (2 * 32 * 48 + 48)


def test_operations_of_full_training_are_those_that_torch_counts(
    checkpoint: Checkpoint, in_float32: Callable[..., Backbone]
) -> None:
    backbone = in_float32(checkpoint)
    found = counted_flops(loaded(backbone, Full()), texts_of(N_ROWS))
    assert estimated(backbone, Full(**ONE_UPDATE)).training_flops == pytest.approx(found, rel=0.02)


@pytest.mark.parametrize("family_name", ["bert", "llama"])
@pytest.mark.parametrize(
    "recipe", [Lora(**ONE_UPDATE), Full(**ONE_UPDATE, machine=Machine(checkpointing=True))], ids=["lora", "recomputed"]
)
def test_operations_of_other_recipes_are_within_a_tenth_of_those_that_torch_counts(
    families: Mapping[str, Path], in_float32: Callable[..., Backbone], family_name: str, recipe: Full
) -> None:
    """Layers that read the first block's input need no gradient for it under adapters; the last product of a block
    is not computed again: both are left out of the estimate."""
    backbone = in_float32(from_directory(families[family_name], name=family_name))
    found = counted_flops(loaded(backbone, recipe), texts_of(N_ROWS))
    assert estimated(backbone, recipe).training_flops == pytest.approx(found, rel=0.1)


def test_operations_of_preference_pairs_are_those_that_torch_counts(
    bert: Checkpoint, in_float32: Callable[..., Backbone]
) -> None:
    found = counted_flops(loaded(in_float32(bert), Full(), paired=True), texts_of(N_ROWS, paired=True))
    size_of_pairs = estimated(in_float32(bert), Full(**ONE_UPDATE), paired=True)
    assert size_of_pairs.training_flops == pytest.approx(found, rel=0.02)


@pytest.mark.parametrize("depth", [1, 3])
def test_operations_of_a_prediction_are_those_that_torch_counts(
    gpt2: Checkpoint, in_float32: Callable[..., Backbone], depth: int
) -> None:
    backbone = in_float32(gpt2, depth=depth)
    classifier = loaded(backbone, Full())
    with FlopCounterMode(display=False) as counter:
        classifier.probs(texts_of(N_ROWS))
    found = counter.get_total_flops() / N_ROWS
    assert estimated(backbone, Full()).prediction_flops == pytest.approx(found, rel=0.02)


def test_a_token_goes_through_the_chosen_experts_only(tmp_path: Path, in_float32: Callable[..., Backbone]) -> None:
    """Per block: attention 4 * 16 * 16, a router of 16 * 8, and 2 of 8 experts of three matrices of 16 * 24."""
    from transformers import MixtralConfig

    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = MixtralConfig(**sizes, num_key_value_heads=2, num_local_experts=8, num_experts_per_tok=2, vocab_size=30)
    config.save_pretrained(tmp_path)
    backbone = in_float32(Checkpoint(name="mixtral", path=tmp_path))
    per_token = 2 * (4 * 16 * 16 + 16 * 8 + 2 * 3 * 16 * 24)
    attention = 2 * 2 * 16 * (10 + 10)
    found = size.forward_flops(backbone, n_tokens=10, longest=10)
    assert found == pytest.approx(10 * (2 * per_token + attention))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("recipe", [Full(), Lora()], ids=lambda one: one.name)
@pytest.mark.parametrize("family_name", ["bert", "gpt2", "llama", "qwen3"])
def test_activations_are_within_a_factor_of_two_of_what_autograd_keeps(
    families: Mapping[str, Path], family_name: str, recipe: Full, precision: Any
) -> None:
    checkpoint = from_directory(families[family_name], name=family_name)
    backbone = Backbone(checkpoint=checkpoint, precision=precision, device="cpu")
    found = saved_bytes(loaded(backbone, recipe), texts_of(N_ROWS))
    assert found / 2 < estimated(backbone, recipe).bytes_activations < found * 2


def test_activations_of_a_real_encoder_are_within_a_factor_of_two_of_what_autograd_keeps(
    minilm: Checkpoint, in_float32: Callable[..., Backbone]
) -> None:
    found = saved_bytes(loaded(in_float32(minilm), Full()), texts_of(N_ROWS, n_tokens=60))
    assert found / 2 < estimated(in_float32(minilm), Full(), n_tokens=60).bytes_activations < found * 2


def test_checkpointing_keeps_less_than_all_and_more_than_the_inputs_of_blocks(
    bert: Checkpoint, in_float32: Callable[..., Backbone]
) -> None:
    recipe = Full(machine=Machine(checkpointing=True))
    least = saved_bytes(loaded(in_float32(bert), recipe), texts_of(N_ROWS))
    most = estimated(in_float32(bert), Full()).bytes_activations
    assert least < estimated(in_float32(bert), recipe).bytes_activations < most


def test_activations_hold_at_most_the_budget_of_one_pass(bert: Checkpoint, in_float32: Callable[..., Backbone]) -> None:
    """A budget of one text of 24 tokens: an eighth of a batch of 8."""
    whole = estimated(in_float32(bert), Full(**ONE_UPDATE)).bytes_activations
    cut = estimated(in_float32(bert), Full(**ONE_UPDATE, machine=Machine(tokens_at_once=N_TOKENS)))
    assert cut.bytes_activations == pytest.approx(whole / N_ROWS, rel=1e-3)


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
@pytest.mark.parametrize("recipe", [Full(), Lora()], ids=lambda one: one.name)
def test_optimiser_state_is_that_of_torch(
    bert: Checkpoint, in_float32: Callable[..., Backbone], recipe: Full, optimizer: Any
) -> None:
    recipe = replace(recipe, optimizer=optimizer)
    classifier = loaded(in_float32(bert), recipe)
    steps = make_optimizer(classifier, recipe, 1e-3)
    for parameter in classifier.trained().values():
        parameter.grad = torch.ones_like(parameter)
    steps.step()
    moments = [one for entry in steps.state.values() for name, one in entry.items() if name != "step"]
    assert estimated(in_float32(bert), recipe).bytes_optimizer == sum(one.nbytes for one in moments)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_weights_under_adapters_are_those_of_the_classifier(bert: Checkpoint, precision: Any) -> None:
    backbone = Backbone(checkpoint=bert, precision=precision, device="cpu")
    classifier = loaded(backbone, Lora())
    held = [*classifier.network.model.parameters(), *classifier.head.parameters()]
    pooler = 8 * (32 + 32) * 4  # adapters of a layer that is not read, which the estimate leaves out
    assert estimated(backbone, Lora()).bytes_weights == sum(one.nbytes for one in held) - pooler


def test_weights_in_bfloat16_training_are_held_twice(bert: Checkpoint, in_float32: Callable[..., Backbone]) -> None:
    """In float32, and the matrices of three blocks, 4 * 32 * 32 + 2 * 32 * 48 numbers each, in bfloat16 too."""
    exact = estimated(in_float32(bert), Full()).bytes_weights
    rounded = estimated(in_float32(bert, precision="bfloat16"), Full()).bytes_weights
    assert rounded - exact == 2 * 3 * (4 * 32 * 32 + 2 * 32 * 48)


@pytest.mark.parametrize(("kind", "each"), [("8bit", 1.0), ("4bit", FOUR_BITS)])
def test_quantised_weights_take_their_bits(bert: Checkpoint, kind: Any, each: float) -> None:
    backbone = Backbone(checkpoint=bert, device="cuda")
    n = 3 * (4 * 32 * 32 + 2 * 32 * 48)
    saved = estimated(backbone, Lora()).bytes_weights - estimated(backbone, Lora(quantize=kind)).bytes_weights
    assert saved == pytest.approx(n * (2 - each), abs=1)


def test_gradients_and_best_weights_take_four_bytes_per_trained_parameter(in_full: FineTuned) -> None:
    found = estimated(in_full.backbone, in_full.recipe)
    assert (found.bytes_gradients, found.bytes_snapshot) == (4 * found.trained_parameters,) * 2


def test_without_early_stopping_there_are_no_best_weights(in_full: FineTuned) -> None:
    assert estimated(in_full.backbone, replace(in_full.recipe, early_stopping=False)).bytes_snapshot == 0


def test_the_best_weights_take_memory_of_the_device_only_where_it_is_the_processor(bert: Checkpoint) -> None:
    on_gpu = estimated(Backbone(checkpoint=bert, device="cuda"), Full())
    parts = on_gpu.bytes_weights + on_gpu.bytes_gradients + on_gpu.bytes_optimizer + on_gpu.bytes_activations
    assert on_gpu.bytes_total == parts


def test_every_learning_rate_takes_the_operations_of_one(in_full: FineTuned) -> None:
    one = estimated(in_full.backbone, in_full.recipe).training_flops
    three = estimated(in_full.backbone, replace(in_full.recipe, lr=(1e-3, 1e-4, 1e-5)))
    assert three.training_flops == pytest.approx(3 * one)


def test_sharding_divides_what_every_process_holds(in_full: FineTuned) -> None:
    alone = estimated(in_full.backbone, in_full.recipe)
    shared = estimated(in_full.backbone, replace(in_full.recipe, machine=Machine(processes=4, sharding="full")))
    assert shared.bytes_optimizer == math.ceil(alone.bytes_optimizer / 4)


@given(n_tokens=st.floats(1, 60), longest=st.integers(60, 64), n_rows=st.integers(1, 5000))
@settings(max_examples=25, deadline=None)
def test_longer_texts_take_more_of_everything(
    bert: Checkpoint, in_float32: Callable[..., Backbone], n_tokens: float, longest: int, n_rows: int
) -> None:
    student = FineTuned(backbone=in_float32(bert))
    short, long = (
        estimate(student, n_rows=n_rows, n_tokens=n * n_tokens, longest=n * longest, paired=False) for n in (1, 2)
    )
    assert long.bytes_total > short.bytes_total and long.training_flops > 2 * short.training_flops


def test_a_size_is_json(in_full: FineTuned) -> None:
    found = estimated(in_full.backbone, in_full.recipe)
    assert json.loads(json.dumps(found.__dict__)) == found.__dict__


@pytest.mark.parametrize("max_tokens", [12, 256])
def test_lengths_are_those_that_the_network_reads(
    checkpoint: Checkpoint,
    in_float32: Callable[..., Backbone],
    rows_of: Callable[..., Rows],
    sentences: Callable[..., list[str]],
    max_tokens: int,
) -> None:
    texts = [*sentences(20), " ".join(["film"] * 90)]
    backbone = in_float32(checkpoint, max_tokens=max_tokens)
    lengths = [len(ids) for ids in Network(backbone, depth=1).tokenize(texts).ids]
    assert token_lengths(backbone, rows_of(texts)) == (pytest.approx(np.mean(lengths)), max(lengths))


def test_memory_that_just_suffices_is_accepted(in_full: FineTuned, memory_of: Callable[[int], None]) -> None:
    found = estimated(in_full.backbone, in_full.recipe)
    memory_of(found.bytes_total)
    check_memory(in_full, found)


def test_too_little_memory_is_refused_in_one_line_with_what_is_needed_and_found(
    in_full: FineTuned, memory_of: Callable[[int], None]
) -> None:
    found = estimated(in_full.backbone, in_full.recipe)
    memory_of(found.bytes_total - 1)
    with pytest.raises(InputError) as refusal:
        check_memory(in_full, found)
    line = str(refusal.value)
    assert "\n" not in line and line.startswith("bert: training (full) needs about ") and " found 2 MB free" in line


def test_a_refusal_names_what_would_help(in_full: FineTuned, memory_of: Callable[[int], None]) -> None:
    memory_of(1000)
    with pytest.raises(InputError, match=r"LoRA \(\d MB\), .*gradient checkpointing \(\d MB\), 12 max_tokens"):
        check_memory(in_full, estimated(in_full.backbone, in_full.recipe))


def test_adapters_on_a_gpu_are_offered_fewer_bits_and_not_adapters(
    bert: Checkpoint, memory_of: Callable[[int], None]
) -> None:
    student = FineTuned(backbone=Backbone(checkpoint=bert, device="cuda"), recipe=Lora(**ONE_UPDATE))
    memory_of(1000)
    with pytest.raises(InputError) as refusal:
        check_memory(student, estimated(student.backbone, student.recipe))
    assert "8bit" in str(refusal.value) and "4bit" in str(refusal.value) and "LoRA" not in str(refusal.value)


def test_a_gpu_need_only_hold_a_single_row_as_updates_are_cut_down_to_it(
    bert: Checkpoint, memory_of: Callable[[int], None]
) -> None:
    student = FineTuned(backbone=Backbone(checkpoint=bert, device="cuda"), recipe=Full(**ONE_UPDATE))
    found = estimated(student.backbone, student.recipe)
    memory_of(found.bytes_least)
    check_memory(student, found)
    assert found.bytes_least < found.bytes_total


def test_processes_on_one_processor_need_their_memory_together(
    in_full: FineTuned, memory_of: Callable[[int], None]
) -> None:
    student = replace(in_full, recipe=replace(in_full.recipe, machine=Machine(processes=2)))
    found = estimated(student.backbone, student.recipe)
    memory_of(2 * found.bytes_total - 1)
    with pytest.raises(InputError, match="needs about"):
        check_memory(student, found)


def test_a_fit_is_refused_before_anything_is_loaded(
    tmp_path: Path,
    make_network: Callable[..., Path],
    in_float32: Callable[..., Backbone],
    rows_of: Callable[..., Rows],
    sentences: Callable[..., list[str]],
    memory_of: Callable[[int], None],
) -> None:
    """The weights are gone, which would be the complaint if they were asked for."""
    checkpoint = from_directory(make_network(tmp_path, "bert"), name="bert")
    (tmp_path / "model.safetensors").unlink()
    rows = rows_of(sentences(40))
    labels = Labels.of(rows, np.eye(2)[np.arange(40) % 2], source="test")
    memory_of(1000)
    with pytest.raises(InputError, match="needs about"):
        FineTuned(backbone=in_float32(checkpoint), recipe=Full(**ONE_UPDATE)).fit(rows, labels, seed=Seed.of(0))


def test_free_memory_is_what_the_kernel_calls_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemFree: 100 kB\nMemAvailable:     300 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    assert memory.available_bytes("cpu") == 300 * 1024


def test_free_memory_is_bounded_by_the_limit_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """50,000 may be used and 30,000 are, of which 10,000 hold files that can be dropped."""
    for name, text in (("max", "50000\n"), ("current", "30000\n"), ("stat", "anon 20000\ninactive_file 10000\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    assert memory.available_bytes("cpu") == 30000


def test_where_the_kernel_says_nothing_all_memory_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "none")
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    pages = os.sysconf("SC_PHYS_PAGES")
    assert memory.available_bytes("cpu") == pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("n", "shown"), [(1.5e6, "2 MB"), (9.94e8, "994 MB"), (9.96e8, "1.0 GB"), (99.4e9, "99.4 GB"), (131e9, "131 GB")]
)
def test_bytes_are_shown_with_few_digits(n: float, shown: str) -> None:
    assert memory.readable(n) == shown
