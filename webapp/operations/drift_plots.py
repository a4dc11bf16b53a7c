"""Plots of drift as geometry, as ``webapp.operations.plots`` has them: what a template draws, and the same in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flask_babel import gettext, ngettext

from webapp.operations.plots import HEIGHT, WIDTH

NOTABLE_PSI = 0.1
"""An index below it is not told as drift (``inference.drift.series_drift.MIN_PSI``)."""


@dataclass(frozen=True, slots=True)
class Point:
    """A stability index of one block."""

    x: float
    y: float
    value: float
    is_drifted: bool


@dataclass(frozen=True, slots=True)
class Trend:
    """Indices of one block after another; ``limit_y`` is the height of the index below which nothing is told."""

    points: tuple[Point, ...]
    path: str
    limit_y: float
    top: float
    text: str


@dataclass(frozen=True, slots=True)
class Overlay:
    """Two histograms as shares: bars of the latest, an outline of the reference."""

    bars: tuple[tuple[float, float, float], ...]
    """x, width, height."""
    path: str
    top: float
    text: str


def trend(history: Sequence[Mapping[str, object]], name: str, drifts: frozenset[str]) -> Trend | None:
    """Draw the index ``name`` of each block; ``drifts`` are the names under which it is told as drifted."""
    found = [
        (float(value), any(one in drifts for one in _names(block.get("drifted"))))
        for block in history
        if isinstance(value := block.get(name), int | float)
    ]
    if not found:
        return None
    top = max(0.3, *(value for value, _ in found))
    step = WIDTH / max(1, len(found) - 1)
    points = tuple(
        Point(at * step if len(found) > 1 else WIDTH / 2, (1 - value / top) * HEIGHT, value, is_drifted)
        for at, (value, is_drifted) in enumerate(found)
    )
    values = ", ".join(f"{point.value:.2f}" for point in points)
    count = sum(point.is_drifted for point in points)
    text = gettext("Stability index of the last blocks, oldest first: %(values)s.", values=values)
    if count:
        text += " " + ngettext("%(num)s of them is told as drift.", "%(num)s of them are told as drift.", count)
    path = "M" + "L".join(f"{point.x:.2f} {point.y:.2f}" for point in points)
    return Trend(points, path, (1 - NOTABLE_PSI / top) * HEIGHT, top, text)


def overlay(told: object, low: float, high: float, unit: str) -> Overlay | None:
    """Lay ``reference`` and ``recent`` of a comparison, shares between ``low`` and ``high``, over each other."""
    if not isinstance(told, Mapping):
        return None
    reference, recent = (_shares(told.get(name)) for name in ("reference", "recent"))
    if not reference or len(reference) != len(recent):
        return None
    top, width = max(*reference, *recent, 0.01), WIDTH / len(reference)
    bars = tuple((at * width, width, share / top * HEIGHT) for at, share in enumerate(recent))
    path = f"M0 {HEIGHT:.0f}" + "".join(
        f"L{at * width:.2f} {(1 - share / top) * HEIGHT:.2f}L{(at + 1) * width:.2f} {(1 - share / top) * HEIGHT:.2f}"
        for at, share in enumerate(reference)
    )
    middles = [low + (at + 0.5) * (high - low) / len(reference) for at in range(len(reference))]
    means = [
        f"{sum(m * s for m, s in zip(middles, shares, strict=True)) / sum(shares):.0f} {unit}"
        for shares in (reference, recent)
    ]
    text = gettext("Mean of the reference %(before)s, of the latest series %(after)s.", before=means[0], after=means[1])
    return Overlay(bars, f"{path}L{WIDTH:.0f} {HEIGHT:.0f}", top, text)


def _names(told: object) -> list[str]:
    return [str(name) for name in told] if isinstance(told, list | tuple) else []


def _shares(told: object) -> list[float]:
    if not isinstance(told, list | tuple) or not all(isinstance(share, int | float) for share in told):
        return []
    return [float(share) for share in told]
