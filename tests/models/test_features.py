"""Batches, one pass for many depths, pairs, and the bank that remembers features by row id."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.models import features as module
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint, from_directory
from oversight.models.features import FeatureBank, batches, extract, features, using
from oversight.tasks.task import Rows

N_BLOCKS = 3
InFloat32 = Callable[..., Backbone]
RowsOf = Callable[..., Rows]
Sentences = Callable[..., list[str]]
lengths_and_budget = given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 600))
few = settings(max_examples=80, deadline=None)


@few
@lengths_and_budget
def test_batches_hold_every_position_once(lengths: list[int], budget: int) -> None:
    found = batches(lengths, budget=budget)
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))


@few
@lengths_and_budget
def test_padded_batches_keep_the_budget_unless_one_text_exceeds_it(lengths: list[int], budget: int) -> None:
    for batch in batches(lengths, budget=budget):
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


@few
@lengths_and_budget
def test_batches_are_in_the_order_of_length_then_position(lengths: list[int], budget: int) -> None:
    order = [i for batch in batches(lengths, budget=budget) for i in batch]
    assert [(lengths[i], i) for i in order] == sorted((lengths[i], i) for i in order)


@few
@lengths_and_budget
def test_batches_are_as_full_as_the_budget_allows(lengths: list[int], budget: int) -> None:
    """The next text would not have fitted."""
    found = batches(lengths, budget=budget)
    for batch, following in pairwise(found):
        assert (len(batch) + 1) * lengths[following[0]] > budget


@few
@given(st.lists(st.integers(1, 50), min_size=1, max_size=30, unique=True), st.integers(1, 300), st.randoms())
def test_batches_depend_on_lengths_not_on_their_order(lengths: list[int], budget: int, random: st.DataObject) -> None:
    """With different lengths every text has the same company whatever the order."""
    shuffled = list(lengths)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one = {frozenset(lengths[i] for i in batch) for batch in batches(lengths, budget=budget)}
    other = {frozenset(shuffled[i] for i in batch) for batch in batches(shuffled, budget=budget)}
    assert one == other


def test_no_texts_give_no_batches() -> None:
    assert batches([], budget=10) == []


# Extraction


def test_extraction_does_not_depend_on_the_order_of_rows(
    bert: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many batches of few texts and many texts of each length, so that another order could make other batches."""
    monkeypatch.setattr(module, "TOKEN_BUDGET", {"cpu": 64})
    rows = rows_of(sentences(120, seed=1, longest=12))
    order = np.random.default_rng(0).permutation(120)
    straight = extract(in_float32(bert), rows, depths=[1, 3]).features
    shuffled = extract(in_float32(bert), rows.take(order), depths=[1, 3]).features
    for depth, values in straight.items():
        np.testing.assert_array_equal(shuffled[depth], values[order])


def test_a_row_does_not_depend_on_which_other_rows_are_asked_for(
    checkpoint: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    """Other batches, hence other sums: 1e-5 in fp32."""
    rows = rows_of(sentences(30, seed=2))
    everything = extract(in_float32(checkpoint), rows, depths=[N_BLOCKS]).features[N_BLOCKS]
    some = extract(in_float32(checkpoint), rows.take([3, 17, 29]), depths=[N_BLOCKS]).features[N_BLOCKS]
    np.testing.assert_allclose(some, everything[[3, 17, 29]], rtol=0, atol=1e-5)


def test_all_depths_from_one_pass_are_those_of_separate_passes(
    checkpoint: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    """The same batches pass the same blocks, so to the last bit."""
    rows = rows_of(sentences(20, seed=3))
    together = extract(in_float32(checkpoint), rows, depths=range(N_BLOCKS + 1)).features
    for depth in range(N_BLOCKS + 1):
        alone = extract(in_float32(checkpoint), rows, depths=[depth]).features[depth]
        np.testing.assert_array_equal(together[depth], alone)


def test_the_depth_of_the_backbone_itself_does_not_count(
    bert: Checkpoint, in_float32: InFloat32, rows_of: RowsOf
) -> None:
    rows = rows_of(["the film was good", "slow"])
    one, other = (extract(in_float32(bert, depth=k), rows, depths=[2]).features[2] for k in (0, 3))
    np.testing.assert_array_equal(one, other)


def test_small_batches_give_the_same_features(
    gpt2: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(sentences(30, seed=4))
    large = extract(in_float32(gpt2), rows, depths=[N_BLOCKS]).features[N_BLOCKS]
    monkeypatch.setattr(module, "TOKEN_BUDGET", {"cpu": 1})
    small = extract(in_float32(gpt2), rows, depths=[N_BLOCKS]).features[N_BLOCKS]
    np.testing.assert_allclose(small, large, rtol=0, atol=1e-5)


def test_features_are_float32_one_row_each(bert: Checkpoint, in_float32: InFloat32, rows_of: RowsOf) -> None:
    found = extract(in_float32(bert), rows_of(["good", "bad", "slow"]), depths=[2]).features[2]
    assert (found.shape, found.dtype) == ((3, 32), np.dtype(np.float32))


def test_rows_of_the_same_text_have_the_same_features(bert: Checkpoint, in_float32: InFloat32) -> None:
    rows = Rows(ids=("x", "x#1", "y"), texts=("good", "good", "bad"), groups=("a", "b", "c"))
    found = extract(in_float32(bert), rows, depths=[3]).features[3]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_real_tokens_are_counted_once_per_text(bert: Checkpoint, in_float32: InFloat32) -> None:
    """[CLS] good [SEP] and [CLS] the film [SEP]: 3 + 4, the copy of the first text costs nothing."""
    rows = Rows(ids=("x", "x#1", "y"), texts=("good", "good", "the film"), groups=("a", "b", "c"))
    assert extract(in_float32(bert), rows, depths=[1]).n_tokens == 7


def test_truncated_rows_are_counted_and_kept(bert: Checkpoint, in_float32: InFloat32) -> None:
    """Two of the three rows, one text, are longer than 5 tokens."""
    long = "the film was very good"
    rows = Rows(ids=("x", "x#1", "y"), texts=(long, long, "the film"), groups=("a", "b", "c"))
    found = extract(in_float32(bert, max_tokens=5), rows, depths=[1])
    assert (found.n_truncated, len(found.features[1])) == (2, 3)


def test_a_pair_with_one_long_text_is_one_truncated_row(
    bert: Checkpoint, in_float32: InFloat32, rows_of: RowsOf
) -> None:
    long = "the film was very good"
    rows = rows_of(["good", long, long, "bad"], ["bad", "good", f"{long} and warm", "slow"])
    assert extract(in_float32(bert, max_tokens=5), rows, depths=[1]).n_truncated == 2


def test_float32_has_no_error(bert: Checkpoint, in_float32: InFloat32, rows_of: RowsOf) -> None:
    assert extract(in_float32(bert), rows_of(["good", "bad"]), depths=[1, 3]).error == 0


def test_the_error_of_bfloat16_is_the_largest_cosine_distance_from_float32(
    gpt2: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    """Fewer rows than the sample holds, so every row counts."""
    rows = rows_of(sentences(20, seed=5))
    exact = extract(in_float32(gpt2), rows, depths=[1, 3])
    rough = extract(in_float32(gpt2, precision="bfloat16"), rows, depths=[1, 3])
    worst = 0.0
    for depth in (1, 3):
        for a, b in zip(exact.features[depth].astype(float), rough.features[depth].astype(float), strict=True):
            worst = max(worst, 1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    assert rough.error == pytest.approx(worst, rel=0.02)
    assert 1e-7 < worst < 2e-3


def test_the_sample_for_the_error_reaches_from_the_shortest_to_the_longest_text() -> None:
    """At most 64 of 1,000 positions, spread evenly over the batches in order."""
    found = module._sample([list(range(600)), list(range(600, 1000))])
    assert len(found) == len(set(found)) <= 64
    assert max(np.diff(found)) <= 1000 / 64
    assert found[0] == 0 and found[-1] > 900


def test_progress_rises_to_one(bert: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences) -> None:
    told: list[float] = []
    extract(in_float32(bert), rows_of(sentences(400, seed=6)), depths=[1], tick=told.append)
    assert len(told) > 1
    assert told == sorted(told) and told[-1] == 1


# Pairs


def test_features_of_a_pair_are_the_difference(
    bert: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    """The same set of texts as single rows makes the same batches, so to the last bit."""
    texts = sentences(20, seed=7)
    pairs = extract(in_float32(bert), rows_of(texts[:10], texts[10:]), depths=[0, 3]).features
    single = extract(in_float32(bert), rows_of(texts), depths=[0, 3]).features
    for depth, values in pairs.items():
        np.testing.assert_array_equal(values, single[depth][:10] - single[depth][10:])


def test_swapping_a_pair_changes_the_sign(
    gpt2: Checkpoint, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences
) -> None:
    texts = sentences(20, seed=8)
    one = extract(in_float32(gpt2), rows_of(texts[:10], texts[10:]), depths=[3]).features[3]
    other = extract(in_float32(gpt2), rows_of(texts[10:], texts[:10]), depths=[3]).features[3]
    np.testing.assert_array_equal(one, -other)


def test_a_pair_of_equal_texts_has_no_features(bert: Checkpoint, in_float32: InFloat32, rows_of: RowsOf) -> None:
    found = extract(in_float32(bert), rows_of(["good", "bad"], ["good", "slow"]), depths=[3]).features[3]
    assert not found[0].any() and found[1].any()


# The bank


def planted(n: int, d: int = 4) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)


def test_the_bank_joins_by_id(bert: Checkpoint, rows_of: RowsOf) -> None:
    rows, x, bank = rows_of(["good", "bad", "slow", "warm"]), planted(4), FeatureBank()
    backbone = Backbone(checkpoint=bert)
    bank.add(backbone, rows.ids, x)
    found = bank.find(backbone, rows.take([3, 0, 2]))
    assert found is not None
    np.testing.assert_array_equal(found, x[[3, 0, 2]])


def test_the_bank_does_not_know_a_row_that_was_not_added(bert: Checkpoint, rows_of: RowsOf) -> None:
    bank, backbone = FeatureBank(), Backbone(checkpoint=bert)
    bank.add(backbone, rows_of(["good"]).ids, planted(1))
    assert bank.find(backbone, rows_of(["good", "bad"])) is None


def test_the_bank_keeps_sets_of_rows_of_the_same_backbone(bert: Checkpoint, rows_of: RowsOf) -> None:
    """Such as the task and a further test set."""
    bank, backbone, x = FeatureBank(), Backbone(checkpoint=bert), planted(2)
    bank.add(backbone, rows_of(["good"]).ids, x[:1])
    bank.add(backbone, rows_of(["bad"]).ids, x[1:])
    found = bank.find(backbone, rows_of(["bad"]))
    assert found is not None
    np.testing.assert_array_equal(found, x[1:])


@pytest.mark.parametrize("change", [{"depth": 1}, {"pool": "cls"}, {"max_tokens": 9}, {"precision": "float32"}])
def test_the_bank_tells_backbones_apart(bert: Checkpoint, rows_of: RowsOf, change: dict[str, object]) -> None:
    rows, bank = rows_of(["good"]), FeatureBank()
    bank.add(Backbone(checkpoint=bert), rows.ids, planted(1))
    assert bank.find(Backbone(checkpoint=bert, **change), rows) is None  # type: ignore[arg-type]


def test_the_bank_knows_a_backbone_whose_defaults_are_spelled_out(bert: Checkpoint, rows_of: RowsOf) -> None:
    rows, bank = rows_of(["good"]), FeatureBank()
    bank.add(Backbone(checkpoint=bert), rows.ids, planted(1))
    assert bank.find(Backbone(checkpoint=bert, depth=3, pool="mean"), rows) is not None


def test_features_come_from_the_bank_in_use(bert: Checkpoint, rows_of: RowsOf) -> None:
    rows, x, bank, backbone = rows_of(["good", "bad"]), planted(2), FeatureBank(), Backbone(checkpoint=bert)
    bank.add(backbone, rows.ids, x)
    with using(bank):
        found = features(backbone, rows)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, x.astype(np.float64))


def test_features_are_extracted_where_the_bank_does_not_know_them(
    bert: Checkpoint, in_float32: InFloat32, rows_of: RowsOf
) -> None:
    rows, backbone = rows_of(["good", "bad"]), in_float32(bert, depth=2)
    with using(FeatureBank()):
        found = features(backbone, rows)
    np.testing.assert_array_equal(found, extract(backbone, rows, depths=[2]).features[2].astype(np.float64))


def test_a_bank_is_in_use_only_within_its_block(bert: Checkpoint, in_float32: InFloat32, rows_of: RowsOf) -> None:
    rows, bank, backbone = rows_of(["good"]), FeatureBank(), in_float32(bert)
    bank.add(backbone, rows.ids, np.full((1, 32), 9, np.float32))
    with using(bank), using(FeatureBank()):
        inner = features(backbone, rows)
    assert not (inner == 9).any()
    assert not (features(backbone, rows) == 9).any()


def test_weights_changed_in_place_are_read_anew(
    make_network: Callable[..., Path], tmp_path: Path, in_float32: InFloat32, rows_of: RowsOf
) -> None:
    rows = rows_of(["good", "bad"])
    path = make_network(tmp_path / "m", "bert", seed=0)
    backbone = in_float32(from_directory(path))
    before = features(backbone, rows)
    make_network(tmp_path / "m", "bert", seed=1)
    assert not np.allclose(features(backbone, rows), before, atol=1e-3)
