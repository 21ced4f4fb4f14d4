"""Whatever the order in which claimants act, sleep and die, two never hold one key."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oversight.runs import claims as claims_module
from oversight.runs.claims import Claims

KEY, LONG = "ab" + "0" * 62, 3600.0

RACE = """
    import os, random, sys, time
    from pathlib import Path
    from oversight.runs.claims import Claims

    root, seed = Path(sys.argv[1]), int(sys.argv[2])
    draw = random.Random(seed)
    keys = [f"{i:064x}" for i in range(50)]

    def note(path, text, flags=os.O_CREAT | os.O_EXCL | os.O_WRONLY):
        opened = os.open(path, flags, 0o666)
        os.write(opened, text.encode())
        os.close(opened)

    def alive(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    def enter(probe):
        try:
            note(probe, str(os.getpid()))
        except FileExistsError:
            inside = probe.read_text()
            if inside and alive(int(inside)):
                note(root / f"broken-{os.getpid()}", f"{probe.name}: {inside} was inside")
            probe.unlink()
            note(probe, str(os.getpid()))

    with Claims(root / "claims", expires=60) as claims:
        left = keys
        while left := [key for key in left if not (root / f"done-{key}").exists()]:
            draw.shuffle(left)
            for key in left:
                if not claims.take(key):
                    continue
                if not (root / f"done-{key}").exists():
                    probe = root / f"inside-{key}"
                    enter(probe)
                    time.sleep(draw.random() / 20)
                    try:
                        note(root / f"done-{key}", "")
                    except FileExistsError:
                        note(root / f"broken-{os.getpid()}", f"{key} was done twice")
                    probe.unlink()
                claims.release(key)
            time.sleep(0.005)
"""


def test_a_slow_judge_removes_only_the_claim_that_it_judged(ground: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the judgement and the removal the key is taken over, released and taken again by somebody else."""
    ground.process(KEY).kill()
    slow, quick, last = ground.claims(), ground.claims(), ground.claims()
    unlink = os.unlink

    def meanwhile(path: Path) -> None:
        monkeypatch.setattr(os, "unlink", unlink)
        assert quick.take(KEY)
        quick.release(KEY)
        assert last.take(KEY)
        unlink(path)

    monkeypatch.setattr(os, "unlink", meanwhile)
    assert not slow.take(KEY) and last.held() == {KEY} and slow.held() == frozenset()


def test_a_slow_judge_spares_what_the_same_claimant_takes_anew_after_it_woke(
    ground: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper, judge = ground.claims(), ground.claims()
    assert sleeper.take(KEY)
    ground.age(ground.claimant_files()[0], 2 * LONG)
    unlink = os.unlink

    def meanwhile(path: Path) -> None:
        monkeypatch.setattr(os, "unlink", unlink)
        sleeper.release(KEY)
        assert sleeper.take(KEY)
        unlink(path)

    monkeypatch.setattr(os, "unlink", meanwhile)
    assert not judge.take(KEY) and sleeper.held() == {KEY}


def test_a_release_between_the_look_and_the_rename_hands_the_key_over(
    ground: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = ground.claims(), ground.claims(), ground.claims()
    rename = os.rename

    def meanwhile(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "rename", rename)
        assert first.take(KEY)
        first.release(KEY)
        rename(source, target)

    monkeypatch.setattr(os, "rename", meanwhile)
    assert second.take(KEY) and not third.take(KEY) and second.held() == {KEY}


def test_a_refused_taker_looks_again_and_takes_what_was_released_meanwhile(
    ground: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ground.claims(), ground.claims()
    rename = os.rename

    def meanwhile(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "rename", rename)
        assert first.take(KEY)
        try:
            rename(source, target)
        finally:
            first.release(KEY)

    monkeypatch.setattr(os, "rename", meanwhile)
    assert second.take(KEY)


def test_a_rename_whose_answer_was_lost_is_a_claim(ground: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system that asks its server twice is told that the folder is not there any more."""
    one, rename = ground.claims(), os.rename

    def twice(source: Path, target: Path) -> None:
        rename(source, target)
        rename(source, target)

    monkeypatch.setattr(os, "rename", twice)
    assert one.take(KEY) and one.held() == {KEY} and len(ground.files()) == 2


class Crashed(BaseException):
    """The end of an actor, wherever it stands."""


class Stage:
    """Actors in threads that take and release one key, each held before every call to the file system until told to go.

    What is run is the code itself; only its view of `os` is replaced by one that waits.
    """

    WAITS = frozenset({"utime", "mkdir", "makedirs", "open", "rename", "unlink", "rmdir", "listdir", "stat"})

    def __init__(self, folder: Path, n_actors: int, rounds: int) -> None:
        self.claims = [Claims(folder, expires=LONG) for _ in range(n_actors)]
        self.go = [threading.Semaphore(0) for _ in range(n_actors)]
        self.back = threading.Semaphore(0)
        self.inside: set[int] = set()
        self.most_inside = 0
        self.crash: set[int] = set()
        self.ended: set[int] = set()
        self.here = threading.local()
        self.threads = [threading.Thread(target=self._act, args=(i, rounds)) for i in range(n_actors)]
        for thread in self.threads:
            thread.start()

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self.WAITS:
            return real

        def waits(*arguments: Any, **options: Any) -> Any:
            self._wait()
            return real(*arguments, **options)

        return waits

    def _wait(self) -> None:
        actor = getattr(self.here, "actor", None)
        if actor is not None:
            self.back.release()
            self.go[actor].acquire()
            if actor in self.crash:
                raise Crashed

    def _act(self, actor: int, rounds: int) -> None:
        self.here.actor = actor
        self.go[actor].acquire()
        try:
            for _ in range(rounds):
                if self.claims[actor].take(KEY):
                    self.inside.add(actor)
                    self.most_inside = max(self.most_inside, len(self.inside))
                    self._wait()
                    self.inside.remove(actor)
                    self.claims[actor].release(KEY)
        except Crashed:
            self.inside.discard(actor)
        self.ended.add(actor)
        self.back.release()

    def step(self, actor: int, *, crash: bool = False) -> None:
        """Let one actor do its next call, or die before it."""
        if actor in self.ended:
            return
        if crash:
            self.crash.add(actor)
        self.go[actor].release()
        self.back.acquire()
        if crash:
            for path in self.claims[actor].folder.glob(f"claimants/{self.claims[actor]._token}.json"):
                os.utime(path, (0, 0))

    def run(self, actor: int, *, until_inside: bool = False) -> None:
        """Let one actor go on to its end, or to where it holds the key."""
        while actor not in self.ended and not (until_inside and actor in self.inside):
            self.step(actor)

    def finish(self) -> None:
        for actor in range(len(self.claims)):
            self.run(actor)
        for thread in self.threads:
            thread.join()


@contextlib.contextmanager
def staged(folder: Path, *, rounds: int) -> Iterator[Stage]:
    """Three actors, each to take the key so many times; all gone at the end, also of a test that failed."""
    stage = Stage(folder, n_actors=3, rounds=rounds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims_module, "os", stage)
        try:
            yield stage
        finally:
            stage.finish()
            for one in stage.claims:
                one.close()


def leave_dead_claim(ground: Any) -> None:
    """What a claimant leaves who was killed elsewhere long ago."""
    with Claims(ground.folder, expires=LONG) as before:
        before.take(KEY)
        (file,), (mark,) = ground.claimant_files(), ground.marks()
        content = file.read_bytes()
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    file.write_bytes(content)
    os.utime(file, (0, 0))


@pytest.mark.parametrize("found_dead", [True, False])
def test_wherever_one_sleeps_while_the_key_goes_from_hand_to_hand_two_are_never_inside(
    found_dead: bool, new_ground: Callable[[], Any]
) -> None:
    """One sleeps before any of its calls, a second takes and releases, a third enters, then the first wakes."""
    pause, awake_at_the_end = 0, False
    while not awake_at_the_end:
        ground = new_ground()
        if found_dead:
            leave_dead_claim(ground)
        with staged(ground.folder, rounds=1) as stage:
            for _ in range(pause):
                stage.step(0)
            stage.run(1)
            stage.run(2, until_inside=True)
            awake_at_the_end = 0 in stage.ended
            stage.run(0)
            stage.finish()
        assert stage.most_inside == 1, pause
        pause += 1
    assert pause > 8


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 20)), max_size=12),
    st.sets(st.integers(0, 60), max_size=2),
    st.booleans(),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_no_order_of_calls_are_two_inside(
    new_ground: Callable[[], Any], order: list[tuple[int, int]], crashes: set[int], found_dead: bool
) -> None:
    """Three actors, up to two of whom die at any call; at the end the key is free again and nothing lies about."""
    ground = new_ground()
    if found_dead:
        leave_dead_claim(ground)
    with staged(ground.folder, rounds=2) as stage:
        for turn, actor in enumerate(actor for actor, n_calls in order for _ in range(n_calls)):
            stage.step(actor, crash=turn in crashes)
        stage.finish()
        assert stage.most_inside == 1 or (stage.most_inside == 0 and stage.crash)
        with Claims(ground.folder, expires=LONG) as last:
            assert last.take(KEY) and len(ground.marks()) == 1
            last.release(KEY)
            last.sweep_dead()
            assert [path.parent.name for path in ground.files()] == ["claimants"] * (4 - len(stage.crash))


def test_eight_processes_under_kills_enter_every_step_one_at_a_time_and_do_it_once(ground: Any, tmp_path: Path) -> None:
    """Whenever two more steps are done, one process is killed wherever it stands and another one started."""
    draw = random.Random(0)
    words = [sys.executable, "-c", textwrap.dedent(RACE), str(tmp_path)]
    running = [subprocess.Popen([*words, str(seed)]) for seed in range(8)]
    killed: list[subprocess.Popen[bytes]] = []
    try:
        for n_done in range(2, 50, 2):
            assert ground.eventually(lambda n=n_done: len(list(tmp_path.glob("done-*"))) >= n)
            victim = draw.randrange(8)
            running[victim].kill()
            killed.append(running[victim])
            if draw.random() < 0.5:
                running[victim].wait()
            running[victim] = subprocess.Popen([*words, str(8 + n_done)])
        assert [one.wait(timeout=60) for one in running] == [0] * 8
    finally:
        for one in [*running, *killed]:
            one.kill()
            one.wait()
    assert [path.read_text() for path in tmp_path.glob("broken-*")] == []
    assert len(list(tmp_path.glob("done-*"))) == 50
    with Claims(tmp_path / "claims") as last:
        last.sweep_dead()
    assert not list((tmp_path / "claims").glob("[!c]*"))
