"""Plans in sentences: what is said in every state, and no more digits than a plan can bear."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any

import pytest

from oversight.metrics.power import Power
from oversight.reports.power import Planned, count, out_of_ten, rough

POWER = Power(
    p_defined=0.618,
    gap_width=0.0712,
    gap_width_low=0.0391,
    gap_width_high=0.1234,
    smallest_gap=0.0513,
    pgr_width=0.912,
    n_groups=250,
    reason=None,
)


def planned(**changes: Any) -> Planned:
    given: dict[str, Any] = {
        "basis": "the pilot 0123",
        "metric": "accuracy",
        "gap": 0.0432,
        "n_test": 1234,
        "seeds": 5,
        "power": POWER,
        "rows_by_seeds": {5: 2345, 10: 1111},
        "seeds_needed": 9,
    }
    return Planned(**given | changes)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0713, ".07"),
        (0.0134, ".013"),
        (0.04, ".04"),
        (0.1, ".10"),
        (0.96, "1.0"),
        (2.61, "3"),
        (1.26, "1.3"),
        (0.0, "0"),
    ],
)
def test_one_digit_or_two_where_the_first_is_one(value: float, text: str) -> None:
    assert rough(value) == text


def test_a_gap_that_can_be_shown_is_never_rounded_down() -> None:
    assert (rough(0.0513, upward=True), rough(0.06, upward=True), rough(math.nan)) == (".06", ".06", "undefined")


def test_counts_and_chances_in_words() -> None:
    assert [count(n) for n in (94, 1234, 987, 410_123)] == ["94", "1,200", "990", "410,000"]
    assert [out_of_ten(p) for p in (0.02, 0.62, 0.999)] == ["fewer than 1 of 10", "6 of 10", "nearly all"]


def test_sentences_say_what_can_be_shown_and_what_the_wanted_gap_takes() -> None:
    basis, shown, wanted = planned().sentences
    assert basis == "Basis: the pilot 0123."
    assert shown == (
        "With 1,200 test rows and 5 seeds a gap of .06 or more in accuracy is shown in 8 of 10 studies; its interval "
        "is about .07 wide (.04 to .12 in 8 of 10 studies)."
    )
    assert wanted == (
        "A gap of .04 is shown in 6 of 10 studies of that size, then with an interval of PGR about .9 wide. To show it "
        "in 8 of 10 takes 2,300 test rows with 5 seeds, or 1,100 test rows with 10 seeds, or 9 seeds with these rows."
    )
    assert not re.search(r"\.\d{3}", " ".join(planned().sentences))


def test_every_way_that_leads_nowhere_is_said() -> None:
    told = planned(rows_by_seeds={3: None, 5: None}, seeds_needed=None, seeds=3).sentences[2]
    assert told.endswith(
        "of PGR about .9 wide. With 3, 5 seeds no number of test rows is enough; with these rows 100 seeds are not."
    )
    few = replace(POWER, reason="too few groups", p_defined=0.0, pgr_width=math.nan)
    assert "nothing can be shown: too few groups" in planned(power=few).sentences[1]
    assert planned(power=few).sentences[2].startswith("A gap of .04: To show it in 8 of 10 takes")
    assert "No gap was found" in planned(gap=-0.01, rows_by_seeds={}, seeds_needed=None).sentences[2]
    assert "of the trained models" in planned(seeds=1, rows_by_seeds={1: 900}, seeds_needed=None).sentences[3]
    rare = planned(power=replace(POWER, p_defined=0.12)).sentences[2]
    assert "PGR" not in rare  # a width that is hardly ever seen


def test_json_holds_the_numbers_as_they_are_and_nothing_that_is_none() -> None:
    told = json.loads(json.dumps(planned(power=replace(POWER, pgr_width=math.nan)).as_json(), allow_nan=False))
    assert (told["gap_width"], told["pgr_width"], told["smallest_gap"]) == (0.0712, None, 0.0513)
    assert told["rows_needed"] == {"5": 2345, "10": 1111} and told["seeds_needed"] == 9 and told["chance"] == 0.8
    assert told["sentences"] == list(planned(power=replace(POWER, pgr_width=math.nan)).sentences)
