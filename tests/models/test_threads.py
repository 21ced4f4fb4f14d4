"""Threads belong to the work: the same bits whatever the process has, and the process has the same afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest
import threadpoolctl
import torch

from oversight.methods.losses import Confidence
from oversight.models.backbone import Backbone
from oversight.models.batching import designs
from oversight.models.checkpoint import Checkpoint
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
