"""How far easy and hard features overlap in the transfer rows of a study, from the store, without a true label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oversight.errors import InputError
from oversight.methods.method import mean_labels
from oversight.metrics.overlap import Overlap, confidence, overlap
from oversight.models.backbone import Backbone
from oversight.models.features import FeatureBank, feature_backbone, features, using
from oversight.runs.store import Outcome, Store
from oversight.runs.workshop import outcome_of
from oversight.studies.plan import Plan, labels_on
from oversight.studies.weak_to_strong import Campaign, Scored
from oversight.tasks.task import Rows

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
    also tasks of more than two classes, and whatever truth was planted in.
    """
    pairs: dict[tuple[int, str, str], Scored] = {}
    for one in campaign.scored:
        if len(one.setup.task.class_names) == 2 and not one.names["planted"]:
            pairs.setdefault((id(one.setup), one.arm.weak_name, one.arm.student.name), one)
    told = (_told(one, campaign.graph.env_of(one.step), store) for one in pairs.values())
    return tuple(one for one in told if one is not None)


def _told(one: Scored, plan: Plan, store: Store) -> Overlapping | None:
    name = f"{one.arm.weak_name} -> {one.arm.student.name}"
    backbone = feature_backbone(one.arm.student) if one.arm.student.backbones else None
    bank = None if backbone is None else _kept_features(backbone, plan, store)
    if backbone is None or bank is None:
        return None
    found: list[Overlap] = []
    for seed, (labels, _, _) in zip(one.setup.seeds, one.runs, strict=True):
        said = [outcome_of(store, label.key) for label in labels]
        if None in said:
            return None
        with using(bank):
            try:
                cut = _overlap(backbone, plan.parts(seed)["transfer"], [one for one in said if one])
            except InputError as error:
                return Overlapping(name=name, reason=str(error))
        if cut.reason:
            return Overlapping(name=name, reason=cut.reason)
        found.append(cut)
    unsure = tuple(float(cut.hard.mean()) for cut in found)
    return Overlapping(name=name, density=tuple(cut.density for cut in found), unsure=unsure)


def _kept_features(backbone: Backbone, plan: Plan, store: Store) -> FeatureBank | None:
    step = plan.features(backbone.whole, plan.task.rows)
    read, wanted = outcome_of(store, step.key), plan.objects[step.key]
    if read is None:
        return None
    bank = FeatureBank()
    bank.add(wanted.backbone, wanted.rows.ids, read.arrays["features"])
    return bank


def _overlap(backbone: Backbone, rows: Rows, said: Sequence[Outcome]) -> Overlap:
    weak = mean_labels([labels_on(outcome, "transfer", rows) for outcome in said], source="weak")
    answered: list[int] = np.flatnonzero(weak.answered).tolist()
    chosen = sorted(answered, key=rows.ids.__getitem__)[:MOST_ROWS]
    return overlap(confidence(weak.probs[chosen]), features(backbone, rows.take(chosen)))
