"""What may go wrong: the input is bad (exit code 2), or a step or the store failed (exit code 1)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OversightError(Exception):
    """A failure with one line to show; `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(OversightError, ValueError):
    """The input is bad: the message names the place, what was found and what was expected."""

    exit_code = 2


class StepError(OversightError, RuntimeError):
    """A step of the study failed, or a stored result is damaged and cannot be made again."""


class StoreError(StepError):
    """The store cannot be written: nothing is wrong with the step, and no other step would fare better."""


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not in a table, with the nearest name and all valid ones.

    Example:
        >>> str(unknown("method", "naiv", ["naive", "confidence"]))
        "unknown method 'naiv': did you mean 'naive'? known: naive, confidence"
    """
    names = list(known)
    near = difflib.get_close_matches(name.lower(), names, n=1)
    guess = f"did you mean '{near[0]}'? " if near else ""
    return InputError(f"unknown {kind} '{name}': {guess}known: {', '.join(names)}")
