"""Your own loss: a function of logits, targets and progress. No registration."""

from torch import Tensor

import oversight as ov


def sharpened(logits: Tensor, targets: Tensor, *, progress: float) -> Tensor:
    """Cross-entropy to weak labels that grow harder as training goes on."""
    harder = targets ** (1 + progress)
    return ov.cross_entropy(logits, harder / harder.sum(-1, keepdim=True))


result = ov.weak_to_strong(
    ov.load_task("reviews", n_train=1500),
    weak="minilm@0",
    strong="minilm@4",
    method=["naive", sharpened, ov.Confidence(aux_weight=0.75)],
    seeds=3,
)
print(result)
