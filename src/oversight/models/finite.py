"""What a network gives is looked at before it becomes a number that is kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oversight.errors import StepError
from oversight.tasks.task import Floats

NAMED = 3


def expect_finite(values: Floats, ids: Sequence[str], *, of: str, hint: str) -> None:
    """Refuse what is no number.

    Args:
        values: (n, ...) what a network gave, one entry per row.
        ids: of the n rows, or the texts themselves.
        of: the network and what it gave, such as "minilm: the states at depth 6".
        hint: what to try.

    Raises:
        StepError: how many rows, and the first of them.
    """
    fine = np.isfinite(values).reshape(len(values), -1).all(1) if len(values) else np.ones(0, bool)
    broken: list[int] = np.flatnonzero(~fine).tolist()
    if broken:
        named = ", ".join(ids[i] for i in broken[:NAMED]) + (", ..." if len(broken) > NAMED else "")
        raise StepError(
            f"{of}: not finite in {len(broken)} of {len(values)} rows ({named}); expected finite numbers: {hint}"
        )
