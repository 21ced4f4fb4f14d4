"""The auxiliary confidence loss and its variants: the student is paid for believing its own guess."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from oversight.describe import kinded
from oversight.methods.entry import Entry, of_loss
from oversight.methods.losses.checked import inside
from oversight.models.student import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

MOST_SWEEPS = 30
SURE = 1e-6


@kinded("confidence_loss")
def confidence_loss(
    logits: Tensor, targets: Tensor, *, progress: float, aux_weight: float = 0.5, warmup_fraction: float = 0.2
) -> Tensor:
    """Cross-entropy to weak labels mixed with the student's own hardened guess.

    With c = aux_weight * min(1, progress / warmup_fraction) the target is (1 - c) * targets + c * harden(logits, ...),
    the classes of the batch in the proportions of the weak labels. No gradient flows through the hardened guess.

    Args:
        logits: (n, k) float, student scores of one logical batch.
        targets: (n, k) float, weak soft labels; rows sum to 1.
        progress: fraction of training done, in [0, 1].
        aux_weight: final share of the student's own guess, in [0, 1].
        warmup_fraction: share of training in which that share grows from 0, in (0, 1].

    Returns:
        () float: mean over the batch, in nats.

    Source: Burns et al. 2023, arXiv:2312.09390, appendix A.4 (auxiliary confidence loss).
    Differs: defined for k > 2; the ramp is continuous where it ends; ties are broken by row order.
    """
    share = aux_weight * min(1.0, progress / warmup_fraction)
    if share == 0:
        return cross_entropy(logits, targets)
    own = harden(logits.detach(), targets.mean(0))
    return cross_entropy(logits, (1 - share) * targets + share * own)


def harden(logits: Tensor, prior: Tensor) -> Tensor:
    """One-hot guesses whose class counts match `prior`.

    Each row goes to argmax_j(log p_j - b_j), with b such that class j is chosen for n * prior_j rows (rounded, largest
    remainders first). For k = 2 this is a threshold on p_1 at the quantile 1 - prior_1. For k > 2 b is found by sweeps
    over the classes, each sweep setting one b_j so that its count is right given the others; it ends when all are, or
    after MOST_SWEEPS: rows that tie are then moved, those that lose least first, the first rows first.

    Args:
        logits: (n, k) float.
        prior: (k,) float, sums to 1.

    Returns:
        (n, k) float: one 1 per row.
    """
    import torch

    n, k = logits.shape
    counts = _whole_counts(prior, n)
    scores = logits.log_softmax(-1)
    if k == 2:
        order = torch.argsort(scores[:, 1] - scores[:, 0], descending=True, stable=True)
        chosen = torch.zeros(n, dtype=torch.long, device=logits.device)
        chosen[order[: counts[1]]] = 1
    else:
        chosen = _balanced_choice(scores, counts)
    return torch.nn.functional.one_hot(chosen, k).to(logits.dtype)


def _whole_counts(prior: Tensor, n: int) -> list[int]:
    """n * prior as whole numbers that sum to n, largest remainders first."""
    exact = [float(p) * n for p in prior]
    whole = [int(x + 1e-9) for x in exact]
    by_remainder = sorted(range(len(exact)), key=lambda j: (whole[j] - exact[j], j))
    for j in by_remainder[: n - sum(whole)]:
        whole[j] += 1
    return whole


def _balanced_choice(scores: Tensor, counts: list[int]) -> Tensor:
    import torch

    n, k = scores.shape
    shift = torch.zeros(k, dtype=scores.dtype, device=scores.device)
    wanted = torch.tensor(counts, device=scores.device)
    for _ in range(MOST_SWEEPS):
        chosen = (scores - shift).argmax(1)
        if torch.equal(torch.bincount(chosen, minlength=k), wanted):
            break
        for j in range(k):
            rivals = (scores - shift).index_fill(1, torch.tensor([j], device=scores.device), -torch.inf).amax(1)
            margin = (scores[:, j] - rivals).sort(descending=True).values
            above = margin[counts[j] - 1] if counts[j] > 0 else margin[0] + 2
            below = margin[counts[j]] if counts[j] < n else margin[-1] - 2
            shift[j] = (above + below) / 2
    return _settled(scores - shift, counts)


def _settled(margins: Tensor, counts: list[int]) -> Tensor:
    """The best class of every row, but for the rows that must move for class j to be chosen counts[j] times."""
    import torch

    chosen = margins.argmax(1)
    spare = (torch.bincount(chosen, minlength=len(counts)).cpu() - torch.tensor(counts)).tolist()
    for full in range(len(counts)):
        for lacking in range(len(counts)):
            n_moved = min(spare[full], -spare[lacking])
            if n_moved > 0:
                rows = (chosen == full).nonzero()[:, 0]
                cost = margins[rows, full] - margins[rows, lacking]
                chosen[rows[torch.argsort(cost, stable=True)[:n_moved]]] = lacking
                spare[full], spare[lacking] = spare[full] - n_moved, spare[lacking] + n_moved
    return chosen


@dataclass(frozen=True)
class Confidence:
    """`confidence_loss` with its settings, as a loss.

    Attributes:
        aux_weight: in [0, 1]; the paper uses 0.75 for its largest students, 0.5 otherwise.
        warmup_fraction: in (0, 1].
    """

    kind: ClassVar[str] = "confidence"

    aux_weight: float = 0.5
    warmup_fraction: float = 0.2

    def __post_init__(self) -> None:
        inside("aux_weight", self.aux_weight, 0, 1)
        inside("warmup_fraction", self.warmup_fraction, 0, 1, open_low=True)

    def __call__(self, logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        """See `confidence_loss`."""
        return confidence_loss(
            logits, targets, progress=progress, aux_weight=self.aux_weight, warmup_fraction=self.warmup_fraction
        )


@dataclass(frozen=True)
class MedianConfidence:
    """`confidence_loss` with a threshold that gives every class the same share: for k = 2 the median prediction.

    Attributes:
        aux_weight: in [0, 1].
        warmup_fraction: in (0, 1].

    Source: EleutherAI/w2s, its logconf loss.
    Differs: the median is of the logical batch, there of the last 32 predictions, which would be memory across batches
        (their buffer also took in what was predicted for evaluation); the warm-up is a share of the training, there
        100 updates.
    """

    kind: ClassVar[str] = "confidence_median"

    aux_weight: float = 0.5
    warmup_fraction: float = 0.2

    def __post_init__(self) -> None:
        inside("aux_weight", self.aux_weight, 0, 1)
        inside("warmup_fraction", self.warmup_fraction, 0, 1, open_low=True)

    def __call__(self, logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        """(n, k) logits and targets -> () nats."""
        share = self.aux_weight * min(1.0, progress / self.warmup_fraction)
        if share == 0:
            return cross_entropy(logits, targets)
        equal = targets.new_full((targets.shape[-1],), 1 / targets.shape[-1])
        return cross_entropy(logits, (1 - share) * targets + share * harden(logits.detach(), equal))


@dataclass(frozen=True)
class BalancedConfidence:
    """`MedianConfidence` on weak labels from which the batch's lean to a class is taken.

    y' = softmax(log y - mean over the batch of log y); for k = 2 logit y'_1 = logit y_1 - mean logit y_1.

    Attributes:
        aux_weight: in [0, 1].
        warmup_fraction: in (0, 1].

    Source: EleutherAI/w2s, its logconf loss with balanced batches.
    Differs: as `MedianConfidence`.
    """

    kind: ClassVar[str] = "confidence_balanced"

    aux_weight: float = 0.5
    warmup_fraction: float = 0.2

    def __post_init__(self) -> None:
        inside("aux_weight", self.aux_weight, 0, 1)
        inside("warmup_fraction", self.warmup_fraction, 0, 1, open_low=True)

    def __call__(self, logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        """(n, k) logits and targets -> () nats."""
        loss = MedianConfidence(self.aux_weight, self.warmup_fraction)
        return loss(logits, balanced(targets), progress=progress)


def balanced(targets: Tensor) -> Tensor:
    """(n, k): softmax(log y - mean_i log y_i), probabilities below 1e-6 taken as 1e-6."""
    logs = targets.clamp_min(SURE).log()
    return (logs - logs.mean(0)).softmax(-1)


TRIALS = ({}, {"aux_weight": 0.25}, {"aux_weight": 0.75})
ENTRIES = {
    "confidence": Entry(
        make=of_loss(Confidence),
        about="naive mixed with the student's own hardened guess, adaptive threshold",
        paper="Burns et al. 2023, arXiv:2312.09390, appendix A.4",
        family="losses",
        trials=TRIALS,
    ),
    "confidence_median": Entry(
        make=of_loss(MedianConfidence),
        about="confidence with the median of the batch as threshold",
        paper="EleutherAI/w2s 2024 (code)",
        family="losses",
        trials=TRIALS,
    ),
    "confidence_balanced": Entry(
        make=of_loss(BalancedConfidence),
        about="confidence on weak labels without their lean to a class",
        paper="EleutherAI/w2s 2024 (code)",
        family="losses",
        trials=TRIALS,
    ),
}
