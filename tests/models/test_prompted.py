"""A decoder that is prompted: against one token at a time, its examples, its refusals, and a case that it must know."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.describe import describe
from oversight.errors import InputError
from oversight.methods.losses import Confidence
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint, from_directory
from oversight.models.prompted import CONTENT_FREE, PAIR_TEMPLATE, PAIR_WORDS, TEXT_TEMPLATE, Prompted, draw
from oversight.models.student import check_student, cross_entropy, trained_how
from oversight.models.writer import PAYS
from oversight.tasks.columns import PAIR_CLASSES
from oversight.tasks.split import Seed
from oversight.tasks.task import Labels, Rows

Floats = npt.NDArray[np.float64]
InFloat32 = Callable[..., Backbone]
RowsOf = Callable[..., Rows]
Sentences = Callable[..., list[str]]
Writers = Callable[..., Checkpoint]
SEED = Seed.of(0)
WORDS = ("bad", "good")
TEMPLATE = "a film {text} so it was"
CHAT = (
    "{% for turn in messages %}never {{ turn.role }} dull {{ turn.content | trim }} once {% endfor %}"
    "{% if add_generation_prompt %}never assistant dull{% endif %}"
)
FAMILIES = ("gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma3", "opt", "phi")


def save_head(path: Path, *, seed: int = 0) -> None:
    """Put a randomly initialised network with its head over the one without that lies there."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        AutoModelForCausalLM.from_config(config).eval().save_pretrained(path)


@pytest.fixture(scope="session")
def writers(tmp_path_factory: pytest.TempPathFactory, make_network: Callable[..., Path]) -> Writers:
    """writers(family, chat=..., **config) -> a tiny decoder with a head; made once."""
    made: dict[str, Checkpoint] = {}

    def make(family: str, *, chat: str | None = None, **changes: Any) -> Checkpoint:
        from transformers import AutoTokenizer

        key = json.dumps([family, chat, changes])
        if key not in made:
            path = make_network(tmp_path_factory.mktemp(family), family, **{POSITIONS[family]: 2048, **changes})
            save_head(path)
            if chat is not None:
                tokenizer = AutoTokenizer.from_pretrained(path)
                tokenizer.chat_template = chat
                tokenizer.save_pretrained(path)
            made[key] = from_directory(path, name=family)
        return made[key]

    return make


POSITIONS = {family: "max_position_embeddings" for family in FAMILIES} | {"gpt2": "n_positions"}


@pytest.fixture(params=FAMILIES)
def written(request: pytest.FixtureRequest, writers: Writers) -> Checkpoint:
    """A tiny decoder of each family in turn."""
    return writers(request.param)


def one_by_one(checkpoint: Checkpoint, prompts: Sequence[str], words: Sequence[str], *, special: bool = True) -> Floats:
    """The definition: for each text and word, one token after another, from the softmax over the whole vocabulary."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint.path)
    model = AutoModelForCausalLM.from_pretrained(checkpoint.path, dtype=torch.float32).eval()
    found = np.zeros((len(prompts), len(words)))
    for i, prompt in enumerate(prompts):
        start = len(tokenizer(prompt, add_special_tokens=special)["input_ids"])
        for j, word in enumerate(words):
            ids = tokenizer(f"{prompt} {word}", add_special_tokens=special)["input_ids"]
            found[i, j] = 1.0
            for t in range(start, len(ids)):
                with torch.no_grad():
                    logits = model(torch.tensor([ids[:t]])).logits[0, -1].double()
                found[i, j] *= float(logits.exp()[ids[t]] / logits.exp().sum())
    return found / found.sum(1, keepdims=True)


def labelled(rows: Rows, *, k: int = 2, seed: int = 0) -> Labels:
    """Soft labels of some supervisor."""
    return Labels.of(rows, np.random.default_rng(seed).dirichlet(np.ones(k), len(rows)), source="test")


def shown(fitted: Any) -> list[str]:
    return list(fitted.choices["shown"])


# What a probability is


def test_zero_shot_equals_one_token_at_a_time(
    written: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    rows = rows_of(sentences(6, longest=12))
    student = Prompted(backbone=in_float32(written), words=WORDS, template=TEMPLATE)
    found = student.fit(rows, labelled(rows), seed=SEED).predict(rows)
    expected = one_by_one(written, [f"a film {text} so it was" for text in rows.texts], WORDS)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_few_shot_equals_one_token_at_a_time(
    written: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
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
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences, family: str
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
    stories: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, shots: int
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


# Prompts


def test_the_default_question_names_all_words(stories: Checkpoint, in_float32: InFloat32, rows_of: RowsOf) -> None:
    rows, words = rows_of(["Tom ran.", "It rained."]), ("sad", "happy")
    student = Prompted(backbone=in_float32(stories), words=words)
    found = student.fit(rows, labelled(rows), seed=SEED).predict(rows)
    prompts = [f"{text}\n\nWhich of these describes the text: sad or happy?\nAnswer:" for text in rows.texts]
    np.testing.assert_allclose(found, one_by_one(stories, prompts, words), atol=1e-5)


def test_braces_in_a_text_stay_as_they_are(stories: Checkpoint, in_float32: InFloat32, rows_of: RowsOf) -> None:
    rows, words = rows_of(["{words} {other} {text} {", "fine"]), ("sad", "happy")
    student = Prompted(backbone=in_float32(stories), words=words, template="{text} {json: 1} is")
    found = student.fit(rows, labelled(rows), seed=SEED).predict(rows)
    expected = one_by_one(stories, [f"{text} {{json: 1}} is" for text in rows.texts], words)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_no_space_is_put_after_a_template_that_ends_in_white_space(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf
) -> None:
    """A tokenizer of bytes tells one space from two."""
    rows, checkpoint = rows_of(["so warm", "cold"]), writers("qwen2")
    with_space, without = (
        Prompted(backbone=in_float32(checkpoint), words=("no", "yes"), template=template)
        .fit(rows, labelled(rows), seed=SEED)
        .predict(rows)
        for template in ("{text}? ", "{text}?")
    )
    np.testing.assert_allclose(with_space, without, atol=1e-6)


def test_nothing_after_a_text_is_put_before_the_word(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, tmp_path: Path, make_network: Callable[..., Path]
) -> None:
    """A tokenizer that ends every text with a special token would make the network answer after the end."""
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    path = make_network(tmp_path, "llama")
    save_head(path)
    rows = rows_of(["a warm film", "cold"])
    student = Prompted(backbone=in_float32(from_directory(path), max_tokens=20), words=WORDS, template=TEMPLATE)
    plain = student.fit(rows, labelled(rows), seed=SEED).predict(rows)
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer.save_pretrained(path)
    assert AutoTokenizer.from_pretrained(path)("film")["input_ids"][-1] == 2
    ended = student.fit(rows, labelled(rows), seed=SEED).predict(rows)
    np.testing.assert_array_equal(ended, plain)


@pytest.mark.parametrize("shots", [0, 2])
def test_a_chat_template_is_used_where_there_is_one(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences, shots: int
) -> None:
    """Turns as the template writes them, examples first, no special token beside its own; it puts a space before the
    assistant's words, and so does the prompt."""
    checkpoint = writers("llama", chat=CHAT)
    rows = rows_of(sentences(6, longest=8))
    labels = labelled(rows)
    student = Prompted(backbone=in_float32(checkpoint), words=WORDS, template=TEMPLATE, shots=shots)
    fitted = student.fit(rows, labels, seed=SEED)
    turns = dict(zip(rows.ids, zip(rows.texts, labels.probs.argmax(1), strict=True), strict=True))
    before = "".join(
        f"never user dull a film {turns[one][0]} so it was once never assistant dull {WORDS[turns[one][1]]} once "
        for one in shown(fitted)
    )
    prompts = [f"{before}never user dull a film {text} so it was once never assistant dull" for text in rows.texts]
    expected = one_by_one(checkpoint, prompts, WORDS, special=False)
    np.testing.assert_allclose(fitted.predict(rows), expected, atol=1e-5)


def test_a_model_that_can_think_aloud_is_told_not_to(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    thinks = CHAT.replace("dull{% endif %}", "dull{% if enable_thinking is false %} more less {% endif %}{% endif %}")
    checkpoint, rows = writers("llama", chat=thinks), rows_of(sentences(4, longest=8))
    student = Prompted(backbone=in_float32(checkpoint), words=WORDS, template=TEMPLATE)
    found = student.fit(rows, labelled(rows), seed=SEED).predict(rows)
    prompts = [f"never user dull a film {one} so it was once never assistant dull more less" for one in rows.texts]
    expected = one_by_one(checkpoint, prompts, WORDS, special=False)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_chat_template_that_refuses_the_turns_is_one_line(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    checkpoint = writers("llama", chat="{{ raise_exception('only systems speak') }}")
    rows = rows_of(sentences(3))
    with pytest.raises(InputError, match=r"^llama: its chat template cannot be filled: only systems speak$"):
        Prompted(backbone=in_float32(checkpoint), words=WORDS).fit(rows, labelled(rows), seed=SEED)


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


def test_a_prompt_of_exactly_all_positions_is_read(writers: Writers, in_float32: InFloat32, rows_of: RowsOf) -> None:
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


# Examples


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(0, 5), st.data())
def test_examples_are_as_balanced_as_the_rows_allow(classes: list[int], seed: int, data: st.DataObject) -> None:
    """A class that is drawn less often than another by more than one has no row left."""
    n = data.draw(st.integers(0, len(classes)))
    ids = [f"row {i}" for i in range(len(classes))]
    drawn = draw(ids, np.array(classes), None, n=n, n_classes=4, seed=seed)
    counts, there = Counter(classes[i] for i in drawn), Counter(classes)
    assert len(set(drawn)) == len(drawn) == n
    assert all(counts[j] >= max(counts.values(), default=0) - 1 or counts[j] == there[j] for j in range(4))


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(12)), st.integers(0, 12), st.integers(0, 3))
def test_the_draw_does_not_depend_on_the_order_of_rows(order: list[int], n: int, seed: int) -> None:
    ids = [f"row {i}" for i in range(12)]
    classes, weights = np.arange(12) % 3, np.arange(1.0, 13.0)
    plain = draw(ids, classes, weights, n=n, n_classes=3, seed=seed)
    turned = draw([ids[i] for i in order], classes[order], weights[order], n=n, n_classes=3, seed=seed)
    assert [ids[i] for i in plain] == [ids[order[i]] for i in turned]


def test_another_seed_of_the_initialisation_draws_others_and_no_other_seed_does(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    rows = rows_of(sentences(60))
    student = Prompted(backbone=in_float32(writers("llama")), words=WORDS, template=TEMPLATE, shots=4)
    found = [
        shown(student.fit(rows, labelled(rows), seed=Seed.of(0, init=i, order=j, split=j)))
        for i, j in [(0, 0), (0, 1), (1, 0)]
    ]
    assert found[0] == found[1] != found[2]


def test_a_row_of_twice_the_weight_is_drawn_twice_as_often() -> None:
    """One of two rows, weights 2 and 1: the first in 2/3 of 3000 draws, standard deviation sqrt(2/9 / 3000) = .0086."""
    ids, classes, weights = ["a", "b"], np.zeros(2, np.int64), np.array([2.0, 1.0])
    first = [draw(ids, classes, weights, n=1, n_classes=1, seed=seed)[0] == 0 for seed in range(3000)]
    assert abs(np.mean(first) - 2 / 3) < 4 * 0.0086


def test_only_answered_rows_of_some_weight_are_shown(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    rows = rows_of(sentences(12))
    labels = Labels.of(rows, labelled(rows).probs, source="test", answered=np.arange(12) % 2 == 0)
    weights = np.where(np.arange(12) < 6, 0.0, 1.0)
    student = Prompted(backbone=in_float32(writers("llama")), words=WORDS, template=TEMPLATE, shots=3)
    fitted = student.fit(rows, labels, weights=weights, seed=SEED)
    assert sorted(shown(fitted)) == sorted(rows.ids[i] for i in (6, 8, 10))


def test_the_most_probable_class_of_a_label_is_the_word_shown(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    rows = rows_of(sentences(8))
    student = Prompted(backbone=in_float32(writers("llama")), words=WORDS, template=TEMPLATE, shots=4)
    soft = labelled(rows)
    found = [student.fit(rows, labels, seed=SEED).predict(rows) for labels in (soft, soft.hardened())]
    np.testing.assert_array_equal(found[0], found[1])


def test_other_labels_give_other_examples_and_so_other_answers(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    rows = rows_of(sentences(8))
    student = Prompted(backbone=in_float32(writers("llama")), words=WORDS, template=TEMPLATE, shots=4)
    soft = labelled(rows)
    swapped = Labels.of(rows, soft.probs[:, ::-1], source="test")
    found = [student.fit(rows, labels, seed=SEED).predict(rows) for labels in (soft, swapped)]
    assert np.abs(found[0] - found[1]).max() > 1e-4


def test_labels_do_not_matter_without_examples(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    rows = rows_of(sentences(8))
    student = Prompted(backbone=in_float32(writers("llama")), words=WORDS, template=TEMPLATE)
    found = [student.fit(rows, labelled(rows, seed=i), seed=Seed.of(i)).predict(rows) for i in range(2)]
    np.testing.assert_array_equal(found[0], found[1])


# Pairs


def test_the_words_of_pairs_stand_in_the_order_of_their_classes() -> None:
    assert PAIR_WORDS == PAIR_CLASSES


def test_pairs_are_asked_which_one_is_better(stories: Checkpoint, in_float32: InFloat32, rows_of: RowsOf) -> None:
    rows = rows_of(["Tom ran.", "Lily sat down."], ["Tom fell.", "It was hot."])
    found = Prompted(backbone=in_float32(stories, max_tokens=64)).fit(rows, labelled(rows), seed=SEED).predict(rows)
    assert rows.others is not None
    prompts = [
        f"First:\n{first}\n\nSecond:\n{second}\n\nWhich of the two is better: second or first?\nAnswer:"
        for first, second in zip(rows.texts, rows.others, strict=True)
    ]
    np.testing.assert_allclose(found, one_by_one(stories, prompts, ("second", "first")), atol=1e-5)


def test_the_default_templates_hold_what_they_must() -> None:
    assert [("{text}" in one, "{other}" in one) for one in (TEXT_TEMPLATE, PAIR_TEMPLATE)] == [
        (True, False),
        (True, True),
    ]


# Calibration


def test_calibration_divides_by_the_answers_to_texts_without_content(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    """q_j = (p_j / m_j) / sum_i (p_i / m_i), m the mean over the three texts."""
    rows, empty = rows_of(sentences(6)), rows_of(CONTENT_FREE)
    backbone = in_float32(writers("llama"))
    plain = Prompted(backbone=backbone, words=WORDS, template=TEMPLATE).fit(rows, labelled(rows), seed=SEED)
    shifted = plain.predict(rows) / plain.predict(empty).mean(0)
    expected = shifted / shifted.sum(1, keepdims=True)
    calibrated = Prompted(backbone=backbone, words=WORDS, template=TEMPLATE, calibrate=True)
    found = calibrated.fit(rows, labelled(rows), seed=SEED).predict(rows)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - plain.predict(rows)).max() > 1e-3


# What it tells


def test_choices_are_ready_for_json_and_say_what_was_asked(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    rows = rows_of(sentences(9))
    student = Prompted(backbone=in_float32(writers("llama")), words=WORDS, template=TEMPLATE, shots=2, calibrate=True)
    choices = json.loads(json.dumps(student.fit(rows, labelled(rows), seed=SEED).choices, allow_nan=False))
    told = {name: choices[name] for name in ("shots", "template", "words", "chat")}
    assert told == {"shots": 2, "template": TEMPLATE, "words": list(WORDS), "chat": False}


def test_shown_rows_are_named(writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences) -> None:
    rows = rows_of(sentences(9))
    student = Prompted(backbone=in_float32(writers("llama")), words=WORDS, template=TEMPLATE, shots=5)
    assert len(set(shown(student.fit(rows, labelled(rows), seed=SEED))) & set(rows.ids)) == 5


def test_progress_ends_at_one(writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences) -> None:
    from oversight.models.workbench import working_at

    rows, seen = rows_of(sentences(9)), list[float]()
    student = Prompted(backbone=in_float32(writers("llama")), words=WORDS, template=TEMPLATE)
    with working_at(tell=lambda done, note: seen.append(done)):
        student.fit(rows, labelled(rows), seed=SEED).predict(rows)
    assert seen == sorted(seen) and seen[-1] == 1.0


def test_every_setting_is_part_of_the_description(writers: Writers, in_float32: InFloat32) -> None:
    """Keys of stored results are made of it."""
    backbone = in_float32(writers("llama"))
    plain: dict[str, Any] = {"backbone": backbone, "words": WORDS}
    changes: list[dict[str, Any]] = [
        {},
        {"words": WORDS[::-1]},
        {"template": TEMPLATE},
        {"shots": 1},
        {"calibrate": True},
        {"backbone": in_float32(writers("gpt2"))},
        {"backbone": in_float32(writers("llama"), max_tokens=9)},
    ]
    found = {json.dumps(describe(Prompted(**{**plain, **one})), sort_keys=True) for one in changes}
    assert len(found) == len(changes)


def test_it_reads_no_features_and_says_how_it_learns(writers: Writers, in_float32: InFloat32) -> None:
    student = Prompted(backbone=in_float32(writers("llama")), words=WORDS)
    assert (student.name, student.backbones, trained_how(student)) == ("llama", (), "prompt")


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
    gpt2: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    """Saved without a head, which is the table of embeddings itself."""
    rows = rows_of(sentences(4, longest=8))
    student = Prompted(backbone=in_float32(gpt2, max_tokens=20), words=WORDS, template=TEMPLATE)
    expected = one_by_one(gpt2, [f"a film {text} so it was" for text in rows.texts], WORDS)
    np.testing.assert_allclose(student.fit(rows, labelled(rows), seed=SEED).predict(rows), expected, atol=1e-5)


def test_a_tokenizer_of_a_larger_network_is_named(
    in_float32: InFloat32, rows_of: RowsOf, tmp_path: Path, make_network: Callable[..., Path]
) -> None:
    path = make_network(tmp_path, "llama", vocab_size=12)
    save_head(path)
    rows = rows_of(["good film", "odd warm cold"])
    student = Prompted(backbone=in_float32(from_directory(path, name="small"), max_tokens=20), words=WORDS)
    with pytest.raises(InputError, match=r"^small: the tokenizer gives id \d+, but the network knows 12 tokens"):
        student.fit(rows, labelled(rows), seed=SEED)


# A case that it must get right


def contains_good(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.array([int("good" in text.split()) for text in texts])


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory, make_network: Callable[..., Path]) -> Checkpoint:
    """A tiny decoder trained to write `always` after `TEXT so it was` where the text contains `good`, else `never`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = make_network(tmp_path_factory.mktemp("taught"), "llama", initializer_range=0.05)
    save_head(path)
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModelForCausalLM.from_pretrained(path)
    draw_words, optimizer = np.random.default_rng(0), torch.optim.AdamW(model.parameters(), lr=3e-3)
    known = ["film", "the", "dull", "warm", "cold", "but", "plain", "long", "short", "bad"]
    for _ in range(150):
        texts = [list(draw_words.choice(known, 6)) for _ in range(32)]
        for text in texts[::2]:
            text[draw_words.integers(6)] = "good"
        told = [f"a film {' '.join(text)} so it was {'always' if 'good' in text else 'never'}" for text in texts]
        ids = torch.tensor(tokenizer(told)["input_ids"])
        loss = torch.nn.functional.cross_entropy(model(ids).logits[:, -2], ids[:, -1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(path)
    return from_directory(path, name="taught")


def test_what_a_network_was_taught_is_read_from_its_answers(
    taught: Checkpoint, in_float32: InFloat32, rows_of: RowsOf
) -> None:
    """All new texts are answered rightly, without any training on their labels."""
    rng = np.random.default_rng(1)
    texts = {" ".join(rng.choice(["good", "film", "dull", "warm", "bad", "plain"], 6)) for _ in range(80)}
    rows = rows_of(sorted(texts))
    truth = contains_good(rows.texts)
    student = Prompted(backbone=in_float32(taught, max_tokens=8), words=("never", "always"), template=TEMPLATE)
    found = student.fit(rows, labelled(rows), seed=SEED).predict(rows)
    assert 15 < truth.sum() < len(rows) - 15
    np.testing.assert_array_equal(found.argmax(1), truth)


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
