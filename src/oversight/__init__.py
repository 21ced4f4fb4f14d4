"""How much of a strong model's ability can a weaker supervisor bring out, and how do you know?

import oversight as ov

task = ov.load_task("reviews")
result = ov.weak_to_strong(task, weak="bow", strong="minilm@4", method="confidence", seeds=5)
print(result)
result.report("report.html")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oversight.errors import InputError as InputError
    from oversight.errors import OversightError as OversightError
    from oversight.errors import StepError as StepError
    from oversight.methods.losses import Confidence as Confidence
    from oversight.methods.method import Method as Method
    from oversight.methods.method import Needs as Needs
    from oversight.methods.method import OracleMethod as OracleMethod
    from oversight.methods.method import WeakData as WeakData
    from oversight.methods.method import WithLoss as WithLoss
    from oversight.models.backbone import Backbone as Backbone
    from oversight.models.finetune.recipe import Full as Full
    from oversight.models.finetune.recipe import Lora as Lora
    from oversight.models.finetune.recipe import LpFt as LpFt
    from oversight.models.lexical import BagOfWords as BagOfWords
    from oversight.models.probe import Probe as Probe
    from oversight.models.student import Fitted as Fitted
    from oversight.models.student import Loss as Loss
    from oversight.models.student import Student as Student
    from oversight.models.student import Validation as Validation
    from oversight.models.student import cross_entropy as cross_entropy
    from oversight.reports.result import Result as Result
    from oversight.reports.result import Study as Study
    from oversight.resolve.comparing import compare as compare
    from oversight.resolve.models import ModelOptions as ModelOptions
    from oversight.resolve.models import load_student as load_student
    from oversight.resolve.studies import weak_to_strong as weak_to_strong
    from oversight.resolve.sweeps import sweep as sweep
    from oversight.resolve.tasks import load_task as load_task
    from oversight.runs.store import DirectoryStore as DirectoryStore
    from oversight.supervision.supervisor import Flipped as Flipped
    from oversight.supervision.supervisor import Given as Given
    from oversight.supervision.supervisor import Supervisor as Supervisor
    from oversight.supervision.supervisor import Trained as Trained
    from oversight.tasks.columns import Columns as Columns
    from oversight.tasks.split import Seed as Seed
    from oversight.tasks.split import split_task as split_task
    from oversight.tasks.task import Labels as Labels
    from oversight.tasks.task import Rows as Rows
    from oversight.tasks.task import Task as Task

__version__ = "0.1.0"

_HOMES = {
    "errors": "InputError OversightError StepError",
    "methods.losses": "Confidence",
    "methods.method": "Method Needs OracleMethod WeakData WithLoss",
    "models.backbone": "Backbone",
    "models.finetune.recipe": "Full Lora LpFt",
    "models.lexical": "BagOfWords",
    "models.probe": "Probe",
    "models.student": "Fitted Loss Student Validation cross_entropy",
    "resolve.comparing": "compare",
    "resolve.models": "ModelOptions load_student",
    "resolve.studies": "weak_to_strong",
    "resolve.sweeps": "sweep",
    "resolve.tasks": "load_task",
    "runs.store": "DirectoryStore",
    "reports.result": "Result Study",
    "supervision.supervisor": "Flipped Given Supervisor Trained",
    "tasks.columns": "Columns",
    "tasks.split": "Seed split_task",
    "tasks.task": "Labels Rows Task",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = sorted([*_HOME_OF, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'oversight' has no attribute '{name}'")
    return getattr(importlib.import_module(f"oversight.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
