"""Features of rows under a frozen network: extracted once, in batches that depend on the rows alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from oversight.models.backbone import Backbone
from oversight.models.finite import expect_finite
from oversight.models.network import TOKEN_BUDGET, Network
from oversight.tasks.task import Floats, Rows

if TYPE_CHECKING:
    from oversight.models.student import Student

Float32s = npt.NDArray[np.float32]
N_CHECKED = 64
KEPT_BYTES = 1 << 26


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """Features of the same rows at several depths of one network.

    Attributes:
        features: by depth, (n, d) float32; for preference pairs that of the first text minus that of the second.
        n_truncated: rows that had a text longer than the limit.
        errors: by depth, the largest cosine distance from float32 over a sample of rows; 0 in float32 itself.
        n_tokens: real tokens that went through the network.
    """

    features: Mapping[int, Float32s]
    n_truncated: int
    errors: Mapping[int, float]
    n_tokens: int

    @property
    def error(self) -> float:
        """The largest of all depths."""
        return max(self.errors.values())


def batches(lengths: Sequence[int], *, budget: int) -> list[list[int]]:
    """Positions in batches of near-equal length: sorted by (length, position), at most `budget` padded tokens each.

    A text longer than the budget is a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    found: list[list[int]] = []
    for i in order:
        if found and lengths[i] * (len(found[-1]) + 1) <= budget:
            found[-1].append(i)
        else:
            found.append([i])
    return found


def extract(
    backbone: Backbone,
    rows: Rows,
    *,
    depths: Sequence[int],
    tick: Callable[[float], None] | None = None,
    cores: int | None = None,
) -> Extracted:
    """One pass over all texts, read at every depth asked for.

    Rows go in the order of their ids, so neither the order of the file nor who asks changes a batch.

    Args:
        backbone: its own `depth` does not count here.
        rows: n rows.
        depths: which states to keep; the blocks beyond the deepest are not run.
        tick: called with the fraction done.
        cores: to use on a processor; None = as many as torch has threads. The features do not depend on it.

    Raises:
        StepError: the network gives states that are no numbers.
    """
    texts = sorted({*rows.texts, *(rows.others or ())})
    network = Network(backbone, depth=max(depths))
    tokens = network.tokenize(texts)
    lengths = [len(ids) for ids in tokens.ids]
    plan = batches(lengths, budget=TOKEN_BUDGET.get(network.device.split(":")[0], TOKEN_BUDGET["cpu"]))
    sample = _sample(plan)
    exact = (
        _run(network, tokens.ids, tokens.pad, [sample], depths, None, None) if network.precision != "float32" else None
    )
    network.cast()
    found = _run(network, tokens.ids, tokens.pad, plan, depths, tick, cores)
    errors = {k: 0.0 if exact is None else _cosine_distance(exact[k][sample], found[k][sample]) for k in depths}
    place = {text: i for i, text in enumerate(texts)}
    first = [place[text] for text in rows.texts]
    second = None if rows.others is None else [place[text] for text in rows.others]
    for k in depths:
        known = np.where(np.isfinite(found[k]).all(1), 0.0, np.nan)
        what = f"{backbone.checkpoint.name}: the states at depth {k} in {network.precision}"
        by_row = known[first] if second is None else known[first] + known[second]
        expect_finite(by_row, rows.ids, of=what, hint="other weights, or --precision float32")
    cut = tokens.truncated[first] | (False if second is None else tokens.truncated[second])
    return Extracted(
        features={k: found[k][first] if second is None else found[k][first] - found[k][second] for k in depths},
        n_truncated=int(np.sum(cut)),
        errors=errors,
        n_tokens=sum(lengths),
    )


def _run(
    network: Network,
    ids: Sequence[Sequence[int]],
    pad: int,
    plan: Sequence[Sequence[int]],
    depths: Sequence[int],
    tick: Callable[[float], None] | None = None,
    cores: int | None = None,
) -> dict[int, Float32s]:
    found: dict[int, Float32s] = {}
    total, done = sum(len(ids[i]) for batch in plan for i in batch), 0
    passes = network.passes([[ids[i] for i in batch] for batch in plan], pad, depths, cores=cores)
    for batch, states in zip(plan, passes, strict=True):
        for depth, values in states.items():
            if depth not in found:
                found[depth] = np.zeros((len(ids), values.shape[1]), np.float32)
            found[depth][list(batch)] = values
        done += sum(len(ids[i]) for i in batch)
        if tick:
            tick(done / total)
    return found


def _sample(plan: Sequence[Sequence[int]]) -> list[int]:
    everything = [i for batch in plan for i in batch]
    return everything[:: max(1, len(everything) // N_CHECKED)][:N_CHECKED]


def _cosine_distance(a: Float32s, b: Float32s) -> float:
    products = (a.astype(np.float64) * b).sum(1)
    norms = np.linalg.norm(a.astype(np.float64), axis=1) * np.linalg.norm(b.astype(np.float64), axis=1)
    return float(np.max(1 - products / np.maximum(norms, 1e-30)))


class FeatureBank:
    """Features known for the rows of a study, by backbone and row id."""

    def __init__(self) -> None:
        self._known: dict[Backbone, list[tuple[Mapping[str, int], Float32s]]] = {}
        self._other_names: Mapping[str, str] = {}
        self._found: dict[tuple[Backbone, tuple[str, ...]], Float32s] = {}

    def add(self, backbone: Backbone, ids: Sequence[str], features: Float32s) -> None:
        """Remember the features of these rows."""
        position = {row_id: i for i, row_id in enumerate(ids)}
        self._known.setdefault(_plain(backbone), []).append((position, features))

    def known_as(self, other_names: Mapping[str, str]) -> FeatureBank:
        """This bank, in which rows are found by these names (to ids) too."""
        self._other_names = other_names
        return self

    def find(self, backbone: Backbone, rows: Rows) -> Float32s | None:
        """(n, d) float32, or None where a row is not known. Many students ask for the same few rows."""
        asked = (backbone, rows.ids)
        found = self._found.get(asked)
        if found is None:
            found = self._gather(backbone, rows)
            if found is not None and found.nbytes <= KEPT_BYTES:
                self._found[asked] = found
        return found

    def _gather(self, backbone: Backbone, rows: Rows) -> Float32s | None:
        known = self._known.get(_plain(backbone), [])
        ids = [self._other_names.get(row_id, row_id) for row_id in rows.ids]
        for position, features in known:
            if all(row_id in position for row_id in ids):
                return features[[position[row_id] for row_id in ids]]
        homes = [next((one for one in known if row_id in one[0]), None) for row_id in ids]
        found = [home[1][home[0][row_id]] for home, row_id in zip(homes, ids, strict=True) if home is not None]
        return np.stack(found) if found and len(found) == len(homes) else None


def _plain(backbone: Backbone) -> Backbone:
    return replace(backbone, depth=backbone.blocks, pool=backbone.pooling)


_BANK: ContextVar[FeatureBank | None] = ContextVar("bank", default=None)


@contextlib.contextmanager
def using(bank: FeatureBank) -> Generator[None, None, None]:
    """Within this block `features` looks in `bank` first."""
    token = _BANK.set(bank)
    try:
        yield
    finally:
        _BANK.reset(token)


def feature_backbone(student: Student) -> Backbone | None:
    """The network whose features a method may read: the deepest that the student reads, else the one it trains."""
    if student.backbones:
        return max(student.backbones, key=lambda one: one.blocks)
    return getattr(student, "backbone", None)


def features(backbone: Backbone, rows: Rows) -> Floats:
    """Features of rows as a student reads them.

    Args:
        backbone: a network at one depth.
        rows: n rows.

    Returns:
        (n, d) float64: from the study's bank where the rows are known there, else extracted now.
    """
    bank, whole = _BANK.get(), backbone.whole
    known = None if bank is None else bank.find(whole, rows)
    if known is None:
        known = extract(whole, rows, depths=[whole.blocks]).features[whole.blocks]
    return known[:, : backbone.width].astype(np.float64)
