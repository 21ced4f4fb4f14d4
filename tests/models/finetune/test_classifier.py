"""Packed equals padded equals plain; a head that starts where it should; and which weights training may change."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from oversight.errors import InputError
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint, from_directory
from oversight.models.features import extract
from oversight.models.finetune import classifier as module
from oversight.models.finetune import ragged
from oversight.models.finetune.classifier import Classifier
from oversight.models.finetune.encoded import Encoded, encode
from oversight.models.finetune.gradient import gradient
from oversight.models.finetune.optim import make_optimizer
from oversight.models.finetune.recipe import Full, Machine
from oversight.models.network import load_config, load_model
from oversight.models.probe import Probe
from oversight.models.student import cross_entropy
from oversight.tasks.split import Seed
from oversight.tasks.task import Labels, Rows

N_BLOCKS = 3
PADDED = frozenset(["mpnet"])  # its attention takes a bias by relative position
WITH_DROPOUT = ("bert", "roberta", "mpnet", "distilbert", "gpt2", "opt")  # by their own defaults, 0.1
LENGTHS = (1, 30, 2, 9, 30, 17)  # windows of these tests are 6 and 9 tokens wide
Make = Callable[..., Classifier]
Padding = Callable[[Classifier], contextlib.AbstractContextManager[Classifier]]
TokenTexts = Callable[..., list[np.ndarray]]
EncodedOf = Callable[..., Encoded]
PlainStates = Callable[..., np.ndarray]
Gradients = Callable[..., dict[str, torch.Tensor]]
Furthest = Callable[[dict[str, torch.Tensor], dict[str, torch.Tensor]], float]
RowsOf = Callable[..., Rows]
Sentences = Callable[..., list[str]]
InFloat32 = Callable[..., Backbone]
MakeNetwork = Callable[..., Path]


def logits_of(classifier: Classifier, rows: Encoded) -> torch.Tensor:
    with torch.no_grad():
        return classifier.logits(rows, range(len(rows)))


def targets_of(n: int, k: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(k), n)).float()


def weights_of(classifier: Classifier) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in classifier.trained().items()}


def take_steps(classifier: Classifier, rows: Encoded, recipe: Full, *, n: int = 4) -> None:
    optimizer = make_optimizer(classifier, recipe, 1e-2)
    classifier.training(True)
    for step in range(n):
        at = [(3 * step + i) % len(rows) for i in range(3)]
        targets = targets_of(3, classifier.head.out_features, seed=step)
        gradient(classifier, rows, at, targets, cross_entropy, progress=0.0, budget=10_000)
        torch.nn.utils.clip_grad_norm_(list(classifier.trained().values()), recipe.clip)
        optimizer.step()
        optimizer.zero_grad()
    classifier.training(False)


# Packed, padded, plain


@pytest.mark.parametrize("pool", ["mean", "last", "cls"])
@pytest.mark.parametrize("depth", [0, 1, N_BLOCKS])
def test_packed_logits_equal_padded_ones(
    checkpoint: Checkpoint,
    family: str,
    depth: int,
    pool: str,
    make_classifier: Make,
    padding: Padding,
    token_texts: TokenTexts,
    encoded_of: EncodedOf,
) -> None:
    """Texts shorter and longer than the sliding windows, of tokens among which id 0 is frequent."""
    classifier = make_classifier(checkpoint, depth=depth, pool=pool)
    rows = encoded_of(token_texts(LENGTHS))
    packed = logits_of(classifier, rows)
    with padding(classifier):
        padded = logits_of(classifier, rows)
    assert classifier.packed or family in PADDED
    np.testing.assert_allclose(packed, padded, rtol=0, atol=1e-5)


@pytest.mark.parametrize("depth, pool", [(0, "mean"), (1, "last"), (N_BLOCKS, "cls")])
def test_states_are_those_of_each_text_alone_in_the_whole_network(
    checkpoint: Checkpoint,
    depth: int,
    pool: str,
    make_classifier: Make,
    plain_states: PlainStates,
    token_texts: TokenTexts,
    encoded_of: EncodedOf,
) -> None:
    """An identity as head hands out the states; the library runs each text without padding through all blocks."""
    classifier = make_classifier(checkpoint, depth=depth, pool=pool, k=32, head=False)
    classifier.start_head(np.eye(32), np.zeros(32))
    texts = token_texts(LENGTHS, seed=1)
    expected = plain_states(checkpoint, texts, depth=depth, pool=pool)
    found = logits_of(classifier, encoded_of(texts))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


def test_packed_logits_of_pairs_equal_padded_ones(
    checkpoint: Checkpoint, make_classifier: Make, padding: Padding, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    classifier = make_classifier(checkpoint, paired=True)
    rows = encoded_of(token_texts(LENGTHS), token_texts(LENGTHS[::-1], seed=1))
    packed = logits_of(classifier, rows)
    with padding(classifier):
        padded = logits_of(classifier, rows)
    np.testing.assert_allclose(packed, padded, rtol=0, atol=1e-5)


def test_packed_gradients_equal_padded_ones(
    checkpoint: Checkpoint,
    make_classifier: Make,
    padding: Padding,
    token_texts: TokenTexts,
    encoded_of: EncodedOf,
    gradients: Gradients,
    furthest: Furthest,
) -> None:
    """As a share of the largest entry; single precision adds over some hundred tokens."""
    classifier = make_classifier(checkpoint)
    rows, targets = encoded_of(token_texts(LENGTHS)), targets_of(len(LENGTHS), 3)
    packed = gradients(classifier, cross_entropy(classifier.logits(rows, range(len(rows))), targets))
    with padding(classifier):
        padded = gradients(classifier, cross_entropy(classifier.logits(rows, range(len(rows))), targets))
    assert furthest(packed, padded) < 2e-5


def test_no_gradient_is_nan_beside_much_filler(
    checkpoint: Checkpoint, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf, gradients: Gradients
) -> None:
    """A single token beside 60: its filler lies outside every window, where a mask of minus infinity gives NaN."""
    classifier = make_classifier(checkpoint)
    rows = encoded_of(token_texts([60, 1, 2]))
    found = gradients(classifier, cross_entropy(classifier.logits(rows, [0, 1, 2]), targets_of(3, 3)))
    assert all(bool(torch.isfinite(one).all()) for one in found.values())


def test_a_token_that_equals_the_filler_is_text(
    checkpoint: Checkpoint,
    make_classifier: Make,
    padding: Padding,
    plain_states: PlainStates,
    encoded_of: EncodedOf,
) -> None:
    """The predecessors read by token id 0. Here each text holds the padding token and id 0, at its end too."""
    classifier = make_classifier(checkpoint, k=32, head=False)
    classifier.start_head(np.eye(32), np.zeros(32))
    pad = classifier.embedding.padding_idx or 0
    texts = [np.array(text) for text in ([5, pad, 7, 0, 9, pad], [6, 0, 0], [pad], [8, 9, 10, 11, 12, 13, 14, pad, 0])]
    rows = encoded_of(texts, pad=pad)
    packed = logits_of(classifier, rows)
    with padding(classifier):
        padded = logits_of(classifier, rows)
    expected = plain_states(checkpoint, texts, depth=N_BLOCKS, pool="last" if checkpoint.is_decoder else "mean")
    np.testing.assert_allclose(padded, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))
    np.testing.assert_allclose(packed, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


def test_logits_do_not_depend_on_companions(
    checkpoint: Checkpoint, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    classifier = make_classifier(checkpoint)
    rows = encoded_of(token_texts(LENGTHS))
    together = logits_of(classifier, rows)
    with torch.no_grad():
        alone = torch.cat([classifier.logits(rows, [i]) for i in range(len(rows))])
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-5)


def test_logits_do_not_depend_on_the_order(
    checkpoint: Checkpoint, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    classifier = make_classifier(checkpoint)
    rows, order = encoded_of(token_texts(LENGTHS)), [4, 0, 5, 2, 1, 3]
    with torch.no_grad():
        shuffled = classifier.logits(rows, order)
    np.testing.assert_allclose(shuffled, logits_of(classifier, rows)[order], rtol=0, atol=1e-5)


def test_swapping_pairs_changes_the_sign_of_their_logits(
    bert: Checkpoint, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    classifier = make_classifier(bert, paired=True)
    one, other = token_texts(LENGTHS), token_texts(LENGTHS[::-1], seed=1)
    found, swapped = (logits_of(classifier, encoded_of(*both)) for both in ((one, other), (other, one)))
    np.testing.assert_allclose(swapped, -found, rtol=0, atol=1e-5)


def test_the_real_decoder_is_packed_and_right(
    stories: Checkpoint, make_classifier: Make, padding: Padding, rows_of: RowsOf, sentences: Sentences
) -> None:
    classifier = make_classifier(stories)
    rows = encode(classifier.network, rows_of(sentences(20, seed=2, longest=60)))
    packed = logits_of(classifier, rows)
    with padding(classifier):
        padded = logits_of(classifier, rows)
    assert classifier.packed
    np.testing.assert_allclose(packed, padded, rtol=0, atol=1e-5 * max(1, float(padded.abs().max())))


def test_the_embedded_encoder_is_packed_and_right(
    minilm: Checkpoint, make_classifier: Make, padding: Padding, rows_of: RowsOf, sentences: Sentences
) -> None:
    classifier = make_classifier(minilm, depth=2)
    rows = encode(classifier.network, rows_of(sentences(20, seed=3, longest=60)))
    packed = logits_of(classifier, rows)
    with padding(classifier):
        padded = logits_of(classifier, rows)
    assert classifier.packed
    np.testing.assert_allclose(packed, padded, rtol=0, atol=1e-5)


# The choice between packing and padding


def test_a_family_with_a_position_bias_is_padded_and_says_so(families: dict[str, Path], make_classifier: Make) -> None:
    found = make_classifier(from_directory(families["mpnet"]))
    assert not found.packed
    assert found.why_padded.startswith("packed states differ by ")


def test_a_packed_family_gives_no_reason(gpt2: Checkpoint, make_classifier: Make) -> None:
    found = make_classifier(gpt2)
    assert (found.packed, found.why_padded) == (True, "")


@pytest.mark.parametrize("family", ["bert", "gpt2", "opt", "llama", "modernbert"])
def test_wrong_positions_are_found_at_construction(
    families: dict[str, Path],
    family: str,
    make_classifier: Make,
    padding: Padding,
    token_texts: TokenTexts,
    encoded_of: EncodedOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Texts laid side by side without new positions for each: it must be padded, with the right logits."""
    right = make_classifier(from_directory(families[family]))
    honest = module.Pack.of

    def running_on(texts: list[np.ndarray], **options: Any) -> Any:
        pack = honest(texts, **options)
        pack.positions.copy_(torch.arange(pack.ids.shape[1])[None] % 60)
        return pack

    monkeypatch.setattr(module.Pack, "of", running_on)
    wrong = make_classifier(from_directory(families[family]))
    assert not wrong.packed and wrong.why_padded
    monkeypatch.undo()
    rows = encoded_of(token_texts(LENGTHS))
    np.testing.assert_allclose(logits_of(wrong, rows), logits_of(right, rows), rtol=0, atol=1e-5)


def save_other(path: Path, name: str, **sizes: Any) -> Checkpoint:
    """A tiny network of a family beyond the fifteen, with the tokenizer that lies in `path` already."""
    import transformers
    from transformers import AutoModel

    common = {"vocab_size": 44, "hidden_size": 32, "num_hidden_layers": N_BLOCKS, "num_attention_heads": 4}
    sizes = {**common, "num_key_value_heads": 2, "initializer_range": 0.15, "max_position_embeddings": 64, **sizes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModel.from_config(getattr(transformers, name)(**sizes)).eval().save_pretrained(path)
    return from_directory(path)


def test_attention_with_sinks_is_padded_and_right(
    tmp_path: Path,
    make_network: MakeNetwork,
    make_classifier: Make,
    plain_states: PlainStates,
    token_texts: TokenTexts,
    encoded_of: EncodedOf,
) -> None:
    """gpt-oss hands over a learned sink, which an attention that ignores it would get wrong."""
    make_network(tmp_path, "llama")
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 16}
    checkpoint = save_other(tmp_path, "GptOssConfig", head_dim=8, sliding_window=6, **experts)
    found = make_classifier(checkpoint, k=32, head=False)
    found.start_head(np.eye(32), np.zeros(32))
    texts = token_texts(LENGTHS)
    expected = plain_states(checkpoint, texts, depth=N_BLOCKS, pool="last")
    assert (found.packed, found.why_padded) == (False, "packed attention with s_aux")
    np.testing.assert_allclose(
        logits_of(found, encoded_of(texts)), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


def test_a_window_that_only_the_mask_knows_is_found(
    tmp_path: Path,
    make_network: MakeNetwork,
    make_classifier: Make,
    plain_states: PlainStates,
    token_texts: TokenTexts,
    encoded_of: EncodedOf,
) -> None:
    """Qwen2-MoE tells its attention of no window in some releases of transformers: packed tokens would see too far."""
    make_network(tmp_path, "llama")
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    windows = {"use_sliding_window": True, "sliding_window": 6, "layer_types": ["sliding_attention"] * N_BLOCKS}
    checkpoint = save_other(tmp_path, "Qwen2MoeConfig", shared_expert_intermediate_size=16, **experts, **windows)
    found = make_classifier(checkpoint, k=32, head=False)
    found.start_head(np.eye(32), np.zeros(32))
    texts = token_texts(LENGTHS)
    expected = plain_states(checkpoint, texts, depth=N_BLOCKS, pool="last")
    assert found.packed or "differ by" in found.why_padded
    np.testing.assert_allclose(
        logits_of(found, encoded_of(texts)), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize(
    "name, sizes",
    [
        ("Gemma2Config", {"sliding_window": 6, "attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 8}),
        ("Gemma3TextConfig", {"sliding_window": 6, "use_bidirectional_attention": True}),
        ("Qwen2Config", {"sliding_window": 6, "use_sliding_window": True, "max_window_layers": 1}),
    ],
)
def test_soft_caps_and_windows_both_ways_are_packed_and_right(
    tmp_path: Path,
    name: str,
    sizes: dict[str, Any],
    make_network: MakeNetwork,
    make_classifier: Make,
    padding: Padding,
    token_texts: TokenTexts,
    encoded_of: EncodedOf,
) -> None:
    make_network(tmp_path, "llama")
    more = {} if name == "Qwen2Config" else {"head_dim": 8}
    classifier = make_classifier(save_other(tmp_path, name, intermediate_size=48, **more, **sizes))
    rows = encoded_of(token_texts(LENGTHS))
    packed = logits_of(classifier, rows)
    with padding(classifier):
        padded = logits_of(classifier, rows)
    assert classifier.packed
    np.testing.assert_allclose(packed, padded, rtol=0, atol=1e-5)


# The start


@pytest.mark.parametrize("paired", [False, True])
def test_a_new_classifier_finds_every_class_as_likely(
    bert: Checkpoint, paired: bool, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    classifier = make_classifier(bert, paired=paired, k=5, head=False)
    texts = token_texts(LENGTHS)
    rows = encoded_of(texts, texts[::-1] if paired else None)
    assert (classifier.probs(rows) == 1 / 5).all()


def test_pairs_have_no_intercept(bert: Checkpoint, make_classifier: Make) -> None:
    """So that a pair and its mirror image have opposite logits."""
    single, paired = (make_classifier(bert, paired=paired).trained() for paired in (False, True))
    assert "head.bias" in single and "head.bias" not in paired


def test_probabilities_of_no_rows_are_none(bert: Checkpoint, make_classifier: Make, encoded_of: EncodedOf) -> None:
    assert make_classifier(bert, k=4).probs(encoded_of([])).shape == (0, 4)


def test_probabilities_do_not_depend_on_the_budget(
    gpt2: Checkpoint, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    rows = encoded_of(token_texts(LENGTHS))
    large, small = (make_classifier(gpt2, Full(machine=Machine(tokens_at_once=n))).probs(rows) for n in (None, 1))
    np.testing.assert_allclose(small, large, rtol=0, atol=1e-6)


@pytest.mark.parametrize("depth, pool", [(0, "last"), (2, "cls"), (N_BLOCKS, None)])
def test_states_are_the_features_of_the_probe(
    checkpoint: Checkpoint,
    depth: int,
    pool: str | None,
    make_classifier: Make,
    in_float32: InFloat32,
    rows_of: RowsOf,
    sentences: Sentences,
) -> None:
    rows = rows_of(["", *sentences(8, seed=4)])
    classifier = make_classifier(checkpoint, depth=depth, pool=pool, k=32, head=False)
    classifier.start_head(np.eye(32), np.zeros(32))
    found = logits_of(classifier, encode(classifier.network, rows))
    backbone = in_float32(checkpoint, depth=depth, pool=pool)
    expected = extract(backbone, rows, depths=[depth]).features[depth]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("paired", [False, True])
def test_a_head_from_the_probe_starts_where_the_probe_ends(
    checkpoint: Checkpoint,
    paired: bool,
    make_classifier: Make,
    in_float32: InFloat32,
    rows_of: RowsOf,
    sentences: Sentences,
) -> None:
    texts = sentences(24, seed=5)
    rows = rows_of(texts, texts[::-1] if paired else None)
    probs = targets_of(24, 3, seed=6).double().numpy()
    labels = Labels(row_ids=rows.ids, probs=probs, answered=np.ones(24, bool), source="test")
    probe = Probe(backbone=in_float32(checkpoint), penalties=(1e-2,)).fit(
        rows, labels, seed=Seed(split=0, init=0, order=0)
    )
    classifier = make_classifier(checkpoint, paired=paired, head=False)
    classifier.start_head(probe.coefficients, probe.intercepts)
    found = classifier.probs(encode(classifier.network, rows))
    np.testing.assert_allclose(found, probe.predict(rows), rtol=0, atol=1e-5)


# Which weights are trained


def test_weights_that_no_logit_depends_on_are_not_trained(
    checkpoint: Checkpoint, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf, gradients: Gradients
) -> None:
    """After one block of three: every trained weight has a gradient, every other one has none."""
    classifier = make_classifier(checkpoint, depth=1)
    rows = encoded_of(token_texts(LENGTHS))
    found = gradients(classifier, cross_entropy(classifier.logits(rows, range(len(rows))), targets_of(len(rows), 3)))
    assert found.keys() == classifier.trained().keys()
    for parameter in classifier.network.model.parameters():
        assert parameter.requires_grad == any(parameter is one for one in classifier.trained().values())


def test_at_depth_0_only_embeddings_and_the_head_are_trained(checkpoint: Checkpoint, make_classifier: Make) -> None:
    names = {name for name in make_classifier(checkpoint, depth=0).trained() if not name.startswith("head.")}
    assert names
    assert not any(part in name for name in names for part in ("attn", "attention", "mlp", "ffn", "intermediate"))


def test_trained_weights_and_the_head_are_in_float32(checkpoint: Checkpoint, make_classifier: Make) -> None:
    for precision in ("float32", "bfloat16"):
        found = make_classifier(checkpoint, precision=precision).trained()
        assert {one.dtype for one in found.values()} == {torch.float32}


def test_bfloat16_agrees_with_float32_to_a_share_of_the_largest_logit(
    checkpoint: Checkpoint, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    """Eight bits of precision, 2^-8 = 0.004, over three blocks of some ten roundings each."""
    rows = encoded_of(token_texts(LENGTHS))
    exact, rough = (logits_of(make_classifier(checkpoint, precision=p), rows) for p in ("float32", "bfloat16"))
    error = float((exact - rough).abs().max() / exact.abs().max())
    assert 0 < error < 0.05
    assert rough.dtype == torch.float32


# Narrowing


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_training_with_the_vocabulary_in_use_gives_the_same_weights(
    checkpoint: Checkpoint,
    family: str,
    weight_decay: float,
    make_classifier: Make,
    token_texts: TokenTexts,
    encoded_of: EncodedOf,
) -> None:
    """Four updates of AdamW at 0.01; sums over fewer zeros may be rounded differently, hence 1e-6 rather than 0."""
    recipe = Full(weight_decay=weight_decay, clip=0.5)
    rows = encoded_of([text % 12 for text in token_texts(LENGTHS)])
    whole, narrowed = make_classifier(checkpoint, recipe), make_classifier(checkpoint, recipe)
    before = weights_of(whole)
    assert narrowed.narrow(rows.used()) == (family not in PADDED)
    take_steps(whole, rows, recipe)
    take_steps(narrowed, rows if narrowed.vocabulary is None else rows.numbered(rows.used()), recipe)
    narrowed.widen()
    expected, found = weights_of(whole), weights_of(narrowed)
    assert expected.keys() == found.keys()
    assert any(not torch.equal(expected[name], before[name]) for name in expected)
    for name, one in expected.items():
        np.testing.assert_allclose(found[name], one, rtol=0, atol=1e-6, err_msg=name)


def test_rows_of_unseen_tokens_stay_as_they_were(
    gpt2: Checkpoint, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    recipe = Full(weight_decay=0.1)
    classifier = make_classifier(gpt2, recipe)
    before = classifier.embedding.weight.detach().clone()
    rows = encoded_of([text % 12 for text in token_texts(LENGTHS)])
    classifier.narrow(rows.used())
    take_steps(classifier, rows.numbered(rows.used()), recipe)
    classifier.widen()
    changed = (classifier.embedding.weight != before).any(1)
    assert changed[:12].all() and not changed[12:].any()


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "gemma3"])
def test_narrowing_and_widening_change_no_probability(
    families: dict[str, Path], family: str, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    """To the last bit, with the padding token among the texts: the same numbers are looked up at other places."""
    classifier = make_classifier(from_directory(families[family]))
    pad = classifier.embedding.padding_idx or 0
    rows = encoded_of([*token_texts(LENGTHS), np.array([5, pad, 9, 10])], pad=pad)
    before = classifier.probs(rows)
    classifier.narrow(rows.used())
    narrowed = classifier.probs(rows.numbered(rows.used()))
    classifier.widen()
    np.testing.assert_array_equal(narrowed, before)
    np.testing.assert_array_equal(classifier.probs(rows), before)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_the_padding_token_gets_no_gradient_after_narrowing(
    families: dict[str, Path], family: str, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    """As the library has it: texts that hold the padding token do not train it, under any number."""
    classifier = make_classifier(from_directory(families[family]))
    pad = classifier.embedding.padding_idx
    rows = encoded_of([np.array([3, pad, 9]), np.array([3, 5, 9])], pad=pad)
    classifier.narrow(rows.used())
    numbered = rows.numbered(rows.used())
    cross_entropy(classifier.logits(numbered, [0, 1]), targets_of(2, 3)).backward()
    reached = classifier.embedding.weight.grad.any(1).tolist()
    assert reached == [one != pad for one in rows.used()]
    classifier.widen()
    assert classifier.embedding.padding_idx == pad


def test_without_the_padding_token_in_use_every_row_is_trained(
    bert: Checkpoint, make_classifier: Make, encoded_of: EncodedOf
) -> None:
    """Number 0 is the padding token of the whole table, and another token of the narrowed one."""
    classifier = make_classifier(bert)
    rows = encoded_of([np.array([3, 4, 9])], pad=3)
    classifier.narrow(rows.used())
    cross_entropy(classifier.logits(rows.numbered(rows.used()), [0]), targets_of(1, 3)).backward()
    assert classifier.embedding.weight.grad.any(1).all()
    classifier.widen()
    assert classifier.embedding.padding_idx == 0


def test_a_vocabulary_in_full_use_is_not_narrowed(bert: Checkpoint, make_classifier: Make) -> None:
    classifier = make_classifier(bert)
    assert not classifier.narrow(np.arange(classifier.embedding.num_embeddings))
    assert classifier.vocabulary is None


def test_adafactor_sees_the_whole_table(bert: Checkpoint, make_classifier: Make) -> None:
    """Its updates are scaled by norms over the table, which unused rows would change."""
    assert not make_classifier(bert, Full(optimizer="adafactor")).narrow(np.arange(10))


# Loading trained weights


def test_loaded_weights_give_the_same_logits(
    bert: Checkpoint, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    one, other = make_classifier(bert), make_classifier(bert, head=False)
    rows = encoded_of(token_texts(LENGTHS))
    take_steps(one, rows, Full())
    other.load(weights_of(one))
    np.testing.assert_array_equal(one.probs(rows), other.probs(rows))


@pytest.mark.parametrize("fault", ["missing", "foreign", "shape"])
def test_weights_of_another_network_are_refused_by_name_and_nothing_is_changed(
    bert: Checkpoint, fault: str, make_classifier: Make
) -> None:
    classifier = make_classifier(bert)
    before = weights_of(classifier)
    weights = {name: one + 1 for name, one in before.items()}
    odd = list(before)[3]
    if fault == "missing":
        del weights[odd]
    elif fault == "foreign":
        odd = "body.foreign"
        weights[odd] = torch.zeros(1)
    else:
        weights[odd] = weights[odd][:1]
    with pytest.raises(ValueError, match=odd):
        classifier.load(weights)
    assert all(torch.equal(before[name], one) for name, one in weights_of(classifier).items())


def test_weights_of_another_depth_are_refused(bert: Checkpoint, make_classifier: Make) -> None:
    with pytest.raises(ValueError, match="another network"):
        make_classifier(bert, depth=2).load(weights_of(make_classifier(bert)))


# Gradient checkpointing


def count_passes(classifier: Classifier, rows: Encoded, *, budget: int = 10_000) -> tuple[list[int], dict[str, Any]]:
    """How often the first matrix product of each block runs in one update, and the gradient of that update."""
    blocks = classifier.network.blocks
    passes = [0] * len(blocks)
    handles = []
    for i, block in enumerate(blocks):
        leaf = next(one for one in block.modules() if type(one).__name__ in {"Linear", "Conv1D"})

        def add(*_: Any, i: int = i) -> None:
            passes[i] += 1

        handles.append(leaf.register_forward_hook(add))
    classifier.training(True)
    gradient(
        classifier,
        rows,
        list(range(len(rows))),
        targets_of(len(rows), 3),
        cross_entropy,
        progress=0.0,
        budget=budget,
    )
    classifier.training(False)
    for handle in handles:
        handle.remove()
    return passes, {name: one.grad.clone() for name, one in classifier.trained().items()}


@pytest.mark.parametrize("depth", [1, 2, N_BLOCKS])
def test_checkpointed_blocks_run_twice_with_the_same_gradient(
    checkpoint: Checkpoint,
    family: str,
    depth: int,
    make_classifier: Make,
    token_texts: TokenTexts,
    encoded_of: EncodedOf,
    furthest: Furthest,
) -> None:
    """The predecessor's was inert: a network in `eval` does not checkpoint."""
    if family in PADDED:
        pytest.skip("the library has no gradient checkpointing for this family")
    rows = encoded_of(token_texts(LENGTHS))
    once, expected = count_passes(make_classifier(checkpoint, depth=depth), rows)
    machine = Machine(checkpointing=True)
    twice, found = count_passes(make_classifier(checkpoint, Full(machine=machine), depth=depth), rows)
    assert once == [1] * depth and twice == [2] * depth
    assert furthest(found, expected) < 1e-6


def test_checkpointed_micro_batches_recompute_their_own_texts(
    gpt2: Checkpoint, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf, furthest: Furthest
) -> None:
    rows = encoded_of(token_texts(LENGTHS))
    _, expected = count_passes(make_classifier(gpt2), rows)
    twice, found = count_passes(make_classifier(gpt2, Full(machine=Machine(checkpointing=True))), rows, budget=30)
    assert min(twice) >= 4
    assert furthest(found, expected) < 2e-6


def test_checkpointing_costs_predictions_nothing(
    gpt2: Checkpoint, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    plain, checkpointed = (make_classifier(gpt2, Full(machine=Machine(checkpointing=on))) for on in (False, True))
    rows = encoded_of(token_texts(LENGTHS))
    np.testing.assert_array_equal(plain.probs(rows), checkpointed.probs(rows))


def test_updates_leave_no_hooks_behind(
    gpt2: Checkpoint, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    """The library adds one to the embedding each time that it is told to checkpoint."""
    recipe = Full(machine=Machine(checkpointing=True))
    classifier = make_classifier(gpt2, recipe)
    rows = encoded_of(token_texts(LENGTHS))

    def hooks() -> int:
        modules = list(classifier.network.model.modules())
        return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in modules)

    before = hooks()
    take_steps(classifier, rows, recipe, n=3)
    assert hooks() == before


def test_a_family_without_checkpointing_is_refused_in_one_line(
    families: dict[str, Path], make_classifier: Make
) -> None:
    checkpoint = from_directory(families["mpnet"], name="mine")
    with pytest.raises(InputError, match="mine: MPNetModel has no gradient checkpointing"):
        make_classifier(checkpoint, Full(machine=Machine(checkpointing=True)))


# Dropout


def test_dropout_is_off_while_training_unless_asked_for(
    checkpoint: Checkpoint, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    classifier = make_classifier(checkpoint)
    classifier.training(True)
    rows = encoded_of(token_texts(LENGTHS))
    assert classifier.network.model.training
    assert torch.equal(logits_of(classifier, rows), logits_of(classifier, rows))


@pytest.mark.parametrize("family", WITH_DROPOUT)
def test_dropout_of_the_network_is_on_when_asked_for(
    families: dict[str, Path], family: str, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    classifier = make_classifier(from_directory(families[family]), Full(dropout=True))
    rows = encoded_of(token_texts(LENGTHS))
    before = classifier.probs(rows)
    classifier.training(True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        one, other = logits_of(classifier, rows), logits_of(classifier, rows)
        torch.manual_seed(0)
        again = logits_of(classifier, rows)
    classifier.training(False)
    assert torch.equal(one, again) and not torch.equal(one, other)
    np.testing.assert_array_equal(classifier.probs(rows), before)


def test_dropout_of_attention_alone_reaches_packed_texts(
    tmp_path: Path, make_network: MakeNetwork, make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    checkpoint = from_directory(make_network(tmp_path, "llama", attention_dropout=0.5))
    rows = encoded_of(token_texts(LENGTHS))
    for asked in (False, True):
        classifier = make_classifier(checkpoint, Full(dropout=asked))
        classifier.training(True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            same = torch.equal(logits_of(classifier, rows), logits_of(classifier, rows))
        assert classifier.packed and same == (not asked)


# Limits and weights that do not fit


@pytest.mark.parametrize("where", ["asked", "tokenizer", "positions"])
def test_a_limit_below_eight_tokens_is_refused(
    tmp_path: Path, where: str, make_network: MakeNetwork, make_classifier: Make
) -> None:
    changes: dict[str, dict[str, int]] = {"tokenizer": {"max_length": 7}, "positions": {"max_position_embeddings": 7}}
    checkpoint = from_directory(make_network(tmp_path, "bert", **changes.get(where, {})), name="short")
    with pytest.raises(InputError, match="short: found a limit of 7 tokens, expected 8 or more"):
        make_classifier(checkpoint, max_tokens=7 if where == "asked" else 256)


def test_a_limit_of_eight_tokens_is_enough(bert: Checkpoint, make_classifier: Make) -> None:
    assert make_classifier(bert, max_tokens=8).packed


def without(path: Path, tensor: str, *, to: Path) -> Path:
    """A copy of a network whose weights lack one tensor."""
    shutil.copytree(path, to)
    weights = load_file(to / "model.safetensors")
    del weights[tensor]
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    return to


BROKEN = {
    "bert": "encoder.layer.2.attention.self.query.weight",
    "gpt2": "h.2.mlp.c_fc.weight",
    "llama": "layers.2.self_attn.o_proj.weight",
}


@pytest.mark.parametrize("family", sorted(BROKEN))
def test_weights_that_lack_a_tensor_are_refused_by_its_name(
    families: dict[str, Path], family: str, tmp_path: Path, make_classifier: Make
) -> None:
    path = without(families[family], BROKEN[family], to=tmp_path / "broken")
    with pytest.raises(InputError) as error:
        make_classifier(from_directory(path, name="broken"))
    assert str(error.value) == f"broken: the weights lack 1 tensors that the network needs, e.g. {BROKEN[family]}"


@pytest.mark.parametrize("family", sorted(BROKEN))
def test_a_tensor_beyond_the_depth_is_not_missed(
    families: dict[str, Path], family: str, tmp_path: Path, make_classifier: Make
) -> None:
    path = without(families[family], BROKEN[family], to=tmp_path / "broken")
    assert make_classifier(from_directory(path), depth=2).network.depth == 2


def test_a_tensor_of_another_shape_is_refused_in_one_line(
    families: dict[str, Path], tmp_path: Path, make_classifier: Make
) -> None:
    shutil.copytree(families["bert"], tmp_path / "broken")
    file = tmp_path / "broken" / "model.safetensors"
    weights = load_file(file)
    weights[BROKEN["bert"]] = weights[BROKEN["bert"]][:16].contiguous()
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(InputError) as error:
        make_classifier(from_directory(tmp_path / "broken", name="broken"))
    assert str(error.value).startswith("broken: ") and "\n" not in str(error.value)


# The network below


@pytest.mark.parametrize("depth", [0, 1, 2, N_BLOCKS])
def test_a_config_is_cut_to_the_blocks_that_are_read(checkpoint: Checkpoint, depth: int) -> None:
    config = load_config(checkpoint, depth=depth)
    assert config.num_hidden_layers == max(depth, 1)
    kinds = getattr(config, "layer_types", None)
    assert kinds is None or len(kinds) == max(depth, 1)


@pytest.mark.parametrize("family", WITH_DROPOUT)
def test_a_config_keeps_its_dropout_only_when_asked(families: dict[str, Path], family: str) -> None:
    checkpoint = from_directory(families[family])

    def shares(dropout: bool) -> list[float]:
        config = load_config(checkpoint, depth=1, dropout=dropout).to_dict()
        return [one for name, one in config.items() if ("drop" in name) and isinstance(one, float) and one > 0]

    assert shares(True) and not [one for one in shares(False) if one == 0.1]


def test_an_encoder_decoder_is_refused(families: dict[str, Path], tmp_path: Path) -> None:
    from transformers import T5Config

    shutil.copytree(families["bert"], tmp_path / "t5")
    T5Config(d_model=16, num_layers=2, num_heads=2, d_ff=16).save_pretrained(tmp_path / "t5")
    with pytest.raises(InputError, match="found an encoder-decoder"):
        load_config(from_directory(tmp_path / "t5"), depth=1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_loaded_in_the_precision_asked_for(gpt2: Checkpoint, dtype: str) -> None:
    model = load_model(gpt2, depth=1, dtype=dtype)
    assert {str(one.dtype) for one in model.parameters()} == {f"torch.{dtype}"}


def test_a_damaged_config_is_refused_in_one_line(families: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(families["bert"], tmp_path / "odd")
    config = json.loads((tmp_path / "odd" / "config.json").read_text("utf-8"))
    (tmp_path / "odd" / "config.json").write_text(json.dumps({**config, "model_type": "nobody"}), "utf-8")
    with pytest.raises(InputError) as error:
        load_config(from_directory(tmp_path / "odd", name="odd"), depth=1)
    assert str(error.value).startswith("odd: config.json cannot be loaded: ") and "\n" not in str(error.value)


# The path of a GPU


def test_the_fused_kernel_gives_what_plain_products_give(
    checkpoint: Checkpoint,
    make_classifier: Make,
    token_texts: TokenTexts,
    encoded_of: EncodedOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a GPU would run, run here: the same kernel under the same bias."""
    classifier = make_classifier(checkpoint)
    rows = encoded_of(token_texts(LENGTHS))
    plain = logits_of(classifier, rows)
    monkeypatch.setattr(ragged, "FUSED", {"cpu"})
    np.testing.assert_allclose(logits_of(classifier, rows), plain, rtol=0, atol=1e-5)
