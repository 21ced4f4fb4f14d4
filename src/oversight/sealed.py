"""Folders whose contents are checked when read: a record in JSON, arrays in safetensors, rows in Parquet, checksums."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

Array = npt.NDArray[Any]
RECORD, ARRAYS, ROWS = "record.json", "arrays.safetensors", "rows.parquet"
MAPPED_BYTES = 1 << 20
DTYPES = {"F64": np.float64, "F32": np.float32, "I64": np.int64, "BOOL": np.bool_}
NO_FLUSH = {errno.EINVAL, errno.ENOTSUP}


def write_sealed(
    folder: Path, arrays: Mapping[str, Array], content: Mapping[str, Any], rows: pa.Table | None = None
) -> dict[str, Any]:
    """Write a record, its arrays and its rows into an empty folder, flushed to disk; to publish it is the caller's.

    Returns:
        The record as it will be read.
    """
    packed = dump_arrays(arrays)
    write_file(folder / ARRAYS, packed)
    sealed = {**content, "arrays_sha256": hashlib.sha256(packed).hexdigest()}
    if rows is not None:
        table = dump_rows(rows)
        write_file(folder / ROWS, table)
        sealed["rows_sha256"] = hashlib.sha256(table).hexdigest()
    text = dump_json(sealed)
    write_file(folder / RECORD, text)
    flush_directory(folder)
    written: dict[str, Any] = json.loads(text)["content"]
    return written


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a folder.

    Raises:
        ValueError, KeyError, TypeError: it is not what was written.
    """
    return load_json((folder / RECORD).read_bytes(), RECORD)


def read_arrays(folder: Path, content: Mapping[str, Any]) -> dict[str, Array]:
    """The arrays of a folder, read-only, large ones memory-mapped.

    Raises:
        ValueError: they are not those of its record.
    """
    _check(folder / ARRAYS, content["arrays_sha256"])
    return map_arrays(folder / ARRAYS)


def read_rows(folder: Path, content: Mapping[str, Any]) -> pa.Table | None:
    """The rows of a folder; None where it was written without.

    Raises:
        ValueError: they are not those of its record.
    """
    if "rows_sha256" not in content:
        return None
    _check(folder / ROWS, content["rows_sha256"])
    return load_rows(folder / ROWS)


def dump_json(content: Mapping[str, Any]) -> bytes:
    """A JSON object with its checksum."""
    sealed = {"sha256": content_sha256(content), "content": content}
    return json.dumps(sealed, ensure_ascii=False, allow_nan=False).encode()


def load_json(text: bytes, name: str) -> dict[str, Any]:
    """The object in what `dump_json` gave, checked; `name` is what the error calls it.

    Raises:
        ValueError, KeyError, TypeError: it is not what was written.
    """
    sealed = json.loads(text, parse_float=_number)
    content: dict[str, Any] = sealed["content"]
    if sealed["sha256"] != content_sha256(content):
        raise ValueError(f"{name} does not agree with its checksum")
    return content


def _number(written: str) -> float:
    """A number as `dump_json` writes it; others, such as 1E-9, are changed bits that the checksum does not see."""
    found = float(written)
    if repr(found) != written:
        raise ValueError(f"found the number {written}, expected {found!r}")
    return found


def content_sha256(content: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON object, whatever the order of its names."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def dump_arrays(arrays: Mapping[str, Array]) -> bytes:
    """Arrays in the safetensors format; the same arrays give the same bytes."""
    from safetensors.numpy import save

    return save({name: np.asarray(arrays[name], order="C") for name in sorted(arrays)})


def map_arrays(path: Path) -> dict[str, Array]:
    """The arrays of a safetensors file, read-only; mapped where the file is large, as a map holds a file open."""
    large = path.stat().st_size >= MAPPED_BYTES
    raw = np.memmap(path, dtype=np.uint8, mode="r") if large else np.frombuffer(path.read_bytes(), dtype=np.uint8)
    size = 8 + int.from_bytes(raw[:8].tobytes(), "little")
    header: dict[str, Any] = json.loads(raw[8:size].tobytes())
    header.pop("__metadata__", None)
    found: dict[str, Array] = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        found[name] = raw[size + start : size + end].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return found


def dump_rows(rows: pa.Table) -> bytes:
    """A table in the Parquet format; equal tables give equal bytes, however they are cut into chunks."""
    import io

    import pyarrow.parquet as pq

    written = io.BytesIO()
    pq.write_table(rows.combine_chunks(), written, compression="zstd")
    return written.getvalue()


def load_rows(path: Path) -> pa.Table:
    """The table of a Parquet file."""
    import io

    import pyarrow.parquet as pq

    with pq.ParquetFile(io.BytesIO(path.read_bytes())) as file:
        return file.read()


def write_file(path: Path, content: bytes) -> None:
    """Write and flush to disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def publish_file(path: Path, content: bytes) -> None:
    """Write under a temporary name, flush, rename: nobody ever reads half a file.

    Raises:
        OSError: it could not be written; what was there before still is.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".new-{secrets.token_hex(8)}")
    try:
        write_file(temporary, content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    flush_directory(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, their names brought to disk."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        with contextlib.suppress(PermissionError):  # a folder may be writable and yet not readable
            flush_directory(path.parent)


def flush_directory(path: Path) -> None:
    """Bring the names of a directory to disk, where its file system can do so."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FLUSH:
            raise
    finally:
        os.close(descriptor)


def _check(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != expected:
            raise ValueError(f"{path.name} does not agree with its checksum")
