"""The training loop against its definition: order of rows, whole batches, memory, faults, and what is kept."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oversight.errors import StepError
from oversight.methods.losses import Confidence, harden
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint
from oversight.models.finetune import state as states
from oversight.models.finetune.classifier import Classifier
from oversight.models.finetune.encoded import Encoded, encode
from oversight.models.finetune.gradient import gradient
from oversight.models.finetune.loop import Lesson, batch_rows, evaluation_steps, train
from oversight.models.finetune.optim import make_optimizer
from oversight.models.finetune.recipe import Full, Machine
from oversight.models.finetune.state import State
from oversight.models.student import Loss, cross_entropy
from oversight.tasks.split import Seed
from oversight.tasks.task import Rows

Floats = npt.NDArray[np.float64]
CONFIDENCE = Confidence(aux_weight=0.5, warmup_fraction=0.2)
LOSSES = {"cross-entropy": cross_entropy, "confidence": CONFIDENCE}
WORDS = 6
MICRO = Machine(tokens_at_once=24)


class Cramped(Classifier):
    """A network on a machine that holds at most `room` rows while it trains, and nothing in its `bad`-th pass."""

    room = 1
    bad = 0
    denied = 0
    passes = 0

    def states(self, encoded: Encoded, rows: Sequence[int]) -> torch.Tensor:
        self.passes += self.network.model.training
        if self.network.model.training and (len(rows) > self.room or self.passes == self.bad):
            self.denied += 1
            raise torch.OutOfMemoryError(f"no room for {len(rows)} rows")
        return super().states(encoded, rows)


@pytest.fixture
def make(gpt2: Checkpoint, in_float32: Callable[..., Backbone]) -> Callable[..., Classifier]:
    """make(recipe) -> a tiny network of two blocks, its head at zero."""

    def build(recipe: Full | None = None, *, kind: type[Classifier] = Classifier, **options: Any) -> Classifier:
        options = {"n_classes": 2, "paired": False, "seed": 0, **options}
        return kind(in_float32(gpt2, depth=2), recipe or Full(), **options)

    return build


@pytest.fixture
def lesson(rows_of: Callable[..., Rows], sentences: Callable[..., list[str]]) -> Callable[..., Lesson]:
    """lesson(classifier, n, seed=...) -> n rows of soft labels that follow one word, and 12 rows to look at."""

    def build(classifier: Classifier, n: int, *, seed: int = 0, k: int = 2, **changes: Any) -> Lesson:
        texts = sentences(n + 12, seed=seed, shortest=2, longest=14)
        rng = np.random.default_rng(seed)
        has = np.array([("the" in one.split()) + 2 * ("film" in one.split()) for one in texts]) % k
        labels = 0.7 * np.eye(k)[has] + 0.3 * rng.dirichlet(np.ones(k), len(texts))
        rows = rows_of(texts)
        made = Lesson(
            encoded=encode(classifier.network, rows.take(range(n))),
            targets=labels[:n],
            seen=encode(classifier.network, rows.take(range(n, n + 12))),
            expected=labels[n:],
            loss=cross_entropy,
            seed=Seed.of(seed),
            row_ids=rows.ids[:n],
        )
        return dataclasses.replace(made, **changes)

    return build


@pytest.fixture
def even(rows_of: Callable[..., Rows], sentences: Callable[..., list[str]]) -> Callable[..., Encoded]:
    """even(classifier, n, paired=...) -> n rows of six tokens a text."""

    def build(classifier: Classifier, n: int, *, paired: bool = False) -> Encoded:
        texts = sentences(2 * n, seed=1, shortest=WORDS, longest=WORDS)
        return encode(classifier.network, rows_of(texts[:n], texts[n:] if paired else None))

    return build


def start_anywhere(classifier: Classifier, *, seed: int = 0) -> Classifier:
    """Give the head weights that are not zero, so that gradients reach the network."""
    rng = np.random.default_rng(seed)
    d, k = classifier.head.in_features, classifier.head.out_features
    classifier.start_head(rng.normal(0, 0.3, (d, k)), rng.normal(0, 0.3, k))
    return classifier


def soft_labels(n: int, k: int = 2, *, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(k), n)).float()


def slopes(
    classifier: Classifier,
    encoded: Encoded,
    rows: Sequence[int],
    targets: torch.Tensor,
    loss: Loss,
    *,
    budget: int,
    progress: float = 0.6,
) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradient of one logical batch in training mode, from the same draws every time."""
    classifier.training(True)
    torch.manual_seed(7)
    value = gradient(classifier, encoded, rows, targets, loss, progress=progress, budget=budget)
    found: dict[str, torch.Tensor] = {}
    for name, one in classifier.trained().items():
        assert one.grad is not None
        found[name], one.grad = one.grad, None
    return value, found


def close(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], *, atol: float = 1e-5) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=atol, msg=lambda text, name=name: f"{name}: {text}")


class Kept:
    """What autograd keeps for a backward pass, counted while it lives."""

    def __init__(self, tensor: torch.Tensor, alive: list[int], peak: list[int]) -> None:
        self.tensor, self.alive = tensor, alive
        alive[0] += tensor.nbytes
        peak[0] = max(peak[0], alive[0])

    def __del__(self) -> None:
        self.alive[0] -= self.tensor.nbytes


@contextmanager
def kept_at_most(classifier: Classifier) -> Iterator[list[int]]:
    """A list of one: the most bytes that autograd kept at any moment in the block, weights left out."""
    weights = {one.untyped_storage().data_ptr() for one in classifier.network.model.parameters()}
    alive, peak = [0], [0]

    def keep(tensor: torch.Tensor) -> Any:
        return tensor if tensor.untyped_storage().data_ptr() in weights else Kept(tensor, alive, peak)

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept.tensor if isinstance(kept, Kept) else kept):
        yield peak


def weights_of(classifier: Classifier) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in classifier.trained().items()}


# The order of rows and the places of evaluation.


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 80), batch_size=st.integers(1, 40), seed=st.integers(0, 2**32), epoch=st.integers(0, 5))
def test_every_epoch_shows_every_row_once(n: int, batch_size: int, seed: int, epoch: int) -> None:
    per_epoch = math.ceil(n / batch_size)
    shown = [row for i in range(per_epoch) for row in batch_rows(n, epoch * per_epoch + i, batch_size, seed)]
    assert sorted(shown) == list(range(n))


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 80), batch_size=st.integers(1, 40))
def test_only_the_last_batch_of_an_epoch_is_short(n: int, batch_size: int) -> None:
    sizes = [len(batch_rows(n, i, batch_size, 0)) for i in range(math.ceil(n / batch_size))]
    assert sizes[:-1] == [batch_size] * (len(sizes) - 1) and sizes[-1] == n - batch_size * (len(sizes) - 1)


def test_rows_are_shuffled_anew_in_every_epoch_and_for_every_seed() -> None:
    orders = {tuple(batch_rows(50, epoch, 50, seed)) for epoch in range(4) for seed in range(3)}
    assert len(orders) == 12


def test_the_order_of_an_update_does_not_depend_on_what_was_asked_before() -> None:
    forwards = [batch_rows(20, step, 8, 3) for step in range(9)]
    assert [batch_rows(20, step, 8, 3) for step in reversed(range(9))] == forwards[::-1]


@settings(max_examples=200, deadline=None)
@given(n_updates=st.integers(1, 2000), evaluations=st.integers(1, 50))
def test_evaluations_are_evenly_spaced_and_end_with_the_run(n_updates: int, evaluations: int) -> None:
    steps = sorted(evaluation_steps(n_updates, evaluations))
    gaps = np.diff([0, *steps])
    assert steps[-1] == n_updates and len(steps) == min(n_updates, evaluations)
    assert abs(gaps - n_updates / len(steps)).max() < 1


# The gradient of a whole batch, however it is cut.


@pytest.mark.parametrize("loss", LOSSES)
def test_memory_holds_the_graph_of_one_pass_at_a_time(
    loss: str, make: Callable[..., Classifier], even: Callable[..., Encoded]
) -> None:
    """The predecessor's micro-batches saved nothing: all their graphs lived until one backward pass at the end.

    Some of what is kept does not grow with the rows, so an eighth of them takes more than an eighth.
    """
    classifier = start_anywhere(make())
    encoded, targets = even(classifier, 32), soft_labels(32)
    peaks: list[int] = []
    for rows_at_once in (32, 4):
        with kept_at_most(classifier) as peak:
            slopes(classifier, encoded, range(32), targets, LOSSES[loss], budget=WORDS * rows_at_once)
        peaks.append(peak[0])
    assert peaks[1] < peaks[0] / 2, peaks


@pytest.mark.parametrize("dropout", [False, True], ids=["plain", "dropout"])
@pytest.mark.parametrize("rows_at_once", [8, 1])
@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_does_not_depend_on_how_the_batch_is_cut(
    loss: str, rows_at_once: int, dropout: bool, make: Callable[..., Classifier], even: Callable[..., Encoded]
) -> None:
    """1 x 32 = 4 x 8 = 32 x 1. With dropout the draws differ with the cut, so there the two passes are compared: the
    gradient handed back through logits must be that of the same micro-batches with their graphs kept alive."""
    classifier = start_anywhere(make(Full(dropout=dropout)))
    encoded, targets = even(classifier, 32), soft_labels(32)
    rows = np.random.default_rng(0).permutation(32).tolist()
    budget = WORDS * rows_at_once
    parts = encoded.batches(rows, budget=budget)
    assert [len(part) for part in parts] == [rows_at_once] * (32 // rows_at_once)
    found = slopes(classifier, encoded, rows, targets, LOSSES[loss], budget=budget)
    if dropout:
        classifier.training(True)
        torch.manual_seed(7)
        alive = torch.cat([classifier.logits(encoded, part) for part in parts])
        order = [rows.index(row) for part in parts for row in part]
        value = LOSSES[loss](alive, targets[order], progress=0.6)
        value.backward()
        graphs = {name: one.grad for name, one in classifier.trained().items() if one.grad is not None}
        expected = float(value.detach()), graphs
    else:
        expected = slopes(classifier, encoded, rows, targets, LOSSES[loss], budget=32 * WORDS)
    assert found[0] == pytest.approx(expected[0], abs=1e-6)
    close(found[1], expected[1])


@pytest.mark.gpu
def test_both_passes_draw_the_same_dropout_on_a_gpu(gpt2: Checkpoint, even: Callable[..., Encoded]) -> None:
    """The generator of the GPU is another one: the loss by logits of the first pass is that of the second."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    backbone = Backbone(checkpoint=gpt2, depth=2, precision="float32", device="cuda")
    classifier = start_anywhere(Classifier(backbone, Full(dropout=True), n_classes=2, paired=False, seed=0))
    encoded, targets = even(classifier, 16), soft_labels(16).to("cuda")
    passes: list[torch.Tensor] = []
    watched = classifier.head.register_forward_hook(lambda module, given, found: passes.append(found.detach()))
    slopes(classifier, encoded, range(16), targets, CONFIDENCE, budget=4 * WORDS)
    watched.remove()
    torch.testing.assert_close(torch.cat(passes[4:]), torch.cat(passes[:4]))


def test_dropout_changes_the_gradient(make: Callable[..., Classifier], even: Callable[..., Encoded]) -> None:
    """Otherwise the test above would say nothing of it."""
    found: list[torch.Tensor] = []
    for dropout in (False, True):
        classifier = start_anywhere(make(Full(dropout=dropout)))
        _, grads = slopes(classifier, even(classifier, 8), range(8), soft_labels(8), cross_entropy, budget=1000)
        found.append(grads["head.weight"])
    assert float((found[0] - found[1]).abs().max()) > 1e-3


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_of_pairs_does_not_depend_on_how_the_batch_is_cut(
    loss: str, make: Callable[..., Classifier], even: Callable[..., Encoded]
) -> None:
    classifier = start_anywhere(make(paired=True))
    encoded, targets = even(classifier, 32, paired=True), soft_labels(32)
    found = {
        at_once: slopes(classifier, encoded, range(32), targets, LOSSES[loss], budget=2 * WORDS * at_once)[1]
        for at_once in (32, 8, 1)
    }
    close(found[8], found[32])
    close(found[1], found[32])


@pytest.mark.parametrize("seed", range(3))
def test_gradient_of_uneven_rows_and_three_classes_does_not_depend_on_the_cut(
    seed: int, make: Callable[..., Classifier], lesson: Callable[..., Lesson]
) -> None:
    """Texts of 2 to 14 words: micro-batches of different sizes, their rows out of order."""
    classifier = start_anywhere(make(n_classes=3), seed=seed)
    encoded = lesson(classifier, 32, seed=seed, k=3).encoded
    rows = np.random.default_rng(seed).permutation(32)[:23].tolist()
    whole, *cuts = (
        slopes(classifier, encoded, rows, soft_labels(23, 3), CONFIDENCE, budget=budget)[1]
        for budget in (10_000, 100, 31, 1)
    )
    for cut in cuts:
        close(cut, whole)


def test_a_threshold_for_each_micro_batch_would_give_another_gradient(
    make: Callable[..., Classifier], even: Callable[..., Encoded]
) -> None:
    """What a loop gives that calls the loss on each micro-batch: the fault that the tests above exclude."""
    classifier = start_anywhere(make())
    encoded, targets = even(classifier, 32), soft_labels(32)
    _, whole = slopes(classifier, encoded, range(32), targets, CONFIDENCE, budget=8 * WORDS)
    classifier.training(True)
    for start in range(0, 32, 8):
        part = range(start, start + 8)
        (CONFIDENCE(classifier.logits(encoded, part), targets[list(part)], progress=0.6) / 4).backward()
    wrong = classifier.head.weight.grad
    assert wrong is not None and float((wrong - whole["head.weight"]).abs().max()) > 1e-3


@pytest.mark.parametrize("budget", [10_000, 20])
def test_gradient_of_confidence_is_that_of_its_definition(
    budget: int, make: Callable[..., Classifier], even: Callable[..., Encoded]
) -> None:
    """At three fifths of the run the share is 0.5: cross-entropy to the mean of labels and hardened guess, whose
    gradient by the bias of the head is the mean of softmax - target."""
    classifier = start_anywhere(make())
    encoded, targets = even(classifier, 16), soft_labels(16)
    classifier.training(True)
    with torch.no_grad():
        logits = classifier.logits(encoded, range(16))
    mixed = 0.5 * targets + 0.5 * harden(logits, targets.mean(0))
    _, found = slopes(classifier, encoded, range(16), targets, CONFIDENCE, budget=budget)
    torch.testing.assert_close(found["head.bias"], (logits.softmax(-1) - mixed).mean(0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("budget", [10_000, 40, 1])
def test_a_loss_sees_the_rows_of_a_batch_in_their_order(
    budget: int, make: Callable[..., Classifier], lesson: Callable[..., Lesson]
) -> None:
    """Ties of the confidence loss go by row order; micro-batches are sorted by length, which must not show."""
    seen: list[torch.Tensor] = []

    def watching(logits: torch.Tensor, targets: torch.Tensor, *, progress: float) -> torch.Tensor:
        seen.append(targets)
        return cross_entropy(logits, targets, progress=progress)

    classifier = make()
    encoded, targets = lesson(classifier, 12).encoded, soft_labels(12)
    slopes(classifier, encoded, list(reversed(range(12))), targets, watching, budget=budget)
    assert [one.tolist() for one in seen] == [targets.tolist()]


def test_gradient_checkpointing_gives_the_same_gradient(
    make: Callable[..., Classifier], even: Callable[..., Encoded]
) -> None:
    found: list[dict[str, torch.Tensor]] = []
    for on in (False, True):
        classifier = start_anywhere(make(Full(machine=Machine(checkpointing=on))))
        encoded = even(classifier, 16)
        found.append(slopes(classifier, encoded, range(16), soft_labels(16), CONFIDENCE, budget=4 * WORDS)[1])
    close(found[1], found[0])


# The whole run.


def naive_run(path: Path, lesson: Lesson, recipe: Full, *, lr: float, order: int) -> tuple[Any, Any]:
    """Plain AdamW, one sequence at a time, nothing packed, cut or kept: the definition of a run, written anew."""
    from transformers import AutoModel

    model: Any = AutoModel.from_pretrained(path, attn_implementation="eager")
    model.eval()
    head = torch.nn.Linear(model.config.hidden_size, lesson.targets.shape[1])
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    matrices = [
        one for name, one in model.named_parameters() if one.ndim > 1 and "wte" not in name and "wpe" not in name
    ]
    others = [one for one in model.parameters() if all(one is not matrix for matrix in matrices)]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
            {"params": list(head.parameters()), "weight_decay": 0.0},
        ],
        foreach=False,
        fused=False,
    )
    n, b = len(lesson.targets), recipe.batch_size
    assert recipe.epochs is not None
    updates = [(e, i) for e in range(recipe.epochs) for i in range(math.ceil(n / b))]
    warmup = round(recipe.warmup_fraction * len(updates))
    for step, (epoch, i) in enumerate(updates):
        rows = np.random.default_rng([order, epoch]).permutation(n)[i * b : (i + 1) * b]
        rising = (step + 1) / (warmup + 1)
        falling = (1 + math.cos(math.pi * (step - warmup) / (len(updates) - warmup))) / 2
        share = rising if step < warmup else falling
        for group, peak in zip(optimizer.param_groups, (lr, lr, recipe.head_lr), strict=True):
            group["lr"] = peak * share
        optimizer.zero_grad()
        for row in rows:
            ids = torch.from_numpy(lesson.encoded.texts[row])[None]
            logits = head(model(input_ids=ids).last_hidden_state[0, -1])
            loss = -(torch.from_numpy(lesson.targets[row]).float() * logits.log_softmax(-1)).sum()
            (loss / len(rows)).backward()
        torch.nn.utils.clip_grad_norm_([*model.parameters(), *head.parameters()], recipe.clip)
        optimizer.step()
    return model, head


def test_a_run_equals_a_naive_loop(
    gpt2: Checkpoint, in_float32: Callable[..., Backbone], lesson: Callable[..., Lesson]
) -> None:
    """Packed and fused against one sequence at a time: 22 rows in batches of 8, 3 epochs, 9 updates, all blocks."""
    recipe = Full(
        epochs=3, batch_size=8, early_stopping=False, weight_decay=0.1, clip=0.5, head_lr=1e-2, warmup_fraction=0.3
    )
    classifier = Classifier(in_float32(gpt2), recipe, n_classes=2, paired=False, seed=0)
    taught = lesson(classifier, 22)
    model, head = naive_run(gpt2.path, taught, recipe, lr=1e-3, order=taught.seed.order)
    train(classifier, taught, recipe, lr=1e-3)
    with torch.no_grad():
        expected = torch.stack(
            [head(model(input_ids=torch.from_numpy(ids)[None]).last_hidden_state[0, -1]) for ids in taught.seen.texts]
        )
        found = classifier.logits(taught.seen, range(12))
    assert float(expected.std()) > 1e-2
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    own = dict(model.named_parameters())
    # The gradient of the bias of the keys is zero, so Adam scales up its rounding: no such entry is compared.
    kept = {name.removeprefix("body."): one for name, one in weights_of(classifier).items() if "head." not in name}
    for name, one in kept.items():
        chosen = slice(0, 32) if name.endswith("c_attn.bias") else slice(None)
        torch.testing.assert_close(one[chosen], own[name].detach()[chosen], rtol=0, atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_run_does_not_depend_on_the_memory(
    loss: str, make: Callable[..., Classifier], lesson: Callable[..., Lesson]
) -> None:
    probs: list[Floats] = []
    for budget in (10_000, 40):
        recipe = Full(epochs=2, batch_size=8, head_lr=1e-2, machine=Machine(tokens_at_once=budget))
        classifier = make(recipe)
        taught = lesson(classifier, 20, loss=LOSSES[loss])
        train(classifier, taught, recipe, lr=5e-4)
        probs.append(classifier.probs(taught.seen))
    np.testing.assert_allclose(probs[1], probs[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_the_same_seed_gives_the_same_bits(
    optimizer: Any, make: Callable[..., Classifier], lesson: Callable[..., Lesson]
) -> None:
    """With dropout on, whatever was drawn from the global generator before."""
    runs: list[dict[str, torch.Tensor]] = []
    for noise in (1, 2):
        recipe = Full(epochs=2, batch_size=8, dropout=True, optimizer=optimizer)
        classifier = make(recipe)
        torch.manual_seed(noise)
        train(classifier, lesson(classifier, 20, loss=CONFIDENCE), recipe, lr=1e-3)
        runs.append(weights_of(classifier))
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


@pytest.mark.parametrize(("changed", "dropout"), [("order", False), ("init", True)])
def test_another_seed_gives_other_weights(
    changed: str, dropout: bool, make: Callable[..., Classifier], lesson: Callable[..., Lesson]
) -> None:
    """The order of rows by one seed, dropout by the other."""
    runs: list[dict[str, torch.Tensor]] = []
    for value in (0, 1):
        recipe = Full(epochs=2, batch_size=8, dropout=dropout)
        classifier = make(recipe)
        taught = dataclasses.replace(lesson(classifier, 20), seed=Seed.of(0, **{changed: value}))
        train(classifier, taught, recipe, lr=1e-3)
        runs.append(weights_of(classifier))
    assert not torch.equal(runs[0]["head.weight"], runs[1]["head.weight"])


def test_without_dropout_only_the_order_is_drawn(
    make: Callable[..., Classifier], lesson: Callable[..., Lesson]
) -> None:
    """Heads start at zero and no adapter is there: the seed of initial weights changes nothing."""
    runs: list[dict[str, torch.Tensor]] = []
    for init in (0, 1):
        recipe = Full(epochs=1, batch_size=8)
        classifier = make(recipe, seed=init)
        train(classifier, dataclasses.replace(lesson(classifier, 20), seed=Seed.of(0, init=init)), recipe, lr=1e-3)
        runs.append(weights_of(classifier))
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_every_update_drops_out_anew(make: Callable[..., Classifier], lesson: Callable[..., Lesson]) -> None:
    """One row again and again, at rates that move nothing: only the draws can change the loss."""
    losses: dict[bool, list[float]] = {}
    for dropout in (False, True):
        recipe = Full(epochs=4, batch_size=1, head_lr=1e-12, dropout=dropout)
        classifier = start_anywhere(make(recipe))
        losses[dropout] = train(classifier, lesson(classifier, 1), recipe, lr=1e-12).losses
    assert np.ptp(losses[False]) < 1e-6 and np.diff(np.sort(losses[True])).min() > 1e-5


def test_every_update_is_told(make: Callable[..., Classifier], lesson: Callable[..., Lesson]) -> None:
    told: list[tuple[float, str]] = []
    recipe = Full(epochs=2, batch_size=8)
    classifier = make(recipe)
    train(classifier, lesson(classifier, 20), recipe, lr=1e-3, tell=lambda done, note: told.append((done, note)))
    assert [done for done, _ in told] == pytest.approx([i / 6 for i in range(1, 7)])
    assert all(
        note.startswith(f"update {i}/6, loss ") and "agreement " in note and note.endswith(" left")
        for i, (_, note) in enumerate(told, start=1)
    )


# Memory that runs out.


@pytest.mark.parametrize("paired", [False, True], ids=["texts", "pairs"])
@pytest.mark.parametrize("room", [1, 3, 5])
@pytest.mark.parametrize("loss", LOSSES)
def test_memory_that_runs_out_changes_nothing_but_the_micro_batch(
    loss: str, room: int, paired: bool, make: Callable[..., Classifier], even: Callable[..., Encoded]
) -> None:
    recipe = Full(epochs=2, batch_size=8, head_lr=1e-2)
    probs: list[Floats] = []
    for kind in (Classifier, Cramped):
        classifier = make(recipe, kind=kind, paired=paired)
        encoded = even(classifier, 20, paired=paired)
        taught = Lesson(
            encoded=encoded,
            targets=soft_labels(20).double().numpy(),
            seen=encoded,
            expected=soft_labels(20).double().numpy(),
            loss=LOSSES[loss],
            seed=Seed.of(0),
            row_ids=tuple(map(str, range(20))),
        )
        if isinstance(classifier, Cramped):
            classifier.room = room
            with pytest.warns(RuntimeWarning, match=r"memory ran out in update 1; going on with \d+ tokens at once"):
                train(classifier, taught, recipe, lr=5e-4)
        else:
            train(classifier, taught, recipe, lr=5e-4)
        probs.append(classifier.probs(taught.seen))
    assert np.ptp(probs[0][:, 0]) > 1e-3
    np.testing.assert_allclose(probs[1], probs[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("room", "halvings"), [(8, 0), (4, 1), (3, 2), (1, 3)])
def test_micro_batches_are_halved_until_they_fit_and_stay_so(
    room: int, halvings: int, make: Callable[..., Classifier], lesson: Callable[..., Lesson]
) -> None:
    """Batches of 8: 8 -> 4 -> 2 -> 1. What did not fit once is not tried again in the next update."""
    recipe = Full(epochs=3, batch_size=8, machine=Machine(tokens_at_once=8 * WORDS))
    classifier = make(recipe, kind=Cramped)
    assert isinstance(classifier, Cramped)
    classifier.room = room
    taught = lesson(classifier, 16)
    texts = tuple(np.arange(WORDS) + i for i in range(16))
    taught = dataclasses.replace(taught, encoded=dataclasses.replace(taught.encoded, texts=texts))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        train(classifier, taught, recipe, lr=1e-3)
    assert classifier.denied == halvings


@pytest.mark.parametrize("loss", LOSSES)
def test_what_was_added_up_before_memory_ran_out_does_not_count_twice(
    loss: str, make: Callable[..., Classifier], lesson: Callable[..., Lesson]
) -> None:
    """The third pass of the first update fails, when two have handed back their gradients already."""
    recipe = Full(epochs=1, batch_size=8, head_lr=1e-2, clip=1e9, optimizer="adafactor", machine=MICRO)
    runs: list[dict[str, torch.Tensor]] = []
    for bad in (0, 3):
        classifier = start_anywhere(make(recipe, kind=Cramped))
        assert isinstance(classifier, Cramped)
        classifier.room, classifier.bad = 8, bad
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            train(classifier, lesson(classifier, 8, loss=LOSSES[loss]), recipe, lr=1e-3)
        assert classifier.denied == (bad > 0)
        runs.append(weights_of(classifier))
    close(runs[1], runs[0])


def test_memory_for_no_row_at_all_ends_the_run(make: Callable[..., Classifier], lesson: Callable[..., Lesson]) -> None:
    recipe = Full(epochs=1, batch_size=2)
    classifier = make(recipe, kind=Cramped)
    assert isinstance(classifier, Cramped)
    classifier.room = 0
    with pytest.warns(RuntimeWarning), pytest.raises(StepError, match=r"^gpt2@2: memory does not hold .* single row"):
        train(classifier, lesson(classifier, 4), recipe, lr=1e-3)


def test_another_fault_is_not_taken_for_memory(make: Callable[..., Classifier], lesson: Callable[..., Lesson]) -> None:
    def broken(logits: torch.Tensor, targets: torch.Tensor, *, progress: float) -> torch.Tensor:
        raise RuntimeError("shapes do not fit")

    classifier = make()
    with pytest.raises(RuntimeError, match=r"^shapes do not fit$"):
        train(classifier, lesson(classifier, 8, loss=broken), Full(epochs=1, batch_size=4), lr=1e-3)


# Numbers that are none.


def spoiled_at(update: int, n_updates: int, value: float) -> Loss:
    """Cross-entropy, but `value` in one update."""

    def loss(logits: torch.Tensor, targets: torch.Tensor, *, progress: float) -> torch.Tensor:
        found = cross_entropy(logits, targets, progress=progress)
        return found * value if round(progress * n_updates) == update else found

    return loss


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_says_where(
    value: float, make: Callable[..., Classifier], lesson: Callable[..., Lesson], tmp_path: Path
) -> None:
    recipe = Full(epochs=2, batch_size=8)
    classifier = make(recipe)
    taught = lesson(classifier, 16, loss=spoiled_at(2, 4, value))
    with pytest.raises(StepError) as stopped:
        train(classifier, taught, recipe, lr=3e-4, folder=tmp_path / "run")
    line = str(stopped.value)
    shown = [taught.row_ids[row] for row in batch_rows(16, 2, 8, 0)[:4]]
    wanted = ["gpt2@2: in update 3 ", "learning rate 0.0003", f"rows {', '.join(shown)}, ...;", str(tmp_path / "run")]
    assert "\n" not in line and [part for part in wanted if part not in line] == []


def test_weights_that_are_no_numbers_any_more_stop_the_run(
    make: Callable[..., Classifier], lesson: Callable[..., Lesson]
) -> None:
    """A learning rate of 1e30 without a warm-up: the weights overflow."""
    recipe = Full(epochs=2, batch_size=8, head_lr=1e30, warmup_fraction=0, schedule="constant")
    classifier = make(recipe)
    with pytest.raises(
        StepError, match=r"in update \d+ the loss is .* norm of its gradient .* at learning rate 1e\+30"
    ):
        train(classifier, lesson(classifier, 16), recipe, lr=1e30)


def test_the_state_before_a_fault_is_kept(
    make: Callable[..., Classifier], lesson: Callable[..., Lesson], tmp_path: Path
) -> None:
    """It holds the weights after two updates: those of a run of which the third was never tried."""
    recipe = Full(epochs=2, batch_size=8)
    spoiled, fine = make(recipe), make(recipe)
    with pytest.raises(StepError):
        train(spoiled, lesson(spoiled, 16, loss=spoiled_at(2, 4, math.nan)), recipe, lr=1e-3, folder=tmp_path)
    after: list[dict[str, torch.Tensor]] = []
    train(fine, lesson(fine, 16), recipe, lr=1e-3, tell=lambda done, note: after.append(weights_of(fine)))
    found = states.load(tmp_path)
    assert found is not None
    assert found[0].step == 2 and all(torch.equal(found[1][name], one) for name, one in after[1].items())


def test_without_a_folder_a_fault_names_none(make: Callable[..., Classifier], lesson: Callable[..., Lesson]) -> None:
    classifier = make()
    taught = lesson(classifier, 3, loss=spoiled_at(0, 1, math.nan))
    with pytest.raises(StepError) as stopped:
        train(classifier, taught, Full(epochs=1, batch_size=3), lr=1e-3)
    assert "state before" not in str(stopped.value) and "..." not in str(stopped.value)


# What is kept.


def finished(
    make: Callable[..., Classifier], lesson: Callable[..., Lesson], **settings: Any
) -> tuple[Any, Lesson, State]:
    recipe = Full(**{"epochs": 6, "batch_size": 8, "head_lr": 3e-2, "evaluations": 6, **settings})
    classifier = make(recipe)
    taught = lesson(classifier, 24, seed=settings.get("seed", 0))
    return classifier, taught, train(classifier, taught, recipe, lr=3e-3)


def best_of(curve: Sequence[dict[str, float]]) -> dict[str, float]:
    """The highest agreement, of several the lowest cross-entropy, of several the first; by going through them."""
    best = curve[0]
    for entry in curve[1:]:
        if entry["agreement"] > best["agreement"] or (
            entry["agreement"] == best["agreement"] and entry["cross_entropy"] < best["cross_entropy"]
        ):
            best = entry
    return best


def cross_entropy_of(probs: Floats, taught: Lesson) -> float:
    return float(-(taught.expected * np.log(probs)).sum(1).mean())


def test_early_stopping_keeps_the_weights_of_the_best_evaluation(
    make: Callable[..., Classifier], lesson: Callable[..., Lesson]
) -> None:
    """They give again the two numbers of that entry of the curve, which is not the last one here."""
    classifier, taught, state = finished(make, lesson)
    best = best_of(state.curve)
    assert best is not state.curve[-1]
    probs = classifier.probs(taught.seen)
    # Allows for what is kept, nine decimals of agreement, and for another order of the sum of cross-entropy.
    agreed = float((probs.argmax(1) == taught.expected.argmax(1)).mean())
    assert agreed == pytest.approx(best["agreement"], rel=0, abs=1e-9)
    assert cross_entropy_of(probs, taught) == pytest.approx(best["cross_entropy"], rel=1e-12)


def test_without_early_stopping_the_last_weights_are_kept(
    make: Callable[..., Classifier], lesson: Callable[..., Lesson]
) -> None:
    classifier, taught, state = finished(make, lesson, early_stopping=False)
    assert best_of(state.curve) is not state.curve[-1] and state.best is None
    probs = classifier.probs(taught.seen)
    assert cross_entropy_of(probs, taught) == pytest.approx(state.curve[-1]["cross_entropy"], rel=1e-12)


def test_the_curve_has_one_entry_per_evaluation(make: Callable[..., Classifier], lesson: Callable[..., Lesson]) -> None:
    """18 updates, 6 evaluations; the losses of the 3 updates before each are averaged."""
    _, _, state = finished(make, lesson)
    assert [entry["step"] for entry in state.curve] == [3, 6, 9, 12, 15, 18]
    expected = [float(np.mean(state.losses[i : i + 3])) for i in range(0, 18, 3)]
    assert [entry["loss"] for entry in state.curve] == pytest.approx(expected)


def test_the_run_starts_at_the_loss_of_a_guess(make: Callable[..., Classifier], lesson: Callable[..., Lesson]) -> None:
    """A head of zeros gives 1 / 2 to both classes: ln 2 whatever the labels."""
    assert finished(make, lesson)[2].losses[0] == pytest.approx(math.log(2), abs=1e-6)


def test_validation_labels_change_what_is_kept_and_not_what_is_trained(
    make: Callable[..., Classifier], lesson: Callable[..., Lesson]
) -> None:
    losses: list[list[float]] = []
    kept: list[float] = []
    for flip in (False, True):
        recipe = Full(epochs=6, batch_size=8, head_lr=3e-2, evaluations=6)
        classifier = make(recipe)
        taught = lesson(classifier, 24)
        taught = dataclasses.replace(taught, expected=taught.expected[:, ::-1] if flip else taught.expected)
        state = train(classifier, taught, recipe, lr=3e-3)
        losses.append(state.losses)
        kept.append((state.best or {})["step"])
    assert losses[0] == losses[1] and kept[0] != kept[1]


def test_the_network_is_left_ready_to_predict(make: Callable[..., Classifier], lesson: Callable[..., Lesson]) -> None:
    """Dropout is off again, and no gradient is left behind."""
    classifier, taught, _ = finished(make, lesson, dropout=True)
    assert not classifier.network.model.training
    assert all(one.grad is None for one in classifier.trained().values())
    assert (classifier.probs(taught.seen) == classifier.probs(taught.seen)).all()


def test_the_optimiser_of_a_run_is_not_needed_to_start_one(
    make: Callable[..., Classifier], lesson: Callable[..., Lesson], tmp_path: Path
) -> None:
    """A checkpoint from before the first update holds no moments; a run goes on from it as from the start."""
    recipe = Full(epochs=1, batch_size=8)
    first, second = make(recipe), make(recipe)
    begun = State(tokens_at_once=first.budget, threads=torch.get_num_threads())
    states.save(tmp_path, begun, first.trained(), make_optimizer(first, recipe, 1e-3).state_dict())
    train(first, lesson(first, 16), recipe, lr=1e-3, folder=tmp_path)
    train(second, lesson(second, 16), recipe, lr=1e-3)
    expected = weights_of(second)
    assert all(torch.equal(one, expected[name]) for name, one in weights_of(first).items())
