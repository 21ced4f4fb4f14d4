"""Models, networks and disks that fail a new user: one line that says what to mend, and nothing left behind."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

BOW = ("--weak", "bow", "--strong", "bow", "--seeds", "2")
CLOSED = "http://127.0.0.1:9"  # nobody listens there
Tree = Callable[[], dict[str, tuple[int, int]]]


# Directories of models

WEIGHTS = save({"w": np.zeros((4, 4), np.float32)})
MODEL: dict[str, bytes] = {
    "config.json": b'{"model_type": "bert", "num_hidden_layers": 2}',
    "tokenizer.json": b"{}",
    "model.safetensors": WEIGHTS,
}
DAMAGE: dict[str, tuple[dict[str, bytes | None], str]] = {
    "empty": (dict.fromkeys(MODEL), "model: found no config.json"),
    "no weights": ({"model.safetensors": None}, "model: found no weights, expected *.safetensors"),
    "no tokenizer": ({"tokenizer.json": None}, "model: found no tokenizer"),
    "truncated weights": (
        {"model.safetensors": WEIGHTS[:-10]},
        f"model: found a damaged model.safetensors ({len(WEIGHTS) - 10} bytes where its header says {len(WEIGHTS)})",
    ),
    "other bytes as weights": (
        {"model.safetensors": b"garbage" * 100},
        "model: found a damaged model.safetensors (no whole header)",
    ),
    "a pointer instead of weights": (
        {"model.safetensors": b"version https://git-lfs.github.com/spec/v1\n"},
        "model: found a damaged model.safetensors (no whole header)",
    ),
    "an empty file as weights": ({"model.safetensors": b""}, "model: found a damaged model.safetensors (no whole"),
    "a header that is not JSON": (
        {"model.safetensors": (4).to_bytes(8, "little") + b"{oo}"},
        "model: found a damaged model.safetensors (a header that is not JSON)",
    ),
    "a config that is not JSON": (
        {"config.json": b"{oops"},
        "model: found a damaged config.json (not a JSON object)",
    ),
    "a tokenizer that is not JSON": (
        {"tokenizer.json": b"<html>not found</html>"},
        "model: found a damaged tokenizer.json (not a JSON object)",
    ),
}


@pytest.mark.usefixtures("good")
@pytest.mark.parametrize("case", DAMAGE)
def test_a_model_directory_that_cannot_be_used(case: str, place: Path, refused: Callable[..., str]) -> None:
    changes, expected = DAMAGE[case]
    (place / "model").mkdir()
    for name, content in (MODEL | changes).items():
        if content is not None:
            (place / "model" / name).write_bytes(content)
    assert refused("w2s", "good.jsonl", "--weak", "bow", "--strong", "model@1").startswith(expected)


# The network, really without one: nobody listens where the Hub should be.


@pytest.mark.usefixtures("good")
def test_a_hub_model_without_network_says_what_to_do(place: Path, tree: Tree, console: Callable[..., Any]) -> None:
    """The limit on time is what a user waits; the libraries alone try again for half a minute and longer."""
    before = tree()
    env = {"HF_ENDPOINT": CLOSED, "HF_HOME": str(place.parent / "hub")}
    said = console("w2s", "good.jsonl", "--weak", "bow", "--strong", "org/name@2", env=env, timeout=20)
    assert (said.code, said.out, len(said.err.splitlines())) == (2, "", 1), said
    assert said.err.startswith("oversight: org/name: no such local directory, and the Hub cannot be reached")
    assert "hf download org/name --local-dir DIR" in said.err
    assert tree() == before


def test_a_hub_data_set_without_network_says_what_to_do(place: Path, tree: Tree, console: Callable[..., Any]) -> None:
    pytest.importorskip("datasets", reason="the extra `hub` is not installed")
    env = {"HF_ENDPOINT": CLOSED, "HF_HOME": str(place.parent / "hub")}
    said = console("w2s", "hf:org/name", *BOW, env=env, timeout=20)
    assert (said.code, said.out, len(said.err.splitlines())) == (2, "", 1), said
    assert said.err.startswith("oversight: hf:org/name: found no way to the Hub and no copy in the cache")
    assert "give hf:DIR here" in said.err
    assert tree() == {}


# Places to write


@pytest.mark.usefixtures("good")
def test_a_store_below_a_file(refused: Callable[..., str]) -> None:
    line = refused("w2s", "good.jsonl", *BOW, "--store", "good.jsonl/store")
    assert line.startswith("--store good.jsonl/store: found the file ") and line.endswith("expected a directory")


@pytest.mark.usefixtures("good")
def test_the_environments_store_is_checked_too(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERSIGHT_STORE", "good.jsonl")
    assert refused("w2s", "good.jsonl", *BOW) == "--store good.jsonl: found a file, expected a directory"


@pytest.mark.usefixtures("good")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_places_without_permission_are_found_before_anything_is_computed(
    place: Path, refused: Callable[..., str]
) -> None:
    (place / "locked").mkdir(mode=0o500)
    assert "permission" in refused("w2s", "good.jsonl", *BOW, "--report", "locked/r.html")
    assert "permission" in refused("w2s", "good.jsonl", *BOW, "--store", "locked/store")


@pytest.mark.usefixtures("good")
def test_the_demo_refuses_an_output_directory_that_is_a_file(refused: Callable[..., str]) -> None:
    assert refused("demo", "--out", "good.jsonl") == "--out good.jsonl: found a file, expected a directory"


@pytest.mark.parametrize("words", ["ls", "show abc", "verify"])
def test_what_reads_a_store_needs_one(words: str, refused: Callable[..., str]) -> None:
    line = refused(*words.split(), "--store", "none")
    assert line == "--store none: found no such directory, expected one that holds results"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--gap 0 --n-test 100", "--gap: found 0.0, expected a number from "),
        ("--gap 0.1 --n-test 1", "--n-test: found 1, expected a number from 2 to "),
        ("--gap 0.1 --n-test 100 --seeds 0", "seeds: found 0, expected a number from 1 to 100"),
        ("--gap 0.1", "power: found no --from, expected --gap and --n-test, or a pilot by --from STORE"),
    ],
)
def test_power_names_the_range(words: str, expected: str, refused: Callable[..., str]) -> None:
    assert refused("power", *words.split()).startswith(expected)


def test_a_command_that_does_not_exist(refused: Callable[..., str]) -> None:
    assert refused("ws2").startswith("No such command 'ws2'")


# The installed command, for the errors that matter most


@pytest.mark.usefixtures("good")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("w2s none.jsonl --weak bow --strong bow", "none.jsonl: found no such file"),
        ("w2s good.jsonl --weak bow --strong bow --method naif", "unknown method 'naif': did you mean 'naive'?"),
        ("w2s good.jsonl --weak bow --strong bow --report none/r.html", "none/r.html: found no folder 'none'"),
        ("w2s good.jsonl --weak bow", "Missing option '--strong'; see oversight w2s --help"),
    ],
)
def test_the_installed_command_refuses_in_one_line(
    words: str, expected: str, tree: Tree, console: Callable[..., Any]
) -> None:
    before = tree()
    said = console(*words.split())
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"oversight: {expected}") and said.err.count("\n") == 1
    assert tree() == before


# A full disk: files may not grow beyond a limit, so that writing fails as it does on a full disk.


@pytest.mark.usefixtures("good")
@pytest.mark.parametrize(
    ("limit", "studies", "ending"),
    [(100, 0, ": File too large"), (4000, 1, ": File too large; nothing was kept of this step")],
)
def test_a_full_disk_stops_in_one_line_and_nothing_half_written_is_believed(
    limit: int, studies: int, ending: str, place: Path, console: Callable[..., Any], oversight: Callable[..., Any]
) -> None:
    """Not even what is asked for fits in 100 bytes; in 4,000 the models' steps do, that of the scores does not."""
    words = ("w2s", "good.jsonl", *BOW, "--json")

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    said = console(*words, preexec_fn=full)
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1), said
    assert said.err.startswith("oversight: store oversight-store: cannot write ")
    assert said.err.endswith(f"{ending}\n")
    if studies:
        kept = oversight("verify", "--json").json
        assert (kept["results"], kept["damaged"], kept["studies"]) == (7, {}, 1)
    assert list((place / "oversight-store").glob("??/.*")) == []

    whole = oversight(*words)
    assert (whole.code, whole.err) == (0, "")
    mended, anew = whole.json, oversight(*words, "--store", "fresh").json
    found = mended.pop("from_store")
    assert (found and found["steps"]) == (7 if studies else None) and anew.pop("from_store") is None
    assert mended == anew
