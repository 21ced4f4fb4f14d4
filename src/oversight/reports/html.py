"""One self-contained HTML file, or a fragment of it for notebooks: no script, no font, no address outside the file."""

from __future__ import annotations

import errno
import os
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from oversight.errors import InputError, StepError
from oversight.reports import sections
from oversight.reports.markup import Raw, el, join, section
from oversight.reports.palette import DARK, LIGHT, css_variables
from oversight.reports.training import training

if TYPE_CHECKING:
    from oversight.reports.result import Result

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write_report(result: Result, path: str | Path) -> Path:
    """Write the page under a temporary name, then rename it; gives its path.

    Raises:
        InputError: the folder is missing, or the place cannot be written.
        StepError: the disk is full or broken.
    """
    path = Path(path)
    check_place(path)
    page = as_page(result)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(page, encoding="utf-8", newline="\n")
        temporary.replace(path)
    except OSError as error:
        kind = StepError if error.errno in FULL else InputError
        raise kind(f"{path}: cannot be written ({error.strerror}), expected a writable folder") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def check_place(path: Path) -> None:
    """Refuse a place where `write_report` could not write, before anything is computed for it.

    Raises:
        InputError: the folder is missing or not writable, or the place is a folder itself.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path}: found no folder '{path.parent}', expected an existing one")
    if path.is_dir():
        raise InputError(f"{path}: found a folder, expected the name of a file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be written (no permission), expected a writable folder")


def as_page(result: Result) -> str:
    """The whole document. Same result, same text."""
    name = sections.page_title(result)
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{name} - oversight"),
        el("style", style()),
    )
    header = el("header", el("p", "oversight: weak-to-strong study", class_="ov-kicker"), el("h1", name))
    body = el("body", el("main", header, _parts(result), class_="ov ov-page"), class_="ov-body")
    return f"<!doctype html>\n{el('html', head, body, lang='en', class_='ov-root')}\n"


def as_fragment(result: Result) -> str:
    """Summary, warnings, figures and table for a notebook cell; its style touches nothing outside."""
    parts = (sections.summary, sections.warning_box, sections.figures, sections.main_table)
    content = join(part(result) for part in parts) if result.studies else el("p", "no studies")
    return el("div", el("style", style()), content, class_="ov ov-fragment")


def _parts(result: Result) -> Raw:
    if not result.studies:
        return el("p", "This result holds no studies.")
    words = join(part(result) for part in (sections.demo_notes, sections.summary, sections.warning_box))
    drawn, numbers = sections.figures(result), sections.main_table(result)
    if len(result.studies) == 1:
        top = [
            el("div", el("div", words), el("div", drawn), class_="ov-hero"),
            section("Scores and recovered gap", numbers),
        ]
    else:
        top = [words, section("Scores and recovered gap", drawn, numbers)]
    return join(
        [
            *top,
            sections.ledger(result),
            sections.disagreements(result),
            training(result),
            section("Details", sections.all_metrics(result), sections.choices(result)),
            sections.how_to_read(),
            sections.provenance(result),
        ]
    )


def style() -> Raw:
    """The style sheet with its colours; every rule is limited to what carries a class of ours."""
    text = resources.files("oversight.reports").joinpath("style.css").read_text(encoding="utf-8")
    return Raw(text.replace("/*LIGHT*/", css_variables(LIGHT)).replace("/*DARK*/", css_variables(DARK)))
