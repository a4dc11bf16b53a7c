"""Types of predictions: volumes in Hounsfield units in, probabilities or abstentions out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inference.displayed import Displayed


@dataclass(frozen=True, slots=True)
class Abstention:
    """The reason for a missing answer: a stable ``code`` and a ``text`` for users."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Remark:
    """A caveat: ``name`` is a member of ``db.domain.caveats.Caveat``, and ``values`` fill its text."""

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
    slice_thickness_mm
        Nominal thickness of the slices (0018,0050); None if unknown.
    """

    volume_hu: NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    affine: NDArray[np.float64]
    slice_thickness_mm: float | None = None

    def position_mm(self, index: tuple[float, float, float]) -> tuple[float, float, float]:
        """Patient position (LPS, mm) of a fractional ``(slice, row, column)`` index."""
        x, y, z = (self.affine @ np.array([*index, 1.0]))[:3]
        return float(x), float(y), float(z)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A nodule candidate, before classification."""

    index: tuple[float, float, float]
    """Fractional ``(slice, row, column)``."""
    scale_mm: float
    """Diameter of the blob with the strongest response, in millimetres."""
    strength: float
    """Scale-normalised response, for ordering only."""


@dataclass(frozen=True, slots=True)
class ClassPrediction:
    """Calibrated class probabilities of one image, or abstentions.

    ``probabilities`` sum to 1 and are after temperature; ``prediction_set`` is the conformal set at the
    bundle's coverage. With an ``abstention`` the probabilities are a raw answer that must not stand alone.
    """

    probabilities: dict[str, float]
    prediction_set: tuple[str, ...]
    logits: tuple[float, ...]
    abstentions: tuple[Abstention, ...] = ()
    displayed: Displayed | None = None
    """Displayed probability of ``malignant``; None without one."""

    @property
    def is_in_domain(self) -> bool:
        """Return True if the model was validated for such an input."""
        return not self.abstentions

    @property
    def predicted_class(self) -> str | None:
        """The most probable class, or None when the model abstains."""
        if self.abstentions:
            return None
        return max(self.probabilities, key=lambda name: self.probabilities[name])


Line = tuple[tuple[float, float], tuple[float, float]]
"""Two fractional ``(row, column)`` points of one slice."""


@dataclass(frozen=True, slots=True)
class NoduleAxes:
    """Longest axial diameter of a nodule and the extent at right angles to it, as lines on the nearest slice."""

    slice_index: int
    long: Line
    short: Line


@dataclass(frozen=True, slots=True)
class NoduleMask:
    """Voxels of a measured nodule; ``inference.nodules.mask`` encodes and decodes them.

    Parameters
    ----------
    first_index, shape
        First ``(slice, row, column)`` of the box in the volume, and its size.
    runs
        Lengths of runs in C order, alternately outside and inside the nodule; the first, outside, may be 0.
    axes
        None where no section was long enough to have diameters.
    """

    first_index: tuple[int, int, int]
    shape: tuple[int, int, int]
    runs: tuple[int, ...]
    axes: NoduleAxes | None = None


@dataclass(frozen=True, slots=True)
class NoduleFinding:
    """One finding in a volume.

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
    mask: NoduleMask | None = None
    """Measured voxels; None where nothing was measured."""


@dataclass(frozen=True, slots=True)
class VolumeAnalysis:
    """All findings of one volume, by descending malignancy, with the provenance of the analysis."""

    findings: tuple[NoduleFinding, ...]
    abstentions: tuple[Abstention, ...] = ()
    """Reasons why the volume was not analysed; empty if it was."""
    measures: dict[str, object] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()
    """Caveats of the answer."""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """Status of one model for ``GET /model_status``; JSON values only."""

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
    """By what a logit that all networks agree on is divided."""
    temperatures: dict[str, float]
    """By what the logits of each network that answers are divided."""
    calibration: str
    """Calibrator on top of the temperatures of the networks, or none."""
    metrics: dict[str, object]
    training_data: dict[str, object]
    intended_use: str
    limits: tuple[str, ...]
