"""A finished sweep with damage in its store: what cannot be believed is named and made again, by the same command."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oversight.methods.method import WithLoss
from oversight.runs.store import DirectoryStore
from oversight.studies.sweep import Swept, run_sweep
from oversight.studies.weak_to_strong import Campaign, Setup, arms_of, plan_studies, seeds_of
from oversight.supervision.supervisor import Trained


@pytest.fixture(scope="module")
def campaign(make_task: Callable[..., Any], reader: Any) -> Campaign:
    """Two studies of one seed that share a supervisor."""
    arms = arms_of([(Trained(reader(2)),)], [reader(6), reader(8)], [("naive", WithLoss())])
    return plan_studies([Setup(task=make_task(n=400), arms=arms, seeds=seeds_of(1))])


def swept(campaign: Campaign, path: Path) -> Swept:
    return run_sweep(campaign, title="grid", store=DirectoryStore(path))


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def keys_of(campaign: Campaign, kind: str) -> list[str]:
    return [key for key, step in campaign.graph.steps.items() if step.kind == kind]


@pytest.mark.parametrize("kinds", [("score",), ("score", "teach", "rows")])
def test_a_damaged_score_is_computed_again_by_the_same_command(
    kinds: tuple[str, ...], campaign: Campaign, tmp_path: Path
) -> None:
    first = swept(campaign, tmp_path)
    store = DirectoryStore(tmp_path)
    damaged = [keys_of(campaign, kind)[0] for kind in kinds]
    for key in damaged:
        damage(store.folder(key) / "record.json")
    again = swept(campaign, tmp_path)
    assert again.unfinished == 0
    assert [one.as_json() for one in again.result.studies] == [one.as_json() for one in first.result.studies]
    assert {line.partition(":")[0] for line in again.summary.damaged} == set(damaged)
    assert set(again.summary.made) == set(damaged)
    assert store.verify() == {}


def test_steps_made_again_are_not_counted_as_found(campaign: Campaign, tmp_path: Path) -> None:
    swept(campaign, tmp_path)
    damage(DirectoryStore(tmp_path).folder(keys_of(campaign, "score")[0]) / "record.json")
    summary = swept(campaign, tmp_path).summary
    assert (len(summary.made), summary.found) == (1, len(campaign.graph.steps) - 1)


@pytest.mark.parametrize("kind", ["supervise", "teach", "ceiling", "rows"])
def test_predictions_that_are_gone_are_made_again_though_the_score_is_there(
    kind: str, campaign: Campaign, tmp_path: Path
) -> None:
    swept(campaign, tmp_path)
    store, gone = DirectoryStore(tmp_path), keys_of(campaign, kind)[0]
    shutil.rmtree(store.folder(gone))
    summary = swept(campaign, tmp_path).summary
    assert summary.made == [gone] and store.peek(gone)


def test_features_that_are_gone_are_not_missed(campaign: Campaign, tmp_path: Path) -> None:
    """Nothing that is asked for is made from them any more."""
    swept(campaign, tmp_path)
    wanted = set(campaign.graph.missing(lambda key: False))
    assert wanted == set(campaign.graph.steps)
    predictions = {before.key for one in campaign.scored for before in one.step.inputs}
    scores = {one.step.key for one in campaign.scored}
    assert campaign.graph.missing(lambda key: key in predictions | scores) == []
