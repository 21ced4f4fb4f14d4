"""Names of models become students and supervisors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from oversight.errors import InputError, unknown
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint, embedded, from_directory, from_hub
from oversight.models.finetune.recipe import Full, LpFt
from oversight.models.finetune.student import FineTuned
from oversight.models.lexical import BagOfWords
from oversight.models.names import ModelName, parse_model
from oversight.models.probe import PENALTIES, Probe
from oversight.models.prompted import Prompted
from oversight.models.student import Student
from oversight.resolve.recipes import PROBE, PROMPT, load_recipe, read_settings, takes_settings
from oversight.supervision.boosted import PREFIX, ROUNDS, Boosted
from oversight.supervision.corruption import Mistaken, check_structure
from oversight.supervision.people import people
from oversight.supervision.resampled import Resampled
from oversight.supervision.supervisor import Flipped, Supervisor, Trained
from oversight.tasks.task import Task
from oversight.worlds.ladder import PREFIX as LADDER
from oversight.worlds.ladder import shipped_rung

PRECISIONS = ("auto", "float32", "bfloat16")
DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
BOOST = re.compile(re.escape(PREFIX) + r"(.+?)(?::(\d+))?")
REPEATED = re.compile(r"(.+)\*(\d+)")
FLIPS, ERRORS = "flipped:", "planted:"


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """How a named model is read and trained; one for the supervisors, one for student and ceiling.

    Attributes:
        train: `probe`, `full`, `lora`, `lp-ft`, `prompt`, or a recipe such as `Lora(rank=16)`.
        settings: of the recipe, by name.
        penalties: L2 penalties of the probe to choose from; None = 1e-4 to 1e2.
        layers: depths to choose from on validation: None = the model's own depth only, `()` = all up to it.
        pool: None = mean for encoders, last for decoders.
        max_tokens: longer texts are truncated, and counted.
        precision: `auto`, `float32` or `bfloat16`.
        device: `auto`, `cpu`, `cuda`.
        remote_code: whether code that comes with weights may run.
    """

    train: str | Full = "probe"
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    penalties: tuple[float, ...] | None = None
    layers: tuple[int, ...] | None = None
    pool: str | None = None
    max_tokens: int = 256
    precision: str = "auto"
    device: str = "auto"
    remote_code: bool = False


AS_IS = ModelOptions()
NO_STUDENTS = {
    "labels:": "answers from a file",
    PREFIX: "an ensemble",
    FLIPS: "planted errors",
    ERRORS: "planted errors",
}


def parts_of(spec: str) -> tuple[str, ...]:
    """The models of a supervisor: several are joined by `+`, and each may be boosted or repeated."""
    if spec.startswith("labels:"):
        return (spec,)
    return tuple(found[1] if (found := BOOST.fullmatch(one)) else repeated(one)[0] for one in spec.split("+"))


def trained(spec: str, student: Callable[[str], Student]) -> tuple[Supervisor, ...]:
    """The supervisors that a name such as `bow*5+boost:minilm@2:3` stands for; `student` makes a model of a name."""
    if not all(spec.split("+")):
        raise InputError(f"model '{spec}': found nothing beside a '+', expected a model on either side")
    found: list[Supervisor] = []
    planted = planted_in(spec)
    for one, model in zip(spec.split("+"), parts_of(spec), strict=True):
        if one in planted:
            found.append(planted[one])
            continue
        boosted, times, taught = BOOST.fullmatch(one), repeated(one)[1], student(model)
        if times:
            found += [Resampled(taught, i + 1) for i in range(times)]
        else:
            found.append(Boosted(taught, int(boosted[2] or ROUNDS)) if boosted else Trained(taught))
    return tuple(found)


def is_network(spec: str) -> bool:
    """Whether a name is that of a network, or of several models among which there is one."""
    if spec.startswith("labels:"):
        return False
    return any(part != "bow" and not part.startswith((FLIPS, ERRORS)) for part in parts_of(spec))


def planted_in(spec: str) -> dict[str, Supervisor]:
    """The planted supervisors of a name such as `bow+flipped:0.3+planted:longest:0.2`, by their part of it.

    Raises:
        InputError: a structure or a rate that cannot be, or one and the same twice, of which the second says nothing.
    """
    if spec.startswith("labels:"):
        return {}
    parts = [part for part in spec.split("+") if part.startswith((FLIPS, ERRORS)) and not repeated(part)[1]]
    found = [_planted(part) for part in parts]
    twice = [one.name for i, one in enumerate(found) if one in found[:i]]
    if twice:
        raise InputError(f"model '{spec}': found {twice[0]} twice, which errs on the same rows; expected each once")
    return dict(zip(parts, found, strict=True))


def _planted(part: str) -> Flipped | Mistaken:
    if part.startswith(FLIPS):
        return Flipped(_rate(part, part.removeprefix(FLIPS), form=f"{FLIPS}RATE"))
    structure, _, rate = part.removeprefix(ERRORS).partition(":")
    check_structure(structure)
    return Mistaken(structure=structure, rate=_rate(part, rate, form=f"{ERRORS}{structure}:RATE"))


def _rate(part: str, text: str, *, form: str) -> float:
    expected = f"expected {form} with a share of rows in [0, 1)"
    if not text:
        raise InputError(f"model '{part}': found no rate, {expected}")
    try:
        rate = float(text)
    except ValueError:
        raise InputError(f"model '{part}': found the rate '{text}', {expected}") from None
    if not 0 <= rate < 1:
        raise InputError(f"model '{part}': found the rate {rate:g}, {expected}")
    return abs(rate)


def repeated(part: str) -> tuple[str, int]:
    """`bow*5` as (`bow`, 5): five repetitions of a supervisor, each on the weak rows drawn anew; 0 = none.

    Raises:
        InputError: fewer than two.
    """
    found = REPEATED.fullmatch(part)
    if found is None or part.startswith(("labels:", PREFIX)):
        return part, 0
    if int(found[2]) < 2:
        raise InputError(f"model '{part}': found {found[2]} repetitions, expected 2 or more")
    return found[1], int(found[2])


def load_checkpoint(name: ModelName, *, remote_code: bool = False, folder: Path = Path()) -> Checkpoint:
    """The network behind a name; `folder` is what a relative directory starts from.

    Raises:
        InputError: no such model, with the nearest name; or what to do offline.
    """
    path = folder / name.base
    if name.revision is not None and (name.base == "minilm" or name.base.startswith(LADDER) or path.is_dir()):
        raise InputError(
            f"model '{name.base}': found the revision '{name.revision}', which only a model of the Hub has"
        )
    if name.base == "minilm":
        return embedded()
    if name.base.startswith(LADDER):
        return shipped_rung(name.base.removeprefix(LADDER))
    if path.is_dir():
        return from_directory(path, name=str(Path(name.base)), remote_code=remote_code)
    if Path(name.base).is_absolute() or name.base.startswith((".", "~")) or path.is_file():
        found = "a file" if path.is_file() else "nothing"
        raise InputError(f"model '{name.base}': found {found} there, expected a directory with weights")
    if HUB_NAME.fullmatch(name.base):
        return from_hub(name.base, revision=name.revision, remote_code=remote_code)
    raise InputError(
        f"{unknown('model', name.base, ['bow', 'minilm', 'ladder:xl'])}; or give a directory, or org/name of the Hub"
    )


def load_student(spec: str | Student, options: ModelOptions = AS_IS) -> Student:
    """A student by name, or as it is.

    Raises:
        InputError: unknown model, depth or option.
    """
    return student_in(Path(), spec, options)


def student_in(folder: Path, spec: str | Student, options: ModelOptions, *, here: bool = True) -> Student:
    """`load_student`, where a relative directory starts from `folder`; `here`: it is to work on this machine."""
    if not isinstance(spec, str):
        return spec
    for prefix, what in NO_STUDENTS.items():
        if spec.startswith(prefix):
            raise InputError(f"model '{spec}': {what} can supervise, but cannot be trained")
    name = parse_model(spec, folder=folder)
    _check_machine(options, here=here)
    if name.base == "bow":
        if name.depth is not None or name.pool or name.revision:
            raise InputError(f"model '{spec}': bow has no depth, pooling or revision")
        _check_unset(spec, options)
        return BagOfWords()
    backbone = Backbone(
        checkpoint=load_checkpoint(name, remote_code=options.remote_code, folder=folder),
        depth=name.depth,
        pool=name.pool or options.pool,  # pyright: ignore[reportArgumentType] checked by Backbone
        max_tokens=options.max_tokens,
        precision=options.precision,  # pyright: ignore[reportArgumentType] checked above
        device=options.device,
    )
    if options.train == PROBE:
        return _probe(backbone, options)
    return _prompted(backbone, options) if options.train == PROMPT else _fine_tuned(backbone, options)


def _probe(backbone: Backbone, options: ModelOptions) -> Probe:
    if options.settings:
        name = next(iter(options.settings))
        raise InputError(f"--set {name}: a setting of fine-tuning, found train {PROBE} for {backbone.name}")
    layers = options.layers if options.layers != () else tuple(range(backbone.blocks + 1))
    return Probe(backbone=backbone, penalties=options.penalties or PENALTIES, layers=layers or ())


def _prompted(backbone: Backbone, options: ModelOptions) -> Prompted:
    if options.layers is not None or options.penalties is not None:
        raise InputError(f"model '{backbone.name}': layers and penalties are those of a probe, found train {PROMPT}")
    known = ("words", "template", "shots", "calibrate")
    return Prompted(backbone=backbone, **read_settings(Prompted, options.settings, known=known, name=PROMPT))


def _fine_tuned(backbone: Backbone, options: ModelOptions) -> FineTuned:
    recipe = load_recipe(options.train, options.settings)
    if options.layers is not None:
        raise InputError(f"model '{backbone.name}': layers are chosen for a probe, found train {recipe.name}")
    if options.penalties is not None:
        if not isinstance(recipe, LpFt):
            raise InputError(f"model '{backbone.name}': penalties are those of a probe, found train {recipe.name}")
        recipe = replace(recipe, penalties=options.penalties)
    return FineTuned(backbone=backbone, recipe=recipe)


def _check_unset(spec: str, options: ModelOptions) -> None:
    if options.settings and not takes_settings(options.train):
        raise InputError(f"model '{spec}': it is not fine-tuned, found the setting {next(iter(options.settings))}")
    if (options.penalties, options.layers, options.pool) != (None, None, None):
        raise InputError(f"model '{spec}': it has no penalties, layers or pooling to set, which are for networks")


def _check_machine(options: ModelOptions, *, here: bool) -> None:
    if options.precision not in PRECISIONS:
        raise InputError(f"--precision: found {options.precision}, expected {', '.join(PRECISIONS)}")
    check_device(options.device, here=here)


def check_device(device: str, *, here: bool) -> None:
    """Refuse a device that does not exist, or that this machine does not have where it is to work `here`.

    Raises:
        InputError: either.
    """
    if not DEVICE.fullmatch(device):
        raise InputError(f"--device: found {device}, expected auto, cpu or cuda")
    if here and device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            raise InputError(f"--device: found {device}, but this machine or this torch has no such GPU; expected cpu")


def load_supervisor(
    spec: str | Supervisor | Student,
    task: Task,
    options: ModelOptions = AS_IS,
    *,
    tests: Mapping[str, Task] | None = None,
    folder: Path = Path(),
) -> tuple[Supervisor, ...]:
    """One supervisor by name, several joined by `+`, boosted, repeated or planted, a student that becomes one, or one
    as it is. `tests` are the further test sets, and `folder` is what a relative path starts from.

    Raises:
        InputError: unknown model, or a fault in a label file.
    """
    if not isinstance(spec, str):
        return (spec if isinstance(spec, Trained) or hasattr(spec, "supervise") else Trained(spec),)  # pyright: ignore
    if spec == "labels:":
        raise InputError("model 'labels:': found no file, expected labels:FILE")
    if spec.startswith("labels:"):
        _check_unset(spec, options)
        return (people(folder / spec.removeprefix("labels:"), task, tests=tests),)
    for part in planted_in(spec):
        _check_unset(part, options)
    return trained(spec, lambda name: student_in(folder, name, options))
