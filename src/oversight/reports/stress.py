"""What the stress suite shows: per check what was planted, what must be seen, what was seen; as a table and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from oversight.metrics.intervals import Estimate
from oversight.reports.words import UNDEFINED, bounded, clean, finite, metric_name, shown

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from oversight.reports.result import Result, Study

PASS, FAIL, DIFFERS, NOT_SHOWN = "pass", "FAIL", "differs", "not shown"
ROUNDING = 1e-12
STYLES = {PASS: "green", FAIL: "bold red", DIFFERS: "yellow", NOT_SHOWN: "dim"}
READ = (
    "pass: the 95 % interval lies within what must be seen; FAIL: it lies outside; not shown: it reaches across. "
    "(reported): no law but what the paper found; differs: it was not so here. All of this speaks of naive training."
)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What theory says of a planted fault, and what was seen.

    Attributes:
        check, planted: which study it speaks of.
        expected: what must be seen, in words.
        seen: the number; None where something was seen or not.
        low, high: the range in which the number must lie.
        held: where there is no number, whether it was seen; None = not known.
        must: whether a contradiction means that something is broken; otherwise it is what was reported of other data.
        told: what was seen in words, in place of the number.
    """

    check: str
    planted: str
    expected: str
    seen: Estimate | None = None
    low: float = -math.inf
    high: float = math.inf
    held: bool | None = None
    must: bool = True
    told: str = ""

    @property
    def verdict(self) -> str:
        """PASS where the interval lies within the range, FAIL (or DIFFERS) where it lies outside, else NOT_SHOWN."""
        outside = FAIL if self.must else DIFFERS
        if self.seen is None:
            return NOT_SHOWN if self.held is None else PASS if self.held else outside
        if not bounded(self.seen):
            return NOT_SHOWN
        if self.seen.high < self.low - ROUNDING or self.seen.low > self.high + ROUNDING:
            return outside  # exactly on the bound of an open range contradicts nothing
        return PASS if self.low <= self.seen.low and self.seen.high <= self.high else NOT_SHOWN

    @property
    def broken(self) -> bool:
        """Whether what must hold is contradicted."""
        return self.verdict == FAIL

    def as_json(self) -> dict[str, Any]:
        """The claim; undefined numbers are null."""
        return {
            "check": self.check,
            "planted": self.planted,
            "expected": self.expected,
            "must": self.must,
            "seen": None if self.seen is None else self.seen.as_json(),
            "told": self.told or None,
            "range": [one if math.isfinite(one) else None for one in (self.low, self.high)],
            "verdict": self.verdict.lower(),
        }


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A study of the suite; None while it is not finished."""

    check: str
    name: str
    planted: str
    method: str
    study: Study | None


@dataclass(frozen=True, kw_only=True)
class Stress:
    """The suite's results.

    Attributes:
        checks: those that were asked for, with a line on each.
        claims: in the order of the checks.
        figures: every study.
        left_out: checks that do not apply, with the reason.
        methods_left_out: methods by default that do not apply, with the reason.
        result: the studies as of any campaign, for a report.
        about: command, versions, seconds.
    """

    checks: Mapping[str, str]
    claims: tuple[Claim, ...]
    figures: tuple[Figure, ...]
    left_out: Mapping[str, str]
    result: Result
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])
    methods_left_out: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def broken(self) -> bool:
        """Whether a claim that must hold is contradicted."""
        return any(claim.broken for claim in self.claims)

    @property
    def counts(self) -> dict[str, int]:
        """How many claims there are of each verdict."""
        verdicts = [claim.verdict for claim in self.claims]
        return {one.lower(): verdicts.count(one) for one in STYLES}

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "broken": self.broken,
            "counts": self.counts,
            "claims": [claim.as_json() for claim in self.claims],
            "left_out": dict(self.left_out),
            "methods_left_out": dict(self.methods_left_out),
            "studies": [
                {"check": one.check, "case": one.name, "planted": one.planted, **one.study.as_json()}
                for one in self.figures
                if one.study is not None
            ],
            "unfinished": [f"{one.check}: {one.name}, {one.method}" for one in self.figures if one.study is None],
        }

    def __str__(self) -> str:
        import io

        from rich.console import Console

        console = Console(width=120, no_color=True, highlight=False, file=io.StringIO(), record=True)
        console.print(as_rich(self))
        return "\n".join(line.rstrip() for line in console.export_text().splitlines())


def seen_of(claim: Claim) -> str:
    """`+0.012 [0.00, 0.03]`, or words."""
    if claim.told or claim.seen is None:
        number = "" if claim.seen is None else f" {shown(claim.seen)}"
        return clean(claim.told) + number if claim.told else "seen" if claim.held else "not seen"
    return shown(claim.seen)


def as_rich(stress: Stress) -> Group:
    """For the terminal: by check what was planted and what came out, then what must be seen."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = []
    for check, about in stress.checks.items():
        parts.append(Text(f"{check}: {clean(about)}", style="bold"))
        if check in stress.left_out:
            parts += [Text(f"  not applicable: {clean(stress.left_out[check])}", style="yellow"), Text("")]
            continue
        parts += [
            *_planted(stress, check),
            Text(""),
            _figures(stress, check),
            Text(""),
            _claims(stress, check),
            Text(""),
        ]
    return Group(*parts, *_foot(stress))


def _table(*heads: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in heads:
        table.add_column(head, overflow="fold")
    return table


def _figures(stress: Stress, check: str) -> Table:
    table = _table("  planted", "method", "weak", "student - weak", "gap", "PGR", "agrees")
    before = ""
    for one in stress.figures:
        if one.check != check:
            continue
        name, before = ("  " + clean(one.name) if one.name != before else "", one.name)
        if one.study is None:
            table.add_row(name, clean(one.method), "not finished")
            continue
        study = one.study
        numbers = (study.score("weak"), study.gain, study.gap)
        pgr = shown(study.pgr, 2) if finite(study.pgr) else UNDEFINED
        table.add_row(name, clean(one.method), *map(shown, numbers), pgr, shown(study.agreement["all"]))
    return table


def _claims(stress: Stress, check: str) -> Table:
    from rich.text import Text

    table = _table("  must be seen", "seen", "")
    for claim in stress.claims:
        if claim.check == check:
            expected = f"  {clean(claim.planted)}: {clean(claim.expected)}" + ("" if claim.must else " (reported)")
            verdict = Text(claim.verdict, style=STYLES[claim.verdict])
            table.add_row(Text(expected), Text(seen_of(claim)), verdict)
    return table


def _planted(stress: Stress, check: str) -> list[Any]:
    from rich.text import Text

    told = {one.name: one.planted for one in stress.figures if one.check == check}
    return [Text(f"  {clean(name)}: {clean(about)}", style="dim") for name, about in told.items()]


def _foot(stress: Stress) -> list[Any]:
    from rich.text import Text

    refused = [f"method {clean(one)} not applicable: {clean(why)}" for one, why in stress.methods_left_out.items()]
    return [
        *(Text(line, style="yellow") for line in refused),
        *(Text(line, style="dim") for line in context_of(stress)),
        Text(READ, style="dim"),
        Text(""),
        Text(tally(stress), style="bold red" if stress.broken else "bold"),
    ]


def tally(stress: Stress) -> str:
    """`12 pass, 1 FAIL; what must hold is contradicted`."""
    told = ", ".join(f"{n} {verdict}" for verdict, n in stress.counts.items() if n) or "no claims"
    return told + ("; what must hold is contradicted" if stress.broken else "")


def context_of(stress: Stress) -> list[str]:
    """What the numbers are, and of which rows."""
    studies = [one.study for one in stress.figures if one.study is not None]
    if not studies:
        return []
    first = studies[0]
    return [
        f"{clean(first.task)}: {first.n_test} test rows, {first.n_groups} groups, {first.seeds} seeds; numbers in "
        f"{metric_name(first.metric)}, 95 % intervals for {clean(first.score('student').covers)}; agrees: share of "
        "test rows on which student and supervisor choose the same class"
    ]
