"""A result as a file: a page, tables, all numbers, or the figures, by the ending of its name."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from oversight.errors import InputError, StepError

if TYPE_CHECKING:
    from oversight.reports.result import Result

TEXTS = ("md", "csv", "json")
IMAGES = ("png", "pdf")
FORMATS = ("html", *TEXTS, *IMAGES)
ENDINGS = {f".{name}": name for name in FORMATS} | {".htm": "html"}
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


def write(result: Result, path: Path, kind: str | None = None) -> Path:
    """Write a report under a temporary name, then rename it; gives its path.

    Args:
        result: what to write.
        path: where.
        kind: one of FORMATS; None = by the ending of the path.

    Raises:
        InputError: no such format, the folder is missing, or the place cannot be written.
        StepError: the disk is full or broken.
    """
    check_place(path, kind)
    return publish(path, as_bytes(result, kind or format_of(path)))


def publish(path: Path, content: bytes) -> Path:
    """Write a file under a temporary name, then rename it; gives its path.

    Raises:
        InputError: the place cannot be written.
        StepError: the disk is full or broken.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        problem = StepError if error.errno in FULL else InputError
        raise problem(f"{path}: cannot be written ({error.strerror}), expected a writable folder") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def check_place(path: Path, kind: str | None = None) -> None:
    """Refuse a place where `write` could not write, before anything is computed for it.

    Raises:
        InputError: an ending without a format, the folder is missing or not writable, or the place is a folder itself.
    """
    if path.is_dir():
        raise InputError(f"{path}: found a folder, expected the name of a file")
    if kind is None:
        format_of(path)
    if not path.parent.is_dir():
        raise InputError(f"{path}: found no folder '{path.parent}', expected an existing one")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be written (no permission), expected a writable folder")


def format_of(path: Path) -> str:
    """The format that an ending stands for.

    Raises:
        InputError: it stands for none.
    """
    kind = ENDINGS.get(path.suffix.lower())
    if kind is None:
        found = f"the ending '{path.suffix}'" if path.suffix else "no ending"
        raise InputError(f"{path}: found {found}, expected {', '.join(f'.{name}' for name in FORMATS)}")
    return kind


def as_bytes(result: Result, kind: str) -> bytes:
    """The content of a report in one of FORMATS; texts in UTF-8, lone surrogates escaped. Same result, same bytes."""
    if kind in IMAGES:
        from oversight.reports.figures import as_image

        return as_image(result.shown, kind)
    if kind == "html":
        from oversight.reports.html import as_page

        return as_page(result.shown).encode(errors="backslashreplace")
    return as_text(result, kind).encode(errors="backslashreplace")


def as_text(result: Result, kind: str) -> str:
    """The content of a report in one of TEXTS.

    JSON is one object `{"studies": [...]}`, each study as `--json` prints it, with `"pooled"` where they are questions;
    what is undefined is null. CSV has a row for every question, and one for the numbers pooled over them.
    """
    if kind == "json":
        found = {"studies": [study.as_json() for study in result.studies]}
        if result.pooled:
            found["pooled"] = [study.as_json() for study in result.pooled]
        return json.dumps(found, ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    from oversight.reports.tables import as_csv, as_markdown

    return as_markdown(result.shown) if kind == "md" else as_csv(result)
