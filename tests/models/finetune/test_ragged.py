"""Texts side by side, and attention of each with itself against a double loop over its tokens."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.models.finetune import ragged
from oversight.models.finetune.ragged import IGNORED, RAGGED, Pack, ragged_attention, register, work_on

few = settings(max_examples=40, deadline=None)
some_lengths = st.lists(st.integers(1, 9), min_size=1, max_size=6)
HEADS, SIZE = 4, 3


class Layer(torch.nn.Module):
    """What attention asks of the layer that calls it."""

    def __init__(self, is_causal: bool) -> None:
        super().__init__()
        self.is_causal = is_causal


def texts_of(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 50, n) for n in lengths]


def states(lengths: list[int], heads: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """(1, heads, t, SIZE)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, heads, sum(lengths), SIZE, generator=generator, dtype=torch.float64).to(dtype)


def naive(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    lengths: list[int],
    *,
    causal: bool,
    window: int | None,
    softcap: float | None,
    scaling: float,
) -> np.ndarray:
    """(t, h, e): for each text, head and token the average of values, weighted by exp of the scores it may see."""
    found = np.zeros((sum(lengths), q.shape[1], SIZE))
    group, start = q.shape[1] // k.shape[1], 0
    for n in lengths:
        for head in range(q.shape[1]):
            for i in range(n):
                total, norm = np.zeros(SIZE), 0.0
                for j in range(n):
                    if (causal and j > i) or (window is not None and abs(i - j) >= window):
                        continue
                    score = scaling * float(q[0, head, start + i] @ k[0, head // group, start + j])
                    score = score if softcap is None else softcap * math.tanh(score / softcap)
                    norm += math.exp(score)
                    total += math.exp(score) * v[0, head // group, start + j].numpy()
                found[start + i, head] = total / norm
        start += n
    return found


# Packs


@few
@given(some_lengths)
def test_a_pack_holds_the_tokens_of_all_texts_in_order(lengths: list[int]) -> None:
    texts = texts_of(lengths)
    np.testing.assert_array_equal(Pack.of(texts).ids[0].numpy(), np.concatenate(texts))


@few
@given(some_lengths, st.integers(0, 5))
def test_positions_start_again_with_every_text(lengths: list[int], first: int) -> None:
    found = Pack.of(texts_of(lengths), first_position=first).positions[0].tolist()
    assert found == [first + i for n in lengths for i in range(n)]


@few
@given(some_lengths)
def test_the_grid_finds_every_text(lengths: list[int]) -> None:
    texts = texts_of(lengths)
    pack = Pack.of(texts)
    for i, text in enumerate(texts):
        np.testing.assert_array_equal(pack.ids[0][pack.grid[i][pack.real[i]]].numpy(), text)


@few
@given(some_lengths)
def test_place_undoes_the_grid(lengths: list[int]) -> None:
    """Token number i of the pack stands where the flattened grid names i, and is real there."""
    pack = Pack.of(texts_of(lengths))
    assert pack.grid.reshape(-1)[pack.place].tolist() == list(range(sum(lengths)))
    assert bool(pack.real.reshape(-1)[pack.place].all())


@few
@given(some_lengths, st.integers(0, 10))
def test_an_uncounted_token_stands_before_the_first_position(lengths: list[int], seed: int) -> None:
    """As RoBERTa counts: the others of its text are numbered without it."""
    texts = [text % 4 for text in texts_of(lengths, seed)]
    expected: list[int] = []
    for text in texts:
        place = 2
        for token in text:
            expected.append(1 if token == 3 else place)
            place += token != 3
    found = Pack.of(texts, first_position=2, uncounted=3).positions[0].tolist()
    assert found == expected


def test_the_bias_hides_filler_the_future_and_the_distant() -> None:
    """Texts of 3 and 1 tokens, causal, a window of 2: each sees itself and the one before."""
    pack = Pack.of(texts_of([3, 1]))
    found = pack.bias(causal=True, window=2, like=torch.zeros(1)) == 0
    assert found[0, 0].tolist() == [[True, False, False], [True, True, False], [False, True, True]]
    assert found[1, 0, 0].tolist() == [True, False, False]


def test_biases_of_different_kinds_are_not_mixed_up() -> None:
    pack = Pack.of(texts_of([4, 2]))
    like = torch.zeros(1)
    kinds = [(causal, window) for causal in (True, False) for window in (None, 1, 2)]
    first = [pack.bias(causal=causal, window=window, like=like).clone() for causal, window in kinds]
    again = [pack.bias(causal=causal, window=window, like=like) for causal, window in kinds]
    fresh = [Pack.of(texts_of([4, 2])).bias(causal=causal, window=window, like=like) for causal, window in kinds]
    for one, other, alone in zip(first, again, fresh, strict=True):
        assert torch.equal(one, other) and torch.equal(one, alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_hidden_stays_finite_under_a_large_negative_score(dtype: torch.dtype) -> None:
    """Half of the lowest number and half of it again are not below the lowest number."""
    lowest = torch.finfo(dtype).min
    bias = Pack.of(texts_of([2, 1])).bias(causal=False, window=None, like=torch.zeros(1, dtype=dtype))
    assert bool(torch.isfinite(bias + lowest / 2).all())


# Attention


@few
@given(
    lengths=some_lengths,
    causal=st.booleans(),
    window=st.sampled_from([None, 1, 3]),
    groups=st.sampled_from([1, 2, 4]),
    softcap=st.sampled_from([None, 1.5]),
    seed=st.integers(0, 1000),
)
def test_attention_equals_the_double_loop(
    lengths: list[int], causal: bool, window: int | None, groups: int, softcap: float | None, seed: int
) -> None:
    q, k, v = (states(lengths, HEADS // g, seed + i) for i, g in enumerate((1, groups, groups)))
    work_on(Pack.of(texts_of(lengths)))
    found, weights = ragged_attention(Layer(causal), q, k, v, None, scaling=0.7, sliding_window=window, softcap=softcap)
    expected = naive(q, k, v, lengths, causal=causal, window=window, softcap=softcap, scaling=0.7)
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=0, atol=1e-12)
    assert weights is None


def test_scores_are_scaled_by_the_root_of_their_size_unless_told_otherwise() -> None:
    lengths = [4, 2]
    q, k, v = (states(lengths, HEADS, seed) for seed in range(3))
    work_on(Pack.of(texts_of(lengths)))
    found, _ = ragged_attention(Layer(True), q, k, v)
    expected = naive(q, k, v, lengths, causal=True, window=None, softcap=None, scaling=1 / math.sqrt(SIZE))
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("told", [True, False])
def test_the_caller_overrules_the_layer_on_looking_ahead(told: bool) -> None:
    lengths = [5, 3]
    q, k, v = (states(lengths, HEADS, seed) for seed in range(3))
    work_on(Pack.of(texts_of(lengths)))
    found, _ = ragged_attention(Layer(not told), q, k, v, is_causal=told)
    expected, _ = ragged_attention(Layer(told), q, k, v)
    assert torch.equal(found, expected)


def test_a_mask_of_the_library_is_not_needed() -> None:
    """The pack knows what is real; a mask of another shape changes nothing."""
    lengths = [3, 2]
    q, k, v = (states(lengths, HEADS, seed) for seed in range(3))
    work_on(Pack.of(texts_of(lengths)))
    without, _ = ragged_attention(Layer(False), q, k, v)
    with_one, _ = ragged_attention(Layer(False), q, k, v, torch.full((1, 1, 5, 5), -1e9))
    assert torch.equal(without, with_one)


@pytest.mark.parametrize("window", [None, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_gradient_is_nan_where_filler_sees_nothing(window: int | None, dtype: torch.dtype) -> None:
    """Beside a text of 12 tokens the 11 places of filler of a single token lie outside any window of real ones."""
    lengths = [12, 1]
    leaves = [states(lengths, HEADS, seed, dtype).requires_grad_() for seed in range(3)]
    work_on(Pack.of(texts_of(lengths)))
    found, _ = ragged_attention(Layer(True), *leaves, sliding_window=window)
    found.float().square().sum().backward()
    for leaf in leaves:
        assert leaf.grad is not None and bool(torch.isfinite(leaf.grad).all())


def test_gradients_do_not_cross_from_one_text_to_another() -> None:
    lengths = [3, 4]
    leaves = [states(lengths, HEADS, seed).requires_grad_() for seed in range(3)]
    work_on(Pack.of(texts_of(lengths)))
    found, _ = ragged_attention(Layer(False), *leaves)
    found[0, :3].square().sum().backward()
    for leaf in leaves:
        assert leaf.grad is not None
        assert bool(leaf.grad[0, :, :3].any()) and not bool(leaf.grad[0, :, 3:].any())


def test_dropout_of_weights_keeps_the_mean() -> None:
    """With values of 1 the output is the sum of kept weights over their share 1 - p: 1 on average.

    16,000 tokens of 8 weights of about 1/8 each: a standard error of about sqrt(1/8 / 64,000) = 0.0014.
    """
    lengths = [8] * 2000
    q, k, v = (states(lengths, HEADS, seed) for seed in range(3))
    work_on(Pack.of(texts_of(lengths)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found, _ = ragged_attention(Layer(False), 0 * q, k, torch.ones_like(v), dropout=0.5)
    assert float(found.mean()) == pytest.approx(1, abs=0.01)
    assert float(found.std()) > 0.1


# Refusals


def test_another_tensor_is_refused_by_name() -> None:
    lengths = [3]
    q, k, v = (states(lengths, HEADS, seed) for seed in range(3))
    work_on(Pack.of(texts_of(lengths)))
    with pytest.raises(NotImplementedError, match="position_bias"):
        ragged_attention(Layer(False), q, k, v, position_bias=torch.zeros(1))


@pytest.mark.parametrize("name", sorted(IGNORED))
def test_positions_that_were_used_already_are_no_reason_to_refuse(name: str) -> None:
    lengths = [3]
    q, k, v = (states(lengths, HEADS, seed) for seed in range(3))
    work_on(Pack.of(texts_of(lengths)))
    others: dict[str, Any] = {name: torch.zeros(1)}
    assert torch.equal(ragged_attention(Layer(False), q, k, v, **others)[0], ragged_attention(Layer(False), q, k, v)[0])


def test_without_a_pack_nothing_is_attended_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ragged._Current, "pack", None)
    q, k, v = (states([3], HEADS, seed) for seed in range(3))
    with pytest.raises(NotImplementedError, match="no pack"):
        ragged_attention(Layer(False), q, k, v)


def test_the_library_knows_the_attention_by_its_name() -> None:
    from transformers import AttentionInterface

    known = AttentionInterface().get_interface(register(), None)
    assert inspect.unwrap(known) is ragged_attention  # a compiled network of this process has wrapped it
    assert register() == RAGGED
