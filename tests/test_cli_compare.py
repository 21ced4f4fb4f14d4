"""`oversight compare` as a user meets it: the board, what does not apply, tuning, own methods, errors, and resuming."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.methods import METHODS
from oversight.metrics.intervals import moments
from oversight.runs.store import DirectoryStore

Call = Callable[..., Any]
BASE = ("--weak", "bow", "--strong", "./tiny", "--seeds", "3")
OWN = '''
"""A user's own methods, in one file."""
from dataclasses import dataclass
from oversight.methods.method import Needs


def squared(logits, targets, *, progress):
    return ((logits.softmax(-1) - targets) ** 2).sum(-1).mean()


@dataclass(frozen=True)
class Halved:
    share: float = 0.5

    @property
    def needs(self):
        return Needs()

    def train(self, student, data, *, seed):
        rows = data.rows.take(i for i, one in enumerate(data.rows.ids) if int(one, 16) % 100 < 100 * self.share)
        return student.fit(rows, data.only, validation=data.checks, seed=seed)


NUMBER = 3
'''


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, save_tiny: Callable[..., Path]) -> Path:
    """An encoder of two blocks."""
    return save_tiny(tmp_path_factory.mktemp("network") / "tiny", "bert")


@pytest.fixture
def sets(place: Path, network: Path, planted_rows: Call, write_lines: Call) -> list[str]:
    """Three data sets, two of them twins by name, beside a tiny network."""
    shutil.copytree(network, place / "tiny")
    for i, name in enumerate(("apples", "apples_cf", "pears")):
        write_lines(place / f"{name}.jsonl", planted_rows(300, seed=i))
    (place / "own.py").write_text(OWN)
    return ["apples.jsonl", "apples_cf.jsonl", "pears.jsonl"]


def by_name(board: dict[str, Any], kind: str = "methods", key: str = "method") -> dict[str, dict[str, Any]]:
    return {one[key]: one for one in board[kind]}


def test_the_board_holds_every_method_task_and_baseline(oversight: Call, sets: list[str]) -> None:
    said = oversight("compare", *sets, *BASE, "--methods", "naive,confidence,reverse_kl", "--json")
    assert said.code == 0, said.err
    board = said.json
    assert board["methods"][0]["method"] == "naive"
    assert set(by_name(board)) == {"naive", "confidence", "reverse_kl"}
    assert [one["name"] for one in board["tasks"]] == ["apples", "apples_cf", "pears"]
    assert [one["family"] for one in board["tasks"]] == ["apples", "apples", "pears"]
    baselines = by_name(board, "baselines", "name")
    assert {"weak to weak", "strong on random labels", "majority class", "bag of words"} < set(baselines)
    of_decoders = {"strong, zero-shot", "unsupervised elicitation (ICM)"}
    assert all(len(one["scores"]) == 3 for name, one in baselines.items() if name not in of_decoders)
    assert all("encoder" in baselines[name]["missing"]["apples"] for name in of_decoders)
    assert "Bonferroni" in board["correction"] and "ten task families" in board["why_no_p"]
    gain = by_name(board)["naive"]["gain"]
    assert {gain.pop("value"), gain.pop("low"), gain.pop("high")} == {0.0}
    assert 140 < gain["n_effective"] <= 150  # of two test sets each; a few rows resemble each other


def test_a_gain_is_the_mean_over_families_of_the_stored_predictions(oversight: Call, sets: list[str]) -> None:
    """From the per-row probabilities in the store, by the definition."""
    import oversight as ov

    board = oversight("compare", *sets, *BASE, "--methods", "naive,confidence", "--json").json
    gains = {}
    for name in sets:
        both = ov.weak_to_strong(name, weak="bow", strong="./tiny", method=["naive", "confidence"], seeds=3)
        naive, confidence = (both.rows(i) for i in (0, 1))
        right = [one.probs["student"].argmax(2) == one.truth for one in (naive, confidence)]
        gains[name] = right[1].mean() - right[0].mean()
        own = moments(np.stack(right, axis=1).astype(float), naive.groups)
        cell = by_name(board)["confidence"]["tasks"][name.removesuffix(".jsonl")]
        assert cell["gain"]["value"] == pytest.approx(float(own.p[1] - own.p[0]), abs=1e-12)
    mean = ((gains["apples.jsonl"] + gains["apples_cf.jsonl"]) / 2 + gains["pears.jsonl"]) / 2
    assert by_name(board)["confidence"]["gain"]["value"] == pytest.approx(mean, abs=1e-12)


def test_all_runs_what_applies_and_says_why_the_rest_does_not(oversight: Call, sets: list[str]) -> None:
    said = oversight("compare", sets[0], *BASE, "--dry-run", "--json")
    assert said.code == 0, said.err
    found = said.json
    named = set(found["methods"]) | set(found["not_applicable"])
    assert named == set(METHODS)
    assert "needs 2 or more supervisors, found 1" in found["not_applicable"]["mean"]
    assert "students on the way" in found["not_applicable"]["bootstrap"]
    assert found["methods"][0] == "naive"


def test_several_supervisors_are_compared_with_their_mean(oversight: Call, sets: list[str]) -> None:
    words = ("--weak", "bow+./tiny@0", "--strong", "./tiny", "--seeds", "2")
    said = oversight("compare", sets[0], *words, "--methods", "log_odds_mean", "--json")
    assert said.code == 0, said.err
    assert said.json["reference"] == "mean"
    assert [one["method"] for one in said.json["methods"]] == ["mean", "log_odds_mean"]


def test_a_method_of_ones_own_runs_from_its_file(oversight: Call, sets: list[str]) -> None:
    words = ("--methods", "naive", "--method", "own.py:squared", "--method", "own.py:Halved")
    board = oversight("compare", sets[0], *BASE, *words, "--json").json
    assert set(by_name(board)) == {"naive", "squared", "Halved"}
    again = oversight("w2s", sets[0], *BASE, "--method", "own.py:Halved", "--json")
    assert again.code == 0 and again.json["method"] == "Halved"


def test_another_text_in_the_file_is_another_method(oversight: Call, sets: list[str], place: Path) -> None:
    words = ("w2s", sets[0], *BASE, "--method", "own.py:squared", "--json")
    first = oversight(*words).json["keys"]["student"]
    assert oversight(*words).json["keys"]["student"] == first
    (place / "own.py").write_text(OWN.replace("** 2", "** 4"))
    assert not set(first) & set(oversight(*words).json["keys"]["student"])


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("own.py:squarred", "unknown name in own.py 'squarred': did you mean 'squared'?"),
        ("nowhere.py:f", "No such file"),
        ("own.py:NUMBER", "found int, expected a function"),
        ("broken.py:f", "cannot be imported: SyntaxError"),
        ("naiv", "unknown method 'naiv': did you mean 'naive'?"),
    ],
)
def test_a_method_that_is_not_there_is_refused_in_one_line(
    refused: Call, sets: list[str], place: Path, method: str, says: str
) -> None:
    (place / "broken.py").write_text("def f(:\n")
    assert says in refused("compare", sets[0], *BASE, "--methods", "naive", "--method", method)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--dev", "apples_cf.jsonl"), "--dev: found apples_cf.jsonl, of one family with apples.jsonl"),
        (("--dev", "apples.jsonl"), "found the task apples.jsonl twice"),
        (("--set", "confidence.aux_weight=2"), "found 2, expected a number in [0, 1]"),
        (("--set", "confidence.aux=1"), "aux"),
        (("--trials", "0"), "--trials: found 0"),
        (("--family", "fruit=apples.jsonl"), "expected NAME=TASK,TASK"),
        (("--family", "fruit=apples.jsonl,plums.jsonl"), "found plums.jsonl, expected tasks of this comparison"),
        (("--methods", "mean"), "needs 2 or more supervisors, found 1"),
        (("--report", "board.txt"), "expected a name that ends in .html, .md or .json"),
        (("--metric", "auroc"), "auroc"),
    ],
)
def test_a_bad_word_is_refused_in_one_line(refused: Call, sets: list[str], words: tuple[str, ...], says: str) -> None:
    assert says in refused("compare", sets[0], *BASE, *words)


def test_settings_are_chosen_on_development_tasks_and_frozen(oversight: Call, sets: list[str]) -> None:
    words = (*BASE, "--methods", "naive,confidence", "--dev", "apples.jsonl", "--trials", "2", "--json")
    board = oversight("compare", "pears.jsonl", *words).json
    trials = board["tuning"]["trials"]
    assert [one["settings"] for one in trials["confidence"]] == [{}, {"aux_weight": 0.25}]
    assert len(trials["naive"]) == 1, "a method without settings has nothing to try"
    (chosen,) = [one for one in trials["confidence"] if one["chosen"]]
    assert chosen["gain_over_weak"] == max(one["gain_over_weak"] for one in trials["confidence"])
    assert by_name(board)["confidence"]["settings"] == chosen["settings"]
    assert "apples" not in {one["name"] for one in board["tasks"]}
    assert by_name(board)["confidence"]["exploratory"] is None


def test_a_setting_given_by_hand_is_marked_exploratory(oversight: Call, sets: list[str]) -> None:
    words = (*BASE, "--methods", "naive,confidence", "--set", "confidence.aux_weight=0.75", "--json")
    board = oversight("compare", sets[0], *words).json
    assert "by hand" in by_name(board)["confidence"]["exploratory"]
    assert by_name(board)["naive"]["exploratory"] is None


TURNED = """
from dataclasses import dataclass, replace
from typing import ClassVar

import oversight as ov


@dataclass(frozen=True)
class Turned:
    share: float = 1.0
    needs: ClassVar = ov.Needs()
    trials: ClassVar = ({}, {"share": 0.75}, {"share": 0.0})

    def train(self, student, data, *, seed):
        given = data.only
        turned = self.share * given.probs[:, ::-1] + (1 - self.share) * given.probs
        return student.fit(data.rows, replace(given, probs=turned), validation=data.checks, seed=seed)
"""


@pytest.mark.parametrize("scored_before", [True, False])
def test_a_tuned_setting_after_others_were_scored_on_the_same_rows_is_exploratory(
    oversight: Call, sets: list[str], place: Path, scored_before: bool
) -> None:
    """The method turns labels around unless it is tuned, so the same setting is chosen whatever is drawn."""
    (place / "mine.py").write_text(TURNED)
    if scored_before:
        assert oversight("w2s", "pears.jsonl", *BASE, "--method", "mine.py:Turned").code == 0
    words = ("--methods", "naive", "--method", "mine.py:Turned", "--dev", "apples.jsonl", "--trials", "3", "--json")
    found = by_name(oversight("compare", "pears.jsonl", *BASE, *words).json)["Turned"]
    assert found["settings"] == {"share": 0.0}
    if scored_before:
        assert "had been scored on the test rows of pears" in found["exploratory"]
    else:
        assert found["exploratory"] is None


def test_asked_again_nothing_is_computed(oversight: Call, sets: list[str], published: Call) -> None:
    words = ("compare", sets[0], *BASE, "--methods", "naive,confidence")
    oversight(*words)
    before = published()
    said = oversight(*words)
    assert said.code == 0 and published() == before and len(before) > 20


def test_what_failed_is_named_and_the_others_are_compared(oversight: Call, sets: list[str], place: Path) -> None:
    (place / "bad.py").write_text("def bad(logits, targets, *, progress):\n    raise RuntimeError('never')\n")
    said = oversight("compare", sets[0], *BASE, "--methods", "naive,confidence", "--method", "bad.py:bad", "--json")
    assert said.code == 1
    assert "never" in said.json["unfinished"]["bad"]
    assert set(by_name(said.json)) == {"naive", "confidence"}


@pytest.mark.parametrize("ending", [".md", ".json", ".html"])
def test_a_board_can_be_written_to_a_file(oversight: Call, sets: list[str], place: Path, ending: str) -> None:
    words = ("compare", sets[0], *BASE, "--methods", "naive,confidence,hard", "--report", f"board{ending}")
    assert oversight(*words).code == 0
    text = (place / f"board{ending}").read_text()
    assert "confidence" in text and "Bonferroni" in text
    if ending == ".json":
        assert not any(isinstance(one, float) and math.isnan(one) for one in json.loads(text)["methods"][0].values())


def test_two_workers_give_the_same_board(oversight: Call, sets: list[str]) -> None:
    words = ("compare", *sets[:2], *BASE, "--methods", "naive,confidence", "--json")
    alone = oversight(*words).json
    together = oversight(*words, "--workers", "2", "--store", "other").json
    for board in (alone, together):
        board.pop("about")
        for one in board["methods"]:
            one.pop("seconds")
    assert alone == together


def test_the_kept_study_of_a_comparison_keeps_its_baselines(oversight: Call, sets: list[str], place: Path) -> None:
    oversight("compare", sets[0], *BASE, "--methods", "naive")
    before = len(list(DirectoryStore(place / "oversight-store").keys()))
    assert oversight("gc", "--delete").code == 0
    assert len(list(DirectoryStore(place / "oversight-store").keys())) == before


def test_in_python_a_board_can_be_read(sets: list[str]) -> None:
    from oversight.resolve.comparing import compare

    board = compare(sets[0], weak="bow", strong="./tiny", methods=["confidence"], seeds=2, store=":memory:")
    assert board.standing("confidence").verdict in {"better", "worse", "not told apart"}
    assert "confidence" in str(board)
    with pytest.raises(KeyError):
        board.standing("nothing")
