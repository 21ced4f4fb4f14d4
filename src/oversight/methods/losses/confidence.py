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
WHOLE = 1e-6
"""Of a row: sums of float32 weak labels are no better known."""
TIE = 64
"""Machine epsilons within which two margins tie: rounding decides nothing."""


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
    Differs: defined for k > 2; the ramp is continuous where it ends; rows on the border are shared.
    """
    share = aux_weight * min(1.0, progress / warmup_fraction)
    if share == 0:
        return cross_entropy(logits, targets)
    own = harden(logits.detach(), targets.mean(0))
    return cross_entropy(logits, (1 - share) * targets + share * own)


def harden(logits: Tensor, prior: Tensor) -> Tensor:
    """Guesses of one class each, whose classes hold `prior` of the batch; neither names nor order decide anything.

    Each row goes to argmax_j(log p_j - b_j), with b such that class j holds n * prior_j rows. For k = 2 this is a
    threshold on p_1 at the quantile 1 - prior_1, and the row in which the classes meet is split. For k > 2 counts are
    whole (largest remainders first; of classes whose remainders tie each is rounded up as often, and the guesses are
    the mean), and b is found by sweeps over the classes, each setting one b_j so that its count is right given the
    others, at most MOST_SWEEPS. Rows that tie on a border share what is left there, as ties do everywhere.

    Args:
        logits: (n, k) float.
        prior: (k,) float, sums to 1.

    Returns:
        (n, k) float: rows sum to 1; all but those on a border are one-hot.
    """
    import torch

    n, k = logits.shape
    scores = logits.log_softmax(-1)
    held = (prior.double() * n).tolist()
    named = [j for j, mass in enumerate(held) if mass > WHOLE]
    if k == 2 or len(named) == 2:  # a class that nobody names changes nothing
        i, j = named if len(named) == 2 else (0, 1)
        shares = torch.zeros_like(scores)
        shares[:, j] = _ends_at(scores[:, j] - scores[:, i], held[j], torch.ones_like(scores[:, j]))
        shares[:, i] = 1 - shares[:, j]
        return shares.to(logits.dtype)
    ways = _whole_counts(held, n, scores.mean(0).tolist())
    return (sum(_balanced(scores, counts) for counts in ways) / len(ways)).to(logits.dtype)  # pyright: ignore


def _whole_counts(held: list[float], n: int, seen: list[float]) -> list[list[int]]:
    """Whole numbers that sum to n, largest remainders of `held` first: one way, or one for each of those that tie.

    Classes that tie stand in the order of `seen`, a number that follows them whatever they are called; of t that tie
    for m rows each is rounded up in m of t ways.
    """
    whole = [int(mass + WHOLE) for mass in held]
    rest, left = [mass - one for mass, one in zip(held, whole, strict=True)], n - sum(whole)
    order = sorted(range(len(held)), key=lambda j: (-rest[j], seen[j]))
    if left == 0:
        return [whole]
    at = rest[order[left - 1]]
    above = [j for j in order if rest[j] > at + WHOLE]
    tied = [j for j in order if abs(rest[j] - at) <= WHOLE]
    m = left - len(above)
    found: list[list[int]] = []
    for first in range(len(tied) if m < len(tied) else 1):
        up = {*above, *(tied[(first + i) % len(tied)] for i in range(m))}
        found.append([one + (j in up) for j, one in enumerate(whole)])
    return found


def _ends_at(margin: Tensor, mass: float, room: Tensor) -> Tensor:
    """(n,) how much of each row is taken, at most `room`, so that all of it is `mass`: the largest margins first.

    Rows within TIE epsilons of the one in which the mass ends share what is left to them in proportion to their room.
    """
    import torch

    if mass <= 0:
        return torch.zeros_like(room)
    order = torch.argsort(margin, descending=True)
    upto = room[order].double().cumsum(0)
    last = int(torch.searchsorted(upto, max(mass - WHOLE, 0.0)).clamp(max=len(order) - 1))
    end = margin[order[last]]
    near = TIE * torch.finfo(margin.dtype).eps * (1 + end.abs())
    above = torch.where(margin > end + near, room, torch.zeros_like(room))
    at = torch.where((margin - end).abs() <= near, room, torch.zeros_like(room))
    share = ((mass - above.sum()) / at.sum()).clamp(0, 1)
    return above + share * at


def _balanced(scores: Tensor, counts: list[int]) -> Tensor:
    """(n, k) guesses with these counts for several classes; see `harden`."""
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
    """The best class of every row, but for what must move for class j to hold counts[j] rows: the cheapest first."""
    import torch

    k = len(counts)
    shares = torch.nn.functional.one_hot(margins.argmax(1), k).to(margins.dtype)
    for _ in range(k * k):
        spare = (shares.double().sum(0) - torch.tensor(counts, device=shares.device)).tolist()
        pairs = [(i, j) for i in range(k) for j in range(k) if spare[i] > WHOLE and spare[j] < -WHOLE]
        if not pairs:
            break
        costs = {(i, j): margins[:, i] - margins[:, j] for i, j in pairs}
        full, lacking = min(pairs, key=lambda one: float(costs[one][shares[:, one[0]] > 0].min()))
        moved = _ends_at(
            torch.where(shares[:, full] > 0, -costs[full, lacking], -torch.inf),
            min(spare[full], -spare[lacking]),
            shares[:, full].clone(),
        )
        shares[:, full] -= moved
        shares[:, lacking] += moved
    return shares


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
