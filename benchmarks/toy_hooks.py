"""System calls of a process that writes into a store: each can be counted, and the process killed before or after it.

Only the processes of `toy_graph.py` are watched, by functions of `os` and `io` put in place of the real ones; the
package knows nothing of it. A moment has a name such as `before fsync arrays` or `half way write record`. What is
wanted stands in the environment variable TOY_HOOK as JSON:

- {"moments": FILE}: every moment that comes is appended there;
- {"at": MOMENT, "nth": N, "flag": FILE, "driver": true}: signal 9 to this process when the moment comes for the nth
  time in it, and before that to the driver that it works for; once only, the first process makes the file.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

REAL = {name: getattr(os, name) for name in ("mkdir", "rename", "replace", "fsync", "unlink", "rmdir", "utime", "open")}
WRITE, CLOSE, OPEN_FILE = os.write, os.close, io.open
APPEND = os.O_APPEND | os.O_CREAT | os.O_WRONLY
WORKER = "oversight.runs.pools.worker"
FILES = {"arrays.safetensors": "arrays", "record.json": "record", "rows.parquet": "rows"}


def append(path: str, line: str) -> None:
    """One line at the end of a file that many processes write, by the real calls."""
    opened = REAL["open"](path, APPEND, 0o666)
    try:
        WRITE(opened, f"{line}\n".encode())
    finally:
        CLOSE(opened)


def role_of(place: str, store: Path) -> str | None:
    """What a path in a store is; None: nothing that is watched."""
    try:
        parts = Path(place).relative_to(store).parts
    except ValueError:
        return None
    name = parts[-1] if parts else ""
    if not parts:
        return "store"
    if parts[0] == "claims":
        if len(parts) == 1 or parts[1] == "claimants":
            return "claimant" if len(parts) == 3 else "claims folder"
        return {2: "claims shelf", 3: "claim aside" if name.startswith(".") else "claim", 4: "mark"}.get(len(parts))
    if parts[0] == "kept":
        return "kept" if len(parts) == 2 else "kept folder"
    if parts[0] == "failed":
        return "failure"
    if len(parts) == 1:
        return "shelf"
    if len(parts) == 2:
        return "new folder" if name.startswith(".new") else "result"
    return FILES.get(name)


class Watch:
    """Counts moments, tells them, kills at one."""

    def __init__(self, store: Path, published: Callable[[str], None]) -> None:
        self.store, self.published = store, published
        self.wanted: dict[str, Any] = json.loads(os.environ.get("TOY_HOOK", "{}"))
        self.counts: Counter[str] = Counter()

    def moment(self, name: str) -> None:
        """A moment comes."""
        self.counts[name] += 1
        if "moments" in self.wanted:
            append(self.wanted["moments"], name)
        if name == self.wanted.get("at") and self.counts[name] == self.wanted["nth"]:
            with suppress(FileExistsError):
                CLOSE(REAL["open"](self.wanted["flag"], os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                if self.wanted["driver"] and is_worker():
                    os.kill(os.getppid(), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, name: str, path_of: Callable[[Any], str]) -> Callable[..., Any]:
        """A call that is watched where its first path lies in the store; those that open to read are not."""
        real = REAL[name]

        def watched(*arguments: Any, **settings: Any) -> Any:
            role = role_of(path_of(arguments[0]), self.store)
            if role is None or (name == "open" and not arguments[1] & os.O_CREAT):
                return real(*arguments, **settings)
            self.moment(f"before {name} {role}")
            given = real(*arguments, **settings)
            if name == "rename" and role == "new folder":
                self.published(Path(arguments[1]).name)
            self.moment(f"after {name} {role}")
            return given

        return watched

    def open_file(self, file: Any, mode: str = "r", *rest: Any, **settings: Any) -> Any:
        """`io.open`, with moments before and after a file is made and in the middle of what is written into it."""
        role = role_of(os.fspath(file), self.store) if "w" in mode and not isinstance(file, int) else None
        if role is None:
            return OPEN_FILE(file, mode, *rest, **settings)
        self.moment(f"before create {role}")
        return Halved(OPEN_FILE(file, mode, *rest, **settings), self, role)


class Halved:
    """A file whose content reaches the system in two halves."""

    def __init__(self, file: Any, watch: Watch, role: str) -> None:
        self.file, self.watch, self.role = file, watch, role

    def write(self, content: bytes) -> int:
        half = len(content) // 2
        self.watch.moment(f"before write {self.role}")
        self.file.write(content[:half])
        self.file.flush()
        self.watch.moment(f"half way write {self.role}")
        self.file.write(content[half:])
        self.file.flush()
        self.watch.moment(f"after write {self.role}")
        return len(content)

    def __enter__(self) -> Halved:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def is_worker() -> bool:
    """Whether this process works for a driver."""
    return getattr(getattr(sys.modules["__main__"], "__spec__", None), "name", "") == WORKER


def of_descriptor(descriptor: int) -> str:
    """The path of an open file."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


def of_name(path: Any) -> str:
    """A path as text; nothing where it is a number or beside an open directory."""
    return "" if isinstance(path, int) else os.fsdecode(path)


def install(store: Path, *, published: Callable[[str], None]) -> None:
    """Watch this process's calls on a store; `published` is told the key right after a result got its name."""
    watch = Watch(store, published)
    for name in REAL:
        setattr(os, name, watch.around(name, of_descriptor if name == "fsync" else of_name))
    io.open = watch.open_file
