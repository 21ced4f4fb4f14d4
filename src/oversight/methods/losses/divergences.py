"""f-divergences between the student and the weak label: D_f(p || y) = sum_j y_j f(p_j / y_j), f(1) = 0.

The divergences are those of any textbook. That they serve as losses of weak-to-strong generalization, p the student and
y the weak label, is from Yao et al. 2025, arXiv:2506.03109, of which a summary could be read, neither text nor code:
whether its losses are scaled or smoothed like these is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from oversight.methods.entry import Entry, of_loss
from oversight.methods.losses.checked import inside
from oversight.methods.losses.reverse import smoothed

if TYPE_CHECKING:
    from torch import Tensor

TINY = 1e-12


@dataclass(frozen=True)
class KL:
    """KL(y || p): the gradient of cross-entropy, and 0 where the student says what the weak label says."""

    kind: ClassVar[str] = "kl"

    def __call__(self, logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        """(n, k) logits and targets -> () nats; `progress` is not used."""
        return (targets * (targets.clamp_min(TINY).log() - logits.log_softmax(-1))).sum(-1).mean()


@dataclass(frozen=True)
class JensenShannon:
    """KL(p || m) / 2 + KL(y || m) / 2 with m = (p + y) / 2, in [0, ln 2].

    f(t) = (t ln t - (t + 1) ln((t + 1) / 2)) / 2.
    """

    kind: ClassVar[str] = "jensen_shannon"

    def __call__(self, logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        """(n, k) logits and targets -> () nats; `progress` is not used."""
        import torch

        log_p, log_y = logits.log_softmax(-1), targets.clamp_min(TINY).log()
        log_m = torch.logaddexp(log_p, log_y) - torch.tensor(2.0, dtype=logits.dtype).log()
        own = log_p.exp() * (log_p - log_m)
        return ((own + targets * (log_y - log_m)) / 2).sum(-1).mean()


@dataclass(frozen=True)
class Hellinger:
    """Squared Hellinger distance sum_j (sqrt p_j - sqrt y_j)^2 = 2 - 2 sum_j sqrt(p_j y_j), in [0, 2].

    f(t) = (sqrt t - 1)^2.
    """

    kind: ClassVar[str] = "hellinger"

    def __call__(self, logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        """(n, k) logits and targets -> (), no unit; `progress` is not used."""
        affinity = (logits.log_softmax(-1) / 2).exp() * targets.sqrt()
        return (2 - 2 * affinity.sum(-1)).mean()


@dataclass(frozen=True)
class TotalVariation:
    """sum_j |p_j - y_j| / 2, in [0, 1]; f(t) = |t - 1| / 2. Not smooth where the two are equal."""

    kind: ClassVar[str] = "total_variation"

    def __call__(self, logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        """(n, k) logits and targets -> (), no unit; `progress` is not used."""
        return ((logits.softmax(-1) - targets).abs().sum(-1) / 2).mean()


@dataclass(frozen=True)
class ChiSquare:
    """Pearson's sum_j (p_j - y~_j)^2 / y~_j with the smoothed weak label y~; f(t) = (t - 1)^2.

    Attributes:
        epsilon: y~ = (1 - epsilon) y + epsilon / k, in (0, 1]: without it a label of probability 0 has no bound.
    """

    kind: ClassVar[str] = "chi_square"

    epsilon: float = 0.1

    def __post_init__(self) -> None:
        inside("epsilon", self.epsilon, 0, 1, open_low=True)

    def __call__(self, logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        """(n, k) logits and targets -> (), no unit; `progress` is not used."""
        weak = smoothed(targets, self.epsilon)
        return ((logits.softmax(-1) - weak) ** 2 / weak).sum(-1).mean()


PAPER = "this project, after Yao et al. 2025, arXiv:2506.03109"
ENTRIES = {
    "kl": Entry(
        make=of_loss(KL),
        about="KL divergence of the weak label from the student: naive's gradient",
        paper="EleutherAI/w2s 2024 (code)",
        family="losses",
    ),
    "jensen_shannon": Entry(
        make=of_loss(JensenShannon), about="Jensen-Shannon divergence, bounded", paper=PAPER, family="losses"
    ),
    "hellinger": Entry(
        make=of_loss(Hellinger), about="squared Hellinger distance, bounded", paper=PAPER, family="losses"
    ),
    "total_variation": Entry(
        make=of_loss(TotalVariation), about="total variation distance, bounded", paper=PAPER, family="losses"
    ),
    "chi_square": Entry(
        make=of_loss(ChiSquare),
        about="Pearson's chi-square divergence of the student from the smoothed weak label",
        paper=PAPER,
        family="losses",
        trials=({}, {"epsilon": 0.2}, {"epsilon": 0.05}),
    ),
}
