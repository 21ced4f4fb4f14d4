"""Evidential learning from several supervisors: the student's scores are evidence of a Dirichlet over class shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from oversight.methods.entry import Entry
from oversight.methods.losses.auxiliary import hardened
from oversight.methods.losses.checked import inside
from oversight.methods.method import Needs, WeakData, mean_labels
from oversight.methods.regularisers import TUNED
from oversight.methods.several import TWO_OR_MORE
from oversight.models.student import Fitted, Student, Validation, cross_entropy
from oversight.tasks.split import Seed

if TYPE_CHECKING:
    from torch import Tensor

MOST_DIVERGENCE = 2e5
MOST_SCORE = 40.0


@dataclass(frozen=True)
class EvidentialLoss:
    """-log of the Dirichlet's mean at the label, and a penalty on evidence against the label.

    With scores z, Dirichlet parameters alpha_j = 1 + exp(z_j) and S = sum_j alpha_j, the loss of a row is

        sum_j y_j (log S - log alpha_j) + kl_weight min(1, progress) KL(Dir(1 + exp(z) (1 - y)) || Dir(1)).

    The first part is cross-entropy on the scores softplus(z). Its label y is the supervisors' mixed with the student's
    own choice: y = (1 - c) targets + c [j = argmax z], c = aux_weight min(1, progress / warmup_fraction).

    Attributes:
        kl_weight: at least 0.
        aux_weight: final share of the student's own choice, in [0, 1].
        warmup_fraction: share of training in which that share grows from 0, in (0, 1].

    Source: Cui et al. 2024, arXiv:2406.03199, as in the code of one of its authors (BriansIDP/LLMweakTOstrong, loss.py,
        `edl_logconf_step_loss_fn`: evidence exp(z), 1e-4, 0.25 and 0.25); Sensoy et al. 2018, arXiv:1806.01768.
    Differs: the share of the own choice grows without a jump where the warm-up ends.
    """

    kind: ClassVar[str] = "evidential_loss"

    kl_weight: float = 1e-4
    aux_weight: float = 0.25
    warmup_fraction: float = 0.25

    def __post_init__(self) -> None:
        inside("kl_weight", self.kl_weight, 0, 1)
        inside("aux_weight", self.aux_weight, 0, 1)
        inside("warmup_fraction", self.warmup_fraction, 0, 1, open_low=True)

    def __call__(self, logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        """(n, k) scores and labels -> () nats."""
        import torch

        share = self.aux_weight * min(1.0, progress / self.warmup_fraction)
        own = hardened(logits.detach()).to(targets.dtype)
        label = (1 - share) * targets + share * own
        fit = cross_entropy(torch.nn.functional.softplus(logits), label)
        weight = self.kl_weight * min(1.0, progress)
        return fit if weight == 0 else fit + weight * against(logits, label).mean().to(fit.dtype)


def against(logits: Tensor, label: Tensor) -> Tensor:
    """(n,) KL(Dir(a) || Dir(1)) with a = 1 + exp(logits) (1 - label), at most 2e5; scores above 40 count as 40.

    KL = log Gamma(A) - sum_j log Gamma(a_j) - log Gamma(k) + sum_j (a_j - 1) (psi(a_j) - psi(A)),   A = sum_j a_j.
    """
    import torch

    evidence = logits.double().clamp(max=MOST_SCORE).exp() * (1 - label.double())
    a = 1 + evidence
    total = a.sum(-1, keepdim=True)
    least = torch.lgamma(torch.tensor(float(a.shape[-1]), dtype=torch.float64, device=a.device))
    moved = (evidence * (torch.digamma(a) - torch.digamma(total))).sum(-1)
    found = torch.lgamma(total[..., 0]) - torch.lgamma(a).sum(-1) - least + moved
    return found.clamp(max=MOST_DIVERGENCE)


@dataclass(frozen=True)
class Evidential:
    """The evidential loss to the mean of the supervisors' probabilities.

    The first part of the loss is linear in the label, so to the mean label it is the mean of the losses to each
    supervisor's.

    Attributes:
        kl_weight, aux_weight, warmup_fraction: see `EvidentialLoss`.

    Source: see `EvidentialLoss`; equal weights of supervisors are `loss_weight = mean` there.
    Differs: the penalty is that of the mean label, not the mean of the penalties; labels of rows, not of tokens; a
        student hands out softmax(z), not the Dirichlet's mean softmax(softplus(z)): the same choice, other
        probabilities.
    """

    kind: ClassVar[str] = "evidential"

    kl_weight: float = 1e-4
    aux_weight: float = 0.25
    warmup_fraction: float = 0.25

    def __post_init__(self) -> None:
        _ = self.loss

    @property
    def loss(self) -> EvidentialLoss:
        """With these settings."""
        return EvidentialLoss(self.kl_weight, self.aux_weight, self.warmup_fraction)

    @property
    def needs(self) -> Needs:
        """Two supervisors or more, and a student that is fine-tuned: a probe's scores sum to 0, so they cannot say how
        much evidence there is."""
        return Needs(supervisors=TWO_OR_MORE, losses=(self.loss,), trains=TUNED)

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        seen = Validation(rows=data.validation, labels=mean_labels(data.validation_labels, source="mean"))
        label = mean_labels(data.labels, source="mean")
        return student.fit(data.rows, label, validation=seen, loss=self.loss, seed=seed)


ENTRIES = {
    "evidential": Entry(
        make=Evidential,
        about="scores as evidence of a Dirichlet, taught by the mean of several supervisors",
        paper="Cui et al. 2024, arXiv:2406.03199 (Bayesian WeakS-to-Strong), as in its authors' code",
        family="several supervisors",
        trials=({}, {"aux_weight": 0.0}, {"kl_weight": 1e-2}),
    )
}
