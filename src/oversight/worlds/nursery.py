"""Grows the rungs of a ladder into a directory, one run for each width; what is there already stays."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from oversight.errors import InputError
from oversight.worlds.growth import DOCUMENTS, Grown, Rung, grow
from oversight.worlds.ladder import CARD, TOKENIZER, WORLD_FILE, Card, read_card, read_world
from oversight.worlds.world import UNKNOWN, World

Told = Callable[[str, int, int], None]
"""Told of the rungs of a run, its updates so far, and all of them."""


def grow_ladder(
    place: Path,
    world: World,
    rungs: Iterable[Rung],
    *,
    seed: int,
    device: str = "cpu",
    told: Told | None = None,
    one_tokenizer: bool = False,
) -> Iterator[Card]:
    """The cards of all rungs, those that were there and those that are grown now.

    Args:
        place: a directory; made if it is not there.
        world: what they read.
        rungs: which.
        seed: of first weights and documents.
        device: where to compute.
        told: told of progress.
        one_tokenizer: whether all share one, as those that ship do; else every rung has its own, as transformers wants.

    Raises:
        InputError: the directory holds a ladder of another world or seed, cannot be made, or a rung does not come to
            know its share of facts.
        StepError: a loss is not finite.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{place}: cannot be made ({error.strerror}), expected a directory for the rungs") from None
    _settle(place, world)
    for run in runs_of(rungs):
        there = [read_card(place / one.name) for one in run]
        for one, card in zip(run, there, strict=True):
            if card is not None and (card.seed, card.world) != (seed, world.sha256):
                raise InputError(
                    f"{place / one.name}: found a rung of seed {card.seed}, expected {seed}; name another directory"
                )
        if all(there):
            yield from (card for card in there if card is not None)
            continue
        names = ", ".join(one.name for one in run)
        said = None if told is None else lambda n, of, loss, names=names, told=told: told(names, n, of)
        for grown in grow(world, run, seed=seed, device=device, said=said):
            yield keep(grown, place / grown.rung.name, world, seed=seed, tokenized=not one_tokenizer)
    if one_tokenizer:
        tokenizer(world).save_pretrained(place / TOKENIZER)


def runs_of(rungs: Iterable[Rung]) -> list[tuple[Rung, ...]]:
    """Rungs that are points of one run, the narrowest run first."""
    every = sorted(rungs, key=lambda one: (one.width, one.rate, one.run, one.share))
    runs = dict.fromkeys((one.width, one.rate, one.run) for one in every)
    return [tuple(one for one in every if (one.width, one.rate, one.run) == run) for run in runs]


def keep(grown: Grown, place: Path, world: World, *, seed: int, tokenized: bool = True) -> Card:
    """Write a network in half precision with its tokenizer and card; a rung that is half written has another name."""
    import torch
    from transformers import GPT2LMHeadModel

    from oversight.models.network import quiet_transformers
    from oversight.versions import installed

    partial = place.with_name(f".{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    half: Any = GPT2LMHeadModel(grown.net.config)
    half.load_state_dict(grown.net.state_dict())
    with quiet_transformers():
        half.to(torch.float16).save_pretrained(partial)
    if tokenized:
        tokenizer(world).save_pretrained(partial)
    card = Card(
        rung=grown.rung.name,
        world=world.sha256,
        seed=seed,
        width=grown.rung.width,
        updates=grown.updates,
        documents=grown.updates * DOCUMENTS,
        known={name: round(share, 4) for name, share in grown.known.items()},
        about=grown.rung.about,
        versions=installed(),
    )
    (partial / CARD).write_text(json.dumps(card.as_json(), indent=1) + "\n", "utf-8")
    shutil.rmtree(place, ignore_errors=True)
    partial.rename(place)
    return card


def tokenizer(world: World):
    """One token for each word of the world."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(world.vocabulary.words)}, unk_token=UNKNOWN))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token=UNKNOWN, model_max_length=16)


def _dials(world: World) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in world.as_json().items())


def _settle(place: Path, world: World) -> None:
    """Write down of which world the directory is.

    Raises:
        InputError: it is of another.
    """
    path = place / WORLD_FILE
    if path.is_file():
        found = read_world(place)
        if found != world:
            raise InputError(f"{place}: found a ladder of another world ({_dials(found)}), expected {_dials(world)}")
        return
    path.write_text(json.dumps({"dials": world.as_json(), "sha256": world.sha256}, indent=1) + "\n", "utf-8")
