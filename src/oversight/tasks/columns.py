"""Columns: which of them hold texts, labels and groups, and their values checked row by row."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from oversight.errors import InputError
from oversight.tasks.records import Record, Records, bad, described, kind_of, one_line, shown
from oversight.tasks.task import content_id

TEXT = ("text", "txt")
LABEL = ("label", "hard_label")
PAIR = ("prompt", "chosen", "rejected")
GROUP = ("group", "group_id")
DIFFICULTY = ("difficulty",)
PAIR_CLASSES = ("second", "first")

_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,4000}\s*")
_NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What the user named on the command line; None = find it. Dotted paths reach into nested objects."""

    text: str | None = None
    label: str | None = None
    group: str | None = None
    difficulty: str | None = None


FIND = Columns()


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The columns of one file that make a task.

    Attributes:
        records: n records they were read from.
        texts: n texts.
        others: n second texts of preference pairs, or None.
        labels: n values, none of them missing; for pairs 1 = `text` is the chosen one, else 0.
        label: the column of the labels, None for pairs.
        groups: n group names, or None where no column holds them.
        difficulty: n names, or None.
    """

    records: Records
    texts: list[str]
    others: list[str] | None
    labels: list[object]
    label: str | None
    groups: list[str] | None
    difficulty: list[str] | None


def read_cells(records: Records, columns: Columns) -> Cells:
    """Find the columns of one file and check every row of them.

    Raises:
        InputError: a column is missing, or a value of it is missing or of the wrong kind.
    """
    names = _names(records)
    text = _find(records, columns.text, among=TEXT, names=names, flag="--text")
    label = _find(records, columns.label, among=LABEL, names=names, flag="--label")
    group = _find(records, columns.group, among=GROUP, names=names, flag="--group")
    difficulty = _find(records, columns.difficulty, among=DIFFICULTY, names=names, flag="--difficulty")
    others: list[str] | None = None
    if not (text and label) and not (columns.text or columns.label) and {"chosen", "rejected"} & names.keys():
        label = None
        texts, others, labels = _pairs(records, names)
    else:
        if text is None:
            raise _no_column(records, names, kind="text", among=TEXT)
        if label is None:
            raise _no_column(records, names, kind="label", among=LABEL)
        texts, labels = _texts(records, text), _present(records, label)
    return Cells(
        records=records,
        texts=texts,
        others=others,
        labels=labels,
        label=label,
        groups=_scalars(records, group) if group else None,
        difficulty=_scalars(records, difficulty) if difficulty else None,
    )


def classes(parts: Sequence[Cells]) -> list[list[int | str]]:
    """The label of every row of every part: all integers (booleans and integral numbers become such) or all strings.

    Raises:
        InputError: labels are of mixed kinds, soft (0.3), or of one class only.
    """
    values = _typed(parts)
    first = values[0][0]
    kind = _label_kind(parts[0], 0, first)
    for cells, part in zip(parts, values, strict=True):
        for i, value in enumerate(part):
            if _label_kind(cells, i, value) != kind:
                found = f"the label {described(value)}"
                like = f"{kind_of(first)} like the label {shown(first)} of {one_line(parts[0].records.at(0))}"
                raise bad(cells.records.at(i), found=found, expected=like)
    made = [[value if isinstance(value, str) else int(cast(float, value)) for value in part] for part in values]
    distinct = {value for part in made for value in part}
    if len(distinct) == 1 and parts[0].others is None:
        n = sum(len(part) for part in made)
        found = f"the label {shown(distinct.pop())} in all {n} rows"
        raise bad(parts[0].records.file, found=found, expected="at least two classes")
    return made


def candidate_groups(parts: Sequence[Cells], columns: Columns) -> list[str]:
    """`name (m values)` of the columns that could be groups, if the records have a `meta` object.

    They are the scalar fields of `meta` and the other scalar columns with a value in every row that repeats: more than
    one distinct value and fewer than rows.
    """
    records = [record for cells in parts for record in cells.records.fields]
    if not any(isinstance(record.get("meta"), dict) for record in records):
        return []
    meta = next(record["meta"] for record in records if isinstance(record.get("meta"), dict))
    used = {*TEXT, *LABEL, *DIFFICULTY, "chosen", "rejected", columns.text, columns.label, columns.difficulty}
    paths = [f"meta.{name}" for name in cast(Record, meta)] + [name for name in records[0] if name != "meta"]
    found: list[str] = []
    for path in paths:
        values = [] if path in used else [_dig(record, path) for record in records]
        if values and all(_is_scalar(value) for value in values) and 1 < len(set(values)) < len(values):
            found.append(f"{one_line(path)} ({len(set(values))} values)")
    return found


def normalised(text: str) -> str:
    """The text up to case and runs of white space: equal here means the same text."""
    return " ".join(text.casefold().split())


def _dig(record: Record, path: str) -> object:
    """The value at a column name, or at a dotted path into nested objects; None where there is none."""
    if path in record:
        return record[path]
    value: object = record
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _names(records: Records) -> dict[str, None]:
    """All column names of the file, in the order in which they first stand there."""
    return {name: None for record in records.fields for name in record}


def _find(
    records: Records, named: str | None, *, among: Sequence[str], names: dict[str, None], flag: str
) -> str | None:
    """The column that the user named, else the first of the usual names that the file has, else None."""
    if named is None:
        return next((name for name in among if name in names), None)
    if named in names or any(_dig(record, named) is not None for record in records.fields):
        return named
    paths = _paths(records)
    near = difflib.get_close_matches(named, paths, n=1)
    guess = f" (did you mean '{one_line(near[0])}'?)" if near else ""
    raise bad(records.file, found=f"no column '{one_line(named)}' for {flag}", expected=f"{_listed(paths)}{guess}")


def _paths(records: Records) -> list[str]:
    """Column names, those that hold objects with the dotted names of what is in them."""
    paths: dict[str, None] = {}
    for record in records.fields:
        for name, value in record.items():
            inner = [f"{name}.{key}" for key in cast(Record, value)] if isinstance(value, dict) else [name]
            paths.update(dict.fromkeys(inner))
    return list(paths)


def _listed(names: Sequence[str], *, most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    kind = "one of " if len(names) > 1 else ""
    return kind + ", ".join(f"'{one_line(name)}'" for name in names[:most]) + more


def _no_column(records: Records, names: dict[str, None], *, kind: str, among: Sequence[str]) -> InputError:
    have = ", ".join(f"'{one_line(name)}'" for name in list(names)[:12]) or "no columns"
    usual = " or ".join(f"'{name}'" for name in among)
    expected = f"a column {usual}, another one named by --{kind}, or the columns {', '.join(PAIR)}"
    return bad(records.file, found=f"no {kind} column among {have}", expected=expected)


def _present(records: Records, column: str) -> list[object]:
    """(n) values of a column, none of them missing."""
    values = [_dig(record, column) for record in records.fields]
    for i, value in enumerate(values):
        if value is None or value != value or (isinstance(value, str) and not value.strip()):
            empty = "no" if value is None else "an empty" if isinstance(value, str) else "NaN as"
            found = f"{empty} '{one_line(column)}'"
            raise bad(records.at(i), found=found, expected="a value in every row")
    return values


def _texts(records: Records, column: str, *, may_be_empty: bool = False) -> list[str]:
    """(n) strings of a column, not empty."""
    texts: list[str] = []
    for i, record in enumerate(records.fields):
        text = _dig(record, column)
        if not isinstance(text, str):
            found = f"no '{one_line(column)}'" if text is None else f"'{one_line(column)}' {described(text)}"
            raise bad(records.at(i), found=found, expected="a string")
        if not may_be_empty and (not text or text.isspace()):
            raise bad(records.at(i), found=f"an empty '{one_line(column)}'", expected="a text")
        texts.append(_whole(text, records, i, column))
    return texts


def _whole(text: str, records: Records, i: int, column: str) -> str:
    """The text, if no half of a character pair (a lone surrogate) stands in it."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            found = f"half a character, \\u{ord(text[error.start]):04x}, in '{one_line(column)}'"
            raise bad(records.at(i), found=found, expected="whole Unicode characters") from None
    return text


def _pairs(records: Records, names: dict[str, None]) -> tuple[list[str], list[str], list[object]]:
    """First texts, second texts, and 1 where the first is the chosen one.

    Which of the two comes first is the parity of a content hash of the unordered pair.
    """
    lacking = [name for name in PAIR if name not in names]
    if lacking:
        found = f"no column '{lacking[0]}' beside {', '.join(repr(name) for name in PAIR if name in names)}"
        raise bad(records.file, found=found, expected=f"all of {', '.join(PAIR)} (a prompt may be empty)")
    columns = (_texts(records, "prompt", may_be_empty=True), _texts(records, "chosen"), _texts(records, "rejected"))
    texts: list[str] = []
    others: list[str] = []
    labels: list[object] = []
    for i, (prompt, chosen, rejected) in enumerate(zip(*columns, strict=True)):
        if chosen == rejected:
            found = f"'chosen' and 'rejected' both {shown(chosen)}"
            raise bad(records.at(i), found=found, expected="two different texts")
        pair = [f"{prompt}\n{answer}" if prompt else answer for answer in (chosen, rejected)]
        first, second = _in_order(pair)
        texts.append(first)
        others.append(second)
        labels.append(int(first == pair[0]))
    return texts, others, labels


def _in_order(pair: Sequence[str]) -> tuple[str, str]:
    """The pair in an order that only its content decides; copies up to case and white space come out alike."""
    low, high = sorted(pair, key=lambda text: (normalised(text), text))
    parity = int(content_id(normalised(low), normalised(high)), 16) % 2
    return (high, low) if parity else (low, high)


def _is_scalar(value: object) -> bool:
    if isinstance(value, str):
        return bool(value.strip())
    return isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))


def _scalars(records: Records, column: str) -> list[str]:
    """(n) names from a column of strings or numbers."""
    names: list[str] = []
    for i, value in enumerate(_present(records, column)):
        if not _is_scalar(value):
            found = f"'{one_line(column)}' {described(value)}"
            raise bad(records.at(i), found=found, expected="a string or a number")
        whole = isinstance(value, float) and value.is_integer()
        names.append(_whole(str(int(cast(float, value)) if whole else value), records, i, column))
    return names


def _typed(parts: Sequence[Cells]) -> list[list[object]]:
    """The labels of each part; those of CSV are numbers if all of them, in all such parts, read as numbers."""
    strings = [str(value) for cells in parts if not cells.records.typed for value in cells.labels]
    convert: type[int] | type[float] | None = None
    if strings and all(_INTEGER.fullmatch(text) for text in strings):
        convert = int
    elif strings and all(_NUMBER.fullmatch(text) for text in strings):
        convert = float
    if convert is None:
        return [cells.labels for cells in parts]
    return [
        cells.labels if cells.records.typed else [convert(cast(str, value)) for value in cells.labels]
        for cells in parts
    ]


def _label_kind(cells: Cells, i: int, value: object) -> str:
    """boolean, integer or string; everything else is refused."""
    if isinstance(value, str):
        _whole(value, cells.records, i, cells.label or "label")
    elif isinstance(value, float) and not value.is_integer():
        found = f"the soft label {shown(value)}"
        raise bad(cells.records.at(i), found=found, expected="a class, an integer or a string (labels must be classes)")
    elif not isinstance(value, bool | int | float):
        found = f"the label {described(value)}"
        raise bad(cells.records.at(i), found=found, expected="a class: an integer or a string")
    return "boolean" if isinstance(value, bool) else "string" if isinstance(value, str) else "integer"
