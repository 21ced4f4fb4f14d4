"""True labels that a budget pays for: as many as were bought, and nothing of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from oversight.errors import InputError
from oversight.models.backbone import Backbone
from oversight.supervision.supervisor import Supervision
from oversight.tasks.split import BUY_BY, Seed, Split, buying_order
from oversight.tasks.task import TRUTH, Bools, Labels, Rows, Task


@dataclass(frozen=True)
class Bought:
    """True labels of some transfer rows, source `truth`; silent on every other row.

    Those of a smaller number are among those of a larger one; see `tasks.split.buying_order`.

    Attributes:
        n: rows, at least 0; None = all transfer rows.
        by: `rows`, or `groups`: whole ones, of the last only as many rows as are wanted.
    """

    kind: ClassVar[str] = "bought"

    n: int | None
    by: str = "rows"

    def __post_init__(self) -> None:
        if self.n is not None and self.n < 0:
            raise InputError(f"bought: found {self.n} labels, expected 0 or more")
        if self.by not in BUY_BY:
            raise InputError(f"--buy: found {self.by}, expected {' or '.join(BUY_BY)}")

    @property
    def name(self) -> str:
        """`64 true`."""
        return f"{'all' if self.n is None else self.n} true"

    @property
    def train(self) -> str:
        """Not at all."""
        return "bought"

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """None."""
        return ()

    def check(self, task: Task, split: Split, tests: Mapping[str, Task]) -> None:
        """No more than there are transfer rows.

        Raises:
            InputError: it is more.
        """
        del tests
        if self.n is not None and self.n > len(split.transfer):
            raise InputError(
                f"{task.name}: found {self.n} labels to buy, expected at most the {len(split.transfer)} transfer rows"
            )

    def answers(self, rows: Rows) -> Bools:
        """All: any row could be bought, so the ceiling learns from all."""
        return np.ones(len(rows), bool)

    def supervise(self, task: Task, split: Split, targets: Sequence[Rows], *, seed: Seed) -> Supervision:
        """The truth of the bought rows is all that is read of it."""
        transfer = task.pick(split.transfer)
        bought = {transfer.ids[i] for i in buying_order(transfer, seed=seed, by=self.by)[: self.n]}
        labels = tuple(_on(task, rows, bought) for rows in targets)
        return Supervision(labels=labels, choices={"bought": len(bought)})


def _on(task: Task, rows: Rows, bought: set[str]) -> Labels:
    at = np.array([row_id in bought for row_id in rows.ids], dtype=bool)
    probs = np.full((len(rows), task.n_classes), 1 / task.n_classes)
    probs[at] = task.true_labels(rows.take(np.flatnonzero(at))).probs
    return Labels.of(rows, probs, source=TRUTH, answered=at)
