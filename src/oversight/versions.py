"""Versions of the libraries that compute: major and minor belong to keys, all of it to records."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = ("numpy", "scikit-learn", "torch", "transformers")
TOLD = ("oversight", *LIBRARIES, "scipy")
ABSENT = "absent"


def full(name: str) -> str:
    """`2.13.0+cpu`, or `absent`. Nothing is imported."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ABSENT


def minor(name: str) -> str:
    """`2.13`."""
    return shortened(full(name))


def shortened(found: str) -> str:
    """A version without what comes after its second number."""
    return ".".join(found.split("+")[0].split(".")[:2])


def minors(names: Iterable[str]) -> dict[str, str]:
    """Major and minor by library, for a key."""
    return {name: minor(name) for name in sorted(names)}


@cache
def _installed() -> dict[str, str]:
    found = {"python": sys.version.split()[0], **{name: full(name) for name in TOLD}}
    return {name: one for name, one in found.items() if one != ABSENT}


def installed() -> dict[str, str]:
    """Everything that a record tells of what computed it."""
    return dict(_installed())
