"""`bow`: TF-IDF of words and pairs of words with logistic regression. The supervisor that knows no language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from oversight.errors import InputError
from oversight.models.backbone import Backbone
from oversight.models.rows import answered, held_apart
from oversight.models.student import Loss, Validation, cross_entropy
from oversight.models.threads import one_thread
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels, Rows

STRENGTHS: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0)


@dataclass(frozen=True, kw_only=True)
class BagOfWords:
    """TF-IDF (words and pairs, sublinear, in at least `min_df` texts) and logistic regression.

    Attributes:
        strengths: scikit-learn's C, inverse penalties, to choose from.
        min_df: texts in which a word must stand.
    """

    kind: ClassVar[str] = "bag_of_words"

    strengths: tuple[float, ...] = STRENGTHS
    min_df: int = 2
    name: str = "bow"

    def __post_init__(self) -> None:
        if not self.strengths or min(self.strengths) <= 0:
            raise InputError(f"bow: found strengths {list(self.strengths)}, expected numbers above 0")

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """None: it reads words."""
        return ()

    @property
    def train(self) -> str:
        """Logistic regression on words."""
        return "bow"

    def check_loss(self, loss: Loss) -> None:
        """Cross-entropy only.

        Raises:
            InputError: another loss.
        """
        if loss is not cross_entropy:
            raise InputError("bow: can be trained by cross-entropy only (method naive), found another loss")

    def fit(
        self,
        rows: Rows,
        labels: Labels,
        *,
        validation: Validation | None = None,
        loss: Loss = cross_entropy,
        weights: Floats | None = None,
        seed: Seed,
    ) -> FittedBagOfWords:
        """See `Student.fit`. Soft labels enter as k weighted copies of a row, which is exact.

        Raises:
            InputError: a loss other than cross-entropy; no word common enough; labels of one class only.
        """
        self.check_loss(loss)
        refit = validation is None
        rows, labels, weights = answered(rows, labels, weights)
        fit_rows, fit_weights, held = held_apart(rows, labels, weights, validation, seed=seed)
        vectorizer, x = self._words(fit_rows)
        targets, tried, models = labels.on(fit_rows).probs, [], {}
        seen = _apply(vectorizer, held.rows)
        for strength in self.strengths:
            models[strength] = _regress(x, targets, fit_weights, strength, paired=rows.others is not None)
            probs = _probs(models[strength], seen, labels.n_classes)
            score = -(held.labels.probs * np.log(np.maximum(probs, 1e-300))).sum(1).mean()
            tried.append({"strength": strength, "cross_entropy": float(score)})
        best = min(tried, key=lambda trial: trial["cross_entropy"])["strength"]
        model = models[best]
        if refit:
            vectorizer, x = self._words(rows)
            model = _regress(x, labels.probs, weights, best, paired=rows.others is not None)
        return FittedBagOfWords(vectorizer, model, labels.n_classes, {"strength": best, "tried": tried})

    def _words(self, rows: Rows) -> tuple[Any, Any]:
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=self.min_df)
        try:
            vectorizer.fit([*rows.texts, *(rows.others or ())])
        except ValueError as error:
            raise InputError(
                f"bow: found no word that stands in {self.min_df} of {len(rows)} training texts"
            ) from error
        return vectorizer, _apply(vectorizer, rows)


@dataclass(frozen=True)
class FittedBagOfWords:
    """A fitted vectorizer and regression."""

    vectorizer: Any
    model: Any
    n_classes: int
    choices: Mapping[str, object]

    def predict(self, rows: Rows) -> Floats:
        """(n, k) class probabilities."""
        return _probs(self.model, _apply(self.vectorizer, rows), self.n_classes)


def read_words(text: str) -> list[str]:
    """The words of a text as a bag of words reads them, in their order."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return list(TfidfVectorizer().build_analyzer()(text))


def _apply(vectorizer: Any, rows: Rows) -> Any:
    first = vectorizer.transform(rows.texts)
    return first if rows.others is None else first - vectorizer.transform(rows.others)


def _regress(x: Any, targets: Floats, weights: Floats | None, strength: float, *, paired: bool) -> Any:
    """Logistic regression on soft targets: row i counts targets[i, j] as class j."""
    from scipy import sparse
    from sklearn.linear_model import LogisticRegression

    rows, classes = np.nonzero(targets)
    if len(np.unique(classes)) < 2:
        raise InputError(f"bow: found labels of one class only ({classes[0]}), expected at least two")
    counts = targets[rows, classes] * (1.0 if weights is None else weights[rows])
    model = LogisticRegression(C=strength, fit_intercept=not paired, max_iter=2000, tol=1e-6)
    with one_thread():
        return model.fit(sparse.csr_matrix(x)[rows], classes, sample_weight=counts)


def _probs(model: Any, x: Any, n_classes: int) -> Floats:
    """Probabilities over all k classes; one that never stood in the labels gets 0."""
    probs = np.zeros((x.shape[0], n_classes))
    with one_thread():
        probs[:, model.classes_] = model.predict_proba(x)
    return probs
