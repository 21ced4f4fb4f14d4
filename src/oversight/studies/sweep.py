"""Many studies at once: what they would take, and how they are run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from oversight.reports.result import Result
from oversight.runs.drive import Drive, Stop, Summary
from oversight.runs.estimates import learned
from oversight.runs.graph import Graph
from oversight.runs.pools.pool import Pool, Status
from oversight.runs.schedule import Schedule
from oversight.runs.steps import Step
from oversight.runs.store import Store
from oversight.studies.plan import Scoring
from oversight.studies.weak_to_strong import Campaign, now, write_down


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What a sweep gave.

    Attributes:
        campaign: what was run.
        result: the finished studies.
        unfinished: how many are not finished.
        summary: what became of the steps.
    """

    campaign: Campaign
    result: Result
    unfinished: int
    summary: Summary


def run_sweep(
    campaign: Campaign,
    *,
    title: str,
    store: Store,
    pool: Callable[[], Pool] | None = None,
    about: Mapping[str, Any] | None = None,
    watch: Callable[[Status], None] | None = None,
    retry_failed: bool = False,
    memory_bytes: int | None = None,
    stop: Stop | None = None,
) -> Swept:
    """Run what the store does not have; a step that fails does not stop the others.

    Args:
        campaign: what to run.
        title: of what is written down in the store.
        store: where results are kept.
        pool: makes the workers, called only where something is to be done; None = this process.
        about: what the result says of itself.
        watch: shown how things stand.
        retry_failed: whether steps that failed in an earlier run are tried again.
        memory_bytes: that steps may take at once; None = no limit.
        stop: looked at between steps.
    """

    def run(*, retry: bool) -> Summary:
        missing = bool(campaign.graph.missing(store.peek))
        workers = pool() if pool is not None and missing else None  # what refuses to work leaves nothing written
        try:
            write_down(store, campaign.kept(title, {**(about or {}), "made": now()}))
            drive = Drive(
                campaign.graph,
                store=store,
                pool=workers,
                watch=watch,
                retry_failed=retry,
                memory_bytes=memory_bytes,
                stop=stop,
            )
        except BaseException:
            if workers is not None:
                workers.close(now=True)
            raise
        return drive.run()

    summary = run(retry=retry_failed)
    result, unfinished = campaign.result(store, about=about)
    while not summary.stopped and _found_damaged(campaign.graph, store, summary):
        summary = _continued(summary, run(retry=False))
        result, unfinished = campaign.result(store, about=about)
    known = (*summary.damaged, *getattr(store, "damaged", ()))
    summary.damaged = list(dict.fromkeys(known))
    return Swept(campaign=campaign, result=result, unfinished=unfinished, summary=summary)


def _found_damaged(graph: Graph, store: Store, summary: Summary) -> bool:
    """Whether a goal that was thought to be there is not: it was damaged when its numbers were read, and removed."""
    known = summary.failed.keys() | summary.skipped.keys()
    return any(goal.key not in known and not store.peek(goal.key) for goal in graph.goals)


def _continued(summary: Summary, further: Summary) -> Summary:
    """Two runs of one graph as one."""
    return replace(
        further,
        made=[*summary.made, *further.made],
        found=summary.found - len(set(further.made) - set(summary.made)),
        damaged=[*summary.damaged, *further.damaged],
        seconds=summary.seconds + further.seconds,
    )


def count_sweep(campaign: Campaign, store: Store, *, workers: int) -> dict[str, Any]:
    """The graph in numbers, ready for JSON: steps by kind, how many studies share them, what is done, what it takes.

    Seconds and memory are learned from finished steps of the same kind; None where there are none yet.
    """
    graph = campaign.graph
    missing = graph.missing(store.peek)
    estimates = learned(store, graph.kinds)
    asked = Counter(step.kind for step in own_steps(campaign))
    kinds: list[dict[str, Any]] = []
    for kind, total in Counter(step.kind for step in graph.steps.values()).items():
        to_do = [graph.steps[key] for key in missing if graph.steps[key].kind == kind]
        seconds = [estimates.seconds(step) for step in to_do]
        memory = max((estimates.memory_bytes(step, graph.env_of(step)) for step in to_do), default=0)
        kinds.append(
            {
                "kind": kind,
                "label": graph.kinds[kind].label or kind,
                "steps": total,
                "asked": asked[kind],
                "done": total - len(to_do),
                "to_do": len(to_do),
                "seconds": None if None in seconds else sum(one for one in seconds if one is not None),
                "memory_bytes": memory or None,
            }
        )
    known = [one["seconds"] for one in kinds]
    return {
        "studies": len(campaign.scored),
        "tasks": list(dict.fromkeys(one.setup.task.name for one in campaign.scored)),
        "kinds": kinds,
        "steps": len(graph.steps),
        "asked": sum(asked.values()),
        "done": len(graph.steps) - len(missing),
        "seconds": None if None in known else sum(known),
        "workers": workers,
        "seconds_left": Schedule(graph, missing, estimates).seconds_left(workers) if missing else 0.0,
    }


def own_steps(campaign: Campaign) -> list[Step]:
    """The steps of every study if each computed its own: without naive's students, that stand beside a score here."""
    graph, found = campaign.graph, list[Step]()
    for one in campaign.scored:
        scoring: Scoring = graph.env_of(one.step).objects[one.step.key]
        *predicted, rows = one.step.inputs
        inputs = (*predicted[: len(predicted) - scoring.n_naive], rows)
        own = Graph(goals=inputs, kinds=graph.kinds, env_of=graph.env_of)
        found += [*own.steps.values(), one.step]
    return found
