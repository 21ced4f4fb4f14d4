"""What was asked for: the studies of a store, by name, with the steps that they need. They are what gc keeps."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from oversight.errors import InputError, StoreError
from oversight.sealed import content_sha256, dump_json, load_json, publish_file

FORMAT = 1
KEPT = "kept"
NAME = re.compile("[0-9a-f]{12}")


class NewerError(ValueError):
    """A file that a newer version of this program wrote."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A study or a sweep that somebody asked for.

    Attributes:
        title: for people.
        about: the command, when, versions, the plan's text.
        goals: keys of the score steps.
        steps: keys of all steps that lead there.
        studies: the numbers as JSON objects; empty until all are there.
    """

    title: str
    goals: tuple[str, ...]
    steps: tuple[str, ...]
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])
    studies: tuple[Mapping[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """12 hexadecimal digits that say what was asked for, in whatever order."""
        return hashlib.sha256("".join(sorted(set(self.goals))).encode()).hexdigest()[:12]

    @property
    def made(self) -> str:
        """When it was asked for, as far as that was written down."""
        return str(self.about.get("made", ""))


def keep(store_path: Path, kept: Kept) -> None:
    """Write down what is asked for; numbers that are there already stay where the new ones are still missing.

    Nothing is written where only the time differs.

    Raises:
        StoreError: it cannot be written, or what is there is newer than this program.
    """
    path = _place(store_path, kept.name)
    try:
        before = kept_from(path.read_bytes(), kept.name)
        kept = replace(kept, studies=kept.studies or before.studies)
        if content_sha256(_content(kept, timeless=True)) == content_sha256(_content(before, timeless=True)):
            return
    except NewerError as error:
        raise StoreError(f"store {store_path}: kept study {kept.name}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError):  # not there, or damaged: written anew
        pass
    try:
        publish_file(path, dump_json(_content(kept)))
    except OSError as error:
        raise StoreError(
            f"store {store_path}: cannot write {KEPT}/{kept.name}: {os.strerror(error.errno or 0)}"
        ) from error


def all_kept(store_path: Path) -> tuple[list[Kept], dict[str, str]]:
    """What was asked for, oldest first; and the names of those that are damaged, with the reason."""
    found: list[Kept] = []
    faults: dict[str, str] = {}
    for path in sorted((store_path / KEPT).glob("[!.]*.json")):
        try:
            found.append(kept_from(path.read_bytes(), path.stem))
        except OSError as error:
            faults[path.stem] = os.strerror(error.errno or 0)
        except ValueError as error:
            faults[path.stem] = str(error)
        except (KeyError, TypeError):
            faults[path.stem] = "not a kept study of this program"
    return sorted(found, key=lambda kept: (kept.made, kept.name)), faults


def check_name(store_path: Path, name: str) -> None:
    """Refuse the name of a kept study that is not there; a damaged one is.

    Raises:
        InputError: there is none of this name.
    """
    if not (NAME.fullmatch(name) and _place(store_path, name).is_file()):
        raise InputError(f"store {store_path}: found no kept study '{name}', expected one of `ls --studies`")


def drop(store_path: Path, name: str) -> None:
    """Forget that something was asked for; its results stay until gc.

    Raises:
        InputError: there is none of this name.
        StoreError: it cannot be removed.
    """
    check_name(store_path, name)
    try:
        _place(store_path, name).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"store {store_path}: cannot remove {KEPT}/{name}: {os.strerror(error.errno or 0)}") from error


def kept_from(text: bytes, name: str) -> Kept:
    """A kept study from the content of its file, checked.

    Raises:
        ValueError, KeyError, TypeError: it is not what was written, or newer than this program.
    """
    content = load_json(text, f"{name}.json")
    if content["format"] > FORMAT:
        raise NewerError(f"found format {content['format']}, expected at most {FORMAT}: newer than this program")
    found = Kept(
        title=content["title"],
        about=content["about"],
        goals=tuple(content["goals"]),
        steps=tuple(content["steps"]),
        studies=tuple(content["studies"]),
    )
    if found.name != name:
        raise ValueError(f"belongs to {found.name}")
    return found


def _place(store_path: Path, name: str) -> Path:
    return store_path / KEPT / f"{name}.json"


def _content(kept: Kept, *, timeless: bool = False) -> dict[str, Any]:
    about = {name: value for name, value in kept.about.items() if not (timeless and name == "made")}
    return {
        "format": FORMAT,
        "title": kept.title,
        "about": about,
        "goals": list(kept.goals),
        "steps": list(kept.steps),
        "studies": [dict(study) for study in kept.studies],
    }
