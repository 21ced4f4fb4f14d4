"""A decoder with its language-model head: how probable it finds each of several ways to go on."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from oversight.errors import InputError
from oversight.models.backbone import Backbone, resolve_device, resolve_precision
from oversight.models.features import batches
from oversight.models.finite import expect_finite
from oversight.models.network import TOKEN_BUDGET, load_model, load_tokenizer, quiet_transformers
from oversight.models.workbench import workbench
from oversight.tasks.task import Bools, Floats

if TYPE_CHECKING:
    from torch import Tensor

Ids = tuple[int, ...]
MOST_LOGITS = {"cpu": 1 << 28, "cuda": 1 << 31}
PAYS = 32
AGREES = {"float32": 1e-5, "bfloat16": 3e-2}


class Writer:
    """A whole decoder with its head, loaded.

    Args:
        backbone: a decoder at full depth; its pooling does not count here.

    Attributes:
        before: special tokens that stand before every text.
        positions: most tokens that the network can read at once.

    Raises:
        InputError: it cannot be loaded, lacks weights, or its tokenizer has no fast version.
    """

    def __init__(self, backbone: Backbone) -> None:
        self.name = backbone.name
        self.device = resolve_device(backbone.device)
        self.precision = resolve_precision(backbone.precision, self.device)
        checkpoint = backbone.checkpoint
        with quiet_transformers():
            self.tokenizer: Any = load_tokenizer(checkpoint)
            self.model: Any = load_model(
                checkpoint, depth=checkpoint.n_blocks, dtype=self.precision, kind="AutoModelForCausalLM"
            )
        if not self.tokenizer.is_fast:
            raise InputError(f"{self.name}: its tokenizer ({type(self.tokenizer).__name__}) has no fast version")
        self.model.eval().requires_grad_(False).to(self.device)
        self.before = self._before()
        self.positions = min(checkpoint.n_positions, int(self.tokenizer.model_max_length))
        self._keeps = "logits_to_keep" in inspect.signature(self.model.forward).parameters

    def encode(self, texts: Sequence[str], *, special: bool) -> list[Ids]:
        """Token ids, not cut.

        Args:
            texts: n texts.
            special: whether the special tokens that stand before a text are put there; none is put after it.

        Raises:
            InputError: the tokenizer belongs to a larger network.
        """
        if not texts:
            return []
        with quiet_transformers():
            found = self.tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False)["input_ids"]
        n_known = self.model.get_input_embeddings().num_embeddings
        largest = max((max(row) for row in found if row), default=0)
        if largest >= n_known:
            raise InputError(
                f"{self.name}: the tokenizer gives id {largest}, but the network knows {n_known} tokens; "
                "expected the tokenizer it was trained with"
            )
        return [(*(self.before if special else ()), *row) for row in found]

    def cut(self, texts: Sequence[str], limit: int) -> tuple[list[str], Bools]:
        """Texts without what stands behind their first `limit` tokens, and which of them had more."""
        if not texts:
            return [], np.zeros(0, bool)
        with quiet_transformers():
            found = self.tokenizer(
                list(texts),
                add_special_tokens=False,
                truncation=True,
                max_length=limit + 1,
                return_attention_mask=False,
                return_offsets_mapping=True,
            )
        long = np.array([len(row) > limit for row in found["input_ids"]], dtype=bool)
        ends = [row[limit - 1][1] if more else None for row, more in zip(found["offset_mapping"], long, strict=True)]
        return [text[:end] for text, end in zip(texts, ends, strict=True)], long

    def log_probs(self, options: Sequence[Sequence[Ids]]) -> Floats:
        """How probable each way to go on is.

        The options of a row begin alike; their probability is that of everything after this common beginning. A row's
        distinct beginnings go through the network once, and what all rows have in common once in all.

        Args:
            options: for each of n rows k token sequences, none of which begins another.

        Returns:
            (n, k) float64: sums of log-probabilities of tokens, in nats.

        Raises:
            InputError: a row is longer than the network has positions for, or its options begin with nothing alike.
            StepError: the network gives logits that are no numbers.
        """
        import torch

        if not all(common(sequences) for sequences in options):
            raise InputError(f"{self.name}: found a prompt without any token, expected a template with own words")
        found = np.zeros((len(options), len(options[0]) if options else 0))
        reads = _reads(options)
        inputs = sorted(reads)
        self._check_room(inputs)
        kind = self.device.split(":")[0]
        most = MOST_LOGITS.get(kind, MOST_LOGITS["cpu"]) // self.model.get_input_embeddings().num_embeddings
        plan = batches([len(one) for one in inputs], budget=min(most, TOKEN_BUDGET.get(kind, TOKEN_BUDGET["cpu"])))
        with torch.inference_mode():
            length, cache = self._beginning(inputs, reads)
            done = 0
            for batch in plan:
                wanted = [(b, at - 1 - length, *to) for b, i in enumerate(batch) for at, *to in reads[inputs[i]]]
                place, steps, tokens, rows, columns = map(list, zip(*wanted, strict=True))
                logits = self._logits([inputs[i][length:] for i in batch], cache, steps=sorted(set(steps)))
                where = torch.tensor(np.searchsorted(sorted(set(steps)), steps), device=self.device)
                chosen = logits[torch.tensor(place, device=self.device), where].float().log_softmax(-1)
                values = chosen.gather(1, torch.tensor(tokens, device=self.device)[:, None])[:, 0]
                np.add.at(found, (rows, columns), values.double().cpu().numpy())
                done += len(batch)
                workbench().tell(done / len(inputs), f"{done} of {len(inputs)} prompts")
        # A token that a network rules out has probability 0; a row in which it rules out all, or gives NaN, has none.
        usable = np.isfinite(found).any(1) & ~np.isnan(found).any(1)
        asked = [f"prompt {i + 1}" for i in range(len(found))]
        what = f"{self.name}: the log-probabilities of the answers in {self.precision}"
        expect_finite(np.where(usable, 0.0, np.nan), asked, of=what, hint="other weights, or --precision float32")
        return found

    def _before(self) -> Ids:
        with quiet_transformers():
            plain, whole = (self.tokenizer("a", add_special_tokens=add)["input_ids"] for add in (False, True))
        starts = (i for i in range(len(whole)) if whole[i : i + len(plain)] == plain)
        return tuple(whole[: next(starts, 0)])

    def _check_room(self, inputs: Sequence[Ids]) -> None:
        longest = max(map(len, inputs), default=0)
        if longest > self.positions:
            raise InputError(
                f"{self.name}: found a prompt of {longest} tokens, expected at most the {self.positions} positions of "
                "the network; lower max_tokens"
            )

    def _beginning(self, inputs: Sequence[Ids], reads: dict[Ids, list[tuple[int, ...]]]) -> tuple[int, Any]:
        """Length of what all inputs begin with and its keys and values, where they pay and change nothing; else 0."""
        import torch
        from transformers import DynamicCache

        if len(inputs) < 2:
            return 0, None
        length = min(common(inputs), min(at for found in reads.values() for at, *_ in found) - 1)
        if length < PAYS:
            return 0, None
        ids = torch.tensor([inputs[0][:length]], device=self.device)
        cache = self.model(input_ids=ids, use_cache=True, **self._keeping([length - 1])).past_key_values
        if not isinstance(cache, DynamicCache):
            return 0, None
        longest = max(inputs, key=len)
        whole = self._logits([longest], None, steps=[len(longest) - 1])
        after = self._logits([longest[length:]], cache, steps=[len(longest) - 1 - length])
        error = float((whole.float().softmax(-1) - after.float().softmax(-1)).abs().max())
        return (length, cache) if error <= AGREES[self.precision] else (0, None)

    def _logits(self, texts: Sequence[Ids], cache: Any, *, steps: Sequence[int]) -> Tensor:
        """(b, len(steps), vocabulary) of texts that follow what the cache holds.

        Filler stands on the right, where no token before it looks, so no text depends on those beside it.
        """
        import torch

        lengths = torch.tensor([len(text) for text in texts])
        width, n_before = int(lengths.max()), 0 if cache is None else cache.get_seq_length()
        ids = torch.zeros((len(texts), width), dtype=torch.long)
        for i, text in enumerate(texts):
            ids[i, : len(text)] = torch.tensor(text)
        mask = torch.arange(n_before + width)[None] < n_before + lengths[:, None]
        if cache is not None:
            cache = copy.deepcopy(cache)
            cache.batch_repeat_interleave(len(texts))
        logits = self.model(
            input_ids=ids.to(self.device),
            attention_mask=mask.to(self.device, torch.long),
            past_key_values=cache,
            use_cache=cache is not None,
            **self._keeping(steps),
        ).logits
        return logits if self._keeps else logits[:, list(steps)]

    def _keeping(self, steps: Sequence[int]) -> dict[str, Tensor]:
        import torch

        return {"logits_to_keep": torch.tensor(steps, device=self.device)} if self._keeps else {}


def common(sequences: Sequence[Ids]) -> int:
    """How many tokens all sequences begin with alike."""
    first, last = min(sequences), max(sequences)
    differ = (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return next(differ, min(len(first), len(last)))


def _reads(options: Sequence[Sequence[Ids]]) -> dict[Ids, list[tuple[int, ...]]]:
    """What has to be read, and what there: (place of a token, token, row, option) by distinct input."""
    reads: dict[Ids, list[tuple[int, ...]]] = {}
    for i, sequences in enumerate(options):
        start = common(sequences)
        inputs = sorted({one[:-1] for one in sequences}, key=lambda one: (-len(one), one))
        for j, one in enumerate(sequences):
            home = next(longer for longer in inputs if longer[: len(one) - 1] == one[:-1])
            reads.setdefault(home, []).extend((at, one[at], i, j) for at in range(start, len(one)))
    return reads
