"""Studies of several questions become one line: their numbers pooled over questions (`metrics.questions`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from oversight.metrics.contrasts import difference
from oversight.metrics.intervals import Estimate, Sample
from oversight.metrics.limits import SHARE, Limits
from oversight.metrics.questions import (
    FEWEST_QUESTIONS,
    combined_questions,
    mean_over_questions,
    over_questions,
    question_moments,
)
from oversight.metrics.scores import METRICS
from oversight.reports.result import ROLES, Study

SHARED = "accuracy"
"""Where the classes of some questions are too uneven for it, so that each has a metric of its own."""


def pooled_over_questions(studies: Sequence[Study]) -> tuple[Study, ...]:
    """One study for every set of questions, pair, way of training, method, test set and number of seeds.

    None where fewer than FEWEST_QUESTIONS are there: those are studies of their own. A question that comes again (a
    store may hold it under other settings) belongs to another set.

    Args:
        studies: of which those with `question_of` are pooled, in their order.
    """
    found: dict[tuple[Any, ...], dict[str, Study]] = {}
    for one in studies:
        if one.question_of is not None:
            same = (one.test, one.weak_model, one.strong_model, one.method, one.train, one.weak_train, one.seeds)
            again = 0
            while one.task in found.get((one.question_of, *same, again), {}):
                again += 1
            found.setdefault((one.question_of, *same, again), {})[one.task] = one
    return tuple(_pooled(tuple(own.values())) for own in found.values() if len(own) >= FEWEST_QUESTIONS)


def gain_over_questions(studies: Sequence[Study], method: str, reference: str, *, weak: str, strong: str) -> Estimate:
    """The mean over questions of one method's student minus another's, each question paired, with t(Q - 1).

    Args:
        studies: among which are those of both methods on every question.
        method, reference: the two.
        weak, strong: of which pair.

    Raises:
        LookupError: a question lacks one of them.
    """
    found: dict[str, dict[str, Study]] = {}
    for one in studies:
        if one.question_of is not None and (one.weak_model, one.strong_model) == (weak, strong):
            found.setdefault(one.task, {})[one.method] = one
    if not found or any({method, reference} - own.keys() for own in found.values()):
        raise LookupError(f"no {method} and {reference} of {weak} -> {strong} on every question")
    both = [(own[method], own[reference]) for own in found.values()]
    metric = METRICS[both[0][0].metric]
    sign = 1.0 if metric.higher_is_better else -1.0
    combined = combined_questions(
        sign * np.array([[one.score("student").value for one in pair] for pair in both]),
        samples=[_sample(first) for first, _ in both],
        limits=metric.oriented_limits,
    )
    return difference(combined, (1.0, -1.0))


def _pooled(studies: Sequence[Study]) -> Study:
    names = {one.metric for one in studies}
    first, metric = studies[0], METRICS[names.pop() if len(names) == 1 else SHARED]
    samples = [_sample(one) for one in studies]
    sign = 1.0 if metric.higher_is_better else -1.0
    whole = over_questions(
        sign * np.array([[one.scores[role][metric.name].value for role in ROLES] for one in studies]),
        samples=samples,
        limits=metric.oriented_limits,
    )
    scores = {
        role: {
            name: _mean([one.scores[role][name].value for one in studies], samples, METRICS[name].limits)
            for name in first.scores[role]
        }
        for role in ROLES
    }
    return replace(
        first,
        task=str(first.question_of),
        metric=metric.name,
        questions=tuple(one.task for one in studies),
        n_test=sum(one.n_test for one in studies),
        n_groups=len(studies),
        n_effective=min(one.n_effective for one in studies),
        scores=scores,
        chance=None if first.chance is None else float(np.mean([one.chance or math.nan for one in studies])),
        gap=whole.gap,
        gain=whole.gain,
        pgr=whole.pgr,
        agreement={
            name: _mean([one.agreement[name].value for one in studies], samples, SHARE) for name in first.agreement
        },
        choices={},
        warnings=(),
        keys={},
        discordant={},
        ties={},
        leak=None,
        theory=None,
        from_store=None,
        no_theory="numbers are pooled over questions",
        scope="questions",
        student_last=_mean_of([one.student_last for one in studies], samples, metric.limits),
        student_oracle_best=_mean_of([one.student_oracle_best for one in studies], samples, metric.limits),
        same_as_naive=None,
        no_naive="numbers are pooled over questions",
    )


def _sample(study: Study) -> Sample:
    return Sample(study.n_test, study.n_groups, study.seeds, study.n_effective)


def _mean_of(found: Sequence[Estimate | None], samples: Sequence[Sample], limits: Limits) -> Estimate | None:
    values = [one.value for one in found if one is not None]
    return _mean(values, samples, limits) if len(values) == len(found) else None


def _mean(values: Sequence[float], samples: Sequence[Sample], limits: Limits) -> Estimate:
    """Undefined where it is for some question."""
    m = question_moments(np.array(values)[:, None], samples=samples)
    if not np.isfinite(values).all():
        return m.sample.undefined("undefined on some question")
    return mean_over_questions(m, [1.0], limits=limits)
