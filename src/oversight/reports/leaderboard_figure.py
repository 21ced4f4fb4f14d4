"""The leaderboard drawn: every method's gain over the reference with its intervals, and the places it may have."""

from __future__ import annotations

import math
import statistics
from functools import partial
from typing import TYPE_CHECKING, Any

from oversight.reports.figures import Drawing, svg_of
from oversight.reports.leaderboard_words import gain_shown, places, plus
from oversight.reports.palette import LIGHT, SERIES
from oversight.reports.panels import NAME_LIMIT, calm
from oversight.reports.words import bounded, clean, finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from oversight.metrics.intervals import Estimate
    from oversight.reports.leaderboard import Leaderboard, Standing

WIDTH, FRAME, ROW, MANY, NARROW = 5.0, 0.95, 0.3, 15, 0.24
APART = 0.2
FARTHEST = 3.0
MARGIN, NOTHING = 0.06, 0.01
INK, MUTED, BG = (LIGHT[name] for name in ("ink", "muted", "bg"))
LOOKS: dict[str, dict[str, Any]] = {
    "better": {"color": LIGHT[SERIES[0]], "marker": "^"},
    "worse": {"color": LIGHT[SERIES[1]], "marker": "v"},
    "not told apart": {"color": MUTED, "marker": "o", "markerfacecolor": BG},
}
ORACLE, EXPLORATORY = "°", "†"


def forest(board: Leaderboard) -> Drawing | None:
    """One row per method in the order of the board, the reference at zero; None where there is nothing beside it."""
    if len(board.standings) < 2:
        return None
    title = f"Gain over {clean(board.reference)}, and places"
    numbers = "; ".join(_in_words(one) for one in board.standings if one.method != board.reference)
    n = len(board.standings)
    size = (WIDTH, FRAME + (NARROW if n > MANY else ROW) * n)
    svg = svg_of(size, partial(draw, board=board), label=f"{title}: {numbers}")
    return Drawing(heading="Leaderboard", title=title, svg=svg)


def key(board: Leaderboard) -> str:
    """How to read the drawing."""
    marks = [
        f" {mark} {text}."
        for mark, text, there in (
            (EXPLORATORY, "exploratory", any(one.exploratory for one in board.standings)),
            (ORACLE, "saw ground truth, not ranked", any(one.oracle for one in board.standings)),
        )
        if there
    ]
    return (
        f"Gain over {clean(board.reference)}: mean over families. Thick: {clean(board.correction)}; thin, below: 95 % "
        "by itself. ▲ better, ▼ worse, ○ not told apart. Right: places that the intervals of all pairs allow."
        f"{''.join(marks)}"
    )


def _in_words(one: Standing) -> str:
    place = f", places {places(one.rank)}" if one.rank else ""
    return f"{clean(one.method)} {gain_shown(one.gain)}, {one.verdict}{place}"


def draw(figure: Figure, *, board: Leaderboard) -> None:
    """Gains to the left, places to the right, the first of the board on top."""
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3.4, 1])
    n = len(board.standings)
    frame = frame_of(board)
    for axes in (left, right):
        calm(axes, across=True)
        axes.tick_params(labeltop=n > MANY)
    left.axvline(0, color=INK, linewidth=0.9, zorder=1)
    for y, one in zip(range(n - 1, -1, -1), board.standings, strict=True):
        is_reference = one.method == board.reference
        look = {"color": INK, "marker": "D"} if is_reference else LOOKS[one.verdict]
        _gain(left, one, y, frame=frame, look=look)
        _places(right, one, y, color=look["color"])
    left.set_xlim(frame)
    left.locator_params(axis="x", nbins=5)
    left.set_ylim(-0.7, n - 0.4)
    left.set_yticks(range(n - 1, -1, -1), [_name(one) for one in board.standings])
    left.set_xlabel(f"gain over {clean(board.reference, limit=NAME_LIMIT)}")
    ranked = [one for one in board.standings if one.rank]
    right.set_xlim(0.4, max(2, len(ranked)) + 0.6)
    right.set_xticks([1, len(ranked)] if len(ranked) > 1 else [1])
    right.set_xlabel("place")


def _name(one: Standing) -> str:
    marks = EXPLORATORY * bool(one.exploratory) + ORACLE * one.oracle
    return f"{clean(one.method, limit=NAME_LIMIT)}{marks and ' '}{marks}"


def frame_of(board: Leaderboard) -> tuple[float, float]:
    """The ends of the axis, 0 between them; of what goes much further than most, an arrow shows that it does."""
    ends = [_ends(one.gain) for one in board.standings]
    reached = [far for far in (max(map(abs, own), default=0.0) for own in ends) if far > 0]
    limit = FARTHEST * statistics.median(reached) if reached else 0.0
    inside = [min(max(end, -limit), limit) for own in ends for end in own]
    low, high = min([0.0, *inside]), max([0.0, *inside])
    margin = MARGIN * (high - low) or NOTHING
    return low - margin, high + margin


def _ends(one: Estimate) -> list[float]:
    return [end for end in (one.value, one.low, one.high) if math.isfinite(end)]


def _gain(axes: Axes, one: Standing, y: float, *, frame: tuple[float, float], look: dict[str, Any]) -> None:
    """The simultaneous interval, the method's own below it, and the value; one outside is named at the edge."""
    low, high = frame
    if not finite(one.gain):
        axes.text(0, y, " undefined", va="center", color=MUTED, fontsize=8.5)
        return
    for estimate, below, width in ((one.gain, 0.0, 2.6), (one.alone, APART, 0.9)):
        if bounded(estimate) and estimate.low < estimate.high:
            ends = [min(max(end, low), high) for end in (estimate.low, estimate.high)]
            axes.plot(ends, [y - below] * 2, color=look["color"], linewidth=width, solid_capstyle="butt")
    if low < one.gain.value < high:
        axes.plot([one.gain.value], [y], linestyle="none", markersize=6, zorder=3, **look)
        return
    text, at, side = (f"{plus(one.gain.value)} →", high, "right")
    if one.gain.value < 0:
        text, at, side = (f"← {plus(one.gain.value)}", low, "left")
    axes.text(at, y + APART, text, ha=side, va="center", color=look["color"], fontsize=8)


def _places(axes: Axes, one: Standing, y: float, *, color: str) -> None:
    if one.rank is None:
        return
    mark = "o" if one.rank[0] == one.rank[1] else "|"
    axes.plot(one.rank, [y] * 2, color=color, linewidth=2.6, solid_capstyle="butt", marker=mark, markersize=6)
