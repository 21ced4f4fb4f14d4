"""A budget curve as one self-contained page: score against cost with the frontier, and every cell in a table."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from oversight.reports.budget import BudgetCell, BudgetCurve
from oversight.reports.budget_tables import (
    STEP_HEADINGS,
    cell_rows,
    heads,
    levels,
    money,
    notes,
    standing,
    step_rows,
    verdict,
)
from oversight.reports.figures import svg_of
from oversight.reports.html import POLICY, style
from oversight.reports.leaderboard_tables import compact
from oversight.reports.markup import Raw, bullets, details, el, join, section, table
from oversight.reports.palette import LIGHT, colour_of
from oversight.reports.panels import calm
from oversight.reports.words import bounded, clean, finite, higher_is_better, metric_name, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES = (8.8, 4.9)
KINDS = ("weak labels", "true labels", "both, pooled", "both, weighted")
MARKERS = ("s", "^", "o", "D")
INK, MUTED, BG = LIGHT["ink"], LIGHT["muted"], LIGHT["bg"]
CAPTION = (
    "Score against the cost of the labels (logarithmic), 95 % intervals. Line: the frontier "
    "as far as its steps are shown by simultaneous intervals. Rings: cells that are higher by point estimate "
    "only, which are tied with the line."
)


def as_page(curve: BudgetCurve) -> str:
    """The whole document. Same curve, same text."""
    name = f"{clean(curve.task)}: what a budget of labels buys"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{name} - oversight"),
        el("style", style(), Raw(" .ov .ov-wide { max-width: 62rem; }")),
    )
    header = el("header", el("p", "oversight: a budget of true and weak labels", class_="ov-kicker"), el("h1", name))
    body = el("body", el("main", header, _parts(curve), class_="ov ov-page"), class_="ov-body")
    return f"<!doctype html>\n{el('html', head, body, lang='en', class_='ov-root')}\n"


def _parts(curve: BudgetCurve) -> Raw:
    warned = [el("aside", bullets(map(clean, curve.warnings)), class_="ov-warnings", aria_label="warnings")]
    drawn = el("figure", Raw(drawing(curve)), el("figcaption", CAPTION), class_="ov-wide")
    cells = table("Cells by rising cost; differences are paired over rows and seeds", heads(curve), cell_rows(curve))
    steps = table("From the last cell whose step was shown", (*STEP_HEADINGS[:-1], "verdict"), step_rows(curve))
    made = [clean(curve.about[name]) for name in ("command",) if name in curve.about]
    return join(
        [
            el("p", verdict(curve), class_="ov-lead"),
            el("p", f"{levels(curve)}."),
            *(warned if curve.warnings else []),
            section("Score against cost", drawn),
            section("Every mixture", cells),
            *([section("Steps along the frontier", steps)] if curve.steps else []),
            section("How to read this", bullets(notes(curve))),
            *([details("Made by", el("pre", el("code", *made)))] if made else []),
        ]
    )


def drawing(curve: BudgetCurve) -> str:
    """The chart as an inline SVG."""
    words = "; ".join(f"{one.name} at {money(one.cost)}: {compact(shown(one.student))}" for one in curve.frontier)
    label = f"{clean(curve.task)}. {metric_name(curve.metric)} against cost. Frontier: {words}"
    return svg_of(INCHES, partial(_draw, curve=curve), label=label)


def _draw(figure: Figure, *, curve: BudgetCurve) -> None:
    axes = figure.subplots()
    calm(axes)
    _cost_axis(axes, curve)
    for one, name in ((curve.ceiling, "ceiling"), (curve.weak, "supervisor")):
        if finite(one):
            axes.axhline(one.value, color=INK if name == "ceiling" else MUTED, linewidth=1, linestyle=(0, (4, 3)))
            place = axes.get_yaxis_transform()
            axes.text(1.0, one.value, f" {name}", transform=place, va="center", ha="left", fontsize=8.5, color=MUTED)
    _frontier(axes, curve)
    for i, kind in enumerate(KINDS):
        points = [one for one in curve.cells if kind_of(one) == i]
        _points(axes, points, label=kind, color=colour_of(i), marker=MARKERS[i])
    if not higher_is_better(curve.metric):
        axes.invert_yaxis()
    axes.set_xlabel(f"cost of the labels (true {curve.prices.true:g}, weak {curve.prices.weak:g})")
    axes.set_ylabel(metric_name(curve.metric))
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=6, frameon=False, handlelength=1.4, columnspacing=1.2)


def kind_of(one: BudgetCell) -> int:
    """Position in KINDS."""
    if one.n_true == 0 or one.n_weak == 0:
        return 0 if one.n_true == 0 else 1
    return KINDS.index(f"both, {one.way}")


def aside(one: BudgetCell) -> float:
    """A factor near 1, so that mixtures of the same cost do not cover each other."""
    return {"pooled": 0.985, "weighted": 1.015}.get(one.way, 1.0)


def _cost_axis(axes: Axes, curve: BudgetCurve) -> None:
    """Logarithmic; linear below the cheapest label that costs anything, so that what is free has its place."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    costs = [one.cost for one in curve.cells]
    paid = [cost for cost in costs if cost > 0]
    if len(paid) == len(costs):
        axes.set_xscale("log")
        axes.set_xlim(min(costs) / 1.25, max(costs) * 1.25)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    elif paid:
        axes.set_xscale("symlog", linthresh=min(paid))
        axes.set_xlim(-0.15 * min(paid), max(paid) * 1.25)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: money(cost)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _frontier(axes: Axes, curve: BudgetCurve) -> None:
    """Steps that are shown as a line of stairs; what is tied as hollow rings."""
    steps = curve.shown_frontier
    x = [one.cost for one in steps] + [max(one.cost for one in curve.cells)]
    y = [one.student.value for one in steps] + [steps[-1].student.value]
    axes.step(x, y, where="post", color=INK, linewidth=1.6, zorder=2, label="frontier, shown")
    tied = [one for one in curve.frontier if standing(curve, one) == "tied"]
    look: dict[str, Any] = {"marker": "o", "markersize": 12, "markerfacecolor": "none", "linestyle": "none"}
    if tied:
        at = [one.cost * aside(one) for one in tied], [one.student.value for one in tied]
        axes.plot(*at, color=MUTED, markeredgewidth=1, zorder=4, label="tied", **look)


def _points(axes: Axes, points: list[BudgetCell], *, label: str, color: str, marker: str) -> None:
    if not points:
        return
    x, y = [one.cost * aside(one) for one in points], [one.student.value for one in points]
    axes.plot(x, y, linestyle="none", marker=marker, markersize=5.5, color=color, zorder=3, label=label)
    for at, one in zip(x, points, strict=True):
        if bounded(one.student):
            ends = [one.student.low, one.student.high]
            axes.plot([at, at], ends, color=color, linewidth=1, alpha=0.7, zorder=1)
