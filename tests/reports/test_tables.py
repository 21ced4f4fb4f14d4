"""Tables: every number is there, nothing is cut, nothing undefined looks like a number."""

from __future__ import annotations

import csv
import io
import math
import re
import subprocess
import sys

import pytest
from rich.console import Console
from synthetic_results import HOSTILE, WITHIN_NOISE, ladder, one, study, tuned

from oversight.metrics.intervals import Estimate
from oversight.reports.result import Result
from oversight.reports.tables import as_csv, as_markdown, as_rich, as_text
from oversight.reports.words import COLUMNS, digits_of, main_estimates, value_of

LONG = "org/" + "very-long-model-name-" * 5 + "@12"
NEVER = re.compile(r"\b(nan|NaN|None|inf)\b")


def results() -> dict[str, Result]:
    lone = Estimate(
        0.712, math.nan, math.nan, 812, 1, 5, "one group of test rows: no interval", "seeds and test groups"
    )
    several = (
        study(),
        study(test="shifted", n_test=300, n_groups=300, n_effective=300.0),
        study(test="shifted", method="oracle_x", oracle=True),
    )
    return {
        "one": one(),
        "undefined": one(undefined="too few groups (G < 50; intervals not tested there)"),
        "one seed": one(seeds=1),
        "18 studies": ladder(),
        "tests and oracle": Result(studies=several),
        "long names": one(weak_model=LONG, warnings=("w" * 200,)),
        "wide characters": one(weak_model="模型" * 30, strong_model="学生@4"),
        "no interval": one(gap=lone),
        "loss": one(metric="nll", chance=None),
        "fine-tuned": Result(studies=(tuned(), tuned(roles=("weak",)), study(weak_train=LONG))),
    }


@pytest.fixture(params=list(results()))
def result(request: pytest.FixtureRequest) -> Result:
    return results()[request.param]


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_no_line_is_wider_than_asked_and_no_number_is_missing(result: Result, width: int) -> None:
    from rich.cells import cell_len

    text = as_text(result, width=width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert not NEVER.search(text)
    for a_study in result.studies:
        for column, estimate in main_estimates(a_study).items():
            assert value_of(estimate, digits_of(column)) in text


def test_all_layouts_are_used() -> None:
    heads = {as_text(one(), width=width).splitlines()[1].split()[0] for width in (200, 114, 80, 40)}
    assert heads == {"supervisor", "pair", "weak", "bow"}


def test_the_text_reads_as_expected_at_80_columns() -> None:
    assert as_text(one(undefined=WITHIN_NOISE), width=80).splitlines() == [
        "task reviews",
        "  weak          student       ceiling       gap           PGR",
        "bow -> minilm@4, naive",
        "  0.712         0.779         0.823         0.111         undefined",
        "  [0.69, 0.73]  [0.76, 0.80]  [0.80, 0.84]  [0.08, 0.14]  -",
        "  PGR undefined: the gap is within noise",
        "",
        "metric     accuracy",
        "data       812 rows in 203 groups, 5 seeds, chance 0.504",
        "intervals  95 %, covering seeds and test groups",
        "warning    17 of 812 rows are longer than 256 tokens and were truncated (none",
        "           was dropped)",
    ]


def test_what_differs_is_named_and_only_that() -> None:
    text = as_text(results()["tests and oracle"], width=80)
    assert "naive, test shifted" in text
    assert "oracle_x (oracle), test shifted" in text
    assert "shifted: 300 rows in 300 groups, 5 seeds" in text
    assert "methods marked (oracle) saw ground truth" in text
    assert "train" not in text


@pytest.mark.parametrize("width", [60, 200])
def test_training_is_noted_unless_it_is_plain(width: int) -> None:
    assert "training   supervisor full, student and ceiling lora\n" in as_text(Result(studies=(tuned(),)), width=width)
    for weak_train in ("probe", "bow", "given", "bow+probe"):
        assert as_text(one(weak_train=weak_train), width=width) == as_text(one(), width=width)


def test_markdown_notes_the_training() -> None:
    assert "- **training**: supervisor full, student and ceiling lora\n" in as_markdown(Result(studies=(tuned(),)))


def test_rows_name_the_training_that_differs() -> None:
    both = Result(studies=(tuned(weak_train="full"), tuned(weak_train="lora")))
    text = as_text(both, width=200)
    assert text.splitlines()[1].split()[:5] == ["supervisor", "->", "student", "method", "weak_train"]
    assert "naive, weak_train full" in as_text(both, width=80)
    assert "training   student and ceiling lora\n" in text


def test_print_and_the_terminal_show_the_same() -> None:
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(as_rich(ladder()))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert [line.rstrip() for line in shown.splitlines()] == as_text(ladder(), width=80).splitlines()


def test_the_terminal_is_not_given_escape_sequences_by_a_name() -> None:
    assert "\x1b" not in as_text(one(weak_model="\x1b[2Jbow\x07"), width=80)


def test_markdown_rows_have_equal_cells_and_no_markup_of_the_user(result: Result) -> None:
    hostile = Result(studies=(*result.studies, study(weak_model=f"a|b *c* [x](y) {HOSTILE}", warnings=("_w_|",))))
    lines = as_markdown(hostile).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert "<script" not in as_markdown(hostile)
    assert not NEVER.search(as_markdown(hostile))


def test_csv_keeps_every_number_in_full(result: Result) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(result))))
    assert len(rows) == len(result)
    for row, a_study in zip(rows, result.studies, strict=True):
        facts = a_study.as_json()
        for name in ("gap", "gain", "pgr"):
            for end, key in (("_value", "value"), ("_low", "low"), ("_high", "high")):
                expected = facts[name][key]
                assert row[name + end] == ("" if expected is None else repr(expected))
        for role in ("weak", "student", "ceiling"):
            assert row[f"{role}_value"] == repr(a_study.score(role).value)
            for metric, one_score in a_study.scores[role].items():
                assert row[f"{role}_{metric}_low"] == repr(one_score.low)
        assert row["agreement_weak_wrong_value"] == ""
        assert row["pgr_reason"] == (a_study.pgr.reason or "")
        assert row["oracle"] in ("true", "false")
    assert not NEVER.search(as_csv(result))


def test_the_five_columns_are_those_of_the_paper() -> None:
    assert COLUMNS == ("weak", "student", "ceiling", "gap", "PGR")


def test_no_studies_is_said() -> None:
    assert as_text(Result(studies=())) == "no studies"


def test_tables_import_nothing_heavy() -> None:
    code = "import sys, oversight.reports.tables; print({'matplotlib', 'torch', 'pandas'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
