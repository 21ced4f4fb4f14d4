"""Options that may be given for one of several tasks."""

from __future__ import annotations

from typing import Annotated

import typer

from oversight.errors import InputError

TextByTask = Annotated[
    list[str] | None,
    typer.Option("--text", metavar="[TASK=]COLUMN", help="Column of the text; dotted paths reach inside. Repeatable."),
]
LabelByTask = Annotated[
    list[str] | None, typer.Option("--label", metavar="[TASK=]COLUMN", help="Column of the class. Repeatable.")
]
GroupByTask = Annotated[
    list[str] | None,
    typer.Option(
        "--group",
        metavar="[TASK=]COLUMN",
        help="Rows of one group stay in one part of every split: of every task, or of one. Repeatable.",
    ),
]


def columns_by_task(**texts: list[str] | None) -> dict[str, dict[str, str]]:
    """[TASK=]COLUMN of every `--text`, `--label` and `--group`: by task, `""` for every one, column and name.

    Raises:
        InputError: an empty name, or two for one.
    """
    found: dict[str, dict[str, str]] = {}
    for column, given in texts.items():
        for text in given or []:
            task, equals, name = text.rpartition("=")
            if not name or (equals and not task):
                raise InputError(f"--{column}: found '{text}', expected COLUMN or TASK=COLUMN")
            own = found.setdefault(task, {})
            if column in own:
                raise InputError(f"--{column}: found '{own[column]}' and '{name}', expected one for {task or 'all'}")
            own[column] = name
    return found


def families(texts: list[str]) -> dict[str, tuple[str, ...]]:
    """NAME=TASK,TASK of every `--family`.

    Raises:
        InputError: not of this form, or fewer than two tasks.
    """
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, equals, members = text.partition("=")
        tasks = tuple(one for one in members.split(",") if one)
        if not (name and equals and len(tasks) > 1):
            raise InputError(f"--family: found '{text}', expected NAME=TASK,TASK")
        found[name] = tasks
    return found
