"""The demo: four studies, and what they show in three sentences that are made from their numbers.

The pairs of the ladder were chosen on the shipped networks; two further pretraining seeds check them (docs/ladder.md).

1. A supervisor that errs at random: the student recovers most of the gap.
2. On the ladder, a supervisor that was stopped early and one that is narrow, about equally often right: their students
   recover much from the first, whose errors are ignorance, and little from the second, whose errors are systematic.
3. Real text, on which the student imitates.
4. Real text without a gap, where PGR is undefined.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oversight.cli import options as o
from oversight.cli import printing
from oversight.cli.app import app
from oversight.cli.covers import Covers
from oversight.cli.studies import run_studies

if TYPE_CHECKING:
    from oversight.reports.result import Result, Study
    from oversight.studies.weak_to_strong import Setup

LADDER_SEEDS, TEXT_SEEDS = 3, 5
RANDOM, EARLY, NARROW = "flipped:0.3", "ladder:early-m", "ladder:narrow-s"
STUDENTS = ("ladder:m", "ladder:l", "ladder:xl")
MIDDLE, LARGEST = STUDENTS[1:]
CONFIDENCE = "confidence"
TEXT, WEAK, STRONG, NO_GAP = "reviews", "minilm@0", "minilm@4", ("bow", "minilm")
NEXT = (
    'oversight w2s mydata.jsonl --weak bow --strong minilm@4 --seeds 5        (lines of {"text": ..., "label": ...})',
    "oversight compare ladder --weak ladder:early-m --strong ladder:xl --methods naive,confidence,confidence_filter",
    "oversight ladder grow --seed 1 -o mine && oversight w2s mine --weak mine/early-m --strong mine/xl",
)


@app.command()
def demo(out: o.Out = Path(), covers: Covers = "new-rows", store: o.Store = None, as_json: o.Json = False) -> None:
    """Four studies with no download, in a minute or two.

    Networks, questions, texts and the encoder are embedded in the package.
    """
    from oversight.resolve import check_folder, load_store

    began = time.monotonic()
    check_folder(out, flag="--out")
    setups = studies(covers)
    kept = load_store(store)
    result = run_studies(setups, kept, began)
    result = dataclasses.replace(result, about={**result.about, "demo_notes": list(notes(result))})
    out.mkdir(parents=True, exist_ok=True)
    report = result.report(out / "report.html")
    figure = _sizes(result).report(out / "figure.png")
    printing.tell_damaged(kept)
    if as_json:
        return printing.print_json(result.as_json())
    printing.print_demo(result, report, figure, NEXT)


def studies(covers: str) -> list[Setup]:
    """What is run: for every question of the ladder its arms, then the two studies of real text."""
    from oversight.resolve import prepare
    from oversight.worlds.ladder import questions_of

    found: list[Setup] = []
    for question in questions_of("ladder"):
        asked: dict[str, Any] = {"seeds": LADDER_SEEDS, "covers": covers}
        sizes = prepare(question, weak=[EARLY, NARROW], strong=STUDENTS, **asked)
        noise = prepare(sizes.task, weak=RANDOM, strong=MIDDLE, **asked)
        better = prepare(sizes.task, weak=EARLY, strong=LARGEST, method=CONFIDENCE, **asked)
        found.append(dataclasses.replace(sizes, arms=(*sizes.arms, *noise.arms, *better.arms)))
    texts = [
        prepare(TEXT, weak=weak, strong=strong, seeds=TEXT_SEEDS, covers=covers)
        for weak, strong in ((WEAK, STRONG), NO_GAP)
    ]
    return [*found, dataclasses.replace(texts[0], arms=tuple(arm for one in texts for arm in one.arms))]


def notes(result: Result) -> tuple[str, str, str]:
    """What is recovered from whom, by which method, and where nothing is: from the numbers."""
    from oversight.studies.pooled import gain_over_questions

    shown = result.shown.studies
    noise, early, narrow = (_find(shown, weak, MIDDLE, "naive") for weak in (RANDOM, EARLY, NARROW))
    imitation, none = _find(shown, WEAK, STRONG, "naive"), _find(shown, *NO_GAP, "naive")
    recovered = (
        f"Of the gap between supervisor and ceiling the student ({MIDDLE}) recovers {_share(noise)} where errors are "
        f"random ({RANDOM}), {_share(early)} where they are ignorance ({EARLY}, right on {_score(early)}), and "
        f"{_share(narrow)} where they are systematic ({NARROW}, right on {_score(narrow)})."
    )
    gain = gain_over_questions(result.studies, CONFIDENCE, "naive", weak=EARLY, strong=LARGEST)
    side = "is better than" if gain.above_zero else "is worse than" if gain.below_zero else "cannot be told apart from"
    method = (
        f"Where errors are ignorance the confidence loss {side} naive training ({EARLY} -> {LARGEST}): accuracy "
        f"{printing.signed(gain)}, paired over {gain.n_groups} questions."
    )
    on_text = (
        f"On real text ({TEXT}) {STRONG} gains {printing.signed(imitation.gain)} over its supervisor {WEAK}, PGR "
        f"{_share(imitation)}. Between {' and '.join(NO_GAP)} PGR is {_share(none)}; ceiling minus supervisor is "
        f"{printing.signed(none.gap)}."
    )
    return recovered, method, on_text


def _sizes(result: Result) -> Result:
    """What the figure shows: accuracy and PGR against the student's size, a line for each supervisor."""
    return dataclasses.replace(result, studies=tuple(one for one in result.pooled if one.method == "naive"), pooled=())


def _find(studies: Sequence[Study], weak: str, strong: str, method: str) -> Study:
    for study in studies:
        if (study.weak_model, study.strong_model, study.method) == (weak, strong, method):
            return study
    raise LookupError(f"no study {weak} -> {strong} by {method}")


def _share(study: Study) -> str:
    """`.84 [.80, .89]` of PGR, or why there is none."""
    from oversight.reports.words import shown

    return shown(study.pgr, 2)


def _score(study: Study) -> str:
    return f"{study.score('weak').value:.0%}"
