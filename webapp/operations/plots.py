"""Geometry and text alternatives of a model's plots.

Without colours or markup. Coordinates are in a plane of ``WIDTH`` x ``HEIGHT``, with y downwards. Missing or malformed
metrics give no plot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 100.0, 100.0


@dataclass(frozen=True, slots=True)
class Bin:
    """A calibration bin: cases of similar probability, with the share of positive ones."""

    x: float
    y: float
    top: float
    bottom: float
    radius: float
    mean: float
    observed: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """Reliability diagram: observed share over predicted probability, with intervals."""

    bins: tuple[Bin, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Curve:
    """ROC curve as an SVG path."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """Cases of both classes in one range of probabilities; heights are measured from the middle line."""

    x: float
    width: float
    benign_height: float
    malignant_height: float
    low: float
    high: float
    benign: int
    malignant: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Histogram of probabilities, benign cases above the middle line and malignant ones below."""

    bars: tuple[Bar, ...]
    most: int
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a comparison: a value with its interval on a common scale."""

    label: str
    note: str
    value: float
    x: float
    interval: tuple[float, float] | None
    x_interval: tuple[float, float] | None
    is_own: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """Values on a common scale; ``ticks`` are pairs of value and x coordinate."""

    rows: tuple[Row, ...]
    ticks: tuple[tuple[float, float], ...]


def reliability(metric: object) -> Reliability | None:
    """Return the diagram of ``{mean, observed, low, high, n}``, a list each."""
    columns = _columns(metric, ("mean", "observed", "low", "high", "n"))
    if columns is None:
        return None
    most = max(columns[4])
    bins = tuple(
        Bin(
            x=mean * WIDTH,
            y=(1 - observed) * HEIGHT,
            top=(1 - high) * HEIGHT,
            bottom=(1 - low) * HEIGHT,
            radius=1.4 + 2.2 * math.sqrt(n / most),
            mean=mean,
            observed=observed,
            low=low,
            high=high,
            n=int(n),
        )
        for mean, observed, low, high, n in zip(*columns, strict=True)
    )
    described_bins = "; ".join(f"{_percent(b.mean)} predicted, {_percent(b.observed)} observed (n {b.n})" for b in bins)
    return Reliability(bins, f"Observed share against predicted probability: {described_bins}.")


def roc(metric: object, area: object, positive: str = "positive") -> Curve | None:
    """Return the curve of ``{fpr, tpr}``, a list each, from the strictest threshold on."""
    columns = _columns(metric, ("fpr", "tpr"))
    if columns is None:
        return None
    points = list(zip(*columns, strict=True))
    path = "M" + "L".join(f"{false * WIDTH:.2f} {(1 - true) * HEIGHT:.2f}" for false, true in points)
    sensitivities = [max((true for false, true in points if false <= limit), default=0.0) for limit in (0.1, 0.2, 0.5)]
    shares = ", ".join(
        f"{_percent(true)} at {limit} false positives"
        for true, limit in zip(sensitivities, ("10 %", "20 %", "50 %"), strict=True)
    )
    area_text = f" Area {area:.3f}." if isinstance(area, float) else ""
    return Curve(path, f"Sensitivity for {positive} cases: {shares}.{area_text}")


def histogram(metric: object, classes: tuple[str, str] = ("negative", "positive")) -> Histogram | None:
    """Return the histogram of ``{edges, benign, malignant}``: counts of both classes, with one more edge."""
    if not isinstance(metric, Mapping):
        return None
    edges, benign, malignant = (_numbers(metric.get(name)) for name in ("edges", "benign", "malignant"))
    if not edges or not benign or not malignant or not len(edges) - 1 == len(benign) == len(malignant):
        return None
    most = max(*benign, *malignant, 1.0)
    bars = tuple(
        Bar(
            x=low * WIDTH,
            width=(high - low) * WIDTH,
            benign_height=HEIGHT / 2 * b / most,
            malignant_height=HEIGHT / 2 * m / most,
            low=low,
            high=high,
            benign=int(b),
            malignant=int(m),
        )
        for low, high, b, m in zip(edges, edges[1:], benign, malignant, strict=False)
    )
    half = [sum(bar.benign for bar in bars if bar.high <= 0.5), sum(bar.malignant for bar in bars if bar.low >= 0.5)]
    text = (
        f"Below 50 %: {half[0]} of {int(sum(benign))} {classes[0]} cases. "
        f"From 50 % on: {half[1]} of {int(sum(malignant))} {classes[1]} cases."
    )
    return Histogram(bars, int(most), text)


def comparison(entries: Sequence[tuple[str, str, Mapping[str, object], bool]]) -> Comparison | None:
    """Return the comparison of ``auc`` and ``auc_interval`` on one scale.

    Parameters
    ----------
    entries
        Label, note, figures, and whether it is the model's own overall value; figures without an AUC are left out.
    """
    values = [
        (label, note, value, _interval(figures.get("auc_interval")), is_own)
        for label, note, figures, is_own in entries
        if isinstance(value := figures.get("auc"), float) and math.isfinite(value)
    ]
    if not values:
        return None
    lowest = min(min(value, *(interval or (value,))) for _, _, value, interval, _ in values)
    start = min(math.floor(lowest * 10) / 10, 0.9)

    def x_of(value: float) -> float:
        return (value - start) / (1 - start) * WIDTH

    rows = tuple(
        Row(label, note, value, x_of(value), interval, interval and (x_of(interval[0]), x_of(interval[1])), is_own)
        for label, note, value, interval, is_own in values
    )
    count = round((1 - start) * 10)
    step = 1 if count <= 6 else 2
    ticks = tuple((start + i / 10, x_of(start + i / 10)) for i in range(count % step, count + 1, step))
    return Comparison(rows, ticks)


def _columns(metric: object, names: Sequence[str]) -> list[list[float]] | None:
    """Return lists of numbers if they are equally long and not empty, else None."""
    if not isinstance(metric, Mapping):
        return None
    columns = [_numbers(metric.get(name)) for name in names]
    if not all(columns) or len({len(column) for column in columns}) != 1:
        return None
    return columns


def _numbers(values: object) -> list[float]:
    if not isinstance(values, list | tuple):
        return []
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return []
    return [float(value) for value in values]


def _interval(value: object) -> tuple[float, float] | None:
    bounds = _numbers(value)
    return (bounds[0], bounds[1]) if len(bounds) == 2 else None


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"
