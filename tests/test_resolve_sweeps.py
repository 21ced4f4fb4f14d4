"""A plan becomes a graph, the same one in every process, and the workers that do it; sweeps from Python."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import oversight as ov
from oversight.errors import InputError, OversightError
from oversight.resolve import plans
from oversight.resolve.sweeps import check_workers, cores, gpus, graph_of, load_campaign, load_pool, run_plan
from oversight.runs.failures import failures
from oversight.runs.pools.pool import Status
from oversight.runs.store import DirectoryStore, MemoryStore
from oversight.studies.sweep import run_sweep

PLAN = """
tasks = ["data.jsonl"]
supervisors = ["bow"]
students = ["bow", "./tiny@1"]
methods = ["naive"]
seeds = 2
"""
BOW = 'tasks = ["data.jsonl"]\nsupervisors = ["bow"]\nstudents = ["bow"]\nmethods = ["naive"]\nseeds = 2\n'


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, save_tiny: Callable[..., Path]) -> Path:
    """An encoder of two blocks."""
    return save_tiny(tmp_path_factory.mktemp("network") / "tiny", "bert")


@pytest.fixture
def plan(data: Path, network: Path) -> plans.SweepPlan:
    """PLAN beside its data and its model."""
    shutil.copytree(network, data.with_name("tiny"))
    (data.parent / "plan.toml").write_text(PLAN)
    return plans.read_plan(data.parent / "plan.toml")


@pytest.fixture
def bow_plan(data: Path) -> plans.SweepPlan:
    """BOW beside its data."""
    (data.parent / "bow.toml").write_text(BOW)
    return plans.read_plan(data.parent / "bow.toml")


def test_another_process_builds_the_same_graph_wherever_it_stands(
    plan: plans.SweepPlan, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads(json.dumps(plan.document()))
    here = load_campaign(plan).graph
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    there = graph_of(document)
    assert list(there.steps) == list(here.steps)
    assert there.groups == here.groups
    assert [step.name for step in there.steps.values()] == [step.name for step in here.steps.values()]


def test_finding_everything_that_a_plan_names_writes_nothing(
    plan: plans.SweepPlan, tree: Callable[[], dict[str, tuple[int, int]]]
) -> None:
    before = tree()
    assert len(load_campaign(plan).scored) == 2
    assert tree() == before


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"workers": 0}, "--workers: found 0, expected 1 to 4096"),
        ({"workers": -2}, "--workers: found -2, expected 1 to 4096"),
        ({"workers": 5000}, "--workers: found 5000, expected 1 to 4096"),
        ({"gpu_share": 0.0}, "--gpu-share: found 0.0, expected above 0 and at most 1"),
        ({"gpu_share": 1.5}, "--gpu-share: found 1.5, expected above 0 and at most 1"),
        ({"gpu_share": float("nan")}, "--gpu-share: found nan, expected above 0 and at most 1"),
    ],
)
def test_a_senseless_number_of_workers_or_share_is_refused(
    bow_plan: plans.SweepPlan, tmp_path: Path, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as refused:
        load_pool(bow_plan, DirectoryStore(tmp_path / "store"), **asked)
    assert str(refused.value) == said
    assert not (tmp_path / "store").exists()


def test_one_worker_is_this_process(bow_plan: plans.SweepPlan, tmp_path: Path) -> None:
    check_workers(1)
    assert load_pool(bow_plan, DirectoryStore(tmp_path / "store")) is None


@pytest.mark.parametrize("asked", [{"workers": 2}, {"ray": "local"}])
def test_several_workers_need_a_directory_to_meet_in(bow_plan: plans.SweepPlan, asked: dict[str, Any]) -> None:
    with pytest.raises(InputError) as refused:
        ov.sweep(bow_plan, store=MemoryStore(), **asked)
    assert str(refused.value) == "--store: found one in memory, expected a directory in which the workers can meet"


@pytest.mark.parametrize(
    ("visible", "names"), [("0,1", ["0", "1"]), (" 2 , GPU-8f ", ["2", "GPU-8f"]), ("", []), ("-1", [])]
)
def test_gpus_are_those_that_this_process_may_use(
    visible: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus() == names


def test_there_is_at_least_one_core() -> None:
    assert cores() >= 1


# From Python


def test_a_sweep_in_memory_gives_what_its_studies_give_and_writes_nothing(
    plan: plans.SweepPlan, place: Path, tree: Callable[[], dict[str, tuple[int, int]]]
) -> None:
    before = tree()
    found = ov.sweep(place / "plan.toml", store=MemoryStore())
    task = ov.load_task("data.jsonl")
    for strong in ("bow", "./tiny@1"):
        alone = ov.weak_to_strong(task, weak="bow", strong=strong, method="naive", seeds=2, store=MemoryStore())
        (study,) = [one for one in found.studies if one.strong_model == alone.studies[0].strong_model]
        assert study.as_json() == alone.studies[0].as_json()
    assert tree() == before


def test_a_plan_may_be_given_as_a_path_as_text_or_as_it_is(bow_plan: plans.SweepPlan, place: Path) -> None:
    store = MemoryStore()
    several = [ov.sweep(given, store=store) for given in (place / "bow.toml", "bow.toml", bow_plan)]
    assert len({json.dumps(one.as_json()) for one in several}) == 1
    assert several[0].about["plan"] == BOW


def test_who_watches_a_sweep_from_python_sees_it_end(bow_plan: plans.SweepPlan) -> None:
    seen: list[Status] = []
    ov.sweep(bow_plan, store=MemoryStore(), watch=seen.append)
    assert sum(seen[-1].done.values()) == sum(seen[-1].total.values()) == 8


def test_two_local_workers_give_the_bytes_of_one(bow_plan: plans.SweepPlan, place: Path) -> None:
    alone = ov.sweep(bow_plan, store=place / "one")
    shared = ov.sweep(bow_plan, store=place / "two", workers=2)
    assert json.dumps(shared.as_json()) == json.dumps(alone.as_json())
    one, two = DirectoryStore(place / "one"), DirectoryStore(place / "two")
    assert sorted(one.keys()) == sorted(two.keys())
    for key in one.keys():  # noqa: SIM118
        files = sorted(path.name for path in one.folder(key).iterdir() if path.name != "record.json")
        assert [(two.folder(key) / name).read_bytes() for name in files] == [
            (one.folder(key) / name).read_bytes() for name in files
        ]
        assert two.about(key, check=True)["record"] == one.about(key, check=True)["record"]


def test_a_model_that_vanishes_before_it_is_read_fails_alone_and_is_tried_again_when_it_is_back(
    plan: plans.SweepPlan, place: Path
) -> None:
    """Removed before the first step, as by a colleague who tidies up."""
    store, campaign = DirectoryStore(place / "store"), load_campaign(plan)

    def tidy_up(status: Status) -> None:
        if not any(status.done.values()) and (place / "tiny").exists():
            (place / "tiny").rename(place / "away")

    found = run_sweep(campaign, title="sweep", store=store, watch=tidy_up, memory_bytes=10**12)
    assert [study.strong_model for study in found.result.studies] == ["bow"]
    ((key, reason),) = found.summary.failed.items()
    assert campaign.graph.steps[key].kind == "features" and "tiny" in reason and "\n" not in reason
    assert found.unfinished == 1
    assert {campaign.graph.steps[one].kind for one in found.summary.skipped} == {"teach", "ceiling", "score"}
    (place / "away").rename(place / "tiny")
    assert run_plan(plan, store=store).summary.failed == found.summary.failed
    mended = run_plan(plan, store=store, retry_failed=True)
    assert (mended.unfinished, mended.summary.failed, failures(store.path)) == (0, {}, {})


def test_workers_that_find_other_data_than_the_plan_did_stop_the_sweep_in_one_line(
    bow_plan: plans.SweepPlan, place: Path, reviews_of: Callable[..., Any], write_lines: Callable[..., Path]
) -> None:
    store, campaign = DirectoryStore(place / "store"), load_campaign(bow_plan)
    pool = load_pool(bow_plan, store, workers=2)
    write_lines(place / "data.jsonl", reviews_of(160, seed=5))
    with pytest.raises(OversightError, match=r"another graph, without step .*: did the data or a model change") as said:
        run_sweep(campaign, title="sweep", store=store, pool=pool)
    assert "\n" not in str(said.value)
    assert list(store.keys()) == []
