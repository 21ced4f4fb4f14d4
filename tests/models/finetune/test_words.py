"""Label words: rows of the unembedding where they lie, the language model's own choice, and what is refused."""

from __future__ import annotations

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
from oversight.models.finetune.classifier import Classifier
from oversight.models.finetune.encoded import encode
from oversight.models.finetune.words import unembedding, word_ids
from oversight.models.network import load_tokenizer, quiet_transformers
from oversight.tasks.task import Rows

Make = Callable[..., Classifier]
RowsOf = Callable[..., Rows]
Sentences = Callable[..., list[str]]
InFloat32 = Callable[..., Backbone]
MakeNetwork = Callable[..., Path]


@pytest.fixture
def save_language_model(make_network: MakeNetwork) -> Callable[..., Checkpoint]:
    """save_language_model(path, family, tied=...) -> a tiny decoder saved with its language-model head."""

    def make(path: Path, family: str, *, tied: bool, shards: bool = False, **changes: Any) -> Checkpoint:
        from transformers import AutoConfig, AutoModelForCausalLM

        make_network(path, family, tie_word_embeddings=tied, **changes)
        (path / "model.safetensors").unlink()
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path)).eval()
            model.save_pretrained(path, max_shard_size="20KB" if shards else "1GB")
        return from_directory(path, name=family)

    return make


def ids_of(checkpoint: Checkpoint, word: str) -> list[int]:
    return load_tokenizer(checkpoint)(f" {word}", add_special_tokens=False)["input_ids"]


# Rows


def test_rows_of_a_tied_network_are_its_embeddings(gpt2: Checkpoint, in_float32: InFloat32) -> None:
    table = load_file(gpt2.path / "model.safetensors")["wte.weight"].numpy()
    expected = np.stack([table[ids_of(gpt2, word)[0]] for word in ("bad", "good", "odd")], axis=1)
    found = unembedding(in_float32(gpt2), ("bad", "good", "odd"), 3)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shards", [False, True])
def test_rows_of_an_untied_network_are_those_of_its_head(
    tmp_path: Path, shards: bool, save_language_model: Callable[..., Checkpoint], in_float32: InFloat32
) -> None:
    """In several files the head may lie behind the embedding."""
    checkpoint = save_language_model(tmp_path, "llama", tied=False, shards=shards)
    tensors: dict[str, torch.Tensor] = {}
    files = sorted(tmp_path.glob("*.safetensors"))
    for file in files:
        tensors |= load_file(file)
    table = tensors["lm_head.weight"].numpy()
    expected = np.stack([table[ids_of(checkpoint, word)[0]] for word in ("bad", "good")], axis=1)
    assert (len(files) > 1) == shards
    assert not np.array_equal(table, tensors["model.embed_tokens.weight"].numpy())
    np.testing.assert_array_equal(unembedding(in_float32(checkpoint), ("bad", "good"), 2), expected)


def test_a_word_of_several_tokens_gives_their_mean(
    tmp_path: Path, make_network: MakeNetwork, in_float32: InFloat32
) -> None:
    """Bytes of the Qwen family: ' bad' is four tokens, and its row the mean of four."""
    checkpoint = from_directory(make_network(tmp_path, "qwen2", tie_word_embeddings=True))
    table = load_file(tmp_path / "model.safetensors")["embed_tokens.weight"].double().numpy()
    ids = ids_of(checkpoint, "bad")
    found = unembedding(in_float32(checkpoint), ("bad", "odd"), 2)
    assert len(ids) == 4
    np.testing.assert_allclose(found[:, 0], sum(table[i] for i in ids) / 4, rtol=0, atol=1e-15)


@pytest.mark.parametrize("family, is_tied", [("gpt2", True), ("llama", True), ("llama", False), ("gpt_neox", False)])
def test_a_head_of_words_chooses_as_the_language_model(
    tmp_path: Path,
    family: str,
    is_tied: bool,
    save_language_model: Callable[..., Checkpoint],
    make_classifier: Make,
    in_float32: InFloat32,
    rows_of: RowsOf,
    sentences: Sentences,
) -> None:
    """The logits of the label words after each text, by the library's own model with its head."""
    from transformers import AutoModelForCausalLM

    checkpoint = save_language_model(tmp_path, family, tied=is_tied)
    words = ("bad", "good", "odd")
    classifier = make_classifier(checkpoint, head=False)
    classifier.start_head(unembedding(in_float32(checkpoint), words, 3), None)
    encoded = encode(classifier.network, rows_of(sentences(8, seed=1)))
    with torch.no_grad():
        found = classifier.logits(encoded, range(8))
    with quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    columns = [ids_of(checkpoint, word)[0] for word in words]
    with torch.no_grad():
        expected = [model(input_ids=torch.from_numpy(text)[None]).logits[0, -1, columns] for text in encoded.texts]
    np.testing.assert_allclose(found, torch.stack(expected), rtol=0, atol=1e-5)


def test_the_real_decoder_has_rows_of_its_words(stories: Checkpoint, in_float32: InFloat32) -> None:
    found = unembedding(in_float32(stories), ("happy", "sad"), 2)
    assert found.shape == (64, 2) and np.isfinite(found).all() and np.ptp(found - found.mean(1, keepdims=True)) > 0


@pytest.mark.parametrize("word", ["good", " good", "good ", "  good  "])
def test_spaces_around_a_word_do_not_count(gpt2: Checkpoint, word: str) -> None:
    assert word_ids(load_tokenizer(gpt2), word, name="gpt2") == tuple(ids_of(gpt2, "good"))


# Refusals


@pytest.mark.parametrize("words", [("good",), ("good", "bad", "odd"), ()])
def test_another_number_of_words_is_refused(gpt2: Checkpoint, words: tuple[str, ...], in_float32: InFloat32) -> None:
    message = f"gpt2: found {len(words)} label words, expected one for each of the 2 classes"
    with pytest.raises(InputError, match=message):
        unembedding(in_float32(gpt2), words, 2)


def test_an_encoder_is_refused(bert: Checkpoint, in_float32: InFloat32) -> None:
    with pytest.raises(InputError, match="bert: only a decoder at full depth"):
        unembedding(in_float32(bert), ("good", "bad"), 2)


def test_an_encoder_read_at_its_last_token_is_refused(bert: Checkpoint, in_float32: InFloat32) -> None:
    with pytest.raises(InputError, match="bert: only a decoder at full depth"):
        unembedding(in_float32(bert, pool="last"), ("good", "bad"), 2)


@pytest.mark.parametrize("depth", [0, 2])
def test_a_truncated_decoder_is_refused(gpt2: Checkpoint, depth: int, in_float32: InFloat32) -> None:
    with pytest.raises(InputError, match=f"gpt2@{depth}: only a decoder at full depth"):
        unembedding(in_float32(gpt2, depth=depth), ("good", "bad"), 2)


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_another_token_than_the_last_is_refused(gpt2: Checkpoint, pool: str, in_float32: InFloat32) -> None:
    with pytest.raises(InputError, match="read at its last token"):
        unembedding(in_float32(gpt2, pool=pool), ("good", "bad"), 2)


@pytest.mark.parametrize("words", [("good", "good"), ("good", " good"), ("unheard", "unseen")])
def test_words_of_equal_tokens_are_refused(gpt2: Checkpoint, words: tuple[str, str], in_float32: InFloat32) -> None:
    """Two words that the tokenizer does not know are the same unknown token."""
    with pytest.raises(InputError, match="gpt2: found the same tokens for two of the label words"):
        unembedding(in_float32(gpt2), words, 2)


@pytest.mark.parametrize("word", ["", "  "])
def test_a_word_of_nothing_is_refused(gpt2: Checkpoint, word: str, in_float32: InFloat32) -> None:
    with pytest.raises(InputError, match="has no tokens"):
        unembedding(in_float32(gpt2), ("good", word), 2)


def test_weights_without_a_table_are_refused(gpt2: Checkpoint, tmp_path: Path, in_float32: InFloat32) -> None:
    shutil.copytree(gpt2.path, tmp_path / "bare")
    weights = load_file(tmp_path / "bare" / "model.safetensors")
    del weights["wte.weight"]
    save_file(weights, tmp_path / "bare" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="bare: the weights hold no unembedding"):
        unembedding(in_float32(from_directory(tmp_path / "bare", name="bare")), ("good", "bad"), 2)


def test_an_untied_network_saved_without_its_head_is_refused(
    tmp_path: Path, make_network: MakeNetwork, in_float32: InFloat32
) -> None:
    """Its embeddings are no unembeddings, so their rows would say nothing about the words."""
    checkpoint = from_directory(make_network(tmp_path, "llama", tie_word_embeddings=False), name="headless")
    with pytest.raises(InputError, match="headless: the weights hold no unembedding"):
        unembedding(in_float32(checkpoint), ("good", "bad"), 2)
