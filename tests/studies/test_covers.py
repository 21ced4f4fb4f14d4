"""What the intervals of a study speak of: new pools of training rows, this pool, or one cut of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import oversight as ov
from oversight.methods.method import WithLoss
from oversight.metrics.intervals import Estimate
from oversight.metrics.pool import Scope
from oversight.reports.result import Result
from oversight.resolve.budgeting import budget
from oversight.resolve.compare import Asked, plan_text
from oversight.resolve.plan_file import parse
from oversight.resolve.plans import from_document, override, setups
from oversight.resolve.stress import stress
from oversight.resolve.studies import prepare
from oversight.resolve.sweep_plan import SweepPlan
from oversight.runs.store import MemoryStore
from oversight.runs.workshop import outcome_of
from oversight.studies.plan import VERSIONS
from oversight.studies.stored import study_of
from oversight.studies.weak_to_strong import Arm, Setup, plan_studies, plan_study, run_study, seeds_of
from oversight.supervision.supervisor import Trained
from oversight.tasks.task import Task

NEW, THESE = "new-rows", "these-rows"
PLAN = "tasks = ['reviews']\nsupervisors = ['bow']\nstudents = ['minilm@0']\nseeds = 2\n"


@pytest.fixture(scope="module")
def setup_of(make_task: Callable[..., Task], reader: Callable[[int], Any]) -> Callable[..., Setup]:
    """setup_of(covers, seeds=, split=) -> a study of a student that sees more than its supervisor."""
    task = make_task(n=600)

    def make(covers: Scope, *, seeds: int = 3, split: int | None = None) -> Setup:
        arm = Arm(supervisors=(Trained(reader(2)),), student=reader(8), method=WithLoss(), method_name="naive")
        return Setup(task=task, arms=(arm,), seeds=seeds_of(seeds, split=split), covers=covers)

    return make


@pytest.fixture(scope="module")
def both(setup_of: Callable[..., Setup]) -> tuple[Result, Result]:
    """The study over these rows, then over new rows."""
    return run_study(setup_of(THESE)), run_study(setup_of(NEW))


def numbers(result: Result) -> dict[str, Estimate]:
    """Every estimate of the only study, by name, but those that are undefined."""
    study = result[0]
    found = {f"{role} {name}": one for role, every in study.scores.items() for name, one in every.items()}
    found |= {"gap": study.gap, "gain": study.gain, **study.agreement}
    return {name: one for name, one in found.items() if one.defined}


def test_every_number_of_a_study_says_that_it_covers_the_pool(both: tuple[Result, Result]) -> None:
    these, new = map(numbers, both)
    assert {one.covers.split(" and ")[0] for one in these.values()} == {"seeds"}
    assert {one.covers.split(" and ")[0] for one in new.values()} == {"pool, seeds"}
    assert both[1][0].pgr.covers.startswith("pool, seeds and test ")
    assert both[1].as_json()["pgr"]["covers"].startswith("pool, seeds and test ")


def test_no_interval_of_a_study_is_narrower_over_new_rows(both: tuple[Result, Result]) -> None:
    """Scores with a closed form, AUROC and ECE by resampling, agreement, differences: values stay, seeds add more."""
    these, new = map(numbers, both)
    assert these.keys() == new.keys()
    for name, one in these.items():
        assert new[name].value == one.value, name
        assert new[name].high - new[name].low >= one.high - one.low - 1e-12, name
    wider = [name for name in these if new[name].high - new[name].low > 1.01 * (these[name].high - these[name].low)]
    assert {"student ece", "gap", "gain", "all"} <= set(wider)


def test_what_intervals_speak_of_stands_in_the_key_of_the_scoring_alone(setup_of: Callable[..., Setup]) -> None:
    one, other = (plan_study(setup_of(covers))[1][0].step for covers in (THESE, NEW))
    assert one.key != other.key
    assert one.inputs == other.inputs
    assert VERSIONS["score"] >= 7  # what an older store scored covered less than it is now asked for


def test_a_second_answer_about_the_same_models_trains_nothing(setup_of: Callable[..., Setup]) -> None:
    store = MemoryStore()
    run_study(setup_of(NEW), store=store)
    graph = plan_studies([setup_of(THESE)]).graph
    assert {graph.steps[key].kind for key in graph.missing(store.peek)} == {"score"}


def test_seeds_that_share_one_split_say_so_and_cover_no_pool(setup_of: Callable[..., Setup]) -> None:
    setup = setup_of(NEW, split=0)
    assert setup.scope == "one-split"
    study = run_study(setup)[0]
    assert study.gap.covers.startswith("seeds (one split) and test ")
    assert any("share one split" in one for one in study.warnings)
    assert setup_of(THESE, split=0).scope == "one-split"


def test_one_seed_covers_these_trained_models_whatever_is_asked(setup_of: Callable[..., Setup]) -> None:
    one, other = (plan_study(setup_of(covers, seeds=1))[1][0].step for covers in (THESE, NEW))
    assert one.key == other.key
    assert "only (these trained models)" in run_study(setup_of(NEW, seeds=1))[0].pgr.covers


# What can be asked for, and where.


def test_new_rows_are_the_default_everywhere() -> None:
    plan = parse(PLAN, name="p", folder="/", file="p.toml")
    assert plan.covers == NEW
    assert setups(plan)[0].covers == NEW
    assert prepare("reviews", weak="bow", strong="minilm@0", seeds=2).covers == NEW
    asked = Asked(tasks=("reviews",), weak="bow", strong="minilm@0")
    assert 'covers = "new-rows"' in plan_text(asked, asked.tasks, ("naive",), {}, baselines=False)


def plan_of(covers: str) -> SweepPlan:
    return parse(f"{PLAN}covers = '{covers}'\n", name="p", folder="/", file="p.toml")


def test_a_plan_says_what_its_intervals_speak_of_and_hands_it_to_workers() -> None:
    plan = plan_of(THESE)
    assert setups(plan)[0].covers == THESE
    other = override(plan, covers=NEW)
    assert setups(other)[0].covers == NEW
    assert from_document(other.document()).covers == NEW
    assert override(plan).covers == THESE


@pytest.mark.parametrize(
    "ask",
    [
        lambda: plan_of("rows"),
        lambda: override(plan_of(NEW), covers="one-split"),
        lambda: prepare("reviews", weak="bow", strong="minilm@0", covers="one-split"),
        lambda: ov.compare("reviews", weak="bow", strong="minilm@0", covers="pool", store=":memory:"),
        lambda: budget("reviews", weak="bow", strong="minilm@0", covers="pool", store=":memory:"),
        lambda: stress("reviews", covers="pool", store=":memory:"),
    ],
)
def test_what_nothing_covers_is_refused_in_one_line(ask: Callable[[], object]) -> None:
    with pytest.raises(ov.InputError, match="new-rows, these-rows") as caught:
        ask()
    assert "\n" not in str(caught.value)


def test_a_record_that_says_nothing_speaks_of_these_rows(setup_of: Callable[..., Setup]) -> None:
    store, setup = MemoryStore(), setup_of(NEW)
    run_study(setup, store=store)
    [scored] = plan_study(setup)[1]
    outcome = outcome_of(store, scored.step.key)
    assert outcome is not None
    assert study_of(scored.names, outcome.record).scope == NEW
    older = {name: one for name, one in outcome.record.items() if name != "scope"}
    assert study_of(scored.names, older).scope == THESE
