"""A student that is fine-tuned, and what comes out of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from oversight.describe import describe
from oversight.errors import InputError
from oversight.models.backbone import Backbone
from oversight.models.finetune.classifier import Classifier
from oversight.models.finetune.curves import undertrained
from oversight.models.finetune.encoded import encode
from oversight.models.finetune.loop import Lesson, train
from oversight.models.finetune.recipe import FEWEST_TOKENS, Full, LpFt
from oversight.models.finetune.size import n_parameters
from oversight.models.finetune.state import State, drop
from oversight.models.probe import FittedProbe, Probe
from oversight.models.rows import answered, held_apart
from oversight.models.student import Loss, Validation, cross_entropy
from oversight.models.workbench import workbench
from oversight.sealed import Array
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels, Rows

if TYPE_CHECKING:
    pass

VERSION = 1
CHOSEN = frozenset(["lr", "epochs", "penalties"])
KEPT_PROBS, KEPT_IDS = "validation.probs", "vocabulary"
# Between machines, versions or thread counts sums are rounded differently; within one they are not.
CLOSE = {"float32": 1e-4, "bfloat16": 5e-2}


@dataclass(frozen=True, kw_only=True)
class FineTuned:
    """A network of which all weights, or adapters beside them, are trained on the labels.

    Attributes:
        backbone: the network and its depth.
        recipe: how it is trained.
    """

    backbone: Backbone
    recipe: Full = field(default=Full())

    def __post_init__(self) -> None:
        if self.backbone.max_tokens < FEWEST_TOKENS:
            raise InputError(
                f"{self.name}: found max_tokens={self.backbone.max_tokens}, expected at least {FEWEST_TOKENS}"
            )

    @property
    def name(self) -> str:
        """`minilm@4`."""
        return self.backbone.name

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """The frozen network whose features the probe before `lp-ft` reads; none otherwise."""
        return (self.backbone,) if isinstance(self.recipe, LpFt) else ()

    def check_loss(self, loss: Loss) -> None:
        """Any loss."""

    def check_rows(self, n: int) -> None:
        """Refuse a batch that is larger than the data.

        Raises:
            InputError: both numbers.
        """
        if self.recipe.batch_size > n:
            raise InputError(
                f"{self.name}: found batch_size {self.recipe.batch_size}, expected at most the {n} rows to train on"
            )

    def fit(
        self,
        rows: Rows,
        labels: Labels,
        *,
        validation: Validation | None = None,
        loss: Loss = cross_entropy,
        weights: Floats | None = None,
        seed: Seed,
    ) -> FittedFineTuned:
        """See `Student.fit`. Without validation rows a grouped tenth is held apart for choices, and not trained on.

        Raises:
            InputError: weights with a loss other than cross-entropy, or fewer rows than one batch.
            StepError: the loss is not finite, or memory does not suffice.
        """
        if weights is not None and loss is not cross_entropy:
            raise InputError(f"{self.name}: rows can be weighted only under cross-entropy, found another loss")
        rows, labels, weights = answered(rows, labels, weights)
        rows, weights, seen = held_apart(rows, labels, weights, validation, seed=seed)
        self.check_rows(len(rows))
        rates = self.recipe.rates(n_parameters(self.backbone.checkpoint, depth=self.backbone.blocks))
        fits = _Fits(student=self, rows=rows, labels=labels.on(rows), seen=seen, loss=loss, weights=weights, seed=seed)
        best: FittedFineTuned | None = None
        tried: list[Mapping[str, object]] = []
        for lr in rates:
            found = fits.at(lr)
            tried.append(found.choices)
            if best is None or _rank(found.choices) > _rank(best.choices):
                best = found
        assert best is not None
        return best if len(tried) == 1 else replace(best, choices={**best.choices, "tried": tried})


@dataclass(frozen=True, kw_only=True)
class FittedFineTuned:
    """A fine-tuned network.

    Attributes:
        classifier: the network and its head, holding the chosen weights.
        choices: settings, learning curve, and what was chosen by it.
    """

    classifier: Classifier
    choices: Mapping[str, object]

    def predict(self, rows: Rows) -> Floats:
        """(n, k) class probabilities."""
        with _threads(self.choices["threads"]):
            return self.classifier.probs(encode(self.classifier.network, rows))


@dataclass(frozen=True, kw_only=True)
class _Fits:
    """The same rows, labels and recipe at several learning rates."""

    student: FineTuned
    rows: Rows
    labels: Labels
    seen: Validation
    loss: Loss
    weights: Floats | None
    seed: Seed

    def at(self, lr: float) -> FittedFineTuned:
        """The finished fit from the shelf, checked; else trained, from its last checkpoint if there is one."""
        key = self._key(lr)
        shelf = workbench().shelf
        kept = None if shelf is None else shelf.find(key)
        if kept is not None and shelf is not None:
            found = self._again(*kept)
            if not isinstance(found, str):
                return found
            shelf.spoil(key, found)
        return self._trained(lr, key)

    def _trained(self, lr: float, key: str) -> FittedFineTuned:
        import torch

        bench, recipe = workbench(), self.student.recipe
        folder = None if bench.folder is None else bench.folder / key
        classifier = self._classifier()
        encoded, seen = encode(classifier.network, self.rows), encode(classifier.network, self.seen.rows)
        narrowed = classifier.narrow(np.union1d(encoded.used(), seen.used()))
        vocabulary = classifier.vocabulary.ids if narrowed and classifier.vocabulary else None
        lesson = Lesson(
            encoded=encoded if vocabulary is None else encoded.numbered(vocabulary),
            targets=self.labels.probs if self.weights is None else self.labels.probs * self.weights[:, None],
            seen=seen if vocabulary is None else seen.numbered(vocabulary),
            expected=self.seen.labels.on(self.seen.rows).probs,
            loss=self.loss,
            seed=self.seed,
            row_ids=self.rows.ids,
        )
        with _threads(torch.get_num_threads()):
            state = train(classifier, lesson, recipe, lr=lr, folder=folder, tell=bench.tell)
        arrays = {f"weights.{name}": one.detach().cpu().numpy() for name, one in classifier.trained().items()}
        if vocabulary is not None:
            arrays[KEPT_IDS] = vocabulary
        choices = self._choices(classifier, state, lr) | {
            "truncated": {"n_truncated": encoded.n_truncated, "n_rows": len(encoded)},
            "threads": state.threads,
            "seconds": round(state.seconds, 1),
        }
        classifier.widen()
        with _threads(state.threads):
            arrays[KEPT_PROBS] = classifier.probs(seen)
        if bench.shelf is not None:
            made = {"kind": "model", "config": self._described(lr), "inputs": [], "seconds": state.seconds}
            bench.shelf.keep(key, arrays, {"choices": choices, "environment": _environment()}, about=made)
        if folder is not None:
            drop(folder)
        return FittedFineTuned(classifier=classifier, choices=choices)

    def _again(self, arrays: Mapping[str, Array], record: Mapping[str, Any]) -> FittedFineTuned | str:
        """The fit as it was kept, or why it cannot be believed: it must give its stored predictions again."""
        import torch

        classifier = self._classifier()
        if KEPT_IDS in arrays:
            classifier.narrow(np.array(arrays[KEPT_IDS]))
        prefix = "weights."
        kept = {n.removeprefix(prefix): torch.from_numpy(a.copy()) for n, a in arrays.items() if n.startswith(prefix)}
        try:
            classifier.load(kept)
        except ValueError as error:
            return str(error)
        classifier.widen()
        found = FittedFineTuned(classifier=classifier, choices=record["choices"])
        error = float(np.abs(found.predict(self.seen.rows) - arrays[KEPT_PROBS]).max())
        same = record["environment"] == _environment()
        if error > (0 if same else CLOSE[classifier.network.precision]):
            return f"its weights give predictions that differ by {error:.1g} from those kept with them"
        return found

    def _classifier(self) -> Classifier:
        student = self.student
        paired = self.rows.others is not None
        classifier = Classifier(
            student.backbone,
            student.recipe,
            n_classes=self.labels.n_classes,
            paired=paired,
            seed=self.seed.init,
        )
        if isinstance(student.recipe, LpFt):
            probe = self._probe(student.recipe)
            classifier.start_head(probe.coefficients, probe.intercepts)
        elif student.recipe.words is not None:
            from oversight.models.finetune.words import unembedding

            classifier.start_head(unembedding(student.backbone, student.recipe.words, self.labels.n_classes), None)
        return classifier

    def _probe(self, recipe: LpFt) -> FittedProbe:
        probe = Probe(backbone=self.student.backbone, penalties=recipe.penalties)
        return probe.fit(
            self.rows, self.labels, validation=self.seen, loss=self.loss, weights=self.weights, seed=self.seed
        )

    def _choices(self, classifier: Classifier, state: State, lr: float) -> dict[str, object]:
        recipe, n = self.student.recipe, len(self.rows)
        last = state.best or state.curve[-1]
        all_weights = classifier.network.model.parameters()
        settings = {
            name: found for name, found in recipe.identity().items() if name not in {"lr", "epochs", "penalties"}
        }
        return {
            "train": recipe.name,
            "lr": lr,
            "epochs": recipe.n_epochs(n),
            "updates": recipe.n_updates(n),
            **describe(settings),
            "n_rows": n,
            "n_parameters": sum(one.numel() for one in all_weights),
            "n_trained": sum(one.numel() for one in classifier.trained().values()),
            "precision": classifier.network.precision,
            "device": classifier.device,
            "packed": classifier.packed,
            **({} if classifier.packed else {"why_padded": classifier.why_padded}),
            "stopped_at": int(last["step"]),
            "agreement": last["agreement"],
            "cross_entropy": last["cross_entropy"],
            "curve": state.curve,
            "undertrained": undertrained(state.losses, start=self._start()),
        }

    def _start(self) -> float:
        """Loss of a head of zeros, in nats."""
        return math.log(self.labels.n_classes)

    def _described(self, lr: float) -> dict[str, Any]:
        seen = self.seen.labels.on(self.seen.rows).probs
        return {
            "version": VERSION,
            "student": describe(self.student),
            "lr": lr,
            "rows": _sha256(self.rows.ids),
            "labels": describe(self.labels.probs),
            "weights": describe(self.weights),
            "validation": [_sha256(self.seen.rows.ids), describe(seen)],
            "loss": describe(self.loss),
            "seed": [self.seed.init, self.seed.order],
        }

    def _key(self, lr: float) -> str:
        return hashlib.sha256(json.dumps(self._described(lr), sort_keys=True).encode()).hexdigest()


def _sha256(names: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def _rank(choices: Mapping[str, object]) -> tuple[float, float]:
    agreement, nats = choices["agreement"], choices["cross_entropy"]
    assert isinstance(agreement, float) and isinstance(nats, float)
    return agreement, -nats


def _environment() -> dict[str, object]:
    """What decides how sums are rounded."""
    import torch
    import transformers

    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "processor": torch.backends.cpu.get_cpu_capability(),
    }


@contextlib.contextmanager
def _threads(n: Any) -> Generator[None]:
    """Within this block the processor works with n threads, as it did when the network was trained."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
