"""What a student is: a config that can be fitted to labels, and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from oversight.describe import kinded
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels, Rows

if TYPE_CHECKING:
    from torch import Tensor

    from oversight.models.backbone import Backbone


class Loss(Protocol):
    """A stateless function of one whole logical batch; anything remembered across batches is not a loss."""

    def __call__(self, logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
        """Mean loss over the batch, in nats.

        Args:
            logits: (n, k) float, student scores.
            targets: (n, k) float, labels; rows sum to 1.
            progress: fraction of training done, in [0, 1].
        """
        ...


@kinded("cross_entropy")
def cross_entropy(logits: Tensor, targets: Tensor, *, progress: float = 1.0) -> Tensor:
    """Mean of -sum_j targets_j log softmax(logits)_j, in nats.

    Args:
        logits: (n, k) float.
        targets: (n, k) float; rows sum to 1.
        progress: not used.

    Returns:
        () float.
    """
    return -(targets * logits.log_softmax(-1)).sum(-1).mean()


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Rows that no fit sees, with the labels by which it makes its choices (for the ceiling true ones)."""

    kind: ClassVar[str] = "validation"

    rows: Rows
    labels: Labels


@runtime_checkable
class Fitted(Protocol):
    """A trained student."""

    @property
    def choices(self) -> Mapping[str, object]:
        """What was chosen while fitting (penalty, layer, ...) and every value tried, ready for JSON."""
        ...

    def predict(self, rows: Rows) -> Floats:
        """(n, k) float64 class probabilities of `rows`, in their order."""
        ...


@runtime_checkable
class Followed(Protocol):
    """A trained student that knows other places of its training than the one that was chosen."""

    @property
    def last(self) -> Fitted | None:
        """The end of its training; None where there is no path."""
        ...

    def best_by(self, validation: Validation) -> Fitted | None:
        """The candidate that agrees best with these labels; None where there is no path."""
        ...


class Student(Protocol):
    """A config that can be fitted. Frozen data: fitting returns a new object and changes nothing."""

    @property
    def name(self) -> str:
        """What the user called the model, e.g. `minilm@4`."""
        ...

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """The frozen networks whose features it reads; empty for a student that needs none."""
        ...

    def check_loss(self, loss: Loss) -> None:
        """Refuse a loss that `fit` could not honour.

        Raises:
            InputError: which student, which losses it takes.
        """
        ...

    def fit(
        self,
        rows: Rows,
        labels: Labels,
        *,
        validation: Validation | None = None,
        loss: Loss = cross_entropy,
        weights: Floats | None = None,
        seed: Seed,
    ) -> Fitted:
        """Train on `labels` of `rows`; rows on which the supervisor abstained do not count.

        Args:
            rows: n rows.
            labels: labels of at least those rows.
            validation: where choices are made; None = on a grouped tenth of `rows`, then fitted again to all of them.
            loss: what is minimised. A student that cannot honour it raises InputError.
            weights: (n,) at least 0, how often each row counts; None = once.
            seed: of the initial weights, the order of rows and the held-out tenth.
        """
        ...


def trained_how(thing: object) -> str:
    """A word on how a student or a supervisor is trained: what it says itself, else the name of its class."""
    return str(getattr(thing, "train", type(thing).__name__.lower()))


def check_student(student: Student, *, n_rows: int, n_classes: int) -> None:
    """Let a student refuse what its `fit` could not do, before anything is computed; one without `check` takes all.

    Args:
        student: may have `check(*, n_rows, n_classes)`.
        n_rows: rows it will learn from, or somewhat fewer.
        n_classes: k.

    Raises:
        InputError: what it refuses.
    """
    check = getattr(student, "check", None)
    if check is not None:
        check(n_rows=n_rows, n_classes=n_classes)
