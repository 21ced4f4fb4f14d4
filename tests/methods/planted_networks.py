"""What a method gains over another on a tiny network that is fine-tuned on flipped labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from oversight.methods.method import Method, WeakData, WithLoss
from oversight.models.backbone import Backbone
from oversight.models.finetune.recipe import Full
from oversight.models.finetune.student import FineTuned
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Ints, Labels, Rows, content_id

N_TEST = 200
TO_THE_END = Full(epochs=10, batch_size=16, lr=2e-3, evaluations=1, early_stopping=False)
BY_HEART = replace(TO_THE_END, epochs=20)
"""Of 60 rows, long enough to know them by heart, wrong labels too."""
BRIEFLY = replace(TO_THE_END, epochs=2, lr=2e-4)
"""Of 200 rows: 26 updates at a small rate, too few for a head from zero to find what the states hold."""


def rows_of(found: list[dict[str, Any]]) -> tuple[Rows, Ints]:
    """Rows of records, and their classes."""
    texts = tuple(one["text"] for one in found)
    ids = tuple(map(content_id, texts))
    return Rows(ids=ids, texts=texts, groups=ids), np.array([one["label"] for one in found])


def network_gains(
    method: Method,
    network: Backbone,
    planted_rows: Callable[..., list[dict[str, Any]]],
    *,
    flips: float,
    seeds: int,
    recipe: Full = TO_THE_END,
    n: int = 120,
    n_validation: int = 40,
    supervisors: int = 1,
    sure: float = 0.95,
    validation_flips: float | None = None,
    against: Method | None = None,
) -> Floats:
    """(seeds,): accuracy with a method less that with another (naive), by one recipe on n rows, on 200 test rows."""
    found: list[float] = []
    for seed in range(seeds):
        last = n + n_validation
        rows, truth = rows_of(planted_rows(last + N_TEST, seed=seed))
        rng = np.random.default_rng(seed)
        every = [_flipped(rows, truth, flips, sure, rng) for _ in range(supervisors)]
        others = every
        if validation_flips is not None:
            others = [_flipped(rows, truth, validation_flips, sure, rng) for _ in range(supervisors)]
        first, seen, test = rows.take(range(n)), rows.take(range(n, last)), rows.take(range(last, last + N_TEST))
        data = WeakData(
            rows=first,
            labels=tuple(one.on(first) for one in every),
            validation=seen,
            validation_labels=tuple(one.on(seen) for one in others),
        )
        taught = FineTuned(backbone=network, recipe=recipe)
        other, mine = (
            float((one.train(taught, data, seed=Seed.of(seed)).predict(test).argmax(1) == truth[last:]).mean())
            for one in (against or WithLoss(), method)
        )
        found.append(mine - other)
    return np.array(found)


def _flipped(rows: Rows, truth: Ints, flips: float, sure: float, rng: np.random.Generator) -> Labels:
    named = np.where(rng.random(len(rows)) < flips, 1 - truth, truth)
    return Labels.of(rows, np.where(np.eye(2)[named] > 0, sure, 1 - sure), source="weak")
