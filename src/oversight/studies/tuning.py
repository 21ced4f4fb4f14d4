"""How the settings of compared methods were chosen, and what they may owe to the test rows."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oversight.runs.store import DirectoryStore, Store
from oversight.studies.families import short_name, short_names
from oversight.studies.sweep import Swept
from oversight.studies.weak_to_strong import Scored

LATER = "~"
KINDS_OF = ("class", "function", "type", "source")
FROM_A_FILE = re.compile(r'"method_([0-9a-f]{16})\.([^"]+)"')
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
    text of a method from a file where it was scored before any other text of that name.

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
        for n, what in ((n_settings, "other setting{} of it"), (n_texts, "other version{} of its file")):
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
            return {key: one if key in KINDS_OF else bare(one) for key, one in sorted(found.items())}
        return [bare(one) for one in thing] if isinstance(thing, list) else None

    return json.dumps(bare(json.loads(method)))


def _another_text(one: str, other: str) -> bool:
    """Whether two descriptions name the same things of files that differ; see `resolve.methods.load_method`."""
    first, second = (sorted((name, text) for text, name in FROM_A_FILE.findall(method)) for method in (one, other))
    return bool(first) and first != second and [name for name, _ in first] == [name for name, _ in second]
