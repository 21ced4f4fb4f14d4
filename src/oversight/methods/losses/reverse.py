"""Losses with the weak label inside the logarithm: reverse CE and KL, symmetric CE, CACE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from oversight.methods.entry import Entry, of_loss
from oversight.methods.losses.checked import inside
from oversight.models.student import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

MOST_WEIGHT = 100.0


def smoothed(targets: Tensor, epsilon: float) -> Tensor:
    """(1 - epsilon) targets + epsilon / k."""
    return (1 - epsilon) * targets + epsilon / targets.shape[-1]


def reverse_rows(logits: Tensor, targets: Tensor, epsilon: float) -> Tensor:
    """(n,): -sum_j p_j log y~_j with y~ the smoothed weak label, in nats."""
    return -(logits.softmax(-1) * smoothed(targets, epsilon).log()).sum(-1)


@dataclass(frozen=True)
class ReverseCrossEntropy:
    """-sum_j p_j log y~_j: the student is pulled to what the weak label calls likely, least where it is unsure.

    Attributes:
        epsilon: smoothing of the weak label, y~ = (1 - epsilon) y + epsilon / k, in (0, 1]; keeps the logarithm finite.

    Source: Yao et al. 2025, arXiv:2502.11107, reverse cross-entropy, as in the code of Xu et al. 2025
        (Gengze/W2SG-Bregman).
    Differs: the weak label is smoothed by default; there epsilon is 0 and logarithms end at -100.
    """

    kind: ClassVar[str] = "reverse_ce"

    epsilon: float = 0.01

    def __post_init__(self) -> None:
        inside("epsilon", self.epsilon, 0, 1, open_low=True)

    def __call__(self, logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        """(n, k) logits and targets -> () nats; `progress` is not used."""
        return reverse_rows(logits, targets, self.epsilon).mean()


@dataclass(frozen=True)
class ReverseKL:
    """KL(p || y~) = -sum_j p_j log y~_j - H(p): 0 where the student says what the smoothed weak label says.

    Attributes:
        epsilon: smoothing of the weak label, in (0, 1]; see `ReverseCrossEntropy`.

    Source: Yao et al. 2025, arXiv:2502.11107, reverse KL, as in the code of Xu et al. 2025 (Gengze/W2SG-Bregman).
    Differs: smoothed by default; the sum over classes, there their mean.
    """

    kind: ClassVar[str] = "reverse_kl"

    epsilon: float = 0.01

    def __post_init__(self) -> None:
        inside("epsilon", self.epsilon, 0, 1, open_low=True)

    def __call__(self, logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        """(n, k) logits and targets -> () nats; `progress` is not used."""
        return reverse_rows(logits, targets, self.epsilon).mean() - cross_entropy(logits, logits.softmax(-1))


@dataclass(frozen=True)
class Symmetric:
    """alpha CE(y, p) + beta RCE(p, y~).

    Attributes:
        alpha: weight of cross-entropy, in [0, 100].
        beta: weight of reverse cross-entropy, in [0, 100]; 0 and alpha = 1 is naive.
        epsilon: smoothing of the weak label in the reverse part, in (0, 1].

    Source: Wang et al. 2019, arXiv:1908.06112; for weak-to-strong Xu et al. 2025, arXiv:2505.24313, with the weights of
        its code (Gengze/W2SG-Bregman).
    Differs: the weak label is smoothed by default in the reverse part.
    """

    kind: ClassVar[str] = "symmetric"

    alpha: float = 1.0
    beta: float = 0.1
    epsilon: float = 0.01

    def __post_init__(self) -> None:
        inside("alpha", self.alpha, 0, MOST_WEIGHT)
        inside("beta", self.beta, 0, MOST_WEIGHT)
        inside("epsilon", self.epsilon, 0, 1, open_low=True)

    def __call__(self, logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        """(n, k) logits and targets -> () nats; `progress` is not used."""
        forward = self.alpha * cross_entropy(logits, targets)
        if self.beta == 0:
            return forward
        return forward + self.beta * reverse_rows(logits, targets, self.epsilon).mean()


@dataclass(frozen=True)
class Cace:
    """Cross-entropy where the supervisor is sure, reverse cross-entropy where it is not: |y_1 - 1/2| >= c or below.

    Attributes:
        threshold: c, in [0, 0.5]; 0 is naive.
        epsilon: smoothing of the weak label in the reverse part, in (0, 1].

    Two classes only: the distance from 1/2 is not defined for more.

    Source: Xu et al. 2025, arXiv:2505.24313 (confidence-adaptive cross-entropy), and its code (Gengze/W2SG-Bregman),
        whose default threshold this is.
    Differs: the weak label is smoothed by default in the reverse part.
    """

    kind: ClassVar[str] = "cace"

    threshold: float = 0.01
    epsilon: float = 0.01
    classes = 2

    def __post_init__(self) -> None:
        inside("threshold", self.threshold, 0, 0.5)
        inside("epsilon", self.epsilon, 0, 1, open_low=True)

    def __call__(self, logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        """(n, 2) logits and targets -> () nats; `progress` is not used."""
        if logits.shape[-1] != 2:
            raise ValueError(f"cace: found {logits.shape[-1]} classes, expected 2")
        sure = (targets[:, 1] - 0.5).abs() >= self.threshold
        forward = -(targets * logits.log_softmax(-1)).sum(-1)
        return forward.where(sure, reverse_rows(logits, targets, self.epsilon)).mean()


ENTRIES = {
    "reverse_ce": Entry(
        make=of_loss(ReverseCrossEntropy),
        about="cross-entropy with student and weak label exchanged",
        paper="Yao et al. 2025, arXiv:2502.11107",
        family="losses",
        trials=({}, {"epsilon": 0.1}, {"epsilon": 0.001}),
    ),
    "reverse_kl": Entry(
        make=of_loss(ReverseKL),
        about="KL divergence of the student from the weak label, mode-seeking",
        paper="Yao et al. 2025, arXiv:2502.11107",
        family="losses",
        trials=({}, {"epsilon": 0.1}, {"epsilon": 0.001}),
    ),
    "symmetric": Entry(
        make=of_loss(Symmetric),
        about="cross-entropy plus a tenth of reverse cross-entropy",
        paper="Wang et al. 2019, arXiv:1908.06112; Xu et al. 2025, arXiv:2505.24313",
        family="losses",
        trials=({}, {"beta": 0.5}, {"beta": 1.0}),
    ),
    "cace": Entry(
        make=of_loss(Cace),
        about="cross-entropy where the supervisor is sure, reverse cross-entropy where it is not",
        paper="Xu et al. 2025, arXiv:2505.24313",
        family="losses",
        trials=({}, {"threshold": 0.1}, {"threshold": 0.25}),
    ),
}
