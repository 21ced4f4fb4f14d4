"""The path of a loss against Adam itself: step by step where batches hold all rows, in effect where they do not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from oversight.errors import StepError
from oversight.methods.losses import Confidence
from oversight.methods.losses.auxiliary import Product
from oversight.models import path as path_module
from oversight.models.path import BATCH, EPOCHS, MEMORY, MOST_PACE, RATE, REACH, SNAPSHOTS, STEPS, pace
from oversight.models.solver import Design
from oversight.models.student import Loss, cross_entropy

Floats = npt.NDArray[np.float64]
_Heads = path_module._Heads  # pyright: ignore[reportPrivateUsage]


def rows(n: int, d: int, *, seed: int) -> Floats:
    """Features of different means and scales."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * np.exp(rng.normal(size=d)) + rng.normal(size=d) * 3


def soft(n: int, k: int, *, seed: int) -> Floats:
    return np.random.default_rng(1000 + seed).dirichlet(np.ones(k), n)


def learnable(n: int, d: int, k: int, *, seed: int) -> tuple[Floats, Floats]:
    """Features, and soft labels that are a noisy function of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    logits = x @ rng.normal(size=(d, k)) + rng.normal(size=(n, k))
    y = np.exp(logits - logits.max(1, keepdims=True))
    return x, y / y.sum(1, keepdims=True)


def copy_of_cross_entropy(logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
    return cross_entropy(logits, targets)


def leaning(logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
    """Not cross-entropy to any distribution, and not blind to a constant added to all classes."""
    return (3 + 9 * progress) * cross_entropy(logits, targets) + 0.1 * progress * logits.square().mean()


def trained_by_torch(
    x: Floats,
    y: Floats,
    loss: Loss,
    *,
    penalty: float = 0.0,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    batch: int | None = None,
    rounds: int = STEPS,
    intercept: bool = True,
    seed: int = 0,
) -> list[Floats]:
    """Probabilities of the rows after every twentieth part of the training, by torch.optim.Adam on k columns from zero.

    `batch` None = all rows.
    """
    mean = x.mean(0) if intercept else np.zeros(x.shape[1])
    z = torch.from_numpy((x - mean) / np.sqrt(((x - mean) ** 2).mean(0)))
    targets, k = torch.from_numpy(y), y.shape[1]
    w, b = (torch.zeros(shape, dtype=torch.float64, requires_grad=True) for shape in ((x.shape[1], k), (k,)))
    optimiser = torch.optim.Adam([w, b] if intercept else [w], lr=lr, betas=betas)
    generator = torch.Generator().manual_seed(seed)
    size, found = batch or len(x), list[Floats]()
    per_round = -(-len(x) // size)
    for epoch in range(rounds):
        order = torch.arange(len(x)) if batch is None else torch.randperm(len(x), generator=generator)
        for i, part in enumerate(order.split(size)):
            optimiser.zero_grad()
            progress = (epoch * per_round + i + 1) / (rounds * per_round)
            value = loss(z[part] @ w + b, targets[part], progress=progress)
            (value + penalty / 2 * (w - w.mean(1, keepdim=True)).square().sum()).backward()
            optimiser.step()
        if (epoch + 1) % (rounds // SNAPSHOTS) == 0:
            found.append((z @ w + b).detach().softmax(1).numpy())
    return found


# Where a batch holds all rows


def test_a_step_stands_for_as_many_updates_as_the_reference_would_have_made() -> None:
    assert STEPS * pace(1400, 384) == EPOCHS * 11
    assert pace(100_000, 384) == pace(100, 1) == MOST_PACE
    assert pace(60, 384) * RATE * STEPS * 384**0.5 == pytest.approx(REACH)


@pytest.mark.parametrize("loss", [copy_of_cross_entropy, Confidence(), Product()])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize(("shape", "penalty"), [((100, 6), 0.0), ((100, 6), 0.3), ((20, 50), 1e-3)])
def test_of_few_rows_the_path_is_that_of_adam_on_one_column_per_class(
    loss: Loss, k: int, shape: tuple[int, int], penalty: float
) -> None:
    """Also where rows are fewer than features, and the solver of cross-entropy turns them into other coordinates."""
    x, y = learnable(*shape, k, seed=k)
    step = pace(*x.shape)
    expected = trained_by_torch(x, y, loss, penalty=penalty, lr=RATE * step, betas=(0.9, MEMORY**step))
    path = Design(x).path(y, penalty, loss=loss)
    np.testing.assert_allclose(path.probs(x), np.stack(expected), atol=1e-6)


def test_without_intercept_it_is_that_of_adam_too_and_opposite_rows_get_opposite_answers() -> None:
    x, y = learnable(90, 5, 2, seed=1)
    step = pace(*x.shape)
    expected = trained_by_torch(x, y, Confidence(), lr=RATE * step, betas=(0.9, MEMORY**step), intercept=False)
    path = Design(x, intercept=False).path(y, 0.0, loss=Confidence())
    np.testing.assert_allclose(path.probs(x), np.stack(expected), atol=1e-6)
    np.testing.assert_allclose(path.probs(-x), path.probs(x)[:, :, ::-1], atol=1e-12)


# Where it does not


@pytest.mark.parametrize("loss", [copy_of_cross_entropy, Confidence(), Product()])
@pytest.mark.parametrize(("n", "d", "k"), [(600, 120, 2), (1000, 60, 3)])
def test_of_many_rows_it_goes_where_adam_on_batches_goes(loss: Loss, n: int, d: int, k: int) -> None:
    """Momentum over ten steps is that over fifty updates, which lags at first (.015); there, confidence draws its line
    in every batch (.01 to .02). Two orders of the rows are up to .005 apart."""
    x, y = learnable(n, d, k, seed=n)
    path = Design(x).path(y, 0.0, loss=loss).probs(x)
    adam = trained_by_torch(x, y, loss, lr=RATE, batch=BATCH, rounds=EPOCHS)
    apart = np.abs(path - np.stack(adam)).mean((1, 2))
    assert (apart < 0.025).all()
    assert apart[-1] < (0.025 if isinstance(loss, Confidence) else 0.01)


def test_without_the_variance_of_the_draw_it_would_go_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above would prove nothing of it."""
    x, y = learnable(600, 120, 2, seed=600)
    adam = trained_by_torch(x, y, Product(), lr=RATE, batch=BATCH, rounds=EPOCHS)[-1]
    ours = Design(x).path(y, 0.0, loss=Product()).probs(x)[-1]
    monkeypatch.setattr(_Heads, "drawn", lambda self, slopes, pulled: torch.zeros_like(pulled))
    other = Design(x).path(y, 0.0, loss=Product()).probs(x)[-1]
    assert np.abs(other - adam).mean() > 2 * np.abs(ours - adam).mean()


def test_the_variance_of_a_batch_is_that_of_drawing_it() -> None:
    """Against the mean square of the gradients of many batches, drawn without replacement."""
    n = 400
    x, y = learnable(n, 3, 2, seed=5)
    heads = _Heads.of(Design(x), [y], [0.0])
    slopes = heads.slopes(heads.zeros(), [cross_entropy], 1.0)
    pulled = heads.pull(slopes)
    by_row = n * slopes[0, 0, :n, None] * torch.cat([heads.z[:n], torch.ones(n, 1)], 1)
    rng = np.random.default_rng(0)
    means = torch.stack([by_row[rng.permutation(n)[:BATCH]].mean(0) for _ in range(20_000)])
    drawn = (means - pulled[0, 0]).square().mean(0)
    assert heads.drawn(slopes, pulled)[0, 0].tolist() == pytest.approx(drawn.tolist(), rel=0.05)


def test_of_no_more_rows_than_a_batch_nothing_is_drawn() -> None:
    x, y = learnable(BATCH, 3, 2, seed=5)
    heads = _Heads.of(Design(x), [y], [0.0])
    slopes = heads.slopes(heads.zeros(), [cross_entropy], 1.0)
    assert not heads.drawn(slopes, heads.pull(slopes)).any()


@pytest.mark.parametrize("k", [2, 3])
def test_cross_entropy_of_many_rows_ends_near_its_minimum(k: int) -> None:
    """In choices: probabilities still move where the head has not grown to its full length."""
    x, y = learnable(3000, 6, k, seed=k)
    design = Design(x)
    end, least = design.path(y, 1e-3, loss=copy_of_cross_entropy), design.solve([y], [1e-3])
    assert (end.probs(x)[-1].argmax(1) == least.probs(x)[0].argmax(1)).mean() > 0.98


# What a path is


def test_places_are_equally_far_apart_and_the_last_is_the_end() -> None:
    told: list[float] = []

    def listening(logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        told.append(progress)
        return cross_entropy(logits, targets)

    path = Design(rows(20, 3, seed=1)).path(soft(20, 2, seed=1), 0.1, loss=listening)
    assert told == [(t + 1) / STEPS for t in range(STEPS)]
    assert len(path.coefficients) == SNAPSHOTS
    assert path.iterations.tolist() == [STEPS * (j + 1) // SNAPSHOTS for j in range(SNAPSHOTS)]


def test_the_confidence_loss_makes_the_student_surer() -> None:
    x, y = learnable(200, 5, 2, seed=1)
    sure, plain = (
        np.abs(Design(x).path(y, 0.01, loss=loss).probs(x)[-1, :, 1] - 0.5).mean()
        for loss in (Confidence(), copy_of_cross_entropy)
    )
    assert sure > plain + 0.02


def test_a_loss_times_a_number_has_the_path_of_a_penalty_divided_by_it() -> None:
    """Adam knows no scale but the one that it adds to the root, which moves a thousandth of a step at most."""

    def five_fold(logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        return 5 * cross_entropy(logits, targets)

    x, y = learnable(200, 5, 3, seed=2)
    one, other = Design(x).path(y, 0.5, loss=five_fold), Design(x).path(y, 0.1, loss=copy_of_cross_entropy)
    np.testing.assert_allclose(one.probs(x), other.probs(x), atol=1e-4)


def test_renamed_classes_rename_the_probabilities() -> None:
    x, y = learnable(60, 5, 3, seed=3)
    one, other = (Design(x).path(labels, 0.01, loss=Product()).probs(x) for labels in (y, y[:, [2, 0, 1]]))
    np.testing.assert_allclose(other, one[:, :, [2, 0, 1]], atol=1e-6)


def test_the_order_of_rows_does_not_matter() -> None:
    x, y = learnable(150, 5, 2, seed=4)
    order = np.random.default_rng(0).permutation(150)
    one, other = Design(x).path(y, 0.01, loss=Product()), Design(x[order]).path(y[order], 0.01, loss=Product())
    np.testing.assert_allclose(other.probs(x), one.probs(x), atol=1e-6)


@pytest.mark.parametrize("loss", [Product(), copy_of_cross_entropy])
def test_a_row_given_twice_counts_as_one_of_weight_two(loss: Loss) -> None:
    x, y = learnable(60, 4, 2, seed=6)
    weights = np.where(np.arange(60) < 20, 2.0, 1.0)
    weighted = Design(x, weights=weights).path(y, 0.01, loss=loss)
    twice = Design(np.vstack([x, x[:20]])).path(np.vstack([y, y[:20]]), 0.01, loss=loss)
    np.testing.assert_allclose(weighted.probs(x), twice.probs(x), atol=1e-6)


def test_a_constant_column_changes_nothing() -> None:
    x, y = learnable(80, 4, 2, seed=7)
    more = np.hstack([x, np.full((80, 1), 7.0)])
    one, other = Design(x).path(y, 0.01, loss=Confidence()), Design(more).path(y, 0.01, loss=Confidence())
    np.testing.assert_allclose(other.probs(more), one.probs(x), atol=1e-6)
    assert not other.coefficients[:, -1].any()


def test_the_path_is_the_same_every_time() -> None:
    x, y = rows(100, 5, seed=1), soft(100, 3, seed=1)
    one, other = (Design(x).path(y, 0.01, loss=Confidence()) for _ in range(2))
    np.testing.assert_array_equal(one.coefficients, other.coefficients)


@pytest.mark.parametrize("k", [2, 3])
def test_a_loss_that_is_not_finite_is_named(k: int) -> None:
    def broken(logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        return cross_entropy(logits, targets) * (float("nan") if progress > 0.5 else 1.0)

    with pytest.raises(StepError, match=r"loss broken: its value or gradient at progress 0\.505 is not finite"):
        Design(rows(20, 3, seed=1)).path(soft(20, k, seed=1), 0.1, loss=broken)


# Many paths at once


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([2, 3]), st.integers(2, 9), st.sampled_from([Confidence(), leaning]))
def test_a_path_alone_and_among_others_agree(seed: int, k: int, m: int, loss: Loss) -> None:
    rng = np.random.default_rng(seed)
    n = 50 + 100 * (seed % 2)
    x = rows(n, 5, seed=seed)
    design = Design(x)
    targets = [soft(n, k, seed=seed + i) for i in range(m)]
    penalties = [float(p) for p in 10 ** rng.uniform(-4, 1, m)]
    together = design.paths(targets, penalties, [loss] * m)
    for i in range(m):
        alone = design.path(targets[i], penalties[i], loss=loss)
        np.testing.assert_allclose(together[i].probs(x), alone.probs(x), atol=1e-6)


@pytest.mark.parametrize("k", [2, 3])
def test_paths_of_different_losses_side_by_side_are_those_alone(k: int) -> None:
    x, y = rows(50, 5, seed=k), [soft(50, k, seed=i) for i in range(2)]
    design, losses = Design(x), [Confidence(), leaning, Product(), copy_of_cross_entropy]
    targets, penalties = [y[0]] * 4 + [y[1]] * 4, [0.1] * 4 + [0.01] * 4
    together = design.paths(targets, penalties, losses * 2)
    assert not np.allclose(together[0].probs(x)[-1], together[3].probs(x)[-1], atol=1e-3)
    for i, one in enumerate(together):
        alone = design.path(targets[i], penalties[i], loss=losses[i % 4])
        np.testing.assert_allclose(one.probs(x), alone.probs(x), atol=1e-6)


def test_the_loss_sees_the_rows_of_one_problem_at_a_time() -> None:
    told: set[tuple[torch.Size, torch.Size]] = set()

    def listening(logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        told.add((logits.shape, targets.shape))
        return cross_entropy(logits, targets)

    Design(rows(21, 3, seed=1)).paths([soft(21, 2, seed=i) for i in range(3)], [0.1] * 3, [listening] * 3)
    assert told == {((21, 2), (21, 2))}
