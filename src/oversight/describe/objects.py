"""Objects as JSON for keys: values by content, code by what it does and names, classes of ours by a frozen name."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import logging
import math
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import PurePath
from typing import Any, TypeVar

import numpy as np

from oversight.describe.origins import origin_of_class
from oversight.describe.reads import read_by_object
from oversight.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])
# Of these the text says everything.
BY_TEXT = frozenset(
    [
        "builtins.complex",
        "builtins.bytes",
        "builtins.bytearray",
        "builtins.range",
        "builtins.slice",
        "builtins.ellipsis",
        "builtins.NotImplementedType",
        "types.GenericAlias",
        "types.UnionType",
        "typing.TypeVar",
        "typing._GenericAlias",
        "typing._SpecialForm",
        "typing._UnionGenericAlias",
        "typing._CallableGenericAlias",
        "typing._LiteralGenericAlias",
        "torch.dtype",
        "torch.device",
        "torch.Size",
        "re.Pattern",
        "datetime.date",
        "datetime.datetime",
        "datetime.timedelta",
        "datetime.timezone",
        "decimal.Decimal",
        "fractions.Fraction",
        "uuid.UUID",
    ]
)
EXPECTED = "expected a function, a frozen dataclass, or an object with identity()"


def kinded(kind: str) -> Callable[[F], F]:
    """Give a function of ours the name by which keys know it, wherever it moves and whatever it is called."""

    def give(function: F) -> F:
        function.__dict__["kind"] = kind
        return function

    return give


def describe(thing: Any) -> Any:
    """A JSON description of a config, a loss or a method, for use in a key.

    Numbers, strings and containers stand for themselves; an array is its bytes' hash. A class of ours is its `kind`, a
    name that is frozen, and its fields (and its `version`, which is counted up when its results change). A user's
    function or class is what its code does, and so is everything that the code names: other functions, classes,
    constants, what it closes over and what wraps it, through all modules of the user's. Installed packages are known by
    name and version. An object may offer `identity()` to say itself what decides its results.

    Raises:
        InputError: something whose behaviour cannot be read off it: an object with hidden state, code that reads the
            environment, files or the network.
    """
    return Describing().of(thing)


class Describing:
    """One description on its way: remembers what it has met, so that cycles end and nothing is told twice."""

    def __init__(self) -> None:
        self.met: dict[int, int] = {}
        self.within: list[int] = []
        self.alive: list[Any] = []
        self.trail: list[str] = []

    def of(self, thing: Any, *, named: bool = False) -> Any:
        """See `describe`; what code has `named` may also be something that can change: it is described as it is now."""
        found = self._value(thing)
        if found is not self:
            return found
        if not isinstance(thing, type) and callable(getattr(thing, "identity", None)):
            return self._identified(thing)
        if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
            return self._dataclass(thing, named=named)
        if isinstance(thing, Mapping | set | frozenset | Sequence) and read_by_object(thing) is None:
            return self._container(thing, named=named)
        from oversight.describe.behaviour import behaviour

        return behaviour(self, thing, named=named)

    def refuse(self, what: str, why: str, expected: str = EXPECTED) -> InputError:
        """The error for something that cannot be described, with the way to it."""
        way = " -> ".join([*self.trail, what])
        return InputError(f"{way}: {why}, so no stored result could be believed; {expected}")

    @contextmanager
    def by(self, name: str) -> Generator[None]:
        """Within this block errors name the way."""
        self.trail.append(name)
        try:
            yield
        finally:
            self.trail.pop()

    def again(self, thing: Any) -> dict[str, int] | None:
        """Where a thing was met before; else it counts as met from now on."""
        if id(thing) in self.met:
            return {"again": self.met[id(thing)]}
        self.met[id(thing)] = len(self.met)
        self.alive.append(thing)
        return None

    def _apart(self) -> Describing:
        """For parts whose order means nothing: what is met in one is not known in the next."""
        other = Describing()
        other.met, other.within = dict(self.met), list(self.within)
        other.alive, other.trail = self.alive, self.trail
        return other

    def _value(self, thing: Any) -> Any:
        """What stands for itself; this object where it is none of that."""
        if isinstance(thing, enum.Enum):
            return {"enum": type(thing).__qualname__, "member": thing.name, "value": self.of(thing.value)}
        if isinstance(thing, float) and not math.isfinite(thing):
            return {"float": str(float(thing))}
        if thing is None or isinstance(thing, bool | int | float | str):
            return thing
        if isinstance(thing, np.generic):
            return self.of(thing.item())
        if isinstance(thing, np.ndarray):
            return self._array(thing)
        torch: Any = sys.modules.get("torch")
        if torch is not None and isinstance(thing, torch.Tensor):
            return self._tensor(thing, torch)
        name = f"{type(thing).__module__}.{type(thing).__qualname__}"
        if name in BY_TEXT or isinstance(thing, np.dtype):
            return {"value": repr(thing), "type": name}
        if isinstance(thing, logging.Logger):
            return {"logger": thing.name}
        if isinstance(thing, PurePath):
            raise InputError(f"{thing}: a path cannot be part of a key; pass the contents of the file")
        return self

    def _array(self, array: np.ndarray[Any, Any]) -> dict[str, Any]:
        shape = list(array.shape)
        if array.dtype.hasobject:
            return {"array": self.of(array.tolist()), "shape": shape}
        content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        return {"array": content, "shape": shape, "dtype": array.dtype.str}

    def _tensor(self, tensor: Any, torch: Any) -> dict[str, Any]:
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise self.refuse(type(tensor).__name__, "its numbers are not to be had as they are")
        told = {"tensor": str(tensor.dtype), "shape": list(tensor.shape), "gradient": bool(tensor.requires_grad)}
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        return {**told, "content": hashlib.sha256(raw.numpy().tobytes()).hexdigest()}

    def _identified(self, thing: Any) -> dict[str, Any]:
        from oversight.describe.behaviour import named_with_code

        said = self.of(thing.identity())
        return {**named_with_code(self, thing), **(said if isinstance(said, dict) else {"identity": said})}

    def _dataclass(self, thing: Any, *, named: bool) -> dict[str, Any]:
        kind = type(thing)
        names = [field.name for field in dataclasses.fields(thing)]
        cached = {name for one in kind.__mro__ for name, own in vars(one).items() if isinstance(own, cached_property)}
        hidden = sorted(set(getattr(thing, "__dict__", ())) - set(names) - cached)
        if hidden or not (kind.__dataclass_params__.frozen or named):
            why = (
                f"it keeps {', '.join(hidden)} beside its fields" if hidden else "it can change after it was described"
            )
            raise self.refuse(kind.__qualname__, why, "expected a frozen dataclass")
        with self.by(kind.__qualname__):
            fields = {name: self.of(getattr(thing, name), named=named) for name in names}
        version = {"version": kind.version} if isinstance(getattr(kind, "version", None), int) else {}
        return {**self._class_of(kind, frozen=not named), "fields": fields, **version}

    def _class_of(self, kind: type, *, frozen: bool = False) -> dict[str, Any]:
        from oversight.describe.behaviour import class_description

        return class_description(self, kind, frozen=frozen)

    def _container(self, thing: Any, *, named: bool) -> Any:
        if id(thing) in self.within:
            return {"within": self.within.index(id(thing))}
        self.within.append(id(thing))
        try:
            found = self._contents(thing, named=named)
        finally:
            self.within.pop()
        kind = type(thing)
        if origin_of_class(kind).where != "own":
            return found
        fields = getattr(kind, "_fields", None)  # of a named tuple: what else its class holds is made by Python
        if fields:
            return {"class": kind.__qualname__, "fields": list(fields), "contents": found}
        return {**self._class_of(kind), "contents": found}

    def _contents(self, thing: Any, *, named: bool) -> Any:
        if isinstance(thing, Mapping) and all(isinstance(key, str) for key in thing):
            return {key: self.of(value, named=named) for key, value in sorted(thing.items())}
        if isinstance(thing, Mapping):
            return {"items": _sorted([self._apart().of(pair, named=named) for pair in thing.items()])}
        if isinstance(thing, set | frozenset):
            return {"set": _sorted([self._apart().of(value, named=named) for value in thing])}
        return [self.of(value, named=named) for value in thing]


def _sorted(described: list[Any]) -> list[Any]:
    return sorted(described, key=lambda one: json.dumps(one, sort_keys=True))
