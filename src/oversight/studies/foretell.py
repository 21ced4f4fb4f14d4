"""The prediction of every study before it is scored: supervisors label, students learn, and how they differ is told.

What is done for it reads no true label but those of the supervisors' own rows: ceilings, the rows with their truth, and
scores are steps of their own, done afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from oversight.metrics.intervals import Estimate
from oversight.metrics.misfit import kl_misfit, squared_misfit
from oversight.runs.drive import run_graph
from oversight.runs.steps import Progress, Step
from oversight.runs.store import Outcome, Store
from oversight.runs.workshop import outcome_of
from oversight.studies.plan import Plan
from oversight.studies.score import mean_supervisor, probs_on
from oversight.studies.stored import theory_of, why_no_theory
from oversight.studies.weak_to_strong import Campaign, Scored


@dataclass(frozen=True, kw_only=True)
class Foretold:
    """The prediction of one study on one test set.

    Attributes:
        name: `bow -> minilm@4, naive`, with the test set where it is not the task's own.
        squared, kl: lower bounds of the gain in Brier score and in NLL (nats); None where there are none.
        reason: why there are none.
        scored: whether the study was scored already, in an earlier run.
    """

    name: str
    squared: Estimate | None = None
    kl: Estimate | None = None
    reason: str | None = None
    scored: bool = False


def foretell(campaign: Campaign, *, store: Store, progress: Progress | None = None) -> tuple[Foretold, ...]:
    """Predict every study from the store, running what supervisors and students lack; in the order of the campaign."""
    open_: dict[str, Scored] = {}
    told: dict[str, Foretold] = {}
    for one in campaign.scored:
        reason, outcome = why_no_theory(one.names), outcome_of(store, one.step.key)
        if reason is not None:
            told[one.step.key] = Foretold(name=_name(one), reason=reason)
        elif outcome is not None:
            told[one.step.key] = _from_record(one, outcome)
        else:
            open_[one.step.key] = one
    steps = dict.fromkeys(
        step for one in open_.values() for labels, student, _ in one.runs for step in (*labels, student)
    )
    graph = replace(campaign.graph, goals=tuple(steps), beside=())
    outcomes = run_graph(graph, store=store, progress=progress) if steps else {}
    told |= {key: _from_predictions(one, graph.env_of(one.step), outcomes) for key, one in open_.items()}
    return tuple(told[one.step.key] for one in campaign.scored)


def _name(one: Scored) -> str:
    arm = one.arm
    where = "" if one.test == "test" else f", test {one.test}"
    return f"{arm.weak_name} -> {arm.student.name}, {arm.method_name}{where}"


def _from_record(one: Scored, outcome: Outcome) -> Foretold:
    found = theory_of(one.names, outcome.record)
    assert found is not None  # scores of this version have it
    return _foretold(one, found.squared.predicted, found.kl.predicted, scored=True)


def _from_predictions(one: Scored, plan: Plan, outcomes: Mapping[str, Outcome]) -> Foretold:
    rows = plan.test_rows(one.test)

    def of(step: Step) -> Outcome:
        return outcomes[step.key]

    weak = np.stack([mean_supervisor([of(step) for step in labels], one.test, rows) for labels, _, _ in one.runs])
    student = np.stack([probs_on(of(step), one.test, rows) for _, step, _ in one.runs])
    groups = rows.group_numbers()
    return _foretold(one, squared_misfit(student, weak, groups), kl_misfit(student, weak, groups))


def _foretold(one: Scored, squared: Estimate, kl: Estimate, *, scored: bool = False) -> Foretold:
    """No prediction, with the reason, where neither is defined."""
    if not (squared.defined or kl.defined):
        return Foretold(name=_name(one), reason=squared.reason, scored=scored)
    return Foretold(name=_name(one), squared=squared, kl=kl, scored=scored)
