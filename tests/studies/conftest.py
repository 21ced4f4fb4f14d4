"""Small studies: texts that spell out numbers, a linear student that reads the first few of them, a tiny encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.models.backbone import Backbone
from oversight.models.checkpoint import from_directory
from oversight.models.lexical import BagOfWords
from oversight.models.probe import Probe
from oversight.models.solver import Design
from oversight.models.student import Loss, Validation, cross_entropy
from oversight.reports.result import Result
from oversight.runs.steps import Step
from oversight.runs.store import MemoryStore
from oversight.studies.weak_to_strong import Arm, Setup, run_study, seeds_of
from oversight.tasks.split import Seed, hold_out
from oversight.tasks.task import Floats, Labels, Rows, Task, content_id


def numbers(rows: Rows, n_read: int) -> Floats:
    return np.array([[float(word) for word in text.split()[:n_read]] for text in rows.texts])


@dataclass(frozen=True, kw_only=True)
class FittedReader:
    """Coefficients on the first numbers of a text."""

    n_read: int
    coefficients: Floats
    intercepts: Floats
    choices: Mapping[str, object]

    def predict(self, rows: Rows) -> Floats:
        logits = numbers(rows, self.n_read) @ self.coefficients + self.intercepts
        unnormalised = np.exp(logits - logits.max(1, keepdims=True))
        return unnormalised / unnormalised.sum(1, keepdims=True)


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A student that reads the first `n_read` numbers of a text: softmax regression, penalty chosen on validation."""

    n_read: int
    penalties: tuple[float, ...] = (1e-2, 1e-1, 1.0)

    @property
    def name(self) -> str:
        return f"reader@{self.n_read}"

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        return ()

    def check_loss(self, loss: Loss) -> None:
        assert loss is cross_entropy

    def fit(
        self,
        rows: Rows,
        labels: Labels,
        *,
        validation: Validation | None = None,
        loss: Loss = cross_entropy,
        weights: Floats | None = None,
        seed: Seed,
    ) -> FittedReader:
        labels = labels.on(rows)
        kept = np.flatnonzero(labels.answered)
        rows, labels = rows.take(kept), labels.on(rows.take(kept))
        weights = None if weights is None else weights[kept]
        if validation is None:
            kept, held = hold_out(rows, labels.probs.argmax(1), seed=seed.split)
            rows, validation = rows.take(kept), Validation(rows=rows.take(held), labels=labels)
            weights = None if weights is None else weights[kept]
        m = len(self.penalties)
        solved = Design(numbers(rows, self.n_read), weights=weights).solve([labels.on(rows).probs] * m, self.penalties)
        seen = validation.labels.on(validation.rows)
        probs = solved.probs(numbers(validation.rows, self.n_read))[:, seen.answered]
        losses = -(seen.probs[seen.answered] * np.log(np.maximum(probs, 1e-300))).sum(2).mean(1)
        best = int(losses.argmin())
        return FittedReader(
            n_read=self.n_read,
            coefficients=solved.coefficients[best],
            intercepts=solved.intercepts[best],
            choices={"penalty": self.penalties[best]},
        )


def gaussian_task(
    seed: int = 0, *, n: int = 2000, d: int = 8, copies: int = 1, grouped: bool = True, signal: float = 0.7, k: int = 2
) -> Task:
    """Class j moves every k-th number, from the j-th on, up by `signal`; each point stands there `copies` times.

    Copies differ in their last number only, which no student reads. With `grouped` they share a group, else each row is
    its own.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    points = rng.normal(size=(n, d)) + signal * (np.arange(d)[None, :] % k == labels[:, None])
    texts = [
        " ".join(f"{x:.4f}" for x in [*point, i, copy]) for i, point in enumerate(points) for copy in range(copies)
    ]
    ids = tuple(map(content_id, texts))
    groups = tuple(f"p{i // copies}" for i in range(n * copies)) if grouped else ids
    return Task(
        name="numbers",
        rows=Rows(ids=ids, texts=tuple(texts), groups=groups),
        labels=np.repeat(labels, copies),
        class_names=tuple(f"c{j}" for j in range(k)),
        grouped=grouped,
    )


@pytest.fixture(scope="session")
def reader() -> Callable[[int], Reader]:
    """reader(n): a student that reads the first n numbers."""
    return lambda n: Reader(n_read=n)


@pytest.fixture(scope="session")
def make_task() -> Callable[..., Task]:
    """make_task(seed, n=, d=, copies=, grouped=, signal=, k=) -> texts of numbers, see `gaussian_task`."""
    return gaussian_task


@pytest.fixture(scope="session")
def run_arm() -> Callable[..., Result]:
    """run_arm(task, supervisor, student, method, name=, seeds=, store=, tests=, metric=) -> the result of one arm."""

    def run(
        task: Task, supervisor: Any, student: Any, method: Any, *, name: str = "naive", seeds: int = 3, **options: Any
    ) -> Result:
        store = options.pop("store", None)
        progress = options.pop("progress", None)
        arm = Arm(supervisors=(supervisor,), student=student, method=method, method_name=name)
        setup = Setup(task=task, arms=(arm,), seeds=seeds_of(seeds), **options)
        return run_study(setup, store=MemoryStore() if store is None else store, progress=progress)

    return run


@pytest.fixture(scope="session")
def word_task() -> Task:
    """480 texts of eight words from two overlapping vocabularies, in groups of three."""
    rng = np.random.default_rng(7)
    labels = np.arange(480) % 2
    words = rng.integers(0, 12, (480, 8)) + 6 * labels[:, None]
    texts = tuple(" ".join(f"w{word}" for word in row) + f" n{i}" for i, row in enumerate(words))
    ids = tuple(map(content_id, texts))
    groups = tuple(f"g{i // 3}" for i in range(480))
    return Task(
        name="words",
        rows=Rows(ids=ids, texts=texts, groups=groups),
        labels=labels,
        class_names=("a", "b"),
        grouped=True,
    )


@pytest.fixture(scope="session")
def bow() -> BagOfWords:
    return BagOfWords(strengths=(0.1, 1.0))


@pytest.fixture(scope="session")
def save_encoder() -> Callable[..., Path]:
    """save_encoder(path, seed): a BERT of two small blocks with random weights, and its tokenizer."""

    def save(path: Path, *, seed: int = 0) -> Path:
        import torch
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

        vocabulary = ["[PAD]", "[UNK]", *(f"w{i}" for i in range(18))]
        words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = BertModel(
                BertConfig(
                    vocab_size=len(vocabulary),
                    hidden_size=16,
                    num_hidden_layers=2,
                    num_attention_heads=2,
                    intermediate_size=32,
                    max_position_embeddings=64,
                )
            )
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
        return path

    return save


@pytest.fixture(scope="session")
def probe() -> Callable[..., Probe]:
    """probe(path, depth): the probe on a saved encoder."""

    def make(path: Path, depth: int | None = None) -> Probe:
        backbone = Backbone(
            checkpoint=from_directory(path, name="tiny"), depth=depth, precision="float32", device="cpu"
        )
        return Probe(backbone=backbone, penalties=(1e-3, 1e-1, 10.0))

    return make


class Counted(MemoryStore):
    """A store in memory that remembers what was put, by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def put(self, key: str, outcome: Any, *, about: Mapping[str, Any]) -> Any:
        self.made.append(about["kind"])
        return super().put(key, outcome, about=about)

    def since(self) -> dict[str, int]:
        """How many of each kind were put since the last call."""
        counts = {kind: self.made.count(kind) for kind in sorted(set(self.made))}
        self.made.clear()
        return counts


@pytest.fixture
def counted() -> Counted:
    """A store that counts."""
    return Counted()


@pytest.fixture(scope="session")
def step_kinds() -> Callable[[Step], set[str]]:
    """step_kinds(step): the kinds of a step and of all that it depends on."""

    def kinds(step: Step) -> set[str]:
        return {step.kind}.union(*(kinds(before) for before in step.inputs))

    return kinds
