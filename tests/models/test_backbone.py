"""Every family read at every depth, against the full network pooled with plain loops."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from oversight.errors import InputError
from oversight.models.backbone import POOLS, Backbone, Pool, resolve_precision
from oversight.models.checkpoint import DECODER_TYPES, Checkpoint, from_directory
from oversight.models.network import Network, find_blocks, load_tokenizer, quiet_transformers

CLOSE = 1e-5
N_BLOCKS = 3
DECODERS = frozenset(["gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma3", "opt", "phi"])
InFloat32 = Callable[..., Backbone]
MakeNetwork = Callable[..., Path]
Sentences = Callable[..., list[str]]


def full_model(checkpoint: Checkpoint) -> Any:
    """The whole network as transformers loads it."""
    from transformers import AutoModel

    with quiet_transformers():
        return AutoModel.from_pretrained(checkpoint.path, dtype=torch.float32).eval()


def naive_pool(states: npt.NDArray[np.float32], pool: Pool) -> npt.NDArray[np.float64]:
    """Pool the states (t, d) of one text without padding, one number at a time."""
    if pool == "cls":
        return np.array([float(x) for x in states[0]])
    if pool == "last":
        return np.array([float(x) for x in states[len(states) - 1]])
    return np.array([sum(float(x) for x in column) / len(column) for column in states.T])


def naive_states(model: Any, ids: Sequence[int]) -> list[npt.NDArray[np.float32]]:
    """Hidden states of one text alone at depth 0, 1, ..., the deepest after the final norm."""
    with torch.inference_mode():
        out = model(input_ids=torch.tensor([list(ids)]), output_hidden_states=True)
    return [*(state[0].numpy() for state in out.hidden_states[:-1]), out.last_hidden_state[0].numpy()]


def read(network: Network, texts: Sequence[str], depths: Sequence[int]) -> dict[int, npt.NDArray[np.float32]]:
    """All texts in one padded batch."""
    tokens = network.tokenize(texts)
    return network.pooled(tokens.ids, tokens.pad, depths)


def token_zero(network: Network) -> str:
    """What the tokenizer reads as token 0."""
    return str(network.tokenizer.convert_ids_to_tokens(0))


def n_parameters(modules: Any) -> int:
    """Numbers to learn."""
    return sum(parameter.numel() for parameter in modules.parameters())


@pytest.mark.parametrize("pool", POOLS)
def test_features_at_every_depth_equal_the_full_model_pooled_naively(
    checkpoint: Checkpoint, pool: Pool, in_float32: InFloat32, sentences: Sentences
) -> None:
    """The batch is padded, the reference sees every text alone and without a mask."""
    network = Network(in_float32(checkpoint, pool=pool), depth=N_BLOCKS)
    tokens = network.tokenize(sentences(8, seed=1))
    found = network.pooled(tokens.ids, tokens.pad, range(N_BLOCKS + 1))
    model = full_model(checkpoint)
    for i, ids in enumerate(tokens.ids):
        states = naive_states(model, ids)
        assert len(states) == N_BLOCKS + 1
        for depth, state in enumerate(states):
            np.testing.assert_allclose(found[depth][i], naive_pool(state, pool), rtol=0, atol=CLOSE)


@pytest.mark.parametrize("pool", POOLS)
def test_a_text_alone_and_in_a_batch_has_the_same_features(
    checkpoint: Checkpoint, pool: Pool, in_float32: InFloat32, sentences: Sentences
) -> None:
    network = Network(in_float32(checkpoint, pool=pool), depth=N_BLOCKS)
    texts = sentences(9, seed=2)
    together = read(network, texts, range(N_BLOCKS + 1))
    for i, text in enumerate(texts):
        alone = read(network, [text], range(N_BLOCKS + 1))
        for depth, values in alone.items():
            np.testing.assert_allclose(together[depth][i], values[0], rtol=0, atol=CLOSE)


@pytest.mark.parametrize("pool", POOLS)
def test_texts_full_of_token_zero_have_the_same_features_alone_and_padded(
    checkpoint: Checkpoint, pool: Pool, in_float32: InFloat32, sentences: Sentences
) -> None:
    """Token 0 is a word here, the padding token or the start of text there: the mask decides, never an id."""
    network = Network(in_float32(checkpoint, pool=pool), depth=N_BLOCKS)
    text = " ".join([token_zero(network)] * 5)
    assert network.tokenize([text]).ids[0].count(0) >= 5
    alone = read(network, [text], range(N_BLOCKS + 1))
    padded = read(network, [*sentences(4, seed=3, shortest=20), text], range(N_BLOCKS + 1))
    for depth, values in alone.items():
        np.testing.assert_allclose(padded[depth][-1], values[0], rtol=0, atol=CLOSE)


@pytest.mark.parametrize("pool", POOLS)
def test_texts_that_spell_the_padding_token_are_text(
    checkpoint: Checkpoint, pool: Pool, in_float32: InFloat32, sentences: Sentences
) -> None:
    network = Network(in_float32(checkpoint, pool=pool), depth=N_BLOCKS)
    filler = str(network.tokenizer.pad_token or network.tokenizer.eos_token)
    text = f"film {filler} good {filler} {filler}"
    tokens = network.tokenize([text])
    assert tokens.ids[0].count(tokens.pad) >= 3
    padded = read(network, [*sentences(4, seed=4, shortest=20), text], range(N_BLOCKS + 1))
    for depth, state in enumerate(naive_states(full_model(checkpoint), tokens.ids[0])):
        np.testing.assert_allclose(padded[depth][-1], naive_pool(state, pool), rtol=0, atol=CLOSE)


def test_the_final_norm_is_applied_at_full_depth_only(checkpoint: Checkpoint, in_float32: InFloat32) -> None:
    """A network cut at k gives what block k gives, also where k is its last block but not the model's."""
    cut = read(Network(in_float32(checkpoint), depth=2), ["the film was good"], [2])[2]
    whole = read(Network(in_float32(checkpoint), depth=N_BLOCKS), ["the film was good"], [2, 3])
    np.testing.assert_array_equal(cut, whole[2])


@pytest.mark.parametrize("depth", range(N_BLOCKS))
def test_blocks_beyond_the_depth_are_not_loaded(checkpoint: Checkpoint, depth: int, in_float32: InFloat32) -> None:
    """Depth 0 keeps one block, whose input is read; what is missing is exactly the blocks after it."""
    full = full_model(checkpoint)
    blocks = list(find_blocks(full, N_BLOCKS, of=N_BLOCKS))
    network = Network(in_float32(checkpoint, depth=depth), depth=depth)
    dropped = sum(n_parameters(block) for block in blocks[max(depth, 1) :])
    assert dropped > 0
    assert n_parameters(full) - n_parameters(network.model) == dropped


@pytest.mark.parametrize("depth", range(N_BLOCKS + 1))
def test_blocks_beyond_the_deepest_wanted_do_not_run(checkpoint: Checkpoint, depth: int, in_float32: InFloat32) -> None:
    network = Network(in_float32(checkpoint), depth=N_BLOCKS)
    ran: list[int] = []
    for i, block in enumerate(network.blocks):
        block.register_forward_hook(lambda *_, i=i: ran.append(i))
    read(network, ["the film was good"], [depth])
    assert ran == list(range(depth))


def test_hooks_are_gone_after_a_pass(gpt2: Checkpoint, in_float32: InFloat32) -> None:
    network = Network(in_float32(gpt2), depth=N_BLOCKS)
    read(network, ["the film was good"], [0, 2])
    assert not any(block._forward_hooks or block._forward_pre_hooks for block in network.blocks)


def test_padding_stands_on_the_right(gpt2: Checkpoint, in_float32: InFloat32) -> None:
    network = Network(in_float32(gpt2), depth=1)
    seen: dict[str, Any] = {}
    network.model.register_forward_pre_hook(lambda _m, _a, kwargs: seen.update(kwargs), with_kwargs=True)
    network.pooled([[5, 6, 7], [8]], 2, [1])
    assert seen["input_ids"].tolist() == [[5, 6, 7], [8, 2, 2]]
    assert seen["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_what_fills_the_padding_does_not_matter(
    checkpoint: Checkpoint, in_float32: InFloat32, sentences: Sentences
) -> None:
    network = Network(in_float32(checkpoint), depth=N_BLOCKS)
    tokens = network.tokenize(sentences(5, seed=5))
    one = network.pooled(tokens.ids, tokens.pad, [N_BLOCKS])[N_BLOCKS]
    other = network.pooled(tokens.ids, 7, [N_BLOCKS])[N_BLOCKS]
    np.testing.assert_allclose(one, other, rtol=0, atol=CLOSE)


def test_bfloat16_stays_near_float32(checkpoint: Checkpoint, in_float32: InFloat32, sentences: Sentences) -> None:
    """Cosine distance below 2e-3 at every depth: eight bits of mantissa, 2^-9 relative each, through three blocks."""
    texts = sentences(8, seed=6)
    exact = read(Network(in_float32(checkpoint), depth=N_BLOCKS), texts, range(N_BLOCKS + 1))
    network = Network(in_float32(checkpoint, precision="bfloat16"), depth=N_BLOCKS)
    network.cast()
    rough = read(network, texts, range(N_BLOCKS + 1))
    for depth, a in exact.items():
        a, b = a.astype(np.float64), rough[depth].astype(np.float64)
        cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert rough[depth].dtype == np.float32
        assert 0 < (1 - cosine).max() < 2e-3


def test_alone_and_padded_agree_in_bfloat16(
    checkpoint: Checkpoint, in_float32: InFloat32, sentences: Sentences
) -> None:
    """The stated bound in bf16: cosine distance below 1e-3 between a text alone and in a batch."""
    network = Network(in_float32(checkpoint, precision="bfloat16"), depth=N_BLOCKS)
    network.cast()
    texts = sentences(6, seed=7)
    together = read(network, texts, [N_BLOCKS])[N_BLOCKS].astype(np.float64)
    alone = np.concatenate([read(network, [text], [N_BLOCKS])[N_BLOCKS] for text in texts]).astype(np.float64)
    cosine = (together * alone).sum(1) / np.linalg.norm(together, axis=1) / np.linalg.norm(alone, axis=1)
    assert (1 - cosine).max() < 1e-3


def test_rotary_frequencies_stay_exact_in_bfloat16(stories: Checkpoint, in_float32: InFloat32) -> None:
    """Rounded to 8 bits a frequency near 1 would be off by up to 0.5 rad at position 256."""
    exact = dict(Network(in_float32(stories), depth=1).model.named_buffers())
    network = Network(in_float32(stories, precision="bfloat16"), depth=1)
    network.cast()
    rough = dict(network.model.named_buffers())
    assert exact
    assert all(torch.equal(exact[name], rough[name]) for name in exact)
    assert all(parameter.dtype == torch.bfloat16 for parameter in network.model.parameters())


def test_decoders_read_the_last_token_and_encoders_the_mean(
    checkpoint: Checkpoint, family: str, in_float32: InFloat32
) -> None:
    assert in_float32(checkpoint).pooling == ("last" if family in DECODERS else "mean")


def test_every_type_called_a_decoder_is_one_in_transformers() -> None:
    """It has a causal head and no masked one."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    assert set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) >= DECODER_TYPES
    assert DECODER_TYPES.isdisjoint(MODEL_FOR_MASKED_LM_MAPPING_NAMES)


@pytest.mark.parametrize(
    ("config", "pool"),
    [
        ({"model_type": "brand_new", "architectures": ["BrandNewForCausalLM"]}, "last"),
        ({"model_type": "brand_new", "architectures": ["BrandNewLMHeadModel"]}, "last"),
        ({"model_type": "brand_new", "architectures": ["BrandNewModel"]}, "mean"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "mean"),
        ({"model_type": "bert", "is_decoder": True}, "last"),
        ({"model_type": "llama", "architectures": None}, "last"),
        ({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}, "last"),
        ({"model_type": "gemma3_text", "use_bidirectional_attention": True}, "mean"),
    ],
)
def test_pooling_follows_what_the_network_was_made_for(tmp_path: Path, config: dict[str, Any], pool: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"num_hidden_layers": 1, **config}))
    assert Backbone(checkpoint=Checkpoint(name="new", path=tmp_path)).pooling == pool


def test_an_asked_for_pooling_wins(gpt2: Checkpoint, in_float32: InFloat32) -> None:
    assert in_float32(gpt2, pool="mean").pooling == "mean"


# Limits and odd texts


def test_long_texts_are_cut_counted_and_kept(bert: Checkpoint, in_float32: InFloat32) -> None:
    network = Network(in_float32(bert, max_tokens=6), depth=1)
    texts = ["the film", "the film was good", "the film was good but", "the film was good but dull and slow"]
    tokens = network.tokenize(texts)
    assert len(tokens.ids) == 4
    assert tokens.truncated.tolist() == [False, False, True, True]
    assert [len(ids) for ids in tokens.ids] == [4, 6, 6, 6]


def test_a_cut_text_keeps_its_special_tokens(bert: Checkpoint, in_float32: InFloat32) -> None:
    short = Network(in_float32(bert, max_tokens=6), depth=1).tokenize(["the film was good but dull"]).ids[0]
    long = Network(in_float32(bert), depth=1).tokenize(["the film was good but dull"]).ids[0]
    assert short == (*long[:5], long[-1])


def test_a_limit_without_room_for_text_is_refused(bert: Checkpoint, in_float32: InFloat32) -> None:
    with pytest.raises(InputError, match="limit of 2 tokens, expected more than the 2 special"):
        Network(in_float32(bert, max_tokens=2), depth=1).tokenize(["the film"])


def test_a_text_without_tokens_becomes_one_padding_token(gpt2: Checkpoint, in_float32: InFloat32) -> None:
    tokens = Network(in_float32(gpt2), depth=1).tokenize(["", "   ", "film"])
    assert tokens.ids[:2] == ((tokens.pad,), (tokens.pad,))
    assert not tokens.truncated.any()


@pytest.mark.parametrize("pool", POOLS)
def test_a_text_without_tokens_has_features_that_do_not_depend_on_its_company(
    checkpoint: Checkpoint, pool: Pool, in_float32: InFloat32, sentences: Sentences
) -> None:
    network = Network(in_float32(checkpoint, pool=pool), depth=N_BLOCKS)
    alone = read(network, [""], [N_BLOCKS])[N_BLOCKS][0]
    among = read(network, [*sentences(3, seed=8), ""], [N_BLOCKS])[N_BLOCKS][-1]
    assert np.isfinite(alone).all()
    np.testing.assert_allclose(among, alone, rtol=0, atol=CLOSE)


def test_no_texts_give_no_tokens(bert: Checkpoint, in_float32: InFloat32) -> None:
    assert Network(in_float32(bert), depth=1).tokenize([]).ids == ()


def test_a_tokenizer_without_padding_token_is_padded_with_its_end_of_text(
    gpt2: Checkpoint, in_float32: InFloat32
) -> None:
    network = Network(in_float32(gpt2), depth=1)
    assert network.tokenizer.pad_token is None
    assert network.tokenize(["film"]).pad == network.tokenizer.eos_token_id


def test_positions_of_the_network_limit_the_text(checkpoint: Checkpoint, in_float32: InFloat32) -> None:
    """Every tiny network has 64 usable positions; RoBERTa and MPNet have a table of 66 that is counted from 2."""
    network = Network(in_float32(checkpoint, max_tokens=10_000), depth=N_BLOCKS)
    tokens = network.tokenize(["film " * 200])
    assert len(tokens.ids[0]) == 64
    assert tokens.truncated.tolist() == [True]
    assert np.isfinite(network.pooled(tokens.ids, tokens.pad, [N_BLOCKS])[N_BLOCKS]).all()


def test_the_limit_of_the_tokenizer_counts(make_network: MakeNetwork, tmp_path: Path, in_float32: InFloat32) -> None:
    path = make_network(tmp_path / "m", "bert", max_length=20)
    assert len(Network(in_float32(from_directory(path)), depth=1).tokenize(["film " * 50]).ids[0]) == 20


def test_a_padding_token_that_the_network_does_not_know_is_not_used(
    make_network: MakeNetwork, tmp_path: Path, in_float32: InFloat32
) -> None:
    """Some tokenizers were given a padding token after training, beyond the embeddings."""
    path = make_network(tmp_path / "m", "gpt2")
    with quiet_transformers():
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(path)
        tokenizer.add_special_tokens({"pad_token": "<late>"})
        tokenizer.save_pretrained(path)
    network = Network(in_float32(from_directory(path)), depth=1)
    assert network.tokenizer.pad_token_id >= network.model.get_input_embeddings().num_embeddings
    assert np.isfinite(read(network, ["film", "the film was good"], [1])[1]).all()


def test_a_tokenizer_of_a_larger_network_is_refused(
    make_network: MakeNetwork, tmp_path: Path, in_float32: InFloat32
) -> None:
    path = make_network(tmp_path / "m", "gpt2", vocab_size=10)
    with pytest.raises(InputError, match="the network knows 10 tokens"):
        Network(in_float32(from_directory(path)), depth=1).tokenize(["good and warm"])


# What cannot be read


def test_an_encoder_decoder_is_refused(tmp_path: Path, families: Mapping[str, Path], in_float32: InFloat32) -> None:
    from transformers import T5Config, T5Model

    with quiet_transformers():
        T5Model(T5Config(vocab_size=60, d_model=16, d_kv=4, d_ff=16, num_layers=2, num_heads=2)).save_pretrained(
            tmp_path
        )
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((families["bert"] / name).read_bytes())
    with pytest.raises(InputError, match="encoder-decoder, expected an encoder or a decoder"):
        Network(in_float32(from_directory(tmp_path, name="t5")), depth=1)


def test_weights_that_cannot_be_read_give_one_line(
    make_network: MakeNetwork, tmp_path: Path, in_float32: InFloat32
) -> None:
    path = make_network(tmp_path / "m", "bert")
    (path / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"^broken: the weights cannot be loaded: ") as caught:
        Network(in_float32(Checkpoint(name="broken", path=path)), depth=1)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_that_cannot_be_read_gives_one_line(
    make_network: MakeNetwork, tmp_path: Path, in_float32: InFloat32
) -> None:
    path = make_network(tmp_path / "m", "bert")
    (path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"^broken: the tokenizer cannot be loaded: ") as caught:
        Network(in_float32(from_directory(path, name="broken")), depth=1)
    assert "\n" not in str(caught.value)


def test_an_architecture_that_transformers_does_not_know_gives_one_line(
    make_network: MakeNetwork, tmp_path: Path, in_float32: InFloat32
) -> None:
    path = make_network(tmp_path / "m", "bert")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "model_type": "unheard_of"}))
    with pytest.raises(InputError, match=r"^strange: .* cannot be loaded: ") as caught:
        Network(in_float32(from_directory(path, name="strange")), depth=1)
    assert "\n" not in str(caught.value)


def test_weights_that_lack_a_tensor_are_refused(
    make_network: MakeNetwork, tmp_path: Path, in_float32: InFloat32
) -> None:
    """Transformers would fill it with random numbers."""
    from safetensors.torch import load_file, save_file

    path = make_network(tmp_path / "m", "bert")
    tensors = load_file(path / "model.safetensors")
    del tensors["encoder.layer.0.output.dense.weight"]
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lack 1 tensors .* encoder.layer.0.output.dense.weight"):
        Network(in_float32(from_directory(path)), depth=1)


def test_weights_without_a_pooler_are_enough(make_network: MakeNetwork, tmp_path: Path, in_float32: InFloat32) -> None:
    """A masked language model saves none, and no feature passes through it."""
    from safetensors.torch import load_file, save_file

    path = make_network(tmp_path / "m", "bert")
    before = read(Network(in_float32(from_directory(path)), depth=N_BLOCKS), ["the film"], [N_BLOCKS])[N_BLOCKS]
    tensors = {k: v for k, v in load_file(path / "model.safetensors").items() if not k.startswith("pooler")}
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    after = read(Network(in_float32(from_directory(path)), depth=N_BLOCKS), ["the film"], [N_BLOCKS])[N_BLOCKS]
    np.testing.assert_array_equal(before, after)


class Blocks(torch.nn.Module):
    """A network whose blocks each hold a shorter list."""

    def __init__(self, n: int, inner: int) -> None:
        super().__init__()
        self.head = torch.nn.Linear(2, 2)
        self.layers = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.ModuleList([torch.nn.Identity()] * inner)) for _ in range(n)
        )


def test_the_outermost_list_of_that_length_holds_the_blocks() -> None:
    model = Blocks(4, 4)
    assert find_blocks(model, 4, of=4) is model.layers


def test_found_blocks_are_cut() -> None:
    model = Blocks(4, 1)
    kept = list(model.layers)[:2]
    assert list(find_blocks(model, 2, of=4)) == kept
    assert len(model.layers) == 2


def test_a_network_without_a_list_of_blocks_is_refused() -> None:
    with pytest.raises(InputError, match="found no list of 5 blocks"):
        find_blocks(Blocks(4, 1), 2, of=5)


# The config itself


@pytest.mark.parametrize("depth", [-1, 4])
def test_a_depth_outside_the_network_is_refused(bert: Checkpoint, depth: int) -> None:
    with pytest.raises(InputError, match="expected a depth from 0 to 3"):
        Backbone(checkpoint=bert, depth=depth)


def test_an_unknown_pooling_is_refused(bert: Checkpoint) -> None:
    with pytest.raises(InputError, match="found pool=max"):
        Backbone(checkpoint=bert, pool="max")  # type: ignore[arg-type]


def test_a_limit_below_one_token_is_refused(bert: Checkpoint) -> None:
    with pytest.raises(InputError, match="max_tokens=0"):
        Backbone(checkpoint=bert, max_tokens=0)


def test_the_name_carries_a_depth_below_the_full_one(bert: Checkpoint) -> None:
    backbone = Backbone(checkpoint=bert)
    assert [backbone.name, backbone.at(1).name, backbone.at(3).name] == ["bert", "bert@1", "bert"]


@pytest.mark.parametrize(
    "change", [{"depth": 1}, {"pool": "cls"}, {"max_tokens": 9}, {"precision": "bfloat16"}, {"device": "cuda"}]
)
def test_what_decides_the_features_decides_the_identity(
    bert: Checkpoint, in_float32: InFloat32, change: dict[str, Any]
) -> None:
    assert in_float32(bert, **change).identity() != in_float32(bert).identity()


def test_names_and_spelled_out_defaults_do_not_change_the_identity(bert: Checkpoint, in_float32: InFloat32) -> None:
    other = Checkpoint(name="something else", path=bert.path)
    assert in_float32(other, depth=3, pool="mean").identity() == in_float32(bert).identity()


def test_an_asked_for_precision_is_kept() -> None:
    assert [resolve_precision("float32", "cuda"), resolve_precision("bfloat16", "cpu")] == ["float32", "bfloat16"]


# Real networks


@pytest.mark.parametrize("which", ["stories", "minilm"])
def test_real_networks_at_every_depth_equal_the_full_model_pooled_naively(
    request: pytest.FixtureRequest, which: str, in_float32: InFloat32
) -> None:
    checkpoint: Checkpoint = request.getfixturevalue(which)
    texts = [
        "Once upon a time there was a cat.",
        "No.",
        "The kettle boils quickly, and that is all that can be said for it.",
    ]
    n_blocks = checkpoint.n_blocks
    backbone = in_float32(checkpoint)
    network = Network(backbone, depth=n_blocks)
    tokens = network.tokenize(texts)
    found = network.pooled(tokens.ids, tokens.pad, range(n_blocks + 1))
    model = full_model(checkpoint)
    for i, ids in enumerate(tokens.ids):
        for depth, state in enumerate(naive_states(model, ids)):
            np.testing.assert_allclose(found[depth][i], naive_pool(state, backbone.pooling), rtol=1e-5, atol=CLOSE)


def test_the_embedded_encoder_knows_which_sentences_mean_the_same(minilm: Checkpoint, in_float32: InFloat32) -> None:
    texts = ["The train was late.", "Our train did not arrive on time.", "I like cheese."]
    x = read(Network(in_float32(minilm), depth=6), texts, [6])[6]
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert x[0] @ x[1] > 0.6 > 0.3 > x[0] @ x[2]


def test_a_tokenizer_without_a_fast_version_is_named(families: Mapping[str, Path], tmp_path: Path) -> None:
    path = shutil.copytree(families["bert"], tmp_path / "slow")
    for file in path.glob("*token*"):
        file.unlink()
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CanineTokenizer"}))
    with pytest.warns(RuntimeWarning, match="slow: CanineTokenizer has no fast version"):
        load_tokenizer(Checkpoint(name="slow", path=path))


@pytest.mark.parametrize(("name", "value"), [("ATEN_CPU_CAPABILITY", "avx2"), ("ONEDNN_MAX_CPU_ISA", "AVX2")])
def test_bfloat16_is_not_imitated_where_the_libraries_work_as_on_an_older_processor(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert resolve_precision("auto", "cpu") == "float32"
    assert resolve_precision("bfloat16", "cpu") == "bfloat16"
    assert resolve_precision("auto", "cuda") == "bfloat16"
