"""Repetitions of a supervisor: what each of them sees, and what a method for repeated answers makes of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from oversight.errors import InputError
from oversight.methods.reliability import FrequencyWeights
from oversight.models.lexical import BagOfWords
from oversight.resolve.models import is_network, load_supervisor, repeated
from oversight.resolve.studies import weak_to_strong
from oversight.supervision.resampled import Resampled, drawn
from oversight.supervision.supervisor import Trained
from oversight.tasks.split import Seed, split_task
from oversight.tasks.task import Rows, Task, content_id

SEED = Seed.of(0)
BOW = BagOfWords(strengths=(0.1, 1.0), min_df=1)


def make_task(n: int, *, per_group: int = 1, seed: int = 0) -> Task:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 2)
    said = np.where(rng.random(n) < 0.3, 1 - labels, labels)
    texts = tuple(
        f"{'ab'[one]}{rng.integers(9)} {'ab'[rng.integers(2)]}{rng.integers(9)} n{i}" for i, one in enumerate(said)
    )
    ids = tuple(map(content_id, texts))
    groups = tuple(f"g{i // per_group}" for i in range(n))
    return Task(name="t", rows=Rows(ids=ids, texts=texts, groups=groups), labels=labels, class_names=("0", "1"))


def test_whole_groups_are_drawn_as_many_as_there_are() -> None:
    rows = make_task(300, per_group=3).rows
    weights = drawn(rows, "a")
    by_group: dict[str, set[float]] = {}
    for group, one in zip(rows.groups, weights, strict=True):
        by_group.setdefault(group, set()).add(float(one))
    assert all(len(found) == 1 for found in by_group.values())
    assert sum(found.pop() for found in by_group.values()) == 100


def test_a_draw_is_a_bootstrap_sample() -> None:
    """How often a row comes up is about Poisson: nothing in exp(-1) of the cases, once in as many, twice in half."""
    counts = Counter(drawn(make_task(6000).rows, "a").tolist())
    shares = [counts[float(i)] / 6000 for i in range(3)]
    np.testing.assert_allclose(shares, [np.exp(-1), np.exp(-1), np.exp(-1) / 2], atol=0.03)


def test_the_order_of_rows_does_not_count_and_another_key_is_another_draw() -> None:
    rows = make_task(200, per_group=2).rows
    order = np.random.default_rng(0).permutation(200)
    np.testing.assert_array_equal(drawn(rows.take(order), "a"), drawn(rows, "a")[order])
    assert not np.array_equal(drawn(rows, "a"), drawn(rows, "b"))


def test_a_repetition_sees_the_weak_rows_as_often_as_they_were_drawn() -> None:
    task = make_task(300)
    split = split_task(task, seed=0)
    rows, test = task.pick(split.weak), task.pick(split.test)
    found = Resampled(BOW, 2).supervise(task, split, [test], seed=SEED)
    weights = drawn(rows, f"draw 2 {SEED.init}")
    expected = BOW.fit(rows, task.true_labels(rows), weights=weights, seed=SEED).predict(test)
    np.testing.assert_array_equal(found.labels[0].probs, expected)
    assert found.choices["rows_drawn"] == int((weights > 0).sum())


def test_repetitions_differ_and_each_is_the_same_again() -> None:
    task = make_task(300)
    split, test = split_task(task, seed=0), make_task(300).rows
    one, again, other = (Resampled(BOW, i).supervise(task, split, [test], seed=SEED).labels[0].probs for i in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


def test_a_name_with_a_star_is_several_repetitions() -> None:
    found = load_supervisor("bow*3+bow", make_task(60))
    assert [one.name for one in found] == ["bow (draw 1)", "bow (draw 2)", "bow (draw 3)", "bow"]
    assert isinstance(found[0], Resampled) and isinstance(found[3], Trained)
    assert not is_network("bow*3") and is_network("minilm*3")
    assert repeated("labels:votes*3") == ("labels:votes*3", 0)


@pytest.mark.parametrize("name", ["bow*1", "bow*0"])
def test_fewer_than_two_repetitions_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"repetitions, expected 2 or more"):
        load_supervisor(name, make_task(60))


def test_a_study_of_repeated_supervision_runs() -> None:
    result = weak_to_strong(make_task(400), weak="bow*3", strong="bow", method=FrequencyWeights(), seeds=1)
    assert result.studies[0].weak_model == "bow (draw 1)+bow (draw 2)+bow (draw 3)"
