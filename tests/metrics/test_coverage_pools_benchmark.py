"""The benchmark of new pools: its cuts are the protocol's, its expected accuracies are right, its bar can fail."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.tasks.split import PARTS, cut_by_group

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def worlds() -> Iterator[Any]:
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("pool_worlds")
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def pools(worlds: Any) -> Any:
    return importlib.import_module("coverage_pools")


def test_parts_have_the_shares_and_classes_of_the_protocol(worlds: Any) -> None:
    """Against `cut_by_group`, which cuts rows one by one: sizes within a row, shares of classes within two rows."""
    y = np.where(np.arange(400) % 3 == 0, 1.0, -1.0)
    parts = worlds.cut(np.random.default_rng(0), y[None, :], seeds=4, size=1)
    own = cut_by_group([str(i) for i in range(400)], (y > 0).astype(int), list(PARTS.values()), seed="split 0")
    for p, rows in enumerate(parts):
        assert abs(rows.shape[1] - (own == p).sum()) <= 1
        assert (np.abs((y[rows] > 0).sum(axis=1) - ((own == p) & (y > 0)).sum()) <= 2).all()
    for s in range(4):
        assert sorted(np.concatenate([rows[s] for rows in parts])) == list(range(400))


def test_groups_stay_in_one_part(worlds: Any) -> None:
    parts = worlds.cut(np.random.default_rng(0), np.ones((1, 200)), seeds=3, size=5)
    for s in range(3):
        of = [set((rows[s] // 5).tolist()) for rows in parts]
        assert not (of[0] & of[1] or of[0] & of[2] or of[1] & of[2])


@pytest.mark.parametrize("name", ["blurred", "hard labels", "groups of 5"])
def test_expected_accuracies_are_those_on_many_rows(worlds: Any, name: str) -> None:
    """Within 5 standard errors of 20,000 rows, groups of 5 counting as one row each."""
    world = next(one for one in worlds.PLANTED if one.name == name)
    found = world.study(np.random.default_rng(1), pool=300, seeds=2, test=20_000, shared=True)
    error = 0.5 / np.sqrt(20_000 / world.size)
    np.testing.assert_allclose(found.right.mean(axis=0), found.expected, atol=5 * error)


def test_seeds_of_one_pool_are_correlated_and_seeds_of_their_own_are_not(worlds: Any, pools: Any) -> None:
    """60 studies of 8 seeds; the correlation of a supervisor near chance is about .4, its noise about .08."""
    world = next(one for one in worlds.PLANTED if one.name == "near chance")
    options = {"pool": 300, "n": 60, "seeds": 8, "tests": (100,), "seed": 3}
    shared, apart = (pools.Studies(world, shared=one, **options).correlations(100) for one in (True, False))
    assert shared["ceiling"] > 0.2
    assert abs(apart["ceiling"]) < 0.2


def test_a_cell_falls_short_by_its_limit_and_not_by_its_share(pools: Any) -> None:
    """One-sided 99 % limits: 500 studies at .89 lie below .93 for sure, at .91 not."""
    own: dict[str, Any] = {
        "coverage": dict.fromkeys(pools.NUMBERS, 0.95),
        "p_defined": 1.0,
        "p_defined_and_missed": 0.05,
    }
    cell: dict[str, Any] = {"replicates": 500, "new-rows": {**own, "coverage_given_defined": 0.95}}
    assert pools.short(cell) == []
    cell["new-rows"]["coverage"] = {**own["coverage"], "student": 0.91}
    assert pools.short(cell) == []
    cell["new-rows"] |= {"coverage": {**own["coverage"], "student": 0.89}, "coverage_given_defined": 0.88}
    assert pools.short(cell) == ["student", "pgr"]
    cell["new-rows"] |= {"p_defined": 0.4, "p_defined_and_missed": 0.09}
    assert pools.short(cell) == ["student", "pgr missed"]
