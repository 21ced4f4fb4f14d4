"""Rows of a task that resemble each other: which they are, which of train resemble the test, which become groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from oversight.tasks.columns import normalised
from oversight.tasks.joining import MOST_SEARCHED, NearDuplicates, TakenApart, join
from oversight.tasks.near import Edges, similar_pairs
from oversight.tasks.records import one_line, shown
from oversight.tasks.task import Bools, Floats, Ints, Rows, Task

Key = tuple[str, str | None]
MOST_OVERLAP = 0.05
STEPS = 100


def content_keys(texts: Sequence[str], others: Sequence[str] | None) -> list[Key]:
    """n normalised contents; rows with equal keys are duplicates."""
    if others is None:
        return [(normalised(text), None) for text in texts]
    return [(normalised(text), normalised(other)) for text, other in zip(texts, others, strict=True)]


def row_keys(rows: Rows) -> list[Key]:
    """`content_keys` of rows."""
    return content_keys(rows.texts, rows.others)


@dataclass(frozen=True, kw_only=True)
class Resembling:
    """Near-duplicates among n rows.

    Attributes:
        which: (n,) the number of each row's content; equal where the contents are.
        edges: contents that resemble each other.
    """

    which: Ints
    edges: Edges

    def take(self, rows: Sequence[int]) -> Resembling:
        """Among these rows only."""
        which = self.which[np.asarray(rows, dtype=np.int64)]
        here = np.zeros(self.which.max() + 1, bool)
        here[which] = True
        return Resembling(which=which, edges=self.edges.where(here[self.edges.first] & here[self.edges.second]))

    def within(self, part: Bools) -> Resembling:
        """Without those between two parts; rows of equal content are in the same one."""
        of_content = self._by_content(part)
        return replace(self, edges=self.edges.where(of_content[self.edges.first] == of_content[self.edges.second]))

    def nearest_across(self, part: Bools) -> Floats:
        """(n,) how much each row resembles what it resembles most of the other part; 0 where nothing does."""
        of_content = self._by_content(part)
        most = np.zeros(len(of_content))
        across = self.edges.where(of_content[self.edges.first] != of_content[self.edges.second])
        np.maximum.at(most, across.first, across.similarity)
        np.maximum.at(most, across.second, across.similarity)
        return most[self.which]

    def first_rows(self) -> tuple[Ints, Ints]:
        """Of every edge the first row of each content."""
        place = np.zeros(self.which.max() + 1, np.int64)
        place[self.which[::-1]] = np.arange(len(self.which))[::-1]
        return place[self.edges.first], place[self.edges.second]

    def _by_content(self, part: Bools) -> Bools:
        found = np.zeros(self.which.max() + 1, bool)
        found[self.which] = part
        return found


def resembling(keys: Sequence[Key], near: NearDuplicates) -> tuple[Resembling | None, list[str]]:
    """Near-duplicates among rows with these normalised contents; None and a warning where they are not looked for."""
    if not near.searched(len(keys)):
        told = f"near-duplicates were not searched: {len(keys):,} rows, by default up to {MOST_SEARCHED:,} are searched"
        return None, [] if near.do == "ignore" else [told]
    contents = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    texts = [(text,) if other is None else (text, other) for text, other in contents]
    which = np.array([contents[key] for key in keys], dtype=np.int64)
    return Resembling(which=which, edges=similar_pairs(texts, at=near.at)), []


@dataclass(frozen=True, kw_only=True)
class Leak:
    """Rows to learn from that resemble test rows.

    Attributes:
        dropped: positions of those that must go.
        example: the row, of those to learn from, that resembles a test row most.
        told: how many test rows are resembled, and what follows.
    """

    dropped: Ints
    example: int
    told: str


def leak(
    found: Resembling, is_test: Bools, near: NearDuplicates, *, test: str = "test", task: str = "train"
) -> Leak | None:
    """The rows outside the test that resemble a test row; None where none does.

    Where more than 5 % of the test rows, or of the others, are concerned, rows are made from templates or the test
    leaks altogether. Then only those are dropped that resemble a test row at the lowest higher similarity, in
    hundredths, at which it is no more than that.
    """
    nearest = found.nearest_across(is_test)
    n_test = int(is_test.sum())
    met = int((nearest[is_test] > 0).sum())
    if not met:
        return None
    example = int(np.argmax(np.where(is_test, -1.0, nearest)))
    said = f"{met} of {n_test} rows of {test} resemble a row of {task} (3-grams, Jaccard at least {near.at:g})"
    if near.do == "warn":
        return Leak(dropped=np.empty(0, np.int64), example=example, told=f"{said}: none dropped")
    at = next(
        step / STEPS
        for step in range(int(near.at * STEPS), STEPS + 2)
        if all((nearest[part] >= max(step / STEPS, near.at)).mean() <= MOST_OVERLAP for part in (is_test, ~is_test))
        or step > STEPS
    )
    dropped = np.flatnonzero(~is_test & (nearest >= max(at, near.at)))
    gone = f"{_rows(len(dropped))} dropped from {task}"
    if at > near.at:
        above = f"only at {at:.2f} and above" if at <= 1 else "none"
        gone = f"more than {MOST_OVERLAP:.0%}, so {above} ({gone}): rows are made from templates, or the test leaks"
    return Leak(dropped=dropped, example=example, told=f"{said}: {gone}")


def without_resembling(task: Task, other: Task, *, name: str, near: NearDuplicates) -> Task:
    """Drop from `task` its rows outside the test that resemble rows of `other`, a further test set; see `leak`.

    Args:
        task: the task whose rows will be learned from.
        other: rows that must not be learned from.
        name: what the user called `other`.
        near: what is done about near-duplicates.
    """
    outside = np.arange(len(task)) if task.is_test is None else np.flatnonzero(~task.is_test)
    keys = row_keys(task.rows)
    found, told = resembling([*(keys[i] for i in outside), *row_keys(other.rows)], near)
    if found is None:
        return replace(task, warnings=(*task.warnings, *told))
    is_test = np.arange(len(outside) + len(other)) >= len(outside)
    leaked = leak(found, is_test, near, test=f"test '{one_line(name)}'", task="the task")
    if leaked is None:
        return task
    kept = np.setdiff1d(np.arange(len(task)), outside[leaked.dropped])
    example = shown(task.rows.texts[outside[leaked.example]])
    return task.take(kept, warnings=[f"{leaked.told}, e.g. {example}"])


def joined_groups(
    groups: Sequence[str], found: Resembling, near: NearDuplicates
) -> tuple[list[str], int | None, list[str]]:
    """n group names after near-duplicates were joined, each the smallest of the names that were united.

    Returns:
        The names, the position of a row that resembles another (None = none does), and what is to be told.
    """
    if not len(found.edges):
        return list(groups), None, []
    names, numbers = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    first, second = found.first_rows()
    edges = Edges(first=first, second=second, similarity=found.edges.similarity)
    touched = np.isin(found.which, np.concatenate([found.edges.first, found.edges.second]))
    said = (
        f"{int(touched.sum()):,} of {_rows(len(groups))} resemble another one (3-grams, Jaccard at least {near.at:g})"
    )
    example = int(np.argmax(touched))
    if near.do == "warn":
        return list(groups), example, [f"{said}: not joined"]
    made = join(numbers.astype(np.int64), edges)
    least: dict[int, str] = {}
    for number, name in zip(made.groups.tolist(), groups, strict=True):
        least[number] = min(name, least.get(number, name))
    result = f"{len(names):,} groups joined into {len(least):,}" if len(least) < len(names) else "none joined"
    return [least[number] for number in made.groups.tolist()], example, [f"{said}: {result}", *_apart(made.apart)]


def _apart(apart: Sequence[TakenApart]) -> list[str]:
    if not apart:
        return []
    largest = apart[0]
    how = "its rows stay single" if largest.at is None else f"its rows are joined from {largest.at:.2f} on"
    more = f"; so were {len(apart) - 1} more" if len(apart) > 1 else ""
    return [f"a joined group of {largest.n_rows:,} rows is no group but a chain or a template: {how}{more}"]


def _rows(n: int) -> str:
    return "1 row" if n == 1 else f"{n:,} rows"
