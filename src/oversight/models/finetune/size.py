"""How large a network is, counted without loading it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from oversight.models.checkpoint import Checkpoint
from oversight.models.network import load_config, quiet_transformers


def n_parameters(checkpoint: Checkpoint, *, depth: int) -> int:
    """Parameters of a network cut off after `depth` blocks, embeddings included, without any head."""
    return sum(one.numel() for one in skeleton(checkpoint, depth=depth).parameters())


@lru_cache(maxsize=8)
def skeleton(checkpoint: Checkpoint, *, depth: int) -> Any:
    """The network without its weights: shapes and names only."""
    import torch
    from transformers import AutoModel

    with torch.device("meta"), quiet_transformers():
        config = load_config(checkpoint, depth=depth)
        return AutoModel.from_config(config, trust_remote_code=checkpoint.remote_code)
