"""The embedded task: short English reviews, positive or negative, grouped by the thing reviewed. See DATASHEET.md."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import as_file, files

from oversight.tasks.files import load_files
from oversight.tasks.task import Task


def reviews() -> Task:
    """7,680 reviews of 480 things; `difficulty` says how the verdict is expressed (plain, negation, irony, ...)."""
    with as_file(files(__name__) / "reviews.jsonl.gz") as path:
        task = load_files(path)
    return replace(task, name="reviews", source="written for oversight", licence="CC0-1.0", version="1")
