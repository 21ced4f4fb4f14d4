"""What the loss of a run says about it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

FEWEST_LOSSES = 8
LEARNED_NATS = 0.01
STILL_FALLING = 0.2


def undertrained(losses: Sequence[float], *, start: float) -> bool:
    """Whether the training loss of a run had not come to rest when it ended, or never left its start.

    The last quarter of the run is compared with the third one. The loss still falls if the difference is above two of
    its standard errors and above a fifth of all that the loss fell; a run whose loss fell by less than 0.01 nats in
    all has learned nothing.

    Args:
        losses: of every update, in order.
        start: loss before the first update, such as ln k for a head of zeros.
    """
    if len(losses) < FEWEST_LOSSES:
        return True
    _, _, third, last = np.array_split(np.asarray(losses), 4)
    fallen = start - float(last.mean())
    falling = float(third.mean() - last.mean())
    error = math.sqrt(float(third.var(ddof=1)) / len(third) + float(last.var(ddof=1)) / len(last))
    return fallen < LEARNED_NATS or (falling > 2 * error and falling > STILL_FALLING * fallen)
