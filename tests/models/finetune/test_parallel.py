"""Several processes train one network: the result is that of one, and when one fails all end."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.errors import InputError, StepError
from oversight.methods.losses import Confidence
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint, from_directory
from oversight.models.finetune import parallel
from oversight.models.finetune.encoded import Encoded
from oversight.models.finetune.parallel import train_together
from oversight.models.finetune.recipe import Full, Lora, Machine
from oversight.models.finetune.student import FineTuned, FittedFineTuned
from oversight.models.finetune.team import Team
from oversight.models.student import Loss, Validation, cross_entropy
from oversight.models.workbench import working_at
from oversight.tasks.split import Seed
from oversight.tasks.task import Labels, Rows

N_TRAINED, BATCH, SEED = 25, 8, Seed(split=0, init=1, order=2)
UPDATES = 8  # 2 epochs of 8, 8, 8 and 1 rows: in every fourth update one of two processes has nothing to do
RECIPES: dict[str, Any] = {"full": Full, "lora": Lora, "anchored": partial(Full, anchor=0.5)}
LOSSES: dict[str, Loss] = {"cross-entropy": cross_entropy, "confidence": Confidence(0.5, 0.2)}
KINDS = [("full", "confidence"), ("lora", "cross-entropy"), ("anchored", "cross-entropy")]
SHARDINGS = ["none", "full"]
# Stands in for what is fitted: how it behaves depends on the process in which it is asked.
HELPER = """
import os, signal, time
from pathlib import Path
from oversight.methods.losses import confidence_loss

class Fits:
    def __init__(self, how, place=None):
        self.how, self.place = how, place

    def on(self, device, *, tokens_at_once):
        import torch.distributed as dist
        if self.how == "sleep":
            (self.place / str(os.getpid())).touch()
            time.sleep(600)
        if dist.get_rank() == 1:
            if self.how == "raise":
                raise ZeroDivisionError("no way")
            if self.how == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "hang":
                time.sleep(600)
        dist.barrier()
        dist.barrier()

class Vanishes:
    def __reduce__(self):
        return (vanished, ())

def vanished():
    raise LookupError("gone")

def short_of_memory(logits, targets, *, progress):
    import torch.distributed as dist
    first = Path(os.environ["RAN_OUT"])
    if progress > 0 and dist.is_initialized() and dist.get_rank() == 1 and not first.exists():
        first.touch()
        raise MemoryError
    return confidence_loss(logits, targets, progress=progress)

short_of_memory.identity = lambda: {"loss": "confidence"}

def not_finite(logits, targets, *, progress):
    return logits.sum() * float("nan" if progress > 0.3 else 0)
"""


@dataclass(frozen=True)
class Taught:
    """Rows with noisy labels, and rows to choose by."""

    rows: Rows
    labels: Labels
    validation: Validation


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory, make_network: Callable[..., Path]) -> Checkpoint:
    """A tiny decoder without the key biases whose gradient is 0, so that their course under Adam is rounding alone."""
    return from_directory(make_network(tmp_path_factory.mktemp("llama"), "llama"), name="llama")


@pytest.fixture(scope="module")
def taught(sentences: Callable[..., list[str]], rows_of: Callable[..., Rows]) -> Taught:
    """Texts that never say `zero` nor `odd`."""
    texts = [t.replace("zero", "the").replace("odd", "a") for t in sentences(N_TRAINED + 15, seed=3, longest=12)]
    rows = rows_of(texts)
    says = np.array([("good" in t) + ("kind" in t) + ("film" in t) > 0 for t in texts])
    right = np.where(says, 0.8, 0.2) + np.random.default_rng(0).uniform(-0.2, 0.2, len(texts))
    labels = Labels(
        row_ids=rows.ids, probs=np.stack([1 - right, right], 1), answered=np.ones(len(texts), bool), source="noisy"
    )
    kept, held = np.arange(N_TRAINED), np.arange(N_TRAINED, len(texts))
    return Taught(rows.take(kept), labels, Validation(rows=rows.take(held), labels=labels))


@pytest.fixture(scope="module")
def student(llama: Checkpoint) -> Callable[..., FineTuned]:
    """student("lora", processes=2, ...) -> one that trains for 8 updates; a pass holds about 3 of the 8 rows."""

    def make(train: str, **machine: Any) -> FineTuned:
        settings = {"tokens_at_once": 40, **machine}
        recipe = RECIPES[train](
            epochs=2, batch_size=BATCH, evaluations=4, lr=3e-3, head_lr=3e-2, machine=Machine(**settings)
        )
        return FineTuned(backbone=Backbone(checkpoint=llama, precision="float32", device="cpu"), recipe=recipe)

    return make


@pytest.fixture(scope="module")
def fit(student: Callable[..., FineTuned], taught: Taught) -> Callable[..., FittedFineTuned]:
    """fit("full", "confidence", processes=2, ...) -> fitted, each made once."""
    known: dict[Any, FittedFineTuned] = {}

    def make(train: str, loss: str, **machine: Any) -> FittedFineTuned:
        key = (train, loss, *sorted(machine.items()))
        if key not in known:
            known[key] = student(train, **machine).fit(
                taught.rows, taught.labels, validation=taught.validation, loss=LOSSES[loss], seed=SEED
            )
        return known[key]

    return make


def weights(fitted: FittedFineTuned) -> dict[str, torch.Tensor]:
    """What was trained."""
    return {name: one.detach() for name, one in fitted.classifier.trained().items()}


def difference(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> float:
    """Largest difference of two weights of the same name."""
    assert a.keys() == b.keys() and a
    return max(float((a[name] - b[name]).abs().max()) for name in a)


# What is shared out


def encoded(lengths: list[int]) -> Encoded:
    """Rows of so many tokens."""
    return Encoded(texts=tuple(np.zeros(n, np.int64) for n in lengths), others=None, n_truncated=0, pad=0)


SHARES = given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=30),
    size=st.integers(1, 4),
    budget=st.integers(1, 60),
)


@SHARES
@settings(max_examples=60, deadline=None)
def test_every_row_counts_in_exactly_one_process(lengths: list[int], size: int, budget: int) -> None:
    rows = list(range(len(lengths)))
    passes = [
        one
        for rank in range(size)
        for one in Team(rank=rank, size=size).passes(encoded(lengths), rows, budget=budget)
        if one.counts
    ]
    assert sorted(row for one in passes for row in one.rows) == rows


@SHARES
@settings(max_examples=60, deadline=None)
def test_all_processes_make_equally_many_passes(lengths: list[int], size: int, budget: int) -> None:
    """Where weights are spread, a pass is a meeting: one process more or less and the others wait for ever."""
    rows = list(range(len(lengths)))
    numbers = {len(Team(rank=rank, size=size).passes(encoded(lengths), rows, budget=budget)) for rank in range(size)}
    assert len(numbers) == 1


@SHARES
@settings(max_examples=60, deadline=None)
def test_a_pass_of_several_rows_keeps_to_the_budget(lengths: list[int], size: int, budget: int) -> None:
    rows = list(range(len(lengths)))
    for rank in range(size):
        for one in Team(rank=rank, size=size).passes(encoded(lengths), rows, budget=budget):
            assert len(one.rows) == 1 or len(one.rows) * max(lengths[row] for row in one.rows) <= budget


def test_one_process_passes_as_if_there_were_no_team() -> None:
    texts = encoded(np.random.default_rng(0).integers(1, 20, 30).tolist())
    rows = np.random.default_rng(1).permutation(30)[:17].tolist()
    assert [one.rows for one in Team().passes(texts, rows, budget=50)] == texts.batches(rows, budget=50)


# What is refused


def test_a_loss_that_cannot_be_sent_is_refused(student: Callable[..., FineTuned]) -> None:
    with pytest.raises(InputError, match=r"the loss .*lambda.* cannot be sent to 2 processes"):
        student("full", processes=2).check_loss(lambda logits, targets, *, progress: logits.sum())


def test_one_process_takes_any_loss(student: Callable[..., FineTuned]) -> None:
    student("full").check_loss(lambda logits, targets, *, progress: logits.sum())


def test_the_refusal_comes_before_any_work(student: Callable[..., FineTuned], taught: Taught) -> None:
    def local(logits: torch.Tensor, targets: torch.Tensor, *, progress: float) -> torch.Tensor:
        return logits.sum()

    with pytest.raises(InputError, match="cannot be sent"):
        student("full", processes=2).fit(taught.rows, taught.labels, loss=local, seed=SEED)


def test_more_processes_than_gpus_are_refused(student: Callable[..., FineTuned]) -> None:
    n = torch.cuda.device_count()
    made = student("full", processes=n + 2)
    made = replace(made, backbone=replace(made.backbone, device="cuda"))
    with pytest.raises(InputError, match=f"found processes {n + 2}, expected at most the {n} GPUs"):
        made.check_loss(cross_entropy)


def test_one_gpu_named_is_refused(student: Callable[..., FineTuned]) -> None:
    made = student("full", processes=2)
    with pytest.raises(InputError, match="found device cuda:1 with 2 processes"):
        replace(made, backbone=replace(made.backbone, device="cuda:1")).check_loss(cross_entropy)


def test_spreading_over_one_process_is_refused(student: Callable[..., FineTuned]) -> None:
    with pytest.raises(InputError, match="found sharding full with 1 process"):
        student("full", sharding="full").check_loss(cross_entropy)


def test_spreading_without_blocks_is_refused(student: Callable[..., FineTuned]) -> None:
    made = student("full", processes=2, sharding="full")
    with pytest.raises(InputError, match="found no block"):
        replace(made, backbone=made.backbone.at(0)).check_loss(cross_entropy)


@pytest.mark.parametrize("changes", [{"optimizer": "adafactor"}, {"quantize": "4bit"}])
def test_what_cannot_be_spread_is_refused(student: Callable[..., FineTuned], changes: dict[str, str]) -> None:
    made = student("lora", processes=2, sharding="full")
    with pytest.raises(InputError, match=f"found sharding full with {next(iter(changes.values()))}"):
        replace(made, recipe=replace(made.recipe, **changes)).check_loss(cross_entropy)


# What comes out


@pytest.mark.slow
@pytest.mark.parametrize("sharding", SHARDINGS)
@pytest.mark.parametrize(("train", "loss"), KINDS)
def test_two_processes_learn_what_one_learns(
    fit: Callable[..., FittedFineTuned], train: str, loss: str, sharding: str
) -> None:
    one, two = fit(train, loss), fit(train, loss, processes=2, sharding=sharding)
    assert difference(weights(two), weights(one)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("sharding", SHARDINGS)
@pytest.mark.parametrize(("train", "loss"), KINDS)
def test_two_processes_keep_the_weights_of_the_same_moment(
    fit: Callable[..., FittedFineTuned], train: str, loss: str, sharding: str
) -> None:
    one, two = fit(train, loss), fit(train, loss, processes=2, sharding=sharding)
    assert two.choices["stopped_at"] == one.choices["stopped_at"]


@pytest.mark.slow
@pytest.mark.parametrize("sharding", SHARDINGS)
@pytest.mark.parametrize(("train", "loss"), KINDS)
def test_two_processes_see_the_curve_of_one(
    fit: Callable[..., FittedFineTuned], train: str, loss: str, sharding: str
) -> None:
    curves: list[Any] = [
        made.choices["curve"] for made in (fit(train, loss), fit(train, loss, processes=2, sharding=sharding))
    ]
    assert len(curves[0]) == len(curves[1]) == 4
    for one, two in zip(*curves, strict=True):
        assert two == pytest.approx(one, abs=1e-5)


@pytest.mark.slow
def test_the_runs_compared_are_stopped_early(fit: Callable[..., FittedFineTuned]) -> None:
    """Otherwise that the best weights come back from the other processes would be shown by none of these tests."""
    assert min(int(str(fit(train, loss).choices["stopped_at"])) for train, loss in KINDS) < UPDATES


@pytest.mark.slow
@pytest.mark.parametrize("sharding", SHARDINGS)
def test_embeddings_of_unused_tokens_stay(
    fit: Callable[..., FittedFineTuned], llama: Checkpoint, sharding: str
) -> None:
    """`zero` and `odd` stand in no text; what does stand there is trained, and put back into its place."""
    from safetensors.torch import load_file

    fitted = fit("full", "confidence", processes=2, sharding=sharding)
    (before,) = [v for name, v in load_file(llama.path / "model.safetensors").items() if "embed_tokens" in name]
    after = fitted.classifier.embedding.weight.detach()
    tokenizer = fitted.classifier.network.tokenizer
    same = {word: torch.equal(before[i], after[i]) for word, i in tokenizer.get_vocab().items()}
    assert same["zero"] and same["odd"] and not same["film"] and not same["good"]


@pytest.mark.slow
def test_the_result_predicts_as_the_processes_did(fit: Callable[..., FittedFineTuned], taught: Taught) -> None:
    fitted = fit("full", "confidence", processes=2, sharding="full")
    probs = fitted.predict(taught.validation.rows)
    right = taught.validation.labels.on(taught.validation.rows).probs.argmax(1)
    assert float((probs.argmax(1) == right).mean()) == pytest.approx(fitted.choices["agreement"])


# Interrupted


class Enough(BaseException):
    """Stands for Ctrl-C, which raises in the process that waits wherever it is."""


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory, student: Callable[..., FineTuned], taught: Taught) -> Path:
    """Where a spread run of two processes left its checkpoints, stopped when the third update was told of."""
    folder = tmp_path_factory.mktemp("interrupted")

    def tell(done: float, note: str) -> None:
        if done >= 3 / UPDATES:
            raise Enough

    made = student("full", processes=2, sharding="full", seconds_between_checkpoints=0.0)
    with working_at(folder=folder, tell=tell), pytest.raises(Enough):
        made.fit(taught.rows, taught.labels, validation=taught.validation, loss=LOSSES["confidence"], seed=SEED)
    return folder


@pytest.mark.slow
def test_an_interruption_ends_all_processes(interrupted: Path) -> None:
    assert interrupted.is_dir() and multiprocessing.active_children() == []


@pytest.fixture
def resumed(
    interrupted: Path, tmp_path: Path, student: Callable[..., FineTuned], taught: Taught
) -> Callable[..., tuple[FittedFineTuned, list[float]]]:
    """resumed(processes=..., ...) -> the run, continued from a copy, and the fractions done that it told."""

    def go(**machine: Any) -> tuple[FittedFineTuned, list[float]]:
        shutil.copytree(interrupted, tmp_path / "again")
        told: list[float] = []
        with working_at(folder=tmp_path / "again", tell=lambda done, note: told.append(done)):
            fitted = student("full", **machine).fit(
                taught.rows, taught.labels, validation=taught.validation, loss=LOSSES["confidence"], seed=SEED
            )
        return fitted, told

    return go


@pytest.mark.slow
def test_a_resumed_run_ends_as_an_uninterrupted_one(
    resumed: Callable[..., tuple[FittedFineTuned, list[float]]], fit: Callable[..., FittedFineTuned]
) -> None:
    """The same bits: a sum of two numbers does not depend on their order."""
    fitted, told = resumed(processes=2, sharding="full")
    assert told[0] > 1 / UPDATES
    assert difference(weights(fitted), weights(fit("full", "confidence", processes=2, sharding="full"))) == 0


@pytest.mark.slow
def test_one_process_continues_what_two_began(
    resumed: Callable[..., tuple[FittedFineTuned, list[float]]], fit: Callable[..., FittedFineTuned]
) -> None:
    fitted, told = resumed()
    assert told[0] > 1 / UPDATES
    assert difference(weights(fitted), weights(fit("full", "confidence"))) < 1e-5


# What fails


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module that other processes find too."""
    import importlib

    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "parallel_helper.py").write_text(HELPER, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "lib")
    yield importlib.import_module("parallel_helper")
    del sys.modules["parallel_helper"]


@pytest.fixture
def attempt(student: Callable[..., FineTuned]) -> Callable[[Any], None]:
    """attempt(fits) -> two processes are asked to fit it."""

    def go(fits: Any) -> None:
        made = student("full", processes=2)
        train_together(
            fits,
            backbone=made.backbone,
            recipe=made.recipe,
            lr=1e-3,
            head=None,
            folder=None,
            tell=lambda done, note: None,
        )

    return go


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raise", "llama: process 2 of 2 failed with ZeroDivisionError: no way"),
        ("die", "llama: process 2 of 2 was ended by signal 9"),
    ],
)
def test_the_cause_is_told_not_what_it_did_to_the_others(
    attempt: Callable[[Any], None], helper: Any, how: str, said: str
) -> None:
    with pytest.raises(StepError) as failure:
        attempt(helper.Fits(how))
    assert str(failure.value) == said
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_fit(
    attempt: Callable[[Any], None], helper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "SILENCE_SECONDS", 3.0)
    monkeypatch.setattr(parallel, "GRACE_SECONDS", 1.0)
    with pytest.raises(StepError, match="process 1 of 2 lost the others or waited longer than 3 s"):
        attempt(helper.Fits("hang"))
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_memory_that_runs_out_in_one_process_costs_nothing_but_time(
    student: Callable[..., FineTuned],
    taught: Taught,
    fit: Callable[..., FittedFineTuned],
    helper: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other process is in the middle of a pass by then and cannot be asked: both start again, with fewer tokens."""
    monkeypatch.setenv("RAN_OUT", str(tmp_path / "ran-out"))
    made = student("full", processes=2, sharding="full")
    with pytest.warns(RuntimeWarning, match="memory ran out in update 2; going on with 20 tokens at once"):
        fitted = made.fit(
            taught.rows, taught.labels, validation=taught.validation, loss=helper.short_of_memory, seed=SEED
        )
    assert difference(weights(fitted), weights(fit("full", "confidence"))) < 1e-5


@pytest.mark.slow
def test_what_cannot_be_found_by_the_other_processes_is_bad_input(attempt: Callable[[Any], None], helper: Any) -> None:
    with pytest.raises(InputError, match=r"cannot find what it is to fit \(gone\)"):
        attempt(helper.Vanishes())


@pytest.mark.slow
def test_a_loss_that_is_not_finite_leaves_the_state_before_it(
    student: Callable[..., FineTuned], taught: Taught, helper: Any, tmp_path: Path
) -> None:
    """progress > .3 first holds in update 4 of 8, at 3 / 8; 3 updates are done."""
    made = student("full", processes=2, sharding="full")
    with working_at(folder=tmp_path / "run"), pytest.raises(StepError, match="in update 4 the loss is nan"):
        made.fit(taught.rows, taught.labels, validation=taught.validation, loss=helper.not_finite, seed=SEED)
    assert [place.name for place in (tmp_path / "run").glob("*/at-*")] == ["at-00000003"]


MAIN = """
import sys
from pathlib import Path
from parallel_helper import Fits
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import from_directory
from oversight.models.finetune.parallel import train_together
from oversight.models.finetune.recipe import Full, Machine

def main():
    backbone = Backbone(checkpoint=from_directory(Path(sys.argv[1]), name="llama"), device="cpu")
    fits = Fits("sleep", Path(sys.argv[2]))
    train_together(fits, backbone=backbone, recipe=Full(machine=Machine(processes=2)), lr=1.0, head=None, folder=None,
                   tell=lambda done, note: None)
"""


def _script(helper: Any, text: str) -> tuple[Path, dict[str, str]]:
    lib = Path(helper.__file__).parent
    (lib / "main.py").write_text(text, encoding="utf-8")
    return lib / "main.py", {**os.environ, "PYTHONPATH": str(lib)}


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()[0] not in {"Z", "X"}
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="no /proc to see processes in")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_the_one_that_started_them(
    helper: Any, llama: Checkpoint, tmp_path: Path, how: signal.Signals
) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    script, environment = _script(helper, MAIN + "\nif __name__ == '__main__': main()\n")
    started = subprocess.Popen(
        [sys.executable, str(script), str(llama.path), str(pids)], env=environment, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 120
    while len(list(pids.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    found = [int(path.name) for path in pids.iterdir()]
    assert len(found) == 2
    started.send_signal(how)
    started.wait(60)
    while any(map(_lives, found)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(_lives, found))


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_so(helper: Any, llama: Checkpoint, tmp_path: Path) -> None:
    """Each new process reads the script again, and would fit within it without end."""
    script, environment = _script(helper, MAIN + "\nmain()\n")
    done = subprocess.run(
        [sys.executable, str(script), str(llama.path), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "needs `if __name__ == '__main__':`" in done.stderr.splitlines()[-1]
