"""What long fits find around them: where to keep what is finished and what is not yet, and whom to tell."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from oversight.sealed import Array


class Shelf(Protocol):
    """Finished fits by key."""

    def find(self, key: str) -> tuple[Mapping[str, Array], Mapping[str, Any]] | None:
        """Arrays and record of a finished fit; None when it is not there or was found damaged."""
        ...

    def keep(
        self, key: str, arrays: Mapping[str, Array], record: Mapping[str, Any], *, about: Mapping[str, Any]
    ) -> None:
        """Keep a finished fit; `about` says what made it."""
        ...

    def spoil(self, key: str, reason: str) -> None:
        """A kept fit does not give what it gave before: forget it, and remember why."""
        ...


def _silent(done: float, note: str) -> None:
    del done, note


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """The surroundings of a fit. None of this changes what it gives.

    Attributes:
        shelf: where finished fits are kept; None = nowhere.
        folder: where unfinished ones keep their checkpoints; None = nowhere.
        tell: called with the fraction done and a line on how it goes.
    """

    shelf: Shelf | None = None
    folder: Path | None = None
    tell: Callable[[float, str], None] = _silent


_BENCH: ContextVar[Workbench | None] = ContextVar("workbench", default=None)


def workbench() -> Workbench:
    """The one at which this fit stands."""
    return _BENCH.get() or Workbench()


@contextlib.contextmanager
def working_at(**changes: Any) -> Generator[Workbench]:
    """Within this block fits find these things around them, beside those found before."""
    token = _BENCH.set(replace(workbench(), **changes))
    try:
        yield workbench()
    finally:
        _BENCH.reset(token)
