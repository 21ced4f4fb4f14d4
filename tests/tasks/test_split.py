"""Cutting a task: by group, near the class shares, the test once, the rest by seed, whatever the order of the file."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from oversight.errors import InputError
from oversight.tasks.split import (
    PARTS,
    TEST_FRACTION,
    Seed,
    Split,
    cut_by_group,
    hold_out,
    limit,
    split_task,
    with_test,
)
from oversight.tasks.task import Ints, Rows, Task, content_id

NAMES = tuple(field.name for field in fields(Split))


def make_task(
    groups: list[int], labels: list[int], *, name: str = "t", prefix: str = "g", is_test: list[bool] | None = None
) -> Task:
    texts = tuple(f"row {i} of group {group}" for i, group in enumerate(groups))
    return Task(
        name=name,
        rows=Rows(ids=tuple(map(content_id, texts)), texts=texts, groups=tuple(f"{prefix}{group}" for group in groups)),
        labels=np.array(labels, np.int64),
        class_names=tuple(f"c{j}" for j in range(max(labels) + 1)),
        is_test=None if is_test is None else np.array(is_test),
    )


def random_task(seed: int, *, n_groups: int = 120, largest: int = 8, k: int = 2) -> Task:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), rng.integers(1, largest + 1, n_groups))
    return make_task(groups.tolist(), [*range(k), *rng.integers(0, k, len(groups) - k).tolist()])


def task_of(seed: int) -> Task:
    """60 to 90 groups of 1 to 9 rows in 2 to 4 classes, all from one number."""
    rng = np.random.default_rng(seed)
    return random_task(seed, n_groups=int(rng.integers(60, 91)), largest=9, k=int(rng.integers(2, 5)))


TASK_SEEDS = st.integers(0, 2**20)


def parts_of(split: Split) -> dict[str, set[str]]:
    return {name: set(getattr(split, name)) for name in NAMES}


def groups_in(task: Task, ids: set[str]) -> set[str]:
    return {task.rows.groups[task.rows.position[row_id]] for row_id in ids}


@given(TASK_SEEDS, st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_every_row_is_in_exactly_one_part(task_seed: int, seed: int) -> None:
    task = task_of(task_seed)
    split = split_task(task, seed=seed)
    assert sorted(row_id for name in NAMES for row_id in getattr(split, name)) == sorted(task.rows.ids)


@given(TASK_SEEDS, st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_no_group_stands_in_two_parts(task_seed: int, seed: int) -> None:
    task = task_of(task_seed)
    found = [groups_in(task, ids) for ids in parts_of(split_task(task, seed=seed)).values()]
    assert sum(map(len, found)) == len(set.union(*found))


@given(TASK_SEEDS, st.integers(0, 50), st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_the_test_is_the_same_for_every_seed(task_seed: int, one: int, other: int) -> None:
    task = task_of(task_seed)
    assert split_task(task, seed=one).test == split_task(task, seed=other).test


@example(75701, 0, 0)  # a sum over the classes of a group in the order in which they came
@given(TASK_SEEDS, st.integers(0, 50), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_order_of_the_file_changes_no_part(task_seed: int, seed: int, shuffle: int) -> None:
    task = task_of(task_seed)
    shuffled = task.take(np.random.default_rng(shuffle).permutation(len(task)))
    assert split_task(shuffled, seed=seed) == split_task(task, seed=seed)


def test_what_task_and_groups_are_called_changes_no_part() -> None:
    task = random_task(0)
    groups = [int(group[1:]) for group in task.rows.groups]
    renamed = make_task(groups, task.labels.tolist(), name="elsewhere/data.csv", prefix="zz-")
    assert split_task(renamed, seed=3) == split_task(task, seed=3)


def test_another_seed_cuts_another_way() -> None:
    task = random_task(1)
    assert len({split_task(task, seed=seed).weak for seed in range(5)}) == 5


@given(TASK_SEEDS, st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_shares_are_kept_to_within_two_of_the_largest_groups(task_seed: int, seed: int) -> None:
    """Greedy in hash order: a part overshoots by at most the group that came last, the others make up for it."""
    task = task_of(task_seed)
    largest = max(Counter(task.rows.groups).values())
    parts = parts_of(split_task(task, seed=seed))
    assert abs(len(parts["test"]) - TEST_FRACTION * len(task)) <= 2 * largest
    rest = len(task) - len(parts["test"])
    for name, share in PARTS.items():
        assert abs(len(parts[name]) - share * rest) <= 2 * largest, name


@pytest.mark.parametrize("n", [400, 401, 1000, 1237])
def test_without_groups_shares_are_exact_to_two_rows_per_class(n: int) -> None:
    """Every row its own group, k = 2: each class is cut on its own, off by less than a row in each of two cuts."""
    labels = np.random.default_rng(n).integers(0, 2, n).tolist()
    split = split_task(make_task(list(range(n)), labels), seed=0)
    wanted = {"test": 0.25 * n} | {name: 0.75 * n * share for name, share in PARTS.items()}
    for name in NAMES:
        assert abs(len(getattr(split, name)) - wanted[name]) <= 4, name


@pytest.mark.parametrize("seed", range(4))
def test_without_groups_every_part_has_the_class_shares_of_the_whole(seed: int) -> None:
    """40:30:20:10 of 1000 rows: a class of share p in a part of m rows is off by at most two rows."""
    labels = np.random.default_rng(seed).permutation(np.repeat([0, 1, 2, 3], [400, 300, 200, 100]))
    task = make_task(list(range(1000)), labels.tolist())
    split = split_task(task, seed=seed)
    for name in NAMES:
        ids = getattr(split, name)
        counts = np.bincount(task.truth(task.pick(ids)), minlength=4)
        assert np.abs(counts - np.array([0.4, 0.3, 0.2, 0.1]) * len(ids)).max() <= 3, (name, counts)


@pytest.mark.parametrize("seed", range(4))
def test_with_groups_class_shares_stay_within_five_points(seed: int) -> None:
    task = random_task(seed, n_groups=300)
    whole = task.labels.mean()
    split = split_task(task, seed=seed)
    for name in ("weak", "transfer", "test"):
        assert abs(task.truth(task.pick(getattr(split, name))).mean() - whole) < 0.05, name


def test_exact_duplicates_never_straddle_parts() -> None:
    """Loading gives duplicates one group; here half of all rows stand there twice."""
    n = 300
    task = make_task([i % n for i in range(2 * n)], [i % 2 for i in range(2 * n)])
    for seed in range(3):
        for ids in parts_of(split_task(task, seed=seed)).values():
            assert set(Counter(task.pick(sorted(ids)).groups).values()) <= {2}


def test_a_given_test_is_used_as_it_is() -> None:
    rng = np.random.default_rng(5)
    is_test = rng.random(200) < 0.4
    task = make_task(list(range(200)), rng.integers(0, 2, 200).tolist(), is_test=is_test.tolist())
    split = split_task(task, seed=1)
    assert set(split.test) == {task.rows.ids[i] for i in np.flatnonzero(is_test)}


def test_with_a_given_test_all_of_train_is_shared_out() -> None:
    rng = np.random.default_rng(6)
    is_test = [i < 50 for i in range(250)]
    split = split_task(make_task(list(range(250)), rng.integers(0, 2, 250).tolist(), is_test=is_test), seed=0)
    assert [len(split.weak), len(split.transfer), len(split.validation)] == pytest.approx([90, 90, 20], abs=3)


def test_naming_the_test_changes_no_part() -> None:
    task = random_task(7)
    assert split_task(with_test(task), seed=4) == split_task(task, seed=4)


def check_cut(
    found: Ints, groups: list[str], labels: Ints, shares: list[float], *, seed: str, names: list[str]
) -> None:
    """The definition, the whole objective computed anew for every choice; of equal ones (to rounding) any will do."""
    n_classes = int(labels.max()) + 1
    total = [int((labels == c).sum()) for c in range(n_classes)]

    def objective(part: dict[int, int]) -> float:
        value = 0.0
        for p, share in enumerate(shares):
            for c in range(n_classes):
                if total[c]:
                    n_pc = sum(part[i] == p and labels[i] == c for i in part)
                    value += (n_pc - share * total[c]) ** 2 / (share * total[c])
        return value

    def place(group: str) -> bytes:
        first = min(names[i] for i in range(len(groups)) if groups[i] == group)
        return hashlib.sha256(f"{seed}:{first}".encode()).digest()

    part: dict[int, int] = {}
    for group in sorted(set(groups), key=place):
        rows = [i for i in range(len(groups)) if groups[i] == group]
        trials = [objective(part | dict.fromkeys(rows, p)) for p in range(len(shares))]
        (chosen,) = set(found[rows].tolist())
        assert trials[chosen] <= min(trials) + 1e-9, (group, trials)
        part |= dict.fromkeys(rows, chosen)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2)), min_size=3, max_size=24), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_each_group_goes_where_the_stated_sum_ends_lowest(rows: list[tuple[int, int]], seed: int) -> None:
    """Against the definition; shares of parts differ, so that a wrong choice costs something."""
    groups, labels = [f"g{group}" for group, _ in rows], np.array([label for _, label in rows])
    names = [f"{i:03d}" for i in range(len(rows))]
    shares = [0.47, 0.31, 0.22]
    found = cut_by_group(groups, labels, shares, seed=f"s{seed}", names=names)
    check_cut(found, groups, labels, shares, seed=f"s{seed}", names=names)


@pytest.mark.parametrize("size", [100, 250, 340])
def test_a_large_group_below_the_limit_leaves_every_part_usable(size: int) -> None:
    """700 rows, one group of `size`: it lies in one part whole, and the others keep both classes."""
    groups = [0] * size + list(range(1, 701 - size))
    task = make_task(groups, [i % 2 for i in range(700)])
    for seed in range(5):
        parts = parts_of(split_task(task, seed=seed))
        assert sum("g0" in groups_in(task, ids) for ids in parts.values()) == 1
        assert all(set(task.truth(task.pick(sorted(ids))).tolist()) == {0, 1} for ids in parts.values())


@given(TASK_SEEDS, st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_hold_out_cuts_all_rows_by_group_into_two(task_seed: int, seed: int) -> None:
    task = task_of(task_seed)
    kept, held = hold_out(task.rows, task.labels, seed=seed)
    assert sorted([*kept, *held]) == list(range(len(task)))
    assert not {task.rows.groups[i] for i in kept} & {task.rows.groups[i] for i in held}


@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_hold_out_holds_out_the_fraction_of_each_class(fraction: float) -> None:
    task = make_task(list(range(400)), [int(i < 100) for i in range(400)])
    _, held = hold_out(task.rows, task.labels, fraction=fraction, seed=0)
    assert np.bincount(task.labels[held]).tolist() == pytest.approx([300 * fraction, 100 * fraction], abs=1)


def test_the_held_out_rows_are_the_same_in_any_order() -> None:
    task = random_task(3)
    shuffled = task.take(np.random.default_rng(0).permutation(len(task)))
    held = [{one.rows.ids[i] for i in hold_out(one.rows, one.labels, seed=2)[1]} for one in (task, shuffled)]
    assert held[0] == held[1]


@given(TASK_SEEDS, st.integers(9, 200), st.integers(9, 100))
@settings(max_examples=40, deadline=None)
def test_limit_never_keeps_more_rows_than_asked(task_seed: int, n_train: int, n_test: int) -> None:
    task = task_of(task_seed)
    small = limit(task, n_train=n_train, n_test=n_test)
    assert small.is_test is not None
    assert (~small.is_test).sum() <= n_train
    assert small.is_test.sum() <= n_test


@given(TASK_SEEDS, st.integers(30, 200))
@settings(max_examples=30, deadline=None)
def test_limit_comes_as_near_as_whole_groups_allow(task_seed: int, n_train: int) -> None:
    task = task_of(task_seed)
    small = limit(task, n_train=n_train)
    before = with_test(task)
    assert small.is_test is not None and before.is_test is not None
    largest = max(Counter(task.rows.groups).values())
    assert (~small.is_test).sum() > min(n_train, (~before.is_test).sum()) - largest


@given(TASK_SEEDS, st.integers(20, 200), st.integers(10, 100))
@settings(max_examples=30, deadline=None)
def test_limit_keeps_groups_whole(task_seed: int, n_train: int, n_test: int) -> None:
    task = task_of(task_seed)
    whole = Counter(task.rows.groups)
    small = Counter(limit(task, n_train=n_train, n_test=n_test).rows.groups)
    assert all(whole[group] == n for group, n in small.items())


def test_limit_takes_its_test_rows_from_the_test_of_the_whole_task() -> None:
    task = random_task(9)
    small = limit(task, n_train=150, n_test=60)
    assert set(split_task(small, seed=0).test) <= set(split_task(task, seed=0).test)


def test_limiting_the_train_rows_leaves_the_test_as_it_was() -> None:
    task = random_task(10)
    assert split_task(limit(task, n_train=150), seed=0).test == split_task(task, seed=0).test


def test_limit_keeps_the_same_rows_whatever_the_order_of_the_file() -> None:
    task = random_task(11)
    shuffled = task.take(np.random.default_rng(1).permutation(len(task)))
    kept = [set(limit(one, n_train=100, n_test=40).rows.ids) for one in (task, shuffled)]
    assert kept[0] == kept[1]


def test_limit_keeps_the_class_shares() -> None:
    task = make_task(list(range(1000)), [int(i < 300) for i in range(1000)])
    small = limit(task, n_train=100, n_test=50)
    assert small.is_test is not None
    assert np.bincount(small.labels[~small.is_test]).tolist() == pytest.approx([70, 30], abs=1)


def test_a_limit_above_what_there_is_changes_nothing() -> None:
    task = random_task(12)
    assert set(limit(task, n_train=10**6, n_test=10**6).rows.ids) == set(task.rows.ids)


def one_line(task: Task) -> str:
    with pytest.raises(InputError) as caught:
        split_task(task, seed=0)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("n", [0, -3])
def test_a_limit_below_one_names_its_flag_and_value(n: int) -> None:
    with pytest.raises(InputError) as caught:
        limit(random_task(0), n_test=n)
    assert str(caught.value) == f"--n-test: found {n}, expected at least 1"


def test_a_limit_below_every_group_says_how_large_the_smallest_is() -> None:
    with pytest.raises(InputError) as caught:
        limit(make_task([i // 3 for i in range(300)], [i % 2 for i in range(300)]), n_train=2)
    assert str(caught.value) == "--n-train: found 2, expected at least 3: no group is smaller, and none is ever cut"


def test_a_group_that_holds_everything_is_named_with_its_size() -> None:
    line = one_line(make_task([0] * 100, [i % 2 for i in range(100)], name="file.csv"))
    assert line == (
        "file.csv: group 'g0' holds 100 of 100 rows; expected no group above 50%, since a group is never cut"
    )


def test_a_group_of_exactly_half_is_not_refused_for_its_size() -> None:
    groups = [0] * 200 + list(range(1, 201))
    assert len(split_task(make_task(groups, [i % 2 for i in range(400)]), seed=0).test) >= 10


def test_too_few_rows_say_which_part_got_how_many() -> None:
    line = one_line(make_task(list(range(12)), [i % 2 for i in range(12)], name="tiny.jsonl"))
    assert line.startswith("tiny.jsonl: too few rows for the split: the weak part got 4 of 12 rows (c0: 2, c1: 2)")
    assert line.endswith("expected at least 10 with every class in it")


def test_a_class_that_a_part_lacks_is_shown_with_its_zero() -> None:
    line = one_line(make_task(list(range(200)), [int(i == 0) for i in range(200)]))
    assert "c1: 0)" in line and "too few rows for the split" in line


def test_a_class_that_a_given_test_lacks_is_an_error_of_the_test_part() -> None:
    is_test = [i < 50 for i in range(200)]
    line = one_line(make_task(list(range(200)), [0] * 50 + [i % 2 for i in range(150)], is_test=is_test))
    assert "the test part got 50 of 200 rows (c0: 50, c1: 0)" in line


@pytest.mark.parametrize("fixed", ["split", "init", "order"])
def test_each_of_the_three_seeds_can_be_fixed_alone(fixed: str) -> None:
    seeds = [Seed.of(seed, **{fixed: 7}) for seed in range(3)]
    for part in ("split", "init", "order"):
        assert [getattr(seed, part) for seed in seeds] == ([7, 7, 7] if part == fixed else [0, 1, 2])
