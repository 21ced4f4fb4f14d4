"""A user's empty directory, texts to put there, and the command line called in it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

GOOD, BAD = ("good", "fine", "warm", "kind"), ("bad", "poor", "cold", "rude")
COMMON = ("the", "a", "it", "was", "so", "very", "room", "food", "and", "we", "they", "then")
WORDS = ("bad", "good", "cold", "warm", *COMMON)
NETWORKS = {"gpt2": "GPT2Config", "llama": "LlamaConfig", "bert": "BertConfig", "mpnet": "MPNetConfig"}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@dataclass(frozen=True)
class Said:
    """What a command left behind: exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as one JSON object, without NaN or Infinity."""

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} in JSON")

        return json.loads(self.out, parse_constant=refuse)

    @property
    def numbers(self) -> Any:
        """`json` of one study as the first run gives it, which finds nothing in the store."""
        return {**self.json, "from_store": None}


def pytest_configure() -> None:
    """A suite that a shell runs in the background inherits an ignored Ctrl-C, and so would every command under test."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def reviews_of() -> Callable[..., list[dict[str, Any]]]:
    """reviews_of(200, seed=0) -> records of text and label; four rows in five carry the word of their class."""

    def make(n: int, *, seed: int = 0, right: float = 0.8) -> list[dict[str, Any]]:
        draw = random.Random(seed)
        rows: list[dict[str, Any]] = []
        for i in range(n):
            label = i % 2
            words = GOOD if (draw.random() < right) == bool(label) else BAD
            text = " ".join([draw.choice(words), *draw.choices(COMMON, k=4), f"s{seed}n{i}"])
            rows.append({"text": text, "label": label})
        return rows

    return make


@pytest.fixture(scope="session")
def write_lines() -> Callable[[Path, Sequence[Mapping[str, Any]]], Path]:
    """write_lines(path, records) -> the path of a JSON lines file, its folders made."""

    def write(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
        return path

    return write


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to stand in, no store named in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OVERSIGHT_STORE", raising=False)
    return tmp_path


@pytest.fixture
def oversight(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """oversight("w2s", "a.jsonl", ...) -> what the command says, run in this process."""
    from oversight.cli import run

    def call(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["oversight", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            run()
        said = capsys.readouterr()
        return Said(int(left.value.code or 0), said.out, said.err)

    return call


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Of a command of its own: one thread, no proxy, no store named."""
    kept = {name: value for name, value in os.environ.items() if name not in {*PROXIES, "OVERSIGHT_STORE"}}
    return kept | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


@pytest.fixture(scope="session")
def executable() -> str:
    """The console command as it was installed."""
    path = Path(sys.executable).with_name("oversight")
    if not path.is_file():
        pytest.skip("the console command is not installed beside this Python")
    return str(path)


@pytest.fixture
def console(place: Path, environment: dict[str, str], executable: str) -> Callable[..., Said]:
    """console("w2s", ..., env={}) -> what the installed command says, run as a process of its own."""

    def call(*words: str, env: Mapping[str, str] | None = None, timeout: float = 120, **options: Any) -> Said:
        done = subprocess.run(
            [executable, *words],
            cwd=place,
            env=environment | dict(env or {}),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **options,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def tree(place: Path) -> Callable[[], dict[str, tuple[int, int]]]:
    """tree() -> every path below the directory with its time of change and size."""
    return lambda: {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(place.rglob("*"))}


@pytest.fixture
def refused(tree: Callable[[], dict[str, tuple[int, int]]], oversight: Callable[..., Said]) -> Callable[..., str]:
    """refused("w2s", ...) -> the one line, after checking that nothing else happened."""

    def call(*words: str) -> str:
        before = tree()
        said = oversight(*words)
        lines = said.err.splitlines()
        assert (said.code, said.out, len(lines)) == (2, "", 1), said
        assert lines[0].startswith("oversight: ") and lines[0].isprintable(), lines
        assert tree() == before
        return lines[0].removeprefix("oversight: ")

    return call


@pytest.fixture
def good(
    place: Path, reviews_of: Callable[..., list[dict[str, Any]]], write_lines: Callable[..., Path]
) -> list[dict[str, Any]]:
    """200 rows that are fine, as records and as good.jsonl."""
    rows = reviews_of(200)
    write_lines(place / "good.jsonl", rows)
    return rows


@pytest.fixture
def data(place: Path, reviews_of: Callable[..., list[dict[str, Any]]], write_lines: Callable[..., Path]) -> Path:
    """160 rows as data.jsonl, in the directory in which one stands."""
    return write_lines(place / "data.jsonl", reviews_of(160))


@pytest.fixture
def published(place: Path) -> Callable[..., dict[str, int]]:
    """published(store) -> the results of a store as they lie on disk: key and time of the record."""

    def look(store: str = "oversight-store") -> dict[str, int]:
        records = (place / store).glob("??/[!.]*/record.json")
        return {path.parent.name: path.stat().st_mtime_ns for path in records}

    return look


@pytest.fixture(scope="session")
def planted_rows() -> Callable[..., list[dict[str, Any]]]:
    """planted_rows(400, seed=0) -> records whose class is the word good or bad, somewhere before the last word.

    The last word, warm or cold, agrees with the class in `hint` of the rows: all that a decoder without blocks sees.
    """

    def make(n: int, *, seed: int = 0, hint: float = 0.75) -> list[dict[str, Any]]:
        draw = random.Random(f"planted {seed}")
        rows: dict[str, int] = {}
        while len(rows) < n:
            label = draw.randrange(2)
            words = draw.choices(COMMON, k=5)
            words.insert(draw.randrange(6), WORDS[label])
            words.append(WORDS[2 + (label if draw.random() < hint else 1 - label)])
            rows[" ".join(words)] = label
        return [{"text": text, "label": label} for text, label in rows.items()]

    return make


@pytest.fixture(scope="session")
def save_tiny() -> Callable[..., Path]:
    """save_tiny(path, "gpt2", seed=0) -> path of a network of two blocks of width 32, with random weights."""

    def save(path: Path, family: str = "gpt2", *, seed: int = 0) -> Path:
        import torch
        import transformers
        from tokenizers import Tokenizer, models, pre_tokenizers

        from oversight.models.network import quiet_transformers

        known = {word: i for i, word in enumerate(("<pad>", "<unk>", *WORDS))}
        tokenizer = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
        config = getattr(transformers, NETWORKS[family])(
            vocab_size=len(known),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            max_position_embeddings=66,
            initializer_range=0.15,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=None,
        )
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            transformers.AutoModel.from_config(config).save_pretrained(path)
            named = {"pad_token": "<pad>", "unk_token": "<unk>"}
            transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(path)
        return path

    return save
