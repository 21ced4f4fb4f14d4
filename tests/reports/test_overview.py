"""Many studies on a page: counted as a naive count does, in grids without a hole, task by task, tables folded."""

from __future__ import annotations

import re
from statistics import median

import numpy as np
import pytest
from reading_pages import Tables
from synthetic_results import WITHIN_NOISE, about, estimate, ladder, one, rows_of, study

from oversight.errors import StepError
from oversight.reports.html import as_page
from oversight.reports.overview import counts, glance, sheet_blocks
from oversight.reports.result import Result, Study, TestRows
from oversight.reports.sections import OPEN_STUDIES, disagreements
from oversight.reports.words import interval, shown, value_of


def many(*, tasks: int = 1, seed: int = 0) -> Result:
    """4 supervisors x 3 students x 2 methods on each task: gains of either sign, gaps shown or not."""
    draw = np.random.default_rng(seed)
    studies: list[Study] = []
    for t in range(tasks):
        for weak in ("bow", "a@0", "a@1", "a@2"):
            for strong in ("a@3", "a@4", "a@5"):
                gap = draw.normal(0.05, 0.05)
                for method in ("naive", "confidence"):
                    noise = WITHIN_NOISE if gap < 0.05 else None
                    names = {"task": f"task{t}", "weak_model": weak, "strong_model": strong, "method": method}
                    gain = estimate(draw.normal(0.0, 0.05), 0.03)
                    studies.append(study(0.6, 0.62, 0.6 + gap, undefined=noise, **names, gain=gain))
    return Result(studies=tuple(studies), about=about(), rows_of=rows_of)


def test_at_a_glance_agrees_with_a_naive_count() -> None:
    result = many(tasks=2)
    (rows,) = Tables(glance(result)).found.values()
    for (name, *cells), (task, method) in zip(
        [[cell for cell, _ in row] for row in rows[1:]],
        [(task, method) for task in ("task0", "task1") for method in ("naive", "confidence")],
        strict=True,
    ):
        own = [each for each in result.studies if (each.task, each.method) == (task, method)]
        assert name == f"{task} {method}"
        gaps, pgrs = [each.gap.value for each in own], [each.pgr.value for each in own if each.pgr.defined]
        assert cells[0] == f"{median(gaps):.3f} ({min(gaps):.3f} to {max(gaps):.3f})".replace("-0.000", "0.000")
        assert cells[1] == f"{len(pgrs)} of {len(own)}"
        assert cells[2] == f"{median(pgrs):.2f} ({min(pgrs):.2f} to {max(pgrs):.2f})".replace("-0.00", "0.00")
        better, worse = sum(each.gain.low > 0 for each in own), sum(each.gain.high < 0 for each in own)
        assert cells[3:] == [str(better), str(worse), str(len(own) - better - worse)]
        assert counts(own) == f"12 studies: PGR defined in {len(pgrs)}, student better in {better}, worse in {worse}"


def test_few_studies_are_not_counted() -> None:
    assert glance(one()) == "" and glance(ladder(2, 3, ("naive",))) == ""
    assert glance(Result(studies=tuple(study(task=f"t{i}") for i in range(20)))) == ""


def test_every_cell_of_the_grids_is_its_study() -> None:
    result = many(tasks=2)
    grids = Tables(sheet_blocks(result, grids=True)).found
    assert len(grids) == 4
    for caption, (head, *rows) in grids.items():
        task, method = caption.split(": ")[:2]
        for (name, _), *cells in rows:
            for (text, look), (student, _) in zip(cells, head[1:], strict=True):
                (own,) = [
                    each
                    for each in result.studies
                    if (each.task, each.method, each.weak_model, each.strong_model)
                    == (task, method, name.split()[0], student.split()[0])
                ]
                better, worse = own.gain.low > 0, own.gain.high < 0
                assert look == ("ov-up" if better else "ov-down" if worse else "")
                assert ("better" in text, "worse" in text) == (better, worse)
                assert f"gap {shown(own.gap)}" in text
                wanted = f"PGR {shown(own.pgr, 2)}" if own.pgr.defined else f"no PGR: {WITHIN_NOISE}"
                assert text.startswith(wanted)


def test_names_in_a_grid_carry_the_scores_that_all_their_studies_share() -> None:
    head, first, *_ = next(iter(Tables(sheet_blocks(ladder(3, 1), grids=True)).found.values()))
    assert first[0][0] == f"bow {value_of(ladder().studies[0].score('weak'))}"
    assert head[1][0] == "naive"
    single = tuple(study(0.6, 0.7, 0.8, weak_model=w, strong_model=s) for w in "ab" for s in "cd")
    head, *_ = next(iter(Tables(sheet_blocks(Result(studies=single), grids=True)).found.values()))
    assert [text for text, _ in head] == ["supervisor", "c ceiling 0.800", "d ceiling 0.800"]


def test_a_pair_that_was_not_asked_for_is_said_to_be_none() -> None:
    (grid,) = Tables(sheet_blocks(Result(studies=many().studies[2::2]), grids=True)).found.values()
    assert [cell for row in grid for cell, _ in row].count("no study") == 1


def test_a_single_study_has_no_grid_and_its_page_no_counts() -> None:
    page = as_page(one())
    assert "ov-grid" not in page.split("</style>")[1] and "At a glance" not in page


@pytest.mark.parametrize("n", [OPEN_STUDIES, OPEN_STUDIES + 1])
def test_tables_of_many_studies_fold_away(n: int) -> None:
    page = as_page(Result(studies=(many().studies * 2)[:n]))
    folded = re.search(r"<details><summary>[^<]*scores of all \d+ studies</summary>", page)
    assert bool(folded) == (n > OPEN_STUDIES)
    assert (
        page.count("Test scores, gap (ceiling - weak)</span>".replace("weak)", "weak), PGR and gain (student - weak)"))
        == 1
    )


def test_every_study_is_in_a_table_under_its_own_task() -> None:
    result = many(tasks=3)
    page = as_page(result)
    for task in ("task0", "task1", "task2"):
        start = page.index(f"{task}: scores of all 24 studies")
        part = page[start : page.index("</details>", start)]
        own = [each for each in result.studies if each.task == task]
        assert part.count('scope="row"') == len(own) == 24
        for each in own:
            assert interval(each.gap) in part


def test_headings_figures_and_sentences_name_the_task_where_there_are_several() -> None:
    page = as_page(many(tasks=2))
    for task in ("task0", "task1"):
        assert f"<h3>{task}</h3>" in page
        assert f"<figcaption>{task}: accuracy and PGR by student, naive</figcaption>" in page
        assert page.count(f"<li>task {task}: ") == 24
    assert "48 studies of 2 tasks." in page


def test_many_tasks_fold_and_only_the_first_is_open() -> None:
    page = as_page(Result(studies=tuple(study(task=f"t{i}", method=m) for i in range(5) for m in "ab")))
    assert page.count("<details open><summary>t0: ") == page.count("<details open>") == 1
    assert "5 tasks: 10 weak-to-strong studies" in page


def test_what_is_not_drawn_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oversight.reports.overview.MOST_DRAWN", 3)
    studies = tuple(study(task=f"t{i}") for i in range(5))
    blocks = sheet_blocks(Result(studies=studies), grids=True)
    assert blocks.count("<svg") == 3 and "2 further test sets are not drawn" in blocks


def test_a_page_of_very_many_studies_leaves_details_to_other_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oversight.reports.sections.MOST_DETAILED", 23)
    page = as_page(many())
    assert "too much for a page" in page and "All metrics by role" not in page
    assert "Keys by role" not in page


def test_examples_that_are_gone_are_said_to_be() -> None:
    studies = tuple(study(method=name) for name in ("naive", "confidence", "other"))

    def rows(of: Study) -> TestRows:
        if of.method == "naive":
            raise StepError("result 0123456789ab is not in the store any more")
        if of.method == "other":
            raise KeyError("rows")
        return rows_of(of)

    found = disagreements(Result(studies=studies, rows_of=rows))
    assert "No examples: result 0123456789ab is not in the store any more." in found
    assert "No examples: the predictions of this study are not kept." in found
    assert found.count('class="ov-cards"') == 1
