"""The command that tells what to expect of a study before it is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from oversight.cli import option_values as values
from oversight.cli import options as o
from oversight.cli import printing
from oversight.cli.app import app
from oversight.cli.covers import Covers
from oversight.errors import InputError

if TYPE_CHECKING:
    from oversight.metrics.pool import Scope
    from oversight.metrics.variability import Variability
    from oversight.reports.power import Planned
    from oversight.reports.result import Study
    from oversight.runs.store import DirectoryStore

OTHER_SEEDS = (3, 5, 10, 20, 40)
MOST_WAYS = 3
USUAL_PGR = 0.5

From = Annotated[
    str | None,
    typer.Option("--from", metavar="STORE", help="The store that holds a pilot: a study on few rows or seeds."),
]
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="With --from: the pilot, a kept study or the key of a score."),
]
Gap = Annotated[
    float | None, typer.Option("--gap", help="Ceiling minus supervisor that is to be shown. Default: the pilot's.")
]
TestRows = Annotated[int | None, typer.Option("--n-test", help="Test rows. Default: the pilot's.")]
PlannedSeeds = Annotated[
    int | None, typer.Option("--seeds", help="Trainings of every role. Default: the pilot's, or 5.")
]
Pgr = Annotated[float | None, typer.Option("--pgr", help="PGR that you expect. Default: the pilot's, or 0.5.")]
Weak = Annotated[
    str | None,
    typer.Option("--weak", metavar="X|MODEL", help="The supervisor's accuracy; with --from: only this supervisor."),
]
SeedSd = Annotated[
    float | None,
    typer.Option("--seed-sd", help="Standard deviation of a model's score over seeds. Default: the pilot's, or 0.015."),
]
GroupSize = Annotated[int | None, typer.Option("--group-size", help="Test rows per group; a pilot knows it.")]
GroupShare = Annotated[
    float | None,
    typer.Option("--group-share", help="What rows of one group share, 0 to 1 (0.5); a pilot knows it."),
]


@app.command()
def power(
    names: Names = None,
    from_: From = None,
    gap: Gap = None,
    n_test: TestRows = None,
    seeds: PlannedSeeds = None,
    pgr: Pgr = None,
    weak: Weak = None,
    seed_sd: SeedSd = None,
    group_size: GroupSize = None,
    group_share: GroupShare = None,
    task: o.OnlyTask = None,
    method: o.OnlyMethod = None,
    strong: o.OnlyStrong = None,
    test: o.OnlyTest = None,
    covers: Covers = "new-rows",
    as_json: o.Json = False,
) -> None:
    """Which gap a study can show, and how many rows and seeds the one you want takes.

    From a pilot in a store, or by assumption.
    """
    from oversight.metrics.pool import check_scope

    scope = check_scope(covers)
    if from_ is None:
        _refuse("no --from", {"NAME": names, "--task": task, "--method": method, "--strong": strong, "--test": test})
        planned = _by_assumption(
            gap,
            n_test,
            seeds,
            pgr,
            scope,
            weak=weak,
            seed_sd=seed_sd,
            group_size=group_size,
            group_share=group_share,
        )
    else:
        _refuse("--from, which knows it,", {"--group-size": group_size, "--group-share": group_share})
        filters = {"task": task, "method": method, "weak": [weak] if weak else None, "strong": strong, "test": test}
        store = values.directory(from_, flag="--from")
        planned = _from_pilot(store, _pilot(store, names or [], filters), gap, n_test, seeds, pgr, seed_sd, scope)
    if as_json:
        return printing.print_json(planned.as_json())
    for sentence in planned.sentences:
        typer.echo(sentence)


def _refuse(found: str, given: dict[str, Any]) -> None:
    for flag, value in given.items():
        if value is not None:
            raise InputError(f"{flag}: found {found} beside it, expected one of them only")


def _pilot(store: DirectoryStore, names: list[str], filters: dict[str, list[str] | None]) -> Study:
    """The one study that is meant.

    Raises:
        InputError: none, several, or one that is not finished.
    """
    from oversight.cli.report import asked_for, filtered, result_of
    from oversight.reports.words import pair

    result, n_unfinished, faults = result_of(store, filtered(asked_for(store, names), filters))
    if len(result.studies) != 1:
        named = [
            f"{one.keys['score'][0][:12]} ({one.task}, {pair(one)}, {one.method}, {one.test}, {one.scope})"
            for one in result.studies
        ]
        there = f": {'; '.join(named[:8])}{' ...' if len(named) > 8 else ''}" if named else ""
        missing = f", {n_unfinished + len(faults)} not finished or damaged" if n_unfinished or faults else ""
        raise InputError(
            f"--from {store.path}: found {len(named)} finished studies{missing}, expected one, by "
            f"--task, --method, --weak, --strong, --test, or by its key (power KEY --from ...){there}"
        )
    return result.studies[0]


def _from_pilot(
    store: DirectoryStore,
    study: Study,
    gap: float | None,
    n_test: int | None,
    seeds: int | None,
    pgr: float | None,
    seed_sd: float | None,
    scope: Scope,
) -> Planned:
    from oversight.reports.words import pair, plural, shown
    from oversight.studies.pilot import pilot_of

    return _planned(
        pilot_of(store, study, seed_sd=seed_sd),
        basis=(
            f"the pilot {study.keys['score'][0][:12]}, {study.task}, {pair(study)}, "
            f"{study.method}: {study.n_test} test rows in {study.n_groups} groups, {plural(study.seeds, 'seed')}, gap "
            f"{shown(study.gap)}; groups and training pool as there"
        ),
        metric=study.metric,
        gap=study.gap.value if gap is None else gap,
        pgr=pgr if pgr is not None else study.pgr.value if study.pgr.defined else USUAL_PGR,
        n_test=study.n_test if n_test is None else n_test,
        seeds=study.seeds if seeds is None else seeds,
        scope=scope,
    )


def _by_assumption(
    gap: float | None,
    n_test: int | None,
    seeds: int | None,
    pgr: float | None,
    scope: Scope,
    *,
    weak: str | None,
    **options: Any,
) -> Planned:
    from oversight.metrics.checks import check_range
    from oversight.metrics.power import by_assumption
    from oversight.metrics.variability import GROUP_SHARE, SEED_SD

    if gap is None or n_test is None:
        raise InputError("power: found no --from, expected --gap and --n-test, or a pilot by --from STORE")
    check_range("--gap", gap, 1e-6, 0.499999)
    check_range("--n-test", n_test, 2, 10**9)
    given = {name: value for name, value in options.items() if value is not None}
    size, share, sd = given.get("group_size", 1), given.get("group_share", GROUP_SHARE), given.get("seed_sd", SEED_SD)
    check_range("--group-size", size, 1, n_test / 2)
    try:
        score = None if weak is None else float(weak)
    except ValueError:
        raise InputError(f"--weak: found '{weak}' without --from, expected an accuracy in (0, 1)") from None
    recovered = USUAL_PGR if pgr is None else pgr
    how = by_assumption(gap=gap, pgr=recovered, weak=score, group_size=size, group_share=share, seed_sd=sd)
    what = f"{size} rows per group that share {share:g} of what varies" if size > 1 else "rows by themselves"
    basis = (
        f"by assumption, as no pilot was given: supervisor {how.p[0]:g}, seed sd {sd:g}, {what}, errors of the three "
        "roles correlated as in the coverage benchmark; a pilot (--from STORE) knows better"
    )
    return _planned(
        how,
        basis=basis,
        metric="accuracy",
        gap=gap,
        pgr=recovered,
        n_test=n_test,
        seeds=5 if seeds is None else seeds,
        scope=scope,
    )


def _planned(
    how: Variability, *, basis: str, metric: str, gap: float, pgr: float, n_test: int, seeds: int, scope: Scope
) -> Planned:
    from oversight.metrics.pool import covered
    from oversight.metrics.power import expected, seeds_needed
    from oversight.reports.power import Planned

    wanted = gap > 0
    return Planned(
        basis=basis,
        metric=metric,
        gap=gap,
        n_test=n_test,
        seeds=seeds,
        power=expected(how, gap=gap, pgr=pgr, n_test=n_test, seeds=seeds, scope=scope),
        rows_by_seeds=_rows_by_seeds(how, gap, seeds, scope) if wanted else {},
        seeds_needed=seeds_needed(how, gap=gap, n_test=n_test, scope=scope) if wanted and seeds > 1 else None,
        covers=covered(seeds, scope, unit="rows" if how.groups_per_row == 1 else "groups"),
    )


def _rows_by_seeds(how: Variability, gap: float, seeds: int, scope: Scope) -> dict[int, int | None]:
    """Test rows that the gap takes, with these seeds and with more, until MOST_WAYS ways are found."""
    from oversight.metrics.power import rows_needed

    found: dict[int, int | None] = {}
    for s in (seeds, *(one for one in OTHER_SEEDS if one > seeds > 1)):
        if sum(rows is not None for rows in found.values()) < MOST_WAYS:
            found[s] = rows_needed(how, gap=gap, seeds=s, scope=scope)
    return found
