"""Files written where a test needs them, and the one line that a bad one gives."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from oversight.errors import InputError
from oversight.tasks.columns import Columns
from oversight.tasks.files import load_files


def write_file(path: Path, content: bytes | str | Sequence[dict[str, Any]]) -> Path:
    """Bytes and text as they are; records in the format that the name asks for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str | bytes):
        raw = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    elif path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(list(content)), path)
    elif ".csv" in path.suffixes:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "wt", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(content[0]))
            writer.writeheader()
            writer.writerows(content)
    else:
        write_file(path, "".join(json.dumps(record) + "\n" for record in content))
    return path


@pytest.fixture(scope="session")
def write_at() -> Callable[..., Path]:
    """write_at(path, records or text or bytes) -> the path."""
    return write_file


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """write("name.jsonl", records or text or bytes) -> its path."""
    return lambda name, content: write_file(tmp_path / name, content)


@pytest.fixture
def complaint(tmp_path: Path) -> Callable[..., str]:
    """complaint(path, strict=..., text=...) -> the one line that loading gives, without the folder's name."""

    def load(path: Path | str, *, strict: bool = False, **columns: str) -> str:
        with pytest.raises(InputError) as caught:
            load_files(path, columns=Columns(**columns), strict=strict)
        line = str(caught.value)
        assert line.isprintable(), f"not one line: {line!r}"
        assert caught.value.exit_code == 2
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        return line.replace(f"{tmp_path}/", "").replace(str(tmp_path), "FOLDER")

    return load
