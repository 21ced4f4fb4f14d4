"""Fine-tuning in the page: the settings that were used, the rates that were tried, and what the curves show."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from synthetic_results import about, fit, ladder, one, rows_of, study, tuned, tuned_ladder

import oversight as ov
from oversight.reports.curves import as_curves
from oversight.reports.fits import Training, trainings
from oversight.reports.html import as_page
from oversight.reports.palette import LIGHT, colour_of_role
from oversight.reports.result import ROLES, Result, Study
from oversight.reports.training import MOST_CURVES, SETTINGS, amount, training

NEVER = re.compile(r"\b(nan|NaN|None|inf)\b")
BLUE = f"var(--ov-s1, {LIGHT['s1']})"


def result_of(*studies: Study) -> Result:
    return Result(studies=studies, about=about(), rows_of=rows_of)


def plain_text(markup: str) -> str:
    without = re.sub(r"<svg.*?</svg>", " ", markup, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", without)).split())


def tables(result: Result) -> list[list[list[str]]]:
    """The cells of every table of the section, as text."""
    return [
        [
            [plain_text(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]
            for row in re.findall(r"<tr>(.*?)</tr>", found, re.DOTALL)
        ]
        for found in re.findall(r"<table.*?</table>", training(result), re.DOTALL)
    ]


def setting(name: str, a_study: Study) -> list[str]:
    """The cells of one row of the first table, by role."""
    (row,) = [row for row in tables(result_of(a_study))[0] if row[0] == name]
    return row[1:]


def student_of(fits: Sequence[dict[str, Any]], **changes: Any) -> Study:
    """A study of which only the student was fine-tuned."""
    choices = {**study().choices, "student": list(fits)}
    return study(seeds=len(fits), train="full", choices=choices, **changes)


def only(a_study: Study) -> Training:
    (found,) = trainings(result_of(a_study))
    return found


def lines(svg: str, colour: str) -> list[list[tuple[float, float]]]:
    """The vertices of every drawn line of a colour, legend included."""
    found = [
        re.findall(r"[ML] (\S+) (\S+)", element.get("d", ""))
        for element in ElementTree.fromstring(svg).iter("path")
        if "fill: none" in element.get("style", "") and f"stroke: {colour}" in element.get("style", "")
    ]
    return [[(float(x), float(y)) for x, y in points] for points in found]


def marks(svg: str, colour: str) -> list[tuple[float, float]]:
    """Where markers with an edge of that colour stand; ticks of the axes have another one."""
    return [
        (float(element.get("x", "nan")), float(element.get("y", "nan")))
        for element in ElementTree.fromstring(svg).iter("use")
        if f"stroke: {colour}" in element.get("style", "")
    ]


@pytest.mark.parametrize("result", [one(), one(seeds=1), ladder(), Result(studies=())])
def test_nothing_is_said_where_nothing_was_fine_tuned(result: Result) -> None:
    assert training(result) == ""
    assert "Training" not in plain_text(as_page(result))


@pytest.mark.parametrize("roles", [("weak",), ("student",), ("ceiling", "student"), ROLES])
def test_only_roles_that_were_fine_tuned_have_a_column(roles: tuple[str, ...]) -> None:
    names = {"weak": "supervisor minilm@0", "student": "student minilm@4", "ceiling": "ceiling minilm@4"}
    head = tables(result_of(tuned(roles=roles)))[0][0]
    assert head == ["setting", *(names[role] for role in ROLES if role in roles)]


def test_settings_read_as_they_were_used() -> None:
    """Three seeds: 12.3, 13.3 and 14.3 seconds; agreement .6 + 20 lr + .011 seed + .05 * 4 = .804, .815, .826."""
    assert [row[:2] for row in tables(result_of(tuned()))[0][1:]] == [
        ["trained by", "full"],
        ["learning rate", "0.0002"],
        ["updates", "100 in 2 epochs"],
        ["batch", "32 of 1,600 rows"],
        ["schedule", "cosine, 5 % warm-up"],
        ["kept at update", "100"],
        ["agreement there", "0.815 (0.804 to 0.826)"],
        ["undertrained", "no"],
        ["trained weights", "147k of 22.7M"],
        ["precision", "float32 on cpu"],
        ["texts", "packed"],
        ["seconds", "13.3 (12.3 to 14.3), 1 thread"],
    ]


def test_the_update_whose_weights_were_kept_has_a_mean_and_a_range() -> None:
    """Evaluations at 20, 40, ..., 100; (20 + 40 + 100) / 3 = 53."""
    assert setting("kept at update", student_of([fit(i, best=best) for i, best in enumerate((0, 1, 4))])) == [
        "53 (20 to 100)"
    ]


def test_weights_of_the_last_update_are_told_from_chosen_ones() -> None:
    assert setting("kept at update", student_of([fit(best=4, early_stopping=False)])) == [
        "100, the last (no early stopping)"
    ]


def test_rates_that_differ_between_seeds_are_counted() -> None:
    fits = [fit(i, lr=lr) for i, lr in enumerate((1e-5, 5e-4, 1e-5))]
    assert setting("learning rate", student_of(fits)) == ["1e-5 (2 of 3 seeds), 0.0005 (1 of 3 seeds)"]


def test_padding_says_why() -> None:
    assert setting("texts", tuned()) == ["packed", "packed", "padded: no packing here"]


def test_undertrained_runs_are_counted_and_stand_out() -> None:
    assert setting("undertrained", tuned()) == ["no", "1 of 3 seeds", "no"]
    assert '<span class="ov-flag">1 of 3 seeds</span>' in training(result_of(tuned()))


def test_what_no_role_says_is_left_out_and_what_one_lacks_is_a_dash() -> None:
    bare = {"curve": fit()["curve"], "stopped_at": 80, "lr": 1e-4}
    choices = {**study().choices, "weak": [{**bare, "epochs": 3, "updates": 9}] * 2, "student": [bare] * 2}
    rows = tables(result_of(study(seeds=2, train="full", choices=choices)))[0][1:]
    assert ["updates", "9 in 3 epochs", "-"] in rows
    assert not {"texts", "seconds", "trained weights", "precision", "trained by"} & {row[0] for row in rows}


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0"),
        (770, "770"),
        (9999, "9,999"),
        (147456, "147k"),
        (999_999, "1M"),
        (1_026_434, "1.03M"),
        (8.03e9, "8.03B"),
    ],
)
def test_sizes_have_three_digits(count: float, expected: str) -> None:
    assert amount(count) == expected


def test_every_trial_of_a_search_is_kept_and_the_chosen_one_marked() -> None:
    """The rate of the first seed is 1e-4, that of the two others 5e-5: both were tried in all three."""
    _, trials = tables(result_of(tuned()))
    assert trials[0] == ["rate", "chosen", "agreement", "cross-entropy", "kept at update", "undertrained"]
    assert [row[:2] for row in trials[1:]] == [["0.0001", "in seed 0"], ["5e-5", "in seeds 1, 2"]]
    assert [row[2] for row in trials[1:]] == ["0.663 (0.652 to 0.674)", "0.662 (0.651 to 0.673)"]


def test_a_rate_that_was_never_chosen_is_listed() -> None:
    fits = [fit(i, lr=1e-4, tries=(1e-4, 1e-3, 1e-5)) for i in range(2)]
    rows = tables(result_of(student_of(fits)))[1][1:]
    assert [row[:2] for row in rows] == [["0.0001", "in all 2 seeds"], ["0.001", "no"], ["1e-5", "no"]]


def test_one_rate_is_no_search() -> None:
    assert len(tables(result_of(student_of([fit(tries=(2e-4,))])))) == 1


def test_several_supervisors_are_told_apart() -> None:
    """Their fits stand beside each other in every seed: bow, first, second, bow, first, second, ..."""
    fits = [one for i in range(3) for one in ({"penalty": 1.0}, fit(i, best=2), fit(i, best=4))]
    both = tuned(weak_model="bow+minilm@0+minilm@2", weak_train="bow+full", choices={**tuned().choices, "weak": fits})
    assert tables(result_of(both))[0][0][1:3] == ["supervisor minilm@0", "supervisor minilm@2"]
    assert setting("kept at update", both)[:2] == ["60", "100"]


def test_test_sets_of_one_training_tell_of_it_once() -> None:
    assert len(tuned_ladder().studies) == 2 * len(trainings(tuned_ladder())) == 36
    assert "test shifted" not in plain_text(training(result_of(tuned(), tuned(test="shifted"))))


@pytest.mark.parametrize(
    ("changes", "student"), [({}, "student: weak labels"), ({"oracle": True}, "student: true labels: oracle")]
)
def test_every_curve_says_which_labels_it_is_compared_to(changes: dict[str, Any], student: str) -> None:
    agreement, _ = as_curves(only(tuned(**changes)))
    words = {element.text for element in ElementTree.fromstring(agreement.svg).iter("text")}
    assert {"supervisor: true labels", student, "ceiling: true labels"} <= words
    assert len([text for text in words if text and "labels" in text]) == 3


def test_the_text_says_which_labels_each_role_was_compared_to() -> None:
    text, oracle = (plain_text(training(result_of(tuned(oracle=oracle)))) for oracle in (False, True))
    for words in ("supervisor with true labels of rows held apart", "ceiling with true labels of the validation rows"):
        assert words in text and words in oracle
    assert "the student with the supervisor's labels" in text and "oracle" not in text
    assert "an oracle's student with true labels" in oracle and "the student with the" not in oracle


@pytest.mark.parametrize("which", [0, 1], ids=["agreement", "loss"])
def test_there_is_one_line_per_seed_and_role(which: int) -> None:
    drawing = as_curves(only(tuned(seeds=4)))[which]
    for name, role in (("muted", "weak"), ("s1", "student"), ("ink", "ceiling")):
        assert LIGHT[name] == colour_of_role(role)
        curves = [line for line in lines(drawing.svg, f"var(--ov-{name}, {LIGHT[name]})") if len(line) == 5]
        assert len(curves) == 4


@pytest.mark.parametrize("which", [0, 1], ids=["agreement", "loss"])
@pytest.mark.parametrize("best", range(5))
def test_the_dot_is_on_the_evaluation_that_was_kept(best: int, which: int) -> None:
    drawing = as_curves(only(student_of([fit(best=best)])))[which]
    (curve,) = [line for line in lines(drawing.svg, BLUE) if len(line) == 5]
    assert marks(drawing.svg, BLUE) == [pytest.approx(curve[best])]


def test_a_triangle_on_the_loss_marks_each_undertrained_run() -> None:
    """Three dots each; one more mark for each run that was undertrained, at the end of its line."""
    for n in range(3):
        agreement, loss = as_curves(only(student_of([fit(i, undertrained=i < n) for i in range(3)])))
        assert (len(marks(agreement.svg, BLUE)), len(marks(loss.svg, BLUE))) == (3, 3 + n)
        ends = [line[-1][0] for line in lines(loss.svg, BLUE) if len(line) == 5]
        assert sum(x == pytest.approx(ends[0]) for x, _ in marks(loss.svg, BLUE)) == n


def test_the_triangle_is_explained_where_there_is_one() -> None:
    assert "hollow triangle" in plain_text(training(result_of(tuned())))
    assert "hollow triangle" not in plain_text(training(result_of(student_of([fit()]))))


def test_a_curve_of_one_evaluation_is_a_dot() -> None:
    single = fit(curve=fit()["curve"][:1], stopped_at=20)
    assert [len(marks(drawing.svg, BLUE)) for drawing in as_curves(only(student_of([single])))] == [1, 1]


def test_numbers_that_are_missing_leave_holes() -> None:
    curve = [{"step": 20.0, "loss": None, "agreement": 0.5}, {"step": 40.0, "loss": 0.4, "agreement": math.nan}, {}]
    unknown = dict.fromkeys(("stopped_at", "agreement", "lr", "threads", "n_trained"))
    holes = student_of([fit() | unknown | {"curve": curve, "seconds": math.nan}])
    assert not NEVER.search(plain_text(training(result_of(holes))))
    for drawing in as_curves(only(holes)):
        assert not NEVER.search(drawing.svg)


def test_curves_are_described_to_readers_who_do_not_see_them() -> None:
    """Losses of the three student seeds at the ends: .69 - .011 seed - 20 lr, and .28 less."""
    fits = [fit(i, lr=5e-4) for i in range(3)]
    _, loss = as_curves(only(student_of(fits)))
    label = ElementTree.fromstring(loss.svg).get("aria-label")
    assert label is not None and label.endswith("student, 3 seeds, from 0.66 to 0.68 to 0.38 to 0.40")


def test_a_curve_is_themed_and_self_contained() -> None:
    for drawing in as_curves(only(tuned())):
        assert "http" not in drawing.svg and "<style" not in drawing.svg
        bare = re.sub(r"var\(--ov-\w+, #[0-9a-f]{6}\)", "", drawing.svg)
        assert not re.search(r'style="[^"]*#[0-9a-f]{6}', bare)


def test_many_trainings_fold_away_and_the_page_stays_small() -> None:
    page = as_page(tuned_ladder())
    section = page[page.index("<h2>Training") :]
    assert len(page) < 1_000_000
    assert section[: section.index("</section>")].count("<details>") == 18
    assert f"Curves of {MOST_CURVES} of 18 trainings are drawn" in plain_text(section)


def test_curves_of_undertrained_runs_are_drawn_before_others() -> None:
    """Eight trainings, six with curves: the last, which is undertrained, is one of them and says so folded away."""
    studies = [student_of([fit(undertrained=i == 7, seconds=float(i))], method=f"m{i}") for i in range(8)]
    folded = re.findall(r"<details>.*?</details>", training(result_of(*studies)), re.DOTALL)
    assert ["<svg" in one for one in folded] == [True] * 5 + [False] * 2 + [True]
    assert "m7, train" not in folded[7] and "m7 (undertrained: student)" in folded[7]


def test_settings_shared_by_all_seeds_are_listed_once() -> None:
    text = plain_text(as_page(result_of(student_of([fit(i) for i in range(3)]))))
    assert text.count("head_lr: 0.001") == 1
    assert "seed 2: n_trained: 147458, agreement: 0.776, curve: 5, seconds: 14.3" in text


def test_the_same_result_gives_the_same_section() -> None:
    assert training(result_of(tuned())) == training(result_of(tuned()))


def test_the_json_names_how_the_supervisor_was_trained_and_keeps_the_curves() -> None:
    tree = json.loads(json.dumps(tuned().as_json(), allow_nan=False))
    assert (tree["weak_train"], tree["train"]) == ("full", "lora")
    assert tree["choices"]["student"][0]["curve"] == fit(lr=1e-4, best=1)["curve"]


def test_a_study_made_without_the_supervisors_training_was_a_probes() -> None:
    fields = {name: value for name, value in study().__dict__.items() if name != "weak_train"}
    assert Study(**fields) == replace(study(), weak_train="probe")


@pytest.fixture(scope="module")
def real(
    save_tiny: Callable[..., Path],
    planted_rows: Callable[..., list[dict[str, Any]]],
    write_lines: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Result:
    """A supervisor by LoRA at the better of two rates, its student by all weights, two seeds, one epoch."""
    folder = tmp_path_factory.mktemp("real")
    network = save_tiny(folder / "gpt2")
    return ov.weak_to_strong(
        str(write_lines(folder / "rows.jsonl", planted_rows(160))),
        weak=f"{network}@1",
        strong=str(network),
        method=["naive", "oracle_early_stopping"],
        seeds=2,
        store=":memory:",
        train={"weak": ov.Lora(rank=2, lr=(1e-3, 1e-2), epochs=1), "strong": ov.Full(lr=1e-3, epochs=1)},
    )


@pytest.mark.slow
def test_a_real_result_fills_every_row_for_every_role(real: Result) -> None:
    for found in tables(real)[::2]:
        assert [row[0] for row in found[1:]] == [name for name, _ in SETTINGS]
        assert all(cell != "-" for row in found for cell in row)


@pytest.mark.slow
def test_a_real_result_shows_search_oracle_and_curves(real: Result) -> None:
    section = training(real)
    assert [one.study.method for one in trainings(real)] == ["naive", "oracle_early_stopping"]
    assert [row[0] for row in tables(real)[1][1:]] == ["0.001", "0.01"]
    assert section.count("<svg") == 4 and "student: true labels: oracle" in section
    assert not NEVER.search(plain_text(section))
    assert "training   supervisor lora, student and ceiling full\n" in str(real)
