"""A folder for claims, claimants of this process and of others, and what they leave on disk."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oversight.runs.claims import Claims

KEY = "ab" + "0" * 62
LONG = 3600.0

HOLD = """
    import sys
    from oversight.runs.claims import Claims

    folder, expires, *keys = sys.argv[1:]
    claims = Claims(folder, expires=float(expires))
    print(*[int(claims.take(key)) for key in keys], flush=True)
    for line in sys.stdin:
        word, key = line.split()
        if word == "held":
            print(int(key in claims.held()), flush=True)
        elif word == "take":
            print(int(claims.take(key)), flush=True)
        else:
            claims.release(key)
            print("released", flush=True)
    claims.close()
"""


class Process:
    """A process of its own that holds claims and answers `held`, `take` and `release`."""

    def __init__(self, folder: Path, *keys: str, expires: float) -> None:
        words = [sys.executable, "-c", textwrap.dedent(HOLD), str(folder), str(expires), *keys]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.taken = self._answer().split()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, word: str, key: str) -> str:
        assert self.process.stdin is not None
        print(word, key, file=self.process.stdin, flush=True)
        return self._answer()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        if self.process.poll() is None:
            self.send(signal.SIGCONT)
            self.kill()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


class Ground:
    """Where claims lie (`folder`, not there at first) and who claims there; all gone at the end."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self._stack = stack

    def claims(self, expires: float = LONG, **options: Any) -> Claims:
        """Another claimant of this process."""
        return self._stack.enter_context(Claims(self.folder, expires=expires, **options))

    def process(self, *keys: str, expires: float = LONG) -> Process:
        """A process that asked for these keys."""
        one = Process(self.folder, *keys, expires=expires)
        self._stack.callback(one.end)
        return one

    def claimant_files(self) -> list[Path]:
        return sorted((self.folder / "claimants").glob("*"))

    def marks(self, key: str = KEY) -> list[Path]:
        return sorted((self.folder / key[:2] / key).glob("*"))

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    @staticmethod
    def change(path: Path, **fields: Any) -> None:
        """Edit what a claimant said of itself, its heartbeat left as it was."""
        before = path.stat()
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    @staticmethod
    def age(path: Path, seconds: float) -> None:
        """Make a heartbeat older."""
        os.utime(path, (path.stat().st_mtime - seconds,) * 2)

    @staticmethod
    def eventually(condition: Callable[[], bool], *, seconds: float = 60) -> bool:
        """Whether something comes true; the limit is only there to end a test that fails."""
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """An empty place for claims."""
    with contextlib.ExitStack() as stack:
        yield Ground(tmp_path / "store" / "claims", stack)


@pytest.fixture
def new_ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Ground]]:
    """new_ground() -> another empty place, for one example of many."""
    with contextlib.ExitStack() as stack:
        yield lambda: Ground(tmp_path_factory.mktemp("ground") / "claims", stack)


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 files, where the machine allows to mount one."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=12", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)
