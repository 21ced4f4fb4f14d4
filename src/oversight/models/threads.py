"""Threads belong to the work, not to the worker: sums that are split among more threads are rounded differently."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

WITH_THREADS = ("numpy", "scipy.linalg", "sklearn", "torch")

_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


@contextlib.contextmanager
def one_thread() -> Generator[None]:
    """Within this block torch and BLAS work on one thread, whatever the process has; also a decorator.

    Libraries that are first loaded within the block keep their threads.
    """
    if _ALONE.get():
        yield
        return
    torch: Any = sys.modules.get("torch", _NoTorch)
    before: int = torch.get_num_threads()
    token = _ALONE.set(True)
    try:
        with _libraries(tuple(name in sys.modules for name in WITH_THREADS)).limit(limits=1):
            torch.set_num_threads(1)
            yield
    finally:
        torch.set_num_threads(before)
        _ALONE.reset(token)


class _NoTorch:
    """Where it was not loaded there is nothing to set."""

    @staticmethod
    def get_num_threads() -> int:
        """One."""
        return 1

    @staticmethod
    def set_num_threads(n: int) -> None:
        """Nothing."""


@lru_cache(maxsize=1)
def _libraries(loaded: tuple[bool, ...]) -> Any:
    """The libraries that have threads of their own; looked for again when one more was loaded."""
    from threadpoolctl import ThreadpoolController

    del loaded
    return ThreadpoolController()
