"""What every comparison shows beside the methods: how far one comes without them, or without any information."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from oversight.errors import InputError
from oversight.methods.controls import RandomLabels
from oversight.methods.method import WithLoss
from oversight.models.features import feature_backbone
from oversight.models.lexical import BagOfWords
from oversight.models.prompted import Prompted
from oversight.models.student import Student, check_student
from oversight.runs.steps import Step
from oversight.studies.plan import Plan
from oversight.supervision.elicited import Elicited
from oversight.supervision.majority import Majority
from oversight.supervision.supervisor import Supervisor, Trained
from oversight.tasks.split import Seed
from oversight.tasks.task import Task

STRONG_ON_WEAK_HALF = "strong on the weak half's truth"
WEAK_TO_WEAK = "weak to weak"
RANDOM = "strong on random labels"
ZERO_SHOT = "strong, zero-shot"
ELICITED = "unsupervised elicitation (ICM)"
WORDS = "bag of words"
MAJORITY = "majority class"
ABOUT = {
    STRONG_ON_WEAK_HALF: "the student's model trained on the rows and true labels that the supervisor had",
    WEAK_TO_WEAK: "the supervisor's own model trained on its labels of the transfer rows",
    RANDOM: "the student trained on classes drawn at random",
    ZERO_SHOT: "the student's model asked in words, without training",
    ELICITED: "the student trained on labels that its own model finds coherent, without any supervision",
    WORDS: "TF-IDF of words and pairs on the weak half's truth",
    MAJORITY: "the most common class of the weak half",
}


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A baseline on one task.

    Attributes:
        name: one of ABOUT.
        steps: by seed, those that hold its predictions on the test rows; empty where it does not apply.
        reason: why it does not apply.
    """

    name: str
    steps: tuple[Step, ...] = ()
    reason: str | None = None


def baselines(
    plan: Plan, supervisors: Sequence[Supervisor], student: Student, seeds: Sequence[Seed]
) -> tuple[Baseline, ...]:
    """All of them for one pair of supervisor and student, sharing every step that they can."""

    def taught_from_truth(one: Callable[[], Supervisor]) -> Callable[[], list[Step]]:
        def steps() -> list[Step]:
            supervisor = one()
            for seed in seeds:
                supervisor.check(plan.task, plan.split(seed), plan.tests)
            return [plan.supervise(supervisor, seed) for seed in seeds]

        return steps

    def labels(seed: Seed) -> list[Step]:
        return [plan.supervise(one, seed) for one in supervisors]

    made: dict[str, Callable[[], list[Step]]] = {
        STRONG_ON_WEAK_HALF: taught_from_truth(lambda: Trained(student)),
        WEAK_TO_WEAK: lambda: _weak_to_weak(plan, supervisors, seeds),
        RANDOM: lambda: [plan.teach(student, RandomLabels(), labels(seed), seed, name=RANDOM) for seed in seeds],
        ZERO_SHOT: taught_from_truth(lambda: Trained(_prompted(student, plan.task))),
        ELICITED: lambda: _elicited(plan, student, seeds),
        WORDS: taught_from_truth(lambda: Trained(BagOfWords())),
        MAJORITY: taught_from_truth(Majority),
    }
    return tuple(_made(name, one) for name, one in made.items())


def _made(name: str, make: Callable[[], list[Step]]) -> Baseline:
    try:
        return Baseline(name=name, steps=tuple(make()))
    except InputError as error:
        return Baseline(name=name, reason=str(error))


def _weak_to_weak(plan: Plan, supervisors: Sequence[Supervisor], seeds: Sequence[Seed]) -> list[Step]:
    if len(supervisors) != 1 or not isinstance(supervisors[0], Trained):
        names = "+".join(one.name for one in supervisors)
        raise InputError(f"found the supervisor {names}, expected one that is a trained model")
    own = supervisors[0].student
    for seed in seeds:
        check_student(own, n_rows=len(plan.split(seed).transfer), n_classes=plan.task.n_classes)
    found: list[Step] = []
    for seed in seeds:
        found.append(plan.teach(own, WithLoss(), [plan.supervise(supervisors[0], seed)], seed, name="naive"))
    return found


def _elicited(plan: Plan, student: Student, seeds: Sequence[Seed]) -> list[Step]:
    supervisor = Elicited(student=_prompted(student, plan.task))
    for seed in seeds:
        supervisor.check(plan.task, plan.split(seed), plan.tests)
    return [plan.teach(student, WithLoss(), [plan.supervise(supervisor, seed)], seed, name=ELICITED) for seed in seeds]


def _prompted(student: Student, task: Task) -> Prompted:
    backbone = feature_backbone(student)
    if backbone is None:
        raise InputError(f"{student.name}: it is no network, so it cannot be asked")
    if task.question_of is not None:
        raise InputError(f"{student.name}: questions about a world are not asked in words, so there is no prompt")
    return Prompted(backbone=backbone, words=() if task.rows.others is not None else task.class_names)
