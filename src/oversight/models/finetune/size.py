"""How large a network is and what training it takes, counted without loading it."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from oversight.errors import InputError
from oversight.models.backbone import Backbone, resolve_device, resolve_precision
from oversight.models.checkpoint import Checkpoint
from oversight.models.finetune.classifier import TOKENS_AT_ONCE
from oversight.models.finetune.memory import available_bytes, readable
from oversight.models.finetune.recipe import FEWEST_TOKENS, Full, Lora
from oversight.models.finetune.shapes import Shapes, attention, linear_widths, per_token
from oversight.models.network import (
    find_blocks,
    load_config,
    load_tokenizer,
    quiet_transformers,
)
from oversight.tasks.task import Rows

if TYPE_CHECKING:
    from oversight.models.finetune.student import FineTuned

SAMPLE_ROWS = 256
MOST_NETWORKS_KEPT = 3


@dataclass(frozen=True, kw_only=True)
class Size:
    """What one fit takes. All bytes are those of one process; floating-point operations are those of all.

    Attributes:
        n_rows: rows to train on.
        n_tokens: mean tokens of a text.
        longest: tokens of the longest one.
        paired: whether a row is two texts.
        n_classes: k.
        parameters: of the network, without the head.
        trained_parameters: head included. With all weights an upper bound: embeddings of tokens that stand in no text
            stay as they are, and need neither gradient nor optimiser state.
        updates: of one learning rate.
        trials: learning rates that are tried.
        bytes_weights: of network and head; under bfloat16 with the copy that the passes read.
        bytes_gradients: float32.
        bytes_optimizer: AdamW two moments of 4 bytes, Adafactor rows and columns of every matrix.
        bytes_snapshot: the best weights so far, kept in the memory of the processor.
        bytes_activations: of one micro-batch, see `activation_bytes`.
        bytes_least: on the device, with a single row in a micro-batch, which is what an update can be cut down to.
        bytes_total: on the device.
        training_flops: of all trials.
        prediction_flops: of one row.
    """

    n_rows: int
    n_tokens: float
    longest: int
    paired: bool
    n_classes: int
    parameters: int
    trained_parameters: int
    updates: int
    trials: int
    bytes_weights: int
    bytes_gradients: int
    bytes_optimizer: int
    bytes_snapshot: int
    bytes_activations: int
    bytes_least: int
    bytes_total: int
    training_flops: float
    prediction_flops: float


def n_parameters(checkpoint: Checkpoint, *, depth: int) -> int:
    """Parameters of a network cut off after `depth` blocks, embeddings included, without any head."""
    return sum(one.numel() for one in skeleton(checkpoint, depth=depth).parameters())


def skeleton(checkpoint: Checkpoint, *, depth: int) -> Any:
    """The network without its weights: shapes and names only."""
    return _skeleton(checkpoint, depth, json.dumps(checkpoint.config, sort_keys=True))


@lru_cache(maxsize=8)
def _skeleton(checkpoint: Checkpoint, depth: int, config_json: str) -> Any:
    """Kept for as long as config.json says the same."""
    import torch
    from transformers import AutoModel

    del config_json
    with torch.device("meta"), quiet_transformers():
        config = load_config(checkpoint, depth=depth)
        network: Any = AutoModel.from_config(config, trust_remote_code=checkpoint.remote_code)
    find_blocks(network, max(depth, 1), of=checkpoint.n_blocks)
    return network


def estimate(
    student: FineTuned, *, n_rows: int, n_tokens: float, longest: int, paired: bool, n_classes: int = 2
) -> Size:
    """What one fit takes, under cross-entropy and with texts packed.

    With U the parameters of matrices that a token passes (no embeddings; of experts the share that is chosen), A those
    of adapters, and s = layers * attention width * sum of squared lengths, one pass over t tokens takes 2 (U + A) t +
    4 s operations. Training takes 6 U t + 12 s, with adapters 4 U t + 6 A t + 12 s, as frozen weights get no
    gradient; gradient checkpointing adds one pass. Lengths are known by mean m and longest l, so a mean square lies
    between m^2 and m l: the middle is taken.

    Args:
        student: network and recipe.
        n_rows: to train on.
        n_tokens: mean tokens of a text.
        longest: tokens of the longest text.
        paired: whether a row is two texts.
        n_classes: k.

    Raises:
        InputError: adapters that would stand beside no layer.

    Source: Kaplan et al. 2020, arXiv:2001.08361 (6 operations per parameter and token).
    """
    recipe, network = student.recipe, skeleton(student.backbone.checkpoint, depth=student.backbone.blocks)
    shapes = Shapes.of(network, student, n_classes=n_classes, paired=paired)
    machine, trials = recipe.machine, len(recipe.rates(shapes.parameters))
    shards = machine.processes if machine.sharding == "full" else 1
    weights, gradients, moments = (math.ceil(n / shards) for n in (shapes.weights, 4 * shapes.trained, shapes.moments))
    snapshot = 4 * shapes.trained if recipe.early_stopping else 0
    # A search keeps its best network, and the one before, while the next one is trained.
    fixed = weights * min(trials, MOST_NETWORKS_KEPT) + gradients + moments
    fixed += gradients if recipe.decay_to_start else 0  # the weights to go back to, as large as gradients
    texts = 2 if paired else 1
    anchor = 4 * n_rows * texts * network.config.hidden_size if recipe.anchor else 0
    # Best weights and anchored states lie in the memory of the processor.
    fixed += snapshot + anchor if resolve_device(student.backbone.device) == "cpu" else 0
    activations, least = _micro_batches(student, n_rows=n_rows, n_tokens=texts * n_tokens, longest=longest, texts=texts)
    forward = texts * forward_flops(student.backbone, n_tokens=n_tokens, longest=longest)
    forward += texts * n_tokens * 2 * shapes.adapters
    backward = 2 * forward - (texts * n_tokens * 2 * shapes.used if isinstance(recipe, Lora) else 0)
    passes = forward + backward + (forward if machine.checkpointing else 0)
    return Size(
        n_rows=n_rows,
        n_tokens=n_tokens,
        longest=longest,
        paired=paired,
        n_classes=n_classes,
        parameters=shapes.parameters,
        trained_parameters=shapes.trained,
        updates=recipe.n_updates(n_rows),
        trials=trials,
        bytes_weights=weights,
        bytes_gradients=gradients,
        bytes_optimizer=moments,
        bytes_snapshot=snapshot,
        bytes_activations=activations,
        bytes_least=fixed + least,
        bytes_total=fixed + activations,
        training_flops=float(passes * n_rows * recipe.n_epochs(n_rows) * trials),
        prediction_flops=float(forward),
    )


def forward_flops(backbone: Backbone, *, n_tokens: float, longest: int) -> float:
    """Floating-point operations of reading one text, see `estimate`.

    Args:
        backbone: which network, how deep.
        n_tokens: of the text; the mean of several.
        longest: tokens of the longest one.
    """
    network = skeleton(backbone.checkpoint, depth=backbone.blocks)
    _, width = attention(network.config)
    return n_tokens * (2 * per_token(network, backbone) + 2 * backbone.blocks * width * (n_tokens + longest))


def estimate_on(student: FineTuned, rows: Rows, *, n_classes: int) -> Size:
    """What a fit on these rows takes; their lengths are those of a sample."""
    n_tokens, longest = token_lengths(student.backbone, rows)
    return estimate(
        student,
        n_rows=len(rows),
        n_tokens=n_tokens,
        longest=longest,
        paired=rows.others is not None,
        n_classes=n_classes,
    )


def token_lengths(backbone: Backbone, rows: Rows) -> tuple[float, int]:
    """Mean and longest number of tokens of the texts of up to 256 rows drawn at random, truncated as the network does.

    Raises:
        InputError: the tokenizer cannot be loaded.
    """
    tokenizer = load_tokenizer(backbone.checkpoint)
    chosen = np.random.default_rng(0).permutation(len(rows))[:SAMPLE_ROWS]
    texts = [of[i] for of in (rows.texts, rows.others) if of is not None for i in chosen]
    limit = max(
        min(backbone.checkpoint.n_positions, backbone.max_tokens, int(tokenizer.model_max_length)), FEWEST_TOKENS
    )
    with quiet_transformers():
        encoded = tokenizer(texts, truncation=True, max_length=limit, padding=False)["input_ids"]
    lengths = [max(len(ids), 1) for ids in encoded]
    return float(np.mean(lengths)), max(lengths)


def _micro_batches(student: FineTuned, *, n_rows: int, n_tokens: float, longest: int, texts: int) -> tuple[int, int]:
    """Bytes of activations of the largest micro-batch, and of one with a single row.

    Args:
        student: network and recipe.
        n_rows: to train on.
        n_tokens: mean tokens of a row.
        longest: tokens of the longest text.
        texts: of a row.
    """
    recipe, row = student.recipe, texts * longest
    device = resolve_device(student.backbone.device).split(":")[0]
    rows = math.ceil(min(recipe.batch_size, n_rows) / recipe.machine.processes)
    budget = recipe.machine.tokens_at_once or TOKENS_AT_ONCE.get(device, TOKENS_AT_ONCE["cpu"])
    grid = min(rows * row, max(budget, row))
    tokens = max(min(rows * n_tokens, grid), row)
    full = activation_bytes(student, tokens=tokens, grid=grid, longest=longest)
    return full, activation_bytes(student, tokens=row, grid=row, longest=longest)


def activation_bytes(student: FineTuned, *, tokens: float, grid: int, longest: int) -> int:
    """What the passes over one micro-batch keep for the backward pass.

    Of a block, in bytes, with e those of a number in the pass (4, or 2 under bfloat16), t tokens, g of them with the
    padding of attention, d the width, a that of attention and h its heads:

        e * t * (inputs + outputs of all linear layers) + 16 * t * d + e * 3 * (g - t) * a + e * g * h * longest

    Linear layers keep their inputs, and what follows their outputs; two norms keep input and result in float32;
    attention keeps queries, keys and values, and on a processor its weights. All blocks count, and one more for what
    is alive while one is worked on; under gradient checkpointing 4 * t * d each and one block.

    Args:
        student: network and recipe.
        tokens: real ones of the micro-batch.
        grid: with padding.
        longest: tokens of its longest text.
    """
    backbone = student.backbone
    device = resolve_device(backbone.device)
    network = skeleton(backbone.checkpoint, depth=backbone.blocks)
    config, depth = network.config, backbone.blocks
    item = 4 if resolve_precision(backbone.precision, device) == "float32" else 2
    heads, width = attention(config)
    weights_kept = device == "cpu" or getattr(config, "attn_logit_softcapping", None) is not None
    block = item * (3 * (grid - tokens) * width + (grid * heads * longest if weights_kept else 0))
    block += tokens * (item * linear_widths(network, student) + 16 * config.hidden_size)
    if student.recipe.machine.checkpointing:
        return math.ceil(depth * tokens * 4 * config.hidden_size + block * min(depth, 1))
    return math.ceil((depth + 1) * block if depth else tokens * 8 * config.hidden_size)


def check_memory(student: FineTuned, size: Size) -> None:
    """Refuse a fit for which the device has not the memory, before anything is loaded.

    On a GPU the least counts, as an update whose memory runs out is cut into smaller passes; on a processor all of it,
    as the system ends a process that takes too much.

    Raises:
        InputError: what needs how much, what there is, and what would help.
    """
    device = resolve_device(student.backbone.device)
    available = available_bytes(device)
    needed = _needed(student, size)
    if available is None or needed <= available:
        return
    parts = {"weights": size.bytes_weights, "gradients": size.bytes_gradients, "optimiser": size.bytes_optimizer}
    if device == "cpu":
        parts |= {"best weights": size.bytes_snapshot}
    shown = ", ".join(f"{name} {readable(n)}" for name, n in parts.items())
    helpful = [f"{name} ({readable(n)})" for name, n in _remedies(student, size).items() if n < 0.98 * needed]
    raise InputError(
        f"{student.name}: training ({student.recipe.name}) needs about {readable(needed)} on {device} "
        f"({shown}; the rest are activations), found {readable(available)} free; "
        f"expected a smaller model or depth{', or one of: ' if helpful else ''}{', '.join(helpful)}"
    )


def _needed(student: FineTuned, size: Size) -> int:
    """Bytes on the device; the processes of a fit share a processor, and have a GPU each."""
    if resolve_device(student.backbone.device) == "cpu":
        return size.bytes_total * student.recipe.machine.processes
    return size.bytes_least


def _remedies(student: FineTuned, size: Size) -> dict[str, int]:
    """What each change that is still open would need, in bytes."""
    recipe, backbone = student.recipe, student.backbone
    shared = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(Full)}
    open_to: dict[str, Full] = {}
    if not isinstance(recipe, Lora):
        if backbone.blocks:
            open_to["LoRA"] = Lora(**shared)
        if recipe.optimizer != "adafactor":
            open_to["Adafactor"] = replace(recipe, optimizer="adafactor")
    elif recipe.quantize is None and resolve_device(backbone.device) != "cpu":
        open_to |= {"8bit": replace(recipe, quantize="8bit"), "4bit": replace(recipe, quantize="4bit")}
    if not recipe.machine.checkpointing:
        open_to["gradient checkpointing"] = replace(recipe, machine=replace(recipe.machine, checkpointing=True))
    found: dict[str, int] = {}
    for name, other in open_to.items():
        found[name] = _needed(replace(student, recipe=other), _again(replace(student, recipe=other), size))
    half = size.longest // 2
    if half >= FEWEST_TOKENS:
        found[f"{half} max_tokens"] = _needed(student, _again(student, replace(size, longest=half)))
    return found


def _again(student: FineTuned, size: Size) -> Size:
    return estimate(
        student,
        n_rows=size.n_rows,
        n_tokens=min(size.n_tokens, size.longest),
        longest=size.longest,
        paired=size.paired,
        n_classes=size.n_classes,
    )
