"""The public names and how they are called, frozen: a change here is a change for every user."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import oversight as ov

NAMES = """
BagOfWords Backbone Columns Confidence DirectoryStore Fitted Flipped Full Given InputError Labels Lora Loss LpFt
Method ModelOptions Needs OracleMethod OversightError Probe Result Rows Seed StepError Student Study Supervisor
Task Trained Validation WeakData WithLoss __version__ compare cross_entropy load_student load_task split_task
sweep weak_to_strong
"""

FULL = (
    "*, lr=None, head_lr=0.001, epochs=None, batch_size=32, schedule='cosine', warmup_fraction=0.05, "
    "optimizer='adamw', weight_decay=0.0, decay_to_start=0.0, anchor=0.0, clip=1.0, early_stopping=True, "
    "evaluations=8, words=None, dropout=False, machine=MACHINE"
)

# Parameters with their defaults; those after * are given by name.
CALLS: dict[str, str] = {
    "load_task": (
        "spec, *, columns=FIND, strict=False, n_train=None, n_test=None, near_duplicates=None, near_duplicates_at=0.7"
    ),
    "load_student": "spec, options=AS_IS",
    "weak_to_strong": "task, *, weak, strong, method='naive', seeds=5, store=None, progress=None, **options",
    "split_task": "task, *, seed",
    "sweep": "plan, *, store=None, workers=1, ray=None, retry_failed=False, watch=None, covers=None",
    "cross_entropy": "logits, targets, *, progress=1.0",
    "compare": "tasks, *, weak, strong, methods='all', seeds=5, store=None, workers=1, watch=None, **options",
    "Columns": "*, text=None, label=None, group=None, difficulty=None",
    "ModelOptions": (
        "*, train='probe', settings=(), "
        "penalties=None, layers=None, pool=None, max_tokens=256, precision='auto', device='auto', remote_code=False"
    ),
    "Seed": "split, init, order",
    "Rows": "*, ids, texts, groups, others=None",
    "Labels": "*, row_ids, probs, answered, source",
    "Task": (
        "*, name, rows, labels, class_names, is_test=None, difficulty=None, source='', licence='', version='', "
        "grouped=False, question_of=None, warnings=()"
    ),
    "Backbone": "*, checkpoint, depth=None, pool=None, max_tokens=256, precision='auto', device='auto'",
    "Full": FULL,
    "Lora": f"{FULL}, rank=8, alpha=None, targets=None, quantize=None",
    "LpFt": f"{FULL}, penalties=PENALTIES",
    "Probe": "*, backbone, penalties=PENALTIES, layers=()",
    "BagOfWords": "*, strengths=STRENGTHS, min_df=2, name='bow'",
    "Trained": "student",
    "Given": "labels, name",
    "Flipped": "fraction, confidence=1.0",
    "WithLoss": "loss=cross_entropy",
    "Confidence": "aux_weight=0.5, warmup_fraction=0.2",
    "Needs": "*, supervisors=(1, 1), losses=(), students=(), generation=False, features=False, trains=(), "
    "classes=None, missing=''",
    "WeakData": "*, rows, labels, validation, validation_labels",
    "Validation": "*, rows, labels",
    "DirectoryStore": "path",
    "Method.train": "self, student, data, *, seed",
    "OracleMethod.train_with_truth": "self, student, data, truth, *, seed",
    "Student.fit": "self, rows, labels, *, validation=None, loss=cross_entropy, weights=None, seed",
    "Student.check_loss": "self, loss",
    "Fitted.predict": "self, rows",
    "Supervisor.supervise": "self, task, split, targets, *, seed",
    "Supervisor.check": "self, task, split, tests",
    "Result.report": "self, path",
    "Result.rows": "self, study=0",
    "Result.to_pandas": "self",
    "Result.as_json": "self",
    "Study.score": "self, role",
    "Study.as_json": "self",
}


def named_defaults() -> dict[int, str]:
    """Defaults that are better called by name than written out."""
    from oversight.models import lexical, probe
    from oversight.models.finetune import recipe
    from oversight.resolve import models
    from oversight.tasks import columns

    return {
        id(columns.FIND): "FIND",
        id(models.AS_IS): "AS_IS",
        id(probe.PENALTIES): "PENALTIES",
        id(recipe.Full().machine): "MACHINE",
        id(lexical.STRENGTHS): "STRENGTHS",
        id(ov.cross_entropy): "cross_entropy",
    }


def parameters(thing: Any) -> str:
    """`a, *, b=1` of anything that can be called."""
    shown: list[str] = []
    by_name = False
    for parameter in inspect.signature(thing).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not by_name:
            shown.append("*")
            by_name = True
        text = f"**{parameter.name}" if parameter.kind is parameter.VAR_KEYWORD else parameter.name
        if parameter.default is not parameter.empty:
            factory = type(parameter.default).__name__ == "_HAS_DEFAULT_FACTORY_CLASS"
            text += "=()" if factory else f"={named_defaults().get(id(parameter.default), repr(parameter.default))}"
        shown.append(text)
    return ", ".join(shown)


def resolved(path: str) -> Any:
    found: Any = ov
    for name in path.split("."):
        found = getattr(found, name)
    return found


def test_the_public_names_are_these_and_at_most_forty() -> None:
    assert sorted(ov.__all__) == sorted(NAMES.split())
    assert len(ov.__all__) <= 40
    assert set(dir(ov)) == set(ov.__all__)


def test_the_public_names_are_called_like_this() -> None:
    assert {path: parameters(resolved(path)) for path in CALLS} == CALLS


def test_every_public_name_and_its_methods_say_what_they_are() -> None:
    silent: list[str] = []
    for name in ov.__all__:
        thing = getattr(ov, name)
        if isinstance(thing, str):
            continue
        doc = thing.__doc__ or ""
        if not doc.strip() or doc.startswith(f"{name}("):  # what dataclasses write by themselves
            silent.append(name)
        for part, value in vars(thing).items() if isinstance(thing, type) else ():
            own = inspect.isfunction(value) or isinstance(value, property | classmethod | staticmethod)
            if own and not part.startswith("_") and not (value.__doc__ or "").strip():
                silent.append(f"{name}.{part}")
    assert silent == []


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'oversight' has no attribute 'weak_to_storng'"):
        _ = ov.weak_to_storng  # pyright: ignore


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert ov.__version__ == version("oversight")


def test_bad_input_is_a_value_error_too() -> None:
    """A caller who knows nothing of this package catches it all the same."""
    with pytest.raises(ValueError, match="unknown task 'revews': did you mean 'reviews'"):
        ov.load_task("revews")
    assert issubclass(ov.InputError, ov.OversightError) and issubclass(ov.StepError, RuntimeError)


# A result in a notebook


@pytest.fixture(scope="module")
def result(
    tmp_path_factory: pytest.TempPathFactory,
    reviews_of: Callable[..., list[dict[str, Any]]],
    write_lines: Callable[..., Path],
) -> ov.Result:
    """Two seeds of one supervisor and two students on 160 rows, nothing on disk but the file."""
    path = write_lines(tmp_path_factory.mktemp("api") / "data.jsonl", reviews_of(160))
    task = ov.load_task(path)
    return ov.weak_to_strong(task, weak=["bow", ov.Flipped(0.25)], strong="bow", seeds=2, store=":memory:")


def test_a_result_is_a_sequence_of_studies(result: ov.Result) -> None:
    assert len(result) == 2 and result[0] is result.studies[0]
    assert [(study.weak_model, study.strong_model) for study in result.studies] == [
        ("bow", "bow"),
        ("flipped:0.25", "bow"),
    ]
    assert repr(result) == "Result(2 studies; print it for the table)"


def test_print_shows_every_study_with_its_numbers(result: ov.Result) -> None:
    text = str(result)
    for study in result.studies:
        assert f"{study.weak_model}{' (planted)' if study.planted else ''} -> {study.strong_model}" in text
        assert f"{study.score('ceiling').value:.3f}" in text
    assert "\x1b" not in text, "no colour codes in a plain string"


def test_a_notebook_gets_html_that_holds_on_its_own(result: ov.Result) -> None:
    html = result._repr_html_()  # pyright: ignore[reportPrivateUsage]
    assert html.startswith("<div") and html.rstrip().endswith("</div>")
    assert "flipped:0.25" in html and "<script" not in html and "http://" not in html.replace("http://www.w3.org", "")


def test_to_pandas_has_a_row_per_study_test_row_seed_and_role(result: ov.Result) -> None:
    pytest.importorskip("pandas")
    table = result.to_pandas()
    assert list(table.columns) == [
        *("task", "test", "weak_model", "strong_model", "method", "role", "seed", "id", "group", "truth", "choice"),
        *("prob_0", "prob_1"),
    ]
    n = result[0].n_test
    assert len(table) == 2 * n * 2 * 3
    assert not table.duplicated(["weak_model", "role", "seed", "id"]).any()
    assert set(table.role) == {"weak", "student", "ceiling"} and set(table.seed) == {0, 1}
    assert abs(table.prob_0 + table.prob_1 - 1).max() < 1e-9


def test_the_table_gives_the_scores_again(result: ov.Result) -> None:
    """Accuracy is the mean over rows and seeds, so the share of right rows of the table is the study's number."""
    pytest.importorskip("pandas")
    table = result.to_pandas()
    table["right"] = table.choice == table.truth
    for study in result.studies:
        rows = table[table.weak_model == study.weak_model]
        for role in ("weak", "student", "ceiling"):
            shown = study.scores[role]["accuracy"].value
            assert rows[rows.role == role]["right"].mean() == pytest.approx(shown, abs=1e-12)


def test_a_report_from_python_is_one_file(result: ov.Result, tmp_path: Path) -> None:
    path = result.report(tmp_path / "r.html")
    assert [file.name for file in tmp_path.iterdir()] == ["r.html"] and path == tmp_path / "r.html"


def test_a_result_without_rows_says_so() -> None:
    with pytest.raises(LookupError, match="carries no rows"):
        ov.Result(studies=()).rows(0)
