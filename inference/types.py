"""The vocabulary of predictions: volumes in Hounsfield units in, probabilities or a reasoned abstention out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inference.displayed import Displayed


@dataclass(frozen=True, slots=True)
class Abstention:
    """No answer, and why: ``code`` is stable, ``text`` is a sentence for people."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Remark:
    """Caveat of an answer: ``name`` is a member of ``db.domain.caveats.Caveat``, whose text ``values`` fill."""

    name: str
    values: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CtVolume:
    """A CT volume with true geometry.

    Parameters
    ----------
    volume_hu
        ``(slices, rows, columns)``, int16, Hounsfield units, padding already set to -1024.
    spacing_mm
        ``(slice, row, column)`` spacing in millimetres; the slice spacing comes from positions.
    affine
        ``(4, 4)`` float64: ``affine @ (slice, row, column, 1)`` is the voxel centre in the patient's
        frame (LPS, millimetres; PS3.3 C.7.6.2.1.1).
    """

    volume_hu: NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    affine: NDArray[np.float64]

    def position_mm(self, index: tuple[float, float, float]) -> tuple[float, float, float]:
        """Patient position (LPS, mm) of a fractional ``(slice, row, column)`` index."""
        x, y, z = (self.affine @ np.array([*index, 1.0]))[:3]
        return float(x), float(y), float(z)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place that may be a nodule, before any network has looked."""

    index: tuple[float, float, float]
    """Fractional ``(slice, row, column)``."""
    scale_mm: float
    """Diameter of the blob that answered strongest, in millimetres."""
    strength: float
    """Scale-normalised response; only the order means something."""


@dataclass(frozen=True, slots=True)
class ClassPrediction:
    """Calibrated class probabilities of one image, or the reason why there are none.

    ``probabilities`` sum to 1 and are after temperature; ``prediction_set`` is the conformal set at the
    bundle's coverage. With an ``abstention`` the probabilities are a raw answer that must not stand alone.
    """

    probabilities: dict[str, float]
    prediction_set: tuple[str, ...]
    logits: tuple[float, ...]
    abstentions: tuple[Abstention, ...] = ()
    displayed: Displayed | None = None
    """What is shown of the probability of ``malignant``; None where there is none."""

    @property
    def is_in_domain(self) -> bool:
        """Whether the model was validated for such an input."""
        return not self.abstentions

    @property
    def predicted_class(self) -> str | None:
        """The most probable class, or None when the model abstains."""
        if self.abstentions:
            return None
        return max(self.probabilities, key=lambda name: self.probabilities[name])


@dataclass(frozen=True, slots=True)
class NoduleFinding:
    """One place in a volume, as the models see it.

    ``malignancy_probability`` is None, with the reason in ``abstentions``, where the malignancy model was not
    validated; it is never given for a candidate that neither the filter nor a reader confirmed. It is a point estimate
    to order and measure by; what is shown of it is in ``attributes["displayed"]`` (``inference.displayed``), and
    ``interval`` holds the bounds of that, or None where no percentage is shown.
    """

    index: tuple[float, float, float]
    diameter_mm: float | None
    nodule_probability: float | None
    malignancy_probability: float | None
    interval: tuple[float, float] | None
    prediction_set: tuple[str, ...] = ()
    abstentions: tuple[Abstention, ...] = ()
    attributes: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VolumeAnalysis:
    """All confirmed findings of one volume, most probably malignant first, and how they were reached."""

    findings: tuple[NoduleFinding, ...]
    abstentions: tuple[Abstention, ...] = ()
    """Not empty means: the volume was not analysed, and why."""
    measures: dict[str, object] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()
    """What a reader should know beside the answer."""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What ``GET /model_status`` shows of one model; plain JSON values only."""

    task: str
    name: str
    version: str
    sha256: str
    architecture: str
    device: str
    engine: str
    parameter_count: int
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    temperature: float
    metrics: dict[str, object]
    training_data: dict[str, object]
    intended_use: str
    limits: tuple[str, ...]
