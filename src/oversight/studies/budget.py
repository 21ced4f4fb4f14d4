"""Mixing in ground truth: n bought true labels and m weak ones of the transfer rows, as a graph of steps.

After the cost sweeps of Mallen and Belrose 2024 (arXiv:2410.13215). What differs is told in docs/budget.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from oversight.errors import InputError
from oversight.methods.method import Method, WithLoss
from oversight.methods.mixing import WAYS, WEIGHTS
from oversight.models.student import check_student
from oversight.runs.graph import Graph
from oversight.runs.steps import Step
from oversight.studies.kinds import KINDS
from oversight.studies.places import NO_NAIVE
from oversight.studies.plan import Plan
from oversight.studies.shelf import fits_kept_in
from oversight.studies.weak_to_strong import Campaign, Scored, Setup
from oversight.supervision.bought import Bought
from oversight.supervision.supervisor import Supervisor
from oversight.tasks.split import Seed, buying_order

ALL = "all"
FIRST_TRUE, TRUE_TIMES = 16, 4
FIRST_WEAK, WEAK_TIMES = 64, 16
FEWEST_OTHERS = "there are fewer other rows with a weak label"
Numbers = tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True)
class Mix:
    """A cell of the grid.

    Attributes:
        n_true: bought labels; None = of all transfer rows.
        n_weak: weak labels of other rows; None = of all that the supervisor answers.
        way: a name of `methods.mixing.WAYS`; empty where there is one kind of labels only.
        by: whether `rows` or whole `groups` are bought, see `tasks.split.buying_order`.
        weights: that way's, where it has any.
    """

    n_true: int | None
    n_weak: int | None
    way: str = ""
    by: str = "rows"
    weights: tuple[float, ...] = WEIGHTS

    @property
    def is_naive(self) -> bool:
        """All weak labels and no true one: the naive study itself."""
        return (self.n_true, self.n_weak) == (0, None)

    @property
    def name(self) -> str:
        """`64 true + all weak, weighted`."""
        counts = (("true", self.n_true), ("weak", self.n_weak))
        text = " + ".join(f"{ALL if n is None else n} {kind}" for kind, n in counts if n != 0)
        return f"{text}, {self.way}" if self.way else text

    @property
    def method(self) -> Method:
        """What the student is taught by: the supervisor's labels, and where it is not naive the bought ones."""
        if self.is_naive:
            return WithLoss()
        return WAYS[self.way or "pooled"](self.n_weak, self.by, self.weights)


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How the two kinds of labels are combined, and which are bought.

    Attributes:
        ways: names of `methods.mixing.WAYS`.
        by: `rows` or `groups`.
        weights: of a true label, for `weighted`.
    """

    ways: tuple[str, ...] = ("weighted",)
    by: str = "rows"
    weights: tuple[float, ...] = WEIGHTS

    def mix(self, n_true: int | None, n_weak: int | None, way: str = "") -> Mix:
        """A cell; `way` where there are both kinds."""
        return Mix(n_true=n_true, n_weak=n_weak, way=way, by=self.by, weights=self.weights)


@dataclass(frozen=True)
class Available:
    """Transfer rows of one seed.

    Attributes:
        answered: (n,) in the order in which true labels are bought: which rows the supervisor answers.
        n_supervisor: rows of the weak part.
        n_validation: validation rows.
    """

    answered: np.ndarray[tuple[int], np.dtype[np.bool_]]
    n_supervisor: int
    n_validation: int

    def counts(self, mix: Mix) -> tuple[int, int]:
        """True and weak labels that a cell uses; fewer weak ones than it asks for where there are no more."""
        n_true = len(self.answered) if mix.n_true is None else mix.n_true
        n_others = int(self.answered[n_true:].sum())
        return n_true, n_others if mix.n_weak is None else min(mix.n_weak, n_others)


def available_rows(setup: Setup, *, by: str) -> tuple[Available, ...]:
    """By seed, from what can be bought, by `rows` or `groups`; nothing is computed.

    Raises:
        InputError: the task cannot be cut.
    """
    plan, supervisor = Plan(setup.task), only_supervisor(setup)
    found: list[Available] = []
    for seed in setup.seeds:
        split, rows = plan.split(seed), plan.parts(seed)["transfer"]
        answered = supervisor.answers(rows)[buying_order(rows, seed=seed, by=by)]
        found.append(Available(answered, len(split.weak), len(split.validation)))
    return tuple(found)


def only_supervisor(setup: Setup) -> Supervisor:
    """The one of the only arm.

    Raises:
        InputError: there are several.
    """
    (arm,) = setup.arms
    if len(arm.supervisors) != 1:
        raise InputError(f"budget: found {len(arm.supervisors)} supervisors ({arm.weak_name}), expected one")
    return arm.supervisors[0]


def ladder(first: int, n: int, *, times: int) -> Numbers:
    """0, `first`, and `times` as many again and again as long as they are fewer than n; then all."""
    found = [0]
    while first < n:
        found.append(first)
        first *= times
    return (*found, None)


def grid(
    setup: Setup,
    available: Sequence[Available],
    *,
    true: Numbers | None,
    weak: Numbers | None,
    mixing: Mixing,
) -> tuple[tuple[Mix, ...], dict[str, str]]:
    """Every mixture, the naive one first, each number of true labels also alone; and those left out, with the reason.

    Args:
        setup: one task, one arm.
        available: see `available_rows`.
        true, weak: numbers of labels, None in them = all; None = a ladder.
        mixing: how to combine, where both kinds are there.

    Raises:
        InputError: more labels than there are rows, or nothing but the naive cell is left.
    """
    n = min(len(one.answered) for one in available)
    n_answered = min(int(one.answered.sum()) for one in available)
    true = ladder(FIRST_TRUE, n, times=TRUE_TIMES) if true is None else true
    weak = ladder(FIRST_WEAK, n_answered, times=WEAK_TIMES) if weak is None else weak
    for flag, numbers, most in (("--true", true, n), ("--weak-labels", weak, n_answered)):
        large = [one for one in numbers if one is not None and one > most]
        if large:
            raise InputError(
                f"{flag}: found {large[0]}, expected at most the {most} transfer rows of {setup.task.name}"
            )
    wanted = [mixing.mix(0, None)]
    for n_true in true:
        wanted += [mixing.mix(n_true, 0)] if n_true != 0 else []
        for n_weak in weak if n_true is not None else ():
            if n_weak != 0:
                several = mixing.ways if n_true != 0 else ("",)
                wanted += [mixing.mix(n_true, n_weak, way) for way in several]
    kept: list[Mix] = []
    left_out: dict[str, str] = {}
    for mix in dict.fromkeys(wanted):
        why = _why_not(setup, mix, available)
        if why is None:
            kept.append(mix)
        else:
            left_out[mix.name] = why
    if len(kept) < 2:
        raise InputError(f"budget: no mixture can be run: {next(iter(left_out.values()), 'none was asked for')}")
    return tuple(kept), left_out


def _why_not(setup: Setup, mix: Mix, available: Sequence[Available]) -> str | None:
    """Why a cell cannot be run; None where it can."""
    counts = [pool.counts(mix) for pool in available]
    if mix.n_weak is not None and any(n_weak < mix.n_weak for _, n_weak in counts):
        return FEWEST_OTHERS
    (arm,) = setup.arms
    try:
        for n_true, n_weak in counts:
            check_student(arm.student, n_rows=n_true + n_weak, n_classes=setup.task.n_classes)
    except InputError as error:
        if mix.is_naive:
            raise
        return str(error)
    return None


def plan_budget(setup: Setup, mixes: Sequence[Mix], *, keep_models: bool = True) -> Campaign:
    """A score of every mixture, down to the features; nothing is computed. Mixtures share all that they can.

    Args:
        setup: one task, one arm; its method is not used.
        mixes: from `grid`.
        keep_models: whether the store also keeps fine-tuned weights.

    Raises:
        InputError: the supervisor has not what it takes.
    """
    plan, supervisor = Plan(setup.task), only_supervisor(setup)
    for seed in setup.seeds:
        supervisor.check(setup.task, plan.split(seed), {})
    bought = {n: Bought(n, mixes[0].by) for n in dict.fromkeys(mix.n_true for mix in mixes)}
    scored = tuple(_scored(plan, setup, mix, bought) for mix in mixes)
    graph = Graph(
        goals=tuple(one.step for one in scored),
        kinds=KINDS,
        env_of=lambda step: plan,
        around=lambda store: fits_kept_in(store, keep_models=keep_models),
        beside=tuple(dict.fromkeys(before for one in scored for before in one.step.inputs)),
    )
    return Campaign(scored=scored, graph=graph, keep_models=keep_models)


def _scored(plan: Plan, setup: Setup, mix: Mix, bought: Mapping[int | None, Bought]) -> Scored:
    (old,) = setup.arms
    arm = replace(old, method=mix.method, method_name=mix.name)
    supervisor, anyone = arm.supervisors[0], next(iter(bought.values()))

    def run(seed: Seed) -> tuple[tuple[Step, ...], Step, Step]:
        weak = plan.supervise(supervisor, seed)
        given = [weak] if mix.is_naive else [weak, plan.supervise(bought[mix.n_true], seed)]
        student = plan.teach(arm.student, arm.method, given, seed, name=mix.name)
        return (weak,), student, plan.teach_truth(arm.student, (supervisor, anyone), seed)

    runs = tuple(run(seed) for seed in setup.seeds)
    name = f"{arm.weak_name}, {mix.name}"
    step = plan.score(runs, setup.seeds, test="test", metric=setup.metric, scope=setup.scope, name=name, naive=NO_NAIVE)
    return Scored(setup=setup, arm=arm, test="test", step=step, rows=step.inputs[-1], runs=runs)
