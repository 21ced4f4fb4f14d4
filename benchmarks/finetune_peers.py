"""Our fine-tuning loop against openai/weak-to-strong's `train_model` and the transformers `Trainer`, in one run.

    python benchmarks/finetune_peers.py --openai PATH --trainer [--updates N] [--repeats R] [--json FILE]

Two networks (a GPT-2 of 4 blocks, 256 wide, random weights, its tokenizer made from the training texts; the embedded
MiniLM) on two tasks (`reviews`; IMDb where `../shared/data` is there, cut at 256 tokens). Everybody gets the same token
ids of the transfer part with true labels, the same start (a head of zeros over the last token, or the mean of an
encoder), batches of 32, as many updates, and one learning rate on a cosine without warm-up or dropout. Contenders take
turns, each run in a process of its own; repeat r uses seed r for the order of rows.

- `ours`: `oversight.models.finetune`, precision `auto`.
- `reference xM`: a checkout of openai/weak-to-strong, float32 as it does for GPT-2, passes of M rows: 1 is what its
  scripts choose, 8 what `train_model` does by default. Its algorithm is untouched. What current libraries lack is
  stubbed: the packages wandb and torch_optimizer if they are not installed, and `load_sharded_checkpoint`, which moved.
  It knows no encoders: MiniLM is handed over in a wrapper that takes token ids and masks id 0, the filler.
- `Trainer`: bfloat16 where the processor has it, dynamic padding, batches by length, fused AdamW, fused attention.

Seconds are those of the whole training after one pass forward and backward that is not counted, without tokenizing,
loading and evaluation; evaluation of the test rows is timed apart, each in its own way. Memory is what was resident at
most until training ended, and in brackets how much of it came after the network was loaded. Utilisation counts
6 FLOPs per real token and parameter other than embeddings, and 12 t^2 d per block for the attention of t tokens,
against a matrix product of 2048 measured in every turn. Without --updates: those of the default recipe but for its
short batches, so that accuracies mean something; they are compared on the same test rows, resampled with seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from finetune_contenders import BATCH, MAX_TOKENS, OURS, PAD, PRODUCTS, REFERENCE, TRAINER, Job

import oversight as ov
from oversight.metrics.intervals import Estimate, linear_interval, moments
from oversight.models.checkpoint import embedded
from oversight.models.finetune.recipe import Full
from oversight.tasks.split import split_task

ROOT = Path(__file__).resolve().parents[1]
IMDB = ROOT.parent / "shared" / "data" / "imdb"
VOCABULARY = 8192
MODELS = ("gpt2", "minilm")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One network on one task.

    Attributes:
        model: name of the network.
        task: name of the task.
        path: the network on disk.
        rows: file of token ids and classes.
        groups: of the test rows.
        n_train: training rows.
        epochs: passes over them.
        lr: peak learning rate.
        tokens: real ones of one epoch.
        flops: of the training of one epoch.
    """

    model: str
    task: str
    path: str
    rows: str
    groups: tuple[str, ...]
    n_train: int
    epochs: int
    lr: float
    tokens: int
    flops: float

    @property
    def n_samples(self) -> int:
        """Rows that one run trains on, each as often as it comes."""
        return self.n_train * self.epochs


def small_gpt2(folder: Path, texts: Sequence[str]) -> None:
    """4 blocks, 256 wide, random weights, and a byte-level tokenizer of these texts with the filler as id 0."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    own = Tokenizer(models.BPE())
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    settings: dict[str, Any] = {"special_tokens": ["<pad>"], "initial_alphabet": alphabet, "show_progress": False}
    own.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=VOCABULARY, **settings))
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=own, pad_token="<pad>", eos_token="<pad>")
    tokenizer.save_pretrained(folder)
    config = GPT2Config(
        n_layer=4,
        n_embd=256,
        n_head=4,
        n_positions=MAX_TOKENS,
        vocab_size=len(tokenizer),
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        attn_pdrop=0.0,
        pad_token_id=PAD,
        bos_token_id=PAD,
        eos_token_id=PAD,
    )
    torch.manual_seed(0)
    GPT2LMHeadModel(config).save_pretrained(folder)


def prepare(task: ov.Task, model: str, folder: Path, *, updates: int | None) -> Setting:
    """Cut, tokenize and write the rows, make the network if it is ours to make, and count."""
    from transformers import AutoTokenizer

    split = split_task(task, seed=0)
    parts = {"train": task.pick(split.transfer), "test": task.pick(split.test)}
    recipe, n = Full(), len(parts["train"])
    epochs = recipe.n_epochs(n)
    if updates is not None:
        epochs = -(-updates * BATCH // n)
        parts["train"] = parts["train"].take(range(BATCH * (updates // epochs)))
    else:
        parts["train"] = parts["train"].take(range(n - n % BATCH))
    folder.mkdir(parents=True)
    path = folder / "gpt2"
    if model == "gpt2":
        small_gpt2(path, parts["train"].texts)
    else:
        path = embedded().path
    tokenizer: Any = AutoTokenizer.from_pretrained(path)
    written = {
        name: {
            "ids": tokenizer(list(rows.texts), truncation=True, max_length=MAX_TOKENS)["input_ids"],
            "labels": task.truth(rows).tolist(),
        }
        for name, rows in parts.items()
    }
    (folder / "rows.json").write_text(json.dumps(written))
    lengths = np.array([len(ids) for ids in written["train"]["ids"]])
    n_weights, blocks, width = shape(path)
    return Setting(
        model=model,
        task=Path(task.name).name,
        path=str(path),
        rows=str(folder / "rows.json"),
        groups=parts["test"].groups,
        n_train=len(lengths),
        epochs=epochs,
        lr=recipe.rates(n_weights)[0],
        tokens=int(lengths.sum()),
        flops=6.0 * n_weights * lengths.sum() + 12.0 * blocks * width * (lengths**2).sum(),
    )


def shape(path: Path) -> tuple[int, int, int]:
    """Parameters other than embeddings and pooler, blocks, and width."""
    from transformers import AutoConfig, AutoModel

    config: Any = AutoConfig.from_pretrained(path)
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    others = ("embeddings", "wte", "wpe", "pooler")
    counted = [one.numel() for name, one in model.named_parameters() if not any(part in name for part in others)]
    return sum(counted), config.num_hidden_layers, config.hidden_size


def in_its_own_process(job: Job) -> dict[str, Any]:
    """The result of one run."""
    threads = str(job.threads)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    command = [sys.executable, str(Path(__file__).with_name("finetune_contenders.py")), json.dumps(asdict(job))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{job.contender} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def turns(
    setting: Setting, contenders: Sequence[str], arguments: argparse.Namespace
) -> dict[str, list[dict[str, Any]]]:
    """Every contender and the matrix products once per repeat, one after the other."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in (*contenders, PRODUCTS)}
    for repeat in range(arguments.repeats):
        for name in found:
            job = Job(
                contender=name,
                model=setting.path,
                rows=setting.rows,
                seed=repeat,
                epochs=setting.epochs,
                lr=setting.lr,
                threads=arguments.threads,
                openai=str(arguments.openai or ""),
            )
            found[name].append(in_its_own_process(job))
            seconds = found[name][-1].get("seconds")
            if seconds:
                print(f"{setting.model} {setting.task} {repeat} {name}: {seconds:.1f} s", file=sys.stderr, flush=True)
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """Least, middle and largest."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def summary(setting: Setting, found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Rates, ratios by repeat, utilisation and accuracies with intervals."""
    peaks, runs = found[PRODUCTS], {name: one for name, one in found.items() if name != PRODUCTS}
    right = np.array([[run["right"] for run in one] for one in runs.values()]).swapaxes(0, 1)
    m = moments(right, setting.groups)
    unit = np.eye(len(runs))

    def middle(one: list[dict[str, Any]], value: Callable[[dict[str, Any]], float]) -> float:
        return statistics.median(map(value, one))

    rows: dict[str, Any] = {}
    for i, (name, one) in enumerate(runs.items()):
        work = setting.flops * setting.epochs
        rows[name] = {
            "samples_per_second": spread([setting.n_samples / run["seconds"] for run in one]),
            "tokens_per_second": middle(one, lambda run: setting.tokens * setting.epochs / run["seconds"]),
            "test_rows_per_second": middle(one, lambda run: len(setting.groups) / run["evaluation_seconds"]),
            "peak_mib": middle(one, lambda run: run["peak"]),
            "grown_mib": middle(one, lambda run: run["peak"] - run["before"]),
            "utilisation": {
                kind: statistics.median(
                    work / run["seconds"] / peak[kind] for run, peak in zip(one, peaks, strict=True)
                )
                for kind in peaks[0]
            },
            "accuracy": linear_interval(m, unit[i]).as_json(),
        }
        if name != OURS:
            pairs = zip(one, runs[OURS], strict=True)
            rows[name]["ours_faster"] = spread([theirs["seconds"] / own["seconds"] for theirs, own in pairs])
            difference: Estimate = linear_interval(m, unit[0] - unit[i])
            rows[name]["ours_more_accurate"] = difference.as_json()
            rows[name]["agree"] = difference.low <= 0 <= difference.high
    return {
        "model": setting.model,
        "task": setting.task,
        "n_train": setting.n_train,
        "updates": setting.n_samples // BATCH,
        "lr": setting.lr,
        "tokens_per_text": setting.tokens / setting.n_train,
        "n_test": len(setting.groups),
        "covers": m.sample.covers,
        "matrix_product_gflops": {kind: statistics.median(one[kind] for one in peaks) / 1e9 for kind in peaks[0]},
        "contenders": rows,
        "runs": {name: [compact(run) for run in one] for name, one in found.items()},
    }


def compact(run: dict[str, Any]) -> dict[str, Any]:
    """With the answers, 1 = right, as one string."""
    return {name: "".join(map(str, value)) if name == "right" else value for name, value in run.items()}


def as_markdown(one: dict[str, Any]) -> str:
    """One setting as a table."""
    lines = [
        f"## {one['model']} on {one['task']}",
        "",
        f"{one['n_train']} rows of {one['tokens_per_text']:.0f} tokens, {one['updates']} updates of {BATCH}, learning "
        f"rate {one['lr']:g}; {one['n_test']} test rows; matrix product, GFLOP/s: "
        + ", ".join(f"{kind} {value:.0f}" for kind, value in one["matrix_product_gflops"].items()),
        "",
        "| loop | samples/s (min to max) | ours is faster x (min to max) | peak MiB (grown) "
        f"| of the product, bf16 / fp32 | test rows/s | accuracy, 95 % over {one['covers']} | ours more accurate by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in one["contenders"].items():
        rate, used, faster = row["samples_per_second"], row["utilisation"], row.get("ours_faster")
        more = f"{shown(row['ours_more_accurate'])}" if faster else ""
        ratio = f"{faster['median']:.2f} ({faster['min']:.2f} to {faster['max']:.2f})" if faster else ""
        lines.append(
            f"| {name} | {rate['median']:.1f} ({rate['min']:.1f} to {rate['max']:.1f}) | {ratio} "
            f"| {row['peak_mib']:.0f} ({row['grown_mib']:.0f}) | {used['bfloat16']:.0%} / {used['float32']:.0%} "
            f"| {row['test_rows_per_second']:.0f} | {shown(row['accuracy'])} | {more} |"
        )
    return "\n".join(lines) + "\n"


def shown(estimate: dict[str, float]) -> str:
    """An estimate with its interval."""
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--openai", type=Path, help="a checkout of openai/weak-to-strong")
    parser.add_argument("--trainer", action="store_true", help="measure the transformers Trainer")
    parser.add_argument("--updates", type=int, help="at most so many; the default recipe's otherwise")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, nargs="+", default=[1, 8], help="rows of a pass of the reference")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--tasks", nargs="+", default=["reviews", *([str(IMDB)] if IMDB.is_dir() else [])])
    parser.add_argument("--json", type=Path, help="write all figures, and the seconds of every run, there")
    arguments = parser.parse_args()
    if arguments.openai is not None and not (arguments.openai / "weak_to_strong" / "train.py").is_file():
        parser.error(f"--openai: found no weak_to_strong/train.py in {arguments.openai}")
    return arguments


def main() -> None:
    arguments = parse()
    contenders = [OURS, *([f"{REFERENCE}{m}" for m in arguments.passes] if arguments.openai else [])]
    contenders += [TRAINER] if arguments.trainer else []
    found: list[dict[str, Any]] = []
    for name in arguments.tasks:
        task = ov.load_task(name)
        for model in arguments.models:
            with tempfile.TemporaryDirectory() as place:
                setting = prepare(task, model, Path(place) / "setting", updates=arguments.updates)
                found.append(summary(setting, turns(setting, contenders, arguments)))
            print(as_markdown(found[-1]), flush=True)
    if arguments.json:
        names = ("torch", "transformers", "accelerate", "numpy")
        about = {
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, {arguments.threads} threads",
            "versions": {name: version(name) for name in names},
        }
        arguments.json.write_text(json.dumps({**about, "settings": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
