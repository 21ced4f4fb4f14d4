"""Prompts, examples, pairs and calibration of a decoder that is prompted, and a case that it must know."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.describe import describe
from oversight.errors import InputError
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint, from_directory
from oversight.models.prompted import CONTENT_FREE, PAIR_TEMPLATE, PAIR_WORDS, TEXT_TEMPLATE, Prompted, draw
from oversight.models.student import trained_how
from oversight.tasks.columns import PAIR_CLASSES
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
CHAT = (
    "{% for turn in messages %}never {{ turn.role }} dull {{ turn.content | trim }} once {% endfor %}"
    "{% if add_generation_prompt %}never assistant dull{% endif %}"
)


def labelled(rows: Rows, *, k: int = 2, seed: int = 0) -> Labels:
    """Soft labels of some supervisor."""
    return Labels.of(rows, np.random.default_rng(seed).dirichlet(np.ones(k), len(rows)), source="test")


def shown(fitted: Any) -> list[str]:
    return list(fitted.choices["shown"])


# Prompts


def test_the_default_question_names_all_words(
    stories: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, one_by_one: OneByOne
) -> None:
    rows, words = rows_of(["Tom ran.", "It rained."]), ("sad", "happy")
    student = Prompted(backbone=in_float32(stories), words=words)
    found = student.fit(rows, labelled(rows), seed=SEED).predict(rows)
    prompts = [f"{text}\n\nWhich of these describes the text: sad or happy?\nAnswer:" for text in rows.texts]
    np.testing.assert_allclose(found, one_by_one(stories, prompts, words), atol=1e-5)


def test_braces_in_a_text_stay_as_they_are(
    stories: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, one_by_one: OneByOne
) -> None:
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
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, tmp_path: Path, make_writer: Callable[..., Path]
) -> None:
    """A tokenizer that ends every text with a special token would make the network answer after the end."""
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    path = make_writer(tmp_path, "llama")
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
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences, shots: int, one_by_one: OneByOne
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
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences, one_by_one: OneByOne
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


def test_pairs_are_asked_which_one_is_better(
    stories: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, one_by_one: OneByOne
) -> None:
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


# A case that it must get right


def contains_good(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.array([int("good" in text.split()) for text in texts])


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory, make_writer: Callable[..., Path]) -> Checkpoint:
    """A tiny decoder trained to write `always` after `TEXT so it was` where the text contains `good`, else `never`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = make_writer(tmp_path_factory.mktemp("taught"), "llama", initializer_range=0.05)
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
