"""Do plans from a pilot come true? On real sets: a pilot on few test rows and seeds, then a larger study on others.

    OMP_NUM_THREADS=1 python benchmarks/power.py DATA --keep DIR [--splits 10] [--only NAME ...]

DATA holds one directory per set with `train.*` and `test.*` (SETS below). For every set and pair of models 10 seeds are
run once, their predictions kept in DIR. Then, several times: the test groups are parted at random, a quarter with 3
seeds is the pilot, the other three quarters with the other 7 seeds the larger study. Predicted from the pilot (and, for
comparison, from the assumptions that hold where there is none): the width of the interval of the gap, and whether it is
shown. Found: what the package says of the larger study. Writes benchmarks/results/power.json, and theory.json: how
often the inequality of docs/theory.md was shown to hold in the same studies, whole.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import oversight as ov
from oversight.metrics import METRICS, recovered
from oversight.metrics.power import expected
from oversight.metrics.theory import BOUNDS, theory
from oversight.metrics.variability import assumed, of_scores
from oversight.reports.result import ROLES

Floats = npt.NDArray[np.float64]

SETS: dict[str, str | None] = {
    "arc": None,
    "cola": None,
    "hatecheck": "meta.templ",
    "hh_harmless": None,
    "imdb_cf": None,
    "piqa": None,
    "siqa": None,
    "sms_spam": None,
    "strategyqa_facts": None,
    "truthfulqa": "meta.q",
}
PAIRS = (("bow", "minilm@4"), ("minilm@0", "minilm@4"))
SEEDS, PILOT_SEEDS, PILOT_SHARE = 10, 3, 0.25
MOST_TRAIN, MOST_TEST = 2500, 2000
RESULTS = Path(__file__).resolve().parent / "results"
VERDICTS = {True: "held", False: "did not hold", None: "not told apart"}


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Predictions of one study: probabilities (s, 3, n, k), true classes (n,), groups (n,)."""

    name: str
    probs: Floats
    truth: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]

    @property
    def scores(self) -> Floats:
        """(s, 3, n) accuracy of every row."""
        of_row = METRICS["accuracy"].row_scores
        assert of_row is not None
        return np.stack([[of_row(one, self.truth) for one in seed] for seed in self.probs])


def collect(data: Path, keep: Path, only: list[str]) -> None:
    """Run what is not kept yet."""
    for name, group in SETS.items():
        for weak, strong in PAIRS:
            place = keep / f"{name}.{weak}.{strong}.npz"
            if place.exists() or (only and name not in only):
                continue
            began = time.monotonic()
            task = ov.load_task(data / name, columns=ov.Columns(group=group), n_train=MOST_TRAIN, n_test=MOST_TEST)
            result = ov.weak_to_strong(task, weak=weak, strong=strong, seeds=SEEDS, store=keep / "store")
            rows = result.rows(0)
            probs = np.stack([rows.probs[role] for role in ROLES], axis=1)
            groups = np.unique(np.asarray(rows.groups), return_inverse=True)[1]
            np.savez_compressed(place, probs=probs, truth=rows.truth, groups=groups)
            print(f"{place.stem}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def kept(keep: Path) -> list[Kept]:
    """What is there, by name."""
    found: list[Kept] = []
    for place in sorted(keep.glob("*.npz")):
        with np.load(place) as arrays:
            found.append(Kept(name=place.stem, **{name: arrays[name] for name in ("probs", "truth", "groups")}))
    return found


def parted(one: Kept, splits: int) -> Iterator[tuple[tuple[Floats, Any], tuple[Floats, Any]]]:
    """(scores, groups) of pilot and larger study: other test groups, other seeds."""
    scores, names = one.scores, np.unique(one.groups)
    for i in range(splits):
        rng = np.random.default_rng([20261201, i])
        few = rng.permutation(names)[: round(PILOT_SHARE * len(names))]
        seeds = rng.permutation(SEEDS)
        inside = np.isin(one.groups, few)
        yield (
            (scores[seeds[:PILOT_SEEDS]][:, :, inside], one.groups[inside]),
            (scores[seeds[PILOT_SEEDS:]][:, :, ~inside], one.groups[~inside]),
        )


def compare(one: Kept, splits: int) -> list[dict[str, Any]]:
    """What was predicted from pilots and by assumption, and what was found."""
    cells: list[dict[str, Any]] = []
    for (pilot, pilot_groups), (larger, groups) in parted(one, splits):
        found = recovered(larger, groups)
        n, s = larger.shape[2], larger.shape[0]
        # The chance that a gap is shown is asked of the gap that the larger study found: plans are not for guessing it.
        gap = found.gap.value
        from_pilot = expected(of_scores(pilot, pilot_groups), gap=gap, pgr=0.5, n_test=n, seeds=s)
        size = max(1, round(n / found.gap.n_groups))
        usual = assumed(weak=0.70, student=0.725, ceiling=0.75, group_size=size)
        by_assumption = expected(usual, gap=gap, pgr=0.5, n_test=n, seeds=s)
        width = found.gap.high - found.gap.low
        cells.append(
            {
                "study": one.name,
                "n_pilot": pilot.shape[2],
                "n": n,
                "groups": found.gap.n_groups,
                "gap": gap,
                "shown": bool(found.gap.low > 0),
                "width": width,
                "from_pilot": {**_of(from_pilot), "ratio": from_pilot.gap_width / width},
                "by_assumption": {**_of(by_assumption), "ratio": by_assumption.gap_width / width},
            }
        )
    return cells


def _of(found: Any) -> dict[str, float]:
    return {name: getattr(found, name) for name in ("p_defined", "gap_width", "gap_width_low", "gap_width_high")}


def summary(cells: list[dict[str, Any]], basis: str) -> dict[str, Any]:
    """Predicted / found widths by study (median over splits), and how often gaps were shown by what was predicted."""
    by_study: dict[str, list[float]] = {}
    for one in cells:
        by_study.setdefault(one["study"], []).append(one[basis]["ratio"])
    ratios = [float(np.median(every)) for every in by_study.values()]
    every = [one[basis]["ratio"] for one in cells]
    inside = [one[basis]["gap_width_low"] <= one["width"] <= one[basis]["gap_width_high"] for one in cells]
    bands = []
    for low, high in ((0.0, 0.2), (0.2, 0.8), (0.8, 1.01)):
        there = [one for one in cells if low <= one[basis]["p_defined"] < high]
        bands.append(
            {
                "from": low,
                "to": min(high, 1.0),
                "n": len(there),
                "predicted": float(np.mean([one[basis]["p_defined"] for one in there])) if there else None,
                "shown": float(np.mean([one["shown"] for one in there])) if there else None,
            }
        )
    quantiles = np.quantile(every, [0.1, 0.9])
    return {
        "studies": len(ratios),
        "cells": len(cells),
        "ratio_median": float(np.median(ratios)),
        "ratio_lowest": min(ratios),
        "ratio_highest": max(ratios),
        "ratio_of_single_plans_80": [float(one) for one in quantiles],
        "width_within_told_range": float(np.mean(inside)),
        "predicted": float(np.mean([one[basis]["p_defined"] for one in cells])),
        "shown": float(np.mean([one["shown"] for one in cells])),
        "bands": bands,
    }


def of_theory(every: list[Kept]) -> dict[str, Any]:
    """How often the inequality was shown to hold in the whole studies."""
    found: dict[str, Any] = {name: dict.fromkeys(VERDICTS.values(), 0) for name in BOUNDS}
    studies: list[dict[str, Any]] = []
    for one in every:
        told = theory({role: one.probs[:, i] for i, role in enumerate(ROLES)}, one.truth, one.groups)
        row: dict[str, Any] = {"study": one.name, "n": len(one.truth)}
        for name, bound in told.bounds.items():
            if bound.surplus.defined:
                found[name][VERDICTS[bound.holds]] += 1
            row[name] = {part: getattr(bound, part).as_json() for part in ("predicted", "realised", "surplus")}
            row[name]["verdict"] = VERDICTS[bound.holds] if bound.surplus.defined else "undefined"
        studies.append(row)
    return {"seeds": SEEDS, "counts": found, "studies": studies}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    args.keep.mkdir(parents=True, exist_ok=True)
    collect(args.data, args.keep, args.only)
    every = kept(args.keep)
    cells = [cell for one in every for cell in compare(one, args.splits)]
    found = {basis: summary(cells, basis) for basis in ("from_pilot", "by_assumption")}
    told = {
        "command": f"python benchmarks/power.py DATA --keep DIR --splits {args.splits}",
        "pilot": {"seeds": PILOT_SEEDS, "share_of_test_groups": PILOT_SHARE},
        "larger": {"seeds": SEEDS - PILOT_SEEDS},
        **found,
        "cells": cells,
    }
    (args.out / "power.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    (args.out / "theory.json").write_text(json.dumps(of_theory(every), indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    print((args.out / "theory.json").read_text().partition('"studies"')[0])


if __name__ == "__main__":
    main()
