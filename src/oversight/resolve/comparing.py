"""Run a comparison: trials on development tasks, then every method under its frozen settings, then the leaderboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from oversight.errors import InputError, StepError
from oversight.reports.leaderboard import Leaderboard
from oversight.resolve.compare import ALL, Asked, Comparison, load_comparison
from oversight.resolve.stores import load_store
from oversight.resolve.sweep_plan import SweepPlan
from oversight.resolve.sweeps import run_plan
from oversight.runs.drive import Stop
from oversight.runs.pools.pool import Status
from oversight.runs.store import Store
from oversight.studies.compare import leaderboard
from oversight.studies.sweep import Swept
from oversight.studies.tuning import Tuning, seen_settings, tuned


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What a comparison gave.

    Attributes:
        board: None where it was stopped, or where the reference failed.
        swept: what was run last.
        trials: what was run on development tasks before.
    """

    board: Leaderboard | None
    swept: Swept
    trials: tuple[Swept, ...] = ()


def run_comparison(
    comparison: Comparison,
    *,
    store: Store,
    workers: int = 1,
    ray: str | None = None,
    about: Mapping[str, Any] | None = None,
    retry_failed: bool = False,
    watch: Callable[[Status], None] | None = None,
    stop: Stop | None = None,
) -> Compared:
    """Compute what the store does not have, and the leaderboard.

    Args:
        comparison: what is compared, checked.
        store: where results are kept.
        workers, ray, retry_failed, watch, stop: as in `run_plan`.
        about: what the leaderboard says of itself.
    """

    def run(plan: SweepPlan) -> Swept:
        return run_plan(
            plan,
            store=store,
            workers=workers,
            ray=ray,
            about=about,
            retry_failed=retry_failed,
            watch=watch,
            stop=stop,
        )

    trials: list[Swept] = []
    for plan in comparison.trial_plans():
        trials.append(run(plan))
        if trials[-1].summary.stopped:
            return Compared(board=None, swept=trials[-1])
    tuning = _tuning(comparison, trials)
    plan = comparison.plan(tuning.settings)
    seen = seen_settings(store)
    swept = run(plan)
    if swept.summary.stopped:
        return Compared(board=None, swept=swept, trials=tuple(trials))
    board = leaderboard(
        swept,
        store,
        reference=comparison.reference,
        shown=comparison.shown,
        families=comparison.families,
        tuning=tuning,
        seen=seen,
        not_applicable=comparison.not_applicable,
        about=about or {},
    )
    return Compared(board=board, swept=swept, trials=tuple(trials))


def _tuning(comparison: Comparison, trials: Sequence[Swept]) -> Tuning:
    """Settings by method as asked for: those given by hand, or the best of the trials."""
    asked = comparison.asked
    recipe = {role: dict(one) for role, one in asked.settings.items() if one}
    if not asked.development:
        given = {name: dict(one) for name, one in asked.method_settings.items() if name in comparison.shown}
        return Tuning(settings=given, by_hand=comparison.by_hand, told={"recipe": recipe} if recipe else {})
    tried = {name: comparison.settings(name) for name in comparison.shown}
    found = tuned(trials, tried, shown=comparison.shown, families=comparison.development_families)
    return replace(found, by_hand=comparison.by_hand, told={**found.told, **({"recipe": recipe} if recipe else {})})


def compare(
    tasks: str | Sequence[str],
    *,
    weak: str,
    strong: str,
    methods: str | Sequence[str] = ALL,
    seeds: int = 5,
    store: str | Path | Store | None = None,
    workers: int = 1,
    watch: Callable[[Status], None] | None = None,
    **options: Any,
) -> Leaderboard:
    """A leaderboard of methods over the same tasks, rows and seeds.

    Args:
        tasks: names, files, directories or `hf:org/name`.
        weak: who labels; several joined by `+` for methods that take several.
        strong: who learns.
        methods: names of the table, `path/to/file.py:name` of your own, or `all` that apply.
        seeds: trainings of every role; ask for 5 or more.
        store: as in `weak_to_strong`.
        workers: local processes.
        watch: shown how things stand.
        options: `train`, `settings`, `method_settings`, `development`, `trials`, `families`, `options`, `columns`,
            `covers`; see `resolve.compare.Asked`.

    Raises:
        InputError: something given is bad; nothing was computed or written.
        StepError: the reference failed somewhere, so that nothing can be compared with it.
    """
    several = (tasks,) if isinstance(tasks, str) else tuple(tasks)
    named = (methods,) if isinstance(methods, str) else tuple(methods)
    strange = [one for one in (*several, *named) if not isinstance(one, str)]  # pyright: ignore
    if strange:
        raise InputError(f"compare: found {type(strange[0]).__name__}, expected a name or a path")
    asked = Asked(tasks=several, weak=weak, strong=strong, methods=named, seeds=seeds, **options)
    found = run_comparison(load_comparison(asked), store=load_store(store), workers=workers, watch=watch)
    if found.board is None:
        why = next(iter(found.swept.summary.failed.values()), "it was stopped")
        raise StepError(f"compare: the reference is not finished: {why}")
    return found.board
