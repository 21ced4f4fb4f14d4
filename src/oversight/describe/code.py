"""What a function's code does and names, read off its instructions: source may be edited after it was imported."""

from __future__ import annotations

import dis
import hashlib
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

GLOBAL, ATTRIBUTE = ("LOAD_GLOBAL", "LOAD_NAME"), ("LOAD_ATTR", "LOAD_METHOD")
LOCAL = ("LOAD_FAST", "LOAD_DEREF", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW", "LOAD_CLASSDEREF")
CONSTANT = ("LOAD_CONST", "LOAD_SMALL_INT")
FURTHEST = 60
"""Instructions before an item is set in which its container is looked for."""


@dataclass(frozen=True)
class Imported:
    """What an import within a function brings: a module, or a name of it.

    Attributes:
        module: as written.
        level: dots before it.
        name: of what is taken from it; empty = the module.
    """

    module: str
    level: int = 0
    name: str = ""


@dataclass(frozen=True)
class Code:
    """What a function's code, with that of the functions within it, does and names.

    Attributes:
        sha256: instructions, constants and names; no place, no line.
        names: looked up in the module, each with the attributes that are taken of it one after the other.
        imports: what it imports itself, likewise.
        attributes: taken of anything else.
        changes: names of the module that it sets, or of which it sets an item.
        stores: attributes that it sets, of whatever.
    """

    sha256: str
    names: tuple[tuple[str, ...], ...]
    imports: tuple[tuple[Imported, tuple[str, ...]], ...]
    attributes: frozenset[str]
    changes: frozenset[str]
    stores: frozenset[str]


@lru_cache(maxsize=4096)
def read_code(code: types.CodeType) -> Code:
    """Read one function; remembered, as code does not change."""
    every = list(_nested(code))
    names: set[tuple[str, ...]] = set()
    found: set[tuple[Imported, tuple[str, ...]]] = set()
    attributes: set[str] = set()
    changes: set[str] = set()
    stores: set[str] = set()
    listed = [list(dis.get_instructions(one)) for one in every]
    bound: dict[str, set[Imported]] = {}
    for instructions in listed:
        for i, one in enumerate(instructions):
            if one.opname == "IMPORT_NAME":
                for name, what in _bindings(instructions, i):
                    bound.setdefault(name, set()).add(what)
                    if not name:
                        found.add((what, ()))
    for instructions in listed:
        taken: set[int] = set()
        for i, one in enumerate(instructions):
            chain = _chain(instructions, i)
            if one.opname in GLOBAL:
                names.add((one.argval, *chain))
            elif one.opname in LOCAL and one.argval in bound:
                found.update((what, chain) for what in bound[one.argval])
            elif one.opname in ATTRIBUTE and i not in taken:
                attributes.add(one.argval)
                continue
            elif one.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                changes.add(one.argval)
                continue
            elif one.opname in ("STORE_ATTR", "DELETE_ATTR"):
                stores.add(one.argval)
                continue
            elif one.opname in ("STORE_SUBSCR", "DELETE_SUBSCR"):
                changes.update(_held_in(instructions, i))
                continue
            else:
                continue
            taken.update(range(i + 1, i + 1 + len(chain)))
    return Code(
        sha256=_sha256(code),
        names=tuple(sorted(names)),
        imports=tuple(sorted(found, key=repr)),
        attributes=frozenset(attributes),
        changes=frozenset(changes),
        stores=frozenset(stores),
    )


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            yield from _nested(one)


def _chain(instructions: list[dis.Instruction], i: int) -> tuple[str, ...]:
    """The attributes taken of what instruction i loads, one after the other."""
    chain: list[str] = []
    while i + 1 < len(instructions) and instructions[i + 1].opname in ATTRIBUTE:
        i += 1
        chain.append(instructions[i].argval)
    return tuple(chain)


def _held_in(instructions: list[dis.Instruction], i: int) -> Iterator[str]:
    """The name of the module of which instruction i sets or deletes an item: what lies below the item's key."""
    deep = 0
    for one in reversed(instructions[max(0, i - FURTHEST) : i]):
        if one.opname in GLOBAL and deep == 1:
            yield str(one.argval)
        if one.opname.startswith(("JUMP", "POP_JUMP", "FOR_ITER", "RETURN")):
            return
        deep += dis.stack_effect(one.opcode, one.arg if one.opcode >= dis.HAVE_ARGUMENT else None)
        if deep >= 2:
            return


def _bindings(instructions: list[dis.Instruction], i: int) -> Iterator[tuple[str, Imported]]:
    """Local names that the import at i binds; the name is empty where it is not plain to see which."""
    module = str(instructions[i].argval)
    constants = [one.argval for one in instructions[max(0, i - 2) : i] if one.opname in CONSTANT]
    level, wanted = constants if len(constants) == 2 else (0, None)
    level = level if isinstance(level, int) else 0
    after = instructions[i + 1 :]
    if wanted:
        for j, one in enumerate(after):
            if one.opname == "IMPORT_FROM":
                stored = after[j + 1].argval if after[j + 1].opname.startswith("STORE_") else ""
                yield str(stored), Imported(module, level, str(one.argval))
            elif one.opname == "POP_TOP":
                return
        return
    if after and after[0].opname in ("STORE_FAST", "STORE_DEREF", "STORE_NAME"):
        yield str(after[0].argval), Imported(module.partition(".")[0], level)
        return
    stored = next((one.argval for one in after[:8] if one.opname in ("STORE_FAST", "STORE_DEREF")), "")
    yield str(stored), Imported(module, level)


def _sha256(code: types.CodeType) -> str:
    return hashlib.sha256(repr(_told(code)).encode()).hexdigest()


def _told(code: types.CodeType) -> list[Any]:
    counts = [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags]
    names = [code.co_names, code.co_varnames, code.co_cellvars, code.co_freevars]
    table: bytes = getattr(code, "co_exceptiontable", b"")
    constants = [_constant(one) for one in code.co_consts]
    return [sys.implementation.cache_tag, code.co_code.hex(), table.hex(), constants, names, counts]


def _constant(one: object) -> Any:
    """The order of a set differs from process to process, so it is sorted."""
    if isinstance(one, types.CodeType):
        return _told(one)
    if isinstance(one, tuple):
        return ["tuple", [_constant(inner) for inner in one]]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(one, frozenset):
        return ["frozenset", sorted(repr(_constant(inner)) for inner in one)]  # pyright: ignore[reportUnknownVariableType]
    return [type(one).__name__, repr(one)]
