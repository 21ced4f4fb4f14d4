"""The demo: a complete study on embedded data with an embedded encoder, and what it shows in plain words.

The three studies that the words speak of were named before their numbers were known (docs/experiment_log.md).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from oversight.metrics.intervals import Estimate, linear_interval, moments
from oversight.reports.result import Result, Study
from oversight.reports.verdicts import verdict
from oversight.ties import right_shares

WEAK = ("bow", "minilm@0", "minilm@1")
STRONG = ("minilm@2", "minilm@4", "minilm")
METHODS = ("naive", "confidence")
SEEDS = 5
CLEAR_GAP = ("minilm@0", "minilm@4")
NO_GAP = ("bow", "minilm")

NEXT = (
    'oversight w2s mydata.jsonl --weak bow --strong minilm@4 --seeds 5        (lines of {"text": ..., "label": ...})',
    "oversight w2s mydata.csv --text review --label stars --group product --weak bow --strong ./my-model@6",
)


def with_notes(result: Result) -> Result:
    """The result with `demo_notes`: what the three named studies show, from their numbers."""
    return replace(result, about={**result.about, "demo_notes": list(notes(result))})


def notes(result: Result) -> tuple[str, str, str]:
    """Three sentences: a study with a gap, one without, one method against another."""
    gap, none = find(result, *CLEAR_GAP, "naive"), find(result, *NO_GAP, "naive")
    return _of_study("A gap", gap), _of_study("No gap", none), _of_methods(result)


def find(result: Result, weak: str, strong: str, method: str) -> Study:
    """One study of a result by its names."""
    for study in result.studies:
        if (study.weak_model, study.strong_model, study.method) == (weak, strong, method):
            return study
    raise LookupError(f"no study {weak} -> {strong} by {method}")


def difference(result: Result, first: Study, second: Study) -> Estimate:
    """Accuracy of the first student minus that of the second, paired over rows and seeds."""
    a, b = result.rows(first), result.rows(second)
    right = [np.stack([right_shares(one.probs["student"][s], one.truth) for one in (a, b)]) for s in range(first.seeds)]
    groups = np.unique(np.asarray(a.groups, dtype=object).astype(str), return_inverse=True)[1]
    return linear_interval(moments(np.stack(right), groups).covering(first.scope), [1.0, -1.0])


def _of_study(expected: str, study: Study) -> str:
    name = f"{study.weak_model} -> {study.strong_model}, {study.method}"
    shown = study.gap.above_zero
    found = "one was found" if shown else "none was shown"
    joint = "and" if shown == (expected == "A gap") else "but"
    gap = f"ceiling minus supervisor is {_shown(study.gap)}"
    return f"{expected} was expected ({name}), {joint} {found}: {gap}. {verdict(study)}"


def _of_methods(result: Result) -> str:
    naive, confidence = (find(result, *CLEAR_GAP, method) for method in METHODS)
    apart = difference(result, confidence, naive)
    if apart.above_zero:
        verdict = "confidence is better"
    elif apart.below_zero:
        verdict = "naive is better"
    else:
        verdict = "the two cannot be told apart"
    return (
        f"Confidence against naive ({CLEAR_GAP[0]} -> {CLEAR_GAP[1]}): {verdict} on this task; "
        f"accuracy differs by {_shown(apart)}, paired over rows and seeds."
    )


def _shown(estimate: Estimate) -> str:
    value, low, high = (f"{x:+.3f}".replace("-0.000", "+0.000") for x in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"
