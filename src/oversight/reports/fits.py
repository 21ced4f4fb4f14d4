"""What fine-tuning left behind in `Study.choices`: settings, trials and learning curves, by role and seed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oversight.reports.words import clean

if TYPE_CHECKING:
    from oversight.reports.result import Result, Study

Fit = Mapping[str, Any]
TRUTH, WEAK_LABELS = "true labels", "weak labels"
NAMES = {"weak": "supervisor", "student": "student", "ceiling": "ceiling"}


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """One role that was fine-tuned.

    Attributes:
        role: weak, student or ceiling.
        model: its name.
        place: which of several supervisors, from 0.
        alone: whether no other model has this role.
        oracle: whether it is the student of a method that saw ground truth.
        fits: one per seed, as `Study.choices` holds them; each has a learning curve.
    """

    role: str
    model: str
    place: int
    alone: bool
    oracle: bool
    fits: tuple[Fit, ...]

    @property
    def name(self) -> str:
        """`student`, or `supervisor bow` where there are several."""
        return NAMES[self.role] if self.alone else f"{NAMES[self.role]} {self.model}"

    @property
    def against(self) -> str:
        """The labels of the validation rows that it is compared to."""
        if self.role != "student":
            return TRUTH
        return f"{TRUTH}: oracle" if self.oracle else WEAK_LABELS

    @property
    def searched(self) -> bool:
        """Whether several learning rates were tried."""
        return any(len(trials(fit)) > 1 for fit in self.fits)

    @property
    def n_undertrained(self) -> int:
        """Seeds whose training had not come to rest."""
        return sum(bool(fit.get("undertrained")) for fit in self.fits)


@dataclass(frozen=True, kw_only=True)
class Training:
    """The fine-tuned roles of a study; the same for all of its test sets.

    Attributes:
        study: the first of them.
        roles: supervisors, student, ceiling, as far as they were fine-tuned.
    """

    study: Study
    roles: tuple[Tuned, ...]


def is_tuned(fit: Fit) -> bool:
    """Whether a choice made while fitting is that of a fine-tuned model: it has a learning curve."""
    curve = fit.get("curve")
    return isinstance(curve, Sequence) and bool(curve) and all(isinstance(entry, Mapping) for entry in curve)


def trainings(result: Result) -> tuple[Training, ...]:
    """Every training of which a role was fine-tuned once, in the order of the studies."""
    found: dict[str, Training] = {}
    for study in result.studies:
        roles = _tuned(study)
        facts = ("task", "weak_model", "weak_train", "strong_model", "train", "method", "choices")
        key = json.dumps([getattr(study, name) for name in facts], default=str)
        if roles and key not in found:
            found[key] = Training(study=study, roles=roles)
    return tuple(found.values())


def _tuned(study: Study) -> tuple[Tuned, ...]:
    found: list[Tuned] = []
    for role in NAMES:
        names = _models(study, role)
        for place, model in enumerate(names):
            fits = tuple(study.choices.get(role, ())[place :: len(names)])
            if fits and all(map(is_tuned, fits)):
                found.append(
                    Tuned(
                        role=role,
                        model=model,
                        place=place,
                        alone=len(names) == 1,
                        oracle=study.oracle and role == "student",
                        fits=fits,
                    )
                )
    return tuple(found)


def _models(study: Study, role: str) -> list[str]:
    """The models of a role: one, or several supervisors, whose fits stand beside each other in every seed."""
    if role != "weak":
        return [clean(study.strong_model)]
    n = max(1, len(study.choices.get(role, ())) // max(1, study.seeds))
    names = clean(study.weak_model).split("+")
    if len(names) == n:
        return names
    return [clean(study.weak_model)] if n == 1 else [str(i + 1) for i in range(n)]


def trials(fit: Fit) -> list[Fit]:
    """All learning rates tried for one fit; without a search the fit itself."""
    return [one for one in fit.get("tried") or () if isinstance(one, Mapping)] or [fit]


def value(fit: Fit, name: str) -> float:
    """A number of a fit or of an evaluation; nan where there is none."""
    found = fit.get(name)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else math.nan


def kept(fit: Fit) -> Fit | None:
    """The evaluation whose weights were kept."""
    return next((entry for entry in fit["curve"] if value(entry, "step") == value(fit, "stopped_at")), None)
