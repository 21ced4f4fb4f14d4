"""A file, or a directory with a train and a test file, becomes a task."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from oversight.errors import InputError
from oversight.tasks.build import build_task
from oversight.tasks.columns import FIND, Columns
from oversight.tasks.joining import USUAL, NearDuplicates
from oversight.tasks.records import READERS, bad, one_line, read_records, unreadable
from oversight.tasks.task import Task


def load_files(
    path: str | Path, *, columns: Columns = FIND, strict: bool = False, near: NearDuplicates = USUAL
) -> Task:
    """Load a task from a file, or from a directory that holds `train.*` and `test.*`.

    Args:
        path: `.jsonl`, `.json` (one object per line), `.csv`, each also with `.gz`, or `.parquet`; or a directory.
        columns: what the user named; the rest is found (`text,label`, `txt,hard_label`, `prompt,chosen,rejected`).
        strict: whether a row that stands in both train and test is an error.
        near: what is done about near-duplicates.

    Raises:
        InputError: one line with file, row, what was found and what was expected.
    """
    place = Path(path)
    train, test = _files(place)
    return build_task(
        str(path),
        read_records(train),
        None if test is None else read_records(test),
        columns=columns,
        strict=strict,
        near=near,
        source=str(path),
    )


def _files(place: Path) -> tuple[Path, Path | None]:
    """The file to learn from and the test file, if the place is a directory that holds one."""
    try:
        is_directory, exists = place.is_dir(), place.exists()
    except OSError as error:
        raise unreadable(place, error) from None
    if is_directory:
        return _part(place, "train"), _part(place, "test")
    if not exists:
        raise _missing(place)
    return place, None


def _part(folder: Path, part: str) -> Path:
    """The one file of a directory that holds a part."""
    names = _entries(folder)
    found = [name for name in names if name.lower() in {part + ending for ending in READERS}]
    if len(found) == 1:
        return folder / found[0]
    if found:
        raise bad(folder, found=" and ".join(map(_quoted, found)), expected=f"one {part} file")
    held = ", ".join(map(_quoted, names[:8])) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    expected = f"'{part}' with one of the endings {', '.join(READERS)}"
    raise bad(folder, found=f"no {part} file ({'holds ' + held if names else 'an empty directory'})", expected=expected)


def _missing(path: Path) -> InputError:
    """The error for a path that leads nowhere, with the nearest names of its folder."""
    folder = path.parent
    if not folder.is_dir():
        return bad(path, found=f"no such file, nor a directory '{one_line(folder)}'", expected="a file or a directory")
    near = difflib.get_close_matches(path.name, _entries(folder), n=2)
    guess = f" (did you mean {' or '.join(map(_quoted, near))}?)" if near else ""
    expected = f"a file ending in {', '.join(READERS)}, or a directory with train and test files"
    return bad(path, found=f"no such file{guess}", expected=expected)


def _quoted(name: str) -> str:
    return f"'{name}'" if name.isprintable() else repr(name)


def _entries(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise unreadable(folder, error) from None
