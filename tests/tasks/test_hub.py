"""`hf:` without a network: addresses, local directories laid out like the Hub's, and every failure as one line."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from oversight.errors import InputError
from oversight.tasks import hub
from oversight.tasks.columns import Columns
from oversight.tasks.files import load_files
from oversight.tasks.joining import IGNORED

Write = Callable[..., Path]

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def numbered(start: int, stop: int) -> list[dict[str, Any]]:
    return [
        {"text": f"text {i}", "label": i % 2, "meta": {"title": f"t{i // 2}"}, "vector": [1.0, float(i)]}
        for i in range(start, stop)
    ]


@pytest.fixture
def repository(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """repository(train=(0, 30), test=(30, 40)) -> `hf:` and a directory in the layout of the Hub."""
    datasets = pytest.importorskip("datasets", reason="the extra `hub` is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def make(**splits: tuple[int, int]) -> str:
        for split, (start, stop) in splits.items():
            write(f"repo/data/{split}-00000-of-00001.parquet", numbered(start, stop))
        return f"hf:{tmp_path}/repo"

    return make


def refused(spec: str, **columns: str) -> str:
    with pytest.raises(InputError) as caught:
        hub.load_hub(spec, columns=Columns(**columns))
    line = str(caught.value)
    assert line.isprintable(), f"not one line: {line!r}"
    return line


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("hf:org/name", ("org/name", None, None)),
        ("hf:org/name:cola", ("org/name", "cola", None)),
        ("hf:org/name@main", ("org/name", None, "main")),
        ("hf:org/name:cola@refs/pr/1", ("org/name", "cola", "refs/pr/1")),
    ],
)
def test_addresses(spec: str, parts: tuple[str | None, ...]) -> None:
    address = hub.parse_address(spec)
    assert (address.path, address.config, address.revision) == parts


@pytest.mark.parametrize("spec", ["org/name", "hf:", "hf:@main", "hf::cola", "hf:org/name@", "hf:org/name:", "hf:a:@b"])
def test_addresses_that_are_none(spec: str) -> None:
    assert refused(spec) == f"found the data set '{spec}', expected hf:org/name[:config][@revision]"


def test_train_and_test(repository: Callable[..., str], write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    spec = repository(train=(0, 30), test=(30, 40), validation=(40, 50))
    task = hub.load_hub(spec, columns=Columns(group="meta.title"), near=IGNORED)
    assert capfd.readouterr().out == ""
    write("d/train.jsonl", numbered(0, 30))
    same = load_files(write("d/test.jsonl", numbered(30, 40)).parent, columns=Columns(group="meta.title"), near=IGNORED)
    assert task.fingerprint == same.fingerprint
    assert (task.name, task.source, task.version, task.warnings) == (spec, spec, "", ())


def test_validation_stands_in_for_the_test(repository: Callable[..., str]) -> None:
    spec = repository(train=(0, 30), validation=(30, 40))
    task = hub.load_hub(spec, columns=Columns(group="meta.title"), near=IGNORED)
    assert task.is_test is not None and task.is_test.sum() == 10
    assert task.warnings == ("no split test: the split validation is the test",)


def test_train_alone_is_cut_later(repository: Callable[..., str]) -> None:
    assert hub.load_hub(repository(train=(0, 30))).is_test is None


def test_no_train(repository: Callable[..., str]) -> None:
    spec = repository(test=(0, 30), validation=(30, 40))
    assert refused(spec) in {
        f"{spec}: found the splits {splits}, expected a split train"
        for splits in ("test, validation", "validation, test")
    }


def test_overlap_is_refused_as_with_files(repository: Callable[..., str]) -> None:
    spec = repository(train=(0, 30), test=(28, 48))
    assert refused(spec) == (
        f"{spec}/train: found 2 of 20 test rows here too (rows 29, 30), expected at most 5% of the test rows"
    )


def test_a_bad_row_names_split_and_record(repository: Callable[..., str]) -> None:
    spec = repository(train=(0, 30))
    assert refused(spec, label="vector").replace("item", "element") == (
        f"{spec}/train:1: found the label list<element: double>, expected a class: an integer or a string"
    )


def test_a_directory_without_data(tmp_path: Path, repository: Callable[..., str]) -> None:
    (tmp_path / "empty").mkdir()
    line = refused(f"hf:{tmp_path}/empty")
    assert line.startswith(f"hf:{tmp_path}/empty: found ")
    assert "expected a data set that the library can load, as hf:org/name[:config][@revision]" in line


def test_without_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert refused("hf:org/name") == (
        "hf:org/name: found no library 'datasets'; needs the extra: pip install 'oversight[hub]'"
    )


class Fake:
    """What of `datasets` is used, with one answer."""

    def __init__(self, answer: Exception | dict[str, Any], *, commit: str = "") -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answer = answer
        self.commit = commit
        self.bars = True

    def load_dataset_builder(self, path: str, trust_remote_code: bool | None = None, **options: Any) -> Any:
        self.asked.append((path, {**options, "trust_remote_code": trust_remote_code}))
        print("a library that talks")
        if isinstance(self.answer, Exception):
            raise self.answer
        info = SimpleNamespace(license="mit")
        return SimpleNamespace(
            hash=self.commit, info=info, download_and_prepare=lambda: None, as_dataset=lambda: self.answer
        )

    @property
    def logging(self) -> Any:
        return SimpleNamespace(get_verbosity=lambda: 30, set_verbosity_error=lambda: None, set_verbosity=lambda _: None)

    @property
    def utils(self) -> Any:
        return SimpleNamespace(
            are_progress_bars_disabled=lambda: not self.bars,
            disable_progress_bars=lambda: setattr(self, "bars", False),
            enable_progress_bars=lambda: setattr(self, "bars", True),
        )


def fake(monkeypatch: pytest.MonkeyPatch, answer: Exception | dict[str, Any], *, commit: str = "") -> Fake:
    datasets, client = Fake(answer, commit=commit), Fake({})
    monkeypatch.setitem(sys.modules, "datasets", datasets)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "huggingface_hub", client)  # type: ignore[arg-type]
    return datasets


class Split:
    """A split of `datasets` over an Arrow table."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def with_format(self, name: str) -> Split:
        assert name == "arrow"
        return self

    def __getitem__(self, part: slice) -> Any:
        import pyarrow as pa

        return pa.Table.from_pylist(self.rows[part])


def test_the_commit_the_licence_and_what_was_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    library = fake(monkeypatch, {"train": Split(numbered(0, 10))}, commit=COMMIT)
    task = hub.load_hub("hf:org/name:cola@main", columns=Columns(group="meta.title"))
    assert (task.version, task.licence) == (COMMIT, "mit")
    assert library.asked == [("org/name", {"name": "cola", "revision": "main", "trust_remote_code": False})]
    assert library.bars
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("commit", "revision", "version"), [("", COMMIT, COMMIT), ("e3b0c442", "main", ""), ("", "", "")]
)
def test_a_version_is_a_commit_or_nothing(
    monkeypatch: pytest.MonkeyPatch, commit: str, revision: str, version: str
) -> None:
    fake(monkeypatch, {"train": Split(numbered(0, 10))}, commit=commit)
    task = hub.load_hub("hf:org/name" + (f"@{revision}" if revision else ""), columns=Columns(group="meta.title"))
    assert task.version == version


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("no route"),
        caused(FileNotFoundError("x"), ConnectionError("y")),
        type("ConnectTimeout", (OSError,), {})(),
    ],
)
def test_no_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    fake(monkeypatch, error)
    assert refused("hf:org/name:cola@main") == (
        "hf:org/name:cola@main: found no way to the Hub and no copy in the cache, expected a network, or a copy: "
        "where there is a network run 'huggingface-cli download --repo-type dataset org/name --local-dir DIR' "
        "('hf download' in newer versions) and give hf:DIR here, or save train.parquet and test.parquet and give their "
        "directory; HF_HUB_OFFLINE=1 skips the attempt to connect"
    )


def test_whatever_the_library_says_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    library = fake(monkeypatch, ValueError("Config name is missing.\nPlease pick one among: ['a', 'b']\n" + "x" * 500))
    line = refused("hf:org/name")
    assert line.startswith(
        "hf:org/name: found ValueError (Config name is missing. Please pick one among: ['a', 'b'] xxx"
    )
    assert "xxx...), expected a data set that the library can load" in line
    assert library.bars


def test_offline_ends_within_seconds_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="the extra `hub` is not installed")
    code = (
        "from oversight.errors import InputError\n"
        "from oversight.tasks.hub import load_hub\n"
        "try: load_hub('hf:org/name')\n"
        "except InputError as error: print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert time.monotonic() - start < 20, "two seconds on an idle machine"
    assert done.stdout.startswith("hf:org/name: found no way to the Hub and no copy in the cache, expected a network")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
