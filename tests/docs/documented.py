"""Numbers that a page claims, held against the kept file of results that must bear them.

A claim is the sentence (or the row of a table) as it stands in the page, with `{}` for every number, the file under
benchmarks/results, and a function that reads these numbers off the file, in the same order. To claim something new, add
one `Claim`; a number that no claim covers is found by `unclaimed`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
NUMBER = r"[-+\u2212]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?<=\d)"
MEASURED = re.compile(r"(?<![\w.,-])[-+\u2212]?(?:\d*\.\d+(?!\.?\d| ?s\b)|\d+(?= ?%))")
LINK = re.compile(r"\]\([^)]*\)")
ROUNDING = 1e-9


@dataclass(frozen=True)
class Bound:
    """A number of the file that a page may state as a bound, no looser than one in its last digit."""

    value: float
    upward: bool


Found = float | Bound


def at_least(value: float) -> Bound:
    """A page may say less, by less than one in its last digit."""
    return Bound(value, upward=False)


def at_most(value: float) -> Bound:
    """A page may say more, by less than one in its last digit."""
    return Bound(value, upward=True)


@dataclass(frozen=True)
class Claim:
    """What a page says of a kept file.

    Attributes:
        page: `README.md`, `docs/statistics.md`, ...
        says: its words, `{}` for each number; blanks and line ends count as one blank.
        results: the name of the file under benchmarks/results, `.json`.
        bears: from the file's content to the numbers, in their order.
    """

    page: str
    says: str
    results: str
    bears: Callable[[Any], Sequence[Found]]

    @property
    def pattern(self) -> re.Pattern[str]:
        """Finds it in a text with single blanks."""
        parts = [re.escape(part) for part in one_line(self.says).split("{}")]
        return re.compile(f"({NUMBER})".join(parts))


def one_line(text: str) -> str:
    """Blanks and line ends as one blank."""
    return " ".join(text.split())


@cache
def content(name: str) -> Any:
    """A kept file."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def faults(claim: Claim, text: str, kept: Any) -> list[str]:
    """What is wrong with a claim in the text of its page; nothing where the file bears it."""
    places = list(claim.pattern.finditer(one_line(text)))
    if len(places) != 1:
        return [f"{claim.page}: found {len(places)} times, expected once: {claim.says}"]
    stated, found = places[0].groups(), claim.bears(kept)
    if len(stated) != len(found):
        return [f"{claim.page}: {len(stated)} numbers, {claim.results} gives {len(found)}: {claim.says}"]
    wrong = [f"{said} but {number}" for said, number in zip(stated, found, strict=True) if not borne(said, number)]
    return [f"{claim.page}: {one}: {claim.says}" for one in wrong]


def borne(said: str, number: Found) -> bool:
    """Whether a number as written (`.938`, `93.8`, `10,000`) is that of the file, rounded, or a bound of it."""
    plain = said.replace(",", "").replace("\u2212", "-")
    digits = len(plain.partition(".")[2])
    unit, value = 10.0**-digits, float(plain)
    if isinstance(number, Bound):
        slack = value - number.value if number.upward else number.value - value
        return -ROUNDING <= slack < unit
    return abs(value - number) <= unit / 2 * (1 + ROUNDING) + ROUNDING


def part(text: str, heading: str) -> str:
    """What stands under a heading, up to the next of its level or above."""
    level = len(heading) - len(heading.lstrip("#"))
    _, there, rest = text.partition(f"{heading}\n")
    if not there:
        raise LookupError(f"found no heading '{heading}'")
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def unclaimed(text: str, claims: Iterable[Claim], exempt: Iterable[str] = ()) -> list[str]:
    """Decimals and percentages of a text that no claim covers, with the words around them.

    Args:
        text: of a page or a part of it.
        claims: those of its page.
        exempt: words whose numbers are no results (a nominal level, a bar), as they stand there.
    """
    flat = LINK.sub("]", one_line(text))
    covered = [place.span() for claim in claims for place in claim.pattern.finditer(flat)]
    for words in exempt:
        covered += [place.span() for place in re.finditer(re.escape(one_line(words)), flat)]
    return [
        flat[max(0, place.start() - 40) : place.end() + 30]
        for place in MEASURED.finditer(flat)
        if not any(start <= place.start() and place.end() <= end for start, end in covered)
    ]
