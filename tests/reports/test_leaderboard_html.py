"""The page of a leaderboard: every number of the board, the verdict first, ties as ties, safe against its own data."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from reading_pages import NEVER, Page, Tables, numbers_of
from synthetic_boards import ENCODER, all_boards, board, no_interval, reference, standing, task
from synthetic_results import HOSTILE, about, estimate

from oversight.reports.leaderboard import Leaderboard
from oversight.reports.leaderboard_figure import APART, draw, forest, frame_of, key
from oversight.reports.leaderboard_html import MOST_PAIRED, as_page
from oversight.reports.leaderboard_words import conclusion, gain_interval, gain_shown, plus
from oversight.reports.words import number, shown, value_of

BOARDS = all_boards()
PAGES = {name: as_page(one) for name, one in BOARDS.items()}
TABLES = {name: Tables(text).found for name, text in PAGES.items()}


@pytest.fixture(params=list(BOARDS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def table_of(name: str, start: str) -> list[list[tuple[str, str]]]:
    """The one table whose caption starts so."""
    (found,) = [rows for caption, rows in TABLES[name].items() if caption.startswith(start)]
    return found


def words_of(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("text")]


def test_a_page_is_well_formed_and_semantic(name: str) -> None:
    page = Page(PAGES[name])
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) - len(page.all("svg")) == 1
    assert len(page.all("caption")) == len(page.all("table")) >= 2
    assert all(attributes.get("scope") in ("row", "col") for attributes in page.all("th"))
    assert all(attributes.get("role") == "img" and attributes.get("aria-label") for attributes in page.all("svg"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_a_page_asks_for_nothing_outside_and_runs_nothing(name: str) -> None:
    page = Page(PAGES[name])
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "img", "object", "embed", "base", "form"}
    for _, attributes in page.tags:
        assert not [key for key in attributes if key in ("src", "srcset", "action") or key.startswith("on")]
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"https?:|@import|url\((?!#)", PAGES[name])


def test_nothing_reads_nan_or_none(name: str) -> None:
    assert not NEVER.search(Page(PAGES[name]).text)


def test_every_table_has_as_many_cells_in_every_row(name: str) -> None:
    for caption, rows in TABLES[name].items():
        assert len({len(row) for row in rows}) == 1, caption


def test_text_of_the_user_stays_text() -> None:
    page = Page(PAGES["hostile"])
    assert "<script" not in PAGES["hostile"]
    assert len(page.all("style")) == 1 and not page.all("i") and not page.all("b")
    assert page.text.count(HOSTILE) > 20
    assert '" onload="x|a b' in page.text
    for part in (BOARDS["hostile"].tuning, BOARDS["hostile"].about):
        assert HOSTILE in str(part)


def test_the_conclusion_comes_first_and_then_its_limits_before_any_table(name: str) -> None:
    text = Page(PAGES[name]).text
    sentence = conclusion(BOARDS[name])
    assert text.count(sentence) == 1
    captions = [" ".join(caption.split()) for caption in TABLES[name]]
    assert text.index(sentence) < min(text.index(caption) for caption in captions)


@pytest.mark.parametrize("which", ["three verdicts", "tuned", "ties", "one method", "oracle", "one seed", "undefined"])
def test_every_number_of_the_json_is_on_the_page(which: str) -> None:
    found = set(re.findall(r"\d+(?:\.\d+)?", Page(PAGES[which]).text))
    for path, value in numbers_of(BOARDS[which].as_json()):
        forms = {str(abs(value)), f"{abs(value):.6g}", *(number(abs(value), digits) for digits in range(6))}
        assert forms & found, (path, value)


def test_a_row_of_the_main_table_is_its_method(name: str) -> None:
    head, *rows = table_of(name, "Gain over naive with intervals")
    names = [cell for cell, _ in head]
    one_by_one = zip(rows, BOARDS[name].standings, strict=True)
    for row, one in one_by_one:
        cells = dict(zip(names, row, strict=True))
        assert cells["method"][0].startswith(" ".join(one.method.split()))
        assert ("oracle" in cells["method"][0].split(), "exploratory" in cells["method"][0].split()) == (
            one.oracle,
            bool(one.exploratory),
        )
        best, worst = one.rank or (0, 0)
        assert cells["rank"][0] == ("-" if not one.rank else str(best) if best == worst else f"{best}-{worst}")
        n = len(BOARDS[name].tasks)
        assert cells["median PGR"][0].endswith(f"({n - len(one.undefined)} of {n})")
        if one.pgr.defined:
            assert cells["pooled PGR"][0] == shown(one.pgr, 2)
        if one.method == "naive":
            assert cells["gain"][0] == "reference" and cells["verdict"] == ("", "")
            continue
        if math.isfinite(one.gain.low):
            assert cells["gain"][0] == gain_shown(one.gain)
            assert cells["by itself"][0] == gain_interval(one.alone)
        text, look = cells["verdict"]
        assert text.endswith(one.verdict if math.isfinite(one.gain.low) else "no interval")
        assert look == cells["gain"][1] == {"better": "ov-up", "worse": "ov-down"}.get(one.verdict, "")


def test_p_values_have_a_column_only_where_there_are_some() -> None:
    assert "p (Holm)" in [cell for cell, _ in table_of("large", "Gain over naive with intervals")[0]]
    assert "p (Holm)" not in [cell for cell, _ in table_of("ties", "Gain over naive with intervals")[0]]
    assert "No p values: fewer than ten task families" in Page(PAGES["ties"]).text


def test_stars_and_shades_agree_with_a_naive_reading(name: str) -> None:
    shown_board = BOARDS[name]
    others = [one for one in shown_board.standings if one.method != "naive"]
    if not others:
        assert "Task by task" not in Page(PAGES[name]).text
        return
    _, *rows = table_of(name, "Gain over naive by task")
    for (_, *cells), one in zip(rows, others, strict=True):
        for (text, look), line in zip(cells, shown_board.tasks, strict=True):
            gain = one.cells[line.name].gain
            if not math.isfinite(gain.value):
                assert (text, look) == ("?", "")
                continue
            assert text == plus(gain.value) + ("*" if gain.low > 0 or gain.high < 0 else "")
            assert look[:7] == ("" if gain.value == 0 else "ov-more" if gain.value > 0 else "ov-less")


def test_one_method_far_off_does_not_take_the_shade_from_all_others() -> None:
    _, *rows = table_of("large", "Gain over naive by task")
    looks = [look for row in rows for _, look in row[1:]]
    assert {"ov-more1", "ov-more2", "ov-less1", "ov-less2", "ov-less3"} < set(looks)


def test_a_larger_gain_is_never_lighter() -> None:
    own = BOARDS["three verdicts"]
    _, *rows = table_of("three verdicts", "Gain over naive by task")
    shades = [
        (abs(one.cells[line.name].gain.value), int(look[-1] if look else 0))
        for row, one in zip(rows, own.standings[1:], strict=True)
        for (_, look), line in zip(row[1:], own.tasks, strict=True)
    ]
    ordered = [shade for _, shade in sorted(shades)]
    assert ordered == sorted(ordered) and ordered[0] < ordered[-1] == 3


def test_stars_are_said_to_be_uncorrected() -> None:
    (caption,) = [one for one in TABLES["ties"] if one.startswith("Gain over naive by task")]
    assert "not corrected" in caption and "one in twenty" in caption


def test_every_task_says_its_scores_and_why_pgr_is_undefined() -> None:
    own = BOARDS["three verdicts"]
    _, *rows = table_of("three verdicts", "Test scores with")
    for (text, *cells), line in zip([[cell for cell, _ in row] for row in rows], own.tasks, strict=True):
        assert text == f"{line.name} family {line.family}, accuracy, 812 rows in 203 groups"
        assert cells[:4] == [shown(one) for one in (line.weak, line.reference, line.ceiling, line.gap)]
        assert cells[4] == shown(own.standings[0].cells[line.name].pgr, 2)
    assert rows[1][-1][0] == "undefined: the gap is within noise"


def test_scores_and_pgr_of_every_method_on_every_task_are_there() -> None:
    own = BOARDS["three verdicts"]
    for line in own.tasks:
        _, *rows = table_of("three verdicts", f"{line.name}: accuracy")
        for row, one in zip([[cell for cell, _ in row] for row in rows], own.standings, strict=True):
            cell = one.cells[line.name]
            gain = "reference" if one.method == "naive" else gain_shown(cell.gain)
            assert row == [one.method, shown(cell.student), gain, shown(cell.pgr, 2)]


def test_families_are_named_only_where_tasks_share_one() -> None:
    assert "family" not in table_of("large", "Test scores with")[1][0][0]


def test_baselines_are_always_there_and_say_why_they_are_not() -> None:
    rows = {row[0][0]: [cell for cell, _ in row[1:]] for row in table_of("three verdicts", "Test scores, and")[1:]}
    own = {one.name: one for one in BOARDS["three verdicts"].baselines}
    first = own["weak to weak"]
    assert first.gain is not None
    scores = [shown(score) for score in first.scores.values()]
    assert rows["weak to weak about weak to weak"] == [gain_shown(first.gain), *scores]
    assert rows["bag of words about bag of words"][:2] == ["not on every task", "it failed"]
    assert rows["strong, zero-shot about strong, zero-shot"] == [f"not applicable: {ENCODER}", "-", "-", "-"]


def test_methods_that_are_left_out_are_named_with_the_reason() -> None:
    rows = [[cell for cell, _ in row] for row in table_of("unfinished", "Methods that are not compared")[1:]]
    assert rows == [
        ["own", "not finished", "apples: RuntimeError: never"],
        ["mean", "not applicable", "needs 2 or more supervisors, found 1"],
    ]
    assert "Not finished, and therefore not compared: own." in Page(PAGES["unfinished"]).text
    assert "Not on the board" not in Page(as_page(board(not_applicable={}))).text


def test_how_settings_were_chosen_is_told() -> None:
    rows = {row[0][0]: [cell for cell, _ in row[1:]] for row in table_of("tuned", "Chosen settings")[1:]}
    assert rows == {
        "naive": ["1 setting", "defaults", "+0.021", "-"],
        "confidence": ["3 settings", "aux_weight: 0.25", "+0.033", "defaults: +0.011aux_weight: 0.75: failed"],
    }
    text = Page(PAGES["tuned"]).text
    assert "On plums, figs, none of them on the board" in text
    assert (
        "confidence is exploratory: 2 other settings of it had been scored on the test rows of apples before." in text
    )
    assert "Better, but exploratory" in text
    assert "Settings of confidence were given by hand." in Page(PAGES["three verdicts"]).text
    assert "Every method ran with its default settings" in Page(PAGES["ties"]).text


def test_a_trial_without_a_number_reads_as_failed() -> None:
    tried = [{"settings": {"limit": math.inf}, "gain_over_weak": math.nan, "chosen": True}]
    found = Tables(as_page(board(tuning={"development_tasks": ["figs"], "trials": {"hard": tried}}))).found
    (rows,) = [rows for caption, rows in found.items() if caption.startswith("Chosen settings")]
    assert [cell for cell, _ in rows[1]] == ["hard", "1 setting", "limit: inf", "failed", "-"]


def test_pairs_that_are_told_apart_stand_with_the_better_one_first() -> None:
    own = BOARDS["three verdicts"]
    rows = [[cell for cell, _ in row] for row in table_of("three verdicts", "Pairs that are told apart")[1:]]
    apart = {pair: one for pair, one in own.differences.items() if one.low > 0 or one.high < 0}
    gains = {one.method: one.gain.value for one in own.standings}
    assert len(rows) == len(apart) == 5
    for better, worse, difference in rows:
        assert gains[better] > gains[worse] and difference.startswith("+")
        one = apart.get((better, worse)) or apart[worse, better]
        low, high = sorted((abs(one.low), abs(one.high)))
        assert difference == f"{plus(abs(one.value))} [{plus(low)}, {plus(high)}]"
    assert "Of 6 pairs of ranked methods, 5 are told apart" in Page(PAGES["three verdicts"]).text


def test_pairs_of_ties_are_all_ties() -> None:
    assert "Of 6 pairs of ranked methods, 0 are told apart" in Page(PAGES["ties"]).text
    assert not [caption for caption in TABLES["ties"] if caption.startswith("Pairs that are told apart")]


def test_the_matrix_of_pairs_is_for_few_methods() -> None:
    assert table_of("three verdicts", "Row minus column")
    assert len(BOARDS["large"].standings) > MOST_PAIRED
    assert not [caption for caption in TABLES["large"] if caption.startswith("Row minus column")]


def test_warnings_stand_before_the_first_table_and_name_their_task() -> None:
    tasks = (task("apples", warnings=("few rows", "few groups")),)
    text = Page(as_page(board((reference(tasks), standing("hard", 0.01, tasks)), tasks))).text
    assert "2 warnings apples: few rows apples: few groups" in text
    assert text.index("2 warnings") < text.index("Gain over naive with")


def test_what_made_the_board_is_told() -> None:
    text = Page(PAGES["ties"]).text
    facts = about()
    for part in (facts["command"], "torch 2.11.0", "41.7 seconds", facts["store"]):
        assert part in text
    assert "Where this comes from" not in Page(PAGES["undefined"]).text


def test_the_page_follows_light_and_dark_and_small_screens(name: str) -> None:
    assert "prefers-color-scheme: dark" in PAGES[name] and "max-width: 34rem" in PAGES[name]
    assert "/*LIGHT*/" not in PAGES[name] and "/*DARK*/" not in PAGES[name]
    drawn = re.findall(r"<svg.*?</svg>", PAGES[name], re.DOTALL)
    for colour in re.findall(r"(?:fill|stroke): ([^;\"]+)", " ".join(drawn)):
        assert colour == "none" or colour.startswith("var(--ov-"), colour


def test_the_same_board_gives_the_same_page_and_a_large_one_stays_small(name: str) -> None:
    assert len(PAGES[name].encode()) < 1_000_000
    if name in ("three verdicts", "hostile"):
        assert as_page(BOARDS[name]) == PAGES[name]


def test_a_board_writes_its_own_page(tmp_path: Path) -> None:
    path = BOARDS["ties"].report(tmp_path / "board.html")
    assert path.read_text(encoding="utf-8") == PAGES["ties"]


def drawn(of: Leaderboard) -> Any:
    drawing = forest(of)
    assert drawing is not None
    return drawing


def test_methods_are_drawn_in_the_order_of_the_board() -> None:
    own = BOARDS["three verdicts"]
    names = [one.method for one in own.standings]
    words = words_of(drawn(own).svg)
    assert [word for word in words if word in names] == names
    assert "gain over naive" in words and "place" in words


def test_lines_stand_beside_the_names_they_belong_to() -> None:
    from matplotlib.figure import Figure

    own = BOARDS["three verdicts"]
    figure = Figure()
    draw(figure, board=own)
    left, right = figure.axes
    at = dict(zip((text.get_text() for text in left.get_yticklabels()), left.get_yticks(), strict=True))
    gains, ranks = ([(*line.get_xdata(), *line.get_ydata()) for line in axes.lines] for axes in (left, right))
    for one in own.standings:
        y = at[one.method]
        assert (one.gain.value, y) in gains
        assert (*(one.rank or ()), y, y) in ranks
        if one.method != "naive":
            assert (one.gain.low, one.gain.high, y, y) in gains
            assert (one.alone.low, one.alone.high, y - APART, y - APART) in gains
    assert [at[one.method] for one in own.standings] == sorted(at.values(), reverse=True)


def test_the_drawing_says_in_words_what_it_shows() -> None:
    label = ElementTree.fromstring(drawn(BOARDS["three verdicts"]).svg).attrib["aria-label"]
    for one in BOARDS["three verdicts"].standings[1:]:
        assert f"{one.method} {gain_shown(one.gain)}, {one.verdict}" in label


@pytest.mark.parametrize(("gain", "colour"), [(0.05, "--ov-s1"), (-0.05, "--ov-s2"), (0.0, "--ov-muted")])
def test_the_colour_is_the_verdict(gain: float, colour: str) -> None:
    tasks = (task("apples"),)
    svg = drawn(board((reference(tasks), standing("hard", gain, tasks)), tasks)).svg
    used = {one for one in ("--ov-s1", "--ov-s2") if one in svg}
    assert used == {colour} - {"--ov-muted"}


def test_oracles_and_exploratory_methods_are_marked_and_the_key_says_how() -> None:
    assert "oracle_early_stopping °" in words_of(drawn(BOARDS["oracle"]).svg)
    assert "° saw ground truth" in key(BOARDS["oracle"]) and "†" not in key(BOARDS["oracle"])
    assert "confidence †" in words_of(drawn(BOARDS["tuned"]).svg)
    assert "† exploratory" in key(BOARDS["tuned"])


def test_the_axis_holds_zero_and_all_intervals_but_those_far_off() -> None:
    low, high = frame_of(BOARDS["three verdicts"])
    for one in BOARDS["three verdicts"].standings:
        assert low < 0 < high and low < one.gain.low <= one.gain.high < high
    far = frame_of(BOARDS["large"])
    assert far[0] > -0.2
    assert "← -0.400" in words_of(drawn(BOARDS["large"]).svg)


def test_what_has_no_number_is_said_to_have_none() -> None:
    assert [word.strip() for word in words_of(drawn(BOARDS["undefined"]).svg)].count("undefined") == 2
    low, high = frame_of(BOARDS["undefined"])
    assert math.isfinite(low) and math.isfinite(high) and low < high


def test_values_without_intervals_are_drawn_without() -> None:
    tasks = (task("apples"),)
    rows = (reference(tasks), replace(standing("hard", 0.01, tasks), gain=no_interval(0.01), alone=no_interval(0.01)))
    low, high = frame_of(board(rows, tasks))
    assert low < 0 < 0.01 < high
    assert drawn(board(rows, tasks)).svg


def test_a_reference_alone_is_not_drawn() -> None:
    assert forest(BOARDS["reference alone"]) is None
    assert "nothing is ranked beside naive" in Page(PAGES["reference alone"]).text


def test_a_table_shows_more_decimals_where_three_would_hide_a_bound() -> None:
    tasks = (task("apples"),)
    narrow = replace(standing("hard", 0.0103, tasks), gain=estimate(0.0103, 0.0102))
    found: Mapping[str, list[list[tuple[str, str]]]] = Tables(as_page(board((reference(tasks), narrow), tasks))).found
    (rows,) = [rows for caption, rows in found.items() if caption.startswith("Gain over naive with")]
    assert rows[2][1][0] == "+0.0103 [+0.0001, +0.0205]" and value_of(narrow.gain) == "0.0103"
