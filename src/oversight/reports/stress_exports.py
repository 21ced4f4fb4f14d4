"""The stress suite as a file: what must be seen and what was seen first, then the studies as of any campaign."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from oversight.reports import exports, html
from oversight.reports.markup import Cell, Raw, bullets, el, join, section, table
from oversight.reports.sections import cell
from oversight.reports.stress import FAIL, NOT_SHOWN, PASS, READ, Claim, Stress, context_of, seen_of, tally
from oversight.reports.tables import as_markdown, escaped
from oversight.reports.words import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

ARROW = "→"
HEADINGS = ("check", "planted", "must be seen", "seen", "verdict")
PLANTED_HEADINGS = ("check", "planted", "what it is")
CLAIMS, PLANTED = "What must be seen, and what was seen", "What was planted"


def write(stress: Stress, path: Path) -> Path:
    """Write it as `exports.write` does, with the claims first in .html, .md and .json; tables and figures are those of
    the studies. Gives its path.

    Raises:
        InputError: another ending, or the place cannot be written.
        StepError: the disk is full or broken.
    """
    exports.check_place(path)
    texts = {"html": as_page, "md": as_text, "json": _as_json}
    kind = exports.format_of(path)
    if kind not in texts:
        return exports.write(stress.result, path, kind)
    return exports.publish(path, texts[kind](stress).encode(errors="backslashreplace"))


def _as_json(stress: Stress) -> str:
    return json.dumps(stress.as_json(), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def as_text(stress: Stress) -> str:
    """In Markdown: the claims, what was planted, and the table of the studies."""
    claims = [(one.check, one.planted, _expected(one), seen_of(one), one.verdict) for one in stress.claims]
    parts = [
        f"# {escaped(_title(stress))}",
        f"**{escaped(_conclusion(stress))}**",
        *(_pipes(HEADINGS, claims) if claims else ["No claim: what it speaks of is not finished."]),
        *(f"- {escaped(line)}" for line in (*notes(stress), READ)),
        f"## {PLANTED}",
        *_pipes(PLANTED_HEADINGS, _planted(stress)),
        "## The studies",
        as_markdown(stress.result),
    ]
    return _spaced(parts)


def _spaced(parts: Sequence[str]) -> str:
    """Blocks apart from each other; lines of a list or a table stay together."""
    lines = list[str]()
    for part in parts:
        if lines and not (part[:2] == lines[-1][:2] and part[:2] in ("- ", "| ")):
            lines.append("")
        lines.append(part)
    return "\n".join(lines).rstrip("\n") + "\n"


def _pipes(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [*([*map(escaped, map(clean, row))] for row in (head, *rows))]
    return [f"| {' | '.join(row)} |" for row in (cells[0], ["---"] * len(head), *cells[1:])]


def as_page(stress: Stress) -> str:
    """The whole document. Same results, same text."""
    claims = (
        table(
            "Claims of naive training, with 95 % intervals",
            ("planted, check", *HEADINGS[2:]),
            [*map(_row, stress.claims)],
            class_="ov-main ov-claims",
        )
        if stress.claims
        else el("p", "No claim: what it speaks of is not finished.")
    )
    planted = table("By check, in the order of the studies below", PLANTED_HEADINGS, _planted(stress), class_="ov-main")
    top = [
        el("p", _conclusion(stress), class_="ov-lead"),
        section(CLAIMS, claims, bullets([*notes(stress), READ], class_="ov-note")),
        section(PLANTED, planted),
        section("The studies", html.content(stress.result)),
    ]
    return html.document(_title(stress), "oversight: planted faults of which the result is known", join(top))


def _row(claim: Claim) -> list[str]:
    words = seen_of(claim)
    if claim.seen is not None:
        words = join([f"{clean(claim.told)} " if claim.told else "", cell(claim.seen)])
    name = join([clean(claim.planted), " ", el("span", clean(claim.check), class_="ov-below")])
    return [name, _expected(claim), words, _verdict(claim.verdict)]


def _verdict(verdict: str) -> Raw:
    if verdict == NOT_SHOWN:
        return el("span", verdict, class_="ov-interval")
    return Cell(el("td", el("strong", verdict), class_={PASS: "ov-up", FAIL: "ov-down"}.get(verdict, False)))


def _expected(claim: Claim) -> str:
    return clean(claim.expected) + ("" if claim.must else " (reported)")


def _planted(stress: Stress) -> list[tuple[str, str, str]]:
    return list(dict.fromkeys((clean(one.check), clean(one.name), clean(one.planted)) for one in stress.figures))


def _title(stress: Stress) -> str:
    tasks = [clean(one.study.task) for one in stress.figures if one.study is not None]
    return f"{tasks[0]}: planted faults" if tasks else "Planted faults"


def _conclusion(stress: Stress) -> str:
    """How many claims there are of each verdict, in one line."""
    end = "" if stress.broken or not stress.claims else "; nothing that must hold is contradicted"
    return f"{tally(stress)}{end}."


def notes(stress: Stress) -> list[str]:
    """What the numbers are, what does not apply, what is not finished."""
    told = [
        *context_of(stress),
        *(f"{name} is not applicable: {why}" for name, why in stress.left_out.items()),
        *(f"method {name} is not applicable: {why}" for name, why in stress.methods_left_out.items()),
        *(f"not finished: {one.check}: {one.name}, {one.method}" for one in stress.figures if one.study is None),
    ]
    return [clean(one) for one in told]
