"""Plots of a model's figures as geometry: what a template draws, and the same in words for those who cannot see it.

Nothing here knows colours or markup. Coordinates are in a plane of ``WIDTH`` x ``HEIGHT`` whose y grows downwards.
What is missing, or not of the documented form, makes no plot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 100.0, 100.0
_MIN_SPAN = 0.02


@dataclass(frozen=True, slots=True)
class Bin:
    """Cases that were given about the same probability, and how many of them were positive."""

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
    """Observed share over predicted probability, with intervals."""

    bins: tuple[Bin, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Curve:
    """A receiver operating characteristic: an SVG path, and the area below it closed."""

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
    """How often each probability was given, benign cases above the line and malignant ones below."""

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
    """Values beside one another on the scale ``ticks``; each tick with its place."""

    rows: tuple[Row, ...]
    ticks: tuple[tuple[float, float], ...]


def reliability(told: object) -> Reliability | None:
    """Read ``{mean, observed, low, high, n}``, a list each."""
    columns = _columns(told, ("mean", "observed", "low", "high", "n"))
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
    told_bins = "; ".join(f"{_percent(b.mean)} predicted, {_percent(b.observed)} observed (n {b.n})" for b in bins)
    return Reliability(bins, f"Observed share against predicted probability: {told_bins}.")


def roc(told: object, area: object, positive: str = "positive") -> Curve | None:
    """Read ``{fpr, tpr}``, a list each, from the strictest threshold on."""
    columns = _columns(told, ("fpr", "tpr"))
    if columns is None:
        return None
    points = list(zip(*columns, strict=True))
    path = "M" + "L".join(f"{false * WIDTH:.2f} {(1 - true) * HEIGHT:.2f}" for false, true in points)
    at = [max((true for false, true in points if false <= limit), default=0.0) for limit in (0.1, 0.2, 0.5)]
    shares = ", ".join(
        f"{_percent(true)} at {limit} false alarms" for true, limit in zip(at, ("10 %", "20 %", "50 %"), strict=True)
    )
    known = f" Area {area:.3f}." if isinstance(area, float) else ""
    return Curve(path, f"Share of {positive} cases found: {shares}.{known}")


def histogram(told: object, classes: tuple[str, str] = ("negative", "positive")) -> Histogram | None:
    """Read ``{edges, benign, malignant}``: counts of both classes between one more edges."""
    if not isinstance(told, Mapping):
        return None
    edges, benign, malignant = (_numbers(told.get(name)) for name in ("edges", "benign", "malignant"))
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


def comparison(told: Sequence[tuple[str, str, Mapping[str, object], bool]]) -> Comparison | None:
    """Lay values of ``auc`` and ``auc_interval`` on one scale.

    Parameters
    ----------
    told
        Label, note, figures, and whether it is the model's own overall value; figures without an AUC are left out.
    """
    found = [
        (label, note, value, _interval(figures.get("auc_interval")), is_own)
        for label, note, figures, is_own in told
        if isinstance(value := figures.get("auc"), float) and math.isfinite(value)
    ]
    if not found:
        return None
    lowest = min(min(value, *(interval or (value,))) for _, _, value, interval, _ in found)
    start = min(math.floor(lowest * 10) / 10, 0.9)

    def place(value: float) -> float:
        return (value - start) / (1 - start) * WIDTH

    rows = tuple(
        Row(label, note, value, place(value), interval, interval and (place(interval[0]), place(interval[1])), is_own)
        for label, note, value, interval, is_own in found
    )
    count = round((1 - start) * 10)
    step = 1 if count <= 6 else 2
    ticks = tuple((start + i / 10, place(start + i / 10)) for i in range(count % step, count + 1, step))
    return Comparison(rows, ticks)


def _columns(told: object, names: Sequence[str]) -> list[list[float]] | None:
    """Take lists of numbers that are equally long and not empty."""
    if not isinstance(told, Mapping):
        return None
    columns = [_numbers(told.get(name)) for name in names]
    if not all(columns) or len({len(column) for column in columns}) != 1:
        return None
    return columns


def _numbers(told: object) -> list[float]:
    if not isinstance(told, list | tuple):
        return []
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in told):
        return []
    return [float(value) for value in told]


def _interval(told: object) -> tuple[float, float] | None:
    found = _numbers(told)
    return (found[0], found[1]) if len(found) == 2 else None


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"
