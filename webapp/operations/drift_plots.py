"""Geometry and text alternatives of drift plots, as in ``webapp.operations.plots``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flask_babel import gettext, ngettext

from webapp.operations.plots import HEIGHT, WIDTH

NOTABLE_PSI = 0.1
"""Stability index threshold of drift (``inference.drift.series_drift.MIN_PSI``)."""


@dataclass(frozen=True, slots=True)
class Point:
    """A stability index of one block."""

    x: float
    y: float
    value: float
    is_drifted: bool


@dataclass(frozen=True, slots=True)
class Trend:
    """Indices of consecutive blocks; ``limit_y`` is the y coordinate of the threshold."""

    points: tuple[Point, ...]
    path: str
    limit_y: float
    top: float
    text: str


@dataclass(frozen=True, slots=True)
class Overlay:
    """Two histograms of shares: bars of the latest block, an outline of the reference."""

    bars: tuple[tuple[float, float, float], ...]
    """x, width, height."""
    path: str
    top: float
    text: str


def trend(history: Sequence[Mapping[str, object]], name: str, drifts: frozenset[str]) -> Trend | None:
    """Return the plot of index ``name`` by block; ``drifts`` are the feature names that mark it as drifted."""
    indices = [
        (float(value), any(feature in drifts for feature in _names(block.get("drifted"))))
        for block in history
        if isinstance(value := block.get(name), int | float)
    ]
    if not indices:
        return None
    top = max(0.3, *(value for value, _ in indices))
    step = WIDTH / max(1, len(indices) - 1)
    points = tuple(
        Point(index * step if len(indices) > 1 else WIDTH / 2, (1 - value / top) * HEIGHT, value, is_drifted)
        for index, (value, is_drifted) in enumerate(indices)
    )
    values = ", ".join(f"{point.value:.2f}" for point in points)
    count = sum(point.is_drifted for point in points)
    text = gettext("Stability index of the last blocks, oldest first: %(values)s.", values=values)
    if count:
        text += " " + ngettext("%(num)s of them has drifted.", "%(num)s of them have drifted.", count)
    path = "M" + "L".join(f"{point.x:.2f} {point.y:.2f}" for point in points)
    return Trend(points, path, (1 - NOTABLE_PSI / top) * HEIGHT, top, text)


def overlay(comparison: object, low: float, high: float, unit: str) -> Overlay | None:
    """Return the overlay of the histograms ``reference`` and ``recent`` from ``low`` to ``high``."""
    if not isinstance(comparison, Mapping):
        return None
    reference, recent = (_shares(comparison.get(name)) for name in ("reference", "recent"))
    if not reference or len(reference) != len(recent):
        return None
    top, width = max(*reference, *recent, 0.01), WIDTH / len(reference)
    bars = tuple((i * width, width, share / top * HEIGHT) for i, share in enumerate(recent))
    path = f"M0 {HEIGHT:.0f}" + "".join(
        f"L{i * width:.2f} {(1 - share / top) * HEIGHT:.2f}L{(i + 1) * width:.2f} {(1 - share / top) * HEIGHT:.2f}"
        for i, share in enumerate(reference)
    )
    middles = [low + (i + 0.5) * (high - low) / len(reference) for i in range(len(reference))]
    means = [
        f"{sum(m * s for m, s in zip(middles, shares, strict=True)) / sum(shares):.0f} {unit}"
        for shares in (reference, recent)
    ]
    text = gettext("Mean of the reference %(before)s, of the latest series %(after)s.", before=means[0], after=means[1])
    return Overlay(bars, f"{path}L{WIDTH:.0f} {HEIGHT:.0f}", top, text)


def _names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list | tuple) else []


def _shares(value: object) -> list[float]:
    if not isinstance(value, list | tuple) or not all(isinstance(share, int | float) for share in value):
        return []
    return [float(share) for share in value]
