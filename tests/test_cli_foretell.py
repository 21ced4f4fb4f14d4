"""`oversight w2s --theory` tells its prediction first: what is in the store by then, and what is printed where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oversight.cli import printing
from oversight.runs.store import DirectoryStore

PAIR = ("--weak", "bow", "--strong", "bow", "--seeds", "2")
LEAD = "Predicted before any true label of transfer, validation or test rows was used"


@pytest.fixture
def data(place: Path, reviews_of: Callable[..., Any], write_lines: Callable[..., Path]) -> Path:
    return write_lines(place / "data.jsonl", reviews_of(160))


@pytest.fixture
def steps_when_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """The kinds of steps that the store held whenever a prediction was printed."""
    seen: list[set[str]] = []
    told = printing.print_foretold

    def note(foretold: Any, overlapping: Any) -> None:
        kept = DirectoryStore(place / "oversight-store")
        seen.append({str(kept.about(key)["kind"]) for key in list(kept.keys())} if foretold else set())
        told(foretold, overlapping)

    monkeypatch.setattr(printing, "print_foretold", note)
    return seen


@pytest.mark.usefixtures("data")
def test_nobody_who_did_not_ask_is_told_of_theory(
    oversight: Callable[..., Any], steps_when_told: list[set[str]], place: Path
) -> None:
    said = oversight("w2s", "data.jsonl", *PAIR, "--report", "all.md")
    assert (said.code, said.err) == (0, "") and steps_when_told == [set()]
    for text in (said.out, (place / "all.md").read_text(), oversight("report", "-o", "-", "--format", "md").out):
        assert "bow" in text
        assert not any(word in text for word in ("theory", "at least", "Predicted", "did not hold", "overlap"))
    assert "theory" in oversight("report", "-o", "-", "--format", "md", "--theory").out


@pytest.mark.usefixtures("data")
def test_ceilings_truth_and_scores_come_after_the_prediction(
    oversight: Callable[..., Any], steps_when_told: list[set[str]], place: Path
) -> None:
    said = oversight("w2s", "data.jsonl", *PAIR, "--theory", "--report", "all.md")
    assert (said.code, said.err) == (0, "")
    assert steps_when_told == [{"supervise", "teach"}]
    first, line, *limits = said.out.splitlines()[:4]
    assert first.startswith(LEAD) and "says nothing of accuracy" in limits[-1]
    assert "It follows only if" in limits[0] and limits[-1].startswith("  Of ") and "to hold in" in limits[-1]
    assert line.startswith("  bow -> bow, naive: a gain of at least ") and "in Brier score" in line
    assert "theory" in (place / "all.md").read_text()
    again = oversight("w2s", "data.jsonl", *PAIR, "--theory")
    told = again.out.splitlines()[1]
    assert told == f"{line}; scored in an earlier run"
    words = " ".join(again.out.split())
    assert "theory Brier score: gain" in words and "theory NLL (nats): gain" in words


@pytest.mark.usefixtures("data")
def test_json_is_the_one_object_and_holds_prediction_and_gain(oversight: Callable[..., Any]) -> None:
    study = oversight("w2s", "data.jsonl", *PAIR, "--json").json
    theory = study["theory"]
    for name, loss in (("squared", "brier"), ("kl", "nll")):
        one = theory[name]
        gain = study["weak"][loss]["value"] - study["student"][loss]["value"]
        assert one["realised"]["value"] == pytest.approx(gain, rel=1e-9)
        assert one["surplus"]["value"] == pytest.approx(gain - one["predicted"]["value"], rel=1e-9)
        assert one["holds"] in (True, False, None) and one["unit"] and one["reason"] is None
    assert set(theory["similarity"]) == {"capa_student", "capa_ceiling", "errors_student", "errors_ceiling"}
    assert len(theory["assumptions"]) == 4 and set(theory["came_true"]) == {"squared", "kl"}
    told = oversight("w2s", "data.jsonl", *PAIR, "--theory").out.splitlines()[1]
    assert f"{theory['squared']['predicted']['value']:.4f}" in told


@pytest.mark.usefixtures("data")
def test_a_dry_run_predicts_nothing(oversight: Callable[..., Any], steps_when_told: list[set[str]]) -> None:
    said = oversight("w2s", "data.jsonl", *PAIR, "--theory", "--dry-run")
    assert said.code == 0 and LEAD not in said.out and steps_when_told == []


@pytest.mark.usefixtures("data")
def test_a_method_that_saw_the_truth_is_named_without_a_prediction(oversight: Callable[..., Any]) -> None:
    said = oversight("w2s", "data.jsonl", *PAIR, "--theory", "--method", "naive", "--method", "oracle_early_stopping")
    lines = said.out.splitlines()
    assert lines[1].startswith("  bow -> bow, naive: a gain")
    assert lines[2] == "  bow -> bow, oracle_early_stopping: no prediction (the method saw ground truth)"


@pytest.mark.usefixtures("data")
def test_where_the_student_reads_features_their_overlap_is_told(oversight: Callable[..., Any]) -> None:
    words = ("w2s", "data.jsonl", "--weak", "bow", "--strong", "minilm@0", "--seeds", "2", "--theory")
    told = [line for line in oversight(*words).out.splitlines() if "overlap" in line]
    assert len(told) == 2 and "Shin et al. 2024" in told[1]
    assert told[0].startswith("  bow -> minilm@0: easy and hard features overlap in 0.")
    assert "of the transfer rows (seeds 0." in told[0] and "the supervisor is unsure of 0." in told[0]
    assert "overlap" not in oversight(*words, "--json").out
