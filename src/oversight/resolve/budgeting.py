"""What a budget is asked for becomes a grid of mixtures, and the grid a curve."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from oversight.errors import InputError, StepError
from oversight.methods.mixing import check_mix
from oversight.models.finetune.memory import available_bytes
from oversight.reports.budget import BudgetCurve, Prices
from oversight.resolve.compare import NAIVE, Asked, check_asked, read_plan_of
from oversight.resolve.plans import from_document, setups
from oversight.resolve.stores import load_store
from oversight.resolve.sweep_plan import SweepPlan
from oversight.resolve.sweeps import local_pool
from oversight.runs.drive import Stop
from oversight.runs.graph import Graph
from oversight.runs.pools.pool import Pool, Status
from oversight.runs.store import Store
from oversight.studies.budget import (
    ALL,
    Available,
    Mix,
    Mixing,
    Numbers,
    available_rows,
    grid,
    only_supervisor,
    plan_budget,
)
from oversight.studies.budget_curve import budget_curve
from oversight.studies.sweep import Swept, run_sweep
from oversight.studies.weak_to_strong import Campaign, Setup
from oversight.tasks.split import BUY_BY

AUTO = "auto"
DEFAULT, PRICES = Mixing(), Prices(true=10.0, weak=1.0)
BUILDER = "oversight.resolve.budgeting:graph_of"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A budget as it was asked for.

    Attributes:
        study: the task, who labels and who learns; one task, no method.
        true, weak: numbers of labels, None in them = all; None = a ladder.
        mixing: how the two kinds are combined, and which are bought.
        prices: of a label of each kind.
    """

    study: Asked
    true: Numbers | None = None
    weak: Numbers | None = None
    mixing: Mixing = field(default=DEFAULT)
    prices: Prices = field(default=PRICES)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What is run, everything found and checked.

    Attributes:
        wanted: what was asked for.
        plan: of the naive study, from which every worker starts.
        setup: its task, supervisor and student.
        available: transfer rows by seed.
        mixes: the cells, the naive one first.
        left_out: cells that cannot be run, with the reason.
    """

    wanted: Wanted
    plan: SweepPlan
    setup: Setup
    available: tuple[Available, ...]
    mixes: tuple[Mix, ...]
    left_out: Mapping[str, str]

    def campaign(self) -> Campaign:
        """The graph of all cells."""
        return plan_budget(self.setup, self.mixes, keep_models=self.plan.keep_models)

    def costs(self) -> dict[str, float]:
        """Of every cell, mean over seeds."""
        count = {mix.name: [one.counts(mix) for one in self.available] for mix in self.mixes}
        prices = self.wanted.prices
        return {name: sum(prices.cost(*one) for one in counts) / len(counts) for name, counts in count.items()}

    def document(self) -> dict[str, Any]:
        """All that another process needs to make the same graph; ready for JSON."""
        mixing = self.wanted.mixing
        return {
            "plan": self.plan.document(),
            "mixes": [[mix.n_true, mix.n_weak, mix.way] for mix in self.mixes],
            "by": mixing.by,
            "weights": list(mixing.weights),
        }


@dataclass(frozen=True, kw_only=True)
class Budgeted:
    """What a budget gave.

    Attributes:
        curve: None where it was stopped, or where the naive cell failed.
        swept: what was run.
    """

    curve: BudgetCurve | None
    swept: Swept


def read_numbers(flag: str, text: str) -> Numbers | None:
    """`0,16,all` as numbers, None in them = all; `auto` = None.

    Raises:
        InputError: something else, or a number twice.
    """
    if text == AUTO:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(set(parts)) < len(parts) or not all(part == ALL or part.isdecimal() for part in parts):
        raise InputError(f"{flag}: found '{text}', expected auto, or numbers such as 0,16,64,all, each once")
    return tuple(None if part == ALL else int(part) for part in parts)


def load_budget(wanted: Wanted) -> Budget:
    """Find and check everything that is named; nothing is computed or written.

    Raises:
        InputError: one line on what is wrong.
    """
    _check(wanted)
    plan = read_plan_of(wanted.study, name="budget")
    (setup,) = setups(plan)
    only_supervisor(setup)
    for way in wanted.mixing.ways:
        check_mix(way, setup.arms[0].student, wanted.mixing.weights)
    available = available_rows(setup, by=wanted.mixing.by)
    mixes, left_out = grid(setup, available, true=wanted.true, weak=wanted.weak, mixing=wanted.mixing)
    return Budget(wanted=wanted, plan=plan, setup=setup, available=available, mixes=mixes, left_out=left_out)


def _check(wanted: Wanted) -> None:
    check_asked(wanted.study)
    if len(wanted.study.tasks) != 1:
        raise InputError(f"budget: found {len(wanted.study.tasks)} tasks, expected one")
    for flag, price in (("--cost-true", wanted.prices.true), ("--cost-weak", wanted.prices.weak)):
        if not (price >= 0 and math.isfinite(price)):
            raise InputError(f"{flag}: found {price:g}, expected a number of at least 0")
    for weight in wanted.mixing.weights:
        if not (weight > 0 and math.isfinite(weight)):
            raise InputError(f"--weight: found {weight:g}, expected numbers above 0")
    ways = wanted.mixing.ways
    if not ways or len(set(ways)) < len(ways):
        raise InputError(f"--mix: found '{','.join(ways)}', expected names, each once")
    if wanted.mixing.by not in BUY_BY:
        raise InputError(f"--buy: found {wanted.mixing.by}, expected {' or '.join(BUY_BY)}")


def graph_of(document: Mapping[str, Any]) -> Graph:
    """The graph that another process was given as a budget's document."""
    (setup,) = setups(from_document(document["plan"]), here=False)
    mixing = Mixing(by=document["by"], weights=tuple(document["weights"]))
    mixes = [mixing.mix(n_true, n_weak, way) for n_true, n_weak, way in document["mixes"]]
    return plan_budget(setup, mixes).graph


def run_budget(
    budget: Budget,
    *,
    store: Store,
    workers: int = 1,
    about: Mapping[str, Any] | None = None,
    retry_failed: bool = False,
    watch: Callable[[Status], None] | None = None,
    stop: Stop | None = None,
) -> Budgeted:
    """Compute what the store does not have, and the curve. Other prices compute nothing.

    Args:
        budget: what is wanted, checked.
        store: where results are kept.
        workers: local processes.
        about: what the curve says of itself.
        retry_failed, watch, stop: as in `run_sweep`.

    Raises:
        InputError: several workers without a directory to meet in.
    """
    swept = run_sweep(
        budget.campaign(),
        title=f"budget {budget.setup.task.name}",
        store=store,
        pool=_pool(budget, store, workers),
        about=about,
        watch=watch,
        retry_failed=retry_failed,
        memory_bytes=available_bytes("cpu"),
        stop=stop,
    )
    if swept.summary.stopped:
        return Budgeted(curve=None, swept=swept)
    curve = budget_curve(
        swept,
        store,
        budget.mixes,
        available=budget.available,
        prices=budget.wanted.prices,
        left_out=budget.left_out,
    )
    return Budgeted(curve=None if curve is None else replace(curve, about=about or {}), swept=swept)


def _pool(budget: Budget, store: Store, workers: int) -> Callable[[], Pool] | None:
    return local_pool(BUILDER, budget.document(), store, workers=workers)


def budget(
    task: str,
    *,
    weak: str,
    strong: str,
    true: Sequence[int | str] | str = AUTO,
    weak_labels: Sequence[int | str] | str = AUTO,
    mixing: Mixing = DEFAULT,
    prices: Prices = PRICES,
    seeds: int = 5,
    store: str | Path | Store | None = None,
    workers: int = 1,
    watch: Callable[[Status], None] | None = None,
    **options: Any,
) -> BudgetCurve:
    """What n bought true labels and m weak ones give together, at which cost.

    Args:
        task: a name, a file, a directory or `hf:org/name`.
        weak: who labels.
        strong: who learns.
        true, weak_labels: numbers of labels of transfer rows, `all` among them; `auto` = a ladder.
        mixing: how they are combined.
        prices: of one label of each kind.
        seeds: trainings of every role; ask for 5 or more.
        store: as in `weak_to_strong`.
        workers: local processes.
        watch: shown how things stand.
        options: `train`, `settings`, `options`, `columns`, `covers`; see `resolve.compare.Asked`.

    Raises:
        InputError: something given is bad; nothing was computed or written.
        StepError: the naive cell failed, so that there is nothing to compare with.
    """

    def numbers(flag: str, found: Sequence[int | str] | str) -> Numbers | None:
        return read_numbers(flag, found if isinstance(found, str) else ",".join(map(str, found)))

    wanted = Wanted(
        study=Asked(tasks=(task,), weak=weak, strong=strong, methods=(NAIVE,), seeds=seeds, **options),
        true=numbers("true", true),
        weak=numbers("weak_labels", weak_labels),
        mixing=mixing,
        prices=prices,
    )
    found = run_budget(load_budget(wanted), store=load_store(store), workers=workers, watch=watch)
    if found.curve is None:
        why = next(iter(found.swept.summary.failed.values()), "it was stopped")
        raise StepError(f"budget: the naive cell is not finished: {why}")
    return found.curve
