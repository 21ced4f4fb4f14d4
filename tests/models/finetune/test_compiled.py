"""Compiled blocks give what plain ones give, also where the compiler's cache holds code of another processor."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from oversight.models.checkpoint import from_directory
from oversight.models.finetune.classifier import Classifier
from oversight.models.finetune.encoded import Encoded
from oversight.models.finetune.gradient import gradient
from oversight.models.finetune.optim import make_optimizer
from oversight.models.finetune.recipe import Full, Machine
from oversight.models.student import cross_entropy

LENGTHS = (1, 30, 2, 9, 30, 17)
Make = Callable[..., Classifier]
TokenTexts = Callable[..., list[np.ndarray]]
EncodedOf = Callable[..., Encoded]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler"),
    pytest.mark.filterwarnings("ignore"),
]

PLAIN_AND_COMPILED = """
import json, sys
from pathlib import Path
import numpy as np, torch
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import from_directory
from oversight.models.finetune.classifier import Classifier
from oversight.models.finetune.encoded import Encoded
from oversight.models.finetune.recipe import Full, Machine

texts = tuple(np.arange(5, 5 + n) for n in (3, 17, 30))
rows = Encoded(texts=texts, others=None, n_truncated=0, pad=0)
backbone = Backbone(checkpoint=from_directory(Path(sys.argv[1])), depth=1, precision="float32", device="cpu")
found = []
for compiled in (False, True):
    made = Classifier(backbone, Full(machine=Machine(compile=compiled)), n_classes=2, paired=False, seed=0)
    with torch.no_grad():
        found.append(made.states(rows, range(3)).double().numpy())
print(json.dumps([torch.backends.cpu.get_cpu_capability(), float(np.abs(found[1] - found[0]).max())]))
"""


def take_steps(classifier: Classifier, rows: Encoded, recipe: Full, *, n: int) -> None:
    optimizer = make_optimizer(classifier, recipe, 1e-2)
    classifier.training(True)
    for step in range(n):
        at = [(3 * step + i) % len(rows) for i in range(3)]
        k = classifier.head.out_features
        targets = torch.from_numpy(np.random.default_rng(step).dirichlet(np.ones(k), 3)).float()
        gradient(classifier, rows, at, targets, cross_entropy, progress=0.0, budget=10_000)
        optimizer.step()
        optimizer.zero_grad()
    classifier.training(False)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_compiled_blocks_give_the_same_logits_and_gradients(
    family: str, families: dict[str, Path], make_classifier: Make, token_texts: TokenTexts, encoded_of: EncodedOf
) -> None:
    """Updates with a wrong gradient would lead to other logits."""
    rows = encoded_of(token_texts(LENGTHS))
    found: list[np.ndarray] = []
    for compiled in (False, True):
        recipe = Full(machine=Machine(compile=compiled))
        classifier = make_classifier(from_directory(families[family], name=family), recipe)
        take_steps(classifier, rows, recipe, n=2)
        with torch.no_grad():
            found.append(classifier.logits(rows, range(len(rows))).numpy())
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-4)


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in {"AVX2", "AVX512"}, reason="narrower vectors cannot be asked for"
)
@pytest.mark.parametrize("order", [("", "default"), ("avx2", "")])
def test_code_compiled_for_another_processor_is_not_taken_from_the_cache(
    order: tuple[str, str], families: dict[str, Path], environment: Mapping[str, str], tmp_path: Path
) -> None:
    """Where it was, states were NaN on narrower vectors, and memory was overwritten on wider ones.

    Both processes work in the same cache; `ATEN_CPU_CAPABILITY` stands for the processor.
    """
    for capability in order:
        env = {**environment, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"), "ATEN_CPU_CAPABILITY": capability}
        if not capability:
            del env["ATEN_CPU_CAPABILITY"]
        command = [sys.executable, "-W", "ignore", "-c", PLAIN_AND_COMPILED, str(families["bert"])]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        used, furthest = json.loads(done.stdout.splitlines()[-1])
        assert used == {"default": "DEFAULT", "avx2": "AVX2"}.get(capability, used)
        assert furthest < 1e-4, (used, furthest)
