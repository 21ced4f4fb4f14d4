"""Texts of different lengths side by side without padding: layers see real tokens, attention one text at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

RAGGED = "oversight_ragged"
FUSED = {"cuda"}
IGNORED = frozenset(["cache_position", "position_embeddings", "position_ids"])


@dataclass(frozen=True, kw_only=True)
class Pack:
    """b texts of t tokens in all, the longest of w.

    Attributes:
        ids: (1, t) token ids.
        positions: (1, t) place of each token in its own text, counted as the network counts.
        lengths: (b,) tokens of each text.
        grid: (b, w) where in the pack the tokens of each text stand; 0 where it has none.
        real: (b, w) bool, whether it has one.
        place: (t,) where in the flattened grid each token stands.
        biases: attention biases computed so far.
    """

    ids: Tensor
    positions: Tensor
    lengths: Tensor
    grid: Tensor
    real: Tensor
    place: Tensor
    biases: dict[Any, Any] = field(default_factory=dict[Any, Any], compare=False)

    @classmethod
    def of(
        cls,
        texts: Sequence[npt.NDArray[np.int64]],
        *,
        first_position: int = 0,
        uncounted: int | None = None,
        device: str = "cpu",
    ) -> Pack:
        """Lay texts side by side.

        Args:
            texts: b sequences of token ids, none of them empty.
            first_position: of the first token of a text.
            uncounted: a token that takes no place of its own; it stands before the first position.
            device: where the tensors go.
        """
        import torch

        lengths = np.array([len(text) for text in texts])
        starts = np.cumsum(lengths) - lengths
        steps = np.arange(int(lengths.max()))[None]
        real = steps < lengths[:, None]
        ids = np.concatenate(list(texts))
        counted = ids != (-1 if uncounted is None else uncounted)
        before = counted.cumsum() - counted
        within = np.where(counted, before - np.repeat(before[starts], lengths), -1)
        arrays = {
            "ids": ids[None],
            "positions": within[None] + first_position,
            "lengths": lengths,
            "grid": np.where(real, starts[:, None] + steps, 0),
            "real": real,
            "place": np.flatnonzero(real),
        }
        tensors: dict[str, Any] = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        return cls(**tensors)

    def bias(self, *, causal: bool, window: int | None, like: Tensor) -> Tensor:
        """(b, 1, 1 or w, w): 0 where a token may be seen, far below 0 elsewhere; never all of a row."""
        import torch

        key = (causal, window, like.dtype)
        if key not in self.biases:
            seen = self.real[:, None, None, :]
            steps = torch.arange(self.real.shape[1], device=like.device)
            ahead = steps[None, :] - steps[:, None]
            if causal:
                seen = seen & (ahead <= 0)
            if window is not None:
                seen = seen & (ahead.abs() < window)
            # Not the lowest number: added to a score it would overflow, and rows of filler would become NaN.
            hidden = torch.finfo(like.dtype).min / 2
            self.biases[key] = torch.zeros(seen.shape, dtype=like.dtype, device=like.device).masked_fill(~seen, hidden)
        return self.biases[key]


class _Current:
    """The pack on which a network works now; the backward pass may run it again, in another thread."""

    pack: Pack | None = None


def work_on(pack: Pack) -> None:
    """From now on attention sees the texts of `pack`; a backward pass that recomputes needs the pack of its forward."""
    _Current.pack = pack


def ragged_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Softmax attention of each text of the current pack with itself, as an attention function of transformers.

    Args:
        module: the layer; `is_causal` tells whether a token sees only those before it.
        query: (1, h, t, e); key and value: (1, h / g, t, e), g query heads to one of theirs.
        attention_mask: not used: the pack knows.
        scaling: of the scores; None = 1 / sqrt(e).
        dropout: of the weights.
        sliding_window: tokens further away are not seen.
        softcap: scores s become softcap * tanh(s / softcap).
        is_causal: overrules the layer's.
        others: whatever else a family hands over; what would change the result is refused.

    Returns:
        (1, t, h, e), and no weights.

    Raises:
        NotImplementedError: the family asks for something else, such as a bias by relative position.
    """
    pack = _Current.pack
    foreign = [name for name, found in others.items() if name not in IGNORED and hasattr(found, "shape")]
    if pack is None or foreign:
        raise NotImplementedError(f"packed attention with {', '.join(foreign) or 'no pack'}")
    heads, size = query.shape[1], query.shape[3]
    q, k, v = (_cut(states, pack) for states in (query, key, value))
    causal = bool(getattr(module, "is_causal", True)) if is_causal is None else is_causal
    scale = size**-0.5 if scaling is None else scaling
    found = _attend(q, k, v, pack, causal=causal, window=sliding_window, scale=scale, dropout=dropout, softcap=softcap)
    flat = found.transpose(1, 2).reshape(-1, heads, found.shape[-1])
    return flat.index_select(0, pack.place)[None], None


def _cut(states: Tensor, pack: Pack) -> Tensor:
    """(1, h, t, e) to (b, h, w, e)."""
    b, w = pack.grid.shape
    tokens = states[0].transpose(0, 1).index_select(0, pack.grid.reshape(-1))
    return tokens.view(b, w, *tokens.shape[1:]).transpose(1, 2)


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    pack: Pack,
    *,
    causal: bool,
    window: int | None,
    scale: float,
    dropout: float,
    softcap: float | None,
) -> Tensor:
    """(b, h, w, e). On a CPU plain products are faster than the fused kernel, whose backward pass is slow there."""
    from torch.nn.functional import dropout as drop
    from torch.nn.functional import scaled_dot_product_attention

    bias = pack.bias(causal=causal, window=window, like=q)
    groups = q.shape[1] // k.shape[1]
    if groups > 1:  # a kernel that groups heads itself takes no bias
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    if q.device.type in FUSED and softcap is None:
        return scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout, scale=scale)
    scores = (q * scale) @ k.transpose(-1, -2)
    if softcap is not None:
        scores = (scores / softcap).tanh() * softcap
    return drop((scores + bias).softmax(-1), dropout) @ v


@cache
def register() -> str:
    """Make `ragged_attention` known to transformers; gives its name."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    def no_mask(*_: Any, **__: Any) -> None:
        return None

    AttentionInterface.register(RAGGED, ragged_attention)
    AttentionMaskInterface.register(RAGGED, no_mask)
    return RAGGED


@cache
def leave_uncompiled() -> None:
    """Keep `ragged_attention` out of compiled blocks, for which it would be another function with every batch."""
    import torch
    from transformers import AttentionInterface

    register()
    AttentionInterface.register(RAGGED, torch.compiler.disable(ragged_attention))
