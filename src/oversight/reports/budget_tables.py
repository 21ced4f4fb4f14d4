"""A budget curve as a table: for the terminal, as plain text, in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oversight.reports.budget import BudgetCell, BudgetCurve
from oversight.reports.leaderboard_tables import WIDE, compact, spanned
from oversight.reports.words import PLANTED_NOTE, UNDEFINED, clean, pair, planted, shown

if TYPE_CHECKING:
    from rich.console import Group

HEADINGS = ("labels", "cost", "{}", "- all weak", "- true alone", "PGR", "frontier")
STEP_HEADINGS = ("from", "to", "gain", "")
SHOWN, TIED = "shown", "not told apart"


def money(cost: float) -> str:
    """`1,280`; one decimal below 100 where there is one.

    Example:
        >>> money(1279.6), money(12.5), money(3.0)
        ('1,280', '12.5', '3')
    """
    return f"{cost:,.0f}" if cost >= 100 or cost == round(cost) else f"{cost:,.1f}"


def standing(curve: BudgetCurve, one: BudgetCell) -> str:
    """On the frontier: `cheapest`, `shown` where the step to it is, `tied` where only its point estimate is higher."""
    if not one.on_frontier:
        return ""
    if one is curve.frontier[0]:
        return "cheapest"
    return "shown" if one in curve.shown_frontier else "tied"


def cell_rows(curve: BudgetCurve) -> list[tuple[str, ...]]:
    """One row per cell, by rising cost, under HEADINGS."""
    return [
        (
            one.name,
            money(one.cost),
            compact(shown(one.student)),
            "" if one.over_weak is None else spanned(one.over_weak),
            "" if one.over_true is None else spanned(one.over_true),
            f"{one.pgr.value:.2f} [{one.pgr.low:.2f}, {one.pgr.high:.2f}]" if one.pgr.defined else UNDEFINED,
            standing(curve, one),
        )
        for one in curve.cells
    ]


def step_rows(curve: BudgetCurve) -> list[tuple[str, ...]]:
    """One row per step along the frontier, under STEP_HEADINGS."""
    return [(one.start, one.end, spanned(one.gain), SHOWN if one.shown else TIED) for one in curve.steps]


def heads(curve: BudgetCurve) -> tuple[str, ...]:
    """HEADINGS with the metric."""
    return tuple(name.format(clean(curve.metric).replace("_", " ")) for name in HEADINGS)


def verdict(curve: BudgetCurve) -> str:
    """One or two sentences that say no more than the intervals."""
    better = [one for one in curve.cells if one.n_true > 0 and one.over_weak is not None and one.over_weak.above_zero]
    both = [one for one in better if one.n_weak > 0]
    mixed = [one for one in curve.cells if one.n_weak > 0 and one.over_true is not None and one.over_true.above_zero]
    if better:
        first = better[0]
        text = (
            f"The cheapest labels shown to beat all weak ones are {first.name}, at {money(first.cost)} "
            f"({spanned(first.over_weak) if first.over_weak else ''})."
        )
        if both and both[0] is not first:
            text += f" The cheapest such mixture is {both[0].name}, at {money(both[0].cost)}."
    else:
        text = "No bought labels are shown to beat all weak ones."
    n_shown, n_steps = sum(step.shown for step in curve.steps), len(curve.steps)
    found = "no mixture" if not mixed else f"{len(mixed)} mixture" + "s" * (len(mixed) > 1)
    text += f" Weak labels are shown to add to the same true ones in {found}."
    return f"{text} Of {n_steps} step{'s' * (n_steps != 1)} along the frontier {n_shown} are shown."


def notes(curve: BudgetCurve) -> list[str]:
    """What has to be known to read the numbers; one line each."""
    prices = f"a true label costs {curve.prices.true:g}, a weak one {curve.prices.weak:g}"
    told = [
        f"{pair(curve)} ({curve.train}), {curve.seeds} seeds, {curve.n_test} test rows in "
        f"{curve.n_groups} groups; {curve.n_transfer:,.0f} transfer rows; the student learns from bought true labels",
        f"{prices}; cost: of the labels of transfer rows that the student learned from",
        *([PLANTED_NOTE] if planted(curve.weak_train) else []),
        *(f"in no cost: {one.n:,.0f} {one.what} ({money(one.cost)})" for one in curve.unpriced),
        f"intervals {curve.correction}; scores and PGR 95 % by themselves; they cover {curve.gap.covers}",
        "frontier: no cheaper cell is as good by point estimate; shown: the step from the last shown cell (first from "
        "the cheapest) has an interval above 0; tied: it has not, and the dearer cell may be no better",
    ]
    told += [f"PGR is undefined: {why}" for why in dict.fromkeys(c.pgr.reason for c in curve.cells if c.pgr.reason)]
    told += [f"not finished: {name}: {why}" for name, why in curve.unfinished.items()]
    reasons: dict[str, list[str]] = {}
    for name, why in curve.left_out.items():
        reasons.setdefault(why, []).append(name)
    told += [f"left out: {'; '.join(names)}: {why}" for why, names in reasons.items()]
    return [clean(one) for one in (*told, *curve.warnings)]


def levels(curve: BudgetCurve) -> str:
    """The scores between which everything lies."""
    return (
        f"{clean(curve.task)}: supervisor {compact(shown(curve.weak))}, ceiling (the truth of all transfer rows) "
        f"{compact(shown(curve.ceiling))}, gap {spanned(curve.gap)}"
    )


def as_rich(curve: BudgetCurve) -> Group:
    """For the terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Table | Text] = [Text(levels(curve)), Text("")]
    sheets = [("What labels buy", heads(curve), cell_rows(curve))]
    if curve.steps:
        sheets.append(("Steps along the frontier", STEP_HEADINGS, step_rows(curve)))
    for title, head, rows in sheets:
        table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for i, name in enumerate(head):
            table.add_column(name, overflow="fold", no_wrap=i == 0, justify="right" if name == "cost" else "left")
        for row in rows:
            table.add_row(*map(Text, row))
        parts += [table, Text("")]
    parts += [Text(verdict(curve)), Text(""), *(Text(line, style="dim") for line in notes(curve))]
    return Group(*parts)


def as_text(curve: BudgetCurve) -> str:
    """The same without colours."""
    import io

    from rich.console import Console

    console = Console(width=WIDE, no_color=True, highlight=False, file=io.StringIO(), record=True)
    console.print(as_rich(curve))
    return "\n".join(line.rstrip() for line in console.export_text().splitlines())


def as_markdown(curve: BudgetCurve) -> str:
    """The same in Markdown."""
    parts = [f"{levels(curve)}.", "", verdict(curve), "", *_markdown("What labels buy", heads(curve), cell_rows(curve))]
    if curve.steps:
        parts += _markdown("Steps along the frontier", (*STEP_HEADINGS[:-1], "verdict"), step_rows(curve))
    return "\n".join([*parts, "## How to read it", "", *(f"- {line}" for line in notes(curve)), ""])


def _markdown(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    table = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines]
    return [f"## {title}", "", *table, ""]
