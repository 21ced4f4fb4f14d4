"""Which tasks are variants of each other and therefore count as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from oversight.tasks.task import Task

SHARED_ROWS = 0.01


def short_name(task: str) -> str:
    """The last part of a path, without its ending; any other name as it is."""
    return PurePath(task).name.split(".")[0] if "/" in task and ":" not in task else task


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
    first, second = sorted((short_name(one.name), short_name(other.name)), key=len)
    if second.startswith(f"{first}_"):
        return True
    shared = len(set(one.rows.texts) & set(other.rows.texts))
    return shared > SHARED_ROWS * min(len(one), len(other))
