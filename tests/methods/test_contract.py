"""Every method of the table keeps the contract, and says of itself what a reader needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from oversight.describe import describe
from oversight.errors import InputError
from oversight.methods import METHODS
from oversight.methods.entry import TRACKS
from oversight.methods.method import OracleMethod, WithLoss, check_needs
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import from_directory
from oversight.models.finetune.recipe import Full
from oversight.models.finetune.student import FineTuned
from oversight.testing import check_method, planted

WORLD = planted(n=120)
TRAINED_BY_PROBES = [name for name, entry in METHODS.items() if "probe" in entry.tracks and not entry.needs.missing]
FAMILIES = {
    *("losses", "filters", "relabelling", "several supervisors", "chains", "regularisers", "oracles"),
}


@pytest.mark.parametrize("name", TRAINED_BY_PROBES)
def test_a_method_keeps_the_contract(name: str) -> None:
    assert len(check_method(METHODS[name].make(), name=name)) == 9


def test_a_chain_keeps_the_contract() -> None:
    world = planted(n=240, depths=2)
    first = replace(world.student, backbone=world.student.backbone.at(5))
    assert len(check_method(METHODS["bootstrap"].make(through=(first,)), name="bootstrap", world=world)) == 9


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, save_tiny: Callable[..., Path]) -> FineTuned:
    """A network of two blocks, all of its weights trained for one epoch."""
    path = save_tiny(tmp_path_factory.mktemp("contract") / "tiny", "bert")
    backbone = Backbone(checkpoint=from_directory(path, name="tiny"), precision="float32", device="cpu")
    return FineTuned(backbone=backbone, recipe=Full(epochs=1, batch_size=32, lr=1e-3, evaluations=2))


@pytest.mark.parametrize("name", [name for name in METHODS if "probe" not in METHODS[name].tracks])
def test_a_method_that_is_fine_tuned_keeps_the_contract(name: str, tuned: FineTuned) -> None:
    assert len(check_method(METHODS[name].make(), name=name, student=tuned, world=planted(n=80))) == 7


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_is(name: str) -> None:
    entry = METHODS[name]
    assert entry.about and len(entry.about) < 120 and not entry.about.endswith(".")
    assert entry.paper == "this project" or "arXiv" in entry.paper or any(c.isdigit() for c in entry.paper)
    assert entry.family in FAMILIES
    assert set(entry.tracks) <= set(TRACKS)


@pytest.mark.parametrize("name", METHODS)
def test_trials_are_settings_of_the_method_and_begin_with_its_defaults(name: str) -> None:
    entry = METHODS[name]
    assert entry.trials[0] == {}
    described = [describe(entry.make(**trial)) for trial in entry.trials]
    assert all(one not in described[:i] for i, one in enumerate(described)), "two trials are the same"


@pytest.mark.parametrize("name", METHODS)
def test_a_method_with_settings_offers_three_trials(name: str) -> None:
    entry = METHODS[name]
    simple = [
        one.name
        for one in inspect.signature(entry.make).parameters.values()
        if isinstance(one.default, bool | int | float | str) and one.name != "through"
    ]
    assert len(entry.trials) >= (3 if any(name != "seed" for name in simple) else 1) or all(
        isinstance(inspect.signature(entry.make).parameters[one].default, bool | str) for one in simple
    )


def test_an_oracle_is_named_so_and_no_other_is() -> None:
    for name, entry in METHODS.items():
        assert isinstance(entry.make(), OracleMethod) == name.startswith("oracle_")


def test_a_method_says_on_which_students_it_does_not_run() -> None:
    class Elsewhere(WithLoss):
        @property
        def needs(self):  # type: ignore[no-untyped-def]
            from oversight.methods.method import Needs

            return Needs(trains=("full",))

    with pytest.raises(InputError, match="method mine: runs on full, found a student trained by probe"):
        check_needs("mine", Elsewhere(), WORLD.student, n_supervisors=1)


def test_the_network_of_the_planted_task_is_only_named() -> None:
    backbone: Backbone = WORLD.student.backbone
    assert backbone.checkpoint.path == Path() and backbone.blocks == 6
