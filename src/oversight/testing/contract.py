"""The contract that every method keeps."""

from __future__ import annotations

import contextlib
import inspect
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import rankdata

from oversight.describe import describe
from oversight.errors import InputError
from oversight.methods.method import Method, Needs, OracleMethod, WeakData, WithLoss, check_needs
from oversight.models.student import Loss, Student, trained_how
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels, Rows
from oversight.testing.worlds import Labeller, Planted, flips, planted

FEW, CLOSE = 240, 1e-5
READ, BLIND = 0.3, 3
NAMES = "it does not read truth from ids and groups"
TUNED = ("full", "lora", "lp-ft")


class ContractError(AssertionError):
    """A method breaks a rule; one line per rule."""


def check_method(
    method: Any, *, name: str | None = None, student: Student | None = None, world: Planted | None = None
) -> tuple[str, ...]:
    """Whether a method, or a loss, keeps the contract.

    Rules: it is described by its content; it never takes ground truth (unless it is an oracle and named so); it gives
    probabilities, and the same ones again, whatever the global generators (Python, numpy, torch) hold and whatever the
    order of the rows; a row without an answer counts for nothing; names of rows and groups are no labels to it (in
    studies they are opaque); it changes nothing that it was given; what it decided
    can be written as JSON; three classes work, or are refused. Fine-tuning draws its batches from the rows in their
    order (which splits take from the ids, not from the file), so there the order is not checked.

    Args:
        method: a Method, an OracleMethod or a function of (logits, targets, progress).
        name: as it would be shown; None = the name of its class.
        student: whom to train; None = a probe on the planted features.
        world: the task; None = 240 rows with as many supervisors as the method needs.

    Returns:
        The rules that were checked.

    Raises:
        ContractError: one line for each rule that is broken.
    """
    checked = _as_method(method)
    shown = name or str(getattr(method, "__name__", type(method).__name__)).lower()
    here = _untouchable(world or _small(checked))
    taught = student or here.student
    rules: dict[str, Callable[[], str | None]] = {
        "it says what it needs": partial(_says_needs, checked),
        "it is described by its content": partial(_described, checked),
        "it takes no ground truth": partial(_blind, checked, shown),
        "it gives probabilities, the same again": partial(_repeats, checked, here, taught),
        "the order of the rows does not count": partial(_unordered, checked, here, taught),
        "rows without an answer do not count": partial(_silent, checked, here, taught),
        NAMES: partial(_reads_names, checked, here, taught),
        "what it decided is JSON": partial(_tells, checked, here, taught),
        "three classes work or are refused": partial(_three_classes, checked, student),
    }
    if trained_how(taught) in TUNED:
        del rules["the order of the rows does not count"], rules[NAMES]
    broken: list[str] = []
    for rule, broken_by in rules.items():
        try:
            found = broken_by()
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
        if found:
            broken.append(f"{shown}: {rule}: {found}")
    if broken:
        raise ContractError("\n".join(broken))
    return tuple(rules)


def _as_method(method: Any) -> Method | OracleMethod:
    """A loss becomes naive training with it."""
    return method if hasattr(method, "train") or hasattr(method, "train_with_truth") else WithLoss(method)


def _small(method: Method | OracleMethod, *, k: int = 2, n: int = FEW) -> Planted:
    several = max(method.needs.supervisors[0], 1)
    return planted(*(flips(0.1 + 0.1 * i) for i in range(several)), n=n, k=k, depths=2)


def _untouchable(world: Planted) -> Planted:
    """The same labels in arrays that cannot be written to."""

    def locked(one: Labels) -> Labels:
        probs, answered = one.probs.copy(), one.answered.copy()
        probs.setflags(write=False)
        answered.setflags(write=False)
        return replace(one, probs=probs, answered=answered)

    data = replace(
        world.data,
        labels=tuple(map(locked, world.data.labels)),
        validation_labels=tuple(map(locked, world.data.validation_labels)),
    )
    return replace(world, data=data, truth=locked(world.truth))


def _says_needs(method: Method | OracleMethod) -> str | None:
    needs: Any = method.needs
    return None if isinstance(needs, Needs) else f"found {type(needs).__name__}, expected Needs"


def _described(method: Method | OracleMethod) -> str | None:
    return None if describe(method) == describe(method) else "described twice, it is not the same"


def _blind(method: Method | OracleMethod, name: str) -> str | None:
    if isinstance(method, OracleMethod):
        return None if name.startswith("oracle_") else "it sees ground truth, so its name must begin with 'oracle_'"
    taken = list(inspect.signature(method.train).parameters)
    return (
        None
        if taken == ["student", "data", "seed"]
        else f"train takes {', '.join(taken)}; expected student, data, seed"
    )


def _repeats(method: Method | OracleMethod, world: Planted, student: Student) -> str | None:
    before = _global_generators()
    first = world.predict(world.train(method, student=student))
    if _global_generators() != before:
        return "it draws from a global generator; expected draws from the seed"
    k = world.truth.n_classes
    if first.shape != (len(world.test), k) or not np.isfinite(first).all():
        return f"found {first.shape}, expected finite numbers of shape {(len(world.test), k)}"
    if not (np.all(first >= 0) and np.allclose(first.sum(1), 1, atol=1e-6)):
        return "rows of its predictions do not sum to 1"
    return (
        None if np.array_equal(first, world.predict(world.train(method, student=student))) else "twice is not the same"
    )


def _global_generators() -> tuple[object, ...]:
    """Where Python's, numpy's and torch's stand. Of numpy's the place in its block of numbers counts too: the block
    itself is drawn anew only every 624 numbers."""
    import torch

    _, block, *rest = np.random.get_state(legacy=True)
    return random.getstate(), np.asarray(block).tobytes(), tuple(rest), torch.get_rng_state().numpy().tobytes()


def _unordered(method: Method | OracleMethod, world: Planted, student: Student) -> str | None:
    order = np.random.default_rng(1).permutation(len(world.data.rows))
    turned = np.arange(len(world.data.validation))[::-1]
    rows, validation = world.data.rows.take(order), world.data.validation.take(turned)
    data = WeakData(
        rows=rows,
        labels=tuple(one.on(rows) for one in world.data.labels),
        validation=validation,
        validation_labels=tuple(one.on(validation) for one in world.data.validation_labels),
    )
    return _apart(method, world, replace(world, data=data), student)


def _silent(method: Method | OracleMethod, world: Planted, student: Student) -> str | None:
    """Two worlds that differ in what stands where nobody answered."""

    def with_noise(seed: int) -> Planted:
        labels = [_muted(one, np.random.default_rng(seed)) for one in world.data.labels]
        return replace(world, data=replace(world.data, labels=tuple(labels)))

    return _apart(method, with_noise(0), with_noise(1), student)


def _muted(labels: Labels, rng: np.random.Generator) -> Labels:
    quiet = np.array([int(row_id, 16) % 5 == 0 for row_id in labels.row_ids])
    noise = rng.dirichlet(np.ones(labels.n_classes), len(quiet))
    return replace(labels, probs=np.where(quiet[:, None], noise, labels.probs), answered=labels.answered & ~quiet)


def _apart(method: Method | OracleMethod, one: Planted, other: Planted, student: Student) -> str | None:
    first, second = (world.predict(world.train(method, student=student)) for world in (one, other))
    most = float(np.abs(first - second).max())
    return None if most <= CLOSE else f"a probability moves by {most:.2g}, expected at most {CLOSE:g}"


def _reads_names(method: Method | OracleMethod, world: Planted, student: Student) -> str | None:
    """Ids numbered by class, as copies of a text are, and groups called after it; then after another class.

    Who reads them is right with the first names and wrong with the second; for whom they are mere names, or what draws
    are made from, it is all the same but for chance. The supervisors answer at random, so that nothing else is known.
    """
    if isinstance(method, OracleMethod):
        return None
    blind = [_answering_at_random(world, seed) for seed in range(BLIND)]
    right, wrong = (float(np.mean([_right_when_named(method, one, student, turn) for one in blind])) for turn in (0, 1))
    if right - wrong <= READ:
        return None
    return f"its AUROC is {right:.2f} where names tell the class, {wrong:.2f} where they tell another"


def _answering_at_random(world: Planted, seed: int) -> Planted:
    rng = np.random.default_rng(seed)

    def answers(labels: tuple[Labels, ...]) -> tuple[Labels, ...]:
        return tuple(
            replace(one, probs=rng.permuted(np.tile(_sure(one.n_classes), (len(one.probs), 1)), axis=1))
            for one in labels
        )

    data = replace(
        world.data, labels=answers(world.data.labels), validation_labels=answers(world.data.validation_labels)
    )
    return replace(world, data=data)


def _sure(k: int) -> Floats:
    """(k,) sure of the first class."""
    return np.where(np.arange(k) == 0, 0.9, 0.1 / (k - 1))


def _right_when_named(method: Method, world: Planted, student: Student, turn: int) -> float:
    """AUROC of the first class on the test rows, which no intercept hides, where rows and groups are named after the
    class that stands `turn` after their own.
    """
    k = world.truth.n_classes
    classes = (world.truth.probs.argmax(1) + turn) % k
    said = dict(zip(world.truth.row_ids, classes.tolist(), strict=True))
    new = {row_id: f"{row_id}#{said[row_id]}" if said[row_id] else row_id for row_id in said}

    def rows(old: Rows) -> Rows:
        groups = tuple(f"{said[one]}_{i}" for i, one in enumerate(old.ids))
        return replace(old, ids=tuple(new[one] for one in old.ids), groups=groups)

    def labels(old: tuple[Labels, ...]) -> tuple[Labels, ...]:
        return tuple(replace(one, row_ids=tuple(new[row_id] for row_id in one.row_ids)) for one in old)

    data = WeakData(
        rows=rows(world.data.rows),
        labels=labels(world.data.labels),
        validation=rows(world.data.validation),
        validation_labels=labels(world.data.validation_labels),
    )
    named = replace(world, data=data)
    world.bank.known_as({name: row_id for row_id, name in new.items() if name != row_id})
    try:
        probs = named.predict(named.train(method, student=student))
    finally:
        world.bank.known_as({})
    first = world.test_truth == 0
    n = int(first.sum())
    return float((rankdata(probs[:, 0])[first].mean() - (n + 1) / 2) / (len(first) - n))


def _tells(method: Method | OracleMethod, world: Planted, student: Student) -> str | None:
    json.dumps(dict(world.train(method, student=student).choices), allow_nan=False)
    return None


def _three_classes(method: Method | OracleMethod, student: Student | None) -> str | None:
    world = _small(method, k=3)
    n_supervisors = len(world.data.labels)
    with contextlib.suppress(InputError):
        name = "oracle_" if isinstance(method, OracleMethod) else "method"
        check_needs(name, method, student or world.student, n_supervisors=n_supervisors, n_classes=3)
        if student is None and world.predict(world.train(method)).shape[1] != 3:
            return "its predictions have not three columns"
    return None


def accuracies(
    methods: Sequence[Method | OracleMethod | Loss], *labellers: Labeller, seeds: int = 8, **settings: Any
) -> Floats:
    """(seeds, methods): accuracy of each method's, or loss's, student in planted worlds that differ by seed only.

    Args:
        methods: what is compared.
        labellers, settings: see `planted`.
        seeds: 0 to seeds - 1.
    """
    every = [_as_method(one) for one in methods]
    found: list[list[float]] = []
    for seed in range(seeds):
        world = planted(*labellers, seed=seed, **settings)
        found.append([world.accuracy(method, seed=Seed.of(seed)) for method in every])
    return np.array(found)
