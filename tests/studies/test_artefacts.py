"""Warnings about prompts that give the answer away: by length and format, by one word, or to everybody."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from oversight.studies.artefacts import prompt_warnings, surface, too_good
from oversight.studies.planted import leaking, words_for
from oversight.studies.score import Predicted, score_predictions
from oversight.tasks.split import split_task
from oversight.tasks.task import Rows, Task, content_id


def plain(n: int = 600, *, k: int = 2, pairs: bool = False) -> Task:
    """Texts of random words that say nothing of the class."""
    rng = np.random.default_rng(0)
    words = [" ".join(f"w{word}" for word in row) for row in rng.integers(0, 40, (2 * n, 8))]
    texts = tuple(f"{text} n{i}" for i, text in enumerate(words[:n]))
    others = tuple(words[n:]) if pairs else None
    ids = tuple(content_id(text, other) for text, other in zip(texts, others or [None] * n, strict=True))
    return Task(
        name="plain",
        rows=Rows(ids=ids, texts=texts, others=others, groups=tuple(f"g{i // 2}" for i in range(n))),
        labels=rng.integers(0, k, n),
        class_names=("second", "first") if pairs else tuple(f"c{j}" for j in range(k)),
    )


def told(task: Task) -> list[str]:
    return prompt_warnings(task, split_task(task, seed=0))


@pytest.mark.parametrize("pairs", [False, True])
def test_rows_that_give_nothing_away_are_not_warned_of(pairs: bool) -> None:
    assert told(plain(pairs=pairs)) == []


@pytest.mark.parametrize(("k", "pairs"), [(2, False), (3, False), (2, True)])
def test_a_word_that_stands_for_the_class_is_named(k: int, pairs: bool) -> None:
    task = plain(k=k, pairs=pairs)
    found = [line for line in told(leaking(task, words_for(task), name="a word")) if "single word" in line]
    assert len(found) == 1 and any(word in found[0] for word in ("'alpha'", "'beta'", "'gamma'"))
    assert "accuracy of 1.000" in found[0] or k == 3


def test_a_mark_without_a_word_is_found_by_the_format() -> None:
    task = plain()
    (line,) = told(leaking(task, ("", " *"), name="a format"))
    assert line.startswith("by length and format alone") and "1.000" in line


def test_length_alone_is_found_and_the_order_of_rows_does_not_count() -> None:
    task = plain()
    texts = tuple(
        text + " w1" * int(4 * label) for text, label in zip(task.rows.texts, task.labels.tolist(), strict=True)
    )
    ids = tuple(map(content_id, texts))
    longer = replace(task, rows=replace(task.rows, texts=texts, ids=ids))
    found = [line for line in told(longer) if "length" in line]
    assert len(found) == 1
    assert told(longer.take(reversed(range(len(longer))))) == told(longer)


def test_a_common_class_is_no_artefact() -> None:
    task = plain()
    labels = (np.random.default_rng(1).random(len(task)) < 0.1).astype(np.int64)
    assert told(replace(task, labels=labels)) == []


def test_the_surface_sees_no_words() -> None:
    rows = Rows(ids=("a", "b", "c"), texts=("cat sat.", "dog ran.", "cat sat!"), groups=("a", "b", "c"))
    x = surface(rows)
    assert (x[0] == x[1]).all() and (x[0] != x[2]).any()
    pairs = Rows(ids=("p",), texts=("cat sat.",), others=("dog ran.",), groups=("p",))
    assert (surface(pairs) == 0).all()


def test_roles_that_are_all_too_good_are_warned_of() -> None:
    assert too_good({"weak": 0.99, "student": 1.0, "ceiling": 1.0}) == []
    assert len(too_good({"weak": 0.995, "student": 0.991, "ceiling": 1.0})) == 1
    truth = np.arange(400) % 2
    right = np.stack([np.eye(2)[truth]] * 3)
    groups = np.arange(400)
    every = dict.fromkeys(("weak", "student", "ceiling"), right)
    warned = score_predictions(Predicted(probs=every, truth=truth, groups=groups))["warnings"]
    assert any("give the answer away" in line for line in warned)
    every["weak"] = np.stack([np.eye(2)[np.where(np.arange(400) < 20, 1 - truth, truth)]] * 3)
    warned = score_predictions(Predicted(probs=every, truth=truth, groups=groups))["warnings"]
    assert not any("give the answer away" in line for line in warned)
