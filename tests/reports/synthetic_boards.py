"""Small made-up leaderboards: every state that a page must show, and names that try to break it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from synthetic_results import HOSTILE, WITHIN_NOISE, about, estimate

from oversight.metrics.intervals import Estimate
from oversight.reports.leaderboard import BaselineLine, Cell, Leaderboard, Standing, TaskLine

REFERENCE = "naive"
ENCODER = "minilm@4: found an encoder, expected a decoder: only that can be prompted"
FEW = "fewer than ten task families: no p value can be small"


def no_interval(value: float, reason: str = "one group of test rows: no interval") -> Estimate:
    """A value whose interval is missing."""
    return replace(estimate(value), low=math.nan, high=math.nan, reason=reason)


def task(name: str, *, family: str | None = None, gap: float = 0.1, **changes: Any) -> TaskLine:
    """A task with a gap that is shown where it is above .03."""
    fields: dict[str, Any] = {
        "name": name,
        "family": family or name,
        "metric": "accuracy",
        "n_test": 812,
        "n_groups": 203,
        "n_effective": 203.0,
        "weak": estimate(0.6),
        "reference": estimate(0.63),
        "ceiling": estimate(0.6 + gap),
        "gap": estimate(gap, 0.03),
    }
    return TaskLine(**{**fields, **changes})


def cell(line: TaskLine, gain: float) -> Cell:
    """Gain on a task, and the PGR that it implies; undefined where the gap is not shown."""
    shown = line.gap.low > 0
    pgr = estimate((0.03 + gain) / line.gap.value, 0.3, reason=None if shown else WITHIN_NOISE)
    return Cell(student=estimate(0.63 + gain), gain=estimate(gain, 0.017), pgr=pgr)


def standing(
    method: str,
    gain: float,
    tasks: Sequence[TaskLine],
    *,
    half: float = 0.02,
    gains: Sequence[float] | None = None,
    rank: tuple[int, int] | None = (1, 1),
    **changes: Any,
) -> Standing:
    """A method with this mean gain and these gains by task."""
    cells = {one.name: cell(one, own) for one, own in zip(tasks, gains or [gain] * len(tasks), strict=True)}
    fields: dict[str, Any] = {
        "method": method,
        "settings": {},
        "oracle": False,
        "exploratory": None,
        "gain": estimate(gain, half),
        "alone": estimate(gain, half / 2),
        "pgr": estimate(0.3 + 10 * gain, 0.2),
        "median_pgr": 0.31 + 10 * gain,
        "undefined": {name: str(one.pgr.reason) for name, one in cells.items() if not one.pgr.defined},
        "rank": rank,
        "p": None,
        "seconds": 12.3,
        "cells": cells,
    }
    return Standing(**{**fields, **changes})


def reference(tasks: Sequence[TaskLine], **changes: Any) -> Standing:
    """The reference: no gain, no width."""
    return standing(REFERENCE, 0.0, tasks, half=0.0, **changes)


def baseline(name: str, scores: Mapping[str, Estimate], **changes: Any) -> BaselineLine:
    """A baseline with these scores by task."""
    return BaselineLine(
        **{"name": name, "about": f"about {name}", "scores": scores, "missing": {}, "gain": None, **changes}
    )


def baselines(tasks: Sequence[TaskLine]) -> tuple[BaselineLine, ...]:
    """One that is everywhere, one that is missing on the first task, one that is nowhere."""
    everywhere = {one.name: estimate(0.5 + 0.01 * i, 0.0213) for i, one in enumerate(tasks)}
    some = dict(list(everywhere.items())[1:])
    return (
        baseline("weak to weak", everywhere, gain=estimate(-0.123, 0.0321)),
        baseline("bag of words", some, missing={tasks[0].name: "it failed"}),
        baseline("strong, zero-shot", {}, missing=dict.fromkeys(everywhere, ENCODER)),
    )


def all_pairs(standings: Sequence[Standing]) -> dict[tuple[str, str], Estimate]:
    """Every pair of ranked methods, in their order."""
    ranked = [one for one in standings if not one.oracle]
    return {
        (first.method, second.method): estimate(first.gain.value - second.gain.value, 0.0271)
        for i, first in enumerate(ranked)
        for second in ranked[i + 1 :]
    }


def board(
    standings: Sequence[Standing] | None = None, tasks: Sequence[TaskLine] | None = None, **changes: Any
) -> Leaderboard:
    """Three tasks in two families; one method better, one worse, one not told apart, unless others are given."""
    tasks = tasks or (task("apples"), task("apples_cf", family="apples", gap=0.02), task("pears", gap=0.15))
    standings = standings or (
        reference(tasks, rank=(2, 3)),
        standing(
            "confidence", 0.0312, tasks, gains=(0.051, -0.0043, 0.0469), rank=(1, 1), settings={"aux_weight": 0.25}
        ),
        standing("hard", 0.0013, tasks, rank=(2, 3)),
        standing("knn_filter", -0.0417, tasks, rank=(4, 4)),
    )
    fields: dict[str, Any] = {
        "reference": REFERENCE,
        "weak_model": "bow",
        "strong_model": "minilm@4",
        "train": "probe",
        "weak_train": "bow",
        "seeds": 5,
        "tasks": tuple(tasks),
        "standings": tuple(standings),
        "baselines": baselines(tasks),
        "not_applicable": {"mean": "needs 2 or more supervisors, found 1"},
        "unfinished": {},
        "differences": all_pairs(standings),
        "correction": f"95 %, simultaneous over {len(standings) - 1} methods (Bonferroni)",
        "why_no_p": FEW,
        "tuning": {},
        "about": about(),
    }
    return Leaderboard(**{**fields, **changes})


def tuned_board() -> Leaderboard:
    """Settings chosen on development tasks; a setting given by hand; one trial that failed."""
    plain = board()
    trials = {
        "naive": [{"settings": {}, "gain_over_weak": 0.0211, "chosen": True}],
        "confidence": [
            {"settings": {}, "gain_over_weak": 0.0111, "chosen": False},
            {"settings": {"aux_weight": 0.25}, "gain_over_weak": 0.0333, "chosen": True},
            {"settings": {"aux_weight": 0.75}, "gain_over_weak": None, "chosen": False},
        ],
    }
    first, second, *rest = plain.standings
    why = "2 other settings of it had been scored on the test rows of apples before"
    return replace(
        plain,
        standings=(first, replace(second, exploratory=why), *rest),
        tuning={"development_tasks": ["plums", "figs"], "trials": trials},
    )


def ties() -> Leaderboard:
    """Nothing is told apart from anything."""
    tasks = (task("apples"),)
    names = ("confidence", "hard", "knn_filter")
    others = [standing(name, 0.001 * (2 - i), tasks, rank=(1, 4)) for i, name in enumerate(names)]
    return board((reference(tasks, rank=(1, 4)), *others), tasks)


def undefined() -> Leaderboard:
    """Not a number wherever there can be none: no score, no interval, no PGR, no seconds."""
    nowhere = estimate(0, reason="the score is undefined: a class is missing from the test rows")
    line = replace(task("apples"), weak=nowhere, reference=nowhere, ceiling=nowhere, gap=nowhere)
    empty: dict[str, Any] = {
        "gain": nowhere,
        "alone": nowhere,
        "pgr": nowhere,
        "median_pgr": None,
        "undefined": {"apples": str(nowhere.reason)},
        "seconds": None,
        "cells": {"apples": Cell(student=nowhere, gain=nowhere, pgr=nowhere)},
    }
    half = {**empty, "gain": no_interval(0.012), "alone": no_interval(0.012)}
    rows = (
        replace(reference((line,)), **empty),
        replace(standing("confidence", 0.0, (line,)), **empty),
        replace(standing("hard", 0.0, (line,)), **half),
    )
    return board(rows, (line,), baselines=(), about={})


def large(n_methods: int = 40, n_tasks: int = 15, *, seed: int = 0) -> Leaderboard:
    """Many methods on many tasks, gains of either sign, one far below all others."""
    draw = np.random.default_rng(seed)
    tasks = [task(f"task_number_{i}", gap=draw.uniform(0.01, 0.2)) for i in range(n_tasks)]
    gains = np.sort(draw.normal(0.0, 0.015, n_methods))[::-1]
    gains[-1] = -0.4
    others = [
        standing(
            f"method_with_a_name_{i}",
            gain,
            tasks,
            gains=list(gain + draw.normal(0, 0.02, n_tasks)),
            p=min(1.0, 0.02 * i),
        )
        for i, gain in enumerate(gains)
    ]
    ranked = [reference(tasks), *others]
    shown = [replace(one, rank=(max(1, i - 9), min(n_methods + 1, i + 11))) for i, one in enumerate(ranked)]
    return board(shown, tasks, why_no_p=None)


def hostile() -> Leaderboard:
    """Names, reasons and settings that try to be markup."""
    names = (HOSTILE, '" onload="x', "</style><b>")
    tasks = (task(names[0], metric="a&b", warnings=(HOSTILE,), family=names[1]), task(names[1], family=names[1]))
    rows = [
        reference(tasks),
        standing(HOSTILE, 0.04, tasks, settings={HOSTILE: HOSTILE}, exploratory=HOSTILE),
        standing(names[1] + "|a\nb", -0.04, tasks),
        standing(names[2], 0.0, tasks, oracle=True, rank=None),
    ]
    missing = baseline(HOSTILE, {}, missing={one.name: f"{HOSTILE} {i}" for i, one in enumerate(tasks)})
    made: Mapping[str, Any] = {**about(), "command": HOSTILE, "store": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    tried = [{"settings": {HOSTILE: HOSTILE}, "gain_over_weak": math.nan, "chosen": True}]
    words = dict.fromkeys(("weak_model", "strong_model", "train", "weak_train", "why_no_p", "correction"), HOSTILE)
    return board(
        rows,
        tasks,
        **words,
        baselines=(missing,),
        not_applicable={HOSTILE: HOSTILE},
        unfinished={HOSTILE: HOSTILE},
        tuning={"development_tasks": [HOSTILE], "trials": {HOSTILE: tried}},
        about=made,
    )


def all_boards() -> dict[str, Leaderboard]:
    """By what is special about each."""
    alone = (task("apples"),)
    oracle = standing("oracle_early_stopping", 0.06, alone, oracle=True, rank=None)
    return {
        "three verdicts": board(),
        "tuned": tuned_board(),
        "ties": ties(),
        "one method": board((reference(alone), standing("hard", 0.04, alone)), alone, correction="95 %"),
        "reference alone": board((reference(alone),), alone),
        "oracle": board((reference(alone), oracle, standing("hard", 0.04, alone)), alone),
        "one seed": board(seeds=1),
        "unfinished": board(unfinished={"own": "apples: RuntimeError: never"}),
        "undefined": undefined(),
        "large": large(),
        "hostile": hostile(),
    }
