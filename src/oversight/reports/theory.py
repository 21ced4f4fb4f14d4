"""How a study's misfit, its prediction of the gain and the gain itself are shown: in words and tables, on no axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oversight.metrics.misfit import Bound
from oversight.metrics.theory import ASSUMPTIONS, BOUNDS, CAME_TRUE, UNITS, Theory
from oversight.reports.markup import Raw, bullets, details, el, section, table
from oversight.reports.sections import MOST_DETAILED, NONE, cell, name_of
from oversight.reports.words import context, shown, title

if TYPE_CHECKING:
    from oversight.reports.result import Result, Study

DIGITS = 4
MOST_IN_WORDS = 6
VERDICTS = {True: "held", False: "did not hold", None: "not told apart"}
LEAD = (
    "Where the assumptions below hold, the student's gain in Brier score is at least its squared misfit, the squared "
    "distance of its predictions from its supervisor's, and its gain in NLL at least KL(student || supervisor). The "
    "misfit needs no label. It predicts nothing about accuracy. The surplus is gain minus misfit: an interval above "
    "zero says that the inequality held here, one below zero that it did not, and so that an assumption fails."
)
ONLY_IF = (
    "It follows only if the student is the closest of a convex class that holds the truth, on rows like the test rows."
)
LIKENESS = {
    "capa_student": "CAPA, student",
    "capa_ceiling": "CAPA, ceiling",
    "errors_student": "error consistency, student",
    "errors_ceiling": "error consistency, ceiling",
}
ABOUT_LIKENESS = (
    "Agreement with the supervisor beyond what the two abilities make likely: 0 for independent errors, 1 for the "
    "same ones. Made with true labels."
)


def verdict(bound: Bound) -> str:
    """Whether the inequality held, from the interval of the surplus; `undefined` where there is none."""
    return VERDICTS[bound.holds] if bound.surplus.defined else "undefined"


def record_in_words() -> str:
    """How often it came true where that was measured."""
    n = sum(CAME_TRUE[BOUNDS[0]].values())
    found = [
        f"in {UNITS[name].partition(' (')[0]} it was shown to hold in {CAME_TRUE[name]['held']} and to fail in "
        f"{CAME_TRUE[name]['did not hold']}"
        for name in BOUNDS
    ]
    return f"Of {n} studies of real sets, {'; '.join(found)} (docs/theory.md)."


def in_words(result: Result) -> list[tuple[str, str]]:
    """(label, text) lines under a table, where they were asked for: two for each study, then how often it came true.

    None where there are many studies.
    """
    if not result.tells_theory or len(result.studies) > MOST_IN_WORDS:
        return []
    lines: list[tuple[str, str]] = []
    for study in result.studies:
        place = f"{title(study, context(result))}: " if len(result.studies) > 1 else ""
        if study.theory is not None:
            lines += [("theory", place + _sentence(name, bound)) for name, bound in study.theory.bounds.items()]
        elif study.no_theory is not None:
            lines.append(("theory", f"{place}no prediction: {study.no_theory}"))
    return [*lines, ("theory", f"{ONLY_IF} {record_in_words()}")] if lines else []


def _sentence(name: str, bound: Bound) -> str:
    """`Brier score: gain 0.0333 [..], predicted at least 0.0492 [..]: not told apart`."""
    if not bound.surplus.defined:
        return f"{UNITS[name]}: no prediction: {bound.surplus.reason}"
    predicted, realised = shown(bound.predicted, DIGITS), shown(bound.realised, DIGITS)
    held = verdict(bound) if bound.holds is None else f"the prediction {verdict(bound)}"
    return f"{UNITS[name]}: gain {realised}, predicted at least {predicted}: {held}"


def theory_section(result: Result) -> Raw:
    """Prediction beside gain for every study, and how alike its models are; folded, whoever wants it opens it."""
    told = [(study, study.theory) for study in result.studies if study.theory is not None]
    if not told or len(told) > MOST_DETAILED:
        return NONE
    bounds = _bounds(told, result)
    rows = [[name_of(study, result), *(cell(one.similarity[key]) for key in LIKENESS)] for study, one in told]
    likeness = table("Similarity to the supervisor", ["study", *LIKENESS.values()], rows)
    return section(
        "What theory predicts",
        details(
            "Predicted and realised gain, under assumptions that often fail",
            el("p", f"{LEAD} {record_in_words()}"),
            bounds,
            details("Assumptions of the prediction", bullets(ASSUMPTIONS)),
            details("How alike supervisor, student and ceiling are", el("p", ABOUT_LIKENESS), likeness),
        ),
    )


def _bounds(told: list[tuple[Study, Theory]], result: Result) -> Raw:
    rows = [
        [
            name_of(study, result),
            UNITS[name],
            *(cell(one, DIGITS) for one in (bound.predicted, bound.realised, bound.surplus)),
            verdict(bound),
        ]
        for study, theory in told
        for name, bound in theory.bounds.items()
    ]
    return table("Predicted and realised gain", ["study", "in", "misfit", "gain", "surplus", "inequality"], rows)
