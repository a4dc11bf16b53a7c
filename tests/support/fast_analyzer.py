"""Analyzers for tests of everything around the models: real lungs and candidates, no network, and ways to go wrong.

The volume's number of slices chooses the kind of failure, so that the fault lies in the data and survives restarts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.series.pipeline import Progress
from inference.errors import BundleError
from inference.gate import GateThresholds
from inference.types import CtVolume, NoduleFinding, VolumeAnalysis
from lungnode.logs import configure_logging

CRASHES, RAISES, HANGS = 31, 33, 35
"""Numbers of slices of volumes that kill the process, raise, or never end."""
HELD = "held"
"""Name of a file in ``calls``; no analysis ends while it exists."""
MODEL_SHA256 = "f" * 64


@dataclass
class FastAnalyzer:
    """Takes the densest voxel for a nodule, after ``delay_s``; leaves a mark for each call in ``calls``."""

    calls: Path | None = None
    delay_s: float = 0.0
    sha256: str = MODEL_SHA256
    name: str = "fast"
    version: str = "0"
    gate: GateThresholds = field(default_factory=GateThresholds)

    def analyse(
        self, volume: CtVolume, *, progress: Progress | None = None, overruled: Collection[str] = ()
    ) -> VolumeAnalysis:
        """Mark the call, fail if requested, then find the densest voxel."""
        slices = volume.volume_hu.shape[0]
        self._mark(slices)
        if slices == CRASHES:
            os._exit(11)
        if slices == RAISES:
            raise ValueError("CANARY^PHI in a message")
        time.sleep(3600 if slices == HANGS else self.delay_s)
        while self.calls is not None and (self.calls / HELD).exists():
            time.sleep(0.02)
        return VolumeAnalysis((self.analyse_point(volume, _densest(volume)),))

    def analyse_point(self, volume: CtVolume, index: tuple[float, float, float]) -> NoduleFinding:
        """Judge every place alike."""
        return NoduleFinding(index, 8.0, 0.9, 0.6, (0.4, 0.8), ("malignant",))

    def _mark(self, slices: int) -> None:
        if self.calls is not None:
            self.calls.mkdir(exist_ok=True)
            (self.calls / f"{slices}-{os.getpid()}-{time.monotonic_ns()}").touch()


def make_fast_analyzer(calls: Path | None = None, delay_s: float = 0.0) -> FastAnalyzer:
    """Make one where it is to work, with the logs that the service has; not while ``calls`` holds ``no-model``."""
    configure_logging("info", "json")
    if calls is not None and (calls / "no-model").exists():
        raise BundleError("no weights")
    return FastAnalyzer(calls, delay_s)


def no_analyzer() -> FastAnalyzer:
    """Fail as models do that cannot be loaded."""
    configure_logging("info", "json")
    raise BundleError("no weights")


def _densest(volume: CtVolume) -> tuple[float, float, float]:
    flat = int(volume.volume_hu.argmax())
    _, rows, columns = volume.volume_hu.shape
    return float(flat // (rows * columns)), float(flat // columns % rows), float(flat % columns)
