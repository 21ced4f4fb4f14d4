"""What a store holds that nobody needs: found by going from the kept studies down, removed only when asked."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oversight.errors import StepError, StoreError
from oversight.runs.claims import Claims
from oversight.runs.failures import FAILED, failures
from oversight.runs.kept import KEPT, Kept, all_kept
from oversight.runs.store import DirectoryStore, discard, folder_bytes, record_of
from oversight.sealed import ARRAYS

CLAIMS, UNFINISHED = "claims", "unfinished"
GRACE_SECONDS, QUIET_SECONDS, DAY = 3600.0, 60.0, 86400.0
UNNEEDED, DAMAGED, LEFTOVER = "no kept study needs it", "damaged", "left by a process that ended"
OLD, DONE, NOT_ASKED = "checkpoints not touched for long", "checkpoints of a finished model", "no kept study names it"


@dataclass(frozen=True, kw_only=True)
class Waste:
    """One thing that nobody needs.

    Attributes:
        path: the folder or file.
        kind: of the step; `leftover`, `checkpoints` or `failure` for what is no result.
        why: one of the reasons above.
        bytes: of its files.
        key: of a result, of a model's checkpoints, of a failed step.
        name: for people.
    """

    path: Path
    kind: str
    why: str
    bytes: int
    key: str = ""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """What nobody needs.

    Attributes:
        items: results first.
        n_results: that the store holds in all.
        n_kept: studies that were asked for.
        dead_claims: of processes that ended.
    """

    items: tuple[Waste, ...]
    n_results: int
    n_kept: int
    dead_claims: int

    @property
    def bytes(self) -> int:
        """Of all."""
        return sum(item.bytes for item in self.items)


def plan_gc(
    store: DirectoryStore, *, grace: float = GRACE_SECONDS, days: float = 7.0, dropped: Sequence[str] = ()
) -> Garbage:
    """What could be removed; removes nothing.

    Results stay that a kept study needs, that are younger than `grace`, or that somebody computes now, and everything
    that those were made from: inputs, and the fine-tuned models behind them. While a kept study is unfinished, all
    models stay, for the steps that will tell which of them they used are not there yet.

    Args:
        store: where to look.
        grace: seconds.
        days: for which checkpoints of unfinished fits may lie untouched.
        dropped: names of kept studies, looked at as though they had been dropped.

    Raises:
        StepError: a kept study is damaged, so that what it needs is not known; or a result is of a newer format.
    """
    kept = _asked_for(store, dropped)
    records = dict(store.records())
    claimed, dead = _claims(store)
    now = time.time()
    young = [key for key in records if now - _touched(store.folder(key)) < grace]
    needed = _needed(kept, records, [*young, *claimed])
    items: list[Waste] = []
    for key, record in records.items():
        why = DAMAGED if isinstance(record, str) or not (store.folder(key) / ARRAYS).is_file() else UNNEEDED
        if (why == UNNEEDED and key not in needed) or (why == DAMAGED and key not in claimed):
            items.append(_result(store, key, record, why))
    items += _leftovers(store, now, grace if claimed else QUIET_SECONDS)
    items += _checkpoints(store, now, days * DAY, claimed)
    items += _failures(store, kept)
    return Garbage(items=tuple(items), n_results=len(records), n_kept=len(kept), dead_claims=dead)


def collect(store: DirectoryStore, garbage: Garbage) -> Garbage:
    """Remove it, each thing first out of sight; what somebody came to need since it was found stays.

    Returns:
        What was removed.

    Raises:
        StoreError: the store cannot be written, or something could not be removed.
    """
    reason = store.writable()
    if reason is not None:
        raise StoreError(f"store {store.path}: cannot be written: {reason}; nothing was removed")
    claimed, _ = _claims(store)
    asked = {key for kept in _asked_for(store, ()) for key in (*kept.goals, *kept.steps)}
    removed: list[Waste] = []
    for item in garbage.items:
        wanted = item.key in claimed or (item.why == UNNEEDED and item.key in asked)
        if wanted or (item.why == DAMAGED and _sound(store, item.key)):
            continue
        _remove(item.path)
        if os.path.lexists(item.path):
            raise StoreError(f"store {store.path}: cannot remove {item.path.name}; {len(removed)} things were removed")
        removed.append(item)
    dead = 0
    if (store.path / CLAIMS).is_dir():
        with Claims(store.path / CLAIMS) as claims:
            dead = claims.sweep_dead()
    return Garbage(items=tuple(removed), n_results=garbage.n_results, n_kept=garbage.n_kept, dead_claims=dead)


def made_from(record: Mapping[str, Any]) -> list[str]:
    """Keys of everything that a result was made from: its inputs, and the models that its step used."""
    own: Mapping[str, Any] = record.get("record", {})
    return [*record.get("inputs", ()), *own.get("models", ())]


def _asked_for(store: DirectoryStore, dropped: Sequence[str]) -> list[Kept]:
    kept, faults = all_kept(store.path)
    unknown = {name: fault for name, fault in faults.items() if name not in dropped}
    for name, fault in unknown.items():
        raise StepError(
            f"store {store.path}: kept study {name} is damaged ({fault}), so that what it needs is not known; "
            f"run its command again, or `oversight gc --drop {name}`"
        )
    return [one for one in kept if one.name not in dropped]


def _needed(kept: Iterable[Kept], records: Mapping[str, dict[str, Any] | str], others: Iterable[str]) -> set[str]:
    named = {key for one in kept for key in (*one.goals, *one.steps)}
    waiting = [*named, *others]
    if any(isinstance(records.get(key, ""), str) for key in named):
        waiting += [key for key, record in records.items() if not isinstance(record, str) and "version" not in record]
    found: set[str] = set()
    while waiting:
        key = waiting.pop()
        if key in found:
            continue
        found.add(key)
        record = records.get(key)
        if isinstance(record, dict):
            waiting.extend(made_from(record))
    return found


def _claims(store: DirectoryStore) -> tuple[set[str], int]:
    """Keys that somebody computes now, and how many claims are of processes that ended."""
    folder = store.path / CLAIMS
    keys = {path.name.partition(".")[0] for path in folder.glob("??/[!.]*")}
    if not keys:
        return set(), 0
    with Claims(folder) as claims:
        held = {key for key in keys if _is_held(claims, key)}
    return held, len(keys) - len(held)


def _is_held(claims: Claims, key: str) -> bool:
    try:
        return claims.holder(key) is not None
    except StepError:  # on a read-only store the time cannot be told: rather alive than dead
        return True


def _result(store: DirectoryStore, key: str, record: Mapping[str, Any] | str, why: str) -> Waste:
    about: Mapping[str, Any] = {} if isinstance(record, str) else record
    kind, name = str(about.get("kind", "damaged")), str(about.get("name", ""))
    return Waste(path=store.folder(key), kind=kind, why=why, bytes=store.size(key), key=key, name=name)


def _leftovers(store: DirectoryStore, now: float, patience: float) -> list[Waste]:
    places = [path for within in ("??", KEPT, FAILED) for path in store.path.glob(f"{within}/.*")]
    left = [path for path in sorted(places) if path.name.startswith((".new-", ".old-"))]
    return [
        Waste(path=path, kind="leftover", why=LEFTOVER, bytes=_bytes(path))
        for path in left
        if now - _touched(path) > patience
    ]


def _checkpoints(store: DirectoryStore, now: float, patience: float, claimed: set[str]) -> list[Waste]:
    found: list[Waste] = []
    for path in sorted((store.path / UNFINISHED).glob("*")):
        done = store.peek(path.name)
        if done or (now - _touched(path) > patience and path.name not in claimed):
            why = DONE if done else OLD
            found.append(Waste(path=path, kind="checkpoints", why=why, bytes=_bytes(path), key=path.name))
    return found


def _failures(store: DirectoryStore, kept: Iterable[Kept]) -> list[Waste]:
    named = {key for one in kept for key in one.steps}
    found: list[Waste] = []
    for key, failure in failures(store.path).items():
        if key not in named:
            path = store.path / FAILED / f"{key}.json"
            size = _bytes(path)
            found.append(Waste(path=path, kind="failure", why=NOT_ASKED, bytes=size, key=key, name=failure.name))
    return found


def _sound(store: DirectoryStore, key: str) -> bool:
    return isinstance(record_of(store.folder(key)), dict) and (store.folder(key) / ARRAYS).is_file()


def _bytes(path: Path) -> int:
    with suppress(OSError):
        return folder_bytes(path) if path.is_dir() else path.lstat().st_size
    return 0


def _touched(path: Path) -> float:
    """Unix time of the last change in a folder or of a file; now, where it vanishes meanwhile."""
    try:
        times = [os.lstat(path).st_mtime]
        for place, folders, names in os.walk(path):
            times += [os.lstat(os.path.join(place, name)).st_mtime for name in (*folders, *names)]
        return max(times)
    except OSError:
        return time.time()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.name.startswith((".new-", ".old-")):
        return discard(path)
    if path.is_dir():
        return shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink(missing_ok=True)
