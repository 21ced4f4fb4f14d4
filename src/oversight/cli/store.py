"""Commands on what is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from oversight.cli import option_values as values
from oversight.cli import options as o
from oversight.cli import printing, store_tables
from oversight.cli.app import app
from oversight.cli.printing import counted
from oversight.errors import InputError, StepError

if TYPE_CHECKING:
    from oversight.runs.kept import Kept
    from oversight.runs.store import DirectoryStore


@app.command("ls")
def list_results(
    kind: o.OfKind = None,
    name: o.OfName = None,
    since: o.Since = None,
    failed: o.Failed = False,
    studies: o.Studies = False,
    store: o.Store = None,
    as_json: o.Json = False,
) -> None:
    """What is in the store.

    Results, or what failed, or what was asked for.
    """
    if failed and studies:
        raise InputError("--failed and --studies: found both, expected one")
    kept = values.directory(store)
    earliest = None if since is None else store_tables.moment(since)
    if studies:
        rows, of, tell = store_tables.study_rows(kept), "studies", store_tables.print_studies
    elif failed:
        rows, of, tell = store_tables.failure_rows(kept), "failed", store_tables.print_failures
    else:
        rows, of, tell = store_tables.result_rows(kept), "results", store_tables.print_results
    found = [row for row in rows if store_tables.chosen(row, kind=kind, name=name, earliest=earliest)]
    if as_json:
        return printing.print_json({of: found})
    tell(found)


@app.command()
def show(key: o.Key, store: o.Store = None, as_json: o.Json = True) -> None:
    """One result or kept study, as JSON.

    What made it, from what, what it holds, and who used it.
    """
    del as_json  # it always is
    from oversight.runs.store import fault_of

    kept = values.directory(store)
    study = _study(kept, key)
    if study is not None:
        return printing.print_json(store_tables.as_json(study))
    about = kept.about(key)
    outcome = fault_of(kept.folder(about["key"]))
    if isinstance(outcome, str):
        raise kept.damage(about["key"], outcome)
    printing.print_json({**about, **store_tables.holdings(kept, about["key"], outcome)})


@app.command()
def verify(delete: o.DeleteDamaged = False, store: o.Store = None, as_json: o.Json = False) -> None:
    """Check every checksum of the store.

    Exit code 1 if something is damaged. A result that is gone though others were made from it is named too. The command
    that made them makes both again.
    """
    from oversight.runs.kept import all_kept
    from oversight.runs.lineage import lost

    kept = values.directory(store)
    faults, n = kept.verify(), len(list(kept.keys()))
    studies, wrong = all_kept(kept.path)
    gone = lost(kept)
    if as_json:
        n_studies = len(studies) + len(wrong)
        found = {"results": n, "damaged": faults, "studies": n_studies, "damaged_studies": wrong, "gone": gone}
        printing.print_json(found)
    else:
        for key, reader in gone.items():
            typer.echo(f"{key}: is not there, though {reader[:12]} was made from it; its command makes it again")
        store_tables.print_faults(n, faults, len(studies) + len(wrong), wrong)
    if delete:
        for key, fault in faults.items():
            kept.forget(key, fault)
    elif faults and not as_json:
        typer.echo("to have them made again: oversight verify --delete, then the command that made them")
    if faults or wrong:
        raise typer.Exit(1)


@app.command()
def gc(
    delete: o.Delete = False,
    drop: o.Drop = None,
    older_than: o.OlderThan = 7.0,
    store: o.Store = None,
    as_json: o.Json = False,
) -> None:
    """What no kept study needs; removed only with --delete."""
    from oversight.runs import kept as studies
    from oversight.runs.collect import collect, plan_gc

    if not older_than >= 0:
        raise InputError(f"--older-than: found {older_than}, expected a number of days")
    kept = values.directory(store)
    names = list(dict.fromkeys(drop or []))
    for name in names:
        studies.check_name(kept.path, name)
    found = plan_gc(kept, days=older_than, dropped=names)
    if delete:
        for name in names:
            studies.drop(kept.path, name)
        found = collect(kept, found)
    if as_json:
        return printing.print_json(store_tables.garbage_json(found, deleted=delete))
    store_tables.print_garbage(found, deleted=delete)


@app.command("export")
def export_results(target: o.Archive, keys: o.Keys = None, store: o.Store = None, as_json: o.Json = False) -> None:
    """Results with all that they were made from, as one archive."""
    from oversight.runs.archive import export

    moved = export(values.directory(store), keys or [], target)
    if as_json:
        return printing.print_json({"results": list(moved.results), "studies": list(moved.studies)})
    typer.echo(f"{target}: {counted(len(moved.results), 'result')}, {counted(len(moved.studies), 'kept study')}")


@app.command("import")
def import_results(source: o.Archive, store: o.Store = None, as_json: o.Json = False) -> None:
    """Bring in what `export` wrote.

    Every checksum is checked before a result counts.
    """
    from oversight.resolve.stores import check_folder, store_path
    from oversight.runs.archive import import_
    from oversight.runs.store import DirectoryStore

    path = store_path(store)
    check_folder(path, flag="--store")
    moved = import_(source, DirectoryStore(path))
    if as_json:
        return printing.print_json({"new": moved.n_new, "present": moved.n_present, "studies": list(moved.studies)})
    results, studies = counted(len(moved.results), "result"), counted(len(moved.studies), "kept study")
    typer.echo(f"{path}: {results} ({moved.n_new} new, {moved.n_present} present), {studies}")


@app.command("why-recompute")
def why_recompute(key: o.Key, other: o.OtherKey, store: o.Store = None, as_json: o.Json = False) -> None:
    """In what two results differ, down to the first cause."""
    from oversight.runs.lineage import differences
    from oversight.runs.provenance import other_patches
    from oversight.versions import full

    kept = values.directory(store)
    one, two = kept.find(key), kept.find(other)
    found = differences(kept, one, two)
    patches = other_patches(kept.about(one)) if one == two else {}
    if as_json:
        rows = [store_tables.difference_json(difference) for difference in found]
        here = {name: {"stored": version, "here": full(name)} for name, version in patches.items()}
        return printing.print_json({"keys": [one, two], "differences": rows, "other_patches": here})
    for difference in found:
        typer.echo(str(difference))
    if one == two:
        typer.echo("the same result")
        for name, version in patches.items():
            typer.echo(f"computed with {name} {version}, here is {full(name)}: patches are in no key")


def _study(store: DirectoryStore, name: str) -> Kept | None:
    from oversight.runs.kept import all_kept

    studies, faults = all_kept(store.path)
    if name in faults:
        raise StepError(f"store {store.path}: kept study {name} is damaged ({faults[name]}); run its command again")
    return next((study for study in studies if study.name == name), None)
