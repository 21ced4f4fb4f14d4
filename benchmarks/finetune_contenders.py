"""One run of one contender of `finetune_peers.py`, in a process of its own: a job as JSON in, a result as JSON out.

python benchmarks/finetune_contenders.py JOB
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

BATCH, MAX_TOKENS, PAD = 32, 256, 0
OURS, REFERENCE, TRAINER, PRODUCTS = "ours", "reference x", "Trainer", "products"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of one contender."""

    contender: str
    model: str
    rows: str
    seed: int
    epochs: int
    lr: float
    threads: int
    openai: str


@dataclass(frozen=True, kw_only=True)
class Texts:
    """n rows as token ids, and their classes."""

    ids: list[list[int]]
    labels: list[int]

    def take(self, rows: Sequence[int]) -> Texts:
        """Some of them."""
        return Texts(ids=[self.ids[i] for i in rows], labels=[self.labels[i] for i in rows])


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one run gave: seconds, MiB resident (before training, and at most until its end), right answers."""

    seconds: float
    evaluation_seconds: float
    before: float
    peak: float
    right: list[int]


class Headed(torch.nn.Module):
    """A network with a head of zeros over the mean (encoders) or the last (decoders) of its real tokens."""

    def __init__(self, path: str) -> None:
        from transformers import AutoConfig, AutoModel

        super().__init__()
        config: Any = AutoConfig.from_pretrained(path)
        if config.model_type == "bert":
            config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
        self.body: Any = AutoModel.from_pretrained(path, config=config)
        self.mean = config.model_type == "bert"
        self.score = torch.nn.Linear(config.hidden_size, 2, bias=self.mean)
        for parameter in self.score.parameters():
            torch.nn.init.zeros_(parameter)

    @property
    def device(self) -> torch.device:
        """Where it is; the reference asks."""
        return self.score.weight.device

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, labels: torch.Tensor | None = None
    ) -> Any:
        """Logits (b, 2), or with labels what the Trainer expects; id 0 is the filler, on the right."""
        mask = (input_ids != PAD).long() if attention_mask is None else attention_mask
        states = self.body(input_ids=input_ids, attention_mask=mask).last_hidden_state
        lengths = mask.sum(1)
        if self.mean:
            logits = self.score((states * mask[..., None]).sum(1) / lengths[:, None])
        else:
            logits = self.score(states[torch.arange(len(states)), lengths - 1])
        if labels is None:
            return logits
        return {"loss": torch.nn.functional.cross_entropy(logits.float(), labels), "logits": logits.float()}


def resident(name: str) -> float:
    """MiB: VmRSS now or VmHWM at most, of this program alone (ru_maxrss remembers the one that started it)."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def measured(train: Callable[[], object], answer: Callable[[], Any], labels: Sequence[int]) -> Measured:
    """Time training and evaluation; `answer` gives the class of each test row."""
    before, began = resident("VmRSS"), time.perf_counter()
    train()
    ended, peak = time.perf_counter(), resident("VmHWM")
    answers = np.asarray(answer())
    return Measured(
        seconds=ended - began,
        evaluation_seconds=time.perf_counter() - ended,
        before=before,
        peak=peak,
        right=(answers == np.asarray(labels)).astype(int).tolist(),
    )


def ours(job: Job, train: Texts, test: Texts) -> Measured:
    """By this package."""
    from oversight.models.backbone import Backbone
    from oversight.models.checkpoint import from_directory
    from oversight.models.finetune import loop
    from oversight.models.finetune.classifier import Classifier
    from oversight.models.finetune.encoded import Encoded
    from oversight.models.finetune.recipe import Full
    from oversight.models.student import cross_entropy
    from oversight.tasks.split import Seed

    def encoded(texts: Texts) -> Encoded:
        return Encoded(texts=tuple(np.array(ids) for ids in texts.ids), others=None, n_truncated=0, pad=PAD)

    recipe = Full(
        lr=job.lr, head_lr=job.lr, epochs=job.epochs, warmup_fraction=0.0, early_stopping=False, evaluations=1
    )
    backbone = Backbone(checkpoint=from_directory(Path(job.model)), max_tokens=MAX_TOKENS)
    classifier = Classifier(backbone, recipe, n_classes=2, paired=False, seed=job.seed)
    rows, used = encoded(train), encoded(train).used()
    if classifier.narrow(used):
        rows = rows.numbered(used)
    targets = np.eye(2)[train.labels]
    lesson = loop.Lesson(
        encoded=rows,
        targets=targets,
        seen=Encoded(texts=rows.texts[:1], others=None, n_truncated=0, pad=rows.pad),
        expected=targets[:1],
        loss=cross_entropy,
        seed=Seed.of(job.seed),
        row_ids=tuple(map(str, range(len(rows)))),
    )
    classifier.logits(rows, range(BATCH)).sum().backward()
    for parameter in classifier.trained().values():
        parameter.grad = None

    def answer() -> Any:
        classifier.widen()
        return classifier.probs(encoded(test)).argmax(1)

    return measured(lambda: loop.train(classifier, lesson, recipe, lr=job.lr), answer, test.labels)


def load_reference(path: str) -> Any:
    """The module `weak_to_strong.train` of a checkout, its missing surroundings stubbed."""
    import transformers.modeling_utils as modeling
    from transformers.trainer_utils import load_sharded_checkpoint

    for name in ("wandb", "torch_optimizer"):
        if importlib.util.find_spec(name) is None:
            sys.modules[name] = types.ModuleType(name)
    if not hasattr(modeling, "load_sharded_checkpoint"):
        setattr(modeling, "load_sharded_checkpoint", load_sharded_checkpoint)  # noqa: B010 (the type has none)
    sys.path.insert(0, path)
    os.environ.pop("WANDB_PROJECT", None)
    return importlib.import_module("weak_to_strong.train")


def reference(job: Job, train: Texts, test: Texts) -> Measured:
    """By `train_model` of openai/weak-to-strong, logging as its scripts do."""
    import datasets

    module = load_reference(job.openai)
    if Path(job.model).name == "gpt2":
        model: torch.nn.Module = module.TransformerWithHead.from_pretrained(job.model, num_labels=2)
    else:
        model = Headed(job.model)

    def as_dataset(texts: Texts) -> Any:
        soft = np.eye(2)[texts.labels].tolist()
        return datasets.Dataset.from_dict({"input_ids": texts.ids, "soft_label": soft, "txt": [""] * len(soft)})

    order = np.random.default_rng(job.seed).permutation(len(train.ids)).tolist()
    shuffled, asked = as_dataset(train.take(order)), as_dataset(test)
    model.eval()
    warm = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in train.ids[:BATCH]], batch_first=True)
    model(warm).sum().backward()
    model.zero_grad()
    with tempfile.TemporaryDirectory() as place:
        module.logger.configure(save_path=place)
        found = measured(
            lambda: module.train_model(
                model,
                shuffled,
                BATCH,
                lr=job.lr,
                loss_fn=module.xent_loss(),
                epochs=job.epochs,
                eval_every=0,
                minibatch_size=int(job.contender.removeprefix(REFERENCE)),
                lr_schedule="cosine_anneal",
            ),
            lambda: module.eval_model_acc(model, asked, BATCH)["hard_label"],
            test.labels,
        )
        module.logger.shutdown()
    return found


def trainer(job: Job, train: Texts, test: Texts) -> Measured:
    """By the transformers Trainer."""
    from transformers import AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments, set_seed

    set_seed(job.seed)
    model = Headed(job.model)

    def as_list(texts: Texts) -> Any:
        return [{"input_ids": ids, "labels": label} for ids, label in zip(texts.ids, texts.labels, strict=True)]

    with tempfile.TemporaryDirectory() as place:
        arguments = TrainingArguments(
            output_dir=place,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=4 * BATCH,
            num_train_epochs=job.epochs,
            learning_rate=job.lr,
            lr_scheduler_type="cosine",
            optim="adamw_torch_fused",
            bf16=fast_type() is torch.bfloat16,
            train_sampling_strategy="group_by_length",
            use_cpu=True,
            seed=job.seed,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        collate = DataCollatorWithPadding(AutoTokenizer.from_pretrained(job.model))
        loop: Any = Trainer(model=model, args=arguments, train_dataset=as_list(train), data_collator=collate)
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bf16):
            loss = model(**collate(as_list(train.take(range(BATCH)))))["loss"]
        loss.backward()
        model.zero_grad()

        def predict() -> Any:
            # With batches by length it would shuffle what it predicts; so the rows are sorted for it, and back.
            loop.args.train_sampling_strategy = "random"
            order = np.argsort([len(ids) for ids in test.ids], kind="stable")
            asked = as_list(test)
            found = loop.predict([asked[i] for i in order]).predictions.argmax(1)
            return found[np.argsort(order, kind="stable")]

        return measured(loop.train, predict, test.labels)


def fast_type() -> torch.dtype:
    """bfloat16 where the processor has instructions for it."""
    from oversight.models.backbone import resolve_precision

    return getattr(torch, resolve_precision("auto", "cpu"))


def products() -> dict[str, float]:
    """FLOP/s of a matrix product of 2048, best of six, in float32 and in bfloat16."""
    found: dict[str, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
        seconds: list[float] = []
        for _ in range(7):
            began = time.perf_counter()
            torch.mm(a, b)
            seconds.append(time.perf_counter() - began)
        found[str(dtype).removeprefix("torch.")] = 2 * 2048**3 / min(seconds[1:])
    return found


def work(job: Job) -> dict[str, Any]:
    """In a process of its own: one run, or the matrix products."""
    torch.set_num_threads(job.threads)
    if job.contender == PRODUCTS:
        return products()
    rows = json.loads(Path(job.rows).read_text("utf-8"))
    train, test = (Texts(**rows[name]) for name in ("train", "test"))
    run = {OURS: ours, TRAINER: trainer}.get(job.contender, reference)
    return asdict(run(job, train, test))


def main() -> None:
    """What libraries print goes to stderr."""
    stdout, sys.stdout = sys.stdout, sys.stderr
    stdout.write(json.dumps(work(Job(**json.loads(sys.argv[1])))) + "\n")


if __name__ == "__main__":
    main()
