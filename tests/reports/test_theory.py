"""What theory says, as shown: prediction beside gain in every form of report, a verdict for each state, no axis."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from synthetic_results import estimate, ladder, one, study

from oversight.metrics.intervals import Estimate
from oversight.metrics.misfit import Bound
from oversight.metrics.theory import ASSUMPTIONS, Theory
from oversight.reports.exports import as_text
from oversight.reports.html import as_page
from oversight.reports.result import Result
from oversight.reports.tables import as_text as table
from oversight.reports.theory import in_words, record_in_words, theory_section, verdict


def asked(**changes: Any) -> Result:
    """A result whose tables were asked to tell what theory predicts."""
    return replace(one(**changes), tells_theory=True)


INFINITE = "infinite: on some row"


def bound(predicted: float, realised: float, half: float = 0.01) -> Bound:
    return Bound(estimate(predicted, half), estimate(realised, half), estimate(realised - predicted, half))


def undefined(reason: str = INFINITE) -> Estimate:
    return estimate(0, reason=reason)


def theory(squared: Bound | None = None, kl: Bound | None = None) -> Theory:
    return Theory(
        squared=squared or bound(0.0412, 0.0733),
        kl=kl or bound(0.1311, 0.0977),
        kl_weak_first=estimate(0.0991),
        similarity={
            "capa_student": estimate(0.412),
            "capa_ceiling": estimate(0.307),
            "errors_student": estimate(0.518),
            "errors_ceiling": undefined("agreement by chance is complete"),
        },
    )


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (bound(0.04, 0.07), "held"),
        (bound(0.07, 0.04), "did not hold"),
        (bound(0.040, 0.041), "not told apart"),
        (Bound(undefined(), estimate(0.04), undefined()), "undefined"),
    ],
)
def test_every_state_has_its_verdict(found: Bound, word: str) -> None:
    assert verdict(found) == word


def test_flat_and_back() -> None:
    told = theory()
    assert Theory.of(told.flat()) == told


def test_the_table_and_markdown_say_gain_and_prediction() -> None:
    result = asked(theory=theory())
    for text in (" ".join(table(result, width=100).split()), as_text(result, "md")):
        assert "Brier score: gain 0.0733 [0.063, 0.083], predicted at least 0.0412 [0.031, 0.051]" in text
        assert ": the prediction held" in text
        assert "the prediction did not hold" in text
    missing = asked(theory=theory(kl=Bound(undefined(), estimate(0.04), undefined())))
    assert f"NLL (nats): no prediction: {INFINITE}" in as_text(missing, "md")
    assert "theory" not in table(asked(), width=100)
    assert "theory     no prediction: planted" in table(asked(no_theory="planted"), width=100)


def test_who_did_not_ask_is_told_nothing_but_the_record_goes_with_whatever_is_told() -> None:
    silent = one(theory=theory())
    assert "theory" not in table(silent, width=100) and "theory" not in as_text(silent, "md")
    assert in_words(silent) == []
    assert record_in_words() in as_text(asked(theory=theory()), "md")
    assert record_in_words() in theory_section(silent)


def test_many_studies_are_not_put_in_words() -> None:
    every = [replace(each, theory=theory()) for each in ladder().studies]
    few = Result(studies=tuple(every[:6]), tells_theory=True)
    assert len(in_words(few)) == 13 and "minilm" in in_words(few)[0][1]
    assert in_words(Result(studies=tuple(every), tells_theory=True)) == []


def test_the_page_has_a_section_with_every_number_and_the_assumptions_and_no_figure() -> None:
    told = theory()
    section = theory_section(one(theory=told))
    assert section.startswith("<section><h2>What theory predicts</h2><details><summary>")  # folded
    assert section.endswith("</details></details></section>")
    assert section in as_page(one(theory=told))
    for text in ("What theory predicts", "0.0412", "0.0733", "0.1311", "0.0977", "0.412", "held", "did not hold"):
        assert text in section
    assert all(text.replace("'", "&#x27;") in section for text in ASSUMPTIONS)
    assert "svg" not in section and "agreement by chance is complete" in section
    assert theory_section(one()) == "" and "What theory predicts" not in as_page(one())


def test_json_and_csv_hold_every_number() -> None:
    told = theory(kl=Bound(undefined(), estimate(0.04), undefined()))
    result = one(theory=told)
    found = json.loads(as_text(result, "json"))["studies"][0]["theory"]
    assert found["squared"]["surplus"] == told.squared.surplus.as_json() and found["squared"]["holds"] is True
    assert found["kl"]["predicted"]["value"] is None and found["kl"]["reason"] == INFINITE
    (row,) = csv.DictReader(io.StringIO(as_text(result, "csv")))
    for name, number in told.flat().items():
        for end in ("value", "low", "high"):
            cell = row[f"theory_{name}_{end}"]
            assert (float(cell) == getattr(number, end)) if cell else math.isnan(getattr(number, end))
    assert study().as_json()["theory"] is None
