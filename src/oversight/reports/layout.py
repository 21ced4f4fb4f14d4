"""Which numbers stand where: studies sorted into sheets (one per test set) and panels (one per method)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oversight.reports.words import clean, method, plural, supervisor, unique

if TYPE_CHECKING:
    from oversight.reports.result import Result, Study

Names = dict[tuple[str, str], str]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes: scores above, PGR below.

    Attributes:
        title: the method, empty when it is on the x axis.
        axis: what the x axis holds: student, method or supervisor.
        ticks: m names on the x axis.
        series: by supervisor, m studies, None where there is none.
    """

    title: str
    axis: str
    ticks: tuple[str, ...]
    series: Mapping[str, tuple[Study | None, ...]]

    @property
    def studies(self) -> tuple[Study, ...]:
        """All studies of the panel."""
        return tuple(study for row in self.series.values() for study in row if study is not None)


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """The figure of one task, test set and metric.

    Attributes:
        task, test, metric: which.
        heading: the task, the test set unless it is the task's own, and the metric where there are several.
        panels: left to right.
        supervisors: all of the result, so that a colour means the same everywhere.
    """

    task: str
    test: str
    metric: str
    heading: str
    panels: tuple[Panel, ...]
    supervisors: tuple[str, ...]

    @property
    def studies(self) -> tuple[Study, ...]:
        """All studies of the sheet."""
        return tuple(study for panel in self.panels for study in panel.studies)


def sheets(result: Result) -> tuple[Sheet, ...]:
    """Studies by task, test set and metric, in the order given."""
    found: dict[tuple[str, str, str], list[Study]] = {}
    for study in result.studies:
        found.setdefault((study.task, study.test, study.metric), []).append(study)
    names = _supervisors(result)
    supervisors = tuple(unique(names.values()))
    places = [(task, test) for task, test, _ in found]
    return tuple(
        Sheet(
            task=task,
            test=test,
            metric=metric,
            heading=_heading(task, test, metric if places.count((task, test)) > 1 else ""),
            panels=_panels(studies, names),
            supervisors=supervisors,
        )
        for (task, test, metric), studies in found.items()
    )


def _heading(task: str, test: str, metric: str) -> str:
    """`reviews, test set shifted, auroc`."""
    parts = [clean(task), "" if test == "test" else f"test set {clean(test)}", clean(metric)]
    return ", ".join(part for part in parts if part)


def _supervisors(result: Result) -> Names:
    """By model and training the name of a supervisor; one model trained in two ways is two supervisors."""
    found = dict.fromkeys((study.weak_model, study.weak_train) for study in result.studies)
    models = [model for model, _ in found]
    return {
        (model, train): supervisor(model, train) if models.count(model) == 1 else f"{clean(model)}, {clean(train)}"
        for model, train in found
    }


def _supervisor(study: Study, names: Names) -> str:
    return names[study.weak_model, study.weak_train]


def _panels(studies: list[Study], names: Names) -> tuple[Panel, ...]:
    """Students on the x axis where there are several, else methods, else supervisors."""
    variants = _variants(studies, names)
    ways = unique(variants)
    students = unique(clean(study.strong_model) for study in studies)
    if len(students) > 1:
        return tuple(
            _panel(
                way,
                "student",
                students,
                [(s, clean(s.strong_model)) for s, v in _zip(studies, variants) if v == way],
                names,
            )
            for way in ways
        )
    if len(ways) > 1:
        return (_panel("", "method", ways, _zip(studies, variants), names),)
    weak = [_supervisor(study, names) for study in studies]
    return (_panel(ways[0], "supervisor", unique(weak), _zip(studies, weak), names),)


def _zip(studies: list[Study], names: list[str]) -> list[tuple[Study, str]]:
    return list(zip(studies, names, strict=True))


def _variants(studies: list[Study], names: Names) -> list[str]:
    """The method of each study, with training and seeds where they differ, and a number where all names repeat."""
    trains = len({study.train for study in studies}) > 1
    seeds = len({study.seeds for study in studies}) > 1
    seen: dict[tuple[str, str, str], int] = {}
    variants: list[str] = []
    for study in studies:
        extra = [clean(study.train)] * trains + [plural(study.seeds, "seed")] * seeds
        name = ", ".join([method(study), *extra])
        key = (_supervisor(study, names), clean(study.strong_model), name)
        seen[key] = seen.get(key, 0) + 1
        variants.append(name if seen[key] == 1 else f"{name} #{seen[key]}")
    return variants


def _panel(title: str, axis: str, ticks: list[str], placed: list[tuple[Study, str]], names: Names) -> Panel:
    rows: dict[str, list[Study | None]] = {}
    for study, tick in placed:
        row = rows.setdefault(_supervisor(study, names), [None] * len(ticks))
        row[ticks.index(tick)] = study
    series = {supervisor: tuple(row) for supervisor, row in rows.items()}
    return Panel(title=title, axis=axis, ticks=tuple(ticks), series=series)
