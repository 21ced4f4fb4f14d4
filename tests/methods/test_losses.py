"""Every loss: its gradient, its identities, its numbers at the edge, and independence of the order of rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr, softmax
from torch import Tensor

from oversight.methods.losses.auxiliary import AdaptConf, Entropy, Product, Window, away, hardened
from oversight.methods.losses.confidence import BalancedConfidence, Confidence, MedianConfidence, balanced
from oversight.methods.losses.divergences import KL, ChiSquare, Hellinger, JensenShannon, TotalVariation
from oversight.methods.losses.reverse import Cace, ReverseCrossEntropy, ReverseKL, Symmetric, smoothed
from oversight.models.student import cross_entropy

LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "confidence": Confidence(),
    "confidence_median": MedianConfidence(),
    "confidence_balanced": BalancedConfidence(),
    "product": Product(),
    "entropy": Entropy(),
    "window": Window(),
    "midweak": Window(radius=0.0),
    "adaptconf": AdaptConf(),
    "reverse_ce": ReverseCrossEntropy(),
    "reverse_kl": ReverseKL(),
    "symmetric": Symmetric(),
    "cace": Cace(threshold=0.2),
    "kl": KL(),
    "jensen_shannon": JensenShannon(),
    "hellinger": Hellinger(),
    "total_variation": TotalVariation(),
    "chi_square": ChiSquare(),
}
SMOOTHING = {"reverse_ce", "reverse_kl", "symmetric", "cace", "chi_square"}
BY_ROW = {"cross_entropy", "product", "entropy", "window", "adaptconf", *SMOOTHING, "kl", "jensen_shannon"} | {
    "hellinger",
    "total_variation",
}


def batch(seed: int = 0, n: int = 9, k: int = 2, *, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(n, k, generator=draw, dtype=torch.float64)
    targets = torch.rand(n, k, generator=draw, dtype=torch.float64) ** 2 + 0.01
    return logits.to(dtype), (targets / targets.sum(1, keepdim=True)).to(dtype)


def gradient(loss: Callable[..., Tensor], logits: Tensor, targets: Tensor, *, progress: float = 1.0) -> Tensor:
    leaf = logits.clone().requires_grad_(True)
    (found,) = torch.autograd.grad(loss(leaf, targets, progress=progress), leaf)
    return found


def frozen(loss: Callable[..., Tensor], logits: Tensor, targets: Tensor) -> Callable[[Tensor], Tensor]:
    """The loss as a function of logits whose parts without gradient stay as they are at `logits`.

    Written out from the definitions, so that central differences see what autograd must not.
    """
    p = logits.softmax(-1)
    log = Tensor.log_softmax
    if isinstance(loss, Product):
        target = p**loss.beta * targets**loss.alpha
        return lambda x: cross_entropy(x, target / target.sum(-1, keepdim=True))
    if isinstance(loss, Window):
        kept = away(p) < (loss.radius or float(away(targets).median()))
        return lambda x: -(targets * log(x, -1)).sum(-1)[kept].sum() / len(x)
    if isinstance(loss, AdaptConf):
        own, weak = (-(hardened(one) * p.log()).sum(-1) / loss.temperature for one in (p, targets))
        share = own.exp() / (own.exp() + weak.exp())
        choice = hardened(p)
        entropy = (targets * targets.log()).sum(-1)
        return lambda x: (
            (1 - share) * (entropy - (targets * log(x, -1)).sum(-1)) - share * (choice * log(x, -1)).sum(-1)
        ).mean()
    return lambda x: loss(x, targets, progress=1.0)


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_that_of_finite_differences(name: str, k: int) -> None:
    loss = LOSSES[name]
    if k > getattr(loss, "classes", k):
        pytest.skip("defined for two classes")
    logits, targets = batch(1, k=k)
    value, step = frozen(loss, logits, targets), 1e-6
    expected = torch.zeros_like(logits)
    for i in range(logits.shape[0]):
        for j in range(k):
            moved = torch.zeros_like(logits)
            moved[i, j] = step
            expected[i, j] = (value(logits + moved) - value(logits - moved)) / (2 * step)
    torch.testing.assert_close(gradient(loss, logits, targets), expected, atol=2e-8, rtol=1e-5)


IDENTITIES: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "no weight on the own guess": (Confidence(aux_weight=0), cross_entropy),
    "no weight, median": (MedianConfidence(aux_weight=0), cross_entropy),
    "product without the student": (Product(beta=0), cross_entropy),
    "no entropy": (Entropy(aux_weight=0), cross_entropy),
    "a window over everything": (Window(radius=0.5), cross_entropy),
    "symmetric without its reverse part": (Symmetric(beta=0), cross_entropy),
    "symmetric without its forward part": (Symmetric(alpha=0, beta=1), ReverseCrossEntropy()),
    "every row is sure enough": (Cace(threshold=0), cross_entropy),
    "no row is sure enough": (Cace(threshold=0.5), ReverseCrossEntropy()),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_at_the_edge_of_its_settings_a_loss_is_another(name: str) -> None:
    loss, same = IDENTITIES[name]
    logits, targets = batch(2, n=40)
    for progress in (0.0, 0.1, 1.0):
        torch.testing.assert_close(
            loss(logits, targets, progress=progress), same(logits, targets, progress=progress), atol=1e-12, rtol=1e-12
        )
        torch.testing.assert_close(gradient(loss, logits, targets), gradient(same, logits, targets), atol=1e-12, rtol=0)


@pytest.mark.parametrize("loss", [KL(), JensenShannon(), Hellinger(), TotalVariation()])
def test_a_divergence_is_zero_where_student_and_label_agree_and_positive_elsewhere(loss: Any) -> None:
    logits, targets = batch(3, k=3)
    agreeing = targets.log() + 5.0
    assert abs(float(loss(agreeing, targets, progress=1.0))) < 1e-12
    assert float(loss(logits, targets, progress=1.0)) > 1e-3


@pytest.mark.parametrize("loss", [ReverseKL(), ChiSquare()])
def test_a_smoothed_divergence_is_zero_where_the_student_says_the_smoothed_label(loss: Any) -> None:
    _, targets = batch(3, k=3)
    assert abs(float(loss(smoothed(targets, loss.epsilon).log(), targets, progress=1.0))) < 1e-12


def test_bounded_divergences_stay_within_their_bounds() -> None:
    logits = torch.tensor([[60.0, -60.0]], dtype=torch.float64)
    targets = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    for loss, most in ((JensenShannon(), math.log(2)), (Hellinger(), 2.0), (TotalVariation(), 1.0)):
        assert float(loss(logits, targets, progress=1.0)) == pytest.approx(most, abs=1e-9)


def test_kl_has_the_gradient_of_cross_entropy() -> None:
    logits, targets = batch(4, k=3)
    torch.testing.assert_close(gradient(KL(), logits, targets), gradient(cross_entropy, logits, targets))


@given(seed=st.integers(0, 10_000), k=st.integers(2, 5))
@settings(max_examples=25, deadline=None)
def test_divergences_agree_with_scipy(seed: int, k: int) -> None:
    logits, targets = batch(seed, n=5, k=k)
    p, y = softmax(logits.numpy(), axis=1), targets.numpy()
    m = (p + y) / 2
    expected = {
        KL(): rel_entr(y, p).sum(1).mean(),
        JensenShannon(): (rel_entr(p, m).sum(1) + rel_entr(y, m).sum(1)).mean() / 2,
        Hellinger(): ((np.sqrt(p) - np.sqrt(y)) ** 2).sum(1).mean(),
        TotalVariation(): np.abs(p - y).sum(1).mean() / 2,
    }
    for loss, value in expected.items():
        assert float(loss(logits, targets, progress=1.0)) == pytest.approx(value, rel=1e-10)


def test_the_entropy_term_moves_the_student() -> None:
    """The fault of an earlier code: with the term's target cut from the gradient, it would be half of cross-entropy."""
    logits, targets = batch(5)
    found, plain = gradient(Entropy(), logits, targets), gradient(cross_entropy, logits, targets)
    assert (found - 0.5 * plain).abs().max() > 1e-3


def test_the_reverse_loss_pulls_least_where_the_student_is_unsure_of_a_far_label() -> None:
    """d/dl of -p log y is p (1 - p) log ratios: bounded in the student, unlike cross-entropy at a confident error."""
    targets = torch.tensor([[0.05, 0.95]], dtype=torch.float64)
    sure_and_wrong = torch.tensor([[8.0, 0.0]], dtype=torch.float64)
    reverse, forward = (gradient(one, sure_and_wrong, targets).abs().max() for one in (ReverseKL(), cross_entropy))
    assert reverse < 0.02 < 0.9 < forward


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_value_and_gradient_are_finite_at_extreme_logits(name: str, soft: bool, dtype: torch.dtype) -> None:
    signs = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]], dtype=dtype)
    logits = (50 * signs).requires_grad_(True)
    label = torch.tensor([[0.3, 0.7]] if soft else [[0.0, 1.0]], dtype=dtype).expand(4, 2)
    value = LOSSES[name](logits, label, progress=1.0)
    (found,) = torch.autograd.grad(value, logits)
    assert torch.isfinite(value) and torch.isfinite(found).all()


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in {*SMOOTHING, "window", "midweak"}])
def test_a_class_that_nobody_names_changes_nothing(name: str) -> None:
    """Two classes against three of which the third is empty; where labels are smoothed the third gets its share, and
    the window is measured from equal shares, which three classes have elsewhere."""
    if name.startswith("confidence_"):
        pytest.skip("gives every class an equal share, the empty one too")
    logits, targets = batch(6, n=12)
    wider = torch.cat([logits, torch.full((12, 1), -800.0, dtype=torch.float64)], 1)
    padded = torch.cat([targets, torch.zeros(12, 1, dtype=torch.float64)], 1)
    loss = LOSSES[name]
    torch.testing.assert_close(loss(wider, padded, progress=1.0), loss(logits, targets, progress=1.0))
    torch.testing.assert_close(
        gradient(loss, wider, padded)[:, :2], gradient(loss, logits, targets), atol=1e-12, rtol=1e-9
    )


@pytest.mark.parametrize("epsilon_loss", [ReverseCrossEntropy, ReverseKL, Symmetric])
def test_a_class_that_nobody_names_changes_less_the_less_is_smoothed(epsilon_loss: Any) -> None:
    """The third class has its share of the smoothing: as that goes to 0, so does what it changes."""
    logits, targets = batch(6, n=12)
    wider = torch.cat([logits, torch.full((12, 1), -800.0, dtype=torch.float64)], 1)
    padded = torch.cat([targets, torch.zeros(12, 1, dtype=torch.float64)], 1)
    apart = [
        float((gradient(loss, wider, padded)[:, :2] - gradient(loss, logits, targets)).abs().max())
        for loss in (epsilon_loss(epsilon=e) for e in (1e-2, 1e-4, 1e-6))
    ]
    assert apart[0] > apart[1] > apart[2] and apart[2] < 1e-5


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_continuous_in_the_progress_of_training(name: str) -> None:
    """The fault of an earlier code: a share that climbs to a tenth of what it should be, then jumps to the whole. A
    share that grows from 0 to 1 in a fifth of the training moves by 1e-5 where progress moves by 2e-6."""
    logits, targets = batch(13, n=40)

    def at(progress: float) -> float:
        return float(LOSSES[name](logits, targets, progress=progress))

    for progress in (*np.linspace(0.0, 0.999, 41).tolist(), 0.1, 0.2, 0.25, 0.5):
        assert abs(at(progress + 1e-6) - at(max(0.0, progress - 1e-6))) < 1e-4


@pytest.mark.parametrize(
    ("loss", "end"), [(Confidence(), 0.2), (MedianConfidence(), 0.2), (BalancedConfidence(), 0.2), (AdaptConf(), 0.25)]
)
def test_the_share_of_the_own_guess_grows_evenly_to_the_end_of_the_warm_up_and_stays(loss: Any, end: float) -> None:
    """Half the way at half the warm-up, all of it at its end and ever after."""
    logits, targets = batch(14, n=40)
    start, middle, *rest = (loss(logits, targets, progress=p) for p in (0.0, end / 2, end, 0.6, 1.0))
    for later in rest:
        torch.testing.assert_close(later, rest[0])
    torch.testing.assert_close(middle - start, (rest[0] - start) / 2)
    assert abs(float(rest[0] - start)) > 1e-3


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_remembers_nothing_and_changes_nothing_that_it_is_given(name: str) -> None:
    """The fault of an earlier code: a list of past predictions that grows for ever, those of evaluations among them."""
    (logits, targets), others = batch(15, n=16), batch(16, n=16)
    copies = logits.clone(), targets.clone()
    before = LOSSES[name](logits, targets, progress=0.5)
    for progress in (0.1, 0.9):
        LOSSES[name](*others, progress=progress)
    assert torch.equal(LOSSES[name](logits, targets, progress=0.5), before)
    assert torch.equal(logits, copies[0]) and torch.equal(targets, copies[1])


@pytest.mark.parametrize("name", sorted(BY_ROW))
def test_two_rows_of_two_classes_are_not_taken_for_something_else(name: str) -> None:
    """The fault of an earlier code: a batch of two passed for a pair of outputs."""
    logits, targets = batch(17, n=2)
    rows = [LOSSES[name](logits[i : i + 1], targets[i : i + 1], progress=1.0) for i in range(2)]
    torch.testing.assert_close(LOSSES[name](logits, targets, progress=1.0), torch.stack(rows).mean())


@pytest.mark.parametrize("name", LOSSES)
def test_the_order_of_rows_does_not_count(name: str) -> None:
    logits, targets = batch(7, n=30)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    one, other = (LOSSES[name](*pair, progress=0.5) for pair in ((logits, targets), (logits[order], targets[order])))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", sorted(BY_ROW))
def test_a_loss_without_batch_statistics_is_the_mean_of_its_rows(name: str) -> None:
    logits, targets = batch(8, n=12)
    rows = [LOSSES[name](logits[i : i + 1], targets[i : i + 1], progress=1.0) for i in range(12)]
    torch.testing.assert_close(LOSSES[name](logits, targets, progress=1.0), torch.stack(rows).mean())


def test_the_median_threshold_names_half_the_batch() -> None:
    logits, targets = batch(9, n=40)
    tilted = targets.clone()
    tilted[:, 1] *= 20
    tilted /= tilted.sum(1, keepdim=True)
    loss = MedianConfidence(aux_weight=1.0)
    order = (logits[:, 1] - logits[:, 0]).argsort()
    guess = torch.zeros(40, 2, dtype=torch.float64)
    guess[order[:20], 0] = 1
    guess[order[20:], 1] = 1
    torch.testing.assert_close(loss(logits, tilted, progress=1.0), cross_entropy(logits, guess))


def test_balanced_labels_are_centred_log_odds_for_two_classes() -> None:
    _, targets = batch(10, n=20)
    odds = (targets[:, 1] / targets[:, 0]).log()
    torch.testing.assert_close(balanced(targets)[:, 1], (odds - odds.mean()).sigmoid())


def test_adaptconf_never_trusts_itself_more_than_the_supervisor() -> None:
    """Its share is at most 1/2: the value is at least half of KL, and with no warm-up passed it is KL."""
    logits, targets = batch(11, n=50)
    assert AdaptConf()(logits, targets, progress=0.0) == pytest.approx(float(KL()(logits, targets, progress=0.0)))
    assert AdaptConf()(logits, targets, progress=1.0) >= KL()(logits, targets, progress=1.0) / 2


@pytest.mark.parametrize(
    ("make", "settings", "named"),
    [
        (Product, {"alpha": -1}, "alpha: found -1"),
        (Entropy, {"aux_weight": 1.0}, "aux_weight: found 1.0"),
        (Window, {"radius": 0.6}, "radius: found 0.6"),
        (AdaptConf, {"temperature": 0.0}, r"temperature: found 0.0, expected a number in \(0, 100\]"),
        (ReverseKL, {"epsilon": 0.0}, "epsilon: found 0.0"),
        (Symmetric, {"beta": -0.1}, "beta: found -0.1"),
        (Cace, {"threshold": 0.7}, "threshold: found 0.7"),
        (ChiSquare, {"epsilon": float("nan")}, "epsilon: found nan"),
        (MedianConfidence, {"warmup_fraction": 0.0}, "warmup_fraction: found 0.0"),
    ],
)
def test_a_setting_outside_its_range_is_refused(make: Any, settings: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make(**settings)


def test_cace_refuses_three_classes() -> None:
    logits, targets = batch(12, k=3)
    with pytest.raises(ValueError, match="found 3 classes, expected 2"):
        Cace()(logits, targets, progress=1.0)
