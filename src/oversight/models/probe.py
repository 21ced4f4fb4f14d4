"""The probe: softmax regression on frozen features, its penalty (and, if asked, its layer) chosen on validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from oversight.errors import InputError
from oversight.models.backbone import Backbone
from oversight.models.features import features
from oversight.models.rows import answered, held_apart
from oversight.models.student import Loss, Validation, cross_entropy
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels, Rows

if TYPE_CHECKING:
    from oversight.models.solver import Design, Solution

PENALTIES: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A linear student on the features of a backbone.

    Attributes:
        backbone: the frozen network and its depth.
        penalties: L2 penalties to choose from (on standardised features, see `models.solver` for the objective).
        layers: depths to choose from; empty = the backbone's own depth only.
    """

    backbone: Backbone
    penalties: tuple[float, ...] = PENALTIES
    layers: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        bad = [p for p in self.penalties if not (p > 0 and math.isfinite(p))]
        if not self.penalties or bad:
            raise InputError(f"{self.name}: found penalties {list(self.penalties)}, expected numbers above 0")
        for layer in self.layers:
            self.backbone.at(layer)

    @property
    def name(self) -> str:
        """`minilm@4`."""
        return self.backbone.name

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """The backbone at every depth that may be chosen."""
        return tuple(self.backbone.at(layer) for layer in self.layers) or (self.backbone,)

    @property
    def train(self) -> str:
        """A linear model on frozen features."""
        return "probe"

    def check_loss(self, loss: Loss) -> None:
        """Any loss."""

    def fit(
        self,
        rows: Rows,
        labels: Labels,
        *,
        validation: Validation | None = None,
        loss: Loss = cross_entropy,
        weights: Floats | None = None,
        seed: Seed,
    ) -> FittedProbe:
        """See `Student.fit`.

        Penalty and layer are those whose cross-entropy fit is nearest to the validation labels (in cross-entropy). For
        any other loss the path from that fit is followed, and left where the choices agree most often with the
        validation labels, the earliest such place: with a loss that equals cross-entropy, at its start.

        Raises:
            InputError: weights with a loss other than cross-entropy, which cannot honour them.
        """
        if weights is not None and loss is not cross_entropy:
            raise InputError(f"{self.name}: a probe can weight rows only under cross-entropy, found another loss")
        refit = validation is None
        rows, labels, weights = answered(rows, labels, weights)
        fit_rows, fit_weights, seen = held_apart(rows, labels, weights, validation, seed=seed)
        tried, fits = self._fits(fit_rows, labels.on(fit_rows).probs, seen, fit_weights)
        best = min(range(len(tried)), key=lambda i: tried[i]["cross_entropy"])
        backbone, fit = self.backbone.at(int(tried[best]["layer"])), fits[best]
        chosen = {name: tried[best][name] for name in ("penalty", "layer", "gradient")}
        choices: dict[str, object] = {**chosen, "tried": tried}
        stop = 0
        if loss is not cross_entropy:
            path = _design(backbone, fit_rows, None).path(labels.on(fit_rows).probs, tried[best]["penalty"], loss=loss)
            agreed = _agreement(path, features(backbone, seen.rows), seen.labels)
            stop = int(np.argmax(agreed))
            fit = (path.coefficients[stop], path.intercepts[stop]) if stop else fit
            from oversight.models.solver import SNAPSHOTS

            choices |= {"progress": stop / SNAPSHOTS, "agreement": agreed.tolist()}
        if refit:
            again = _design(backbone, rows, weights)
            solved = (
                again.solve([labels.probs], [tried[best]["penalty"]])
                if loss is cross_entropy
                else again.path(labels.probs, tried[best]["penalty"], loss=loss)
            )
            fit = (solved.coefficients[stop], solved.intercepts[stop])
        return FittedProbe(backbone=backbone, coefficients=fit[0], intercepts=fit[1], choices=choices)

    def _fits(
        self, rows: Rows, targets: Floats, validation: Validation, weights: Floats | None
    ) -> tuple[list[dict[str, float]], list[tuple[Floats, Floats]]]:
        """For every layer and penalty the cross-entropy to the validation labels, in nats, and the fit."""
        tried: list[dict[str, float]] = []
        fits: list[tuple[Floats, Floats]] = []
        for backbone in self.backbones:
            solved = _design(backbone, rows, weights).solve([targets] * len(self.penalties), self.penalties)
            probs = solved.probs(features(backbone, validation.rows))
            scores = -(validation.labels.probs * np.log(np.maximum(probs, 1e-300))).sum(2).mean(1)
            for i, penalty in enumerate(self.penalties):
                found = {"layer": backbone.blocks, "penalty": penalty, "cross_entropy": float(scores[i])}
                tried.append({**found, "gradient": float(solved.gradient[i])})
                fits.append((solved.coefficients[i], solved.intercepts[i]))
        return tried, fits


def _agreement(solution: Solution, x: Floats, labels: Labels) -> Floats:
    """(m,): share of rows whose choice is the one the labels make most probable."""
    return (solution.probs(x).argmax(2) == labels.probs.argmax(1)).mean(1)


@dataclass(frozen=True, kw_only=True)
class FittedProbe:
    """A fitted probe.

    Attributes:
        backbone: whose features it reads.
        coefficients: (d, k) float64, on the features as they come.
        intercepts: (k,) float64; zeros for preference pairs.
        choices: penalty, layer, and all that were tried.
    """

    backbone: Backbone
    coefficients: Floats
    intercepts: Floats
    choices: Mapping[str, object]

    def predict(self, rows: Rows) -> Floats:
        """(n, k) class probabilities."""
        logits = features(self.backbone, rows) @ self.coefficients + self.intercepts
        unnormalised = np.exp(logits - logits.max(1, keepdims=True))
        return unnormalised / unnormalised.sum(1, keepdims=True)


def _design(backbone: Backbone, rows: Rows, weights: Floats | None) -> Design:
    if weights is not None:
        from oversight.models.solver import Design

        return Design(features(backbone, rows), weights=weights, intercept=rows.others is None)
    return _shared_design(_Key(backbone, rows))


class _Key:
    """Features as a cache key: equal where weights and row ids are, wherever the weights lie."""

    def __init__(self, backbone: Backbone, rows: Rows) -> None:
        self.backbone, self.rows = backbone, rows
        self._content = (tuple(backbone.identity().items()), rows.ids)

    def __hash__(self) -> int:
        return hash(self._content)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, _Key) and self._content == other._content


@lru_cache(maxsize=2)
def _shared_design(key: _Key) -> Design:
    """The decomposition of the same rows, shared by every label set, penalty and method."""
    from oversight.models.solver import Design

    return Design(features(key.backbone, key.rows), intercept=key.rows.others is None)
