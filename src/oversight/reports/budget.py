"""What a budget of labels buys: the score of every mixture of true and weak ones, its cost, and the cost frontier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oversight.metrics.intervals import Estimate
from oversight.reports.words import planted

SCORES = ("weak", "ceiling", "gap")
NAMES = ("task", "weak_model", "strong_model", "train", "weak_train", "metric")
COUNTS = ("n_test", "n_groups", "seeds", "n_transfer")


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Of one true and of one weak label, in any unit."""

    true: float
    weak: float

    def cost(self, n_true: float, n_weak: float) -> float:
        """Of so many labels."""
        return n_true * self.true + n_weak * self.weak


@dataclass(frozen=True, kw_only=True)
class BudgetCell:
    """A mixture of labels.

    Attributes:
        name: such as `64 true + all weak, weighted`.
        n_true, n_weak: labels of transfer rows that the student learned from, means over seeds.
        way: how the two kinds were combined; empty where there is one kind only.
        cost: of these labels, mean over seeds.
        student: the score.
        pgr: as in any study.
        over_weak: student - the student of all weak labels (naive), None for itself; simultaneous over cells.
        over_true: student - the student of the same true labels alone, None where there is none to compare with.
        on_frontier: whether no cheaper cell equals or beats it by point estimate.
        key: of its score in the store.
    """

    name: str
    n_true: float
    n_weak: float
    way: str
    cost: float
    student: Estimate
    pgr: Estimate
    over_weak: Estimate | None
    over_true: Estimate | None
    on_frontier: bool
    key: str


@dataclass(frozen=True, kw_only=True)
class FrontierStep:
    """From one cell of the frontier to a dearer one.

    Attributes:
        start, end: names of the cells; `start` is the last cell whose own step was shown, or the cheapest.
        gain: end - start, its interval simultaneous over all pairs of cells, as the data chose the pair.
    """

    start: str
    end: str
    gain: Estimate

    @property
    def shown(self) -> bool:
        """Whether the interval says that the money buys something; where it does not, the two are tied."""
        return self.gain.above_zero


@dataclass(frozen=True, kw_only=True)
class Unpriced:
    """Labels that no cell's cost holds, because every cell that trusts the supervisor needs them.

    Attributes:
        what: whose labels.
        n: how many, mean over seeds.
        cost: what they would cost at the same prices.
    """

    what: str
    n: float
    cost: float


@dataclass(frozen=True, kw_only=True)
class BudgetCurve:
    """Mixtures of true and weak labels on the same test rows and seeds.

    Attributes:
        task, weak_model, strong_model, train, weak_train, metric: as in a study.
        n_test, n_groups, seeds: rows and groups of the test set, trainings of every role.
        n_transfer: transfer rows, mean over seeds.
        weak, ceiling, gap: scores, and ceiling - weak; the ceiling has the truth of all transfer rows.
        prices: of a label of each kind.
        cells: by rising cost.
        steps: along the frontier.
        unpriced: labels that are in no cost.
        left_out: cells that were not run, with the reason.
        unfinished: cells that failed, with the reason.
        correction: how the intervals of differences are made simultaneous.
        warnings: what a reader must know.
        about: command, versions, seconds.
    """

    task: str
    weak_model: str
    strong_model: str
    train: str
    weak_train: str
    metric: str
    n_test: int
    n_groups: int
    seeds: int
    n_transfer: float
    weak: Estimate
    ceiling: Estimate
    gap: Estimate
    prices: Prices
    cells: tuple[BudgetCell, ...]
    steps: tuple[FrontierStep, ...]
    unpriced: tuple[Unpriced, ...]
    left_out: Mapping[str, str]
    unfinished: Mapping[str, str]
    correction: str
    warnings: tuple[str, ...]
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        from oversight.reports.budget_tables import as_text

        return as_text(self)

    def cell(self, name: str) -> BudgetCell:
        """Of this name.

        Raises:
            KeyError: there is none.
        """
        for one in self.cells:
            if one.name == name:
                return one
        raise KeyError(name)

    @property
    def frontier(self) -> tuple[BudgetCell, ...]:
        """Cells that no cheaper one equals or beats by point estimate, by rising cost."""
        return tuple(one for one in self.cells if one.on_frontier)

    @property
    def shown_frontier(self) -> tuple[BudgetCell, ...]:
        """The cheapest cell of the frontier, and those whose step is shown by its interval."""
        ends = {step.end for step in self.steps if step.shown}
        return tuple(one for i, one in enumerate(self.frontier) if i == 0 or one.name in ends)

    def as_json(self) -> dict[str, Any]:
        """Everything; what is undefined is None."""
        return {
            **{name: getattr(self, name) for name in (*NAMES, *COUNTS)},
            "planted": planted(self.weak_train),
            "prices": {"true": self.prices.true, "weak": self.prices.weak},
            **{name: getattr(self, name).as_json() for name in SCORES},
            "correction": self.correction,
            "covers": self.gap.covers,
            "cells": [_cell_json(one) for one in self.cells],
            "frontier": {
                "cells": [one.name for one in self.frontier],
                "shown": [one.name for one in self.shown_frontier],
                "steps": [
                    {"start": one.start, "end": one.end, "gain": one.gain.as_json(), "shown": one.shown}
                    for one in self.steps
                ],
            },
            "unpriced": [{"what": one.what, "n": one.n, "cost": one.cost} for one in self.unpriced],
            "left_out": dict(self.left_out),
            "unfinished": dict(self.unfinished),
            "warnings": list(self.warnings),
            "about": dict(self.about),
        }

    def report(self, path: str | Path) -> Path:
        """Write a self-contained page (.html), a table (.md) or all numbers (.json).

        Returns:
            Its path.

        Raises:
            InputError: another ending, or a place that cannot be written.
        """
        from oversight.reports.budget_exports import write

        return write(self, Path(path))


def _cell_json(one: BudgetCell) -> dict[str, Any]:
    return {
        **{name: getattr(one, name) for name in ("name", "n_true", "n_weak", "way", "cost", "on_frontier", "key")},
        "student": one.student.as_json(),
        "pgr": {**one.pgr.as_json(), "defined": one.pgr.defined, "reason": one.pgr.reason},
        "over_weak": None if one.over_weak is None else one.over_weak.as_json(),
        "over_true": None if one.over_true is None else one.over_true.as_json(),
    }
