"""How networks are trained: words and settings become recipes."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

import numpy as np

from oversight.errors import InputError, unknown
from oversight.models.finetune.recipe import Full, Lora, LpFt, Machine

RECIPES: dict[str, type[Full]] = {"full": Full, "lora": Lora, "lp-ft": LpFt}
PROBE, PROMPT = "probe", "prompt"
TRAINS = (PROBE, *RECIPES, PROMPT)
ROLES = ("weak", "strong")
MACHINE = frozenset(one.name for one in dataclasses.fields(Machine))
TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def trains_of(train: Any) -> dict[str, str | Full]:
    """One way to train, or one for each role, by role.

    Args:
        train: a name or a recipe; or a mapping with `weak` and `strong`; or a pair in this order.

    Raises:
        InputError: neither.
    """
    if isinstance(train, Mapping):
        check_roles("train", train, ROLES)
        return {role: train.get(role, PROBE) for role in ROLES}
    if isinstance(train, tuple | list):
        if len(train) != 2:
            raise InputError(f"train: found {len(train)} values, expected one, or one each for weak and strong")
        return dict(zip(ROLES, train, strict=True))
    return dict.fromkeys(ROLES, train)


def check_roles(what: str, by_role: Mapping[Any, Any], known: tuple[str, ...]) -> None:
    """Refuse what is given for a role that there is not.

    Raises:
        InputError: which one.
    """
    strange = [role for role in by_role if role not in known]
    if strange:
        raise InputError(f"{what}: found the role {strange[0]}, expected {' and '.join(known)}")


def check_train(train: Any) -> None:
    """Refuse a way to train that does not exist.

    Raises:
        InputError: an unknown name, or no recipe.
    """
    if isinstance(train, str) and train not in TRAINS:
        raise unknown("train", train, TRAINS)
    if not isinstance(train, str | Full):
        raise InputError(f"train: found {train!r}, expected {', '.join(TRAINS)} or a recipe such as Lora(rank=16)")


def is_fine_tuning(train: str | Full) -> bool:
    """Whether weights of the network are trained."""
    return not isinstance(train, str) or train in RECIPES


def takes_settings(train: str | Full) -> bool:
    """Whether there is anything to set by `--set`."""
    return train == PROMPT or is_fine_tuning(train)


def load_recipe(train: str | Full, settings: Mapping[str, Any]) -> Full:
    """A recipe by name with settings, or as it is with those settings changed.

    Args:
        train: `full`, `lora`, `lp-ft`, or a recipe.
        settings: fields of the recipe or of its `machine`; texts are read as the field's type.

    Raises:
        InputError: unknown name or setting, or a value of another kind.
    """
    check_train(train)
    if isinstance(train, str) and train not in RECIPES:
        raise unknown("train", train, TRAINS)
    kind = RECIPES[train] if isinstance(train, str) else type(train)
    machine = {name: value for name, value in settings.items() if name in MACHINE}
    own = {name: value for name, value in settings.items() if name not in MACHINE}
    known = [one.name for one in dataclasses.fields(kind) if one.name != "machine"]
    changes = read_settings(kind, own, known=known, also=MACHINE, name=kind.name)
    start = kind() if isinstance(train, str) else train
    if machine:
        read = read_settings(Machine, machine, known=MACHINE, name=kind.name)
        changes["machine"] = dataclasses.replace(start.machine, **read)
    return dataclasses.replace(start, **changes)


def read_settings(
    kind: type, settings: Mapping[str, Any], *, known: Collection[str], name: str, also: Collection[str] = ()
) -> dict[str, Any]:
    """Settings as the types of a dataclass's fields.

    Args:
        kind: the dataclass.
        settings: by name of the field.
        known: fields that may be set.
        name: what is set, for messages.
        also: further names to suggest in messages.

    Raises:
        InputError: an unknown name, with the nearest; or a value of another kind.
    """
    hints = typing.get_type_hints(kind)
    for setting in settings:
        if setting not in known:
            raise unknown(f"setting of {name}", setting, sorted({*known, *also}))
    return {setting: _read(setting, value, hints[setting]) for setting, value in settings.items()}


def _read(name: str, value: Any, hint: Any) -> Any:
    """A text as one of the types of a field; what is no text must be of one of them."""
    value = value.item() if isinstance(value, np.generic) else value
    choices = _choices(hint)
    for choice in sorted(choices, key=lambda one: one is not type(None)):  # `none` is no word among words
        read = _READERS.get(choice)
        if not isinstance(value, str):
            if read is not None and _HOLDS[choice](value):
                return tuple(value) if isinstance(value, list) else value
            continue
        if read is None and value == choice:
            return value
        try:
            if read is not None:
                return read(value)
        except (ValueError, KeyError):
            continue
    expected = " or ".join(_NAMES.get(choice, str(choice)) for choice in choices)
    raise InputError(f"--set {name}: found {value!r}, expected {expected}")


def _choices(hint: Any) -> list[Any]:
    """The types and words that a field may hold, numbers before texts."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return [one for part in typing.get_args(hint) for one in _choices(part)]
    if typing.get_origin(hint) is Literal:
        return list(typing.get_args(hint))
    return [hint]


def _none(text: str) -> None:
    if text != "none":
        raise ValueError(text)


def _whole(text: str) -> int:
    return int(float(text)) if float(text).is_integer() else int(text)


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


_READERS: Mapping[Any, Callable[[str], Any]] = {
    bool: lambda text: TRUTHS[text],
    int: _whole,
    float: float,
    type(None): _none,
    str: str,
    tuple[float, ...]: lambda text: tuple(map(float, _parts(text))),
    tuple[str, ...]: _parts,
}
_HOLDS: Mapping[Any, Callable[[Any], bool]] = {
    bool: lambda value: isinstance(value, bool),
    int: lambda value: isinstance(value, int) and not isinstance(value, bool),
    float: lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    type(None): lambda value: value is None,
    str: lambda value: isinstance(value, str),
    tuple[float, ...]: lambda value: isinstance(value, tuple | list) and all(map(_HOLDS[float], value)),
    tuple[str, ...]: lambda value: isinstance(value, tuple | list) and all(isinstance(one, str) for one in value),
}
_NAMES: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    type(None): "none",
    str: "a text",
    tuple[float, ...]: "numbers between commas",
    tuple[str, ...]: "words between commas",
}
