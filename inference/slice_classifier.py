"""The paper's whole-slice model behind its domain gate; it answers pictures, never DICOM studies."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from inference.attention import stretched
from inference.bundle import Bundle
from inference.calibration import calibrated_classes
from inference.displayed import Question
from inference.evidence import displayed_for
from inference.network import AttentionResNet
from inference.pictures import picture_descriptor, slice_input
from inference.types import Abstention, ClassPrediction

MIN_SIDE = 64
UNLIKE_TRAINING = Abstention(
    "unlike_training",
    "the picture does not look like the CT slices that this model was validated on "
    "(whole axial chest slices as 8-bit pictures in a soft-tissue window)",
)
"""Pixels; a smaller picture shows no lung that could be judged."""


class SliceClassifier:
    """Classifies one 8-bit CT picture: calibrated probabilities, or an abstention beside the raw answer."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        (_, network), *_ = bundle.members(device)
        if not isinstance(network, AttentionResNet):
            raise TypeError("a slice bundle holds a planar network")
        self._network = network
        self._recipe = bundle.recipe
        self._device = device
        self._gate_mean = bundle.weights["gate.mean"].double().numpy()
        self._gate_components = bundle.weights["gate.components"].double().numpy()  # (k, d)
        self._gate_scale = bundle.weights["gate.scale"].double().numpy()  # (k,)
        self.name, self.version, self.sha256 = bundle.name, bundle.version, bundle.sha256
        self.classes = tuple(str(c) for c in bundle.recipe["classes"])
        self.temperature = float(bundle.recipe["calibration"]["temperature"])

    def predict(self, image: NDArray[np.uint8]) -> ClassPrediction:
        """Classify ``(rows, columns)`` grey values 0..255."""
        if min(image.shape) < MIN_SIDE:
            reason = Abstention("too_small", "the picture has fewer than {least} pixels a side".format(least=MIN_SIDE))
            return ClassPrediction({}, (), (), (reason,))
        with torch.inference_mode():
            logits = self._network(slice_input(image).to(self._device)).double().cpu().numpy()  # (1, classes)
        calibration = self._recipe["calibration"]
        (values,) = calibrated_classes(logits, calibration["kind"], calibration["parameters"])
        probabilities = {name: float(p) for name, p in zip(self.classes, values, strict=True)}
        thresholds = self._recipe["conformal"]
        kept = tuple(name for name in self.classes if probabilities[name] >= thresholds[name])
        top = max(self.classes, key=lambda name: probabilities[name])
        shown = displayed_for(self._recipe, Question.SLICE, probabilities["malignant"])
        raw = tuple(float(v) for v in logits[0])
        return ClassPrediction(probabilities, kept or (top,), raw, self.why_not(image), shown)

    def why_not(self, image: NDArray[np.uint8]) -> tuple[Abstention, ...]:
        """Why the picture is unlike those that the model was validated on (empty where it is like them)."""
        distance, residual = self.unlikeness(image)
        gate = self._recipe["gate"]
        if distance > gate["max_distance"] or residual > gate["max_residual"]:
            return (UNLIKE_TRAINING,)
        return ()

    def unlikeness(self, image: NDArray[np.uint8]) -> tuple[float, float]:
        """Distance within and away from the space of training pictures, both in their own standard deviations."""
        centred = picture_descriptor(image) - self._gate_mean
        projected = self._gate_components @ centred
        within = float(np.sqrt(np.mean((projected / self._gate_scale) ** 2)))
        away = float(np.linalg.norm(centred - self._gate_components.T @ projected))
        return within, away

    def attention(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The network's own spatial attention, stretched to 0..1 and to the picture's size."""
        with torch.inference_mode():
            weights = self._network.attention_map(slice_input(image).to(self._device)).float()
            full = functional.interpolate(weights[None], size=image.shape, mode="bilinear", align_corners=False)[
                0, 0
            ].cpu()
        return stretched(full.numpy())
