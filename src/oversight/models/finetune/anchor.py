"""Where the states of rows were before training, and what it costs to move them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from oversight.models.finetune.classifier import Classifier
from oversight.models.finetune.encoded import Encoded

if TYPE_CHECKING:
    from torch import Tensor

ALIKE = 1e-6


@dataclass(frozen=True)
class Anchor:
    """strength * mean_i |h_i - s_i|^2 / v over the texts of a batch, with h_i the pooled state that the head reads of.

    s_i is the state before training, and v = mean_i |s_i - mean s|^2 over all texts to train on: how far states lie
    apart by themselves (at least a millionth of mean |s|^2). So `strength` has no unit, and means the same for networks
    of any width and scale.

    Attributes:
        states: (n, t, d) float32 on the processor: s of the t texts of each of n rows.
        weight: strength / v.
    """

    kind: ClassVar[str] = "anchor"

    states: Tensor
    weight: float

    @classmethod
    def at_start(cls, classifier: Classifier, encoded: Encoded, strength: float) -> Anchor:
        """The anchor at the states that a classifier gives now, without dropout.

        Args:
            classifier: before its first update; the processes of its team all come here.
            encoded: token ids of all rows.
            strength: above 0.
        """
        import torch

        n, n_texts = len(encoded), 1 if encoded.others is None else 2
        found = np.zeros((n, n_texts, classifier.head.in_features))
        # As where probabilities are predicted: spread weights gathered in inference mode cannot be trained.
        with torch.inference_mode(classifier.team.size == 1), torch.no_grad():
            for one in classifier.team.passes(encoded, range(n), budget=classifier.budget):
                states = classifier.states(encoded, one.rows)
                if one.counts:
                    found[one.rows] = states.unflatten(0, (n_texts, -1)).transpose(0, 1).cpu().numpy()
        found = classifier.team.total_array(found)
        apart, whole = (float(np.square(found - centre).sum(-1).mean()) for centre in (found.mean((0, 1)), 0.0))
        return cls(torch.from_numpy(found.astype(np.float32)), strength / (max(apart, ALIKE * whole) or 1.0))

    def penalty(self, states: Tensor, rows: Sequence[int]) -> Tensor:
        """() float32, the mean over these rows.

        Args:
            states: (t b, d) as `Classifier.states` gives them.
            rows: b positions.
        """
        start = self.states[list(rows)].transpose(0, 1).flatten(0, 1).to(states.device)
        return self.weight * (states - start).square().sum(-1).mean()
