"""What steps take of a machine, and which of them take about as long: told without doing them."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from contextlib import suppress
from typing import Any

from oversight.errors import OversightError
from oversight.models.backbone import Backbone, resolve_device
from oversight.models.finetune.student import FineTuned
from oversight.models.told import Told
from oversight.runs.steps import Needs, Step
from oversight.studies.plan import Job, Plan, Wanted
from oversight.supervision.boosted import Boosted
from oversight.supervision.supervisor import Trained

FLOAT = 4
UNREADABLE = (OSError, ValueError, OversightError)
ROLES = ("supervisor", "student", "method")


def features_need(step: Step, env: Plan) -> Needs:
    """The weights in float32, and the states that are kept; nothing is known of a network that cannot be read now."""
    from oversight.models.finetune.size import n_parameters, skeleton

    wanted: Wanted = env.objects[step.key]
    backbone = wanted.backbone
    if on_gpu(backbone):
        return Needs(gpu=True)
    with suppress(*UNREADABLE):  # the step itself fails, and says why
        width = skeleton(backbone.checkpoint, depth=backbone.blocks).config.hidden_size
        weights = n_parameters(backbone.checkpoint, depth=backbone.blocks)
        return Needs(memory_bytes=FLOAT * (weights + len(wanted.rows) * width))
    return Needs()


def fit_needs(step: Step, env: Plan) -> Needs:
    """The estimate of a fine-tuning run; a probe or a bag of words takes little; see `features_need`."""
    from oversight.models.finetune.size import estimate_on

    job: Job = env.objects[step.key]
    student = job.supervisor.student if isinstance(job.supervisor, Trained | Boosted) else job.student
    student = student.student if isinstance(student, Told) else student
    if not isinstance(student, FineTuned):
        return Needs()
    if on_gpu(student.backbone):
        return Needs(gpu=True)
    part = "transfer" if job.supervisor is None else "weak"

    def n_bytes() -> int:
        rows = env.task.pick(getattr(env.split(job.seed), part))
        return estimate_on(student, rows, n_classes=env.task.n_classes).bytes_total

    with suppress(*UNREADABLE):
        return Needs(memory_bytes=env.once(("memory", id(student), part, job.seed.split), student, n_bytes))
    return Needs()


def on_gpu(backbone: Backbone) -> bool:
    """Whether this network works on a GPU here."""
    return resolve_device(backbone.device).startswith("cuda")


def same_network(config: Mapping[str, Any]) -> Hashable:
    """Features of one network take about as long, whatever the depth."""
    return json.dumps({name: value for name, value in config["backbone"].items() if name != "depth"}, sort_keys=True)


def same_fit(config: Mapping[str, Any]) -> Hashable:
    """Fits of one recipe take about as long, whatever the seed and the labels."""
    return json.dumps([config.get(role) for role in ROLES], sort_keys=True)
