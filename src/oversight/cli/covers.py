"""The option that says of what intervals speak: one for all commands that give them."""

from __future__ import annotations

from typing import Annotated

import typer

WHAT = (
    "What intervals cover beside seeds and test groups: new-rows = also another pool of training rows of the same kind "
    "(default); these-rows = this pool as it is."
)
Covers = Annotated[str, typer.Option("--covers", metavar="new-rows|these-rows", help=WHAT)]
SweepCovers = Annotated[
    str | None, typer.Option("--covers", metavar="new-rows|these-rows", help=f"In place of the plan's. {WHAT}")
]
