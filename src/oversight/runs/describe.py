"""Objects as JSON for keys: equal descriptions must mean equal behaviour."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import types
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from oversight.errors import InputError


def describe(thing: Any) -> Any:
    """A JSON description of a config, a loss or a method, for use in a key.

    Numbers, strings and containers stand for themselves; a frozen dataclass is its class, the source of that class and
    its fields; a function is its source, its defaults and what it closes over; an array is its bytes' hash. An object
    may offer `identity()` to say itself what decides its results.

    Raises:
        InputError: something whose behaviour cannot be read off it, such as an object with hidden state.
    """
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, np.generic):
        return thing.item()
    if isinstance(thing, np.ndarray):
        return {"array": hashlib.sha256(np.ascontiguousarray(thing).tobytes()).hexdigest(), "shape": list(thing.shape)}
    if not isinstance(thing, type) and callable(getattr(thing, "identity", None)):
        return {"class": _name(type(thing)), **describe(thing.identity())}
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        return _describe_dataclass(thing)
    if isinstance(thing, Mapping):
        return {str(key): describe(value) for key, value in thing.items()}
    if isinstance(thing, Sequence | set | frozenset):
        return [describe(value) for value in (sorted(thing) if isinstance(thing, set | frozenset) else thing)]
    return _describe_callable(thing)


def _describe_dataclass(thing: Any) -> dict[str, Any]:
    fields = {f.name: describe(getattr(thing, f.name)) for f in dataclasses.fields(thing)}
    own = type(thing).__module__.startswith("oversight.")
    return {"class": _name(type(thing)), "fields": fields, **({} if own else {"source": _source(type(thing))})}


def _describe_callable(thing: Any) -> dict[str, Any]:
    if isinstance(thing, functools.partial):
        partial: functools.partial[Any] = thing
        return {"partial": describe(partial.func), "args": describe(partial.args), "keywords": describe(partial.keywords)}
    if isinstance(thing, types.FunctionType):
        closed = [cell.cell_contents for cell in thing.__closure__ or ()]
        return {
            "function": _name(thing),
            "source": _source(thing),
            "defaults": describe([thing.__defaults__, thing.__kwdefaults__]),
            "closure": describe(closed),
        }
    if isinstance(thing, type):
        return {"type": _name(thing), "source": _source(thing)}
    if isinstance(thing, PurePath):
        raise InputError(f"{thing}: a path cannot be part of a key; pass the contents of the file")
    raise InputError(
        f"{type(thing).__name__}: its behaviour cannot be read off it, so no stored result could be believed; "
        "expected a function, a frozen dataclass, or an object with identity()"
    )


def _name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _source(thing: Any) -> str:
    try:
        return hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()
    except (OSError, TypeError):
        code = getattr(thing, "__code__", None)
        if code is None:
            raise InputError(f"{_name(thing)}: its source is not to be found, so no stored result could be believed") from None
        return hashlib.sha256(code.co_code + repr(code.co_consts).encode()).hexdigest()
