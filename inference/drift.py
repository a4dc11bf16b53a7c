"""Whether the series of today are like those of the beginning: one small summary a series, two tests over many.

The unit is the series, never the voxel: voxels of one patient are not independent. Each feature is compared by the
Kolmogorov-Smirnov test, the HU histogram by the population stability index, whose own null distribution comes from
permuting series. All tests together raise a false alarm in at most ``ALPHA`` of comparisons (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
MIN_PSI = 0.1
PERMUTATIONS = 1999
_SIDE, _SLICES = 128, 32


@dataclass(frozen=True, slots=True)
class Drift:
    """What a comparison found: p by feature, the stability index with its own p, and which are told as drifted."""

    p_values: dict[str, float]
    psi: float
    drifted: tuple[str, ...]


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


def compare(
    reference: Sequence[Mapping[str, object]], recent: Sequence[Mapping[str, object]], *, alpha: float = ALPHA
) -> Drift:
    """Compare summaries of two sets of series; features that neither set has are left out."""
    p_values = {}
    for name in FEATURES:
        old, new = _values(reference, name), _values(recent, name)
        if min(len(old), len(new)) >= WINDOW // 2:
            p_values[name] = float(ks_2samp(old, new).pvalue)
    psi, p_values["hu_shares"] = _stability(_shares(reference), _shares(recent))
    limit = alpha / (len(FEATURES) + 1)
    drifted = [name for name, p in p_values.items() if p < limit and (name != "hu_shares" or psi >= MIN_PSI)]
    return Drift(p_values, psi, tuple(drifted))


def latest_comparison(summaries: Sequence[Mapping[str, object]]) -> Drift | None:
    """Compare the last whole block of a scanner's series, oldest first, with its reference; None while there is none.

    Blocks do not overlap, so that each series is tested at most once: one false alarm in
    ``WINDOW / ALPHA`` series or fewer.
    """
    blocks = (len(summaries) - REFERENCE) // WINDOW
    if blocks < 1:
        return None
    end = REFERENCE + blocks * WINDOW
    return compare(summaries[:REFERENCE], summaries[end - WINDOW : end])


def _stability(reference: Array, recent: Array) -> tuple[float, float]:
    """Give the index of two sets of histograms, and the share of permutations of series that reach it."""
    together, n = np.concatenate([reference, recent]), len(reference)
    observed = float(stability_index(reference.mean(axis=0), recent.mean(axis=0)))
    marks = np.tile(np.arange(len(together)) < n, (PERMUTATIONS, 1))
    marks = np.random.default_rng(0).permuted(marks, axis=1).astype(np.float64)
    permuted = stability_index(marks @ together / n, (1 - marks) @ together / (len(together) - n))
    return observed, (1 + int(np.sum(permuted >= observed))) / (1 + PERMUTATIONS)


def _median(values: NDArray[np.float32]) -> float | None:
    return round(float(np.median(values)), 1) if len(values) else None


def _values(summaries: Sequence[Mapping[str, object]], name: str) -> Array:
    return np.array([value for one in summaries if isinstance(value := one.get(name), int | float)], np.float64)


def _shares(summaries: Sequence[Mapping[str, object]]) -> Array:
    return np.array([one["hu_shares"] for one in summaries], np.float64)
