"""Whether the series of today are like those of the beginning: one small summary a series, few tests over many.

The unit is the series, never the voxel: voxels of one patient are not independent. Each feature is compared by the
Kolmogorov-Smirnov test, the HU histogram by the population stability index, whose own null distribution comes from
permuting series. Together with the tests of the answers (``inference.drift.output_drift``) they raise a false alarm in
at most ``ALPHA`` of comparisons (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes
from scipy.stats import ks_2samp

from inference.types import CtVolume

Array = NDArray[np.float64]

REFERENCE, WINDOW = 40, 20
"""The first so many series of a scanner are its reference; they are compared with each later block of ``WINDOW``."""
ALPHA = 0.01
"""Share of comparisons of one scanner with itself that may raise a false alarm."""
HU_EDGES = np.arange(-1050, 551, 50)
FEATURES = ("lung_hu", "soft_hu", "noise_hu", "slice_mm", "pixel_mm", "nodule_mm")
OUTPUT_TESTS = 4
"""Tests that ``inference.drift.output_drift`` adds to a comparison."""
LIMIT = ALPHA / (len(FEATURES) + 1 + OUTPUT_TESTS)
"""A test with a smaller p-value tells of drift."""
MIN_PSI = 0.1
PERMUTATIONS, BOOTSTRAPS = 1999, 500
_SIDE, _SLICES = 128, 32


@dataclass(frozen=True, slots=True)
class TooFew:
    """Why there is no comparison: there are ``n`` of ``what``, and it needs ``needed``."""

    what: str
    n: int
    needed: int


@dataclass(frozen=True, slots=True)
class Stability:
    """A population stability index: its 95 % interval, and below what it stays in 95 % where nothing changed."""

    psi: float
    interval: tuple[float, float]
    floor: float
    p: float
    reference: tuple[float, ...]
    recent: tuple[float, ...]
    """The two histograms, as shares."""


@dataclass(frozen=True, slots=True)
class Drift:
    """What a comparison found: p and medians by feature, the histogram's stability, and which are told as drifted."""

    p_values: dict[str, float]
    medians: dict[str, tuple[float, float]]
    """Of the reference, and of the recent series."""
    histogram: Stability
    drifted: tuple[str, ...]

    @property
    def psi(self) -> float:
        """The index of the histogram."""
        return self.histogram.psi


def summarise(volume: CtVolume) -> dict[str, object]:
    """Tell in a few numbers what a series looks like, without anything of its patient.

    Medians of lung and soft tissue (HU), noise (HU, from neighbouring pixels of soft tissue), spacing (mm), and the
    histogram of what lies inside the body, as shares.
    """
    slices, rows, columns = volume.volume_hu.shape
    chosen = np.unique(np.linspace(0, slices - 1, min(slices, _SLICES)).astype(int))
    full = volume.volume_hu[chosen].astype(np.float32)
    thin = full[:, :: max(1, rows // _SIDE), :: max(1, columns // _SIDE)]
    body = np.stack([binary_fill_holes(one > -300) for one in thin])
    inside = thin[body]
    lung, soft = inside[inside < -500], inside[np.abs(inside) < 250]
    both = (np.abs(full[:, :, 1:]) < 250) & (np.abs(full[:, :, :-1]) < 250)
    steps = np.abs(np.diff(full, axis=2))[both]
    counts = np.histogram(np.clip(inside, HU_EDGES[0], HU_EDGES[-1] - 1), HU_EDGES)[0]
    return {
        "lung_hu": _median(lung),
        "soft_hu": _median(soft),
        "noise_hu": None if not len(steps) else round(float(np.median(steps)) * 1.4826 / 2**0.5, 2),
        "slice_mm": round(float(volume.spacing_mm[0]), 3),
        "pixel_mm": round(float(volume.spacing_mm[1]), 3),
        "hu_shares": [round(float(share), 5) for share in counts / max(1, counts.sum())],
    }


def stability_index(expected: Array, actual: Array) -> Array:
    """Population stability index of histograms of shares ``(..., bins)``; an empty bin counts as 0.01 %."""
    p, q = np.clip(expected, 1e-4, None), np.clip(actual, 1e-4, None)
    return np.asarray(np.sum((q - p) * np.log(q / p), axis=-1))


def compare(reference: Sequence[Mapping[str, object]], recent: Sequence[Mapping[str, object]]) -> Drift:
    """Compare summaries of two sets of series; features that too few of either set have are left out."""
    p_values, medians = {}, {}
    for name in FEATURES:
        old, new = _values(reference, name), _values(recent, name)
        if min(len(old), len(new)) >= WINDOW // 2:
            p_values[name] = float(ks_2samp(old, new).pvalue)
            medians[name] = float(np.median(old)), float(np.median(new))
    histogram = stability(_shares(reference), _shares(recent), _normalised)
    drifted = [name for name, p in p_values.items() if p < LIMIT]
    p_values["hu_shares"] = histogram.p
    return Drift(p_values, medians, histogram, (*drifted, *(["hu_shares"] if is_shifted(histogram) else [])))


def is_shifted(found: Stability) -> bool:
    """Whether an index tells of drift: unlikely without one, and not too small to matter."""
    return found.p < LIMIT and found.psi >= MIN_PSI


def stability(reference: Array, recent: Array, to_shares: Callable[[Array], Array]) -> Stability:
    """Compare two sets of histograms, one a series: ``(series, bins)`` each.

    Parameters
    ----------
    to_shares
        Makes of sums over series ``(..., bins)`` the shares that are compared.
    """
    together, n = np.concatenate([reference, recent]), len(reference)
    shares = to_shares(reference.sum(axis=0)), to_shares(recent.sum(axis=0))
    observed = float(stability_index(*shares))
    rng = np.random.default_rng(0)
    marks = rng.permuted(np.tile(np.arange(len(together)) < n, (PERMUTATIONS, 1)), axis=1).astype(np.float64)
    permuted = stability_index(to_shares(marks @ together), to_shares((1 - marks) @ together))
    drawn = [
        to_shares(rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), BOOTSTRAPS) @ rows)
        for rows in (reference, recent)
    ]
    low, high = np.percentile(stability_index(drawn[0], drawn[1]), (2.5, 97.5))
    return Stability(
        psi=observed,
        interval=(float(low), float(high)),
        floor=float(np.percentile(permuted, 95)),
        p=(1 + int(np.sum(permuted >= observed))) / (1 + PERMUTATIONS),
        reference=tuple(round(float(share), 5) for share in shares[0]),
        recent=tuple(round(float(share), 5) for share in shares[1]),
    )


def _normalised(sums: Array) -> Array:
    return np.asarray(sums / np.maximum(sums.sum(axis=-1, keepdims=True), 1e-9))


def _median(values: NDArray[np.float32]) -> float | None:
    return round(float(np.median(values)), 1) if len(values) else None


def _values(summaries: Sequence[Mapping[str, object]], name: str) -> Array:
    return np.array([value for one in summaries if isinstance(value := one.get(name), int | float)], np.float64)


def _shares(summaries: Sequence[Mapping[str, object]]) -> Array:
    return np.array([one["hu_shares"] for one in summaries], np.float64)
