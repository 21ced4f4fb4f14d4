"""Claims: who computes what now, so that many workers on many machines over one directory do a step once.

    claims/claimants/<token>.json     one per `Claims`: host and process; its time of change is a heartbeat
    claims/ab/<key>/<token>.<n>       the mark of a claim: an empty file whose name is never used twice

A key is claimed while its folder holds a mark of a claimant who is alive. Two moves change a folder:

- in: a folder made aside, its mark in it, is renamed to `<key>`. The file system itself refuses that (on NFS the
  server) while `<key>` holds anything, and allows it where `<key>` is empty or not there.
- out: a mark is removed by its name, by its owner or by one who found its owner dead. The rmdir that follows does
  nothing to a folder that holds something.

So no folder ever holds two marks, whoever sleeps for however long between two moves:

- two take a free key, or a dead one's: both may remove the dead mark, one rename succeeds, the other is refused;
- a holder releases between another's look and its rename: that rename succeeds, rightly;
- a taker sleeps after it judged a mark dead, while the key is taken over, released and taken again: the mark it then
  removes is gone, the new one has another name, its rename is refused;
- an owner was stopped, found dead and replaced: its release removes a name that is no longer there;
- a kill between two moves leaves a dead claimant's mark, an empty folder (free), or a folder aside (`sweep_dead`).

What no lease can exclude: a claimant found dead by its age alone goes on, or wakes between the judgement and the
removal. Then two compute one step, `held` says so to the one who lost it, and the store publishes one result.
"""

from __future__ import annotations

import errno
import itertools
import os
import secrets
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from oversight.errors import InputError, StoreError
from oversight.runs.claimant import Claimant, ended, said_by, this_process, understood

CLAIMANTS = "claimants"
ATTEMPTS = 8
GONE = {errno.ENOENT, errno.ESTALE}
NO_FOLDER = GONE | {errno.ENOTDIR}
TAKEN = {errno.EEXIST, errno.ENOTEMPTY}
NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a claim.

    Attributes:
        host: name of the machine; `?` when the claimant's file cannot be understood.
        pid: of the process; 0 when unknown.
        since: seconds since 1970 by the clock of the file system.
    """

    host: str
    pid: int
    since: float


class Claims:
    """The claims of one process over a folder; used from one thread, beside the heartbeat that it starts.

    Nothing is written before the first `take`: whoever finds all results in the store needs no right to write.
    A claimant is dead when its file is gone, when that was not touched for `expires` seconds (its own, as it wrote
    them), or at once when it ran on this boot of this machine and its process is no more. Ages are differences of
    times that the file system gave, so the clocks of machines need not agree. A heartbeat says that a process lives,
    not that it gets on. After a fork the child begins with no claims.

    Args:
        folder: for the claims of one store; made at the first `take`.
        expires: seconds without a heartbeat after which others may take over what this instance holds.
        beat: seconds between two heartbeats; a tenth of `expires` unless given.

    Raises:
        StoreError: by `take`, the folder cannot be written (read-only, no permission, disk full) and a claim was
            wanted; by `holder` and `sweep_dead`, it cannot be read.
    """

    def __init__(self, folder: str | Path, *, expires: float = 60.0, beat: float | None = None) -> None:
        self.folder = Path(folder)
        self.expires = expires
        self.beat = expires / 10 if beat is None else beat
        if not 0 < self.beat < self.expires:
            raise InputError(f"claims: found beat={self.beat} and expires={expires}, expected 0 < beat < expires")
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._pid = os.getpid()
        self._token = secrets.token_hex(8)
        self._file = self._claimant_file(self._token)
        self._numbers = itertools.count()
        self._marks: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, key: str) -> bool:
        """Claim a key; True when this instance holds it now, also when it did before, False when another does.

        Look into the store once more after a True: the last holder may have published and released since you looked.
        """
        self._after_fork()
        mine = False
        try:
            with self._told(f"cannot be written, and a claim on step {key[:12]} was wanted"):
                self._start()
                mine = (key in self._marks and self._stands(key)) or self._contend(key)
        finally:
            if not mine:
                self.release(key)
        return mine

    def release(self, key: str) -> None:
        """Give a claim back; nothing happens where it was lost meanwhile. What cannot be removed now dies with this."""
        self._after_fork()
        mark = self._marks.pop(key, None)
        if mark is not None:
            with suppress(OSError):
                _drop(self._place(key), mark)

    def holder(self, key: str) -> Holder | None:
        """Who holds a key and is alive, perhaps this instance; None: it is free, or its claimant is dead."""
        self._after_fork()
        place = self._place(key)
        with self._told("cannot be read"):
            for mark in _visible(place):
                claimant = self._alive(_token(mark))
                seen = None if claimant is None else _look(place / mark)
                if claimant is not None and seen is not None:
                    return Holder(host=claimant.host, pid=claimant.pid, since=seen[0])
        return None

    def held(self) -> frozenset[str]:
        """Keys that this instance holds; those that it lost, because it was found dead, are dropped."""
        self._after_fork()
        self._marks = {key: mark for key, mark in self._marks.items() if self._stands(key)}
        return frozenset(self._marks)

    def sweep_dead(self) -> int:
        """Remove the claims and the files of dead claimants; how many of both there were."""
        self._after_fork()
        with self._told("cannot be read or written"):
            removed = sum(self._sweep(self.folder / shelf) for shelf in _visible(self.folder) if shelf != CLAIMANTS)
            for name in _visible(self.folder / CLAIMANTS):
                if name.endswith(".json") and self._alive(_token(name)) is None:
                    removed += _unlink(self.folder / CLAIMANTS / name)
        return removed

    def close(self) -> None:
        """Release everything, stop the heartbeat and remove the claimant's file."""
        self._after_fork()
        for key in list(self._marks):
            self.release(key)
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            with suppress(OSError):
                os.unlink(self._file)
            self._begin_anew()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _after_fork(self) -> None:
        if self._pid != os.getpid():
            self._begin_anew()

    @contextmanager
    def _told(self, what: str) -> Generator[None]:
        try:
            yield
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise StoreError(f"{self.folder}: {what}: {reason}") from error

    def _place(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def _claimant_file(self, token: str) -> Path:
        return self.folder / CLAIMANTS / f"{token}.json"

    def _start(self) -> None:
        """A fresh heartbeat before every claim, so that no claim is born dead; the first one also starts the thread."""
        try:
            self._touch()
        except FileNotFoundError:
            os.makedirs(self._file.parent, exist_ok=True)
            self._touch()
        if self._thread is None:
            arguments = (self._stop,)
            self._thread = threading.Thread(target=self._keep_alive, args=arguments, name="claims", daemon=True)
            self._thread.start()

    def _keep_alive(self, stop: threading.Event) -> None:
        while not stop.wait(self.beat):
            with suppress(OSError):
                self._touch()

    def _touch(self) -> None:
        """Let the file system set the time; write the file (again) where somebody took it for dead and removed it."""
        try:
            os.utime(self._file)
        except OSError as error:
            if error.errno not in GONE:
                raise
            try:
                self._file.write_bytes(said_by(this_process(self.expires)))
            except OSError:
                with suppress(OSError):
                    os.unlink(self._file)
                raise

    def _contend(self, key: str) -> bool:
        """Try until the key is this instance's or a live other's; after some refusals it counts as another's."""
        self._marks[key] = mark = f"{self._token}.{next(self._numbers)}"
        place = self._place(key)
        for _ in range(ATTEMPTS):
            if not self._clear(place):
                return False
            if self._move_in(place, mark):
                return True
        return False

    def _clear(self, place: Path) -> bool:
        """Remove the marks of the dead, and what a failed release left of oneself; False when another one is alive."""
        for mark in _visible(place):
            if _token(mark) != self._token and self._alive(_token(mark)) is not None:
                return False
            _drop(place, mark)
        return True

    def _move_in(self, place: Path, mark: str) -> bool:
        """Rename a folder that holds the mark to the key's; False when that one holds another mark, or to try again."""
        aside = place.parent / f".{mark}"
        try:
            try:
                os.mkdir(aside)
            except FileNotFoundError:
                os.makedirs(place.parent, exist_ok=True)
                os.mkdir(aside)
            os.close(os.open(aside / mark, NEW, 0o666))
            os.rename(aside, place)
        except OSError as error:
            with suppress(OSError):
                _drop(aside, mark)
            if mark in _visible(place):  # a network file system did it, and its first answer was lost
                return True
            if error.errno not in GONE | TAKEN:
                raise
            return False
        return True

    def _stands(self, key: str) -> bool:
        """Whether the mark of a key is still there; True where that cannot be seen now."""
        try:
            return _look(self._place(key) / self._marks[key]) is not None
        except OSError:
            return True

    def _alive(self, token: str) -> Claimant | None:
        """What a claimant says of itself; None when it is dead."""
        seen = _look(self._claimant_file(token))
        if seen is None:
            return None
        touched, content = seen
        claimant = understood(content)
        if token == self._token:
            return claimant
        if ended(claimant):
            return None
        expires = claimant.expires or self.expires
        return claimant if self._now() - touched <= expires else None

    def _now(self) -> float:
        """The time of the file system; a lower bound (the latest heartbeat) where nothing can be written."""
        beating = self._thread is not None
        probe = self._file if beating else self._claimant_file(secrets.token_hex(8))
        try:
            if beating:
                self._touch()
            else:
                os.close(os.open(probe, NEW, 0o666))
                os.utime(probe)
            return os.stat(probe).st_mtime
        except OSError:
            looks = (_look(probe.parent / name) for name in _visible(probe.parent))
            return max((seen[0] for seen in looks if seen is not None), default=0.0)
        finally:
            if not beating:
                with suppress(OSError):
                    os.unlink(probe)

    def _sweep(self, shelf: Path) -> int:
        """Remove dead marks from one `ab/`, then all that is empty."""
        removed = 0
        for name in _listed(shelf):
            hidden = name.startswith(".")
            for mark in [name[1:]] if hidden else _visible(shelf / name):
                if self._alive(_token(mark)) is None:
                    removed += _drop(shelf / name, mark)
            if not hidden:
                _remove_if_empty(shelf / name)
        _remove_if_empty(shelf)
        return removed


def _drop(place: Path, mark: str) -> bool:
    """Remove one mark by its name, then the folder if nothing else is in it; whether the mark was there."""
    there = _unlink(place / mark)
    _remove_if_empty(place)
    return there


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        os.rmdir(folder)


def _unlink(path: Path) -> bool:
    try:
        os.unlink(path)
    except OSError as error:
        if error.errno not in NO_FOLDER:
            raise
        return False
    return True


def _look(path: Path) -> tuple[float, bytes] | None:
    """Time of change and content of a file, None if it is not there; opened, because NFS answers a stat from memory."""
    try:
        opened = os.open(path, os.O_RDONLY)
        try:
            return os.fstat(opened).st_mtime, os.read(opened, 1 << 16)
        finally:
            os.close(opened)
    except OSError as error:
        if error.errno not in GONE:
            raise
        return None


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        if error.errno not in NO_FOLDER:
            raise
        return []


def _visible(folder: Path) -> list[str]:
    return [name for name in _listed(folder) if not name.startswith(".")]


def _token(name: str) -> str:
    return name.partition(".")[0]
