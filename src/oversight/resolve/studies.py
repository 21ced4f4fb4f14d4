"""What is asked for becomes a study, and the study a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from oversight.errors import InputError, unknown
from oversight.methods.method import Method, OracleMethod
from oversight.metrics.pool import NEW_ROWS, check_scope
from oversight.metrics.scores import METRICS
from oversight.models.names import parse_model
from oversight.models.student import Student
from oversight.reports.result import Result
from oversight.resolve.methods import load_method
from oversight.resolve.models import AS_IS, ModelOptions, is_network, load_student, load_supervisor, parts_of
from oversight.resolve.recipes import PROMPT, ROLES, check_roles, check_train, takes_settings, trains_of
from oversight.resolve.stores import load_store
from oversight.resolve.tasks import load_tests, task_in
from oversight.runs.steps import Progress
from oversight.runs.store import Store
from oversight.studies.weak_to_strong import Setup, arms_of, run_study, seeds_of
from oversight.tasks.columns import FIND, Columns
from oversight.tasks.joining import USUAL, NearDuplicates
from oversight.tasks.split import limit
from oversight.tasks.task import Task
from oversight.worlds.ladder import check_world, questions_of

MOST_SEEDS = 1000


def _load_methods(
    specs: Sequence[Any], settings: Mapping[str, Mapping[str, Any]], student: Callable[[str], Student]
) -> list[tuple[str, Method | OracleMethod]]:
    unused = [name for name in settings if name not in specs]
    if unused:
        given = ", ".join(settings[unused[0]])
        raise InputError(f"{given}: a setting of method {unused[0]}, which is not among the methods asked for")
    given = [settings.get(one, {}) if isinstance(one, str) else {} for one in specs]
    return [load_method(one, student=student, **own) for one, own in zip(specs, given, strict=True)]


def _trained(
    train: Any, settings: Mapping[str, Mapping[str, Any]], weak: ModelOptions, strong: ModelOptions
) -> tuple[ModelOptions, ModelOptions]:
    """Options with how each role is trained; settings for both go to the roles that are fine-tuned."""
    check_roles("settings", settings, (*ROLES, "both"))
    trains = {"weak": weak.train, "strong": strong.train} if train is None else trains_of(train)
    given = {
        role: {**options.settings, **settings.get(role, {})} for role, options in (("weak", weak), ("strong", strong))
    }
    both = settings.get("both", {})
    tuned = [role for role, one in trains.items() if takes_settings(one)]
    if both and not tuned:
        raise InputError(f"--set {next(iter(both))}: a setting of fine-tuning, found train {trains['strong']}")
    for role in tuned:
        given[role] = {**both, **given[role]}
    return (
        replace(weak, train=trains["weak"], settings=given["weak"]),
        replace(strong, train=trains["strong"], settings=given["strong"]),
    )


def worded(options: ModelOptions, task: Task) -> ModelOptions:
    """A prompt asks for the names of the task's classes unless words are given."""
    if options.train != PROMPT or task.rows.others is not None:
        return options
    return replace(options, settings={"words": task.class_names, **options.settings})


def _check_settings(
    role: str, specs: Sequence[Any], options: ModelOptions, settings: Mapping[str, Mapping[str, Any]]
) -> None:
    """Refuse a setting for a role in which no network is fine-tuned."""
    if settings.get(role) and not (_networks(specs) and takes_settings(options.train)):
        name = next(iter(settings[role]))
        raise InputError(f"{role}.{name}: a setting of fine-tuning, but nothing is fine-tuned in this role")


def _check_train(both: Sequence[ModelOptions], specs: Sequence[Any]) -> None:
    """Refuse a way to train that does not exist, or that nothing here can be trained in."""
    for options in both:
        check_train(options.train)
        if takes_settings(options.train) and not (_networks(specs) or any(not isinstance(one, str) for one in specs)):
            raise InputError(
                f"--train: found {options.train}, but only bow, labels and planted errors, which are not fine-tuned; "
                "expected a network such as minilm"
            )


def _networks(specs: Sequence[Any]) -> list[str]:
    return [one for one in specs if isinstance(one, str) and is_network(one)]


def _several(spec: Any) -> list[Any]:
    return list(spec) if isinstance(spec, list | tuple) else [spec]


def prepare(
    task: str | Path | Task,
    *,
    weak: Any,
    strong: Any,
    method: Any = "naive",
    train: Any = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    seeds: int = 5,
    tests: Mapping[str, str | Path | Task] | None = None,
    metric: str | None = None,
    columns: Columns = FIND,
    strict: bool = False,
    n_train: int | None = None,
    n_test: int | None = None,
    near_duplicates: str | None = None,
    near_duplicates_at: float = USUAL.at,
    weak_options: ModelOptions = AS_IS,
    strong_options: ModelOptions = AS_IS,
    method_settings: Mapping[str, Mapping[str, Any]] | None = None,
    split_seed: int | None = None,
    init_seed: int | None = None,
    order_seed: int | None = None,
    covers: str = NEW_ROWS,
) -> Setup:
    """Everything named is found and checked; nothing is computed or written. Arguments as in `weak_to_strong`;
    `settings` are those of the recipes, for `weak`, `strong` and `both`."""
    weak_options, strong_options = _trained(train, settings or {}, weak_options, strong_options)
    _check_settings("weak", _several(weak), weak_options, settings or {})
    _check_settings("strong", _several(strong), strong_options, settings or {})
    _check_train((weak_options, strong_options), [*_several(weak), *_several(strong)])
    if not 1 <= seeds <= MOST_SEEDS:
        raise InputError(f"--seeds: found {seeds}, expected 1 to {MOST_SEEDS}")
    if metric is not None and metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    scope = check_scope(covers)
    near = NearDuplicates(do=near_duplicates, at=near_duplicates_at)
    loaded = limit(task_in(Path(), task, columns=columns, strict=strict, near=near), n_train=n_train, n_test=n_test)
    loaded, further = load_tests(loaded, tests or {}, columns=columns, strict=strict, near=near)
    check_worlds(loaded, [*_several(weak), *_several(strong)])
    weak_options, strong_options = (worded(one, loaded) for one in (weak_options, strong_options))
    methods = _load_methods(_several(method), method_settings or {}, partial(load_student, options=strong_options))
    students = [load_student(one, strong_options) for one in _several(strong)]
    supervisors = [load_supervisor(one, loaded, weak_options, tests=further) for one in _several(weak)]
    return Setup(
        task=loaded,
        arms=arms_of(supervisors, students, methods),
        seeds=seeds_of(seeds, split=split_seed, init=init_seed, order=order_seed),
        tests=further,
        metric=metric,
        covers=scope,
    )


def check_worlds(task: Task, models: Sequence[Any], *, folder: Path = Path()) -> None:
    """Refuse networks that were grown in another world than that of the question.

    Raises:
        InputError: the first, with both worlds.
    """
    if task.question_of is not None:
        named = (part for one in models if isinstance(one, str) for part in parts_of(one))
        for name in dict.fromkeys(parse_model(part, folder=folder).base for part in named):
            check_world(task, name, folder / name)


def prepare_all(task: str | Path | Task, **asked: Any) -> tuple[Setup, ...]:
    """`prepare` for every question of a set such as `ladder`, for any other task once."""
    if isinstance(task, Task):
        return (prepare(task, **asked),)
    return tuple(prepare(one, **asked) for one in questions_of(str(task)))


def weak_to_strong(
    task: str | Path | Task,
    *,
    weak: Any,
    strong: Any,
    method: Any = "naive",
    seeds: int = 5,
    store: str | Path | Store | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Result:
    """A weak-to-strong study: weak, student, ceiling, gap and PGR, each with its interval.

    Args:
        task: a name, a file, a directory, `hf:org/name`, or a Task.
        weak: who labels: a model's name, a Student, a Supervisor, or a list of these (one study each).
        strong: who learns: a model's name, a Student, or a list.
        method: how the labels are used: a name, a Method, a loss (a function of logits, targets, progress), or a list.
        seeds: trainings of every role; ask for 5 or more.
        store: a directory, a Store, or `:memory:`; None = $OVERSIGHT_STORE or ./oversight-store.
        progress: told what is being done.
        options: `train` (`probe`, `full`, `lora`, `lp-ft`, or a recipe such as `Lora(rank=16)`; for both roles, or
            `{"weak": ..., "strong": ...}`), `settings` (of recipes, for `weak`, `strong`, `both`), `keep_models`,
            `tests`, `metric`, `columns`, `strict`, `n_train`, `n_test`, `near_duplicates`, `near_duplicates_at`,
            `weak_options`, `strong_options`, `method_settings`, `split_seed`, `init_seed`, `order_seed`,
            `covers` (`new-rows`: intervals speak of new pools of training rows, or `these-rows`: of this one); see
            `prepare`.

    Returns:
        One study per supervisor, student, method and test set, in this order of nesting; of a set of questions, these
        for every question, and pooled over them.

    Raises:
        InputError: something given is bad; nothing was computed or written.

    Source: Burns et al. 2023, arXiv:2312.09390.
    """
    keep_models = options.pop("keep_models", True)
    setups = prepare_all(task, weak=weak, strong=strong, method=method, seeds=seeds, **options)
    return run_study(setups, store=load_store(store), progress=progress, keep_models=keep_models)
