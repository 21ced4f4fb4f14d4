"""A student that is not trained: a decoder reads a prompt, perhaps with examples, and answers in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from oversight.errors import InputError
from oversight.models.backbone import Backbone
from oversight.models.rows import answered
from oversight.models.student import Loss, Validation, cross_entropy
from oversight.models.writer import Ids, Writer
from oversight.tasks.split import Seed
from oversight.tasks.task import Bools, Floats, Ints, Labels, Rows
from oversight.ties import drawn_choices

PAIR_WORDS = ("second", "first")
TEXT_TEMPLATE = "{text}\n\nWhich of these describes the text: {words}?\nAnswer:"
PAIR_TEMPLATE = "First:\n{text}\n\nSecond:\n{other}\n\nWhich of the two is better: {words}?\nAnswer:"
BETWEEN_EXAMPLES = "\n\n"
CONTENT_FREE = ("N/A", "[MASK]", "")
LEAST = 1e-300


@dataclass(frozen=True, kw_only=True)
class Prompted:
    """A decoder that is asked for the word of a class, without training or after a few examples.

    The probability of class j is that of its word after the prompt, the product over the tokens of the word, normalised
    over the k words: p_j = exp(sum_t log p(token_t of word j | prompt, earlier tokens)) / sum of the same over words.
    Sums are not divided by the number of tokens: a word of many tokens is as improbable as the network finds it.

    Where the tokenizer has a chat template, the prompt is the user's turn and the word the assistant's, examples are
    earlier turns, and a model that can think aloud is told not to. Otherwise examples stand before the prompt, a blank
    line between them, and a space before the word unless the template ends in white space.

    Each text is cut to the backbone's `max_tokens`, examples too; the template never is.

    Attributes:
        backbone: a decoder at full depth; its pooling is not used.
        words: the word of each class; empty = those of preference pairs, where class 1 means that the first is better.
        template: `{text}`, for pairs also `{other}`, and `{words}` (all) are filled in; None = a plain question.
        shots: examples shown, drawn anew for every `seed.init` from the rows that `fit` is given, as many of each class
            as possible, with the word of the most probable class of their label.
        calibrate: divide by the probabilities that the words have for texts that say nothing, and normalise again.

    Source: Burns et al. 2023, arXiv:2312.09390 (zero-shot and few-shot baselines); calibration: Zhao et al. 2021,
        arXiv:2102.09690, with the mean over three texts without content.
    """

    kind: ClassVar[str] = "prompted"

    backbone: Backbone
    words: tuple[str, ...] = ()
    template: str | None = None
    shots: int = 0
    calibrate: bool = False

    def __post_init__(self) -> None:
        name, n_blocks = self.name, self.backbone.checkpoint.n_blocks
        if not self.backbone.checkpoint.is_decoder:
            raise InputError(f"{name}: found an encoder, expected a decoder: only that can be prompted")
        if self.backbone.blocks < n_blocks:
            raise InputError(f"{name}: found depth {self.backbone.blocks}, expected all {n_blocks} blocks to prompt it")
        if self.words and (len(self.words) < 2 or not all(word.strip() for word in self.words)):
            raise InputError(f"{name}: found label words {list(self.words)}, expected one word for each class")
        if self.shots < 0:
            raise InputError(f"{name}: found shots={self.shots}, expected 0 or more")
        if self.template is not None and "{text}" not in self.template:
            raise InputError(f"{name}: found the template '{self.template}', expected {{text}} in it")

    @property
    def name(self) -> str:
        """What the user called the network."""
        return self.backbone.name

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """None: it reads no frozen features."""
        return ()

    @property
    def train(self) -> str:
        """Not at all: by a prompt."""
        return "prompt"

    def check_loss(self, loss: Loss) -> None:
        """Cross-entropy only, which stands for none.

        Raises:
            InputError: another loss.
        """
        if loss is not cross_entropy:
            raise InputError(f"{self.name}: it is prompted and not trained, so it takes no loss (method naive only)")

    def check(self, *, n_rows: int, n_classes: int) -> None:
        """Refuse more examples than rows, or another number of words than classes.

        Raises:
            InputError: both numbers.
        """
        n_words = len(self.words or PAIR_WORDS)
        if n_words != n_classes:
            raise InputError(f"{self.name}: found {n_words} label words, expected one for each of {n_classes} classes")
        if self.shots > n_rows:
            raise InputError(f"{self.name}: found shots={self.shots}, expected at most the {n_rows} rows to draw from")

    def fit(
        self,
        rows: Rows,
        labels: Labels,
        *,
        validation: Validation | None = None,
        loss: Loss = cross_entropy,
        weights: Floats | None = None,
        seed: Seed,
    ) -> FittedPrompted:
        """See `Student.fit`: draws the examples. There is nothing to choose, so validation rows are not looked at.

        Args:
            rows, labels: where examples come from; without shots they only count as texts.
            validation: not used.
            loss: cross-entropy.
            weights: how probable each row is as the next example of its class; 0 = never.
            seed: `init` draws the examples.

        Raises:
            InputError: a loss, words or a template that do not fit the rows, or no room for the prompt.
        """
        del validation
        self.check_loss(loss)
        rows, labels, weights = answered(rows, labels, weights)
        self.check(n_rows=len(rows), n_classes=labels.n_classes)
        template, words = self.form(paired=rows.others is not None)
        classes = drawn_choices(labels.probs, rows.ids)
        drawn = draw(rows.ids, classes, weights, n=self.shots, n_classes=labels.n_classes, seed=seed.init)
        writer = Writer(self.backbone)
        form = Form(writer=writer, template=template, words=words, max_tokens=self.backbone.max_tokens)
        questions, _ = form.questions(rows.take(drawn))
        answers = [words[classes[i]] for i in drawn]
        form = form.after(tuple(zip(questions, answers, strict=True)))
        form.check_room(paired=rows.others is not None)
        choices: dict[str, object] = {
            "shots": self.shots,
            "template": template,
            "words": list(words),
            "chat": form.chats,
            "shown": [rows.ids[i] for i in drawn],
            "truncated": {
                "n_truncated": int(form.questions(rows)[1].sum()),
                "n_rows": len(rows),
                "max_tokens": self.backbone.max_tokens,
            },
        }
        prior = None
        if self.calibrate:
            prior = form.probs(_saying_nothing(paired=rows.others is not None)).mean(0)
            choices["prior"] = prior.tolist()
        return FittedPrompted(form=form, prior=prior, choices=choices)

    def form(self, *, paired: bool) -> tuple[str, tuple[str, ...]]:
        """The template and the words, for single texts or for pairs.

        Raises:
            InputError: no words, or a template that is not for these rows.
        """
        if not paired and not self.words:
            raise InputError(f"{self.name}: found no label words, expected one for each class")
        template = self.template or (PAIR_TEMPLATE if paired else TEXT_TEMPLATE)
        if paired != ("{other}" in template):
            rows, wants = ("preference pairs", "{text} and {other}") if paired else ("single texts", "{text} alone")
            raise InputError(f"{self.name}: found the template '{template}' for {rows}, expected {wants} in it")
        return template, tuple(word.strip() for word in self.words or PAIR_WORDS)


@dataclass(frozen=True, kw_only=True)
class FittedPrompted:
    """A network with the examples that it is shown.

    Attributes:
        form: how it is asked.
        prior: (k,) probabilities of the words for texts that say nothing; None = not divided by.
        choices: template, words and which rows are shown.
    """

    form: Form
    prior: Floats | None
    choices: Mapping[str, object]

    def predict(self, rows: Rows) -> Floats:
        """(n, k) class probabilities."""
        probs = self.form.probs(rows)
        if self.prior is None:
            return probs
        shifted = probs / np.maximum(self.prior, LEAST)
        return shifted / shifted.sum(1, keepdims=True)


@dataclass(frozen=True, kw_only=True)
class Form:
    """How rows become prompts for one network.

    Attributes:
        writer: the network.
        template: see `Prompted`.
        words: the word of each class.
        max_tokens: longer texts are cut.
        examples: questions and answers that stand before every prompt.
    """

    writer: Writer
    template: str
    words: tuple[str, ...]
    max_tokens: int
    examples: tuple[tuple[str, str], ...] = ()

    @property
    def chats(self) -> bool:
        """Whether prompts go through a chat template."""
        return bool(self.writer.tokenizer.chat_template)

    def after(self, examples: tuple[tuple[str, str], ...]) -> Form:
        """The same form after examples."""
        return Form(
            writer=self.writer,
            template=self.template,
            words=self.words,
            max_tokens=self.max_tokens,
            examples=examples,
        )

    def questions(self, rows: Rows) -> tuple[list[str], Bools]:
        """The template filled with each row, and which rows had a text that was cut."""
        texts, long = self.writer.cut(rows.texts, self.max_tokens)
        others: Sequence[str | None] = [None] * len(rows)
        if rows.others is not None:
            others, more = self.writer.cut(rows.others, self.max_tokens)
            long = long | more
        return [self._filled(text, other) for text, other in zip(texts, others, strict=True)], long

    def probs(self, rows: Rows) -> Floats:
        """(n, k) probabilities of the words, normalised over them."""
        if not len(rows):
            return np.zeros((0, len(self.words)))
        return self._normalised(self._asked(self.questions(rows)[0]))

    def probs_each(self, questions: Sequence[str], examples: Sequence[tuple[tuple[str, str], ...]]) -> Floats:
        """(n, k) probabilities of the words after each question, every one with examples of its own before it."""
        return self._normalised(
            [self.after(shown)._asked([one])[0] for one, shown in zip(questions, examples, strict=True)]
        )

    def _normalised(self, asked: list[list[Ids]]) -> Floats:
        sums = self.writer.log_probs(asked)
        weights = np.exp(sums - sums.max(1, keepdims=True))
        return weights / weights.sum(1, keepdims=True)

    def check_room(self, *, paired: bool) -> None:
        """Refuse a template and examples that leave no room for the longest texts.

        Raises:
            InputError: how long a prompt may become, and how many positions there are.
        """
        empty = self._filled("", "" if paired else None)
        around = max(len(one) for one in self._asked([empty])[0]) - 1
        most, positions = around + (1 + paired) * self.max_tokens, self.writer.positions
        if most > positions:
            raise InputError(
                f"{self.writer.name}: found prompts of up to {most} tokens ({around} of template and examples, "
                f"{self.max_tokens} of {'each' if paired else 'the'} text), expected at most the {positions} positions "
                "of the network; lower max_tokens or shots"
            )

    def _filled(self, text: str, other: str | None) -> str:
        """In one go, so that braces within a text stay as they are."""
        values = {"text": text, "other": other or "", "words": " or ".join(self.words)}
        return re.sub(r"\{(text|other|words)\}", lambda found: values[found[1]], self.template)

    def _asked(self, questions: Sequence[str]) -> list[list[Ids]]:
        """For each question the tokens of prompt and word, for each word.

        Raises:
            InputError: the tokens of a word begin those of another, which then could never be more probable.
        """
        prompts = self._dialogues(questions) if self.chats else self._texts(questions)
        k = len(self.words)
        ids = self.writer.encode([f"{one}{word}" for one in prompts for word in self.words], special=not self.chats)
        asked = [ids[i : i + k] for i in range(0, len(ids), k)]
        for options in asked:
            for (first, a), (second, b) in pairwise(sorted(zip(options, self.words, strict=True))):
                if second[: len(first)] == first:
                    how = "are" if second == first else "begin"
                    raise InputError(
                        f"{self.writer.name}: the tokens of the label word '{a}' {how} those of '{b}', "
                        "expected words that differ before one of them ends"
                    )
        return asked

    def _texts(self, questions: Sequence[str]) -> list[str]:
        gap = "" if self.template[-1].isspace() else " "
        shown = "".join(f"{question}{gap}{answer}{BETWEEN_EXAMPLES}" for question, answer in self.examples)
        return [f"{shown}{question}{gap}" for question in questions]

    def _dialogues(self, questions: Sequence[str]) -> list[str]:
        earlier = [turn for question, answer in self.examples for turn in (_user(question), _assistant(answer))]
        word = self.words[0]
        prompts = [self._rendered([*earlier, _user(question)], asks=True) for question in questions]
        # Some templates put a space before an answer, but leave it to the model to write it.
        whole = self._rendered([*earlier, _user(questions[0]), _assistant(word)], asks=False)
        gap = whole[len(prompts[0]) :].partition(word)[0] if whole.startswith(prompts[0]) else ""
        return [f"{prompt}{'' if gap.strip() else gap}" for prompt in prompts]

    def _rendered(self, turns: Sequence[Mapping[str, str]], *, asks: bool) -> str:
        try:
            return self.writer.tokenizer.apply_chat_template(
                list(turns), tokenize=False, add_generation_prompt=asks, enable_thinking=False
            )
        except Exception as error:
            line = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise InputError(f"{self.writer.name}: its chat template cannot be filled: {line}") from error


def draw(ids: Sequence[str], classes: Ints, weights: Floats | None, *, n: int, n_classes: int, seed: int) -> list[int]:
    """Positions of n rows, in turn of each class that has any left, in an order that does not depend on that of `ids`.

    Args:
        ids: names of the rows.
        classes: (rows,) int.
        weights: (rows,) above 0: within a class rows come in the order of Exp(1) / weight, so that each is the next
            with a probability proportional to its weight.
        n: at most the number of rows.
        n_classes: k.
        seed: another seed, another draw.
    """
    rng = np.random.default_rng(seed)
    by_id = sorted(range(len(ids)), key=lambda i: ids[i])
    waits = np.zeros(len(ids))
    waits[by_id] = rng.exponential(size=len(ids))
    order = np.argsort(waits if weights is None else waits / weights)
    queues = [iter([int(i) for i in order if classes[i] == j]) for j in rng.permutation(n_classes)]
    drawn: list[int] = []
    while len(drawn) < n:
        turn = [i for i in (next(queue, None) for queue in queues) if i is not None]
        drawn += turn[: n - len(drawn)]
    return [drawn[i] for i in rng.permutation(n)]


def _saying_nothing(*, paired: bool) -> Rows:
    ids = tuple(f"nothing {i}" for i in range(len(CONTENT_FREE)))
    return Rows(ids=ids, texts=CONTENT_FREE, groups=ids, others=CONTENT_FREE if paired else None)


def _user(question: str) -> dict[str, str]:
    return {"role": "user", "content": question}


def _assistant(answer: str) -> dict[str, str]:
    return {"role": "assistant", "content": answer}
