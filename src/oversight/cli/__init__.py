"""Commands: parse, call, print."""

from oversight.cli import demo, studies, sweeps, compare, budget, stress, ladder, report, store, power, names  # isort: skip  # the order of the help
from oversight.cli.app import run

__all__ = [
    "budget",
    "compare",
    "demo",
    "ladder",
    "names",
    "power",
    "report",
    "run",
    "store",
    "stress",
    "studies",
    "sweeps",
]
