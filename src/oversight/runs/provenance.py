"""What a run found in the store instead of computing it: when it was made, by which version, with which libraries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from oversight.errors import StepError
from oversight.runs.store import DirectoryStore, MemoryStore, Store, record_of
from oversight.versions import ABSENT, full, shortened

OURS, UNKNOWN = "oversight", "an unknown version"
Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class FromStore:
    """Steps that were in the store before a run.

    Attributes:
        steps: so many, of the `of` that were needed.
        of: steps that were needed.
        made: when the first and the last of them were made; UTC, as in records.
        by: versions of this program that made them.
        patches: by library, the versions with which they were made that differ from the one here in the patch alone, so
            that they were believed.
    """

    steps: int
    of: int
    made: tuple[str, str]
    by: tuple[str, ...]
    patches: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def __str__(self) -> str:
        first, last = (time.partition("T")[0] for time in self.made)
        days = first if first == last else f"{first} to {last}"
        part = "" if self.steps == self.of else f"{self.steps:,} of {self.of:,} steps "
        return f"{part}from the store, made {days} by {', '.join(self.by)}"

    @property
    def notes(self) -> tuple[str, ...]:
        """`computed with torch 2.13.0, here is 2.13.1: the same but for the patch, so it is believed`, by library."""
        return tuple(
            f"from the store: computed with {name} {', '.join(others)}, here is {full(name)}; "
            "they differ in the patch alone, so it is believed"
            for name, others in self.patches.items()
        )

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        patches = {name: {"stored": list(others), "here": full(name)} for name, others in self.patches.items()}
        told = {"steps": self.steps, "of": self.of, "first_made": self.made[0], "last_made": self.made[1]}
        return {**told, "by": list(self.by), "other_patches": patches}


def records_in(store: Store, keys: Iterable[str]) -> dict[str, Record]:
    """Records of those of the steps that are in the store; damaged ones are not."""
    found: dict[str, Record] = {}
    for key in keys:
        record = _record(store, key) if store.peek(key) else None
        if record is not None:
            found[key] = record
    return found


def provenance(found: Mapping[str, Record], keys: Iterable[str]) -> FromStore | None:
    """What of these steps had been in the store; None: nothing.

    Args:
        found: see `records_in`, taken before the run.
        keys: of the steps that were needed.
    """
    needed = list(dict.fromkeys(keys))
    records = [found[key] for key in needed if key in found]
    if not records:
        return None
    made = sorted(str(record.get("made", "")) for record in records)
    by = sorted({str(record.get("versions", {}).get(OURS, UNKNOWN)) for record in records})
    patches: dict[str, set[str]] = {}
    for record in records:
        for name, other in other_patches(record).items():
            patches.setdefault(name, set()).add(other)
    return FromStore(
        steps=len(records),
        of=len(needed),
        made=(made[0], made[-1]),
        by=tuple(by),
        patches={name: tuple(sorted(others)) for name, others in sorted(patches.items())},
    )


def other_patches(record: Record) -> dict[str, str]:
    """Libraries in a result's key that computed it in another patch version than the one here."""
    versions: Mapping[str, str] = record.get("versions", {})
    used: Mapping[str, str] = record.get("config", {}).get("libraries", {})
    return {name: versions[name] for name in used if name in versions and differs_in_patch(versions[name], full(name))}


def differs_in_patch(one: str, other: str) -> bool:
    """Whether two versions differ, but neither in the first nor in the second number."""
    return one != other and ABSENT not in (one, other) and shortened(one) == shortened(other)


def _record(store: Store, key: str) -> Record | None:
    if isinstance(store, MemoryStore):
        return store.about(key)
    if not isinstance(store, DirectoryStore):
        return None
    try:
        found = record_of(store.folder(key))
    except StepError:
        return None
    return None if isinstance(found, str) else found
