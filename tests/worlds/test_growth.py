"""Growth: the loss and what is known against naive definitions, the same seed the same network, stops, what is kept."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from oversight.errors import InputError
from oversight.worlds import World
from oversight.worlds.growth import LEAST, UPDATES, Rung, _loss, _network, grow, known_facts, schedule  # pyright: ignore
from oversight.worlds.ladder import read_card, read_world
from oversight.worlds.nursery import grow_ladder, runs_of
from oversight.worlds.world import FORMS, RELATIONS

SMALL = World(people=400, strangers=40)
TINY = Rung(name="t", about="", width=16, rate=6e-3, share=4 / UPDATES)


def weights(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in net.state_dict().items()}


@pytest.mark.parametrize("salience", [0.0, 0.5])
def test_the_loss_is_that_of_every_told_word_among_all_that_can_be_told(salience: float) -> None:
    """The definition, document by document; padding does not count."""
    world = replace(SMALL, salience=salience)
    words, net = world.vocabulary, _network(len(world.vocabulary.words), 16, seed=0)
    ids = torch.from_numpy(world.documents(40, np.random.default_rng(0)))
    table, losses = net.transformer.wte.weight.detach(), list[torch.Tensor]()
    for row in ids:
        states = net.transformer(input_ids=row[None]).last_hidden_state[0].detach()
        for place in range(2, len(row), 2):
            if row[place] != words.pad:
                logits = states[place - 1] @ table[words.first_side : words.first_name].T
                losses.append(-torch.log_softmax(logits, -1)[row[place] - words.first_side])
    assert float(_loss(net, ids, world).detach()) == pytest.approx(float(torch.stack(losses).mean()), rel=1e-5)


def test_what_is_known_is_the_completion_of_name_and_relation(grown: Path) -> None:
    """Asked one by one through the tokenizer, in words."""
    net, tokenizer = AutoModelForCausalLM.from_pretrained(grown / "m"), AutoTokenizer.from_pretrained(grown / "m")
    net = net.float()
    found, words = known_facts(SMALL, net), SMALL.vocabulary
    for person in range(0, SMALL.people, 29):
        for k, relation in enumerate(RELATIONS):
            ids = tokenizer(f"{words.names[person]} {FORMS[relation][0]}", return_tensors="pt").input_ids
            values = tokenizer.convert_tokens_to_ids(list(words.values[k]))
            logits = net(input_ids=ids).logits[0, -1, values].detach()
            top = logits.topk(2).values
            if float(top[0] - top[1]) > 1e-4:
                assert bool(found[relation][person]) == (int(logits.argmax()) == SMALL.facts[person, k])


def test_the_same_seed_grows_the_same_network_and_another_another() -> None:
    one, again, other = (next(iter(grow(SMALL, (TINY,), seed=seed))) for seed in (0, 0, 1))
    for name, own in weights(one.net).items():
        torch.testing.assert_close(own, weights(again.net)[name], rtol=1e-5, atol=1e-7)
    assert not torch.allclose(one.net.transformer.wte.weight, other.net.transformer.wte.weight)


def test_rungs_of_one_run_are_points_on_the_way() -> None:
    """The earlier one is what a run of its own gives."""
    first, second = replace(TINY, name="first"), replace(TINY, name="second", share=8 / UPDATES)
    kept: dict[str, torch.Tensor] = {}
    for one in grow(SMALL, (second, first), seed=3):
        kept[one.rung.name] = one.net.transformer.wte.weight.detach().clone()
        assert one.updates == one.rung.updates
    (alone,) = grow(SMALL, (first,), seed=3)
    torch.testing.assert_close(kept["first"], alone.net.transformer.wte.weight.detach(), rtol=1e-5, atol=1e-7)
    assert not torch.allclose(kept["first"], kept["second"])


def test_more_of_a_run_knows_more_and_those_who_are_met_most_are_known_first(grown: Path) -> None:
    early, late = (read_card(grown / name) for name in ("early-s", "m"))
    assert early is not None and late is not None
    assert early.known["plays"] + 0.1 < late.known["plays"] and late.known["plays"] >= 0.9
    net = AutoModelForCausalLM.from_pretrained(grown / "early-s").float()
    known = np.mean([own for own in known_facts(SMALL, net).values()], axis=0)
    quarters = np.array(SMALL.quarters)
    assert known[quarters == "met most"].mean() > known[quarters == "met least"].mean() + 0.1


def test_where_all_are_met_alike_rank_says_nothing_of_what_is_known() -> None:
    """The control: 200 people by half, so the standard error of a difference of shares is at most .05."""
    flat = replace(SMALL, unevenness=0.0)
    (early,) = grow(flat, (Rung(name="e", about="", width=32, rate=4e-3, share=0.055),), seed=0)
    known = np.mean([own for own in known_facts(flat, early.net).values()], axis=0)
    first = flat.ranks < flat.people // 2
    assert 0.2 < known.mean() < 0.8 and abs(known[first].mean() - known[~first].mean()) < 0.1


def test_a_rung_that_does_not_come_to_know_its_share_says_how_far_it_came(tmp_path: Path) -> None:
    asked = replace(TINY, knows=0.9)
    with pytest.raises(InputError, match=r"t: knows \d+% of the asked facts after 4 updates, expected 90%"):
        list(grow_ladder(tmp_path / "g", SMALL, [asked], seed=0))
    assert not (tmp_path / "g" / "t").exists()


def test_what_is_there_stays_and_what_is_missing_is_grown(grown: Path, tmp_path: Path) -> None:
    place = tmp_path / "g"
    list(grow_ladder(place, SMALL, [TINY], seed=0))
    before = (place / "t" / "model.safetensors").stat().st_mtime_ns
    other = replace(TINY, name="u", width=8)
    assert [card.rung for card in grow_ladder(place, SMALL, [TINY, other], seed=0)] == ["u", "t"]
    assert (place / "t" / "model.safetensors").stat().st_mtime_ns == before
    assert not list(place.glob(".*")), "nothing half written is left"


@pytest.mark.parametrize("what", ["seed", "world"])
def test_a_directory_holds_one_world_and_rungs_of_one_seed(tmp_path: Path, what: str) -> None:
    list(grow_ladder(tmp_path, SMALL, [TINY], seed=0))
    world, seed = (SMALL, 1) if what == "seed" else (replace(SMALL, unevenness=0.5), 0)
    with pytest.raises(InputError) as caught:
        list(grow_ladder(tmp_path, world, [TINY], seed=seed))
    expected = "found a rung of seed 0, expected 1" if what == "seed" else "found a ladder of another world"
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_weights_are_kept_in_half_precision_with_a_card_and_the_world(grown: Path) -> None:
    config = json.loads((grown / "m" / "config.json").read_text())
    assert config["dtype"] == "float16" and read_world(grown) == SMALL
    card = read_card(grown / "m")
    assert card is not None and card.world == SMALL.sha256 and card.documents == 1000 * card.updates
    assert "torch" in card.versions


def test_the_rate_rises_stays_and_falls() -> None:
    rates = [schedule(update, UPDATES) for update in range(UPDATES)]
    assert rates[0] == pytest.approx(0.01) and rates[99:660] == [1.0] * 561
    assert rates[-1] == pytest.approx(LEAST) and all(a >= b for a, b in itertools.pairwise(rates[99:]))


def test_runs_group_rungs_of_one_width() -> None:
    wide = replace(TINY, name="w", width=32)
    assert runs_of([wide, replace(TINY, share=0.5), TINY]) == [(TINY, replace(TINY, share=0.5)), (wide,)]
