"""docs/faults.md names tests that exist, and the guards of faults that have no other place."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.runs.store import DirectoryStore, Outcome
from oversight.sealed import ARRAYS, RECORD

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "faults.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
LONGEST_FILE, LONGEST_FUNCTION = 400, 90


def table(path: Path) -> list[list[str]]:
    """Cells of all rows of all tables but their heads."""
    lines = path.read_text("utf-8").splitlines()
    heads = {i + shift for i, line in enumerate(lines) if line.startswith("|---") for shift in (-1, 0)}
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for i, line in enumerate(lines)
        if line.startswith("|") and i not in heads
    ]


def names_in(path: Path) -> set[str]:
    """Names of the functions of a file."""
    return {one.name for one in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(one, ast.FunctionDef)}


def test_every_guard_that_is_named_exists() -> None:
    named = NAMED.findall(PAGE.read_text("utf-8"))
    assert len(named) > 80
    known = {path: names_in(ROOT / path) if (ROOT / path).is_file() else set[str]() for path, _ in named}
    assert [f"{path}::{name}" for path, name in named if name not in known[path]] == []


def test_every_fault_has_a_guard_or_a_reason_why_there_is_none() -> None:
    rows = table(PAGE)
    assert len(rows) > 55 and {len(row) for row in rows} == {3}
    without = [row[0] for row in rows if not any(NAMED.search(cell) for cell in row)]
    assert without == [row[0] for row in rows if row[2].startswith("does not apply: ")]


def test_a_guard_is_written_so_that_it_is_checked() -> None:
    """Whatever looks like the name of a test is one that the checks above read."""
    text = PAGE.read_text("utf-8")
    assert len(re.findall(r"\btest_\w+", NAMED.sub("", text))) == 1, "its own file, in the first lines"


def test_a_kept_result_is_read_without_pickle(tmp_path: Path) -> None:
    """Plain JSON and arrays in a format that holds numbers only: neither can run code when it is read."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    key, probs = "ab" + "0" * 62, np.arange(6.0).reshape(3, 2)
    DirectoryStore(tmp_path).put(key, Outcome(arrays={"probs": probs}, record={"n": 3}), about={})
    files = {path.name: path for path in tmp_path.rglob("*") if path.is_file()}
    assert set(files) >= {ARRAYS, RECORD}
    assert '"n":3' in json.dumps(json.loads(files[RECORD].read_text("utf-8")), separators=(",", ":"))
    assert (load_file(files[ARRAYS])["probs"] == probs).all()
    objects: Any = np.array([{"a": 1}], dtype=object)
    with pytest.raises(SafetensorError, match="object"):
        DirectoryStore(tmp_path).put("cd" + "1" * 62, Outcome(arrays={"a": objects}), about={})


def test_no_file_and_no_function_grows_without_limit() -> None:
    """Of a command, most lines are its options."""
    long: list[str] = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        text = path.read_text("utf-8")
        long += [path.name] if len(text.splitlines()) > LONGEST_FILE else []
        for one in ast.walk(ast.parse(text)):
            if isinstance(one, ast.FunctionDef) and (one.end_lineno or 0) - one.lineno >= LONGEST_FUNCTION:
                long.append(f"{path.name}: {one.name}")
    assert long == []


def test_the_defaults_that_finetuning_names_are_those_of_the_code() -> None:
    from oversight.models.finetune.classifier import TOKENS_AT_ONCE
    from oversight.models.finetune.recipe import FEWEST_EPOCHS, FEWEST_UPDATES, LORA_TIMES, RATES, Lora, Machine

    fields = {one.name: one.default for kind in (Machine, Lora) for one in dataclasses.fields(kind)}
    named: dict[str, str] = {}
    for names, defaults, *_ in table(ROOT / "docs" / "finetuning.md"):
        found = [name.strip("`") for name in names.split(", ")]
        if set(found) <= set(fields):
            each = [defaults] if len(found) == 1 else defaults.split(", ")
            named |= dict(zip(found, each * (len(found) if len(each) == 1 else 1), strict=True))
    below = ", ".join(f"{rate:.0e} below {most / 1e6:.0f}M" for most, rate in RATES[:-1]).replace("e-0", "e-")
    last = f"{RATES[-1][1]:.0e}".replace("e-0", "e-")
    told = {
        "lr": f"by size: {below.replace('50M,', '50M parameters,')}, else {last}; ten times that for LoRA",
        "epochs": f"max({FEWEST_EPOCHS}, ceil({FEWEST_UPDATES} · {Lora().batch_size} / n))",
        "alpha": "2 · rank",
        "targets": "all linear layers",
        "tokens_at_once": "{cpu:,} on a CPU, {cuda:,} on a GPU".format(**TOKENS_AT_ONCE),
    }
    assert LORA_TIMES == 10 and len(named) > 20
    assert {name: named[name] for name in told} == told
    assert all(fields[name] is None for name in told)
    for name in named.keys() - told.keys():
        value = fields[name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        assert (float(named[name]) == value) if number else named[name] == str(value).lower(), name
