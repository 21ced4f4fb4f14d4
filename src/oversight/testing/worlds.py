"""Tasks of which everything is known: features are drawn, and their network exists by name only."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from oversight.methods.method import Method, OracleMethod, WeakData
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint
from oversight.models.features import FeatureBank, using
from oversight.models.probe import Probe
from oversight.models.student import Fitted, Student
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Ints, Labels, Rows, content_id
from oversight.ties import right_shares

Labeller = Callable[[Floats, Ints, np.random.Generator], Floats]
BLOCKS = 6
SEED = Seed.of(0)


class _ByName(Checkpoint):
    """A network that exists by name only; its features are in the bank."""

    @property
    def n_blocks(self) -> int:
        return BLOCKS

    @property
    def is_decoder(self) -> bool:
        return False


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A task of which everything is known, for one seed.

    Attributes:
        student: a probe on the planted features.
        data: what a method gets.
        truth: true labels of transfer and validation rows, for oracles.
        test, test_truth: rows that nobody trains on, and their classes.
        bank: features of all rows.
    """

    student: Probe
    data: WeakData
    truth: Labels
    test: Rows
    test_truth: Ints
    bank: FeatureBank

    @contextlib.contextmanager
    def known(self) -> Generator[None]:
        """Within this block the features are known."""
        with using(self.bank):
            yield

    def train(self, method: Method | OracleMethod, *, student: Student | None = None, seed: Seed = SEED) -> Fitted:
        """The method's student."""
        taught = student or self.student
        with self.known():
            if isinstance(method, OracleMethod):
                return method.train_with_truth(taught, self.data, self.truth, seed=seed)
            return method.train(taught, self.data, seed=seed)

    def predict(self, fitted: Fitted) -> Floats:
        """(n, k) on the test rows."""
        with self.known():
            return fitted.predict(self.test)

    def accuracy(self, method: Method | OracleMethod, *, student: Student | None = None, seed: Seed = SEED) -> float:
        """Of the method's student on the test rows."""
        return float(right_shares(self.predict(self.train(method, student=student, seed=seed)), self.test_truth).mean())


def flips(fraction: float, *, confidence: float = 0.9) -> Labeller:
    """Labels the truth with `confidence`, but names another class at random on a fraction of the rows."""

    def label(x: Floats, truth: Ints, rng: np.random.Generator) -> Floats:
        del x
        k = int(truth.max()) + 1
        wrong = rng.random(len(truth)) < fraction
        named = np.where(wrong, (truth + rng.integers(1, k, len(truth))) % k, truth)
        return np.where(np.eye(k)[named] > 0, confidence, (1 - confidence) / (k - 1))

    return label


def planted(
    *labellers: Labeller,
    n: int = 900,
    d: int = 8,
    k: int = 2,
    signal: float = 2.0,
    depths: int = 1,
    shared: float = 0.0,
    seed: int = 0,
) -> Planted:
    """Gaussian features whose first k - 1 directions hold the class, and supervisors who label by given rules.

    Rows are 60 % transfer, 10 % validation, 30 % test.

    Args:
        labellers: one per supervisor, a function of (features (n, d), classes (n,), generator) to probabilities (n, k);
            a row of NaN is an abstention. None = one who flips a quarter.
        n: rows.
        d: features, at least k - 1.
        k: classes.
        signal: distance between the class centres, in standard deviations.
        depths: at how many depths the network is read; the deepest has the features, others fewer of them.
        shared: added to every feature that the student sees, times the first one, over sqrt(d): with a large one the
            direction of the class is that of the largest variance. Labellers see the features without it.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(n) % k)
    x = rng.normal(size=(n, d))
    x[:, : k - 1] += signal * _simplex(k)[truth]
    mixed = x + shared / np.sqrt(d) * x[:, :1]
    content = hashlib.sha256(mixed.tobytes()).hexdigest()[:16]
    texts = tuple(f"row {i} of {content}" for i in range(n))
    ids = tuple(map(content_id, texts))
    rows = Rows(ids=ids, texts=texts, groups=ids)
    backbone = Backbone(checkpoint=_ByName(name="planted", path=Path(), commit=content), precision="float32")
    bank = FeatureBank()
    for depth in range(BLOCKS + 1 - depths, BLOCKS + 1):
        seen = mixed[:, : max(1, d * (depth - BLOCKS + depths) // depths)]
        bank.add(backbone.at(depth), ids, seen.astype(np.float32))
    transfer, validation, test = np.split(np.arange(n), [int(0.6 * n), int(0.7 * n)])
    every = [_labels(rows, one(x, truth, rng), f"supervisor {i}") for i, one in enumerate(labellers or (flips(0.25),))]
    on_transfer, on_validation = rows.take(transfer), rows.take(validation)
    return Planted(
        student=Probe(backbone=backbone),
        data=WeakData(
            rows=on_transfer,
            labels=tuple(one.on(on_transfer) for one in every),
            validation=on_validation,
            validation_labels=tuple(one.on(on_validation) for one in every),
        ),
        truth=Labels.of(rows.take(np.arange(int(0.7 * n))), np.eye(k)[truth[: int(0.7 * n)]], source="truth"),
        test=rows.take(test),
        test_truth=truth[test],
        bank=bank,
    )


def _simplex(k: int) -> Floats:
    """(k, k - 1): corners at distance 1 from each other."""
    corners = np.eye(k) - 1 / k
    basis = np.linalg.svd(corners)[2][: k - 1]
    return corners @ basis.T / np.sqrt(2)


def _labels(rows: Rows, probs: Floats, source: str) -> Labels:
    silent = np.asarray(np.isnan(probs).any(1), bool)
    given = np.where(silent[:, None], 1 / probs.shape[1], probs)
    return Labels.of(rows, given, source=source, answered=~silent)


def mean_interval(values: Floats, *, n_intervals: int = 1) -> tuple[float, float]:
    """95 % interval of a mean of independent values, such as gains over seeds (Student's t).

    Args:
        values: (n,), n at least 2.
        n_intervals: how many of these are meant to hold at once (Bonferroni).

    Returns:
        (low, high) in the unit of the values.
    """
    half = stdtrit(len(values) - 1, 1 - 0.025 / n_intervals) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)
