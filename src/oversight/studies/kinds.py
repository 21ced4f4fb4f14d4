"""What each kind of step does. The table at the end is handed to `runs`, which knows none of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from oversight.methods.method import OracleMethod, WeakData, mean_labels
from oversight.models.batching import together
from oversight.models.features import FeatureBank, extract, using
from oversight.models.finite import expect_finite
from oversight.models.student import Fitted, Student, Validation
from oversight.models.told import Told
from oversight.models.workbench import workbench, working_at
from oversight.runs.steps import Kind, Step, Tick, granted_cores
from oversight.runs.store import Outcome
from oversight.studies.needs import features_need, fit_needs, same_fit, same_network
from oversight.studies.places import places_of
from oversight.studies.plan import Job, Plan, Wanted, ids_sha256, labels_on
from oversight.studies.rows import run_rows
from oversight.studies.score import score_study
from oversight.studies.shelf import NotingShelf
from oversight.studies.veil import Veil
from oversight.supervision.supervisor import Derived
from oversight.tasks.split import Seed
from oversight.tasks.task import TRUTH, Labels, Rows

Models = Callable[[], list[str]]


def run_features(steps: Sequence[Step], inputs: Sequence[Sequence[Outcome]], env: Plan, tick: Tick) -> list[Outcome]:
    """All depths of one network on the same rows, in one pass."""
    del inputs
    wanted: list[Wanted] = [env.objects[step.key] for step in steps]
    depths = [one.backbone.blocks for one in wanted]
    found = extract(wanted[0].backbone, wanted[0].rows, depths=depths, tick=tick, cores=granted_cores())
    about = {
        "n_rows": len(wanted[0].rows),
        "n_truncated": found.n_truncated,
        "max_tokens": wanted[0].backbone.max_tokens,
        "n_tokens": found.n_tokens,
    }
    return [
        Outcome(arrays={"features": found.features[depth]}, record={**about, "cosine_error": found.errors[depth]})
        for depth in depths
    ]


def same_pass(step: Step) -> Hashable:
    """Depths of one network on the same rows go together."""
    backbone = {name: value for name, value in step.config["backbone"].items() if name != "depth"}
    return (step.config["rows"], *sorted(backbone.items()))


def run_supervise(steps: Sequence[Step], inputs: Sequence[Sequence[Outcome]], env: Plan, tick: Tick) -> list[Outcome]:
    """See `Plan.supervise`."""
    job: Job = env.objects[steps[0].key]
    assert job.supervisor is not None
    parts = env.parts(job.seed)
    sources, read = _sources_and_features(job, inputs[0])
    with using(_bank(job.reads, read)), _attended(tick, job.supervisor.name, job.seed) as models:
        if isinstance(job.supervisor, Derived):
            known = [[labels_on(one, name, rows) for name, rows in parts.items()] for one in sources]
            given = job.supervisor.derive(env.task, list(parts.values()), known, seed=job.seed)
        else:
            given = job.supervisor.supervise(env.task, env.split(job.seed), list(parts.values()), seed=job.seed)
    arrays: dict[str, Any] = {}
    for name, rows, labels in zip(parts, parts.values(), given.labels, strict=True):
        joined = labels.on(rows)
        arrays |= {f"{name}.probs": joined.probs, f"{name}.answered": joined.answered}
    record = _record(parts, given.choices, read, models)
    if all(labels.source == TRUTH for labels in given.labels):
        record["source"] = TRUTH
    return [Outcome(arrays=arrays, record=record)]


def run_teach(steps: Sequence[Step], inputs: Sequence[Sequence[Outcome]], env: Plan, tick: Tick) -> list[Outcome]:
    """See `Plan.teach`. What the students' probes ask of the same rows is solved in one batch."""
    jobs: list[Job] = [env.objects[step.key] for step in steps]
    parts, tests = env.parts(jobs[0].seed), _tests(env)

    learned = env.task.rows.pick((*parts["transfer"].ids, *parts["validation"].ids))
    # A student that is told an answer knows its rows by their contents' ids, and is met in planted studies only.
    veil = (
        None
        if any(isinstance(job.student, Told) for job in jobs)
        else env.once(("veil",), None, lambda: Veil.of(env.task))
    )

    @cache
    def truth() -> Labels:
        known = env.task.true_labels(learned)
        return known if veil is None else veil.labels(known, veil.rows(learned))

    lessons: list[Callable[[], Outcome]] = []
    for i, (job, given) in enumerate(zip(jobs, inputs, strict=True)):
        labels, read = _sources_and_features(job, given)
        assert job.student is not None
        student, data = _hearing(job.student, labels, parts), _weak_data(labels, parts, veil)
        lessons.append(partial(_teach, job, student, data, truth, tests, read, _part(tick, i, len(jobs))))
    _, read = _sources_and_features(jobs[0], inputs[0])
    bank = _bank(jobs[0].reads, read)
    with using(bank if veil is None else bank.known_as(veil.names(learned))):
        return [replace(one.result, seconds=one.seconds) for one in together(lessons)]


def same_students(step: Step) -> Hashable:
    """Probes of one seed on the same features follow each other, so that the rows are decomposed once.

    What is fine-tuned stands alone: a job that waits for another's solution begins again.
    """
    fields = step.config["student"].get("fields", {})
    if "recipe" in fields or "recipe" in fields.get("student", {}).get("fields", {}):
        return step.key
    reads = tuple(before.key for before in step.inputs if before.kind == "features")
    return (*step.config["seed"], *reads) if reads else step.key


def _weak_data(supervisions: Sequence[Outcome], parts: Mapping[str, Rows], veil: Veil | None) -> WeakData:
    """What a method gets: nothing in it tells the truth, not even the names of rows and groups."""

    def seen(part: str) -> tuple[Rows, tuple[Labels, ...]]:
        given = tuple(labels_on(one, part, parts[part]) for one in supervisions)
        if veil is None:
            return parts[part], given
        rows = veil.rows(parts[part])
        return rows, tuple(veil.labels(one, rows) for one in given)

    (rows, labels), (validation, validation_labels) = seen("transfer"), seen("validation")
    return WeakData(rows=rows, labels=labels, validation=validation, validation_labels=validation_labels)


def _sources_and_features(job: Job, given: Sequence[Outcome]) -> tuple[Sequence[Outcome], Sequence[Outcome]]:
    """The labels among a step's inputs, and the features, which stand behind them."""
    n_labels = len(given) - len(job.reads)
    return given[:n_labels], given[n_labels:]


def _hearing(student: Student, supervisions: Sequence[Outcome], parts: Mapping[str, Rows]) -> Student:
    """A student that is told its supervisor's answer knows it for all rows."""
    if not isinstance(student, Told):
        return student
    said = [
        mean_labels([labels_on(one, name, rows) for one in supervisions], source="weak") for name, rows in parts.items()
    ]
    return student.told(
        Labels(
            row_ids=tuple(row_id for one in said for row_id in one.row_ids),
            probs=np.concatenate([one.probs for one in said]),
            answered=np.concatenate([one.answered for one in said]),
            source="weak",
        )
    )


def _teach(
    job: Job,
    student: Student,
    data: WeakData,
    truth: Callable[[], Labels],
    tests: Mapping[str, Rows],
    read: Sequence[Outcome],
    tick: Tick,
) -> Outcome:
    assert job.method is not None
    with _attended(tick, student.name, job.seed) as models:
        if isinstance(job.method, OracleMethod):
            fitted = job.method.train_with_truth(student, data, truth(), seed=job.seed)
        else:
            fitted = job.method.train(student, data, seed=job.seed)
        outcome = _predictions(fitted, tests, read, models)
        checks = partial(_true_checks, data.validation, truth)
        places, told = places_of(fitted, checks, tests)
    tick(1.0)
    return replace(outcome, arrays={**outcome.arrays, **places}, record={**outcome.record, "places": told})


def _true_checks(rows: Rows, truth: Callable[[], Labels]) -> Validation:
    return Validation(rows=rows, labels=truth().on(rows))


def run_ceiling(steps: Sequence[Step], inputs: Sequence[Sequence[Outcome]], env: Plan, tick: Tick) -> list[Outcome]:
    """See `Plan.teach_truth`."""
    job: Job = env.objects[steps[0].key]
    assert job.student is not None
    parts = env.parts(job.seed)
    validation = Validation(rows=parts["validation"], labels=env.task.true_labels(parts["validation"]))
    labels, read = _sources_and_features(job, inputs[0])
    student = _hearing(job.student, labels, parts)
    with using(_bank(job.reads, read)), _attended(tick, student.name, job.seed) as models:
        rows = parts["transfer"] if job.consumed is None else env.task.pick(job.consumed)
        fitted = student.fit(rows, env.task.true_labels(rows), validation=validation, seed=job.seed)
        return [_predictions(fitted, _tests(env), read, models)]


def _part(tick: Tick, i: int, n: int) -> Tick:
    """The i-th of n equal parts of the work."""

    def told(done: float, note: str = "") -> None:
        tick((i + done) / n, note)

    return told


@contextlib.contextmanager
def _attended(tick: Tick, name: str, seed: Seed) -> Generator[Models]:
    """Within this block long fits say how they go, and the models that they keep or find are noted.

    Yields:
        Gives the keys of those models.
    """
    shelf = workbench().shelf
    noting = None if shelf is None else NotingShelf(shelf)
    with working_at(shelf=noting, tell=lambda done, note: tick(done, f"{name}, seed {seed.init}: {note}")):
        yield lambda: [] if noting is None else noting.keys


def _bank(reads: Sequence[Wanted], outcomes: Sequence[Outcome]) -> FeatureBank:
    bank = FeatureBank()
    for wanted, outcome in zip(reads, outcomes, strict=True):
        bank.add(wanted.backbone, wanted.rows.ids, outcome.arrays["features"])
    return bank


def _tests(env: Plan) -> dict[str, Rows]:
    """The rows on which everyone is scored."""
    return {name: env.test_rows(name) for name in ("test", *env.tests)}


def _predictions(fitted: Fitted, tests: Mapping[str, Rows], read: Sequence[Outcome], models: Models) -> Outcome:
    arrays: dict[str, Any] = {}
    for name, rows in tests.items():
        probs = np.ascontiguousarray(fitted.predict(rows))
        expect_finite(probs, rows.ids, of=f"the student's predictions of {name}", hint="numbers from its method")
        arrays[f"{name}.probs"] = probs
    return Outcome(arrays=arrays, record=_record(tests, fitted.choices, read, models))


def _record(
    parts: Mapping[str, Rows], choices: Mapping[str, object], read: Sequence[Outcome], models: Models
) -> dict[str, Any]:
    kept = models()
    return {
        "row_ids": {name: ids_sha256(rows.ids) for name, rows in parts.items()},
        "choices": dict(choices),
        "features": [dict(one.record) for one in read],
        **({"models": kept} if kept else {}),
    }


KINDS: Mapping[str, Kind] = {
    "features": Kind(
        run_features, batch=same_pass, label="extracting features", like=same_network, needs=features_need, spreads=True
    ),
    "supervise": Kind(run_supervise, label="supervisors learn and label", like=same_fit, needs=fit_needs),
    "teach": Kind(
        run_teach, batch=same_students, label="students learn from weak labels", like=same_fit, needs=fit_needs
    ),
    "ceiling": Kind(run_ceiling, label="ceilings learn from ground truth", like=same_fit, needs=fit_needs),
    "rows": Kind(run_rows, label="keeping test rows"),
    "score": Kind(score_study, label="scoring"),
}
