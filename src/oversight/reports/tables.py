"""Tables of a result: plain text, the terminal, Markdown and CSV. One row per study, no number without its interval."""

from __future__ import annotations

import csv
import io
import math
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len, chop_cells

from oversight.reports.theory import in_words
from oversight.reports.words import (
    COLUMNS,
    ROLES,
    UNDEFINED,
    clean,
    context,
    digits_of,
    effective_of,
    finite,
    interval,
    main_estimates,
    method,
    notes,
    pair,
    shown,
    title,
    unique,
    value_of,
    warned,
    warnings,
    why,
)

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from oversight.metrics.intervals import Estimate
    from oversight.reports.result import Result, Study

NARROWEST, FALLBACK_WIDTH = 40, 100
GAP = "  "
LABEL_WIDTH = 11
COUNTS = ("n", "groups", "effective", "seeds")
NAMES = ("task", "test", "weak_model", "strong_model", "method", "train", "weak_train", "oracle", "planted", "metric")
FACTS = (*NAMES, "n_test", "n_groups", "n_effective", "seeds", "chance")
STYLES = {"head": "bold", "name": "bold cyan", "faint": "dim", "undefined": "yellow", "warning": "yellow", "plain": ""}


class Line(NamedTuple):
    """One line of the table and what kind it is (a key of STYLES)."""

    text: str
    kind: str = "plain"


def as_text(result: Result, *, width: int | None = None) -> str:
    """The table for `print(result)`; no line is wider than width (None = the terminal), no number is cut.

    Wide enough: one line per study. Narrower: the method as a heading, then intervals under their values, then one
    number per line.
    """
    if width is None:
        width = shutil.get_terminal_size((FALLBACK_WIDTH, 24)).columns
    return "\n".join(line.text for line in _lines(result, max(NARROWEST, width)))


def as_rich(result: Result) -> RichTable:
    """The same table, coloured, for `rich.print`; it asks the console for its width."""
    return RichTable(result)


@dataclass(frozen=True)
class RichTable:
    """A rich renderable of a result's table."""

    result: Result

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        for line in _lines(self.result, max(NARROWEST, options.max_width)):
            yield Text(line.text, style=STYLES[line.kind], no_wrap=True, overflow="ignore")


def as_markdown(result: Result) -> str:
    """A pipe table with notes, and warnings as footnotes; text of the user cannot end a cell or start markup."""
    names = [name for name in context(result) if name != "seeds"]
    marks = {text: f"[^{i}]" for i, text in enumerate(warned(result), 1)}
    general = {text for text, studies in warned(result).items() if len(studies) == len(result.studies)}
    head = ["supervisor -> student" + "".join(marks[text] for text in marks if text in general), "method", *names]
    rows = [
        [_pipes([*head, *COLUMNS, "gain", *COUNTS]), _pipes(["---"] * (len(head) + len(COLUMNS) + 1 + len(COUNTS)))]
    ]
    for study in result.studies:
        own = unique(clean(one) for one in study.warnings)
        first, *rest = (escaped(cell) for cell in _names(study, names))
        cells = [*rest, *(escaped(cell) for cell in (*_cells(study), shown(study.gain)))]
        counts = [str(study.n_test), str(study.n_groups), effective_of(study), str(study.seeds)]
        marked = first + "".join(marks[text] for text in own if text not in general)
        rows.append([_pipes([marked, *cells, *counts])])
    lines = [line for row in rows for line in row] + [""]
    told = [*_places(result, names), *notes(result), *in_words(result)]
    lines += [f"- **{label}**: {escaped(text)}" for label, text in told]
    lines += ["", *(f"{mark}: {escaped(text)}" for text, mark in marks.items())] if marks else []
    return "\n".join(lines) + "\n"


def _places(result: Result, named: Sequence[str]) -> list[tuple[str, str]]:
    """Task and test set where no column says them."""
    if not result.studies:
        return []
    first = result.studies[0]
    found = [("task", clean(first.task))] if "task" not in named else []
    return [*found, ("test set", clean(first.test))] if "test" not in named and first.test != "test" else found


def as_csv(result: Result) -> str:
    """One row per study, every number in full; what is undefined is an empty cell beside its reason.

    After names and counts: `weak`, `student`, `ceiling` in the study's metric, `gap`, `gain`, `pgr`, agreement, what
    theory says, then every metric of every role, each as `NAME_value`, `NAME_low`, `NAME_high`; the first six also with
    `NAME_reason`.
    """
    metrics = unique(name for study in result.studies for role in ROLES for name in study.scores[role])
    rows = [_record(study, metrics) for study in (*result.pooled, *result.studies)]
    columns = unique(name for row in rows or [_names_only()] for name in row)
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _names_only() -> dict[str, str]:
    return dict.fromkeys((*FACTS, "key", "covers", "warnings"), "")


def _record(study: Study, metrics: Sequence[str]) -> dict[str, str]:
    """A row of the CSV table."""
    row = {name: _exact(getattr(study, name)) for name in FACTS}
    main = {**{role: study.score(role) for role in ROLES}, "gap": study.gap, "gain": study.gain, "pgr": study.pgr}
    for name, one in main.items():
        row |= {**_ends(name, one), f"{name}_reason": one.reason or ""}
    for name in ("student_last", "student_oracle_best"):
        one = getattr(study, name)
        row |= (
            dict.fromkeys((f"{name}_{end}" for end in ("value", "low", "high")), "")
            if one is None
            else _ends(name, one)
        )
    row["same_as_naive"] = _exact(study.same_as_naive)
    for name, one in study.agreement.items():
        row |= _ends(f"agreement_{name}", one)
    for name, one in ({} if study.theory is None else study.theory.flat()).items():
        row |= _ends(f"theory_{name}", one)
    for role in ROLES:
        for name in metrics:
            if name in study.scores[role]:
                row |= _ends(f"{role}_{name}", study.scores[role][name])
    for role, one in study.discordant.items():
        row |= {f"{role}_differs_{name}": _exact(getattr(one, name)) for name in ("rows", "mean")}
    key = next(iter(study.keys.get("score", ())), "")
    return {**row, "key": key, "covers": study.score("student").covers, "warnings": "; ".join(study.warnings)}


def _ends(name: str, one: Estimate) -> dict[str, str]:
    return {f"{name}_{end}": _exact(getattr(one, end)) for end in ("value", "low", "high")}


def _exact(value: object) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _pipes(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    """Safe inside a Markdown table: no character starts markup, `->` stays readable."""
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*|~]|(?<!\w)_|_(?!\w)|(?<=\])\(|\!(?=\[)|\[(?=\^))", r"\\\1", text)


def _names(study: Study, names: Sequence[str]) -> list[str]:
    return [pair(study), method(study), *(clean(getattr(study, name)) for name in names)]


def _cells(study: Study) -> list[str]:
    return [shown(one, digits_of(column)) for column, one in main_estimates(study).items()]


def _short_cells(study: Study) -> list[str]:
    """The same without reasons."""
    estimates = main_estimates(study).items()
    return [shown(one, digits_of(column)) if finite(one) else UNDEFINED for column, one in estimates]


def _notes(result: Result) -> list[tuple[str, str]]:
    return [*notes(result), *in_words(result), *(("warning", text) for text in warnings(result))]


def _lines(result: Result, width: int) -> Iterator[Line]:
    if not result.studies:
        yield Line("no studies", "faint")
        return
    for text in _wrap(f"task {', '.join(dict.fromkeys(clean(s.task) for s in result.studies))}", width):
        yield Line(text, "faint")
    for layout in LAYOUTS:
        table = layout(result, width)
        if table is not None:
            yield from table
            break
    yield Line("")
    for label, text in _notes(result):
        kind = "warning" if label == "warning" else "faint"
        for i, part in enumerate(_wrap(text, width - LABEL_WIDTH)):
            yield Line((label if i == 0 else "").ljust(LABEL_WIDTH) + part, kind)


def _one_line_each(result: Result, width: int) -> list[Line] | None:
    """Every study on one line; None where that is too wide."""
    names = context(result)
    head = ["supervisor -> student", "method", *names, *COLUMNS]
    rows = [[*_names(study, names), *_cells(study)] for study in result.studies]
    widths = [max(cell_len(row[j]) for row in [head, *rows]) for j in range(len(head))]
    if sum(widths) + len(GAP) * (len(widths) - 1) > width:
        return None
    kinds = ["plain" if finite(study.pgr) else "undefined" for study in result.studies]
    lines = [Line(_joined(row, widths), kind) for row, kind in zip(rows, kinds, strict=True)]
    return [Line(_joined(head, widths), "head"), *lines]


def _grouped_by_method(result: Result, width: int) -> list[Line] | None:
    """One line per study under its method, reasons on lines of their own; None where that is too wide."""
    head = ["supervisor -> student", *COLUMNS]
    rows = [[pair(study), *_short_cells(study)] for study in result.studies]
    widths = [max(cell_len(row[j]) for row in rows) for j in range(len(head))]
    if sum(widths) + len(GAP) * (len(widths) - 1) > width:
        return None
    head[0] = "pair" if cell_len(head[0]) > widths[0] else head[0]
    lines = [Line(_joined(head, widths), "head")]
    heading = None
    for study, row in zip(result.studies, rows, strict=True):
        above = ", ".join(_names(study, context(result))[1:])
        if above != heading:
            lines += [Line(text, "name") for text in _wrap(f"method {above}", width)]
            heading = above
        lines += [Line(_joined(row, widths)), *_reasons(study, width)]
    return lines


def _intervals_below(result: Result, width: int) -> list[Line] | None:
    """Name, values and intervals on three lines per study; None where that is too wide."""
    rows = [_stacked(main_estimates(study).values()) for study in result.studies]
    widths = [max(cell_len(text) for row in rows for text in (head, *row[j])) for j, head in enumerate(COLUMNS)]
    indent = len(GAP)
    if indent + sum(widths) + len(GAP) * (len(widths) - 1) > width:
        return None
    lines = [Line(GAP + _joined(COLUMNS, widths), "head")]
    for study, cells in zip(result.studies, rows, strict=True):
        lines += [Line(text, "name") for text in _wrap(title(study, context(result)), width)]
        lines.append(Line(GAP + _joined([value for value, _ in cells], widths)))
        lines.append(Line(GAP + _joined([below for _, below in cells], widths), "faint"))
        lines += _reasons(study, width)
    return lines


def _one_number_per_line(result: Result, width: int) -> list[Line] | None:
    """The narrowest form, which always fits."""
    lines: list[Line] = []
    for study in result.studies:
        lines += [Line(text, "name") for text in _wrap(title(study, context(result)), width)]
        for column, one in main_estimates(study).items():
            if finite(one):
                lines.append(Line(f"{GAP}{column:<9}{shown(one, digits_of(column))}"))
        lines += _reasons(study, width)
    return lines


LAYOUTS: tuple[Callable[[Result, int], list[Line] | None], ...] = (
    _one_line_each,
    _grouped_by_method,
    _intervals_below,
    _one_number_per_line,
)


def _stacked(estimates: Iterable[Estimate]) -> list[tuple[str, str]]:
    pairs = zip(COLUMNS, estimates, strict=True)
    return [(value_of(one, digits_of(name)), interval(one)) if finite(one) else (UNDEFINED, "-") for name, one in pairs]


def _reasons(study: Study, width: int) -> list[Line]:
    """`PGR undefined: the gap is within noise`, for everything that is undefined."""
    lines: list[Line] = []
    for column, one in main_estimates(study).items():
        if not finite(one):
            text = f"{column} {UNDEFINED}: {why(one) or 'no reason was recorded'}"
            lines += [Line(GAP + part, "undefined") for part in _wrap(text, width - len(GAP))]
    return lines


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True)]
    return GAP.join(padded).rstrip()


def _wrap(text: str, width: int) -> list[str]:
    """Lines of at most width terminal cells, broken between words where possible."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(joined) <= width:
            lines[-1] = joined
            continue
        pieces = chop_cells(word, width)
        lines = [*lines, *pieces] if lines[-1] else pieces
    return lines
