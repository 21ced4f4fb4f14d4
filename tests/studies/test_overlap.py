"""The overlap of easy and hard features that is told before a study is scored: from the store, by the definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from oversight.methods.method import WithLoss
from oversight.metrics.overlap import confidence, overlap
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import embedded
from oversight.models.features import features
from oversight.models.lexical import BagOfWords
from oversight.models.probe import Probe
from oversight.runs.store import MemoryStore
from oversight.studies.foretell import foretell
from oversight.studies.overlap import overlaps
from oversight.studies.weak_to_strong import Arm, Setup, begin_study, seeds_of
from oversight.supervision.supervisor import Flipped, Trained
from oversight.tasks.split import split_task
from oversight.tasks.task import Task

STUDENT = Probe(backbone=Backbone(checkpoint=embedded(), depth=0))


def campaign_of(task: Task, supervisor: Any, student: Any, store: MemoryStore, *, seeds: int = 2) -> Any:
    arms = tuple(Arm(supervisors=(supervisor,), student=student, method=WithLoss(), method_name=name) for name in "ab")
    return begin_study(Setup(task=task, arms=arms, seeds=seeds_of(seeds)), store=store)


@pytest.fixture(scope="module")
def task(make_task: Callable[..., Task]) -> Task:
    return make_task(n=600)


def test_it_is_the_definition_on_the_transfer_rows_once_for_all_methods(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oversight.studies.overlap.MOST_ROWS", 150)
    supervisor, store = Trained(BagOfWords()), MemoryStore()
    campaign = campaign_of(task, supervisor, STUDENT, store)
    assert overlaps(campaign, store=store) == ()  # nothing is computed for it
    foretell(campaign, store=store)
    with monkeypatch.context() as here:
        here.setattr(Task, "truth", lambda *_: pytest.fail("a true label was read"))
        (found,) = overlaps(campaign, store=store)
    assert found.name == "bow -> minilm@0" and len(found.density) == 2 and found.reason is None
    for seed, density, unsure in zip(seeds_of(2), found.density, found.unsure, strict=True):
        split = split_task(task, seed=seed.split)
        rows = task.pick(tuple(sorted(split.transfer)[:150]))
        (said,) = supervisor.supervise(task, split, [rows], seed=seed).labels
        expected = overlap(confidence(said.on(rows).probs), features(STUDENT.backbone, rows))
        assert (density, unsure) == (expected.both.mean(), expected.hard.mean())
        assert 0 < density < 1 and len(split.transfer) > 150


def test_who_reads_no_features_or_saw_the_truth_has_none(task: Task) -> None:
    for supervisor, student in ((Trained(BagOfWords()), BagOfWords()), (Flipped(0.25), STUDENT)):
        store = MemoryStore()
        campaign = campaign_of(task, supervisor, student, store, seeds=1)
        foretell(campaign, store=store)
        assert overlaps(campaign, store=store) == ()


def test_a_supervisor_that_is_equally_sure_of_all_rows_has_no_overlap_and_it_is_said_why(task: Task) -> None:
    class Flat(BagOfWords):
        """Says .7 of class 0 whatever it reads."""

        def fit(self, *given: Any, **options: Any) -> Any:
            fitted = super().fit(*given, **options)
            return _Flat(fitted)

    store = MemoryStore()
    campaign = campaign_of(task, Trained(Flat()), STUDENT, store, seeds=1)
    foretell(campaign, store=store)
    (found,) = overlaps(campaign, store=store)
    assert found.density == () and found.reason is not None and "without a change point" in found.reason


class _Flat:
    def __init__(self, fitted: Any) -> None:
        self.choices = fitted.choices

    def predict(self, rows: Any) -> Any:
        return np.tile([0.7, 0.3], (len(rows), 1))
