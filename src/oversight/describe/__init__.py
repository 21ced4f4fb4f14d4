"""Objects as JSON for keys: equal descriptions must mean equal behaviour."""

from __future__ import annotations

from oversight.describe.objects import describe, kinded

__all__ = ["describe", "kinded"]
