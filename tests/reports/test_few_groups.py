"""What boards and results say where groups are few or uneven, and where methods answer almost alike."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from synthetic_boards import board, reference, standing, task
from synthetic_results import study

from oversight.metrics.alike import Discordant
from oversight.reports.leaderboard import Leaderboard, Standing
from oversight.reports.leaderboard_html import main_table
from oversight.reports.leaderboard_tables import as_markdown
from oversight.reports.leaderboard_words import conclusion
from oversight.reports.result import Result
from oversight.reports.tables import as_csv, as_text
from oversight.reports.tables import as_markdown as study_markdown

TASKS = (task("apples"), task("pears"))


def alike(one: Standing, *found: Discordant) -> Standing:
    cells = {name: replace(cell, discordant=own) for (name, cell), own in zip(one.cells.items(), found, strict=True)}
    return replace(one, cells=cells)


def with_effective(one: Standing, n: float) -> Standing:
    return replace(one, gain=replace(one.gain, n_effective=n))


def made(one: Standing) -> Leaderboard:
    return board((reference(TASKS), one), TASKS)


def test_a_board_says_on_how_many_rows_a_method_differs() -> None:
    one = alike(standing("hard", 0.01, TASKS), Discordant(3, 1.2, 286), Discordant(0, 0.0, 14))
    assert one.discordant == Discordant(3, 1.2, 300)
    found = made(one)
    assert "| 3 of 300 |" in as_markdown(found) and "3 of 300" in str(main_table(found))
    (told,) = [method for method in found.as_json()["methods"] if method["method"] == "hard"]
    assert told["tasks"]["apples"]["discordant"] == {"rows": 3, "mean": 1.2, "n": 286}


@pytest.mark.parametrize(("effective", "verdict"), [(49.9, "too few groups"), (50.0, "better")])
def test_no_verdict_below_fifty_effective_groups(effective: float, verdict: str) -> None:
    one = with_effective(standing("hard", 0.05, TASKS), effective)
    assert one.gain.low > 0 and one.verdict == verdict
    said = conclusion(made(one))
    assert ("too few for a verdict" in said) == (verdict == "too few groups")


def test_a_study_shows_its_effective_groups_and_few_discordant_rows() -> None:
    discordant = {"student": Discordant(3, 3.0, 812), "ceiling": Discordant(99, 90.0, 812)}
    found = Result(studies=(study(n_effective=61.25, discordant=discordant),))
    text = as_text(found, width=200)
    assert "812 rows in 203 groups (effectively 61.2), 5 seeds" in text
    assert "student and supervisor choose differently on 3 of 812 rows" in text and "99 of 812" not in text
    assert "| 203 | 61.2 | 5 |" in study_markdown(found)
    head, row = (line.split(",") for line in as_csv(found).splitlines()[:2])
    assert row[head.index("n_effective")] == "61.25" and row[head.index("student_differs_rows")] == "3"
    told = found.as_json()
    assert told["n_effective"] == 61.25 and told["discordant"]["ceiling"]["rows"] == 99
    assert math.isclose(told["gap"]["n_effective"], 203.0)
