"""Names of rows and groups tell a method nothing of the truth."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import oversight as ov
from oversight.models.student import Fitted, Student
from oversight.studies.score import Predicted, score_predictions
from oversight.studies.veil import Veil
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels, Rows
from oversight.testing import ContractError, check_method


@dataclass(frozen=True)
class ReadsNames:
    """Labels a row by what its id or its group says, where they say something, else as the supervisor does."""

    read: str

    @property
    def needs(self) -> ov.Needs:
        return ov.Needs()

    def train(self, student: Student, data: ov.WeakData, *, seed: Seed) -> Fitted:
        labels = data.only
        probs = labels.probs.copy()
        for i, (row_id, group) in enumerate(zip(data.rows.ids, data.rows.groups, strict=True)):
            if self.read == "ids" and "#" in row_id:
                probs[i] = [0, 1]
            if self.read == "ids" and "#" not in row_id and any("#" in one for one in data.rows.ids):
                probs[i] = [1, 0]
            if self.read == "groups" and group[:3] in {"pos", "neg"}:
                probs[i] = [0, 1] if group[:3] == "pos" else [1, 0]
            if self.read == "groups" and group[:2] in {"0_", "1_"}:
                probs[i] = [0, 1] if group[0] == "1" else [1, 0]
        return student.fit(data.rows, replace(labels, probs=probs), validation=data.checks, seed=seed)


def words(n: int) -> list[str]:
    rng = np.random.default_rng(0)
    return ["".join(chr(97 + c) for c in rng.integers(0, 26, 8)) for _ in range(n)]


@pytest.fixture
def labelled(tmp_path: Path) -> dict[str, Path]:
    """Two files of texts with a word that tells the class; in `ids` each text of class 0 has copies of class 1."""
    rng, known = np.random.default_rng(1), words(4000)
    rows = [
        {
            "text": " ".join([*rng.choice(known, 8), ["bad", "good"][i % 2]]),
            "label": i % 2,
            "group": f"{['neg', 'pos'][i % 2]}_{i}",
        }
        for i in range(800)
    ]
    copies = [{"text": row["text"], "label": label} for row in rows[:400] for label in (0, 1)]
    made = {"groups": rows, "ids": copies}
    for name, content in made.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, content)))
    return {name: tmp_path / f"{name}.jsonl" for name in made}


def test_group_names_that_tell_the_label_teach_nothing(labelled: dict[str, Path]) -> None:
    """The supervisor answers at random. From raw group names all was known: accuracy 1."""
    found = ov.weak_to_strong(
        labelled["groups"],
        weak=ov.Flipped(0.5),
        strong="bow",
        method=[ReadsNames("groups"), "naive"],
        seeds=2,
        store=":memory:",
    )
    reader, naive = (study.score("student").value for study in found.studies)
    assert reader == pytest.approx(naive, abs=1e-12)


def test_ids_of_copies_that_are_numbered_by_label_reach_no_method(
    labelled: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Rows] = []
    plain = ov.WithLoss.train

    def looks(self: ov.WithLoss, student: Student, data: ov.WeakData, *, seed: Seed) -> Fitted:
        seen.extend((data.rows, data.validation))
        return plain(self, student, data, seed=seed)

    monkeypatch.setattr(ov.WithLoss, "train", looks)
    task = ov.load_task(labelled["ids"])
    ov.weak_to_strong(task, weak=ov.Flipped(0.3), strong="bow", seeds=1, store=":memory:")
    assert len(seen) == 2
    for rows in seen:
        assert not any("#" in row_id for row_id in rows.ids)
        assert not set(rows.ids) & set(task.rows.ids)
        assert not set(rows.groups) & set(task.rows.groups)
        first = {text: row_id for row_id, text in zip(reversed(rows.ids), reversed(rows.texts), strict=True)}
        names = [Veil.of(task).row_id(one) for one in task.rows.ids]
        truth = dict(zip(names, task.labels.tolist(), strict=True))
        share = np.mean([truth[row_id] for row_id in first.values()])
        assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(len(first)), "which copy comes first tells its label"


def test_names_depend_on_the_task_and_the_row_alone() -> None:
    rows = Rows(ids=("a", "a#1", "b"), texts=("x", "x", "y"), groups=("g", "g", "h"))
    one, other = Veil(salt="1"), Veil(salt="2")
    assert one.rows(rows) == one.rows(rows.take([2, 0, 1]))
    assert not set(one.rows(rows).ids) & set(other.rows(rows).ids)
    labels = Labels.of(rows, [[1, 0], [0, 1], [0.5, 0.5]], source="x")
    veiled = one.labels(labels, one.rows(rows))
    there = dict(zip(veiled.row_ids, veiled.probs.tolist(), strict=True))
    assert [there[one.row_id(row_id)] for row_id in rows.ids] == labels.probs.tolist()
    assert len(set(one.rows(rows).groups)) == 2


@pytest.mark.parametrize("read", ["ids", "groups"])
def test_check_method_sees_who_reads_names(read: str) -> None:
    with pytest.raises(ContractError, match="it does not read truth from ids and groups"):
        check_method(ReadsNames(read))


def test_check_method_has_nothing_against_naive() -> None:
    assert "it does not read truth from ids and groups" in check_method(ov.WithLoss())


def predicted(student: float, ceiling: float, *, n: int = 600, seed: int = 0) -> Predicted:
    """Five seeds of roles that are right on given shares of the rows, each row for itself."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 2

    def probs(share: float) -> Floats:
        right = rng.random((5, n)) < share
        first = np.where(right == (truth == 0), 0.8, 0.2)
        return np.stack([first, 1 - first], axis=2)

    return Predicted(
        probs={"weak": probs(0.6), "student": probs(student), "ceiling": probs(ceiling)},
        truth=truth,
        groups=np.arange(n),
    )


def warned(found: Predicted) -> bool:
    return any("does the method see truth?" in line for line in score_predictions(found)["warnings"])


def test_a_student_far_above_its_ceiling_raises_a_warning() -> None:
    assert warned(predicted(0.98, 0.8))
    assert not warned(predicted(0.8, 0.8))
    assert not warned(predicted(0.84, 0.8)), "a few points are what a regulariser gains"


def test_noise_raises_no_warning_that_truth_is_seen() -> None:
    """Equal roles on 60 rows: of 100 studies none lies more than .05 above beyond doubt."""
    assert sum(warned(predicted(0.7, 0.7, n=60, seed=seed)) for seed in range(100)) <= 1
