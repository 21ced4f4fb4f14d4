"""What a method sees of rows: names that tell nothing.

Ids of copies are numbered by label, and groups are called what the file calls them ("positive_17"): a method that reads
them would read truth.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache

from oversight.tasks.task import Labels, Rows, Task, ids_sha256


@dataclass(frozen=True, kw_only=True)
class Veil:
    """Other names for the rows and groups of a task, which depend on all its ids and on what they stand for.

    Labels have no part in them: names that were a function of the task's fingerprint would change with the truth of a
    row that nobody learns from, and with them every draw that a method makes from ids. Who sees some rows of a task
    only cannot tell which name stands for what. The same rows have the same names, whatever their order in the file, so
    keys and bytes repeat.

    Attributes:
        salt: a hash over the ids of all rows of the task.
    """

    salt: str

    @classmethod
    def of(cls, task: Task) -> Veil:
        """The names of this task."""
        return cls(salt=ids_sha256(sorted(task.rows.ids)))

    def row_id(self, row_id: str) -> str:
        """16 hexadecimal digits in place of an id."""
        return self._name("row", row_id)

    def rows(self, rows: Rows) -> Rows:
        """The rows under other names, in the order of these: that of copies told their labels too."""
        ids = [self.row_id(row_id) for row_id in rows.ids]
        named = replace(rows, ids=tuple(ids), groups=tuple(self._name("group", one) for one in rows.groups))
        return named.take(sorted(range(len(ids)), key=ids.__getitem__))

    def labels(self, labels: Labels, rows: Rows) -> Labels:
        """Labels in the order of `rows`, which are veiled."""
        return replace(labels, row_ids=tuple(self.row_id(row_id) for row_id in labels.row_ids)).on(rows)

    def names(self, rows: Rows) -> dict[str, str]:
        """The ids of rows by their other names."""
        return {self.row_id(row_id): row_id for row_id in rows.ids}

    def _name(self, kind: str, name: str) -> str:
        return _named(self.salt, kind, name)


@lru_cache(maxsize=1 << 17)
def _named(salt: str, kind: str, name: str) -> str:
    """Remembered: every student of a study sees the same rows."""
    return hashlib.sha256(f"{salt}:{kind}:{name}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
