"""A leaderboard as a file: a page, tables, or all numbers, by the ending of its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from oversight.reports import exports
from oversight.reports.leaderboard import check_ending

if TYPE_CHECKING:
    from oversight.reports.leaderboard import Leaderboard


def check_place(path: Path) -> None:
    """Refuse a place where `write` could not write, before anything is computed for it.

    Raises:
        InputError: another ending than .html, .md or .json, or a place that cannot be written.
    """
    check_ending(path)
    exports.check_place(path)


def write(board: Leaderboard, path: Path) -> Path:
    """Write it as `exports.publish` does; gives its path.

    Raises:
        InputError: another ending, or the place cannot be written.
        StepError: the disk is full or broken.
    """
    check_place(path)
    return exports.publish(path, _content(board, path.suffix).encode(errors="backslashreplace"))


def _content(board: Leaderboard, ending: str) -> str:
    if ending == ".json":
        return json.dumps(board.as_json(), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    if ending == ".md":
        from oversight.reports.leaderboard_tables import as_markdown

        return as_markdown(board)
    from oversight.reports.leaderboard_html import as_page

    return as_page(board)
