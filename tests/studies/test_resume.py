"""What a change invalidates and what it leaves alone; a study that was stopped goes on and ends with the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.methods.losses import Confidence
from oversight.methods.method import Needs, WeakData, WithLoss
from oversight.models.lexical import BagOfWords
from oversight.models.student import Fitted, Student
from oversight.reports.result import Result
from oversight.runs.steps import Kind, Progress
from oversight.runs.store import DirectoryStore, MemoryStore, Store
from oversight.sealed import ARRAYS
from oversight.studies.kinds import KINDS
from oversight.studies.plan import VERSIONS
from oversight.studies.weak_to_strong import Arm, Setup, count_steps, plan_studies, plan_study, run_study, seeds_of
from oversight.supervision.supervisor import Flipped, Supervisor, Trained
from oversight.tasks.split import Seed
from oversight.tasks.task import Task

NAIVE = WithLoss()
ROLES = ("weak", "student", "ceiling")
ALL = {"ceiling": 2, "rows": 1, "score": 1, "supervise": 2, "teach": 2}


def setup_of(
    task: Task, supervisor: Supervisor, student: Student, method: Any = NAIVE, *, seeds: int = 2, **options: Any
) -> Setup:
    arm = Arm(supervisors=(supervisor,), student=student, method=method, method_name="mine")
    return Setup(task=task, arms=(arm,), seeds=seeds_of(seeds), **options)


def bytes_of(result: Result) -> tuple[str, dict[str, bytes]]:
    """All that a study says, but for what it found in the store."""
    rows, told = result.rows(0), {**result.as_json(), "from_store": None}
    return json.dumps(told), {role: np.ascontiguousarray(rows.probs[role]).tobytes() for role in ROLES}


@dataclass(frozen=True)
class Hardened:
    """Naive on hard labels."""

    @property
    def needs(self) -> Needs:
        return Needs()

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        return student.fit(data.rows, data.only.hardened(), validation=data.checks, seed=seed)


@pytest.fixture(scope="module")
def task(make_task: Callable[..., Task]) -> Task:
    return make_task(n=800)


@pytest.fixture
def tiny(save_encoder: Callable[..., Path], tmp_path: Path) -> Path:
    """A directory with a small encoder."""
    return save_encoder(tmp_path / "tiny")


def test_the_same_command_twice_computes_nothing(task: Task, reader: Any, counted: Any) -> None:
    setup = setup_of(task, Trained(reader(2)), reader(8))
    run_study(setup, store=counted)
    assert counted.since() == ALL
    run_study(setup, store=counted)
    assert counted.since() == {}


def test_a_study_says_beforehand_what_it_would_compute(task: Task, reader: Any, counted: Any) -> None:
    setup = setup_of(task, Trained(reader(2)), reader(8))
    assert count_steps(setup, counted) == ALL
    run_study(setup, store=counted)
    assert count_steps(setup, counted) == {}


@pytest.mark.parametrize(
    ("change", "made"),
    [
        ("weak", {"score": 1, "supervise": 2, "teach": 2}),
        ("method", {"score": 1, "teach": 2}),
        ("student", {"ceiling": 2, "score": 1, "teach": 2}),
        ("metric", {"score": 1}),
        ("one seed more", {"ceiling": 1, "score": 1, "supervise": 1, "teach": 1}),
        ("name of the task", {}),
        ("name of the method", {}),
        ("a label", ALL),
        ("a group", ALL),
        ("a further test", ALL),
    ],
)
def test_a_change_computes_anew_what_depends_on_it_and_nothing_else(
    task: Task, make_task: Any, reader: Any, counted: Any, change: str, made: Mapping[str, int]
) -> None:
    base = setup_of(task, Trained(reader(2)), reader(8))
    changed_label = replace(task, labels=np.where(np.arange(len(task)) == 5, 1 - task.labels, task.labels))
    changed_group = replace(task, rows=replace(task.rows, groups=(task.rows.groups[1], *task.rows.groups[1:])))
    changed = {
        "weak": setup_of(task, Trained(reader(3)), reader(8)),
        "method": setup_of(task, Trained(reader(2)), reader(8), Hardened()),
        "student": setup_of(task, Trained(reader(2)), reader(7)),
        "metric": replace(base, metric="auroc"),
        "one seed more": replace(base, seeds=seeds_of(3)),
        "name of the task": replace(base, task=replace(task, name="other")),
        "name of the method": replace(base, arms=(replace(base.arms[0], method_name="other"),)),
        "a label": replace(base, task=changed_label),
        "a group": replace(base, task=changed_group),
        "a further test": replace(base, tests={"more": make_task(5, n=100)}),
    }
    run_study(base, store=counted)
    counted.since()
    run_study(changed[change], store=counted)
    expected = {**made, "score": 2} if change == "a further test" else made
    assert counted.since() == expected


def test_the_ceiling_does_not_depend_on_who_supervises(task: Task, reader: Any) -> None:
    kinds = {}
    _, scored = plan_study(setup_of(task, Trained(reader(2)), reader(8)))
    for labels, student, ceiling in scored[0].runs:
        kinds = {"student": [one.kind for one in student.inputs], "ceiling": [one.kind for one in ceiling.inputs]}
        assert labels[0] in student.inputs
    assert kinds == {"student": ["supervise"], "ceiling": []}


def test_all_depths_and_roles_share_one_extraction_per_depth(
    word_task: Task, tiny: Path, probe: Any, bow: Any, counted: Any
) -> None:
    """Two students at depths 0 and 2, a supervisor at depth 0: two feature steps, and none for another supervisor."""
    arms = tuple(
        Arm(supervisors=(supervisor,), student=student, method=NAIVE, method_name="naive")
        for supervisor in (Trained(probe(tiny, 0)), Trained(bow))
        for student in (probe(tiny, 0), probe(tiny))
    )
    run_study(Setup(task=word_task, arms=arms, seeds=seeds_of(2)), store=counted)
    assert counted.since() == {"features": 2, "supervise": 4, "teach": 8, "ceiling": 4, "rows": 1, "score": 4}
    run_study(setup_of(word_task, Flipped(0.3), probe(tiny)), store=counted)
    assert counted.since() == {"supervise": 2, "teach": 2, "score": 1}


def test_retraining_a_model_directory_in_place_misses(
    word_task: Task, tiny: Path, probe: Any, bow: Any, counted: Any, save_encoder: Any
) -> None:
    """The weights are other ones under the same name: all that read them is done again, the supervisor is not."""
    run_study(setup_of(word_task, Trained(bow), probe(tiny)), store=counted)
    counted.since()
    save_encoder(tiny, seed=1)
    assert count_steps(setup_of(word_task, Trained(bow), probe(tiny)), counted) == {
        "features": 1,
        "teach": 2,
        "ceiling": 2,
        "score": 1,
    }


def test_a_copy_of_a_model_directory_elsewhere_hits(
    word_task: Task, tiny: Path, probe: Any, bow: Any, counted: Any, save_encoder: Any, tmp_path: Path
) -> None:
    run_study(setup_of(word_task, Trained(bow), probe(tiny)), store=counted)
    other = save_encoder(tmp_path / "copy")
    assert count_steps(setup_of(word_task, Trained(bow), probe(other)), counted) == {}


def test_the_same_rows_in_another_order_hit(word_task: Task, tiny: Path, probe: Any, bow: Any, counted: Any) -> None:
    """Of the task and of a further test set, with features that are extracted once per set of rows."""
    rng, further = np.random.default_rng(0), word_task.take(range(60))
    own = word_task.take(range(60, 480))
    run_study(setup_of(own, Trained(bow), probe(tiny), tests={"more": further}), store=counted)
    own, further = own.take(rng.permutation(420)), further.take(rng.permutation(60))
    assert count_steps(setup_of(own, Trained(bow), probe(tiny), tests={"more": further}), counted) == {}


def test_a_changed_setting_of_a_loss_is_another_student(
    word_task: Task, tiny: Path, probe: Any, bow: Any, counted: Any
) -> None:
    run_study(setup_of(word_task, Trained(bow), probe(tiny), WithLoss(Confidence(0.5)), seeds=1), store=counted)
    counted.since()
    run_study(setup_of(word_task, Trained(bow), probe(tiny), WithLoss(Confidence(0.7)), seeds=1), store=counted)
    assert counted.since() == {"teach": 1, "score": 1}


def test_a_version_of_a_kind_invalidates_its_descendants_only(
    task: Task, reader: Any, counted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = setup_of(task, Trained(reader(2)), reader(8))
    run_study(setup, store=counted)
    monkeypatch.setitem(VERSIONS, "teach", VERSIONS["teach"] + 1)  # type: ignore[arg-type]
    assert count_steps(setup, counted) == {"teach": 2, "score": 1}


def test_memory_and_directory_give_the_same_bytes(
    word_task: Task, tiny: Path, probe: Any, bow: Any, tmp_path: Path
) -> None:
    setup = setup_of(word_task, Trained(bow), probe(tiny))
    stores: list[Store] = [MemoryStore(), DirectoryStore(tmp_path / "store")]
    fresh = [bytes_of(run_study(setup, store=store)) for store in stores]
    read = bytes_of(run_study(setup, store=DirectoryStore(tmp_path / "store")))
    assert fresh[0] == fresh[1] == read


@pytest.mark.parametrize(
    ("kind", "after"),
    [("supervise", 0), ("supervise", 1), ("teach", 0), ("teach", 1), ("ceiling", 0), ("ceiling", 1), ("score", 0)],
)
def test_an_interrupted_study_goes_on_and_ends_with_the_same_bytes(
    task: Task, reader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, after: int
) -> None:
    setup = setup_of(task, Trained(reader(2)), reader(8))
    calls, real = [0], KINDS[kind]

    def interrupted(*arguments: Any) -> Sequence[Any]:
        if calls[0] == after:
            raise KeyboardInterrupt
        calls[0] += 1
        return real.run(*arguments)

    monkeypatch.setitem(KINDS, kind, Kind(interrupted, batch=real.batch))  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        run_study(setup, store=DirectoryStore(tmp_path))
    monkeypatch.undo()
    n_kept = len(list(DirectoryStore(tmp_path).keys()))
    left = count_steps(setup, DirectoryStore(tmp_path))
    assert left[kind] == ALL[kind] - after and sum(left.values()) + n_kept == sum(ALL.values())
    assert bytes_of(run_study(setup, store=DirectoryStore(tmp_path))) == bytes_of(run_study(setup))


KILLED = """
import os, signal, sys
import oversight as ov
from oversight.models.lexical import BagOfWords
from oversight.runs.store import DirectoryStore
class Dying(DirectoryStore):
    n = 0
    def put(self, *args, **kwargs):
        Dying.n += 1
        if Dying.n == int(sys.argv[3]): os.kill(os.getpid(), signal.SIGKILL)
        return super().put(*args, **kwargs)
bow = BagOfWords(strengths=(0.1, 1.0))
found = ov.weak_to_strong(sys.argv[1], weak=bow, strong=bow, seeds=2, store=Dying(sys.argv[2]))
print({**found.as_json(), "from_store": None})
"""


def test_a_killed_study_goes_on_and_prints_what_an_undisturbed_one_prints(word_task: Task, tmp_path: Path) -> None:
    """Eight steps; killed with signal 9 as the fifth is to be kept."""
    path = tmp_path / "task.jsonl"
    rows = zip(word_task.rows.texts, word_task.labels.tolist(), word_task.rows.groups, strict=True)
    path.write_text("".join(json.dumps({"text": t, "label": y, "group": g}) + "\n" for t, y, g in rows))

    def run(store: str, at: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", KILLED, str(path), str(tmp_path / store), str(at)]
        return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})

    killed = run("store", 5)
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "")
    assert len(list(DirectoryStore(tmp_path / "store").keys())) == 4
    resumed, undisturbed = run("store", -1), run("other", -1)
    assert resumed.stdout == undisturbed.stdout != ""


@pytest.mark.parametrize("role", ROLES)
def test_damaged_predictions_are_made_again_when_the_rows_are_asked_for(
    task: Task, reader: Any, tmp_path: Path, role: str
) -> None:
    store = DirectoryStore(tmp_path)
    result = run_study(setup_of(task, Trained(reader(2)), reader(8)), store=store)
    before = bytes_of(result)
    key = result[0].keys[role][1]
    path = store.folder(key) / ARRAYS
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    assert bytes_of(result) == before
    assert [line.split(":")[0] for line in store.damaged] == [key] and store.verify() == {}


def test_keys_name_where_the_predictions_are_kept(task: Task, reader: Any, tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    found = run_study(setup_of(task, Trained(reader(2)), reader(8)), store=store)[0]
    assert {role: [store.about(key)["kind"] for key in keys] for role, keys in found.keys.items()} == {
        "score": ["score"],
        "weak": ["supervise"] * 2,
        "student": ["teach"] * 2,
        "ceiling": ["ceiling"] * 2,
        "rows": ["rows"],
    }


def test_no_key_depends_on_names_and_nothing_kept_on_places(task: Task, reader: Any, tmp_path: Path) -> None:
    stores = [DirectoryStore(tmp_path / name) for name in ("one", "other")]
    for store, name in zip(stores, ("one name", "another name"), strict=True):
        run_study(setup_of(replace(task, name=name), Trained(reader(2)), reader(8)), store=store)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert list(stores[0].keys()) == list(stores[1].keys()) and str(tmp_path).encode() not in kept


@pytest.mark.parametrize(
    ("library", "kinds"),
    [
        ("numpy", {"ceiling", "features", "score", "supervise", "teach"}),
        ("scikit-learn", {"supervise"}),
        ("torch", {"ceiling", "features", "teach"}),
        ("transformers", {"features"}),
        ("pandas", set[str]()),
    ],
)
def test_the_minor_version_of_a_library_is_in_the_key_of_what_it_computes(
    library: str,
    kinds: set[str],
    word_task: Task,
    save_encoder: Any,
    probe: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bag of words teaches a probe. A patch is in no key; what reads a step has another key with it."""
    setup = setup_of(word_task, Trained(BagOfWords()), probe(save_encoder(tmp_path / "net")), seeds=1)
    keys: dict[str, dict[str, set[str]]] = {}
    own: dict[str, dict[str, Any]] = {}
    for found in ("1.2.3", "1.2.9", "1.3.0"):
        versions = {"numpy": "5.0", "scikit-learn": "5.0", "torch": "5.0", "transformers": "5.0", library: found}
        monkeypatch.setattr("oversight.versions.version", versions.__getitem__)
        steps = plan_studies([setup]).graph.steps.values()
        keys[found] = {kind: {one.key for one in steps if one.kind == kind} for kind in ALL.keys() | {"features"}}
        own[found] = {one.kind: one.config for one in steps}
    assert keys["1.2.3"] == keys["1.2.9"]
    assert {kind for kind, config in own["1.3.0"].items() if config != own["1.2.3"][kind]} == kinds
    moved = {kind for kind, found in keys["1.3.0"].items() if found != keys["1.2.3"][kind]}
    assert kinds <= moved and ("score" in moved) == bool(kinds)


def test_progress_is_told_as_many_steps_as_are_missing(task: Task, reader: Any, counted: Any) -> None:
    told: list[int] = []
    ended: list[int] = []
    progress = Progress(started=told.append, finished=ended.append)
    setup = setup_of(task, Trained(reader(2)), reader(8))
    run_study(setup, store=counted, progress=progress)
    run_study(setup, store=counted, progress=progress)
    assert told == [8, 0] and sum(ended) == 8


def test_a_store_that_counts_as_empty_is_still_the_store(task: Task, reader: Any) -> None:
    class Sized(MemoryStore):
        def __len__(self) -> int:
            return len(self._kept)

    store = Sized()
    run_study(setup_of(task, Trained(reader(2)), reader(8)), store=store)
    assert len(store) == 8
