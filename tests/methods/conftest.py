"""A tiny network on disk, the same one trained; makes `planted_networks` and `planted_labellers` importable."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oversight.models.backbone import Backbone
from oversight.models.checkpoint import from_directory
from oversight.models.finetune.recipe import Full
from oversight.models.finetune.student import FineTuned
from oversight.tasks.split import Seed
from oversight.tasks.task import Labels

sys.path.append(str(Path(__file__).parent))
from planted_networks import rows_of


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory, save_tiny: Callable[..., Path]) -> Backbone:
    """An encoder of two blocks."""
    folder = save_tiny(tmp_path_factory.mktemp("network") / "tiny", "bert")
    return Backbone(checkpoint=from_directory(folder, name="tiny"), precision="float32", device="cpu")


@pytest.fixture(scope="module")
def pretrained(
    backbone: Backbone, planted_rows: Callable[..., list[dict[str, Any]]], tmp_path_factory: pytest.TempPathFactory
) -> Backbone:
    """A network whose states hold the class: the tiny one trained on 400 other rows with their true classes."""
    rows, truth = rows_of(planted_rows(400, seed=99, hint=0.5))
    recipe = Full(epochs=8, batch_size=16, lr=2e-3, evaluations=1)
    fitted = FineTuned(backbone=backbone, recipe=recipe).fit(
        rows, Labels.of(rows, np.eye(2)[truth], source="truth"), seed=Seed.of(0)
    )
    folder = tmp_path_factory.mktemp("pretrained") / "tiny"
    shutil.copytree(backbone.checkpoint.path, folder)
    fitted.classifier.network.model.save_pretrained(folder)
    return Backbone(checkpoint=from_directory(folder, name="tiny"), precision="float32", device="cpu")
