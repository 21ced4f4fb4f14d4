"""Cutting a task: the test once per task, the rest anew for every seed, always by group and near the class shares."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from oversight.errors import InputError
from oversight.tasks.records import one_line
from oversight.tasks.task import Ints, Rows, Task

TEST_FRACTION = 0.25
PARTS: Mapping[str, float] = {"weak": 0.45, "transfer": 0.45, "validation": 0.10}
MIN_ROWS = 10
MOST_IN_ONE_GROUP = 0.5
BUY_BY = ("rows", "groups")


@dataclass(frozen=True)
class Seed:
    """The three sources of randomness of one run, kept apart so that each can be fixed.

    Attributes:
        split: cuts weak, transfer and validation rows (never the test).
        init: initial weights.
        order: order of rows in training.
    """

    kind: ClassVar[str] = "seed"

    split: int
    init: int
    order: int

    @classmethod
    def of(cls, seed: int, *, split: int | None = None, init: int | None = None, order: int | None = None) -> Seed:
        """All three equal to `seed`, but for those that are fixed.

        Example:
            >>> Seed.of(3, init=0)
            Seed(split=3, init=0, order=3)
        """
        fixed = (seed if part is None else part for part in (split, init, order))
        return cls(*fixed)


@dataclass(frozen=True, kw_only=True)
class Split:
    """Disjoint rows: what the supervisor, the student, every choice and the final score may see."""

    kind: ClassVar[str] = "split"

    weak: tuple[str, ...]
    transfer: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def cut_by_group(
    groups: Sequence[str], labels: Ints, shares: Sequence[float], *, seed: int | str, names: Sequence[str] | None = None
) -> Ints:
    """Cut rows into parts of given shares, whole groups at a time.

    Groups come in the order of a seeded hash of their name (or, with `names`, of their smallest row name), so a group's
    fate does not depend on the order of the file. Each goes to the part where it lowers
    sum_pc (n_pc - t_pc)^2 / t_pc most, n the rows of class c that part p has and t those it should have: shares of
    classes and of rows are kept as far as groups allow.

    Args:
        groups: n group names.
        labels: (n,) int classes; zeros where classes must not count.
        shares: the parts' fractions, summing to 1.
        seed: another seed, another cut.
        names: n row names; groups are then known by their content rather than by what they are called.

    Returns:
        (n,) int: the part of each row.
    """
    members = _groups_in_hash_order(groups, seed, names)
    n_classes = int(labels.max()) + 1 if len(labels) else 1
    totals = np.bincount(labels, minlength=n_classes).tolist()
    target = [[share * total for total in totals] for share in shares]
    have = [[0] * n_classes for _ in shares]
    part = np.zeros(len(groups), np.int64)
    classes = labels.tolist()
    for rows in members:
        if len(rows) == 1:  # as below, without counting to one
            c = classes[rows[0]]
            costs = [(2 * (own[c] - wanted[c]) + 1) / wanted[c] for own, wanted in zip(have, target, strict=True)]
            best = costs.index(min(costs))
            part[rows[0]] = best
            have[best][c] += 1
            continue
        counts: dict[int, int] = defaultdict(int)
        for i in rows:
            counts[classes[i]] += 1
        in_order = sorted(counts.items())  # sums of floats depend on it, and the order of the file must not count
        costs = [
            sum(g * (2 * (have[p][c] - target[p][c]) + g) / target[p][c] for c, g in in_order)
            for p in range(len(shares))
        ]
        best = min(range(len(shares)), key=costs.__getitem__)
        part[rows] = best
        for c, g in counts.items():
            have[best][c] += g
    return part


def _groups_in_hash_order(groups: Sequence[str], seed: int | str, names: Sequence[str] | None) -> list[list[int]]:
    """Positions of the rows of each group; the groups by the hash of their name or of their smallest row name."""
    members: dict[str, list[int]] = defaultdict(list)
    for i, group in enumerate(groups):
        members[group].append(i)
    known_by = {group: min(names[i] for i in rows) if names else group for group, rows in members.items()}
    order = sorted(members, key=lambda group: hashlib.sha256(f"{seed}:{known_by[group]}".encode()).digest())
    return [members[group] for group in order]


def buying_order(rows: Rows, *, seed: Seed, by: str) -> Ints:
    """(n,) positions of all rows in the order in which true labels of them are bought.

    By `rows`: each for itself, in the order of a seeded hash of its id. By `groups`: whole groups in the order of that
    hash of their smallest id, and the rows of one by their own. Either way the first 64 are among the first 256, and
    labels do not count.

    Args:
        rows: n rows.
        seed: whose cut they are of.
        by: one of BUY_BY.
    """
    text = f"buy {seed.split}"
    groups = rows.groups if by == "groups" else rows.ids

    def by_id(i: int) -> bytes:
        return hashlib.sha256(f"{text}:{rows.ids[i]}".encode()).digest()

    members = _groups_in_hash_order(groups, text, rows.ids)
    return np.array([i for group in members for i in sorted(group, key=by_id)], dtype=np.int64)


def split_task(task: Task, *, seed: int) -> Split:
    """Cut a task into weak, transfer, validation and test rows.

    The test is the given one, else a quarter of the rows cut by content hash, the same for every seed. Of the rest the
    weak and transfer parts get 45 % each, validation 10 %.

    Raises:
        InputError: too few rows or groups for every part to hold every class.
    """
    _check_groups(task)
    is_test = _test_mask(task)
    rest, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    part = cut_by_group(
        [task.rows.groups[i] for i in rest],
        task.labels[rest],
        list(PARTS.values()),
        seed=f"split {seed}",
        names=[task.rows.ids[i] for i in rest],
    )
    parts = {name: _ids(task, rest[part == p]) for p, name in enumerate(PARTS)}
    split = Split(**parts, test=_ids(task, test))
    _check_parts(task, split)
    return split


def with_test(task: Task) -> Task:
    """The task with its test set named: the given one, else the one that `split_task` cuts."""
    return task if task.is_test is not None else replace(task, is_test=_test_mask(task))


def hold_out(rows: Rows, classes: Ints, *, fraction: float = 0.1, seed: int) -> tuple[Ints, Ints]:
    """Positions of the kept and of the held-out rows, cut by group; neither is empty.

    Where every group is larger than the part to hold out, the smallest one is held out; a single group is cut by rows.

    Args:
        rows: n rows, at least two.
        classes: (n,) int, for the shares of classes.
        fraction: of the rows to hold out, in (0, 1).
        seed: of the cut.

    Raises:
        InputError: fewer than two rows.
    """
    if len(rows) < 2:
        raise InputError(f"found {len(rows)} rows to learn from, expected at least 2, so that some can be held out")
    shares, text = [1 - fraction, fraction], f"hold out {seed}"
    part = cut_by_group(rows.groups, classes, shares, seed=text, names=rows.ids)
    if part.min() == part.max():
        groups = rows.group_numbers()
        sizes = np.bincount(groups)
        part = (groups == sizes.argmin()).astype(np.int64)
        if len(sizes) == 1:
            part = (np.arange(len(rows)) % max(2, round(1 / fraction)) == 1).astype(np.int64)
    return np.flatnonzero(part == 0), np.flatnonzero(part == 1)


def limit(task: Task, *, n_train: int | None = None, n_test: int | None = None) -> Task:
    """The task with at most `n_train` rows outside and `n_test` rows inside its test set; whole groups in hash order.

    Raises:
        InputError: a number below 1, or below the size of every group.
    """
    for flag, n in (("--n-train", n_train), ("--n-test", n_test)):
        if n is not None and n < 1:
            raise InputError(f"{flag}: found {n}, expected at least 1")
    if n_train is None and n_test is None:
        return task
    named = with_test(task)
    is_test = _test_mask(named)
    train = _first_groups(task, np.flatnonzero(~is_test), n_train, flag="--n-train")
    test = _first_groups(task, np.flatnonzero(is_test), n_test, flag="--n-test")
    return named.take(np.sort(np.concatenate([train, test])))


def _first_groups(task: Task, index: Ints, most: int | None, *, flag: str) -> Ints:
    """Whole groups in hash order as long as they fit, first those that keep the class shares."""
    if most is None or len(index) <= most:
        return index
    groups, names = [task.rows.groups[i] for i in index], [task.rows.ids[i] for i in index]
    share = most / len(index)
    wanted = cut_by_group(groups, task.labels[index], [share, 1 - share], seed="limit", names=names) == 0
    members = _groups_in_hash_order(groups, "limit", names)
    kept: list[int] = []
    for rows in sorted(members, key=lambda rows: not wanted[rows[0]]):
        if len(kept) + len(rows) <= most:
            kept += rows
    if not kept:
        smallest = min(map(len, members))
        raise InputError(
            f"{flag}: found {most}, expected at least {smallest}: no group is smaller, and none is ever cut"
        )
    return index[np.sort(kept)]


def _test_mask(task: Task) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    if task.is_test is not None:
        return task.is_test
    part = cut_by_group(
        task.rows.groups, task.labels, [1 - TEST_FRACTION, TEST_FRACTION], seed="test", names=task.rows.ids
    )
    return part == 1


def _ids(task: Task, index: Iterable[int]) -> tuple[str, ...]:
    """Ids sorted, so that a part is a set: the order of the file does not reach training."""
    return tuple(sorted(task.rows.ids[i] for i in index))


def _check_groups(task: Task) -> None:
    names, counts = np.unique(np.asarray(task.rows.groups, dtype=object).astype(str), return_counts=True)
    largest = int(counts.argmax())
    if counts[largest] > MOST_IN_ONE_GROUP * len(task):
        raise InputError(
            f"{task.name}: group '{names[largest]}' holds {counts[largest]} of {len(task)} rows; "
            f"expected no group above {MOST_IN_ONE_GROUP:.0%}, since a group is never cut"
        )


def _check_parts(task: Task, split: Split) -> None:
    for name in (*PARTS, "test"):
        ids: tuple[str, ...] = getattr(split, name)
        found = np.bincount(task.truth(task.pick(ids)), minlength=task.n_classes) if ids else np.zeros(task.n_classes)
        least = 1 if name == "validation" else MIN_ROWS
        if len(ids) < least or (found == 0).any():
            counts = ", ".join(f"{one_line(c)}: {int(n)}" for c, n in zip(task.class_names, found, strict=True))
            raise InputError(
                f"{task.name}: too few rows for the split: the {name} part got {len(ids)} of {len(task)} rows "
                f"({counts}); expected at least {max(least, task.n_classes)} with every class in it"
            )
