"""Who labels: a model trained on a little ground truth, people, or a planted fault."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from oversight.errors import InputError
from oversight.models.backbone import Backbone
from oversight.models.student import Student, check_student, trained_how
from oversight.tasks.split import Seed, Split
from oversight.tasks.task import Bools, Floats, Labels, Rows, Task


@dataclass(frozen=True, kw_only=True)
class Supervision:
    """What a supervisor handed over.

    Attributes:
        labels: one entry per set of rows, in the order asked for.
        choices: what it chose while it learned, ready for JSON.
    """

    labels: tuple[Labels, ...]
    choices: Mapping[str, object]


class Supervisor(Protocol):
    """Labels rows. What it may learn from is `split.weak` with ground truth, nothing else."""

    @property
    def name(self) -> str:
        """What the user called it."""
        ...

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """The frozen networks whose features it reads."""
        ...

    def check(self, task: Task, split: Split, tests: Mapping[str, Task]) -> None:
        """Refuse what `supervise` could not do, before anything is computed.

        Args:
            task: what is learned.
            split: its rows for one seed.
            tests: further test sets by name, on which all roles are scored too.

        Raises:
            InputError: what is missing.
        """
        ...

    def answers(self, rows: Rows) -> Bools:
        """(n,) which rows it will answer. The ceiling learns from the rows that the student learns from."""
        ...

    def supervise(self, task: Task, split: Split, targets: Sequence[Rows], *, seed: Seed) -> Supervision:
        """Label each set of rows in `targets`."""
        ...


@runtime_checkable
class Derived(Protocol):
    """A supervisor whose labels are made of those of others, which are computed once, as steps of their own."""

    @property
    def sources(self) -> tuple[Supervisor, ...]:
        """Whose labels it is made of."""
        ...

    def derive(
        self, task: Task, targets: Sequence[Rows], given: Sequence[Sequence[Labels]], *, seed: Seed
    ) -> Supervision:
        """Label each set of rows in `targets`; `given` are the labels of every source on each of them."""
        ...


@dataclass(frozen=True)
class Trained:
    """The paper's weak supervisor: a small student trained on the weak rows with ground truth."""

    kind: ClassVar[str] = "trained"

    student: Student

    @property
    def name(self) -> str:
        """The student's."""
        return self.student.name

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """The student's."""
        return self.student.backbones

    @property
    def train(self) -> str:
        """How its student is trained."""
        return trained_how(self.student)

    def check(self, task: Task, split: Split, tests: Mapping[str, Task]) -> None:
        """Whatever its student refuses.

        Raises:
            InputError: see the student's `check`.
        """
        check_student(self.student, n_rows=len(split.weak), n_classes=task.n_classes)

    def answers(self, rows: Rows) -> Bools:
        """All."""
        return np.ones(len(rows), bool)

    def supervise(self, task: Task, split: Split, targets: Sequence[Rows], *, seed: Seed) -> Supervision:
        """Its own choices are made on a grouped tenth of the weak rows."""
        rows = task.pick(split.weak)
        fitted = self.student.fit(rows, task.true_labels(rows), seed=seed)
        labels = tuple(Labels.of(target, fitted.predict(target), source=self.name) for target in targets)
        return Supervision(labels=labels, choices=fitted.choices)


@dataclass(frozen=True)
class Given:
    """Labels that exist already, such as people's.

    Attributes:
        labels: of at least all test rows; transfer rows without an answer are not trained on.
        name: what the user called them.
    """

    kind: ClassVar[str] = "given"

    labels: Labels
    name: str

    @property
    def train(self) -> str:
        """Not at all."""
        return "given"

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """None."""
        return ()

    def identity(self) -> dict[str, object]:
        """By content, whatever the file is called."""
        return {"row_ids": self.labels.row_ids, "probs": self.labels.probs, "answered": self.labels.answered}

    def check(self, task: Task, split: Split, tests: Mapping[str, Task]) -> None:
        """All roles are scored on the same rows, so every test row needs an answer, and training some.

        Raises:
            InputError: a test row has no answer, or no transfer or no validation row has one.
        """
        scored = {"test rows": task.pick(split.test)} | {
            f"rows of test '{name}'": one.rows for name, one in tests.items()
        }
        for what, rows in scored.items():
            answered = self._on(rows, task.n_classes).answered
            if not answered.all():
                raise InputError(
                    f"{self.name}: found answers for {int(answered.sum())} of {len(rows)} {what}, expected all; "
                    f"the first without one: {rows.texts[int(answered.argmin())][:60]!r}"
                )
        for part in ("transfer", "validation"):
            ids: tuple[str, ...] = getattr(split, part)
            if not self._on(task.pick(ids), task.n_classes).answered.any():
                raise InputError(f"{self.name}: found no answer for any of the {len(ids)} {part} rows, expected some")

    def answers(self, rows: Rows) -> Bools:
        """Those that have a label."""
        return self._on(rows, self.labels.n_classes).answered

    def supervise(self, task: Task, split: Split, targets: Sequence[Rows], *, seed: Seed) -> Supervision:
        """Joined by id."""
        del split, seed
        labels = tuple(self._on(target, task.n_classes) for target in targets)
        n_answered = sum(int(one.answered.sum()) for one in labels)
        return Supervision(labels=labels, choices={"answered": n_answered, "of": sum(map(len, targets))})

    def _on(self, rows: Rows, n_classes: int) -> Labels:
        position = {row_id: i for i, row_id in enumerate(self.labels.row_ids)}
        index = np.array([position.get(row_id, -1) for row_id in rows.ids])
        answered = (index >= 0) & self.labels.answered[np.maximum(index, 0)]
        probs = np.where(answered[:, None], self.labels.probs[np.maximum(index, 0)], 1 / n_classes)
        return Labels.of(rows, probs, source=self.name, answered=answered)


def refuse_tests(name: str, task: Task, tests: Mapping[str, Task]) -> None:
    """Of a planted supervisor, which reads the truth of every row off the task: there can be no further test sets.

    Raises:
        InputError: there are some.
    """
    if tests:
        raise InputError(f"{name}: knows the truth of {task.name} only, found further tests {', '.join(tests)}")


@dataclass(frozen=True)
class Flipped:
    """A planted fault: the truth, with the class of some rows moved to another one at random.

    Attributes:
        fraction: of rows that are wrong, in [0, 1]; (k - 1) / k is pure chance.
        confidence: probability given to the class named.
    """

    kind: ClassVar[str] = "flipped"

    fraction: float
    confidence: float = 1.0

    def __post_init__(self) -> None:
        for field, value in (("fraction", self.fraction), ("confidence", self.confidence)):
            if not 0 <= value <= 1:
                raise InputError(f"flipped: found {field} {value:g}, expected a number in [0, 1]")

    @property
    def name(self) -> str:
        """`flipped:0.25`."""
        return f"flipped:{self.fraction:g}"

    @property
    def train(self) -> str:
        """Not at all."""
        return "planted"

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """None."""
        return ()

    def check(self, task: Task, split: Split, tests: Mapping[str, Task]) -> None:
        """The truth of every row is read off the task, so there can be no further test sets.

        Raises:
            InputError: there are some.
        """
        refuse_tests(self.name, task, tests)

    def answers(self, rows: Rows) -> Bools:
        """All."""
        return np.ones(len(rows), bool)

    def supervise(self, task: Task, split: Split, targets: Sequence[Rows], *, seed: Seed) -> Supervision:
        """Which rows are wrong depends on their ids and the seed."""
        del split
        labels = tuple(
            Labels.of(rows, self._noisy(rows, task.truth(rows), task.n_classes, seed), source=self.name)
            for rows in targets
        )
        return Supervision(labels=labels, choices={})

    def _noisy(self, rows: Rows, truth: np.ndarray[tuple[int], np.dtype[np.int64]], k: int, seed: Seed) -> Floats:
        draws = [hashlib.sha256(f"flip {seed.init} {row_id}".encode()).digest() for row_id in rows.ids]
        wrong = np.array([int.from_bytes(draw[:7], "big") / 2**56 for draw in draws]) < self.fraction
        shift = np.array([1 + int.from_bytes(draw[8:12], "big") % (k - 1) for draw in draws])
        named = np.where(wrong, (truth + shift) % k, truth)
        return np.where(np.eye(k)[named] > 0, self.confidence, (1 - self.confidence) / (k - 1))
