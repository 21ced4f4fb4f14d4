"""Classifiers with a random head, token ids to read, and the slow, plain way to read them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint
from oversight.models.finetune.classifier import Classifier
from oversight.models.finetune.encoded import Encoded
from oversight.models.finetune.recipe import Full
from oversight.models.network import quiet_transformers

N_TOKENS = 36  # every family of these tests knows at least so many


def _random_head(classifier: Classifier, seed: int) -> Classifier:
    rng = np.random.default_rng(seed)
    width, k = classifier.head.in_features, classifier.head.out_features
    classifier.start_head(rng.normal(size=(width, k)) / np.sqrt(width), rng.normal(size=k))
    return classifier


@pytest.fixture(scope="session")
def make_classifier() -> Callable[..., Classifier]:
    """make_classifier(checkpoint, recipe, depth=..., pool=..., paired=..., k=...) -> one in float32 with a random head.

    `head=False` leaves the head as it starts.
    """

    def make(
        checkpoint: Checkpoint,
        recipe: Full | None = None,
        *,
        k: int = 3,
        paired: bool = False,
        seed: int = 0,
        head: bool = True,
        **options: Any,
    ) -> Classifier:
        backbone = Backbone(checkpoint=checkpoint, **{"precision": "float32", "device": "cpu", **options})
        made = Classifier(backbone, recipe or Full(), n_classes=k, paired=paired, seed=seed)
        return _random_head(made, seed) if head else made

    return make


@pytest.fixture(scope="session")
def padding() -> Callable[[Classifier], contextlib.AbstractContextManager[Classifier]]:
    """with padding(classifier): ... -> it pads, and attends with the library's plain products under a mask."""

    @contextlib.contextmanager
    def switch(classifier: Classifier) -> Generator[Classifier]:
        was, how = classifier.packed, classifier.network.model.config._attn_implementation
        classifier.packed = False
        with quiet_transformers():
            classifier.network.model.set_attn_implementation("eager")
        try:
            yield classifier
        finally:
            classifier.packed = was
            with quiet_transformers():
                classifier.network.model.set_attn_implementation(how)

    return switch


@pytest.fixture(scope="session")
def token_texts() -> Callable[..., list[np.ndarray]]:
    """token_texts(lengths, seed=..., without=...) -> token ids of texts of those lengths; id 0 comes up often."""

    def make(lengths: Sequence[int], *, seed: int = 0, without: Sequence[int | None] = ()) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        known = np.setdiff1d(np.arange(N_TOKENS), [one for one in without if one is not None])
        share = np.where(known == 0, 10.0, 1.0)
        return [rng.choice(known, size=n, p=share / share.sum()) for n in lengths]

    return make


@pytest.fixture(scope="session")
def encoded_of() -> Callable[..., Encoded]:
    """encoded_of(texts, others, pad=...) -> rows of these token ids."""

    def make(texts: Sequence[np.ndarray], others: Sequence[np.ndarray] | None = None, *, pad: int = 0) -> Encoded:
        return Encoded(texts=tuple(texts), others=None if others is None else tuple(others), n_truncated=0, pad=pad)

    return make


@pytest.fixture(scope="session")
def plain_states() -> Callable[..., np.ndarray]:
    """plain_states(checkpoint, texts, depth=..., pool=...) -> (b, d), each text alone through the library's network.

    No padding, no packing, no cutting off: all hidden states of the whole network, of which one is taken.
    """

    def states(checkpoint: Checkpoint, texts: Sequence[np.ndarray], *, depth: int, pool: str) -> np.ndarray:
        from transformers import AutoModel

        with quiet_transformers():
            model = AutoModel.from_pretrained(checkpoint.path, attn_implementation="eager").eval().float()
        found: list[np.ndarray] = []
        for text in texts:
            with torch.no_grad():
                out = model(input_ids=torch.from_numpy(text)[None], output_hidden_states=True)
            state = (out.last_hidden_state if depth == checkpoint.n_blocks else out.hidden_states[depth])[0].numpy()
            found.append({"mean": state.mean(0), "last": state[-1], "cls": state[0]}[pool])
        return np.stack(found)

    return states


@pytest.fixture(scope="session")
def gradients() -> Callable[..., dict[str, torch.Tensor]]:
    """gradients(classifier, value) -> of every trained weight, by name; those of the classifier are cleared."""

    def of(classifier: Classifier, value: torch.Tensor) -> dict[str, torch.Tensor]:
        value.backward()
        found = {name: one.grad.clone() for name, one in classifier.trained().items() if one.grad is not None}
        for one in classifier.trained().values():
            one.grad = None
        return found

    return of


@pytest.fixture(scope="session")
def furthest() -> Callable[[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]], float]:
    """furthest(a, b) -> largest difference between tensors of the same names, as a share of the largest entry of b."""

    def far(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> float:
        assert a.keys() == b.keys() and a
        scale = max(float(one.abs().max()) for one in b.values())
        return max(float((a[name] - b[name]).abs().max()) for name in b) / scale

    return far
