"""Whether prompts give the answer away: by length and format, by a single word, or so that every role is too good."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from oversight.metrics.intervals import linear_interval, moments
from oversight.metrics.limits import SHARE
from oversight.models.threads import one_thread
from oversight.tasks.split import Split
from oversight.tasks.task import Floats, Ints, Rows, Task
from oversight.ties import choice_shares, right_shares

TOO_GOOD = 0.99
ABOVE_CHANCE = 0.1
PENALTY = 1e-3
SIGNS = ".,!?;:'\"()[]-/*#\n"
MOST_TRAIN, MOST_TEST = 2000, 5000
WORD = re.compile(r"\w+")


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


def prompt_warnings(task: Task, split: Split) -> list[str]:
    """Warnings where something trivial tells the classes of the test rows apart: length and format, or a single word.

    Length and format: softmax regression on `surface`. A word: whether it is there, the best one of the rows learned
    from. Both learn from weak rows with their truth. Balanced accuracy on the test rows, so that the class shares count
    for nothing, shown to be more than ABOVE_CHANCE above 1 / k (for two classes: above .6). Of very many rows the first
    by id, which is the hash of the content.
    """
    train, test = task.pick(split.weak[:MOST_TRAIN]), task.pick(split.test[:MOST_TEST])
    truth, k = task.truth(train), task.n_classes
    x, seen = surface(train), surface(test)
    formed = _classes(x, truth, seen, n_classes=k, intercept=train.others is None)
    word, worded = _by_one_word(train, truth, test, n_classes=k)
    told = {"length and format alone": formed, f"the single word '{word}'": worded}
    return [line for name, chosen in told.items() for line in _above_chance(name, chosen, task, test)]


def _above_chance(name: str, chosen: Floats, task: Task, test: Rows) -> list[str]:
    truth, k = task.truth(test), task.n_classes
    counts = np.bincount(truth, minlength=k)
    scores = right_shares(chosen, truth) * len(truth) / (counts[truth] * (counts > 0).sum())
    found = linear_interval(moments(scores[None, None, :], test.group_numbers()), [1.0], limits=SHARE)
    if not found.low > 1 / k + ABOVE_CHANCE:
        return []
    return [
        f"by {name} the classes of the test rows are told apart with a balanced accuracy of {found.value:.3f} "
        f"[{found.low:.2f}, {found.high:.2f}] (chance {1 / k:.2f}): look for an artefact before believing a gap"
    ]


def _by_one_word(train: Rows, truth: Ints, test: Rows, *, n_classes: int) -> tuple[str, Floats]:
    """The word whose presence tells most, and (n, k) choices on `test` by it.


    A row with it is of the class in which it is most common, one without it of the class in which it is rarest (of
    those, where several are). Of pairs a word counts where it stands in the first text only.
    """
    shares: dict[str, Floats] = {}
    counts = np.bincount(truth, minlength=n_classes)
    for words, j in zip(_words(train), truth, strict=True):
        for word in words:
            shares.setdefault(word, np.zeros(n_classes))[j] += 1 / counts[j]
    if not shares:
        return "", np.full((len(test), n_classes), 1 / n_classes)
    best = max(sorted(shares), key=lambda word: float(np.ptp(shares[word])))
    with_it, without = choice_shares(shares[best]), choice_shares(1 - shares[best])
    return best, np.array([with_it if best in words else without for words in _words(test)])


def _words(rows: Rows) -> list[set[str]]:
    first = [set(WORD.findall(text.lower())) for text in rows.texts]
    if rows.others is None:
        return first
    return [own - set(WORD.findall(text.lower())) for own, text in zip(first, rows.others, strict=True)]


def surface(rows: Rows) -> Floats:
    """(n, q) what is seen of texts without reading them: lengths, shares of kinds of characters, signs, the last one.

    Of pairs the first text's minus the second's.
    """
    first = np.array([_surface(text) for text in rows.texts])
    return first if rows.others is None else first - np.array([_surface(text) for text in rows.others])


@lru_cache(maxsize=1 << 15)
def _surface(text: str) -> tuple[float, ...]:
    """Remembered: questions about the same texts, and studies of one task, look at them again and again."""
    n, words, counts = max(1, len(text)), text.split(), Counter(text)
    kinds = (str.isupper, str.isdigit, str.isspace, str.isalpha)
    end = text.rstrip()[-1:]
    return (
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
    )


@one_thread()
def _classes(x: Floats, truth: Ints, seen: Floats, *, n_classes: int, intercept: bool) -> Floats:
    """(n, k) probabilities on `seen`; every class of `truth` weighs the same."""
    from oversight.models.solver import Design

    weights = 1 / np.bincount(truth, minlength=n_classes)[truth]
    solved = Design(x, weights=weights, intercept=intercept).solve([np.eye(n_classes)[truth]], [PENALTY])
    return solved.probs(seen)[0]
