"""The plan `paper-nlp` on paper: its tasks and networks, and what one fit of each takes by the formulas of a fit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from oversight.methods import METHODS
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint
from oversight.models.finetune.recipe import Full, Lora, Machine
from oversight.models.finetune.size import Size, estimate
from oversight.models.finetune.student import FineTuned
from oversight.models.student import Loss
from oversight.runs.steps import Step
from oversight.studies.plan import Job
from oversight.studies.weak_to_strong import Arm, Campaign, Setup, plan_studies, seeds_of
from oversight.supervision.supervisor import Trained
from oversight.tasks.task import Rows, Task, content_id

SEEDS, MOST_TOKENS, EPOCHS = 3, 1024, 2
METHOD_NAMES = ("naive", "confidence")
WEAK, TRANSFER, VALIDATION, HELD_OUT = 0.45, 0.45, 0.10, 0.10
SUPERVISOR, STUDENT = "supervisor", "student"

# Rows to learn from and to test, at most 20,000 and 10,000, and mean tokens of a text: rounded from what is known of
# the public sets as pairs of question and answer, balanced; tokens are guesses. Everything below scales with them.
TASKS: Mapping[str, tuple[int, int, int]] = {
    "boolq": (7_000, 2_400, 140),
    "cosmos_qa": (20_000, 6_000, 110),
    "dream": (12_000, 4_000, 130),
    "ethics_justice": (20_000, 2_700, 30),
    "ethics_deontology": (18_000, 3_600, 35),
    "ethics_virtue": (11_000, 2_000, 30),
    "ethics_utilitarianism": (13_700, 4_800, 40),
    "anli_r2": (20_000, 700, 100),
    "cola": (5_000, 650, 12),
    "sst2": (20_000, 870, 25),
    "hellaswag": (20_000, 10_000, 100),
    "mc_taco": (7_000, 3_000, 40),
    "openbookqa": (9_900, 1_000, 30),
    "paws": (20_000, 7_000, 60),
    "quail": (20_000, 4_300, 430),
    "piqa": (20_000, 3_700, 45),
    "quartz": (5_400, 1_600, 45),
    "sciq": (20_000, 2_000, 110),
    "social_iqa": (20_000, 3_900, 45),
    "multirc": (20_000, 4_800, 330),
    "wic": (5_400, 640, 40),
    "twitter_sentiment": (20_000, 10_000, 30),
}

# Blocks, width, width of the feed-forward layer, heads, heads of keys and values: of Qwen1.5, and of Llama 2 for 70B.
SHAPES: Mapping[str, tuple[int, int, int, int, int]] = {
    "0.5B": (24, 1024, 2816, 16, 16),
    "1.8B": (24, 2048, 5504, 16, 16),
    "4B": (40, 2560, 6912, 20, 20),
    "7B": (32, 4096, 11008, 32, 32),
    "14B": (40, 5120, 13696, 40, 40),
    "32B": (64, 5120, 27392, 40, 8),
    "70B": (80, 8192, 28672, 64, 8),
}
ADAPTERS = ("32B", "70B")

PEAK, GPU_BYTES, USABLE = 989e12, 141e9, 0.9
OVERHEAD_SECONDS, READ_RATE, TOGETHER = 30.0, 2e9, 0.85
CHECKPOINT_BYTES, SMALL_STEP_SECONDS = 16, 3.0


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """A student that is planned with and never fitted."""

    name: str

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """None."""
        return ()

    def check_loss(self, loss: Loss) -> None:
        """Any loss."""

    def fit(self, *_: object, **__: object) -> Any:
        """Never.

        Raises:
            AssertionError: always.
        """
        raise AssertionError("a stand-in is never fitted")


def stand_in_task(name: str, n_train: int, n_test: int) -> Task:
    """Distinct texts of a few words, classes in turn, with a test set of their own."""
    texts = tuple(f"{name} {i}" for i in range(n_train + n_test))
    ids = tuple(map(content_id, texts))
    return Task(
        name=name,
        rows=Rows(ids=ids, texts=texts, groups=ids),
        labels=np.arange(len(texts)) % 2,
        class_names=("no", "yes"),
        is_test=np.arange(len(texts)) >= n_train,
    )


def arms(sizes: Sequence[str]) -> tuple[Arm, ...]:
    """Every supervisor with every student at least as large, by every method."""
    students = {size: StandIn(name=size) for size in sizes}
    supervisors = {size: (Trained(student),) for size, student in students.items()}
    methods = {name: METHODS[name]() for name in METHOD_NAMES}
    return tuple(
        Arm(supervisors=supervisors[weak], student=students[strong], method=method, method_name=name)
        for i, weak in enumerate(sizes)
        for strong in sizes[i:]
        for name, method in methods.items()
    )


def campaign(tasks: Sequence[Task], sizes: Sequence[str] = tuple(SHAPES)) -> Campaign:
    """The graph of the plan on these tasks."""
    shared = arms(sizes)
    return plan_studies([Setup(task=task, arms=shared, seeds=seeds_of(SEEDS)) for task in tasks])


def networks(folder: Path, *, processes: int = 1) -> dict[str, FineTuned]:
    """The students as they would be fitted; of the networks only the shapes are written into a folder."""
    made: dict[str, FineTuned] = {}
    for name, (blocks, width, feed, heads, shared) in SHAPES.items():
        qwen = name != "70B"
        config = {
            "model_type": "qwen2" if qwen else "llama",
            "architectures": ["Qwen2ForCausalLM" if qwen else "LlamaForCausalLM"],
            "num_hidden_layers": blocks,
            "hidden_size": width,
            "intermediate_size": feed,
            "num_attention_heads": heads,
            "num_key_value_heads": shared,
            "vocab_size": 151_936 if qwen else 32_000,
            "max_position_embeddings": 4096,
        }
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(config))
        machine = Machine(checkpointing=True, processes=processes, sharding="full" if processes > 1 else "none")
        recipe = Lora(epochs=EPOCHS, machine=machine) if name in ADAPTERS else Full(epochs=EPOCHS, machine=machine)
        checkpoint = Checkpoint(name=name, path=folder / name)
        backbone = Backbone(checkpoint=checkpoint, max_tokens=MOST_TOKENS, precision="bfloat16", device="cuda")
        made[name] = FineTuned(backbone=backbone, recipe=recipe)
    return made


@dataclass(frozen=True, kw_only=True)
class Fits:
    """What fits take, by network, task and role."""

    students: Mapping[str, FineTuned]

    def __hash__(self) -> int:
        return id(self)

    @cache  # noqa: B019
    def size(self, model: str, task: str, role: str) -> Size:
        """Of one fit."""
        n, _, tokens = TASKS[task]
        rows = n * (WEAK * (1 - HELD_OUT) if role == SUPERVISOR else TRANSFER)
        longest = min(MOST_TOKENS, 4 * tokens)
        return estimate(self.students[model], n_rows=round(rows), n_tokens=tokens, longest=longest, paired=False)

    def flops(self, model: str, task: str, role: str) -> float:
        """Of training, of the places where it is compared with validation rows, and of what is predicted after it."""
        n, n_test, _ = TASKS[task]
        size, recipe = self.size(model, task, role), self.students[model].recipe
        seen = n * (WEAK * HELD_OUT if role == SUPERVISOR else VALIDATION)
        predicted = n_test + (n * (TRANSFER + VALIDATION) if role == SUPERVISOR else 0)
        scored = seen * (min(recipe.evaluations, size.updates) + 1)
        return size.training_flops + size.prediction_flops * (scored + predicted)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds of every step by the formula of scale.py.

    Attributes:
        fits: sizes by network, task and role.
        utilisation: of the peak.
        write_rate: bytes a second to the store, by one step.
        every: seconds between two checkpoints.
    """

    fits: Fits
    utilisation: float
    write_rate: float
    every: float = 1800.0

    def gpu_seconds(self, model: str, task: str, role: str) -> float:
        """Of one fit, without what surrounds it."""
        return self.fits.flops(model, task, role) / (self.utilisation * PEAK)

    def checkpoint_seconds(self, model: str) -> float:
        """Of writing one: weights, best weights and two moments of what is trained, in float32."""
        task = next(iter(TASKS))
        return CHECKPOINT_BYTES * self.fits.size(model, task, STUDENT).trained_parameters / self.write_rate

    def seconds(self, what: tuple[str, str, str] | None, gpus: int) -> float:
        """Of a fit (network, task, role), or of a step that fits nothing."""
        if what is None:
            return SMALL_STEP_SECONDS
        model = what[0]
        alone = self.gpu_seconds(*what) / (gpus * (TOGETHER if gpus > 1 else 1.0))
        loading = 2 * self.fits.size(*what).parameters / READ_RATE
        kept = 4 * self.fits.size(*what).trained_parameters / self.write_rate
        return OVERHEAD_SECONDS + loading + alone + kept + int(alone // self.every) * self.checkpoint_seconds(model)


def fit_of(campaign: Campaign, step: Step) -> tuple[str, str, str] | None:
    """Network, task and role of a step that fits something."""
    plan = campaign.graph.env_of(step)
    job = plan.objects[step.key]
    if not isinstance(job, Job):
        return None
    if job.supervisor is not None:
        return job.supervisor.name, plan.task.name, SUPERVISOR
    assert job.student is not None
    return job.student.name, plan.task.name, STUDENT
