"""The figure of the paper: test score and PGR against the student, as inline SVG for pages or as a png or pdf sheet."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from xml.etree import ElementTree

from oversight.reports.layout import Sheet, sheets
from oversight.reports.palette import LIGHT
from oversight.reports.panels import draw_panel, draw_single, frame_of, in_words
from oversight.reports.words import method, metric_name, pair

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

    from oversight.reports.result import Result

PANEL_INCHES, SINGLE_INCHES = (4.4, 5.0), (4.4, 3.5)
PANELS_ACROSS = 3
DOTS_PER_INCH, MOST_DOTS = 200, 30_000
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
LINKS = re.compile(r"""(?:url\(|href=")#([\w.-]+)""")
FONT = re.compile(r"font-family: [^;]*;? ?")
COLOUR = re.compile(r"#[0-9a-f]{6}")
VARIABLES = {colour: f"var(--ov-{name}, {colour})" for name, colour in LIGHT.items()}
SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "oversight",
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "font.family": ["sans-serif"],
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "text.color": LIGHT["ink"],
    "axes.labelcolor": LIGHT["ink"],
    "axes.edgecolor": LIGHT["muted"],
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "xtick.labelcolor": LIGHT["ink"],
    "ytick.labelcolor": LIGHT["ink"],
    "axes.facecolor": LIGHT["bg"],
    "figure.facecolor": LIGHT["bg"],
    "pdf.fonttype": 42,
}


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One inline SVG.

    Attributes:
        heading: task and test set, the same for all drawings of a sheet.
        title: what it shows, in one line.
        svg: a self-contained element without scripts, addresses or fonts; colours are CSS variables.
    """

    heading: str
    title: str
    svg: str


def as_svg(result: Result) -> tuple[Drawing, ...]:
    """One drawing per test set and method; a single study gets a chart of its own. Same result, same bytes."""
    return tuple(drawing for sheet in sheets(result) for drawing in drawings(sheet))


def as_image(result: Result, kind: str) -> bytes:
    """All figures of a result on one sheet: `png`, or `pdf` with lines and letters that stay sharp."""
    dates = {"CreationDate": None} if kind == "pdf" else {"Software": None}
    with _settings():
        figure = _whole(sheets(result))
        data = io.BytesIO()
        dots = min(DOTS_PER_INCH, MOST_DOTS / figure.get_figheight())
        figure.savefig(data, format=kind, dpi=dots, metadata=dates)
    return data.getvalue()


def drawings(sheet: Sheet) -> Iterator[Drawing]:
    """One drawing per panel of a task and test set."""
    heading = sheet.heading
    numbers = f": {in_words(sheet.studies[0])}" if len(sheet.studies) == 1 else ""
    for index, title in enumerate(_titles(sheet)):
        inches = SINGLE_INCHES if len(sheet.studies) == 1 else PANEL_INCHES
        svg = svg_of(inches, partial(_draw, sheet=sheet, index=index), label=f"{heading}. {title}{numbers}")
        yield Drawing(heading=heading, title=title, svg=svg)


def _titles(sheet: Sheet) -> list[str]:
    """What each drawing of a sheet shows."""
    if len(sheet.studies) == 1:
        study = sheet.studies[0]
        return [f"{pair(study, '→')}, {method(study)}"]
    what = [f"{metric_name(sheet.metric)} and PGR by {panel.axis}" for panel in sheet.panels]
    names = [f", {panel.title}" if panel.title else "" for panel in sheet.panels]
    return [f"{text}{name}" for text, name in zip(what, names, strict=True)]


def svg_of(inches: tuple[float, float], draw: Callable[[Figure], None], *, label: str) -> str:
    """A figure of that size as an element for a page; see `inline`."""
    from matplotlib.figure import Figure

    data = io.BytesIO()
    with _settings():
        figure = Figure(figsize=inches, layout="constrained")
        draw(figure)
        figure.savefig(data, format="svg", metadata={"Date": None, "Creator": None})
    return inline(data.getvalue(), label=label)


def _draw(figure: FigureBase, sheet: Sheet, index: int) -> None:
    if len(sheet.studies) == 1:
        draw_single(figure, sheet.studies[0])
    else:
        draw_panel(figure, sheet.panels[index], sheet, frame_of(sheet))


def _whole(all_sheets: tuple[Sheet, ...]) -> Figure:
    """All panels on one page: sheets below each other, at most PANELS_ACROSS beside each other."""
    from matplotlib.figure import Figure

    rows = [(s, at) for s in all_sheets for at in range(0, len(s.panels), PANELS_ACROSS)]
    across = max((min(PANELS_ACROSS, len(s.panels)) for s in all_sheets), default=1)
    heights = [SINGLE_INCHES[1] if len(s.studies) == 1 else PANEL_INCHES[1] for s, _ in rows] or [1.0]
    figure = Figure(figsize=(across * PANEL_INCHES[0], sum(heights) + 0.4 * len(rows)), layout="constrained")
    if not rows:
        return figure
    bands = figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)
    for (sheet, start), band in zip(rows, bands[:, 0], strict=True):
        band.suptitle(sheet.heading, x=0.01, ha="left")
        cells = band.subfigures(1, across, squeeze=False)[0]
        for index in range(start, min(start + PANELS_ACROSS, len(sheet.panels))):
            _draw(cells[index - start], sheet, index)
    return figure


@contextmanager
def _settings() -> Generator[None]:
    """The look, for the time of one drawing; names in scripts that the font lacks are no reason to warn."""
    import matplotlib

    with matplotlib.rc_context(cast(Any, SETTINGS)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def inline(raw: bytes, *, label: str) -> str:
    """A matplotlib SVG as an element for a page: no header, no metadata, unique ids, colours as CSS variables.

    Args:
        raw: the file.
        label: what a screen reader says.
    """
    root = ElementTree.fromstring(raw)
    for element in list(root):
        # matplotlib's own <style> names `*` and would reach the whole page.
        if element.tag == f"{SVG}metadata" or element.find(f"{SVG}style") is not None:
            root.remove(element)
    prefix = f"f{hashlib.sha256(raw + label.encode()).hexdigest()[:8]}-"
    used = set(LINKS.findall(raw.decode()))
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        element.attrib = {name.removeprefix(XLINK): text for name, text in element.attrib.items()}
        _rewrite(element, prefix, used)
    root.attrib = {"viewBox": root.get("viewBox", ""), "role": "img", "aria-label": label, "class": "ov-drawing"}
    title = ElementTree.Element("title")
    title.text = label
    root.insert(0, title)
    return ElementTree.tostring(root, encoding="unicode")


def _rewrite(element: ElementTree.Element, prefix: str, used: set[str]) -> None:
    """Attributes only: text of the user that looks like an id or a colour stays as it is."""
    name = element.attrib.pop("id", None)
    if name in used:
        element.set("id", prefix + name)
    for attribute in ("href", "clip-path"):
        if attribute in element.attrib:
            element.set(attribute, element.attrib[attribute].replace("#", f"#{prefix}"))
    style = element.get("style")
    if style is not None:
        style = FONT.sub("", style)
        element.set("style", COLOUR.sub(lambda found: VARIABLES.get(found[0], found[0]), style))
    if element.tag == "path" and "d" in element.attrib:
        element.set("d", " ".join(element.attrib["d"].split()))
