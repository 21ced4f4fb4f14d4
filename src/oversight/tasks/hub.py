"""A data set of the Hugging Face Hub becomes a task, through the `datasets` library."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import socket
import sys
import threading
import warnings
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

from oversight.errors import InputError
from oversight.tasks.build import build_task
from oversight.tasks.columns import FIND, Columns
from oversight.tasks.joining import USUAL, NearDuplicates
from oversight.tasks.records import Records, arrow_records, bad, collect, one_line, shown
from oversight.tasks.task import Task

PREFIX = "hf:"
FORM = "hf:org/name[:config][@revision]"
UNREACHED = {"ConnectError", "ConnectTimeout", "LocalEntryNotFoundError", "OfflineModeIsEnabled", "ReadTimeout"}
MOST_CHARACTERS = 300
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
CONNECT_SECONDS = 5

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Address:
    """A data set on the Hub, or a local directory laid out like one."""

    path: str
    config: str | None
    revision: str | None


def load_hub(spec: str, *, columns: Columns = FIND, strict: bool = False, near: NearDuplicates = USUAL) -> Task:
    """Load a task from the Hub: split `train`, and as the test `test`, else `validation`, else a cut of `train`.

    The data set's own code never runs. The task's version is the resolved commit where that can be had.

    Args:
        spec: `hf:org/name[:config][@revision]`.
        columns: what the user named; the rest is found.
        strict: whether a row that stands in both train and test is an error.
        near: what is done about near-duplicates.

    Raises:
        InputError: `datasets` is not installed, the Hub cannot be reached, or the data set is not there or not a task.
    """
    address = parse_address(spec)
    try:
        datasets = importlib.import_module("datasets")
    except ImportError:
        expected = "the extra: pip install 'oversight[hub]'"
        raise InputError(f"{one_line(spec)}: found no library 'datasets'; needs {expected}") from None
    with _quiet(datasets):
        try:
            with _without_retries(datasets):
                splits, licence, version = _load(datasets, address)
        except Exception as error:  # whatever the library raises, the user gets one line
            raise _explained(spec, address, error) from None
        train, test, notes = _parts(spec, splits)
    task = build_task(spec, train, test, columns=columns, strict=strict, source=spec, near=near)
    return replace(task, version=version, licence=licence, warnings=(*notes, *task.warnings))


def parse_address(spec: str) -> Address:
    """The parts of `hf:org/name[:config][@revision]`.

    Example:
        >>> parse_address("hf:nyu-mll/glue:cola@main")
        Address(path='nyu-mll/glue', config='cola', revision='main')
    """
    rest, at, revision = spec.removeprefix(PREFIX).partition("@")
    path, colon, config = rest.partition(":")
    if not spec.startswith(PREFIX) or not path or (at and not revision) or (colon and not config):
        raise InputError(f"found the data set {shown(spec)}, expected {FORM}")
    return Address(path, config or None, revision or None)


def _load(datasets: Any, address: Address) -> tuple[Mapping[str, Any], str, str]:
    """The splits, the licence and the commit of a data set; downloads what is not in the cache."""
    maker = datasets.load_dataset_builder
    no_code = {"trust_remote_code": False} if "trust_remote_code" in inspect.signature(maker).parameters else {}
    builder = maker(address.path, name=address.config, revision=address.revision, **no_code)
    builder.download_and_prepare()
    commit = _COMMIT.fullmatch(str(builder.hash or "")) or _COMMIT.fullmatch(address.revision or "")
    return builder.as_dataset(), str(builder.info.license or ""), commit.group() if commit else ""


def _parts(spec: str, splits: Mapping[str, Any]) -> tuple[Records, Records | None, list[str]]:
    """The records of train and of the test, and the warning that says which split the test is."""
    if "train" not in splits:
        raise bad(spec, found=f"the splits {', '.join(splits)}", expected="a split train")
    train = _records(spec, splits, "train")
    if "test" in splits:
        return train, _records(spec, splits, "test"), []
    if "validation" in splits:
        return train, _records(spec, splits, "validation"), ["no split test: the split validation is the test"]
    return train, None, []


def _records(spec: str, splits: Mapping[str, Any], split: str) -> Records:
    batches: Iterator[Any] = iter(splits[split].with_format("arrow")[:].to_batches())
    return collect(f"{spec}/{split}", enumerate(chain.from_iterable(map(arrow_records, batches)), 1))


@contextmanager
def _quiet(datasets: Any) -> Generator[None]:
    """Nothing of the libraries on stdout; progress bars on stderr only if that is a terminal."""
    hub: Any = importlib.import_module("huggingface_hub")
    loggings = (datasets.logging, hub.logging)
    levels = [logging.get_verbosity() for logging in loggings]
    bars = [module for module in (datasets.utils, hub.utils) if not module.are_progress_bars_disabled()]
    silenced = [] if sys.stderr.isatty() else bars
    with warnings.catch_warnings(), redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        for logging in loggings:
            logging.set_verbosity_error()
        for module in silenced:
            module.disable_progress_bars()
        try:
            yield
        finally:
            for logging, level in zip(loggings, levels, strict=True):
                logging.set_verbosity(level)
            for module in silenced:
                module.enable_progress_bars()


@contextmanager
def _without_retries(datasets: Any) -> Generator[None]:
    """Where the Hub cannot be reached, only the cache is asked: the libraries would try again for half a minute."""
    hub: Any = importlib.import_module("huggingface_hub")
    switches = [module for module in (getattr(datasets, "config", None), getattr(hub, "constants", None)) if module]
    online = [module for module in switches if not module.HF_HUB_OFFLINE]
    if online and _reachable(hub.constants.ENDPOINT):
        online = []
    for module in online:
        module.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for module in online:
            module.HF_HUB_OFFLINE = False


def _reachable(endpoint: str) -> bool:
    """Whether a connection opens in time; behind a proxy nothing is tried."""
    address = urlsplit(endpoint)
    if any(os.environ.get(name) for name in PROXIES) or not address.hostname:
        return True
    opened = threading.Event()

    def connect() -> None:
        port = address.port or (80 if address.scheme == "http" else 443)
        try:
            socket.create_connection((address.hostname, port), timeout=CONNECT_SECONDS).close()
        except OSError:
            return
        opened.set()

    attempt = threading.Thread(target=connect, daemon=True)  # a silent name server is not bound by the timeout
    attempt.start()
    attempt.join(CONNECT_SECONDS)
    return opened.is_set()


def _explained(spec: str, address: Address, error: BaseException) -> InputError:
    """One line for whatever `datasets` raised."""
    causes = _causes(error)
    if any(isinstance(cause, ConnectionError) or type(cause).__name__ in UNREACHED for cause in causes):
        copied = f"huggingface-cli download --repo-type dataset {one_line(address.path)} --local-dir DIR"
        expected = (
            f"a network, or a copy: where there is a network run '{copied}' ('hf download' in newer versions) and give "
            "hf:DIR here, or save train.parquet and test.parquet and give their directory; "
            "HF_HUB_OFFLINE=1 skips the attempt to connect"
        )
        return bad(spec, found="no way to the Hub and no copy in the cache", expected=expected)
    said = " ".join(str(error).split())
    said = said if len(said) <= MOST_CHARACTERS else f"{said[:MOST_CHARACTERS]}..."
    expected = f"a data set that the library can load, as {FORM}; a private one needs 'huggingface-cli login'"
    return bad(spec, found=one_line(f"{type(error).__name__} ({said})"), expected=expected)


def _causes(error: BaseException | None) -> list[BaseException]:
    """The error and those that it came from."""
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes
