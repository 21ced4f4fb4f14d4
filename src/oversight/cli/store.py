"""Commands on what is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from oversight.cli import options as o
from oversight.cli import printing
from oversight.cli.app import app
from oversight.errors import InputError, OversightError

if TYPE_CHECKING:
    from oversight.runs.store import DirectoryStore


@app.command("ls")
def list_results(store: o.Store = None, as_json: o.Json = False) -> None:
    """Everything in the store: key, kind, when, seconds."""
    kept = _directory(store)
    rows = [_entry(kept, key) for key in sorted(kept.keys())]
    if as_json:
        return printing.print_json({"results": rows})
    for row in sorted(rows, key=lambda row: row["made"]):
        typer.echo(f"{row['key'][:12]}  {row['kind']:10}  {row['made']}  {row['seconds']:8.2f} s")


def _entry(kept: DirectoryStore, key: str) -> dict[str, Any]:
    try:
        return {"key": key, **{name: kept.about(key)[name] for name in ("kind", "made", "seconds")}}
    except OversightError:
        return {"key": key, "kind": "damaged", "made": "", "seconds": 0.0}


@app.command()
def show(key: o.Key, store: o.Store = None) -> None:
    """One result of the store: what made it, from what, and what it holds, as JSON."""
    printing.print_json(_directory(store).about(key))


@app.command()
def verify(store: o.Store = None, as_json: o.Json = False) -> None:
    """Check every checksum of the store; exit code 1 if something is damaged."""
    kept = _directory(store)
    faults, n = kept.verify(), len(list(kept.keys()))
    if as_json:
        printing.print_json({"results": n, "damaged": faults})
    else:
        for key, fault in faults.items():
            typer.echo(f"{key}: {fault}")
        typer.echo(f"{n} results, {len(faults)} damaged")
    if faults:
        raise typer.Exit(1)


def _directory(store: str | None) -> DirectoryStore:
    from oversight.resolve import store_path
    from oversight.runs.store import DirectoryStore

    path = store_path(store)
    if not path.is_dir():
        raise InputError(f"--store {path}: found no such directory, expected one that holds results")
    return DirectoryStore(path)
