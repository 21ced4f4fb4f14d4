"""Figures: what is drawn, in which order, with which words; not how many pixels."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from synthetic_results import HOSTILE, WITHIN_NOISE, estimate, ladder, one, study

from oversight.reports.figures import as_image, as_svg
from oversight.reports.layout import sheets
from oversight.reports.palette import DARK, LIGHT, colour_of, marker_of
from oversight.reports.panels import FAR, frame_of
from oversight.reports.result import Result


def words(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("text")]


def test_one_drawing_per_method_and_test_set() -> None:
    both = Result(studies=(*ladder().studies, *ladder(test="shifted").studies))
    assert len(as_svg(ladder())) == 2
    assert [drawing.heading for drawing in as_svg(both)] == ["reviews"] * 2 + ["reviews, test set shifted"] * 2


def test_students_stand_in_the_order_given() -> None:
    reverse = Result(studies=tuple(reversed(ladder().studies)))
    assert sheets(ladder())[0].panels[0].ticks == ("minilm@2", "minilm@4", "minilm@6")
    assert sheets(reverse)[0].panels[0].ticks == ("minilm@6", "minilm@4", "minilm@2")


def test_one_student_puts_methods_then_supervisors_on_the_axis() -> None:
    methods = Result(studies=tuple(study(method=name) for name in ("naive", "confidence")))
    weak = Result(studies=tuple(study(weak_model=name) for name in ("bow", "minilm@0")))
    assert [(p.axis, p.ticks) for p in sheets(methods)[0].panels] == [("method", ("naive", "confidence"))]
    assert [(p.axis, p.ticks) for p in sheets(weak)[0].panels] == [("supervisor", ("bow", "minilm@0"))]


def test_no_study_is_lost_when_names_repeat() -> None:
    result = Result(studies=(study(), study(seeds=1), study(train="lora")))
    assert len(sheets(result)[0].studies) == 3


def test_one_supervisor_trained_in_two_ways_is_two_supervisors() -> None:
    trains = ("probe", "full", "lora")
    result = Result(studies=tuple(study(weak_model="minilm@0", weak_train=train) for train in trains))
    (sheet,) = sheets(result)
    assert sheet.supervisors == tuple(f"minilm@0, {train}" for train in trains)
    assert sheet.panels[0].ticks == sheet.supervisors
    assert [len(panel.studies) for panel in sheet.panels] == [3]


def test_a_missing_pair_leaves_a_hole() -> None:
    result = Result(studies=ladder().studies[1:9])
    assert next(iter(sheets(result)[0].panels[0].series.values())).count(None) == 1
    assert as_svg(result)


def test_undefined_ones_are_marked_not_dropped() -> None:
    result = ladder()
    undefined = sum(not one.pgr.defined for one in result.studies)
    assert undefined == sum(words(drawing.svg).count("n.d.") for drawing in as_svg(result)) == 2


def test_a_single_study_shows_its_numbers_as_text() -> None:
    shown = words(as_svg(one())[0].svg)
    for text in (
        "0.712 [0.69, 0.73]",
        "0.779 [0.76, 0.80]",
        "0.823 [0.80, 0.84]",
        "gap 0.111 [0.08, 0.14]",
        "0.60 [0.48, 0.73]",
    ):
        assert text in shown
    assert "undefined: the gap is within noise" in " ".join(words(as_svg(one(undefined=WITHIN_NOISE))[0].svg))


def test_losses_run_backwards() -> None:
    sheet = sheets(Result(studies=ladder(metric="nll", chance=None).studies))[0]
    low, high = frame_of(sheet).score
    assert low > high
    assert "nll (lower is better)" in words(as_svg(Result(studies=sheet.studies))[0].svg)


def test_every_value_is_inside_the_frame_and_far_intervals_do_not_squeeze_it() -> None:
    result = Result(studies=(study(), study(method="wild", pgr=estimate(4.0, 50.0))))
    low, high = frame_of(sheets(result)[0]).pgr
    assert low <= FAR[0] <= high and 4.0 < high < 5.0


@pytest.mark.parametrize(
    "result", [one(), ladder(), one(weak_model=HOSTILE, method="$x^$")], ids=["one", "many", "hostile"]
)
def test_an_svg_is_accessible_self_contained_and_themed(result: Result) -> None:
    for drawing in as_svg(result):
        root = ElementTree.fromstring(drawing.svg)
        assert root.get("role") == "img" and root.get("aria-label") == root.findtext("title")
        assert "http" not in drawing.svg and "<script" not in drawing.svg and "<style" not in drawing.svg
        bare = re.sub(r"var\(--ov-\w+, #[0-9a-f]{6}\)", "", drawing.svg)
        assert not re.search(r'style="[^"]*#[0-9a-f]{6}', bare)
        ids = re.findall(r'\bid="([^"]+)"', drawing.svg)
        assert len(ids) == len(set(ids))
        assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', drawing.svg)) <= set(ids)


def test_ids_differ_between_drawings() -> None:
    first, second = (set(re.findall(r'\bid="([^"]+)"', drawing.svg)) for drawing in as_svg(ladder()))
    assert not first & second


def test_names_that_the_font_lacks_or_that_look_like_mathematics_are_drawn_as_they_are() -> None:
    assert "学生$x$" in " ".join(words(as_svg(one(strong_model="学生$x$"))[0].svg))


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_the_same_result_gives_the_same_bytes(kind: str) -> None:
    assert as_svg(one()) == as_svg(one())
    assert as_image(one(), kind) == as_image(one(), kind)


def test_images_are_what_their_kind_says() -> None:
    many = Result(studies=(*ladder().studies, *ladder(test="shifted", methods=("a", "b", "c", "d")).studies[:20]))
    assert as_image(many, "png")[:4] == b"\x89PNG"
    assert as_image(one(), "pdf")[:4] == b"%PDF"


def test_a_pdf_is_a_drawing_and_not_a_picture() -> None:
    assert b"/Subtype /Image" not in as_image(ladder(), "pdf")


def test_a_very_tall_sheet_is_drawn_with_fewer_dots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oversight.reports.figures.MOST_DOTS", 500)
    image = as_image(Result(studies=tuple(study(task=f"task {i}") for i in range(3))), "png")
    assert 490 < int.from_bytes(image[20:24], "big") <= 500


def test_a_test_set_scored_by_two_metrics_is_named_with_them() -> None:
    result = Result(studies=(study(), study(metric="auroc"), study(test="shifted")))
    assert [sheet.heading for sheet in sheets(result)] == [
        "reviews, accuracy",
        "reviews, auroc",
        "reviews, test set shifted",
    ]


def test_one_pair_with_two_numbers_of_seeds_is_named_by_them() -> None:
    result = Result(studies=tuple(study(seeds=n, strong_model=name) for n in (2, 5) for name in ("a", "b")))
    assert [panel.title for panel in sheets(result)[0].panels] == ["naive, 2 seeds", "naive, 5 seeds"]


def test_settings_do_not_leak() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    as_svg(one())
    assert dict(matplotlib.rcParams) == before


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_colour_of_text_is_readable(theme: dict[str, str]) -> None:
    """Contrast (L1 + .05) / (L2 + .05) of at least 4.5, as WCAG AA asks of text."""
    for name in theme.keys() - {"bg", "rule"}:
        light, dark = sorted((luminance(theme[name]), luminance(theme["bg"])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, name
    assert len(set(theme.values())) == len(theme)


def test_64_supervisors_look_different() -> None:
    assert len({(colour_of(i), marker_of(i)) for i in range(64)}) == 64
