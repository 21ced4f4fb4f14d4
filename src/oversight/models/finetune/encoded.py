"""Rows as token ids, and the part of a vocabulary that they use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from oversight.models.features import batches
from oversight.tasks.task import Rows

if TYPE_CHECKING:
    from torch import Tensor

    from oversight.models.network import Network

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Token ids of n rows.

    Attributes:
        texts: n sequences.
        others: n sequences of the second texts of preference pairs, or None.
        n_truncated: rows that had a text longer than the limit.
        pad: id that fills up a padded batch.
    """

    texts: tuple[Ids, ...]
    others: tuple[Ids, ...] | None
    n_truncated: int
    pad: int

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def n_tokens(self) -> int:
        """Of all texts."""
        return sum(len(text) for text in (*self.texts, *(self.others or ())))

    def sequences(self, rows: Sequence[int]) -> list[Ids]:
        """The texts of these rows; for pairs all first texts, then all second ones."""
        first = [self.texts[i] for i in rows]
        return first if self.others is None else [*first, *(self.others[i] for i in rows)]

    def batches(self, rows: Sequence[int], *, budget: int) -> list[list[int]]:
        """These rows in batches of near-equal length, at most `budget` tokens each with the padding of attention."""
        lengths = [len(self.texts[i]) for i in rows]
        if self.others is not None:
            lengths = [2 * max(n, len(self.others[i])) for n, i in zip(lengths, rows, strict=True)]
        return [[rows[i] for i in batch] for batch in batches(lengths, budget=budget)]

    def used(self) -> Ids:
        """Sorted ids that stand in any text, and the filler."""
        return np.unique(np.concatenate([*self.texts, *(self.others or ()), np.array([self.pad])]))

    def numbered(self, vocabulary: Ids) -> Encoded:
        """The same texts with each id replaced by its place in `vocabulary` (sorted, all of `used()` in it)."""

        def place(texts: Iterable[Ids]) -> tuple[Ids, ...]:
            return tuple(np.searchsorted(vocabulary, text) for text in texts)

        return Encoded(
            texts=place(self.texts),
            others=None if self.others is None else place(self.others),
            n_truncated=self.n_truncated,
            pad=int(np.searchsorted(vocabulary, self.pad)),
        )


def encode(network: Network, rows: Rows) -> Encoded:
    """Tokenize rows as the probe's features do: special tokens of the tokenizer, cut at the limit, never dropped."""
    distinct = sorted({*rows.texts, *(rows.others or ())})
    tokens = network.tokenize(distinct)
    place = {text: i for i, text in enumerate(distinct)}
    ids = [np.array(one, dtype=np.int64) for one in tokens.ids]
    first = [place[text] for text in rows.texts]
    second = None if rows.others is None else [place[text] for text in rows.others]
    cut = tokens.truncated[first] | (False if second is None else tokens.truncated[second])
    return Encoded(
        texts=tuple(ids[i] for i in first),
        others=None if second is None else tuple(ids[i] for i in second),
        n_truncated=int(np.sum(cut)),
        pad=tokens.pad,
    )


class Vocabulary:
    """The rows of an embedding table that training can change.

    A token that stands in no text gets no gradient, and without weight decay of embeddings its row stays as it is. So
    only the rows of tokens that do are made parameters: the same result with less memory and fewer updates.
    """

    def __init__(self, embedding: Tensor, ids: Ids, padding: int | None) -> None:
        self.ids = ids
        self.whole = embedding
        self.padding = padding

    def compact(self) -> Tensor:
        """(m, d): the rows of the used tokens."""
        import torch

        return self.whole[torch.from_numpy(self.ids).to(self.whole.device)].clone()

    def restored(self, rows: Tensor) -> Tensor:
        """The whole table with these rows for the used tokens."""
        import torch

        table = self.whole.clone()
        table[torch.from_numpy(self.ids).to(table.device)] = rows.to(table.dtype)
        return table
