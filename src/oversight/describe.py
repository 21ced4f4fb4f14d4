"""Objects as JSON for keys: equal descriptions must mean equal behaviour."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import math
import sys
import types
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import PurePath
from typing import Any

import numpy as np

from oversight.errors import InputError


def describe(thing: Any) -> Any:
    """A JSON description of a config, a loss or a method, for use in a key.

    Numbers, strings and containers stand for themselves; a frozen dataclass is its class, the source of that class and
    its fields (and, where it has one, its `version`, which a class of ours counts up when its results change); a
    function is its source, its defaults and what it closes over; an array is its bytes' hash. An object
    may offer `identity()` to say itself what decides its results.

    Raises:
        InputError: something whose behaviour cannot be read off it, such as an object with hidden state.
    """
    if isinstance(thing, float) and not math.isfinite(thing):
        return {"float": str(thing)}
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, np.generic):
        return describe(thing.item())
    if isinstance(thing, np.ndarray):
        return _describe_array(thing)
    if not isinstance(thing, type) and callable(getattr(thing, "identity", None)):
        return {"class": _name(type(thing)), **describe(thing.identity())}
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        return _describe_dataclass(thing)
    if isinstance(thing, Mapping) and all(isinstance(key, str) for key in thing):
        return {key: describe(value) for key, value in thing.items()}
    if isinstance(thing, Mapping):
        return {"items": _sorted([describe(pair) for pair in thing.items()])}
    if isinstance(thing, set | frozenset):
        return {"set": _sorted([describe(value) for value in thing])}
    if isinstance(thing, Sequence):
        return [describe(value) for value in thing]
    return _describe_callable(thing)


def _sorted(described: list[Any]) -> list[Any]:
    return sorted(described, key=lambda one: json.dumps(one, sort_keys=True))


def _describe_array(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    shape = list(array.shape)
    if array.dtype.hasobject:
        return {"array": describe(array.tolist()), "shape": shape}
    content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return {"array": content, "shape": shape, "dtype": array.dtype.str}


def _describe_dataclass(thing: Any) -> dict[str, Any]:
    kind = type(thing)
    fields = {f.name: describe(getattr(thing, f.name)) for f in dataclasses.fields(thing)}
    cached = {name for one in kind.__mro__ for name, value in vars(one).items() if isinstance(value, cached_property)}
    hidden = sorted(set(getattr(thing, "__dict__", ())) - set(fields) - cached)
    if hidden or not kind.__dataclass_params__.frozen:
        why = f"it keeps {', '.join(hidden)} beside its fields" if hidden else "it can change after it was described"
        raise InputError(f"{_name(kind)}: {why}, so no stored result could be believed; expected a frozen dataclass")
    version = {"version": kind.version} if isinstance(getattr(kind, "version", None), int) else {}
    return {"class": _name(type(thing)), "fields": fields, **version, **_class_source(type(thing))}


def _class_source(kind: type) -> dict[str, Any]:
    """Sources of a class and of those it inherits from; of oversight's own, the version of the step speaks."""
    known = {"oversight", *sys.stdlib_module_names}
    found = {_name(one): _source(one) for one in kind.__mro__ if one.__module__.split(".")[0] not in known}
    return {"source": found} if found else {}


def _describe_callable(thing: Any) -> dict[str, Any]:
    if isinstance(thing, functools.partial):
        partial: functools.partial[Any] = thing
        return {
            "partial": describe(partial.func),
            "args": describe(partial.args),
            "keywords": describe(partial.keywords),
        }
    if isinstance(thing, types.FunctionType):
        closed = [cell.cell_contents for cell in thing.__closure__ or ()]
        return {
            "function": _name(thing),
            "source": _source(thing),
            "defaults": describe([thing.__defaults__, thing.__kwdefaults__]),
            "closure": describe(closed),
        }
    if isinstance(thing, type):
        return {"type": _name(thing), **_class_source(thing)}
    if isinstance(thing, PurePath):
        raise InputError(f"{thing}: a path cannot be part of a key; pass the contents of the file")
    raise InputError(
        f"{type(thing).__name__}: its behaviour cannot be read off it, so no stored result could be believed; "
        "expected a function, a frozen dataclass, or an object with identity()"
    )


def _name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _source(thing: Any) -> str:
    code = getattr(thing, "__code__", None)
    try:
        text = inspect.getsource(thing)
    except (OSError, TypeError, SyntaxError):
        if code is None:
            raise InputError(
                f"{_name(thing)}: its source is not to be found, so no stored result could be believed"
            ) from None
        return _code_sha256(code)
    # Two lambdas may share their line, so the line does not tell them apart.
    named = "" if code is None or code.co_name != "<lambda>" else _code_sha256(code)
    return hashlib.sha256((text + named).encode()).hexdigest()


def _code_sha256(code: types.CodeType) -> str:
    """What a function does, without its place: instructions, constants (functions within likewise) and names."""
    constants = [_code_sha256(one) if isinstance(one, types.CodeType) else repr(one) for one in code.co_consts]
    told = [code.co_code.hex(), constants, code.co_names, code.co_varnames, code.co_freevars, code.co_argcount]
    return hashlib.sha256(repr(told).encode()).hexdigest()
