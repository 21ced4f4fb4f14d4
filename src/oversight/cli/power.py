"""The command that tells what to expect of a study before it is run."""

from __future__ import annotations

from typing import Annotated

import typer

from oversight.cli import options as o
from oversight.cli import printing
from oversight.cli.app import app

Gap = Annotated[float, typer.Option("--gap", help="Ceiling minus supervisor that you expect.")]
TestRows = Annotated[int, typer.Option("--n-test", help="Test rows.")]
TrainedSeeds = Annotated[int, typer.Option("--seeds", help="Trainings of every role.")]
Pgr = Annotated[float, typer.Option("--pgr", help="PGR that you expect.")]
GroupSize = Annotated[int, typer.Option("--group-size", help="Test rows per group.")]


@app.command()
def power(
    gap: Gap,
    n_test: TestRows,
    seeds: TrainedSeeds = 5,
    pgr: Pgr = 0.5,
    group_size: GroupSize = 1,
    as_json: o.Json = False,
) -> None:
    """What to expect of PGR before running.

    How likely is it to be defined, and how wide will its interval be?
    """
    import dataclasses

    from oversight.metrics.power import power as compute

    found = compute(gap=gap, n_test=n_test, seeds=seeds, pgr=pgr, group_size=group_size)
    printing.print_numbers(dataclasses.asdict(found), as_json)
