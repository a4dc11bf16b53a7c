"""The networks of one bundle, looking at patches: logit margins per member, combined, calibrated, with an interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import nn

from inference.bundle import Bundle
from inference.calibration import calibrated
from inference.network import AttentionResNet
from inference.patches import Patch, PatchBatch
from inference.views import ViewSpec, dihedral_matrices

Array = NDArray[np.float64]

FEATURES = (
    "longest_mm",
    "perpendicular_mm",
    "equivalent_diameter_mm",
    "sphericity",
    "attached_share",
    "hu_spread",
)
"""What is taken of a nodule's measures; lengths enter as logarithms."""
FEATURE_LIMIT = 4.0
"""Standard deviations beyond which a margin or feature counts no further."""
INTERVAL = (2.5, 97.5)


def feature_vector(measures: dict[str, float]) -> Array:
    """The values of ``FEATURES`` from ``NoduleMeasure.features()``."""
    values = [np.log(max(measures[n], 0.5)) if n.endswith("_mm") and n != "spike_mm" else measures[n] for n in FEATURES]
    return np.array(values, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class EnsembleAnswer:
    """``n`` answers: combined margins, calibrated probabilities and their 95 % intervals.

    The interval says how far the answer hangs on the patients that the combination was fitted on, and so on how well
    networks and measures agree; it does not say how uncertain the outcome is.
    """

    margins: Array
    probabilities: Array
    low: Array
    high: Array
    uncalibrated: Array
    """Plain mean of the groups' margins through the sigmoid: what the networks say as they come."""


def member_margins(
    network: nn.Module, view: ViewSpec, batch: PatchBatch, *, turns: int = 8, batch_size: int = 32
) -> torch.Tensor:
    """Mean logit margin over ``turns`` rotations and flips, ``(n,)`` float32 on the CPU."""
    device = batch.hu.device
    matrices = dihedral_matrices(device)[:: max(1, 8 // turns)][:turns]
    margins = []
    with torch.inference_mode():
        for start in range(0, len(batch), batch_size):
            part = batch[start : start + batch_size]
            total = torch.zeros(len(part), device=device)
            for matrix in matrices:
                inputs = view.plain(part, matrix[None])
                with torch.autocast(device.type, dtype=torch.bfloat16):
                    logits = network(as_channels_last(inputs))
                logits = logits.float()
                total += logits[:, 1] - logits[:, 0]
            margins.append((total / len(matrices)).cpu())
    return torch.cat(margins) if margins else torch.zeros(0)


def as_channels_last(inputs: torch.Tensor) -> torch.Tensor:
    """The memory layout that bfloat16 convolutions are fast in."""
    layout = torch.channels_last_3d if inputs.dim() == 5 else torch.channels_last
    return inputs.to(memory_format=layout)


class Ensemble:
    """All members of a ``nodule`` or ``filter`` bundle on one device."""

    def __init__(self, bundle: Bundle, device: torch.device, *, turns: int | None = None) -> None:
        self.bundle = bundle
        self.device = device
        self._members = [
            (description, ViewSpec.from_json(description["view"]), as_inference_layout(network))
            for description, network in bundle.members(device)
        ]
        self._turns = turns or int(bundle.recipe["combination"].get("turns", 8))

    @property
    def parameter_count(self) -> int:
        """Trainable values of all members."""
        return sum(p.numel() for _, _, network in self._members for p in network.parameters())

    @property
    def planar_member(self) -> tuple[ViewSpec, AttentionResNet] | None:
        """The first two-dimensional network, whose spatial attention is shown."""
        return next(((v, n) for _, v, n in self._members if isinstance(n, AttentionResNet)), None)

    def margins(self, patches: list[Patch]) -> Array:
        """Logit margin of every member, ``(members, n)``."""
        if not patches:
            return np.zeros((len(self._members), 0))
        batch = PatchBatch.of(patches, self.device)
        return np.stack(
            [member_margins(net, view, batch, turns=self._turns).numpy() for _, view, net in self._members]
        ).astype(np.float64)

    def answer(self, patches: list[Patch], features: Array | None = None) -> EnsembleAnswer:
        """Look, combine and calibrate."""
        return combine(self.margins(patches), self.bundle.recipe, features)


def as_inference_layout(network: nn.Module) -> nn.Module:
    """Put weights into the memory layout of ``as_channels_last``."""
    volumetric = any(isinstance(m, nn.Conv3d) for m in network.modules())
    return network.to(memory_format=torch.channels_last_3d if volumetric else torch.channels_last)


def combine(margins: Array, recipe: dict[str, Any], features: Array | None = None) -> EnsembleAnswer:
    """Weigh the groups' margins ``(members, n)`` and the measured features ``(n, len(FEATURES))``, and calibrate.

    The interval comes from the combination refitted on patients drawn anew, the bootstrap of ``combination.draws``.
    No probability leaves ``calibration.limits``: after n samples none closer to 0 or 1 than 1 / (n + 2) is warranted
    (Laplace's rule of succession).
    """
    combination = recipe["combination"]
    columns = stack_columns(margins, recipe["members"], combination, features)
    scaled = (columns - np.array(combination["mean"])) / np.array(combination["std"])
    scaled = np.clip(scaled, -FEATURE_LIMIT, FEATURE_LIMIT)
    z = scaled @ np.array(combination["weights"]) + combination["bias"]
    kind, parameters = recipe["calibration"]["kind"], recipe["calibration"]["parameters"]
    least, most = recipe["calibration"].get("limits", (0.0, 1.0))
    low, high = z, z
    if combination["draws"]:
        draws = np.array(combination["draws"])  # (draws, columns + 1)
        low, high = np.percentile(scaled @ draws[:, :-1].T + draws[:, -1], INTERVAL, axis=1)
    probabilities, low, high = (
        np.clip(calibrated(margin, kind, parameters), least, most)
        for margin in (z, np.minimum(low, z), np.maximum(high, z))
    )
    plain = expit(columns[:, : len(combination["groups"])].mean(axis=1))
    return EnsembleAnswer(z, probabilities, low, high, np.asarray(plain))


def stack_columns(
    margins: Array, members: list[dict[str, Any]], combination: dict[str, Any], features: Array | None
) -> Array:
    """``(n, groups + features)``: the mean margin of each group, then the features that the combination asks for.

    A feature that could not be measured counts as the average one.
    """
    groups = [member["group"] for member in members]
    columns = [margins[[i for i, g in enumerate(groups) if g == name]].mean(axis=0) for name in combination["groups"]]
    first = len(columns)
    for number, name in enumerate(combination["features"]):
        known = np.full(margins.shape[1], np.nan) if features is None else features[:, FEATURES.index(name)]
        usual = combination["mean"][first + number] if "mean" in combination else np.nanmean(known)
        columns.append(np.where(np.isfinite(known), known, usual))
    return np.stack(columns, axis=1)
