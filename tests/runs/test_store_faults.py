"""Killed, out of disk, out of permission: nothing half-written is believed, and the next run completes."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from oversight import sealed as sealed_module
from oversight.errors import StepError
from oversight.runs import store as store_module
from oversight.runs.store import DirectoryStore, Outcome
from oversight.sealed import dump_arrays

KEY = "ab" + "0" * 62


def outcome_of() -> Outcome:
    return Outcome(arrays={"probs": np.random.default_rng(0).random((5, 2))}, record={"choices": {"penalty": 1e-05}})


def same(a: Outcome | None, b: Outcome) -> bool:
    return a is not None and a.record == b.record and dump_arrays(a.arrays) == dump_arrays(b.arrays)


@pytest.fixture
def kept(tmp_path: Path) -> DirectoryStore:
    """A store that holds one outcome under KEY."""
    store = DirectoryStore(tmp_path / "store")
    store.put(KEY, outcome_of(), about={"kind": "label"})
    return store


KILLED = """
import os, signal, sys
import numpy as np
from oversight.runs.store import DirectoryStore, Outcome
name, count = sys.argv[2], int(sys.argv[3])
real, calls = getattr(os, name), 0
def dying(*args, **kwargs):
    global calls
    calls += 1
    if calls == count and sys.argv[4] == "before": os.kill(os.getpid(), signal.SIGKILL)
    result = real(*args, **kwargs)
    if calls == count: os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(os, name, dying)
DirectoryStore(sys.argv[1]).put("{key}", Outcome(arrays={{"a": np.arange(9.0)}}, record={{"b": 1}}), about={{}})
print("survived")
"""
POINTS = [
    ("mkdir", 3, "after"),
    ("fsync", 1, "before"),
    ("fsync", 1, "after"),
    ("fsync", 2, "before"),
    ("fsync", 2, "after"),
    ("fsync", 3, "after"),
    ("rename", 1, "before"),
]


def killed(path: Path, name: str, count: int, when: str) -> None:
    """A real process that ends itself with signal 9 in the middle of `put`."""
    script = KILLED.format(key=KEY)
    done = subprocess.run([sys.executable, "-c", script, str(path), name, str(count), when], capture_output=True)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b""), done.stderr


@pytest.mark.parametrize(("name", "count", "when"), POINTS)
def test_a_process_killed_in_the_middle_of_put_leaves_nothing_believed(
    tmp_path: Path, name: str, count: int, when: str
) -> None:
    killed(tmp_path / "store", name, count, when)
    store = DirectoryStore(tmp_path / "store")
    assert (store.get(KEY), list(store.keys()), store.verify()) == (None, [], {})
    assert same(store.put(KEY, outcome_of(), about={}), outcome_of())


def test_a_process_killed_right_after_the_rename_leaves_a_whole_outcome(tmp_path: Path) -> None:
    killed(tmp_path / "store", "rename", 1, "after")
    found = DirectoryStore(tmp_path / "store").get(KEY)
    assert found is not None and found.arrays["a"].tolist() == list(range(9))


def failing(code: int, at: int) -> Callable[..., None]:
    real, calls = sealed_module.write_file, 0

    def write(path: Path, content: bytes) -> None:
        nonlocal calls
        calls += 1
        real(path, content[: len(content) // 2] if calls == at else content)
        if calls == at:
            raise OSError(code, os.strerror(code))

    return write


@pytest.mark.parametrize("at", [1, 2], ids=["arrays", "record"])
def test_a_full_disk_leaves_nothing_and_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    store = DirectoryStore(tmp_path / "store")
    monkeypatch.setattr(sealed_module, "write_file", failing(errno.ENOSPC, at))
    with pytest.raises(StepError) as caught:
        store.put(KEY, outcome_of(), about={})
    line = f"store {tmp_path}/store: cannot write {KEY[:12]}: No space left on device; nothing was kept of this step"
    assert str(caught.value) == line
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []
    monkeypatch.undo()
    assert same(store.put(KEY, outcome_of(), about={}), outcome_of())


IN_NAMESPACE = """
import sys
import numpy as np
from oversight.errors import StepError
from oversight.runs.store import DirectoryStore, Outcome
store = DirectoryStore(sys.argv[1] + "/store")
for i in range(int(sys.argv[2])):
    try:
        store.put(f"{i:02d}" + "a" * 62, Outcome(arrays={"a": np.zeros(2000)}), about={})
    except StepError as error:
        print(error)
        break
print(len(list(store.keys())), store.verify(), sum(p.is_file() for p in store.path.rglob(".*/*")))
"""


def in_namespace(mount: str, path: Path, n: int) -> list[str]:
    """Lines printed under a mount that only the child process sees and that goes with it."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here to mount a file system of one's own")
    start = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    tried = subprocess.run([*start, mount, "sh", str(path)], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"mounting is refused here: {tried.stderr.strip()[:100]}")
    command = f'{mount} && exec "$2" -c "$3" "$1" {n}'
    done = subprocess.run(
        [*start, command, "sh", str(path), sys.executable, IN_NAMESPACE], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_on_a_disk_that_really_is_full_everything_published_is_whole(tmp_path: Path) -> None:
    """200 KiB of disk for outcomes of 16 KB: some fit, the one that does not leaves nothing, the rest stays good."""
    lines = in_namespace('mount -t tmpfs -o size=200k none "$1"', tmp_path, 50)
    assert "No space left on device" in lines[0]
    n, rest = lines[1].split(maxsplit=1)
    assert 1 <= int(n) < 50 and rest == "{} 0"


def test_a_read_only_directory_is_one_line_not_a_traceback(tmp_path: Path) -> None:
    mount = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"'
    lines = in_namespace(mount, tmp_path, 2)
    assert lines == [
        f"store {tmp_path}/store: cannot write {'00' + 'a' * 10}: Read-only file system; nothing was kept of this step",
        "0 {} 0",
    ]


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EACCES, errno.ENOMEM])
def test_a_result_that_cannot_be_read_just_now_is_not_thrown_away(
    kept: DirectoryStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Too many open files or a missing permission says nothing about the result."""

    def refuse(folder: Path) -> Outcome:
        raise OSError(code, os.strerror(code), str(folder))

    monkeypatch.setattr(store_module, "read_outcome", refuse)
    with pytest.raises(StepError, match=os.strerror(code)):
        kept.get(KEY)
    monkeypatch.undo()
    assert same(kept.get(KEY), outcome_of())


def test_a_published_folder_has_the_permissions_that_the_user_asked_for(kept: DirectoryStore, tmp_path: Path) -> None:
    """A store that several people share: what one publishes the others can read."""
    (tmp_path / "plain").mkdir()
    assert (kept.folder(KEY).stat().st_mode & 0o777) == ((tmp_path / "plain").stat().st_mode & 0o777)
