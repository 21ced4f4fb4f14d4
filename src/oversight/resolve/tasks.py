"""Names and paths of data become tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from oversight.errors import InputError, unknown
from oversight.tasks import TASKS
from oversight.tasks.build import without_overlap
from oversight.tasks.columns import FIND, Columns
from oversight.tasks.files import load_files
from oversight.tasks.hub import PREFIX, load_hub, parse_address
from oversight.tasks.joining import USUAL, NearDuplicates
from oversight.tasks.records import READERS
from oversight.tasks.resembling import without_resembling
from oversight.tasks.split import limit, with_test
from oversight.tasks.task import Task
from oversight.worlds.ladder import LADDER, question_task


def load_task(
    spec: str | Path | Task,
    *,
    columns: Columns = FIND,
    strict: bool = False,
    n_train: int | None = None,
    n_test: int | None = None,
    near_duplicates: str | None = None,
    near_duplicates_at: float = USUAL.at,
) -> Task:
    """A task by name, from a file, a directory with train and test, or the Hub.

    Args:
        spec: `reviews`, a path, `hf:org/name[:config][@revision]`, or a task as it is.
        columns: names of the columns that hold text, label, group and difficulty; None = found.
        strict: whether rows that stand in both train and test are an error.
        n_train, n_test: most rows outside and inside the test set; None = all.
        near_duplicates: what is done about rows whose texts resemble each other: `join` them into groups, `warn` or
            `ignore`; None = join, but above 200,000 rows they are not searched.
        near_duplicates_at: Jaccard similarity of character 3-grams, in (0, 1], from which on they do.

    Raises:
        InputError: one line on what is wrong.
    """
    near = NearDuplicates(do=near_duplicates, at=near_duplicates_at)
    return limit(task_in(Path(), spec, columns=columns, strict=strict, near=near), n_train=n_train, n_test=n_test)


def task_in(
    folder: Path, spec: str | Path | Task, *, columns: Columns, strict: bool, near: NearDuplicates = USUAL
) -> Task:
    """`load_task` without limits, where a relative path starts from `folder`; the task is called as it is in `spec`."""
    if isinstance(spec, Task):
        return spec
    name = str(spec)
    question = question_task(name, folder=folder)
    if question is not None:
        return question
    if name in TASKS:
        return TASKS[name]()
    if name.startswith(PREFIX):
        task = load_hub(hub_address(name, folder), columns=columns, strict=strict, near=near)
    elif (folder / name).exists() or "/" in name or name.endswith(tuple(READERS)):
        task = load_files(folder / name, columns=columns, strict=strict, near=near)
    else:
        raise InputError(f"{unknown('task', name, (*TASKS, LADDER))}; or give a file, a directory, or hf:org/name")
    return replace(task, name=name, source=name)


def hub_address(spec: str, folder: Path) -> str:
    """The address of a data set; of a directory laid out like one, from `folder`."""
    path = parse_address(spec).path
    directory = folder / path
    if folder == Path() or not directory.is_dir():
        return spec
    return f"{PREFIX}{directory}{spec[len(PREFIX) + len(path) :]}"


def load_tests(
    task: Task,
    tests: Mapping[str, str | Path | Task],
    *,
    columns: Columns,
    strict: bool,
    folder: Path = Path(),
    near: NearDuplicates = USUAL,
) -> tuple[Task, dict[str, Task]]:
    """The task without rows that stand in a further test set, and those sets with its classes.

    `folder` is what a relative path starts from.

    Raises:
        InputError: a reserved name, other classes, too many shared rows.
    """
    loaded: dict[str, Task] = {}
    task = with_test(task) if tests else task
    for name, spec in tests.items():
        if name in {"test", "weak", "transfer", "validation"}:
            raise InputError(f"--test {name}: this name is taken by the task's own rows, expected another")
        other = task_in(folder, spec, columns=columns, strict=strict, near=near)
        foreign = sorted(set(other.class_names) - set(task.class_names))
        if foreign:
            known = ", ".join(task.class_names)
            raise InputError(
                f"--test {name}: found classes {', '.join(foreign)}, expected those of {task.name}: {known}"
            )
        if (other.rows.others is None) != (task.rows.others is None):
            found = "single texts" if other.rows.others is None else "pairs"
            raise InputError(f"--test {name}: found {found}, expected the same kind of rows as {task.name}")
        task = without_overlap(task, other, name=name, strict=strict)
        task = without_resembling(task, other, name=name, near=near)
        place = [task.class_names.index(one) for one in other.class_names]
        labels = np.asarray(place, dtype=np.int64)[other.labels]
        loaded[name] = replace(other, labels=labels, class_names=task.class_names)
    return task, loaded
