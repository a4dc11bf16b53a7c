"""Attention check: share of the planar network's attention in lung, around one nodule.

A network that looks at the wall answers for what it was not asked about. The share says little more than how much of
the view is lung (ADR 0012 has the figures); it is one gate among several, and the cheapest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from inference.networks.attention import place_on_slice, share_on
from inference.types import Abstention, CtVolume
from inference.volumes.patch_views import ViewSpec
from inference.volumes.patches import cut_patch

if TYPE_CHECKING:
    from inference.networks.planar import AttentionResNet

Mask = NDArray[np.bool_]
SOFT_TISSUE_HU = -300.0
WALL_MM = 4.0
"""Soft tissue that a disc of this radius fits into is chest wall or mediastinum; vessels are thinner."""
RIM_MM = 2.0
"""Margin around a nodule's outline that counts as nodule."""
ATTENTION_OUTSIDE_LUNG = Abstention(
    "attention_outside_lung", "the network looks at the chest wall or the mediastinum, not the lung"
)


def lung_of(plane_hu: NDArray[np.int16], nodule: Mask, spacing_mm: tuple[float, float]) -> Mask:
    """Return the lung mask of one slice, with vessels and the nodule, without thick soft tissue."""
    soft = (plane_hu > SOFT_TISSUE_HU) & (ndi.distance_transform_edt(~nodule, sampling=spacing_mm) > RIM_MM)
    thick = ndi.distance_transform_edt(np.pad(soft, 1, mode="edge"), sampling=spacing_mm)[1:-1, 1:-1] >= WALL_MM
    wall = soft & (ndi.distance_transform_edt(~thick, sampling=spacing_mm) <= WALL_MM) if thick.any() else thick
    return np.asarray(~wall)


def attention_around(
    member: tuple[ViewSpec, AttentionResNet], volume: CtVolume, index: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Return the planar network's attention around ``index`` in its slice, ``(h, w)`` in 0..1."""
    from inference.networks.explanation import attention_weights  # needs torch, as the network does

    view, network = member
    return attention_weights(view, network, view.inputs([cut_patch(volume, index, z_extent_mm=(0.0, 0.0))]))[0]


def attention_in_lung(
    member: tuple[ViewSpec, AttentionResNet],
    volume: CtVolume,
    index: tuple[float, float, float],
    mask: Mask,
    mask_box: tuple[slice, slice, slice],
) -> float:
    """Return the share of attention around ``index`` in lung; ``mask`` and its box as measured."""
    weights = attention_around(member, volume, index)
    return share_in_lung(weights, member[0].field_mm[1], volume, (index, mask, mask_box))


def share_in_lung(
    weights: NDArray[np.float32],
    field_mm: float,
    volume: CtVolume,
    nodule: tuple[tuple[float, float, float], Mask, tuple[slice, slice, slice]],
) -> float:
    """Return the share of attention over ``field_mm`` around a nodule (centre, mask, box) in lung."""
    index, mask, mask_box = nodule
    spacing_mm = (volume.spacing_mm[1], volume.spacing_mm[2])
    slice_index = int(np.clip(round(index[0]), 0, len(volume.volume_hu) - 1))
    own = np.zeros(volume.volume_hu.shape[1:], dtype=bool)
    layer = slice_index - mask_box[0].start
    if 0 <= layer < len(mask):
        own[mask_box[1], mask_box[2]] = mask[layer]
    half = [field_mm / 2 / mm for mm in spacing_mm]
    low = [max(0, int(at - h)) for at, h in zip(index[1:], half, strict=True)]
    high = [int(at + h) + 2 for at, h in zip(index[1:], half, strict=True)]
    box = (slice(low[0], high[0]), slice(low[1], high[1]))
    plane_hu, within = volume.volume_hu[slice_index][box], own[box]
    centre = (index[1] - low[0], index[2] - low[1])
    laid = place_on_slice(weights, (plane_hu.shape[0], plane_hu.shape[1]), centre, spacing_mm, field_mm)
    return share_on(laid, lung_of(plane_hu, within, spacing_mm))
