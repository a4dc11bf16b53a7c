"""The networks of one bundle, looking at patches: logit margins per member, combined, calibrated, with an interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from inference.bundle import Bundle
from inference.calibration import calibrated
from inference.network import AttentionResNet
from inference.patches import Patch, PatchBatch
from inference.views import ViewSpec, dihedral_matrices

Array = NDArray[np.float64]
Z_95 = 1.96


@dataclass(frozen=True, slots=True)
class EnsembleAnswer:
    """``n`` answers: combined margins, calibrated probabilities and 95 % intervals of the members' disagreement.

    The interval says how far the members of the ensemble disagree, not how uncertain the outcome is.
    """

    margins: Array
    probabilities: Array
    low: Array
    high: Array


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
    """Weigh the members' margins ``(members, n)``, add the features' share, and calibrate.

    The interval moves the combined margin by 1.96 standard errors of the members' weighted disagreement. No
    probability leaves ``calibration.limits``: after n samples none closer to 0 or 1 than 1 / (n + 2) is warranted
    (Laplace's rule of succession).
    """
    groups = [member["group"] for member in recipe["members"]]
    weights: dict[str, float] = recipe["combination"]["weights"]
    z = np.zeros(margins.shape[1])
    variance = np.zeros(margins.shape[1])
    for group, weight in weights.items():
        rows = margins[[i for i, g in enumerate(groups) if g == group]]
        z += weight * rows.mean(axis=0)
        if len(rows) > 1:
            variance += weight**2 * rows.var(axis=0, ddof=1)
    z += recipe["combination"].get("bias", 0.0)
    spec = recipe["combination"].get("features")
    if spec and features is not None:
        scaled = (features - np.array(spec["mean"])) / np.array(spec["std"])
        z += np.clip(scaled, -4, 4) @ np.array(spec["weights"])
    kind, parameters = recipe["calibration"]["kind"], recipe["calibration"]["parameters"]
    least, most = recipe["calibration"].get("limits", (0.0, 1.0))
    spread = Z_95 * np.sqrt(variance)
    probabilities, low, high = (
        np.clip(calibrated(margin, kind, parameters), least, most) for margin in (z, z - spread, z + spread)
    )
    return EnsembleAnswer(z, probabilities, low, high)
