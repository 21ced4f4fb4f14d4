"""Names and paths become objects, here and nowhere else; the public functions accept either."""

from oversight.resolve.methods import load_method
from oversight.resolve.models import ModelOptions, load_checkpoint, load_student, load_supervisor
from oversight.resolve.stores import check_folder, load_store, store_path
from oversight.resolve.studies import prepare, prepare_all, weak_to_strong
from oversight.resolve.tasks import load_task, load_tests

__all__ = [
    "ModelOptions",
    "check_folder",
    "load_checkpoint",
    "load_method",
    "load_store",
    "load_student",
    "load_supervisor",
    "load_task",
    "load_tests",
    "prepare",
    "prepare_all",
    "store_path",
    "weak_to_strong",
]
