"""Students that are told their supervisor's answer, and students that see some coordinates only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from oversight.describe import describe
from oversight.errors import InputError
from oversight.models.backbone import Backbone, FirstFeatures
from oversight.models.checkpoint import embedded
from oversight.models.features import FeatureBank, features, using
from oversight.models.lexical import BagOfWords
from oversight.models.probe import Probe
from oversight.models.student import Validation
from oversight.models.told import Told, alike
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels, Rows, content_id

SEED = Seed.of(0)


def texts_of(n: int, *, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    texts = tuple(" ".join(f"w{word}" for word in row) + f" n{i}" for i, row in enumerate(rng.integers(0, 9, (n, 4))))
    ids = tuple(map(content_id, texts))
    return Rows(ids=ids, texts=texts, groups=tuple(f"g{i // 2}" for i in range(n)))


def answers_of(rows: Rows, *, seed: int = 1) -> Labels:
    probs = np.random.default_rng(seed).uniform(size=len(rows))
    return Labels.of(rows, np.column_stack([1 - probs, probs]), source="weak")


def told() -> Told:
    return Told(student=BagOfWords(strengths=(0.1, 1.0)), words=("bad", "good"))


def test_the_answer_ends_the_prompt_and_the_groups_stay() -> None:
    rows = texts_of(6)
    answers = answers_of(rows)
    shown = told().shown(rows, dict(zip(rows.ids, answers.probs.argmax(1).tolist(), strict=True)))
    for text, before, probs in zip(shown.texts, rows.texts, answers.probs, strict=True):
        assert text == f"{before} I think this is {('bad', 'good')[int(probs.argmax())]}. What do you think?"
    assert shown.groups == rows.groups
    assert shown.ids == tuple(map(content_id, shown.texts))


def test_variants_hold_every_row_with_every_answer() -> None:
    rows = texts_of(6)
    bad, good = told().variants(rows)
    answers = dict(zip(rows.ids, [0, 1, 0, 1, 1, 0], strict=True))
    known = {**dict(zip(bad.ids, bad.texts, strict=True)), **dict(zip(good.ids, good.texts, strict=True))}
    shown = told().shown(rows, answers)
    assert len(known) == 12 and all(known[row_id] == text for row_id, text in zip(shown.ids, shown.texts, strict=True))


def test_copies_of_a_text_stay_copies_and_pairs_get_the_answer_twice() -> None:
    first = content_id("x")
    rows = Rows(ids=(first, f"{first}#1"), texts=("x", "x"), groups=("g", "g"))
    shown = told().shown(rows, {first: 1, f"{first}#1": 1})
    assert shown.ids[1] == f"{shown.ids[0]}#1"
    pairs = Rows(ids=("p",), texts=("{answer}",), others=("b",), groups=("g",))
    seen = told().shown(pairs, {"p": 0})
    assert seen.texts[0].startswith("{answer} I think this is bad") and seen.others is not None
    assert seen.others[0].startswith("b I think this is bad")


def test_what_it_learns_is_what_its_student_learns_of_these_texts() -> None:
    """Against the student itself on rows that were changed by hand."""
    rows, checks, test = texts_of(120), texts_of(40, seed=3), texts_of(30, seed=4)
    everything = [answers_of(one, seed=i) for i, one in enumerate((rows, checks, test))]
    joined = Labels(
        row_ids=tuple(row_id for one in everything for row_id in one.row_ids),
        probs=np.concatenate([one.probs for one in everything]),
        answered=np.ones(190, bool),
        source="weak",
    )
    student = told().told(joined)
    validation = Validation(rows=checks, labels=everything[1])
    fitted = student.fit(rows, everything[0], validation=validation, seed=SEED)
    answers = dict(zip(joined.row_ids, joined.probs.argmax(1).tolist(), strict=True))
    shown = [told().shown(one, answers) for one in (rows, checks, test)]
    labels = [replace(one, row_ids=seen.ids) for one, seen in zip(everything, shown, strict=True)]
    direct = told().student.fit(shown[0], labels[0], validation=Validation(rows=shown[1], labels=labels[1]), seed=SEED)
    assert (fitted.predict(test) == direct.predict(shown[2])).all()
    assert (fitted.predict(test).argmax(1) == everything[2].probs.argmax(1)).mean() > 0.95


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="each once"):
        Told(student=BagOfWords(), words=("a", "b"), template="{text}")
    with pytest.raises(InputError, match="different one for each class"):
        Told(student=BagOfWords(), words=("a", "a"))
    with pytest.raises(InputError, match="3 classes, expected 2"):
        told().check(n_rows=10, n_classes=3)
    rows = texts_of(4)
    with pytest.raises(InputError, match="told"):
        told().fit(rows, answers_of(rows), seed=SEED)


@pytest.mark.parametrize(
    ("words", "same"),
    [(("bad", "good"), ()), (("+", "-"), ("+", "-")), (("A", "a", "one"), ("A", "a", "one")[:2]), (("!", "no"), ())],
)
def test_a_bag_of_words_does_not_read_mere_signs(words: tuple[str, ...], same: tuple[str, ...]) -> None:
    assert alike(Told(student=BagOfWords(), words=words)) == same


def test_a_network_reads_what_its_tokenizer_tells_apart() -> None:
    """The embedded tokenizer lowers its words, so two that differ in case alone are one and the same."""
    student = Probe(backbone=Backbone(checkpoint=embedded(), depth=0, precision="float32", device="cpu"))
    assert alike(Told(student=student, words=("negative", "positive"))) == ()
    assert alike(Told(student=student, words=("yes", "no", "Yes"))) == ("yes", "Yes")


def test_first_coordinates_are_those_of_the_whole() -> None:
    whole = Backbone(checkpoint=embedded(), depth=0, precision="float32", device="cpu")
    part = FirstFeatures(checkpoint=embedded(), depth=0, precision="float32", device="cpu", first=5)
    rows = texts_of(7)
    known = np.random.default_rng(0).normal(size=(7, 16)).astype(np.float32)
    bank = FeatureBank()
    bank.add(whole, rows.ids, known)
    with using(bank):
        assert (features(part, rows) == known[:, :5]).all() and features(whole, rows).shape == (7, 16)
    assert part.whole == whole and whole.whole is whole and part.name == "minilm@0[:5]"
    assert describe(Probe(backbone=part)) != describe(Probe(backbone=whole))
    assert part.at(1).name == "minilm@1[:5]"
    with pytest.raises(InputError, match="first 0"):
        replace(part, first=0)


def test_a_probe_on_some_coordinates_is_one_on_a_narrower_network() -> None:
    """Other coordinates reach nothing: whatever they hold, fit and predictions are the same to the last bit."""
    rows, labels = texts_of(80), answers_of(texts_of(80))
    known = np.random.default_rng(0).normal(size=(80, 6)).astype(np.float32)
    part = FirstFeatures(checkpoint=embedded(), depth=0, precision="float32", device="cpu", first=3)
    found: list[Floats] = []
    for noise in (0.0, 5.0):
        from oversight.models.batching import designs

        designs.clear()
        bank = FeatureBank()
        bank.add(part.whole, rows.ids, known + np.float32(noise) * (np.arange(6) >= 3))
        with using(bank):
            found.append(Probe(backbone=part).fit(rows, labels, seed=SEED).predict(rows))
    assert (found[0] == found[1]).all()
    designs.clear()


def test_a_bank_gathers_rows_that_came_in_several_sets() -> None:
    backbone = Backbone(checkpoint=embedded(), depth=0, precision="float32", device="cpu")
    one, other = texts_of(3), texts_of(3, seed=9)
    known = np.arange(12, dtype=np.float32).reshape(6, 2)
    bank = FeatureBank()
    bank.add(backbone, one.ids, known[:3])
    bank.add(backbone, other.ids, known[3:])
    mixed = Rows(
        ids=(other.ids[1], one.ids[0]), texts=(other.texts[1], one.texts[0]), groups=(other.groups[1], one.groups[0])
    )
    found = bank.find(backbone, mixed)
    assert found is not None and (found == known[[4, 0]]).all()
    assert bank.find(backbone, texts_of(4)) is None
