"""Which tasks are variants of each other and therefore count as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from oversight.tasks.task import Task

SHARED_ROWS = 0.01
ENDINGS = {".jsonl", ".csv", ".parquet", ".gz"}


def short_name(task: str) -> str:
    """The last part of a path, without the ending of a data file; a name of the Hub as it is.

    Example:
        >>> short_name("../data/pears.jsonl.gz"), short_name("hf:org/name")
        ('pears', 'hf:org/name')
    """
    path = PurePath(task)
    if ":" in task:
        return task
    while path.suffix in ENDINGS:
        path = path.with_suffix("")
    return path.name


def short_names(tasks: Sequence[str]) -> dict[str, str]:
    """By task, its short name where no other has the same, else the whole."""
    found = {task: short_name(task) for task in tasks}
    return {task: name if list(found.values()).count(name) == 1 else task for task, name in found.items()}


def families_of(tasks: Sequence[Task], given: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """By the name of each task, its family, called after its first member.

    Two tasks are of one family where somebody says so, where the name of one goes on from the other's after `_`
    (`imdb` and `imdb_cf`), or where more than a hundredth of the rows of the smaller stand in both.

    Args:
        tasks: in the order of the leaderboard.
        given: by name of the family, names of tasks.
    """
    family = {task.name: task.name for task in tasks}
    for i, one in enumerate(tasks):
        for other in tasks[:i]:
            if _twins(one, other) or any(one.name in some and other.name in some for some in given.values()):
                old, new = family[one.name], family[other.name]
                family = {name: new if own == old else own for name, own in family.items()}
    called = {family[member]: name for name, some in given.items() for member in some if member in family}
    return {name: called.get(own, short_name(own)) for name, own in family.items()}


def _twins(one: Task, other: Task) -> bool:
    if one.question_of is not None and one.question_of == other.question_of:
        return False  # questions of a set are pooled over questions, whose spread holds what they share
    first, second = sorted((short_name(one.name), short_name(other.name)), key=len)
    if second.startswith(f"{first}_"):
        return True
    shared = len(set(one.rows.texts) & set(other.rows.texts))
    return shared > SHARED_ROWS * min(len(one), len(other))
