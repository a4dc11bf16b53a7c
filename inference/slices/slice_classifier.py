"""The paper's whole-slice model with its domain gate, for uploaded images only."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from inference.bundle import Bundle
from inference.calibration.calibration import calibrated_classes, class_set
from inference.calibration.evidence import displayed_for
from inference.calibration.temperatures import answer_temperature
from inference.displayed import Question
from inference.gate import PictureThresholds, read_gate
from inference.networks.attention import stretched
from inference.networks.planar import AttentionResNet
from inference.ood.picture_gate import COLOURED, UNLIKE_TRAINING, PictureGate
from inference.slices.slice_image import slice_input
from inference.types import Abstention, ClassPrediction

MIN_SIDE = 64
"""Minimum side of an image, in pixels."""


def gate_of(bundle: Bundle) -> PictureGate:
    """Return the gate of a slice bundle."""
    gate = read_gate(bundle.recipe, PictureThresholds)
    return PictureGate(
        mean=bundle.weights["gate.mean"].double().numpy(),
        components=bundle.weights["gate.components"].double().numpy(),
        scale=bundle.weights["gate.scale"].double().numpy(),
        references=bundle.weights["gate.references"].double().numpy(),
        spread=bundle.weights["gate.spread"].double().numpy(),
        max_distance=gate.max_distance,
        max_residual=gate.max_residual,
        max_neighbour=gate.max_neighbour,
        limits=gate.measures,
    )


class SliceClassifier:
    """Classifier of 8-bit CT images: calibrated probabilities, with abstentions for unvalidated input."""

    def __init__(self, bundle: Bundle, device: torch.device | str) -> None:
        (_, network), *_ = bundle.members(device)
        if not isinstance(network, AttentionResNet):
            raise TypeError("a slice bundle holds a planar network")
        self._network = network
        self._recipe = bundle.recipe
        self._device = device
        self._gate = gate_of(bundle)
        self.name, self.version, self.sha256 = bundle.name, bundle.version, bundle.sha256
        self.classes = tuple(str(c) for c in bundle.recipe["classes"])
        self._network_temperature = float(bundle.recipe["members"][0].get("temperature", 1.0))
        self.temperature = answer_temperature(bundle.recipe)

    def predict(self, image: NDArray[np.uint8], *, is_coloured: bool = False) -> ClassPrediction:
        """Classify ``(rows, columns)`` grey values 0..255.

        Parameters
        ----------
        is_coloured
            Whether the image was coloured; such an image is not answered.
        """
        if min(image.shape) < MIN_SIDE:
            reason = Abstention("too_small", "the picture has fewer than {least} pixels a side".format(least=MIN_SIDE))
            return ClassPrediction({}, (), (), (reason,))
        with torch.inference_mode():
            logits = self._network(slice_input(image).to(self._device)).double().cpu().numpy()  # (1, classes)
        calibration = self._recipe["calibration"]
        scaled = logits / self._network_temperature
        (values,) = calibrated_classes(scaled, calibration["kind"], calibration["parameters"])
        probabilities = {name: float(p) for name, p in zip(self.classes, values, strict=True)}
        reasons = self._gate.why_unlike(image)
        if is_coloured:
            reasons = (*(reasons or (UNLIKE_TRAINING,)), COLOURED)
        shown = displayed_for(self._recipe, Question.SLICE, probabilities["malignant"])
        classes = class_set(probabilities, self._recipe["conformal"])
        return ClassPrediction(probabilities, classes, tuple(float(v) for v in logits[0]), reasons, shown)

    def attention(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the network's spatial attention, stretched to 0..1 and the image's size."""
        with torch.inference_mode():
            weights = self._network.attention_map(slice_input(image).to(self._device)).float()
            full = functional.interpolate(weights[None], size=image.shape, mode="bilinear", align_corners=False)[
                0, 0
            ].cpu()
        return stretched(full.numpy())
