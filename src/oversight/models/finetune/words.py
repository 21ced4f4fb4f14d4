"""Label words: what the language-model head of a decoder knows about the names of classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oversight.errors import InputError
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint
from oversight.models.network import load_config, load_tokenizer, quiet_transformers
from oversight.tasks.task import Floats

UNEMBEDDINGS = ("lm_head.weight", "embed_out.weight")
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight")


def unembedding(backbone: Backbone, words: Sequence[str], n_classes: int) -> Floats:
    """The unembedding rows of label words, as a head to start from.

    A word of several tokens gives the mean of their rows; a space is put before it, as it would stand in a sentence.

    Args:
        backbone: a decoder read at full depth, at the last token.
        words: one per class.
        n_classes: k.

    Returns:
        (d, k) float64.

    Raises:
        InputError: not a decoder at full depth, another number of words, or equal tokens for two of them.

    Source: Burns et al. 2023, arXiv:2312.09390, appendix A (head from the unembeddings of the label tokens).
    """
    tokens = check_words(backbone, words, n_classes)
    path, tensor = _table(backbone.checkpoint)
    with _opened(path) as file:
        table = file.get_slice(tensor)
        rows = [np.stack([table[i : i + 1].double().numpy()[0] for i in ids]).mean(0) for ids in tokens]
    return np.stack(rows, axis=1)


def check_words(backbone: Backbone, words: Sequence[str], n_classes: int) -> list[tuple[int, ...]]:
    """Token ids of each label word; reads no weights.

    Raises:
        InputError: see `unembedding`.
    """
    name, checkpoint = backbone.name, backbone.checkpoint
    if len(words) != n_classes:
        raise InputError(f"{name}: found {len(words)} label words, expected one for each of the {n_classes} classes")
    if not checkpoint.is_decoder or backbone.blocks < checkpoint.n_blocks or backbone.pooling != "last":
        raise InputError(f"{name}: only a decoder at full depth, read at its last token, has a head for label words")
    tokenizer = load_tokenizer(checkpoint)
    tokens = [word_ids(tokenizer, word, name=name) for word in words]
    if len(set(tokens)) < len(tokens):
        raise InputError(f"{name}: found the same tokens for two of the label words {', '.join(words)}")
    _table(checkpoint)
    return tokens


def word_ids(tokenizer: Any, word: str, *, name: str) -> tuple[int, ...]:
    """Token ids of a word within a sentence.

    Raises:
        InputError: the tokenizer knows nothing of it.
    """
    with quiet_transformers():
        ids = tuple(tokenizer(f" {word.strip()}", add_special_tokens=False)["input_ids"])
    if not ids:
        raise InputError(f"{name}: the label word '{word}' has no tokens")
    return ids


def _table(checkpoint: Checkpoint) -> tuple[Path, str]:
    """File and name of the unembedding, (vocabulary, d); of the embedding where the two are tied."""
    config = load_config(checkpoint, depth=checkpoint.n_blocks)
    is_tied = getattr(config, "tie_word_embeddings", True)
    for endings in (UNEMBEDDINGS, EMBEDDINGS) if is_tied else (UNEMBEDDINGS,):
        for path in sorted(checkpoint.path.glob("*.safetensors")):
            with _opened(path) as file:
                found = next((name for name in file.keys() if name.endswith(endings)), None)  # noqa: SIM118 (no mapping)
            if found is not None:
                return path, found
    raise InputError(f"{checkpoint.name}: the weights hold no unembedding, so there are no rows of label words")


def _opened(path: Path) -> Any:
    from safetensors import safe_open

    return safe_open(path, framework="pt")
