"""The bag of words against scikit-learn on rows written out, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from oversight.errors import InputError
from oversight.methods.losses import Confidence
from oversight.models.lexical import STRENGTHS, BagOfWords
from oversight.models.rows import HELD_OUT
from oversight.models.student import Validation
from oversight.tasks.split import Seed, hold_out
from oversight.tasks.task import Labels, Rows

Floats = npt.NDArray[np.float64]
RowsOf = Callable[..., Rows]
Sentences = Callable[..., list[str]]
SEED = Seed.of(0)
CLOSE = 2e-5


def given(rows: Rows, probs: Floats, answered: npt.NDArray[np.bool_] | None = None) -> Labels:
    return Labels.of(rows, probs, source="test", answered=answered)


def by_words(rows: Rows, k: int = 2) -> Floats:
    """Class by the words in the text: film, good, dull."""
    words = ("film", "good", "dull")[:k]
    counts = np.array([[1 + text.split().count(word) for word in words] for text in rows.texts], float)
    return counts / counts.sum(1, keepdims=True)


def quarters(rows: Rows, k: int, *, seed: int = 0) -> Floats:
    """Soft labels in steps of a quarter."""
    return np.random.default_rng(seed).multinomial(4, np.full(k, 1 / k), len(rows)) / 4


def vectorised(rows: Rows) -> tuple[TfidfVectorizer, Any]:
    """Words and pairs of words that stand in two texts, sublinear."""
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2).fit(rows.texts)
    return vectorizer, vectorizer.transform(rows.texts).toarray()


def itself(rows: Rows, labels: Labels) -> Validation:
    return Validation(rows=rows, labels=labels)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("strength", [0.1, 10.0])
def test_soft_labels_equal_scikit_learn_on_rows_written_out(
    rows_of: RowsOf, sentences: Sentences, k: int, strength: float
) -> None:
    """A label of 3/4 and 1/4 is three copies of one class and one of the other; four copies of a row weigh four times
    as much against the penalty, so C is a quarter."""
    rows = rows_of(sentences(60, seed=k))
    y = quarters(rows, k)
    vectorizer, x = vectorised(rows)
    copies = [(x[i], j) for i in range(len(rows)) for j in range(k) for _ in range(round(4 * y[i, j]))]
    reference = LogisticRegression(C=strength / 4, tol=1e-8, max_iter=5000)
    reference.fit(np.array([row for row, _ in copies]), [j for _, j in copies])
    new = rows_of(sentences(20, seed=9))
    labels = given(rows, y)
    fitted = BagOfWords(strengths=(strength,)).fit(rows, labels, validation=itself(rows, labels), seed=SEED)
    expected = reference.predict_proba(vectorizer.transform(new.texts).toarray())
    np.testing.assert_allclose(fitted.predict(new), expected, atol=CLOSE)


def test_weight_two_equals_a_row_given_twice(rows_of: RowsOf, sentences: Sentences) -> None:
    """The words and their weights are those of the texts; only the regression counts rows twice."""
    rows = rows_of(sentences(60, seed=1))
    y, weights = by_words(rows), np.where(np.arange(60) < 20, 2.0, 1.0)
    _, x = vectorised(rows)
    twice = np.vstack([x, x[:20]])
    counts = np.vstack([y, y[:20]])
    reference = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000)
    reference.fit(np.repeat(twice, 2, axis=0), np.tile([0, 1], 80), sample_weight=counts.ravel())
    labels = given(rows, y)
    fitted = BagOfWords(strengths=(1.0,)).fit(rows, labels, validation=itself(rows, labels), weights=weights, seed=SEED)
    np.testing.assert_allclose(fitted.predict(rows), reference.predict_proba(x), atol=CLOSE)


def test_the_strength_of_least_cross_entropy_to_the_validation_labels_is_chosen(
    rows_of: RowsOf, sentences: Sentences
) -> None:
    texts = sentences(90, seed=2)
    rows, held = rows_of(texts[:60]), rows_of(texts[60:])
    labels, held_labels = given(rows, by_words(rows)), given(held, quarters(held, 2))
    fitted = BagOfWords().fit(rows, labels, validation=itself(held, held_labels), seed=SEED)
    scores: list[float] = []
    for strength in STRENGTHS:
        alone = BagOfWords(strengths=(strength,)).fit(rows, labels, validation=itself(held, held_labels), seed=SEED)
        scores.append(float(-(held_labels.probs * np.log(alone.predict(held))).sum(1).mean()))
    assert fitted.choices["strength"] == STRENGTHS[int(np.argmin(scores))]
    assert [trial["cross_entropy"] for trial in fitted.choices["tried"]] == pytest.approx(scores)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("follow", "expected"), [(False, STRENGTHS[0]), (True, STRENGTHS[-1])])
def test_the_choice_follows_the_validation_labels_wherever_they_lead(
    rows_of: RowsOf, sentences: Sentences, follow: bool, expected: float
) -> None:
    """Labels that say nothing ask for the strongest penalty, the training labels themselves, hard, for the weakest."""
    rows = rows_of(sentences(60, seed=3))
    y = np.eye(2)[by_words(rows).argmax(1)]
    seen = y if follow else np.full((60, 2), 0.5)
    fitted = BagOfWords().fit(rows, given(rows, y), validation=itself(rows, given(rows, seen)), seed=SEED)
    assert fitted.choices["strength"] == expected


def test_without_validation_a_tenth_decides_and_all_rows_are_fitted_again(
    rows_of: RowsOf, sentences: Sentences
) -> None:
    rows = rows_of(sentences(100, seed=4))
    labels = given(rows, by_words(rows))
    fitted = BagOfWords().fit(rows, labels, seed=SEED)
    kept, held = hold_out(rows, labels.probs.argmax(1), fraction=HELD_OUT, seed=SEED.split)
    chosen = BagOfWords().fit(rows.take(kept), labels, validation=itself(rows.take(held), labels), seed=SEED)
    best = float(chosen.choices["strength"])  # type: ignore[arg-type]
    assert fitted.choices["strength"] == best
    again = BagOfWords(strengths=(best,)).fit(rows, labels, validation=itself(rows, labels), seed=SEED)
    np.testing.assert_array_equal(fitted.predict(rows), again.predict(rows))


def test_rows_without_an_answer_do_not_count(rows_of: RowsOf, sentences: Sentences) -> None:
    """Neither their labels nor their words."""
    rows = rows_of(sentences(80, seed=5))
    answered = np.arange(80) % 4 != 0
    y, index = by_words(rows), np.flatnonzero(answered)
    some = rows.take(index)
    validation = itself(some, given(some, y[index]))
    holes = given(rows, np.where(answered[:, None], y, np.nan), answered)
    one = BagOfWords().fit(rows, holes, validation=validation, seed=SEED)
    other = BagOfWords().fit(some, given(some, y[index]), validation=validation, seed=SEED)
    np.testing.assert_array_equal(one.predict(rows), other.predict(rows))


def test_the_order_of_rows_does_not_matter(rows_of: RowsOf, sentences: Sentences) -> None:
    rows = rows_of(sentences(60, seed=6))
    labels, order = given(rows, by_words(rows)), np.random.default_rng(0).permutation(60)
    one, other = (
        BagOfWords(strengths=(1.0,)).fit(r, labels, validation=itself(rows, labels), seed=SEED).predict(rows)
        for r in (rows, rows.take(order))
    )
    np.testing.assert_allclose(one, other, atol=CLOSE)


def test_predictions_are_in_the_order_of_rows(rows_of: RowsOf, sentences: Sentences) -> None:
    rows = rows_of(sentences(60, seed=7))
    labels, order = given(rows, by_words(rows)), np.random.default_rng(0).permutation(60)
    fitted = BagOfWords().fit(rows, labels, validation=itself(rows, labels), seed=SEED)
    np.testing.assert_allclose(fitted.predict(rows.take(order)), fitted.predict(rows)[order], rtol=1e-12)


def test_a_text_of_unknown_words_gets_the_answer_of_an_empty_one(rows_of: RowsOf, sentences: Sentences) -> None:
    rows = rows_of(sentences(60, seed=8))
    labels = given(rows, by_words(rows))
    fitted = BagOfWords().fit(rows, labels, validation=itself(rows, labels), seed=SEED)
    found = fitted.predict(rows_of(["quixotic zymurgy", ""]))
    np.testing.assert_array_equal(found[0], found[1])


def test_swapped_pairs_get_swapped_answers(rows_of: RowsOf, sentences: Sentences) -> None:
    texts = sentences(120, seed=9)
    rows, swapped = rows_of(texts[:60], texts[60:]), rows_of(texts[60:], texts[:60])
    y = np.eye(2)[[int(a.count("good") >= b.count("good")) for a, b in zip(texts[:60], texts[60:], strict=True)]]
    labels = given(rows, y)
    fitted = BagOfWords().fit(rows, labels, validation=itself(rows, labels), seed=SEED)
    np.testing.assert_allclose(fitted.predict(swapped), fitted.predict(rows)[:, ::-1], atol=1e-12)


def test_a_class_that_no_label_names_gets_no_probability(rows_of: RowsOf, sentences: Sentences) -> None:
    rows = rows_of(sentences(60, seed=10))
    y = np.insert(by_words(rows), 1, 0.0, axis=1)
    fitted = BagOfWords().fit(rows, given(rows, y), validation=itself(rows, given(rows, y)), seed=SEED)
    found = fitted.predict(rows)
    assert found.shape == (60, 3)
    assert not found[:, 1].any()
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)


def test_a_validation_label_of_a_class_never_seen_is_scored_not_refused(rows_of: RowsOf, sentences: Sentences) -> None:
    """Probability 0 is scored as 1e-300, so the score is a number."""
    texts = sentences(70, seed=11)
    rows, held = rows_of(texts[:60]), rows_of(texts[60:])
    y = np.insert(by_words(rows), 1, 0.0, axis=1)
    seen = given(held, np.tile([0.0, 1.0, 0.0], (10, 1)))
    fitted = BagOfWords().fit(rows, given(rows, y), validation=itself(held, seen), seed=SEED)
    assert fitted.choices["tried"][0]["cross_entropy"] == pytest.approx(-np.log(1e-300))  # type: ignore[index]


def test_labels_of_one_class_only_are_refused(rows_of: RowsOf, sentences: Sentences) -> None:
    rows = rows_of(sentences(20, seed=12))
    labels = given(rows, np.tile([0.0, 1.0], (20, 1)))
    with pytest.raises(InputError, match=r"bow: found labels of one class only \(1\)"):
        BagOfWords().fit(rows, labels, validation=itself(rows, labels), seed=SEED)


def test_another_loss_is_refused(rows_of: RowsOf) -> None:
    rows = rows_of(["the film", "the film was"])
    with pytest.raises(InputError, match="by cross-entropy only"):
        BagOfWords().fit(rows, given(rows, np.eye(2)), loss=Confidence(), seed=SEED)


@pytest.mark.parametrize("texts", [["good", "bad", "slow"], ["! ?", ". .", "- -"]])
def test_texts_without_a_common_word_are_refused(rows_of: RowsOf, texts: list[str]) -> None:
    rows = rows_of(texts)
    labels = given(rows, np.eye(2)[[0, 1, 0]])
    with pytest.raises(InputError, match="found no word that stands in 2 of 3 training texts"):
        BagOfWords().fit(rows, labels, validation=itself(rows, labels), seed=SEED)


@pytest.mark.parametrize("strengths", [(), (0.0,), (1.0, -1.0)])
def test_strengths_outside_their_range_are_refused(strengths: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="expected numbers above 0"):
        BagOfWords(strengths=strengths)


def test_choices_are_ready_for_json(rows_of: RowsOf, sentences: Sentences) -> None:
    rows = rows_of(sentences(40, seed=13))
    fitted = BagOfWords().fit(rows, given(rows, by_words(rows)), seed=SEED)
    assert json.loads(json.dumps(fitted.choices)) == fitted.choices
