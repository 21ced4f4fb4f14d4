"""From kept predictions to every number of a study. Nothing is trained here; only here is the test's truth read."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from oversight.metrics.agreement import agreement
from oversight.metrics.alike import discordant
from oversight.metrics.calibration_interval import calibration_error, calibration_recovered
from oversight.metrics.clusters import warning as few_groups
from oversight.metrics.intervals import (
    Estimate,
    Sample,
    linear_interval,
    moments,
)
from oversight.metrics.percentiles import percentile_interval, with_seed_part
from oversight.metrics.pgr import Recovered, recovered, recovered_from_replicates
from oversight.metrics.pool import ONE_SPLIT, Scope
from oversight.metrics.resampling import replicates
from oversight.metrics.scores import METRICS, Metric, oriented, values_per_seed
from oversight.metrics.theory import theory
from oversight.models.threads import one_thread
from oversight.runs.steps import Step
from oversight.runs.store import Outcome
from oversight.studies.artefacts import prompt_warnings, too_good
from oversight.studies.leaks import Part, transfer_against_test
from oversight.studies.places import against_naive, at_places
from oversight.studies.plan import Plan, Scoring, check_join
from oversight.studies.score_warnings import WORDS, convergence_warnings, few_seeds, tie_warnings, truncation_warnings
from oversight.studies.training import training_warnings
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Ints, Rows, Task
from oversight.ties import TIE, choice_shares, right_shares, ties

N_RESAMPLES = 1000
RESAMPLING_SEED = 0
COMMON_CLASS = 0.55
MUCH_ABOVE = 0.05
FEWEST_ROWS = 20
SHOWN = ("accuracy", "auroc", "nll", "brier", "ece")
FEW_ROWS = "fewer than 20 rows"
NEARLY_ALL = 0.98
OF_CHOICES = ("accuracy", "balanced_accuracy")


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """Probabilities of the three roles on the rows of one test set, with the truth.

    Attributes:
        probs: by role, (s, n, k).
        truth: (n,) classes.
        groups: (n,) integers.
    """

    probs: Mapping[str, Floats]
    truth: Ints
    groups: Ints


@one_thread()
def score_study(
    steps: Sequence[Step], inputs: Sequence[Sequence[Outcome]], env: Plan, tick: Callable[[float], None]
) -> list[Outcome]:
    """See `Plan.score`."""
    del tick
    scoring: Scoring = env.objects[steps[0].key]
    *outcomes, _ = inputs[0]
    outcomes, naive = outcomes[: len(outcomes) - scoring.n_naive], outcomes[len(outcomes) - scoring.n_naive :]
    runs = by_seed(outcomes, scoring)
    predicted = predictions(env, scoring, runs)
    record = score_predictions(predicted, metric=scoring.metric, scope=scoring.scope)
    record |= at_places(runs, scoring.test, partial(_scored_as_student, predicted, METRICS[record["metric"]], scoring))
    record |= against_naive(predicted.probs["student"], naive, scoring)
    told = _artefacts(env) if scoring.test == "test" else []
    record["leak"] = _leak(env, scoring, runs) if scoring.test == "test" else None
    record["warnings"] = [*record["warnings"], *told, *truncation_warnings(outcomes), *convergence_warnings(outcomes)]
    record["warnings"] += training_warnings(runs)
    record["choices"] = {
        "weak": [dict(one.record["choices"]) for labels, _, _ in runs for one in labels],
        "student": [dict(student.record["choices"]) for _, student, _ in runs],
        "ceiling": [dict(ceiling.record["choices"]) for _, _, ceiling in runs],
    }
    return [Outcome(record=record)]


def _scored_as_student(predicted: Predicted, metric: Metric, scoring: Scoring, probs: Floats) -> dict[str, Any]:
    beside = replace(predicted, probs={**predicted.probs, "student": probs})
    return to_json(_role_score(beside, "student", metric, scoring.scope))


def by_seed(outcomes: Sequence[Outcome], scoring: Scoring) -> list[tuple[Sequence[Outcome], Outcome, Outcome]]:
    """The inputs of a score step as (supervisions, student, ceiling) per seed."""
    width = scoring.n_supervisors + 2
    runs = [outcomes[i : i + width] for i in range(0, len(outcomes), width)]
    return [(run[:-2], run[-2], run[-1]) for run in runs]


def predictions(env: Plan, scoring: Scoring, runs: Sequence[tuple[Sequence[Outcome], Outcome, Outcome]]) -> Predicted:
    """Join kept predictions to the truth of a test set, row ids checked.

    Raises:
        ValueError: predictions belong to other rows.
    """
    rows = env.test_rows(scoring.test)
    task = env.test_task(scoring.test)
    probs = {
        "weak": np.stack([mean_supervisor(labels, scoring.test, rows) for labels, _, _ in runs]),
        "student": np.stack([probs_on(student, scoring.test, rows) for _, student, _ in runs]),
        "ceiling": np.stack([probs_on(ceiling, scoring.test, rows) for _, _, ceiling in runs]),
    }
    return Predicted(probs=probs, truth=task.truth(rows), groups=rows.group_numbers())


def mean_supervisor(labels: Sequence[Outcome], part: str, rows: Rows) -> Floats:
    """(n, k): the mean of one seed's supervisors on a part, row ids checked."""
    return np.mean([probs_on(one, part, rows) for one in labels], axis=0)


def probs_on(outcome: Outcome, part: str, rows: Rows) -> Floats:
    """(n, k): kept predictions on a part, row ids checked."""
    check_join(outcome, part, rows)
    return np.asarray(outcome.arrays[f"{part}.probs"])


def score_predictions(
    predicted: Predicted, *, metric: str | None = None, scope: Scope = "these-rows"
) -> dict[str, Any]:
    """Scores of every role, gap, gain, PGR, agreement and what theory says of them, ready for JSON.

    Args:
        predicted: the three roles on the same rows.
        metric: of gap and PGR; None = accuracy, balanced where a class exceeds COMMON_CLASS of the test.
        scope: of what the intervals speak, but those of theory, which speak of these training rows.
    """
    shares = np.bincount(predicted.truth, minlength=predicted.probs["weak"].shape[2]) / len(predicted.truth)
    warnings: list[str] = []
    if metric is None and shares.max() > COMMON_CLASS:
        metric = "balanced_accuracy"
        warnings.append(f"a class holds {shares.max():.0%} of the test rows: gap and PGR are in balanced accuracy")
    chosen = METRICS[metric or "accuracy"]
    found = _recovered(predicted, chosen, scope)
    never = [WORDS[role] for role in ("weak", "ceiling") if not _varies(predicted.probs[role], chosen)]
    if never:
        found = dataclasses.replace(found, pgr=_sample(predicted, scope).undefined(f"the {never[0]} never varies"))
    warnings += _one_class(predicted, shares)
    shown = dict.fromkeys((chosen.name, *SHOWN))
    scores = {
        role: {name: _role_score(predicted, role, METRICS[name], scope) for name in shown} for role in predicted.probs
    }
    agreed = agreement(
        predicted.probs["student"], predicted.probs["weak"], predicted.truth, predicted.groups, scope=scope
    )
    told = theory(predicted.probs, predicted.truth, predicted.groups)
    chance = _chance(chosen.name, shares)
    warnings += _at_chance(found, chance)
    counted = {role: ties(probs).sum(axis=1) for role, probs in predicted.probs.items()}
    warnings += tie_warnings(counted, len(predicted.truth))
    warnings += _above_ceiling(predicted)
    warnings += too_good({role: scores[role]["accuracy"].value for role in scores})
    warnings += few_seeds(len(predicted.probs["weak"])) + few_groups(predicted.groups)
    if scope == ONE_SPLIT:
        warnings.append("all seeds share one split: intervals cover neither other cuts of the pool nor new rows in it")
    return {
        "metric": chosen.name,
        "scope": scope,
        "n_test": len(predicted.truth),
        "n_groups": int(predicted.groups.max()) + 1,
        "n_effective": found.gap.n_effective,
        "discordant": {
            role: dataclasses.asdict(discordant(predicted.probs[role], predicted.probs["weak"]))
            for role in ("student", "ceiling")
        },
        "chance": chance,
        "scores": {role: {name: to_json(one) for name, one in by_name.items()} for role, by_name in scores.items()},
        "gap": to_json(found.gap),
        "gain": to_json(found.gain),
        "pgr": to_json(found.pgr),
        "agreement": {name: to_json(getattr(agreed, name)) for name in ("all", "weak_right", "weak_wrong")},
        "theory": {name: to_json(one) for name, one in told.flat().items()},
        "ties": {role: tied.tolist() for role, tied in counted.items()},
        "warnings": warnings,
    }


def _varies(probs: Floats, metric: Metric) -> bool:
    """Whether a role tells any two test rows apart, in any seed: by its choice where that is what the metric sees."""
    seen = choice_shares(probs) if metric.name in OF_CHOICES else probs
    return bool((np.ptp(seen, axis=1) > TIE).any())


def _one_class(predicted: Predicted, shares: Floats) -> list[str]:
    """Roles that give nearly all rows one class, more than half the way from that of the commonest class to all."""
    lines: list[str] = []
    often = max(NEARLY_ALL, (1 + float(shares.max())) / 2)
    for role, probs in predicted.probs.items():
        largest = choice_shares(probs).mean(axis=1).max(axis=1)
        n = int((largest >= often).sum())
        if n:
            seeds = f" in {n} of {len(largest)} seeds" if len(largest) > 1 else ""
            lines.append(
                f"the {WORDS[role]} gives {_at_least(largest[largest >= often].min())} of the test rows one class"
                f"{seeds}: it takes the most probable class, however rare another is (the commonest holds "
                f"{shares.max():.0%}); whether its probabilities rank the rows is told by auroc (--metric auroc)"
            )
    return lines


def _at_least(share: float) -> str:
    """`97.0% or more`, `all`."""
    return "all" if share == 1 else f"{share:.1%} or more"


def _sample(predicted: Predicted, scope: Scope) -> Sample:
    return Sample.of(predicted.groups, len(predicted.probs["weak"]), scope=scope)


def _above_ceiling(predicted: Predicted) -> list[str]:
    """A warning where the student is right much more often than the ceiling, beyond what seeds and test rows explain.

    Both are of the same kind and learn from the same rows, the ceiling from true labels. Methods that help the ceiling
    too (regularisers) gain a few points; MUCH_ABOVE is left to them.
    """
    right = [
        _row_scores(METRICS["accuracy"], predicted.probs[role], predicted.truth) for role in ("student", "ceiling")
    ]
    above = linear_interval(moments(np.stack(right, axis=1), predicted.groups), [1.0, -1.0])
    if not above.low > MUCH_ABOVE:
        return []
    return [
        f"the student is right on {above.value:.1%} [{above.low:.1%}, {above.high:.1%}] more of the test rows than its "
        "ceiling, which learns from true labels: does the method see truth?"
    ]


def _recovered(predicted: Predicted, metric: Metric, scope: Scope) -> Recovered:
    roles = list(predicted.probs.values())
    limits = metric.oriented_limits
    if metric.linear:
        return recovered(
            np.stack([_row_scores(metric, probs, predicted.truth) for probs in roles], axis=1),
            predicted.groups,
            limits=limits,
            scope=scope,
        )
    if not metric.resampled:
        return calibration_recovered(roles, predicted.truth, predicted.groups, scope=scope)
    draws = np.stack([_replicates(metric, probs, predicted) for probs in roles])
    values = np.stack([values_per_seed(metric, probs, predicted.truth) for probs in roles])
    return recovered_from_replicates(
        oriented(metric, draws),
        oriented(metric, values),
        predicted.groups,
        seed=RESAMPLING_SEED,
        limits=limits,
        scope=scope,
    )


def _row_scores(metric: Metric, probs: Floats, truth: Ints) -> Floats:
    """(s, n), more is better."""
    assert metric.row_scores is not None
    return oriented(metric, np.stack([metric.row_scores(one, truth) for one in probs]))


def _role_score(predicted: Predicted, role: str, metric: Metric, scope: Scope) -> Estimate:
    probs = predicted.probs[role]
    sample = _sample(predicted, scope)
    if len(predicted.truth) < FEWEST_ROWS:
        return sample.undefined(FEW_ROWS)
    if metric.linear:
        scores = oriented(metric, _row_scores(metric, probs, predicted.truth))
        return linear_interval(
            moments(scores[:, None, :], predicted.groups).covering(scope), [1.0], limits=metric.limits
        )
    if not metric.resampled:
        return calibration_error(probs, predicted.truth, predicted.groups, scope=scope)
    values = values_per_seed(metric, probs, predicted.truth)
    spread = with_seed_part(_replicates(metric, probs, predicted), values, seed=RESAMPLING_SEED, sample=sample)
    return percentile_interval(float(values.mean()), spread, sample, limits=metric.limits)


def _replicates(metric: Metric, probs: Floats, predicted: Predicted) -> Floats:
    return _kept_replicates(metric.name, _Content(probs), _Content(predicted.truth), _Content(predicted.groups))


class _Content:
    """An array as a cache key."""

    def __init__(self, array: np.ndarray[Any, np.dtype[Any]]) -> None:
        self.array = array
        self.sha256 = hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Content) and self.sha256 == other.sha256


@lru_cache(maxsize=256)
def _kept_replicates(metric: str, probs: _Content, truth: _Content, groups: _Content) -> Floats:
    """Resampled scores of one role; several studies share supervisors and ceilings."""
    return replicates(
        METRICS[metric], probs.array, truth.array, groups.array, n_resamples=N_RESAMPLES, seed=RESAMPLING_SEED
    )


def _chance(metric: str, shares: Floats) -> float | None:
    """What a guess scores that knows only the class shares; None for losses."""
    if metric == "accuracy":
        return float(shares.max())
    return {"balanced_accuracy": float(1 / len(shares)), "auroc": 0.5}.get(metric)


def _at_chance(found: Recovered, chance: float | None) -> list[str]:
    """Roles that are not shown to know anything: a gap to or from a guess is not a gap between two abilities."""
    if chance is None:
        return []
    roles = {"supervisor": found.weak, "ceiling": found.ceiling}
    low = [name for name, one in roles.items() if not one.low > chance]
    return (
        [f"the {' and the '.join(low)} {'is' if len(low) == 1 else 'are'} not shown to be above chance ({chance:.3f})"]
        if low
        else []
    )


def _leak(
    env: Plan, scoring: Scoring, runs: Sequence[tuple[Sequence[Outcome], Outcome, Outcome]]
) -> dict[str, float] | None:
    """Whether the supervisor is right on transfer and test rows equally often; see `leaks.transfer_against_test`."""
    test = env.test_rows("test")
    return transfer_against_test(
        [
            (
                _right(labels, "transfer", env.parts(seed)["transfer"], env.task),
                _right(labels, "test", test, env.task),
            )
            for seed, (labels, _, _) in zip(scoring.seeds, runs, strict=True)
        ]
    )


def _artefacts(env: Plan) -> list[str]:
    """What is given away by trivial means, found once per task: the test is the same for every seed."""
    return env.once(("artefacts",), None, lambda: prompt_warnings(env.task, env.split(Seed.of(0))))


def _right(labels: Sequence[Outcome], part: str, rows: Rows, task: Task) -> Part:
    """How far the mean supervisor is right on the rows of a part, which of them are answered, and their groups."""
    answered = np.logical_and.reduce([np.asarray(one.arrays[f"{part}.answered"]) for one in labels])
    return right_shares(mean_supervisor(labels, part, rows), task.truth(rows)), answered, rows.groups


def to_json(estimate: Estimate) -> dict[str, Any]:
    """All fields; what is not finite becomes None."""
    fields = dataclasses.asdict(estimate)
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in fields.items()
    }


def from_json(fields: Mapping[str, Any]) -> Estimate:
    """The inverse of `to_json`."""
    numbers = {name: math.nan if fields[name] is None else fields[name] for name in ("value", "low", "high")}
    values: dict[str, Any] = {**fields, **numbers}
    return Estimate(**values)
