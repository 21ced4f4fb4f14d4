"""HTML from values: a plain string is text and gets escaped, only `Raw` is markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

VOID = ("meta", "br")


class Raw(str):
    """Markup that is safe already."""

    __slots__ = ()


class Cell(Raw):
    """A cell of a table that is a `td` already, for one that carries a class."""

    __slots__ = ()


def el(tag: str, *children: str, **attributes: str | bool) -> Raw:
    """An element. Attribute names lose a final underscore and turn others into hyphens; True is written bare.

    Example:
        >>> el("p", "a < b", class_="note")
        '<p class="note">a &lt; b</p>'
    """
    written = "".join(_attribute(name, value) for name, value in attributes.items() if value is not False)
    if tag in VOID:
        return Raw(f"<{tag}{written}>")
    return Raw(f"<{tag}{written}>{join(children)}</{tag}>")


def join(children: Iterable[str], between: str = "") -> Raw:
    """Children one after the other, text escaped."""
    return Raw(between.join(child if isinstance(child, Raw) else escape(child) for child in children))


def _attribute(name: str, value: str | bool) -> str:
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, class_: str = "") -> Raw:
    """A table whose first column names the rows, in a box that scrolls by itself.

    Args:
        caption: says what the table shows; also the name of the scrolling region.
        head: m column names.
        rows: m cells each.
        class_: of the table.
    """
    columns = el("tr", *(el("th", name, scope="col") for name in head))
    body = [el("tr", el("th", row[0], scope="row"), *map(_cell, row[1:])) for row in rows]
    inner = el(
        "table", el("caption", el("span", caption)), el("thead", columns), el("tbody", *body), class_=class_ or False
    )
    return el("div", inner, class_="ov-scroll", role="region", aria_label=caption, tabindex="0")


def _cell(cell: str) -> Raw:
    return cell if isinstance(cell, Cell) else el("td", cell)


def details(summary: str, *children: str, open_: bool = False) -> Raw:
    """A part that opens on click, without scripts."""
    return el("details", el("summary", summary), *children, open_=open_)


def section(heading: str, *children: str) -> Raw:
    """A part under a heading."""
    return el("section", el("h2", heading), *children)


def bullets(items: Iterable[str], *, class_: str = "") -> Raw:
    """An unordered list."""
    return el("ul", *(el("li", item) for item in items), class_=class_ or False)
