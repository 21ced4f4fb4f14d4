"""What is printed before and after a sweep: the dry run and the summary."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from oversight.cli.live import live_view, print_dry_run, print_summary
from oversight.runs.drive import Drive, Summary
from oversight.runs.graph import Graph
from oversight.runs.steps import Kind, Step
from oversight.runs.store import DirectoryStore, Outcome

TITLE = "sweep probe-fast"

# The summary


def steps(n: int, *, name: str = "reviews: {}") -> tuple[Step, ...]:
    """So many steps that need nothing."""
    return tuple(Step(kind="teach", version=1, config={"i": i}, name=name.format(i)) for i in range(n))


def graph_of(goals: tuple[Step, ...], broken: Callable[[int], bool] = lambda i: False) -> Graph:
    """Steps are done by giving nothing, or fail."""

    def run(several: Sequence[Step], inputs: Any, env: Any, tick: Any) -> list[Outcome]:
        if broken(several[0].config["i"]):
            raise ValueError(f"no {several[0].config['i']}\nfor a reason")
        return [Outcome(arrays={}, record={})]

    return Graph(goals=goals, kinds={"teach": Kind(run)}, env_of=lambda step: None)


def summed(
    summary: Summary, graph: Graph, capsys: pytest.CaptureFixture[str], *, found: int | None = None
) -> list[str]:
    """The lines of the summary."""
    print_summary(summary, graph, found=found)
    said = capsys.readouterr()
    assert said.out == ""
    return [line.removeprefix("oversight: ") for line in said.err.splitlines()]


def test_a_real_run_is_told_as_it_went(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    goals = steps(6)
    store = DirectoryStore(tmp_path / "store")
    Drive(graph_of(goals[:2]), store=store).run()
    reader = Step(kind="teach", version=1, config={"i": 99}, inputs=goals[5:], name="reader")
    graph = graph_of((*goals, reader), broken=lambda i: i >= 4)
    with live_view(TITLE) as watch:
        summary = Drive(graph, store=store, watch=watch).run()
    log = capsys.readouterr().err.splitlines()
    assert log[0] == f"oversight: {TITLE}: 7 steps, 2 there"
    assert log[-1] == f"oversight: {TITLE}: 2 failed (students 2), 1 skipped"
    lines = summed(summary, graph, capsys)
    assert re.fullmatch(r"2 steps computed, 2 were there, 2 failed, 1 skipped; \d+:\d\d", lines[0]), lines
    assert sorted(lines[1:3]) == [f"failed: reviews: {i}: {summary.failed[goals[i].key]}" for i in (4, 5)]
    assert lines[3:] == ["the same command with --retry-failed tries them again"]
    assert all("\n" not in error for error in lines)


def test_a_run_without_failures_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    goals = steps(3)
    summary = Summary(made=[goals[0].key], seconds=3723.4)
    assert summed(summary, graph_of(goals), capsys) == ["1 step computed, 2 were there; 1:02:03"]


def test_ten_failures_are_named_and_the_others_counted(capsys: pytest.CaptureFixture[str]) -> None:
    goals = steps(1212, name="s{}")
    summary = Summary(failed={step.key: "no" for step in goals})
    lines = summed(summary, graph_of(goals), capsys)
    assert lines[1:11] == [f"failed: s{i}: no" for i in range(10)]
    assert lines[11:] == [
        "and 1,202 more; see `oversight ls --failed`",
        "the same command with --retry-failed tries them again",
    ]


def test_a_step_without_a_name_goes_by_its_key_and_its_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    goals = steps(1, name="")
    lines = summed(Summary(failed={goals[0].key: "a\nb\x1b[2J"}), graph_of(goals), capsys)
    assert lines[1] == f"failed: {goals[0].key[:12]}: a b [2J"


@pytest.mark.parametrize(("found", "told"), [(None, ""), (3, ", 3 were there, 5 left")])
def test_a_stopped_run_does_not_call_what_is_left_found(
    found: int | None, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    goals = steps(10)
    summary = Summary(made=[step.key for step in goals[:2]], stopped=True, seconds=5)
    lines = summed(summary, graph_of(goals), capsys, found=found)
    assert lines == [f"stopped before the end: 2 steps computed{told}; 0:05"]


def test_a_damaged_result_is_counted_once(capsys: pytest.CaptureFixture[str]) -> None:
    goals = steps(2)
    summary = Summary(made=[goals[0].key, goals[0].key], damaged=["x: bad"])
    said = "1 step computed (1 of them damaged before), 1 was there; 0:00"
    assert summed(summary, graph_of(goals), capsys) == [said]


# The dry run


DRY: dict[str, Any] = {
    "plan": "probe-fast",
    "studies": 180,
    "tasks": ["reviews", "sciq"],
    "kinds": [
        {
            "kind": kind,
            "label": kind,
            "steps": steps,
            "asked": asked,
            "done": done,
            "to_do": steps - done,
            "seconds": time,
            "memory_bytes": memory,
        }
        for kind, steps, asked, done, time, memory in (
            ("teach", 1480, 3960, 100, 372.0, 1_200_000_000),
            ("judge", 8, 8, 0, None, None),
            ("features", 12, 360, 12, 0.0, None),
        )
    ],
    "steps": 1500,
    "asked": 4328,
    "done": 112,
    "seconds": None,
    "workers": 2,
    "seconds_left": None,
}


def dry(capsys: pytest.CaptureFixture[str], **changed: Any) -> list[str]:
    """The lines of a dry run."""
    print_dry_run({**DRY, **changed})
    said = capsys.readouterr()
    assert said.err == ""
    return said.out.splitlines()


@pytest.mark.parametrize("columns", ["80", "200"])
def test_a_dry_run_is_a_table_of_kinds_and_the_totals(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert dry(capsys) == [
        "probe-fast: 180 studies on reviews, sciq",
        "",
        "          steps  asked for  there  to do           time         memory",
        "features     12        360     12      0              -              -",
        "students  1,480      3,960    100  1,380          6 min         1.2 GB",
        "judge         8          8      0      8  not known yet  not known yet",
        "all       1,500      4,328    112  1,388  not known yet",
        "",
        "1,500 steps, 4,328 if the studies shared none; 112 there, 1,388 to do",
        "time on 2 workers: not known yet",
    ]


def test_a_dry_run_fits_a_narrow_terminal_without_losing_a_number(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = dry(capsys)
    assert max(len(line) for line in lines) <= 40
    told = " ".join(" ".join(lines).split())
    assert "students: steps 1,480, asked for 3,960, there 100, to do 1,380, time 6 min, memory 1.2 GB" in told
    assert "all: steps 1,500, asked for 4,328, there 112, to do 1,388, time not known yet" in told


@pytest.mark.parametrize(
    ("changed", "last"),
    [
        ({"workers": 1, "seconds": 372.0, "seconds_left": 372.0}, "time on 1 worker: about 6 min (6 min of work)"),
        ({"seconds": 372.0, "seconds_left": 186.0}, "time on 2 workers: about 3 min (6 min of work)"),
        ({"seconds_left": 372.0}, "time on 2 workers: about 6 min"),
        ({"done": 1500, "seconds": 0.0, "seconds_left": 0.0}, "nothing to do: every step is there"),
    ],
)
def test_a_dry_run_ends_with_the_time_it_takes(
    changed: dict[str, Any], last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dry(capsys, **changed)[-1] == last
