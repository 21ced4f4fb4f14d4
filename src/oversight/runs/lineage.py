"""Why two results are not the same one, and who uses a result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from oversight.errors import StepError
from oversight.runs.collect import made_from
from oversight.runs.kept import all_kept
from oversight.runs.provenance import differs_in_patch
from oversight.runs.store import DirectoryStore, record_of

ABSENT, UNKNOWN = "absent", "step"
SHOWN = 60


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Something in which two steps differ that is not itself the consequence of another difference.

    Attributes:
        kind: of the steps.
        name: of the first step, for people.
        field: `kind`, `version`, `config.student.penalties`, `inputs`, or `result` where one is not in the store.
        one, other: the values.
        steps: how many pairs of steps differ in this.
        keys: of the first pair.
    """

    kind: str
    name: str
    field: str
    one: Any
    other: Any
    keys: tuple[str, str]
    steps: int = 1

    def __str__(self) -> str:
        times = f" ({self.steps} steps)" if self.steps > 1 else ""
        return f"{self.kind}{times}: {self.field}: {shortened(self.one)} | {shortened(self.other)}"


@dataclass(frozen=True, kw_only=True)
class Used:
    """Who uses a result.

    Attributes:
        results: key, kind and name of each that was made from it.
        studies: name and title of each kept study that needs it.
    """

    results: tuple[Mapping[str, str], ...]
    studies: tuple[Mapping[str, str], ...]


def differences(store: DirectoryStore, key: str, other: str) -> list[Difference]:
    """In what two results differ, from the root causes up; nothing for equal keys.

    Args:
        store: that holds both.
        key: of one, or its beginning.
        other: of the other.

    Raises:
        InputError: no such key, or more than one that begins so.
        StepError: one of the two is damaged.
    """
    pair = store.find(key), store.find(other)
    for one in pair:
        store.about(one)
    found: list[Difference] = []
    seen: set[tuple[str, str]] = set()
    waiting = [pair]
    while waiting:
        pair = waiting.pop(0)
        if pair[0] != pair[1] and pair not in seen:
            seen.add(pair)
            own, below = _compared(store, pair)
            found.extend(reversed(own))
            waiting.extend(below)
    return list(_together(reversed(found)))


def lost(store: DirectoryStore) -> dict[str, str]:
    """Results that are not there although others were made from them, each with one that was."""
    records = {key: record for key, record in store.records() if not isinstance(record, str)}
    return {before: key for key, record in records.items() for before in record["inputs"] if not store.peek(before)}


def users(store: DirectoryStore, key: str) -> Used:
    """Who uses a result: those made from it, and the kept studies that need it; damaged ones are left out."""
    results: list[Mapping[str, str]] = []
    for reader in list(store.keys()):
        record = _record(store, reader)
        if record is not None and key in made_from(record):
            results.append({"key": reader, "kind": str(record.get("kind")), "name": str(record.get("name", ""))})
    kept, _ = all_kept(store.path)
    named = [one for one in kept if key in one.steps or key in one.goals]
    return Used(results=tuple(results), studies=tuple({"name": one.name, "title": one.title} for one in named))


def shortened(value: Any) -> str:
    """A value in at most 60 characters."""
    text = " ".join(str(value).split()) if value != "" else "''"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _compared(store: DirectoryStore, pair: tuple[str, str]) -> tuple[list[Difference], list[tuple[str, str]]]:
    """In what two steps themselves differ, and the pairs of their inputs that do."""
    one, other = _record(store, pair[0]), _record(store, pair[1])
    known = one or other or {}
    kind, name = str(known.get("kind", UNKNOWN)), str(known.get("name", ""))

    def difference(field: str, a: Any, b: Any) -> Difference:
        return Difference(kind=kind, name=name, field=field, one=a, other=b, keys=pair)

    if one is None or other is None:
        there = [ABSENT if record is None else "there" for record in (one, other)]
        return [difference("result", *there)], []
    if one.get("kind") != other.get("kind"):
        return [difference("kind", one.get("kind"), other.get("kind"))], []
    found = [difference("version", one.get("version"), other.get("version"))]
    found = [version for version in found if version.one != version.other]
    found += [difference(*field) for field in fields_apart("config", one.get("config"), other.get("config"))]
    found += [difference(*field) for field in _patches(one, other)]
    pairs, extra = _matched(store, one.get("inputs", ()), other.get("inputs", ()))
    if extra is not None:
        found.append(difference("inputs", *extra))
    return found, pairs


def _patches(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Libraries of which the two were computed with different patch versions, which are in no key."""
    versions: list[Mapping[str, str]] = [record.get("versions", {}) for record in (one, other)]
    used: Mapping[str, str] = one.get("config", {}).get("libraries", {})
    for name in sorted(used):
        a, b = (known.get(name, ABSENT) for known in versions)
        if differs_in_patch(a, b):
            yield f"versions.{name}", a, b


def fields_apart(path: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON values differ: dotted path, both values; `[i]` for the places of lists of one length."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in sorted({*one, *other}):
            yield from fields_apart(f"{path}.{name}", one.get(name, ABSENT), other.get(name, ABSENT))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from fields_apart(f"{path}[{i}]", a, b)
    elif one != other or isinstance(one, bool) != isinstance(other, bool):
        yield path, one, other


def _matched(
    store: DirectoryStore, one: Sequence[str], other: Sequence[str]
) -> tuple[list[tuple[str, str]], tuple[str, str] | None]:
    """Inputs by place where the kinds agree, else kind by kind after those that both have; and what is left over."""
    kinds = [_kind(store, key) for key in one], [_kind(store, key) for key in other]
    if len(one) == len(other) and all(UNKNOWN in pair or pair[0] == pair[1] for pair in zip(*kinds, strict=True)):
        return list(zip(one, other, strict=True)), None
    pairs: list[tuple[str, str]] = []
    left: list[list[str]] = [[], []]
    for kind in sorted({*kinds[0], *kinds[1]}):
        a = [key for key, found in zip(one, kinds[0], strict=True) if found == kind and key not in other]
        b = [key for key, found in zip(other, kinds[1], strict=True) if found == kind and key not in one]
        for first, second in zip_longest(a, b):
            if first is not None and second is not None:
                pairs.append((first, second))
            else:
                left[0 if second is None else 1].append(kind)
    return pairs, (_counted(kinds[0]), _counted(kinds[1])) if left[0] or left[1] else None


def _counted(kinds: Sequence[str]) -> str:
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)) or "none"


def _together(found: Iterator[Difference]) -> Iterator[Difference]:
    """The same difference in several pairs of steps, as it comes with several seeds, once."""
    groups: dict[str, Difference] = {}
    for one in found:
        name = repr((one.kind, one.field, one.one, one.other))
        groups[name] = replace(one, steps=groups[name].steps + 1) if name in groups else one
    yield from groups.values()


def _kind(store: DirectoryStore, key: str) -> str:
    return str((_record(store, key) or {}).get("kind", UNKNOWN))


def _record(store: DirectoryStore, key: str) -> dict[str, Any] | None:
    try:
        found = record_of(store.folder(key))
    except StepError:
        return None
    return found if isinstance(found, dict) else None
