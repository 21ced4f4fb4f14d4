"""How a network is fine-tuned: the settings, their defaults and where they come from. Data only."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from oversight.errors import InputError
from oversight.models.probe import PENALTIES

Schedule = Literal["cosine", "constant"]
Optimizer = Literal["adamw", "adafactor"]
FEWEST_UPDATES = 300
FEWEST_EPOCHS = 2
FEWEST_TOKENS = 8
LORA_TIMES = 10.0
LATER = ("decay_to_start", "anchor")
"""Settings that came later: where they are off they are in no key, so that what was computed before is found."""
# (parameters below, learning rate of the backbone)
RATES: tuple[tuple[float, float], ...] = ((50e6, 2e-4), (500e6, 5e-5), (math.inf, 1e-5))


@dataclass(frozen=True, kw_only=True)
class Machine:
    """How the work is laid on the machine. Nothing here changes what is computed beyond rounding, so it is in no key.

    Attributes:
        tokens_at_once: most tokens, padding of attention included, in one pass; None = 8,192 on a CPU, 32,768 on a
            GPU. A logical batch of more is cut into micro-batches with the same gradient.
        checkpointing: keep few activations and compute the others again in the backward pass.
        compile: run the network through `torch.compile`.
        processes: data-parallel processes, one GPU each where there are GPUs.
        sharding: `none` = every process holds the whole model; `full` = parameters, gradients and optimiser state are
            spread over the processes (FSDP2).
        seconds_between_checkpoints: of an unfinished run, at least; longer where writing one takes long (at most 1/20);
            0 = after every update.
    """

    kind: ClassVar[str] = "machine"

    tokens_at_once: int | None = None
    checkpointing: bool = False
    compile: bool = False
    processes: int = 1
    sharding: Literal["none", "full"] = "none"
    seconds_between_checkpoints: float = 60.0

    def __post_init__(self) -> None:
        if self.tokens_at_once is not None and self.tokens_at_once < 1:
            raise InputError(f"tokens_at_once: found {self.tokens_at_once}, expected at least 1")
        if self.processes < 1:
            raise InputError(f"processes: found {self.processes}, expected at least 1")


@dataclass(frozen=True, kw_only=True)
class Full:
    """All weights are trained.

    Attributes:
        lr: peak learning rate of the backbone; several are tried and the one is kept whose choices agree most often
            with the validation labels. None = 2e-4 below 50M parameters, 5e-5 below 500M, else 1e-5.
        head_lr: peak learning rate of the head.
        epochs: None = max(2, ceil(300 * batch_size / n)), so that there are at least 300 updates in every role.
        batch_size: rows of a logical batch, which is what a loss sees.
        schedule: of the learning rates after the warm-up: `cosine` to 0, or `constant`.
        warmup_fraction: share of the updates in which the learning rates grow linearly from 0.
        optimizer: `adamw` (betas 0.9 and 0.999) or `adafactor`, which keeps far less state.
        weight_decay: decoupled, on matrices only: embeddings, biases and norms do not decay.
        decay_to_start: the same towards the weights with which training starts, on all weights but the head's: after
            every update w <- w - lr * decay_to_start * (w - w_start).
        anchor: weight of a penalty on pooled states that leave their place before training, see `Anchor`.
        clip: largest norm of the gradient of all trained weights.
        early_stopping: keep the weights of the evaluation whose choices agree most often with the validation labels
            (ties: lowest cross-entropy); otherwise the last ones.
        evaluations: places of the run, evenly spaced, where it is compared to the validation labels.
        words: one per class, whose unembedding rows the head starts from (decoders, at full depth); None = zeros.
        dropout: whether the network's own dropout is on.
        machine: see `Machine`.

    Source: Burns et al. 2023, arXiv:2312.09390, appendix A (batch 32, 2 epochs, early stopping on weak labels);
    the learning rates are ours.
    """

    kind: ClassVar[str] = "full"

    name: ClassVar[str] = "full"

    lr: float | tuple[float, ...] | None = None
    head_lr: float = 1e-3
    epochs: int | None = None
    batch_size: int = 32
    schedule: Schedule = "cosine"
    warmup_fraction: float = 0.05
    optimizer: Optimizer = "adamw"
    weight_decay: float = 0.0
    decay_to_start: float = 0.0
    anchor: float = 0.0
    clip: float = 1.0
    early_stopping: bool = True
    evaluations: int = 8
    words: tuple[str, ...] | None = None
    dropout: bool = False
    machine: Machine = field(default=Machine())

    def __post_init__(self) -> None:
        self._expect(self.lr != (), "lr", "none", "a learning rate or several")
        for name, rates in (("lr", [*(self.lrs or ())]), ("head_lr", [self.head_lr])):
            self._expect(all(rate > 0 and math.isfinite(rate) for rate in rates), name, rates, "numbers above 0")
        for name in ("epochs", "batch_size", "evaluations"):
            found = getattr(self, name)
            by_default = name == "epochs" and found is None
            self._expect(by_default or (isinstance(found, int) and found >= 1), name, found, "a whole number above 0")
        self._expect(0 <= self.warmup_fraction < 1, "warmup_fraction", self.warmup_fraction, "a number in [0, 1)")
        for name in ("weight_decay", "decay_to_start", "anchor"):
            self._expect(getattr(self, name) >= 0, name, getattr(self, name), "a number of at least 0")
        self._expect(self.clip > 0, "clip", self.clip, "a number above 0")
        for name, known in (
            ("schedule", ("cosine", "constant")),
            ("optimizer", ("adamw", "adafactor")),
        ):
            self._expect(getattr(self, name) in known, name, getattr(self, name), " or ".join(known))

    def _expect(self, fine: bool, name: str, found: object, expected: str) -> None:
        if not fine:
            shown = ", ".join(f"{one:g}" for one in found) if isinstance(found, list) else found
            raise InputError(f"{self.name}: found {name} {shown}, expected {expected}")

    @property
    def lrs(self) -> tuple[float, ...] | None:
        """The learning rates asked for."""
        return (self.lr,) if isinstance(self.lr, float | int) else self.lr

    def identity(self) -> dict[str, object]:
        """Everything that decides the result, for a key."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "machine"}
        return {name: one for name, one in found.items() if name not in LATER or one}

    def rates(self, n_parameters: int) -> tuple[float, ...]:
        """Learning rates of the backbone to try."""
        return self.lrs or (next(rate for below, rate in RATES if n_parameters < below),)

    def n_epochs(self, n: int) -> int:
        """Passes over n training rows."""
        return self.epochs or max(FEWEST_EPOCHS, math.ceil(FEWEST_UPDATES * self.batch_size / n))

    def n_updates(self, n: int) -> int:
        """Updates on n training rows; the last, short batch of an epoch is one."""
        return self.n_epochs(n) * math.ceil(n / self.batch_size)


@dataclass(frozen=True, kw_only=True)
class Lora(Full):
    """Low-rank adapters beside all linear layers are trained, with the head; the network itself stays frozen.

    Attributes:
        rank: of the adapters.
        alpha: their output is multiplied by alpha / rank; None = 2 * rank.
        targets: endings of the names of layers that get one; None = all linear layers.
        quantize: hold the frozen weights in `8bit` or `4bit` (bitsandbytes; a GPU is needed).

    Source: Hu et al. 2021, arXiv:2106.09685; by the library peft. Learning rates ten times those of `Full`.
    """

    kind: ClassVar[str] = "lora"

    name: ClassVar[str] = "lora"

    rank: int = 8
    alpha: float | None = None
    targets: tuple[str, ...] | None = None
    quantize: Literal["8bit", "4bit"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(self.rank >= 1, "rank", self.rank, "at least 1")
        self._expect(self.quantize in {None, "8bit", "4bit"}, "quantize", self.quantize, "8bit or 4bit")

    def rates(self, n_parameters: int) -> tuple[float, ...]:
        """Learning rates of the adapters to try."""
        return self.lrs or tuple(LORA_TIMES * rate for rate in super().rates(n_parameters))


@dataclass(frozen=True, kw_only=True)
class LpFt(Full):
    """The probe is fitted first, then all weights are trained from there.

    Attributes:
        penalties: of the probe to choose from.

    Source: Kumar et al. 2022, arXiv:2202.10054.
    """

    kind: ClassVar[str] = "lp_ft"

    name: ClassVar[str] = "lp-ft"

    penalties: tuple[float, ...] = PENALTIES

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(self.words is None, "words", self.words, "none: the head starts from the probe")
