"""Who claims: a process on a machine, as it says of itself in a file, and whether it is known to have ended."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Claimant:
    """What a process says of itself.

    Attributes:
        host: name of the machine; `?` when the file could not be understood.
        pid: of the process; 0 when unknown.
        boot: identity of the machine's boot, "" where there is no Linux /proc.
        namespace: in which the process number counts, "" likewise.
        start: when the process started, in clock ticks since boot, "" likewise.
        started: when it began to claim, for people.
        expires: seconds without a heartbeat after which it counts as dead; 0 when unknown.
    """

    host: str = "?"
    pid: int = 0
    boot: str = ""
    namespace: str = ""
    start: str = ""
    started: str = ""
    expires: float = 0.0


def this_process(expires: float) -> Claimant:
    """What this process says of itself."""
    host, boot, namespace = _this_machine()
    return Claimant(
        host=host,
        pid=os.getpid(),
        boot=boot,
        namespace=namespace,
        start=_start_of(os.getpid()) or "",
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        expires=expires,
    )


def said_by(claimant: Claimant) -> bytes:
    """The file's content, JSON."""
    return json.dumps(asdict(claimant)).encode()


def understood(content: bytes) -> Claimant:
    """The claimant of a file's content; one of whom nothing is known where that is not what `said_by` writes."""
    unknown = Claimant()
    try:
        said = json.loads(content)
        known = {one.name: type(getattr(unknown, one.name))(said[one.name]) for one in fields(Claimant)}
        return Claimant(**known)
    except (ValueError, TypeError, KeyError, OverflowError):
        return unknown


def ended(claimant: Claimant) -> bool:
    """Whether a claimant is known to be no more: it ran on this boot of this machine, and its process is not there.

    A process that ended and was not waited for is not there. Where the claimant ran elsewhere, nothing is known: False.
    """
    here = _this_machine()
    if not here[1] or (claimant.host, claimant.boot, claimant.namespace) != here:
        return False
    try:
        os.kill(claimant.pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    start = _start_of(claimant.pid)
    return start is not None and claimant.start != "" and start != claimant.start


@cache
def _this_machine() -> tuple[str, str, str]:
    """Host name, boot and process namespace: where all three are equal, a process number means the same process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return platform.node(), boot, os.readlink("/proc/self/ns/pid")
    except OSError:
        return platform.node(), "", ""


def _start_of(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; "" when it ended but was not waited for; None: unknown."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            state, *values = stat.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return "" if state in {b"Z", b"X"} else values[18].decode()
