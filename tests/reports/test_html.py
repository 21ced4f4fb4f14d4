"""The page: complete, well-formed, self-contained, safe against its own data, and the same every time."""

from __future__ import annotations

import errno
import html
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reading_pages import NEVER, Page, numbers_of
from synthetic_results import HOSTILE, METRICS, WITHIN_NOISE, about, fit, ladder, one, rows_of, study, tuned

from oversight.errors import InputError, StepError
from oversight.reports.examples import examples, studies_with_examples
from oversight.reports.exports import write
from oversight.reports.html import as_fragment, as_page
from oversight.reports.result import ROLES, Result, TestRows
from oversight.reports.words import main_estimates, number, shown, value_of


def hostile() -> Result:
    names = {
        "task": HOSTILE,
        "weak_model": HOSTILE,
        "strong_model": '" onload="x',
        "method": "</style><b>",
        "test": "a&b",
    }

    def rows(of: Any) -> TestRows:
        plain = rows_of(of, k=3)
        texts = tuple(f"{HOSTILE} \ud800\x00 {text}" for text in plain.texts)
        return TestRows(
            ids=plain.ids,
            texts=texts,
            groups=plain.groups,
            truth=plain.truth,
            class_names=(HOSTILE, "<i>", "ok"),
            probs=plain.probs,
        )

    choices = {role: [{HOSTILE: HOSTILE}] for role in ROLES}
    words = dict.fromkeys(("train", "schedule", "precision", "device", "why_padded"), HOSTILE)
    hostile_fit = fit(packed=False, **words)
    facts = {**about(), "command": HOSTILE, "store": HOSTILE, "versions": {HOSTILE: HOSTILE}, "demo_notes": [HOSTILE]}
    studies = (
        study(**names, warnings=(HOSTILE,), choices=choices),
        study(**names, oracle=True, undefined=WITHIN_NOISE),
        tuned(**names, weak_train=HOSTILE, choices={role: [hostile_fit] * 3 for role in ROLES}),
    )
    return Result(studies=studies, about=facts, rows_of=rows)


def all_results() -> dict[str, Result]:
    return {
        "one": one(),
        "undefined": one(undefined=WITHIN_NOISE),
        "one seed": one(seeds=1),
        "18 studies": ladder(),
        "tests": Result(studies=(study(), study(test="shifted"), study(test="shifted", oracle=True)), rows_of=rows_of),
        "three classes": Result(studies=(study(),), rows_of=lambda of: rows_of(of, k=3)),
        "two tasks": Result(studies=(*ladder().studies, *ladder(task="sciq").studies), about=about(), rows_of=rows_of),
        "five tasks": Result(studies=tuple(study(task=f"t{i}", method=m) for i in range(5) for m in "ab")),
        "loss": one(metric="nll", chance=None),
        "bare": Result(studies=(study(choices={}, keys={}, warnings=()),)),
        "fine-tuned": Result(studies=(tuned(),), about=about(), rows_of=rows_of),
        "fine-tuned oracle": Result(studies=(tuned(), tuned(oracle=True, method="oracle_early_stopping", seeds=1))),
        "none": Result(studies=()),
        "hostile": hostile(),
    }


RESULTS = all_results()
PAGES = {name: as_page(result) for name, result in RESULTS.items()}


@pytest.fixture(params=list(RESULTS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_page_is_well_formed_and_semantic(name: str) -> None:
    page = Page(PAGES[name])
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) - len(page.all("svg")) == 1
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(attributes.get("scope") in ("row", "col") for attributes in page.all("th"))
    assert all(attributes.get("role") == "img" and attributes.get("aria-label") for attributes in page.all("svg"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_a_page_asks_for_nothing_outside(name: str) -> None:
    page = Page(PAGES[name])
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "img", "object", "embed", "base", "form"}
    for _, attributes in page.tags:
        assert not [key for key in attributes if key in ("src", "srcset", "action") or key.startswith("on")]
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"https?:|@import|url\((?!#)", PAGES[name])


def test_nothing_reads_nan_or_none(name: str) -> None:
    assert not NEVER.search(Page(PAGES[name]).text)


def test_text_of_the_user_stays_text() -> None:
    page = Page(PAGES["hostile"])
    assert "<script" not in PAGES["hostile"]
    assert len(page.all("style")) == 1 and not page.all("i") and not page.all("b")
    assert page.text.count('<script>alert("x")</script>') > 10
    PAGES["hostile"].encode("utf-8")


@pytest.mark.parametrize("which", ["one", "undefined", "18 studies", "two tasks", "one seed", "fine-tuned"])
def test_every_number_of_the_json_is_on_the_page(which: str) -> None:
    text = Page(PAGES[which]).text
    found = set(re.findall(r"-?\d+(?:\.\d+)?", text))
    for a_study in RESULTS[which].studies:
        tree = json.loads(json.dumps(a_study.as_json()))
        for path, value in numbers_of(tree):
            forms = {str(value), f"{value:.6g}", *(number(value, digits) for digits in range(2, 6))}
            assert forms & found, (path, value)
        for estimate in (*main_estimates(a_study).values(), a_study.gain):
            assert shown(estimate, 2 if estimate is a_study.pgr else 3) in text
        for role in ROLES:
            for metric in METRICS:
                assert value_of(a_study.scores[role][metric]) in text
            assert all(key in text for key in a_study.keys[role])


def test_the_summary_agrees_with_the_numbers() -> None:
    assert "It recovers 60 % of the gap (95 % interval: 48 % to 73 %)." in Page(PAGES["one"]).text
    undefined = Page(PAGES["undefined"]).text
    assert f"PGR is undefined: {WITHIN_NOISE}" in undefined and "It recovers" not in undefined
    assert "these trained models" in Page(PAGES["one seed"]).text


def test_warnings_stand_before_the_first_number_table_and_once() -> None:
    text = Page(PAGES["18 studies"]).text
    (warning,) = RESULTS["18 studies"].studies[0].warnings
    assert text.count(warning) == 1
    assert text.index(warning) < text.index("Test scores, gap")


def test_what_made_the_result_is_told() -> None:
    text = Page(PAGES["one"]).text
    facts = about()
    for part in (facts["command"], "torch 2.11.0", "41.7 seconds", facts["store"], *facts["demo_notes"]):
        assert part in text
    assert "Where this comes from" not in Page(PAGES["bare"]).text


def test_a_result_without_rows_shows_no_examples() -> None:
    assert "Where they disagree" in Page(PAGES["one"]).text
    assert "Where they disagree" not in Page(PAGES["bare"]).text


def test_oracles_are_marked() -> None:
    page = Page(PAGES["tests"])
    assert [a for a in page.all("span") if a.get("class") == "ov-badge"]
    assert "(oracle)" in page.text


def test_the_page_follows_light_and_dark_and_small_screens() -> None:
    assert "prefers-color-scheme: dark" in PAGES["one"] and "max-width: 34rem" in PAGES["one"]
    assert ("viewport", "width=device-width, initial-scale=1") in [
        (a.get("name"), a.get("content")) for a in Page(PAGES["one"]).all("meta")
    ]
    assert "/*LIGHT*/" not in PAGES["one"] and "/*DARK*/" not in PAGES["one"]


def test_a_fragment_styles_nothing_but_itself() -> None:
    fragment = as_fragment(one())
    page = Page(fragment)
    assert not page.all("script") and not page.all("h1") and not page.all("html")
    style = re.search(r"<style>(.*?)</style>", fragment, re.DOTALL)
    assert style is not None
    selectors = re.findall(r"(?:^|[}{;])\s*([^{}@;]+)\{", re.sub(r"@media[^{]*\{", "", style[1]))
    assert selectors
    for selector in ",".join(selectors).split(","):
        assert ".ov" in selector, selector
    assert one()._repr_html_() == fragment


def test_the_same_result_gives_the_same_page() -> None:
    assert as_page(ladder()) == PAGES["18 studies"]
    assert as_fragment(one()) == as_fragment(one())


def test_18_studies_are_small(tmp_path: Path) -> None:
    assert write(ladder(), tmp_path / "report.html").stat().st_size < 1_000_000


def test_writing_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    assert one().report(str(path)) == path
    assert path.read_text(encoding="utf-8") == PAGES["one"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_a_bad_place_is_one_line_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "missing" / "r.html", tmp_path / "file" / "r.html", tmp_path):
        with pytest.raises(InputError) as error:
            write(one(), place)
        assert "\n" not in str(error.value) and "expected" in str(error.value)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(InputError, match="Permission denied"):
        write(one(), tmp_path / "r.html")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file"]


def test_examples_are_balanced_right_and_ordered() -> None:
    rows = rows_of(study())
    found = examples(rows)
    weak, student = (rows.probs[role].mean(axis=0) for role in ("weak", "student"))
    position = {row_id: i for i, row_id in enumerate(rows.ids)}
    assert len(found) <= 12 and {one.right for one in found} == {"student", "supervisor"}
    for example in found:
        i = position[example.row_id]
        right = {"student": student, "supervisor": weak}
        wrong = weak if example.right == "student" else student
        assert right[example.right][i].argmax() == rows.truth[i] != wrong[i].argmax()
        assert example.student == pytest.approx(student[i, rows.truth[i]])
        assert len(example.text) <= 320
    # Rounds as the order of rows does: those that are equally far apart stand by id.
    apart = [round(float(one) / 2, 12) for one in np.abs(rows.probs["weak"] - rows.probs["student"]).sum(2).mean(0)]
    for side in ("student", "supervisor"):
        chosen = [apart[position[one.row_id]] for one in found if one.right == side]
        assert chosen == sorted(chosen, reverse=True)


@pytest.mark.parametrize(
    ("n_student", "n_weak", "expected"), [(20, 20, (6, 6)), (20, 2, (10, 2)), (3, 20, (3, 9)), (2, 1, (2, 1))]
)
def test_what_one_side_lacks_the_other_uses(n_student: int, n_weak: int, expected: tuple[int, int]) -> None:
    n = n_student + n_weak
    right, wrong = np.tile([0.1, 0.9], (1, n, 1)), np.tile([0.9, 0.1], (1, n, 1))
    for_student = (np.arange(n) < n_student)[None, :, None]
    rows = TestRows(
        ids=tuple(map(str, range(n))),
        texts=("t",) * n,
        groups=("g",) * n,
        truth=np.ones(n, dtype=np.int64),
        class_names=("a", "b"),
        probs={"student": np.where(for_student, right, wrong), "weak": np.where(for_student, wrong, right)},
    )
    sides = [one.right for one in examples(rows)]
    assert (sides.count("student"), sides.count("supervisor")) == expected


def test_at_most_three_studies_show_examples() -> None:
    assert len(studies_with_examples(ladder())) == 3


def test_shortened_texts_are_escaped_after_shortening() -> None:
    assert html.escape("&" * 3) == "&amp;&amp;&amp;"
    rows = rows_of(study())
    long = TestRows(**{**rows.__dict__, "texts": ("&" * 1000,) * len(rows.ids)})
    page = as_page(Result(studies=(study(),), rows_of=lambda _: long))
    assert "&amp;" * 319 + "…" in page and "&" * 320 not in Page(page).text


def test_a_full_disk_is_a_failure_and_not_a_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: Any, **_named: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StepError, match="No space left"):
        write(one(), tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []
