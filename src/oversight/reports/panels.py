"""Drawing onto matplotlib axes: a panel of many studies, or the chart of a single one. Nothing here opens a file."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oversight.metrics.intervals import Estimate
from oversight.reports.layout import Panel, Sheet
from oversight.reports.palette import LIGHT, colour_of, colour_of_role, marker_of
from oversight.reports.words import (
    ROLES,
    bounded,
    chance_of,
    clean,
    digits_of,
    finite,
    higher_is_better,
    main_estimates,
    method,
    metric_name,
    short,
    shown,
    supervisor,
    why,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

    from oversight.reports.result import Study

INK, MUTED, RULE, BG = (LIGHT[name] for name in ("ink", "muted", "rule", "bg"))
SPREAD = 0.34
ITSELF = "supervisor"
NAME_LIMIT, FITS, UNDEFINED_WIDTH = 24, 46, 34
PGR_FRAME = (-0.25, 1.25)
FAR = (-2.0, 3.0)
NOT_DEFINED = "n.d."


@dataclass(frozen=True)
class Frame:
    """The y limits that the panels of a sheet share."""

    score: tuple[float, float]
    pgr: tuple[float, float]


def frame_of(sheet: Sheet) -> Frame:
    """Limits that hold every value and interval; PGR intervals are followed no further than FAR."""
    ends = [end for study in sheet.studies for role in ROLES for end in _ends(study.score(role))]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.05
    limits = (low - margin, high + margin)
    ratios = [study.pgr for study in sheet.studies if finite(study.pgr)]
    values = [one.value for one in ratios]
    far = [min(max(end, FAR[0]), FAR[1]) for one in ratios for end in _ends(one)]
    pgr = (min([PGR_FRAME[0], *values, *far]) - 0.05, max([PGR_FRAME[1], *values, *far]) + 0.05)
    return Frame(_better_last(limits, sheet.metric), pgr)


def _better_last(limits: tuple[float, float], metric: str) -> tuple[float, float]:
    """Axes of losses run backwards, so that better is always up or right."""
    return limits if higher_is_better(metric) else (limits[1], limits[0])


def _ends(one: Estimate) -> list[float]:
    return [number for number in (one.value, one.low, one.high) if math.isfinite(number)]


def draw_panel(figure: FigureBase, panel: Panel, sheet: Sheet, frame: Frame) -> None:
    """Scores above, PGR below, one line per supervisor."""
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    draw_scores(top, panel, sheet, frame)
    draw_pgr(bottom, panel, sheet, frame)
    if panel.title:
        top.set_title(clean(panel.title, limit=2 * NAME_LIMIT), loc="left", fontweight="bold")
    _name_ticks(bottom, panel)
    figure.align_ylabels([top, bottom])
    handles, names = top.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=2, frameon=False, handlelength=1.6, columnspacing=1.2)


def _name_ticks(bottom: Axes, panel: Panel) -> None:
    """Names of the x axis, turned where they would touch."""
    ticks = [short(tick, NAME_LIMIT) for tick in panel.ticks]
    start = [] if panel.axis == "supervisor" else [-1]
    turned = (len(ticks) + len(start)) * max(map(len, [*ticks, ITSELF])) > FITS
    bottom.set_xticks(
        [*start, *range(len(ticks))],
        [*([ITSELF] if start else []), *ticks],
        rotation=30 if turned else 0,
        ha="right" if turned else "center",
        rotation_mode="anchor" if turned else "default",
    )
    bottom.set_xlim(-1.5 if start else -0.6, len(ticks) - 0.4)
    bottom.set_xlabel(panel.axis)


def draw_scores(axes: Axes, panel: Panel, sheet: Sheet, frame: Frame) -> None:
    """Students' scores by supervisor, the supervisors' own as dashed levels, the ceiling in black."""
    calm(axes)
    if panel.axis == "supervisor":
        _three_per_tick(axes, panel)
    else:
        _one_line_per_supervisor(axes, panel, sheet)
    chance = chance_of(sheet.studies[0])
    if chance is not None and min(frame.score) < chance < max(frame.score):
        axes.axhline(chance, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0, label="chance")
    axes.set_ylim(frame.score)
    axes.set_ylabel(metric_name(sheet.metric))


def _one_line_per_supervisor(axes: Axes, panel: Panel, sheet: Sheet) -> None:
    """Lines only along students, which have an order; methods have none."""
    offsets = _offsets(len(panel.series) + 1)
    joined = "-" if panel.axis == "student" else "none"
    for offset, (name, studies) in zip(offsets, panel.series.items(), strict=False):
        look = _look(panel, sheet, name)
        x = [j + offset for j in range(len(studies))]
        scores = [study and study.score("student") for study in studies]
        _line(axes, x, scores, linestyle=joined, label=short(name, NAME_LIMIT), **look)
        own = next(study.score("weak") for study in studies if study is not None)
        _line(axes, [-1 + offset], [own], linestyle="none", markerfacecolor=BG, **look)
        if finite(own):
            span = (-1 + offset, len(studies) - 0.5)
            axes.plot(span, [own.value] * 2, color=look["color"], linestyle=(0, (4, 3)), linewidth=1, zorder=1)
    x = [j + offsets[-1] for j in range(len(panel.ticks))]
    found = [_first(panel, j) for j in range(len(panel.ticks))]
    scores = [study and study.score("ceiling") for study in found]
    _line(axes, x, scores, color=INK, marker="_", markersize=8, label="ceiling")


def _three_per_tick(axes: Axes, panel: Panel) -> None:
    """Supervisor, student and ceiling beside each other."""
    for role, offset, marker in zip(ROLES, (-0.2, 0.0, 0.2), ("s", "o", "_"), strict=True):
        x = [j + offset for j in range(len(panel.ticks))]
        found = [_first(panel, j) for j in range(len(panel.ticks))]
        scores = [study and study.score(role) for study in found]
        name = "supervisor" if role == "weak" else role
        _line(axes, x, scores, color=colour_of_role(role), marker=marker, linestyle="none", label=name)


def draw_pgr(axes: Axes, panel: Panel, sheet: Sheet, frame: Frame) -> None:
    """PGR by supervisor; what is undefined stands hollow on the lower edge, marked n.d."""
    calm(axes)
    for level in (0.0, 1.0):
        axes.axhline(level, color=MUTED, linewidth=0.8, zorder=0)
    offsets, edge = _offsets(len(panel.series) + 1), axes.get_xaxis_transform()
    undefined: dict[int, list[float]] = {}
    for offset, (name, studies) in zip(offsets, panel.series.items(), strict=False):
        look = _look(panel, sheet, name)
        x = [j + (0 if panel.axis == "supervisor" else offset) for j in range(len(studies))]
        ratios = [study and study.pgr for study in studies]
        _line(axes, x, ratios, linestyle="-" if panel.axis == "student" else "none", **look)
        for tick, (at, one) in enumerate(zip(x, ratios, strict=True)):
            if one is not None and not finite(one):
                axes.plot([at], [0.0], transform=edge, linestyle="none", markerfacecolor=BG, clip_on=False, **look)
                undefined.setdefault(tick, []).append(at)
    for at in undefined.values():
        middle = sum(at) / len(at)
        axes.text(middle, 0.07, NOT_DEFINED, transform=edge, ha="center", va="bottom", fontsize=7.5, color=MUTED)
    axes.set_ylim(frame.pgr)
    axes.set_ylabel("PGR")


def _look(panel: Panel, sheet: Sheet, supervisor: str) -> dict[str, Any]:
    """Colour and marker of a supervisor, the same in every panel."""
    index = 0 if panel.axis == "supervisor" else sheet.supervisors.index(supervisor)
    return {"color": colour_of(index), "marker": marker_of(index)}


def draw_single(figure: FigureBase, study: Study) -> None:
    """One supervisor, one student: the three scores with their intervals, and how much of the gap is recovered."""
    top, bottom = figure.subplots(2, 1, height_ratios=[3, 1.5])
    _draw_three(top, study)
    _draw_recovered(bottom, study)


def _draw_three(axes: Axes, study: Study) -> None:
    calm(axes, across=True)
    names = {
        "weak": supervisor(study.weak_model, study.weak_train),
        "student": clean(study.strong_model),
        "ceiling": clean(study.strong_model),
    }
    colours = {role: colour_of_role(role) for role in ROLES}
    values = {role: study.score(role) for role in ROLES}
    for y, role in zip((2, 1, 0), ROLES, strict=True):
        one = values[role]
        _bar(axes, one, y, colours[role])
        x = one.value if finite(one) else 0.5
        axes.text(
            x,
            y + 0.2,
            shown(one),
            ha="center",
            va="bottom",
            color=colours[role],
            transform=axes.transData if finite(one) else axes.get_yaxis_transform(),
        )
    ends = [end for one in values.values() for end in _ends(one)] or [0.0, 1.0]
    margin = 0.3 * (max(ends) - min(ends)) or 0.05
    limits = (min(ends) - margin, max(ends) + margin)
    axes.set_xlim(_better_last(limits, study.metric))
    axes.set_ylim(-0.5, 2.75)
    axes.set_yticks((2, 1, 0), [f"{role}\n{short(names[role], NAME_LIMIT)}" for role in ROLES])
    axes.set_xlabel(metric_name(study.metric))
    axes.set_title(clean(method(study), limit=2 * NAME_LIMIT), loc="left", fontweight="bold")


def _draw_recovered(axes: Axes, study: Study) -> None:
    calm(axes, across=True)
    pgr = study.pgr
    axes.set_title(f"gap {shown(study.gap)}", loc="left", color=MUTED)
    for level in (0.0, 1.0):
        axes.axvline(level, color=MUTED, linewidth=0.8, zorder=0)
    low, high = PGR_FRAME
    if finite(pgr):
        ends = [min(max(end, FAR[0]), FAR[1]) for end in _ends(pgr)]
        low, high = min([low, pgr.value - 0.25, *ends]), max([high, pgr.value + 0.25, *ends])
        _bar(axes, pgr, 0, colour_of(0))
        axes.text(pgr.value, 0.22, shown(pgr, 2), ha="center", va="bottom", color=colour_of(0))
    else:
        _undefined(axes, why(pgr))
    axes.set_xlim(low, high)
    axes.set_ylim(-0.5, 0.9)
    axes.set_yticks([0], ["PGR"])
    axes.set_xticks([0, 0.5, 1], ["0\nsupervisor", "0.5", "1\nceiling"])


def _undefined(axes: Axes, reason: str) -> None:
    """A hollow mark in the middle, with the reason on as many lines as it needs."""
    axes.plot([0.5], [-0.2], marker="o", linestyle="none", color=MUTED, markerfacecolor=BG)
    text = "\n".join(textwrap.wrap(f"undefined: {reason}", UNDEFINED_WIDTH))
    axes.text(0.5, 0.05, text, ha="center", va="bottom", color=MUTED)


def _bar(axes: Axes, one: Estimate, y: float, colour: str) -> None:
    if bounded(one):
        axes.plot([one.low, one.high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
    if finite(one):
        axes.plot([one.value], [y], color=colour, marker="o", markersize=7, linestyle="none")


def _line(axes: Axes, x: Iterable[float], estimates: Iterable[Estimate | None], **look: Any) -> None:
    """Points joined where neighbours are defined, with their intervals; gaps stay gaps."""
    points = list(zip(x, estimates, strict=True))
    y = [one.value if one is not None else math.nan for _, one in points]
    style: dict[str, Any] = {"linewidth": 1.4, "markersize": 5.5, "linestyle": "-", **look}
    axes.plot([at for at, _ in points], y, zorder=3, **style)
    for at, one in points:
        if one is not None and bounded(one):
            axes.plot([at, at], [one.low, one.high], color=style["color"], linewidth=1.1, zorder=2)


def _first(panel: Panel, tick: int) -> Study | None:
    """A study at a tick: its ceiling is the same under every supervisor."""
    return next((row[tick] for row in panel.series.values() if row[tick] is not None), None)


def _offsets(n: int) -> Sequence[float]:
    """Steps left and right of a tick, so that intervals do not cover each other."""
    step = min(0.12, SPREAD / max(1, n - 1))
    return [step * (i - (n - 1) / 2) for i in range(n)]


def calm(axes: Axes, *, across: bool = False) -> None:
    """No box, a faint grid along the numbers."""
    for side in ("top", "right", *(("left",) if across else ())):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x" if across else "y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0 if across else 3)


def in_words(study: Study) -> str:
    """The numbers of a study in one line, for readers who do not see the drawing."""
    return ", ".join(f"{name} {shown(one, digits_of(name))}" for name, one in main_estimates(study).items())
