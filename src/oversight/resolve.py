"""Names and paths become objects, here and nowhere else; the public functions accept either."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from oversight.errors import InputError, unknown
from oversight.methods import METHODS
from oversight.methods.method import Method, OracleMethod, WithLoss
from oversight.metrics.scores import METRICS
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint, embedded, from_directory, from_hub
from oversight.models.lexical import BagOfWords
from oversight.models.names import ModelName, parse_model
from oversight.models.probe import PENALTIES, Probe
from oversight.models.student import Student
from oversight.reports.result import Result
from oversight.runs.steps import Progress
from oversight.runs.store import DirectoryStore, MemoryStore, Store
from oversight.studies.weak_to_strong import Setup, arms_of, run_study, seeds_of
from oversight.supervision.people import people
from oversight.supervision.supervisor import Supervisor, Trained
from oversight.tasks import TASKS
from oversight.tasks.build import without_overlap
from oversight.tasks.columns import FIND, Columns
from oversight.tasks.files import load_files
from oversight.tasks.hub import load_hub
from oversight.tasks.records import READERS
from oversight.tasks.split import limit, with_test
from oversight.tasks.task import Task

TRAINS = ("probe",)
PRECISIONS = ("auto", "float32", "bfloat16")
DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """How a named model is read; one for the supervisors, one for student and ceiling.

    Attributes:
        penalties: L2 penalties of the probe to choose from; None = 1e-4 to 1e2.
        layers: depths to choose from on validation: None = the model's own depth only, `()` = all up to it.
        pool: None = mean for encoders, last for decoders.
        max_tokens: longer texts are truncated, and counted.
        precision: `auto`, `float32` or `bfloat16`.
        device: `auto`, `cpu`, `cuda`.
        remote_code: whether code that comes with weights may run.
    """

    penalties: tuple[float, ...] | None = None
    layers: tuple[int, ...] | None = None
    pool: str | None = None
    max_tokens: int = 256
    precision: str = "auto"
    device: str = "auto"
    remote_code: bool = False


AS_IS = ModelOptions()


def load_task(
    spec: str | Path | Task,
    *,
    columns: Columns = FIND,
    strict: bool = False,
    n_train: int | None = None,
    n_test: int | None = None,
) -> Task:
    """A task by name, from a file, a directory with train and test, or the Hub.

    Args:
        spec: `reviews`, a path, `hf:org/name[:config][@revision]`, or a task as it is.
        columns: names of the columns that hold text, label, group and difficulty; None = found.
        strict: whether rows that stand in both train and test are an error.
        n_train, n_test: most rows outside and inside the test set; None = all.

    Raises:
        InputError: one line on what is wrong.
    """
    if isinstance(spec, Task):
        task = spec
    elif str(spec) in TASKS:
        task = TASKS[str(spec)]()
    elif str(spec).startswith("hf:"):
        task = load_hub(str(spec), columns=columns, strict=strict)
    elif Path(spec).exists() or "/" in str(spec) or str(spec).endswith(tuple(READERS)):
        task = load_files(spec, columns=columns, strict=strict)
    else:
        raise InputError(f"{unknown('task', str(spec), TASKS)}; or give a file, a directory, or hf:org/name")
    return limit(task, n_train=n_train, n_test=n_test)


def load_checkpoint(name: ModelName, *, remote_code: bool = False) -> Checkpoint:
    """The network behind a name.

    Raises:
        InputError: no such model, with the nearest name; or what to do offline.
    """
    path = Path(name.base)
    if name.revision is not None and (name.base == "minilm" or path.is_dir()):
        raise InputError(
            f"model '{name.base}': found the revision '{name.revision}', which only a model of the Hub has"
        )
    if name.base == "minilm":
        return embedded()
    if path.is_dir():
        return from_directory(path, remote_code=remote_code)
    if path.is_absolute() or name.base.startswith((".", "~")) or path.is_file():
        found = "a file" if path.is_file() else "nothing"
        raise InputError(f"model '{name.base}': found {found} there, expected a directory with weights")
    if HUB_NAME.fullmatch(name.base):
        return from_hub(name.base, revision=name.revision, remote_code=remote_code)
    raise InputError(f"{unknown('model', name.base, ['bow', 'minilm'])}; or give a directory, or org/name of the Hub")


def load_student(spec: str | Student, options: ModelOptions = AS_IS) -> Student:
    """A student by name, or as it is.

    Raises:
        InputError: unknown model, depth or option.
    """
    if not isinstance(spec, str):
        return spec
    if spec.startswith("labels:"):
        raise InputError(f"model '{spec}': answers from a file can supervise, but cannot be trained")
    name = parse_model(spec)
    _check_machine(options)
    if name.base == "bow":
        if name.depth is not None or name.pool or name.revision:
            raise InputError(f"model '{spec}': bow has no depth, pooling or revision")
        _check_unset(spec, options)
        return BagOfWords()
    backbone = Backbone(
        checkpoint=load_checkpoint(name, remote_code=options.remote_code),
        depth=name.depth,
        pool=name.pool or options.pool,  # pyright: ignore[reportArgumentType] checked by Backbone
        max_tokens=options.max_tokens,
        precision=options.precision,  # pyright: ignore[reportArgumentType] checked above
        device=options.device,
    )
    layers = options.layers if options.layers != () else tuple(range(backbone.blocks + 1))
    return Probe(backbone=backbone, penalties=options.penalties or PENALTIES, layers=layers or ())


def _check_unset(spec: str, options: ModelOptions) -> None:
    if (options.penalties, options.layers, options.pool) != (None, None, None):
        raise InputError(f"model '{spec}': it has no penalties, layers or pooling to set, which are for networks")


def _check_machine(options: ModelOptions) -> None:
    if options.precision not in PRECISIONS:
        raise InputError(f"--precision: found {options.precision}, expected {', '.join(PRECISIONS)}")
    if not DEVICE.fullmatch(options.device):
        raise InputError(f"--device: found {options.device}, expected auto, cpu or cuda")
    if options.device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            raise InputError(
                f"--device: found {options.device}, but this machine or this torch has no such GPU; expected cpu"
            )


def load_supervisor(
    spec: str | Supervisor | Student,
    task: Task,
    options: ModelOptions = AS_IS,
    *,
    tests: Mapping[str, Task] | None = None,
) -> tuple[Supervisor, ...]:
    """One supervisor by name, several joined by `+`, a student that becomes one, or one as it is.

    Raises:
        InputError: unknown model, or a fault in a label file.
    """
    if not isinstance(spec, str):
        return (spec if isinstance(spec, Trained) or hasattr(spec, "supervise") else Trained(spec),)  # pyright: ignore
    if spec == "labels:":
        raise InputError("model 'labels:': found no file, expected labels:FILE")
    if spec.startswith("labels:"):
        _check_unset(spec, options)
        return (people(Path(spec.removeprefix("labels:")), task, tests=tests),)
    return tuple(Trained(load_student(part, options)) for part in spec.split("+"))


def load_method(spec: str | Method | OracleMethod, **settings: Any) -> tuple[str, Method | OracleMethod]:
    """A method with its name; a plain function of (logits, targets, progress) is a loss.

    Raises:
        InputError: unknown name or setting.
    """
    if isinstance(spec, str):
        if spec not in METHODS:
            raise unknown("method", spec, METHODS)
        try:
            return spec, METHODS[spec](**settings)
        except (TypeError, ValueError) as error:
            raise InputError(f"method {spec}: {error}") from None
    if hasattr(spec, "train") or hasattr(spec, "train_with_truth"):
        return str(getattr(spec, "name", type(spec).__name__.lower())), spec
    return str(getattr(spec, "__name__", type(spec).__name__.lower())), WithLoss(spec)  # pyright: ignore


def load_store(spec: str | Path | Store | None) -> Store:
    """A directory, a store as it is, `:memory:`, or by default $OVERSIGHT_STORE or ./oversight-store.

    Raises:
        InputError: a directory that could not be made.
    """
    if str(spec) == ":memory:":
        return MemoryStore()
    if spec is not None and not isinstance(spec, str | Path):
        return spec
    path = store_path(spec)
    check_folder(path, flag="--store")
    return DirectoryStore(path)


def check_folder(path: Path, *, flag: str) -> None:
    """Refuse a directory that is none or could not be made, before anything is computed for it.

    Raises:
        InputError: what stands in the way.
    """
    standing = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not standing.is_dir():
        where = "a file" if standing == path else f"the file {standing} in its way"
        raise InputError(f"{flag} {path}: found {where}, expected a directory")
    if standing != path and not os.access(standing, os.W_OK | os.X_OK):
        raise InputError(
            f"{flag} {path}: found {standing} without permission to write, expected a directory that can be made"
        )


def store_path(spec: str | Path | None) -> Path:
    """The directory of a store, by default $OVERSIGHT_STORE or ./oversight-store."""
    return Path(spec or os.environ.get("OVERSIGHT_STORE") or "oversight-store")


def load_tests(
    task: Task, tests: Mapping[str, str | Path | Task], *, columns: Columns, strict: bool
) -> tuple[Task, dict[str, Task]]:
    """The task without rows that stand in a further test set, and those sets with its classes.

    Raises:
        InputError: a reserved name, other classes, too many shared rows.
    """
    loaded: dict[str, Task] = {}
    task = with_test(task) if tests else task
    for name, spec in tests.items():
        if name in {"test", "weak", "transfer", "validation"}:
            raise InputError(f"--test {name}: this name is taken by the task's own rows, expected another")
        other = load_task(spec, columns=columns, strict=strict)
        foreign = sorted(set(other.class_names) - set(task.class_names))
        if foreign:
            known = ", ".join(task.class_names)
            raise InputError(
                f"--test {name}: found classes {', '.join(foreign)}, expected those of {task.name}: {known}"
            )
        if (other.rows.others is None) != (task.rows.others is None):
            found = "single texts" if other.rows.others is None else "pairs"
            raise InputError(f"--test {name}: found {found}, expected the same kind of rows as {task.name}")
        task = without_overlap(task, other, name=name, strict=strict)
        place = [task.class_names.index(one) for one in other.class_names]
        labels = np.asarray(place, dtype=np.int64)[other.labels]
        loaded[name] = replace(other, labels=labels, class_names=task.class_names)
    return task, loaded


def _load_methods(
    specs: Sequence[Any], settings: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, Method | OracleMethod]]:
    unused = [name for name in settings if name not in specs]
    if unused:
        given = ", ".join(settings[unused[0]])
        raise InputError(f"{given}: a setting of method {unused[0]}, which is not among the methods asked for")
    return [load_method(one, **(settings.get(one, {}) if isinstance(one, str) else {})) for one in specs]


def _several(spec: Any) -> list[Any]:
    return list(spec) if isinstance(spec, list | tuple) else [spec]


def prepare(
    task: str | Path | Task,
    *,
    weak: Any,
    strong: Any,
    method: Any = "naive",
    train: str = "probe",
    seeds: int = 5,
    tests: Mapping[str, str | Path | Task] | None = None,
    metric: str | None = None,
    columns: Columns = FIND,
    strict: bool = False,
    n_train: int | None = None,
    n_test: int | None = None,
    weak_options: ModelOptions = AS_IS,
    strong_options: ModelOptions = AS_IS,
    method_settings: Mapping[str, Mapping[str, Any]] | None = None,
    split_seed: int | None = None,
    init_seed: int | None = None,
    order_seed: int | None = None,
) -> Setup:
    """Everything named is found and checked; nothing is computed or written. Arguments as in `weak_to_strong`."""
    if train not in TRAINS:
        raise InputError(f"--train: found {train}, expected {' or '.join(TRAINS)} (fine-tuning is not in this version)")
    if not 1 <= seeds <= 1000:
        raise InputError(f"--seeds: found {seeds}, expected 1 to 1000")
    if metric is not None and metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    methods = _load_methods(_several(method), method_settings or {})
    loaded = load_task(task, columns=columns, strict=strict, n_train=n_train, n_test=n_test)
    loaded, further = load_tests(loaded, tests or {}, columns=columns, strict=strict)
    students = [load_student(one, strong_options) for one in _several(strong)]
    supervisors = [load_supervisor(one, loaded, weak_options, tests=further) for one in _several(weak)]
    return Setup(
        task=loaded,
        arms=arms_of(supervisors, students, methods, train=train),
        seeds=seeds_of(seeds, split=split_seed, init=init_seed, order=order_seed),
        tests=further,
        metric=metric,
    )


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
        options: `tests`, `metric`, `columns`, `strict`, `n_train`, `n_test`, `weak_options`, `strong_options`,
            `method_settings`, `split_seed`, `init_seed`, `order_seed`; see `prepare`.

    Returns:
        One study per supervisor, student, method and test set, in this order of nesting.

    Raises:
        InputError: something given is bad; nothing was computed or written.

    Source: Burns et al. 2023, arXiv:2312.09390.
    """
    setup = prepare(task, weak=weak, strong=strong, method=method, seeds=seeds, **options)
    return run_study(setup, store=load_store(store), progress=progress)
