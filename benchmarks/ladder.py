"""The ladder: every pair of rungs, further pretraining seeds, and each dial of the world against PGR with its control.

    OMP_NUM_THREADS=1 python benchmarks/ladder.py --work DIR [--pairs] [--dials] [--write]

DIR keeps grown networks and results; what is there is not made again. `--pairs`: facts known, scores, PGR over twelve
questions and gains of two methods over naive, for the shipped seed and two more. `--dials`: one pair of rungs under
each dial. `--write` keeps benchmarks/results/ladder.json and docs/ladder_dials.png.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import oversight as ov
from oversight.metrics.intervals import Estimate
from oversight.studies.pooled import gain_over_questions, pooled_over_questions
from oversight.worlds.ladder import RUNGS, SHIPPED, read_card
from oversight.worlds.nursery import grow_ladder
from oversight.worlds.world import World

METHODS = ("naive", "confidence", "confidence_filter")
NAIVE = METHODS[:1]
SUPERVISORS = ("early-s", "early-m", "early-l", "narrow-s", "narrow-m")
STUDENTS = ("m", "l", "xl")
SEEDS = 3
RESULTS, FIGURE = Path(__file__).parent / "results" / "ladder.json", Path(__file__).parents[1] / "docs/ladder_dials.png"
WEAK, STRONG = "early-m", "l"
NOISE, SPURIOUS, UNANSWERABLE = (0.1, 0.2, 0.3, 0.4), (0.5, 0.7, 0.9, 1.0), (0.0, 0.1, 0.2)
UNEVENNESS, SALIENCE = (0.0, 0.5, 1.0), (0.0, 0.3, 1.0)
STATED, SILENT = "stated", "not stated"


def told(one: Estimate) -> dict[str, Any]:
    """Value, interval and reason; None where undefined."""
    return {**one.as_json(), "reason": one.reason}


def study(
    task: str, weak: Sequence[str], strong: Sequence[str], store: Path, methods: Sequence[str] = METHODS
) -> ov.Result:
    """Every pair by every method."""
    return ov.weak_to_strong(task, weak=list(weak), strong=list(strong), method=list(methods), seeds=SEEDS, store=store)


def rows_of(result: ov.Result) -> list[dict[str, Any]]:
    """One per pair and method."""
    found: list[dict[str, Any]] = []
    for one in result.pooled:
        pair = {"weak": one.weak_model, "strong": one.strong_model}
        row: dict[str, Any] = {**pair, "method": one.method}
        row |= {role: told(one.score(role)) for role in ("weak", "student", "ceiling")}
        row |= {"gap": told(one.gap), "pgr": told(one.pgr)}
        if one.method != "naive":
            row["gain"] = told(gain_over_questions(result.studies, one.method, "naive", **pair))
        found.append(row)
    return found


def pairs(work: Path) -> dict[str, Any]:
    """By pretraining seed: what each rung knows, and every pair."""
    found: dict[str, Any] = {}
    for seed in range(3):
        place = SHIPPED if seed == 0 else work / f"seed{seed}"
        if seed:
            list(grow_ladder(place, World(), RUNGS.values(), seed=seed))
        task, prefix = ("ladder", "ladder:") if seed == 0 else (str(place), f"{place}/")
        cards = {name: card.known for name in RUNGS if (card := read_card(place / name)) is not None}
        result = study(task, [prefix + one for one in SUPERVISORS], [prefix + one for one in STUDENTS], work / "store")
        rows = _named(result)
        found[str(seed)] = {"known": cards, "pairs": rows}
        show(f"seed {seed}", rows)
    return found


def _named(result: ov.Result) -> list[dict[str, Any]]:
    """`rows_of`, where the scores stand under `scores`, beside the names of the pair."""
    rows = rows_of(result)
    for row, one in zip(rows, result.pooled, strict=True):
        row["scores"] = {role: told(one.score(role)) for role in ("weak", "student", "ceiling")}
        row["weak"], row["strong"] = _rung(one.weak_model), _rung(one.strong_model)
        del row["student"], row["ceiling"]
    return rows


def _rung(name: str) -> str:
    """Its name without where it lies; a planted supervisor's as it is."""
    return name if name.startswith("flipped:") else name.rpartition(":")[2].rpartition("/")[2]


def dials(work: Path) -> dict[str, Any]:
    """Each dial against PGR of one pair, naive."""
    store, pair = work / "store", ([f"ladder:{WEAK}"], [f"ladder:{STRONG}"])
    found: dict[str, Any] = {"noise": {}, "spurious": {}, "unanswerable": {}, "unevenness": {}, "salience": {}}
    for value in NOISE:
        found["noise"][value] = _named(study("ladder", [f"flipped:{value}"], pair[1], store, NAIVE))
    for value in SPURIOUS:
        found["spurious"][value] = _named(study(f"ladder:spurious={value}", *pair, store, NAIVE))
    for value in UNANSWERABLE:
        found["unanswerable"][value] = _named(study(f"ladder:unanswerable={value}", *pair, store, NAIVE))
    for value in UNEVENNESS:
        place = work / f"unevenness{value:g}"
        found["unevenness"][value] = _named(_grown(place, World(unevenness=value), store))
    for value in SALIENCE:
        found["salience"][value] = _by_salience(work, value, store)
    for name, by_value in found.items():
        for value, rows in by_value.items():
            for kind, some in rows.items() if isinstance(rows, dict) else [("", rows)]:
                show(f"{name} {value} {kind}", some)
    return found


def _grown(place: Path, world: World, store: Path) -> ov.Result:
    """The pair in a world of its own."""
    list(grow_ladder(place, world, [RUNGS[WEAK], RUNGS[STRONG]], seed=0))
    return study(str(place), [f"{place}/{WEAK}"], [f"{place}/{STRONG}"], store, NAIVE)


def _by_salience(work: Path, value: float, store: Path) -> dict[str, list[dict[str, Any]]]:
    """The questions whose halves documents state, and those of which they are silent: six of each in two worlds."""
    kinds: dict[str, list[ov.Study]] = {STATED: [], SILENT: []}
    for seed in range(2):
        world, place = World(seed=seed, salience=value), work / f"salience{value:g}-{seed}"
        for one in _grown(place, world, store).studies:
            kind = STATED if one.task.rpartition("/")[2] in world.stated else SILENT
            kinds[kind].append(replace(one, question_of=kind, weak_model=WEAK, strong_model=STRONG))
    return {
        kind: _named(ov.Result(studies=tuple(some), pooled=pooled_over_questions(some))) for kind, some in kinds.items()
    }


def show(name: str, rows: Sequence[dict[str, Any]]) -> None:
    """One line each."""
    for row in rows:
        pgr = row["pgr"]
        value = "undefined" if pgr["value"] is None else f"{pgr['value']:.2f} [{pgr['low']:.2f}, {pgr['high']:.2f}]"
        gain = row.get("gain")
        more = (
            ""
            if gain is None or gain["low"] is None
            else f" gain {gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]"
        )
        print(f"{name:18} {row['weak']} -> {row['strong']}, {row['method']}: {value}{more}", flush=True)


def draw(found: dict[str, Any], place: Path) -> None:
    """PGR of naive against each dial; the control is the leftmost point of all but noise."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 2.8), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, by_value) in zip(figure.subplots(1, len(found), sharey=True), found.items(), strict=True):
        for kind in (STATED, SILENT) if name == "salience" else ("",):
            points = [
                (float(value), next(row for row in (rows[kind] if kind else rows) if row["method"] == "naive")["pgr"])
                for value, rows in by_value.items()
            ]
            known = [(x, p) for x, p in points if p["value"] is not None]
            x, y = [x for x, _ in known], [p["value"] for _, p in known]
            bars = [
                [max(0.0, p["value"] - p["low"]) for _, p in known],
                [max(0.0, p["high"] - p["value"]) for _, p in known],
            ]
            axes.errorbar(x, y, yerr=bars, marker="o", capsize=3, label=kind or None)
        axes.set_xlabel(name)
        axes.grid(axis="y", alpha=0.3)
        if name == "salience":
            axes.legend(frameon=False)
    figure.axes[0].set_ylabel("PGR, naive")
    figure.savefig(place, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--pairs", action="store_true")
    parser.add_argument("--dials", action="store_true")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    if arguments.pairs:
        kept["pairs"] = pairs(arguments.work)
    if arguments.dials:
        kept["dials"] = dials(arguments.work)
    if arguments.write:
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
        if "dials" in kept:
            draw(kept["dials"], FIGURE)


if __name__ == "__main__":
    main()
