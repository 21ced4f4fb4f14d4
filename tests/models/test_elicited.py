"""Labels that a decoder finds coherent: prompts, truth that is not read, pairs, refusals, and the baseline of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.describe import describe
from oversight.errors import InputError
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint
from oversight.models.prompted import Form, Prompted
from oversight.models.workbench import working_at
from oversight.models.writer import Writer
from oversight.supervision.elicited import Elicited
from oversight.supervision.icm import Annealing
from oversight.supervision.supervisor import Supervision
from oversight.tasks.split import Seed, split_task
from oversight.tasks.task import Rows, Task

InFloat32 = Callable[..., Backbone]
RowsOf = Callable[..., Rows]
Sentences = Callable[..., list[str]]
Writers = Callable[..., Checkpoint]
SEED = Seed.of(0)
WORDS = ("bad", "good")
TEMPLATE = "a film {text} so it was"


@pytest.fixture
def task(rows_of: RowsOf, sentences: Sentences) -> Task:
    """A hundred short texts with classes at random."""
    rows = rows_of(sentences(100, longest=8))
    return Task(name="t", rows=rows, labels=np.random.default_rng(0).integers(0, 2, 100), class_names=WORDS)


@pytest.fixture
def pairs(rows_of: RowsOf, sentences: Sentences) -> Task:
    """Sixty pairs of short texts."""
    texts = sentences(120, longest=6)
    rows = rows_of(texts[:60], texts[60:])
    return Task(name="p", rows=rows, labels=np.random.default_rng(0).integers(0, 2, 60), class_names=("b", "a"))


@pytest.fixture
def elicited(writers: Writers, in_float32: InFloat32) -> Elicited:
    """A tiny decoder with room for sixteen short texts."""
    student = Prompted(backbone=in_float32(writers("llama"), max_tokens=20), words=WORDS, template=TEMPLATE)
    return Elicited(student=student, rows=8, max_tokens=10)


def supervise(elicited: Elicited, task: Task, targets: list[Rows], seed: Seed = SEED) -> Supervision:
    split = split_task(task, seed=0)
    elicited.check(task, split, {})
    return elicited.supervise(task, split, targets, seed=seed)


def test_every_question_comes_after_its_own_examples(
    writers: Writers, in_float32: InFloat32, rows_of: RowsOf, sentences: Sentences, one_by_one: Callable[..., Any]
) -> None:
    checkpoint, texts = writers("llama"), sentences(3, longest=6)
    form = Form(writer=Writer(in_float32(checkpoint)), template=TEMPLATE, words=WORDS, max_tokens=10)
    shown = [(("more dull", "bad"),), (), (("so warm", "good"), ("cold", "bad"))]
    found = form.probs_each(form.questions(rows_of(texts))[0], shown)
    prompts = [
        "".join(f"{question} {answer}\n\n" for question, answer in examples) + f"a film {text} so it was"
        for text, examples in zip(texts, shown, strict=True)
    ]
    np.testing.assert_allclose(found, one_by_one(checkpoint, prompts, WORDS), atol=1e-5)


def test_it_labels_without_reading_any_truth(elicited: Elicited, task: Task) -> None:
    """The same rows with every class turned round are labelled alike."""
    split = split_task(task, seed=0)
    turned = replace(task, labels=1 - task.labels)
    targets = [task.pick(split.transfer), task.pick(split.test)]
    one, other = (
        each.supervise(task_, split, targets, seed=SEED) for each, task_ in ((elicited, task), (elicited, turned))
    )
    assert one.choices == other.choices
    for mine, theirs in zip(one.labels, other.labels, strict=True):
        np.testing.assert_array_equal(mine.probs, theirs.probs)


def test_rows_of_the_search_keep_what_was_found_and_the_price_is_told(elicited: Elicited, task: Task) -> None:
    transfer = task.pick(split_task(task, seed=0).transfer)
    found = supervise(elicited, task, [transfer])
    json.dumps(found.choices)
    known = found.choices["found"]
    assert isinstance(known, dict) and 4 <= len(known) <= 8 == found.choices["rows"]
    named = dict(zip(transfer.ids, found.labels[0].probs.argmax(1).tolist(), strict=True))
    assert {row: named[row] for row in known} == known
    assert set(found.labels[0].probs.ravel()) == {0.0, 1.0}
    prompts = found.choices["prompts"]
    assert isinstance(prompts, int) and 32 < prompts <= 33 * 8 + 32


def test_the_order_of_rows_does_not_count_and_a_seed_does(elicited: Elicited, task: Task) -> None:
    order = np.random.default_rng(1).permutation(100)
    shuffled = replace(task, rows=task.rows.take(order), labels=task.labels[order])
    first, second = (supervise(elicited, one, [one.pick(split_task(one, seed=0).test)]) for one in (task, shuffled))
    assert first.choices["found"] == second.choices["found"]
    other = supervise(elicited, task, [], Seed.of(1))
    assert set(other.choices["found"]) != set(first.choices["found"])  # type: ignore[arg-type]


def test_it_says_how_the_search_goes_and_then_how_labelling_does(elicited: Elicited, task: Task) -> None:
    said: list[str] = []
    with working_at(tell=lambda done, note: said.append(note)):
        supervise(elicited, task, [task.pick(split_task(task, seed=0).test)])
    steps = [note for note in said if note.startswith("step ")]
    assert len(steps) == 32 and steps[-1].startswith("step 32 of 32, ")
    assert said[len(steps) :] and all("prompts" in note for note in said[len(steps) :])


def test_a_pair_and_its_reverse_get_opposite_classes(writers: Writers, in_float32: InFloat32, pairs: Task) -> None:
    student = Prompted(backbone=in_float32(writers("llama"), max_tokens=20), template="a {text} or {other} the")
    elicited = Elicited(student=replace(student, words=("cold", "warm")), rows=6, max_tokens=8)
    test = pairs.pick(split_task(pairs, seed=0).test)
    reverse = replace(test, ids=tuple(f"r{one}" for one in test.ids), texts=test.others, others=test.texts)  # type: ignore
    there, back = supervise(elicited, pairs, [test, reverse]).labels
    np.testing.assert_array_equal(there.probs.argmax(1), 1 - back.probs.argmax(1))


def test_it_has_an_identity_and_settings_are_part_of_it(elicited: Elicited) -> None:
    assert describe(elicited) == describe(replace(elicited))
    assert describe(elicited) != describe(replace(elicited, annealing=Annealing(alpha=50.0)))


def test_too_little_room_for_examples_is_one_line(writers: Writers, in_float32: InFloat32, task: Task) -> None:
    short = writers("llama", max_position_embeddings=64)
    elicited = Elicited(student=Prompted(backbone=in_float32(short), words=WORDS, template=TEMPLATE))
    says = r"^llama: found room for 0 examples of up to \d+ tokens in its 64 positions, expected at least 4; lower max_"
    with pytest.raises(InputError, match=says):
        elicited.check(task, split_task(task, seed=0), {})


def test_fewer_rows_are_searched_where_more_do_not_fit(writers: Writers, in_float32: InFloat32, task: Task) -> None:
    some = writers("llama", max_position_embeddings=256)
    student = Prompted(backbone=in_float32(some, max_tokens=20), words=WORDS, template=TEMPLATE)
    found = supervise(Elicited(student=student), task, [task.pick(split_task(task, seed=0).test)])
    rows = found.choices["rows"]
    assert isinstance(rows, int) and 4 <= rows < 16


def test_a_small_real_decoder_labels_stories(stories: Checkpoint, in_float32: InFloat32, rows_of: RowsOf) -> None:
    texts = [
        f"{who} was very {how}."
        for who in ("Tom", "Lily", "The dog", "Ben", "Mia", "Sue", "The cat")
        for how in ("happy", "sad")
    ]
    more = [f"One day {text}" for text in texts] + [f"Then {text}" for text in texts]
    labels = np.array([0, 1] * 21)
    task = Task(name="t", rows=rows_of([*texts, *more]), labels=labels, class_names=("happy", "sad"))
    student = Prompted(backbone=in_float32(stories), words=task.class_names, template="{text} So it felt")
    found = supervise(Elicited(student=student, max_tokens=20), task, [task.rows])
    assert found.labels[0].probs.shape == (42, 2) and isinstance(found.choices["utility"], float)


@pytest.mark.slow
def test_a_comparison_shows_it(
    oversight: Callable[..., Any],
    place: Path,
    planted_rows: Callable[..., Any],
    write_lines: Callable[..., Any],
    writers: Writers,
) -> None:
    """The student is trained on the labels that were found, naively; it is scored like every other baseline."""
    shutil.copytree(writers("qwen2").path, place / "tiny")
    write_lines(place / "apples.jsonl", planted_rows(120))
    words = ("--weak", "bow", "--strong", "./tiny", "--seeds", "1", "--methods", "naive", "--max-tokens", "16")
    said = oversight("compare", "apples.jsonl", *words, "--json")
    assert said.code == 0, said.err
    shown = {one["name"]: one for one in said.json["baselines"]}["unsupervised elicitation (ICM)"]
    assert shown["missing"] == {} and 0 <= shown["scores"]["apples"]["value"] <= 1
