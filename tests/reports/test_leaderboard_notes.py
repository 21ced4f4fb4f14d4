"""What stands below a leaderboard: undefined PGRs with their reason, how settings came about, one seed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from oversight.metrics.intervals import Estimate, Sample
from oversight.reports.leaderboard import Cell, Leaderboard, Standing, TaskLine
from oversight.reports.leaderboard_tables import as_markdown, as_text, notes

SAMPLE = Sample(200, 200, 3)
WITHIN = "the gap is within noise"


def known(value: float) -> Estimate:
    return SAMPLE.estimate(value, value - 0.1, value + 0.1)


def standing(method: str, **changes: Any) -> Standing:
    cells = {
        "pears": Cell(student=known(0.7), gain=known(0.0), pgr=known(0.5)),
        "plums": Cell(student=known(0.7), gain=known(0.0), pgr=SAMPLE.undefined(WITHIN)),
    }
    one = Standing(
        method=method,
        settings={},
        oracle=False,
        exploratory=None,
        gain=known(0.0),
        alone=known(0.0),
        pgr=known(0.5),
        median_pgr=0.5,
        undefined={"plums": WITHIN},
        rank=(1, 2),
        p=None,
        seconds=0.5,
        cells=cells,
    )
    return replace(one, **changes)


def board(*standings: Standing, **changes: Any) -> Leaderboard:
    line = TaskLine(
        name="pears",
        family="pears",
        metric="accuracy",
        n_test=200,
        n_groups=200,
        n_effective=200.0,
        weak=known(0.6),
        reference=known(0.7),
        ceiling=known(0.8),
        gap=known(0.2),
    )
    made = Leaderboard(
        reference="naive",
        weak_model="bow",
        strong_model="minilm",
        train="probe",
        weak_train="bow",
        seeds=3,
        tasks=(line, replace(line, name="plums", family="plums")),
        standings=standings or (standing("naive"), standing("confidence")),
        baselines=(),
        not_applicable={},
        unfinished={},
        differences={},
        correction="95 %",
        why_no_p="few",
    )
    return replace(made, **changes)


def told(one: Leaderboard) -> str:
    return "\n".join(notes(one))


def test_tasks_without_pgr_are_listed_once_with_the_reason() -> None:
    said = told(board())
    assert said.count(f"PGR is undefined on plums: {WITHIN}") == 1
    assert "undefined on" not in told(board(standing("naive", undefined={}), standing("other", undefined={})))


def test_a_method_that_differs_in_what_is_undefined_is_named() -> None:
    said = told(board(standing("naive", undefined={}), standing("confidence")))
    assert f"plums: {WITHIN} (confidence)" in said


def test_settings_and_how_often_each_method_was_tried_are_said() -> None:
    def trial(gain: float | None, *, chosen: bool = False) -> dict[str, Any]:
        return {"settings": {}, "gain_over_weak": gain, "chosen": chosen}

    tuning = {
        "development_tasks": ["nuts"],
        "trials": {
            "naive": [trial(0.1, chosen=True)],
            "confidence": [trial(0.1), trial(None), trial(0.2, chosen=True)],
        },
        "recipe": {"strong": {"lr": 0.001}},
    }
    chosen = standing("confidence", settings={"aux_weight": 0.25})
    said = told(board(standing("naive"), chosen, tuning=tuning))
    assert "settings were chosen on nuts; settings tried: naive 1, confidence 3" in said
    assert "confidence: 1 of 3 trials failed" in said and "confidence: aux_weight = 0.25" in said
    assert "given by hand for every method: strong.lr = 0.001" in said


def test_one_seed_says_of_what_its_intervals_speak() -> None:
    assert "one seed: intervals speak of these trained models" in told(board(seeds=1))
    assert f"intervals cover {board().covers}" in told(board())
    assert "one seed" not in told(board()) and "1 seed, 2 tasks in 2 families" in told(board(seeds=1))


def test_text_and_markdown_hold_the_same_notes_and_no_nan() -> None:
    one = board()
    for text in (" ".join(as_text(one).split()), as_markdown(one)):
        assert f"PGR is undefined on plums: {WITHIN}" in text and "nan" not in text
    assert math.isnan(one.standings[0].cells["plums"].pgr.value)
