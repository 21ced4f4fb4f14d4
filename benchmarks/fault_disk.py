"""Part (c) of `faults.py`: a store on a full file system, and on one that cannot be written.

Real ones where this user may mount them in a private namespace: a tmpfs that is filled up by bytes or by files, and a
read-only bind mount. Otherwise a limit on the size of files (`ulimit -f`) and permissions, which root ignores.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from toy_sweep import Driver, Toy, Violation, contents, expect, undisturbed

from oversight.runs.store import DirectoryStore

SPACES = (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"])
MEBIBYTE = 1 << 20
DISK_BYTES, DISK_FILES, LIMIT_BLOCKS = 128 * MEBIBYTE, 100_000, 256
COMMAND = [sys.executable, "-m", "oversight"]
PLAN = """
tasks = ["reviews"]
supervisors = ["bow"]
students = ["minilm@1"]
methods = ["naive"]
seeds = 2
n_train = 200
n_test = 100
"""


def disks(place: Path, *, n: int, seed: int, real: bool = True) -> str:
    """Both, in a namespace of their own where that is allowed."""
    place.mkdir(parents=True, exist_ok=True)
    for space in SPACES:
        if shutil.which(space[0]) and run([*space, "mount", "-t", "tmpfs", "none", str(place)]).returncode == 0:
            inside = [*space, sys.executable, __file__, str(place), str(n), str(seed), *(["real"] if real else [])]
            done = run(inside)
            if done.returncode:
                raise Violation(done.stderr.strip())
            return done.stdout.strip()
    return limited(place)


def limited(place: Path) -> str:
    """Without mounts: files that must stay small, and a directory without permission."""
    toy = Toy(folder=place / "small", steps=60)
    expected = undisturbed(place / "calm", toy)
    one_line(toy.start(prefix=["sh", "-c", f'ulimit -f {LIMIT_BLOCKS}; exec "$@"', "sh"]), "File too large")
    half_way(toy, expected)
    toy.finish()
    toy.judge(expected)
    said = "files over a limit (no file system could be mounted here): 1 line, exit code 1, nothing half published"
    if os.geteuid() == 0:
        return f"{said}; read-only: not tried, as permissions do not bind root"
    run(["chmod", "-R", "a-w", str(toy.place)])
    try:
        return f"{said}; {unwritable(toy, expected, 'Permission denied')}"
    finally:
        run(["chmod", "-R", "u+w", str(toy.place)])


def mounted(place: Path, n: int, seed: int, real: bool) -> str:
    """With mounts."""
    disk, folder, draw = place / "disk", place / "full", random.Random(seed)
    disk.mkdir()
    mount("-t", "tmpfs", "-o", f"size={DISK_BYTES},nr_inodes={DISK_FILES}", "none", str(disk))
    toy = Toy(folder=folder, steps=60, seed=seed, store=disk / "store")
    expected = undisturbed(place / "calm", toy)
    for i in range(n):
        there = len(toy.keys())
        if i % 3 == 2:
            left = os.statvfs(disk)
            mount("-o", f"remount,nr_inodes={left.f_files - left.f_ffree + draw.randrange(40)}", str(disk))
        else:
            fill(disk, draw.randrange(2 * MEBIBYTE))
        one_line(toy.start(workers=1 + i % 2), "No space left on device")
        half_way(toy, expected)
        mount("-o", f"remount,nr_inodes={DISK_FILES}", str(disk))
        (disk / "ballast").unlink(missing_ok=True)
        expect(there <= len(toy.keys()) < toy.steps, "a full disk lost results, or was not full")
    toy.finish()
    toy.judge(expected)
    said = [f"disk full {n} times (tmpfs, by bytes and by files): 1 line, exit code 1, nothing half published, no "
            f"leftovers, then {toy.steps} of {toy.steps} results with equal bytes"]  # fmt: skip
    said += [filled_for_real(place, disk)] if real else []
    plan = place / "plan.toml"
    reads = [["ls"], ["verify"], ["show", toy.keys()[0]]]
    frozen(disk)
    said.append(unwritable(toy, expected, "Read-only file system"))
    for command in reads if real else ():
        done = run([*COMMAND, *command, "--store", str(toy.place)])
        expect(done.returncode == 0, f"oversight {command[0]} on a read-only store: {done.stderr}")
    if real:
        done = run([*COMMAND, "sweep", str(plan), "--store", str(disk / "real")])
        expect(done.returncode == 0, f"a finished sweep on a read-only store: {done.stderr}")
        refused(run([*COMMAND, "sweep", str(plan), "--seeds", "3", "--store", str(disk / "real")]), "Read-only")
        said.append(
            "`oversight ls`, `verify`, `show` and a finished `sweep` answer there, an unfinished one is refused"
        )
    return "; ".join(said)


def unwritable(toy: Toy, expected: dict[str, object], reason: str) -> str:
    """A finished sweep that cannot be written answers; one that lacks results says why and computes nothing."""
    began = len(toy.lines())
    store = DirectoryStore(toy.place)
    expect(contents(store) == expected, "a store that cannot be written reads otherwise")
    expect(all(store.get(key) is not None for key in expected), "a store that cannot be written cannot be read")
    driver = toy.start()
    expect(driver.wait() == 0, f"a finished sweep in a store that cannot be written: {driver.said()}")
    larger = Toy(folder=toy.folder / "larger", steps=toy.steps + 30, seed=toy.seed + 1, store=toy.place)
    for workers in (1, 2):
        one_line(larger.start(workers=workers), reason)
    expect(
        len(toy.lines()) == began and larger.lines() == [], "something was computed for a store that cannot be written"
    )
    said = "reads and finished sweeps work, an unfinished one says so in 1 line and computes nothing"
    return f"read-only ({reason}): {said}"


def filled_for_real(place: Path, disk: Path) -> str:
    """`oversight sweep` on a full disk, and again when there is room."""
    plan = place / "plan.toml"
    plan.write_text(PLAN)
    command = [*COMMAND, "sweep", str(plan), "--store", str(disk / "real")]
    for free in (0, 64 << 10):
        fill(disk, free)
        refused(run(command), "No space left on device")
        expect(DirectoryStore(disk / "real").verify() == {}, "a full disk left damaged results")
        (disk / "ballast").unlink()
    done = run(command)
    expect(done.returncode == 0, f"when there was room: {done.stderr}")
    return "`oversight sweep` likewise"


def refused(done: subprocess.CompletedProcess[str], reason: str) -> None:
    """One line of error, beside what is said of the progress; exit code 1."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("oversight: ")]
    expect(done.returncode == 1, f"found exit code {done.returncode}, expected 1: {done.stderr}")
    expect("Traceback" not in done.stderr and reason in lines[-1], f"expected '{reason}', found: {done.stderr}")


def one_line(driver: Driver, reason: str) -> None:
    """The command ends with exit code 1 and one line that says why."""
    code, said = driver.wait(), driver.said()
    expect(code == 1, f"found exit code {code}, expected 1: {said}")
    expect(len(said.splitlines()) == 1 and said.startswith("oversight: ") and reason in said, f"found: {said}")


def half_way(toy: Toy, expected: dict[str, object]) -> None:
    """What is there is sound and right; nothing is left of what could not be written."""
    store = DirectoryStore(toy.place)
    found = contents(store)
    expect(store.verify() == {}, f"damaged results: {store.verify()}")
    expect(all(found[key] == expected[key] for key in found), "a result differs")
    expect(toy.left_over() == 0, "an unfinished write was left lying")


def fill(disk: Path, free: int) -> None:
    """Leave so many bytes, about."""
    left = os.statvfs(disk)
    with (disk / "ballast").open("wb") as file:
        file.truncate(0)
        os.posix_fallocate(file.fileno(), 0, max(1, left.f_bavail * left.f_frsize - free))


def frozen(disk: Path) -> None:
    """Nothing can be written from now on."""
    mount("-o", "remount,ro", str(disk))


def mount(*arguments: str) -> None:
    """Run mount."""
    done = run(["mount", *arguments])
    expect(done.returncode == 0, f"mount {' '.join(arguments)}: {done.stderr}")


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """With what it said."""
    return subprocess.run(command, capture_output=True, text=True)


if __name__ == "__main__":
    try:
        print(mounted(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), "real" in sys.argv))
    except Violation as error:
        sys.exit(str(error))
