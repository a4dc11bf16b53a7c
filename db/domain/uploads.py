"""Uploads and their answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from db.domain.models import ModelIdentity
from db.domain.reasons import Reason


@dataclass(frozen=True, slots=True)
class UploadPatient:
    """Patient details provided with an upload; all optional, none identifying."""

    age: int | None = None
    sex: str | None = None
    smoking_pack_years: float | None = None
    family_history: bool | None = None
    symptoms: str | None = None


@dataclass(frozen=True, slots=True)
class UploadAnswer:
    """A model's answer to one upload: calibrated probabilities, or the reasons why there are none to show."""

    kind: str
    """``slice`` (PNG, JPEG), ``nodule`` (DICOM with a marked nodule) or ``dicom`` (DICOM without)."""
    probabilities: dict[str, float]
    """Probability (0..1) of each class; of input outside the validated domain they are shown only with a warning."""
    prediction_set: tuple[str, ...]
    """Conformal set of classes; empty outside the domain."""
    reasons: tuple[Reason, ...]
    model: ModelIdentity
    temperature: float
    displayed: dict[str, object] | None = None
    """Displayed probability of ``malignant``, in the form of a finding's ``displayed``; None outside the domain."""

    @property
    def in_domain(self) -> bool:
        """Return True if the model was validated for such input and gives an answer."""
        return bool(self.probabilities) and not self.reasons

    @property
    def top_class(self) -> str | None:
        """The most probable class, also outside the domain."""
        return max(self.probabilities, key=lambda name: self.probabilities[name], default=None)

    @property
    def predicted_class(self) -> str | None:
        """The most probable class; None outside the domain."""
        return self.top_class if self.in_domain else None


@dataclass(frozen=True, slots=True)
class UploadPrediction:
    """Response to ``POST /predict``, recorded before it is sent."""

    id: str
    input_sha256: str
    answer: UploadAnswer
    patient: UploadPatient
    created_at: datetime
