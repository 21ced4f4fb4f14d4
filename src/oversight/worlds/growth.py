"""Networks are grown in a world: small decoders that read its documents and are kept at several points on the way.

A network that stopped early knows the people who are met often: its errors are ignorance. One that is narrower than a
relation has values may know every fact and still not cut every half of the values apart by a plane: its errors are
systematic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from oversight.errors import InputError, StepError
from oversight.models.backbone import resolve_device
from oversight.worlds.world import RELATIONS, World

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GPT2LMHeadModel

BLOCKS, POSITIONS = 2, 16
DOCUMENTS = 1000
"""Documents an update."""
UPDATES = 1333
"""Updates of a whole run, unless a rung takes more."""
WARMUP, STEADY, LEAST = 100, 0.5, 0.02
"""Updates until the full rate, share of the run that keeps it, and the last rate as a share of it."""
CLIP = 1.0
ASK_AT_ONCE = 4000
SAY_EVERY = 50
"""Updates between two words of progress."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A network of a ladder.

    Attributes:
        name: as in `ladder:NAME`.
        about: what it is for, in a few words.
        width: of its states; a multiple of 16, or below 16 for one head.
        rate: the largest learning rate.
        share: of a whole run, at which it is kept.
        run: updates of a whole run.
        knows: least share of the asked facts that it must know there; growth fails otherwise.
    """

    kind: ClassVar[str] = "rung"

    name: str
    about: str
    width: int
    rate: float
    share: float
    run: int = UPDATES
    knows: float = 0.0

    @property
    def updates(self) -> int:
        """After how many it is kept."""
        return round(self.share * self.run)


@dataclass(frozen=True)
class Grown:
    """A network as it was when it was kept.

    Attributes:
        rung: which one.
        net: the network.
        updates: updates so far.
        known: by relation, the share of facts that it completes rightly.
    """

    rung: Rung
    net: GPT2LMHeadModel
    updates: int
    known: dict[str, float]


Said = Callable[[int, int, float], None]
"""Told of updates done, of all, and the loss."""


def grow(
    world: World, rungs: tuple[Rung, ...], *, seed: int, device: str = "cpu", said: Said | None = None
) -> Iterator[Grown]:
    """One run for all rungs of one width, rate and length, from the earliest to the latest.

    Args:
        world: what documents are about.
        rungs: of one width, rate and length.
        seed: of the first weights and of the documents.
        device: where to compute.
        said: told of progress.

    Raises:
        InputError: a rung does not know its share of facts when it is to be kept.
        StepError: the loss is not finite.
    """
    import torch

    ((width, rate, run),) = {(one.width, one.rate, one.run) for one in rungs}
    left = sorted(rungs, key=lambda one: one.share)
    rng = np.random.default_rng([seed, width])
    net: Any = _network(len(world.vocabulary.words), width, seed=seed)
    device = resolve_device(device)
    net.to(device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.0, betas=(0.9, 0.98), fused=True)
    for update in range(left[-1].updates):
        optimiser.param_groups[0]["lr"] = rate * schedule(update, run)
        loss = _loss(net, torch.from_numpy(world.documents(DOCUMENTS, rng)).to(device), world)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        optimiser.step()
        if said is not None and (update + 1) % SAY_EVERY == 0:
            said(update + 1, left[-1].updates, float(loss.detach()))
        while left and update + 1 == left[0].updates:
            yield _kept(world, left.pop(0), net, update + 1, float(loss.detach()))


def schedule(update: int, run: int) -> float:
    """The rate of an update as a share of the largest: a short rise, half of the run level, then down."""
    rise, fall = (update + 1) / WARMUP, (1 - update / run) / (1 - STEADY)
    return min(1.0, rise) * max(LEAST, min(1.0, fall))


def _kept(world: World, rung: Rung, net: GPT2LMHeadModel, updates: int, loss: float) -> Grown:
    if not math.isfinite(loss):
        raise StepError(f"{rung.name}: found the loss {loss} after {updates:,} updates, expected a finite number")
    known = {name: float(right.mean()) for name, right in known_facts(world, net).items()}
    asked = min(known[name] for name in world.asked)
    if asked < rung.knows:
        raise InputError(
            f"{rung.name}: knows {asked:.0%} of the asked facts after {updates:,} updates, expected {rung.knows:.0%}"
        )
    return Grown(rung, net, updates, known)


def _network(n_words: int, width: int, *, seed: int) -> GPT2LMHeadModel:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    attention: dict[str, Any] = {"attn_implementation": "eager"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=n_words,
                n_positions=POSITIONS,
                n_embd=width,
                n_layer=BLOCKS,
                n_head=max(1, width // 16),
                activation_function="relu",
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                bos_token_id=0,
                eos_token_id=0,
                pad_token_id=0,
                **attention,
            )
        )


def _loss(net: GPT2LMHeadModel, ids: Tensor, world: World) -> Tensor:
    """Mean cross-entropy of what follows each relation or aspect, among all words that can; padding does not count."""
    import torch

    words = world.vocabulary
    read = (ids != words.pad).long()
    states: Any = net.transformer(input_ids=ids, attention_mask=read).last_hidden_state[:, 1:-1:2]
    weights: Any = net.transformer.wte.weight[words.first_side : words.first_name]
    told = ids[:, 2::2]
    return torch.nn.functional.cross_entropy(
        (states @ weights.T).flatten(0, 1),
        torch.where(told == words.pad, -100, told - words.first_side).flatten(),
    )


def known_facts(world: World, net: GPT2LMHeadModel) -> dict[str, np.ndarray]:
    """By relation, (people,) whether the network completes `NAME RELATION` with the true value, of all its values."""
    import torch

    words, found = world.vocabulary, dict[str, np.ndarray]()
    names = torch.arange(words.first_name, words.first_name + world.people)
    with torch.no_grad():
        for k, (relation, n_values) in enumerate(RELATIONS.items()):
            first = words.first_value + int(words.offsets[k])
            weights: Any = net.transformer.wte.weight[first : first + n_values]
            asked = torch.stack([names, torch.full_like(names, words.first_form + 2 * k)], dim=1).to(weights.device)
            states: Any = torch.cat(
                [net.transformer(input_ids=part).last_hidden_state[:, -1] for part in asked.split(ASK_AT_ONCE)]
            )
            found[relation] = (states @ weights.T).argmax(1).cpu().numpy() == world.facts[:, k]
    return found
