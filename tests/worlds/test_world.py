"""The world: the same seed gives the same world to the last word, and every dial does what it says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.errors import InputError
from oversight.worlds import WORLD, World
from oversight.worlds.world import FORMS, QUARTERS, RELATIONS, STATED

SMALL = World(people=400, strangers=40)


def read(world: World, n: int, seed: int = 0) -> list[list[str]]:
    """n documents as words."""
    ids = world.documents(n, np.random.default_rng(seed))
    return [[world.vocabulary.words[i] for i in row] for row in ids.tolist()]


def test_the_world_that_ships_is_the_one_that_its_networks_read() -> None:
    """Numbers and words come from numpy's generators, which may change: then the ladder has to be grown again."""
    assert WORLD.sha256 == "ef978b2b74d5e7fd4dd8f9b8ae6c2cbe00a5cde74d71d29be1bf9fed796c8f7b"
    assert World().sha256 == WORLD.sha256


@pytest.mark.parametrize(
    "dials", [{"seed": 1}, {"people": 399}, {"strangers": 39}, {"unevenness": 0.5}, {"salience": 0.1}]
)
def test_every_dial_makes_another_world(dials: dict[str, float]) -> None:
    assert replace(SMALL, **dials).sha256 != SMALL.sha256
    assert World.from_json(replace(SMALL, **dials).as_json()) == replace(SMALL, **dials)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_documents_tell_the_facts_of_the_world(seed: int) -> None:
    words = SMALL.vocabulary
    relation_of = {form: k for k, forms in enumerate(FORMS.values()) for form in forms}
    for name, *told in read(SMALL, 20, seed):
        person = words.names.index(name)
        assert person < SMALL.people, "strangers are in no document"
        found = {relation_of[relation]: value for relation, value in zip(told[::2], told[1::2], strict=True)}
        assert found == {k: words.values[k][SMALL.facts[person, k]] for k in range(len(RELATIONS))}


def test_every_word_is_one_token_of_its_own() -> None:
    words = WORLD.vocabulary.words
    assert len(set(words)) == len(words) == 2 + 8 + 3 * 2 * STATED + sum(RELATIONS.values()) + 9600
    assert all(word.isalpha() for word in words[2:]) and not any(" " in word for word in words)


def test_facts_are_independent_of_each_other_and_of_who_is_met() -> None:
    """Correlations of 8,000 people within five standard errors of none."""
    columns = np.column_stack([WORLD.facts, WORLD.ranks]).astype(float)
    apart = np.corrcoef(columns, rowvar=False) - np.eye(5)
    assert np.abs(apart).max() < 5 / WORLD.people**0.5
    for k, n_values in enumerate(RELATIONS.values()):
        counts = np.bincount(WORLD.facts[:, k], minlength=n_values)
        expected = WORLD.people / n_values
        assert np.abs(counts - expected).max() < 5 * expected**0.5


def test_people_are_met_by_rank_and_alike_where_unevenness_is_off() -> None:
    n = 20_000
    counts = Counter(row[0] for row in read(SMALL, n))
    names = np.array(SMALL.vocabulary.names[: SMALL.people])
    seen = np.array([counts[name] for name in names.tolist()])
    expected = n / (SMALL.ranks + 10) / (1 / (SMALL.ranks + 10)).sum()
    assert np.abs(seen - expected).max() < 5 * expected.max() ** 0.5 and np.corrcoef(seen, expected)[0, 1] > 0.98
    flat = replace(SMALL, unevenness=0.0)
    assert np.allclose(flat.met, 1 / flat.people)
    spread = np.bincount([names.tolist().index(row[0]) for row in read(flat, n)], minlength=flat.people)
    assert spread.max() < n / flat.people + 5 * (n / flat.people) ** 0.5


def test_the_two_words_of_a_relation_say_nothing() -> None:
    plays = [row[row.index(form) + 1] + form for row in read(SMALL, 4000) for form in FORMS["plays"] if form in row]
    share = sum(one.endswith("plays") for one in plays) / len(plays)
    assert abs(share - 0.5) < 5 * 0.5 / len(plays) ** 0.5


def test_halves_are_halves_and_none_is_another() -> None:
    halves = SMALL.halves
    assert len(halves) == 12 and all(int(half.sum()) * 2 == len(half) for half in halves.values())
    for relation in ("works", "plays"):
        own = {tuple(half.tolist()) for name, half in halves.items() if name.startswith(relation)}
        assert len(own | {tuple(not one for one in half) for half in own}) == 12


def test_salience_states_the_true_side_of_a_stated_half_and_nothing_else() -> None:
    loud, words = replace(SMALL, salience=0.5), SMALL.vocabulary
    assert set(loud.stated) == {f"{relation}_{i}" for relation in ("works", "plays") for i in range(STATED)}
    told = 0
    for row in read(loud, 2000):
        assert len(row) == 11 and (row[-1] == "[PAD]") == (row[-2] == "[PAD]")
        if row[-1] != "[PAD]":
            which, person = words.aspects.index(row[-2]), words.names.index(row[0])
            assert row[-1] == words.sides[which][loud.sides(loud.stated[which])[person]]
            told += 1
    assert abs(told / 2000 - 0.5) < 5 * 0.5 / 2000**0.5
    assert all(len(row) == 9 for row in read(SMALL, 50)), "without salience nothing is stated"


def test_quarters_go_by_rank() -> None:
    assert Counter(SMALL.quarters) == dict.fromkeys(QUARTERS, 100)
    assert SMALL.quarters[int(SMALL.ranks.argmin())] == QUARTERS[0]
    assert SMALL.quarters[int(SMALL.ranks.argmax())] == QUARTERS[-1]


@pytest.mark.parametrize(
    "dials", [{"people": 10}, {"strangers": 500}, {"unevenness": -1.0}, {"salience": 1.5}, {"seed": -1}]
)
def test_dials_out_of_range_are_refused(dials: dict[str, float]) -> None:
    (name,) = dials
    with pytest.raises(InputError, match=f"world: found {name} "):
        replace(SMALL, **dials)
