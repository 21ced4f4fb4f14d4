"""Commands that tell what there is."""

from __future__ import annotations

from oversight.cli import options as o
from oversight.cli import printing
from oversight.cli.app import app


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
