"""What a network gives that is no number stops the step in one line, and never becomes a number that is kept."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from oversight.errors import StepError
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint, from_directory
from oversight.models.features import extract
from oversight.models.finetune.recipe import Full
from oversight.models.finetune.student import FineTuned
from oversight.models.finite import expect_finite
from oversight.models.prompted import Prompted
from oversight.models.student import Validation
from oversight.tasks.split import Seed
from oversight.tasks.task import Labels, Rows

RowsOf = Callable[..., Rows]
Sentences = Callable[..., list[str]]
InFloat32 = Callable[..., Backbone]
Writers = Callable[..., Checkpoint]
SEED = Seed.of(0)


def spoilt(checkpoint: Checkpoint, to: Path, value: float, *, token: int) -> Checkpoint:
    """A copy of the network in which the embedding of one token is no number."""
    path = Path(shutil.copytree(checkpoint.path, to))
    weights = load_file(path / "model.safetensors")
    name = next(
        one for one in weights if "word_embeddings" in one or "embed_tokens" in one or one.endswith("wte.weight")
    )
    weights[name][token, 0] = value
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    return from_directory(path, name="spoilt")


def with_and_without(sentences: Sentences, word: str) -> list[str]:
    return sorted(sentences(40, seed=1, longest=12), key=lambda text: word in text.split())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_states_that_are_no_numbers_are_no_features(
    value: float, gpt2: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences, tmp_path: Path
) -> None:
    """Only the texts with the word are hit, and they are counted; the others alone are read as before."""
    texts = with_and_without(sentences, "film")
    n_hit = sum("film" in text.split() for text in texts)
    rows, clean = rows_of(texts), rows_of(texts[:-n_hit])
    word = AutoTokenizer.from_pretrained(gpt2.path)("film")["input_ids"][0]
    backbone = in_float32(spoilt(gpt2, tmp_path / "spoilt", value, token=word))
    with pytest.raises(StepError, match=f"spoilt: the states at depth 1 in float32: not finite in {n_hit} of 40 rows"):
        extract(backbone, rows, depths=[1])
    assert 0 < n_hit < 40 and np.isfinite(extract(backbone, clean, depths=[1]).features[1]).all()


def test_a_pair_with_one_text_that_gives_no_numbers_is_refused(
    gpt2: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, tmp_path: Path
) -> None:
    backbone = in_float32(spoilt(gpt2, tmp_path / "spoilt", math.nan, token=0))
    word = AutoTokenizer.from_pretrained(gpt2.path).decode([0])
    rows = rows_of(["the film", "a film"], ["was good", f"was {word}"])
    with pytest.raises(StepError, match=f"not finite in 1 of 2 rows \\({rows.ids[1]}\\)"):
        extract(backbone, rows, depths=[1])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_prompted_logits_that_are_no_numbers_are_no_probabilities(
    value: float, writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences, tmp_path: Path
) -> None:
    rows = rows_of(sentences(8))
    labels = Labels.of(rows, np.eye(2)[np.arange(8) % 2], source="test")
    network = spoilt(writers("llama"), tmp_path / "spoilt", value, token=1)  # stands before every text
    student = Prompted(backbone=in_float32(network), words=("good", "bad"), template="{text} was")
    fitted = student.fit(rows, labels, seed=SEED)
    with pytest.raises(
        StepError, match="spoilt: the log-probabilities of the answers in float32: not finite in 8 of 8"
    ):
        fitted.predict(rows)


def test_a_fine_tuned_network_that_gives_no_numbers_predicts_nothing(
    gpt2: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    """Training ends well and the weights are spoilt afterwards, as code of another processor would."""
    import torch

    rows = rows_of(sentences(12, longest=8))
    labels = Labels.of(rows, np.eye(2)[np.arange(12) % 2], source="test")
    student = FineTuned(backbone=in_float32(gpt2), recipe=Full(lr=1e-3, epochs=1, batch_size=6))
    fitted = student.fit(rows, labels, validation=Validation(rows=rows, labels=labels), seed=SEED)
    assert np.isfinite(fitted.predict(rows)).all()
    with torch.no_grad():
        fitted.classifier.head.weight[0, 0] = math.nan
    with pytest.raises(StepError, match=r"gpt2, fine-tuned at learning rate 0\.001: .*not finite in 12 of 12 rows"):
        fitted.predict(rows)


def test_only_rows_that_are_no_numbers_are_named() -> None:
    values = np.zeros((6, 2))
    expect_finite(values, "abcdef", of="net: logits", hint="x")
    expect_finite(np.zeros((0, 2)), (), of="net: logits", hint="x")
    values[[1, 2, 3, 5], [0, 1, 0, 1]] = (np.nan, np.inf, -np.inf, np.nan)
    with pytest.raises(StepError) as error:
        expect_finite(values, "abcdef", of="net: logits", hint="x")
    assert str(error.value) == "net: logits: not finite in 4 of 6 rows (b, c, d, ...); expected finite numbers: x"
