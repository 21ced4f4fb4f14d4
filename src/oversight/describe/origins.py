"""Where code comes from: this package, Python, an installed package known by its version, or the user."""

from __future__ import annotations

import os
import sys
import sysconfig
from functools import cache
from importlib import metadata, util
from typing import Any, Literal, NamedTuple

from oversight.versions import LIBRARIES, minor

OURS = "oversight"
SITE_FOLDERS = ("site-packages", "dist-packages")
Where = Literal["ours", "python", "package", "own"]


class Origin(NamedTuple):
    """Of a module.

    Attributes:
        where: `own` is the user's code, which is read; the rest is known by name.
        pin: `torch 2.13`, of an installed package.
    """

    where: Where
    pin: str = ""


OWN = Origin("own")


def origin_of_function(function: Any) -> Origin:
    """By the module in which its code runs: `__module__` may be that of a function that it wraps."""
    names: dict[str, Any] = function.__globals__
    return origin(names.get("__name__"), names.get("__file__"))


def origin_of_class(kind: type) -> Origin:
    """By the module that it names."""
    return origin_of_module(kind.__module__)


def origin_of_module(name: str | None) -> Origin:
    """Of a module that may not have been imported yet."""
    module = sys.modules.get(name or "")
    return origin(name, getattr(module, "__file__", None))


def origin(name: Any, file: Any) -> Origin:
    """Of a module by its name and file; code without either, as in a notebook, is the user's."""
    if not isinstance(name, str) or name == "__main__":
        return OWN
    return _origin(name.partition(".")[0], file if isinstance(file, str) else None)


@cache
def _origin(top: str, file: str | None) -> Origin:
    if file is None and top in sys.modules:
        file = getattr(sys.modules[top], "__file__", None)
    if file is None and top not in sys.modules:
        file = _file_of(top)
    if file is None:
        return Origin("python") if top in sys.stdlib_module_names else _installed(top) or OWN
    real = os.path.realpath(file)
    if top == OURS and real.startswith(_HERE + os.sep):
        return Origin("ours")
    parts = real.split(os.sep)
    if any(folder in parts for folder in SITE_FOLDERS):
        return _installed(top) or OWN
    return Origin("python") if any(real.startswith(folder + os.sep) for folder in _python_folders()) else OWN


def _file_of(top: str) -> str | None:
    try:
        spec = util.find_spec(top)
    except (ImportError, ValueError):
        return None
    return None if spec is None or not spec.has_location else spec.origin


@cache
def _installed(top: str) -> Origin | None:
    """What an installed distribution brought; None where none did, or where it is a folder of the user's (editable or
    built from there), whose version stays while the code changes."""
    named = _named_like(top)
    found = [named] if named is not None else [metadata.distribution(name) for name in _distributions().get(top, ())]
    if not found or any('"dir_info"' in (one.read_text("direct_url.json") or "") for one in found):
        return None
    pins = sorted({f"{one.name} {minor(one.name) if one.name in LIBRARIES else one.version}" for one in found})
    return Origin("package", ", ".join(pins))


def _named_like(top: str) -> metadata.Distribution | None:
    """The distribution that has a module's name and brings it: most do, and to look at all of them takes long."""
    try:
        found = metadata.distribution(top)
    except (metadata.PackageNotFoundError, ValueError):
        return None
    return found if f"\n{top}/" in "\n" + (found.read_text("RECORD") or "") else None


@cache
def _distributions() -> Any:
    return metadata.packages_distributions()


@cache
def _python_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple({os.path.realpath(paths[name]) for name in ("stdlib", "platstdlib")})


_HERE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
