"""Which stored numbers depend on the processor, and by how much.

    python benchmarks/processors.py

The same small set is computed in three processes: as the machine is, and twice as its libraries would work on an older
processor. Prints Markdown: the largest difference of each number from the first process. Needs the extra `demo`.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

PROCESSORS: Mapping[str, Mapping[str, str]] = {
    "as it is": {},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell"},
    "SSE4.1": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "OPENBLAS_CORETYPE": "Nehalem"},
}
SIMULATED = {name for values in PROCESSORS.values() for name in values}
N_ROWS, N_FINE_TUNED, DEPTH = 320, 48, 6
METHODS = ("naive", "confidence", "confidence_median", "reverse_ce", "product")
PACKAGES = ("torch", "transformers", "numpy", "scikit-learn")


def compute(out: Path) -> None:
    """Write all that is compared; runs in a process of its own."""
    import oversight as ov
    from oversight.models.features import extract
    from oversight.models.finetune.student import FineTuned

    task = ov.load_task("reviews")
    rows = task.rows.take(range(N_ROWS))
    labels, seed = task.true_labels(rows), ov.Seed.of(0)
    student: Any = ov.load_student(f"minilm@{DEPTH}")
    found: dict[str, Any] = {}
    for precision in ("float32", "bfloat16"):
        backbone = ov.Backbone(checkpoint=student.backbone.checkpoint, device="cpu", precision=precision, max_tokens=64)
        found[f"features, {precision}"] = extract(backbone, rows, depths=[DEPTH]).features[DEPTH]
        validation = ov.Validation(rows=rows, labels=labels)
        fitted: Any = ov.Probe(backbone=backbone).fit(rows, labels, validation=validation, seed=seed)
        found[f"probe's weights, {precision}"] = fitted.coefficients
        found[f"probe's probabilities, {precision}"] = fitted.predict(rows)
        few = rows.take(range(N_FINE_TUNED))
        taught = task.true_labels(few)
        recipe = ov.Full(lr=1e-4, epochs=2, batch_size=16, evaluations=2)
        tuned = FineTuned(backbone=backbone, recipe=recipe).fit(
            few, taught, validation=ov.Validation(rows=few, labels=taught), seed=seed
        )
        found[f"fine-tuned probabilities after 6 updates, {precision}"] = tuned.predict(few)
        found |= study(precision)
    bag = ov.BagOfWords().fit(rows, labels, validation=ov.Validation(rows=rows, labels=labels), seed=seed)
    found["bag of words, probabilities"] = bag.predict(rows)
    np.savez(out, **found)


def study(precision: str) -> dict[str, Any]:
    """Scores, gap and PGR of bow -> minilm@2 on 700 reviews, 3 seeds."""
    import oversight as ov

    options = ov.ModelOptions(precision=precision, device="cpu", max_tokens=64)
    sizes: dict[str, Any] = {"n_train": 400, "n_test": 300, "seeds": 3}
    every = ov.weak_to_strong(
        "reviews", weak="bow", strong="minilm@2", method=METHODS, strong_options=options, store=":memory:", **sizes
    )
    one = every.studies[0]
    scores = {
        f"study, {role}'s accuracy": one.scores[role]["accuracy"].value for role in ("weak", "student", "ceiling")
    }
    whole = {**scores, "study, gap": one.gap.value, "study, PGR": one.pgr.value}
    found = {f"{name}, {precision}": np.array([value]) for name, value in whole.items()}
    for i, each in enumerate(every.studies[1:], 1):
        by_seed = (every.rows(i).probs["student"].argmax(-1) == every.rows(i).truth).mean(axis=1)
        found[f"study, student's accuracy by seed, {each.method}, {precision}"] = by_seed
    return found


def run(setting: Mapping[str, str], out: Path) -> dict[str, Any]:
    """What `compute` finds under these variables."""
    kept = {name: value for name, value in os.environ.items() if name not in SIMULATED}
    env = {**kept, **setting, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    subprocess.run([sys.executable, __file__, "--compute", str(out)], env=env, check=True)
    with np.load(out) as found:
        return {name: np.array(found[name], np.float64) for name in found.files}


def table(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line for each number: the largest difference from the first processor, and how many choices change."""
    first, *others = found
    lines = [f"| number | largest | {' | '.join(others)} |", "|---" * (2 + len(others)) + "|"]
    for name, values in found[first].items():
        cells = [f"{np.abs(values).max():.3g}"]
        for other in others:
            there = found[other][name]
            cell = f"{np.abs(there - values).max():.1e}"
            if "probabilities" in name:
                cell += f"; {(there.argmax(1) != values.argmax(1)).sum()} of {len(values)} choices"
            cells.append(cell)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def machine() -> str:
    """Processor and versions."""
    info = Path("/proc/cpuinfo")
    names = [one.split(":")[1].strip() for one in info.read_text().splitlines() if one.startswith("model name")]
    versions = ", ".join(f"{one} {importlib.metadata.version(one)}" for one in PACKAGES)
    return f"{names[0] if names else platform.processor()}, python {platform.python_version()}; {versions}; one thread."


def main() -> None:
    """Compute under every processor and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        found = {name: run(setting, Path(folder) / f"{i}.npz") for i, (name, setting) in enumerate(PROCESSORS.items())}
    print("# What depends on the processor\n\n`python benchmarks/processors.py`\n\n" + machine() + "\n")
    print("\n".join(table(found)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--compute"]:
        compute(Path(sys.argv[2]))
    else:
        main()
