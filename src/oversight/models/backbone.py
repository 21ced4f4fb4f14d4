"""Which network is read, how deep, how long, in what precision and where: contents for keys, no weights in memory."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal

from oversight.errors import InputError
from oversight.models.checkpoint import Checkpoint

Pool = Literal["mean", "last", "cls"]
POOLS: tuple[Pool, ...] = ("mean", "last", "cls")
Precision = Literal["auto", "float32", "bfloat16"]

OLDER_PROCESSORS = {
    "ATEN_CPU_CAPABILITY": ("DEFAULT", "AVX2"),
    "ONEDNN_MAX_CPU_ISA": ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"),
}
"""Settings under which the libraries work as on a processor without bfloat16, which they imitate, many times slower."""
GPU_PLACES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A checkpoint read after `depth` blocks.

    Attributes:
        checkpoint: the network.
        depth: blocks to run, from 0 (token embeddings only) to all of them; None = all.
        pool: `mean` over real tokens, the `last` real token, or `cls`, the first; None = mean for encoders, last for
            decoders.
        max_tokens: longer texts are truncated (and counted, never dropped).
        precision: of the forward pass; `auto` = bfloat16 where the processor has instructions for it.
        device: `auto` = a GPU when there is one.
    """

    kind: ClassVar[str] = "backbone"

    checkpoint: Checkpoint
    depth: int | None = None
    pool: Pool | None = None
    max_tokens: int = 256
    precision: Precision = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        n_blocks = self.checkpoint.n_blocks
        if self.depth is not None and not 0 <= self.depth <= n_blocks:
            raise InputError(
                f"{self.checkpoint.name}@{self.depth}: expected a depth from 0 to {n_blocks}, the blocks of the model"
            )
        if self.pool is not None and self.pool not in POOLS:
            raise InputError(f"{self.checkpoint.name}: found pool={self.pool}, expected one of {', '.join(POOLS)}")
        if self.max_tokens < 1:
            raise InputError(f"{self.checkpoint.name}: found max_tokens={self.max_tokens}, expected at least 1")

    @property
    def name(self) -> str:
        """`minilm@4`, or `minilm` at full depth."""
        return self.checkpoint.name + (f"@{self.blocks}" if self.blocks < self.checkpoint.n_blocks else "")

    @property
    def blocks(self) -> int:
        """The depth as a number."""
        return self.checkpoint.n_blocks if self.depth is None else self.depth

    @property
    def pooling(self) -> Pool:
        """The pooling as decided."""
        return self.pool or ("last" if self.checkpoint.is_decoder else "mean")

    def identity(self) -> dict[str, object]:
        """Everything that decides the features, for a key: contents, never a name or a place."""
        device = resolve_device(self.device)
        return {
            "weights": self.checkpoint.fingerprint,
            "depth": self.blocks,
            "pool": self.pooling,
            "max_tokens": self.max_tokens,
            "precision": resolve_precision(self.precision, device),
            "device": device.split(":")[0],
        }

    def at(self, depth: int) -> Backbone:
        """The same network at another depth."""
        return replace(self, depth=depth)

    @property
    def whole(self) -> Backbone:
        """The network whose features are computed and kept; see `FirstFeatures`."""
        return self

    @property
    def width(self) -> int | None:
        """How many of its coordinates are read; None = all."""
        return None


@dataclass(frozen=True, kw_only=True)
class FirstFeatures(Backbone):
    """The first coordinates of a network's features, as they come: no rotation, no selection.

    For supervisors that a student can simulate, after Burns et al. 2023, arXiv:2312.09390, appendix E.1. Features of
    the whole network are computed and kept; what is read of them is decided when they are read.

    Attributes:
        first: how many coordinates, at least 1.
    """

    kind: ClassVar[str] = "first_features"

    first: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first < 1:
            raise InputError(f"{self.checkpoint.name}: found the first {self.first} coordinates, expected at least 1")

    @property
    def name(self) -> str:
        """`minilm@4[:48]`."""
        return f"{self.whole.name}[:{self.first}]"

    @property
    def whole(self) -> Backbone:
        """The network with all its coordinates."""
        return Backbone(**{one.name: getattr(self, one.name) for one in fields(Backbone)})

    @property
    def width(self) -> int | None:
        """So many."""
        return self.first

    def identity(self) -> dict[str, object]:
        """That of the network, and how much of it is read."""
        return {**super().identity(), "first": self.first}


def resolve_device(device: str) -> str:
    """`auto` becomes `cuda` where a GPU answers, else `cpu`."""
    if device != "auto":
        return device
    if not any(os.path.exists(place) for place in GPU_PLACES):
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve_precision(precision: Precision, device: str) -> Literal["float32", "bfloat16"]:
    """`auto` becomes bfloat16 where the processor multiplies it natively, and the libraries are not told otherwise."""
    if precision != "auto":
        return precision
    if device != "cpu":
        return "bfloat16"
    if any(os.environ.get(name, "").upper() in older for name, older in OLDER_PROCESSORS.items()):
        return "float32"
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return "float32"
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"
