"""Names of methods, and a user's own in a file, become methods."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from oversight.errors import InputError, unknown
from oversight.methods import METHODS
from oversight.methods.method import Method, Needs, OracleMethod, WithLoss
from oversight.models.student import Student

IN_A_FILE = ".py:"
THROUGH = "through"
"""The setting that names students on the way, joined by `+`."""


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
        name, method = _named(spec)
        _check_takes(name, spec)
        return name, method
    if IN_A_FILE in spec:
        return _from_file(spec, folder, settings)
    if spec not in METHODS:
        raise unknown("method", spec, METHODS)
    return spec, _built(f"method {spec}", METHODS[spec].make, with_students(settings, student))


def with_students(settings: Mapping[str, Any], student: Callable[[str], Student] | None) -> dict[str, Any]:
    """Settings with the models named in `through`, joined by `+`, as students."""
    through = settings.get(THROUGH)
    if not isinstance(through, str) or student is None:
        return dict(settings)
    return {**settings, THROUGH: tuple(student(name) for name in through.split("+") if name)}


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
    thing, name = _found(spec, folder)
    if isinstance(thing, type):
        thing = _built(f"method {spec}", thing, settings)
    elif settings:
        raise InputError(f"method {spec}: found the setting {next(iter(settings))}, expected none, for it is no class")
    _check_takes(spec, thing)
    return _named(thing, name)


def _found(spec: str, folder: Path) -> tuple[Any, str]:
    """What a file holds under a name, and the name."""
    where, _, name = spec.rpartition(":")
    module = _module(folder / where, spec)
    if name.startswith("_") or not hasattr(module, name):
        own = [one for one, thing in vars(module).items() if _is_own(module, one, thing)]
        raise unknown(f"name in {where}", name, own)
    return getattr(module, name), name


def _is_own(module: ModuleType, name: str, thing: Any) -> bool:
    """Whether a file made it rather than imported it."""
    return not name.startswith("_") and callable(thing) and getattr(thing, "__module__", None) == module.__name__


def _check_takes(spec: str, thing: Any) -> None:
    """Refuse what is neither a loss nor a method by what it takes, before anything is computed.

    Raises:
        InputError: what it is or takes.
    """
    oracle, method = hasattr(thing, "train_with_truth"), hasattr(thing, "train")
    if not (oracle or method or callable(thing)):
        raise InputError(
            f"method {spec}: found {type(thing).__name__}, expected a function of (logits, targets, progress) "
            "or a class with `needs` and `train(student, data, seed)`"
        )
    if oracle or method:
        if not isinstance(getattr(thing, "needs", None), Needs):
            raise InputError(f"method {spec}: found no `needs` that is a `Needs`, expected what the method asks for")
        taken, parts = getattr(thing, "train_with_truth" if oracle else "train"), 3 if oracle else 2
        keyword, wanted = "seed", "student, data, truth, seed" if oracle else "student, data, seed"
    else:
        taken, parts, keyword, wanted = thing, 2, "progress", "logits, targets, progress"
    try:
        inspect.signature(taken).bind(*[None] * parts, **{keyword: None})
    except ValueError:
        return  # one of those whose signature is not known
    except TypeError as error:
        raise InputError(f"method {spec}: {error}; expected that it takes ({wanted})") from None


def trials_of(spec: str, *, folder: Path = Path()) -> tuple[Mapping[str, Any], ...]:
    """Settings of a method that are tried where methods are tuned, the defaults first: those of the table, or what a
    class in a file names in its `trials`.

    Raises:
        InputError: `trials` is no list of settings that begins with none.
    """
    if spec in METHODS:
        return METHODS[spec].trials
    thing, _ = _found(spec, folder)
    if not isinstance(thing, type) or not hasattr(thing, "trials"):
        return ({},)
    found: Any = thing.trials
    if not (isinstance(found, list | tuple) and found and all(isinstance(one, dict) for one in found)) or found[0]:
        raise InputError(f"method {spec}: trials: found {found!r}, expected dicts of settings, the first of them empty")
    for one in found:
        _built(f"method {spec}: trials", thing, one)
    return tuple(found)


def _module(path: Path, spec: str) -> ModuleType:
    """The file as a module; the same content is loaded once, and called the same wherever it lies."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"method {spec}: {path}: {error.strerror}, expected a Python file") from None
    name = f"method_{hashlib.sha256(content).hexdigest()[:16]}"
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
