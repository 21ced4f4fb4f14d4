"""Commands that tell what there is, and what to expect before running."""

from __future__ import annotations

from oversight.cli import options as o
from oversight.cli import printing
from oversight.cli.app import app


@app.command()
def power(
    gap: o.Gap,
    n_test: o.TestRows,
    seeds: o.TrainedSeeds = 5,
    pgr: o.Pgr = 0.5,
    group_size: o.GroupSize = 1,
    as_json: o.Json = False,
) -> None:
    """What to expect of PGR before running.

    How likely is it to be defined, and how wide will its interval be?
    """
    import dataclasses

    from oversight.metrics.power import power as compute

    found = compute(gap=gap, n_test=n_test, seeds=seeds, pgr=pgr, group_size=group_size)
    printing.print_numbers(dataclasses.asdict(found), as_json)


@app.command()
def methods(as_json: o.Json = False) -> None:
    """The methods by name: what each does, its paper, what it needs and on which tracks it runs."""
    from oversight.methods import METHODS

    printing.print_methods(METHODS, as_json)


@app.command()
def tasks(as_json: o.Json = False) -> None:
    """The embedded tasks by name."""
    from oversight.tasks import ABOUT

    printing.print_names(ABOUT, as_json)


@app.command()
def models(as_json: o.Json = False) -> None:
    """What can stand where a model is asked for."""
    from oversight.models import ABOUT

    printing.print_names(ABOUT, as_json)
