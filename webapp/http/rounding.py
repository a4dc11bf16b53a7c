"""Rounding of probabilities for output, with a sum of exactly 1."""

from __future__ import annotations

from collections.abc import Mapping

SHARE_UNITS = 10_000
"""Confidences have 4 decimals."""
PERCENT_UNITS = 1_000
"""Percentages have 1 decimal."""


def confidence(probabilities: Mapping[str, float]) -> dict[str, float]:
    """Round to 4 decimals with a sum of exactly 1 (largest remainder method)."""
    return {name: units / SHARE_UNITS for name, units in _units(probabilities, SHARE_UNITS).items()}


def percent(shares: Mapping[str, float]) -> dict[str, float]:
    """Return confidences in percent with 1 decimal, summing to 100."""
    return {name: units * 100 / PERCENT_UNITS for name, units in _units(shares, PERCENT_UNITS).items()}


def percent_text(share: float) -> str:
    """Format a probability in percent, bounded to ``< 0.1 %`` and ``> 99.9 %``."""
    if share > 0.999:
        return "> 99.9 %"
    return "< 0.1 %" if share < 0.001 else f"{share * 100:.1f} %"


def _units(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Distribute ``total`` units in proportion (Hamilton's method); ties go to the larger share."""
    total_share = sum(shares.values())
    if not total_share:
        return dict.fromkeys(shares, 0)
    exact = {name: share / total_share * total for name, share in shares.items()}
    units = {name: int(value) for name, value in exact.items()}
    missing = total - sum(units.values())
    by_remainder = sorted(exact, key=lambda name: (round(exact[name] - units[name], 9), exact[name]), reverse=True)
    for name in by_remainder[:missing]:
        units[name] += 1
    return units
