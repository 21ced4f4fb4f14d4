"""How weak labels are used: one idea per file, one entry of its table here."""

from __future__ import annotations

from oversight.methods import (
    chains,
    co_supervised,
    evidential,
    filters,
    hard,
    losses,
    oracles,
    regularisers,
    relabelling,
    several,
)
from oversight.methods.entry import Entry
from oversight.methods.method import WithLoss

_NAIVE = {
    "naive": Entry(
        make=WithLoss,
        about="cross-entropy to the weak soft labels",
        paper="Burns et al. 2023, arXiv:2312.09390, section 3",
        family="losses",
    )
}

METHODS: dict[str, Entry] = {
    **_NAIVE,
    **hard.ENTRIES,
    **losses.ENTRIES,
    **filters.ENTRIES,
    **relabelling.ENTRIES,
    **several.ENTRIES,
    **co_supervised.ENTRIES,
    **evidential.ENTRIES,
    **chains.ENTRIES,
    **regularisers.ENTRIES,
    **oracles.ENTRIES,
}
