"""The rows of a test set as a step, so that what is kept can be read and scored again without the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from oversight.reports.result import TestRows
from oversight.runs.steps import Step, Tick
from oversight.runs.store import Outcome
from oversight.studies.plan import Plan
from oversight.tasks.task import Floats, ids_sha256


def run_rows(steps: Sequence[Step], inputs: Sequence[Sequence[Outcome]], env: Plan, tick: Tick) -> list[Outcome]:
    """See `Plan.rows`."""
    import pyarrow as pa

    del inputs, tick
    test: str = env.objects[steps[0].key]
    rows, task = env.test_rows(test), env.test_task(test)
    table = pa.table(
        {
            "id": pa.array(rows.ids, pa.string()),
            "text": pa.array(rows.texts, pa.string()),
            "other": pa.array(rows.others or [None] * len(rows), pa.string()),
            "group": pa.array(rows.groups, pa.string()),
            "truth": pa.array(task.truth(rows), pa.int64()),
        }
    )
    record = {"n_rows": len(rows), "class_names": list(task.class_names), "row_ids": ids_sha256(rows.ids)}
    return [Outcome(rows=table, record=record)]


def joined(kept: Outcome, probs: Mapping[str, Floats]) -> TestRows:
    """Kept rows with the probabilities of the three roles on them."""
    assert kept.rows is not None
    columns = {name: kept.rows.column(name).to_pylist() for name in ("id", "text", "other", "group", "truth")}
    shown = zip(columns["text"], columns["other"], strict=True)
    return TestRows(
        ids=tuple(columns["id"]),
        texts=tuple(text if other is None else f"{text}\n---\n{other}" for text, other in shown),
        groups=tuple(columns["group"]),
        truth=np.asarray(columns["truth"], dtype=np.int64),
        class_names=tuple(kept.record["class_names"]),
        probs=probs,
    )
