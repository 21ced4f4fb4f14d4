"""The ladder by name: rungs, questions, other worlds, and what is pooled over questions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import oversight as ov
from oversight.errors import InputError
from oversight.worlds import WORLD
from oversight.worlds.ladder import RUNGS, SHIPPED, questions_of, read_card, rungs_of, shipped_rung

MEBIBYTES = 10 * 10**6


def test_every_rung_ships_with_a_card_of_this_world() -> None:
    for name, rung in RUNGS.items():
        card = read_card(SHIPPED / name)
        assert card is not None and (card.rung, card.width, card.updates) == (name, rung.width, rung.updates)
        assert card.world == WORLD.sha256 and min(card.known[one] for one in WORLD.asked) >= rung.knows


def test_all_of_it_takes_at_most_ten_megabytes_with_one_tokenizer() -> None:
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MEBIBYTES
    assert [path.parent.name for path in files if path.name == "tokenizer.json"] == ["tokenizer"]


def test_a_rung_that_ships_knows_what_its_card_says() -> None:
    """Read in half precision: as good as when it was grown, but for facts on the edge."""
    from transformers import AutoModelForCausalLM

    from oversight.worlds.growth import known_facts

    for name in ("narrow-s", "m"):
        card = read_card(SHIPPED / name)
        assert card is not None
        known = known_facts(WORLD, AutoModelForCausalLM.from_pretrained(SHIPPED / name).float())
        for relation, share in card.known.items():
            assert known[relation].mean() == pytest.approx(share, abs=0.005)


def test_questions_by_name() -> None:
    names = questions_of("ladder")
    assert len(names) == 12 and names[0] == "ladder/works_0"
    assert questions_of("ladder:spurious=0.9")[0] == "ladder/works_0:spurious=0.9"
    assert questions_of("reviews") == ("reviews",) and questions_of(names[0]) == (names[0],)
    task = ov.load_task("ladder/works_0:spurious=0.9")
    assert task.question_of == "ladder:spurious=0.9" and task.name == "ladder/works_0:spurious=0.9"


def test_rungs_by_name() -> None:
    assert shipped_rung("s").name == "ladder:early-s" and shipped_rung("xl").is_decoder
    assert [one.name for one in rungs_of(("s", "xl"))] == ["early-s", "xl"]
    with pytest.raises(InputError, match="unknown rung 'xxl'"):
        rungs_of(("xxl",))
    assert rungs_of(("xxl",), larger=True)[0].width == 256


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("ladder", "--weak", "ladder:huge", "--strong", "ladder:xl"), "model 'ladder:huge': found no such rung, "),
        (("ladder/plays_7", "--weak", "bow", "--strong", "ladder:m"), "unknown question 'plays_7'"),
        (("ladder", "--weak", "ladder:s#main", "--strong", "ladder:m"), "model 'ladder:s': found the revision"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(
    oversight: Callable[..., Any], place: Path, words: tuple[str, ...], expected: str
) -> None:
    said = oversight("w2s", *words)
    assert said.code == 2 and said.err.startswith(f"oversight: {expected}") and said.err.count("\n") == 1
    assert not list(place.iterdir())


def test_a_rung_of_another_world_is_refused(oversight: Callable[..., Any], grown: Path, place: Path) -> None:
    shutil.copytree(grown, place / "mine")
    for words in (("ladder", "--weak", "mine/early-s", "--strong", "ladder:xl"),):
        said = oversight("w2s", *words)
        assert said.code == 2 and said.err.count("\n") == 1
        assert "model 'mine/early-s': grown in the world" in said.err and WORLD.sha256[:12] in said.err
    said = oversight("w2s", "mine/plays_0", "--weak", "ladder:s", "--strong", "mine/m")
    assert said.code == 2 and "model 'ladder:s': grown in the world" in said.err


def test_a_grown_directory_is_a_set_of_questions(oversight: Callable[..., Any], grown: Path, place: Path) -> None:
    """The word of the command is pooled over questions, by the question."""
    shutil.copytree(grown, place / "mine")
    found = oversight("w2s", "mine", "--weak", "mine/early-s", "--strong", "mine/m", "--seeds", "2", "--json").json
    assert [one["task"] for one in found["studies"]] == list(questions_of("mine", folder=place))
    (pooled,) = found["pooled"]
    assert pooled["task"] == "mine" and pooled["questions"] == [one["task"] for one in found["studies"]]
    assert (pooled["weak_model"], pooled["strong_model"]) == ("mine/early-s", "mine/m")
    assert pooled["pgr"]["covers"] == "questions"
    means = {
        role: sum(one[role]["accuracy"]["value"] for one in found["studies"]) / 12
        for role in ("weak", "student", "ceiling")
    }
    for role, mean in means.items():
        assert pooled[role]["accuracy"]["value"] == pytest.approx(mean)
    if pooled["pgr"]["defined"]:
        share = (means["student"] - means["weak"]) / (means["ceiling"] - means["weak"])
        assert pooled["pgr"]["value"] == pytest.approx(share)


@pytest.mark.slow
def test_a_board_of_questions_is_paired_over_questions(oversight: Callable[..., Any], grown: Path, place: Path) -> None:
    """By hand from the studies of `w2s`: t(11) of the differences, simultaneous over two methods."""
    shutil.copytree(grown, place / "mine")
    pair = ("--weak", "mine/early-s", "--strong", "mine/m", "--seeds", "2", "--metric", "accuracy", "--json")
    methods = ("confidence", "confidence_filter")
    said = oversight("compare", "mine", *pair, "--methods", ",".join(("naive", *methods)))
    board = said.json
    assert said.code == 0 and "failed" not in said.err, "no baseline is tried that cannot be"
    found = oversight("w2s", "mine", *pair, *(word for one in ("naive", *methods) for word in ("--method", one))).json
    assert board["covers"] == "questions" and len(board["tasks"]) == 12
    score = {(one["method"], one["task"]): one["student"]["accuracy"]["value"] for one in found["studies"]}
    for standing in board["methods"]:
        if standing["method"] in methods:
            apart = [
                score[standing["method"], task] - score["naive", task] for task in questions_of("mine", folder=place)
            ]
            half = stats.t.ppf(1 - 0.05 / 4, 11) * stats.sem(apart)
            gain = standing["gain"]
            assert gain["value"] == pytest.approx(np.mean(apart), abs=1e-12)
            assert (gain["low"], gain["high"]) == pytest.approx((np.mean(apart) - half, np.mean(apart) + half))


def test_one_question_is_a_study_of_its_own(oversight: Callable[..., Any], grown: Path, place: Path) -> None:
    """With its intervals over rows and seeds: pooled numbers of fewer than eight questions have none."""
    shutil.copytree(grown, place / "mine")
    asked = (
        "w2s",
        "mine/plays_0",
        "--weak",
        "mine/early-s",
        "--strong",
        "mine/m",
        "--seeds",
        "2",
        "--covers",
        "these-rows",
    )
    said = oversight(*asked).out
    assert "covering seeds and test rows" in said and "questions" not in said and "no interval" not in said


def test_a_question_kept_under_two_settings_is_not_two_questions(
    oversight: Callable[..., Any], grown: Path, place: Path
) -> None:
    """A report from the store pools each command's twelve questions, as the command did."""
    shutil.copytree(grown, place / "mine")
    for seeds in ("1", "2"):
        oversight("w2s", "mine", "--weak", "mine/early-s", "--strong", "mine/m", "--seeds", seeds)
    oversight("report", "-o", "all.json")
    pooled = json.loads((place / "all.json").read_text())["pooled"]
    assert [one["seeds"] for one in pooled] == [1, 2] and {len(one["questions"]) for one in pooled} == {12}


def test_a_growth_that_cannot_be_is_refused_in_one_line(oversight: Callable[..., Any], place: Path) -> None:
    (place / "file").write_text("")
    refused = {("-o", "file"): "file: cannot be made", ("-o", "g", "--device", "tpu"): "--device: found tpu"}
    if not torch.cuda.is_available():
        refused["-o", "g", "--device", "cuda"] = "--device: found cuda, but this machine"
    for words, expected in refused.items():
        said = oversight("ladder", "grow", *words, "--rung", "early-s")
        assert said.code == 2 and said.err.startswith(f"oversight: {expected}") and said.err.count("\n") == 1
    assert [one.name for one in place.iterdir()] == ["file"]


def test_a_set_of_questions_stands_alone_on_a_board(oversight: Callable[..., Any], place: Path) -> None:
    said = oversight("compare", "ladder", "reviews", "--weak", "ladder:s", "--strong", "ladder:m")
    assert said.code == 2 and "found ladder, a set of questions, beside other tasks" in said.err
    assert said.err.count("\n") == 1 and not list(place.iterdir())


def test_growing_by_command_goes_on_where_it_stopped(oversight: Callable[..., Any], place: Path) -> None:
    """The narrowest rung of a world of few people takes a second or two."""
    asked = ("ladder", "grow", "-o", "g", "--rung", "early-s", "--people", "200", "--json")
    found = oversight(*asked).json
    again = oversight(*asked).json
    assert again == found and found["rungs"][0]["rung"] == "early-s"
    assert json.loads((place / "g" / "world.json").read_text())["dials"]["people"] == 200
    said = oversight("ladder", "grow", "-o", "g", "--rung", "nope")
    assert said.code == 2 and "unknown rung 'nope'" in said.err and said.err.count("\n") == 1
