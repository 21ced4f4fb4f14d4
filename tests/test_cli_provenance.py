"""What was found in the store is said to be: when it was made, by which version, with which libraries."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oversight import versions
from oversight.runs.store import DirectoryStore
from oversight.sealed import RECORD, dump_json, load_json

WORDS = ("w2s", "data.jsonl", "--weak", "bow", "--strong", "bow", "--seeds", "1", "--store", "kept")
TODAY = re.compile(r"from the store, made \d{4}-\d\d-\d\d by 0\.1\.0")


@pytest.fixture
def data(place: Path, planted_rows: Callable[..., Any], write_lines: Callable[..., Path]) -> Path:
    return write_lines(place / "data.jsonl", planted_rows(200))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Other versions of libraries, as though they had been installed."""
    known = versions.version

    def install(**wanted: str) -> None:
        monkeypatch.setattr(versions, "version", lambda name: wanted.get(name.replace("-", "_"), known(name)))
        versions._installed.cache_clear()  # pyright: ignore[reportPrivateUsage]

    return install


@pytest.fixture(autouse=True)
def forgotten() -> Any:
    yield
    versions._installed.cache_clear()  # pyright: ignore[reportPrivateUsage]


@pytest.mark.usefixtures("data")
def test_results_found_in_the_store_are_said_to_be(oversight: Callable[..., Any]) -> None:
    first, second = oversight(*WORDS), oversight(*WORDS)
    assert "from the store" not in first.out
    assert TODAY.search(second.out), second.out
    told = oversight(*WORDS, "--json").json["from_store"]
    assert (told["steps"], told["by"], told["other_patches"]) == (told["of"], ["0.1.0"], {})
    assert told["first_made"] <= told["last_made"]


@pytest.mark.usefixtures("data")
def test_what_is_found_in_part_is_counted(oversight: Callable[..., Any]) -> None:
    assert oversight(*WORDS, "--json").json["from_store"] is None
    more = oversight(*WORDS[:-3], "2", *WORDS[-2:])
    assert re.search(r"\d+ of \d+ steps from the store, made", more.out), more.out


@pytest.mark.usefixtures("data")
def test_another_minor_version_of_what_computed_it_is_computed_again(
    oversight: Callable[..., Any], installed: Callable[..., None]
) -> None:
    """Bags of words are scikit-learn's; nothing here is transformers', so that it does not count."""
    installed(scikit_learn="1.4.2", transformers="4.1.0")
    first = oversight(*WORDS, "--json").json
    installed(scikit_learn="1.5.0", transformers="4.2.0")
    second = oversight(*WORDS, "--json").json
    assert first["keys"]["weak"] != second["keys"]["weak"] and first["keys"]["rows"] == second["keys"]["rows"]
    installed(scikit_learn="1.4.2", transformers="9.0.0")
    assert oversight(*WORDS, "--json").json["keys"] == first["keys"]
    said = oversight("why-recompute", first["keys"]["weak"][0], second["keys"]["weak"][0], "--store", "kept")
    assert said.out == "supervise: config.libraries.scikit-learn: 1.4 | 1.5\n"


@pytest.mark.usefixtures("data")
def test_a_hit_across_patches_is_told(oversight: Callable[..., Any], installed: Callable[..., None]) -> None:
    installed(scikit_learn="1.4.1")
    key = oversight(*WORDS, "--json").json["keys"]["weak"][0]
    assert "1.4.1" not in oversight(*WORDS).out
    installed(scikit_learn="1.4.2")
    assert "computed with scikit-learn 1.4.1, here is 1.4.2" in oversight(*WORDS).out
    told = oversight(*WORDS, "--json").json["from_store"]["other_patches"]
    assert told == {"scikit-learn": {"stored": ["1.4.1"], "here": "1.4.2"}}
    said = oversight("why-recompute", key, key, "--store", "kept")
    assert said.out.splitlines() == [
        "the same result",
        "computed with scikit-learn 1.4.1, here is 1.4.2: patches are in no key",
    ]
    other = oversight(*WORDS, "--split-seed", "7", "--json").json["keys"]["weak"][0]
    said = oversight("why-recompute", key, other, "--store", "kept")
    assert "versions.scikit-learn: 1.4.1 | 1.4.2" in said.out


@pytest.mark.usefixtures("data")
def test_results_of_a_record_without_versions_are_by_an_unknown_one(oversight: Callable[..., Any]) -> None:
    oversight(*WORDS)
    store = DirectoryStore("kept")
    for key in list(store.keys()):
        path = store.folder(key) / RECORD
        content = load_json(path.read_bytes(), RECORD)
        path.write_bytes(dump_json({name: one for name, one in content.items() if name != "versions"}))
    assert "by an unknown version" in oversight(*WORDS).out


@pytest.mark.usefixtures("data")
def test_a_record_holds_the_versions_and_the_key_only_their_beginning(oversight: Callable[..., Any]) -> None:
    key = oversight(*WORDS, "--json").json["keys"]["weak"][0]
    record = json.loads(oversight("show", key, "--store", "kept").out)
    assert record["versions"]["oversight"] == "0.1.0"
    found = {name: versions.shortened(record["versions"][name]) for name in ("numpy", "scikit-learn")}
    assert record["config"]["libraries"] == found
