"""A budget curve as a file: a page, a table, or all numbers, by the ending of its name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from oversight.errors import InputError
from oversight.reports import leaderboard_exports

if TYPE_CHECKING:
    from oversight.reports.budget import BudgetCurve

check_place = leaderboard_exports.check_place


def write(curve: BudgetCurve, path: Path) -> Path:
    """Write it under a temporary name, then rename it; gives its path.

    Raises:
        InputError: another ending than .html, .md or .json, or the place cannot be written.
    """
    check_place(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(_content(curve, path.suffix), encoding="utf-8", errors="backslashreplace")
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}), expected a writable folder") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _content(curve: BudgetCurve, ending: str) -> str:
    if ending == ".json":
        return json.dumps(curve.as_json(), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    if ending == ".md":
        from oversight.reports.budget_tables import as_markdown

        return as_markdown(curve)
    from oversight.reports.budget_page import as_page

    return as_page(curve)
