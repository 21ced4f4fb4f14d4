"""Planted supervisors that err in places of which we know: as often as another one does, or on a share of the rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from oversight.errors import InputError, unknown
from oversight.models.backbone import Backbone
from oversight.models.student import Student
from oversight.supervision.supervisor import Supervision, Supervisor, Trained, refuse_tests
from oversight.tasks.split import Seed, Split
from oversight.tasks.task import Bools, Floats, Ints, Labels, Rows, Task
from oversight.ties import drawn_choices, right_shares

WEAK = "weak"
STRUCTURES: Mapping[str, str] = {
    WEAK: "where the supervisor itself is wrong",
    "random": "on rows drawn at random",
    "longest": "on the longest prompts, in characters",
    "shortest": "on the shortest prompts, in characters",
    "unconfident": "where the reference is least sure of any class",
    "confident": "where the reference is right and most sure",
}
REFERRED = ("unconfident", "confident")
PLANTED = tuple(name for name in STRUCTURES if name != WEAK)


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Where a planted supervisor errs.

    Attributes:
        structure: one of STRUCTURES but `weak`.
        n_wrong: how many rows, exactly.
        seed: of the draws, and of ties.
    """

    kind: ClassVar[str] = "errors"

    structure: str
    n_wrong: int
    seed: int

    def __post_init__(self) -> None:
        check_structure(self.structure)

    def on(self, rows: Rows, truth: Ints, *, reference: Floats | None = None) -> Bools:
        """(n,) which rows are wrong; a function of the set of rows, whatever their order.

        Args:
            rows: n rows.
            truth: (n,) classes.
            reference: (n, k) probabilities of a model that is good at the task, for `unconfident` and `confident`.
                Where fewer than `n_wrong` rows are right, `confident` goes on with those of which it is least sure.

        Raises:
            InputError: more rows than there are, fewer than none, or a reference that is missing.
        """
        if not 0 <= self.n_wrong <= len(rows):
            raise InputError(
                f"planted:{self.structure}: found {self.n_wrong} rows to be wrong, expected 0 to {len(rows)}"
            )
        wrong = np.zeros(len(rows), bool)
        wrong[self._order(rows, truth, reference)[: self.n_wrong]] = True
        return wrong

    def _order(self, rows: Rows, truth: Ints, reference: Floats | None) -> Ints:
        """Positions, the first to be wrong first; ties by a draw."""
        draws = np.array([draw(f"{self.structure} {self.seed} {row_id}") for row_id in rows.ids])
        if self.structure == "random":
            return np.argsort(draws, kind="stable")
        if self.structure not in REFERRED:
            sign = -1 if self.structure == "longest" else 1
            return np.lexsort((draws, sign * lengths(rows)))
        if reference is None:
            raise InputError(f"planted:{self.structure}: found no reference, expected a model that is good at the task")
        sure, right = reference.max(1), right_shares(reference, truth) == 1
        return np.lexsort((draws, sure)) if self.structure == "unconfident" else _confident_first(draws, sure, right)


def _confident_first(draws: Floats, sure: Floats, right: Bools) -> Ints:
    """Rows that are right, the surest first; then the others, the least sure first."""
    return np.lexsort((draws, np.where(right, -sure, sure), ~right))


def check_structure(name: str) -> None:
    """Refuse what is no place of planted errors.

    Raises:
        InputError: with those that there are.
    """
    if name not in PLANTED:
        raise unknown("structure of errors", name, PLANTED)


def lengths(rows: Rows) -> Ints:
    """(n,) characters of what is shown; both texts of a pair."""
    others = rows.others or [""] * len(rows)
    return np.array([len(text) + len(other) for text, other in zip(rows.texts, others, strict=True)], dtype=np.int64)


def draw(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(f"planted {name}".encode()).digest()[:7], "big") / 2**56


def named(rows: Rows, truth: Ints, wrong: Bools, *, n_classes: int, seed: int) -> Ints:
    """(n,) classes: the truth, and on wrong rows another one, by a draw where there are several."""
    shift = np.array([1 + int(draw(f"class {seed} {row_id}") * (n_classes - 1)) for row_id in rows.ids], dtype=np.int64)
    return np.where(wrong, (truth + shift) % n_classes, truth)


@dataclass(frozen=True, kw_only=True)
class Corrupted:
    """A planted supervisor that is wrong on exactly as many rows of every part as another one, but on other rows.

    It sees the truth: it is a fault that we plant, no supervisor that anyone has. Transfer, validation and test rows
    are planted alike, each with the other's own number of errors there, so the accuracy is one and the same. All give
    one confidence to the class they name, so that nothing but the place of the errors differs. Where classes of the
    other tie, one of them is drawn by the row, and that draw is what the other said.

    Attributes:
        structure: one of STRUCTURES; `weak` keeps the other's own classes.
        like: whose number of errors it has. Rows that it does not answer stay unanswered.
        reference: a model that is good at the task and learned from other rows (`Trained` learns from the weak half);
            for `unconfident` and `confident`.
        confidence: probability of the class named, in (1 / k, 1]; the others share the rest.

    Source: after Burns et al. 2023, arXiv:2312.09390, appendix E.2. Differs: see docs/stress.md.
    """

    kind: ClassVar[str] = "corrupted"

    structure: str
    like: Supervisor
    reference: Supervisor | None = None
    confidence: float = 1.0

    def __post_init__(self) -> None:
        if self.structure not in STRUCTURES:
            raise unknown("structure of errors", self.structure, STRUCTURES)
        if self.structure in REFERRED and self.reference is None:
            raise InputError(f"planted:{self.structure}: found no reference, expected a model that is good at the task")
        if self.structure not in REFERRED and self.reference is not None:
            raise InputError(f"planted:{self.structure}: found a reference, which it does not use; expected none")
        if not 0 < self.confidence <= 1:
            raise InputError(f"planted: found confidence {self.confidence:g}, expected above 1 / k and at most 1")

    @property
    def name(self) -> str:
        """`planted:longest like bow`."""
        return f"planted:{self.structure} like {self.like.name}"

    @property
    def train(self) -> str:
        """Not at all."""
        return "planted"

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """None: its sources read theirs."""
        return ()

    @property
    def sources(self) -> tuple[Supervisor, ...]:
        """The one whose errors are counted, and the reference where it is needed."""
        return (self.like,) if self.reference is None else (self.like, self.reference)

    def check(self, task: Task, split: Split, tests: Mapping[str, Task]) -> None:
        """The truth of every row is read off the task, so there can be no further test sets.

        Raises:
            InputError: there are some, a confidence of no more than chance, or what its sources refuse.
        """
        refuse_tests(self.name, task, tests)
        if not self.confidence > 1 / task.n_classes:
            expected = f"above {1 / task.n_classes:g} with {task.n_classes} classes"
            raise InputError(f"{self.name}: found confidence {self.confidence:g}, expected {expected}")
        for source in self.sources:
            source.check(task, split, tests)

    def answers(self, rows: Rows) -> Bools:
        """Those of the other supervisor."""
        return self.like.answers(rows)

    def supervise(self, task: Task, split: Split, targets: Sequence[Rows], *, seed: Seed) -> Supervision:
        """After its sources have."""
        given = [source.supervise(task, split, targets, seed=seed).labels for source in self.sources]
        return self.derive(task, targets, given, seed=seed)

    def derive(
        self, task: Task, targets: Sequence[Rows], given: Sequence[Sequence[Labels]], *, seed: Seed
    ) -> Supervision:
        """See `Derived.derive`."""
        labels: list[Labels] = []
        for i, rows in enumerate(targets):
            reference = given[1][i].on(rows).probs if len(given) > 1 else None
            labels.append(self._planted(task, rows, given[0][i].on(rows), reference, seed.init))
        wrong = [
            _n_wrong(one.answered, one.probs.argmax(1), task.truth(rows))
            for one, rows in zip(labels, targets, strict=True)
        ]
        answered = [int(one.answered.sum()) for one in labels]
        return Supervision(labels=tuple(labels), choices={"wrong": wrong, "of": answered})

    def _planted(self, task: Task, rows: Rows, like: Labels, reference: Floats | None, seed: int) -> Labels:
        truth = task.truth(rows)
        classes = drawn_choices(like.probs, rows.ids, first=truth)
        if self.structure != WEAK:
            kept = np.flatnonzero(like.answered)
            n_wrong = _n_wrong(like.answered, classes, truth)
            errors = Errors(structure=self.structure, n_wrong=n_wrong, seed=seed)
            wrong = np.zeros(len(rows), bool)
            wrong[kept] = errors.on(
                rows.take(kept), truth[kept], reference=None if reference is None else reference[kept]
            )
            classes = named(rows, truth, wrong, n_classes=task.n_classes, seed=seed)
        rest = (1 - self.confidence) / (task.n_classes - 1)
        probs = np.where(np.eye(task.n_classes)[classes] > 0, self.confidence, rest)
        return Labels.of(rows, probs, source=self.name, answered=like.answered)


def _n_wrong(answered: Bools, classes: Ints, truth: Ints) -> int:
    """Answered rows whose class is not the true one."""
    return int((answered & (classes != truth)).sum())


@dataclass(frozen=True, kw_only=True)
class Mistaken:
    """A planted supervisor that is wrong on a share of the rows of every part, in the place that is named.

    It sees the truth, as `Corrupted` does: of n transfer, validation or test rows exactly round(rate n) are wrong
    (Python's rounding: halves to even), whatever the seed, which draws the rows and breaks ties. All weight is on the
    class named.

    Attributes:
        structure: one of PLANTED.
        rate: the share, in [0, 1).
        reference: a model that is good at the task and learned from other rows, for `unconfident` and `confident`;
            None = the strong model of the arm, trained on the weak half's truth (see `beside`).
    """

    kind: ClassVar[str] = "mistaken"

    structure: str
    rate: float
    reference: Supervisor | None = None

    def __post_init__(self) -> None:
        check_structure(self.structure)
        if not 0 <= self.rate < 1:
            raise InputError(
                f"planted:{self.structure}: found the rate {self.rate:g}, expected a share of rows in [0, 1)"
            )
        if self.structure not in REFERRED and self.reference is not None:
            raise InputError(f"planted:{self.structure}: found a reference, which it does not use; expected none")

    @property
    def name(self) -> str:
        """`planted:longest:0.3`."""
        return f"planted:{self.structure}:{self.rate:g}"

    @property
    def train(self) -> str:
        """Not at all."""
        return "planted"

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """None: its reference reads its own."""
        return ()

    @property
    def sources(self) -> tuple[Supervisor, ...]:
        """The reference, where it is needed."""
        return () if self.reference is None else (self.reference,)

    def beside(self, student: Student) -> Mistaken:
        """The same in an arm with this student, whose model is the reference where one is needed and none given."""
        if self.structure not in REFERRED or self.reference is not None:
            return self
        return replace(self, reference=Trained(student))

    def check(self, task: Task, split: Split, tests: Mapping[str, Task]) -> None:
        """The truth of every row is read off the task, so there can be no further test sets.

        Raises:
            InputError: there are some, a reference that is missing, or what it refuses.
        """
        refuse_tests(self.name, task, tests)
        if self.structure in REFERRED and self.reference is None:
            raise InputError(f"{self.name}: found no reference, expected a model that is good at the task")
        for source in self.sources:
            source.check(task, split, tests)

    def answers(self, rows: Rows) -> Bools:
        """All."""
        return np.ones(len(rows), bool)

    def supervise(self, task: Task, split: Split, targets: Sequence[Rows], *, seed: Seed) -> Supervision:
        """After its reference has."""
        given = [source.supervise(task, split, targets, seed=seed).labels for source in self.sources]
        return self.derive(task, targets, given, seed=seed)

    def derive(
        self, task: Task, targets: Sequence[Rows], given: Sequence[Sequence[Labels]], *, seed: Seed
    ) -> Supervision:
        """See `Derived.derive`."""
        labels: list[Labels] = []
        counts = [round(self.rate * len(rows)) for rows in targets]
        for i, (rows, n_wrong) in enumerate(zip(targets, counts, strict=True)):
            truth = task.truth(rows)
            reference = given[0][i].on(rows).probs if given else None
            errors = Errors(structure=self.structure, n_wrong=n_wrong, seed=seed.init)
            wrong = errors.on(rows, truth, reference=reference)
            classes = named(rows, truth, wrong, n_classes=task.n_classes, seed=seed.init)
            labels.append(Labels.of(rows, np.eye(task.n_classes)[classes], source=self.name))
        return Supervision(labels=tuple(labels), choices={"wrong": counts, "of": [len(rows) for rows in targets]})


def beside(supervisors: Sequence[Supervisor], student: Student) -> tuple[Supervisor, ...]:
    """The supervisors of an arm with this student: planted ones without a reference take its model, others stay."""
    return tuple(one.beside(student) if isinstance(one, Mistaken) else one for one in supervisors)
