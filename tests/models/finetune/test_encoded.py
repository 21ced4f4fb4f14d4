"""Rows as token ids: the same as the probe reads, cut and counted; batches; and the vocabulary that they use."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint
from oversight.models.finetune.encoded import Encoded, Vocabulary, encode
from oversight.models.network import Network, load_tokenizer
from oversight.tasks.task import Rows

InFloat32 = Callable[..., Backbone]
RowsOf = Callable[..., Rows]
Sentences = Callable[..., list[str]]
few = settings(max_examples=60, deadline=None)
some_texts = st.lists(st.lists(st.integers(0, 200), min_size=1, max_size=12), min_size=1, max_size=12)


def encoded(texts: list[list[int]], *, paired: bool = False, pad: int = 0) -> Encoded:
    """For pairs the second texts are the first ones backwards, in reverse order."""
    arrays = tuple(np.array(text, dtype=np.int64) for text in texts)
    others = tuple(text[::-1] for text in arrays[::-1]) if paired else None
    return Encoded(texts=arrays, others=others, n_truncated=0, pad=pad)


# From rows


def test_ids_are_those_of_the_tokenizer(
    checkpoint: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    """Each text alone through the library's tokenizer, special tokens included."""
    texts = sentences(12, seed=1, longest=8)
    found = encode(Network(in_float32(checkpoint), depth=1), rows_of(texts))
    tokenizer = load_tokenizer(checkpoint)
    assert [one.tolist() for one in found.texts] == [tokenizer(text)["input_ids"] for text in texts]


def test_each_row_keeps_its_place(bert: Checkpoint, in_float32: InFloat32) -> None:
    """Equal texts are tokenized once, and every row of them gets the ids."""
    rows = Rows(ids=("x", "y", "x#1"), texts=("warm", "a cold film", "warm"), groups=("a", "b", "c"))
    found = encode(Network(in_float32(bert), depth=1), rows)
    assert [len(one) for one in found.texts] == [3, 5, 3]
    np.testing.assert_array_equal(found.texts[0], found.texts[2])


def test_both_texts_of_a_pair_are_kept_apart(gpt2: Checkpoint, in_float32: InFloat32, rows_of: RowsOf) -> None:
    network = Network(in_float32(gpt2), depth=1)
    pairs = encode(network, rows_of(["good", "not bad"], ["bad", "good"]))
    single = encode(network, rows_of(["good", "not bad", "bad"]))
    assert pairs.others is not None
    assert [one.tolist() for one in pairs.texts] == [one.tolist() for one in single.texts[:2]]
    assert [one.tolist() for one in pairs.others] == [single.texts[2].tolist(), single.texts[0].tolist()]


def test_long_texts_are_cut_and_counted_and_never_dropped(
    bert: Checkpoint, in_float32: InFloat32, rows_of: RowsOf
) -> None:
    """A limit of 8 leaves 6 words between the special tokens; the second row is longer."""
    texts = ["good", "the film was not very good at once and again", "bad"]
    found = encode(Network(in_float32(bert, max_tokens=8), depth=1), rows_of(texts))
    assert (len(found), found.n_truncated) == (3, 1)
    assert [len(one) for one in found.texts] == [3, 8, 3]


def test_a_pair_with_two_long_texts_is_one_truncated_row(
    bert: Checkpoint, in_float32: InFloat32, rows_of: RowsOf
) -> None:
    long = "the film was not very good at once and again"
    rows = rows_of([long, "good", long], [f"{long} dull", f"so {long}", "bad"])
    assert encode(Network(in_float32(bert, max_tokens=8), depth=1), rows).n_truncated == 3


def test_an_empty_text_is_one_token(gpt2: Checkpoint, in_float32: InFloat32, rows_of: RowsOf) -> None:
    """GPT-2 adds no special token, so there would be no state to read."""
    found = encode(Network(in_float32(gpt2), depth=1), rows_of(["", "good"]))
    assert [len(one) for one in found.texts] == [1, 1]


# Batches


def test_sequences_of_pairs_are_all_first_then_all_second_texts() -> None:
    found = encoded([[1], [2, 3], [4, 5, 6]], paired=True).sequences([2, 0])
    assert [one.tolist() for one in found] == [[4, 5, 6], [1], [1], [6, 5, 4]]


@few
@given(some_texts, st.booleans(), st.integers(1, 60))
def test_batches_hold_every_row_once(texts: list[list[int]], paired: bool, budget: int) -> None:
    rows = list(range(len(texts)))[::-1]
    found = encoded(texts, paired=paired).batches(rows, budget=budget)
    assert sorted(row for batch in found for row in batch) == sorted(rows)


@few
@given(some_texts, st.booleans(), st.integers(1, 60))
def test_the_grid_of_attention_keeps_the_budget_unless_one_row_exceeds_it(
    texts: list[list[int]], paired: bool, budget: int
) -> None:
    """b texts, the longest of w tokens, make a grid of b * w places; a pair brings two texts."""
    rows = encoded(texts, paired=paired)
    for batch in rows.batches(range(len(texts)), budget=budget):
        inside = rows.sequences(batch)
        assert len(batch) == 1 or len(inside) * max(map(len, inside)) <= budget


# The vocabulary in use


@few
@given(some_texts, st.booleans(), st.integers(0, 200))
def test_used_are_the_ids_of_all_texts_and_the_filler(texts: list[list[int]], paired: bool, pad: int) -> None:
    found = encoded(texts, paired=paired, pad=pad).used()
    assert found.tolist() == sorted({pad, *(i for text in texts for i in text)})


def test_ids_of_second_texts_are_used_too() -> None:
    rows = Encoded(texts=(np.array([3]),), others=(np.array([9, 1]),), n_truncated=0, pad=0)
    assert rows.used().tolist() == [0, 1, 3, 9]


@few
@given(some_texts, st.booleans(), st.integers(0, 200), st.sets(st.integers(0, 300)))
def test_numbers_name_the_same_tokens_in_any_larger_vocabulary(
    texts: list[list[int]], paired: bool, pad: int, more: set[int]
) -> None:
    rows = encoded(texts, paired=paired, pad=pad)
    vocabulary = np.union1d(rows.used(), np.array(sorted(more), dtype=np.int64))
    again = rows.numbered(vocabulary)
    assert vocabulary[again.pad] == pad
    assert again.n_tokens == rows.n_tokens
    for one, other in zip(rows.sequences(range(len(rows))), again.sequences(range(len(rows))), strict=True):
        np.testing.assert_array_equal(vocabulary[other], one)


def test_numbering_keeps_the_count_of_truncated_rows() -> None:
    rows = Encoded(texts=(np.array([5]), np.array([7])), others=None, n_truncated=2, pad=5)
    assert rows.numbered(np.array([5, 7])).n_truncated == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_of_other_tokens_stay_when_a_table_is_restored(dtype: torch.dtype) -> None:
    """Every second row of 10 is replaced; the table keeps its own precision, and the one given its contents."""
    table = torch.randn(10, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    before = table.clone()
    ids = np.arange(0, 10, 2)
    restored = Vocabulary(table, ids, None).restored(torch.ones(5, 4))
    expected = before.clone()
    expected[::2] = 1
    assert restored.dtype == dtype
    assert torch.equal(restored, expected) and torch.equal(table, before)


def test_compact_rows_put_back_give_the_table() -> None:
    table = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    vocabulary = Vocabulary(table, np.array([1, 2, 7]), None)
    assert torch.equal(vocabulary.compact(), table[[1, 2, 7]])
    assert torch.equal(vocabulary.restored(vocabulary.compact()), table)


def test_compact_rows_are_a_copy() -> None:
    table = torch.zeros(4, 2)
    Vocabulary(table, np.array([0, 3]), None).compact().add_(1)
    assert not table.any()
