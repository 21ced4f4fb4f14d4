"""What an object holds, and whether it can change once it was made."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from functools import cached_property
from typing import Any, cast

from oversight.describe.code import read_code
from oversight.describe.origins import origin_of_class

MAKERS = frozenset(["__init__", "__new__", "__post_init__", "__set_name__", "__setattr__"])
STATELESS = (type(None), bool, int, float, complex, str, bytes)


def held_state(thing: Any) -> dict[str, Any] | None:
    """The attributes of an object whose class is written in Python; None: it may hold more than can be seen."""
    heap = 1 << 9
    if any(not one.__flags__ & heap for one in type(thing).__mro__ if one is not object):
        return None
    if origin_of_class(type(thing)).where != "own" and not hasattr(thing, "__dict__"):
        return None
    slots = {name for one in type(thing).__mro__ for name in _slots(one) if hasattr(thing, name)}
    held = {**getattr(thing, "__dict__", {}), **{name: getattr(thing, name) for name in slots}}
    return {name: one for name, one in held.items() if name not in functools.WRAPPER_ASSIGNMENTS}


def _slots(kind: type) -> list[str]:
    found: Any = vars(kind).get("__slots__", ())
    return [found] if isinstance(found, str) else [one for one in found if one not in ("__dict__", "__weakref__")]


def settled(thing: Any, state: Mapping[str, Any]) -> bool:
    """Whether an object does not change once it was made, as far as its code and what it holds tell."""
    methods = [
        function
        for one in type(thing).__mro__
        if origin_of_class(one).where == "own"
        for name, member in vars(one).items()
        if name not in MAKERS
        for function in (member, *inner_functions(member).values())
        if isinstance(function, types.FunctionType)
    ]
    if not callable(thing) or any(read_code(one.__code__).stores for one in methods):
        return False
    return all(_fixed(one) for one in state.values())


def _fixed(value: Any) -> bool:
    if isinstance(value, tuple | frozenset):
        return all(_fixed(one) for one in cast("tuple[Any, ...]", value))
    if isinstance(value, (*STATELESS, types.FunctionType, types.BuiltinFunctionType, type, types.ModuleType)):
        return True
    if dataclasses.is_dataclass(value):
        return bool(cast(Any, type(value)).__dataclass_params__.frozen)
    return hasattr(value, "__dict__") and origin_of_class(type(value)).where == "own" and settled(value, vars(value))


def inner_functions(thing: Any) -> dict[str, Any]:
    """The functions within what Python makes of them."""
    if isinstance(thing, staticmethod | classmethod):
        return {"function": cast(Any, thing).__func__}
    if isinstance(thing, property):
        parts = {"get": thing.fget, "set": thing.fset, "delete": thing.fdel}
        return {name: one for name, one in parts.items() if one is not None}
    if isinstance(thing, cached_property):
        return {"function": cast(Any, thing).func}
    if isinstance(thing, functools.partialmethod | functools.singledispatchmethod):
        return dict(vars(thing))
    wrapped = getattr(thing, "__wrapped__", None)
    if wrapped is not None and type(thing).__module__ == "functools":
        return {"function": wrapped}
    return {}
