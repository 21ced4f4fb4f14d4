"""Repeated supervision: the same model trained on the weak rows drawn anew."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from oversight.models.backbone import Backbone
from oversight.models.student import Student, check_student, trained_how
from oversight.supervision.supervisor import Supervision
from oversight.tasks.split import Seed, Split
from oversight.tasks.task import Bools, Floats, Labels, Rows, Task


@dataclass(frozen=True)
class Resampled:
    """One of several repetitions of a supervisor, each trained on another bootstrap sample of the weak rows.

    As many groups of weak rows are drawn as there are, with replacement; a row counts as often as its group was drawn.

    Attributes:
        student: whom to train.
        draw: which of the repetitions, from 1.

    Source: Breiman 1996, doi:10.1007/BF00058655 (bagging).
    """

    kind: ClassVar[str] = "resampled"

    student: Student
    draw: int

    @property
    def name(self) -> str:
        """`bow (draw 1)`."""
        return f"{self.student.name} (draw {self.draw})"

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """The student's."""
        return self.student.backbones

    @property
    def train(self) -> str:
        """How its student is trained."""
        return trained_how(self.student)

    def check(self, task: Task, split: Split, tests: Mapping[str, Task]) -> None:
        """Whatever its student refuses of the rows that were drawn, of which about 63 % are distinct.

        Raises:
            InputError: see the student's `check`.
        """
        check_student(self.student, n_rows=len(split.weak) // 2, n_classes=task.n_classes)

    def answers(self, rows: Rows) -> Bools:
        """All."""
        return np.ones(len(rows), bool)

    def supervise(self, task: Task, split: Split, targets: Sequence[Rows], *, seed: Seed) -> Supervision:
        """Its own choices are made on a grouped tenth of the weak rows."""
        rows = task.pick(split.weak)
        weights = drawn(rows, f"draw {self.draw} {seed.init}")
        fitted = self.student.fit(rows, task.true_labels(rows), weights=weights, seed=seed)
        labels = tuple(Labels.of(target, fitted.predict(target), source=self.name) for target in targets)
        return Supervision(labels=labels, choices={**fitted.choices, "rows_drawn": int((weights > 0).sum())})


def drawn(rows: Rows, key: str) -> Floats:
    """(n,) how often the group of each row comes up in as many draws with replacement as there are groups.

    The order of the rows does not count.
    """
    first: dict[str, str] = {}
    for group, row_id in zip(rows.groups, rows.ids, strict=True):
        first[group] = min(row_id, first.get(group, row_id))
    groups = sorted(first, key=first.__getitem__)
    draws = hashlib.sha256(key.encode()).digest()
    rng = np.random.default_rng(list(draws))
    counts = dict(zip(groups, rng.multinomial(len(groups), [1 / len(groups)] * len(groups)).tolist(), strict=True))
    return np.array([float(counts[group]) for group in rows.groups])
