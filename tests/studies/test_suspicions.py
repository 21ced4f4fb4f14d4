"""What a study says of roles that answer one thing only, and of supervisors better on transfer than on test rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from oversight.methods.method import WithLoss
from oversight.metrics.contrasts import holm
from oversight.reports.result import Study
from oversight.studies.leaks import Part, transfer_against_test, with_suspicions
from oversight.studies.score import Predicted, score_predictions
from oversight.supervision.supervisor import Trained
from oversight.tasks.task import Floats, Ints


def sharp(truth: Ints, right: float, rng: np.random.Generator, *, seeds: int = 2) -> Floats:
    """(s, n, 2) sure choices of which this share is right."""
    named = np.where(rng.random((seeds, len(truth))) < right, truth, 1 - truth)
    return np.where(np.eye(2)[named] > 0, 0.9, 0.1)


def scored(roles: dict[str, Floats], truth: Ints, metric: str | None = None) -> dict[str, Any]:
    return score_predictions(Predicted(probs=roles, truth=truth, groups=np.arange(len(truth))), metric=metric)


@pytest.fixture
def good() -> tuple[dict[str, Floats], Ints]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 400)
    return {
        role: sharp(truth, right, rng) for role, right in (("weak", 0.6), ("student", 0.75), ("ceiling", 0.9))
    }, truth


def test_a_supervisor_that_never_varies_has_no_pgr(good: tuple[dict[str, Floats], Ints]) -> None:
    """It gave PGR .000 [.000, .000] where its student repeats it."""
    roles, truth = good
    constant = np.tile([0.7, 0.3], (2, len(truth), 1))
    record = scored({**roles, "weak": constant, "student": constant}, truth)
    assert record["pgr"]["value"] is None and record["pgr"]["reason"] == "the supervisor never varies"
    assert record["gap"]["value"] > 0, "the gap is still shown"
    assert scored(roles, truth)["pgr"]["reason"] is None, "the control"


def test_a_supervisor_whose_choice_never_varies_is_informative_to_a_metric_of_probabilities(
    good: tuple[dict[str, Floats], Ints],
) -> None:
    roles, truth = good
    lean = 0.25 * roles["weak"] + 0.75 * np.array([0.9, 0.1])
    assert scored({**roles, "weak": lean}, truth)["pgr"]["reason"] == "the supervisor never varies"
    assert scored({**roles, "weak": lean}, truth, "auroc")["pgr"]["reason"] is None
    constant = np.tile([0.7, 0.3], (2, len(truth), 1))
    assert scored({**roles, "weak": constant}, truth, "auroc")["pgr"]["reason"] == "the supervisor never varies"


def test_a_ceiling_that_never_varies_has_no_pgr(good: tuple[dict[str, Floats], Ints]) -> None:
    roles, truth = good
    record = scored({**roles, "ceiling": np.tile([0.7, 0.3], (2, len(truth), 1))}, truth)
    assert record["pgr"]["reason"] == "the ceiling never varies"


def one_class(record: dict[str, Any]) -> list[str]:
    return [line for line in record["warnings"] if "of the test rows one class" in line]


def test_roles_that_give_a_rare_class_to_no_row_are_told_and_why() -> None:
    """95 of 100: every role's largest probability is that of the common class, though probabilities rank the rows."""
    rng = np.random.default_rng(1)
    truth = (rng.random(600) < 0.05).astype(np.int64)
    p = 0.05 + 0.3 * truth[None, :] * rng.random((2, 600)) + 0.05 * rng.random((2, 600))
    roles = dict.fromkeys(("weak", "student", "ceiling"), np.stack([1 - p, p], axis=2))
    record = scored(roles, truth)
    assert record["metric"] == "balanced_accuracy" and record["scores"]["weak"]["balanced_accuracy"]["value"] == 0.5
    assert len(one_class(record)) == 3 and all("auroc" in line for line in one_class(record))
    nearly = roles["weak"].copy()
    nearly[0, :3] = [0.1, 0.9]
    lines = one_class(scored({**roles, "weak": nearly}, truth))
    assert any("the supervisor gives 99." in line for line in lines), "a nearly constant one is told too"


def test_roles_that_name_the_rare_class_as_often_as_it_is_are_not_told() -> None:
    """The control."""
    rng = np.random.default_rng(2)
    truth = (rng.random(600) < 0.05).astype(np.int64)
    assert not one_class(scored({role: sharp(truth, 1.0, rng) for role in ("weak", "student", "ceiling")}, truth))


@pytest.mark.parametrize("n_seeds", [1, 2, 4, 5])
def test_few_seeds_are_warned_of_and_scores_stay_within_zero_and_one(n_seeds: int) -> None:
    """Two seeds that are far apart printed accuracies of [-.03, 1.37] without a word."""
    rng = np.random.default_rng(6)
    truth = rng.integers(0, 2, 500)
    levels = np.linspace(0.65, 0.73, n_seeds) if n_seeds > 1 else [0.7]
    probs = np.concatenate([sharp(truth, level, rng, seeds=1) for level in levels])
    record = scored(dict.fromkeys(("weak", "student", "ceiling"), probs), truth)
    found = record["scores"]["student"]["accuracy"]
    assert 0 <= found["low"] < found["value"] < found["high"] <= 1
    lines = [line for line in record["warnings"] if "ask for 5 seeds or more" in line]
    assert len(lines) == (n_seeds < 5)
    assert all(line.startswith("one seed" if n_seeds == 1 else f"{n_seeds} seeds") for line in lines)


# Leaks


@pytest.fixture
def some_study(make_task: Any, run_arm: Any, reader: Any) -> Study:
    """A real one, small; what it says of leaks is replaced."""
    return run_arm(make_task(0, n=400), Trained(reader(3)), reader(8), WithLoss(), seeds=1)[0]


def part(rng: np.random.Generator, right: float, n: int = 400) -> Part:
    return (rng.random(n) < right).astype(np.float64), np.ones(n, bool), tuple(map(str, range(n)))


def study(name: str, leak: dict[str, float] | None, base: Study) -> Study:
    return replace(base, leak=leak, warnings=(), keys={**base.keys, "weak": (name,)})


def told(found: Study) -> bool:
    return any("more than chance makes likely" in line for line in found.warnings)


def test_p_is_uniform_without_a_leak_and_small_with_one() -> None:
    rng = np.random.default_rng(3)
    p = [found["p"] for _ in range(400) if (found := transfer_against_test([(part(rng, 0.7), part(rng, 0.7))]))]
    assert len(p) == 400 and abs(np.mean(np.array(p) <= 0.05) - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 400)
    leaking = transfer_against_test([(part(rng, 0.9), part(rng, 0.7))])
    assert leaking is not None and leaking["p"] < 1e-6 and leaking["transfer"] > leaking["test"]


def test_nothing_is_tested_with_few_answers_or_one_group() -> None:
    rng = np.random.default_rng(4)
    right, answered, groups = part(rng, 0.7)
    assert transfer_against_test([((right, answered & (np.arange(400) < 19), groups), part(rng, 0.7))]) is None
    assert transfer_against_test([((right, answered, ("one",) * 400), part(rng, 0.7))]) is None


def test_a_hundred_clean_supervisors_are_not_told_of_five_leaks(some_study: Study) -> None:
    """At 5 % each 99 % of such sweeps held a "leak"; by Holm at most one in twenty does, here over 60 sweeps."""
    rng = np.random.default_rng(5)
    uncorrected = sweeps = 0
    for _ in range(60):
        p = rng.random(100)
        studies = [
            study(str(i), {"transfer": 0.8, "test": 0.7, "p": float(one)}, some_study) for i, one in enumerate(p)
        ]
        uncorrected += bool((p <= 0.05).any())
        sweeps += any(map(told, with_suspicions(studies)))
    assert uncorrected >= 55 and sweeps <= 9


def test_studies_that_share_supervisors_share_one_test(some_study: Study) -> None:
    """Ten methods on one supervisor are one check; the words are those of a suspicion."""
    leak = {"transfer": 0.8, "test": 0.7, "p": 0.04}
    found = with_suspicions([study("same", leak, some_study)] * 10)
    assert all(map(told, found)) and "the halves may leak" in found[0].warnings[0]
    apart = with_suspicions([study(str(i), leak, some_study) for i in range(2)])
    assert not any(map(told, apart)) and holm([0.04, 0.04])[0] > 0.05
    other = with_suspicions([study("same", {"transfer": 0.6, "test": 0.7, "p": 0.01}, some_study)])
    assert "may be drawn differently" in other[0].warnings[0]
