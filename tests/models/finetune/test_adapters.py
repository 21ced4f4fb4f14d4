"""LoRA: which layers get adapters, what is trained, what stays, and what is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oversight.errors import InputError
from oversight.models.checkpoint import Checkpoint, from_directory
from oversight.models.finetune import adapters
from oversight.models.finetune.adapters import quantization
from oversight.models.finetune.classifier import Classifier
from oversight.models.finetune.encoded import Encoded
from oversight.models.finetune.gradient import gradient
from oversight.models.finetune.optim import make_optimizer
from oversight.models.finetune.recipe import Full, Lora, Machine
from oversight.models.network import load_model
from oversight.models.student import cross_entropy

pytest.importorskip("peft", reason="peft is not installed (extra lora)")

LENGTHS = (1, 30, 2, 9, 17)
Make = Callable[..., Classifier]
Padding = Callable[[Classifier], contextlib.AbstractContextManager[Classifier]]
TokenTexts = Callable[..., list[np.ndarray]]
EncodedOf = Callable[..., Encoded]
Gradients = Callable[..., dict[str, torch.Tensor]]
Furthest = Callable[[dict[str, torch.Tensor], dict[str, torch.Tensor]], float]


def logits_of(classifier: Classifier, rows: Encoded) -> torch.Tensor:
    with torch.no_grad():
        return classifier.logits(rows, range(len(rows)))


def targets_of(n: int, k: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(k), n)).float()


def is_linear(module: Any) -> bool:
    return type(module).__name__ in {"Linear", "Conv1D"}


def fill_adapters(classifier: Classifier, *, seed: int = 0) -> None:
    """Random numbers where adapters start with zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, one in classifier.trained().items():
            if "lora_B" in name:
                one.copy_(0.1 * torch.randn(one.shape, generator=generator))


def take_steps(classifier: Classifier, rows: Encoded, recipe: Full, *, n: int = 3) -> None:
    optimizer = make_optimizer(classifier, recipe, 1e-2)
    for _ in range(n):
        classifier.training(True)
        targets = targets_of(len(rows))
        gradient(classifier, rows, list(range(len(rows))), targets, cross_entropy, progress=0.0, budget=10_000)
        optimizer.step()
        optimizer.zero_grad()
    classifier.training(False)


# What is trained


def test_all_linear_layers_get_an_adapter(checkpoint: Checkpoint, make_classifier: Make) -> None:
    """All but the pooler's, on which no logit depends."""
    plain = load_model(checkpoint, depth=checkpoint.n_blocks)
    expected = {name for name, one in plain.named_modules() if is_linear(one) and "pooler" not in name}
    trained = [name.removeprefix("body.") for name in make_classifier(checkpoint, Lora()).trained()]
    for part in (".lora_A.default.weight", ".lora_B.default.weight"):
        assert {name.removesuffix(part) for name in trained if name.endswith(part)} == expected


def test_only_adapters_and_the_head_are_trained(
    checkpoint: Checkpoint, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf, gradients: Gradients
) -> None:
    classifier = make_classifier(checkpoint, Lora())
    names = classifier.trained().keys()
    assert all("lora_" in name or name in {"head.weight", "head.bias"} for name in names)
    rows = encoded_of(token_texts(LENGTHS))
    found = gradients(classifier, cross_entropy(classifier.logits(rows, range(len(rows))), targets_of(len(rows))))
    assert found.keys() == names


def test_adapters_have_the_rank_asked_for(gpt2: Checkpoint, make_classifier: Make) -> None:
    trained = make_classifier(gpt2, Lora(rank=3)).trained()
    assert {min(one.shape) for name, one in trained.items() if "lora_" in name} == {3}


def test_adapters_stop_at_the_depth(gpt2: Checkpoint, make_classifier: Make) -> None:
    """Four linear layers a block in GPT-2, two matrices each, and the head's two."""
    assert len(make_classifier(gpt2, Lora(), depth=2).trained()) == 2 * 4 * 2 + 2


def test_weights_of_the_network_stay_as_they_were(
    checkpoint: Checkpoint, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    """To the last bit, weight decay or not; all that is trained moves."""
    recipe = Lora(weight_decay=0.1)
    classifier = make_classifier(checkpoint, recipe)
    own = classifier.trained()
    frozen = {name: one.clone() for name, one in classifier.network.model.state_dict().items() if "lora_" not in name}
    before = {name: one.detach().clone() for name, one in own.items()}
    take_steps(classifier, encoded_of(token_texts(LENGTHS)), recipe)
    after = classifier.network.model.state_dict()
    assert all(torch.equal(after[name], one) for name, one in frozen.items())
    assert all(not torch.equal(own[name], one) for name, one in before.items())


# The start


def test_new_adapters_change_no_prediction(
    checkpoint: Checkpoint, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    rows = encoded_of(token_texts(LENGTHS))
    with_them, without = (make_classifier(checkpoint, recipe).probs(rows) for recipe in (Lora(), Full()))
    np.testing.assert_array_equal(with_them, without)


def test_a_seed_decides_the_adapters(gpt2: Checkpoint, make_classifier: Make) -> None:
    one, same, other = (make_classifier(gpt2, Lora(), seed=seed, head=False).trained() for seed in (4, 4, 5))
    drawn = [name for name in one if "lora_A" in name]
    assert drawn and all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in drawn)


def test_drawing_adapters_leaves_the_global_generator(gpt2: Checkpoint, make_classifier: Make) -> None:
    before = torch.get_rng_state()
    make_classifier(gpt2, Lora(), seed=7, head=False)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
@pytest.mark.parametrize("alpha", [None, 5.0])
def test_an_adapter_adds_the_product_of_its_matrices(
    families: dict[str, Path],
    family: str,
    alpha: float | None,
    make_classifier: Make,
    token_texts: TokenTexts,
    encoded_of: EncodedOf,
) -> None:
    """W + alpha / rank * B A, alpha = 2 * rank unless asked otherwise; GPT-2 keeps W transposed."""
    checkpoint = from_directory(families[family])
    rows = encoded_of(token_texts(LENGTHS))
    adapted = make_classifier(checkpoint, Lora(rank=4, alpha=alpha))
    fill_adapters(adapted)
    trained = adapted.trained()
    whole = make_classifier(checkpoint)
    before = logits_of(whole, rows)
    with torch.no_grad():
        for name, module in whole.network.model.named_modules():
            if f"body.{name}.lora_A.default.weight" in trained:
                a, b = (trained[f"body.{name}.lora_{part}.default.weight"] for part in "AB")
                change = (2.0 if alpha is None else alpha / 4) * b @ a
                module.weight += change.T if type(module).__name__ == "Conv1D" else change
    found, expected = logits_of(adapted, rows), logits_of(whole, rows)
    assert float((expected - before).abs().max()) > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


# Packing, precision, memory


def test_adapted_families_are_packed_as_without(
    checkpoint: Checkpoint, make_classifier: Make, padding: Padding, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    classifier = make_classifier(checkpoint, Lora())
    fill_adapters(classifier)
    rows = encoded_of(token_texts(LENGTHS))
    packed = logits_of(classifier, rows)
    with padding(classifier):
        padded = logits_of(classifier, rows)
    assert classifier.packed == make_classifier(checkpoint).packed
    np.testing.assert_allclose(packed, padded, rtol=0, atol=1e-5)


def test_frozen_weights_in_bfloat16_agree_with_float32(
    checkpoint: Checkpoint, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    """Eight bits of precision in weights and products, 2^-8 = 0.004 each, over three blocks."""
    rows = encoded_of(token_texts(LENGTHS))
    exact, rough = (make_classifier(checkpoint, Lora(), precision=p) for p in ("float32", "bfloat16"))
    expected, found = logits_of(exact, rows), logits_of(rough, rows)
    error = float((expected - found).abs().max() / expected.abs().max())
    assert rough.packed == exact.packed
    assert 0 < error < 0.05


def test_in_bfloat16_matrices_are_frozen_in_it_and_the_rest_is_in_float32(
    checkpoint: Checkpoint, make_classifier: Make
) -> None:
    classifier = make_classifier(checkpoint, Lora(), precision="bfloat16")
    assert {one.dtype for one in classifier.trained().values()} == {torch.float32}
    for name, one in classifier.network.model.named_parameters():
        if not one.requires_grad and "lora_" not in name:
            assert one.dtype == (torch.bfloat16 if one.ndim > 1 else torch.float32), name


def test_training_beside_weights_in_bfloat16_lowers_the_loss(
    checkpoint: Checkpoint, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    recipe = Lora()
    classifier = make_classifier(checkpoint, recipe, precision="bfloat16")
    rows, targets = encoded_of(token_texts(LENGTHS)), targets_of(len(LENGTHS))
    before = float(cross_entropy(logits_of(classifier, rows), targets))
    take_steps(classifier, rows, recipe, n=5)
    assert float(cross_entropy(logits_of(classifier, rows), targets)) < before


@pytest.mark.parametrize("family", ["bert", "gpt2", "mistral"])
def test_checkpointed_gradients_of_adapters_are_the_same(
    families: dict[str, Path],
    family: str,
    make_classifier: Make,
    token_texts: TokenTexts,
    encoded_of: EncodedOf,
    gradients: Gradients,
    furthest: Furthest,
) -> None:
    """The embeddings are frozen, so the first block sees no input that asks for a gradient."""
    rows, targets = encoded_of(token_texts(LENGTHS)), targets_of(len(LENGTHS))
    found: list[dict[str, torch.Tensor]] = []
    for on in (False, True):
        classifier = make_classifier(from_directory(families[family]), Lora(machine=Machine(checkpointing=on)))
        fill_adapters(classifier)
        classifier.training(True)
        found.append(gradients(classifier, cross_entropy(classifier.logits(rows, range(len(rows))), targets)))
    assert furthest(found[1], found[0]) < 1e-6


def test_a_frozen_vocabulary_is_not_narrowed(gpt2: Checkpoint, make_classifier: Make) -> None:
    assert not make_classifier(gpt2, Lora()).narrow(np.arange(5))


# Targets


def test_only_targets_get_an_adapter(families: dict[str, Path], make_classifier: Make) -> None:
    checkpoint = from_directory(families["llama"])
    names = [
        name
        for name in make_classifier(checkpoint, Lora(targets=("q_proj", "layers.1.mlp.up_proj"))).trained()
        if "lora_A" in name
    ]
    expected = {f"body.layers.{i}.self_attn.q_proj" for i in range(3)} | {"body.layers.1.mlp.up_proj"}
    assert {name.removesuffix(".lora_A.default.weight") for name in names} == expected


def test_a_target_that_matches_nothing_names_those_there_are(families: dict[str, Path], make_classifier: Make) -> None:
    checkpoint = from_directory(families["llama"], name="mine")
    with pytest.raises(InputError) as error:
        make_classifier(checkpoint, Lora(targets=("q_proj", "query")))
    assert str(error.value) == (
        "mine: found the LoRA target 'query', which matches no linear layer; "
        "expected one of down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    )


@pytest.mark.parametrize("target", ["proj", "norm", "embed_tokens", ""])
def test_a_part_of_a_name_or_a_layer_of_another_kind_is_no_target(
    families: dict[str, Path], target: str, make_classifier: Make
) -> None:
    with pytest.raises(InputError, match="matches no linear layer"):
        make_classifier(from_directory(families["llama"]), Lora(targets=(target,)))


def test_no_targets_at_all_are_refused(families: dict[str, Path], make_classifier: Make) -> None:
    with pytest.raises(InputError, match="no LoRA target"):
        make_classifier(from_directory(families["llama"]), Lora(targets=()))


def test_a_target_that_no_logit_depends_on_is_refused(bert: Checkpoint, make_classifier: Make) -> None:
    """The pooler of BERT is a linear layer, but its output is never read: only the head would be trained."""
    with pytest.raises(InputError, match="pooler"):
        make_classifier(bert, Lora(targets=("pooler.dense",)))


def test_without_a_block_there_is_nothing_to_adapt(gpt2: Checkpoint, make_classifier: Make) -> None:
    with pytest.raises(InputError, match="gpt2@0: found no block"):
        make_classifier(gpt2, Lora(), depth=0)


# What is not installed


def test_without_peft_the_extra_is_named(
    gpt2: Checkpoint, make_classifier: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"peft is not installed; expected: pip install 'oversight\[lora\]'"):
        make_classifier(gpt2, Lora())


@pytest.fixture
def with_bitsandbytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of that name can be found."""
    (tmp_path / "bitsandbytes").mkdir()
    (tmp_path / "bitsandbytes" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)


def test_nothing_is_asked_for_without_quantization() -> None:
    assert quantization(Lora(), name="mine", device="cpu") == {}


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_without_bitsandbytes_the_extra_is_named(
    gpt2: Checkpoint, bits: Any, make_classifier: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = adapters.importlib.util.find_spec
    hide = lambda name, *more: None if name == "bitsandbytes" else real(name, *more)  # noqa: E731
    monkeypatch.setattr(adapters.importlib.util, "find_spec", hide)
    with pytest.raises(InputError, match=rf"gpt2: {bits} weights need bitsandbytes; expected: pip install"):
        make_classifier(gpt2, Lora(quantize=bits))


@pytest.mark.usefixtures("with_bitsandbytes")
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_without_a_gpu_quantized_weights_are_refused(gpt2: Checkpoint, bits: Any, make_classifier: Make) -> None:
    with pytest.raises(InputError, match=f"gpt2: {bits} weights need a GPU, found cpu"):
        make_classifier(gpt2, Lora(quantize=bits))


@pytest.mark.usefixtures("with_bitsandbytes")
def test_on_a_gpu_the_whole_network_goes_there_in_the_bits_asked_for() -> None:
    """What is handed to the library; four bits are normalised floats, quantized twice."""
    eight, four = (quantization(Lora(quantize=bits), name="mine", device="cuda:1") for bits in ("8bit", "4bit"))
    assert eight["device_map"] == four["device_map"] == {"": "cuda:1"}
    assert eight["quantization_config"].load_in_8bit and not eight["quantization_config"].load_in_4bit
    assert four["quantization_config"].load_in_4bit and four["quantization_config"].bnb_4bit_quant_type == "nf4"
