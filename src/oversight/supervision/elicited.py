"""A supervisor without supervision: a decoder finds classes that it finds coherent, and labels by their example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from oversight.errors import InputError
from oversight.models.backbone import Backbone
from oversight.models.network import load_tokenizer, quiet_transformers
from oversight.models.prompted import BETWEEN_EXAMPLES, Form, Prompted
from oversight.models.student import check_student
from oversight.models.workbench import workbench, working_at
from oversight.supervision.icm import Annealing, Classes, icm
from oversight.supervision.supervisor import Supervision
from oversight.tasks.split import Seed, Split
from oversight.tasks.task import Bools, Floats, Labels, Rows, Task
from oversight.ties import choice_shares

FEWEST = 4
SLACK = 4


@dataclass(frozen=True, kw_only=True)
class Elicited:
    """Classes by internal coherence maximisation on some transfer rows; the decoder labels all rows by their example.

    The search (`supervision.icm`) asks the decoder for the word of a row's class after all other labelled rows as
    examples. All other rows get the most probable class after all rows that were found, a class with probability one.
    Pairs are asked in both orders, and the answers averaged: what holds of a pair holds not of its reverse.

    No true label is read, of whatever rows.

    Attributes:
        student: how the decoder is asked; its examples do not count.
        rows: most transfer rows to search on, drawn by `seed.init`. Fewer where more would not fit into the network's
            positions; fewer than four are refused.
        max_tokens: to which texts are cut in prompts, at most the backbone's own.
        annealing: how the search goes. With r rows it takes at most (4 r + 1) r + 4 r prompts of up to r texts.

    Source: see `supervision.icm.icm`.
    Differs: 16 rows and 4 steps for each, for the price (there 256 at once and about 12 steps each); rows beyond are
        labelled after these examples (there in further searches, by a model trained on the earlier ones).
    """

    kind: ClassVar[str] = "elicited"

    student: Prompted
    rows: int = 16
    max_tokens: int = 64
    annealing: Annealing = field(default=Annealing())

    @property
    def name(self) -> str:
        """`icm:DIR`."""
        return f"icm:{self.student.name}"

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """None: it reads no frozen features."""
        return ()

    @property
    def train(self) -> str:
        """By a prompt."""
        return "prompt"

    def check(self, task: Task, split: Split, tests: Mapping[str, Task]) -> None:
        """Whatever prompting refuses, and too little room for examples.

        Raises:
            InputError: why the decoder cannot be asked like this.
        """
        check_student(self._asked, n_rows=len(split.transfer), n_classes=task.n_classes)
        self._n_rows(len(split.transfer), paired=task.rows.others is not None)

    def answers(self, rows: Rows) -> Bools:
        """All."""
        return np.ones(len(rows), bool)

    def supervise(self, task: Task, split: Split, targets: Sequence[Rows], *, seed: Seed) -> Supervision:
        """Search on transfer rows, then label."""
        transfer = task.pick(split.transfer)
        n = self._n_rows(len(transfer), paired=transfer.others is not None)
        by_id = sorted(range(len(transfer)), key=transfer.ids.__getitem__)
        drawn = np.random.default_rng(seed.init).permutation(by_id)[:n]
        searched = transfer.take(drawn)
        form = self._form(searched, task.n_classes, seed)
        asking, tell = _Asking(form, searched), workbench().tell
        with working_at(tell=lambda done, note: None):
            found = icm(asking.probs, n, task.n_classes, seed=seed.init, annealing=self.annealing, tell=tell)
        known = {searched.ids[row]: one for row, one in found.classes.items()}
        shown = form.after(asking.examples(found.classes))
        labels = tuple(Labels.of(rows, _named(shown, rows, known), source=self.name) for rows in targets)
        counts = np.bincount(list(found.classes.values()), minlength=task.n_classes)
        choices: dict[str, object] = {
            "rows": n,
            "found": known,
            "by_class": counts.tolist(),
            "utility": found.utility,
            "accepted": found.accepted,
            "proposed": found.proposed,
            "prompts": found.asked * (1 if transfer.others is None else 2),
        }
        return Supervision(labels=labels, choices=choices)

    @property
    def _asked(self) -> Prompted:
        """The decoder without examples, and with shorter texts."""
        backbone = self.student.backbone
        return replace(
            self.student,
            backbone=replace(backbone, max_tokens=min(self.max_tokens, backbone.max_tokens)),
            shots=0,
            calibrate=False,
        )

    def _form(self, rows: Rows, k: int, seed: Seed) -> Form:
        nothing = Labels.of(rows, np.full((len(rows), k), 1 / k), source="nobody")
        return self._asked.fit(rows, nothing, seed=seed).form

    def _n_rows(self, n: int, *, paired: bool) -> int:
        """How many rows to search on: as many as there are, as asked for, and as fit.

        Raises:
            InputError: fewer than four.
        """
        backbone = self._asked.backbone
        with quiet_transformers():
            tokenizer = load_tokenizer(backbone.checkpoint)
            template, words = self._asked.form(paired=paired)
            turns = [{"role": "user", "content": template}, {"role": "assistant", "content": max(words, key=len)}]
            example = f"{template} {max(words, key=len)}{BETWEEN_EXAMPLES}"
            if tokenizer.chat_template:
                example = tokenizer.apply_chat_template(turns, tokenize=False)
            listed = tokenizer(" or ".join(words), add_special_tokens=False)["input_ids"]
            around = len(tokenizer(example, add_special_tokens=False)["input_ids"]) + len(listed) + SLACK
        each = around + (1 + paired) * backbone.max_tokens
        positions = min(backbone.checkpoint.n_positions, int(tokenizer.model_max_length))
        fitting = positions // each
        if min(fitting, n, self.rows) < FEWEST:
            raise InputError(
                f"{self.student.name}: found room for {min(fitting, n, self.rows)} examples of up to {each} tokens in "
                f"its {positions} positions, expected at least {FEWEST}; lower max_tokens"
            )
        return min(fitting, n, self.rows)


class _Asking:
    """Rows of a search as questions to a decoder."""

    def __init__(self, form: Form, rows: Rows) -> None:
        self.form = form
        self.orders = [form.questions(one)[0] for one in _orders(rows)]

    def examples(self, classes: Classes, *, but: int = -1) -> tuple[tuple[str, str], ...]:
        """All labelled rows but one, in the order of the rows."""
        questions, words = self.orders[0], self.form.words
        return tuple((questions[row], words[classes[row]]) for row in sorted(classes) if row != but)

    def probs(self, classes: Classes, rows: Sequence[int]) -> Floats:
        """(m, k), each row after all labelled ones but itself."""
        shown = [self.examples(classes, but=row) for row in rows]
        return _averaged([self.form.probs_each([one[row] for row in rows], shown) for one in self.orders])


def _orders(rows: Rows) -> tuple[Rows, ...]:
    """The rows, and for pairs their reverse."""
    return (rows,) if rows.others is None else (rows, replace(rows, texts=rows.others, others=rows.texts))


def _averaged(asked: Sequence[Floats]) -> Floats:
    """Answers to the rows, or the mean of those to pairs and their reverse, in which classes change places."""
    return asked[0] if len(asked) == 1 else (asked[0] + asked[1][:, ::-1]) / 2


def _named(form: Form, rows: Rows, known: Mapping[str, int]) -> Floats:
    """(n, k): all weight on the class found for a row, else on the one that the decoder names after the examples."""
    named = choice_shares(_averaged([form.probs(one) for one in _orders(rows)]))
    for i, row_id in enumerate(rows.ids):
        if row_id in known:
            named[i] = np.eye(len(form.words))[known[row_id]]
    return named
