"""What steps take, learned from finished steps of the same kind."""

from __future__ import annotations

import random
import statistics
from collections import defaultdict, deque
from collections.abc import Hashable, Mapping
from typing import Any

from oversight.errors import OversightError
from oversight.runs.steps import Kind, Step
from oversight.runs.store import DirectoryStore, Store

REMEMBERED = 64
MOST_READ = 1000


class Estimates:
    """Seconds of a step: the median of those like it, else of its kind. Memory: the largest of those like it.

    Args:
        kinds: whose `like` says which steps take about as long.
    """

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._kinds = kinds
        self._seconds: dict[Hashable, deque[float]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
        self._medians: dict[Hashable, float] = {}
        self._memory: dict[Hashable, int] = {}
        self._needs: dict[str, int] = {}
        self._named: dict[str, tuple[Hashable, Hashable]] = {}

    def learn(self, kind: str, config: Mapping[str, Any], *, seconds: float, memory_bytes: int) -> None:
        """A step took so long; memory is that of the whole process."""
        if kind not in self._kinds:
            return
        for name in self._names(kind, config):
            self._seconds[name].append(seconds)
            self._medians.pop(name, None)
            self._memory[name] = max(self._memory.get(name, 0), memory_bytes)

    def seconds(self, step: Step) -> float | None:
        """None: no step of this kind was finished yet."""
        for name in self._names_of(step):
            if name in self._seconds:
                if name not in self._medians:
                    self._medians[name] = statistics.median(self._seconds[name])
                return self._medians[name]
        return None

    def memory_bytes(self, step: Step, env: Any) -> int:
        """The larger of what the kind says beforehand and what steps like it took; 0: not known."""
        like, _ = self._names_of(step)
        if step.key not in self._needs:
            self._needs[step.key] = self._kinds[step.kind].needs(step, env).memory_bytes
        return max(self._memory.get(like, 0), self._needs[step.key])

    def _names_of(self, step: Step) -> tuple[Hashable, Hashable]:
        if step.key not in self._named:
            self._named[step.key] = self._names(step.kind, step.config)
        return self._named[step.key]

    def _names(self, kind: str, config: Mapping[str, Any]) -> tuple[Hashable, Hashable]:
        return (kind, self._kinds[kind].like(config)), kind


def learned(store: Store, kinds: Mapping[str, Kind]) -> Estimates:
    """Estimates from a sample of what a store holds."""
    found = Estimates(kinds)
    if not isinstance(store, DirectoryStore):
        return found
    keys = list(store.keys())
    for key in random.Random(0).sample(keys, min(MOST_READ, len(keys))):
        try:
            about = store.about(key, check=False)
            memory = int(about.get("memory_bytes", 0))
            found.learn(about["kind"], about["config"], seconds=float(about["seconds"]), memory_bytes=memory)
        except (OversightError, LookupError, TypeError, ValueError, AttributeError):
            continue
    return found
