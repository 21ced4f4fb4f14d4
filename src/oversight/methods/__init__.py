"""How weak labels are used: one idea per file, one entry here."""

from __future__ import annotations

from collections.abc import Callable

from oversight.methods.losses import Confidence
from oversight.methods.method import Method, OracleMethod, WithLoss
from oversight.methods.oracles import OracleEarlyStopping

METHODS: dict[str, Callable[..., Method | OracleMethod]] = {
    "naive": WithLoss,
    "confidence": lambda aux_weight=0.5, warmup_fraction=0.2: WithLoss(Confidence(aux_weight, warmup_fraction)),
    "oracle_early_stopping": OracleEarlyStopping,
}

ABOUT: dict[str, str] = {
    "naive": "cross-entropy to the weak soft labels (Burns et al. 2023)",
    "confidence": "naive mixed with the student's own hardened guess, adaptive threshold (Burns et al. 2023, A.4)",
    "oracle_early_stopping": "naive, but stopped by true labels of the validation rows: a diagnosis of overfitting",
}
