"""One self-contained HTML file, or a fragment of it for notebooks: no script, no font, no address outside the file."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from oversight.reports import overview, sections
from oversight.reports.markup import Raw, el, join, section
from oversight.reports.palette import DARK, LIGHT, css_variables
from oversight.reports.theory import theory_section
from oversight.reports.training import training

if TYPE_CHECKING:
    from oversight.reports.result import Result

POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def as_page(result: Result) -> str:
    """The whole document. Same result, same text."""
    kicker = "oversight: weak-to-strong study" if len(result.studies) == 1 else "oversight: weak-to-strong studies"
    return document(sections.page_title(result), kicker, content(result))


def document(name: str, kicker: str, *content: str) -> str:
    """A whole page with the style of all reports.

    Args:
        name: its heading and title.
        kicker: a line above the heading.
        content: what stands below it.
    """
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{name} - oversight"),
        el("style", style()),
    )
    header = el("header", el("p", kicker, class_="ov-kicker"), el("h1", name))
    body = el("body", el("main", header, *content, class_="ov ov-page"), class_="ov-body")
    return f"<!doctype html>\n{el('html', head, body, lang='en', class_='ov-root')}\n"


def as_fragment(result: Result) -> str:
    """Summary, warnings, figures and table for a notebook cell; its style touches nothing outside."""
    if not result.studies:
        return el("div", el("style", style()), el("p", "no studies"), class_="ov ov-fragment")
    drawn = overview.sheet_blocks(result, grids=sections.is_many(result))
    parts = [sections.summary(result), sections.warning_box(result), drawn, sections.main_tables(result)]
    return el("div", el("style", style()), join(parts), class_="ov ov-fragment")


def content(result: Result) -> Raw:
    """What stands below the heading of a page."""
    if not result.studies:
        return el("p", "This result holds no studies.")
    words = join(part(result) for part in (sections.demo_notes, sections.summary, sections.warning_box))
    drawn = overview.sheet_blocks(result, grids=True)
    numbers = sections.main_tables(result)
    if len(result.studies) == 1:
        top = [
            el("div", el("div", words), el("div", drawn), class_="ov-hero"),
            section("Scores and recovered gap", numbers),
        ]
    else:
        top = [words, overview.glance(result), section("Scores and recovered gap", drawn, numbers)]
    return join(
        [
            *top,
            sections.ledger(result),
            theory_section(result),
            sections.disagreements(result),
            training(result),
            sections.everything(result),
            sections.how_to_read(),
            sections.provenance(result),
        ]
    )


def style() -> Raw:
    """The style sheet with its colours; every rule is limited to what carries a class of ours."""
    text = resources.files("oversight.reports").joinpath("style.css").read_text(encoding="utf-8")
    return Raw(text.replace("/*LIGHT*/", css_variables(LIGHT)).replace("/*DARK*/", css_variables(DARK)))
