"""Co-supervision: every row learns from the supervisor that the student so far agrees with most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from oversight.methods.chains import Told
from oversight.methods.entry import Entry
from oversight.methods.filters import enough
from oversight.methods.method import Needs, WeakData, mean_labels
from oversight.methods.several import TINY, TWO_OR_MORE, stacked
from oversight.models.student import Fitted, Student, Validation
from oversight.tasks.split import Seed
from oversight.tasks.task import Bools, Floats, Ints, Labels
from oversight.ties import DECIMALS, TIE, choice_shares


@dataclass(frozen=True)
class CoSupervised:
    """Student training and the assignment of supervisors take turns, beginning with the mean of all supervisors.

    With p_i the student so far and y_mi what supervisor m says of row i, a round
      - gives row i the label of supervisor m(i) = argmin_m KL(p_i || y_mi), among those who answered;
      - keeps the r n rows with the smallest -log p_i(class of that label), where r is the share of rows whose class is
        among the `top` most probable ones of p_i (teacher-student consistency);
      - trains the student anew on what is kept. Validation rows are assigned alike, none is rejected.
    Too few rows, or a class without any: none is rejected in that round, which is told.

    Attributes:
        rounds: at least 0; 0 is the mean of the supervisors, 1 goes with one level of them.
        top: at least 1; as many as there are classes rejects nothing.

    Source: Liu and Alahi 2024, arXiv:2402.15505, and its code (`multi_weak_strong_csl.py`: rejection, restart of the
        student); assignment by agreement as in the reimplementation in mlbio-epfl/raven (`student_teacher_agreement`).
    Differs: all supervisors stand at one level, their mean in the place of the generalist (in the source levels of ever
        narrower specialists, the student of one level assigning those of the next by their declared classes); soft
        labels; updates are not multiplied by 1 / r; without local-global consistency, which is not in the code.
    """

    kind: ClassVar[str] = "co_supervised"

    rounds: int = 1
    top: int = 1

    def __post_init__(self) -> None:
        if self.rounds < 0 or self.top < 1:
            raise ValueError(f"rounds, top: found {self.rounds}, {self.top}, expected >= 0, >= 1")

    @property
    def needs(self) -> Needs:
        """Two supervisors or more."""
        return Needs(supervisors=TWO_OR_MORE)

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        labels = [one.on(data.rows) for one in data.labels]
        checks = [one.on(data.validation) for one in data.validation_labels]
        seen = Validation(rows=data.validation, labels=mean_labels(checks, source="mean"))
        fitted = student.fit(data.rows, mean_labels(labels, source="mean"), validation=seen, seed=seed)
        told: list[dict[str, object]] = []
        for _ in range(self.rounds):
            probs = fitted.predict(data.rows)
            label, chosen = assigned(labels, probs)
            kept, said = self._kept(label, probs)
            by = np.bincount(chosen[label.answered], minlength=len(labels)) / max(int(label.answered.sum()), 1)
            told.append({**said, "shares": by.tolist()})
            seen = Validation(rows=data.validation, labels=assigned(checks, fitted.predict(data.validation))[0])
            rows = data.rows.take(np.flatnonzero(kept))
            fitted = student.fit(rows, label.on(rows), validation=seen, seed=seed)
        return Told(fitted=fitted, choices={**fitted.choices, "rounds": told}) if told else fitted

    def _kept(self, label: Labels, probs: Floats) -> tuple[Bools, dict[str, object]]:
        """Which rows stay, and what to tell of it."""
        kept = consistent(label, probs, top=self.top)
        answered = np.flatnonzero(label.answered)
        some = replace(
            label,
            row_ids=tuple(label.row_ids[i] for i in answered),
            probs=label.probs[answered],
            answered=label.answered[answered],
        )
        problem = enough(kept[answered], some)
        told: dict[str, object] = {"kept": int(kept.sum()), "of": len(answered)}
        if problem is None:
            return kept, told
        return label.answered, {**told, "kept": len(answered), "not_filtered": problem}


def assigned(labels: Sequence[Labels], student: Floats) -> tuple[Labels, Ints]:
    """Of every row the label that is nearest to the student's prediction, and (n,) whose it is.

    Args:
        labels: of m supervisors on the same n rows.
        student: (n, k) probabilities p. The distance is KL(p || y), y at least 1e-6; of equal ones the first counts.

    Returns:
        Labels; a row that nobody answered stays unanswered.
    """
    probs, answered = stacked(labels)
    distance = -(student * np.log(np.maximum(probs, TINY))).sum(2)  # + the entropy of p, the same for all
    chosen = np.where(answered, distance.round(DECIMALS), np.inf).argmin(0)
    rows = np.arange(len(chosen))
    label = replace(labels[0], probs=probs[chosen, rows], answered=answered.any(0), source="assigned")
    return label, chosen.astype(np.int64)


def consistent(label: Labels, student: Floats, *, top: int) -> Bools:
    """(n,) the r n answered rows whose class the student finds least improbable.

    r is the share of answered rows whose class is among the `top` most probable ones of the student. What equals the
    last one kept is kept.

    Args:
        label: of n rows; a row's class is its most probable one, of those that tie each by an equal part.
        student: (n, k) probabilities.
        top: at least 1.
    """
    named = choice_shares(label.probs)
    own = (named * student).sum(1)
    above = (student[:, None, :] > student[:, :, None]).sum(2)
    among = (named * (above < top)).sum(1) * label.answered
    order = np.sort(own[label.answered])[::-1]
    n_kept = int(among.sum() + TIE)
    return label.answered & (own >= order[n_kept - 1]) if n_kept else np.zeros(len(own), bool)


ENTRIES = {
    "co_supervised": Entry(
        make=CoSupervised,
        about="every row learns from the supervisor that agrees best with the student so far, in rounds",
        paper="Liu and Alahi 2024, arXiv:2402.15505 (CSL), one level of supervisors",
        family="several supervisors",
        trials=({}, {"rounds": 3}, {"top": 2}),
    )
}
