"""Names of methods, and a user's own in a file, become methods."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from oversight.errors import InputError, unknown
from oversight.methods import METHODS
from oversight.methods.method import Method, OracleMethod, WithLoss
from oversight.models.student import Student

IN_A_FILE = ".py:"


def load_method(
    spec: Any, *, folder: Path = Path(), student: Callable[[str], Student] | None = None, **settings: Any
) -> tuple[str, Method | OracleMethod]:
    """A method with its name.

    Args:
        spec: a name of the table, `path/to/file.py:name`, a method, or a loss: a function of (logits, targets,
            progress).
        folder: what a relative path starts from.
        student: makes a student of a model's name, for methods that train others on the way (`through`).
        settings: of a method of the table, or of a class in a file.

    Raises:
        InputError: unknown name or setting, or what is wrong with the file.
    """
    if not isinstance(spec, str):
        return _named(spec)
    if IN_A_FILE in spec:
        return _from_file(spec, folder, settings)
    if spec not in METHODS:
        raise unknown("method", spec, METHODS)
    return spec, _built(f"method {spec}", METHODS[spec].make, with_students(settings, student))


def with_students(settings: Mapping[str, Any], student: Callable[[str], Student] | None) -> dict[str, Any]:
    """Settings with the models named in `through`, joined by `+`, as students."""
    through = settings.get("through")
    if not isinstance(through, str) or student is None:
        return dict(settings)
    return {**settings, "through": tuple(student(name) for name in through.split("+") if name)}


def _built(place: str, make: Callable[..., Any], settings: Mapping[str, Any]) -> Any:
    try:
        return make(**settings)
    except (TypeError, ValueError) as error:
        raise InputError(f"{place}: {error}") from None


def _named(thing: Any, name: str | None = None) -> tuple[str, Method | OracleMethod]:
    """A method under its own name; any other callable is a loss."""
    if hasattr(thing, "train") or hasattr(thing, "train_with_truth"):
        return name or str(getattr(thing, "name", type(thing).__name__.lower())), thing
    return name or str(getattr(thing, "__name__", type(thing).__name__.lower())), WithLoss(thing)


def _from_file(spec: str, folder: Path, settings: Mapping[str, Any]) -> tuple[str, Method | OracleMethod]:
    where, _, name = spec.rpartition(":")
    module = _module(folder / where, spec)
    known = [one for one in vars(module) if not one.startswith("_")]
    if name not in known:
        raise unknown(f"name in {where}", name, known)
    thing = getattr(module, name)
    if isinstance(thing, type):
        thing = _built(f"method {spec}", thing, settings)
    elif settings:
        raise InputError(f"method {spec}: found the setting {next(iter(settings))}, expected none, for it is no class")
    if not callable(thing) and not hasattr(thing, "train") and not hasattr(thing, "train_with_truth"):
        raise InputError(
            f"method {spec}: found {type(thing).__name__}, expected a function of (logits, targets, progress) "
            "or a class with `needs` and `train(student, data, seed)`"
        )
    return _named(thing, name)


def _module(path: Path, spec: str) -> ModuleType:
    """The file as a module; the same content at the same place is loaded once."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"method {spec}: {path}: {error.strerror}, expected a Python file") from None
    name = f"method_{hashlib.sha256(str(path.resolve()).encode() + content).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # a dataclass looks up its own module
    try:
        found.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(f"method {spec}: {path} cannot be imported: {type(error).__name__}: {error}") from None
    return module
