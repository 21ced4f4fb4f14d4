"""Probabilities of words against one token at a time, whoever asks, and how much goes through the network for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint
from oversight.models.prompted import Prompted
from oversight.models.writer import PAYS
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
FAMILIES = ("gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma3", "opt", "phi")


@pytest.fixture(params=FAMILIES)
def written(request: pytest.FixtureRequest, writers: Writers) -> Checkpoint:
    """A tiny decoder of each family in turn."""
    return writers(request.param)


def labelled(rows: Rows, *, k: int = 2, seed: int = 0) -> Labels:
    """Soft labels of some supervisor."""
    return Labels.of(rows, np.random.default_rng(seed).dirichlet(np.ones(k), len(rows)), source="test")


def shown(fitted: Any) -> list[str]:
    return list(fitted.choices["shown"])


# What a probability is


def test_zero_shot_equals_one_token_at_a_time(
    written: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences, one_by_one: OneByOne
) -> None:
    rows = rows_of(sentences(6, longest=12))
    student = Prompted(backbone=in_float32(written), words=WORDS, template=TEMPLATE)
    found = student.fit(rows, labelled(rows), seed=SEED).predict(rows)
    expected = one_by_one(written, [f"a film {text} so it was" for text in rows.texts], WORDS)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_few_shot_equals_one_token_at_a_time(
    written: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences, one_by_one: OneByOne
) -> None:
    """Examples stand before the prompt, each with its word, a blank line after it."""
    rows, new = rows_of(sentences(20, longest=8)), rows_of(sentences(5, seed=1, longest=12))
    labels = labelled(rows)
    student = Prompted(backbone=in_float32(written), words=WORDS, template=TEMPLATE, shots=4)
    fitted = student.fit(rows, labels, seed=SEED)
    answers = {row_id: WORDS[j] for row_id, j in zip(rows.ids, labels.probs.argmax(1), strict=True)}
    before = "".join(f"a film {rows.pick([one]).texts[0]} so it was {answers[one]}\n\n" for one in shown(fitted))
    expected = one_by_one(written, [f"{before}a film {text} so it was" for text in new.texts], WORDS)
    np.testing.assert_allclose(fitted.predict(new), expected, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral", "gemma3"])
def test_words_of_several_tokens_multiply(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences, family: str, one_by_one: OneByOne
) -> None:
    """One token, two that begin alike, and three: p(very good | x) = p(very | x) p(good | x very)."""
    words = ("dull", "very good", "very bad", "not so good")
    checkpoint, rows = writers(family), rows_of(sentences(5, longest=9))
    student = Prompted(backbone=in_float32(checkpoint), words=words, template=TEMPLATE)
    found = student.fit(rows, labelled(rows, k=4), seed=SEED).predict(rows)
    expected = one_by_one(checkpoint, [f"a film {text} so it was" for text in rows.texts], words)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("shots", [0, 2])
def test_a_real_decoder_equals_one_token_at_a_time(
    stories: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, shots: int, one_by_one: OneByOne
) -> None:
    texts = ["Tom was happy and smiled.", "The dog was sad.", "Lily lost her red ball in the park and cried.", "Hi!"]
    rows = rows_of(texts)
    words, template = ("very sad", "happy"), "{text} At the end of the day, everyone was"
    student = Prompted(backbone=in_float32(stories), words=words, template=template, shots=shots)
    labels = Labels.of(rows, np.eye(2)[[1, 0, 0, 1]], source="test")
    fitted = student.fit(rows, labels, seed=SEED)
    told = dict(zip(rows.ids, zip(texts, [words[j] for j in (1, 0, 0, 1)], strict=True), strict=True))
    filled = {text: template.replace("{text}", text) for text in texts}
    before = "".join(f"{filled[told[one][0]]} {told[one][1]}\n\n" for one in shown(fitted))
    expected = one_by_one(stories, [before + filled[text] for text in texts], words)
    np.testing.assert_allclose(fitted.predict(rows), expected, atol=1e-5)


def test_a_real_decoder_finds_a_happy_story_happier(
    stories: Checkpoint, in_float32: InFloat32, rows_of: RowsOf
) -> None:
    rows = rows_of(["Lily was so happy. She smiled and was", "Lily lost her toy. She cried and was"])
    student = Prompted(backbone=in_float32(stories), words=("sad", "happy"), template="{text} very")
    found = student.fit(rows, labelled(rows), seed=SEED).predict(rows)
    assert found[0, 1] > found[1, 1]


def test_probabilities_sum_to_one(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    rows = rows_of(sentences(7))
    student = Prompted(backbone=in_float32(writers("llama")), words=("bad", "good", "odd"), template=TEMPLATE)
    found = student.fit(rows, labelled(rows, k=3), seed=SEED).predict(rows)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)


def test_words_in_another_order_give_columns_in_that_order(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    rows, words = rows_of(sentences(6)), ("bad", "very good", "odd")
    backbone = in_float32(writers("gpt2"))
    found = [
        Prompted(backbone=backbone, words=order, template=TEMPLATE)
        .fit(rows, labelled(rows, k=3), seed=SEED)
        .predict(rows)
        for order in (words, words[::-1])
    ]
    np.testing.assert_allclose(found[0], found[1][:, ::-1], atol=1e-6)


def test_bfloat16_stays_near_float32(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    rows = rows_of(sentences(12))
    exact, rough = (
        Prompted(backbone=in_float32(writers("llama"), precision=one), words=WORDS, template=TEMPLATE)
        .fit(rows, labelled(rows), seed=SEED)
        .predict(rows)
        for one in ("float32", "bfloat16")
    )
    assert 0 < np.abs(exact - rough).max() < 0.05


# Who asks beside whom


@pytest.mark.parametrize("shots", [0, 6])
def test_the_order_of_rows_does_not_matter(
    written: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences, shots: int
) -> None:
    rows = rows_of(sentences(12, longest=20))
    turned = rows.take(reversed(range(12)))
    student = Prompted(backbone=in_float32(written), words=WORDS, template=TEMPLATE, shots=shots)
    labels = labelled(rows)
    there = student.fit(rows, labels, seed=SEED).predict(rows)
    back = student.fit(turned, labels, seed=SEED).predict(turned)
    np.testing.assert_allclose(there, back[::-1], atol=1e-5)


@pytest.mark.parametrize("shots", [0, 6])
def test_companions_do_not_matter(
    written: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences, shots: int
) -> None:
    rows = rows_of(sentences(6, longest=30))
    fitted = Prompted(backbone=in_float32(written), words=WORDS, template=TEMPLATE, shots=shots).fit(
        rows, labelled(rows), seed=SEED
    )
    alone = np.concatenate([fitted.predict(rows.take([i])) for i in range(6)])
    np.testing.assert_allclose(fitted.predict(rows), alone, atol=1e-5)


def test_small_batches_change_nothing(
    writers: Writers,
    in_float32: InFloat32,
    rows_of: RowsOf,
    sentences: Sentences,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = rows_of(sentences(20, longest=25))
    fitted = Prompted(backbone=in_float32(writers("llama")), words=WORDS, template=TEMPLATE, shots=4).fit(
        rows, labelled(rows), seed=SEED
    )
    at_once = fitted.predict(rows)
    monkeypatch.setattr("oversight.models.writer.TOKEN_BUDGET", {"cpu": 1})
    np.testing.assert_allclose(fitted.predict(rows), at_once, atol=1e-5)


def test_no_rows_give_no_probabilities(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    rows = rows_of(sentences(3))
    fitted = Prompted(backbone=in_float32(writers("llama")), words=WORDS).fit(rows, labelled(rows), seed=SEED)
    assert fitted.predict(rows.take([])).shape == (0, 2)


def test_predicting_again_gives_the_same_bytes(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    """What is kept of the examples is not used up by the first batch."""
    rows = rows_of(sentences(10))
    fitted = Prompted(backbone=in_float32(writers("mistral")), words=WORDS, shots=4, template=TEMPLATE).fit(
        rows, labelled(rows), seed=SEED
    )
    assert fitted.predict(rows).tobytes() == fitted.predict(rows).tobytes()


# How much is computed


@pytest.fixture
def n_read() -> Iterator[Callable[[Any, Rows], int]]:
    """n_read(fitted, rows) -> tokens that went through the network for these rows, filler too."""
    handles: list[Any] = []

    def count(fitted: Any, rows: Rows) -> int:
        seen: list[int] = []
        table = fitted.form.writer.model.get_input_embeddings()
        handles.append(table.register_forward_hook(lambda _module, args, _out: seen.append(args[0].numel())))
        fitted.predict(rows)
        return sum(seen)

    yield count
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3", "opt"])
def test_examples_go_through_the_network_once(
    writers: Writers,
    in_float32: InFloat32,
    rows_of: RowsOf,
    sentences: Sentences,
    n_read: Callable[[Any, Rows], int],
    family: str,
) -> None:
    """6 examples of at least 12 tokens are 72 or more; 40 prompts of 6 words and the template's 6 or 7 are at most 13.
    Read with every prompt that would be 40 * 72 tokens; once, and once more for the check, it is far below half."""
    rows = rows_of(sentences(40, shortest=6, longest=6))
    fitted = Prompted(backbone=in_float32(writers(family)), words=WORDS, template=TEMPLATE, shots=6).fit(
        rows, labelled(rows), seed=SEED
    )
    assert n_read(fitted, rows) < 40 * 72 / 2


def test_words_of_one_token_need_one_pass(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences, n_read: Callable[[Any, Rows], int]
) -> None:
    """10 rows of 4 words and 5 of the template: 90 tokens, whatever the number of classes."""
    rows, words = rows_of(sentences(10, shortest=4, longest=4)), ("bad", "good", "odd", "warm", "cold")
    fitted = Prompted(backbone=in_float32(writers("gpt2")), words=words, template=TEMPLATE).fit(
        rows, labelled(rows, k=5), seed=SEED
    )
    assert n_read(fitted, rows) == 90


def test_a_word_within_the_reading_of_another_needs_no_pass_of_its_own(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences, n_read: Callable[[Any, Rows], int]
) -> None:
    """`very good` is read up to `very`; there `dull`, of one token, is seen too: 10 rows of 4 + 5 + 1 tokens."""
    rows = rows_of(sentences(10, shortest=4, longest=4))
    fitted = Prompted(backbone=in_float32(writers("gpt2")), words=("dull", "very good"), template=TEMPLATE).fit(
        rows, labelled(rows), seed=SEED
    )
    assert n_read(fitted, rows) == 100


def test_a_beginning_whose_reuse_changes_the_answer_is_read_each_time(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences, n_read: Callable[[Any, Rows], int]
) -> None:
    """A network whose states depend on the length of the whole input: what was kept of a part of it is of no use."""
    import torch

    rows = rows_of(sentences(8, shortest=6, longest=6))
    checkpoint = writers("llama")
    fitted = Prompted(backbone=in_float32(checkpoint), words=WORDS, template=TEMPLATE, shots=6).fit(
        rows, labelled(rows), seed=SEED
    )
    scale = torch.linspace(-1, 1, 32)
    fitted.form.writer.model.get_input_embeddings().register_forward_hook(
        lambda _module, args, out: out * (1 + args[0].shape[1] * scale)
    )
    alone = np.concatenate([fitted.predict(rows.take([i])) for i in range(8)])
    assert n_read(fitted, rows) > 8 * 72
    np.testing.assert_allclose(fitted.predict(rows), alone, atol=1e-5)


def test_more_than_the_least_that_pays_is_shared_in_these_tests(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    """The few-shot tests above are of kept beginnings only if theirs are long enough."""
    rows = rows_of(sentences(20, longest=8))
    fitted = Prompted(backbone=in_float32(writers("llama")), words=WORDS, template=TEMPLATE, shots=4).fit(
        rows, labelled(rows), seed=SEED
    )
    before = sum(len(question.split()) + 1 for question, _ in fitted.form.examples)
    assert before >= PAYS
