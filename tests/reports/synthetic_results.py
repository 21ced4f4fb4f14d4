"""Small made-up results: every state that a report must show, and names that try to break it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from oversight.metrics.intervals import Estimate
from oversight.reports.result import ROLES, Result, Study, TestRows

METRICS = ("accuracy", "auroc", "nll", "brier", "ece")
HOSTILE = '<script>alert("x")</script>'
WITHIN_NOISE = "the gap is within noise"
N_SEEDS_COVERS = "seeds and test groups"
ONE_SEED_COVERS = "test groups only (these trained models)"


def estimate(value: float, half: float = 0.02, *, seeds: int = 5, reason: str | None = None) -> Estimate:
    """An estimate with a symmetric interval; a reason makes it undefined."""
    covers = N_SEEDS_COVERS if seeds > 1 else ONE_SEED_COVERS
    if reason is not None:
        return Estimate(math.nan, math.nan, math.nan, 812, 203, seeds, reason, covers)
    return Estimate(value, value - half, value + half, 812, 203, seeds, None, covers)


def scores(weak: float, student: float, ceiling: float, seeds: int) -> dict[str, dict[str, Estimate]]:
    """Five metrics per role, all different."""
    values = dict(zip(ROLES, (weak, student, ceiling), strict=True))
    shifts = {"accuracy": 0.0, "auroc": 0.0713, "nll": -0.2031, "brier": -0.3517, "ece": -0.6123}
    return {
        role: {name: estimate(value + shifts[name], 0.0217, seeds=seeds) for name in METRICS}
        for role, value in values.items()
    }


def study(
    weak: float = 0.712,
    student: float = 0.779,
    ceiling: float = 0.823,
    *,
    undefined: str | None = None,
    pgr_half: float = 0.123,
    **changes: Any,
) -> Study:
    """One study with the PGR that its scores imply, unless `undefined` gives a reason."""
    seeds = changes.pop("seeds", 5)
    gap, gain = ceiling - weak, student - weak
    ratio = estimate(gain / gap if gap else 0.0, pgr_half, seeds=seeds, reason=undefined)
    few = estimate(0, seeds=seeds, reason="fewer than 20 rows")
    fields: dict[str, Any] = {
        "task": "reviews",
        "test": "test",
        "weak_model": "bow",
        "strong_model": "minilm@4",
        "method": "naive",
        "train": "probe",
        "oracle": False,
        "metric": "accuracy",
        "n_test": 812,
        "n_groups": 203,
        "n_effective": 203.0,
        "seeds": seeds,
        "scores": scores(weak, student, ceiling, seeds),
        "chance": 0.5041,
        "gap": estimate(gap, 0.0312, seeds=seeds),
        "gain": estimate(gain, 0.0279, seeds=seeds),
        "pgr": ratio,
        "agreement": {"all": estimate(0.812), "weak_right": estimate(0.934), "weak_wrong": few},
        "choices": {
            role: [{"penalty": 0.1 * (i + 1), "layer": 4, "tried": [{"penalty": 1.0}]} for i in range(seeds)]
            for role in ROLES
        },
        "warnings": ("17 of 812 rows are longer than 256 tokens and were truncated (none was dropped)",),
        "keys": {role: [f"{role}-{i}-0123456789abcdef" for i in range(seeds)] for role in ROLES},
    }
    return Study(**{**fields, **changes})


def fit(
    seed: int = 0,
    *,
    lr: float = 2e-4,
    tries: Sequence[float] = (),
    best: int = 3,
    undertrained: bool = False,
    **changes: Any,
) -> dict[str, Any]:
    """What a fine-tuned model says of its fit: 100 updates, evaluated 5 times, best at evaluation `best`."""
    lift = 0.011 * seed + 20 * lr
    curve = [
        {
            "step": 20.0 * (i + 1),
            "loss": 0.69 - 0.07 * i - lift,
            "agreement": 0.6 + lift + 0.05 * (i if i <= best else 2 * best - i),
            "cross_entropy": 0.68 - 0.03 * i,
        }
        for i in range(5)
    ]
    facts: dict[str, Any] = {
        "train": "full",
        "lr": lr,
        "epochs": 2,
        "updates": 100,
        "head_lr": 1e-3,
        "batch_size": 32,
        "schedule": "cosine",
        "warmup_fraction": 0.05,
        "early_stopping": True,
        "words": None,
        "n_rows": 1600,
        "n_parameters": 22713216,
        "n_trained": 147456 + seed,
        "precision": "float32",
        "device": "cpu",
        "packed": True,
        "stopped_at": int(curve[best]["step"]),
        "agreement": curve[best]["agreement"],
        "cross_entropy": curve[best]["cross_entropy"],
        "curve": curve,
        "undertrained": undertrained,
        "threads": 1,
        "seconds": 12.3 + seed,
        **changes,
    }
    if tries:
        facts["tried"] = [fit(seed, lr=rate, best=best, **changes) for rate in tries]
    return facts


def tuned(*, roles: Sequence[str] = ROLES, seeds: int = 3, **changes: Any) -> Study:
    """A study of which these roles were fine-tuned; the student's second seed is undertrained, its rate searched."""
    plain = study(seeds=seeds).choices
    own = {
        "weak": [fit(i, best=4) for i in range(seeds)],
        "student": [
            fit(i, lr=5e-5 if i else 1e-4, tries=(1e-4, 5e-5), undertrained=i == 1, best=1, train="lora")
            for i in range(seeds)
        ],
        "ceiling": [fit(i, lr=1e-4, train="lora", packed=False, why_padded="no packing here") for i in range(seeds)],
    }
    fields: dict[str, Any] = {
        "weak_model": "minilm@0",
        "weak_train": "full" if "weak" in roles else "probe",
        "train": "lora" if "student" in roles else "probe",
        "choices": {role: own[role] if role in roles else plain[role] for role in ROLES},
    }
    return study(seeds=seeds, **{**fields, **changes})


def tuned_ladder() -> Result:
    """18 fine-tuned studies on a test set each of its own and on another one: 36 in all, of 18 trainings."""
    found: list[Study] = []
    for each in ladder(train="lora", weak_train="full", seeds=5).studies:
        mark = hash_of(each.weak_model, each.strong_model, each.method)
        choices = {role: [fit(i, seconds=mark + i) for i in range(5)] for role in ROLES}
        found += [replace(each, choices=choices), replace(each, choices=choices, test="shifted")]
    return Result(studies=tuple(found), about=about(), rows_of=rows_of)


def hash_of(*names: str) -> float:
    """A number that differs between studies."""
    return float(sum(ord(letter) * (i + 1) for i, letter in enumerate("/".join(names))))


def ladder(
    n_weak: int = 3, n_students: int = 3, methods: Sequence[str] = ("naive", "confidence"), **changes: Any
) -> Result:
    """Supervisors x students x methods; the last pair of each method has no PGR."""
    studies: list[Study] = []
    for m, method in enumerate(methods):
        for i in range(n_weak):
            for j in range(n_students):
                low, high = 0.60 + 0.05 * i, 0.70 + 0.05 * j + 0.01 * i
                middle = low + (0.4 + 0.15 * m) * (high - low)
                noise = WITHIN_NOISE if high - low < 0.03 else None
                studies.append(
                    study(
                        low,
                        middle,
                        high,
                        undefined=noise,
                        weak_model="bow" if i == 0 else f"minilm@{i - 1}",
                        strong_model=f"minilm@{2 * j + 2}",
                        method=method,
                        oracle=method.startswith("oracle"),
                        **changes,
                    )
                )
    return Result(studies=tuple(studies), about=about(), rows_of=rows_of)


def one(**changes: Any) -> Result:
    """A result of a single study."""
    return Result(studies=(study(**changes),), about=about(), rows_of=rows_of)


def about() -> Mapping[str, Any]:
    """What made the result."""
    return {
        "command": "oversight w2s reviews --weak bow --strong minilm@4 --seeds 5",
        "versions": {"oversight": "0.1.0", "torch": "2.11.0", "numpy": "2.4.6"},
        "seconds": 41.73,
        "store": "./oversight-store",
        "demo_notes": ["The student does better than the supervisor it learned from."],
    }


def rows_of(of: Study, *, n: int = 60, k: int = 2) -> TestRows:
    """Predictions for n rows: the same for the same study."""
    generator = np.random.default_rng(7)
    truth = generator.integers(0, k, n)
    probs = {
        role: generator.dirichlet(np.ones(k), size=n)
        + 0.1 * generator.random((of.seeds, n, k))
        + skill * np.eye(k)[truth]
        for role, skill in zip(ROLES, (0.3, 0.8, 1.5), strict=True)
    }
    return TestRows(
        ids=tuple(f"{i:016x}" for i in range(n)),
        texts=tuple(
            f"row {i}: the room was clean, the breakfast <b>cold</b> & the bill {'very ' * i}long" for i in range(n)
        ),
        groups=tuple(f"g{i // 2}" for i in range(n)),
        truth=truth,
        class_names=tuple(f"class {j}" for j in range(k)),
        probs={role: one / one.sum(axis=-1, keepdims=True) for role, one in probs.items()},
    )
