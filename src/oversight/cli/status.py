"""A status in words and in lines that fit a terminal."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from oversight.cli.printing import counted
from oversight.reports.words import clean

if TYPE_CHECKING:
    from rich.console import Console

    from oversight.runs.pools.pool import Status, Working

KINDS = {
    "features": "features",
    "supervise": "supervisors",
    "teach": "students",
    "ceiling": "ceilings",
    "rows": "test rows",
    "score": "scores",
}
COUNTED = ("running", "failed", "skipped")
STYLES = {"running": "bold", "failed": "bold red", "skipped": "red"}
MOST_WORKERS, MOST_KINDS, MOST_NOTES = 12, 8, 2
NARROW, WIDE = 60, 120
SMALLEST_BAR, LARGEST_BAR = 10, 40
LONGEST_TITLE, LONGEST_WORKER = 30, 14
SMALLEST_PART = 10
LONGEST_CLOCK = 100 * 3600

Piece = tuple[str, str]
Line = list[Piece]


def view_lines(title: str, status: Status | None, console: Console, *, age: float = 0.0) -> list[Line]:
    """The live view: how far it is, a table of kinds, a line per worker, and the note.

    Args:
        title: of what runs.
        status: None = not known yet.
        console: whose size and characters count; one line of its height stays free.
        age: of the status in seconds.
    """
    width, height = console.size
    page = _Page(width, console)
    if status is None:
        return [page.fitted([(page.plain(title), "bold"), (": getting ready", "")])]
    head = [*_overall(page, title, status), *_times(page, status, age)]
    note = [page.fitted([(part, "bold")]) for part in textwrap.wrap(page.plain(status.note), width)[:MOST_NOTES]]
    left = max(height - 1 - len(head) - len(note), 0)
    kinds, n_workers = _known_first(status.total), len(status.workers)
    n_lines = min(n_workers, MOST_WORKERS) + (n_workers > MOST_WORKERS)
    table = min(1 + min(len(kinds), MOST_KINDS), left - min(n_lines, max(left // 3, 1))) if kinds else 0
    table = table if table > 1 else 0
    lines = [*head, *_table(page, status, kinds, table), *_workers(page, status.workers, left - table, age), *note]
    return lines[: max(height - 1, 1)]


class _Page:
    """What fits on a line, in characters that the terminal can show."""

    def __init__(self, width: int, console: Console) -> None:
        self.width, self.encoding = width, console.encoding
        self.ascii = console.options.ascii_only
        self.dots = "..." if self.ascii else "…"

    def plain(self, text: str) -> str:
        """One line without control characters."""
        return clean(text).encode(self.encoding, "backslashreplace").decode(self.encoding)

    def middle(self, text: str, width: int) -> str:
        """Shortened in the middle."""
        if cell_len(text) <= width:
            return text
        room = width - len(self.dots)
        if room < 2:
            return _first(text, width)
        return _first(text, room - room // 2) + self.dots + _last(text, room // 2)

    def end(self, text: str, width: int) -> str:
        """Shortened at the end."""
        if cell_len(text) <= width:
            return text
        room = width - len(self.dots)
        return _first(text, room) + self.dots if room > 0 else _first(text, width)

    def fitted(self, line: Line) -> Line:
        """What is too long for a line is cut."""
        found: Line = []
        for text, style in line:
            found.append((self.end(text, max(self.width - cells(found), 0)), style))
        return found


def _overall(page: _Page, title: str, status: Status) -> list[Line]:
    """Title, bar, and steps done of all; the bar has a line of its own where there is no room for it."""
    done, total = sum(status.done.values()), sum(status.total.values())
    counts = done_of(done, total)
    named = page.middle(page.plain(title), min(LONGEST_TITLE, max(page.width - len(counts) - 2, 0)))
    room = page.width - cell_len(named) - len(counts) - 4
    bar = _bar(page, status, min(room if room >= SMALLEST_BAR else page.width, LARGEST_BAR))
    if room >= SMALLEST_BAR:
        return [[(f"{named}  ", "bold"), *bar, (f"  {counts}", "")]]
    return [page.fitted([(f"{named}  " if named else "", "bold"), (counts, "")]), bar]


def _bar(page: _Page, status: Status, width: int) -> Line:
    """Done, of which those that were there are faint; failed and skipped; the rest."""
    total = sum(status.total.values())
    found, done = (sum(one.values()) for one in (status.found, status.done))
    lost = sum(status.failed.values()) + sum(status.skipped.values())
    full, cross, empty = "=x-" if page.ascii else "━×─"
    whole = max(total, 1)
    n_done = min(width * done // whole, width)
    n_found = min(width * found // whole, n_done)
    n_lost = min(math.ceil(width * lost / whole), width - n_done)
    return [
        (full * n_found, "green"),
        (full * (n_done - n_found), "bold green"),
        (cross * n_lost, "red"),
        (empty * (width - n_done - n_lost), "dim"),
    ]


def _times(page: _Page, status: Status, age: float) -> list[Line]:
    """Elapsed, time left, and what was there, failed and was skipped; more lines where one is too short."""
    left = time_left(status)
    parts: Line = [(clock(status.seconds + age), ""), *([(left, "")] if left else [])]
    if found := sum(status.found.values()):
        parts.append((f"{found:,} {'was' if found == 1 else 'were'} there", ""))
    for name in ("failed", "skipped"):
        if n := sum(getattr(status, name).values()):
            parts.append((f"{n:,} {name}", STYLES[name]))
    lines: list[Line] = [parts[:1]]
    for part in parts[1:]:
        if cells(lines[-1]) + 2 + len(part[0]) <= page.width:
            lines[-1] += [(", ", ""), part]
        else:
            lines.append([part])
    return [page.fitted(line) for line in lines]


def _table(page: _Page, status: Status, kinds: Sequence[str], height: int) -> list[Line]:
    """Done of all, running, failed and skipped by kind; what has no line of its own is summed up in the last one."""
    if not height:
        return []
    alone = kinds if len(kinds) < height else kinds[: height - 2]
    groups = [(KINDS.get(kind, page.plain(kind)), [kind]) for kind in alone]
    if rest := kinds[len(alone) :]:
        groups.append((f"{len(rest)} others" if alone else "all kinds", list(rest)))
    numbers = [[_sums(status, name, group) for name in ("done", "total", *COUNTED)] for _, group in groups]
    heads = ("done", "run", "fail", "skip") if page.width < NARROW else ("done", *COUNTED)
    texts = [[f"{done:,}/{total:,}", *(f"{n:,}" if n else "" for n in rest)] for done, total, *rest in numbers]
    widths = [max(len(text) for text in column) for column in zip(heads, *texts, strict=True)]
    gap = " " if page.width < NARROW else "  "
    room = max(page.width - sum(widths) - len(gap) * len(widths), 4)
    names = [page.end(name, room) for name, _ in groups]
    first = max(cell_len(name) for name in names)
    lines: list[Line] = [[(" " * first, ""), *((f"{gap}{h:>{w}}", "dim") for h, w in zip(heads, widths, strict=True))]]
    for name, row in zip(names, texts, strict=True):
        styles = ["", *STYLES.values()]
        counts = [(f"{gap}{text:>{w}}", style) for text, w, style in zip(row, widths, styles, strict=True)]
        lines.append([(_padded(name, first), ""), *counts])
    return [page.fitted(line) for line in lines]


def _workers(page: _Page, workers: Mapping[str, Working], height: int, age: float) -> list[Line]:
    """A line each, as far as they fit, always in the same order."""
    names = sorted(workers, key=_natural)
    shown = min(len(names), MOST_WORKERS, height)
    if shown < len(names) and shown == height:
        shown = max(height - 1, 0)
    named = [page.middle(page.plain(name), min(LONGEST_WORKER, page.width // 4)) for name in names[:shown]]
    clocks = [clock(workers[name].seconds + age) if workers[name].label else "" for name in names[:shown]]
    wide, late = (max((cell_len(text) for text in column), default=0) for column in (named, clocks))
    lines: list[Line] = []
    for name, short, since in zip(names[:shown], named, clocks, strict=True):
        start: Line = [(_padded(short, wide), "bold"), (f"  {since:>{late}}  ", "")]
        lines.append(page.fitted(start + _working(page, workers[name], page.width - cells(start))))
    if shown < len(names) and height:
        lines.append(page.fitted([(f"and {len(names) - shown:,} more", "dim")]))
    return lines


def _working(page: _Page, working: Working, width: int) -> Line:
    """`students  reviews: bow -> min…ed 3 x12 40%  update 120/318, loss 0.612`; what matters least is cut first."""
    if not working.label:
        return [("idle", "dim")]
    label, name, note = (page.plain(text) for text in (working.label, working.name, working.note))
    several = f" ({working.steps:,} steps)"
    if page.width < WIDE:
        label, several = label.partition(" ")[0], f" x{working.steps:,}"
    several = several if working.steps > 1 else ""
    far = f" {_percent(working.done)}" if working.done > 0 else ""
    label = page.end(label, max(width - len(several) - len(far), 0))
    room = width - cell_len(label) - len(several) - len(far)
    if cell_len(name) + cell_len(note) + 4 > room:
        note = note.rpartition(": ")[2] if page.width >= NARROW else ""
    wanted = cell_len(note) + 2 if note else 0
    name = page.middle(name, max(room - 2 - wanted, room // 3 - 2)) if room >= SMALLEST_PART else ""
    room -= cell_len(name) + 2
    note = page.end(note, room - 2) if room >= SMALLEST_PART else ""
    return [
        (label, ""),
        (f"  {name}" if name else "", ""),
        (several, ""),
        (far, "bold"),
        (f"  {note}" if note else "", "dim"),
    ]


def by_kind(status: Status, name: str) -> str:
    """`students 4, ceilings 1` for one of the numbers by kind of a status."""
    numbers: Mapping[str, int] = getattr(status, name)
    return ", ".join(f"{KINDS.get(kind, clean(kind))} {numbers[kind]:,}" for kind in _known_first(numbers, some=True))


def _known_first(numbers: Mapping[str, int], *, some: bool = False) -> list[str]:
    """Kinds in the order in which data pass through them, the others after; `some`: only those that are counted."""
    order = {kind: i for i, kind in enumerate(KINDS)}
    found = sorted(numbers, key=lambda kind: order.get(kind, len(order)))
    return [kind for kind in found if numbers[kind]] if some else found


def _sums(status: Status, name: str, kinds: Iterable[str]) -> int:
    numbers: Mapping[str, int] = getattr(status, name)
    return sum(numbers.get(kind, 0) for kind in kinds)


def unfinished(status: Status) -> bool:
    """Whether steps are left that are neither done nor failed nor skipped."""
    ended = (status.done, status.failed, status.skipped)
    return sum(sum(one.values()) for one in ended) < sum(status.total.values())


def done_of(done: int, total: int) -> str:
    """`412 of 1,000 steps (41%)`; 100% is all of them."""
    return f"{done:,} of {counted(total, 'step')}" + (f" ({100 * done // total}%)" if total else "")


def clock(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03`; days and hours where it is long."""
    whole = int(max(seconds, 0.0)) if math.isfinite(seconds) else 0
    if whole >= LONGEST_CLOCK:
        return f"{whole // 86400} d {whole % 86400 // 3600} h"
    minutes, rest = divmod(whole, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    """`0.3 s`, `40 s`, `3 min`, `2.2 h`, `3.4 days`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 89.5:
        return f"{seconds:.0f} s"
    if seconds < 89.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def time_left(status: Status) -> str:
    """`about 3 min left`; empty where that is not known or nothing is left."""
    left = status.seconds_left
    if left is None or not math.isfinite(left) or not unfinished(status):
        return ""
    return "a few seconds left" if left < 9.95 else f"about {duration(left)} left"


def cells(line: Line) -> int:
    """Width on a terminal."""
    return cell_len("".join(text for text, _ in line))


def _percent(fraction: float) -> str:
    return f"{int(100 * min(fraction, 1.0))}%"


def _padded(text: str, width: int) -> str:
    return text + " " * max(width - cell_len(text), 0)


def _first(text: str, width: int) -> str:
    """As much of the beginning as fits."""
    text = text[: max(width, 0)]
    while cell_len(text) > width:
        text = text[:-1]
    return text


def _last(text: str, width: int) -> str:
    """As much of the end as fits."""
    text = text[-width:] if width > 0 else ""
    while cell_len(text) > width:
        text = text[1:]
    return text


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts `worker 2` before `worker 10`."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]
