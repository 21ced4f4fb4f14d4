"""What the commands on the store print: results, failures, kept studies, garbage, and what a result holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import typer

from oversight.cli.printing import counted
from oversight.errors import InputError, StepError

if TYPE_CHECKING:
    from oversight.runs.collect import Garbage
    from oversight.runs.kept import Kept
    from oversight.runs.lineage import Difference
    from oversight.runs.store import DirectoryStore, Outcome

TIME = "%Y-%m-%dT%H:%M:%SZ"
AGO = re.compile(r"(\d{1,6})([dh])")

Row = Mapping[str, Any]


def moment(text: str) -> str:
    """A date, or so many days or hours ago, as the times in records are written.

    Raises:
        InputError: something else.
    """
    ago = AGO.fullmatch(text)
    try:
        if ago is not None:
            hours = int(ago[1]) * (24 if ago[2] == "d" else 1)
            return (datetime.now(UTC) - timedelta(hours=hours)).strftime(TIME)
        found = datetime.fromisoformat(text)
        return (found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)).strftime(TIME)
    except (ValueError, OverflowError):
        raise InputError(f"--since: found '{text}', expected a date such as 2026-01-31, or 3d or 12h") from None


def chosen(row: Row, *, kind: str | None, name: str | None, earliest: str | None) -> bool:
    """Whether a row passes the filters; one without a kind or a time does not pass a filter on it."""
    return (
        (kind is None or row.get("kind") == kind)
        and (name is None or name in row.get("title", row["name"]))
        and (earliest is None or row["made"] >= earliest)
    )


def result_rows(store: DirectoryStore) -> list[Row]:
    """Every result by key, with its size; the kind is `damaged` or `unreadable` where no more is known."""
    return [_result(store, key) for key in list(store.keys())]


def _result(store: DirectoryStore, key: str) -> Row:
    from oversight.runs.store import record_of

    about: Mapping[str, Any] = {"kind": "damaged"}
    try:
        record = record_of(store.folder(key))
        about = about if isinstance(record, str) else record
    except StepError:
        about = {"kind": "unreadable"}
    return {
        "key": key,
        "kind": str(about.get("kind", "")),
        "name": str(about.get("name", "")),
        "made": str(about.get("made", "")),
        "seconds": float(about.get("seconds") or 0.0),
        "bytes": store.size(key),
    }


def failure_rows(store: DirectoryStore) -> list[Row]:
    """Every step that failed, sorted by key."""
    from oversight.runs.failures import failures

    return [asdict(failure) for failure in failures(store.path).values()]


def study_rows(store: DirectoryStore) -> list[Row]:
    """Every kept study, oldest first."""
    from oversight.runs.kept import all_kept

    studies, faults = all_kept(store.path)
    found: list[Row] = [
        {
            "name": one.name,
            "title": one.title,
            "made": one.made,
            "steps": len(one.steps),
            "missing": sum(not store.peek(key) for key in one.steps),
            "studies": len(one.studies),
        }
        for one in studies
    ]
    damaged = {"made": "", "steps": 0, "missing": 0, "studies": 0}
    return found + [{"name": name, "title": f"damaged: {fault}", **damaged} for name, fault in faults.items()]


def print_results(rows: Sequence[Row]) -> None:
    """A line each, oldest first."""
    for row in sorted(rows, key=lambda row: row["made"]):
        size = shown_bytes(row["bytes"])
        line = (
            f"{row['key'][:12]}  {row['kind']:10}  {row['made']:20}  {row['seconds']:8.2f} s  {size:>8}  {row['name']}"
        )
        typer.echo(line.rstrip())


def print_failures(rows: Sequence[Row]) -> None:
    """A line each, oldest first."""
    for row in sorted(rows, key=lambda row: row["made"]):
        tries = f"  ({row['attempts']} attempts)" if row["attempts"] > 1 else ""
        typer.echo(f"{row['key'][:12]}  {row['kind']:10}  {row['made']:20}  {row['name']}: {row['error']}{tries}")


def print_studies(rows: Sequence[Row]) -> None:
    """A line each."""
    for row in rows:
        missing = f" ({row['missing']} missing)" if row["missing"] else ""
        numbers = f"{counted(row['studies'], 'study')}  {counted(row['steps'], 'step')}{missing}"
        typer.echo(f"{row['name']}  {row['made']:20}  {numbers}  {row['title']}")


def print_faults(n: int, faults: Mapping[str, str], n_studies: int, wrong: Mapping[str, str]) -> None:
    """What `verify` found."""
    for key, fault in {**faults, **wrong}.items():
        typer.echo(f"{key}: {fault}")
    studies = f"; {counted(n_studies, 'kept study')}, {len(wrong)} damaged" if n_studies else ""
    typer.echo(f"{counted(n, 'result')}, {len(faults)} damaged{studies}")


def as_json(study: Kept) -> dict[str, Any]:
    """All of a kept study."""
    return {"name": study.name, **asdict(study)}


def holdings(store: DirectoryStore, key: str, outcome: Outcome) -> dict[str, Any]:
    """What a result holds and who used it."""
    from oversight.runs.lineage import users

    arrays = {name: {"shape": list(one.shape), "dtype": str(one.dtype)} for name, one in outcome.arrays.items()}
    rows = None
    if outcome.rows is not None:
        columns = {field.name: str(field.type) for field in outcome.rows.schema}
        rows = {"n": outcome.rows.num_rows, "columns": columns}
    return {
        "bytes": store.size(key),
        "outputs": {"arrays": arrays, "rows": rows},
        "used_by": asdict(users(store, key)),
    }


def difference_json(difference: Difference) -> dict[str, Any]:
    """With both values as they are."""
    return asdict(difference)


def garbage_json(garbage: Garbage, *, deleted: bool) -> dict[str, Any]:
    """Everything that is, or was, garbage."""
    items = [
        {"path": str(one.path), "key": one.key, "kind": one.kind, "name": one.name, "why": one.why, "bytes": one.bytes}
        for one in garbage.items
    ]
    return {
        "deleted": deleted,
        "results": garbage.n_results,
        "studies": garbage.n_kept,
        "dead_claims": garbage.dead_claims,
        "bytes": garbage.bytes,
        "garbage": items,
    }


def print_garbage(garbage: Garbage, *, deleted: bool) -> None:
    """A line for every kind and reason, and what to type next."""
    groups: dict[tuple[str, str], list[int]] = {}
    for item in garbage.items:
        groups.setdefault((item.why, item.kind), []).append(item.bytes)
    for (why, kind), sizes in sorted(groups.items()):
        typer.echo(f"{kind:12} {len(sizes):7}  {shown_bytes(sum(sizes)):>8}  {why}")
    if not garbage.n_kept and garbage.items:
        typer.echo("no study is kept here: every result older than an hour counts as garbage")
    n, size = counted(len(garbage.items), "thing"), shown_bytes(garbage.bytes)
    claims = f", and {counted(garbage.dead_claims, 'claim')} of ended processes" if garbage.dead_claims else ""
    held = f"{counted(garbage.n_results, 'result')}, {counted(garbage.n_kept, 'kept study')} looked at"
    if deleted:
        typer.echo(f"removed {n}, {size}{claims}; {held}")
    elif garbage.items or claims:
        typer.echo(f"{n}, {size}{claims}, could be removed: nothing was, --delete does it; {held}")
    else:
        typer.echo(f"nothing to remove; {held}")


def shown_bytes(n: int) -> str:
    """`12.3 MB`."""
    size, units = float(n), ["B", "kB", "MB", "GB", "TB"]
    while size >= 999.95 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{n} B" if units[0] == "B" else f"{size:.1f} {units[0]}"
