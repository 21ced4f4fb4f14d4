"""The probe's confidence loss against its reference: test accuracy and seconds of both, on the same rows, in one run.

Reference (Burns et al. 2023, appendix D.2): a linear head from zero, Adam at 1e-3, batches of 128, no weight decay, 200
epochs, the epoch with the best agreement with the weak labels of the validation rows. The same loss function is used
on both sides, once per seed. Features are standardised for both.

    python benchmarks/confidence_probe.py [--tasks NAME_OR_FILE ...] [--seeds 5] [--strong minilm@4] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import oversight as ov
from oversight.methods.losses import Confidence
from oversight.models.features import features
from oversight.models.student import Loss, Validation, cross_entropy
from oversight.resolve import prepare
from oversight.studies.kinds import _bank  # pyright: ignore[reportPrivateUsage]
from oversight.studies.plan import Plan
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels, Rows

EPOCHS, BATCH, RATE = 200, 128, 1e-3


def reference(
    probe: ov.Probe, rows: Rows, labels: Labels, *, validation: Validation, test: Rows, loss: Loss, seed: Seed
) -> tuple[Floats, int]:
    """Test probabilities (n, k) and the epoch chosen."""
    x, mean, scale = _standardised(features(probe.backbone, rows))
    seen = torch.from_numpy((features(probe.backbone, validation.rows) - mean) / scale).float()
    asked = torch.from_numpy((features(probe.backbone, test) - mean) / scale).float()
    targets = torch.from_numpy(labels.on(rows).probs).float()
    wanted = torch.from_numpy(validation.labels.on(validation.rows).probs.argmax(1))
    head = torch.nn.Linear(x.shape[1], labels.n_classes)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    optimiser = torch.optim.Adam(head.parameters(), lr=RATE)
    generator = torch.Generator().manual_seed(seed.order)
    n_batches = -(-len(x) // BATCH)
    best, best_epoch, probs = -1.0, 0, np.zeros(0)
    for epoch in range(EPOCHS):
        for i, batch in enumerate(torch.randperm(len(x), generator=generator).split(BATCH)):
            progress = (epoch * n_batches + i) / (EPOCHS * n_batches)
            optimiser.zero_grad()
            loss(head(x[batch]), targets[batch], progress=progress).backward()
            optimiser.step()
        with torch.no_grad():
            agreed = float((head(seen).argmax(1) == wanted).double().mean())
            if agreed > best:
                best, best_epoch, probs = agreed, epoch, head(asked).double().softmax(-1).numpy()
    return probs, best_epoch


def _standardised(x: Floats) -> tuple[torch.Tensor, Floats, Floats]:
    mean, scale = x.mean(0), np.maximum(x.std(0), 1e-9)
    return torch.from_numpy((x - mean) / scale).float(), mean, scale


def one_run(plan: Plan, probe: ov.Probe, weak: ov.Supervisor, seed: Seed, bank: Any) -> dict[str, float]:
    """Accuracies of naive, both confidence fits and the seconds of the latter."""
    from oversight.models.features import using

    parts = plan.parts(seed)
    truth = plan.task.truth(parts["test"])
    with using(bank):
        given = weak.supervise(plan.task, plan.split(seed), list(parts.values()), seed=seed).labels
        validation = Validation(rows=parts["validation"], labels=given[1])
        rows, test = parts["transfer"], parts["test"]

        def ours(loss: Loss) -> Floats:
            return probe.fit(rows, given[0], loss=loss, validation=validation, seed=seed).predict(test)

        def theirs(loss: Loss) -> tuple[Floats, int]:
            return reference(probe, rows, given[0], validation=validation, test=test, loss=loss, seed=seed)

        naive, plain = ours(cross_entropy), theirs(cross_entropy)[0]
        began = time.perf_counter()
        fast = ours(Confidence())
        middle = time.perf_counter()
        slow, epoch = theirs(Confidence())
        end = time.perf_counter()
    right = {"weak": given[2].probs, "naive": naive, "naive_adam": plain, "ours": fast, "reference": slow}
    return {
        **{name: float((probs.argmax(1) == truth).mean()) for name, probs in right.items()},
        "epoch": float(epoch),
        "ours_seconds": middle - began,
        "reference_seconds": end - middle,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["reviews"])
    parser.add_argument("--weak", default="bow")
    parser.add_argument("--strong", default="minilm@4")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in arguments.tasks:
        task = ov.load_task(name)
        plan = Plan(task)
        setup = prepare(task, weak=arguments.weak, strong=arguments.strong, seeds=arguments.seeds)
        arm = setup.arms[0]
        probe, weak = arm.student, arm.supervisors[0]
        assert isinstance(probe, ov.Probe)
        from oversight.runs.drive import execute
        from oversight.runs.store import MemoryStore
        from oversight.studies.kinds import KINDS

        steps = [plan.features(backbone, task.rows) for backbone in {*probe.backbones, *weak.backbones}]
        outcomes = execute(steps, store=MemoryStore(), kinds=KINDS, env=plan)
        bank = _bank([plan.objects[step.key] for step in steps], [outcomes[step.key] for step in steps])
        runs = [one_run(plan, probe, weak, seed, bank) for seed in setup.seeds]
        mean = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
        rows.append({"task": Path(name).name, **mean})
        print(
            " ".join(
                f"{key}={value:.3f}" if isinstance(value, float) else str(value) for key, value in rows[-1].items()
            ),
            flush=True,
        )
    difference = np.array([row["ours"] - row["reference"] for row in rows])
    speed = np.median([row["reference_seconds"] / row["ours_seconds"] for row in rows])
    half = 1.96 * difference.std(ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else float("nan")
    print(
        f"ours - reference: {difference.mean():+.4f} +- {half:.4f} over {len(rows)} tasks; "
        f"reference / ours seconds x{speed:.1f}"
    )
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
