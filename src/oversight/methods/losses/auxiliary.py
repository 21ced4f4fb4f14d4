"""Losses that lean on what the student itself believes: product, entropy, window, AdaptConf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from oversight.methods.entry import Entry, of_loss
from oversight.methods.losses.checked import inside
from oversight.models.student import cross_entropy
from oversight.ties import TIE

if TYPE_CHECKING:
    from torch import Tensor

TINY = 1e-12
MOST_POWER = 100.0


def hardened(targets: Tensor) -> Tensor:
    """(n, k): all weight on the largest entry of each row, shared equally by those that tie with it.

    Entries are probabilities or logarithms of them, so what ties is within TIE.
    """
    largest = (targets >= targets.amax(-1, keepdim=True) - TIE).to(targets.dtype)
    return largest / largest.sum(-1, keepdim=True)


@dataclass(frozen=True)
class Product:
    """Cross-entropy to the product of the weak label and the student's own belief.

    target_j = p_j^beta y_j^alpha / sum of the same over classes, without gradient. alpha = 1 and beta = 0 is naive.

    Attributes:
        alpha: power of the weak label, in [0, 100].
        beta: power of the student's probability, in [0, 100].

    Source: openai/weak-to-strong, its product loss.
    Differs: in log space and in the precision of the logits.
    """

    kind: ClassVar[str] = "product"

    alpha: float = 1.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        inside("alpha", self.alpha, 0, MOST_POWER)
        inside("beta", self.beta, 0, MOST_POWER)

    def __call__(self, logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        """(n, k) logits and targets -> () nats; `progress` is not used."""
        weak = self.alpha * targets.clamp_min(TINY).log()
        return cross_entropy(logits, (self.beta * logits.detach().log_softmax(-1) + weak).softmax(-1))


@dataclass(frozen=True)
class Entropy:
    """(1 - a) CE(y, p) + a H(p): the student is paid for being sure; the gradient goes through H.

    Attributes:
        aux_weight: a, in [0, 1).

    Source: EleutherAI/w2s, whose version cuts the gradient of the second term and is therefore (1 - a) CE.
    Differs: the gradient is kept; a is the same throughout, there it grows over the first 100 updates.
    """

    kind: ClassVar[str] = "entropy"

    aux_weight: float = 0.5

    def __post_init__(self) -> None:
        inside("aux_weight", self.aux_weight, 0, 0.99)

    def __call__(self, logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        """(n, k) logits and targets -> () nats; `progress` is not used."""
        if self.aux_weight == 0:
            return cross_entropy(logits, targets)
        own = cross_entropy(logits, logits.softmax(-1))
        return (1 - self.aux_weight) * cross_entropy(logits, targets) + self.aux_weight * own


@dataclass(frozen=True)
class Window:
    """Cross-entropy on the rows of which the student is not sure: sum over max p < 1/k + r (1 - 1/k) 2 / n.

    For two classes that is max p < 0.5 + r. The mean is over all rows of the batch, those left out count 0; r = 0.5
    is naive.

    Attributes:
        radius: r, in (0, 0.5]; 0 = the median over the batch of how far weak labels are from equal shares (midweak).

    Source: EleutherAI/w2s, its confidence window loss.
    Differs: for k > 2 the distance from equal shares is scaled to [0, 0.5]; the median is of the batch, there of all
        training rows.
    """

    kind: ClassVar[str] = "window"

    radius: float = 0.15

    def __post_init__(self) -> None:
        inside("radius", self.radius, 0, 0.5)

    def __call__(self, logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        """(n, k) logits and targets -> () nats; `progress` is not used."""
        if self.radius == 0.5:
            return cross_entropy(logits, targets)
        radius = self.radius or float(away(targets).median())
        kept = (away(logits.detach().softmax(-1)) < radius).to(logits.dtype)
        return -(kept[:, None] * targets * logits.log_softmax(-1)).sum(-1).mean()


def away(probs: Tensor) -> Tensor:
    """(n,): how far the largest probability is from 1/k, scaled to [0, 0.5]; for two classes max p - 0.5."""
    equal = 1 / probs.shape[-1]
    return (probs.amax(-1) - equal) / (1 - equal) / 2


@dataclass(frozen=True)
class AdaptConf:
    """Each row mixes the weak label with the student's own choice, less of the latter the less the two agree.

    a_i = exp(c_own / T) / (exp(c_own / T) + exp(c_weak / T)), without gradient, at most 1/2, with c_own and c_weak the
    cross-entropies of the student to its own choice and to the weak one; times progress / warmup_fraction while that is
    below 1. Loss: mean of (1 - a_i) KL(y_i || p_i) + a_i c_own.

    Attributes:
        temperature: T, in (0, 100].
        warmup_fraction: in (0, 1].

    Source: Guo et al. 2024, arXiv:2402.03749, and its code, ggjy/vision_weak_to_strong (T = 0.5 on CIFAR-100, 4 on
        ImageNet; a warm-up of a quarter of the training where labels are noisy, none elsewhere).
    Differs: weak labels are probabilities, so there is no temperature of distillation; no term for true labels.
    """

    kind: ClassVar[str] = "adaptconf"

    temperature: float = 0.5
    warmup_fraction: float = 0.25

    def __post_init__(self) -> None:
        inside("temperature", self.temperature, 0, 100, open_low=True)
        inside("warmup_fraction", self.warmup_fraction, 0, 1, open_low=True)

    def __call__(self, logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        """(n, k) logits and targets -> () nats."""
        log_probs = logits.log_softmax(-1)
        own = -(hardened(log_probs.detach()) * log_probs).sum(-1)
        weak = -(hardened(targets) * log_probs).sum(-1)
        share = ((own - weak) / self.temperature).detach().sigmoid() * min(1.0, progress / self.warmup_fraction)
        misfit = (targets * (targets.clamp_min(TINY).log() - log_probs)).sum(-1)
        return ((1 - share) * misfit + share * own).mean()


ENTRIES = {
    "product": Entry(
        make=of_loss(Product),
        about="cross-entropy to the normalised product of weak label and own belief",
        paper="openai/weak-to-strong 2023, arXiv:2312.09390 (code)",
        family="losses",
        trials=({}, {"beta": 0.5}, {"alpha": 2.0}),
    ),
    "entropy": Entry(
        make=of_loss(Entropy),
        about="naive plus the entropy of the student's prediction, its gradient kept",
        paper="EleutherAI/w2s 2024 (code), with the gradient that it lacks",
        family="losses",
        trials=({}, {"aux_weight": 0.25}, {"aux_weight": 0.1}),
    ),
    "window": Entry(
        make=of_loss(Window),
        about="naive on the rows of which the student is not sure yet",
        paper="EleutherAI/w2s 2024 (code)",
        family="losses",
        trials=({}, {"radius": 0.0}, {"radius": 0.3}),
    ),
    "adaptconf": Entry(
        make=of_loss(AdaptConf),
        about="weak label and own choice mixed row by row, by how much the student disagrees",
        paper="Guo et al. 2024, arXiv:2402.03749",
        family="losses",
        trials=({}, {"temperature": 1.0}, {"temperature": 2.0}),
    ),
}
