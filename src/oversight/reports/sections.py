"""The parts of the page, each a function from a result to markup; one without content is empty."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from oversight.reports.examples import STUDENT, Example, studies_with_examples
from oversight.reports.fits import is_tuned
from oversight.reports.layout import Sheet, sheets
from oversight.reports.markup import Raw, bullets, details, el, join, section, table
from oversight.reports.verdicts import overview, sentence
from oversight.reports.words import (
    NO_INTERVAL,
    ROLES,
    UNDEFINED,
    bounded,
    clean,
    context,
    digits_of,
    fact,
    finite,
    higher_is_better,
    interval,
    main_estimates,
    method,
    notes,
    number,
    pair,
    plural,
    title,
    unique,
    value_of,
    warnings,
    why,
)

if TYPE_CHECKING:
    from oversight.metrics.intervals import Estimate
    from oversight.reports.result import Result, Study

NONE = Raw("")
ARROW = "→"
NAMED_TASKS = 4
OPEN_SENTENCES, OPEN_STUDIES, OPEN_WARNINGS, MOST_DETAILED, SHORT_PAIR = 6, 24, 8, 500, 28
AGREEMENT = {"all": "all rows", "weak_right": "where it is right", "weak_wrong": "where it is wrong"}


def cell(estimate: Estimate, digits: int = 3) -> Raw:
    """The value, its interval smaller beside it; or `undefined` and the reason."""
    if not finite(estimate):
        reason = f": {why(estimate)}" if why(estimate) else ""
        return el("span", UNDEFINED + reason, class_="ov-undefined")
    bounds = interval(estimate)
    reason = NONE if bounded(estimate) else el("span", f" {why(estimate)}", class_="ov-undefined")
    value = el("span", value_of(estimate, digits), class_="ov-value")
    return join([el("span", value, " ", el("span", bounds, class_="ov-interval"), class_="ov-number"), reason])


def name_of(study: Study, result: Result) -> Raw:
    """Supervisor, arrow, student; below it the method and what else differs."""
    who = pair(study, ARROW)
    extra = [f"{name} {clean(getattr(study, name))}" for name in context(result)]
    oracle = el("span", "oracle", class_="ov-badge", title="this method saw ground truth") if study.oracle else NONE
    below = el("span", ", ".join([clean(study.method), *extra]), class_="ov-below")
    short = len(who) <= SHORT_PAIR
    return join([el("span", who, class_="ov-short" if short else False), " ", below, oracle])


def demo_notes(result: Result) -> Raw:
    """Conclusions in plain language, where there are any."""
    found = result.about.get("demo_notes") or []
    return bullets((clean(one) for one in found), class_="ov-conclusions") if found else NONE


def summary(result: Result) -> Raw:
    """A sentence per study; many of them fold away under an overview."""
    places = [name for name in ("task", "test", "metric") if name in context(result)]
    sentences = [sentence(study, places) for study in result.studies]
    if len(sentences) == 1:
        return el("p", sentences[0], class_="ov-lead")
    if len(sentences) <= OPEN_SENTENCES:
        return join([el("p", overview(result), class_="ov-lead"), bullets(sentences)])
    return join([el("p", overview(result), class_="ov-lead"), details("Each study in a sentence", bullets(sentences))])


def warning_box(result: Result) -> Raw:
    """Every warning, before any number."""
    return warned_of(warnings(result))


def warned_of(found: Sequence[str]) -> Raw:
    """These warnings in a box, those beyond the first few folded away; nothing where there are none."""
    if not found:
        return NONE
    heading = el("p", el("strong", plural(len(found), "warning")))
    rest = found[OPEN_WARNINGS:]
    folded = details(f"{len(rest)} more", bullets(rest)) if rest else NONE
    return el("aside", heading, bullets(found[:OPEN_WARNINGS]), folded, class_="ov-warnings", aria_label="warnings")


def is_many(result: Result) -> bool:
    """Whether tables of all studies fold away."""
    return len(result.studies) > OPEN_STUDIES


def main_tables(result: Result) -> Raw:
    """The scores of every study: open, or where they are many folded by task and test set."""
    if not is_many(result):
        return main_table(result)
    parts = [(sheet.heading, replace(result, studies=_in_order(sheet, result))) for sheet in sheets(result)]
    return join(
        [details(f"{heading}: scores of all {len(part.studies)} studies", main_table(part)) for heading, part in parts]
    )


def _in_order(sheet: Sheet, result: Result) -> tuple[Study, ...]:
    wanted = {id(study) for study in sheet.studies}
    return tuple(study for study in result.studies if id(study) in wanted)


def main_table(result: Result) -> Raw:
    """One row per study: the scores, gap, PGR and gain, and underneath what the numbers rest on."""
    head = ["study", *ROLES, "gap", "PGR", "gain"]
    rows: list[list[Raw]] = []
    for study in result.studies:
        ordered = {**main_estimates(study), "gain": study.gain}
        rows.append([name_of(study, result), *(cell(one, digits_of(name)) for name, one in ordered.items())])
    tests = unique(f"{label}: {text}" for label, text in notes(result) if label != NO_INTERVAL)
    caption = "Test scores, gap (ceiling - weak), PGR and gain (student - weak)"
    return join([table(caption, head, rows, class_="ov-main"), bullets(tests, class_="ov-note")])


def ledger(result: Result) -> Raw:
    """How often the student agrees with its supervisor, and how that splits by whether the supervisor is right."""
    rows = [[name_of(s, result), *(cell(s.agreement[key]) for key in AGREEMENT)] for s in result.studies]
    text = (
        "A student that copies its supervisor agrees with it everywhere. One that knows better agrees where the "
        "supervisor is right and departs from it where it is wrong."
    )
    head = ["study", *AGREEMENT.values()]
    shown = table("Share of rows on which the student agrees", head, rows)
    if is_many(result):
        shown = details(f"Agreement in all {len(rows)} studies", shown)
    return section("Agreement with the supervisor", el("p", text), shown)


def everything(result: Result) -> Raw:
    """Every metric and every choice; of very many studies they would be too much for a page."""
    if len(result.studies) <= MOST_DETAILED:
        return section("Details", all_metrics(result), choices(result))
    text = (
        f"All metrics, choices and keys of {len(result.studies)} studies are too much for a page: a report in JSON "
        "(.json) has them, one in CSV (.csv) every metric, and a page of fewer studies."
    )
    return section("Details", el("p", text))


def all_metrics(result: Result) -> Raw:
    """Every metric of every role."""
    names = unique(name for study in result.studies for role in ROLES for name in study.scores[role])
    head = ["study", "role", *(f"{clean(name)} {'↑' if higher_is_better(name) else '↓'}" for name in names)]
    rows: list[list[str]] = []
    for study in result.studies:
        for role in ROLES:
            scores = study.scores[role]
            rows.append([name_of(study, result), role, *(cell(scores[n]) if n in scores else "-" for n in names)])
    caption = "All metrics by role; ↑ more is better, ↓ less is better"
    return details("All metrics", table(caption, head, rows))


def choices(result: Result) -> Raw:
    """What was chosen while fitting, by role and seed."""
    rows = [
        [name_of(study, result), role, _fits(fits, study.seeds)]
        for study in result.studies
        for role, fits in study.choices.items()
        if any(fits)
    ]
    if not rows:
        return NONE
    text = "Made on validation rows only: by weak labels for the student, by true labels for supervisor and ceiling."
    if any(study.oracle for study in result.studies):
        text += " An oracle's student may have seen true labels."
    return details(
        "Choices made while fitting",
        el("p", text),
        table("Choices by role and seed", ["study", "role", "chosen"], rows),
    )


def _fits(fits: Sequence[Mapping[str, Any]], seeds: int) -> Raw:
    """One line per seed, or a single one where all seeds chose the same; of long settings only what differs."""
    lines = [fact(one) for one in fits]
    if len(lines) > 1 and len(set(lines)) == 1:
        return el("span", f"all {len(lines)}: {lines[0]}")
    shared: list[str] = []
    if len(fits) > 1 and all(map(is_tuned, fits)):
        common = {name: value for name, value in fits[0].items() if all(one.get(name) == value for one in fits)}
        shared = [f"all {len(fits)}: {fact(common)}"]
        lines = [fact({name: value for name, value in one.items() if name not in common}) for one in fits]
    label = "seed" if len(lines) == seeds else "fit"
    return bullets([*shared, *(f"{label} {i}: {line}" for i, line in enumerate(lines))], class_="ov-plain")


def disagreements(result: Result) -> Raw:
    """Rows to read: where student and supervisor differ, and who was right."""
    found = studies_with_examples(result)
    if not found:
        return NONE
    text = (
        "The rows of the test set on which the two differ most and one of them is right, half of them for each where "
        "there are enough. Probabilities of the true class, mean over seeds. They are chosen to be read, not counted."
    )
    return section("Where they disagree", el("p", text), *(_examples(study, rows, result) for study, rows in found))


def _examples(study: Study, rows: Sequence[Example] | str, result: Result) -> Raw:
    """Cards rather than a table: texts are long, and phones are narrow."""
    heading = el("h3", title(study, context(result), ARROW))
    if isinstance(rows, str):
        return join([heading, el("p", f"No examples: {clean(rows)}.", class_="ov-undefined")])
    cards: list[Raw] = []
    for one in rows:
        right = el(
            "span", f"the {one.right} is right", class_="ov-student" if one.right == STUDENT else "ov-supervisor"
        )
        given = f": {number(one.weak)} from the supervisor, {number(one.student)} from the student;"
        facts = join(["true class ", el("bdi", one.truth), given])
        text = el("p", one.text, class_="ov-text", dir="auto")
        cards.append(join([text, el("p", facts, " ", right, class_="ov-facts")]))
    return join([heading, bullets(cards, class_="ov-cards")])


HOW_TO_READ = (
    ("Supervisor (weak)", "the weak model, trained on ground truth of its own part of the rows; it labels the rest."),
    ("Student", "the strong model, trained on the supervisor's labels only. It never sees ground truth."),
    ("Ceiling", "the same strong model, trained on ground truth of the rows that the student's training used."),
    ("Gap and gain", "ceiling minus weak, and student minus weak. For losses the sign is changed: positive is better."),
    (
        "PGR",
        "performance gap recovered: gain divided by gap. 0: no better than the supervisor; 1: as good as the ceiling. "
        "It may be below 0 or above 1 and is never cut off.",
    ),
    (
        "Interval",
        "95 %. With several seeds it covers another pool of training rows of the same kind, new seeds and new test "
        "rows, drawn by group where rows belong together (with --covers these-rows: this pool as it is); with one seed "
        "only new test rows, for these trained models.",
    ),
    (
        "Undefined",
        "a ratio needs a gap. Where the ceiling is not shown to be above the supervisor, or there are too few groups "
        "for the interval to be trusted, PGR has no value here, whatever the division would give.",
    ),
    ("Chance", "the score of a guess that knows only the shares of the classes."),
    ("Oracle", "a method that saw ground truth. It bounds what is possible and is no way to train."),
)


def how_to_read() -> Raw:
    """What the words mean."""
    return explained(HOW_TO_READ)


def explained(words: Iterable[tuple[str, str]]) -> Raw:
    """A section that says what each word means."""
    return section("How to read this", definitions(words))


def definitions(items: Iterable[tuple[str, str]]) -> Raw:
    """Pairs of a word and its text; nothing where there are none."""
    parts = [part for word, text in items for part in (el("dt", word), el("dd", text))]
    return el("dl", *parts) if parts else NONE


def provenance(result: Result) -> Raw:
    """What made this: command, versions, time, store, keys."""
    parts = [part for part in (definitions(made_by(result.about)), _keys(result)) if part]
    return section("Where this comes from", *parts) if parts else NONE


def made_by(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Command, versions, time and store, as far as they are known."""
    items: list[tuple[str, str]] = []
    if about.get("command"):
        items.append(("Command", el("pre", el("code", clean(about["command"])))))
    if about.get("asked"):
        items.append(("Asked for", bullets(map(_asked, about["asked"]), class_="ov-plain")))
    if about.get("versions"):
        items.append(("Versions", ", ".join(f"{clean(name)} {clean(v)}" for name, v in about["versions"].items())))
    if about.get("seconds") is not None:
        items.append(("Time", f"{number(float(about['seconds']), 1)} seconds"))
    if about.get("store"):
        items.append(("Store", el("code", clean(about["store"]))))
    return items


def _asked(one: Mapping[str, Any]) -> Raw:
    """`9911d8109a85  sweep probe-fast, 2026-01-31`, and by which command."""
    name, title_, made, command = (clean(one.get(part) or "") for part in ("name", "title", "made", "command"))
    below = el("span", el("code", command), class_="ov-below") if command else NONE
    return join([el("code", name), " ", ", ".join(part for part in (title_, made) if part), " ", below])


def _keys(result: Result) -> Raw:
    if len(result.studies) > MOST_DETAILED:
        return NONE
    rows = [
        [name_of(study, result), role, bullets((el("code", clean(key)) for key in keys), class_="ov-plain")]
        for study in result.studies
        for role, keys in study.keys.items()
        if keys
    ]
    return (
        details("Keys of the predictions in the store", table("Keys by role and seed", ["study", "role", "keys"], rows))
        if rows
        else NONE
    )


def page_title(result: Result) -> str:
    """The heading: what was studied, by name."""
    if not result.studies:
        return "No studies"
    if len(result.studies) == 1:
        study = result.studies[0]
        return f"{clean(study.task)}: {pair(study, ARROW)}, {method(study)}"
    names = unique(clean(study.task) for study in result.studies)
    tasks = ", ".join(names) if len(names) <= NAMED_TASKS else f"{len(names)} tasks"
    return f"{tasks}: {len(result.studies)} weak-to-strong studies"
