"""What a study gives: every number with its interval, and the rows behind it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oversight.metrics.alike import Discordant
from oversight.metrics.intervals import Estimate
from oversight.metrics.pool import THESE_ROWS, Scope
from oversight.metrics.theory import Theory
from oversight.tasks.task import Floats, Ints
from oversight.ties import choice_shares

if TYPE_CHECKING:
    import pandas as pd

ROLES = ("weak", "student", "ceiling")


@dataclass(frozen=True, kw_only=True)
class TestRows:
    """Predictions behind one study.

    Attributes:
        ids, texts, groups: n test rows.
        truth: (n,) true classes.
        class_names: k names.
        probs: by role, (s, n, k) class probabilities.
    """

    __test__ = False

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    groups: tuple[str, ...]
    truth: Ints
    class_names: tuple[str, ...]
    probs: Mapping[str, Floats]


@dataclass(frozen=True, kw_only=True)
class Study:
    """One supervisor, one student, one method, one test set.

    Attributes:
        task, test, weak_model, strong_model, method: what was studied, by name.
        train, weak_train: how student and ceiling, and how the supervisor, were trained.
        oracle: whether the method saw ground truth.
        planted: whether truth was planted: the supervisor's labels, or the rows, are made from it.
        metric: of gap and PGR.
        n_test, n_groups, seeds: rows and groups of the test set, trained models per role.
        n_effective: even groups that say as much as those of the test set (Kish).
        discordant: by role (student, ceiling), the test rows on which it chooses otherwise than the supervisor.
        scores: by role and metric.
        chance: score of a guess that knows only the class shares, in the metric; None for losses.
        gap: ceiling - weak; gain: student - weak; pgr: their ratio, undefined with a reason where there is no gap.
        agreement: student with supervisor on `all` rows, where the supervisor is right, where it is wrong.
        choices: by role and seed, what was chosen while fitting.
        warnings: what a reader must know before believing the numbers.
        keys: by role and seed, where the store keeps the predictions.
        from_store: how many of the steps behind `keys` had been in the store before this run, when they were made, by
            which version (`runs.provenance.FromStore`); None where all were computed, or it is not known.
        ties: by role and seed, test rows on which classes tie, so that they share the choice.
        leak: the supervisor's accuracy on `transfer` and `test` rows and uncorrected `p` of their being equal; None =
            not tested.
        theory: misfit as a prediction of the gain beside the gain; None where truth was planted or seen.
        no_theory: why there is none.
        scope: of what the intervals speak; a score's `covers` says it in words.
        student_last, student_oracle_best: the student's score at the end of its training, and at the place that true
            validation labels would choose (an oracle; the test is never searched); None where `no_places` says why.
        same_as_naive: seeds in which the student chooses as naive does on every test row; None where `no_naive` says
            why.
        question_of: the set of questions of which the task is one, if any.
        questions: the tasks over which the numbers are pooled; none in a study of one task.
    """

    task: str
    test: str
    weak_model: str
    strong_model: str
    method: str
    train: str
    oracle: bool
    metric: str
    n_test: int
    n_groups: int
    seeds: int
    scores: Mapping[str, Mapping[str, Estimate]]
    chance: float | None
    gap: Estimate
    gain: Estimate
    pgr: Estimate
    agreement: Mapping[str, Estimate]
    choices: Mapping[str, Sequence[Mapping[str, Any]]]
    warnings: tuple[str, ...]
    keys: Mapping[str, Sequence[str]]
    n_effective: float = math.nan
    discordant: Mapping[str, Discordant] = field(default_factory=dict[str, Discordant])
    weak_train: str = "probe"
    planted: bool = False
    ties: Mapping[str, Sequence[int]] = field(default_factory=dict[str, Sequence[int]])
    leak: Mapping[str, float] | None = None
    theory: Theory | None = None
    from_store: Mapping[str, Any] | None = None
    no_theory: str | None = None
    scope: Scope = THESE_ROWS
    student_last: Estimate | None = None
    student_oracle_best: Estimate | None = None
    no_places: str | None = None
    same_as_naive: int | None = None
    no_naive: str | None = None
    question_of: str | None = None
    questions: tuple[str, ...] = ()

    def score(self, role: str) -> Estimate:
        """The study's metric for `weak`, `student` or `ceiling`."""
        return self.scores[role][self.metric]

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints; undefined numbers are null."""
        return {
            **{name: getattr(self, name) for name in ("task", "test", "weak_model", "strong_model", "method", "train")},
            "weak_train": self.weak_train,
            **{name: getattr(self, name) for name in ("oracle", "planted", "metric", "n_test", "n_groups", "seeds")},
            **{role: {name: one.as_json() for name, one in self.scores[role].items()} for role in ROLES},
            "n_effective": self.n_effective if math.isfinite(self.n_effective) else None,
            "discordant": {role: asdict(one) for role, one in self.discordant.items()},
            **{
                name: None if one is None else one.as_json()
                for name, one in (
                    ("student_last", self.student_last),
                    ("student_oracle_best", self.student_oracle_best),
                )
            },
            **{name: getattr(self, name) for name in ("no_places", "same_as_naive", "no_naive")},
            "chance": self.chance,
            "gap": self.gap.as_json(),
            "gain": self.gain.as_json(),
            "pgr": {
                **self.pgr.as_json(),
                "defined": self.pgr.defined,
                "reason": self.pgr.reason,
                "covers": self.pgr.covers,
            },
            "covers": self.score("student").covers,
            "agreement": {name: one.as_json() for name, one in self.agreement.items()},
            "theory": None if self.theory is None else self.theory.as_json(),
            "no_theory": self.no_theory,
            "ties": self.ties,
            "leak": self.leak,
            "choices": self.choices,
            "warnings": list(self.warnings),
            "keys": self.keys,
            "from_store": None if self.from_store is None else dict(self.from_store),
            **({} if self.question_of is None else {"question_of": self.question_of}),
            **({"questions": list(self.questions)} if self.questions else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Result:
    """One or several studies, of one or several tasks.

    Attributes:
        studies: in the order asked for.
        pooled: the same pooled over the questions of a set, where tasks are questions; else none.
        about: command, versions, seconds: what made this result.
        rows_of: loads the predictions behind a study.
        tells_theory: whether tables in the terminal and in Markdown say what theory predicts; the page does, folded.
    """

    studies: tuple[Study, ...]
    pooled: tuple[Study, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])
    rows_of: Callable[[Study], TestRows] | None = None
    tells_theory: bool = False

    def __len__(self) -> int:
        return len(self.studies)

    def __getitem__(self, index: int) -> Study:
        return self.studies[index]

    @property
    def shown(self) -> Result:
        """What tables and pages show: numbers pooled over questions in place of those of every question."""
        if not self.pooled:
            return self
        among = {name for study in self.pooled for name in study.questions}
        single = tuple(study for study in self.studies if study.task not in among)
        return replace(self, studies=(*self.pooled, *single), pooled=())

    def __str__(self) -> str:
        from oversight.reports.tables import as_text

        return as_text(self.shown)

    def __repr__(self) -> str:
        return f"Result({len(self.studies)} studies; print it for the table)"

    def _repr_html_(self) -> str:
        from oversight.reports.html import as_fragment

        return as_fragment(self.shown)

    def as_json(self) -> dict[str, Any]:
        """One study as itself, several as `{"studies": [...]}`, with `"pooled": [...]` where they are questions."""
        if len(self.studies) == 1:
            return self.studies[0].as_json()
        pooled = {"pooled": [study.as_json() for study in self.pooled]} if self.pooled else {}
        return {"studies": [study.as_json() for study in self.studies], **pooled}

    def report(self, path: str | Path) -> Path:
        """Write a self-contained page (.html), a table (.md, .csv), all numbers (.json) or the figures (.png, .pdf).

        Returns:
            Its path.

        Raises:
            InputError: another ending, or a place that cannot be written.
        """
        from oversight.reports.exports import write

        return write(self, Path(path))

    def rows(self, study: Study | int = 0) -> TestRows:
        """The predictions behind a study.

        Raises:
            LookupError: this result was read from a file and has no rows.
        """
        if self.rows_of is None:
            raise LookupError("this result carries no rows")
        return self.rows_of(self.studies[study] if isinstance(study, int) else study)

    def to_pandas(self) -> pd.DataFrame:
        """One row per study, test row, seed and role: ids, truth, choice and the probability of each class."""
        import pandas as pd

        return pd.concat([self._frame(study) for study in self.studies], ignore_index=True)

    def _frame(self, study: Study) -> pd.DataFrame:
        import pandas as pd

        rows, frames = self.rows(study), []
        names = np.asarray(rows.class_names, dtype=object)
        for role in ROLES:
            for seed, probs in enumerate(rows.probs[role]):
                columns: dict[str, Any] = {
                    **{name: getattr(study, name) for name in ("task", "test", "weak_model", "strong_model", "method")},
                    "role": role,
                    "seed": seed,
                    "id": rows.ids,
                    "group": rows.groups,
                    "truth": names[rows.truth],
                    "choice": ["|".join(names[chosen > 0]) for chosen in choice_shares(probs)],
                }
                columns |= {f"prob_{name}": probs[:, j] for j, name in enumerate(rows.class_names)}
                frames.append(pd.DataFrame(columns))
        return pd.concat(frames, ignore_index=True)
