"""What a method is: it turns weak labels and a student into a trained student, and never sees ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from oversight.errors import InputError
from oversight.models.features import feature_backbone
from oversight.models.student import Fitted, Loss, Student, Validation, cross_entropy, trained_how
from oversight.tasks.split import Seed, cut_by_group
from oversight.tasks.task import Labels, Rows


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a method asks for; the study refuses a method whose needs are not met.

    Attributes:
        supervisors: fewest and most supervisors; None = any number.
        losses: losses that it hands to the student, which must be able to honour them.
        students: further students it trains on the way, so that their features are ready.
        generation: whether the student must write text.
        features: whether it reads the features of the student's network (`models.features.features`), however the
            student is trained.
        trains: ways of training that it runs on (`probe`, `full`, `lora`, `lp-ft`); empty = all.
        classes: most classes that its definition covers; None = any number.
        missing: what it lacks as it is set up, and how to give it; such a method cannot run.
    """

    kind: ClassVar[str] = "needs"

    supervisors: tuple[int, int | None] = (1, 1)
    losses: tuple[Loss, ...] = ()
    students: tuple[Student, ...] = ()
    generation: bool = False
    features: bool = False
    trains: tuple[str, ...] = ()
    classes: int | None = None
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class WeakData:
    """All that a method may use: rows without truth, and what the supervisors said of them.

    Attributes:
        rows: the transfer rows.
        labels: labels of those rows, one entry per supervisor.
        validation: rows for choices.
        validation_labels: labels of those, in the same order of supervisors.
    """

    kind: ClassVar[str] = "weak_data"

    rows: Rows
    labels: tuple[Labels, ...]
    validation: Rows
    validation_labels: tuple[Labels, ...]

    @property
    def only(self) -> Labels:
        """The labels of the one supervisor.

        Raises:
            InputError: there are several.
        """
        return _only(self.labels)

    @property
    def checks(self) -> Validation:
        """Validation rows with the labels of the one supervisor.

        Raises:
            InputError: there are several.
        """
        return Validation(rows=self.validation, labels=_only(self.validation_labels))

    def relabelled(self, labels: Labels, validation_labels: Labels) -> WeakData:
        """The same rows under another supervisor, such as an intermediate student."""
        return WeakData(
            rows=self.rows, labels=(labels,), validation=self.validation, validation_labels=(validation_labels,)
        )

    def parts(self, n: int, *, seed: int) -> tuple[WeakData, ...]:
        """The transfer rows in `n` disjoint parts, cut by group; each keeps all validation rows.

        For chains: every hop labels rows on which its own supervisor was not trained.
        """
        part = cut_by_group(
            self.rows.groups, np.zeros(len(self.rows), np.int64), [1 / n] * n, seed=f"part {seed}", names=self.rows.ids
        )
        return tuple(self.on(self.rows.take(np.flatnonzero(part == i))) for i in range(n))

    def on(self, rows: Rows) -> WeakData:
        """The same data restricted to these transfer rows."""
        return WeakData(
            rows=rows,
            labels=tuple(labels.on(rows) for labels in self.labels),
            validation=self.validation,
            validation_labels=self.validation_labels,
        )


def _only(labels: Sequence[Labels]) -> Labels:
    if len(labels) != 1:
        raise InputError(f"found {len(labels)} supervisors, expected one; choose a method for several")
    return labels[0]


class Method(Protocol):
    """One way to use weak labels."""

    @property
    def needs(self) -> Needs:
        """What it asks for."""
        ...

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """Train `student`; it has no way to ground truth."""
        ...


@runtime_checkable
class OracleMethod(Protocol):
    """A method that peeks. Its name begins with `oracle_` and it is marked in every table."""

    @property
    def needs(self) -> Needs:
        """What it asks for."""
        ...

    def train_with_truth(self, student: Student, data: WeakData, truth: Labels, *, seed: Seed) -> Fitted:
        """Train `student`; `truth` holds true labels of the transfer and validation rows, never of the test."""
        ...


@dataclass(frozen=True)
class WithLoss:
    """Minimise one loss on the labels of one supervisor.

    Attributes:
        loss: a function of (logits, targets, progress); see `Loss`.
    """

    kind: ClassVar[str] = "with_loss"

    loss: Loss = cross_entropy

    @property
    def needs(self) -> Needs:
        """One supervisor, a student that takes the loss, and no more classes than the loss, where it has a limit."""
        return Needs(losses=(self.loss,), classes=getattr(self.loss, "classes", None))

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        return student.fit(data.rows, data.only, validation=data.checks, loss=self.loss, seed=seed)


def check_needs(
    name: str, method: Method | OracleMethod, student: Student, *, n_supervisors: int, n_classes: int | None = None
) -> None:
    """Refuse a method whose needs are not met, before anything is computed.

    Raises:
        InputError: which need, what there is.
    """
    _check_student(name, method.needs, student)
    if n_classes is not None and n_classes > (method.needs.classes or n_classes):
        raise InputError(f"method {name}: is defined for at most {method.needs.classes} classes, found {n_classes}")
    least, most = method.needs.supervisors
    if n_supervisors < least or (most is not None and n_supervisors > most):
        wanted = f"{least}" if most == least else f"{least} or more" if most is None else f"{least} to {most}"
        noun = "supervisor" if wanted == "1" else "supervisors"
        raise InputError(f"method {name}: needs {wanted} {noun}, found {n_supervisors}")
    if isinstance(method, OracleMethod) and not name.startswith("oracle_"):
        raise InputError(f"method {name}: it sees ground truth, so its name must begin with 'oracle_'")
    if method.needs.generation and not hasattr(student, "generate"):
        raise InputError(
            f"method {name}: needs a student that writes text, found {student.name}, which only classifies"
        )
    for loss in method.needs.losses:
        student.check_loss(loss)


def _check_student(name: str, needs: Needs, student: Student) -> None:
    if needs.missing:
        raise InputError(f"method {name}: {needs.missing}")
    train = trained_how(student)
    if needs.trains and train not in needs.trains:
        raise InputError(f"method {name}: runs on {', '.join(needs.trains)}, found a student trained by {train}")
    if needs.features and feature_backbone(student) is None:
        raise InputError(f"method {name}: needs a student with features, found {student.name}, which has none")


def mean_labels(labels: Sequence[Labels], *, source: str) -> Labels:
    """The plain mean of several supervisors' probabilities over those who answered."""
    first = labels[0]
    same = [one for one in labels if one.row_ids == first.row_ids]
    if len(same) != len(labels):
        raise ValueError("mean_labels: the supervisors labelled different rows")
    given = np.stack([one.answered for one in labels]).astype(float)[:, :, None]
    total = (np.stack([one.probs for one in labels]) * given).sum(0)
    count = given.sum(0)
    probs = np.where(count > 0, total / np.maximum(count, 1), 1 / first.n_classes)
    return Labels(row_ids=first.row_ids, probs=probs, answered=count[:, 0] > 0, source=source)
