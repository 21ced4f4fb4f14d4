"""What `probes.py` measures: softmax problems shaped like those of a study, and the programs that solve them.

Every contender minimises the same function of standardised features z, here for two classes and one direction w:

    mean_i [ln(1 + exp(s_i)) - y_i s_i] + penalty / 4 |w|^2,      s = z w + b

(the package's objective, whose two columns are -w/2 and w/2). None of them standardises within its time; ours does.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Line = tuple[Floats, float]
PENALTIES = (1e-2, 1e-4, 1.0, 1e-3, 1e-1)
DECAY, FLAT = 1.2, 3.0
WEAK_ROWS = 800
CHOLESKY_MOST = 1024


@dataclass(frozen=True)
class Case:
    """Problems on the same rows.

    Attributes:
        name: where the rows come from.
        x: (n, d) features as they come.
        labels: probability of class 1 by each supervisor, (n,) each.
        n_problems: problem i has label i // 5 (modulo their number) and penalty i % 5.
    """

    name: str
    x: Floats
    labels: tuple[Floats, ...]
    n_problems: int

    def target(self, i: int) -> Floats:
        """(n,): the label of problem i."""
        return self.labels[i // len(PENALTIES) % len(self.labels)]

    def penalty(self, i: int) -> float:
        """The penalty of problem i."""
        return PENALTIES[i % len(PENALTIES)]

    @property
    def targets(self) -> list[Floats]:
        """(n, 2) of each problem."""
        both = [np.stack([1 - one, one], 1) for one in self.labels]
        return [both[i // len(PENALTIES) % len(both)] for i in range(self.n_problems)]

    @property
    def penalties(self) -> list[float]:
        """Of each problem."""
        return [self.penalty(i) for i in range(self.n_problems)]

    @cached_property
    def spread(self) -> Floats:
        """(d,): standard deviations; constant columns have 1."""
        found = self.x.std(0)
        return np.where(found > 1e-9, found, 1.0)

    @cached_property
    def z(self) -> Floats:
        """(n, d): standardised."""
        return (self.x - self.x.mean(0)) / self.spread

    @cached_property
    def twice(self) -> Floats:
        """(2n, d): every row once per class, for programs that take hard labels with weights."""
        return np.concatenate([self.z, self.z])

    def line(self, coefficients: Floats, intercepts: Floats) -> Line:
        """The direction and offset that a solution (d, 2), (2,) on the features as they come is on z."""
        w, b = coefficients[:, 1] - coefficients[:, 0], float(intercepts[1] - intercepts[0])
        return w * self.spread, b + float(self.x.mean(0) @ w)

    def objective(self, i: int, line: Line) -> float:
        """Of problem i."""
        s = self.z @ line[0] + line[1]
        return float(np.mean(np.logaddexp(0, s) - self.target(i) * s) + self.penalty(i) / 4 * line[0] @ line[0])

    def probs(self, line: Line) -> Floats:
        """(n,): of class 1."""
        from scipy.special import expit

        return expit(self.z @ line[0] + line[1])

    def gap_bound(self, i: int, line: Line) -> float:
        """How far above its minimum problem i is at most.

        With the intercept at its best, curvature in w is at least penalty / 2, so the gap is at most |g|^2 / penalty.
        """
        w, b = line
        for _ in range(20):
            p = self.probs((w, b))
            b -= float((p - self.target(i)).mean() / max((p * (1 - p)).mean(), 1e-12))
        p = self.probs((w, b))
        g = self.z.T @ (p - self.target(i)) / len(p) + self.penalty(i) / 2 * w
        return float(g @ g) / self.penalty(i)


def synthetic(n: int, d: int, *, n_labels: int, n_problems: int, seed: int = 0) -> Case:
    """Rows whose spectrum falls as that of an encoder's hidden states, and labels by supervisors that see them badly.

    Eigenvalues fall as (i + 3)^-1.2, measured on the embedded encoder's hidden states between the 4th and 256th. A
    supervisor is a logistic regression on 128 noisy tanh units, learned from few rows with truth.
    """
    from scipy.fft import dct
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    values = (np.arange(d) + FLAT) ** -DECAY
    latent = rng.normal(size=(n, d)) * np.sqrt(values * d / values.sum())
    x = latent
    for _ in range(2):
        x = np.asarray(dct(x * rng.choice([-1.0, 1.0], d), norm="ortho", axis=1))
    w = rng.normal(size=d) / np.sqrt(np.arange(d) + FLAT)
    truth = rng.random(n) < 1 / (1 + np.exp(-2 * (latent @ w) / (latent @ w).std()))
    labels: list[Floats] = []
    for _ in range(n_labels):
        seen = np.tanh(x @ rng.normal(size=(d, 128)) / np.sqrt(d) + 0.3 * rng.normal(size=(n, 128)))
        some = rng.choice(n, min(WEAK_ROWS, n // 4), replace=False)
        labels.append(LogisticRegression().fit(seen[some], truth[some]).predict_proba(seen)[:, 1])
    return Case("synthetic", x, tuple(labels), n_problems)


def reviews(n: int, *, n_labels: int, n_problems: int, depth: int = 4, seed: int = 0) -> Case:
    """Hidden states of the embedded encoder on the embedded task, and labels by bags of words learned from few rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    import oversight as ov
    from oversight.models.backbone import Backbone
    from oversight.models.checkpoint import embedded
    from oversight.models.features import extract

    task, rng = ov.load_task("reviews"), np.random.default_rng(seed)
    rows = task.rows.take(rng.permutation(len(task.rows))[:n].tolist())
    backbone = Backbone(checkpoint=embedded(), depth=depth, precision="auto", device="cpu")
    x = extract(backbone, rows, depths=[depth]).features[depth].astype(np.float64)
    words: Any = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit_transform(rows.texts)
    truth = task.truth(rows)
    labels: list[Floats] = []
    for _ in range(n_labels):
        some = rng.choice(len(rows), min(WEAK_ROWS, len(rows) // 4), replace=False)
        labels.append(LogisticRegression(C=10).fit(words[some], truth[some]).predict_proba(words)[:, 1])
    return Case(f"minilm@{depth} on reviews", x, tuple(labels), n_problems)


def scikit_learn(solver: str, tol: float) -> Callable[[Case, int], Line]:
    """Soft labels are 2n weighted rows."""
    from sklearn.linear_model import LogisticRegression

    def fit(case: Case, i: int) -> Line:
        n, y = len(case.z), case.target(i)
        model: Any = LogisticRegression(C=2 / (n * case.penalty(i)), solver=solver, tol=tol, max_iter=10_000)
        model.fit(case.twice, np.repeat([0, 1], n), sample_weight=np.concatenate([1 - y, y]))
        coefficients, intercepts = np.asarray(model.coef_), np.asarray(model.intercept_)
        return coefficients[0], float(intercepts[0])

    return fit


def scipy_own(case: Case, i: int) -> Line:
    """scipy's L-BFGS-B with the gradient written out."""
    from scipy.optimize import minimize
    from scipy.special import expit

    z, y, penalty = case.z, case.target(i), case.penalty(i)

    def value(v: Floats) -> tuple[float, Floats]:
        w, s = v[:-1], z @ v[:-1] + v[-1]
        r = (expit(s) - y) / len(y)
        slope = np.append(z.T @ r + penalty / 2 * w, r.sum())
        return float(np.mean(np.logaddexp(0, s) - y * s) + penalty / 4 * w @ w), slope

    options = {"maxiter": 10_000, "ftol": 1e-12, "gtol": 1e-5, "maxcor": 20}
    v = minimize(value, np.zeros(z.shape[1] + 1), jac=True, method="L-BFGS-B", options=options).x
    return v[:-1], float(v[-1])


def w2s_classifier(folder: Path) -> Callable[[Case, int], Line]:
    """`Classifier` of EleutherAI/w2s, in float32 as its probe uses it.

    Args:
        folder: a checkout.
    """
    import torch

    spec = importlib.util.spec_from_file_location("w2s_logistic", folder / "w2s" / "logistic.py")
    assert spec is not None and spec.loader is not None, f"{folder}: found no w2s/logistic.py"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    known: dict[int, torch.Tensor] = {}

    def fit(case: Case, i: int) -> Line:
        if id(case) not in known:
            known.clear()
            known[id(case)] = torch.from_numpy(case.z).float()
        model = module.Classifier(case.z.shape[1], num_classes=2)
        model.fit(known[id(case)], torch.from_numpy(case.target(i)).float(), l2_penalty=case.penalty(i) / 4)
        return model.linear.weight.detach()[0].double().numpy(), float(model.linear.bias)

    return fit


def contenders(w2s: Path | None, *, d: int) -> Mapping[str, Callable[[Case, int], Line]]:
    """By name. scikit-learn's newton-cholesky is left out where one of its Hessians takes longer than others' fits."""
    found = {
        "scipy L-BFGS-B, own gradient": scipy_own,
        "scikit-learn lbfgs": scikit_learn("lbfgs", 1e-5),
        "scikit-learn newton-cg": scikit_learn("newton-cg", 1e-5),
    }
    if d <= CHOLESKY_MOST:
        found["scikit-learn newton-cholesky"] = scikit_learn("newton-cholesky", 1e-4)
    if w2s is not None:
        found["EleutherAI/w2s Classifier (float32)"] = w2s_classifier(w2s)
    return found
