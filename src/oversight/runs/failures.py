"""Why steps failed, beside a store's results, so that a sweep that is asked again knows and says so."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from oversight.errors import StoreError
from oversight.sealed import publish_file

FAILED = "failed"
UNREADABLE = "failed, but the record of why cannot be read"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a step has no result.

    Attributes:
        key: of the step.
        name: of the step, for people.
        kind: of the step.
        error: one line.
        traceback: where.
        made: when.
        attempts: how often it was tried.
    """

    key: str
    error: str
    name: str = ""
    kind: str = ""
    traceback: str = ""
    made: str = ""
    attempts: int = 1


def record_failure(store_path: Path, failure: Failure) -> None:
    """Write down why a step failed, in place of an earlier reason.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        publish_file(_place(store_path, failure.key), json.dumps(asdict(failure), ensure_ascii=False).encode())
    except OSError as error:
        raise StoreError(
            f"store {store_path}: cannot write {FAILED}/{failure.key[:12]}: {os.strerror(error.errno or 0)}"
        ) from error


def failures(store_path: Path) -> dict[str, Failure]:
    """Every failed step by key; one whose record is damaged is failed all the same."""
    read = ((path.stem, _read(path)) for path in sorted((store_path / FAILED).glob("[!.]*.json")))
    return {key: failure for key, failure in read if failure is not None}


def forget_failure(store_path: Path, key: str) -> None:
    """The step may be tried again.

    Raises:
        StoreError: its record cannot be removed.
    """
    try:
        _place(store_path, key).unlink(missing_ok=True)
    except NotADirectoryError:
        return
    except OSError as error:
        raise StoreError(
            f"store {store_path}: cannot remove {FAILED}/{key[:12]}: {os.strerror(error.errno or 0)}"
        ) from error


def _place(store_path: Path, key: str) -> Path:
    return store_path / FAILED / f"{key}.json"


def _read(path: Path) -> Failure | None:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        known = {field.name for field in fields(Failure)}
        wanted: dict[str, Any] = {name: value for name, value in content.items() if name in known}
        wanted["key"] = path.stem
        return Failure(**wanted)
    except FileNotFoundError:  # forgotten meanwhile
        return None
    except (OSError, ValueError, TypeError, AttributeError):
        return Failure(key=path.stem, error=UNREADABLE)
