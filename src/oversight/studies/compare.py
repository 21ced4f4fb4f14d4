"""From the kept predictions of many methods to a leaderboard. Nothing is trained here."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from oversight.errors import InputError
from oversight.metrics.alike import discordant
from oversight.metrics.contrasts import (
    Combined,
    combine,
    difference,
    pairwise,
    pooled_pgr,
    rank_intervals,
    unit,
    wilcoxon_holm,
)
from oversight.metrics.intervals import Estimate, Moments, linear_interval, moments
from oversight.metrics.limits import between
from oversight.metrics.questions import combined_questions
from oversight.metrics.scores import METRICS, Metric, oriented
from oversight.reports.leaderboard import BaselineLine, Cell, Leaderboard, Standing, TaskLine
from oversight.reports.result import Study, TestRows
from oversight.runs.store import DirectoryStore, Store
from oversight.runs.workshop import outcome_of
from oversight.studies.baselines import ABOUT
from oversight.studies.families import short_name, short_names
from oversight.studies.leaks import with_suspicions
from oversight.studies.places import kept_places, n_same_choices
from oversight.studies.stored import stored_rows, study_of
from oversight.studies.sweep import Swept
from oversight.studies.tuning import Seen, Tuning, exploratory
from oversight.studies.weak_to_strong import Campaign, Scored
from oversight.tasks.task import Floats, Ints

ROLES = ("weak", "ceiling")
LINEAR = tuple(name for name, metric in METRICS.items() if metric.linear)


def leaderboard(
    swept: Swept,
    store: Store,
    *,
    reference: str,
    shown: Mapping[str, str],
    families: Mapping[str, str],
    tuning: Tuning,
    seen: Seen,
    not_applicable: Mapping[str, str],
    about: Mapping[str, Any],
) -> Leaderboard | None:
    """The numbers of a finished comparison; None where the reference is not finished.

    Args:
        swept: what was run.
        store: where its predictions are.
        reference: shown name of the method that the others are compared with.
        shown: by method as asked for, the name in the results, the reference first.
        families: by task.
        tuning: how settings were chosen.
        seen: what had been scored before this run; see `seen_settings`.
        not_applicable: methods left out, with the reason.
        about: what the leaderboard says of itself.

    Raises:
        InputError: a task is scored by a metric that has no value per row.
    """
    names, tasks = list(shown.values()), list(families)
    by_method = {name: _finished(swept.campaign, store, name) for name in names}
    unfinished = {name: _why(swept, name) for name, found in by_method.items() if set(found) != set(tasks)}
    if reference in unfinished:
        return None
    ranked = [name for name in names if name not in unfinished]
    called = short_names(tasks)
    boards = _suspected(
        {
            called[task]: _board(called[task], {name: by_method[name][task] for name in ranked}, swept, store)
            for task in tasks
        }
    )
    families = {called[task]: family for task, family in families.items()}
    total = _combined(boards, [board.moments(ranked) for board in boards.values()], families)
    settings = {shown[name]: one for name, one in tuning.settings.items()}
    standings, why_no_p = _standings(ranked, boards, total, families)
    by_hand = {shown[name] for name in tuning.by_hand}
    first = next(iter(boards.values())).studies[reference]
    return Leaderboard(
        reference=reference,
        weak_model=first.weak_model,
        strong_model=first.strong_model,
        train=first.train,
        weak_train=first.weak_train,
        seeds=first.seeds,
        tasks=tuple(_task_line(board, families[task], reference) for task, board in boards.items()),
        standings=tuple(
            replace(
                one,
                settings=settings.get(one.method, {}),
                exploratory=exploratory(
                    by_method[one.method],
                    seen,
                    settings=settings.get(one.method, {}),
                    by_hand=one.method in by_hand,
                ),
                seconds=_seconds(store, by_method[one.method]),
            )
            for one in standings
        ),
        baselines=_baseline_lines(boards, families),
        not_applicable=not_applicable,
        unfinished=unfinished,
        differences=_named_pairs(total, ranked, next(iter(boards.values())).studies),
        correction=_correction(len(ranked) - 1),
        why_no_p=why_no_p,
        tuning=tuning.told,
        about=about,
    )


@dataclass(frozen=True, kw_only=True)
class _Board:
    """One task: studies by method, row scores by role or baseline, (s, n), more is better, students' probabilities by
    method, (s, n, k), row scores at other places of a method's training, and in how many seeds it chooses as the first.
    """

    name: str
    studies: Mapping[str, Study]
    scores: Mapping[str, Floats]
    students: Mapping[str, Floats]
    places: Mapping[str, Mapping[str, Floats]]
    same: Mapping[str, int]
    baselines: Mapping[str, Floats]
    missing: Mapping[str, str]
    groups: Ints

    def moments(self, methods: Sequence[str]) -> Moments:
        """Of the roles weak, ceiling and the methods in this order."""
        return self.moments_of([self.scores[name] for name in (*ROLES, *methods)])

    def moments_of(self, scores: Sequence[Floats]) -> Moments:
        """Of several roles' scores on this task, as its studies' intervals speak."""
        return moments(np.stack(scores, axis=1), self.groups).covering(next(iter(self.studies.values())).scope)


def _finished(campaign: Campaign, store: Store, method: str) -> dict[str, Scored]:
    """By task, the studies of a method that are finished."""
    return {
        one.setup.task.name: one
        for one in campaign.scored
        if one.arm.method_name == method and outcome_of(store, one.step.key) is not None
    }


def _why(swept: Swept, method: str) -> str:
    """Where a method failed first, and why."""
    for one in swept.campaign.scored:
        if one.arm.method_name != method:
            continue
        for step in (one.step, *(student for _, student, _ in one.runs)):
            if step.key in swept.summary.failed:
                return f"{short_name(one.setup.task.name)}: {swept.summary.failed[step.key]}"
    return "a step that it needs failed"


def _suspected(boards: Mapping[str, _Board]) -> dict[str, _Board]:
    """The boards, their studies warned of leaks by all supervisors of all tasks together."""
    told = iter(with_suspicions([study for board in boards.values() for study in board.studies.values()]))
    return {
        task: replace(board, studies={name: next(told) for name in board.studies}) for task, board in boards.items()
    }


def _board(task: str, scored: Mapping[str, Scored], swept: Swept, store: Store) -> _Board:
    studies: dict[str, Study] = {}
    scores: dict[str, Floats] = {}
    students: dict[str, Floats] = {}
    places: dict[str, Mapping[str, Floats]] = {}
    same: dict[str, int] = {}
    kept: tuple[TestRows, Metric] | None = None
    for name, one in scored.items():
        outcome = outcome_of(store, one.step.key)
        assert outcome is not None
        studies[name] = study_of(one.names, outcome.record)
        rows, metric = stored_rows(store, studies[name]), METRICS[studies[name].metric]
        if not metric.linear:
            raise InputError(f"--metric {metric.name}: has no value per row, expected {', '.join(LINEAR)}")
        if kept is None:
            kept = rows, metric
            scores |= {role: row_scores(metric, rows.probs[role], rows.truth) for role in ROLES}
        students[name] = rows.probs["student"]
        same[name] = n_same_choices(list(students[name]), list(next(iter(students.values()))))
        scores[name] = row_scores(metric, students[name], rows.truth)
        taught = [outcome_of(store, student.key) for _, student, _ in one.runs]
        elsewhere, _ = kept_places([each for each in taught if each is not None], "test")
        places[name] = {place: row_scores(metric, probs, rows.truth) for place, probs in elsewhere.items()}
    assert kept is not None
    rows, metric = kept
    shown: dict[str, Floats] = {}
    missing: dict[str, str] = {}
    for baseline in swept.campaign.baselines(next(iter(scored.values()))):
        outcomes = [outcome_of(store, step.key) for step in baseline.steps]
        found = [np.asarray(one.arrays["test.probs"]) for one in outcomes if one is not None]
        if baseline.steps and len(found) == len(baseline.steps):
            shown[baseline.name] = row_scores(metric, np.stack(found), rows.truth)
        else:
            missing[baseline.name] = baseline.reason or "it failed"
    groups = np.unique(np.asarray(rows.groups, dtype=object).astype(str), return_inverse=True)[1]
    return _Board(
        name=task,
        studies=studies,
        scores=scores,
        students=students,
        places=places,
        same=same,
        baselines=shown,
        missing=missing,
        groups=groups,
    )


def row_scores(metric: Metric, probs: Floats, truth: Ints) -> Floats:
    """(s, n), more is better; their mean is the score."""
    assert metric.row_scores is not None
    return oriented(metric, np.stack([metric.row_scores(one, truth) for one in probs]))


def _standings(
    ranked: Sequence[str], boards: Mapping[str, _Board], total: Combined, families: Mapping[str, str]
) -> tuple[list[Standing], str | None]:
    """The reference first, then by gain; oracles are not ranked. And why there are no p values."""
    role = {name: i + len(ROLES) for i, name in enumerate(ranked)}
    reference, others = ranked[0], ranked[1:]
    studies = next(iter(boards.values())).studies
    fair = [role[name] for name in ranked if not studies[name].oracle]
    ranks = rank_intervals(pairwise(total, fair), fair)
    gains = np.array(
        [[_family_gain(boards, families, name, reference, one) for name in others] for one in _unique(families)]
    )
    p, why_no_p = wilcoxon_holm(gains.reshape(len(gains), len(others))) if others else (None, None)
    found: list[Standing] = []
    for name in ranked:
        a = unit(total.n_roles, role[name], role[reference])
        cells = {task: _cell(board, name, reference) for task, board in boards.items()}
        defined = [cell.pgr.value for cell in cells.values() if cell.pgr.defined]
        found.append(
            Standing(
                method=name,
                settings={},
                oracle=studies[name].oracle,
                exploratory=None,
                gain=difference(total, a, n_comparisons=max(1, len(others))),
                alone=difference(total, a),
                pgr=pooled_pgr(total, weak=0, student=role[name], ceiling=1),
                median_pgr=statistics.median(defined) if defined else None,
                undefined={task: str(cell.pgr.reason) for task, cell in cells.items() if not cell.pgr.defined},
                rank=ranks.get(role[name]),
                p=p[others.index(name)] if p and name in others else None,
                seconds=None,
                cells=cells,
                last=_gain_at("last", boards, name, reference, families),
                oracle_best=_gain_at("oracle_best", boards, name, reference, families),
            )
        )
    return [found[0], *sorted(found[1:], key=lambda one: -one.gain.value)], why_no_p


def _cell(board: _Board, name: str, reference: str) -> Cell:
    both = board.moments_of([board.scores[one] for one in (name, reference)])
    study = board.studies[name]
    limits = between(METRICS[study.metric].limits)
    other = {
        place: linear_interval(board.moments_of([found, board.scores[reference]]), (1, -1), limits=limits)
        for place, found in board.places[name].items()
    }
    return Cell(
        student=study.score("student"),
        gain=linear_interval(both, (1, -1), limits=limits),
        pgr=study.pgr,
        discordant=discordant(board.students[name], board.students[reference]),
        same=board.same[name],
        **other,
    )


def _gain_at(
    place: str, boards: Mapping[str, _Board], name: str, reference: str, families: Mapping[str, str]
) -> Estimate | None:
    """The gain at another place of the training; None where a task has none."""
    if not all(place in board.places[name] for board in boards.values()):
        return None
    pairs = [board.moments_of([board.places[name][place], board.scores[reference]]) for board in boards.values()]
    return difference(_combined(boards, pairs, families), (1, -1))


def _combined(boards: Mapping[str, _Board], tasks: Sequence[Moments], families: Mapping[str, str]) -> Combined:
    """Every board's moments, in the order of the boards, as those of one task; of questions, over questions."""
    first = [next(iter(board.studies.values())) for board in boards.values()]
    limits = METRICS[first[0].metric].oriented_limits
    if first[0].question_of is not None and len({one.question_of for one in first}) == 1 < len(first):
        return combined_questions(np.stack([m.p for m in tasks]), samples=[m.sample for m in tasks], limits=limits)
    return combine(tasks, [families[task] for task in boards], limits=limits)


def _family_gain(
    boards: Mapping[str, _Board], families: Mapping[str, str], name: str, reference: str, family: str
) -> float:
    own = [board for task, board in boards.items() if families[task] == family]
    return float(np.mean([board.scores[name].mean() - board.scores[reference].mean() for board in own]))


def _unique(families: Mapping[str, str]) -> list[str]:
    return list(dict.fromkeys(families.values()))


def _named_pairs(
    total: Combined, ranked: Sequence[str], studies: Mapping[str, Study]
) -> dict[tuple[str, str], Estimate]:
    """Every pair of ranked methods once, in the order of `ranked`."""
    fair = [i for i, name in enumerate(ranked) if not studies[name].oracle]
    found = pairwise(total, [i + len(ROLES) for i in fair])
    return {(ranked[i - len(ROLES)], ranked[j - len(ROLES)]): one for (i, j), one in found.items() if i < j}


def _correction(n_methods: int) -> str:
    return f"95 %, simultaneous over {n_methods} methods (Bonferroni)" if n_methods > 1 else "95 %"


def _task_line(board: _Board, family: str, reference: str) -> TaskLine:
    study = board.studies[reference]
    return TaskLine(
        name=board.name,
        family=family,
        metric=study.metric,
        n_test=study.n_test,
        n_groups=study.n_groups,
        n_effective=study.n_effective,
        weak=study.score("weak"),
        reference=study.score("student"),
        ceiling=study.score("ceiling"),
        gap=study.gap,
        warnings=study.warnings,
    )


def _baseline_lines(boards: Mapping[str, _Board], families: Mapping[str, str]) -> tuple[BaselineLine, ...]:
    names = dict.fromkeys(name for board in boards.values() for name in (*board.baselines, *board.missing))
    return tuple(_baseline_line(name, boards, families) for name in sorted(names, key=list(ABOUT).index))


def _baseline_line(name: str, boards: Mapping[str, _Board], families: Mapping[str, str]) -> BaselineLine:
    scores: dict[str, Estimate] = {}
    pairs: list[Moments] = []
    for task, board in boards.items():
        if name in board.baselines:
            reference = next(iter(board.studies))
            both = [board.baselines[name], board.scores[reference]]
            pairs.append(board.moments_of(both))
            metric = METRICS[board.studies[reference].metric]
            own = board.moments_of([oriented(metric, one) for one in both])
            scores[task] = linear_interval(own, (1, 0), limits=metric.limits)
    gain = None
    if len(pairs) == len(boards):
        gain = difference(_combined(boards, pairs, families), (1, -1))
    missing = {task: board.missing[name] for task, board in boards.items() if name in board.missing}
    return BaselineLine(name=name, about=ABOUT[name], scores=scores, missing=missing, gain=gain)


def _seconds(store: Store, scored: Mapping[str, Scored]) -> float | None:
    """Mean seconds of one training of a method's student."""
    if not isinstance(store, DirectoryStore):
        return None
    keys = [student.key for one in scored.values() for _, student, _ in one.runs]
    return float(np.mean([store.about(key)["seconds"] for key in keys]))
