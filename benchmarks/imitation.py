"""Does fine-tuning imitate its supervisor less than a probe does?

    python benchmarks/imitation.py TASK[:GROUP] ... [--weak minilm@1] [--strong minilm] [--train probe full] [--seeds 3]

TASK is what `oversight w2s` takes, with the column that names groups after a colon. Supervisor, student and ceiling are
trained the same way; prints a Markdown row per task, way to train and method: the three scores, gap, PGR, and how often
the student agrees with its supervisor where that is right and where it is wrong.
"""

from __future__ import annotations

import argparse
import time

from survey import shown

import oversight as ov

METHODS = ("naive", "confidence")
HEAD = "| task | train | method | weak | student | ceiling | gap | PGR | agrees where right | agrees where wrong | s |"


def row(study: ov.Study, seconds: float) -> str:
    """One row of the table."""
    scores = [shown(study.score(role)) for role in ("weak", "student", "ceiling")]
    agreed = [shown(study.agreement[name], 2) for name in ("weak_right", "weak_wrong")]
    cells = [study.task, study.train, study.method, *scores, shown(study.gap), shown(study.pgr, 2), *agreed]
    return "| " + " | ".join([*cells, f"{seconds:.0f}"]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", metavar="TASK[:GROUP]")
    parser.add_argument("--weak", default="minilm@1")
    parser.add_argument("--strong", default="minilm")
    parser.add_argument("--train", nargs="+", default=["probe", "full"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--store", default=None)
    arguments = parser.parse_args()
    print(HEAD, "|" + "---|" * (HEAD.count("|") - 1), sep="\n", flush=True)
    for named in arguments.tasks:
        task, _, group = named.partition(":")
        for train in arguments.train:
            began = time.monotonic()
            result = ov.weak_to_strong(
                task,
                weak=arguments.weak,
                strong=arguments.strong,
                method=list(METHODS),
                train=train,
                seeds=arguments.seeds,
                columns=ov.Columns(group=group or None),
                store=arguments.store,
                keep_models=False,
            )
            for study in result.studies:
                print(row(study, time.monotonic() - began), flush=True)
                for warning in study.warnings:
                    print(f"<!-- {study.task}, {study.train}, {study.method}: {warning} -->", flush=True)


if __name__ == "__main__":
    main()
