"""Colours by name. Drawings use the light ones; in a page each becomes a CSS variable with a dark twin."""

from __future__ import annotations

from collections.abc import Mapping

LIGHT: Mapping[str, str] = {
    "bg": "#fffffe",
    "ink": "#1b2027",
    "muted": "#59626e",
    "rule": "#d5dbe2",
    "s1": "#0b62b8",
    "s2": "#bd4b06",
    "s3": "#0f7a55",
    "s4": "#8539a6",
    "s5": "#a8305d",
    "s6": "#6a6200",
    "s7": "#0b7584",
    "s8": "#7a4a29",
}
DARK: Mapping[str, str] = {
    "bg": "#15181d",
    "ink": "#e7ebf0",
    "muted": "#9ca6b3",
    "rule": "#39424d",
    "s1": "#6fb3ff",
    "s2": "#ff9f63",
    "s3": "#50d0a2",
    "s4": "#d49cf0",
    "s5": "#ff8fb5",
    "s6": "#d3cb50",
    "s7": "#56cfdd",
    "s8": "#d6a47f",
}
SERIES = tuple(name for name in LIGHT if name[0] == "s" and name[1:].isdigit())
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")


def css_variables(colours: Mapping[str, str]) -> str:
    """`--ov-ink: #1b2027; ...` for a style sheet."""
    return " ".join(f"--ov-{name}: {colour};" for name, colour in colours.items())


def colour_of(index: int) -> str:
    """The light colour of the index-th supervisor; they repeat after eight."""
    return LIGHT[SERIES[index % len(SERIES)]]


def colour_of_role(role: str) -> str:
    """The light colour of `weak`, `student` or `ceiling` where each stands once."""
    return {"weak": LIGHT["muted"], "student": colour_of(0), "ceiling": LIGHT["ink"]}[role]


def marker_of(index: int) -> str:
    """Its marker: one step further with every round of colours, so that 64 supervisors look different."""
    return MARKERS[(index + index // len(SERIES)) % len(MARKERS)]
