"""How the text of options is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oversight.errors import InputError

if TYPE_CHECKING:
    from oversight.runs.store import DirectoryStore


def near_duplicates(do: str | None, at: float) -> dict[str, str | float]:
    """Keys of a plan: what is done about near-duplicates, where it is not the usual.

    Raises:
        InputError: another word, or a number out of range.
    """
    from oversight.tasks.joining import USUAL
    from oversight.tasks.joining import NearDuplicates as Wanted

    wanted = Wanted(do=do, at=at)
    asked = {} if wanted.do is None else {"near_duplicates": wanted.do}
    return {**asked, **({} if at == USUAL.at else {"near_duplicates_at": at})}


def named_tests(tests: list[str]) -> dict[str, str]:
    """NAME=FILE of every `--test`.

    Raises:
        InputError: not of this form, or a name given twice.
    """
    found: dict[str, str] = {}
    for test in tests:
        name, equals, path = test.partition("=")
        if not (name and equals and path):
            raise InputError(f"--test: found '{test}', expected NAME=FILE")
        if name in found:
            raise InputError(f"--test: found the name '{name}' twice, expected each name once")
        found[name] = path
    return found


def numbers(flag: str, text: str | None) -> tuple[float, ...] | None:
    """Numbers between commas; None = not asked for.

    Raises:
        InputError: something else.
    """
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{flag}: found '{text}', expected numbers above 0 such as 1e-3,1e-1") from None


def layers(flag: str, text: str | None) -> tuple[int, ...] | None:
    """Depths between commas; None = not asked for; () = all.

    Raises:
        InputError: something else.
    """
    if text is None or text == "all":
        return None if text is None else ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{flag}: found '{text}', expected 'all' or depths such as 2,4,6") from None


def trains(
    train: str, weak_train: str | None, strong_train: str | None, *, weak: list[str], strong: list[str]
) -> dict[str, str]:
    """How each role is trained.

    Raises:
        InputError: a way to train for a role in which there is no network.
    """
    from oversight.resolve.models import is_network

    for flag, found, models in (("--weak-train", weak_train, weak), ("--strong-train", strong_train, strong)):
        if found and not any(map(is_network, models)):
            raise InputError(f"{flag}: found {found}, but {', '.join(models)} is no network")
    return {"weak": weak_train or train, "strong": strong_train or train}


def settings(texts: list[str], *, weak_lr: str | None, strong_lr: str | None) -> dict[str, dict[str, str]]:
    """`[weak.|strong.]NAME=VALUE` of every `--set`, and the learning rates: for `weak`, for `strong`, for `both`.

    Raises:
        InputError: not of this form.
    """
    found: dict[str, dict[str, str]] = {"weak": {}, "strong": {}, "both": {}}
    for text in texts:
        name, equals, value = text.partition("=")
        role, dot, rest = name.partition(".")
        if not (name and equals and value) or (dot and (role not in {"weak", "strong"} or not rest)):
            raise InputError(f"--set: found '{text}', expected NAME=VALUE, weak.NAME=VALUE or strong.NAME=VALUE")
        found[role if dot else "both"][rest if dot else name] = value
    for role, rate in (("weak", weak_lr), ("strong", strong_lr)):
        if rate is not None:
            found[role]["lr"] = rate
    return found


def directory(store: str | None, *, flag: str = "--store") -> DirectoryStore:
    """A store that is there.

    Raises:
        InputError: there is none.
    """
    from oversight.resolve.stores import store_path
    from oversight.runs.store import DirectoryStore

    path = store_path(store)
    if not path.is_dir():
        raise InputError(f"{flag} {path}: found no such directory, expected one that holds results")
    return DirectoryStore(path)
