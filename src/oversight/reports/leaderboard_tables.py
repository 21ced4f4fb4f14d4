"""A leaderboard as tables: for the terminal, as plain text, in Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oversight.metrics.intervals import Estimate
from oversight.reports.leaderboard import BaselineLine, Leaderboard, Standing, TaskLine
from oversight.reports.leaderboard_words import (
    conclusion,
    differs_on,
    gain_shown,
    marked,
    median_of,
    p_of,
    places,
    plus,
    qualifications,
    seconds_of,
)
from oversight.reports.tables import escaped
from oversight.reports.words import (
    PLANTED_NOTE,
    UNDEFINED,
    clean,
    effective_of,
    finite,
    number,
    pair,
    planted,
    same_as,
    shown,
)

if TYPE_CHECKING:
    from rich.console import Group

WIDE = 140
HEADINGS = (
    *("rank", "method", "gain over {}", "last", "oracle-best", "same as {}", "verdict", "differs on"),
    *("pooled PGR", "median PGR", "p", "seconds"),
)
TASK_HEADINGS = ("task", "family", "metric", "n", "effective", "weak", "{}", "ceiling", "gap")


@dataclass(frozen=True)
class Sheet:
    """A table with its title; every row has as many cells as the head."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def sheets(board: Leaderboard) -> list[Sheet]:
    """The tables, the most important first."""
    found = [_standings(board), _tasks(board)]
    if board.baselines:
        found.append(_baselines(board))
    if len(board.standings) > 1:
        found.append(_by_task(board))
    return found


def notes(board: Leaderboard) -> list[str]:
    """What has to be known to read them; one line each."""
    n_families = len({one.family for one in board.tasks})
    told = [
        *qualifications(board),
        f"{pair(board)} ({board.train}), "
        f"{_n(board.seeds, 'seed')}, "
        f"{_n(len(board.tasks), 'task')} in {_n(n_families, 'family')}; "
        "every method has the same rows, supervisors, seeds and ceilings",
        f"gain: mean over families of student - {board.reference}; intervals {board.correction}; 'better' and 'worse' "
        "only where the interval says so, and from 50 effective groups of test rows on; rank: places that the "
        "intervals of all pairs allow",
        f"differs on: test rows of all tasks on which a method's students choose otherwise than {board.reference}'s in "
        "any seed; of few the interval allows for those that were not drawn",
        "last, oracle-best: the gain at the end of the training, and at the place that true validation labels would "
        "choose (an oracle; the test is never searched), each with its own 95 % interval, where a training has places; "
        f"same as {board.reference}: fits, one per task and seed, that choose alike on every test row",
        "pooled PGR: sum of gains over the supervisor / sum of gaps, over families, every task included; median PGR: "
        "over the tasks where it is defined",
    ]
    told += [PLANTED_NOTE] if planted(board.weak_train) else []
    told += [_undefined(board)] if any(one.undefined for one in board.standings) else []
    one_seed = "one seed: intervals speak of these trained models, not of the methods"
    told += [one_seed if board.seeds == 1 else f"intervals cover {board.covers}"]
    told += [f"p: {board.why_no_p}"] if board.why_no_p else ["p: Wilcoxon's signed rank over families, by Holm"]
    told += _choices(board)
    told += [f"{one.method}: exploratory: {one.exploratory}" for one in board.standings if one.exploratory]
    told += [f"not finished: {name}: {why}" for name, why in board.unfinished.items()]
    told += [f"not applicable: {name}: {why}" for name, why in board.not_applicable.items()]
    told += [f"baseline not applicable: {name}: {why}" for name, why in missing_baselines(board)]
    told += [f"{one.name}: {warning}" for one in board.tasks for warning in one.warnings]
    return [clean(one) for one in told]


def _n(count: int, what: str) -> str:
    """`1 task`, `2 tasks`, `2 families`."""
    plural = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{count} {what if count == 1 else plural}"


def _undefined(board: Leaderboard) -> str:
    """The tasks without PGR and why; the same for all methods but where one differs."""
    found: dict[str, list[str]] = {}
    for one in board.standings:
        for task, reason in one.undefined.items():
            found.setdefault(f"{task}: {reason}", []).append(one.method)
    whose = (("" if len(names) == len(board.standings) else f" ({', '.join(names)})") for names in found.values())
    return "PGR is undefined on " + "; ".join(f"{reason}{who}" for reason, who in zip(found, whose, strict=True))


def _choices(board: Leaderboard) -> list[str]:
    """Settings other than the defaults, and how they were chosen."""
    told = [
        f"{one.method}: {', '.join(f'{name} = {value}' for name, value in one.settings.items())}"
        for one in board.standings
        if one.settings
    ]
    recipe: Mapping[str, Mapping[str, Any]] = board.tuning.get("recipe", {})
    told += [
        f"given by hand for every method: {role}.{name} = {value}"
        for role, own in recipe.items()
        for name, value in own.items()
    ]
    trials: Mapping[str, Sequence[Mapping[str, Any]]] = board.tuning.get("trials", {})
    if not trials:
        return told
    tried = [f"{name} {len(own)}" for name, own in trials.items()]
    lost = [
        f"{name}: {sum(one['gain_over_weak'] is None for one in own)} of {len(own)} trials failed"
        for name, own in trials.items()
        if any(one["gain_over_weak"] is None for one in own)
    ]
    tasks = ", ".join(board.tuning["development_tasks"])
    return [f"settings were chosen on {tasks}; settings tried: {', '.join(tried)}", *lost, *told]


def missing_baselines(board: Leaderboard) -> list[tuple[str, str]]:
    """Baselines that are nowhere, with the first reason."""
    return [(one.name, next(iter(one.missing.values()))) for one in board.baselines if not one.scores and one.missing]


def as_rich(board: Leaderboard) -> Group:
    """For the terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Table | Text] = [Text(conclusion(board), style="bold"), Text("")]
    for sheet in sheets(board):
        table = Table(box=None, pad_edge=False)
        for i, name in enumerate(sheet.head):
            table.add_column(Text(clean(name)), overflow="fold", no_wrap=i == 0)
        for row in sheet.rows:
            table.add_row(*(Text(clean(cell)) for cell in row))
        parts += [Text(clean(sheet.title), style="bold"), table, Text("")]  # a table folds its title to its own width
    parts += [Text(line, style="dim") for line in notes(board)]
    return Group(*parts)


def as_text(board: Leaderboard) -> str:
    """The same without colours."""
    import io

    from rich.console import Console

    console = Console(width=WIDE, no_color=True, highlight=False, file=io.StringIO(), record=True)
    console.print(as_rich(board))
    return "\n".join(line.rstrip() for line in console.export_text().splitlines())


def as_markdown(board: Leaderboard) -> str:
    """The same in Markdown."""
    parts = [f"**{escaped(conclusion(board))}**", ""]
    for sheet in sheets(board):
        rows = [sheet.head, tuple("---" for _ in sheet.head), *sheet.rows]
        lines = ["| " + " | ".join(escaped(clean(cell)) for cell in row) + " |" for row in rows]
        parts += [f"## {escaped(clean(sheet.title))}", "", *lines, ""]
    parts += ["## How to read it", "", *(f"- {escaped(line)}" for line in notes(board)), ""]
    return "\n".join(parts)


def _standings(board: Leaderboard) -> Sheet:
    rows = tuple(_standing(board, one) for one in board.standings)
    head = tuple(name.format(board.reference) for name in HEADINGS)
    return Sheet("Leaderboard", head, rows)


def _standing(board: Leaderboard, one: Standing) -> tuple[str, ...]:
    is_reference = one.method == board.reference
    n_fits = board.seeds * len(board.tasks)
    gain = same_as(one.same, n_fits, board.reference, what="fit") if one.same == n_fits else spanned(one.gain)
    return (
        places(one.rank),
        marked(one),
        "reference" if is_reference else gain,
        "" if one.last is None else spanned(one.last),
        "" if one.oracle_best is None else spanned(one.oracle_best),
        "" if is_reference else f"{one.same} of {n_fits}",
        "" if is_reference else one.verdict,
        "" if is_reference else differs_on(one),
        _pgr(one.pgr),
        median_of(board, one),
        p_of(one.p),
        seconds_of(one.seconds),
    )


def _pgr(pgr: Estimate) -> str:
    return f"{pgr.value:.2f} [{pgr.low:.2f}, {pgr.high:.2f}]" if pgr.defined else UNDEFINED


def spanned(estimate: Estimate) -> str:
    """`+.012 [-.003, +.027]`."""
    return compact(gain_shown(estimate))


def compact(text: str) -> str:
    """Without the zeros before decimal points."""
    return re.sub(r"(?<![\d.])0\.", ".", text)


def _tasks(board: Leaderboard) -> Sheet:
    rows = tuple(
        (one.name, one.family, one.metric, str(one.n_test), effective_of(one), *map(shown, _scores(one)))
        for one in board.tasks
    )
    return Sheet("Tasks", tuple(name.format(board.reference) for name in TASK_HEADINGS), rows)


def _scores(one: TaskLine) -> tuple[Estimate, ...]:
    return (one.weak, one.reference, one.ceiling, one.gap)


def _baselines(board: Leaderboard) -> Sheet:
    rows = tuple(_baseline(board, one) for one in board.baselines if one.scores)
    head = ("baseline", f"minus {board.reference}", *(one.name for one in board.tasks))
    return Sheet("Baselines", head, rows)


def _baseline(board: Leaderboard, one: BaselineLine) -> tuple[str, ...]:
    cells = (number(one.scores[task.name].value) if task.name in one.scores else "-" for task in board.tasks)
    return (one.name, "" if one.gain is None else spanned(one.gain), *cells)


def _by_task(board: Leaderboard) -> Sheet:
    """Gains of every method on every task, those that an interval by itself tells from zero with a star."""
    rows = tuple(
        (one.method, *(_starred(one.cells[task.name].gain) for task in board.tasks))
        for one in board.standings
        if one.method != board.reference
    )
    return Sheet(
        f"Gain over {board.reference} by task (* = its own 95 % interval excludes 0; not corrected)",
        ("method", *(one.name for one in board.tasks)),
        rows,
    )


def _starred(estimate: Estimate) -> str:
    if not finite(estimate):
        return "?"
    return compact(plus(estimate.value)) + "*" * bool(estimate.above_zero or estimate.below_zero)
