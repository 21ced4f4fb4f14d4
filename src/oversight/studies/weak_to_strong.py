"""Weak-to-strong generalization (Burns et al. 2023, arXiv:2312.09390), from top to bottom.

A weak supervisor labels; a strong student learns from the labels; a sealed test says how much of the gap was recovered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from oversight.methods.method import Method, OracleMethod, check_needs
from oversight.models.student import Student, check_student, trained_how
from oversight.reports.result import Result, Study, TestRows
from oversight.runs.steps import Progress, Step, execute, missing_steps
from oversight.runs.store import MemoryStore, Store
from oversight.studies.kinds import KINDS
from oversight.studies.plan import Plan
from oversight.studies.score import by_seed, from_json, predictions
from oversight.studies.shelf import fits_kept_in
from oversight.supervision.supervisor import Supervisor
from oversight.tasks.split import Seed
from oversight.tasks.task import Task


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


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A study before it is run.

    Attributes:
        task: what is learned.
        arms: what is compared.
        seeds: one training of every role per entry.
        tests: further test sets by name.
        metric: of gap and PGR; None = accuracy, balanced where a class is too common.
    """

    task: Task
    arms: tuple[Arm, ...]
    seeds: tuple[Seed, ...]
    tests: Mapping[str, Task] = field(default_factory=dict[str, Task])
    metric: str | None = None


@dataclass(frozen=True, kw_only=True)
class Scored:
    """An arm on one test set, and the step that gives its numbers."""

    arm: Arm
    test: str
    step: Step
    runs: tuple[tuple[tuple[Step, ...], Step, Step], ...]


def plan_study(setup: Setup) -> tuple[Plan, list[Scored]]:
    """Every arm on every test set as a step, down to the features; nothing is computed.

    Raises:
        InputError: a method's needs are not met, or a supervisor has not what it takes.
    """
    plan = Plan(setup.task, setup.tests)
    scored: list[Scored] = []
    for seed in setup.seeds:
        plan.split(seed)
    for arm in setup.arms:
        check_needs(arm.method_name, arm.method, arm.student, n_supervisors=len(arm.supervisors))
        for seed in setup.seeds:
            for supervisor in arm.supervisors:
                supervisor.check(setup.task, plan.split(seed), setup.tests)
            check_student(arm.student, n_rows=len(plan.split(seed).transfer), n_classes=setup.task.n_classes)
        runs: list[tuple[tuple[Step, ...], Step, Step]] = []
        for seed in setup.seeds:
            labels = tuple(plan.supervise(supervisor, seed) for supervisor in arm.supervisors)
            student = plan.teach(arm.student, arm.method, labels, seed)
            ceiling = plan.teach_truth(arm.student, arm.supervisors, seed)
            runs.append((labels, student, ceiling))
        for test in ("test", *setup.tests):
            step = plan.score(runs, setup.seeds, test=test, metric=setup.metric)
            scored.append(Scored(arm=arm, test=test, step=step, runs=tuple(runs)))
    return plan, scored


def run_study(
    setup: Setup,
    *,
    store: Store | None = None,
    progress: Progress | None = None,
    about: Mapping[str, Any] | None = None,
    keep_models: bool = True,
) -> Result:
    """Run what the store does not have and put the numbers together.

    Args:
        setup: what to run.
        store: where results, and the checkpoints of unfinished fits, are kept; None = in memory.
        progress: told what is being done.
        about: what the result says of itself.
        keep_models: whether the store also keeps fine-tuned weights, so that a further test set needs no training.
    """
    kept = MemoryStore() if store is None else store
    plan, scored = plan_study(setup)
    with fits_kept_in(kept, keep_models=keep_models):
        outcomes = execute([one.step for one in scored], store=kept, kinds=KINDS, env=plan, progress=progress)
    studies = tuple(_study(setup, one, outcomes[one.step.key].record) for one in scored)
    by_study = {id(study): one for study, one in zip(studies, scored, strict=True)}

    def rows_of(study: Study) -> TestRows:
        with fits_kept_in(kept, keep_models=keep_models):
            return _rows(plan, by_study[id(study)], kept)

    return Result(studies=studies, about=about or {}, rows_of=rows_of)


def count_steps(setup: Setup, store: Store) -> dict[str, int]:
    """Steps still to be done, by kind."""
    _, scored = plan_study(setup)
    counts: dict[str, int] = {}
    for step in missing_steps([one.step for one in scored], store, {}):
        counts[step.kind] = counts.get(step.kind, 0) + 1
    return counts


def _study(setup: Setup, scored: Scored, record: Mapping[str, Any]) -> Study:
    roles: Mapping[str, Mapping[str, Any]] = record["scores"]
    arm, runs = scored.arm, scored.runs
    own = setup.task if scored.test == "test" else setup.tests[scored.test]
    warnings = dict.fromkeys((*setup.task.warnings, *own.warnings, *record["warnings"]))
    return Study(
        task=setup.task.name,
        test=scored.test,
        weak_model=arm.weak_name,
        strong_model=arm.student.name,
        method=arm.method_name,
        train=trained_how(arm.student),
        weak_train=arm.weak_train,
        oracle=isinstance(arm.method, OracleMethod),
        metric=record["metric"],
        n_test=record["n_test"],
        n_groups=record["n_groups"],
        seeds=len(setup.seeds),
        scores={role: {name: from_json(one) for name, one in by_name.items()} for role, by_name in roles.items()},
        chance=record["chance"],
        gap=from_json(record["gap"]),
        gain=from_json(record["gain"]),
        pgr=from_json(record["pgr"]),
        agreement={name: from_json(one) for name, one in record["agreement"].items()},
        choices=record["choices"],
        warnings=tuple(warnings),
        keys={
            "score": [scored.step.key],
            "weak": [step.key for labels, _, _ in runs for step in labels],
            "student": [student.key for _, student, _ in runs],
            "ceiling": [ceiling.key for _, _, ceiling in runs],
        },
    )


def _rows(plan: Plan, scored: Scored, store: Store) -> TestRows:
    """Predictions behind a study; those that were damaged since are computed again."""
    steps = [step for labels, student, ceiling in scored.runs for step in (*labels, student, ceiling)]
    outcomes = execute(steps, store=store, kinds=KINDS, env=plan)
    scoring = plan.objects[scored.step.key]
    predicted = predictions(plan, scoring, by_seed([outcomes[step.key] for step in steps], scoring))
    rows = plan.test_rows(scored.test)
    return TestRows(
        ids=rows.ids,
        texts=rows.texts
        if rows.others is None
        else tuple(f"{a}\n---\n{b}" for a, b in zip(rows.texts, rows.others, strict=True)),
        groups=rows.groups,
        truth=predicted.truth,
        class_names=plan.test_task(scored.test).class_names,
        probs=predicted.probs,
    )


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
    """Every supervisor with every student by every method, in this order of nesting."""
    return tuple(
        Arm(supervisors=weak, student=student, method=method, method_name=name)
        for weak in supervisors
        for student in students
        for name, method in methods
    )
