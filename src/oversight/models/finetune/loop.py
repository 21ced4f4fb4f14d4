"""The training loop: update, evaluate, keep the best, be ready to be killed."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oversight.errors import StepError
from oversight.models.finetune import state as states
from oversight.models.finetune.anchor import Anchor
from oversight.models.finetune.classifier import Classifier
from oversight.models.finetune.encoded import Encoded
from oversight.models.finetune.gradient import gradient
from oversight.models.finetune.optim import make_optimizer, pull_back, set_rates, share_of_peak, starting_point
from oversight.models.finetune.recipe import Full
from oversight.models.finetune.state import State
from oversight.models.finetune.team import MemoryRanOut
from oversight.models.student import Loss
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats
from oversight.ties import DECIMALS, same_shares

WORK_TO_CHECKPOINTS = 20


class NotFinite(Exception):
    """A loss or a gradient that is no number."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What is learned, as the loop needs it.

    Attributes:
        encoded: n rows as token ids.
        targets: (n, k) labels; rows sum to 1, or to the row's weight.
        seen: validation rows as token ids.
        expected: their labels.
        loss: what is minimised.
        seed: of the order of rows, and of dropout.
        row_ids: of the n rows, for messages.
    """

    encoded: Encoded
    targets: Floats
    seen: Encoded
    expected: Floats
    loss: Loss
    seed: Seed
    row_ids: tuple[str, ...]


def train(
    classifier: Classifier,
    lesson: Lesson,
    recipe: Full,
    *,
    lr: float,
    folder: Path | None = None,
    tell: Callable[[float, str], None] = lambda done, note: None,
) -> State:
    """Train to the end, from the newest checkpoint in `folder` if there is one; the classifier keeps the best weights.

    Args:
        classifier: changed in place; the processes of its team all call this with the same arguments.
        lesson: rows and labels.
        recipe: how.
        lr: peak learning rate of the backbone.
        folder: for checkpoints; None = none are written.
        tell: called after each update with the fraction done and a line.

    Raises:
        StepError: the loss is not finite, or memory does not hold a single row.
    """
    import torch

    n, n_updates = len(lesson.encoded), recipe.n_updates(len(lesson.encoded))
    optimizer = make_optimizer(classifier, recipe, lr)
    found = None if folder is None else states.load(folder)
    state = State(tokens_at_once=classifier.budget, threads=torch.get_num_threads()) if found is None else found[0]
    torch.set_num_threads(state.threads)
    start = starting_point(classifier) if recipe.decay_to_start else None
    anchor = Anchor.at_start(classifier, lesson.encoded, recipe.anchor) if recipe.anchor else None
    if found is not None:
        _resume(classifier, optimizer, *found)
    evaluated = evaluation_steps(n_updates, recipe.evaluations)
    started = began = saved = time.monotonic()
    first, cost = state.step, 0.0
    while state.step < n_updates:
        rows = batch_rows(n, state.step, recipe.batch_size, lesson.seed.order)
        set_rates(optimizer, share_of_peak(state.step, n_updates, recipe))
        try:
            loss = _update(classifier, optimizer, lesson, rows, state, recipe, n_updates=n_updates, anchor=anchor)
            if start is not None:
                pull_back(optimizer, start, recipe.decay_to_start)
        except NotFinite as fault:
            raise _explained(fault, classifier, optimizer, lesson, rows, state, lr=lr, folder=folder) from None
        state.losses.append(loss)
        state.step += 1
        if state.step in evaluated:
            _evaluate(classifier, lesson, state, keep_best=recipe.early_stopping)
        now = time.monotonic()
        left = (now - started) / (state.step - first) * (n_updates - state.step)
        tell(state.step / n_updates, _line(state, n_updates, left))
        least = recipe.machine.seconds_between_checkpoints
        due = now - saved > (max(least, cost * WORK_TO_CHECKPOINTS) if least else 0)
        if folder is not None and state.step < n_updates and classifier.team.agree(due):
            state.seconds, began = state.seconds + now - began, now
            _save(folder, state, classifier, optimizer)
            saved = time.monotonic()
            cost = saved - now
    state.seconds += time.monotonic() - began
    if state.best_weights:
        classifier.load(state.best_weights)
    return state


def batch_rows(n: int, step: int, batch_size: int, seed: int) -> list[int]:
    """Rows of one update: every epoch is a new permutation, and its last, short batch is used."""
    per_epoch = math.ceil(n / batch_size)
    epoch, i = divmod(step, per_epoch)
    order = np.random.default_rng([seed, epoch]).permutation(n)
    return order[i * batch_size : (i + 1) * batch_size].tolist()


def evaluation_steps(n_updates: int, evaluations: int) -> frozenset[int]:
    """After which updates the run is evaluated: evenly spaced, the last one always among them."""
    return frozenset(max(1, round(n_updates * (i + 1) / evaluations)) for i in range(evaluations))


def _update(
    classifier: Classifier,
    optimizer: Any,
    lesson: Lesson,
    rows: Sequence[int],
    state: State,
    recipe: Full,
    *,
    n_updates: int,
    anchor: Anchor | None,
) -> float:
    """One update. Memory that runs out halves the passes and the update is made again."""
    import torch

    targets = torch.from_numpy(lesson.targets[rows]).float().to(classifier.device)
    if state.step == 0 and not recipe.dropout:
        anchor = None  # nothing has moved: its gradient is 0 but for rounding, of which Adam would make whole steps
    classifier.training(True)
    while True:
        # What is drawn depends on the update alone, so a checkpoint need not hold the generators.
        torch.manual_seed(hash((lesson.seed.init, state.step, classifier.team.rank)) % (1 << 62))
        try:
            loss = gradient(
                classifier,
                lesson.encoded,
                rows,
                targets,
                lesson.loss,
                progress=state.step / n_updates,
                budget=state.tokens_at_once,
                anchor=anchor,
            )
            break
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            _halve(classifier, lesson, rows, state, error)
    trained = list(classifier.trained().values())
    classifier.team.add_gradients(trained)
    norm = classifier.team.clip(trained, recipe.clip)
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise NotFinite(f"the loss is {loss:g} and the norm of its gradient {norm:g}")
    optimizer.step()
    optimizer.zero_grad()
    classifier.training(False)
    return loss


def _halve(classifier: Classifier, lesson: Lesson, rows: Sequence[int], state: State, error: BaseException) -> None:
    """Half as many tokens in one pass from now on.

    Raises:
        StepError: a single row is too much already.
        MemoryRanOut: there are other processes, which wait for this one in vain: all have to start again.
    """
    import torch

    out_of_memory = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
    if not out_of_memory:
        raise error
    name = classifier.network.backbone.name
    for parameter in classifier.trained().values():
        parameter.grad = None
    if classifier.device != "cpu":
        torch.cuda.empty_cache()
    team, encoded = classifier.team, lesson.encoded
    largest = max(len(one.rows) for one in team.passes(encoded, rows, budget=state.tokens_at_once))
    if largest == 1:
        raise StepError(
            f"{name}: memory does not hold the pass of a single row ({error}); "
            "expected a smaller model, fewer max_tokens, gradient checkpointing or LoRA"
        ) from error
    while max(len(one.rows) for one in team.passes(encoded, rows, budget=state.tokens_at_once)) > math.ceil(
        largest / 2
    ):
        state.tokens_at_once //= 2
    what = f"{name}: memory ran out in update {state.step + 1}; going on with {state.tokens_at_once} tokens at once"
    if team.size > 1:
        raise MemoryRanOut(what, state.tokens_at_once) from error
    warnings.warn(what, RuntimeWarning, stacklevel=2)


def _explained(
    fault: NotFinite,
    classifier: Classifier,
    optimizer: Any,
    lesson: Lesson,
    rows: Sequence[int],
    state: State,
    *,
    lr: float,
    folder: Path | None,
) -> StepError:
    """What a reader needs to find the cause; the state before the update is kept, as nothing of it was applied."""
    ids = ", ".join([lesson.row_ids[row] for row in rows[:4]] + (["..."] if len(rows) > 4 else []))
    kept = ""
    if folder is not None:
        _save(folder, state, classifier, optimizer)
        kept = f"; the state before it is in {folder}"
    return StepError(
        f"{classifier.network.backbone.name}: in update {state.step + 1} {fault}, at learning rate {lr:g}, on rows "
        f"{ids}{kept}; expected finite numbers: try a lower learning rate or a lower clip"
    )


def _evaluate(classifier: Classifier, lesson: Lesson, state: State, *, keep_best: bool) -> None:
    """Compare to the validation labels, and remember weights that are the best so far.

    Raises:
        StepError: the weights became so large that the network gives no numbers any more.
    """
    probs = classifier.probs(lesson.seen)
    if not np.isfinite(probs).all():
        raise StepError(
            f"{classifier.network.backbone.name}: after update {state.step} the probabilities of the validation rows "
            "are no numbers any more; expected finite numbers: try a lower learning rate or a lower clip"
        )
    since = int(state.curve[-1]["step"]) if state.curve else 0
    entry = {
        "step": float(state.step),
        "loss": float(np.mean(state.losses[since:])),
        "agreement": round(float(same_shares(probs, lesson.expected).mean()), DECIMALS),
        "cross_entropy": float(-(lesson.expected * np.log(np.maximum(probs, 1e-300))).sum(1).mean()),
    }
    state.curve.append(entry)
    if keep_best and (state.best is None or _rank(entry) > _rank(state.best)):
        state.best = entry
        whole = classifier.team.whole(classifier.trained())
        state.best_weights = {name: one.to("cpu", copy=True) for name, one in whole.items()}


def _rank(entry: dict[str, float]) -> tuple[float, float]:
    return entry["agreement"], -entry["cross_entropy"]


def _resume(
    classifier: Classifier, optimizer: Any, state: State, weights: Mapping[str, Any], moments: dict[str, Any]
) -> None:
    """Go on from a checkpoint."""
    classifier.load(weights)
    optimizer.load_state_dict(classifier.team.cut_state(moments, of=optimizer))
    state.tokens_at_once = min(state.tokens_at_once, classifier.budget)
    if classifier.team.rank > 0 and state.best_weights is not None:
        state.best_weights = {}


def _save(folder: Path, state: State, classifier: Classifier, optimizer: Any) -> None:
    """A checkpoint, written by the first process of the team while the others wait."""
    team = classifier.team
    weights, moments = team.whole(classifier.trained()), team.whole_state(optimizer)
    if team.rank == 0:
        states.save(folder, state, weights, moments)
    team.wait()


def _line(state: State, n_updates: int, seconds_left: float) -> str:
    recent = float(np.mean(state.losses[-20:]))
    agreed = f", agreement {state.curve[-1]['agreement']:.3f}" if state.curve else ""
    minutes, seconds = divmod(round(seconds_left), 60)
    return f"update {state.step}/{n_updates}, loss {recent:.3f}{agreed}, {minutes}:{seconds:02} left"
