"""Who knows only how common each class is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from oversight.models.backbone import Backbone
from oversight.supervision.supervisor import Supervision
from oversight.tasks.split import Seed, Split
from oversight.tasks.task import Bools, Labels, Rows, Task


@dataclass(frozen=True)
class Majority:
    """Gives every row the class shares of the weak rows, so that it always chooses the most common class."""

    kind: ClassVar[str] = "majority"

    name: str = "majority class"

    @property
    def train(self) -> str:
        """By counting."""
        return "majority"

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """None."""
        return ()

    def check(self, task: Task, split: Split, tests: Mapping[str, Task]) -> None:
        """Nothing to refuse."""

    def answers(self, rows: Rows) -> Bools:
        """All."""
        return np.ones(len(rows), bool)

    def supervise(self, task: Task, split: Split, targets: Sequence[Rows], *, seed: Seed) -> Supervision:
        """The same for every row."""
        del seed
        counts = np.bincount(task.truth(task.pick(split.weak)), minlength=task.n_classes)
        labels = tuple(
            Labels.of(rows, np.tile(counts / counts.sum(), (len(rows), 1)), source=self.name) for rows in targets
        )
        return Supervision(labels=labels, choices={"counts": counts.tolist()})
