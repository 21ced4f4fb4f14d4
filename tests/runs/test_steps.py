"""Steps: a key is what a result depends on and nothing else; executing computes what is missing and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.runs.drive import execute
from oversight.runs.graph import Graph
from oversight.runs.steps import Kind, Progress, Step
from oversight.runs.store import DirectoryStore, MemoryStore, Outcome, Store
from oversight.sealed import ARRAYS


def step(name: str, *inputs: Step, kind: str = "add", version: int = 1, **config: Any) -> Step:
    return Step(kind=kind, version=version, config={"name": name, **config}, inputs=inputs)


class Counting:
    """A kind that sums its inputs plus the length of its name, and remembers which steps it did together."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(
        self, steps: Sequence[Step], inputs: Sequence[Sequence[Outcome]], env: Any, tick: Callable[[float], None]
    ) -> list[Outcome]:
        self.calls.append([one.config["name"] for one in steps])
        tick(1.0)
        return [
            Outcome(arrays={"sum": np.array([len(one.config["name"]) + sum(x.arrays["sum"][0] for x in read)])})
            for one, read in zip(steps, inputs, strict=True)
        ]

    @property
    def done(self) -> list[str]:
        return [name for call in self.calls for name in call]


def diamond(version: int = 1) -> dict[str, Step]:
    """a -> b, c -> d, and e beside; `version` is that of b."""
    a = step("a")
    b, c = step("bb", a, version=version), step("ccc", a)
    return {"a": a, "b": b, "c": c, "d": step("dddd", b, c), "e": step("e", c)}


def run(
    goals: Sequence[Step], store: Store, batch: Callable[[Step], Any] | None = None
) -> tuple[Counting, dict[str, Any]]:
    counting = Counting()
    kind = Kind(counting) if batch is None else Kind(counting, batch=batch)
    outcomes = execute(goals, store=store, kinds={"add": kind}, env=None)
    return counting, {goal.config["name"]: outcomes[goal.key].arrays["sum"][0] for goal in goals}


@pytest.mark.parametrize(
    "other",
    [
        Step(kind="b", version=1, config={"x": 1}),
        Step(kind="a", version=2, config={"x": 1}),
        Step(kind="a", version=1, config={"x": 2}),
        Step(kind="a", version=1, config={"y": 1}),
        Step(kind="a", version=1, config={"x": "1"}),
        Step(kind="a", version=1, config={"x": True}),
        Step(kind="a", version=1, config={"x": 1}, inputs=(step("i"),)),
    ],
    ids=["kind", "version", "value", "name", "type", "bool", "inputs"],
)
def test_a_key_changes_with_all_that_decides_the_result(other: Step) -> None:
    assert other.key != Step(kind="a", version=1, config={"x": 1}).key


def test_the_order_of_inputs_is_part_of_the_key() -> None:
    a, b = step("a"), step("b")
    assert step("s", a, b).key != step("s", b, a).key


def test_the_order_in_which_a_config_was_written_is_not() -> None:
    assert (
        Step(kind="a", version=1, config={"x": 1, "y": {"u": 1, "v": 2}}).key
        == Step(kind="a", version=1, config={"y": {"v": 2, "u": 1}, "x": 1}).key
    )


def test_a_key_is_the_same_in_another_process_on_another_day_in_another_place(tmp_path: Path) -> None:
    one = Step(kind="k", version=3, config={"é": [1, 2.5, None]}, inputs=(step("a"),))
    script = (
        "from oversight.runs.steps import Step\n"
        "a = Step(kind='add', version=1, config={'name': 'a'})\n"
        "print(Step(kind='k', version=3, config={'é': [1, 2.5, None]}, inputs=(a,)).key)"
    )
    environment = os.environ | {"PYTHONHASHSEED": "77", "HOSTNAME": "elsewhere", "TZ": "Asia/Tokyo"}
    printed = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == one.key


def test_steps_are_equal_where_their_keys_are() -> None:
    assert step("a") == step("a") and hash(step("a")) == hash(step("a")) and step("a") != step("b")


def test_values_are_those_of_the_sum_written_out() -> None:
    """a = 1; b = 2 + 1; c = 3 + 1; d = 4 + 3 + 4 = 11; e = 1 + 4."""
    steps = diamond()
    assert run([steps["d"], steps["e"]], MemoryStore())[1] == {"dddd": 11, "e": 5}


def test_each_step_is_done_once_and_after_its_inputs() -> None:
    steps = diamond()
    done = run([steps["d"], steps["e"], steps["d"]], MemoryStore())[0].done
    assert sorted(done) == ["a", "bb", "ccc", "dddd", "e"]
    assert done.index("a") < min(done.index("bb"), done.index("ccc"))
    assert max(done.index("bb"), done.index("ccc")) < done.index("dddd")


def test_a_second_run_computes_nothing() -> None:
    store, steps = MemoryStore(), diamond()
    run([steps["d"]], store)
    assert run([steps["d"]], store)[0].done == []


def test_only_what_is_missing_is_computed() -> None:
    store, steps = MemoryStore(), diamond()
    run([steps["b"]], store)
    assert sorted(run([steps["d"]], store)[0].done) == ["ccc", "dddd"]


def test_what_a_kept_outcome_was_made_from_is_not_even_looked_for() -> None:
    store, steps = MemoryStore(), diamond()
    whole = MemoryStore()
    run([steps["d"]], whole)
    found = whole.get(steps["d"].key)
    assert found is not None
    store.put(steps["d"].key, found, about={})
    asked: list[str] = []

    class Watched:
        def get(self, key: str) -> Outcome | None:
            asked.append(key)
            return store.get(key)

        def put(self, key: str, outcome: Outcome, *, about: Mapping[str, Any]) -> Outcome:
            raise AssertionError("nothing was to be computed")

        def peek(self, key: str) -> bool:
            asked.append(key)
            return store.peek(key)

    assert run([steps["d"]], Watched())[0].done == []
    assert set(asked) == {steps["d"].key}


def test_raising_a_version_computes_the_descendants_anew_and_nothing_else() -> None:
    store, before, after = MemoryStore(), diamond(1), diamond(2)
    run([before["d"], before["e"]], store)
    assert sorted(run([after["d"], after["e"]], store)[0].done) == ["bb", "dddd"]


def test_missing_steps_come_with_inputs_before_their_readers() -> None:
    steps = diamond()
    graph = Graph(goals=(steps["d"],), kinds={"add": Kind(Counting())}, env_of=lambda step: None)
    order = [graph.steps[key].config["name"] for key in graph.missing(MemoryStore().peek)]
    assert sorted(order) == ["a", "bb", "ccc", "dddd"]
    assert order.index("a") == 0 and order[-1] == "dddd"


def test_steps_with_one_batch_name_are_done_together_and_give_the_same() -> None:
    leaves = [step("x" * (i + 1), colour="red" if i % 2 else "blue") for i in range(6)]
    alone, values = run(leaves, MemoryStore())
    together, batched = run(leaves, MemoryStore(), batch=lambda one: one.config["colour"])
    assert [len(call) for call in alone.calls] == [1] * 6
    assert sorted(len(call) for call in together.calls) == [3, 3]
    assert batched == values


def test_a_batch_never_holds_a_step_and_its_input() -> None:
    a = step("a")
    together, values = run([step("bb", step("bb", a))], MemoryStore(), batch=lambda one: "all")
    assert together.calls == [["a"], ["bb"], ["bb"]] and values == {"bb": 5}


def test_steps_of_different_kinds_never_share_a_batch() -> None:
    one, other = Counting(), Counting()
    kinds = {"add": Kind(one, batch=lambda step: 0), "plus": Kind(other, batch=lambda step: 0)}
    execute([step("a"), step("b", kind="plus")], store=MemoryStore(), kinds=kinds, env=None)
    assert (one.done, other.done) == (["a"], ["b"])


def test_only_the_missing_members_of_a_batch_are_done() -> None:
    store, leaves = MemoryStore(), [step("x" * (i + 1)) for i in range(4)]
    run(leaves[:2], store)
    assert run(leaves, store, batch=lambda one: 0)[0].calls == [["xxx", "xxxx"]]


def test_progress_is_told_the_total_and_every_end() -> None:
    totals: list[int] = []
    ends: list[int] = []
    progress = Progress(started=totals.append, finished=ends.append)
    execute([diamond()["d"]], store=MemoryStore(), kinds={"add": Kind(Counting())}, env=None, progress=progress)
    assert totals == [4] and sum(ends) == 4


def test_a_kind_that_gives_too_few_outcomes_is_an_error() -> None:
    def forgetful(steps: Any, inputs: Any, env: Any, tick: Any) -> list[Outcome]:
        return []

    with pytest.raises(ValueError, match="shorter"):
        execute([step("a")], store=MemoryStore(), kinds={"add": Kind(forgetful)}, env=None)


def test_a_damaged_outcome_is_named_and_only_it_is_computed_again(tmp_path: Path) -> None:
    store, steps = DirectoryStore(tmp_path), diamond()
    run([steps["d"], steps["e"]], store)
    for name in ("b", "d"):
        (store.folder(steps[name].key) / ARRAYS).write_bytes(b"\0")
    counting, values = run([steps["d"], steps["e"]], store)
    assert sorted(counting.done) == ["bb", "dddd"] and values == {"dddd": 11, "e": 5}
    assert sorted(line.split(":")[0] for line in store.damaged) == sorted([steps["b"].key, steps["d"].key])
    assert store.verify() == {}


def test_the_store_tells_what_made_an_outcome(tmp_path: Path) -> None:
    store, steps = DirectoryStore(tmp_path), diamond()
    run([steps["b"]], store)
    about = store.about(steps["b"].key)
    assert (about["kind"], about["config"], about["inputs"]) == ("add", {"name": "bb"}, [steps["a"].key])


def test_an_interrupted_run_keeps_what_was_done(tmp_path: Path) -> None:
    class Interrupted(Counting):
        def __call__(self, steps: Sequence[Step], *rest: Any) -> list[Outcome]:
            if len(self.calls) == 2:
                raise KeyboardInterrupt
            return super().__call__(steps, *rest)

    steps, first = diamond(), Interrupted()
    with pytest.raises(KeyboardInterrupt):
        execute([steps["d"]], store=DirectoryStore(tmp_path), kinds={"add": Kind(first)}, env=None)
    second, values = run([steps["d"]], DirectoryStore(tmp_path))
    assert sorted(first.done + second.done) == ["a", "bb", "ccc", "dddd"] and values == {"dddd": 11}


KILLED = """
import os, signal, sys
from oversight.runs.drive import execute
from oversight.runs.steps import Kind, Step
from oversight.runs.store import DirectoryStore, Outcome
import numpy as np
chain = Step(kind="k", version=1, config={"i": 0})
for i in range(1, 6):
    chain = Step(kind="k", version=1, config={"i": i}, inputs=(chain,))
def kind(steps, inputs, env, tick):
    i = steps[0].config["i"]
    if i == int(sys.argv[2]): os.kill(os.getpid(), signal.SIGKILL)
    print(i, flush=True)
    return [Outcome(arrays={"x": np.array([i + sum(one.arrays["x"][0] for one in inputs[0])])})]
found = execute([chain], store=DirectoryStore(sys.argv[1]), kinds={"k": Kind(kind)}, env=None)
print("result", found[chain.key].arrays["x"][0])
"""


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """A chain of six steps, killed at the fourth: 0 + 1 + 2 + 3 + 4 + 5 = 15 comes out of two runs."""
    command = [sys.executable, "-c", KILLED, str(tmp_path / "store")]
    first = subprocess.run([*command, "3"], capture_output=True, text=True)
    second = subprocess.run([*command, "-1"], capture_output=True, text=True)
    assert (first.returncode, first.stdout.split()) == (-signal.SIGKILL, ["0", "1", "2"])
    assert second.stdout.split() == ["3", "4", "5", "result", "15"]


def test_a_config_that_is_no_json_is_refused_when_its_key_is_asked_for() -> None:
    with pytest.raises(TypeError):
        step("a", path=Path("x")).key  # noqa: B018
    with pytest.raises(ValueError, match="JSON"):
        step("a", number=float("nan")).key  # noqa: B018
    assert json.dumps(step("a").config)
