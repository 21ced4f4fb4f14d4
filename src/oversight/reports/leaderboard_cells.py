"""Cells of a leaderboard's page: names with their marks, gains with their verdict, and the methods x tasks table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from oversight.reports.leaderboard_words import gain_interval, gain_value, plus
from oversight.reports.markup import Cell, Raw, details, el, join, table
from oversight.reports.overview import BETTER, WORSE
from oversight.reports.sections import cell
from oversight.reports.words import bounded, clean, effective_of, fact, finite, metric_name, plural, why

if TYPE_CHECKING:
    from oversight.metrics.intervals import Estimate
    from oversight.reports.leaderboard import Leaderboard, Standing, TaskLine

NONE = Raw("")
SHADES = 3
DARKEST = 0.95
MOST_UPRIGHT = 7
MARKS = {"better": (BETTER, "ov-up"), "worse": (WORSE, "ov-down")}
SAW_TRUTH, SAW_TEST = "this method saw ground truth", "its settings may owe something to these test rows"


def method_name(one: Standing) -> Raw:
    """The name, with badges for an oracle and for what is exploratory."""
    badges = [
        el("span", text, class_="ov-badge", title=title)
        for text, title, holds in (("oracle", SAW_TRUTH, one.oracle), ("exploratory", SAW_TEST, one.exploratory))
        if holds
    ]
    return join([clean(one.method), *badges], " ")


def settings_of(settings: Mapping[str, Any]) -> str:
    """`aux_weight: 0.25`, or that they are the defaults."""
    plain = {name: value if _finite(value) else str(value) for name, value in settings.items()}
    return fact(plain) if settings else "defaults"


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def gain_cells(one: Standing) -> list[Raw]:
    """Value with its simultaneous interval, the verdict that this allows, and the method's own interval."""
    mark, kind = MARKS.get(one.verdict, (one.verdict if bounded(one.gain) else "no interval", ""))
    shown = el("span", mark, class_="ov-mark") if kind else Raw(mark)
    own = el("span", gain_interval(one.alone), class_="ov-interval ov-number") if bounded(one.alone) else Raw("-")
    colour = kind or False
    return [Cell(el("td", signed_cell(one.gain), class_=colour)), Cell(el("td", shown, class_=colour)), own]


def signed_cell(estimate: Estimate) -> Raw:
    """A difference with its sign and its interval, or why it is missing."""
    if not finite(estimate):
        return el("span", f"undefined: {why(estimate)}".removesuffix(": "), class_="ov-undefined")
    value = el("span", gain_value(estimate), class_="ov-value")
    if not bounded(estimate):
        return join([value, el("br"), el("span", f"no interval: {why(estimate)}", class_="ov-undefined")])
    return el("span", value, " ", el("span", gain_interval(estimate), class_="ov-interval"), class_="ov-number")


def task_name(one: TaskLine, *, family: bool) -> Raw:
    """The name; below it its family where that matters, metric, rows and groups."""
    facts = [f"family {clean(one.family)}"] if family else []
    rows = plural(one.n_test, "row")
    effective = f" (effectively {effective_of(one)})" if one.n_effective < one.n_groups else ""
    groups = "" if one.n_groups == one.n_test else f" in {plural(one.n_groups, 'group')}{effective}"
    facts += [metric_name(one.metric), f"{rows}{groups}"]
    return join([clean(one.name), " ", el("span", ", ".join(facts), class_="ov-below")])


def by_task(board: Leaderboard) -> list[Raw]:
    """The table of gains, and folded away for each task the score, gain and PGR of every method."""
    return [heat(board), *(_of_task(board, one) for one in board.tasks)]


def heat(board: Leaderboard) -> Raw:
    """Gains of every method (down) on every task (across), darker the larger."""
    others = [one for one in board.standings if one.method != board.reference]
    sizes = sorted(abs(own.gain.value) for one in others for own in one.cells.values() if finite(own.gain))
    largest = sizes[int(DARKEST * (len(sizes) - 1))] if sizes else 0.0
    tall = len(board.tasks) > MOST_UPRIGHT
    head = ["method", *(el("span", clean(one.name), class_="ov-turned" if tall else False) for one in board.tasks)]
    rows = [[method_name(one), *(_shaded(one, task.name, largest) for task in board.tasks)] for one in others]
    caption = (
        f"Gain over {clean(board.reference)} by task, darker the larger. * its own 95 % interval excludes 0, which is "
        "not corrected: of many cells without a difference, one in twenty gets a star"
    )
    return table(caption, head, rows, class_="ov-main ov-heat")


def _shaded(one: Standing, task: str, largest: float) -> Cell:
    if task not in one.cells:
        return Cell(el("td", "-"))
    gain = one.cells[task].gain
    if not finite(gain):
        return Cell(el("td", "?", title=why(gain) or "undefined"))
    shade = min(SHADES, math.ceil(SHADES * abs(gain.value) / largest)) if largest else 0
    kind = f"ov-{'more' if gain.value > 0 else 'less'}{shade}" if shade else ""
    star = el("strong", f"{plus(gain.value)}*") if gain.above_zero or gain.below_zero else Raw(plus(gain.value))
    return Cell(el("td", star, class_=kind or False))


def _of_task(board: Leaderboard, task: TaskLine) -> Raw:
    rows = [
        [
            method_name(one),
            cell(own.student),
            _reference_or(own.gain, is_it=one.method == board.reference),
            cell(own.pgr, 2),
        ]
        for one in board.standings
        if (own := one.cells.get(task.name)) is not None
    ]
    caption = (
        f"{clean(task.name)}: {metric_name(task.metric)}, gain over {clean(board.reference)} and PGR of every method"
    )
    return details(
        caption, table(f"{caption}; 95 % intervals by themselves", ["method", "student", "gain", "PGR"], rows)
    )


def _reference_or(gain: Estimate, *, is_it: bool) -> Raw:
    return Raw("reference") if is_it else signed_cell(gain)
