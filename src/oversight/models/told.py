"""A student whose prompts end in its supervisor's answer, so that imitation is trivial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from oversight.errors import InputError
from oversight.models.backbone import Backbone
from oversight.models.features import feature_backbone
from oversight.models.lexical import BagOfWords, read_words
from oversight.models.student import Fitted, Loss, Student, Validation, check_student, cross_entropy, trained_how
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels, Rows, content_id
from oversight.ties import drawn_choices

TEMPLATE = "{text} I think this is {answer}. What do you think?"


@dataclass(frozen=True, kw_only=True)
class Told:
    """A student that reads `... I think this is X. What do you think?`, X the class that its supervisor names.

    The rows of the task stay as they are (ids, groups, the split, and what the supervisor reads); only what this
    student is shown changes, in training and on the test, for the ceiling as well. Rows are shown under the hash of
    what is shown. Which of the k texts of a row that is depends on the supervisor, but the k texts themselves do not:
    features of all of them are computed once, for all seeds.

    A text that is cut at the student's limit of tokens loses its end, and with it the answer.

    Attributes:
        student: who learns.
        words: the answer by class, k of them.
        template: with `{text}` and `{answer}`.

    Source: Burns et al. 2023, arXiv:2312.09390, appendix E.3.
    """

    kind: ClassVar[str] = "told"

    student: Student
    words: tuple[str, ...]
    template: str = TEMPLATE

    def __post_init__(self) -> None:
        if self.template.count("{text}") != 1 or self.template.count("{answer}") != 1:
            raise InputError(f"told: found the template '{self.template}', expected {{text}} and {{answer}}, each once")
        if len(set(self.words)) != len(self.words) or not all(self.words):
            raise InputError(f"told: found the words {', '.join(self.words)}, expected a different one for each class")

    @property
    def name(self) -> str:
        """`minilm@4, told`."""
        return f"{self.student.name}, told"

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """The student's."""
        return self.student.backbones

    @property
    def train(self) -> str:
        """As the student is."""
        return trained_how(self.student)

    def check(self, *, n_rows: int, n_classes: int) -> None:
        """Refuse another number of classes than there are words, and what the student refuses.

        Raises:
            InputError: what is refused.
        """
        if n_classes != len(self.words):
            raise InputError(f"{self.name}: found {n_classes} classes, expected {len(self.words)}, one for each word")
        check_student(self.student, n_rows=n_rows, n_classes=n_classes)

    def check_loss(self, loss: Loss) -> None:
        """As the student does."""
        self.student.check_loss(loss)

    def variants(self, rows: Rows) -> tuple[Rows, ...]:
        """The rows with each of the k answers, in the order of the classes."""
        return tuple(self.shown(rows, {row_id: j for row_id in rows.ids}) for j in range(len(self.words)))

    def shown(self, rows: Rows, answers: Mapping[str, int]) -> Rows:
        """The rows as the student sees them; `answers` are classes by id. Copies of a text stay copies."""
        said = [self.words[answers[row_id]] for row_id in rows.ids]
        texts = self._texts(rows.texts, said)
        others = None if rows.others is None else self._texts(rows.others, said)
        ids = tuple(
            content_id(text, other) + "".join(row_id.partition("#")[1:])
            for text, other, row_id in zip(texts, others or [None] * len(texts), rows.ids, strict=True)
        )
        return Rows(ids=ids, texts=texts, others=others, groups=rows.groups)

    def _texts(self, texts: tuple[str, ...], said: list[str]) -> tuple[str, ...]:
        return tuple(
            self.template.replace("{answer}", answer).replace("{text}", text)
            for text, answer in zip(texts, said, strict=True)
        )

    def told(self, answers: Labels) -> Hearing:
        """The student that knows what its supervisor said of every row that it will meet."""
        chosen = drawn_choices(answers.probs, answers.row_ids).tolist()
        return Hearing(how=self, answers=dict(zip(answers.row_ids, chosen, strict=True)))

    def fit(
        self,
        rows: Rows,
        labels: Labels,
        *,
        validation: Validation | None = None,
        loss: Loss = cross_entropy,
        weights: Floats | None = None,
        seed: Seed,
    ) -> Fitted:
        """Not before it was `told`: labels of training rows do not say what the supervisor answers on the test.

        Raises:
            InputError: always.
        """
        raise InputError(f"{self.name}: found no answers of a supervisor, expected `told(labels)` before `fit`")


@dataclass(frozen=True, kw_only=True)
class Hearing:
    """A student to whom its supervisor's answers were told.

    Attributes:
        how: the student, and how its prompts read.
        answers: class by row id.
    """

    kind: ClassVar[str] = "hearing"

    how: Told
    answers: Mapping[str, int]

    @property
    def name(self) -> str:
        """See `Told`."""
        return self.how.name

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """See `Told`."""
        return self.how.backbones

    @property
    def train(self) -> str:
        """See `Told`."""
        return self.how.train

    def check_loss(self, loss: Loss) -> None:
        """See `Told`."""
        self.how.check_loss(loss)

    def fit(
        self,
        rows: Rows,
        labels: Labels,
        *,
        validation: Validation | None = None,
        loss: Loss = cross_entropy,
        weights: Floats | None = None,
        seed: Seed,
    ) -> FittedHearing:
        """See `Student.fit`."""
        seen, own = self._shown(rows, labels)
        checks = None
        if validation is not None:
            checked, judged = self._shown(validation.rows, validation.labels)
            checks = Validation(rows=checked, labels=judged)
        fitted = self.how.student.fit(seen, own, validation=checks, loss=loss, weights=weights, seed=seed)
        return FittedHearing(how=self.how, answers=self.answers, fitted=fitted)

    def _shown(self, rows: Rows, labels: Labels) -> tuple[Rows, Labels]:
        shown = self.how.shown(rows, self.answers)
        return shown, replace(labels.on(rows), row_ids=shown.ids)


@dataclass(frozen=True, kw_only=True)
class FittedHearing:
    """Fitted to prompts that end in an answer."""

    how: Told
    answers: Mapping[str, int]
    fitted: Fitted

    @property
    def choices(self) -> Mapping[str, object]:
        """The student's."""
        return self.fitted.choices

    def predict(self, rows: Rows) -> Floats:
        """(n, k) class probabilities of rows that the supervisor has answered."""
        return self.fitted.predict(self.how.shown(rows, self.answers))


def alike(told: Told) -> tuple[str, ...]:
    """The answers that the student reads as another answer, by class; none where it tells all of them apart.

    Read off what the student is given, before anything is learned: the ids of a network's tokenizer, where words that
    it does not know are one and the same; the words of a bag of words, which has none for a mere sign. A student that
    is neither is taken to tell them apart.
    """
    prompts = [told.template.replace("{text}", "").replace("{answer}", word) for word in told.words]
    read = _read(told.student, prompts)
    return tuple(word for word, one in zip(told.words, read, strict=True) if read.count(one) > 1)


def _read(student: Student, prompts: list[str]) -> list[Any]:
    network = feature_backbone(student)
    if network is not None:
        from oversight.models.network import load_tokenizer

        return [list(ids) for ids in load_tokenizer(network.checkpoint)(prompts)["input_ids"]]
    return [read_words(one) for one in prompts] if isinstance(student, BagOfWords) else list(prompts)
