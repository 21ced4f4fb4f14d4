"""`flipped:RATE` and `planted:STRUCTURE:RATE`, wherever a supervisor is named; each student is its own reference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import oversight as ov
from oversight.errors import InputError
from oversight.models import ABOUT
from oversight.models.lexical import BagOfWords
from oversight.resolve.models import ModelOptions, is_network, load_supervisor, planted_in, student_in
from oversight.resolve.studies import prepare
from oversight.runs.store import DirectoryStore
from oversight.studies.weak_to_strong import plan_study
from oversight.supervision.corruption import REFERRED, STRUCTURES, WEAK, Mistaken, beside
from oversight.supervision.supervisor import Flipped, Trained

Call = Callable[..., Any]


def test_a_name_becomes_the_supervisor_that_python_has() -> None:
    task, student = ov.load_task("reviews"), BagOfWords()
    assert load_supervisor("flipped:0.3", task) == (Flipped(0.3),)
    assert load_supervisor("planted:longest:.2", task) == (Mistaken(structure="longest", rate=0.2),)
    assert load_supervisor("bow+flipped:0.1+planted:random:0", task) == (
        *load_supervisor("bow", task),
        Flipped(0.1),
        Mistaken(structure="random", rate=0.0),
    )
    assert beside(load_supervisor("planted:confident:0.2+bow", task), student) == (
        Mistaken(structure="confident", rate=0.2, reference=Trained(student)),
        Trained(BagOfWords()),
    )
    assert planted_in("labels:flipped:0.3+planted:x") == {}
    assert not is_network("flipped:0.3+bow+planted:longest:0.1") and is_network("flipped:0.3+minilm@2")


def test_the_names_are_told_with_all_structures() -> None:
    known = ", ".join(name for name in STRUCTURES if name != WEAK)
    assert "flipped:RATE" in ABOUT and known in ABOUT["planted:STRUCTURE:RATE"]


@pytest.mark.parametrize("name", ["flipped:0.3", "planted:longest:0.2"])
def test_planted_errors_are_no_student(name: str) -> None:
    with pytest.raises(InputError, match=f"model '{name}': planted errors can supervise, but cannot be trained"):
        student_in(Path(), name, ModelOptions())


@pytest.fixture
def rows(place: Path, planted_rows: Call, write_lines: Call) -> str:
    """200 rows as rows.jsonl."""
    write_lines(place / "rows.jsonl", planted_rows(200))
    return "rows.jsonl"


@pytest.mark.parametrize("structure", REFERRED)
def test_each_of_two_students_is_its_own_reference(rows: str, place: Path, save_tiny: Call, structure: str) -> None:
    """The steps whose labels the planted supervisor takes are those of its arm's student on the weak half's truth."""
    save_tiny(place / "tiny", "bert")
    setup = prepare(rows, weak=[f"planted:{structure}:0.2", "flipped:0.2"], strong=["bow", "./tiny"], seeds=2)
    plan, scored = plan_study(setup)
    own = [one for one in scored if one.arm.weak_name.startswith("planted:")]
    assert [one.arm.student.name for one in own] == ["bow", "tiny"]
    for one in own:
        (weak,) = one.arm.supervisors
        assert isinstance(weak, Mistaken) and weak.reference == Trained(one.arm.student)
        for seed, ((labels,), _, _) in zip(setup.seeds, one.runs, strict=True):
            assert labels.inputs == (plan.supervise(Trained(one.arm.student), seed),)
    flips = [one.runs[0][0][0].key for one in scored if one.arm.weak_name == "flipped:0.2"]
    assert len(set(flips)) == 1, "supervisors without a reference are shared"
    assert own[0].runs[0][0][0].key != own[1].runs[0][0][0].key


def test_a_name_and_an_object_have_the_same_keys_and_numbers(rows: str) -> None:
    objects = [Flipped(0.3), Mistaken(structure="longest", rate=0.2), Mistaken(structure="confident", rate=0.2)]
    names = ["flipped:0.3", "planted:longest:0.2", "planted:confident:0.2"]
    by_name, by_object = (
        ov.weak_to_strong(rows, weak=weak, strong="bow", seeds=2, store=":memory:") for weak in (names, objects)
    )
    assert [one.keys for one in by_name.studies] == [one.keys for one in by_object.studies]
    assert [one.scores for one in by_name.studies] == [one.scores for one in by_object.studies]


def test_they_work_wherever_a_supervisor_is_named(oversight: Call, rows: str, place: Path) -> None:
    """One step of labels, whichever command asks for it."""
    weak = "planted:unconfident:0.2"
    words = (rows, "--weak", weak, "--strong", "bow", "--seeds", "2", "--json")
    one = oversight("w2s", *words)
    assert one.code == 0, one.err
    key = one.json["keys"]["weak"][0]
    assert one.json["weak_model"] == weak and one.json["planted"] is True and one.json["weak_train"] == "planted"
    assert one.json["choices"]["weak"][0]["wrong"] == [round(0.2 * n) for n in one.json["choices"]["weak"][0]["of"]]

    board = oversight("compare", *words, "--methods", "hard")
    assert board.code == 0, board.err
    assert board.json["weak_model"] == weak and board.json["planted"] is True
    (told,) = [one for one in board.json["baselines"] if one["name"] == "weak to weak"]
    assert f"found the supervisor {weak}, expected one that is a trained model" in told["missing"]["rows"]

    curve = oversight("budget", *words, "--true", "0,16", "--weak-labels", "all")
    assert curve.code == 0, curve.err
    assert curve.json["weak_model"] == weak and curve.json["planted"] is True
    assert [one["what"].split()[0] for one in curve.json["unpriced"]] == ["weak"], "it learned from no labels"

    top = f'tasks = ["{rows}"]\nstudents = ["bow"]\nseeds = 2\n'
    several = f'{top}supervisors = ["{weak}", "bow+flipped:0.3"]\nmethods = ["mean"]\n'
    (place / "p.toml").write_text(f'{several}[[exclude]]\nsupervisor = "planted:*"\n')
    joined = oversight("sweep", "p.toml", "--json")
    assert joined.code == 0, joined.err
    assert [one["weak_model"] for one in joined.json["studies"]] == ["bow+flipped:0.3"]
    (place / "p.toml").write_text(f'{top}supervisors = ["{weak}"]\n')
    swept = oversight("sweep", "p.toml", "--json")
    assert swept.code == 0, swept.err
    assert [one["keys"]["weak"][0] for one in swept.json["studies"]] == [key]
    found = DirectoryStore(place / "oversight-store").about(key)
    assert found["config"]["supervisor"]["kind"] == "mistaken"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("compare", "plan compare: supervisors: model 'flipped:1.2': found the rate 1.2"),
        ("budget", "plan budget: supervisors: model 'flipped:1.2': found the rate 1.2"),
    ],
)
def test_a_bad_rate_is_refused_by_every_command(refused: Call, rows: str, command: str, says: str) -> None:
    assert refused(command, rows, "--weak", "flipped:1.2", "--strong", "bow").startswith(says)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('supervisors = ["planted:longest"]', "plan p: supervisors: model 'planted:longest': found no rate"),
        ('supervisors = ["bow", "planted:weak:0.2"]', "plan p: supervisors: unknown structure of errors 'weak'"),
        ('supervisors = ["bow"]\n[model."flipped:0.3"]\npool = "last"', "unknown model 'flipped:0.3'"),
        ('supervisors = ["flipped:0.3"]\n[model."flipped:0.3"]\npool = "last"', "which is no network"),
        ('supervisors = ["flipped:0.3"]\ntrain = "full"', "or a network such as minilm"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(refused: Call, rows: str, place: Path, line: str, says: str) -> None:
    (place / "p.toml").write_text(f'tasks = ["{rows}"]\nstudents = ["bow"]\n{line}\n')
    assert says in refused("sweep", "p.toml")


@pytest.mark.parametrize("name", ["flipped:0.3", "planted:longest:0.2", "planted:confident:0.2"])
def test_further_test_sets_are_refused(
    refused: Call, rows: str, place: Path, planted_rows: Call, write_lines: Call, name: str
) -> None:
    write_lines(place / "away.jsonl", planted_rows(60, seed=1))
    said = refused(
        "w2s", rows, "--weak", name, "--strong", "bow", "--test", "away=away.jsonl", "--near-duplicates", "ignore"
    )
    assert said == f"{name}: knows the truth of {rows} only, found further tests away"
