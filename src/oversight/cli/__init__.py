"""Commands: parse, call, print."""

from oversight.cli import names, store, studies
from oversight.cli.app import run

__all__ = ["names", "run", "store", "studies"]
