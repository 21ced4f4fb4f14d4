"""Many studies at once: counts by task and method, then one grid of supervisors and students per method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING

from oversight.reports.figures import Drawing, drawings
from oversight.reports.layout import Panel, Sheet, sheets
from oversight.reports.markup import Cell, Raw, details, el, join, section, table
from oversight.reports.words import (
    clean,
    context,
    digits_of,
    finite,
    interval,
    method,
    metric_name,
    number,
    unique,
    value_of,
    why,
)

if TYPE_CHECKING:
    from oversight.metrics.intervals import Estimate
    from oversight.reports.result import Result, Study

NONE = Raw("")
FEWEST_COUNTED, FEWEST_IN_GRID = 7, 4
MOST_SHEETS, MOST_GRIDS, MOST_DRAWN = 3, 3, 24
BETTER, WORSE = "▲ better", "▼ worse"
COUNTED = (
    "Gap and PGR: median over studies (smallest to largest), which describes these studies and estimates nothing "
    "beyond them; PGR of the studies in which it is defined. Better and worse: by the 95 % interval of student minus "
    "supervisor."
)
GRID_KEY = (
    f"In the grids, {BETTER} and {WORSE} say that the student is shown to be so, against its supervisor; without a "
    "mark the two are not told apart. In brackets 95 % intervals."
)


def glance(result: Result) -> Raw:
    """How the studies came out, by task, test set and method; empty for few studies, or where each stands alone."""
    found = _groups(result)
    if len(result.studies) < FEWEST_COUNTED or len(found) == len(result.studies):
        return NONE
    several = len({heading for heading, _ in found}) > 1
    rows: list[list[str]] = []
    for (heading, name), studies in found.items():
        label = join([heading, " ", el("span", name, class_="ov-below")]) if several else name
        above, below = (sum(one(study) for study in studies) for one in (is_better, is_worse))
        defined = [study.pgr.value for study in studies if finite(study.pgr)]
        gaps = [study.gap.value for study in studies if finite(study.gap)]
        rows.append(
            [
                label,
                _spread(gaps, 3),
                f"{len(defined)} of {len(studies)}",
                _spread(defined, digits_of("PGR")),
                str(above),
                str(below),
                str(len(studies) - above - below),
            ]
        )
    head = ["task and method" if several else "method", "gap", "PGR defined in", "PGR where defined"]
    head += ["student better", "student worse", "not told apart"]
    caption = f"{len(result.studies)} studies by {head[0]}"
    note = el("p", COUNTED, class_="ov-note")
    return section("At a glance", table(caption, head, rows, class_="ov-main ov-glance"), note)


def _groups(result: Result) -> dict[tuple[str, str], list[Study]]:
    """Studies by sheet and by method, with whatever else of the training differs."""
    names = [name for name in context(result) if name in ("train", "seeds")]
    found: dict[tuple[str, str], list[Study]] = {}
    place = {id(study): i for i, study in enumerate(result.studies)}
    for sheet in sheets(result):
        for study in sorted(sheet.studies, key=lambda study: place[id(study)]):
            extra = [f"{name} {clean(getattr(study, name))}" for name in names]
            found.setdefault((sheet.heading, ", ".join([method(study), *extra])), []).append(study)
    return found


def _spread(values: Sequence[float], digits: int) -> Raw:
    if not values:
        return Raw("-")
    middle = el("span", number(median(values), digits), class_="ov-value")
    ends = f"({number(min(values), digits)} to {number(max(values), digits)})" if len(values) > 1 else ""
    return join([middle, " ", el("span", ends, class_="ov-number")])


def is_better(study: Study) -> bool:
    """Whether the student is shown to be better than its supervisor."""
    return study.gain.above_zero


def is_worse(study: Study) -> bool:
    """Whether the student is shown to be worse than its supervisor."""
    return study.gain.below_zero


def counts(studies: Sequence[Study]) -> str:
    """`36 studies: PGR defined in 2, student better in 0, worse in 5`."""
    n = "1 study" if len(studies) == 1 else f"{len(studies)} studies"
    defined, above, below = (sum(map(one, studies)) for one in (lambda study: finite(study.pgr), is_better, is_worse))
    return f"{n}: PGR defined in {defined}, student better in {above}, worse in {below}"


def sheet_blocks(result: Result, *, grids: bool) -> Raw:
    """Task after task: the grids of its methods, where asked for, and the drawings."""
    all_sheets = sheets(result)
    blocks: list[Raw] = []
    room, drawn, gridded = MOST_DRAWN, 0, False
    for i, sheet in enumerate(all_sheets):
        shown = drawings(sheet) if drawn == i and len(sheet.panels) <= room else ()
        room -= len(sheet.panels)
        drawn += bool(shown)
        several = len(all_sheets) > 1
        figures = [_figure(one, named=several) for one in shown]
        grid = _grids(sheet, named=several) if grids else NONE
        gridded |= bool(grid)
        block = join([grid, el("div", *figures, class_="ov-figures") if figures else NONE])
        blocks.append(_under_heading(sheet, block, i, n=len(all_sheets)))
    left_out = len(all_sheets) - drawn
    key = [el("p", GRID_KEY, class_="ov-note")] if gridded else []
    return join([*key, *blocks, *_notes(result, left_out=left_out)])


def _under_heading(sheet: Sheet, block: Raw, i: int, *, n: int) -> Raw:
    if n == 1:
        return block
    if n <= MOST_SHEETS:
        return join([el("h3", sheet.heading), block])
    return details(f"{sheet.heading}: {counts(sheet.studies)}", block, open_=i == 0)


def _notes(result: Result, *, left_out: int) -> list[Raw]:
    several = len(result.studies) > 1
    undefined = several and any(not finite(study.pgr) for study in result.studies)
    hollow = " A hollow mark with n.d. on the lower edge: PGR is not defined." if undefined else ""
    texts = [f"Bars are 95 % intervals. PGR 0 is the supervisor's level, 1 the ceiling's.{hollow}"]
    if left_out:
        texts.append(f"{left_out} further test sets are not drawn; a report of fewer tasks (--task) draws them.")
    return [el("p", text, class_="ov-note") for text in texts]


def _figure(drawing: Drawing, *, named: bool) -> Raw:
    title = f"{drawing.heading}: {drawing.title}" if named else drawing.title
    return el("figure", Raw(drawing.svg), el("figcaption", title))


def _grids(sheet: Sheet, *, named: bool) -> Raw:
    """A grid per panel that is one; those of many methods fold away."""
    found = [panel for panel in sheet.panels if panel.axis != "supervisor" and len(panel.studies) >= FEWEST_IN_GRID]
    blocks: list[Raw] = []
    for i, panel in enumerate(found):
        grid = _grid(panel, sheet, named=named)
        title = panel.title or panel.axis
        blocks.append(grid if i < MOST_GRIDS else details(f"{title}: {counts(panel.studies)}", grid))
    return join(blocks)


def _grid(panel: Panel, sheet: Sheet, *, named: bool) -> Raw:
    """Supervisors down, students (or methods) across; beside the names their own scores, where there is one."""
    columns = [[row[j] for row in panel.series.values()] for j in range(len(panel.ticks))]
    head = ["supervisor", *(_named(tick, "ceiling", of) for tick, of in zip(panel.ticks, columns, strict=True))]
    rows = [[_named(name, "", of, "weak"), *map(_cell, of)] for name, of in panel.series.items()]
    what = f"PGR and gap by supervisor (down) and {panel.axis} (across); beside the names {metric_name(sheet.metric)}"
    before = [sheet.heading if named else "", panel.title]
    caption = ": ".join([*(part for part in before if part), what])
    return table(caption, head, rows, class_="ov-main ov-grid")


def _named(name: str, label: str, studies: Iterable[Study | None], role: str = "ceiling") -> Raw:
    """A name with the one score that all these studies give it."""
    found = unique(value_of(study.score(role)) for study in studies if study is not None)
    below = el("span", f"{label} {found[0]}".strip(), class_="ov-below") if len(found) == 1 else NONE
    return join([name, " ", below])


def _cell(study: Study | None) -> Cell:
    if study is None:
        return Cell(el("td", el("span", "no study", class_="ov-below")))
    mark = BETTER if is_better(study) else WORSE if is_worse(study) else ""
    parts = [_pgr(study.pgr), _gap(study.gap), el("span", mark, class_="ov-mark") if mark else NONE]
    return Cell(el("td", *parts, class_={BETTER: "ov-up", WORSE: "ov-down"}.get(mark, False)))


def _pgr(one: Estimate) -> Raw:
    if not finite(one):
        return el("span", f"no PGR: {why(one) or 'no reason was recorded'}", class_="ov-below ov-why")
    value = el("span", value_of(one, digits_of("PGR")), class_="ov-value")
    return el("span", "PGR ", value, " ", el("span", interval(one), class_="ov-interval"), class_="ov-number")


def _gap(one: Estimate) -> Raw:
    if not finite(one):
        return join([" ", el("span", f"gap undefined: {why(one)}", class_="ov-below")])
    bounds = el("span", interval(one), class_="ov-number")
    return join([" ", el("span", f"gap {value_of(one)} ", bounds, class_="ov-below")])
