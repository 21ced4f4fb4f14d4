"""The search for labels that a model finds coherent: which of them predict each other best. It knows no model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from oversight.tasks.task import Floats, Ints
from oversight.ties import choice_shares

Classes = Mapping[int, int]
Ask = Callable[[Classes, Sequence[int]], Floats]
TINY = 1e-5


@dataclass(frozen=True, kw_only=True)
class Annealing:
    """How the search goes.

    Attributes:
        initial: rows that begin with a class at random, in turn of the classes; at most half of all rows.
        sweeps: steps per row.
        alpha: weight of mutual predictability, at least 0.
        hottest, coldest: temperatures T = max(coldest, hottest / (1 + cooling log(1 + changes accepted so far))).
        cooling: at least 0.
    """

    kind: ClassVar[str] = "annealing"

    initial: int = 8
    sweeps: int = 4
    alpha: float = 30.0
    hottest: float = 10.0
    coldest: float = 0.01
    cooling: float = 2.0

    def temperature(self, accepted: int) -> float:
        """After so many accepted changes."""
        return max(self.coldest, self.hottest / (1 + self.cooling * math.log1p(accepted)))


@dataclass(frozen=True, kw_only=True)
class Coherent:
    """What a search found.

    Attributes:
        classes: by row; rows that no step came to have none.
        utility: alpha times their mutual predictability.
        accepted: changes that were made.
        proposed: changes that were considered.
        asked: predictions that the model made.
    """

    kind: ClassVar[str] = "coherent"

    classes: dict[int, int]
    utility: float
    accepted: int
    proposed: int
    asked: int


def icm(
    ask: Ask,
    n: int,
    k: int,
    *,
    seed: int,
    annealing: Annealing | None = None,
    tell: Callable[[float, str], None] | None = None,
) -> Coherent:
    """Internal coherence maximisation: classes of n rows that predict each other, by simulated annealing.

    Utility of classes D of some rows: U(D) = alpha mean_i log(p_i / (1 - p_i)), with p_i the probability of row i's
    class given those of all others, at least 1e-5 and at most 1 less that. A step draws one of the n rows, gives it the
    most probable class given all others, and where that is new to it keeps it with probability
    min(1, exp((U(new) - U(old)) / T)).

    Args:
        ask: of (classes by row, m rows), gives (m, k) probabilities, each given all these classes but the row's own.
        n: rows.
        k: classes.
        seed: of the rows and classes to begin with, the order of steps and what is kept.
        annealing: how it goes; None = the defaults of the source, but for the number of steps.
        tell: told the fraction done and a line.

    Source: Wen et al. 2025, arXiv:2506.10139, Algorithm 1 and its code (Jiaxin-Wen/Unsupervised-Elicitation, `ICM.py`:
        utility, schedule `log`, steps over all rows alike).
    Differs: for k > 2 the odds of a class are against all others together. Without logical consistency: the term
        -I(D), the repair of inconsistent pairs and the preference for rows related to labelled ones are not here,
        for nothing is known of how rows of a task are related.
    """
    search = _Search(ask, n, k, annealing or Annealing())
    rng = np.random.default_rng(seed)
    classes = search.begin(rng)
    utility = search.utility(classes)
    accepted = proposed = 0
    steps = search.annealing.sweeps * n
    for step in range(steps):
        row = int(rng.integers(n))
        best = _best(search.predict(classes, [row])[0], rng)
        if classes.get(row) != best:
            changed = {**classes, row: best}
            proposed += 1
            found = search.utility(changed)
            if rng.random() < math.exp(min(0.0, (found - utility) / search.annealing.temperature(accepted))):
                classes, utility, accepted = changed, found, accepted + 1
        if tell is not None:
            tell((step + 1) / steps, f"step {step + 1} of {steps}, {len(classes)} rows, utility {utility:.2f}")
    return Coherent(classes=classes, utility=utility, accepted=accepted, proposed=proposed, asked=search.asked)


class _Search:
    """Asks, and counts how often."""

    def __init__(self, ask: Ask, n: int, k: int, annealing: Annealing) -> None:
        self.ask, self.n, self.k, self.annealing = ask, n, k, annealing
        self.asked = 0

    def predict(self, classes: Classes, rows: Sequence[int]) -> Floats:
        self.asked += len(rows)
        return self.ask(classes, rows)

    def begin(self, rng: np.random.Generator) -> dict[int, int]:
        count = min(self.annealing.initial, self.n // 2)
        given = rng.permutation(np.arange(count) % self.k)
        return {int(row): int(one) for row, one in zip(rng.choice(self.n, count, replace=False), given, strict=True)}

    def utility(self, classes: Classes) -> float:
        rows = sorted(classes)
        if not rows:
            return 0.0
        return self.annealing.alpha * predictability(
            self.predict(classes, rows), np.array([classes[row] for row in rows])
        )


def _best(probs: Floats, rng: np.random.Generator) -> int:
    """The most probable class; of several that tie one by a draw."""
    tied = np.flatnonzero(choice_shares(probs))
    return int(tied[0] if len(tied) == 1 else rng.choice(tied))


def predictability(probs: Floats, classes: Ints) -> float:
    """Mean log-odds of the classes, each between -11.5 and 11.5.

    Args:
        probs: (m, k) of rows given all other rows' classes.
        classes: (m,) their own.
    """
    own = np.clip(probs[np.arange(len(classes)), classes], TINY, 1 - TINY)
    return float(np.log(own / (1 - own)).mean())
