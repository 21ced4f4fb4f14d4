"""A network with a linear head: rows in, logits out, and the weights that training may change."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from oversight.errors import InputError
from oversight.models.backbone import Backbone, Pool, resolve_device, resolve_precision
from oversight.models.finetune.encoded import Encoded, Ids, Vocabulary
from oversight.models.finetune.ragged import Pack, leave_uncompiled, register, work_on
from oversight.models.finetune.recipe import FEWEST_TOKENS, Full, Lora
from oversight.models.finetune.team import ALONE, Team
from oversight.models.network import Network, quiet_transformers
from oversight.tasks.task import Floats

if TYPE_CHECKING:
    import torch
    from torch import Tensor

AGREES = {"float32": 1e-5, "bfloat16": 3e-2}
TOKENS_AT_ONCE = {"cpu": 8192, "cuda": 32768}
FLASH = "flash_attention_2"
SAMPLE = (2, 7, 11, 5)
LONGEST_SAMPLE = 1024
PACK_MULTIPLE = 64


class Classifier:
    """A network, cut off at the backbone's depth, and a linear head over its pooled states.

    Args:
        backbone: which network.
        recipe: which weights are trained.
        n_classes: k.
        paired: whether rows are preference pairs, read by the difference of their states, without intercept.
        seed: of the adapters.

    Attributes:
        network: the loaded network.
        head: (d -> k), in float32, zero at the start.
        packed: whether texts lie side by side without padding.
        why_padded: the reason if they do not.
        read: the states of a batch.
        team: the processes that work on it.
    """

    def __init__(self, backbone: Backbone, recipe: Full, *, n_classes: int, paired: bool, seed: int) -> None:
        import torch

        if isinstance(recipe, Lora) and backbone.blocks == 0:
            raise InputError(f"{backbone.name}: found no block, so there is nothing to put an adapter beside")
        self.recipe = recipe
        self.network = _load(backbone, recipe)
        _fuse_activations(self.network.model)
        if self.network.max_tokens < FEWEST_TOKENS:
            raise InputError(
                f"{backbone.name}: found a limit of {self.network.max_tokens} tokens, expected {FEWEST_TOKENS} or more"
            )
        self.device = self.network.device
        self.read: Callable[..., Tensor] = self.network.state
        self.team: Team = ALONE
        self.first_position = backbone.checkpoint.first_position
        self.packed, self.why_padded = False, ""
        width = self._choose_layout()
        self._n_texts = 2 if paired else 1
        self.network.model.config.use_cache = False
        if isinstance(recipe, Lora):
            from oversight.models.finetune.adapters import add_adapters

            add_adapters(self.network.model, recipe, name=backbone.name, seed=seed)
        else:
            self.network.model.requires_grad_(True)
        self._freeze_unused()
        if recipe.machine.checkpointing:
            _checkpoint(self.network.model, name=backbone.name)
        if recipe.machine.compile:
            _compile(self.network)
        # Zeros in place of the library's draw from the global generator.
        head: Any = torch.nn.utils.skip_init(torch.nn.Linear, width, n_classes, bias=not paired, device=self.device)
        self.head: torch.nn.Linear = head
        torch.nn.init.zeros_(self.head.weight)
        if not paired:
            torch.nn.init.zeros_(self.head.bias)
        self.vocabulary: Vocabulary | None = None
        self.training(False)

    @property
    def embedding(self) -> Any:
        """The table of token embeddings."""
        return self.network.model.get_input_embeddings()

    @property
    def budget(self) -> int:
        """Most tokens in one pass."""
        kind = self.device.split(":")[0]
        return self.recipe.machine.tokens_at_once or TOKENS_AT_ONCE.get(kind, TOKENS_AT_ONCE["cpu"])

    def training(self, on: bool) -> None:
        """Switch dropout and gradient checkpointing on or off; a network in `eval` would not checkpoint at all."""
        self.network.model.train(on)

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """Parameters that training changes, by name, the head's last."""
        body = {f"body.{name}": one for name, one in self.network.model.named_parameters() if one.requires_grad}
        return body | {f"head.{name}": one for name, one in self.head.named_parameters()}

    def start_head(self, weight: Floats, intercept: Floats | None) -> None:
        """Start from a linear model on the same states.

        Args:
            weight: (d, k).
            intercept: (k,), or None.
        """
        import torch

        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(weight.T.copy()))
            if self._n_texts == 1 and intercept is not None:
                self.head.bias.copy_(torch.from_numpy(np.array(intercept)))

    def logits(self, encoded: Encoded, rows: Sequence[int]) -> Tensor:
        """(b, k) float32 of these rows, in one pass.

        Args:
            encoded: token ids of all rows, numbered as the embedding table is.
            rows: b positions.
        """
        return self.read_out(self.states(encoded, rows))

    def states(self, encoded: Encoded, rows: Sequence[int]) -> Tensor:
        """(b, d) float32 pooled states of these rows, in one pass; of pairs (2 b, d), all first texts first."""
        return self._pooled(encoded.sequences(rows), encoded.pad)

    def read_out(self, states: Tensor) -> Tensor:
        """(b, k) logits from `states`."""
        if self._n_texts == 2:
            states = states[: len(states) // 2] - states[len(states) // 2 :]
        return self.head(states)

    def probs(self, encoded: Encoded) -> Floats:
        """(n, k) float64 class probabilities of all rows."""
        import torch

        found = np.zeros((len(encoded), self.head.out_features))
        # What one process gathers of spread weights in inference mode could not be trained with later.
        with torch.inference_mode(self.team.size == 1), torch.no_grad():
            for one in self.team.passes(encoded, range(len(encoded)), budget=self.budget):
                probs = self.logits(encoded, one.rows).double().softmax(-1).cpu().numpy()
                if one.counts:
                    found[one.rows] = probs
        return self.team.total_array(found)

    def narrow(self, ids: Ids) -> bool:
        """Make only the embeddings of these tokens parameters, where that changes nothing; whether it was done."""
        import torch

        table, padding = self.embedding.weight, self.embedding.padding_idx
        # Adafactor scales an update by the norm of the whole table, unused rows included.
        alike = self.packed and table.requires_grad and self.recipe.optimizer != "adafactor"
        if not alike or len(ids) == len(table):
            return False
        self.vocabulary = Vocabulary(table.detach(), ids, padding)
        self.embedding.weight = torch.nn.Parameter(self.vocabulary.compact())
        # The library keeps the gradient of the padding token at zero, and finds it by its number.
        self.embedding.padding_idx = int(np.searchsorted(ids, padding)) if padding in ids else None
        return True

    def widen(self) -> None:
        """Put trained embeddings back into the whole table."""
        import torch

        if self.vocabulary is None:
            return
        rows = self.embedding.weight.detach()
        self.embedding.weight = torch.nn.Parameter(self.vocabulary.restored(rows))
        self.embedding.padding_idx = self.vocabulary.padding
        self.vocabulary = None

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Copy trained weights in.

        Raises:
            ValueError: they are not those of this network.
        """
        import torch

        own = self.trained()
        if own.keys() != weights.keys() or any(own[name].shape != weights[name].shape for name in own):
            odd = sorted(own.keys() ^ weights.keys()) or [n for n in own if own[n].shape != weights[n].shape]
            raise ValueError(f"weights of another network: {', '.join(odd[:3])}")
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(self.team.cut(weights[name], like=parameter))

    def _pooled(self, texts: Sequence[Ids], pad: int) -> Tensor:
        """(b, d) float32, one state per text."""

        with self._autocast(self.network.precision == "bfloat16"):
            return self._packed_state(texts) if self.packed else self._padded_state(texts, pad)

    def _packed_state(self, texts: Sequence[Ids]) -> Tensor:
        # Families that count from the padding token count without it, wherever it stands.
        uncounted = self.embedding.padding_idx if self.first_position else None
        filled = [*texts, *_filler(texts)]
        pack = Pack.of(filled, first_position=self.first_position, uncounted=uncounted, device=self.device)
        work_on(pack)
        states = self.read(input_ids=pack.ids, position_ids=pack.positions)[0]
        starts = pack.lengths.cumsum(0) - pack.lengths
        n = len(texts)
        return _pool(states, starts[:n], pack.lengths[:n], self.network.backbone.pooling)

    def _padded_state(self, texts: Sequence[Ids], pad: int) -> Tensor:
        import torch

        width = max(map(len, texts))
        ids = np.full((len(texts), width), pad)
        for i, text in enumerate(texts):
            ids[i, : len(text)] = text
        lengths = torch.tensor([len(text) for text in texts], device=self.device)
        mask = torch.arange(width, device=self.device)[None] < lengths[:, None]
        state = self.read(input_ids=torch.from_numpy(ids).to(self.device), attention_mask=mask.to(torch.long)).flatten(
            0, 1
        )
        starts = torch.arange(len(texts), device=self.device) * width
        return _pool(state, starts, lengths, self.network.backbone.pooling)

    def _choose_layout(self) -> int:
        """Pack if that gives the states of padding, shown on texts of random tokens; gives the width of a state."""
        import torch

        rng = np.random.default_rng(0)
        limit = min(self.network.max_tokens, LONGEST_SAMPLE)
        known = np.setdiff1d(np.arange(self.embedding.num_embeddings), [self.embedding.padding_idx or 0])
        texts = [rng.choice(known, size=min(n, limit)) for n in (*SAMPLE, limit)]
        with torch.inference_mode(), quiet_transformers():
            with self._autocast(self.embedding.weight.dtype == torch.bfloat16):
                expected = self._padded_state(texts, self.embedding.padding_idx or 0)
            self.packed = any(self._packs_with(kernel, texts, expected) for kernel in self._kernels())
            if not self.packed:
                self.network.model.set_attn_implementation("eager" if self.device == "cpu" else "sdpa")
        if self.packed:
            self.why_padded = ""
            self.network.model.config.pad_token_id = None  # there is no padding, of which the library would warn
        return expected.shape[1]

    def _kernels(self) -> list[str]:
        """Ways to attend to packed texts, the fastest first."""
        from transformers.utils import is_flash_attn_2_available

        flash = self.device.startswith("cuda") and self.network.precision == "bfloat16" and is_flash_attn_2_available()
        return [FLASH, register()] if flash else [register()]

    def _packs_with(self, kernel: str, texts: Sequence[Ids], expected: Tensor) -> bool:
        """Whether packed states are those of padding; the network is left with this kernel."""
        import torch

        # Frozen weights of lower precision work only under autocast: their norms and biases are in float32.
        lower = kernel == FLASH or self.embedding.weight.dtype == torch.bfloat16
        try:
            self.network.model.set_attn_implementation(kernel)
            with self._autocast(lower):
                error = float((self._packed_state(texts) - expected).abs().max() / expected.abs().max())
        except torch.OutOfMemoryError:
            raise
        except (NotImplementedError, ImportError, TypeError, ValueError, RuntimeError) as refusal:
            self.why_padded = str(refusal).splitlines()[0]
            return False
        self.why_padded = f"packed states differ by {error:.1g} of their size"
        return error <= AGREES["bfloat16" if lower else "float32"]

    def _autocast(self, on: bool) -> torch.autocast:
        import torch

        return torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=on)

    def _freeze_unused(self) -> None:
        """Weights that no logit depends on (a pooler, a norm behind the depth that is read) are not trained.

        Raises:
            InputError: there are no others.
        """
        if any(name.endswith("experts") and found for name, found in self.network.model.config.to_dict().items()):
            return  # a text reaches few experts, which says nothing of the others
        state = self._pooled([np.zeros(2, np.int64)], 0)
        if not state.requires_grad:
            found = ", ".join(getattr(self.recipe, "targets", None) or ("all weights",))
            raise InputError(
                f"{self.network.backbone.name}: no logit depends on {found}; expected targets that are read"
            )
        state.sum().backward()
        for parameter in self.network.model.parameters():
            if parameter.requires_grad and parameter.grad is None:
                parameter.requires_grad_(False)
            parameter.grad = None


def _filler(texts: Sequence[Ids]) -> list[Ids]:
    """Texts that nobody reads, so that packs come in few sizes: for each size the processor's kernels keep memory."""
    short = -sum(map(len, texts)) % PACK_MULTIPLE
    longest = max(map(len, texts))
    return [np.zeros(min(longest, short - done), np.int64) for done in range(0, short, longest)]


def _load(backbone: Backbone, recipe: Full) -> Network:
    """The network, with trainable weights in float32 and frozen matrices in the precision of the forward pass."""
    import torch

    device = resolve_device(backbone.device)
    options: dict[str, Any] = {"dropout": recipe.dropout, "attn_implementation": "eager"}
    if device != "cpu" and importlib.util.find_spec("accelerate") is not None:
        options["device_map"] = {"": device}  # straight there, not through the memory of the processor
    if not isinstance(recipe, Lora):
        return Network(backbone, depth=backbone.blocks, **options)
    from oversight.models.finetune.adapters import quantization

    options |= {"dtype": resolve_precision(backbone.precision, device)}
    options |= quantization(recipe, name=backbone.name, device=device)
    network = Network(backbone, depth=backbone.blocks, **options)
    for parameter in network.model.parameters():
        if parameter.ndim == 1 and parameter.dtype == torch.bfloat16:
            parameter.data = parameter.data.float()
    return network


def _fuse_activations(model: Any) -> None:
    """The tanh form of GELU in one kernel, where the library writes it out in six."""
    import torch

    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child).__name__ == "NewGELUActivation":
                setattr(module, name, torch.nn.GELU(approximate="tanh"))


def _checkpoint(model: Any, *, name: str) -> None:
    """Keep only the inputs of blocks while the network trains.

    Raises:
        InputError: it cannot.
    """
    # Older releases of transformers 5 know only the second name; newer ones warn of it.
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    try:
        enable({"use_reentrant": False})
    except ValueError:
        kind = type(model).__name__
        raise InputError(f"{name}: {kind} has no gradient checkpointing; expected checkpointing=False") from None


def _compile(network: Network) -> None:
    """Compile each block by itself; attention, which reads the texts of the moment, stays outside."""
    import torch

    leave_uncompiled()
    _compile_for_this_processor()
    for block in network.blocks:
        block.forward = torch.compile(block.forward, dynamic=True)


def _compile_for_this_processor() -> None:
    """Keep compiled code of other processors out: the compiler's cache on disk does not tell them apart.

    It keeps source code that steps by the vector width of the processor that generated it, and builds it for the one
    that finds it. Where the width is smaller, half of every result stays unwritten; where it is larger, what lies
    behind is overwritten.
    """
    width = f"for {importlib.import_module('torch._inductor.cpu_vec_isa').pick_vec_isa()}"
    settings: Any = importlib.import_module("torch.compiler.config")
    if not settings.cache_key_tag.endswith(width):
        settings.cache_key_tag = f"{settings.cache_key_tag} {width}".strip()


def _pool(states: Tensor, starts: Tensor, lengths: Tensor, pool: Pool) -> Tensor:
    """One state per text.

    Args:
        states: (t, d), texts one after the other, with or without filler between them.
        starts: (b,) where each text begins.
        lengths: (b,) its tokens.
        pool: see `Backbone`.

    Returns:
        (b, d) float32.
    """
    import torch

    if pool == "cls":
        return states.index_select(0, starts).float()
    if pool == "last":
        return states.index_select(0, starts + lengths - 1).float()
    text = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    within = torch.arange(len(text), device=lengths.device) - (lengths.cumsum(0) - lengths)[text]
    tokens = states.index_select(0, starts[text] + within).float()
    sums = torch.zeros(len(lengths), states.shape[1], device=states.device).index_add(0, text, tokens)
    return sums / lengths[:, None]
