"""Rendering of spatial attention maps (location of attention, not an explanation of the decision)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Attention = NDArray[np.float32]


def stretched(weights: Attention) -> Attention:
    """Stretch weights to 0..1; uniform weights become 0."""
    low, high = float(weights.min()), float(weights.max())
    return (weights - low) / (high - low) if high > low else np.zeros_like(weights)


def place_on_slice(
    weights: Attention,
    shape: tuple[int, int],
    center: tuple[float, float],
    spacing_mm: tuple[float, float],
    field_mm: float,
) -> Attention:
    """Resample the weights of a square view to its slice.

    Parameters
    ----------
    weights
        ``(h, w)``, over ``field_mm`` millimetres from edge to edge.
    shape, center, spacing_mm
        The slice's ``(rows, columns)``, the view's centre in it (row, column) and its ``(row, column)`` spacing.

    Returns
    -------
    Attention
        ``shape``; 0 outside the view.
    """
    at = []
    for size, middle, mm, count in zip(shape, center, spacing_mm, weights.shape, strict=True):
        share = (np.arange(size) - middle) * mm / field_mm + 0.5  # 0..1 across the view
        at.append((share, share * count - 0.5))
    inside = np.logical_and.outer(*((share >= 0) & (share <= 1) for share, _ in at))
    coordinates = np.meshgrid(*(index for _, index in at), indexing="ij")
    resampled = ndimage.map_coordinates(weights, coordinates, order=1, mode="nearest")
    return np.where(inside, resampled, 0).astype(np.float32)


def share_on(weights: Attention, mask: NDArray[np.bool_]) -> float:
    """Return the share of the weights on ``mask`` (same shape); NaN without any weight."""
    total = float(weights.sum(dtype=np.float64))
    return float(weights[mask].sum(dtype=np.float64)) / total if total > 0 else float("nan")
