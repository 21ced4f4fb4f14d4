"""Threads belong to the work: the same bits whatever the process has, and the process has the same afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import threadpoolctl
import torch

from oversight.methods.losses import Confidence
from oversight.models.backbone import Backbone
from oversight.models.batching import designs
from oversight.models.checkpoint import Checkpoint
from oversight.models.features import extract
from oversight.models.network import Network
from oversight.models.probe import Probe
from oversight.models.student import Loss, Validation, cross_entropy
from oversight.models.threads import one_thread
from oversight.tasks.split import Seed
from oversight.tasks.task import Labels, Rows

Floats = npt.NDArray[np.float64]


@pytest.fixture
def with_threads() -> Iterator[Callable[[int], None]]:
    """with_threads(n): torch and BLAS work on n threads until the test ends."""
    before = torch.get_num_threads()
    with threadpoolctl.threadpool_limits():

        def choose(n: int) -> None:
            threadpoolctl.threadpool_limits(n)
            torch.set_num_threads(n)

        yield choose
    torch.set_num_threads(before)


def numbers_of_threads() -> set[int]:
    return {torch.get_num_threads(), *(one["num_threads"] for one in threadpoolctl.threadpool_info())}


def test_within_there_is_one_thread_and_afterwards_as_many_as_before(with_threads: Callable[[int], None]) -> None:
    with_threads(2)
    with one_thread():
        assert numbers_of_threads() == {1}
        with one_thread():
            pass
        assert numbers_of_threads() == {1}
    assert numbers_of_threads() == {2}


def test_an_error_within_brings_the_threads_back(with_threads: Callable[[int], None]) -> None:
    with_threads(2)
    with pytest.raises(ZeroDivisionError), one_thread():
        _ = 1 / 0
    assert numbers_of_threads() == {2}


@pytest.mark.parametrize("loss", [cross_entropy, Confidence()])
def test_a_probe_has_the_same_bits_under_one_thread_and_two(
    bert: Checkpoint, plant: Callable[..., Rows], with_threads: Callable[[int], None], loss: Loss
) -> None:
    """Enough rows and features for two threads to share the products and the decomposition."""
    backbone = Backbone(checkpoint=bert, precision="float32", device="cpu")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 150))
    y = 1 / (1 + np.exp(-x[:, 0] - rng.normal(size=len(x))))
    rows = plant(backbone, x)
    labels = Labels.of(rows, np.stack([1 - y, y], 1), source="test")
    some = rows.take(range(700, 1000))
    found: list[bytes] = []
    for n in (1, 2):
        with_threads(n)
        designs.clear()
        checks = Validation(rows=some, labels=labels.on(some))
        fitted = Probe(backbone=backbone, penalties=(1e-3, 0.1)).fit(
            rows.take(range(700)), labels, validation=checks, loss=loss, seed=Seed.of(0)
        )
        found.append(fitted.predict(rows).tobytes() + repr(fitted.choices).encode())
    assert found[0] == found[1]


# Passes of a network go side by side.


PRECISIONS = ("float32", "bfloat16")
DEPTHS = (0, 2, 3)


def network_of(bert: Checkpoint, precision: str = "float32") -> Network:
    network = Network(Backbone(checkpoint=bert, precision=precision, device="cpu"), depth=3)
    if precision != "float32":
        network.cast()
    return network


def batches_of(network: Network, sentences: Callable[..., list[str]], n: int = 7) -> list[list[tuple[int, ...]]]:
    """Of 48 texts of up to 60 words each: products that two threads would share."""
    ids = network.tokenize(sentences(48 * n, shortest=20, longest=60)).ids
    return [list(ids[48 * i : 48 * (i + 1)]) for i in range(n)]


def hooks_of(network: Network) -> list[Any]:
    return [
        hook
        for one in network.model.modules()
        for hook in (*one._forward_hooks.values(), *one._forward_pre_hooks.values())
    ]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_passes_have_the_same_bits_under_one_two_and_three_threads(
    bert: Checkpoint, sentences: Callable[..., list[str]], with_threads: Callable[[int], None], precision: str
) -> None:
    network = network_of(bert, precision)
    batches = batches_of(network, sentences)
    found: list[list[dict[int, bytes]]] = []
    for n in (1, 2, 3):
        with_threads(n)
        passes = network.passes(batches, 0, DEPTHS)
        found.append([{depth: states.tobytes() for depth, states in one.items()} for one in passes])
    assert [list(one) for one in found[0]] == [list(DEPTHS)] * len(batches)
    assert found[1] == found[0] and found[2] == found[0]


def test_passes_on_more_cores_than_the_process_has_threads_have_the_same_bits(
    bert: Checkpoint, sentences: Callable[..., list[str]], with_threads: Callable[[int], None]
) -> None:
    """As where a worker is lent the cores of idle ones."""
    network = network_of(bert)
    batches = batches_of(network, sentences)
    with_threads(1)
    found = [[one[3].tobytes() for one in network.passes(batches, 0, [3], cores=cores)] for cores in (None, 1, 3)]
    assert found[1] == found[0] and found[2] == found[0]
    assert numbers_of_threads() == {1}


def test_passes_side_by_side_come_in_order_and_are_those_done_alone(
    bert: Checkpoint, sentences: Callable[..., list[str]], with_threads: Callable[[int], None]
) -> None:
    network = network_of(bert)
    batches = batches_of(network, sentences)
    with_threads(3)
    together = list(network.passes(batches, 0, [3]))
    alone = [network.pooled(batch, 0, [3]) for batch in batches]
    assert [one[3].tobytes() for one in together] == [one[3].tobytes() for one in alone]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_every_pass_works_on_one_thread_and_as_many_go_side_by_side_as_there_are_threads(
    bert: Checkpoint, sentences: Callable[..., list[str]], with_threads: Callable[[int], None], n: int
) -> None:
    """The first n passes wait for each other, so the test would hang with fewer side by side."""
    network = network_of(bert)
    seen: list[tuple[int, int]] = []
    gate = threading.Barrier(n)

    def look(module: Any, inputs: Any) -> None:
        seen.append((threading.get_ident(), torch.get_num_threads()))
        if len(seen) <= n:
            gate.wait(60)

    handle = network.blocks[1].register_forward_pre_hook(look)
    with_threads(n)
    batches = batches_of(network, sentences, n=3 * n)
    list(network.passes(batches, 0, [3]))
    handle.remove()
    assert {threads for _, threads in seen} == {1}
    assert (len(seen), len({name for name, _ in seen})) == (3 * n, n)


@pytest.mark.parametrize("n", [1, 2])
def test_a_pass_that_fails_brings_threads_and_hooks_back(
    bert: Checkpoint, sentences: Callable[..., list[str]], with_threads: Callable[[int], None], n: int
) -> None:
    network = network_of(bert)
    batches = batches_of(network, sentences)
    before = [one[2].tobytes() for one in network.passes(batches, 0, [2])]
    with_threads(n)
    spoiled = [*batches[:3], [(10**6,)], *batches[3:]]
    with pytest.raises(IndexError):
        list(network.passes(spoiled, 0, [2]))
    assert (numbers_of_threads(), hooks_of(network)) == ({n}, [])
    assert [one[2].tobytes() for one in network.passes(batches, 0, [2])] == before


@pytest.mark.parametrize("n", [1, 2])
def test_passes_that_nobody_waits_for_bring_threads_and_hooks_back(
    bert: Checkpoint, sentences: Callable[..., list[str]], with_threads: Callable[[int], None], n: int
) -> None:
    network = network_of(bert)
    batches = batches_of(network, sentences)
    with_threads(n)
    passes = network.passes(batches, 0, [3])
    next(passes)
    assert hooks_of(network)
    del passes
    assert (numbers_of_threads(), hooks_of(network)) == ({n}, [])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_features_have_the_same_bits_under_one_thread_and_two(
    bert: Checkpoint,
    sentences: Callable[..., list[str]],
    rows_of: Callable[..., Rows],
    with_threads: Callable[[int], None],
    precision: str,
) -> None:
    """More tokens than go through a network at once, so that there are several batches."""
    backbone = Backbone(checkpoint=bert, precision=precision, device="cpu")
    rows = rows_of(sentences(500, shortest=10, longest=60))
    found: list[list[bytes]] = []
    for n in (1, 2):
        with_threads(n)
        found.append([one.tobytes() for one in extract(backbone, rows, depths=DEPTHS).features.values()])
    assert found[0] == found[1]
