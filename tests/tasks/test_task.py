"""The nouns: what rows, labels and tasks promise to everybody who joins them."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.tasks.task import Labels, Rows, Task, content_id

TEXTS = st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=12, unique=True)


def rows_of(texts: list[str]) -> Rows:
    ids = tuple(content_id(text) for text in texts)
    return Rows(ids=ids, texts=tuple(texts), groups=ids)


def task_of(texts: list[str], labels: list[int], *, name: str = "t", n_classes: int = 2) -> Task:
    return Task(
        name=name,
        rows=rows_of(texts),
        labels=np.array(labels, np.int64),
        class_names=tuple(f"c{j}" for j in range(n_classes)),
    )


@given(st.text(), st.none() | st.text())
@settings(max_examples=50, deadline=None)
def test_content_id_is_the_hash_of_the_json_of_both_texts(text: str, other: str | None) -> None:
    shown = json.dumps([text, other], ensure_ascii=False).encode("utf-8", "surrogatepass")
    assert content_id(text, other) == hashlib.sha256(shown).hexdigest()[:16]


def test_a_pair_and_its_concatenation_have_different_ids() -> None:
    assert len({content_id("a", "b"), content_id("ab"), content_id("b", "a"), content_id('a", "b')}) == 4


def test_rows_refuse_repeated_ids() -> None:
    with pytest.raises(ValueError, match="ids repeat"):
        Rows(ids=("a", "a"), texts=("x", "y"), groups=("g", "g"))


@pytest.mark.parametrize("short", ["texts", "groups", "others"])
def test_rows_refuse_fields_of_another_length(short: str) -> None:
    fields = {"texts": ("x", "y"), "groups": ("g", "g"), "others": ("u", "v")}
    fields[short] = fields[short][:1]
    with pytest.raises(ValueError, match="2 ids"):
        Rows(ids=("a", "b"), **fields)


@given(TEXTS, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_pick_gives_the_asked_rows_in_the_asked_order(texts: list[str], random: object) -> None:
    rows = rows_of(texts)
    asked = list(rows.ids)
    random.shuffle(asked)  # type: ignore[attr-defined]
    text_of = dict(zip(rows.ids, rows.texts, strict=True))
    picked = rows.pick(asked)
    assert (picked.ids, picked.texts) == (tuple(asked), tuple(text_of[row_id] for row_id in asked))


def test_take_carries_the_second_texts_along() -> None:
    rows = Rows(ids=("a", "b"), texts=("x", "y"), groups=("g", "h"), others=("u", "v"))
    assert rows.take([1]).others == ("v",)


def test_an_unknown_id_is_not_picked_silently() -> None:
    with pytest.raises(KeyError):
        rows_of(["x", "y"]).pick(["nobody"])


@given(st.lists(st.sampled_from(["a", "b", "10", "9", "é", ""]), min_size=1, max_size=15))
@settings(max_examples=50, deadline=None)
def test_group_numbers_are_equal_exactly_where_groups_are(groups: list[str]) -> None:
    ids = tuple(map(str, range(len(groups))))
    numbers = Rows(ids=ids, texts=ids, groups=tuple(groups)).group_numbers()
    for i in range(len(groups)):
        for j in range(len(groups)):
            assert (numbers[i] == numbers[j]) == (groups[i] == groups[j])


def test_group_numbers_run_from_zero_without_a_hole() -> None:
    numbers = Rows(ids=("1", "2", "3"), texts=("x",) * 3, groups=("z", "a", "z")).group_numbers()
    assert sorted(set(numbers.tolist())) == [0, 1]


@pytest.mark.parametrize(
    "probs", [[[0.5, 0.6]], [[-0.1, 1.1]], [[np.nan, 1.0]], [[0.2, 0.2]]], ids=["over", "negative", "nan", "under"]
)
def test_labels_refuse_what_is_no_distribution(probs: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        Labels(row_ids=("a",), probs=np.array(probs), answered=np.ones(1, bool), source="s")


def test_labels_do_not_look_at_rows_where_the_supervisor_abstained() -> None:
    probs = np.array([[0.5, 0.5], [np.nan, 7.0]])
    labels = Labels(row_ids=("a", "b"), probs=probs, answered=np.array([True, False]), source="s")
    assert labels.n_classes == 2


def test_labels_refuse_another_number_of_rows() -> None:
    with pytest.raises(ValueError, match="2 rows"):
        Labels(row_ids=("a", "b"), probs=np.ones((1, 1)), answered=np.ones(2, bool), source="s")


@given(TEXTS, st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_labels_are_joined_by_id_never_by_place(texts: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rows_of(texts)
    labels = Labels.of(rows, rng.dirichlet([1, 1, 1], len(rows)), source="s", answered=rng.random(len(rows)) < 0.5)
    shuffled = rows.take(rng.permutation(len(rows)))
    joined = labels.on(shuffled)
    for i, row_id in enumerate(shuffled.ids):
        j = rows.position[row_id]
        assert joined.row_ids[i] == row_id
        assert (joined.probs[i].tolist(), joined.answered[i]) == (labels.probs[j].tolist(), labels.answered[j])


def test_a_join_that_lacks_a_row_says_whose_labels_lack_which() -> None:
    labels = Labels.of(rows_of(["x"]), [[1.0, 0.0]], source="people")
    with pytest.raises(ValueError, match=f"'people' lack 1 of 2 rows, e.g. {content_id('y')}"):
        labels.on(rows_of(["x", "y"]))


def test_hardening_shares_among_tied_classes() -> None:
    labels = Labels.of(rows_of(["x", "y"]), [[0.4, 0.4, 0.2], [0.2, 0.3, 0.5]], source="s")
    assert labels.hardened().probs.tolist() == [[0.5, 0.5, 0], [0, 0, 1]]


@given(TEXTS, st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_fingerprint_does_not_see_the_order_of_rows(texts: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, len(texts))
    task = task_of(texts, labels.tolist())
    assert task.take(rng.permutation(len(texts))).fingerprint == task.fingerprint


def test_fingerprint_does_not_see_the_name_nor_the_warnings() -> None:
    a, b = task_of(["x", "y"], [0, 1], name="a"), task_of(["x", "y"], [0, 1], name="b")
    assert a.fingerprint == b.take([0, 1], warnings=["w"]).fingerprint


@pytest.mark.parametrize("changed", ["text", "label", "group", "test", "classes"])
def test_fingerprint_sees_every_change_of_the_data(changed: str) -> None:
    task = task_of(["x", "y"], [0, 1])
    ids = (content_id("x"), content_id("z" if changed == "text" else "y"))
    other = Task(
        name="t",
        rows=Rows(ids=ids, texts=("x", "y"), groups=("g", "g") if changed == "group" else task.rows.groups),
        labels=np.array([0, 0 if changed == "label" else 1]),
        class_names=("c0", "other") if changed == "classes" else task.class_names,
        is_test=np.array([False, False]) if changed == "test" else None,
    )
    assert other.fingerprint != task.fingerprint


def test_truth_is_joined_by_id() -> None:
    task = task_of(["x", "y", "z"], [0, 1, 2], n_classes=3)
    assert task.truth(task.rows.take([2, 0])).tolist() == [2, 0]


def test_true_labels_are_certain_and_say_that_they_are_the_truth() -> None:
    task = task_of(["x", "y"], [1, 0], n_classes=3)
    labels = task.true_labels(task.rows)
    assert (labels.probs.tolist(), labels.source) == ([[0, 1, 0], [1, 0, 0]], "truth")


@pytest.mark.parametrize("labels", [[0, 2], [-1, 0]])
def test_a_task_refuses_labels_outside_its_classes(labels: list[int]) -> None:
    with pytest.raises(ValueError, match=r"labels must be in \[0, 2\)"):
        task_of(["x", "y"], labels)


def test_a_task_of_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two classes"):
        task_of(["x", "y"], [0, 0], n_classes=1)


def test_taking_rows_keeps_every_column_in_step() -> None:
    task = Task(
        name="t",
        rows=rows_of(["x", "y", "z"]),
        labels=np.array([0, 1, 0]),
        class_names=("a", "b"),
        is_test=np.array([True, False, True]),
        difficulty=("e", "h", "m"),
        warnings=("first",),
    )
    taken = task.take([2, 1], warnings=["second"])
    assert taken.rows.texts == ("z", "y")
    assert taken.labels.tolist() == [0, 1]
    assert taken.is_test is not None and taken.is_test.tolist() == [True, False]
    assert (taken.difficulty, taken.warnings) == (("m", "h"), ("first", "second"))
