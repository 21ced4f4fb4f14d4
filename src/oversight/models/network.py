"""A network in memory: load it, cut it off, tokenize for it, run it, pool its hidden states."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from oversight.errors import InputError
from oversight.models.backbone import Backbone, Pool, resolve_device, resolve_precision
from oversight.models.checkpoint import Checkpoint
from oversight.models.threads import one_thread

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TOKEN_BUDGET = {"cpu": 4096, "cuda": 65536}
DROPOUT_NAMES = ("dropout", "dropout_prob", "pdrop", "layerdrop")


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Token ids of n texts and which of them were truncated."""

    ids: tuple[tuple[int, ...], ...]
    truncated: npt.NDArray[np.bool_]
    pad: int


class Network:
    """A loaded network, cut off after `depth` blocks; the blocks beyond are not loaded.

    Args:
        backbone: which one; its own depth does not count here.
        depth: blocks to load.
        loading: further arguments of `load_model`.
    """

    def __init__(self, backbone: Backbone, *, depth: int, **loading: Any) -> None:
        import torch

        self.backbone = backbone
        self.depth = depth
        self.device = resolve_device(backbone.device)
        self.precision = resolve_precision(backbone.precision, self.device)
        checkpoint = backbone.checkpoint
        with quiet_transformers():
            self.tokenizer: Any = load_tokenizer(checkpoint)
            self.model: Any = load_model(checkpoint, depth=depth, **loading)
        self.blocks = find_blocks(self.model, max(depth, 1), of=checkpoint.n_blocks)
        self.model.eval().requires_grad_(False)
        if not getattr(self.model, "is_quantized", False):
            self.model.to(self.device)
        self.torch = torch

    def cast(self) -> None:
        """From float32, as loaded, to the precision asked for; rotary frequencies stay exact, as in transformers."""
        exact = {name: buffer for name, buffer in self.model.named_buffers() if name.endswith("inv_freq")}
        self.model.to(getattr(self.torch, self.precision))
        for name, buffer in exact.items():
            module, _, own = name.rpartition(".")
            setattr(self.model.get_submodule(module), own, buffer)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Token ids with the tokenizer's special tokens, cut at the limit; a text without any gets one padding token.

        Raises:
            InputError: the limit leaves no room for text, or the tokenizer belongs to a larger network.
        """
        limit, name = self.max_tokens, self.backbone.checkpoint.name
        n_special = self.tokenizer.num_special_tokens_to_add()
        n_known = self.model.get_input_embeddings().num_embeddings
        if limit <= n_special:
            raise InputError(
                f"{name}: found a limit of {limit} tokens, expected more than the {n_special} special ones of a text"
            )
        named = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id)
        pad = next((i for i in named if i is not None and i < n_known), 0)
        ids = self._encode(texts, limit + 1)
        largest = max((max(row) for row in ids if row), default=0)
        if largest >= n_known:
            raise InputError(
                f"{name}: the tokenizer gives id {largest}, but the network knows {n_known} tokens; "
                "expected the tokenizer it was trained with"
            )
        truncated = np.array([len(row) > limit for row in ids], dtype=bool)
        if truncated.any():
            where = np.flatnonzero(truncated).tolist()
            for i, row in zip(where, self._encode([texts[i] for i in where], limit), strict=True):
                ids[i] = row
        return Tokens(ids=tuple(tuple(row) or (pad,) for row in ids), truncated=truncated, pad=pad)

    @property
    def max_tokens(self) -> int:
        """The limit asked for, or the longest text that the network has positions for."""
        known = self.backbone.checkpoint.n_positions
        return min(self.backbone.max_tokens, known, int(self.tokenizer.model_max_length))

    def _encode(self, texts: Sequence[str], limit: int) -> list[list[int]]:
        if not texts:
            return []
        with quiet_transformers():
            encoded = self.tokenizer(
                list(texts),
                truncation=True,
                max_length=limit,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=False,
            )
        return [list(row) for row in encoded["input_ids"]]

    def pooled(
        self, rows: Sequence[Sequence[int]], pad: int, depths: Sequence[int]
    ) -> dict[int, npt.NDArray[np.float32]]:
        """One forward pass over one batch: see `passes`."""
        return next(self.passes([rows], pad, depths))

    def passes(
        self, batches: Sequence[Sequence[Sequence[int]]], pad: int, depths: Sequence[int], *, cores: int | None = None
    ) -> Iterator[dict[int, npt.NDArray[np.float32]]]:
        """A forward pass over each batch, in order.

        On a processor each pass works on one thread, and as many passes go side by side as there are cores: what a
        pass gives does not depend on their number, as the rounding of sums that are split among threads would.

        Args:
            batches: of b token id sequences each.
            pad: filler on the right; the attention mask, not this id, decides what is real.
            depths: at most `self.depth` each.
            cores: of the processor; None = as many as torch has threads.

        Yields:
            For each depth (b, d) float32.
        """
        own = threading.local()

        def keep(depth: int, state: Tensor) -> None:
            own.found[depth] = own.pool(state)

        def one(rows: Sequence[Sequence[int]]) -> dict[int, npt.NDArray[np.float32]]:
            return self._pass(rows, pad, depths, own)

        side_by_side = min(cores or self.torch.get_num_threads(), len(batches)) if self.device == "cpu" else 1
        with self._captured(depths, keep), one_thread() if self.device == "cpu" else contextlib.nullcontext():
            if side_by_side == 1:
                yield from map(one, batches)
                return
            pool = ThreadPoolExecutor(side_by_side, initializer=self.torch.set_num_threads, initargs=(1,))
            try:
                yield from pool.map(one, batches)
            finally:
                pool.shutdown(cancel_futures=True)

    def _pass(
        self, rows: Sequence[Sequence[int]], pad: int, depths: Sequence[int], own: threading.local
    ) -> dict[int, npt.NDArray[np.float32]]:
        """One pass; the hooks find in `own` where this thread keeps what it meets."""
        torch = self.torch
        lengths = torch.tensor([len(row) for row in rows])
        width = int(lengths.max())
        ids = torch.full((len(rows), width), pad)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
        mask = torch.arange(width)[None, :] < lengths[:, None]
        own.found, own.pool = {}, _pooler(self.backbone.pooling, mask.to(self.device))
        with torch.inference_mode():
            state = self._forward(ids.to(self.device), mask.to(self.device, torch.long))
            if state is not None and self.depth in depths and self.depth == self.backbone.checkpoint.n_blocks:
                own.found[self.depth] = own.pool(state)
        return {depth: own.found[depth].cpu().numpy() for depth in depths}

    def state(self, **inputs: Tensor) -> Tensor:
        """Hidden states at `self.depth` of one batch, with gradients where the parameters ask for them.

        Args:
            inputs: what the network's forward pass takes; `input_ids` is (b, w).

        Returns:
            (b, w, d) in the dtype of the network.
        """
        found: dict[int, Tensor] = {}
        with self._captured([self.depth], found.__setitem__, stop=self.depth == 0):
            try:
                last = self.model(**inputs).last_hidden_state
            except _Enough:
                last = found[self.depth]
        return last if self.depth == self.backbone.checkpoint.n_blocks else found[self.depth]

    def _forward(self, ids: Tensor, mask: Tensor) -> Tensor | None:
        try:
            return self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        except _Enough:
            return None

    @contextlib.contextmanager
    def _captured(
        self,
        depths: Sequence[int],
        keep: Callable[[int, Tensor], None],
        *,
        stop: bool = True,
    ) -> Generator[None, None, None]:
        """Keep hidden states as they pass; with `stop` a pass ends after the deepest one that is wanted."""
        last = max(depths)
        ends_early = stop and last < self.backbone.checkpoint.n_blocks

        def before(_module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
            if 0 in depths:
                keep(0, args[0] if args else kwargs["hidden_states"])
            if last == 0 and stop:
                raise _Enough

        def after(depth: int) -> Callable[..., None]:
            def hook(_module: Any, _args: Any, output: Any) -> None:
                if depth in depths:
                    keep(depth, output[0] if isinstance(output, tuple) else output)
                if depth == last and ends_early:
                    raise _Enough

            return hook

        handles = [self.blocks[0].register_forward_pre_hook(before, with_kwargs=True)]
        handles += [self.blocks[i].register_forward_hook(after(i + 1)) for i in range(min(last, len(self.blocks)))]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class _Enough(Exception):
    """Raised inside a forward pass when the deepest wanted state is known."""


def find_blocks(model: Any, depth: int, *, of: int) -> torch.nn.ModuleList:
    """The list of a network's blocks, cut to the first `depth` of `of`.

    Raises:
        InputError: the network does not keep its blocks in one list.
    """
    from torch.nn import ModuleList

    lists = [module for module in model.modules() if isinstance(module, ModuleList) and len(module) in {depth, of}]
    if not lists:
        raise InputError(
            f"{type(model).__name__}: found no list of {of} blocks; this architecture cannot be read by depth"
        )
    blocks = lists[0]
    del blocks[depth:]
    return blocks


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """The tokenizer that lies beside the weights; one without a fast version works, and is named in a warning.

    Raises:
        InputError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    with _in_one_line(checkpoint, "the tokenizer"):
        tokenizer: Any = AutoTokenizer.from_pretrained(
            checkpoint.tokenizer_path or checkpoint.path,
            local_files_only=True,
            trust_remote_code=checkpoint.remote_code,
        )
    if not tokenizer.is_fast:
        kind = type(tokenizer).__name__
        warnings.warn(f"{checkpoint.name}: {kind} has no fast version; texts are read slowly", RuntimeWarning, 2)
    return tokenizer


def load_config(checkpoint: Checkpoint, *, depth: int, dropout: bool = False) -> Any:
    """The network's config, cut to max(depth, 1) blocks, dropout switched off unless asked for.

    Raises:
        InputError: it cannot be read, or is that of an encoder-decoder.
    """
    from transformers import AutoConfig

    with _in_one_line(checkpoint, "config.json"):
        config: Any = AutoConfig.from_pretrained(
            checkpoint.path, local_files_only=True, trust_remote_code=checkpoint.remote_code
        ).get_text_config()
    if config.is_encoder_decoder:
        raise InputError(f"{checkpoint.name}: found an encoder-decoder, expected an encoder or a decoder")
    kept, n_blocks = max(depth, 1), checkpoint.n_blocks
    for name, value in config.to_dict().items():
        if kept < n_blocks and isinstance(value, list) and len(value) == n_blocks:
            setattr(config, name, value[:kept])
        if not dropout and isinstance(value, float) and name.endswith(DROPOUT_NAMES):
            setattr(config, name, 0.0)
    if kept < n_blocks:
        config.num_hidden_layers = kept
    return config


def load_model(
    checkpoint: Checkpoint,
    *,
    depth: int,
    dtype: str = "float32",
    dropout: bool = False,
    kind: str = "AutoModel",
    **options: Any,
) -> Any:
    """The network with its first max(depth, 1) blocks only.

    Args:
        checkpoint: where it lies.
        depth: blocks to load.
        dtype: of its weights.
        dropout: whether it drops out while it trains.
        kind: the library's class: the backbone without a head, or with one, such as `AutoModelForCausalLM`.
        options: further arguments of the library's `from_pretrained`.

    Raises:
        InputError: it cannot be loaded, or lacks weights: a randomly initialised network is never used.
    """
    import torch
    import transformers

    config = load_config(checkpoint, depth=depth, dropout=dropout)
    with _in_one_line(checkpoint, "the weights"):
        model, info = getattr(transformers, kind).from_pretrained(
            checkpoint.path,
            config=config,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            trust_remote_code=checkpoint.remote_code,
            output_loading_info=True,
            use_safetensors=True,
            **options,
        )
    missing = sorted(name for name in info["missing_keys"] if "pooler" not in name)
    if missing:
        raise InputError(
            f"{checkpoint.name}: the weights lack {len(missing)} tensors that the network needs, e.g. {missing[0]}"
        )
    return model


@contextlib.contextmanager
def _in_one_line(checkpoint: Checkpoint, part: str) -> Generator[None, None, None]:
    """Whatever the library says about files that it cannot read, as one line."""
    try:
        yield
    except Exception as error:
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"{checkpoint.name}: {part} cannot be loaded: {line}") from error


def _pooler(pool: Pool, mask: Tensor) -> Callable[[Tensor], Tensor]:
    """A function from hidden states (b, t, d) to (b, d) float32 under a mask (b, t) bool."""
    rows, weights = mask.long().sum(1), mask[..., None].float()

    def pooled(state: Tensor) -> Tensor:
        if pool == "cls":
            return state[:, 0].float()
        if pool == "last":
            return state[range(len(state)), rows - 1].float()
        return (state.float() * weights).sum(1) / rows[:, None]

    return pooled


@contextlib.contextmanager
def quiet_transformers() -> Generator[None, None, None]:
    """Keep the library's progress bars and notes off the terminal."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
