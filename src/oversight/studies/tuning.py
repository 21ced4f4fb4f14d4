"""How the settings of compared methods were chosen, and what they may owe to the test rows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from oversight.runs.store import DirectoryStore, Store
from oversight.studies.families import short_name, short_names
from oversight.studies.sweep import Swept
from oversight.studies.weak_to_strong import Scored

LATER = "~"
DONE_BY = ("kind", "class", "function", "type", "code", "members", "names", "bases")
BY_HAND = "its settings were given by hand, not chosen on development tasks"
Seen = Mapping[tuple[str, str], str]


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How settings were chosen.

    Attributes:
        settings: by method as asked for, those that differ from its defaults.
        by_hand: methods whose settings were given by hand.
        told: what was tried on which tasks, ready for JSON.
    """

    settings: Mapping[str, Mapping[str, Any]]
    by_hand: frozenset[str] = frozenset()
    told: Mapping[str, Any] = field(default_factory=dict[str, Any])


def tuned(
    trials: Sequence[Swept],
    tried: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    shown: Mapping[str, str],
    families: Mapping[str, str],
) -> Tuning:
    """The settings of every method whose student is best on the development tasks, the earlier of equals.

    Best is the mean over families of student - supervisor, in the metric of each task. A trial that failed on one of
    the tasks does not count.

    Args:
        trials: the i-th ran the i-th settings of every method that has so many.
        tried: by method as asked for, its settings.
        shown: by method as asked for, the name in the results.
        families: by task.
    """
    settings: dict[str, Mapping[str, Any]] = {}
    told: dict[str, Any] = {}
    for name, own in tried.items():
        gains = [_mean_gain(trial, shown[name], families) for trial in trials[: len(own)]]
        known = {i: gain for i, gain in enumerate(gains) if gain is not None and math.isfinite(gain)}
        best = max(known, key=lambda i: (known[i], -i)) if known else 0
        settings[name] = own[best]
        told[shown[name]] = [
            {"settings": dict(one), "gain_over_weak": gain, "chosen": i == best}
            for i, (one, gain) in enumerate(zip(own, gains, strict=True))
        ]
    chosen = {name: one for name, one in settings.items() if one}
    return Tuning(
        settings=chosen, told={"development_tasks": list(short_names(list(families)).values()), "trials": told}
    )


def _mean_gain(trial: Swept, method: str, families: Mapping[str, str]) -> float | None:
    gains: dict[str, list[float]] = {}
    found = {study.task: study.gain.value for study in trial.result.studies if study.method == method}
    if set(found) != set(families):
        return None
    for task, gain in found.items():
        gains.setdefault(families[task], []).append(gain)
    return float(np.mean([np.mean(one) for one in gains.values()]))


def seen_settings(store: Store) -> dict[tuple[str, str], str]:
    """Methods whose scores on a test set may have been seen: by fingerprint of the task and description, since when.

    Only a store on disk remembers.
    """
    if not isinstance(store, DirectoryStore) or not store.path.is_dir():
        return {}
    taught: dict[str, tuple[str, str]] = {}
    scored: list[tuple[list[str], str]] = []
    for key, record in store.records():
        if isinstance(record, str):
            continue
        if record["kind"] == "teach":
            taught[key] = record["config"]["task"], described(record["config"]["method"])
        elif record["kind"] == "score":
            scored.append((record["inputs"], record["made"]))
    found: dict[tuple[str, str], str] = {}
    for inputs, made in scored:
        for one in inputs:
            if one in taught:
                found[taught[one]] = min(made, found.get(taught[one], made))
    return found


def exploratory(
    scored: Mapping[str, Scored], seen: Seen, *, settings: Mapping[str, Any], by_hand: bool = False
) -> str | None:
    """Why a method may owe something to the test rows on which it is now compared; None: it does not.

    Settings owe nothing where they are the defaults, or were scored on these rows before any other of the method; the
    code of a method of the user's where it was scored before any other code of that name.

    Args:
        scored: by task, the method's studies.
        seen: see `seen_settings`.
        settings: other than the defaults.
        by_hand: whether a person gave them.
    """
    if by_hand:
        return BY_HAND
    for task, one in scored.items():
        config = one.runs[0][1].config
        own = described(config["method"])
        since = seen.get((config["task"], own), LATER)
        before = [
            method
            for (fingerprint, method), made in seen.items()
            if fingerprint == config["task"] and method != own and made < since
        ]
        n_settings = sum(_skeleton(method) == _skeleton(own) for method in before) if settings else 0
        n_texts = sum(_another_text(method, own) for method in before)
        for n, what in ((n_settings, "other setting{} of it"), (n_texts, "other version{} of its code")):
            if n:
                found = what.format("s" * (n > 1))
                return f"{n} {found} had been scored on the test rows of {short_name(task)} before"
    return None


def described(method: Any) -> str:
    """A method's description as one string."""
    return json.dumps(method, sort_keys=True)


def _skeleton(method: str) -> str:
    """A method's description without the values of its settings."""

    def bare(thing: Any) -> Any:
        if isinstance(thing, dict):
            found: dict[str, Any] = thing
            return {key: one if key in DONE_BY else bare(one) for key, one in sorted(found.items())}
        return [bare(one) for one in thing] if isinstance(thing, list) else None

    return json.dumps(bare(json.loads(method)))


def _another_text(one: str, other: str) -> bool:
    """Whether two descriptions name the same functions and classes of the user's, of which the code differs."""
    first, second = (sorted(_own(json.loads(method))) for method in (one, other))
    return bool(first) and first != second and [name for name, _ in first] == [name for name, _ in second]


def _own(described: Any) -> Iterator[tuple[str, str]]:
    """The user's functions and classes in a description, each with all that is told of its code; see `describe`."""
    if isinstance(described, list):
        for part in cast("list[Any]", described):
            yield from _own(part)
    elif isinstance(described, dict):
        told = cast("dict[str, Any]", described)
        own = told.keys() & {"code", "members"}
        if own:
            name = str(told.get("function", told.get("class")))
            yield name, json.dumps({key: one for key, one in told.items() if key != "fields"}, sort_keys=True)
        for part in [told.get("fields")] if own else told.values():
            yield from _own(part)
