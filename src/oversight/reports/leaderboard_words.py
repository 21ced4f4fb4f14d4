"""What a leaderboard shows, in sentences that never say more than its simultaneous intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from oversight.metrics.intervals import Estimate
from oversight.reports.words import bounded, clean, interval_digits, number, plural, unique, why

if TYPE_CHECKING:
    from oversight.reports.leaderboard import Leaderboard, Standing

NAMED = 6
GAIN_DIGITS = 3
NO_INTERVAL = "no interval"


def rivals(board: Leaderboard) -> list[Standing]:
    """What is ranked beside the reference: oracles are not."""
    return [one for one in board.standings if one.method != board.reference and not one.oracle]


def families(board: Leaderboard) -> list[str]:
    """In the order of their first tasks."""
    return unique(one.family for one in board.tasks)


def conclusion(board: Leaderboard) -> str:
    """The verdict in one sentence, with what it rests on.

    Example: On 3 tasks of 2 families, with 5 seeds and 886 test rows, 2 of 14 methods are shown to be better than naive
    (a, b) and 3 worse (c, d, e); 9 are not told apart from it.
    """
    n_families, n_tasks = len(families(board)), len(board.tasks)
    of = f" of {n_families} famil{'y' if n_families == 1 else 'ies'}" if n_families < n_tasks else ""
    n_rows = sum(one.n_test for one in board.tasks)
    rows = f"{n_rows:,} test row{'' if n_rows == 1 else 's'}"
    scope = f"On {plural(n_tasks, 'task')}{of}, with {plural(board.seeds, 'seed')} and {rows},"
    return f"{scope} {_verdict(board)}."


def _verdict(board: Leaderboard) -> str:
    found, reference = rivals(board), clean(board.reference)
    if not found:
        return f"nothing is ranked beside {reference}"
    if not any(bounded(one.gain) for one in found):
        return f"nothing is told apart from {reference}, as there are no intervals: {why(found[0].gain)}"
    if not any(one.gain.judged for one in found):
        groups = plural(math.floor(found[0].gain.n_effective), "effective group")
        return f"nothing is told apart from {reference}, as {groups} of test rows are too few for a verdict"
    if len(found) == 1:
        shown = found[0].verdict
        is_so = f"{shown} from" if shown == "not told apart" else f"shown to be {shown} than"
        return f"{clean(found[0].method)} is {is_so} {reference}"
    better, worse = ([one for one in found if one.verdict == verdict] for verdict in ("better", "worse"))
    if not better and not worse:
        return f"none of {len(found)} methods is shown to be better or worse than {reference}"
    rest = len(found) - len(better) - len(worse)
    tied = f"; {rest} {'is' if rest == 1 else 'are'} not told apart from it" if rest else ""
    if not better:
        return f"none of {len(found)} methods is shown to be better than {reference} and {_some(worse)} worse{tied}"
    below = f" and {len(worse)} worse{_named(worse)}" if worse else " and none worse"
    are = "is" if len(better) == 1 else "are"
    return (
        f"{len(better)} of {len(found)} methods {are} shown to be better than {reference}{_named(better)}{below}{tied}"
    )


def _some(found: Sequence[Standing]) -> str:
    return f"{len(found)}{_named(found)} to be"


def _named(found: Sequence[Standing]) -> str:
    """` (a, b)`, where there are few."""
    return f" ({', '.join(clean(one.method) for one in found)})" if len(found) <= NAMED else ""


def qualifications(board: Leaderboard) -> list[str]:
    """What a reader of the conclusion has to know at once, a sentence each."""
    told = [_reach(board), _gaps(board)]
    if board.seeds == 1:
        told.append("One seed: the intervals speak of these trained models only, not of the methods.")
    told.append(_names(board, [one.method for one in rivals(board) if one.exploratory and one.verdict == "better"]))
    oracles = [clean(one.method) for one in board.standings if one.oracle]
    if oracles:
        told.append(f"Not counted, as {'it' if len(oracles) == 1 else 'they'} saw ground truth: {', '.join(oracles)}.")
    if board.unfinished:
        told.append(f"Not finished, and therefore not compared: {', '.join(map(clean, board.unfinished))}.")
    return [one for one in told if one]


def _names(board: Leaderboard, exploratory: Sequence[str]) -> str:
    names = ", ".join(map(clean, exploratory))
    return f"Better, but exploratory, as the test rows may have had a part in its settings: {names}." if names else ""


def _reach(board: Leaderboard) -> str:
    """How small a gain can be seen at all."""
    halves = sorted((one.gain.high - one.gain.low) / 2 for one in rivals(board) if bounded(one.gain))
    if not halves:
        return ""
    low, high = number(halves[0]), number(halves[-1])
    reach = low if low == high else f"{low} to {high} (by method)"
    return f"The simultaneous intervals reach {reach} to either side: no smaller gain can be shown here."


def _gaps(board: Leaderboard) -> str:
    """On how many tasks there is anything to recover."""
    without = [clean(one.name) for one in board.tasks if not one.gap.above_zero]
    if not without:
        return ""
    names = f" ({', '.join(without)})" if len(without) <= NAMED else ""
    on = f"{len(without)} of {plural(len(board.tasks), 'task')}{names}"
    return f"The ceiling is not shown to be above the supervisor on {on}."


def differs_on(one: Standing) -> str:
    """`3 of 286`: test rows on which its students choose otherwise than the reference's in any seed; or nothing."""
    return "" if one.discordant is None else f"{one.discordant.rows:,} of {one.discordant.n:,}"


def places(rank: tuple[int, int] | None) -> str:
    """`3`, `2-5`, or `-` for what is not ranked."""
    if rank is None:
        return "-"
    best, worst = rank
    return str(best) if best == worst else f"{best}-{worst}"


def marked(one: Standing) -> str:
    """The method's name, with whatever keeps it from being read like the others."""
    marks = [mark for mark, holds in (("oracle", one.oracle), ("exploratory", one.exploratory)) if holds]
    return " ".join([clean(one.method), *(f"({mark})" for mark in marks)])


def seconds_of(seconds: float | None) -> str:
    """Two significant digits, never a power of ten; nothing where it is not known."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    return number(seconds, max(0, 1 - math.floor(math.log10(seconds))) if seconds > 0 else 0)


def p_of(p: float | None) -> str:
    """`0.031`, `< 0.001`, or nothing."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.0005 else number(p)


def median_of(board: Leaderboard, one: Standing) -> str:
    """`0.23 (2 of 3)`: of how many tasks."""
    n_defined = len(board.tasks) - len(one.undefined)
    return f"{number(one.median_pgr, 2)} ({n_defined} of {len(board.tasks)})"


def plus(value: float, digits: int = GAIN_DIGITS) -> str:
    """`+0.012`, `-0.003`, `0.000`."""
    text = number(value, digits)
    return f"+{text}" if math.isfinite(value) and float(text) > 0 else text


def gain_value(estimate: Estimate) -> str:
    """A difference with its sign and as many decimals as its interval."""
    return plus(estimate.value, _digits(estimate))


def gain_interval(estimate: Estimate) -> str:
    """`[-0.003, +0.027]`; a bound beyond zero never reads as zero."""
    if not bounded(estimate):
        return f"[{NO_INTERVAL}]"
    digits = _digits(estimate)
    return f"[{plus(estimate.low, digits)}, {plus(estimate.high, digits)}]"


def gain_shown(estimate: Estimate) -> str:
    """`+0.012 [-0.003, +0.027]`, or what is missing and why."""
    if not math.isfinite(estimate.value):
        return f"undefined: {why(estimate)}" if why(estimate) else "undefined"
    return f"{gain_value(estimate)} {gain_interval(estimate)}"


def _digits(estimate: Estimate) -> int:
    return max(GAIN_DIGITS, interval_digits(estimate.low, estimate.high)) if bounded(estimate) else GAIN_DIGITS
