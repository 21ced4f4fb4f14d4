"""A weak-to-strong study as a graph of steps: what depends on what, and therefore what a change invalidates."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar, cast

import numpy as np

from oversight.describe import describe
from oversight.methods.method import Method, OracleMethod
from oversight.metrics.pool import Scope
from oversight.models.backbone import Backbone
from oversight.models.features import feature_backbone
from oversight.models.student import Student
from oversight.models.told import Told
from oversight.runs.steps import Step
from oversight.runs.store import Outcome
from oversight.supervision.supervisor import Derived, Supervisor
from oversight.tasks.split import Seed, Split, split_task
from oversight.tasks.task import Labels, Rows, Task, ids_sha256
from oversight.versions import minors

OF_NETWORKS = ("torch", "transformers")
RUN_NETWORKS = frozenset(["fine_tuned", "prompted", "elicited", "coherent"])
WITHOUT_TORCH = frozenset(["trained", "given", "flipped", "mistaken", "bag_of_words", "with_loss"])
T = TypeVar("T")
VERSIONS: Mapping[str, int] = {"features": 1, "supervise": 2, "teach": 8, "ceiling": 2, "rows": 1, "score": 8}


@dataclass(frozen=True)
class Wanted:
    """Features that a step reads: the network, and rows of which data."""

    backbone: Backbone
    rows: Rows


@dataclass(frozen=True, kw_only=True)
class Job:
    """The objects behind a step's config; `consumed` are the transfer rows to learn from, None = all."""

    seed: Seed
    reads: tuple[Wanted, ...]
    supervisor: Supervisor | None = None
    student: Student | None = None
    method: Method | OracleMethod | None = None
    consumed: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """The objects behind a score: the seeds in order, which test, how, and how many students of naive stand beside."""

    seeds: tuple[Seed, ...]
    test: str
    metric: str | None
    scope: Scope
    n_supervisors: int
    n_naive: int = 0
    why_no_naive: str | None = None


@dataclass
class Plan:
    """Builds steps for one task and its test sets; remembers the objects that the steps only name.

    Attributes:
        task: what is learned.
        tests: further test sets by name; the task's own is `test`.
    """

    task: Task
    tests: Mapping[str, Task] = field(default_factory=dict[str, Task])
    objects: dict[str, Any] = field(default_factory=dict[str, Any])
    _ordered: dict[int, tuple[Rows, str]] = field(default_factory=dict[int, tuple[Rows, str]])
    _memo: dict[Hashable, tuple[object, Any]] = field(default_factory=dict[Hashable, tuple[object, Any]])

    def features(self, backbone: Backbone, rows: Rows) -> Step:
        """Hidden states of all rows of a data set at one depth."""
        return self.once(("features", backbone, id(rows)), rows, lambda: self._features(backbone, rows))

    def _features(self, backbone: Backbone, rows: Rows) -> Step:
        if id(rows) not in self._ordered:
            ordered = _in_order(rows)
            self._ordered[id(rows)] = ordered, ids_sha256(ordered.ids)
        ordered, sha256 = self._ordered[id(rows)]
        config = {"backbone": backbone.identity(), "rows": sha256, "paired": rows.others is not None}
        return self._step("features", config, (), Wanted(backbone, ordered), f"features of {backbone.name}")

    def supervise(self, supervisor: Supervisor, seed: Seed) -> Step:
        """A supervisor learns on the weak rows with ground truth and labels all others."""
        return self.once(("supervise", id(supervisor), seed), supervisor, lambda: self._supervise(supervisor, seed))

    def _supervise(self, supervisor: Supervisor, seed: Seed) -> Step:
        reads = self._reads(supervisor.backbones)
        config = {**self._data(seed), "supervisor": self._describe(supervisor)}
        job = Job(seed=seed, reads=self._wanted(reads), supervisor=supervisor)
        sources = supervisor.sources if isinstance(supervisor, Derived) else ()
        inputs = (*(self.supervise(one, seed) for one in sources), *reads)
        return self._step("supervise", config, inputs, job, f"{supervisor.name} labels, seed {seed.init}")

    def teach(
        self, student: Student, method: Method | OracleMethod, labels: Sequence[Step], seed: Seed, *, name: str = ""
    ) -> Step:
        """A student learns from the labels of transfer and validation rows; `name` is that of the method."""
        extra = [backbone for other in method.needs.students for backbone in other.backbones]
        own = feature_backbone(student) if method.needs.features else None
        mine, others = self._reads(student.backbones, student), self._reads((*extra, *([own] if own else [])))
        reads = tuple(dict.fromkeys((*mine, *others)))
        config = {**self._data(seed), "student": self._describe(student), "method": self._describe(method)}
        job = Job(seed=seed, reads=self._wanted(reads), student=student, method=method)
        weak = "+".join(self.objects[one.key].supervisor.name for one in labels)
        return self._step(
            "teach", config, (*labels, *reads), job, f"{weak} -> {student.name}, {name}, seed {seed.init}"
        )

    def teach_truth(self, student: Student, supervisors: Sequence[Supervisor], seed: Seed) -> Step:
        """The ceiling: the same student with ground truth, on the transfer rows that any of the supervisors answers."""
        who = (student, *supervisors)
        key = ("ceiling", tuple(id(one) for one in who), seed)
        return self.once(key, who, lambda: self._teach_truth(student, supervisors, seed))

    def _teach_truth(self, student: Student, supervisors: Sequence[Supervisor], seed: Seed) -> Step:
        reads = self._reads(student.backbones, student)
        told = tuple(self.supervise(one, seed) for one in supervisors) if isinstance(student, Told) else ()
        config = {**self._data(seed), "student": self._describe(student)}
        transfer = self.once(("transfer", seed.split), None, lambda: self.task.pick(self.split(seed).transfer))
        answered = np.logical_or.reduce([supervisor.answers(transfer) for supervisor in supervisors])
        consumed = None
        if not answered.all():
            consumed = transfer.take(np.flatnonzero(answered)).ids
            config["consumed"] = ids_sha256(consumed)
        job = Job(seed=seed, reads=self._wanted(reads), student=student, consumed=consumed)
        return self._step("ceiling", config, (*told, *reads), job, f"ceiling of {student.name}, seed {seed.init}")

    def rows(self, test: str) -> Step:
        """The rows of a test set with their truth, kept so that results can be read without the data."""
        return self.once(("rows", test), None, lambda: self._rows(test))

    def _rows(self, test: str) -> Step:
        config = {"rows": ids_sha256(self.test_rows(test).ids), "data": self.test_task(test).fingerprint}
        return self._step("rows", config, (), test, f"rows of {test}")

    def score(
        self,
        runs: Sequence[tuple[Sequence[Step], Step, Step]],
        seeds: Sequence[Seed],
        *,
        test: str,
        metric: str | None,
        scope: Scope,
        name: str = "",
        naive: Sequence[Step] | str,
    ) -> Step:
        """All numbers of one study on one test set, from the predictions of all its seeds.

        Args:
            runs: by seed: the supervisors' labels, the student, the ceiling.
            seeds: in the same order.
            test: name of the test set.
            metric: for gap and PGR; None = accuracy, balanced where a class is too common.
            scope: of what the intervals speak.
            name: for people.
            naive: naive's students by seed, with which the student's choices are compared; or why there are none.
        """
        predicted = [step for labels, student, ceiling in runs for step in (*labels, student, ceiling)]
        beside, why = ((), naive) if isinstance(naive, str) else (tuple(naive), None)
        inputs = (*predicted, *beside, self.rows(test))
        config = {"test": test, "metric": metric, "covers": scope, "data": self._fingerprints()}
        scoring = Scoring(
            seeds=tuple(seeds),
            test=test,
            metric=metric,
            scope=scope,
            n_supervisors=len(runs[0][0]),
            n_naive=len(beside),
            why_no_naive=why,
        )
        return self._step("score", config, inputs, scoring, f"{name}, {test}")

    def split(self, seed: Seed) -> Split:
        """The cut of this seed."""
        return _split(_ByContent(self.task), seed.split)

    def parts(self, seed: Seed) -> dict[str, Rows]:
        """The rows that a supervisor labels: transfer, validation, test and every further test set."""
        return self.once(("parts", seed.split), None, lambda: self._parts(seed))

    def _parts(self, seed: Seed) -> dict[str, Rows]:
        split = self.split(seed)
        own = {name: self.task.pick(getattr(split, name)) for name in ("transfer", "validation", "test")}
        return own | {name: self.test_rows(name) for name in self.tests}

    def test_rows(self, name: str) -> Rows:
        """Rows of a test set, in the order in which predictions are kept."""
        return self.once(("test", name), None, lambda: self._test_rows(name))

    def _test_rows(self, name: str) -> Rows:
        if name == "test":
            return self.task.pick(self.split(Seed.of(0)).test)
        return _in_order(self.tests[name].rows)

    def test_task(self, name: str) -> Task:
        """The task that knows the truth of a test set."""
        return self.task if name == "test" else self.tests[name]

    def _step(self, kind: str, config: Mapping[str, Any], inputs: tuple[Step, ...], what: object, name: str) -> Step:
        whole = {**config, "libraries": minors(libraries(kind, config))}
        step = Step(kind=kind, version=VERSIONS[kind], config=whole, inputs=inputs, name=f"{self.task.name}: {name}")
        self.objects.setdefault(step.key, what)
        return step

    def _describe(self, thing: object) -> Any:
        return self.once(("describe", id(thing)), thing, lambda: describe(thing))

    def once(self, key: Hashable, about: object, make: Callable[[], T]) -> T:
        """Made at the first call; `about` is what the key speaks of by `id`, and is kept so that no other takes it."""
        if key not in self._memo:
            self._memo[key] = about, make()
        return self._memo[key][1]

    def _reads(self, backbones: Sequence[Backbone], student: Student | None = None) -> tuple[Step, ...]:
        """Features of all rows; of a student that is told its supervisor's answer, of the rows with every answer."""
        data = [one.rows for one in (self.task, *self.tests.values())]
        if isinstance(student, Told):
            data = [shown for rows in data for shown in self._variants(student, rows)]
        steps = [self.features(backbone.whole, rows) for backbone in backbones for rows in data]
        return tuple(dict.fromkeys(steps))

    def _variants(self, student: Told, rows: Rows) -> tuple[Rows, ...]:
        return self.once(("variants", id(student), id(rows)), (student, rows), lambda: student.variants(rows))

    def _wanted(self, reads: Sequence[Step]) -> tuple[Wanted, ...]:
        return tuple(self.objects[step.key] for step in reads)

    def _fingerprints(self) -> dict[str, Any]:
        return {"task": self.task.fingerprint, "tests": {name: test.fingerprint for name, test in self.tests.items()}}

    def _data(self, seed: Seed) -> dict[str, Any]:
        return {**self._fingerprints(), "seed": [seed.split, seed.init, seed.order]}


def libraries(kind: str, config: Mapping[str, Any]) -> set[str]:
    """The libraries that compute a step; their major and minor version belongs to its key.

    Args:
        kind: of the step.
        config: who learns in it, as described.
    """
    if kind == "rows":
        return set()
    if kind == "features":
        return {"numpy", *OF_NETWORKS}
    found = {"numpy"}
    who = [config[name] for name in ("supervisor", "student", "method") if name in config]
    known = {str(value) for name, value in _told(who) if name == "kind"}
    own = any(name in ("code", "members") for name, _ in _told(who))
    if "bag_of_words" in known:
        found.add("scikit-learn")
    if known & RUN_NETWORKS:
        found.update(OF_NETWORKS)
    return found | ({"torch"} if known - WITHOUT_TORCH or own else set())


def _told(described: Any) -> Iterator[tuple[str, Any]]:
    """All names in a description, each with its value."""
    if isinstance(described, list):
        for one in cast("list[Any]", described):
            yield from _told(one)
    elif isinstance(described, dict):
        for name, one in cast("dict[str, Any]", described).items():
            yield name, one
            yield from _told(one)


def check_join(outcome: Outcome, part: str, rows: Rows) -> None:
    """Refuse predictions that were made for other rows or in another order."""
    if outcome.record["row_ids"][part] != ids_sha256(rows.ids):
        raise ValueError(f"predictions for part '{part}' belong to other rows")


def labels_on(outcome: Outcome, part: str, rows: Rows) -> Labels:
    """A supervisor's kept labels on a part, row ids checked."""
    check_join(outcome, part, rows)
    probs, answered = np.array(outcome.arrays[f"{part}.probs"]), np.array(outcome.arrays[f"{part}.answered"])
    return Labels.of(rows, probs, source=outcome.record.get("source", "supervisor"), answered=answered)


def _in_order(rows: Rows) -> Rows:
    """Rows sorted by id, so that the order of the file reaches nothing."""
    order = sorted(range(len(rows)), key=rows.ids.__getitem__)
    return rows if order == list(range(len(rows))) else rows.take(order)


class _ByContent:
    """A task as a cache key: equal where the fingerprint is."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __hash__(self) -> int:
        return hash(self.task.fingerprint)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByContent) and self.task.fingerprint == other.task.fingerprint


@lru_cache(maxsize=64)
def _split(key: _ByContent, seed: int) -> Split:
    return split_task(key.task, seed=seed)
