"""A leaderboard as one self-contained page: no script, no font, no address outside the file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from oversight.reports.html import document
from oversight.reports.leaderboard_cells import by_task, gain_cells, method_name, settings_of, task_name
from oversight.reports.leaderboard_figure import forest, key
from oversight.reports.leaderboard_words import (
    conclusion,
    differs_on,
    families,
    gain_interval,
    gain_shown,
    gain_value,
    median_of,
    p_of,
    places,
    plus,
    qualifications,
    rivals,
    seconds_of,
)
from oversight.reports.markup import Raw, bullets, details, el, join, section, table
from oversight.reports.sections import cell, definitions, explained, made_by, warned_of
from oversight.reports.words import PLANTED_NOTE, bounded, clean, pair, planted, plural, unique

if TYPE_CHECKING:
    from oversight.metrics.intervals import Estimate
    from oversight.reports.leaderboard import BaselineLine, Leaderboard, Standing, TaskLine

NONE = Raw("")
ARROW = "→"
BESIDE, MOST_PAIRED = 12, 15
HOW_TO_READ = (
    ("Gain", "score of the method's student minus that of the reference, more is better; the mean over families."),
    ("Family", "tasks that are variants of each other; every family counts as one, and its tasks may move together."),
    (
        "Better, worse",
        "only where the interval that holds for all methods at once excludes 0. Not told apart does not mean equal: "
        "this comparison does not show which way the difference goes.",
    ),
    (
        "Interval",
        "95 %: over new test rows, drawn by group, and with several seeds over new seeds; of these tasks, not of "
        "others. It is simultaneous unless it is said to be by itself.",
    ),
    ("Rank", "the places that the simultaneous intervals of all pairs allow. Methods that share a place may be tied."),
    (
        "Pooled PGR",
        "sum of gains over the supervisor / sum of gaps, every task included. Its interval is each method's own.",
    ),
    ("Median PGR", "over the tasks where PGR is defined. It describes them, and has no interval."),
    ("Supervisor, student, ceiling", "weak model; strong model taught by it; strong model taught by ground truth."),
    ("p", "Wilcoxon's signed rank test over families, corrected by Holm; only from ten families."),
    ("Seconds", "of computing for one seed and task, mean; of fits that were solved together, the share."),
    ("Oracle", "a method that saw ground truth. It bounds what is possible, is no way to train, and is not ranked."),
    ("Exploratory", "the method's settings may owe something to the test rows on which it is compared."),
)


def as_page(board: Leaderboard) -> str:
    """The whole document. Same board, same text."""
    name = f"{pair(board, ARROW)}: {plural(len(rivals(board)), 'method')} against {clean(board.reference)}"
    parts = [
        summary(board),
        section("Methods", main_table(board), *_notes(board)),
        section("Tasks", task_table(board)),
        section("Task by task", *by_task(board)) if len(board.standings) > 1 else NONE,
        baselines(board),
        left_out(board),
        section("How settings were chosen", *tuning(board)),
        pairs(board),
        explained(HOW_TO_READ),
        provenance(board),
    ]
    return document(name, "oversight: comparison of methods", join(parts))


def summary(board: Leaderboard) -> Raw:
    """The conclusion and what limits it, warnings, and the drawing: beside them while it is no longer than they are."""
    words = [el("p", conclusion(board), class_="ov-lead"), bullets(qualifications(board)), _shared(board)]
    words.append(warned_of([f"{clean(one.name)}: {clean(text)}" for one in board.tasks for text in one.warnings]))
    drawing = forest(board)
    if drawing is None:
        return join(words)
    figure = el("figure", Raw(drawing.svg), el("figcaption", key(board)))
    if len(board.standings) > BESIDE:
        return join([*words, figure])
    return el("div", el("div", *words), el("div", figure), class_="ov-hero")


def _shared(board: Leaderboard) -> Raw:
    weak, strong = (
        clean(model) if model == train else f"{clean(model)} ({clean(train)})"
        for model, train in ((board.weak_model, board.weak_train), (board.strong_model, board.train))
    )
    how = f"supervisor {weak}, student and ceiling {strong}, {plural(board.seeds, 'seed')}"
    told = f" Note: {PLANTED_NOTE}." if planted(board.weak_train) else ""
    return el("p", f"Shared by every method: {how}, and the same rows, labels and ceilings.{told}", class_="ov-note")


def main_table(board: Leaderboard) -> Raw:
    """One row per method, in the order of the board."""
    caption = (
        f"Gain over {clean(board.reference)} with intervals {clean(board.correction)}; those of PGR hold by "
        "themselves; differs on: test rows on which its students choose otherwise in any seed; median PGR: of the "
        "tasks where it is defined"
    )
    head = ["method", "gain", "verdict", "by itself", "differs on", "rank", "pooled PGR", "median PGR"]
    head += ["p (Holm)", "seconds", "settings"]
    shown = [i for i, name in enumerate(head) if name != "p (Holm)" or not board.why_no_p]
    rows = [_row(board, one) for one in board.standings]
    return table(
        caption, [head[i] for i in shown], [[row[i] for i in shown] for row in rows], class_="ov-main ov-board"
    )


def _row(board: Leaderboard, one: Standing) -> list[str]:
    is_reference = one.method == board.reference
    return [
        method_name(one),
        *(("reference", "", "") if is_reference else gain_cells(one)),
        "" if is_reference else differs_on(one),
        places(one.rank),
        cell(one.pgr, 2),
        median_of(board, one),
        p_of(one.p),
        seconds_of(one.seconds),
        settings_of(one.settings),
    ]


def _notes(board: Leaderboard) -> list[Raw]:
    told = [f"No p values: {clean(board.why_no_p)}."] if board.why_no_p else []
    told += [f"{clean(one.method)} is exploratory: {clean(one.exploratory)}." for one in _exploratory(board)]
    return [bullets(told, class_="ov-note")] if told else []


def _exploratory(board: Leaderboard) -> list[Standing]:
    return [one for one in board.standings if one.exploratory]


def task_table(board: Leaderboard) -> Raw:
    """What the supervisor, the reference and the ceiling score, and whether there is a gap to recover."""
    reference = clean(board.reference)
    several = len(families(board)) < len(board.tasks)
    head = ["task", "weak", reference, "ceiling", "gap", f"PGR of {reference}"]
    rows = [_task_row(board, one, several=several) for one in board.tasks]
    return table("Test scores with 95 % intervals by themselves", head, rows, class_="ov-main")


def _task_row(board: Leaderboard, one: TaskLine, *, several: bool) -> list[str]:
    scores = [cell(score) for score in (one.weak, one.reference, one.ceiling, one.gap)]
    own = board.standing(board.reference).cells.get(one.name)
    return [task_name(one, family=several), *scores, cell(own.pgr, 2) if own else "-"]


def baselines(board: Leaderboard) -> Raw:
    """How far one comes without the methods; and where a baseline is missing, why."""
    if not board.baselines:
        return NONE
    head = ["baseline", f"minus {clean(board.reference)}", *(clean(one.name) for one in board.tasks)]
    rows = [_baseline(board, one) for one in board.baselines]
    caption = f"Test scores, and their mean difference to {clean(board.reference)} with 95 % intervals by themselves"
    return section("Baselines", table(caption, head, rows, class_="ov-main"))


def _baseline(board: Leaderboard, one: BaselineLine) -> list[str]:
    name = join([clean(one.name), " ", el("span", clean(one.about), class_="ov-below")])
    reasons = unique(clean(reason) for reason in one.missing.values())
    if not one.scores and len(reasons) == 1:
        why = el("span", f"not applicable: {reasons[0]}", class_="ov-undefined")
        return [name, why, *("-" for _ in board.tasks)]
    return [name, _against(one), *(_baseline_score(one, task.name) for task in board.tasks)]


def _against(one: BaselineLine) -> Raw:
    if one.gain is None:
        return el("span", "not on every task", class_="ov-undefined")
    bounds = el("span", gain_interval(one.gain), class_="ov-interval")
    return el("span", el("span", gain_value(one.gain), class_="ov-value"), " ", bounds, class_="ov-number")


def _baseline_score(one: BaselineLine, task: str) -> Raw:
    if task in one.scores:
        return cell(one.scores[task])
    return el("span", clean(one.missing.get(task, "missing")), class_="ov-undefined")


def left_out(board: Leaderboard) -> Raw:
    """Methods that failed, and methods that these inputs do not allow, with the reason of each."""
    found = [(name, "not finished", why) for name, why in board.unfinished.items()]
    found += [(name, "not applicable", why) for name, why in board.not_applicable.items()]
    if not found:
        return NONE
    shown = table("Methods that are not compared", ["method", "why", "reason"], [[*map(clean, one)] for one in found])
    unfinished = plural(len(board.unfinished), "method")
    text = f"{unfinished} failed on some task and can be tried again (--retry-failed)." if board.unfinished else ""
    return section("Not on the board", *([el("p", text)] if text else []), shown)


def tuning(board: Leaderboard) -> list[Raw]:
    """What was tried on which development tasks, and what was frozen."""
    trials: Mapping[str, Sequence[Mapping[str, Any]]] = board.tuning.get("trials") or {}
    if not trials:
        by_hand = [clean(one.method) for one in board.standings if one.settings]
        defaults = "Every method" if not by_hand else "Every other method"
        given = f"Settings of {', '.join(by_hand)} were given by hand. " if by_hand else ""
        return [el("p", f"{given}{defaults} ran with its default settings; there were no development tasks (--dev).")]
    names = ", ".join(map(clean, board.tuning.get("development_tasks") or ()))
    text = (
        f"On {names}, none of them on the board: of every method the settings with the largest mean gain over the "
        "supervisor, the earlier of equals. They were frozen before the comparison; the gains that chose them are "
        "not evidence for the method."
    )
    rows = [_chosen(name, tried) for name, tried in trials.items()]
    caption = "Chosen settings; gain over the supervisor on the development tasks, without an interval"
    head = ["method", "tried", "chosen", "gain over supervisor", "of the others"]
    return [el("p", text), table(caption, head, rows, class_="ov-main")]


def _chosen(name: str, tried: Sequence[Mapping[str, Any]]) -> list[str]:
    best = next((one for one in tried if one.get("chosen")), None)
    others = [f"{settings_of(one['settings'])}: {_gained(one)}" for one in tried if one is not best]
    return [
        clean(name),
        plural(len(tried), "setting"),
        settings_of(best["settings"]) if best else "-",
        _gained(best) if best else "-",
        bullets(others, class_="ov-plain") if others else "-",
    ]


def _gained(one: Mapping[str, Any]) -> str:
    gain = one.get("gain_over_weak")
    return "failed" if gain is None or not math.isfinite(gain) else plus(gain)


def pairs(board: Leaderboard) -> Raw:
    """Pairs of ranked methods that are told apart, and where they are few enough the difference of every pair."""
    if len(rivals(board)) < 2:
        return NONE
    apart = [(pair, one) for pair, one in board.differences.items() if one.above_zero or one.below_zero]
    n_pairs = plural(len(board.differences), "pair")
    text = f"Of {n_pairs} of ranked methods, {len(apart)} are told apart, by intervals that hold for all pairs at once."
    blocks: list[Raw] = [el("p", text)]
    if apart:
        caption = "Pairs that are told apart: better minus worse"
        shown = table(caption, ["better", "worse", "difference"], [_better_first(*pair, one) for pair, one in apart])
        blocks.append(shown if len(apart) <= MOST_PAIRED else details(caption, shown))
    names = unique(name for pair in board.differences for name in pair)
    if len(names) <= MOST_PAIRED:
        blocks.append(details("Every pair", _matrix(board, names)))
    return section("Pairs", *blocks)


def _better_first(first: str, second: str, one: Estimate) -> list[str]:
    if one.value < 0:
        first, second, one = second, first, replace(one, value=-one.value, low=-one.high, high=-one.low)
    return [clean(first), clean(second), gain_shown(one)]


def _matrix(board: Leaderboard, names: Sequence[str]) -> Raw:
    rows = [[clean(row), *(_pair(board, row, column) for column in names)] for row in names]
    caption = "Row minus column, intervals simultaneous over all pairs"
    return table(caption, ["method", *map(clean, names)], rows, class_="ov-main ov-heat")


def _pair(board: Leaderboard, row: str, column: str) -> str:
    one = board.differences.get((row, column))
    if one is None:
        return ""
    bounds = el("span", gain_interval(one), class_="ov-below") if bounded(one) else NONE
    return join([el("span", gain_value(one), class_="ov-value"), " ", bounds])


def provenance(board: Leaderboard) -> Raw:
    """Command, versions, time and store."""
    listed = definitions(made_by(board.about))
    return section("Where this comes from", listed) if listed else NONE
