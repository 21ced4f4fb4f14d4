"""What theory says of one study: predictions of its gain beside the gain, and how alike its models are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy.typing as npt

from oversight.metrics.intervals import Estimate
from oversight.metrics.misfit import Bound, kl_bound, kl_divergence, squared_bound
from oversight.metrics.similarity import capa, error_consistency

ASSUMPTIONS = (
    "the student can be any member of a convex set of predictions (a softmax probe's is not convex)",
    "the true class probabilities are in that set",
    "of that set the student is the closest to the supervisor's labels, by squared error for the squared misfit and by "
    "KL(student || supervisor) for KL (cross-entropy, which most methods minimise, is the other order)",
    "it is so on rows like the test rows: no penalty, no early stopping, no error of estimation",
)
CAME_TRUE: Mapping[str, Mapping[str, int]] = {
    "squared": {"held": 0, "did not hold": 8, "not told apart": 12},
    "kl": {"held": 0, "did not hold": 8, "not told apart": 12},
}
"""How often the inequality was shown to hold, and to fail, in studies of real sets: benchmarks/results/theory.json."""
BOUNDS, PARTS = ("squared", "kl"), tuple(field.name for field in fields(Bound))
UNITS = {"squared": "Brier score", "kl": "NLL (nats)"}
SIMILARITIES = ("capa_student", "capa_ceiling", "errors_student", "errors_ceiling")


@dataclass(frozen=True, kw_only=True)
class Theory:
    """Predictions and similarities of one study on one test set. Nothing here is a prediction of accuracy.

    Attributes:
        squared: squared misfit, and gain in Brier score.
        kl: KL(student || supervisor), and gain in NLL, in nats.
        kl_weak_first: KL(supervisor || student): what cross-entropy minimises; bounds no gain here.
        similarity: of student and of ceiling to the supervisor: `capa_...`, and `errors_...` (error consistency).
    """

    squared: Bound
    kl: Bound
    kl_weak_first: Estimate
    similarity: Mapping[str, Estimate]

    @property
    def bounds(self) -> Mapping[str, Bound]:
        """`squared` and `kl`."""
        return {name: getattr(self, name) for name in BOUNDS}

    def flat(self) -> dict[str, Estimate]:
        """Every number by name: `squared_predicted`, `kl_surplus`, `capa_student`, ..."""
        parts = {f"{name}_{part}": getattr(one, part) for name, one in self.bounds.items() for part in PARTS}
        return {**parts, "kl_weak_first": self.kl_weak_first, **self.similarity}

    @classmethod
    def of(cls, flat: Mapping[str, Estimate]) -> Theory:
        """The inverse of `flat`."""
        bounds = {name: Bound(*(flat[f"{name}_{part}"] for part in PARTS)) for name in BOUNDS}
        likeness = {name: flat[name] for name in SIMILARITIES}
        return cls(**bounds, kl_weak_first=flat["kl_weak_first"], similarity=likeness)

    def as_json(self) -> dict[str, Any]:
        """The object in a study's JSON; undefined numbers are null."""
        bounds = {
            name: {
                **{part: getattr(one, part).as_json() for part in PARTS},
                "holds": one.holds,
                "unit": UNITS[name],
                "reason": one.surplus.reason,
            }
            for name, one in self.bounds.items()
        }
        likeness = {name: one.as_json() for name, one in self.similarity.items()}
        return {
            **bounds,
            "kl_weak_first": self.kl_weak_first.as_json(),
            "similarity": likeness,
            "assumptions": list(ASSUMPTIONS),
            "came_true": {name: dict(one) for name, one in CAME_TRUE.items()},
        }


def theory(probs: Mapping[str, npt.ArrayLike], labels: npt.ArrayLike, groups: npt.ArrayLike) -> Theory:
    """All of it from the predictions of `weak`, `student` and `ceiling`, each (s, n, k), on the same rows.

    Args:
        probs: by role; several supervisors by the mean of their probabilities.
        labels: (n,) true classes.
        groups: (n,) any values.
    """
    weak, student = probs["weak"], probs["student"]
    likeness = {f"capa_{role}": capa(probs[role], weak, labels, groups) for role in ("student", "ceiling")}
    likeness |= {
        f"errors_{role}": error_consistency(probs[role], weak, labels, groups) for role in ("student", "ceiling")
    }
    return Theory(
        squared=squared_bound(student, weak, labels, groups),
        kl=kl_bound(student, weak, labels, groups),
        kl_weak_first=kl_divergence(weak, student, groups),
        similarity=likeness,
    )
