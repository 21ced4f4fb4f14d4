"""How numbers read: decimals, missing parts, and sentences that claim no more than an interval shows."""

from __future__ import annotations

import math

import pytest
from synthetic_results import WITHIN_NOISE, estimate, ladder, study

from oversight.metrics.intervals import Estimate
from oversight.reports.result import Result
from oversight.reports.verdicts import overview, percent, sentence, verdict
from oversight.reports.words import clean, context, fact, interval, notes, number, shown, value_of, warnings


def between(low: float, value: float, high: float) -> Estimate:
    return Estimate(value, low, high, 812, 203, 5, None, "seeds and test groups")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.69, 0.73, "[0.69, 0.73]"),
        (0.004, 0.026, "[0.004, 0.026]"),
        (0.0004, 0.1, "[0.0004, 0.1000]"),
        (-0.3, 0.0, "[-0.30, 0.00]"),
        (0.5, 0.5, "[0.50, 0.50]"),
        (0.70, 0.71, "[0.700, 0.710]"),
        (math.nan, math.nan, "[no interval]"),
    ],
)
def test_an_interval_shows_its_width_and_no_false_zero(low: float, high: float, expected: str) -> None:
    assert interval(between(low, 0.5, high)) == expected


def test_a_value_has_as_many_decimals_as_its_interval() -> None:
    assert value_of(between(0.00041, 0.00052, 0.00063)) == "0.00052"


def test_numbers_are_never_minus_zero_nor_nan() -> None:
    assert number(-0.0001) == "0.000"
    assert number(math.nan) == number(None) == number(math.inf) == "undefined"


def test_what_is_undefined_says_why() -> None:
    assert shown(estimate(0, reason=WITHIN_NOISE)) == "undefined: the gap is within noise"
    lone = Estimate(0.7, math.nan, math.nan, 30, 1, 5, "one group of test rows: no interval", "seeds and test groups")
    assert shown(lone) == "0.700 [no interval]"


def test_clean_makes_one_harmless_line() -> None:
    assert clean("a\x1b[31m\n\tb\u202e\ud800 ") == "a [31m b?"
    assert clean("x" * 50, limit=10) == "x" * 9 + "…"


def test_facts_are_short() -> None:
    assert fact({"penalty": 0.1, "tried": [{"a": 1}, {"a": 2}], "ok": True, "x": None, "bad": math.nan}) == (
        "penalty: 0.1, tried: 2, ok: yes, x: not set, bad: undefined"
    )


@pytest.mark.parametrize(
    ("low", "value", "high", "expected", "forbidden"),
    [
        (0.48, 0.61, 0.73, "It recovers 61 % of the gap (95 % interval: 48 % to 73 %).", "not shown"),
        (-0.1, 0.2, 0.5, "not shown to be better than its supervisor", "recovers"),
        (-0.5, 0.5, 1.5, "does not tell how much", "recovers 50"),
        (-0.9, -0.5, -0.1, "does worse than its supervisor", "recovers"),
        (0.6, 0.9, 1.1, "not shown to fall short of its ceiling", "better than"),
        (1.1, 1.3, 1.6, "does better than its ceiling", "fall short"),
    ],
)
def test_the_verdict_follows_the_interval(low: float, value: float, high: float, expected: str, forbidden: str) -> None:
    text = verdict(study(pgr=between(low, value, high)))
    assert expected in text
    assert forbidden not in text


def test_the_sentence_names_the_numbers() -> None:
    assert sentence(study()) == (
        "minilm@4, taught by bow with naive, scores 0.779 (accuracy); its supervisor scores 0.712, its ceiling 0.823. "
        "It recovers 60 % of the gap (95 % interval: 48 % to 73 %)."
    )


def test_an_undefined_pgr_is_explained_with_its_gap() -> None:
    text = sentence(study(undefined=WITHIN_NOISE))
    assert text.endswith("PGR is undefined: the gap is within noise (gap 0.111 [0.08, 0.14]).")
    assert "recovers" not in text


def test_one_seed_speaks_of_these_models_only() -> None:
    assert "these trained models only" in sentence(study(seeds=1))
    assert "trained models" not in sentence(study())


def test_an_oracle_is_named() -> None:
    assert "an oracle that saw ground truth" in sentence(study(oracle=True, method="oracle_filter"))


def test_percent_never_rounds_into_nothing_or_all() -> None:
    assert [percent(x) for x in (0.61, 0.004, 0.998, 0.0, 1.0, -0.003)] == [
        "61 %",
        "0.4 %",
        "99.8 %",
        "0 %",
        "100 %",
        "-0.3 %",
    ]


def test_the_overview_counts_what_intervals_show() -> None:
    result = ladder()
    above = sum(one.gain.low > 0 for one in result.studies)
    assert (
        f"18 studies. PGR is defined in 16 of them. The student is shown to be better than its supervisor in {above}"
        in (overview(result))
    )


def test_warnings_are_listed_once_with_their_count() -> None:
    result = Result(studies=(study(warnings=("a", "b")), study(warnings=("a",))))
    assert warnings(result) == ["a", "b (1 of 2 studies)"]


def test_a_warning_of_one_task_alone_names_it() -> None:
    other = [study(task="other", method=name, warnings=("b",)) for name in ("naive", "confidence")]
    assert warnings(Result(studies=(study(warnings=("a",)), *other))) == ["reviews: a", "other: b"]


@pytest.mark.parametrize(
    ("trained", "named", "noted"),
    [
        ([("bow", "probe")], (), []),
        ([("bow", "probe"), ("probe", "probe")], (), []),
        ([("given", "probe"), ("planted", "bow")], ("train",), []),
        ([("full", "full")], (), ["supervisor, student and ceiling full"]),
        ([("full", "probe")], (), ["supervisor full, student and ceiling probe"]),
        ([("bow+full", "lora")] * 2, (), ["supervisor bow+full, student and ceiling lora"]),
        ([("prompt", "probe")], (), ["supervisor prompt, student and ceiling probe"]),
        ([("bow", "lora"), ("probe", "lora")], ("weak_train",), ["student and ceiling lora"]),
        ([("full", "lora"), ("full", "full")], ("train",), ["supervisor full"]),
        ([("full", "lora"), ("probe", "probe")], ("weak_train", "train"), []),
    ],
)
def test_training_is_named_where_it_differs_and_noted_where_it_does_not(
    trained: list[tuple[str, str]], named: tuple[str, ...], noted: list[str]
) -> None:
    result = Result(studies=tuple(study(weak_train=weak, train=strong) for weak, strong in trained))
    assert context(result) == named
    assert [text for label, text in notes(result) if label == "training"] == noted
