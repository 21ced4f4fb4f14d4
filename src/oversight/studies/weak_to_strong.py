"""Weak-to-strong generalization (Burns et al. 2023, arXiv:2312.09390), from top to bottom.

A weak supervisor labels; a strong student learns from the labels; a sealed test says how much of the gap was recovered.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from oversight.errors import StoreError
from oversight.methods.method import Method, OracleMethod, WithLoss, check_needs
from oversight.metrics.pool import NEW_ROWS, ONE_SPLIT, THESE_ROWS, Scope
from oversight.models.student import Student, check_student, trained_how
from oversight.reports.result import Result, Study, TestRows
from oversight.runs.drive import run_graph
from oversight.runs.graph import Graph
from oversight.runs.kept import Kept, keep
from oversight.runs.provenance import FromStore, Record, provenance, records_in
from oversight.runs.steps import Progress, Step
from oversight.runs.store import DirectoryStore, MemoryStore, Store
from oversight.runs.workshop import outcome_of
from oversight.studies.baselines import Baseline, baselines
from oversight.studies.kinds import KINDS
from oversight.studies.leaks import with_suspicions
from oversight.studies.places import IS_NAIVE, NO_NAIVE
from oversight.studies.plan import Plan
from oversight.studies.pooled import pooled_over_questions
from oversight.studies.shelf import fits_kept_in
from oversight.studies.stored import MADE_FROM_TRUTH, stored_rows, study_of
from oversight.supervision.corruption import beside
from oversight.supervision.supervisor import Derived, Supervisor
from oversight.tasks.split import Seed
from oversight.tasks.task import Task

OF_THIS_RUN = ("store", "seconds")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One supervisor (or several, for methods that take several), one student, one method.

    Attributes:
        supervisors: who labels; several are scored by the mean of their probabilities.
        student: who learns from the labels, and from ground truth as the ceiling.
        method: how the labels are used.
        method_name: as shown; that of a method that sees ground truth begins with `oracle_`.
    """

    supervisors: tuple[Supervisor, ...]
    student: Student
    method: Method | OracleMethod
    method_name: str

    @property
    def weak_name(self) -> str:
        """`bow`, or `bow+minilm@0`."""
        return "+".join(supervisor.name for supervisor in self.supervisors)

    @property
    def weak_train(self) -> str:
        """How the supervisors are trained: `full`, or `bow+probe`."""
        return "+".join(dict.fromkeys(trained_how(supervisor) for supervisor in self.supervisors))

    @property
    def planted(self) -> bool:
        """Whether some supervisor's labels are made from the truth of the rows that it labels."""
        return any(map(made_from_truth, self.supervisors))


def made_from_truth(supervisor: Supervisor) -> bool:
    """Whether its labels are planted, bought, or derived from such labels."""
    sources = supervisor.sources if isinstance(supervisor, Derived) else ()
    return trained_how(supervisor) in MADE_FROM_TRUTH or any(map(made_from_truth, sources))


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A study before it is run.

    Attributes:
        task: what is learned.
        arms: what is compared.
        seeds: one training of every role per entry.
        tests: further test sets by name.
        metric: of gap and PGR; None = accuracy, balanced where a class is too common.
        baselines: whether those of every supervisor and student are run too.
        planted: whether the rows themselves give their true class away, on purpose.
        covers: `new-rows` or `these-rows`: whether intervals speak of the recipe on new pools of training rows.
    """

    task: Task
    arms: tuple[Arm, ...]
    seeds: tuple[Seed, ...]
    tests: Mapping[str, Task] = field(default_factory=dict[str, Task])
    metric: str | None = None
    baselines: bool = False
    planted: bool = False
    covers: Scope = NEW_ROWS

    @property
    def scope(self) -> Scope:
        """Of what intervals can speak: seeds that all cut the pool alike tell nothing of other cuts or pools."""
        if len(self.seeds) == 1:
            return THESE_ROWS
        return ONE_SPLIT if len({seed.split for seed in self.seeds}) == 1 else self.covers


@dataclass(frozen=True, kw_only=True)
class Scored:
    """An arm on one test set, and the step that gives its numbers."""

    setup: Setup
    arm: Arm
    test: str
    step: Step
    rows: Step
    runs: tuple[tuple[tuple[Step, ...], Step, Step], ...]

    @cached_property
    def names(self) -> dict[str, Any]:
        """What a study is called and where its results are, known before anything is computed; JSON."""
        arm, setup = self.arm, self.setup
        own = setup.task if self.test == "test" else setup.tests[self.test]
        return {
            "task": setup.task.name,
            "test": self.test,
            "weak_model": arm.weak_name,
            "strong_model": arm.student.name,
            "method": arm.method_name,
            "train": trained_how(arm.student),
            "weak_train": arm.weak_train,
            "oracle": isinstance(arm.method, OracleMethod),
            "planted": setup.planted or arm.planted,
            "seeds": len(setup.seeds),
            "warnings": list(dict.fromkeys((*setup.task.warnings, *own.warnings))),
            **({} if setup.task.question_of is None else {"question_of": setup.task.question_of}),
            "keys": {
                "score": [self.step.key],
                "weak": [step.key for labels, _, _ in self.runs for step in labels],
                "student": [student.key for _, student, _ in self.runs],
                "ceiling": [ceiling.key for _, _, ceiling in self.runs],
                "rows": [self.rows.key],
            },
        }


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """Several studies as one graph of steps.

    Attributes:
        scored: every arm of every setup on every test set.
        graph: of all their steps; shared ones are there once.
        keep_models: whether the store also keeps fine-tuned weights.
        shown: baselines by setup (its `id`), supervisor and student.
        found: records of steps that were in the store when it began.
    """

    scored: tuple[Scored, ...]
    graph: Graph
    keep_models: bool
    shown: Mapping[tuple[int, str, str], tuple[Baseline, ...]] = field(
        default_factory=dict[tuple[int, str, str], tuple[Baseline, ...]]
    )
    found: Mapping[str, Record] = field(default_factory=dict[str, Record])

    @property
    def from_store(self) -> FromStore | None:
        """What of all its steps had been in the store when it began."""
        return provenance(self.found, self.graph.steps)

    def baselines(self, one: Scored) -> tuple[Baseline, ...]:
        """Those that stand beside a study."""
        return self.shown.get((id(one.setup), one.arm.weak_name, one.arm.student.name), ())

    def kept(self, title: str, about: Mapping[str, Any]) -> Kept:
        """What is asked for, to be written down in the store; `about` says by which command."""
        return Kept(
            title=title,
            about={name: value for name, value in about.items() if name not in OF_THIS_RUN},
            goals=tuple(dict.fromkeys(one.step.key for one in self.scored)),
            steps=tuple(self.graph.steps),
            studies=tuple(one.names for one in self.scored),
        )

    def result(self, store: Store, *, about: Mapping[str, Any] | None = None) -> tuple[Result, int]:
        """The finished studies, and how many are not finished.

        Raises:
            StoreError: one is damaged and cannot be removed.
        """
        studies: list[Study] = []
        by_key: dict[str, Scored] = {}
        for one in self.scored:
            outcome = outcome_of(store, one.step.key)
            if outcome is not None:
                studies.append(self._with_provenance(study_of(one.names, outcome.record)))
                by_key[one.step.key] = one

        def rows_of(study: Study) -> TestRows:
            behind = replace(self.graph, goals=by_key[study.keys["score"][0]].step.inputs, beside=())
            run_graph(behind, store=store)  # what was damaged since is made again
            return stored_rows(store, study)

        suspected = with_suspicions(studies)
        pooled = pooled_over_questions(suspected)
        found = Result(studies=suspected, pooled=pooled, about=about or {}, rows_of=rows_of)
        return found, len(self.scored) - len(studies)

    def _with_provenance(self, study: Study) -> Study:
        told = provenance(self.found, (key for keys in study.keys.values() for key in keys))
        return study if told is None else replace(study, from_store=told.as_json())


def plan_study(setup: Setup) -> tuple[Plan, list[Scored]]:
    """Every arm on every test set as a step, down to the features; nothing is computed.

    Raises:
        InputError: a method's needs are not met, or a supervisor has not what it takes.
    """
    plan = Plan(setup.task, setup.tests)
    scored: list[Scored] = []
    for seed in setup.seeds:
        plan.split(seed)
    naive: dict[tuple[int, ...], tuple[Step, ...]] = {}
    by_arm: list[tuple[Arm, list[tuple[tuple[Step, ...], Step, Step]]]] = []
    for arm in setup.arms:
        check_needs(
            arm.method_name,
            arm.method,
            arm.student,
            n_supervisors=len(arm.supervisors),
            n_classes=setup.task.n_classes,
        )
        for seed in setup.seeds:
            for supervisor in arm.supervisors:
                supervisor.check(setup.task, plan.split(seed), setup.tests)
            check_student(arm.student, n_rows=len(plan.split(seed).transfer), n_classes=setup.task.n_classes)
        runs: list[tuple[tuple[Step, ...], Step, Step]] = []
        for seed in setup.seeds:
            labels = tuple(plan.supervise(supervisor, seed) for supervisor in arm.supervisors)
            student = plan.teach(arm.student, arm.method, labels, seed, name=arm.method_name)
            ceiling = plan.teach_truth(arm.student, arm.supervisors, seed)
            runs.append((labels, student, ceiling))
        by_arm.append((arm, runs))
        if arm.method == WithLoss():
            naive[_pair(arm)] = tuple(student for _, student, _ in runs)
    for arm, runs in by_arm:
        name = f"{arm.weak_name} -> {arm.student.name}, {arm.method_name}"
        beside = IS_NAIVE if arm.method == WithLoss() else naive.get(_pair(arm), NO_NAIVE)
        for test in ("test", *setup.tests):
            step = plan.score(
                runs, setup.seeds, test=test, metric=setup.metric, scope=setup.scope, name=name, naive=beside
            )
            scored.append(Scored(setup=setup, arm=arm, test=test, step=step, rows=step.inputs[-1], runs=tuple(runs)))
    return plan, scored


def _pair(arm: Arm) -> tuple[int, ...]:
    """Supervisors and student, as objects."""
    return tuple(id(one) for one in (*arm.supervisors, arm.student))


def plan_studies(setups: Sequence[Setup], *, keep_models: bool = True) -> Campaign:
    """Several studies as one graph, with the baselines that they ask for.

    Raises:
        InputError: see `plan_study`.
    """
    home: dict[str, Plan] = {}
    scored: list[Scored] = []
    shown: dict[tuple[int, str, str], tuple[Baseline, ...]] = {}
    for setup in setups:
        plan, found = plan_study(setup)
        scored += found
        pairs = {(arm.weak_name, arm.student.name): arm for arm in setup.arms} if setup.baselines else {}
        for pair, arm in pairs.items():
            shown[id(setup), *pair] = baselines(plan, arm.supervisors, arm.student, setup.seeds)
        for key in plan.objects:
            home.setdefault(key, plan)
    extra = [step for every in shown.values() for one in every for step in one.steps]
    graph = Graph(
        goals=tuple(one.step for one in scored),
        kinds=KINDS,
        env_of=lambda step: home[step.key],
        around=lambda store: fits_kept_in(store, keep_models=keep_models),
        beside=tuple(dict.fromkeys((*(before for one in scored for before in one.step.inputs), *extra))),
    )
    return Campaign(scored=tuple(scored), graph=graph, keep_models=keep_models, shown=shown)


def run_study(
    setup: Setup | Sequence[Setup],
    *,
    store: Store | None = None,
    progress: Progress | None = None,
    about: Mapping[str, Any] | None = None,
    keep_models: bool = True,
) -> Result:
    """Run what the store does not have and put the numbers together.

    Args:
        setup: what to run; one for each of several questions.
        store: where results, and the checkpoints of unfinished fits, are kept; None = in memory.
        progress: told what is being done.
        about: what the result says of itself.
        keep_models: whether the store also keeps fine-tuned weights, so that a further test set needs no training.
    """
    to = MemoryStore() if store is None else store
    campaign = begin_study(setup, store=to, about=about, keep_models=keep_models)
    return finish_study(campaign, store=to, progress=progress, about=about)


def begin_study(
    setup: Setup | Sequence[Setup], *, store: Store, about: Mapping[str, Any] | None = None, keep_models: bool = True
) -> Campaign:
    """Plan a study and write down in the store what is asked for; nothing is computed. Arguments: see `run_study`."""
    setups = each(setup)
    campaign = plan_studies(setups, keep_models=keep_models)
    name = setups[0].task.question_of if len(setups) > 1 else setups[0].task.name
    write_down(store, campaign.kept(f"w2s {name}", {**(about or {}), "made": now()}))
    return replace(campaign, found=records_in(store, campaign.graph.steps))


def finish_study(
    campaign: Campaign, *, store: Store, progress: Progress | None = None, about: Mapping[str, Any] | None = None
) -> Result:
    """Run what the store does not have of a study that was begun, and put the numbers together; see `run_study`."""
    run_graph(campaign.graph, store=store, progress=progress)
    result, _ = campaign.result(store, about=about)
    return result


def each(setup: Setup | Sequence[Setup]) -> Sequence[Setup]:
    """Several studies, or one as several."""
    return [setup] if isinstance(setup, Setup) else setup


def write_down(store: Store, kept: Kept) -> None:
    """What is asked for becomes a root of the store; one that is complete and cannot be written is left as it is.

    Raises:
        StoreError: something is still to be computed, but the store cannot be written.
    """
    if not isinstance(store, DirectoryStore):
        return
    try:
        keep(store.path, kept)
    except StoreError:
        if not all(store.peek(key) for key in kept.goals):
            raise


def now() -> str:
    """The time, for people."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def count_steps(setup: Setup | Sequence[Setup], store: Store) -> dict[str, int]:
    """Steps still to be done, by kind."""
    graph = plan_studies(each(setup)).graph
    counts: dict[str, int] = {}
    for key in graph.missing(lambda key: store.get(key) is not None):
        kind = graph.steps[key].kind
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def seeds_of(
    n: int, *, split: int | None = None, init: int | None = None, order: int | None = None
) -> tuple[Seed, ...]:
    """Seeds 0 to n - 1, each of the three parts fixed where a number is given."""
    return tuple(Seed.of(i, split=split, init=init, order=order) for i in range(n))


def arms_of(
    supervisors: Sequence[tuple[Supervisor, ...]],
    students: Sequence[Student],
    methods: Sequence[tuple[str, Method | OracleMethod]],
) -> tuple[Arm, ...]:
    """Every supervisor with every student by every method, in this order of nesting.

    A planted supervisor that needs a reference has that of its arm's student.
    """
    pairs = [(beside(weak, student), student) for weak in supervisors for student in students]
    return tuple(
        Arm(supervisors=weak, student=student, method=method, method_name=name)
        for weak, student in pairs
        for name, method in methods
    )
