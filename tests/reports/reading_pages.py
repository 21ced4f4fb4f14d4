"""Reads pages as a test needs them: as tags that balance, as tables, as words; and numbers out of JSON."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "br", "path", "use"}
NEVER = re.compile(r"\b(nan|None|inf|NaN)\b")


class Page(HTMLParser):
    """Checks that tags balance and collects what the tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


class Tables(HTMLParser):
    """Every table as rows of cells (text, class), by caption; and which tags each word stands in."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: dict[str, list[list[tuple[str, str]]]] = {}
        self.rows: list[list[tuple[str, str]]] = []
        self.caption, self.words, self.inside = "", "", ""
        self.kind = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.rows = []
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td", "caption"):
            self.words, self.kind = "", dict(attrs).get("class") or ""

    def handle_data(self, data: str) -> None:
        self.words += data

    def handle_endtag(self, tag: str) -> None:
        text = " ".join(self.words.split())
        if tag in ("th", "td"):
            self.rows[-1].append((text, self.kind))
        if tag == "caption":
            self.caption = text
        if tag == "table":
            self.found[self.caption] = self.rows


def numbers_of(tree: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], float]]:
    """All numbers of a JSON object with their paths; tried settings are only counted, learning curves only drawn."""
    if isinstance(tree, dict):
        shown = [(key, value) for key, value in tree.items() if key not in ("tried", "curve")]
        return [found for key, value in shown for found in numbers_of(value, (*path, key))]
    if isinstance(tree, list | tuple):
        return [found for i, value in enumerate(tree) for found in numbers_of(value, (*path, str(i)))]
    return [(path, tree)] if isinstance(tree, int | float) and not isinstance(tree, bool) else []
