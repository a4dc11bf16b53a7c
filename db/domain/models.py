"""Identity and promotion of models."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Identity of a model and its weights."""

    name: str
    version: str
    sha256: str


class PromotionKind(StrEnum):
    """Kind of change of the live model."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
