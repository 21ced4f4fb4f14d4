"""Stores with results of a few bytes, as steps and fine-tuned models leave them."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.runs.store import DirectoryStore, Outcome

HOURS_AGO = 3 * 3600


@pytest.fixture(scope="session")
def key_of() -> Callable[[str], str]:
    """key_of("a") -> a key."""
    return lambda name: hashlib.sha256(name.encode()).hexdigest()


@pytest.fixture(scope="session")
def age() -> Callable[..., None]:
    """age(path) -> everything in a folder, or a file, was last touched three hours ago."""

    def make_old(path: Path, seconds: float = HOURS_AGO) -> None:
        then = time.time() - seconds
        for one in [*path.rglob("*"), path]:
            os.utime(one, (then, then))

    return make_old


@pytest.fixture(scope="session")
def put_result(key_of: Callable[[str], str], age: Callable[..., None]) -> Callable[..., str]:
    """put_result(store, "b", inputs=["a"]) -> the key of a result made three hours ago; a model has no version."""

    def put(
        store: DirectoryStore,
        name: str,
        *,
        inputs: Sequence[str] = (),
        models: Sequence[str] = (),
        kind: str = "teach",
        young: bool = False,
        **about: Any,
    ) -> str:
        key = key_of(name)
        record: dict[str, Any] = {"models": [key_of(one) for one in models]} if models else {}
        arrays = {"a": np.frombuffer(key.encode(), dtype=np.uint8).astype(np.int64)}
        known = {"kind": kind, "version": 1, "config": {}, "name": f"the step {name}", "seconds": 0.5} | about
        known |= {"inputs": [key_of(one) for one in inputs], "made": "2026-01-01T00:00:00Z"}
        if kind == "model":
            del known["version"]
        store.put(key, Outcome(arrays=arrays, record=record), about=known)
        if not young:
            age(store.folder(key))
        return key

    return put
