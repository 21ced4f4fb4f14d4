"""Bootstrapping: every hop labels rows that no earlier student learned from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from planted_labellers import misled

from oversight.errors import InputError
from oversight.methods.chains import Bootstrap
from oversight.methods.method import WithLoss, check_needs
from oversight.models.student import Fitted, Loss, Student, Validation, cross_entropy
from oversight.tasks.split import Seed
from oversight.tasks.task import Floats, Labels, Rows
from oversight.testing import Labeller, Planted, flips, mean_interval, planted

SEED = Seed.of(0)


@pytest.fixture(scope="module")
def world() -> Planted:
    return planted(flips(0.25), n=600, depths=3)


def at(world: Planted, depth: int) -> Student:
    return replace(world.student, backbone=world.student.backbone.at(depth))


@dataclass(frozen=True)
class Watched:
    """A student that writes down what it was taught."""

    student: Student
    seen: list[tuple[Rows, Labels, Validation]]

    def __getattr__(self, name: str) -> object:
        return getattr(self.student, name)

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
        assert validation is not None
        self.seen.append((rows, labels, validation))
        return self.student.fit(rows, labels, validation=validation, loss=loss, weights=weights, seed=seed)


def test_hops_learn_from_disjoint_parts_that_make_up_all_transfer_rows(world: Planted) -> None:
    seen: list[tuple[Rows, Labels, Validation]] = []
    through = tuple(Watched(at(world, depth), seen) for depth in (4, 5))
    world.train(Bootstrap(through), student=Watched(world.student, seen))  # type: ignore[arg-type]
    parts = [set(rows.ids) for rows, _, _ in seen]
    assert len(parts) == 3 and set.union(*parts) == set(world.data.rows.ids)
    assert sum(map(len, parts)) == len(world.data.rows)


def test_a_later_hop_learns_from_what_the_one_before_it_says(world: Planted) -> None:
    seen: list[tuple[Rows, Labels, Validation]] = []
    first = at(world, 4)
    world.train(Bootstrap((first,)), student=Watched(world.student, seen))  # type: ignore[arg-type]
    rows, labels, validation = seen[0]
    with world.known():
        part = world.data.parts(2, seed=SEED.split)
        taught = first.fit(part[0].rows, part[0].only, validation=part[0].checks, seed=SEED)
        assert rows.ids == part[1].rows.ids
        np.testing.assert_array_equal(labels.probs, taught.predict(rows))
        np.testing.assert_array_equal(validation.labels.probs, taught.predict(world.data.validation))


def test_a_chain_that_answers_for_a_silent_supervisor_uses_only_answered_rows(world: Planted) -> None:
    labels = world.data.only
    quiet = np.arange(len(labels.answered)) % 3 == 0
    data = replace(world.data, labels=(replace(labels, answered=~quiet),))
    fitted = replace(world, data=data).train(Bootstrap((at(world, 5),)))
    hops = fitted.choices["hops"]
    assert isinstance(hops, list) and hops[0]["rows"] < (~quiet).sum()


def test_without_students_on_the_way_it_refuses_and_says_how_to_name_them(world: Planted) -> None:
    with pytest.raises(InputError, match=r"method bootstrap: needs students on the way.*bootstrap\.through="):
        check_needs("bootstrap", Bootstrap(), world.student, n_supervisors=1)


def test_the_students_on_the_way_are_named_so_that_their_features_are_ready(world: Planted) -> None:
    middle = at(world, 4)
    assert Bootstrap((middle,)).needs.students == (middle,)


def gains(labeller: Labeller) -> Floats:
    """(8,) accuracy of a chain through a student that does not see the last feature, minus naive's."""
    found = []
    for seed in range(8):
        world = planted(labeller, n=1200, depths=2, seed=seed)
        chain = Bootstrap((at(world, 5),))
        found.append(world.accuracy(chain, seed=Seed.of(seed)) - world.accuracy(WithLoss(), seed=Seed.of(seed)))
    return np.array(found)


def test_a_student_that_cannot_see_what_misleads_the_supervisor_does_not_pass_it_on() -> None:
    found = gains(misled)
    assert mean_interval(found)[0] > 0, found


def test_where_the_supervisor_errs_at_random_a_chain_gains_nothing() -> None:
    found = gains(flips(0.25))
    assert mean_interval(found)[0] < 0.005 and found.mean() > -0.05, found
