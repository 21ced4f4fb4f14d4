"""What functions, classes and other things with behaviour do: their code, and all that it names."""

from __future__ import annotations

import builtins
import dataclasses
import functools
import hashlib
import importlib
import inspect
import random
import sys
import types
from collections import deque
from collections.abc import Iterator
from importlib import util
from typing import Any, cast

from oversight.describe.code import Code, Imported, read_code
from oversight.describe.objects import Describing
from oversight.describe.origins import Origin, origin, origin_of_class, origin_of_function, origin_of_module
from oversight.describe.reads import ATTRIBUTES, UNSEEN, read_by_name, read_by_object
from oversight.describe.state import held_state, inner_functions, settled
from oversight.errors import InputError

SAID = "identity() that says what it read, or values passed as settings"
# Of a class: what Python puts there, and what does not act.
PASSIVE = frozenset(
    [
        "__module__",
        "__dict__",
        "__weakref__",
        "__doc__",
        "__annotations__",
        "__qualname__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__match_args__",
        "__abstractmethods__",
        "_abc_impl",
        "__parameters__",
        "__orig_bases__",
        "__static_attributes__",
        "__firstlineno__",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__protocol_attrs__",
        "_is_protocol",
        "_is_runtime_protocol",
        "__non_callable_proto_members__",
        "__slots__",
        "__hash__",
        "__type_params__",
        "__classdictcell__",
    ]
)
IGNORED = frozenset(["__name__", "__doc__", "__annotations__", "__builtins__"])
MADE_BY_DATACLASS = "<string>"
# Methods that change what holds them.
CHANGES = """
append appendleft add extend insert update setdefault pop popleft popitem remove discard clear sort reverse rotate
"""
CHANGING = frozenset(CHANGES.split())
DEEPEST = 3


def behaviour(walk: Describing, thing: Any, *, named: bool) -> Any:
    """A description of something that is no plain value.

    Args:
        walk: the description that this is part of.
        thing: a function, class, method, wrapper, module or any other object.
        named: whether code names it, so that it may also be something that can change.

    Raises:
        InputError: its behaviour cannot be read off it.
    """
    known = isinstance(thing, types.FunctionType) and origin_of_function(thing).where in ("own", "ours")
    reads = None if known or isinstance(thing, type) else read_by_object(thing)
    if reads is not None:
        name = str(getattr(thing, "__qualname__", type(thing).__qualname__))
        raise walk.refuse(name, _does(reads), f"expected {SAID}")
    if isinstance(thing, functools.partial):
        partial = cast("functools.partial[Any]", thing)
        parts = {"partial": partial.func, "args": partial.args, "keywords": partial.keywords}
        return {name: walk.of(part, named=named) for name, part in parts.items()}
    if isinstance(thing, types.FunctionType):
        return _function(walk, thing)
    if isinstance(thing, type):
        return class_description(walk, thing)
    if isinstance(thing, types.MethodType):
        return {"method": walk.of(thing.__func__), "of": walk.of(thing.__self__, named=named)}
    if isinstance(thing, types.ModuleType):
        return _module(walk, thing)
    inner = inner_functions(thing)
    if inner:
        return {"by": type(thing).__qualname__, **{name: walk.of(one) for name, one in inner.items()}}
    if isinstance(thing, types.BuiltinFunctionType | types.MethodDescriptorType | types.WrapperDescriptorType):
        return _builtin(walk, thing)
    return _instance(walk, thing, named=named)


def _function(walk: Describing, function: types.FunctionType) -> Any:
    where = origin_of_function(function)
    if where.where == "ours" and not function.__closure__:
        return {"function": str(function.__dict__.get("kind", function.__qualname__))}
    again = walk.again(function)
    if again is not None:
        return again
    if where.where != "own":
        return _foreign_function(walk, function, where)
    code, name = read_code(function.__code__), _code_name(function)
    with walk.by(name):
        found: dict[str, Any] = {"function": name, "code": code.sha256}
        defaults = [function.__defaults__, function.__kwdefaults__]
        found["defaults"] = walk.of(defaults, named=True) if any(defaults) else None
        found["closure"] = [walk.of(one, named=True) for one in _cells(function)]
        attributes = {name: one for name, one in function.__dict__.items() if name != "__wrapped__"}
        found["attributes"] = walk.of(attributes, named=True)
        found["wraps"] = walk.of(function.__dict__.get("__wrapped__"))
        found["names"] = _named(walk, function, code)
    return {name: one for name, one in found.items() if one}


def _code_name(function: types.FunctionType) -> str:
    """Its name where it was written: `functools.wraps` gives it another's."""
    return str(getattr(function.__code__, "co_qualname", function.__code__.co_name))


def _cells(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            yield "empty"


def _foreign_function(walk: Describing, function: types.FunctionType, where: Origin) -> dict[str, Any]:
    """Of Python, of a package or of ours: known by name, but for what it was given to hold, as decorators are."""
    name = (
        f"{function.__globals__.get('__name__')}.{_code_name(function)}"
        if where.where != "ours"
        else _code_name(function)
    )
    held = [_held(walk, one) for one in _cells(function)]
    wrapped = function.__dict__.get("__wrapped__")
    told = {"function": name, "package": where.pin, "closure": held, "wraps": walk.of(wrapped)}
    return {key: one for key, one in told.items() if one}


def _held(walk: Describing, thing: Any, depth: int = 0) -> Any:
    """What a package's function closes over: the user's code in full, of the package's own objects what can be told."""
    code = isinstance(thing, types.FunctionType | type | types.MethodType | functools.partial)
    if code and not isinstance(thing, types.MethodType):
        return walk.of(thing, named=True)
    if isinstance(thing, types.MethodType):
        return [walk.of(thing.__func__), _held(walk, thing.__self__, depth + 1)]
    kind = type(thing)
    if origin_of_class(kind).where == "own":
        return walk.of(thing, named=True)
    if kind.__module__ in ("weakref", "_weakref", "_weakrefset"):
        return kind.__qualname__
    try:
        return walk.of(thing, named=True)
    except InputError:
        state = vars(thing) if hasattr(thing, "__dict__") and depth < DEEPEST else {}
        return [kind.__qualname__, {name: _held(walk, one, depth + 1) for name, one in sorted(state.items())}]


def _named(walk: Describing, function: types.FunctionType, code: Code) -> dict[str, Any]:
    """Everything that a function's code looks up outside of itself, by the name by which it does."""
    if code.changes:
        raise walk.refuse(sorted(code.changes)[0], "is a global that it changes")
    for name in sorted(code.attributes & ATTRIBUTES.keys()):
        raise walk.refuse(f".{name}", f"reads {ATTRIBUTES[name]}", f"expected {SAID}")
    found: dict[str, Any] = {}
    for name, *chain in code.names:
        if name in IGNORED or name in code.changes:
            continue
        if name == "__file__":
            raise walk.refuse(name, "reads where it lies", f"expected {SAID}")
        if name in function.__globals__:
            _follow(walk, found, name, function.__globals__[name], chain)
        elif hasattr(builtins, name):
            _check(walk, "builtins", name)
        else:
            found[name] = "absent"
    for imported, chain in code.imports:
        _imported(walk, found, function, imported, chain)
    return found


def _check(walk: Describing, module: str, name: str) -> None:
    reads = read_by_name(module, name)
    if reads is not None:
        raise walk.refuse(f"{module}.{name}".removeprefix("builtins."), _does(reads), f"expected {SAID}")


def _does(reads: str) -> str:
    return f"runs {reads}" if reads == UNSEEN else f"reads {reads}"


def _follow(walk: Describing, found: dict[str, Any], name: str, thing: Any, chain: list[str] | tuple[str, ...]) -> None:
    """What a name leads to, along the attributes that are taken of it while that is a module."""
    rest = list(chain)
    while isinstance(thing, types.ModuleType):
        where = _of_module(thing)
        if where.where != "own":
            _pinned(walk, found, thing.__name__, where, rest)
            if where.where != "ours" or not rest or not hasattr(thing, rest[0]):
                return
        elif not rest:
            found[name] = _module(walk, thing)
            return
        if not hasattr(thing, rest[0]):
            found[f"{name}.{rest[0]}"] = "absent"
            return
        name, thing = f"{name}.{rest[0]}", getattr(thing, rest.pop(0))
    if rest and rest[0] in CHANGING and isinstance(thing, list | dict | set | deque | bytearray):
        raise walk.refuse(name, "is a global that it changes")
    for attribute in rest:
        if attribute in ATTRIBUTES:
            raise walk.refuse(f"{name}.{attribute}", f"reads {ATTRIBUTES[attribute]}", f"expected {SAID}")
    if name in found:
        return
    if isinstance(thing, types.FunctionType | type):  # these name themselves
        found[name] = walk.of(thing, named=True)
        return
    with walk.by(name):
        found[name] = walk.of(thing, named=True)


def _pinned(walk: Describing, found: dict[str, Any], module: str, where: Origin, chain: list[str]) -> None:
    """A module that is not read: the version of its package, and whether what is taken of it reads what no key sees."""
    for name in chain or [""]:
        _check(walk, module, name)
    if where.pin:
        found[module.partition(".")[0]] = where.pin


def _of_module(module: types.ModuleType) -> Origin:
    return origin(module.__name__, getattr(module, "__file__", None))


def _imported(
    walk: Describing, found: dict[str, Any], function: types.FunctionType, imported: Imported, chain: tuple[str, ...]
) -> None:
    """What a function imports while it runs; only modules of the user's, and ours, are imported for this."""
    module = imported.module
    if imported.level:
        module = util.resolve_name("." * imported.level + module, str(function.__globals__.get("__package__") or ""))
    whole = (imported.name, *chain) if imported.name else chain
    where = origin_of_module(module)
    if where.where in ("python", "package"):
        return _pinned(walk, found, module, where, list(whole))
    try:
        thing: Any = importlib.import_module(module)
    except ImportError as error:
        raise walk.refuse(module, f"cannot be imported ({error})", "expected a module that is there") from None
    if imported.name and not hasattr(thing, imported.name):
        importlib.import_module(f"{module}.{imported.name}")
    _follow(walk, found, module, thing, whole)


def _module(walk: Describing, module: types.ModuleType) -> Any:
    """A module that is used otherwise than by its names: all of it."""
    where = _of_module(module)
    if where.where != "own":
        return {"module": module.__name__, "package": where.pin}
    again = walk.again(module)
    if again is not None:
        return again
    with walk.by(module.__name__):
        every = {name: one for name, one in sorted(vars(module).items()) if not name.startswith("__")}
        return {"module": {name: walk.of(one, named=True) for name, one in every.items()}}


def class_description(walk: Describing, kind: type, *, frozen: bool = False) -> dict[str, Any]:
    """A class of ours by its frozen name, others by what they hold and inherit.

    Args:
        walk: the description that this is part of.
        kind: the class.
        frozen: whether a class of ours must have a frozen name, as an instance of it stands in a key.

    Raises:
        TypeError: a class of ours that must have a frozen name and has none.
        InputError: it holds what cannot be described.
    """
    where = origin_of_class(kind)
    if where.where == "ours":
        return _ours(walk, kind, frozen=frozen)
    if where.where != "own":
        name = f"{kind.__module__}.{kind.__qualname__}"
        return {"type": name, "package": where.pin} if where.pin else {"type": name}
    again = walk.again(kind)
    if again is not None:
        return {"class": kind.__qualname__, **again}
    with walk.by(kind.__qualname__):
        found: dict[str, Any] = {"class": kind.__qualname__, "members": _members(walk, kind)}
        found["bases"] = [walk.of(base) for base in kind.__bases__ if base is not object]
        if type(kind) is not type and origin_of_class(type(kind)).where == "own":
            found["metaclass"] = walk.of(type(kind))
    return {name: one for name, one in found.items() if one}


def _ours(walk: Describing, kind: type, *, frozen: bool) -> dict[str, Any]:
    own = vars(kind).get("kind")
    if frozen and not isinstance(own, str):
        raise TypeError(f"{kind.__module__}.{kind.__qualname__} stands in a key and has no frozen name (`kind`)")
    found: dict[str, Any] = {"kind": own if isinstance(own, str) else kind.__qualname__}
    replaced: dict[str, Any] = {}
    for one in kind.__mro__:
        for name, member in vars(one).items() if origin_of_class(one).where == "ours" else ():
            held: list[Any] = [member, *inner_functions(member).values()]
            foreign = [f for f in held if isinstance(f, types.FunctionType) and origin_of_function(f).where == "own"]
            if foreign and name not in replaced:
                replaced[name] = walk.of(member)
    return {**found, "replaced": replaced} if replaced else found


def _members(walk: Describing, kind: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    made = dataclasses.is_dataclass(kind)
    for name, member in sorted(vars(kind).items()):
        if name in PASSIVE or isinstance(member, types.MemberDescriptorType | types.GetSetDescriptorType):
            continue
        code = getattr(member, "__code__", None)
        if made and code is not None and code.co_filename == MADE_BY_DATACLASS:
            continue
        found[name] = walk.of(member, named=True)
    if made and "__dataclass_fields__" in vars(kind):
        fields = [field for field in dataclasses.fields(kind) if field.default_factory is not dataclasses.MISSING]
        found |= {f"{field.name} by default": walk.of(field.default_factory) for field in fields}
    return found


def named_with_code(walk: Describing, thing: Any) -> dict[str, Any]:
    """The name of something that says itself what decides its results, with its own code but not what that names."""
    kind = type(thing)
    if isinstance(thing, types.FunctionType):
        return {"function": _code_name(thing), "code": read_code(thing.__code__).sha256}
    if origin_of_class(kind).where == "ours":
        return _ours(walk, kind, frozen=True)
    codes = [
        [name, read_code(function.__code__).sha256]
        for one in kind.__mro__
        if origin_of_class(one).where == "own"
        for name, member in sorted(vars(one).items())
        for function in (member, *inner_functions(member).values())
        if isinstance(function, types.FunctionType) and function.__code__.co_filename != MADE_BY_DATACLASS
    ]
    return {"class": kind.__qualname__, "code": hashlib.sha256(repr(codes).encode()).hexdigest()}


# Everything else


def _builtin(walk: Describing, thing: Any) -> dict[str, Any]:
    owner = getattr(thing, "__self__", None)
    if owner is not None and not isinstance(owner, types.ModuleType | type):
        return {"method": thing.__name__, "of": walk.of(owner, named=True)}
    module = getattr(thing, "__module__", None) or getattr(owner, "__module__", None)
    if not isinstance(module, str):
        module = getattr(getattr(thing, "__objclass__", None), "__module__", "builtins")
    where = origin_of_module(module)
    if where.where == "own":
        return {"function": thing.__qualname__, "file": _file_sha256(module)}
    return {"function": f"{module}.{thing.__qualname__}", **({"package": where.pin} if where.pin else {})}


def _file_sha256(module: str) -> str:
    """Of a compiled module of the user's."""
    with open(str(sys.modules[module].__file__), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _instance(walk: Describing, thing: Any, *, named: bool) -> dict[str, Any]:
    """An object by its class and what it holds: as it is now where code names it, else if nothing of it can change."""
    kind = type(thing)
    own = origin_of_class(kind).where == "own"
    state = held_state(thing)
    unseen = state is None or isinstance(thing, random.Random) or inspect.isgenerator(thing)
    if unseen or not (named or (own and settled(thing, state or {}))):
        raise walk.refuse(kind.__qualname__, "its behaviour cannot be read off it")
    again = walk.again(thing)
    if again is not None:
        return again
    told = class_description(walk, kind)
    with walk.by(kind.__qualname__):
        return {**told, "state": walk.of(state, named=True)}
