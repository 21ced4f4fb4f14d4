"""Tables of a TOML file, read key by key: whatever is wrong gets one line with file, table, key, found and expected."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from oversight.errors import InputError, unknown
from oversight.tasks.records import bad, one_line, shown

BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table; every reader of a key gives None where the key is absent.

    Attributes:
        file: what the file is called in messages.
        name: `""` for the top of the file, else `[settings]`, `[task."x.csv"]`, `[[exclude]] 2`.
        values: as TOML gives them.
    """

    file: str
    values: Mapping[str, Any]
    name: str = ""

    def place(self, key: str = "") -> str:
        """`plan.toml: [settings] epochs`, for messages."""
        inside = " ".join(part for part in (self.name, one_line(key)) if part)
        return f"{self.file}: {inside}" if inside else self.file

    def wrong(self, key: str, expected: str) -> InputError:
        """The error for what stands at a key."""
        found = shown(self.values[key]) if key in self.values else "nothing"
        return bad(self.place(key), found=found, expected=expected)

    def check_keys(self, known: Iterable[str]) -> None:
        """Refuse a key that is not known.

        Raises:
            InputError: which, and the nearest.
        """
        names = list(known)
        for key in self.values:
            check_name(self.place(), "key", key, names)

    def text(self, key: str, *, among: Collection[str] | None = None, kind: str | None = None) -> str | None:
        """A text; `among` = one of these, `kind` = what these are called, by default as the key.

        Raises:
            InputError: something else.
        """
        found = self._of(key, lambda value: isinstance(value, str) and value != "", "a text")
        if found is not None and among is not None:
            check_name(self.place(key), kind or key, found, among)
        return found

    def whole(self, key: str, *, least: int | None = None, most: int | None = None) -> int | None:
        """A whole number.

        Raises:
            InputError: something else, or out of range.
        """
        expected = "a whole number"
        if least is not None:
            expected = f"{least} to {most}" if most is not None else f"{expected}, at least {least}"

        def fits(value: Any) -> bool:
            return is_whole(value) and (least is None or value >= least) and (most is None or value <= most)

        return self._of(key, fits, expected)

    def truth(self, key: str) -> bool | None:
        """True or false.

        Raises:
            InputError: something else.
        """
        return self._of(key, lambda value: isinstance(value, bool), "true or false")

    def names(self, key: str) -> tuple[str, ...] | None:
        """Different texts, at least one.

        Raises:
            InputError: something else, an empty list, or a name that stands twice.
        """
        found = self._of(key, lambda value: isinstance(value, list), "a list of names")
        if found is None:
            return None
        for one in found:
            if not isinstance(one, str) or not one:
                raise bad(self.place(key), found=shown(one), expected="a list of names")
            if found.count(one) > 1:
                raise bad(self.place(key), found=f"{shown(one)} {found.count(one)} times", expected="each name once")
        if not found:
            raise bad(self.place(key), found="an empty list", expected="at least one name")
        return tuple(found)

    def numbers(self, key: str) -> tuple[float, ...] | None:
        """Numbers above 0, at least one.

        Raises:
            InputError: something else.
        """
        found = self._of(key, lambda value: bool(_all(value, _is_positive)), "a list of numbers above 0")
        return None if found is None else tuple(map(float, found))

    def share(self, key: str) -> float | None:
        """A number above 0 and at most 1.

        Raises:
            InputError: something else.
        """
        found = self._of(key, lambda value: _is_positive(value) and value <= 1, "a number above 0 and at most 1")
        return None if found is None else float(found)

    def depths(self, key: str) -> tuple[int, ...] | None:
        """Depths, at least one; `()` for the word `all`.

        Raises:
            InputError: something else.
        """

        def fits(value: Any) -> bool:
            return value == "all" or bool(_all(value, lambda one: is_whole(one) and one >= 0))

        found = self._of(key, fits, "'all' or a list of depths such as [2, 4]")
        return None if found is None else () if found == "all" else tuple(found)

    def table(self, key: str) -> Table | None:
        """A table within this one.

        Raises:
            InputError: no table.
        """
        found = self._of(key, lambda value: isinstance(value, dict), "a table")
        above = self.name.strip("[]")
        name = f"[{above}.{quoted(key)}]" if above else f"[{quoted(key)}]"
        return None if found is None else Table(file=self.file, name=name, values=found)

    def tables(self, key: str) -> tuple[Table, ...]:
        """The tables of an array, in order; none where the key is absent.

        Raises:
            InputError: no such thing.
        """
        found = self.values.get(key, [])
        if not isinstance(found, list):
            raise self.wrong(key, f"tables, each headed [[{key}]]")
        for one in found:
            if not isinstance(one, dict):
                raise bad(self.place(key), found=shown(one), expected=f"tables, each headed [[{key}]]")
        return tuple(Table(file=self.file, name=f"[[{key}]] {i}", values=one) for i, one in enumerate(found, 1))

    def _of(self, key: str, fits: Callable[[Any], bool], expected: str) -> Any:
        if key not in self.values:
            return None
        if not fits(self.values[key]):
            raise self.wrong(key, expected)
        return self.values[key]


def read_toml(text: str, *, file: str) -> Table:
    """The top of a TOML document.

    Raises:
        InputError: it is no TOML, and where.
    """
    try:
        return Table(file=one_line(file), values=tomllib.loads(text))
    except (ValueError, RecursionError) as error:
        said = one_line(error) if str(error) else "tables within tables without end"
        raise bad(file, found=f"no TOML: {said}", expected="a plan in TOML") from None


def check_name(place: str, kind: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that is not known.

    Raises:
        InputError: which, where, and the nearest.
    """
    names = list(known)
    if name not in names:
        raise InputError(f"{place}: {unknown(kind, one_line(name), map(one_line, names))}")


def quoted(key: str) -> str:
    """A key as TOML writes it: quoted unless it is a bare word."""
    return key if BARE.fullmatch(key) else json.dumps(key)


def is_whole(value: Any) -> bool:
    """Whether this is an integer; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_positive(value: Any) -> bool:
    return (is_whole(value) or isinstance(value, float)) and 0 < value < float("inf")


def _all(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(fits(one) for one in value)
