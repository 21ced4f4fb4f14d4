"""Losses: what a student minimises on weak labels. Each is a stateless function of one logical batch."""

from __future__ import annotations

from oversight.methods.losses import auxiliary, confidence, divergences, reverse
from oversight.methods.losses.confidence import Confidence, confidence_loss, harden

ENTRIES = {**confidence.ENTRIES, **auxiliary.ENTRIES, **reverse.ENTRIES, **divergences.ENTRIES}

__all__ = ["ENTRIES", "Confidence", "confidence_loss", "harden"]
