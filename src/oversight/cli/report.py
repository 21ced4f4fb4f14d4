"""The command that reports on kept studies, from the store alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from oversight.cli import option_values as values
from oversight.cli import options as o
from oversight.cli.app import app
from oversight.cli.printing import counted
from oversight.cli.studies import about_now
from oversight.errors import InputError, StepError

if TYPE_CHECKING:
    from oversight.reports.result import Result, Study
    from oversight.runs.kept import Kept
    from oversight.runs.store import DirectoryStore

STDOUT = "-"
MOST_NAMED = 12
AGAIN = "; the command that made it makes it again"
FILTERS = {"task": "task", "method": "method", "weak": "weak_model", "strong": "strong_model", "test": "test"}

Names = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the report is on.

    Attributes:
        studies: the names of each study once, with what it was asked for in.
        unnamed: how many more were asked for, of which not even the names are there.
        faults: kept studies that are damaged, with the reason, as far as they are meant.
    """

    studies: Sequence[tuple[Kept, Names]]
    unnamed: int
    faults: Mapping[str, str]

    @property
    def kept(self) -> list[Kept]:
        """What the studies were asked for in, each once."""
        return list({one.name: one for one, _ in self.studies}.values())


@app.command()
def report(
    out: o.ReportOut,
    names: o.ReportNames = None,
    format_: o.ReportFormat = None,
    task: o.OnlyTask = None,
    method: o.OnlyMethod = None,
    weak: o.OnlyWeak = None,
    strong: o.OnlyStrong = None,
    test: o.OnlyTest = None,
    theory: o.TellTheory = False,
    store: o.Store = None,
) -> None:
    """A report on kept studies, from the store alone.

    A page, a table, all numbers, or the figures.
    """
    from oversight.reports import exports

    kind = _format(out, format_)
    place = values.directory(store)
    asked = asked_for(place, names or [])
    wanted = filtered(asked, {"task": task, "method": method, "weak": weak, "strong": strong, "test": test})
    result, n_unfinished, faults = result_of(place, wanted)
    result = replace(result, tells_theory=theory)
    n = len(result.studies) + n_unfinished + len(faults)
    if result.studies:
        if out == STDOUT:
            typer.echo(exports.as_text(result, kind), nl=False)
        else:
            typer.echo(f"Report: {exports.write(result, Path(out), kind)}, {counted(len(result.studies), 'study')}")
    _tell(place, wanted, faults)
    if n_unfinished:
        typer.echo(_unfinished(n_unfinished, n), err=True)
    if wanted.faults or faults or place.damaged:
        raise typer.Exit(1)
    if not result.studies:
        raise InputError(
            f"store {place.path}: found {counted(n, 'study')}, none of them finished; see `oversight ls --studies`"
        )


def _format(out: str, given: str | None) -> str:
    """The format, by name or by ending.

    Raises:
        InputError: there is none of this name, it cannot go where it should, or the place cannot be written.
    """
    from oversight.reports import exports

    if given is not None and given not in exports.FORMATS:
        raise InputError(f"--format: found '{given}', expected {', '.join(exports.FORMATS)}")
    if out != STDOUT:
        exports.check_place(Path(out), given)
        return given or exports.format_of(Path(out))
    if given not in exports.TEXTS:
        found = f"--format {given}" if given else "no --format"
        raise InputError(f"-o -: found {found}, expected --format {', '.join(exports.TEXTS)}")
    return given


def asked_for(store: DirectoryStore, beginnings: Sequence[str]) -> Asked:
    """The studies that these names mean; all of them where there are none.

    Raises:
        InputError: a name means nothing, or more than one thing.
    """
    from oversight.runs.kept import all_kept

    kept, faults = all_kept(store.path)
    if not kept and not faults:
        raise InputError(f"store {store.path}: found no kept studies, expected some that `w2s` or `sweep` left")
    every = list(_each_once(kept))
    if not beginnings:
        return Asked(studies=every, unnamed=_unnamed(kept), faults=faults)
    names: set[str] = set()
    keys: set[str] = set()
    known = [*(one.name for one in kept), *faults]
    for beginning in beginnings:
        names |= (found := _begin(known, beginning, store, "kept studies"))
        if not found:
            found = _begin([_key(one) for _, one in every], beginning, store, "studies whose key")
            keys |= found
        if not found:
            listed = _listed([f"{one.name} ({one.title})" for one in kept] + [f"{name} (damaged)" for name in faults])
            raise InputError(
                f"store {store.path}: found no kept study and no key of a score that begins with '{beginning}', "
                f"expected one of: {listed}"
            )
    meant = [one for one in kept if one.name in names]
    by_key = [(one, study) for one, study in every if _key(study) in keys]
    chosen = {_key(study): (one, study) for one, study in [*_each_once(meant), *by_key]}
    damaged = {name: fault for name, fault in faults.items() if name in names}
    return Asked(studies=list(chosen.values()), unnamed=_unnamed(meant), faults=damaged)


def _begin(known: Sequence[str], beginning: str, store: DirectoryStore, what: str) -> set[str]:
    """Those that begin so: one, or none.

    Raises:
        InputError: there are several.
    """
    found = {name for name in known if beginning and name.startswith(beginning)}
    if len(found) > 1 and beginning not in found:
        some = _listed([name[:12] for name in sorted(found)])
        raise InputError(
            f"store {store.path}: found {len(found)} {what} that begin with '{beginning}', expected one: {some}"
        )
    return {beginning} & found or found


def _each_once(kept: Sequence[Kept]) -> Iterator[tuple[Kept, Names]]:
    """Every study where it was asked for first."""
    seen: set[str] = set()
    for one in kept:
        for study in one.studies:
            if _key(study) not in seen:
                seen.add(_key(study))
                yield one, study


def _unnamed(kept: Sequence[Kept]) -> int:
    """Goals of which no names are written down."""
    named = {_key(study) for one in kept for study in one.studies}
    return len({goal for one in kept for goal in one.goals} - named)


def _key(study: Names) -> str:
    return str(study["keys"]["score"][0])


def filtered(asked: Asked, filters: Mapping[str, Sequence[str] | None]) -> Asked:
    """Studies that pass every filter.

    Raises:
        InputError: a filter leaves nothing.
    """
    studies, unnamed = asked.studies, asked.unnamed
    for flag, patterns in filters.items():
        if not patterns:
            continue
        field = FILTERS[flag]
        left = [(one, names) for one, names in studies if any(_matches(names[field], text) for text in patterns)]
        if not left and studies:
            there = _listed(list(dict.fromkeys(names[field] for _, names in studies)))
            of = counted(len(studies), "study")
            raise InputError(f"--{flag}: found none of {of} with {', '.join(patterns)}, expected one of: {there}")
        studies, unnamed = left, 0
    return replace(asked, studies=studies, unnamed=unnamed)


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


def result_of(store: DirectoryStore, asked: Asked) -> tuple[Result, int, dict[str, str]]:
    """The finished studies, how many are not finished, and those that cannot be read, with the reason."""
    from oversight.reports.result import Result
    from oversight.studies.pooled import pooled_over_questions
    from oversight.studies.stored import stored_result, stored_rows

    studies: list[Study] = []
    faults: dict[str, str] = {}
    unfinished = asked.unnamed
    for kept, names in asked.studies:
        n_damaged = len(store.damaged)
        try:
            found, missing = stored_result(store, [replace(kept, studies=(names,))])
        except StepError as error:
            faults[_key(names)] = str(error)
        except (KeyError, TypeError, ValueError):
            faults[_key(names)] = f"not the record of a study of this program{AGAIN}"
        else:
            studies += found.studies
            if missing and len(store.damaged) > n_damaged:
                faults[_key(names)] = f"{store.damaged[-1]}{AGAIN}"
            else:
                unfinished += missing
    about = _about(store, asked.kept)
    return (
        Result(
            studies=tuple(studies),
            pooled=pooled_over_questions(studies),
            about=about,
            rows_of=lambda study: stored_rows(store, study),
        ),
        unfinished,
        faults,
    )


def _about(store: DirectoryStore, kept: Sequence[Kept]) -> dict[str, Any]:
    """By which command the report was made, and what the studies were asked for in."""
    asked = [
        {"name": one.name, "title": one.title, "made": one.made, "command": one.about.get("command")} for one in kept
    ]
    return {**about_now(store), "asked": asked}


def _tell(store: DirectoryStore, asked: Asked, faults: Mapping[str, str]) -> None:
    """What is damaged, on stderr."""
    for name, fault in asked.faults.items():
        typer.echo(f"oversight: kept study {name} is damaged ({fault}); run its command again", err=True)
    for key, fault in faults.items():
        shown = fault if key[:12] in fault else f"{key[:12]}: {fault}"
        typer.echo(f"oversight: a study cannot be read: {shown}", err=True)
    for fault in store.damaged:
        if f"{fault}{AGAIN}" not in faults.values():
            typer.echo(f"oversight: damaged predictions: {fault}{AGAIN}", err=True)


def _unfinished(n: int, total: int) -> str:
    verb = "is" if n == 1 else "are"
    return f"oversight: {n} of {counted(total, 'study')} {verb} not finished; the command that began them goes on"


def _listed(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    rest = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + rest
