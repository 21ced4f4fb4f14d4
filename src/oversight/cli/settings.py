"""Settings of recipes and of methods, as they are given by `--set`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from oversight.errors import InputError

ROLES = ("weak", "strong", "both")


def read_settings(texts: list[str]) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Settings of recipes by role (`weak`, `strong`, `both`), and of methods by name.

    Raises:
        InputError: not of the form [ROLE.|METHOD.]NAME=VALUE.
    """
    by_role: dict[str, dict[str, Any]] = {role: {} for role in ROLES}
    by_method: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        owner, dot, key = name.rpartition(".")
        if not (key and equals and value) or (dot and not owner):
            raise InputError(f"--set: found '{text}', expected NAME=VALUE, weak.NAME=VALUE or METHOD.NAME=VALUE")
        to = by_role[owner or "both"] if owner in ("", *ROLES) else by_method.setdefault(owner, {})
        to[key] = _value(value)
    return by_role, by_method


def _value(text: str) -> Any:
    """A number, true or false where it is one, else the text."""
    try:
        found = json.loads(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text
    return found if isinstance(found, int | float | bool | list) else text


def of_methods(texts: Sequence[str], methods: Sequence[str]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Settings of these methods, METHOD.NAME=VALUE, and the texts that are none."""
    mine = [text for text in texts if text.partition("=")[0].rpartition(".")[0] in methods]
    return read_settings(mine)[1], [text for text in texts if text not in mine]
