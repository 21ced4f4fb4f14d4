"""One study on every binary set of a folder: which of them have a gap, and how much of it is recovered?

    python benchmarks/survey.py DATA [--weak bow] [--strong minilm@4] [--method naive] [--seeds 5] [--only NAME ...]

DATA holds one directory per set with `train.*` and `test.*`. Prints a Markdown table row per set as it is done.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import oversight as ov
from oversight.metrics.intervals import Estimate

GROUPS = {
    "anthropic_evals": "meta.eval",
    "bbq": "meta.qi",
    "boolq": "meta.title",
    "gsm8k_solutions": "meta.q",
    "hatecheck": "meta.templ",
    "true_statements": "meta.set",
    "truthfulqa": "meta.q",
    "xstest": "meta.type",
}
HEAD = "| set | grouped by | n test | groups | weak | student | ceiling | gap | PGR | s |"


def shown(estimate: Estimate, digits: int = 3) -> str:
    """`0.712 [0.690, 0.733]`, or the reason."""
    if not estimate.defined:
        return f"undefined: {estimate.reason}"
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weak", default="bow")
    parser.add_argument("--strong", default="minilm@4")
    parser.add_argument("--method", default="naive")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--store", default=None)
    arguments = parser.parse_args()
    print(HEAD, "|" + "---|" * (HEAD.count("|") - 1), sep="\n", flush=True)
    for folder in sorted(arguments.data.iterdir()):
        if not any(folder.glob("train.*")) or (arguments.only and folder.name not in arguments.only):
            continue
        group, began = GROUPS.get(folder.name), time.monotonic()
        try:
            result = ov.weak_to_strong(
                folder,
                weak=arguments.weak,
                strong=arguments.strong,
                method=arguments.method,
                seeds=arguments.seeds,
                columns=ov.Columns(group=group),
                store=arguments.store,
            )
        except ov.InputError as error:
            print(f"| {folder.name} | {group or 'text'} | {error} |", flush=True)
            continue
        study = result[0]
        scores = " | ".join(shown(study.score(role)) for role in ("weak", "student", "ceiling"))
        print(
            f"| {folder.name} | {group or 'text'} | {study.n_test} | {study.n_groups} | {scores} | {shown(study.gap)} "
            f"| {shown(study.pgr, 2)} | {time.monotonic() - began:.0f} |",
            flush=True,
        )
        for warning in study.warnings:
            print(f"<!-- {folder.name}: {warning} -->", flush=True)


if __name__ == "__main__":
    main()
