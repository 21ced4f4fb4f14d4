"""The stress suite on planted worlds of which the result is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.errors import InputError
from oversight.methods.method import WithLoss
from oversight.metrics.intervals import Estimate
from oversight.models.lexical import BagOfWords
from oversight.models.probe import Probe
from oversight.models.told import Told
from oversight.reports.result import Result
from oversight.reports.stress import Claim, Stress
from oversight.runs.store import MemoryStore
from oversight.studies.planted import CHECKS, answers_for, leaking, suite_of, words_for
from oversight.studies.stored import PLANTED
from oversight.studies.stress import ABOVE, stress_of
from oversight.studies.sweep import run_sweep
from oversight.studies.weak_to_strong import Arm, Setup, plan_studies, seeds_of
from oversight.supervision.corruption import STRUCTURES, Corrupted
from oversight.supervision.supervisor import Given, Trained
from oversight.tasks.split import split_task
from oversight.tasks.task import Labels, Task, content_id

Run = Callable[..., Result]
NAIVE = WithLoss()


def test_a_student_that_can_copy_gains_nothing(make_task: Callable[..., Task], reader: Any, run_arm: Run) -> None:
    """A supervisor on two of the eight numbers that the student reads: soft labels of it are linear in them."""
    study = run_arm(make_task(n=3000, signal=0.4), Trained(reader(2)), reader(8), NAIVE, seeds=5)[0]
    assert study.pgr.defined and study.pgr.low <= 0 <= study.pgr.high and study.pgr.high < 0.1
    assert study.agreement["all"].low > study.score("weak").high and study.agreement["all"].value > 0.97


def test_noise_of_the_same_accuracy_is_averaged_out(make_task: Callable[..., Task], reader: Any, run_arm: Run) -> None:
    task = make_task(n=3200, signal=0.9)
    like = Trained(reader(2))
    study = run_arm(task, Corrupted(structure="random", like=like), reader(8), NAIVE, seeds=5)[0]
    copied = run_arm(task, like, reader(8), NAIVE, seeds=5)[0]
    assert study.score("weak").value == copied.score("weak").value
    assert study.gain.low > 0 and study.pgr.value > 0.8
    shares = [study.agreement[name] for name in ("weak_right", "weak_wrong")]
    assert abs(shares[0].value - (1 - shares[1].value)) < 0.03  # it errs on flipped rows as often as on others


def test_a_told_student_repeats_its_supervisor(word_task: Task, bow: BagOfWords, run_arm: Run) -> None:
    weak = Trained(BagOfWords(strengths=(0.003,), min_df=30, name="poor"))
    told = Told(student=bow, words=("yes", "no"))
    plain, heard = (run_arm(word_task, weak, student, NAIVE, seeds=3)[0] for student in (bow, told))
    assert heard.agreement["all"].value > max(0.97, plain.agreement["all"].value)
    assert abs(heard.gain.value) < 0.02
    assert heard.strong_model == "bow, told" and heard.score("weak").value == plain.score("weak").value


def test_told_features_are_extracted_once_for_all_seeds(
    word_task: Task, probe: Callable[..., Probe], save_encoder: Callable[..., Path], tmp_path: Path, run_arm: Run
) -> None:
    """Two texts per row in the store, none in the fits; the ceiling reads the same prompts as the student."""
    from oversight.models import features

    student = probe(save_encoder(tmp_path / "net"))
    store = MemoryStore()
    told = Told(student=student, words=("w0", "w17"))
    calls: list[int] = []
    extract = features.extract

    def counted(backbone: Any, rows: Any, **options: Any) -> Any:
        calls.append(len(rows))
        return extract(backbone, rows, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("oversight.studies.kinds.extract", counted)
        patch.setattr("oversight.models.features.extract", counted)
        study = run_arm(word_task, Trained(BagOfWords(strengths=(0.003,))), told, NAIVE, store=store, seeds=2)[0]
    assert calls == [480, 480]
    assert study.agreement["all"].value > 0.9


def test_a_leak_is_warned_of_and_everybody_is_right(word_task: Task, bow: BagOfWords, run_arm: Run) -> None:
    task = leaking(word_task, words_for(word_task), name="a word")
    study = run_arm(task, Trained(bow), bow, NAIVE, seeds=2)[0]
    assert min(study.score(role).value for role in ("weak", "student", "ceiling")) > 0.99
    assert sum("give the answer away" in line or "single word" in line for line in study.warnings) == 2
    plain = run_arm(word_task, Trained(BagOfWords(strengths=(0.003,), min_df=30)), bow, NAIVE, seeds=2)[0]
    assert not any("give the answer away" in line for line in plain.warnings)


def test_a_leak_keeps_groups_and_test_rows(word_task: Task) -> None:
    task = leaking(word_task, words_for(word_task), name="a word")
    before = {text for text in word_task.pick(split_task(word_task, seed=0).test).texts}
    after = {text.partition(" (ref")[0] for text in task.pick(split_task(task, seed=0).test).texts}
    assert after == before and task.rows.groups == word_task.rows.groups
    assert (task.labels == word_task.labels).all()


def setup_of(task: Task, weak: Any, student: Any, *, seeds: int = 2, methods: tuple[str, ...] = ("naive",)) -> Setup:
    arms = tuple(Arm(supervisors=(weak,), student=student, method=NAIVE, method_name=name) for name in methods)
    return Setup(task=task, arms=arms, seeds=seeds_of(seeds), metric="accuracy")


def run_suite(setup: Setup, checks: tuple[str, ...] = tuple(CHECKS)) -> Stress:
    store = MemoryStore()
    suite = suite_of(setup, checks=checks)
    swept = run_sweep(plan_studies(suite.setups), title="stress", store=store)
    assert not swept.summary.failed
    return stress_of(suite, swept, store, checks=checks)


@pytest.fixture(scope="module")
def suite(
    word_task: Task, probe: Callable[..., Probe], save_encoder: Callable[..., Path], tmp_path_factory: Any
) -> Stress:
    """All checks with a tiny encoder as the student, which knows the words that classes are called by."""
    task = replace(word_task, class_names=("w0", "w17"))
    student = probe(save_encoder(tmp_path_factory.mktemp("net") / "net"))
    return run_suite(setup_of(task, Trained(BagOfWords(strengths=(0.1,), min_df=40)), student, seeds=3))


def test_every_check_has_its_studies_and_claims(suite: Stress) -> None:
    assert {one.check for one in suite.figures} == set(CHECKS) == {one.check for one in suite.claims}
    assert all(one.study is not None for one in suite.figures) and not suite.left_out
    assert [one.name for one in suite.figures if one.check == "errors"] == list(STRUCTURES)
    verdicts = {(one.check, one.planted, one.expected[:7]): one.verdict for one in suite.claims}
    assert verdicts["errors", "all six", "one and"] == "pass"
    assert verdicts["simulable", "same coordinates", "agrees "] == "pass"
    assert verdicts["leak", "a word", "a warni"] == verdicts["leak", "a format", "a warni"] == "pass"
    assert not suite.broken, str(suite)


def test_six_structures_have_one_accuracy_in_every_table(suite: Stress) -> None:
    scores = {one.study.score("weak").value for one in suite.figures if one.check == "errors" and one.study}
    assert len(scores) == 1
    told = next(one for one in suite.claims if one.planted == "all six" and one.held is not None).told
    assert told.startswith("wrong on ") and told.endswith("test rows, by seed")


def test_it_reads_as_text_and_as_json(suite: Stress) -> None:
    text, found = str(suite), suite.as_json()
    for check in CHECKS:
        assert f"{check}: " in text
    assert found["counts"] == suite.counts and sum(suite.counts.values()) == len(suite.claims)
    assert len(found["studies"]) == len(suite.figures) and found["unfinished"] == []
    assert {"check", "planted", "expected", "must", "seen", "verdict", "range"} <= set(found["claims"][0])
    assert not any(isinstance(one, float) and not math.isfinite(one) for c in found["claims"] for one in c["range"])


def imitating(task: Task, student: Any) -> list[Claim]:
    setup = setup_of(task, Trained(BagOfWords(strengths=(0.003,), min_df=30)), student)
    return list(run_suite(setup, ("imitation",)).claims)


def test_an_answer_that_is_cut_off_shows_nothing(
    word_task: Task, probe: Callable[..., Probe], save_encoder: Callable[..., Path], tmp_path: Path
) -> None:
    """Eleven tokens end with the text and `I think`; at 64 all is read."""
    task = replace(word_task, class_names=("w0", "w17"))
    student = probe(save_encoder(tmp_path / "net"))
    short = replace(student, backbone=replace(student.backbone, max_tokens=11))
    cut = imitating(task, short)
    assert [one.verdict for one in cut] == ["not shown"] * 3
    assert all(one.told.startswith("cannot be seen: 480 of 480 prompts are cut at 11 tokens") for one in cut)
    assert all(one.as_json()["seen"] is None for one in cut)
    whole = imitating(task, student)
    assert all(one.seen is not None and one.verdict != "FAIL" for one in whole)


def test_few_texts_that_are_cut_off_change_nothing(
    word_task: Task, probe: Callable[..., Probe], save_encoder: Callable[..., Path], tmp_path: Path
) -> None:
    """Four prompts of 480 are longer than the limit, under one in a hundred; five are more."""
    student = probe(save_encoder(tmp_path / "net"))
    rows = word_task.rows
    for n, verdicts in ((4, False), (5, True)):
        texts = tuple(text + " w3" * 60 if i < n else text for i, text in enumerate(rows.texts))
        ids = tuple(map(content_id, texts))
        task = replace(word_task, class_names=("w0", "w17"), rows=replace(rows, texts=texts, ids=ids))
        found = imitating(task, student)
        assert all((one.seen is None) == verdicts for one in found)


def test_words_that_the_student_does_not_know_show_nothing(
    word_task: Task, probe: Callable[..., Probe], save_encoder: Callable[..., Path], tmp_path: Path
) -> None:
    """The toy vocabulary has neither `no` nor `yes`: both are one and the same token to this student."""
    found = imitating(word_task, probe(save_encoder(tmp_path / "net")))
    assert [one.verdict for one in found] == ["not shown"] * 3
    assert all("tiny, told reads the answers no, yes as the same" in one.told for one in found)


def test_what_does_not_apply_is_left_out_with_its_reason(word_task: Task, bow: BagOfWords) -> None:
    rows = word_task.rows
    given = Given(Labels.of(rows, np.eye(2)[word_task.labels], source="people"), "labels:people")
    found = suite_of(setup_of(word_task, given, bow), checks=tuple(CHECKS))
    assert set(found.left_out) == {"simulable", "leak"}
    assert "bow has no features" in found.left_out["simulable"]
    pairs = replace(word_task, rows=replace(rows, others=tuple(reversed(rows.texts))), class_names=("second", "first"))
    assert "pairs" in suite_of(setup_of(pairs, Trained(bow), bow), checks=("imitation", "errors")).left_out["imitation"]
    with pytest.raises(InputError, match="no check applies: simulable"):
        suite_of(setup_of(word_task, given, bow), checks=("simulable",))


def test_studies_of_planted_truth_have_no_theory_and_the_others_have(suite: Stress) -> None:
    """Planted are the labels of noise and of other error structures, and the rows in which the answer stands."""
    for one in suite.figures:
        assert one.study is not None
        planted = one.study.weak_model.startswith("planted:") or one.check == "leak"
        assert (one.study.theory is None) == planted, one.name
    assert {one.study.no_theory for one in suite.figures if one.study} == {None, PLANTED}


def test_several_supervisors_are_refused(word_task: Task, bow: BagOfWords) -> None:
    setup = setup_of(word_task, Trained(bow), bow)
    both = replace(setup, arms=(replace(setup.arms[0], supervisors=(Trained(bow), Trained(bow))),))
    with pytest.raises(InputError, match=r"bow\+bow, expected one"):
        suite_of(both, checks=tuple(CHECKS))


@pytest.mark.parametrize(
    ("names", "words"),
    [(("0", "1"), ("no", "yes")), (("0", "1", "2"), ("zero", "one", "two")), (("bad", "good"), ("bad", "good"))],
)
def test_answers_are_words_that_every_model_reads(word_task: Task, names: tuple[str, ...], words: Any) -> None:
    assert answers_for(replace(word_task, class_names=names)) == words


@pytest.mark.parametrize(
    ("low", "high", "must", "verdict"),
    [
        (0.01, 0.02, True, "pass"),
        (-0.2, 0.02, True, "not shown"),
        (0.11, 0.2, True, "FAIL"),
        (0.11, 0.2, False, "differs"),
        (0.1, 0.1, True, "pass"),
        (math.nan, math.nan, True, "not shown"),
    ],
)
def test_a_verdict_says_no_more_than_the_interval(low: float, high: float, must: bool, verdict: str) -> None:
    seen = Estimate((low + high) / 2, low, high, 100, 100, 5, None, "seeds and test groups")
    claim = Claim(check="errors", planted="x", expected="y", seen=seen, low=-0.1, high=0.1, must=must)
    assert claim.verdict == verdict and claim.broken == (verdict == "FAIL")


def test_a_claim_without_a_number_holds_or_does_not() -> None:
    held = {one: Claim(check="leak", planted="x", expected="y", held=one).verdict for one in (True, False, None)}
    assert held == {True: "pass", False: "FAIL", None: "not shown"}


def test_exactly_on_an_open_bound_is_no_contradiction() -> None:
    """Two students that are equal to the row: `above 0` is not shown, and not contradicted."""
    seen = Estimate(0.0, 0.0, 0.0, 100, 100, 5, None, "seeds and test rows")
    assert Claim(check="imitation", planted="told", expected="above 0", seen=seen, low=ABOVE).verdict == "not shown"
    assert Claim(check="imitation", planted="told", expected="below 0", seen=seen, high=-ABOVE).verdict == "not shown"
