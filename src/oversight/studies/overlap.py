"""How far easy and hard features overlap in the transfer rows of a study, from the store, without a true label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oversight.errors import InputError
from oversight.methods.method import mean_labels
from oversight.metrics.overlap import Overlap, confidence, overlap
from oversight.models.features import FeatureBank, feature_backbone, features, using
from oversight.runs.steps import Step
from oversight.runs.store import Store
from oversight.runs.workshop import outcome_of
from oversight.studies.plan import Plan, labels_on
from oversight.studies.weak_to_strong import Campaign, Scored
from oversight.supervision.supervisor import Flipped
from oversight.tasks.split import Seed

MOST_ROWS = 4000


@dataclass(frozen=True, kw_only=True)
class Overlapping:
    """The overlap of one supervisor and one student.

    Attributes:
        name: `bow -> minilm@4`.
        density: by seed, the share of transfer rows that have easy and hard features; empty where it is not defined.
        unsure: by seed, the share of rows with hard features only.
        reason: why it is not defined.
    """

    name: str
    density: tuple[float, ...] = ()
    unsure: tuple[float, ...] = ()
    reason: str | None = None


def overlaps(campaign: Campaign, *, store: Store) -> tuple[Overlapping, ...]:
    """Of every pair of supervisors and student whose features and labels the store has; others are left out.

    Taken on the rows that a supervisor answers, the first 4,000 by id, which is a digest of their content. Left out are
    also tasks of more than two classes, and planted supervisors, who have seen the truth.
    """
    pairs: dict[tuple[int, str, str], Scored] = {}
    for one in campaign.scored:
        if len(one.setup.task.class_names) == 2 and not any(isinstance(who, Flipped) for who in one.arm.supervisors):
            pairs.setdefault((id(one.setup), one.arm.weak_name, one.arm.student.name), one)
    told = (_told(one, campaign.graph.env_of(one.step), store) for one in pairs.values())
    return tuple(one for one in told if one is not None)


def _told(one: Scored, plan: Plan, store: Store) -> Overlapping | None:
    name = f"{one.arm.weak_name} -> {one.arm.student.name}"
    found: list[Overlap] = []
    for seed, (labels, _, _) in zip(one.setup.seeds, one.runs, strict=True):
        try:
            cut = _overlap(one, plan, seed, labels, store)
        except InputError as error:
            return Overlapping(name=name, reason=str(error))
        if cut is None:
            return None
        if cut.reason:
            return Overlapping(name=name, reason=cut.reason)
        found.append(cut)
    unsure = tuple(float(cut.hard.mean()) for cut in found)
    return Overlapping(name=name, density=tuple(cut.density for cut in found), unsure=unsure)


def _overlap(one: Scored, plan: Plan, seed: Seed, labels: tuple[Step, ...], store: Store) -> Overlap | None:
    backbone = feature_backbone(one.arm.student) if one.arm.student.backbones else None
    if backbone is None:
        return None
    step = plan.features(backbone.whole, plan.task.rows)
    read, said = outcome_of(store, step.key), [outcome_of(store, label.key) for label in labels]
    if read is None or None in said:
        return None
    rows = plan.parts(seed)["transfer"]
    weak = mean_labels([labels_on(outcome, "transfer", rows) for outcome in said if outcome], source="weak")
    answered: list[int] = np.flatnonzero(weak.answered).tolist()
    chosen = sorted(answered, key=rows.ids.__getitem__)[:MOST_ROWS]
    bank, wanted = FeatureBank(), plan.objects[step.key]
    bank.add(wanted.backbone, wanted.rows.ids, read.arrays["features"])
    with using(bank):
        states = features(backbone, rows.take(chosen))
    return overlap(confidence(weak.probs[chosen]), states)
