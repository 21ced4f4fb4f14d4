"""The probe: softmax regression on frozen features, its penalty (and, if asked, its layer) chosen on validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

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

FIRST_PLACE = 0.2
"""Progress from which on places are candidates: beyond every warm-up that ships."""
PENALTIES: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A linear student on the features of a backbone.

    Attributes:
        backbone: the frozen network and its depth.
        penalties: L2 penalties to choose from (on standardised features, see `models.solver` for the objective).
        layers: depths to choose from; empty = the backbone's own depth only.
    """

    kind: ClassVar[str] = "probe"

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
        any other loss a head is trained from zero (`models.path`) under that penalty and its two neighbours on the
        grid; of their places at progress FIRST_PLACE and later the one is taken whose choices agree most often with the
        validation labels: the latest of several, then the one of the largest penalty.

        `weights` count rows of any loss by their slopes: what a loss takes from the whole batch, such as a threshold,
        does not know them.
        """
        refit = validation is None
        rows, labels, weights = answered(rows, labels, weights)
        fit_rows, fit_weights, seen = held_apart(rows, labels, weights, validation, seed=seed)
        targets = labels.on(fit_rows).probs
        tried, fits = self._fits(fit_rows, targets, seen, fit_weights)
        best = min(range(len(tried)), key=lambda i: tried[i]["cross_entropy"])
        backbone, penalty = self.backbone.at(int(tried[best]["layer"])), tried[best]["penalty"]
        choices: dict[str, object] = {"penalty": penalty, "layer": backbone.blocks, "gradient": tried[best]["gradient"]}
        choices["tried"] = tried
        if loss is not cross_entropy:
            path = Path.of(Request(Place(backbone, fit_rows, fit_weights), targets, self._near(penalty), loss))
            at = path.best(seen)
            choices |= {"penalty": path.penalties[at], "progress": path.progress[at], "paths": path.told(seen)}
            if refit:
                progress, asked = path.progress[at], (path.penalties[at],)
                path = Path.of(Request(Place(backbone, rows, weights), labels.probs, asked, loss))
                at = path.progress.index(progress)
            return path.fitted(at, choices)
        fit = fits[best]
        if refit:
            (whole,) = solutions([Request(Place(backbone, rows, weights), labels.probs, (penalty,))])
            fit = (whole.coefficients[0], whole.intercepts[0])
        return FittedProbe(backbone=backbone, coefficients=fit[0], intercepts=fit[1], choices=choices)

    def _near(self, penalty: float) -> tuple[float, ...]:
        """A penalty and its neighbours on the grid, ascending."""
        grid = sorted(set(self.penalties))
        i = grid.index(penalty)
        return tuple(grid[max(0, i - 1) : i + 2])

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


@dataclass(frozen=True)
class Path:
    """Heads on the way from zero to the end of a training, under one penalty or several, one after the other.

    Attributes:
        backbone: whose features they read.
        solution: c heads.
        penalties, progress: (c,) of each.
    """

    backbone: Backbone
    solution: Solution
    penalties: tuple[float, ...]
    progress: tuple[float, ...]

    @classmethod
    def of(cls, asked: Request) -> Path:
        """The one that was asked for."""
        (found,) = solutions([asked])
        n = len(found.coefficients) // len(asked.penalties)
        return cls(
            asked.place.backbone,
            found,
            tuple(penalty for penalty in asked.penalties for _ in range(n)),
            tuple((j + 1) / n for _ in asked.penalties for j in range(n)),
        )

    def agreement(self, seen: Validation) -> Floats:
        """(c,): share of rows whose choice is the one that the labels make most probable; ties are shared."""
        probs = self.solution.probs(features(self.backbone, seen.rows))
        return same_shares(probs, seen.labels.on(seen.rows).probs).mean(1).round(DECIMALS)

    def best(self, seen: Validation) -> int:
        """The candidate that agrees best: the latest of several, then the one of the largest penalty."""
        agreed = self.agreement(seen)
        candidates = [i for i, progress in enumerate(self.progress) if progress >= FIRST_PLACE - 1e-9]
        return max(candidates, key=lambda i: (agreed[i], self.progress[i], self.penalties[i]))

    def told(self, seen: Validation) -> list[dict[str, object]]:
        """Penalty and agreement along its path, ready for JSON."""
        agreed = self.agreement(seen)
        return [
            {
                "penalty": penalty,
                "agreement": [float(a) for a, p in zip(agreed, self.penalties, strict=True) if p == penalty],
            }
            for penalty in dict.fromkeys(self.penalties)
        ]

    def fitted(self, at: int, choices: Mapping[str, object]) -> FittedProbe:
        """The head at one place."""
        return FittedProbe(
            backbone=self.backbone,
            coefficients=self.solution.coefficients[at],
            intercepts=self.solution.intercepts[at],
            choices=choices,
            path=self,
        )


@dataclass(frozen=True, kw_only=True)
class FittedProbe:
    """A fitted probe.

    Attributes:
        backbone: whose features it reads.
        coefficients: (d, k) float64, on the features as they come.
        intercepts: (k,) float64; zeros for preference pairs.
        choices: penalty, layer, and all that were tried.
        path: on which it lies; None for the solution of cross-entropy.
    """

    backbone: Backbone
    coefficients: Floats
    intercepts: Floats
    choices: Mapping[str, object]
    path: Path | None = None

    @property
    def last(self) -> FittedProbe | None:
        """The end of the training under the penalty that was chosen."""
        if self.path is None:
            return None
        at = max(i for i, penalty in enumerate(self.path.penalties) if penalty == self.choices["penalty"])
        return self.path.fitted(at, {**self.choices, "progress": self.path.progress[at]})

    def best_by(self, validation: Validation) -> FittedProbe | None:
        """The candidate, by the rule of `Probe.fit`, that agrees best with these labels."""
        if self.path is None:
            return None
        at = self.path.best(validation)
        found = {"penalty": self.path.penalties[at], "progress": self.path.progress[at]}
        return self.path.fitted(at, {**self.choices, **found})

    def predict(self, rows: Rows) -> Floats:
        """(n, k) class probabilities."""
        x = features(self.backbone, rows)
        with one_thread():
            logits = x @ self.coefficients + self.intercepts
        unnormalised = np.exp(logits - logits.max(1, keepdims=True))
        return unnormalised / unnormalised.sum(1, keepdims=True)
