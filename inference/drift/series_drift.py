"""Input drift: summaries of series compared with those of a reference.

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

from inference.types import CtVolume

Array = NDArray[np.float64]

REFERENCE, WINDOW = 40, 20
"""Number of first series of a scanner that form its reference, compared with each later block of ``WINDOW``."""
ALPHA = 0.01
"""Accepted share of false alarms in comparisons without drift."""
HU_EDGES = np.arange(-1050, 551, 50)
FEATURES = ("lung_hu", "soft_hu", "noise_hu", "slice_mm", "pixel_mm", "nodule_mm")
OUTPUT_TESTS = 4
"""Tests that ``inference.drift.output_drift`` adds to a comparison."""
LIMIT = ALPHA / (len(FEATURES) + 1 + OUTPUT_TESTS)
"""A test with a smaller p-value indicates drift."""
MIN_PSI = 0.1
PERMUTATIONS, BOOTSTRAPS = 1999, 500
_SIDE, _SLICES = 128, 32


@dataclass(frozen=True, slots=True)
class TooFew:
    """No comparison: there are ``n`` of ``what``, and ``needed`` are required."""

    what: str
    n: int
    needed: int


@dataclass(frozen=True, slots=True)
class Stability:
    """A population stability index with its 95 % interval and its 95 % limit without drift."""

    psi: float
    interval: tuple[float, float]
    floor: float
    p: float
    reference: tuple[float, ...]
    recent: tuple[float, ...]
    """The two histograms, as shares."""


@dataclass(frozen=True, slots=True)
class Drift:
    """Result of a comparison: p-values and medians by feature, stability of the histogram, and drifted features."""

    p_values: dict[str, float]
    medians: dict[str, tuple[float, float]]
    """Medians of the reference and recent series."""
    histogram: Stability
    drifted: tuple[str, ...]

    @property
    def psi(self) -> float:
        """Stability index of the histogram."""
        return self.histogram.psi


def summarise(volume: CtVolume) -> dict[str, object]:
    """Return image statistics of a series, without patient data.

    Medians of lung and soft tissue (HU), noise (HU, from neighbouring pixels of soft tissue), spacing (mm), and the
    histogram of what lies inside the body, as shares.
    """
    from scipy.ndimage import binary_fill_holes

    slices, rows, columns = volume.volume_hu.shape
    chosen = np.unique(np.linspace(0, slices - 1, min(slices, _SLICES)).astype(int))
    full = volume.volume_hu[chosen].astype(np.float32)
    thin = full[:, :: max(1, rows // _SIDE), :: max(1, columns // _SIDE)]
    body = np.stack([binary_fill_holes(slice_hu > -300) for slice_hu in thin])
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
    """Compare summaries of two sets of series; features with too few values are left out."""
    from scipy.stats import ks_2samp  # as in ``compare_shares``

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


def is_shifted(stability: Stability) -> bool:
    """Return whether an index indicates drift: significant and large enough to matter."""
    return stability.p < LIMIT and stability.psi >= MIN_PSI


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
    return np.array([value for summary in summaries if isinstance(value := summary.get(name), int | float)], np.float64)


def _shares(summaries: Sequence[Mapping[str, object]]) -> Array:
    return np.array([summary["hu_shares"] for summary in summaries], np.float64)
