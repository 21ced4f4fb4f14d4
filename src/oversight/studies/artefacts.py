"""Whether the answer stands in the prompt: what length and format alone give away, and roles that are all too good."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from oversight.metrics.intervals import linear_interval, moments
from oversight.models.threads import one_thread
from oversight.tasks.split import Split
from oversight.tasks.task import Floats, Ints, Rows, Task

TOO_GOOD = 0.99
ABOVE_CHANCE = 0.1
PENALTY = 1e-3
SIGNS = ".,!?;:'\"()[]-/*#\n"
MOST_TRAIN, MOST_TEST = 2000, 5000


def too_good(right: Mapping[str, float]) -> list[str]:
    """A warning where every role is right on more than TOO_GOOD of the test rows.

    Args:
        right: by role, its accuracy.
    """
    if not min(right.values()) > TOO_GOOD:
        return []
    return [
        f"every role is right on more than {TOO_GOOD:.0%} of the test rows: the prompts may give the answer away, "
        "and there is no gap to recover"
    ]


def format_warning(task: Task, split: Split) -> list[str]:
    """A warning where length and format, without a single word, tell the classes of the test rows apart.

    Softmax regression on `surface` of the weak rows with their truth; balanced accuracy on the test rows, so that the
    class shares count for nothing, shown to be more than ABOVE_CHANCE above 1 / k (for two classes: above .6). Of
    very many rows the first by id, which is the hash of the content.
    """
    train, test = task.pick(split.weak[:MOST_TRAIN]), task.pick(split.test[:MOST_TEST])
    x, seen = surface(train), surface(test)
    chosen = _classes(x, task.truth(train), seen, n_classes=task.n_classes, intercept=train.others is None)
    truth = task.truth(test)
    counts = np.bincount(truth, minlength=task.n_classes)
    scores = (chosen == truth) * len(truth) / (counts[truth] * (counts > 0).sum())
    found = linear_interval(moments(scores[None, None, :], test.group_numbers()), [1.0])
    if not found.low > 1 / task.n_classes + ABOVE_CHANCE:
        return []
    return [
        f"length and format alone, without a word, reach a balanced accuracy of {found.value:.3f} "
        f"[{found.low:.2f}, {found.high:.2f}] on the test rows (chance {1 / task.n_classes:.2f}): "
        "look for an artefact before believing a gap"
    ]


def surface(rows: Rows) -> Floats:
    """(n, q) what is seen of texts without reading them: lengths, shares of kinds of characters, signs, the last one.

    Of pairs the first text's minus the second's.
    """
    first = np.array([_surface(text) for text in rows.texts])
    return first if rows.others is None else first - np.array([_surface(text) for text in rows.others])


def _surface(text: str) -> list[float]:
    n, words, counts = max(1, len(text)), text.split(), Counter(text)
    kinds = (str.isupper, str.isdigit, str.isspace, str.isalpha)
    end = text.rstrip()[-1:]
    return [
        np.log1p(len(text)),
        np.log1p(len(words)),
        len(text) / max(1, len(words)),
        *(sum(count for sign, count in counts.items() if kind(sign)) / n for kind in kinds),
        *(float(counts[sign]) for sign in SIGNS),
        float(text != text.strip()),
        float(text[:1].isupper()),
        float(end.isalpha()),
        float(end.isdigit()),
        float(end in tuple(".!?")),
    ]


@one_thread()
def _classes(x: Floats, truth: Ints, seen: Floats, *, n_classes: int, intercept: bool) -> Ints:
    """(n,) classes of `seen`; every class of `truth` weighs the same."""
    from oversight.models.solver import Design

    weights = 1 / np.bincount(truth, minlength=n_classes)[truth]
    solved = Design(x, weights=weights, intercept=intercept).solve([np.eye(n_classes)[truth]], [PENALTY])
    return solved.probs(seen)[0].argmax(1).astype(np.int64)
