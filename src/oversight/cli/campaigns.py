"""What commands that run many studies at once have in common: how they are watched, what they tell, how they end."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from oversight.cli import printing
from oversight.cli.app import INTERRUPTED

if TYPE_CHECKING:
    from oversight.runs.store import Store
    from oversight.studies.sweep import Swept


@contextmanager
def watched(name: str) -> Generator[dict[str, Any]]:
    """A live view, and Ctrl-C that stops after the running steps: gives `watch` and `stop` for whoever runs them."""
    from oversight.cli.live import live_view
    from oversight.runs.drive import Stop, interruptible

    stop = Stop()
    with interruptible(stop), live_view(name) as watch:
        yield {"watch": watch, "stop": stop}


def tell_summary(swept: Swept, kept: Store) -> None:
    """What was damaged, done and failed; where it was stopped, how to go on."""
    from oversight.cli.live import print_summary

    summary = swept.summary
    printing.tell_damaged(kept, found=summary.damaged)
    print_summary(summary, swept.campaign.graph, found=summary.found if summary.stopped else None)


def leave(swept: Swept, *, failed: bool = False) -> None:
    """Exit with the code for stopped, or for a step or check that failed."""
    if swept.summary.stopped:
        raise typer.Exit(INTERRUPTED)
    if swept.summary.failed or failed:
        raise typer.Exit(1)


def columns(**named: str | None) -> dict[str, str]:
    """Columns of one task that were named."""
    return {column: name for column, name in named.items() if name}
