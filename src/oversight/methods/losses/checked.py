"""What the settings of losses may be."""

from __future__ import annotations


def inside(name: str, value: object, low: float, high: float, *, open_low: bool = False) -> None:
    """Refuse a setting that is not in [low, high], or in (low, high].

    Raises:
        ValueError: the setting, its value and the range.
    """
    if not isinstance(value, int | float) or not (low < value if open_low else low <= value) or not value <= high:
        bracket = "(" if open_low else "["
        raise ValueError(f"{name}: found {value}, expected a number in {bracket}{low:g}, {high:g}]")
