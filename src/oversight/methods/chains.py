"""Chains: students in between, each taught by the one before it on rows that no earlier hop learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from oversight.methods.entry import Entry
from oversight.methods.method import Needs, WeakData
from oversight.models.student import Fitted, Loss, Student, cross_entropy
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels, Rows

NONE_ON_THE_WAY = (
    "needs students on the way, found none; name them from weak to strong, "
    "e.g. --set bootstrap.through=minilm@1+minilm@2"
)


@dataclass(frozen=True, kw_only=True)
class Told:
    """A fitted student with more to say of how it came about."""

    kind: ClassVar[str] = "chain_told"

    fitted: Fitted
    choices: Mapping[str, object]

    def predict(self, rows: Rows) -> Floats:
        """See `Fitted.predict`."""
        return self.fitted.predict(rows)


@dataclass(frozen=True)
class Bootstrap:
    """Supervisor -> first student on the way -> ... -> student: each labels fresh rows for the next.

    The transfer rows that the supervisor answers are cut by group into one part per hop. The first part carries the
    supervisor's labels; every student relabels the next part, and the validation rows by which the next makes its
    choices. The ceiling learns from all parts.

    Attributes:
        through: students on the way, from weak to strong.
        loss: what every student minimises.

    Source: Burns et al. 2023, arXiv:2312.09390, section 4.3.1 (bootstrapping), where each hop has a fresh split too.
    """

    kind: ClassVar[str] = "bootstrap"

    through: tuple[Student, ...] = ()
    loss: Loss = cross_entropy

    @property
    def needs(self) -> Needs:
        """One supervisor, and at least one student on the way."""
        missing = "" if self.through else NONE_ON_THE_WAY
        return Needs(losses=(self.loss,), students=self.through, missing=missing)

    def train(self, student: Student, data: WeakData, *, seed: Seed) -> Fitted:
        """See `Method.train`."""
        hops: list[dict[str, object]] = []
        answered = data.on(data.rows.take(np.flatnonzero(data.only.on(data.rows).answered)))
        first, *fresh = answered.parts(len(self.through) + 1, seed=seed.split)
        current = first
        for teacher, part in zip(self.through, fresh, strict=True):
            fitted = self._fit(teacher, current, seed)
            hops.append({"student": teacher.name, "rows": len(current.rows), **fitted.choices})
            current = part.relabelled(*relabelled(fitted, part, source=teacher.name))
        last = self._fit(student, current, seed)
        return Told(fitted=last, choices={**last.choices, "hops": hops})

    def _fit(self, student: Student, data: WeakData, seed: Seed) -> Fitted:
        return student.fit(data.rows, data.only, validation=data.checks, loss=self.loss, seed=seed)


def relabelled(fitted: Fitted, data: WeakData, *, source: str) -> tuple[Labels, Labels]:
    """What a fitted student says of the transfer and of the validation rows."""
    transfer, validation = (
        Labels.of(rows, fitted.predict(rows), source=source) for rows in (data.rows, data.validation)
    )
    return transfer, validation


ENTRIES = {
    "bootstrap": Entry(
        make=Bootstrap,
        about="students of growing size teach each other, each hop on fresh rows",
        paper="Burns et al. 2023, arXiv:2312.09390, section 4.3.1",
        family="chains",
    )
}
