"""Files here or in an object store, opened by path or URL: written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from oversight.errors import InputError, StepError
from oversight.sealed import flush_directory

LOCAL = "file://"


@contextmanager
def opened_to_read(place: str) -> Generator[IO[bytes]]:
    """A path or URL for reading from its beginning.

    Raises:
        InputError: there is no such file, or the package for its protocol is not installed.
        StepError: it cannot be read.
    """
    local = _local(place)
    if local is not None and not local.is_file():
        raise InputError(f"{place}: found no such file, expected an archive of `oversight export`")
    with _told(place, "read"), local.open("rb") if local is not None else _elsewhere(place, "rb") as file:
        yield file


@contextmanager
def opened_to_write(place: str) -> Generator[IO[bytes]]:
    """A path or URL for writing; what was there before stays until all is written.

    Raises:
        InputError: no such directory, or the package for the protocol is not installed.
        StepError: it cannot be written.
    """
    local = _local(place)
    if local is not None and not local.parent.is_dir():
        raise InputError(f"{place}: found no directory {local.parent}, expected one that exists")
    with _told(place, "written"), _written_here(local) if local is not None else _written_elsewhere(place) as file:
        yield file


@contextmanager
def _written_here(path: Path) -> Generator[IO[bytes]]:
    temporary = path.with_name(f".new-{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        flush_directory(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def _written_elsewhere(place: str) -> Generator[IO[bytes]]:
    file = _elsewhere(place, "wb", autocommit=False)
    try:
        yield file
        file.close()
        file.commit()
    except BaseException:
        with suppress(Exception):
            file.discard()
        raise


@contextmanager
def _told(place: str, done: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StepError(f"{place}: cannot be {done}: {reason}") from error


def _local(place: str) -> Path | None:
    """The path of a local file; None for what lies elsewhere."""
    path = place.removeprefix(LOCAL)
    return None if "://" in path or "::" in path else Path(path)


def _elsewhere(place: str, mode: str, **options: Any) -> Any:
    """A file that a library opens.

    Raises:
        InputError: no such file, no such protocol, or its package is not installed.
        StepError: it cannot be opened.
    """
    try:
        import fsspec

        files, path = fsspec.core.url_to_fs(place)
        return files.open(path, mode, **options)
    except ImportError as error:
        raise InputError(f"{place}: found no package for this protocol: {_line(error)}") from error
    except FileNotFoundError as error:
        raise InputError(f"{place}: found no such file") from error
    except ValueError as error:
        raise InputError(f"{place}: {_line(error)}") from error
    except Exception as error:
        raise StepError(f"{place}: cannot be opened: {type(error).__name__}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
