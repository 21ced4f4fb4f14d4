"""A step is computed by one live process at a time; the claims of the dead are taken over, those of the living not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from oversight.errors import InputError, StepError
from oversight.runs import claimant as claimant_module
from oversight.runs.claims import Claims

KEY, OTHER, FAR = "ab" + "0" * 62, "ab" + "1" * 62, "cd" + "0" * 62
LONG = 3600.0


def test_a_key_has_one_holder_until_it_is_released(ground: Any) -> None:
    a, b = ground.claims(), ground.claims()
    assert a.take(KEY) and a.take(KEY) and not b.take(KEY)
    assert (a.held(), b.held()) == ({KEY}, frozenset())
    a.release(KEY)
    assert b.take(KEY) and not a.take(KEY)


def test_keys_do_not_disturb_each_other(ground: Any) -> None:
    a, b = ground.claims(), ground.claims()
    assert a.take(KEY) and b.take(OTHER) and b.take(FAR)
    b.release(OTHER)
    assert a.take(OTHER) and a.held() == {KEY, OTHER} and b.held() == {FAR}


def test_a_holder_is_named_by_machine_process_and_time(ground: Any) -> None:
    a, b = ground.claims(), ground.claims()
    assert a.holder(KEY) is None
    a.take(KEY)
    seen = b.holder(KEY)
    assert seen is not None and seen == a.holder(KEY)
    assert (seen.host, seen.pid) == (os.uname().nodename, os.getpid())
    assert seen.since == ground.marks()[0].stat().st_mtime
    a.release(KEY)
    assert b.holder(KEY) is None


def test_nothing_is_written_before_the_first_take(ground: Any) -> None:
    one = ground.claims()
    assert one.holder(KEY) is None and one.held() == frozenset() and one.sweep_dead() == 0
    one.release(KEY)
    one.close()
    assert not ground.folder.parent.exists()


def test_to_look_at_anothers_claim_leaves_nothing_behind(ground: Any) -> None:
    ground.process(KEY)
    before = ground.files()
    assert ground.claims().holder(KEY) is not None and ground.files() == before


def test_many_claims_have_one_heartbeat(ground: Any) -> None:
    one = ground.claims()
    keys = {f"{i:064x}" for i in range(100)}
    assert all(one.take(key) for key in keys) and one.held() == keys
    assert len(ground.claimant_files()) == 1 and len(ground.files()) == 101


def test_close_releases_everything_and_leaves_neither_file_nor_thread(ground: Any) -> None:
    before = threading.active_count()
    a, b = ground.claims(), ground.claims()
    assert a.take(KEY) and a.take(FAR) and threading.active_count() == before + 1
    a.close()
    assert threading.active_count() == before and ground.files() == []
    assert b.take(KEY) and a.held() == frozenset() and a.take(FAR)


@pytest.mark.parametrize("options", [{"expires": 0}, {"expires": 1, "beat": 1}, {"expires": 1, "beat": 0}])
def test_a_heartbeat_slower_than_the_expiry_is_refused(ground: Any, options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected 0 < beat < expires"):
        Claims(ground.folder, **options)


def test_a_failed_release_does_not_lock_out_its_own_claimant(ground: Any) -> None:
    one = ground.claims()
    assert one.take(KEY)
    place = ground.folder / "ab" / KEY
    mark = ground.marks()[0].name
    one.release(KEY)
    place.mkdir()
    (place / mark).touch()
    assert one.take(KEY) and [path.name for path in ground.marks()] != [mark]


def test_a_forked_child_neither_holds_nor_releases_what_its_parent_claimed(tmp_path: Path) -> None:
    script = """
        import os, sys
        from oversight.runs.claims import Claims
        with Claims(sys.argv[1]) as claims:
            assert claims.take("ab1")
            child = os.fork()
            if child == 0:
                fine = not claims.held() and not claims.take("ab1") and claims.take("ab2")
                claims.release("ab1")
                claims.close()
                os._exit(0 if fine else 1)
            assert os.waitpid(child, 0)[1] == 0
            assert claims.held() == {"ab1"} and claims.take("ab2")
    """
    subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), tmp_path / "claims"], check=True)


@pytest.mark.parametrize("where", ["", "claimants", "ab", f"ab/{KEY}"])
def test_a_file_in_the_way_is_named_as_a_store_that_cannot_be_written(ground: Any, where: str) -> None:
    one = ground.claims()
    (ground.folder / where).parent.mkdir(parents=True, exist_ok=True)
    (ground.folder / where).write_text("in the way")
    with pytest.raises(StepError, match=rf"claims: cannot be written, and a claim on step {KEY[:12]} was wanted: "):
        one.take(KEY)
    assert one.held() == frozenset() and (ground.folder / where).read_text() == "in the way"


def test_a_read_only_folder_is_named_and_can_still_be_looked_at(ground: Any) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    ground.process(KEY)
    shut = [ground.folder / "claimants", ground.folder / "ab", ground.folder]
    try:
        for path in shut:
            path.chmod(0o555)
        one = ground.claims()
        assert one.holder(KEY) is not None
        with pytest.raises(StepError, match=r"cannot be written, and a claim .* Permission denied"):
            one.take(OTHER)
    finally:
        for path in shut:
            path.chmod(0o755)


def test_a_full_disk_is_named_and_leaves_nothing_aside(tiny: Path) -> None:
    with Claims(tiny / "claims", expires=LONG) as one:
        with pytest.raises(StepError, match="No space left on device"):
            for i in range(12):
                one.take(f"{i:064x}")
        assert not list((tiny / "claims").rglob(".*"))


def test_a_read_only_file_system_is_named_and_can_still_be_looked_at(tiny: Path) -> None:
    with Claims(tiny / "claims", expires=LONG) as one, Claims(tiny / "claims", expires=LONG) as other:
        assert one.take(KEY)
        subprocess.run(["mount", "-o", "remount,ro", str(tiny)], check=True)
        assert one.held() == {KEY} and other.holder(KEY) == one.holder(KEY) is not None
        with pytest.raises(StepError, match=r"a claim on step .* was wanted: Read-only file system"):
            other.take(OTHER)
        one.release(KEY)


@pytest.mark.parametrize("waited_for", [True, False])
def test_a_killed_process_is_replaced_at_once(ground: Any, waited_for: bool) -> None:
    other, one = ground.process(KEY), ground.claims()
    assert other.taken == ["1"] and not one.take(KEY)
    other.send(signal.SIGKILL)
    if waited_for:
        other.process.wait()
    else:
        os.waitid(os.P_PID, other.process.pid, os.WEXITED | os.WNOWAIT)
    assert one.holder(KEY) is None and one.take(KEY)
    assert len(ground.marks()) == 1


@pytest.mark.parametrize("field", ["host", "boot", "namespace"])
def test_a_killed_process_of_elsewhere_is_replaced_when_its_heartbeat_is_old(ground: Any, field: str) -> None:
    other, one = ground.process(KEY), ground.claims()
    other.kill()
    (file,) = ground.claimant_files()
    ground.change(file, **{field: "another"})
    ground.age(file, LONG - 60)
    assert not one.take(KEY)
    ground.age(file, 120)
    assert one.take(KEY)


def test_a_killed_process_of_elsewhere_is_replaced_after_a_while(ground: Any) -> None:
    other, one = ground.process(KEY, expires=0.5), ground.claims()
    other.kill()
    ground.change(ground.claimant_files()[0], boot="another")
    assert ground.eventually(lambda: one.take(KEY))


def test_a_process_number_used_again_is_another_process(ground: Any) -> None:
    ground.process(KEY)
    ground.change(ground.claimant_files()[0], start="1")
    assert ground.claims().take(KEY)


def test_a_claimant_without_a_file_is_dead(ground: Any) -> None:
    ground.process(KEY)
    ground.claimant_files()[0].unlink()
    assert ground.claims().take(KEY)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"pid": "x"}', b"\xff", b'{"pid": 1}'])
def test_a_claimant_that_cannot_be_understood_lives_by_its_heartbeat(ground: Any, content: bytes) -> None:
    ground.process(KEY).kill()
    (file,) = ground.claimant_files()
    file.write_bytes(content)
    one = ground.claims(expires=60)
    seen = one.holder(KEY)
    assert not one.take(KEY) and seen is not None and (seen.host, seen.pid) == ("?", 0)
    ground.age(file, 120)
    assert one.take(KEY)


def test_the_clock_of_this_machine_decides_nothing(ground: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = ground.claims(expires=60), ground.claims(expires=60)
    assert a.take(KEY)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert not b.take(KEY) and b.holder(KEY) is not None


def test_the_promise_of_the_claimant_counts_not_the_impatience_of_the_other(ground: Any) -> None:
    patient, hasty = ground.claims(expires=LONG), ground.claims(expires=1)
    assert patient.take(KEY)
    ground.age(ground.claimant_files()[0], 600)
    assert not hasty.take(KEY)


def test_the_heartbeat_goes_on_after_faults(ground: Any) -> None:
    one = ground.claims(expires=1000, beat=0.01)
    assert one.take(KEY)
    (file,) = ground.claimant_files()
    aside = ground.folder.parent / "aside"
    file.parent.rename(aside)
    file.parent.write_text("in the way")
    time.sleep(0.1)
    file.parent.unlink()
    aside.rename(file.parent)
    ground.age(file, 5000)
    old = file.stat().st_mtime
    assert ground.eventually(lambda: file.stat().st_mtime > old + 4000)


def test_a_claimant_whose_file_was_removed_writes_it_again(ground: Any) -> None:
    one, other = ground.claims(expires=1000, beat=0.01), ground.claims()
    assert one.take(KEY)
    ground.claimant_files()[0].unlink()
    assert ground.eventually(lambda: len(ground.claimant_files()) == 1)
    assert not other.take(KEY) and one.held() == {KEY}


@pytest.mark.parametrize("swept", [True, False])
def test_every_take_is_a_heartbeat(ground: Any, swept: bool) -> None:
    one, other = ground.claims(), ground.claims()
    assert one.take(KEY)
    (file,) = ground.claimant_files()
    ground.age(file, 2 * LONG)
    if swept:
        file.unlink()
    assert one.take(OTHER) and not other.take(OTHER)


def test_a_stopped_process_loses_its_claims_and_sees_it_when_continued(ground: Any) -> None:
    other, one = ground.process(KEY, OTHER, expires=2), ground.claims()
    assert other.taken == ["1", "1"]
    other.send(signal.SIGSTOP)
    assert ground.eventually(lambda: one.take(KEY))
    other.send(signal.SIGCONT)
    assert [other.ask("held", KEY), other.ask("held", OTHER), other.ask("take", KEY)] == ["0", "1", "0"]
    assert other.ask("release", KEY) == "released"
    assert one.held() == {KEY} and len(ground.marks()) == 1 and not one.take(OTHER)


def test_a_stopped_process_releases_without_harm_what_it_believes_to_hold(ground: Any) -> None:
    other, one = ground.process(KEY, expires=0.5), ground.claims()
    other.send(signal.SIGSTOP)
    assert ground.eventually(lambda: one.take(KEY))
    other.send(signal.SIGCONT)
    assert other.ask("release", KEY) == "released"
    assert one.held() == {KEY} and ground.marks()[0].exists() and other.ask("take", KEY) == "0"


def test_the_dead_are_swept_and_the_living_left(ground: Any) -> None:
    one, other, alive = ground.claims(), ground.process(KEY, FAR), ground.process(OTHER)
    other.kill()
    (dead,) = {path.stem for path in ground.claimant_files()} - {ground.marks(OTHER)[0].name.partition(".")[0]}
    (ground.folder / "ab" / f".{dead}.7").mkdir()
    (ground.folder / "ab" / f".{dead}.7" / f"{dead}.7").touch()
    (ground.folder / "ab" / f".{ground.marks(OTHER)[0].name}").mkdir()
    (ground.folder / "ab" / ("ab" + "2" * 62)).mkdir()
    assert one.sweep_dead() == 4 and one.sweep_dead() == 0
    assert [path.name for path in ground.files()] == [ground.marks(OTHER)[0].name, ground.claimant_files()[0].name]
    assert {path.name for path in (ground.folder / "ab").iterdir()} == {OTHER, f".{ground.marks(OTHER)[0].name}"}
    assert alive.ask("held", OTHER) == "1" and not (ground.folder / "cd").exists()


def test_only_where_linux_names_its_boot_is_a_process_known_to_have_ended(
    ground: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.process(KEY).kill()
    ground.change(ground.claimant_files()[0], boot="", namespace="")
    monkeypatch.setattr(claimant_module, "_this_machine", lambda: (os.uname().nodename, "", ""))
    assert not ground.claims().take(KEY)
