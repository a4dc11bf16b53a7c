"""Reasons for refusals, abstentions and failures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """Reason for a refusal, abstention or failure: a stable code and a sentence for display."""

    code: str
    text: str


SCANNER_HELD = Reason("scanner_held", "Not shown: the scanner is held.")
"""Reason shown instead of a quarantined result."""
OVERRULABLE = frozenset({"derived", "lossy", "kernel"})
"""Codes of reasons of a series (derived, lossy) and of findings (kernel) that a radiologist may overrule."""
