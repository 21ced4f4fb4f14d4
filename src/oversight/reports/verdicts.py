"""What a study shows, in one or two sentences that never say more than its interval."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from oversight.metrics.intervals import Estimate
from oversight.reports.words import (
    bounded,
    clean,
    finite,
    metric_name,
    pooled_counts,
    shown,
    supervisor,
    value_of,
    why,
)

if TYPE_CHECKING:
    from oversight.reports.result import Result, Study

FALSE_ENDS = ("0 %", "100 %", "-0 %")


def percent(share: float) -> str:
    """`61 %`; one decimal where rounding would turn another number into 0 or 100 %."""
    text = f"{100 * share:.0f} %"
    if text in FALSE_ENDS and share not in (0.0, 1.0):
        text = f"{100 * share:.1f} %"
    return text.replace("-0 %", "0 %").replace("-0.0 %", "0.0 %")


def sentence(study: Study, names: Iterable[str] = ()) -> str:
    """The scores of a study and its verdict, after whatever tells it from others of its result.

    Example: minilm@4, taught by bow with confidence, scores 0.779 (accuracy); its supervisor scores 0.712, its ceiling
    0.823. It recovers 61 % of the gap (95 % interval: 48 % to 73 %).
    """
    scores = [_score(study.score(role)) for role in ("student", "weak", "ceiling")]
    weak = supervisor(study.weak_model, study.weak_train)
    oracle = ", an oracle that saw ground truth," if study.oracle else ""
    who = f"{clean(study.strong_model)}, taught by {weak} with {clean(study.method)}{oracle or ','}"
    place = ", ".join(f"{name} {clean(getattr(study, name))}" for name in names)
    head = (
        f"{place + ': ' if place else ''}{who} scores {scores[0]} ({metric_name(study.metric)}); "
        f"its supervisor scores {scores[1]}, its ceiling {scores[2]}."
    )
    return f"{head} {verdict(study)}"


def verdict(study: Study) -> str:
    """How much of the gap is recovered as far as the interval tells, or why that is undefined."""
    pgr = study.pgr
    if not finite(pgr):
        reason = why(pgr) or "no reason was recorded"
        return f"PGR is undefined: {reason} (gap {shown(study.gap)})."
    if not bounded(pgr):
        return f"The estimate is {percent(pgr.value)} of the gap, without an interval: {why(pgr)}."
    scope = " One seed: this speaks of these trained models only." if study.seeds == 1 else ""
    return _from_interval(pgr) + scope


def _score(estimate: Estimate) -> str:
    return value_of(estimate) if finite(estimate) else "an undefined number"


def _from_interval(pgr: Estimate) -> str:
    about = f"{percent(pgr.value)} of the gap (95 % interval: {percent(pgr.low)} to {percent(pgr.high)})"
    if pgr.high < 0:
        return f"It does worse than its supervisor: PGR is {about}."
    if pgr.low <= 0 and pgr.high >= 1:
        return f"The estimate is {about}: from nothing to all of it, so this study does not tell how much is recovered."
    if pgr.low <= 0:
        return f"The estimate is {about}: the student is not shown to be better than its supervisor."
    if pgr.low > 1:
        return f"It does better than its ceiling: it recovers {about}."
    if pgr.high >= 1:
        return f"It recovers {about}; it is not shown to fall short of its ceiling."
    return f"It recovers {about}."


def overview(result: Result) -> str:
    """Several studies in one paragraph, counting only what intervals show."""
    counts = pooled_counts(result)
    n = counts["studies"]
    tasks = len({study.task for study in result.studies})
    scope = f"{n} studies of {tasks} tasks" if tasks > 1 else f"{n} studies"
    text = (
        f"{scope}. PGR is defined in {counts['defined']} of them. "
        f"The student is shown to be better than its supervisor in {counts['above']} and worse in {counts['below']}."
    )
    return f"{text} Each interval speaks of one study alone: of many intervals, about one in twenty misses."
