"""Records become a task: overlap of train and test, classes, groups and ids, each independent of the order of rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np

from oversight.tasks.columns import PAIR_CLASSES, Cells, Columns, candidate_groups, classes, read_cells
from oversight.tasks.joining import USUAL, NearDuplicates
from oversight.tasks.records import Records, bad, one_line, shown
from oversight.tasks.resembling import (
    MOST_OVERLAP,
    Key,
    Resembling,
    content_keys,
    joined_groups,
    leak,
    resembling,
    row_keys,
)
from oversight.tasks.task import Rows, Task, content_id

NAMED = 3

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class _Table:
    """All rows of a task, train before test, before they have ids.

    Attributes:
        places: n times `file:row`.
        keys: n normalised contents; rows with equal keys are duplicates.
        labels: n integers or strings.
    """

    places: list[str]
    keys: list[Key]
    texts: list[str]
    others: list[str] | None
    labels: list[int | str]
    groups: list[str] | None
    difficulty: list[str] | None
    is_test: list[bool]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Sequence[int]) -> _Table:
        """The rows at these positions."""

        columns: dict[str, Any] = {column.name: getattr(self, column.name) for column in fields(self)}
        return _Table(**{name: held and [held[i] for i in indices] for name, held in columns.items()})


def build_task(
    name: str,
    records_train: Records,
    records_test: Records | None,
    *,
    columns: Columns,
    strict: bool,
    source: str,
    near: NearDuplicates = USUAL,
) -> Task:
    """Make a task of the records of one file, or of a train and a test file.

    Rows of train whose text also stands in test are dropped and counted in the task's warnings; near-duplicates are
    joined into groups, and those of test rows dropped from train.

    Args:
        name: what the user called the task.
        records_train: the rows to learn from, or all rows.
        records_test: the given test, or None.
        columns: what the user named; the rest is found.
        strict: whether any overlap of train and test is an error.
        source: where the rows are from.
        near: what is done about near-duplicates.

    Raises:
        InputError: a row or column is bad, or train and test overlap by more than 5 % of the test.
    """
    parts = [read_cells(part, columns) for part in (records_train, records_test) if part is not None]
    _check_alike(parts)
    candidates = [] if parts[0].groups else candidate_groups(parts, columns)
    warnings = [f"no group column named; candidates: {', '.join(candidates)}"] if candidates else []
    table, overlap = _drop_overlap(_table(parts, classes(parts)), strict=strict)
    warnings += overlap
    found, told = resembling(table.keys, near)
    warnings += told
    if found is not None and records_test is not None:
        table, found, told = _drop_resembling(table, found, near)
        warnings += told
    if records_test is not None:
        _check_test_classes(table)
    names = sorted(set(table.labels), key=_class_order)
    contents = _contents(table)
    groups = _groups(table, contents)
    if found is not None:
        groups, example, told = joined_groups(groups, found, near)
        warnings += _with_example(told, table, example)
    warnings += _shared_groups(table, groups) + _conflicts(table)
    index = {value: i for i, value in enumerate(names)}
    labels = [index[value] for value in table.labels] if table.others is None else [int(v) for v in table.labels]
    return Task(
        name=name,
        rows=Rows(
            ids=_ids(table, contents, labels),
            texts=tuple(table.texts),
            groups=tuple(groups),
            others=None if table.others is None else tuple(table.others),
        ),
        labels=np.array(labels, np.int64),
        class_names=tuple(map(str, names)) if table.others is None else PAIR_CLASSES,
        is_test=None if records_test is None else np.array(table.is_test, np.bool_),
        difficulty=None if table.difficulty is None else tuple(table.difficulty),
        source=source,
        grouped=table.groups is not None,
        warnings=tuple(warnings),
    )


def without_overlap(task: Task, other: Task, *, name: str, strict: bool) -> Task:
    """Drop from `task` its rows outside the test that also stand in `other`, a further test set.

    Where the task has no given test, all its rows count as outside the test.

    Args:
        task: the task whose rows will be learned from.
        other: rows that must not be learned from.
        name: what the user called `other`.
        strict: whether any overlap is an error.

    Raises:
        InputError: they overlap by more than 5 % of the rows of `other`, or by all rows of the task.
    """
    ours, theirs = row_keys(task.rows), row_keys(other.rows)
    outside = np.ones(len(task), bool) if task.is_test is None else ~task.is_test
    shared = set(theirs) & {key for key, free in zip(ours, outside, strict=True) if free}
    if not shared:
        return task
    dropped = [i for i, key in enumerate(ours) if outside[i] and key in shared]
    n_other = sum(key in shared for key in theirs)
    examples = _named(shown(task.rows.texts[i]) for i in dropped)
    met = f"{n_other} of {len(theirs)} rows of test '{one_line(name)}'"
    too_many = n_other > MOST_OVERLAP * len(theirs)
    if strict or too_many or len(dropped) == outside.sum():
        raise bad(task.name, found=f"{met} outside its own test too ({examples})", expected=_allowed(strict))
    kept = np.setdiff1d(np.arange(len(task)), dropped)
    warning = f"{met} also stand in the task: {_count(len(dropped), 'row')} dropped from the task ({examples})"
    return task.take(kept, warnings=[warning])


def _check_alike(parts: Sequence[Cells]) -> None:
    """Train and test must both be pairs or both be texts, and agree on which optional columns there are."""
    train, test = parts[0], parts[-1]
    if (train.others is None) != (test.others is None):
        have = ["texts with labels" if part.others is None else "preference pairs" for part in parts]
        raise bad(test.records.file, found=have[1], expected=f"{have[0]} as in {one_line(train.records.file)}")
    for column in ("group", "difficulty"):
        held = [getattr(part, "groups" if column == "group" else column) is not None for part in (train, test)]
        if held[0] != held[1]:
            lacks, has = (test, train) if held[0] else (train, test)
            expected = f"one as in {one_line(has.records.file)}"
            raise bad(lacks.records.file, found=f"no column for the {column}", expected=expected)


def _joined(columns: Iterable[list[T] | None]) -> list[T] | None:
    lists = [column for column in columns if column is not None]
    return [value for column in lists for value in column] if lists else None


def _table(parts: Sequence[Cells], labels: Sequence[list[int | str]]) -> _Table:
    texts = [text for part in parts for text in part.texts]
    others = _joined(part.others for part in parts)
    return _Table(
        places=[one_line(part.records.at(i)) for part in parts for i in range(len(part.texts))],
        keys=content_keys(texts, others),
        texts=texts,
        others=others,
        labels=[label for part in labels for label in part],
        groups=_joined(part.groups for part in parts),
        difficulty=_joined(part.difficulty for part in parts),
        is_test=[p > 0 for p, part in enumerate(parts) for _ in part.texts],
    )


def _drop_overlap(table: _Table, *, strict: bool) -> tuple[_Table, list[str]]:
    """The table without the train rows that also stand in test, and the warning that says so."""
    in_train = {key for key, test in zip(table.keys, table.is_test, strict=True) if not test}
    n_test = sum(table.is_test)
    shared = [i for i, key in enumerate(table.keys) if table.is_test[i] and key in in_train]
    if not shared:
        return table, []
    keys = {table.keys[i] for i in shared}
    dropped = [i for i, key in enumerate(table.keys) if not table.is_test[i] and key in keys]
    met = f"{len(shared)} of {n_test} test rows"
    file = table.places[dropped[0]].rpartition(":")[0]
    rows = "row" if len(dropped) == 1 else "rows"
    examples = f"{rows} {_named(table.places[i].rpartition(':')[2] for i in dropped)}"
    if strict or len(shared) > MOST_OVERLAP * n_test:
        raise bad(file, found=f"{met} here too ({examples})", expected=_allowed(strict))
    gone = set(dropped)
    kept = table.take([i for i in range(len(table)) if i not in gone])
    return kept, [f"{met} also stand in train: {_count(len(dropped), 'row')} dropped from train ({examples} of {file})"]


def _drop_resembling(table: _Table, found: Resembling, near: NearDuplicates) -> tuple[_Table, Resembling, list[str]]:
    """The table without the train rows that resemble test rows, its near-duplicates part by part, and the warning."""
    is_test = np.array(table.is_test, bool)
    leaked = leak(found, is_test, near)
    if leaked is None:
        return table, found.within(is_test), []
    gone = set(leaked.dropped.tolist())
    kept = [i for i in range(len(table)) if i not in gone]
    told = f"{leaked.told}, e.g. {table.places[leaked.example]}"
    return table.take(kept), found.within(is_test).take(kept), [told]


def _with_example(told: Sequence[str], table: _Table, example: int | None) -> list[str]:
    """The first warning names a row."""
    return [
        f"{line}, e.g. {table.places[example]}" if i == 0 and example is not None else line
        for i, line in enumerate(told)
    ]


def _allowed(strict: bool) -> str:
    return "none (--strict)" if strict else f"at most {MOST_OVERLAP:.0%} of the test rows"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _named(names: Iterable[str]) -> str:
    """The first three names, and dots where there are more."""
    several = list(names)
    return ", ".join(several[:NAMED]) + (", ..." if len(several) > NAMED else "")


def _class_order(value: int | str) -> tuple[int, str]:
    return (value, "") if isinstance(value, int) else (0, value)


def _check_test_classes(table: _Table) -> None:
    """Every class of the test must stand in train."""
    if table.others is not None:
        return
    in_train = {label for label, test in zip(table.labels, table.is_test, strict=True) if not test}
    for i, label in enumerate(table.labels):
        if label not in in_train:
            known = ", ".join(str(value) for value in sorted(in_train, key=_class_order)[:12])
            found = f"the label {shown(label)}, which no row of train has"
            raise bad(table.places[i], found=found, expected=f"a class of train ({known})")


def _groups(table: _Table, contents: Sequence[str]) -> list[str]:
    """n group names; rows with equal keys share a group.

    Without a group column the group is the smallest content id of the duplicates; with one, groups that share a
    duplicate are united under the smallest of their names.
    """
    if table.groups is None:
        smallest: dict[Key, str] = {}
        for key, content in zip(table.keys, contents, strict=True):
            smallest[key] = min(content, smallest.get(key, content))
        return [smallest[key] for key in table.keys]
    parent = {group: group for group in table.groups}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    first: dict[Key, str] = {}
    for key, group in zip(table.keys, table.groups, strict=True):
        low, high = sorted((root(first.setdefault(key, group)), root(group)))
        parent[high] = low
    return [root(group) for group in table.groups]


def _contents(table: _Table) -> list[str]:
    if table.others is None:
        return [content_id(text) for text in table.texts]
    return [content_id(text, other) for text, other in zip(table.texts, table.others, strict=True)]


def _shared_groups(table: _Table, groups: Sequence[str]) -> list[str]:
    """The warning that named groups stand in both train and test."""
    if table.groups is None:
        return []
    train, test = ({g for g, t in zip(groups, table.is_test, strict=True) if t == part} for part in (False, True))
    both = sorted(train & test)
    if not both:
        return []
    return [f"{len(both)} of {_count(len(test), 'test group')} also stand in train ({_named(map(shown, both))})"]


def _conflicts(table: _Table) -> list[str]:
    """The warning that duplicates have different labels."""
    first: dict[Key, int] = {}
    differ: dict[Key, tuple[int, int]] = {}
    for i, key in enumerate(table.keys):
        j = first.setdefault(key, i)
        if table.labels[i] != table.labels[j]:
            differ.setdefault(key, (j, i))
    if not differ:
        return []
    where = " and ".join(f"{table.places[i]} ({one_line(table.labels[i])})" for i in next(iter(differ.values())))
    noun = "text stands" if len(differ) == 1 else "texts stand"
    return [f"{len(differ)} {noun} there with different labels, e.g. {where}"]


def _ids(table: _Table, contents: Sequence[str], labels: Sequence[int]) -> tuple[str, ...]:
    """Content ids; the second and later copies end in `#1`, `#2`, counted in an order that the file has no part in."""
    ids = list(contents)
    copies: dict[str, list[int]] = defaultdict(list)
    for i, content in enumerate(contents):
        copies[content].append(i)
    names = table.difficulty or [""] * len(ids)
    for content, rows in copies.items():
        ordered = sorted(rows, key=lambda i: (table.is_test[i], labels[i], names[i]))
        for j, i in enumerate(ordered[1:], 1):
            ids[i] = f"{content}#{j}"
    return tuple(ids)
