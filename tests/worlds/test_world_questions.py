"""Questions: their rows, their dials, and that a bag of words cannot answer them."""

from __future__ import annotations

import numpy as np
import pytest

import oversight as ov
from oversight.errors import InputError
from oversight.worlds import WORLD, Question
from oversight.worlds.questions import NO_ANSWER, read_dials
from oversight.worlds.world import QUARTERS


def verbs(task: ov.Task) -> np.ndarray:
    """(n,) 1 where the second verb stands in a row."""
    return np.array([text.endswith("played") for text in task.rows.texts]).astype(int)


def agreement(task: ov.Task, test: bool) -> float:
    """Share of the rows in or outside the test whose verb agrees with the answer."""
    assert task.is_test is not None
    return float((verbs(task) == task.labels)[task.is_test == test].mean())


def test_every_person_is_a_row_with_the_true_side_as_its_label() -> None:
    task = Question(world=WORLD, name="plays_3").task("ladder/plays_3", of="ladder")
    assert len(task) == WORLD.people and task.question_of == "ladder"
    assert task.is_test is not None and abs(task.is_test.mean() - 0.25) < 5 * 0.43 / WORLD.people**0.5
    names = [text.removesuffix(" plays") for text in task.rows.texts]
    assert names == list(WORLD.vocabulary.names[: WORLD.people])
    assert task.labels.tolist() == WORLD.sides("plays_3").tolist()
    assert task.difficulty == WORLD.quarters and set(task.difficulty) == set(QUARTERS)
    assert 0.45 < task.labels.mean() < 0.55


def test_questions_of_one_relation_share_their_texts_and_not_their_answers() -> None:
    one, other = (Question(world=WORLD, name=name).task(name, of="x") for name in ("plays_0", "plays_1"))
    assert one.rows == other.rows and one.fingerprint != other.fingerprint
    assert 0.1 < (one.labels == other.labels).mean() < 0.9


def test_a_spurious_verb_agrees_outside_the_test_only_and_half_means_nothing() -> None:
    loud, off = (Question(world=WORLD, name="plays_0", spurious=share).task("x", of="x") for share in (0.9, 0.5))
    error = 5 * 0.5 / 1900**0.5
    assert abs(agreement(loud, False) - 0.9) < error and abs(agreement(loud, True) - 0.5) < error
    assert abs(agreement(off, False) - 0.5) < error and abs(agreement(off, True) - 0.5) < error
    assert loud.is_test is not None and off.is_test is not None
    assert (loud.is_test == off.is_test).all() and abs(loud.is_test.mean() - 0.25) < error


def test_strangers_have_no_answer_and_no_part_in_the_world() -> None:
    task = Question(world=WORLD, name="works_2", unanswerable=0.2).task("x", of="x")
    known = Question(world=WORLD, name="works_2").task("x", of="x")
    strange = np.array([one == NO_ANSWER for one in task.difficulty or ()])
    assert len(task) == len(known) == 8000 and strange.sum() == 1600
    assert not {*np.array(task.rows.texts)[strange]} & {*known.rows.texts}
    assert abs(task.labels[strange].mean() - 0.5) < 5 * 0.5 / 40
    assert (task.labels[~strange] == known.labels[: 8000 - 1600]).all()
    assert NO_ANSWER not in (Question(world=WORLD, name="works_2", unanswerable=0.0).task("x", of="x").difficulty or ())


def test_a_bag_of_words_is_at_chance() -> None:
    found = ov.weak_to_strong("ladder/plays_0", weak="bow", strong="bow", seeds=3, store=":memory:")
    for role in ("weak", "student", "ceiling"):
        assert found[0].score(role).low < 0.5 < found[0].score(role).high
    assert not found[0].pgr.defined


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("ladder/plays_9", "unknown question 'plays_9': did you mean 'plays_"),
        ("ladder/plays_0:spurios=0.9", "unknown dial 'spurios': did you mean 'spurious'"),
        ("ladder/plays_0:spurious=0.2", "spurious: found 0.2, expected 0.5"),
        ("ladder/plays_0:unanswerable=0.9", "unanswerable: found 0.9, expected 0 to 0.2"),
        ("ladder/plays_0:spurious=x", "spurious: found 'x', expected a number"),
        ("ladder", "task 'ladder': found several questions, expected one, such as ladder/works_0"),
    ],
)
def test_what_is_no_question_is_refused_in_one_line(spec: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        ov.load_task(spec)
    assert str(caught.value).startswith(expected) and "\n" not in str(caught.value)


def test_dials_are_read() -> None:
    assert read_dials("spurious=0.9,unanswerable=0.1") == {"spurious": 0.9, "unanswerable": 0.1}
    assert read_dials("") == {}
