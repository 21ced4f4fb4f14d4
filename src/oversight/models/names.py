"""Names of models, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from oversight.errors import InputError
from oversight.models.backbone import POOLS


@dataclass(frozen=True, kw_only=True)
class ModelName:
    """The parts of `NAME[@DEPTH][#REVISION][#pool=POOL]`."""

    base: str
    depth: int | None = None
    revision: str | None = None
    pool: str | None = None


def parse_model(spec: str, *, folder: Path = Path()) -> ModelName:
    """Take a model name apart; `folder` is what a relative directory starts from.

    Raises:
        InputError: an option that does not exist.

    Example:
        >>> parse_model("org/name@4#main#pool=last")
        ModelName(base='org/name', depth=4, revision='main', pool='last')
    """
    base, *parts = spec.split("#")
    revision = pool = None
    depth: int | None = None
    texts = [base, *parts]
    for i, text in enumerate(texts):
        match = re.fullmatch(r"(.+)@(\d+)", text)
        if match:
            texts[i], depth = match[1], int(match[2])
    base, *parts = texts
    if "@" in base and not (folder / base).exists():
        raise InputError(f"model '{spec}': found '@{base.split('@', 1)[1]}', expected a depth such as @4")
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals:
            revision = part
        elif name == "pool" and value in POOLS:
            pool = value
        else:
            raise InputError(f"model '{spec}': found '#{part}', expected #pool={'|'.join(POOLS)} or a revision")
    return ModelName(base=base, depth=depth, revision=revision, pool=pool)
