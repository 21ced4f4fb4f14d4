"""What a planned study can show, in sentences: no more digits than a plan can bear."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oversight.metrics.power import CHANCE, MOST_SEEDS, Power
from oversight.reports.words import clean, metric_name

UNCERTAIN = 1.5
LIKELY = 0.5


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A plan.

    Attributes:
        basis: what it rests on, in words.
        metric: of the gap.
        gap, n_test, seeds: what was asked: a true gap, test rows, seeds.
        power: what a study of that size gives.
        rows_by_seeds: test rows that show the gap in 8 of 10 studies, by number of seeds; None = no number is enough.
        seeds_needed: seeds that do so with `n_test` rows; None = up to 100 are not enough.
        covers: what the intervals of the study cover, in words.
    """

    basis: str
    metric: str
    gap: float
    n_test: int
    seeds: int
    power: Power
    rows_by_seeds: Mapping[int, int | None]
    seeds_needed: int | None
    covers: str = ""

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints: numbers as computed, undefined ones null."""
        found = self.power
        numbers = {name: getattr(found, name) for name in Power.__dataclass_fields__}
        return {
            "basis": self.basis,
            "metric": self.metric,
            "covers": self.covers,
            "gap": self.gap,
            "n_test": self.n_test,
            "seeds": self.seeds,
            **{name: None if isinstance(one, float) and math.isnan(one) else one for name, one in numbers.items()},
            "chance": CHANCE,
            "rows_needed": {str(seeds): rows for seeds, rows in self.rows_by_seeds.items()},
            "seeds_needed": self.seeds_needed,
            "sentences": list(self.sentences),
        }

    @property
    def sentences(self) -> tuple[str, ...]:
        """Which gap can be shown with these rows and seeds, and which rows and seeds the wanted gap takes."""
        covers = (f"Intervals cover {clean(self.covers)}.",) if self.covers else ()
        return (f"Basis: {clean(self.basis)}.", self._shown(), self._wanted(), *self._caution(), *covers)

    def _shown(self) -> str:
        found = self.power
        size = f"With {count(self.n_test)} test rows and {seeds_of(self.seeds)}"
        if found.reason is not None:
            return f"{size} nothing can be shown: {found.reason}."
        width = f"its interval is about {rough(found.gap_width)} wide"
        if found.gap_width_high > UNCERTAIN * found.gap_width_low:
            width += f" ({rough(found.gap_width_low)} to {rough(found.gap_width_high)} in 8 of 10 studies)"
        return (
            f"{size} a gap of {rough(found.smallest_gap, upward=True)} or more in {metric_name(self.metric)} is shown "
            f"in 8 of 10 studies; {width}."
        )

    def _wanted(self) -> str:
        found, gap = self.power, rough(self.gap)
        if not self.gap > 0:
            return "No gap was found or asked for; --gap says which one to plan for."
        lead = f"A gap of {gap}: "
        if found.reason is None:
            lead = f"A gap of {gap} is shown in {out_of_ten(found.p_defined)} studies of that size"
            if found.p_defined >= LIKELY and math.isfinite(found.pgr_width):
                lead += f", then with an interval of PGR about {rough(found.pgr_width)} wide"
            lead += ". "
        ways = [f"{count(n)} test rows with {seeds_of(s)}" for s, n in self.rows_by_seeds.items() if n is not None]
        ways += [f"{seeds_of(self.seeds_needed)} with these rows"] if self.seeds_needed is not None else []
        never = [s for s, n in self.rows_by_seeds.items() if n is None]
        told = f"To show it in 8 of 10 takes {', or '.join(ways)}" if ways else ""
        if never:
            told += f"{'; with' if told else 'With'} {', '.join(map(str, never))} seed{'s' * (never[-1] > 1)} no "
            told += "number of test rows is enough"
        if self.seeds_needed is None and self.seeds > 1:
            told += f"; with these rows {MOST_SEEDS} seeds are not"
        return f"{lead}{told}."

    def _caution(self) -> tuple[str, ...]:
        if self.seeds > 1:
            return ()
        return ("One seed: all of this speaks of the trained models, not of training again.",)


def rough(value: float, *, upward: bool = False) -> str:
    """One significant digit, two where the first is 1 (`.07`, `.012`, `.4`); upward = never less than the value."""
    if not math.isfinite(value):
        return "undefined"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    digits = -size + (1 if abs(value) / 10**size < 2 else 0)
    scaled = value * 10**digits
    whole = math.ceil(scaled - 1e-9) if upward else round(scaled)
    text = f"{whole / 10**digits:.{max(0, digits)}f}"
    return text.removeprefix("0") if text.startswith("0.") else text


def count(n: int) -> str:
    """Two significant digits, thousands apart: `1,900`; small ones as they are."""
    if n < 100:
        return str(n)
    unit = 10 ** (len(str(n)) - 2)
    return f"{round(n / unit) * unit:,}"


def out_of_ten(chance: float) -> str:
    """`8 of 10`, `fewer than 1 of 10`, `nearly all`."""
    tenths = round(10 * chance)
    return "fewer than 1 of 10" if tenths == 0 else "nearly all" if tenths == 10 else f"{tenths} of 10"


def seeds_of(n: int) -> str:
    """`1 seed`, `5 seeds`."""
    return f"{n} seed" if n == 1 else f"{n} seeds"
