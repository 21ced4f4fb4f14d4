"""What a comparison gives: who beats the reference beyond doubt, on which tasks, and at what cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from oversight.errors import InputError
from oversight.metrics.alike import Discordant
from oversight.metrics.intervals import Estimate
from oversight.reports.words import planted

Verdict = Literal["better", "worse", "not told apart", "too few groups"]
REFERENCE = "reference"


@dataclass(frozen=True, kw_only=True)
class TaskLine:
    """A task of the leaderboard.

    Attributes:
        name, family: as shown; tasks of one family count as one.
        metric: accuracy, or what was asked for, or balanced accuracy where a class is too common.
        n_test, n_groups, n_effective: rows and groups of the test set, and how many even groups say as much.
        weak, reference, ceiling: scores.
        gap: ceiling - weak.
        warnings: what a reader must know of its studies.
    """

    name: str
    family: str
    metric: str
    n_test: int
    n_groups: int
    n_effective: float
    weak: Estimate
    reference: Estimate
    ceiling: Estimate
    gap: Estimate
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A method on one task: its student's score, that minus the reference's (95 %, by itself), and PGR.

    Attributes:
        discordant: test rows on which its student and the reference's choose differently.
        last, oracle_best: gains at other places of the training, by themselves; None where none are kept.
        same: seeds in which it chooses as the reference does on every test row.
    """

    student: Estimate
    gain: Estimate
    pgr: Estimate
    discordant: Discordant | None = None
    last: Estimate | None = None
    oracle_best: Estimate | None = None
    same: int = 0


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A method over all tasks.

    Attributes:
        method: as shown.
        settings: other than its defaults.
        oracle: whether it sees ground truth; such a method is shown, but not ranked.
        exploratory: why its settings may owe something to these test rows; None = they do not.
        gain: mean over families of student - reference, its interval simultaneous over all methods.
        alone: the same with an interval for this method by itself.
        pgr: pooled over tasks, those with an undefined PGR included.
        median_pgr: over the tasks where PGR is defined; None where there is none.
        undefined: by task, why PGR is undefined.
        rank: best and worst place that the simultaneous intervals of all pairs allow; None for an oracle.
        p: Wilcoxon's signed rank test over families, by Holm; None with fewer than ten families.
        seconds: of computing for one seed and task, mean; None where the store does not know.
        cells: by task.
        last: gain at the end of the training, by itself (95 %); None where a task has no path.
        oracle_best: the same at the place that true validation labels would choose; never ranked.
    """

    method: str
    settings: Mapping[str, Any]
    oracle: bool
    exploratory: str | None
    gain: Estimate
    alone: Estimate
    pgr: Estimate
    median_pgr: float | None
    undefined: Mapping[str, str]
    rank: tuple[int, int] | None
    p: float | None
    seconds: float | None
    cells: Mapping[str, Cell]
    last: Estimate | None = None
    oracle_best: Estimate | None = None

    @property
    def same(self) -> int:
        """Fits, one per task and seed, whose choices are the reference's on every test row."""
        return sum(cell.same for cell in self.cells.values())

    @property
    def discordant(self) -> Discordant | None:
        """Test rows of all tasks together on which its students and the reference's choose differently."""
        found = [cell.discordant for cell in self.cells.values() if cell.discordant is not None]
        if not found or len(found) < len(self.cells):
            return None
        return Discordant(sum(one.rows for one in found), sum(one.mean for one in found), sum(one.n for one in found))

    @property
    def verdict(self) -> Verdict:
        """Better or worse than the reference only where the simultaneous interval says so."""
        if self.gain.above_zero:
            return "better"
        if self.gain.below_zero:
            return "worse"
        return "not told apart" if self.gain.judged else "too few groups"


@dataclass(frozen=True, kw_only=True)
class BaselineLine:
    """A baseline: scores by task, why it is missing on others, and its difference to the reference where it is there on
    all tasks (95 %, by itself; None otherwise)."""

    name: str
    about: str
    scores: Mapping[str, Estimate]
    missing: Mapping[str, str]
    gain: Estimate | None


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """A comparison of methods that share supervisor, student, tasks, rows and seeds.

    Attributes:
        reference: the method that the others are compared with.
        weak_model, strong_model, train, weak_train, seeds: what they share.
        tasks: in the order asked for.
        standings: the reference first, then by gain.
        baselines: always shown.
        not_applicable: methods that these inputs do not allow, with the reason.
        unfinished: methods that failed somewhere, with where and why.
        differences: every pair of ranked methods (first minus second), simultaneous over pairs.
        correction: how the intervals are made simultaneous.
        why_no_p: why no p values are given; None where they are.
        tuning: how settings were chosen.
        about: command, versions, seconds.
    """

    reference: str
    weak_model: str
    strong_model: str
    train: str
    weak_train: str
    seeds: int
    tasks: tuple[TaskLine, ...]
    standings: tuple[Standing, ...]
    baselines: tuple[BaselineLine, ...]
    not_applicable: Mapping[str, str]
    unfinished: Mapping[str, str]
    differences: Mapping[tuple[str, str], Estimate]
    correction: str
    why_no_p: str | None
    tuning: Mapping[str, Any] = field(default_factory=dict[str, Any])
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        from oversight.reports.leaderboard_tables import as_text

        return as_text(self)

    def standing(self, method: str) -> Standing:
        """Of one method.

        Raises:
            KeyError: it is not on the board.
        """
        for one in self.standings:
            if one.method == method:
                return one
        raise KeyError(method)

    @property
    def covers(self) -> str:
        """What the intervals cover, in words."""
        return self.standings[0].gain.covers

    def as_json(self) -> dict[str, Any]:
        """Everything; what is undefined is None, and a setting that is not finite a text."""
        from oversight.reports.leaderboard_words import conclusion

        return {
            "conclusion": conclusion(self),
            **{
                name: getattr(self, name) for name in ("reference", "weak_model", "strong_model", "train", "weak_train")
            },
            "planted": planted(self.weak_train),
            "seeds": self.seeds,
            "correction": self.correction,
            "covers": self.covers,
            "tasks": [_task_json(one) for one in self.tasks],
            "methods": [_standing_json(one) for one in self.standings],
            "baselines": [_baseline_json(one) for one in self.baselines],
            "differences": [
                {"first": first, "second": second, **one.as_json()} for (first, second), one in self.differences.items()
            ],
            "not_applicable": dict(self.not_applicable),
            "unfinished": dict(self.unfinished),
            "why_no_p": self.why_no_p,
            "tuning": _plain(self.tuning),
            "about": _plain(self.about),
        }

    def report(self, path: str | Path) -> Path:
        """Write a self-contained page (.html), a table (.md) or all numbers (.json).

        Returns:
            Its path.

        Raises:
            InputError: another ending, or a place that cannot be written.
        """
        from oversight.reports.leaderboard_exports import write

        return write(self, Path(path))


def _task_json(one: TaskLine) -> dict[str, Any]:
    told = {name: getattr(one, name) for name in ("name", "family", "metric", "n_test", "n_groups", "n_effective")}
    scores = {name: getattr(one, name).as_json() for name in ("weak", "reference", "ceiling", "gap")}
    return {**told, **scores, "warnings": list(one.warnings)}


def _standing_json(one: Standing) -> dict[str, Any]:
    return {
        "method": one.method,
        "verdict": one.verdict,
        "gain": one.gain.as_json(),
        "gain_alone": one.alone.as_json(),
        "pooled_pgr": {**one.pgr.as_json(), "defined": one.pgr.defined, "reason": one.pgr.reason},
        "median_pgr": one.median_pgr,
        "pgr_undefined": dict(one.undefined),
        "rank": None if one.rank is None else list(one.rank),
        "p_holm": one.p,
        "seconds": one.seconds,
        "settings": _plain(one.settings),
        "oracle": one.oracle,
        "student_last": _gain_json(one.last),
        "student_oracle_best": _gain_json(one.oracle_best),
        "same_as_reference": one.same,
        "exploratory": one.exploratory,
        "tasks": {
            name: {
                **{part: getattr(cell, part).as_json() for part in ("student", "gain", "pgr")},
                "discordant": None if cell.discordant is None else asdict(cell.discordant),
                "student_last": _gain_json(cell.last),
                "student_oracle_best": _gain_json(cell.oracle_best),
                "same_as_reference": cell.same,
            }
            for name, cell in one.cells.items()
        },
    }


def _gain_json(one: Estimate | None) -> dict[str, float | None] | None:
    return None if one is None else one.as_json()


def _baseline_json(one: BaselineLine) -> dict[str, Any]:
    return {
        "name": one.name,
        "about": one.about,
        "gain_alone": None if one.gain is None else one.gain.as_json(),
        "scores": {name: score.as_json() for name, score in one.scores.items()},
        "missing": dict(one.missing),
    }


def _plain(thing: Any) -> Any:
    """The same without numbers that JSON does not know: NaN becomes None, infinity a text."""
    if isinstance(thing, Mapping):
        return {name: _plain(one) for name, one in thing.items()}
    if isinstance(thing, list | tuple):
        return [_plain(one) for one in thing]
    if isinstance(thing, float) and not math.isfinite(thing):
        return None if math.isnan(thing) else str(thing)
    return thing


def check_ending(path: Path) -> None:
    """Refuse what is neither .html, .md nor .json.

    Raises:
        InputError: the ending.
    """
    if path.suffix not in {".html", ".md", ".json"}:
        raise InputError(f"--report: found {path.name}, expected a name that ends in .html, .md or .json")
