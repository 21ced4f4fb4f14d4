"""What first light costs: the demo by stage, feature extraction against the plain way, start-up.

    python benchmarks/first_light.py [--repeats 3] [--texts TASK] [--out benchmarks/results/first_light]

Every ratio comes from one run that measures both sides in turn; utilisation is quoted against the matrix product
measured in the same run. Writes OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import oversight as ov
from oversight.models.backbone import resolve_precision
from oversight.models.features import extract
from oversight.models.network import Network
from oversight.tasks.task import Rows

BATCH, N_TEXTS = 32, 4000
COMMAND = [sys.executable, "-m", "oversight"]


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def matrix_product(dtype: torch.dtype, size: int = 2048, n: int = 6) -> float:
    """FLOP/s of a square matrix product, best of n."""
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    torch.mm(a, b)
    return 2 * size**3 / min(seconds(lambda: torch.mm(a, b)) for _ in range(n))


def plain(texts: Sequence[str], path: Path) -> int:
    """The way everybody writes first: natural order, batches of 32, padded, float32. Returns real tokens."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(path)
    model: Any = AutoModel.from_pretrained(path, dtype=torch.float32).eval()
    tokens = 0
    with torch.no_grad():
        for start in range(0, len(texts), BATCH):
            batch = tokenizer(
                list(texts[start : start + BATCH]), padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            states = model(**batch, output_hidden_states=True).hidden_states
            mask = batch["attention_mask"][..., None].float()
            for state in states:
                _ = (state * mask).sum(1) / mask.sum(1)
            tokens += int(batch["attention_mask"].sum())
    return tokens


def extraction(rows: Rows, repeats: int) -> dict[str, Any]:
    """Tokens per second of the plain way and of ours in both precisions, measured in turn."""
    student = ov.load_student("minilm")
    backbone = student.backbones[0]
    path, depths = backbone.checkpoint.path, list(range(backbone.blocks + 1))
    fast = resolve_precision("auto", "cpu")
    ways: dict[str, Callable[[], int]] = {"plain float32": lambda: plain(rows.texts, path)}
    for precision in dict.fromkeys(("float32", fast)):
        one = ov.Backbone(checkpoint=backbone.checkpoint, precision=precision)
        ways[f"oversight {precision}"] = lambda one=one: extract(one, rows, depths=depths).n_tokens
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            tokens = way()
            found[name].append(tokens / (time.perf_counter() - began))
    rates = {name: statistics.median(rates[1:]) for name, rates in found.items()}
    peak = {"float32": matrix_product(torch.float32), "bfloat16": matrix_product(torch.bfloat16)}
    lengths = [len(ids) for ids in Network(backbone, depth=backbone.blocks).tokenize(rows.texts).ids]
    work = flops_per_token(backbone.checkpoint.config, sum(n * n for n in lengths) / sum(lengths))
    return {
        "rows": len(rows),
        "tokens_per_second": rates,
        "ratio_to_plain": {name: rates[name] / rates["plain float32"] for name in rates},
        "ratio_by_repeat": [
            b / a for a, b in zip(found["plain float32"][1:], found[f"oversight {fast}"][1:], strict=True)
        ],
        "matrix_product_gflops": {name: value / 1e9 for name, value in peak.items()},
        "utilisation": {name: rates[name] * work / peak[name.split()[1]] for name in rates},
        "mflop_per_token": work / 1e6,
    }


def first_rows(task: ov.Task) -> Rows:
    """The first N_TEXTS rows in the order of the file."""
    return task.rows.take(range(min(N_TEXTS, len(task))))


def flops_per_token(config: Any, mean_context: float) -> float:
    """Multiply-adds times two of the blocks per real token: 8 d^2 + 4 d f projections and 4 t d attention each."""
    d, f, blocks = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    return blocks * (8 * d * d + 4 * d * f + 4 * mean_context * d)


def demo() -> dict[str, Any]:
    """The demo in fresh processes and an empty directory: first run by stage, second run, peak memory."""
    with tempfile.TemporaryDirectory() as place:
        environment = {**os.environ, "OVERSIGHT_STORE": str(Path(place) / "store")}

        def once() -> float:
            return seconds(
                lambda: subprocess.run([*COMMAND, "demo"], cwd=place, env=environment, check=True, capture_output=True)
            )

        first = once()
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        again = statistics.median(once() for _ in range(3))
        listed = subprocess.run([*COMMAND, "ls", "--json"], cwd=place, env=environment, check=True, capture_output=True)
        report = (Path(place) / "report.html").stat().st_size
    stages: dict[str, list[float]] = {}
    for step in json.loads(listed.stdout)["results"]:
        stages.setdefault(step["kind"], []).append(step["seconds"])
    return {
        "first_seconds": first,
        "second_seconds": again,
        "peak_gib": peak,
        "report_bytes": report,
        "stages": {kind: {"steps": len(times), "seconds": sum(times)} for kind, times in stages.items()},
        "rest_seconds": first - sum(sum(times) for times in stages.values()),
    }


def start_up(repeats: int) -> float:
    """Median seconds of `oversight --help`."""
    return statistics.median(
        seconds(lambda: subprocess.run([*COMMAND, "--help"], check=True, capture_output=True))
        for _ in range(repeats + 2)
    )


def as_markdown(found: dict[str, Any]) -> str:
    """The figures as a page."""
    features, shown = found["features"], found["demo"]
    lines = [
        "# First light",
        "",
        f"{found['machine']}; {', '.join(f'{name} {one}' for name, one in found['versions'].items())}.",
        "",
        "`python benchmarks/first_light.py`",
        "",
        "| demo | figure |",
        "|---|---|",
        f"| first run | {shown['first_seconds']:.1f} s |",
        f"| second run, from the store | {shown['second_seconds']:.1f} s |",
        f"| peak memory | {shown['peak_gib']:.2f} GiB |",
        *(f"| {kind}: {one['steps']} steps | {one['seconds']:.1f} s |" for kind, one in shown["stages"].items()),
        f"| imports, keys, report, printing | {shown['rest_seconds']:.1f} s |",
        f"| `oversight --help` | {found['help_seconds']:.2f} s |",
        "",
        f"All hidden states of {features['rows']} texts under the embedded encoder, loading included:",
        "",
        "| way | tokens/s | ratio to plain | of the matrix product |",
        "|---|---|---|---|",
        *(
            f"| {name} | {rate:,.0f} | x{features['ratio_to_plain'][name]:.2f} | {features['utilisation'][name]:.0%} |"
            for name, rate in features["tokens_per_second"].items()
        ),
        "",
        "Matrix product, 2048 square, GFLOP/s: "
        + ", ".join(f"{name} {value:.0f}" for name, value in features["matrix_product_gflops"].items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--texts", default="reviews", help="the task whose texts are extracted")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {name: version(name) for name in ("torch", "transformers", "numpy")},
        "help_seconds": start_up(arguments.repeats),
        "demo": demo(),
        "features": extraction(first_rows(ov.load_task(arguments.texts)), arguments.repeats),
    }
    page = as_markdown(found)
    print(page)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
        arguments.out.with_suffix(".md").write_text(page)


if __name__ == "__main__":
    main()
