"""Probes of several students side by side: what they ask of the same rows is solved in one batch.

Nobody has to say beforehand what a method will fit. Each job runs until it asks for a solution that is not there yet;
when all have come to such a place, everything they asked for is solved at once, and they begin again, now finding it.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from oversight.models.backbone import Backbone
from oversight.models.features import features
from oversight.models.student import Loss, cross_entropy
from oversight.tasks.task import Floats, Rows

if TYPE_CHECKING:
    from oversight.models.solver import Design, Solution

T = TypeVar("T")
KEPT_BYTES = 1 << 29
SIDE_BY_SIDE = 128
MOST_TURNS = 50


@dataclass(frozen=True, eq=False)
class Place:
    """Where problems lie: rows under a backbone.

    Attributes:
        weights: (n,) at least 0; None = equal.
    """

    backbone: Backbone
    rows: Rows
    weights: Floats | None = None

    @cached_property
    def key(self) -> tuple[Hashable, ...]:
        """Equal where backbone, row ids and weights are."""
        return (self.backbone, self.rows.ids, None if self.weights is None else _sha256(self.weights))

    def content(self) -> Hashable:
        """Equal where the answers are, wherever the network lies and whatever lies there by now."""
        return (tuple(self.backbone.identity().items()), *self.key[1:])

    def design(self) -> Design:
        """The rows decomposed."""
        from oversight.models.solver import Design

        x = features(self.backbone, self.rows)
        return Design(x, weights=self.weights, intercept=self.rows.others is None)


@dataclass(frozen=True, eq=False)
class Request:
    """What a probe asks for: for each penalty the solution or, with a loss that is not cross-entropy, the path.

    Attributes:
        targets: (n, k) probabilities.
    """

    place: Place
    targets: Floats
    penalties: tuple[float, ...]
    loss: Loss = cross_entropy

    @cached_property
    def key(self) -> Hashable:
        """Equal where the answers are."""
        return (self.place.key, self.targets.shape, _sha256(self.targets), self.penalties, _loss_key(self.loss))


@dataclass(frozen=True)
class Answer:
    """To a request, and the seconds of its batch that fall to it."""

    solution: Solution
    seconds: float


def solutions(requests: Sequence[Request]) -> list[Solution]:
    """The answer to each request; among jobs that run `together`, once the others have come as far.

    With whom a problem is solved moves its probabilities by less than 1e-6; with the libraries measured, by nothing.
    """
    bank = _BANK.get()
    return [one.solution for one in _solve(requests)] if bank is None else bank.find(requests)


@dataclass(frozen=True)
class Done(Generic[T]):
    """A job that is done.

    Attributes:
        result: what it returned.
        seconds: its last, unbroken run, and of every batch that it asked for as much as falls to one problem times the
            problems that it asked for: about what it takes among others, whoever asked for the same.
    """

    result: T
    seconds: float


def together(jobs: Sequence[Callable[[], T]]) -> list[Done[T]]:
    """What each job returns. SIDE_BY_SIDE at a time share the `solutions` that they ask for.

    A job must do the same every time, as it begins again after every wait. One that still waits after MOST_TURNS is run
    by itself. Features that it reads must be known around this call (see `features.using`).
    """
    if len(jobs) == 1:
        return [_timed(jobs[0])]
    found: list[Done[T]] = []
    for start in range(0, len(jobs), SIDE_BY_SIDE):
        found += _in_turns(jobs[start : start + SIDE_BY_SIDE])
    return found


def _timed(job: Callable[[], T]) -> Done[T]:
    began = time.monotonic()
    return Done(job(), time.monotonic() - began)


def _in_turns(jobs: Sequence[Callable[[], T]]) -> list[Done[T]]:
    bank = _Bank()
    done: dict[int, Done[T]] = {}
    for _ in range(MOST_TURNS):
        with bank.open():
            for i in range(len(jobs)):
                if i not in done:
                    with contextlib.suppress(_Waiting):
                        own = _timed(jobs[i])
                        done[i] = Done(own.result, own.seconds + bank.seconds_found())
        if len(done) == len(jobs):
            break
        bank.solve()
    return [done[i] if i in done else _timed(job) for i, job in enumerate(jobs)]


@contextlib.contextmanager
def alone() -> Generator[None]:
    """Within this block what is asked for is solved at once: for a job whose many fits share no rows with others'."""
    token = _BANK.set(None)
    try:
        yield
    finally:
        _BANK.reset(token)


class _Waiting(BaseException):
    """A job asked for what is not solved yet. No error, so that no method takes it for one."""


class _Bank:
    """What was asked for, and what of it is solved."""

    def __init__(self) -> None:
        self._asked: dict[Hashable, Request] = {}
        self._solved: dict[Hashable, Answer] = {}
        self._found: set[Hashable] = set()

    @contextlib.contextmanager
    def open(self) -> Generator[None]:
        """Within this block `solutions` asks here."""
        token = _BANK.set(self)
        try:
            yield
        finally:
            _BANK.reset(token)

    def find(self, requests: Sequence[Request]) -> list[Solution]:
        """The answers.

        Raises:
            _Waiting: one is not there yet.
        """
        new = {one.key: one for one in requests if one.key not in self._solved}
        if new:
            self._asked |= new
            self._found.clear()
            raise _Waiting
        self._found |= {one.key for one in requests}
        return [self._solved[one.key].solution for one in requests]

    def seconds_found(self) -> float:
        """That the answers took which were found since this was asked last, or since somebody had to wait."""
        seconds = sum(self._solved[key].seconds for key in self._found)
        self._found.clear()
        return seconds

    def solve(self) -> None:
        """Answer all that was asked."""
        self._solved |= zip(self._asked, _solve(list(self._asked.values())), strict=True)
        self._asked.clear()


_BANK: ContextVar[_Bank | None] = ContextVar("bank", default=None)


def _solve(requests: Sequence[Request]) -> list[Answer]:
    """Those at the same place in one batch if they want solutions, in another if they want paths, of any losses."""
    from oversight.models.solver import joined

    batches: dict[Hashable, list[int]] = {}
    for i, one in enumerate(requests):
        batches.setdefault((one.place.key, one.loss is cross_entropy, one.targets.shape[1]), []).append(i)
    found: dict[int, Answer] = {}
    for batch in batches.values():
        some = [requests[i] for i in batch]
        design = designs.at(some[0].place)  # not timed: whoever comes first would pay for all
        began = time.monotonic()
        targets = [one.targets for one in some for _ in one.penalties]
        penalties = [penalty for one in some for penalty in one.penalties]
        if some[0].loss is not cross_entropy:
            paths = iter(design.paths(targets, penalties, [one.loss for one in some for _ in one.penalties]))
            answers = [joined([next(paths) for _ in one.penalties]) for one in some]
        else:
            answers = design.solve(targets, penalties).split([len(one.penalties) for one in some])
        each = (time.monotonic() - began) / len(penalties)
        costs = [each * len(one.penalties) for one in some]
        found |= zip(batch, map(Answer, answers, costs), strict=True)
    return [found[i] for i in range(len(requests))]


class Designs:
    """Decompositions at hand; the least recently used are forgotten where they hold more than KEPT_BYTES together."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Design] = OrderedDict()

    def at(self, place: Place) -> Design:
        """The one of this place."""
        content = place.content()
        found = self._kept.pop(content, None) or place.design()
        self._kept[content] = found
        while len(self._kept) > 1 and sum(one.nbytes for one in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return found

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()


designs = Designs()


def _loss_key(loss: Loss) -> Hashable:
    """The loss itself, so that equal settings are equal; where it has no hash, this object only."""
    try:
        hash(loss)
    except TypeError:
        return id(loss)
    return loss


def _sha256(array: Floats) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()
