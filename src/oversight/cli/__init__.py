"""Commands: parse, call, print."""

from oversight.cli import studies, sweeps, compare, budget, stress, report, store, power, names  # isort: skip  # the order of the help
from oversight.cli.app import run

__all__ = ["budget", "compare", "names", "power", "report", "run", "store", "stress", "studies", "sweeps"]
