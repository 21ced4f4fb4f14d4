"""What gc removes: everything that nobody needs, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.errors import InputError, StepError, StoreError
from oversight.runs.claims import Claims
from oversight.runs.collect import DAMAGED, DONE, LEFTOVER, NOT_ASKED, OLD, UNNEEDED, Garbage, collect, plan_gc
from oversight.runs.failures import Failure, failures, record_failure
from oversight.runs.kept import Kept, drop, keep
from oversight.runs.store import DirectoryStore
from oversight.sealed import ARRAYS, RECORD, dump_json, read_record

Put = Callable[..., str]
KeyOf = Callable[[str], str]
Age = Callable[..., None]


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    """Empty."""
    return DirectoryStore(tmp_path / "store")


def kept_of(*goals: str, steps: tuple[str, ...] = ()) -> Kept:
    return Kept(title="t", goals=goals, steps=steps or goals)


def whys(garbage: Garbage) -> dict[str, str]:
    return {item.key or item.path.name: item.why for item in garbage.items}


# What is needed

NODES = range(8)
GRAPHS = st.fixed_dictionaries(
    {
        "inputs": st.lists(st.sets(st.sampled_from(NODES)), min_size=8, max_size=8),
        "models": st.lists(st.sets(st.sampled_from(NODES), max_size=1), min_size=8, max_size=8),
        "kept": st.lists(st.sets(st.sampled_from(NODES), min_size=1, max_size=2), max_size=2),
        "young": st.sets(st.sampled_from(NODES), max_size=1),
        "gone": st.sets(st.sampled_from(NODES), max_size=1),
    }
)


@given(GRAPHS)
@settings(max_examples=25, deadline=None)
def test_what_stays_is_what_can_be_reached(put_result: Put, key_of: KeyOf, graph: dict[str, Any]) -> None:
    """Results read only results of a lower number; roots are the kept and the young, `gone` was lost before."""
    below = [sorted(j for j in graph["inputs"][i] | graph["models"][i] if j < i) for i in NODES]
    reached: set[int] = set()

    def reach(i: int) -> None:
        reached.add(i)
        if i not in graph["gone"]:
            for j in below[i]:
                reach(j)

    for i in {*graph["young"], *(i for goals in graph["kept"] for i in goals)} - (graph["gone"] & graph["young"]):
        reach(i)
    with tempfile.TemporaryDirectory() as place:
        store = DirectoryStore(place)
        for i in NODES:
            if i in graph["gone"]:
                continue
            read = {name: [str(j) for j in sorted(graph[name][i]) if j < i] for name in ("inputs", "models")}
            put_result(store, str(i), **read, young=i in graph["young"])
        for goals in graph["kept"]:
            keep(store.path, kept_of(*(key_of(str(i)) for i in goals)))
        before = set(store.keys())
        garbage = plan_gc(store)
        assert set(store.keys()) == before
        assert collect(store, garbage) == garbage
        assert set(store.keys()) == {key_of(str(i)) for i in reached if i not in graph["gone"]}
        assert store.verify() == {} and plan_gc(store).items == ()


def test_all_steps_of_a_kept_study_stay_whatever_their_records_say(
    store: DirectoryStore, put_result: Put, key_of: KeyOf
) -> None:
    keys = [put_result(store, name) for name in "abc"]
    keep(store.path, kept_of(keys[0], steps=(keys[0], keys[1])))
    assert whys(plan_gc(store)) == {keys[2]: UNNEEDED}


def test_a_dropped_study_is_looked_at_as_though_it_were_gone(store: DirectoryStore, put_result: Put) -> None:
    a, b = (put_result(store, name) for name in "ab")
    studies = [kept_of(key) for key in (a, b)]
    for one in studies:
        keep(store.path, one)
    assert plan_gc(store).items == ()
    assert whys(plan_gc(store, dropped=[studies[0].name])) == {a: UNNEEDED}
    assert plan_gc(store).items == ()


def test_models_stay_while_a_kept_study_is_unfinished(store: DirectoryStore, put_result: Put, key_of: KeyOf) -> None:
    """A sweep was killed after it kept a fine-tuned model and before the step that used it told so."""
    model = put_result(store, "model", kind="model")
    put_result(store, "other")
    keep(store.path, kept_of(key_of("to come")))
    assert whys(plan_gc(store)) == {key_of("other"): UNNEEDED}
    put_result(store, "to come")
    assert whys(plan_gc(store)) == {key_of("other"): UNNEEDED, model: UNNEEDED}


def test_nothing_is_judged_where_a_kept_study_is_damaged(store: DirectoryStore, put_result: Put) -> None:
    put_result(store, "a")
    keep(store.path, kept_of("b" * 64))
    name = kept_of("b" * 64).name
    (store.path / "kept" / f"{name}.json").write_text("{")
    with pytest.raises(StepError, match=f"kept study {name} is damaged .* what it needs is not known"):
        plan_gc(store)
    assert len(plan_gc(store, dropped=[name]).items) == 1


def test_nothing_is_judged_where_a_result_is_newer_than_this_program(store: DirectoryStore, put_result: Put) -> None:
    key = put_result(store, "a")
    content = read_record(store.folder(key)) | {"format": 2}
    (store.folder(key) / RECORD).write_bytes(dump_json(content))
    with pytest.raises(StepError, match="newer than this program"):
        plan_gc(store)


def test_what_somebody_computes_now_stays_with_what_it_reads(
    store: DirectoryStore, put_result: Put, key_of: KeyOf
) -> None:
    put_result(store, "input")
    key = put_result(store, "held", inputs=["input"])
    with Claims(store.path / "claims") as claims:
        assert claims.take(key)
        assert plan_gc(store).items == ()
    assert whys(plan_gc(store)) == dict.fromkeys([key, key_of("input")], UNNEEDED)


def test_what_came_to_be_needed_since_it_was_found_stays(store: DirectoryStore, put_result: Put) -> None:
    asked, held, unneeded = (put_result(store, name) for name in ("asked", "held", "unneeded"))
    garbage = plan_gc(store)
    assert len(garbage.items) == 3
    keep(store.path, kept_of(asked))
    with Claims(store.path / "claims") as claims:
        claims.take(held)
        removed = collect(store, garbage)
    assert whys(removed) == {unneeded: UNNEEDED}
    assert set(store.keys()) == {asked, held}


# What is no result


@pytest.mark.parametrize("where", ["ab/.new-1", "ab/.old-2", "kept/.new-3", "failed/.new-4"])
def test_leftovers_go_once_nobody_can_be_at_them(store: DirectoryStore, where: str, put_result: Put, age: Age) -> None:
    left = store.path / where
    left.mkdir(parents=True)
    (left / "arrays.safetensors").write_bytes(b"12345")
    assert plan_gc(store).items == ()
    age(left, 120)
    with Claims(store.path / "claims") as claims:
        claims.take("a" * 64)
        assert plan_gc(store).items == ()
        age(left, 3700)
        assert len(plan_gc(store).items) == 1
    age(left, 120)
    [item] = plan_gc(store).items
    assert (item.kind, item.why, item.bytes) == ("leftover", LEFTOVER, 5)
    collect(store, plan_gc(store))
    assert not left.exists() and list(left.parent.iterdir()) == []


def test_checkpoints_go_when_old_or_when_their_model_is_finished(
    store: DirectoryStore, put_result: Put, key_of: KeyOf, age: Age
) -> None:
    done = put_result(store, "done", kind="model")
    keep(store.path, kept_of(done))
    for name in ("done", "old", "new"):
        folder = store.path / "unfinished" / key_of(name) / "at-00000004"
        folder.mkdir(parents=True)
        (folder / RECORD).write_text("x")
    age(store.path / "unfinished" / key_of("old"), 8 * 86400)
    assert whys(plan_gc(store)) == {done: DONE, key_of("old"): OLD}
    assert whys(plan_gc(store, days=9)) == {done: DONE}
    collect(store, plan_gc(store))
    assert [path.name for path in (store.path / "unfinished").iterdir()] == [key_of("new")]
    assert store.peek(done)


def test_why_a_step_failed_stays_while_somebody_asks_for_it(store: DirectoryStore) -> None:
    keep(store.path, kept_of("a" * 64, steps=("a" * 64, "b" * 64)))
    for key in ("b" * 64, "c" * 64):
        record_failure(store.path, Failure(key=key, error="e"))
    assert whys(plan_gc(store)) == {"c" * 64: NOT_ASKED}
    collect(store, plan_gc(store))
    assert list(failures(store.path)) == ["b" * 64]


@pytest.mark.parametrize("name", [RECORD, ARRAYS])
def test_damaged_results_go_although_they_are_needed(store: DirectoryStore, put_result: Put, name: str) -> None:
    key = put_result(store, "a")
    keep(store.path, kept_of(key))
    (store.folder(key) / name).unlink()
    garbage = plan_gc(store)
    assert whys(garbage) == {key: DAMAGED}
    put_result(store, "a")
    assert collect(store, garbage).items == ()
    assert store.get(key) is not None


KILLED = """
import os, signal, sys
from oversight.runs.claims import Claims
claims = Claims(sys.argv[1])
claims.take("a" * 64)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_claims_of_the_dead_are_counted_and_swept(store: DirectoryStore) -> None:
    folder = store.path / "claims"
    folder.mkdir(parents=True)
    subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files and plan_gc(store).dead_claims == 1
    assert [path for path in folder.rglob("*") if path.is_file()] == files
    collect(store, plan_gc(store))
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_nothing_outside_what_a_store_writes_is_ever_garbage(store: DirectoryStore, age: Age) -> None:
    for name in ("notes.txt", "ab/notes.txt", "src/main.py", "ab/" + "z" * 64 + "/x", "kept/readme"):
        (store.path / name).parent.mkdir(parents=True, exist_ok=True)
        (store.path / name).write_text("x")
    age(store.path, 10**8)
    assert plan_gc(store).items == ()


READ_ONLY = """
import sys
from oversight.errors import StoreError
from oversight.runs.collect import collect, plan_gc
from oversight.runs.store import DirectoryStore
store = DirectoryStore(sys.argv[1])
garbage = plan_gc(store)
print(len(garbage.items))
try:
    collect(store, garbage)
except StoreError as error:
    print(error)
"""


def test_a_read_only_store_shows_its_garbage_and_refuses_to_remove_it(store: DirectoryStore, put_result: Put) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here to mount a file system of one's own")
    put_result(store, "a")
    mount = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"'
    start = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*start, mount, "sh", str(store.path)], capture_output=True).returncode:
        pytest.skip("mounting is refused here")
    words = [*start, f'{mount} && exec "$2" -c "$3" "$1"', "sh", str(store.path), sys.executable, READ_ONLY]
    done = subprocess.run(words, capture_output=True, text=True)
    reason = "cannot be written: Read-only file system; nothing was removed"
    assert done.stdout.splitlines() == ["1", f"store {store.path}: {reason}"], done.stderr


def test_what_cannot_be_removed_is_named(
    store: DirectoryStore, put_result: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = put_result(store, "a")
    monkeypatch.setattr("oversight.runs.collect.discard", lambda folder: None)
    with pytest.raises(StoreError, match=f"cannot remove {key}; 0 things were removed"):
        collect(store, plan_gc(store))


def test_dropping_twice_is_refused(store: DirectoryStore) -> None:
    keep(store.path, kept_of("a" * 64))
    drop(store.path, kept_of("a" * 64).name)
    with pytest.raises(InputError, match="found no kept study"):
        drop(store.path, kept_of("a" * 64).name)
