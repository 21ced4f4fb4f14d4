"""Many studies as one graph: each step once, the same numbers as one by one, and what fails takes nobody else along."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.errors import InputError, StoreError
from oversight.methods.losses import Confidence
from oversight.methods.method import WithLoss
from oversight.models.backbone import Backbone
from oversight.models.student import Fitted, Loss, Student
from oversight.reports.result import Study
from oversight.runs.drive import Stop
from oversight.runs.failures import failures
from oversight.runs.kept import all_kept
from oversight.runs.pools.inline import Inline
from oversight.runs.pools.pool import Pool, Status
from oversight.runs.store import DirectoryStore, MemoryStore, Store
from oversight.runs.workshop import Workshop, claims_of
from oversight.studies.sweep import Swept, count_sweep, run_sweep
from oversight.studies.weak_to_strong import Arm, Campaign, Setup, arms_of, plan_studies, run_study, seeds_of
from oversight.supervision.supervisor import Trained
from oversight.tasks.task import Task

NAIVE = ("naive", WithLoss())


@dataclass(frozen=True, kw_only=True)
class Breakable:
    """A student that cannot learn as long as a file is there; every attempt leaves a line in it."""

    inner: Any
    spoiler: str

    def identity(self) -> dict[str, Any]:
        """What it learns does not depend on the file, which decides only whether it does."""
        return {"inner": self.inner, "spoiler": self.spoiler}

    @property
    def name(self) -> str:
        return "breakable"

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        return ()

    def check_loss(self, loss: Loss) -> None:
        del loss

    def fit(self, *rows_and_labels: Any, **how: Any) -> Fitted:
        if Path(self.spoiler).exists():
            with Path(self.spoiler).open("a") as file:
                file.write("tried\n")
            raise ValueError("no\nfit")
        return self.inner.fit(*rows_and_labels, **how)


@pytest.fixture(scope="module")
def task(make_task: Callable[..., Task]) -> Task:
    return make_task(n=400)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def arms(reader: Any, students: Sequence[Student], methods: Sequence[tuple[str, Any]] = (NAIVE,)) -> tuple[Arm, ...]:
    return arms_of([(Trained(reader(2)),), (Trained(reader(3)),)], students, methods)


def grid(task: Task, reader: Any, *students: Student, seeds: int = 2, **options: Any) -> Campaign:
    """Two supervisors, and readers of 6 and 8 numbers unless others are given."""
    found = students or (reader(6), reader(8))
    return plan_studies([Setup(task=task, arms=arms(reader, found), seeds=seeds_of(seeds), **options)])


def swept(campaign: Campaign, store: Store, **options: Any) -> Swept:
    return run_sweep(campaign, title="grid", store=store, **options)


def as_json(found: Swept) -> str:
    return json.dumps([study.as_json() for study in found.result.studies])


def test_a_sweep_gives_what_its_studies_give_one_by_one(task: Task, reader: Any, make_task: Any) -> None:
    tests = {"more": make_task(5, n=100)}
    together = swept(grid(task, reader, tests=tests), MemoryStore())
    alone: list[dict[str, Any]] = []
    for arm in arms(reader, (reader(6), reader(8))):
        result = run_study(Setup(task=task, arms=(arm,), seeds=seeds_of(2), tests=tests))
        alone += [study.as_json() for study in result.studies]
    assert json.loads(as_json(together)) == json.loads(json.dumps(alone))
    assert (together.unfinished, together.summary.failed, together.summary.skipped) == (0, {}, {})


def _own(study: Study) -> dict[str, Any]:
    """All that a study says but for suspicions of leaks, which depend on how many supervisors were tested together."""
    told = study.as_json()
    return {**told, "warnings": [line for line in told["warnings"] if "more than chance makes likely" not in line]}


def test_a_sweep_over_tasks_keeps_them_apart(task: Task, reader: Any, make_task: Any) -> None:
    other = make_task(9, n=300, signal=1.2)
    setups = [Setup(task=one, arms=arms(reader, (reader(8),)), seeds=seeds_of(2)) for one in (task, other)]
    found = swept(plan_studies(setups), MemoryStore()).result.studies
    alone = [study for one in setups for study in run_study(one).studies]
    assert [_own(study) for study in found] == [_own(study) for study in alone]


def test_every_prediction_of_a_sweep_can_be_read(task: Task, reader: Any, store: DirectoryStore) -> None:
    found = swept(grid(task, reader), store)
    for i, study in enumerate(found.result.studies):
        rows = found.result.rows(i)
        right = (rows.probs["student"].mean(0).argmax(1) == rows.truth).mean()
        assert len(rows.ids) == study.n_test and 0.5 < right <= 1


# In numbers


def test_the_count_is_what_studies_of_their_own_and_all_together_compute(
    word_task: Task, bow: Any, save_encoder: Any, tmp_path: Path, probe: Any, counted: Any
) -> None:
    """Asked for: the sum over arms, each run in a store of its own; steps: what one store gets; shared ones once."""
    tiny = save_encoder(tmp_path / "tiny")
    methods = [NAIVE, ("confidence", WithLoss(Confidence()))]
    found = arms_of([(Trained(bow),), (Trained(probe(tiny, 0)),)], [probe(tiny, 1), probe(tiny)], methods)
    campaign = plan_studies([Setup(task=word_task, arms=found, seeds=seeds_of(2))])
    told = count_sweep(campaign, counted, workers=1)
    swept(campaign, counted)
    together: dict[str, int] = counted.since()
    asked: dict[str, int] = {}
    for arm in found:
        fresh = type(counted)()
        run_study(Setup(task=word_task, arms=(arm,), seeds=seeds_of(2)), store=fresh)
        asked = {kind: asked.get(kind, 0) + n for kind, n in fresh.since().items()}
    assert {one["kind"]: one["steps"] for one in told["kinds"]} == together
    assert {one["kind"]: one["asked"] for one in told["kinds"]} == asked
    assert (told["steps"], told["asked"]) == (sum(together.values()), sum(asked.values()))
    assert (told["studies"], told["tasks"], told["done"]) == (8, ["words"], 0)


def test_before_anything_was_done_time_and_memory_are_not_known(task: Task, reader: Any) -> None:
    told = count_sweep(grid(task, reader), MemoryStore(), workers=3)
    assert {one["seconds"] for one in told["kinds"]} == {one["memory_bytes"] for one in told["kinds"]} == {None}
    assert (told["seconds"], told["seconds_left"], told["workers"]) == (None, None, 3)


def test_after_a_sweep_nothing_is_to_do_and_a_larger_one_knows_its_time(
    task: Task, reader: Any, store: DirectoryStore
) -> None:
    """One seed more: its steps are to do, at the median seconds of those done, and shared out among the workers."""
    swept(grid(task, reader), store)
    told = count_sweep(grid(task, reader), store, workers=1)
    assert told["done"] == told["steps"] and told["seconds"] == told["seconds_left"] == 0
    assert all(one["to_do"] == 0 for one in told["kinds"])
    more = count_sweep(grid(task, reader, seeds=3), store, workers=1)
    to_do = {one["kind"]: one["to_do"] for one in more["kinds"]}
    assert to_do == {"supervise": 2, "teach": 4, "ceiling": 2, "rows": 0, "score": 4}
    seconds = {
        kind: [store.about(key)["seconds"] for key in list(store.keys()) if store.about(key)["kind"] == kind]
        for kind in to_do
    }
    by_kind = {one["kind"]: one["seconds"] for one in more["kinds"]}
    assert by_kind["score"] == pytest.approx(4 * float(np.median(seconds["score"])))
    assert more["seconds"] == pytest.approx(sum(by_kind.values()))
    assert more["seconds_left"] == pytest.approx(more["seconds"])
    assert count_sweep(grid(task, reader, seeds=3), store, workers=2)["seconds_left"] < more["seconds_left"]


def test_counting_writes_nothing(task: Task, reader: Any, store: DirectoryStore) -> None:
    count_sweep(grid(task, reader), store, workers=1)
    assert not store.path.exists()


# Failures


def test_a_student_that_cannot_learn_leaves_the_others_alone(
    task: Task, reader: Any, store: DirectoryStore, tmp_path: Path
) -> None:
    """Two seeds of its teaching by each of two supervisors and two ceilings fail; two scores are skipped."""
    (tmp_path / "spoiler").touch()
    broken = Breakable(inner=reader(6), spoiler=str(tmp_path / "spoiler"))
    found = swept(grid(task, reader, broken, reader(8)), store)
    kinds = [found.campaign.graph.steps[key].kind for key in found.summary.failed]
    assert sorted(kinds) == ["ceiling"] * 2 + ["teach"] * 4
    assert set(found.summary.failed.values()) == {"ValueError: no fit"}
    assert {found.campaign.graph.steps[key].kind for key in found.summary.skipped} == {"score"}
    assert all("which failed: ValueError: no fit" in reason for reason in found.summary.skipped.values())
    assert ([study.strong_model for study in found.result.studies], found.unfinished) == (["reader@8"] * 2, 2)
    assert as_json(found) == as_json(swept(grid(task, reader, reader(8)), MemoryStore()))


def test_what_failed_is_tried_again_only_when_asked_and_succeeds_once_mended(
    task: Task, reader: Any, store: DirectoryStore, tmp_path: Path
) -> None:
    spoiler = tmp_path / "spoiler"
    spoiler.touch()
    campaign = grid(task, reader, Breakable(inner=reader(6), spoiler=str(spoiler)))
    first = swept(campaign, store)
    tried = spoiler.read_text()
    again = swept(campaign, store)
    assert (again.summary.made, spoiler.read_text()) == ([], tried)
    assert (again.summary.failed, set(again.summary.skipped)) == (first.summary.failed, set(first.summary.skipped))
    spoiler.unlink()
    assert swept(campaign, store).summary.failed == first.summary.failed
    assert set(failures(store.path)) == set(first.summary.failed)
    mended = swept(campaign, store, retry_failed=True)
    assert (mended.unfinished, mended.summary.failed, failures(store.path)) == (0, {}, {})
    assert set(mended.summary.made) == {*first.summary.failed, *first.summary.skipped}


def test_a_failure_in_memory_is_forgotten_with_the_run(task: Task, reader: Any, tmp_path: Path) -> None:
    spoiler, kept = tmp_path / "spoiler", MemoryStore()
    spoiler.touch()
    campaign = grid(task, reader, Breakable(inner=reader(6), spoiler=str(spoiler)))
    assert swept(campaign, kept).unfinished == 2
    spoiler.unlink()
    assert swept(campaign, kept).unfinished == 0


# What is written, and when


def test_what_was_asked_for_is_written_down_even_where_a_step_fails(
    task: Task, reader: Any, store: DirectoryStore, tmp_path: Path
) -> None:
    (tmp_path / "spoiler").touch()
    campaign = grid(task, reader, Breakable(inner=reader(6), spoiler=str(tmp_path / "spoiler")))
    swept(campaign, store, about={"plan": "the text", "store": "here"})
    ((one,), faults) = all_kept(store.path)
    assert (one.title, set(one.steps), len(one.studies), faults) == ("grid", set(campaign.graph.steps), 2, {})
    assert one.about["plan"] == "the text" and "store" not in one.about


def test_workers_that_refuse_leave_nothing_written(task: Task, reader: Any, store: DirectoryStore) -> None:
    def nobody() -> Pool:
        raise InputError("--ray nowhere: nothing answers there")

    with pytest.raises(InputError, match="nothing answers"):
        swept(grid(task, reader), store, pool=nobody)
    assert not store.path.exists()


def test_a_finished_sweep_needs_no_workers(task: Task, reader: Any, store: DirectoryStore) -> None:
    def nobody() -> Pool:
        raise AssertionError("nothing is to be done")

    first = swept(grid(task, reader), store)
    again = swept(grid(task, reader), store, pool=nobody)
    assert (as_json(again), again.summary.made, again.summary.found) == (as_json(first), [], len(first.summary.made))


def test_workers_are_let_go_where_the_store_cannot_be_written(task: Task, reader: Any, tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    closed: list[bool] = []

    class Closing(Inline):
        def close(self, *, now: bool = False) -> None:
            closed.append(now)
            super().close(now=now)

    campaign = grid(task, reader)

    def workers() -> Pool:
        workshop = Workshop(campaign.graph, store, claims=claims_of(store, expires=60))
        return Closing(workshop, lambda worker: lambda done, note="": None)

    store.path.write_text("a file in its place")
    with pytest.raises(StoreError, match="store"):
        swept(campaign, store, pool=workers)
    assert closed == [True]


# While it runs


def test_a_sweep_that_is_stopped_goes_on(
    task: Task, reader: Any, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped once three steps are done; the second run does the rest and no more."""
    stop = Stop()
    done: list[int] = []

    def watch(status: Status) -> None:
        done.append(sum(status.done.values()))
        stop.soon = stop.soon or done[-1] >= 3

    monkeypatch.setattr("oversight.runs.drive.SHOWN_EVERY", 0.0)
    first = swept(grid(task, reader), store, watch=watch, stop=stop)
    assert first.summary.stopped and 3 <= len(first.summary.made) < len(first.campaign.graph.steps)
    assert first.unfinished > 0 and not first.summary.failed
    second = swept(grid(task, reader), store)
    assert not second.summary.stopped
    assert {*first.summary.made, *second.summary.made} == set(second.campaign.graph.steps)
    assert not set(first.summary.made) & set(second.summary.made)
    assert as_json(second) == as_json(swept(grid(task, reader), MemoryStore()))


def test_who_watches_sees_every_step_done_at_the_end(task: Task, reader: Any) -> None:
    seen: list[Status] = []
    found = swept(grid(task, reader), MemoryStore(), watch=seen.append)
    last = seen[-1]
    assert last.done == last.total and sum(last.total.values()) == len(found.campaign.graph.steps)
    assert not last.workers and not any(last.failed.values())


def test_a_fit_that_memory_would_not_hold_fails_by_its_estimate_and_the_others_go_on(
    word_task: Task, bow: Any, save_encoder: Any, tmp_path: Path, probe: Any
) -> None:
    """A limit of a kilobyte: the features of the network are not tried, the bag of words is."""
    tiny = save_encoder(tmp_path / "tiny")
    found = arms_of([(Trained(bow),)], [bow, probe(tiny)], [NAIVE])
    campaign = plan_studies([Setup(task=word_task, arms=found, seeds=seeds_of(1))])
    store = DirectoryStore(tmp_path / "store")
    told = swept(campaign, store, memory_bytes=1000)
    steps: Mapping[str, Any] = campaign.graph.steps
    assert {steps[key].kind for key in told.summary.failed} >= {"features"}
    reasons = [reason for key, reason in told.summary.failed.items() if steps[key].kind == "features"]
    assert all(reason.endswith("MB, more than the 0.0 MB of memory that it may take (--memory)") for reason in reasons)
    assert told.unfinished >= 1
    after = swept(campaign, store)
    assert (after.unfinished, after.summary.failed) == (0, {})
