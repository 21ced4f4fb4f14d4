"""The probe: softmax regression on frozen features, its penalty (and, if asked, its layer) chosen on validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from oversight.errors import InputError
from oversight.models.backbone import Backbone
from oversight.models.batching import Place, Request, solutions
from oversight.models.features import features
from oversight.models.rows import answered, held_apart
from oversight.models.student import Loss, Validation, cross_entropy
from oversight.models.threads import one_thread
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels, Rows
from oversight.ties import DECIMALS, same_shares

if TYPE_CHECKING:
    from oversight.models.solver import Solution

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
        targets = labels.on(fit_rows).probs
        tried, fits = self._fits(fit_rows, targets, seen, fit_weights)
        best = min(range(len(tried)), key=lambda i: tried[i]["cross_entropy"])
        backbone, fit = self.backbone.at(int(tried[best]["layer"])), fits[best]
        penalties = (tried[best]["penalty"],)
        choices: dict[str, object] = {name: tried[best][name] for name in ("penalty", "layer", "gradient")}
        choices["tried"] = tried
        stop = 0
        if loss is not cross_entropy:
            (path,) = solutions([Request(Place(backbone, fit_rows), targets, penalties, loss)])
            agreed = _agreement(path, features(backbone, seen.rows), seen.labels)
            stop = int(np.argmax(agreed))
            fit = (path.coefficients[stop], path.intercepts[stop]) if stop else fit
            choices |= {"progress": stop / (len(agreed) - 1), "agreement": agreed.tolist()}
        if refit:
            (again,) = solutions([Request(Place(backbone, rows, weights), labels.probs, penalties, loss)])
            fit = (again.coefficients[stop], again.intercepts[stop])
        return FittedProbe(backbone=backbone, coefficients=fit[0], intercepts=fit[1], choices=choices)

    def _fits(
        self, rows: Rows, targets: Floats, validation: Validation, weights: Floats | None
    ) -> tuple[list[dict[str, float]], list[tuple[Floats, Floats]]]:
        """For every layer and penalty the cross-entropy to the validation labels, in nats, and the fit."""
        tried: list[dict[str, float]] = []
        fits: list[tuple[Floats, Floats]] = []
        places = [Place(backbone, rows, weights) for backbone in self.backbones]
        for place, solved in zip(
            places, solutions([Request(one, targets, self.penalties) for one in places]), strict=True
        ):
            probs = solved.probs(features(place.backbone, validation.rows))
            scores = -(validation.labels.probs * np.log(np.maximum(probs, 1e-300))).sum(2).mean(1)
            for i, penalty in enumerate(self.penalties):
                found = {"layer": place.backbone.blocks, "penalty": penalty, "cross_entropy": float(scores[i])}
                tried.append({**found, "gradient": float(solved.gradient[i])})
                fits.append((solved.coefficients[i], solved.intercepts[i]))
        return tried, fits


def _agreement(solution: Solution, x: Floats, labels: Labels) -> Floats:
    """(m,): share of rows whose choice is the one the labels make most probable; ties are shared."""
    return same_shares(solution.probs(x), labels.probs).mean(1).round(DECIMALS)


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
        x = features(self.backbone, rows)
        with one_thread():
            logits = x @ self.coefficients + self.intercepts
        unnormalised = np.exp(logits - logits.max(1, keepdims=True))
        return unnormalised / unnormalised.sum(1, keepdims=True)
