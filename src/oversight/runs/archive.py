"""Results with all that they were made from as one tar file, and back; checked before they are sent and when they come.

The first member, `index.json`, says what is inside; then come the files of every result, then the kept studies that
are wholly inside. The same results give the same bytes. Neither side ever holds more than one buffer in memory.
"""

from __future__ import annotations

import gzip
import io
import lzma
import os
import re
import secrets
import shutil
import tarfile
import zlib
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from oversight.errors import InputError, OversightError, StepError, StoreError
from oversight.runs.collect import made_from
from oversight.runs.kept import KEPT, Kept, all_kept, keep, kept_from
from oversight.runs.remote import opened_to_read, opened_to_write
from oversight.runs.store import DirectoryStore, fault_of, publish
from oversight.sealed import dump_json, flush_directory, load_json, make_folder

FORMAT = 1
INDEX = "index.json"
MOST_JSON = 1 << 28
BUFFER = 1 << 20
RESULT = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{62})/([a-z0-9_]+\.[a-z0-9]+)")
STUDY = re.compile(rf"{KEPT}/([0-9a-f]{{12}})\.json")
SUFFIXES = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What an archive holds, or what came out of it.

    Attributes:
        results: keys.
        studies: names of kept studies.
        n_new: results that the store did not have; of an export, all.
    """

    results: tuple[str, ...]
    studies: tuple[str, ...]
    n_new: int

    @property
    def n_present(self) -> int:
        """Results that the store had."""
        return len(self.results) - self.n_new


def export(store: DirectoryStore, wanted: Sequence[str], target: str) -> Moved:
    """Write results and everything that they were made from into one archive.

    Args:
        store: that holds them.
        wanted: keys, their beginnings, or names of kept studies; none = every kept study.
        target: a path or an URL that ends in `.tar`, `.tar.gz` or `.tgz`.

    Raises:
        InputError: nothing of such a name, or a target that cannot be written.
        StepError: something is missing in the store or damaged; nothing is written then.
    """
    if not target.endswith(SUFFIXES):
        raise InputError(f"{target}: found no archive's name, expected one that ends in .tar, .tar.gz or .tgz")
    kept, faults = all_kept(store.path)
    keys = _closed(store, _roots(store, wanted, kept, faults))
    inside = [one for one in sorted(kept, key=lambda one: one.name) if keys.issuperset((*one.goals, *one.steps))]
    for key in sorted(keys):
        fault = fault_of(store.folder(key))
        if isinstance(fault, str):
            raise store.damage(key, fault)
    moved = Moved(results=tuple(sorted(keys)), studies=tuple(one.name for one in inside), n_new=len(keys))
    with opened_to_write(target) as file:
        _write(file, store, moved, packed=not target.endswith(".tar"))
    return moved


def import_(source: str, store: DirectoryStore) -> Moved:
    """Bring the results of an archive into a store, each checked before it counts; what is there already stays.

    Args:
        source: a path or an URL of what `export` wrote.
        store: made if it is not there.

    Raises:
        InputError: no such file, or not an archive of this program.
        StepError: it is truncated or damaged, or holds what does not belong there; whole results that came before
            that place are kept.
        StoreError: the store cannot be written.
    """
    reason = store.writable()
    if reason is not None:
        raise StoreError(f"store {store.path}: cannot be written: {reason}; nothing was brought in")
    inflow = _Inflow(source, store)
    with opened_to_read(source) as file:
        try:
            with tarfile.open(fileobj=file, mode="r|*", bufsize=BUFFER) as tar:
                return inflow.run(tar)
        except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise inflow.broken(str(error)) from error


def _roots(store: DirectoryStore, wanted: Sequence[str], kept: Sequence[Kept], faults: dict[str, str]) -> set[str]:
    if not wanted and not kept:
        raise InputError(f"store {store.path}: found no kept study, expected one, or keys of results to export")
    studies = {one.name: one for one in kept}
    found: set[str] = set()
    for name in wanted or studies:
        if name in faults:
            raise StepError(f"store {store.path}: kept study {name} is damaged ({faults[name]})")
        if name not in studies:
            found.add(store.find(name))
            continue
        needed = {*studies[name].goals, *studies[name].steps}
        missing = sorted(key for key in needed if not store.peek(key))
        if missing:
            raise StepError(
                f"store {store.path}: kept study {name} misses {len(missing)} of its {len(needed)} results, "
                f"{missing[0][:12]} for one; the command that asked for it makes them"
            )
        found |= needed
    return found


def _closed(store: DirectoryStore, roots: Iterable[str]) -> set[str]:
    """These results and all that they were made from."""
    found: set[str] = set()
    waiting = sorted(roots)
    while waiting:
        key = waiting.pop()
        if key in found:
            continue
        found.add(key)
        for before in made_from(store.about(key)):
            if not store.peek(before):
                raise StepError(
                    f"store {store.path}: found no result {before[:12]}, from which {key[:12]} was made; the command "
                    "that made it makes it again"
                )
            waiting.append(before)
    return found


def _write(file: IO[bytes], store: DirectoryStore, moved: Moved, *, packed: bool) -> None:
    outer = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) if packed else file
    try:
        with tarfile.open(fileobj=outer, mode="w|", format=tarfile.PAX_FORMAT, bufsize=BUFFER) as tar:
            index = dump_json({"format": FORMAT, "results": list(moved.results), "kept": list(moved.studies)})
            _add(tar, INDEX, io.BytesIO(index), len(index))
            for key in moved.results:
                for path in sorted(store.folder(key).iterdir()):
                    with path.open("rb") as content:
                        _add(tar, f"{key[:2]}/{key}/{path.name}", content, path.stat().st_size)
            for name in moved.studies:
                path = store.path / KEPT / f"{name}.json"
                _add(tar, f"{KEPT}/{name}.json", io.BytesIO(path.read_bytes()), path.stat().st_size)
    finally:
        if packed:
            outer.close()


def _add(tar: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> None:
    member = tarfile.TarInfo(name)  # time, owner and group are 0, the mode is rw-r--r--
    member.size = size
    tar.addfile(member, content)


class _Inflow:
    """An archive on its way into a store: members come one after the other, and are seen once."""

    def __init__(self, source: str, store: DirectoryStore) -> None:
        self.source, self.store = source, store
        self.index: dict[str, Any] | None = None
        self.done: set[str] = set()
        self.new: set[str] = set()
        self.studies: dict[str, Kept] = {}
        self._key: str | None = None
        self._temporary: Path | None = None

    def run(self, tar: tarfile.TarFile) -> Moved:
        """Bring everything in."""
        try:
            for member in tar:
                if member.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or member.sparse is not None:
                    raise self.broken(f"'{_shown(member.name)}' is not a plain file")
                content = tar.extractfile(member)
                assert content is not None
                self._member(member, content)
            self._finish()
            return self._complete()
        finally:
            if self._temporary is not None:
                shutil.rmtree(self._temporary, ignore_errors=True)

    def broken(self, reason: str) -> OversightError:
        """What to raise when an archive is not what `export` wrote."""
        if self.index is None:
            return InputError(f"{self.source}: found no archive of `oversight export`: {reason}")
        return StepError(
            f"{self.source}: the archive is damaged: {reason}; "
            f"of its {len(self.index['results'])} results {len(self.new)} came in whole, {len(self.done)} are there"
        )

    def _member(self, member: tarfile.TarInfo, content: IO[bytes]) -> None:
        result, study = RESULT.fullmatch(member.name), STUDY.fullmatch(member.name)
        if self.index is None:
            self.index = self._read_index(member, content)
        elif result is not None:
            self._file(result[2], result[3], content)
        elif study is not None:
            self._finish()
            try:
                self.studies[study[1]] = kept_from(self._small(member, content), study[1])
            except (ValueError, KeyError, TypeError) as error:
                raise self.broken(f"kept study {study[1]}: {error}") from error
        else:
            raise self.broken(f"'{_shown(member.name)}' is no file of a store")

    def _read_index(self, member: tarfile.TarInfo, content: IO[bytes]) -> dict[str, Any]:
        if member.name != INDEX:
            raise self.broken(f"its first member is '{_shown(member.name)}', expected {INDEX}")
        try:
            index = load_json(self._small(member, content), INDEX)
            if index["format"] > FORMAT:
                raise StepError(
                    f"{self.source}: found archive format {index['format']}, expected at most {FORMAT}: newer than "
                    "this program"
                )
            return {"results": [str(key) for key in index["results"]], "kept": [str(name) for name in index["kept"]]}
        except (ValueError, KeyError, TypeError) as error:
            raise self.broken(f"{INDEX}: {error}") from error

    def _small(self, member: tarfile.TarInfo, content: IO[bytes]) -> bytes:
        if member.size > MOST_JSON:
            raise self.broken(f"{member.name} has {member.size} bytes, expected at most {MOST_JSON}")
        return content.read()

    def _file(self, key: str, name: str, content: IO[bytes]) -> None:
        assert self.index is not None
        if key != self._key:
            self._finish()
            if key in self.done or key not in self.index["results"]:
                raise self.broken(f"result {key[:12]} comes twice, or is not in its index")
            self._key = key
            if self.store.get(key) is None:
                self._begin(key)
        if self._temporary is None:
            return
        path = self._temporary / key / name
        if path.exists():
            raise self.broken(f"'{_shown(name)}' comes twice in result {key[:12]}")
        with self._writing(), path.open("xb") as file:
            while part := content.read(BUFFER):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())

    def _begin(self, key: str) -> None:
        group = self.store.folder(key).parent
        with self._writing():
            make_folder(group)
            temporary = group / f".new-{secrets.token_hex(8)}"
            (temporary / key).mkdir(parents=True)
            self._temporary = temporary

    def _finish(self) -> None:
        """The files of the result at hand are all there: it is checked, and only then published."""
        if self._key is not None and self._temporary is not None:
            folder = self._temporary / self._key
            fault = fault_of(folder)
            if isinstance(fault, str):
                raise self.broken(f"result {self._key[:12]}: {fault}")
            with self._writing():
                flush_directory(folder)
                if publish(folder, self.store.folder(self._key)) is None:
                    self.new.add(self._key)
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None
        if self._key is not None:
            self.done.add(self._key)
            self._key = None

    def _complete(self) -> Moved:
        if self.index is None:
            raise self.broken("it is empty")
        missing = sorted({*self.index["results"], *self.index["kept"]} - self.done - self.studies.keys())
        if missing:
            raise self.broken(f"{len(missing)} of its entries are missing, {missing[0][:12]} for one")
        for name, kept in self.studies.items():
            if name not in self.index["kept"] or not self.done.issuperset((*kept.goals, *kept.steps)):
                raise self.broken(f"kept study {name} is not in its index, or not all of its results are")
        there = {one.name for one in all_kept(self.store.path)[0]}
        for name, kept in self.studies.items():
            if name not in there:
                keep(self.store.path, kept)
        return Moved(results=tuple(sorted(self.done)), studies=tuple(sorted(self.studies)), n_new=len(self.new))

    @contextmanager
    def _writing(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"store {self.store.path}: cannot be written: {os.strerror(error.errno or 0)}; "
                f"{len(self.new)} results of {self.source} came in whole"
            ) from error


def _shown(name: str) -> str:
    return name.encode("unicode_escape").decode()[:100]
