"""Location of explanation maps: their share in lung and nodule, compared with a uniform map."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage as ndi

from inference.bundle import Bundle
from inference.malignancy.ensemble import Ensemble
from inference.metrics import bootstrap_interval
from inference.networks.attention import place_on_slice, share_on
from inference.networks.explanation import attention_weights, gradient_weights
from inference.ood.attention_check import RIM_MM, lung_of
from training.data.features import MeasuredCrop
from training.data.nodules import NoduleCrop, crop_patch
from training.fitting.report_metrics import size_parts

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
MAPS = ("attention", "gradient", "uniform")
REGIONS = ("lung", "nodule", "nodule and rim")


def regions(plane_hu: NDArray[np.int16], nodule: Mask, spacing_mm: tuple[float, float]) -> dict[str, Mask]:
    """Return masks of lung (with vessels and nodule), nodule, and nodule with a rim, in one slice."""
    away_mm = ndi.distance_transform_edt(~nodule, sampling=spacing_mm)
    return {
        "lung": lung_of(plane_hu, nodule, spacing_mm),
        "nodule": nodule,
        "nodule and rim": away_mm <= RIM_MM,
    }


def map_shares(ensemble: Ensemble, crop: NoduleCrop) -> Array | None:
    """Return the share of each map in each region, ``(maps, regions)``; None if the readers' mask misses the slice."""
    member = ensemble.planar_member
    slice_index = round(crop.centre[0])
    nodule = crop.mask[slice_index]
    if member is None or not nodule.any():
        return None
    view, network = member
    inputs = view.inputs([crop_patch(crop)], ensemble.device)
    attention = attention_weights(view, network, inputs)[0]
    maps = {
        "attention": attention,
        "gradient": gradient_weights(view, network, inputs)[0],
        "uniform": np.ones_like(attention),
    }
    plane_hu, spacing_mm = crop.volume.volume_hu[slice_index], crop.volume.spacing_mm[1:]
    masks = regions(plane_hu, nodule, spacing_mm)
    shape = (plane_hu.shape[0], plane_hu.shape[1])
    laid = {name: place_on_slice(m, shape, crop.centre[1:], spacing_mm, view.field_mm[1]) for name, m in maps.items()}
    return np.array([[share_on(laid[name], masks[region]) for region in REGIONS] for name in MAPS])


def explanation_figures(bundle: Bundle, crops: list[MeasuredCrop], device: torch.device) -> dict[str, Any] | None:
    """Return mean shares over a split with intervals by patient, all and by size; None without a planar network."""
    ensemble = Ensemble(bundle, device)
    measured = [(entry.crop.row, map_shares(ensemble, entry.crop)) for entry in crops]
    covered = [(row, shares) for row, shares in measured if shares is not None]
    if not covered:
        return None
    shares = np.stack([s for _, s in covered])  # (n, maps, regions)
    patients = np.array([row.patient_id for row, _ in covered])
    diameter_mm = np.array([row.diameter_mm for row, _ in covered])
    parts = {"all": np.ones(len(covered), dtype=bool), **size_parts(diameter_mm)}
    return {
        "n": len(covered),
        "patients": len(np.unique(patients)),
        "shares": {
            part: {
                name: {
                    region: mean_with_interval(shares[inside, i, j], patients[inside])
                    for j, region in enumerate(REGIONS)
                }
                for i, name in enumerate(MAPS)
            }
            for part, inside in parts.items()
            if inside.any()
        },
    }


def mean_with_interval(values: Array, groups: NDArray[np.str_]) -> dict[str, Any]:
    """Return the mean with its interval by group."""
    return {
        "mean": float(values.mean()),
        "interval": bootstrap_interval(lambda i: float(values[i].mean()), groups, draws=500),
    }
