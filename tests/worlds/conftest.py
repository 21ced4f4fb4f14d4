"""A small world and a few rungs grown in it, once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from oversight.worlds import World
from oversight.worlds.growth import Rung
from oversight.worlds.nursery import grow_ladder

SMALL = World(people=400, strangers=40)
EARLY = Rung(name="early-s", about="unfinished supervisor", width=32, rate=4e-3, share=0.055)
LATE = Rung(name="m", about="student", width=32, rate=4e-3, share=0.12, knows=0.9)


@pytest.fixture(scope="session")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a world of 400 people, a network that stopped early and one that knows most facts."""
    place = tmp_path_factory.mktemp("worlds") / "grown"
    assert [card.rung for card in grow_ladder(place, SMALL, [LATE, EARLY], seed=0)] == ["early-s", "m"]
    return place
