"""A student that is fine-tuned, and what comes out of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from oversight.describe import describe
from oversight.errors import InputError
from oversight.models.backbone import Backbone, resolve_device
from oversight.models.finetune.classifier import Classifier
from oversight.models.finetune.curves import undertrained
from oversight.models.finetune.encoded import encode
from oversight.models.finetune.loop import Lesson, train
from oversight.models.finetune.parallel import Head, train_together
from oversight.models.finetune.parallel import check as check_processes
from oversight.models.finetune.recipe import FEWEST_TOKENS, Full, Lora, LpFt
from oversight.models.finetune.size import check_memory, estimate_on, n_parameters, skeleton
from oversight.models.finetune.state import State, drop
from oversight.models.finite import expect_finite
from oversight.models.probe import Probe
from oversight.models.rows import answered, held_apart
from oversight.models.student import Loss, Validation, cross_entropy
from oversight.models.workbench import workbench
from oversight.sealed import Array
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels, Rows, ids_sha256
from oversight.versions import minors

VERSION = 3
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

    kind: ClassVar[str] = "fine_tuned"

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
        """Any loss; with several processes one that can be sent to them.

        Raises:
            InputError: it cannot be sent, or there are fewer GPUs than processes.
        """
        check_processes(self.backbone, self.recipe, loss, name=self.name)

    @property
    def train(self) -> str:
        """How it is trained: `full`, `lora` or `lp-ft`."""
        return self.recipe.name

    def check(self, *, n_rows: int, n_classes: int) -> None:
        """Refuse what `fit` could not do with so many rows and classes, before anything is computed.

        Raises:
            InputError: a batch larger than the data, a LoRA target that matches nothing, a missing library, or label
                words that do not serve.
        """
        recipe = self.recipe
        if recipe.batch_size > n_rows:
            raise InputError(
                f"{self.name}: found batch_size {recipe.batch_size}, expected at most the {n_rows} rows to train on"
            )
        if isinstance(recipe, Lora):
            from oversight.models.finetune.adapters import check_targets, quantization

            device = resolve_device(self.backbone.device)
            quantization(recipe, name=self.name, device=device)
            check_targets(skeleton(self.backbone.checkpoint, depth=self.backbone.blocks), recipe, name=self.name)
        if recipe.words is not None:
            from oversight.models.finetune.words import check_words

            check_words(self.backbone, recipe.words, n_classes)

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
            InputError: weights with a loss other than cross-entropy, fewer rows than one batch, or too little memory.
            StepError: the loss is not finite, memory does not suffice, or one of several processes failed.
        """
        self.check_loss(loss)
        if weights is not None and loss is not cross_entropy:
            raise InputError(f"{self.name}: rows can be weighted only under cross-entropy, found another loss")
        rows, labels, weights = answered(rows, labels, weights)
        rows, weights, seen = held_apart(rows, labels, weights, validation, seed=seed)
        self.check(n_rows=len(rows), n_classes=labels.n_classes)
        check_memory(self, estimate_on(self, rows, n_classes=labels.n_classes))
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
        """(n, k) class probabilities.

        Raises:
            StepError: they are no numbers.
        """
        probs, name = self.raw(rows), self.classifier.network.backbone.name
        what = f"{name}, fine-tuned at learning rate {self.choices['lr']}: its probabilities"
        expect_finite(probs, rows.ids, of=what, hint="try a lower learning rate or a lower clip")
        return probs

    def raw(self, rows: Rows) -> Floats:
        """(n, k) what the network gives, NaN where it gives no number."""
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
                self._drop_checkpoints(key)  # a process may have ended after it kept the fit and before it did this
                return found
            shelf.spoil(key, found)
        return self._trained(lr, key)

    def _trained(self, lr: float, key: str) -> FittedFineTuned:
        import torch

        bench, recipe = workbench(), self.student.recipe
        folder = None if bench.folder is None else bench.folder / key
        head = self._head()
        if recipe.machine.processes == 1:
            classifier, lesson = self.prepared(head)
            with _threads(torch.get_num_threads()), torch.random.fork_rng(devices=[]):
                state = train(classifier, lesson, recipe, lr=lr, folder=folder, tell=bench.tell)
        else:
            backbone = self.student.backbone
            state = train_together(
                self, backbone=backbone, recipe=recipe, lr=lr, head=head, folder=folder, tell=bench.tell
            )
            classifier, lesson = self.prepared(head)
            classifier.load(state.best_weights or {})
        arrays = {f"weights.{name}": one.detach().cpu().numpy() for name, one in classifier.trained().items()}
        if classifier.vocabulary is not None:
            arrays[KEPT_IDS] = classifier.vocabulary.ids
        choices = self._choices(classifier, state, lr) | {
            "truncated": {
                "max_tokens": classifier.network.max_tokens,
                "n_truncated": lesson.encoded.n_truncated,
                "n_rows": len(lesson.encoded),
            },
            "threads": state.threads,
            "seconds": round(state.seconds, 1),
        }
        classifier.widen()
        found = FittedFineTuned(classifier=classifier, choices=choices)
        arrays[KEPT_PROBS] = found.predict(self.seen.rows)
        if bench.shelf is not None:
            made = {"kind": "model", "config": self._described(lr), "inputs": [], "seconds": state.seconds}
            bench.shelf.keep(key, arrays, {"choices": choices, "environment": _environment(classifier)}, about=made)
        self._drop_checkpoints(key)
        return found

    def _drop_checkpoints(self, key: str) -> None:
        folder = workbench().folder
        if folder is not None:
            drop(folder / key)

    def on(self, device: str, *, tokens_at_once: int | None) -> _Fits:
        """The same on a certain device, with a budget of one pass."""
        student, recipe = self.student, self.student.recipe
        machine = replace(recipe.machine, tokens_at_once=tokens_at_once)
        backbone = replace(student.backbone, device=device)
        return replace(self, student=replace(student, backbone=backbone, recipe=replace(recipe, machine=machine)))

    def prepared(self, head: Head | None) -> tuple[Classifier, Lesson]:
        """A classifier before training, with the head to start from, and what it is to learn."""
        classifier = self._classifier()
        if head is not None:
            classifier.start_head(*head)
        encoded, seen = encode(classifier.network, self.rows), encode(classifier.network, self.seen.rows)
        vocabulary = np.union1d(encoded.used(), seen.used())
        narrowed = classifier.narrow(vocabulary)
        return classifier, Lesson(
            encoded=encoded.numbered(vocabulary) if narrowed else encoded,
            targets=self.labels.probs if self.weights is None else self.labels.probs * self.weights[:, None],
            seen=seen.numbered(vocabulary) if narrowed else seen,
            expected=self.seen.labels.on(self.seen.rows).probs,
            loss=self.loss,
            seed=self.seed,
            row_ids=self.rows.ids,
        )

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
        error = float(np.abs(found.raw(self.seen.rows) - arrays[KEPT_PROBS]).max())
        same = record["environment"] == _environment(classifier)
        if not error <= (0 if same else CLOSE[classifier.network.precision]):  # NaN is not equal either
            return f"its weights give predictions that differ by {error:.1g} from those kept with them"
        return found

    def _classifier(self) -> Classifier:
        return Classifier(
            self.student.backbone,
            self.student.recipe,
            n_classes=self.labels.n_classes,
            paired=self.rows.others is not None,
            seed=self.seed.init,
        )

    def _head(self) -> Head | None:
        """The linear model to start from; None = zeros."""
        student, recipe = self.student, self.student.recipe
        if isinstance(recipe, LpFt):
            probe = Probe(backbone=student.backbone, penalties=recipe.penalties).fit(
                self.rows, self.labels, validation=self.seen, loss=self.loss, weights=self.weights, seed=self.seed
            )
            return probe.coefficients, probe.intercepts
        if recipe.words is None:
            return None
        from oversight.models.finetune.words import unembedding

        return unembedding(student.backbone, recipe.words, self.labels.n_classes), None

    def _choices(self, classifier: Classifier, state: State, lr: float) -> dict[str, object]:
        recipe, n = self.student.recipe, len(self.rows)
        last = state.best or state.curve[-1]
        all_weights = classifier.network.model.parameters()
        settings = {name: found for name, found in recipe.identity().items() if name not in CHOSEN}
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
            "attention": str(classifier.network.model.config._attn_implementation),
            **({} if classifier.packed else {"why_padded": classifier.why_padded}),
            "stopped_at": int(last["step"]),
            "agreement": last["agreement"],
            "cross_entropy": last["cross_entropy"],
            "curve": state.curve,
            "undertrained": undertrained(state.losses, start=math.log(self.labels.n_classes)),
        }

    def _described(self, lr: float) -> dict[str, Any]:
        seen = self.seen.labels.on(self.seen.rows).probs
        return {
            "version": VERSION,
            "libraries": minors(("numpy", "torch", "transformers")),
            "student": describe(self.student),
            "lr": lr,
            "rows": ids_sha256(self.rows.ids),
            "labels": describe(self.labels.probs),
            "weights": describe(self.weights),
            "validation": [ids_sha256(self.seen.rows.ids), describe(seen)],
            "loss": describe(self.loss),
            "seed": [self.seed.init, self.seed.order],
        }

    def _key(self, lr: float) -> str:
        return hashlib.sha256(json.dumps(self._described(lr), sort_keys=True).encode()).hexdigest()


def _rank(choices: Mapping[str, object]) -> tuple[float, float]:
    agreement, nats = choices["agreement"], choices["cross_entropy"]
    assert isinstance(agreement, float) and isinstance(nats, float)
    return agreement, -nats


def _environment(classifier: Classifier) -> dict[str, object]:
    """What decides how sums are rounded."""
    import torch
    import transformers

    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "processor": torch.backends.cpu.get_cpu_capability(),
        "tokens_at_once": classifier.budget,
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
