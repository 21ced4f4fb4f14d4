"""What a decoder that is prompted refuses, and texts too long for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from oversight.errors import InputError
from oversight.methods.losses import Confidence
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint, from_directory
from oversight.models.prompted import Prompted
from oversight.models.student import check_student, cross_entropy
from oversight.tasks.split import Seed
from oversight.tasks.task import Labels, Rows

Floats = npt.NDArray[np.float64]
InFloat32 = Callable[..., Backbone]
RowsOf = Callable[..., Rows]
Sentences = Callable[..., list[str]]
Writers = Callable[..., Checkpoint]
OneByOne = Callable[..., Floats]
SEED = Seed.of(0)
WORDS = ("bad", "good")
TEMPLATE = "a film {text} so it was"


def labelled(rows: Rows, *, k: int = 2, seed: int = 0) -> Labels:
    """Soft labels of some supervisor."""
    return Labels.of(rows, np.random.default_rng(seed).dirichlet(np.ones(k), len(rows)), source="test")


# Long texts


def test_a_long_text_is_read_as_its_first_tokens(writers: Writers, in_float32: InFloat32, rows_of: RowsOf) -> None:
    """The template after it stays whole."""
    backbone = in_float32(writers("llama"), max_tokens=3)
    rows = rows_of(["good warm film but never again", "good warm film"])
    found = (
        Prompted(backbone=backbone, words=WORDS, template=TEMPLATE).fit(rows, labelled(rows), seed=SEED).predict(rows)
    )
    np.testing.assert_array_equal(found[0], found[1])


def test_cut_rows_are_counted_once_each(writers: Writers, in_float32: InFloat32, rows_of: RowsOf) -> None:
    backbone = in_float32(writers("llama"), max_tokens=2)
    rows = rows_of(["a b c", "a b", "a", "c d e"], ["a", "a b", "a b c", "a b c d"])
    fitted = Prompted(backbone=backbone, words=WORDS).fit(rows, labelled(rows), seed=SEED)
    assert fitted.choices["truncated"] == {"n_truncated": 3, "n_rows": 4, "max_tokens": 2}


def test_examples_are_cut_as_well(writers: Writers, in_float32: InFloat32, rows_of: RowsOf) -> None:
    backbone = in_float32(writers("llama"), max_tokens=2)
    labels = np.eye(2)
    long, short = rows_of(["good film never again", "bad film so"]), rows_of(["good film", "bad film"])
    found: list[Floats] = []
    for rows in (long, short):
        plain = Rows(ids=("0", "1"), texts=rows.texts, groups=("0", "1"))
        fitted = Prompted(backbone=backbone, words=WORDS, template=TEMPLATE, shots=2).fit(
            plain, Labels.of(plain, labels, source="test"), seed=SEED
        )
        found.append(fitted.predict(plain))
    np.testing.assert_array_equal(found[0], found[1])


def test_prompts_that_could_exceed_the_positions_are_refused_before_any_is_read(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    """TEMPLATE has 5 words, and <s> before it: 6; the word itself is not read. 6 + 27 > 32."""
    checkpoint, rows = writers("llama", max_position_embeddings=32), rows_of(sentences(4, longest=5))
    student = Prompted(backbone=in_float32(checkpoint, max_tokens=27), words=WORDS, template=TEMPLATE)
    with pytest.raises(InputError, match=r"prompts of up to 33 tokens .*, expected at most the 32 positions"):
        student.fit(rows, labelled(rows), seed=SEED)


def test_a_prompt_of_exactly_all_positions_is_read(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, one_by_one: OneByOne
) -> None:
    checkpoint = writers("gpt2", n_positions=32)
    rows = rows_of([" ".join(["warm"] * 30), "cold"])
    student = Prompted(backbone=in_float32(checkpoint, max_tokens=27), words=WORDS, template=TEMPLATE)
    found = student.fit(rows, labelled(rows), seed=SEED).predict(rows)
    prompts = [f"a film {text} so it was" for text in (" ".join(["warm"] * 27), "cold")]
    np.testing.assert_allclose(found, one_by_one(checkpoint, prompts, WORDS), atol=1e-5)


def test_a_prompt_that_grows_beyond_the_positions_is_refused(
    stories: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, tmp_path: Path
) -> None:
    """Tokens of a text alone need not be those within the prompt, so the prompts themselves are looked at too."""
    rows = rows_of(["fine", "well"])
    fitted = Prompted(backbone=in_float32(stories), words=("sad", "happy")).fit(rows, labelled(rows), seed=SEED)
    fitted.form.writer.positions = 20
    with pytest.raises(InputError, match=r"found a prompt of \d+ tokens, expected at most the 20 positions"):
        fitted.predict(rows)


# Refusals


def test_an_encoder_is_refused(bert: Checkpoint, in_float32: InFloat32) -> None:
    with pytest.raises(InputError, match=r"^bert: found an encoder, expected a decoder"):
        Prompted(backbone=in_float32(bert), words=WORDS)


def test_a_part_of_the_depth_is_refused(writers: Writers, in_float32: InFloat32) -> None:
    with pytest.raises(InputError, match=r"^llama@2: found depth 2, expected all 3 blocks"):
        Prompted(backbone=in_float32(writers("llama"), depth=2), words=WORDS)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"words": ("good",)}, "one word for each class"),
        ({"words": ("good", " ")}, "one word for each class"),
        ({"words": WORDS, "shots": -1}, "found shots=-1, expected 0 or more"),
        ({"words": WORDS, "template": "answer:"}, r"found the template 'answer:', expected \{text\}"),
        ({"words": WORDS, "template": ""}, r"found the template '', expected \{text\}"),
    ],
)
def test_settings_that_mean_nothing_are_refused(
    writers: Writers, in_float32: InFloat32, setting: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        Prompted(backbone=in_float32(writers("llama")), **setting)


def test_a_loss_is_refused(writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences) -> None:
    student, rows = Prompted(backbone=in_float32(writers("llama")), words=WORDS), rows_of(sentences(4))
    student.check_loss(cross_entropy)
    with pytest.raises(InputError, match="prompted and not trained, so it takes no loss"):
        student.fit(rows, labelled(rows), loss=Confidence(), seed=SEED)


def test_another_number_of_words_than_classes_is_refused_before_anything_is_loaded(
    writers: Writers, in_float32: InFloat32
) -> None:
    student = Prompted(backbone=in_float32(writers("llama")), words=WORDS)
    with pytest.raises(InputError, match="found 2 label words, expected one for each of 3 classes"):
        check_student(student, n_rows=10, n_classes=3)


def test_more_examples_than_rows_are_refused(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    student, rows = Prompted(backbone=in_float32(writers("llama")), words=WORDS, shots=5), rows_of(sentences(4))
    with pytest.raises(InputError, match="found shots=5, expected at most the 4 rows"):
        student.fit(rows, labelled(rows), seed=SEED)


def test_single_texts_need_words(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    rows = rows_of(sentences(4))
    with pytest.raises(InputError, match="found no label words"):
        Prompted(backbone=in_float32(writers("llama"))).fit(rows, labelled(rows), seed=SEED)


@pytest.mark.parametrize(("others", "template"), [(None, "{text} {other}"), (["a", "b"], "{text}")])
def test_a_template_of_the_other_kind_of_rows_is_refused(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, others: list[str] | None, template: str
) -> None:
    rows = rows_of(["good", "bad"], others)
    student = Prompted(backbone=in_float32(writers("llama")), words=WORDS, template=template)
    with pytest.raises(
        InputError, match=r"for (preference pairs|single texts), expected \{text\} (and \{other\}|alone)"
    ):
        student.fit(rows, labelled(rows), seed=SEED)


@pytest.mark.parametrize(
    "words", [("very", "very good"), ("good", "good"), ("unheard", "unseen"), ("so odd", "dull", "so")]
)
def test_a_word_that_begins_another_is_refused(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences, words: tuple[str, ...]
) -> None:
    """p(very good) = p(very) p(good | very) <= p(very): the longer one could never win. Unknown words are equal."""
    rows = rows_of(sentences(4))
    student = Prompted(backbone=in_float32(writers("llama")), words=words)
    with pytest.raises(InputError, match=r"the tokens of the label word '.*' (begin|are) those of '.*'"):
        student.fit(rows, labelled(rows, k=len(words)), seed=SEED)


def test_a_network_saved_without_its_head_is_refused_by_the_name_of_what_lacks(
    families: dict[str, Path], in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    """A head of random numbers would answer too."""
    rows = rows_of(sentences(4))
    student = Prompted(
        backbone=in_float32(from_directory(families["llama"], name="headless"), max_tokens=20), words=WORDS
    )
    with pytest.raises(InputError, match=r"^headless: the weights lack 1 tensors .*e\.g\. lm_head\.weight$"):
        student.fit(rows, labelled(rows), seed=SEED)


def test_a_head_tied_to_the_embeddings_is_not_missed(
    gpt2: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences, one_by_one: OneByOne
) -> None:
    """Saved without a head, which is the table of embeddings itself."""
    rows = rows_of(sentences(4, longest=8))
    student = Prompted(backbone=in_float32(gpt2, max_tokens=20), words=WORDS, template=TEMPLATE)
    expected = one_by_one(gpt2, [f"a film {text} so it was" for text in rows.texts], WORDS)
    np.testing.assert_allclose(student.fit(rows, labelled(rows), seed=SEED).predict(rows), expected, atol=1e-5)


def test_a_prompt_without_any_token_is_refused(writers: Writers, in_float32: InFloat32, rows_of: RowsOf) -> None:
    """Nothing stands before the word, so there is no state to read it from."""
    rows = rows_of(["", "good film"])
    fitted = Prompted(backbone=in_float32(writers("gpt2")), words=WORDS, template="{text}").fit(
        rows, labelled(rows), seed=SEED
    )
    with pytest.raises(InputError, match=r"^gpt2: found a prompt without any token"):
        fitted.predict(rows)


def test_a_tokenizer_of_a_larger_network_is_named(
    in_float32: InFloat32, rows_of: RowsOf, tmp_path: Path, make_writer: Callable[..., Path]
) -> None:
    path = make_writer(tmp_path, "llama", vocab_size=12)
    rows = rows_of(["good film", "odd warm cold"])
    student = Prompted(backbone=in_float32(from_directory(path, name="small"), max_tokens=20), words=WORDS)
    with pytest.raises(InputError, match=r"^small: the tokenizer gives id \d+, but the network knows 12 tokens"):
        student.fit(rows, labelled(rows), seed=SEED)
