"""Probes under losses against their reference, on real sets and on a ladder of tiny networks that know what they know.

Reference (Burns et al. 2023, appendix D.2): a linear head from zero, Adam at 1e-3, batches of 128, no weight decay, 200
epochs. The same loss function and the same standardised features on both sides, once per seed. Three comparisons:

- path: our path with the penalty off (1e-12) against the reference, each at its end and each left by our rule (of the
  places at progress .2, .25, ..., 1 the one that agrees best with the weak validation labels, the latest of several);
- grid: the probe as it is (`Probe.fit`; naive converged) against the reference at the epoch that agrees best;
- ladder: confidence against naive, ours and the reference's, over twelve questions.

    python benchmarks/confidence_probe.py [--data DATA --sets NAME ...] [--ladder FOLDER] [--seeds 3]
        [--losses NAME ...] [--out benchmarks/results/confidence_probe]

DATA holds one directory per set. FOLDER holds `n64-0.06`, `n32-0.12` and `n64-0.25` (networks) and `plays_0.jsonl` to
`works_5.jsonl`; it is skipped where it is missing. Writes OUT.md and OUT.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

import oversight as ov
from oversight.methods import METHODS
from oversight.methods.regularisers import along_the_path
from oversight.models.batching import Place, Request, solutions
from oversight.models.features import features, using
from oversight.models.probe import FIRST_PLACE
from oversight.models.student import Loss, Validation, cross_entropy
from oversight.resolve import prepare
from oversight.runs.drive import execute
from oversight.runs.store import MemoryStore
from oversight.studies.kinds import KINDS, _bank  # pyright: ignore[reportPrivateUsage]
from oversight.studies.plan import Plan
from oversight.tasks.columns import Columns
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Ints, Labels, Rows
from oversight.ties import right_shares, same_shares

EPOCHS, BATCH, RATE, PLACES = 200, 128, 1e-3, 20
OFF = 1e-12
BY_SEED = "grid minus best epoch, by seed"
GROUPS = {"hatecheck": "meta.templ", "truthfulqa": "meta.q", "gsm8k_solutions": "meta.q"}
WEAK = {"sms_spam": "bow", "hatecheck": "bow"}
SETS = (
    "sms_spam",
    "hatecheck",
    "imdb_cf",
    "truthfulqa",
    "gsm8k_solutions",
    "siqa",
    "cola",
    "imdb",
    "xstest",
    "reviews",
)
LOSSES = ("confidence_balanced", "reverse_ce", "confidence_median", "confidence")
QUESTIONS = tuple(f"{relation}_{i}" for relation in ("plays", "works") for i in range(6))
SUPERVISORS, STUDENT = ("n64-0.06", "n32-0.12"), "n64-0.25"


@dataclass(frozen=True)
class Lesson:
    """One seed of one task: rows, weak labels, and the truth of the test rows."""

    probe: ov.Probe
    rows: Rows
    labels: Labels
    seen: Validation
    test: Rows
    truth: Ints
    seed: Seed

    def right(self, probs: Floats) -> float:
        """Accuracy on the test rows."""
        return float(right_shares(probs, self.truth).mean())

    def agrees(self, probs: Floats) -> float:
        """With the weak labels of the validation rows."""
        return round(float(same_shares(probs, self.seen.labels.on(self.seen.rows).probs).mean()), 9)


def lessons(task: ov.Task, *, weak: str, strong: str, seeds: int) -> Iterator[Lesson]:
    """Of every seed, with the features at hand."""
    plan = Plan(task)
    setup = prepare(task, weak=weak, strong=strong, seeds=seeds)
    probe, supervisor = setup.arms[0].student, setup.arms[0].supervisors[0]
    assert isinstance(probe, ov.Probe)
    steps = [plan.features(backbone, task.rows) for backbone in {*probe.backbones, *supervisor.backbones}]
    outcomes = execute(steps, store=MemoryStore(), kinds=KINDS, env=plan)
    with using(_bank([plan.objects[step.key] for step in steps], [outcomes[step.key] for step in steps])):
        for seed in setup.seeds:
            parts = plan.parts(seed)
            given = supervisor.supervise(task, plan.split(seed), list(parts.values()), seed=seed).labels
            seen = Validation(rows=parts["validation"], labels=given[1])
            truth = task.truth(parts["test"])
            yield Lesson(probe, parts["transfer"], given[0], seen, parts["test"], truth, seed)


def reference(lesson: Lesson, loss: Loss) -> list[tuple[Floats, Floats]]:
    """Validation and test probabilities after every epoch."""
    x = features(lesson.probe.backbone, lesson.rows)
    mean, scale = x.mean(0), np.maximum(x.std(0), 1e-9)
    train, seen, asked = (
        torch.from_numpy((features(lesson.probe.backbone, rows) - mean) / scale).float()
        for rows in (lesson.rows, lesson.seen.rows, lesson.test)
    )
    targets = torch.from_numpy(lesson.labels.on(lesson.rows).probs).float()
    head = torch.nn.Linear(x.shape[1], targets.shape[1])
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    optimiser = torch.optim.Adam(head.parameters(), lr=RATE)
    generator = torch.Generator().manual_seed(lesson.seed.order)
    n_batches = -(-len(train) // BATCH)
    found: list[tuple[Floats, Floats]] = []
    for epoch in range(EPOCHS):
        for i, batch in enumerate(torch.randperm(len(train), generator=generator).split(BATCH)):
            progress = (epoch * n_batches + i) / (EPOCHS * n_batches)
            optimiser.zero_grad()
            loss(head(train[batch]), targets[batch], progress=progress).backward()
            optimiser.step()
        with torch.no_grad():
            found.append((head(seen).double().softmax(-1).numpy(), head(asked).double().softmax(-1).numpy()))
    return found


def path(lesson: Lesson, loss: Loss) -> list[tuple[Floats, Floats]]:
    """Validation and test probabilities at our places, with the penalty off."""
    targets = lesson.labels.on(lesson.rows).probs
    (found,) = solutions([Request(Place(lesson.probe.backbone, lesson.rows), targets, (OFF,), loss)])
    seen, asked = (found.probs(features(lesson.probe.backbone, rows)) for rows in (lesson.seen.rows, lesson.test))
    return list(zip(seen, asked, strict=True))


def by_rule(lesson: Lesson, places: Sequence[tuple[Floats, Floats]]) -> float:
    """Accuracy where our rule leaves a path."""
    first = next(j for j in range(len(places)) if (j + 1) / len(places) >= FIRST_PLACE - 1e-9)
    stop = max(range(first, len(places)), key=lambda j: (lesson.agrees(places[j][0]), j))
    return lesson.right(places[stop][1])


def one_loss(lesson: Lesson, name: str) -> dict[str, float]:
    """Accuracies of one loss on one seed; `naive` is cross-entropy along the path, and converged on the grid."""
    loss = along_the_path if name == "naive" else loss_named(name)
    epochs, ours = reference(lesson, loss), path(lesson, loss)
    whole = lesson.probe.fit(
        lesson.rows,
        lesson.labels,
        loss=cross_entropy if name == "naive" else loss,
        validation=lesson.seen,
        seed=lesson.seed,
    )
    best = max(range(EPOCHS), key=lambda j: (lesson.agrees(epochs[j][0]), -j))
    return {
        "reference_last": lesson.right(epochs[-1][1]),
        "reference_rule": by_rule(lesson, epochs[EPOCHS // PLACES - 1 :: EPOCHS // PLACES]),
        "reference_best": lesson.right(epochs[best][1]),
        "path_last": lesson.right(ours[-1][1]),
        "path_rule": by_rule(lesson, ours),
        "grid": lesson.right(whole.predict(lesson.test)),
    }


def loss_named(name: str) -> Loss:
    """The loss of a method that is nothing but a loss."""
    return getattr(METHODS[name].make(), "loss")  # noqa: B009


def on_sets(data: Path | None, sets: Sequence[str], names: Sequence[str], seeds: int) -> list[dict[str, Any]]:
    """One entry per set and loss: means over seeds."""
    found: list[dict[str, Any]] = []
    for one in sets:
        if one != "reviews" and (data is None or not (data / one).exists()):
            print(f"{one}: skipped, not there", flush=True)
            continue
        place = one if one == "reviews" or data is None else str(data / one)
        task = ov.load_task(place, columns=Columns(group=GROUPS.get(one)))
        runs: dict[str, list[dict[str, float]]] = {}
        for lesson in lessons(task, weak=WEAK.get(one, "minilm@0"), strong="minilm@4", seeds=seeds):
            for name in names:
                runs.setdefault(name, []).append(one_loss(lesson, name))
        for name, own in runs.items():
            mean = {key: float(np.mean([run[key] for run in own])) for key in own[0]}
            below = [run["grid"] - run["reference_best"] for run in own]
            found.append({"set": one, "loss": name, **mean, BY_SEED: below})
            print(one, name, *(f"{key} {value:.3f}" for key, value in mean.items()), flush=True)
    return found


def on_ladder(folder: Path, supervisor: str) -> list[dict[str, float]]:
    """By question: confidence minus naive, ours (naive converged) and the reference's (at their ends)."""
    found: list[dict[str, float]] = []
    for question in QUESTIONS:
        task = ov.load_task(str(folder / f"{question}.jsonl"), n_test=2000)
        (lesson,) = lessons(task, weak=str(folder / supervisor), strong=str(folder / STUDENT), seeds=1)
        ours, theirs = one_loss(lesson, "confidence"), one_loss(lesson, "naive")
        fitted = lesson.probe.fit(
            lesson.rows, lesson.labels, loss=loss_named("confidence"), validation=lesson.seen, seed=lesson.seed
        )
        last = fitted.last
        assert last is not None
        found.append(
            {
                "reference": ours["reference_last"] - theirs["reference_last"],
                "ours": ours["grid"] - theirs["grid"],
                "ours_last": lesson.right(last.predict(lesson.test)) - theirs["grid"],
            }
        )
    return found


def interval(values: Sequence[float]) -> str:
    """Mean with its 95 % interval by Student's t."""
    x = np.asarray(values)
    half = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / len(x) ** 0.5 if len(x) > 1 else np.nan
    return f"{x.mean():+.4f} [{x.mean() - half:+.4f}, {x.mean() + half:+.4f}]"


def as_markdown(rows: Sequence[Mapping[str, Any]], ladder: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """The tables."""
    names = list(dict.fromkeys(row["loss"] for row in rows))
    lines = ["# Probes under losses against the reference", ""]
    lines += [
        "| loss | sets | path, end | path, same rule | grid minus best epoch | lowest set, over its seeds |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        own = [row for row in rows if row["loss"] == name]
        end, rule, grid = (
            [row[a] - row[b] for row in own]
            for a, b in (("path_last", "reference_last"), ("path_rule", "reference_rule"), ("grid", "reference_best"))
        )
        least = int(np.argmin(grid))
        cells = (
            name,
            str(len(own)),
            interval(end),
            interval(rule),
            interval(grid),
            f"{own[least]['set']} {interval(own[least][BY_SEED])}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    for supervisor, own in ladder.items():
        lines += ["", f"Ladder, {supervisor} -> {STUDENT}, {len(own)} questions, confidence minus naive:", ""]
        lines += [f"- {key}: {interval([one[key] for one in own])}" for key in own[0]]
    if rows:
        keys = [key for key in rows[0] if key not in ("set", "loss", BY_SEED)]
        lines += ["", f"| set | loss | {' | '.join(keys)} |", "|---" * (len(keys) + 2) + "|"]
        lines += [f"| {row['set']} | {row['loss']} | {' | '.join(f'{row[key]:.3f}' for key in keys)} |" for row in rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--ladder", type=Path)
    parser.add_argument("--losses", nargs="+", default=LOSSES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = on_sets(arguments.data, arguments.sets, ("naive", *arguments.losses), arguments.seeds)
    ladder: dict[str, list[dict[str, float]]] = {}
    if arguments.ladder is not None and (arguments.ladder / STUDENT).exists():
        ladder = {supervisor: on_ladder(arguments.ladder, supervisor) for supervisor in SUPERVISORS}
    elif arguments.ladder is not None:
        print(f"ladder: skipped, {arguments.ladder / STUDENT} is not there")
    print(as_markdown(rows, ladder))
    if arguments.out:
        arguments.out.with_suffix(".md").write_text(as_markdown(rows, ladder))
        told = {"sets": rows, "ladder": ladder, "seeds": arguments.seeds}
        arguments.out.with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
