"""Counts over the names and shapes of a network's tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oversight.errors import InputError
from oversight.models.backbone import Backbone, resolve_device, resolve_precision
from oversight.models.finetune.adapters import check_targets
from oversight.models.finetune.recipe import Lora
from oversight.models.network import find_blocks

if TYPE_CHECKING:
    from oversight.models.finetune.student import FineTuned

# Bytes of one weight; 4 bits: nf4 in blocks of 64 with doubly quantised scales (Dettmers et al. 2023), 4.127 bits.
QUANTIZED = {"8bit": 1.0, "4bit": 4.127 / 8}
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Counts over the tensors of a network and of what is trained beside it.

    Attributes:
        parameters: of the network.
        trained: head included.
        adapters: of which in adapters.
        used: multiplied with each token.
        weights: bytes of all of them.
        moments: bytes of what the optimiser remembers.
    """

    parameters: int
    trained: int
    adapters: int
    used: float
    weights: int
    moments: int

    @classmethod
    def of(cls, network: Any, student: FineTuned, *, n_classes: int, paired: bool) -> Shapes:
        """From names and shapes alone."""
        backbone, recipe = student.backbone, student.recipe
        width = network.config.hidden_size
        head = [(width, n_classes)] if paired else [(width, n_classes), (n_classes,)]
        if isinstance(recipe, Lora):
            if backbone.blocks == 0:
                raise InputError(f"{backbone.name}: found no block, so there is nothing to put an adapter beside")
            check_targets(network, recipe, name=backbone.name)
            beside = [shape for name, shape in _linears(network) if _targeted(name, recipe)]
            adapters = [pair for i, o in beside for pair in ((i, recipe.rank), (recipe.rank, o))]
            trained = [*adapters, *head]
        else:
            adapters: list[tuple[int, int]] = []
            trained = [*(tuple(one.shape) for _, one in _used(network, backbone)), *head]
        n_adapters = sum(map(math.prod, adapters))
        return cls(
            parameters=sum(one.numel() for one in network.parameters()),
            trained=sum(map(math.prod, trained)),
            adapters=n_adapters,
            used=per_token(network, backbone),
            weights=_weight_bytes(network, student) + 4 * (n_adapters + sum(map(math.prod, head))),
            moments=sum(map(_factored if recipe.optimizer == "adafactor" else _two_moments, trained)),
        )


def _two_moments(shape: tuple[int, ...]) -> int:
    return 8 * math.prod(shape)


def _factored(shape: tuple[int, ...]) -> int:
    """Rows and columns of every matrix; a vector has one moment."""
    if len(shape) < 2:
        return 4 * math.prod(shape)
    return 4 * math.prod(shape[:-2]) * (shape[-2] + shape[-1])


def _used(network: Any, backbone: Backbone) -> Iterator[tuple[str, Any]]:
    """Parameters that a state at this depth depends on; a norm behind a truncated depth is still among them."""
    blocks = find_blocks(network, max(backbone.blocks, 1), of=backbone.checkpoint.n_blocks)
    unused = {id(one) for one in blocks.parameters()} if backbone.blocks == 0 else set[int]()
    for name, parameter in network.named_parameters():
        if "pooler" not in name and id(parameter) not in unused:
            yield name, parameter


def per_token(network: Any, backbone: Backbone) -> float:
    """Numbers of matrices that each token is multiplied with: no table of embeddings, few of many experts."""
    from torch.nn import Embedding

    tables = {id(one) for module in network.modules() if isinstance(module, Embedding) for one in module.parameters()}
    matrices = [(n, one) for n, one in _used(network, backbone) if one.ndim > 1 and id(one) not in tables]
    return sum(one.numel() * (_chosen(network.config) if ".experts." in name else 1.0) for name, one in matrices)


def _chosen(config: Any) -> float:
    """Share of the experts that one token goes through."""
    total = next((getattr(config, name) for name in EXPERTS if getattr(config, name, None)), None)
    return 1.0 if total is None else getattr(config, "num_experts_per_tok", total) / total


def _linears(network: Any) -> Iterator[tuple[str, tuple[int, int]]]:
    """Linear layers other than a pooler's, with (inputs, outputs)."""
    for name, module in network.named_modules():
        if type(module).__name__ in {"Linear", "NonDynamicallyQuantizableLinear"} and "pooler" not in name:
            yield name, (module.in_features, module.out_features)
        elif type(module).__name__ == "Conv1D":
            yield name, tuple(module.weight.shape)


def _targeted(name: str, recipe: Lora) -> bool:
    return recipe.targets is None or any(name == one or name.endswith(f".{one}") for one in recipe.targets)


def linear_widths(network: Any, student: FineTuned) -> float:
    """Inputs and outputs of all linear layers of a block, chosen experts included; adapters keep `rank` more each."""
    recipe, depth = student.recipe, max(student.backbone.blocks, 1)
    blocks = find_blocks(network, depth, of=student.backbone.checkpoint.n_blocks)
    found = 0.0
    for name, (n_in, n_out) in _linears(blocks):
        found += n_in + n_out + (recipe.rank if isinstance(recipe, Lora) and _targeted(name, recipe) else 0)
    for name, one in blocks.named_parameters():
        if ".experts." in name and one.ndim == 3:
            found += _chosen(network.config) * one.shape[0] * (one.shape[1] + one.shape[2])
    return found / depth


def attention(config: Any) -> tuple[int, int]:
    """Heads, and their width in all."""
    heads = getattr(config, "num_attention_heads", None) or 0
    each = getattr(config, "head_dim", None) or (config.hidden_size // heads if heads else 0)
    return heads, heads * each


def _weight_bytes(network: Any, student: FineTuned) -> int:
    """Of the network as the classifier holds it: trained weights in float32, frozen matrices in that of the pass."""
    backbone, recipe = student.backbone, student.recipe
    device = resolve_device(backbone.device)
    item = 4 if resolve_precision(backbone.precision, device) == "float32" else 2
    if not isinstance(recipe, Lora):
        total = sum(4 * one.numel() for one in network.parameters())
        return total + (0 if item == 4 else 2 * math.ceil(per_token(network, backbone)))
    total = float(sum(one.numel() * (item if one.ndim > 1 else 4) for one in network.parameters()))
    if recipe.quantize is not None:
        small = sum(n_in * n_out for _, (n_in, n_out) in _linears(network))
        total -= small * (item - QUANTIZED[recipe.quantize])
    return math.ceil(total)
