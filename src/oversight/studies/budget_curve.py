"""From the kept predictions of all mixtures to the curve: costs, differences, the frontier. Nothing is trained here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from oversight.metrics.contrasts import Combined, combine, difference, unit
from oversight.metrics.frontier import frontier
from oversight.metrics.intervals import LEVEL, Estimate, moments
from oversight.metrics.scores import METRICS
from oversight.reports.budget import BudgetCell, BudgetCurve, FrontierStep, Prices, Unpriced
from oversight.reports.result import Study
from oversight.runs.store import Store
from oversight.runs.workshop import outcome_of
from oversight.studies.budget import Available, Mix, only_supervisor
from oversight.studies.compare import row_scores
from oversight.studies.families import short_name
from oversight.studies.leaks import with_suspicions
from oversight.studies.stored import stored_rows, study_of
from oversight.studies.sweep import Swept
from oversight.supervision.supervisor import Trained
from oversight.tasks.task import Floats

ENOUGH_SEEDS = 10
SUPERVISOR_LEARNED = "true labels on which the supervisor was trained"
CHOICES = "weak labels of the validation rows, by which every student makes its choices"


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Cells on the same test rows and seeds.

    Attributes:
        mixes, studies: the cells that are finished, the naive one first.
        combined: their moments in this order, more is better.
    """

    mixes: tuple[Mix, ...]
    studies: tuple[Study, ...]
    combined: Combined

    @property
    def values(self) -> Floats:
        """(c,) scores, more is better."""
        return self.combined.total.p

    def minus(self, i: int, j: int, *, n_comparisons: int) -> Estimate:
        """Cell i - cell j, simultaneous over so many such differences."""
        return difference(self.combined, unit(len(self.mixes), i, j), n_comparisons=n_comparisons)


def budget_curve(
    swept: Swept,
    store: Store,
    mixes: Sequence[Mix],
    *,
    available: Sequence[Available],
    prices: Prices,
    left_out: Mapping[str, str],
) -> BudgetCurve | None:
    """The numbers of a finished grid; None where the naive cell is not finished.

    Args:
        swept: what was run, its studies in the order of `mixes`.
        store: where the predictions are.
        mixes: the cells, the naive one first.
        available: transfer rows by seed.
        prices: of a label of each kind.
        left_out: cells that were not run, with the reason.
    """
    unfinished = _unfinished(swept, store, mixes)
    if mixes[0].name in unfinished:
        return None
    scores = _scores(swept, store, [mix.name not in unfinished for mix in mixes], mixes)
    naive = scores.studies[0]
    counts = [np.mean([pool.counts(mix) for pool in available], axis=0).tolist() for mix in scores.mixes]
    costs = [prices.cost(*count) for count in counts]
    front = frontier(costs, scores.values.tolist())
    told = (text for study in scores.studies for text in study.warnings)
    shown = sum(len(_compared(scores.mixes, i)) for i in range(len(costs)))
    cells = [_cell(scores, i, counts[i], costs[i], shown, on_frontier=i in front) for i in range(len(costs))]
    return BudgetCurve(
        **{name: getattr(naive, name) for name in ("weak_model", "strong_model", "train", "weak_train")},
        **{name: getattr(naive, name) for name in ("metric", "n_test", "n_groups", "seeds", "gap")},
        task=short_name(naive.task),
        n_transfer=float(np.mean([len(pool.answered) for pool in available])),
        weak=naive.score("weak"),
        ceiling=naive.score("ceiling"),
        prices=prices,
        cells=tuple(cells[i] for i in sorted(range(len(costs)), key=lambda i: (costs[i], -scores.values[i], i))),
        steps=_steps(scores, front),
        unpriced=_unpriced(swept, available, prices),
        left_out=left_out,
        unfinished=unfinished,
        correction=_correction(shown, len(cells)),
        warnings=(*dict.fromkeys(told), *_few_seeds(scores, shown)),
        about=swept.result.about,
    )


def _scores(swept: Swept, store: Store, finished: Sequence[bool], mixes: Sequence[Mix]) -> Scores:
    studies: list[Study] = []
    right: list[Floats] = []
    groups: tuple[str, ...] = ()
    for one in (one for one, there in zip(swept.campaign.scored, finished, strict=True) if there):
        outcome = outcome_of(store, one.step.key)
        assert outcome is not None
        studies.append(study_of(one.names, outcome.record))
        rows = stored_rows(store, studies[-1])
        right.append(row_scores(METRICS[studies[-1].metric], rows.probs["student"], rows.truth))
        groups = rows.groups
    index = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)[1]
    return Scores(
        mixes=tuple(mix for mix, there in zip(mixes, finished, strict=True) if there),
        studies=with_suspicions(studies),
        combined=combine(
            [moments(np.stack(right, axis=1), index).covering(studies[0].scope)],
            [studies[0].task],
            limits=METRICS[studies[0].metric].oriented_limits,
        ),
    )


def _unfinished(swept: Swept, store: Store, mixes: Sequence[Mix]) -> dict[str, str]:
    found: dict[str, str] = {}
    for mix, one in zip(mixes, swept.campaign.scored, strict=True):
        if outcome_of(store, one.step.key) is None:
            keys = (one.step.key, *(step.key for step in one.step.inputs))
            reasons = [swept.summary.failed[key] for key in keys if key in swept.summary.failed]
            found[mix.name] = reasons[0] if reasons else "a step that it needs failed"
    return found


def _compared(mixes: Sequence[Mix], i: int) -> dict[str, int]:
    """With which cells one is compared: the naive one, and the one that has its true labels alone."""
    mix = mixes[i]
    alone = [j for j, other in enumerate(mixes) if (other.n_true, other.n_weak) == (mix.n_true, 0) and j != i]
    with_true = {"over_true": alone[0]} if alone and mix.n_true != 0 else {}
    return ({} if mix.is_naive else {"over_weak": 0}) | with_true


def _cell(scores: Scores, i: int, counts: Sequence[float], cost: float, shown: int, *, on_frontier: bool) -> BudgetCell:
    mix, study = scores.mixes[i], scores.studies[i]
    over = {name: scores.minus(i, j, n_comparisons=shown) for name, j in _compared(scores.mixes, i).items()}
    return BudgetCell(
        name=mix.name,
        n_true=counts[0],
        n_weak=counts[1],
        way=mix.way,
        cost=cost,
        student=study.score("student"),
        pgr=study.pgr,
        over_weak=over.get("over_weak"),
        over_true=over.get("over_true"),
        on_frontier=on_frontier,
        key=study.keys["score"][0],
    )


def _steps(scores: Scores, front: Sequence[int]) -> tuple[FrontierStep, ...]:
    """From the last cell whose step was shown to the next; simultaneous over all pairs, as the data chose them."""
    n_pairs = max(1, len(scores.mixes) * (len(scores.mixes) - 1) // 2)
    found: list[FrontierStep] = []
    start = front[0]
    for end in front[1:]:
        gain = scores.minus(end, start, n_comparisons=n_pairs)
        found.append(FrontierStep(start=scores.mixes[start].name, end=scores.mixes[end].name, gain=gain))
        start = end if found[-1].shown else start
    return tuple(found)


def _unpriced(swept: Swept, available: Sequence[Available], prices: Prices) -> tuple[Unpriced, ...]:
    n_validation = float(np.mean([pool.n_validation for pool in available]))
    found = [Unpriced(what=CHOICES, n=n_validation, cost=prices.cost(0, n_validation))]
    if isinstance(only_supervisor(swept.campaign.scored[0].setup), Trained):
        n = float(np.mean([pool.n_supervisor for pool in available]))
        found.insert(0, Unpriced(what=SUPERVISOR_LEARNED, n=n, cost=prices.cost(n, 0)))
    return tuple(found)


def _few_seeds(scores: Scores, n: int) -> tuple[str, ...]:
    """How wide the seed part of a difference is, where seeds are few."""
    n_seeds = scores.combined.total.n_seeds
    if not 1 < n_seeds < ENOUGH_SEEDS:
        return ()
    width = float(stdtrit(n_seeds - 1, 1 - (1 - LEVEL) / (2 * n)))
    return (
        f"{n_seeds} seeds: the seed part of one of {n} differences reaches {width:.1f} standard errors to each "
        f"side; {ENOUGH_SEEDS} seeds or more, or fewer cells, show more",
    )


def _correction(n_shown: int, n_cells: int) -> str:
    return (
        f"95 %, differences simultaneous over all {n_shown} that are shown, steps of the frontier over all "
        f"{n_cells * (n_cells - 1) // 2} pairs (Bonferroni)"
    )
