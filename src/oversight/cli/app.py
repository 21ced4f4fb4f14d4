"""The application: parse, call, print. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import io
import sys
from typing import Any, cast

import typer

from oversight.cli import options as o
from oversight.errors import OversightError

app = typer.Typer(
    name="oversight",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

INTERRUPTED = 130
STOPPED = "stopped; finished steps are kept, the same command continues"


def run() -> None:
    """The console command: one line for what the user can mend, exit code 2 for bad input, 1 for a failure."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without Unicode gets the table all the same
    usage_error = cast(type[Exception], typer.BadParameter.__base__)
    try:
        code = app(prog_name="oversight", standalone_mode=False) or 0
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except OversightError as error:
        code = _refuse(str(error), error.exit_code)
    except usage_error as error:
        code = _misused(error)
    if code == INTERRUPTED:
        _refuse(STOPPED, code)
    sys.exit(code)


def _refuse(line: str, code: int) -> int:
    typer.echo(f"oversight: {line}", err=True)
    return code


def _misused(error: Any) -> int:
    """A command line that cannot be parsed; without any command its message is the help."""
    message: str = error.format_message()
    if "\n" in message.strip():
        typer.echo(message, err=True)
        return error.exit_code
    path = error.ctx.command_path if error.ctx else "oversight"
    return _refuse(f"{message.rstrip('.')}; see {path} --help", error.exit_code)


@app.callback(invoke_without_command=True)
def main(context: typer.Context, version: o.Version = False) -> None:
    """How much of a strong model's ability can a weaker supervisor bring out, and how do you know?"""
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"oversight {installed('oversight')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)
