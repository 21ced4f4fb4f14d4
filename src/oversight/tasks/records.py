"""Reading files: one record after another, each with the number of its row, and one line for all that may be wrong."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from oversight.errors import InputError

Record = dict[str, object]

BOM = b"\xef\xbb\xbf"
SHOWN = 60
KINDS: dict[str, str] = {
    "bool": "a boolean",
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "list": "a list",
    "dict": "an object",
}


@dataclass(frozen=True, kw_only=True)
class Records:
    """The records of one file.

    Attributes:
        file: what errors call it.
        fields: n records, each column name -> value.
        numbers: n row numbers: lines of a text file from 1 (a CSV's header counts), records of Parquet from 1.
        typed: False where every value is a string because the format knows nothing else (CSV).
    """

    file: str
    fields: list[Record]
    numbers: list[int]
    typed: bool = True

    def __len__(self) -> int:
        return len(self.fields)

    def at(self, i: int) -> str:
        """`file:row` of the i-th record."""
        return f"{self.file}:{self.numbers[i]}"


@dataclass(frozen=True)
class Unread:
    """A Parquet value of a kind that no column of a task can be (list, map, bytes, date): only its type is kept."""

    kind: str

    def __repr__(self) -> str:
        return self.kind


def bad(place: object, *, found: str, expected: str) -> InputError:
    """The one line for a bad input: `place: found ..., expected ...`."""
    return InputError(f"{one_line(place)}: found {found}, expected {expected}")


def one_line(name: object) -> str:
    """A path or name as it is, but quoted and escaped where it could not be printed on one line."""
    text = str(name)
    return text if text.isprintable() else repr(text)


def shown(value: object) -> str:
    """A value for an error message: quoted, on one line, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 4]}...{text[-1]}"


def read_records(path: Path) -> Records:
    """All records of one file, in order.

    Raises:
        InputError: the ending is not supported, the file cannot be read or decoded, or holds no record.
    """
    ending = ending_of(path)
    if ending is None:
        raise bad(
            path,
            found=f"the ending '{path.suffix}'" if path.suffix else "no ending",
            expected=f"one of {', '.join(READERS)}",
        )
    return collect(str(path), READERS[ending](path), typed=not ending.startswith(".csv"))


def collect(file: str, numbered: Iterable[tuple[int, Record]], *, typed: bool = True) -> Records:
    """Records from pairs of row number and fields; InputError where there is none."""
    numbers: list[int] = []
    fields: list[Record] = []
    for number, record in numbered:
        numbers.append(number)
        fields.append(record)
    if not fields:
        raise bad(file, found="no records", expected="at least one row for each of two classes")
    return Records(file=file, fields=fields, numbers=numbers, typed=typed)


def ending_of(path: Path) -> str | None:
    """The supported ending of a file's name, or None."""
    return next((ending for ending in READERS if path.name.lower().endswith(ending)), None)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line with its line end; lines end at a line feed and nowhere else."""
    number = 0
    try:
        with _opened(path) as file:
            for number, raw in enumerate(file, 1):
                yield number, _decoded(raw.removeprefix(BOM) if number == 1 else raw, place=f"{path}:{number}")
    except (EOFError, zlib.error, gzip.BadGzipFile):
        found = f"a truncated or damaged gzip stream after line {number}"
        raise bad(f"{path}:{number + 1}", found=found, expected="a whole gzip file") from None
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> InputError:
    """What the operating system says about a file that cannot be opened or read."""
    return bad(path, found=f"'{error.strerror or error}'", expected="a file that can be read")


def _opened(path: Path) -> IO[bytes]:
    return io.BufferedReader(gzip.open(path)) if path.name.lower().endswith(".gz") else path.open("rb")


def _decoded(raw: bytes, *, place: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at position {error.start + 1} of the line"
        raise bad(place, found=found, expected="UTF-8") from None


def _json_lines(path: Path) -> Iterator[tuple[int, Record]]:
    for number, line in _lines(path):
        if not line or line.isspace():
            continue
        yield number, _json_object(line, place=f"{path}:{number}")


def _json_object(line: str, *, place: str) -> Record:
    expected = "one JSON object per line"
    try:
        value: object = json.loads(line)
    except json.JSONDecodeError as error:
        found = f"{shown(line.strip())}, which is not JSON ({error.msg} at column {error.colno})"
        raise bad(place, found=found, expected=expected) from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise bad(place, found=f"JSON that cannot be read ({error})", expected=expected) from None
    if not isinstance(value, dict):
        raise bad(place, found=described(value), expected=expected)
    return value


def kind_of(value: object) -> str:
    """What an error message calls the type of a value."""
    return KINDS.get(type(value).__name__, type(value).__name__)


def described(value: object) -> str:
    """A value and its kind: `3, an integer`."""
    if value is None or isinstance(value, Unread):
        return "null" if value is None else repr(value)
    return f"{shown(value)}, {kind_of(value)}"


def _csv_rows(path: Path) -> Iterator[tuple[int, Record]]:
    reader = csv.reader((line for _, line in _lines(path)), strict=True)
    header: list[str] = []
    start = 1
    try:
        with _fields_of_any_length():
            for cells in reader:
                if cells and not header:
                    header = _header(cells, place=f"{path}:{start}")
                elif cells:
                    yield start, _csv_record(header, cells, place=f"{path}:{start}")
                start = reader.line_num + 1
    except csv.Error as error:
        found = f"a row that is not CSV ({error})"
        raise bad(f"{path}:{start}", found=found, expected='fields between commas, quoted with "') from None


@contextmanager
def _fields_of_any_length() -> Generator[None]:
    """The csv module refuses fields above 131,072 characters, by a setting that it keeps for the whole process."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _header(cells: list[str], *, place: str) -> list[str]:
    twice = [name for name in cells if cells.count(name) > 1]
    if twice:
        raise bad(place, found=f"two columns called {shown(twice[0])}", expected="a header of different names")
    return cells


def _csv_record(header: list[str], cells: list[str], *, place: str) -> Record:
    if len(cells) != len(header):
        names = ", ".join(one_line(name) for name in header)
        found = "1 field" if len(cells) == 1 else f"{len(cells)} fields"
        raise bad(place, found=found, expected=f"{len(header)} as in the header ({names})")
    return dict(zip(header, cells, strict=True))


def _parquet_rows(path: Path) -> Iterator[tuple[int, Record]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:
            batches = pq.ParquetFile(file).iter_batches()
            yield from enumerate(chain.from_iterable(map(arrow_records, batches)), 1)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        reason = one_line(" ".join(str(error).split()))
        raise bad(path, found=f"a file that is not Parquet or damaged ({reason})", expected="a Parquet file") from None
    except OSError as error:
        raise unreadable(path, error) from None


def arrow_records(batch: Any) -> list[Record]:
    """The rows of an Arrow record batch."""
    columns = [arrow_values(batch.column(i)) for i in range(batch.num_columns)]
    names: list[str] = batch.schema.names
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def arrow_values(array: Any) -> list[Any]:
    """The values of an Arrow array; structs become dicts, what no column of a task can be becomes `Unread`."""
    import pyarrow.types as kinds

    kind = array.type
    if kinds.is_struct(kind):
        names = [kind.field(i).name for i in range(kind.num_fields)]
        inner = zip(*(arrow_values(child) for child in array.flatten()), strict=True) if names else [()] * len(array)
        valid: list[bool] = array.is_valid().to_pylist()
        return [dict(zip(names, row, strict=True)) if ok else None for row, ok in zip(inner, valid, strict=True)]
    plain = kind.value_type if kinds.is_dictionary(kind) else kind
    tests = (kinds.is_string, kinds.is_large_string, kinds.is_string_view, kinds.is_boolean, kinds.is_null)
    if any(test(plain) for test in (*tests, kinds.is_integer, kinds.is_floating)):
        return array.to_pylist()
    return [Unread(str(kind))] * len(array)


READERS: dict[str, Callable[[Path], Iterator[tuple[int, Record]]]] = {
    ".jsonl": _json_lines,
    ".jsonl.gz": _json_lines,
    ".json": _json_lines,
    ".json.gz": _json_lines,
    ".csv": _csv_rows,
    ".csv.gz": _csv_rows,
    ".parquet": _parquet_rows,
}
